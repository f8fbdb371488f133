/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/esc.h"

static struct px_now at(int64_t ms)
{
	return (struct px_now){{1000 + ms}, {1700000000000 + ms}};
}

static struct px_esc fresh(unsigned servers)
{
	struct px_esc e;

	px_esc_init(&e, servers, 200, 0, at(0));
	return e;
}

static void sends(struct px_esc *e, int64_t ms)
{
	assert_true(px_esc_may_send(e, at(ms)));
	px_esc_sent(e, at(ms));
}

static bool ends(struct px_esc *e, enum px_esc_word word, int64_t sent, int64_t ms)
{
	return px_esc_ended(e, word, -1, ms - sent, at(ms));
}

/* One that is sent and answered at once. */
static bool one(struct px_esc *e, enum px_esc_word word, int64_t ms)
{
	sends(e, ms);
	return ends(e, word, ms, ms);
}

static int64_t due_in(const struct px_esc *e, int64_t ms)
{
	struct px_mono due = px_esc_due(e, at(ms));

	return due.ms ? due.ms - at(ms).mono.ms : -1;
}

/* ---- does it work ---- */

static void the_first_failure_is_enough_when_nothing_is_known(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	assert_int_equal(due_in(&e, 0), -1);
	assert_false(one(&e, PX_ESC_FAILED, 0));
	assert_true(e.down);
	assert_int_equal(due_in(&e, 0), 2000);
	assert_false(px_esc_may_send(&e, at(1999)));
	assert_int_equal(due_in(&e, 1999), 1);
	assert_int_equal(due_in(&e, 2000), -1); /* it may now */
	sends(&e, 2000);
	assert_false(px_esc_may_send(&e, at(9000))); /* one probe in flight */
	assert_int_equal(due_in(&e, 9000), -1);
	/* one that hangs is followed at once, one that is refused 2 s after it was sent */
	assert_false(ends(&e, PX_ESC_FAILED, 2000, 9000));
	sends(&e, 9000);
	assert_false(ends(&e, PX_ESC_FAILED, 9000, 9001));
	assert_false(px_esc_may_send(&e, at(10999)));
	assert_int_equal(due_in(&e, 9001), 1999);
	assert_int_equal(due_in(&e, 12000), -1); /* it may already */
	/* 5xx: it lives, but for whom? */
	assert_false(one(&e, PX_ESC_UNSURE, 12000));
	assert_true(e.down);
	sends(&e, 14000);
	assert_true(ends(&e, PX_ESC_ALIVE, 14000, 14003));
	assert_false(e.down);
	assert_true(px_esc_may_send(&e, at(14003)));
}

static void later_three_in_a_row(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	assert_false(one(&e, PX_ESC_ALIVE, 0));
	one(&e, PX_ESC_FAILED, 1);
	one(&e, PX_ESC_FAILED, 2);
	assert_false(one(&e, PX_ESC_ALIVE, 3)); /* it was never down */
	one(&e, PX_ESC_FAILED, 4);
	one(&e, PX_ESC_FAILED, 5);
	assert_false(e.down);
	one(&e, PX_ESC_FAILED, 6);
	assert_true(e.down);
	assert_int_equal(e.sent, 7);
	assert_int_equal(e.answered, 2);
	assert_int_equal(e.failed, 5);

	/* those that were overtaken by an answer were lost alone */
	e = fresh(1);
	for (int i = 0; i < 10; i++)
		sends(&e, 10);
	sends(&e, 20);
	ends(&e, PX_ESC_ALIVE, 20, 25);
	for (int i = 0; i < 10; i++)
		ends(&e, PX_ESC_FAILED, 10, 5000 + i);
	assert_false(e.down);
}

