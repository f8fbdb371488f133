/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Good requests pass; each rule is broken once and the break is found and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "samples.h"

#define IN(body) ENVELOPE("", body)
#define WEEK WINDOW("2026-11-23T00:00:00", "2026-11-30T00:00:00")
#define GOOD_AVAILABILITY                                                                          \
	AVAILABILITY(UTC MAILBOXES(MAILBOX("a@x.test")) OPTIONS(WEEK SLOT("30") VIEW("FreeBusy")))
#define CALENDAR_VIEW                                                                              \
	"<m:CalendarView MaxEntriesReturned=\"5\" StartDate=\"2026-11-23T00:00:00Z\" "             \
	"EndDate=\"2026-11-25T00:00:00+01:00\"/>"
#define GOOD_FIND                                                                                  \
	FIND(SHAPE("IdOnly", "<t:AdditionalProperties>" FIELD("calendar:Start")                    \
	                         FIELD("item:Sensitivity") "</t:AdditionalProperties>")            \
	         CALENDAR_VIEW PARENT)

struct row {
	const char *body; /* an envelope */
	enum version asked;
	const char *found; /* in the violation; NULL: there is none */
};

static const struct row operations[] = {
    {IN(STREAMING(CALENDAR EVENTS)), V2010_SP1, NULL},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT("1"))), V2007, NULL},
    {IN(PULL(CALENDAR PULL_EVENTS "<t:Watermark>AA==</t:Watermark>" TIMEOUT(" 1440 "))), V2007,
     NULL},
    {IN(GET_STREAMING(ID("a") ID("b"), "30")), V2010_SP1, NULL},
    {IN("<m:Unsubscribe><m:SubscriptionId>a</m:SubscriptionId></m:Unsubscribe>"), V2007, NULL},
    {IN("<m:GetEvents><m:SubscriptionId>a</m:SubscriptionId><m:Watermark>b</m:Watermark>"
        "</m:GetEvents>"),
     V2007, NULL},
    {IN(GOOD_AVAILABILITY), V2007, NULL},
    {IN(AVAILABILITY(UTC MAILBOXES("") OPTIONS(WEEK))), V2007, NULL},
    {IN(GOOD_FIND), V2007, NULL},
    {IN(STREAMING("<!-- a --> " CALENDAR "\n" EVENTS)), V2010_SP1, NULL},
    {IN("<m:Subscribe><m:StreamingSubscriptionRequest SubscribeToAllFolders=\"true\">" EVENTS
        "</m:StreamingSubscriptionRequest></m:Subscribe>"),
     V2010_SP1, NULL},

    /* what a version doesn't know yet */
    {IN(STREAMING(CALENDAR EVENTS)), V2010, "'StreamingSubscriptionRequest'"},
    {IN(GET_STREAMING(ID("a"), "30")), V2010, "'GetStreamingEvents'"},
    {IN(PULL(CALENDAR EVENTS TIMEOUT("1"))), V2010, "'FreeBusyChangedEvent'"},
    {IN(FIND("<m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:MaximumBodySize>1"
             "</t:MaximumBodySize></m:ItemShape>" CALENDAR_VIEW PARENT)),
     V2010_SP2, "'MaximumBodySize'"},

    /* names and namespaces */
    {IN("<m:Subscribes/>"), V2013, "'Subscribes'"},
    {IN("<t:Subscribe/>"), V2013, "'Subscribe'"},
    {IN("<Subscribe/>"), V2013, "'Subscribe'"},
    {IN(STREAMING("<m:FolderIds><t:DistinguishedFolderId Id=\"calendar\"/></m:FolderIds>" EVENTS)),
     V2013, "child element 'FolderIds' in namespace '" NS_MESSAGES "'"},
    {IN(STREAMING(CALENDAR "<m:EventTypes>" EVENT("CreatedEvent") "</m:EventTypes>")), V2013,
     "'EventTypes' in namespace '" NS_MESSAGES "'. List of possible elements expected: "
     "'EventTypes' in namespace '" NS_TYPES "'"},
    {IN("<m:Unsubscribe><t:SubscriptionId>a</t:SubscriptionId></m:Unsubscribe>"), V2013,
     "'SubscriptionId' in namespace '" NS_TYPES "'"},
    {IN("<m:GetStreamingEvents><m:SubscriptionIds><m:SubscriptionId>a</m:SubscriptionId>"
        "</m:SubscriptionIds><m:ConnectionTimeout>1</m:ConnectionTimeout>"
        "</m:GetStreamingEvents>"),
     V2013, "'SubscriptionId' in namespace '" NS_MESSAGES "'"},
    {IN(AVAILABILITY("<m:TimeZone/>" MAILBOXES("") OPTIONS(WEEK))), V2013, "'TimeZone'"},
    {IN(AVAILABILITY(UTC MAILBOXES("") "<m:FreeBusyViewOptions>" WEEK "</m:FreeBusyViewOptions>")),
     V2013, "'FreeBusyViewOptions'"},

    /* order */
    {IN(STREAMING(EVENTS CALENDAR)), V2013, "child element 'FolderIds'"},
    {IN(PULL(CALENDAR TIMEOUT("1") PULL_EVENTS)), V2013, "child element 'Timeout'"},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT("1") "<t:Watermark>a</t:Watermark>")), V2013,
     "child element 'Watermark'"},
    {IN("<m:GetEvents><m:Watermark>b</m:Watermark><m:SubscriptionId>a</m:SubscriptionId>"
        "</m:GetEvents>"),
     V2013, "child element 'Watermark'"},
    {IN("<m:GetStreamingEvents><m:ConnectionTimeout>1</m:ConnectionTimeout><m:SubscriptionIds>" ID(
         "a") "</m:SubscriptionIds></m:GetStreamingEvents>"),
     V2013, "child element 'ConnectionTimeout'"},
    {IN(AVAILABILITY(MAILBOXES("") UTC OPTIONS(WEEK))), V2013, "child element 'TimeZone'"},
    {IN(AVAILABILITY(UTC OPTIONS(WEEK) MAILBOXES(""))), V2013,
     "child element 'FreeBusyViewOptions'"},
    {IN(AVAILABILITY(UTC MAILBOXES("") OPTIONS(VIEW("FreeBusy") WEEK))), V2013,
     "child element 'RequestedView'"},
    {IN(AVAILABILITY(UTC MAILBOXES("") OPTIONS(WEEK VIEW("FreeBusy") SLOT("30")))), V2013,
     "child element 'MergedFreeBusyIntervalInMinutes'"},
    {IN(FIND(CALENDAR_VIEW SHAPE("IdOnly", "") PARENT)), V2013, "child element 'CalendarView'"},
    {IN(FIND(SHAPE("IdOnly", "") PARENT CALENDAR_VIEW)), V2013, "child element 'CalendarView'"},

    /* missing and doubled */
    {IN("<m:Subscribe/>"), V2013, "incomplete content"},
    {IN(STREAMING(CALENDAR)), V2013,
     "incomplete content. List of possible elements expected: "
     "'EventTypes'"},
    {IN(STREAMING(CALENDAR "<t:EventTypes/>")), V2013, "'EventTypes'"},
    {IN(STREAMING("<t:FolderIds/>" EVENTS)), V2013, "'FolderIds'"},
    {IN(PULL(CALENDAR PULL_EVENTS)), V2013, "'Timeout'"},
    {IN(STREAMING(CALENDAR CALENDAR EVENTS)), V2013, "child element 'FolderIds'"},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT("1") TIMEOUT("2"))), V2013, "expected: none"},
    {IN("<m:Subscribe><m:StreamingSubscriptionRequest>" CALENDAR EVENTS
        "</m:StreamingSubscriptionRequest><m:StreamingSubscriptionRequest>" CALENDAR EVENTS
        "</m:StreamingSubscriptionRequest></m:Subscribe>"),
     V2013, "child element 'StreamingSubscriptionRequest'"},
    {IN(GET_STREAMING("", "30")), V2013, "'SubscriptionIds'"},
    {IN(AVAILABILITY(UTC OPTIONS(WEEK))), V2013, "'FreeBusyViewOptions'"},
    {IN(AVAILABILITY("<t:TimeZone><t:Bias>0</t:Bias></t:TimeZone>" MAILBOXES("") OPTIONS(WEEK))),
     V2013, "'StandardTime'"},
    {IN(AVAILABILITY(UTC MAILBOXES("<t:MailboxData><t:Email/><t:AttendeeType>Required"
                                   "</t:AttendeeType></t:MailboxData>") OPTIONS(WEEK))),
     V2013, "'Address'"},
    {IN(AVAILABILITY(UTC MAILBOXES("<t:MailboxData><t:Email><t:Address>a</t:Address></t:Email>"
                                   "</t:MailboxData>") OPTIONS(WEEK))),
     V2013, "'AttendeeType'"},
    {IN(FIND(CALENDAR_VIEW PARENT)), V2013, "'ItemShape'"},
    {IN(FIND(SHAPE("IdOnly", "") CALENDAR_VIEW)), V2013, "'ParentFolderIds'"},
    {IN(FIND(SHAPE("IdOnly", "") CALENDAR_VIEW CALENDAR_VIEW PARENT)), V2013,
     "child element 'CalendarView'"},

    /* attributes */
    {IN(STREAMING("<t:FolderIds><t:DistinguishedFolderId/></t:FolderIds>" EVENTS)), V2013,
     "required attribute 'Id'"},
    {IN(STREAMING("<t:FolderIds><t:DistinguishedFolderId Id=\"Calendar\"/></t:FolderIds>" EVENTS)),
     V2013, "Enumeration"},
    {IN(STREAMING("<t:FolderIds><t:DistinguishedFolderId Id=\"calendar\" Name=\"a\"/>"
                  "</t:FolderIds>" EVENTS)),
     V2013, "'Name' attribute is not declared"},
    {IN("<m:FindItem>" SHAPE("IdOnly", "") CALENDAR_VIEW PARENT "</m:FindItem>"), V2013,
     "'Traversal'"},
    {IN("<m:FindItem Traversal=\"Deep\">" SHAPE("IdOnly", "") CALENDAR_VIEW PARENT "</m:FindItem>"),
     V2013, "Enumeration"},
    {IN(FIND(SHAPE("IdOnly", "") "<m:CalendarView StartDate=\"2026-11-23T00:00:00Z\"/>" PARENT)),
     V2013, "required attribute 'EndDate'"},
    {IN(FIND(SHAPE("IdOnly", "") "<m:CalendarView StartDate=\"2026-11-23\" "
                                 "EndDate=\"2026-11-25T00:00:00Z\"/>" PARENT)),
     V2013, "XsdDateTime"},
    {IN(FIND(SHAPE("IdOnly",
                   "<t:AdditionalProperties>" FIELD("calendar:start") "</t:AdditionalProperties>")
                 CALENDAR_VIEW PARENT)),
     V2013, "UnindexedFieldURIType"},

    /* values */
    {IN(STREAMING(CALENDAR "<t:EventTypes>" EVENT("Created") "</t:EventTypes>")), V2013,
     "'Created' is invalid"},
    {IN(STREAMING(CALENDAR "<t:EventTypes>" EVENT(" CreatedEvent") "</t:EventTypes>")), V2013,
     "Enumeration"},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT("0"))), V2013, "MinInclusive"},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT("1441"))), V2013, "MaxInclusive"},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT("ten"))), V2013, "integer"},
    {IN(PULL(CALENDAR PULL_EVENTS TIMEOUT(""))), V2013, "integer"},
    {IN(GET_STREAMING(ID("a"), "0")), V2013, "MinInclusive"},
    {IN(GET_STREAMING(ID("a"), "31")), V2013, "MaxInclusive"},
    {IN(GET_STREAMING(ID(""), "30")), V2013, "MinLength"},
    {IN("<m:Unsubscribe><m:SubscriptionId/></m:Unsubscribe>"), V2013, "MinLength"},
    {IN(AVAILABILITY(UTC MAILBOXES("") OPTIONS(WINDOW("2026-11-23", "2026-11-24")))), V2013,
     "XsdDateTime"},
    {IN(AVAILABILITY(UTC MAILBOXES("")
                         OPTIONS(WINDOW("2026-02-29T00:00:00", "2026-03-24T00:00:00")))),
     V2013, "XsdDateTime"},
    {IN(AVAILABILITY(UTC MAILBOXES("") OPTIONS(WEEK SLOT("x")))), V2013, "integer"},
    {IN(AVAILABILITY(UTC MAILBOXES("") OPTIONS(WEEK VIEW("Freebusy")))), V2013, "Enumeration"},
    {IN(AVAILABILITY(ZONE("0", RULE_OF("0", "40000", "1"), RULE_OF("0", "1", "1")) MAILBOXES("")
                         OPTIONS(WEEK))),
     V2013, "MaxInclusive"},
    {IN(AVAILABILITY(UTC MAILBOXES("<t:MailboxData><t:Email><t:Address>a</t:Address></t:Email>"
                                   "<t:AttendeeType>Boss</t:AttendeeType></t:MailboxData>")
                         OPTIONS(WEEK))),
     V2013, "Enumeration"},
    {IN(AVAILABILITY(UTC MAILBOXES("<t:MailboxData><t:Email><t:Address>a</t:Address></t:Email>"
                                   "<t:AttendeeType>Room</t:AttendeeType>"
                                   "<t:ExcludeConflicts>no</t:ExcludeConflicts>"
                                   "</t:MailboxData>") OPTIONS(WEEK))),
     V2013, "Boolean"},
    {IN(FIND(SHAPE("Ids", "") CALENDAR_VIEW PARENT)), V2013, "Enumeration"},

    /* texts where none may stand, and elements in texts */
    {IN(STREAMING(CALENDAR "x" EVENTS)), V2013, "cannot contain text"},
    {IN(GET_STREAMING(ID("<t:a/>"), "30")), V2013, "text only"},
};

