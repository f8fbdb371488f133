/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * publication.h - one user's state at the presence server (RFC 3903): a machine without I/O.
 *
 * At most one PUBLISH is in flight per user, the newest state wins, and no answer, silence or lost connection leaves it without
 * a next step. It holds no document: whoever sends writes the newest one then.
 *
 *        want            turn                 2xx
 *   OFF ------> WAITING ------> IN_FLIGHT -----------> STANDING (deadline: refresh)
 *                  ^   refresh due, newer state, check   |
 *                  +-------------------------------------+
 *                  ^  deadline            5xx, silence, lost connection, 403 ...
 *               BACKOFF <--------------- IN_FLIGHT
 *   The operation is worked out when the turn comes: no ETag: initial; a newer state: modify; nothing new: refresh (the engine sends the document
 *   with it: see there); withdrawn: clear, and when that was confirmed: remove.
 *   412: the ETag is dropped, and it waits for a turn at once (initial).
 */
#ifndef PX_PUBLICATION_H
#define PX_PUBLICATION_H

#include "core/time.h"

#define PX_ETAG_MAX 127

enum px_pub_state { PX_PUB_OFF, PX_PUB_WAITING, PX_PUB_IN_FLIGHT, PX_PUB_STANDING, PX_PUB_BACKOFF };

/*
 * RFC 3903 §4.1; CLEAR is a modification, to a document that says nothing (px_pidf_write_nothing). Kamailio and OpenSIPS show watchers the tuple of what is
 * removed once more, closed and before all others: whoever reads the first alone would take a user with a phone for offline.
 */
enum px_pub_op {
	PX_OP_NONE,
	PX_OP_INITIAL,
	PX_OP_REFRESH,
	PX_OP_MODIFY,
	PX_OP_CLEAR,
	PX_OP_REMOVE
};

enum px_sip_fail {
	PX_SIP_ANSWERED,  /* a final response came: status is the server's */
	PX_SIP_TIMEOUT,   /* none came in time */
	PX_SIP_TRANSPORT, /* refused, reset, unreachable: nothing is known of the request's fate */
	PX_SIP_LOCAL      /* never left: our own trouble */
};

/* The final answer to one PUBLISH. Everything borrowed. */
struct px_sip_answer {
	enum px_sip_fail fail;
	int status;          /* 200..699; 0 unless answered */
	const char *etag;    /* SIP-ETag; NULL: none */
	int64_t expires;     /* s, Expires; -1: none */
	int64_t min_expires; /* s, Min-Expires; -1: none */
	int64_t retry_after; /* s; -1: none */
	const char *reason;  /* the phrase, for the log; NULL: none */
};

/* What an answer says about the presence server as a whole (esc.h). */
enum px_esc_word {
	PX_ESC_ALIVE,  /* it answered as a server that works */
	PX_ESC_FAILED, /* silence, lost connection, 408: nobody's PUBLISH would do better */
	PX_ESC_PAUSE,  /* 503: for retry_after */
	PX_ESC_DENIED, /* it wants another login, or serves no presence at all: likely everybody gets the same */
	PX_ESC_UNSURE /* 5xx, 480 and their like: may be about this user alone; or it never left */
};

struct px_publication {
	uint8_t state; /* enum px_pub_state */
	uint8_t op;    /* in flight */
	bool want;     /* a document should stand there */
	bool
	    newer; /* the wanted document differs from the one that was last confirmed or is in flight */
	bool
	    unsure; /* a PUBLISH with this ETag (or an initial one) was sent and its fate isn't known */
	bool
	    check; /* its ETag should be verified by a refresh (the server may have lost its memory) */
	bool gave_up;     /* BACKOFF: because of 403 and its like; nothing hastens it */
	uint8_t failures; /* in a row */
	uint8_t minis;    /* 423 in a row */
	bool cleared;     /* what stands says nothing: it may be removed */
	bool brief;       /* 413, 415: only the shortest document, from now on */
	uint32_t expires; /* s, granted; 0: none */
	char *etag;       /* owned; NULL: none */
	struct px_mono
	    due; /* STANDING: refresh; BACKOFF: next try; IN_FLIGHT, WAITING, OFF: not set (the sender and the queue see to it) */
	struct px_mono lapses; /* the server drops the document then; not set: nothing stands */
	uint32_t seed;         /* spreads refreshes and retries; fixed per user */
};

/* It stands for somebody else's account now, who keeps it or withdraws it. Not while it is in flight. */
void px_publication_forget(struct px_publication *p);

/* What the caller must do after a call. */
enum {
	PX_PUB_QUEUE =
	    1
	    << 0, /* it is WAITING: give it a turn when the window allows; if it waits already, it may have become urgent */
	PX_PUB_URGENT =
	    1
	    << 1, /* with QUEUE: before checks and refreshes (a watcher would see the difference) */
	PX_PUB_LOST =
	    1
	    << 2, /* an ETag that was sure is unknown to the server: has it lost its memory? (412) */
	PX_PUB_GAVE_UP =
	    1 << 3 /* 403, 404, 405, 489, 501, 6xx ...: long retry; worth a line in the log */
};

/* px_publication begins zeroed, with seed set. */
void px_publication_free(struct px_publication *p); /* drops the ETag */

/* The wanted document has changed (or is wanted for the first time) / no document is wanted any more. */
unsigned px_publication_want(struct px_publication *p, struct px_now now);
unsigned px_publication_withdraw(struct px_publication *p, struct px_now now);
/* Verify the ETag at the next turn (no effect when nothing stands). */
unsigned px_publication_check(struct px_publication *p, struct px_now now);
/* The deadline `due` has passed. */
unsigned px_publication_tick(struct px_publication *p, struct px_now now);
/* The presence server works again: whoever backs off because of 5xx or silence may try now (403 and its like stay). */
unsigned px_publication_retry(struct px_publication *p, struct px_now now);

/*
 * Its turn: returns what to send, with p->etag as SIP-If-Match unless the operation is initial, and IN_FLIGHT from here on; NONE when nothing needs to be
 * sent after all (the state has become STANDING or OFF). An ETag whose `lapses` has passed is dropped first.
 */
enum px_pub_op px_publication_turn(struct px_publication *p, struct px_now now);

/*
 * The final answer to what turn() returned. `ask_expires` is what was asked for; *expires_floor is raised by 423 (all users then ask for at least that).
 * *word tells what it means for the server. An ETag over PX_ETAG_MAX is not kept: the document stands until it
 * lapses and is then made anew.
 */
unsigned px_publication_answer(struct px_publication *p, const struct px_sip_answer *a,
                               uint32_t ask_expires, uint32_t *expires_floor,
                               enum px_esc_word *word, struct px_now now);

const char *px_pub_state_name(enum px_pub_state s);
const char *px_pub_op_name(enum px_pub_op op);

#endif
