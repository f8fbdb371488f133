/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * show.h - what the watcher prints: one JSON object per line, or a table that is drawn over itself.
 * Times are wall clock, ms since 1970. Everything is flushed at once.
 */
#ifndef PW_SHOW_H
#define PW_SHOW_H

#include "crowd.h"

#include <stdio.h>

void pw_show_presence(FILE *out, const struct pw_sub *s, int64_t wall_ms);
void pw_show_problem(FILE *out, const char *aor, const char *what, int64_t wall_ms);
void pw_show_ready(FILE *out, const struct pw_crowd *c, int64_t wall_ms);
void pw_show_end(FILE *out, const struct pw_crowd *c, int64_t seconds, int64_t wall_ms);

/*
 * Draws the table over the one drawn before, whose height in lines is *drawn (0 at first), at most
 * rows lines high and columns wide. Where not everybody fits, those that changed last are shown.
 */
void pw_show_table(FILE *out, const struct pw_crowd *c, const char *last_problem, unsigned rows,
                   unsigned columns, bool colour, unsigned *drawn);

#endif
