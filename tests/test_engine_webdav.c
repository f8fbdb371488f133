/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Hours of the engine over WebDAV in virtual time: the product's own backend, a front end made of a few lines, and what may go
 * wrong with hints, subscriptions and sessions. Followed is judged by what was published.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/webdav.h"
#include "core/engine.h"
#include "core/wall.h"

#define WALL0 1764000000000LL
#define USERS 300
#define ANSWER_MS 20
#define LIFETIME_S 1800 /* as the server grants it */
#define SERVERS 3       /* stores behind the front end at most, whose ids are the same numbers */

struct person {
	bool busy;             /* in a meeting all the time, or not */
	unsigned id;           /* of the newest subscription; 0: none */
	bool changed;          /* an event waits to be polled */
	int64_t ends;          /* of the subscription, mono */
	enum px_presence seen; /* in the last PUBLISH */
	int64_t seen_at;
};

struct flight {
	uint64_t id;
	enum px_ask ask;
	int64_t at; /* answered then; 0: free */
	char method[12], target[256], ids[512], body[2048], callback[128];
};

static struct rig {
	struct px_engine *e;
	struct px_now now;
	struct person person[USERS];
	struct flight flight[64];
	unsigned flights, servers, next_id[SERVERS], asked[PX_ASKS], most_ids;
	bool down, deaf; /* connects are refused; hints get lost */
	unsigned etags;
	unsigned unheard, arrive; /* times that the log says so */
} r;

static struct person *person_of(const char *target)
{
	unsigned i;
	const char *user = strstr(target, "/user");

	assert_non_null(user);
	assert_int_equal(sscanf(user, "/user%u", &i), 1);
	assert_true(i < USERS);
	return &r.person[i];
}

static unsigned server_of(const struct person *p)
{
	return (unsigned)(p - r.person) % r.servers;
}

static void header_of(const struct px_wire *w, const char *name, char *out, size_t size)
{
	const char *s = w->head.data ? strstr(w->head.data, name) : NULL;

	out[0] = '\0';
	if (s)
		snprintf(out, size, "%.*s", (int)strcspn(s + strlen(name), "\r"), s + strlen(name));
}

static void start(const struct px_action *a)
{
	struct flight *f = r.flight;

	while (f->at)
		f++;
	assert_true(f < r.flight + 64);
	r.flights++;
	r.asked[a->http.ask]++;
	*f = (struct flight){.id = a->http.id, .ask = a->http.ask, .at = r.now.mono.ms + ANSWER_MS};
	snprintf(f->method, sizeof f->method, "%s", a->http.wire.method);
	snprintf(f->target, sizeof f->target, "%s", a->http.wire.target.data);
	snprintf(f->body, sizeof f->body, "%s",
	         a->http.wire.body.data ? a->http.wire.body.data : "");
	header_of(&a->http.wire, "Subscription-id: ", f->ids, sizeof f->ids);
	header_of(&a->http.wire, "Call-Back: ", f->callback, sizeof f->callback);
}

static void told(const struct flight *f, int status, const char *head, const char *body)
{
	struct px_http_answer a = {
	    .status = status, .retry_after_ms = -1, .type = "text/xml", .head = head};

	if (r.down)
		a = (struct px_http_answer){.fail = PX_HTTP_CONNECT, .retry_after_ms = -1};
	else
		px_engine_http_data(r.e, f->id, body, strlen(body), r.now);
	px_engine_http_done(r.e, f->id, &a, r.now);
}

#define DAV(text)                                                                                  \
	"<a:multistatus xmlns:a='DAV:' xmlns:c='urn:schemas:calendar:' "                           \
	"xmlns:h='urn:schemas:httpmail:' xmlns:x='http://schemas.microsoft.com/Exchange/'>" text   \
	"</a:multistatus>"

static void answer_poll(const struct flight *f, const struct person *at)
{
	struct px_buf b = px_buf_new(65536);
	unsigned n = 0;

	px_buf_str(
	    &b, "<a:multistatus xmlns:a='DAV:' xmlns:x='http://schemas.microsoft.com/Exchange/'>");
	for (const char *s = f->ids; *s; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ',')) {
		unsigned id = (unsigned)atoi(s);
		const char *status = "412 Precondition Failed";

		for (struct person *p = r.person; p < r.person + USERS; p++)
			if (p->id == id && server_of(p) == server_of(at) &&
			    p->ends > r.now.mono.ms) {
				status = p->changed ? "200 OK" : "204 No Content";
				p->changed = false;
			}
		px_buf_printf(&b,
		              "<a:response><a:status>HTTP/1.1 %s</a:status><x:subscriptionID>"
		              "<li>%u</li></x:subscriptionID></a:response>",
		              status, id);
		n++;
	}
	if (n > r.most_ids)
		r.most_ids = n;
	px_buf_str(&b, "</a:multistatus>");
	told(f, 207, NULL, b.data);
	px_buf_free(&b);
}

