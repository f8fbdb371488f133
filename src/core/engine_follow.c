/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/engine_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t text_hash(const char *s)
{
	return (uint32_t)px_key_hash(s, strlen(s));
}

/* ---- requests ---- */

static struct request *request_of(struct px_engine *e, uint64_t id)
{
	uint32_t slot = (uint32_t)id;

	if (slot >= e->requests || e->request[slot].owner == OWNER_NONE ||
	    e->request[slot].generation != id >> 32)
		return NULL;
	return &e->request[slot];
}

static void request_free(struct px_engine *e, struct request *r)
{
	if (r->parse)
		e->config.backend->parse_free(r->parse);
	free(r->got);
	uint32_t generation = r->generation + 1;
	*r = (struct request){.generation = generation};
}

static void said(void *arg, const struct px_item *item);

/*
 * Starts a request. The parser's items come while http_data() runs, so what they need is kept in
 * e->hearing then. 0: out of memory.
 */
static uint64_t request_start(struct px_engine *e, enum owner owner, uint32_t index, int gateway,
                              const struct px_query *q)
{
	uint32_t slot = 0;

	while (slot < e->requests && e->request[slot].owner != OWNER_NONE)
		slot++;
	if (slot == e->requests) {
		if (e->requests == e->requests_cap) {
			uint32_t cap = e->requests_cap ? 2 * e->requests_cap : 64;
			struct request *more = realloc(e->request, cap * sizeof *more);
			if (!more)
				return 0;
			memset(more + e->requests_cap, 0, (cap - e->requests_cap) * sizeof *more);
			e->request = more;
			e->requests_cap = cap;
		}
		e->requests++;
	}
	struct request *r = &e->request[slot];
	if (r->generation == 0)
		r->generation = 1;
	struct px_parse *parse = e->config.backend->parse_new(q, said, e);
	struct px_action *a = parse ? px_action_add(e, PX_DO_HTTP_START) : NULL;
	if (!a) {
		if (parse)
			e->config.backend->parse_free(parse);
		return 0;
	}
	uint64_t id = (uint64_t)r->generation << 32 | slot;
	*r = (struct request){.generation = r->generation,
	                      .owner = (uint8_t)owner,
	                      .ask = (uint8_t)q->ask,
	                      .gateway = (int16_t)gateway,
	                      .index = index,
	                      .parse = parse};
	if (owner == OWNER_USER)
		r->user_generation = px_user(e, index)->generation;
	a->http.id = id;
	a->http.gateway = gateway;
	a->http.ask = q->ask;
	a->http.timeout_ms = q->ask == PX_ASK_STREAM  ? 0
	                     : q->ask == PX_ASK_PROBE ? PX_PROBE_MS
	                                              : PX_ANSWER_MS;
	snprintf(a->http.anchor, sizeof a->http.anchor, "%s", q->mailbox ? q->mailbox : "");
	a->http.body = px_buf_new(1 << 20);
	e->config.backend->write(&a->http.body, q);
	px_pool_started(&e->pool, gateway, q->ask == PX_ASK_STREAM);
	return id;
}

static void request_cancel(struct px_engine *e, uint64_t id)
{
	struct request *r = request_of(e, id);
	struct px_action *a;

	if (!r)
		return;
	request_free(e, r);
	a = px_action_add(e, PX_DO_HTTP_CANCEL);
	if (a)
		a->http_cancel = id;
}

/* ---- streams ---- */

static unsigned stream_new(struct px_engine *e, int gateway, struct px_now now)
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
	*e->stream[i] = (struct stream){.used = true, .gateway = gateway};
	px_stream_init(&e->stream[i]->machine, ++e->seq * 2654435761u ^ e->config.seed, now);
	return i;
}

