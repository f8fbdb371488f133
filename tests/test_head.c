/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Header lines: what is kept of them, and of which answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/head.h"

static const char *const wanted[] = {"Subscription-id", "MS-WebStorage", NULL};

/* Line by line, each in memory of its own so that ASan sees its ends. */
static struct px_head take(const char *const *names, const char *text)
{
	struct px_head h = px_head(names);

	for (size_t n; *text; text += n) {
		const char *end = strchr(text, '\n');
		char *copy;

		n = end ? (size_t)(end - text) + 1 : strlen(text);
		copy = malloc(n);
		memcpy(copy, text, n);
		assert_true(px_head_line(&h, copy, n));
		free(copy);
	}
	return h;
}

static void lines_that_were_wanted(void **state)
{
	struct px_head h = take(wanted, "HTTP/1.1 200 OK\r\nsubscription-ID: \t15 \r\nHost: x\r\n"
	                                "Subscription-ids: 4\r\nMS-WebStorage:08.01\r\n\r\n");

	(void)state;
	assert_string_equal(h.lines.data, "subscription-ID: \t15\nMS-WebStorage:08.01\n");
	assert_true(h.whole);
	assert_null(h.cookie);
	px_head_free(&h);
	h = take(NULL, "Subscription-id: 15\r\n");
	assert_null(h.lines.data);
	assert_false(h.whole);
	px_head_free(&h);
}

/* What a 401 in the middle of a login says is nothing to the answer that follows it. */
static void the_last_answer_counts(void **state)
{
	struct px_head h =
	    take(wanted, "HTTP/1.1 401 No\r\nSubscription-id: 1\r\nSet-Cookie: exchangecookie=a\r\n"
	                 "Date: Mon, 23 Nov 2026 08:00:00 GMT\r\n\r\nHTTP/1.1 200 OK\r\n");

	(void)state;
	assert_null(h.lines.data);
	assert_null(h.cookie);
	assert_int_equal(h.date.ms, 0);
	assert_false(h.whole);
	assert_int_equal(h.bytes, 123);
	px_head_free(&h);
}

static void dates(void **state)
{
	static const struct {
		const char *line;
		int64_t ms;
	} row[] = {
	    {"Date: Mon, 23 Nov 2026 08:00:00 GMT\r\n", INT64_C(1795420800000)},
	    {"date:Mon, 23 Nov 2026 08:00:00 GMT\n", INT64_C(1795420800000)},
	    {"Date: today\r\n", 0},
	    {"Date:\r\n", 0},
	    {"Dates: Mon, 23 Nov 2026 08:00:00 GMT\r\n", 0},
	    {"Date: Mon, 23 Nov 2026 08:00:00 GMT                                      (and "
	     "more)\r\n",
	     0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_head h = take(NULL, row[i].line);

		assert_int_equal(h.date.ms, row[i].ms);
		px_head_free(&h);
	}
}

static void cookies(void **state)
{
	static char far[PX_COOKIE_MAX + 40];
	const struct {
		const char *lines, *cookie; /* NULL: none */
	} row[] = {
	    {"Set-Cookie: X-BackEndOverrideCookie=a.b~1941; path=/; secure\r\n"
	     "set-cookie:exchangecookie=5d8a;HttpOnly\r\n",
	     "X-BackEndOverrideCookie=a.b~1941; exchangecookie=5d8a"},
	    {"Set-Cookie: exchangecookie=\r\n", "exchangecookie="},
	    {"Set-Cookie: other=1\r\n", NULL},
	    {"Set-Cookie: exchangecookie\r\n", NULL},
	    {"Set-Cookie: exchangecookie; a=b\r\n", NULL},
	    {"Set-Cookie: =1\r\n", NULL},
	    {"Set-Cookie:\r\n", NULL},
	    {"Set-Cookie: exchangecookie=a\x01\xff\r\n", "exchangecookie=a"},
	    {far, NULL},
	};

	(void)state;
	memset(far, 'x', sizeof far - 1);
	memcpy(far, "Set-Cookie: exchangecookie=", 27);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_head h = take(NULL, row[i].lines);

		if (row[i].cookie)
			assert_string_equal(h.cookie, row[i].cookie);
		else
			assert_null(h.cookie);
		px_head_free(&h);
	}
}

static void ceilings(void **state)
{
	struct px_head h = px_head(wanted);
	char line[1024];

	(void)state;
	memset(line, 'x', sizeof line);
	memcpy(line, "MS-WebStorage: ", 15);
	line[sizeof line - 1] = '\n';
	for (int i = 0; i < PX_HEAD_MAX / 1024; i++)
		assert_true(px_head_line(&h, line, sizeof line));
	assert_true(h.lines.len <= PX_HEAD_KEPT);
	assert_false(px_head_line(&h, "\n", 1));
	px_head_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lines_that_were_wanted),
	    cmocka_unit_test(the_last_answer_counts),
	    cmocka_unit_test(dates),
	    cmocka_unit_test(cookies),
	    cmocka_unit_test(ceilings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
