/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Subscriptions without a stream: the server calls (push), or is asked (pull).
 *
 * Push: followed from the first call on. One goes ahead alone at each gateway: when no call comes, none will. Silence for twice the time
 * after which the server calls anyhow means that the subscription is gone.
 * Pull: followed from the start, asked every poll interval; as a rule one request a user, in turn, evenly spread.
 */
#include "core/engine_in.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLL_CHANGED = 1, POLL_GONE = 2, POLL_MORE = 4, POLL_GAP = 8 };

/* ---- finding users by subscription ---- */

static uint32_t *id_cell(const struct px_engine *e, uint32_t slot)
{
	uint32_t mask = e->id_size - 1;

	for (uint32_t i = px_user(e, slot)->subscription_hash & mask;; i = (i + 1) & mask)
		if (e->id[i] == 0 || e->id[i] == slot + 1)
			return &e->id[i];
}

static bool id_grow(struct px_engine *e)
{
	uint32_t size = e->id_size ? 2 * e->id_size : 256, old_size = e->id_size, *old = e->id;
	uint32_t *table = calloc(size, sizeof *table);

	if (!table)
		return false;
	e->id = table;
	e->id_size = size;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i])
			*id_cell(e, old[i] - 1) = old[i];
	free(old);
	return true;
}

/*
 * Ids are a server's own: two users of one gateway with the same live on different servers behind it. Then one server can't be asked about
 * the others' ids: it would take them for its own.
 */
static void note_namesakes(struct px_engine *e, uint32_t slot)
{
	const struct user *u = px_user(e, slot);
	struct at_gateway *at = &e->at[u->gateway];
	uint32_t mask = e->id_size - 1;

	for (uint32_t i = u->subscription_hash & mask; e->id_size && e->id[i] && !at->namesakes;
	     i = (i + 1) & mask) {
		const struct user *other = px_user(e, e->id[i] - 1);

		if (other == u || other->gateway != u->gateway ||
		    other->subscription_hash != u->subscription_hash ||
		    strcmp(other->subscription, u->subscription) != 0)
			continue;
		at->namesakes = true;
		if (e->config.backend->poll_max > 1)
			px_say(e, PX_LOG_INFO,
			       "gateway=%s polls=single: there are several servers behind it",
			       e->pool.gateway[u->gateway].name);
	}
}

static void id_put(struct px_engine *e, uint32_t slot)
{
	note_namesakes(e, slot);
	if (4 * (e->ids + 1) > 3 * e->id_size && !id_grow(e) && e->ids + 1 >= e->id_size)
		return; /* not found by what it is called: silence will tell, and polls go on */
	uint32_t *cell = id_cell(e, slot);
	e->ids += *cell == 0;
	*cell = slot + 1;
}

/* Linear probing without tombstones: what follows the hole moves up (Knuth, 6.4 R). */
static void id_drop(struct px_engine *e, uint32_t slot)
{
	uint32_t mask = e->id_size - 1;

	if (!e->id_size)
		return;
	uint32_t *cell = id_cell(e, slot);
	if (*cell == 0)
		return;
	uint32_t hole = (uint32_t)(cell - e->id);
	for (uint32_t i = (hole + 1) & mask; e->id[i]; i = (i + 1) & mask) {
		uint32_t home = px_user(e, e->id[i] - 1)->subscription_hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			e->id[hole] = e->id[i];
			hole = i;
		}
	}
	e->id[hole] = 0;
	e->ids--;
}

static unsigned poll_max(const struct px_engine *e)
{
	size_t max = e->config.backend->poll_max;

	return max < PX_POLL_USERS ? (unsigned)max : PX_POLL_USERS;
}

static unsigned at_once(const struct px_engine *e, int g)
{
	return e->at[g].namesakes ? 1 : poll_max(e);
}

/* ---- intervals ---- */

static int64_t spread(const struct user *u, int64_t ms)
{
	return ms - ms / 8 + (int64_t)(u->watch.seed >> 8) % (ms / 4 + 1);
}

int64_t px_poll_interval(const struct px_engine *e, int g)
{
	const unsigned n = at_once(e, g);
	int64_t ms = (int64_t)e->pool.gateway[g].users * PX_POLL_SPACING_MS / (n ? n : 1);

	return ms < PX_POLL_MIN_MS ? PX_POLL_MIN_MS : ms > PX_POLL_MAX_MS ? PX_POLL_MAX_MS : ms;
}

