/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/wall.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)
#define END_MS (INT64_C(84006) * DAY_MS) /* 2200-01-01 */

/* Days since 1970-01-01 of a date of the Gregorian calendar; the year begins in March, so leap days
 * end it. */
static int64_t days(int64_t year, int month, int day)
{
	const int64_t y = month > 2 ? year : year - 1;
	const int64_t era = (y >= 0 ? y : y - 399) / 400;
	const int64_t in_era = y - era * 400;
	const int64_t in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static void date(int64_t since_1970, int64_t *year, int *month, int *day)
{
	const int64_t z = since_1970 + 719468;
	const int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	const int64_t d = z - era * 146097;
	const int64_t y = (d - d / 1460 + d / 36524 - d / 146096) / 365;
	const int in_year = (int)(d - (365 * y + y / 4 - y / 100));
	const int m = (5 * in_year + 2) / 153;

	*day = in_year - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 3 : m - 9;
	*year = y + era * 400 + (*month <= 2);
}

static int month_days(int year, int month)
{
	static const int of[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return of[month - 1] + (month == 2 && leap);
}

struct text {
	const char *at, *end;
	bool ok; /* all that was taken so far was there */
};

static void take(struct text *t, char c)
{
	t->ok = t->ok && t->at < t->end && *t->at == c;
	t->at += t->ok;
}

static int digits(struct text *t, int n)
{
	int v = 0;

	for (; n > 0; n--) {
		t->ok = t->ok && t->at < t->end && *t->at >= '0' && *t->at <= '9';
		if (!t->ok)
			return 0;
		v = v * 10 + (*t->at++ - '0');
	}
	return v;
}

static bool space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

int px_wall_parse(const char *s, size_t n, struct px_wall *out)
{
	struct text t = {s, s + n, true};
	int year, month, day, hour, minute, second, ms = 0, zone = 0;
	bool fraction = false; /* a part of a second that isn't 0 */
	int64_t at;

	while (t.at < t.end && space(*t.at))
		t.at++;
	while (t.at < t.end && space(t.end[-1]))
		t.end--;

	year = digits(&t, 4);
	take(&t, '-');
	month = digits(&t, 2);
	take(&t, '-');
	day = digits(&t, 2);
	take(&t, 'T');
	hour = digits(&t, 2);
	take(&t, ':');
	minute = digits(&t, 2);
	take(&t, ':');
	second = digits(&t, 2);
	if (t.ok && t.at < t.end && *t.at == '.') {
		int unit = 100;

		t.at++;
		do {
			const int d = digits(&t, 1);

			ms += d * unit;
			unit /= 10;
			fraction = fraction || d != 0;
		} while (t.ok && t.at < t.end && *t.at >= '0' && *t.at <= '9');
	}
	if (t.ok && t.at < t.end && *t.at == 'Z') {
		t.at++;
	} else if (t.ok && t.at < t.end) {
		const int sign = *t.at == '-' ? -1 : 1;
		int h, m;

		take(&t, sign < 0 ? '-' : '+');
		h = digits(&t, 2);
		take(&t, ':');
		m = digits(&t, 2);
		if (t.ok && (m > 59 || h * 60 + m > 14 * 60)) /* XSD part 2 §3.2.7.3 */
			return -ERANGE;
		zone = sign * (h * 60 + m);
	}
	if (!t.ok || t.at != t.end)
		return -EINVAL;

	if (month < 1 || month > 12 || day < 1 || day > month_days(year, month))
		return -ERANGE;
	if (hour > 24 || minute > 59 || second > 60 ||
	    (hour == 24 && (minute || second || fraction)))
		return -ERANGE;
	if (second == 60)
		second = 59;
	at = days(year, month, day) * DAY_MS +
	     ((hour * 60 + minute - zone) * INT64_C(60) + second) * 1000 + ms;
	if (at < 0 || at >= END_MS)
		return -ERANGE;
	out->ms = at;
	return 0;
}

static char *two(char *at, int n, char after)
{
	*at++ = (char)('0' + n / 10);
	*at++ = (char)('0' + n % 10);
	*at++ = after;
	return at;
}

const char *px_wall_text(struct px_wall w, char out[PX_WALL_TEXT])
{
	const int64_t in_day = (w.ms % DAY_MS + DAY_MS) % DAY_MS; /* C rounds to 0, we down */
	const int s = (int)(in_day / 1000);
	int64_t year;
	int month, day;

	date(w.ms / DAY_MS - (w.ms % DAY_MS < 0), &year, &month, &day);
	/* the farthest int64 takes 27 bytes */
	char *at = out + snprintf(out, PX_WALL_TEXT - 16, "%04lld-", (long long)year);
	at = two(at, month, '-');
	at = two(at, day, 'T');
	at = two(at, s / 3600, ':');
	at = two(at, s / 60 % 60, ':');
	at = two(at, s % 60, 'Z');
	*at = '\0';
	return out;
}
