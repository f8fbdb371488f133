/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "px_key.h"

/* From a copy of exactly n bytes, so that a look behind it is seen. */
static int with(int (*read)(const char *, size_t, char *), const char *s, size_t n, char *out)
{
	char *exact = malloc(n ? n : 1);
	int err;

	assert_non_null(exact);
	memcpy(exact, s, n);
	err = read(exact, n, out);
	free(exact);
	return err;
}

static void reads_aors(void **state)
{
	static const struct {
		const char *aor, *key; /* NULL: -EINVAL */
	} row[] = {
	    {"alice@example.com", "alice@example.com"},
	    {"sip:alice@example.com", "alice@example.com"},
	    {"SIPS:alice@example.com", "alice@example.com"},
	    {"sip:Alice@EXAMPLE.Com", "Alice@example.com"},
	    {"sip:alice@example.com:5060", "alice@example.com"},
	    {"sip:alice@example.com;transport=tcp", "alice@example.com"},
	    {"sip:alice@example.com:5061;transport=tls?Subject=x", "alice@example.com"},
	    {"sip:alice@example.com?Subject=x", "alice@example.com"},
	    {"sip:+4930123;ext=4@example.com", "+4930123;ext=4@example.com"},
	    {"sip:a/b?c@example.com", "a/b?c@example.com"},
	    {"sip:%61lice@example.com", "alice@example.com"},
	    {"sip:a%40b@example.com", "a@b@example.com"},
	    {"sip:a%3ab@example.com", "a:b@example.com"},
	    {"sip:a%25b@example.com", "a%b@example.com"},
	    {"sip:a%3cb@example.com", "a<b@example.com"},
	    {"sip:j%C3%BCrgen@example.com", "j\xc3\xbcrgen@example.com"},
	    {"j\xc3\xbcrgen@example.com", "j\xc3\xbcrgen@example.com"},
	    {"sip:*72#@example.com", "*72#@example.com"},
	    {"alice@pbx", "alice@pbx"},
	    {"alice@my_pbx.local.", "alice@my_pbx.local."},
	    {"alice@192.0.2.1", "alice@192.0.2.1"},
	    {"alice@[2001:DB8::1]", "alice@[2001:db8::1]"},
	    {"sip:alice@[2001:db8::1]:5060;lr", "alice@[2001:db8::1]"},
	    {"sip:alice@[::ffff:192.0.2.1]", "alice@[::ffff:192.0.2.1]"},
	    {"sip@example.com", "sip@example.com"},

	    {"", NULL},
	    {"sip:", NULL},
	    {"@", NULL},
	    {"alice", NULL},
	    {"sip:example.com", NULL},
	    {"sip:@example.com", NULL},
	    {"alice@", NULL},
	    {"sip:alice@;lr", NULL},
	    {"sip:alice@:5060", NULL},
	    {"alice@example.com@example.org", NULL},
	    {"alice:secret@example.com", NULL},
	    {"tel:+4930123", NULL},
	    {"http://alice@example.com", NULL},
	    {"<sip:alice@example.com>", NULL},
	    {"Alice <sip:alice@example.com>", NULL},
	    {"\"Alice\"@example.com", NULL},
	    {"sip:alice@example.com>", NULL},
	    {"sip:alice@example.com;x=\"y\"", NULL},
	    {" alice@example.com", NULL},
	    {"alice@example.com ", NULL},
	    {"al ice@example.com", NULL},
	    {"al\tice@example.com", NULL},
	    {"alice@example.com\n", NULL},
	    {"alice@example.com;x=\r\nVia: y", NULL},
	    {"al\x7fice@example.com", NULL},
	    {"a%20b@example.com", NULL},
	    {"a%00b@example.com", NULL},
	    {"a%0Ab@example.com", NULL},
	    {"a%7fb@example.com", NULL},
	    {"a%c2%85b@example.com", NULL}, /* C1 control */
	    {"a%c2%a0b@example.com", NULL}, /* blank */
	    {"a%FFb@example.com", NULL},
	    {"a%C3@example.com", NULL},
	    {"a%ED%A0%80@example.com", NULL},
	    {"a%EF%BF%BF@example.com", NULL},
	    {"a\xff@example.com", NULL},
	    {"a%@example.com", NULL},
	    {"a%4@example.com", NULL},
	    {"a%4g@example.com", NULL},
	    {"alice@exa%6dple.com", NULL},
	    {"alice@ex\xc3\xa4mple.com", NULL},
	    {"alice@.example.com", NULL},
	    {"alice@example..com", NULL},
	    {"alice@exam!ple.com", NULL},
	    {"alice@example.com:", NULL},
	    {"alice@example.com:0", NULL},
	    {"alice@example.com:65536", NULL},
	    {"alice@example.com:99999999999999999999", NULL},
	    {"alice@example.com:50x", NULL},
	    {"alice@example.com/x", NULL},
	    {"alice@[2001:db8::1", NULL},
	    {"alice@[]", NULL},
	    {"alice@[192.0.2.1]", NULL},
	    {"alice@[2001:db8::1]x", NULL},
	    {"alice@[1:2:3:4:5:6:7:8:9]", NULL},
	    {"alice@2001:db8::1", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		char key[PX_AOR_MAX + 1] = "untouched";
		const int err = with(px_key_from_aor, row[i].aor, strlen(row[i].aor), key);

		if (err != (row[i].key ? 0 : -EINVAL) ||
		    strcmp(key, row[i].key ? row[i].key : "untouched") != 0)
			fail_msg("%s: %d, %s", row[i].aor, err, key);
	}
	{
		char key[PX_AOR_MAX + 1];

		assert_int_equal(with(px_key_from_aor, "ali\0ce@example.com", 18, key), -EINVAL);
		assert_int_equal(with(px_key_from_aor, "alice@exam\0ple.com", 18, key), -EINVAL);
		assert_int_equal(with(px_key_from_aor, "alice@[::1\0]", 12, key), -EINVAL);
		assert_int_equal(with(px_key_from_aor, "alice@example.com\0", 18, key), -EINVAL);
	}
}

static void reads_mailboxes(void **state)
{
	static const struct {
		const char *address, *mailbox;
	} row[] = {
	    {"alice@example.com", "alice@example.com"},
	    {"smtp:alice@example.com", "alice@example.com"},
	    {"SMTP:Alice.O'Neil+x@Example.COM", "alice.o'neil+x@example.com"},
	    {"room-3_b@corp", "room-3_b@corp"},
	    {"J\xc3\x9cRGEN@example.com", "j\xc3\x9crgen@example.com"}, /* ASCII only */

	    {"", NULL},
	    {"smtp:", NULL},
	    {"alice", NULL},
	    {"@example.com", NULL},
	    {"alice@", NULL},
	    {"alice@example.com@example.com", NULL},
	    {"sip:alice@example.com", NULL},
	    {"X400:c=DE;a= ;p=x", NULL},
	    {"/o=Org/cn=Recipients/cn=alice", NULL},
	    {"<alice@example.com>", NULL},
	    {"\"a\"@example.com", NULL},
	    {"alice@[192.0.2.1]", NULL},
	    {"alice@192.0.2.1", NULL},
	    {"alice@[2001:db8::1]", NULL},
	    {"alice@example.com:25", NULL},
	    {"alice@exam/ple.com", NULL},
	    {"al ice@example.com", NULL},
	    {"alice@example.com\r\nX-Evil: 1", NULL},
	    {"alice\xff@example.com", NULL},
	    {"a,b@example.com", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		char mailbox[PX_MAILBOX_MAX + 1] = "untouched";
		const int err = with(px_mailbox, row[i].address, strlen(row[i].address), mailbox);

		if (err != (row[i].mailbox ? 0 : -EINVAL) ||
		    strcmp(mailbox, row[i].mailbox ? row[i].mailbox : "untouched") != 0)
			fail_msg("%s: %d, %s", row[i].address, err, mailbox);
	}
	assert_int_equal(with(px_mailbox, "ali\0ce@example.com", 18, (char[PX_MAILBOX_MAX + 1]){0}),
	                 -EINVAL);
}

static void limits_lengths(void **state)
{
	char text[2 * PX_AOR_MAX], out[PX_AOR_MAX + 1];

	(void)state;
	for (size_t n = 8; n < sizeof text; n++) {
		const int want = n > PX_AOR_MAX ? -ENAMETOOLONG : 0;

		memset(text, 'a', n); /* a long user */
		text[n - 6] = '@';
		assert_int_equal(with(px_key_from_aor, text, n, out), want);
		assert_int_equal(with(px_mailbox, text, n, out), want);
		memset(text, 'a', n); /* a long host */
		text[1] = '@';
		assert_int_equal(with(px_key_from_aor, text, n, out), want);
		assert_int_equal(with(px_mailbox, text, n, out), want);
	}
	/* what is dropped doesn't count */
	memset(text, 'a', sizeof text);
	memcpy(text, "sips:a@b;", 9);
	assert_int_equal(with(px_key_from_aor, text, sizeof text, out), 0);
	assert_string_equal(out, "a@b");
}

static void writes_uris(void **state)
{
	static const struct {
		const char *key, *uri;
	} row[] = {
	    {"alice@example.com", "sip:alice@example.com"},
	    {"a@b@example.com", "sip:a%40b@example.com"},
	    {"a%b@example.com", "sip:a%25b@example.com"},
	    {"a:b@[2001:db8::1]", "sip:a%3Ab@[2001:db8::1]"},
	    {"-_.!~*'()&=+$,;?/@h", "sip:-_.!~*'()&=+$,;?/@h"},
	    {"\"<>#[]\\^`{|}@h", "sip:%22%3C%3E%23%5B%5D%5C%5E%60%7B%7C%7D@h"},
	    {"j\xc3\xbcrgen@h", "sip:j%C3%BCrgen@h"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const size_t n = strlen(row[i].uri);

		for (size_t size = 0; size < n + 5; size++) {
			char *uri = malloc(size ? size : 1);
			const int err = px_key_uri(row[i].key, uri, size);

			assert_int_equal(err, size > n ? 0 : -ENAMETOOLONG);
			if (err == 0)
				assert_string_equal(uri, row[i].uri);
			free(uri);
		}
	}
}

/* Whatever is taken as an AoR comes back from its URI, and only visible characters are taken. */
static void comes_back_from_its_uri(void **state)
{
	static const char *const piece[] = {
	    "a",     "Z",   "%",  "%40",    "%4",   "@",    "@h",           "@H.x", "[::1]", ":",
	    ":5060", ";x",  "?y", "%C3%BC", "\xc3", "\xbc", "\"",           "%22",  "%3C",   "sip:",
	    "#",     "%00", " ",  "'",      "&",    "+",    "\xe2\x82\xac", "."};
	int good = 0;

	(void)state;
	srand(20261123);
	for (int i = 0; i < 300000; i++) {
		char text[100] = "", key[PX_AOR_MAX + 1], again[PX_AOR_MAX + 1];
		char uri[4 + 3 * PX_AOR_MAX + 1];

		for (int k = 1 + rand() % 6; k > 0; k--)
			strcat(text, piece[(size_t)rand() % (sizeof piece / sizeof *piece)]);
		if (with(px_key_from_aor, text, strlen(text), key))
			continue;
		good++;
		for (const char *c = key; *c; c++)
			assert_true((unsigned char)*c > ' ' && *c != 0x7f);
		assert_int_equal(px_key_uri(key, uri, sizeof uri), 0);
		for (const char *c = uri; *c; c++)
			assert_true((unsigned char)*c < 0x7f && !strchr("\"<>#\\^`{|}", *c));
		assert_int_equal(px_key_from_aor(uri, strlen(uri), again), 0);
		assert_string_equal(again, key);
	}
	assert_in_range(good, 3000, 299999); /* else this tests nothing */
}

static void hashes_alike_for_ever(void **state)
{
	(void)state;
	/* documents out there carry ids made of these: they must never change */
	assert_true(px_key_hash("", 0) == UINT64_C(0xefd01f60ba992926));
	assert_true(px_key_hash("alice@example.com", 17) == UINT64_C(0x53e4b3bc79050458));
	assert_true(px_key_hash("a\0b", 3) != px_key_hash("a\0c", 3));
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Names that differ in little must not meet, nor crowd a table's slots. */
static void spreads(void **state)
{
	enum { N = 200000, SLOTS = 1024 };
	static uint64_t hash[N];
	static unsigned slot[2][SLOTS];

	(void)state;
	for (int i = 0; i < N; i++) {
		char key[40];
		const int n = snprintf(key, sizeof key, "user%06d@example.com", i);

		hash[i] = px_key_hash(key, (size_t)n);
		slot[0][hash[i] % SLOTS]++;
		slot[1][hash[i] >> 54]++;
	}
	for (int i = 0; i < SLOTS; i++) { /* 195 expected, sigma 14 */
		assert_in_range(slot[0][i], 195 - 84, 195 + 84);
		assert_in_range(slot[1][i], 195 - 84, 195 + 84);
	}
	qsort(hash, N, sizeof *hash, compare);
	for (int i = 1; i < N; i++)
		assert_true(hash[i - 1] != hash[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_aors),
	    cmocka_unit_test(reads_mailboxes),
	    cmocka_unit_test(limits_lengths),
	    cmocka_unit_test(writes_uris),
	    cmocka_unit_test(comes_back_from_its_uri),
	    cmocka_unit_test(hashes_alike_for_ever),
	    cmocka_unit_test(spreads),
	};

	return cmocka_run_group_tests_name("key", tests, NULL, NULL);
}
