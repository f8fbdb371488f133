/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/availability.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

const struct px_map px_map_default = {{
    [PX_FREE] = PX_AVAILABLE,
    [PX_TENTATIVE] = PX_AVAILABLE,
    [PX_BUSY] = PX_PRESENCE_BUSY,
    [PX_OOF] = PX_AWAY,
    [PX_WORKINGELSEWHERE] = PX_AVAILABLE,
    [PX_NODATA] = PX_KEEP,
}};

/* What wins where intervals overlap, strongest first; PX_FREE is what is left. */
static const enum px_status strongest[] = {PX_OOF, PX_BUSY, PX_TENTATIVE, PX_WORKINGELSEWHERE,
                                           PX_NODATA};

#define SPAN_MAX ((INT64_C(1) << 29) - 1) /* s that px_span.length holds: 17 years */

/* One end of an interval as a number that sorts by time: seconds, begins, status. */
#define BEGINS UINT64_C(0x80)

static uint64_t edge(int64_t s, bool begins, enum px_status status)
{
	return (uint64_t)s << 8 | (begins ? BEGINS : 0) | (uint64_t)status;
}

static void sift(uint64_t *heap, size_t root, size_t n)
{
	const uint64_t v = heap[root];

	for (size_t child; (child = 2 * root + 1) < n; root = child) {
		if (child + 1 < n && heap[child + 1] > heap[child])
			child++;
		if (heap[child] <= v)
			break;
		heap[root] = heap[child];
	}
	heap[root] = v;
}

/* qsort() of glibc allocates and calls back for each comparison; this does neither. */
static void sort(uint64_t *v, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift(v, i, n);
	for (size_t last = n; last-- > 1;) {
		const uint64_t top = v[0];

		v[0] = v[last];
		v[last] = top;
		sift(v, 0, last);
	}
}

static enum px_status winner(const unsigned open[PX_STATUSES])
{
	for (size_t i = 0; i < sizeof strongest / sizeof *strongest; i++)
		if (open[strongest[i]])
			return strongest[i];
	return PX_FREE;
}

static int64_t seconds(struct px_wall w)
{
	return w.ms / 1000 - (w.ms % 1000 < 0);
}

static int64_t clamp(int64_t s, int64_t low, int64_t high)
{
	return s < low ? low : s > high ? high : s;
}

int px_calendar_make(struct px_calendar *out, const struct px_interval *in, size_t n,
                     struct px_wall from, struct px_wall until)
{
	const int64_t first = clamp(seconds(from), 0, UINT32_MAX);
	const int64_t end = clamp(seconds(until), first, clamp(first + SPAN_MAX, 0, UINT32_MAX));
	struct px_calendar made = {.from = (uint32_t)first, .until = (uint32_t)end};
	unsigned open[PX_STATUSES] = {0};
	struct px_span span = {.status = PX_FREE};
	uint64_t *edges = NULL;
	size_t m = 0;

	_Static_assert(sizeof span == sizeof *edges, "a span takes an edge's place");
	if (n > PX_INTERVALS_MAX)
		return -E2BIG;
	if (first == end) { /* an empty window shows nothing: never read */
		px_calendar_free(out);
		return 0;
	}
	if (n > 0 && !(edges = malloc(2 * n * sizeof *edges)))
		return -ENOMEM;

	for (size_t i = 0; i < n; i++) {
		const int64_t a = clamp(seconds(in[i].start), first, end);
		const int64_t b = clamp(seconds(in[i].end), first, end);

		assert(in[i].status < PX_STATUSES);
		if (a >= b || in[i].status == PX_FREE)
			continue;
		edges[m++] = edge(a, true, in[i].status);
		edges[m++] = edge(b, false, in[i].status);
	}
	sort(edges, m);

