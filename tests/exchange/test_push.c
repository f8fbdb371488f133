/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Push subscriptions in virtual time: when listeners are told, of what, and when they are given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ews.h"
#include "poster.h"
#include "push.h"
#include "samples.h"

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define PUSH(url, minutes)                                                                         \
	ENVELOPE(VERSION("Exchange2007_SP1") AS("user1@x.test"),                                   \
	         "<m:Subscribe><m:PushSubscriptionRequest>" CALENDAR PUSH_EVENTS                   \
	         "<t:StatusFrequency>" minutes "</t:StatusFrequency><t:URL>" url                   \
	         "</t:URL></m:PushSubscriptionRequest></m:Subscribe>")
#define PUSH_EVENTS "<t:EventTypes>" EVENT("CreatedEvent") "</t:EventTypes>"
#define LISTENER "http://127.0.0.1:9/told"

struct world {
	struct store *store;
	struct counters counters;
	struct ews ews;
	struct subs *subs;
	int64_t now;
	unsigned sent;
	bool busy;
	char *last; /* the notification that was sent last */
	char id[SUBSCRIPTION_ID], url[200];
	char *answer; /* to the last request */
};

static void no_wake(void *arg, struct stream *st)
{
	(void)arg;
	(void)st;
}

static bool send_one(void *arg, const struct subscription *sub, const char *body, size_t len)
{
	struct world *w = arg;

	if (w->busy)
		return false;
	w->sent++;
	free(w->last);
	w->last = strndup(body, len);
	strcpy(w->id, sub->id);
	snprintf(w->url, sizeof w->url, "%s", sub->push->url);
	return true;
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);
	struct subs_limits limits = {.minute_ms = MINUTE,
	                             .heartbeat_ms = 45 * SECOND,
	                             .per_mailbox = 3,
	                             .hanging = 2,
	                             .version = V2013_SP1};

	w->store = store_new(3, "x.test", 1, 0, false);
	w->ews = (struct ews){.store = w->store,
	                      .counters = &w->counters,
	                      .version = V2013_SP1,
	                      .limits = limits,
	                      .service = store_add(w->store, "svc@x.test")};
	affinity_init(&w->ews.affinity, AFFINITY_NONE, 1);
	w->subs = w->ews.subs = subs_new(1, &limits, w->store, &w->counters, no_wake, NULL);
	subs_on_push(w->subs, send_one, w);
	w->now = 5 * MINUTE;
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	free(w->last);
	free(w->answer);
	subs_free(w->subs);
	store_free(w->store);
	free(w);
	return 0;
}

static const char *ask(struct world *w, const char *body)
{
	struct answer a = {0};

	free(w->answer);
	w->ews.now_ms = w->now;
	subs_wall(w->subs, w->now / 1000, w->now);
	ews_answer(&w->ews, 0, &(struct hints){0}, body, strlen(body), &a);
	w->answer = a.body.p;
	return w->answer;
}

static void says_(const char *text, const char *what, int line)
{
	if (!text || !strstr(text, what))
		fail_msg("line %d: \"%s\" isn't in %s", line, what, text ? text : "nothing");
}
#define says(text, what) says_(text, what, __LINE__)

/* Goes on to `to`; how many notifications left on the way, each answered at once. */
static unsigned until(struct world *w, int64_t to, enum push_answer answer)
{
	unsigned before = w->sent, seen;

	while (w->now <= to) {
		int64_t due;

		seen = w->sent;
		due = subs_tick(w->subs, w->now);
		if (w->sent > seen) {
			subs_pushed(w->subs, 0, w->id, answer, w->now);
			continue;
		}
		if (due > to)
			break;
		w->now = due > w->now ? due : w->now + 1;
	}
	w->now = to;
	return w->sent - before;
}

static void meet(struct world *w)
{
	struct meeting m = {.status = STATUS_BUSY, .start = 60, .end = 120};

	subs_wall(w->subs, w->now / 1000, w->now);
	store_create(w->store, store_at(w->store, 0), &m);
}

