/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Exchange's codes make of a user and a gateway, wherever they come: the engine with the real backend, and XML for an answer.
 * What a code means is test_ews'; here is what is done about it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backend/ews.h"
#include "core/engine.h"

#define USER "alice@example.test"
#define WALL0 INT64_C(1764000000000)
#define WISH_MS 20000 /* BackOffMilliseconds of every error; Retry-After of a 503 */
#define MIN_MS INT64_C(60000)

/* Where the code comes, for the first time that this is asked. */
enum place {
	SUBSCRIBE,       /* in a 200 */
	SUBSCRIBE_WHOLE, /* as a fault, HTTP 500; so the others */
	STREAM,
	STREAM_IDS, /* with the ids that it is about */
	POLL,
	READ, /* the mailbox's own */
	READ_WHOLE,
	READ_ONE, /* FindItem, of who shows no free/busy */
	PLACES
};
#define AT(place) (1u << (place))
#define SUBSCRIBES (AT(SUBSCRIBE) | AT(SUBSCRIBE_WHOLE))
#define EVENTS (AT(STREAM) | AT(STREAM_IDS) | AT(POLL))
#define READS (AT(READ) | AT(READ_WHOLE) | AT(READ_ONE))
#define WHOLE (AT(SUBSCRIBE_WHOLE) | AT(READ_WHOLE))
#define ALL (SUBSCRIBES | EVENTS | READS)

static const char *const place_name[PLACES] = {
    "Subscribe", "Subscribe, whole",    "GetStreamingEvents",         "GetStreamingEvents, ids",
    "GetEvents", "GetUserAvailability", "GetUserAvailability, whole", "FindItem"};
static const enum px_ask place_ask[PLACES] = {PX_ASK_SUBSCRIBE, PX_ASK_SUBSCRIBE, PX_ASK_STREAM,
                                              PX_ASK_STREAM,    PX_ASK_POLL,      PX_ASK_READ,
                                              PX_ASK_READ,      PX_ASK_READ_ONE};

/* What is to be done. */
enum action {
	NOTHING, /* that could be seen */
	MOVE,   /* subscribed anew within a minute, at the other gateway, while this one stays up */
	AGAIN,  /* subscribed anew at once, at the same gateway */
	REOPEN, /* asked again at once at the same gateway, as the same subscriber */
	WAIT,  /* asked again at the same gateway, after a second or more, as the same subscriber */
	PARK,  /* not asked about this user for an hour; then again */
	PAUSE, /* nothing is asked at this gateway for as long as it wishes; then there again */
	DOWN,  /* the gateway is; its user is subscribed at the other within a minute */
	LOGIN, /* one request shows whether the account is still good, and nothing else is sent until then */
	OLDER, /* asked again in an older version */
	ALONE, /* read as the owner sees it */
	HALF   /* half of the time is read, at once */
};
static const char *const action_name[] = {"nothing", "move", "again", "reopen", "wait",  "park",
                                          "pause",   "down", "login", "older",  "alone", "half"};

