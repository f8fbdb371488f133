/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SUBSCRIBE, POLL, UNSUBSCRIBE and NOTIFY: what they tell, and what they refuse. */
#include "dav_world.h"

#define CALENDAR "/exchange/user1/Calendar/"
#define CALL_BACK "httpu://192.0.2.10:50020/"

/* SUBSCRIBE to a calendar with what the request says beyond that; the id, 0: refused. */
static uint32_t subscribed(struct world *w, unsigned n, struct dav_ask ask)
{
	char path[60];
	const char *id;

	snprintf(path, sizeof path, "/exchange/user%u@example.test/Calendar", n);
	ask.method = "SUBSCRIBE";
	ask.path = path;
	if (!ask.notification_type)
		ask.notification_type = "update";
	if (asked(w, ask) != 200)
		return 0;
	id = strstr(w->a.head.p, "Subscription-id: ");
	return id ? (uint32_t)strtoul(id + 17, NULL, 10) : 0;
}

static unsigned with_ids(struct world *w, const char *method, const char *path, const char *ids)
{
	return asked(w, (struct dav_ask){.method = method, .path = path, .subscription_id = ids});
}

/* The status that the last 207 gives an id, "200 OK". */
static const char *of_id(struct world *w, uint32_t id)
{
	char path[120];
	const char *text;

	snprintf(path, sizeof path, "string(//D:response[S:subscriptionID/li='%u']/D:status)", id);
	text = found(w, path);
	return strncmp(text, "HTTP/1.1 ", 9) == 0 ? text + 9 : text;
}

static void tick(struct world *w, int64_t now_ms)
{
	w->dav.now_ms = now_ms;
	davsubs_tick(&w->subs, now_ms);
}

static void a_subscription_is_granted(void **state)
{
	struct world *w = *state;

	assert_int_equal(subscribed(w, 1, (struct dav_ask){.depth = "1", .lifetime = "7200"}), 1);
	assert_non_null(strstr(w->a.head.p, "Subscription-lifetime: 7200\r\n"));
	assert_non_null(strstr(w->a.head.p, "Content-Location: https://owa.example.test/exchange/"
	                                    "user1@example.test/Calendar/\r\n"));
	assert_int_equal(
	    subscribed(w, 1, (struct dav_ask){.call_back = CALL_BACK "alice", .delay = "10"}), 2);
	assert_non_null(strstr(w->a.head.p, "Subscription-lifetime: 3600\r\n"));
	assert_non_null(strstr(w->a.head.p, "Notification-Delay: 10\r\n"));
	w->subs.max_lifetime_s = 60;
	assert_int_equal(subscribed(w, 2, (struct dav_ask){.lifetime = "7200"}), 3);
	assert_non_null(strstr(w->a.head.p, "Subscription-lifetime: 60\r\n"));
}

static void wrong_subscribes_are_refused(void **state)
{
	static const struct dav_ask bad[] = {
	    {.notification_type = "updates"},
	    {.notification_type = "update / newmember"},
	    {.depth = "infinity"},
	    {.depth = "2"},
	    {.depth = ""},
	    {.lifetime = "0"},
	    {.lifetime = "-1"},
	    {.lifetime = "1h"},
	    {.delay = "soon"},
	    {.call_back = "http://192.0.2.10:50020/"},
	    {.call_back = "httpu://192.0.2.10/"},
	    {.call_back = "httpu://:50020/"},
	    {.call_back = "httpu://192.0.2.10:0/"},
	    {.call_back = "httpu://192.0.2.10:65536/"},
	    {.call_back = "httpu://192.0.2.10:x/"},
	    {.call_back = "httpu://192.0.2.10:50020/a b"},
	    {.call_back = "httpu://[2001:db8::1]/"},
	};
	struct world *w = *state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (subscribed(w, 1, bad[i]) || w->a.status != 400)
			fail_msg("number %zu: %u", i, w->a.status);
	assert_int_equal(asked(w, (struct dav_ask){.method = "SUBSCRIBE", .path = CALENDAR}), 400);
	assert_int_equal(asked(w, (struct dav_ask){.method = "SUBSCRIBE",
	                                           .path = "/exchange/user1/-FlatUrlSpace-/0102",
	                                           .notification_type = "update"}),
	                 403);
	assert_int_equal(asked(w, (struct dav_ask){.method = "SUBSCRIBE",
	                                           .path = "/exchange/user1/Kalender",
	                                           .notification_type = "update"}),
	                 404);
	user(w, 2)->denied = true;
	assert_int_equal(subscribed(w, 2, (struct dav_ask){.depth = NULL}), 0);
	assert_int_equal(w->a.status, 403);
	assert_int_equal(w->subs.count, 0);
	assert_true(subscribed(w, 1, (struct dav_ask){.call_back = "httpu://[2001:db8::1]:50020"}));
	assert_true(subscribed(
	    w, 1,
	    (struct dav_ask){.notification_type =
	                         "pragma/<http://schemas.microsoft.com/exchange/newmail>"}));
}

