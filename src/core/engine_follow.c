/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gateways and the users' watch machines (watch.h): who is followed where. */
#include "core/engine_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void px_evacuate(struct px_engine *e, int g, struct px_now now)
{
	if (e->at[g].evacuated)
		return;
	e->at[g].evacuated = true;
	px_readings_evacuate(e, g, now);
	px_oof_evacuate(e, g);
	px_polls_evacuate(e, g);
	px_gateway_lost(e, g);
	for (unsigned i = 0; i < PX_GROUPS; i++)
		px_group_end(&e->at[g].group[i]);
	for (uint32_t s = 0; s < e->end; s++) {
		struct user *u = px_user(e, s);
		if (u->used && u->gateway == g)
			px_watch_event(e, s, PX_W_SERVER, now);
	}
}

/* The longer the queue, the closer the Subscribes: all within PX_RECOVERY_MS, evenly, and not
 * slower as the queue gets shorter. */
static void pace_subscribes(struct at_gateway *at)
{
	int64_t spacing =
	    at->subscribe.n ? PX_RECOVERY_MS / (int64_t)at->subscribe.n : PX_SUBSCRIBE_SPACING_MS;

	if (at->subscribe.n == 0 || spacing < at->subscribe_spacing)
		at->subscribe_spacing =
		    spacing < PX_SUBSCRIBE_SPACING_MS ? spacing : PX_SUBSCRIBE_SPACING_MS;
}

/* Groups are a gateway's own; but whoever is being shown to the next one goes on looking. */
static void settle(const struct px_engine *e, struct user *u, int gateway)
{
	if (u->gateway != gateway && u->refused_ids == 0)
		u->group = 0;
	if (u->gateway != gateway && u->kept) {
		free(u->subscription);
		u->subscription = NULL;
		u->kept = false;
	}
	u->gateway = (int16_t)gateway;
	u->watch.swept = e->at[gateway].kind == PX_KIND_NONE;
}

static void house_the_homeless(struct px_engine *e, struct px_now now)
{
	if (!e->homeless || !px_pool_any_up(&e->pool) || px_pool_settling(&e->pool, now))
		return;
	for (uint32_t s = 0; s < e->end && e->homeless; s++) {
		struct user *u = px_user(e, s);
		if (u->used && u->watch.state == PX_WATCH_HOMELESS) {
			int g = u->gateway == PX_NO_GATEWAY
			            ? px_pool_assign_first(&e->pool)
			            : px_pool_assign_again(&e->pool, u->gateway);
			if (g == PX_NO_GATEWAY)
				break;
			settle(e, u, g);
			e->homeless--;
			px_watch_event(e, s, PX_W_HOMED, now);
		}
	}
}

void px_gateway_changed(struct px_engine *e, int g, enum px_pool_change change,
                        const struct px_reply *r, struct px_now now)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	switch (change) {
	case PX_POOL_SAME:
		return;
	case PX_POOL_GATEWAY_DOWN:
		px_say(e, PX_LOG_ERROR, "gateway=%s up->down why=%s code=%s detail=\"%s\" users=%u",
		       gw->name, px_verdict_name(r->verdict), r->code, r->detail, gw->users);
		break;
	case PX_POOL_GATEWAY_UP:
		px_say(e, PX_LOG_NOTICE, "gateway=%s up", gw->name);
		break;
	case PX_POOL_HELD:
		px_say(e, PX_LOG_ERROR,
		       "pool login open->%s gateway=%s code=%s detail=\"%s\": nothing is sent "
		       "until the account is accepted",
		       px_login_name(e->pool.login), gw->name, r->code, r->detail);
		break;
	case PX_POOL_OPEN:
		px_say(e, PX_LOG_NOTICE, "pool login open gateway=%s", gw->name);
		break;
	}
	for (unsigned i = 0; i < e->pool.n; i++) {
		if (e->pool.gateway[i].health == PX_GW_UP) {
			if (e->at[i].evacuated)
				px_gateway_back(e, (int)i, now);
			e->at[i].evacuated = false;
		} else if (e->pool.gateway[i].used && !e->at[i].evacuated) {
			if (e->pool.gateway[i].health == PX_GW_REFUSED)
				px_say(e, PX_LOG_ERROR,
				       "gateway=%s refused users=%u: login or impersonation is "
				       "accepted elsewhere, not here",
				       e->pool.gateway[i].name, e->pool.gateway[i].users);
			px_evacuate(e, (int)i, now);
		}
	}
	house_the_homeless(e, now);
}

