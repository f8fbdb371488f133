/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Digest: the examples of the RFCs, and what servers may say instead. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "io/digest.h"

static const struct px_account mufasa = {"Mufasa", "Circle of Life"};

static bool take(struct px_digest *d, const char *const *params)
{
	memset(d, 0, sizeof *d);
	return px_digest_take(d, "Digest", params, &mufasa);
}

static const char *answer(struct px_digest *d, const char *method, const char *uri)
{
	static char out[PX_DIGEST_ANSWER_MAX];

	assert_true(px_digest_answer(d, "Mufasa", method, uri, out, sizeof out) > 0);
	return out;
}

/* RFC 7616 §3.9.1, in both algorithms. */
static void examples_of_the_rfcs(void **state)
{
	static const struct {
		const char *algorithm, *response;
	} rfc7616[] = {
	    {"algorithm=MD5", "8ca523f5e9506fed4657c9700eebdbec"},
	    {"algorithm=SHA-256",
	     "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
	};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const char *const params[] = {
		    "realm=\"http-auth@example.org\"",
		    "qop=\"auth, auth-int\"",
		    rfc7616[i].algorithm,
		    "nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\"",
		    "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
		    NULL};
		struct px_digest d = {0};

		assert_true(px_digest_take(&d, "Digest", params, &mufasa));
		strcpy(d.cnonce, "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ");
		const char *text = answer(&d, "GET", "/dir/index.html");

		assert_non_null(strstr(text, rfc7616[i].response));
		assert_non_null(strstr(text, "Digest username=\"Mufasa\", "
		                             "realm=\"http-auth@example.org\", "));
		assert_non_null(strstr(text, ", qop=auth, nc=00000001"));
		assert_non_null(
		    strstr(text, ", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
		assert_non_null(strstr(text, ", uri=\"/dir/index.html\""));
	}
}

/* RFC 2617 §3.5, whose response every digest has in its tests. */
static void example_of_rfc_2617(void **state)
{
	const char *const params[] = {"realm=\"testrealm@host.com\"", "qop=\"auth,auth-int\"",
	                              "nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\"",
	                              "opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"", NULL};
	const struct px_account login = {"Mufasa", "Circle Of Life"};
	struct px_digest d = {0};

	(void)state;
	assert_true(px_digest_take(&d, "digest", params, &login));
	strcpy(d.cnonce, "0a4f113b");
	const char *text = answer(&d, "GET", "/dir/index.html");

	assert_non_null(strstr(text, "response=\"6629fae49393a05397450978507c4ef1\""));
	assert_null(strstr(text, "algorithm"));
}

/* The count goes up with each answer, begins anew with a nonce, and each nonce has its own cnonce. */
static void counts(void **state)
{
	const char *const params[] = {"realm=\"r\"", "nonce=\"n1\"", "qop=\"auth\"", NULL};
	char first[48];
	struct px_digest d;

	(void)state;
	assert_true(take(&d, params));
	strcpy(first, d.cnonce);
	assert_non_null(strstr(answer(&d, "PUBLISH", "sip:a@b"), "nc=00000001"));
	assert_non_null(strstr(answer(&d, "PUBLISH", "sip:a@b"), "nc=00000002"));
	px_digest_next(&d, "\"n2\"");
	assert_string_not_equal(first, d.cnonce);
	const char *text = answer(&d, "PUBLISH", "sip:a@b");

	assert_non_null(strstr(text, "nonce=\"n2\""));
	assert_non_null(strstr(text, "nc=00000001"));
	px_digest_next(&d, "\"\"");
	px_digest_next(&d, "\"broken");
	assert_non_null(strstr(answer(&d, "PUBLISH", "sip:a@b"), "nonce=\"n2\""));
}

/* H(A1) of a session has nonce and cnonce in it (RFC 7616 §3.4.2). */
static void sessions(void **state)
{
	const char *const params[] = {"realm=\"r\"", "nonce=\"n\"", "qop=\"auth\"",
	                              "algorithm=SHA-256-sess", NULL};
	struct px_digest d;

	(void)state;
	assert_true(take(&d, params));
	assert_string_not_equal(d.a1, d.user_hash);
	assert_int_equal(strlen(d.a1), 64);
	assert_non_null(strstr(answer(&d, "PUBLISH", "sip:a@b"), "algorithm=SHA-256-sess"));
	char before[PX_DIGEST_HEX + 1];

	strcpy(before, d.a1);
	px_digest_next(&d, "\"m\"");
	assert_string_not_equal(before, d.a1);
}

static void what_servers_write(void **state)
{
	const char *const odd[] = {"Realm=\"a \\\"quoted\\\" realm\"",
	                           "NONCE=\"n\\\\x\"",
	                           "stale=TRUE",
	                           "qop=auth",
	                           "algorithm=md5",
	                           NULL};
	const char *const old[] = {"realm=r", "nonce=n", NULL};
	struct px_digest d;

	(void)state;
	assert_true(take(&d, odd));
	assert_string_equal(d.realm, "a \"quoted\" realm");
	assert_string_equal(d.nonce, "n\\x");
	assert_true(d.stale && d.qop);
	const char *text = answer(&d, "PUBLISH", "sip:a@b");

	assert_non_null(strstr(text, "realm=\"a \\\"quoted\\\" realm\", nonce=\"n\\\\x\""));
	assert_non_null(strstr(text, "algorithm=md5"));
	assert_true(take(&d, old));
	text = answer(&d, "PUBLISH", "sip:a@b");
	assert_false(d.stale || d.qop);
	assert_null(strstr(text, "qop"));
	assert_null(strstr(text, "cnonce"));
}

static void what_cannot_be_answered(void **state)
{
	static char nonce[PX_NONCE_MAX + 20];
	const char *const bad[][5] = {
	    {"realm=\"r\"", NULL},
	    {"nonce=\"n\"", NULL},
	    {"realm=\"r\"", "nonce=\"n", NULL},
	    {"realm=\"r\"", "nonce=\"n\"", "qop=\"auth-int\"", NULL},
	    {"realm=\"r\"", "nonce=\"n\"", "algorithm=MD6", NULL},
	    {"realm=\"r\"", "nonce=\"n\"", "algorithm=SHA-256-something-long", NULL},
	    {"realm=\"r\r\nX: y\"", "nonce=\"n\"", NULL},
	    {"realm=\"r\"", nonce, NULL},
	    {NULL},
	};
	const char *const good[] = {"realm=\"r\"", "nonce=\"n\"", NULL};
	struct px_digest d, before;
	char out[40];

	(void)state;
	memset(nonce, 'n', sizeof nonce - 1);
	memcpy(nonce, "nonce=\"", 7);
	nonce[sizeof nonce - 2] = '"';
	assert_true(take(&d, good));
	before = d;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_false(px_digest_take(&d, "Digest", bad[i], &mufasa));
		assert_memory_equal(&d, &before, sizeof d);
	}
	assert_false(px_digest_take(&d, "Basic", good, &mufasa));
	assert_false(px_digest_take(&d, NULL, NULL, &mufasa));
	assert_int_equal(px_digest_answer(&d, "Mufasa", "PUBLISH", "sip:a@b", out, sizeof out),
	                 -ENAMETOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(examples_of_the_rfcs),
	    cmocka_unit_test(example_of_rfc_2617),
	    cmocka_unit_test(counts),
	    cmocka_unit_test(sessions),
	    cmocka_unit_test(what_servers_write),
	    cmocka_unit_test(what_cannot_be_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
