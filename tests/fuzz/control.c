/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands as they come over the socket: what is taken for one is one. */
#include "fuzz.h"

#include <errno.h>

#include "io/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct px_command c;
	char *exact = fuzz_exact(bytes, n), key[PX_AOR_MAX + 1], uri[3 * PX_AOR_MAX + 8];
	int err;

	memset(&c, 0xa5, sizeof c);
	err = px_control_parse(exact, n, 1000, &c);
	free(exact);
	CHECK(err == 0 || err == -EBADMSG || err == -ETIMEDOUT);
	if (err == -EBADMSG)
		return 0;
	CHECK(memchr(c.key, 0, sizeof c.key) && memchr(c.mailbox, 0, sizeof c.mailbox) &&
	      memchr(c.text, 0, sizeof c.text));
	if (c.command > PX_CONTROL_DISABLE) { /* about no user */
		for (const char *t = c.text; *t; t++)
			CHECK(*t >= ' ' && *t <= '~');
		CHECK(!*c.key && !*c.mailbox);
		return 0;
	}
	CHECK(!*c.text);
	CHECK(px_key_uri(c.key, uri, sizeof uri) == 0);
	CHECK(px_key_from_aor(uri, strlen(uri), key) == 0 && strcmp(key, c.key) == 0);
	return 0;
}
