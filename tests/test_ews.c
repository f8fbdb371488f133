/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "backend/ews.h"
#include "core/utf8.h"
#include "core/wall.h"

#define FIXTURES "tests/fixtures/ews/"
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* 2026-11-23T08:00:00Z to 10:00:00Z: 24 slots */
#define FROM 1795420800000
#define UNTIL 1795428000000
static const struct px_query window = {.from = {FROM}, .until = {UNTIL}};

static const struct px_http_answer fine = {.status = 200, .retry_after_ms = -1, .type = "text/xml"};
static const struct px_http_answer fault = {
    .status = 500, .retry_after_ms = -1, .type = "text/xml"};

static struct px_buf file(const char *path)
{
	struct px_buf b = px_buf_new(1 << 20);
	FILE *f = fopen(path, "rb");
	char part[4096];
	size_t n;

	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	while ((n = fread(part, 1, sizeof part, f)) > 0)
		px_buf_add(&b, part, n);
	fclose(f);
	assert_false(b.failed);
	return b;
}

/* ---- reading an answer, and writing down what it said ---- */

struct heard {
	struct px_buf items; /* one line each */
	struct px_reply reply;
	size_t calendars, refused, subscribed, alive, closed;
	size_t next; /* mailbox that must come next */
	size_t asked;
};

static const char *clock_text(struct px_wall w)
{
	static char text[2][PX_WALL_TEXT];
	static int turn;

	turn = !turn;
	px_wall_text(w, text[turn]);
	return text[turn] + 5; /* without the year */
}

static void said(void *arg, const struct px_item *item)
{
	struct heard *h = arg;

	switch (item->kind) {
	case PX_ITEM_CALENDAR:
		h->calendars++;
		assert_int_equal(item->index, h->next++);
		assert_true(item->index < h->asked && item->n <= PX_INTERVALS_MAX);
		px_buf_printf(&h->items, "calendar %zu\n", item->index);
		for (size_t i = 0; i < item->n; i++) {
			assert_true(item->interval[i].status < PX_STATUSES);
			px_buf_printf(&h->items, "  %s", clock_text(item->interval[i].start));
			px_buf_printf(&h->items, " %s %s\n", clock_text(item->interval[i].end),
			              px_status_name(item->interval[i].status));
		}
		return;
	case PX_ITEM_REFUSED:
		h->refused++;
		assert_int_equal(item->index, h->next++);
		assert_true(item->index < h->asked && item->verdict != PX_V_OK);
		px_buf_printf(&h->items, "refused %zu %s %s\n", item->index,
		              px_verdict_name(item->verdict), item->code);
		return;
	case PX_ITEM_SUBSCRIBED:
		h->subscribed++;
		px_buf_printf(&h->items, "subscribed %s%s%s\n", item->id,
		              item->watermark ? " " : "", item->watermark ? item->watermark : "");
		break;
	case PX_ITEM_CHANGED:
		px_buf_printf(&h->items, "changed %s%s%s\n", item->id, item->watermark ? " " : "",
		              item->watermark ? item->watermark : "");
		break;
	case PX_ITEM_GONE:
		px_buf_printf(&h->items, "gone %s %s\n", item->id, item->code ? item->code : "-");
		break;
	case PX_ITEM_ALIVE:
		h->alive++;
		if (item->id)
			px_buf_printf(&h->items, "alive %s%s%s\n", item->id,
			              item->watermark ? " " : "",
			              item->watermark ? item->watermark : "");
		else
			px_buf_str(&h->items, "alive\n");
		return;
	case PX_ITEM_MORE:
		px_buf_str(&h->items, "more\n");
		return;
	case PX_ITEM_OOF:
		assert_int_equal(item->index, h->next++);
		assert_true(item->index < h->asked);
		px_buf_printf(&h->items, "%s %zu", item->away ? "away" : "present", item->index);
		if (item->until.ms)
			px_buf_printf(&h->items, " %s %s", clock_text(item->from),
			              clock_text(item->until));
		px_buf_str(&h->items, "\n");
		h->calendars++;
		return;
	case PX_ITEM_CLOSED:
		h->closed++;
		px_buf_str(&h->items, "closed\n");
		return;
	default:
		fail_msg("item %d, which isn't EWS's", (int)item->kind);
	}
	assert_true(item->id && *item->id && strlen(item->id) <= px_ews.id_max);
}

static void is_safe(const struct px_reply *r)
{
	uint32_t c = 0;

	assert_true(r->verdict < PX_VERDICTS && r->backoff_ms >= 0 &&
	            r->backoff_ms <= PX_BACKOFF_WISH_MAX);
	assert_true(memchr(r->code, 0, sizeof r->code) && memchr(r->detail, 0, sizeof r->detail));
	assert_int_equal(
	    strspn(r->code, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _.-"),
	    strlen(r->code));
	for (size_t i = 0, n = strlen(r->detail), step; i < n; i += step) {
		step = px_utf8(r->detail + i, n - i, &c);
		assert_true(step > 0 && c >= 0x20 && !(c >= 0x7f && c < 0xa0));
	}
	assert_true(r->verdict == PX_V_OK || r->code[0]);
}

/*
 * Feeds n bytes as pieces [0, cut), [cut, n), one by one when cut is n + 1, each in memory of its
 * own so that ASan sees its ends.
 */
static struct heard hear_cut(enum px_ask ask, size_t asked, const char *bytes, size_t n, size_t cut,
                             const struct px_http_answer *a)
{
	struct heard h = {.items = px_buf_new(1 << 24),
	                  .asked = ask == PX_ASK_PROBE || ask == PX_ASK_READ_ONE ? 1 : asked};
	struct px_query q = window;
	struct px_parse *p;

	q.ask = ask;
	q.n = asked;
	p = px_ews.parse_new(&q, said, &h);
	assert_non_null(p);
	for (size_t at = 0, part; at < n; at += part) {
		char *exact;

		part = cut > n ? 1 : at < cut ? cut - at : n - at;
		exact = malloc(part);
		assert_non_null(exact);
		memcpy(exact, bytes + at, part);
		px_ews.feed(p, exact, part);
		free(exact);
	}
	memset(&h.reply, 0xa5, sizeof h.reply);
	px_ews.done(p, a, &h.reply);
	px_ews.parse_free(p);
	assert_false(h.items.failed);
	is_safe(&h.reply);
	/* what is whole is complete */
	if (h.reply.verdict == PX_V_OK && (ask == PX_ASK_READ || ask == PX_ASK_OOF))
		assert_int_equal(h.calendars + h.refused, asked);
	if (h.reply.verdict == PX_V_OK && (ask == PX_ASK_PROBE || ask == PX_ASK_READ_ONE))
		assert_int_equal(h.calendars, 1);
	if (ask == PX_ASK_SUBSCRIBE)
		assert_true(h.subscribed <= 1 && (h.reply.verdict != PX_V_OK || h.subscribed == 1));
	if (h.reply.verdict == PX_V_OK && ask == PX_ASK_STREAM)
		assert_true(h.closed > 0);
	return h;
}

static struct heard hear(enum px_ask ask, size_t asked, const char *text,
                         const struct px_http_answer *a)
{
	return hear_cut(ask, asked, text, strlen(text), 0, a);
}

static const char *items(const struct heard *h)
{
	return h->items.len ? h->items.data : "";
}

/* Asserts verdict, code and (unless NULL) the items of an answer, and drops it. */
static void says(struct heard h, enum px_verdict v, const char *code, const char *want)
{
	if (h.reply.verdict != v || strcmp(h.reply.code, code) != 0)
		fail_msg("%s, not %s %s: code %s, detail %s", px_verdict_name(h.reply.verdict),
		         px_verdict_name(v), code, h.reply.code, h.reply.detail);
	if (want)
		assert_string_equal(items(&h), want);
	px_buf_free(&h.items);
}

/* ---- the samples ---- */

static const struct sample {
	const char *name;
	enum px_ask ask;
	size_t asked;
	int status;
	enum px_verdict verdict;
	int64_t backoff_ms;
	const char *code, *items;
} sample[] = {
    {"subscribe", PX_ASK_SUBSCRIBE, 0, 200, PX_V_OK, 0, "",
     "subscribed JABjYXMxLmV4YW1wbGUudGVzdBAAAABBAAAA+7cZ1w==\n"},
    {"subscribe_exceeded", PX_ASK_SUBSCRIBE, 0, 200, PX_V_TRANSIENT, 0,
     "ErrorExceededSubscriptionCount", ""},
    {"subscribe_busy_inside", PX_ASK_SUBSCRIBE, 0, 200, PX_V_BUSY, 12000, "ErrorServerBusy", ""},
    {"unsubscribe", PX_ASK_UNSUBSCRIBE, 0, 200, PX_V_OK, 0, "", ""},
    {"unsubscribe_unknown", PX_ASK_UNSUBSCRIBE, 0, 200, PX_V_LOST, 0, "ErrorSubscriptionNotFound",
     ""},
    {"stream", PX_ASK_STREAM, 3, 200, PX_V_OK, 0, "",
     "alive\nalive\nchanged sub-alice==\nchanged sub-bob==\nalive\nalive\nchanged "
     "sub-carol==\nalive\nclosed\n"},
    {"stream_gone", PX_ASK_STREAM, 3, 200, PX_V_TRANSIENT, 0, "ErrorSubscriptionNotFound",
     "gone sub-alice== ErrorSubscriptionNotFound\ngone sub-bob== ErrorSubscriptionNotFound\n"},
    {"stream_plain", PX_ASK_STREAM, 3, 200, PX_V_TRANSIENT, 0, "cut",
     "alive\nchanged sub-alice==\nchanged sub-bob==\n"},
    {"availability", PX_ASK_READ, 5, 200, PX_V_OK, 0, "",
     "calendar 0\n"
     "  11-23T09:00:00Z 11-23T09:30:00Z busy\n"
     "  11-23T09:30:00Z 11-23T10:00:00Z tentative\n"
     "calendar 1\n"
     "refused 2 unreadable ErrorNoFreeBusyAccess\n"
     "calendar 3\n"
     "  11-23T08:00:00Z 11-23T08:30:00Z busy\n"
     "  11-23T08:45:00Z 11-23T09:00:00Z oof\n"
     "  11-23T09:55:00Z 11-23T10:00:00Z nodata\n"
     "calendar 4\n"
     "  11-23T00:00:00Z 11-24T00:00:00Z oof\n"
     "  11-23T08:15:00Z 11-23T08:45:00Z workingelsewhere\n"
     "  11-23T09:15:00Z 11-23T09:45:00Z free\n"
     "  11-23T09:45:00Z 11-23T09:50:00Z nodata\n"},
    {"probe", PX_ASK_PROBE, 1, 200, PX_V_OK, 0, "",
     "calendar 0\n  11-23T09:00:00Z 11-23T09:30:00Z busy\n"},
    {"probe_unknown_mailbox", PX_ASK_PROBE, 1, 200, PX_V_USER, 0, "ErrorMailRecipientNotFound",
     "refused 0 user ErrorMailRecipientNotFound\n"},
    {"find_item", PX_ASK_READ_ONE, 0, 200, PX_V_OK, 0, "",
     "calendar 0\n"
     "  11-22T23:00:00Z 11-23T23:00:00Z oof\n"
     "  11-23T07:30:00Z 11-23T08:15:00Z busy\n"
     "  11-23T08:30:00Z 11-23T09:00:00Z tentative\n"
     "  11-23T09:00:00Z 11-23T09:15:00Z workingelsewhere\n"
     "  11-23T09:15:00Z 11-23T09:30:00Z free\n"
     "  11-23T09:30:00Z 11-23T09:45:00Z busy\n"},
    {"find_item_too_many", PX_ASK_READ_ONE, 0, 200, PX_V_WIDE, 0, "ErrorExceededFindCountLimit",
     ""},
    {"oof_settings", PX_ASK_OOF, 1, 200, PX_V_OK, 0, "",
     "away 0 11-23T16:00:00Z 11-30T07:00:00Z\n"},
    {"mail_tips", PX_ASK_OOF, 5, 200, PX_V_OK, 0, "",
     "away 0\npresent 1\naway 2 11-20T16:00:00Z 11-27T07:00:00Z\n"
     "refused 3 transient PendingMailTips\nrefused 4 user ErrorMailRecipientNotFound\n"},
    {"mail_tips_none", PX_ASK_OOF, 5, 200, PX_V_KIND, 0, "ErrorMailTipsDisabled", ""},
    {"fault_busy", PX_ASK_READ, 5, 500, PX_V_BUSY, 297749, "ErrorServerBusy", ""},
    {"fault_impersonation", PX_ASK_SUBSCRIBE, 0, 500, PX_V_DENIED, 0, "ErrorImpersonationDenied",
     ""},
    {"fault_version", PX_ASK_STREAM, 3, 500, PX_V_VERSION, 0, "ErrorInvalidServerVersion", ""},
    {"fault_version_2007", PX_ASK_SUBSCRIBE, 0, 500, PX_V_VERSION, 0, "ErrorSchemaValidation", ""},
    {"fault_schema", PX_ASK_SUBSCRIBE, 0, 500, PX_V_KIND, 0, "ErrorSchemaValidation", ""},
    {"subscribe_pull", PX_ASK_SUBSCRIBE, 0, 200, PX_V_OK, 0, "",
     "subscribed 39ea5d0f-1c2b-4f6c-9b3e-000000000001 AQAAALYdAAAAAAAAAQ==\n"},
    {"poll", PX_ASK_POLL, 1, 200, PX_V_OK, 0, "",
     "changed 39ea5d0f-1c2b-4f6c-9b3e-000000000001 AQAAALgfAAAAAAAAAQ==\nmore\n"},
    {"poll_status", PX_ASK_POLL, 1, 200, PX_V_OK, 0, "",
     "alive 39ea5d0f-1c2b-4f6c-9b3e-000000000001 AQAAALYdAAAAAAAAAQ==\n"},
    {"poll_gap", PX_ASK_POLL, 1, 200, PX_V_GAP, 0, "ErrorInvalidWatermark", ""},
};

static struct px_buf body[COUNT(sample)];

static int load(void **state)
{
	char path[256];

	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++) {
		snprintf(path, sizeof path, FIXTURES "answers/%s.xml", sample[i].name);
		body[i] = file(path);
		while (strchr(" \r\n\t",
		              body[i].data[body[i].len - 1])) /* so that the last byte counts */
			body[i].data[--body[i].len] = '\0';
	}
	return 0;
}

