/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * watch.h - following one user's calendar, as a machine without I/O.
 *
 *       WANT            HOMED           TURN               SUBSCRIBED           FOLLOWED
 *   OFF ----> HOMELESS ------> WAITING -----> SUBSCRIBING -----------> GATHERING ------> FOLLOWED
 *              ^   ^             ^  ^ DEFERRED   |    |                   ^  UNFOLLOWED   |
 *              |   |         DUE |  +------------+    | TRANSIENT         +---------------+
 *              |   |             |                    | LOST again
 *              |   +- DUE ------ BACKOFF <------------+
 *              +- LOST for the first time in a row, SERVER: from anywhere but PARKED
 *
 *   USER, anywhere: PARKED, for an hour. OFF, anywhere: OFF.
 *   GAP, from GATHERING or FOLLOWED: WAITING at the same gateway the first time in a row, then as LOST.
 *   Where there are no subscriptions (setting, or no kind of them works there) HOMED leads to SWEPT instead of WAITING; KIND leads
 *   from everywhere but OFF, HOMELESS and PARKED to the one or the other, whichever it is now. LOST leads from SWEPT where it leads from FOLLOWED.
 */
#ifndef PX_WATCH_H
#define PX_WATCH_H

#include "core/time.h"

enum px_watch_state {
	PX_WATCH_OFF,         /* not wanted */
	PX_WATCH_HOMELESS,    /* no healthy gateway */
	PX_WATCH_WAITING,     /* for its turn to subscribe */
	PX_WATCH_SUBSCRIBING, /* the request is under way */
	PX_WATCH_GATHERING, /* subscribed; its stream isn't running, or the server hasn't called yet */
	PX_WATCH_FOLLOWED, /* in a running stream, called, or polled */
	PX_WATCH_BACKOFF,  /* a passing trouble */
	PX_WATCH_PARKED,   /* this user's own trouble: tried hourly */
	PX_WATCH_SWEPT,    /* there are no subscriptions at its gateway, or by setting */
	PX_WATCH_STATES
};

enum px_watch_event {
	PX_W_WANT,       /* the calendar should be followed */
	PX_W_OFF,        /* no longer */
	PX_W_HOMED,      /* it was given a healthy gateway */
	PX_W_TURN,       /* its Subscribe leaves now */
	PX_W_DEFERRED,   /* the Subscribe was throttled, or the login is in doubt: not this user's
	                    matter */
	PX_W_SUBSCRIBED, /* the server holds a subscription for it */
	PX_W_FOLLOWED,   /* its stream runs; the server has called; it is polled from now on */
	PX_W_PROVEN, /* its stream has run for long, or it is swept and was read: earlier failures are forgotten */
	PX_W_UNFOLLOWED, /* its stream is reopened: nothing is lost yet */
	PX_W_LOST, /* the subscription is gone or was refused; who is swept can't be read at its gateway */
	PX_W_GAP,       /* the server lost track of its events: a new subscription is needed */
	PX_W_KIND,      /* another kind of subscription is to be had at its gateway than it has */
	PX_W_SERVER,    /* its gateway can't be reached */
	PX_W_TRANSIENT, /* the Subscribe failed for a passing reason */
	PX_W_USER,      /* its own trouble: no mailbox, no right */
	PX_W_RETRY,     /* an operator asks to try now */
	PX_W_DUE,       /* the deadline passed */
	PX_W_EVENTS
};

/* What the caller must do, in this order. */
enum {
	PX_W_LEAVE =
	    1 << 0, /* leave its stream, queue and request; the subscription is forgotten */
	PX_W_UNSUBSCRIBE = 1 << 1, /* with LEAVE: tell the server, best effort */
	PX_W_ASSIGN = 1 << 2, /* assign it (first or again), then send HOMED; when no gateway is
	                         healthy, once one is */
	PX_W_QUEUE =
	    1 << 3, /* line up at its gateway to subscribe; if that isn't UP, send SERVER */
	PX_W_GATHER = 1 << 4, /* join a young stream of its gateway */
	PX_W_READ = 1 << 5    /* its calendar should be read */
};

/* Begins zeroed, with seed set. Owned by the user record that embeds it; nothing to free. */
struct px_watch {
	uint8_t state;    /* enum px_watch_state */
	uint8_t failures; /* in a row; 0 again once followed for long */
	bool
	    swept; /* no subscriptions: HOMED leads to SWEPT; the owner sets it before HOMED and KIND */
	uint32_t seed;      /* spreads retries */
	struct px_mono due; /* BACKOFF, PARKED: set. The others wait for an answer, a queue or a
	                       gateway, which have deadlines of their own */
};

/* Times of the machine, ms. */
#define PX_WATCH_RETRY_MIN 2000
#define PX_WATCH_RETRY_MAX 300000
#define PX_WATCH_PARKED_MS 3600000
#define PX_WATCH_TRIES                                                                             \
	3 /* passing troubles in a row at one gateway before the next gets the user */
#define PX_WATCH_CIRCLE                                                                            \
	5 /* failures that one who is lost everywhere counts at least, for the wait */

/* Returns what to do. An event that the state doesn't expect (late, doubled) changes nothing and
 * returns 0. */
unsigned px_watch_step(struct px_watch *w, enum px_watch_event ev, struct px_now now);

const char *px_watch_state_name(enum px_watch_state s); /* static storage */
const char *px_watch_event_name(enum px_watch_event ev);

/* min doubled per failure, at most max; half fixed, half spread by the seed. ms. failures >= 1. */
int64_t px_backoff(int64_t min, int64_t max, unsigned failures, uint32_t seed);

#endif
