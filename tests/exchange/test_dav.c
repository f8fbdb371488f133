/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PROPFIND, SEARCH and what else the store answers over WebDAV, and what it refuses. */
#include "dav_world.h"
#include "davsql.h"
#include "oracle.h"

#define PROPFIND(inside)                                                                           \
	"<?xml version=\"1.0\"?><a:propfind xmlns:a=\"DAV:\" "                                     \
	"xmlns:d=\"urn:schemas:httpmail:\">" inside "</a:propfind>"
#define SEARCH(sql)                                                                                \
	"<?xml version=\"1.0\"?><g:searchrequest xmlns:g=\"DAV:\"><g:sql>" sql                     \
	"</g:sql></g:searchrequest>"
#define C(name) "\"urn:schemas:calendar:" name "\""
#define FROM " FROM Scope('SHALLOW TRAVERSAL OF \"/exchange/user1/Calendar/\"') "
#define SELECT                                                                                     \
	"SELECT " C("dtstart") "," C("dtend") "," C("busystatus") "," C("instancetype") "," C(     \
	    "alldayevent") FROM
#define BETWEEN(from, to) C("dtend") " &gt; '" from "' AND " C("dtstart") " &lt; '" to "'"
#define NOT_MASTERS                                                                                \
	"WHERE NOT " C("instancetype") " = 1 AND \"DAV:contentclass\" = "                          \
	                               "'urn:content-classes:appointment' AND "
#define ORDER " ORDER BY " C("dtstart") " ASC"

static unsigned propfind(struct world *w, const char *path, const char *depth, const char *brief,
                         const char *body)
{
	return asked(w, (struct dav_ask){.method = "PROPFIND",
	                                 .path = path,
	                                 .depth = depth,
	                                 .brief = brief,
	                                 .content_type = body ? "text/xml" : NULL,
	                                 .body = body});
}

static unsigned search(struct world *w, const char *range, const char *body)
{
	return asked(w, (struct dav_ask){.method = "SEARCH",
	                                 .path = "/exchange/user1/Calendar/",
	                                 .brief = "t",
	                                 .range = range,
	                                 .content_type = "text/xml",
	                                 .body = body});
}

static void the_calendar_is_found(void **state)
{
	static const char *const paths[] = {"Calendar", "Kalender", "Calendrier",
	                                    "%E4%BA%88%E5%AE%9A%E8%A1%A8"};
	struct world *w = *state;
	char want[200];

	for (int l = 0; l < LANGUAGE_COUNT; l++) {
		user(w, 2)->language = (uint8_t)l;
		assert_int_equal(propfind(w, "/exchange/user2@example.test/", "0", "t",
		                          PROPFIND("<a:prop><d:calendar/></a:prop>")),
		                 207);
		snprintf(want, sizeof want,
		         "https://owa.example.test/exchange/user2@example.test/%s", paths[l]);
		assert_string_equal(found(w, "//H:calendar"), want);
		assert_string_equal(found(w, "//D:response/D:href"),
		                    "https://owa.example.test/exchange/user2@example.test/");
	}
	assert_non_null(strstr(w->a.head.p, "MS-WebStorage: 06.05"));
	/* by alias, and from a back end that calls itself otherwise */
	w->dav.back_end_urls = true;
	w->dav.version = OWA_2007;
	assert_int_equal(
	    propfind(w, "/EXCHANGE/User1", "0", NULL, PROPFIND("<a:prop><d:calendar/></a:prop>")),
	    207);
	assert_string_equal(found(w, "//H:calendar"),
	                    "http://exbe1.internal.test/exchange/User1/Calendar");
	assert_non_null(strstr(w->a.head.p, "MS-WebStorage: 08."));
}

static void brief_leaves_out_what_is_missing(void **state)
{
	static const char body[] =
	    PROPFIND("<a:prop><d:calendar/><d:nothing/><a:displayname/></a:prop>");
	struct world *w = *state;

	assert_int_equal(propfind(w, "/exchange/user1/Inbox/", "0", NULL, body), 207);
	assert_string_equal(found(w, "string(//D:propstat[D:prop/D:displayname]/D:status)"),
	                    "HTTP/1.1 200 OK");
	assert_string_equal(found(w, "string(//D:propstat[D:prop/H:nothing]/D:status)"),
	                    "HTTP/1.1 404 Resource Not Found");
	assert_string_equal(found(w, "count(//H:calendar)"), "1");
	assert_int_equal(propfind(w, "/exchange/user1/Inbox/", "0", "t", body), 207);
	assert_string_equal(found(w, "count(//D:propstat)"), "1");
	assert_string_equal(found(w, "count(//H:nothing | //H:calendar)"), "0");
}

