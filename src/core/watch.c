/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/watch.h"

int64_t px_backoff(int64_t min, int64_t max, unsigned failures, uint32_t seed)
{
	int64_t ms = min;

	for (unsigned i = 1; i < failures && ms < max; i++)
		ms *= 2;
	if (ms > max)
		ms = max;
	/* half fixed, half spread: what failed together must not come back together */
	uint32_t mix = (seed ^ (failures * 0x9e3779b9u)) * 2654435761u;
	return ms / 2 + (int64_t)(mix >> 8) % (ms / 2 + 1);
}

static unsigned enter(struct px_watch *w, enum px_watch_state to, unsigned todo)
{
	w->state = (uint8_t)to;
	w->due = (struct px_mono){0};
	return todo;
}

static unsigned wait_until(struct px_watch *w, enum px_watch_state to, struct px_mono due,
                           unsigned todo)
{
	enter(w, to, todo);
	w->due = due;
	return todo;
}

static void count(struct px_watch *w)
{
	if (w->failures < UINT8_MAX)
		w->failures++;
}

static unsigned back_off(struct px_watch *w, unsigned todo, struct px_now now)
{
	int64_t ms = px_backoff(PX_WATCH_RETRY_MIN, PX_WATCH_RETRY_MAX, w->failures, w->seed);

	return wait_until(w, PX_WATCH_BACKOFF, px_after(now, ms), todo);
}

/* A subscription failed. The first time it costs nothing to ask elsewhere at once; a user who fails
 * everywhere must not circle. */
static unsigned lose(struct px_watch *w, struct px_now now)
{
	count(w);
	if (w->failures == 1)
		return enter(w, PX_WATCH_HOMELESS, PX_W_LEAVE | PX_W_ASSIGN);
	/* at the deadline it is assigned again, not just tried again */
	if (w->failures < PX_WATCH_CIRCLE)
		w->failures = PX_WATCH_CIRCLE;
	/* what it missed since it was last followed doesn't wait for the next subscription; but who can't be read there is read at the next */
	return back_off(w, PX_W_LEAVE | (w->swept ? 0 : PX_W_READ), now);
}

/* What it had missed is read; the next subscription may be had where this one was. */
static unsigned resubscribe(struct px_watch *w, struct px_now now)
{
	if (w->failures > 1)
		return lose(w, now);
	count(w);
	if (w->failures > 1)
		return enter(w, PX_WATCH_HOMELESS, PX_W_LEAVE | PX_W_UNSUBSCRIBE | PX_W_ASSIGN);
	return enter(w, PX_WATCH_WAITING, PX_W_LEAVE | PX_W_UNSUBSCRIBE | PX_W_QUEUE | PX_W_READ);
}

