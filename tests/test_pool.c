/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/pool.h"

#define MIN5 300000

static struct px_now at(int64_t ms)
{
	return (struct px_now){{1000 + ms}, {1700000000000 + ms}};
}

static struct px_reply said(enum px_verdict v)
{
	struct px_reply r = {.verdict = v};

	snprintf(r.code, sizeof r.code, "Error%s", px_verdict_name(v));
	return r;
}

static void make(struct px_pool *p, unsigned n)
{
	char name[16];

	assert_int_equal(px_pool_init(p, n, 7), 0);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof name, "cas%u", i + 1);
		px_pool_gateway(p, i, name, 8);
	}
}

/* One request that ends like this. */
static enum px_pool_change ends(struct px_pool *p, int g, enum px_verdict v, int64_t ms)
{
	struct px_reply r = said(v);

	px_pool_started(p, g, false);
	return px_pool_ended(p, g, false, &r, at(ms));
}

/* The probe that is due now, started. */
static int probe(struct px_pool *p, int64_t ms)
{
	int g = px_pool_probe(p, at(ms));

	if (g != PX_NO_GATEWAY)
		px_pool_started(p, g, false);
	return g;
}

static enum px_pool_change probed(struct px_pool *p, int g, enum px_verdict v, int64_t ms)
{
	struct px_reply r = said(v);

	return px_pool_probed(p, g, &r, at(ms));
}

static int64_t due_in(const struct px_pool *p, int64_t ms)
{
	struct px_mono due = px_pool_due(p, at(ms));

	return due.ms ? due.ms - at(ms).mono.ms : -1;
}

/* a promise of ms, and the tenth that it may be spread by */
static void assert_about(int64_t got, int64_t ms)
{
	assert_in_range(got, ms, ms + ms / 10);
}

/* ---- assignment ---- */

static void first_assignment_goes_round(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	for (int i = 0; i < 9; i++)
		assert_int_equal(px_pool_assign_first(&p), i % 3);
	ends(&p, 1, PX_V_SERVER, 0);
	assert_int_equal(px_pool_assign_first(&p), 0);
	assert_int_equal(px_pool_assign_first(&p), 2);
	assert_int_equal(px_pool_assign_first(&p), 0);
	assert_int_equal(p.gateway[0].users, 5);
	assert_int_equal(p.gateway[1].users, 3);
	assert_int_equal(p.gateway[2].users, 4);
	ends(&p, 0, PX_V_SERVER, 0);
	ends(&p, 2, PX_V_SERVER, 0);
	assert_int_equal(px_pool_assign_first(&p), PX_NO_GATEWAY);
	px_pool_free(&p);
}

static void second_assignment_goes_to_the_fewest(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	for (int i = 0; i < 9; i++)
		px_pool_assign_first(&p);
	px_pool_leave(&p, 2);
	px_pool_leave(&p, 2);
	px_pool_leave(&p, PX_NO_GATEWAY);
	assert_int_equal(px_pool_assign_again(&p, 0), 2);
	assert_int_equal(p.gateway[0].users, 2);
	assert_int_equal(p.gateway[1].users, 3);
	assert_int_equal(p.gateway[2].users, 2);
	/* one that merely lost its subscription counts without itself: it is the fewest, and keeps
	 * the user */
	assert_int_equal(px_pool_assign_again(&p, 0), 0);
	assert_int_equal(p.gateway[0].users, 2);
	/* ties go round: without the user each has two */
	px_pool_leave(&p, 1);
	assert_int_equal(px_pool_assign_again(&p, PX_NO_GATEWAY), 1);
	assert_int_equal(px_pool_assign_again(&p, PX_NO_GATEWAY), 2);
	assert_int_equal(px_pool_assign_again(&p, PX_NO_GATEWAY), 0);
	assert_int_equal(px_pool_assign_again(&p, PX_NO_GATEWAY), 1);
	px_pool_free(&p);
}

/* Who fails again and again gets to everybody, though one has the fewest users all the time. */
static void who_fails_again_goes_round(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 4);
	for (int i = 0; i < 40; i++)
		px_pool_assign_first(&p);
	for (int i = 0; i < 9; i++)
		px_pool_leave(&p, 1);
	assert_int_equal(px_pool_assign_again(&p, 0), 1);
	assert_int_equal(px_pool_assign_again(&p, 1), 1);
	assert_int_equal(px_pool_assign_next(&p, 1), 2);
	assert_int_equal(p.gateway[1].users, 1);
	assert_int_equal(p.gateway[2].users, 11);
	ends(&p, 3, PX_V_SERVER, 0);
	assert_int_equal(px_pool_assign_next(&p, 2), 0);
	assert_int_equal(px_pool_assign_next(&p, 0), 1);
	assert_int_equal(px_pool_assign_next(&p, PX_NO_GATEWAY), PX_NO_GATEWAY);
	for (int g = 0; g < 3; g++)
		ends(&p, g, PX_V_SERVER, 0);
	assert_int_equal(px_pool_assign_next(&p, 1), PX_NO_GATEWAY);
	assert_int_equal(p.gateway[1].users, 2);
	px_pool_free(&p);
}

static void nobody_is_healthy_and_the_user_stays_counted(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 2);
	assert_int_equal(px_pool_assign_first(&p), 0);
	ends(&p, 0, PX_V_SERVER, 0);
	ends(&p, 1, PX_V_SERVER, 0);
	assert_int_equal(px_pool_assign_again(&p, 0), PX_NO_GATEWAY);
	assert_int_equal(p.gateway[0].users, 1);
	assert_false(px_pool_any_up(&p));
	px_pool_free(&p);
}

static void survivors_are_even_and_the_healed_takes_nobody_back(void **state)
{
	enum { USERS = 10001, N = 5 };
	static int home[USERS];
	struct px_pool p;

	(void)state;
	make(&p, N);
	for (int u = 0; u < USERS; u++)
		home[u] = px_pool_assign_first(&p);
	for (int dead = 0; dead < 2; dead++) {
		assert_int_equal(ends(&p, dead, PX_V_SERVER, dead), PX_POOL_GATEWAY_DOWN);
		for (int u = 0; u < USERS; u++) {
			int before = home[u];

			if (before == dead)
				home[u] = px_pool_assign_again(&p, dead);
			assert_true(before == dead || home[u] == before);
		}
		assert_int_equal(p.gateway[dead].users, 0);
		for (int a = dead + 1; a < N; a++)
			for (int b = dead + 1; b < N; b++)
				assert_true(p.gateway[a].users <= p.gateway[b].users + 1);
	}
	assert_int_equal(probe(&p, 3000), 0);
	assert_int_equal(probed(&p, 0, PX_V_OK, 3000), PX_POOL_GATEWAY_UP);
	assert_int_equal(p.gateway[0].users, 0);
	px_pool_free(&p);
}

/* A is accused and has refused again. */
static void refused_twice(struct px_pool *p, int a, int64_t ms)
{
	ends(p, a, PX_V_DENIED, ms);
	assert_int_equal(probe(p, ms), a);
	probed(p, a, PX_V_DENIED, ms);
}

/* ---- health ---- */

