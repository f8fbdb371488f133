/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <iconv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/utf8.h"

/* The first character of the n bytes as libc sees it; 0: none. */
static size_t theirs(iconv_t cd, const char *s, size_t n, uint32_t *c)
{
	for (size_t len = 1; len <= n; len++) {
		char *in = (char *)(uintptr_t)s, *out = (char *)c;
		size_t in_left = len, out_left = sizeof *c;

		iconv(cd, NULL, NULL, NULL, NULL);
		if (iconv(cd, &in, &in_left, &out, &out_left) == 0 && out_left == 0)
			return len;
	}
	return 0;
}

static void agree(iconv_t cd, const char *s, size_t n)
{
	uint32_t a = 0, b = 0;
	char *exact = malloc(n);
	size_t len;

	assert_non_null(exact);
	memcpy(exact, s, n);
	len = px_utf8(exact, n, &a);
	free(exact);
	assert_int_equal(len, theirs(cd, s, n, &b));
	if (len)
		assert_int_equal(a, b);
}

static void agrees_with_libc(void **state)
{
	static const unsigned char edge[] = {0x00, 0x7f, 0x80, 0x8f, 0x90,
	                                     0x9f, 0xa0, 0xbf, 0xc0, 0xff};
	const iconv_t cd = iconv_open("UTF-32LE", "UTF-8");

	(void)state;
	assert_true(cd != (iconv_t)-1);
	/* every first byte, with what is at the edges behind it, cut anywhere */
	for (int first = 0; first < 256; first++)
		for (int i = 0; i < 1000; i++) {
			const char s[] = {(char)first, (char)edge[i / 100], (char)edge[i / 10 % 10],
			                  (char)edge[i % 10]};

			for (size_t n = 1; n <= sizeof s; n++)
				agree(cd, s, n);
		}
	iconv_close(cd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_libc)};

	return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
