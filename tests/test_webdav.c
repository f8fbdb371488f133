/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backend/webdav.h"
#include "core/wall.h"

#define FIXTURES "tests/fixtures/webdav/"
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* 2026-11-23T08:00:00Z to 10:00:00Z: 8 slots */
#define FROM 1795420800000
#define UNTIL 1795428000000

static const char *const four[] = {"alice@example.test", "bob@example.test", "carol@example.test",
                                   "dave@example.test"};
static const char *const two[] = {"dan@example.test", "eleanor@example.test"};
static const char *const ids[] = {"15", "16", "17", "18", "19"};

static struct px_query query(enum px_ask ask)
{
	struct px_query q = {.ask = ask, .mailbox = four[0], .from = {FROM}, .until = {UNTIL}};

	if (ask == PX_ASK_READ) {
		q.name = four;
		q.n = 4;
	} else if (ask == PX_ASK_POLL || ask == PX_ASK_RENEW || ask == PX_ASK_UNSUBSCRIBE) {
		q.id = ids;
		q.n = ask == PX_ASK_POLL ? 5 : 1;
	}
	return q;
}

/* ---- requests ---- */

static void writes(struct px_query q, const char *method, const char *target, const char *head,
                   const char *body)
{
	struct px_wire w = px_wire_new();

	px_webdav.write(&w, &q);
	assert_false(w.target.failed || w.head.failed || w.body.failed);
	assert_string_equal(w.method, method);
	assert_string_equal(w.target.data, target);
	assert_string_equal(w.head.data ? w.head.data : "", head);
	assert_string_equal(w.body.data ? w.body.data : "", body);
	px_wire_free(&w);
}

#define XML "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
#define XML_HEAD "Content-Type: text/xml; charset=utf-8\r\nBrief: t\r\n"
#define PROPFIND                                                                                   \
	XML "<a:propfind xmlns:a=\"DAV:\" xmlns:d=\"urn:schemas:httpmail:\"><a:prop>"              \
	    "<d:calendar/></a:prop></a:propfind>"

static void requests(void **state)
{
	static const char folder[] = "/exchange/alice/Kalender";
	struct px_query q = query(PX_ASK_LOCATE);

	(void)state;
	writes(q, "PROPFIND", "/exchange/alice@example.test/", "Depth: 0\r\n" XML_HEAD, PROPFIND);
	q.ask = PX_ASK_PROBE;
	q.root = "/exchange2/";
	q.mailbox = "o'ne/ill \xc3\xa4&\"<@example.test";
	writes(q, "PROPFIND", "/exchange2/o%27ne%2Fill%20%C3%A4%26%22%3C@example.test/",
	       "Depth: 0\r\n" XML_HEAD, PROPFIND);

	q = query(PX_ASK_SUBSCRIBE);
	q.folder = folder;
	q.kind = PX_KIND_PULL;
	writes(q, "SUBSCRIBE", folder,
	       "Notification-type: update\r\nDepth: 1\r\nSubscription-lifetime: 3600\r\n", "");
	q.callback = "httpu://192.0.2.1:50020/token";
	writes(q, "SUBSCRIBE", folder,
	       "Notification-type: update\r\nDepth: 1\r\n"
	       "Call-Back: httpu://192.0.2.1:50020/token\r\n"
	       "Subscription-lifetime: 3600\r\n",
	       "");
	/* a renewal says nothing that a new one would */
	q = query(PX_ASK_RENEW);
	q.folder = folder;
	q.callback = "httpu://192.0.2.1:50020/token";
	writes(q, "SUBSCRIBE", folder, "Subscription-id: 15\r\nSubscription-lifetime: 3600\r\n",
	       "");
	q.ask = PX_ASK_UNSUBSCRIBE;
	writes(q, "UNSUBSCRIBE", folder, "Subscription-id: 15\r\n", "");
	q.folder = NULL;
	q = query(PX_ASK_POLL);
	writes(q, "POLL", "/exchange/alice@example.test/", "Subscription-id: 15,16,17,18,19\r\n",
	       "");
	/* what an earlier process left on the board may be anything */
	const char *const odd[] = {"1\r\nEvil: yes", "2", "3,4", "", "5 6"};
	q.id = odd;
	writes(q, "POLL", "/exchange/alice@example.test/", "Subscription-id: 2\r\n", "");

	q = query(PX_ASK_READ_ONE);
	q.folder = "/exchange/o%27x&y/Calendar";
	q.offset = 500;
	writes(q, "SEARCH", "/exchange/o%27x&y/Calendar",
	       "Depth: 1\r\nTranslate: f\r\nRange: rows=500-999\r\n" XML_HEAD,
	       XML
	       "<a:searchrequest xmlns:a=\"DAV:\"><a:sql>SELECT \"urn:schemas:calendar:dtstart\", "
	       "\"urn:schemas:calendar:dtend\", \"urn:schemas:calendar:busystatus\", "
	       "\"urn:schemas:calendar:instancetype\" FROM Scope('SHALLOW TRAVERSAL OF "
	       "\"/exchange/o%27x&amp;y/Calendar\"') WHERE NOT "
	       "\"urn:schemas:calendar:instancetype\" = 1 AND \"DAV:contentclass\" = "
	       "'urn:content-classes:appointment' AND \"urn:schemas:calendar:dtend\" &gt; "
	       "'2026/11/23 08:00:00' AND \"urn:schemas:calendar:dtstart\" &lt; "
	       "'2026/11/23 10:00:00' ORDER BY \"urn:schemas:calendar:dtstart\" ASC"
	       "</a:sql></a:searchrequest>");

	q.ask = PX_ASK_DETAILS;
	q.offset = 0;
	writes(q, "SEARCH", "/exchange/o%27x&y/Calendar",
	       "Depth: 1\r\nTranslate: f\r\nRange: rows=0-499\r\n" XML_HEAD,
	       XML
	       "<a:searchrequest xmlns:a=\"DAV:\"><a:sql>SELECT \"urn:schemas:calendar:dtstart\", "
	       "\"urn:schemas:calendar:dtend\", \"urn:schemas:calendar:busystatus\", "
	       "\"urn:schemas:calendar:instancetype\", \"urn:schemas:httpmail:subject\", "
	       "\"urn:schemas:calendar:location\", "
	       "\"http://schemas.microsoft.com/exchange/sensitivity\" FROM Scope('SHALLOW "
	       "TRAVERSAL OF "
	       "\"/exchange/o%27x&amp;y/Calendar\"') WHERE NOT "
	       "\"urn:schemas:calendar:instancetype\" = 1 AND \"DAV:contentclass\" = "
	       "'urn:content-classes:appointment' AND \"urn:schemas:calendar:dtend\" &gt; "
	       "'2026/11/23 08:00:00' AND \"urn:schemas:calendar:dtstart\" &lt; "
	       "'2026/11/23 10:00:00' ORDER BY \"urn:schemas:calendar:dtstart\" ASC"
	       "</a:sql></a:searchrequest>");

	q = query(PX_ASK_READ);
	q.from.ms += 60000; /* whole slots */
	q.until.ms -= 60000;
	q.n = 2;
	writes(
	    q, "GET",
	    "/public/?Cmd=freebusy&start=2026-11-23T08:00:00Z&end=2026-11-23T10:00:00Z&interval=15"
	    "&u=SMTP:alice@example.test&u=SMTP:bob@example.test",
	    "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)\r\n", "");
}