static void only_a_server_that_cannot_serve_is_down(void **state)
{
	static const struct {
		enum px_verdict verdict;
		enum px_pool_change change;
		enum px_health health;
		enum px_login login;
		unsigned errors;
		bool may_send;
	} row[] = {
	    {PX_V_OK, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN, 0, true},
	    {PX_V_SERVER, PX_POOL_GATEWAY_DOWN, PX_GW_DOWN, PX_LOGIN_OPEN, 1, false},
	    {PX_V_LOST, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN, 0, true},
	    {PX_V_BUSY, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN, 1, false},
	    {PX_V_DENIED, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_RETRYING, 1, false},
	    {PX_V_USER, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN, 0, true},
	    {PX_V_TRANSIENT, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN, 1, true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		for (int stream = 0; stream <= 1; stream++) {
			struct px_pool p;
			struct px_reply r = said(row[i].verdict);

			make(&p, 2);
			px_pool_started(&p, 0, stream);
			assert_int_equal(p.gateway[0].in_flight, !stream);
			assert_int_equal(px_pool_ended(&p, 0, stream, &r, at(0)), row[i].change);
			assert_int_equal(p.gateway[0].in_flight, 0);
			assert_int_equal(p.gateway[0].health, row[i].health);
			assert_int_equal(p.login, row[i].login);
			assert_int_equal(p.gateway[0].requests, 1);
			assert_int_equal(p.gateway[0].errors, row[i].errors);
			assert_string_equal(p.gateway[0].last_error, row[i].errors ? r.code : "");
			assert_int_equal(px_pool_may_send(&p, 0, at(0)), row[i].may_send);
			assert_int_equal(px_pool_may_stream(&p, 0, at(0)), row[i].may_send);
			/* the other suffers only when the login is in question */
			assert_int_equal(px_pool_may_send(&p, 1, at(0)),
			                 row[i].login == PX_LOGIN_OPEN);
			assert_int_equal(p.gateway[1].health, PX_GW_UP);
			px_pool_free(&p);
		}
}

static void a_probe_tells_whether_it_is_back(void **state)
{
	static const struct {
		enum px_verdict verdict;
		enum px_pool_change change;
		enum px_health health;
	} row[] = {
	    {PX_V_OK, PX_POOL_GATEWAY_UP, PX_GW_UP},
	    {PX_V_SERVER, PX_POOL_SAME, PX_GW_DOWN},
	    {PX_V_LOST, PX_POOL_GATEWAY_UP, PX_GW_UP},
	    {PX_V_BUSY, PX_POOL_GATEWAY_UP, PX_GW_UP},
	    {PX_V_DENIED, PX_POOL_SAME, PX_GW_REFUSED},
	    {PX_V_USER, PX_POOL_GATEWAY_UP, PX_GW_UP},
	    {PX_V_TRANSIENT, PX_POOL_GATEWAY_UP, PX_GW_UP},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_pool p;

		make(&p, 2);
		ends(&p, 0, PX_V_SERVER, 0);
		assert_int_equal(probe(&p, 1999), PX_NO_GATEWAY);
		assert_int_equal(probe(&p, 2200), 0);
		assert_true(p.gateway[0].probing);
		assert_int_equal(probe(&p, 60000), PX_NO_GATEWAY); /* one at a time */
		assert_int_equal(due_in(&p, 60000), -1);
		/* neither does an ordinary answer bring it back, nor a second failure change
		 * anything */
		assert_int_equal(ends(&p, 0, PX_V_OK, 60000), PX_POOL_SAME);
		assert_int_equal(ends(&p, 0, PX_V_SERVER, 60000), PX_POOL_SAME);
		assert_int_equal(p.gateway[0].health, PX_GW_DOWN);
		assert_int_equal(probed(&p, 0, row[i].verdict, 60001), row[i].change);
		assert_int_equal(p.gateway[0].health, row[i].health);
		assert_int_equal(p.login, PX_LOGIN_OPEN);
		assert_int_equal(p.gateway[0].in_flight, 0);
		assert_int_equal(px_pool_may_send(&p, 0, at(60001)),
		                 row[i].health == PX_GW_UP && row[i].verdict != PX_V_BUSY);
		assert_int_equal(probed(&p, 0, PX_V_OK, 60002), PX_POOL_SAME); /* doubled */
		px_pool_free(&p);
	}
}

static void the_account_is_tried_once_before_anything_else(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	px_pool_begin(&p, at(0));
	assert_false(px_pool_may_send(&p, 1, at(0)));
	assert_int_equal(probe(&p, 0), 0);
	assert_int_equal(probe(&p, 0), PX_NO_GATEWAY);
	assert_int_equal(probed(&p, 0, PX_V_OK, 20), PX_POOL_OPEN);
	assert_true(px_pool_may_send(&p, 1, at(20)));
	px_pool_free(&p);
	/* the first gateway is dead: the next is asked */
	make(&p, 3);
	px_pool_begin(&p, at(0));
	assert_int_equal(probe(&p, 0), 0);
	assert_int_equal(probed(&p, 0, PX_V_SERVER, 20), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(probe(&p, 20), 1);
	assert_int_equal(probed(&p, 1, PX_V_OK, 40), PX_POOL_OPEN);
	px_pool_free(&p);
}

static void a_suspect_is_probed_once(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 2);
	px_pool_assign_first(&p);
	px_pool_suspect(&p, 0, at(0));
	px_pool_suspect(&p, 0, at(0));
	assert_int_equal(due_in(&p, 0), 0);
	assert_int_equal(probe(&p, 0), 0);
	px_pool_suspect(&p, 0, at(10));
	assert_int_equal(probe(&p, 10), PX_NO_GATEWAY);
	assert_true(px_pool_may_send(&p, 0, at(10))); /* until it is known */
	assert_int_equal(probed(&p, 0, PX_V_OK, 20), PX_POOL_SAME);
	assert_int_equal(probe(&p, 20), PX_NO_GATEWAY);
	px_pool_suspect(&p, 0, at(30));
	assert_int_equal(probe(&p, 30), 0);
	assert_int_equal(probed(&p, 0, PX_V_SERVER, 40), PX_POOL_GATEWAY_DOWN);
	px_pool_suspect(&p, 0, at(50)); /* no news */
	assert_int_equal(probe(&p, 50), PX_NO_GATEWAY);
	px_pool_free(&p);
}

static void probes_back_off(void **state)
{
	static const int64_t wait[] = {2000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};
	struct px_pool p;
	int64_t now = 0;

	(void)state;
	make(&p, 1);
	ends(&p, 0, PX_V_SERVER, 0);
	for (size_t i = 0; i < sizeof wait / sizeof *wait; i++) {
		assert_about(due_in(&p, now), wait[i]);
		now += due_in(&p, now);
		assert_int_equal(probe(&p, now - 1), PX_NO_GATEWAY);
		assert_int_equal(probe(&p, now), 0);
		assert_int_equal(probed(&p, 0, PX_V_SERVER, now), PX_POOL_SAME);
		assert_int_equal(p.gateway[0].failures, i + 1);
		assert_int_equal(p.gateway[0].errors, i + 2);
		assert_int_equal(p.gateway[0].requests, i + 2);
	}
	now += due_in(&p, now);
	probe(&p, now);
	assert_int_equal(probed(&p, 0, PX_V_OK, now), PX_POOL_GATEWAY_UP);
	assert_int_equal(p.gateway[0].failures, 0);
	/* and begins anew */
	ends(&p, 0, PX_V_SERVER, now + 5000);
	assert_about(due_in(&p, now + 5000), 2000);
	px_pool_free(&p);
}

static void the_first_one_back_wakes_the_others(void **state)
{
	struct px_pool p;
	int64_t now = 0;

	(void)state;
	make(&p, 3);
	for (int g = 0; g < 3; g++)
		ends(&p, g, PX_V_SERVER, now);
	for (int round = 0; round < 6; round++) {
		now += 33000;
		for (int g = 0; g < 3; g++) {
			assert_int_equal(probe(&p, now), g);
			probed(&p, g, PX_V_SERVER, now);
		}
	}
	now += 33000;
	assert_int_equal(probe(&p, now), 0);
	probed(&p, 0, PX_V_SERVER, now);
	assert_int_equal(probe(&p, now), 1);
	assert_false(px_pool_settling(&p, at(now)));
	assert_int_equal(probed(&p, 1, PX_V_OK, now), PX_POOL_GATEWAY_UP);
	assert_true(px_pool_settling(&p, at(now)));
	assert_true(px_pool_settling(&p, at(now + 1999)));
	assert_false(px_pool_settling(&p, at(now + 2000)));
	assert_int_equal(probe(&p, now), 0);
	assert_int_equal(probe(&p, now), 2);
	assert_int_equal(due_in(&p, now), 2000); /* the end of settling */
	/* the second one back doesn't begin it anew */
	probed(&p, 0, PX_V_OK, now + 1000);
	assert_false(px_pool_settling(&p, at(now + 2000)));
	px_pool_free(&p);
}

static void a_suspect_is_probed(void **state)
{
	static const struct {
		enum px_verdict verdict;
		enum px_pool_change change;
		enum px_health health;
		enum px_login login;
	} row[] = {
	    {PX_V_OK, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN},
	    {PX_V_SERVER, PX_POOL_GATEWAY_DOWN, PX_GW_DOWN, PX_LOGIN_OPEN},
	    {PX_V_BUSY, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_OPEN},
	    {PX_V_DENIED, PX_POOL_SAME, PX_GW_UP, PX_LOGIN_RETRYING},
	};
	struct px_pool p;

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		make(&p, 2);
		px_pool_suspect(&p, 1, at(0));
		assert_int_equal(due_in(&p, 0), 0);
		assert_true(px_pool_may_send(&p, 1, at(0)));
		assert_int_equal(probe(&p, 0), 1);
		px_pool_suspect(&p, 1, at(0)); /* one at a time */
		assert_int_equal(probe(&p, 0), PX_NO_GATEWAY);
		assert_int_equal(probed(&p, 1, row[i].verdict, 10), row[i].change);
		assert_int_equal(p.gateway[1].health, row[i].health);
		assert_int_equal(p.login, row[i].login);
		px_pool_free(&p);
	}
	/* what isn't UP has its own time */
	make(&p, 1);
	ends(&p, 0, PX_V_SERVER, 0);
	px_pool_suspect(&p, 0, at(0));
	assert_about(due_in(&p, 0), 2000);
	px_pool_free(&p);
	/* the only one that could be asked about the login dies by such a probe */
	make(&p, 2);
	px_pool_suspect(&p, 1, at(0));
	assert_int_equal(probe(&p, 0), 1);
	refused_twice(&p, 0, 0);
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(probe(&p, 0), PX_NO_GATEWAY);
	assert_int_equal(probed(&p, 1, PX_V_SERVER, 10), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_HELD);
	px_pool_free(&p);
	/* ... or doesn't, and is asked then */
	make(&p, 2);
	px_pool_suspect(&p, 1, at(0));
	assert_int_equal(probe(&p, 0), 1);
	refused_twice(&p, 0, 0);
	probed(&p, 1, PX_V_OK, 10);
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(probe(&p, 10), 1);
	px_pool_free(&p);
}

static void what_broke_together_does_not_come_back_together(void **state)
{
	int64_t due[3][8];

	(void)state;
	for (uint32_t seed = 0; seed < 3; seed++) {
		struct px_pool p;

		assert_int_equal(px_pool_init(&p, 8, seed / 2), 0);
		for (int g = 0; g < 8; g++) {
			px_pool_gateway(&p, (unsigned)g, "", 0);
			assert_int_equal(p.gateway[g].limit, 1);
			ends(&p, g, PX_V_SERVER, 0);
			due[seed][g] = p.gateway[g].probe_at.ms;
		}
		int64_t least = due[seed][0], most = least;
		for (int g = 1; g < 8; g++) {
			least = due[seed][g] < least ? due[seed][g] : least;
			most = due[seed][g] > most ? due[seed][g] : most;
		}
		assert_true(most - least > 50);
		px_pool_free(&p);
	}
	/* the same seed gives the same run, another one another */
	assert_memory_equal(due[0], due[1], sizeof due[0]);
	assert_memory_not_equal(due[0], due[2], sizeof due[0]);
}

static void nobody_to_ask_about(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	ends(&p, 0, PX_V_SERVER, 0);
	assert_int_equal(px_pool_probe(&p, at(5000)), 0);
	px_pool_probe_unsent(&p, 0, at(5000));
	assert_int_equal(due_in(&p, 5000), 1000);
	assert_int_equal(px_pool_probe(&p, at(5999)), PX_NO_GATEWAY);
	assert_int_equal(px_pool_probe(&p, at(6000)), 0);
	px_pool_probe_unsent(&p, 0, at(6000));
	/* the login's probe is no different, and stays where it was */
	ends(&p, 1, PX_V_DENIED, 6000);
	assert_int_equal(px_pool_probe(&p, at(6000)), 1);
	px_pool_probe_unsent(&p, 1, at(6000));
	assert_int_equal(px_pool_probe(&p, at(6999)), PX_NO_GATEWAY);
	assert_int_equal(probe(&p, 7000), 1);
	probed(&p, 1, PX_V_DENIED, 7000);
	assert_int_equal(px_pool_probe(&p, at(7000)), 2);
	px_pool_probe_unsent(&p, 2, at(7000));
	assert_int_equal(due_in(&p, 7000), 1000);
	assert_int_equal(px_pool_probe(&p, at(8000)), 2);
	px_pool_free(&p);
}

/* Whom the login is asked about goes down by another request, and then there is nobody to ask about there: the next is asked, and at once. */
static void the_asked_goes_down_before_it_is_asked(void **state)
{
	struct px_pool p;

	(void)state;
	for (unsigned others = 0; others < 2; others++) {
		make(&p, 2 + others);
		ends(&p, 0, PX_V_DENIED, 0);
		assert_int_equal(probe(&p, 0), 0);
		probed(&p, 0, PX_V_DENIED, 10);
		assert_int_equal(px_pool_probe(&p, at(10)), 1);
		ends(&p, 1, PX_V_SERVER, 20);
		assert_int_equal(px_pool_probe_unsent(&p, 1, at(30)),
		                 others ? PX_POOL_SAME : PX_POOL_HELD);
		assert_int_equal(px_pool_probe(&p, at(30)), others ? 2 : PX_NO_GATEWAY);
		if (!others)
			assert_about(due_in(&p, 30), MIN5);
		px_pool_free(&p);
	}
}

/* ---- login ---- */

static void assert_quiet(struct px_pool *p, int64_t ms)
{
	for (unsigned i = 0; i < p->n; i++) {
		assert_false(px_pool_may_send(p, (int)i, at(ms)));
		assert_false(px_pool_may_stream(p, (int)i, at(ms)));
	}
}

static void a_single_refusal_is_forgiven(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	assert_int_equal(ends(&p, 1, PX_V_DENIED, 0), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_RETRYING);
	assert_int_equal(p.accused, 1);
	assert_quiet(&p, 0);
	assert_int_equal(due_in(&p, 0), 0);
	assert_int_equal(probe(&p, 0), 1);
	assert_int_equal(probe(&p, 100000), PX_NO_GATEWAY);
	assert_int_equal(due_in(&p, 100000), -1);
	assert_int_equal(probed(&p, 1, PX_V_OK, 10), PX_POOL_OPEN);
	assert_int_equal(p.login, PX_LOGIN_OPEN);
	assert_int_equal(p.gateway[1].health, PX_GW_UP);
	assert_true(px_pool_may_send(&p, 1, at(10)));
	px_pool_free(&p);
}

static void accepted_elsewhere_the_first_alone_is_refused(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	refused_twice(&p, 0, 0);
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(p.gateway[0].health, PX_GW_UP); /* not yet */
	assert_quiet(&p, 0);
	assert_int_equal(probe(&p, 0), 1);
	assert_int_equal(probe(&p, 0), PX_NO_GATEWAY);
	assert_int_equal(probed(&p, 1, PX_V_OK, 5), PX_POOL_OPEN);
	assert_int_equal(p.gateway[0].health, PX_GW_REFUSED);
	assert_int_equal(p.accused, PX_NO_GATEWAY);
	assert_false(px_pool_may_send(&p, 0, at(5)));
	assert_true(px_pool_may_send(&p, 1, at(5)));
	assert_true(px_pool_may_send(&p, 2, at(5)));
	/* late refusals there are no news */
	assert_int_equal(ends(&p, 0, PX_V_DENIED, 6), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_OPEN);
	/* probed every 5 min, until it accepts */
	int64_t now = 5;
	static const enum px_verdict again[] = {PX_V_DENIED, PX_V_SERVER, PX_V_DENIED};
	for (size_t i = 0; i < sizeof again / sizeof *again; i++) {
		assert_about(due_in(&p, now), MIN5);
		now += due_in(&p, now);
		assert_int_equal(probe(&p, now), 0);
		assert_int_equal(probed(&p, 0, again[i], now), PX_POOL_SAME);
		assert_int_equal(p.gateway[0].health, PX_GW_REFUSED);
		assert_int_equal(p.login, PX_LOGIN_OPEN);
	}
	now += due_in(&p, now);
	assert_int_equal(probe(&p, now), 0);
	assert_int_equal(probed(&p, 0, PX_V_OK, now), PX_POOL_GATEWAY_UP);
	px_pool_free(&p);
}

static void refused_everywhere_the_pool_is_held(void **state)
{
	struct px_pool p;
	int64_t now = 0;

	(void)state;
	make(&p, 3);
	refused_twice(&p, 0, 0);
	assert_int_equal(probe(&p, 0), 1);
	assert_int_equal(probed(&p, 1, PX_V_DENIED, 0), PX_POOL_HELD);
	assert_int_equal(p.login, PX_LOGIN_HELD);
	for (int round = 0; round < 5; round++) {
		assert_about(due_in(&p, now), MIN5);
		now += due_in(&p, now);
		assert_int_equal(probe(&p, now - 1), PX_NO_GATEWAY);
		/* nobody moves */
		for (unsigned i = 0; i < p.n; i++)
			assert_int_equal(p.gateway[i].health, PX_GW_UP);
		assert_quiet(&p, now);
		assert_int_equal(probe(&p, now), (2 + round) % 3); /* each in turn */
		assert_int_equal(probe(&p, now), PX_NO_GATEWAY);
		assert_int_equal(probed(&p, (2 + round) % 3, PX_V_DENIED, now), PX_POOL_SAME);
	}
	now += due_in(&p, now);
	int g = probe(&p, now);
	assert_int_equal(probed(&p, g, PX_V_OK, now), PX_POOL_OPEN);
	for (unsigned i = 0; i < p.n; i++)
		assert_true(px_pool_may_send(&p, (int)i, at(now)));
	px_pool_free(&p);
}

static void a_single_gateway_is_held(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 1);
	ends(&p, 0, PX_V_DENIED, 0);
	probe(&p, 0);
	assert_int_equal(probed(&p, 0, PX_V_DENIED, 0), PX_POOL_HELD);
	assert_about(due_in(&p, 0), MIN5);
	assert_int_equal(probe(&p, MIN5 * 2), 0);
	assert_int_equal(probed(&p, 0, PX_V_OK, MIN5 * 2), PX_POOL_OPEN);
	assert_int_equal(p.gateway[0].health, PX_GW_UP);
	px_pool_free(&p);
}

