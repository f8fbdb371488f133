/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What Exchange answers over WebDAV: 207 Multi-Status (RFC 2518 §11, §12.9), headers of SUBSCRIBE, and OWA's free/busy.
 * Elements are known by namespace, name and where they stand; what isn't known is skipped.
 */
#include "backend/webdav.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backend/xml.h"
#include "core/wall.h"

#define DEPTH 32
#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GONE_CODE "HTTP 412"

enum place {
	SKIP,
	DOCUMENT,
	MULTISTATUS,
	RESPONSE,
	STATUS,
	PROPSTAT,
	PROPSTATUS,
	PROP,
	IDS,
	ID,
	CALENDAR,
	START,
	END,
	BUSY,
	TYPE,
	SUBJECT,
	LOCATION,
	SENSITIVITY,
	FREEBUSY, /* OWA's answer */
	RECIPIENTS,
	RECIPIENT,
	EMAIL,
	DIGITS
};

/* Namespaces, as a set. */
enum { OTHER = 1, DAV = 2, HTTPMAIL = 4, CAL = 8, WM = 16, EXCHANGE = 32, ANY = 63 };

static const struct {
	uint8_t in, ns, to;
	const char *name;
} grammar[] = {
    {DOCUMENT, DAV, MULTISTATUS, "multistatus"},
    {DOCUMENT, WM, FREEBUSY, "response"},
    {MULTISTATUS, DAV, RESPONSE, "response"},
    {RESPONSE, DAV, STATUS, "status"},
    {RESPONSE, DAV, PROPSTAT, "propstat"},
    {RESPONSE, ANY, IDS, "subscriptionID"},
    {IDS, ANY, ID, "li"},
    {PROPSTAT, DAV, PROPSTATUS, "status"},
    {PROPSTAT, DAV, PROP, "prop"},
    {PROP, HTTPMAIL, CALENDAR, "calendar"},
    {PROP, CAL, START, "dtstart"},
    {PROP, CAL, END, "dtend"},
    {PROP, CAL, BUSY, "busystatus"},
    {PROP, CAL, TYPE, "instancetype"},
    {PROP, HTTPMAIL, SUBJECT, "subject"},
    {PROP, CAL, LOCATION, "location"},
    {PROP, EXCHANGE, SENSITIVITY, "sensitivity"},
    {FREEBUSY, WM, RECIPIENTS, "recipients"},
    {RECIPIENTS, WM, RECIPIENT, "item"},
    {RECIPIENT, WM, EMAIL, "email"},
    {RECIPIENT, WM, DIGITS, "fbdata"},
};

/* An id and what the server says of it. */
struct told {
	char id[PX_WEBDAV_ID_MAX + 1];
	uint8_t kind; /* enum px_item_kind */
};

struct px_parse {
	struct px_xml *xml;
	px_item_h *said;
	void *arg;
	uint8_t ask;
	bool meetings; /* are told with what they are about */
	uint8_t place[DEPTH + 1], depth;
	char root[PX_WEBDAV_FOLDER_MAX + 1]; /* where the gateway has its mailboxes */
	int fed;                             /* what xml said */
	bool alien;                          /* the root is none that we know; text says what */
	bool memory;                         /* it ran out */
	bool whole;                          /* the document ended */
	const char *broken;                  /* static; NULL: nothing is */
	char text[64];

	/* of the response that is open */
	int status, propstatus; /* 0: none was said; of several propstats the good one's */
	size_t ids;             /* how many of told it has named */

	int refusal; /* the first status of a response that isn't good; 0: none */
	size_t responses;

	struct told *told; /* POLL, RENEW: room of them */
	size_t tolds, room;

	char folder[PX_WEBDAV_FOLDER_MAX + 1]; /* LOCATE */
	bool folder_bad;

