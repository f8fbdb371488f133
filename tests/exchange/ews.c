/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ews.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "freebusy.h"
#include "grammar.h"
#include "ids.h"
#include "push.h"
#include "when.h"

#define OPEN(name) "<m:" name " xmlns:m=\"" NS_MESSAGES "\" xmlns:t=\"" NS_TYPES "\">"

/* A request while it is answered. */
struct req {
	struct ews *e;
	unsigned cas;
	struct route route; /* which server behind it answers */
	enum version asked;
	struct mailbox *as; /* whom it acts as: the impersonated or the service account's own */
	const xmlNode *header;
	xmlNode *op;
	struct answer *a;
};

static void refuse(struct req *r, const char *code)
{
	if (!r->a->refused)
		r->a->refused = code;
	counters_refused(r->e->counters, r->cas, code);
}

static void fault(struct req *r, const char *code, const char *text)
{
	refuse(r, code);
	r->a->status = 500;
	buf_free(&r->a->body); /* an operation may have begun to answer */
	soap_fault(&r->a->body, code, text, NULL);
}

static void schema_fault(struct req *r, const struct violation *v)
{
	char text[1500];
	struct buf values = {0};

	refuse(r, "ErrorSchemaValidation");
	r->a->status = 500;
	snprintf(text, sizeof text, "The request failed schema validation: %s", v->text);
	buf_fmt(&values, "<t:LineNumber>%d</t:LineNumber><t:Violation>", v->line);
	buf_xml(&values, v->text);
	buf_str(&values, "</t:Violation>");
	soap_fault(&r->a->body, "ErrorSchemaValidation", text, values.p);
	buf_free(&values);
}

void ews_fault(struct answer *a, const char *code, const char *text)
{
	a->status = 500;
	a->refused = code;
	soap_fault(&a->body, code, text, NULL);
}

void ews_busy(struct answer *a, const char *text, long back_off_ms)
{
	char values[120];

	snprintf(values, sizeof values, "<t:Value Name=\"BackOffMilliseconds\">%ld</t:Value>",
	         back_off_ms);
	a->status = 500;
	a->refused = "ErrorServerBusy";
	soap_fault(&a->body, "ErrorServerBusy", text, values);
}

/* An answer with one response message that is an error. */
static void error(struct req *r, const char *operation, const char *code, const char *text)
{
	char message[64];

	refuse(r, code);
	snprintf(message, sizeof message, "%sResponseMessage", operation);
	buf_fmt(&r->a->body,
	        "<m:%sResponse xmlns:m=\"" NS_MESSAGES "\" xmlns:t=\"" NS_TYPES
	        "\"><m:ResponseMessages>",
	        operation);
	soap_error_message(&r->a->body, message, code, text);
	buf_fmt(&r->a->body, "</m:%s></m:ResponseMessages></m:%sResponse>", message, operation);
}

static bool moving(struct req *r, const char *operation)
{
	if (r->as->move_until_ms <= r->e->now_ms)
		return false;
	error(r, operation, "ErrorMailboxMoveInProgress",
	      "The mailbox is being moved. Please try again later.");
	return true;
}

static long number_of(const xmlNode *n)
{
	char *s = xml_text(n);
	long v = strtol(s, NULL, 10);

	free(s);
	return v;
}

/* --- folders --- */

/*
 * Reads t:FolderIds or m:ParentFolderIds. Returns NULL, or the code of what is wrong; *calendar:
 * the calendar is among them; *other: another folder is.
 */
static const char *folders(struct req *r, const xmlNode *ids, bool *calendar, bool *other,
                           const char *foreign)
{
	const char *code = NULL;

	*calendar = *other = false;
	for (const xmlNode *n = xml_first(ids); n && !code; n = xml_next(n)) {
		char *id = xml_attr(n, "Id");

		if (xml_is(n, NS_TYPES, "DistinguishedFolderId")) {
			char *address =
			    xml_text(xml_child(xml_child(n, "Mailbox"), "EmailAddress"));

			if (*address && !store_find(r->e->store, address))
				code = "ErrorNonExistentMailbox";
			else if (*address && store_find(r->e->store, address) != r->as)
				code = foreign;
			else if (strcmp(id, "calendar") == 0)
				*calendar = true;
			else
				*other = true;
			free(address);
		} else {
			uint32_t mailbox;
			enum folder f;

			if (!ids_folder_parse(id, &mailbox, &f))
				code = "ErrorInvalidIdMalformed";
			else if (mailbox >= store_size(r->e->store))
				code = "ErrorFolderNotFound";
			else if (mailbox != r->as->index)
				code = foreign;
			else if (f == FOLDER_CALENDAR)
				*calendar = true;
			else
				*other = true;
		}
		free(id);
	}
	return code;
}

static const char *folder_text(const char *code)
{
	if (strcmp(code, "ErrorNonExistentMailbox") == 0)
		return "The SMTP address has no mailbox associated with it.";
	if (strcmp(code, "ErrorInvalidIdMalformed") == 0)
		return "Id is malformed.";
	if (strcmp(code, "ErrorSubscriptionDelegateAccessNotSupported") == 0)
		return "Subscriptions are not supported for delegate user access.";
	if (strcmp(code, "ErrorAccessDenied") == 0)
		return "Access is denied. Check credentials and try again.";
	return "The specified folder could not be found in the store.";
}

