/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams in virtual time: what they say, when, and what becomes of subscriptions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "grammar.h"
#include "subscription.h"

#define MINUTE 60000
#define ALL (EV_CREATED | EV_DELETED | EV_MODIFIED | EV_MOVED | EV_FREEBUSY)

struct world {
	struct store *store;
	struct counters counters;
	struct subs *subs;
	int64_t now;
	unsigned woken;
};

static void wake(void *arg, struct stream *st)
{
	struct world *w = arg;

	(void)st;
	w->woken++;
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);
	struct subs_limits limits = {.minute_ms = MINUTE,
	                             .heartbeat_ms = 45000,
	                             .per_mailbox = 5,
	                             .hanging = 3,
	                             .version = V2013_SP1};

	w->store = store_new(10, "x.test", 1, 0, false);
	w->subs = subs_new(2, &limits, w->store, &w->counters, wake, w);
	w->now = 1000000;
	subs_tick(w->subs, w->now);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	subs_free(w->subs);
	store_free(w->store);
	free(w);
	return 0;
}

static struct subscription *made(struct world *w, uint32_t user, unsigned mask, bool pull)
{
	struct sub_ask ask = {.mailbox = store_at(w->store, user),
	                      .mask = mask,
	                      .pull = pull,
	                      .calendar = true,
	                      .timeout_minutes = 2};

	return sub_create(w->subs, &ask, w->now);
}

static struct stream *opened(struct world *w, unsigned n, struct subscription *const *subs)
{
	char *ids[10];

	for (unsigned i = 0; i < n; i++)
		ids[i] = subs[i]->id;
	return stream_open(w->subs, 0, 0, store_at(w->store, 0), ids, n, 30, w->now);
}

/* What the stream says now, as one word for each envelope; each must be XML by itself. */
static char *heard(struct world *w, struct stream *st)
{
	static char words[4000];
	struct buf *b = &st->out;
	char *p;

	subs_flush(w->subs, w->now);
	words[0] = '\0';
	while (b->len && (p = strstr(b->p, "</Envelope>"))) {
		size_t n = (size_t)(p - b->p) + strlen("</Envelope>");
		struct violation v;
		xmlDoc *doc = grammar_parse(b->p, n, &v);
		xmlNode *m, *c;

		if (!doc)
			fail_msg("%s: %s", v.text, b->p);
		m = xml_first(xml_first(xml_first(xml_child(xmlDocGetRootElement(doc), "Body"))));
		m = xml_first(m) ? m : NULL;
		for (c = xml_first(m); c; c = xml_next(c)) {
			char *text = xml_text(c);

			if (xml_is(c, NS_MESSAGES, "ResponseCode") && strcmp(text, "NoError") != 0)
				strcat(strcat(words, text), " ");
			if (xml_is(c, NS_MESSAGES, "ConnectionStatus"))
				strcat(strcat(words, text), " ");
			if (xml_is(c, NS_MESSAGES, "Notifications"))
				for (xmlNode *k = xml_first(c); k; k = xml_next(k)) {
					assert_true(xml_is(k, NS_MESSAGES, "Notification"));
					strcat(words, "[");
					for (xmlNode *e = xml_next(xml_first(k)); e;
					     e = xml_next(e)) {
						bool folder = xml_child(e, "FolderId") != NULL;

						strncat(words, (const char *)e->name, 2);
						strcat(words, folder ? "*" : "");
					}
					strcat(words, "] ");
				}
			free(text);
		}
		xmlFreeDoc(doc);
		buf_drop(b, n);
	}
	assert_int_equal(b->len, 0);
	return words;
}

static struct meeting meet(struct world *w, uint32_t user)
{
	struct meeting m = {.start = 0, .end = 60, .status = STATUS_BUSY};

	store_create(w->store, store_at(w->store, user), &m);
	return m;
}

static void a_stream_begins_beats_and_ends(void **state)
{
	struct world *w = *state;
	struct subscription *sub = made(w, 1, ALL, false);
	struct stream *st = opened(w, 1, &sub);

	assert_string_equal(heard(w, st), "OK ");
	w->now += 44999;
	subs_tick(w->subs, w->now);
	assert_string_equal(heard(w, st), "");
	w->now += 1;
	subs_tick(w->subs, w->now);
	assert_string_equal(heard(w, st), "OK ");
	/* an event is a sign of life: the next heartbeat comes 45 s after it */
	w->now += 30000;
	meet(w, 1);
	assert_string_equal(heard(w, st), "[CrFrMo*] ");
	w->now += 44999;
	subs_tick(w->subs, w->now);
	assert_string_equal(heard(w, st), "");
	w->now += 30 * MINUTE;
	w->woken = 0;
	subs_tick(w->subs, w->now);
	assert_string_equal(heard(w, st), "Closed ");
	assert_true(st->over);
	assert_int_equal(w->woken, 1);
	assert_null(sub->stream);
	stream_close(w->subs, st, w->now);
}

