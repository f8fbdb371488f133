/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Readings: who waits to be read, in which batch, and what comes of it (read.h). */
#include "core/engine_in.h"

#include <stdlib.h>
#include <string.h>

/* How users are read unless it can't be done. */
static enum lane first_lane(const struct px_engine *e)
{
	return e->config.backend->one_first || !e->config.backend->read_max ? LANE_ONE : LANE_MANY;
}

/* How a user is read. Changes only while it is in no list. */
static enum lane lane_of(const struct px_engine *e, const struct user *u)
{
	const enum lane first = first_lane(e);

	if (!u->alone_until || !e->config.backend->read_max)
		return first;
	return first == LANE_ONE ? LANE_MANY : LANE_ONE;
}

void px_unmark(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (u->read_queue != READ_NONE)
		px_list_take(e, &e->at[u->gateway].read[lane_of(e, u)][u->read_queue], LINK_READ,
		             slot);
	u->read_queue = READ_NONE;
}

void px_mark(struct px_engine *e, uint32_t slot, enum read_queue why, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (why == READ_HOT)
		px_vouched(u, now);
	u->dirty = u->dirty || why != READ_SWEEP;
	if (u->oof_ask || why == READ_HOT)
		px_oof_want(e, slot, u->oof_told ? PX_OOF_CHANGED_MS : PX_GATHER_MS, now);
	px_user_touch(e, slot);
	if (u->reading) {
		if (why != READ_SWEEP && (u->again == READ_NONE || why < u->again))
			u->again = (uint8_t)why;
		return;
	}
	if (!u->on || u->leaving || u->gateway == PX_NO_GATEWAY ||
	    u->watch.state == PX_WATCH_HOMELESS ||
	    (u->read_queue != READ_NONE && u->read_queue <= why))
		return;
	px_unmark(e, slot);
	if (u->alone_until &&
	    now.wall.ms / 1000 >= u->alone_until) /* the account may have the right by now */
		u->alone_until = u->narrow = 0;
	struct at_gateway *at = &e->at[u->gateway];
	enum lane lane = lane_of(e, u);
	if (at->read[lane][why].n == 0)
		at->read_since[lane][why] = now.mono;
	px_list_push(e, &at->read[lane][why], LINK_READ, slot);
	u->read_queue = (uint8_t)why;
}

static void reading_clear(struct reading *r)
{
	for (unsigned i = 0; r->staged && i < r->n; i++)
		px_calendar_free(&r->staged[i]);
	free(r->staged);
	free(r->refused);
	free(r->part);
	r->part = NULL;
	r->parts = r->offset = r->more = 0;
	r->staged = NULL;
	r->refused = NULL;
	r->code = NULL;
}

static struct reading *reading_new(struct px_engine *e, int gateway, enum lane lane,
                                   unsigned *index)
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
	*e->reading[i] = (struct reading){.used = true, .lane = (uint8_t)lane, .gateway = gateway};
	e->at[gateway].batches++;
	e->at[gateway].alone += lane == LANE_ONE;
	px_read_init(&e->reading[i]->machine, ++e->seq * 2654435761u ^ e->config.seed);
	*index = i;
	return e->reading[i];
}

static void reading_free(struct px_engine *e, struct reading *r)
{
	reading_clear(r);
	r->used = false;
	e->at[r->gateway].batches--;
	e->at[r->gateway].alone -= r->lane == LANE_ONE;
}

/* The member if it still is the user that was asked about. */
static struct user *reading_user(struct px_engine *e, const struct reading *r, unsigned i)
{
	struct user *u = px_user(e, r->user[i].slot);

	return u->used && u->generation == r->user[i].generation ? u : NULL;
}

