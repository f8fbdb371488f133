/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reminders, and what documents say of a meeting, in virtual time: the engine between an Exchange with one calendar and phones that are told how to answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/engine.h"
#include "sim/fake.h"

#define WALL0 INT64_C(1764000000000) /* 2025-11-24T16:00:00Z */
#define MIN INT64_C(60000)
#define USERS 250
#define LATER 600
#define MESSAGES 2000

static const char alice[] = "u0@example.test";

struct meeting {
	int64_t start, end; /* minutes from WALL0 */
	enum px_status status;
	bool hidden, gone;
	const char *subject, *place;
};

/* An answer that is under way. */
struct later {
	int64_t at;
	uint64_t id;
	bool http, publish, stream;
	int status;
	char body[16384];
};

static struct world {
	struct px_engine *e;
	struct px_engine_config c;
	struct px_now now;
	unsigned users;
	struct meeting meeting[20];
	unsigned meetings;
	bool details_down; /* it answers, but not about details */
	bool blind;        /* the account isn't shown them */
	bool esc_down;
	int status[20]; /* of the first answers to messages; 0: silence; then 200 */
	unsigned statuses;
	struct later later[LATER];
	unsigned laters;
	uint64_t stream;
	unsigned details, alone;
	struct message {
		int64_t at; /* ms from WALL0 */
		char key[64], text[PX_REMINDER_TEXT_MAX + 1];
		uint32_t expires;
	} message[MESSAGES];
	unsigned messages;
	char document[PX_PIDF_MAX + 1]; /* alice's last */
	unsigned documents;
} w;

static int64_t at(int64_t minutes)
{
	return WALL0 + minutes * MIN;
}

static void answer_later(int64_t in, uint64_t id, bool http, int status, const char *body)
{
	struct later *l = &w.later[w.laters++];

	assert_true(w.laters < LATER);
	*l = (struct later){.at = w.now.mono.ms + in, .id = id, .http = http, .status = status};
	snprintf(l->body, sizeof l->body, "%s", body);
}

static void http_start(const struct px_action *a)
{
	const enum px_ask ask = a->http.ask;
	const char *body = a->http.wire.body.data;
	char one[3000] = "", all[16384] = "";
	unsigned names = 0;
	size_t n = 0;

	for (const char *s = strchr(body, '\n') + 1; (s = strchr(s, '\n')); s++)
		names++;
	if (ask == PX_ASK_DETAILS) {
		w.details++;
		w.alone += strncmp(strchr(body, ' ') + 1, "- ", 2) != 0;
	}
	if (w.details_down && ask == PX_ASK_DETAILS) {
		answer_later(20, a->http.id, true, 500, "V 6\n");
		return;
	}
	for (unsigned i = 0; i < w.meetings; i++) {
		const struct meeting *m = &w.meeting[i];
		const bool blind = w.blind && strncmp(strchr(body, ' ') + 1, "- ", 2) == 0;

		if (m->gone)
			continue;
		n += (size_t)snprintf(one + n, sizeof one - n, "M %lld %lld %d\n",
		                      (long long)at(m->start), (long long)at(m->end), m->status);
		if (ask == PX_ASK_DETAILS || (ask == PX_ASK_READ && w.c.note_subject))
			n += (size_t)snprintf(one + n, sizeof one - n, "D %lld %lld %d %d %s|%s\n",
			                      (long long)at(m->start), (long long)at(m->end),
			                      m->status, m->hidden, blind ? "" : m->subject,
			                      blind ? "" : m->place);
	}
	snprintf(one + n, sizeof one - n,
	         w.blind && strncmp(strchr(body, ' ') + 1, "- ", 2) == 0 ? "B\n" : "C\n");
	n = 0;
	switch (ask) {
	case PX_ASK_READ:
	case PX_ASK_DETAILS:
		for (unsigned i = 0; i < names && n < sizeof all; i++)
			n += (size_t)snprintf(all + n, sizeof all - n, "%s", one);
		assert_true(n < sizeof all);
		break;
	case PX_ASK_PROBE:
		snprintf(all, sizeof all, "C\n");
		break;
	case PX_ASK_SUBSCRIBE:
		snprintf(all, sizeof all, "I sub\n");
		break;
	case PX_ASK_STREAM:
		w.stream = a->http.id;
		return;
	default:
		break;
	}
	answer_later(20, a->http.id, true, 200, all);
}