static int unload(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++)
		px_buf_free(&body[i]);
	return 0;
}

static void samples_are_read_however_they_are_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++) {
		const struct sample *s = &sample[i];
		struct px_http_answer a = fine;

		a.status = s->status;
		for (size_t cut = 0; cut <= body[i].len + 1; cut++) {
			struct heard h =
			    hear_cut(s->ask, s->asked, body[i].data, body[i].len, cut, &a);

			assert_int_equal(h.reply.backoff_ms, s->backoff_ms);
			says(h, s->verdict, s->code, s->items);
		}
	}
}

/* However much of it came: an answer that isn't whole isn't believed, and of a stream only what
 * stands in whole envelopes. */
static void prefixes_are_not_believed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++) {
		const struct sample *s = &sample[i];
		struct px_http_answer a = fine;

		a.status = s->status;
		for (size_t n = 0; n < body[i].len; n++) {
			struct heard h = hear_cut(s->ask, s->asked, body[i].data, n, 0, &a);

			assert_int_not_equal(h.reply.verdict, PX_V_OK);
			assert_int_equal(h.subscribed, 0);
			if (s->ask == PX_ASK_STREAM)
				assert_memory_equal(items(&h), s->items, h.items.len);
			else if (s->verdict != PX_V_OK && s->status == 200)
				assert_int_equal(h.reply.verdict, PX_V_TRANSIENT);
			px_buf_free(&h.items);
		}
	}
}

/* ---- mutations ---- */

static uint64_t seed = 20261123;

static size_t below(size_t n) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return n ? (size_t)((seed * 2685821657736338717u >> 33) % n) : 0;
}

/* One change to n bytes at b, with room for as many again. Returns the new length. */
static size_t mutate(char *b, size_t n, size_t room)
{
	static const char *const word[] = {"<",
	                                   ">",
	                                   "/",
	                                   "&",
	                                   "&#0;",
	                                   "]]>",
	                                   "<![CDATA[",
	                                   "<!--",
	                                   "-->",
	                                   "\"",
	                                   "\xEF\xBB\xBF",
	                                   "\xFF",
	                                   "\0x",
	                                   "<a>",
	                                   "</a>",
	                                   "Error",
	                                   "NoError",
	                                   "Success",
	                                   "Closed",
	                                   "MergedOnly",
	                                   "999999999999999999999",
	                                   "<!DOCTYPE",
	                                   "xmlns=",
	                                   "Fault",
	                                   "Warning",
	                                   "-1",
	                                   "T25:61:61",
	                                   "Z",
	                                   "<s:Body>",
	                                   "\n",
	                                   "1601-01-01",
	                                   "+24:00",
	                                   "<?xml ?>"};
	const struct px_buf *other = &body[below(COUNT(sample))];
	size_t at = below(n + 1), len, from;

	switch (below(7)) {
	case 0:
		if (at < n)
			b[at] = (char)(b[at] ^ 1 << below(8));
		return n;
	case 1:
		if (at < n)
			b[at] = (char)below(256);
		return n;
	case 2: /* leave some out */
		len = below(below(2) ? 4 : 200);
		if (len > n - at)
			len = n - at;
		memmove(b + at, b + at + len, n - at - len);
		return n - len;
	case 3: /* put a word in, or over what is there */
		from = below(COUNT(word));
		len = strlen(word[from]) + (*word[from] == '\0');
		if (below(2) && at + len <= n) {
			memcpy(b + at, word[from], len);
			return n;
		}
		if (n + len > room)
			return n;
		memmove(b + at + len, b + at, n - at);
		memcpy(b + at, word[from], len);
		return n + len;
	case 4: /* a piece of another one, or of itself */
		len = below(300);
		from = below(other->len);
		if (len > other->len - from)
			len = other->len - from;
		if (n + len > room)
			return n;
		memmove(b + at + len, b + at, n - at);
		memcpy(b + at, other->data + from, len);
		return n + len;
	case 5: /* two places change places */
		from = below(n + 1);
		if (at < n && from < n) {
			char c = b[at];
			b[at] = b[from];
			b[from] = c;
		}
		return n;
	default: /* the end is missing */
		return at;
	}
}

#define MUTATIONS 100000

static void mutations_do_no_harm(void **state)
{
	size_t ok = 0, changed = 0;
	clock_t start = clock();

	(void)state;
	for (size_t k = 0; k < MUTATIONS; k++) {
		const size_t i = k % COUNT(sample), room = body[i].len + 2000;
		const struct sample *s = &sample[i];
		struct px_http_answer a = fine;
		char *b = malloc(room);
		size_t n = body[i].len;
		struct heard h;

		assert_non_null(b);
		memcpy(b, body[i].data, n);
		for (size_t times = 1 + below(3); times > 0; times--)
			n = mutate(b, n, room);
		a.status = s->status;
		h = hear_cut(s->ask, s->asked, b, n, below(n + 1), &a);
		ok += h.reply.verdict == PX_V_OK;
		changed += strcmp(items(&h), s->items) != 0;
		px_buf_free(&h.items);
		free(b);
	}
	/* it can fail: most were hurt, and some only where it doesn't matter */
	assert_true(ok > MUTATIONS / 100 && ok < MUTATIONS / 2 && changed > MUTATIONS / 4);
	print_message("%d mutations in %.1f s: %zu still ok, %zu said something else\n", MUTATIONS,
	              (double)(clock() - start) / CLOCKS_PER_SEC, ok, changed);
}

/* ---- the verdicts ---- */

static void env(struct px_buf *b, const char *inner)
{
	px_buf_printf(b, "<S:Envelope xmlns:S='%s'><S:Body>%s</S:Body></S:Envelope>", PX_EWS_SOAP,
	              inner);
}

static struct heard hear_fault(enum px_ask ask, const char *code, const struct px_http_answer *a)
{
	struct px_buf b = px_buf_new(1 << 16);
	char inner[1000];
	struct heard h;

	snprintf(
	    inner, sizeof inner,
	    "<S:Fault><faultcode>S:Client</faultcode><faultstring>so it is</faultstring><detail>"
	    "<e:ResponseCode xmlns:e='%s'>%s</e:ResponseCode></detail></S:Fault>",
	    PX_EWS_ERRORS, code);
	env(&b, inner);
	h = hear(ask, 3, b.data, a);
	px_buf_free(&b);
	return h;
}

