/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * zone.h - the time zone of an availability request: a bias and two rules
 * (SerializableTimeZone; MS-OXWAVLS 2.2.4). Biases are minutes, UTC = local time + bias.
 */
#ifndef EXCHANGE_ZONE_H
#define EXCHANGE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

/* When standard or daylight time begins, in the local time that holds until then. */
struct zone_rule {
	int bias;    /* on top of the zone's */
	int time;    /* second of the day */
	int order;   /* which weekday of the month, 1..5, 5 = the last; with a year: day of month */
	int month;   /* 1..12; 0: never */
	int weekday; /* 0 = Sunday .. 6; 7 any day, 8 Monday to Friday, 9 Saturday and Sunday */
	int year;    /* 0: every year */
};

struct zone {
	int bias;
	struct zone_rule standard, daylight;
};

/* What a clock in the zone shows at t, as the instant at which a UTC clock shows the same. */
int64_t zone_local(const struct zone *z, int64_t t);
/* The inverse; of a time that happens twice the later, of one that is skipped the standard one. */
int64_t zone_utc(const struct zone *z, int64_t local);

#endif
