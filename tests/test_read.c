/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/read.h"

static struct px_now at(int64_t ms)
{
	return (struct px_now){{ms}, {1700000000000 + ms}};
}

static void test_answers(void **state)
{
	(void)state;
	const struct {
		enum px_verdict verdict;
		unsigned users, failures, todo;
		enum px_read_state to;
	} table[] = {
	    {PX_V_OK, 100, 0, PX_R_COMMIT | PX_R_END, PX_READ_ASKING},
	    {PX_V_SERVER, 100, 0, PX_R_MARK | PX_R_END, PX_READ_ASKING},
	    {PX_V_BUSY, 100, 0, PX_R_MARK | PX_R_END, PX_READ_ASKING},
	    {PX_V_DENIED, 100, 0, PX_R_MARK | PX_R_END, PX_READ_ASKING},
	    {PX_V_TRANSIENT, 1, 0, PX_R_ALONE | PX_R_END, PX_READ_ASKING},
	    {PX_V_USER, 1, 0, PX_R_ALONE | PX_R_END, PX_READ_ASKING},
	    {PX_V_LOST, 1, 0, PX_R_ALONE | PX_R_END, PX_READ_ASKING},
	    /* the first time it may have been a bad moment, then it is halved; a user's trouble at
	       once */
	    {PX_V_TRANSIENT, 100, 0, 0, PX_READ_RESTING},
	    {PX_V_TRANSIENT, 100, 1, PX_R_SPLIT, PX_READ_RESTING},
	    {PX_V_USER, 100, 0, PX_R_SPLIT, PX_READ_RESTING},
	    {PX_V_LOST, 2, 5, PX_R_SPLIT, PX_READ_RESTING},
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct px_read r;
		px_read_init(&r, 4);
		r.failures = (uint8_t)table[i].failures;
		assert_int_equal(px_read_answered(&r, table[i].verdict, table[i].users, at(1000)),
		                 table[i].todo);
		assert_int_equal(r.state, table[i].to);
		/* whatever rests has a deadline */
		assert_int_equal(r.state == PX_READ_RESTING, r.due.ms > 1000);
	}
}

/* One bad mailbox among a hundred is alone after seven halvings, and the other 99 have been read.
 */
static void test_halving_finds_the_one(void **state)
{
	(void)state;
	for (unsigned bad = 0; bad < 100; bad++) {
		struct {
			struct px_read r;
			unsigned from, n;
		} batch[64] = {{.from = 0, .n = 100}};
		unsigned batches = 1, good = 0, asked = 0;
		int found = -1;

		px_read_init(&batch[0].r, 1);
		for (unsigned b = 0; b < batches; b++) {
			for (bool ended = false; !ended;) {
				bool has = bad >= batch[b].from && bad < batch[b].from + batch[b].n;
				unsigned todo =
				    px_read_answered(&batch[b].r, has ? PX_V_TRANSIENT : PX_V_OK,
				                     batch[b].n, at(1000));
				asked++;
				if (todo & PX_R_COMMIT)
					good += batch[b].n;
				if (todo & PX_R_ALONE)
					found = (int)batch[b].from;
				if (todo & PX_R_SPLIT) {
					unsigned half = batch[b].n / 2;
					batch[batches].r = batch[b].r;
					batch[batches].from = batch[b].from + half;
					batch[batches].n = batch[b].n - half;
					batch[b].n = half;
					px_read_tick(&batch[batches].r,
					             at(batch[batches].r.due.ms));
					batches++;
				}
				ended = todo & PX_R_END;
				if (!ended)
					assert_int_equal(
					    px_read_tick(&batch[b].r, at(batch[b].r.due.ms)),
					    PX_R_ASK);
			}
		}
		assert_int_equal(found, bad);
		assert_int_equal(good, 99);
		assert_true(asked <= 17);
	}
}

static void test_blocked_rests(void **state)
{
	(void)state;
	struct px_read r;

	px_read_init(&r, 4);
	px_read_blocked(&r, at(1000));
	assert_int_equal(px_read_tick(&r, at(1001)), 0);
	assert_int_equal(px_read_tick(&r, at(r.due.ms)), PX_R_ASK);
	assert_int_equal(r.state, PX_READ_ASKING);
	assert_int_equal(px_read_tick(&r, at(99999)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_halving_finds_the_one),
	    cmocka_unit_test(test_blocked_rests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