static void depth_says_how_far(void **state)
{
	struct world *w = *state;

	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	assert_int_equal(propfind(w, "/exchange/user1", "0", NULL, NULL), 207);
	assert_string_equal(found(w, "count(//D:response)"), "1");
	assert_int_equal(propfind(w, "/exchange/user1", "1", NULL, NULL), 207);
	assert_string_equal(found(w, "count(//D:response)"), "11");
	assert_int_equal(propfind(w, "/exchange/user1", "1,noroot", NULL, NULL), 207);
	assert_string_equal(found(w, "count(//D:response)"), "10");
	assert_int_equal(propfind(w, "/exchange/user1", NULL, NULL, NULL), 207);
	assert_string_equal(found(w, "count(//D:response)"), "12");
	assert_int_equal(
	    propfind(w, "/exchange/user1/Calendar", "1,noroot", NULL, PROPFIND("<a:propname/>")),
	    207);
	assert_string_equal(found(w, "count(//D:response)"), "1");
	assert_string_equal(found(w, "string(//C:dtstart)"), "");
	assert_int_equal(propfind(w, "/exchange/user1", "2", NULL, NULL), 400);
	assert_int_equal(propfind(w, "/exchange/user1", "", NULL, NULL), 400);
}

static void wrong_propfinds_are_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(propfind(w, "/exchange/nobody/", "0", NULL, NULL), 404);
	assert_int_equal(propfind(w, "/exchange/user1@other.test/", "0", NULL, NULL), 404);
	assert_int_equal(propfind(w, "/exchange/user1/Kalender", "0", NULL, NULL), 404);
	assert_int_equal(propfind(w, "/exchange/user1/Calendar/x.EML", "0", NULL, NULL), 404);
	assert_int_equal(propfind(w, "/exchange/", "0", NULL, NULL), 404);
	assert_int_equal(propfind(w, "/elsewhere/user1/", "0", NULL, NULL), 404);
	assert_int_equal(propfind(w, "/exchange/user1", "0", NULL, "<a:propfind xmlns:a=\"DAV:\">"),
	                 400);
	assert_int_equal(propfind(w, "/exchange/user1", "0", NULL, PROPFIND("<a:prop/>")), 400);
	assert_int_equal(
	    propfind(w, "/exchange/user1", "0", NULL, PROPFIND("<d:prop><d:calendar/></d:prop>")),
	    400);
	assert_int_equal(propfind(w, "/exchange/user1", "0", NULL,
	                          "<propfind><prop><calendar/></prop></propfind>"),
	                 400);
	assert_int_equal(asked(w, (struct dav_ask){.method = "PROPFIND",
	                                           .path = "/exchange/user1",
	                                           .content_type = "application/json",
	                                           .body = PROPFIND("<a:allprop/>")}),
	                 415);
}

static void rights_and_places(void **state)
{
	static const char body[] = PROPFIND("<a:prop><d:calendar/></a:prop>");
	struct world *w = *state;

	user(w, 1)->denied = true;
	assert_int_equal(propfind(w, "/exchange/user1", "0", "t", body), 403);
	w->dav.denied_status = 401;
	assert_int_equal(propfind(w, "/exchange/user1", "0", "t", body), 401);
	assert_int_equal(propfind(w, "/exchange/user2", "0", "t", body), 207);
	w->dav.denied = true;
	assert_int_equal(propfind(w, "/exchange/user2", "0", "t", body), 401);
	w->dav.denied = false;
	user(w, 3)->back_end = xstrdup("https://exbe2.example.test");
	assert_int_equal(propfind(w, "/exchange/user3/Calendar", "0", "t", body), 302);
	assert_non_null(
	    strstr(w->a.head.p, "Location: https://exbe2.example.test/exchange/user3/"));
	user(w, 4)->move_until_ms = 1000;
	assert_int_equal(propfind(w, "/exchange/user4", "0", "t", body), 503);
	w->dav.now_ms = 1000;
	assert_int_equal(propfind(w, "/exchange/user4", "0", "t", body), 207);
	store_remove(user(w, 5));
	assert_int_equal(propfind(w, "/exchange/user5", "0", "t", body), 404);
}