/* --- Subscribe --- */
static unsigned event_mask(const xmlNode *types)
{
	static const struct {
		const char *name;
		unsigned bit;
	} map[] = {{"CopiedEvent", EV_COPIED},
	           {"CreatedEvent", EV_CREATED},
	           {"DeletedEvent", EV_DELETED},
	           {"ModifiedEvent", EV_MODIFIED},
	           {"MovedEvent", EV_MOVED},
	           {"NewMailEvent", EV_NEW_MAIL},
	           {"FreeBusyChangedEvent", EV_FREEBUSY}};
	unsigned mask = 0;

	for (const xmlNode *n = xml_first(types); n; n = xml_next(n)) {
		char *s = xml_text(n);

		for (size_t i = 0; i < sizeof map / sizeof *map; i++)
			if (strcmp(map[i].name, s) == 0)
				mask |= map[i].bit;
		free(s);
	}
	return mask;
}

static void subscribe(struct req *r)
{
	xmlNode *kind = xml_first(r->op), *ids = xml_child(kind, "FolderIds");
	struct sub_ask ask = {.cas = r->cas, .backend = r->route.backend, .mailbox = r->as};
	struct subscription *sub;
	char *all = xml_attr(kind, "SubscribeToAllFolders");
	bool everything = all && (strcmp(all, "true") == 0 || strcmp(all, "1") == 0), other;
	char *mark = xml_text(xml_child(kind, "Watermark"));
	const char *code;
	char *url = NULL;
	uint64_t number;
	bool bad_mark = *mark && !watermark_parse(mark, &number);

	free(all);
	free(mark);
	if (moving(r, "Subscribe"))
		return;
	if (everything == (ids != NULL)) {
		error(
		    r, "Subscribe", "ErrorInvalidSubscriptionRequest",
		    "The subscription request is invalid: either folders or SubscribeToAllFolders "
		    "must be given.");
		return;
	}
	if (bad_mark) {
		error(r, "Subscribe", "ErrorInvalidWatermark", "The watermark is invalid.");
		return;
	}
	code =
	    folders(r, ids, &ask.calendar, &other, "ErrorSubscriptionDelegateAccessNotSupported");
	if (code) {
		error(r, "Subscribe", code, folder_text(code));
		return;
	}
	ask.calendar = ask.calendar || everything;
	ask.mask = event_mask(xml_child(kind, "EventTypes"));
	ask.pull = xml_is(kind, NS_MESSAGES, "PullSubscriptionRequest");
	if (ask.pull)
		ask.timeout_minutes = (int)number_of(xml_child(kind, "Timeout"));
	if (xml_is(kind, NS_MESSAGES, "PushSubscriptionRequest")) {
		url = xml_text(xml_child(kind, "URL"));
		ask.push_url = url;
		ask.timeout_minutes = (int)number_of(xml_child(kind, "StatusFrequency"));
	}
	if (url && !push_url_good(url)) {
		free(url);
		error(r, "Subscribe", "ErrorInvalidPushSubscriptionUrl",
		      "The push subscription URL is invalid.");
		return;
	}
	sub = sub_create(r->e->subs, &ask, r->e->now_ms);
	free(url);
	if (!sub) {
		error(r, "Subscribe", "ErrorExceededSubscriptionCount",
		      "You have exceeded the available subscriptions for your account. Remove "
		      "unnecessary subscriptions and try your request again.");
		return;
	}
	counters_subscribed(r->e->counters, r->e->wall_s);
	buf_fmt(
	    &r->a->body,
	    OPEN("SubscribeResponse") "<m:ResponseMessages><m:SubscribeResponseMessage "
	                              "ResponseClass=\"Success\"><m:ResponseCode>NoError"
	                              "</m:ResponseCode><m:SubscriptionId>%s</m:SubscriptionId>",
	    sub->id);
	if (sub->pull || sub->push) {
		buf_str(&r->a->body, "<m:Watermark>");
		sub_watermark(&r->a->body, sub, 0);
		buf_str(&r->a->body, "</m:Watermark>");
	}
	buf_str(&r->a->body, "</m:SubscribeResponseMessage></m:ResponseMessages>"
	                     "</m:SubscribeResponse>");
}

/* NULL: there is none on this server. */
static struct subscription *subscription_of(struct req *r, const char *id)
{
	struct subscription *sub = sub_find(r->e->subs, r->cas, id);

	if (!sub || sub->backend == r->route.backend)
		return sub;
	r->e->counters->cas[r->cas].misrouted++;
	return NULL;
}

static void unsubscribe(struct req *r)
{
	char *id = xml_text(xml_child(r->op, "SubscriptionId"));
	struct subscription *sub = subscription_of(r, id);

	free(id);
	if (!sub) {
		error(r, "Unsubscribe", "ErrorSubscriptionNotFound",
		      "The specified subscription was not found.");
		return;
	}
	if (sub->push) {
		error(r, "Unsubscribe", "ErrorInvalidPullSubscriptionId",
		      "A push subscription ends by the answer to a notification.");
		return;
	}
	sub_drop(r->e->subs, sub, "ErrorSubscriptionNotFound");
	buf_str(
	    &r->a->body,
	    OPEN("UnsubscribeResponse") "<m:ResponseMessages>"
	                                "<m:UnsubscribeResponseMessage ResponseClass=\"Success\">"
	                                "<m:ResponseCode>NoError</m:ResponseCode>"
	                                "</m:UnsubscribeResponseMessage></m:ResponseMessages>"
	                                "</m:UnsubscribeResponse>");
}