static void message(const struct px_action *a)
{
	struct message *m = &w.message[w.messages];
	int status = w.messages < w.statuses ? w.status[w.messages] : 200;

	assert_true(w.messages < MESSAGES);
	w.messages++;
	m->at = w.now.wall.ms - WALL0;
	m->expires = a->message.expires;
	snprintf(m->key, sizeof m->key, "%s", a->message.key);
	snprintf(m->text, sizeof m->text, "%s", a->message.body.data);
	answer_later(status ? 50 : a->message.timeout_ms, a->message.id, false, status, "");
}

static void publish(const struct px_action *a)
{
	answer_later(w.esc_down ? 3000 : 5, a->sip.id, false, w.esc_down ? 0 : 200, "");
	w.later[w.laters - 1].publish = true;
	if (strcmp(a->sip.key, alice) == 0) {
		w.documents++;
		snprintf(w.document, sizeof w.document, "%s",
		         a->sip.body.data ? a->sip.body.data : "");
	}
}

/* Nobody reads there what meetings are about. */
static void hear_log(const char *line)
{
	for (unsigned i = 0; i < w.meetings; i++)
		if (strlen(w.meeting[i].subject) > 1)
			assert_null(strstr(line, w.meeting[i].subject));
	if (getenv("TRACE"))
		print_message("%lld %s\n", (long long)w.now.mono.ms, line);
}

static void turn(void)
{
	size_t n;
	struct px_action *a;

	px_engine_tick(w.e, w.now);
	px_engine_pump(w.e, w.now);
	a = px_engine_actions(w.e, &n);
	for (size_t i = 0; i < n; i++) {
		if (a[i].kind == PX_DO_HTTP_START)
			http_start(&a[i]);
		else if (a[i].kind == PX_DO_HTTP_CANCEL && a[i].http_cancel == w.stream)
			w.stream = 0;
		else if (a[i].kind == PX_DO_SIP_START)
			publish(&a[i]);
		else if (a[i].kind == PX_DO_SIP_MESSAGE)
			message(&a[i]);
		else if (a[i].kind == PX_DO_LOG)
			hear_log(a[i].log.text);
	}
	px_engine_actions_clear(w.e);
	assert_true(px_engine_due(w.e, w.now).ms >= w.now.mono.ms);
}

static void answer(const struct later *l)
{
	if (l->http) {
		const struct px_http_answer a = {.status = l->status, .retry_after_ms = -1};

		px_engine_http_data(w.e, l->id, l->body, strlen(l->body), w.now);
		px_engine_http_done(w.e, l->id, &a, w.now);
	} else {
		const struct px_sip_answer a = {.fail =
		                                    l->status ? PX_SIP_ANSWERED : PX_SIP_TIMEOUT,
		                                .status = l->status,
		                                .etag = l->publish ? "e" : NULL,
		                                .expires = l->publish ? 3600 : -1,
		                                .min_expires = -1,
		                                .retry_after = -1};

		px_engine_sip_done(w.e, l->id, &a, w.now);
	}
}

/* Until so many ms after WALL0. */
static void pass_to(int64_t ms)
{
	const int64_t end = WALL0 + ms;
	int64_t heartbeat = 0;

	turn();
	while (w.now.wall.ms < end) {
		int64_t due = px_engine_due(w.e, w.now).ms, by;

		for (unsigned i = 0; i < w.laters; i++)
			due = w.later[i].at < due ? w.later[i].at : due;
		by = due - w.now.mono.ms < 1 ? 1 : due - w.now.mono.ms;
		if (by > end - w.now.wall.ms)
			by = end - w.now.wall.ms;
		w.now.mono.ms += by;
		w.now.wall.ms += by;
		for (unsigned i = 0; i < w.laters; i++)
			if (w.later[i].at <= w.now.mono.ms) {
				struct later l = w.later[i];

				w.later[i--] = w.later[--w.laters];
				answer(&l);
			}
		if (w.stream && w.now.mono.ms >= heartbeat) {
			px_engine_http_data(w.e, w.stream, "A\n", 2, w.now);
			heartbeat = w.now.mono.ms + 40000;
		}
		turn();
	}
}

static void pass_minutes(int64_t m)
{
	pass_to(m * MIN);
}

/* Exchange tells that the calendar has changed. */
static void changed(void)
{
	px_engine_http_data(w.e, w.stream, "E sub\n", 6, w.now);
}

static void start_engine(void)
{
	w.e = px_engine_new(&w.c, w.now);
	assert_non_null(w.e);
	for (unsigned i = 0; i < w.users; i++) {
		char key[32];

		snprintf(key, sizeof key, "u%u@example.test", i);
		px_engine_user_put(w.e, key, key, true, w.now);
	}
}