/* Sends it; the window is known. */
static bool ask(struct px_engine *e, unsigned index, const char *const *name)
{
	struct reading *r = e->reading[index];

	r->staged = calloc(r->n, sizeof *r->staged);
	r->refused = calloc(2, r->n);
	r->code = r->refused ? r->refused + r->n : NULL;
	struct px_query q = {.ask = PX_ASK_READ,
	                     .name = name,
	                     .n = r->n,
	                     .from = r->from,
	                     .until = r->until,
	                     .meetings = e->config.note_subject};
	if (r->lane == LANE_ONE) {
		const struct user *u = px_user(e, r->user[0].slot);

		r->locating = e->config.backend->locates && !u->folder;
		q.ask = r->locating ? PX_ASK_LOCATE : PX_ASK_READ_ONE;
		q.mailbox = name[0];
		q.folder = u->folder;
		q.offset = r->offset;
	}
	r->request = 0;
	if (r->staged && r->refused)
		r->request = px_request_start(e, OWNER_READING, index, r->gateway, NULL, &q);
	if (!r->request) {
		reading_clear(r);
		return false;
	}
	for (unsigned i = 0; i < r->n; i++) {
		struct user *u = px_user(e, r->user[i].slot);
		u->again = READ_NONE; /* what changes from here on is not surely in the answer */
	}
	e->counts.reads++;
	return true;
}

static bool reading_ask(struct px_engine *e, unsigned index, struct px_now now)
{
	struct reading *r = e->reading[index];
	const char *name[PX_READ_USERS];

	if (!px_may_ask(e, r->gateway, now))
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
	const unsigned narrow = r->lane == LANE_ONE ? px_user(e, r->user[0].slot)->narrow : 0;
	const int64_t minute = now.wall.ms / 60000;
	r->from = (struct px_wall){(minute - (120 >> narrow)) * 60000};
	r->until = (struct px_wall){(minute + 1) * 60000 + (e->config.horizon_s >> narrow) * 1000};
	return ask(e, index, name);
}

static void reading_end(struct px_engine *e, struct reading *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct user *u = reading_user(e, r, i);
		if (u)
			u->reading = u->renamed = false;
	}
	reading_free(e, r);
}

/* Its own reading failed for a passing reason. */
static void read_later(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (u->read_failures < UINT8_MAX)
		u->read_failures++;
	px_vouched(u, now);
	u->dirty = true;
	u->read_due = px_after(now, px_backoff(PX_WATCH_RETRY_MIN, PX_WATCH_RETRY_MAX,
	                                       u->read_failures, u->watch.seed));
	px_user_schedule(e, slot);
	px_user_touch(e, slot);
}

/* A user's own verdict, from a batch or alone. */
static void read_refused(struct px_engine *e, uint32_t slot, enum lane lane, enum px_verdict v,
                         uint8_t code, struct px_now now)
{
	struct user *u = px_user(e, slot);

	u->trouble = code;
	if (v == PX_V_UNREADABLE && lane == first_lane(e) && e->config.backend->read_one &&
	    e->config.backend->read_max) {
		px_say(e, PX_LOG_INFO,
		       lane == LANE_MANY
		           ? "user=%s read alone=%us code=%s: no free/busy for the account"
		           : "user=%s read published=%us code=%s: no right on its calendar",
		       u->key, PX_ALONE_S, e->trouble[code]);
		u->alone_until = (uint32_t)(now.wall.ms / 1000) + PX_ALONE_S + u->watch.seed % 3600;
		u->narrow = 0;
		px_mark(e, slot, READ_HOT, now);
	} else if (v == PX_V_WIDE && u->narrow < PX_NARROW_MAX) {
		u->narrow++;
		px_mark(e, slot, READ_HOT, now);
	} else if (v == PX_V_USER || v == PX_V_UNREADABLE) {
		u->alone_until = 0; /* in an hour both ways are tried again */
		px_vouched(u, now);
		u->dirty = true;
		px_watch_event(e, slot, PX_W_USER, now);
	} else {
		read_later(e, slot, now);
		/* this gateway can't reach that mailbox, or seems so to who has no subscription that would tell: another may */
		if (v == PX_V_LOST ||
		    (u->watch.state == PX_WATCH_SWEPT && u->read_failures >= PX_WATCH_TRIES))
			px_watch_event(e, slot, PX_W_LOST, now);
	}
}

/* In ms. Before what we know would count as stale. */
static int64_t sweep_every(const struct px_engine *e)
{
	int64_t every = e->config.resync_s * 1000, most = e->config.stale_after_s * 750;

	return every < most ? every : most;
}

void px_set_sweep(struct px_engine *e, struct user *u, struct px_now now)
{
	int64_t every = sweep_every(e);

	u->read_due = px_after(now, every - every / 4 * (int64_t)(u->watch.seed % 1000) / 1000);
}