static void a_search_finds_what_touches_the_time(void **state)
{
	struct world *w = *state;

	meet(w, 1,
	     (struct meeting){
	         .start = DAY0 + 9 * HOUR, .end = DAY0 + 10 * HOUR, .status = STATUS_BUSY});
	meet(w, 1, (struct meeting){.start = DAY0 - HOUR, .end = DAY0, .status = STATUS_BUSY});
	meet(w, 1, (struct meeting){.start = DAY0 - HOUR, .end = DAY0 + 1, .status = STATUS_OOF});
	meet(w, 1,
	     (struct meeting){
	         .start = DAY0 + 2 * WHEN_DAY, .end = DAY0 + 3 * WHEN_DAY, .all_day = true});
	meet(w, 1,
	     (struct meeting){.start = DAY0 + WHEN_DAY,
	                      .end = DAY0 + 2 * WHEN_DAY,
	                      .all_day = true,
	                      .status = STATUS_ELSEWHERE});
	assert_int_equal(search(w, NULL,
	                        SEARCH(SELECT NOT_MASTERS BETWEEN("2026/11/23 00:00:00",
	                                                          "2026/11/25 00:00:00") ORDER)),
	                 207);
	assert_string_equal(found(w, "count(//D:response)"), "3");
	assert_string_equal(found(w, "string(//D:response[1]//C:busystatus)"), "OOF");
	assert_string_equal(found(w, "string(//D:response[2]//C:busystatus)"), "BUSY");
	assert_string_equal(found(w, "string(//D:response[2]//C:dtstart)"),
	                    "2026-11-23T09:00:00.000Z");
	assert_string_equal(found(w, "string(//D:response[2]//C:dtstart/@T:dt)"), "dateTime.tz");
	assert_string_equal(found(w, "string(//D:response[2]//C:instancetype)"), "0");
	assert_string_equal(found(w, "string(//D:response[3]//C:busystatus)"), "FREE");
	assert_string_equal(found(w, "string(//D:response[3]//C:alldayevent)"), "1");
	assert_null(strstr(w->a.head.p, "Content-Range"));
	/* nothing there is an answer, too; times may be written as XML Schema has it */
	assert_int_equal(search(w, "rows=0-9",
	                        SEARCH(SELECT NOT_MASTERS BETWEEN("2027-01-01T00:00:00Z",
	                                                          "2027-01-02T00:00:00.000Z"))),
	                 207);
	assert_string_equal(found(w, "count(//D:response)"), "0");
}

static void series_are_expanded_within_a_time(void **state)
{
	struct world *w = *state;
	struct meeting daily = {
	    .start = DAY0 - 2 * WHEN_DAY + 9 * HOUR,
	    .end = DAY0 - 2 * WHEN_DAY + 10 * HOUR,
	    .status = STATUS_BUSY,
	    .repeat = REPEAT_DAILY,
	    .nexc = 2,
	    .exc = {{.index = 3, .deleted = true},
	            {.index = 4, .status = STATUS_OOF, .start = DAY0 + 60, .end = DAY0 + 120}}};

	meet(w, 1, daily);
	assert_int_equal(search(w, NULL,
	                        SEARCH(SELECT NOT_MASTERS BETWEEN("2026/11/23 00:00:00",
	                                                          "2026/11/27 00:00:00") ORDER)),
	                 207);
	/* the 23rd, the 24th deleted, the 25th moved to the 23rd, the 26th */
	assert_string_equal(found(w, "count(//D:response)"), "3");
	assert_string_equal(found(w, "string(//D:response[1]//C:instancetype)"), "3");
	assert_string_equal(found(w, "string(//D:response[2]//C:instancetype)"), "2");
	assert_string_equal(found(w, "string(//D:response[3]//C:dtstart)"),
	                    "2026-11-26T09:00:00.000Z");
	/* masters are found as well where nobody says no: with the time of their first occurrence */
	assert_int_equal(
	    search(w, NULL,
	           SEARCH(SELECT "WHERE " BETWEEN("2026/11/20 00:00:00", "2026/11/22 00:00:00"))),
	    207);
	assert_string_equal(found(w, "count(//D:response)"), "2");
	assert_string_equal(found(w, "count(//C:instancetype[.='1'])"), "1");
	/* without a time from one to the other there are masters only */
	assert_int_equal(
	    search(w, NULL, SEARCH(SELECT "WHERE " C("dtend") " &gt; '2026/11/20 00:00:00'")), 207);
	assert_string_equal(found(w, "count(//D:response)"), "1");
	assert_string_equal(found(w, "string(//C:instancetype)"), "1");
}