	/* A moment with edges ends at most one span, so the spans fit where the edges were read. */
	for (size_t i = 0; i < m;) {
		const uint64_t at = edges[i] >> 8;
		enum px_status now;

		for (; i < m && edges[i] >> 8 == at; i++) {
			if (edges[i] & BEGINS)
				open[edges[i] & (BEGINS - 1)]++;
			else
				open[edges[i] & (BEGINS - 1)]--;
		}
		now = winner(open);
		if (now == span.status)
			continue;
		if (span.status != PX_FREE) {
			span.length = (uint32_t)(at - span.start) & SPAN_MAX;
			memcpy(&edges[made.n++], &span, sizeof span);
		}
		span = (struct px_span){.start = (uint32_t)at, .status = now};
	}
	if (made.n > 0) {
		made.span = malloc(made.n * sizeof *made.span);
		if (made.span)
			memcpy(made.span, edges, made.n * sizeof *made.span);
	}
	free(edges);
	if (made.n > 0 && !made.span)
		return -ENOMEM;
	made.topic = out->topic;
	made.topics = out->topics;
	free(out->span);
	free(out->start);
	*out = made;
	return 0;
}

void px_calendar_free(struct px_calendar *c)
{
	free(c->span);
	free(c->start);
	for (uint32_t i = 0; i < c->topics; i++)
		free(c->topic[i]);
	free(c->topic);
	*c = (struct px_calendar){0};
}

int px_calendar_starts(struct px_calendar *c, const struct px_interval *in, size_t n,
                       bool wanted(const struct px_interval *i))
{
	uint64_t *begin = n > 0 ? malloc(n * sizeof *begin) : NULL;
	uint32_t m = 0;

	if (n > 0 && !begin)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const int64_t s = seconds(in[i].start);

		if (s >= c->from && s < c->until && in[i].end.ms > in[i].start.ms && wanted(&in[i]))
			begin[m++] = (uint64_t)s;
	}
	sort(begin, m);
	for (uint32_t i = 0; i < m; i++)
		if (i == 0 || begin[i] != begin[i - 1])
			begin[c->starts++] = begin[i];
	if (c->starts > 0 && !(c->start = malloc(c->starts * sizeof *c->start))) {
		c->starts = 0;
		free(begin);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < c->starts; i++)
		c->start[i] = (uint32_t)begin[i];
	free(begin);
	return 0;
}

int px_calendar_topic(struct px_calendar *c, const struct px_interval *when, const char *subject)
{
	const size_t n = strlen(subject), len = px_utf8_cut(subject, n, PX_TOPIC_SUBJECT_MAX);
	const char *more = len < n ? "…" : "";
	const uint32_t start = (uint32_t)clamp(seconds(when->start), 0, UINT32_MAX);
	uint32_t i = c->topics;
	struct px_topic *t;

	if (n == 0 || (i == PX_TOPICS_MAX && c->topic[i - 1]->start <= start))
		return 0;
	if ((i & (i - 1)) == 0) { /* there is room for the next power of two */
		struct px_topic **more_room = realloc(c->topic, (i ? 2 * i : 1) * sizeof t);

		if (!more_room)
			return -ENOMEM;
		c->topic = more_room;
	}
	t = malloc(sizeof *t + len + strlen(more) + 1);
	if (!t)
		return -ENOMEM;
	*t = (struct px_topic){.start = start,
	                       .end = (uint32_t)clamp(seconds(when->end), 0, UINT32_MAX),
	                       .status = (uint8_t)when->status};
	memcpy(t->subject, subject, len);
	strcpy(t->subject + len, more);
	if (i == PX_TOPICS_MAX)
		free(c->topic[--i]);
	else
		c->topics++;
	for (; i > 0 && c->topic[i - 1]->start > start; i--)
		c->topic[i] = c->topic[i - 1];
	c->topic[i] = t;
	return 0;
}

const char *px_calendar_subject(const struct px_calendar *c, const struct px_map *map,
                                enum px_presence presence, struct px_wall now,
                                struct px_wall *until)
{
	const int64_t s = seconds(now);
	const char *found = NULL;
	int64_t next = 0;

	for (uint32_t i = 0; i < c->topics; i++) {
		const struct px_topic *t = c->topic[i];
		const int64_t change = t->start > s ? t->start : t->end;

		if (map->of[t->status] != presence || t->end <= s)
			continue;
		if (t->start <= s)
			found = t->subject;
		if (!next || change < next)
			next = change;
	}
	until->ms = next * 1000;
	return found;
}