static void answer(const struct flight *f)
{
	struct person *p = person_of(f->target);
	char text[1024], head[128] = "", from[PX_WALL_TEXT], until[PX_WALL_TEXT];

	switch (f->ask) {
	case PX_ASK_LOCATE:
	case PX_ASK_PROBE:
		snprintf(
		    text, sizeof text,
		    DAV("<a:response><a:propstat><a:prop><h:calendar>http://be/exchange/user%u/K"
		        "</h:calendar></a:prop><a:status>HTTP/1.1 200 OK</a:status></a:propstat>"
		        "</a:response>"),
		    (unsigned)(p - r.person));
		told(f, 207, NULL, text);
		break;
	case PX_ASK_READ_ONE:
		assert_non_null(strstr(f->target, "/K"));
		px_wall_text((struct px_wall){r.now.wall.ms - 3600000}, from);
		px_wall_text((struct px_wall){r.now.wall.ms + 360000000}, until);
		snprintf(text, sizeof text,
		         DAV("<a:response><a:propstat><a:status>HTTP/1.1 200 OK</a:status><a:prop>"
		             "<c:dtstart>%s</c:dtstart><c:dtend>%s</c:dtend></a:prop></a:propstat>"
		             "</a:response>"),
		         from, until);
		told(f, 207, NULL, p->busy ? text : DAV(""));
		break;
	case PX_ASK_SUBSCRIBE:
		p->id = ++r.next_id[server_of(p)];
		p->ends = r.now.mono.ms + LIFETIME_S * 1000;
		p->changed = false;
		snprintf(head, sizeof head, "Subscription-id: %u\nSubscription-lifetime: %d\n",
		         p->id, LIFETIME_S);
		told(f, 200, head, "");
		break;
	case PX_ASK_RENEW:
		if (p->id == (unsigned)atoi(f->ids) && p->ends > r.now.mono.ms) {
			p->ends = r.now.mono.ms + LIFETIME_S * 1000;
			snprintf(head, sizeof head,
			         "Subscription-id: %.20s\nSubscription-lifetime: %d\n", f->ids,
			         LIFETIME_S);
			told(f, 200, head, "");
		} else {
			told(f, 412, NULL, "");
		}
		break;
	case PX_ASK_POLL:
		answer_poll(f, p);
		break;
	default:
		told(f, 200, NULL, "");
	}
}

static void publish(const struct px_action *a)
{
	struct person *p;
	char etag[32];
	unsigned i;

	assert_int_equal(sscanf(a->sip.key, "user%u@", &i), 1);
	p = &r.person[i];
	if (a->sip.body.len) {
		p->seen =
		    strstr(a->sip.body.data, "<rpid:busy/>") ? PX_PRESENCE_BUSY : PX_AVAILABLE;
		p->seen_at = r.now.mono.ms;
	}
	snprintf(etag, sizeof etag, "e%u", ++r.etags);
	const struct px_sip_answer ok = {.status = 200,
	                                 .etag = etag,
	                                 .expires = a->sip.expires,
	                                 .min_expires = -1,
	                                 .retry_after = -1};
	px_engine_sip_done(r.e, a->sip.id, &ok, r.now);
}

static void turn(void)
{
	size_t n;

	px_engine_tick(r.e, r.now);
	for (bool more = true; more;) {
		px_engine_pump(r.e, r.now);
		struct px_action *a = px_engine_actions(r.e, &n);

		more = false;
		for (size_t i = 0; i < n; i++) {
			if (a[i].kind == PX_DO_HTTP_START)
				start(&a[i]);
			else if (a[i].kind == PX_DO_HTTP_CANCEL) {
				for (struct flight *f = r.flight; f < r.flight + 64; f++)
					if (f->at && f->id == a[i].http_cancel) {
						f->at = 0;
						r.flights--;
					}
			} else if (a[i].kind == PX_DO_SIP_START) {
				publish(&a[i]);
				more = true;
			} else if (a[i].kind == PX_DO_LOG) {
				r.unheard += !!strstr(
				    a[i].log.text, "notify: none came to httpu://192.0.2.1:50020,");
				r.arrive += !!strstr(a[i].log.text,
				                     "NOTIFYs arrive at httpu://192.0.2.1:50020");
				if (getenv("TRACE"))
					print_message("%lld %s\n", (long long)r.now.mono.ms,
					              a[i].log.text);
			}
		}
		px_engine_actions_clear(r.e);
	}
}

