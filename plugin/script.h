/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * script.h - what the proxy's routing script may ask and command. It runs while a call waits, so
 * nothing here does: the board is read, and a command is sent without waiting for what becomes of it.
 */
#ifndef PX_SCRIPT_H
#define PX_SCRIPT_H

#include "module.h"
#include "px_control.h"

#define PX_VALUE_MAX 255

struct px_value {
	bool number; /* n is it, too */
	int64_t n;
	char text[PX_VALUE_MAX + 1];
};

void px_value_text(struct px_value *v, const char *text); /* cut to PX_VALUE_MAX bytes */
void px_value_number(struct px_value *v, int64_t n);

/* What $exchange(NAME=>AOR) may be asked for: X(name, help). */
#define PX_LOOKUPS(X)                                                                              \
	X(availability, "available, busy or away; unknown when nothing is known now")              \
	X(until, "until when that holds, in seconds since 1970; 0: nothing else is in sight")      \
	X(gateway, "the gateway at which the user's calendar is followed; empty: at none")         \
	X(age, "seconds since the calendar was last read")

enum px_lookup {
#define PX_LOOKUP_ENUM(name, help) PX_LOOKUP_##name,
	PX_LOOKUPS(PX_LOOKUP_ENUM)
#undef PX_LOOKUP_ENUM
	    PX_LOOKUP_COUNT
};

/* Which of them n bytes name; -1: none. */
int px_lookup_named(const char *name, size_t n);

/*
 * Of the user with that AoR (n bytes, in any form that px_key_from_aor takes). "unknown" where
 * nothing can be said: no such user, the worker is silent, the calendar wasn't read yet, or (of
 * availability and until) its last state held until a moment that has passed.
 */
void px_lookup(const struct px_module *m, enum px_lookup what, const char *aor, size_t n,
               struct px_value *out);

#define PX_SCRIPT_DEADLINE_MS 30000 /* a command that the worker comes to later isn't executed */

/*
 * Has the worker do c for the user with that AoR. mailbox: NULL or "" for none. What the board says
 * is so already isn't sent, unless a command still waits that may say otherwise. True: it is so, or
 * it is under way. False: there is no such user (DISABLE, REFRESH), the AoR or the mailbox is none
 * (this was said), or the queue is full or the worker silent (this is counted: px_board_lost()).
 */
bool px_script_command(const struct px_module *m, enum px_control_command c, const char *aor,
                       size_t aor_len, const char *mailbox, size_t mailbox_len);

#endif
