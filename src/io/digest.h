/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * digest.h - SIP digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): a challenge in, credentials out.
 * MD5, SHA-256 and SHA-512-256, each also as "-sess", without qop (RFC 2069) or with qop=auth.
 *
 * One challenge serves many requests: each answer counts nc up, so that a storm isn't challenged one by one.
 */
#ifndef PX_DIGEST_H
#define PX_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PX_REALM_MAX 255
#define PX_NONCE_MAX 511
#define PX_OPAQUE_MAX 255
#define PX_DIGEST_HEX 64 /* of the longest hash */
/* a header's value that surely holds an answer: everything may have to be escaped */
#define PX_DIGEST_ANSWER_MAX 4096

/* What to log in with. Borrowed. */
struct px_account {
	const char *user, *password;
};

/* A challenge that can be answered. Begins zeroed; holds no password, but what stands in its place. */
struct px_digest {
	char realm[PX_REALM_MAX + 1]; /* without quotes and escapes, as the next two */
	char nonce[PX_NONCE_MAX + 1];
	char opaque[PX_OPAQUE_MAX + 1]; /* "": none */
	char algorithm[16];             /* as the server writes it; "": it doesn't */
	uint8_t hash;                   /* index into digest.c's own table */
	bool sess, qop;
	bool stale; /* the server says: only the nonce was too old */
	uint32_t nc;
	char cnonce[48];
	char user_hash[PX_DIGEST_HEX + 1]; /* H(user:realm:password) */
	char a1[PX_DIGEST_HEX + 1];        /* H(A1) */
};

/*
 * Reads a challenge: its scheme and its parameters ("realm=\"x\"", NULL at the end). False when it can't be answered: another scheme, an algorithm or
 * qop that isn't known, something missing or too long. *d is then as it was.
 */
bool px_digest_take(struct px_digest *d, const char *scheme, const char *const *params,
                    const struct px_account *login);

/* The server wishes this nonce from now on (nextnonce of Authentication-Info, as it stands there: quoted). Too long: no effect. */
void px_digest_next(struct px_digest *d, const char *quoted);

/*
 * The value of Authorization or Proxy-Authorization for a request, "Digest username=...". Its length, or -ENAMETOOLONG.
 */
int px_digest_answer(struct px_digest *d, const char *user, const char *method, const char *uri,
                     char *out, size_t size);

#endif