static const struct row headers[] = {
    {ENVELOPE(VERSION("Exchange2010"), ""), V2010, NULL},
    {ENVELOPE(AS("a@x.test"), ""), V2007, NULL},
    {ENVELOPE("<t:Whatever a=\"b\">c</t:Whatever>", ""), V2007, NULL},
    {ENVELOPE("<t:RequestServerVersion/>", ""), V2010, "'Version'"},
    {ENVELOPE("<t:ExchangeImpersonation/>", ""), V2010, "'ConnectingSID'"},
    {ENVELOPE("<t:ExchangeImpersonation><t:ConnectingSID/></t:ExchangeImpersonation>", ""), V2010,
     "incomplete content"},
    {ENVELOPE("<t:ExchangeImpersonation><t:ConnectingSID><t:SmtpAddress>a@x.test</t:SmtpAddress>"
              "</t:ConnectingSID></t:ExchangeImpersonation>",
              ""),
     V2007_SP1, "'SmtpAddress'"},
    {ENVELOPE("<t:ExchangeImpersonation><m:ConnectingSID/></t:ExchangeImpersonation>", ""), V2010,
     "'ConnectingSID' in namespace '" NS_MESSAGES "'"},
    {ENVELOPE("<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress/>"
              "</t:ConnectingSID></t:ExchangeImpersonation>",
              ""),
     V2010, "MinLength"},
};