static void what_was_sent_before_it_went_down_is_no_news(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	one(&e, PX_ESC_ALIVE, 0);
	for (int i = 0; i < 20; i++)
		sends(&e, 10);
	for (int i = 0; i < 3; i++)
		ends(&e, PX_ESC_FAILED, 10, 20);
	assert_true(e.down);
	sends(&e, 2020);
	for (int i = 0; i < 15; i++) {
		assert_false(ends(&e, i % 2 ? PX_ESC_FAILED : PX_ESC_PAUSE, 10, 2030));
		assert_false(px_esc_may_send(&e, at(60000))); /* the probe is still in flight */
	}
	assert_true(ends(&e, PX_ESC_ALIVE, 2020, 2040));
	/* not even now */
	assert_false(ends(&e, PX_ESC_FAILED, 10, 2050));
	assert_int_equal(e.failed_in_a_row, 0);
	assert_int_equal(e.in_flight, 1);
	ends(&e, PX_ESC_FAILED, 10, 2050);

	/* an old one that succeeds means that it works */
	e = fresh(1);
	one(&e, PX_ESC_ALIVE, 0);
	for (int i = 0; i < 4; i++)
		sends(&e, 10);
	for (int i = 0; i < 3; i++)
		ends(&e, PX_ESC_FAILED, 10, 20);
	assert_true(ends(&e, PX_ESC_ALIVE, 10, 30));
	assert_false(e.down);

	/* a probe whose time was told wrong doesn't block the next */
	e = fresh(1);
	one(&e, PX_ESC_FAILED, 0);
	sends(&e, 2000);
	ends(&e, PX_ESC_FAILED, -100, 2100);
	sends(&e, 4000);
}

static void asked_to_pause(void **state)
{
	static const int64_t row[][2] = {{-1, 1000},  {0, 1000},     {7, 7000},
	                                 {60, 60000}, {3600, 60000}, {INT64_MAX, 60000}};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_esc e = fresh(1);

		one(&e, PX_ESC_ALIVE, 0);
		sends(&e, 100);
		sends(&e, 100);
		assert_false(px_esc_ended(&e, PX_ESC_PAUSE, row[i][0], 50, at(150)));
		assert_true(e.down);
		int64_t then = 150 + row[i][1];
		assert_false(px_esc_may_send(&e, at(then - 1)));
		assert_int_equal(due_in(&e, 150), then - 150);
		/* then as DOWN: and asked again to pause */
		sends(&e, then);
		assert_false(px_esc_ended(&e, PX_ESC_PAUSE, row[i][0], 50, at(then + 50)));
		assert_false(px_esc_may_send(&e, at(then + 50 + row[i][1] - 1)));
		int64_t again = then + 50 + row[i][1];
		sends(&e, again > then + 2000 ? again : then + 2000);
		assert_true(px_esc_ended(&e, PX_ESC_ALIVE, -1, 5, at(again + 2005)));
	}
}

/* A login that is refused isn't tried again and again; one user's own trouble is no reason. */
static void a_login_is_refused(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	one(&e, PX_ESC_DENIED, 0);
	assert_true(e.down);
	assert_int_equal(due_in(&e, 0), 300000);
	assert_false(px_esc_may_send(&e, at(299999)));
	one(&e, PX_ESC_DENIED, 300000);
	assert_int_equal(due_in(&e, 300000), 300000);
	sends(&e, 600000);
	assert_true(ends(&e, PX_ESC_ALIVE, 600000, 600003));
	one(&e, PX_ESC_DENIED, 600010);
	one(&e, PX_ESC_DENIED, 600020);
	one(&e, PX_ESC_ALIVE, 600030);
	one(&e, PX_ESC_DENIED, 600040);
	one(&e, PX_ESC_DENIED, 600050);
	assert_false(e.down);
	one(&e, PX_ESC_DENIED, 600060);
	assert_true(e.down);
	/* another server is asked at once */
	e = fresh(2);
	one(&e, PX_ESC_DENIED, 0);
	assert_true(e.down);
	assert_int_equal(e.current, 1);
	assert_true(px_esc_may_send(&e, at(1)));
}

/* Whoever waits because of the old one needn't; what a server wished holds. */
static void there_is_another_login(void **state)
{
	struct px_esc e = fresh(2);

	(void)state;
	one(&e, PX_ESC_DENIED, 0);
	sends(&e, 1);
	assert_false(px_esc_ended(&e, PX_ESC_PAUSE, 30, 1, at(2)));
	assert_int_equal(e.current, 1);
	assert_int_equal(due_in(&e, 2), 30000);
	px_esc_login_renewed(&e, at(1000));
	assert_int_equal(due_in(&e, 1000), 29002);
	e = fresh(1);
	px_esc_login_renewed(&e, at(0));
	assert_false(e.down);
	one(&e, PX_ESC_DENIED, 0);
	px_esc_login_renewed(&e, at(1000));
	sends(&e, 1000);
	/* while that is under way, one is enough */
	px_esc_login_renewed(&e, at(1001));
	assert_false(px_esc_may_send(&e, at(1001)));
	assert_true(ends(&e, PX_ESC_ALIVE, 1000, 1003));
}

