/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A crowd before a server of our own making, in virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "crowd.h"

#define USERS 1000
#define ANSWER_MS 30
#define TIMEOUT_MS 8000

struct sent {
	uint32_t slot, generation;
	int64_t at_ms;
	long expires_s;
	bool dialog;
};

/* The server: remembers dialogs by slot, answers after ANSWER_MS, or never when it is down. */
struct server {
	struct pw_crowd crowd;
	struct sent queue[200000];
	unsigned head, tail;
	int64_t now_ms;
	bool down, mute;      /* mute: accepts and sends no NOTIFY */
	unsigned sick;        /* subs below this are answered 500 */
	bool deaf;            /* sub 0 is never answered */
	int64_t known[USERS]; /* generation + 1 of the dialog that the server holds; 0: none */
	uint32_t cseq[USERS];
	unsigned notified, changed, problems, ready, most_in_flight, most_in_a_second, in_second;
	int64_t second;
};

static bool on_send(void *arg, const struct pw_sub *s, long expires_s)
{
	struct server *v = arg;

	v->queue[v->tail++] =
	    (struct sent){s->slot, s->generation, v->now_ms, expires_s, s->target != NULL};
	if (v->tail - v->head > v->most_in_flight)
		v->most_in_flight = v->tail - v->head;
	if (v->now_ms / 1000 != v->second) {
		v->second = v->now_ms / 1000;
		v->in_second = 0;
	}
	if (++v->in_second > v->most_in_a_second)
		v->most_in_a_second = v->in_second;
	return true;
}

static void on_notified(void *arg, const struct pw_sub *s, bool changed, int64_t wall_ms)
{
	(void)s;
	(void)wall_ms;
	((struct server *)arg)->notified++;
	((struct server *)arg)->changed += changed;
}

static void on_problem(void *arg, const char *aor, const char *what)
{
	(void)aor;
	(void)what;
	((struct server *)arg)->problems++;
}

static void on_ready(void *arg)
{
	((struct server *)arg)->ready++;
}

static const struct pw_crowd_calls calls = {on_send, on_notified, on_problem, on_ready};

static void tell(struct server *v, uint32_t slot, uint32_t generation)
{
	struct pw_notify n = {.from_tag = "theirs",
	                      .branch = "x",
	                      .event = "presence",
	                      .substate = "active",
	                      .cseq = ++v->cseq[slot],
	                      .expires_s = 3600,
	                      .retry_after_s = -1,
	                      .body = ""};

	assert_int_equal(pw_crowd_notify(&v->crowd, slot, generation, &n, v->now_ms, v->now_ms),
	                 200);
}

static void reply(struct server *v, const struct sent *q)
{
	struct pw_answer a = {.status = 200,
	                      .expires_s = q->expires_s,
	                      .min_expires_s = -1,
	                      .to_tag = "theirs",
	                      .contact = "sip:server"};

	if (v->down || (v->deaf && q->slot == 0))
		a.status = 408;
	else if (q->slot < v->sick)
		a.status = 500;
	else if (q->dialog && v->known[q->slot] != q->generation + 1)
		a.status = 481;
	pw_crowd_answer(&v->crowd, q->slot, q->generation, &a, v->now_ms);
	if (a.status != 200)
		return;
	if (v->known[q->slot] != q->generation + 1)
		v->cseq[q->slot] = 0;
	v->known[q->slot] = q->expires_s > 0 ? q->generation + 1 : 0;
	if (!v->mute && !v->crowd.leaving)
		tell(v, q->slot, q->generation);
}

static void run(struct server *v, int64_t ms)
{
	int64_t end_ms = v->now_ms + ms;

	for (; v->now_ms < end_ms; v->now_ms += 10) {
		while (v->head < v->tail &&
		       v->now_ms >= v->queue[v->head].at_ms + (v->down ? TIMEOUT_MS : ANSWER_MS))
			reply(v, &v->queue[v->head++]);
		pw_crowd_turn(&v->crowd, v->now_ms);
	}
}

