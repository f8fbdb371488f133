/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/wall.h"

static int parse(const char *text, int64_t *ms)
{
	struct px_wall w = {-7};
	const size_t n = strlen(text);
	char *exact = malloc(n ? n : 1);
	int err;

	assert_non_null(exact);
	memcpy(exact, text, n);
	err = px_wall_parse(exact, n, &w);
	free(exact);
	*ms = w.ms;
	return err;
}

static void reads(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} row[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"1970-01-01T00:00:00", 0},
	    {"1970-01-01T00:00:00.001Z", 1},
	    {"2026-11-23T09:00:00Z", 1795424400000},
	    {"2026-11-23T09:00:00", 1795424400000},
	    {" \t\r\n2026-11-23T09:00:00Z\n ", 1795424400000},
	    {"2026-11-23T10:00:00+01:00", 1795424400000},
	    {"2026-11-23T02:00:00-07:00", 1795424400000},
	    {"2026-11-23T14:30:00+05:30", 1795424400000},
	    {"2026-11-23T23:00:00+14:00", 1795424400000},
	    {"2026-11-22T19:00:00-14:00", 1795424400000},
	    {"2026-11-23T09:00:00-00:00", 1795424400000},
	    {"2026-11-23T09:00:00.5Z", 1795424400500},
	    {"2026-11-23T09:00:00.1239999999999Z", 1795424400123},
	    {"2026-11-23T09:00:00.000+00:00", 1795424400000},
	    {"2024-02-29T00:00:00Z", 1709164800000},
	    {"2000-02-29T00:00:00Z", 951782400000},
	    {"2016-12-31T23:59:60Z", 1483228799000},
	    {"2026-11-22T24:00:00Z", 1795392000000},
	    {"2026-12-31T24:00:00.000Z", 1798761600000},
	    {"1969-12-31T23:00:00-01:00", 0},
	    {"2199-12-31T23:59:59.999Z", 7258118399999},
	    {"2200-01-01T00:30:00+01:00", 7258116600000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		int64_t ms;

		if (parse(row[i].text, &ms) != 0 || ms != row[i].ms)
			fail_msg("%s: %lld", row[i].text, (long long)ms);
	}
}