static void answers_but_serves_nobody(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	/* one user's own trouble, however long it lasts */
	for (int64_t ms = 0; ms < 3600000; ms += 1500)
		one(&e, PX_ESC_UNSURE, ms);
	assert_false(e.down);
	/* many users', but not all */
	for (int64_t ms = 3600000; ms < 3660000; ms += 10)
		one(&e, ms % 90 ? PX_ESC_UNSURE : PX_ESC_ALIVE, ms);
	assert_false(e.down);
	one(&e, PX_ESC_ALIVE, 3700000);
	for (int i = 0; i < 9; i++)
		one(&e, PX_ESC_UNSURE, 3700000 + i);
	assert_false(e.down);
	one(&e, PX_ESC_UNSURE, 3700010);
	assert_true(e.down);
}

static void several_servers_take_turns(void **state)
{
	struct px_esc e = fresh(3);

	(void)state;
	one(&e, PX_ESC_ALIVE, 0);
	for (int i = 0; i < 3; i++)
		sends(&e, 1);
	sends(&e, 1);
	for (int i = 0; i < 3; i++)
		ends(&e, PX_ESC_FAILED, 1, 100);
	assert_int_equal(e.current, 1);
	/* the next is asked at once */
	sends(&e, 100);
	/* what the first one still says is not about the second */
	assert_false(ends(&e, PX_ESC_ALIVE, 1, 150));
	assert_true(e.down);
	assert_false(px_esc_may_send(&e, at(5000)));
	assert_false(px_esc_ended(&e, PX_ESC_PAUSE, 30, 10, at(160)));
	assert_int_equal(e.current, 2);
	sends(&e, 2100);
	ends(&e, PX_ESC_FAILED, 2100, 2101);
	assert_int_equal(e.current, 0);
	sends(&e, 4100);
	ends(&e, PX_ESC_FAILED, 4100, 4101);
	/* the one that asked for peace is left out, until its time is over */
	int64_t ms = 6100;
	for (; ms < 30160; ms += 2000) {
		assert_int_equal(e.current, e.current == 0 ? 0 : 2);
		sends(&e, ms);
		ends(&e, PX_ESC_FAILED, ms, ms + 1);
	}
	unsigned seen = 0;
	for (int i = 0; i < 3; i++, ms += 2000) {
		seen |= 1u << e.current;
		sends(&e, ms);
		ends(&e, PX_ESC_FAILED, ms, ms + 1);
	}
	assert_int_equal(seen, 7);
	sends(&e, ms);
	unsigned current = e.current;
	assert_true(ends(&e, PX_ESC_ALIVE, ms, ms + 1));
	assert_int_equal(e.current, current); /* and stays */

	/* all of them ask for peace: the first to end it is asked, then */
	e = fresh(2);
	sends(&e, 0);
	px_esc_ended(&e, PX_ESC_PAUSE, 20, 0, at(0));
	assert_int_equal(e.current, 1);
	sends(&e, 0);
	px_esc_ended(&e, PX_ESC_PAUSE, 10, 0, at(0));
	assert_int_equal(due_in(&e, 0), 10000);
	assert_int_equal(e.current, 1);
	sends(&e, 10000);

	/* no more than there is room for */
	px_esc_init(&e, 1000, 0, 0, at(0));
	assert_int_equal(e.servers, PX_ESC_SERVERS_MAX);
	assert_int_equal(e.window, 1);
	px_esc_init(&e, 0, 200, 0, at(0));
	assert_int_equal(e.servers, 1);
}

/* ---- how many ---- */

static void the_window_holds(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	for (int i = 0; i < 32; i++)
		sends(&e, 0);
	assert_false(px_esc_may_send(&e, at(0)));
	assert_int_equal(due_in(&e, 0), -1);
	assert_false(ends(&e, PX_ESC_ALIVE, 0, 3));
	assert_int_equal(e.window, 33);
	sends(&e, 3);
	sends(&e, 3);
	assert_false(px_esc_may_send(&e, at(3)));
}

