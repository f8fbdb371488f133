/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Time zones of availability requests, the merged digits, what each view shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "freebusy.h"
#include "when.h"

static int64_t instant(const char *text)
{
	int64_t t;
	bool zoned;

	if (!when_parse(text, &t, &zoned))
		fail_msg("not a time: %s", text);
	return t;
}

static const struct zone utc = {.standard = {.order = 1, .month = 1},
                                .daylight = {.order = 1, .month = 6}};
/* last Sunday of October 03:00 summer time, last Sunday of March 02:00 */
static const struct zone berlin = {.bias = -60,
                                   .standard = {.time = 10800, .order = 5, .month = 10},
                                   .daylight = {-60, 7200, 5, 3, 0, 0}};
/* first Sunday of November, second Sunday of March, both 02:00 */
static const struct zone new_york = {.bias = 300,
                                     .standard = {.time = 7200, .order = 1, .month = 11},
                                     .daylight = {-60, 7200, 2, 3, 0, 0}};
/* south of the equator summer lies around new year: first Sundays of April and October */
static const struct zone sydney = {.bias = -600,
                                   .standard = {.time = 10800, .order = 1, .month = 4},
                                   .daylight = {-60, 7200, 1, 10, 0, 0}};
/* Tehran's half hour, no daylight time */
static const struct zone half = {.bias = -210};
/* one year only, on a day of the month */
static const struct zone once = {.standard = {0, 10800, 25, 10, 0, 2026},
                                 .daylight = {-60, 7200, 29, 3, 0, 2026}};

