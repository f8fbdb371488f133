/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/watch.h"

static struct px_now at(int64_t ms)
{
	return (struct px_now){{ms}, {1700000000000 + ms}};
}

struct row {
	enum px_watch_state from;
	unsigned failures;
	bool swept;
	enum px_watch_event ev;
	enum px_watch_state to;
	unsigned todo;
};

#define AGAIN (PX_W_LEAVE | PX_W_ASSIGN)

static const struct row table[] = {
    {PX_WATCH_OFF, 3, false, PX_W_WANT, PX_WATCH_HOMELESS, PX_W_ASSIGN},
    {PX_WATCH_HOMELESS, 0, false, PX_W_HOMED, PX_WATCH_WAITING, PX_W_QUEUE | PX_W_READ},
    {PX_WATCH_HOMELESS, 0, true, PX_W_HOMED, PX_WATCH_SWEPT, PX_W_READ},
    {PX_WATCH_WAITING, 0, false, PX_W_TURN, PX_WATCH_SUBSCRIBING, 0},
    {PX_WATCH_WAITING, 0, false, PX_W_SUBSCRIBED, PX_WATCH_GATHERING, PX_W_GATHER},
    {PX_WATCH_SUBSCRIBING, 0, false, PX_W_SUBSCRIBED, PX_WATCH_GATHERING, PX_W_GATHER},
    {PX_WATCH_SUBSCRIBING, 0, false, PX_W_DEFERRED, PX_WATCH_WAITING, PX_W_QUEUE},
    {PX_WATCH_SUBSCRIBING, 0, false, PX_W_TRANSIENT, PX_WATCH_BACKOFF, PX_W_LEAVE},
    /* a refused Subscribe: at once elsewhere, the second time not before a while */
    {PX_WATCH_SUBSCRIBING, 0, false, PX_W_LOST, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_SUBSCRIBING, 1, false, PX_W_LOST, PX_WATCH_BACKOFF, PX_W_LEAVE | PX_W_READ},
    {PX_WATCH_GATHERING, 2, false, PX_W_FOLLOWED, PX_WATCH_FOLLOWED, PX_W_READ},
    {PX_WATCH_GATHERING, 0, false, PX_W_LOST, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_FOLLOWED, 0, false, PX_W_UNFOLLOWED, PX_WATCH_GATHERING, 0},
    {PX_WATCH_FOLLOWED, 0, false, PX_W_LOST, PX_WATCH_HOMELESS, AGAIN},
    /* passing troubles stay with their gateway, until there are too many */
    {PX_WATCH_BACKOFF, 1, false, PX_W_DUE, PX_WATCH_WAITING, PX_W_QUEUE},
    {PX_WATCH_BACKOFF, 1, false, PX_W_RETRY, PX_WATCH_WAITING, PX_W_QUEUE},
    {PX_WATCH_BACKOFF, PX_WATCH_TRIES, false, PX_W_DUE, PX_WATCH_HOMELESS, PX_W_ASSIGN},
    {PX_WATCH_PARKED, 0, false, PX_W_DUE, PX_WATCH_WAITING, PX_W_QUEUE | PX_W_READ},
    {PX_WATCH_PARKED, 0, false, PX_W_RETRY, PX_WATCH_WAITING, PX_W_QUEUE | PX_W_READ},
    {PX_WATCH_PARKED, 0, true, PX_W_DUE, PX_WATCH_SWEPT, PX_W_READ},
    /* a gateway's death moves whoever asks it for something */
    {PX_WATCH_WAITING, 0, false, PX_W_SERVER, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_SUBSCRIBING, 0, false, PX_W_SERVER, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_GATHERING, 0, false, PX_W_SERVER, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_FOLLOWED, 0, false, PX_W_SERVER, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_BACKOFF, 0, false, PX_W_SERVER, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_SWEPT, 0, true, PX_W_SERVER, PX_WATCH_HOMELESS, AGAIN},
    {PX_WATCH_PARKED, 0, false, PX_W_SERVER, PX_WATCH_PARKED, 0},
    /* a user's own trouble */
    {PX_WATCH_SUBSCRIBING, 0, false, PX_W_USER, PX_WATCH_PARKED, PX_W_LEAVE},
    {PX_WATCH_FOLLOWED, 0, false, PX_W_USER, PX_WATCH_PARKED, PX_W_LEAVE},
    {PX_WATCH_SWEPT, 0, true, PX_W_USER, PX_WATCH_PARKED, PX_W_LEAVE},
    /* late or doubled: nothing */
    {PX_WATCH_OFF, 0, false, PX_W_LOST, PX_WATCH_OFF, 0},
    {PX_WATCH_OFF, 0, false, PX_W_USER, PX_WATCH_OFF, 0},
    {PX_WATCH_WAITING, 0, false, PX_W_LOST, PX_WATCH_WAITING, 0},
    {PX_WATCH_FOLLOWED, 0, false, PX_W_SUBSCRIBED, PX_WATCH_FOLLOWED, 0},
    {PX_WATCH_FOLLOWED, 0, false, PX_W_FOLLOWED, PX_WATCH_FOLLOWED, 0},
};