static void paths(void **state)
{
	static const struct {
		const char *url, *path; /* NULL: refused */
	} row[] = {
	    {"https://SERVER01/exchange/local/Calendar", "/exchange/local/Calendar"},
	    {"http://server01:8080/exchange/local/Calendar/", "/exchange/local/Calendar/"},
	    {" \n/exchange/a/Kalender ", "/exchange/a/Kalender"},
	    {"https://s/exchange/a/\xe4\xba\x88\xe5\xae\x9a", "/exchange/a/%E4%BA%88%E5%AE%9A"},
	    {"https://s/a%20b'c\"d<e>", "/a%20b%27c%22d%3Ce%3E"},
	    {"https://s/a?b=c", "/a"},
	    {"https://s/a#b", "/a"},
	    {"https://s", NULL},
	    {"", NULL},
	    {"Calendar", NULL},
	    {"https://s/a%2", NULL},
	    {"https://s/a%zz", NULL},
	    {"https://s/a%00b", NULL},
	    {"https://s/a\r\nEvil: yes", NULL},
	};
	char out[PX_WEBDAV_FOLDER_MAX + 1], far[PX_WEBDAV_FOLDER_MAX + 2];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		assert_int_equal(px_webdav_path(row[i].url, strlen(row[i].url), out),
		                 row[i].path ? 0 : -EINVAL);
		if (row[i].path)
			assert_string_equal(out, row[i].path);
	}
	memset(far, '/', sizeof far);
	assert_int_equal(px_webdav_path(far, sizeof far - 2, out), 0);
	assert_int_equal(px_webdav_path(far, sizeof far - 1, out), -EINVAL);
	far[sizeof far - 3] = '\'';
	assert_int_equal(px_webdav_path(far, sizeof far - 2, out), -EINVAL);
}

/* ---- answers ---- */

struct heard {
	struct px_buf items; /* one line each */
	struct px_reply reply;
};

