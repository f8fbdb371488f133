/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of the settings: either all is right or something is said of what isn't, and the password is never part of it. */
#include "fuzz.h"

#include <errno.h>

#include "px_settings.h"

#define SECRET "Tr0ub4dor"

struct heard {
	unsigned complaints;
	bool secret; /* the word stands in the text as the password, and nowhere else */
};

static bool is_password(const char *text, size_t n)
{
	const char *at = memmem(text, n, SECRET, strlen(SECRET)), *line = at;

	if (!at || memmem(at + 1, n - (size_t)(at + 1 - text), SECRET, strlen(SECRET)))
		return false;
	while (line > text && line[-1] != '\n' && line[-1] != '\r')
		line--;
	return (size_t)(at - line) >= strlen("password = ") &&
	       memcmp(line, "password = ", strlen("password = ")) == 0;
}

static void said(void *arg, const char *complaint)
{
	struct heard *h = arg;

	fuzz_shown(complaint);
	CHECK(*complaint && !(h->secret && strstr(complaint, SECRET)));
	h->complaints++;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct heard h = {.secret = is_password((const char *)bytes, n)}, impossible = h;
	const struct px_settings_reader r = {.standalone = n % 2, .said = said, .arg = &h};
	struct px_settings *s = NULL;
	char *exact = fuzz_exact(bytes, n);
	int err;

	err = px_settings_read(&s, exact, n, &r);
	free(exact);
	CHECK(err == 0 || err == -EINVAL);
	if (err) {
		CHECK(h.complaints > 0 && !s);
		return 0;
	}
	CHECK(s && s->map);
	CHECK((px_settings_impossible(s, said, &impossible) > 0) == (impossible.complaints > 0));
	px_settings_free(s);
	return 0;
}
