/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wall.h - ISO 8601 / XML Schema dateTime and wall time (XSD part 2 §3.2.7, RFC 3339). */
#ifndef PX_WALL_H
#define PX_WALL_H

#include <stddef.h>

#include "core/time.h"

#define PX_WALL_TEXT 32

/*
 * Reads "2026-11-23T09:00:00[.123][Z|+01:00|-07:00]"; white space around it is skipped. A time
 * without zone is UTC (our requests ask in UTC). Years 1970 to 2199; second 60 counts as 59;
 * 24:00:00 is the next day's midnight. 0, or -EINVAL (no such text), -ERANGE (a date that doesn't
 * exist or lies outside); *out is written on success only.
 */
int px_wall_parse(const char *s, size_t n, struct px_wall *out);

/* Writes "2026-11-23T09:00:00Z" (whole seconds, rounded down) and returns out. */
const char *px_wall_text(struct px_wall w, char out[PX_WALL_TEXT]);

#endif