static const struct {
	const char *codes; /* one, or several with blanks between */
	unsigned at;
	enum action action;
} rows[] = {
    /* the gateway */
    {"connect resolve tls", SUBSCRIBES | AT(READ) | AT(POLL), DOWN},
    {"HTTP_404", SUBSCRIBES | AT(READ) | AT(POLL), DOWN},
    {"HTTP_503 HTTP_429", AT(SUBSCRIBE) | AT(READ) | AT(READ_ONE), PAUSE},
    {"ErrorServerBusy ErrorExceededConnectionCount", SUBSCRIBES | AT(READ_WHOLE) | AT(READ_ONE),
     PAUSE},
    {"ErrorInternalServerError/ErrorServerBusy", SUBSCRIBES | AT(READ_WHOLE) | AT(READ_ONE), PAUSE},
    {"ErrorInvalidServerVersion ErrorIncorrectSchemaVersion", WHOLE, OLDER},
    /* the account */
    {"HTTP_401 HTTP_403", AT(SUBSCRIBE) | AT(READ) | AT(POLL) | AT(READ_ONE), LOGIN},
    {"ErrorImpersonationDenied", SUBSCRIBES | AT(POLL) | AT(READ_ONE), LOGIN},
    {"ErrorPasswordExpired ErrorPasswordChangeRequired", WHOLE, LOGIN},
    /* the subscription */
    {"ErrorSubscriptionNotFound ErrorInvalidSubscription ErrorSubscriptionUnsubsribed "
     "ErrorSubscriptionUnsubscribed ErrorExpiredSubscription ErrorSubscriptionAccessDenied",
     EVENTS, MOVE},
    {"ErrorInvalidWatermark ErrorEventNotFound ErrorReadEventsFailed ErrorMissedNotificationEvents",
     EVENTS, AGAIN},
    {"ErrorNewEventStreamConnectionOpened", AT(STREAM), REOPEN},
    /* the user */
    {"ErrorSubscriptionDelegateAccessNotSupported", SUBSCRIBES, PARK},
    {"ErrorImpersonateUserDenied", SUBSCRIBES | AT(READ_ONE) | AT(POLL), PARK},
    {"ErrorAccessDenied", SUBSCRIBES | AT(READ_ONE) | AT(POLL), PARK},
    {"ErrorNoFreeBusyAccess ErrorAccessDenied", AT(READ), ALONE},
    {"ErrorNonExistentMailbox ErrorMailRecipientNotFound ErrorInvalidSmtpAddress "
     "ErrorInvalidUserPrincipalName ErrorAccountDisabled",
     SUBSCRIBES | READS | AT(POLL), PARK},
    /* its server, for now */
    {"ErrorMailboxMoveInProgress ErrorMailboxStoreUnavailable ErrorMailboxFailover "
     "ErrorConnectionFailed "
     "ErrorInsufficientResources ErrorADUnavailable ErrorADOperation "
     "ErrorInternalServerTransientError "
     "ErrorTimeoutExpired ErrorNotEnoughMemory ErrorImpersonationFailed ErrorInternalServerError",
     SUBSCRIBES | READS | AT(POLL), WAIT},
    {"ErrorMailboxFailover ErrorInternalServerError ErrorFromTheFuture", AT(STREAM), REOPEN},
    /* where the gateway stands */
    {"ErrorNoRespondingCASInDestinationSite ErrorCrossSiteRequest ErrorProxyRequestNotAllowed "
     "ErrorProxyCallFailed ErrorProxyRequestProcessingFailed ErrorProxyServiceDiscoveryFailed "
     "ErrorWrongServerVersion ErrorServiceDiscoveryFailed",
     SUBSCRIBES | READS | AT(POLL), MOVE},
    /* what is asked for */
    {"ErrorExceededFindCountLimit ErrorResultSetTooBig ErrorCalendarViewRangeTooBig", AT(READ_ONE),
     HALF},
    {"ErrorMailboxDataArrayTooBig ErrorFreeBusyDLLimitReached", AT(READ) | AT(READ_WHOLE), WAIT},
    /* what isn't known */
    {"ErrorFromTheFuture", READS | AT(POLL), WAIT},
    {"ErrorFromTheFuture", SUBSCRIBES, MOVE}, /* refused by the server, and not by throttling */
};

struct asked {
	struct px_mono at;
	int gateway;
	enum px_ask ask;
	char version[24];
	char until[32]; /* READ_ONE */
};

struct rig {
	struct px_engine *e;
	struct px_now now;
	struct asked log[400];
	unsigned logged;
	struct {
		uint64_t id;
		unsigned log;
	} open[32];
	unsigned opens;
	enum place place;
	char code[80];
	bool
	    everywhere; /* the code comes at every time, and at every gateway, also to probes; else once */
	int stubborn; /* ... at this gateway alone; -1: none */
	unsigned hit; /* log[] + 1 that was answered with it first */
	/* after that answer */
	enum px_health health;
	enum px_login login;
	struct px_mono paused_until;
	enum px_watch_state watch;
};

