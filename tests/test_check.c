/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The troubleshooter: what is asked of whom, and what the answers are taken for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/check.h"

static unsigned streams_and_pull(unsigned version)
{
	return (version == 0 ? 1u << PX_KIND_STREAM : 0u) | 1u << PX_KIND_PULL;
}

static enum px_fault fault(const char *code, enum px_verdict v)
{
	(void)v;
	return strcmp(code, "ErrorImpersonationDenied") == 0     ? PX_FAULT_RIGHTS
	       : strcmp(code, "ErrorImpersonateUserDenied") == 0 ? PX_FAULT_USER_RIGHTS
	       : strcmp(code, "ErrorNoFreeBusyAccess") == 0      ? PX_FAULT_CALENDAR
	                                                         : PX_FAULT_NONE;
}

static const struct px_backend ews = {
    .name = "ews", .read_max = 100, .versions = 2, .kinds = streams_and_pull, .fault = fault};
static const struct px_backend dav = {
    .name = "dav", .locates = true, .versions = 1, .kinds = streams_and_pull};

static const char *const host[] = {"cas1.example.com", "cas2.example.com", "cas3.example.com"};
static const char *const mailbox[] = {"alice@example.com", "bob@example.com", "carol@example.com"};
static const struct px_now now = {{1000}, {1800000000000}};

static struct px_check_run *start(const struct px_backend *b, unsigned gateways, unsigned mailboxes)
{
	const struct px_check_config c = {.backend = b,
	                                  .gateways = gateways,
	                                  .host = host,
	                                  .mailbox = mailbox,
	                                  .mailboxes = mailboxes,
	                                  .kinds = PX_KIND_BIT(PX_KIND_STREAM) |
	                                           PX_KIND_BIT(PX_KIND_PULL)};
	struct px_check_run *r = px_check_run_new(&c);

	assert_non_null(r);
	return r;
}

/* The one request that may leave is this one. */
static void asks(struct px_check_run *r, unsigned gateway, enum px_ask ask, bool anonymous,
                 const char *who)
{
	struct px_query q;
	unsigned g;
	bool a;

	assert_true(px_check_next(r, now, &g, &a, &q));
	assert_int_equal(g, gateway);
	assert_int_equal(q.ask, ask);
	assert_int_equal(a, anonymous);
	if (who)
		assert_string_equal(q.mailbox, who);
}

static void quiet(struct px_check_run *r)
{
	struct px_query q;
	unsigned g;
	bool a;

	assert_false(px_check_next(r, now, &g, &a, &q));
}

static void fails(struct px_check_run *r, unsigned g, enum px_http_fail fail, enum px_tls_fault tls)
{
	const struct px_http_peer peer = {.address = "192.0.2.1"};
	const struct px_http_answer a = {.fail = fail, .tls = tls, .peer = &peer, .detail = "why"};
	const struct px_reply reply = {.verdict = PX_V_SERVER, .code = "tls"};

	px_check_done(r, g, &a, &reply, now);
}

static void answers(struct px_check_run *r, unsigned g, int status, enum px_verdict v,
                    const char *code)
{
	const struct px_http_peer peer = {.address = "192.0.2.1",
	                                  .tls = "TLSv1.3",
	                                  .names = "cas1.example.com",
	                                  .expires = {now.wall.ms + 90 * 86400000LL},
	                                  .date = {now.wall.ms}};
	const struct px_http_answer a = {
	    .status = status, .peer = &peer, .detail = status == 401 ? "offered: NTLM" : NULL};
	struct px_reply reply = {.verdict = v, .server = "Exchange 15.2"};

	snprintf(reply.code, sizeof reply.code, "%s", code);
	snprintf(reply.detail, sizeof reply.detail, "what to do");
	px_check_done(r, g, &a, &reply, now);
}

static void good(struct px_check_run *r, unsigned g)
{
	answers(r, g, 200, PX_V_OK, "");
}

static void knocked(struct px_check_run *r, unsigned g)
{
	asks(r, g, PX_ASK_PROBE, true, NULL);
	answers(r, g, 401, PX_V_DENIED, "HTTP 401");
}

