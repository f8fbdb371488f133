/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The proxy's users, in a memfd of which any byte may be another: what is taken for a text is one, and a new one can be put there or is refused. Input: the head, then bytes
 * from where texts begin. */
#include "fuzz.h"

#include "px_table.h"

static const char one[] = "alice@example.test\n";

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const size_t head = sizeof(struct px_table_head);
	const int fd = px_table_make();
	char *text;
	size_t len;
	int err;

	CHECK(fd >= 0);
	if (n < head) {
		CHECK(ftruncate(fd, (off_t)n) == 0 && px_table_get(fd, &text, &len) == -EIO);
		CHECK(px_table_put(fd, one, strlen(one)) == -EIO);
		close(fd);
		return 0;
	}
	CHECK(pwrite(fd, bytes, head, 0) == (ssize_t)head);
	CHECK(pwrite(fd, bytes + head, n - head, PX_TABLE_FIRST) == (ssize_t)(n - head));
	err = px_table_get(fd, &text, &len);
	CHECK(err <= 1);
	if (err == 0) {
		CHECK(len <= PX_TABLE_MAX && text[len] == '\0');
		free(text);
	}
	if (px_table_put(fd, one, strlen(one)) == 0) {
		err = px_table_get(fd, &text, &len);
		/* the count of texts may have come round to none */
		CHECK(err == 1 || (err == 0 && len == strlen(one) && memcmp(text, one, len) == 0));
		if (err == 0)
			free(text);
	}
	close(fd);
	return 0;
}