static void poll_tells_once(void **state)
{
	struct world *w = *state;
	uint32_t id = subscribed(w, 1, (struct dav_ask){.depth = "1"});

	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1"), 207);
	assert_string_equal(of_id(w, id), "204 No Content");
	assert_null(strstr(w->a.head.p, "Subscription-id"));
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	meet(w, 2, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1"), 207);
	assert_string_equal(of_id(w, id), "200 OK");
	assert_non_null(strstr(w->a.head.p, "Subscription-id: 1\r\n"));
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1"), 207);
	assert_string_equal(of_id(w, id), "204 No Content");
}

static void many_ids_in_one_poll(void **state)
{
	struct world *w = *state;
	uint32_t one = subscribed(w, 1, (struct dav_ask){.depth = "1"});
	uint32_t two = subscribed(w, 2, (struct dav_ask){.depth = "1"});
	uint32_t three = subscribed(w, 3, (struct dav_ask){.depth = "1"});

	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	meet(w, 3, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	user(w, 3)->denied = true;
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1, 2,3 , 77"), 207);
	assert_string_equal(of_id(w, one), "200 OK");
	assert_string_equal(of_id(w, two), "204 No Content");
	assert_string_equal(of_id(w, three), "401 Unauthorized");
	assert_string_equal(of_id(w, 77), "412 Precondition Failed");
	assert_string_equal(found(w, "count(//D:response)"), "4");
	/* as the SDK has it, only those of the URI */
	w->dav.poll_own_uri = true;
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1,2"), 207);
	assert_string_equal(of_id(w, one), "204 No Content");
	assert_string_equal(of_id(w, two), "412 Precondition Failed");
	assert_int_equal(with_ids(w, "POLL", CALENDAR, NULL), 400);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, ""), 400);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1,"), 400);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1 2"), 400);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "x"), 400);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "4294967296"), 400);
	assert_int_equal(with_ids(w, "POLL", "/exchange/user1/Kalender/", "1"), 404);
}

static void what_each_kind_hears(void **state)
{
	static const char *const types[] = {"update", "update/newmember", "delete", "move"};
	/* created, modified, deleted, moved; each with depth 1 and 0 */
	static const char *const hears[4][2] = {
	    {"1111", "1011"}, {"1000", "0000"}, {"0010", "0000"}, {"0001", "0000"}};
	struct world *w = *state;
	char text[8];

	for (int t = 0; t < 4; t++)
		for (int d = 0; d < 2; d++) {
			uint32_t id = subscribed(w, 1,
			                         (struct dav_ask){.notification_type = types[t],
			                                          .depth = d ? "0" : "1"});
			struct davsub *sub = davsub_find(&w->subs, id);

			for (int change = 0; change < 4; change++) {
				struct meeting *m;
				uint32_t ordinal;

				meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
				ordinal = user(w, 1)->next_ordinal - 1;
				if (change)
					davsub_poll(&w->subs, sub);
				m = store_edit(w->store, user(w, 1), ordinal);
				if (change == 1)
					store_modified(w->store, user(w, 1), m, true);
				else if (change)
					store_delete(w->store, user(w, 1), ordinal,
					             change == 2 ? CHANGE_DELETED : CHANGE_MOVED);
				text[change] = davsub_poll(&w->subs, sub) ? '1' : '0';
			}
			text[4] = '\0';
			assert_string_equal(text, hears[t][d]);
			davsub_drop(&w->subs, sub);
		}
}

