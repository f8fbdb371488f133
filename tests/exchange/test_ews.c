/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests and what they are answered, without a network: rights, versions, limits, contents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ews.h"
#include "samples.h"
#include "when.h"

#define ANCHOR INT64_C(1795392000) /* 2026-11-23T00:00:00Z */
#define SP1 VERSION("Exchange2010_SP1")
#define U1 AS("user1@x.test")

struct world {
	struct store *store;
	struct counters counters;
	struct ews ews;
	char *last; /* the body of the last answer */
	struct answer answer;
	struct hints hints; /* of the next requests */
};

static void no_wake(void *arg, struct stream *st)
{
	(void)arg;
	(void)st;
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);
	struct subs_limits limits = {.minute_ms = 60000,
	                             .heartbeat_ms = 45000,
	                             .per_mailbox = 3,
	                             .hanging = 2,
	                             .version = V2013_SP1};

	w->store = store_new(200, "x.test", 1, ANCHOR, false);
	w->ews = (struct ews){.store = w->store,
	                      .counters = &w->counters,
	                      .version = V2013_SP1,
	                      .limits = limits,
	                      .service = store_add(w->store, "svc@x.test"),
	                      .now_ms = 1000,
	                      .wall_s = ANCHOR};
	w->ews.subs = subs_new(2, &limits, w->store, &w->counters, no_wake, NULL);
	subs_wall(w->ews.subs, ANCHOR, 1000);
	affinity_init(&w->ews.affinity, AFFINITY_COOKIE, 1);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	free(w->last);
	subs_free(w->ews.subs);
	store_free(w->store);
	free(w);
	return 0;
}

/* The HTTP status; the body is w->last, of a stream what it began with. */
static unsigned ask(struct world *w, unsigned cas, const char *body)
{
	free(w->last);
	w->answer = (struct answer){0};
	ews_answer(&w->ews, cas, &w->hints, body, strlen(body), &w->answer);
	w->last = w->answer.body.p;
	buf_free(&w->answer.cookie);
	if (w->answer.stream) {
		buf_free(&w->answer.body);
		w->last = xstrdup(w->answer.stream->out.p);
		buf_drop(&w->answer.stream->out, w->answer.stream->out.len);
	}
	return w->answer.status;
}

static void says_(struct world *w, const char *what, int line)
{
	if (!strstr(w->last, what))
		fail_msg("line %d: \"%s\" isn't in %s", line, what, w->last);
}
#define says(w, what) says_(w, what, __LINE__)

/* own memory: the text of the first element of that name */
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

static char *subscribed(struct world *w, unsigned cas, const char *as)
{
	char body[3000];

	snprintf(body, sizeof body, ENVELOPE(SP1 AS("%s"), STREAMING(CALENDAR EVENTS)), as);
	assert_int_equal(ask(w, cas, body), 200);
	return text_of(w->last, "m:SubscriptionId");
}

static void meeting(struct world *w, const char *address, enum status s, int64_t from, int64_t to)
{
	struct meeting m = {.status = s, .start = from, .end = to, .subject = "S"};

	store_create(w->store, store_find(w->store, address), &m);
}

static void refused(struct world *w, const char *body, unsigned status, const char *code)
{
	unsigned got = ask(w, 0, body);

	if (got != status || !strstr(w->last, code))
		fail_msg("HTTP %u instead of %u with %s: %s", got, status, code, w->last);
	if (w->answer.refused == NULL)
		fail_msg("not counted: %s", code);
}

static void envelopes_are_checked(void **state)
{
	struct world *w = *state;

	refused(w, "no XML", 400, "s:Client");
	refused(w, "<a/>", 500, "s:VersionMismatch");
	/* the namespace that a documentation once printed with https */
	refused(w,
	        "<s:Envelope xmlns:s=\"https://schemas.xmlsoap.org/soap/envelope/\"><s:Body/>"
	        "</s:Envelope>",
	        500, "s:VersionMismatch");
	refused(w, "<s:Envelope xmlns:s=\"" NS_SOAP "\"/>", 500, "ErrorSchemaValidation");
	refused(w, ENVELOPE("", ""), 500, "ErrorSchemaValidation");
	refused(w, ENVELOPE("", "<m:a/><m:b/>"), 500, "ErrorSchemaValidation");
	refused(w, ENVELOPE(SP1, "<m:GetFolder/>"), 500, "ErrorInvalidOperation");
	refused(w, ENVELOPE(SP1, "<t:Subscribe/>"), 500, "ErrorSchemaValidation");
	refused(w, ENVELOPE("<m:What soap:mustUnderstand=\"1\"/>", "<m:Subscribe/>"), 500,
	        "s:MustUnderstand");
	refused(w, ENVELOPE(SP1 SP1, STREAMING(CALENDAR EVENTS)), 500, "ErrorDuplicateSOAPHeader");
	refused(w, ENVELOPE(SP1 "<t:ExchangeImpersonation/>", STREAMING(CALENDAR EVENTS)), 500,
	        "ErrorSchemaValidation");
}