unsigned px_watch_step(struct px_watch *w, enum px_watch_event ev, struct px_now now)
{
	/* what can happen in every state that is on */
	if (w->state != PX_WATCH_OFF) {
		if (ev == PX_W_OFF)
			return enter(w, PX_WATCH_OFF, PX_W_LEAVE | PX_W_UNSUBSCRIBE);
		if (ev == PX_W_USER)
			return wait_until(w, PX_WATCH_PARKED,
			                  px_after(now, PX_WATCH_PARKED_MS + w->seed % 60000),
			                  PX_W_LEAVE);
		/* a parked user asks for nothing, so its gateway's fate is looked at when the hour
		 * is over */
		if (ev == PX_W_SERVER && w->state != PX_WATCH_PARKED &&
		    w->state != PX_WATCH_HOMELESS)
			return enter(w, PX_WATCH_HOMELESS, PX_W_LEAVE | PX_W_ASSIGN);
		if (ev == PX_W_KIND && w->state != PX_WATCH_PARKED && w->state != PX_WATCH_HOMELESS)
			return w->swept
			           ? enter(w, PX_WATCH_SWEPT,
			                   PX_W_LEAVE | PX_W_UNSUBSCRIBE | PX_W_READ)
			           : enter(w, PX_WATCH_WAITING,
			                   PX_W_LEAVE | PX_W_UNSUBSCRIBE | PX_W_QUEUE | PX_W_READ);
	}

	switch ((enum px_watch_state)w->state) {
	case PX_WATCH_OFF:
		if (ev == PX_W_WANT) {
			w->failures = 0;
			return enter(w, PX_WATCH_HOMELESS, PX_W_ASSIGN);
		}
		break;

	case PX_WATCH_HOMELESS:
		if (ev == PX_W_HOMED && w->swept)
			return enter(w, PX_WATCH_SWEPT, PX_W_READ);
		if (ev == PX_W_HOMED)
			return enter(w, PX_WATCH_WAITING, PX_W_QUEUE | PX_W_READ);
		break;

	case PX_WATCH_WAITING:
		if (ev == PX_W_TURN)
			return enter(w, PX_WATCH_SUBSCRIBING, 0);
		if (ev == PX_W_SUBSCRIBED) /* taken over from an earlier process */
			return enter(w, PX_WATCH_GATHERING, PX_W_GATHER);
		break;

	case PX_WATCH_SUBSCRIBING:
		if (ev == PX_W_SUBSCRIBED)
			return enter(w, PX_WATCH_GATHERING, PX_W_GATHER);
		if (ev == PX_W_DEFERRED)
			return enter(w, PX_WATCH_WAITING, PX_W_QUEUE);
		if (ev == PX_W_LOST)
			return lose(w, now);
		if (ev == PX_W_TRANSIENT) {
			count(w);
			/* the longer it lasts, the more may be missed */
			return back_off(w, PX_W_LEAVE | (w->failures > 1 ? PX_W_READ : 0), now);
		}
		break;

	case PX_WATCH_GATHERING:
		if (ev == PX_W_FOLLOWED)
			return enter(w, PX_WATCH_FOLLOWED, PX_W_READ);
		if (ev == PX_W_LOST)
			return lose(w, now);
		if (ev == PX_W_GAP)
			return resubscribe(w, now);
		break;

	case PX_WATCH_FOLLOWED:
		if (ev == PX_W_PROVEN)
			w->failures = 0;
		if (ev == PX_W_UNFOLLOWED)
			return enter(w, PX_WATCH_GATHERING, 0);
		if (ev == PX_W_LOST)
			return lose(w, now);
		if (ev == PX_W_GAP)
			return resubscribe(w, now);
		break;

	case PX_WATCH_BACKOFF:
		if (ev == PX_W_DUE || ev == PX_W_RETRY) {
			if (w->failures >= PX_WATCH_TRIES)
				return enter(w, PX_WATCH_HOMELESS, PX_W_ASSIGN);
			return enter(w, PX_WATCH_WAITING, PX_W_QUEUE);
		}
		break;

	case PX_WATCH_PARKED:
		if (ev == PX_W_DUE || ev == PX_W_RETRY)
			return w->swept ? enter(w, PX_WATCH_SWEPT, PX_W_READ)
			                : enter(w, PX_WATCH_WAITING, PX_W_QUEUE | PX_W_READ);
		break;

	case PX_WATCH_SWEPT: /* reads have deadlines of their own */
		if (ev == PX_W_PROVEN)
			w->failures = 0;
		if (ev == PX_W_LOST)
			return lose(w, now);
		break;

	case PX_WATCH_STATES:
		break;
	}
	return 0;
}

const char *px_watch_state_name(enum px_watch_state s)
{
	static const char *const name[PX_WATCH_STATES] = {"off",         "homeless",  "waiting",
	                                                  "subscribing", "gathering", "followed",
	                                                  "backoff",     "parked",    "swept"};
	return name[s];
}

const char *px_watch_event_name(enum px_watch_event ev)
{
	static const char *const name[PX_W_EVENTS] = {
	    "want",     "off",       "homed",      "turn",  "deferred", "subscribed",
	    "followed", "proven",    "unfollowed", "lost",  "gap",      "kind",
	    "server",   "transient", "user",       "retry", "due"};
	return name[ev];
}