static void pass(int64_t ms)
{
	const int64_t until = r.now.mono.ms + ms;

	turn();
	while (r.now.mono.ms < until) {
		int64_t next = px_engine_due(r.e, r.now).ms;

		for (struct flight *f = r.flight; f < r.flight + 64; f++)
			if (f->at && f->at < next)
				next = f->at;
		if (next <= r.now.mono.ms)
			next = r.now.mono.ms + 1;
		if (next > until)
			next = until;
		r.now.wall.ms += next - r.now.mono.ms;
		r.now.mono.ms = next;
		for (struct flight *f = r.flight; f < r.flight + 64; f++)
			if (f->at && f->at <= r.now.mono.ms) {
				const struct flight it = *f;

				f->at = 0;
				r.flights--;
				answer(&it);
			}
		turn();
	}
}

/* A calendar changes; its store tells, unless hints get lost. */
static void change(struct person *p)
{
	char id[16];

	p->busy = !p->busy;
	p->changed = true;
	snprintf(id, sizeof id, "%u", p->id);
	if (!r.deaf && p->id)
		px_engine_notified(r.e, 0, id, strlen(id), r.now);
}

static unsigned wrong(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < USERS; i++)
		n += r.person[i].seen != (r.person[i].busy ? PX_PRESENCE_BUSY : PX_AVAILABLE);
	return n;
}

static uint32_t followed(void)
{
	return px_engine_counts(r.e).watch[PX_WATCH_FOLLOWED];
}

static int begin(unsigned servers)
{
	static const char *const name[] = {"owa"};
	static const unsigned eight[] = {8};
	const struct px_engine_config c = {.backend = &px_webdav,
	                                   .map = px_map_default,
	                                   .gateways = 1,
	                                   .gateway_name = name,
	                                   .gateway_concurrency = eight,
	                                   .kinds = PX_KIND_BIT(PX_KIND_PULL),
	                                   .callback = "httpu://192.0.2.1:50020/token/",
	                                   .horizon_s = 172800,
	                                   .resync_s = 86400,
	                                   .stale_after_s = 604800,
	                                   .publish_expires = 86400,
	                                   .publish_window = 200,
	                                   .presence_servers = 1,
	                                   .users_max = USERS,
	                                   .log_level = PX_LOG_DEBUG,
	                                   .seed = 1};
	char who[64];

	memset(&r, 0, sizeof r);
	r.servers = servers;
	r.now = (struct px_now){{1000}, {WALL0}};
	r.e = px_engine_new(&c, r.now);
	for (unsigned i = 0; i < USERS; i++) {
		r.person[i].busy = i % 3 == 0;
		snprintf(who, sizeof who, "user%u@example.test", i);
		assert_true(px_engine_user_put(r.e, who, who, true, r.now) >= 0);
	}
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return begin(1);
}

static int several(void **state)
{
	(void)state;
	return begin(SERVERS);
}

static int teardown(void **state)
{
	(void)state;
	px_engine_free(r.e);
	return 0;
}

/* Everybody is right before all are followed: two requests each, as many at once as may be. */
static void test_state_first(void **state)
{
	(void)state;
	pass(4000);
	assert_int_equal(wrong(), 0);
	pass(30000);
	assert_int_equal(followed(), USERS);
	assert_int_equal(r.asked[PX_ASK_LOCATE], USERS);
	assert_int_equal(r.asked[PX_ASK_SUBSCRIBE], USERS);
	assert_true(r.asked[PX_ASK_READ_ONE] <= 2 * USERS);
	assert_int_equal(r.asked[PX_ASK_READ], 0);
}

static void test_a_hint_is_followed_within_two_seconds(void **state)
{
	(void)state;
	pass(60000);
	unsigned polls = r.asked[PX_ASK_POLL], reads = r.asked[PX_ASK_READ_ONE];
	for (unsigned i = 0; i < 40; i++)
		change(&r.person[i]);
	pass(1900);
	assert_int_equal(wrong(), 0);
	assert_in_range(r.asked[PX_ASK_POLL] - polls, 1, 4); /* gathered, and what was due anyway */
	assert_int_equal(r.asked[PX_ASK_READ_ONE] - reads, 40);
	assert_true(r.most_ids > 20 && r.most_ids <= PX_WEBDAV_POLL_MAX);
}