static void one_that_is_asked_and_down_passes_the_question_on(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 4);
	refused_twice(&p, 2, 0);
	assert_int_equal(probe(&p, 0), 3);
	assert_int_equal(probed(&p, 3, PX_V_SERVER, 0), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(probe(&p, 0), 0);
	/* throttled: says nothing of the login */
	assert_int_equal(probed(&p, 0, PX_V_BUSY, 0), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(probe(&p, 0), 1);
	assert_int_equal(probed(&p, 1, PX_V_TRANSIENT, 0), PX_POOL_SAME);
	/* once more round, after a while, and not to the one that is down */
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(probe(&p, 9999), PX_NO_GATEWAY);
	assert_int_equal(probe(&p, 11000), 0);
	assert_int_equal(probed(&p, 0, PX_V_OK, 11000), PX_POOL_OPEN);
	assert_int_equal(p.gateway[2].health, PX_GW_REFUSED);
	/* the health probe of the one that is down has waited */
	assert_int_equal(probe(&p, 11000), 3);
	px_pool_free(&p);
}

static void nobody_left_to_ask(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 2);
	refused_twice(&p, 0, 0);
	assert_int_equal(probe(&p, 0), 1);
	assert_int_equal(probed(&p, 1, PX_V_SERVER, 0), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_HELD);
	assert_about(due_in(&p, 0), MIN5);
	/* HELD: the one that is down is asked first, and says nothing; so the other, and there is
	 * one refusal per 5 min */
	int64_t now = 0;
	for (int round = 0; round < 2; round++) {
		now += due_in(&p, now);
		assert_int_equal(probe(&p, now), 1);
		assert_int_equal(probed(&p, 1, PX_V_SERVER, now), PX_POOL_SAME);
		assert_int_equal(p.login, PX_LOGIN_HELD);
		assert_about(due_in(&p, now), 30000);
		now += due_in(&p, now);
		assert_int_equal(probe(&p, now), 0);
		if (round == 0) {
			assert_int_equal(probed(&p, 0, PX_V_DENIED, now), PX_POOL_SAME);
			assert_about(due_in(&p, now), MIN5);
		}
	}
	assert_int_equal(probed(&p, 0, PX_V_OK, now), PX_POOL_OPEN);
	assert_int_equal(p.gateway[0].health, PX_GW_UP);
	assert_int_equal(p.gateway[1].health, PX_GW_DOWN);
	px_pool_free(&p);

	/* the same when the last one dies before it is asked */
	make(&p, 2);
	refused_twice(&p, 0, 0);
	assert_int_equal(ends(&p, 1, PX_V_SERVER, 0), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_HELD);
	px_pool_free(&p);
}

