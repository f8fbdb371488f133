/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gateways that come and go, and subscriptions that nobody listens to any more. */
#include "core/engine_in.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Whoever leaves doesn't wait for its farewells longer than this: subscriptions end by themselves. */
#define LEAVING_MS 30000
/* So many may wait at a gateway; the rest isn't said. */
#define FAREWELLS_MAX 65536

/* ---- farewells ---- */

static void farewell_free(struct farewell *f)
{
	free(f->mailbox);
	free(f->folder);
	free(f->id);
}

void px_farewell(struct px_engine *e, int g, const struct user *u, const char *id)
{
	struct at_gateway *at = &e->at[g];
	struct farewell f;

	if (at->farewells == FAREWELLS_MAX)
		return;
	if ((at->farewells & (at->farewells - 1)) == 0) {
		unsigned cap = at->farewells ? 2 * at->farewells : 1;
		struct farewell *more = realloc(at->farewell, cap * sizeof *more);

		if (!more)
			return;
		at->farewell = more;
	}
	f = (struct farewell){strdup(u->mailbox), u->folder ? strdup(u->folder) : NULL, strdup(id)};
	if (f.mailbox && f.id)
		at->farewell[at->farewells++] = f;
	else
		farewell_free(&f);
}

static void forget_farewells(struct at_gateway *at)
{
	while (at->farewells > 0)
		farewell_free(&at->farewell[--at->farewells]);
	free(at->farewell);
	at->farewell = NULL;
}

/* One that leaves may still be told good-bye, and nothing else. */
static bool may_say(const struct px_engine *e, int g, struct px_now now)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	if (gw->health != PX_GW_LEAVING) /* whatever else is wanted there goes first */
		return px_may_ask(e, g, now) && gw->in_flight + 2 < gw->limit;
	return e->pool.login == PX_LOGIN_OPEN && gw->paused_until.ms <= now.mono.ms &&
	       gw->in_flight < gw->limit && e->at[g].reachable;
}

static void say_farewells(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];
	const enum px_health health = e->pool.gateway[g].health;

	/* what has a lifetime of its own is there when it is back */
	if ((health == PX_GW_DOWN || health == PX_GW_REFUSED) && !e->config.backend->renews)
		forget_farewells(at);
	while (at->farewells > 0 && may_say(e, g, now)) {
		struct farewell f = at->farewell[--at->farewells];
		const char *id[1] = {f.id};
		const struct px_query q = {.ask = PX_ASK_UNSUBSCRIBE,
		                           .mailbox = f.mailbox,
		                           .folder = f.folder,
		                           .id = id,
		                           .n = 1};

		px_request_start(e, OWNER_NOBODY, 0, g, NULL, &q);
		farewell_free(&f);
	}
	if (at->farewells == 0)
		forget_farewells(at);
}

/* ---- coming ---- */

int px_gateway_place(struct px_engine *e, int g)
{
	if ((unsigned)g >= e->places) {
		struct at_gateway *more =
		    realloc(e->at, ((unsigned)g + 1) * sizeof(struct at_gateway));

		if (!more)
			return -ENOMEM;
		e->at = more;
		e->places = (unsigned)g + 1;
	}
	e->at[g] = (struct at_gateway){0};
	return 0;
}

int px_engine_gateway_add(struct px_engine *e, const char *name, unsigned concurrency,
                          struct px_now now)
{
	int g = px_pool_add(&e->pool, name, concurrency, now);

	if (g < 0)
		return g;
	if (px_gateway_place(e, g) < 0) {
		px_pool_free_place(&e->pool, g);
		return -ENOMEM;
	}
	px_gateway_begin(e, g, now);
	e->at[g].evacuated = true; /* there is nobody */
	px_say(e, PX_LOG_NOTICE, "gateway=%s added", name);
	return g;
}

/* ---- going ---- */

static void gone(struct px_engine *e, int g)
{
	struct px_action *a;

	px_requests_cancel_at(e, g, true);
	forget_farewells(&e->at[g]);
	px_streams_forget(e, g);
	px_pool_free_place(&e->pool, g);
	e->at[g].leaving_until = (struct px_mono){0};
	a = px_action_add(e, PX_DO_GATEWAY_GONE);
	if (a)
		a->gateway = g;
}

void px_engine_gateway_remove(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];
	struct px_gateway *gw = &e->pool.gateway[g];
	const bool reachable = gw->health == PX_GW_UP;

	px_say(e, PX_LOG_NOTICE, "gateway=%s %s->leaving users=%u", gw->name,
	       px_health_name(gw->health), gw->users);
	px_pool_remove(&e->pool, g, now);
	at->reachable = reachable;
	px_requests_cancel_at(e, g, false);
	for (uint32_t s = 0; s < e->end && reachable; s++) {
		const struct user *u = px_user(e, s);

		/* what calls us is told when it does */
		if (u->used && u->gateway == g && u->subscription && u->kind != PX_KIND_PUSH)
			px_farewell(e, g, u, u->subscription);
	}
	px_evacuate(e, g, now);
	/* who is parked, or has found no other, must not be counted at what comes here next */
	for (uint32_t s = 0; s < e->end; s++) {
		struct user *u = px_user(e, s);

		if (!u->used || u->gateway != g)
			continue;
		px_unmark(e, s);
		px_pool_leave(&e->pool, g);
		u->gateway = PX_NO_GATEWAY;
		px_user_touch(e, s);
	}
	at->leaving_until = px_after(now, LEAVING_MS);
}

static bool done_with(const struct px_engine *e, int g, struct px_now now)
{
	const struct at_gateway *at = &e->at[g];

	return (at->farewells == 0 && e->pool.gateway[g].in_flight == 0) ||
	       px_due(at->leaving_until, now);
}

void px_gateways_pump(struct px_engine *e, struct px_now now)
{
	for (int g = 0; g < (int)e->pool.n; g++) {
		if (e->at[g].farewells > 0)
			say_farewells(e, g, now);
		if (e->at[g].leaving_until.ms != 0 && done_with(e, g, now))
			gone(e, g);
	}
}

struct px_mono px_gateways_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = {0};

	for (int g = 0; g < (int)e->pool.n; g++) {
		if (e->at[g].leaving_until.ms == 0)
			continue;
		at = px_earlier(at, done_with(e, g, now) ? now.mono : e->at[g].leaving_until);
	}
	return at;
}

void px_gateways_free(struct px_engine *e)
{
	for (unsigned g = 0; g < e->places; g++) {
		for (unsigned i = 0; i < PX_GROUPS; i++)
			px_group_end(&e->at[g].group[i]);
		forget_farewells(&e->at[g]);
	}
	free(e->at);
}

/* ---- what an operator changes ---- */

int px_engine_gateway_find(const struct px_engine *e, const char *name)
{
	return px_pool_find(&e->pool, name);
}

void px_engine_gateway_concurrency(struct px_engine *e, int g, unsigned n, struct px_now now)
{
	px_pool_concurrency(&e->pool, g, n, now);
}

void px_engine_login_renewed(struct px_engine *e, struct px_now now)
{
	e->login_epoch++;
	px_say(e, PX_LOG_NOTICE, "pool login %s->retrying why=renewed",
	       px_login_name(e->pool.login));
	px_pool_login_renewed(&e->pool, now);
}
