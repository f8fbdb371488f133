/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine by hand: one event at a time. Days of it are test_sim's. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <cmocka.h>

#include "core/engine.h"
#include "sim/fake.h"

#define WALL0 1764000000000LL

/* What the engine asked for and hasn't been answered. */
struct asked {
	uint64_t id;
	int gateway;
	enum px_ask ask;
	char body[8192], anchor[256], cookie[128];
};
struct sent {
	uint64_t id;
	enum px_pub_op op;
	char key[256], etag[128], body[4096];
	uint32_t expires;
};

struct rig {
	struct px_engine *e;
	struct px_now now;
	struct asked http[64];
	struct sent sip[64];
	unsigned https, sips, dropped;
	bool refused; /* the account; else its first probe is answered at once */
	uint32_t board_drops[16];
};

static struct px_engine_config config(void)
{
	static const char *const names[] = {"cas1", "cas2"};
	static const unsigned eight[] = {8, 8};

	return (struct px_engine_config){.backend = &fake_backend,
	                                 .map = px_map_default,
	                                 .gateways = 2,
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
	                                 .seed = 1};
}

static void begin(struct rig *r, struct px_engine_config c)
{
	memset(r, 0, sizeof *r);
	r->now = (struct px_now){{1000}, {WALL0}};
	r->e = px_engine_new(&c, r->now);
	assert_non_null(r->e);
}

static struct asked *find(struct rig *r, enum px_ask ask)
{
	for (unsigned i = 0; i < r->https; i++)
		if (r->http[i].ask == ask)
			return &r->http[i];
	return NULL;
}

static void done(struct rig *r, struct asked *h, enum px_http_fail fail, int status)
{
	const struct px_http_answer a = {.fail = fail, .status = status, .retry_after_ms = -1};
	uint64_t id = h->id;

	*h = r->http[--r->https];
	px_engine_http_done(r->e, id, &a, r->now);
}

static void answer(struct rig *r, enum px_ask ask, const char *text)
{
	struct asked *h = find(r, ask);

	assert_non_null(h);
	px_engine_http_data(r->e, h->id, text, strlen(text), r->now);
	done(r, h, PX_HTTP_ANSWERED, 200);
}

static int restore(struct rig *r, const char *key, int gateway, const char *subscription,
                   const char *etag, struct px_wall lapses)
{
	return px_engine_user_restore(
	    r->e, key,
	    &(struct px_known){
	        .gateway = gateway, .subscription = subscription, .etag = etag, .lapses = lapses},
	    r->now);
}

static void turn(struct rig *r)
{
	size_t n;

	px_engine_tick(r->e, r->now);
	px_engine_pump(r->e, r->now);
	struct px_action *a = px_engine_actions(r->e, &n);
	for (size_t i = 0; i < n; i++) {
		if (a[i].kind == PX_DO_HTTP_START) {
			assert_in_range(r->https, 0, 63);
			struct asked *h = &r->http[r->https++];
			h->id = a[i].http.id;
			h->gateway = a[i].http.gateway;
			h->ask = a[i].http.ask;
			snprintf(h->body, sizeof h->body, "%s", a[i].http.wire.body.data);
			h->anchor[0] = '\0';
			sscanf(a[i].http.wire.head.data, "Anchor: %255s", h->anchor);
			snprintf(h->cookie, sizeof h->cookie, "%s",
			         a[i].http.cookie ? a[i].http.cookie : "");
		} else if (a[i].kind == PX_DO_SIP_START) {
			assert_in_range(r->sips, 0, 63);
			struct sent *s = &r->sip[r->sips++];
			s->id = a[i].sip.id;
			s->op = a[i].sip.op;
			s->expires = a[i].sip.expires;
			snprintf(s->key, sizeof s->key, "%s", a[i].sip.key);
			snprintf(s->etag, sizeof s->etag, "%s", a[i].sip.etag);
			snprintf(s->body, sizeof s->body, "%s",
			         a[i].sip.body.data ? a[i].sip.body.data : "");
		} else if (a[i].kind == PX_DO_LOG && getenv("TRACE")) {
			print_message("%lld %s\n", (long long)r->now.mono.ms, a[i].log.text);
		} else if (a[i].kind == PX_DO_BOARD_DROP) {
			r->dropped++;
		}
	}
	px_engine_actions_clear(r->e);
	if (!r->refused && px_engine_pool(r->e)->login != PX_LOGIN_OPEN && find(r, PX_ASK_PROBE)) {
		answer(r, PX_ASK_PROBE, "C\n");
		turn(r);
		return;
	}
	/* not idle means: has a deadline, and not one that has passed */
	assert_true(px_engine_due(r->e, r->now).ms >= r->now.mono.ms);
	assert_true(px_engine_due(r->e, r->now).ms <= r->now.mono.ms + 60000);
}

static void pass(struct rig *r, int64_t ms)
{
	int64_t until = r->now.mono.ms + ms;

	turn(r);
	while (r->now.mono.ms < until) {
		int64_t due = px_engine_due(r->e, r->now).ms;
		if (due <= r->now.mono.ms)
			due = r->now.mono.ms + 1;
		int64_t by = (due < until ? due : until) - r->now.mono.ms;
		r->now.mono.ms += by;
		r->now.wall.ms += by;
		turn(r);
	}
}

static struct sent published(struct rig *r, int status, const char *etag)
{
	assert_true(r->sips > 0);
	struct sent s = r->sip[0];
	const struct px_sip_answer a = {.status = status,
	                                .etag = etag,
	                                .expires = s.expires,
	                                .min_expires = -1,
	                                .retry_after = -1};

	memmove(r->sip, r->sip + 1, --r->sips * sizeof *r->sip);
	px_engine_sip_done(r->e, s.id, &a, r->now);
	return s;
}

/* Both parts of a withdrawal of the publication with this ETag; returns the removal. */
static struct sent withdrawn(struct rig *r, const char *etag)
{
	struct sent s = published(r, 200, "clear");

	assert_int_equal(s.op, PX_OP_CLEAR);
	assert_string_equal(s.etag, etag);
	assert_null(strstr(s.body, "<tuple"));
	assert_true(s.expires > 0);
	turn(r);
	s = published(r, 200, NULL);
	assert_int_equal(s.op, PX_OP_REMOVE);
	assert_string_equal(s.etag, "clear");
	assert_int_equal(s.expires, 0);
	assert_string_equal(s.body, "");
	return s;
}

static void end(struct rig *r)
{
	px_engine_free(r->e);
}

/* A user from nothing to followed, with one busy meeting that began a minute ago and ends in ten.
 */
static void follow_one(struct rig *r, const char *key)
{
	char meeting[100];

	px_engine_user_put(r->e, key, key, true, r->now);
	pass(r, 400);
	snprintf(meeting, sizeof meeting, "M %lld %lld 2\nC\n", WALL0 - 60000, WALL0 + 600000);
	answer(r, PX_ASK_READ, meeting);
	turn(r);
	answer(r, PX_ASK_SUBSCRIBE, "I sub1\n");
	pass(r, 2100);
	struct asked *s = find(r, PX_ASK_STREAM);
	assert_non_null(s);
	px_engine_http_data(r->e, s->id, "A\n", 2, r->now);
	pass(r, 400);
	answer(r, PX_ASK_READ, meeting);
	turn(r);
}

/* A wrong password costs two failed logins, and then one per five minutes, however many users there are. */
static void test_a_wrong_password_does_not_lock_the_account(void **state)
{
	struct rig r;
	unsigned refused = 0;

	(void)state;
	begin(&r, config());
	r.refused = true;
	for (int i = 0; i < 300; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
	}
	for (int64_t t = 0; t < 1200; t++) {
		while (r.https) {
			refused++;
			done(&r, &r.http[0], PX_HTTP_ANSWERED, 401);
			turn(&r);
		}
		pass(&r, 1000);
	}
	assert_in_range(refused, 2 + 3, 2 + 4);
	end(&r);
}

static void test_state_first_then_the_subscription(void **state)
{
	struct rig r;
	struct px_user_view v;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	turn(&r);
	pass(&r, 400);
	assert_non_null(find(&r, PX_ASK_READ));
	char text[100];
	snprintf(text, sizeof text, "M %lld %lld 2\nC\n", WALL0 - 60000, WALL0 + 600000);
	answer(&r, PX_ASK_READ, text);
	turn(&r);
	struct sent s = published(&r, 200, "e1");
	assert_int_equal(s.op, PX_OP_INITIAL);
	assert_string_equal(s.key, "alice@example.test");
	assert_non_null(strstr(s.body, "<rpid:busy/>"));
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.presence, PX_PRESENCE_BUSY);
	assert_int_equal(v.until.ms, WALL0 + 600000);
	end(&r);
}

