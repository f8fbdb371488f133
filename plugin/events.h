/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * events.h - what changes on the board, told one by one: a user's state, a gateway's health. For
 * event routes of the proxy, which may take their time, so it has a process of its own: neither a
 * call nor the supervisor, which must notice a worker that hangs, ever waits for a script.
 *
 * The worker numbers the rows that it writes (`told` of px_board.h); this follows the numbers, and
 * looks through all rows where it fell behind. What counts is the difference to what was told last:
 * a state that came and went between two looks isn't told, none is told twice, and none that
 * lasts is missed. A worker that is silent changes nothing on the board, and so nothing is told.
 */
#ifndef PX_EVENTS_H
#define PX_EVENTS_H

#include "module.h"
#include "script.h"

#define PX_EVENTS_LOOK_MS 100

/*
 * What events say: X(name, kinds, help), where kinds are their letters: s a user's state, g a
 * gateway's health.
 */
#define PX_EVENT_VALUES(X)                                                                         \
	X(aor, "s", "the user")                                                                    \
	X(status, "s", "available, busy, away; unknown: nothing is known or wanted any more")      \
	X(was, "sg", "what status or health was before")                                           \
	X(until, "s",                                                                              \
	  "until when status holds, in seconds since 1970; 0: nothing else is in sight")           \
	X(gateway, "sg", "the gateway; of a user: where the calendar is followed, empty: nowhere") \
	X(health, "g", "up; down: it can't be reached; refused: it refuses the login")             \
	X(error, "g", "the last error there; empty: none yet")

enum px_event_field {
#define PX_EVENT_ENUM(name, kinds, help) PX_EVENT_##name,
	PX_EVENT_VALUES(PX_EVENT_ENUM)
#undef PX_EVENT_ENUM
	    PX_EVENT_FIELDS
};

enum px_event_kind { PX_EVENT_STATE, PX_EVENT_HEALTH };

struct px_event {
	enum px_event_kind kind;
	struct px_value value[PX_EVENT_FIELDS]; /* those of its kind; the others are empty */
};

/* Which of them n bytes name; -1: none. */
int px_event_named(const char *name, size_t n);
const char *px_event_name(enum px_event_field f);
bool px_event_has(enum px_event_kind kind, enum px_event_field f);

/* Borrowed for the call. */
typedef void px_event_h(void *ctx, const struct px_event *e);

struct px_events;
struct px_events *px_events_new(const struct px_board_reader *b); /* NULL: no memory */
void px_events_free(struct px_events *e);                         /* NULL is fine */

/* Tells what is different since the last look; since the first, from nobody known and all gateways up. */
void px_events_look(struct px_events *e, px_event_h *told, void *ctx);

/* Looks again and again until the process is ended; ends with the proxy (its parent). turn: after each look; NULL: nothing. */
_Noreturn void px_events_run(const struct px_module *m, px_event_h *told, void (*turn)(void));

#endif
