/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "crowd.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW 200
#define PROBE_MS 500
#define TURN_MS 20
#define IDLE_MS 200

bool pw_crowd_init(struct pw_crowd *c, const char *const *aors, unsigned n, double rate,
                   long expires_s, const struct pw_crowd_calls *calls, void *arg)
{
	*c = (struct pw_crowd){
	    .n = n, .rate = rate, .expires_s = expires_s, .calls = calls, .arg = arg};
	c->subs = calloc(n, sizeof *c->subs);
	c->deadline = calloc(n, sizeof *c->deadline);
	if (!c->subs || !c->deadline) {
		pw_crowd_clear(c);
		return false;
	}
	for (unsigned i = 0; i < n; i++)
		pw_sub_init(&c->subs[i], i, aors[i]);
	return true;
}

void pw_crowd_clear(struct pw_crowd *c)
{
	for (unsigned i = 0; c->subs && i < c->n; i++)
		pw_sub_clear(&c->subs[i]);
	free(c->subs);
	free(c->deadline);
	c->subs = NULL;
	c->deadline = NULL;
}

static void report(struct pw_crowd *c, const struct pw_sub *s, const struct pw_faults *f)
{
	c->counts.problems += f->count;
	if (f->count > 0)
		c->calls->problem(c->arg, s->aor, f->text);
}

void pw_crowd_problem(struct pw_crowd *c, const char *what)
{
	c->counts.problems++;
	c->calls->problem(c->arg, NULL, what);
}

/* After every event of a subscription: what the crowd keeps about it follows. */
static void note(struct pw_crowd *c, const struct pw_sub *s, bool was_settled, bool was_refused,
                 uint32_t was_generation)
{
	c->deadline[s->slot] = pw_sub_deadline(s);
	c->settled += s->settled && !was_settled;
	c->refused += (unsigned)s->refused - (unsigned)was_refused;
	c->counts.renewed += s->generation != was_generation;
	if (c->settled == c->n && !c->ready) {
		c->ready = true;
		c->calls->ready(c->arg);
	}
}

static void check_all(struct pw_crowd *c, int64_t now_ms)
{
	c->check_ms = now_ms + (int64_t)(c->n / c->rate * 1000) + 5000;
	for (unsigned i = 0; i < c->n; i++) {
		pw_sub_check(&c->subs[i], now_ms);
		c->deadline[i] = pw_sub_deadline(&c->subs[i]);
	}
}

static void down(struct pw_crowd *c, int64_t now_ms)
{
	c->probe_ms = now_ms + PROBE_MS;
	c->down = true;
}

void pw_crowd_lost(struct pw_crowd *c, int64_t now_ms)
{
	check_all(c, now_ms);
	down(c, now_ms);
}

static bool may_send(const struct pw_crowd *c, int64_t now_ms)
{
	if (c->down)
		return c->in_flight == 0 && now_ms >= c->probe_ms;
	return c->in_flight < WINDOW && (c->tokens >= 1 || c->leaving);
}

static void send_due(struct pw_crowd *c, struct pw_sub *s, int64_t now_ms)
{
	struct pw_faults f = {0};
	uint32_t generation = s->generation;

	if (s->state == PW_SUB_HELD && s->due_ms > now_ms)
		pw_sub_silent(s, now_ms, &f);
	pw_sub_sent(s);
	if (c->calls->send(c->arg, s, c->expires_s)) {
		c->in_flight++;
		c->tokens--;
		c->counts.subscribes++;
	} else {
		const struct pw_answer none = {.status = 500, .expires_s = -1, .min_expires_s = -1};
		long expires_s = c->expires_s;

		pw_fault(&f, "no SUBSCRIBE could be made of this address");
		pw_sub_answer(s, &none, &expires_s, now_ms, &f);
	}
	report(c, s, &f);
	note(c, s, s->settled, s->refused, generation);
}

static void leave_some(struct pw_crowd *c, int64_t now_ms)
{
	while (c->to_leave < c->n && !c->down && may_send(c, now_ms)) {
		struct pw_sub *s = &c->subs[c->to_leave++];

		if (!s->target)
			continue;
		pw_sub_sent(s);
		if (c->calls->send(c->arg, s, 0))
			c->in_flight++;
	}
}