	struct px_interval *interval; /* READ_ONE, READ: owned, grows up to PX_INTERVALS_MAX */
	size_t intervals, intervals_room, offset;
	struct px_interval meeting;
	bool has_start, has_end, master;
	char subject[PX_MEETING_TEXT_MAX + 1],
	    location[PX_MEETING_TEXT_MAX + 1]; /* DETAILS: the open one's */
	bool hidden;

	struct px_wall from, until; /* READ: the window in whole slots */
	char *names;                /* READ: owned, the asked mailboxes, each with its NUL */
	size_t n;
	uint8_t *answered; /* READ: per mailbox */
	struct px_buf digits;
	char email[256];
};

static bool is(const char *text, size_t n, const char *word)
{
	return n == strlen(word) && strncasecmp(text, word, n) == 0;
}

/* ---- subscriptions ---- */

bool px_webdav_id(const char *id, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (id[i] <= ' ' || id[i] > '~' || id[i] == ',')
			return false;
	return n > 0 && n <= PX_WEBDAV_ID_MAX;
}

static void tell(struct px_parse *p, const char *id, size_t n)
{
	if (!px_webdav_id(id, n)) /* it can't be one that we asked about */
		return;
	if (p->tolds == p->room) {
		p->broken = "more subscriptions than were asked about";
		return;
	}
	memcpy(p->told[p->tolds].id, id, n);
	p->told[p->tolds].id[n] = '\0';
	p->told[p->tolds++].kind = UINT8_MAX;
	p->ids++;
}

static enum px_item_kind fate(int status)
{
	switch (status) {
	case 200:
		return PX_ITEM_CHANGED;
	case 204:
		return PX_ITEM_ALIVE;
	case 401: /* so an id is answered, too, whose user may not be asked about any more: the new */
	case 403: /* subscription will say why */
	case 404:
	case 410:
	case 412:
		return PX_ITEM_GONE;
	default:
		return PX_ITEMS; /* nothing is known of it */
	}
}

/* ---- calendars ---- */

static void add_interval(struct px_parse *p, struct px_interval it)
{
	if (p->intervals == PX_INTERVALS_MAX) {
		p->broken = "too many meetings";
		return;
	}
	if (p->intervals == p->intervals_room) {
		size_t room = p->intervals_room ? p->intervals_room * 2 : 64;
		struct px_interval *grown = realloc(p->interval, room * sizeof *grown);

		if (!grown) {
			p->memory = true;
			return;
		}
		p->interval = grown;
		p->intervals_room = room;
	}
	p->interval[p->intervals++] = it;
}

static enum px_status busy_status(const char *s, size_t n)
{
	/* what isn't known is not known to be free */
	return is(s, n, "FREE")        ? PX_FREE
	       : is(s, n, "TENTATIVE") ? PX_TENTATIVE
	       : is(s, n, "BUSY")      ? PX_BUSY
	       : is(s, n, "OOF")       ? PX_OOF
	                               : PX_NODATA;
}

/* A row of a SEARCH is whole. */
static void row_end(struct px_parse *p)
{
	if (p->master)
		return;
	if (!p->has_start || !p->has_end) {
		p->broken = "bad time of a meeting";
		return;
	}
	add_interval(p, p->meeting);
	if (p->meetings) {
		const struct px_meeting m = {.when = p->meeting,
		                             .subject = p->subject,
		                             .place = p->location,
		                             .hidden = p->hidden};

		p->said(p->arg, &(struct px_item){.kind = PX_ITEM_MEETING, .meeting = &m});
	}
}

/* ---- free/busy ---- */

static const char *name_of(const struct px_parse *p, size_t i)
{
	const char *s = p->names;

	while (i-- > 0)
		s += strlen(s) + 1;
	return s;
}

