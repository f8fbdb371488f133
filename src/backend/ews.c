/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Exchange answers. Elements are known by namespace, name and where they stand; what isn't
 * known is skipped with all that is in it, so newer servers may say more.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/ews.h"
#include "backend/xml.h"
#include "core/wall.h"

#define DEPTH 64

/* An element that matters, by its place. */
enum place {
	SKIP, /* and everything in it */
	DOCUMENT,
	ENVELOPE,
	HEADER,
	SERVER,
	BODY,
	FAULT,
	FAULTCODE,
	DETAIL,
	RESPONSE, /* m:SubscribeResponse and its like */
	RESPONSES,
	MESSAGE, /* one ResponseMessage, of any operation */
	CODE,
	TEXT,
	MESSAGEXML,
	VALUE,
	SUBSCRIPTION,
	NOTIFICATIONS,
	NOTIFICATION,
	NOTIFIED,
	EVENT,
	STATUS,
	WATERMARK,
	MORE,
	GONES,
	GONE,
	CONNECTION,
	MAILBOXES,
	MAILBOX,
	VIEW,
	VIEWTYPE,
	DIGITS,
	MEETINGS,
	MEETING,
	START,
	END,
	BUSYTYPE,
	CANCELLED,
	FOLDER,
	TIPS,
	REPLIES, /* automatic ones: settings, or a tip */
	REPLY,
	REPLYTEXT,
	STATE,
	PENDING,
	DURATION,
	DETAILS,
	SUBJECT,
	LOCATION,
	PRIVATE,
	PLACES
};

/* Namespaces, as a set. */
enum {
	NONE = 1,
	SOAP = 2,
	TYPES = 4,
	MESSAGES = 8,
	ERRORS = 16,
	ANY = NONE | TYPES | MESSAGES | ERRORS
};

/*
 * What stands in each place. The streaming answer's own parts stand in the messages namespace at
 * Exchange, in types by its schema, and in none elsewhere; the name "*" is the asked operation's, or
 * of what we are called for.
 */
#define ROWS 12

static const struct row {
	uint8_t ns, to;
	const char *name; /* NULL: no more */
} grammar[PLACES][ROWS] = {
    [DOCUMENT] = {{SOAP, ENVELOPE, "Envelope"}},
    [ENVELOPE] = {{SOAP, HEADER, "Header"}, {SOAP, BODY, "Body"}},
    [HEADER] = {{ANY, SERVER, "ServerVersionInfo"}},
    [BODY] = {{SOAP, FAULT, "Fault"}, {MESSAGES, RESPONSE, "*Response"}, {MESSAGES, RESPONSE, "*"}},
    [FAULT] = {{NONE | SOAP, FAULTCODE, "faultcode"},
               {NONE | SOAP, TEXT, "faultstring"},
               {NONE | SOAP, DETAIL, "detail"}},
    [DETAIL] = {{ANY, CODE, "ResponseCode"},
                {ANY, TEXT, "Message"},
                {ANY, MESSAGEXML, "MessageXml"}},
    [RESPONSE] = {{MESSAGES, RESPONSES, "ResponseMessages"},
                  {MESSAGES, MAILBOXES, "FreeBusyResponseArray"},
                  {MESSAGES, CODE, "ResponseCode"},
                  {MESSAGES, TEXT, "MessageText"},
                  {MESSAGES, MESSAGE, "ResponseMessage"},
                  {TYPES | MESSAGES, REPLIES, "OofSettings"}},
    [RESPONSES] = {{MESSAGES, MESSAGE, "*ResponseMessage"},
                   {MESSAGES, MESSAGE, "MailTipsResponseMessageType"}},
    [MESSAGE] = {{MESSAGES, CODE, "ResponseCode"},
                 {MESSAGES, TEXT, "MessageText"},
                 {MESSAGES, MESSAGEXML, "MessageXml"},
                 {MESSAGES, SUBSCRIPTION, "SubscriptionId"},
                 {MESSAGES, WATERMARK, "Watermark"},
                 {ANY, NOTIFICATION, "Notification"},
                 {ANY, NOTIFICATIONS, "Notifications"},
                 {ANY, GONES, "ErrorSubscriptionIds"},
                 {ANY, CONNECTION, "ConnectionStatus"},
                 {MESSAGES, FOLDER, "RootFolder"},
                 {MESSAGES, TIPS, "MailTips"}},
    [MESSAGEXML] = {{ANY, VALUE, "Value"}},
    [NOTIFICATIONS] = {{ANY, NOTIFICATION, "Notification"}},
    [NOTIFICATION] = {{ANY, NOTIFIED, "SubscriptionId"},
                      {ANY, MORE, "MoreEvents"},
                      {ANY, STATUS, "StatusEvent"}},
    [STATUS] = {{ANY, WATERMARK, "Watermark"}},
    [EVENT] = {{ANY, WATERMARK, "Watermark"}},
    [GONES] = {{ANY, GONE, "SubscriptionId"}},
    [MAILBOXES] = {{MESSAGES, MAILBOX, "FreeBusyResponse"}},
    [MAILBOX] = {{MESSAGES, MESSAGE, "ResponseMessage"}, {MESSAGES, VIEW, "FreeBusyView"}},
    [VIEW] = {{TYPES | MESSAGES, VIEWTYPE, "FreeBusyViewType"},
              {TYPES | MESSAGES, DIGITS, "MergedFreeBusy"},
              {TYPES | MESSAGES, MEETINGS, "CalendarEventArray"}},
    [MEETINGS] = {{TYPES | MESSAGES, MEETING, "CalendarEvent"}, {TYPES, MEETING, "CalendarItem"}},
    [MEETING] = {{TYPES | MESSAGES, START, "StartTime"},
                 {TYPES | MESSAGES, END, "EndTime"},
                 {TYPES | MESSAGES, BUSYTYPE, "BusyType"},
                 {TYPES, START, "Start"},
                 {TYPES, END, "End"},
                 {TYPES, BUSYTYPE, "LegacyFreeBusyStatus"},
                 {TYPES, CANCELLED, "IsCancelled"},
                 {TYPES | MESSAGES, DETAILS, "CalendarEventDetails"}},
    [FOLDER] = {{TYPES, MEETINGS, "Items"}},
    [TIPS] = {{TYPES, PENDING, "PendingMailTips"}, {TYPES, REPLIES, "OutOfOffice"}},
    [REPLIES] = {{TYPES, REPLY, "ReplyBody"},
                 {TYPES, STATE, "OofState"},
                 {TYPES, DURATION, "Duration"}},
    [REPLY] = {{TYPES, REPLYTEXT, "Message"}},
    [DURATION] = {{TYPES, START, "StartTime"}, {TYPES, END, "EndTime"}},
    [DETAILS] = {{TYPES | MESSAGES, SUBJECT, "Subject"},
                 {TYPES | MESSAGES, LOCATION, "Location"},
                 {TYPES | MESSAGES, PRIVATE, "IsPrivate"}},
};