static void said(void *arg, const struct px_item *item)
{
	struct px_buf *b = &((struct heard *)arg)->items;
	char a[PX_WALL_TEXT], z[PX_WALL_TEXT];

	switch (item->kind) {
	case PX_ITEM_CALENDAR:
		px_buf_printf(b, "calendar %zu%s\n", item->index, item->details ? " details" : "");
		for (size_t i = 0; i < item->n; i++)
			px_buf_printf(b, "  %.5s %.5s %s\n",
			              px_wall_text(item->interval[i].start, a) + 11,
			              px_wall_text(item->interval[i].end, z) + 11,
			              px_status_name(item->interval[i].status));
		break;
	case PX_ITEM_MEETING:
		px_buf_printf(b, "%.5s%s [%s] [%s]\n",
		              px_wall_text(item->meeting->when.start, a) + 11,
		              item->meeting->hidden ? " hidden" : "", item->meeting->subject,
		              item->meeting->place);
		break;
	case PX_ITEM_REFUSED:
		px_buf_printf(b, "refused %zu %s %s\n", item->index, px_verdict_name(item->verdict),
		              item->code);
		break;
	case PX_ITEM_FOLDER:
		px_buf_printf(b, "folder %s\n", item->id);
		break;
	case PX_ITEM_SUBSCRIBED:
		px_buf_printf(b, "subscribed %s %u\n", item->id ? item->id : "(null)",
		              item->lifetime_s);
		break;
	case PX_ITEM_CHANGED:
		px_buf_printf(b, "changed %s\n", item->id ? item->id : "(null)");
		break;
	case PX_ITEM_ALIVE:
		px_buf_printf(b, "alive %s\n", item->id);
		break;
	case PX_ITEM_GONE:
		px_buf_printf(b, "gone %s\n", item->id);
		break;
	case PX_ITEM_MORE:
		px_buf_printf(b, "more %zu\n", item->n);
		break;
	case PX_ITEM_CLOSED:
	case PX_ITEM_OOF:
	case PX_ITEMS:
		fail();
	}
}

/* Feeds pieces [0, cut), [cut, n), each in memory of its own so that ASan sees its ends. */
static struct heard hear_cut(const struct px_query *q, const char *bytes, size_t n, size_t cut,
                             const struct px_http_answer *a)
{
	struct heard h = {.items = px_buf_new(1 << 24)};
	struct px_parse *p = px_webdav.parse_new(q, said, &h);

	assert_non_null(p);
	for (int i = 0; i < 2; i++) {
		size_t len = i ? n - cut : cut;
		char *copy = malloc(len ? len : 1);

		memcpy(copy, bytes + (i ? cut : 0), len);
		if (len)
			px_webdav.feed(p, copy, len);
		free(copy);
	}
	px_webdav.done(p, a, &h.reply);
	px_webdav.parse_free(p);
	assert_true(h.reply.verdict < PX_VERDICTS);
	assert_true(h.reply.verdict == PX_V_OK || h.reply.code[0]);
	return h;
}

static const struct px_http_answer multi = {
    .status = 207, .retry_after_ms = -1, .type = "text/xml"};

static void is(struct heard h, enum px_verdict verdict, const char *code, const char *items)
{
	assert_string_equal(h.reply.code, code);
	assert_int_equal(h.reply.verdict, verdict);
	if (items)
		assert_string_equal(h.items.data ? h.items.data : "", items);
	px_buf_free(&h.items);
}

static void hear(enum px_ask ask, const char *text, const struct px_http_answer *a,
                 enum px_verdict verdict, const char *code, const char *items)
{
	struct px_query q = query(ask);

	is(hear_cut(&q, text, strlen(text), 0, a), verdict, code, items);
}

static const struct sample {
	const char *name;
	enum px_ask ask;
	enum px_verdict verdict;
	const char *code, *items;
} sample[] = {
    {"answers/locate", PX_ASK_LOCATE, PX_V_OK, "",
     "folder /exchange/alice/%E4%BA%88%E5%AE%9A%E8%A1%A8%20o%27x\n"},
    {"answers/locate", PX_ASK_PROBE, PX_V_OK, "",
     "folder /exchange/alice/%E4%BA%88%E5%AE%9A%E8%A1%A8%20o%27x\n"},
    {"answers/locate_none", PX_ASK_LOCATE, PX_V_USER, "no calendar", ""},
    {"answers/search", PX_ASK_READ_ONE, PX_V_OK, "",
     "calendar 0\n  08:00 08:30 busy\n  09:00 09:30 oof\n  09:30 09:45 tentative\n"},
    {"answers/poll", PX_ASK_POLL, PX_V_OK, "", "changed 15\nchanged 17\nalive 16\ngone 18\n"},
    {"answers/freebusy", PX_ASK_READ, PX_V_OK, "",
     "calendar 1\n  08:30 09:00 busy\n  09:00 09:15 oof\n  09:15 09:30 tentative\n"
     "  09:30 09:45 nodata\ncalendar 0\nrefused 2 user no free/busy\nrefused 3 user no "
     "free/busy\n"},
    /* as published */
    {"propfind-calendar", PX_ASK_LOCATE, PX_V_OK, "", "folder /exchange/local/Calendar\n"},
    {"propfind-missing", PX_ASK_LOCATE, PX_V_USER, "no calendar", ""},
    {"poll", PX_ASK_POLL, PX_V_OK, "", "changed 15\nalive 16\n"},
    {"subscription-renewed", PX_ASK_RENEW, PX_V_OK, "", "subscribed 21 3600\n"},
    {"search-item", PX_ASK_READ_ONE, PX_V_TRANSIENT, "broken answer", ""},
    {"freebusy", PX_ASK_READ, PX_V_OK, "",
     "calendar 0\n  14:30 15:00 busy\n  16:00 17:30 busy\n"
     "calendar 1\n  09:30 10:30 busy\n  14:15 15:15 tentative\n  16:00 17:30 nodata\n"},
};