static const char *between(const char *text, const char *from, const char *to, char *out,
                           size_t size)
{
	const char *at = strstr(text, from), *end = at ? strstr(at + strlen(from), to) : NULL;

	snprintf(out, size, "%.*s", end ? (int)(end - at - (int)strlen(from)) : 0,
	         end ? at + strlen(from) : "");
	return out;
}

/* ---- answers ---- */

static const char *operation(enum px_ask ask)
{
	return ask == PX_ASK_SUBSCRIBE     ? "Subscribe"
	       : ask == PX_ASK_UNSUBSCRIBE ? "Unsubscribe"
	       : ask == PX_ASK_STREAM      ? "GetStreamingEvents"
	       : ask == PX_ASK_POLL        ? "GetEvents"
	       : ask == PX_ASK_READ_ONE    ? "FindItem"
	                                   : "GetUserAvailability";
}

static void envelope(char *out, size_t size, const char *body)
{
	snprintf(out, size,
	         "<s:Envelope xmlns:s='" PX_EWS_SOAP "' xmlns:m='" PX_EWS_MESSAGES
	         "' xmlns:t='" PX_EWS_TYPES "'><s:Body>%s</s:Body></s:Envelope>",
	         body);
}

/* One mailbox, or one message. */
static void message(char *out, size_t size, enum px_ask ask, const char *class, const char *inner)
{
	const char *op = operation(ask);
	char body[3000];

	if (ask == PX_ASK_READ || ask == PX_ASK_PROBE)
		snprintf(
		    body, sizeof body,
		    "<m:GetUserAvailabilityResponse><m:FreeBusyResponseArray><m:FreeBusyResponse>"
		    "<m:ResponseMessage ResponseClass='%s'>%s</m:FreeBusyResponse>"
		    "</m:FreeBusyResponseArray></m:GetUserAvailabilityResponse>",
		    class, inner);
	else
		snprintf(
		    body, sizeof body,
		    "<m:%sResponse><m:ResponseMessages><m:%sResponseMessage ResponseClass='%s'>%s"
		    "</m:%sResponseMessage></m:ResponseMessages></m:%sResponse>",
		    op, op, class, inner, op, op);
	envelope(out, size, body);
}

#define NO_ERROR "<m:ResponseCode>NoError</m:ResponseCode>"

static void good(char *out, size_t size, enum px_ask ask)
{
	message(out, size, ask, "Success",
	        ask == PX_ASK_SUBSCRIBE ? NO_ERROR
	            "<m:SubscriptionId>sub-1</m:SubscriptionId><m:Watermark>w-1</m:Watermark>"
	        : ask == PX_ASK_STREAM ? NO_ERROR "<m:ConnectionStatus>OK</m:ConnectionStatus>"
	        : ask == PX_ASK_POLL   ? NO_ERROR
	            "<m:Notification><t:SubscriptionId>sub-1</t:SubscriptionId><t:MoreEvents>false"
	            "</t:MoreEvents><t:StatusEvent><t:Watermark>w-1</t:Watermark></t:StatusEvent>"
	            "</m:Notification>"
	        : ask == PX_ASK_READ_ONE ? NO_ERROR
	            "<m:RootFolder IncludesLastItemInRange='true'><t:Items/></m:RootFolder>"
	        : ask == PX_ASK_UNSUBSCRIBE ? NO_ERROR
	                                    : NO_ERROR
	            "</m:ResponseMessage><m:FreeBusyView><t:FreeBusyViewType>FreeBusy"
	            "</t:FreeBusyViewType><t:CalendarEventArray/></m:FreeBusyView>");
}

