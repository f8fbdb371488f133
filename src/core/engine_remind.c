/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reminders of meetings: who is due, what their meetings are about, and messages on their way (reminder.h). */
#include "core/engine_in.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whoever becomes due within so long is read together. */
#define GATHER_MS 200
/* After a reading that failed, or where no gateway is free. */
#define AGAIN_MS 2000
#define LOOK_MS 500
/* Between two messages, while the presence server's window is WINDOW or more: 200 a second. A smaller window makes them rarer. */
#define SPACING_MS 5
#define WINDOW 32
/* Whoever is asked may think, and the proxy waits for it: longer than its own timers (RFC 3261 timer F). */
#define MESSAGE_MS 35000
#define IN_FLIGHT_MAX 400

#define MEETINGS 12 /* that are kept of one user's reading */

/* What was read of one meeting. */
struct found {
	uint32_t start, end;
	bool hidden;
	char *subject, *place; /* owned */
};

/* One request for details, and what has come of its answer. */
struct details {
	uint64_t request;
	int gateway;
	unsigned n;
	bool alone; /* its one mailbox is impersonated */
	struct details_user {
		uint32_t slot, generation;
		unsigned n;
		bool whole, blind, refused;
		struct found found[MEETINGS];
	} user[];
};

static bool reminds(const struct px_engine *e, const struct user *u)
{
	return e->active && e->config.remind_before_s > 0 && u->on && !u->leaving && !u->quiet &&
	       !u->stale;
}

static struct px_reminder_style style(const struct px_engine *e)
{
	return (struct px_reminder_style){.lang = e->config.remind_lang,
	                                  .utc_offset_s = e->config.utc_offset_s};
}

/* ---- who is due ---- */

/* It waits for nothing any more, neither in a list nor for an answer. */
static void leave_list(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	u->details = 0;
	if (u->link[LINK_REMIND].prev == PX_UNLINKED)
		return;
	px_list_take(e, u->reminder.state == PX_REMIND_WAITING ? &e->messages : &e->curious,
	             LINK_REMIND, slot);
}

static void ask_for(struct px_engine *e, uint32_t slot, struct px_now now)
{
	if (e->curious.n == 0)
		e->curious_at = px_after(now, GATHER_MS);
	px_list_push(e, &e->curious, LINK_REMIND, slot);
}

/* Its calendar, the clock or whether it is to be reminded has changed. */
void px_remind_plan(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct px_reminder *r = &u->reminder;
	uint32_t next;

	if (!reminds(e, u)) {
		leave_list(e, slot);
		px_reminder_stop(r);
		return;
	}
	if (r->state != PX_REMIND_IDLE)
		return;
	next = px_reminder_next(r, u->calendar.start, u->calendar.starts, now.wall);
	r->due = (struct px_mono){0};
	if (next) {
		int64_t in = (next - e->config.remind_before_s) * 1000 - now.wall.ms;
		r->due = px_after(now, in > 0 ? in : 0);
	}
}

static bool write_text(struct px_engine *e, uint32_t slot, const struct px_reminder_line *line,
                       size_t n, struct px_now now)
{
	struct user *u = px_user(e, slot);
	const struct px_reminder_style how = style(e);

	leave_list(e, slot);
	if (!px_reminder_write(&u->reminder, &how, line, n, e->config.remind_before_s, now)) {
		px_remind_plan(e, slot, now);
		return false;
	}
	px_list_push(e, &e->messages, LINK_REMIND, slot);
	return true;
}

/* Of what is in memory, there are only begins. */
static void write_from_memory(struct px_engine *e, uint32_t slot, struct px_now now)
{
	const struct px_calendar *c = &px_user(e, slot)->calendar;
	const struct px_reminder *r = &px_user(e, slot)->reminder;
	struct px_reminder_line line[PX_REMINDER_LINES];
	size_t n = 0;

	for (uint32_t i = 0; i < c->starts && n < PX_REMINDER_LINES; i++)
		if (px_reminder_is_due(r, c->start[i], e->config.remind_before_s, now.wall))
			line[n++] = (struct px_reminder_line){.start = c->start[i]};
	write_text(e, slot, line, n, now);
}