static void test_each_arrow(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		const struct row *r = &table[i];
		struct px_watch w = {.state = (uint8_t)r->from,
		                     .failures = (uint8_t)r->failures,
		                     .swept = r->swept,
		                     .seed = 5};
		unsigned todo = px_watch_step(&w, r->ev, at(1000));

		if (todo != r->todo || w.state != r->to)
			fail_msg("row %zu: %s + %s -> %s, todo %x", i, px_watch_state_name(r->from),
			         px_watch_event_name(r->ev),
			         px_watch_state_name((enum px_watch_state)w.state), todo);
	}
}

static void test_off_from_everywhere(void **state)
{
	(void)state;
	for (int s = PX_WATCH_HOMELESS; s < PX_WATCH_STATES; s++) {
		struct px_watch w = {.state = (uint8_t)s, .due = {99}};

		assert_int_equal(px_watch_step(&w, PX_W_OFF, at(1)), PX_W_LEAVE | PX_W_UNSUBSCRIBE);
		assert_int_equal(w.state, PX_WATCH_OFF);
		assert_int_equal(w.due.ms, 0);
	}
}

static void test_parked_for_an_hour(void **state)
{
	(void)state;
	struct px_watch w = {.state = PX_WATCH_FOLLOWED, .seed = 12345};

	px_watch_step(&w, PX_W_USER, at(1000));
	assert_in_range(w.due.ms, 1000 + PX_WATCH_PARKED_MS, 1000 + PX_WATCH_PARKED_MS + 60000);
}

static void test_failing_everywhere_does_not_circle(void **state)
{
	(void)state;
	struct px_watch w = {.seed = 3};
	int64_t now = 1000;
	unsigned asked = 0;

	px_watch_step(&w, PX_W_WANT, at(now));
	while (now < 3600000) {
		px_watch_step(&w, PX_W_HOMED, at(now));
		px_watch_step(&w, PX_W_TURN, at(now));
		asked++;
		px_watch_step(&w, PX_W_LOST, at(now));
		if (w.due.ms) {
			now = w.due.ms;
			px_watch_step(&w, PX_W_DUE, at(now));
		}
	}
	/* at most every 2.5 minutes once it is clear */
	assert_in_range(asked, 12, 40);
}

/* Being followed for a moment proves nothing: only a stream that runs forgives. */
static void test_only_a_stream_that_runs_forgives(void **state)
{
	(void)state;
	struct px_watch w = {.state = PX_WATCH_GATHERING, .failures = 1, .seed = 3};

	px_watch_step(&w, PX_W_PROVEN, at(1));
	px_watch_step(&w, PX_W_FOLLOWED, at(1));
	assert_int_equal(w.failures, 1);
	px_watch_step(&w, PX_W_PROVEN, at(2));
	assert_int_equal(w.failures, 0);
	assert_int_equal(px_watch_step(&w, PX_W_LOST, at(3)), PX_W_LEAVE | PX_W_ASSIGN);
}

/* Whoever waits for nobody's answer, queue or gateway has a deadline; nothing else has. */
static void test_random_walk(void **state)
{
	(void)state;
	struct px_watch w = {.seed = 7};
	int64_t ms = 1;

	srand(1);
	for (int i = 0; i < 1000000; i++) {
		enum px_watch_event ev = (enum px_watch_event)(rand() % PX_W_EVENTS);

		if (ev == PX_W_DUE) {
			if (!w.due.ms)
				continue;
			ms = w.due.ms > ms ? w.due.ms : ms;
		}
		unsigned todo = px_watch_step(&w, ev, at(ms));
		bool waits = w.state == PX_WATCH_BACKOFF || w.state == PX_WATCH_PARKED;
		assert_int_equal(waits, w.due.ms != 0);
		assert_true(!waits || w.due.ms > ms || ev != PX_W_DUE);
		/* assigned means homeless until then; queued means waiting */
		assert_true(!(todo & PX_W_ASSIGN) || w.state == PX_WATCH_HOMELESS);
		assert_true(!(todo & PX_W_QUEUE) || w.state == PX_WATCH_WAITING);
		assert_true(!(todo & PX_W_GATHER) || w.state == PX_WATCH_GATHERING);
	}
}

static void test_backoff_is_bounded_and_spread(void **state)
{
	(void)state;
	for (unsigned f = 1; f < 80; f++) {
		int64_t least = INT64_MAX, most = 0;

		for (uint32_t s = 0; s < 1000; s++) {
			int64_t b =
			    px_backoff(PX_WATCH_RETRY_MIN, PX_WATCH_RETRY_MAX, f, s * 2654435761u);
			least = b < least ? b : least;
			most = b > most ? b : most;
		}
		assert_true(least >= PX_WATCH_RETRY_MIN / 2 && most <= PX_WATCH_RETRY_MAX);
		assert_true(most - least >= most / 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_arrow),
	    cmocka_unit_test(test_off_from_everywhere),
	    cmocka_unit_test(test_parked_for_an_hour),
	    cmocka_unit_test(test_failing_everywhere_does_not_circle),
	    cmocka_unit_test(test_only_a_stream_that_runs_forgives),
	    cmocka_unit_test(test_random_walk),
	    cmocka_unit_test(test_backoff_is_bounded_and_spread),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