static struct heard hear_message(enum px_ask ask, const char *op, const char *class,
                                 const char *inner)
{
	struct px_buf b = px_buf_new(1 << 22), all = px_buf_new(1 << 22);
	struct heard h;

	px_buf_printf(&b,
	              "<%sResponse xmlns='%s' xmlns:t='%s'><ResponseMessages><%sResponseMessage "
	              "ResponseClass='%s'>%s</%sResponseMessage>"
	              "</ResponseMessages></%sResponse>",
	              op, PX_EWS_MESSAGES, PX_EWS_TYPES, op, class, inner, op, op);
	env(&all, b.data);
	h = hear(ask, 3, all.data, &fine);
	px_buf_free(&b);
	px_buf_free(&all);
	return h;
}

static struct heard hear_code(enum px_ask ask, const char *op, const char *code)
{
	char inner[500];

	snprintf(inner, sizeof inner,
	         "<MessageText>so it is</MessageText><ResponseCode>%s</ResponseCode>", code);
	return hear_message(ask, op, "Error", inner);
}

/* An availability answer with these FreeBusyResponses. */
static struct heard hear_mailboxes(enum px_ask ask, size_t asked, const char *responses)
{
	struct px_buf b = px_buf_new(1 << 24), all = px_buf_new(1 << 24);
	struct heard h;

	px_buf_printf(
	    &b, "<GetUserAvailabilityResponse xmlns='%s' xmlns:t='%s'><FreeBusyResponseArray>",
	    PX_EWS_MESSAGES, PX_EWS_TYPES);
	px_buf_str(&b, responses);
	px_buf_str(&b, "</FreeBusyResponseArray></GetUserAvailabilityResponse>");
	env(&all, b.data);
	h = hear(ask, asked, all.data, &fine);
	px_buf_free(&b);
	px_buf_free(&all);
	return h;
}

#define SUCCESS                                                                                    \
	"<ResponseMessage "                                                                        \
	"ResponseClass='Success'><ResponseCode>NoError</ResponseCode></ResponseMessage>"
#define MAILBOX(view)                                                                              \
	"<FreeBusyResponse>" SUCCESS "<FreeBusyView>" view "</FreeBusyView></FreeBusyResponse>"
#define TYPE(type) "<t:FreeBusyViewType>" type "</t:FreeBusyViewType>"
#define DIGITS(digits) "<t:MergedFreeBusy>" digits "</t:MergedFreeBusy>"
#define EVENTS(events) "<t:CalendarEventArray>" events "</t:CalendarEventArray>"
#define EVENT(start, end, type)                                                                    \
	"<t:CalendarEvent><t:StartTime>" start "</t:StartTime><t:EndTime>" end                     \
	"</t:EndTime><t:BusyType>" type "</t:BusyType></t:CalendarEvent>"

static struct heard hear_refusal(enum px_ask ask, const char *code)
{
	char responses[500];

	snprintf(responses, sizeof responses,
	         "<FreeBusyResponse><ResponseMessage "
	         "ResponseClass='Error'><ResponseCode>%s</ResponseCode></ResponseMessage></"
	         "FreeBusyResponse>",
	         code);
	return hear_mailboxes(ask, 1, responses);
}

/* What every code means, written down a second time. */
static const struct {
	enum px_verdict verdict;
	const char *codes; /* one a line */
} meaning[] = {
    {PX_V_VERSION, "ErrorIncorrectSchemaVersion\nErrorInvalidServerVersion\n"},
    {PX_V_KIND, "ErrorInvalidPushSubscriptionUrl\n"},
    {PX_V_GAP, "ErrorEventNotFound\nErrorInvalidWatermark\nErrorMissedNotificationEvents\n"
               "ErrorReadEventsFailed\n"},
    /* another gateway may reach this one's site or version: a matter of the user, not of the others
       here */
    {PX_V_LOST,
     "ErrorCrossSiteRequest\nErrorNoApplicableProxyCASServersAvailable\n"
     "ErrorNoDestinationCASDueToKerberosRequirements\nErrorNoDestinationCASDueToSSLRequirements\n"
     "ErrorNoDestinationCASDueToVersionMismatch\nErrorNoRespondingCASInDestinationSite\n"
     "ErrorProxiedSubscriptionCallFailure\nErrorProxyCallFailed\nErrorProxyGroupSidLimitExceeded\n"
     "ErrorProxyRequestNotAllowed\nErrorProxyRequestProcessingFailed\n"
     "ErrorProxyServiceDiscoveryFailed\nErrorProxyTokenExpired\nErrorServiceDiscoveryFailed\n"
     "ErrorWrongServerVersion\n"},
    {PX_V_LOST, "ErrorExpiredSubscription\nErro"
                "rInvalidPullSubscriptionId\n"
                "ErrorInvalidSubscription\n"
                "ErrorSubscriptionAccessDenied\nErrorSubscriptionNotFound\nErrorSubscriptionUnsubsc"
                "ribed\nErrorSubscriptionUnsubsribed\n"},
    {PX_V_BUSY, "ErrorExceededConnectionCount\nErrorServerBusy\n"},
    {PX_V_DENIED, "ErrorImpersonationDenied\nErrorPasswordChangeRequired\nErrorPasswordExpired\n"},
    {PX_V_USER, "ErrorAccessDenied\nErrorAccountDisabled\nErrorImpersonateUserDenied\nErrorInvalidS"
                "mtpAddress\nErrorInvalidUserPrincipalName\n"
                "ErrorMailRecipientNotFound\nErrorNonExistentMailbox\nErrorS"
                "ubscriptionDelegateAccessNotSupported\n"},
    {PX_V_TRANSIENT, "ErrorADOperation\nErrorADUnavailable\nErrorConn"
                     "ectionFailed\nErrorExceededSubscriptionCount\n"
                     "ErrorFreeBusyDLLimitReached\nErrorImpersonationFailed\nErrorInsufficientResou"
                     "rces\nErrorInternalServerError\n"
                     "ErrorInternalServerTransientError\nErrorMailboxDataArrayTooBig\nErrorMailboxF"
                     "ailover\nErrorMailboxMoveInProgress\n"
                     "ErrorMailboxStoreUnavailable\nErrorNewEventStreamConnectionOpened\nErrorNotEn"
                     "oughMemory\nErrorTimeoutExpired\n"},
    {PX_V_UNREADABLE, "ErrorNoFreeBusyAccess\n"},
    {PX_V_WIDE,
     "ErrorCalendarViewRangeTooBig\nErrorExceededFindCountLimit\nErrorResultSetTooBig\n"},
    {PX_V_KIND, "ErrorMailTipsDisabled\n"},
};

/* Some verdicts there are only for what can be done about them. */
static enum px_verdict as(enum px_ask ask, enum px_verdict v)
{
	return v == PX_V_UNREADABLE && ask != PX_ASK_READ ? PX_V_USER
	       : v == PX_V_WIDE && ask != PX_ASK_READ_ONE ? PX_V_TRANSIENT
	                                                  : v;
}

static void every_code_has_its_verdict(void **state)
{
	size_t rows = 0, codes = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(meaning); i++) {
		char list[2000], code[100];
		const enum px_verdict v = meaning[i].verdict;
		/* one mailbox of many: not the gateway's trouble */
		const enum px_verdict one =
		    v == PX_V_SERVER ? PX_V_LOST
		    : v == PX_V_GAP || v == PX_V_WIDE || v == PX_V_VERSION || v == PX_V_KIND
		        ? PX_V_TRANSIENT
		        : v;

		snprintf(list, sizeof list, "%s", meaning[i].codes);
		for (char *s = strtok(list, "\n"); s; s = strtok(NULL, "\n"), rows++) {
			char line[200];
			enum px_verdict here = one;

			snprintf(code, sizeof code, "%s", s);
			if (strcmp(code, "ErrorAccessDenied") == 0)
				here =
				    PX_V_UNREADABLE; /* to the account; not to the mailbox's owner */
			assert_non_null(px_ews_row(code));
			says(hear_fault(PX_ASK_SUBSCRIBE, code, &fault), as(PX_ASK_SUBSCRIBE, v),
			     code, "");
			says(hear_fault(PX_ASK_READ, code, &fine), as(PX_ASK_READ, v), code, "");
			says(hear_fault(PX_ASK_STREAM, code, &fault), as(PX_ASK_STREAM, v), code,
			     "");
			says(hear_code(PX_ASK_SUBSCRIBE, "Subscribe", code),
			     as(PX_ASK_SUBSCRIBE, v), code, "");
			says(hear_code(PX_ASK_UNSUBSCRIBE, "Unsubscribe", code),
			     as(PX_ASK_UNSUBSCRIBE, v), code, "");
			says(hear_code(PX_ASK_STREAM, "GetStreamingEvents", code),
			     as(PX_ASK_STREAM, v), code, "");
			says(hear_code(PX_ASK_READ_ONE, "FindItem", code), as(PX_ASK_READ_ONE, v),
			     code, "");
			snprintf(line, sizeof line, "refused 0 %s %s\n", px_verdict_name(here),
			         code);
			says(hear_refusal(PX_ASK_READ, code), PX_V_OK, "", line);
			says(hear_refusal(PX_ASK_PROBE, code), as(PX_ASK_PROBE, here), code, line);
		}
	}
	for (size_t i = 0; i < px_ews_rows; i++) {
		codes += strncmp(px_ews_table[i].code, "Error", 5) == 0;
		assert_ptr_equal(px_ews_row(px_ews_table[i].code), &px_ews_table[i]);
	}
	assert_int_equal(rows, codes);
}

static void unknown_codes(void **state)
{
	(void)state;
	says(hear_code(PX_ASK_SUBSCRIBE, "Subscribe", "ErrorNeverSeen"), PX_V_LOST,
	     "ErrorNeverSeen", "");
	says(hear_fault(PX_ASK_SUBSCRIBE, "ErrorNeverSeen", &fault), PX_V_LOST, "ErrorNeverSeen",
	     "");
	says(hear_code(PX_ASK_STREAM, "GetStreamingEvents", "ErrorNeverSeen"), PX_V_TRANSIENT,
	     "ErrorNeverSeen", "");
	says(hear_fault(PX_ASK_READ, "ErrorNeverSeen", &fault), PX_V_TRANSIENT, "ErrorNeverSeen",
	     "");
	says(hear_refusal(PX_ASK_READ, "ErrorNeverSeen"), PX_V_OK, "",
	     "refused 0 transient ErrorNeverSeen\n");
	/* none at all */
	says(hear_fault(PX_ASK_SUBSCRIBE, "", &fault), PX_V_TRANSIENT, "SOAP fault", "");
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Error", ""), PX_V_TRANSIENT, "SOAP fault",
	     "");
	says(hear_refusal(PX_ASK_READ, ""), PX_V_OK, "", "refused 0 transient \n");
}