static void test_a_meeting_ends_without_any_request(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	while (r.now.wall.ms < WALL0 + 600000) {
		px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
		int64_t left = WALL0 + 600000 - r.now.wall.ms;
		pass(&r, left < 45000 ? left : 45000);
	}
	assert_int_equal(r.https, 1); /* the stream */
	struct sent s = published(&r, 200, "e2");
	assert_int_equal(s.op, PX_OP_MODIFY);
	assert_string_equal(s.etag, "e1");
	assert_null(strstr(s.body, "rpid:busy/"));
	end(&r);
}

/* A user of the fake calendar, read for the first time, with "M from until status" in minutes from now. */
static void read_one(struct rig *r, const int64_t (*meeting)[3], unsigned n)
{
	char text[300] = "";
	size_t at = 0;

	px_engine_user_put(r->e, "alice@example.test", "alice@example.test", true, r->now);
	pass(r, 400);
	for (unsigned i = 0; i < n; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "M %lld %lld %lld\n",
		                       (long long)(WALL0 + 60000 * meeting[i][0]),
		                       (long long)(WALL0 + 60000 * meeting[i][1]),
		                       (long long)meeting[i][2]);
	snprintf(text + at, sizeof text - at, "C\n");
	answer(r, PX_ASK_READ, text);
	turn(r);
}

static void test_only_what_is_unavailable_is_published(void **state)
{
	static const int64_t day[][3] = {{10, 20, PX_BUSY}, {30, 40, PX_OOF}};
	struct px_engine_config c = config();
	struct px_user_view v;
	struct rig r;

	(void)state;
	c.publish_unavailable = true;
	begin(&r, c);
	read_one(&r, day, 2);
	pass(&r, 60000);
	assert_int_equal(r.sips, 0);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.presence, PX_AVAILABLE);
	pass(&r, 9 * 60000);
	struct sent s = published(&r, 200, "e1");
	assert_int_equal(s.op, PX_OP_INITIAL);
	assert_non_null(strstr(s.body, "<rpid:busy/>"));
	pass(&r, 10 * 60000);
	withdrawn(&r, "e1");
	pass(&r, 10 * 60000);
	s = published(&r, 200, "e2");
	assert_int_equal(s.op, PX_OP_INITIAL);
	assert_non_null(strstr(s.body, "<rpid:away/>"));
	end(&r);
}

/* What a former process left standing goes, too, when the calendar is free. */
static void test_what_was_taken_over_is_taken_off_when_it_is_free(void **state)
{
	struct px_engine_config c = config();
	struct rig r;

	(void)state;
	c.publish_unavailable = true;
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	restore(&r, "alice@example.test", PX_NO_GATEWAY, NULL, "old",
	        (struct px_wall){WALL0 + 3600000});
	read_one(&r, NULL, 0);
	withdrawn(&r, "old");
	end(&r);
}

static void test_the_next_meeting_is_told_when_that_is_wanted(void **state)
{
	/* tentative is available; the last one begins where the one before it ends */
	static const int64_t day[][3] = {
	    {-10, 10, PX_BUSY}, {20, 30, PX_TENTATIVE}, {40, 60, PX_OOF}, {60, 70, PX_BUSY}};
	struct px_engine_config c = config();
	struct rig r;

	(void)state;
	c.document.timed_status = true;
	begin(&r, c);
	read_one(&r, day, 4);
	struct sent s = published(&r, 200, "e1");
	assert_non_null(strstr(s.body, "<ts:timed-status from=\"2025-11-24T16:40:00Z\""
	                               " until=\"2025-11-24T17:00:00Z\">"));
	assert_non_null(strstr(s.body, "<ts:note xml:lang=\"en\">Away</ts:note>"));
	pass(&r, 10 * 60000);
	s = published(&r, 200, "e2"); /* free: the next is the same */
	assert_null(strstr(s.body, "<rpid:busy/>"));
	assert_non_null(strstr(s.body, "from=\"2025-11-24T16:40:00Z\""));
	pass(&r, 30 * 60000);
	s = published(&r, 200, "e3"); /* away, and busy at once behind it */
	assert_non_null(strstr(s.body, "<ts:timed-status from=\"2025-11-24T17:00:00Z\""
	                               " until=\"2025-11-24T17:10:00Z\">"));
	pass(&r, 20 * 60000);
	s = published(&r, 200, "e4");
	assert_null(strstr(s.body, "<ts:timed-status"));
	end(&r);
}

static void test_a_change_is_read_and_published_within_two_seconds(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	struct asked *s = find(&r, PX_ASK_STREAM);
	px_engine_http_data(r.e, s->id, "E sub1\n", 7, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	turn(&r);
	assert_int_equal(published(&r, 200, "e2").op, PX_OP_MODIFY);
	end(&r);
}

/* A mailbox whose free/busy the account may not see is read as its owner sees it, also by P2; a day later once more in company; and parked only
 * when that fails, too. */
static void test_who_shows_nothing_is_read_alone(void **state)
{
	struct rig r;
	struct px_user_view v;
	char text[64];

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 500);
	snprintf(text, sizeof text, "R %d\n", PX_V_UNREADABLE);
	answer(&r, PX_ASK_READ, text);
	pass(&r, 500);
	assert_non_null(strstr(find(&r, PX_ASK_READ_ONE)->body, "alice@example.test"));
	snprintf(text, sizeof text, "M %lld %lld %d\nC\n", (long long)r.now.wall.ms - 1000,
	         (long long)r.now.wall.ms + 3600000, PX_BUSY);
	answer(&r, PX_ASK_READ_ONE, text);
	turn(&r);
	assert_non_null(strstr(published(&r, 200, "e1").body, "busy"));
	assert_true(px_engine_user(r.e, 0, &v) && v.watch != PX_WATCH_PARKED && !v.dirty);
	pass(&r, 500);
	answer(&r, PX_ASK_SUBSCRIBE, "I sub1\n");
	pass(&r, 3000);
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ_ONE, "C\n"); /* when its stream began */
	turn(&r);
	published(&r, 200, "e2");
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "E sub1\n", 7, r.now);
	pass(&r, 500);
	assert_null(find(&r, PX_ASK_READ));
	snprintf(text, sizeof text, "M %lld %lld %d\nC\n", (long long)r.now.wall.ms - 1000,
	         (long long)r.now.wall.ms + 3600000, PX_OOF);
	answer(&r, PX_ASK_READ_ONE, text);
	turn(&r);
	assert_non_null(strstr(published(&r, 200, "e3").body, "away"));

	r.now.wall.ms += INT64_C(90000000); /* the account may have got the right: a day is over */
	px_engine_user_refresh(r.e, "alice@example.test", r.now);
	pass(&r, 500);
	assert_null(find(&r, PX_ASK_READ_ONE));
	snprintf(text, sizeof text, "R %d\n", PX_V_UNREADABLE);
	answer(&r, PX_ASK_READ, text);
	pass(&r, 500);
	snprintf(text, sizeof text, "V %d\n", PX_V_USER);
	answer(&r, PX_ASK_READ_ONE, text);
	turn(&r);
	assert_true(px_engine_user(r.e, 0, &v) && v.watch == PX_WATCH_PARKED);
	end(&r);
}

/* Too much for one answer: half of the window, again and again, and the rest when that is over. */
static void test_a_full_calendar_is_read_in_a_smaller_window(void **state)
{
	struct rig r;
	struct px_user_view v;
	char text[64];
	int64_t from, until, ahead = 0;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 500);
	snprintf(text, sizeof text, "R %d\n", PX_V_UNREADABLE);
	answer(&r, PX_ASK_READ, text);
	for (int i = 0; i < 4; i++) {
		pass(&r, 500);
		struct asked *h = find(&r, PX_ASK_READ_ONE);
		assert_non_null(h);
		assert_int_equal(sscanf(h->body, "%*d %*s %*u %" SCNd64 " %" SCNd64, &from, &until),
		                 2);
		assert_true(from < r.now.wall.ms && until > r.now.wall.ms);
		if (i > 0)
			assert_in_range(until - r.now.wall.ms, ahead / 2 - 60000,
			                ahead / 2 + 60000);
		ahead = until - r.now.wall.ms;
		snprintf(text, sizeof text, i < 3 ? "V %d\n" : "C\n", PX_V_WIDE);
		answer(&r, PX_ASK_READ_ONE, text);
	}
	turn(&r);
	published(&r, 200, "e1");
	assert_true(px_engine_user(r.e, 0, &v) && v.calendar->until == until / 1000);
	end(&r);
}

/* ---- automatic replies ---- */

static void oof_begin(struct rig *r)
{
	struct px_engine_config c = config();

	c.oof_replies = true;
	begin(r, c);
}

