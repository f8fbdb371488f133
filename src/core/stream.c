/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/stream.h"
#include "core/watch.h" /* px_backoff */

static unsigned enter(struct px_stream *s, enum px_stream_state to, struct px_mono due,
                      unsigned todo)
{
	s->state = (uint8_t)to;
	s->due = due;
	return todo;
}

void px_stream_init(struct px_stream *s, uint32_t seed, struct px_now now)
{
	*s = (struct px_stream){.seed = seed};
	enter(s, PX_STREAM_GATHERING, px_after(now, PX_STREAM_GATHER_MS), 0);
}

static unsigned opening(struct px_stream *s, unsigned todo, struct px_now now)
{
	return enter(s, PX_STREAM_OPENING, px_after(now, PX_STREAM_OPEN_MS), todo | PX_S_OPEN);
}

/* Streams of one gateway are often cut together. */
static unsigned reopen_soon(struct px_stream *s, unsigned todo, struct px_now now)
{
	int64_t ms = px_backoff(1000, 30000, s->failures ? s->failures : 1, s->seed);

	return enter(s, PX_STREAM_WAITING, px_after(now, ms), todo);
}

static unsigned fail(struct px_stream *s, unsigned todo, struct px_now now)
{
	if (++s->failures >= PX_STREAM_TRIES)
		return enter(s, PX_STREAM_WAITING, px_after(now, 1000), todo | PX_S_LOSE);
	return reopen_soon(s, todo, now);
}

/* Did it end before it was worth opening? If not, earlier failures are forgotten. */
static bool brief(struct px_stream *s, struct px_now now)
{
	if (now.mono.ms - s->since.ms < PX_STREAM_BRIEF_MS)
		return true;
	s->failures = 0;
	return false;
}

unsigned px_stream_step(struct px_stream *s, enum px_stream_event ev, unsigned members,
                        int64_t heartbeat_ms, struct px_now now)
{
	const struct px_mono two_heartbeats = px_after(now, 2 * heartbeat_ms);

	switch ((enum px_stream_state)s->state) {
	case PX_STREAM_GATHERING:
		if (ev == PX_S_DUE || ev == PX_S_FULL)
			return opening(s, 0, now);
		break;

	case PX_STREAM_OPENING:
		switch (ev) {
		case PX_S_ALIVE:
			s->refusals = 0;
			s->since = now.mono;
			return enter(s, PX_STREAM_RUNNING, two_heartbeats, PX_S_FOLLOW);
		case PX_S_DUE:
			return fail(s, PX_S_CANCEL | PX_S_SUSPECT, now);
		case PX_S_CUT:
			return fail(s, 0, now);
		case PX_S_CLOSED: /* without a first envelope: bad ids were dropped, the rest goes
		                     on */
			return reopen_soon(s, 0, now);
		case PX_S_BLOCKED:
			return enter(s, PX_STREAM_WAITING, px_after(now, 500 + s->seed % 500), 0);
		case PX_S_REFUSED:
			if (++s->refusals >= PX_STREAM_TRIES)
				return enter(s, PX_STREAM_WAITING, px_after(now, 1000), PX_S_LOSE);
			return reopen_soon(s, PX_S_ANCHOR, now);
		case PX_S_LOST:
		case PX_S_GAP:
			return enter(s, PX_STREAM_WAITING, px_after(now, 1000), PX_S_LOSE);
		default:
			break;
		}
		break;

	case PX_STREAM_RUNNING:
		switch (ev) {
		case PX_S_ALIVE:
			s->due = two_heartbeats;
			return 0;
		case PX_S_DUE:
			return opening(s, PX_S_CANCEL | PX_S_UNFOLLOW | PX_S_SUSPECT, now);
		case PX_S_CLOSED:
			if (brief(s, now))
				return fail(s, PX_S_UNFOLLOW, now);
			if (members < PX_STREAM_SMALL)
				return enter(s, PX_STREAM_WAITING, px_after(now, 1000),
				             PX_S_UNFOLLOW | PX_S_REGATHER);
			return opening(s, PX_S_UNFOLLOW, now);
		case PX_S_CUT:
		case PX_S_REFUSED:
			if (brief(s, now))
				return fail(s, PX_S_UNFOLLOW, now);
			/* at once: whether the gateway can still be reached must be known at once
			 * (P3) */
			return opening(s, PX_S_UNFOLLOW, now);
		case PX_S_BLOCKED:
			return enter(s, PX_STREAM_WAITING, px_after(now, 500 + s->seed % 500),
			             PX_S_UNFOLLOW);
		case PX_S_LOST:
		case PX_S_GAP:
			return enter(s, PX_STREAM_WAITING, px_after(now, 1000),
			             PX_S_UNFOLLOW | PX_S_LOSE);
		default:
			break;
		}
		break;

	case PX_STREAM_WAITING:
		if (ev == PX_S_DUE)
			return opening(s, 0, now);
		break;

	case PX_STREAM_STATES:
		break;
	}
	return 0;
}

unsigned px_stream_minutes(const struct px_stream *s)
{
	return 25 + (s->seed * 2654435761u >> 16) % 6;
}

const char *px_stream_state_name(enum px_stream_state s)
{
	static const char *const name[PX_STREAM_STATES] = {"gathering", "opening", "running",
	                                                   "waiting"};
	return name[s];
}