unsigned px_subscribe_minutes(const struct px_engine *e, int g, enum px_kind kind)
{
	uint32_t minutes = e->pool.gateway[g].users / PX_PUSH_USERS_A_MINUTE;

	if (kind == PX_KIND_PULL)
		return PX_PULL_MINUTES;
	return minutes < PX_PUSH_MIN ? PX_PUSH_MIN : minutes > PX_PUSH_MAX ? PX_PUSH_MAX : minutes;
}

static struct px_mono silence(const struct user *u, struct px_now now)
{
	return px_after(now, (int64_t)u->minutes * 2 * 60000 + PX_PUSH_GRACE_MS);
}

/* ---- one user's subscription ---- */

/* Without its path, which nobody else may know. */
static int callback_host(const struct px_engine *e, char *out, size_t size)
{
	const char *url = e->config.callback ? e->config.callback : "-", *host = strstr(url, "//");

	return snprintf(out, size, "%.*s",
	                host ? (int)(host + 2 - url + (ptrdiff_t)strcspn(host + 2, "/")) : 1, url);
}

static void calls_arrive(struct px_engine *e, int g)
{
	char host[PX_DETAIL_MAX];

	if (e->at[g].called)
		return;
	e->at[g].called = true;
	callback_host(e, host, sizeof host);
	px_say(e, PX_LOG_NOTICE, "gateway=%s %s arrive at %s", e->pool.gateway[g].name,
	       e->config.backend->hints ? "notify: NOTIFYs" : "push: calls", host);
}

static bool has_hints(const struct px_engine *e)
{
	return e->config.backend->hints && e->config.callback && *e->config.callback;
}

/* A change was found by asking that a call should have told of. One call may be late or lost; not all of them. */
static void unheard(struct px_engine *e, const struct user *u)
{
	struct at_gateway *at = &e->at[u->gateway];
	char host[PX_DETAIL_MAX];

	if (at->called || !u->calls || at->unheard == PX_UNHEARD || ++at->unheard < PX_UNHEARD)
		return;
	callback_host(e, host, sizeof host);
	px_say(e, PX_LOG_WARN,
	       "gateway=%s notify: none came to %s, and %d changes were found by asking: let UDP "
	       "from all servers of Exchange through to it; see listen_udp, announce_udp",
	       e->pool.gateway[u->gateway].name, host, PX_UNHEARD);
}

static void called(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct at_gateway *at = &e->at[u->gateway];

	calls_arrive(e, u->gateway);
	at->called_at = now.mono;
	at->trial = 0; /* no sign of life: whoever called may be late, or another */
	u->sub_due = silence(u, now);
	if (u->watch.state == PX_WATCH_GATHERING)
		px_watch_event(e, slot, PX_W_FOLLOWED, now);
	px_user_schedule(e, slot);
}

void px_gather(struct px_engine *e, uint32_t slot, bool old, struct px_now now)
{
	struct user *u = px_user(e, slot);

	switch ((enum px_kind)u->kind) {
	case PX_KIND_STREAM:
		px_stream_join(e, slot, now);
		return;
	case PX_KIND_PUSH:
		id_put(e, slot);
		if (u->called) {
			called(e, slot, now);
		} else if (
		    old) { /* it has called an earlier process, and does again within its time */
			u->sub_due = px_after(now, (int64_t)u->minutes * 60000 + PX_PUSH_GRACE_MS);
			px_watch_event(e, slot, PX_W_FOLLOWED, now);
		} else {
			u->sub_due = px_after(now, PX_PUSH_FIRST_MS);
		}
		break;
	case PX_KIND_PULL:
		if (e->config.backend->hints)
			id_put(e, slot);
		u->sub_due = px_after(
		    now, (int64_t)(u->watch.seed >> 4) % px_poll_interval(e, u->gateway) + 1);
		/* what happened while nobody was there was told to nobody, and isn't told again before a poll */
		u->calls = !old && has_hints(e);
		if (old && has_hints(e)) {
			u->sub_due = px_after(now, PX_HINT_GATHER_MS);
			u->hinted = true;
		}
		if (old && e->config.backend->renews) /* how long it lives isn't known */
			u->renew_due = px_after(now, spread(u, PX_BELIEVED_MS));
		px_watch_event(e, slot, PX_W_FOLLOWED, now);
		break;
	case PX_KIND_NONE:
	case PX_KINDS:
		assert(!"a kind");
	}
	px_user_schedule(e, slot);
}

