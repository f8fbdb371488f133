/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * reminder.h - one user's reminders of meetings (RFC 3428 MESSAGE): a machine without I/O.
 *
 *        a start comes within remind_before      text                 turn
 *   IDLE ------------------------------> READING ----> WAITING ---------------> IN_FLIGHT --2xx, 404 ...--> IDLE
 *                                          ^  | not read in 30 s: the time alone    | 480, 408, 5xx, silence
 *                                          |  | nothing is left of it: IDLE         v
 *                                          +--+------------- due --------------- BACKOFF
 *
 * What reminds are begins: what begins at one moment is one reminder, and one message has all that are due. A begin is `told` from the turn on, before
 * the message leaves, so that a process that dies with it doesn't send it twice; it becomes untold again when the message failed and there still is time. No
 * subject is kept: the text is read for each attempt, and lives until its message has left.
 */
#ifndef PX_REMINDER_H
#define PX_REMINDER_H

#include "core/backend.h"
#include "core/lang.h"
#include "core/publication.h" /* px_sip_answer */

/* All-day entries don't remind; a day has 23 hours when the clocks go forward. */
#define PX_REMINDER_LONGEST_S (23 * 3600)
#define PX_REMINDER_LINES 4 /* meetings in one message; the others go in the next one */
#define PX_TOLD 7
#define PX_REMINDER_TEXT_MAX 1200 /* bytes */
#define PX_REMINDER_SUBJECT 120   /* bytes that are shown of it */
#define PX_REMINDER_PLACE 80
/* ms */
#define PX_REMINDER_READ_MS 30000
#define PX_REMINDER_OLD_MS 60000 /* a text that waited so long for its turn is read again */
#define PX_REMINDER_RETRY_MIN 5000
#define PX_REMINDER_RETRY_MAX 120000

/* Whether a meeting reminds: Busy, Out of Office or Tentative, and not an all-day entry. */
bool px_reminds(const struct px_interval *i);

/*
 * Begins that were told of and haven't come yet, s since 1970, in the order of telling. When there are too many, the earliest goes, and all up to it count as
 * told: who is reminded a day ahead and then gets a new meeting before all others isn't told of that one.
 */
struct px_told {
	uint32_t floor;
	uint32_t start[PX_TOLD]; /* the first n */
};

enum px_reminder_state {
	PX_REMIND_IDLE,
	PX_REMIND_READING,
	PX_REMIND_WAITING,
	PX_REMIND_IN_FLIGHT,
	PX_REMIND_BACKOFF
};

/* Zeroed: IDLE, nothing told. */
struct px_reminder {
	uint8_t state;
	uint8_t n;    /* of told.start */
	uint8_t open; /* the last so many are in the text that waits or is in flight */
	uint8_t failures;
	struct px_told told;
	struct px_mono
	    due; /* IDLE: the next begin comes within reach; READING: go without details; BACKOFF: again; else not set */
	struct px_mono written_at;
	char *text; /* owned; WAITING only */
};

void px_reminder_free(struct px_reminder *r); /* drops the text */

/* What was told by an earlier process: n is found. `told` may hold anything. */
void px_reminder_restore(struct px_reminder *r, const struct px_told *told);
/* What another process may rely on: without what only waits for its turn. */
struct px_told px_reminder_told(const struct px_reminder *r);

/* It is ahead, by at most `before_s`, and wasn't told. */
bool px_reminder_is_due(const struct px_reminder *r, uint32_t start, int64_t before_s,
                        struct px_wall now);

/*
 * The first of n begins (ascending) that hasn't come and wasn't told, and with it the moment from which on it is due: `before` seconds ahead. 0: there is none.
 */
uint32_t px_reminder_next(const struct px_reminder *r, const uint32_t *start, size_t n,
                          struct px_wall now);

/* Something is due: READING, until px_reminder_write() or `due`. */
void px_reminder_read(struct px_reminder *r, struct px_now now);
/* Nothing is due any more: IDLE; what waited is dropped and counts as not told. IN_FLIGHT stays. */
void px_reminder_stop(struct px_reminder *r);

/* One meeting for a text. Texts NULL or "": not known. */
struct px_reminder_line {
	uint32_t start, end; /* end 0: not known */
	const char *subject, *place;
	bool hidden; /* private: neither is shown */
};

/* How a text is written; outlives its use. */
struct px_reminder_style {
	const struct px_lang *lang;
	int32_t (*utc_offset_s)(
	    struct px_wall w); /* of the clocks that people look at; NULL: UTC */
};

/* Appends the text of n lines. */
void px_reminder_text(struct px_buf *out, const struct px_reminder_style *style,
                      const struct px_reminder_line *line, size_t n, struct px_wall now);

/*
 * What was read of the n lines in order of their begin: those that are due (`before` seconds ahead) and weren't told are written, at most PX_REMINDER_LINES:
 * WAITING. False: none is left (IDLE), or out of memory (READING, with its deadline).
 */
bool px_reminder_write(struct px_reminder *r, const struct px_reminder_style *style,
                       const struct px_reminder_line *line, size_t n, int64_t before_s,
                       struct px_now now);

/* What was to begin then, and was due, is no meeting any more: it counts as told. READING only. */
void px_reminder_void(struct px_reminder *r, uint32_t start, struct px_now now);

/*
 * Its turn: the text, now the caller's, and IN_FLIGHT; *expires_s is how long anybody wants to have it. NULL: it has become too old, and is READING or IDLE again.
 */
char *px_reminder_turn(struct px_reminder *r, uint32_t *expires_s, struct px_now now);

enum px_reminder_end {
	PX_REMINDED,        /* it was delivered, or stored for delivery */
	PX_REMIND_LATER,    /* BACKOFF */
	PX_REMIND_TOO_LATE, /* it failed, and the meeting has begun */
	PX_REMIND_GAVE_UP   /* it would never be delivered */
};
/* The final answer to what turn() returned. `seed` spreads retries. */
enum px_reminder_end px_reminder_answer(struct px_reminder *r, const struct px_sip_answer *a,
                                        uint32_t seed, struct px_now now);

#endif
