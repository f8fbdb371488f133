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

#include "core/availability.h"

#define T0 INT64_C(1795392000) /* 2026-11-23T00:00:00Z */

static struct px_wall at(int64_t s)
{
	return (struct px_wall){(T0 + s) * 1000};
}

/* Spans of a calendar as text: "100-200 busy, 300-310 oof", seconds after T0. */
static const char *shown(const struct px_calendar *c, char *text, size_t size)
{
	size_t n = 0;

	text[0] = '\0';
	for (uint32_t i = 0; i < c->n; i++)
		n += (size_t)snprintf(text + n, size - n, "%s%lld-%lld %s", i ? ", " : "",
		                      (long long)c->span[i].start - T0,
		                      (long long)c->span[i].start + c->span[i].length - T0,
		                      px_status_name(c->span[i].status));
	return text;
}

struct given {
	int64_t start, end;
	enum px_status status;
};

static void resolves_overlaps(void **state)
{
	static const struct {
		struct given in[5];
		const char *out;
	} row[] = {
	    {{{0}}, ""},
	    {{{100, 200, PX_BUSY}}, "100-200 busy"},
	    {{{100, 200, PX_FREE}}, ""},
	    {{{200, 100, PX_BUSY}}, ""},
	    {{{100, 100, PX_BUSY}}, ""},
	    /* touching: joined if alike */
	    {{{100, 200, PX_BUSY}, {200, 300, PX_BUSY}}, "100-300 busy"},
	    {{{200, 300, PX_BUSY}, {100, 200, PX_OOF}}, "100-200 oof, 200-300 busy"},
	    {{{100, 200, PX_BUSY}, {150, 300, PX_BUSY}}, "100-300 busy"},
	    {{{100, 300, PX_BUSY}, {150, 200, PX_BUSY}}, "100-300 busy"},
	    {{{100, 200, PX_BUSY}, {201, 300, PX_BUSY}}, "100-200 busy, 201-300 busy"},
	    /* who wins */
	    {{{100, 300, PX_BUSY}, {150, 200, PX_OOF}}, "100-150 busy, 150-200 oof, 200-300 busy"},
	    {{{100, 300, PX_OOF}, {150, 200, PX_BUSY}}, "100-300 oof"},
	    {{{100, 300, PX_BUSY}, {150, 400, PX_TENTATIVE}}, "100-300 busy, 300-400 tentative"},
	    {{{100, 300, PX_TENTATIVE}, {150, 400, PX_WORKINGELSEWHERE}},
	     "100-300 tentative, 300-400 workingelsewhere"},
	    {{{100, 300, PX_WORKINGELSEWHERE}, {150, 400, PX_NODATA}},
	     "100-300 workingelsewhere, 300-400 nodata"},
	    {{{100, 300, PX_NODATA}, {150, 400, PX_FREE}}, "100-300 nodata"},
	    {{{100, 200, PX_BUSY}, {100, 200, PX_OOF}, {100, 200, PX_TENTATIVE}}, "100-200 oof"},
	    {{{100, 140, PX_NODATA},
	      {110, 150, PX_WORKINGELSEWHERE},
	      {120, 160, PX_TENTATIVE},
	      {130, 170, PX_BUSY},
	      {140, 180, PX_OOF}},
	     "100-110 nodata, 110-120 workingelsewhere, 120-130 tentative, 130-140 busy, 140-180 "
	     "oof"},
	    /* the window is 0 to 1000 */
	    {{{-100, 50, PX_BUSY}, {950, 1050, PX_OOF}}, "0-50 busy, 950-1000 oof"},
	    {{{-100, 0, PX_BUSY}, {1000, 1100, PX_OOF}}, ""},
	    {{{-100, 1100, PX_BUSY}}, "0-1000 busy"},
	    {{{INT32_MIN, INT32_MAX, PX_BUSY}, {0, 1, PX_OOF}}, "0-1 oof, 1-1000 busy"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_interval in[5];
		struct px_calendar c = {0};
		char text[300];
		size_t n = 0;

		for (; n < 5 && (row[i].in[n].start || row[i].in[n].end); n++)
			in[n] = (struct px_interval){at(row[i].in[n].start), at(row[i].in[n].end),
			                             row[i].in[n].status};
		assert_int_equal(px_calendar_make(&c, in, n, at(0), at(1000)), 0);
		assert_string_equal(shown(&c, text, sizeof text), row[i].out);
		assert_int_equal(c.from, T0);
		assert_int_equal(c.until, T0 + 1000);
		px_calendar_free(&c);
		assert_null(c.span);
		assert_int_equal(c.until, 0);
	}
}

static void rounds_down(void **state)
{
	const struct px_interval in[] = {
	    {{T0 * 1000 + 100999}, {T0 * 1000 + 200999}, PX_BUSY},
	    {{T0 * 1000 + 300001}, {T0 * 1000 + 300999}, PX_OOF}, /* nothing of it is left */
	};
	struct px_calendar c = {0};
	char text[100];

	(void)state;
	assert_int_equal(px_calendar_make(&c, in, 2, at(0), at(1000)), 0);
	assert_string_equal(shown(&c, text, sizeof text), "100-200 busy");
	px_calendar_free(&c);
}

static void takes_strange_windows(void **state)
{
	const struct px_interval all = {{INT64_MIN}, {INT64_MAX}, PX_BUSY};
	struct px_calendar c = {0};

	(void)state;
	assert_int_equal(px_calendar_make(&c, &all, 1, at(10), at(10)), 0);
	assert_int_equal(c.n, 0);
	assert_int_equal(c.until, 0);
	assert_int_equal(px_calendar_make(&c, &all, 1, at(10), at(9)), 0);
	assert_int_equal(c.until, 0);
	assert_int_equal(px_calendar_make(&c, &all, 1, (struct px_wall){INT64_MIN}, at(0)), 0);
	assert_int_equal(c.from, 0);
	assert_int_equal(c.until, (1u << 29) - 1);
	assert_int_equal(c.n, 1);
	assert_int_equal(c.span[0].length, (1u << 29) - 1);
	px_calendar_free(&c);
	assert_int_equal(px_calendar_make(&c, &all, 1, at(0), (struct px_wall){INT64_MAX}), 0);
	assert_int_equal(c.from, T0);
	assert_int_equal(c.until, T0 + (1 << 29) - 1);
	px_calendar_free(&c);
	assert_int_equal(px_calendar_make(&c, &all, 1, (struct px_wall){INT64_C(4294967290000)},
	                                  (struct px_wall){INT64_MAX}),
	                 0);
	assert_int_equal(c.from, 4294967290);
	assert_int_equal(c.until, UINT32_MAX);
	assert_int_equal(c.span[0].length, 5);
	assert_int_equal(px_availability_at(&c, &px_map_default, PX_UNKNOWN,
	                                    (struct px_wall){INT64_C(4294967294999)})
	                     .presence,
	                 PX_PRESENCE_BUSY);
	px_calendar_free(&c);
}

static void refuses_too_many(void **state)
{
	static struct px_interval in[PX_INTERVALS_MAX + 1];
	struct px_calendar c = {0};

	(void)state;
	for (int i = 0; i <= PX_INTERVALS_MAX; i++)
		in[i] = (struct px_interval){at(2 * i), at(2 * i + 1), PX_BUSY};
	assert_int_equal(px_calendar_make(&c, in, PX_INTERVALS_MAX + 1, at(0), at(9000)), -E2BIG);
	assert_null(c.span);
	assert_int_equal(px_calendar_make(&c, in, PX_INTERVALS_MAX, at(0), at(9000)), 0);
	assert_int_equal(c.n, PX_INTERVALS_MAX);
	px_calendar_free(&c);
}

static void compares_spans_only(void **state)
{
	const struct px_interval in[] = {{at(100), at(200), PX_BUSY}, {at(200), at(250), PX_BUSY}};
	const struct px_interval same[] = {
	    {at(200), at(250), PX_BUSY}, {at(100), at(220), PX_BUSY}, {at(300), at(400), PX_FREE}};
	const struct px_interval other[][1] = {{{at(100), at(251), PX_BUSY}},
	                                       {{at(99), at(250), PX_BUSY}},
	                                       {{at(100), at(250), PX_OOF}}};
	struct px_calendar a = {0}, b = {0};

	(void)state;
	assert_true(px_calendar_equal(&a, &b));
	assert_int_equal(px_calendar_make(&a, in, 2, at(0), at(1000)), 0);
	assert_false(px_calendar_equal(&a, &b));
	assert_int_equal(px_calendar_make(&b, same, 3, at(50), at(2000)), 0);
	assert_true(px_calendar_equal(&a, &b));
	px_calendar_free(&b);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(px_calendar_make(&b, other[i], 1, at(0), at(1000)), 0);
		assert_false(px_calendar_equal(&a, &b));
		assert_false(px_calendar_equal(&b, &a));
		px_calendar_free(&b);
	}
	px_calendar_free(&a);
}