int pw_crowd_turn(struct pw_crowd *c, int64_t now_ms)
{
	bool more = false;

	if (c->turn_ms)
		c->tokens += c->rate * (double)(now_ms - c->turn_ms) / 1000;
	else
		c->tokens = 1;
	/* a pause must not be made up for by a burst; but a slow rate must reach its one */
	if (c->tokens > 1 + c->rate / 10)
		c->tokens = 1 + c->rate / 10;
	c->turn_ms = now_ms;

	if (c->leaving) {
		leave_some(c, now_ms);
		return TURN_MS;
	}
	for (unsigned i = 0; i < c->n; i++) {
		unsigned at = (c->cursor + i) % c->n;

		if (c->deadline[at] > now_ms)
			continue;
		if (!may_send(c, now_ms)) {
			c->cursor = at;
			more = true;
			break;
		}
		send_due(c, &c->subs[at], now_ms);
	}
	return more || c->in_flight > 0 ? TURN_MS : IDLE_MS;
}

void pw_crowd_answer(struct pw_crowd *c, uint32_t slot, uint32_t generation,
                     const struct pw_answer *a, int64_t now_ms)
{
	struct pw_sub *s = &c->subs[slot];
	enum pw_meaning meaning = a->status == 408 || a->status == 503 || a->status == 504
	                              ? PW_MEANS_DOWN
	                              : PW_MEANS_REACHED;
	struct pw_faults f = {0};

	c->in_flight--;
	/* the dialog of an old generation is over, but its answer still tells how the server is */
	if (!c->leaving && s->generation == generation) {
		bool settled = s->settled, refused = s->refused;

		meaning = pw_sub_answer(s, a, &c->expires_s, now_ms, &f);
		if (meaning == PW_MEANS_REFUSED && !refused)
			pw_fault(&f, "SUBSCRIBE was answered %d", a->status);
		report(c, s, &f);
		note(c, s, settled, refused, generation);
	}
	if (meaning == PW_MEANS_DOWN) {
		down(c, now_ms);
		return;
	}
	c->down = false;
	if (meaning == PW_MEANS_FORGOTTEN && now_ms >= c->check_ms)
		check_all(c, now_ms);
}

static bool same_view(const struct pw_view *a, const struct pw_view *b)
{
	return a->status == b->status && a->basic == b->basic && a->until_s == b->until_s;
}

static bool same_shown(const struct pw_sub *a, const struct pw_sub *b)
{
	if (a->has_document != b->has_document || strcmp(a->substate, b->substate) != 0)
		return false;
	return !a->has_document ||
	       (same_view(&a->doc.all, &b->doc.all) &&
	        same_view(&a->doc.calendar, &b->doc.calendar) && a->doc.tuples == b->doc.tuples &&
	        a->doc.persons == b->doc.persons && a->doc.has_calendar == b->doc.has_calendar &&
	        strcmp(a->doc.activities, b->doc.activities) == 0);
}

int pw_crowd_notify(struct pw_crowd *c, uint32_t slot, uint32_t generation,
                    const struct pw_notify *n, int64_t now_ms, int64_t wall_ms)
{
	struct pw_faults f = {0};
	struct pw_sub before, *s;
	enum pw_kind kind;
	int status;

	if (slot >= c->n || generation > c->subs[slot].generation) {
		pw_crowd_problem(c, "NOTIFY of a dialog that was never opened");
		return 481;
	}
	s = &c->subs[slot];
	if (generation != s->generation) {
		c->counts.old_dialogs++;
		return 481;
	}
	before = *s;
	status = pw_sub_notify(s, n, now_ms, wall_ms, &kind, &f);
	report(c, s, &f);
	c->counts.copies += kind == PW_COPY;
	c->counts.overtaken += kind == PW_OVERTAKEN;
	if (status == 200 && kind == PW_FRESH && !c->leaving) {
		bool changed = !before.settled || !same_shown(&before, s);

		c->counts.notifies++;
		c->counts.changes += changed;
		c->calls->notified(c->arg, s, changed, wall_ms);
	}
	if (!c->leaving)
		note(c, s, before.settled, before.refused, generation);
	return status;
}

void pw_crowd_leave(struct pw_crowd *c)
{
	c->leaving = true;
	c->to_leave = 0;
}

bool pw_crowd_left(const struct pw_crowd *c)
{
	return c->leaving && (c->down || (c->to_leave == c->n && c->in_flight == 0));
}