static void is(const struct px_check_run *r, unsigned g, enum px_check_step s,
               enum px_check_result result, const char *part)
{
	const struct px_check_line *l = px_check_line(r, g, s);

	if (l->result != result || (part && !strstr(l->text, part)))
		fail_msg("%s is %s \"%s\"", px_check_step_name(s), px_check_result_name(l->result),
		         l->text);
}

static void calendar(struct px_check_run *r, unsigned g, size_t n)
{
	const struct px_item item = {.kind = PX_ITEM_CALENDAR, .n = n};

	px_check_said(r, g, &item);
	good(r, g);
}

static void subscribed(struct px_check_run *r, unsigned g)
{
	const struct px_item item = {.kind = PX_ITEM_SUBSCRIBED, .id = "S1"};

	px_check_said(r, g, &item);
	good(r, g);
}

static void all_good(void **state)
{
	struct px_check_run *r = start(&ews, 1, 1);

	(void)state;
	asks(r, 0, PX_ASK_PROBE, true, NULL);
	quiet(r);
	answers(r, 0, 401, PX_V_DENIED, "HTTP 401");
	asks(r, 0, PX_ASK_PROBE, false, "alice@example.com");
	good(r, 0);
	asks(r, 0, PX_ASK_READ, false, "alice@example.com");
	calendar(r, 0, 3);
	asks(r, 0, PX_ASK_SUBSCRIBE, false, "alice@example.com");
	subscribed(r, 0);
	asks(r, 0, PX_ASK_UNSUBSCRIBE, false, "alice@example.com");
	assert_false(px_check_ended(r));
	good(r, 0);
	assert_true(px_check_ended(r));
	quiet(r);
	for (enum px_check_step s = 0; s < PX_CHECK_STEPS; s++)
		is(r, 0, s, PX_CHECK_OK, NULL);
	is(r, 0, PX_CHECK_RESOLVE, PX_CHECK_OK, "192.0.2.1");
	is(r, 0, PX_CHECK_TLS, PX_CHECK_OK, "TLSv1.3");
	is(r, 0, PX_CHECK_NAME, PX_CHECK_OK, "cas1.example.com");
	is(r, 0, PX_CHECK_SERVICE, PX_CHECK_OK, "Exchange 15.2");
	is(r, 0, PX_CHECK_MAILBOX, PX_CHECK_OK, "alice@example.com");
	is(r, 0, PX_CHECK_CALENDAR, PX_CHECK_OK, "3 intervals");
	is(r, 0, PX_CHECK_SUBSCRIPTION, PX_CHECK_OK, "streaming");
	assert_int_equal(px_check_failed(r, 0), PX_CHECK_STEPS);
	px_check_run_free(r);
}