void px_remind_due(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	struct px_reminder *r = &u->reminder;
	uint32_t next;

	if (!px_due(r->due, now))
		return;
	if (!reminds(e, u)) {
		px_remind_plan(e, slot, now);
		return;
	}
	switch ((enum px_reminder_state)r->state) {
	case PX_REMIND_IDLE:
	case PX_REMIND_BACKOFF:
		next = px_reminder_next(r, u->calendar.start, u->calendar.starts, now.wall);
		if (!next || (next - e->config.remind_before_s) * 1000 > now.wall.ms) {
			/* it has begun, was moved, or the clock was set */
			px_reminder_stop(r);
			px_remind_plan(e, slot, now);
			break;
		}
		px_reminder_read(r, now);
		/* a search beside the calendar would find no meeting, and so nothing to remind of: its path has to be known */
		if (e->config.remind_details && e->config.backend->details_max > 0 &&
		    (!e->config.backend->locates || u->folder))
			ask_for(e, slot, now);
		else
			write_from_memory(e, slot, now);
		break;
	case PX_REMIND_READING:
		px_say(e, PX_LOG_INFO, "user=%s reminder without details: not read in time",
		       u->key);
		write_from_memory(e, slot, now);
		break;
	case PX_REMIND_WAITING:
	case PX_REMIND_IN_FLIGHT:
		break;
	}
}

/* ---- details ---- */

static void details_free(struct details *d)
{
	for (unsigned i = 0; i < d->n; i++)
		for (unsigned k = 0; k < d->user[i].n; k++) {
			free(d->user[i].found[k].subject);
			free(d->user[i].found[k].place);
		}
	free(d);
}

/* A place for it among those under way, or NULL: out of memory. */
static struct details **details_place(struct px_engine *e)
{
	for (unsigned i = 0; i < e->details_n; i++)
		if (!e->details[i])
			return &e->details[i];
	struct details **more = realloc(e->details, (e->details_n + 1) * sizeof(struct details *));
	if (!more)
		return NULL;
	e->details = more;
	e->details[e->details_n] = NULL;
	return &e->details[e->details_n++];
}

/* Asks a gateway about some users. They stay in the list until it is under way. */
static bool ask(struct px_engine *e, int gateway, const uint32_t *slot, unsigned n, bool alone,
                struct px_now now)
{
	struct details **place = details_place(e);
	const uint32_t index = place ? (uint32_t)(place - e->details) : 0;
	struct details *d = place ? calloc(1, sizeof *d + n * sizeof d->user[0]) : NULL;
	const char *name[PX_READ_USERS];
	int64_t until = now.wall.ms + e->config.remind_before_s * 1000;
	struct px_query q = {.ask = PX_ASK_DETAILS, .name = name, .n = n};

	if (!d)
		return false;
	*d = (struct details){.gateway = gateway, .n = n, .alone = alone};
	for (unsigned i = 0; i < n; i++) {
		const struct user *u = px_user(e, slot[i]);

		d->user[i] = (struct details_user){.slot = slot[i], .generation = u->generation};
		name[i] = u->mailbox;
	}
	if (alone || e->config.backend->details_max == 1) {
		q.mailbox = name[0];
		q.folder = px_user(e, slot[0])->folder;
	}
	q.from = (struct px_wall){now.wall.ms / 60000 * 60000};
	q.until = (struct px_wall){(until / 60000 + 1) * 60000};
	d->request = px_request_start(e, OWNER_DETAILS, index, gateway, NULL, &q);
	if (!d->request) {
		details_free(d);
		return false;
	}
	*place = d;
	for (unsigned i = 0; i < n; i++) {
		leave_list(e, slot[i]);
		px_user(e, slot[i])->details = index + 1;
	}
	return true;
}

/* One place stays free for those whose calendar has changed. */
static bool has_room(const struct px_engine *e, int g, struct px_now now)
{
	const struct px_gateway *gw = &e->pool.gateway[g];

	return px_may_ask(e, g, now) && (gw->in_flight == 0 || gw->in_flight + 1 < gw->limit);
}

/* Who waits for one gateway, for those that may be asked together. */
static void ask_at(struct px_engine *e, int g, struct px_now now)
{
	size_t max = e->config.backend->details_max;
	uint32_t slot[PX_READ_USERS];
	unsigned n = 0;
	bool sent = true;

	if (max > PX_READ_USERS)
		max = PX_READ_USERS;
	for (uint32_t s = e->curious.n ? e->curious.head : PX_NOBODY; s != PX_NOBODY && sent;) {
		const struct user *u = px_user(e, s);
		uint32_t next = u->link[LINK_REMIND].next;

		if (u->gateway == g && has_room(e, g, now)) {
			if (u->details_alone) {
				sent = ask(e, g, &s, 1, true, now);
			} else {
				slot[n++] = s;
				if (n == max) {
					sent = ask(e, g, slot, n, false, now);
					n = 0;
				}
			}
		}
		s = next;
	}
	if (n > 0 && sent && has_room(e, g, now))
		ask(e, g, slot, n, false, now);
}