static void the_accused_dies(void **state)
{
	struct px_pool p;

	(void)state;
	/* by its own probe: another is asked, and only what refused twice is REFUSED */
	make(&p, 2);
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 0), 0);
	assert_int_equal(probed(&p, 0, PX_V_SERVER, 0), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_ASKING);
	assert_int_equal(probe(&p, 0), 1);
	assert_int_equal(probed(&p, 1, PX_V_OK, 0), PX_POOL_OPEN);
	assert_int_equal(p.gateway[0].health, PX_GW_DOWN);
	px_pool_free(&p);

	/* by a late answer, before its probe */
	make(&p, 2);
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(ends(&p, 0, PX_V_SERVER, 0), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_RETRYING);
	assert_int_equal(probe(&p, 0), 0);
	assert_int_equal(probed(&p, 0, PX_V_OK, 0), PX_POOL_OPEN);
	assert_int_equal(p.gateway[0].health, PX_GW_UP);
	px_pool_free(&p);

	/* and it was the only one: the health probes find out */
	make(&p, 1);
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 0), 0);
	assert_int_equal(probed(&p, 0, PX_V_SERVER, 0), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_OPEN);
	assert_about(due_in(&p, 0), 2000);
	px_pool_free(&p);

	/* busy instead: asked again after a while */
	make(&p, 1);
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 0), 0);
	assert_int_equal(probed(&p, 0, PX_V_BUSY, 0), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_RETRYING);
	assert_int_equal(probe(&p, 9999), PX_NO_GATEWAY);
	assert_int_equal(probe(&p, 11000), 0);
	assert_int_equal(probed(&p, 0, PX_V_USER, 11000), PX_POOL_OPEN);
	px_pool_free(&p);
}

static void what_comes_back_and_refuses(void **state)
{
	struct px_pool p;

	(void)state;
	/* alone: held, not hammered */
	make(&p, 3);
	for (int g = 0; g < 3; g++)
		ends(&p, g, PX_V_SERVER, 0);
	assert_int_equal(probe(&p, 2200), 0);
	assert_int_equal(probed(&p, 0, PX_V_DENIED, 2200), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_RETRYING);
	assert_int_equal(probe(&p, 2200), 0);
	assert_int_equal(probe(&p, 2200), PX_NO_GATEWAY); /* the other two wait */
	assert_int_equal(probed(&p, 0, PX_V_DENIED, 2200), PX_POOL_HELD);
	assert_about(due_in(&p, 2200), MIN5);
	/* accepted by another when the time has come */
	int64_t now = 2200 + due_in(&p, 2200);
	assert_int_equal(probe(&p, now), 1);
	assert_int_equal(probed(&p, 1, PX_V_OK, now), PX_POOL_OPEN);
	assert_int_equal(p.gateway[1].health, PX_GW_UP);
	assert_true(px_pool_settling(&p, at(now)));
	/* now the first can be refused alone */
	assert_int_equal(probe(&p, now), 0);
	assert_int_equal(probed(&p, 0, PX_V_DENIED, now), PX_POOL_SAME);
	assert_int_equal(p.gateway[0].health, PX_GW_REFUSED);
	assert_int_equal(p.login, PX_LOGIN_OPEN);
	px_pool_free(&p);
}

