/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/stream.h"

#define HEARTBEAT 45000

static struct px_now at(int64_t ms)
{
	return (struct px_now){{ms}, {1700000000000 + ms}};
}

static unsigned step(struct px_stream *s, enum px_stream_event ev, int64_t ms)
{
	return px_stream_step(s, ev, 200, HEARTBEAT, at(ms));
}

static struct px_stream running(int64_t ms)
{
	struct px_stream s;

	px_stream_init(&s, 77, at(ms));
	assert_int_equal(step(&s, PX_S_FULL, ms), PX_S_OPEN);
	assert_int_equal(step(&s, PX_S_ALIVE, ms), PX_S_FOLLOW);
	assert_int_equal(s.state, PX_STREAM_RUNNING);
	return s;
}

static void test_gathers_for_two_seconds(void **state)
{
	(void)state;
	struct px_stream s;

	px_stream_init(&s, 1, at(5000));
	assert_int_equal(s.due.ms, 7000);
	assert_int_equal(step(&s, PX_S_DUE, 7000), PX_S_OPEN);
	assert_int_equal(s.state, PX_STREAM_OPENING);
	assert_int_equal(s.due.ms, 7000 + PX_STREAM_OPEN_MS);
}

/* P3: two heartbeats missed, then a probe decides: 90 s and the 10 that it may take */
static void test_silence_asks_for_a_probe(void **state)
{
	(void)state;
	struct px_stream s = running(1000);

	step(&s, PX_S_ALIVE, 20000); /* the last sign of life */
	assert_int_equal(s.due.ms, 20000 + 2 * HEARTBEAT);
	assert_int_equal(step(&s, PX_S_DUE, 110000),
	                 PX_S_CANCEL | PX_S_UNFOLLOW | PX_S_SUSPECT | PX_S_OPEN);
	assert_int_equal(s.due.ms, 110000 + PX_STREAM_OPEN_MS);
	assert_int_equal(step(&s, PX_S_DUE, s.due.ms), PX_S_CANCEL | PX_S_SUSPECT);
	assert_int_equal(s.state, PX_STREAM_WAITING);
}

static void test_a_cut_is_reopened_at_once(void **state)
{
	(void)state;
	struct px_stream s = running(1000);

	assert_int_equal(step(&s, PX_S_CUT, 60000), PX_S_UNFOLLOW | PX_S_OPEN);
	assert_int_equal(step(&s, PX_S_ALIVE, 60100), PX_S_FOLLOW);
}

static void test_closed_full_and_small(void **state)
{
	(void)state;
	struct px_stream s = running(1000);

	assert_int_equal(px_stream_step(&s, PX_S_CLOSED, PX_STREAM_SMALL, HEARTBEAT, at(1800000)),
	                 PX_S_UNFOLLOW | PX_S_OPEN);
	s = running(1000);
	assert_int_equal(
	    px_stream_step(&s, PX_S_CLOSED, PX_STREAM_SMALL - 1, HEARTBEAT, at(1800000)),
	    PX_S_UNFOLLOW | PX_S_REGATHER);
}

/* A server that opens and closes, opens and closes, doesn't make us circle: the third time its
 * members are lost. */
static void test_brief_streams_end(void **state)
{
	(void)state;
	struct px_stream s = running(1000);
	int64_t now = 1000;

	for (unsigned i = 1; i < PX_STREAM_TRIES; i++) {
		assert_int_equal(step(&s, PX_S_CLOSED, now + 10), PX_S_UNFOLLOW);
		assert_int_equal(s.state, PX_STREAM_WAITING);
		assert_true(s.due.ms > now + 10);
		now = s.due.ms;
		assert_int_equal(step(&s, PX_S_DUE, now), PX_S_OPEN);
		assert_int_equal(step(&s, PX_S_ALIVE, now), PX_S_FOLLOW);
	}
	assert_int_equal(step(&s, PX_S_CUT, now + 10), PX_S_UNFOLLOW | PX_S_LOSE);
}