/* On: away, whatever the calendar says, from the first document on. Off: the calendar counts again. A change in the calendar asks soon. */
static void test_automatic_replies_make_away(void **state)
{
	struct rig r;

	(void)state;
	oof_begin(&r);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	turn(&r);
	assert_int_equal(r.sips, 0); /* not available first, and away a moment later */
	assert_non_null(strstr(find(&r, PX_ASK_OOF)->body, "alice@example.test"));
	answer(&r, PX_ASK_OOF, "O 1 0 0\n");
	turn(&r);
	assert_non_null(strstr(published(&r, 200, "e1").body, "away"));
	answer(&r, PX_ASK_SUBSCRIBE, "I sub1\n");
	pass(&r, 2100);
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	turn(&r);
	assert_int_equal(r.sips, 0);
	assert_null(find(&r, PX_ASK_OOF));

	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "E sub1\n", 7, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	pass(&r, 10500);
	answer(&r, PX_ASK_OOF, "O 0 0 0\n");
	turn(&r);
	struct sent s = published(&r, 200, "e2");
	assert_null(strstr(s.body, "away"));
	end(&r);
}

/* Scheduled: from then until then, without any request. And everybody is asked about again in turn. */
static void test_scheduled_replies_begin_and_end_by_themselves(void **state)
{
	struct rig r;
	char text[100];
	int64_t began;

	(void)state;
	oof_begin(&r);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	began = r.now.wall.ms / 1000 * 1000;
	snprintf(text, sizeof text, "O 1 %lld %lld\n", (long long)began + 60000,
	         (long long)began + 120000);
	answer(&r, PX_ASK_OOF, text);
	turn(&r);
	assert_null(strstr(published(&r, 200, "e1").body, "away"));
	answer(&r, PX_ASK_SUBSCRIBE, "I sub1\n");
	pass(&r, 2100);
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	while (r.sips == 0 && r.now.wall.ms < began + 70000)
		pass(&r, 500);
	assert_in_range(r.now.wall.ms, began + 60000, began + 61000);
	assert_non_null(strstr(published(&r, 200, "e2").body, "away"));
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
	while (r.sips == 0 && r.now.wall.ms < began + 130000)
		pass(&r, 500);
	assert_in_range(r.now.wall.ms, began + 120000, began + 121000);
	assert_null(strstr(published(&r, 200, "e3").body, "away"));
	while (!find(&r, PX_ASK_OOF) && r.now.wall.ms < began + 400000) {
		px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
		pass(&r, 5000);
	}
	assert_non_null(find(&r, PX_ASK_OOF));
	end(&r);
}

/* Where they can't be asked for in batches it is said once, and they are asked for one by one; one that is refused harms nobody else;
 * and who can't be told in time is shown by the calendar. */
static void test_automatic_replies_one_by_one(void **state)
{
	struct rig r;
	char text[100];

	(void)state;
	oof_begin(&r);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", true, r.now);
	px_engine_user_put(r.e, "carol@example.test", "carol@example.test", true, r.now);
	pass(&r, 500);
	while (find(&r, PX_ASK_READ)) {
		unsigned n = strstr(find(&r, PX_ASK_READ)->body, "bob") ? 1 : 2;
		answer(&r, PX_ASK_READ, n == 1 ? "C\n" : "C\nC\n");
	}
	turn(&r);
	assert_int_equal(r.sips, 0);
	snprintf(text, sizeof text, "V %d\n", PX_V_KIND);
	for (int i = 0; i < 40; i++) {
		struct asked *h = find(&r, PX_ASK_OOF);
		if (!h) {
			pass(&r, 500);
			continue;
		}
		const bool alice = strstr(h->body, "alice"), carol = strstr(h->body, "carol");
		if (alice && carol)
			answer(&r, PX_ASK_OOF, text);
		else if (carol) /* nothing can be learnt */
			done(&r, h, PX_HTTP_TIMEOUT, 0);
		else
			answer(&r, PX_ASK_OOF, alice ? "O 1 0 0\n" : "O 0 0 0\n");
		while (find(&r, PX_ASK_PROBE))
			answer(&r, PX_ASK_PROBE, "C\n");
		turn(&r);
	}
	assert_int_equal(r.sips, 3);
	end(&r);
}

/* What changes while the answer is under way isn't surely in it: the user is read once more. */
static void test_an_event_during_a_reading_is_not_lost(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	struct asked *s = find(&r, PX_ASK_STREAM);
	uint64_t stream = s->id;
	px_engine_http_data(r.e, stream, "E sub1\n", 7, r.now);
	pass(&r, 500);
	assert_non_null(find(&r, PX_ASK_READ));
	px_engine_http_data(r.e, stream, "E sub1\n", 7, r.now);
	answer(&r, PX_ASK_READ, "C\n");
	pass(&r, 500);
	assert_non_null(find(&r, PX_ASK_READ));
	end(&r);
}

static void test_a_broken_answer_changes_nothing(void **state)
{
	struct rig r;
	struct px_user_view v;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "E sub1\n", 7, r.now);
	pass(&r, 500);
	struct asked *h = find(&r, PX_ASK_READ);
	/* its calendar came, but the answer was cut */
	px_engine_http_data(r.e, h->id, "C\n", 2, r.now);
	done(&r, h, PX_HTTP_CUT, 200);
	turn(&r);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.presence, PX_PRESENCE_BUSY);
	assert_true(v.dirty);
	assert_int_equal(r.sips, 0);
	/* and it is asked again */
	pass(&r, 10000);
	assert_non_null(find(&r, PX_ASK_READ));
	end(&r);
}

static void test_late_and_foreign_answers_fall_to_the_floor(void **state)
{
	struct rig r;
	const struct px_http_answer a = {.status = 200, .retry_after_ms = -1};
	const struct px_sip_answer s = {
	    .status = 200, .etag = "x", .expires = -1, .min_expires = -1, .retry_after = -1};

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	for (uint64_t id = 0; id < 2000; id++) {
		px_engine_http_data(r.e, id << 31, "E sub1\n", 7, r.now);
		px_engine_http_done(r.e, id << 31, &a, r.now);
		px_engine_sip_done(r.e, id << 29, &s, r.now);
	}
	struct sent first = r.sip[0];
	published(&r, 200, "e1");
	px_engine_sip_done(r.e, first.id, &s, r.now); /* twice */
	struct px_user_view v;
	assert_true(px_engine_user(r.e, 0, &v));
	assert_string_equal(v.publication->etag, "e1");
	end(&r);
}

/* Whoever subscribes first at a gateway goes alone; all others follow to the same server behind it. */
static void test_the_first_subscribe_leads_the_others(void **state)
{
	struct rig r;
	struct px_engine_config c = config();

	(void)state;
	c.gateways = 1;
	begin(&r, c);
	for (int i = 0; i < 5; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
	}
	pass(&r, 400);
	answer(&r, PX_ASK_READ, "C\nC\nC\nC\nC\n");
	pass(&r, 400);
	assert_int_equal(r.https, 1);
	assert_string_equal(r.http[0].anchor, "u0@example.test");
	assert_string_equal(r.http[0].cookie, "");

	struct asked first = r.http[0];
	const struct px_http_answer a = {
	    .status = 200, .retry_after_ms = -1, .cookie = "backend=7"};
	r.https = 0;
	px_engine_http_data(r.e, first.id, "I s0\n", 5, r.now);
	px_engine_http_done(r.e, first.id, &a, r.now);
	pass(&r, 400);
	assert_int_equal(r.https, 4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(r.http[i].ask, PX_ASK_SUBSCRIBE);
		assert_string_equal(r.http[i].anchor, "u0@example.test");
		assert_string_equal(r.http[i].cookie, "backend=7");
		assert_null(strstr(r.http[i].body, "u0@"));
	}
	for (unsigned i = 1; i < 5; i++) {
		char text[32];
		snprintf(text, sizeof text, "I s%u\n", i);
		answer(&r, PX_ASK_SUBSCRIBE, text);
	}
	pass(&r, 2500);
	assert_string_equal(find(&r, PX_ASK_STREAM)->cookie, "backend=7");
	assert_string_equal(find(&r, PX_ASK_STREAM)->anchor, "u0@example.test");
	end(&r);
}