/* What SEARCH finds at a moment is what the oracle says of it, over everybody's seeded calendars. */
static void searches_agree_with_the_oracle(void **state)
{
	static const char *const words[] = {"FREE", "TENTATIVE", "BUSY", "OOF"};
	struct world *w = *state;
	unsigned busy = 0;

	davsubs_free(&w->subs);
	store_free(w->store);
	w->store = store_new(40, "example.test", 7, DAY0, true);
	davsubs_init(&w->subs, w->store, &w->counters, keep_datagram, w);
	w->dav.store = w->store;
	for (unsigned n = 1; n <= 40; n++)
		for (int64_t at = DAY0; at < DAY0 + WHEN_DAY; at += 5 * HOUR + 450) {
			char path[40], body[1000], from[WHEN_TEXT], to[WHEN_TEXT];
			size_t count;
			const struct meeting *m = store_meetings(w->store, user(w, n), &count);
			enum status want = oracle(m, count, at).status;
			unsigned got = 0;

			snprintf(path, sizeof path, "/exchange/user%u/Calendar", n);
			snprintf(body, sizeof body,
			         SEARCH("SELECT " C(
			             "busystatus") " FROM \"%s\" " NOT_MASTERS BETWEEN("%s", "%s")),
			         path, when_text(from, at, true), when_text(to, at + 1, true));
			assert_int_equal(asked(w, (struct dav_ask){.method = "SEARCH",
			                                           .path = path,
			                                           .content_type = "text/xml",
			                                           .body = body}),
			                 207);
			for (unsigned i = 0; i < 4; i++) {
				char word[24];

				snprintf(word, sizeof word, ">%s<", words[i]);
				if (strstr(w->a.body.p, word))
					got = i;
			}
			/* 2003 and 2007 know no working elsewhere */
			assert_int_equal(got, want == STATUS_ELSEWHERE ? STATUS_FREE : want);
			busy += got > 0;
		}
	assert_true(busy > 10);
}

static void rows_in_pieces(void **state)
{
	struct world *w = *state;
	const char *all =
	    SEARCH(SELECT "WHERE " BETWEEN("2026/11/23 00:00:00", "2026/11/25 00:00:00") ORDER);

	for (int i = 0; i < 10; i++)
		meet(w, 1,
		     (struct meeting){.start = DAY0 + i * HOUR, .end = DAY0 + (i + 1) * HOUR});
	assert_int_equal(search(w, "rows=0-3", all), 207);
	assert_string_equal(found(w, "count(//D:response)"), "4");
	assert_non_null(strstr(w->a.head.p, "Content-Range: rows 0-3; total=10\r\n"));
	assert_int_equal(search(w, "rows=8-199", all), 207);
	assert_non_null(strstr(w->a.head.p, "Content-Range: rows 8-9; total=10\r\n"));
	assert_string_equal(found(w, "string(//D:response[1]//C:dtstart)"),
	                    "2026-11-23T08:00:00.000Z");
	assert_int_equal(search(w, "rows=-2", all), 207);
	assert_non_null(strstr(w->a.head.p, "Content-Range: rows 8-9; total=10\r\n"));
	assert_int_equal(search(w, "rows=0-1, 4-5,-1", all), 207);
	assert_string_equal(found(w, "count(//D:response)"), "5");
	assert_int_equal(search(w, "rows=9-", all), 207);
	assert_string_equal(found(w, "count(//D:response)"), "1");
	assert_int_equal(search(w, "rows=10-19", all), 416);
	assert_int_equal(search(w, "rows=5-2", all), 400);
	assert_int_equal(search(w, "rows=a-b", all), 400);
	assert_int_equal(search(w, "bytes=0-9", all), 400);
	assert_int_equal(search(w, "rows=", all), 400);
}

