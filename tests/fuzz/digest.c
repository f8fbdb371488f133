/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Challenges of a SIP server. Input: a line with the scheme, lines with parameters, and after an empty one a nonce for later. What can be answered is answered in one line
 * whose quotes are closed; what can't leaves the former challenge as it was.
 */
#include "fuzz.h"

#include "io/digest.h"

#define PARAMS 20
#define URI "sip:alice@example.test"

/* The next line, a string in memory of its own; NULL: there is none. */
static char *line(const char **at, const char *end)
{
	const char *from = *at,
	           *stop = from < end ? memchr(from, '\n', (size_t)(end - from)) : NULL;
	char *text;

	if (from >= end)
		return NULL;
	*at = stop ? stop + 1 : end;
	text = calloc(1, (size_t)((stop ? stop : end) - from) + 1);
	CHECK(text);
	memcpy(text, from, (size_t)((stop ? stop : end) - from));
	return text;
}

static void answers(struct px_digest *d)
{
	const uint32_t before = d->nc;
	char out[PX_DIGEST_ANSWER_MAX];
	bool quoted = false;
	int n = px_digest_answer(d, "alice", "PUBLISH", URI, out, sizeof out);

	CHECK(n > 0 && (size_t)n == strlen(out) && d->nc == before + 1);
	for (const char *c = out; *c; c++) {
		CHECK((unsigned char)*c >= ' ');
		if (quoted && *c == '\\')
			c++;
		else if (*c == '"')
			quoted = !quoted;
	}
	CHECK(!quoted && strncmp(out, "Digest username=\"alice\", realm=\"", 32) == 0);
	CHECK(strstr(out, ", uri=\"" URI "\", response=\""));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static const char *const good[] = {"realm=\"r\"", "nonce=\"n\"", "qop=\"auth\"", NULL};
	static const struct px_account login = {"alice", "Rosebud-1"};
	const char *at = (const char *)bytes, *end = at + n;
	char *scheme = line(&at, end), *param[PARAMS + 1] = {NULL}, *nonce;
	struct px_digest d = {0}, before;
	unsigned params = 0;

	CHECK(px_digest_take(&d, "Digest", good, &login));
	before = d;
	while (params < PARAMS && (param[params] = line(&at, end)) && *param[params])
		params++;
	free(param[params]);
	param[params] = NULL;
	if (px_digest_take(&d, scheme, (const char *const *)param, &login)) {
		CHECK(scheme && !strstr(d.user_hash, login.password));
		answers(&d);
	} else {
		CHECK(memcmp(&d, &before, sizeof d) == 0);
	}
	while ((nonce = line(&at, end))) {
		px_digest_next(&d, nonce);
		free(nonce);
		answers(&d);
	}
	while (params > 0)
		free(param[--params]);
	free(scheme);
	return 0;
}