/* Out of everything that is about its subscription. */
void px_poll_leave(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (u->polling == PX_POLL_QUEUED)
		px_list_take(e, &e->at[u->gateway].poll, LINK_SUBSCRIBE, slot);
	u->polling = 0; /* the answer of one under way isn't its own any more */
	if (u->subscription && u->kind != PX_KIND_STREAM)
		id_drop(e, slot);
	free(u->watermark);
	u->watermark = NULL;
	u->sub_due = u->renew_due = (struct px_mono){0};
	u->poll_failures = 0;
	if (u->gateway != PX_NO_GATEWAY && e->at[u->gateway].trial == slot + 1)
		e->at[u->gateway].trial = 0;
}

void px_poll_user_due(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct at_gateway *at = u->gateway == PX_NO_GATEWAY ? NULL : &e->at[u->gateway];
	char why[PX_DETAIL_MAX];

	if (!at || (!px_due(u->sub_due, now) && !px_due(u->renew_due, now)))
		return;
	if (u->kind == PX_KIND_PULL) {
		u->sub_due = (struct px_mono){0};
		if (u->polling || u->watch.state != PX_WATCH_FOLLOWED)
			return;
		u->polling = PX_POLL_QUEUED;
		if (u->hinted || at_once(e, u->gateway) == 1)
			at->poll_at = now.mono;
		else if (at->poll.n == 0)
			at->poll_at = px_after(now, PX_POLL_GATHER_MS);
		u->hinted = false;
		px_list_push(e, &at->poll, LINK_SUBSCRIBE, slot);
		return;
	}
	u->sub_due = (struct px_mono){0};
	u->trouble = px_trouble(e, "silent");
	/* nobody was called in all the time in which it should have been: if ever they have, calls don't arrive any more */
	if (u->watch.state == PX_WATCH_GATHERING &&
	    now.mono.ms - at->called_at.ms >= PX_PUSH_FIRST_MS) {
		snprintf(why, sizeof why,
		         "no call came to %.100s: can Exchange reach it? see announce_http, and "
		         "firewalls",
		         e->config.callback ? e->config.callback : "-");
		px_kind_broken(e, u->gateway, PX_KIND_PUSH, "silent", why, now);
		return;
	}
	px_watch_event(e, slot, PX_W_LOST, now);
}

/* ---- polls ---- */

static struct polling *polling_new(struct px_engine *e, int gateway, unsigned *index)
{
	unsigned i = 0;

	while (i < e->pollings && e->polling[i]->used)
		i++;
	if (i == e->pollings) {
		if (i == PX_POLL_QUEUED - 1u)
			return NULL;
		if (e->pollings == e->pollings_cap) {
			unsigned cap = e->pollings_cap ? 2 * e->pollings_cap : 16;
			struct polling **more = realloc(e->polling, cap * sizeof(struct polling *));
			if (!more)
				return NULL;
			e->polling = more;
			e->pollings_cap = cap;
		}
		e->polling[i] = calloc(1, sizeof(struct polling));
		if (!e->polling[i])
			return NULL;
		e->pollings++;
	}
	*e->polling[i] = (struct polling){.used = true, .gateway = gateway};
	*index = i;
	return e->polling[i];
}

static struct user *polled_user(const struct px_engine *e, const struct polled *m, unsigned index)
{
	struct user *u = px_user(e, m->slot);

	return u->used && u->generation == m->generation && u->polling == index + 1 ? u : NULL;
}

static void poll_again(struct user *u, int64_t in_ms, struct px_now now)
{
	u->sub_due = px_after(now, in_ms);
	if (px_due(u->renew_due, now)) /* it takes the place of that poll */
		u->renew_due = u->sub_due;
}