static void late_probes_of_health(void **state)
{
	struct px_pool p;

	(void)state;
	for (int v = 0; v < PX_VERDICTS; v++) {
		make(&p, 3);
		ends(&p, 2, PX_V_SERVER, 0);
		assert_int_equal(probe(&p, 2200), 2);
		refused_twice(&p, 0, 2200);
		bool up = v != PX_V_SERVER && v != PX_V_DENIED;
		/* it was sent before the login was in question, and answers nothing now */
		assert_int_equal(probed(&p, 2, (enum px_verdict)v, 2300),
		                 up ? PX_POOL_GATEWAY_UP : PX_POOL_SAME);
		assert_int_equal(p.login, PX_LOGIN_ASKING);
		assert_int_equal(p.gateway[2].health, up ? PX_GW_UP : PX_GW_DOWN);
		assert_true(up || p.gateway[2].probe_at.ms);
		assert_int_equal(probe(&p, 2300), 1);
		probed(&p, 1, PX_V_DENIED, 2300);
		assert_int_equal(p.login, PX_LOGIN_HELD);
		px_pool_free(&p);
	}
	/* late refusals and deaths while HELD */
	make(&p, 2);
	refused_twice(&p, 0, 0);
	probe(&p, 0);
	probed(&p, 1, PX_V_DENIED, 0);
	struct px_mono held = p.held_until;
	assert_int_equal(ends(&p, 0, PX_V_DENIED, 10), PX_POOL_SAME);
	assert_int_equal(ends(&p, 0, PX_V_OK, 10), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_HELD);
	assert_int_equal(ends(&p, 0, PX_V_SERVER, 10), PX_POOL_GATEWAY_DOWN);
	assert_int_equal(p.login, PX_LOGIN_HELD);
	assert_int_equal(p.held_until.ms, held.ms);
	px_pool_free(&p);
}

static void accepts_probes_and_refuses_requests(void **state)
{
	struct px_pool p;

	(void)state;
	for (unsigned n = 1; n <= 2; n++) {
		int64_t now = 0;

		make(&p, n);
		/* rarely: forgiven for ever */
		for (int i = 0; i < 100; i++, now += 70000) {
			assert_int_equal(ends(&p, 0, PX_V_DENIED, now), PX_POOL_SAME);
			assert_int_equal(probe(&p, now), 0);
			assert_int_equal(probed(&p, 0, PX_V_OK, now), PX_POOL_OPEN);
		}
		/* all the time: not for ever */
		now += MIN5;
		for (int i = 0; i < 5; i++, now += 10) {
			ends(&p, 0, PX_V_DENIED, now);
			assert_int_equal(probe(&p, now), 0);
			assert_int_equal(probed(&p, 0, PX_V_OK, now), PX_POOL_OPEN);
		}
		if (n == 1) {
			assert_int_equal(ends(&p, 0, PX_V_DENIED, now), PX_POOL_HELD);
			assert_about(due_in(&p, now), MIN5);
		} else {
			assert_int_equal(ends(&p, 0, PX_V_DENIED, now), PX_POOL_SAME);
			assert_int_equal(probe(&p, now), 1);
			assert_int_equal(probed(&p, 1, PX_V_OK, now), PX_POOL_OPEN);
			assert_int_equal(p.gateway[0].health, PX_GW_REFUSED);
		}
		px_pool_free(&p);
	}
}

/* ---- throttling ---- */

static void throttling_pauses_and_narrows(void **state)
{
	static const int64_t pause[] = {1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000};
	static const unsigned limit[] = {4, 2, 1, 1, 1, 1, 1, 1};
	struct px_pool p;
	int64_t now = 0;

	(void)state;
	make(&p, 2);
	for (size_t i = 0; i < sizeof pause / sizeof *pause; i++) {
		assert_int_equal(ends(&p, 0, PX_V_BUSY, now), PX_POOL_SAME);
		assert_int_equal(p.gateway[0].limit, limit[i]);
		int64_t paused = p.gateway[0].paused_until.ms - at(now).mono.ms;
		assert_about(paused, pause[i]);
		assert_false(px_pool_may_send(&p, 0, at(now + paused - 1)));
		assert_true(px_pool_may_send(&p, 1, at(now)));
		/* the rest of what was in flight is the same refusal */
		ends(&p, 0, PX_V_BUSY, now);
		ends(&p, 0, PX_V_OK, now);
		assert_int_equal(p.gateway[0].limit, limit[i]);
		now = p.gateway[0].paused_until.ms - at(0).mono.ms;
		assert_true(px_pool_may_send(&p, 0, at(now)));
	}
	/* one refusal less than a success later, it begins anew */
	ends(&p, 0, PX_V_OK, now);
	ends(&p, 0, PX_V_BUSY, now);
	assert_about(p.gateway[0].paused_until.ms - at(now).mono.ms, 1000);

	/* each half minute without gives one back */
	for (unsigned back = 1; back <= 8; back++) {
		probe(&p, now + 30000 * (back - 1) + 29999);
		assert_int_equal(p.gateway[0].limit, back);
		probe(&p, now + 30000 * back);
	}
	assert_int_equal(p.gateway[0].limit, 8);
	assert_int_equal(due_in(&p, now + 3600000), -1);
	px_pool_free(&p);
}

static void the_servers_wish_is_kept_within_reason(void **state)
{
	static const int64_t wish[][2] = {
	    {0, 1000}, {-5, 1000}, {20000, 20000}, {297749, 297749}, {INT64_MAX, 300000}};
	struct px_pool p;

	(void)state;
	for (size_t i = 0; i < sizeof wish / sizeof *wish; i++) {
		struct px_reply r = said(PX_V_BUSY);

		make(&p, 1);
		r.backoff_ms = wish[i][0];
		px_pool_started(&p, 0, false);
		px_pool_ended(&p, 0, false, &r, at(0));
		assert_about(p.gateway[0].paused_until.ms - at(0).mono.ms, wish[i][1]);
		assert_int_equal(due_in(&p, 0), p.gateway[0].paused_until.ms - at(0).mono.ms < 30000
		                                    ? p.gateway[0].paused_until.ms - at(0).mono.ms
		                                    : 30000);
		px_pool_free(&p);
	}
}

static void the_limit_counts_requests_not_streams(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 1);
	for (int i = 0; i < 20; i++)
		px_pool_started(&p, 0, true);
	for (int i = 0; i < 8; i++) {
		assert_true(px_pool_may_send(&p, 0, at(0)));
		px_pool_started(&p, 0, false);
	}
	assert_false(px_pool_may_send(&p, 0, at(0)));
	assert_true(px_pool_may_stream(&p, 0, at(0)));
	assert_false(px_pool_may_stream(&p, PX_NO_GATEWAY, at(0)));
	assert_int_equal(p.gateway[0].requests, 28);
	px_pool_free(&p);
}

static void last_error_fits(void **state)
{
	struct px_pool p;
	struct px_reply r = {.verdict = PX_V_TRANSIENT};

	(void)state;
	make(&p, 1);
	memset(r.code, 'c', sizeof r.code - 1);
	memset(r.detail, 'd', sizeof r.detail - 1);
	px_pool_ended(&p, 0, true, &r, at(77));
	assert_int_equal(strlen(p.gateway[0].last_error), sizeof r.code + sizeof r.detail - 1);
	assert_int_equal(p.gateway[0].last_error_at.ms, at(77).wall.ms);
	px_pool_free(&p);
}

/* ---- random walks ---- */

static uint32_t dice;
static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)dice * n >> 32);
}

enum { WALK_N = 8, WALK_USERS = 60, WALK_FLIGHT = 64, WALK_PROBES = WALK_N };