/* free 0-100, tentative -200, busy -300, nodata -400, busy -500, oof -600, nodata -700, free to
 * 1000 */
static const struct px_interval day[] = {
    {{(T0 + 100) * 1000}, {(T0 + 200) * 1000}, PX_TENTATIVE},
    {{(T0 + 200) * 1000}, {(T0 + 300) * 1000}, PX_BUSY},
    {{(T0 + 300) * 1000}, {(T0 + 400) * 1000}, PX_NODATA},
    {{(T0 + 400) * 1000}, {(T0 + 500) * 1000}, PX_BUSY},
    {{(T0 + 500) * 1000}, {(T0 + 600) * 1000}, PX_OOF},
    {{(T0 + 600) * 1000}, {(T0 + 700) * 1000}, PX_NODATA},
};

static void tells_every_boundary(void **state)
{
	static const struct {
		int64_t ms; /* after T0 */
		enum px_presence last, presence;
		int64_t since, until;
	} row[] = {
	    {-1, PX_PRESENCE_BUSY, PX_UNKNOWN, -1, -1},
	    {0, PX_PRESENCE_BUSY, PX_AVAILABLE, 0, 200},
	    {99999, PX_UNKNOWN, PX_AVAILABLE, 0, 200},
	    {100000, PX_UNKNOWN, PX_AVAILABLE, 0, 200}, /* tentative counts as available */
	    {199999, PX_UNKNOWN, PX_AVAILABLE, 0, 200},
	    {200000, PX_UNKNOWN, PX_PRESENCE_BUSY, 200, 500}, /* goes on through nodata */
	    {299999, PX_UNKNOWN, PX_PRESENCE_BUSY, 200, 500},
	    {300000, PX_PRESENCE_BUSY, PX_PRESENCE_BUSY, 200, 500},
	    {399999, PX_PRESENCE_BUSY, PX_PRESENCE_BUSY, 200, 500},
	    {300000, PX_AVAILABLE, PX_AVAILABLE, 300, 400},
	    {300000, PX_AWAY, PX_AWAY, 300, 400},
	    {300000, PX_UNKNOWN, PX_UNKNOWN, 300, 400},
	    {300000, PX_KEEP, PX_UNKNOWN, 300, 400},
	    {400000, PX_AWAY, PX_PRESENCE_BUSY, 200, 500},
	    {499999, PX_UNKNOWN, PX_PRESENCE_BUSY, 200, 500},
	    {500000, PX_UNKNOWN, PX_AWAY, 500, 700},
	    {600000, PX_AWAY, PX_AWAY, 500, 700},
	    {600000, PX_AVAILABLE, PX_AVAILABLE, 600, 1000}, /* free follows */
	    {699999, PX_AWAY, PX_AWAY, 500, 700},
	    {700000, PX_AWAY, PX_AVAILABLE, 700, 1000},
	    {999999, PX_UNKNOWN, PX_AVAILABLE, 700, 1000},
	    {1000000, PX_AVAILABLE, PX_UNKNOWN, -1, -1},
	};
	struct px_calendar c = {0};

	(void)state;
	assert_int_equal(px_availability_at(&c, &px_map_default, PX_AWAY, at(0)).presence,
	                 PX_UNKNOWN);
	assert_int_equal(px_calendar_make(&c, day, 6, at(0), at(1000)), 0);
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const struct px_availability a = px_availability_at(
		    &c, &px_map_default, row[i].last, (struct px_wall){T0 * 1000 + row[i].ms});
		const int64_t none = -T0; /* since and until are 0 where nothing is known */

		if (a.presence != row[i].presence ||
		    a.since.ms != at(row[i].since < 0 ? none : row[i].since).ms ||
		    a.until.ms != at(row[i].until < 0 ? none : row[i].until).ms)
			fail_msg("row %zu: %s %lld-%lld", i, px_presence_name(a.presence),
			         (long long)(a.since.ms / 1000 - T0),
			         (long long)(a.until.ms / 1000 - T0));
	}
	px_calendar_free(&c);
}