static void a_lifetime_ends(void **state)
{
	struct world *w = *state;
	uint32_t polled, left;

	tick(w, 1000);
	polled = subscribed(w, 1, (struct dav_ask){.lifetime = "60"});
	left = subscribed(w, 1, (struct dav_ask){.lifetime = "60"});
	tick(w, 40000);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1"), 207); /* refreshes it */
	tick(w, 61000);
	assert_int_equal(w->subs.count, 1);
	assert_int_equal(with_ids(w, "POLL", CALENDAR, "1,2"), 207);
	assert_string_equal(of_id(w, polled), "204 No Content");
	assert_string_equal(of_id(w, left), "412 Precondition Failed");
	tick(w, 122000);
	assert_int_equal(w->subs.count, 0);
}

static void a_renewal_needs_its_id_alone(void **state)
{
	struct world *w = *state;
	struct dav_ask ask = {.method = "SUBSCRIBE", .path = CALENDAR, .subscription_id = "1"};

	subscribed(w, 1, (struct dav_ask){.lifetime = "60"});
	subscribed(w, 1, (struct dav_ask){.lifetime = "60"});
	subscribed(w, 2, (struct dav_ask){.lifetime = "60"});
	tick(w, 59000);
	ask.lifetime = "100";
	assert_int_equal(asked(w, ask), 200);
	assert_non_null(
	    strstr(w->a.head.p, "Subscription-id: 1\r\nSubscription-lifetime: 100\r\n"));
	tick(w, 61000);
	assert_int_equal(w->subs.count, 1);
	ask.notification_type = "update";
	assert_int_equal(asked(w, ask), 400);
	ask.notification_type = NULL;
	ask.depth = "1";
	assert_int_equal(asked(w, ask), 400);
	ask.depth = NULL;
	ask.call_back = CALL_BACK;
	assert_int_equal(asked(w, ask), 400);
	ask.call_back = NULL;
	ask.subscription_id = "2";
	assert_int_equal(asked(w, ask), 412);
	assert_non_null(strstr(w->a.head.p, "Subscription-id: 2\r\n"));
	ask.subscription_id = "1,2";
	assert_int_equal(asked(w, ask), 207);
	assert_string_equal(of_id(w, 1), "200 OK");
	assert_string_equal(of_id(w, 2), "412 Precondition Failed");
	/* an id of another folder isn't one of this */
	subscribed(w, 2, (struct dav_ask){.lifetime = "60"});
	ask.subscription_id = "4";
	assert_int_equal(asked(w, ask), 412);
}

static void unsubscribing(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 3; i++)
		subscribed(w, 1, (struct dav_ask){.depth = "1"});
	assert_int_equal(with_ids(w, "UNSUBSCRIBE", CALENDAR, "1"), 200);
	assert_int_equal(with_ids(w, "UNSUBSCRIBE", CALENDAR, "1"), 412);
	assert_int_equal(with_ids(w, "UNSUBSCRIBE", CALENDAR, NULL), 400);
	assert_int_equal(with_ids(w, "UNSUBSCRIBE", "/exchange/user2/Calendar/", "2"), 412);
	assert_int_equal(with_ids(w, "UNSUBSCRIBE", CALENDAR, "1,2,3"), 207);
	assert_string_equal(of_id(w, 1), "412 Precondition Failed");
	assert_string_equal(of_id(w, 3), "200 OK");
	assert_int_equal(w->subs.count, 0);
}

/* The datagrams since the last call, in static memory. */
static const char *sent(struct world *w, unsigned *n)
{
	static char text[4000];

	snprintf(text, sizeof text, "%s", w->sent.p ? w->sent.p : "");
	*n = w->nsent;
	buf_free(&w->sent);
	w->nsent = 0;
	return text;
}

static void notify_is_repeated_until_polled(void **state)
{
	struct world *w = *state;
	unsigned n;

	w->subs.repeat_ms = 5000;
	subscribed(w, 1, (struct dav_ask){.call_back = CALL_BACK "alice"});
	tick(w, 1000);
	sent(w, &n);
	assert_int_equal(n, 0);
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	tick(w, 1001);
	assert_string_equal(sent(w, &n),
	                    "NOTIFY " CALL_BACK "alice HTTP/1.1\r\nSubscription-id: 1\r\n\r\n");
	assert_int_equal(n, 1);
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	tick(w, 2000); /* nobody has POLLed: it is only said again */
	sent(w, &n);
	assert_int_equal(n, 0);
	tick(w, 6001);
	sent(w, &n);
	assert_int_equal(n, 1);
	with_ids(w, "POLL", CALENDAR, "1");
	assert_string_equal(of_id(w, 1), "200 OK");
	tick(w, 60000);
	sent(w, &n);
	assert_int_equal(n, 0);
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	tick(w, 60001);
	sent(w, &n);
	assert_int_equal(n, 1);
	assert_int_equal(w->counters.notifications, 3);
}