#define CALL PX_ASKS /* what Exchange asks us: SendNotification */

static const char *const operation[PX_ASKS + 1] = {[CALL] = "SendNotification",
                                                   [PX_ASK_POLL] = "GetEvents",
                                                   [PX_ASK_SUBSCRIBE] = "Subscribe",
                                                   [PX_ASK_UNSUBSCRIBE] = "Unsubscribe",
                                                   [PX_ASK_STREAM] = "GetStreamingEvents",
                                                   [PX_ASK_READ] = "GetUserAvailability",
                                                   [PX_ASK_READ_ONE] = "FindItem",
                                                   [PX_ASK_OOF] = "GetMailTips",
                                                   [PX_ASK_DETAILS] = "GetUserAvailability",
                                                   [PX_ASK_PROBE] = "GetUserAvailability"};

enum view { VIEW_MISSING, VIEW_EMPTY, VIEW_DIGITS, VIEW_MEETINGS };

/* One mailbox of an availability answer, as far as it has come. */
struct mailbox {
	struct px_interval *interval; /* owned, grows up to PX_INTERVALS_MAX */
	size_t n, room;
	struct px_buf digits;
	struct px_interval meeting; /* the one that is open */
	bool has_start, has_end;
	bool answered; /* its ResponseMessage came */
	enum view view;
	bool details; /* of its meetings can be seen */
	char subject[PX_MEETING_TEXT_MAX + 1], place[PX_MEETING_TEXT_MAX + 1]; /* the open one's */
	bool hidden;
	bool listed;                 /* CalendarEventArray, or the folder's items came */
	bool cancelled;              /* the meeting that is open */
	bool partial;                /* there are more items than were sent */
	bool scheduled, on, pending; /* automatic replies */
	const char *wrong;           /* static; why it can't be believed; NULL: nothing is */
};

struct px_parse {
	struct px_xml *xml;
	px_item_h *said;
	void *arg;
	struct mailbox *mailbox;    /* availability only */
	size_t n, index;            /* mailboxes asked for, answered */
	struct px_wall from, until; /* the window in whole slots; until 0: not known */
	struct px_buf staged; /* SUBSCRIBE: the id; STREAM: items of the envelope that is open,
	                         kind, id, NUL */
	size_t mark;          /* STREAM: where the open Notification's item begins */
	const char *broken;   /* static; what is wrong with the structure; NULL: nothing is */
	int64_t backoff_ms;
	int fed; /* what xml said */
	uint8_t ask, value;
	bool meetings; /* are told with what they are about */
	uint8_t place[DEPTH + 1], depth;
	unsigned envelopes, answers, messages; /* answers and messages of this envelope */
	bool alien;                            /* the root is no Envelope; text says what */
	bool memory;                           /* it ran out */
	bool success;                          /* the open message's ResponseClass */
	bool failed;      /* an error stands in code and text; a stream's: of this envelope */
	bool busy_inside; /* ErrorInternalServerError that is a throttling in truth */
	bool fault;       /* this envelope holds a Fault */
	bool changed, gone, closed, unusable, more;
	bool odd_version; /* a fault speaks of the version that was asked for */
	uint8_t version, kind;
	unsigned major; /* of the server's version; 0: it didn't say */
	char server[PX_SERVER_MAX];
	char watermark[PX_EWS_ID_MAX + 1]; /* the last one; "": none */
	char code[PX_CODE_MAX];
	char text[PX_DETAIL_MAX - PX_CODE_MAX];
};

enum { VALUE_OTHER, VALUE_BACKOFF, VALUE_INNER };

static bool is(const char *text, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(text, word, n) == 0;
}

static bool streaming(const struct px_parse *p)
{
	return p->ask == PX_ASK_STREAM;
}

/* Ids go into logs, files and back into requests: Exchange's are base64 or GUIDs. */
static bool usable_id(const char *id, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (id[i] <= ' ' || id[i] > '~')
			return false;
	return n > 0 && n <= PX_EWS_ID_MAX;
}

