/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Days of 500 users in virtual time; a week of 10,000 with every fault is `make sim`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "sim/sim.h"

static const struct sim_config calm = {
    .users = 500, .gateways = 4, .days = 1, .seed = 7, .changes_per_user_day = 4};

static struct sim_report run(struct sim_config c)
{
	struct sim_report r;

	if (getenv("TRACE"))
		c.trace = stderr;
	assert_int_equal(sim_run(&c, &r), 0);
	if (r.first[0])
		print_message("%s\n", r.first);
	assert_int_equal(r.violations, 0);
	assert_int_equal(r.in_flight_doubles, 0);
	assert_int_equal(r.over_concurrency, 0);
	assert_int_equal(r.anchors_over, 0);
	assert_int_equal(r.herds, 0);
	assert_int_equal(r.uneven, 0);
	assert_int_equal(r.logins_over, 0);
	assert_int_equal(r.early, 0);
	assert_int_equal(r.probes_over, 0);
	assert_int_equal(r.not_followed, 0);
	assert_int_equal(r.not_right, 0);
	/* a run in which nothing happened, or in which everything is excused, proves nothing */
	assert_true((double)r.boundaries > c.users * c.days && r.published > c.users);
	assert_true((double)r.changes > 0.9 * c.changes_per_user_day * c.users * c.days);
	assert_true(r.judged > r.pardoned_shown + r.pardoned_read);
	return r;
}
static void test_a_quiet_day(void **state)
{
	(void)state;
	struct sim_report r = run(calm);

	/* everybody subscribed once and never again; readings are the reopened streams' and the
	 * changes' */
	assert_int_equal(r.subscribes, calm.users);
	assert_true(r.wrong_ms_max <= 1000);
}

static void test_without_subscriptions(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.kinds = PX_KIND_BIT(PX_KIND_NONE);
	c.changes_per_user_day = 0; /* nobody tells of them */
	struct sim_report r;
	assert_int_equal(sim_run(&c, &r), 0);
	assert_int_equal(r.violations, 0);
	assert_int_equal(r.subscribes, 0);
	assert_int_equal(r.not_followed, 0);
	assert_int_equal(r.not_right, 0);
	/* swept each resync of an hour or a little sooner: 5 batches of 100, 24 to 48 times a day, and
	 * 25 who show nothing one by one */
	assert_true(r.reads > 5 * 24 && r.reads < 5 * 24 * 20 + 25 * 48);
}

static void test_a_cas_dies_each_hour(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.days = 3;
	c.cas_dies_per_day = 24;
	assert_true(run(c).deaths > 30);
}

static void test_the_whole_pool_dies(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.pool_dies_per_day = 4;
	run(c);
}

/*
 * Ten minutes without any server, then everybody comes back: in time, no second above twice the mean, and meanwhile one probe of each gateway
 * per half a minute; however changes are learnt.
 */
static void test_the_whole_pool_is_dead_for_ten_minutes(void **state)
{
	static const enum px_kind kind[] = {PX_KIND_STREAM, PX_KIND_PUSH, PX_KIND_PULL,
	                                    PX_KIND_NONE};

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct sim_config c = calm;

		c.kinds = PX_KIND_BIT(kind[i]);
		c.users = 120;
		c.days = 0.1;
		c.pool_dies_at = 0.05;
		c.changes_per_user_day = kind[i] == PX_KIND_NONE ? 4 : 10;
		struct sim_report r = run(c);
		assert_int_equal(r.kind[kind[i]], c.users);
		assert_in_range(r.returned_ms, 1, 60000 + 33000 + 2 * c.users);
		if (kind[i] == PX_KIND_NONE)
			continue;
		assert_true(r.most > 0 && r.most <= 2 * r.mean);
		/* push: who goes ahead may be called late; and no more than that */
		assert_in_range(r.subscribes, 2 * c.users, 2 * c.users + c.users / 10);
	}
}