/* The code "OUTER/INNER" has another one inside. */
static void bad(char *out, size_t size, enum place place, enum px_ask ask, const char *text)
{
	const size_t n = strcspn(text, "/");
	char inner[1200], wish[200];

	snprintf(wish, sizeof wish,
	         "<m:MessageXml><t:Value Name='BackOffMilliseconds'>%d</t:Value>"
	         "<t:Value Name='InnerErrorResponseCode'>%s</t:Value></m:MessageXml>",
	         WISH_MS, text[n] ? text + n + 1 : "");
	if (place == SUBSCRIBE_WHOLE || place == READ_WHOLE) {
		snprintf(
		    inner, sizeof inner,
		    "<s:Fault><faultcode>s:Server</faultcode><faultstring>no</faultstring><detail>"
		    "<m:ResponseCode>%.*s</m:ResponseCode>%s</detail></s:Fault>",
		    (int)n, text, wish);
		envelope(out, size, inner);
		return;
	}
	snprintf(inner, sizeof inner,
	         "<m:MessageText>no</m:MessageText><m:ResponseCode>%.*s</m:ResponseCode>%s%s%s",
	         (int)n, text, wish,
	         place == STREAM_IDS
	             ? "<m:ErrorSubscriptionIds><m:SubscriptionId>sub-1</m:SubscriptionId>"
	               "</m:ErrorSubscriptionIds>"
	             : "",
	         ask == PX_ASK_READ || ask == PX_ASK_PROBE ? "</m:ResponseMessage>" : "");
	message(out, size, ask, "Error", inner);
}

static void look(struct rig *r)
{
	const struct px_pool *p = px_engine_pool(r->e);
	const struct px_gateway *g = &p->gateway[r->log[r->hit - 1].gateway];
	struct px_user_view v;

	assert_true(px_engine_user(r->e, (uint32_t)px_engine_user_find(r->e, USER), &v));
	r->health = g->health;
	r->login = p->login;
	r->paused_until = g->paused_until;
	r->watch = v.watch;
}

static void http(struct rig *r, uint64_t id, enum px_http_fail fail, int status, const char *body)
{
	const struct px_http_answer a = {.fail = fail,
	                                 .status = status,
	                                 .retry_after_ms =
	                                     status == 503 || status == 429 ? WISH_MS : -1,
	                                 .type = "text/xml"};

	if (*body)
		px_engine_http_data(r->e, id, body, strlen(body), r->now);
	px_engine_http_done(r->e, id, &a, r->now);
}

/* Answers the i-th of the requests that are open. False: it is a stream that has been opened. */
static bool reply(struct rig *r, unsigned i)
{
	const uint64_t id = r->open[i].id;
	const struct asked *q = &r->log[r->open[i].log];
	const bool here = r->stubborn < 0 || r->stubborn == q->gateway;
	const bool probe = q->ask == PX_ASK_PROBE;
	char body[5000];

	if (q->ask == PX_ASK_READ && r->place == READ_ONE) { /* so that FindItem is asked */
		bad(body, sizeof body, READ, PX_ASK_READ, "ErrorNoFreeBusyAccess");
	} else if (here && (r->everywhere ? r->hit > 0 || !probe : !r->hit) &&
	           (q->ask == place_ask[r->place] || (r->everywhere && probe))) {
		const enum px_http_fail fail = strcmp(r->code, "connect") == 0   ? PX_HTTP_CONNECT
		                               : strcmp(r->code, "resolve") == 0 ? PX_HTTP_RESOLVE
		                               : strcmp(r->code, "tls") == 0     ? PX_HTTP_TLS
		                                                                 : PX_HTTP_ANSWERED;
		const bool first = !r->hit;
		int status = 200;

		if (first)
			r->hit = r->open[i].log + 1;
		body[0] = '\0';
		if (fail != PX_HTTP_ANSWERED)
			status = 0;
		else if (sscanf(r->code, "HTTP_%d", &status) != 1)
			bad(body, sizeof body, r->place, q->ask, r->code);
		if (strstr(body, "Fault"))
			status = 500;
		r->open[i] = r->open[--r->opens];
		http(r, id, fail, status, body);
		if (first)
			look(r);
		return true;
	} else {
		good(body, sizeof body, q->ask);
	}
	if (q->ask == PX_ASK_STREAM) {
		px_engine_http_data(r->e, id, body, strlen(body), r->now);
		return false;
	}
	r->open[i] = r->open[--r->opens];
	http(r, id, PX_HTTP_ANSWERED, 200, body);
	return true;
}