static void lost_requests_halve_it_once_per_round_trip(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	one(&e, PX_ESC_ALIVE, 0);
	for (int i = 0; i < 20; i++)
		sends(&e, 10);
	ends(&e, PX_ESC_FAILED, 10, 50);
	assert_int_equal(e.window, 16);
	ends(&e, PX_ESC_FAILED, 10, 51);
	ends(&e, PX_ESC_ALIVE, 10, 51);
	ends(&e, PX_ESC_FAILED, 10, 51);
	assert_in_range(e.window, 16, 17);
	while (e.in_flight)
		ends(&e, PX_ESC_ALIVE, 10, 60);
	for (int i = 0; i < 6; i++) {
		sends(&e, 100 + i * 10);
		ends(&e, PX_ESC_FAILED, 100 + i * 10, 101 + i * 10);
		e.failed_in_a_row = 0;
	}
	assert_int_equal(e.window, 4);
}

static void a_few_slow_answers_are_no_queue(void **state)
{
	struct px_esc e = fresh(1);
	int64_t ms = 0;

	(void)state;
	for (int i = 0; i < 32; i++)
		sends(&e, 0);
	ends(&e, PX_ESC_ALIVE, 0, 10);
	for (int shrunk = 0; shrunk < 2; shrunk++) {
		unsigned before = e.window;

		for (int i = shrunk ? 0 : 1; i < 7; i++)
			ends(&e, PX_ESC_ALIVE, ms, ms + 500);
		assert_int_equal(e.window, before);
		ends(&e, PX_ESC_ALIVE, ms, ms + 500);
		assert_int_equal(e.window, before / 2);
		/* what was sent before that may be as slow as it likes */
		for (int i = 0; i < 10; i++)
			ends(&e, PX_ESC_ALIVE, ms, ms + 500);
		assert_int_equal(e.window, before / 2);
		ms += 1000;
		while (e.in_flight < 32)
			px_esc_sent(&e, at(ms));
	}
}

static void a_window_that_is_not_used_does_not_grow(void **state)
{
	struct px_esc e = fresh(1);

	(void)state;
	for (int i = 0; i < 1000; i++)
		one(&e, PX_ESC_ALIVE, i);
	assert_int_equal(e.window, 32);
}

static void the_rate_is_a_ceiling(void **state)
{
	static const unsigned rates[] = {1, 7, 50, 1000, 5000};
	struct px_esc full;

	(void)state;
	/* neither helps the other */
	px_esc_init(&full, 1, 1, 10, at(0));
	assert_int_equal(due_in(&full, 0), -1);
	sends(&full, 0);
	assert_int_equal(due_in(&full, 0), -1);
	ends(&full, PX_ESC_ALIVE, 0, 10);
	assert_int_equal(due_in(&full, 10), 90);
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct px_esc e;
		unsigned sent = 0, second = 0;

		px_esc_init(&e, 1, 200, rates[i], at(0));
		for (int64_t ms = 0; ms < 60000; ms++) {
			while (px_esc_may_send(&e, at(ms))) {
				px_esc_sent(&e, at(ms));
				ends(&e, PX_ESC_ALIVE, ms, ms);
				sent++;
				second++;
			}
			int64_t due = due_in(&e, ms);
			assert_in_range(due, 1, 1000);
			assert_true(px_esc_may_send(&e, at(ms + due)));
			assert_false(due > 1 && px_esc_may_send(&e, at(ms + due - 1)));
			if (ms % 1000 == 999) {
				assert_true(second <= rates[i] + rates[i] / 50 + 1);
				second = 0;
			}
		}
		assert_in_range(sent, rates[i] * 60 * 98 / 100, rates[i] * 61 + 1);
	}
}

/* ---- a presence server in virtual time ---- */

struct model {
	unsigned at_once; /* it works on */
	int64_t work_ms;  /* each; 0: `at_once` are done within a ms */
	int64_t way_ms;   /* there and back */
	int64_t batch_ms; /* it looks for work so often; 0: always */
};

enum { QUEUE = 4096 };

struct result {
	unsigned answered;    /* after the first second */
	unsigned window_1s;   /* after one second */
	unsigned least, most; /* after the first five */
	double rtt;           /* mean after the first five */
};

/* Everybody always wants to publish, for so many seconds. fixed: a window of that size; 0: px_esc.
 */
