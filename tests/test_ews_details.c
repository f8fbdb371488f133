/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What meetings are about: GetUserAvailability, view Detailed (MS-OXWAVLS 2.2.4.3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backend/ews.h"
#include "core/wall.h"

#define DAY INT64_C(1795392000000) /* 2026-11-23T00:00:00Z */

static const char *const two[] = {"a@example.com", "b@example.com"};
static struct px_query query = {
    .ask = PX_ASK_DETAILS, .name = two, .n = 2, .from = {DAY}, .until = {DAY + 86400000}};

static void said(void *arg, const struct px_item *item)
{
	struct px_buf *out = arg;
	char from[PX_WALL_TEXT], to[PX_WALL_TEXT];

	switch (item->kind) {
	case PX_ITEM_MEETING:
		px_buf_printf(out, "%zu %.5s-%.5s %s", item->index,
		              px_wall_text(item->meeting->when.start, from) + 11,
		              px_wall_text(item->meeting->when.end, to) + 11,
		              px_status_name(item->meeting->when.status));
		px_buf_printf(out, "%s [%s] [%s]\n", item->meeting->hidden ? " hidden" : "",
		              item->meeting->subject, item->meeting->place);
		assert_true(strlen(item->meeting->subject) <= PX_MEETING_TEXT_MAX);
		break;
	case PX_ITEM_CALENDAR:
		px_buf_printf(out, "%zu whole %zu%s\n", item->index, item->n,
		              item->details ? " details" : "");
		break;
	case PX_ITEM_REFUSED:
		px_buf_printf(out, "%zu refused %s %s\n", item->index,
		              px_verdict_name(item->verdict), item->code);
		break;
	default:
		fail_msg("item %d", item->kind);
	}
}

static enum px_verdict hear(const char *mailboxes, struct px_buf *out)
{
	const struct px_http_answer fine = {
	    .status = 200, .retry_after_ms = -1, .type = "text/xml"};
	struct px_parse *p = px_ews.parse_new(&query, said, out);
	struct px_buf text = px_buf_new(1 << 20);
	struct px_reply reply;

	assert_non_null(p);
	px_buf_strs(&text,
	            "<s:Envelope xmlns:s='" PX_EWS_SOAP "' xmlns:t='" PX_EWS_TYPES
	            "'><s:Body><GetUserAvailabilityResponse xmlns='" PX_EWS_MESSAGES
	            "'><FreeBusyResponseArray>",
	            mailboxes,
	            "</FreeBusyResponseArray></GetUserAvailabilityResponse></s:Body></s:Envelope>");
	*out = px_buf_new(1 << 16);
	px_ews.feed(p, text.data, text.len);
	px_ews.done(p, &fine, &reply);
	px_ews.parse_free(p);
	px_buf_free(&text);
	return reply.verdict;
}

#define GOOD                                                                                       \
	"<ResponseMessage ResponseClass='Success'><ResponseCode>NoError</ResponseCode>"            \
	"</ResponseMessage>"
#define BOX(type, events)                                                                          \
	"<FreeBusyResponse>" GOOD "<FreeBusyView><t:FreeBusyViewType>" type                        \
	"</t:FreeBusyViewType><t:MergedFreeBusy>" DIGITS "</t:MergedFreeBusy>"                     \
	"<t:CalendarEventArray>" events                                                            \
	"</t:CalendarEventArray></FreeBusyView></FreeBusyResponse>"
#define DIGITS "000"
#define EVENT(start, end, type, more)                                                              \
	"<t:CalendarEvent><t:StartTime>2026-11-23T" start                                          \
	"</t:StartTime><t:EndTime>2026-11-23T" end "</t:EndTime><t:BusyType>" type                 \
	"</t:BusyType>" more "</t:CalendarEvent>"
#define ABOUT(id, subject, place, hidden)                                                          \
	"<t:CalendarEventDetails>" id "<t:Subject>" subject "</t:Subject><t:Location>" place       \
	"</t:Location><t:IsMeeting>true</t:IsMeeting><t:IsRecurring>false</t:IsRecurring>"         \
	"<t:IsException>false</t:IsException><t:IsReminderSet>true</t:IsReminderSet>"              \
	"<t:IsPrivate>" hidden "</t:IsPrivate></t:CalendarEventDetails>"

static void tells_what_may_be_seen(void **state)
{
	struct px_buf out;

	(void)state;
	assert_int_equal(
	    hear(BOX("DetailedMerged",
	             EVENT("09:00:00", "10:00:00", "Busy",
	                   ABOUT("<t:ID>00AB</t:ID>", "Budget &amp; plan", "Room 5", "false"))
	                 EVENT("10:00:00", "11:00:00", "OOF", ABOUT("", "Doctor", "Town", "true")))
	             BOX("FreeBusyMerged", EVENT("12:00:00", "13:00:00", "Tentative", "")),
	         &out),
	    PX_V_OK);
	assert_string_equal(out.data, "0 09:00-10:00 busy [Budget & plan] [Room 5]\n"
	                              "0 10:00-11:00 oof hidden [Doctor] [Town]\n"
	                              "0 whole 2 details\n"
	                              "1 12:00-13:00 tentative [] []\n"
	                              "1 whole 1\n");
	px_buf_free(&out);
}

/* One's subject doesn't become the next one's, nor does its being private. */
static void each_for_itself(void **state)
{
	struct px_buf out;

	(void)state;
	assert_int_equal(
	    hear(BOX("Detailed", EVENT("09:00:00", "10:00:00", "Busy", ABOUT("", "A", "B", "true"))
	                             EVENT("10:00:00", "11:00:00", "Busy", "")
	                                 EVENT("11:00:00", "12:00:00", "Busy",
	                                       "<t:CalendarEventDetails/>")) BOX("Detailed", ""),
	         &out),
	    PX_V_OK);
	assert_string_equal(out.data, "0 09:00-10:00 busy hidden [A] [B]\n"
	                              "0 10:00-11:00 busy [] []\n"
	                              "0 11:00-12:00 busy [] []\n"
	                              "0 whole 3 details\n"
	                              "1 whole 0 details\n");
	px_buf_free(&out);
}

#define TEN "aaaaaaaaa&#233;"

static void what_strangers_write_is_one_line_and_short(void **state)
{
	struct px_buf out;

	(void)state;
	assert_int_equal(
	    hear(BOX("Detailed",
	             EVENT("09:00:00", "10:00:00", "Busy",
	                   ABOUT("", "a&#13;&#10;Via: b&#x202e;c&#9;d", "  ", "false"))
	                 EVENT("10:00:00", "11:00:00", "Busy",
	                       ABOUT("",
	                             TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
	                                 TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN,
	                             "", "maybe"))) BOX("Detailed", ""),
	         &out),
	    PX_V_OK);
	assert_non_null(strstr(out.data, "[a Via: b c d] []\n"));
	/* whole characters, and what isn't "false" is private */
	assert_non_null(strstr(out.data, "0 10:00-11:00 busy hidden [aaaaaaaaa\xc3\xa9"));
	px_buf_free(&out);
}

static void a_mailbox_that_is_refused(void **state)
{
	struct px_buf out;

	(void)state;
	assert_int_equal(
	    hear("<FreeBusyResponse><ResponseMessage ResponseClass='Error'><ResponseCode>"
	         "ErrorNoFreeBusyAccess</ResponseCode></ResponseMessage></FreeBusyResponse>" BOX(
	             "Detailed", EVENT("09:00:00", "10:00:00", "Busy", ABOUT("", "A", "", "0"))),
	         &out),
	    PX_V_OK);
	assert_string_equal(out.data, "0 refused unreadable ErrorNoFreeBusyAccess\n"
	                              "1 09:00-10:00 busy [A] []\n1 whole 1 details\n");
	px_buf_free(&out);
	assert_int_equal(hear(BOX("Detailed", ""), &out), PX_V_TRANSIENT); /* one is missing */
	px_buf_free(&out);
}

static void asks_for_them(void **state)
{
	struct px_query q = query;
	struct px_wire w = px_wire_new();

	(void)state;
	px_ews.write(&w, &q);
	assert_non_null(strstr(w.body.data, "<t:RequestedView>DetailedMerged</t:RequestedView>"));
	assert_null(strstr(w.body.data, "ExchangeImpersonation"));
	assert_non_null(strstr(w.body.data, ">b@example.com<"));
	px_wire_free(&w);
	w = px_wire_new();
	q.n = 1;
	q.mailbox = two[0];
	px_ews.write(&w, &q);
	assert_non_null(strstr(w.body.data, "ExchangeImpersonation"));
	px_wire_free(&w);
	w = px_wire_new();
	q.ask = PX_ASK_READ; /* free/busy alone: no subjects come over the wire */
	px_ews.write(&w, &q);
	assert_null(strstr(w.body.data, "Detailed"));
	px_wire_free(&w);
	w = px_wire_new();
	q.meetings = true; /* unless it is wanted, and then as the account sees them */
	px_ews.write(&w, &q);
	assert_non_null(strstr(w.body.data, "<t:RequestedView>DetailedMerged</t:RequestedView>"));
	assert_null(strstr(w.body.data, "ExchangeImpersonation"));
	px_wire_free(&w);
	w = px_wire_new();
	q.ask = PX_ASK_READ_ONE; /* impersonated it would show more */
	px_ews.write(&w, &q);
	assert_null(strstr(w.body.data, "ubject"));
	px_wire_free(&w);
}

static void tells_them_with_a_reading(void **state)
{
	struct px_buf out;

	(void)state;
	query.ask = PX_ASK_READ;
	query.n = 1;
	for (int wanted = 0; wanted < 2; wanted++) {
		query.meetings = wanted;
		assert_int_equal(
		    hear(BOX("DetailedMerged", EVENT("09:00:00", "10:00:00", "Busy",
		                                     ABOUT("", "Budget", "", "false"))),
		         &out),
		    PX_V_OK);
		assert_string_equal(out.data,
		                    wanted ? "0 09:00-10:00 busy [Budget] []\n0 whole 1 details\n"
		                           : "0 whole 1 details\n");
		px_buf_free(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tells_what_may_be_seen),
	    cmocka_unit_test(each_for_itself),
	    cmocka_unit_test(what_strangers_write_is_one_line_and_short),
	    cmocka_unit_test(a_mailbox_that_is_refused),
	    cmocka_unit_test(asks_for_them),
	    cmocka_unit_test(tells_them_with_a_reading),
	};

	return cmocka_run_group_tests_name("ews details", tests, NULL, NULL);
}