/* Whatever stage of a poll that nobody waits for a hint meets, it is followed as soon. */
static void test_hints_whenever_they_come(void **state)
{
	(void)state;
	pass(60000);
	for (unsigned i = 0; i < 200; i++) {
		change(&r.person[i]);
		pass(97);
	}
	for (unsigned i = 0; i < 200; i++) {
		unsigned late = 0;

		change(&r.person[i]);
		while (r.person[i].seen != (r.person[i].busy ? PX_PRESENCE_BUSY : PX_AVAILABLE)) {
			pass(50);
			assert_in_range(late += 50, 0, 1900);
		}
	}
}

/* What changes when a poll has been answered and the answer is still under way is told by a hint, and polled for once more. */
static void test_a_hint_during_a_poll(void **state)
{
	const struct flight *poll = NULL;
	struct person *p = NULL;
	char id[16];

	(void)state;
	pass(60000);
	while (!poll) {
		pass(1);
		for (unsigned i = 0; i < 64; i++)
			if (r.flight[i].at && r.flight[i].ask == PX_ASK_POLL)
				poll = &r.flight[i];
	}
	for (unsigned i = 0; i < USERS; i++)
		if (r.person[i].id == (unsigned)atoi(poll->ids))
			p = &r.person[i];
	assert_non_null(p);
	/* told now, to be seen only after that answer */
	snprintf(id, sizeof id, "%u", p->id);
	px_engine_notified(r.e, 0, id, strlen(id), r.now);
	pass(ANSWER_MS + 1);
	p->busy = !p->busy;
	p->changed = true;
	pass(1900);
	assert_int_equal(wrong(), 0);
}

/* Where ids are the same on several servers each user is asked about alone, and nobody takes another's event. */
static void test_several_servers(void **state)
{
	(void)state;
	pass(60000);
	unsigned reads = r.asked[PX_ASK_READ_ONE];
	for (unsigned i = 0; i < 40; i++)
		change(&r.person[7 * i]);
	pass(1900);
	assert_int_equal(wrong(), 0);
	assert_int_equal(r.asked[PX_ASK_READ_ONE] - reads, 40);
	r.deaf = true;
	for (unsigned i = 0; i < USERS; i += 2)
		change(&r.person[i]);
	pass(75000);
	assert_int_equal(wrong(), 0);
	assert_int_equal(r.asked[PX_ASK_SUBSCRIBE], USERS); /* none was taken for lost */
}

static void test_forged_hints_cost_a_poll_at_most(void **state)
{
	(void)state;
	pass(60000);
	unsigned polls = r.asked[PX_ASK_POLL], reads = r.asked[PX_ASK_READ_ONE];
	for (int i = 0; i < 5000; i++) {
		px_engine_notified(r.e, 0, "99999", 5, r.now);
		px_engine_notified(r.e, 0, "1,2,3", 5, r.now);
		px_engine_notified(r.e, 0, "1 OR 1", 6, r.now);
		if (i % 100 == 0)
			pass(10);
	}
	pass(1500);
	assert_true(r.asked[PX_ASK_POLL] - polls <= 8);
	assert_int_equal(r.asked[PX_ASK_READ_ONE], reads);
	assert_int_equal(wrong(), 0);
}

/* Nothing is heard at all: the polls that go on anyway find what has changed. */
static void test_without_hints(void **state)
{
	(void)state;
	pass(60000);
	r.deaf = true;
	for (unsigned i = 0; i < USERS; i += 2)
		change(&r.person[i]);
	pass(75000);
	assert_int_equal(wrong(), 0);
	assert_int_equal(followed(), USERS);
	assert_int_equal(r.unheard, 1); /* and that is said, once */
	assert_int_equal(r.arrive, 0);
	r.deaf = false;
	change(&r.person[0]);
	pass(1900);
	assert_int_equal(wrong(), 0);
	assert_int_equal(r.arrive, 1);
}

/* One that was heard shows that they arrive: others may get lost. */
static void test_some_hints_get_lost(void **state)
{
	(void)state;
	pass(60000);
	change(&r.person[1]);
	pass(1900);
	r.deaf = true;
	for (unsigned i = 0; i < USERS; i += 2)
		change(&r.person[i]);
	pass(75000);
	assert_int_equal(wrong(), 0);
	assert_int_equal(r.unheard, 0);
	assert_int_equal(r.arrive, 1);
}

