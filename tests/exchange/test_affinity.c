/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which server behind a CAS answers, and what requests about another one's subscriptions get. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ews.h"
#include "samples.h"

#define SP1 VERSION("Exchange2010_SP1")
#define USERS 60
#define SERVERS 3

struct world {
	struct store *store;
	struct counters counters;
	struct ews ews;
	struct affinity *a;
	char cookie[100]; /* that the last answer set; "": none */
};

static void no_wake(void *arg, struct stream *st)
{
	(void)arg;
	(void)st;
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);
	struct subs_limits limits = {.minute_ms = 60000,
	                             .heartbeat_ms = 45000,
	                             .per_mailbox = 9,
	                             .hanging = 9,
	                             .version = V2013_SP1};

	w->store = store_new(USERS, "x.test", 1, 0, false);
	w->ews = (struct ews){.store = w->store,
	                      .counters = &w->counters,
	                      .version = V2013_SP1,
	                      .limits = limits,
	                      .service = store_add(w->store, "svc@x.test")};
	w->ews.subs = subs_new(2, &limits, w->store, &w->counters, no_wake, NULL);
	w->a = &w->ews.affinity;
	affinity_init(w->a, AFFINITY_COOKIE, SERVERS);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	subs_free(w->ews.subs);
	store_free(w->store);
	free(w);
	return 0;
}

static struct route routed(struct world *w, const char *cookies, const char *anchor, unsigned as)
{
	struct hints h = {.anchor = anchor, .cookies = cookies};

	return affinity_route(w->a, 0, &h, w->store, store_at(w->store, as));
}

static unsigned home(struct world *w, unsigned user)
{
	return routed(w, NULL, NULL, user).backend;
}

static const char *address(unsigned user)
{
	static char text[40];

	snprintf(text, sizeof text, "user%u@x.test", user + 1);
	return text;
}

/* The first user whose mailbox is on that server. */
static unsigned user_on(struct world *w, unsigned backend)
{
	unsigned u = 0;

	while (home(w, u) != backend)
		u++;
	return u;
}

/* The body of the answer, in own memory. */
static char *asked(struct world *w, const struct hints *h, const char *body)
{
	struct answer a = {0};
	char *text;

	ews_answer(&w->ews, 0, h, body, strlen(body), &a);
	snprintf(w->cookie, sizeof w->cookie, "%s", a.cookie.len ? a.cookie.p : "");
	text = xstrdup(a.stream ? a.stream->out.p : a.body.p);
	if (a.stream)
		stream_close(w->ews.subs, a.stream, 0);
	buf_free(&a.cookie);
	buf_free(&a.body);
	return text;
}

static char *subscribe(struct world *w, const struct hints *h, unsigned user)
{
	char body[2000], *text, *p, *id;

	snprintf(body, sizeof body, ENVELOPE(SP1 AS("%s"), STREAMING(CALENDAR EVENTS)),
	         address(user));
	text = asked(w, h, body);
	p = strstr(text, "<m:SubscriptionId>");
	assert_non_null(p);
	p += strlen("<m:SubscriptionId>");
	id = strndup(p, strcspn(p, "<"));
	free(text);
	return id;
}

static void mailboxes_live_on_all_of_them(void **state)
{
	struct world *w = *state;
	unsigned n[SERVERS] = {0};

	for (unsigned u = 0; u < USERS; u++)
		n[home(w, u)]++;
	for (int b = 0; b < SERVERS; b++)
		assert_in_range(n[b], USERS / SERVERS / 2, 2 * USERS / SERVERS);
}

static void cookie_then_anchor_then_mailbox(void **state)
{
	struct world *w = *state;
	unsigned u0 = user_on(w, 0), u1 = user_on(w, 1);
	struct hints h = {.anchor = address(u1), .prefer = true};
	char anchor[40], both[200];
	struct route r;

	strcpy(anchor, address(u1));
	h.anchor = anchor;
	free(subscribe(w, &h, u0));
	assert_memory_equal(w->cookie, "X-BackEndOverrideCookie=mbx2.example.test~", 42);
	r = routed(w, NULL, anchor, u0);
	assert_true(r.by_anchor && r.backend == 1);
	assert_int_equal(routed(w, NULL, "nobody@x.test", u0).backend, 0);
	snprintf(both, sizeof both, "other=1; %s; more=2", w->cookie);
	r = routed(w, both, address(u0), u0);
	assert_true(r.by_cookie && r.backend == 1);
	/* neither one cut short, nor another CAS's, nor by another name */
	both[strlen(both) - 9] = '\0';
	assert_int_equal(routed(w, both, NULL, u0).backend, 0);
	assert_false(affinity_route(w->a, 1, &(struct hints){.cookies = w->cookie}, w->store,
	                            store_at(w->store, u0))
	                 .by_cookie);
	snprintf(both, sizeof both, "Y%s", w->cookie);
	assert_false(routed(w, both, NULL, u0).by_cookie);
}