static void stage(struct px_parse *p, enum px_item_kind kind, const char *id, size_t n)
{
	char k = (char)kind;

	if (!usable_id(id, n)) /* it can't be one that we asked for */
		return;
	px_buf_add(&p->staged, &k, 1);
	px_buf_add(&p->staged, id, n);
	px_buf_add(&p->staged, "", 1);
}

static void forget_error(struct px_parse *p)
{
	p->failed = p->success = p->busy_inside = false;
	p->code[0] = p->text[0] = '\0';
}

/* The message or Fault is whole: what did it say? */
static void judge(struct px_parse *p)
{
	p->failed = !p->success || (p->code[0] && strcmp(p->code, "NoError") != 0);
	if (p->busy_inside && strcmp(p->code, "ErrorInternalServerError") == 0)
		strcpy(p->code, "ErrorServerBusy");
}

/* ---- availability ---- */

/* What was asked is refused, in a word of ours or of Exchange's. */
static void fail(struct px_parse *p, const char *code)
{
	snprintf(p->code, sizeof p->code, "%s", code);
	p->failed = true;
}

static void mailbox_begin(struct mailbox *b)
{
	b->n = 0;
	b->digits.len = 0;
	b->answered = b->listed = b->partial = b->details = false;
	b->scheduled = b->on = b->pending = b->has_start = b->has_end = false;
	b->view = VIEW_MISSING;
	b->wrong = NULL;
}

static void mailbox_add(struct px_parse *p, struct mailbox *b, struct px_interval interval)
{
	if (b->n == PX_INTERVALS_MAX) {
		b->wrong = "too many meetings";
		return;
	}
	if (b->n == b->room) {
		size_t room = b->room ? b->room * 2 : 64;
		struct px_interval *grown = realloc(b->interval, room * sizeof *grown);

		if (!grown) {
			p->memory = true;
			return;
		}
		b->interval = grown;
		b->room = room;
	}
	b->interval[b->n++] = interval;
}

static void meeting_end(struct px_parse *p, struct mailbox *b)
{
	const struct px_meeting m = {
	    .when = b->meeting, .subject = b->subject, .place = b->place, .hidden = b->hidden};
	const struct px_item item = {.kind = PX_ITEM_MEETING, .index = p->index, .meeting = &m};

	if (b->cancelled)
		return;
	if (!b->has_start || !b->has_end) {
		b->wrong = "bad time of a meeting";
		return;
	}
	mailbox_add(p, b, b->meeting);
	if (p->meetings && p->index < p->n)
		p->said(p->arg, &item);
}

static enum px_status busy_type(const char *s, size_t n)
{
	/* LegacyFreeBusyType; what a newer server invents isn't known to be free */
	return is(s, n, "Free")               ? PX_FREE
	       : is(s, n, "Tentative")        ? PX_TENTATIVE
	       : is(s, n, "Busy")             ? PX_BUSY
	       : is(s, n, "OOF")              ? PX_OOF
	       : is(s, n, "WorkingElsewhere") ? PX_WORKINGELSEWHERE
	                                      : PX_NODATA;
}

/* MergedFreeBusy: a digit for each slot of the window (MS-OXWAVLS). 4 was no data before Exchange
 * 2013 (15.0), and is WorkingElsewhere since; a server that doesn't say what it is isn't known to
 * mean that. */
static void mailbox_digits(struct px_parse *p, struct mailbox *b)
{
	const enum px_status status[] = {PX_FREE, PX_TENTATIVE, PX_BUSY, PX_OOF,
	                                 p->major >= 15 ? PX_WORKINGELSEWHERE : PX_NODATA};
	const char *digit = b->digits.len ? b->digits.data : "";

	if (strspn(digit, "0123456789") != b->digits.len)
		b->wrong = "bad MergedFreeBusy";
	else if (p->until.ms == 0 && strspn(digit, "0") != b->digits.len)
		b->wrong = "MergedOnly";
	else if ((int64_t)b->digits.len < (p->until.ms - p->from.ms) / PX_EWS_SLOT_MS ||
	         b->digits.len == 0)
		b->wrong = "short MergedFreeBusy";
	if (b->wrong)
		return;
	b->n = 0;
	for (size_t i = 0, run; i < b->digits.len; i += run) {
		char same[2] = {digit[i]};
		int64_t at = p->from.ms + (int64_t)i * PX_EWS_SLOT_MS;

		run = strspn(digit + i, same);
		if (digit[i] != '0')
			mailbox_add(
			    p, b,
			    (struct px_interval){.start = {at},
			                         .end = {at + (int64_t)run * PX_EWS_SLOT_MS},
			                         .status = digit[i] < '5' ? status[digit[i] - '0']
			                                                  : PX_NODATA});
	}
}

/* What a code means for one mailbox of many: the gateway answered; another may stand nearer to the
 * mailbox. */
static enum px_verdict mailbox_verdict(const char *code)
{
	const struct px_meaning *row = px_ews_row(code);
	enum px_verdict v = row ? row->verdict : PX_V_TRANSIENT;

	/* no right to look from outside; its owner has */
	if (v == PX_V_USER && strcmp(code, "ErrorAccessDenied") == 0)
		return PX_V_UNREADABLE;
	return v == PX_V_SERVER ? PX_V_LOST
	       : v == PX_V_GAP || v == PX_V_WIDE || v == PX_V_VERSION || v == PX_V_KIND
	           ? PX_V_TRANSIENT
	           : v;
}

