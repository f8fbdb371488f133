/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * read.h - one batch of calendars being read, as a machine without I/O.
 *
 *   ASKING --OK--> (commit, end)
 *     | ^--DUE-- RESTING <-- refused as a whole for a passing reason; more than one user: halved
 *     +--SERVER, BUSY, DENIED--> (its users are marked again, end): the gateway's matter
 *
 *   What is refused as a whole and isn't the gateway's matter may be the fault of one mailbox in
 *   it: the batch is halved until that one is alone, and then it is that user's own trouble.
 */
#ifndef PX_READ_H
#define PX_READ_H

#include "core/backend.h"
#include "core/time.h"

enum px_read_state { PX_READ_ASKING, PX_READ_RESTING };

/* What the caller must do. */
enum {
	PX_R_COMMIT = 1 << 0, /* the answer is whole: take over what was staged */
	PX_R_MARK = 1 << 1,   /* its users are to be read again, in another batch */
	PX_R_SPLIT = 1 << 2,  /* half of its users go to a second batch in the same state */
	PX_R_ALONE =
	    1 << 3, /* its one user failed: USER is its own trouble, otherwise back off for it */
	PX_R_ASK = 1 << 4, /* send it again; if that may not be sent now, call px_read_blocked() */
	PX_R_END = 1 << 5  /* the batch is done with */
};

struct px_read {
	uint8_t state;
	uint8_t failures;
	uint32_t seed;
	struct px_mono due; /* RESTING: set */
};

/* ms */
#define PX_READ_REST_MIN 1000
#define PX_READ_REST_MAX 8000

void px_read_init(struct px_read *r, uint32_t seed); /* ASKING: the caller sends it */

/* The answer to a batch of `users`.  0: it rests and is asked again at `due`. */
unsigned px_read_answered(struct px_read *r, enum px_verdict v, unsigned users, struct px_now now);
unsigned px_read_tick(struct px_read *r, struct px_now now); /* the deadline has passed */
void px_read_blocked(struct px_read *r, struct px_now now);

#endif
