/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/reminder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"
#include "core/wall.h"
#include "core/watch.h" /* px_backoff */

bool px_reminds(const struct px_interval *i)
{
	return (i->status == PX_BUSY || i->status == PX_OOF || i->status == PX_TENTATIVE) &&
	       i->end.ms - i->start.ms < PX_REMINDER_LONGEST_S * INT64_C(1000);
}

static int64_t seconds(struct px_wall w)
{
	return w.ms / 1000;
}

/* ---- what was told ---- */

void px_reminder_free(struct px_reminder *r)
{
	free(r->text);
	r->text = NULL;
}

void px_reminder_restore(struct px_reminder *r, const struct px_told *told)
{
	r->told = *told;
	r->n = 0;
	while (r->n < PX_TOLD && told->start[r->n])
		r->n++;
}

struct px_told px_reminder_told(const struct px_reminder *r)
{
	const unsigned n = r->n - (r->state == PX_REMIND_WAITING ? r->open : 0);
	struct px_told told = {.floor = r->told.floor};

	memcpy(told.start, r->told.start, n * sizeof *told.start);
	return told;
}

static bool was_told(const struct px_reminder *r, uint32_t start)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->told.start[i] == start)
			return true;
	return start <= r->told.floor;
}

static void forget(struct px_reminder *r, unsigned i)
{
	memmove(r->told.start + i, r->told.start + i + 1, (r->n - i - 1u) * sizeof *r->told.start);
	r->n--;
}

/* What has begun needs no remembering: nobody is told of it any more. */
static void forget_begun(struct px_reminder *r, struct px_wall now)
{
	for (unsigned i = 0; i < r->n - (unsigned)r->open;) {
		if (r->told.start[i] <= seconds(now))
			forget(r, i);
		else
			i++;
	}
	if (r->told.floor <= seconds(now))
		r->told.floor = 0;
}

static void tell(struct px_reminder *r, uint32_t start, struct px_wall now)
{
	unsigned least = 0;

	forget_begun(r, now);
	if (r->n == PX_TOLD) {
		for (unsigned i = 1; i < PX_TOLD - (unsigned)r->open; i++)
			if (r->told.start[i] < r->told.start[least])
				least = i;
		if (r->told.start[least] > r->told.floor)
			r->told.floor = r->told.start[least];
		forget(r, least);
	}
	r->told.start[r->n++] = start;
}

/* What the text has is untold again. */
static void take_back(struct px_reminder *r)
{
	r->n = (uint8_t)(r->n - r->open);
	memset(r->told.start + r->n, 0, r->open * sizeof *r->told.start);
	r->open = 0;
}

uint32_t px_reminder_next(const struct px_reminder *r, const uint32_t *start, size_t n,
                          struct px_wall now)
{
	for (size_t i = 0; i < n; i++)
		if (start[i] > seconds(now) && !was_told(r, start[i]))
			return start[i];
	return 0;
}

/* ---- the text ---- */

struct local {
	int64_t day;
	int minute;
};

static struct local local(const struct px_reminder_style *style, int64_t s)
{
	s += style->utc_offset_s ? style->utc_offset_s((struct px_wall){s * 1000}) : 0;
	return (struct local){s / 86400, (int)(s % 86400 / 60)};
}

static void clock_time(struct px_buf *out, struct local at)
{
	px_buf_printf(out, "%02d:%02d", at.minute / 60, at.minute % 60);
}

/* At most `most` bytes. */
static void shortened(struct px_buf *out, const char *s, size_t most)
{
	const size_t n = strlen(s), len = px_utf8_cut(s, n, most);

	px_buf_add(out, s, len);
	px_buf_str(out, len < n ? "…" : "");
}

static void write_line(struct px_buf *out, const struct px_reminder_style *style,
                       const struct px_reminder_line *l, struct px_wall now)
{
	const struct local start = local(style, l->start);
	char date[PX_WALL_TEXT];

	px_buf_strs(out, l->hidden ? style->lang->private_meeting : style->lang->meeting, " ");
	if (start.day != local(style, seconds(now)).day) {
		px_wall_text((struct px_wall){start.day * 86400 * 1000}, date);
		px_buf_printf(out, "%.10s ", date);
	}
	clock_time(out, start);
	if (l->end) {
		px_buf_str(out, "–");
		clock_time(out, local(style, l->end));
	}
	if (l->hidden)
		return;
	if (l->subject && *l->subject) {
		px_buf_str(out, ": ");
		shortened(out, l->subject, PX_REMINDER_SUBJECT);
	}
	if (l->place && *l->place) {
		px_buf_str(out, " (");
		shortened(out, l->place, PX_REMINDER_PLACE);
		px_buf_str(out, ")");
	}
}

void px_reminder_text(struct px_buf *out, const struct px_reminder_style *style,
                      const struct px_reminder_line *line, size_t n, struct px_wall now)
{
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			px_buf_str(out, "\n");
		write_line(out, style, &line[i], now);
	}
}