/* A server behind the gateway goes while Subscribes are under way to it. Each is led to another server; all follow the first. */
static void test_subscribes_that_are_led_apart_come_together(void **state)
{
	struct rig r;
	struct px_engine_config c = config();
	struct px_http_answer a = {.status = 200, .retry_after_ms = -1, .cookie = "backend=7"};
	struct asked others[2];

	(void)state;
	c.gateways = 1;
	begin(&r, c);
	for (int i = 0; i < 3; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
	}
	pass(&r, 400);
	answer(&r, PX_ASK_READ, "C\nC\nC\n");
	pass(&r, 400);
	const uint64_t first = r.http[0].id;
	r.https = 0;
	px_engine_http_data(r.e, first, "I s0\n", 5, r.now);
	px_engine_http_done(r.e, first, &a, r.now);
	pass(&r, 400);
	assert_int_equal(r.https, 2);
	memcpy(others, r.http, sizeof others);
	r.https = 0;
	a.cookie = "backend=8";
	px_engine_http_data(r.e, others[0].id, "I s1\n", 5, r.now);
	px_engine_http_done(r.e, others[0].id, &a, r.now);
	a.cookie = "backend=9";
	px_engine_http_data(r.e, others[1].id, "I s2\n", 5, r.now);
	px_engine_http_done(r.e, others[1].id, &a, r.now);
	pass(&r, 0);
	assert_string_equal(find(&r, PX_ASK_UNSUBSCRIBE)->cookie, "backend=9");
	assert_non_null(strstr(find(&r, PX_ASK_UNSUBSCRIBE)->body, "s2"));
	assert_string_equal(find(&r, PX_ASK_SUBSCRIBE)->cookie, "backend=8");
	answer(&r, PX_ASK_SUBSCRIBE, "I s3\n");
	pass(&r, 2500);
	assert_string_equal(find(&r, PX_ASK_STREAM)->cookie, "backend=8");
	assert_non_null(strstr(find(&r, PX_ASK_STREAM)->body, "s3"));
	assert_null(strstr(find(&r, PX_ASK_STREAM)->body, "s2"));
	end(&r);
}

/* A first one that is refused doesn't hold the others. */
static void test_a_refused_first_subscribe_lets_the_next_begin(void **state)
{
	struct rig r;
	struct px_engine_config c = config();

	(void)state;
	c.gateways = 1;
	begin(&r, c);
	px_engine_user_put(r.e, "u0@example.test", "u0@example.test", true, r.now);
	px_engine_user_put(r.e, "u1@example.test", "u1@example.test", true, r.now);
	pass(&r, 400);
	answer(&r, PX_ASK_READ, "C\nC\n");
	pass(&r, 400);
	answer(&r, PX_ASK_SUBSCRIBE, "V 5\n"); /* user */
	pass(&r, 400);
	assert_string_equal(find(&r, PX_ASK_SUBSCRIBE)->anchor, "u1@example.test");
	px_engine_user_remove(r.e, "u1@example.test", r.now); /* gone while it begins */
	px_engine_user_put(r.e, "u2@example.test", "u2@example.test", true, r.now);
	answer(&r, PX_ASK_SUBSCRIBE, "I s1\n");
	pass(&r, 1000);
	assert_non_null(strstr(find(&r, PX_ASK_SUBSCRIBE)->body, "u2@"));
	assert_string_equal(find(&r, PX_ASK_SUBSCRIBE)->anchor, "u1@example.test");
	end(&r);
}

static void test_a_removed_user_is_withdrawn_then_forgotten(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	assert_int_equal(px_engine_user_remove(r.e, "alice@example.test", r.now), 0);
	assert_int_equal(px_engine_user_remove(r.e, "bob@example.test", r.now), -ENOENT);
	turn(&r);
	assert_non_null(find(&r, PX_ASK_UNSUBSCRIBE));
	assert_int_equal(r.dropped, 0);
	withdrawn(&r, "e1");
	turn(&r);
	assert_int_equal(r.dropped, 1);
	assert_int_equal(px_engine_user_find(r.e, "alice@example.test"), -ENOENT);
	assert_int_equal(px_engine_counts(r.e).users, 0);
	end(&r);
}

static void test_removed_and_added_again_in_between(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	px_engine_user_remove(r.e, "alice@example.test", r.now);
	turn(&r);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	published(&r, 200, NULL);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "C\n");
	turn(&r);
	assert_int_equal(published(&r, 200, "e2").op, PX_OP_INITIAL);
	assert_int_equal(px_engine_counts(r.e).users, 1);
	end(&r);
}

static void test_off_withdraws_and_lasts(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", false, r.now);
	turn(&r);
	withdrawn(&r, "e1");
	pass(&r, 7200000);
	assert_int_equal(r.sips, 0);
	assert_int_equal(px_engine_counts(r.e).watch[PX_WATCH_OFF], 1);
	assert_int_equal(
	    px_engine_pool(r.e)->gateway[0].users + px_engine_pool(r.e)->gateway[1].users, 0);
	end(&r);
}

static void test_another_mailbox_is_another_calendar(void **state)
{
	struct rig r;
	struct px_user_view v;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "E sub1\n", 7, r.now);
	pass(&r, 500);
	struct asked old = *find(&r, PX_ASK_READ);
	px_engine_user_put(r.e, "alice@example.test", "alice2@example.test", true, r.now);
	/* the answer about the old one isn't taken */
	answer(&r, PX_ASK_READ, "C\n");
	pass(&r, 500);
	assert_int_equal(r.sips, 0);
	assert_non_null(strstr(old.body, "alice@"));
	assert_non_null(strstr(find(&r, PX_ASK_READ)->body, "alice2@"));
	answer(&r, PX_ASK_READ, "C\n");
	turn(&r);
	assert_int_equal(published(&r, 200, "e2").op, PX_OP_MODIFY);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_string_equal(v.mailbox, "alice2@example.test");
	end(&r);
}

static void test_stale_is_withdrawn_and_comes_back(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	/* both gateways refuse for longer than stale_after; the meeting's end is known and
	 * published meanwhile */
	int ends = 0, removed = 0;
	for (int64_t t = 0; t < 3700; t++) {
		while (r.https)
			done(&r, &r.http[0], PX_HTTP_CONNECT, 0);
		while (r.sips) {
			struct sent s = published(&r, 200, "e");
			ends += s.op == PX_OP_MODIFY;
			removed += s.op == PX_OP_REMOVE;
		}
		pass(&r, 1000);
	}
	assert_int_equal(ends, 1);
	assert_int_equal(removed, 1);
	/* a probe is answered, the user is assigned, read and published */
	for (int i = 0; i < 60 && r.sips == 0; i++) {
		while (r.https)
			if (r.http[0].ask == PX_ASK_READ || r.http[0].ask == PX_ASK_PROBE)
				answer(&r, r.http[0].ask, "C\n");
			else
				done(&r, &r.http[0], PX_HTTP_CUT, 0);
		pass(&r, 1000);
	}
	assert_int_equal(published(&r, 200, "e9").op, PX_OP_INITIAL);
	end(&r);
}

static void test_one_probe_per_gateway_while_all_are_down(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	follow_one(&r, "alice@example.test");
	unsigned requests = 0;
	for (int64_t t = 0; t < 1200; t++) {
		while (r.https) {
			requests += t >= 300;
			done(&r, &r.http[0], PX_HTTP_CONNECT, 0);
		}
		pass(&r, 1000);
	}
	/* 900 s, two gateways, one probe each per 30 s */
	assert_in_range(requests, 40, 62);
	end(&r);
}

static void test_a_full_house_is_said(void **state)
{
	struct rig r;
	struct px_engine_config c = config();

	(void)state;
	c.users_max = 3;
	begin(&r, c);
	for (int i = 0; i < 3; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@x", i);
		assert_int_equal(px_engine_user_put(r.e, key, key, false, r.now), i);
	}
	assert_int_equal(px_engine_user_put(r.e, "u3@x", "u3@x", true, r.now), -ENOSPC);
	assert_int_equal(px_engine_user_remove(r.e, "u1@x", r.now), 0);
	assert_int_equal(px_engine_user_put(r.e, "u3@x", "u3@x", true, r.now), 1);
	end(&r);
}

/* The table of keys against a plain list. */
static void test_users_come_and_go(void **state)
{
	enum { N = 2000 };
	static bool there[N];
	struct rig r;

	(void)state;
	begin(&r, config());
	srand(3);
	memset(there, 0, sizeof there);
	for (int i = 0; i < 60000; i++) {
		int u = rand() % N;
		char key[32];
		snprintf(key, sizeof key, "user%d@example.test", u);
		assert_int_equal(px_engine_user_find(r.e, key) >= 0, there[u]);
		if (rand() % 2) {
			assert_true(px_engine_user_put(r.e, key, key, false, r.now) >= 0);
			there[u] = true;
		} else {
			assert_int_equal(px_engine_user_remove(r.e, key, r.now),
			                 there[u] ? 0 : -ENOENT);
			there[u] = false;
		}
		if (i % 100 == 0)
			turn(&r);
	}
	end(&r);
}