/* The mailbox's own calendar is whole. */
static void folder_end(struct px_parse *p, struct mailbox *b)
{
	struct px_item item = {.kind = PX_ITEM_CALENDAR, .interval = b->interval, .n = b->n};

	if (p->failed)
		return;
	if (!b->listed)
		p->broken = "no items";
	else if (b->partial || (b->wrong && strcmp(b->wrong, "too many meetings") == 0))
		fail(p, "ErrorResultSetTooBig");
	else if (b->wrong)
		fail(p, b->wrong);
	else if (p->index++ == 0)
		p->said(p->arg, &item);
}

/* Automatic replies of one mailbox. */
static void replies_end(struct px_parse *p, struct mailbox *b)
{
	struct px_item item = {.kind = PX_ITEM_OOF, .index = p->index++, .away = b->on};

	if (item.index >= p->n) {
		p->broken = "more mailboxes than were asked for";
		return;
	}
	if (!p->failed && b->pending) /* the server couldn't find it out in time */
		fail(p, "PendingMailTips");
	else if (!p->failed && !b->listed)
		fail(p, "no automatic replies");
	else if (!p->failed && b->scheduled && !(b->has_start && b->has_end))
		fail(p, "bad time of automatic replies");
	if (p->failed) {
		item.kind = PX_ITEM_REFUSED;
		item.verdict = mailbox_verdict(p->code);
		item.code = p->code;
	} else if (b->on && b->scheduled) {
		item.from = b->meeting.start;
		item.until = b->meeting.end;
	}
	p->said(p->arg, &item);
}

static void mailbox_end(struct px_parse *p, struct mailbox *b)
{
	struct px_item item = {.kind = PX_ITEM_REFUSED, .index = p->index++, .code = p->code};

	if (item.index >= p->n) {
		p->broken = "more mailboxes than were asked for";
		return;
	}
	if (b->answered && p->failed) {
		item.verdict = mailbox_verdict(p->code);
		p->said(p->arg, &item);
		return;
	}
	if (!b->answered)
		b->wrong = "no ResponseMessage";
	else if (b->view == VIEW_MISSING)
		b->wrong = "no FreeBusyView";
	else if (b->view == VIEW_EMPTY)
		b->wrong = "FreeBusyViewType None";
	else if (!b->wrong && (b->view == VIEW_DIGITS || (!b->listed && b->digits.len > 0)))
		mailbox_digits(p, b);
	if (b->wrong) {
		fail(p, b->wrong);
		item.verdict = mailbox_verdict(p->code);
	} else {
		item.kind = PX_ITEM_CALENDAR;
		item.interval = b->interval;
		item.n = b->n;
		item.details = b->details;
	}
	p->said(p->arg, &item);
}

/* ---- elements ---- */

static unsigned namespace(const char *ns)
{
	return !*ns                               ? NONE
	       : strcmp(ns, PX_EWS_TYPES) == 0    ? TYPES
	       : strcmp(ns, PX_EWS_MESSAGES) == 0 ? MESSAGES
	       : strcmp(ns, PX_EWS_SOAP) == 0     ? SOAP
	       : strcmp(ns, PX_EWS_ERRORS) == 0   ? ERRORS
	                                          : 0;
}

static const char *asked(const struct px_parse *p)
{
	return p->ask == PX_ASK_OOF && p->n == 1 ? "GetUserOofSettings" : operation[p->ask];
}

static bool named(const struct px_parse *p, const char *name, const char *want)
{
	const char *op;

	if (*want != '*')
		return strcmp(name, want) == 0;
	op = asked(p);
	return op && strncmp(name, op, strlen(op)) == 0 && strcmp(name + strlen(op), want + 1) == 0;
}

static enum place find(const struct px_parse *p, const char *space, const char *name)
{
	const uint8_t in = p->place[p->depth];

	for (const struct row *r = grammar[in]; r < grammar[in] + ROWS && r->name; r++)
		if (named(p, name, r->name) && (r->ns & namespace(space)))
			return r->to;
	if (in == NOTIFICATION) { /* CreatedEvent ... FreeBusyChangedEvent, and what may come */
		size_t n = strlen(name);

		if (n > 5 && strcmp(name + n - 5, "Event") == 0)
			return EVENT;
	}
	return SKIP;
}

static const struct px_xml_attr *attribute(const struct px_xml_attr *attr, size_t n,
                                           const char *name)
{
	for (; n > 0; n--, attr++)
		if (!*attr->ns && strcmp(attr->name, name) == 0)
			return attr;
	return NULL;
}

/* "Exchange 15.2.1258", if all three are numbers. */
static void server_info(struct px_parse *p, const struct px_xml_attr *attr, size_t attrs)
{
	static const char *const name[] = {"MajorVersion", "MinorVersion", "MajorBuildNumber"};
	unsigned long part[3];

	for (size_t i = 0; i < 3; i++) {
		const struct px_xml_attr *a = attribute(attr, attrs, name[i]);
		char digits[8];

		if (!a || a->n == 0 || a->n >= sizeof digits)
			return;
		memcpy(digits, a->value, a->n);
		digits[a->n] = '\0';
		if (strspn(digits, "0123456789") != a->n)
			return;
		part[i] = strtoul(digits, NULL, 10);
	}
	p->major = (unsigned)part[0];
	snprintf(p->server, sizeof p->server, "Exchange %lu.%lu.%lu", part[0], part[1], part[2]);
}