static void read_digits(struct px_parse *p)
{
	static const enum px_status status[] = {PX_FREE, PX_TENTATIVE, PX_BUSY, PX_OOF, PX_NODATA};
	const char *digit = p->digits.data ? p->digits.data : "";
	int64_t at = p->from.ms;

	if (strspn(digit, "01234") != p->digits.len ||
	    (int64_t)p->digits.len < (p->until.ms - p->from.ms) / PX_WEBDAV_SLOT_MS) {
		p->broken = "bad fbdata";
		return;
	}
	for (size_t i = 0, run; i < p->digits.len;
	     i += run, at += (int64_t)run * PX_WEBDAV_SLOT_MS) {
		char same[2] = {digit[i]};

		run = strspn(digit + i, same);
		if (digit[i] != '0')
			add_interval(
			    p, (struct px_interval){.start = {at},
			                            .end = {at + (int64_t)run * PX_WEBDAV_SLOT_MS},
			                            .status = status[digit[i] - '0']});
	}
}

/* The first item is all of them in one, and has no address. */
static void recipient_end(struct px_parse *p)
{
	struct px_item item = {.kind = PX_ITEM_CALENDAR};
	size_t i = 0;

	if (!p->email[0] || p->broken || p->memory)
		return;
	while (i < p->n && (p->answered[i] || strcasecmp(name_of(p, i), p->email) != 0))
		i++;
	if (i == p->n) {
		p->broken = "a mailbox that wasn't asked for";
		return;
	}
	p->answered[i] = 1;
	item.index = i;
	p->intervals = 0;
	if (strspn(p->digits.data ? p->digits.data : "", "4") == p->digits.len) {
		/* nothing, or no data all over: none was published */
		item.kind = PX_ITEM_REFUSED;
		item.verdict = PX_V_USER;
		item.code = "no free/busy";
		p->said(p->arg, &item);
		return;
	}
	read_digits(p);
	if (p->broken || p->memory)
		return;
	item.interval = p->interval;
	item.n = p->intervals;
	p->said(p->arg, &item);
}

/* ---- elements ---- */

static unsigned namespace(const char *ns)
{
	return strcmp(ns, "DAV:") == 0                                     ? DAV
	       : strcmp(ns, "urn:schemas:httpmail:") == 0                  ? HTTPMAIL
	       : strcmp(ns, "urn:schemas:calendar:") == 0                  ? CAL
	       : strcmp(ns, "WM") == 0                                     ? WM
	       : strcmp(ns, "http://schemas.microsoft.com/exchange/") == 0 ? EXCHANGE
	                                                                   : OTHER;
}

static void on_open(void *arg, const char *ns, const char *name, const struct px_xml_attr *attr,
                    size_t attrs)
{
	struct px_parse *p = arg;
	const unsigned in = namespace(ns);
	enum place place = SKIP;

	(void)attr;
	(void)attrs;
	p->place[0] = DOCUMENT;
	for (size_t i = 0; i < sizeof grammar / sizeof *grammar; i++)
		if (grammar[i].in == p->place[p->depth] && (grammar[i].ns & in) &&
		    strcmp(grammar[i].name, name) == 0)
			place = (enum place)grammar[i].to;
	if (p->depth == 0 && p->whole)
		p->broken = "more than one document";
	else if (p->depth == 0 && place != (p->ask == PX_ASK_READ ? FREEBUSY : MULTISTATUS)) {
		p->alien = true;
		px_answer_text(p->text, sizeof p->text, name, strlen(name));
	}
	p->place[++p->depth] = (uint8_t)place;
	switch (place) {
	case RESPONSE:
		p->responses++;
		p->status = p->propstatus = 0;
		p->ids = 0;
		p->meeting =
		    (struct px_interval){.status = PX_BUSY}; /* what a meeting is by default */
		p->has_start = p->has_end = p->master = p->hidden = false;
		p->subject[0] = p->location[0] = '\0';
		break;
	case RECIPIENT:
		p->email[0] = '\0';
		p->digits.len = 0;
		break;
	default:
		break;
	}
}