static void get_events(struct req *r)
{
	char *id = xml_text(xml_child(r->op, "SubscriptionId"));
	char *mark = xml_text(xml_child(r->op, "Watermark"));
	struct subscription *sub = subscription_of(r, id);
	struct buf events = {0}, *b = &r->a->body;
	uint64_t number = 0, last;
	bool good = watermark_parse(mark, &number), more;

	if (!sub) {
		error(r, "GetEvents", "ErrorSubscriptionNotFound",
		      "The specified subscription was not found.");
	} else if (!sub->pull) {
		error(r, "GetEvents", "ErrorInvalidPullSubscriptionId",
		      "The subscription is not a pull subscription.");
	} else if (!good || number > sub->last) {
		error(r, "GetEvents", "ErrorInvalidWatermark", "The watermark is invalid.");
	} else if (number + sub->qlen < sub->last) {
		error(r, "GetEvents", "ErrorEventNotFound",
		      "The event of the watermark is not in the event table any more; the "
		      "subscription was removed.");
		sub_drop(r->e->subs, sub, NULL);
	} else if (!moving(r, "GetEvents")) {
		more = sub_events_after(r->e->subs, sub, number, &events, &last);
		buf_fmt(
		    b,
		    OPEN("GetEventsResponse") "<m:ResponseMessages><m:GetEventsResponseMessage "
		                              "ResponseClass=\"Success\"><m:ResponseCode>NoError"
		                              "</m:ResponseCode><m:Notification>"
		                              "<t:SubscriptionId>%s</t:SubscriptionId>"
		                              "<t:PreviousWatermark>%s</t:PreviousWatermark>"
		                              "<t:MoreEvents>%s</t:MoreEvents>",
		    sub->id, mark, more ? "true" : "false");
		if (events.len)
			buf_add(b, events.p, events.len);
		else
			buf_fmt(b, "<t:StatusEvent><t:Watermark>%s</t:Watermark></t:StatusEvent>",
			        mark);
		buf_str(b, "</m:Notification></m:GetEventsResponseMessage></m:ResponseMessages>"
		           "</m:GetEventsResponse>");
	}
	buf_free(&events);
	free(id);
	free(mark);
}

static void get_streaming_events(struct req *r)
{
	char *ids[STREAM_SUBSCRIPTIONS_MAX];
	unsigned n = 0;
	bool many = false;
	int minutes = (int)number_of(xml_child(r->op, "ConnectionTimeout"));

	for (const xmlNode *c = xml_first(xml_child(r->op, "SubscriptionIds")); c;
	     c = xml_next(c)) {
		if (n == STREAM_SUBSCRIPTIONS_MAX)
			many = true;
		else
			ids[n++] = xml_text(c);
	}
	if (many) {
		error(r, "GetStreamingEvents", "ErrorInvalidSubscriptionRequest",
		      "A streaming connection takes at most 200 subscriptions.");
	} else if (streams_of(r->e->subs, r->cas, r->as) >= r->e->limits.hanging) {
		fault(r, "ErrorExceededConnectionCount",
		      "You have exceeded the available concurrent connections for your account. "
		      "Try again once your other requests have completed.");
	} else {
		r->a->stream = stream_open(r->e->subs, r->cas, r->route.backend, r->as, ids, n,
		                           minutes, r->e->now_ms);
		if (r->a->stream->over)
			refuse(r, "ErrorSubscriptionNotFound");
	}
	while (n)
		free(ids[--n]);
}

/* --- GetUserAvailability --- */
static bool rule_of(const xmlNode *n, struct zone_rule *z)
{
	static const char *const days[] = {"Sunday",   "Monday",    "Tuesday",  "Wednesday",
	                                   "Thursday", "Friday",    "Saturday", "Day",
	                                   "Weekday",  "WeekendDay"};
	char *time = xml_text(xml_child(n, "Time")), *day = xml_text(xml_child(n, "DayOfWeek"));
	int h, m, s, len = 0;
	bool ok = sscanf(time, "%2d:%2d:%2d%n", &h, &m, &s, &len) == 3 && !time[len] && h >= 0 &&
	          h < 24 && m >= 0 && m < 60 && s >= 0 && s < 60;

	*z = (struct zone_rule){.bias = (int)number_of(xml_child(n, "Bias")),
	                        .order = (int)number_of(xml_child(n, "DayOrder")),
	                        .month = (int)number_of(xml_child(n, "Month")),
	                        .year = (int)number_of(xml_child(n, "Year"))};
	for (int i = 0; i < 10; i++)
		if (strcmp(days[i], day) == 0)
			z->weekday = i;
	free(time);
	free(day);
	if (ok)
		z->time = h * 3600 + m * 60 + s;
	if (z->year)
		ok = ok && z->year > 0 && z->year < 10000 && z->order >= 1 && z->order <= 31;
	else
		ok = ok && z->order >= 0 && z->order <= 5;
	return ok && z->month >= 0 && z->month <= 12 && abs(z->bias) <= 1440;
}

/* From 2010 on the zone may stand in a header instead; without one, it is UTC. */
static bool context_is_utc(const xmlNode *header)
{
	const xmlNode *context = xml_child(header, "TimeZoneContext");
	char *id = xml_attr(xml_child(context, "TimeZoneDefinition"), "Id");
	bool utc = !context || (id && (strcmp(id, "UTC") == 0 || strstr(id, "/Utc") ||
	                               strcmp(id, "Greenwich Standard Time") == 0));

	free(id);
	return utc;
}

static int64_t window_time(const xmlNode *n, const struct zone *z)
{
	char *s = xml_text(n);
	int64_t t = 0;
	bool zoned = false;

	when_parse(s, &t, &zoned); /* the grammar saw that it is one */
	free(s);
	return zoned ? t : zone_utc(z, t);
}