static void maps_as_told(void **state)
{
	const struct px_map map = {{[PX_FREE] = PX_AWAY,
	                            [PX_TENTATIVE] = PX_PRESENCE_BUSY,
	                            [PX_BUSY] = PX_AVAILABLE,
	                            [PX_OOF] = PX_AVAILABLE,
	                            [PX_WORKINGELSEWHERE] = PX_AWAY,
	                            [PX_NODATA] = PX_AVAILABLE}};
	struct px_calendar c = {0};
	struct px_availability a;

	(void)state;
	assert_int_equal(px_calendar_make(&c, day, 6, at(0), at(1000)), 0);
	a = px_availability_at(&c, &map, PX_UNKNOWN, at(450));
	assert_int_equal(a.presence, PX_AVAILABLE);
	assert_int_equal(a.since.ms, at(200).ms);
	assert_int_equal(a.until.ms, at(700).ms);
	a = px_availability_at(&c, &map, PX_UNKNOWN, at(50));
	assert_int_equal(a.presence, PX_AWAY);
	assert_int_equal(a.until.ms, at(100).ms);
	px_calendar_free(&c);
}

enum { WINDOW = 120 }; /* s of the random calendars */

/* The strongest status of each second, by asking every interval. */
static void paint(enum px_status of[WINDOW], const struct px_interval *in, size_t n)
{
	static const int strength[] = {
	    [PX_FREE] = 0,      [PX_NODATA] = 1, [PX_WORKINGELSEWHERE] = 2,
	    [PX_TENTATIVE] = 3, [PX_BUSY] = 4,   [PX_OOF] = 5};

	for (int s = 0; s < WINDOW; s++) {
		of[s] = PX_FREE;
		for (size_t i = 0; i < n; i++) {
			const int64_t start = in[i].start.ms / 1000 - T0,
			              end = in[i].end.ms / 1000 - T0;

			if (start <= s && s < end && strength[in[i].status] > strength[of[s]])
				of[s] = in[i].status;
		}
	}
}