static void commit(struct px_engine *e, struct reading *r, unsigned i, struct px_now now)
{
	uint32_t slot = r->user[i].slot;
	struct user *u = px_user(e, slot);

	if (u->renamed || !u->on) /* it is about another mailbox, or of no use */
		return;
	if (r->refused[i]) {
		read_refused(e, slot, (enum lane)r->lane, (enum px_verdict)(r->refused[i] - 1),
		             r->code[i], now);
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
	u->dirty = u->again != READ_NONE;
	u->good_at = now.mono;
	u->read_at = (uint32_t)(now.wall.ms / 1000);
	if (u->stale) {
		u->stale = false;
		px_say(e, PX_LOG_NOTICE, "user=%s fresh", u->key);
	}
	if (u->watch.state != PX_WATCH_PARKED)
		u->trouble = 0;
	px_set_sweep(e, u, now);
	if (u->watch.state == PX_WATCH_SWEPT)
		px_watch_event(e, slot, PX_W_PROVEN, now);
	px_present(e, slot, now);
	px_user_touch(e, slot);
}

/* There is another question to be asked before it is done: it was located, or goes on with its next part. */
static bool go_on(struct px_engine *e, unsigned index, struct px_now now)
{
	struct reading *r = e->reading[index];
	struct user *u = r->n == 1 ? reading_user(e, r, 0) : NULL;

	if (!u || u->renamed || (r->locating ? !u->folder : !r->more || r->more <= r->offset) ||
	    !px_may_ask(e, r->gateway, now))
		return false;
	if (r->locating) {
		reading_clear(r);
		return ask(e, index, (const char *const[]){u->mailbox});
	}
	struct px_interval *part = r->part;
	size_t parts = r->parts, offset = r->more;
	struct px_calendar sofar = r->staged[0];
	r->part = NULL;
	r->staged[0] = (struct px_calendar){0};
	reading_clear(r);
	r->part = part;
	r->parts = parts;
	r->offset = offset;
	if (!ask(e, index, (const char *const[]){u->mailbox})) {
		px_calendar_free(&sofar);
		return false;
	}
	r->staged[0] = sofar; /* its topics are wanted */
	return true;
}

void px_reading_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                     struct px_now now)
{
	struct reading *r = e->reading[index];
	/* its users have moved: there is nothing to wait for here */
	bool gone = e->pool.gateway[r->gateway].health != PX_GW_UP;
	struct px_reply changed = *reply;

	if (r->locating && reply->verdict == PX_V_USER) { /* not to be read so */
		changed.verdict = PX_V_UNREADABLE;
		reply = &changed;
	}
	if (reply->verdict == PX_V_OK && go_on(e, index, now))
		return;
	if ((r->locating || !r->staged) && reply->verdict == PX_V_OK) { /* it can't be sent now */
		changed.verdict = PX_V_TRANSIENT;
		reply = &changed;
	}
	unsigned todo = px_read_answered(
	    &r->machine, gone && reply->verdict != PX_V_OK ? PX_V_SERVER : reply->verdict, r->n,
	    now);
	uint8_t code = px_trouble(e, reply->code);

	r->request = 0;
	if (!(todo & PX_R_COMMIT) && !(todo & PX_R_MARK))
		px_say(e, PX_LOG_WARN,
		       "read gateway=%s users=%u refused why=%s code=%s detail=\"%s\"",
		       e->pool.gateway[r->gateway].name, r->n, px_verdict_name(reply->verdict),
		       reply->code, reply->detail);
	if (todo & PX_R_SPLIT) {
		unsigned other, half = r->n / 2;
		struct reading *s = reading_new(e, r->gateway, LANE_MANY, &other);
		r = e->reading[index];
		if (s) {
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
			read_refused(e, r->user[i].slot, (enum lane)r->lane, reply->verdict, code,
			             now);
		if (todo & PX_R_MARK) /* it was just time to look again, and can't be now */
			px_vouched(u, now);
		if (todo & PX_R_MARK || u->again || u->renamed)
			px_mark(e, r->user[i].slot, u->again ? u->again : READ_COLD, now);
		u->again = READ_NONE;
		u->renamed = false;
		px_user_maybe_free(e, r->user[i].slot);
	}
	if (todo & PX_R_END)
		reading_free(e, r);
	else
		reading_clear(r);
}

/* A batch that rested: ask again, unless its gateway is no longer its users' one. */
static void reading_due(struct px_engine *e, unsigned index, struct px_now now)
{
	struct reading *r = e->reading[index];

	if (!(px_read_tick(&r->machine, now) & PX_R_ASK) || reading_ask(e, index, now))
		return;
	if (r->n == 0) {
		reading_free(e, r);
		return;
	}
	px_read_blocked(&r->machine, now);
}

static void start_reading(struct px_engine *e, int g, enum lane lane, struct px_now now)
{
	struct at_gateway *at = &e->at[g];
	unsigned index;
	struct reading *r = reading_new(e, g, lane, &index);
	size_t max = lane == LANE_ONE                              ? 1
	             : e->config.backend->read_max < PX_READ_USERS ? e->config.backend->read_max
	                                                           : PX_READ_USERS;

	if (!r)
		return;
	/* the urgent first; whoever else waits comes along */
	for (enum read_queue q = READ_HOT; q < READ_QUEUES; q++) {
		while (r->n < max && at->read[lane][q].n) {
			uint32_t slot = at->read[lane][q].head;
			struct user *u = px_user(e, slot);

			px_unmark(e, slot);
			u->reading = true;
			r->user[r->n++] = (struct member){slot, u->generation};
		}
		if (lane == LANE_MANY)
			at->read_since[lane][q] = now.mono;
	}
	if (!reading_ask(e, index, now)) /* out of memory: the batch rests */
		px_read_blocked(&r->machine, now);
}

/* A calendar may come in parts: what has come of it so far. False: it is too much. */
static bool join(struct reading *r, const struct px_interval **interval, size_t *n)
{
	struct px_interval *all;

	if (r->parts + *n > PX_INTERVALS_MAX)
		return false;
	all = realloc(r->part, (r->parts + *n + 1) * sizeof *all);
	if (!all)
		return false;
	if (*n)
		memcpy(all + r->parts, *interval, *n * sizeof *all);
	r->part = all;
	r->parts += *n;
	*interval = all;
	*n = r->parts;
	return true;
}

void px_reading_said(struct px_engine *e, unsigned index, const struct px_item *item)
{
	struct reading *b = e->reading[index];

	if (item->index >= b->n)
		return;
	if (item->kind == PX_ITEM_CALENDAR) {
		const struct px_interval *interval = item->interval;
		size_t n = item->n;

		if (b->lane == LANE_ONE && !join(b, &interval, &n)) {
			b->refused[item->index] = PX_V_WIDE + 1;
			return;
		}
		if (px_calendar_make(&b->staged[item->index], interval, n, b->from, b->until) != 0)
			b->refused[item->index] = PX_V_TRANSIENT + 1;
		else if (e->config.remind_before_s > 0 &&
		         px_calendar_starts(&b->staged[item->index], interval, n, px_reminds) != 0)
			b->refused[item->index] = PX_V_TRANSIENT + 1;
	} else if (item->kind == PX_ITEM_MEETING) {
		const struct px_meeting *m = item->meeting;
		const enum px_presence p = e->config.map.of[m->when.status];

		/* what isn't shown isn't kept */
		if (!m->hidden && (p == PX_PRESENCE_BUSY || p == PX_AWAY) &&
		    px_calendar_topic(&b->staged[item->index], &m->when, m->subject) != 0)
			b->refused[item->index] = PX_V_TRANSIENT + 1;
	} else if (item->kind == PX_ITEM_MORE) {
		b->more = item->n;
	} else if (item->kind == PX_ITEM_FOLDER) {
		struct user *u = reading_user(e, b, 0);

		if (u && !u->renamed) {
			free(u->folder);
			u->folder = strdup(item->id);
		}
	} else if (item->kind == PX_ITEM_REFUSED) {
		b->refused[item->index] = (uint8_t)(item->verdict + 1);
		b->code[item->index] = px_trouble(e, item->code ? item->code : "");
	}
}

/* Batches at a gateway which is left: their users are read elsewhere. */
void px_readings_evacuate(struct px_engine *e, int g, struct px_now now)
{
	for (unsigned i = 0; i < e->readings; i++) {
		struct reading *r = e->reading[i];

		if (!r->used || r->gateway != g)
			continue;
		/* an answer that may never come mustn't keep them from being read elsewhere */
		px_request_cancel(e, r->request);
		reading_end(e, r);
		for (unsigned m = 0; m < r->n; m++) {
			if (!reading_user(e, r, m))
				continue;
			px_mark(e, r->user[m].slot, READ_HOT, now);
			px_user_maybe_free(e, r->user[m].slot);
		}
	}
}

bool px_readings_stuck(const struct px_engine *e, int g, enum read_queue q)
{
	unsigned most = q == READ_HOT ? PX_RESTING_HOT_MAX : PX_RESTING_MAX;

	return e->at[g].batches >= e->pool.gateway[g].in_flight + most;
}

/* When may the batch that this list asks for leave? Not set: there is none. */
static struct px_mono batch_at(const struct px_engine *e, int g, enum lane lane, enum read_queue q)
{
	const struct at_gateway *at = &e->at[g];
	const struct px_gateway *gw = &e->pool.gateway[g];
	int64_t gather = q == READ_HOT      ? PX_GATHER_MS
	                 : lane == LANE_ONE ? 0
	                 : q == READ_SWEEP  ? sweep_every(e) / PX_SWEEP_GATHER
	                                    : PX_GATHER_MS;
	struct px_mono when = at->read_since[lane][q];

	if (at->read[lane][q].n == 0)
		return (struct px_mono){0};
	/* where readings fail, others wouldn't do better */
	if (px_readings_stuck(e, g, q))
		return (struct px_mono){0};
	if (lane == LANE_ONE || at->read[lane][q].n < e->config.backend->read_max)
		when.ms += gather;
	if (q == READ_HOT)
		return when;
	/* one place stays free for those whose calendar has changed */
	if (gw->in_flight && gw->in_flight + 1 >= gw->limit)
		return (struct px_mono){0};
	if (lane == LANE_MANY)
		return when.ms > at->cold_next.ms ? when : at->cold_next;
	/* one by one they take long: half of the places are for others */
	if (at->alone && 2 * at->alone >= gw->limit && !e->config.backend->one_first)
		return (struct px_mono){0};
	return when.ms > at->alone_next.ms ? when : at->alone_next;
}

void px_readings_pump(struct px_engine *e, int g, struct px_now now)
{
	for (enum read_queue q = READ_HOT; q < READ_QUEUES; q++)
		for (enum lane lane = 0; lane < LANES; lane++)
			while (px_may_ask(e, g, now) && px_due(batch_at(e, g, lane, q), now)) {
				unsigned before = e->pool.gateway[g].in_flight;

				if (q != READ_HOT && lane == LANE_MANY)
					e->at[g].cold_next = px_after(now, PX_COLD_SPACING_MS);
				else if (q != READ_HOT)
					e->at[g].alone_next = px_after(
					    now,
					    e->config.backend->one_first ? 0 : PX_ALONE_SPACING_MS);
				start_reading(e, g, lane, now);
				if (e->pool.gateway[g].in_flight == before)
					break; /* out of memory */
			}
}

void px_readings_tick(struct px_engine *e, struct px_now now)
{
	for (unsigned i = 0; i < e->readings; i++)
		if (e->reading[i]->used && e->reading[i]->machine.state == PX_READ_RESTING)
			reading_due(e, i, now);
}

struct px_mono px_readings_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = {0};

	for (unsigned i = 0; i < e->readings; i++)
		if (e->reading[i]->used)
			at = px_earlier(at, e->reading[i]->machine.due);
	/* what waits for an answer or the end of a pause is woken by that */
	for (int g = 0; g < (int)e->pool.n; g++)
		for (enum read_queue q = READ_HOT; q < READ_QUEUES && px_may_ask(e, g, now); q++)
			for (enum lane lane = 0; lane < LANES; lane++)
				at = px_earlier(at, batch_at(e, g, lane, q));
	return at;
}

void px_readings_free(struct px_engine *e)
{
	for (unsigned i = 0; i < e->readings; i++) {
		reading_clear(e->reading[i]);
		free(e->reading[i]);
	}
	free(e->reading);
}