static void one_mailbox(struct req *r, const struct freebusy_ask *ask, const char *address)
{
	struct mailbox *mb = store_find(r->e->store, address);
	const struct occurrence *occ;
	struct buf *b = &r->a->body;
	const char *code = NULL, *class = "", *text = "";
	int number = 0;
	size_t n;

	if (!mb) {
		code = "ErrorMailRecipientNotFound";
		class = "MailRecipientNotFoundException";
		text = "Unable to resolve e-mail address to an Active Directory object.";
		number = 5009;
	} else if (mb->no_freebusy && r->as != mb) {
		code = "ErrorNoFreeBusyAccess";
		class = "NoFreeBusyAccessException";
		text = "The caller does not have access to free/busy data.";
		number = 5012;
	} else if (mb->move_until_ms > r->e->now_ms) {
		code = "ErrorMailboxMoveInProgress";
		class = "MailboxLogonFailedException";
		text = "The mailbox is being moved. Please try again later.";
		number = 5011;
	}
	buf_str(b, "<FreeBusyResponse>");
	if (code) {
		counters_refused(r->e->counters, r->cas, code);
		buf_str(b, "<ResponseMessage ResponseClass=\"Error\"><MessageText>");
		buf_xml(b, text);
		buf_fmt(b,
		        "</MessageText><ResponseCode>%s</ResponseCode>"
		        "<DescriptiveLinkKey>0</DescriptiveLinkKey><MessageXml>"
		        "<ExceptionType xmlns=\"" NS_ERRORS "\">Microsoft.Exchange.InfoWorker."
		        "Common.Availability.%s</ExceptionType>"
		        "<ExceptionCode xmlns=\"" NS_ERRORS "\">%d</ExceptionCode>"
		        "<ExceptionServerName xmlns=\"" NS_ERRORS "\">CAS%u</ExceptionServerName>"
		        "<ExceptionMessage xmlns=\"" NS_ERRORS "\">",
		        code, class, number, r->cas + 1);
		buf_xml(b, text);
		buf_str(b, "</ExceptionMessage></MessageXml></ResponseMessage><FreeBusyView>"
		           "<FreeBusyViewType xmlns=\"" NS_TYPES "\">None</FreeBusyViewType>"
		           "</FreeBusyView></FreeBusyResponse>");
		return;
	}
	buf_str(b, "<ResponseMessage ResponseClass=\"Success\"><ResponseCode>NoError"
	           "</ResponseCode></ResponseMessage><FreeBusyView>");
	occ = store_expand(r->e->store, mb, ask->from, ask->to, &n);
	struct freebusy_ask shown = *ask;
	/* who may not see details gets the view that is left without them */
	if (mb->no_details && r->as != mb && shown.view >= VIEW_DETAILED)
		shown.view = shown.view == VIEW_DETAILED ? VIEW_FREEBUSY : VIEW_FREEBUSY_MERGED;
	if (mb->merged_only)
		shown.view = VIEW_MERGED_ONLY;
	freebusy_write(b, &shown, occ, n);
	buf_str(b, "</FreeBusyView></FreeBusyResponse>");
}

static void get_user_availability(struct req *r)
{
	const xmlNode *tz = xml_child(r->op, "TimeZone");
	const xmlNode *boxes = xml_child(r->op, "MailboxDataArray");
	const xmlNode *options = xml_child(r->op, "FreeBusyViewOptions");
	const xmlNode *window = xml_child(options, "TimeWindow");
	const xmlNode *slot = xml_child(options, "MergedFreeBusyIntervalInMinutes");
	struct freebusy_ask ask = {.view = VIEW_NONE, .slot = 30, .elsewhere = r->asked >= V2013};
	char *view = xml_text(xml_child(options, "RequestedView"));
	unsigned n = 0;

	for (const xmlNode *c = xml_first(boxes); c; c = xml_next(c))
		n++;
	r->e->counters->cas[r->cas].mailboxes_asked += n;
	view_parse(view, &ask.view);
	free(view);
	ask.zone.bias = (int)number_of(xml_child(tz, "Bias"));
	if (!options) {
		fault(r, "ErrorMissingArgument",
		      "Either FreeBusyViewOptions or SuggestionsViewOptions must be given.");
		return;
	}
	if (!tz && r->asked < V2010) {
		fault(r, "ErrorMissingArgument", "A time zone must be given in the request.");
		return;
	}
	if (!tz && !context_is_utc(r->header)) {
		fault(r, "ErrorCalendarInvalidTimeZone",
		      "Of time zones in TimeZoneContext this server knows UTC only.");
		return;
	}
	if (tz && (abs(ask.zone.bias) > 1440 ||
	           !rule_of(xml_child(tz, "StandardTime"), &ask.zone.standard) ||
	           !rule_of(xml_child(tz, "DaylightTime"), &ask.zone.daylight))) {
		fault(r, "ErrorCalendarInvalidTimeZone", "The time zone is not valid.");
		return;
	}
	if (slot)
		ask.slot = (int)number_of(slot);
	ask.from = window_time(xml_child(window, "StartTime"), &ask.zone);
	ask.to = window_time(xml_child(window, "EndTime"), &ask.zone);
	if (n == 0)
		fault(r, "ErrorMailboxDataArrayEmpty", "There are no mailboxes in this request.");
	else if (n > MAILBOXES_PER_REQUEST)
		fault(r, "ErrorMailboxDataArrayTooBig",
		      "There are too many target users in this request. The maximum number of "
		      "allowable users is 100.");
	else if (ask.view == VIEW_NONE)
		fault(r, "ErrorInvalidFreeBusyViewType",
		      "The requested free/busy view type is not valid.");
	else if (ask.to <= ask.from)
		fault(r, "ErrorInvalidTimeInterval",
		      "The end of the time window must be after its start.");
	else if (ask.to - ask.from > FREEBUSY_DAYS_MAX * (int64_t)WHEN_DAY)
		fault(r, "ErrorTimeIntervalTooBig",
		      "The requested time duration is longer than 42 days.");
	else if (ask.slot < 5 || ask.slot > 1440)
		fault(r, "ErrorInvalidMergedFreeBusyInterval",
		      "The merged free/busy interval must be between 5 and 1440 minutes.");
	if (r->a->refused)
		return;
	buf_str(&r->a->body,
	        "<GetUserAvailabilityResponse xmlns=\"" NS_MESSAGES "\"><FreeBusyResponseArray>");
	for (const xmlNode *c = xml_first(boxes); c; c = xml_next(c)) {
		char *address = xml_text(xml_child(xml_child(c, "Email"), "Address"));

		one_mailbox(r, &ask, address);
		free(address);
	}
	buf_str(&r->a->body, "</FreeBusyResponseArray></GetUserAvailabilityResponse>");
}