static void too_long_and_broken_searches(void **state)
{
	static const char *const bad[] = {
	    SEARCH(""),
	    SEARCH("SELECT " FROM),
	    SEARCH("SELECT dtstart" FROM),
	    SEARCH("SELECT \"dtstart\"" FROM),
	    SEARCH("SELECT " C("dtstart") " " C("dtend") FROM),
	    SEARCH("SELECT " C("dtstart") " FROM Scope(\"/exchange/user1/Calendar\")"),
	    SEARCH("SELECT " C(
	        "dtstart") " FROM Scope('WIDE TRAVERSAL OF \"/exchange/user1/Calendar\"')"),
	    SEARCH(SELECT "WHERE"),
	    SEARCH(SELECT "WHERE " C("dtstart")),
	    SEARCH(SELECT "WHERE " C("dtstart") " = "),
	    SEARCH(SELECT "WHERE " C("dtstart") " &gt; 'tomorrow'"),
	    SEARCH(SELECT "WHERE " C("dtstart") " &gt; '2026/02/30 00:00:00'"),
	    SEARCH(SELECT "WHERE " C("instancetype") " = 'one'"),
	    SEARCH(SELECT "WHERE " C("alldayevent") " = 2"),
	    SEARCH(SELECT "WHERE (" C("instancetype") " = 1"),
	    SEARCH(SELECT "WHERE " C("instancetype") " = 1 AND"),
	    SEARCH(SELECT "WHERE " C("instancetype") " == 1"),
	    SEARCH(SELECT "WHERE " C("busystatus") " = 'BUSY"),
	    SEARCH(SELECT "ORDER " C("dtstart")),
	    SEARCH(SELECT "LIMIT 10"),
	    SEARCH(SELECT) "trailing",
	    "<g:searchrequest xmlns:g=\"DAV:\"/>",
	    "<searchrequest><sql/></searchrequest>",
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (search(w, NULL, bad[i]) != 400)
			fail_msg("%s: %u", bad[i], w->a.status);
	assert_int_equal(
	    search(w, NULL, SEARCH(SELECT NOT_MASTERS BETWEEN("2026/01/01", "2028/02/01"))), 422);
	assert_int_equal(
	    search(w, NULL, SEARCH(SELECT NOT_MASTERS BETWEEN("2026/01/01", "2027/12/31"))), 207);
	assert_int_equal(search(w, NULL, SEARCH("SELECT * FROM \"/exchange/user1/Calender\"")),
	                 404);
	assert_int_equal(search(w, NULL, SEARCH("SELECT * FROM \"/exchange/user2/Calendar\"")),
	                 404);
	assert_int_equal(
	    search(w, NULL, SEARCH("SELECT * FROM \"https://fe/exchange/user1/Calendar/\"")), 207);
	user(w, 1)->language = LANGUAGE_JA;
	assert_int_equal(
	    asked(w, (struct dav_ask){.method = "SEARCH",
	                              .path = "/exchange/user1/",
	                              .content_type = "text/xml",
	                              .body = SEARCH(
	                                  "SELECT * FROM Scope('shallow traversal of "
	                                  "\"/exchange/user1/%E4%BA%88%E5%AE%9A%E8%A1%A8/\"')")}),
	    207);
}

/* How many of three appointments (busy, tentative "50% off", a series' master) a condition holds for. */
static int matches(struct world *w, const char *condition)
{
	static struct meeting m[3] = {
	    {.status = STATUS_BUSY, .subject = "Review", .start = DAY0, .end = DAY0 + HOUR},
	    {.status = STATUS_TENTATIVE,
	     .subject = "50% off",
	     .start = DAY0 + HOUR,
	     .end = DAY0 + 2 * HOUR,
	     .secret = true},
	    {.status = STATUS_BUSY,
	     .subject = "Stand-up",
	     .repeat = REPEAT_DAILY,
	     .interval = 1,
	     .start = DAY0,
	     .end = DAY0 + 900}};
	struct davbase base = {.store = w->store, .origin = "https://owa", .named = "user1"};
	char text[800], why[SQL_WHY];
	struct sql q;
	int n = 0;

	snprintf(text, sizeof text, "SELECT * FROM \"/exchange/user1/Calendar\" WHERE %s",
	         condition);
	if (!sql_parse(text, &q, why))
		fail_msg("%s: %s", condition, why);
	for (int i = 0; i < 3; i++) {
		struct resource r = {.mailbox = user(w, 1),
		                     .folder = FOLDER_CALENDAR,
		                     .item = true,
		                     .instance = i == 2 ? INSTANCE_MASTER : INSTANCE_SINGLE,
		                     .what = {.meeting = &m[i],
		                              .status = m[i].status,
		                              .start = m[i].start,
		                              .end = m[i].end}};

		n += sql_match(&q, &base, &r) << i;
	}
	sql_free(&q);
	return n;
}

static void conditions(void **state)
{
	struct world *w = *state;

	assert_int_equal(matches(w, C("busystatus") " = 'BUSY'"), 5);
	assert_int_equal(matches(w, C("busystatus") " = 'busy'"), 5);
	assert_int_equal(matches(w, C("busystatus") " != 'BUSY'"), 2);
	assert_int_equal(matches(w, C("instancetype") " <> 1"), 3);
	assert_int_equal(matches(w, "NOT " C("instancetype") " = 1"), 3);
	assert_int_equal(matches(w, "NOT NOT " C("instancetype") " = 1"), 4);
	assert_int_equal(matches(w, C("instancetype") " = 1 OR " C("busystatus") " = 'TENTATIVE'"),
	                 6);
	/* AND binds before OR, NOT before both */
	assert_int_equal(matches(w, C("instancetype") " = 1 OR " C("instancetype") " = 0 AND " C(
	                                "busystatus") " = 'BUSY'"),
	                 5);
	assert_int_equal(matches(w, "(" C("instancetype") " = 1 OR " C(
	                                "instancetype") " = 0) AND " C("busystatus") " = 'BUSY'"),
	                 5);
	assert_int_equal(
	    matches(w, "NOT (" C("instancetype") " = 1 OR " C("busystatus") " = 'TENTATIVE')"), 1);
	assert_int_equal(
	    matches(w, "NOT " C("instancetype") " = 1 OR " C("busystatus") " = 'BUSY'"), 7);
	/* a property that isn't there is neither the one nor the other */
	assert_int_equal(matches(w, "\"urn:x:y\" = 1"), 0);
	assert_int_equal(matches(w, "NOT \"urn:x:y\" = 1"), 0);
	assert_int_equal(matches(w, "\"urn:x:y\" = 1 OR " C("instancetype") " = 1"), 4);
	assert_int_equal(matches(w, "\"urn:x:y\" IS NULL"), 7);
	assert_int_equal(matches(w, C("dtstart") " IS NOT NULL"), 7);
	assert_int_equal(matches(w, C("recurrenceid") " is null"), 7);
	assert_int_equal(matches(w, "\"urn:schemas:httpmail:subject\" LIKE '%e%'"), 1);
	assert_int_equal(matches(w, "\"urn:schemas:httpmail:subject\" LIKE '5_\% off'"), 2);
	assert_int_equal(matches(w, C("dtstart") " > '2026/11/23 00:00:00'"), 2);
	assert_int_equal(
	    matches(w, C("dtstart") " >= CAST(\"2026-11-23T01:00:00Z\" AS 'dateTime')"), 2);
	assert_int_equal(matches(w, C("dtend") " <= '2026-11-23T01:00:00+00:00'"), 5);
	assert_int_equal(matches(w, "\"DAV:ishidden\" = false AND \"DAV:isfolder\" = False"), 7);
	assert_int_equal(matches(w, "\"http://schemas.microsoft.com/exchange/sensitivity\" > 0"),
	                 2);
}

static void what_the_condition_spans(void **state)
{
	char why[SQL_WHY];
	int64_t from, to;
	struct sql q;

	(void)state;
#define SPAN(condition)                                                                            \
	(sql_parse("SELECT * FROM \"/exchange/a\" WHERE " condition, &q, why)                      \
	     ? sql_range(&q, &from, &to)                                                           \
	     : -1)
	assert_true(SPAN(C("dtend") " > '2026/11/23' AND " C("dtstart") " < '2026/11/24'"));
	assert_int_equal(from, DAY0);
	assert_int_equal(to, DAY0 + WHEN_DAY);
	sql_free(&q);
	assert_true(SPAN(C("instancetype") " = 2 AND (" C("dtend") " > '2026/11/23' AND " C(
	    "dtstart") " > '2026/11/24' AND " C("dtend") " <= '2026/11/25')"));
	assert_int_equal(from, DAY0 + WHEN_DAY);
	assert_int_equal(to, DAY0 + 2 * WHEN_DAY);
	sql_free(&q);
	assert_false(SPAN(C("dtend") " > '2026/11/23'"));
	sql_free(&q);
	assert_false(SPAN(C("dtend") " > '2026/11/23' OR " C("dtstart") " < '2026/11/24'"));
	sql_free(&q);
	assert_false(
	    SPAN("NOT (" C("dtend") " > '2026/11/23' AND " C("dtstart") " < '2026/11/24')"));
	sql_free(&q);
}

static void other_methods(void **state)
{
	struct world *w = *state;
	char path[300];

	strcpy(path, "https://owa.example.test");
	assert_int_equal(asked(w, (struct dav_ask){.method = "OPTIONS", .path = "/exchange/"}),
	                 200);
	assert_non_null(strstr(w->a.head.p, "DASL: <DAV:sql>"));
	assert_non_null(strstr(w->a.head.p, "Allow: OPTIONS, GET"));
	assert_int_equal(asked(w, (struct dav_ask){.method = "POST", .path = "/exchange/user1/"}),
	                 405);
	assert_int_equal(asked(w, (struct dav_ask){.method = "LOCK", .path = "/exchange/user1/"}),
	                 501);
	assert_int_equal(asked(w, (struct dav_ask){.method = "GET", .path = "/exchange/user1/"}),
	                 200);
	assert_non_null(
	    strstr(w->a.body.p, "<BASE href=\"https://owa.example.test/exchange/user1/\">"));
	w->dav.version = OWA_2007;
	assert_int_equal(asked(w, (struct dav_ask){.method = "GET", .path = "/exchange/user1/"}),
	                 302);
	/* every item that PROPFIND names can be had */
	meet(w, 1,
	     (struct meeting){.start = DAY0,
	                      .end = DAY0 + HOUR,
	                      .subject = "A/B 1-2 \"<x>\", \xc3\xa9",
	                      .location = "R;1"});
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR, .subject = "???"});
	for (int i = 1; i <= 2; i++) {
		char xpath[80], decoded[300], *out = decoded;

		propfind(w, "/exchange/user1/Calendar", "1,noroot", "t",
		         PROPFIND("<a:prop><a:href/></a:prop>"));
		snprintf(xpath, sizeof xpath, "string(//D:response[%d]/D:href)", i);
		for (const char *s = found(w, xpath) + strlen("https://owa.example.test"); *s;
		     s++) {
			unsigned c;

			if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
				*out++ = (char)c;
				s += 2;
			} else {
				*out++ = *s;
			}
		}
		*out = '\0';
		assert_int_equal(asked(w, (struct dav_ask){.method = "GET", .path = decoded}), 200);
		assert_string_equal(w->a.type, "message/rfc822");
		assert_non_null(strstr(w->a.body.p, "DTSTART:20261123T000000Z\r\n"));
		if (i == 1)
			assert_non_null(
			    strstr(w->a.body.p,
			           "SUMMARY:A/B 1-2 \"<x>\"\\, \xc3\xa9\r\nLOCATION:R\\;1\r\n"));
	}
}

