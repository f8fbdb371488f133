/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "subscription.h"

#define OPEN                                                                                       \
	"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:a@b'>"                          \
	"<tuple id='t'><status><basic>open</basic></status></tuple></presence>"

static struct pw_answer answer(int status)
{
	return (struct pw_answer){.status = status,
	                          .expires_s = 3600,
	                          .min_expires_s = -1,
	                          .to_tag = "theirs",
	                          .contact = "sip:server"};
}

static struct pw_notify notify(uint32_t cseq)
{
	return (struct pw_notify){.from_tag = "theirs",
	                          .branch = "one",
	                          .event = "presence",
	                          .substate = "active",
	                          .content_type = "application/pidf+xml",
	                          .cseq = cseq,
	                          .expires_s = 3600,
	                          .retry_after_s = -1,
	                          .body = OPEN,
	                          .length = sizeof OPEN - 1};
}

static enum pw_meaning ask(struct pw_sub *s, int status, int64_t now_ms, struct pw_faults *f)
{
	struct pw_answer a = answer(status);
	long expires_s = 3600;

	pw_sub_sent(s);
	return pw_sub_answer(s, &a, &expires_s, now_ms, f);
}

static int tell(struct pw_sub *s, const struct pw_notify *n, struct pw_faults *f)
{
	enum pw_kind kind;

	return pw_sub_notify(s, n, 1000, 5000, &kind, f);
}

static void is_held_and_refreshed(void **state)
{
	struct pw_faults f = {0};
	struct pw_notify n = notify(1);
	struct pw_sub s;

	(void)state;
	pw_sub_init(&s, 3, "a@b");
	assert_true(pw_sub_deadline(&s) <= 1);
	assert_int_equal(ask(&s, 200, 1000, &f), PW_MEANS_REACHED);
	assert_int_equal(s.state, PW_SUB_HELD);
	assert_int_equal(pw_sub_deadline(&s), 1000 + 32000); /* the NOTIFY is missing */
	assert_int_equal(tell(&s, &n, &f), 200);
	assert_int_equal(pw_sub_status(&s), PW_AVAILABLE);
	assert_int_equal(s.since_ms, 5000);
	assert_true(s.settled);
	assert_true(s.due_ms >= 1000 + 3600 * 700 && s.due_ms <= 1000 + 3600 * 800);
	pw_sub_sent(&s);
	assert_int_equal(s.local_cseq, 2);
	assert_int_equal(s.generation, 0);
	assert_int_equal(f.count, 0);
	pw_sub_clear(&s);
}

static void a_notify_may_come_first(void **state)
{
	struct pw_faults f = {0};
	struct pw_notify n = notify(1);
	struct pw_answer a = answer(202);
	long expires_s = 3600;
	struct pw_sub s;

	(void)state;
	pw_sub_init(&s, 0, "a@b");
	assert_int_equal(tell(&s, &n, &f), 481); /* nothing has been sent yet */
	assert_int_equal(f.count, 1);
	f = (struct pw_faults){0};
	pw_sub_sent(&s);
	assert_int_equal(tell(&s, &n, &f), 200);
	pw_sub_answer(&s, &a, &expires_s, 1000, &f);
	assert_int_equal(s.notify_by_ms, 0);
	assert_int_equal(f.count, 0);
	a.to_tag = "another";
	pw_sub_sent(&s);
	pw_sub_answer(&s, &a, &expires_s, 1000, &f);
	assert_int_equal(f.count, 1);
	pw_sub_clear(&s);
}