/* --- automatic replies --- */

static void duration(struct buf *b, const struct mailbox *mb, bool zoned)
{
	char from[WHEN_TEXT], until[WHEN_TEXT];

	buf_fmt(b,
	        "<t:Duration><t:StartTime>%s</t:StartTime><t:EndTime>%s</t:EndTime></t:Duration>",
	        when_text(from, mb->oof_from, zoned), when_text(until, mb->oof_until, zoned));
}

/* Of whoever is impersonated, and nobody else. */
static void get_oof_settings(struct req *r)
{
	static const char *const state[] = {"Disabled", "Enabled", "Scheduled"};
	char *address = xml_text(xml_child(xml_child(r->op, "Mailbox"), "Address"));
	const struct mailbox *mb = store_find(r->e->store, address);
	struct buf *b = &r->a->body;

	free(address);
	if (mb != r->as) {
		fault(r, "ErrorAccessDenied", "User is not mailbox owner.");
		return;
	}
	buf_fmt(b,
	        "<GetUserOofSettingsResponse xmlns=\"" NS_MESSAGES "\" xmlns:t=\"" NS_TYPES
	        "\"><ResponseMessage ResponseClass=\"Success\"><ResponseCode>NoError</ResponseCode>"
	        "</ResponseMessage><t:OofSettings><t:OofState>%s</t:OofState>"
	        "<t:ExternalAudience>All</t:ExternalAudience>",
	        state[mb->oof]);
	/* it is always there, and only means something when they are scheduled */
	duration(b, mb, false);
	buf_str(b, "<t:InternalReply><t:Message>I am away.</t:Message></t:InternalReply>"
	           "<t:ExternalReply><t:Message/></t:ExternalReply></t:OofSettings>"
	           "<AllowExternalOof>All</AllowExternalOof></GetUserOofSettingsResponse>");
}

/* What whoever writes to them is told now. */
static void get_mail_tips(struct req *r)
{
	const xmlNode *to = xml_child(r->op, "Recipients");
	struct buf *b = &r->a->body;
	unsigned n = 0;

	for (const xmlNode *c = xml_first(to); c; c = xml_next(c))
		n++;
	if (n > MAILBOXES_PER_REQUEST) {
		refuse(r, "ErrorInvalidRequest");
		buf_str(b, "<m:GetMailTipsResponse ResponseClass=\"Error\" xmlns:m=\"" NS_MESSAGES
		           "\"><m:MessageText>Too many recipients.</m:MessageText><m:ResponseCode>"
		           "ErrorInvalidRequest</m:ResponseCode><m:DescriptiveLinkKey>0"
		           "</m:DescriptiveLinkKey></m:GetMailTipsResponse>");
		return;
	}
	buf_str(b, "<m:GetMailTipsResponse ResponseClass=\"Success\" xmlns:m=\"" NS_MESSAGES
	           "\" xmlns:t=\"" NS_TYPES "\"><m:ResponseCode>NoError</m:ResponseCode>"
	           "<m:ResponseMessages>");
	for (const xmlNode *c = xml_first(to); c; c = xml_next(c)) {
		char *address = xml_text(xml_child(c, "EmailAddress"));
		const struct mailbox *mb = store_find(r->e->store, address);
		const int64_t now = r->e->wall_s;
		const bool on =
		    mb && (mb->oof == OOF_ENABLED || (mb->oof == OOF_SCHEDULED &&
		                                      mb->oof_from <= now && now < mb->oof_until));

		if (!mb) {
			soap_error_message(b, "MailTipsResponseMessageType",
			                   "ErrorMailRecipientNotFound",
			                   "The recipient could not be found.");
		} else {
			buf_str(b, "<m:MailTipsResponseMessageType ResponseClass=\"Success\">"
			           "<m:ResponseCode>NoError</m:ResponseCode><m:MailTips>"
			           "<t:RecipientAddress><t:Name/><t:EmailAddress>");
			buf_xml(b, address);
			buf_fmt(
			    b,
			    "</t:EmailAddress><t:RoutingType>SMTP</t:RoutingType>"
			    "</t:RecipientAddress><t:PendingMailTips/><t:OutOfOffice><t:ReplyBody>"
			    "<t:Message>%s</t:Message></t:ReplyBody>",
			    on ? "&lt;p&gt;I am away.&lt;/p&gt;" : "");
			if (on && mb->oof == OOF_SCHEDULED)
				duration(b, mb, true);
			buf_str(b, "</t:OutOfOffice></m:MailTips>");
		}
		buf_str(b, "</m:MailTipsResponseMessageType>");
		free(address);
	}
	buf_str(b, "</m:ResponseMessages></m:GetMailTipsResponse>");
}

/* --- FindItem --- */

/* The properties that are modelled, in the order in which the schema has them. */
enum property {
	P_ID,
	P_FOLDER,
	P_CLASS,
	P_SUBJECT,
	P_SENSITIVITY,
	P_START,
	P_END,
	P_ORIGINAL_START,
	P_ALL_DAY,
	P_STATUS,
	P_LOCATION,
	P_MEETING,
	P_CANCELLED,
	P_RECURRING,
	P_TYPE,
	P_RESPONSE,
	P_COUNT
};

