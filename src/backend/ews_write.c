/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What we send (schemas: Messages.xsd, types.xsd of Exchange 2007 SP1 to 2013). The order of children is
 * the schema's; Exchange enforces it.
 */
#include <assert.h>
#include <string.h>

#include "backend/ews.h"
#include "core/wall.h"

static void leaf(struct px_buf *out, const char *name, const char *text)
{
	px_buf_printf(out, "<%s>", name);
	px_buf_xml(out, text, strlen(text));
	px_buf_printf(out, "</%s>", name);
}

const char *px_ews_version_name(unsigned version)
{
	static const char *const name[PX_EWS_VERSIONS] = {"Exchange2013", "Exchange2010_SP1",
	                                                  "Exchange2007_SP1"};

	assert(version < PX_EWS_VERSIONS);
	return name[version];
}

/*
 * SmtpAddress, not PrimarySmtpAddress: the latter refuses a mailbox's other addresses, and an
 * administrator's list holds these too. Exchange 2010 and newer know it.
 */
static void head(struct px_buf *out, unsigned version, const char *impersonated)
{
	px_buf_str(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
	                "<soap:Envelope xmlns:soap=\"" PX_EWS_SOAP "\" xmlns:t=\"" PX_EWS_TYPES
	                "\" xmlns:m=\"" PX_EWS_MESSAGES "\"><soap:Header>");
	px_buf_strs(out, "<t:RequestServerVersion Version=\"", px_ews_version_name(version),
	            "\"/>");
	if (impersonated) {
		px_buf_str(out, "<t:ExchangeImpersonation><t:ConnectingSID>");
		leaf(out, version < PX_EWS_2007_SP1 ? "t:SmtpAddress" : "t:PrimarySmtpAddress",
		     impersonated);
		px_buf_str(out, "</t:ConnectingSID></t:ExchangeImpersonation>");
	}
	px_buf_str(out, "</soap:Header><soap:Body>");
}

static void subscribe(struct px_buf *out, const struct px_query *q)
{
	static const char *const event[] = {"CreatedEvent", "DeletedEvent", "ModifiedEvent",
	                                    "MovedEvent",   "CopiedEvent",  "FreeBusyChangedEvent"};
	static const char *const request[PX_KIND_NONE] = {"m:StreamingSubscriptionRequest",
	                                                  "m:PushSubscriptionRequest",
	                                                  "m:PullSubscriptionRequest"};
	/* the last is of 2010 SP1 */
	size_t n = sizeof event / sizeof *event - (q->version < PX_EWS_2007_SP1 ? 0 : 1);

	assert(q->kind < PX_KIND_NONE);
	px_buf_strs(out, "<m:Subscribe><", request[q->kind], ">");
	px_buf_str(out, "<t:FolderIds><t:DistinguishedFolderId Id=\"calendar\"/></t:FolderIds>"
	                "<t:EventTypes>");
	for (size_t i = 0; i < n; i++)
		leaf(out, "t:EventType", event[i]);
	px_buf_str(out, "</t:EventTypes>");
	assert(q->kind == PX_KIND_STREAM || (q->minutes >= 1 && q->minutes <= 1440));
	if (q->kind == PX_KIND_PUSH) {
		px_buf_printf(out, "<t:StatusFrequency>%u</t:StatusFrequency>", q->minutes);
		leaf(out, "t:URL", q->callback);
	} else if (q->kind == PX_KIND_PULL) {
		px_buf_printf(out, "<t:Timeout>%u</t:Timeout>", q->minutes);
	}
	px_buf_strs(out, "</", request[q->kind], "></m:Subscribe>");
}

static void stream(struct px_buf *out, const struct px_query *q)
{
	assert(q->n > 0 && q->n <= PX_EWS_STREAM_MAX && q->minutes >= 1 && q->minutes <= 30);
	px_buf_str(out, "<m:GetStreamingEvents><m:SubscriptionIds>");
	for (size_t i = 0; i < q->n; i++)
		leaf(out, "t:SubscriptionId", q->id[i]);
	px_buf_printf(out,
	              "</m:SubscriptionIds><m:ConnectionTimeout>%u</m:ConnectionTimeout>"
	              "</m:GetStreamingEvents>",
	              q->minutes);
}

/* Without a zone: then it is in the zone of the request, and that is UTC. */
static void moment(struct px_buf *out, const char *name, struct px_wall w)
{
	char text[PX_WALL_TEXT];

	px_buf_printf(out, "<t:%s>%.19s</t:%s>", name, px_wall_text(w, text), name);
}

static void availability(struct px_buf *out, const char *const *name, size_t n,
                         const struct px_query *q)
{
	/* a rule for daylight saving must stand there; its bias is 0, so its dates mean nothing */
	static const char utc[] =
	    "<t:TimeZone><t:Bias>0</t:Bias>"
	    "<t:StandardTime><t:Bias>0</t:Bias><t:Time>00:00:00</t:Time><t:DayOrder>1</t:DayOrder>"
	    "<t:Month>1</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek></t:StandardTime>"
	    "<t:DaylightTime><t:Bias>0</t:Bias><t:Time>00:00:00</t:Time><t:DayOrder>1</t:DayOrder>"
	    "<t:Month>6</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek></t:DaylightTime></t:TimeZone>";

	assert(n > 0 && n <= PX_EWS_READ_MAX);
	px_buf_str(out, "<m:GetUserAvailabilityRequest>");
	px_buf_str(out, utc);
	px_buf_str(out, "<m:MailboxDataArray>");
	for (size_t i = 0; i < n; i++) {
		px_buf_str(out, "<t:MailboxData><t:Email>");
		leaf(out, "t:Address", name[i]);
		px_buf_str(out, "</t:Email><t:AttendeeType>Required</t:AttendeeType>"
		                "<t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>");
	}
	px_buf_str(out, "</m:MailboxDataArray><t:FreeBusyViewOptions><t:TimeWindow>");
	moment(out, "StartTime", px_ews_slot_before(q->from));
	moment(out, "EndTime", px_ews_slot_after(q->until));
	px_buf_printf(out,
	              "</t:TimeWindow><t:MergedFreeBusyIntervalInMinutes>%d</"
	              "t:MergedFreeBusyIntervalInMinutes>"
	              "<t:RequestedView>%s</t:RequestedView></t:FreeBusyViewOptions>"
	              "</m:GetUserAvailabilityRequest>",
	              PX_EWS_SLOT_MS / 60000,
	              q->ask == PX_ASK_DETAILS || (q->ask == PX_ASK_READ && q->meetings)
	                  ? "DetailedMerged"
	                  : "FreeBusyMerged");
}