static void zones_follow_their_rules(void **state)
{
	static const struct {
		const struct zone *zone;
		const char *utc, *local;
	} rows[] = {
	    {&utc, "2026-07-01T12:00:00Z", "2026-07-01T12:00:00"},
	    {&berlin, "2026-01-01T12:00:00Z", "2026-01-01T13:00:00"},
	    {&berlin, "2026-03-29T00:59:59Z", "2026-03-29T01:59:59"},
	    {&berlin, "2026-03-29T01:00:00Z", "2026-03-29T03:00:00"},
	    {&berlin, "2026-10-25T00:59:59Z", "2026-10-25T02:59:59"},
	    {&berlin, "2026-10-25T01:00:00Z", "2026-10-25T02:00:00"},
	    {&berlin, "2026-10-25T02:00:00Z", "2026-10-25T03:00:00"},
	    {&berlin, "2026-12-31T23:30:00Z", "2027-01-01T00:30:00"},
	    {&new_york, "2026-03-08T06:59:59Z", "2026-03-08T01:59:59"},
	    {&new_york, "2026-03-08T07:00:00Z", "2026-03-08T03:00:00"},
	    {&new_york, "2026-11-01T05:59:59Z", "2026-11-01T01:59:59"},
	    {&new_york, "2026-11-01T06:00:00Z", "2026-11-01T01:00:00"},
	    {&sydney, "2026-01-01T00:00:00Z", "2026-01-01T11:00:00"},
	    {&sydney, "2026-04-04T15:59:59Z", "2026-04-05T02:59:59"},
	    {&sydney, "2026-04-04T16:00:00Z", "2026-04-05T02:00:00"},
	    {&sydney, "2026-10-03T15:59:59Z", "2026-10-04T01:59:59"},
	    {&sydney, "2026-10-03T16:00:00Z", "2026-10-04T03:00:00"},
	    {&half, "2026-07-01T12:00:00Z", "2026-07-01T15:30:00"},
	    {&once, "2026-07-01T12:00:00Z", "2026-07-01T13:00:00"},
	    {&once, "2027-07-01T12:00:00Z", "2027-07-01T12:00:00"},
	};
	char text[WHEN_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(
		    when_text(text, zone_local(rows[i].zone, instant(rows[i].utc)), false),
		    rows[i].local);
}

static void zones_lead_back(void **state)
{
	static const struct zone *const zones[] = {&utc, &berlin, &new_york, &sydney, &half, &once};
	int64_t from = instant("2026-01-01T00:00:00Z");

	(void)state;
	for (size_t z = 0; z < sizeof zones / sizeof *zones; z++)
		for (int64_t t = from; t < from + 400 * WHEN_DAY; t += 900) {
			int64_t back = zone_utc(zones[z], zone_local(zones[z], t));

			/* an hour that comes twice a year may lead to its other self */
			assert_true(back == t || back == t + 3600);
			assert_int_equal(zone_local(zones[z], back), zone_local(zones[z], t));
		}
}

#define DAY "2026-11-23T"

static const struct meeting plain = {.subject = "A <b> & \"c\"", .location = "Room 1"};
static const struct meeting secret = {.subject = "Hidden", .location = "There", .secret = true};
static const struct meeting series = {.subject = "S", .repeat = REPEAT_DAILY, .interval = 1};

static struct occurrence occ(const struct meeting *m, enum status s, const char *from,
                             const char *to)
{
	return (struct occurrence){
	    .meeting = m, .status = s, .start = instant(from), .end = instant(to)};
}

static void digits_are_merged(void **state)
{
	struct occurrence o[] = {
	    occ(&plain, STATUS_TENTATIVE, DAY "00:00:00Z", DAY "00:31:00Z"),
	    occ(&plain, STATUS_BUSY, DAY "00:10:00Z", DAY "00:11:00Z"),
	    occ(&plain, STATUS_ELSEWHERE, DAY "01:00:00Z", DAY "02:30:00Z"),
	    occ(&plain, STATUS_OOF, DAY "02:29:00Z", DAY "02:30:00Z"),
	    occ(&plain, STATUS_FREE, DAY "02:30:00Z", DAY "03:30:00Z"),
	    occ(&plain, STATUS_BUSY, DAY "03:50:00Z", DAY "09:00:00Z"),
	};
	struct freebusy_ask ask = {.from = instant(DAY "00:00:00Z"),
	                           .to = instant(DAY "04:10:00Z"),
	                           .slot = 30,
	                           .elsewhere = true};
	struct buf b = {0};

	(void)state;
	freebusy_merge(&b, &ask, o, 6);
	assert_string_equal(b.p, "214430022");
	b.len = 0;
	ask.elsewhere = false;
	freebusy_merge(&b, &ask, o, 6);
	assert_string_equal(b.p, "210030022");
	b.len = 0;
	ask.from = instant(DAY "02:00:00Z"); /* what began before the window counts in it */
	ask.elsewhere = true;
	ask.slot = 60;
	freebusy_merge(&b, &ask, o, 6);
	assert_string_equal(b.p, "322");
	buf_free(&b);
}

static int count(const char *in, const char *what)
{
	int n = 0;

	for (; (in = strstr(in, what)); in++)
		n++;
	return n;
}

static void views_show_what_they_should(void **state)
{
	static const struct {
		enum view view;
		int merged, events, details;
	} rows[] = {{VIEW_MERGED_ONLY, 1, 0, 0},
	            {VIEW_FREEBUSY, 0, 3, 0},
	            {VIEW_FREEBUSY_MERGED, 1, 3, 0},
	            {VIEW_DETAILED, 0, 3, 3},
	            {VIEW_DETAILED_MERGED, 1, 3, 3}};
	struct occurrence o[] = {
	    occ(&plain, STATUS_BUSY, DAY "09:00:00Z", DAY "10:00:00Z"),
	    occ(&secret, STATUS_OOF, DAY "10:00:00Z", DAY "11:00:00Z"),
	    occ(&series, STATUS_ELSEWHERE, DAY "11:00:00Z", DAY "12:00:00Z"),
	};
	struct freebusy_ask ask = {.from = instant(DAY "00:00:00Z"),
	                           .to = instant("2026-11-24T00:00:00Z"),
	                           .slot = 30,
	                           .zone = berlin};
	struct buf later = {0};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct buf b = {0};

		ask.view = rows[i].view;
		freebusy_write(&b, &ask, o, 3);
		assert_int_equal(count(b.p, "<MergedFreeBusy "), rows[i].merged);
		assert_int_equal(count(b.p, "<CalendarEvent>"), rows[i].events);
		assert_int_equal(count(b.p, "<CalendarEventDetails>"), rows[i].details);
		assert_int_equal(count(b.p, "<WorkingHours "), rows[i].view != VIEW_MERGED_ONLY);
		if (rows[i].events) {
			/* in the request's zone, no offset; a client of 2010 reads Free */
			assert_non_null(strstr(b.p, "<StartTime>2026-11-23T10:00:00</StartTime>"));
			assert_int_equal(count(b.p, "<BusyType>Free</BusyType>"), 1);
			assert_int_equal(count(b.p, "<BusyType>OOF</BusyType>"), 1);
		}
		if (rows[i].details) {
			assert_non_null(strstr(b.p, "<Subject>A &lt;b&gt; &amp; &quot;c&quot;<"));
			assert_null(strstr(b.p, "Hidden"));
			assert_null(strstr(b.p, "There"));
			assert_int_equal(count(b.p, "<IsPrivate>true</IsPrivate>"), 1);
			assert_int_equal(count(b.p, "<IsRecurring>true</IsRecurring>"), 1);
		}
		buf_free(&b);
	}
	ask.elsewhere = true;
	freebusy_write(&later, &ask, o, 3);
	assert_int_equal(count(later.p, "<BusyType>WorkingElsewhere</BusyType>"), 1);
	buf_free(&later);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(zones_follow_their_rules),
	    cmocka_unit_test(zones_lead_back),
	    cmocka_unit_test(digits_are_merged),
	    cmocka_unit_test(views_show_what_they_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
