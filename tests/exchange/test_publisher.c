/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /public/?Cmd=freebusy: digits, what is published when, and what is refused; and what 2010 makes of it all. */
#include "dav_world.h"
#include "publisher.h"

#define MSIE "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)"

static struct publisher p;

static unsigned see(struct world *w, struct freebusy_url ask)
{
	forget(w);
	if (!ask.start)
		ask.start = "2026-11-23T00:00:00Z";
	if (!ask.end)
		ask.end = "2026-11-23T06:00:00Z";
	if (!ask.interval)
		ask.interval = "60";
	if (!ask.n)
		ask.users[ask.n++] = "SMTP:user1@example.test";
	publisher_answer(&p, &ask, &w->a);
	return w->a.status;
}

static const char *digits(struct world *w, unsigned item)
{
	char path[80];

	snprintf(path, sizeof path, "string(//*[local-name()='item'][%u]/*[local-name()='fbdata'])",
	         item);
	return found(w, path);
}

static int begin(void **state)
{
	int rc = set_up(state);

	publisher_init(&p, ((struct world *)*state)->store);
	return rc;
}

static int end(void **state)
{
	publisher_free(&p);
	return tear_down(state);
}

static void digits_by_interval(void **state)
{
	struct world *w = *state;

	meet(w, 1,
	     (struct meeting){
	         .start = DAY0 + HOUR, .end = DAY0 + 2 * HOUR + 60, .status = STATUS_BUSY});
	meet(w, 1,
	     (struct meeting){
	         .start = DAY0 + 3 * HOUR, .end = DAY0 + 4 * HOUR, .status = STATUS_TENTATIVE});
	meet(w, 1,
	     (struct meeting){
	         .start = DAY0 + 4 * HOUR, .end = DAY0 + 5 * HOUR, .status = STATUS_OOF});
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR, .status = STATUS_ELSEWHERE});
	meet(w, 2, (struct meeting){.start = DAY0, .end = DAY0 + HOUR, .status = STATUS_BUSY});
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(found(w, "name(/*)"), "a:response");
	assert_string_equal(found(w, "namespace-uri(/*)"), "WM");
	assert_string_equal(digits(w, 2), "022130");
	assert_int_equal(see(w, (struct freebusy_url){.users = {"SMTP:user1@example.test",
	                                                        "smtp:USER2@example.test",
	                                                        "SMTP:nobody@example.test"},
	                                              .n = 3,
	                                              .user_agent = MSIE}),
	                 200);
	assert_string_equal(found(w, "count(//*[local-name()='item'])"), "4");
	assert_string_equal(digits(w, 1), "222130"); /* the merge of all */
	assert_string_equal(digits(w, 2), "022130");
	assert_string_equal(digits(w, 3), "200000");
	assert_string_equal(digits(w, 4), "444444");
	p.tentative_missing = true;
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(digits(w, 2), "022030");
}

static void who_has_none_and_who_may_not_ask(void **state)
{
	struct world *w = *state;

	assert_int_equal(see(w, (struct freebusy_url){.users = {"SMTP:nobody@example.test"},
	                                              .n = 1,
	                                              .user_agent = MSIE}),
	                 404);
	user(w, 1)->no_freebusy = true;
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 404);
	user(w, 1)->no_freebusy = false;
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = "curl/7.88"}), 200);
	assert_string_equal(w->a.type, "text/html; charset=utf-8");
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE, .interval = "0"}), 400);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE, .interval = "x"}), 400);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE, .start = "today"}), 400);
	assert_int_equal(
	    see(w, (struct freebusy_url){.user_agent = MSIE, .end = "2026-11-22T00:00:00Z"}), 400);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE,
	                                              .interval = "1",
	                                              .end = "2027-11-23T00:00:00Z"}),
	                 400);
}

static void what_is_published_lags(void **state)
{
	struct world *w = *state;
	struct meeting *m;

	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR, .status = STATUS_BUSY});
	p.lag_ms = 1000;
	publisher_tick(&p, 5000);
	meet(w, 1,
	     (struct meeting){.start = DAY0 + HOUR, .end = DAY0 + 2 * HOUR, .status = STATUS_BUSY});
	m = store_edit(w->store, user(w, 1), user(w, 1)->next_ordinal - 2);
	m->status = STATUS_OOF;
	store_modified(w->store, user(w, 1), m, true);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(digits(w, 2), "200000");
	assert_int_equal(publisher_tick(&p, 5999), 6000);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(digits(w, 2), "200000");
	assert_int_equal(publisher_tick(&p, 6000), INT64_MAX);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(digits(w, 2), "320000");
	store_delete(w->store, user(w, 1), m->ordinal, CHANGE_DELETED);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(digits(w, 2), "320000");
	publisher_tick(&p, 7000);
	assert_int_equal(see(w, (struct freebusy_url){.user_agent = MSIE}), 200);
	assert_string_equal(digits(w, 2), "020000");
}

static void a_server_of_2010_leads_to_owa(void **state)
{
	struct world *w = *state;
	struct dav_ask ask = {
	    .method = "PROPFIND", .path = "/exchange/user1/", .host = "owa.example.test"};

	assert_false(dav_2010(&w->dav, &ask, true, &w->a));
	w->dav.version = OWA_2010;
	w->dav.dav_2010 = 302;
	assert_true(dav_2010(&w->dav, &ask, false, &w->a));
	assert_int_equal(w->a.status, 302);
	assert_non_null(strstr(w->a.head.p, "X-OWA-Version: 14."));
	assert_non_null(strstr(w->a.head.p, "Location: https://owa.example.test/owa/\r\n"));
	w->dav.dav_2010 = 405;
	assert_true(dav_2010(&w->dav, &ask, false, &w->a));
	assert_int_equal(w->a.status, 405);
	ask.method = "GET";
	assert_true(dav_2010(&w->dav, &ask, false, &w->a));
	assert_int_equal(w->a.status, 302);
	ask.path = "/owa/";
	assert_false(dav_2010(&w->dav, &ask, false, &w->a));
	assert_true(dav_2010(&w->dav, &ask, true, &w->a));
	assert_int_equal(w->a.status, 200);
	ask.method = "SEARCH";
	assert_true(dav_2010(&w->dav, &ask, true, &w->a));
	assert_int_equal(w->a.status, 501);
	ask.path = "/public/";
	assert_true(dav_2010(&w->dav, &ask, true, &w->a));
	assert_int_equal(w->a.status, 404);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
	    TEST(digits_by_interval),
	    TEST(who_has_none_and_who_may_not_ask),
	    TEST(what_is_published_lags),
	    TEST(a_server_of_2010_leads_to_owa),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	xmlCleanupParser();
	return rc;
}