static int32_t vienna(struct px_wall at_)
{
	(void)at_;
	return 3600;
}

static int setup(void **state)
{
	static const char *const names[] = {"cas1"};
	static const unsigned eight[] = {8};

	(void)state;
	memset(&w, 0, sizeof w);
	w.users = 1;
	w.now = (struct px_now){{1000}, {WALL0}};
	w.c = (struct px_engine_config){.backend = &fake_backend,
	                                .map = px_map_default,
	                                .gateways = 1,
	                                .gateway_name = names,
	                                .gateway_concurrency = eight,
	                                .kinds = PX_KIND_BIT(PX_KIND_STREAM),
	                                .horizon_s = 172800,
	                                .resync_s = 3600,
	                                .stale_after_s = 3600,
	                                .publish_expires = 3600,
	                                .publish_window = 200,
	                                .presence_servers = 1,
	                                .users_max = 3000,
	                                .log_level = PX_LOG_DEBUG,
	                                .remind_before_s = 600,
	                                .remind_details = true,
	                                .utc_offset_s = vienna,
	                                .seed = 1};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	px_engine_free(w.e);
	return 0;
}

static void meet(int64_t start, int64_t end, enum px_status status, const char *subject,
                 const char *place)
{
	w.meeting[w.meetings++] = (struct meeting){
	    .start = start, .end = end, .status = status, .subject = subject, .place = place};
}

/* The i-th message, sent at so many seconds (give or take five) from the start. */
static void assert_message(unsigned i, int64_t seconds, const char *text)
{
	if (i >= w.messages)
		fail_msg("message %u (%s) was not sent", i, text);
	assert_string_equal(w.message[i].text, text);
	assert_in_range(w.message[i].at / 1000, seconds, seconds + 5);
}

static void says_what_when_and_where(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "Room 5");
	meet(90, 120, PX_TENTATIVE, "Lunch", ""); /* follows without a gap */
	meet(100, 110, PX_OOF, "", "Roof");       /* within another */
	start_engine();
	pass_minutes(150);
	assert_int_equal(w.messages, 3);
	assert_message(0, 20 * 60, "Meeting 17:30–18:30: Budget (Room 5)");
	assert_string_equal(w.message[0].key, alice);
	assert_in_range(w.message[0].expires, 590, 600);
	assert_message(1, 80 * 60, "Meeting 18:30–19:00: Lunch");
	assert_message(2, 90 * 60, "Meeting 18:40–18:50 (Roof)");
}

static void says_of_private_meetings_only_that_there_is_one(void **state)
{
	(void)state;
	w.c.remind_lang = px_lang_find("de-AT");
	meet(30, 90, PX_BUSY, "Doctor", "Hospital");
	w.meeting[0].hidden = true;
	start_engine();
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
	assert_message(0, 20 * 60, "Private Besprechung 17:30–18:30");
}

static void does_not_remind_of(void **state)
{
	(void)state;
	meet(30, 60, PX_FREE, "free", "");
	meet(40, 60, PX_WORKINGELSEWHERE, "at home", "");
	meet(60, 60 + 1440, PX_OOF, "all day", "");
	meet(70, 70 + 1380, PX_BUSY, "the day that the clocks go forward", "");
	start_engine();
	pass_minutes(90);
	assert_int_equal(w.messages, 0);
	assert_int_equal(w.details, 0);
}

static void one_message_for_all_that_are_due(void **state)
{
	(void)state;
	for (int i = 0; i < 6; i++)
		meet(30, 60 + i, PX_BUSY, "At once", "");
	meet(31, 60, PX_BUSY, "A minute later", "");
	start_engine();
	pass_minutes(60);
	/* the first four of six say what begins at that moment */
	assert_int_equal(w.messages, 2);
	assert_message(0, 20 * 60,
	               "Meeting 17:30–18:00: At once\nMeeting 17:30–18:01: At once\n"
	               "Meeting 17:30–18:02: At once\nMeeting 17:30–18:03: At once");
	assert_message(1, 21 * 60, "Meeting 17:31–18:00: A minute later");
}