/* The text of the first such element, in own memory. */
static char *text_of(const char *xml, const char *element)
{
	char open[64];
	const char *p;

	snprintf(open, sizeof open, "<%s>", element);
	p = strstr(xml, open);
	if (!p)
		fail_msg("no %s in %s", element, xml);
	p += strlen(open);
	return strndup(p, strcspn(p, "<"));
}

static void it_begins_with_a_status(void **state)
{
	struct world *w = *state;
	struct violation v = {0};
	char *mark, *previous, *id;
	xmlDoc *doc;

	says(ask(w, PUSH(LISTENER, "30")), "NoError");
	mark = text_of(w->answer, "m:Watermark");
	id = text_of(w->answer, "m:SubscriptionId");
	assert_int_equal(w->sent, 0);
	assert_int_equal(until(w, w->now, PUSH_OK), 1);
	assert_string_equal(w->url, LISTENER);
	assert_string_equal(w->id, id);
	says(w->last, "<t:StatusEvent><t:Watermark>");
	says(w->last, "<t:MoreEvents>false<");
	says(w->last, id);
	previous = text_of(w->last, "t:PreviousWatermark");
	assert_string_equal(previous, mark);
	doc = grammar_parse(w->last, strlen(w->last), &v);
	assert_non_null(doc);
	assert_true(xml_is(xml_first(xml_child(xmlDocGetRootElement(doc), "Body")), NS_MESSAGES,
	                   "SendNotification"));
	xmlFreeDoc(doc);
	/* then each half hour */
	assert_int_equal(until(w, w->now + 30 * MINUTE - 1, PUSH_OK), 0);
	assert_int_equal(until(w, w->now + 1, PUSH_OK), 1);
	assert_int_equal(until(w, w->now + 120 * MINUTE, PUSH_OK), 4);
	free(mark);
	free(previous);
	free(id);
}

static void events_go_at_once_and_once(void **state)
{
	struct world *w = *state;
	char *mark, *previous;

	ask(w, PUSH(LISTENER, "30"));
	until(w, w->now, PUSH_OK);
	w->now += MINUTE;
	meet(w);
	assert_int_equal(until(w, w->now, PUSH_OK), 1);
	says(w->last, "<t:CreatedEvent><t:Watermark>");
	mark = text_of(strstr(w->last, "<t:CreatedEvent>"), "t:Watermark");
	/* the status is due that long after it */
	assert_int_equal(until(w, w->now + 30 * MINUTE - 1, PUSH_OK), 0);
	assert_int_equal(until(w, w->now + 1, PUSH_OK), 1);
	says(w->last, "<t:StatusEvent>");
	previous = text_of(w->last, "t:PreviousWatermark");
	assert_string_equal(previous, mark);
	/* those that come while one is under way follow it; fifty at a time */
	meet(w);
	subs_tick(w->subs, w->now);
	for (int i = 0; i < 60; i++)
		meet(w);
	assert_int_equal(subs_tick(w->subs, w->now) > w->now, 1);
	subs_pushed(w->subs, 0, w->id, PUSH_OK, w->now);
	subs_tick(w->subs, w->now);
	says(w->last, "<t:MoreEvents>true<");
	subs_pushed(w->subs, 0, w->id, PUSH_OK, w->now);
	assert_int_equal(until(w, w->now, PUSH_OK), 1);
	says(w->last, "<t:MoreEvents>false<");
	assert_int_equal(until(w, w->now + 29 * MINUTE, PUSH_OK), 0);
	free(mark);
	free(previous);
}