static void versions_are_honoured(void **state)
{
	struct world *w = *state;

	refused(w, ENVELOPE("", STREAMING(CALENDAR EVENTS)), 500, "ErrorSchemaValidation");
	refused(w, ENVELOPE(VERSION("Exchange2010"), STREAMING(CALENDAR EVENTS)), 500,
	        "StreamingSubscriptionRequest");
	refused(w, ENVELOPE(VERSION("Exchange2016"), STREAMING(CALENDAR EVENTS)), 500,
	        "ErrorInvalidServerVersion");
	refused(w, ENVELOPE(VERSION("2010_SP1"), STREAMING(CALENDAR EVENTS)), 500,
	        "ErrorInvalidServerVersion");
	assert_int_equal(
	    ask(w, 0, ENVELOPE(VERSION("Exchange2013_SP1"), STREAMING(CALENDAR EVENTS))), 200);
	says(w, "MajorVersion=\"15\" MinorVersion=\"0\"");
	assert_int_equal(ask(w, 0, ENVELOPE("", PULL(CALENDAR PULL_EVENTS TIMEOUT("5")))), 200);
}

static void impersonation_is_enforced(void **state)
{
	struct world *w = *state;

	store_find(w->store, "user2@x.test")->denied = true;
	refused(w, ENVELOPE(SP1 AS("user2@x.test"), STREAMING(CALENDAR EVENTS)), 500,
	        "ErrorImpersonateUserDenied");
	refused(w, ENVELOPE(SP1 AS("user201@x.test"), STREAMING(CALENDAR EVENTS)), 500,
	        "ErrorNonExistentMailbox");
	refused(w, ENVELOPE(SP1 AS("user1"), STREAMING(CALENDAR EVENTS)), 500,
	        "ErrorInvalidSmtpAddress");
	refused(w,
	        ENVELOPE(SP1
	                 "<t:ExchangeImpersonation><t:ConnectingSID><t:PrincipalName>nobody@x.test"
	                 "</t:PrincipalName></t:ConnectingSID></t:ExchangeImpersonation>",
	                 STREAMING(CALENDAR EVENTS)),
	        500, "ErrorInvalidUserPrincipalName");
	refused(w,
	        ENVELOPE(SP1 "<t:ExchangeImpersonation><t:ConnectingSID><t:SID>S-1-5</t:SID>"
	                     "</t:ConnectingSID></t:ExchangeImpersonation>",
	                 STREAMING(CALENDAR EVENTS)),
	        500, "ErrorInvalidUserSid");
	w->ews.denied[0] = true;
	refused(w, ENVELOPE(SP1 U1, STREAMING(CALENDAR EVENTS)), 500, "ErrorImpersonationDenied");
	assert_int_equal(ask(w, 1, ENVELOPE(SP1 U1, STREAMING(CALENDAR EVENTS))), 200);
	w->ews.denied[0] = false;
	assert_int_equal(ask(w, 0, ENVELOPE(SP1, STREAMING(CALENDAR EVENTS))), 200);
	assert_ptr_equal(w->ews.service->subs->mailbox, w->ews.service);
	assert_int_equal(store_find(w->store, "user1@x.test")->subs->cas, 1);
}