static void a_meeting_that_is_moved(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Moved", "");
	start_engine();
	pass_minutes(15);
	w.meeting[0].start = 45; /* before anybody was reminded */
	changed();
	pass_minutes(36);
	assert_int_equal(w.messages, 1);
	assert_message(0, 35 * 60, "Meeting 17:45–18:30: Moved");
	w.meeting[0].start = 70; /* afterwards: it is another time */
	changed();
	pass_minutes(62);
	assert_int_equal(w.messages, 2);
	assert_message(1, 60 * 60, "Meeting 18:10–18:30: Moved");
	w.meeting[0].start = 65; /* nearer than ten minutes: at once */
	changed();
	pass_minutes(90);
	assert_int_equal(w.messages, 3);
	assert_message(2, 62 * 60, "Meeting 18:05–18:30: Moved");
}

/* Whatever the stream says, or doesn't: the calendar is asked once more. */
static void a_meeting_that_is_cancelled(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Told", "");
	meet(120, 130, PX_BUSY, "Not told", "");
	start_engine();
	pass_minutes(15);
	w.meeting[0].gone = true;
	changed();
	pass_minutes(60);
	w.meeting[1].status = PX_FREE; /* "Canceled: ..." */
	pass_minutes(119);
	assert_int_equal(w.messages, 0);
	assert_int_equal(w.details, 1);
}

static void only_the_time_when_exchange_is_down(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "Room 5");
	start_engine();
	pass_minutes(15);
	w.details_down = true;
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
	assert_message(0, 20 * 60 + 30, "Meeting 17:30");
	assert_in_range(w.details, 2, 20);
}

static void only_the_time_when_details_are_not_wanted(void **state)
{
	(void)state;
	w.c.remind_details = false;
	meet(30, 90, PX_BUSY, "Budget", "Room 5");
	start_engine();
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
	assert_message(0, 20 * 60, "Meeting 17:30");
	assert_int_equal(w.details, 0);
}

/* The account sees free/busy only; the mailbox itself is asked then, and at once the next time. */
static void asks_the_mailbox_itself(void **state)
{
	(void)state;
	w.blind = true;
	meet(30, 60, PX_BUSY, "Budget", "Room 5");
	meet(70, 90, PX_BUSY, "Coffee", "");
	start_engine();
	pass_minutes(40);
	assert_int_equal(w.messages, 1);
	assert_message(0, 20 * 60, "Meeting 17:30–18:00: Budget (Room 5)");
	assert_int_equal(w.details, 2);
	assert_int_equal(w.alone, 1);
	pass_minutes(80);
	assert_message(1, 60 * 60, "Meeting 18:10–18:30: Coffee");
	assert_int_equal(w.details, 3);
	assert_int_equal(w.alone, 2);
}

static void tries_again_until_the_meeting_begins(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	w.statuses = 3;
	w.status[0] = 480;
	w.status[1] = 503;
	start_engine();
	pass_minutes(60);
	assert_int_equal(w.messages, 4); /* 480, 503, silence, 200 */
	assert_true(w.message[3].at < 30 * MIN);
	assert_string_equal(w.message[3].text, "Meeting 17:30–18:30: Budget");
	assert_true(w.message[3].expires < 600);
	assert_int_equal(px_engine_counts(w.e).reminders, 1);
	assert_int_equal(px_engine_counts(w.e).reminders_failed, 0);
}

static void gives_up_when_the_meeting_begins(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	w.statuses = 20;
	for (int i = 0; i < 20; i++)
		w.status[i] = 480;
	start_engine();
	pass_minutes(60);
	assert_in_range(w.messages, 8, 18);
	assert_int_equal(px_engine_counts(w.e).reminders, 0);
	for (unsigned i = 0; i < w.messages; i++)
		assert_true(w.message[i].at < 30 * MIN);
}

static void gives_up_when_there_is_nobody(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	meet(60, 90, PX_BUSY, "Next", "");
	w.statuses = 1;
	w.status[0] = 404;
	start_engine();
	pass_minutes(90);
	assert_int_equal(w.messages, 2); /* one each */
	assert_message(1, 50 * 60, "Meeting 18:00–18:30: Next");
	assert_int_equal(px_engine_counts(w.e).reminders_failed, 1);
}

/* A process ends at that moment and another one finds what the board kept. */
static void restart(int64_t gap_ms)
{
	struct px_user_view v;
	struct px_told told;
	bool quiet;

	assert_true(px_engine_user(w.e, 0, &v));
	told = v.told;
	quiet = v.quiet;
	px_engine_free(w.e);
	w.laters = 0;
	w.stream = 0;
	w.now.mono.ms += gap_ms;
	w.now.wall.ms += gap_ms;
	start_engine();
	px_engine_user_told(w.e, alice, &told);
	px_engine_user_quiet(w.e, alice, quiet, w.now);
}