static void stream_free(struct px_engine *e, unsigned i)
{
	struct stream *s = e->stream[i];

	if (s->request)
		request_cancel(e, s->request);
	if (e->at[s->gateway].young == i + 1)
		e->at[s->gateway].young = 0;
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

static void stream_join(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct at_gateway *at = &e->at[u->gateway];

	if (!at->young) {
		unsigned i = stream_new(e, u->gateway, now);
		if (i == UINT16_MAX) { /* out of memory: this one isn't followed now; it is tried
			                  again like any passing trouble */
			px_watch_event(e, slot, PX_W_LOST, now);
			return;
		}
		at->young = (uint16_t)(i + 1);
	}
	unsigned i = at->young - 1u;
	struct stream *s = e->stream[i];
	s->member[s->n++] = slot;
	u->stream = (uint16_t)(i + 1);
	if (s->n >= stream_max(e)) {
		at->young = 0;
		stream_do(e, i, PX_S_FULL, now);
	}
}

static void stream_leave(struct px_engine *e, uint32_t slot)
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

static bool stream_open(struct px_engine *e, unsigned i, struct px_now now)
{
	struct stream *s = e->stream[i];
	const char *id[PX_STREAM_MEMBERS];

	if (!px_pool_may_stream(&e->pool, s->gateway, now))
		return false;
	for (unsigned m = 0; m < s->n; m++)
		id[m] = px_user(e, s->member[m])->subscription;
	const struct px_query q = {.ask = PX_ASK_STREAM,
	                           .mailbox = px_user(e, s->member[s->anchor % s->n])->mailbox,
	                           .id = id,
	                           .n = s->n,
	                           .minutes = px_stream_minutes(&s->machine)};
	s->gone = false;
	s->request = request_start(e, OWNER_STREAM, i, s->gateway, &q);
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
		stream_join(e, member[m], now);
	}
}

/* Small streams halve their number with each closing: they seldom close at the same moment. */
static void merge_another(struct px_engine *e, int gateway, struct px_now now)
{
	if (!e->at[gateway].young)
		return;
	unsigned young = e->stream[e->at[gateway].young - 1u]->n;

	for (unsigned i = 0; i < e->streams; i++) {
		struct stream *s = e->stream[i];

		if (!s->used || s->gateway != gateway || s->machine.state != PX_STREAM_RUNNING ||
		    s->n >= PX_STREAM_SMALL || s->n + young > stream_max(e))
			continue;
		stream_tell(e, i, PX_W_UNFOLLOWED, now);
		stream_regather(e, i, now);
		return;
	}
}

static void stream_do(struct px_engine *e, unsigned i, enum px_stream_event ev, struct px_now now)
{
	struct stream *s = e->stream[i];
	enum px_stream_state from = (enum px_stream_state)s->machine.state;

	if (e->at[s->gateway].young == i + 1 && ev == PX_S_DUE)
		e->at[s->gateway].young = 0;
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
		request_cancel(e, s->request);
		s->request = 0;
	}
	if (todo & PX_S_UNFOLLOW)
		stream_tell(e, i, PX_W_UNFOLLOWED, now);
	if (todo & PX_S_SUSPECT)
		px_pool_suspect(&e->pool, s->gateway, now);
	if (todo & PX_S_LOSE) {
		stream_tell(e, i, PX_W_LOST, now);
		if (s->used)
			stream_free(e, i);
		return;
	}
	if (todo & PX_S_REGATHER) {
		int gateway = s->gateway;

		stream_regather(e, i, now);
		merge_another(e, gateway, now);
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
	uint32_t hash = text_hash(id);

	for (unsigned m = 0; m < s->n; m++) {
		const struct user *u = px_user(e, s->member[m]);
		if (u->subscription_hash == hash && u->subscription &&
		    strcmp(u->subscription, id) == 0)
			return s->member[m];
	}
	return PX_NOBODY;
}

/* ---- readings ---- */

static void unqueue_read(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (u->read_queue != READ_NONE)
		px_list_take(e, &e->at[u->gateway].read[u->read_queue], LINK_READ, slot);
	u->read_queue = READ_NONE;
}

void px_mark(struct px_engine *e, uint32_t slot, enum read_queue why, struct px_now now)
{
	struct user *u = px_user(e, slot);

	u->dirty = u->dirty || why != READ_SWEEP;
	px_user_touch(e, slot);
	if (u->reading) {
		u->again = u->again || why == READ_HOT;
		return;
	}
	if (!u->on || u->leaving || u->gateway == PX_NO_GATEWAY ||
	    u->watch.state == PX_WATCH_HOMELESS ||
	    (u->read_queue != READ_NONE && u->read_queue <= why))
		return;
	unqueue_read(e, slot);
	struct at_gateway *at = &e->at[u->gateway];
	if (at->read[why].n == 0)
		at->read_since[why] = now.mono;
	px_list_push(e, &at->read[why], LINK_READ, slot);
	u->read_queue = (uint8_t)why;
}

static void reading_clear(struct reading *r)
{
	for (unsigned i = 0; r->staged && i < r->n; i++)
		px_calendar_free(&r->staged[i]);
	free(r->staged);
	free(r->refused);
	r->staged = NULL;
	r->refused = NULL;
	r->code = NULL;
}

static struct reading *reading_new(struct px_engine *e, unsigned *index)
{
	unsigned i = 0;