struct walk {
	struct px_pool p;
	bool come_and_go; /* gateways, and passwords */
	int64_t now;
	enum px_verdict mode[WALK_N]; /* what it answers at the moment; PX_VERDICTS: anything */
	int home[WALK_USERS];
	struct {
		int g; /* PX_NO_GATEWAY: free */
		bool stream, probe, held;
		int64_t ends;
	} flight[WALK_FLIGHT];
	int64_t denied_at; /* while HELD, by a probe that was sent then; -1: not yet */
	unsigned long steps, held, refused, asked, came;
};

static bool stays(const struct walk *w, unsigned i)
{
	return w->p.gateway[i].used && w->p.gateway[i].health != PX_GW_LEAVING;
}

static unsigned staying(const struct walk *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->p.n; i++)
		n += stays(w, i);
	return n;
}

/* Has the login's next probe a time? What else the pool waits for leads it nowhere. */
static bool login_is_due(const struct walk *w)
{
	struct px_gateway gateway[WALK_N];
	struct px_pool p = w->p;

	memcpy(gateway, p.gateway, p.n * sizeof *gateway);
	p.gateway = gateway;
	p.settled_at.ms = 0;
	for (unsigned i = 0; i < p.n; i++) {
		gateway[i].paused_until.ms = 0;
		gateway[i].limit = gateway[i].concurrency;
	}
	return px_pool_due(&p, at(w->now)).ms != 0;
}

static void invariants(struct walk *w)
{
	uint32_t users[WALK_N] = {0};
	unsigned probes[WALK_N] = {0}, flying[WALK_N] = {0}, login_probes = 0, any = 0;
	bool next = w->p.held_until.ms != 0;

	for (int u = 0; u < WALK_USERS; u++)
		if (w->home[u] != PX_NO_GATEWAY)
			users[w->home[u]]++;
	for (int i = 0; i < WALK_FLIGHT; i++)
		if (w->flight[i].g != PX_NO_GATEWAY) {
			flying[w->flight[i].g] += !w->flight[i].stream;
			probes[w->flight[i].g] += w->flight[i].probe;
		}
	for (unsigned i = 0; i < w->p.n; i++) {
		const struct px_gateway *g = &w->p.gateway[i];

		if (!g->used)
			continue;
		assert_int_equal(g->users, users[i]);
		assert_int_equal(g->in_flight, flying[i]);
		assert_int_equal(g->probing, probes[i]);
		/* never both; neither only while UP and beyond suspicion, or on its way out */
		assert_false(g->probing && g->probe_at.ms != 0);
		assert_true(g->health == PX_GW_UP || g->health == PX_GW_LEAVING || g->probing ||
		            g->probe_at.ms != 0);
		assert_in_range(g->limit, 1, g->concurrency);
		login_probes += w->p.asking == (int)i && g->probing;
		any += g->probing;
		if (w->p.login != PX_LOGIN_OPEN || !stays(w, i))
			assert_false(px_pool_may_send(&w->p, (int)i, at(w->now)));
	}
	if (w->p.login == PX_LOGIN_OPEN) {
		assert_int_equal(w->p.accused, PX_NO_GATEWAY);
		assert_int_equal(w->p.asking, PX_NO_GATEWAY);
		assert_true(!next && !w->p.refused_twice && w->p.asked == 0);
	} else {
		assert_int_not_equal(w->p.accused, PX_NO_GATEWAY);
		assert_true(w->p.asking == PX_NO_GATEWAY ? next : login_probes == 1);
		/* a next step: the login's probe has a time, or is out; or another is out where it is to go; or there is no gateway,
		 * and one must come */
		assert_true(login_is_due(w) || login_probes == 1 || any > 0 || staying(w) == 0);
	}
}

static void launch(struct walk *w, int g, bool stream, bool is_probe)
{
	/* the first places are the probes': were they taken by requests, a probe would never be
	 * sent, and a gateway would stay away for want of room in this table alone */
	for (int i = is_probe ? 0 : WALK_PROBES; i < WALK_FLIGHT; i++)
		if (w->flight[i].g == PX_NO_GATEWAY) {
			w->flight[i].g = g;
			w->flight[i].stream = stream;
			w->flight[i].probe = is_probe;
			w->flight[i].held = is_probe && w->p.login == PX_LOGIN_HELD;
			w->flight[i].ends = w->now + 1 + roll(roll(8) ? 200 : 60000);
			px_pool_started(&w->p, g, stream);
			return;
		}
	assert_false(is_probe); /* one per gateway */
}

static void rehouse(struct walk *w)
{
	for (int u = 0; u < WALK_USERS; u++)
		if (w->home[u] == PX_NO_GATEWAY)
			w->home[u] = px_pool_assign_first(&w->p);
		else if (w->p.gateway[w->home[u]].health != PX_GW_UP) {
			int g = px_pool_assign_again(&w->p, w->home[u]);
			if (g != PX_NO_GATEWAY)
				w->home[u] = g;
		}
}

static void land(struct walk *w, int i)
{
	int g = w->flight[i].g;
	enum px_verdict v =
	    w->mode[g] == PX_VERDICTS ? (enum px_verdict)roll(PX_VERDICTS) : w->mode[g];
	/* it doesn't count: the password is another by now */
	const bool unsent = w->flight[i].probe && roll(10) == 0;
	struct px_reply r = said(v);
	enum px_health before[WALK_N];
	enum px_login login = w->p.login;
	enum px_pool_change change;

	r.backoff_ms = roll(2) ? 0 : roll(400000);
	for (unsigned k = 0; k < w->p.n; k++)
		before[k] = w->p.gateway[k].health;
	if (w->flight[i].held && v == PX_V_DENIED && !unsent) {
		assert_true(w->denied_at < 0 || w->now - w->denied_at >= MIN5);
		w->denied_at = w->now;
	}
	w->flight[i].g = PX_NO_GATEWAY;
	if (unsent) {
		px_pool_cancelled(&w->p, g, false);
		change = px_pool_probe_unsent(&w->p, g, at(w->now));
	} else if (w->flight[i].probe)
		change = px_pool_probed(&w->p, g, &r, at(w->now));
	else
		change = px_pool_ended(&w->p, g, w->flight[i].stream, &r, at(w->now));

	/* what is said is what happened; and who loses its gateway is told */
	bool lost = false;
	for (unsigned k = 0; k < w->p.n; k++)
		lost |= before[k] == PX_GW_UP && w->p.gateway[k].health != PX_GW_UP;
	if (lost)
		assert_true(change == PX_POOL_GATEWAY_DOWN || change == PX_POOL_OPEN);
	if (change == PX_POOL_GATEWAY_DOWN)
		assert_true(before[g] == PX_GW_UP && w->p.gateway[g].health == PX_GW_DOWN);
	if (change == PX_POOL_GATEWAY_UP)
		assert_true(before[g] != PX_GW_UP && w->p.gateway[g].health == PX_GW_UP);
	if (change == PX_POOL_HELD)
		assert_true(login != PX_LOGIN_HELD && w->p.login == PX_LOGIN_HELD);
	if (change == PX_POOL_OPEN)
		assert_true(login != PX_LOGIN_OPEN && w->p.login == PX_LOGIN_OPEN);
	if (login == PX_LOGIN_HELD && w->p.login != PX_LOGIN_HELD)
		w->denied_at = -1;
	w->held += change == PX_POOL_HELD;
	w->asked += login != PX_LOGIN_ASKING && w->p.login == PX_LOGIN_ASKING;
	for (unsigned k = 0; k < w->p.n; k++)
		w->refused += before[k] != PX_GW_REFUSED && w->p.gateway[k].health == PX_GW_REFUSED;
	if (roll(2))
		rehouse(w);
}

static void come(struct walk *w)
{
	int g = px_pool_add(&w->p, "new", 1 + roll(8), at(w->now));

	assert_in_range(g, 0, WALK_N - 1);
	w->mode[g] = (enum px_verdict)roll(PX_VERDICTS + 1);
	w->came++;
}

