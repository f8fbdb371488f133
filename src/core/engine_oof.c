/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Automatic replies (oof_replies): whoever has them switched on is away. No server tells when that changes, so all users are asked about in turn, and who has
 * changed something in the calendar, or isn't known yet, soon. One request at a time and gateway.
 */
#include "core/engine_in.h"

#include <string.h>

#define FOREVER UINT32_MAX

static bool in_use(const struct px_engine *e)
{
	return e->config.oof_replies && e->config.backend->oof_max;
}

void px_oof_want(struct px_engine *e, uint32_t slot, int64_t in_ms, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (!in_use(e) || !u->on || u->leaving || u->gateway == PX_NO_GATEWAY)
		return;
	const struct px_mono when = px_after(now, in_ms);
	struct oof *o = &e->at[u->gateway].oof;

	u->oof_ask = true;
	if (o->soon.ms == 0 || when.ms < o->soon.ms)
		o->soon = when;
}

void px_oof_forget(struct user *u)
{
	u->oof_from = u->oof_until = 0;
	u->oof_told = u->oof_waits = false;
	u->oof_ask = true;
}

static bool is_there(const struct user *u, int g)
{
	return u->used && u->on && !u->leaving && u->gateway == g &&
	       u->watch.state != PX_WATCH_PARKED && u->watch.state != PX_WATCH_HOMELESS;
}

static size_t at_once(const struct px_engine *e, int g)
{
	const unsigned version = e->at[g].version;

	return e->config.backend->oof_max(version == PX_VERSION_UNKNOWN ? 0 : version);
}

/* The gateway can't do otherwise; more than that a batch failed, and its members are doubted. */
static bool one_by_one(const struct px_engine *e, int g)
{
	return e->at[g].oof.single || at_once(e, g) == 1;
}

static size_t most(const struct px_engine *e, int g)
{
	if (one_by_one(e, g) || e->at[g].oof.doubted)
		return 1;
	const size_t n = at_once(e, g);

	return n < PX_READ_USERS ? n : PX_READ_USERS;
}

static void add(struct px_engine *e, struct oof *o, uint32_t slot)
{
	o->user[o->n++] = (struct member){slot, px_user(e, slot)->generation};
}

/* Those who mustn't wait for their turn. */
static void pick_wanted(struct px_engine *e, int g, struct px_now now)
{
	struct oof *o = &e->at[g].oof;
	const size_t max = most(e, g);

	for (uint32_t s = 0; s < e->end && o->n < max; s++)
		if (px_user(e, s)->oof_ask && is_there(px_user(e, s), g))
			add(e, o, s);
	o->soon = o->n == max ? px_after(now, PX_COLD_SPACING_MS) : (struct px_mono){0};
}

/* The next whose turn it is: all of them in PX_OOF_MS, or PX_OOF_SINGLE_MS. */
static void pick_next(struct px_engine *e, int g, struct px_now now)
{
	struct oof *o = &e->at[g].oof;
	const size_t max = most(e, g);
	const unsigned users = e->pool.gateway[g].users;
	int64_t spacing = 1000;

	for (; o->cursor < e->end && o->n < max; o->cursor++)
		if (is_there(px_user(e, o->cursor), g))
			add(e, o, o->cursor);
	if (o->cursor >= e->end)
		o->cursor = 0;
	if (o->n && users)
		spacing = (one_by_one(e, g) ? PX_OOF_SINGLE_MS : PX_OOF_MS) * (int64_t)o->n / users;
	o->next = px_after(now, spacing > PX_COLD_SPACING_MS ? spacing : PX_COLD_SPACING_MS);
}

static void ask(struct px_engine *e, int g)
{
	struct oof *o = &e->at[g].oof;
	const char *name[PX_READ_USERS];

	if (o->n == 0)
		return;
	for (unsigned i = 0; i < o->n; i++) {
		struct user *u = px_user(e, o->user[i].slot);

		name[i] = u->mailbox;
		u->oof_ask = false; /* set again: what is heard may not be true any more */
	}
	memset(o->said, 0, sizeof o->said);
	const struct px_query q = {.ask = PX_ASK_OOF, .mailbox = name[0], .name = name, .n = o->n};
	o->request = px_request_start(e, OWNER_OOF, (uint32_t)g, g, NULL, &q);
	if (!o->request)
		o->n = 0; /* out of memory: in the next round */
	else if (o->doubted)
		o->doubted--;
}

static bool may_ask(const struct px_engine *e, int g, struct px_now now)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	/* places stay free for what is urgent */
	return in_use(e) && !e->at[g].oof.request && px_may_ask(e, g, now) &&
	       (gw->in_flight == 0 || gw->in_flight + 1 < gw->limit);
}

