/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * crowd.h - all subscriptions of one watcher: who may be sent when, what is counted, and what
 * happens when the server is down or has forgotten us. No I/O and no clock.
 */
#ifndef PW_CROWD_H
#define PW_CROWD_H

#include "subscription.h"

struct pw_crowd_calls {
	/* send a SUBSCRIBE; pw_crowd_answer() follows exactly once, unless this returns false */
	bool (*send)(void *arg, const struct pw_sub *s, long expires_s);
	/* a NOTIFY was taken in; changed: something that is shown is new. s also tells the rest */
	void (*notified)(void *arg, const struct pw_sub *s, bool changed, int64_t wall_ms);
	/* something was wrong; aor is NULL when it's nobody's in particular */
	void (*problem)(void *arg, const char *aor, const char *what);
	/* everybody has been heard of, or refused; once */
	void (*ready)(void *arg);
};

struct pw_counts {
	unsigned long subscribes;  /* sent, whatever for */
	unsigned long renewed;     /* dialogs given up and opened again */
	unsigned long notifies;    /* taken in */
	unsigned long changes;     /* of these, those that changed something */
	unsigned long copies;      /* retransmitted NOTIFYs */
	unsigned long overtaken;   /* NOTIFYs that came after a later one: answered 500 */
	unsigned long old_dialogs; /* NOTIFYs for dialogs that we had given up: answered 481 */
	unsigned long problems;
};

struct pw_crowd {
	struct pw_sub *subs;
	int64_t *deadline; /* of each sub, side by side so that a look at all is cheap */
	unsigned n, settled, refused;
	long expires_s;
	double rate, tokens; /* SUBSCRIBEs a second; those that may go now */
	unsigned in_flight, cursor;
	int64_t turn_ms;  /* of the last turn */
	bool ready, down; /* down: one SUBSCRIBE at a time until it is answered */
	bool leaving;
	unsigned to_leave; /* leaving: subs from here on still have to be un-SUBSCRIBEd */
	int64_t probe_ms;  /* down: when the next may go */
	int64_t check_ms;  /* until then a forgotten subscription starts no further check of all */
	struct pw_counts counts;
	const struct pw_crowd_calls *calls;
	void *arg;
};

/* rate: SUBSCRIBEs a second, > 0; expires_s: > 0. False: out of memory. */
bool pw_crowd_init(struct pw_crowd *c, const char *const *aors, unsigned n, double rate,
                   long expires_s, const struct pw_crowd_calls *calls, void *arg);
void pw_crowd_clear(struct pw_crowd *c);

/* Sends what is due and allowed. Returns after how many ms it wants to be called again. */
int pw_crowd_turn(struct pw_crowd *c, int64_t now_ms);

void pw_crowd_answer(struct pw_crowd *c, uint32_t slot, uint32_t generation,
                     const struct pw_answer *a, int64_t now_ms);

/* Returns the SIP status to answer the NOTIFY with. */
int pw_crowd_notify(struct pw_crowd *c, uint32_t slot, uint32_t generation,
                    const struct pw_notify *n, int64_t now_ms, int64_t wall_ms);

/* The connection to the server is gone: every subscription must be confirmed over a new one. */
void pw_crowd_lost(struct pw_crowd *c, int64_t now_ms);

/* A problem outside any subscription. */
void pw_crowd_problem(struct pw_crowd *c, const char *what);

/* From now on pw_crowd_turn() only un-SUBSCRIBEs; pw_crowd_left() tells when all is answered. */
void pw_crowd_leave(struct pw_crowd *c);
bool pw_crowd_left(const struct pw_crowd *c);

#endif