static void poll(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];
	const char *id[PX_POLL_USERS];
	unsigned index = 0, max = at_once(e, g);
	uint8_t group = px_user(e, at->poll.head)->group;
	struct polling *p = polling_new(e, g, &index);
	struct px_query q = {.ask = PX_ASK_POLL, .id = id};

	while (at->poll.n && (!p || p->n < max)) {
		uint32_t slot = at->poll.head;
		struct user *u = px_user(e, slot);
		/* which may be refused other than at its folder, and that is asked for first */
		bool renew =
		    px_due(u->renew_due, now) && (u->folder || !e->config.backend->locates);

		if (p && p->n && (renew || u->group != group))
			break;
		px_list_take(e, &at->poll, LINK_SUBSCRIBE, slot);
		u->polling = 0;
		if (!p) { /* out of memory */
			poll_again(u, PX_WATCH_RETRY_MIN, now);
			px_user_schedule(e, slot);
			return;
		}
		if (p->n == 0) {
			q.mailbox = u->mailbox;
			q.folder = u->folder;
			q.watermark = u->watermark;
			q.kind = (enum px_kind)u->kind;
		}
		u->polling = (uint16_t)(index + 1);
		id[p->n] = u->subscription;
		p->user[p->n++] = (struct polled){.slot = slot, .generation = u->generation};
		if (renew) {
			q.ask = PX_ASK_RENEW;
			break;
		}
	}
	q.n = p->n;
	p->renew = q.ask == PX_ASK_RENEW;
	p->request = px_request_start(e, OWNER_POLLING, index, g, &at->group[group], &q);
	if (!p->request) { /* out of memory */
		struct px_reply r = {.verdict = PX_V_TRANSIENT};
		px_polling_done(e, index, &r, now);
		return;
	}
	at->polled_last = true;
	e->counts.polls++;
}

void px_polling_said(struct px_engine *e, unsigned index, const struct px_item *item)
{
	struct polling *p = e->polling[index];

	for (unsigned i = 0; i < p->n; i++) {
		struct polled *m = &p->user[i];
		const struct user *u = polled_user(e, m, index);

		/* one alone needn't be named */
		if (!u || (item->id ? strcmp(u->subscription, item->id) != 0 : p->n > 1))
			continue;
		if (item->kind == PX_ITEM_CHANGED)
			m->said |= POLL_CHANGED;
		else if (item->kind == PX_ITEM_GONE)
			m->said |= item->verdict == PX_V_GAP ? POLL_GAP : POLL_GONE;
		else if (item->kind == PX_ITEM_MORE)
			m->said |= POLL_MORE;
		if (item->lifetime_s)
			m->lifetime_s = item->lifetime_s;
		if (item->watermark) {
			free(m->watermark);
			m->watermark = strdup(item->watermark);
		}
		return;
	}
}

void px_renew_at(struct user *u, uint32_t lifetime_s, struct px_now now)
{
	int64_t ms = (int64_t)lifetime_s * 1000;

	u->renew_due = ms ? px_after(now, spread(u, ms * 3 / 4)) : (struct px_mono){0};
}

static void polled_well(struct px_engine *e, struct polled *m, bool renewed, struct px_now now)
{
	struct user *u = px_user(e, m->slot);
	bool on = !m->watermark || !u->watermark || strcmp(m->watermark, u->watermark) != 0;

	u->poll_failures = 0;
	if (m->watermark && on) {
		free(u->watermark);
		u->watermark = m->watermark;
		m->watermark = NULL;
		px_user_touch(e, m->slot);
	}
	if (renewed) {
		px_renew_at(u, m->lifetime_s, now);
		u->hinted = true; /* it took the place of a poll, which a hint may have asked for */
	}
	/* a server that says "more" and gives nothing isn't asked the faster for it */
	poll_again(u,
	           m->said & POLL_MORE && on ? 1
	           : u->hinted               ? PX_HINT_GATHER_MS
	                                     : spread(u, px_poll_interval(e, u->gateway)),
	           now);
	if (m->said & POLL_CHANGED) {
		unheard(e, u);
		e->counts.events++;
		px_mark(e, m->slot, READ_HOT, now);
	}
	u->calls = has_hints(e);
	px_watch_event(e, m->slot, PX_W_PROVEN, now);
}