/* Every kind, every version, every code, and all that may befall calls, polls and mailboxes. */
static void test_a_day_of_everything(void **state)
{
	(void)state;
	for (int pull = 0; pull < 2; pull++) {
		struct sim_config c = calm;

		c.users = pull ? 100 : 200;
		c.days = pull ? 0.2 : 0.5;
		c.kinds = pull ? PX_KIND_BIT(PX_KIND_PULL) : ~0u;
		c.versions = true;
		c.cas_dies_per_day = 24;
		c.pool_dies_per_day = 1;
		c.lost_answers = 0.0005;
		c.stream_cuts_per_day = 24;
		c.drops_per_day = 100;
		c.clock_steps_per_day = 4;
		c.esc_dies_per_day = 6;
		c.esc_forgets_per_day = 4;
		c.throttle_per_day = 6;
		c.denied_per_day = 0.5;
		c.codes = pull ? 0.0005 : 0.01;
		c.calls_lost = 0.002;
		c.forged_per_day = 1000;
		c.deaf_per_day = 4;
		c.kinds_break_per_day = 4;
		c.moves_per_day = 20;
		c.gaps_per_day = 4;
		struct sim_report r = run(c);
		assert_true(r.coded > 30 && r.codes_seen > 20);
		assert_true(pull ? r.asked[PX_ASK_POLL] > 1000 : r.calls > 1000);
	}
}

static void test_over_webdav(void **state)
{
	struct sim_config c = calm;

	(void)state;
	c.webdav = true;
	c.gateways = 1;
	c.users = 100;
	c.days = 0.1;
	struct sim_report r = run(c);
	assert_int_equal(r.subscribes, c.users);
	assert_in_range(r.started_ms, 1, 30000);

	c.days = 0.4;

	c.pool_dies_per_day = 4;
	c.lost_answers = 0.0005;
	c.drops_per_day = 100;
	c.clock_steps_per_day = 4;
	c.esc_dies_per_day = 6;
	c.esc_forgets_per_day = 4;
	c.throttle_per_day = 6;
	c.denied_per_day = 0.5;
	c.codes = 0.001;
	c.calls_lost = 0.05;
	c.forged_per_day = 1000;
	c.deaf_per_day = 4;
	c.gaps_per_day = 4;
	c.sessions_per_day = 4;
	r = run(c);
	assert_true(r.coded > 3 && r.calls > 50);
}

static void test_answers_are_lost(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.lost_answers = 0.01;
	c.stream_cuts_per_day = 48;
	c.drops_per_day = 500;
	run(c);
}

/*
 * Several servers behind each CAS, which isn't told which mailbox lives where: whoever is refused goes to another group until all of a stream
 * live together.
 */
static void test_servers_behind_a_cas(void **state)
{
	(void)state;
	for (unsigned backends = 2; backends <= 5; backends++) {
		struct sim_config c = calm;
		struct sim_report r;

		c.backends = backends;
		c.days = 0.1;
		c.changes_per_user_day = 0;
		assert_int_equal(sim_run(&c, &r), 0);
		assert_int_equal(r.not_followed, 0);
		assert_int_equal(r.violations, 0);
		assert_true(r.subscribes < 2 * backends * c.users);
	}
}

static void test_the_clock_steps(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.clock_steps_per_day = 24;
	run(c);
}

static void test_the_presence_server_fails_and_forgets(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.esc_dies_per_day = 24;
	c.esc_forgets_per_day = 24;
	c.lost_answers = 0.001;
	run(c);
}

static void test_throttled_and_denied(void **state)
{
	(void)state;
	struct sim_config c = calm;

	c.throttle_per_day = 24;
	c.denied_per_day = 3;
	run(c);
}

static void test_everything_at_once(void **state)
{
	(void)state;
	for (uint32_t seed = 1; seed <= 2; seed++) {
		struct sim_config c = calm;

		c.days = 3;
		c.seed = seed;
		c.cas_dies_per_day = 24;
		c.pool_dies_per_day = 1;
		c.lost_answers = 0.0005;
		c.stream_cuts_per_day = 24;
		c.drops_per_day = 500;
		c.clock_steps_per_day = 4;
		c.esc_dies_per_day = 6;
		c.esc_forgets_per_day = 4;
		c.throttle_per_day = 6;
		c.denied_per_day = 0.5;
		run(c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_quiet_day),
	    cmocka_unit_test(test_without_subscriptions),
	    cmocka_unit_test(test_a_cas_dies_each_hour),
	    cmocka_unit_test(test_the_whole_pool_dies),
	    cmocka_unit_test(test_the_whole_pool_is_dead_for_ten_minutes),
	    cmocka_unit_test(test_a_day_of_everything),
	    cmocka_unit_test(test_over_webdav),
	    cmocka_unit_test(test_answers_are_lost),
	    cmocka_unit_test(test_servers_behind_a_cas),
	    cmocka_unit_test(test_the_clock_steps),
	    cmocka_unit_test(test_the_presence_server_fails_and_forgets),
	    cmocka_unit_test(test_throttled_and_denied),
	    cmocka_unit_test(test_everything_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