/* "HTTP/1.1 200 OK" */
static int status_of(const char *text, size_t n)
{
	const char *blank = memchr(text, ' ', n);
	int status = 0;

	if (!blank || strncasecmp(text, "HTTP/", 5) != 0)
		return 0;
	for (const char *s = blank + 1; s < text + n && *s >= '0' && *s <= '9' && status < 1000;
	     s++)
		status = status * 10 + (*s - '0');
	return status >= 100 && status < 600 ? status : 0;
}

static void response_end(struct px_parse *p)
{
	/* where only a propstat says it, that is it */
	const int status = p->status ? p->status : p->propstatus;

	for (size_t i = 0; i < p->ids; i++)
		p->told[p->tolds - 1 - i].kind = (uint8_t)fate(status);
	if (status >= 300 && p->refusal == 0)
		p->refusal = status;
	if ((p->ask == PX_ASK_READ_ONE || p->ask == PX_ASK_DETAILS) && status < 300)
		row_end(p);
}

static void close_property(struct px_parse *p, enum place place, const char *text, size_t n)
{
	switch (place) {
	case CALENDAR:
		if (n > 0)
			p->folder_bad = px_webdav_path(text, n, p->folder) < 0;
		break;
	/* what the resource hasn't is named without a value, in a propstat of its own */
	case START:
		if (n > 0)
			p->has_start = px_wall_parse(text, n, &p->meeting.start) == 0;
		break;
	case END:
		if (n > 0)
			p->has_end = px_wall_parse(text, n, &p->meeting.end) == 0;
		break;
	case BUSY:
		if (n > 0)
			p->meeting.status = busy_status(text, n);
		break;
	case TYPE:
		if (n > 0)
			p->master = is(text, n, "1");
		break;
	case SUBJECT:
		px_answer_text(p->subject, sizeof p->subject, text, n);
		break;
	case LOCATION:
		px_answer_text(p->location, sizeof p->location, text, n);
		break;
	case SENSITIVITY: /* 0: normal; personal, private and confidential are nobody's business */
		p->hidden = n > 0 && !is(text, n, "0");
		break;
	default:
		break;
	}
}

static void on_close(void *arg, const char *text, size_t n)
{
	struct px_parse *p = arg;
	enum place place = p->place[p->depth--];

	for (; n > 0 && strchr(" \t\r\n", *text); n--)
		text++;
	while (n > 0 && strchr(" \t\r\n", text[n - 1]))
		n--;
	switch (place) {
	case STATUS:
		p->status = status_of(text, n);
		break;
	case PROPSTATUS:
		if (p->propstatus < 200 || p->propstatus >= 300)
			p->propstatus = status_of(text, n);
		break;
	case ID:
		tell(p, text, n);
		break;
	case IDS: /* a single one may stand without a list */
		if (n > 0)
			tell(p, text, n);
		break;
	case RESPONSE:
		response_end(p);
		break;
	case EMAIL:
		if (n >= sizeof p->email) {
			p->broken = "a mailbox that wasn't asked for";
			break;
		}
		memcpy(p->email, text, n);
		p->email[n] = '\0';
		break;
	case DIGITS:
		p->digits.len = 0;
		px_buf_add(&p->digits, text, n);
		p->memory |= p->digits.failed;
		break;
	case RECIPIENT:
		recipient_end(p);
		break;
	default:
		close_property(p, place, text, n);
	}
}

static void on_end(void *arg)
{
	((struct px_parse *)arg)->whole = true;
}

/* ---- the backend ---- */

static bool reads(const struct px_parse *p)
{
	return p->ask == PX_ASK_READ || p->ask == PX_ASK_READ_ONE || p->ask == PX_ASK_DETAILS;
}

static bool copy_names(struct px_parse *p, const struct px_query *q)
{
	size_t len = 0;

	p->n = q->n;
	for (size_t i = 0; i < q->n; i++)
		len += strlen(q->name[i]) + 1;
	p->names = malloc(len + 1);
	p->answered = calloc(1, q->n + 1);
	if (!p->names || !p->answered)
		return false;
	len = 0;
	for (size_t i = 0; i < q->n; i++) {
		size_t n = strlen(q->name[i]) + 1;

		memcpy(p->names + len, q->name[i], n);
		len += n;
	}
	return true;
}

