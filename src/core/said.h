/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * said.h - complaints about one text: collected in words, limited in number, with what was found in
 * it made safe to show.
 */
#ifndef PX_SAID_H
#define PX_SAID_H

#include "px_settings.h"

#define PX_SHOWN_MAX 64

struct px_complaints {
	px_said_h *said; /* NULL: only counted */
	void *arg;
	const char *where; /* what the text is called before "line"; NULL: nothing */
	const char *unit;  /* what a line of the text without a name is called; NULL: "line" */
	unsigned n;        /* so far */
};

/*
 * "<where> <unit> <line>: <name>: <what>"; line 0 and name NULL are left out. After
 * PX_SETTINGS_SAID_MAX complaints only counts.
 */
void px_complain(struct px_complaints *c, unsigned line, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* What a line of the text is called now. */
const char *px_unit(const struct px_complaints *c);

/* At the end of the text: how many weren't told, if there are any. */
void px_complaints_end(struct px_complaints *c);

/* The n bytes at s for a complaint: cut, on one line, printable UTF-8. Returns out. */
const char *px_shown(const char *s, size_t n, char out[PX_SHOWN_MAX]);

#endif