static void failures_are_tried_again_and_then_it_is_over(void **state)
{
	static const int after[] = {30, 90, 210, 450, 930};
	struct world *w = *state;
	int64_t begun;

	ask(w, PUSH(LISTENER, "30"));
	begun = w->now;
	assert_int_equal(until(w, begun, PUSH_FAILED), 1);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(until(w, begun + after[i] * SECOND - 1, PUSH_FAILED), 0);
		assert_int_equal(until(w, begun + after[i] * SECOND, PUSH_FAILED), 1);
	}
	/* 960 s more would be after half an hour */
	assert_int_equal(subs_count(w->subs, 0), 0);
	assert_int_equal(until(w, w->now + 60 * MINUTE, PUSH_FAILED), 0);
}

static void what_failed_is_told_when_the_listener_is_back(void **state)
{
	struct world *w = *state;

	ask(w, PUSH(LISTENER, "30"));
	until(w, w->now, PUSH_OK);
	meet(w);
	assert_int_equal(until(w, w->now, PUSH_FAILED), 1);
	meet(w);
	assert_int_equal(until(w, w->now + 29 * SECOND, PUSH_FAILED), 0);
	assert_int_equal(until(w, w->now + SECOND, PUSH_OK), 1);
	says(strstr(w->last, "<t:CreatedEvent>") + 5, "<t:CreatedEvent>"); /* both */
	/* the next failure begins anew */
	meet(w);
	assert_int_equal(until(w, w->now, PUSH_FAILED), 1);
	assert_int_equal(until(w, w->now + 30 * SECOND, PUSH_OK), 1);
	assert_int_equal(subs_count(w->subs, 0), 1);
}

static void it_ends_by_its_answer(void **state)
{
	struct world *w = *state;
	char body[2000], *id;

	ask(w, PUSH(LISTENER, "30"));
	id = text_of(w->answer, "m:SubscriptionId");
	snprintf(body, sizeof body,
	         ENVELOPE(VERSION("Exchange2007_SP1"), "<m:Unsubscribe><m:SubscriptionId>%s"
	                                               "</m:SubscriptionId></m:Unsubscribe>"),
	         id);
	says(ask(w, body), "ErrorInvalidPullSubscriptionId");
	snprintf(body, sizeof body,
	         ENVELOPE(VERSION("Exchange2007_SP1"),
	                  "<m:GetEvents><m:SubscriptionId>%s</m:SubscriptionId>"
	                  "<m:Watermark>AQAAAA==</m:Watermark></m:GetEvents>"),
	         id);
	says(ask(w, body), "ErrorInvalidPullSubscriptionId");
	snprintf(body, sizeof body,
	         ENVELOPE(VERSION("Exchange2010_SP1"), GET_STREAMING(ID("%s"), "1")), id);
	{
		struct answer a = {0};

		ews_answer(&w->ews, 0, &(struct hints){0}, body, strlen(body), &a);
		says(a.stream->out.p, "ErrorSubscriptionNotFound");
		stream_close(w->subs, a.stream, w->now);
		buf_free(&a.body);
	}
	assert_int_equal(subs_count(w->subs, 0), 1);
	assert_int_equal(until(w, w->now, PUSH_UNSUBSCRIBE), 1);
	assert_int_equal(subs_count(w->subs, 0), 0);
	subs_pushed(w->subs, 0, id, PUSH_OK, w->now); /* nobody's any more */
	free(id);
}

static void whoever_ends_it_says_why(void **state)
{
	struct world *w = *state;

	ask(w, PUSH(LISTENER, "30"));
	until(w, w->now, PUSH_OK);
	subs_drop(w->subs, NULL, -1, -1, "ErrorReadEventsFailed");
	assert_int_equal(w->sent, 2);
	says(w->last, "ResponseClass=\"Error\"");
	says(w->last, "<m:ResponseCode>ErrorReadEventsFailed<");
	ask(w, PUSH(LISTENER, "30"));
	until(w, w->now, PUSH_OK);
	subs_drop(w->subs, NULL, -1, -1, NULL);
	assert_int_equal(w->sent, 3);
}