static void on_open(void *arg, const char *ns, const char *name, const struct px_xml_attr *attr,
                    size_t attrs)
{
	struct px_parse *p = arg;
	const struct px_xml_attr *a;
	enum place place;

	if (p->depth == 0) {
		p->place[0] = DOCUMENT;
		p->answers = p->messages = 0;
		p->fault = p->gone = false;
	}
	place = find(p, ns, name);
	if (p->depth == 0 && place != ENVELOPE && p->envelopes > 0)
		p->broken = "not an envelope";
	else if (p->depth == 0 && place != ENVELOPE) {
		p->alien = true;
		px_answer_text(p->text, sizeof p->text, name, strlen(name));
	}
	p->place[++p->depth] = (uint8_t)place;
	switch (place) {
	case RESPONSE:
	case FAULT:
		if (p->answers++)
			p->broken = "two answers in one envelope";
		p->fault = place == FAULT;
		forget_error(p);
		a = attribute(attr, attrs, "ResponseClass"); /* GetMailTips has one here, too */
		p->success = a && is(a->value, a->n, "Success");
		break;
	case MESSAGE:
		p->messages++;
		if (p->mailbox && p->ask != PX_ASK_READ && p->ask != PX_ASK_PROBE) {
			mailbox_begin(p->mailbox);
			forget_error(p);
		}
		if (p->mailbox)
			p->mailbox->answered = true;
		if (p->failed) /* the first error stays */
			break;
		forget_error(p);
		a = attribute(attr, attrs, "ResponseClass");
		p->success = a && (is(a->value, a->n, "Success") || is(a->value, a->n, "Warning"));
		break;
	case SERVER:
		server_info(p, attr, attrs);
		break;
	case VALUE:
		a = attribute(attr, attrs, "Name");
		p->value = !a                                             ? VALUE_OTHER
		           : is(a->value, a->n, "BackOffMilliseconds")    ? VALUE_BACKOFF
		           : is(a->value, a->n, "InnerErrorResponseCode") ? VALUE_INNER
		                                                          : VALUE_OTHER;
		break;
	case NOTIFICATION:
		p->mark = p->staged.len;
		p->changed = false;
		break;
	case EVENT:
		p->changed = true;
		break;
	case MAILBOX:
		if (p->mailbox)
			mailbox_begin(p->mailbox);
		forget_error(p);
		break;
	case FOLDER:
		a = attribute(attr, attrs, "IncludesLastItemInRange");
		if (p->mailbox)
			p->mailbox->partial = a && is(a->value, a->n, "false");
		break;
	case MEETINGS:
	case REPLIES:
		if (p->mailbox)
			p->mailbox->listed = true;
		break;
	case MEETING:
		if (p->mailbox) {
			p->mailbox->meeting = (struct px_interval){
			    .status = p->ask == PX_ASK_READ_ONE ? PX_BUSY : PX_NODATA};
			p->mailbox->has_start = p->mailbox->has_end = p->mailbox->cancelled = false;
			p->mailbox->subject[0] = p->mailbox->place[0] = '\0';
			p->mailbox->hidden = false;
		}
		break;
	default:
		break;
	}
}

static void close_value(struct px_parse *p, const char *text, size_t n)
{
	if (p->value == VALUE_BACKOFF && n > 0 && strspn(text, "0123456789") == n) {
		long long ms = strtoll(text, NULL, 10); /* at most LLONG_MAX */

		if (ms > p->backoff_ms)
			p->backoff_ms = ms;
	} else if (p->value == VALUE_INNER && is(text, n, "ErrorServerBusy"))
		p->busy_inside = true;
}

/* In an availability answer. */
static void close_mailbox(struct px_parse *p, struct mailbox *b, enum place place, const char *text,
                          size_t n)
{
	switch (place) {
	case VIEWTYPE:
		b->view = is(text, n, "None") || n == 0 ? VIEW_EMPTY
		          : is(text, n, "MergedOnly")   ? VIEW_DIGITS
		                                        : VIEW_MEETINGS;
		b->details = is(text, n, "Detailed") || is(text, n, "DetailedMerged");
		break;
	case DIGITS:
		b->digits.len = 0;
		px_buf_add(&b->digits, text, n);
		p->memory |= b->digits.failed;
		break;
	case START:
		b->has_start = px_wall_parse(text, n, &b->meeting.start) == 0;
		break;
	case END:
		b->has_end = px_wall_parse(text, n, &b->meeting.end) == 0;
		break;
	case BUSYTYPE:
		b->meeting.status = busy_type(text, n);
		break;
	case SUBJECT:
		px_answer_text(b->subject, sizeof b->subject, text, n);
		break;
	case LOCATION:
		px_answer_text(b->place, sizeof b->place, text, n);
		break;
	case PRIVATE:
		b->hidden = !is(text, n, "false") && !is(text, n, "0");
		break;
	case MEETING:
		meeting_end(p, b);
		break;
	case MAILBOX:
		mailbox_end(p, b);
		break;
	case CANCELLED:
		b->cancelled = is(text, n, "true") || is(text, n, "1");
		break;
	case REPLYTEXT: /* of a tip: who isn't away has none */
		b->on |= n > 0;
		break;
	case STATE:
		b->scheduled = is(text, n, "Scheduled");
		b->on = b->scheduled || is(text, n, "Enabled");
		break;
	case PENDING:
		b->pending = n > 0 && !is(text, n, "None");
		break;
	case DURATION: /* a tip has one only when it is scheduled */
		b->scheduled |= p->n > 1;
		break;
	default:
		break;
	}
}