static void subscriptions_have_conditions(void **state)
{
	struct world *w = *state;
	char *ids[3];

	refused(w,
	        ENVELOPE(SP1 U1, STREAMING("<t:FolderIds><t:DistinguishedFolderId Id=\"calendar\">"
	                                   "<t:Mailbox><t:EmailAddress>user2@x.test"
	                                   "</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>"
	                                   "</t:FolderIds>" EVENTS)),
	        200, "ErrorSubscriptionDelegateAccessNotSupported");
	refused(w,
	        ENVELOPE(SP1 U1,
	                 STREAMING("<t:FolderIds><t:FolderId Id=\"AAMk\"/></t:FolderIds>" EVENTS)),
	        200, "ErrorInvalidIdMalformed");
	refused(w, ENVELOPE(SP1 U1, STREAMING(EVENTS)), 200, "ErrorInvalidSubscriptionRequest");
	refused(w,
	        ENVELOPE(SP1 U1, "<m:Subscribe><m:PushSubscriptionRequest>" CALENDAR PULL_EVENTS
	                         "<t:StatusFrequency>1</t:StatusFrequency><t:URL>ftp://x/</t:URL>"
	                         "</m:PushSubscriptionRequest></m:Subscribe>"),
	        200, "ErrorInvalidPushSubscriptionUrl");
	refused(w,
	        ENVELOPE(SP1 U1,
	                 PULL(CALENDAR PULL_EVENTS "<t:Watermark>AA==</t:Watermark>" TIMEOUT("5"))),
	        200, "ErrorInvalidWatermark");
	store_find(w->store, "user1@x.test")->move_until_ms = 5000;
	refused(w, ENVELOPE(SP1 U1, STREAMING(CALENDAR EVENTS)), 200, "ErrorMailboxMoveInProgress");
	w->ews.now_ms = 5000;
	for (int i = 0; i < 3; i++)
		ids[i] = subscribed(w, (unsigned)i % 2, "user1@x.test");
	assert_string_not_equal(ids[0], ids[2]);
	refused(w, ENVELOPE(SP1 U1, STREAMING(CALENDAR EVENTS)), 200,
	        "ErrorExceededSubscriptionCount");
	for (int i = 0; i < 3; i++)
		free(ids[i]);
}

static void subscriptions_live_on_their_cas(void **state)
{
	struct world *w = *state;
	char *id = subscribed(w, 0, "user1@x.test"), body[2000];

	snprintf(body, sizeof body, ENVELOPE(SP1 U1, GET_STREAMING(ID("%s"), "30")), id);
	assert_int_equal(ask(w, 1, body), 200);
	says(w, "ErrorSubscriptionNotFound");
	says(w, "<m:ErrorSubscriptionIds><m:SubscriptionId>");
	assert_true(w->answer.stream->over);
	stream_close(w->ews.subs, w->answer.stream, 1000);

	snprintf(body, sizeof body,
	         ENVELOPE(SP1, "<m:Unsubscribe><m:SubscriptionId>%s</m:SubscriptionId>"
	                       "</m:Unsubscribe>"),
	         id);
	assert_int_equal(ask(w, 1, body), 200);
	says(w, "ErrorSubscriptionNotFound");
	assert_int_equal(ask(w, 0, body), 200);
	says(w, "NoError");
	assert_int_equal(ask(w, 0, body), 200);
	says(w, "ErrorSubscriptionNotFound");
	free(id);
}

static void streams_count_against_their_anchor(void **state)
{
	struct world *w = *state;
	char *a = subscribed(w, 0, "user1@x.test"), *b = subscribed(w, 0, "user2@x.test");
	char *c = subscribed(w, 0, "user3@x.test"), body[2000], other[2000];
	struct stream *first;

	snprintf(body, sizeof body, ENVELOPE(SP1 U1, GET_STREAMING(ID("%s"), "30")), a);
	assert_int_equal(ask(w, 0, body), 200);
	first = w->answer.stream;
	says(w, "<m:ConnectionStatus>OK<");
	snprintf(body, sizeof body, ENVELOPE(SP1 U1, GET_STREAMING(ID("%s"), "30")), b);
	assert_int_equal(ask(w, 0, body), 200);
	snprintf(body, sizeof body, ENVELOPE(SP1 U1, GET_STREAMING(ID("%s"), "30")), c);
	refused(w, body, 500, "ErrorExceededConnectionCount");
	snprintf(other, sizeof other,
	         ENVELOPE(SP1 AS("user3@x.test"), GET_STREAMING(ID("%s"), "30")), c);
	assert_int_equal(ask(w, 0, other), 200);
	stream_close(w->ews.subs, first, 1000);
	assert_int_equal(ask(w, 0, body), 200);
	free(a);
	free(b);
	free(c);
}