static void test_what_an_earlier_process_knew_is_taken_over(void **state)
{
	struct rig r;
	struct px_user_view v;
	const struct px_wall later = {WALL0 + 1800000};

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", false, r.now);
	assert_int_equal(restore(&r, "alice@example.test", 1, "old-sub", "old-etag", later), 0);
	assert_int_equal(restore(&r, "bob@example.test", 0, NULL, "bobs", later), 0);
	assert_int_equal(restore(&r, "eve@example.test", 0, NULL, "x", later), -ENOENT);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.gateway, 1);
	turn(&r);
	/* bob is off: what stands of him is withdrawn */
	assert_string_equal(withdrawn(&r, "bobs").key, "bob@example.test");
	pass(&r, 2500);
	assert_null(find(&r, PX_ASK_SUBSCRIBE));
	assert_non_null(strstr(find(&r, PX_ASK_STREAM)->body, "old-sub"));
	answer(&r, PX_ASK_READ, "C\n");
	turn(&r);
	struct sent s = published(&r, 200, "new");
	assert_int_equal(s.op, PX_OP_MODIFY);
	assert_string_equal(s.etag, "old-etag");
	end(&r);
}

static void test_a_lost_memory_is_checked_for_everybody(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	for (int i = 0; i < 20; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
	}
	pass(&r, 400);
	while (find(&r, PX_ASK_READ))
		answer(&r, PX_ASK_READ, "C\nC\nC\nC\nC\nC\nC\nC\nC\nC\n");
	for (int i = 0; i < 20; i++) {
		turn(&r);
		assert_int_equal(published(&r, 200, "e").op, PX_OP_INITIAL);
	}
	turn(&r);
	assert_int_equal(r.sips, 0);
	px_engine_user_refresh(r.e, "u7@example.test", r.now);
	turn(&r);
	assert_int_equal(published(&r, 412, NULL).op, PX_OP_REFRESH);
	/* all others are looked at, and whoever is unknown is published anew; no third round */
	int initial = 0, refresh = 0;
	for (int i = 0; i < 200; i++) {
		turn(&r);
		while (r.sips) {
			bool first = r.sip[0].op == PX_OP_INITIAL;
			initial += first;
			refresh += !first;
			published(&r, first ? 200 : 412, first ? "n" : NULL);
			turn(&r);
		}
	}
	assert_int_equal(initial, 20);
	assert_int_equal(refresh, 19);
	end(&r);
}

/* Its answer may never come; whoever is in it is read elsewhere at once (P4). */
static void test_a_reading_at_a_dead_gateway_is_given_up(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", true, r.now);
	pass(&r, 400);
	struct asked old = *find(&r, PX_ASK_READ);
	const char *whose = strstr(old.body, "alice@") ? "alice@" : "bob@";
	px_engine_http_data(r.e, old.id, "C\n", 2, r.now);
	for (unsigned i = 0; i < r.https; i++)
		if (r.http[i].ask == PX_ASK_SUBSCRIBE && r.http[i].gateway == old.gateway) {
			done(&r, &r.http[i], PX_HTTP_CONNECT, 0);
			break;
		}
	assert_int_equal(px_engine_pool(r.e)->gateway[old.gateway].health, PX_GW_DOWN);
	assert_int_equal(px_engine_pool(r.e)->gateway[old.gateway].in_flight, 0);
	pass(&r, 400);
	bool elsewhere = false;
	for (unsigned i = 0; i < r.https; i++)
		elsewhere = elsewhere ||
		            (r.http[i].ask == PX_ASK_READ && r.http[i].gateway != old.gateway &&
		             strstr(r.http[i].body, whose));
	assert_true(elsewhere);
	/* and what comes late falls to the floor */
	px_engine_http_data(r.e, old.id, "C\n", 2, r.now);
	end(&r);
}

/* A reading that left before the stream ran doesn't know what changed until then. */
static void test_a_reading_under_way_does_not_count_for_the_stream(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 400);
	assert_non_null(find(&r, PX_ASK_READ));
	answer(&r, PX_ASK_SUBSCRIBE, "I sub1\n");
	pass(&r, 2100);
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
	turn(&r);
	answer(&r, PX_ASK_READ, "C\n");
	pass(&r, 500);
	assert_non_null(find(&r, PX_ASK_READ));
	answer(&r, PX_ASK_READ, "C\n");
	pass(&r, 5000);
	assert_null(find(&r, PX_ASK_READ));
	end(&r);
}

/* While a stream runs it vouches for what was read long ago; an event ends that, and only then the time runs. */
static void test_an_event_does_not_make_stale_at_once(void **state)
{
	struct rig r;
	struct px_engine_config c = config();

	(void)state;
	c.stale_after_s = 60;
	begin(&r, c);
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	for (int i = 0; i < 5; i++) {
		px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
		pass(&r, 45000);
	}
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "E sub1\n", 7, r.now);
	pass(&r, 50000);
	assert_int_equal(r.sips, 0);
	pass(&r, 11000); /* it is not read */
	withdrawn(&r, "e1");
	end(&r);
}

/* What an earlier process published stands for stale_after too, and not for ever. */
static void restored_goes_stale(bool available)
{
	struct rig r;
	struct px_engine_config c = config();
	const struct px_wall later = {WALL0 + 1800000};
	enum px_pub_op last = PX_OP_NONE;

	c.stale_available = available;
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	restore(&r, "alice@example.test", 1, NULL, "old", later);
	for (int t = 0; t < 3700; t++) {
		while (r.https)
			done(&r, &r.http[0], PX_HTTP_CONNECT, 0);
		while (r.sips) {
			last = published(&r, 200, "e").op;
			if (t < 3590)
				assert_int_equal(last, PX_OP_REFRESH);
			turn(&r);
		}
		pass(&r, 1000);
	}
	assert_int_equal(last, available ? PX_OP_MODIFY : PX_OP_REMOVE);
	end(&r);
}

static void test_what_was_taken_over_goes_stale(void **state)
{
	(void)state;
	restored_goes_stale(false);
	restored_goes_stale(true);
}

/* An earlier process's ETag turns out to be unknown before the calendar was read: there is nothing to say yet. */
static void test_taken_over_unknown_and_not_read_yet(void **state)
{
	struct rig r;
	struct px_user_view v;
	const struct px_wall later = {WALL0 + 600000};

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", true, r.now);
	restore(&r, "alice@example.test", 1, NULL, "old", later);
	restore(&r, "bob@example.test", 1, NULL, "bobs", later);
	px_engine_user_refresh(r.e, "alice@example.test", r.now);
	turn(&r);
	assert_int_equal(published(&r, 412, NULL).op, PX_OP_REFRESH);
	turn(&r);
	pass(&r, 700000); /* bob's lapses unanswered */
	assert_int_equal(r.sips, 1);
	const struct px_sip_answer silence = {
	    .fail = PX_SIP_TIMEOUT, .expires = -1, .min_expires = -1, .retry_after = -1};
	px_engine_sip_done(r.e, r.sip[0].id, &silence, r.now);
	r.sips = 0;
	pass(&r, 60000);
	assert_int_equal(r.sips, 0);
	while (find(&r, PX_ASK_READ))
		answer(&r, PX_ASK_READ, "C\nC\n");
	pass(&r, 5000);
	assert_int_equal(published(&r, 200, "e1").op, PX_OP_INITIAL);
	pass(&r, 5000);
	assert_int_equal(published(&r, 200, "e2").op, PX_OP_INITIAL);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.presence, PX_AVAILABLE);
	end(&r);
}

/* Exchange doesn't know what is now, but does know of the meeting after it. */
static void test_a_meeting_after_what_is_not_known(void **state)
{
	struct rig r;
	char text[200];

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 400);
	snprintf(text, sizeof text, "M %lld %lld 5\nM %lld %lld 2\nC\n", WALL0 - 60000,
	         WALL0 + 60000, WALL0 + 60000, WALL0 + 600000);
	answer(&r, PX_ASK_READ, text);
	pass(&r, 50000);
	assert_int_equal(r.sips, 0);
	pass(&r, 20000);
	assert_non_null(strstr(published(&r, 200, "e1").body, "<rpid:busy/>"));
	end(&r);
}

/* The clock is set to a time of which nothing was read. */
static void test_the_clock_leaves_what_was_read(void **state)
{
	static const int64_t jump[] = {5 * 86400000LL, -5 * 3600000LL};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct rig r;

		begin(&r, config());
		follow_one(&r, "alice@example.test");
		published(&r, 200, "e1");
		pass(&r, 5000);
		assert_null(find(&r, PX_ASK_READ));
		r.now.wall.ms += jump[i];
		pass(&r, 1000);
		answer(&r, PX_ASK_READ, "C\n");
		turn(&r);
		assert_null(strstr(published(&r, 200, "e2").body, "rpid:busy"));
		end(&r);
	}
}