static struct px_availability brute(const enum px_status of[WINDOW], const struct px_map *map,
                                    enum px_presence last, int now)
{
	enum px_presence is[WINDOW];
	int first = now, end = now, since = now, until = now;

	/* what keeps goes on with what was before it; before the window is nothing one knows */
	for (int s = 0; s < WINDOW; s++) {
		is[s] = map->of[of[s]];
		if (is[s] == PX_KEEP && s > 0)
			is[s] = is[s - 1];
	}
	/* except around now, where one knows what is kept */
	if (map->of[of[now]] == PX_KEEP) {
		while (first > 0 && map->of[of[first - 1]] == PX_KEEP)
			first--;
		while (end < WINDOW && map->of[of[end]] == PX_KEEP)
			end++;
		for (int s = first; s < end; s++)
			is[s] = last;
	}
	while (since > 0 && is[since - 1] == is[now])
		since--;
	while (until < WINDOW && is[until] == is[now])
		until++;
	return (struct px_availability){is[now], at(since), at(until)};
}

/* 20,000 random calendars, each asked at every second, against an oracle that knows no spans. */
static void agrees_with_brute_force(void **state)
{
	static const enum px_presence to[] = {PX_AVAILABLE, PX_PRESENCE_BUSY, PX_AWAY, PX_KEEP};
	static const enum px_presence known[] = {PX_UNKNOWN, PX_AVAILABLE, PX_PRESENCE_BUSY,
	                                         PX_AWAY};

	(void)state;
	srand(20261123);
	for (int round = 0; round < 20000; round++) {
		const size_t n = (size_t)(rand() % (round % 10 ? 8 : 60));
		const int longest = round % 3 ? 20 : 2 * WINDOW;
		struct px_interval in[60];
		struct px_calendar c = {0};
		enum px_status of[WINDOW];
		struct px_map map = px_map_default;

		for (size_t i = 0; i < n; i++) {
			const int start = rand() % (WINDOW + 40) - 20;

			in[i].start.ms = at(start).ms + rand() % 1000;
			in[i].end.ms = at(start - 2 + rand() % longest).ms + rand() % 1000;
			in[i].status = (enum px_status)(rand() % PX_STATUSES);
		}
		if (round % 2)
			for (int i = 0; i < PX_STATUSES; i++)
				map.of[i] = to[rand() % 4];
		assert_int_equal(px_calendar_make(&c, in, n, at(0), at(WINDOW)), 0);
		paint(of, in, n);

		for (uint32_t i = 0; i < c.n; i++) {
			assert_true(c.span[i].length > 0 && c.span[i].status != PX_FREE);
			if (i > 0) {
				const struct px_span *before = &c.span[i - 1];
				const uint32_t end = before->start + before->length;

				assert_true(end <= c.span[i].start);
				assert_true(end < c.span[i].start ||
				            before->status != c.span[i].status);
			}
		}
		for (int s = 0; s < WINDOW; s++) {
			const enum px_presence last = known[rand() % 4];
			const struct px_wall now = {at(s).ms + rand() % 1000};
			const struct px_availability a = px_availability_at(&c, &map, last, now);
			const struct px_availability b = brute(of, &map, last, s);

			if (a.presence != b.presence || a.since.ms != b.since.ms ||
			    a.until.ms != b.until.ms)
				fail_msg("round %d second %d", round, s);
		}
		px_calendar_free(&c);
	}
}