static void probe(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];

	/* another mailbox each time: one that has troubles of its own must not be all we ask about
	 */
	for (uint32_t i = 0; i < e->end; i++) {
		uint32_t slot = (at->probe_user + i) % e->end;
		struct user *u = px_user(e, slot);
		if (!u->used || !u->on)
			continue;
		at->probe_user = slot + 1;
		const struct px_wall from = {now.wall.ms / 60000 * 60000};
		const char *name[1] = {u->mailbox};
		const struct px_query q = {.ask = PX_ASK_PROBE,
		                           .mailbox = u->mailbox,
		                           .name = name,
		                           .n = 1,
		                           .from = from,
		                           .until = {from.ms + 86400000}};
		if (px_request_start(e, OWNER_PROBE, 0, g, NULL, &q))
			return;
		break;
	}
	const struct px_reply unsent = {.verdict = PX_V_TRANSIENT, .code = "unsent"};
	px_gateway_changed(e, g, px_pool_probe_unsent(&e->pool, g, now), &unsent, now);
}

/* ---- the watch machine's wishes ---- */

/* What becomes of the subscription of a user who leaves. */
enum farewell_how {
	SUB_FORGET,      /* the server does without being told */
	SUB_UNSUBSCRIBE, /* it is told */
	SUB_KEEP         /* it is asked for when its server is back */
};

static void leave(struct px_engine *e, uint32_t slot, enum farewell_how how, struct px_now now)
{
	const bool unsubscribe = how == SUB_UNSUBSCRIBE;
	struct user *u = px_user(e, slot);

	if (u->link[LINK_SUBSCRIBE].prev != PX_UNLINKED && u->polling != PX_POLL_QUEUED)
		px_list_take(e, &e->at[u->gateway].subscribe, LINK_SUBSCRIBE, slot);
	u->asking = 0;
	px_stream_leave(e, slot);
	px_poll_leave(e, slot);
	/* the server's calls about what isn't known any more are answered accordingly */
	if (u->subscription && unsubscribe && u->kind != PX_KIND_PUSH &&
	    px_may_ask(e, u->gateway, now)) {
		const char *id[1] = {u->subscription};
		const struct px_query q = {.ask = PX_ASK_UNSUBSCRIBE,
		                           .mailbox = u->mailbox,
		                           .folder = u->folder,
		                           .id = id,
		                           .n = 1};
		px_request_start(e, OWNER_NOBODY, 0, u->gateway, &e->at[u->gateway].group[u->group],
		                 &q);
	} else if (u->subscription && unsubscribe && u->kind != PX_KIND_PUSH) {
		px_farewell(e, u->gateway, u, u->subscription);
	}
	u->kept = how == SUB_KEEP && u->subscription;
	if (u->kept)
		return;
	free(u->subscription);
	u->subscription = NULL;
}

/*
 * A server that can't be reached may still have the subscription when it is back, if that has a lifetime of its own: another
 * one beside it would be left behind there.
 */
static enum farewell_how farewell_how(const struct px_engine *e, unsigned todo,
                                      enum px_watch_event ev)
{
	if (todo & PX_W_UNSUBSCRIBE)
		return SUB_UNSUBSCRIBE;
	return ev == PX_W_SERVER && e->config.backend->renews ? SUB_KEEP : SUB_FORGET;
}

/* Where its calendar was: it may have gone elsewhere with its mailbox. */
static void forget_folder(struct user *u)
{
	free(u->folder);
	u->folder = NULL;
}