/* In the answer to Subscribe, or on a stream. */
static void close_subscription(struct px_parse *p, enum place place, const char *text, size_t n)
{
	switch (place) {
	case SUBSCRIPTION:
		if (p->ask == PX_ASK_SUBSCRIBE && p->staged.len == 0)
			stage(p, PX_ITEM_SUBSCRIBED, text, n);
		p->unusable = p->staged.len == 0;
		break;
	case NOTIFIED:
		if (p->staged.len == p->mark)
			stage(p, PX_ITEM_CHANGED, text, n);
		break;
	case NOTIFICATION:
		if (!p->changed && p->staged.len > p->mark && !streaming(p))
			p->staged.data[p->mark] = PX_ITEM_ALIVE;
		else if (!p->changed)
			p->staged.len = p->mark;
		break;
	case WATERMARK: /* the last one counts */
		if (usable_id(text, n)) {
			memcpy(p->watermark, text, n);
			p->watermark[n] = '\0';
		}
		break;
	case MORE:
		p->more = is(text, n, "true") || is(text, n, "1");
		break;
	case GONE:
		stage(p, PX_ITEM_GONE, text, n);
		p->gone = true;
		break;
	case CONNECTION:
		p->closed |= is(text, n, "Closed");
		break;
	default:
		break;
	}
}

static bool blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void on_close(void *arg, const char *text, size_t n)
{
	struct px_parse *p = arg;
	enum place place = p->place[p->depth--];
	const char *colon;

	if (place == SKIP)
		return;
	for (; n > 0 && blank(*text); n--)
		text++;
	while (n > 0 && blank(text[n - 1]))
		n--;
	switch (place) {
	case CODE:
		if (!p->failed)
			px_answer_code(p->code, sizeof p->code, text, n);
		break;
	case FAULTCODE: /* a:ErrorServerBusy, for want of a ResponseCode */
		colon = memchr(text, ':', n);
		if (colon && strncmp(colon, ":Error", 6) == 0)
			px_answer_code(p->code, sizeof p->code, colon + 1,
			               n - (size_t)(colon + 1 - text));
		break;
	case TEXT:
		/* in whatever language: .NET names the attribute and its type */
		p->odd_version |=
		    memmem(text, n, "'Version'", 9) || memmem(text, n, "ExchangeVersionType", 19);
		if (!p->failed && !p->text[0])
			px_answer_text(p->text, sizeof p->text, text, n);
		break;
	case VALUE:
		close_value(p, text, n);
		break;
	case MESSAGE:
		judge(p);
		if (p->ask == PX_ASK_READ_ONE)
			folder_end(p, p->mailbox);
		else if (p->ask == PX_ASK_OOF && p->n > 1)
			replies_end(p, p->mailbox);
		break;
	case FAULT:
		judge(p);
		break;
	case RESPONSE:
		if (p->ask == PX_ASK_OOF && p->n == 1 && p->messages == 1)
			replies_end(p, p->mailbox);
		else if (p->ask == PX_ASK_OOF && p->messages == 0)
			judge(p); /* no tips at all */
		break;
	default:
		if (p->mailbox)
			close_mailbox(p, p->mailbox, place, text, n);
		else
			close_subscription(p, place, text, n);
	}
}

static void on_end(void *arg)
{
	struct px_parse *p = arg;
	const struct px_meaning *row = px_ews_row(p->code);
	struct px_item item = {.kind = PX_ITEM_ALIVE};

	p->envelopes++;
	if (!streaming(p) && p->envelopes > 1)
		p->broken = "more than one envelope";
	else if (p->answers == 0)
		p->broken = "no answer in the envelope";
	else if (!p->fault && !p->mailbox &&
	         (p->messages == 0 || (p->messages > 1 && !streaming(p))))
		p->broken = "not one ResponseMessage";
	if (p->staged.failed)
		p->memory = true;
	if (p->alien || p->broken || p->memory)
		return;
	if (streaming(p) && !p->failed)
		p->said(p->arg, &item);
	if (p->ask != CALL && (streaming(p) || !p->failed))
		for (size_t at = 0; at < p->staged.len; at += strlen(p->staged.data + at) + 1) {
			item.kind = (enum px_item_kind)p->staged.data[at];
			item.id = p->staged.data + at + 1;
			item.code = p->code[0] ? p->code : NULL;
			item.verdict = row && row->verdict == PX_V_GAP ? PX_V_GAP : PX_V_LOST;
			item.watermark = p->watermark[0] ? p->watermark : NULL;
			p->said(p->arg, &item);
		}
	if (p->ask == PX_ASK_POLL && !p->failed && p->more) {
		item = (struct px_item){.kind = PX_ITEM_MORE};
		p->said(p->arg, &item);
	}
	if (streaming(p)) {
		item = (struct px_item){.kind = PX_ITEM_CLOSED};
		if (p->closed)
			p->said(p->arg, &item);
		px_buf_free(&p->staged);
	}
}

/* ---- the backend ---- */

#define MIB ((size_t)1 << 20)