void px_details_said(struct px_engine *e, unsigned index, const struct px_item *item)
{
	struct details *d = e->details[index];
	struct details_user *u;

	if (item->index >= d->n)
		return;
	u = &d->user[item->index];
	if (item->kind == PX_ITEM_CALENDAR) {
		u->whole = true;
		u->blind = !item->details;
	} else if (item->kind == PX_ITEM_REFUSED) {
		u->refused = true;
	} else if (item->kind == PX_ITEM_MEETING && px_reminds(&item->meeting->when) &&
	           px_reminder_is_due(&px_user(e, u->slot)->reminder,
	                              (uint32_t)(item->meeting->when.start.ms / 1000),
	                              e->config.remind_before_s, e->now.wall)) {
		const struct px_meeting *m = item->meeting;
		struct found f = {.start = (uint32_t)(m->when.start.ms / 1000),
		                  .end = (uint32_t)(m->when.end.ms / 1000),
		                  .hidden = m->hidden};
		unsigned at = u->n;

		if (at == MEETINGS && u->found[at - 1].start <= f.start)
			return;
		if (!f.hidden) { /* what isn't shown isn't kept */
			f.subject = strdup(m->subject);
			f.place = strdup(m->place);
		}
		if (at == MEETINGS) {
			at--;
			free(u->found[at].subject);
			free(u->found[at].place);
		} else {
			u->n++;
		}
		for (; at > 0 && u->found[at - 1].start > f.start; at--)
			u->found[at] = u->found[at - 1];
		u->found[at] = f;
	}
}

/* One user's part of an answer that is whole. */
static void details_commit(struct px_engine *e, const struct details *d,
                           const struct details_user *du, struct px_now now)
{
	struct user *u = px_user(e, du->slot);
	struct px_reminder_line line[MEETINGS];
	const struct px_calendar *c = &u->calendar;

	if (!d->alone && (du->refused || (du->blind && du->n > 0))) {
		/* the account isn't shown it; the mailbox itself is */
		u->details_alone = DETAILS_ALONE;
		ask_for(e, du->slot, now);
		return;
	}
	if (!du->whole) {
		write_from_memory(e, du->slot, now);
		return;
	}
	if (u->details_alone == DETAILS_ALONE_ONCE)
		u->details_alone = DETAILS_TOGETHER;
	for (unsigned i = 0; i < du->n; i++)
		line[i] = (struct px_reminder_line){.start = du->found[i].start,
		                                    .end = du->found[i].end,
		                                    .subject = du->found[i].subject,
		                                    .place = du->found[i].place,
		                                    .hidden = du->found[i].hidden};
	/* what was due by what we knew and isn't there any more was moved or cancelled */
	bool gone = false;
	for (uint32_t i = 0; i < c->starts; i++) {
		unsigned k = 0;
		if (!px_reminder_is_due(&u->reminder, c->start[i], e->config.remind_before_s,
		                        now.wall))
			continue;
		while (k < du->n && du->found[k].start < c->start[i])
			k++;
		/* of too many only the first were kept */
		if (k == MEETINGS || (k < du->n && du->found[k].start == c->start[i]))
			continue;
		px_reminder_void(&u->reminder, c->start[i], now);
		gone = true;
	}
	if (gone) {
		px_say(e, PX_LOG_DEBUG, "user=%s reminder dropped: no such meeting any more",
		       u->key);
		px_mark(e, du->slot, READ_HOT, now);
	}
	write_text(e, du->slot, line, du->n, now);
}

void px_details_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                     struct px_now now)
{
	struct details *d = e->details[index];

	if (reply->verdict != PX_V_OK)
		px_say(e, PX_LOG_DEBUG, "details gateway=%s users=%u failed why=%s code=%s",
		       e->pool.gateway[d->gateway].name, d->n, px_verdict_name(reply->verdict),
		       reply->code);
	for (unsigned i = 0; i < d->n; i++) {
		struct user *u = px_user(e, d->user[i].slot);

		/* gone, reminded without, or asked about anew meanwhile */
		if (!u->used || u->generation != d->user[i].generation || u->details != index + 1)
			continue;
		u->details = 0;
		if (reply->verdict == PX_V_OK) {
			details_commit(e, d, &d->user[i], now);
		} else if (d->alone && reply->verdict == PX_V_USER) {
			write_from_memory(e, d->user[i].slot, now);
		} else {
			/* one mailbox may have spoilt it for the others */
			if (reply->verdict == PX_V_USER || reply->verdict == PX_V_TRANSIENT)
				u->details_alone = DETAILS_ALONE_ONCE;
			ask_for(e, d->user[i].slot, now);
			e->curious_at = px_after(now, AGAIN_MS);
		}
		px_user_touch(e, d->user[i].slot);
		px_user_schedule(e, d->user[i].slot);
	}
	e->details[index] = NULL;
	details_free(d);
}

/* ---- messages ---- */