static void two_hundred_ids_are_enough(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	for (int n = 200; n <= 201; n++) {
		buf_free(&b);
		buf_str(&b, "<soap:Envelope xmlns:soap=\"" NS_SOAP "\" xmlns:t=\"" NS_TYPES
		            "\" xmlns:m=\"" NS_MESSAGES "\"><soap:Header>" SP1
		            "</soap:Header><soap:Body><m:GetStreamingEvents><m:SubscriptionIds>");
		for (int i = 0; i < n; i++)
			buf_fmt(&b, "<t:SubscriptionId>%d</t:SubscriptionId>", i);
		buf_str(&b, "</m:SubscriptionIds><m:ConnectionTimeout>1</m:ConnectionTimeout>"
		            "</m:GetStreamingEvents></soap:Body></soap:Envelope>");
		assert_int_equal(ask(w, 0, b.p), 200);
		says(w, n == 200 ? "ErrorSubscriptionNotFound" : "ErrorInvalidSubscriptionRequest");
		assert_int_equal(w->answer.stream != NULL, n == 200);
	}
	buf_free(&b);
}

static void pulled_events_come_once(void **state)
{
	struct world *w = *state;
	char body[2000], *id, *mark, *next;
	int pages = 0, events = 0;

	assert_int_equal(ask(w, 0, ENVELOPE(SP1 U1, PULL(CALENDAR PULL_EVENTS TIMEOUT("5")))), 200);
	id = text_of(w->last, "m:SubscriptionId");
	mark = text_of(w->last, "m:Watermark");
	for (int i = 0; i < 70; i++)
		meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR, ANCHOR + 60);
	meeting(w, "user2@x.test", STATUS_BUSY, ANCHOR, ANCHOR + 60);
	do {
		const char *p;

		snprintf(body, sizeof body,
		         ENVELOPE(SP1 U1, "<m:GetEvents><m:SubscriptionId>%s</m:SubscriptionId>"
		                          "<m:Watermark>%s</m:Watermark></m:GetEvents>"),
		         id, mark);
		assert_int_equal(ask(w, 0, body), 200);
		says(w, "NoError");
		/* the last watermark is the one to go on with */
		for (p = w->last; (p = strstr(p, "<t:Watermark>")); events++) {
			free(mark);
			p += strlen("<t:Watermark>");
			mark = strndup(p, strcspn(p, "<"));
		}
		pages++;
	} while (strstr(w->last, "<t:MoreEvents>true<"));
	assert_int_equal(pages, 2);
	assert_int_equal(events, 70);
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 U1, "<m:GetEvents><m:SubscriptionId>%s</m:SubscriptionId>"
	                          "<m:Watermark>%s</m:Watermark></m:GetEvents>"),
	         id, mark);
	assert_int_equal(ask(w, 0, body), 200);
	says(w, "<t:StatusEvent>");
	next = text_of(w->last, "t:PreviousWatermark");
	assert_string_equal(next, mark);
	free(next);
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 U1, "<m:GetEvents><m:SubscriptionId>%s</m:SubscriptionId>"
	                          "<m:Watermark>AAAA</m:Watermark></m:GetEvents>"),
	         id);
	refused(w, body, 200, "ErrorInvalidWatermark");
	/* an event table isn't for ever */
	for (int i = 0; i < QUEUE_MAX + 1; i++)
		meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR, ANCHOR + 60);
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 U1, "<m:GetEvents><m:SubscriptionId>%s</m:SubscriptionId>"
	                          "<m:Watermark>%s</m:Watermark></m:GetEvents>"),
	         id, mark);
	refused(w, body, 200, "ErrorEventNotFound");
	refused(w, body, 200, "ErrorSubscriptionNotFound");
	free(id);
	free(mark);
}

#define ASK_FOR(boxes, options) ENVELOPE(SP1, AVAILABILITY(UTC MAILBOXES(boxes) options))
#define ONE MAILBOX("user1@x.test")
#define A_DAY WINDOW("2026-11-23T00:00:00", "2026-11-24T00:00:00")