/* Removed while its batch rests, at a gateway that then goes down: nothing else holds the user. */
static void test_removed_while_its_batch_rests(void **state)
{
	struct rig r;
	struct px_engine_config c = config();

	(void)state;
	c.gateways = 1;
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", true, r.now);
	pass(&r, 400);
	done(&r, find(&r, PX_ASK_READ), PX_HTTP_CUT, 0);
	px_engine_user_remove(r.e, "alice@example.test", r.now);
	turn(&r);
	assert_int_equal(px_engine_counts(r.e).users, 2);
	done(&r, find(&r, PX_ASK_SUBSCRIBE), PX_HTTP_CONNECT, 0);
	pass(&r, 10000);
	assert_int_equal(px_engine_counts(r.e).users, 1);
	end(&r);
}

/* An answer about a user who was switched off meanwhile isn't kept for the day when it is switched on again. */
static void test_off_during_a_reading(void **state)
{
	struct rig r;
	struct px_user_view v;
	char text[100];

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	pass(&r, 400);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", false, r.now);
	snprintf(text, sizeof text, "M %lld %lld 2\nC\n", WALL0 - 60000, WALL0 + 86400000);
	answer(&r, PX_ASK_READ, text);
	pass(&r, 3600000);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	turn(&r);
	assert_int_equal(r.sips, 0);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.calendar->until, 0);
	end(&r);
}

/* The board shows another mailbox of a user who is off, too. */
static void test_another_mailbox_of_a_user_who_is_off(void **state)
{
	struct rig r;
	struct px_action *a;
	size_t n, puts = 0;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", false, r.now);
	turn(&r);
	px_engine_user_put(r.e, "alice@example.test", "alice2@example.test", false, r.now);
	px_engine_pump(r.e, r.now);
	a = px_engine_actions(r.e, &n);
	for (size_t i = 0; i < n; i++)
		puts += a[i].kind == PX_DO_BOARD_PUT;
	assert_int_equal(puts, 1);
	end(&r);
}

/* However seldom calendars shall be read again, it is before what is known of them is stale. */
static void test_a_rare_sweep_comes_before_stale(void **state)
{
	struct rig r;
	struct px_engine_config c = config();

	(void)state;
	c.kinds = PX_KIND_BIT(PX_KIND_NONE);
	c.resync_s = 86400;
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	for (int t = 0; t < 20000; t++) {
		pass(&r, 1000);
		while (find(&r, PX_ASK_READ))
			answer(&r, PX_ASK_READ, "C\n");
		while (r.sips)
			assert_true(published(&r, 200, "e").op <= PX_OP_MODIFY);
	}
	end(&r);
}

/* Two presence servers that don't share their memory behind one address, say: every second PUBLISH with an ETag is unknown. */
static void test_a_server_that_always_forgets_is_not_stormed(void **state)
{
	struct rig r;
	unsigned sent = 0, checks = 0;

	(void)state;
	begin(&r, config());
	for (int i = 0; i < 20; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
	}
	pass(&r, 400);
	while (find(&r, PX_ASK_READ))
		answer(&r, PX_ASK_READ, "C\nC\nC\nC\nC\nC\nC\nC\nC\nC\n");
	px_engine_user_refresh(r.e, "u0@example.test", r.now);
	for (int64_t t = 0; t < 600000; t += 20) {
		pass(&r, 20);
		/* some are always under way */
		for (unsigned n = (r.sips + 1) / 2; n > 0; n--) {
			bool knows = r.sip[0].op == PX_OP_INITIAL;
			sent++;
			checks += r.sip[0].op == PX_OP_REFRESH;
			published(&r, knows ? 200 : 412, knows ? "e" : NULL);
		}
		if (t >= 1000 && t < 2000)
			px_engine_user_refresh(r.e, "u0@example.test", r.now);
		/* the first check is at once */
		if (t == 4000)
			assert_in_range(checks, 20, 200);
	}
	/* ten minutes: some checks of all, not one after the other */
	assert_in_range(sent, 20, 20 * 2 * 15);
	end(&r);
}

/* A connection that ends costs one refresh; everybody is asked about only when that is unknown. */
static void test_a_lost_connection_is_looked_into(void **state)
{
	struct px_engine_config c = config();
	struct rig r;

	(void)state;
	c.kinds = PX_KIND_BIT(PX_KIND_NONE);
	begin(&r, c);
	for (int i = 0; i < 10; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
		pass(&r, 400);
		answer(&r, PX_ASK_READ, "C\n");
		turn(&r);
		while (r.sips)
			published(&r, 200, "e");
	}
	for (int i = 0; i < 3; i++) {
		px_engine_sip_lost(r.e, r.now);
		pass(&r, 1);
		assert_int_equal(r.sips, 1);
		assert_int_equal(published(&r, 200, "f").op, PX_OP_REFRESH);
		pass(&r, 1000);
		assert_int_equal(r.sips, 0);
	}
	px_engine_sip_lost(r.e, r.now);
	pass(&r, 1);
	assert_int_equal(published(&r, 412, NULL).op, PX_OP_REFRESH);
	pass(&r, 1);
	assert_int_equal(r.sips, 10);
	end(&r);
}

/* A proxy in front that ends each stream as soon as it runs: nobody circles through Subscribes because of it. */
static void test_streams_that_end_at_once(void **state)
{
	struct rig r;
	unsigned asked = 0;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	for (int t = 0; t < 36000; t++) {
		char text[32];
		struct asked *h;

		pass(&r, 100);
		while (r.sips)
			published(&r, 200, "e");
		while (find(&r, PX_ASK_READ))
			answer(&r, PX_ASK_READ, "C\n");
		while (find(&r, PX_ASK_SUBSCRIBE)) {
			snprintf(text, sizeof text, "I s%u\n", asked++);
			answer(&r, PX_ASK_SUBSCRIBE, text);
		}
		while ((h = find(&r, PX_ASK_STREAM))) {
			px_engine_http_data(r.e, h->id, "A\n", 2, r.now);
			done(&r, h, PX_HTTP_CUT, 200);
		}
	}
	/* at most every 2.5 minutes once it is clear */
	assert_in_range(asked, 12, 40);
	end(&r);
}

/* A user who is removed and added again gets another slot: the board must forget the old one first, or it forgets the user. */
static void test_the_board_forgets_before_it_learns(void **state)
{
	struct rig r;
	struct px_action *a;
	size_t n, drops = 0, puts = 0;

	(void)state;
	begin(&r, config());
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", false, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", false, r.now);
	turn(&r);
	px_engine_user_put(r.e, "bob@example.test", "bob2@example.test", false, r.now);
	px_engine_user_remove(r.e, "alice@example.test", r.now);
	px_engine_user_remove(r.e, "bob@example.test", r.now);
	assert_int_equal(
	    px_engine_user_put(r.e, "alice@example.test", "alice@example.test", false, r.now), 1);
	px_engine_pump(r.e, r.now);
	a = px_engine_actions(r.e, &n);
	for (size_t i = 0; i < n; i++) {
		puts += a[i].kind == PX_DO_BOARD_PUT;
		drops += a[i].kind == PX_DO_BOARD_DROP && puts == 0;
	}
	assert_int_equal(puts, 1);
	assert_int_equal(drops, 1);
	end(&r);
}

/* Whoever is chosen as probe may turn out to have nothing to send; the next one goes. */
static void test_a_probe_that_has_nothing_to_send(void **state)
{
	struct rig r;
	const struct px_sip_answer silence = {
	    .fail = PX_SIP_TIMEOUT, .expires = -1, .min_expires = -1, .retry_after = -1};
	struct px_engine_config c = config();

	(void)state;
	c.publish_expires = 60;
	begin(&r, c);
	for (int i = 0; i < 4; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, true, r.now);
	}
	pass(&r, 400);
	while (find(&r, PX_ASK_READ))
		answer(&r, PX_ASK_READ, "C\nC\n");
	turn(&r);
	while (r.sips)
		published(&r, 200, "e");
	/* all but the last are switched off, which the server doesn't hear before what it has lapses */
	for (int i = 0; i < 3; i++) {
		char key[32];
		snprintf(key, sizeof key, "u%d@example.test", i);
		px_engine_user_put(r.e, key, key, false, r.now);
	}
	turn(&r);
	int64_t last = r.now.mono.ms, gap = 0;
	for (int64_t end_at = r.now.mono.ms + 200000; r.now.mono.ms < end_at;) {
		while (r.sips) {
			gap = r.now.mono.ms - last > gap ? r.now.mono.ms - last : gap;
			last = r.now.mono.ms;
			uint64_t id = r.sip[0].id;
			memmove(r.sip, r.sip + 1, --r.sips * sizeof *r.sip);
			px_engine_sip_done(r.e, id, &silence, r.now);
		}
		turn(&r);
		/* nothing but its own deadline wakes it */
		int64_t by = px_engine_due(r.e, r.now).ms - r.now.mono.ms;

		r.now.mono.ms += by > 0 ? by : 1;
		r.now.wall.ms += by > 0 ? by : 1;
		turn(&r);
	}
	assert_in_range(gap, 1, 2500);
	end(&r);
}