static void http_has_its_verdict(void **state)
{
	static const struct {
		int status;
		enum px_verdict verdict;
	} row[] = {{301, PX_V_SERVER},    {302, PX_V_SERVER},    {307, PX_V_SERVER},
	           {400, PX_V_TRANSIENT}, {401, PX_V_DENIED},    {403, PX_V_DENIED},
	           {404, PX_V_SERVER},    {405, PX_V_SERVER},    {408, PX_V_TRANSIENT},
	           {429, PX_V_BUSY},      {440, PX_V_SERVER},    {500, PX_V_TRANSIENT},
	           {502, PX_V_SERVER},    {503, PX_V_BUSY},      {504, PX_V_SERVER},
	           {507, PX_V_TRANSIENT}, {204, PX_V_TRANSIENT}, {0, PX_V_TRANSIENT}};
	static const struct {
		enum px_http_fail fail;
		enum px_verdict verdict;
		const char *code;
	} end[] = {
	    {PX_HTTP_RESOLVE, PX_V_SERVER, "resolve"}, {PX_HTTP_CONNECT, PX_V_SERVER, "connect"},
	    {PX_HTTP_TLS, PX_V_SERVER, "tls"},         {PX_HTTP_TIMEOUT, PX_V_SERVER, "timeout"},
	    {PX_HTTP_CUT, PX_V_TRANSIENT, "cut"},      {PX_HTTP_TOO_BIG, PX_V_TRANSIENT, "too big"},
	    {PX_HTTP_LOCAL, PX_V_TRANSIENT, "local"}};

	(void)state;
	for (enum px_ask ask = 0; ask < PX_ASKS; ask++) {
		char code[32];

		for (size_t i = 0; i < COUNT(row); i++) {
			struct px_http_answer a = {
			    .status = row[i].status, .retry_after_ms = -1, .type = "text/html"};

			snprintf(code, sizeof code, "HTTP %d", row[i].status);
			says(hear(ask, 1, "<!DOCTYPE html><html><body>Sorry", &a), row[i].verdict,
			     code, "");
		}
		for (size_t i = 0; i < COUNT(end); i++) {
			struct px_http_answer a = {.fail = end[i].fail,
			                           .status = 200,
			                           .retry_after_ms = -1,
			                           .detail = "it said \x1b[31mno\n"};
			struct heard h = hear(ask, 1, "", &a);

			assert_string_equal(h.reply.detail, "it said [31mno");
			says(h, end[i].verdict, end[i].code, "");
		}
	}
}

static void waits_as_long_as_the_server_wishes(void **state)
{
	struct px_http_answer a = fault;
	size_t busy = 0;
	struct heard h;

	(void)state;
	while (strcmp(sample[busy].name, "fault_busy") != 0)
		busy++;
	a.retry_after_ms = 300000; /* more than the Fault says */
	h = hear(PX_ASK_READ, 5, body[busy].data, &a);
	assert_int_equal(h.reply.backoff_ms, 300000);
	px_buf_free(&h.items);
	a.status = 503; /* the Fault's wish counts there, too */
	a.retry_after_ms = 1000;
	h = hear(PX_ASK_READ, 5, body[busy].data, &a);
	assert_int_equal(h.reply.backoff_ms, 297749);
	says(h, PX_V_BUSY, "HTTP 503", "");
	a.retry_after_ms = INT64_MAX;
	h = hear(PX_ASK_READ, 5, "", &a);
	assert_int_equal(h.reply.backoff_ms, PX_BACKOFF_WISH_MAX);
	says(h, PX_V_BUSY, "HTTP 503", "");
	h = hear_message(
	    PX_ASK_SUBSCRIBE, "Subscribe", "Error",
	    "<ResponseCode>ErrorServerBusy</ResponseCode><MessageXml><t:Value "
	    "Name='BackOffMilliseconds'>"
	    "99999999999999999999999</t:Value><t:Value "
	    "Name='BackOffMilliseconds'>-5</t:Value><t:Value>7</t:Value></MessageXml>");
	assert_int_equal(h.reply.backoff_ms, PX_BACKOFF_WISH_MAX);
	says(h, PX_V_BUSY, "ErrorServerBusy", "");
	/* only what is throttling inside is throttling */
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Error",
	                  "<ResponseCode>ErrorInternalServerError</"
	                  "ResponseCode><MessageXml><t:Value Name='InnerErrorResponseCode'>"
	                  "ErrorItemNotFound</t:Value></MessageXml>"),
	     PX_V_TRANSIENT, "ErrorInternalServerError", "");
}

static void what_is_not_ews_is_named(void **state)
{
	static const struct {
		const char *type, *body, *detail;
	} row[] = {{"text/html", "<html><body>Outlook Web App</body></html>",
	            "text/html answers instead of EWS"},
	           {"text/plain", "", "text/plain answers instead of EWS"},
	           {"application/json", "{}", "application/json answers instead of EWS"},
	           {NULL, "<!DOCTYPE html><html>", "HTML answers instead of EWS"},
	           {"text/xml", "<!doctype HTML>", NULL},
	           {"text/xml", "<html xmlns='http://www.w3.org/1999/xhtml'/>",
	            "html answers instead of EWS"},
	           {"text/xml", "<e:Envelope xmlns:e='http://www.w3.org/2003/05/soap-envelope'/>",
	            "Envelope answers instead of EWS"}};

	(void)state;
	for (enum px_ask ask = 0; ask < PX_ASKS; ask++)
		for (size_t i = 0; i < COUNT(row); i++) {
			struct px_http_answer a = fine;
			struct heard h;

			a.type = row[i].type;
			h = hear(ask, 1, row[i].body, &a);
			if (row[i].detail) {
				assert_string_equal(h.reply.detail, row[i].detail);
				says(h, PX_V_SERVER, "not EWS", "");
			} else
				says(h, PX_V_TRANSIENT, "broken XML", "");
		}
}

/* ---- subscriptions ---- */

static void a_subscription_id_must_be_usable(void **state)
{
	char id[300], inner[500], want[400];

	(void)state;
	memset(id, 'x', sizeof id);
	for (size_t n = 254; n <= 256; n++) {
		snprintf(
		    inner, sizeof inner,
		    "<ResponseCode>NoError</ResponseCode><SubscriptionId>%.*s</SubscriptionId>",
		    (int)n, id);
		snprintf(want, sizeof want, "subscribed %.*s\n", (int)n, id);
		if (n <= px_ews.id_max)
			says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success", inner), PX_V_OK,
			     "", want);
		else
			says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success", inner),
			     PX_V_LOST, "bad subscription id", "");
	}
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success",
	                  "<SubscriptionId>a&#10;b</SubscriptionId>"),
	     PX_V_LOST, "bad subscription id", "");
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success",
	                  "<SubscriptionId>\xC3\xBC</SubscriptionId>"),
	     PX_V_LOST, "bad subscription id", "");
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success", "<SubscriptionId/>"), PX_V_LOST,
	     "bad subscription id", "");
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success",
	                  "<ResponseCode>NoError</ResponseCode>"),
	     PX_V_TRANSIENT, "broken answer", "");
	says(hear_message(PX_ASK_SUBSCRIBE, "Subscribe", "Success",
	                  "<SubscriptionId> a </SubscriptionId>"),
	     PX_V_OK, "", "subscribed a\n");
	/* an id beside an error is none */
	says(hear_message(
	         PX_ASK_SUBSCRIBE, "Subscribe", "Error",
	         "<ResponseCode>ErrorServerBusy</ResponseCode><SubscriptionId>a</SubscriptionId>"),
	     PX_V_BUSY, "ErrorServerBusy", "");
	/* nor is the answer to another question one */
	says(hear_message(PX_ASK_SUBSCRIBE, "Unsubscribe", "Success",
	                  "<SubscriptionId>a</SubscriptionId>"),
	     PX_V_TRANSIENT, "broken answer", "");
	says(hear_message(PX_ASK_SUBSCRIBE, "SubscribeX", "Success",
	                  "<SubscriptionId>a</SubscriptionId>"),
	     PX_V_TRANSIENT, "broken answer", "");
}

static void two_answers_are_none(void **state)
{
	struct px_buf b = px_buf_new(1 << 16);

	(void)state;
	px_buf_str(&b, body[0].data);
	px_buf_str(&b, body[0].data);
	says(hear(PX_ASK_SUBSCRIBE, 0, b.data, &fine), PX_V_TRANSIENT, "broken answer", NULL);
	px_buf_free(&b);
	px_buf_printf(&b, "%s trailing", body[0].data);
	says(hear(PX_ASK_SUBSCRIBE, 0, b.data, &fine), PX_V_TRANSIENT, "broken XML", NULL);
	px_buf_free(&b);
	env(&b, "<SubscribeResponse xmlns='" PX_EWS_MESSAGES
	        "'/><SubscribeResponse xmlns='" PX_EWS_MESSAGES "'/>");
	says(hear(PX_ASK_SUBSCRIBE, 0, b.data, &fine), PX_V_TRANSIENT, "broken answer", "");
	px_buf_free(&b);
	env(&b, "");
	says(hear(PX_ASK_STREAM, 0, b.data, &fine), PX_V_TRANSIENT, "broken answer", "");
	px_buf_free(&b);
}

/* ---- streams ---- */

#define OP "GetStreamingEvents"
#define NOTE(ns, id, events)                                                                       \
	"<" ns "Notification><" ns "SubscriptionId>" id "</" ns "SubscriptionId>" events "</" ns   \
	"Notification>"