static void availability_has_limits(void **state)
{
	struct world *w = *state;
	struct buf b = {0};

	refused(w, ASK_FOR(ONE, ""), 500, "ErrorMissingArgument");
	refused(w, ENVELOPE("", AVAILABILITY(MAILBOXES(ONE) OPTIONS(A_DAY VIEW("FreeBusy")))), 500,
	        "ErrorMissingArgument");
	refused(w,
	        ENVELOPE(SP1 "<t:TimeZoneContext><t:TimeZoneDefinition Id=\"Tokyo Standard Time\"/>"
	                     "</t:TimeZoneContext>",
	                 AVAILABILITY(MAILBOXES(ONE) OPTIONS(A_DAY VIEW("FreeBusy")))),
	        500, "ErrorCalendarInvalidTimeZone");
	assert_int_equal(
	    ask(w, 0,
	        ENVELOPE(SP1 "<t:TimeZoneContext><t:TimeZoneDefinition Id=\"UTC\"/>"
	                     "</t:TimeZoneContext>",
	                 AVAILABILITY(MAILBOXES(ONE) OPTIONS(A_DAY VIEW("FreeBusy"))))),
	    200);
	refused(w, ASK_FOR("", OPTIONS(A_DAY VIEW("FreeBusy"))), 500, "ErrorMailboxDataArrayEmpty");
	refused(w, ASK_FOR(ONE, OPTIONS(A_DAY)), 500, "ErrorInvalidFreeBusyViewType");
	refused(w, ASK_FOR(ONE, OPTIONS(A_DAY VIEW("None"))), 500, "ErrorInvalidFreeBusyViewType");
	refused(w, ASK_FOR(ONE, OPTIONS(A_DAY SLOT("4") VIEW("FreeBusy"))), 500,
	        "ErrorInvalidMergedFreeBusyInterval");
	refused(w, ASK_FOR(ONE, OPTIONS(A_DAY SLOT("1441") VIEW("FreeBusy"))), 500,
	        "ErrorInvalidMergedFreeBusyInterval");
	refused(w,
	        ASK_FOR(ONE, OPTIONS(WINDOW("2026-11-24T00:00:00", "2026-11-24T00:00:00")
	                                 VIEW("FreeBusy"))),
	        500, "ErrorInvalidTimeInterval");
	refused(w,
	        ASK_FOR(ONE, OPTIONS(WINDOW("2026-11-01T00:00:00", "2026-12-13T00:00:01")
	                                 VIEW("FreeBusy"))),
	        500, "ErrorTimeIntervalTooBig");
	refused(
	    w,
	    ENVELOPE(SP1, AVAILABILITY(ZONE("0", RULE_OF("0", "1", "13"), RULE_OF("0", "1", "1"))
	                                   MAILBOXES(ONE) OPTIONS(A_DAY VIEW("FreeBusy")))),
	    500, "ErrorCalendarInvalidTimeZone");
	for (int n = 100; n <= 101; n++) {
		buf_free(&b);
		buf_str(&b,
		        "<soap:Envelope xmlns:soap=\"" NS_SOAP "\" xmlns:t=\"" NS_TYPES
		        "\" xmlns:m=\"" NS_MESSAGES
		        "\"><soap:Body><m:GetUserAvailabilityRequest>" UTC "<m:MailboxDataArray>");
		for (int i = 1; i <= n; i++)
			buf_fmt(&b, MAILBOX("user%d@x.test"), i);
		buf_str(
		    &b,
		    "</m:MailboxDataArray>" OPTIONS(A_DAY VIEW(
		        "FreeBusy")) "</m:GetUserAvailabilityRequest></soap:Body></soap:Envelope>");
		if (n == 101)
			refused(w, b.p, 500, "ErrorMailboxDataArrayTooBig");
		else
			assert_int_equal(ask(w, 0, b.p), 200);
	}
	assert_int_equal(w->counters.cas[0].mailboxes_asked, 100 + 101 + 11);
	buf_free(&b);
}