/* As the engine does it: its probe is given up, its users go elsewhere or are nobody's; when nothing is under way there, its place is free. */
static void go(struct walk *w, int g)
{
	px_pool_remove(&w->p, g, at(w->now));
	for (int i = 0; i < WALK_FLIGHT; i++)
		if (w->flight[i].g == g && w->flight[i].probe) {
			if (w->flight[i].held) { /* nobody knows, so it counts */
				assert_true(w->denied_at < 0 || w->now - w->denied_at >= MIN5);
				w->denied_at = w->now;
			}
			px_pool_cancelled(&w->p, g, false);
			w->flight[i].g = PX_NO_GATEWAY;
		}
	for (int u = 0; u < WALK_USERS; u++)
		if (w->home[u] == g) {
			w->home[u] = px_pool_assign_again(&w->p, g);
			if (w->home[u] == PX_NO_GATEWAY)
				px_pool_leave(&w->p, g);
		}
	assert_int_equal(w->p.gateway[g].users, 0);
}

static void gateways_change(struct walk *w)
{
	const int g = (int)roll(w->p.n);
	bool room = w->p.n < WALK_N;

	switch (roll(6)) {
	case 0:
	case 1:
		for (unsigned i = 0; i < w->p.n; i++)
			room |= !w->p.gateway[i].used;
		if (staying(w) < 5 && room)
			come(w);
		break;
	case 2:
	case 3:
		if (stays(w, (unsigned)g) && (staying(w) > 1 || roll(10) == 0))
			go(w, g);
		break;
	case 4:
		px_pool_login_renewed(&w->p, at(w->now));
		w->denied_at = -1;
		for (int i = 0; i < WALK_FLIGHT; i++)
			w->flight[i].held = false;
		break;
	case 5:
		if (w->p.gateway[g].used)
			px_pool_concurrency(&w->p, g, 1 + roll(8), at(w->now));
		break;
	}
	for (unsigned i = 0; i < w->p.n; i++)
		if (w->p.gateway[i].used && !stays(w, i) && w->p.gateway[i].in_flight == 0) {
			for (int k = 0; k < WALK_FLIGHT; k++) /* streams */
				if (w->flight[k].g == (int)i)
					w->flight[k].g = PX_NO_GATEWAY;
			px_pool_free_place(&w->p, (int)i);
		}
}

static void probes(struct walk *w)
{
	int g;

	while ((g = px_pool_probe(&w->p, at(w->now))) != PX_NO_GATEWAY) {
		if (roll(20) == 0)
			w->held += px_pool_probe_unsent(&w->p, g, at(w->now)) == PX_POOL_HELD;
		else
			launch(w, g, false, true);
	}
}

/* On to the next thing that happens, at most to `until`. */
static void step(struct walk *w, int64_t until)
{
	struct px_mono due = px_pool_due(&w->p, at(w->now));
	int64_t next = due.ms ? due.ms - at(0).mono.ms : until;
	int g;

	/* what is due was dealt with in the last step */
	assert_true(due.ms == 0 || next > w->now);
	for (int i = 0; i < WALK_FLIGHT; i++)
		if (w->flight[i].g != PX_NO_GATEWAY && w->flight[i].ends < next)
			next = w->flight[i].ends;
	w->now = next < until ? next : until;
	for (int i = 0; i < WALK_FLIGHT; i++)
		if (w->flight[i].g != PX_NO_GATEWAY && w->flight[i].ends <= w->now) {
			land(w, i);
			invariants(w);
		}
	if (w->come_and_go && roll(40) == 0) {
		gateways_change(w);
		invariants(w);
	}
	if (roll(20) == 0)
		px_pool_suspect(&w->p, (int)roll(w->p.n), at(w->now));
	for (int k = 0; k < 8; k++) {
		bool stream = roll(4) == 0;
		g = (int)roll(w->p.n);
		if (stream ? px_pool_may_stream(&w->p, g, at(w->now))
		           : px_pool_may_send(&w->p, g, at(w->now)))
			launch(w, g, stream, false);
	}
	probes(w);
	invariants(w);
	w->steps++;
}

static void never_stuck_whatever_happens(void **state)
{
	unsigned long steps = 0, held = 0, refused = 0, asked = 0, came = 0;

	(void)state;
	for (uint32_t seed = 1; seed <= 150; seed++) {
		struct walk w = {.come_and_go = seed > 100, .denied_at = -1};

		dice = seed * 2654435761u + 1;
		make(&w.p, 1 + seed % 5);
		for (int u = 0; u < WALK_USERS; u++)
			w.home[u] = px_pool_assign_first(&w.p);
		for (int i = 0; i < WALK_FLIGHT; i++)
			w.flight[i].g = PX_NO_GATEWAY;
		for (int era = 0; era < 30; era++) {
			for (unsigned g = 0; g < w.p.n; g++)
				w.mode[g] = seed % 3 == 0 && era % 2
				                ? PX_V_DENIED
				                : (enum px_verdict)roll(PX_VERDICTS + 1);
			int64_t until = w.now + 1 + roll(900000);
			for (int i = 0; w.now < until && i < 300; i++)
				step(&w, until);
			for (int u = 0; u < WALK_USERS; u++)
				if (roll(50) == 0) {
					px_pool_leave(&w.p, w.home[u]);
					w.home[u] = PX_NO_GATEWAY;
				}
			rehouse(&w);
		}
		/* all is well again: so it must become, in the time that was promised */
		w.come_and_go = false;
		if (staying(&w) == 0) {
			come(&w);
			probes(&w);
		}
		for (unsigned g = 0; g < w.p.n; g++)
			w.mode[g] = PX_V_OK;
		int64_t until = w.now + 2 * (MIN5 + MIN5 / 10) + 3 * 61000;
		while (w.now < until)
			step(&w, until);
		assert_int_equal(w.p.login, PX_LOGIN_OPEN);
		rehouse(&w);
		for (unsigned g = 0; g < w.p.n; g++)
			if (stays(&w, g))
				assert_int_equal(w.p.gateway[g].health, PX_GW_UP);
		steps += w.steps;
		held += w.held;
		refused += w.refused;
		asked += w.asked;
		came += w.came;
		px_pool_free(&w.p);
	}
	/* the walk went everywhere */
	assert_true(steps > 100000 && held > 100 && refused > 100 && asked > 100 && came > 500);
}

static void names(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 2);
	assert_string_equal(p.gateway[1].name, "cas2");
	px_pool_free(&p);
	assert_null(p.gateway);
	assert_string_equal(px_health_name(PX_GW_REFUSED), "refused");
	assert_string_equal(px_login_name(PX_LOGIN_HELD), "held");
}

/* ---- gateways come and go ---- */

static void comes_down_and_is_probed(void **state)
{
	struct px_pool p;
	int g;

	(void)state;
	make(&p, 1);
	g = px_pool_add(&p, "new", 4, at(100));
	assert_int_equal(g, 1);
	assert_int_equal(p.gateway[g].health, PX_GW_DOWN);
	assert_int_equal(p.gateway[g].limit, 4);
	assert_int_equal(px_pool_assign_first(&p), 0);
	assert_int_equal(px_pool_assign_first(&p), 0);
	assert_int_equal(probe(&p, 100), g);
	assert_int_equal(probed(&p, g, PX_V_OK, 200), PX_POOL_GATEWAY_UP);
	assert_int_equal(px_pool_assign_again(&p, 0), g);
	px_pool_free(&p);
}

static void what_leaves_is_asked_nothing(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	px_pool_remove(&p, 1, at(0));
	assert_int_equal(px_pool_find(&p, "cas2"), PX_NO_GATEWAY);
	assert_int_equal(px_pool_find(&p, "CAS3"), 2);
	for (int i = 0; i < 6; i++)
		assert_int_not_equal(px_pool_assign_first(&p), 1);
	assert_false(px_pool_may_send(&p, 1, at(0)));
	/* neither its last answers nor time bring it back */
	assert_int_equal(ends(&p, 1, PX_V_SERVER, 10), PX_POOL_SAME);
	assert_int_equal(ends(&p, 1, PX_V_DENIED, 10), PX_POOL_SAME);
	assert_int_equal(p.login, PX_LOGIN_OPEN);
	assert_int_equal(probe(&p, MIN5), PX_NO_GATEWAY);
	px_pool_free_place(&p, 1);
	assert_int_equal(px_pool_add(&p, "other", 1, at(MIN5)), 1);
	assert_int_equal(px_pool_add(&p, "more", 1, at(MIN5)), 3);
	px_pool_free(&p);
}

