/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calendars: the same from the same seed, series against plain counting, the oracle against them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "oracle.h"
#include "store.h"
#include "when.h"

#define ANCHOR INT64_C(1795392000) /* 2026-11-23T00:00:00Z, a Monday */
#define HOUR 3600

static uint64_t state = 1;

static unsigned roll(unsigned n)
{
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(state >> 33) % n;
}

static void times_are_read_and_written(void **arg)
{
	static const struct {
		const char *text;
		int64_t t;
		bool zoned;
	} good[] = {{"1970-01-01T00:00:00Z", 0, true},
	            {"2026-11-23T00:00:00", ANCHOR, false},
	            {"2026-11-23T01:00:00+01:00", ANCHOR, true},
	            {"2026-11-22T17:00:00.250-07:00", ANCHOR, true},
	            {"2026-11-22T24:00:00Z", ANCHOR, true},
	            {"2000-02-29T12:34:56Z", 951827696, true},
	            {"0001-01-01T00:00:00Z", -62135596800, true}};
	static const char *const bad[] = {"",
	                                  "2026-11-23",
	                                  "2026-11-23T00:00",
	                                  "2026-11-23 00:00:00",
	                                  "2026-11-31T00:00:00",
	                                  "2025-02-29T00:00:00",
	                                  "2026-11-23T24:00:01",
	                                  "2026-11-23T00:00:60",
	                                  "2026-11-23T00:00:00.",
	                                  "2026-11-23T00:00:00z",
	                                  "2026-11-23T00:00:00+15:00",
	                                  "2026-11-23T00:00:00Z ",
	                                  "26-11-23T00:00:00Z"};
	char text[WHEN_TEXT];
	int64_t t;
	bool zoned;

	(void)arg;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_true(when_parse(good[i].text, &t, &zoned));
		assert_int_equal(t, good[i].t);
		assert_int_equal(zoned, good[i].zoned);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (when_parse(bad[i], &t, &zoned))
			fail_msg("taken: %s", bad[i]);
	for (int i = 0; i < 100000; i++) {
		int64_t at = (int64_t)roll(2000000000) * 2 - 1000000000 + roll(2);
		int64_t back;

		assert_true(when_parse(when_text(text, at, true), &back, &zoned));
		assert_int_equal(at, back);
	}
	assert_int_equal(when_civil(ANCHOR).weekday, 1);
}

static void a_seed_makes_one_world(void **arg)
{
	struct store *a = store_new(50, "X.test", 7, ANCHOR + 5000, true);
	struct store *b = store_new(50, "x.test", 7, ANCHOR + 80000, true);
	struct store *c = store_new(50, "x.test", 8, ANCHOR, true);
	bool differs = false;
	size_t all = 0;

	(void)arg;
	for (uint32_t i = 0; i < 50; i++) {
		size_t na, nb, nc;
		const struct meeting *ma = store_meetings(a, store_at(a, i), &na);
		const struct meeting *mb = store_meetings(b, store_at(b, i), &nb);
		const struct meeting *mc = store_meetings(c, store_at(c, i), &nc);

		assert_int_equal(na, nb);
		assert_memory_equal(ma, mb, na * sizeof *ma);
		differs = differs || na != nc || memcmp(ma, mc, na * sizeof *ma) != 0;
		all += na;
	}
	assert_true(differs);
	assert_in_range(all, 50 * 5, 50 * 40);
	store_free(a);
	store_free(b);
	store_free(c);
}

static void addresses_are_found(void **arg)
{
	struct store *s = store_new(10, "X.test", 7, ANCHOR, true);
	char address[STORE_ADDRESS];
	struct mailbox *mb;

	(void)arg;
	assert_ptr_equal(store_find(s, "user1@x.test"), store_at(s, 0));
	assert_ptr_equal(store_find(s, "USER10@X.TEST"), store_at(s, 9));
	assert_string_equal(store_address(s, store_at(s, 9), address), "user10@x.test");
	assert_null(store_find(s, "user0@x.test"));
	assert_null(store_find(s, "user01@x.test"));
	assert_null(store_find(s, "user11@x.test"));
	assert_null(store_find(s, "user1@y.test"));
	assert_null(store_find(s, ""));
	assert_null(store_add(s, "nobody"));
	assert_null(store_add(s, "@x.test"));
	mb = store_add(s, "Somebody@y.test");
	assert_ptr_equal(store_find(s, "somebody@Y.test"), mb);
	assert_ptr_equal(store_add(s, "somebody@y.test"), mb);
	store_remove(mb);
	assert_null(store_find(s, "somebody@y.test"));
	store_remove(store_at(s, 0));
	assert_null(store_find(s, "user1@x.test"));
	assert_ptr_equal(store_add(s, "user1@x.test"), store_at(s, 0));
	store_free(s);
}