static void availability_answers_each_mailbox(void **state)
{
	struct world *w = *state;

	meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR + 3600, ANCHOR + 7200);
	meeting(w, "user1@x.test", STATUS_OOF, ANCHOR - 3600, ANCHOR);
	store_find(w->store, "user2@x.test")->no_freebusy = true;
	store_find(w->store, "user3@x.test")->move_until_ms = 9000;
	assert_int_equal(ask(w, 0,
	                     ASK_FOR(ONE MAILBOX("nobody@x.test") MAILBOX("user2@x.test")
	                                 MAILBOX("user3@x.test") MAILBOX("USER4@X.TEST"),
	                             OPTIONS(A_DAY SLOT("60") VIEW("FreeBusyMerged")))),
	                 200);
	says(w, "<MergedFreeBusy xmlns=\"" NS_TYPES "\">020000000000000000000000<");
	says(w, "<StartTime>2026-11-23T01:00:00</StartTime><EndTime>2026-11-23T02:00:00</EndTime>"
	        "<BusyType>Busy</BusyType>");
	assert_null(strstr(w->last, "OOF"));
	says(w, "ErrorMailRecipientNotFound");
	says(w, "ErrorNoFreeBusyAccess");
	says(w, "ErrorMailboxMoveInProgress");
	says(w, "<MergedFreeBusy xmlns=\"" NS_TYPES "\">000000000000000000000000<");
	/* in the order of the request */
	assert_true(strstr(w->last, "ErrorMailRecipientNotFound") <
	            strstr(w->last, "ErrorNoFreeBusyAccess"));
	/* the window is in the request's zone: in New York it begins five hours later */
	assert_int_equal(
	    ask(w, 0,
	        ENVELOPE(SP1,
	                 AVAILABILITY(ZONE("300", RULE_OF("0", "1", "11"), RULE_OF("-60", "2", "3"))
	                                  MAILBOXES(ONE) OPTIONS(
	                                      WINDOW("2026-11-22T20:00:00", "2026-11-22T21:00:00")
	                                          VIEW("FreeBusy"))))),
	    200);
	says(w, "<StartTime>2026-11-22T20:00:00</StartTime>");
}

static void working_elsewhere_is_told_to_those_who_know_it(void **state)
{
	struct world *w = *state;

	meeting(w, "user1@x.test", STATUS_ELSEWHERE, ANCHOR, ANCHOR + 3600);
	assert_int_equal(ask(w, 0, ASK_FOR(ONE, OPTIONS(A_DAY VIEW("FreeBusy")))), 200);
	says(w, "<BusyType>Free<");
	assert_int_equal(
	    ask(w, 0,
	        ENVELOPE(VERSION("Exchange2013"),
	                 AVAILABILITY(UTC MAILBOXES(ONE) OPTIONS(A_DAY VIEW("FreeBusy"))))),
	    200);
	says(w, "<BusyType>WorkingElsewhere<");
}

#define VIEW_OF(attrs) "<m:CalendarView " attrs "/>"
#define WEEK_VIEW VIEW_OF("StartDate=\"2026-11-23T00:00:00Z\" EndDate=\"2026-11-30T00:00:00Z\"")
#define FIND_AS(inside) ENVELOPE(SP1 U1, FIND(inside))

static int count(const char *in, const char *what)
{
	int n = 0;

	for (; (in = strstr(in, what)); in++)
		n++;
	return n;
}

static void find_item_expands(void **state)
{
	struct world *w = *state;
	struct meeting m = {.start = ANCHOR + 3600,
	                    .end = ANCHOR + 7200,
	                    .status = STATUS_TENTATIVE,
	                    .repeat = REPEAT_DAILY,
	                    .interval = 2,
	                    .secret = true,
	                    .nexc = 1,
	                    .exc = {{.index = 1,
	                             .status = STATUS_OOF,
	                             .start = ANCHOR + 3 * WHEN_DAY,
	                             .end = ANCHOR + 3 * WHEN_DAY + 60}}};

	store_create(w->store, store_find(w->store, "user1@x.test"), &m);
	meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR - 60, ANCHOR + 60);
	assert_int_equal(ask(w, 0, FIND_AS(SHAPE("IdOnly", "") WEEK_VIEW PARENT)), 200);
	says(w, "TotalItemsInView=\"5\" IncludesLastItemInRange=\"true\"");
	assert_int_equal(count(w->last, "<t:CalendarItem><t:ItemId "), 5);
	assert_null(strstr(w->last, "<t:Start>"));
	assert_int_equal(
	    ask(w, 0,
	        FIND_AS(SHAPE(
	            "IdOnly",
	            "<t:AdditionalProperties>" FIELD("calendar:Start") FIELD("item:Sensitivity")
	                FIELD("calendar:CalendarItemType")
	                    FIELD("calendar:LegacyFreeBusyStatus") "</t:AdditionalProperties>")
	                    WEEK_VIEW PARENT)),
	    200);
	says(w, "<t:Sensitivity>Private</t:Sensitivity><t:Start>2026-11-26T00:00:00Z</t:Start>"
	        "<t:LegacyFreeBusyStatus>OOF</t:LegacyFreeBusyStatus>"
	        "<t:CalendarItemType>Exception</t:CalendarItemType>");
	assert_int_equal(count(w->last, ">Occurrence<"), 3);
	assert_int_equal(ask(w, 0,
	                     FIND_AS(SHAPE("Default", "") VIEW_OF(
	                         "MaxEntriesReturned=\"2\" StartDate=\"2026-11-23T00:00:00Z\" "
	                         "EndDate=\"2026-11-30T00:00:00Z\"") PARENT)),
	                 200);
	says(w, "TotalItemsInView=\"5\" IncludesLastItemInRange=\"false\"");
	assert_int_equal(count(w->last, "<t:CalendarItem>"), 2);
}