static void the_cookie_is_set_for_an_anchor_that_prefers_it(void **state)
{
	struct world *w = *state;
	char cookie[100];

	free(subscribe(w, &(struct hints){.anchor = "user1@x.test", .prefer = true}, 0));
	assert_true(*w->cookie);
	strcpy(cookie, w->cookie);
	free(subscribe(w, &(struct hints){"user1@x.test", cookie, true}, 0));
	assert_false(*w->cookie); /* by its cookie */
	free(subscribe(w, &(struct hints){.anchor = "user1@x.test"}, 0));
	assert_false(*w->cookie);
	free(subscribe(w, &(struct hints){.prefer = true}, 0));
	assert_false(*w->cookie);
	w->a->kind = AFFINITY_ANCHOR;
	free(subscribe(w, &(struct hints){.anchor = "user1@x.test", .prefer = true}, 0));
	assert_false(*w->cookie);
	assert_false(routed(w, cookie, NULL, 0).by_cookie);
	w->a->kind = AFFINITY_NONE;
	assert_false(routed(w, cookie, "user2@x.test", 0).by_anchor);
}

static void a_subscription_lives_where_it_was_made(void **state)
{
	struct world *w = *state;
	unsigned u0 = user_on(w, 0), u1 = user_on(w, 1);
	char *here = subscribe(w, &(struct hints){0}, u0);
	char *there = subscribe(w, &(struct hints){0}, u1), body[3000], *text;

	snprintf(body, sizeof body, ENVELOPE(SP1 AS("%s"), GET_STREAMING(ID("%s") ID("%s"), "30")),
	         address(u0), here, there);
	text = asked(w, &(struct hints){0}, body);
	assert_non_null(strstr(text, "ErrorSubscriptionNotFound"));
	assert_non_null(strstr(text, there));
	assert_null(strstr(text, here));
	assert_non_null(strstr(text, ">OK<"));
	free(text);
	assert_int_equal(w->counters.cas[0].misrouted, 1);
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 AS("%s"), "<m:Unsubscribe><m:SubscriptionId>%s</m:SubscriptionId>"
	                                "</m:Unsubscribe>"),
	         address(u0), there);
	text = asked(w, &(struct hints){0}, body);
	assert_non_null(strstr(text, "ErrorSubscriptionNotFound"));
	free(text);
	assert_int_equal(w->counters.cas[0].misrouted, 2);
	text = asked(w, &(struct hints){.anchor = address(u1)}, body);
	assert_non_null(strstr(text, "NoError"));
	free(text);
	assert_int_equal(w->counters.cas[0].misrouted, 2);
	free(here);
	free(there);
}

static void a_server_fails_over(void **state)
{
	struct world *w = *state;
	unsigned u1 = user_on(w, 1);
	struct hints h = {.anchor = address(u1), .prefer = true};

	free(subscribe(w, &h, u1));
	assert_true(routed(w, w->cookie, NULL, u1).by_cookie);
	affinity_fail_over(w->a, 0, 1);
	assert_false(routed(w, w->cookie, NULL, u1).by_cookie);
	assert_int_equal(home(w, u1), 2);
	affinity_fail_over(w->a, 0, 2);
	assert_int_equal(home(w, u1), 0);
	/* as seen from the other CAS nothing happened */
	assert_int_equal(
	    affinity_route(w->a, 1, &(struct hints){0}, w->store, store_at(w->store, u1)).backend,
	    1);
}

static void a_load_balancer_takes_turns(void **state)
{
	struct world *w = *state;
	unsigned n[SERVERS] = {0};
	char *text;

	w->a->kind = AFFINITY_EXCHANGE_COOKIE;
	for (int i = 0; i < 2 * SERVERS; i++)
		n[routed(w, NULL, "user1@x.test", 0).backend]++;
	for (int b = 0; b < SERVERS; b++)
		assert_int_equal(n[b], 2);
	/* also with an answer that is an error */
	text = asked(w, &(struct hints){0},
	             ENVELOPE(SP1 AS("nobody@x.test"), STREAMING(CALENDAR EVENTS)));
	assert_non_null(strstr(text, "ErrorNonExistentMailbox"));
	free(text);
	assert_memory_equal(w->cookie, "exchangecookie=", 15);
	assert_true(routed(w, w->cookie, NULL, 0).by_cookie);
	assert_int_equal(routed(w, w->cookie, NULL, 0).backend,
	                 routed(w, w->cookie, NULL, 7).backend);
	{
		char cookie[100];

		strcpy(cookie, w->cookie);
		free(subscribe(w, &(struct hints){.cookies = cookie}, 0));
		assert_false(*w->cookie);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(mailboxes_live_on_all_of_them),
	    TEST(cookie_then_anchor_then_mailbox),
	    TEST(the_cookie_is_set_for_an_anchor_that_prefers_it),
	    TEST(a_subscription_lives_where_it_was_made),
	    TEST(a_server_fails_over),
	    TEST(a_load_balancer_takes_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
