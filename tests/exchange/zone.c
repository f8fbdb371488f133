/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "zone.h"

#include "when.h"

static bool is_day(int weekday, int rule)
{
	if (rule == 7)
		return true;
	if (rule == 8)
		return weekday >= 1 && weekday <= 5;
	if (rule == 9)
		return weekday == 0 || weekday == 6;
	return weekday == rule;
}

/* The local time at which the rule takes effect in that year. */
static int64_t begins(const struct zone_rule *r, int year)
{
	int days = when_month_days(year, r->month), day = 1, left = r->order;

	if (r->year) {
		day = r->order < days ? r->order : days;
	} else if (r->order >= 5) {
		for (day = days; day > 1; day--)
			if (is_day(when_civil(when_from(year, r->month, day, 0, 0, 0)).weekday,
			           r->weekday))
				break;
	} else {
		for (day = 1; day < days; day++)
			if (is_day(when_civil(when_from(year, r->month, day, 0, 0, 0)).weekday,
			           r->weekday) &&
			    --left <= 0)
				break;
	}
	return when_from(year, r->month, day, 0, 0, 0) + r->time;
}

static bool in_daylight(const struct zone *z, int64_t t)
{
	int64_t standard = t - (z->bias + z->standard.bias) * 60;
	int year = when_civil(standard).year;
	int64_t on, off;

	if (!z->standard.month || !z->daylight.month || z->standard.bias == z->daylight.bias)
		return false;
	if ((z->daylight.year && z->daylight.year != year) ||
	    (z->standard.year && z->standard.year != year))
		return false;
	on = begins(&z->daylight, year) + (z->bias + z->standard.bias) * 60;
	off = begins(&z->standard, year) + (z->bias + z->daylight.bias) * 60;
	return on < off ? t >= on && t < off : t >= on || t < off;
}

int64_t zone_local(const struct zone *z, int64_t t)
{
	int bias = in_daylight(z, t) ? z->daylight.bias : z->standard.bias;

	return t - (z->bias + bias) * 60;
}

int64_t zone_utc(const struct zone *z, int64_t local)
{
	int64_t standard = local + (z->bias + z->standard.bias) * 60;
	int64_t daylight = local + (z->bias + z->daylight.bias) * 60;

	if (!in_daylight(z, standard) || !in_daylight(z, daylight))
		return standard;
	return daylight;
}
