/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/engine.h"
#include "fake.h"

#define S 1000LL
#define MIN (60 * S)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)
#define EPOCH 1764000000000LL /* some wall time to start at */
#define MEETINGS 64
#define HIDDEN 20 /* every so many users show the account no free/busy */
#define HEARTBEAT FAKE_HEARTBEAT_MS

/* ---- the world ---- */

enum cas_state { CAS_UP, CAS_REFUSES, CAS_HANGS, CAS_BUSY, CAS_DENIES };
enum esc_state { ESC_UP, ESC_REFUSES, ESC_SILENT };

enum what {
	W_BOUNDARY, /* user */
	W_CHANGE,
	W_HTTP_ARRIVES, /* id */
	W_HTTP_ANSWER,
	W_HTTP_LOST,
	W_HEARTBEAT,
	W_STREAM_END,
	W_EVENT, /* user: its streams are told */
	W_SIP_DONE,
	W_FAULT,
	W_HEAL,
	W_STEP
};

struct event {
	int64_t at;
	uint64_t seq;
	enum what what;
	uint64_t a;
	uint32_t b;
	void *p;
};

struct meeting {
	int64_t start, end;
	uint8_t status;
};

struct published {
	uint64_t etag, order;
	int64_t lapses;
	uint8_t presence;
};

struct person {
	struct meeting meeting[MEETINGS];
	unsigned meetings;
	struct published doc[4];
	unsigned docs;
	int64_t wrong_since; /* mono; 0: right */
	int64_t allowance;   /* of the difference that is there */
	int64_t excused;     /* faults of its own last until */
	bool in_flight, listed;
	uint32_t sub[8]; /* the last that were made for it */
	unsigned subs;
	uint64_t boundary_no;
};

struct sub {
	uint32_t user;
	unsigned cas;
	bool alive, pending;
	uint32_t http; /* slot of the stream + 1 */
};

struct http {
	uint64_t id; /* 0: free */
	unsigned cas;
	enum px_ask ask;
	char *body;
	bool open;
	uint32_t anchor, routed; /* impersonated; X-AnchorMailbox */
};

struct cas {
	enum cas_state state;
	int64_t excused;
	bool died; /* ever: its share of the users is its own matter since */
	unsigned in_flight;
};

struct world {
	struct sim_config c;
	struct sim_report *r;
	struct px_engine *e;
	struct event *heap;
	size_t heap_n, heap_cap;
	uint64_t seq, rng, etags;
	int64_t mono, offset;
	struct person *person;
	struct cas *cas;
	struct http *http;
	size_t https;
	struct sub *sub;
	size_t subs, subs_cap;
	uint32_t *wrong;
	size_t wrongs;
	int64_t excused; /* everybody is, until */
	enum esc_state esc;
	uint16_t *anchors;    /* hanging connections per mailbox */
	int64_t even_at;      /* when survivors must be even and everybody followed (P3); 0: not */
	uint64_t even_faults; /* unless something else has happened since */
	int64_t denied_from,
	    denied_last; /* the account is refused since; the last login that was */
	/* Subscribes per second of a recovery */
	bool recovering;
	int64_t recovery_from;
	unsigned per_second[400];
};

static uint64_t rnd(struct world *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return w->rng;
}

static int64_t between(struct world *w, int64_t from, int64_t to)
{
	return from + (int64_t)(rnd(w) % (uint64_t)(to - from + 1));
}

static bool chance(struct world *w, double p)
{
	return p > 0 && (double)(rnd(w) >> 11) / 9007199254740992.0 < p;
}

static struct px_now now(const struct world *w)
{
	return (struct px_now){{w->mono}, {w->mono + w->offset}};
}

static void trace(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->c.trace)
		return;
	fprintf(w->c.trace, "%10.3f ", (double)w->mono / 1000);
	va_start(ap, fmt);
	vfprintf(w->c.trace, fmt, ap);
	va_end(ap);
	fputc('\n', w->c.trace);
}

static void complain(struct world *w, uint64_t *counter, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	trace(w, "COMPLAINT %s", text);
	if (!w->r->first[0])
		snprintf(w->r->first, sizeof w->r->first, "at %.3f s: %s", (double)w->mono / 1000,
		         text);
	++*counter;
}

