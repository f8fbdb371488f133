/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What each gateway's server can: the version it is asked in, and the kind of subscription that is to be had there.
 *
 * A version is found by probes, from the newest down, before anything else is sent to a gateway; found anew when the gateway comes back, and
 * tried upward now and then, as servers are upgraded. A kind that doesn't work at a gateway isn't tried there again until
 * the gateway was down, its version is another one, or the same time has passed.
 */
#include "core/engine_in.h"

#include <stdio.h>

static const char *version_name(const struct px_engine *e, unsigned version)
{
	return e->config.backend->version_name ? e->config.backend->version_name(version) : "-";
}

bool px_may_ask(const struct px_engine *e, int g, struct px_now now)
{
	return e->at[g].version != PX_VERSION_UNKNOWN && px_pool_may_send(&e->pool, g, now);
}

bool px_may_stream(const struct px_engine *e, int g, struct px_now now)
{
	return e->at[g].version != PX_VERSION_UNKNOWN && px_pool_may_stream(&e->pool, g, now);
}

static enum px_kind best_kind(const struct px_engine *e, int g)
{
	const struct at_gateway *at = &e->at[g];
	unsigned version = at->version == PX_VERSION_UNKNOWN ? at->trying : at->version;
	unsigned can = e->config.backend->kinds(version) & e->config.kinds & ~at->broken;

	if (!e->active) /* who stands by subscribes to nothing */
		return PX_KIND_NONE;
	for (enum px_kind k = 0; k < PX_KIND_NONE; k++)
		if (can & PX_KIND_BIT(k))
			return k;
	return PX_KIND_NONE;
}

/* Whoever has, or waits for, a subscription that can't be had there any more takes what can. */
static void tell_users(struct px_engine *e, int g, struct px_now now)
{
	const bool swept = e->at[g].kind == PX_KIND_NONE;

	for (uint32_t s = 0; s < e->end; s++) {
		struct user *u = px_user(e, s);

		if (!u->used || u->gateway != g)
			continue;
		bool had = u->subscription || u->asking;
		bool other =
		    u->watch.swept != swept || (had && e->at[g].broken & PX_KIND_BIT(u->kind));

		u->watch.swept = swept;
		if (other)
			px_watch_event(e, s, PX_W_KIND, now);
	}
}

static void choose_kind(struct px_engine *e, int g, struct px_now now)
{
	enum px_kind kind = best_kind(e, g);
	bool changed = e->at[g].kind != kind;

	e->at[g].kind = e->pool.gateway[g].kind = (uint8_t)kind;
	if (changed)
		e->at[g].doubts = 0;
	if (changed || e->at[g].broken)
		tell_users(e, g, now);
}

void px_kinds_choose(struct px_engine *e, struct px_now now)
{
	for (int g = 0; g < (int)e->pool.n; g++)
		choose_kind(e, g, now);
}

void px_kind_broken(struct px_engine *e, int g, enum px_kind kind, const char *code,
                    const char *detail, struct px_now now)
{
	struct at_gateway *at = &e->at[g];

	if (at->broken & PX_KIND_BIT(kind) || kind == PX_KIND_NONE)
		return;
	at->broken |= (uint8_t)PX_KIND_BIT(kind);
	at->again = px_after(now, PX_VERSION_AGAIN_MS);
	at->trial = 0;
	at->doubts = 0;
	if (kind == PX_KIND_PUSH)
		at->called = false;
	px_say(e, PX_LOG_WARN,
	       "gateway=%s subscription=%s doesn't work code=%s detail=\"%s\" next=%s",
	       e->pool.gateway[g].name, px_kind_name(kind), code, detail,
	       px_kind_name(best_kind(e, g)));
	choose_kind(e, g, now);
}

static bool somebody_has(const struct px_engine *e, int g, enum px_kind kind)
{
	for (uint32_t s = 0; s < e->end; s++) {
		const struct user *u = px_user(e, s);

		if (u->used && u->gateway == g && u->subscription && u->kind == kind)
			return true;
	}
	return false;
}

bool px_kind_refused(struct px_engine *e, int g, uint32_t slot, enum px_kind kind,
                     const struct px_reply *r, struct px_now now)
{
	struct at_gateway *at = &e->at[g];

	if (at->broken & PX_KIND_BIT(kind))
		return true;
	if (at->doubts == 0)
		at->doubted_by = slot;
	if (at->doubts < PX_WATCH_TRIES)
		at->doubts++;
	if ((at->doubts < PX_WATCH_TRIES && at->doubted_by == slot) || somebody_has(e, g, kind))
		return false;
	px_kind_broken(e, g, kind, r->code, r->detail, now);
	return true;
}

/* ---- versions ---- */

static void look_at(struct px_engine *e, int g, int64_t in_ms, struct px_now now)
{
	now.mono = px_after(now, in_ms);
	px_pool_suspect(&e->pool, g, now);
}