static struct px_buf body[COUNT(sample)];

static int load(void **state)
{
	char path[256], part[65536];

	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++) {
		snprintf(path, sizeof path, FIXTURES "%s.xml", sample[i].name);
		FILE *f = fopen(path, "rb");
		if (!f)
			return -1;
		body[i] = px_buf_new(1 << 20);
		px_buf_add(&body[i], part, fread(part, 1, sizeof part, f));
		fclose(f);
		while (body[i].data[body[i].len - 1] == '\n') /* so that the last byte counts */
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

static struct px_query query_of(const struct sample *s)
{
	struct px_query q = query(s->ask);

	if (strcmp(s->name, "freebusy") == 0) {
		q.name = two;
		q.n = COUNT(two);
	}
	return q;
}

static void samples_are_read_however_they_are_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++) {
		struct px_query q = query_of(&sample[i]);

		for (size_t cut = 0; cut <= body[i].len; cut++)
			is(hear_cut(&q, body[i].data, body[i].len, cut, &multi), sample[i].verdict,
			   sample[i].code, sample[i].items);
	}
}

static void prefixes_are_not_believed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sample); i++) {
		struct px_query q = query_of(&sample[i]);

		for (size_t n = 0; n < body[i].len; n++) {
			struct heard h = hear_cut(&q, body[i].data, n, 0, &multi);

			/* what is wrong with it may show before its end */
			if (sample[i].verdict == PX_V_OK ||
			    strcmp(h.reply.code, sample[i].code) != 0)
				assert_string_equal(h.reply.code, "cut");
			assert_int_equal(h.reply.verdict, PX_V_TRANSIENT);
			px_buf_free(&h.items);
		}
	}
}

static void mutations_do_no_harm(void **state)
{
	static const char *const word[] = {
	    "<",   "/>",        "&",          "]]>",          "<!DOCTYPE a>", "\xff", "200",
	    "404", "HTTP/1.1 ", "1601-01-01", "999999999999", "%zz",          "<li>"};
	char *copy;

	(void)state;
	srand(5);
	for (int i = 0; i < 20000; i++) {
		size_t k = (size_t)rand() % COUNT(sample), n = body[k].len;
		struct px_query q =
		    query(sample[rand() % 4 ? k : (size_t)rand() % COUNT(sample)].ask);

		copy = malloc(n);
		memcpy(copy, body[k].data, n);
		for (int times = 1 + rand() % 4; times > 0; times--) {
			const char *w = word[(size_t)rand() % COUNT(word)];
			size_t at = (size_t)rand() % n;

			if (rand() % 2)
				copy[at] = (char)rand();
			else if (at + strlen(w) <= n)
				memcpy(copy + at, w, strlen(w));
		}
		struct heard h = hear_cut(&q, copy, n, (size_t)rand() % n, &multi);

		px_buf_free(&h.items);
		free(copy);
	}
}