static void notifications_in_any_namespace(void **state)
{
	static const char *const form[] = {
	    "<Notifications>" NOTE("", "a", "<CreatedEvent/><ModifiedEvent/>") "</Notifications>",
	    "<Notifications>" NOTE("t:", "a", "<t:CreatedEvent/>") "</Notifications>",
	    "<Notifications><Notification><t:SubscriptionId>a</"
	    "t:SubscriptionId><t:FreeBusyChangedEvent/></Notification></Notifications>",
	    "<Notifications xmlns=''>" NOTE("", "a", "<NewKindOfEvent/>") "</Notifications>",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(form); i++)
		says(hear_message(PX_ASK_STREAM, OP, "Success", form[i]), PX_V_TRANSIENT, "cut",
		     "alive\nchanged a\n");
	says(hear_message(PX_ASK_STREAM, OP, "Success",
	                  "<Notifications>" NOTE("", "a", "") NOTE("", "b", "<StatusEvent/>")
	                      NOTE("", "", "<CreatedEvent/>")
	                          NOTE("", "c", "<MovedEvent/>") "</Notifications>"),
	     PX_V_TRANSIENT, "cut", "alive\nchanged c\n");
	/* in a namespace of somebody else's it is something else */
	says(hear_message(PX_ASK_STREAM, OP, "Success",
	                  "<Notifications xmlns='urn:x'>" NOTE(
	                      "", "a", "<CreatedEvent/>") "</Notifications>"),
	     PX_V_TRANSIENT, "cut", "alive\n");
	for (size_t i = 0; i < 3; i++) {
		static const char *const gone[] = {
		    "<ErrorSubscriptionIds><SubscriptionId>a</SubscriptionId></"
		    "ErrorSubscriptionIds>",
		    "<ErrorSubscriptionIds><t:SubscriptionId>a</t:SubscriptionId></"
		    "ErrorSubscriptionIds>",
		    "<ErrorSubscriptionIds "
		    "xmlns=''><SubscriptionId>a</SubscriptionId></ErrorSubscriptionIds>"};
		char inner[300];

		says(hear_message(PX_ASK_STREAM, OP, "Success", gone[i]), PX_V_TRANSIENT, "cut",
		     "alive\ngone a -\n");
		snprintf(inner, sizeof inner,
		         "<ResponseCode>ErrorInvalidSubscription</ResponseCode>%s", gone[i]);
		says(hear_message(PX_ASK_STREAM, OP, "Error", inner), PX_V_TRANSIENT,
		     "ErrorInvalidSubscription", "gone a ErrorInvalidSubscription\n");
	}
}

/* What an envelope says counts from its last byte on, and not before. */
static void a_stream_counts_envelope_by_envelope(void **state)
{
	const size_t i = 5;
	struct heard h = {.items = px_buf_new(1 << 16)};
	struct px_parse *p =
	    px_ews.parse_new(&(struct px_query){.ask = PX_ASK_STREAM, .n = 3}, said, &h);
	size_t ends = 0;

	(void)state;
	assert_string_equal(sample[i].name, "stream");
	for (size_t at = 0; at < body[i].len; at++) {
		size_t before = h.items.len;

		px_ews.feed(p, body[i].data + at, 1);
		if (at + 1 >= 13 && memcmp(body[i].data + at - 12, "</s:Envelope>", 13) == 0) {
			ends++;
			assert_true(h.items.len > before);
		} else
			assert_int_equal(h.items.len, before);
	}
	assert_int_equal(ends, 5);
	px_ews.done(p, &fine, &h.reply);
	px_ews.parse_free(p);
	says(h, PX_V_OK, "", sample[i].items);
}

static void how_a_stream_ends(void **state)
{
	static const char alive[] = "<S:Envelope xmlns:S='" PX_EWS_SOAP
	                            "'><S:Body><GetStreamingEventsResponse xmlns='" PX_EWS_MESSAGES
	                            "'><ResponseMessages><GetStreamingEventsResponseMessage "
	                            "ResponseClass='Success'/></ResponseMessages>"
	                            "</GetStreamingEventsResponse></S:Body></S:Envelope>";
	struct px_http_answer a = fine;
	char text[2000];

	(void)state;
	a.fail = PX_HTTP_CUT;
	says(hear(PX_ASK_STREAM, 1, alive, &a), PX_V_TRANSIENT, "cut", "alive\n");
	a.fail = PX_HTTP_TIMEOUT; /* it had answered: silence isn't death */
	says(hear(PX_ASK_STREAM, 1, alive, &a), PX_V_TRANSIENT, "silent", "alive\n");
	says(hear(PX_ASK_STREAM, 1, "", &a), PX_V_SERVER, "timeout", "");
	says(hear_cut(PX_ASK_STREAM, 1, alive, 20, 0, &a), PX_V_SERVER, "timeout", "");
	/* garbage after good envelopes: these counted, the rest doesn't */
	snprintf(text, sizeof text, "%s\n<a></b>%s", alive, alive);
	says(hear(PX_ASK_STREAM, 1, text, &fine), PX_V_TRANSIENT, "broken XML", "alive\n");
	snprintf(text, sizeof text, "%s<html/>%s", alive, alive);
	says(hear(PX_ASK_STREAM, 1, text, &fine), PX_V_TRANSIENT, "broken answer", "alive\n");
	snprintf(text, sizeof text, "%s<!DOCTYPE x [<!ENTITY y 'z'>]>%s", alive, alive);
	says(hear(PX_ASK_STREAM, 1, text, &fine), PX_V_TRANSIENT, "broken XML", "alive\n");
	/* an error at the end is the reason, also when the connection is then simply dropped */
	struct px_buf b = px_buf_new(1 << 16);
	px_buf_str(&b, alive);
	env(&b, "<GetStreamingEventsResponse xmlns='" PX_EWS_MESSAGES
	        "'><ResponseMessages><GetStreamingEventsResponseMessage "
	        "ResponseClass='Error'><ResponseCode>ErrorServerBusy</ResponseCode></"
	        "GetStreamingEventsResponseMessage></ResponseMessages>"
	        "</GetStreamingEventsResponse>");
	a.fail = PX_HTTP_CUT;
	says(hear(PX_ASK_STREAM, 1, b.data, &fine), PX_V_BUSY, "ErrorServerBusy", "alive\n");
	says(hear(PX_ASK_STREAM, 1, b.data, &a), PX_V_BUSY, "ErrorServerBusy", "alive\n");
	px_buf_str(&b, alive); /* it got over it */
	says(hear(PX_ASK_STREAM, 1, b.data, &a), PX_V_TRANSIENT, "cut", "alive\nalive\n");
	px_buf_free(&b);
}

/* ---- availability ---- */

static void one_answer_for_each_mailbox(void **state)
{
	static const char two[] = MAILBOX(TYPE("FreeBusy")) MAILBOX(TYPE("FreeBusy"));

	(void)state;
	says(hear_mailboxes(PX_ASK_READ, 2, two), PX_V_OK, "", "calendar 0\ncalendar 1\n");
	says(hear_mailboxes(PX_ASK_READ, 3, two), PX_V_TRANSIENT, "broken answer", NULL);
	says(hear_mailboxes(PX_ASK_READ, 1, two), PX_V_TRANSIENT, "broken answer", NULL);
	says(hear_mailboxes(PX_ASK_READ, 1, ""), PX_V_TRANSIENT, "broken answer", "");
	says(hear_mailboxes(PX_ASK_PROBE, 1, two), PX_V_TRANSIENT, "broken answer", NULL);
	says(hear_mailboxes(PX_ASK_PROBE, 1, ""), PX_V_TRANSIENT, "broken answer", "");
}