static void those_of_one_moment_share_a_notify(void **state)
{
	struct world *w = *state;
	const char *text;
	unsigned n;

	subscribed(w, 1, (struct dav_ask){.call_back = CALL_BACK});
	subscribed(w, 2, (struct dav_ask){.call_back = CALL_BACK});
	subscribed(w, 2, (struct dav_ask){.call_back = CALL_BACK "other"});
	subscribed(w, 2, (struct dav_ask){.call_back = CALL_BACK, .delay = "10"});
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	meet(w, 2, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	tick(w, 1);
	text = sent(w, &n);
	assert_int_equal(n, 2);
	assert_non_null(
	    strstr(text, "NOTIFY " CALL_BACK " HTTP/1.1\r\nSubscription-id: 1,2\r\n\r\n"));
	assert_non_null(
	    strstr(text, "NOTIFY " CALL_BACK "other HTTP/1.1\r\nSubscription-id: 3\r\n\r\n"));
	tick(w, 10001); /* the delay is over */
	assert_non_null(strstr(sent(w, &n), "Subscription-id: 4\r\n"));
	assert_int_equal(n, 1);
}

static void notifies_get_lost_and_doubled(void **state)
{
	struct world *w = *state;
	unsigned n;

	subscribed(w, 1, (struct dav_ask){.call_back = CALL_BACK});
	w->subs.lose_each = 3;
	for (int i = 1; i <= 9; i++) {
		meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
		tick(w, i);
		with_ids(w, "POLL", CALENDAR, "1");
	}
	sent(w, &n);
	assert_int_equal(n, 6);
	assert_int_equal(w->counters.notifications_lost, 3);
	w->subs.lose_each = 1;
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	tick(w, 10);
	with_ids(w, "POLL", CALENDAR, "1");
	sent(w, &n);
	assert_int_equal(n, 0);
	w->subs.lose_each = 0;
	w->subs.twice = true;
	meet(w, 1, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	tick(w, 11);
	sent(w, &n);
	assert_int_equal(n, 2);
}

static void a_store_shuts_down(void **state)
{
	struct world *w = *state;
	unsigned n;

	subscribed(w, 1, (struct dav_ask){.call_back = CALL_BACK});
	subscribed(w, 2, (struct dav_ask){.call_back = CALL_BACK});
	subscribed(w, 3, (struct dav_ask){.depth = "1"});
	assert_int_equal(davsubs_shut_down(&w->subs), 3);
	assert_string_equal(sent(w, &n), "NOTIFY " CALL_BACK " HTTP/1.1\r\n\r\n");
	assert_int_equal(n, 1);
	with_ids(w, "POLL", CALENDAR, "1");
	assert_string_equal(of_id(w, 1), "412 Precondition Failed");
}

static void a_mailbox_goes(void **state)
{
	struct world *w = *state;

	subscribed(w, 1, (struct dav_ask){.depth = "1"});
	subscribed(w, 2, (struct dav_ask){.depth = "1"});
	assert_int_equal(davsubs_drop(&w->subs, user(w, 1)), 1);
	assert_int_equal(w->subs.count, 1);
	user(w, 2)->davsubs->deaf = true;
	meet(w, 2, (struct meeting){.start = DAY0, .end = DAY0 + HOUR});
	assert_false(davsub_poll(&w->subs, user(w, 2)->davsubs));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(a_subscription_is_granted),
	    TEST(wrong_subscribes_are_refused),
	    TEST(poll_tells_once),
	    TEST(many_ids_in_one_poll),
	    TEST(what_each_kind_hears),
	    TEST(a_lifetime_ends),
	    TEST(a_renewal_needs_its_id_alone),
	    TEST(unsubscribing),
	    TEST(notify_is_repeated_until_polled),
	    TEST(those_of_one_moment_share_a_notify),
	    TEST(notifies_get_lost_and_doubled),
	    TEST(a_store_shuts_down),
	    TEST(a_mailbox_goes),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);

	xmlCleanupParser();
	return rc;
}