/*
 * The mailbox's own calendar, with what repeats expanded. Without t:TimeZoneContext times come in UTC. As many as a server lets be found by default
 * (EWSFindCountLimit) are asked for: more than that is no answer, but an error.
 */
static void calendar(struct px_buf *out, const struct px_query *q)
{
	static const char *const field[] = {"calendar:Start", "calendar:End",
	                                    "calendar:LegacyFreeBusyStatus",
	                                    "calendar:IsCancelled"};
	char from[PX_WALL_TEXT], until[PX_WALL_TEXT];

	px_buf_str(out, "<m:FindItem Traversal=\"Shallow\"><m:ItemShape>"
	                "<t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties>");
	for (size_t i = 0; i < sizeof field / sizeof *field; i++)
		px_buf_strs(out, "<t:FieldURI FieldURI=\"", field[i], "\"/>");
	px_buf_strs(out,
	            "</t:AdditionalProperties></m:ItemShape><m:CalendarView "
	            "MaxEntriesReturned=\"1000\" StartDate=\"",
	            px_wall_text(q->from, from), "\" EndDate=\"", px_wall_text(q->until, until),
	            "\"/><m:ParentFolderIds><t:DistinguishedFolderId Id=\"calendar\"/>"
	            "</m:ParentFolderIds></m:FindItem>");
}

/*
 * One mailbox is asked for its settings (MS-OXWOOF), which tell of a time to come, too. Of many it is asked what whoever writes to them is told (MailTips,
 * MS-OXWMT; Exchange 2010): that says who is away now.
 */
static void automatic_replies(struct px_buf *out, const struct px_query *q)
{
	assert(q->n > 0 && q->n <= PX_EWS_OOF_MAX);
	if (q->n == 1) {
		px_buf_str(out, "<m:GetUserOofSettingsRequest><t:Mailbox>");
		leaf(out, "t:Address", q->name[0]);
		px_buf_str(out, "</t:Mailbox></m:GetUserOofSettingsRequest>");
		return;
	}
	px_buf_str(out, "<m:GetMailTips><m:SendingAs>");
	leaf(out, "t:EmailAddress", q->mailbox);
	px_buf_str(out, "</m:SendingAs><m:Recipients>");
	for (size_t i = 0; i < q->n; i++) {
		px_buf_str(out, "<t:Mailbox>");
		leaf(out, "t:EmailAddress", q->name[i]);
		px_buf_str(out, "</t:Mailbox>");
	}
	px_buf_str(out, "</m:Recipients><m:MailTipsRequested>OutOfOfficeMessage"
	                "</m:MailTipsRequested></m:GetMailTips>");
}

/* For the proxies before Exchange 2013 and later: where this mailbox lives, there we go. */
static void head_lines(struct px_buf *out, const char *anchor)
{
	px_buf_str(out, "Content-Type: text/xml; charset=utf-8\r\nAccept: text/xml\r\n");
	if (anchor && *anchor && !strpbrk(anchor, "\r\n"))
		px_buf_strs(out, "X-AnchorMailbox: ", anchor,
		            "\r\nX-PreferServerAffinity: true\r\n");
}

void px_ews_write(struct px_wire *out, const struct px_query *q)
{
	struct px_buf *body = &out->body;

	out->method = "POST";
	head_lines(&out->head, q->anchor);
	head(body, q->version, q->ask == PX_ASK_READ ? NULL : q->mailbox);
	switch (q->ask) {
	case PX_ASK_SUBSCRIBE:
		subscribe(body, q);
		break;
	case PX_ASK_UNSUBSCRIBE:
		px_buf_str(body, "<m:Unsubscribe>");
		leaf(body, "m:SubscriptionId", q->id[0]);
		px_buf_str(body, "</m:Unsubscribe>");
		break;
	case PX_ASK_POLL:
		assert(q->n == 1 && q->watermark);
		px_buf_str(body, "<m:GetEvents>");
		leaf(body, "m:SubscriptionId", q->id[0]);
		leaf(body, "m:Watermark", q->watermark);
		px_buf_str(body, "</m:GetEvents>");
		break;
	case PX_ASK_STREAM:
		stream(body, q);
		break;
	case PX_ASK_READ:
	case PX_ASK_DETAILS:
		availability(body, q->name, q->n, q);
		break;
	case PX_ASK_PROBE:
		availability(body, &q->mailbox, 1, q);
		break;
	case PX_ASK_READ_ONE:
		calendar(body, q);
		break;
	case PX_ASK_OOF:
		automatic_replies(body, q);
		break;
	case PX_ASK_LOCATE:
	case PX_ASK_RENEW:
	case PX_ASKS:
		assert(!"an ask");
	}
	px_buf_str(body, "</soap:Body></soap:Envelope>");
}