static void views_of_a_mailbox(void **state)
{
#define DAY "000000000000222222111110"
#define EIGHT_TO_NINE EVENT("2026-11-23T08:00:00", "2026-11-23T09:00:00", "Busy")
#define EIGHT_TO_NINE_TEXT "calendar 0\n  11-23T08:00:00Z 11-23T09:00:00Z busy\n"
	static const struct {
		const char *mailbox, *items;
	} row[] = {
	    {MAILBOX(TYPE("Detailed") EVENTS(EIGHT_TO_NINE)), EIGHT_TO_NINE_TEXT},
	    /* details win over digits, and digits are better than nothing */
	    {MAILBOX(TYPE("FreeBusyMerged") DIGITS(DAY) EVENTS(EIGHT_TO_NINE)), EIGHT_TO_NINE_TEXT},
	    {MAILBOX(TYPE("FreeBusyMerged") DIGITS(DAY) EVENTS("")), "calendar 0\n"},
	    {MAILBOX(TYPE("FreeBusyMerged")), "calendar 0\n"},
	    {MAILBOX(TYPE("FreeBusyMerged") DIGITS(DAY)),
	     "calendar 0\n  11-23T09:00:00Z 11-23T09:30:00Z busy\n  11-23T09:30:00Z "
	     "11-23T09:55:00Z tentative\n"},
	    {MAILBOX(TYPE("MergedOnly") DIGITS("012340000000000000000005")),
	     "calendar 0\n  11-23T08:05:00Z 11-23T08:10:00Z tentative\n  11-23T08:10:00Z "
	     "11-23T08:15:00Z busy\n"
	     "  11-23T08:15:00Z 11-23T08:20:00Z oof\n  11-23T08:20:00Z 11-23T08:25:00Z nodata\n  "
	     "11-23T09:55:00Z 11-23T10:00:00Z nodata\n"},
	    /* a digit too many does no harm; one too few, and the rest would look free */
	    {MAILBOX(TYPE("MergedOnly") DIGITS(DAY "2")),
	     "calendar 0\n  11-23T09:00:00Z 11-23T09:30:00Z busy\n"
	     "  11-23T09:30:00Z 11-23T09:55:00Z tentative\n  11-23T10:00:00Z 11-23T10:05:00Z "
	     "busy\n"},
	    {MAILBOX(TYPE("MergedOnly") DIGITS("00000000000022222211111")),
	     "refused 0 unreadable short MergedFreeBusy\n"},
	    {MAILBOX(TYPE("MergedOnly")), "refused 0 unreadable short MergedFreeBusy\n"},
	    {MAILBOX(TYPE("MergedOnly") DIGITS("00000000000022222211111x")),
	     "refused 0 unreadable bad MergedFreeBusy\n"},
	    {MAILBOX(TYPE("None")), "refused 0 unreadable FreeBusyViewType None\n"},
	    {"<FreeBusyResponse>" SUCCESS "</FreeBusyResponse>",
	     "refused 0 transient no FreeBusyView\n"},
	    {"<FreeBusyResponse><FreeBusyView>" TYPE(
	         "FreeBusy") "</FreeBusyView></FreeBusyResponse>",
	     "refused 0 transient no ResponseMessage\n"},
	    {"<FreeBusyResponse/>", "refused 0 transient no ResponseMessage\n"},
	    /* an error counts whatever stands beside it */
	    {"<FreeBusyResponse><ResponseMessage "
	     "ResponseClass='Error'><ResponseCode>NoError</ResponseCode></"
	     "ResponseMessage><FreeBusyView>" TYPE("FreeBusy") "</FreeBusyView></FreeBusyResponse>",
	     "refused 0 transient NoError\n"},
	    {"<FreeBusyResponse><ResponseMessage "
	     "ResponseClass='Success'><ResponseCode>ErrorNoFreeBusyAccess</ResponseCode></"
	     "ResponseMessage><FreeBusyView>" TYPE("FreeBusy") "</FreeBusyView></FreeBusyResponse>",
	     "refused 0 unreadable ErrorNoFreeBusyAccess\n"},
	    {"<FreeBusyResponse><ResponseMessage><ResponseCode>NoError</ResponseCode></"
	     "ResponseMessage></FreeBusyResponse>",
	     "refused 0 transient NoError\n"},
	    /* times: with offset, Z, none, fractions, white space; and none that can be believed */
	    {MAILBOX(TYPE("FreeBusy") EVENTS(
	         EVENT("2026-11-23T00:00:00-08:00", "\n 2026-11-23T09:00:00.0000000 ", " Busy "))),
	     EIGHT_TO_NINE_TEXT},
	    {MAILBOX(TYPE("FreeBusy") EVENTS(
	         EVENT("2026-11-23T13:30:00+05:30", "2026-11-23T09:00:00Z", "Busy"))),
	     EIGHT_TO_NINE_TEXT},
	    {MAILBOX(TYPE("FreeBusy") EVENTS(
	         EIGHT_TO_NINE EVENT("2026-11-23T25:00:00", "2026-11-23T09:00:00", "Free"))),
	     "refused 0 transient bad time of a meeting\n"},
	    {MAILBOX(TYPE("FreeBusy") EVENTS(EVENT("", "2026-11-23T09:00:00", "Busy"))),
	     "refused 0 transient bad time of a meeting\n"},
	    {MAILBOX(TYPE("FreeBusy") EVENTS("<t:CalendarEvent><t:StartTime>2026-11-23T08:00:00</"
	                                     "t:StartTime></t:CalendarEvent>")),
	     "refused 0 transient bad time of a meeting\n"},
	    {MAILBOX(TYPE("FreeBusy")
	                 EVENTS(EVENT("2026-11-23T08:00:00", "2026-11-23T09:00:00", "busy"))),
	     "calendar 0\n  11-23T08:00:00Z 11-23T09:00:00Z nodata\n"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++)
		says(hear_mailboxes(PX_ASK_READ, 1, row[i].mailbox), PX_V_OK, "", row[i].items);
	/* nothing of one mailbox is left for the next */
	says(hear_mailboxes(
	         PX_ASK_READ, 3,
	         MAILBOX(TYPE("FreeBusyMerged") DIGITS(DAY) EVENTS(EVENT("x", "x", "Busy")))
	             MAILBOX(TYPE("FreeBusyMerged")) MAILBOX(TYPE("MergedOnly"))),
	     PX_V_OK, "",
	     "refused 0 transient bad time of a meeting\ncalendar 1\nrefused 2 unreadable short "
	     "MergedFreeBusy\n");
}

/* Through px_ews itself the window isn't known: then digits are believed only where they say free.
 */

static void meetings(struct px_buf *b, size_t n)
{
	px_buf_str(b, "<FreeBusyResponse>" SUCCESS
	              "<FreeBusyView>" TYPE("FreeBusy") "<t:CalendarEventArray>");
	for (size_t i = 0; i < n; i++)
		px_buf_printf(b,
		              EVENT("2026-11-%02zuT%02zu:%02zu:00", "2026-11-30T00:00:00", "Busy"),
		              1 + i / 1440 % 28, i / 60 % 24, i % 60);
	px_buf_str(b, "</t:CalendarEventArray></FreeBusyView></FreeBusyResponse>");
}

static void too_many_meetings_refuse_their_mailbox_only(void **state)
{
	struct px_buf b = px_buf_new(1 << 22);
	struct heard h;

	(void)state;
	meetings(&b, PX_INTERVALS_MAX);
	meetings(&b, PX_INTERVALS_MAX + 1);
	meetings(&b, 0);
	h = hear_mailboxes(PX_ASK_READ, 3, b.data);
	assert_int_equal(h.calendars, 2);
	assert_non_null(strstr(items(&h), "refused 1 transient too many meetings\ncalendar 2\n"));
	says(h, PX_V_OK, "", NULL);
	px_buf_free(&b);
}

static void the_largest_answer_there_is(void **state)
{
	struct px_buf b = px_buf_new(1 << 24);
	struct heard h;

	(void)state;
	for (size_t i = 0; i < PX_EWS_READ_MAX; i++)
		meetings(&b, 400);
	assert_true(b.len > 5 << 20);
	h = hear_mailboxes(PX_ASK_READ, PX_EWS_READ_MAX, b.data);
	assert_int_equal(h.calendars, PX_EWS_READ_MAX);
	says(h, PX_V_OK, "", NULL);
	px_buf_free(&b);
}

/* ---- ceilings ---- */

static void envelopes_have_a_ceiling(void **state)
{
	static const struct {
		enum px_ask ask;
		size_t bytes;
	} row[] = {{PX_ASK_SUBSCRIBE, 256 << 10},
	           {PX_ASK_UNSUBSCRIBE, 256 << 10},
	           {PX_ASK_STREAM, 1 << 20},
	           {PX_ASK_READ, 16 << 20},
	           {PX_ASK_PROBE, 16 << 20}};
	static const char start[] = "<S:Envelope xmlns:S='" PX_EWS_SOAP "'><S:Header>",
	                  comment[] =
	                      "<!-- 90123456789012345678901234567890123456789012345678901 -->";

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct px_buf b = px_buf_new(1 << 25);
		struct heard h;

		px_buf_str(&b, start);
		while (b.len + sizeof comment <= row[i].bytes)
			px_buf_str(&b, comment);
		h = hear(row[i].ask, 1, b.data, &fine);
		says(h, PX_V_TRANSIENT, "cut", "");
		px_buf_str(&b, comment);
		h = hear(row[i].ask, 1, b.data, &fine);
		says(h, PX_V_TRANSIENT, "too big", "");
		px_buf_free(&b);
	}
}

/* What a server may say for ever. Each appends the k-th piece of it. */
static void endless_elements(struct px_buf *b, size_t k)
{
	px_buf_printf(b, "<n%zu/>", k);
}

static void endless_long_names(struct px_buf *b, size_t k)
{
	px_buf_printf(
	    b, "<n%zu%.*s/>", k, 500,
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	    "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn");
}

static void endless_attributes(struct px_buf *b, size_t k)
{
	px_buf_printf(b, "<n a%zu='%zu' b%zu='%zu' xmlns:c%zu='urn:%zu'/>", k, k, k, k, k, k);
}

static void endless_depth(struct px_buf *b, size_t k)
{
	px_buf_printf(b, "<d%zu xmlns='urn:%zu'>", k, k);
}

static void endless_text(struct px_buf *b, size_t k)
{
	px_buf_str(b, k == 0 ? "<t>" : "text that goes on and on, and never comes to an end; ");
}

static void endless_cdata(struct px_buf *b, size_t k)
{
	px_buf_str(b, k == 0 ? "<t><![CDATA[" : "text that goes on and on, and never ends; ");
}

static void endless_tag(struct px_buf *b, size_t k)
{
	px_buf_str(b,
	           k == 0 ? "<t a='" : "a value that goes on and on, and never comes to an end; ");
}

static void endless_comment(struct px_buf *b, size_t k)
{
	px_buf_str(b, k == 0 ? "<!-- " : "a comment that goes on and on, and never ends; ");
}

static void endless_references(struct px_buf *b, size_t k)
{
	px_buf_str(b, k == 0 ? "<t>" : "&#x4e00;&amp;");
}

static void endless_documents(struct px_buf *b, size_t k)
{
	px_buf_printf(b, "<S:Envelope xmlns:S='%s'><S:Body><n%zu/></S:Body></S:Envelope>\n",
	              PX_EWS_SOAP, k);
}

static void endless_meetings(struct px_buf *b, size_t k)
{
	if (k % 5000 == 0)
		px_buf_printf(b,
		              "%s<m:FreeBusyResponse>" SUCCESS
		              "<FreeBusyView>" TYPE("FreeBusyMerged") "<t:CalendarEventArray>",
		              k ? "</t:CalendarEventArray></FreeBusyView></m:FreeBusyResponse>"
		                : "<S:Envelope xmlns:S='" PX_EWS_SOAP "' xmlns:t='" PX_EWS_TYPES
		                  "' xmlns:m='" PX_EWS_MESSAGES "' xmlns='" PX_EWS_MESSAGES
		                  "'><S:Body><GetUserAvailabilityResponse><FreeBusyResponseArray>");
	px_buf_printf(b, EVENT("2026-11-23T08:%02zu:00", "2026-11-23T09:00:00", "Busy"), k % 60);
}

size_t __sanitizer_get_current_allocated_bytes(void); /* ASan's own */

static void not_heard(void *arg, const struct px_item *item)
{
	(void)arg;
	(void)item;
}