	while (i < e->readings && e->reading[i]->used)
		i++;
	if (i == e->readings) {
		if (e->readings == e->readings_cap) {
			unsigned cap = e->readings_cap ? 2 * e->readings_cap : 16;
			struct reading **more = realloc(e->reading, cap * sizeof(struct reading *));
			if (!more)
				return NULL;
			e->reading = more;
			e->readings_cap = cap;
		}
		e->reading[i] = calloc(1, sizeof(struct reading));
		if (!e->reading[i])
			return NULL;
		e->readings++;
	}
	*e->reading[i] = (struct reading){.used = true};
	px_read_init(&e->reading[i]->machine, ++e->seq * 2654435761u ^ e->config.seed);
	*index = i;
	return e->reading[i];
}

/* The member if it still is the user that was asked about. */
static struct user *reading_user(struct px_engine *e, const struct reading *r, unsigned i)
{
	struct user *u = px_user(e, r->user[i].slot);

	return u->used && u->generation == r->user[i].generation ? u : NULL;
}

static bool reading_ask(struct px_engine *e, unsigned index, struct px_now now)
{
	struct reading *r = e->reading[index];
	const char *name[PX_READ_USERS];

	if (!px_pool_may_send(&e->pool, r->gateway, now))
		return false;
	for (unsigned i = 0; i < r->n; i++) {
		struct user *u = reading_user(e, r, i);
		if (!u) { /* gone while the batch rested: close the gap */
			r->user[i--] = r->user[--r->n];
			continue;
		}
		name[i] = u->mailbox;
	}
	if (r->n == 0)
		return false;
	/* two hours back: a clock that is set back a little still finds itself in the window, and
	 * the begin of what runs is mostly known */
	r->from = (struct px_wall){(now.wall.ms / 60000 - 120) * 60000};
	r->until = (struct px_wall){(now.wall.ms / 60000 + 1) * 60000 + e->config.horizon_s * 1000};
	r->staged = calloc(r->n, sizeof *r->staged);
	r->refused = calloc(2, r->n);
	r->code = r->refused ? r->refused + r->n : NULL;
	const struct px_query q = {
	    .ask = PX_ASK_READ, .name = name, .n = r->n, .from = r->from, .until = r->until};
	if (!r->staged || !r->refused || !request_start(e, OWNER_READING, index, r->gateway, &q)) {
		reading_clear(r);
		return false;
	}
	for (unsigned i = 0; i < r->n; i++) {
		struct user *u = px_user(e, r->user[i].slot);
		u->again = false; /* what changes from here on is not surely in the answer */
	}
	e->counts.reads++;
	return true;
}

static void reading_end(struct px_engine *e, struct reading *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct user *u = reading_user(e, r, i);
		if (u)
			u->reading = u->renamed = false;
	}
	reading_clear(r);
	r->used = false;
}

/* Its own reading failed for a passing reason. */
static void read_later(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (u->read_failures < UINT8_MAX)
		u->read_failures++;
	u->dirty = true;
	u->read_due = px_after(now, px_backoff(PX_WATCH_RETRY_MIN, PX_WATCH_RETRY_MAX,
	                                       u->read_failures, u->watch.seed));
	px_user_schedule(e, slot);
	px_user_touch(e, slot);
}

/* A user's own verdict, from a batch or alone. */
static void read_refused(struct px_engine *e, uint32_t slot, enum px_verdict v, uint8_t code,
                         struct px_now now)
{
	struct user *u = px_user(e, slot);

	u->trouble = code;
	if (v == PX_V_USER) {
		u->dirty = true;
		px_watch_event(e, slot, PX_W_USER, now);
	} else {
		read_later(e, slot, now);
		if (v == PX_V_LOST) /* this gateway can't reach that mailbox; another may */
			px_watch_event(e, slot, PX_W_LOST, now);
	}
}

static void set_sweep(struct px_engine *e, struct user *u, struct px_now now)
{
	int64_t every = e->config.resync_s * 1000;

	/* before what we know would count as stale */
	if (every > e->config.stale_after_s * 750)
		every = e->config.stale_after_s * 750;
	u->read_due = px_after(now, every - every / 4 * (int64_t)(u->watch.seed % 1000) / 1000);
}