static void each_answer_has_a_next_step(void **state)
{
	static const struct {
		int status;
		enum pw_meaning first, held;
		bool keeps; /* the dialog that stood */
	} row[] = {
	    {408, PW_MEANS_DOWN, PW_MEANS_DOWN, true},
	    {503, PW_MEANS_DOWN, PW_MEANS_DOWN, true},
	    {504, PW_MEANS_DOWN, PW_MEANS_DOWN, true},
	    {500, PW_MEANS_REACHED, PW_MEANS_REACHED, true},
	    {481, PW_MEANS_REACHED, PW_MEANS_FORGOTTEN, false},
	    {403, PW_MEANS_REFUSED, PW_MEANS_REACHED, false},
	    {404, PW_MEANS_REFUSED, PW_MEANS_REACHED, false},
	    {489, PW_MEANS_REFUSED, PW_MEANS_REACHED, false},
	    {302, PW_MEANS_REFUSED, PW_MEANS_REACHED, false},
	    {603, PW_MEANS_REFUSED, PW_MEANS_REACHED, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct pw_faults f = {0};
		struct pw_sub s;

		pw_sub_init(&s, (uint32_t)i, "a@b");
		assert_int_equal(ask(&s, row[i].status, 1000, &f), row[i].first);
		assert_int_equal(s.state, PW_SUB_DUE);
		assert_int_equal(s.generation, 1); /* nobody knows what the first one left behind */
		assert_true(s.due_ms >= 1000 && s.due_ms <= 1000 + 5 * 60 * 1000);
		assert_int_equal(s.refused, row[i].first == PW_MEANS_REFUSED);

		ask(&s, 200, 2000, &f);
		assert_int_equal(ask(&s, row[i].status, 3000, &f), row[i].held);
		assert_int_equal(s.state, PW_SUB_DUE);
		assert_int_equal(s.generation, row[i].keeps ? 1 : 2);
		assert_int_equal(s.target != NULL, row[i].keeps);
		assert_int_equal(f.count, 0);
		pw_sub_clear(&s);
	}
}

static void waits_longer_from_refusal_to_refusal(void **state)
{
	struct pw_faults f = {0};
	int64_t last_ms = 0;
	struct pw_sub s;

	(void)state;
	pw_sub_init(&s, 0, "a@b");
	for (int i = 0; i < 10; i++) {
		ask(&s, 500, 1000, &f);
		assert_true(s.due_ms - 1000 >= last_ms);
		last_ms = s.due_ms - 1000;
	}
	assert_in_range(last_ms, 15000, 30000);
	ask(&s, 200, 1000, &f);
	ask(&s, 500, 1000, &f);
	assert_in_range(s.due_ms - 1000, 500, 1000);
	pw_sub_clear(&s);
}

static void a_brief_interval_is_raised(void **state)
{
	struct pw_faults f = {0};
	struct pw_answer a = answer(423);
	long expires_s = 60;
	struct pw_sub s;

	(void)state;
	pw_sub_init(&s, 0, "a@b");
	a.min_expires_s = 120;
	pw_sub_sent(&s);
	assert_int_equal(pw_sub_answer(&s, &a, &expires_s, 1000, &f), PW_MEANS_REACHED);
	assert_int_equal(expires_s, 120);
	assert_int_equal(s.due_ms, 1000);
	pw_sub_sent(&s);
	pw_sub_answer(&s, &a, &expires_s, 1000, &f);
	assert_non_null(strstr(f.text, "423 without a greater Min-Expires"));
	pw_sub_clear(&s);
}

static void faults_of_an_accepted_one(void **state)
{
	struct pw_answer a = answer(200);
	long expires_s = 60;
	struct pw_faults f = {0};
	struct pw_sub s;

	(void)state;
	pw_sub_init(&s, 0, "a@b");
	pw_sub_sent(&s);
	pw_sub_answer(&s, &a, &expires_s, 1000, &f); /* 3600 for the 60 that were asked */
	assert_non_null(strstr(f.text, "Expires 3600 granted, 60 asked"));
	assert_true(s.due_ms <= 1000 + 60000);
	pw_sub_clear(&s);

	pw_sub_init(&s, 0, "a@b");
	a.contact = NULL;
	f = (struct pw_faults){0};
	pw_sub_sent(&s);
	pw_sub_answer(&s, &a, &expires_s, 1000, &f);
	assert_non_null(strstr(f.text, "200 without Contact"));
	assert_int_equal(s.state, PW_SUB_DUE);
	pw_sub_clear(&s);
}

/* A good one, to be followed by what is different: that overrides */
#define GOOD                                                                                       \
	.from_tag = "theirs", .branch = "two", .event = "presence", .substate = "active",          \
	.content_type = "application/pidf+xml", .cseq = 11, .expires_s = 60, .retry_after_s = -1,  \
	.body = OPEN, .length = sizeof OPEN - 1
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
static void checks_the_head_of_a_notify(void **state)
{
	static const struct {
		struct pw_notify n;
		int status;
		enum pw_kind kind;
		unsigned faults;
	} row[] = {
	    {{GOOD}, 200, PW_FRESH, 0},
	    {{GOOD, .substate = "Pending", .event = "Presence"}, 200, PW_FRESH, 0},
	    {{GOOD, .length = 0, .content_type = NULL}, 200, PW_FRESH, 0},
	    {{GOOD, .expires_s = -1}, 200, PW_FRESH, 1},
	    {{GOOD, .from_tag = "x"}, 481, PW_FRESH, 1},
	    {{GOOD, .from_tag = NULL}, 481, PW_FRESH, 1},
	    {{GOOD, .cseq = 10, .branch = "one"}, 200, PW_COPY, 0},
	    {{GOOD, .cseq = 10}, 500, PW_FRESH, 1},
	    {{GOOD, .cseq = 9}, 500, PW_OVERTAKEN, 0},
	    {{GOOD, .event = "dialog"}, 489, PW_FRESH, 1},
	    {{GOOD, .event = NULL}, 489, PW_FRESH, 1},
	    {{GOOD, .substate = NULL}, 400, PW_FRESH, 1},
	    {{GOOD, .substate = "sleepy"}, 400, PW_FRESH, 1},
	    {{GOOD, .content_type = "text/plain"}, 415, PW_FRESH, 1},
	    {{GOOD, .content_type = NULL}, 415, PW_FRESH, 1},
	    {{GOOD, .body = "<", .length = 1}, 200, PW_FRESH, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct pw_notify first = notify(10);
		struct pw_faults f = {0};
		enum pw_kind kind;
		struct pw_sub s;

		pw_sub_init(&s, 0, "a@b");
		ask(&s, 200, 1000, &f);
		assert_int_equal(tell(&s, &first, &f), 200);
		assert_int_equal(pw_sub_notify(&s, &row[i].n, 1000, 6000, &kind, &f),
		                 row[i].status);
		assert_int_equal(kind, row[i].kind);
		assert_int_equal(f.count, row[i].faults);
		assert_int_equal(s.remote_cseq, row[i].status == 200 && kind == PW_FRESH ? 11 : 10);
		assert_int_equal(pw_sub_status(&s), row[i].n.length ? PW_AVAILABLE : PW_UNKNOWN);
		pw_sub_clear(&s);
	}
}
#pragma GCC diagnostic pop

static void what_ends_begins_anew(void **state)
{
	static const struct {
		const char *reason;
		long retry_after_s;
		int64_t wait_ms;
	} row[] = {
	    {NULL, -1, 0},
	    {"timeout", -1, 0},
	    {"deactivated", -1, 0},
	    {"probation", 7, 7000},
	    {"giveup", 1000000, 3600000},
	    {"rejected", 7, 5 * 60 * 1000},
	    {"noresource", -1, 5 * 60 * 1000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct pw_notify n = notify(1);
		struct pw_faults f = {0};
		struct pw_sub s;

		pw_sub_init(&s, 0, "a@b");
		ask(&s, 200, 1000, &f);
		tell(&s, &n, &f);
		n = notify(2);
		n.substate = "terminated";
		n.reason = row[i].reason;
		n.retry_after_s = row[i].retry_after_s;
		n.expires_s = -1;
		n.length = 0;
		assert_int_equal(tell(&s, &n, &f), 200);
		assert_int_equal(s.generation, 1);
		assert_int_equal(s.state, PW_SUB_DUE);
		assert_int_equal(s.due_ms, 1000 + row[i].wait_ms);
		assert_int_equal(pw_sub_status(&s), PW_AVAILABLE); /* the last word still stands */
		assert_int_equal(f.count, 0);
		pw_sub_clear(&s);
	}
}

/* Whatever happens, it always wants something at a time to come, or awaits an answer. */
static void is_never_stuck(void **state)
{
	static const int statuses[] = {200, 202, 403, 408, 423, 481, 489, 500, 503, 603};
	static const char *const substates[] = {"active", "pending", "terminated", "odd", NULL};
	struct pw_sub s;
	int64_t now_ms = 1000;
	long expires_s = 3600;

	(void)state;
	srand(1);
	pw_sub_init(&s, 5, "a@b");
	for (int i = 0; i < 200000; i++) {
		struct pw_faults f = {0};
		struct pw_notify n = notify((uint32_t)(1 + rand() % 50));
		struct pw_answer a = answer(statuses[rand() % 10]);
		enum pw_kind kind;

		now_ms += rand() % 5000;
		a.min_expires_s = rand() % 5000;
		a.to_tag = rand() % 4 ? "theirs" : NULL;
		n.substate = substates[rand() % 5];
		if (s.state == PW_SUB_ASKING && rand() % 2) {
			assert_int_equal(pw_sub_deadline(&s), INT64_MAX);
			pw_sub_answer(&s, &a, &expires_s, now_ms, &f);
			assert_int_not_equal(s.state, PW_SUB_ASKING);
		} else if (s.state != PW_SUB_ASKING && pw_sub_deadline(&s) <= now_ms) {
			if (s.state == PW_SUB_HELD && s.due_ms > now_ms)
				pw_sub_silent(&s, now_ms, &f);
			pw_sub_sent(&s);
			assert_int_equal(s.state, PW_SUB_ASKING);
		} else if (rand() % 3) {
			pw_sub_notify(&s, &n, now_ms, now_ms, &kind, &f);
		} else {
			pw_sub_check(&s, now_ms);
		}
		if (s.state != PW_SUB_ASKING)
			assert_true(pw_sub_deadline(&s) <= now_ms + 5000 * 800);
		assert_true((s.state != PW_SUB_HELD) || (s.target && s.remote_tag));
	}
	pw_sub_clear(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(is_held_and_refreshed),
	    cmocka_unit_test(a_notify_may_come_first),
	    cmocka_unit_test(each_answer_has_a_next_step),
	    cmocka_unit_test(waits_longer_from_refusal_to_refusal),
	    cmocka_unit_test(a_brief_interval_is_raised),
	    cmocka_unit_test(faults_of_an_accepted_one),
	    cmocka_unit_test(checks_the_head_of_a_notify),
	    cmocka_unit_test(what_ends_begins_anew),
	    cmocka_unit_test(is_never_stuck),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