/* Whatever comes, and however much of it: no answer holds more than PX_EWS_MEMORY. */
static void no_answer_takes_more_memory_than_it_may(void **state)
{
	static const struct {
		const char *name;
		void (*more)(struct px_buf *b, size_t k);
	} row[] = {{"elements", endless_elements},
	           {"long names", endless_long_names},
	           {"attributes", endless_attributes},
	           {"depth", endless_depth},
	           {"text", endless_text},
	           {"CDATA", endless_cdata},
	           {"tag", endless_tag},
	           {"comment", endless_comment},
	           {"references", endless_references},
	           {"documents", endless_documents},
	           {"meetings", endless_meetings}};
	static const enum px_ask asks[] = {PX_ASK_SUBSCRIBE, PX_ASK_STREAM, PX_ASK_READ,
	                                   PX_ASK_READ_ONE, PX_ASK_OOF};
	struct px_buf b = px_buf_new(1 << 20);

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++)
		for (size_t j = 0; j < COUNT(asks); j++) {
			const enum px_ask ask = asks[j];
			struct px_query q = window;
			const size_t before = __sanitizer_get_current_allocated_bytes();
			size_t most = 0, k = 0, fed = 0;
			struct px_parse *p;

			q.ask = ask;
			q.n = ask == PX_ASK_READ ? 100 : 1;
			p = px_ews.parse_new(&q, not_heard, NULL);
			assert_non_null(p);
			/* the first that are none of an envelope have their own */
			b.len = 0;
			if (row[i].more != endless_documents && row[i].more != endless_meetings)
				px_buf_str(&b, "<S:Envelope xmlns:S='" PX_EWS_SOAP "'><S:Body>");
			while (fed < (ask == PX_ASK_READ ? 17u << 20 : 2u << 20)) {
				size_t now;

				for (; b.len < 2048;)
					row[i].more(&b, k++);
				px_ews.feed(p, b.data, b.len);
				fed += b.len;
				now = __sanitizer_get_current_allocated_bytes() - before;
				most = now > most ? now : most;
				b.len = 0;
			}
			px_ews.parse_free(p);
			if (most > PX_EWS_MEMORY)
				fail_msg("endless %s: %zu bytes for an answer to %s", row[i].name,
				         most, px_ask_name(ask));
		}
	px_buf_free(&b);
}

static void what_a_server_says_is_sanitised(void **state)
{
	char out[24];
	struct heard h = hear_message(
	    PX_ASK_SUBSCRIBE, "Subscribe", "Error",
	    "<MessageText>one\ntwo\t\xC2\x9B\x33\x31m \xE2\x80\xAE\xD8\xA7\xEF\xBB\xBF "
	    "\xF0\x9F\x93\x85 &lt;end\r\n</MessageText>"
	    "<ResponseCode>Error<!-- -->Nice&quot;'&#10;; user=x</ResponseCode>");

	(void)state;
	assert_string_equal(h.reply.detail, "one two 31m \xD8\xA7 \xF0\x9F\x93\x85 <end");
	says(h, PX_V_LOST, "ErrorNice userx", "");
	/* cut between characters */
	px_answer_text(out, 6, "abc\xE2\x82\xAC\xE2\x82\xAC", 9);
	assert_string_equal(out, "abc");
	px_answer_text(out, 7, "abc\xE2\x82\xAC\xE2\x82\xAC", 9);
	assert_string_equal(out, "abc\xE2\x82\xAC");
	px_answer_text(out, sizeof out, "a\xFF\xC3(\0b\xE2\x82", 8);
	assert_string_equal(out, "a ( b");
	px_answer_code(out, 4, "a\nb;c d", 7);
	assert_string_equal(out, "abc");
	px_answer_code(out, sizeof out, "x\0y", 3);
	assert_string_equal(out, "xy");
}

/* ---- requests ---- */

static const char *const three[] = {"alice@example.test", "bob@example.test",
                                    "o'hara&co@example.test"};
static const char *const ids[] = {"JABjYXMxLmV4YW1wbGUudGVzdBAAAABBAAAA+7cZ1w==", "<&>\"'"};
static const char *const odd[] = {"<t:X/>&\"'\xFF\x01\xC3\xBC@example.test"};

/* 08:01:30.5 to 09:58:00: asked for in whole slots */
#define ASKED .from = {FROM + 90500}, .until = {UNTIL - 120000}

static const struct {
	const char *name;
	struct px_query q;
} request[] = {
    {"subscribe", {.ask = PX_ASK_SUBSCRIBE, .mailbox = "alice@example.test"}},
    {"subscribe_push",
     {.ask = PX_ASK_SUBSCRIBE,
      .version = PX_EWS_2010_SP1,
      .mailbox = "alice@example.test",
      .kind = PX_KIND_PUSH,
      .minutes = 6,
      .callback = "http://192.0.2.10:8080/a&b/0123"}},
    {"subscribe_pull_2007",
     {.ask = PX_ASK_SUBSCRIBE,
      .version = PX_EWS_2007_SP1,
      .mailbox = "alice@example.test",
      .kind = PX_KIND_PULL,
      .minutes = 30}},
    {"poll",
     {.ask = PX_ASK_POLL,
      .mailbox = "alice@example.test",
      .id = ids,
      .n = 1,
      .watermark = "AQAAALYdAAAAAAAAAQ==&"}},
    {"subscribe_escaped",
     {.ask = PX_ASK_SUBSCRIBE, .mailbox = "<t:X/>&\"'\xFF\x01\xC3\xBC@example.test"}},
    {"unsubscribe",
     {.ask = PX_ASK_UNSUBSCRIBE, .mailbox = "alice@example.test", .id = ids, .n = 1}},
    {"stream",
     {.ask = PX_ASK_STREAM, .mailbox = "alice@example.test", .id = ids, .n = 2, .minutes = 27}},
    {"read", {.ask = PX_ASK_READ, .name = three, .n = 3, ASKED}},
    {"read_escaped", {.ask = PX_ASK_READ, .name = odd, .n = 1, ASKED}},
    {"probe", {.ask = PX_ASK_PROBE, .mailbox = "alice@example.test", ASKED}},
    {"find_item", {.ask = PX_ASK_READ_ONE, .mailbox = "alice@example.test", ASKED}},
    {"oof_settings", {.ask = PX_ASK_OOF, .mailbox = "alice@example.test", .name = three, .n = 1}},
    {"mail_tips", {.ask = PX_ASK_OOF, .mailbox = "alice@example.test", .name = three, .n = 3}},
};

static void requests_are_as_written_down(void **state)
{
	char path[512];

	(void)state;
	for (size_t i = 0; i < COUNT(request); i++) {
		struct px_wire w = px_wire_new();
		struct px_buf b, want;

		px_ews.write(&w, &request[i].q);
		b = w.body;
		assert_false(b.failed);
		assert_string_equal(w.method, "POST");
		assert_int_equal(w.target.len, 0);
		snprintf(path, sizeof path, FIXTURES "requests/%s.xml", request[i].name);
		want = file(path);
		assert_int_equal(b.len, want.len);
		assert_memory_equal(b.data, want.data, b.len);
		px_wire_free(&w);
		px_buf_free(&want);
	}
}