static int setup(void **state)
{
	static char names[USERS][24];
	const char *aors[USERS];
	struct server *v = calloc(1, sizeof *v);

	for (unsigned i = 0; i < USERS; i++) {
		snprintf(names[i], sizeof names[i], "user%u@example.test", i);
		aors[i] = names[i];
	}
	v->now_ms = 1000;
	*state = v;
	return pw_crowd_init(&v->crowd, aors, USERS, 500, 3600, &calls, v) ? 0 : -1;
}

static int teardown(void **state)
{
	struct server *v = *state;

	pw_crowd_clear(&v->crowd);
	free(v);
	return 0;
}

static unsigned held(const struct server *v)
{
	unsigned n = 0;

	for (unsigned i = 0; i < USERS; i++)
		n += v->crowd.subs[i].state == PW_SUB_HELD &&
		     v->known[i] == v->crowd.subs[i].generation + 1;
	return n;
}

static void subscribes_at_its_rate(void **state)
{
	struct server *v = *state;

	run(v, 1000);
	assert_in_range(v->tail, 400, 560);
	assert_int_equal(v->ready, 0);
	run(v, 1500);
	assert_int_equal(held(v), USERS);
	assert_int_equal(v->ready, 1);
	assert_int_equal(v->crowd.counts.subscribes, USERS);
	assert_true(v->most_in_a_second <= 560);
	assert_int_equal(v->problems, 0);
	assert_int_equal(v->notified, USERS);
}

static void refreshes_before_the_end(void **state)
{
	struct server *v = *state;

	run(v, 3000);
	run(v, 3600 * 1000);
	assert_int_equal(held(v), USERS);
	assert_in_range(v->crowd.counts.subscribes, 2 * USERS, 2 * USERS);
	assert_int_equal(v->crowd.counts.renewed, 0);
	assert_int_equal(v->ready, 1);
	assert_true(v->most_in_a_second <= 560);
	assert_int_equal(v->notified, 2 * USERS);
	assert_int_equal(v->changed, USERS);
	assert_int_equal(v->crowd.counts.changes, USERS);
}

static void a_lost_connection_checks_everybody(void **state)
{
	struct server *v = *state;

	run(v, 3000);
	pw_crowd_lost(&v->crowd, v->now_ms);
	run(v, 4000);
	assert_int_equal(v->crowd.counts.subscribes, 2 * USERS);
	assert_int_equal(v->crowd.counts.renewed, 0);
	assert_int_equal(held(v), USERS);
}

static void a_server_that_forgot_gets_everybody_again(void **state)
{
	struct server *v = *state;

	run(v, 3000);
	memset(v->known, 0, sizeof v->known);
	/* the first refresh is answered 481: that alone brings all the others forward */
	v->crowd.subs[17].due_ms = v->crowd.deadline[17] = v->now_ms;
	run(v, 8000);
	assert_int_equal(v->crowd.counts.renewed, USERS);
	assert_int_equal(held(v), USERS);
	assert_int_equal(v->crowd.counts.subscribes, 3 * USERS); /* first, refused, anew */
	assert_true(v->most_in_a_second <= 560);
	assert_int_equal(v->problems, 0);
}

static void a_dead_server_is_probed_by_one(void **state)
{
	struct server *v = *state;
	unsigned before;

	run(v, 3000);
	v->down = true;
	memset(v->known, 0, sizeof v->known);
	pw_crowd_lost(&v->crowd, v->now_ms);
	run(v, 10000);
	before = v->tail;
	v->most_in_flight = 0;
	run(v, 60000);
	assert_in_range(v->tail - before, 5, 9);
	assert_int_equal(v->most_in_flight, 1);
	v->down = false;
	run(v, TIMEOUT_MS + 6000);
	assert_int_equal(held(v), USERS);
	assert_int_equal(v->ready, 1);
	assert_int_equal(v->problems, 0);
}

static void missing_notifies_are_reported(void **state)
{
	struct server *v = *state;

	v->mute = true;
	run(v, 3000);
	assert_int_equal(v->problems, 0);
	run(v, 33000);
	assert_int_equal(v->problems, USERS);
	assert_int_equal(v->ready, 0);
	v->mute = false;
	run(v, 70000);
	assert_int_equal(v->ready, 1);
	assert_int_equal(held(v), USERS);
}

