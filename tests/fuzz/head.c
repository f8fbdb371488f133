/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Header lines of HTTP answers, as libcurl hands them over, one by one: what is kept is fit to be sent back and to be logged. */
#include "fuzz.h"

#include "io/head.h"

static const char *const wanted[] = {"Subscription-id", "MS-WebStorage", "Content-Range", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct px_head h = px_head(wanted);

	for (size_t at = 0, len; at < n; at += len) {
		const uint8_t *stop = memchr(bytes + at, '\n', n - at);
		char *exact;

		len = stop ? (size_t)(stop + 1 - bytes) - at : n - at;
		exact = fuzz_exact(bytes + at, len);
		CHECK(px_head_line(&h, exact, len));
		CHECK(h.whole == (exact[0] == '\r' || exact[0] == '\n'));
		free(exact);
	}
	CHECK(h.bytes == n && h.lines.len <= PX_HEAD_KEPT);
	CHECK(h.date.ms >= 0 && h.date.ms % 1000 == 0);
	if (h.cookie) {
		CHECK(h.cookie[0] && strlen(h.cookie) < PX_COOKIE_MAX && strchr(h.cookie, '='));
		for (const char *c = h.cookie; *c; c++)
			CHECK(*c >= ' ' && *c <= '~');
	}
	for (size_t i = 0; i < h.lines.len; i++)
		CHECK(h.lines.data[i] != '\r' || h.lines.data[i + 1] != '\n');
	px_head_free(&h);
	return 0;
}