struct heard {
	int n;
	enum change change;
	bool freebusy;
	uint32_t ordinal;
};

static void hear(void *arg, struct mailbox *mb, const struct meeting *m, enum change change,
                 bool freebusy)
{
	struct heard *h = arg;

	(void)mb;
	*h = (struct heard){h->n + 1, change, freebusy, m->ordinal};
}

static void changes_are_kept_and_told(void **arg)
{
	struct store *s = store_new(2, "x.test", 7, ANCHOR, true);
	struct mailbox *mb = store_at(s, 0);
	struct meeting m = {.start = ANCHOR, .end = ANCHOR + HOUR, .status = STATUS_OOF};
	struct heard h = {0};
	struct meeting *kept;
	size_t before, n;

	(void)arg;
	store_on_change(s, hear, &h);
	store_meetings(s, mb, &before);
	store_create(s, mb, &m);
	assert_int_equal(h.n, 1);
	assert_int_equal(h.change, CHANGE_CREATED);
	store_meetings(s, mb, &n);
	assert_int_equal(n, before + 1);
	assert_true(mb->lazy);

	kept = store_edit(s, mb, m.ordinal);
	assert_non_null(kept);
	kept->status = STATUS_BUSY;
	store_modified(s, mb, kept, false);
	assert_int_equal(h.change, CHANGE_MODIFIED);
	assert_false(h.freebusy);
	assert_int_equal(store_edit(s, mb, m.ordinal)->change, 2);

	/* a seeded one is deleted: only that one goes */
	assert_true(store_delete(s, mb, 0, CHANGE_MOVED));
	assert_int_equal(h.change, CHANGE_MOVED);
	assert_false(mb->lazy);
	store_meetings(s, mb, &n);
	assert_int_equal(n, before);
	assert_null(store_edit(s, mb, 0));
	assert_non_null(store_edit(s, mb, 1));
	assert_false(store_delete(s, mb, 0, CHANGE_DELETED));
	assert_int_equal(h.n, 3);
	store_free(s);
}

/* Is occurrence i of m there, and where? */
static bool place(const struct meeting *m, uint32_t i, struct occurrence *o)
{
	int64_t period = meeting_period(m);

	if (i && !period)
		return false;
	if (m->count && i >= m->count)
		return false;
	*o = (struct occurrence){.index = i,
	                         .status = m->status,
	                         .start = m->start + i * period,
	                         .end = m->end + i * period};
	for (unsigned e = 0; e < m->nexc; e++)
		if (m->exc[e].index == i && period) {
			if (m->exc[e].deleted)
				return false;
			o->start = m->exc[e].start;
			o->end = m->exc[e].end;
			o->status = m->exc[e].status;
			o->exception = true;
		}
	return true;
}

static struct meeting any_meeting(void)
{
	struct meeting m = {.start = ANCHOR + (int64_t)roll(20 * 24) * HOUR - 10 * WHEN_DAY,
	                    .status = (enum status)roll(STATUS_COUNT),
	                    .repeat = (enum repeat)roll(3),
	                    .interval = 1 + roll(3),
	                    .count = roll(2) ? 1 + roll(12) : 0};

	m.end = m.start + (int64_t)roll(roll(4) ? 5 : 60) * HOUR;
	if (m.repeat != REPEAT_NONE)
		for (unsigned i = 0; i < roll(MEETING_EXCEPTIONS + 1); i++) {
			struct exception *x = &m.exc[m.nexc++];

			*x = (struct exception){.index = i + roll(2) * 4,
			                        .deleted = roll(2),
			                        .status = (enum status)roll(STATUS_COUNT)};
			x->start =
			    m.start + x->index * meeting_period(&m) + (int64_t)roll(60) * HOUR;
			x->end = x->start + (int64_t)roll(5) * HOUR;
			for (unsigned k = 0; k + 1 < m.nexc; k++)
				if (m.exc[k].index == x->index) {
					m.nexc--;
					break;
				}
		}
	return m;
}