/* Switched off and on while nobody can be assigned, then refused by a reading that was under way: parked without a gateway, and homed when
 * the hour is over. */
static void test_parked_without_a_gateway(void **state)
{
	struct rig r;
	struct px_user_view v;
	struct px_engine_config c = config();

	(void)state;
	c.gateways = 1;
	c.horizon_s = 3600;
	begin(&r, c);
	follow_one(&r, "alice@example.test");
	published(&r, 200, "e1");
	while (r.now.wall.ms < WALL0 + 3000000) {
		px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "A\n", 2, r.now);
		pass(&r, 45000);
	}
	px_engine_http_data(r.e, find(&r, PX_ASK_STREAM)->id, "E sub1\n", 7, r.now);
	pass(&r, 500);
	answer(&r, PX_ASK_READ, "R 5\n");
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", true, r.now);
	pass(&r, 500);
	done(&r, find(&r, PX_ASK_SUBSCRIBE), PX_HTTP_CONNECT, 0); /* the gateway is down */
	r.https = 0;                                              /* all else there was given up */
	while (r.now.wall.ms < WALL0 + 3700000) {                 /* what was read of alice ends */
		while (find(&r, PX_ASK_PROBE))
			done(&r, find(&r, PX_ASK_PROBE), PX_HTTP_CONNECT, 0);
		pass(&r, 1000);
	}
	while (!find(&r, PX_ASK_PROBE))
		pass(&r, 100);
	answer(&r, PX_ASK_PROBE, "C\n");
	pass(&r, 500);
	assert_true(px_pool_settling(px_engine_pool(r.e), r.now));
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", false, r.now);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	answer(&r, PX_ASK_READ, "R 5\n");
	turn(&r);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_equal(v.watch, PX_WATCH_PARKED);
	assert_int_equal(v.gateway, PX_NO_GATEWAY);
	pass(&r, 3700000);
	assert_true(px_engine_user(r.e, 0, &v));
	assert_int_not_equal(v.gateway, PX_NO_GATEWAY);
	end(&r);
}

/* No call comes to where the server was told to call: the next kind, there. */
static void test_push_that_is_not_heard_falls_to_pull(void **state)
{
	struct px_engine_config c = config();
	struct rig r;

	(void)state;
	c.gateways = 1;
	c.kinds = PX_KIND_BIT(PX_KIND_PUSH) | PX_KIND_BIT(PX_KIND_PULL);
	c.callback = "http://us/";
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	px_engine_user_put(r.e, "bob@example.test", "bob@example.test", true, r.now);
	for (int i = 0; i < 200; i++) {
		turn(&r);
		if (find(&r, PX_ASK_READ))
			answer(&r, PX_ASK_READ, "C\nC\n");
		if (find(&r, PX_ASK_PROBE))
			answer(&r, PX_ASK_PROBE, "C\n");
		if (find(
		        &r,
		        PX_ASK_SUBSCRIBE)) /* one goes ahead, and no other while nothing is known */
			answer(&r, PX_ASK_SUBSCRIBE, i < 100 ? "I one w\n" : "I two w\n");
		if (i < 70)
			assert_true(px_engine_counts(r.e).subscribes <= 1);
		r.now.mono.ms += 1000;
		r.now.wall.ms += 1000;
	}
	assert_int_equal(px_engine_pool(r.e)->gateway[0].kind, PX_KIND_PULL);
	assert_int_equal(px_engine_counts(r.e).watch[PX_WATCH_FOLLOWED], 2);
	px_engine_free(r.e);
}

/* Answers what is asked as a server would that has nothing to say, but for what the caller wants to answer itself. */
static void answer_all(struct rig *r, enum px_ask but)
{
	char text[16 * 3];

	while (find(r, PX_ASK_PROBE) && but != PX_ASK_PROBE)
		answer(r, PX_ASK_PROBE, "C\n");
	while (find(r, PX_ASK_UNSUBSCRIBE))
		answer(r, PX_ASK_UNSUBSCRIBE, "");
	while (find(r, PX_ASK_READ) && but != PX_ASK_READ) {
		unsigned n = 0;

		for (const char *c = strchr(find(r, PX_ASK_READ)->body, '\n') + 1; *c; c++)
			n += *c == '\n';
		for (unsigned i = 0; i <= n; i++)
			snprintf(text + 2 * i, 3, "%s", i < n ? "C\n" : "");
		answer(r, PX_ASK_READ, text);
	}
	while (r->sips)
		published(r, 200, "etag");
}

/* Who has no subscription learns from its readings that its mailbox can't be reached where it is. */
static void test_who_is_swept_looks_for_a_gateway_too(void **state)
{
	static const char *const refusal[] = {"R 2\n", "R 8\n"}; /* lost; transient */

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct px_engine_config c = config();
		struct px_user_view v;
		struct rig r;

		c.kinds = PX_KIND_BIT(PX_KIND_NONE);
		begin(&r, c);
		px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
		for (int s = 0; s < 120; s++) {
			struct asked *h = find(&r, PX_ASK_READ);
			if (h)
				answer(&r, PX_ASK_READ, h->gateway == 1 ? "C\n" : refusal[i]);
			answer_all(&r, PX_ASK_READ);
			pass(&r, 1000);
		}
		assert_true(px_engine_user(r.e, 0, &v));
		assert_int_equal(v.watch, PX_WATCH_SWEPT);
		assert_int_equal(v.gateway, 1);
		assert_int_equal(v.presence, PX_AVAILABLE);
		/* and stays: no circling, and no haste before */
		assert_true(px_engine_counts(r.e).reads < 12);
		const uint64_t reads = px_engine_counts(r.e).reads;
		pass(&r, 600000);
		assert_int_equal(px_engine_counts(r.e).reads, reads);
		end(&r);
	}
}

/* Calls did arrive, and then don't any more: a firewall is in their way now. */
static void test_push_that_is_not_heard_any_more_falls_to_pull(void **state)
{
	struct px_engine_config c = config();
	struct rig r;
	int polled_at = 0;

	(void)state;
	c.gateways = 1;
	c.kinds = PX_KIND_BIT(PX_KIND_PUSH) | PX_KIND_BIT(PX_KIND_PULL);
	c.callback = "http://us/";
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	for (int s = 0; s < 1200 && !polled_at; s++) {
		answer_all(&r, PX_ASK_SUBSCRIBE);
		if (find(&r, PX_ASK_SUBSCRIBE))
			answer(&r, PX_ASK_SUBSCRIBE, s < 60 ? "I one w\n" : "I two w\n");
		if (s > 10 && s < 300 && s % 60 == 0)
			assert_int_equal(px_engine_notified(r.e, 0, "A one\n", 6, r.now), PX_HEARD);
		if (s > 20 && s < 300)
			assert_int_equal(px_engine_counts(r.e).watch[PX_WATCH_FOLLOWED], s >= 60);
		if (find(&r, PX_ASK_POLL))
			polled_at = s;
		pass(&r, 1000);
	}
	/* twice the time of a call, and that of the first of another subscription */
	assert_in_range(polled_at, 240 + 270, 240 + 270 + 75 + 60);
	assert_int_equal(px_engine_pool(r.e)->gateway[0].kind, PX_KIND_PULL);
	end(&r);
}

/* Streams ran, and then something stands between that gathers what they say. */
static void test_streams_that_go_silent_fall_to_the_next_kind(void **state)
{
	struct px_engine_config c = config();
	struct rig r;
	unsigned subscribes = 0;

	(void)state;
	c.gateways = 1;
	c.kinds = PX_KIND_BIT(PX_KIND_STREAM) | PX_KIND_BIT(PX_KIND_PULL);
	begin(&r, c);
	follow_one(&r, "alice@example.test");
	assert_int_equal(px_engine_counts(r.e).watch[PX_WATCH_FOLLOWED], 1);
	for (int s = 0; s < 400 && !find(&r, PX_ASK_POLL); s++) {
		answer_all(&r, PX_ASK_SUBSCRIBE);
		if (find(&r, PX_ASK_SUBSCRIBE)) {
			subscribes++;
			answer(&r, PX_ASK_SUBSCRIBE, "I sub2 w\n");
		}
		pass(&r, 1000);
	}
	assert_non_null(find(&r, PX_ASK_POLL));
	assert_int_equal(subscribes, 1);
	assert_int_equal(px_engine_pool(r.e)->gateway[0].kind, PX_KIND_PULL);
	end(&r);
}

