/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/publication.h"

enum { ASK = 3600 };

static struct px_now at(int64_t ms)
{
	return (struct px_now){{1000 + ms}, {1700000000000 + ms}};
}

static struct px_sip_answer status(int code)
{
	return (struct px_sip_answer){
	    .status = code, .expires = -1, .min_expires = -1, .retry_after = -1};
}

static struct px_sip_answer ok(const char *etag)
{
	struct px_sip_answer a = status(200);

	a.etag = etag;
	a.expires = ASK;
	return a;
}

static uint32_t expires_floor;
static enum px_esc_word word;

static unsigned answer(struct px_publication *p, struct px_sip_answer a, int64_t ms)
{
	return px_publication_answer(p, &a, ASK, &expires_floor, &word, at(ms));
}

/* A document stands with this ETag, published at `ms`. */
static struct px_publication standing(const char *etag, int64_t ms)
{
	struct px_publication p = {.seed = 5};

	assert_int_equal(px_publication_want(&p, at(ms)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_int_equal(px_publication_turn(&p, at(ms)), PX_OP_INITIAL);
	assert_int_equal(answer(&p, ok(etag), ms), 0);
	assert_int_equal(p.state, PX_PUB_STANDING);
	return p;
}

/* In flight with this operation, at 0. */
static struct px_publication flying(enum px_pub_op op)
{
	struct px_publication p = {.seed = 5};

	if (op == PX_OP_INITIAL) {
		px_publication_want(&p, at(0));
	} else {
		p = standing("one", 0);
		if (op == PX_OP_MODIFY)
			px_publication_want(&p, at(0));
		else if (op == PX_OP_CLEAR || op == PX_OP_REMOVE)
			px_publication_withdraw(&p, at(0));
		else
			px_publication_check(&p, at(0));
		if (op == PX_OP_REMOVE) {
			assert_int_equal(px_publication_turn(&p, at(0)), PX_OP_CLEAR);
			assert_int_equal(answer(&p, ok("one"), 0), PX_PUB_QUEUE);
			assert_int_equal(p.state, PX_PUB_WAITING);
		}
	}
	assert_int_equal(px_publication_turn(&p, at(0)), op);
	assert_int_equal(p.state, PX_PUB_IN_FLIGHT);
	assert_int_equal(p.op, op);
	return p;
}

static int64_t due_in(const struct px_publication *p, int64_t ms)
{
	return p->due.ms ? p->due.ms - at(ms).mono.ms : -1;
}

static void a_life(void **state)
{
	struct px_publication p = standing("one", 0);

	(void)state;
	assert_string_equal(p.etag, "one");
	assert_int_equal(p.expires, ASK);
	assert_int_equal(p.lapses.ms, at(3600000).mono.ms);
	assert_in_range(due_in(&p, 0), 1800000, 3240000);
	/* too early: nothing */
	assert_int_equal(px_publication_tick(&p, at(1000)), 0);
	assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_NONE);
	assert_int_equal(p.state, PX_PUB_STANDING);
	/* refresh: not urgent */
	int64_t now = due_in(&p, 0);
	assert_int_equal(px_publication_tick(&p, at(now)), PX_PUB_QUEUE);
	assert_int_equal(p.due.ms, 0);
	assert_int_equal(px_publication_tick(&p, at(now)), 0);
	assert_int_equal(px_publication_turn(&p, at(now)), PX_OP_REFRESH);
	assert_int_equal(px_publication_tick(&p, at(now)), 0);
	assert_int_equal(px_publication_turn(&p, at(now)), PX_OP_NONE); /* one at a time */
	assert_int_equal(answer(&p, ok("two"), now + 50), 0);
	assert_int_equal(word, PX_ESC_ALIVE);
	assert_string_equal(p.etag, "two");
	assert_int_equal(p.lapses.ms, at(now + 50 + 3600000).mono.ms);
	assert_int_equal(answer(&p, ok("three"), now + 60), 0); /* doubled */
	assert_string_equal(p.etag, "two");
	/* modify */
	assert_int_equal(px_publication_want(&p, at(now)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_int_equal(px_publication_turn(&p, at(now)), PX_OP_MODIFY);
	assert_false(p.newer);
	assert_int_equal(answer(&p, ok("four"), now), 0);
	/* clear: watchers see that; remove: they don't */
	assert_int_equal(px_publication_withdraw(&p, at(now)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_int_equal(px_publication_turn(&p, at(now)), PX_OP_CLEAR);
	assert_int_equal(answer(&p, ok("five"), now), PX_PUB_QUEUE);
	assert_string_equal(p.etag, "five");
	assert_int_equal(px_publication_turn(&p, at(now)), PX_OP_REMOVE);
	assert_int_equal(answer(&p, status(200), now), 0);
	assert_int_equal(p.state, PX_PUB_OFF);
	assert_null(p.etag);
	assert_int_equal(p.lapses.ms, 0);
	assert_int_equal(px_publication_withdraw(&p, at(now)), 0);
	assert_int_equal(px_publication_tick(&p, at(now)), 0);
	assert_int_equal(px_publication_check(&p, at(now)), 0);
	assert_int_equal(px_publication_retry(&p, at(now)), 0);
	px_publication_free(&p);
}

/* What each answer does to a MODIFY, and in what the other operations differ. */
enum kind { STANDS, ANEW, SIMPLER, SOON, UNSURE, DENIED, LONG };

static const struct row {
	enum px_sip_fail fail;
	int status;
	enum kind kind;
	enum px_esc_word word;
} table[] = {
    {PX_SIP_TIMEOUT, 0, UNSURE, PX_ESC_FAILED},
    {PX_SIP_TRANSPORT, 0, UNSURE, PX_ESC_FAILED},
    {PX_SIP_LOCAL, 0, SOON, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 200, STANDS, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 202, STANDS, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 299, STANDS, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 300, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 302, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 399, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 400, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 401, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 403, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 404, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 405, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 406, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 407, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 408, UNSURE, PX_ESC_FAILED},
    {PX_SIP_ANSWERED, 410, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 412, ANEW, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 413, SIMPLER, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 415, SIMPLER, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 423, SOON, PX_ESC_ALIVE}, /* without Min-Expires */
    {PX_SIP_ANSWERED, 480, SOON, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 486, SOON, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 489, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 491, SOON, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 499, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 500, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 501, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 502, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 503, SOON, PX_ESC_PAUSE},
    {PX_SIP_ANSWERED, 504, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 505, DENIED, PX_ESC_DENIED},
    {PX_SIP_ANSWERED, 513, SIMPLER, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 599, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 600, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 603, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 604, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 699, LONG, PX_ESC_ALIVE},
    {PX_SIP_ANSWERED, 0, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 100, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, 700, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, INT32_MAX, UNSURE, PX_ESC_UNSURE},
    {PX_SIP_ANSWERED, INT32_MIN, UNSURE, PX_ESC_UNSURE},
};

static void one_row(const struct row *r, enum px_pub_op op)
{
	struct px_publication p = flying(op);
	struct px_sip_answer a = status(r->status);
	bool had = op != PX_OP_INITIAL;

	a.fail = r->fail;
	a.etag = r->kind == STANDS ? "two" : NULL;
	unsigned todo = answer(&p, a, 1000);

	assert_int_equal(word, r->word);
	switch (r->kind) {
	case STANDS:
		assert_int_equal(todo, op == PX_OP_CLEAR ? PX_PUB_QUEUE : 0);
		assert_int_equal(p.state, op == PX_OP_REMOVE  ? PX_PUB_OFF
		                          : op == PX_OP_CLEAR ? PX_PUB_WAITING
		                                              : PX_PUB_STANDING);
		assert_false(p.newer || p.unsure);
		if (op != PX_OP_REMOVE)
			assert_string_equal(p.etag, "two");
		break;
	case ANEW:
		assert_null(p.etag);
		assert_false(p.unsure);
		if (op == PX_OP_INITIAL) { /* nonsense, so not at once */
			assert_int_equal(todo, 0);
			assert_int_equal(p.state, PX_PUB_BACKOFF);
		} else if (op == PX_OP_CLEAR || op == PX_OP_REMOVE) {
			assert_int_equal(todo, PX_PUB_LOST);
			assert_int_equal(p.state, PX_PUB_OFF);
		} else {
			assert_int_equal(todo, PX_PUB_QUEUE | PX_PUB_URGENT | PX_PUB_LOST);
			assert_true(p.newer); /* not even what was confirmed is there */
			assert_int_equal(p.lapses.ms, 0);
			assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_INITIAL);
		}
		break;
	case SIMPLER:
		if (op == PX_OP_CLEAR) { /* goes without */
			assert_int_equal(todo, PX_PUB_QUEUE);
			assert_false(p.brief);
			assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_REMOVE);
			break;
		}
		if (op == PX_OP_REMOVE) { /* there is nothing to leave out */
			assert_int_equal(todo, PX_PUB_GAVE_UP);
			break;
		}
		/* once more at once, and no third time */
		assert_int_equal(todo, PX_PUB_QUEUE | (op == PX_OP_REFRESH ? 0 : PX_PUB_URGENT));
		assert_true(p.brief);
		assert_int_equal(px_publication_turn(&p, at(1000)), op);
		assert_int_equal(answer(&p, a, 1000), PX_PUB_GAVE_UP);
		assert_int_equal(p.state, PX_PUB_BACKOFF);
		break;
	case SOON:
	case UNSURE:
	case DENIED:
	case LONG:
		if (op == PX_OP_CLEAR && r->kind == LONG) {
			assert_int_equal(todo, PX_PUB_QUEUE);
			assert_string_equal(p.etag, "one");
			assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_REMOVE);
			break;
		}
		assert_int_equal(todo, r->kind == LONG ? PX_PUB_GAVE_UP : 0);
		assert_int_equal(p.state, PX_PUB_BACKOFF);
		assert_int_equal(p.unsure, r->kind == UNSURE);
		if (had)
			assert_string_equal(p.etag, "one");
		if (r->kind == LONG)
			assert_in_range(due_in(&p, 1000), 3600000, 3960000);
		else if (r->kind == DENIED)
			assert_in_range(due_in(&p, 1000), 300000, 330000);
		else
			assert_in_range(due_in(&p, 1000), 500, 1000);
		/* whoever gave up isn't hastened, neither by a new state nor by the server's return
		 */
		int64_t due = p.due.ms;
		if (op != PX_OP_CLEAR && op != PX_OP_REMOVE) {
			assert_int_equal(px_publication_want(&p, at(1100)), 0);
			assert_int_equal(p.due.ms, due);
		}
		assert_int_equal(px_publication_check(&p, at(1100)), 0);
		assert_int_equal(px_publication_tick(&p, at(1100)), 0);
		if (r->kind == LONG) {
			assert_int_equal(px_publication_retry(&p, at(1100)), 0);
			/* what stood has lapsed by then */
			int64_t then = due_in(&p, 0);
			assert_int_equal(px_publication_tick(&p, at(then)),
			                 PX_PUB_QUEUE | (op == PX_OP_REMOVE ? 0 : PX_PUB_URGENT));
			assert_int_equal(px_publication_turn(&p, at(then)),
			                 op == PX_OP_REMOVE ? PX_OP_NONE : PX_OP_INITIAL);
			assert_null(p.etag);
		} else {
			assert_int_equal(px_publication_retry(&p, at(1100)),
			                 PX_PUB_QUEUE | (op == PX_OP_REMOVE ? 0 : PX_PUB_URGENT));
			/* the newest state, with the same ETag */
			assert_int_equal(px_publication_turn(&p, at(1100)),
			                 op == PX_OP_REFRESH ? PX_OP_MODIFY : op);
		}
		break;
	}
	px_publication_free(&p);
}

static void every_answer_to_every_operation(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		for (enum px_pub_op op = PX_OP_INITIAL; op <= PX_OP_REMOVE; op++)
			one_row(&table[i], op);
}

static void a_refresh_that_fails_is_a_refresh_again(void **state)
{
	struct px_publication p = flying(PX_OP_REFRESH);

	(void)state;
	answer(&p, status(500), 0);
	assert_int_equal(px_publication_tick(&p, at(1000)), PX_PUB_QUEUE);
	assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_REFRESH);
	px_publication_free(&p);
}

static void backs_off_up_to_half_a_minute(void **state)
{
	static const int64_t most[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
	static const int64_t brief[] = {1000, 2000, 4000, 4000, 4000, 4000, 4000};
	int64_t now = 0;
	int64_t least = INT64_MAX, greatest = 0;

	(void)state;
	struct px_publication p = flying(PX_OP_MODIFY);
	for (int i = 0; i < 300; i++) {
		/* silence is the server's matter: whether it works is found out elsewhere, and then they wait no longer (P6) */
		bool silent = i >= 150;

		if (i == 150)
			p.failures = 0;
		if (silent)
			answer(&p,
			       (struct px_sip_answer){.fail = PX_SIP_TIMEOUT, .retry_after = -1},
			       now);
		else
			answer(&p, status(500), now);
		int64_t expect = (silent ? brief : most)[i % 150 < 6 ? i % 150 : 6];
		assert_in_range(due_in(&p, now), expect / 2, expect);
		now += due_in(&p, now);
		px_publication_tick(&p, at(now));
		assert_int_not_equal(px_publication_turn(&p, at(now)), PX_OP_NONE);
	}
	answer(&p, ok("new"), now);
	assert_int_equal(p.failures, 0);
	px_publication_free(&p);
	/* users that failed together don't come back together */
	for (uint32_t seed = 0; seed < 1000; seed++) {
		struct px_publication q = flying(PX_OP_MODIFY);
		q.seed = seed;
		q.failures = 9;
		answer(&q, status(500), 0);
		least = due_in(&q, 0) < least ? due_in(&q, 0) : least;
		greatest = due_in(&q, 0) > greatest ? due_in(&q, 0) : greatest;
		px_publication_free(&q);
	}
	assert_true(least < 15100 && greatest > 29900);
}

static void failures_are_counted_in_a_row(void **state)
{
	static const int ends[] = {200, 403};

	(void)state;
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
		for (enum px_pub_op op = PX_OP_INITIAL; op <= PX_OP_REMOVE; op++) {
			struct px_publication p = flying(op);
			struct px_sip_answer a = status(ends[i]);

			answer(&p, status(500), 0);
			assert_int_equal(p.failures, 1);
			px_publication_tick(&p, at(1000));
			px_publication_turn(&p, at(1000));
			px_publication_want(&p, at(1000));
			a.etag = "two";
			answer(&p, a, 1000);
			assert_int_equal(p.failures, 0);
			px_publication_free(&p);
			assert_null(p.etag);
		}
}

static void a_refresh_that_comes_too_late_is_urgent(void **state)
{
	struct px_publication p = standing("one", 0);

	(void)state;
	assert_int_equal(px_publication_tick(&p, at(3600000)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_null(p.etag);
	assert_int_equal(px_publication_turn(&p, at(3600000)), PX_OP_INITIAL);
	px_publication_free(&p);
}

static void retry_after_is_kept_within_reason(void **state)
{
	static const int64_t row[][3] = {
	    {0, 500, 1000}, {5, 5000, 5250}, {60, 60000, 60250}, {INT64_MAX, 60000, 60250}};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_publication p = flying(PX_OP_MODIFY);
		struct px_sip_answer a = status(503);

		a.retry_after = row[i][0];
		answer(&p, a, 0);
		assert_in_range(due_in(&p, 0), row[i][1], row[i][2]);
		px_publication_free(&p);
	}
}

static void etags_that_cannot_be_used(void **state)
{
	static const char *const bad[] = {NULL,       "",      "a b",    "a\r\nVia: x",
	                                  "\xc3\xa4", "tab\t", "del\x7f"};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		for (enum px_pub_op op = PX_OP_INITIAL; op <= PX_OP_MODIFY; op++) {
			struct px_publication p = flying(op);

			assert_int_equal(answer(&p, ok(bad[i]), 0), 0);
			assert_int_equal(word, PX_ESC_ALIVE);
			assert_null(p.etag);
			assert_int_equal(p.state, PX_PUB_BACKOFF);
			assert_in_range(due_in(&p, 0), 500, 1000);
			assert_int_equal(px_publication_tick(&p, at(1000)),
			                 PX_PUB_QUEUE | PX_PUB_URGENT);
			assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_INITIAL);
			px_publication_free(&p);
		}
}

static void a_long_etag_lapses_and_is_made_anew(void **state)
{
	char longest[PX_ETAG_MAX + 1], longer[PX_ETAG_MAX + 2];

	(void)state;
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	memset(longer, 'x', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';

	struct px_publication p = standing(longest, 0);
	assert_string_equal(p.etag, longest);
	px_publication_free(&p);

	p = standing(longer, 0);
	assert_null(p.etag);
	assert_int_equal(due_in(&p, 0), 3600000);
	assert_int_equal(px_publication_check(&p, at(10)), 0);
	assert_int_equal(p.state, PX_PUB_STANDING);
	assert_int_equal(px_publication_tick(&p, at(3600000)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_int_equal(px_publication_turn(&p, at(3600000)), PX_OP_INITIAL);
	assert_int_equal(answer(&p, ok(longer), 3600000), 0);
	/* a newer state doesn't wait for that */
	assert_int_equal(px_publication_want(&p, at(3600001)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_int_equal(px_publication_turn(&p, at(3600001)), PX_OP_INITIAL);
	assert_int_equal(answer(&p, ok(longer), 3600002), 0);
	/* it can't be removed */
	assert_int_equal(px_publication_withdraw(&p, at(3600003)), 0);
	assert_int_equal(p.state, PX_PUB_OFF);
	px_publication_free(&p);
}

static void expires_as_granted(void **state)
{
	static const struct {
		int64_t granted;
		uint32_t expires; /* 0: nothing stands */
		int64_t from, to; /* refresh, ms */
	} row[] = {
	    {-1, 3600, 1800000, 3240000},
	    {3600, 3600, 1800000, 3240000},
	    {7200, 3600, 1800000, 3240000}, /* never more than was asked */
	    {INT64_MAX, 3600, 1800000, 3240000},
	    {600, 600, 300000, 540000},
	    {60, 60, 30000, 50000},
	    {40, 40, 20000, 30000},
	    {39, 39, 19500, 19500},
	    {1, 1, 500, 500},
	    {0, 0, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		for (uint32_t seed = 0; seed < 300; seed++) {
			struct px_publication p = flying(seed % 2 ? PX_OP_MODIFY : PX_OP_INITIAL);
			struct px_sip_answer a = ok("two");

			p.seed = seed * 977;
			a.expires = row[i].granted;
			assert_int_equal(answer(&p, a, 0), 0);
			assert_int_equal(p.expires, row[i].expires);
			if (row[i].expires == 0) {
				assert_int_equal(p.state, PX_PUB_BACKOFF);
				assert_null(p.etag);
				px_publication_tick(&p, at(1000));
				assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_INITIAL);
			} else {
				assert_int_equal(p.lapses.ms,
				                 at((int64_t)row[i].expires * 1000).mono.ms);
				assert_in_range(due_in(&p, 0), row[i].from, row[i].to);
			}
			px_publication_free(&p);
		}
}

static void unknown_etag_is_no_wonder_when_it_was_unsure_or_has_lapsed(void **state)
{
	(void)state;
	/* the fate of an earlier one is unknown */
	struct px_publication p = flying(PX_OP_MODIFY);
	answer(&p, (struct px_sip_answer){.fail = PX_SIP_TRANSPORT, .retry_after = -1}, 0);
	px_publication_tick(&p, at(1000));
	assert_int_equal(px_publication_turn(&p, at(1000)), PX_OP_MODIFY);
	answer(&p, status(503), 1000); /* doesn't make it surer */
	px_publication_tick(&p, at(4000));
	assert_int_equal(px_publication_turn(&p, at(4000)), PX_OP_MODIFY);
	assert_int_equal(answer(&p, status(412), 4000), PX_PUB_QUEUE | PX_PUB_URGENT);
	/* an answer makes it sure again */
	assert_int_equal(px_publication_turn(&p, at(4000)), PX_OP_INITIAL);
	answer(&p, ok("three"), 4000);
	px_publication_check(&p, at(4000));
	assert_int_equal(px_publication_turn(&p, at(4000)), PX_OP_REFRESH);
	assert_int_equal(answer(&p, status(412), 4000), PX_PUB_QUEUE | PX_PUB_URGENT | PX_PUB_LOST);
	px_publication_free(&p);

	/* it lapsed on the way, or so nearly that the server's clock decides */
	p = standing("one", 0);
	px_publication_want(&p, at(3598500));
	assert_int_equal(px_publication_turn(&p, at(3598500)), PX_OP_MODIFY);
	assert_int_equal(answer(&p, status(412), 3598600), PX_PUB_QUEUE | PX_PUB_URGENT);
	px_publication_free(&p);

	/* it lapsed while it waited: not even tried */
	p = standing("one", 0);
	px_publication_want(&p, at(3599999));
	assert_int_equal(px_publication_turn(&p, at(3600000)), PX_OP_INITIAL);
	px_publication_free(&p);
}

static void too_brief(void **state)
{
	struct px_sip_answer a = status(423);

	(void)state;
	for (enum px_pub_op op = PX_OP_INITIAL; op <= PX_OP_MODIFY; op++) {
		struct px_publication p = flying(op);

		expires_floor = 0;
		a.min_expires = 7200;
		unsigned todo = answer(&p, a, 0);
		assert_int_equal(todo,
		                 op == PX_OP_REFRESH ? PX_PUB_QUEUE : PX_PUB_QUEUE | PX_PUB_URGENT);
		assert_int_equal(expires_floor, 7200);
		assert_int_equal(px_publication_turn(&p, at(0)), op);
		/* a lower one doesn't lower it */
		a.min_expires = 5000;
		assert_int_equal(answer(&p, a, 0), todo);
		assert_int_equal(expires_floor, 7200);
		/* the third in a row */
		assert_int_equal(px_publication_turn(&p, at(0)), op);
		assert_int_equal(answer(&p, a, 0), 0);
		assert_int_equal(p.state, PX_PUB_BACKOFF);
		/* after that it has two more */
		px_publication_tick(&p, at(1000));
		assert_int_equal(px_publication_turn(&p, at(1000)), op);
		assert_int_equal(answer(&p, a, 1000), todo);
		/* anything in between ends the row */
		assert_int_equal(px_publication_turn(&p, at(1000)), op);
		answer(&p, status(500), 1000);
		assert_int_equal(p.minis, 0);
		px_publication_free(&p);
	}
	static const int64_t absurd[] = {-1, 0, ASK, 86401, INT64_MAX};
	for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
		struct px_publication p = flying(PX_OP_MODIFY);

		expires_floor = 0;
		a.min_expires = absurd[i];
		assert_int_equal(answer(&p, a, 0), 0);
		assert_int_equal(p.state, PX_PUB_BACKOFF);
		assert_int_equal(expires_floor, 0);
		px_publication_free(&p);
	}
	/* nothing is too brief for a removal */
	struct px_publication p = flying(PX_OP_REMOVE);
	a.min_expires = 7200;
	assert_int_equal(answer(&p, a, 0), 0);
	assert_int_equal(p.state, PX_PUB_BACKOFF);
	assert_int_equal(expires_floor, 0);
	px_publication_free(&p);
}

static void what_is_wanted_meanwhile_goes_when_the_answer_comes(void **state)
{
	static const struct {
		enum px_pub_op in_flight;
		char
		    meanwhile; /* w: want, d: withdraw, c: check, b: withdraw and want again, x: want and withdraw again */
		int status; /* 0: silence */
		unsigned todo;
		enum px_pub_state state;
		enum px_pub_op next; /* when its turn comes */
	} row[] = {
	    {PX_OP_INITIAL, 'w', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_MODIFY},
	    {PX_OP_REFRESH, 'w', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_MODIFY},
	    {PX_OP_REFRESH, 'w', 0, 0, PX_PUB_BACKOFF, PX_OP_MODIFY},
	    {PX_OP_MODIFY, 'w', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_MODIFY},
	    {PX_OP_MODIFY, 'w', 412, PX_PUB_QUEUE | PX_PUB_URGENT | PX_PUB_LOST, PX_PUB_WAITING,
	     PX_OP_INITIAL},
	    {PX_OP_REMOVE, 'w', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_INITIAL},
	    {PX_OP_REMOVE, 'w', 412, PX_PUB_QUEUE | PX_PUB_URGENT | PX_PUB_LOST, PX_PUB_WAITING,
	     PX_OP_INITIAL},
	    {PX_OP_REMOVE, 'w', 0, 0, PX_PUB_BACKOFF, PX_OP_MODIFY},
	    {PX_OP_INITIAL, 'd', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_CLEAR},
	    {PX_OP_INITIAL, 'd', 0, 0, PX_PUB_OFF, PX_OP_NONE},
	    {PX_OP_INITIAL, 'd', 403, 0, PX_PUB_OFF, PX_OP_NONE},
	    {PX_OP_INITIAL, 'd', 412, 0, PX_PUB_OFF, PX_OP_NONE},
	    {PX_OP_MODIFY, 'd', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_CLEAR},
	    {PX_OP_MODIFY, 'd', 412, PX_PUB_LOST, PX_PUB_OFF, PX_OP_NONE},
	    {PX_OP_MODIFY, 'd', 0, 0, PX_PUB_BACKOFF, PX_OP_CLEAR},
	    {PX_OP_MODIFY, 'd', 403, PX_PUB_GAVE_UP, PX_PUB_BACKOFF, PX_OP_NONE},
	    {PX_OP_MODIFY, 'b', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_MODIFY},
	    {PX_OP_MODIFY, 'c', 200, PX_PUB_QUEUE, PX_PUB_WAITING, PX_OP_REFRESH},
	    {PX_OP_REFRESH, 'c', 200, PX_PUB_QUEUE, PX_PUB_WAITING, PX_OP_REFRESH},
	    {PX_OP_CLEAR, 'w', 200, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_MODIFY},
	    {PX_OP_CLEAR, 'w', 403, PX_PUB_QUEUE | PX_PUB_URGENT, PX_PUB_WAITING, PX_OP_MODIFY},
	    {PX_OP_CLEAR, 'w', 412, PX_PUB_QUEUE | PX_PUB_URGENT | PX_PUB_LOST, PX_PUB_WAITING,
	     PX_OP_INITIAL},
	    {PX_OP_CLEAR, 'w', 0, 0, PX_PUB_BACKOFF, PX_OP_MODIFY},
	    {PX_OP_CLEAR, 'd', 200, PX_PUB_QUEUE, PX_PUB_WAITING, PX_OP_REMOVE},
	    {PX_OP_CLEAR, 'd', 412, PX_PUB_LOST, PX_PUB_OFF, PX_OP_NONE},
	    {PX_OP_CLEAR, 'd', 0, 0, PX_PUB_BACKOFF, PX_OP_CLEAR},
	    {PX_OP_CLEAR, 'c', 200, PX_PUB_QUEUE, PX_PUB_WAITING, PX_OP_REMOVE},
	    {PX_OP_CLEAR, 'x', 200, PX_PUB_QUEUE, PX_PUB_WAITING, PX_OP_REMOVE},
	    {PX_OP_REMOVE, 'x', 0, 0, PX_PUB_BACKOFF, PX_OP_REMOVE},
	    {PX_OP_REMOVE, 'c', 200, 0, PX_PUB_OFF, PX_OP_NONE},
	    {PX_OP_INITIAL, 'c', 200, 0, PX_PUB_STANDING, PX_OP_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_publication p = flying(row[i].in_flight);
		struct px_sip_answer a = status(row[i].status);

		if (row[i].meanwhile == 'd' || row[i].meanwhile == 'b')
			assert_int_equal(px_publication_withdraw(&p, at(1)), 0);
		if (strchr("wbx", row[i].meanwhile))
			assert_int_equal(px_publication_want(&p, at(1)), 0);
		if (row[i].meanwhile == 'x')
			assert_int_equal(px_publication_withdraw(&p, at(1)), 0);
		if (row[i].meanwhile == 'c')
			assert_int_equal(px_publication_check(&p, at(1)), 0);
		assert_int_equal(p.state, PX_PUB_IN_FLIGHT);
		if (row[i].status == 0)
			a.fail = PX_SIP_TIMEOUT;
		a.etag = "two";
		assert_int_equal(answer(&p, a, 10), row[i].todo);
		assert_int_equal(p.state, row[i].state);
		int64_t now = p.due.ms ? due_in(&p, 0) : 10;
		if (p.state == PX_PUB_BACKOFF)
			px_publication_tick(&p, at(now));
		assert_int_equal(px_publication_turn(&p, at(now)), row[i].next);
		px_publication_free(&p);
	}
}

static void what_changes_while_it_waits(void **state)
{
	(void)state;
	/* a refresh that waits becomes urgent with a newer state */
	struct px_publication p = standing("one", 0);
	assert_int_equal(px_publication_check(&p, at(1)), PX_PUB_QUEUE);
	assert_int_equal(px_publication_check(&p, at(1)), 0);
	assert_int_equal(px_publication_want(&p, at(2)), PX_PUB_QUEUE | PX_PUB_URGENT);
	assert_int_equal(px_publication_turn(&p, at(3)), PX_OP_MODIFY);
	px_publication_free(&p);

	/* what was never sent needn't be removed */
	p = (struct px_publication){0};
	px_publication_want(&p, at(0));
	px_publication_withdraw(&p, at(1));
	assert_int_equal(px_publication_turn(&p, at(2)), PX_OP_NONE);
	assert_int_equal(p.state, PX_PUB_OFF);
	px_publication_free(&p);

	/* withdrawn and wanted again before the removal left */
	p = standing("one", 0);
	px_publication_withdraw(&p, at(1));
	px_publication_want(&p, at(2));
	assert_int_equal(px_publication_turn(&p, at(3)), PX_OP_MODIFY);
	px_publication_free(&p);

	/* withdrawn while it backs off: nothing stands, so it's over */
	p = flying(PX_OP_INITIAL);
	answer(&p, status(500), 0);
	assert_int_equal(px_publication_withdraw(&p, at(1)), 0);
	assert_int_equal(p.state, PX_PUB_OFF);
	assert_int_equal(p.due.ms, 0);
	px_publication_free(&p);

	/* ... something stands: removed when the time comes, until it has lapsed */
	p = flying(PX_OP_MODIFY);
	answer(&p, status(500), 0);
	assert_int_equal(px_publication_withdraw(&p, at(1)), 0);
	int64_t now = 0;
	unsigned removals = 0;
	while (p.state == PX_PUB_BACKOFF) {
		now += due_in(&p, now);
		px_publication_tick(&p, at(now));
		if (px_publication_turn(&p, at(now)) != PX_OP_CLEAR)
			break;
		removals++;
		answer(&p, status(500), now);
	}
	assert_int_equal(p.state, PX_PUB_OFF);
	assert_in_range(now, 3600000, 3630000);
	assert_in_range(removals, 120, 250);
	px_publication_free(&p);
}

/* 10,000 users, published within 3 s: how many refresh in each minute of the span, over some
 * cycles. */
static void spread(uint32_t (*seed)(uint32_t user))
{
	enum { USERS = 10000 };
	static struct px_publication p[USERS];

	for (uint32_t u = 0; u < USERS; u++) {
		p[u] = (struct px_publication){.seed = seed(u)};
		px_publication_want(&p[u], at(u * 3000 / USERS));
		px_publication_turn(&p[u], at(u * 3000 / USERS));
		answer(&p[u], ok("one"), u * 3000 / USERS);
	}
	unsigned minute[24] = {0};
	for (uint32_t u = 0; u < USERS; u++) {
		int64_t due = due_in(&p[u], 0) - 1800000;
		assert_in_range(due, 0, 1443000);
		minute[due / 60000 < 24 ? due / 60000 : 23]++;
	}
	for (int m = 0; m < 24; m++)
		assert_in_range(minute[m], USERS / 24 / 2, USERS / 24 * 3 / 2);
	/* and later: no minute of the hours that follow has more than half as much again as the
	 * mean */
	unsigned later[300] = {0}, refreshes = 0;
	for (uint32_t u = 0; u < USERS; u++)
		for (int64_t now = due_in(&p[u], 0); now < 300 * 60000LL; now = due_in(&p[u], 0)) {
			assert_int_equal(px_publication_tick(&p[u], at(now)), PX_PUB_QUEUE);
			assert_int_equal(px_publication_turn(&p[u], at(now)), PX_OP_REFRESH);
			answer(&p[u], ok("one"), now);
			later[now / 60000]++;
			refreshes += now >= 60 * 60000;
		}
	for (int m = 60; m < 300; m++)
		assert_true(later[m] < refreshes / 240 * 2);
	for (int m = 150; m < 300; m++)
		assert_true(later[m] < refreshes / 240 * 3 / 2);
	for (uint32_t u = 0; u < USERS; u++)
		px_publication_free(&p[u]);
}

static uint32_t counted(uint32_t user)
{
	return user;
}
static uint32_t drawn(uint32_t user)
{
	return (user ^ 0x5bd1e995) * 2246822519u ^ user >> 3;
}
static uint32_t in_steps(uint32_t user)
{
	return user * 64;
}

static void refreshes_are_spread_evenly(void **state)
{
	(void)state;
	spread(counted);
	spread(drawn);
	spread(in_steps);
}

static void who_gave_up_together_is_spread(void **state)
{
	unsigned tenth[10] = {0};

	(void)state;
	for (uint32_t seed = 0; seed < 1000; seed++) {
		struct px_publication p = flying(PX_OP_INITIAL);

		p.seed = seed;
		answer(&p, status(403), 0);
		tenth[(due_in(&p, 0) - 3600000) / 36001]++;
		px_publication_free(&p);
	}
	for (int i = 0; i < 10; i++)
		assert_in_range(tenth[i], 80, 120);
}

/* ---- a presence server that answers as it likes ---- */

static uint32_t dice;
static uint32_t roll(uint32_t n)
{
	dice = dice * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)dice * n >> 32);
}

struct doc {
	unsigned etag; /* 0: free */
	unsigned version;
	int64_t lapses;
};

struct server {
	struct doc doc[64];
	unsigned etags;
	bool well;     /* answers as it should */
	bool no_clear; /* has answered a CLEAR otherwise */
};

static struct doc *find(struct server *s, unsigned etag, int64_t now)
{
	for (int i = 0; i < 64; i++)
		if (etag && s->doc[i].etag == etag && s->doc[i].lapses > now)
			return &s->doc[i];
	return NULL;
}

/* What the server makes of it, and how it ends for us. */
static struct px_sip_answer serve(struct server *s, enum px_pub_op op, const char *etag,
                                  unsigned version, uint32_t expires, int64_t now, char *text)
{
	static const int codes[] = {200, 301, 401, 403, 404, 408, 412, 413,
	                            423, 480, 489, 500, 503, 504, 600, 99};
	struct px_sip_answer a = status(200);
	struct doc *d = NULL;

	if (!s->well && roll(3) == 0) { /* refused before anything was done */
		s->no_clear |= op == PX_OP_CLEAR;
		a.status = codes[roll(sizeof codes / sizeof *codes)];
		a.min_expires = (int64_t)roll(10000) - 1;
		a.retry_after = (int64_t)roll(200) - 1;
		a.fail = roll(4) ? PX_SIP_ANSWERED : (enum px_sip_fail)roll(4);
		if (a.fail != PX_SIP_ANSWERED || a.status != 200)
			return a;
		a.etag = roll(2) ? "bogus" : NULL; /* lies */
		a.expires = (int64_t)roll(3) - 1;
		return a;
	}
	if (op != PX_OP_INITIAL) {
		d = find(s, (unsigned)strtoul(etag + 1, NULL, 10), now);
		if (!d) {
			a.status = 412;
			return a;
		}
	} else {
		d = &s->doc[0];
		for (int i = 0; i < 64; i++)
			if (s->doc[i].lapses < d->lapses)
				d = &s->doc[i];
	}
	uint32_t granted = s->well || roll(2) ? expires : expires / (1 + roll(100));
	d->etag = op == PX_OP_REMOVE ? 0 : ++s->etags;
	if (op == PX_OP_INITIAL || op == PX_OP_MODIFY) {
		d->version = version;
		s->no_clear = false;
	}
	if (op == PX_OP_CLEAR)
		d->version = 0;
	/* Kamailio would show it closed */
	assert_true(op != PX_OP_REMOVE || d->version == 0 || s->no_clear);
	d->lapses = now + (int64_t)granted * 1000;
	snprintf(text, 16, "e%u", d->etag);
	a.etag = op == PX_OP_REMOVE ? NULL : text;
	a.expires = op == PX_OP_REMOVE ? 0 : granted;
	if (!s->well && roll(4) == 0) /* done, but we never learn of it */
		a.fail = roll(2) ? PX_SIP_TIMEOUT : PX_SIP_TRANSPORT;
	return a;
}

static void right_in_the_end_whatever_happened(void **state)
{
	unsigned long steps = 0, seen[PX_OP_REMOVE + 1] = {0};

	(void)state;
	for (uint32_t seed = 1; seed <= 400; seed++) {
		struct px_publication p = {.seed = seed};
		struct server s = {0};
		char text[16] = "", sent_etag[PX_ETAG_MAX + 1] = "";
		unsigned version = 0, sent_version = 0;
		enum px_pub_op op = PX_OP_NONE;
		uint32_t floor_s = 0;
		int64_t now = 0;
		bool queued = false, wanted = false;

		dice = seed * 2654435761u;
		for (int i = 0; i < 1500; i++, steps++) {
			unsigned todo = 0;
			enum px_pub_state before = (enum px_pub_state)p.state;

			s.well = i > 1200;
			/* at the end time goes on until all is settled */
			now += roll(4) ? roll(500) : i < 1200 ? roll(600000) : 60000;
			if (i == 1201)
				now += 2 * 3960000;
			switch (i <= 1200 ? roll(10) : roll(3)) {
			case 0:
			case 1: /* its turn, or its answer */
				if (p.state == PX_PUB_IN_FLIGHT) {
					struct px_sip_answer a =
					    serve(&s, op, sent_etag, sent_version,
					          op == PX_OP_REMOVE ? 0 : ASK, now, text);
					enum px_esc_word w;
					todo = px_publication_answer(&p, &a, ASK, &floor_s, &w,
					                             at(now));
				} else if (queued) {
					op = px_publication_turn(&p, at(now));
					queued = false;
					seen[op]++;
					sent_version = version;
					snprintf(sent_etag, sizeof sent_etag, "%s",
					         p.etag && op != PX_OP_INITIAL ? p.etag : "");
					assert_true(op == PX_OP_NONE || op == PX_OP_INITIAL ||
					            p.etag);
					assert_int_equal(op == PX_OP_NONE,
					                 p.state != PX_PUB_IN_FLIGHT);
				}
				break;
			case 2:
				todo = px_publication_tick(&p, at(now));
				break;
			case 3:
			case 4:
				if (!wanted && roll(4)) /* long enough to be removed */
					break;
				version++;
				wanted = true;
				todo = px_publication_want(&p, at(now));
				break;
			case 5:
				if (roll(3) == 0) {
					wanted = false;
					todo = px_publication_withdraw(&p, at(now));
				}
				break;
			case 6:
				todo = px_publication_check(&p, at(now));
				break;
			case 7:
				todo = px_publication_retry(&p, at(now));
				break;
			case 8:
				if (roll(20) == 0)
					memset(s.doc, 0, sizeof s.doc); /* its memory is lost */
				break;
			}
			if (todo & PX_PUB_QUEUE)
				queued = true;
			if (todo & PX_PUB_URGENT)
				assert_true(todo & PX_PUB_QUEUE);
			/* always a next step: a turn, an answer or a deadline */
			assert_int_equal(p.want, wanted);
			assert_int_equal(queued, p.state == PX_PUB_WAITING);
			assert_int_equal(p.due.ms != 0,
			                 p.state == PX_PUB_STANDING || p.state == PX_PUB_BACKOFF);
			if (p.state == PX_PUB_OFF) {
				assert_true(!p.want && !p.newer && !p.unsure && !p.check &&
				            !p.etag);
				assert_true(p.failures == 0 && p.minis == 0 && p.expires == 0 &&
				            p.lapses.ms == 0);
			}
			assert_int_equal(p.op != PX_OP_NONE, p.state == PX_PUB_IN_FLIGHT);
			assert_true(!p.gave_up || p.state == PX_PUB_BACKOFF);
			assert_true(!(todo & PX_PUB_GAVE_UP) || p.gave_up);
			assert_true(!(todo & PX_PUB_LOST) || before == PX_PUB_IN_FLIGHT);
			if (p.state == PX_PUB_STANDING)
				assert_false(p.newer || p.check || p.unsure);
		}
		/* the server is well again: exactly the newest state stands there */
		unsigned stand = 0;
		for (int i = 0; i < 64; i++)
			stand += s.doc[i].etag && s.doc[i].lapses > now;
		if (wanted) {
			assert_true(p.state == PX_PUB_STANDING || (p.etag && !p.newer));
			struct doc *d = p.state == PX_PUB_STANDING
			                    ? find(&s, (unsigned)strtoul(p.etag + 1, NULL, 10), now)
			                    : NULL;
			if (p.state == PX_PUB_STANDING) {
				assert_non_null(d);
				assert_int_equal(d->version, version);
				assert_int_equal(stand, 1);
			}
		} else {
			assert_int_equal(p.state, PX_PUB_OFF);
			assert_int_equal(stand, 0);
		}
		px_publication_free(&p);
	}
	for (enum px_pub_op op = PX_OP_NONE; op <= PX_OP_REMOVE; op++)
		assert_true(seen[op] > 500);
	assert_true(steps == 600000);
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(px_pub_state_name(PX_PUB_BACKOFF), "backoff");
	assert_string_equal(px_pub_op_name(PX_OP_REMOVE), "remove");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_life),
	    cmocka_unit_test(every_answer_to_every_operation),
	    cmocka_unit_test(a_refresh_that_fails_is_a_refresh_again),
	    cmocka_unit_test(backs_off_up_to_half_a_minute),
	    cmocka_unit_test(failures_are_counted_in_a_row),
	    cmocka_unit_test(a_refresh_that_comes_too_late_is_urgent),
	    cmocka_unit_test(retry_after_is_kept_within_reason),
	    cmocka_unit_test(etags_that_cannot_be_used),
	    cmocka_unit_test(a_long_etag_lapses_and_is_made_anew),
	    cmocka_unit_test(expires_as_granted),
	    cmocka_unit_test(unknown_etag_is_no_wonder_when_it_was_unsure_or_has_lapsed),
	    cmocka_unit_test(too_brief),
	    cmocka_unit_test(what_is_wanted_meanwhile_goes_when_the_answer_comes),
	    cmocka_unit_test(what_changes_while_it_waits),
	    cmocka_unit_test(refreshes_are_spread_evenly),
	    cmocka_unit_test(who_gave_up_together_is_spread),
	    cmocka_unit_test(right_in_the_end_whatever_happened),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests_name("publication", tests, NULL, NULL);
}