static struct px_parse *parse_new(const struct px_query *q, px_item_h *said, void *arg)
{
	/* 100 mailboxes of 400 meetings are 8 MB */
	static const struct px_xml_limits availability = {16 * MIB, 500000, 65536, DEPTH},
	                                  stream = {1 * MIB, 50000, 16384, DEPTH},
	                                  other = {MIB / 4, 5000, 65536, DEPTH},
	                                  /* replies are long, and only their being there counts */
	    replies = {16 * MIB, 50000, 1024, DEPTH};
	static const struct px_xml_calls calls = {on_open, on_close, on_end};
	bool reading = q->ask == PX_ASK_READ || q->ask == PX_ASK_DETAILS ||
	               q->ask == PX_ASK_PROBE || q->ask == PX_ASK_READ_ONE || q->ask == PX_ASK_OOF;
	bool events = q->ask == PX_ASK_STREAM || q->ask == PX_ASK_POLL || q->ask == CALL;
	struct px_parse *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->ask = (uint8_t)q->ask;
	p->version = (uint8_t)q->version;
	p->kind = (uint8_t)q->kind;
	/* a mailbox that is impersonated shows more than the account may see */
	p->meetings = q->ask == PX_ASK_DETAILS || (q->ask == PX_ASK_READ && q->meetings);
	p->n = q->ask == PX_ASK_PROBE || q->ask == PX_ASK_READ_ONE ? 1 : q->n;
	p->said = said;
	p->arg = arg;
	p->from = px_ews_slot_before(q->from);
	p->until = px_ews_slot_after(q->until);
	p->staged = px_buf_new(stream.bytes);
	p->xml = px_xml_new(q->ask == PX_ASK_OOF ? &replies
	                    : reading            ? &availability
	                    : events             ? &stream
	                                         : &other,
	                    &calls, p);
	if (reading)
		p->mailbox = calloc(1, sizeof *p->mailbox);
	if (!p->xml || (reading && !p->mailbox)) {
		px_ews.parse_free(p);
		return NULL;
	}
	if (q->ask == PX_ASK_OOF)
		px_xml_cut_text(p->xml);
	if (reading)
		p->mailbox->digits = px_buf_new(availability.text);
	return p;
}

static void parse_free(struct px_parse *p)
{
	if (!p)
		return;
	px_xml_free(p->xml);
	px_buf_free(&p->staged);
	if (p->mailbox) {
		px_buf_free(&p->mailbox->digits);
		free(p->mailbox->interval);
	}
	free(p->mailbox);
	free(p);
}

static void feed(struct px_parse *p, const char *bytes, size_t n)
{
	if (!p->fed && !p->broken && !p->memory && !p->alien)
		p->fed = px_xml_feed(p->xml, bytes, n);
}

/* Fills out from a code and what else is known. */
static void conclude(const struct px_parse *p, struct px_reply *out, const char *code,
                     const char *more)
{
	const struct px_meaning *row = px_ews_row(code);

	px_conclude(out, row, code, more);
	if (!row && p->ask == PX_ASK_SUBSCRIBE && strncmp(code, "Error", 5) == 0)
		out->verdict = PX_V_LOST; /* refused by the server, and not by throttling */
	if (strcmp(code, "ErrorSchemaValidation") == 0 ||
	    strcmp(code, "ErrorInvalidRequest") == 0) {
		static const unsigned major[] = {15, 14, 8}; /* that knows the version */

		/* Exchange 2007 to 2013 find nothing but this to say about a version they don't know */
		if (p->odd_version || (p->major && p->major < major[p->version]))
			out->verdict = PX_V_VERSION;
		else if (p->ask == PX_ASK_SUBSCRIBE)
			out->verdict = PX_V_KIND;
	}
}

/* Each mailbox has an error of its own. */
static bool per_mailbox(const struct px_parse *p)
{
	return p->ask == PX_ASK_READ || p->ask == PX_ASK_DETAILS ||
	       (p->ask == PX_ASK_OOF && p->messages > 0);
}

/* The error that the envelope itself reported. */
static void conclude_error(const struct px_parse *p, struct px_reply *out)
{
	conclude(p, out, p->code[0] ? p->code : "SOAP fault", p->text);
	if (p->ask == PX_ASK_PROBE && !p->fault) /* its one mailbox */
		out->verdict = mailbox_verdict(p->code);
	if (out->verdict == PX_V_UNREADABLE && p->ask != PX_ASK_READ)
		out->verdict = PX_V_USER;
	if (out->verdict == PX_V_WIDE && p->ask != PX_ASK_READ_ONE)
		out->verdict = PX_V_TRANSIENT;
	if (p->gone && (out->verdict == PX_V_LOST || out->verdict == PX_V_GAP))
		out->verdict = PX_V_TRANSIENT;
}

static bool xml_type(const char *type)
{
	return !type || !*type || strcmp(type, "text/xml") == 0 ||
	       strcmp(type, "application/xml") == 0 || strcmp(type, "application/soap+xml") == 0;
}

/* HTTP was fine. */
static void conclude_body(const struct px_parse *p, const struct px_http_answer *a,
                          struct px_reply *out)
{
	const char *why = px_xml_why(p->xml);
	char text[PX_DETAIL_MAX];