bool px_calendar_equal(const struct px_calendar *a, const struct px_calendar *b)
{
	if (a->n != b->n)
		return false;
	for (uint32_t i = 0; i < a->n; i++)
		if (a->span[i].start != b->span[i].start ||
		    a->span[i].length != b->span[i].length ||
		    a->span[i].status != b->span[i].status)
			return false;
	return true;
}

/*
 * A calendar as a row of pieces without holes: piece 2k is the free time before span k, piece 2k +
 * 1 is span k, piece 2n the free time after the last. A free piece may be empty.
 */
struct piece {
	uint32_t start, end;
	enum px_status status;
};

static struct piece piece_at(const struct px_calendar *c, size_t i)
{
	const size_t k = i / 2;
	struct piece p = {.start = c->from, .end = c->until, .status = PX_FREE};

	if (i % 2) {
		p.start = c->span[k].start;
		p.end = p.start + c->span[k].length;
		p.status = c->span[k].status;
		return p;
	}
	if (k > 0)
		p.start = c->span[k - 1].start + c->span[k - 1].length;
	if (k < c->n)
		p.end = c->span[k].start;
	return p;
}

/* The piece that holds s, which is inside the window. */
static size_t piece_of(const struct px_calendar *c, uint32_t s)
{
	size_t low = 0, high = c->n; /* the first span that ends after s is in [low, high] */

	while (low < high) {
		const size_t mid = low + (high - low) / 2;

		if (c->span[mid].start + c->span[mid].length > s)
			high = mid;
		else
			low = mid + 1;
	}
	return 2 * low + (low < c->n && c->span[low].start <= s);
}

static struct px_wall moment(uint32_t s)
{
	return (struct px_wall){(int64_t)s * 1000};
}

struct px_availability px_availability_at(const struct px_calendar *c, const struct px_map *map,
                                          enum px_presence last, struct px_wall now)
{
	const int64_t s = seconds(now);
	struct px_availability found = {.presence = PX_UNKNOWN};
	struct piece p;
	size_t at;
	bool keeping; /* only pieces that keep between here and now */

	if (c->until == 0 || s < c->from || s >= c->until)
		return found;

	at = piece_of(c, (uint32_t)s);
	p = piece_at(c, at);
	found.presence = map->of[p.status];
	found.since = moment(p.start);
	found.until = moment(c->until);
	keeping = found.presence == PX_KEEP;
	if (keeping)
		found.presence = last == PX_KEEP ? PX_UNKNOWN : last;

	/* What keeps goes on with what was before it, so only a piece that says otherwise ends it.
	 */
	for (size_t i = at + 1; i <= 2 * (size_t)c->n; i++) {
		const struct piece next = piece_at(c, i);
		const enum px_presence is = map->of[next.status];

		if (next.start == next.end || is == PX_KEEP || is == found.presence)
			continue;
		found.until = moment(next.start);
		break;
	}
	for (size_t i = at; i-- > 0;) {
		const struct piece before = piece_at(c, i);
		const enum px_presence is = map->of[before.status];

		if (before.start == before.end)
			continue;
		if (is == PX_KEEP) {
			if (keeping)
				found.since = moment(before.start);
			continue;
		}
		if (is != found.presence)
			break;
		keeping = false;
		found.since = moment(before.start);
	}
	return found;
}

const char *px_presence_name(enum px_presence p)
{
	static const char *const name[] = {
	    [PX_UNKNOWN] = "unknown", [PX_AVAILABLE] = "available", [PX_PRESENCE_BUSY] = "busy",
	    [PX_AWAY] = "away",       [PX_KEEP] = "keep",
	};

	assert((size_t)p < sizeof name / sizeof *name);
	return name[p];
}

const char *px_status_name(enum px_status s)
{
	static const char *const name[PX_STATUSES] = {
	    [PX_FREE] = "free",
	    [PX_TENTATIVE] = "tentative",
	    [PX_BUSY] = "busy",
	    [PX_OOF] = "oof",
	    [PX_WORKINGELSEWHERE] = "workingelsewhere",
	    [PX_NODATA] = "nodata",
	};

	assert(s < PX_STATUSES);
	return name[s];
}