static void old_and_strange_dialogs_are_refused(void **state)
{
	struct server *v = *state;
	struct pw_notify n = {.from_tag = "theirs", .cseq = 5};

	run(v, 3000);
	memset(v->known, 0, sizeof v->known);
	pw_crowd_lost(&v->crowd, v->now_ms);
	run(v, 6000);
	assert_int_equal(v->crowd.subs[3].generation, 1);
	assert_int_equal(pw_crowd_notify(&v->crowd, 3, 0, &n, v->now_ms, 1), 481);
	assert_int_equal(v->crowd.counts.old_dialogs, 1);
	assert_int_equal(v->problems, 0);
	assert_int_equal(pw_crowd_notify(&v->crowd, 3, 2, &n, v->now_ms, 1), 481);
	assert_int_equal(pw_crowd_notify(&v->crowd, USERS, 0, &n, v->now_ms, 1), 481);
	assert_int_equal(v->problems, 2);
}

static void those_in_trouble_starve_nobody(void **state)
{
	struct server *v = *state;

	v->sick = 600; /* more than a second's worth, and due again within a second at first */
	run(v, 6000);
	assert_int_equal(held(v), USERS - v->sick);
	assert_int_equal(v->ready, 0);
	v->sick = 0;
	run(v, 40000);
	assert_int_equal(held(v), USERS);
	assert_int_equal(v->ready, 1);
}

static void one_without_an_answer_holds_up_nobody(void **state)
{
	struct server *v = *state;

	v->deaf = true;
	run(v, 12000);
	assert_int_equal(held(v), USERS - 1);
	assert_true(v->crowd.counts.subscribes < USERS + 1000);
	/* nor when it is the first that is tried after the server was lost */
	v->crowd.cursor = 0;
	memset(v->known, 0, sizeof v->known);
	pw_crowd_lost(&v->crowd, v->now_ms);
	run(v, 12000);
	assert_int_equal(held(v), USERS - 1);
	v->deaf = false;
	run(v, 1000);
	assert_int_equal(held(v), USERS);
}

static void answers_to_old_dialogs_change_nothing(void **state)
{
	struct server *v = *state;
	struct pw_answer a = {.status = 200,
	                      .expires_s = 3600,
	                      .min_expires_s = -1,
	                      .to_tag = "late",
	                      .contact = "sip:late"};
	struct pw_notify n = {.from_tag = "theirs",
	                      .branch = "end",
	                      .event = "presence",
	                      .substate = "terminated",
	                      .reason = "probation",
	                      .retry_after_s = 100,
	                      .cseq = 2,
	                      .expires_s = -1,
	                      .body = ""};

	run(v, 3000);
	v->crowd.subs[3].due_ms = v->crowd.deadline[3] = v->now_ms;
	pw_crowd_turn(&v->crowd, v->now_ms);
	assert_int_equal(v->crowd.subs[3].state, PW_SUB_ASKING);
	assert_int_equal(pw_crowd_notify(&v->crowd, 3, 0, &n, v->now_ms, 1), 200);
	pw_crowd_answer(&v->crowd, 3, 0, &a, v->now_ms);
	assert_int_equal(v->crowd.in_flight, 0);
	assert_int_equal(v->crowd.subs[3].state, PW_SUB_DUE);
	assert_int_equal(v->crowd.subs[3].due_ms, v->now_ms + 100000);
	assert_null(v->crowd.subs[3].remote_tag);
}

static void leaves_nothing_behind(void **state)
{
	struct server *v = *state;

	run(v, 3000);
	pw_crowd_leave(&v->crowd);
	assert_false(pw_crowd_left(&v->crowd));
	run(v, 500);
	assert_true(pw_crowd_left(&v->crowd));
	for (unsigned i = 0; i < USERS; i++)
		assert_int_equal(v->known[i], 0);
	assert_true(v->most_in_flight <= 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    test(subscribes_at_its_rate),
	    test(refreshes_before_the_end),
	    test(a_lost_connection_checks_everybody),
	    test(a_server_that_forgot_gets_everybody_again),
	    test(a_dead_server_is_probed_by_one),
	    test(missing_notifies_are_reported),
	    test(old_and_strange_dialogs_are_refused),
	    test(those_in_trouble_starve_nobody),
	    test(one_without_an_answer_holds_up_nobody),
	    test(answers_to_old_dialogs_change_nothing),
	    test(leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