/* The published example, byte for byte. */
static void as_published(void **state)
{
	struct world *w = *state;
	FILE *f = fopen("tests/fixtures/webdav/propfind-calendar.xml", "re");
	char text[1000];
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	store_add(w->store, "local@example.test");
	assert_int_equal(
	    asked(w, (struct dav_ask){.method = "PROPFIND",
	                              .path = "/exchange/local/",
	                              .host = "SERVER01",
	                              .depth = "0",
	                              .brief = "t",
	                              .content_type = "text/xml",
	                              .body = PROPFIND("<a:prop><d:calendar/></a:prop>")}),
	    207);
	assert_string_equal(w->a.body.p, text);
}

static void own_pages(void **state)
{
	struct world *w = *state;
	struct dav_ask ask = {.method = "GET", .path = "/exchange/"};

	assert_int_equal(asked(w, ask), 404);
	w->dav.own = user(w, 2);
	assert_int_equal(asked(w, ask), 200);
	assert_non_null(
	    strstr(w->a.body.p, "<BASE href=\"https://owa.example.test/exchange/user2/\">"));
	/* the address list */
	ask.path = "/exchange/user2/";
	ask.cmd = "galfind";
	ask.an = "user3";
	assert_int_equal(asked(w, ask), 200);
	assert_string_equal(found(w, "string(//*[local-name()='EM'])"), "user3@example.test");
	ask.an = "nobody";
	assert_int_equal(asked(w, ask), 200);
	assert_string_equal(found(w, "count(//*[local-name()='item'])"), "0");
	w->dav.version = OWA_2007;
	ask = (struct dav_ask){.method = "GET", .path = "/exchange/"};
	assert_int_equal(asked(w, ask), 302);
	assert_non_null(strstr(w->a.head.p, "Location: https://owa.example.test/owa/\r\n"));
	ask.path = "/owa/";
	assert_int_equal(asked(w, ask), 200);
	assert_null(strstr(w->a.body.p, "user2"));
	ask.ae = "Options";
	assert_int_equal(asked(w, ask), 200);
	assert_non_null(strstr(w->a.body.p, "[user2@example.test]"));
	ask.method = "PROPFIND";
	assert_int_equal(asked(w, ask), 404);
}