static const char *subject(const struct px_calendar *c, enum px_presence p, int64_t s,
                           int64_t *until)
{
	struct px_wall change;
	const char *found = px_calendar_subject(c, &px_map_default, p, at(s), &change);

	*until = change.ms ? (change.ms / 1000) - T0 : 0;
	return found ? found : "-";
}

static void tells_what_runs(void **state)
{
	static const struct {
		int64_t start, end;
		enum px_status status;
		const char *subject;
	} meeting[] = {
	    {300, 400, PX_BUSY, "Late"},   {100, 200, PX_BUSY, "Early"},
	    {150, 180, PX_BUSY, "Within"}, {200, 250, PX_BUSY, ""},
	    {120, 130, PX_OOF, "Trip"},    {100, 160, PX_TENTATIVE, "Maybe"},
	};
	static const struct {
		enum px_presence presence;
		int64_t at;
		const char *subject;
		int64_t until;
	} row[] = {
	    {PX_PRESENCE_BUSY, 99, "-", 100},
	    {PX_PRESENCE_BUSY, 100, "Early", 150},
	    {PX_PRESENCE_BUSY, 150, "Within", 180},
	    {PX_PRESENCE_BUSY, 180, "Early", 200},
	    {PX_PRESENCE_BUSY, 200, "-", 300},
	    {PX_PRESENCE_BUSY, 399, "Late", 400},
	    {PX_PRESENCE_BUSY, 400, "-", 0},
	    {PX_AWAY, 125, "Trip", 130},
	    {PX_AWAY, 130, "-", 0},
	    {PX_AVAILABLE, 110, "Maybe", 160},
	    {PX_UNKNOWN, 110, "-", 0},
	};
	const struct px_interval in[] = {{at(100), at(200), PX_BUSY}};
	struct px_calendar c = {0};
	char text[300];
	int64_t until;

	(void)state;
	assert_string_equal(subject(&c, PX_PRESENCE_BUSY, 100, &until), "-");
	for (size_t i = 0; i < sizeof meeting / sizeof *meeting; i++) {
		const struct px_interval when = {at(meeting[i].start), at(meeting[i].end),
		                                 meeting[i].status};

		/* before and after it is made */
		if (i == 2)
			assert_int_equal(px_calendar_make(&c, in, 1, at(0), at(1000)), 0);
		assert_int_equal(px_calendar_topic(&c, &when, meeting[i].subject), 0);
	}
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		assert_string_equal(subject(&c, row[i].presence, row[i].at, &until),
		                    row[i].subject);
		assert_int_equal(until, row[i].until);
	}
	assert_string_equal(shown(&c, text, sizeof text), "100-200 busy");
	px_calendar_free(&c);
	assert_null(c.topic);
}

