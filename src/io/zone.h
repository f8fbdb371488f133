/* SPDX-License-Identifier: GPL-2.0-or-later */
/* zone.h - the clocks on people's walls: the C library's time zone (tzdata). */
#ifndef PX_ZONE_H
#define PX_ZONE_H

#include "core/time.h"

#define PX_ZONE_WHY 256

/*
 * Takes a zone by its name in tzdata ("Europe/Berlin"), or the machine's own (NULL), for the whole process: before any thread starts. 0 or a negative errno,
 * with a line for the operator in why.
 */
int px_zone_take(const char *name, char why[PX_ZONE_WHY]);

/* Seconds that it is ahead of UTC at that moment. */
int32_t px_zone_offset_s(struct px_wall w);

#endif