void px_watch_event(struct px_engine *e, uint32_t slot, enum px_watch_event ev, struct px_now now)
{
	struct user *u = px_user(e, slot);
	enum px_watch_state from = (enum px_watch_state)u->watch.state;
	int gateway = u->gateway;
	unsigned todo = px_watch_step(&u->watch, ev, now);
	enum px_watch_state to = (enum px_watch_state)u->watch.state;

	if (from == to && !todo)
		return;
	if (from == PX_WATCH_FOLLOWED && !u->dirty)
		u->good_at = now.mono; /* it was vouched for until now */
	if (to == PX_WATCH_FOLLOWED)
		u->refused_ids = 0;
	if (from == PX_WATCH_HOMELESS && to != PX_WATCH_HOMELESS && ev != PX_W_HOMED)
		e->homeless--;
	if (todo & PX_W_LEAVE)
		leave(e, slot, farewell_how(e, todo, ev), now);
	if (todo & PX_W_LEAVE && ev != PX_W_TRANSIENT && !u->kept)
		forget_folder(u);
	/* a subscription that fails keeps nobody from being read; but not at a gateway that is
	 * left, and not in vain */
	if (todo & PX_W_ASSIGN || to == PX_WATCH_OFF || to == PX_WATCH_PARKED)
		px_unmark(e, slot);
	if (to == PX_WATCH_OFF) {
		px_pool_leave(&e->pool, u->gateway);
		u->gateway = PX_NO_GATEWAY;
	}
	if (todo & PX_W_ASSIGN) {
		e->homeless++;
		int g;
		if (px_pool_settling(&e->pool, now))
			g = PX_NO_GATEWAY;
		else if (u->gateway == PX_NO_GATEWAY)
			g = px_pool_assign_first(&e->pool);
		else if (ev != PX_W_SERVER && u->watch.failures > 1)
			g = px_pool_assign_next(&e->pool, u->gateway);
		else
			g = px_pool_assign_again(&e->pool, u->gateway);
		if (g != PX_NO_GATEWAY) {
			settle(e, u, g);
			e->homeless--;
		}
		px_say(e, ev == PX_W_LOST ? PX_LOG_INFO : PX_LOG_DEBUG,
		       "user=%s watch %s->%s why=%s gateway=%s next=%s", u->key,
		       px_watch_state_name(from), px_watch_state_name(to), px_watch_event_name(ev),
		       gateway == PX_NO_GATEWAY ? "-" : e->pool.gateway[gateway].name,
		       g == PX_NO_GATEWAY ? "-" : e->pool.gateway[g].name);
		px_user_touch(e, slot);
		px_user_schedule(e, slot);
		if (g != PX_NO_GATEWAY)
			px_watch_event(e, slot, PX_W_HOMED, now);
		return;
	}
	if (from != to) {
		enum px_log_level level = to == PX_WATCH_PARKED    ? PX_LOG_WARN
		                          : to == PX_WATCH_BACKOFF ? PX_LOG_INFO
		                                                   : PX_LOG_DEBUG;
		if (u->watch.due.ms)
			px_say(e, level, "user=%s watch %s->%s why=%s code=%s gateway=%s in=%llds",
			       u->key, px_watch_state_name(from), px_watch_state_name(to),
			       px_watch_event_name(ev), e->trouble[u->trouble],
			       u->gateway == PX_NO_GATEWAY ? "-" : e->pool.gateway[u->gateway].name,
			       (long long)(u->watch.due.ms - now.mono.ms + 500) / 1000);
		else
			px_say(e, level, "user=%s watch %s->%s why=%s gateway=%s", u->key,
			       px_watch_state_name(from), px_watch_state_name(to),
			       px_watch_event_name(ev),
			       u->gateway == PX_NO_GATEWAY ? "-"
			                                   : e->pool.gateway[u->gateway].name);
	}
	px_user_touch(e, slot);
	px_user_schedule(e, slot);
	/* a user who was parked or backed off may find its gateway dead, or have none */
	if (todo & (PX_W_QUEUE | PX_W_READ) &&
	    (u->gateway == PX_NO_GATEWAY || e->pool.gateway[u->gateway].health != PX_GW_UP)) {
		px_watch_event(e, slot, PX_W_SERVER, now);
		return;
	}
	if (todo & PX_W_QUEUE) {
		if (ev == PX_W_DEFERRED)
			px_list_push_front(e, &e->at[u->gateway].subscribe, LINK_SUBSCRIBE, slot);
		else
			px_list_push(e, &e->at[u->gateway].subscribe, LINK_SUBSCRIBE, slot);
	}
	if (todo & PX_W_GATHER)
		px_gather(e, slot, u->old, now);
	if (todo & PX_W_READ)
		px_mark(e, slot, READ_COLD, now);
}