static void refuses(void **state)
{
	static const struct {
		const char *text;
		int err;
	} row[] = {
	    {"", -EINVAL},
	    {" ", -EINVAL},
	    {"2026", -EINVAL},
	    {"2026-11-23", -EINVAL},
	    {"2026-11-23T09:00", -EINVAL},
	    {"2026-11-23T09:00:0", -EINVAL},
	    {"2026-11-23 09:00:00", -EINVAL},
	    {"2026-11-23t09:00:00Z", -EINVAL},
	    {"2026-11-23T09:00:00z", -EINVAL},
	    {"2026-11-23T09:00:00.Z", -EINVAL},
	    {"2026-11-23T09:00:00.", -EINVAL},
	    {"2026-11-23T09:00:00ZZ", -EINVAL},
	    {"2026-11-23T09:00:00Z x", -EINVAL},
	    {"2026-11-23T09:00:00+01", -EINVAL},
	    {"2026-11-23T09:00:00+0100", -EINVAL},
	    {"2026-11-23T09:00:00+01:0", -EINVAL},
	    {"2026-11-23T09:00:00 +01:00", -EINVAL},
	    {"26-11-23T09:00:00Z", -EINVAL},
	    {"12026-11-23T09:00:00Z", -EINVAL},
	    {"-2026-11-23T09:00:00Z", -EINVAL},
	    {"2026-1-23T09:00:00Z", -EINVAL},
	    {"2026-11-23T-9:00:00Z", -EINVAL},
	    {"2026-11-23T09:00:00,5Z", -EINVAL},
	    {"\xef\xbb\xbf"
	     "2026-11-23T09:00:00Z",
	     -EINVAL},
	    {"2026-00-23T09:00:00Z", -ERANGE},
	    {"2026-13-23T09:00:00Z", -ERANGE},
	    {"2026-11-00T09:00:00Z", -ERANGE},
	    {"2026-11-31T09:00:00Z", -ERANGE},
	    {"2026-02-29T09:00:00Z", -ERANGE},
	    {"2100-02-29T09:00:00Z", -ERANGE},
	    {"2026-11-23T25:00:00Z", -ERANGE},
	    {"2026-11-23T24:00:01Z", -ERANGE},
	    {"2026-11-23T24:00:00.5Z", -ERANGE},
	    {"2026-11-23T24:00:00.0001Z", -ERANGE},
	    {"2026-11-23T09:60:00Z", -ERANGE},
	    {"2026-11-23T09:00:61Z", -ERANGE},
	    {"2026-11-23T09:00:00+14:01", -ERANGE},
	    {"2026-11-23T09:00:00+01:60", -ERANGE},
	    {"1969-12-31T23:59:59Z", -ERANGE},
	    {"1970-01-01T00:00:00+00:01", -ERANGE},
	    {"0000-01-01T00:00:00Z", -ERANGE},
	    {"2200-01-01T00:00:00Z", -ERANGE},
	    {"2199-12-31T24:00:00Z", -ERANGE},
	    {"9999-12-31T00:00:00Z", -ERANGE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		int64_t ms;
		const int err = parse(row[i].text, &ms);

		if (err != row[i].err || ms != -7)
			fail_msg("%s: %d, %lld", row[i].text, err, (long long)ms);
	}
	assert_int_equal(px_wall_parse("2026-11-23T09:00:00Z\0", 21, &(struct px_wall){0}),
	                 -EINVAL);
}

/* libc's calendar is the oracle: every day's first and last second of the years that are read. */
static void agrees_with_libc(void **state)
{
	(void)state;
	for (int64_t s = 0; s < 7258118400; s += 86400) {
		for (int64_t t = s; t < s + 86400; t += 86399) {
			char theirs[40], ours[PX_WALL_TEXT];
			const time_t now = (time_t)t;
			struct tm tm;
			int64_t back;

			strftime(theirs, sizeof theirs, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
			assert_string_equal(px_wall_text((struct px_wall){t * 1000 + 999}, ours),
			                    theirs);
			assert_int_equal(parse(ours, &back), 0);
			assert_int_equal(back, t * 1000);
		}
	}
}

static void writes_any_moment(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} row[] = {
	    {0, "1970-01-01T00:00:00Z"},
	    {-1, "1969-12-31T23:59:59Z"},
	    {-1000, "1969-12-31T23:59:59Z"},
	    {-1001, "1969-12-31T23:59:58Z"},
	    {-86400000, "1969-12-31T00:00:00Z"},
	    {-86400001, "1969-12-30T23:59:59Z"},
	    {253402300800000, "10000-01-01T00:00:00Z"},
	    {INT64_MAX, "292278994-08-17T07:12:55Z"},
	    {INT64_MIN, "-292275055-05-16T16:47:04Z"},
	};
	char text[PX_WALL_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		assert_string_equal(px_wall_text((struct px_wall){row[i].ms}, text), row[i].text);
}

/* Whatever comes in: 0 with a time in range that reads back the same, or an error and nothing
 * written. */
static void survives_mutations(void **state)
{
	static const char *const seed[] = {"2026-11-23T09:00:00Z", "2026-11-23T09:00:00.123+01:00",
	                                   " 2016-12-31T23:59:60-14:00\n", "1999-02-28T24:00:00"};
	static const char alphabet[] = "0123456789-+:.TZtz \n\0\xff";
	int good = 0;

	(void)state;
	srand(20261123);
	for (int i = 0; i < 200000; i++) {
		char text[40], written[PX_WALL_TEXT];
		struct px_wall w = {-7}, again;
		size_t n = strlen(strcpy(text, seed[rand() % 4]));
		char *exact;

		for (int changes = rand() % 4; changes > 0; changes--) {
			const size_t at = (size_t)rand() % n;
			const char c = alphabet[(size_t)rand() % (sizeof alphabet - 1)];

			switch (rand() % 4) {
			case 0:
				n = at > 0 ? at : 1; /* cut */
				break;
			case 1:
				if (n < sizeof text - 1) {
					memmove(text + at + 1, text + at, n - at);
					n++;
				}
				text[at] = c;
				break;
			default:
				text[at] = c;
			}
		}
		exact = malloc(n);
		assert_non_null(exact);
		memcpy(exact, text, n);
		if (px_wall_parse(exact, n, &w) == 0) {
			good++;
			assert_in_range(w.ms, 0, 7258118399999);
			px_wall_text(w, written);
			assert_int_equal(px_wall_parse(written, strlen(written), &again), 0);
			assert_int_equal(again.ms, w.ms - w.ms % 1000);
		} else {
			assert_int_equal(w.ms, -7);
		}
		free(exact);
	}
	assert_in_range(good, 50000, 199999); /* else this tests nothing */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads),
	    cmocka_unit_test(refuses),
	    cmocka_unit_test(agrees_with_libc),
	    cmocka_unit_test(writes_any_moment),
	    cmocka_unit_test(survives_mutations),
	};

	return cmocka_run_group_tests_name("wall", tests, NULL, NULL);
}