static void permanent_urls(void **state)
{
	struct world *w = *state;
	char url[200];

	meet(w, 1,
	     (struct meeting){
	         .start = DAY0, .end = DAY0 + HOUR, .repeat = REPEAT_DAILY, .subject = "Stand-up"});
	assert_int_equal(
	    search(w, NULL,
	           SEARCH("SELECT \"http://schemas.microsoft.com/exchange/permanenturl\"" FROM
	                      NOT_MASTERS BETWEEN("2026/11/25", "2026/11/26"))),
	    207);
	snprintf(url, sizeof url, "%s", found(w, "string(//*[local-name()='permanenturl'])"));
	assert_non_null(strstr(url, "/user1/-FlatUrlSpace-/"));
	assert_int_equal(
	    asked(w, (struct dav_ask){.method = "GET",
	                              .path = url + strlen("https://owa.example.test")}),
	    200);
	assert_non_null(strstr(w->a.body.p, "RECURRENCE-ID:20261125T000000Z\r\n"));
	assert_int_equal(
	    asked(w, (struct dav_ask){.method = "GET", .path = "/exchange/user1/-FlatUrlSpace-/0"}),
	    404);
	assert_int_equal(asked(w, (struct dav_ask){.method = "GET",
	                                           .path = strcat(url, "0") +
	                                                   strlen("https://owa.example.test")}),
	                 404);
	/* they are their mailbox's */
	*strstr(url, "user1") = '\0';
	strcat(url, "user2/-FlatUrlSpace-/000000010600000001");
	assert_int_equal(
	    asked(w, (struct dav_ask){.method = "GET",
	                              .path = url + strlen("https://owa.example.test")}),
	    404);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(the_calendar_is_found),
	    TEST(brief_leaves_out_what_is_missing),
	    TEST(depth_says_how_far),
	    TEST(wrong_propfinds_are_refused),
	    TEST(rights_and_places),
	    TEST(a_search_finds_what_touches_the_time),
	    TEST(series_are_expanded_within_a_time),
	    TEST(searches_agree_with_the_oracle),
	    TEST(rows_in_pieces),
	    TEST(too_long_and_broken_searches),
	    TEST(conditions),
	    TEST(what_the_condition_spans),
	    TEST(other_methods),
	    TEST(as_published),
	    TEST(own_pages),
	    TEST(permanent_urls),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	xmlCleanupParser();
	return rc;
}