static struct px_parse *parse_new(const struct px_query *q, px_item_h *said, void *arg)
{
	static const struct px_xml_limits calendars = {4 * MIB, 100000, 65536, DEPTH},
	                                  other = {MIB / 4, 5000, 4096, DEPTH};
	static const struct px_xml_calls calls = {on_open, on_close, on_end};
	struct px_parse *p = calloc(1, sizeof *p);
	bool good = p;

	if (!p)
		return NULL;
	p->ask = (uint8_t)q->ask;
	p->said = said;
	p->arg = arg;
	p->offset = q->offset;
	snprintf(p->root, sizeof p->root, "%s", q->root ? q->root : PX_WEBDAV_ROOT);
	p->meetings = q->ask == PX_ASK_DETAILS || (q->ask == PX_ASK_READ_ONE && q->meetings);
	p->from = px_webdav_slot_before(q->from);
	p->until = px_webdav_slot_after(q->until);
	p->digits = px_buf_new(calendars.text);
	p->xml = px_xml_new(reads(p) ? &calendars : &other, &calls, p);
	if (q->ask == PX_ASK_READ)
		good = copy_names(p, q);
	if (q->ask == PX_ASK_POLL || q->ask == PX_ASK_RENEW) {
		p->room = q->n;
		p->told = calloc(q->n + 1, sizeof *p->told);
		good = p->told;
	}
	if (!p->xml || !good) {
		px_webdav.parse_free(p);
		return NULL;
	}
	return p;
}

static void parse_free(struct px_parse *p)
{
	if (!p)
		return;
	px_xml_free(p->xml);
	px_buf_free(&p->digits);
	free(p->interval);
	free(p->names);
	free(p->answered);
	free(p->told);
	free(p);
}

static void feed(struct px_parse *p, const char *bytes, size_t n)
{
	if (!p->fed && !p->broken && !p->memory && !p->alien)
		p->fed = px_xml_feed(p->xml, bytes, n);
}

static void conclude(struct px_reply *out, const char *code, const char *more)
{
	px_conclude(out, px_meaning_of(px_webdav_table, px_webdav_rows, code), code, more);
}

static void conclude_status(const struct px_parse *p, struct px_reply *out, int status,
                            const char *more)
{
	char code[PX_CODE_MAX];

	snprintf(code, sizeof code, "HTTP %d", status);
	px_conclude(out, px_webdav_meaning((enum px_ask)p->ask, status), code, more);
}

/* The value of a header, from a->head: its lines end in "\n". Length 0: there is none. */
static size_t header(const struct px_http_answer *a, const char *name, const char **value)
{
	const size_t n = strlen(name);

	for (const char *line = a->head; line && *line; line += strcspn(line, "\n") + 1) {
		size_t len = strcspn(line, "\r\n");

		if (len > n && strncasecmp(line, name, n) == 0 && line[n] == ':') {
			const char *s = line + n + 1;

			len -= n + 1;
			for (; len > 0 && (*s == ' ' || *s == '\t'); len--)
				s++;
			while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
				len--;
			*value = s;
			return len;
		}
		if (!strchr(line, '\n'))
			break;
	}
	return 0;
}

static bool number(const char *s, size_t n, uint32_t *out)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9' || value > UINT32_MAX / 10)
			return false;
		value = value * 10 + (uint64_t)(s[i] - '0');
	}
	*out = (uint32_t)value;
	return n > 0 && value <= UINT32_MAX;
}

/* "rows 0-499; total=1200": true and how many there are. */
static bool total_rows(const struct px_http_answer *a, uint32_t *out)
{
	const char *s, *total;
	size_t n = header(a, "Content-Range", &s);

	if (n == 0 || !(total = memmem(s, n, "total=", 6)))
		return false;
	total += 6;
	return number(total, strspn(total, "0123456789"), out);
}

