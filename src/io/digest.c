/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/digest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

static const struct hash {
	const char *name;
	const EVP_MD *(*md)(void);
} hashes[] = {{"MD5", EVP_md5}, {"SHA-256", EVP_sha256}, {"SHA-512-256", EVP_sha512_256}};

static void hex(const unsigned char *bytes, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

/* H(parts joined by colons), in hex; false when OpenSSL doesn't have that hash. */
static bool hash_of(const struct px_digest *d, char out[PX_DIGEST_HEX + 1], ...)
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	const char *part;
	unsigned n = 0;
	va_list ap;
	bool ok = c && EVP_DigestInit_ex(c, hashes[d->hash].md(), NULL);

	va_start(ap, out);
	for (bool first = true; ok && (part = va_arg(ap, const char *)); first = false)
		ok = (first || EVP_DigestUpdate(c, ":", 1)) &&
		     EVP_DigestUpdate(c, part, strlen(part));
	va_end(ap);
	ok = ok && EVP_DigestFinal_ex(c, bytes, &n) && 2 * n <= PX_DIGEST_HEX;
	EVP_MD_CTX_free(c);
	if (ok)
		hex(bytes, n, out);
	return ok;
}

/* Undoes quotes and backslashes. False: too long, or a quote is missing. */
static bool unquote(const char *in, char *out, size_t size)
{
	const bool quoted = *in == '"';
	size_t n = 0;

	for (in += quoted; *in && !(quoted && *in == '"'); in++) {
		if (quoted && *in == '\\' && in[1])
			in++;
		if (n + 1 >= size || (unsigned char)*in < 0x20)
			return false;
		out[n++] = *in;
	}
	out[n] = '\0';
	return !quoted || *in == '"';
}

static const char *find(const char *const *params, const char *name)
{
	const size_t n = strlen(name);

	for (; params && *params; params++)
		if (strncasecmp(*params, name, n) == 0 && (*params)[n] == '=')
			return *params + n + 1;
	return NULL;
}

/* Is "auth" among "auth,auth-int"? */
static bool has_auth(const char *list)
{
	for (size_t n; *list; list += n) {
		list += strspn(list, " \t,");
		n = strcspn(list, " \t,");
		if (n == 4 && strncasecmp(list, "auth", 4) == 0)
			return true;
	}
	return false;
}

static bool take_algorithm(struct px_digest *d, const char *given)
{
	size_t n;

	if (given && !unquote(given, d->algorithm, sizeof d->algorithm))
		return false;
	given = d->algorithm[0] ? d->algorithm : "MD5";
	n = strlen(given);
	d->sess = n > 5 && strcasecmp(given + n - 5, "-sess") == 0;
	n -= d->sess ? 5 : 0;
	for (d->hash = 0; d->hash < sizeof hashes / sizeof *hashes; d->hash++)
		if (strlen(hashes[d->hash].name) == n &&
		    strncasecmp(given, hashes[d->hash].name, n) == 0)
			return true;
	return false;
}

static bool new_nonce(struct px_digest *d)
{
	unsigned char random[16];

	if (RAND_bytes(random, sizeof random) != 1)
		return false;
	hex(random, sizeof random, d->cnonce);
	d->nc = 0;
	if (d->sess)
		return hash_of(d, d->a1, d->user_hash, d->nonce, d->cnonce, (char *)NULL);
	memcpy(d->a1, d->user_hash, sizeof d->a1);
	return true;
}

bool px_digest_take(struct px_digest *d, const char *scheme, const char *const *params,
                    const struct px_account *login)
{
	struct px_digest c = {0};
	const char *realm = find(params, "realm"), *nonce = find(params, "nonce");
	const char *opaque = find(params, "opaque"), *qop = find(params, "qop");
	const char *stale = find(params, "stale");
	char text[64] = "";

	if (!scheme || strcasecmp(scheme, "Digest") != 0 || !realm || !nonce ||
	    !unquote(realm, c.realm, sizeof c.realm) || !unquote(nonce, c.nonce, sizeof c.nonce) ||
	    (opaque && !unquote(opaque, c.opaque, sizeof c.opaque)) ||
	    !take_algorithm(&c, find(params, "algorithm")))
		return false;
	if (qop && (!unquote(qop, text, sizeof text) || !has_auth(text)))
		return false;
	c.qop = qop != NULL;
	c.stale = stale && unquote(stale, text, sizeof text) && strcasecmp(text, "true") == 0;
	if (!hash_of(&c, c.user_hash, login->user, c.realm, login->password, (char *)NULL) ||
	    !new_nonce(&c))
		return false;
	*d = c;
	return true;
}

void px_digest_next(struct px_digest *d, const char *quoted)
{
	char nonce[sizeof d->nonce];

	if (!unquote(quoted, nonce, sizeof nonce) || !nonce[0])
		return;
	memcpy(d->nonce, nonce, sizeof nonce);
	new_nonce(d);
}

static void add(char *out, size_t size, size_t *n, const char *text)
{
	for (; *text; text++, ++*n)
		if (*n + 1 < size)
			out[*n] = *text;
}

/* name="value", what must be is escaped */
static void add_quoted(char *out, size_t size, size_t *n, const char *name, const char *value)
{
	char one[3] = "\\";

	add(out, size, n, name);
	add(out, size, n, "=\"");
	for (; *value; value++) {
		one[1] = *value;
		add(out, size, n, *value == '"' || *value == '\\' ? one : one + 1);
	}
	add(out, size, n, "\"");
}

int px_digest_answer(struct px_digest *d, const char *user, const char *method, const char *uri,
                     char *out, size_t size)
{
	char a2[PX_DIGEST_HEX + 1], response[PX_DIGEST_HEX + 1], nc[9], text[64];
	size_t n = 0;
	bool ok;

	snprintf(nc, sizeof nc, "%08x", ++d->nc);
	ok =
	    hash_of(d, a2, method, uri, (char *)NULL) &&
	    (d->qop ? hash_of(d, response, d->a1, d->nonce, nc, d->cnonce, "auth", a2, (char *)NULL)
	            : hash_of(d, response, d->a1, d->nonce, a2, (char *)NULL));
	if (!ok)
		return -ENOTSUP;
	add_quoted(out, size, &n, "Digest username", user);
	add_quoted(out, size, &n, ", realm", d->realm);
	add_quoted(out, size, &n, ", nonce", d->nonce);
	add_quoted(out, size, &n, ", uri", uri);
	add_quoted(out, size, &n, ", response", response);
	if (d->algorithm[0]) {
		snprintf(text, sizeof text, ", algorithm=%s", d->algorithm);
		add(out, size, &n, text);
	}
	if (d->qop || d->sess)
		add_quoted(out, size, &n, ", cnonce", d->cnonce);
	if (d->opaque[0])
		add_quoted(out, size, &n, ", opaque", d->opaque);
	if (d->qop) {
		snprintf(text, sizeof text, ", qop=auth, nc=%s", nc);
		add(out, size, &n, text);
	}
	if (n >= size)
		return -ENAMETOOLONG;
	out[n] = '\0';
	return (int)n;
}
