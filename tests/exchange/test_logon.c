/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forms-based authentication: the page, the form, the cookies, and how long they are good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "logon.h"

#define FORM "application/x-www-form-urlencoded"
#define MINUTE 60000
#define FIELDS(user, password)                                                                     \
	"destination=https%3A%2F%2Fowa.example.test%2Fexchange%2F&flags=4&username=" user          \
	"&password=" password "&SubmitCreds=Log+On&trusted=4"
#define GOOD FIELDS("EXAMPLE%5Csvc", "p%26s+s%25")

static struct logon l;
static struct dav_answer a;
static char cookies[300];

static bool check(void *arg, const char *user, const char *password)
{
	(void)arg;
	return strcmp(user, "EXAMPLE\\svc") == 0 && strcmp(password, "p&s s%") == 0;
}

static enum logon_result look(struct logon_ask ask, int64_t now_ms)
{
	buf_free(&a.head);
	buf_free(&a.body);
	a = (struct dav_answer){0};
	ask.host = "owa.example.test";
	if (ask.body)
		ask.len = strlen(ask.body);
	return logon_look(&l, &ask, check, NULL, now_ms, &a);
}

static enum logon_result post(const char *path, const char *body)
{
	return look(
	    (struct logon_ask){.method = "POST", .path = path, .content_type = FORM, .body = body},
	    0);
}

/* Keeps the cookies that the last answer set, as a browser sends them. */
static void keep_cookies(void)
{
	*cookies = '\0';
	for (const char *p = a.head.p; (p = strstr(p, "Set-Cookie: ")); p++) {
		size_t n = strlen(cookies);

		snprintf(cookies + n, sizeof cookies - n, "%s%.*s", n ? "; " : "",
		         (int)strcspn(p + 12, ";"), p + 12);
	}
}

static enum logon_result propfind(const char *cookie, int64_t now_ms)
{
	return look(
	    (struct logon_ask){.method = "PROPFIND", .path = "/exchange/user1/", .cookie = cookie},
	    now_ms);
}

static int set_up(void **state)
{
	(void)state;
	l = (struct logon){.version = OWA_2003, .on = true, .minute_ms = MINUTE};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	logon_drop(&l);
	buf_free(&a.head);
	buf_free(&a.body);
	a = (struct dav_answer){0};
	return 0;
}

static void without_a_session(void **state)
{
	(void)state;
	assert_int_equal(propfind(NULL, 0), LOGON_ANSWERED);
	assert_int_equal(a.status, 440);
	look((struct logon_ask){.method = "POST", .path = "/exchange/user1/", .body = ""}, 0);
	assert_int_equal(a.status, 440);
	look((struct logon_ask){.method = "GET", .path = "/exchange/user1/"}, 0);
	assert_int_equal(a.status, 302);
	assert_string_equal(a.head.p,
	                    "Location: https://owa.example.test/exchweb/bin/auth/owalogon.asp?url="
	                    "https%3A%2F%2Fowa.example.test%2Fexchange%2Fuser1%2F&reason=0\r\n");
	look((struct logon_ask){.method = "GET", .path = "/exchweb/bin/auth/owalogon.asp"}, 0);
	assert_int_equal(a.status, 200);
	assert_non_null(strstr(a.body.p, "action=\"/exchweb/bin/auth/owaauth.dll\""));
	look((struct logon_ask){.method = "GET",
	                        .path = "/exchweb/bin/auth/owalogon.asp",
	                        .translate = "F"},
	     0);
	assert_int_equal(a.status, 403);
	l.version = OWA_2007;
	look((struct logon_ask){.method = "GET", .path = "/exchange/"}, 0);
	assert_non_null(strstr(a.head.p, "/owa/auth/logon.aspx?url="));
}