/* 8.1.10240 of "08.01.10240"; Exchange 2003 says 6.5 where it means 6.5. */
static void say_server(const struct px_http_answer *a, struct px_reply *out, unsigned *major)
{
	unsigned part[3] = {0};
	const char *s;
	char text[32];
	size_t n = header(a, "MS-WebStorage", &s);

	*major = 0;
	if (n == 0)
		n = header(a, "X-OWA-Version", &s);
	if (n == 0 || n >= sizeof text)
		return;
	memcpy(text, s, n);
	text[n] = '\0';
	if (sscanf(text, "%3u.%3u.%6u", &part[0], &part[1], &part[2]) < 2)
		return;
	*major = part[0];
	if (part[0] == 6) /* 06.05.7638: 6.5 */
		snprintf(out->server, sizeof out->server, "Exchange 6.%u.%u", part[1] % 100,
		         part[2]);
	else
		snprintf(out->server, sizeof out->server, "Exchange %u.%u.%u", part[0], part[1],
		         part[2]);
}

static bool xml_type(const char *type)
{
	return !type || !*type || strcmp(type, "text/xml") == 0 ||
	       strcmp(type, "application/xml") == 0;
}

/* The body was read to its end, and is what it should be. False: out says what is wrong. */
static bool body_good(const struct px_parse *p, const struct px_http_answer *a,
                      struct px_reply *out)
{
	const char *why = px_xml_why(p->xml);
	char text[PX_DETAIL_MAX];

	if (!xml_type(a->type) || p->alien || strncasecmp(why, "DOCTYPE html", 12) == 0) {
		snprintf(text, sizeof text, "%s answers instead",
		         !xml_type(a->type) ? a->type
		         : p->alien         ? p->text
		                            : "HTML");
		conclude(out, "not WebDAV", text);
	} else if (p->memory || p->fed == -ENOMEM)
		conclude(out, "local", "out of memory");
	else if (p->fed == -E2BIG)
		conclude(out, "too big", why);
	else if (p->fed)
		conclude(out, "broken XML", why);
	else if (p->broken)
		conclude(out, "broken answer", p->broken);
	else if (!px_xml_between(p->xml) || !p->whole)
		conclude(out, "cut", "before the end of the document");
	else
		return true;
	return false;
}

static void done_locate(struct px_parse *p, struct px_reply *out)
{
	struct px_item item = {.kind = PX_ITEM_FOLDER, .id = p->folder};

	if (p->folder_bad)
		conclude(out, "broken answer", "the calendar's URL can't be used");
	else if (p->folder[0])
		p->said(p->arg, &item);
	else if (p->refusal && p->refusal != 404)
		conclude_status(p, out, p->refusal, NULL);
	else if (p->responses == 0)
		conclude(out, "broken answer", "no response in it");
	else
		conclude(out, "no calendar", NULL);
}

static void done_search(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	struct px_item item = {.kind = PX_ITEM_CALENDAR};
	const size_t next = p->offset + p->responses;
	uint32_t total;

	if (p->refusal && p->intervals == 0) {
		conclude_status(p, out, p->refusal, NULL);
		return;
	}
	item.interval = p->interval;
	item.n = p->intervals;
	item.details = p->meetings;
	p->said(p->arg, &item);
	item = (struct px_item){.kind = PX_ITEM_MORE, .n = next};
	if (p->ask == PX_ASK_READ_ONE && p->responses > 0 && total_rows(a, &total) && total > next)
		p->said(p->arg, &item);
}

static void done_free_busy(struct px_parse *p)
{
	struct px_item item = {
	    .kind = PX_ITEM_REFUSED, .verdict = PX_V_USER, .code = "no free/busy"};

	for (item.index = 0; item.index < p->n; item.index++)
		if (!p->answered[item.index])
			p->said(p->arg, &item);
}