static void poll_failed(struct px_engine *e, uint32_t slot, const struct px_reply *r,
                        struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (r->verdict != PX_V_SERVER)
		u->trouble = px_trouble(e, r->code);
	switch (r->verdict) {
	case PX_V_SERVER:
		px_watch_event(e, slot, PX_W_SERVER, now);
		break;
	case PX_V_USER:
	case PX_V_UNREADABLE:
		px_watch_event(e, slot, PX_W_USER, now);
		break;
	case PX_V_GAP:
		px_watch_event(e, slot, PX_W_GAP, now);
		break;
	case PX_V_LOST:
	case PX_V_KIND:
		px_misplaced(e, slot);
		px_watch_event(e, slot, PX_W_LOST, now);
		break;
	case PX_V_BUSY:
	case PX_V_DENIED: /* what holds them all is the pool's matter */
		poll_again(u, PX_WATCH_RETRY_MIN, now);
		break;
	case PX_V_OK:
	case PX_V_WIDE:
	case PX_V_TRANSIENT:
	case PX_V_VERSION:
	case PX_VERDICTS:
		if (++u->poll_failures >= PX_WATCH_TRIES)
			px_watch_event(e, slot, PX_W_LOST, now);
		else
			poll_again(u,
			           px_backoff(4 * PX_WATCH_RETRY_MIN, PX_WATCH_RETRY_MAX,
			                      u->poll_failures, u->watch.seed),
			           now);
		break;
	}
}

void px_polling_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                     struct px_now now)
{
	struct polling *p = e->polling[index];
	struct px_reply r = *reply;

	/* of several it isn't known whose trouble it is: each is asked alone later, in vain */
	if (r.verdict == PX_V_USER && p->n > 1)
		r.verdict = PX_V_TRANSIENT;
	for (unsigned i = 0; i < p->n; i++) {
		struct polled *m = &p->user[i];
		struct user *u = polled_user(e, m, index);

		if (u) {
			u->polling = 0;
			if (r.verdict != PX_V_OK) {
				poll_failed(e, m->slot, &r, now);
			} else if (m->said & (POLL_GONE | POLL_GAP)) {
				struct px_reply gone = r;

				gone.verdict = m->said & POLL_GAP ? PX_V_GAP : PX_V_LOST;
				poll_failed(e, m->slot, &gone, now);
			} else {
				polled_well(e, m, p->renew, now);
			}
			px_user_schedule(e, m->slot);
		}
		free(m->watermark);
		m->watermark = NULL;
	}
	p->used = false;
}

/* Requests at a gateway that is left end without an answer. */
void px_polls_evacuate(struct px_engine *e, int g)
{
	for (unsigned i = 0; i < e->pollings; i++) {
		struct polling *p = e->polling[i];

		if (!p->used || p->gateway != g)
			continue;
		px_request_cancel(e, p->request);
		for (unsigned k = 0; k < p->n; k++) {
			struct user *u = polled_user(e, &p->user[k], i);

			if (u)
				u->polling = 0; /* it is told to go in a moment */
			free(p->user[k].watermark);
		}
		p->used = false;
	}
}

static bool may_poll(const struct px_engine *e, int g, struct px_now now)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	return e->at[g].poll.n &&
	       (px_due(e->at[g].poll_at, now) || e->at[g].poll.n >= at_once(e, g)) &&
	       px_may_ask(e, g, now) && (gw->in_flight + 1 < gw->limit || gw->in_flight == 0);
}

void px_polls_pump(struct px_engine *e, int g, struct px_now now)
{
	while (may_poll(e, g, now))
		poll(e, g, now);
}

struct px_mono px_polls_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = {0};

	for (int g = 0; g < (int)e->pool.n; g++) {
		if (may_poll(e, g, now))
			return now.mono;
		if (e->at[g].poll.n && !px_due(e->at[g].poll_at, now))
			at = px_earlier(at, e->at[g].poll_at);
	}
	return at;
}

void px_polls_free(struct px_engine *e)
{
	for (unsigned i = 0; i < e->pollings; i++) {
		for (unsigned k = 0; e->polling[i]->used && k < e->polling[i]->n; k++)
			free(e->polling[i]->user[k].watermark);
		free(e->polling[i]);
	}
	free(e->polling);
	free(e->id);
}

/* ---- what a listener heard ---- */

struct hearing {
	struct px_engine *e;
	uint32_t who;
	struct px_now now;
	unsigned known;
};