static bool takes_over(const struct px_engine *e, const struct px_known *k)
{
	const unsigned can = e->config.kinds & ~PX_KIND_BIT(PX_KIND_NONE);

	return k->subscription && k->kind < PX_KIND_NONE && can & PX_KIND_BIT(k->kind) &&
	       (k->kind != PX_KIND_PULL || k->watermark || e->config.backend->poll_max > 1);
}

/* A subscription of before: believed until its stream, or a poll, says otherwise, or nothing is heard of it. */
static void believe(struct px_engine *e, uint32_t slot, struct px_now now)
{
	px_user(e, slot)->old = true;
	px_watch_event(e, slot, PX_W_SUBSCRIBED, now);
	px_user(e, slot)->old = false;
}

/* What an earlier process had. */
void px_adopt(struct px_engine *e, uint32_t slot, const struct px_known *k, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (k->gateway < 0 || (unsigned)k->gateway >= e->pool.n ||
	    e->pool.gateway[k->gateway].health == PX_GW_LEAVING ||
	    u->watch.state != PX_WATCH_WAITING)
		return;
	leave(e, slot, SUB_FORGET, now);
	px_unmark(e, slot);
	px_pool_leave(&e->pool, u->gateway);
	e->pool.gateway[k->gateway].users++;
	u->gateway = (int16_t)k->gateway;
	if (k->subscription && (u->subscription = strdup(k->subscription))) {
		u->subscription_hash = px_text_hash(k->subscription);
		u->kind = (uint8_t)k->kind;
		u->minutes = (uint8_t)k->minutes;
	}
	if (u->subscription && takes_over(e, k)) {
		u->watermark = k->watermark ? strdup(k->watermark) : NULL;
		believe(e, slot, now);
	} else { /* what it had, and can't have any more, is given up when it subscribes */
		px_list_push(e, &e->at[k->gateway].subscribe, LINK_SUBSCRIBE, slot);
	}
	px_mark(e, slot, READ_COLD, now);
}

/* Before anything can be asked of a calendar, where that isn't known. */
static void locate(struct px_engine *e, int g, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	const struct px_query q = {.ask = PX_ASK_LOCATE, .mailbox = u->mailbox};
	uint64_t id = px_request_start(e, OWNER_USER, slot, g, NULL, &q);

	if (id)
		u->asking = (uint32_t)id + 1;
	else
		px_watch_event(e, slot, PX_W_TRANSIENT, now);
}

static void ask_subscription(struct px_engine *e, int g, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct group *group = &e->at[g].group[u->group];
	struct at_gateway *at = &e->at[g];

	u->kind = at->kind;
	u->minutes = (uint8_t)px_subscribe_minutes(e, g, (enum px_kind)u->kind);
	u->called = false;
	char callback[PX_CALLBACK_MAX];
	bool calls = (u->kind == PX_KIND_PUSH || e->config.backend->hints) && e->config.callback &&
	             *e->config.callback;
	if (calls)
		snprintf(callback, sizeof callback, "%s%08x", e->config.callback, u->key_hash);
	const struct px_query q = {.ask = PX_ASK_SUBSCRIBE,
	                           .mailbox = u->mailbox,
	                           .folder = u->folder,
	                           .kind = (enum px_kind)u->kind,
	                           .minutes = u->minutes,
	                           .callback = calls ? callback : NULL};
	bool begins = !group->anchor;
	if (begins)
		group->anchor = strdup(u->mailbox);
	uint64_t id = px_request_start(e, OWNER_USER, slot, g, group, &q);
	if (!id) {
		if (begins)
			px_group_end(group);
		px_watch_event(e, slot, PX_W_TRANSIENT, now);
		return;
	}
	if (begins)
		group->beginner = id;
	if (u->kind == PX_KIND_PUSH && !at->called)
		at->trial = slot + 1;
	u->asking = (uint32_t)id + 1;
	e->counts.subscribes++;
}