static void keeps_the_first_of_too_many(void **state)
{
	struct px_calendar c = {0};
	char long_one[400];
	int64_t until;

	(void)state;
	for (int i = 0; i < 3 * PX_TOPICS_MAX; i++) {
		const int s = (i * 7919) % (3 * PX_TOPICS_MAX); /* each once, in disorder */
		const struct px_interval when = {at(10 * s), at(10 * s + 10), PX_BUSY};

		snprintf(long_one, sizeof long_one, "%d", s);
		assert_int_equal(px_calendar_topic(&c, &when, long_one), 0);
	}
	assert_int_equal(c.topics, PX_TOPICS_MAX);
	for (int s = 0; s < 3 * PX_TOPICS_MAX; s++) {
		snprintf(long_one, sizeof long_one, "%d", s);
		assert_string_equal(subject(&c, PX_PRESENCE_BUSY, 10 * s, &until),
		                    s < PX_TOPICS_MAX ? long_one : "-");
	}
	px_calendar_free(&c);
	/* characters stay whole */
	for (int i = 0; i < 300; i += 3)
		memcpy(long_one + i, "€", 4);
	assert_int_equal(
	    px_calendar_topic(&c, &(struct px_interval){at(0), at(9), PX_BUSY}, long_one), 0);
	assert_int_equal(strlen(c.topic[0]->subject), PX_TOPIC_SUBJECT_MAX);
	assert_string_equal(c.topic[0]->subject + PX_TOPIC_SUBJECT_MAX - 6, "€…");
	px_calendar_free(&c);
}

static void names_everything(void **state)
{
	static const char *const status[] = {"free", "tentative",        "busy",
	                                     "oof",  "workingelsewhere", "nodata"};
	static const char *const presence[] = {"unknown", "available", "busy", "away", "keep"};

	(void)state;
	for (int i = 0; i < PX_STATUSES; i++)
		assert_string_equal(px_status_name((enum px_status)i), status[i]);
	for (int i = 0; i <= PX_KEEP; i++)
		assert_string_equal(px_presence_name((enum px_presence)i), presence[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(resolves_overlaps),     cmocka_unit_test(rounds_down),
	    cmocka_unit_test(takes_strange_windows), cmocka_unit_test(refuses_too_many),
	    cmocka_unit_test(compares_spans_only),   cmocka_unit_test(tells_every_boundary),
	    cmocka_unit_test(maps_as_told),          cmocka_unit_test(agrees_with_brute_force),
	    cmocka_unit_test(tells_what_runs),       cmocka_unit_test(keeps_the_first_of_too_many),
	    cmocka_unit_test(names_everything),
	};

	return cmocka_run_group_tests_name("availability", tests, NULL, NULL);
}