/* PX_EWS_WRITE=dir: writes the requests there instead of testing, to be validated and looked at. */
static int write_requests(const char *dir)
{
	char path[512];

	for (size_t i = 0; i < COUNT(request); i++) {
		struct px_wire w = px_wire_new();
		FILE *f;
		bool written;

		px_ews.write(&w, &request[i].q);
		snprintf(path, sizeof path, "%s/%s.xml", dir, request[i].name);
		f = fopen(path, "wb");
		if (!f) {
			perror(path);
			return 1;
		}
		written = fwrite(w.body.data, 1, w.body.len, f) == w.body.len;
		px_wire_free(&w);
		if (fclose(f) != 0 || !written) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

static void a_request_that_does_not_fit_says_so(void **state)
{
	struct px_wire w = px_wire_new();

	(void)state;
	w.body.ceiling = 1000;
	for (size_t i = 0; i < COUNT(request); i++)
		if (request[i].q.ask == PX_ASK_READ && request[i].q.n > 1)
			px_ews.write(&w, &request[i].q);
	assert_true(w.body.failed);
	px_wire_free(&w);
}

/* Where a request goes behind the proxies of 2013 and later is said beside it. */
static void a_request_says_whose_server_it_is_for(void **state)
{
	static const struct {
		const char *anchor, *head;
	} row[] = {{"carol@example.test", "X-AnchorMailbox: carol@example.test\r\n"
	                                  "X-PreferServerAffinity: true\r\n"},
	           {"carol@example.test\r\nEvil: yes", ""},
	           {NULL, ""}};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct px_wire w = px_wire_new();
		struct px_query q = request[0].q;
		char want[256];

		q.anchor = row[i].anchor;
		px_ews.write(&w, &q);
		snprintf(want, sizeof want,
		         "Content-Type: text/xml; charset=utf-8\r\nAccept: text/xml\r\n%s",
		         row[i].head);
		assert_string_equal(w.head.data, want);
		px_wire_free(&w);
	}
}

/* ---- what Exchange asks us ---- */

static char called[400];
static unsigned calls;

static void heard_call(void *arg, const struct px_item *item)
{
	static const char *const kind[] = {
	    [PX_ITEM_CHANGED] = "changed", [PX_ITEM_ALIVE] = "alive", [PX_ITEM_GONE] = "gone"};

	(void)arg;
	calls++;
	snprintf(called, sizeof called, "%s %s %s %s", kind[item->kind], item->id ? item->id : "-",
	         item->kind == PX_ITEM_GONE ? px_verdict_name(item->verdict) : "-",
	         item->code && item->code[0] ? item->code : "-");
}

static int call_in(const char *text)
{
	size_t n = strlen(text);
	char *exact = malloc(n); /* so that ASan sees its end */
	int items;

	memcpy(exact, text, n);
	called[0] = '\0';
	calls = 0;
	items = px_ews.notified(exact, n, heard_call, NULL);
	free(exact);
	assert_int_equal(items < 0 ? 0 : items, calls);
	return items;
}

#define CALL(class, inside)                                                                        \
	"<?xml version=\"1.0\"?><soap11:Envelope xmlns:soap11=\"" PX_EWS_SOAP                      \
	"\"><soap11:Header><t:RequestServerVersion xmlns:t=\"" PX_EWS_TYPES                        \
	"\" Version=\"Exchange2010\"/></soap11:Header><soap11:Body><m:SendNotification "           \
	"xmlns:m=\"" PX_EWS_MESSAGES "\" xmlns:t=\"" PX_EWS_TYPES                                  \
	"\"><m:ResponseMessages><m:SendNotificationResponseMessage "                               \
	"ResponseClass=\"" class "\">" inside "</"                                                 \
	                         "m:SendNotificationResponseMessage>"                              \
	                         "</m:ResponseMessages></"                                         \
	                         "m:SendNotification>"                                             \
	                         "</soap11:Body></soap11:Envelope>"
#define NEWS(events)                                                                               \
	CALL("Success", "<m:ResponseCode>NoError</m:ResponseCode><m:Notification>"                 \
	                "<t:SubscriptionId>sub-alice==</t:SubscriptionId>"                         \
	                "<t:PreviousWatermark>AQ==</t:PreviousWatermark>"                          \
	                "<t:MoreEvents>false</t:MoreEvents>" events "</m:Notification>")
#define STATUS_EVENT "<t:StatusEvent><t:Watermark>AQ==</t:Watermark></t:StatusEvent>"
#define CREATED_EVENT "<t:CreatedEvent><t:Watermark>Ag==</t:Watermark></t:CreatedEvent>"

static void calls_are_understood(void **state)
{
	static const struct {
		const char *text, *want;
	} row[] = {
	    {NEWS(STATUS_EVENT), "alive sub-alice== - -"},
	    {NEWS(CREATED_EVENT), "changed sub-alice== - -"},
	    {NEWS(STATUS_EVENT CREATED_EVENT), "changed sub-alice== - -"},
	    {CALL("Error", "<m:MessageText>x</m:MessageText>"
	                   "<m:ResponseCode>ErrorReadEventsFailed</m:ResponseCode>"),
	     "gone - gap ErrorReadEventsFailed"},
	    {CALL("Error", "<m:ResponseCode>ErrorSubscriptionNotFound</m:ResponseCode>"),
	     "gone - lost ErrorSubscriptionNotFound"},
	    {CALL("Error", "<m:ResponseCode>ErrorNew</m:ResponseCode>"), "gone - lost ErrorNew"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		assert_int_equal(call_in(row[i].text), 1);
		assert_string_equal(called, row[i].want);
		/* nothing but the whole */
		for (size_t n = 0; n < strlen(row[i].text); n++) {
			char *part = strndup(row[i].text, n);

			assert_int_equal(call_in(part), -EBADMSG);
			free(part);
		}
	}
}

static void calls_that_are_none(void **state)
{
	static const char *const bad[] = {
	    "",
	    "hello",
	    "<html><body>It works!</body></html>",
	    "<!DOCTYPE x [<!ENTITY a 'b'>]>" NEWS(STATUS_EVENT),
	    NEWS(STATUS_EVENT) NEWS(STATUS_EVENT),
	    CALL("Success", "<m:ResponseCode>NoError</m:ResponseCode>"),
	    CALL("Success", "<m:ResponseCode>NoError</m:ResponseCode><m:Notification>"
	                    "<t:SubscriptionId>two words</t:SubscriptionId></m:Notification>"),
	    "<s:Envelope xmlns:s='" PX_EWS_SOAP
	    "'><s:Body><s:Fault><faultcode>x</faultcode></s:Fault>"
	    "</s:Body></s:Envelope>",
	    "<s:Envelope xmlns:s='" PX_EWS_SOAP
	    "'><s:Body><GetEventsResponse xmlns='" PX_EWS_MESSAGES "'/></s:Body></s:Envelope>",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(call_in(bad[i]), -EBADMSG);
}

/* ---- what the server is ---- */

static void a_server_says_what_it_is(void **state)
{
	static const struct {
		const char *info, *server;
	} row[] = {
	    {"MajorVersion='15' MinorVersion='2' MajorBuildNumber='1258' MinorBuildNumber='12'",
	     "Exchange 15.2.1258"},
	    {"MajorVersion='8' MinorVersion='3'", ""},
	    {"MajorVersion='99999999' MinorVersion='3' MajorBuildNumber='1'", ""},
	    {"MajorVersion='x' MinorVersion='3' MajorBuildNumber='1'", ""},
	    {"MajorVersion='' MinorVersion='3' MajorBuildNumber='1'", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		char text[2000];
		struct heard h;

		snprintf(
		    text, sizeof text,
		    "<s:Envelope xmlns:s='" PX_EWS_SOAP
		    "'><s:Header><ServerVersionInfo xmlns='" PX_EWS_TYPES
		    "' %s/></s:Header><s:Body><s:Fault><faultstring>no</faultstring>"
		    "<detail><ResponseCode xmlns='" PX_EWS_ERRORS
		    "'>ErrorInvalidRequest</ResponseCode></detail></s:Fault></s:Body></s:Envelope>",
		    row[i].info);
		h = hear(PX_ASK_SUBSCRIBE, 0, text, &fault);
		assert_string_equal(h.reply.server, row[i].server);
		/* one that is older than what it was asked in, and otherwise it is what was asked for */
		says(h, strncmp(row[i].server, "Exchange 8", 10) == 0 ? PX_V_VERSION : PX_V_KIND,
		     "ErrorInvalidRequest", "");
		h = hear(PX_ASK_READ, 1, text, &fault);
		says(h, PX_V_TRANSIENT, "ErrorInvalidRequest", "");
	}
	struct heard h =
	    hear(PX_ASK_SUBSCRIBE, 0,
	         "<s:Envelope xmlns:s='" PX_EWS_SOAP
	         "'><s:Header><ServerVersionInfo xmlns='" PX_EWS_TYPES
	         "' MajorVersion='14' MinorVersion='1' MajorBuildNumber='2'/></s:Header>"
	         "<s:Body><s:Fault><faultstring>no</faultstring><detail><ResponseCode "
	         "xmlns='" PX_EWS_ERRORS "'>ErrorSchemaValidation</ResponseCode></detail></s:Fault>"
	         "</s:Body></s:Envelope>",
	         &fault);
	says(h, PX_V_VERSION, "ErrorSchemaValidation", "");
}

static void kinds_by_version(void **state)
{
	(void)state;
	for (unsigned v = 0; v < px_ews.versions; v++) {
		assert_int_equal(!(px_ews.kinds(v) & PX_KIND_BIT(PX_KIND_STREAM)),
		                 strcmp(px_ews.version_name(v), "Exchange2007_SP1") == 0);
		assert_true(px_ews.kinds(v) & PX_KIND_BIT(PX_KIND_PUSH));
		assert_true(px_ews.kinds(v) & PX_KIND_BIT(PX_KIND_PULL));
	}
}

static void automatic_replies_by_version(void **state)
{
	(void)state;
	assert_int_equal(px_ews.oof_max(PX_EWS_2007_SP1), 1);
	assert_int_equal(px_ews.oof_max(PX_EWS_2010_SP1), PX_EWS_OOF_MAX);
	assert_int_equal(px_ews.oof_max(PX_EWS_2013), PX_EWS_OOF_MAX);
}

/* MergedFreeBusy's 4 is what the server's version makes of it, 5 is no data everywhere. */
static void a_digit_by_version(void **state)
{
	static const struct {
		const char *major, *status;
	} row[] = {{"8", "nodata"}, {"14", "nodata"}, {"15", "workingelsewhere"}};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		char text[3000], want[300];

		snprintf(
		    text, sizeof text,
		    "<s:Envelope xmlns:s='" PX_EWS_SOAP
		    "'><s:Header><ServerVersionInfo xmlns='" PX_EWS_TYPES
		    "' MajorVersion='%s' MinorVersion='1' MajorBuildNumber='2'/></s:Header><s:Body>"
		    "<GetUserAvailabilityResponse xmlns='" PX_EWS_MESSAGES
		    "' xmlns:t='" PX_EWS_TYPES
		    "'><FreeBusyResponseArray>" MAILBOX(TYPE("MergedOnly") DIGITS(
		        "040000000000000000000005")) "</FreeBusyResponseArray>"
		                                     "</GetUserAvailabilityResponse></s:Body></"
		                                     "s:Envelope>",
		    row[i].major);
		snprintf(want, sizeof want,
		         "calendar 0\n  11-23T08:05:00Z 11-23T08:10:00Z %s\n"
		         "  11-23T09:55:00Z 11-23T10:00:00Z nodata\n",
		         row[i].status);
		says(hear(PX_ASK_READ, 1, text, &fine), PX_V_OK, "", want);
	}
}

/* Every request and sample in the fixtures is used by a test. */
static void no_fixture_is_forgotten(void **state)
{
	static const char *const dir[] = {FIXTURES "answers", FIXTURES "requests"};

	(void)state;
	for (size_t d = 0; d < 2; d++) {
		DIR *list = opendir(dir[d]);
		size_t n = 0;

		assert_non_null(list);
		for (struct dirent *e = readdir(list); e; e = readdir(list))
			n += e->d_name[0] != '.';
		closedir(list);
		assert_int_equal(n, d == 0 ? COUNT(sample) : COUNT(request));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calls_are_understood),
	    cmocka_unit_test(calls_that_are_none),
	    cmocka_unit_test(a_server_says_what_it_is),
	    cmocka_unit_test(kinds_by_version),
	    cmocka_unit_test(automatic_replies_by_version),
	    cmocka_unit_test(a_digit_by_version),
	    cmocka_unit_test(requests_are_as_written_down),
	    cmocka_unit_test(a_request_says_whose_server_it_is_for),
	    cmocka_unit_test(a_request_that_does_not_fit_says_so),
	    cmocka_unit_test(no_fixture_is_forgotten),
	    cmocka_unit_test(samples_are_read_however_they_are_cut),
	    cmocka_unit_test(prefixes_are_not_believed),
	    cmocka_unit_test(every_code_has_its_verdict),
	    cmocka_unit_test(unknown_codes),
	    cmocka_unit_test(http_has_its_verdict),
	    cmocka_unit_test(waits_as_long_as_the_server_wishes),
	    cmocka_unit_test(what_is_not_ews_is_named),
	    cmocka_unit_test(a_subscription_id_must_be_usable),
	    cmocka_unit_test(two_answers_are_none),
	    cmocka_unit_test(notifications_in_any_namespace),
	    cmocka_unit_test(a_stream_counts_envelope_by_envelope),
	    cmocka_unit_test(how_a_stream_ends),
	    cmocka_unit_test(one_answer_for_each_mailbox),
	    cmocka_unit_test(views_of_a_mailbox),
	    cmocka_unit_test(too_many_meetings_refuse_their_mailbox_only),
	    cmocka_unit_test(the_largest_answer_there_is),
	    cmocka_unit_test(envelopes_have_a_ceiling),
	    cmocka_unit_test(no_answer_takes_more_memory_than_it_may),
	    cmocka_unit_test(what_a_server_says_is_sanitised),
	    cmocka_unit_test(mutations_do_no_harm),
	};

	if (getenv("PX_EWS_WRITE"))
		return write_requests(getenv("PX_EWS_WRITE"));
	return cmocka_run_group_tests(tests, load, unload);
}