static void subscribe(struct px_engine *e, int g, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	px_list_take(e, &e->at[g].subscribe, LINK_SUBSCRIBE, slot);
	if (u->kept && u->kind == e->at[g].kind) { /* its renewal tells whether it still stands */
		u->kept = false;
		believe(e, slot, now);
		return;
	}
	px_watch_event(e, slot, PX_W_TURN, now);
	if (u->subscription)
		leave(e, slot, SUB_UNSUBSCRIBE, now);
	if (e->config.backend->locates && !u->folder)
		locate(e, g, slot, now);
	else
		ask_subscription(e, g, slot, now);
}

/* Whoever begins a group goes alone: its answer says what leads the others to the same server. So does the first who is to be called. */
static bool somebody_goes_ahead(const struct px_engine *e, int g)
{
	const struct at_gateway *at = &e->at[g];

	if (at->kind == PX_KIND_PUSH && at->trial)
		return true;
	return at->group[px_user(e, at->subscribe.head)->group].beginner != 0;
}

/* What the answer to a Subscribe means for those who share its server. True: the new subscription is on another one than they. */
static bool answered_group(struct group *group, uint64_t id, unsigned led,
                           const struct px_reply *reply, const char *cookie)
{
	bool astray = false;

	if (reply->verdict == PX_V_OK) {
		group->failures = 0;
		if (group->beginner == id) {
			group->cookie = cookie ? strdup(cookie) : NULL;
		} else if (cookie && group->cookie && strcmp(cookie, group->cookie) != 0) {
			/* the server that the old one led to is gone: all follow to the first new one; those who were under
			 * way with the old one have been led to any */
			astray = led != group->led;
			if (!astray) {
				free(group->cookie);
				group->cookie = strdup(cookie);
				group->led++;
			}
		}
	} else if (group->beginner == id) {
		px_group_end(group);
	} else if ((reply->verdict == PX_V_LOST || reply->verdict == PX_V_TRANSIENT) &&
	           ++group->failures >= PX_WATCH_TRIES) {
		px_group_end(group); /* its anchor may be gone */
	}
	if (group->beginner == id)
		group->beginner = 0;
	return astray;
}

/* Ends a subscription that nobody will listen to, where cookie leads. */
static void end_there(struct px_engine *e, const struct request *r, const struct user *u,
                      const char *cookie)
{
	const struct group *group = &e->at[r->gateway].group[r->group];
	char *there = cookie ? strdup(cookie) : NULL;
	const struct group led = {.anchor = group->anchor, .cookie = there};
	const char *ids[1] = {r->got};
	const struct px_query q = {.ask = PX_ASK_UNSUBSCRIBE,
	                           .mailbox = u->mailbox,
	                           .folder = u->folder,
	                           .id = ids,
	                           .n = 1};

	px_request_start(e, OWNER_NOBODY, 0, r->gateway, &led, &q);
	free(there);
}

