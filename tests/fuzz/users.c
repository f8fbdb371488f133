/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A users_file: whoever comes out is a user, no two have one key, and complaints are fit for a log. */
#include "fuzz.h"

#include <errno.h>

#include "px_key.h"
#include "px_settings.h"

struct heard {
	unsigned line;
	int complaints;
};

static int user(void *arg, const struct px_user_config *u)
{
	struct heard *h = arg;
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1], uri[3 * PX_AOR_MAX + 8];

	if (!u->mailbox) /* a line that is wrong, of a user that is known */
		return 0;
	CHECK(px_key_uri(u->key, uri, sizeof uri) == 0);
	CHECK(px_key_from_aor(uri, strlen(uri), key) == 0 && strcmp(key, u->key) == 0);
	CHECK(px_mailbox(u->mailbox, strlen(u->mailbox), mailbox) == 0);
	CHECK(strcmp(mailbox, u->mailbox) == 0 && u->line > h->line);
	h->line = u->line;
	return 0;
}

static void said(void *arg, const char *complaint)
{
	struct heard *h = arg;

	CHECK(*complaint);
	fuzz_shown(complaint);
	h->complaints++;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct heard h = {0};
	char *exact = fuzz_exact(bytes, n);
	int wrong;

	wrong = px_users_read(exact, n, n % 2 ? "example.test" : NULL, user, said, &h);
	free(exact);
	CHECK(wrong == -EINVAL || wrong >= 0);
	CHECK(wrong <= 0 || h.complaints > 0);
	return 0;
}