static struct result run(struct px_esc *e, const struct model *m, unsigned fixed, int64_t from,
                         int64_t seconds)
{
	static int64_t sent[QUEUE], done[QUEUE];
	static int64_t worker[64];
	struct result r = {.least = UINT32_MAX};
	unsigned head = 0, tail = 0, in_flight = 0;
	double sum = 0;
	unsigned n = 0;

	memset(worker, 0, sizeof worker);
	for (int64_t ms = from; ms < from + seconds * 1000; ms++) {
		while (head != tail && done[head % QUEUE] <= ms) {
			int64_t took = ms - sent[head % QUEUE];

			head++;
			in_flight--;
			if (!fixed)
				px_esc_ended(e, PX_ESC_ALIVE, -1, took, at(ms));
			r.answered += ms >= from + 1000;
			if (ms >= from + 5000) {
				sum += (double)took;
				n++;
			}
		}
		while (fixed ? in_flight < fixed : px_esc_may_send(e, at(ms))) {
			int64_t begins = ms + m->way_ms / 2, ends_at;
			unsigned w = 0;

			for (unsigned i = 1; i < m->at_once; i++)
				if (worker[i] < worker[w])
					w = i;
			if (m->batch_ms)
				begins += m->batch_ms - begins % m->batch_ms;
			if (begins < worker[w])
				begins = worker[w];
			ends_at = begins + (m->work_ms ? m->work_ms : 1);
			worker[w] = ends_at;
			sent[tail % QUEUE] = ms;
			done[tail % QUEUE] =
			    m->work_ms ? ends_at + m->way_ms / 2 : begins + m->way_ms / 2;
			/* answers in the order of the requests: one connection */
			if (tail != head && done[tail % QUEUE] < done[(tail - 1) % QUEUE])
				done[tail % QUEUE] = done[(tail - 1) % QUEUE];
			tail++;
			in_flight++;
			if (!fixed)
				px_esc_sent(e, at(ms));
		}
		if (!fixed && ms == from + 1000)
			r.window_1s = e->window;
		if (!fixed && ms >= from + 5000) {
			r.least = e->window < r.least ? e->window : r.least;
			r.most = e->window > r.most ? e->window : r.most;
		}
	}
	if (!fixed)
		e->in_flight = 0; /* the rest is let go */
	r.rtt = n ? sum / n : 0;
	return r;
}

static void as_much_as_a_fixed_window_and_never_a_long_queue(void **state)
{
	static const struct {
		struct model m;
		bool full;        /* all of the window is useful: reached within a second */
		double queue_max; /* ms of the mean round trip beyond the way and the work */
	} row[] = {
	    {{64, 0, 0, 0}, true, 5},    /* faster than we can ask */
	    {{8, 0, 2, 0}, false, 16},   /* 8000 per s */
	    {{8, 2, 0, 0}, false, 16},   /* 4000 per s, as Kamailio with a few children */
	    {{8, 4, 0, 0}, false, 16},   /* 2000 per s */
	    {{2, 2, 0, 0}, false, 16},   /* 1000 per s */
	    {{1, 20, 0, 0}, false, 150}, /* 50 per s */
	    {{64, 1, 100, 0}, true, 50}, /* far away */
	    {{8, 4, 100, 0}, true, 100}, /* far away and slow */
	    {{64, 1, 0, 20}, true, 40},  /* in batches */
	    {{8, 1, 0, 40}, true, 75},   /* in batches, and slow */
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_esc e = fresh(1);
		struct result ours = run(&e, &row[i].m, 0, 0, 30),
		              fixed = run(NULL, &row[i].m, 200, 0, 30);

		if (getenv("PX_SHOW"))
			print_message("model %zu: %u against %u answers, window %u after 1 s, then "
			              "%u to %u, round trip %.0f against %.0f ms\n",
			              i, ours.answered, fixed.answered, ours.window_1s, ours.least,
			              ours.most, ours.rtt, fixed.rtt);
		assert_true(ours.answered >= fixed.answered * 0.9);
		assert_true(!row[i].full || ours.window_1s == 200);
		assert_true(ours.rtt <=
		            (double)(row[i].m.way_ms + row[i].m.work_ms) + row[i].queue_max);
		assert_true(ours.least >= 4 && ours.most <= 200);
		assert_true(ours.least == 4 || ours.most == 200 ||
		            ours.least * 4 >= ours.most); /* it settles */
	}
}