#define SETTINGS_OF(who, address)                                                                  \
	ENVELOPE(SP1 AS(who), "<m:GetUserOofSettingsRequest><t:Mailbox><t:Address>" address        \
	                      "</t:Address></t:Mailbox></m:GetUserOofSettingsRequest>")
#define RECIPIENT(address) "<t:Mailbox><t:EmailAddress>" address "</t:EmailAddress></t:Mailbox>"
#define TIPS(version, recipients)                                                                  \
	ENVELOPE(version AS("user1@x.test"),                                                       \
	         "<m:GetMailTips><m:SendingAs><t:EmailAddress>user1@x.test</t:EmailAddress>"       \
	         "</m:SendingAs><m:Recipients>" recipients                                         \
	         "</m:Recipients><m:MailTipsRequested>OutOfOfficeMessage</m:MailTipsRequested>"    \
	         "</m:GetMailTips>")

static void automatic_replies(void **state)
{
	struct world *w = *state;
	struct mailbox *one = store_find(w->store, "user1@x.test"),
	               *two = store_find(w->store, "user2@x.test");

	one->oof = OOF_SCHEDULED;
	one->oof_from = ANCHOR + 60;
	one->oof_until = ANCHOR + 120;
	two->oof = OOF_ENABLED;
	assert_int_equal(ask(w, 0, SETTINGS_OF("user1@x.test", "user1@x.test")), 200);
	says(w, "<t:OofState>Scheduled</t:OofState>");
	says(w, "<t:StartTime>2026-11-23T00:01:00</t:StartTime>");
	/* nobody else's */
	refused(w, SETTINGS_OF("user1@x.test", "user2@x.test"), 500, "ErrorAccessDenied");
	/* tips tell who is away now */
	assert_int_equal(ask(w, 0,
	                     TIPS(SP1, RECIPIENT("user1@x.test") RECIPIENT("user2@x.test")
	                                   RECIPIENT("nobody@x.test"))),
	                 200);
	assert_int_equal(count(w->last, "I am away"), 1);
	says(w, "ErrorMailRecipientNotFound");
	one->oof_from = ANCHOR - 60;
	assert_int_equal(ask(w, 0, TIPS(SP1, RECIPIENT("user1@x.test"))), 200);
	says(w, "I am away");
	says(w, "<t:EndTime>2026-11-23T00:02:00Z</t:EndTime>");
	refused(w, TIPS(VERSION("Exchange2007_SP1"), RECIPIENT("user1@x.test")), 500,
	        "ErrorSchemaValidation");
}

static void some_show_digits_only(void **state)
{
	struct world *w = *state;

	meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR + 3600, ANCHOR + 7200);
	store_find(w->store, "user1@x.test")->merged_only = true;
	assert_int_equal(ask(w, 0, ASK_FOR(ONE, OPTIONS(A_DAY SLOT("60") VIEW("FreeBusyMerged")))),
	                 200);
	says(w, ">MergedOnly</FreeBusyViewType><MergedFreeBusy xmlns=\"" NS_TYPES
	        "\">020000000000000000000000<");
	assert_null(strstr(w->last, "CalendarEvent"));
}