/* The way: each failure at its own step, with the ones before it in order and the ones behind it not looked at. */
static void the_way(void **state)
{
	static const struct {
		enum px_http_fail fail;
		enum px_tls_fault tls;
		enum px_check_step step;
		const char *text;
	} row[] = {
	    {PX_HTTP_RESOLVE, PX_TLS_FINE, PX_CHECK_RESOLVE, "cas1.example.com isn't known"},
	    {PX_HTTP_CONNECT, PX_TLS_FINE, PX_CHECK_CONNECT, "firewall"},
	    {PX_HTTP_TLS, PX_TLS_PROTOCOL, PX_CHECK_TLS, "tls_min"},
	    {PX_HTTP_TLS, PX_TLS_CHAIN, PX_CHECK_CHAIN, "ca="},
	    {PX_HTTP_TLS, PX_TLS_NAME, PX_CHECK_NAME, "other names"},
	    {PX_HTTP_TLS, PX_TLS_TIME, PX_CHECK_VALIDITY, "renew"},
	    {PX_HTTP_TIMEOUT, PX_TLS_FINE, PX_CHECK_SERVICE, "doesn't answer"},
	    {PX_HTTP_CUT, PX_TLS_FINE, PX_CHECK_SERVICE, "ended in the middle"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_check_run *r = start(&ews, 1, 1);

		asks(r, 0, PX_ASK_PROBE, true, NULL);
		fails(r, 0, row[i].fail, row[i].tls);
		assert_true(px_check_ended(r));
		quiet(r);
		assert_int_equal(px_check_failed(r, 0), row[i].step);
		is(r, 0, row[i].step, PX_CHECK_FAILED, row[i].text);
		is(r, 0, row[i].step, PX_CHECK_FAILED, "why");
		for (enum px_check_step s = 0; s < PX_CHECK_CLOCK; s++)
			if (s != row[i].step && s != PX_CHECK_LOGIN)
				is(r, 0, s, s < row[i].step ? PX_CHECK_OK : PX_CHECK_SKIPPED, NULL);
		px_check_run_free(r);
	}
}

static void certificate_and_clock(void **state)
{
	static const struct {
		int64_t ends_in_days, off_s;
		enum px_check_result validity, clock;
		const char *text;
	} row[] = {{31, 0, PX_CHECK_OK, PX_CHECK_OK, "as ours"},
	           {29, 30, PX_CHECK_WARN, PX_CHECK_OK, "30 s ahead of ours"},
	           {31, -61, PX_CHECK_OK, PX_CHECK_WARN, "61 s behind ours; set both by NTP"},
	           {31, 300, PX_CHECK_OK, PX_CHECK_FAILED, "300 s ahead of ours"}};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		struct px_check_run *r = start(&ews, 1, 1);
		const struct px_http_peer peer = {
		    .expires = {now.wall.ms + row[i].ends_in_days * 86400000},
		    .date = {now.wall.ms + row[i].off_s * 1000}};
		const struct px_http_answer a = {.status = 401, .peer = &peer};
		const struct px_reply reply = {.verdict = PX_V_DENIED};

		asks(r, 0, PX_ASK_PROBE, true, NULL);
		px_check_done(r, 0, &a, &reply, now);
		is(r, 0, PX_CHECK_VALIDITY, row[i].validity, "until 2027-");
		is(r, 0, PX_CHECK_CLOCK, row[i].clock, row[i].text);
		/* a wrong clock is told, and the rest is looked at all the same */
		asks(r, 0, PX_ASK_PROBE, false, NULL);
		px_check_run_free(r);
	}
}

static void no_service(void **state)
{
	struct px_check_run *r = start(&ews, 2, 1);

	(void)state;
	asks(r, 0, PX_ASK_PROBE, true, NULL);
	asks(r, 1, PX_ASK_PROBE, true, NULL);
	answers(r, 0, 404, PX_V_SERVER, "HTTP 404");
	answers(r, 1, 503, PX_V_BUSY, "HTTP 503");
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_SERVICE, PX_CHECK_FAILED, "HTTP 404: what to do");
	is(r, 0, PX_CHECK_VALIDITY, PX_CHECK_OK, NULL);
	is(r, 1, PX_CHECK_SERVICE, PX_CHECK_WARN, "throttled");
	assert_int_equal(px_check_failed(r, 1), PX_CHECK_STEPS);
	px_check_run_free(r);
}

/* One gateway logs in at a time, and the third isn't tried when two were refused. */
static void the_account_is_spared(void **state)
{
	struct px_check_run *r = start(&ews, 3, 1);

	(void)state;
	for (unsigned g = 0; g < 3; g++)
		asks(r, g, PX_ASK_PROBE, true, NULL);
	for (unsigned g = 0; g < 3; g++)
		answers(r, g, 401, PX_V_DENIED, "HTTP 401");
	asks(r, 0, PX_ASK_PROBE, false, NULL);
	quiet(r);
	answers(r, 0, 401, PX_V_DENIED, "HTTP 401");
	asks(r, 1, PX_ASK_PROBE, false, NULL);
	quiet(r);
	answers(r, 1, 401, PX_V_DENIED, "HTTP 401");
	quiet(r);
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_LOGIN, PX_CHECK_FAILED, "HTTP 401");
	is(r, 1, PX_CHECK_LOGIN, PX_CHECK_FAILED, "HTTP 401");
	is(r, 2, PX_CHECK_LOGIN, PX_CHECK_SKIPPED, "could lock it");
	px_check_run_free(r);
}