static void turn(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);
	uint32_t expires;
	char *text;
	struct px_action *a;

	leave_list(e, slot);
	text = px_reminder_turn(&u->reminder, &expires, now);
	if (!text) {
		if (u->reminder.state == PX_REMIND_READING)
			ask_for(e, slot, now);
		px_remind_plan(e, slot, now);
		px_user_schedule(e, slot);
		return;
	}
	u->message_no++;
	a = px_action_add(e, PX_DO_SIP_MESSAGE);
	e->messages_in_flight++;
	px_user_touch(e, slot);
	if (!a) { /* out of memory: as if it had never left */
		const struct px_sip_answer local = {.fail = PX_SIP_LOCAL};
		uint64_t id = px_message_id(u, slot);

		free(text);
		px_remind_answered(e, id, &local, now);
		return;
	}
	a->message.id = px_message_id(u, slot);
	a->message.server = e->esc.current;
	memcpy(a->message.key, u->key, strlen(u->key) + 1);
	a->message.from = e->config.remind_from;
	a->message.lang = e->config.remind_lang->tag;
	a->message.expires = expires;
	a->message.body = px_buf_new(PX_REMINDER_TEXT_MAX);
	px_buf_str(&a->message.body, text);
	a->message.timeout_ms = MESSAGE_MS;
	free(text);
}

void px_remind_answered(struct px_engine *e, uint64_t id, const struct px_sip_answer *a,
                        struct px_now now)
{
	uint32_t slot = (uint32_t)id & ~PX_MESSAGE_BIT;
	struct user *u;
	uint8_t open;

	if (e->messages_in_flight > 0)
		e->messages_in_flight--;
	if (slot >= e->end)
		return;
	u = px_user(e, slot);
	if (!u->used || id != px_message_id(u, slot) || u->reminder.state != PX_REMIND_IN_FLIGHT)
		return;
	open = u->reminder.open;
	switch (px_reminder_answer(&u->reminder, a, u->publication.seed ^ u->message_no, now)) {
	case PX_REMINDED:
		e->counts.reminders++;
		px_say(e, PX_LOG_DEBUG, "user=%s reminded meetings=%u", u->key, open);
		break;
	case PX_REMIND_LATER:
		px_say(e, PX_LOG_DEBUG, "user=%s reminder failed status=%d fail=%d again=%llds",
		       u->key, a->status, a->fail,
		       (long long)(u->reminder.due.ms - now.mono.ms) / 1000);
		break;
	case PX_REMIND_TOO_LATE:
		e->counts.reminders_failed++;
		px_say(e, PX_LOG_INFO, "user=%s reminder not_delivered status=%d", u->key,
		       a->status);
		break;
	case PX_REMIND_GAVE_UP:
		e->counts.reminders_failed++;
		px_say(e, PX_LOG_WARN, "user=%s reminder gave_up status=%d reason=\"%.60s\"",
		       u->key, a->status, a->reason ? a->reason : "");
		break;
	}
	px_remind_plan(e, slot, now);
	px_user_touch(e, slot);
	px_user_schedule(e, slot);
}

/* ---- turns ---- */

/* When the next message may leave; not set: none waits, or only an answer can change it. */
static struct px_mono message_at(const struct px_engine *e, struct px_now now)
{
	/* whoever publishes goes before */
	if (e->messages.n == 0 || e->esc.down || e->urgent.n || e->calm.n ||
	    e->messages_in_flight >= IN_FLIGHT_MAX)
		return (struct px_mono){0};
	return e->message_next.ms > now.mono.ms ? e->message_next : now.mono;
}

static int64_t spacing(const struct px_engine *e)
{
	int64_t ms = SPACING_MS;

	if (e->esc.window < WINDOW && e->esc.window < e->esc.window_max)
		ms = ms * WINDOW / (e->esc.window ? e->esc.window : 1);
	if (e->config.publish_rate && 1000 / (int64_t)e->config.publish_rate > ms)
		ms = 1000 / (int64_t)e->config.publish_rate;
	return ms;
}

void px_remind_pump(struct px_engine *e, struct px_now now)
{
	if (e->curious.n && px_due(e->curious_at, now)) {
		for (int g = 0; g < (int)e->pool.n; g++)
			ask_at(e, g, now);
		e->curious_at = px_after(now, LOOK_MS);
	}
	while (px_due(message_at(e, now), now)) {
		e->message_next = px_after(now, spacing(e));
		turn(e, e->messages.head, now);
	}
}

struct px_mono px_reminders_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = message_at(e, now);

	return e->curious.n ? px_earlier(at, e->curious_at) : at;
}

/* What its reminders are about is another calendar's, or nobody's any more. */
void px_remind_end(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	leave_list(e, slot);
	px_reminder_stop(&u->reminder);
}

void px_reminders_free(struct px_engine *e)
{
	for (unsigned i = 0; i < e->details_n; i++)
		if (e->details[i])
			details_free(e->details[i]);
	free(e->details);
}