void px_gateway_begin(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];

	at->subscribe_spacing = PX_SUBSCRIBE_SPACING_MS;
	at->quiet_at = px_after(now, PX_QUIET_MS);
	at->version = e->config.backend->versions > 1 ? PX_VERSION_UNKNOWN : 0;
	at->kind = e->pool.gateway[g].kind = (uint8_t)best_kind(e, g);
	if (at->version == PX_VERSION_UNKNOWN)
		look_at(e, g, 0, now);
}

void px_gateway_lost(struct px_engine *e, int g)
{
	e->at[g].trying = 0;
	e->at[g].streamed_at = (struct px_mono){0};
	e->at[g].trial = 0;
}

void px_gateway_back(struct px_engine *e, int g, struct px_now now)
{
	e->at[g].broken = 0;
	e->at[g].quiet_at = px_after(now, PX_QUIET_MS);
	if (e->at[g].version != PX_VERSION_UNKNOWN)
		choose_kind(e, g, now);
}

static void found(struct px_engine *e, int g, unsigned version, struct px_now now)
{
	struct at_gateway *at = &e->at[g];
	const struct px_gateway *gw = &e->pool.gateway[g];

	at->version = (uint8_t)version;
	at->broken = 0;
	choose_kind(e, g, now);
	bool poor = e->config.kind_set &&
	            !(e->config.backend->kinds(version) & e->config.kinds & -e->config.kinds);
	px_say(e, poor ? PX_LOG_WARN : PX_LOG_NOTICE,
	       "gateway=%s server=\"%s\" version=%s subscription=%s%s", gw->name, gw->server,
	       version_name(e, version), px_kind_name((enum px_kind)at->kind),
	       poor ? ": that is the next best; the kind that is set isn't known to this version"
	            : "");
}

void px_version_answered(struct px_engine *e, const struct request *r, struct px_reply *reply,
                         struct px_now now)
{
	struct at_gateway *at = &e->at[r->gateway];
	struct px_gateway *gw = &e->pool.gateway[r->gateway];
	unsigned older = r->version + 1u;

	if (reply->server[0])
		snprintf(gw->server, sizeof gw->server, "%s", reply->server);
	if (e->config.backend->versions < 2)
		return;
	if (reply->verdict == PX_V_VERSION) {
		if (r->owner != OWNER_PROBE) { /* what was found isn't so any more */
			reply->verdict = PX_V_TRANSIENT;
			if (at->version != r->version)
				return;
			at->version = PX_VERSION_UNKNOWN;
			at->trying = (uint8_t)(older < e->config.backend->versions ? older : 0);
			look_at(e, r->gateway, 0, now);
		} else if (older < e->config.backend->versions) {
			at->trying = (uint8_t)older;
		} else { /* it is older than all we speak */
			at->trying = 0;
			at->version = PX_VERSION_UNKNOWN;
			reply->verdict = PX_V_SERVER;
		}
	} else if (r->owner == OWNER_PROBE &&
	           (reply->verdict == PX_V_OK || reply->verdict == PX_V_USER ||
	            reply->verdict == PX_V_LOST)) {
		at->trying = r->version;
		at->again = px_after(now, PX_VERSION_AGAIN_MS);
		if (at->version != r->version)
			found(e, r->gateway, r->version, now);
	}
}

void px_version_next(struct px_engine *e, int g, bool refused, struct px_now now)
{
	const struct at_gateway *at = &e->at[g];

	if (at->trying < at->version && refused)
		look_at(e, g, 0, now);
	else if (at->version == PX_VERSION_UNKNOWN)
		look_at(e, g, refused ? 0 : PX_VERSION_WAIT_MS, now);
}

/* ---- time ---- */

/* Streams and the like say at once when a server is gone; where there are none, it is asked. */
static bool may_be_quiet(const struct px_engine *e, int g)
{
	return e->at[g].kind != PX_KIND_STREAM && e->pool.gateway[g].users > 0 &&
	       e->pool.gateway[g].health == PX_GW_UP;
}

void px_gateway_heard(struct px_engine *e, int g, struct px_now now)
{
	e->at[g].quiet_at = px_after(now, PX_QUIET_MS);
}

void px_kinds_tick(struct px_engine *e, struct px_now now)
{
	for (int g = 0; g < (int)e->pool.n; g++) {
		struct at_gateway *at = &e->at[g];

		if (px_due(at->again, now)) {
			at->again = px_after(now, PX_VERSION_AGAIN_MS);
			/* who has a subscription of another kind keeps it */
			at->broken = 0;
			if (at->version != PX_VERSION_UNKNOWN)
				choose_kind(e, g, now);
			if (at->version != 0 && e->pool.gateway[g].health == PX_GW_UP) {
				at->trying = 0;
				look_at(e, g, 0, now);
			}
		}
		if (px_due(at->quiet_at, now)) {
			px_gateway_heard(e, g, now);
			if (may_be_quiet(e, g))
				look_at(e, g, 0, now);
		}
	}
}

struct px_mono px_kinds_due(const struct px_engine *e)
{
	struct px_mono at = {0};

	for (int g = 0; g < (int)e->pool.n; g++) {
		at = px_earlier(at, e->at[g].again);
		if (may_be_quiet(e, g))
			at = px_earlier(at, e->at[g].quiet_at);
	}
	return at;
}
