/* SPDX-License-Identifier: GPL-2.0-or-later */
/* AoRs and mailboxes: a key is its own key, and its Request-URI leads back to it. */
#include "fuzz.h"

#include <errno.h>

#include "px_key.h"
#include "px_settings.h"

static void is_plain(const char *s)
{
	CHECK(*s);
	for (; *s; s++)
		CHECK((unsigned char)*s > ' ' && *s != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char key[PX_AOR_MAX + 1], again[PX_AOR_MAX + 1], uri[3 * PX_AOR_MAX + 8];
	char mailbox[PX_MAILBOX_MAX + 1], same[PX_MAILBOX_MAX + 1];
	char *exact = fuzz_exact(bytes, n);
	int err;

	err = px_key_from_aor(exact, n, key);
	CHECK(err == 0 || err == -EINVAL || err == -ENAMETOOLONG);
	if (err == 0) {
		is_plain(key);
		CHECK(px_key_uri(key, uri, sizeof uri) == 0);
		CHECK(px_key_from_aor(uri, strlen(uri), again) == 0 && strcmp(again, key) == 0);
		err = px_user_mailbox(key, NULL, mailbox);
		CHECK(err == 0 || err == -EINVAL || err == -ENAMETOOLONG);
	}
	err = px_mailbox(exact, n, mailbox);
	CHECK(err == 0 || err == -EINVAL || err == -ENAMETOOLONG);
	if (err == 0) {
		is_plain(mailbox);
		CHECK(px_mailbox(mailbox, strlen(mailbox), same) == 0 &&
		      strcmp(same, mailbox) == 0);
	}
	free(exact);
	return 0;
}
