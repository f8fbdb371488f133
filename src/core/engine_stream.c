/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Streams: who is in which, and what their machines (stream.h) ask for. */
#include "core/engine_in.h"

#include <stdlib.h>
#include <string.h>

static struct group *group_of(struct px_engine *e, const struct stream *s)
{
	return &e->at[s->gateway].group[s->group];
}

void px_group_end(struct group *g)
{
	free(g->anchor);
	free(g->cookie);
	g->anchor = g->cookie = NULL;
	g->beginner = 0;
	g->failures = 0;
}

static unsigned stream_new(struct px_engine *e, int gateway, uint8_t group, struct px_now now)
{
	unsigned i = 0;

	while (i < e->streams && e->stream[i]->used)
		i++;
	if (i == e->streams) {
		if (i == UINT16_MAX - 1u)
			return UINT16_MAX;
		if (e->streams == e->streams_cap) {
			unsigned cap = e->streams_cap ? 2 * e->streams_cap : 16;
			struct stream **more = realloc(e->stream, cap * sizeof(struct stream *));
			if (!more)
				return UINT16_MAX;
			e->stream = more;
			e->streams_cap = cap;
		}
		e->stream[i] = calloc(1, sizeof(struct stream));
		if (!e->stream[i])
			return UINT16_MAX;
		e->streams++;
	}
	*e->stream[i] = (struct stream){.used = true, .gateway = gateway, .group = group};
	px_stream_init(&e->stream[i]->machine, ++e->seq * 2654435761u ^ e->config.seed, now);
	return i;
}

static void stream_free(struct px_engine *e, unsigned i)
{
	struct stream *s = e->stream[i];

	if (s->request)
		px_request_cancel(e, s->request);
	if (group_of(e, s)->young == i + 1)
		group_of(e, s)->young = 0;
	s->used = false;
	s->request = 0;
	s->n = 0;
}

static void stream_do(struct px_engine *e, unsigned i, enum px_stream_event ev, struct px_now now);

static size_t stream_max(const struct px_engine *e)
{
	size_t max = e->config.backend->stream_max;

	return max < PX_STREAM_MEMBERS ? max : PX_STREAM_MEMBERS;
}

void px_stream_join(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct group *group = &e->at[u->gateway].group[u->group];

	if (!group->young) {
		unsigned i = stream_new(e, u->gateway, u->group, now);
		if (i == UINT16_MAX) { /* out of memory: this one isn't followed now; it is tried
			                  again like any passing trouble */
			px_watch_event(e, slot, PX_W_LOST, now);
			return;
		}
		group->young = (uint16_t)(i + 1);
	}
	unsigned i = group->young - 1u;
	struct stream *s = e->stream[i];
	s->member[s->n++] = slot;
	u->stream = (uint16_t)(i + 1);
	if (s->n >= stream_max(e)) {
		group->young = 0;
		stream_do(e, i, PX_S_FULL, now);
	}
}

void px_stream_leave(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (!u->stream)
		return;
	unsigned i = u->stream - 1u;
	struct stream *s = e->stream[i];
	u->stream = 0;
	for (unsigned m = 0; m < s->n; m++)
		if (s->member[m] == slot) {
			s->member[m] = s->member[--s->n];
			break;
		}
	/* an empty stream that runs has nothing to say; one that gathers may still be joined */
	if (s->n == 0 && s->machine.state != PX_STREAM_GATHERING)
		stream_free(e, i);
}

/* Tells every member; they may leave while being told. */
static void stream_tell(struct px_engine *e, unsigned i, enum px_watch_event ev, struct px_now now)
{
	uint32_t member[PX_STREAM_MEMBERS];
	unsigned n = e->stream[i]->n;

	memcpy(member, e->stream[i]->member, n * sizeof *member);
	for (unsigned m = 0; m < n; m++)
		px_watch_event(e, member[m], ev, now);
}

static bool proven(const struct stream *s, struct px_now now)
{
	return now.mono.ms - s->machine.since.ms >= PX_STREAM_PROVEN_MS;
}

static void stream_unfollow(struct px_engine *e, unsigned i, struct px_now now)
{
	if (proven(e->stream[i], now))
		stream_tell(e, i, PX_W_PROVEN, now);
	stream_tell(e, i, PX_W_UNFOLLOWED, now);
}

