/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forms-based authentication: the login as OWA 2003 and 2007 do it, and what else may come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/forms.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define LOGON_2003 "https://fe/exchweb/bin/auth/owalogon.asp?url=https://fe/exchange/&reason=0"
#define LOGON_2007 "/owa/auth/logon.aspx?url=https://fe/exchange/&reason=0"

static void header(struct px_forms *f, const char *line)
{
	px_forms_header(f, line, strlen(line));
}

static void a_form_is_wanted(void **state)
{
	(void)state;
	assert_true(px_forms_wanted(440, NULL));
	assert_true(px_forms_wanted(302, LOGON_2003));
	assert_true(px_forms_wanted(302, LOGON_2007));
	assert_true(px_forms_wanted(302, "https://fe:444/OWA/auth/LOGON.aspx"));
	assert_false(px_forms_wanted(302, NULL));
	assert_false(px_forms_wanted(302, ""));
	assert_false(px_forms_wanted(302, "https://fe"));
	assert_false(px_forms_wanted(302, "https://fe/owa/?u=/owa/auth/logon.aspx"));
	assert_false(px_forms_wanted(302, "/owa/xlogon.aspx/"));
	assert_false(px_forms_wanted(302, "logon.aspx"));
	assert_false(px_forms_wanted(401, LOGON_2003));
	assert_false(px_forms_wanted(200, LOGON_2003));
}

static void login_2003(void **state)
{
	struct px_forms f = {0};
	char why[PX_FORMS_WHY];

	(void)state;
	px_forms_begin(&f, "/exchange/");
	assert_string_equal(f.path, "/exchange/");
	header(&f, "Set-Cookie: early=1; path=/\r\n"); /* not of the session */
	assert_int_equal(px_forms_answered(&f, 302, LOGON_2003, why), PX_FORMS_POST);
	assert_string_equal(f.path, "/exchweb/bin/auth/owaauth.dll");
	header(&f, "Date: today\r\n");
	header(&f, "Set-Cookie: sessionid=; path=/\r\n");
	header(&f, "Set-Cookie: cadata=; path=/\r\n");
	header(&f, "set-cookie:sessionid=5d8a,0x409 ; path=/; HttpOnly\r\n");
	header(&f, "Set-Cookie: cadata=\"3abc==\"; HttpOnly; secure; path=/\r\n");
	header(&f, "Set-Cookie: nothing\r\n");
	header(&f, "Set-Cookie:\r\n");
	assert_int_equal(px_forms_answered(&f, 302, "https://fe/exchange/", why), PX_FORMS_DONE);
	assert_string_equal(f.cookies.data, "sessionid=5d8a,0x409; cadata=\"3abc==\"");
	assert_int_equal(f.state, PX_FORMS_IN);
	assert_int_equal(f.logins, 1);
	header(&f, "Set-Cookie: cadata=other\r\n"); /* no longer a login's */
	assert_string_equal(f.cookies.data, "sessionid=5d8a,0x409; cadata=\"3abc==\"");
	px_forms_end(&f);
	assert_int_equal(f.state, PX_FORMS_OUT);
	assert_null(f.cookies.data);
}

static void login_2007(void **state)
{
	struct px_forms f = {0};
	char why[PX_FORMS_WHY];

	(void)state;
	px_forms_begin(&f, "/exchange/");
	assert_int_equal(px_forms_answered(&f, 302, "https://fe/owa", why), PX_FORMS_GET);
	assert_string_equal(f.path, "/owa");
	assert_int_equal(px_forms_answered(&f, 302, LOGON_2007, why), PX_FORMS_POST);
	assert_string_equal(f.path, "/owa/auth/owaauth.dll");
	header(&f, "Set-Cookie: a=1\r\n");
	header(&f, "Set-Cookie: b=2\r\n");
	header(&f, "Set-Cookie: a=3\r\n");
	header(&f, "Set-Cookie: b=\r\n");
	header(&f, "Set-Cookie: ab=4\r\n");
	assert_int_equal(px_forms_answered(&f, 302, "/exchange/", why), PX_FORMS_DONE);
	assert_string_equal(f.cookies.data, "a=3; ab=4");
	px_forms_end(&f);
}

