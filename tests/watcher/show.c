/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "show.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jansson.h>

/* Adds a value to an object whose keys are ours; there is no answer to a lack of memory here. */
static void put(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value);
}

static json_t *time_or_null(int64_t seconds)
{
	char text[32];
	time_t t = (time_t)seconds;
	struct tm tm;

	if (seconds == 0 || !gmtime_r(&t, &tm))
		return json_null();
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static json_t *begin(const char *event, int64_t wall_ms)
{
	json_t *o = json_object();

	if (event)
		put(o, "event", json_string(event));
	put(o, "t", json_real((double)wall_ms / 1000));
	return o;
}

static void line(FILE *out, json_t *o)
{
	/* 14 digits: milliseconds of this era, and no noise after them */
	json_dumpf(o, out, JSON_COMPACT | JSON_REAL_PRECISION(14));
	fputc('\n', out);
	fflush(out);
	json_decref(o);
}

static json_t *activities(const char *list)
{
	json_t *a = json_array();
	size_t length;

	for (; *list; list += length + (list[length] == ',')) {
		length = strcspn(list, ",");
		json_array_append_new(a, json_stringn(list, length));
	}
	return a;
}

static void put_view(json_t *o, const struct pw_view *v)
{
	const char *basic = pw_basic_name(v->basic);

	put(o, "status", json_string(pw_status_name(v->status)));
	put(o, "until", time_or_null(v->until_s));
	put(o, "basic", basic ? json_string(basic) : json_null());
}

void pw_show_presence(FILE *out, const struct pw_sub *s, int64_t wall_ms)
{
	static const struct pw_document none;
	const struct pw_document *doc = s->has_document ? &s->doc : &none;
	json_t *o = begin(NULL, wall_ms), *calendar = json_null();

	put(o, "aor", json_string(s->aor));
	put_view(o, &doc->all);
	put(o, "activities", activities(doc->activities));
	put(o, "tuples", json_integer(doc->tuples));
	put(o, "persons", json_integer(doc->persons));
	if (doc->has_calendar)
		put_view(calendar = json_object(), &doc->calendar);
	put(o, "calendar", calendar);
	put(o, "state", json_string(s->substate));
	line(out, o);
}

void pw_show_problem(FILE *out, const char *aor, const char *what, int64_t wall_ms)
{
	json_t *o = begin("problem", wall_ms);
	json_t *text = json_string(what); /* refused when it isn't UTF-8: a fault of what came */

	put(o, "aor", aor ? json_string(aor) : json_null());
	put(o, "what", text ? text : json_string("what came is not UTF-8"));
	line(out, o);
}

void pw_show_ready(FILE *out, const struct pw_crowd *c, int64_t wall_ms)
{
	json_t *o = begin("ready", wall_ms);

	put(o, "subscribed", json_integer(c->n - c->refused));
	put(o, "refused", json_integer(c->refused));
	line(out, o);
}

void pw_show_end(FILE *out, const struct pw_crowd *c, int64_t seconds, int64_t wall_ms)
{
	json_t *o = begin("end", wall_ms);

	put(o, "seconds", json_integer(seconds));
	put(o, "subscribes", json_integer((json_int_t)c->counts.subscribes));
	put(o, "renewed", json_integer((json_int_t)c->counts.renewed));
	put(o, "notifies", json_integer((json_int_t)c->counts.notifies));
	put(o, "changes", json_integer((json_int_t)c->counts.changes));
	put(o, "copies", json_integer((json_int_t)c->counts.copies));
	put(o, "overtaken", json_integer((json_int_t)c->counts.overtaken));
	put(o, "old_dialogs", json_integer((json_int_t)c->counts.old_dialogs));
	put(o, "problems", json_integer((json_int_t)c->counts.problems));
	line(out, o);
}

static int latest_first(const void *a, const void *b)
{
	const struct pw_sub *x = *(const struct pw_sub *const *)a;
	const struct pw_sub *y = *(const struct pw_sub *const *)b;

	if (x->since_ms != y->since_ms)
		return x->since_ms < y->since_ms ? 1 : -1;
	return x->slot < y->slot ? -1 : 1;
}

static int as_given(const void *a, const void *b)
{
	const struct pw_sub *x = *(const struct pw_sub *const *)a;
	const struct pw_sub *y = *(const struct pw_sub *const *)b;

	return x->slot < y->slot ? -1 : 1;
}

/* "14:30", or "Tue 14:30" when it isn't today; "" for never */
static void local_time(int64_t seconds, char *text, size_t size)
{
	time_t t = (time_t)seconds, now = time(NULL);
	struct tm then, today;

	*text = '\0';
	if (seconds == 0 || !localtime_r(&t, &then) || !localtime_r(&now, &today))
		return;
	strftime(text, size,
	         then.tm_year == today.tm_year && then.tm_yday == today.tm_yday ? "%H:%M"
	                                                                        : "%a %H:%M",
	         &then);
}

static void row(FILE *out, const struct pw_sub *s, int width, bool colour)
{
	static const char *const colours[] = {[PW_UNKNOWN] = "\033[2m",
	                                      [PW_OFFLINE] = "\033[90m",
	                                      [PW_AVAILABLE] = "\033[32m",
	                                      [PW_AWAY] = "\033[33m",
	                                      [PW_BUSY] = "\033[31m"};
	enum pw_status status = pw_sub_status(s);
	char until[32], since[32];

	local_time(s->has_document ? s->doc.all.until_s : 0, until, sizeof until);
	local_time(s->since_ms / 1000, since, sizeof since);
	fprintf(out, "%-*.*s  %s%-9s%s  %-9s  %-9s\033[K\n", width, width, s->aor,
	        colour ? colours[status] : "", pw_status_name(status), colour ? "\033[0m" : "",
	        until, since);
}

void pw_show_table(FILE *out, const struct pw_crowd *c, const char *last_problem, unsigned rows,
                   unsigned columns, bool colour, unsigned *drawn)
{
	const struct pw_sub **order = malloc(c->n * sizeof *order);
	int width = columns > 40 + 33 ? 40 : columns > 33 + 8 ? (int)columns - 33 : 8;
	unsigned room = rows > 5 ? rows - 4 : 1; /* head, foot, problem, and the cursor's line */
	unsigned shown = c->n < room ? c->n : room;

	if (!order)
		return;
	for (unsigned i = 0; i < c->n; i++)
		order[i] = &c->subs[i];
	if (shown < c->n) {
		qsort(order, c->n, sizeof *order, latest_first);
		qsort(order, shown, sizeof *order, as_given);
	}
	if (*drawn > 0)
		fprintf(out, "\033[%uA\r", *drawn);
	fprintf(out, "%-*s  %-9s  %-9s  %-9s\033[K\n", width, "who", "is", "until", "since");
	for (unsigned i = 0; i < shown; i++)
		row(out, order[i], width, colour);
	fprintf(out, "%u of %u heard of, %u more not shown, %lu changes%s\033[K\n", c->settled,
	        c->n, c->n - shown, c->counts.changes, c->down ? ", the server is down" : "");
	*drawn = shown + 2;
	if (c->counts.problems > 0) {
		unsigned width_left = columns > 40 ? columns - 30 : 10;

		fprintf(out, "%lu problems, last: ", c->counts.problems);
		/* a server's words: they must not command the terminal */
		for (const char *p = last_problem; *p && width_left > 0; p++, width_left--)
			fputc(iscntrl((unsigned char)*p) ? '?' : *p, out);
		fputs("\033[K\n", out);
		*drawn += 1;
	}
	fputs("\033[J", out);
	fflush(out);
	free(order);
}