static bool stream_open(struct px_engine *e, unsigned i, struct px_now now)
{
	struct stream *s = e->stream[i];
	const char *id[PX_STREAM_MEMBERS];

	if (!px_may_stream(e, s->gateway, now))
		return false;
	for (unsigned m = 0; m < s->n; m++)
		id[m] = px_user(e, s->member[m])->subscription;
	const struct px_query q = {.ask = PX_ASK_STREAM,
	                           .mailbox = px_user(e, s->member[s->anchor % s->n])->mailbox,
	                           .id = id,
	                           .n = s->n,
	                           .minutes = px_stream_minutes(&s->machine)};
	s->gone = false;
	s->request = px_request_start(e, OWNER_STREAM, i, s->gateway, group_of(e, s), &q);
	return s->request != 0;
}

/* The stream ends and its members, followed by nobody for the moment, join the young one. */
static void stream_regather(struct px_engine *e, unsigned i, struct px_now now)
{
	uint32_t member[PX_STREAM_MEMBERS];
	unsigned n = e->stream[i]->n;

	memcpy(member, e->stream[i]->member, n * sizeof *member);
	stream_free(e, i);
	for (unsigned m = 0; m < n; m++) {
		px_user(e, member[m])->stream = 0;
		px_stream_join(e, member[m], now);
	}
}

/* Small streams halve their number with each closing: they seldom close at the same moment. */
static void merge_another(struct px_engine *e, int gateway, uint8_t group, struct px_now now)
{
	uint16_t into = e->at[gateway].group[group].young;

	if (!into)
		return;
	unsigned young = e->stream[into - 1u]->n;

	for (unsigned i = 0; i < e->streams; i++) {
		struct stream *s = e->stream[i];

		if (!s->used || s->gateway != gateway || s->group != group ||
		    s->machine.state != PX_STREAM_RUNNING || s->n >= PX_STREAM_SMALL ||
		    s->n + young > stream_max(e))
			continue;
		stream_unfollow(e, i, now);
		stream_regather(e, i, now);
		return;
	}
}

static void stream_do(struct px_engine *e, unsigned i, enum px_stream_event ev, struct px_now now)
{
	struct stream *s = e->stream[i];
	enum px_stream_state from = (enum px_stream_state)s->machine.state;

	if (group_of(e, s)->young == i + 1 && ev == PX_S_DUE)
		group_of(e, s)->young = 0;
	if (s->n == 0) {
		stream_free(e, i);
		return;
	}
	unsigned todo = px_stream_step(&s->machine, ev, s->n, e->config.backend->heartbeat_ms, now);
	if (s->machine.state != from)
		px_say(e, PX_LOG_DEBUG, "stream=%u gateway=%s %s->%s members=%u", i,
		       e->pool.gateway[s->gateway].name, px_stream_state_name(from),
		       px_stream_state_name((enum px_stream_state)s->machine.state), s->n);

	if (todo & PX_S_CANCEL && s->request) {
		px_request_cancel(e, s->request);
		s->request = 0;
	}
	if (todo & PX_S_UNFOLLOW)
		stream_unfollow(e, i, now);
	if (todo & PX_S_SUSPECT)
		px_pool_suspect(&e->pool, s->gateway, now);
	if (todo & PX_S_LOSE) {
		int gateway = s->gateway;
		const struct px_mono said = e->at[gateway].streamed_at;
		bool mute = (ev == PX_S_DUE || ev == PX_S_CUT) &&
		            (said.ms == 0 || now.mono.ms - said.ms >= PX_STREAM_MUTE_MS);

		/* whatever led there may be what is wrong */
		px_group_end(group_of(e, s));
		stream_tell(e, i, ev == PX_S_GAP ? PX_W_GAP : PX_W_LOST, now);
		if (s->used)
			stream_free(e, i);
		/* it answers everything, but not as a stream: something between keeps the answer to itself */
		if (mute && e->pool.gateway[gateway].health == PX_GW_UP)
			px_kind_broken(
			    e, gateway, PX_KIND_STREAM, "silent",
			    "no stream brought anything: a proxy before it that gathers answers?",
			    now);
		return;
	}
	if (todo & PX_S_REGATHER) {
		int gateway = s->gateway;
		uint8_t group = s->group;

		stream_regather(e, i, now);
		merge_another(e, gateway, group, now);
		/* they were followed a moment ago: no waiting for company */
		if (e->at[gateway].group[group].young)
			stream_do(e, e->at[gateway].group[group].young - 1u, PX_S_DUE, now);
		return;
	}
	if (todo & PX_S_ANCHOR)
		s->anchor++;
	if (todo & PX_S_OPEN && !stream_open(e, i, now))
		stream_do(e, i, PX_S_BLOCKED, now);
	if (todo & PX_S_FOLLOW)
		stream_tell(e, i, PX_W_FOLLOWED, now);
}