static void check_row(const struct row *r, bool header)
{
	struct violation v = {0};
	xmlDoc *doc = grammar_parse(r->body, strlen(r->body), &v);
	const xmlNode *root, *part;
	bool good;

	if (!doc)
		fail_msg("%s: %s", v.text, r->body);
	root = xmlDocGetRootElement(doc);
	part = xml_first(xml_child(root, header ? "Header" : "Body"));
	good =
	    header ? grammar_check_header(part, r->asked, &v) : grammar_check(part, r->asked, &v);
	if (good != !r->found)
		fail_msg("%s: %s", good ? "taken" : v.text, r->body);
	if (r->found && !strstr(v.text, r->found))
		fail_msg("\"%s\" isn't in \"%s\"", r->found, v.text);
	xmlFreeDoc(doc);
}

static void operations_are_checked(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		check_row(&operations[i], false);
}

static void headers_are_checked(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		check_row(&headers[i], true);
}

static void what_is_not_xml_is_refused(void **state)
{
	static const char *const bad[] = {
	    "",
	    "   ",
	    "hello",
	    "<a>",
	    "<a></b>",
	    "<a b=\"&nothing;\"/>",
	    "<!DOCTYPE a><a/>",
	    "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
	    "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
	    "<a/><a/>",
	    "<a>\xff</a>",
	};
	struct violation v;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		v.text[0] = '\0';
		if (grammar_parse(bad[i], strlen(bad[i]), &v))
			fail_msg("taken: %s", bad[i]);
		assert_true(v.text[0]);
	}
}