	if (!xml_type(a->type) || p->alien || strncasecmp(why, "DOCTYPE html", 12) == 0) {
		snprintf(text, sizeof text, "%s answers instead of EWS",
		         !xml_type(a->type) ? a->type
		         : p->alien         ? p->text
		                            : "HTML");
		conclude(p, out, "not EWS", text);
	} else if (p->memory || p->fed == -ENOMEM)
		conclude(p, out, "local", "out of memory");
	else if (p->fed == -E2BIG)
		conclude(p, out, "too big", why);
	else if (p->fed)
		conclude(p, out, "broken XML", why);
	else if (p->broken)
		conclude(p, out, "broken answer", p->broken);
	else if (!px_xml_between(p->xml) || p->envelopes == 0)
		conclude(p, out, "cut",
		         p->envelopes ? "in the middle of an envelope"
		                      : "before the end of an envelope");
	else if (p->fault || (p->failed && !per_mailbox(p)))
		conclude_error(p, out);
	else if (streaming(p) && !p->closed)
		conclude(p, out, "cut", "the stream ended without Closed");
	else if (p->mailbox && p->index != p->n) {
		snprintf(text, sizeof text, "%zu of %zu mailboxes", p->index, p->n);
		conclude(p, out, "broken answer", text);
	} else if (p->ask == PX_ASK_SUBSCRIBE && p->unusable)
		conclude(p, out, "bad subscription id", NULL);
	else if (p->ask == PX_ASK_SUBSCRIBE && p->staged.len == 0)
		conclude(p, out, "broken answer", "no SubscriptionId");
	else if (p->ask == PX_ASK_SUBSCRIBE && p->kind == PX_KIND_PULL && !p->watermark[0])
		conclude(p, out, "broken answer", "no Watermark");
	else if (p->ask == PX_ASK_POLL && p->staged.len == 0)
		conclude(p, out, "broken answer", "no Notification");
}

static void done(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	char code[PX_CODE_MAX];

	*out = (struct px_reply){.verdict = PX_V_OK};
	memcpy(out->server, p->server, sizeof out->server);
	out->backoff_ms = a->retry_after_ms > p->backoff_ms ? a->retry_after_ms : p->backoff_ms;
	if (out->backoff_ms > PX_BACKOFF_WISH_MAX)
		out->backoff_ms = PX_BACKOFF_WISH_MAX;

	if (a->fail != PX_HTTP_ANSWERED) {
		bool ended = a->fail == PX_HTTP_CUT || a->fail == PX_HTTP_TIMEOUT;

		if (streaming(p) && p->envelopes > 0 && ended && p->failed)
			conclude_error(p, out);
		else if (streaming(p) && p->envelopes > 0 && a->fail == PX_HTTP_TIMEOUT)
			conclude(p, out, "silent", a->detail);
		else
			conclude(p, out, px_http_fail_code(a->fail), a->detail);
		return;
	}
	if (a->status == 200) {
		conclude_body(p, a, out);
		return;
	}
	snprintf(code, sizeof code, "HTTP %d", a->status);
	if (!px_ews_row(code) && p->failed && p->envelopes > 0 && !p->fed && !p->alien) {
		conclude_error(p, out);
		return;
	}
	conclude(p, out, a->status >= 300 && a->status < 400 ? "HTTP 302" : code,
	         p->text[0] ? p->text : a->detail);
	px_answer_code(out->code, sizeof out->code, code, strlen(code));
}

static unsigned kinds(unsigned version)
{
	unsigned all = PX_KIND_BIT(PX_KIND_STREAM) | PX_KIND_BIT(PX_KIND_PUSH) |
	               PX_KIND_BIT(PX_KIND_PULL) | PX_KIND_BIT(PX_KIND_NONE);

	return version < PX_EWS_2007_SP1 ? all : all & ~PX_KIND_BIT(PX_KIND_STREAM);
}

/* MS-OXWSPSNTIF: one message, with a Notification or an error that ends the subscription. */
static int notified(const char *bytes, size_t n, px_item_h *said, void *arg)
{
	struct px_parse *p = parse_new(&(struct px_query){.ask = CALL}, said, arg);
	const struct px_meaning *row;
	struct px_item item = {.kind = PX_ITEM_GONE, .verdict = PX_V_LOST};
	int items = -EBADMSG;

	if (!p)
		return -ENOMEM;
	feed(p, bytes, n);
	if (!p->fed && !p->broken && !p->alien && !p->memory && !p->fault &&
	    px_xml_between(p->xml) && p->envelopes == 1 && (p->failed || p->staged.len > 0)) {
		item.id = p->staged.len ? p->staged.data + 1 : NULL;
		row = px_ews_row(p->code);
		item.code = p->failed ? p->code : NULL;
		if (!p->failed)
			item.kind = (enum px_item_kind)p->staged.data[0];
		else if (row && row->verdict == PX_V_GAP)
			item.verdict = PX_V_GAP;
		said(arg, &item);
		items = 1;
	}
	parse_free(p);
	return items;
}

/* 2007 has no GetMailTips. */
static size_t oof_max(unsigned version)
{
	return version == PX_EWS_2007_SP1 ? 1 : PX_EWS_OOF_MAX;
}

const struct px_backend px_ews = {.name = "ews",
                                  .versions = PX_EWS_VERSIONS,
                                  .version_name = px_ews_version_name,
                                  .kinds = kinds,
                                  .read_max = PX_EWS_READ_MAX,
                                  .read_one = true,
                                  .oof_max = oof_max,
                                  .details_max = PX_EWS_READ_MAX,
                                  .stream_max = PX_EWS_STREAM_MAX,
                                  .poll_max = 1,
                                  .id_max = PX_EWS_ID_MAX,
                                  .heartbeat_ms = 45000,
                                  .write = px_ews_write,
                                  .notified = notified,
                                  .parse_new = parse_new,
                                  .feed = feed,
                                  .done = done,
                                  .fault = px_ews_fault,
                                  .parse_free = parse_free};