static void tell_fates(struct px_parse *p, uint32_t lifetime_s)
{
	for (size_t i = 0; i < p->tolds; i++) {
		struct px_item item = {.kind = (enum px_item_kind)p->told[i].kind,
		                       .id = p->told[i].id};

		if (item.kind >= PX_ITEMS)
			continue;
		if (p->ask == PX_ASK_RENEW && item.kind != PX_ITEM_GONE) {
			item.kind = PX_ITEM_SUBSCRIBED;
			item.lifetime_s = lifetime_s;
		}
		if (item.kind == PX_ITEM_GONE)
			item.code = GONE_CODE;
		p->said(p->arg, &item);
	}
}

/* One that isn't told is taken for what was asked: never to renew would end it. */
static uint32_t granted(const struct px_http_answer *a)
{
	const char *s = "";
	size_t n = header(a, "Subscription-lifetime", &s);
	uint32_t lifetime_s;

	return number(s, n, &lifetime_s) && lifetime_s > 0 ? lifetime_s : PX_WEBDAV_LIFETIME_S;
}

static void done_subscribe(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	struct px_item item = {.kind = PX_ITEM_SUBSCRIBED, .lifetime_s = granted(a)};
	char id[PX_WEBDAV_ID_MAX + 1];
	const char *s = "";
	size_t n = header(a, "Subscription-id", &s);

	if (!px_webdav_id(s, n)) {
		conclude(out, "bad subscription id", NULL);
		return;
	}
	memcpy(id, s, n);
	id[n] = '\0';
	item.id = id;
	p->said(p->arg, &item);
}

/* 200 names one id in a header, and needn't; 207 each in its body. */
static void done_renew(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	const struct px_item alone = {.kind = PX_ITEM_SUBSCRIBED, .lifetime_s = granted(a)};
	const char *s;

	if (a->status == 200 && p->room == 1 && header(a, "Subscription-id", &s) == 0)
		p->said(p->arg, &alone);
	else if (a->status == 200)
		done_subscribe(p, a, out);
	else if (body_good(p, a, out))
		tell_fates(p, granted(a));
}

/* A front end sends whose mailbox is at another one there, by the same path: that is about this mailbox alone. */
static bool moved(const struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	char path[PX_WEBDAV_FOLDER_MAX + 1], to[PX_DETAIL_MAX];
	const char *s = "";
	size_t n = header(a, "Location", &s);

	if ((a->status != 301 && a->status != 302 && a->status != 307) ||
	    px_webdav_path(s, n, path) < 0 || strncasecmp(path, p->root, strlen(p->root)) != 0 ||
	    !path[strlen(p->root)])
		return false;
	snprintf(to, sizeof to, "%.*s", n < sizeof to ? (int)n : (int)sizeof to - 1, s);
	conclude(out, p->ask == PX_ASK_READ_ONE ? "elsewhere read-one" : "elsewhere", to);
	snprintf(out->code, sizeof out->code, "HTTP %d", a->status);
	return true;
}