static void turn(struct rig *r)
{
	bool again = true;

	px_engine_tick(r->e, r->now);
	while (again) {
		size_t n;
		px_engine_pump(r->e, r->now);
		struct px_action *a = px_engine_actions(r->e, &n);
		const unsigned before = r->opens;

		for (size_t i = 0; i < n; i++) {
			if (a[i].kind == PX_DO_HTTP_START) {
				struct asked *q = &r->log[r->logged];
				const char *body = a[i].http.wire.body.data;

				assert_in_range(r->logged, 0, sizeof r->log / sizeof *r->log - 1);
				assert_in_range(r->opens, 0, sizeof r->open / sizeof *r->open - 1);
				q->at = r->now.mono;
				q->gateway = a[i].http.gateway;
				q->ask = a[i].http.ask;
				between(body, "RequestServerVersion Version=\"", "\"", q->version,
				        sizeof q->version);
				between(body, "EndDate=\"", "\"", q->until, sizeof q->until);
				r->open[r->opens].id = a[i].http.id;
				r->open[r->opens++].log = r->logged++;
			} else if (a[i].kind == PX_DO_HTTP_CANCEL) {
				for (unsigned k = 0; k < r->opens; k++)
					if (r->open[k].id == a[i].http_cancel)
						r->open[k--] = r->open[--r->opens];
			} else if (a[i].kind == PX_DO_LOG && getenv("TRACE")) {
				print_message("%lld %s\n", (long long)r->now.mono.ms,
				              a[i].log.text);
			}
		}
		px_engine_actions_clear(r->e);
		again = r->opens != before;
		for (unsigned i = 0; i < r->opens;)
			if (r->log[r->open[i].log].at.ms == r->now.mono.ms && reply(r, i))
				again = true;
			else
				i++;
	}
}

static void pass(struct rig *r, int64_t ms)
{
	const int64_t until = r->now.mono.ms + ms;

	for (turn(r); r->now.mono.ms < until;) {
		int64_t due = px_engine_due(r->e, r->now).ms, by;

		/* streams say every 40 s that they live */
		if (due > r->now.mono.ms + 40000)
			due = r->now.mono.ms + 40000;
		by = (due < until ? due : until) - r->now.mono.ms;
		if (by < 1)
			by = 1;
		r->now.mono.ms += by;
		r->now.wall.ms += by;
		for (unsigned i = 0; i < r->opens; i++)
			if (r->log[r->open[i].log].ask == PX_ASK_STREAM)
				reply(r, i);
		turn(r);
	}
}

static void begin(struct rig *r, enum place place, const char *code)
{
	static const char *const names[] = {"cas1", "cas2"};
	static const unsigned eight[] = {8, 8};
	const struct px_engine_config c = {
	    .backend = &px_ews,
	    .map = px_map_default,
	    .gateways = 2,
	    .gateway_name = names,
	    .gateway_concurrency = eight,
	    .kinds = PX_KIND_BIT(place == POLL ? PX_KIND_PULL : PX_KIND_STREAM),
	    .horizon_s = 172800,
	    .resync_s = 3600,
	    .stale_after_s = 3600,
	    .publish_expires = 3600,
	    .publish_window = 200,
	    .presence_servers = 1,
	    .users_max = 10,
	    .log_level = PX_LOG_DEBUG,
	    .seed = 1};

	memset(r, 0, sizeof *r);
	r->place = place;
	r->stubborn = -1;
	snprintf(r->code, sizeof r->code, "%s", code);
	for (char *c2 = r->code; *c2; c2++) /* a blank stands between codes */
		if (*c2 == ' ')
			*c2 = '\0';
	r->now = (struct px_now){{1000}, {WALL0}};
	r->e = px_engine_new(&c, r->now);
	assert_non_null(r->e);
	/* the first gateway has had its turn, so it is also the first when users are assigned again */
	px_engine_user_put(r->e, "bob@example.test", "bob@example.test", true, r->now);
	px_engine_user_remove(r->e, "bob@example.test", r->now);
	px_engine_user_put(r->e, USER, USER, true, r->now);
}