/* The table, row by row. */
static void every_status_has_its_verdict(void **state)
{
	static const enum px_ask asks[] = {PX_ASK_LOCATE, PX_ASK_SUBSCRIBE,   PX_ASK_RENEW,
	                                   PX_ASK_POLL,   PX_ASK_UNSUBSCRIBE, PX_ASK_READ_ONE,
	                                   PX_ASK_READ,   PX_ASK_PROBE};
	static const struct {
		int status;
		enum px_verdict verdict[COUNT(asks)]; /* in that order */
	} row[] = {
#define ALL(v) {v, v, v, v, v, v, v, v}
	    {301, ALL(PX_V_SERVER)},
	    {302, ALL(PX_V_SERVER)},
	    {400,
	     {PX_V_TRANSIENT, PX_V_LOST, PX_V_LOST, PX_V_LOST, PX_V_TRANSIENT, PX_V_TRANSIENT,
	      PX_V_TRANSIENT, PX_V_TRANSIENT}},
	    {401, ALL(PX_V_DENIED)},
	    {403,
	     {PX_V_USER, PX_V_USER, PX_V_USER, PX_V_USER, PX_V_USER, PX_V_UNREADABLE, PX_V_USER,
	      PX_V_USER}},
	    {404,
	     {PX_V_USER, PX_V_LOST, PX_V_LOST, PX_V_LOST, PX_V_LOST, PX_V_LOST, PX_V_USER,
	      PX_V_USER}},
	    {405, ALL(PX_V_SERVER)},
	    {410, ALL(PX_V_LOST)},
	    {412, ALL(PX_V_LOST)},
	    {415, ALL(PX_V_TRANSIENT)},
	    {422, ALL(PX_V_TRANSIENT)},
	    {429, ALL(PX_V_BUSY)},
	    {440, ALL(PX_V_SERVER)},
	    {500, ALL(PX_V_TRANSIENT)},
	    {501, ALL(PX_V_SERVER)},
	    {502, ALL(PX_V_TRANSIENT)},
	    {503, ALL(PX_V_BUSY)},
	    {504, ALL(PX_V_TRANSIENT)},
	    {507, ALL(PX_V_TRANSIENT)},
	};
	char code[32];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++)
		for (size_t k = 0; k < COUNT(asks); k++) {
			struct px_http_answer a = {.status = row[i].status,
			                           .retry_after_ms = 7000,
			                           .type = "text/html",
			                           .asks_login = true};
			struct px_query q = query(asks[k]);
			struct heard h = hear_cut(&q, "<html>", 6, 0, &a);

			assert_int_equal(h.reply.backoff_ms, 7000);
			snprintf(code, sizeof code, "HTTP %d", row[i].status);
			is(h, row[i].verdict[k], code, "");
		}
	for (size_t i = 0; i < px_webdav_rows; i++) {
		if (i)
			assert_true(strcmp(px_webdav_table[i - 1].code, px_webdav_table[i].code) <
			            0);
		assert_ptr_equal(
		    px_meaning_of(px_webdav_table, px_webdav_rows, px_webdav_table[i].code),
		    &px_webdav_table[i]);
	}
}

static void no_answer(void **state)
{
	static const struct {
		enum px_http_fail fail;
		enum px_verdict verdict;
		const char *code;
	} row[] = {
	    {PX_HTTP_RESOLVE, PX_V_SERVER, "resolve"}, {PX_HTTP_CONNECT, PX_V_SERVER, "connect"},
	    {PX_HTTP_TLS, PX_V_SERVER, "tls"},         {PX_HTTP_TIMEOUT, PX_V_SERVER, "timeout"},
	    {PX_HTTP_CUT, PX_V_TRANSIENT, "cut"},      {PX_HTTP_TOO_BIG, PX_V_TRANSIENT, "too big"},
	    {PX_HTTP_LOCAL, PX_V_TRANSIENT, "local"}};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct px_http_answer a = {
		    .fail = row[i].fail, .retry_after_ms = -1, .detail = "it said \x1b[31mno\n"};
		struct px_query q = query(PX_ASK_POLL);
		struct heard h = hear_cut(&q, "", 0, 0, &a);

		assert_string_equal(h.reply.detail, "it said [31mno");
		is(h, row[i].verdict, row[i].code, "");
	}
}

static void subscriptions(void **state)
{
	struct px_http_answer a = {.status = 200, .retry_after_ms = -1};
	static const struct {
		const char *head;
		enum px_verdict verdict;
		const char *items;
	} row[] = {
	    {"Subscription-id: 21\nSubscription-lifetime: 1800\n", PX_V_OK, "subscribed 21 1800\n"},
	    {"subscription-ID:\t21 \nMS-WebStorage: 08.01.10240\n", PX_V_OK,
	     "subscribed 21 3600\n"},
	    {"Subscription-id: 21\nSubscription-lifetime: 99999999999\n", PX_V_OK,
	     "subscribed 21 3600\n"},
	    {"Subscription-id: 21\nSubscription-lifetime: -1\n", PX_V_OK, "subscribed 21 3600\n"},
	    {"Subscription-id: 21\nSubscription-lifetime: 0\n", PX_V_OK, "subscribed 21 3600\n"},
	    {"Subscription-id: 1,2\n", PX_V_LOST, ""},
	    {"Subscription-id:\n", PX_V_LOST, ""},
	    {"Subscription-idx: 1\n", PX_V_LOST, ""},
	    {NULL, PX_V_LOST, ""},
	};

	struct px_query one = query(PX_ASK_RENEW);

	(void)state;
	one.n = 1;
	for (size_t i = 0; i < COUNT(row); i++) {
		a.head = row[i].head;
		hear(PX_ASK_SUBSCRIBE, "", &a, row[i].verdict,
		     row[i].verdict == PX_V_OK ? "" : "bad subscription id", row[i].items);
		/* where one alone is renewed it needn't be named */
		if (!row[i].head || strstr(row[i].head, "id:\n") || strstr(row[i].head, "idx"))
			is(hear_cut(&one, "", 0, 0, &a), PX_V_OK, "", "subscribed (null) 3600\n");
		else
			hear(PX_ASK_RENEW, "", &a, row[i].verdict,
			     row[i].verdict == PX_V_OK ? "" : "bad subscription id", row[i].items);
	}
	a = multi;
	a.head = "Subscription-lifetime: 900\n";
#define RENEWED(status)                                                                            \
	"<a:multistatus xmlns:a='DAV:' xmlns:b='http://schemas.microsoft.com/Exchange/'>"          \
	"<a:response><a:status>HTTP/1.1 " status "</a:status><b:subscriptionID><li>15</li>"        \
	"</b:subscriptionID></a:response></a:multistatus>"
	hear(PX_ASK_RENEW, RENEWED("200 OK"), &a, PX_V_OK, "", "subscribed 15 900\n");
	hear(PX_ASK_RENEW, RENEWED("412 Precondition Failed"), &a, PX_V_OK, "", "gone 15\n");
	hear(PX_ASK_POLL, RENEWED("404 Not Found"), &a, PX_V_OK, "", "gone 15\n");
	hear(PX_ASK_POLL, RENEWED("401 Unauthorized"), &a, PX_V_OK, "", "gone 15\n");
	hear(PX_ASK_POLL, RENEWED("500 What"), &a, PX_V_OK, "", "");
	hear(PX_ASK_POLL, RENEWED("what"), &a, PX_V_OK, "", "");
	a = (struct px_http_answer){.status = 204, .retry_after_ms = -1};
	hear(PX_ASK_POLL, "", &a, PX_V_OK, "", "");
}