static void once_over_a_restart(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	meet(35, 90, PX_BUSY, "Second", "");
	start_engine();
	pass_minutes(22);
	assert_int_equal(w.messages, 1);
	restart(5000);
	pass_minutes(40);
	assert_int_equal(w.messages, 2);
	assert_message(1, 25 * 60, "Meeting 17:35–18:30: Second");
}

/* The message had left when the process died: it isn't sent again, though nobody knows what became of it. */
static void once_when_the_answer_is_lost_with_the_process(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	w.statuses = 1;
	start_engine();
	pass_to(20 * MIN + 2000);
	assert_int_equal(w.messages, 1);
	restart(2000);
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
}

/* What fell due meanwhile is told late; what has begun isn't. */
static void catches_up_after_a_long_restart(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Missed", "");
	meet(40, 90, PX_BUSY, "Late", "");
	start_engine();
	pass_minutes(15);
	restart(18 * MIN);
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
	assert_message(0, 33 * 60, "Meeting 17:40–18:30: Late");
}

static void waits_for_the_presence_server(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	meet(-5, 19, PX_BUSY, "Before", "");
	w.esc_down = false;
	start_engine();
	pass_minutes(18);
	w.esc_down = true;
	pass_minutes(24);
	assert_int_equal(w.messages, 0);
	w.esc_down = false;
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
	assert_string_equal(w.message[0].text, "Meeting 17:30–18:30: Budget");
	assert_in_range(w.message[0].at, 24 * MIN, 25 * MIN);
}

static void quiet_and_off(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Quiet", "");
	meet(60, 90, PX_BUSY, "Told", "");
	meet(80, 90, PX_BUSY, "Off", "");
	start_engine();
	px_engine_user_quiet(w.e, alice, true, w.now);
	pass_minutes(40);
	assert_int_equal(w.messages, 0);
	px_engine_user_quiet(w.e, alice, false, w.now);
	pass_minutes(55);
	assert_int_equal(w.messages, 1);
	px_engine_user_put(w.e, alice, alice, false, w.now);
	pass_minutes(90);
	assert_int_equal(w.messages, 1);
}

static void the_day_is_said_when_it_is_another(void **state)
{
	(void)state;
	w.c.remind_before_s = 86400;
	meet(7 * 60, 7 * 60 + 30, PX_BUSY, "Night shift", ""); /* 00:00 in Vienna */
	meet(30, 60, PX_BUSY, "Today", "");
	start_engine();
	pass_minutes(10);
	assert_int_equal(w.messages, 1);
	assert_message(0, 0,
	               "Meeting 17:30–18:00: Today\n"
	               "Meeting 2025-11-25 00:00–00:30: Night shift");
}

/* More meetings within a day than are remembered: each once all the same. */
static void a_full_day_ahead(void **state)
{
	static char subject[12][20];

	(void)state;
	w.c.remind_before_s = 86400;
	for (int i = 0; i < 12; i++) {
		snprintf(subject[i], sizeof subject[i], "no %d", i);
		meet(60 + 30 * i, 80 + 30 * i, PX_BUSY, subject[i], "");
	}
	start_engine();
	pass_minutes(30);
	assert_int_equal(w.messages, 3);
	for (int i = 0; i < 12; i++) {
		unsigned seen = 0;

		strcat(subject[i], "\n");
		for (unsigned m = 0; m < w.messages; m++) {
			char text[PX_REMINDER_TEXT_MAX + 2];

			snprintf(text, sizeof text, "%s\n", w.message[m].text);
			seen += strstr(text, subject[i]) != NULL;
		}
		assert_int_equal(seen, 1);
	}
	restart(1000);
	pass_minutes(420);
	assert_int_equal(w.messages, 3);
}

/* Everybody at the same minute: read in batches, sent at a pace, each once. */
static void many_at_once(void **state)
{
	static unsigned per_second[3000];

	(void)state;
	w.users = USERS;
	meet(30, 40, PX_BUSY, "All", "");
	start_engine();
	pass_minutes(40);
	assert_int_equal(w.messages, USERS);
	assert_int_equal(w.details, 3);
	for (unsigned i = 0; i < w.messages; i++) {
		assert_in_range(w.message[i].at, 20 * MIN, 20 * MIN + 5000);
		assert_true(++per_second[w.message[i].at / 1000] <= 201);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(w.message[i].key, w.message[k].key);
	}
}