/* ---- what was done ---- */

/* The first request of these kinds after the failed one; NULL: none. */
static const struct asked *next(const struct rig *r, unsigned asks)
{
	for (unsigned i = r->hit; i < r->logged; i++)
		if (asks & 1u << r->log[i].ask)
			return &r->log[i];
	return NULL;
}

static enum action what(const struct rig *r)
{
	const struct asked *was = &r->log[r->hit - 1];
	const unsigned kind = 1u << was->ask, subscribe = 1u << PX_ASK_SUBSCRIBE;
	const struct asked *same = next(r, kind), *anew = next(r, subscribe),
	                   *one = next(r, 1u << PX_ASK_READ_ONE),
	                   *any = next(r, kind | subscribe | 1u << PX_ASK_READ_ONE);
	const int64_t at = was->at.ms;

	if (r->login != PX_LOGIN_OPEN)
		return LOGIN;
	if (r->health == PX_GW_DOWN)
		return anew && anew->gateway != was->gateway && anew->at.ms - at < MIN_MS ? DOWN
		                                                                          : NOTHING;
	if (r->paused_until.ms > at) {
		for (unsigned i = r->hit; i < r->logged; i++)
			if (r->log[i].gateway == was->gateway && r->log[i].at.ms < at + WISH_MS)
				return NOTHING;
		return same && same->gateway == was->gateway && same->at.ms - at < 2 * MIN_MS
		           ? PAUSE
		           : NOTHING;
	}
	if (r->watch == PX_WATCH_PARKED)
		return same && same->at.ms - at >= 60 * MIN_MS && same->at.ms - at <= 62 * MIN_MS &&
		               (!any || any->at.ms - at >= 60 * MIN_MS)
		           ? PARK
		           : NOTHING;
	if (same && strcmp(same->version, was->version) < 0)
		return OLDER;
	if (was->ask == PX_ASK_READ && one && one->gateway == was->gateway &&
	    one->at.ms - at < 1000)
		return ALONE;
	if (was->ask == PX_ASK_READ_ONE && same && strcmp(same->until, was->until) < 0)
		return same->at.ms - at < 1000 ? HALF : NOTHING;
	if (anew && anew->gateway != was->gateway && anew->at.ms - at < MIN_MS)
		return MOVE;
	if (was->ask != PX_ASK_SUBSCRIBE && any == anew && anew && anew->at.ms - at < 1000 &&
	    r->place < READ)
		return AGAIN;
	if (was->ask == PX_ASK_STREAM && any == same && same && same->gateway == was->gateway &&
	    same->at.ms - at < 1000)
		return REOPEN;
	return same && same->gateway == was->gateway && same->at.ms - at >= 1000 &&
	               same->at.ms - at < MIN_MS
	           ? WAIT
	           : NOTHING;
}

static void test_each_code_in_each_place(void **state)
{
	unsigned wrong = 0, cells = 0;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		for (const char *code = rows[i].codes; *code; code += strspn(code, " ")) {
			for (enum place p = 0; p < PLACES; p++) {
				struct rig r;
				enum action was;

				if (!(rows[i].at & AT(p)))
					continue;
				begin(&r, p, code);
				pass(&r, 3 * MIN_MS);
				if (r.watch == PX_WATCH_PARKED)
					pass(&r, 65 * MIN_MS);
				if (!r.hit)
					fail_msg("%s is never asked", place_name[p]);
				was = what(&r);
				cells++;
				if (was != rows[i].action) {
					wrong++;
					print_error("%s in %s: %s, and not %s\n", r.code,
					            place_name[p], action_name[was],
					            action_name[rows[i].action]);
				}
				px_engine_free(r.e);
			}
			code += strcspn(code, " ");
		}
	print_message("%u codes in places\n", cells);
	assert_int_equal(wrong, 0);
}