static void depth_is_bounded(void **state)
{
	char deep[200 * 7 + 1] = "";
	struct violation v;

	(void)state;
	for (int i = 0; i < 200; i++)
		memcpy(deep + i * 3, "<a>", 3);
	for (int i = 0; i < 200; i++)
		memcpy(deep + 600 + i * 4, "</a>", 4);
	deep[1400] = '\0';
	assert_null(grammar_parse(deep, strlen(deep), &v));
	assert_non_null(strstr(v.text, "deep"));
}

/* Whatever is cut off or changed in a request, checking it ends, and what is cut is refused. */
static void spoiled_requests_are_survived(void **state)
{
	static const char *const good[] = {IN(GOOD_AVAILABILITY), IN(GOOD_FIND),
	                                   ENVELOPE(AS("a@x.test"), STREAMING(CALENDAR EVENTS))};
	struct violation v;
	uint32_t x = 1;

	(void)state;
	for (size_t g = 0; g < sizeof good / sizeof *good; g++) {
		size_t n = strlen(good[g]);

		for (size_t cut = 0; cut < n; cut++) {
			xmlDoc *doc = grammar_parse(good[g], cut, &v);

			if (doc)
				fail_msg("taken when cut at %zu: %s", cut, good[g]);
		}
		for (int i = 0; i < 4000; i++) {
			char copy[4096];
			xmlDoc *doc;

			memcpy(copy, good[g], n + 1);
			for (int k = 0; k < 3; k++) {
				x = x * 1664525u + 1013904223u;
				copy[(x >> 8) % n] = "<>/\"'&=: \0aZ1\x80t"[x % 15];
			}
			doc = grammar_parse(copy, n, &v);
			if (doc) {
				xmlNode *root = xmlDocGetRootElement(doc);
				xmlNode *op = xml_first(xml_child(root, "Body"));

				if (op)
					grammar_check(op, V2013, &v);
				xmlFreeDoc(doc);
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(operations_are_checked),        cmocka_unit_test(headers_are_checked),
	    cmocka_unit_test(what_is_not_xml_is_refused),    cmocka_unit_test(depth_is_bounded),
	    cmocka_unit_test(spoiled_requests_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
