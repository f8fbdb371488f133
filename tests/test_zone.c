/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "io/zone.h"

#define WINTER INT64_C(1764000000000) /* 2025-11-24T16:00:00Z */
#define SUMMER INT64_C(1750000000000) /* 2025-06-15T15:06:40Z */

static void knows_summer_and_winter(void **state)
{
	char why[PX_ZONE_WHY] = "";

	(void)state;
	assert_int_equal(px_zone_take("Europe/Vienna", why), 0);
	assert_int_equal(px_zone_offset_s((struct px_wall){WINTER}), 3600);
	assert_int_equal(px_zone_offset_s((struct px_wall){SUMMER}), 7200);
	assert_int_equal(px_zone_take("Asia/Kolkata", why), 0);
	assert_int_equal(px_zone_offset_s((struct px_wall){WINTER}), 19800);
	assert_int_equal(px_zone_take("America/St_Johns", why), 0);
	assert_int_equal(px_zone_offset_s((struct px_wall){SUMMER}), -9000);
}

static void refuses_what_is_none(void **state)
{
	static const char *const name[] = {"Europe/Wien", "", "Europe", "zone.tab"};
	char why[PX_ZONE_WHY];

	(void)state;
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		why[0] = '\0';
		assert_int_equal(px_zone_take(name[i], why), -ENOENT);
		assert_non_null(strstr(why, "remind_zone: there is no zone"));
	}
}

static void takes_the_machines_own(void **state)
{
	char why[PX_ZONE_WHY] = "";

	(void)state;
	setenv("TZ", "UTC-3", 1);
	assert_int_equal(px_zone_take(NULL, why), 0);
	assert_int_equal(px_zone_offset_s((struct px_wall){WINTER}), 3 * 3600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(knows_summer_and_winter),
	    cmocka_unit_test(refuses_what_is_none),
	    cmocka_unit_test(takes_the_machines_own),
	};

	return cmocka_run_group_tests_name("zone", tests, NULL, NULL);
}