static void expansion_is_as_counted(void **arg)
{
	(void)arg;
	for (int round = 0; round < 2000; round++) {
		struct store *s = store_new(1, "x.test", 7, ANCHOR, false);
		struct mailbox *mb = store_at(s, 0);
		struct meeting m = any_meeting();
		int64_t from = ANCHOR + (int64_t)roll(40 * 24) * HOUR - 20 * WHEN_DAY;
		int64_t to = from + (int64_t)roll(15 * 24) * HOUR;
		const struct occurrence *o;
		struct occurrence want;
		size_t n, counted = 0;

		store_create(s, mb, &m);
		o = store_expand(s, mb, from, to, &n);
		for (uint32_t i = 0; i < 200; i++) {
			bool there =
			    place(&m, i, &want) && want.start < to &&
			    (want.end > from || (want.end == want.start && want.start >= from));
			bool listed = false;

			for (size_t k = 0; k < n; k++)
				listed =
				    listed || (o[k].index == i && o[k].start == want.start &&
				               o[k].end == want.end && o[k].status == want.status &&
				               o[k].exception == want.exception);
			assert_int_equal(there, listed);
			counted += there;
		}
		assert_int_equal(n, counted);
		for (size_t k = 1; k < n; k++)
			assert_true(o[k - 1].start <= o[k].start);
		store_free(s);
	}
}

static int rank(enum status s)
{
	static const int ranks[] = {[STATUS_FREE] = 0,
	                            [STATUS_ELSEWHERE] = 1,
	                            [STATUS_TENTATIVE] = 2,
	                            [STATUS_BUSY] = 3,
	                            [STATUS_OOF] = 4};
	return ranks[s];
}

static enum status at(const struct occurrence *o, size_t n, int64_t t)
{
	enum status s = STATUS_FREE;

	for (size_t i = 0; i < n; i++)
		if (o[i].start <= t && t < o[i].end && rank(o[i].status) > rank(s))
			s = o[i].status;
	return s;
}

static void oracle_agrees_with_expansion(void **arg)
{
	(void)arg;
	for (int round = 0; round < 1500; round++) {
		struct store *s = store_new(1, "x.test", roll(1000), ANCHOR, roll(2));
		struct mailbox *mb = store_at(s, 0);
		int64_t now = ANCHOR + (int64_t)roll(14 * 24 * 4) * 900 - 7 * WHEN_DAY;
		const struct occurrence *o;
		const struct meeting *m;
		struct verdict v;
		size_t n, nm;
		int64_t t;

		for (unsigned i = roll(6); i; i--) {
			struct meeting one = any_meeting();

			store_create(s, mb, &one);
		}
		m = store_meetings(s, mb, &nm);
		v = oracle(m, nm, now);
		o = store_expand(s, mb, now - 60 * WHEN_DAY, now + 40 * WHEN_DAY, &n);
		assert_int_equal(v.status, at(o, n, now));
		for (t = now; t < now + ORACLE_HORIZON; t += 900)
			if (at(o, n, t) != v.status)
				break;
		if (t >= now + ORACLE_HORIZON)
			assert_true(v.until == ORACLE_NEVER || v.until == now + ORACLE_HORIZON);
		else
			assert_int_equal(v.until, t);
		store_free(s);
	}
}

static void oracle_says_what_wins(void **arg)
{
	const struct meeting m[] = {
	    {.start = 0, .end = 100, .status = STATUS_ELSEWHERE},
	    {.start = 10, .end = 90, .status = STATUS_TENTATIVE},
	    {.start = 20, .end = 80, .status = STATUS_BUSY},
	    {.start = 30, .end = 40, .status = STATUS_OOF},
	    {.start = 35, .end = 35, .status = STATUS_OOF},
	    {.start = 25, .end = 95, .status = STATUS_FREE},
	};
	static const struct {
		int64_t at;
		enum status status;
		int64_t until;
		const char *availability;
		int64_t availability_until;
	} want[] = {
	    {-5, STATUS_FREE, 0, "available", 20},
	    {0, STATUS_ELSEWHERE, 10, "available", 20},
	    {10, STATUS_TENTATIVE, 20, "available", 20},
	    {20, STATUS_BUSY, 30, "busy", 30},
	    {30, STATUS_OOF, 40, "away", 40},
	    {39, STATUS_OOF, 40, "away", 40},
	    {40, STATUS_BUSY, 80, "busy", 80},
	    {80, STATUS_TENTATIVE, 90, "available", ORACLE_NEVER},
	    {100, STATUS_FREE, ORACLE_NEVER, "available", ORACLE_NEVER},
	};

	(void)arg;
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		struct verdict v = oracle(m, sizeof m / sizeof *m, want[i].at);

		assert_int_equal(v.status, want[i].status);
		assert_int_equal(v.until, want[i].until);
		assert_string_equal(v.availability, want[i].availability);
		assert_int_equal(v.availability_until, want[i].availability_until);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(times_are_read_and_written),
	    cmocka_unit_test(a_seed_makes_one_world),
	    cmocka_unit_test(addresses_are_found),
	    cmocka_unit_test(changes_are_kept_and_told),
	    cmocka_unit_test(expansion_is_as_counted),
	    cmocka_unit_test(oracle_agrees_with_expansion),
	    cmocka_unit_test(oracle_says_what_wins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
