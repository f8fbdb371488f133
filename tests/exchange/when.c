/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "when.h"

#include <ctype.h>
#include <string.h>

/* Days since 1970-01-01 in the proleptic Gregorian calendar; years begin in March here. */
static int64_t days_from(int64_t y, int m, int d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

int64_t when_from(int year, int month, int day, int hour, int minute, int second)
{
	return days_from(year, month, day) * WHEN_DAY + hour * 3600 + minute * 60 + second;
}

struct civil when_civil(int64_t t)
{
	int64_t days = t >= 0 ? t / WHEN_DAY : -((-t + WHEN_DAY - 1) / WHEN_DAY);
	int rest = (int)(t - days * WHEN_DAY);
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int mp = (int)((5 * doy + 2) / 153);
	struct civil c;

	c.day = (int)(doy - (153 * mp + 2) / 5) + 1;
	c.month = mp < 10 ? mp + 3 : mp - 9;
	c.year = (int)(yoe + era * 400 + (c.month <= 2));
	c.hour = rest / 3600;
	c.minute = rest / 60 % 60;
	c.second = rest % 60;
	c.weekday = (int)(((days + 4) % 7 + 7) % 7);
	return c;
}

int when_month_days(int year, int month)
{
	static const int n[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	if (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
		return 29;
	return n[month - 1];
}

/* exactly n digits, then the character after (0: none is demanded) */
static bool number(const char **s, int n, char after, int *out)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if (!isdigit((unsigned char)**s))
			return false;
		v = v * 10 + (*(*s)++ - '0');
	}
	if (after && *(*s)++ != after)
		return false;
	*out = v;
	return true;
}

bool when_parse(const char *s, int64_t *t, bool *zoned)
{
	int y, mo, d, h, mi, sec, oh = 0, om = 0, sign = 0;

	if (!number(&s, 4, '-', &y) || !number(&s, 2, '-', &mo) || !number(&s, 2, 'T', &d) ||
	    !number(&s, 2, ':', &h) || !number(&s, 2, ':', &mi) || !number(&s, 2, 0, &sec))
		return false;
	if (y < 1 || mo < 1 || mo > 12 || d < 1 || d > when_month_days(y, mo) || h > 24 ||
	    mi > 59 || sec > 59 || (h == 24 && (mi || sec)))
		return false;
	if (*s == '.') {
		if (!isdigit((unsigned char)*++s))
			return false;
		while (isdigit((unsigned char)*s))
			s++;
	}
	*zoned = *s != '\0';
	if (*s == 'Z') {
		s++;
	} else if (*s == '+' || *s == '-') {
		sign = *s++ == '+' ? 1 : -1;
		if (!number(&s, 2, ':', &oh) || !number(&s, 2, 0, &om) || oh > 14 || om > 59 ||
		    (oh == 14 && om))
			return false;
	}
	if (*s)
		return false;
	*t = when_from(y, mo, d, h, mi, sec) - sign * (oh * 3600 + om * 60);
	return true;
}

static char *put(char *p, int v, int digits)
{
	for (int i = digits - 1; i >= 0; i--, v /= 10)
		p[i] = (char)('0' + v % 10);
	return p + digits;
}

char *when_text(char out[WHEN_TEXT], int64_t t, bool z)
{
	struct civil c = when_civil(t);
	char *p = put(out, c.year, 4);

	*p++ = '-';
	p = put(p, c.month, 2);
	*p++ = '-';
	p = put(p, c.day, 2);
	*p++ = 'T';
	p = put(p, c.hour, 2);
	*p++ = ':';
	p = put(p, c.minute, 2);
	*p++ = ':';
	p = put(p, c.second, 2);
	if (z)
		*p++ = 'Z';
	*p = '\0';
	return out;
}
