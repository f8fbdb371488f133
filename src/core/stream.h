/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stream.h - one streaming connection of up to 200 subscriptions, as a machine without I/O.
 *
 *              DUE, FULL           ALIVE
 *   GATHERING ----------> OPENING --------> RUNNING
 *                          ^  ^ |              | CLOSED, CUT: at once, same gateway, same ids
 *                          |  | |              | DUE (two heartbeats missed): the same
 *                          |  +-|--------------+
 *                      DUE |    | CUT, BUSY, TRANSIENT, DUE (no first envelope)
 *                         WAITING
 *
 *   A cut or silent stream is no failed subscription: reopening it decides. Whether its gateway
 *   lives is decided by a probe, which silence asks for (P3: 90 s and the probe's 10).
 *   Three openings in a row that fail: its members' subscriptions count as lost.
 */
#ifndef PX_STREAM_H
#define PX_STREAM_H

#include "core/time.h"

enum px_stream_state {
	PX_STREAM_GATHERING,
	PX_STREAM_OPENING,
	PX_STREAM_RUNNING,
	PX_STREAM_WAITING,
	PX_STREAM_STATES
};

enum px_stream_event {
	PX_S_DUE,
	PX_S_FULL,    /* no more ids fit */
	PX_S_ALIVE,   /* an envelope came */
	PX_S_CLOSED,  /* ended as agreed, or because some ids were bad and are dropped now */
	PX_S_CUT,     /* ended in the middle, or its opening failed for a passing reason */
	PX_S_BLOCKED, /* it may not be opened now: gateway throttled or login in doubt */
	PX_S_REFUSED, /* the anchor was refused: another member's turn */
	PX_S_LOST,    /* refused as a whole */
	PX_S_GAP,     /* the server lost track of the events of all */
	PX_S_EVENTS
};

/* What the caller must do, in this order. */
enum {
	PX_S_CANCEL = 1 << 0,   /* drop the request in flight */
	PX_S_UNFOLLOW = 1 << 1, /* its members are no longer followed, for the moment */
	PX_S_SUSPECT = 1 << 2,  /* the gateway gave no sign of life: let a probe decide */
	PX_S_LOSE = 1 << 3,     /* its members' subscriptions are lost; the stream ends */
	PX_S_REGATHER =
	    1
	    << 4, /* it is small: its members join the young stream of the gateway, with those of another small one; it ends */
	PX_S_ANCHOR = 1 << 5, /* choose another anchor */
	PX_S_OPEN = 1 << 6, /* send GetStreamingEvents; if that may not be sent now, send BLOCKED */
	PX_S_FOLLOW = 1 << 7 /* its members are followed from here on */
};

struct px_stream {
	uint8_t state;
	uint8_t failures; /* openings in a row that failed */
	uint8_t refusals; /* anchors in a row */
	uint32_t seed;
	struct px_mono due;   /* always set */
	struct px_mono since; /* RUNNING: since when */
};

/* ms */
#define PX_STREAM_GATHER_MS 2000
#define PX_STREAM_OPEN_MS 30000 /* from the request to the first envelope */
#define PX_STREAM_TRIES 3
#define PX_STREAM_BRIEF_MS                                                                         \
	5000 /* a stream that ends sooner counts as an opening that failed: no circling */
#define PX_STREAM_PROVEN_MS                                                                        \
	60000 /* a stream that ran so long says that its subscriptions are good */
#define PX_STREAM_SMALL                                                                            \
	150 /* members; a stream that has fewer merges with another when it closes */

/* A young stream that gathers. */
void px_stream_init(struct px_stream *s, uint32_t seed, struct px_now now);

/*
 * Returns what to do. `members` is how many it has (for REGATHER); `heartbeat_ms` the server's.
 */
unsigned px_stream_step(struct px_stream *s, enum px_stream_event ev, unsigned members,
                        int64_t heartbeat_ms, struct px_now now);

/* How long the server should keep it open: 25 to 30 min, spread by the seed. */
unsigned px_stream_minutes(const struct px_stream *s);

const char *px_stream_state_name(enum px_stream_state s);

#endif
