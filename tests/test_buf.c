/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buf.h"

static void grows_up_to_its_ceiling(void **state)
{
	(void)state;
	for (size_t ceiling = 0; ceiling < 300; ceiling++) {
		struct px_buf b = px_buf_new(ceiling);

		for (size_t i = 0; i < ceiling; i++)
			px_buf_add(&b, &"0123456789"[i % 10], 1);
		assert_false(b.failed);
		assert_int_equal(b.len, ceiling);
		assert_true(ceiling == 0 ? b.data == NULL : b.data[ceiling] == '\0');
		px_buf_add(&b, "", 0);
		assert_false(b.failed);
		px_buf_add(&b, "x", 1);
		assert_true(b.failed);
		assert_int_equal(b.len, ceiling);
		px_buf_free(&b);
	}
}

static void failure_stays_and_appends_nothing(void **state)
{
	struct px_buf b = px_buf_new(5);

	(void)state;
	px_buf_str(&b, "abc");
	px_buf_str(&b, "def"); /* doesn't fit as a whole: not a byte of it */
	assert_true(b.failed);
	assert_string_equal(b.data, "abc");
	px_buf_str(&b, "d"); /* would fit */
	px_buf_printf(&b, "%d", 1);
	px_buf_xml(&b, "e", 1);
	assert_true(b.failed);
	assert_string_equal(b.data, "abc");
	px_buf_free(&b);
	assert_null(b.data);
	px_buf_str(&b, "again");
	assert_false(b.failed);
	assert_string_equal(b.data, "again");
	px_buf_add(&b, "x", SIZE_MAX);
	assert_true(b.failed);
	px_buf_free(&b);
}

static void prints(void **state)
{
	struct px_buf b = px_buf_new(1000);

	(void)state;
	px_buf_printf(&b, "%s", "");
	assert_null(b.data);
	px_buf_printf(&b, "%s=%d;", "a", 1);
	px_buf_printf(&b, "%200d|", 7);
	assert_false(b.failed);
	assert_int_equal(b.len, 205);
	assert_int_equal(strlen(b.data), 205);
	assert_memory_equal(b.data, "a=1; ", 5);
	px_buf_printf(&b, "%795s", "");
	assert_false(b.failed);
	assert_int_equal(b.len, 1000);
	px_buf_printf(&b, "%s", "y");
	assert_true(b.failed);
	assert_int_equal(b.len, 1000);
	px_buf_free(&b);
}

#define NO "\xef\xbf\xbd"

static void escapes_xml(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} row[] = {
	    {"", 0, ""},
	    {"plain", 5, "plain"},
	    {"a&b<c>d\"e'f", 11, "a&amp;b&lt;c&gt;d&quot;e&#39;f"},
	    {"]]>", 3, "]]&gt;"},
	    {"a\tb\nc\rd", 7, "a&#9;b&#10;c&#13;d"},
	    {"\0\x01\x1f\x7f", 4, NO NO NO "\x7f"},
	    {"M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x93\x85", 16,
	     "M\xc3\xbcller \xe2\x82\xac \xf0\x9f\x93\x85"},
	    {"\xc3", 1, NO},                      /* cut */
	    {"\xe2\x82", 2, NO NO},               /* cut */
	    {"\xe2\x82<", 3, NO NO "&lt;"},       /* cut by markup: the markup is still escaped */
	    {"\xc0\xbc", 2, NO NO},               /* '<', overlong */
	    {"\xe0\x80\xbc", 3, NO NO NO},        /* the same in three */
	    {"\xf0\x80\x80\xbc", 4, NO NO NO NO}, /* and in four */
	    {"\xed\xa0\x80", 3, NO NO NO},        /* surrogate */
	    {"\xef\xbf\xbe\xef\xbf\xbf", 6, NO NO NO NO NO NO},
	    {"\xef\xbf\xbd", 3, NO},
	    {"\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf"},
	    {"\xf4\x90\x80\x80", 4, NO NO NO NO},
	    {"\xff\xfe", 2, NO NO},
	    {"\x80", 1, NO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_buf b = px_buf_new(1000);
		/* of exactly this size, so that a look behind it is seen */
		char *in = malloc(row[i].n ? row[i].n : 1);

		assert_non_null(in);
		memcpy(in, row[i].in, row[i].n);
		px_buf_str(&b, ".");
		px_buf_xml(&b, in, row[i].n);
		assert_false(b.failed);
		assert_string_equal(b.data + 1, row[i].out);
		px_buf_free(&b);
		free(in);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(grows_up_to_its_ceiling),
	    cmocka_unit_test(failure_stays_and_appends_nothing),
	    cmocka_unit_test(prints),
	    cmocka_unit_test(escapes_xml),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