static const char *const property_uri[P_COUNT] = {
    [P_ID] = "item:ItemId",
    [P_FOLDER] = "item:ParentFolderId",
    [P_CLASS] = "item:ItemClass",
    [P_SUBJECT] = "item:Subject",
    [P_SENSITIVITY] = "item:Sensitivity",
    [P_START] = "calendar:Start",
    [P_END] = "calendar:End",
    [P_ORIGINAL_START] = "calendar:OriginalStart",
    [P_ALL_DAY] = "calendar:IsAllDayEvent",
    [P_STATUS] = "calendar:LegacyFreeBusyStatus",
    [P_LOCATION] = "calendar:Location",
    [P_MEETING] = "calendar:IsMeeting",
    [P_CANCELLED] = "calendar:IsCancelled",
    [P_RECURRING] = "calendar:IsRecurring",
    [P_TYPE] = "calendar:CalendarItemType",
    [P_RESPONSE] = "calendar:MyResponseType",
};

static void wanted(const xmlNode *shape, bool want[P_COUNT])
{
	static const enum property by_default[] = {P_SUBJECT, P_START,    P_END,
	                                           P_STATUS,  P_LOCATION, P_TYPE};
	char *base = xml_text(xml_child(shape, "BaseShape"));

	memset(want, 0, P_COUNT * sizeof *want);
	want[P_ID] = true;
	if (strcmp(base, "Default") == 0)
		for (size_t i = 0; i < sizeof by_default / sizeof *by_default; i++)
			want[by_default[i]] = true;
	if (strcmp(base, "AllProperties") == 0)
		for (int i = 0; i < P_COUNT; i++)
			want[i] = true;
	free(base);
	for (const xmlNode *n = xml_first(xml_child(shape, "AdditionalProperties")); n;
	     n = xml_next(n)) {
		char *uri = xml_attr(n, "FieldURI");

		for (int i = 0; uri && i < P_COUNT; i++)
			if (strcmp(uri, property_uri[i]) == 0)
				want[i] = true;
		free(uri);
	}
}

static void time_element(struct buf *b, const char *name, int64_t t)
{
	char text[WHEN_TEXT];

	buf_fmt(b, "<t:%s>%s</t:%s>", name, when_text(text, t, true), name);
}

static void item(struct req *r, const struct occurrence *o, const bool want[P_COUNT])
{
	static const char *const busy[STATUS_COUNT] = {"Free", "Tentative", "Busy", "OOF",
	                                               "WorkingElsewhere"};
	const struct meeting *m = o->meeting;
	struct buf *b = &r->a->body;
	enum status s = o->status == STATUS_ELSEWHERE && r->asked < V2013 ? STATUS_FREE : o->status;
	bool series = m->repeat != REPEAT_NONE;

	buf_str(b, "<t:CalendarItem><t:ItemId Id=\"");
	ids_item(b, m->mailbox, m->ordinal, series ? o->index : IDS_MASTER);
	buf_str(b, "\" ChangeKey=\"");
	ids_change(b, m->change);
	buf_str(b, "\"/>");
	if (want[P_FOLDER]) {
		buf_str(b, "<t:ParentFolderId Id=\"");
		ids_folder(b, m->mailbox, FOLDER_CALENDAR);
		buf_str(b, "\" ChangeKey=\"AQAAAA==\"/>");
	}
	if (want[P_CLASS])
		buf_str(b, "<t:ItemClass>IPM.Appointment</t:ItemClass>");
	if (want[P_SUBJECT]) {
		buf_str(b, "<t:Subject>");
		buf_xml(b, m->subject);
		buf_str(b, "</t:Subject>");
	}
	if (want[P_SENSITIVITY])
		buf_fmt(b, "<t:Sensitivity>%s</t:Sensitivity>", m->secret ? "Private" : "Normal");
	if (want[P_START])
		time_element(b, "Start", o->start);
	if (want[P_END])
		time_element(b, "End", o->end);
	if (want[P_ORIGINAL_START] && series)
		time_element(b, "OriginalStart", m->start + o->index * meeting_period(m));
	if (want[P_ALL_DAY])
		buf_fmt(b, "<t:IsAllDayEvent>%s</t:IsAllDayEvent>", m->all_day ? "true" : "false");
	if (want[P_STATUS])
		buf_fmt(b, "<t:LegacyFreeBusyStatus>%s</t:LegacyFreeBusyStatus>", busy[s]);
	if (want[P_LOCATION]) {
		buf_str(b, "<t:Location>");
		buf_xml(b, m->location);
		buf_str(b, "</t:Location>");
	}
	if (want[P_MEETING])
		buf_str(b, "<t:IsMeeting>false</t:IsMeeting>");
	if (want[P_CANCELLED])
		buf_str(b, "<t:IsCancelled>false</t:IsCancelled>");
	if (want[P_RECURRING])
		buf_fmt(b, "<t:IsRecurring>%s</t:IsRecurring>", series ? "true" : "false");
	if (want[P_TYPE])
		buf_fmt(b, "<t:CalendarItemType>%s</t:CalendarItemType>",
		        !series        ? "Single"
		        : o->exception ? "Exception"
		                       : "Occurrence");
	if (want[P_RESPONSE])
		buf_str(b, "<t:MyResponseType>Organizer</t:MyResponseType>");
	buf_str(b, "</t:CalendarItem>");
}