static uint32_t stream_member(struct px_engine *e, const struct stream *s, const char *id)
{
	uint32_t hash = px_text_hash(id);

	for (unsigned m = 0; m < s->n; m++) {
		const struct user *u = px_user(e, s->member[m]);
		if (u->subscription_hash == hash && u->subscription &&
		    strcmp(u->subscription, id) == 0)
			return s->member[m];
	}
	return PX_NOBODY;
}

void px_misplaced(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (u->watch.state == PX_WATCH_FOLLOWED || ++u->refused_ids % 2)
		return;
	u->group = (uint8_t)((u->group + 1) % PX_GROUPS);
}

void px_stream_said(struct px_engine *e, unsigned i, const struct px_item *item)
{
	struct stream *s = e->stream[i];
	uint32_t slot;

	switch (item->kind) {
	case PX_ITEM_ALIVE:
		e->at[s->gateway].streamed_at = e->now.mono;
		stream_do(e, i, PX_S_ALIVE, e->now);
		break;
	case PX_ITEM_CHANGED:
		e->counts.events++;
		slot = stream_member(e, s, item->id);
		if (slot != PX_NOBODY)
			px_mark(e, slot, READ_HOT, e->now);
		break;
	case PX_ITEM_GONE:
		slot = stream_member(e, s, item->id);
		if (slot != PX_NOBODY) {
			s->gone = true;
			if (item->code)
				px_user(e, slot)->trouble = px_trouble(e, item->code);
			if (item->verdict != PX_V_GAP)
				px_misplaced(e, slot);
			if (proven(s, e->now))
				px_watch_event(e, slot, PX_W_PROVEN, e->now);
			px_watch_event(e, slot, item->verdict == PX_V_GAP ? PX_W_GAP : PX_W_LOST,
			               e->now);
		}
		break;
	default: /* CLOSED is said by the end, too */
		break;
	}
}

void px_stream_done(struct px_engine *e, unsigned i, const struct px_reply *reply,
                    struct px_now now)
{
	struct stream *s = e->stream[i];

	s->request = 0;
	if (s->machine.state != PX_STREAM_OPENING && s->machine.state != PX_STREAM_RUNNING)
		return;
	switch (reply->verdict) {
	case PX_V_OK:
		stream_do(e, i, PX_S_CLOSED, now);
		break;
	case PX_V_KIND:
		px_kind_broken(e, s->gateway, PX_KIND_STREAM, reply->code, reply->detail, now);
		if (e->stream[i]->used && s->n)
			stream_do(e, i, PX_S_LOST, now);
		break;
	case PX_V_GAP:
		stream_do(e, i, s->gone ? PX_S_CLOSED : PX_S_GAP, now);
		break;
	case PX_V_LOST:
		/* after the bad ids were dropped the rest goes on */
		stream_do(e, i, s->gone ? PX_S_CLOSED : PX_S_LOST, now);
		break;
	case PX_V_SERVER: /* the gateway was down before this answer, and the stream opened since
	                     then is another */
	case PX_V_BUSY:
	case PX_V_DENIED:
		stream_do(e, i, PX_S_BLOCKED, now);
		break;
	case PX_V_USER:
	case PX_V_UNREADABLE:
		stream_do(e, i, PX_S_REFUSED, now);
		break;
	case PX_V_WIDE:
	case PX_V_TRANSIENT:
	case PX_V_VERSION:
	case PX_VERDICTS:
		stream_do(e, i, s->gone ? PX_S_CLOSED : PX_S_CUT, now);
		break;
	}
}

void px_streams_tick(struct px_engine *e, struct px_now now)
{
	for (unsigned i = 0; i < e->streams; i++)
		if (e->stream[i]->used && px_due(e->stream[i]->machine.due, now))
			stream_do(e, i, PX_S_DUE, now);
}

struct px_mono px_streams_due(const struct px_engine *e)
{
	struct px_mono at = {0};

	for (unsigned i = 0; i < e->streams; i++)
		if (e->stream[i]->used)
			at = px_earlier(at, e->stream[i]->machine.due);
	return at;
}

void px_streams_forget(struct px_engine *e, int g)
{
	for (unsigned i = 0; i < e->streams; i++)
		if (e->stream[i]->used && e->stream[i]->gateway == g && e->stream[i]->n == 0)
			stream_free(e, i);
}

void px_streams_free(struct px_engine *e)
{
	for (unsigned i = 0; i < e->streams; i++)
		free(e->stream[i]);
	free(e->stream);
}
