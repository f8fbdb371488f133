/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * when.h - civil time without the C library's zones: seconds since 1970-01-01T00:00:00Z (int64)
 * to and from the calendar, and xs:dateTime (XML Schema part 2, 3.2.7; years 1 to 9999).
 */
#ifndef EXCHANGE_WHEN_H
#define EXCHANGE_WHEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEN_DAY 86400

struct civil {
	int year, month, day; /* month 1..12, day 1..31 */
	int hour, minute, second;
	int weekday; /* 0 = Sunday */
};

int64_t when_from(int year, int month, int day, int hour, int minute, int second);
struct civil when_civil(int64_t t);
int when_month_days(int year, int month);

/*
 * Reads an xs:dateTime. *t is the instant; when no zone was written (*zoned false) it is the
 * instant at which a UTC clock shows that time. A fraction of a second is dropped. False: not one.
 */
bool when_parse(const char *s, int64_t *t, bool *zoned);

#define WHEN_TEXT 24
/* "2026-11-23T09:00:00", with a Z or without, into out; returns out. */
char *when_text(char out[WHEN_TEXT], int64_t t, bool z);

#endif