/* Refused at one, accepted at the next: then all may. */
static void one_refuses(void **state)
{
	struct px_check_run *r = start(&ews, 3, 1);

	(void)state;
	for (unsigned g = 0; g < 3; g++)
		asks(r, g, PX_ASK_PROBE, true, NULL);
	for (unsigned g = 0; g < 3; g++)
		answers(r, g, 401, PX_V_DENIED, "HTTP 401");
	asks(r, 0, PX_ASK_PROBE, false, NULL);
	answers(r, 0, 401, PX_V_DENIED, "HTTP 401");
	asks(r, 1, PX_ASK_PROBE, false, NULL);
	good(r, 1);
	asks(r, 1, PX_ASK_READ, false, NULL);
	asks(r, 2, PX_ASK_PROBE, false, NULL);
	px_check_run_free(r);
}

static void held(void **state)
{
	const struct px_check_config c = {.backend = &ews,
	                                  .gateways = 1,
	                                  .host = host,
	                                  .mailbox = mailbox,
	                                  .mailboxes = 1,
	                                  .held = "HTTP 401 at cas2"};
	struct px_check_run *r = px_check_run_new(&c);

	(void)state;
	knocked(r, 0);
	quiet(r);
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_LOGIN, PX_CHECK_FAILED, "HTTP 401 at cas2");
	px_check_run_free(r);
}

static void rights(void **state)
{
	struct px_check_run *r = start(&ews, 1, 3);

	(void)state;
	/* not on this server */
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, NULL);
	answers(r, 0, 500, PX_V_DENIED, "ErrorImpersonationDenied");
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_LOGIN, PX_CHECK_OK, NULL);
	is(r, 0, PX_CHECK_SERVICE, PX_CHECK_OK, NULL);
	is(r, 0, PX_CHECK_RIGHTS, PX_CHECK_FAILED, "ErrorImpersonationDenied");
	px_check_run_free(r);

	/* not for the first two */
	r = start(&ews, 1, 3);
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, "alice@example.com");
	answers(r, 0, 500, PX_V_USER, "ErrorImpersonateUserDenied");
	asks(r, 0, PX_ASK_PROBE, false, "bob@example.com");
	answers(r, 0, 500, PX_V_USER, "ErrorImpersonateUserDenied");
	asks(r, 0, PX_ASK_PROBE, false, "carol@example.com");
	good(r, 0);
	asks(r, 0, PX_ASK_READ, false, "carol@example.com");
	calendar(r, 0, 0);
	is(r, 0, PX_CHECK_RIGHTS, PX_CHECK_WARN,
	   "alice@example.com ErrorImpersonateUserDenied, bob@example.com");
	is(r, 0, PX_CHECK_MAILBOX, PX_CHECK_OK, "carol@example.com");
	px_check_run_free(r);

	/* for nobody that was tried */
	r = start(&ews, 1, 1);
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, "alice@example.com");
	answers(r, 0, 500, PX_V_USER, "ErrorImpersonateUserDenied");
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_RIGHTS, PX_CHECK_FAILED, "not for the users that were tried");
	px_check_run_free(r);
}

static void mailboxes(void **state)
{
	const struct px_item refusal = {
	    .kind = PX_ITEM_REFUSED, .verdict = PX_V_USER, .code = "ErrorNoFreeBusyAccess"};
	struct px_check_run *r = start(&ews, 1, 2);

	(void)state;
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, "alice@example.com");
	answers(r, 0, 500, PX_V_USER, "ErrorNonExistentMailbox");
	asks(r, 0, PX_ASK_PROBE, false, "bob@example.com");
	good(r, 0);
	asks(r, 0, PX_ASK_READ, false, "bob@example.com");
	px_check_said(r, 0, &refusal);
	good(r, 0);
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_RIGHTS, PX_CHECK_OK, NULL);
	is(r, 0, PX_CHECK_CALENDAR, PX_CHECK_FAILED,
	   "alice@example.com ErrorNonExistentMailbox, bob@example.com ErrorNoFreeBusyAccess");
	px_check_run_free(r);

	r = start(&ews, 1, 0);
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, NULL);
	good(r, 0);
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_LOGIN, PX_CHECK_OK, NULL);
	is(r, 0, PX_CHECK_MAILBOX, PX_CHECK_SKIPPED, "no user");
	px_check_run_free(r);
}