void px_oof_pump(struct px_engine *e, int g, struct px_now now)
{
	struct oof *o = &e->at[g].oof;

	if (!may_ask(e, g, now))
		return;
	if (o->next.ms == 0)
		o->next = px_after(now, PX_OOF_MS);
	if (o->soon.ms != 0 && px_due(o->soon, now))
		pick_wanted(e, g, now);
	else if (px_due(o->next, now))
		pick_next(e, g, now);
	ask(e, g);
}

struct px_mono px_oof_due(const struct px_engine *e, int g, struct px_now now)
{
	const struct oof *o = &e->at[g].oof;

	if (!may_ask(e, g, now)) /* woken by an answer, or the end of a pause */
		return (struct px_mono){0};
	return px_earlier(o->soon, o->next.ms ? o->next : now.mono);
}

void px_oof_said(struct px_engine *e, int g, const struct px_item *item)
{
	struct oof *o = &e->at[g].oof;

	if (item->kind != PX_ITEM_OOF || item->index >= o->n)
		return;
	struct replies *r = &o->said[item->index];
	r->known = true;
	if (!item->away)
		return;
	r->from = item->from.ms > 0 ? (uint32_t)(item->from.ms / 1000) : 1;
	r->until = item->until.ms > 0 && item->until.ms / 1000 < FOREVER
	               ? (uint32_t)(item->until.ms / 1000)
	               : FOREVER;
}

static struct user *member(struct px_engine *e, const struct oof *o, unsigned i)
{
	struct user *u = px_user(e, o->user[i].slot);

	return u->used && u->generation == o->user[i].generation ? u : NULL;
}

static void settle(struct px_engine *e, uint32_t slot, const struct replies *r, struct px_now now)
{
	struct user *u = px_user(e, slot);
	const bool same = u->oof_told && u->oof_from == r->from && u->oof_until == r->until;

	u->oof_told = true;
	if (same || !r->known)
		goto show;
	px_say(e, PX_LOG_DEBUG, "user=%s automatic_replies from=%u until=%u", u->key, r->from,
	       r->until);
	u->oof_from = r->from;
	u->oof_until = r->until;
show:
	if (!same || u->oof_waits)
		px_present(e, slot, now);
	u->oof_waits = false;
}

void px_oof_done(struct px_engine *e, int g, const struct px_reply *reply, struct px_now now)
{
	struct oof *o = &e->at[g].oof;
	const unsigned n = o->n;
	bool settled = reply->verdict == PX_V_OK;

	o->request = 0;
	o->n = 0;
	switch (reply->verdict) {
	case PX_V_SERVER:
	case PX_V_BUSY:
	case PX_V_DENIED:
	case PX_V_VERSION:
		break; /* the gateway's matter: they are asked about again when it is over */
	case PX_V_KIND:
		if (!o->single)
			px_say(e, PX_LOG_NOTICE,
			       "gateway=%s automatic_replies one_by_one code=%s detail=\"%s\"",
			       e->pool.gateway[g].name, reply->code, reply->detail);
		settled = o->single;
		o->single = true;
		break;
	default:
		/* it may be one mailbox's fault: each of them alone, then whatever it is stays that one's */
		if (reply->verdict != PX_V_OK && n > 1)
			o->doubted = n;
		else
			settled = true;
	}
	for (unsigned i = 0; i < n; i++) {
		struct user *u = member(e, o, i);

		if (!u || u->gateway != g || u->oof_ask)
			continue;
		if (settled)
			settle(e, o->user[i].slot, &o->said[i], now);
		else
			px_oof_want(e, o->user[i].slot, PX_OOF_AGAIN_MS, now);
	}
	if (o->doubted && o->soon.ms)
		o->soon = now.mono;
}

void px_oof_evacuate(struct px_engine *e, int g)
{
	struct oof *o = &e->at[g].oof;

	px_request_cancel(e, o->request);
	*o = (struct oof){.cursor = o->cursor};
}

bool px_oof_awaited(const struct px_engine *e, const struct user *u)
{
	return in_use(e) && !u->oof_told;
}

bool px_oof_away(const struct user *u, struct px_wall now, struct px_wall *until)
{
	const int64_t s = now.ms / 1000;

	until->ms = 0;
	if (s >= u->oof_until)
		return false;
	if (s < u->oof_from) {
		until->ms = (int64_t)u->oof_from * 1000;
		return false;
	}
	if (u->oof_until != FOREVER)
		until->ms = (int64_t)u->oof_until * 1000;
	return true;
}