/* ---- the machine ---- */

void px_reminder_read(struct px_reminder *r, struct px_now now)
{
	r->state = PX_REMIND_READING;
	r->due = px_after(now, PX_REMINDER_READ_MS);
}

void px_reminder_stop(struct px_reminder *r)
{
	r->due = (struct px_mono){0};
	if (r->state == PX_REMIND_IN_FLIGHT)
		return;
	if (r->state == PX_REMIND_WAITING)
		take_back(r);
	px_reminder_free(r);
	r->state = PX_REMIND_IDLE;
	r->failures = 0;
}

bool px_reminder_is_due(const struct px_reminder *r, uint32_t start, int64_t before_s,
                        struct px_wall now)
{
	return start > seconds(now) && start <= seconds(now) + before_s && !was_told(r, start);
}

bool px_reminder_write(struct px_reminder *r, const struct px_reminder_style *style,
                       const struct px_reminder_line *line, size_t n, int64_t before_s,
                       struct px_now now)
{
	struct px_reminder_line due[PX_REMINDER_LINES];
	struct px_buf text = px_buf_new(PX_REMINDER_TEXT_MAX);
	size_t m = 0;

	assert(r->state == PX_REMIND_READING);
	for (size_t i = 0; i < n && m < PX_REMINDER_LINES; i++)
		if (px_reminder_is_due(r, line[i].start, before_s, now.wall))
			due[m++] = line[i];
	if (m == 0) {
		px_reminder_stop(r);
		return false;
	}
	px_reminder_text(&text, style, due, m, now.wall);
	if (text.failed) {
		px_buf_free(&text);
		r->due = px_after(now, 1000);
		return false;
	}
	for (size_t i = 0; i < m; i++) {
		if (i > 0 && due[i].start == due[i - 1].start)
			continue;
		tell(r, due[i].start, now.wall);
		r->open++;
	}
	r->text = text.data;
	r->written_at = now.mono;
	r->due = (struct px_mono){0};
	r->state = PX_REMIND_WAITING;
	return true;
}

void px_reminder_void(struct px_reminder *r, uint32_t start, struct px_now now)
{
	assert(r->state == PX_REMIND_READING);
	tell(r, start, now.wall);
}

char *px_reminder_turn(struct px_reminder *r, uint32_t *expires_s, struct px_now now)
{
	char *text = r->text;
	uint32_t last = 0;

	assert(r->state == PX_REMIND_WAITING);
	for (unsigned i = r->n - (unsigned)r->open; i < r->n; i++)
		if (r->told.start[i] > last)
			last = r->told.start[i];
	if (last <= seconds(now.wall)) {
		r->open = 0;
		px_reminder_stop(r);
		return NULL;
	}
	if (now.mono.ms - r->written_at.ms >= PX_REMINDER_OLD_MS) {
		take_back(r);
		px_reminder_free(r);
		px_reminder_read(r, now);
		return NULL;
	}
	*expires_s = last - (uint32_t)seconds(now.wall);
	r->text = NULL;
	r->state = PX_REMIND_IN_FLIGHT;
	return text;
}

/* Whether the same message may be delivered a little later (RFC 3261 §21, RFC 3428 §7). */
static bool passes(const struct px_sip_answer *a)
{
	if (a->fail != PX_SIP_ANSWERED)
		return true;
	switch (a->status) {
	case 408:
	case 429:
	case 480:
	case 486:
	case 491:
		return true;
	case 501:
	case 505:
	case 513:
		return false;
	default:
		return a->status / 100 == 5;
	}
}

enum px_reminder_end px_reminder_answer(struct px_reminder *r, const struct px_sip_answer *a,
                                        uint32_t seed, struct px_now now)
{
	const bool delivered = a->fail == PX_SIP_ANSWERED && a->status / 100 == 2;
	uint32_t last = 0;
	int64_t pause;

	assert(r->state == PX_REMIND_IN_FLIGHT);
	for (unsigned i = r->n - (unsigned)r->open; i < r->n; i++)
		if (r->told.start[i] > last)
			last = r->told.start[i];
	r->state = PX_REMIND_IDLE;
	if (delivered || !passes(a) || last <= seconds(now.wall)) {
		r->open = 0;
		r->failures = 0;
		return delivered    ? PX_REMINDED
		       : !passes(a) ? PX_REMIND_GAVE_UP
		                    : PX_REMIND_TOO_LATE;
	}
	take_back(r);
	if (r->failures < UINT8_MAX)
		r->failures++;
	pause = px_backoff(PX_REMINDER_RETRY_MIN, PX_REMINDER_RETRY_MAX, r->failures, seed);
	if (a->retry_after > 0 && a->retry_after * 1000 > pause)
		pause = a->retry_after < 86400 ? a->retry_after * 1000 : 86400000;
	r->state = PX_REMIND_BACKOFF;
	r->due = px_after(now, pause);
	return PX_REMIND_LATER;
}