static void with_a_right_password(void **state)
{
	static const struct {
		enum owa_version version;
		const char *path;
	} forms[] = {{OWA_2003, "/exchweb/bin/auth/owaauth.dll"},
	             {OWA_2007, "/owa/auth/owaauth.dll"},
	             {OWA_2010, "/owa/auth.owa"}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		l.version = forms[i].version;
		assert_int_equal(post(forms[i].path, GOOD), LOGON_RIGHT);
		assert_int_equal(a.status, 302);
		assert_non_null(
		    strstr(a.head.p, "Location: https://owa.example.test/exchange/\r\n"));
		keep_cookies();
		assert_non_null(strstr(cookies, "sessionid="));
		assert_non_null(strstr(cookies, "; cadata=\""));
		assert_int_equal(propfind(cookies, 1), LOGON_PASSED);
	}
	/* one of the two isn't enough, and neither is a changed one */
	assert_int_equal(propfind(strstr(cookies, "cadata"), 1), LOGON_ANSWERED);
	assert_int_equal(a.status, 440);
	*strstr(cookies, "; cadata") = '\0';
	assert_int_equal(propfind(cookies, 1), LOGON_ANSWERED);
	assert_int_equal(propfind("sessionid=1; cadata=\"2\"", 1), LOGON_ANSWERED);
	assert_int_equal(logon_drop(&l), 3);
}

static void with_a_wrong_one(void **state)
{
	(void)state;
	assert_int_equal(post("/exchweb/bin/auth/owaauth.dll", FIELDS("EXAMPLE%5Csvc", "wrong")),
	                 LOGON_WRONG);
	assert_int_equal(a.status, 302);
	assert_non_null(strstr(a.head.p, "/exchweb/bin/auth/owalogon.asp?url="));
	assert_non_null(strstr(a.head.p, "&reason=2\r\n"));
	assert_null(strstr(a.head.p, "Set-Cookie"));
	assert_int_equal(HASH_COUNT(l.sessions), 0);
}

static void where_there_is_no_form(void **state)
{
	(void)state;
	assert_int_equal(post("/owa/auth/owaauth.dll", GOOD), LOGON_ANSWERED);
	assert_int_equal(a.status, 440);
	l.page_missing = true;
	assert_int_equal(post("/exchweb/bin/auth/owaauth.dll", GOOD), LOGON_ANSWERED);
	assert_int_equal(a.status, 404);
	/* that of 2003 is still there in 2007, and doesn't work */
	l = (struct logon){.version = OWA_2007, .on = true, .minute_ms = MINUTE};
	assert_int_equal(post("/exchweb/bin/auth/owaauth.dll", GOOD), LOGON_ANSWERED);
	assert_int_equal(a.status, 302);
	assert_null(strstr(a.head.p, "Set-Cookie"));
	assert_non_null(strstr(a.head.p, "&reason=0"));
}

static void a_broken_form(void **state)
{
	static const char path[] = "/exchweb/bin/auth/owaauth.dll";

	(void)state;
	post(path, "");
	assert_int_equal(a.status, 400);
	post(path, "flags=4&username=EXAMPLE%5Csvc&password=p%26s+s%25");
	assert_int_equal(a.status, 400);
	post(path, "destination=https%3A%2F%2Ffe%2F%0D%0AX-Y%3A1&username=EXAMPLE%5Csvc&password=p%"
	           "26s+s%25");
	assert_int_equal(a.status, 400);
	look(
	    (struct logon_ask){
	        .method = "POST", .path = path, .content_type = "text/xml", .body = GOOD},
	    0);
	assert_int_equal(a.status, 400);
	assert_int_equal(HASH_COUNT(l.sessions), 0);
}

static void sessions_end(void **state)
{
	(void)state;
	post("/exchweb/bin/auth/owaauth.dll", GOOD);
	keep_cookies();
	assert_int_equal(propfind(cookies, 1439 * MINUTE), LOGON_PASSED);
	assert_int_equal(propfind(cookies, 2878 * MINUTE), LOGON_PASSED); /* idle time counts */
	assert_int_equal(propfind(cookies, (2878 + 1440) * MINUTE), LOGON_ANSWERED);
	assert_int_equal(a.status, 440);
	/* on a public computer sooner */
	post("/exchweb/bin/auth/owaauth.dll",
	     "destination=https%3A%2F%2Ffe%2F&flags=0&username=EXAMPLE%5Csvc&password=p%26s+s%25");
	keep_cookies();
	assert_int_equal(propfind(cookies, 15 * MINUTE - 1), LOGON_PASSED);
	assert_int_equal(propfind(cookies, 30 * MINUTE), LOGON_ANSWERED);
	post("/exchweb/bin/auth/owaauth.dll", GOOD);
	keep_cookies();
	assert_int_equal(logon_drop(&l), 1);
	assert_int_equal(propfind(cookies, 1), LOGON_ANSWERED);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(without_a_session),      TEST(with_a_right_password), TEST(with_a_wrong_one),
	    TEST(where_there_is_no_form), TEST(a_broken_form),         TEST(sessions_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