/* A mailbox that makes the server take the request for a bad one doesn't cost the others their streams. */
static void test_a_kind_is_not_judged_by_one_mailbox(void **state)
{
	(void)state;
	for (unsigned others = 0; others < 2; others++) {
		struct px_engine_config c = config();
		struct px_user_view v;
		struct rig r;

		c.gateways = 1;
		c.kinds = PX_KIND_BIT(PX_KIND_STREAM) | PX_KIND_BIT(PX_KIND_PULL);
		begin(&r, c);
		px_engine_user_put(r.e, "odd@example.test", "odd@example.test", true, r.now);
		if (others)
			px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true,
			                   r.now);
		for (int s = 0; s < 900; s++) {
			answer_all(&r, PX_ASK_SUBSCRIBE);
			struct asked *h = find(&r, PX_ASK_SUBSCRIBE), *stream;
			if (h && strstr(h->body, "odd@") &&
			    px_engine_pool(r.e)->gateway[0].kind == PX_KIND_STREAM)
				answer(&r, PX_ASK_SUBSCRIBE, "V 11\n");
			else if (h)
				answer(&r, PX_ASK_SUBSCRIBE, s % 2 ? "I sub1 w\n" : "I sub2 w\n");
			if ((stream = find(&r, PX_ASK_STREAM)))
				px_engine_http_data(r.e, stream->id, "A\n", 2, r.now);
			if (find(&r, PX_ASK_POLL))
				answer(&r, PX_ASK_POLL, "A sub1 w\n");
			pass(&r, 1000);
		}
		assert_true(px_engine_user(r.e, others, &v));
		assert_int_equal(v.watch, PX_WATCH_FOLLOWED);
		/* alone it says so three times, and is believed */
		assert_int_equal(v.kind, others ? PX_KIND_STREAM : PX_KIND_PULL);
		end(&r);
	}
}

/* The limit of subscriptions isn't the user's fault, nor the gateway's: it waits there, its old one is given up first, and it is read meanwhile. */
static void test_too_many_subscriptions_pass(void **state)
{
	struct px_engine_config c = config();
	struct px_user_view v;
	struct rig r;
	unsigned asked[2] = {0};

	(void)state;
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	for (int s = 0; s < 600; s++) {
		answer_all(&r, PX_ASK_SUBSCRIBE);
		struct asked *h = find(&r, PX_ASK_SUBSCRIBE);
		if (h) {
			/* three times where it is, before the other is tried */
			assert_int_equal(h->gateway, asked[0] < 3 ? 0 : h->gateway);
			asked[h->gateway]++;
			answer(&r, PX_ASK_SUBSCRIBE, "K ErrorExceededSubscriptionCount\n");
		}
		pass(&r, 1000);
		assert_true(px_engine_user(r.e, 0, &v));
		assert_int_not_equal(v.watch, PX_WATCH_PARKED);
	}
	assert_true(asked[0] >= 3 && asked[1] >= 1);
	assert_in_range(asked[0] + asked[1], 4, 12);
	assert_true(px_engine_counts(r.e).reads >= asked[0] + asked[1] - 1);
	assert_int_equal(v.presence, PX_AVAILABLE);
	end(&r);
}

/* Polls said until now that nothing changed: an hour from now what is known is stale, not an hour from when it was read last. */
static void test_who_is_parked_was_good_until_then(void **state)
{
	struct px_engine_config c = config();
	struct px_user_view v;
	struct rig r;
	int parked_at = 0, stale_at = 0;

	(void)state;
	c.gateways = 1;
	c.kinds = PX_KIND_BIT(PX_KIND_PULL);
	begin(&r, c);
	px_engine_user_put(r.e, "alice@example.test", "alice@example.test", true, r.now);
	for (int s = 0; s < 8000 && !stale_at; s++) {
		if (s > 300 && find(&r, PX_ASK_READ))
			answer(&r, PX_ASK_READ, "R 5\n");
		answer_all(&r, PX_ASK_SUBSCRIBE);
		if (find(&r, PX_ASK_SUBSCRIBE))
			answer(&r, PX_ASK_SUBSCRIBE, "I one w\n");
		if (find(&r, PX_ASK_POLL))
			answer(&r, PX_ASK_POLL, "A one w\n");
		pass(&r, 1000);
		assert_true(px_engine_user(r.e, 0, &v));
		if (!parked_at && v.watch == PX_WATCH_PARKED)
			parked_at = s;
		if (parked_at && v.presence == PX_UNKNOWN)
			stale_at = s;
	}
	assert_true(parked_at > 1500);
	assert_in_range(stale_at, parked_at + 3595, parked_at + 3605);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_push_that_is_not_heard_falls_to_pull),
	    cmocka_unit_test(test_who_is_swept_looks_for_a_gateway_too),
	    cmocka_unit_test(test_push_that_is_not_heard_any_more_falls_to_pull),
	    cmocka_unit_test(test_streams_that_go_silent_fall_to_the_next_kind),
	    cmocka_unit_test(test_a_kind_is_not_judged_by_one_mailbox),
	    cmocka_unit_test(test_too_many_subscriptions_pass),
	    cmocka_unit_test(test_who_is_parked_was_good_until_then),
	    cmocka_unit_test(test_a_wrong_password_does_not_lock_the_account),
	    cmocka_unit_test(test_state_first_then_the_subscription),
	    cmocka_unit_test(test_a_meeting_ends_without_any_request),
	    cmocka_unit_test(test_only_what_is_unavailable_is_published),
	    cmocka_unit_test(test_what_was_taken_over_is_taken_off_when_it_is_free),
	    cmocka_unit_test(test_the_next_meeting_is_told_when_that_is_wanted),
	    cmocka_unit_test(test_a_change_is_read_and_published_within_two_seconds),
	    cmocka_unit_test(test_who_shows_nothing_is_read_alone),
	    cmocka_unit_test(test_a_full_calendar_is_read_in_a_smaller_window),
	    cmocka_unit_test(test_automatic_replies_make_away),
	    cmocka_unit_test(test_scheduled_replies_begin_and_end_by_themselves),
	    cmocka_unit_test(test_automatic_replies_one_by_one),
	    cmocka_unit_test(test_an_event_during_a_reading_is_not_lost),
	    cmocka_unit_test(test_a_broken_answer_changes_nothing),
	    cmocka_unit_test(test_late_and_foreign_answers_fall_to_the_floor),
	    cmocka_unit_test(test_the_first_subscribe_leads_the_others),
	    cmocka_unit_test(test_subscribes_that_are_led_apart_come_together),
	    cmocka_unit_test(test_a_refused_first_subscribe_lets_the_next_begin),
	    cmocka_unit_test(test_a_removed_user_is_withdrawn_then_forgotten),
	    cmocka_unit_test(test_removed_and_added_again_in_between),
	    cmocka_unit_test(test_off_withdraws_and_lasts),
	    cmocka_unit_test(test_another_mailbox_is_another_calendar),
	    cmocka_unit_test(test_stale_is_withdrawn_and_comes_back),
	    cmocka_unit_test(test_one_probe_per_gateway_while_all_are_down),
	    cmocka_unit_test(test_a_full_house_is_said),
	    cmocka_unit_test(test_users_come_and_go),
	    cmocka_unit_test(test_what_an_earlier_process_knew_is_taken_over),
	    cmocka_unit_test(test_a_lost_memory_is_checked_for_everybody),
	    cmocka_unit_test(test_a_reading_at_a_dead_gateway_is_given_up),
	    cmocka_unit_test(test_a_reading_under_way_does_not_count_for_the_stream),
	    cmocka_unit_test(test_an_event_does_not_make_stale_at_once),
	    cmocka_unit_test(test_what_was_taken_over_goes_stale),
	    cmocka_unit_test(test_taken_over_unknown_and_not_read_yet),
	    cmocka_unit_test(test_a_meeting_after_what_is_not_known),
	    cmocka_unit_test(test_the_clock_leaves_what_was_read),
	    cmocka_unit_test(test_removed_while_its_batch_rests),
	    cmocka_unit_test(test_off_during_a_reading),
	    cmocka_unit_test(test_another_mailbox_of_a_user_who_is_off),
	    cmocka_unit_test(test_a_rare_sweep_comes_before_stale),
	    cmocka_unit_test(test_a_server_that_always_forgets_is_not_stormed),
	    cmocka_unit_test(test_a_lost_connection_is_looked_into),
	    cmocka_unit_test(test_streams_that_end_at_once),
	    cmocka_unit_test(test_the_board_forgets_before_it_learns),
	    cmocka_unit_test(test_a_probe_that_has_nothing_to_send),
	    cmocka_unit_test(test_parked_without_a_gateway),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