static void events_are_those_asked_for(void **state)
{
	struct world *w = *state;
	struct subscription *all = made(w, 1, ALL, false);
	struct subscription *few = made(w, 1, EV_DELETED | EV_FREEBUSY, false);
	struct subscription *both[] = {all, few};
	struct stream *st = opened(w, 2, both);
	struct meeting m = meet(w, 1), *kept;
	struct sub_ask inbox = {.mailbox = store_at(w->store, 1), .mask = ALL};
	struct subscription *deaf = sub_create(w->subs, &inbox, w->now);

	assert_string_equal(heard(w, st), "OK [CrFrMo*] [Fr] ");
	kept = store_edit(w->store, store_at(w->store, 1), m.ordinal);
	store_modified(w->store, store_at(w->store, 1), kept, false);
	assert_string_equal(heard(w, st), "[Mo] ");
	store_modified(w->store, store_at(w->store, 1), kept, true);
	assert_string_equal(heard(w, st), "[MoFr] [Fr] ");
	store_delete(w->store, store_at(w->store, 1), m.ordinal, CHANGE_MOVED);
	assert_string_equal(heard(w, st), "[MoFrMo*] [Fr] ");
	m = meet(w, 1);
	store_delete(w->store, store_at(w->store, 1), m.ordinal, CHANGE_DELETED);
	assert_string_equal(heard(w, st), "[CrFrMo*DeFrMo*] [FrDeFr] ");
	meet(w, 2);
	assert_string_equal(heard(w, st), "");
	assert_int_equal(deaf->qlen, 0);
	stream_close(w->subs, st, w->now);
}

static void events_of_a_moment_share_an_envelope(void **state)
{
	struct world *w = *state;
	struct subscription *subs[3] = {made(w, 1, EV_CREATED, false),
	                                made(w, 2, EV_CREATED, false),
	                                made(w, 3, EV_CREATED, false)};
	struct stream *st = opened(w, 3, subs);

	heard(w, st);
	w->woken = 0;
	for (uint32_t u = 1; u <= 3; u++)
		meet(w, u);
	meet(w, 2);
	subs_flush(w->subs, w->now);
	assert_int_equal(w->woken, 1);
	assert_null(strstr(strstr(st->out.p, "</Envelope>") + 1, "<Envelope"));
	assert_string_equal(heard(w, st), "[Cr] [CrCr] [Cr] ");
	assert_int_equal(w->counters.cas[0].notifications, 3);
	assert_int_equal(w->counters.cas[0].events, 4);
	stream_close(w->subs, st, w->now);
}

static void events_wait_for_a_stream(void **state)
{
	struct world *w = *state;
	struct subscription *sub = made(w, 1, EV_CREATED, false);
	struct stream *st;
	char *words;

	for (int i = 0; i < EVENTS_AT_ONCE + 10; i++)
		meet(w, 1);
	assert_int_equal(sub->qlen, EVENTS_AT_ONCE + 10);
	st = opened(w, 1, &sub);
	words = heard(w, st);
	assert_memory_equal(words, "OK [CrCr", 8);
	assert_int_equal(strlen(words), strlen("OK [] [] ") + 2 * (EVENTS_AT_ONCE + 10));
	stream_close(w->subs, st, w->now);
	/* too many: the oldest are lost, and that is said */
	for (int i = 0; i < QUEUE_MAX + 3; i++)
		meet(w, 1);
	assert_int_equal(sub->qlen, QUEUE_MAX);
	st = opened(w, 1, &sub);
	assert_memory_equal(heard(w, st), "OK ErrorMissedNotificationEvents [", 34);
	assert_false(st->over);
	stream_close(w->subs, st, w->now);
	st = opened(w, 1, &sub);
	assert_string_equal(heard(w, st), "OK ");
	stream_close(w->subs, st, w->now);
}

static void unknown_ids_are_named(void **state)
{
	struct world *w = *state;
	struct subscription *sub = made(w, 1, ALL, false), *pull = made(w, 1, ALL, true);
	char gone[] = "gone";
	char *ids[] = {gone, sub->id, pull->id, sub->id};
	struct stream *st = stream_open(w->subs, 0, 0, store_at(w->store, 0), ids, 4, 30, w->now);

	assert_int_equal(st->nsubs, 1);
	assert_non_null(strstr(st->out.p, "<m:SubscriptionId>gone</m:SubscriptionId>"));
	assert_string_equal(heard(w, st), "ErrorSubscriptionNotFound OK ");
	stream_close(w->subs, st, w->now);
	st = stream_open(w->subs, 1, 0, store_at(w->store, 0), ids, 4, 30, w->now);
	assert_string_equal(heard(w, st), "ErrorSubscriptionNotFound ");
	assert_true(st->over);
	stream_close(w->subs, st, w->now);
}