static void commit(struct px_engine *e, struct reading *r, unsigned i, struct px_now now)
{
	uint32_t slot = r->user[i].slot;
	struct user *u = px_user(e, slot);

	if (u->renamed) /* it is about another mailbox */
		return;
	if (r->refused[i]) {
		read_refused(e, slot, (enum px_verdict)(r->refused[i] - 1), r->code[i], now);
		return;
	}
	if (r->staged[i].until == 0) { /* neither read nor refused: the backend says that an answer
		                          is whole only if none is missing */
		read_later(e, slot, now);
		return;
	}
	px_calendar_free(&u->calendar);
	u->calendar = r->staged[i];
	r->staged[i] = (struct px_calendar){0};
	u->read_failures = 0;
	u->dirty = u->again;
	u->good_at = now.mono;
	u->read_at = (uint32_t)(now.wall.ms / 1000);
	if (u->stale) {
		u->stale = false;
		px_say(e, PX_LOG_NOTICE, "user=%s fresh", u->key);
	}
	if (u->watch.state != PX_WATCH_PARKED)
		u->trouble = 0;
	set_sweep(e, u, now);
	px_present(e, slot, now);
	px_user_touch(e, slot);
}

static void reading_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                         struct px_now now)
{
	struct reading *r = e->reading[index];
	/* its users have moved: there is nothing to wait for here */
	bool gone = e->pool.gateway[r->gateway].health != PX_GW_UP;
	unsigned todo = px_read_answered(
	    &r->machine, gone && reply->verdict != PX_V_OK ? PX_V_SERVER : reply->verdict, r->n,
	    now);
	uint8_t code = px_trouble(e, reply->code);

	if (!(todo & PX_R_COMMIT) && !(todo & PX_R_MARK))
		px_say(e, PX_LOG_WARN,
		       "read gateway=%s users=%u refused why=%s code=%s detail=\"%s\"",
		       e->pool.gateway[r->gateway].name, r->n, px_verdict_name(reply->verdict),
		       reply->code, reply->detail);
	if (todo & PX_R_SPLIT) {
		unsigned other, half = r->n / 2;
		struct reading *s = reading_new(e, &other);
		r = e->reading[index];
		if (s) {
			s->gateway = r->gateway;
			s->machine = r->machine;
			s->machine.seed ^= ++e->seq;
			s->n = r->n - half;
			memcpy(s->user, r->user + half, s->n * sizeof *s->user);
			for (unsigned i = half; i < r->n; i++)
				px_calendar_free(&r->staged[i]);
			r->n = half;
		}
	}
	for (unsigned i = 0; i < r->n && todo & PX_R_END; i++) {
		struct user *u = reading_user(e, r, i);
		if (!u)
			continue;
		u->reading = false;
		if (todo & PX_R_COMMIT)
			commit(e, r, i, now);
		else if (todo & PX_R_ALONE)
			read_refused(e, r->user[i].slot, reply->verdict, code, now);
		if (todo & PX_R_MARK || u->again || u->renamed)
			px_mark(e, r->user[i].slot, u->again ? READ_HOT : READ_COLD, now);
		u->again = u->renamed = false;
		px_user_maybe_free(e, r->user[i].slot);
	}
	reading_clear(r);
	if (todo & PX_R_END)
		r->used = false;
}

/* A batch that rested: ask again, unless its gateway is no longer its users' one. */
static void reading_due(struct px_engine *e, unsigned index, struct px_now now)
{
	struct reading *r = e->reading[index];

	if (!(px_read_tick(&r->machine, now) & PX_R_ASK) || reading_ask(e, index, now))
		return;
	if (r->n == 0) {
		r->used = false;
		return;
	}
	px_read_blocked(&r->machine, now);
}

static void start_reading(struct px_engine *e, int g, struct px_now now)
{
	struct at_gateway *at = &e->at[g];
	unsigned index;
	struct reading *r = reading_new(e, &index);
	size_t max = e->config.backend->read_max < PX_READ_USERS ? e->config.backend->read_max
	                                                         : PX_READ_USERS;

	if (!r)
		return;
	r->gateway = g;
	/* the urgent first; whoever else waits comes along */
	for (enum read_queue q = READ_HOT; q < READ_QUEUES; q++) {
		while (r->n < max && at->read[q].n) {
			uint32_t slot = at->read[q].head;
			struct user *u = px_user(e, slot);

			unqueue_read(e, slot);
			u->reading = true;
			r->user[r->n++] = (struct member){slot, u->generation};
		}
		at->read_since[q] = now.mono;
	}
	if (!reading_ask(e, index, now)) /* out of memory: the batch rests */
		px_read_blocked(&r->machine, now);
}

/* ---- gateways ---- */

/* Everybody there moves; its streams and resting batches end. */
static void evacuate(struct px_engine *e, int g, struct px_now now)
{
	if (e->at[g].evacuated)
		return;
	e->at[g].evacuated = true;
	for (unsigned i = 0; i < e->readings; i++) {
		struct reading *r = e->reading[i];
		if (!r->used || r->gateway != g || r->machine.state != PX_READ_RESTING)
			continue;
		reading_end(e, r);
		for (unsigned m = 0; m < r->n; m++)
			if (reading_user(e, r, m))
				px_mark(e, r->user[m].slot, READ_HOT, now);
	}
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
			u->gateway = (int16_t)g;
			e->homeless--;
			px_watch_event(e, s, PX_W_HOMED, now);
		}
	}
}

