/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/said.h"
#include "core/utf8.h"

static void shows_what_can_be_shown(void **state)
{
	static const struct {
		const char *in, *out;
	} row[] = {
	    {"", ""},
	    {"plain text", "plain text"},
	    {"a\n\x1b[2Jb\x7f", "a??[2Jb?"},
	    {"J\xc3\xbcrgen", "J\xc3\xbcrgen"},
	    {"J\xfcrgen\xc3", "J?rgen?"},
	    {"\xc2\x85", "?"},
	    {"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffff",
	     "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffff"},
	    {"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeefffffff",
	     "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffff..."},
	};
	char out[PX_SHOWN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		assert_string_equal(px_shown(row[i].in, strlen(row[i].in), out), row[i].out);

	srand(20261123);
	for (int i = 0; i < 100000; i++) {
		const size_t n = 1 + (size_t)rand() % 100;
		char *in = malloc(n);

		assert_non_null(in);
		for (size_t k = 0; k < n; k++)
			in[k] =
			    (char)(rand() % 3 ? "\xf0\x9f\x93\x85"[(size_t)rand() % 4] : rand());
		px_shown(in, n, out);
		free(in);
		for (size_t k = 0, len = strlen(out); k < len;) {
			uint32_t c;
			const size_t step = px_utf8(out + k, len - k, &c);

			assert_true(step > 0 && c >= ' ' && (c < 0x7f || c >= 0xa0));
			k += step;
		}
	}
}

static char last[2000];
static unsigned said_n;

static void hear(void *arg, const char *complaint)
{
	assert_ptr_equal(arg, last);
	snprintf(last, sizeof last, "%s", complaint);
	said_n++;
}

static void says_where_and_what(void **state)
{
	struct px_complaints c = {.said = hear, .arg = last};
	char much[3000];

	(void)state;
	px_complain(&c, 7, "publish_expires", "%d is wrong", 5);
	assert_string_equal(last, "line 7: publish_expires: 5 is wrong");
	px_complain(&c, 7, NULL, "is wrong");
	assert_string_equal(last, "line 7: is wrong");
	px_complain(&c, 0, "account", "is missing");
	assert_string_equal(last, "account: is missing");
	px_complain(&c, 0, NULL, "is wrong");
	assert_string_equal(last, "is wrong");
	c.where = "gateways_file";
	px_complain(&c, 4294967295u, "gateway", "is wrong");
	assert_string_equal(last, "gateways_file line 4294967295: gateway: is wrong");
	memset(much, 'x', sizeof much - 1);
	much[sizeof much - 1] = '\0';
	c.where = much;
	px_complain(&c, 1, much, "%s", much); /* cut, never overrun */
	assert_in_range(strlen(last), 900, 1100);
	assert_int_equal(c.n, 6);
}

static void stops_and_counts(void **state)
{
	struct px_complaints c = {.said = hear, .arg = last};

	(void)state;
	said_n = 0;
	px_complaints_end(&c);
	for (int i = 0; i < PX_SETTINGS_SAID_MAX; i++)
		px_complain(&c, 1, NULL, "x");
	px_complaints_end(&c);
	assert_int_equal(said_n, PX_SETTINGS_SAID_MAX);
	px_complain(&c, 1, NULL, "x");
	px_complain(&c, 1, NULL, "x");
	assert_int_equal(said_n, PX_SETTINGS_SAID_MAX);
	px_complaints_end(&c);
	assert_string_equal(last, "and 2 more");
	assert_int_equal(c.n, PX_SETTINGS_SAID_MAX + 2);

	c = (struct px_complaints){.said = NULL}; /* nobody listens: only counted */
	px_complain(&c, 1, NULL, "x");
	assert_int_equal(c.n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(shows_what_can_be_shown),
	    cmocka_unit_test(says_where_and_what),
	    cmocka_unit_test(stops_and_counts),
	};

	return cmocka_run_group_tests_name("said", tests, NULL, NULL);
}