void px_subscribed(struct px_engine *e, struct request *r, uint64_t id,
                   const struct px_reply *reply, const char *cookie, struct px_now now)
{
	struct user *u = px_user(e, r->index);
	char *got = r->got;
	struct group *group = &e->at[r->gateway].group[r->group];

	bool astray =
	    r->ask == PX_ASK_SUBSCRIBE && answered_group(group, id, r->led, reply, cookie);
	if (!u->used || u->generation != r->user_generation || u->asking != (uint32_t)id + 1) {
		/* it went elsewhere meanwhile: don't leave a subscription behind that nobody
		 * listens to */
		if (r->ask != PX_ASK_SUBSCRIBE)
			return;
		if (reply->verdict == PX_V_OK && got && r->kind != PX_KIND_PUSH &&
		    px_may_ask(e, r->gateway, now) && u->used &&
		    u->generation == r->user_generation) {
			end_there(e, r, u, cookie ? cookie : group->cookie);
		} else if (reply->verdict == PX_V_OK && got && r->kind != PX_KIND_PUSH && u->used &&
		           u->generation == r->user_generation) {
			px_farewell(e, r->gateway, u, got);
		}
		return;
	}
	u->asking = 0;
	if (reply->verdict == PX_V_OK && got && r->ask == PX_ASK_LOCATE) {
		forget_folder(u);
		u->folder = got;
		r->got = NULL;
		ask_subscription(e, r->gateway, r->index, now);
		return;
	}
	if (reply->verdict == PX_V_OK && got && astray && r->kind != PX_KIND_PUSH) {
		end_there(e, r, u, cookie);
		ask_subscription(e, r->gateway, r->index, now);
		return;
	}
	if (reply->verdict == PX_V_OK && got) {
		free(u->subscription);
		free(u->watermark);
		u->subscription = got;
		u->watermark = r->watermark;
		r->got = r->watermark = NULL;
		u->subscription_hash = px_text_hash(got);
		e->at[r->gateway].doubts = 0;
		px_renew_at(u, r->lifetime_s, now);
		px_watch_event(e, r->index, PX_W_SUBSCRIBED, now);
		return;
	}
	if (e->at[r->gateway].trial == r->index + 1)
		e->at[r->gateway].trial = 0;
	if (reply->verdict != PX_V_SERVER)
		u->trouble = px_trouble(e, reply->code);
	switch (reply->verdict) {
	case PX_V_SERVER: /* the gateway's users were told, unless it was taken for down before */
		px_watch_event(e, r->index, PX_W_SERVER, now);
		break;
	case PX_V_LOST:
	case PX_V_GAP:
		px_watch_event(e, r->index, PX_W_LOST, now);
		break;
	case PX_V_KIND:
		if (!px_kind_refused(e, r->gateway, r->index, (enum px_kind)r->kind, reply, now))
			px_watch_event(e, r->index, PX_W_TRANSIENT, now);
		else if (u->watch.state == PX_WATCH_SUBSCRIBING) /* it was known before */
			px_watch_event(e, r->index, PX_W_KIND, now);
		break;
	case PX_V_BUSY:
	case PX_V_DENIED:
		px_watch_event(e, r->index, PX_W_DEFERRED, now);
		break;
	case PX_V_USER:
	case PX_V_UNREADABLE:
		/* it can't be followed; but it may be read in another way, as long as that goes well */
		if (e->config.backend->one_first && u->alone_until && !u->read_failures)
			px_watch_event(e, r->index, PX_W_TRANSIENT, now);
		else
			px_watch_event(e, r->index, PX_W_USER, now);
		break;
	case PX_V_OK:
	case PX_V_WIDE:
	case PX_V_TRANSIENT:
	case PX_V_VERSION:
	case PX_VERDICTS:
		px_watch_event(e, r->index, PX_W_TRANSIENT, now);
		break;
	}
}

/* ---- time ---- */

/* Something of it is shown (by an earlier process, perhaps) and nothing vouches for it. */
static bool ages(const struct user *u)
{
	return !u->stale && (u->presence != PX_UNKNOWN || u->publication.want) &&
	       (u->watch.state != PX_WATCH_FOLLOWED || u->dirty);
}

/* Its stream's reopening is its sweep. */
static bool vouched(const struct user *u)
{
	return u->watch.state == PX_WATCH_FOLLOWED && u->kind == PX_KIND_STREAM;
}

struct px_mono px_follow_user_deadline(const struct px_engine *e, const struct user *u)
{
	struct px_mono at = px_earlier(u->watch.due, u->turn_at);

	if (!u->on || u->leaving)
		return u->watch.due;
	if (!u->polling)
		at = px_earlier(at, px_earlier(u->sub_due, u->renew_due));
	if (!u->reading && u->read_queue == READ_NONE && u->watch.state != PX_WATCH_HOMELESS &&
	    (!vouched(u) || u->read_failures))
		at = px_earlier(at, u->read_due);
	if (ages(u))
		at = px_earlier(at,
		                (struct px_mono){u->good_at.ms + e->config.stale_after_s * 1000});
	return at;
}