static void nothing_is_lost_when_too_much_is_sent(void **state)
{
	struct world *w = *state;

	w->busy = true;
	ask(w, PUSH(LISTENER, "30"));
	assert_int_equal(until(w, w->now + SECOND, PUSH_OK), 0);
	w->busy = false;
	assert_int_equal(until(w, w->now + SECOND, PUSH_OK), 1);
}

static void urls_are_looked_at(void **state)
{
	static const char *const wrong[] = {
	    "",           "ftp://x/",    "127.0.0.1:80", "http://", "http:///path",
	    "https://x/", "http://a b/", "http://u:p@x/"};
	struct world *w = *state;
	char body[5000], url[PUSH_URL_MAX + 1] = "http://x/";

	assert_true(push_url_good("http://[::1]:80/a?b=c"));
	assert_true(push_url_good("HTTP://localhost"));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		assert_false(push_url_good(wrong[i]));
	memset(url + 9, 'a', PUSH_URL_MAX - 9);
	assert_false(push_url_good(url));
	url[PUSH_URL_MAX - 1] = '\0';
	assert_true(push_url_good(url));
	says(ask(w, PUSH("nowhere", "30")), "ErrorInvalidPushSubscriptionUrl");
	snprintf(body, sizeof body, PUSH("%s", "0"), LISTENER);
	says(ask(w, body), "ErrorSchemaValidation");
	assert_int_equal(subs_count(w->subs, 0), 0);
}

#define GOOD_BODY                                                                                  \
	"<soap:Envelope xmlns:soap=\"" NS_SOAP                                                     \
	"\"><soap:Body><SendNotificationResult xmlns=\"" NS_MESSAGES                               \
	"\"><SubscriptionStatus>%s</SubscriptionStatus></SendNotificationResult>"                  \
	"</soap:Body></soap:Envelope>"

static void answers_are_read(void **state)
{
	static const struct {
		const char *head, *status;
		bool closed, whole;
		enum push_answer answer;
	} rows[] = {
	    {"HTTP/1.1 200 OK\r\n\r\n", "OK", true, true, PUSH_OK},
	    {"HTTP/1.1 200 OK\r\n\r\n", "OK", false, false, PUSH_FAILED},
	    {"HTTP/1.0 200 Fine\r\ncontent-length:  %zu\r\n\r\n", "OK", false, true, PUSH_OK},
	    {"HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", "Unsubscribe", false, true,
	     PUSH_UNSUBSCRIBE},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", "OK", false, false, PUSH_FAILED},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", "OK", true, true, PUSH_FAILED},
	    {"HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", "Yes", false, true, PUSH_FAILED},
	    {"HTTP/1.1 500 No\r\nContent-Length: %zu\r\n\r\n", "OK", false, true, PUSH_FAILED},
	    {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "OK", false, true, PUSH_FAILED},
	    {"HTTP/1.1 200 OK\r\n", "OK", false, false, PUSH_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char body[1000], text[2000], head[100];
		enum push_answer answer;

		snprintf(body, sizeof body, GOOD_BODY, rows[i].status);
		snprintf(head, sizeof head, "%s", rows[i].head);
		if (strstr(head, "%zu"))
			sprintf(strstr(head, "%zu"), "%zu\r\n\r\n", strlen(body));
		snprintf(text, sizeof text, "%s%s", head, body);
		if (poster_read(text, strlen(text), rows[i].closed, &answer) != rows[i].whole ||
		    answer != rows[i].answer)
			fail_msg("row %zu: %d", i, answer);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(it_begins_with_a_status),
	    TEST(events_go_at_once_and_once),
	    TEST(failures_are_tried_again_and_then_it_is_over),
	    TEST(what_failed_is_told_when_the_listener_is_back),
	    TEST(it_ends_by_its_answer),
	    TEST(whoever_ends_it_says_why),
	    TEST(nothing_is_lost_when_too_much_is_sent),
	    TEST(urls_are_looked_at),
	    cmocka_unit_test(answers_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