#define ROW                                                                                        \
	"<a:response><a:propstat><a:status>HTTP/1.1 200 OK</a:status><a:prop>"                     \
	"<d:dtstart>2026-11-23T08:00:00Z</d:dtstart><d:dtend>2026-11-23T09:00:00Z</d:dtend>"       \
	"</a:prop></a:propstat></a:response>"
#define ROWS(rows)                                                                                 \
	"<a:multistatus xmlns:a='DAV:' xmlns:d='urn:schemas:calendar:'>" rows "</a:multistatus>"
#define REFUSED(status)                                                                            \
	"<a:response><a:href>x</a:href><a:status>HTTP/1.1 " status "</a:status></a:response>"

static void calendars(void **state)
{
	struct px_http_answer a = multi;

	(void)state;
	hear(PX_ASK_READ_ONE, ROWS(""), &a, PX_V_OK, "", "calendar 0\n");
	/* without a status it is Busy, as meetings are */
	hear(PX_ASK_READ_ONE, ROWS(ROW), &a, PX_V_OK, "", "calendar 0\n  08:00 09:00 busy\n");
	a.head = "Content-Range: rows 0-0; total=2\n";
	hear(PX_ASK_READ_ONE, ROWS(ROW), &a, PX_V_OK, "",
	     "calendar 0\n  08:00 09:00 busy\nmore 1\n");
	hear(PX_ASK_READ_ONE, ROWS(ROW ROW), &a, PX_V_OK, "",
	     "calendar 0\n  08:00 09:00 busy\n  08:00 09:00 busy\n");
	hear(PX_ASK_READ_ONE, ROWS(""), &a, PX_V_OK, "",
	     "calendar 0\n"); /* no turning in circles */
	/* what they are about; each for itself; what isn't plainly normal is private */
#define ABOUT(props)                                                                               \
	"<a:response><a:propstat><a:status>HTTP/1.1 200 OK</a:status><a:prop>"                     \
	"<d:dtstart>2026-11-23T08:00:00Z</d:dtstart><d:dtend>2026-11-23T09:00:00Z</d:dtend>" props \
	"</a:prop></a:propstat></a:response>"
	static const char about[] =
	    "<a:multistatus xmlns:a='DAV:' xmlns:d='urn:schemas:calendar:' "
	    "xmlns:e='urn:schemas:httpmail:' "
	    "xmlns:f='http://schemas.microsoft.com/exchange/'>" ABOUT(
	        "<e:subject>Budget &amp;\nplan</e:subject><d:location>Room 5</d:location>"
	        "<f:sensitivity>0</f:sensitivity>") ABOUT("<e:subject>Doctor</e:subject>"
	                                                  "<f:sensitivity>2</f:sensitivity>")
	        ABOUT("") "</a:multistatus>";
	static const char told[] =
	    "08:00 [Budget & plan] [Room 5]\n08:00 hidden [Doctor] []\n08:00 [] []\n"
	    "calendar 0 details\n  08:00 09:00 busy\n  08:00 09:00 busy\n  08:00 09:00 busy\n";
	struct px_query q = query(PX_ASK_READ_ONE);

	hear(PX_ASK_DETAILS, about, &a, PX_V_OK, "", told);
	q.meetings = true;
	is(hear_cut(&q, about, strlen(about), 0, &a), PX_V_OK, "", told);
	hear(PX_ASK_READ_ONE, about, &a, PX_V_OK, "",
	     "calendar 0\n  08:00 09:00 busy\n  08:00 09:00 busy\n  08:00 09:00 busy\n");
	a.head = NULL;
	hear(PX_ASK_READ_ONE,
	     ROWS("<a:response><a:propstat><a:prop><d:dtend>x</d:dtend></a:prop>"
	          "</a:propstat></a:response>"),
	     &a, PX_V_TRANSIENT, "broken answer", "");
	/* without Brief what a resource hasn't is named, too: before what it has, or behind */
#define LACKS                                                                                      \
	"<a:propstat><a:prop><d:busystatus/><d:instancetype/></a:prop>"                            \
	"<a:status>HTTP/1.1 404 Resource Not Found</a:status></a:propstat>"
#define HAS                                                                                        \
	"<a:propstat><a:prop><d:dtstart>2026-11-23T08:00:00Z</d:dtstart>"                          \
	"<d:dtend>2026-11-23T09:00:00Z</d:dtend></a:prop><a:status>HTTP/1.1 200 OK</a:status>"     \
	"</a:propstat>"
	hear(PX_ASK_READ_ONE, ROWS("<a:response>" HAS LACKS "</a:response>"), &a, PX_V_OK, "",
	     "calendar 0\n  08:00 09:00 busy\n");
	hear(PX_ASK_READ_ONE, ROWS("<a:response>" LACKS HAS "</a:response>"), &a, PX_V_OK, "",
	     "calendar 0\n  08:00 09:00 busy\n");
	hear(PX_ASK_READ_ONE, ROWS(REFUSED("403 Forbidden")), &a, PX_V_UNREADABLE, "HTTP 403", "");
	hear(PX_ASK_LOCATE, ROWS(REFUSED("403 Forbidden")), &a, PX_V_USER, "HTTP 403", "");
	hear(PX_ASK_LOCATE, ROWS(""), &a, PX_V_TRANSIENT, "broken answer", "");
	hear(
	    PX_ASK_LOCATE,
	    "<a:multistatus xmlns:a='DAV:' xmlns:d='urn:schemas:httpmail:'><a:response><a:propstat>"
	    "<a:prop><d:calendar>Calendar</d:calendar></a:prop></a:propstat></a:response>"
	    "</a:multistatus>",
	    &a, PX_V_TRANSIENT, "broken answer", "");
}