static void older_version_and_kind(void **state)
{
	struct px_check_run *r = start(&ews, 1, 1);
	struct px_query q;
	unsigned g;
	bool a;

	(void)state;
	knocked(r, 0);
	assert_true(px_check_next(r, now, &g, &a, &q));
	assert_int_equal(q.version, 0);
	answers(r, 0, 500, PX_V_VERSION, "ErrorInvalidServerVersion");
	assert_true(px_check_next(r, now, &g, &a, &q));
	assert_int_equal(q.version, 1);
	assert_int_equal(q.ask, PX_ASK_PROBE);
	good(r, 0);
	asks(r, 0, PX_ASK_READ, false, NULL);
	calendar(r, 0, 1);
	assert_true(px_check_next(r, now, &g, &a, &q));
	assert_int_equal(q.kind, PX_KIND_PULL);
	subscribed(r, 0);
	is(r, 0, PX_CHECK_SUBSCRIPTION, PX_CHECK_OK, "pull");
	px_check_run_free(r);

	r = start(&ews, 1, 1);
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, NULL);
	good(r, 0);
	asks(r, 0, PX_ASK_READ, false, NULL);
	calendar(r, 0, 1);
	asks(r, 0, PX_ASK_SUBSCRIBE, false, NULL);
	answers(r, 0, 500, PX_V_KIND, "ErrorInvalidRequest");
	assert_true(px_check_next(r, now, &g, &a, &q));
	assert_int_equal(q.kind, PX_KIND_PULL);
	answers(r, 0, 500, PX_V_TRANSIENT, "ErrorExceededSubscriptionCount");
	assert_true(px_check_ended(r));
	is(r, 0, PX_CHECK_CALENDAR, PX_CHECK_OK, NULL);
	is(r, 0, PX_CHECK_SUBSCRIPTION, PX_CHECK_FAILED, "ErrorExceededSubscriptionCount");
	px_check_run_free(r);
}

static void located_first(void **state)
{
	const struct px_item folder = {.kind = PX_ITEM_FOLDER, .id = "/exchange/alice/Kalender/"};
	struct px_check_run *r = start(&dav, 1, 1);
	struct px_query q;
	unsigned g;
	bool a;

	(void)state;
	knocked(r, 0);
	asks(r, 0, PX_ASK_PROBE, false, NULL);
	good(r, 0);
	asks(r, 0, PX_ASK_LOCATE, false, "alice@example.com");
	px_check_said(r, 0, &folder);
	good(r, 0);
	assert_true(px_check_next(r, now, &g, &a, &q));
	assert_int_equal(q.ask, PX_ASK_READ_ONE);
	assert_string_equal(q.folder, "/exchange/alice/Kalender/");
	px_check_run_free(r);
}

static void only_one(void **state)
{
	const char *const second[] = {NULL, host[1], NULL};
	const struct px_check_config c = {
	    .backend = &ews, .gateways = 3, .host = second, .mailbox = mailbox, .mailboxes = 1};
	struct px_check_run *r = px_check_run_new(&c);

	(void)state;
	assert_true(px_check_gateway_ended(r, 0));
	assert_false(px_check_ended(r));
	knocked(r, 1);
	asks(r, 1, PX_ASK_PROBE, false, NULL);
	answers(r, 1, 401, PX_V_DENIED, "HTTP 401");
	assert_true(px_check_ended(r));
	px_check_run_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_good),
	    cmocka_unit_test(the_way),
	    cmocka_unit_test(certificate_and_clock),
	    cmocka_unit_test(no_service),
	    cmocka_unit_test(the_account_is_spared),
	    cmocka_unit_test(one_refuses),
	    cmocka_unit_test(held),
	    cmocka_unit_test(rights),
	    cmocka_unit_test(mailboxes),
	    cmocka_unit_test(older_version_and_kind),
	    cmocka_unit_test(located_first),
	    cmocka_unit_test(only_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