static void logins_that_fail(void **state)
{
	static const struct {
		int status;
		const char *location;
		bool cookie;
		enum px_forms_next next;
		const char *why;
	} row[] = {
	    {302, "/exchweb/bin/auth/owalogon.asp?url=x&reason=2", true, PX_FORMS_REFUSED,
	     "the form /exchweb/bin/auth/owalogon.asp refuses account or password"},
	    {401, NULL, false, PX_FORMS_REFUSED,
	     "/exchweb/bin/auth/owaauth.dll refuses account or password"},
	    {404, NULL, true, PX_FORMS_GIVEN_UP,
	     "/exchweb/bin/auth/owaauth.dll can't take the form (HTTP 404)"},
	    {500, NULL, true, PX_FORMS_GIVEN_UP,
	     "/exchweb/bin/auth/owaauth.dll can't take the form (HTTP 500)"},
	    {302, "https://fe/exchange/", false, PX_FORMS_GIVEN_UP,
	     "/exchweb/bin/auth/owaauth.dll sets no session"},
	};
	char why[PX_FORMS_WHY];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		struct px_forms f = {0};

		px_forms_begin(&f, "/exchange/");
		assert_int_equal(px_forms_answered(&f, 302, LOGON_2003, why), PX_FORMS_POST);
		if (row[i].cookie)
			header(&f, "Set-Cookie: sessionid=1\r\n");
		assert_int_equal(px_forms_answered(&f, row[i].status, row[i].location, why),
		                 row[i].next);
		assert_string_equal(why, row[i].why);
		assert_int_equal(f.state, PX_FORMS_OUT);
		assert_int_equal(f.logins, 1);
		assert_null(f.cookies.data);
	}
}

static void no_logon_page(void **state)
{
	struct px_forms f = {0};
	char why[PX_FORMS_WHY], far[400];

	(void)state;
	px_forms_begin(&f, "/exchange/");
	assert_int_equal(px_forms_answered(&f, 404, NULL, why), PX_FORMS_GIVEN_UP);
	assert_string_equal(why, "/exchange/ leads to no logon page (HTTP 404)");
	px_forms_begin(&f, "/exchange/");
	assert_int_equal(px_forms_answered(&f, 302, "/CookieAuth.dll?GetLogon?x", why),
	                 PX_FORMS_GET);
	assert_int_equal(px_forms_answered(&f, 302, "/CookieAuth.dll?GetLogon?x", why),
	                 PX_FORMS_GET);
	assert_int_equal(px_forms_answered(&f, 302,
	                                   "/Cookie\x1b"
	                                   "Auth.dll?GetLogon?x",
	                                   why),
	                 PX_FORMS_GIVEN_UP);
	assert_string_equal(why, "/Cookie?Auth.dll is no logon page of Exchange");
	memset(far, 'x', sizeof far);
	far[0] = '/';
	strcpy(far + sizeof far - 12, "/logon.aspx");
	px_forms_begin(&f, "/exchange/");
	assert_int_equal(px_forms_answered(&f, 302, far, why), PX_FORMS_GIVEN_UP);
	px_forms_begin(&f, "/exchange/");
	px_forms_failed(&f);
	assert_int_equal(f.state, PX_FORMS_OUT);
	assert_int_equal(f.logins, 4);
}

static void too_many_cookies(void **state)
{
	struct px_forms f = {0};
	char why[PX_FORMS_WHY], line[1100];

	(void)state;
	px_forms_begin(&f, "/exchange/");
	px_forms_answered(&f, 302, LOGON_2007, why);
	for (char c = 'a'; c < 'f'; c++) {
		memset(line, c, sizeof line);
		memcpy(line, "Set-Cookie: ", 12);
		line[20] = '=';
		px_forms_header(&f, line, sizeof line);
	}
	assert_int_equal(px_forms_answered(&f, 302, "/exchange/", why), PX_FORMS_GIVEN_UP);
	assert_string_equal(why, "/owa/auth/owaauth.dll sets cookies of more than 4096 bytes");
}

static void what_is_posted(void **state)
{
	struct px_buf b = px_buf_new(8192);

	(void)state;
	px_forms_body(&b, "https://fe/exchange/", "EXAMPLE\\svc", "p&s=w d%\xc3\xa4");
	assert_string_equal(
	    b.data, "destination=https%3A%2F%2Ffe%2Fexchange%2F&flags=4&forcedownlevel=0&trusted=4&"
	            "username=EXAMPLE%5Csvc&password=p%26s%3Dw%20d%25%C3%A4&isUtf8=1&"
	            "SubmitCreds=Log%20On");
	px_buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_form_is_wanted), cmocka_unit_test(login_2003),
	    cmocka_unit_test(login_2007),       cmocka_unit_test(logins_that_fail),
	    cmocka_unit_test(no_logon_page),    cmocka_unit_test(too_many_cookies),
	    cmocka_unit_test(what_is_posted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