static void a_new_normal_is_accepted(void **state)
{
	const struct model near = {64, 1, 0, 0}, far = {64, 1, 200, 0};
	struct px_esc e = fresh(1);

	(void)state;
	run(&e, &near, 0, 0, 10);
	assert_int_equal(e.window, 200);
	run(&e, &far, 0, 10000, 20);
	assert_true(e.window < 100); /* taken for a queue */
	run(&e, &far, 0, 30000, 70);
	assert_int_equal(e.window, 200);
}

/* ---- whatever happens ---- */

static uint32_t dice;
static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)dice * n >> 32);
}

static void never_stuck_whatever_happens(void **state)
{
	unsigned long downs = 0, ups = 0;

	(void)state;
	for (uint32_t seed = 1; seed <= 200; seed++) {
		struct px_esc e;
		struct {
			int64_t sent, ends;
		} flight[256];
		unsigned n = 0;
		int64_t now = 0, last_probe = INT64_MIN / 2;
		int mode = 0;

		dice = seed * 2654435761u;
		px_esc_init(&e, 1 + seed % 3, 1 + roll(200), roll(2) ? 0 : 1 + roll(500), at(0));
		for (int i = 0; i < 3000; i++) {
			bool well = i > 2700;

			now += roll(4) ? roll(50) : roll(5000);
			if (roll(100) == 0)
				mode = (int)roll(5);
			for (unsigned k = 0; k < n;) {
				if (flight[k].ends > now) {
					k++;
					continue;
				}
				static const enum px_esc_word words[] = {
				    PX_ESC_ALIVE, PX_ESC_FAILED, PX_ESC_PAUSE, PX_ESC_UNSURE};
				enum px_esc_word word =
				    well ? PX_ESC_ALIVE
				         : words[mode < 4 && roll(10) ? (unsigned)mode : roll(4)];
				bool was = e.down;
				bool back = px_esc_ended(&e, word, (int64_t)roll(100) - 1,
				                         now - flight[k].sent, at(now));

				flight[k] = flight[--n];
				assert_int_equal(e.in_flight, n);
				assert_true(back == (was && !e.down));
				assert_true(!back || word == PX_ESC_ALIVE);
				downs += !was && e.down;
				ups += back;
				if (back)
					last_probe = INT64_MIN / 2;
			}
			while (n < 256 && px_esc_may_send(&e, at(now))) {
				if (e.down && e.servers == 1) {
					assert_true(now - last_probe >= 2000);
					last_probe = now;
				} else if (!e.down) {
					assert_true(n < e.window);
				}
				px_esc_sent(&e, at(now));
				flight[n].sent = now;
				flight[n].ends = now + 1 + roll(roll(10) ? 100 : 8000);
				n++;
			}
			assert_in_range(e.window, 1, e.window_max);
			assert_true(e.current < e.servers);
			/* what it waits for: a deadline, or an answer */
			int64_t due = due_in(&e, now);
			assert_true(due == -1 || due > 0);
			assert_true(due > 0 || n > 0);
			assert_true(!e.probing || n > 0);
		}
		assert_false(e.down);
	}
	assert_true(downs > 1000 && ups > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_failure_is_enough_when_nothing_is_known),
	    cmocka_unit_test(later_three_in_a_row),
	    cmocka_unit_test(what_was_sent_before_it_went_down_is_no_news),
	    cmocka_unit_test(asked_to_pause),
	    cmocka_unit_test(a_login_is_refused),
	    cmocka_unit_test(there_is_another_login),
	    cmocka_unit_test(answers_but_serves_nobody),
	    cmocka_unit_test(several_servers_take_turns),
	    cmocka_unit_test(the_window_holds),
	    cmocka_unit_test(lost_requests_halve_it_once_per_round_trip),
	    cmocka_unit_test(a_few_slow_answers_are_no_queue),
	    cmocka_unit_test(a_window_that_is_not_used_does_not_grow),
	    cmocka_unit_test(the_rate_is_a_ceiling),
	    cmocka_unit_test(as_much_as_a_fixed_window_and_never_a_long_queue),
	    cmocka_unit_test(a_new_normal_is_accepted),
	    cmocka_unit_test(never_stuck_whatever_happens),
	};

	return cmocka_run_group_tests_name("esc", tests, NULL, NULL);
}