static void find_item(struct req *r)
{
	const xmlNode *view = xml_child(r->op, "CalendarView");
	char *from = xml_attr(view, "StartDate"), *to = xml_attr(view, "EndDate");
	char *max = xml_attr(view, "MaxEntriesReturned"), *way = xml_attr(r->op, "Traversal");
	bool shallow = strcmp(way, "Shallow") == 0, zoned, calendar, other, want[P_COUNT];
	long limit = max ? strtol(max, NULL, 10) : FIND_COUNT_LIMIT;
	int64_t start = 0, end = 0;
	const char *code;
	const struct occurrence *occ;
	struct buf *b = &r->a->body;
	size_t n, shown;

	if (view) {
		when_parse(from, &start, &zoned);
		when_parse(to, &end, &zoned);
	}
	free(from);
	free(to);
	free(max);
	free(way);
	if (moving(r, "FindItem"))
		return;
	if (!view || !shallow || xml_child(r->op, "Restriction") || xml_child(r->op, "SortOrder") ||
	    xml_child(r->op, "GroupBy") || xml_child(r->op, "DistinguishedGroupBy") ||
	    xml_child(r->op, "QueryString")) {
		error(r, "FindItem", "ErrorInvalidOperation",
		      "Only FindItem with a CalendarView, Traversal Shallow, without restriction, "
		      "order, grouping and query is imitated by this server.");
		return;
	}
	code =
	    folders(r, xml_child(r->op, "ParentFolderIds"), &calendar, &other, "ErrorAccessDenied");
	if (code) {
		error(r, "FindItem", code, folder_text(code));
		return;
	}
	if (other) {
		error(r, "FindItem", "ErrorCalendarFolderIsInvalidForCalendarView",
		      "A CalendarView can only be used with a calendar folder.");
		return;
	}
	if (end < start) {
		error(r, "FindItem", "ErrorCalendarEndDateIsEarlierThanStartDate",
		      "EndDate is earlier than StartDate.");
		return;
	}
	if (end - start > 2 * 366 * (int64_t)WHEN_DAY) {
		error(r, "FindItem", "ErrorCalendarViewRangeTooBig",
		      "The specified view range exceeds the maximum range of two years.");
		return;
	}
	if (limit < 1) {
		error(r, "FindItem", "ErrorInvalidPagingMaxRows",
		      "Paging max rows must be greater than 0.");
		return;
	}
	occ = store_expand(r->e->store, r->as, start, end, &n);
	shown = n < (size_t)limit ? n : (size_t)limit;
	if (shown > FIND_COUNT_LIMIT || (limit == FIND_COUNT_LIMIT && n > shown)) {
		error(r, "FindItem", "ErrorExceededFindCountLimit",
		      "You have exceeded the maximum number of objects that can be returned for "
		      "the find operation. Use paging to reduce the result size and try your "
		      "request again.");
		return;
	}
	wanted(xml_child(r->op, "ItemShape"), want);
	buf_fmt(b,
	        OPEN("FindItemResponse") "<m:ResponseMessages><m:FindItemResponseMessage "
	                                 "ResponseClass=\"Success\"><m:ResponseCode>NoError"
	                                 "</m:ResponseCode><m:RootFolder TotalItemsInView=\"%zu\" "
	                                 "IncludesLastItemInRange=\"%s\"><t:Items>",
	        n, shown == n ? "true" : "false");
	for (size_t i = 0; i < shown; i++)
		item(r, &occ[i], want);
	buf_str(b, "</t:Items></m:RootFolder></m:FindItemResponseMessage></m:ResponseMessages>"
	           "</m:FindItemResponse>");
}

/* --- the envelope --- */

/* Finds Header and Body. False: answered with a fault. */
static bool envelope(struct req *r, xmlDoc *doc, xmlNode **header, xmlNode **body)
{
	xmlNode *root = xmlDocGetRootElement(doc), *n;
	struct violation v = {0};

	*header = *body = NULL;
	if (!xml_is(root, NS_SOAP, "Envelope")) {
		refuse(r, "VersionMismatch");
		r->a->status = 500;
		soap_plain_fault(&r->a->body, "VersionMismatch",
		                 "The root element must be Envelope in namespace '" NS_SOAP "'.");
		return false;
	}
	n = xml_first(root);
	if (xml_is(n, NS_SOAP, "Header")) {
		*header = n;
		n = xml_next(n);
	}
	if (xml_is(n, NS_SOAP, "Body") && !xml_next(n)) {
		*body = n;
		r->op = xml_first(n);
	}
	if (*body && r->op && !xml_next(r->op))
		return true;
	v.line = (int)xmlGetLineNo(root);
	snprintf(v.text, sizeof v.text,
	         "A SOAP envelope has at most one Header, then one Body with one child element.");
	schema_fault(r, &v);
	return false;
}

static bool read_version(struct req *r, const xmlNode *header)
{
	char *text = NULL;
	bool ok = true;

	r->asked = V2007;
	for (const xmlNode *n = xml_first(header); n; n = xml_next(n))
		if (xml_is(n, NS_TYPES, "RequestServerVersion")) {
			text = xml_attr(n, "Version");
			ok = text && strncmp(text, "Exchange", 8) == 0 &&
			     version_parse(text, &r->asked) && r->asked <= r->e->version;
			free(text);
			break;
		}
	if (!ok)
		fault(r, "ErrorInvalidServerVersion", "The specified server version is invalid.");
	return ok;
}