static void a_clock_that_is_set(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	start_engine();
	pass_minutes(10);
	w.now.wall.ms += 15 * MIN; /* 25: five to */
	pass_minutes(26);
	assert_int_equal(w.messages, 1);
	w.now.wall.ms -= 15 * MIN; /* 11 */
	pass_minutes(60);
	assert_int_equal(w.messages, 1);
}

static void removed_in_the_middle(void **state)
{
	(void)state;
	meet(30, 90, PX_BUSY, "Budget", "");
	w.statuses = 1; /* silence */
	start_engine();
	pass_to(20 * MIN + 100); /* waits for details */
	px_engine_user_remove(w.e, alice, w.now);
	pass_minutes(22);
	assert_int_equal(w.messages, 0);
	px_engine_user_put(w.e, alice, alice, true, w.now);
	pass_to(22 * MIN + 3000);
	assert_int_equal(w.messages, 1); /* in flight */
	px_engine_user_remove(w.e, alice, w.now);
	pass_minutes(40);
	assert_int_equal(px_engine_counts(w.e).users, 0);
}

/* ---- notes in documents ---- */

static void assert_note(int64_t minute, const char *note)
{
	char text[300];

	pass_to(minute * MIN + 500);
	snprintf(text, sizeof text, "<dm:note xml:lang=\"en\">%s</dm:note>", note);
	if (!strstr(w.document, text))
		fail_msg("minute %lld: not %s in %s", (long long)minute, note, w.document);
}

static void notes_say_what_runs(void **state)
{
	(void)state;
	w.c.note_subject = true;
	w.c.remind_before_s = 0;
	w.c.publish_expires = 36000;
	meet(10, 20, PX_BUSY, "Budget", "Room");
	meet(20, 30, PX_BUSY, "Review", ""); /* follows without a gap */
	meet(30, 40, PX_BUSY, "Doctor", "");
	w.meeting[2].hidden = true;
	meet(50, 60, PX_TENTATIVE, "Perhaps", "");
	meet(70, 90, PX_OOF, "Trip", "");
	meet(72, 76, PX_BUSY, "Call", "");
	meet(100, 110, PX_BUSY, "", "");
	start_engine();
	assert_note(5, "Available");
	assert_note(10, "Busy: Budget");
	assert_note(20, "Busy: Review");
	assert_note(30, "Busy");
	assert_note(40, "Available");
	assert_note(55, "Available");
	assert_note(70, "Away: Trip");
	assert_note(73, "Away: Trip");
	assert_int_equal(w.documents, 6);
	w.meeting[4].subject = "Journey";
	changed();
	assert_note(75, "Away: Journey");
	assert_note(80, "Away: Journey");
	assert_note(91, "Available");
	assert_note(105, "Busy");
	assert_int_equal(w.documents, 9);
	w.meeting[6].subject = "Named now";
	w.meeting[6].hidden = true;
	changed();
	pass_minutes(106);
	assert_int_equal(w.documents, 9);
	assert_int_equal(w.details, 0);
}

static void notes_say_no_more_than_the_account_sees(void **state)
{
	(void)state;
	w.c.note_subject = true;
	w.blind = true;
	meet(10, 20, PX_BUSY, "Budget", "");
	start_engine();
	assert_note(10, "Busy");
	assert_true(w.alone > 0); /* whom it is about is told, being reminded */
	assert_string_equal(w.message[0].text, "Meeting 17:10–17:20: Budget");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(says_what_when_and_where),
	    T(says_of_private_meetings_only_that_there_is_one),
	    T(does_not_remind_of),
	    T(one_message_for_all_that_are_due),
	    T(a_meeting_that_is_moved),
	    T(a_meeting_that_is_cancelled),
	    T(only_the_time_when_exchange_is_down),
	    T(only_the_time_when_details_are_not_wanted),
	    T(asks_the_mailbox_itself),
	    T(tries_again_until_the_meeting_begins),
	    T(gives_up_when_the_meeting_begins),
	    T(gives_up_when_there_is_nobody),
	    T(once_over_a_restart),
	    T(once_when_the_answer_is_lost_with_the_process),
	    T(catches_up_after_a_long_restart),
	    T(waits_for_the_presence_server),
	    T(quiet_and_off),
	    T(the_day_is_said_when_it_is_another),
	    T(a_full_day_ahead),
	    T(many_at_once),
	    T(a_clock_that_is_set),
	    T(removed_in_the_middle),
	    T(notes_say_what_runs),
	    T(notes_say_no_more_than_the_account_sees),
	};

	return cmocka_run_group_tests_name("remind", tests, NULL, NULL);
}
