/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * availability.h - busy intervals + now -> (presence, valid until).
 *
 * A calendar is the list of a user's spans that don't overlap: overlaps are resolved when it is
 * made (OOF over Busy over Tentative over WorkingElsewhere over NoData over Free), so asking it is
 * a search. Intervals are half-open: [start, end). What no interval covers is Free.
 */
#ifndef PX_AVAILABILITY_H
#define PX_AVAILABILITY_H

#include <stddef.h>
#include <stdint.h>

#include "core/time.h"

/* What Exchange says of an interval (LegacyFreeBusyStatus, BusyType). */
enum px_status {
	PX_FREE,
	PX_TENTATIVE,
	PX_BUSY,
	PX_OOF,
	PX_WORKINGELSEWHERE,
	PX_NODATA,
	PX_STATUSES
};

/* What is published. PX_KEEP: whatever was known last (map's default for nodata). */
enum px_presence { PX_UNKNOWN, PX_AVAILABLE, PX_PRESENCE_BUSY, PX_AWAY, PX_KEEP };

struct px_map {
	enum px_presence of[PX_STATUSES];
};
extern const struct px_map px_map_default;

struct px_interval {
	struct px_wall start, end;
	enum px_status status;
};

#define PX_INTERVALS_MAX 4096 /* of one user in one reading; more is refused */

struct px_span {
	uint32_t start;       /* s since 1970 */
	uint32_t length : 29; /* s */
	uint32_t status : 3;  /* enum px_status, never PX_FREE */
};

/* What a meeting is about, where that is shown. */
struct px_topic {
	uint32_t start, end; /* s since 1970 */
	uint8_t status;      /* enum px_status */
	char subject[];      /* UTF-8 */
};

#define PX_TOPICS_MAX 64         /* of one calendar: the first ones */
#define PX_TOPIC_SUBJECT_MAX 120 /* bytes that are kept */

/* One user's calendar between two moments. 8 bytes a span; zeroed = "never read". */
struct px_calendar {
	struct px_span *span;    /* sorted, disjoint, neighbours of one status joined; owned */
	uint32_t *start;         /* begins, where somebody asked for them; owned */
	struct px_topic **topic; /* by their start, where somebody asked for them; owned */
	uint32_t n, starts, topics;
	uint32_t from, until; /* the window that was read, s; until 0: never read */
};

/*
 * Makes *out from n intervals in any order, cut to [from, until); empty or reversed intervals are
 * dropped. Fractions of a second round down. The intervals are borrowed. *out is zeroed, or
 * a calendar of which only the topics stay. 0, -ENOMEM, or -E2BIG for n > PX_INTERVALS_MAX. The window is cut to 1970 to 2106
 * and to 17 years; an empty one makes a calendar that was never read.
 */
int px_calendar_make(struct px_calendar *out, const struct px_interval *in, size_t n,
                     struct px_wall from, struct px_wall until);
void px_calendar_free(struct px_calendar *c); /* zeroes it */

/*
 * Keeps the begins of those of the n intervals that `wanted` says yes to, as far as they lie in the window, ascending, each once: spans don't tell them where
 * one meeting follows another. For a calendar that was made, once. 0 or -ENOMEM.
 */
int px_calendar_starts(struct px_calendar *c, const struct px_interval *in, size_t n,
                       bool wanted(const struct px_interval *i));
/*
 * Keeps what a meeting is about, before or after the calendar is made. There may be too many: then the last ones aren't kept, nor is one without a subject. 0 or -ENOMEM.
 */
int px_calendar_topic(struct px_calendar *c, const struct px_interval *when, const char *subject);
/*
 * What is to be shown beside `presence`: of the meetings that run, and that make it, the subject of the one that began last; NULL: nothing is known. *until: when that
 * changes at the earliest, 0: never. Borrowed.
 */
const char *px_calendar_subject(const struct px_calendar *c, const struct px_map *map,
                                enum px_presence presence, struct px_wall now,
                                struct px_wall *until);
bool px_calendar_equal(const struct px_calendar *a,
                       const struct px_calendar *b); /* spans only, not the window */

struct px_availability {
	enum px_presence presence; /* UNKNOWN when never read or `now` is outside the window */
	struct px_wall
	    since; /* this presence began, as far as the window shows; from at the earliest */
	struct px_wall until; /* next change of presence; the window's end at the latest */
};

/*
 * What the calendar says now. Spans that map to the same presence count as one. Where the map says
 * PX_KEEP the result is `last` (or UNKNOWN when that is); before and after, such a span goes on
 * with what was before it. Outside the window since and until are 0.
 */
struct px_availability px_availability_at(const struct px_calendar *c, const struct px_map *map,
                                          enum px_presence last, struct px_wall now);

const char *
px_presence_name(enum px_presence p); /* "available", "busy", "away", "unknown", "keep" */
const char *px_status_name(
    enum px_status s); /* "free", "tentative", "busy", "oof", "workingelsewhere", "nodata" */

#endif