/* Polls that nobody waits for share requests. */
static void test_slow_polls_are_gathered(void **state)
{
	(void)state;
	pass(120000);
	unsigned polls = r.asked[PX_ASK_POLL];
	pass(600000);
	/* each of 300 users 10 times, some of them at once */
	assert_in_range(r.asked[PX_ASK_POLL] - polls, 3000 / PX_WEBDAV_POLL_MAX, 300);
}

/* Hours: each subscription is renewed before it ends, and none is made anew. */
static void test_renewals(void **state)
{
	(void)state;
	pass(6 * 3600000LL);
	assert_int_equal(followed(), USERS);
	assert_int_equal(r.asked[PX_ASK_SUBSCRIBE], USERS);
	assert_in_range(r.asked[PX_ASK_RENEW], 12 * USERS, 20 * USERS);
	unsigned made = r.asked[PX_ASK_SUBSCRIBE];
	pass(6 * 3600000LL);
	assert_int_equal(r.asked[PX_ASK_SUBSCRIBE], made);
	for (unsigned i = 0; i < USERS; i++)
		assert_true(r.person[i].ends > r.now.mono.ms);
	change(&r.person[7]);
	pass(1900);
	assert_int_equal(wrong(), 0);
}

/* The server forgets its subscriptions, and what changed since is read. */
static void test_forgotten_ids(void **state)
{
	(void)state;
	pass(300000);
	r.deaf = true;
	for (unsigned i = 0; i < USERS; i++)
		r.person[i].ends = 0;
	for (unsigned i = 0; i < USERS; i += 5)
		r.person[i].busy = !r.person[i].busy;
	pass(150000);
	assert_int_equal(wrong(), 0);
	assert_int_equal(followed(), USERS);
}

/* Whenever a hint comes, also while its user is polled, or about to be. */
static void test_no_moment_is_bad_for_a_hint(void **state)
{
	(void)state;
	pass(60000);
	for (unsigned i = 0; i < 600; i++) {
		pass(37);
		change(&r.person[i % USERS]);
		if (i >= 60) {
			const struct person *p = &r.person[(i - 60) % USERS];

			assert_int_equal(p->seen, p->busy ? PX_PRESENCE_BUSY : PX_AVAILABLE);
		}
	}
}

/* A front end that is started anew still has the subscriptions, as they are its stores': no other ones are made beside them. */
static void test_the_front_end_is_away_for_a_minute(void **state)
{
	unsigned had[USERS];

	(void)state;
	pass(60000);
	for (unsigned i = 0; i < USERS; i++)
		had[i] = r.person[i].id;
	r.down = true;
	for (unsigned i = 0; i < USERS; i += 2)
		change(&r.person[i]);
	pass(60000);
	assert_int_equal(followed(), 0);
	r.down = false;
	pass(60000);
	assert_int_equal(wrong(), 0);
	assert_int_equal(followed(), USERS);
	assert_int_equal(r.asked[PX_ASK_SUBSCRIBE], USERS);
	for (unsigned i = 0; i < USERS; i++)
		assert_int_equal(r.person[i].id, had[i]);
	change(&r.person[5]);
	pass(1900);
	assert_int_equal(wrong(), 0);
}

static void test_the_front_end_is_down_for_an_hour(void **state)
{
	(void)state;
	pass(60000);
	r.down = true;
	for (unsigned i = 0; i < USERS; i += 2)
		change(&r.person[i]);
	pass(3600000);
	assert_int_equal(followed(), 0);
	unsigned probes = r.asked[PX_ASK_PROBE];
	pass(600000);
	assert_in_range(r.asked[PX_ASK_PROBE] - probes, 10, 25);
	r.down = false;
	pass(60000);
	assert_int_equal(wrong(), 0);
	pass(30000);
	assert_int_equal(followed(), USERS);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_state_first),
	    T(test_a_hint_is_followed_within_two_seconds),
	    T(test_hints_whenever_they_come),
	    T(test_a_hint_during_a_poll),
	    cmocka_unit_test_setup_teardown(test_several_servers, several, teardown),
	    T(test_forged_hints_cost_a_poll_at_most),
	    T(test_without_hints),
	    T(test_some_hints_get_lost),
	    T(test_slow_polls_are_gathered),
	    T(test_renewals),
	    T(test_forgotten_ids),
	    T(test_no_moment_is_bad_for_a_hint),
	    T(test_the_front_end_is_away_for_a_minute),
	    T(test_the_front_end_is_down_for_an_hour),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