#define FB(items) "<a:response xmlns:a='WM'><a:recipients>" items "</a:recipients></a:response>"
#define ITEM(who, digits)                                                                          \
	"<a:item><a:email type='SMTP'>" who "</a:email><a:fbdata>" digits "</a:fbdata></a:item>"

static void free_busy(void **state)
{
	(void)state;
	hear(PX_ASK_READ, FB(ITEM("alice@example.test", "0022")), &multi, PX_V_TRANSIENT,
	     "broken answer", "");
	hear(PX_ASK_READ, FB(ITEM("alice@example.test", "0022x000")), &multi, PX_V_TRANSIENT,
	     "broken answer", "");
	hear(PX_ASK_READ, FB(ITEM("eve@example.test", "00220000")), &multi, PX_V_TRANSIENT,
	     "broken answer", "");
	hear(PX_ASK_READ, FB(ITEM("alice@example.test", "")), &multi, PX_V_OK, "",
	     "refused 0 user no free/busy\nrefused 1 user no free/busy\n"
	     "refused 2 user no free/busy\nrefused 3 user no free/busy\n");
}

static void what_else_may_answer(void **state)
{
	struct px_http_answer a = {.status = 200, .retry_after_ms = -1, .type = "text/html"};
	struct px_query q = query(PX_ASK_LOCATE);
	struct heard h;

	(void)state;
	hear(PX_ASK_LOCATE, "<html>", &a, PX_V_SERVER, "not WebDAV", "");
	a.type = NULL;
	hear(PX_ASK_LOCATE, "<!DOCTYPE html><html>", &a, PX_V_SERVER, "not WebDAV", "");
	hear(PX_ASK_LOCATE, "<html></html>", &a, PX_V_SERVER, "not WebDAV", "");
	hear(PX_ASK_LOCATE, "nonsense", &a, PX_V_TRANSIENT, "broken XML", "");
	hear(PX_ASK_READ, ROWS(""), &multi, PX_V_SERVER, "not WebDAV", "");
	hear(PX_ASK_POLL,
	     "<a:multistatus xmlns:a='DAV:'><a:response><a:status>HTTP/1.1 200 OK</a:status>"
	     "<subscriptionID><li>1</li><li>2</li><li>3</li><li>4</li><li>5</li><li>6</li>"
	     "</subscriptionID></a:response></a:multistatus>",
	     &multi, PX_V_TRANSIENT, "broken answer", "");

	/* servers that have no WebDAV any more */
	a = (struct px_http_answer){
	    .status = 405, .retry_after_ms = -1, .head = "X-OWA-Version: 14.3.123.3\n"};
	h = hear_cut(&q, "", 0, 0, &a);
	assert_string_equal(h.reply.server, "Exchange 14.3.123");
	assert_string_equal(h.reply.detail, "this server has no WebDAV any more: give type=ews: "
	                                    "Exchange 14.3.123");
	is(h, PX_V_SERVER, "Exchange 2010", "");
	a.status = 302;
	hear(PX_ASK_LOCATE, "", &a, PX_V_SERVER, "Exchange 2010", "");
	/* one mailbox that lives elsewhere is no reason to leave all others there */
	a.head = "Location: https://exbe2.example.test/exchange/alice@example.test/\n";
	hear(PX_ASK_LOCATE, "", &a, PX_V_USER, "HTTP 302", "");
	hear(PX_ASK_SUBSCRIBE, "", &a, PX_V_USER, "HTTP 302", "");
	hear(PX_ASK_READ_ONE, "", &a, PX_V_UNREADABLE, "HTTP 302", "");
	a.head = "Location: https://owa2.example.test/exchange/\n";
	hear(PX_ASK_LOCATE, "", &a, PX_V_SERVER, "HTTP 302", "");
	a.head = "Location: https://owa.example.test/owa/auth/logon.aspx?url=/exchange/alice\n";
	hear(PX_ASK_LOCATE, "", &a, PX_V_SERVER, "HTTP 302", "");
	a.head = NULL;
	a.status = 401;
	hear(PX_ASK_LOCATE, "", &a, PX_V_USER, "HTTP 401",
	     ""); /* logged in, but not for this mailbox */
	hear(PX_ASK_READ_ONE, "", &a, PX_V_UNREADABLE, "HTTP 401", "");
	a.asks_login = true; /* the login first */
	hear(PX_ASK_LOCATE, "", &a, PX_V_DENIED, "HTTP 401", "");
	a = multi;
	a.head = "MS-WebStorage: 06.05.7638\n";
	h = hear_cut(&q, body[0].data, body[0].len, 0, &a);
	assert_string_equal(h.reply.server, "Exchange 6.5.7638");
	is(h, PX_V_OK, "", NULL);
	a.head = "MS-WebStorage: 08.01.10240\n";
	h = hear_cut(&q, body[0].data, body[0].len, 0, &a);
	assert_string_equal(h.reply.server, "Exchange 8.1.10240");
	is(h, PX_V_OK, "", NULL);
	a.head = "MS-WebStorage: \x1b[31m\n";
	h = hear_cut(&q, body[0].data, body[0].len, 0, &a);
	assert_string_equal(h.reply.server, "");
	is(h, PX_V_OK, "", NULL);
}