static void find_item_has_limits(void **state)
{
	struct world *w = *state;

	refused(w, FIND_AS(SHAPE("IdOnly", "") PARENT), 200, "ErrorInvalidOperation");
	refused(w,
	        FIND_AS(SHAPE("IdOnly", "") VIEW_OF("StartDate=\"2026-11-23T00:00:01Z\" "
	                                            "EndDate=\"2026-11-23T00:00:00Z\"") PARENT),
	        200, "ErrorCalendarEndDateIsEarlierThanStartDate");
	refused(w,
	        FIND_AS(SHAPE("IdOnly", "") VIEW_OF("StartDate=\"2026-11-23T00:00:00Z\" "
	                                            "EndDate=\"2029-11-23T00:00:00Z\"") PARENT),
	        200, "ErrorCalendarViewRangeTooBig");
	refused(w,
	        FIND_AS(SHAPE("IdOnly", "") VIEW_OF("MaxEntriesReturned=\"0\" "
	                                            "StartDate=\"2026-11-23T00:00:00Z\" "
	                                            "EndDate=\"2026-11-23T00:00:00Z\"") PARENT),
	        200, "ErrorInvalidPagingMaxRows");
	refused(w,
	        FIND_AS(SHAPE("IdOnly", "") WEEK_VIEW
	                "<m:ParentFolderIds><t:DistinguishedFolderId Id=\"inbox\"/>"
	                "</m:ParentFolderIds>"),
	        200, "ErrorCalendarFolderIsInvalidForCalendarView");
	refused(w,
	        FIND_AS(SHAPE("IdOnly", "") WEEK_VIEW
	                "<m:ParentFolderIds><t:DistinguishedFolderId Id=\"calendar\"><t:Mailbox>"
	                "<t:EmailAddress>user2@x.test</t:EmailAddress></t:Mailbox>"
	                "</t:DistinguishedFolderId></m:ParentFolderIds>"),
	        200, "ErrorAccessDenied");
	for (int i = 0; i <= FIND_COUNT_LIMIT; i++)
		meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR, ANCHOR + 60);
	refused(w, FIND_AS(SHAPE("IdOnly", "") WEEK_VIEW PARENT), 200,
	        "ErrorExceededFindCountLimit");
	assert_int_equal(ask(w, 0,
	                     FIND_AS(SHAPE("IdOnly", "") VIEW_OF(
	                         "MaxEntriesReturned=\"10\" StartDate=\"2026-11-23T00:00:00Z\" "
	                         "EndDate=\"2026-11-30T00:00:00Z\"") PARENT)),
	                 200);
	says(w, "NoError");
}

/* A folder id that the server gave is one it takes. */
static void folder_ids_lead_back(void **state)
{
	struct world *w = *state;
	char body[3000], *p, *id;

	meeting(w, "user1@x.test", STATUS_BUSY, ANCHOR, ANCHOR + 60);
	assert_int_equal(
	    ask(w, 0,
	        FIND_AS(SHAPE("IdOnly", "<t:AdditionalProperties>" FIELD(
	                                    "item:ParentFolderId") "</t:AdditionalProperties>")
	                    WEEK_VIEW PARENT)),
	    200);
	p = strstr(w->last, "<t:ParentFolderId Id=\"");
	assert_non_null(p);
	p += strlen("<t:ParentFolderId Id=\"");
	id = strndup(p, strcspn(p, "\""));
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 U1,
	                  STREAMING("<t:FolderIds><t:FolderId Id=\"%s\"/></t:FolderIds>" EVENTS)),
	         id);
	assert_int_equal(ask(w, 0, body), 200);
	says(w, "NoError");
	assert_true(store_find(w->store, "user1@x.test")->subs->calendar);
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 AS("user2@x.test"),
	                  STREAMING("<t:FolderIds><t:FolderId Id=\"%s\"/></t:FolderIds>" EVENTS)),
	         id);
	refused(w, body, 200, "ErrorSubscriptionDelegateAccessNotSupported");
	free(id);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(envelopes_are_checked),
	    TEST(versions_are_honoured),
	    TEST(impersonation_is_enforced),
	    TEST(subscriptions_have_conditions),
	    TEST(subscriptions_live_on_their_cas),
	    TEST(streams_count_against_their_anchor),
	    TEST(two_hundred_ids_are_enough),
	    TEST(pulled_events_come_once),
	    TEST(availability_has_limits),
	    TEST(availability_answers_each_mailbox),
	    TEST(working_elsewhere_is_told_to_those_who_know_it),
	    TEST(find_item_expands),
	    TEST(automatic_replies),
	    TEST(some_show_digits_only),
	    TEST(find_item_has_limits),
	    TEST(folder_ids_lead_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