/* Whatever the login is waiting for, it goes on when that gateway is taken out. */
static void login_goes_on_without_it(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 2); /* accused, before it is asked again */
	ends(&p, 0, PX_V_DENIED, 0);
	px_pool_remove(&p, 0, at(1));
	assert_int_equal(probe(&p, 1), 1);
	assert_int_equal(probed(&p, 1, PX_V_OK, 2), PX_POOL_OPEN);
	px_pool_free(&p);

	make(&p, 2); /* accused, while it is asked again */
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 1), 0);
	px_pool_remove(&p, 0, at(2));
	assert_int_equal(probe(&p, 2), 1);
	assert_int_equal(probed(&p, 1, PX_V_DENIED, 3), PX_POOL_HELD);
	assert_int_equal(probe(&p, 4), PX_NO_GATEWAY);
	assert_int_equal(probe(&p, 2 * MIN5), 1); /* never the one that has gone */
	px_pool_remove(&p, 1, at(2 * MIN5));      /* nobody is left to ask */
	assert_int_equal(probe(&p, 4 * MIN5), PX_NO_GATEWAY);
	assert_int_equal(px_pool_add(&p, "new", 1, at(4 * MIN5)), 2);
	assert_int_equal(probe(&p, 5 * MIN5), 2);
	assert_int_equal(probed(&p, 2, PX_V_OK, 5 * MIN5), PX_POOL_OPEN);
	px_pool_free(&p);
}

/* What was being asked when it was taken out may have refused the login: the next is asked when it might have been anyhow. */
static void who_leaves_in_the_middle_counts_as_refused(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3); /* held */
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 1), 0);
	probed(&p, 0, PX_V_DENIED, 2);
	assert_int_equal(probe(&p, 3), 1);
	assert_int_equal(probed(&p, 1, PX_V_DENIED, 4), PX_POOL_HELD);
	const int g = probe(&p, 2 * MIN5);
	assert_int_not_equal(g, PX_NO_GATEWAY);
	px_pool_remove(&p, g, at(2 * MIN5 + 100));
	assert_about(due_in(&p, 2 * MIN5 + 100), MIN5);
	assert_int_equal(probe(&p, 3 * MIN5), PX_NO_GATEWAY);
	assert_int_not_equal(probe(&p, 4 * MIN5), g);
	px_pool_free(&p);

	make(&p, 3); /* the accused has refused twice, and another is asked */
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 1), 0);
	probed(&p, 0, PX_V_DENIED, 2);
	assert_int_equal(probe(&p, 3), 1);
	px_pool_remove(&p, 1, at(4));
	assert_int_equal(probe(&p, MIN5), PX_NO_GATEWAY);
	assert_int_equal(probe(&p, 2 * MIN5), 2);
	assert_int_equal(probed(&p, 2, PX_V_OK, 2 * MIN5), PX_POOL_OPEN);
	assert_int_equal(p.gateway[0].health, PX_GW_REFUSED);
	px_pool_free(&p);
}

/* A new password is tried once, at once, and where the old one was good; refused, it costs no second login. */
static void a_new_password_is_tried_once(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 3);
	ends(&p, 0, PX_V_SERVER, 0); /* down */
	px_pool_login_renewed(&p, at(10));
	assert_int_equal(p.login, PX_LOGIN_RETRYING);
	assert_false(px_pool_may_send(&p, 1, at(10)));
	assert_int_equal(probe(&p, 10), 1);
	assert_int_equal(probe(&p, 10), PX_NO_GATEWAY);
	assert_int_equal(probed(&p, 1, PX_V_DENIED, 20), PX_POOL_HELD);
	assert_int_equal(probe(&p, MIN5 - 1), PX_NO_GATEWAY);
	/* the right one at last: at once, though the pool is held */
	px_pool_login_renewed(&p, at(1000));
	assert_int_equal(probe(&p, 1000), 1);
	assert_int_equal(probed(&p, 1, PX_V_OK, 1010), PX_POOL_OPEN);
	assert_true(px_pool_may_send(&p, 1, at(1010)));
	px_pool_free(&p);
}

/* The answer to a probe that went with the old password doesn't decide on the new one. */
static void old_probes_say_nothing(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 2);
	ends(&p, 0, PX_V_DENIED, 0);
	assert_int_equal(probe(&p, 0), 0);
	px_pool_login_renewed(&p, at(10));
	assert_int_equal(probe(&p, 10), PX_NO_GATEWAY); /* one at a time */
	px_pool_cancelled(&p, 0, false);
	px_pool_probe_unsent(&p, 0, at(20));
	assert_int_equal(p.login, PX_LOGIN_RETRYING);
	assert_int_equal(probe(&p, 20), 0);
	assert_int_equal(probed(&p, 0, PX_V_OK, 30), PX_POOL_OPEN);
	px_pool_free(&p);
}

static void concurrency_changes(void **state)
{
	struct px_pool p;

	(void)state;
	make(&p, 1);
	px_pool_concurrency(&p, 0, 20, at(0));
	assert_int_equal(p.gateway[0].limit, 20);
	ends(&p, 0, PX_V_BUSY, 0);
	assert_int_equal(p.gateway[0].limit, 10);
	px_pool_concurrency(&p, 0, 12, at(1));
	assert_int_equal(p.gateway[0].limit, 10);
	px_pool_concurrency(&p, 0, 4, at(2));
	assert_int_equal(p.gateway[0].limit, 4);
	px_pool_free(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(first_assignment_goes_round),
	    cmocka_unit_test(second_assignment_goes_to_the_fewest),
	    cmocka_unit_test(who_fails_again_goes_round),
	    cmocka_unit_test(nobody_is_healthy_and_the_user_stays_counted),
	    cmocka_unit_test(survivors_are_even_and_the_healed_takes_nobody_back),
	    cmocka_unit_test(only_a_server_that_cannot_serve_is_down),
	    cmocka_unit_test(a_probe_tells_whether_it_is_back),
	    cmocka_unit_test(the_account_is_tried_once_before_anything_else),
	    cmocka_unit_test(a_suspect_is_probed_once),
	    cmocka_unit_test(probes_back_off),
	    cmocka_unit_test(the_first_one_back_wakes_the_others),
	    cmocka_unit_test(a_suspect_is_probed),
	    cmocka_unit_test(what_broke_together_does_not_come_back_together),
	    cmocka_unit_test(nobody_to_ask_about),
	    cmocka_unit_test(the_asked_goes_down_before_it_is_asked),
	    cmocka_unit_test(a_single_refusal_is_forgiven),
	    cmocka_unit_test(accepted_elsewhere_the_first_alone_is_refused),
	    cmocka_unit_test(refused_everywhere_the_pool_is_held),
	    cmocka_unit_test(a_single_gateway_is_held),
	    cmocka_unit_test(one_that_is_asked_and_down_passes_the_question_on),
	    cmocka_unit_test(nobody_left_to_ask),
	    cmocka_unit_test(the_accused_dies),
	    cmocka_unit_test(what_comes_back_and_refuses),
	    cmocka_unit_test(late_probes_of_health),
	    cmocka_unit_test(accepts_probes_and_refuses_requests),
	    cmocka_unit_test(throttling_pauses_and_narrows),
	    cmocka_unit_test(the_servers_wish_is_kept_within_reason),
	    cmocka_unit_test(the_limit_counts_requests_not_streams),
	    cmocka_unit_test(last_error_fits),
	    cmocka_unit_test(never_stuck_whatever_happens),
	    cmocka_unit_test(names),
	    cmocka_unit_test(comes_down_and_is_probed),
	    cmocka_unit_test(what_leaves_is_asked_nothing),
	    cmocka_unit_test(login_goes_on_without_it),
	    cmocka_unit_test(who_leaves_in_the_middle_counts_as_refused),
	    cmocka_unit_test(a_new_password_is_tried_once),
	    cmocka_unit_test(old_probes_say_nothing),
	    cmocka_unit_test(concurrency_changes),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