static void gateway_changed(struct px_engine *e, int g, enum px_pool_change change,
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
			e->at[i].evacuated = false;
		} else if (!e->at[i].evacuated) {
			if (e->pool.gateway[i].health == PX_GW_REFUSED)
				px_say(e, PX_LOG_ERROR,
				       "gateway=%s refused users=%u: login or impersonation is "
				       "accepted elsewhere, not here",
				       e->pool.gateway[i].name, e->pool.gateway[i].users);
			evacuate(e, (int)i, now);
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
		if (request_start(e, OWNER_PROBE, 0, g, &q))
			return;
		break;
	}
	px_pool_probe_unsent(&e->pool, g, now);
}

/* ---- the watch machine's wishes ---- */

static void leave(struct px_engine *e, uint32_t slot, bool unsubscribe, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (u->link[LINK_SUBSCRIBE].prev != PX_UNLINKED)
		px_list_take(e, &e->at[u->gateway].subscribe, LINK_SUBSCRIBE, slot);
	u->asking = 0;
	stream_leave(e, slot);
	if (u->subscription && unsubscribe && px_pool_may_send(&e->pool, u->gateway, now)) {
		const char *id[1] = {u->subscription};
		const struct px_query q = {
		    .ask = PX_ASK_UNSUBSCRIBE, .mailbox = u->mailbox, .id = id, .n = 1};
		request_start(e, OWNER_NOBODY, 0, u->gateway, &q);
	}
	free(u->subscription);
	u->subscription = NULL;
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
		u->good_at = now.mono; /* the stream vouched for it until now */
	if (from == PX_WATCH_HOMELESS && to != PX_WATCH_HOMELESS && ev != PX_W_HOMED)
		e->homeless--;
	if (todo & PX_W_LEAVE)
		leave(e, slot, todo & PX_W_UNSUBSCRIBE, now);
	/* a subscription that fails keeps nobody from being read; but not at a gateway that is
	 * left, and not in vain */
	if (todo & PX_W_ASSIGN || to == PX_WATCH_OFF || to == PX_WATCH_PARKED)
		unqueue_read(e, slot);
	if (to == PX_WATCH_OFF) {
		px_pool_leave(&e->pool, u->gateway);
		u->gateway = PX_NO_GATEWAY;
	}
	if (todo & PX_W_ASSIGN) {
		e->homeless++;
		int g = PX_NO_GATEWAY;
		if (!px_pool_settling(&e->pool, now))
			g = u->gateway == PX_NO_GATEWAY
			        ? px_pool_assign_first(&e->pool)
			        : px_pool_assign_again(&e->pool, u->gateway);
		if (g != PX_NO_GATEWAY) {
			u->gateway = (int16_t)g;
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
	/* a user who was parked or backed off may find its gateway dead */
	if (todo & (PX_W_QUEUE | PX_W_READ) && e->pool.gateway[u->gateway].health != PX_GW_UP) {
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
		stream_join(e, slot, now);
	if (todo & PX_W_READ)
		px_mark(e, slot, READ_COLD, now);
}

/* A subscription that an earlier process made: believed until its stream says otherwise. */
void px_adopt(struct px_engine *e, uint32_t slot, int gateway, const char *subscription,
              struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (gateway < 0 || (unsigned)gateway >= e->pool.n || u->watch.state != PX_WATCH_WAITING)
		return;
	leave(e, slot, false, now);
	unqueue_read(e, slot);
	px_pool_leave(&e->pool, u->gateway);
	e->pool.gateway[gateway].users++;
	u->gateway = (int16_t)gateway;
	if (subscription && *subscription && (u->subscription = strdup(subscription))) {
		u->subscription_hash = text_hash(subscription);
		px_watch_event(e, slot, PX_W_SUBSCRIBED, now);
	} else {
		px_list_push(e, &e->at[gateway].subscribe, LINK_SUBSCRIBE, slot);
	}
	px_mark(e, slot, READ_COLD, now);
}

static void subscribe(struct px_engine *e, int g, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	const struct px_query q = {.ask = PX_ASK_SUBSCRIBE, .mailbox = u->mailbox};

	px_list_take(e, &e->at[g].subscribe, LINK_SUBSCRIBE, slot);
	px_watch_event(e, slot, PX_W_TURN, now);
	uint64_t id = request_start(e, OWNER_USER, slot, g, &q);
	if (!id) {
		px_watch_event(e, slot, PX_W_TRANSIENT, now);
		return;
	}
	u->asking = (uint32_t)id + 1;
	e->counts.subscribes++;
}

/* ---- what comes back ---- */

static void said(void *arg, const struct px_item *item)
{
	struct px_engine *e = arg;
	struct request *r = request_of(e, e->hearing);

	if (!r)
		return;
	if (r->owner == OWNER_USER && item->kind == PX_ITEM_SUBSCRIBED && item->id &&
	    strlen(item->id) <= e->config.backend->id_max) {
		free(r->got);
		r->got = strdup(item->id);
	} else if (r->owner == OWNER_READING) {
		struct reading *b = e->reading[r->index];
		if (item->index >= b->n)
			return;
		if (item->kind == PX_ITEM_CALENDAR) {
			px_calendar_free(&b->staged[item->index]);
			if (px_calendar_make(&b->staged[item->index], item->interval, item->n,
			                     b->from, b->until) != 0)
				b->refused[item->index] = PX_V_TRANSIENT + 1;
		} else if (item->kind == PX_ITEM_REFUSED) {
			b->refused[item->index] = (uint8_t)(item->verdict + 1);
			b->code[item->index] = px_trouble(e, item->code ? item->code : "");
		}
	} else if (r->owner == OWNER_STREAM) {
		unsigned i = r->index;
		struct stream *s = e->stream[i];
		uint32_t slot;

		switch (item->kind) {
		case PX_ITEM_ALIVE:
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
				px_watch_event(e, slot, PX_W_LOST, e->now);
			}
			break;
		case PX_ITEM_CLOSED:
		case PX_ITEM_CALENDAR:
		case PX_ITEM_REFUSED:
		case PX_ITEM_SUBSCRIBED:
			break;
		}
	}
}

void px_engine_http_data(struct px_engine *e, uint64_t id, const char *bytes, size_t n,
                         struct px_now now)
{
	struct request *r = request_of(e, id);

	if (!r)
		return;
	/* the parse is ours while it runs: a stream whose last member leaves in the middle is
	 * cancelled afterwards */
	struct px_parse *parse = r->parse;
	r->parse = NULL;
	e->hearing = id;
	e->now = now;
	e->config.backend->feed(parse, bytes, n);
	e->hearing = 0;
	r = request_of(e, id);
	if (r)
		r->parse = parse;
	else
		e->config.backend->parse_free(parse);
}

static void subscribed(struct px_engine *e, const struct request *r, uint32_t request_slot,
                       const struct px_reply *reply, char *got, struct px_now now)
{
	struct user *u = px_user(e, r->index);

	if (!u->used || u->generation != r->user_generation || u->asking != request_slot + 1) {
		/* it went elsewhere meanwhile: don't leave a subscription behind that nobody
		 * listens to */
		if (reply->verdict == PX_V_OK && got &&
		    px_pool_may_send(&e->pool, r->gateway, now) && u->used &&
		    u->generation == r->user_generation) {
			const char *id[1] = {got};
			const struct px_query q = {
			    .ask = PX_ASK_UNSUBSCRIBE, .mailbox = u->mailbox, .id = id, .n = 1};
			request_start(e, OWNER_NOBODY, 0, r->gateway, &q);
		}
		free(got);
		return;
	}
	u->asking = 0;
	if (reply->verdict == PX_V_OK && got) {
		free(u->subscription);
		u->subscription = got;
		u->subscription_hash = text_hash(got);
		px_watch_event(e, r->index, PX_W_SUBSCRIBED, now);
		return;
	}
	free(got);
	if (reply->verdict != PX_V_SERVER)
		u->trouble = px_trouble(e, reply->code);
	switch (reply->verdict) {
	case PX_V_SERVER: /* the gateway's users were told, unless it was taken for down before */
		px_watch_event(e, r->index, PX_W_SERVER, now);
		break;
	case PX_V_LOST:
		px_watch_event(e, r->index, PX_W_LOST, now);
		break;
	case PX_V_BUSY:
	case PX_V_DENIED:
		px_watch_event(e, r->index, PX_W_DEFERRED, now);
		break;
	case PX_V_USER:
		px_watch_event(e, r->index, PX_W_USER, now);
		break;
	case PX_V_OK:
	case PX_V_TRANSIENT:
	case PX_VERDICTS:
		px_watch_event(e, r->index, PX_W_TRANSIENT, now);
		break;
	}
}

static void stream_done(struct px_engine *e, unsigned i, const struct px_reply *reply,
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
		stream_do(e, i, PX_S_REFUSED, now);
		break;
	case PX_V_TRANSIENT:
	case PX_VERDICTS:
		stream_do(e, i, s->gone ? PX_S_CLOSED : PX_S_CUT, now);
		break;
	}
}

void px_engine_http_done(struct px_engine *e, uint64_t id, const struct px_http_answer *a,
                         struct px_now now)
{
	struct request *r = request_of(e, id);
	struct px_reply reply = {.verdict = PX_V_TRANSIENT};

	if (!r)
		return;
	struct px_parse *parse = r->parse;
	r->parse = NULL;
	e->hearing = id;
	e->now = now;
	e->config.backend->done(parse, a, &reply);
	e->hearing = 0;
	e->config.backend->parse_free(parse);
	r = request_of(e, id);
	if (!r)
		return;

	/* from here on the request is ended: whoever is told may start another in its place */
	struct request was = *r;
	r->got = NULL;
	request_free(e, r);
	bool stream = was.owner == OWNER_STREAM;
	int g = was.gateway;

	/* One slow mailbox must not cost a gateway all its users: a probe decides, and whoever
	 * asked tries again. */
	if (a->fail == PX_HTTP_TIMEOUT && was.owner != OWNER_PROBE) {
		reply.verdict = PX_V_TRANSIENT;
		px_pool_suspect(&e->pool, g, now);
	}

	if (reply.verdict != PX_V_OK && reply.verdict != PX_V_USER)
		px_say(e, PX_LOG_DEBUG, "gateway=%s %s failed why=%s code=%s detail=\"%s\"",
		       e->pool.gateway[g].name, px_ask_name((enum px_ask)was.ask),
		       px_verdict_name(reply.verdict), reply.code, reply.detail);

	enum px_pool_change change;
	if (was.owner == OWNER_PROBE)
		change = px_pool_probed(&e->pool, g, &reply, now);
	else
		change = px_pool_ended(&e->pool, g, stream, &reply, now);

	/* the request's own users first, then what it means for all */
	switch ((enum owner)was.owner) {
	case OWNER_USER:
		if (change == PX_POOL_GATEWAY_DOWN)
			gateway_changed(e, g, change, &reply, now);
		subscribed(e, &was, (uint32_t)id, &reply, was.got, now);
		was.got = NULL;
		break;
	case OWNER_STREAM:
		e->stream[was.index]->request = 0;
		if (change == PX_POOL_GATEWAY_DOWN)
			gateway_changed(e, g, change, &reply, now);
		if (e->stream[was.index]->used && e->stream[was.index]->request == 0)
			stream_done(e, was.index, &reply, now);
		break;
	case OWNER_READING:
		reading_done(e, was.index, &reply, now);
		break;
	case OWNER_PROBE:
	case OWNER_NOBODY:
	case OWNER_NONE:
		break;
	}
	free(was.got);
	if (change != PX_POOL_GATEWAY_DOWN || was.owner == OWNER_READING ||
	    was.owner == OWNER_PROBE || was.owner == OWNER_NOBODY)
		gateway_changed(e, g, change, &reply, now);
}

/* ---- time ---- */

struct px_mono px_follow_user_deadline(const struct px_engine *e, const struct user *u)
{
	struct px_mono at = px_earlier(u->watch.due, u->turn_at);

	if (!u->on || u->leaving)
		return u->watch.due;
	if (!u->reading && u->read_queue == READ_NONE && u->watch.state != PX_WATCH_HOMELESS &&
	    (u->watch.state != PX_WATCH_FOLLOWED || u->read_failures))
		at = px_earlier(at, u->read_due);
	if (!u->stale && u->presence != PX_UNKNOWN &&
	    (u->watch.state != PX_WATCH_FOLLOWED || u->dirty))
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
	if (px_due(u->turn_at, now)) {
		bool at_end = now.wall.ms / 1000 >= u->calendar.until;
		px_present(e, slot, now);
		if (at_end) /* we have run out of calendar */
			px_mark(e, slot, READ_COLD, now);
	}
	if (px_due(u->read_due, now) && !u->reading && u->read_queue == READ_NONE &&
	    u->watch.state != PX_WATCH_HOMELESS) {
		if (u->watch.state == PX_WATCH_FOLLOWED && !u->read_failures) {
			u->read_due = (struct px_mono){0}; /* its stream's reopening is its sweep */
		} else {
			set_sweep(e, u, now);
			if (u->watch.state != PX_WATCH_PARKED)
				px_mark(e, slot, u->read_failures ? READ_HOT : READ_SWEEP, now);
		}
	}
	if (!u->stale && u->presence != PX_UNKNOWN &&
	    (u->watch.state != PX_WATCH_FOLLOWED || u->dirty) &&
	    now.mono.ms - u->good_at.ms >= e->config.stale_after_s * 1000)
		px_present_stale(e, slot, now);
}

void px_follow_tick(struct px_engine *e, struct px_now now)
{
	for (unsigned i = 0; i < e->streams; i++)
		if (e->stream[i]->used && px_due(e->stream[i]->machine.due, now))
			stream_do(e, i, PX_S_DUE, now);
	for (unsigned i = 0; i < e->readings; i++)
		if (e->reading[i]->used && e->reading[i]->machine.state == PX_READ_RESTING)
			reading_due(e, i, now);
}

/* When may the batch that this list asks for leave? Not set: there is none. */
static struct px_mono batch_at(const struct px_engine *e, int g, enum read_queue q)
{
	const struct at_gateway *at = &e->at[g];
	const struct px_gateway *gw = &e->pool.gateway[g];
	int64_t gather =
	    q == READ_SWEEP ? e->config.resync_s * 1000 / PX_SWEEP_GATHER : PX_GATHER_MS;
	struct px_mono when = at->read_since[q];

	if (at->read[q].n == 0)
		return (struct px_mono){0};
	if (at->read[q].n < e->config.backend->read_max)
		when.ms += gather;
	if (q == READ_HOT)
		return when;
	/* one place stays free for those whose calendar has changed */
	if (gw->in_flight && gw->in_flight + 1 >= gw->limit)
		return (struct px_mono){0};
	return when.ms > at->cold_next.ms ? when : at->cold_next;
}

static bool may_subscribe(const struct px_engine *e, int g)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	/* the population's state comes first */
	if (e->at[g].read[READ_COLD].n >= e->config.backend->read_max)
		return false;
	return gw->in_flight + 2 < gw->limit || gw->in_flight == 0;
}