static void ceilings(void **state)
{
	struct px_buf b = px_buf_new(1 << 23);
	struct px_query q = query(PX_ASK_READ_ONE);

	(void)state;
	px_buf_str(&b, "<a:multistatus xmlns:a='DAV:' xmlns:d='urn:schemas:calendar:'>");
	for (int i = 0; i < PX_INTERVALS_MAX; i++)
		px_buf_str(&b, ROW);
	px_buf_str(&b, ROW "</a:multistatus>");
	is(hear_cut(&q, b.data, b.len, 0, &multi), PX_V_TRANSIENT, "broken answer", "");
	q = query(PX_ASK_LOCATE);
	is(hear_cut(&q, b.data, b.len, 0, &multi), PX_V_TRANSIENT, "too big", "");
	px_buf_free(&b);
}

static void notifications(void **state)
{
	static const struct {
		const char *ids;
		int n;
		const char *items;
	} row[] = {
	    {"15", 1, "changed 15\n"},   {"15,16 ,\t17", 3, "changed 15\nchanged 16\nchanged 17\n"},
	    {"", 1, "changed (null)\n"}, {",", -EBADMSG, ""},
	    {"15,,16", -EBADMSG, ""},    {"1\n5", -EBADMSG, ""}};

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct heard h = {.items = px_buf_new(4096)};
		size_t n = strlen(row[i].ids);
		char *copy = malloc(n ? n : 1);

		memcpy(copy, row[i].ids, n);
		assert_int_equal(px_webdav.notified(copy, n, said, &h), row[i].n);
		assert_string_equal(h.items.data ? h.items.data : "", row[i].items);
		px_buf_free(&h.items);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(requests),
	    cmocka_unit_test(paths),
	    cmocka_unit_test(samples_are_read_however_they_are_cut),
	    cmocka_unit_test(prefixes_are_not_believed),
	    cmocka_unit_test(mutations_do_no_harm),
	    cmocka_unit_test(every_status_has_its_verdict),
	    cmocka_unit_test(no_answer),
	    cmocka_unit_test(subscriptions),
	    cmocka_unit_test(calendars),
	    cmocka_unit_test(free_busy),
	    cmocka_unit_test(what_else_may_answer),
	    cmocka_unit_test(ceilings),
	    cmocka_unit_test(notifications),
	};

	return cmocka_run_group_tests(tests, load, unload);
}