static void test_a_long_run_forgets_failures(void **state)
{
	(void)state;
	struct px_stream s = running(1000);

	step(&s, PX_S_CUT, 1010);
	step(&s, PX_S_DUE, s.due.ms);
	step(&s, PX_S_ALIVE, 3000);
	step(&s, PX_S_CUT, 3000 + PX_STREAM_BRIEF_MS);
	assert_int_equal(s.failures, 0);
}

static void test_openings_that_fail(void **state)
{
	(void)state;
	struct px_stream s;
	int64_t now = 1000;

	px_stream_init(&s, 9, at(now));
	step(&s, PX_S_FULL, now);
	for (unsigned i = 1; i < PX_STREAM_TRIES; i++) {
		assert_int_equal(step(&s, PX_S_CUT, now), 0);
		now = s.due.ms;
		assert_int_equal(step(&s, PX_S_DUE, now), PX_S_OPEN);
	}
	assert_int_equal(step(&s, PX_S_CUT, now), PX_S_LOSE);
}

static void test_throttling_loses_nobody(void **state)
{
	(void)state;
	struct px_stream s;
	int64_t now = 1000;

	px_stream_init(&s, 9, at(now));
	step(&s, PX_S_FULL, now);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(step(&s, PX_S_BLOCKED, now), 0);
		now = s.due.ms;
		assert_int_equal(step(&s, PX_S_DUE, now), PX_S_OPEN);
	}
}

static void test_a_refused_anchor_is_replaced(void **state)
{
	(void)state;
	struct px_stream s;

	px_stream_init(&s, 9, at(1));
	step(&s, PX_S_FULL, 1);
	assert_int_equal(step(&s, PX_S_REFUSED, 1), PX_S_ANCHOR);
	step(&s, PX_S_DUE, s.due.ms);
	assert_int_equal(step(&s, PX_S_REFUSED, 9), PX_S_ANCHOR);
	step(&s, PX_S_DUE, s.due.ms);
	assert_int_equal(step(&s, PX_S_REFUSED, 99), PX_S_LOSE);
}

static void test_minutes_are_spread(void **state)
{
	(void)state;
	unsigned of[31] = {0};

	for (uint32_t seed = 0; seed < 6000; seed++) {
		struct px_stream s = {.seed = seed * 2654435761u};
		unsigned m = px_stream_minutes(&s);
		assert_in_range(m, 25, 30);
		of[m]++;
	}
	for (unsigned m = 25; m <= 30; m++)
		assert_in_range(of[m], 800, 1200);
}

static void test_random_walk_always_has_a_deadline(void **state)
{
	(void)state;
	struct px_stream s;
	int64_t ms = 1;

	srand(2);
	px_stream_init(&s, 3, at(ms));
	for (int i = 0; i < 1000000; i++) {
		enum px_stream_event ev = (enum px_stream_event)(rand() % PX_S_EVENTS);
		if (ev == PX_S_DUE)
			ms = s.due.ms > ms ? s.due.ms : ms;
		unsigned todo = step(&s, ev, ms);
		assert_true(s.due.ms > 0);
		assert_true(ev != PX_S_DUE || s.due.ms > ms);
		assert_true(!(todo & PX_S_OPEN) || s.state == PX_STREAM_OPENING);
		assert_true(!(todo & PX_S_FOLLOW) || s.state == PX_STREAM_RUNNING);
		if (todo & (PX_S_LOSE | PX_S_REGATHER))
			px_stream_init(&s, (uint32_t)i, at(ms));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gathers_for_two_seconds),
	    cmocka_unit_test(test_silence_asks_for_a_probe),
	    cmocka_unit_test(test_a_cut_is_reopened_at_once),
	    cmocka_unit_test(test_closed_full_and_small),
	    cmocka_unit_test(test_brief_streams_end),
	    cmocka_unit_test(test_a_long_run_forgets_failures),
	    cmocka_unit_test(test_openings_that_fail),
	    cmocka_unit_test(test_throttling_loses_nobody),
	    cmocka_unit_test(test_a_refused_anchor_is_replaced),
	    cmocka_unit_test(test_minutes_are_spread),
	    cmocka_unit_test(test_random_walk_always_has_a_deadline),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