void px_follow_pump(struct px_engine *e, struct px_now now)
{
	int g;

	while ((g = px_pool_probe(&e->pool, now)) != PX_NO_GATEWAY)
		probe(e, g, now);
	house_the_homeless(e, now);
	for (g = 0; g < (int)e->pool.n; g++) {
		struct at_gateway *at = &e->at[g];

		for (enum read_queue q = READ_HOT; q < READ_QUEUES; q++)
			while (px_pool_may_send(&e->pool, g, now) &&
			       px_due(batch_at(e, g, q), now)) {
				unsigned before = e->pool.gateway[g].in_flight;
				if (q != READ_HOT)
					at->cold_next = px_after(now, PX_COLD_SPACING_MS);
				start_reading(e, g, now);
				if (e->pool.gateway[g].in_flight == before)
					break; /* out of memory */
			}
		pace_subscribes(at);
		while (at->subscribe.n && may_subscribe(e, g) &&
		       px_pool_may_send(&e->pool, g, now) && at->subscribe_next.ms <= now.mono.ms) {
			/* what was missed is not made up for: no herd after a pause */
			at->subscribe_next = px_after(now, at->subscribe_spacing);
			subscribe(e, g, at->subscribe.head, now);
		}
	}
}

struct px_mono px_follow_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = px_pool_due(&e->pool, now);

	for (unsigned i = 0; i < e->streams; i++)
		if (e->stream[i]->used)
			at = px_earlier(at, e->stream[i]->machine.due);
	for (unsigned i = 0; i < e->readings; i++)
		if (e->reading[i]->used)
			at = px_earlier(at, e->reading[i]->machine.due);
	for (int g = 0; g < (int)e->pool.n; g++) {
		const struct at_gateway *q = &e->at[g];

		/* what waits for an answer or the end of a pause is woken by that */
		if (!px_pool_may_send(&e->pool, g, now))
			continue;
		for (enum read_queue r = READ_HOT; r < READ_QUEUES; r++)
			at = px_earlier(at, batch_at(e, g, r));
		if (q->subscribe.n && may_subscribe(e, g))
			at = px_earlier(at, q->subscribe_next.ms > now.mono.ms ? q->subscribe_next
			                                                       : now.mono);
	}
	return at;
}

void px_follow_free(struct px_engine *e)
{
	for (uint32_t i = 0; i < e->requests; i++)
		if (e->request[i].owner != OWNER_NONE)
			request_free(e, &e->request[i]);
	free(e->request);
	for (unsigned i = 0; i < e->streams; i++)
		free(e->stream[i]);
	free(e->stream);
	for (unsigned i = 0; i < e->readings; i++) {
		reading_clear(e->reading[i]);
		free(e->reading[i]);
	}
	free(e->reading);
}