static void a_second_stream_closes_the_first(void **state)
{
	struct world *w = *state;
	struct subscription *subs[2] = {made(w, 1, ALL, false), made(w, 2, ALL, false)};
	struct stream *first = opened(w, 2, subs), *second;

	heard(w, first);
	second = opened(w, 1, subs);
	assert_string_equal(heard(w, first), "ErrorNewEventStreamConnectionOpened Closed ");
	assert_true(first->over);
	assert_ptr_equal(subs[0]->stream, second);
	assert_null(subs[1]->stream);
	stream_close(w->subs, first, w->now);
	meet(w, 1);
	assert_string_equal(heard(w, second), "OK [CrFrMo*] ");
	assert_int_equal(streams_of(w->subs, 0, store_at(w->store, 0)), 1);
	stream_close(w->subs, second, w->now);
	assert_int_equal(streams_of(w->subs, 0, store_at(w->store, 0)), 0);
}

static void dropped_subscriptions_are_told(void **state)
{
	struct world *w = *state;
	struct subscription *subs[3] = {made(w, 1, ALL, false), made(w, 2, ALL, false),
	                                made(w, 3, ALL, false)};
	struct stream *st = opened(w, 3, subs);

	heard(w, st);
	sub_drop(w->subs, subs[0], NULL);
	assert_string_equal(heard(w, st), "");
	sub_drop(w->subs, subs[1], "ErrorSubscriptionNotFound");
	assert_string_equal(heard(w, st), "ErrorSubscriptionNotFound ");
	assert_false(st->over);
	assert_int_equal(subs_drop(w->subs, NULL, 0, -1, "ErrorReadEventsFailed"), 1);
	assert_string_equal(heard(w, st), "ErrorReadEventsFailed Closed ");
	assert_true(st->over);
	assert_int_equal(subs_count(w->subs, 0), 0);
	stream_close(w->subs, st, w->now);
}

static void idle_subscriptions_die(void **state)
{
	struct world *w = *state;
	struct subscription *sub = made(w, 1, ALL, false), *pull = made(w, 1, ALL, true);
	struct stream *st = opened(w, 1, &sub);
	uint64_t mark;
	struct buf b = {0};
	uint64_t last;

	w->now += 2 * MINUTE - 1;
	subs_tick(w->subs, w->now);
	sub_events_after(w->subs, pull, 0, &b, &last); /* a visit keeps it alive */
	w->now += MINUTE;
	subs_tick(w->subs, w->now);
	assert_int_equal(subs_count(w->subs, 0), 2);
	sub_watermark(&b, pull, 7);
	assert_true(watermark_parse(b.p, &mark));
	assert_int_equal(mark, 7);
	buf_free(&b);
	w->now += 2 * MINUTE;
	subs_tick(w->subs, w->now);
	assert_int_equal(subs_count(w->subs, 0), 1);
	/* a stream keeps a streaming one alive; after it, it has 30 minutes */
	stream_close(w->subs, st, w->now);
	w->now += STREAMING_IDLE_MINUTES * MINUTE - 1;
	subs_tick(w->subs, w->now);
	assert_int_equal(subs_count(w->subs, 0), 1);
	w->now += 2000;
	subs_tick(w->subs, w->now);
	assert_int_equal(subs_count(w->subs, 0), 0);
}

static void a_mailbox_has_so_many(void **state)
{
	struct world *w = *state;
	struct subscription *sub = NULL;

	for (int i = 0; i < 5; i++) {
		sub = made(w, 1, ALL, i % 2);
		assert_non_null(sub);
	}
	assert_null(made(w, 1, ALL, false));
	assert_non_null(made(w, 2, ALL, false));
	sub_drop(w->subs, sub, NULL);
	assert_non_null(made(w, 1, ALL, false));
}

static void a_muted_stream_keeps_what_it_has_to_say(void **state)
{
	struct world *w = *state;
	struct subscription *sub = made(w, 1, EV_CREATED, false);
	struct stream *st = opened(w, 1, &sub);

	heard(w, st);
	w->woken = 0;
	st->muted = true;
	meet(w, 1);
	subs_flush(w->subs, w->now);
	w->now += 2 * MINUTE;
	subs_tick(w->subs, w->now);
	assert_int_equal(w->woken, 0);
	assert_int_equal(st->out.len, 0);
	st->muted = false;
	assert_string_equal(heard(w, st), "[Cr] ");
	stream_close(w->subs, st, w->now);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(a_stream_begins_beats_and_ends),
	    TEST(events_are_those_asked_for),
	    TEST(events_of_a_moment_share_an_envelope),
	    TEST(events_wait_for_a_stream),
	    TEST(unknown_ids_are_named),
	    TEST(a_second_stream_closes_the_first),
	    TEST(dropped_subscriptions_are_told),
	    TEST(idle_subscriptions_die),
	    TEST(a_mailbox_has_so_many),
	    TEST(a_muted_stream_keeps_what_it_has_to_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