static void done(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	const bool ok = a->status == 200 || a->status == 207;
	unsigned major;

	*out = (struct px_reply){.verdict = PX_V_OK};
	out->backoff_ms = a->retry_after_ms > 0 ? a->retry_after_ms : 0;
	if (out->backoff_ms > PX_BACKOFF_WISH_MAX)
		out->backoff_ms = PX_BACKOFF_WISH_MAX;
	say_server(a, out, &major);
	if (a->fail != PX_HTTP_ANSWERED) {
		conclude(out, px_http_fail_code(a->fail), a->detail);
		return;
	}
	if (major >= 14 && !ok && a->status != 401 && a->status != 503) {
		char version[PX_SERVER_MAX];

		memcpy(version, out->server, sizeof version);
		conclude(out, "Exchange 2010", version);
		return;
	}
	if (a->status == 401 && !a->asks_login) {
		/* the account is logged in, and mayn't see this mailbox */
		px_conclude(out, px_webdav_meaning((enum px_ask)p->ask, 403), "HTTP 401", NULL);
		return;
	}
	if (moved(p, a, out))
		return;
	if (!ok && !(a->status == 204 && p->ask == PX_ASK_POLL)) {
		conclude_status(p, out, a->status, a->detail);
		return;
	}
	switch ((enum px_ask)p->ask) {
	case PX_ASK_SUBSCRIBE:
		done_subscribe(p, a, out);
		break;
	case PX_ASK_RENEW:
		done_renew(p, a, out);
		break;
	case PX_ASK_UNSUBSCRIBE:
		break;
	case PX_ASK_POLL:
		if (a->status != 204 && body_good(p, a, out))
			tell_fates(p, 0);
		break;
	case PX_ASK_LOCATE:
	case PX_ASK_PROBE:
		if (body_good(p, a, out))
			done_locate(p, out);
		break;
	case PX_ASK_READ_ONE:
	case PX_ASK_DETAILS:
		if (body_good(p, a, out))
			done_search(p, a, out);
		break;
	case PX_ASK_READ:
		if (body_good(p, a, out))
			done_free_busy(p);
		break;
	case PX_ASK_STREAM:
	case PX_ASK_OOF:
	case PX_ASKS:
		break;
	}
}

/* The next of a list of ids with commas between. False: it is no id. */
static bool next_id(const char **list, size_t *n, char id[PX_WEBDAV_ID_MAX + 1])
{
	const char *s = *list, *comma = memchr(s, ',', *n);
	size_t len = comma ? (size_t)(comma - s) : *n, all = len + (comma ? 1 : 0);

	for (; len > 0 && (*s == ' ' || *s == '\t'); len--)
		s++;
	while (len > 0 && (s[len - 1] == ' ' || s[len - 1] == '\t'))
		len--;
	if (!px_webdav_id(s, len))
		return false;
	memcpy(id, s, len);
	id[len] = '\0';
	*list += all;
	*n -= all;
	return true;
}

/* What the listener heard is the list of a NOTIFY's ids, or nothing: hints, and no more. */
static int notified(const char *bytes, size_t n, px_item_h *said, void *arg)
{
	char id[PX_WEBDAV_ID_MAX + 1];
	const char *list = bytes;
	size_t left = n;
	int items = 0;

	if (n == 0) { /* whom it is about the URL says: something befell its store */
		said(arg, &(struct px_item){.kind = PX_ITEM_CHANGED});
		return 1;
	}
	do {
		if (!next_id(&list, &left, id))
			return -EBADMSG;
		items++;
	} while (left > 0);
	for (list = bytes, left = n; left > 0 && next_id(&list, &left, id);)
		said(arg, &(struct px_item){.kind = PX_ITEM_CHANGED, .id = id});
	return items;
}

static unsigned kinds(unsigned version)
{
	(void)version;
	return PX_KIND_BIT(PX_KIND_PULL) | PX_KIND_BIT(PX_KIND_NONE);
}

static const char *const heads[] = {"Subscription-id",
                                    "Subscription-lifetime",
                                    "Content-Range",
                                    "MS-WebStorage",
                                    "X-OWA-Version",
                                    "Location",
                                    NULL};

const struct px_backend px_webdav = {.name = "webdav",
                                     .versions = 1,
                                     .kinds = kinds,
                                     .read_max = PX_WEBDAV_READ_MAX,
                                     .details_max = 1,
                                     .poll_max = PX_WEBDAV_POLL_MAX,
                                     .id_max = PX_WEBDAV_ID_MAX,
                                     .locates = true,
                                     .read_one = true,
                                     .one_first = true,
                                     .denies_alone = true,
                                     .renews = true,
                                     .hints = true,
                                     .heads = heads,
                                     .write = px_webdav_write,
                                     .parse_new = parse_new,
                                     .feed = feed,
                                     .done = done,
                                     .parse_free = parse_free,
                                     .fault = px_webdav_fault,
                                     .notified = notified};