static bool before(const struct event *a, const struct event *b)
{
	return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static void later(struct world *w, int64_t at, enum what what, uint64_t a, uint32_t b, void *p)
{
	if (w->heap_n == w->heap_cap) {
		w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 4096;
		w->heap = realloc(w->heap, w->heap_cap * sizeof *w->heap);
		if (!w->heap)
			abort();
	}
	struct event e = {at, ++w->seq, what, a, b, p};
	size_t i = w->heap_n++;
	for (; i && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct event next(struct world *w)
{
	struct event top = w->heap[0], e = w->heap[--w->heap_n];
	size_t i = 0;

	for (size_t c; (c = 2 * i + 1) < w->heap_n; i = c) {
		if (c + 1 < w->heap_n && before(&w->heap[c + 1], &w->heap[c]))
			c++;
		if (!before(&w->heap[c], &e))
			break;
		w->heap[i] = w->heap[c];
	}
	w->heap[i] = e;
	return top;
}

/* ---- the oracle ---- */

static enum px_presence oracle(const struct world *w, uint32_t u)
{
	const struct person *p = &w->person[u];
	int64_t t = w->mono + w->offset;
	bool busy = false;

	for (unsigned m = 0; m < p->meetings; m++) {
		if (p->meeting[m].start > t || p->meeting[m].end <= t)
			continue;
		if (p->meeting[m].status == PX_OOF)
			return PX_AWAY;
		busy = busy || p->meeting[m].status == PX_BUSY;
	}
	return busy ? PX_PRESENCE_BUSY : PX_AVAILABLE;
}

static enum px_presence seen(const struct world *w, uint32_t u)
{
	const struct person *p = &w->person[u];
	const struct published *newest = NULL;

	for (unsigned d = 0; d < p->docs; d++)
		if (p->doc[d].lapses > w->mono && (!newest || p->doc[d].order > newest->order))
			newest = &p->doc[d];
	return newest ? (enum px_presence)newest->presence : PX_UNKNOWN;
}

/* Something happened to this user: is what watchers see still right, and if not, how long may that
 * be so? */
static void compare(struct world *w, uint32_t u, int64_t allowance)
{
	struct person *p = &w->person[u];

	if (oracle(w, u) == seen(w, u)) {
		p->wrong_since = 0;
		return;
	}
	if (p->wrong_since && p->allowance >= allowance)
		return;
	if (!p->wrong_since)
		p->wrong_since = w->mono;
	p->allowance = allowance;
	if (!p->listed) {
		p->listed = true;
		w->wrong[w->wrongs++] = u;
	}
}

static void excuse(int64_t *until, int64_t at)
{
	if (*until < at)
		*until = at;
}

static void check(struct world *w)
{
	for (size_t i = 0; i < w->wrongs;) {
		uint32_t u = w->wrong[i];
		struct person *p = &w->person[u];
		if (p->wrong_since && oracle(w, u) == seen(w, u))
			p->wrong_since = 0;
		if (!p->wrong_since) {
			p->listed = false;
			w->wrong[i] = w->wrong[--w->wrongs];
			continue;
		}
		int64_t from = p->wrong_since;
		excuse(&from, p->excused);
		excuse(&from, w->excused);
		int64_t wrong = w->mono - from;
		if (wrong > 0 && (uint64_t)wrong > w->r->wrong_ms_max)
			w->r->wrong_ms_max = (uint64_t)wrong;
		if (wrong > p->allowance) {
			struct px_user_view v;
			px_engine_user(w->e, u, &v);
			complain(w, &w->r->violations,
			         "user %u shows %s, should be %s, for %lld ms (allowed %lld); "
			         "watch %s gateway %d pub %d dirty %d",
			         u, px_presence_name(seen(w, u)), px_presence_name(oracle(w, u)),
			         (long long)wrong, (long long)p->allowance,
			         px_watch_state_name(v.watch), v.gateway, v.publication->state,
			         v.dirty);
			p->excused = w->mono + HOUR; /* once is enough */
		}
		i++;
	}
}

/* ---- calendars ---- */

static void add_meeting(struct world *w, uint32_t u, int64_t start, int64_t length)
{
	struct person *p = &w->person[u];
	static const uint8_t kind[] = {
	    PX_BUSY, PX_BUSY, PX_BUSY, PX_TENTATIVE, PX_OOF, PX_FREE, PX_WORKINGELSEWHERE};

	if (p->meetings == MEETINGS) { /* forget one that is over */
		for (unsigned m = 0; m < p->meetings; m++)
			if (p->meeting[m].end < w->mono + w->offset - 3 * HOUR) {
				p->meeting[m] = p->meeting[--p->meetings];
				break;
			}
	}
	if (p->meetings < MEETINGS)
		p->meeting[p->meetings++] =
		    (struct meeting){start, start + length, kind[rnd(w) % sizeof kind]};
}

static void plan_boundary(struct world *w, uint32_t u)
{
	struct person *p = &w->person[u];
	int64_t t = w->mono + w->offset, best = INT64_MAX;

	for (unsigned m = 0; m < p->meetings; m++) {
		if (p->meeting[m].start > t && p->meeting[m].start < best)
			best = p->meeting[m].start;
		if (p->meeting[m].end > t && p->meeting[m].end < best)
			best = p->meeting[m].end;
	}
	p->boundary_no++;
	if (best != INT64_MAX)
		later(w, best - w->offset, W_BOUNDARY, p->boundary_no, u, NULL);
}

static void tell_subscribers(struct world *w, uint32_t u)
{
	later(w, w->mono + between(w, 5, 200), W_EVENT, 0, u, NULL);
}

static void change(struct world *w, uint32_t u)
{
	struct person *p = &w->person[u];
	int64_t t = w->mono + w->offset;

	w->r->changes++;
	switch (rnd(w) % 3) {
	case 0: /* one that begins about now */
		add_meeting(w, u, (t / MIN + between(w, -20, 40)) * MIN, between(w, 5, 90) * MIN);
		break;
	case 1:
		if (p->meetings) {
			struct meeting *m = &p->meeting[rnd(w) % p->meetings];
			int64_t length = m->end - m->start;
			m->start = (t / MIN + between(w, -30, 120)) * MIN;
			m->end = m->start + length;
		}
		break;
	default:
		if (p->meetings)
			p->meeting[rnd(w) % p->meetings] = p->meeting[p->meetings - 1],
			                    p->meetings--;
	}
	plan_boundary(w, u);
	tell_subscribers(w, u);
	compare(w, u, 2500); /* P2, and the way there */
}

/* ---- Exchange ---- */

static struct http *http_of(struct world *w, uint64_t id)
{
	size_t slot = (uint32_t)id;

	return slot < w->https && w->http[slot].id == id ? &w->http[slot] : NULL;
}

static void http_close(struct world *w, struct http *h)
{
	if (h->ask != PX_ASK_STREAM)
		w->cas[h->cas].in_flight--;
	if (h->open) {
		w->anchors[h->anchor]--;
		for (size_t s = 0; s < w->subs; s++)
			if (w->sub[s].http == (uint32_t)h->id + 1)
				w->sub[s].http = 0;
	}
	free(h->body);
	*h = (struct http){0};
}

static void http_done(struct world *w, uint64_t id, enum px_http_fail fail, int status)
{
	struct http *h = http_of(w, id);
	const struct px_http_answer a = {.fail = fail, .status = status, .retry_after_ms = -1};

	if (!h)
		return;
	http_close(w, h);
	px_engine_http_done(w->e, id, &a, now(w));
}

static void say(struct world *w, uint64_t id, const char *text)
{
	px_engine_http_data(w->e, id, text, strlen(text), now(w));
}

static uint32_t mailbox_user(const char *mailbox)
{
	return (uint32_t)strtoul(mailbox + 1, NULL, 10);
}

/* Users whose last word from the server may be missing. */
static void excuse_request(struct world *w, struct http *h, int64_t until)
{
	char *line = strchr(h->body, '\n');
	char *space = strchr(h->body, ' ');

	if (h->ask == PX_ASK_SUBSCRIBE && space[1] == 'u')
		excuse(&w->person[mailbox_user(space + 1)].excused, until);
	for (; line && line[1]; line = strchr(line + 1, '\n')) {
		if ((h->ask == PX_ASK_READ || h->ask == PX_ASK_READ_ONE) && line[1] == 'u')
			excuse(&w->person[mailbox_user(line + 1)].excused, until);
		else if (h->ask == PX_ASK_STREAM && line[1] == 's')
			excuse(&w->person[w->sub[strtoul(line + 2, NULL, 10)].user].excused, until);
	}
}

static void http_arrives(struct world *w, uint64_t id)
{
	struct http *h = http_of(w, id);

	if (!h)
		return;
	switch (w->cas[h->cas].state) {
	case CAS_REFUSES:
		http_done(w, id, PX_HTTP_CONNECT, 0);
		return;
	case CAS_HANGS:
		if (h->ask != PX_ASK_STREAM)
			later(w, w->mono + (h->ask == PX_ASK_PROBE ? 10 : 30) * S, W_HTTP_LOST, id,
			      0, NULL);
		return;
	case CAS_BUSY:
		http_done(w, id, PX_HTTP_ANSWERED, 503);
		return;
	case CAS_DENIES:
		/* what was under way when it began may be refused, too; then one each five minutes */
		if (w->mono - w->denied_from > 30 * S && w->mono - w->denied_last < 290 * S)
			complain(w, &w->r->logins_over, "logins refused %lld ms apart",
			         (long long)(w->mono - w->denied_last));
		w->denied_last = w->mono;
		http_done(w, id, PX_HTTP_ANSWERED, 401);
		return;
	case CAS_UP:
		break;
	}
	if (chance(w, w->c.lost_answers)) {
		trace(w, "lost http ask=%d cas=%u", h->ask, h->cas);
		w->r->faults++;
		bool cut = rnd(w) % 2;
		/* 30 s until it is given up, and then a reading or two; a stream has 30 s too, or
		 * 10 */
		excuse_request(w, h, w->mono + (cut ? 0 : 30 * S) + 15 * S);
		if (h->ask != PX_ASK_STREAM || cut)
			later(w, w->mono + (cut ? 10 : 30 * S), W_HTTP_LOST, id, cut, NULL);
		return;
	}
	later(w, w->mono + between(w, 2, 30), W_HTTP_ANSWER, id, 0, NULL);
}

/* What was queued for streams that are open is delivered. */
static void flush(struct world *w, unsigned cas)
{
	for (size_t s = 0; s < w->subs; s++) {
		char text[64];
		if (w->sub[s].cas != cas || !w->sub[s].pending || !w->sub[s].http)
			continue;
		w->sub[s].pending = false;
		snprintf(text, sizeof text, "E s%zu\n", s);
		say(w, w->http[w->sub[s].http - 1].id, text);
	}
}

static void open_stream(struct world *w, struct http *h, const char *lines)
{
	uint64_t id = h->id;
	unsigned minutes, n = 0;
	char anchor[256];
	struct px_buf bad = px_buf_new(1 << 20);

	sscanf(h->body, "%*d %255s %u", anchor, &minutes);
	h->anchor = mailbox_user(anchor);
	h->open = true;
	if (++w->anchors[h->anchor] > 3)
		complain(w, &w->r->anchors_over, "more than 3 streams on mailbox %u", h->anchor);
	for (const char *l = lines; *l; l = strchr(l, '\n') + 1) {
		size_t s = strtoul(l + 1, NULL, 10);
		n++;
		if (s >= w->subs || !w->sub[s].alive || w->sub[s].cas != h->cas ||
		    (w->c.backends && w->sub[s].user % w->c.backends != h->routed % w->c.backends))
			px_buf_printf(&bad, "G %.*s\n", (int)(strchr(l, '\n') - l), l);
		else
			w->sub[s].http = (uint32_t)id + 1;
	}
	if (n > 200)
		complain(w, &w->r->violations, "%u ids in a stream", n);
	if (bad.len) {
		px_buf_printf(&bad, "V %d\n", PX_V_LOST);
		say(w, id, bad.data);
		px_buf_free(&bad);
		http_done(w, id, PX_HTTP_ANSWERED, 200);
		return;
	}
	later(w, w->mono + HEARTBEAT, W_HEARTBEAT, id, 0, NULL);
	later(w, w->mono + minutes * MIN, W_STREAM_END, id, 0, NULL);
	say(w, id, "A\n");
	flush(w, h->cas);
}

static void answer(struct world *w, uint64_t id)
{
	struct http *h = http_of(w, id);
	struct px_buf out = px_buf_new(16 << 20);
	char mailbox[256];
	long long from, until;
	int ask;

	if (!h)
		return;
	if (w->cas[h->cas].state != CAS_UP) {
		http_arrives(w, id);
		return;
	}
	const char *lines = strchr(h->body, '\n') + 1;
	sscanf(h->body, "%d %255s %*u %lld %lld", &ask, mailbox, &from, &until);
	switch (h->ask) {
	case PX_ASK_SUBSCRIBE: {
		if (w->subs == w->subs_cap) {
			w->subs_cap = w->subs_cap ? 2 * w->subs_cap : 1024;
			w->sub = realloc(w->sub, w->subs_cap * sizeof *w->sub);
			if (!w->sub)
				abort();
		}
		w->sub[w->subs] =
		    (struct sub){.user = mailbox_user(mailbox), .cas = h->cas, .alive = true};
		struct person *p = &w->person[mailbox_user(mailbox)];
		p->sub[p->subs++ % 8] = (uint32_t)w->subs;
		px_buf_printf(&out, "I s%zu\n", w->subs++);
		break;
	}
	case PX_ASK_UNSUBSCRIBE: {
		size_t s = strtoul(lines + 1, NULL, 10);
		if (s < w->subs)
			w->sub[s].alive = false;
		break;
	}
	case PX_ASK_STREAM:
		open_stream(w, h, lines);
		return;
	case PX_ASK_READ:
	case PX_ASK_READ_ONE:
		for (const char *l = lines; *l; l = strchr(l, '\n') + 1) {
			const uint32_t u = mailbox_user(l);
			const struct person *p = &w->person[u];
			/* some show the account nothing; and of some there is too much for one answer */
			if (h->ask == PX_ASK_READ && u % HIDDEN == 0) {
				px_buf_printf(&out, "R %d\n", PX_V_UNREADABLE);
				continue;
			}
			if (h->ask == PX_ASK_READ_ONE && u % (3 * HIDDEN) == 0 &&
			    until - from > 20 * HOUR) {
				px_buf_printf(&out, "V %d\n", PX_V_WIDE);
				continue;
			}
			for (unsigned m = 0; m < p->meetings; m++)
				if (p->meeting[m].end > from && p->meeting[m].start < until)
					px_buf_printf(&out, "M %lld %lld %d\n",
					              (long long)p->meeting[m].start,
					              (long long)p->meeting[m].end,
					              p->meeting[m].status);
			px_buf_str(&out, "C\n");
		}
		break;
	case PX_ASK_PROBE:
	default:
		break;
	}
	if (out.data)
		say(w, id, out.data);
	px_buf_free(&out);
	http_done(w, id, PX_HTTP_ANSWERED, 200);
}

static void subscribers_hear(struct world *w, uint32_t u)
{
	struct person *p = &w->person[u];

	for (unsigned i = 0; i < p->subs && i < 8; i++) {
		uint32_t s = p->sub[i];
		struct sub *sub = &w->sub[s];
		char text[64];
		if (!sub->alive)
			continue;
		struct http *h = sub->http ? &w->http[sub->http - 1] : NULL;
		if (!h ||
		    (w->cas[sub->cas].state != CAS_UP && w->cas[sub->cas].state != CAS_BUSY)) {
			sub->pending = true;
			continue;
		}
		snprintf(text, sizeof text, "E s%u\n", s);
		say(w, h->id, text);
	}
}

static void cut_streams(struct world *w, unsigned cas)
{
	for (size_t i = 0; i < w->https; i++)
		if (w->http[i].id && w->http[i].cas == cas && w->http[i].open)
			http_done(w, w->http[i].id, PX_HTTP_CUT, 200);
}

/* ---- presence server ---- */

static void sip_arrives(struct world *w, struct px_action *a)
{
	uint32_t u = mailbox_user(a->sip.key);
	struct person *p = &w->person[u];
	struct px_sip_answer *answer = calloc(1, sizeof *answer);

	if (!answer)
		abort();
	*answer = (struct px_sip_answer){.expires = -1, .min_expires = -1, .retry_after = -1};
	if (p->in_flight)
		complain(w, &w->r->in_flight_doubles, "two PUBLISHes of user %u at once", u);
	p->in_flight = true;
	w->r->published++;
	int64_t done = w->mono + between(w, 1, 6);
	if (w->esc == ESC_REFUSES) {
		answer->fail = PX_SIP_TRANSPORT;
	} else if (w->esc == ESC_SILENT) {
		answer->fail = PX_SIP_TIMEOUT;
		done = w->mono + a->sip.timeout_ms;
	} else {
		struct published *doc = NULL;
		uint64_t etag = strtoull(a->sip.etag, NULL, 16);
		for (unsigned d = 0; d < p->docs;)
			if (p->doc[d].lapses <= w->mono)
				p->doc[d] = p->doc[--p->docs];
			else
				d++;
		for (unsigned d = 0; d < p->docs; d++)
			if (etag && p->doc[d].etag == etag)
				doc = &p->doc[d];
		if (etag && !doc) {
			answer->status = 412;
		} else {
			answer->status = 200;
			if (!doc) {
				if (p->docs ==
				    sizeof p->doc /
				        sizeof *p
				            ->doc) /* orphans of lost answers; the oldest goes */
					memmove(p->doc, p->doc + 1, (--p->docs) * sizeof *p->doc);
				doc = &p->doc[p->docs++];
				*doc = (struct published){0};
			}
			if (a->sip.body.len) {
				doc->presence =
				    strstr(a->sip.body.data, "<rpid:busy")   ? PX_PRESENCE_BUSY
				    : strstr(a->sip.body.data, "<rpid:away") ? PX_AWAY
				                                             : PX_AVAILABLE;
				doc->order = ++w->seq;
			}
			doc->etag = ++w->etags;
			doc->lapses = w->mono + a->sip.expires * S;
			answer->expires = a->sip.expires;
			answer->etag = (const char *)(uintptr_t)
			                   doc->etag; /* made a text when it is handed over */
			if (a->sip.op == PX_OP_REMOVE)
				*doc = p->doc[--p->docs];
		}
		if (chance(w, w->c.lost_answers)) {
			trace(w, "lost sip user=%u op=%d", u, a->sip.op);
			w->r->faults++;
			answer->fail = PX_SIP_TIMEOUT;
			answer->status = 0;
			answer->etag = NULL;
			done = w->mono + a->sip.timeout_ms;
			excuse(&p->excused, done + 5 * S);
		}
	}
	compare(w, u, 2500);
	later(w, done, W_SIP_DONE, a->sip.id, u, answer);
}

/* ---- faults ---- */

enum fault { F_CAS, F_POOL, F_CUT, F_DROP, F_CLOCK, F_ESC, F_FORGET, F_THROTTLE, F_DENIED, FAULTS };

static double per_day(const struct world *w, enum fault f)
{
	const struct sim_config *c = &w->c;
	const double of[FAULTS] = {
	    [F_CAS] = c->cas_dies_per_day,       [F_POOL] = c->pool_dies_per_day,
	    [F_CUT] = c->stream_cuts_per_day,    [F_DROP] = c->drops_per_day,
	    [F_CLOCK] = c->clock_steps_per_day,  [F_ESC] = c->esc_dies_per_day,
	    [F_FORGET] = c->esc_forgets_per_day, [F_THROTTLE] = c->throttle_per_day,
	    [F_DENIED] = c->denied_per_day};
	return of[f];
}

static void plan_fault(struct world *w, enum fault f)
{
	double rate = per_day(w, f);

	/* an hour at least before the first: the population must be there */
	if (rate > 0)
		later(w,
		      w->mono +
		          (int64_t)((double)DAY / rate * (0.5 + (double)(rnd(w) % 1000) / 1000.0)),
		      W_FAULT, f, 0, NULL);
}

static unsigned healthy(const struct world *w)
{
	unsigned n = 0;

	for (unsigned g = 0; g < w->c.gateways; g++)
		n += w->cas[g].state == CAS_UP;
	return n;
}

/* How long the recovery of everybody may take: 60 s and the pace for all (P5). */
static int64_t recovery(const struct world *w)
{
	return 60 * S + (int64_t)w->c.users * 2;
}

static void kill_cas(struct world *w, unsigned g, bool hang, int64_t for_ms)
{
	struct px_user_view v;
	int64_t noticed = w->mono + (hang ? 100 * S : 0);

	trace(w, "cas %u %s", g, hang ? "hangs" : "refuses");
	w->cas[g].state = hang ? CAS_HANGS : CAS_REFUSES;
	w->cas[g].died = true;
	for (uint32_t u = 0; u < w->c.users; u++)
		if (px_engine_user(w->e, u, &v) && (v.gateway == (int)g))
			excuse(&w->person[u].excused, noticed + 60 * S); /* P3, P4 */
	if (!hang) {
		for (size_t s = 0; s < w->subs; s++)
			if (w->sub[s].cas == g)
				w->sub[s].alive = false;
		cut_streams(w, g);
	}
	later(w, w->mono + for_ms, W_HEAL, g, 0, NULL);
	w->even_at = noticed + 60 * S;
	w->even_faults = w->r->faults;
	if (healthy(w) == 0)
		excuse(&w->excused, w->mono + for_ms + 33 * S + recovery(w));
}

static void fault(struct world *w, enum fault f)
{
	unsigned g = (unsigned)(rnd(w) % w->c.gateways);

	w->r->faults++;
	plan_fault(w, f);
	/* a recovery that is disturbed says nothing of its pace */
	if (f == F_CAS || f == F_THROTTLE || f == F_DENIED)
		w->recovering = false;
	switch (f) {
	case F_CAS:
		if (w->cas[g].state == CAS_UP && healthy(w) > 1)
			kill_cas(w, g, rnd(w) % 3 == 0, between(w, 5 * MIN, 40 * MIN));
		break;
	case F_POOL:
		if (healthy(w) < w->c.gateways)
			break;
		for (g = 0; g < w->c.gateways; g++)
			if (w->cas[g].state == CAS_UP)
				kill_cas(w, g, false, 10 * MIN);
		w->recovering = true;
		w->recovery_from = w->mono + 10 * MIN;
		memset(w->per_second, 0, sizeof w->per_second);
		w->even_at = 0;
		break;
	case F_CUT:
		trace(w, "streams of cas %u are cut", g);
		cut_streams(w, g);
		break;
	case F_DROP:
		if (w->subs) {
			size_t s = rnd(w) % w->subs;
			if (w->sub[s].alive && w->sub[s].http) {
				char text[64];
				w->sub[s].alive = false;
				/* what changes before it is said is read after the new subscription
				 */
				excuse(&w->person[w->sub[s].user].excused, w->mono + 60 * S);
				snprintf(text, sizeof text, "G s%zu\n", s);
				say(w, w->http[w->sub[s].http - 1].id, text);
			}
		}
		break;
	case F_CLOCK: {
		int64_t step = between(w, -HOUR, HOUR);
		trace(w, "clock steps by %lld ms", (long long)step);
		w->offset += step;
		excuse(&w->excused, w->mono + 3 * S);
		for (uint32_t u = 0; u < w->c.users; u++) {
			plan_boundary(w, u);
			compare(w, u, 1200);
		}
		px_engine_tick(w->e, now(w)); /* the loop notices a step at once */
		break;
	}
	case F_ESC:
		if (w->esc == ESC_UP) {
			int64_t for_ms = between(w, 20 * S, 90 * S);
			w->esc = rnd(w) % 2 ? ESC_REFUSES : ESC_SILENT;
			trace(w, "presence server %s for %lld ms",
			      w->esc == ESC_SILENT ? "silent" : "refuses", (long long)for_ms);
			/* P6: 5 s and the pace; what was sent into the silence just before the
			 * return is found out 8 s later */
			excuse(&w->excused,
			       w->mono + for_ms + 5 * S + 8 * S + (int64_t)w->c.users / 2);
			later(w, w->mono + for_ms, W_HEAL, 1000, 0, NULL);
		}
		break;
	case F_FORGET:
		trace(w, "presence server restarts empty");
		for (uint32_t u = 0; u < w->c.users; u++)
			w->person[u].docs = 0;
		px_engine_sip_lost(w->e, now(w));
		excuse(&w->excused, w->mono + 5 * S + (int64_t)w->c.users);
		for (uint32_t u = 0; u < w->c.users; u++)
			compare(w, u, 1200);
		break;
	case F_THROTTLE:
		if (w->cas[g].state == CAS_UP) {
			struct px_user_view v;
			trace(w, "cas %u throttles", g);
			w->cas[g].state = CAS_BUSY;
			for (uint32_t u = 0; u < w->c.users; u++)
				if (px_engine_user(w->e, u, &v) && v.gateway == (int)g)
					excuse(&w->person[u].excused,
					       w->mono + MIN + 66 * S + 10 * S);
			later(w, w->mono + MIN, W_HEAL, g, 0, NULL);
		}
		break;
	case F_DENIED:
		if (healthy(w) == w->c.gateways) {
			trace(w, "account refused");
			w->denied_from = w->mono;
			for (g = 0; g < w->c.gateways; g++) {
				w->cas[g].state = CAS_DENIES;
				cut_streams(w, g);
				later(w, w->mono + 20 * MIN, W_HEAL, g, 0, NULL);
			}
			excuse(&w->excused, w->mono + 20 * MIN + 6 * MIN + recovery(w));
		}
		break;
	case FAULTS:
		break;
	}
}

static void heal(struct world *w, uint64_t what)
{
	if (what == 1000) {
		trace(w, "presence server back");
		w->esc = ESC_UP;
		return;
	}
	trace(w, "cas %u heals", (unsigned)what);
	/* a request that hung there gets its end elsewhere */
	w->cas[what].state = CAS_UP;
	flush(w, (unsigned)what);
	w->denied_from = 0;
	/* users are where they are: evenness was for the survivors */
	w->even_at = 0;
}

static void check_even(struct world *w)
{
	const struct px_pool *p = px_engine_pool(w->e);
	uint32_t least = UINT32_MAX, most = 0;

	w->even_at = 0;
	if (w->r->faults != w->even_faults)
		return;
	w->r->deaths++;
	/* users of one that is dead, and users nobody follows: a stream may just be reopened, not more */
	uint32_t stranded = 0, unfollowed = 0;
	for (uint32_t u = 0; u < w->c.users; u++) {
		struct px_user_view v;
		if (!px_engine_user(w->e, u, &v))
			continue;
		stranded += v.gateway == PX_NO_GATEWAY || w->cas[v.gateway].state != CAS_UP;
		unfollowed += v.watch != PX_WATCH_FOLLOWED;
	}
	if (stranded || unfollowed > 400)
		complain(w, &w->r->violations,
		         "a minute after a CAS died %u users are still there, %u are not followed",
		         stranded, unfollowed);
	/* one that healed earlier starts with nobody, and takes nobody back */
	for (unsigned g = 0; g < p->n; g++) {
		if (w->cas[g].state != CAS_UP || w->cas[g].died)
			continue;
		least = p->gateway[g].users < least ? p->gateway[g].users : least;
		most = p->gateway[g].users > most ? p->gateway[g].users : most;
	}
	if (least != UINT32_MAX && (most - least) * 100 > w->c.users)
		complain(w, &w->r->uneven, "survivors have %u to %u users", least, most);
}

static void check_herd(struct world *w)
{
	unsigned most = 0, last = 0;
	uint64_t sum = 0;

	for (unsigned s = 0; s < 400; s++) {
		sum += w->per_second[s];
		most = w->per_second[s] > most ? w->per_second[s] : most;
		if (w->per_second[s])
			last = s;
	}
	unsigned first = 0;
	while (first < last && !w->per_second[first])
		first++;
	/* a user whose turn was disturbed may come much later: the recovery is over when nineteen
	 * in twenty are there */
	uint64_t most_of = sum * 19 / 20;
	sum = 0;
	for (last = first; last < 399 && sum + w->per_second[last] < most_of; last++)
		sum += w->per_second[last];
	sum += w->per_second[last];
	uint64_t mean = sum / (last - first + 1) + 1;
	trace(w, "recovery: %llu Subscribes in %u s, mean %llu, most %u", (unsigned long long)sum,
	      last - first + 1, (unsigned long long)mean, most);
	if (most > 2 * mean)
		complain(w, &w->r->herds, "a second with %u Subscribes, mean %llu", most,
		         (unsigned long long)mean);
	w->recovering = false;
}

/* ---- the run ---- */

static void carry_out(struct world *w)
{
	size_t n;
	struct px_action *a = px_engine_actions(w->e, &n);

	for (size_t i = 0; i < n; i++) {
		switch (a[i].kind) {
		case PX_DO_HTTP_START: {
			size_t slot = (uint32_t)a[i].http.id;
			while (slot >= w->https) {
				w->http = realloc(w->http, (w->https + 64) * sizeof *w->http);
				if (!w->http)
					abort();
				memset(w->http + w->https, 0, 64 * sizeof *w->http);
				w->https += 64;
			}
			w->http[slot] = (struct http){.id = a[i].http.id,
			                              .cas = (unsigned)a[i].http.gateway,
			                              .ask = a[i].http.ask,
			                              .body = a[i].http.wire.body.data};
			char anchor[256];
			if (sscanf(a[i].http.wire.head.data, "Anchor: %255s", anchor) == 1)
				w->http[slot].routed = mailbox_user(anchor);
			a[i].http.wire.body.data = NULL;
			a[i].http.wire.body.len = 0;
			w->r->http++;
			struct cas *c = &w->cas[w->http[slot].cas];
			if (a[i].http.ask != PX_ASK_STREAM && ++c->in_flight > 8 + 1)
				complain(w, &w->r->over_concurrency,
				         "%u requests in flight at cas %d", c->in_flight,
				         a[i].http.gateway);
			if (a[i].http.ask == PX_ASK_SUBSCRIBE && w->recovering &&
			    w->mono >= w->recovery_from && w->mono < w->recovery_from + 400 * S)
				w->per_second[(w->mono - w->recovery_from) / S]++;
			later(w, w->mono + between(w, 1, 5), W_HTTP_ARRIVES, a[i].http.id, 0, NULL);
			break;
		}
		case PX_DO_HTTP_CANCEL: {
			struct http *h = http_of(w, a[i].http_cancel);
			if (h)
				http_close(w, h);
			break;
		}
		case PX_DO_SIP_START:
			sip_arrives(w, &a[i]);
			break;
		case PX_DO_LOG:
			trace(w, "log %s", a[i].log.text);
			break;
		case PX_DO_SIP_MESSAGE:
		case PX_DO_BOARD_PUT:
		case PX_DO_GATEWAY_GONE:
		case PX_DO_BOARD_DROP:
			break;
		}
	}
	px_engine_actions_clear(w->e);
}

static void handle(struct world *w, struct event *ev)
{
	char text[32];

	switch (ev->what) {
	case W_BOUNDARY:
		if (w->person[ev->b].boundary_no != ev->a)
			break;
		w->r->boundaries++;
		compare(w, ev->b, 1200); /* P1, and the way there */
		plan_boundary(w, ev->b);
		break;
	case W_CHANGE:
		change(w, ev->b);
		break;
	case W_HTTP_ARRIVES:
		http_arrives(w, ev->a);
		break;
	case W_HTTP_ANSWER:
		answer(w, ev->a);
		break;
	case W_HTTP_LOST:
		http_done(w, ev->a, ev->b ? PX_HTTP_CUT : PX_HTTP_TIMEOUT, 0);
		break;
	case W_HEARTBEAT: {
		struct http *h = http_of(w, ev->a);
		if (!h)
			break;
		if (w->cas[h->cas].state != CAS_HANGS)
			say(w, ev->a, "A\n");
		later(w, w->mono + HEARTBEAT, W_HEARTBEAT, ev->a, 0, NULL);
		break;
	}
	case W_STREAM_END: {
		struct http *h = http_of(w, ev->a);
		if (!h || w->cas[h->cas].state == CAS_HANGS)
			break;
		say(w, ev->a, "Z\n");
		http_done(w, ev->a, PX_HTTP_ANSWERED, 200);
		break;
	}
	case W_EVENT:
		subscribers_hear(w, ev->b);
		break;
	case W_SIP_DONE: {
		struct px_sip_answer *a = ev->p;
		snprintf(text, sizeof text, "%llx", (unsigned long long)(uintptr_t)a->etag);
		if (a->etag)
			a->etag = text;
		w->person[ev->b].in_flight = false;
		px_engine_sip_done(w->e, ev->a, a, now(w));
		free(a);
		break;
	}
	case W_FAULT:
		fault(w, (enum fault)ev->a);
		break;
	case W_HEAL:
		heal(w, ev->a);
		break;
	case W_STEP:
		break;
	}
}

/* Runs until mono reaches `until`. */
static void run(struct world *w, int64_t until)
{
	int64_t checked = 0;

	for (;;) {
		int64_t due = px_engine_due(w->e, now(w)).ms;
		int64_t at = w->heap_n && w->heap[0].at < due ? w->heap[0].at : due;
		if (at > until)
			break;
		if (at > w->mono)
			w->mono = at;
		while (w->heap_n && w->heap[0].at <= w->mono) {
			struct event ev = next(w);
			handle(w, &ev);
		}
		px_engine_tick(w->e, now(w));
		px_engine_pump(w->e, now(w));
		carry_out(w);
		w->r->steps++;
		if (w->mono - checked >= 100) {
			checked = w->mono;
			check(w);
			if (w->even_at && w->mono >= w->even_at)
				check_even(w);
			if (w->recovering && w->mono >= w->recovery_from + 300 * S)
				check_herd(w);
		}
	}
	w->mono = until;
}

static void change_rate(struct world *w, int64_t until)
{
	double all = w->c.changes_per_user_day * w->c.users * (double)until / (double)DAY;

	for (uint64_t i = 0; i < (uint64_t)all; i++)
		later(w, between(w, 10 * MIN, until), W_CHANGE, 0, (uint32_t)(rnd(w) % w->c.users),
		      NULL);
}

int sim_run(const struct sim_config *c, struct sim_report *out)
{
	struct world *w = calloc(1, sizeof *w);
	const char **name = calloc(c->gateways, sizeof *name);
	unsigned *concurrency = calloc(c->gateways, sizeof *concurrency);
	char *names = calloc(c->gateways, 16);
	int64_t end = (int64_t)(c->days * (double)DAY);

	*out = (struct sim_report){0};
	if (!w || !name || !concurrency || !names)
		abort();
	w->c = *c;
	w->r = out;
	w->rng = c->seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	w->mono = 1000;
	w->offset = EPOCH / HOUR * HOUR;
	w->etags = 0x1000;
	w->person = calloc(c->users, sizeof *w->person);
	w->wrong = calloc(c->users, sizeof *w->wrong);
	w->cas = calloc(c->gateways, sizeof *w->cas);
	w->anchors = calloc(c->users, sizeof *w->anchors);
	for (unsigned g = 0; g < c->gateways; g++) {
		snprintf(names + 16 * g, 16, "cas%u", g);
		name[g] = names + 16 * g;
		concurrency[g] = 8;
	}
	for (uint32_t u = 0; u < c->users; u++) {
		for (int64_t d = -1; d <= (int64_t)c->days + 1; d++)
			for (int64_t k = between(w, 2, 5); k > 0; k--)
				add_meeting(w, u,
				            w->mono + w->offset + d * DAY +
				                between(w, 0, 95) * 15 * MIN,
				            between(w, 1, 8) * 15 * MIN);
		plan_boundary(w, u);
	}
	const struct px_engine_config ec = {
	    .backend = &fake_backend,
	    .map = px_map_default,
	    .gateways = c->gateways,
	    .gateway_name = name,
	    .gateway_concurrency = concurrency,
	    .kinds = PX_KIND_BIT(c->no_subscriptions ? PX_KIND_NONE : PX_KIND_STREAM),
	    .horizon_s = 172800,
	    .resync_s = 3600,
	    .stale_after_s = 3600,
	    .publish_expires = 3600,
	    .publish_window = 200,
	    .presence_servers = 1,
	    .users_max = c->users,
	    .log_level = c->trace ? PX_LOG_DEBUG : PX_LOG_ERROR,
	    .seed = c->seed};
	w->e = px_engine_new(&ec, now(w));
	if (!w->e)
		abort();
	/* 10 s, and the pace, until everybody is there */
	w->excused = w->mono + 10 * S + (int64_t)c->users;
	for (uint32_t u = 0; u < c->users; u++) {
		char key[64];
		snprintf(key, sizeof key, "u%u@example.test", u);
		if (px_engine_user_put(w->e, key, key, true, now(w)) != u)
			complain(w, &out->violations, "user %u has another id", u);
		compare(w, u, 1200);
	}
	change_rate(w, end);
	for (enum fault f = 0; f < FAULTS; f++)
		plan_fault(w, f);
	run(w, end);

	/* heal everything, wait, and nobody may be lost */
	w->c.lost_answers = 0;
	for (size_t i = 0; i < w->heap_n; i++)
		if (w->heap[i].what == W_FAULT || w->heap[i].what == W_HEAL)
			w->heap[i].what = W_STEP;
	for (unsigned g = 0; g < c->gateways; g++)
		w->cas[g].state = CAS_UP;
	w->esc = ESC_UP;
	run(w, end + 12 * MIN);
	/* a stream that is just being reopened has its users back within seconds */
	bool *once = calloc(c->users, sizeof *once);
	enum px_watch_state want = c->no_subscriptions ? PX_WATCH_SWEPT : PX_WATCH_FOLLOWED;
	if (!once)
		abort();
	for (int look = 0; look < 2; look++) {
		for (uint32_t u = 0; u < c->users; u++) {
			struct px_user_view v;
			bool lost = !px_engine_user(w->e, u, &v) || v.watch != want;
			if (look && lost && once[u])
				complain(w, &out->not_followed, "user %u is %s at the end", u,
				         px_watch_state_name(v.watch));
			once[u] = lost;
			if (look && oracle(w, u) != seen(w, u) && !w->person[u].wrong_since)
				complain(w, &out->not_right,
				         "user %u shows %s, should be %s at the end", u,
				         px_presence_name(seen(w, u)),
				         px_presence_name(oracle(w, u)));
		}
		run(w, w->mono + 20 * S);
	}
	free(once);
	struct px_engine_counts counts = px_engine_counts(w->e);
	out->reads = counts.reads;
	out->subscribes = counts.subscribes;

	px_engine_free(w->e);
	while (w->heap_n) {
		struct event ev = next(w);
		free(ev.what == W_SIP_DONE ? ev.p : NULL);
	}
	for (size_t i = 0; i < w->https; i++)
		free(w->http[i].body);
	free(w->heap);
	free(w->http);
	free(w->sub);
	free(w->person);
	free(w->wrong);
	free(w->cas);
	free(w->anchors);
	free(w);
	free(name);
	free(names);
	free(concurrency);
	return 0;
}