/* Goes on from *at (hash to begin with): ids are a server's own, so several users may have the same. */
static uint32_t next_with_id(const struct px_engine *e, const char *id, uint32_t hash, uint32_t *at)
{
	uint32_t mask = e->id_size - 1;

	for (; e->id_size && e->id[*at & mask]; ++*at) {
		const struct user *u = px_user(e, e->id[*at & mask] - 1);

		if (u->subscription_hash == hash && u->subscription &&
		    strcmp(u->subscription, id) == 0)
			return e->id[(*at)++ & mask] - 1;
	}
	return PX_NOBODY;
}

static void heard_of(struct px_engine *e, uint32_t slot, const struct px_item *item,
                     struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (u->kind == PX_KIND_PULL) { /* a hint, by whomever */
		calls_arrive(e, u->gateway);
		const struct px_mono soon = px_after(now, poll_max(e) > 1 ? PX_HINT_GATHER_MS : 1);

		if (u->watch.state == PX_WATCH_FOLLOWED && !u->polling) {
			if (u->sub_due.ms == 0 || u->sub_due.ms > soon.ms)
				u->sub_due = soon;
			u->hinted = true; /* it doesn't wait for company */
		} else if (u->polling == PX_POLL_QUEUED) {
			e->at[u->gateway].poll_at = now.mono;
		} else if (u->polling) { /* which may have been answered before that */
			u->hinted = true;
		}
		px_user_schedule(e, slot);
		return;
	}
	if (item->kind == PX_ITEM_GONE) {
		u->trouble = px_trouble(e, item->code ? item->code : "gone");
		px_watch_event(e, slot, item->verdict == PX_V_GAP ? PX_W_GAP : PX_W_LOST, now);
		return;
	}
	if (u->watch.state == PX_WATCH_FOLLOWED && item->kind == PX_ITEM_ALIVE)
		px_watch_event(e, slot, PX_W_PROVEN, now);
	called(e, slot, now);
	if (item->kind == PX_ITEM_CHANGED) {
		e->counts.events++;
		px_mark(e, slot, READ_HOT, now);
	}
}

/* Users whom a URL may stand for. */
static unsigned users_of_url(const struct px_engine *e, uint32_t who, uint32_t user[PX_NAMESAKES])
{
	uint32_t mask = e->table_size - 1;
	unsigned n = 0;

	for (uint32_t i = who & mask; e->table[i] && n < PX_NAMESAKES; i = (i + 1) & mask)
		if (px_user(e, e->table[i] - 1)->key_hash == who)
			user[n++] = e->table[i] - 1;
	return n;
}

static void notified(void *arg, const struct px_item *item)
{
	struct hearing *h = arg;
	struct px_engine *e = h->e;
	uint32_t hash, at, slot, user[PX_NAMESAKES];
	unsigned n = 0;

	if (item->id) {
		at = hash = px_text_hash(item->id);
		while (n < PX_NAMESAKES &&
		       (slot = next_with_id(e, item->id, hash, &at)) != PX_NOBODY)
			user[n++] = slot;
		for (unsigned i = 0; i < n; i++)
			heard_of(e, user[i], item, h->now);
		h->known += n;
	}
	if (n > 0 || !h->who)
		return;
	n = users_of_url(e, h->who, user);
	for (unsigned i = 0; i < n; i++) {
		struct user *u = px_user(e, user[i]);

		if (u->kind == PX_KIND_PULL && !item->id && u->subscription) {
			heard_of(e, user[i], item, h->now); /* something befell its store */
			h->known++;
		}
		if (u->kind != PX_KIND_PUSH)
			continue;
		if (item->id && u->watch.state == PX_WATCH_SUBSCRIBING) {
			/* the server calls before it answers the Subscribe that asked it to */
			u->called = true;
			h->known++;
		} else if (!item->id && u->subscription) { /* an error doesn't say whose it is */
			heard_of(e, user[i], item, h->now);
			h->known++;
		}
	}
}

enum px_heard px_engine_notified(struct px_engine *e, uint32_t who, const char *bytes, size_t n,
                                 struct px_now now)
{
	struct hearing h = {.e = e, .who = who, .now = now};
	int items = e->config.backend->notified
	                ? e->config.backend->notified(bytes, n, notified, &h)
	                : -EBADMSG;

	e->counts.notified++;
	if (items >= 0 && h.known > 0)
		return PX_HEARD;
	e->counts.strays++;
	return items < 0 ? PX_HEARD_BAD : PX_HEARD_UNKNOWN;
}