static bool check_headers(struct req *r, const xmlNode *header)
{
	static const char *const known[] = {"RequestServerVersion", "ExchangeImpersonation",
	                                    "MailboxCulture", "TimeZoneContext", NULL};
	unsigned seen[4] = {0};
	struct violation v = {0};

	for (const xmlNode *n = xml_first(header); n; n = xml_next(n)) {
		xmlChar *must =
		    xmlGetNsProp(n, (const xmlChar *)"mustUnderstand", (const xmlChar *)NS_SOAP);
		bool strict = must && strcmp((char *)must, "1") == 0;
		int k = 0;

		xmlFree(must);
		while (known[k] && !xml_is(n, NS_TYPES, known[k]))
			k++;
		if (!known[k] && strict) {
			refuse(r, "MustUnderstand");
			r->a->status = 500;
			soap_plain_fault(&r->a->body, "MustUnderstand",
			                 "A header that must be understood is not understood.");
			return false;
		}
		if (known[k] && seen[k]++) {
			fault(r, "ErrorDuplicateSOAPHeader", "A SOAP header was given twice.");
			return false;
		}
		if (!grammar_check_header(n, r->asked, &v)) {
			schema_fault(r, &v);
			return false;
		}
	}
	return true;
}

static bool impersonate(struct req *r, const xmlNode *header)
{
	const xmlNode *n = xml_first(header), *who;
	struct mailbox *mb;
	char *name;
	bool upn, plausible;

	r->as = r->e->service;
	while (n && !xml_is(n, NS_TYPES, "ExchangeImpersonation"))
		n = xml_next(n);
	if (!n)
		return true;
	who = xml_first(xml_child(n, "ConnectingSID"));
	upn = strcmp((const char *)who->name, "PrincipalName") == 0;
	if (r->e->denied[r->cas]) {
		fault(r, "ErrorImpersonationDenied",
		      "The account does not have permission to impersonate users on this server.");
		return false;
	}
	if (strcmp((const char *)who->name, "SID") == 0) {
		fault(r, "ErrorInvalidUserSid", "The user SID is not valid.");
		return false;
	}
	name = xml_text(who);
	mb = store_find(r->e->store, name);
	plausible = strchr(name, '@') && strchr(name, '@') != name && strchr(name, '@')[1];
	free(name);
	if (!plausible)
		fault(r, upn ? "ErrorInvalidUserPrincipalName" : "ErrorInvalidSmtpAddress",
		      upn ? "The user principal name is not valid."
		          : "The SMTP address format is invalid.");
	else if (!mb && upn)
		fault(r, "ErrorInvalidUserPrincipalName",
		      "The user principal name has no account associated with it.");
	else if (!mb)
		fault(r, "ErrorNonExistentMailbox",
		      "The SMTP address has no mailbox associated with it.");
	else if (mb->denied)
		fault(r, "ErrorImpersonateUserDenied",
		      "The account does not have permission to impersonate the requested user.");
	r->as = mb;
	return !r->a->refused;
}

/* The operations that are imitated. */
static const struct operation {
	const char *name;
	enum request_kind kind;
	void (*answer)(struct req *r);
} operations[] = {
    {"Subscribe", REQ_SUBSCRIBE, subscribe},
    {"Unsubscribe", REQ_UNSUBSCRIBE, unsubscribe},
    {"GetEvents", REQ_GET_EVENTS, get_events},
    {"GetStreamingEvents", REQ_GET_STREAMING_EVENTS, get_streaming_events},
    {"GetUserAvailabilityRequest", REQ_GET_USER_AVAILABILITY, get_user_availability},
    {"FindItem", REQ_FIND_ITEM, find_item},
    {"GetUserOofSettingsRequest", REQ_GET_OOF_SETTINGS, get_oof_settings},
    {"GetMailTips", REQ_GET_MAIL_TIPS, get_mail_tips},
};

/* NULL: none of them */
static const struct operation *operation_of(const xmlNode *op)
{
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		if (xml_is(op, NS_MESSAGES, operations[i].name))
			return &operations[i];
	return NULL;
}

enum request_kind ews_kind(const char *body, size_t len)
{
	struct violation v;
	xmlDoc *doc = grammar_parse(body, len, &v);
	const xmlNode *root = doc ? xmlDocGetRootElement(doc) : NULL;
	const struct operation *op = operation_of(xml_first(xml_child(root, "Body")));

	xmlFreeDoc(doc);
	return op ? op->kind : REQ_OTHER;
}

void ews_answer(struct ews *e, unsigned cas, const struct hints *hints, const char *text,
                size_t len, struct answer *a)
{
	struct req r = {.e = e, .cas = cas, .a = a};
	struct violation v = {0};
	xmlDoc *doc = grammar_parse(text, len, &v);
	xmlNode *header, *body;
	const struct operation *op = NULL;
	bool routed = false;

	a->kind = REQ_OTHER;
	a->status = 200;
	if (!doc) {
		refuse(&r, "http-400");
		a->status = 400;
		soap_plain_fault(&a->body, "Client", v.text);
		return;
	}
	if (envelope(&r, doc, &header, &body)) {
		r.header = header;
		op = operation_of(r.op);
		a->kind = op ? op->kind : REQ_OTHER;
		if (!read_version(&r, header) || !check_headers(&r, header)) {
			/* answered */
		} else if (!op && xml_is(r.op, NS_MESSAGES, (const char *)r.op->name)) {
			fault(&r, "ErrorInvalidOperation",
			      "This operation is not imitated by this server, or not one of EWS.");
		} else if (!grammar_check(r.op, r.asked, &v)) {
			schema_fault(&r, &v);
		} else if (impersonate(&r, header)) {
			r.route = affinity_route(&e->affinity, cas, hints, e->store, r.as);
			routed = true;
			soap_begin(&a->body, e->version);
			op->answer(&r);
			if (a->status == 200)
				soap_end(&a->body);
		}
	}
	xmlFreeDoc(doc);
	if (!routed) /* a load balancer knows nothing of who it is for */
		r.route = affinity_route(&e->affinity, cas, hints, e->store, e->service);
	affinity_cookie(&e->affinity, cas, hints, &r.route, a->kind == REQ_SUBSCRIBE && !a->refused,
	                &a->cookie);
}