/* The code comes at every time, from one gateway or from both. */
static struct rig refuse(enum place place, const char *code, int stubborn, int64_t ms)
{
	struct rig r;

	begin(&r, place, code);
	r.everywhere = true;
	r.stubborn = stubborn;
	pass(&r, ms);
	assert_true(r.hit > 0);
	return r;
}

static unsigned count(const struct rig *r, int gateway, unsigned asks)
{
	unsigned n = 0;

	for (unsigned i = r->hit - 1; i < r->logged; i++)
		n += r->log[i].gateway == gateway && asks & 1u << r->log[i].ask;
	return n;
}

/* No right on this CAS: the other gets its users. On none: the account is left alone, but for one try in 5 minutes. */
static void test_an_account_that_is_refused_for_good(void **state)
{
	static const char *const code[] = {"HTTP_401", "HTTP_403", "ErrorImpersonationDenied",
	                                   "ErrorPasswordExpired", "ErrorPasswordChangeRequired"};
	const unsigned all = ~0u;

	(void)state;
	for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
		struct rig r = refuse(SUBSCRIBE_WHOLE, code[i], 1, 2 * MIN_MS);
		struct px_user_view v;

		assert_true(px_engine_user(r.e, (uint32_t)px_engine_user_find(r.e, USER), &v));
		assert_int_equal(px_engine_pool(r.e)->gateway[1].health, PX_GW_REFUSED);
		assert_int_equal(px_engine_pool(r.e)->login, PX_LOGIN_OPEN);
		assert_int_equal(v.gateway, 0);
		assert_int_equal(v.watch, PX_WATCH_FOLLOWED);
		px_engine_free(r.e);

		r = refuse(SUBSCRIBE_WHOLE, code[i], -1, 61 * MIN_MS);
		assert_int_equal(px_engine_pool(r.e)->login, PX_LOGIN_HELD);
		/* the first, its retry, the other gateway, and 12 in the hour */
		assert_in_range(count(&r, 0, all) + count(&r, 1, all), 14, 15);
		px_engine_free(r.e);
	}
}

/* "3x -> reassign" */
static void test_a_passing_trouble_that_does_not_pass(void **state)
{
	static const char *const code[] = {"ErrorInternalServerError",
	                                   "ErrorMailboxStoreUnavailable"};

	(void)state;
	for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
		struct rig r = refuse(SUBSCRIBE, code[i], 1, 2 * MIN_MS);

		assert_int_equal(count(&r, 1, 1u << PX_ASK_SUBSCRIBE), PX_WATCH_TRIES);
		assert_int_equal(count(&r, 0, 1u << PX_ASK_SUBSCRIBE), 1);
		assert_int_equal(px_engine_pool(r.e)->gateway[1].health, PX_GW_UP);
		px_engine_free(r.e);
	}
}

/* Older than all that we can speak: another gateway. */
static void test_a_server_that_knows_none_of_our_versions(void **state)
{
	struct rig r;
	struct px_user_view v;

	(void)state;
	r = refuse(SUBSCRIBE_WHOLE, "ErrorInvalidServerVersion", 1, 2 * MIN_MS);
	assert_true(px_engine_user(r.e, (uint32_t)px_engine_user_find(r.e, USER), &v));
	assert_int_equal(px_engine_pool(r.e)->gateway[1].health, PX_GW_DOWN);
	assert_int_equal(v.gateway, 0);
	assert_int_equal(v.watch, PX_WATCH_FOLLOWED);
	px_engine_free(r.e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_code_in_each_place),
	    cmocka_unit_test(test_an_account_that_is_refused_for_good),
	    cmocka_unit_test(test_a_passing_trouble_that_does_not_pass),
	    cmocka_unit_test(test_a_server_that_knows_none_of_our_versions)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