void px_follow_user_due(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (px_due(u->watch.due, now))
		px_watch_event(e, slot, PX_W_DUE, now);
	if (!u->on || u->leaving)
		return;
	px_poll_user_due(e, slot, now);
	if (px_due(u->turn_at, now)) {
		bool at_end = now.wall.ms / 1000 >= u->calendar.until;
		px_present(e, slot, now);
		if (at_end) /* we have run out of calendar */
			px_mark(e, slot, READ_COLD, now);
	}
	if (px_due(u->read_due, now) && !u->reading && u->read_queue == READ_NONE &&
	    u->watch.state != PX_WATCH_HOMELESS) {
		if (vouched(u) && !u->read_failures) {
			u->read_due = (struct px_mono){0};
		} else {
			px_set_sweep(e, u, now);
			if (u->watch.state != PX_WATCH_PARKED)
				px_mark(e, slot, u->read_failures ? READ_COLD : READ_SWEEP, now);
		}
	}
	if (ages(u) && now.mono.ms - u->good_at.ms >= e->config.stale_after_s * 1000)
		px_present_stale(e, slot, now);
}

void px_follow_tick(struct px_engine *e, struct px_now now)
{
	px_kinds_tick(e, now);
	px_streams_tick(e, now);
	px_readings_tick(e, now);
}

static bool may_subscribe(const struct px_engine *e, int g)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	/* the population's state comes first, if it can be read */
	if (e->config.backend->one_first && e->at[g].read[LANE_ONE][READ_COLD].n &&
	    !px_readings_stuck(e, g, READ_COLD))
		return false;
	if (e->config.backend->read_max &&
	    e->at[g].read[LANE_MANY][READ_COLD].n >= e->config.backend->read_max &&
	    !px_readings_stuck(e, g, READ_COLD))
		return false;
	return gw->in_flight + 2 < gw->limit || gw->in_flight == 0;
}

static void pump_subscribes(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];

	while (at->subscribe.n && !somebody_goes_ahead(e, g) && may_subscribe(e, g) &&
	       px_may_ask(e, g, now) && at->subscribe_next.ms <= now.mono.ms) {
		/* what was missed is not made up for: no herd after a pause */
		at->subscribe_next = px_after(now, at->subscribe_spacing);
		at->polled_last = false;
		subscribe(e, g, at->subscribe.head, now);
	}
}

void px_follow_pump(struct px_engine *e, struct px_now now)
{
	int g;

	while ((g = px_pool_probe(&e->pool, now)) != PX_NO_GATEWAY)
		probe(e, g, now);
	house_the_homeless(e, now);
	px_gateways_pump(e, now);
	for (g = 0; g < (int)e->pool.n; g++) {
		struct at_gateway *at = &e->at[g];

		px_readings_pump(e, g, now);
		px_oof_pump(e, g, now);
		pace_subscribes(at);
		/* where one request at a time is all that may be, those who are followed must not keep the others from it */
		if (at->polled_last)
			pump_subscribes(e, g, now);
		px_polls_pump(e, g, now);
		pump_subscribes(e, g, now);
	}
}

struct px_mono px_follow_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = px_pool_due(&e->pool, now);

	at = px_earlier(at, px_gateways_due(e, now));
	at = px_earlier(at, px_streams_due(e));
	at = px_earlier(at, px_readings_due(e, now));
	at = px_earlier(at, px_polls_due(e, now));
	at = px_earlier(at, px_kinds_due(e));
	for (int g = 0; g < (int)e->pool.n; g++) {
		const struct at_gateway *q = &e->at[g];

		at = px_earlier(at, px_oof_due(e, g, now));
		if (q->subscribe.n && !somebody_goes_ahead(e, g) && px_may_ask(e, g, now) &&
		    may_subscribe(e, g))
			at = px_earlier(at, q->subscribe_next.ms > now.mono.ms ? q->subscribe_next
			                                                       : now.mono);
	}
	return at;
}
