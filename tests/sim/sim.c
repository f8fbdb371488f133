/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim_in.h"

#define EPOCH 1764000000000LL /* some wall time to start at */
#define HEARTBEAT FAKE_HEARTBEAT_MS
#define CHANGE_MS 2500        /* P2, and the way there */
#define THROTTLED_MS (76 * S) /* after its end: the longest pause, and the way back */
#define RESYNC_MS (3600 * S)
#define STALE_MS (3600 * S)
/* between two sweeps, at the most: before it would be stale, and the batch waits for company */
#define SWEEP_MS (RESYNC_MS * 3 / 4 * 31 / 30 + 10 * S)

static const struct exchange *exchange(const struct world *w)
{
	return w->c.webdav ? &sim_dav : &sim_ews;
}

uint64_t sim_rnd(struct world *w)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return w->rng;
}

int64_t sim_between(struct world *w, int64_t from, int64_t to)
{
	return from + (int64_t)(sim_rnd(w) % (uint64_t)(to - from + 1));
}

bool sim_chance(struct world *w, double p)
{
	return p > 0 && (double)(sim_rnd(w) >> 11) / 9007199254740992.0 < p;
}

struct px_now sim_now(const struct world *w)
{
	return (struct px_now){{w->mono}, {w->mono + w->offset}};
}

void sim_trace(struct world *w, const char *fmt, ...)
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

void sim_complain(struct world *w, uint64_t *counter, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	sim_trace(w, "COMPLAINT %s", text);
	if (!w->r->first[0])
		snprintf(w->r->first, sizeof w->r->first, "at %.3f s: %s", (double)w->mono / 1000,
		         text);
	++*counter;
}

static bool before(const struct event *a, const struct event *b)
{
	return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

void sim_later(struct world *w, int64_t at, enum what what, uint64_t a, uint32_t b, void *p)
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

/*
 * Is what watchers see as it should be, as far as that can be asked? Who hasn't been able to read a calendar for an hour
 * shows nothing any more (stale_after); who wasn't followed then was read some time before.
 */
static bool fits(const struct world *w, uint32_t u)
{
	const struct person *p = &w->person[u];
	const enum px_presence is = seen(w, u);

	if (is == oracle(w, u))
		return true;
	return is == PX_UNKNOWN && p->blind > w->mono &&
	       w->mono - p->blind_since >= STALE_MS - (p->vouched ? S : SWEEP_MS);
}

/* Something happened to this user: is what watchers see still right, and if not, how long may that
 * be so? */
static void compare(struct world *w, uint32_t u, int64_t allowance)
{
	struct person *p = &w->person[u];

	if (fits(w, u)) {
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

static void judge(struct world *w, uint32_t u, int64_t until)
{
	const struct person *p = &w->person[u];

	if (p->excused > w->mono || w->excused > w->mono)
		w->r->pardoned_shown++;
	else if (until > w->mono)
		w->r->pardoned_read++;
	else
		w->r->judged++;
}

static void excuse(int64_t *until, int64_t at)
{
	if (*until < at)
		*until = at;
}

void sim_excuse_shown(struct world *w, uint32_t u, int64_t until)
{
	excuse(&w->person[u].excused, until);
}

void sim_excuse_read(struct world *w, uint32_t u, int64_t until)
{
	struct person *p = &w->person[u];

	struct px_user_view v;

	if (p->blind <= w->mono) {
		p->blind_since = w->mono;
		p->vouched = px_engine_user(w->e, u, &v) && v.watch == PX_WATCH_FOLLOWED;
	}
	excuse(&p->blind, until);
	if (p->unread > w->mono)
		excuse(&p->unread, until);
}

void sim_excuse_read_all(struct world *w, int64_t until)
{
	for (uint32_t u = 0; u < w->c.users; u++)
		sim_excuse_read(w, u, until);
}

static void check(struct world *w)
{
	for (size_t i = 0; i < w->wrongs;) {
		uint32_t u = w->wrong[i];
		struct person *p = &w->person[u];
		if (p->wrong_since && fits(w, u))
			p->wrong_since = 0;
		if (!p->wrong_since) {
			p->listed = false;
			w->wrong[i] = w->wrong[--w->wrongs];
			continue;
		}
		int64_t from = p->wrong_since;
		excuse(&from, p->excused);
		excuse(&from, w->excused);
		excuse(&from, p->unread);
		int64_t wrong = w->mono - from, allowed = p->allowance;
		/* as long as a change may take: it has to be read, after whatever excused it */
		if (from > p->wrong_since && allowed < CHANGE_MS)
			allowed = CHANGE_MS;
		if (wrong > 0 && (uint64_t)wrong > w->r->wrong_ms_max)
			w->r->wrong_ms_max = (uint64_t)wrong;
		if (wrong > allowed) {
			struct px_user_view v;
			px_engine_user(w->e, u, &v);
			sim_complain(w, &w->r->violations,
			             "user %u shows %s, should be %s, for %lld ms (allowed %lld); "
			             "watch %s gateway %d kind %d pub %d dirty %d",
			             u, px_presence_name(seen(w, u)),
			             px_presence_name(oracle(w, u)), (long long)wrong,
			             (long long)allowed, px_watch_state_name(v.watch), v.gateway,
			             v.kind, v.publication->state, v.dirty);
			excuse(&p->excused, w->mono + HOUR); /* once is enough */
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
		    (struct meeting){start, start + length, kind[sim_rnd(w) % sizeof kind]};
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
		sim_later(w, best - w->offset, W_BOUNDARY, p->boundary_no, u, NULL);
}

int64_t sim_change_allowance(const struct world *w, uint32_t u)
{
	const struct px_pool *pool = px_engine_pool(w->e);
	struct px_user_view v;

	if (!px_engine_user(w->e, u, &v) || v.gateway == PX_NO_GATEWAY)
		return CHANGE_MS;
	const struct px_gateway *g = &pool->gateway[v.gateway];
	const enum px_kind kind = v.subscription ? v.kind : (enum px_kind)g->kind;
	if (kind == PX_KIND_NONE)
		return SWEEP_MS;
	if (kind != PX_KIND_PULL || w->c.webdav)
		return CHANGE_MS;
	/* 20 polls a second at a gateway */
	int64_t every = (int64_t)g->users * 50;
	every = every < 15 * S ? 15 * S : every > 5 * MIN ? 5 * MIN : every;
	return every * 9 / 8 + 3 * S;
}

static void tell_subscribers(struct world *w, uint32_t u)
{
	sim_later(w, w->mono + sim_between(w, 5, 200), W_EVENT, 0, u, NULL);
}

static void change(struct world *w, uint32_t u)
{
	struct person *p = &w->person[u];
	int64_t t = w->mono + w->offset;

	w->r->changes++;
	switch (sim_rnd(w) % 3) {
	case 0: /* one that begins about now */
		add_meeting(w, u, (t / MIN + sim_between(w, -20, 40)) * MIN,
		            sim_between(w, 5, 90) * MIN);
		break;
	case 1:
		if (p->meetings) {
			struct meeting *m = &p->meeting[sim_rnd(w) % p->meetings];
			int64_t length = m->end - m->start;
			m->start = (t / MIN + sim_between(w, -30, 120)) * MIN;
			m->end = m->start + length;
		}
		break;
	default:
		if (p->meetings)
			p->meeting[sim_rnd(w) % p->meetings] = p->meeting[p->meetings - 1],
			                        p->meetings--;
	}
	judge(w, u, p->blind);
	excuse(&p->unread, w->mono + sim_change_allowance(w, u)); /* P2, and the way there */
	excuse(&p->unread, p->blind);
	plan_boundary(w, u);
	tell_subscribers(w, u);
	compare(w, u, 0);
}

/* ---- requests ---- */

struct http *sim_http(struct world *w, uint64_t id)
{
	size_t slot = (uint32_t)id;

	return slot < w->https && w->http[slot].id == id ? &w->http[slot] : NULL;
}

static void http_close(struct world *w, struct http *h)
{
	if (h->ask != PX_ASK_STREAM)
		w->cas[h->cas].in_flight--;
	if (h->open)
		w->anchors[h->anchor]--;
	for (unsigned i = 0; i < h->members; i++)
		if (w->sub[h->member[i]].http == (uint32_t)h->id + 1)
			w->sub[h->member[i]].http = 0;
	free(h->target);
	free(h->head);
	free(h->body);
	free(h->member);
	*h = (struct http){0};
}

void sim_http_done(struct world *w, uint64_t id, const struct px_http_answer *a)
{
	struct http *h = sim_http(w, id);

	if (!h)
		return;
	http_close(w, h);
	px_engine_http_done(w->e, id, a, sim_now(w));
}

void sim_http_fails(struct world *w, uint64_t id, enum px_http_fail fail)
{
	const struct px_http_answer a = {.fail = fail, .retry_after_ms = -1};

	sim_http_done(w, id, &a);
}

void sim_http_status(struct world *w, uint64_t id, int status)
{
	const struct px_http_answer a = {.fail = PX_HTTP_ANSWERED,
	                                 .status = status,
	                                 .asks_login = status == 401,
	                                 .retry_after_ms = -1};

	sim_http_done(w, id, &a);
}

void sim_say(struct world *w, uint64_t id, const char *text)
{
	px_engine_http_data(w->e, id, text, strlen(text), sim_now(w));
}

uint32_t sim_user(const char *mailbox)
{
	return (uint32_t)strtoul(mailbox + 1, NULL, 10);
}

/* ---- subscriptions ---- */

bool sim_alive(const struct world *w, const struct sub *sub)
{
	return sub->alive && sub->epoch == w->cas[sub->cas].epoch;
}

size_t sim_subscribe(struct world *w, uint32_t user, unsigned cas, enum px_kind kind)
{
	struct person *p = &w->person[user];

	if (w->subs == w->subs_cap) {
		w->subs_cap = w->subs_cap ? 2 * w->subs_cap : 1024;
		w->sub = realloc(w->sub, w->subs_cap * sizeof *w->sub);
		if (!w->sub)
			abort();
	}
	w->sub[w->subs] = (struct sub){
	    .user = user, .cas = cas, .epoch = w->cas[cas].epoch, .kind = kind, .alive = true};
	p->sub[p->subs++ % SUBS] = (uint32_t)w->subs;
	return w->subs++;
}

/* ---- what faults may cost ---- */

/* A gateway as a whole is in trouble: what was being looked at before says nothing any more. */
static void disturb(struct world *w)
{
	w->disturbed++;
	w->recovering = false; /* nothing of its pace */
	w->back_at = 0;
}

static unsigned healthy(const struct world *w)
{
	unsigned n = 0;

	for (unsigned g = 0; g < w->c.gateways; g++)
		n += w->cas[g].state == CAS_UP;
	return n;
}

/* How long the recovery of everybody may take: 60 s and the pace for all (P5); over WebDAV each is asked about alone, twice. */
int64_t sim_recovery(const struct world *w)
{
	return 60 * S + (int64_t)w->c.users * (w->c.webdav ? 20 : 2);
}

/* Who may not be served everywhere has to look for somebody who does: each gateway in turn, and there may be PX_WATCH_RETRY_MAX between two
 * tries. */
static int64_t search(const struct world *w, uint32_t u)
{
	return w->person[u].serves ? (w->c.gateways + 1) * (PX_WATCH_RETRY_MAX + S) : 0;
}

/* Who goes elsewhere may be led to a server that lets nobody in for now, or asked for a pause: until, or when that is over. */
static int64_t let_in(const struct world *w, int64_t until)
{
	const struct px_pool *pool = px_engine_pool(w->e);

	for (unsigned g = 0; g < w->c.gateways; g++) {
		if (w->cas[g].state == CAS_BUSY)
			excuse(&until, w->cas[g].heals_at + THROTTLED_MS);
		if (pool->gateway[g].paused_until.ms > w->mono)
			excuse(&until, pool->gateway[g].paused_until.ms + 61 * S);
	}
	return until;
}

/* Whose only servers are dead. */
static void excuse_unserved(struct world *w)
{
	for (uint32_t u = 0; u < w->c.users; u++) {
		int64_t first = INT64_MAX;

		for (unsigned g = 0; g < w->c.gateways && w->person[u].serves; g++)
			if (w->person[u].serves >> g & 1)
				first = w->cas[g].state == CAS_UP    ? 0
				        : w->cas[g].heals_at < first ? w->cas[g].heals_at
				                                     : first;
		if (w->person[u].serves && first)
			sim_excuse_read(w, u, first + 33 * S + search(w, u));
	}
}

void sim_excuse_users_of(struct world *w, unsigned cas, int64_t until)
{
	struct px_user_view v;

	for (uint32_t u = 0; u < w->c.users; u++)
		if (px_engine_user(w->e, u, &v) && v.gateway == (int)cas)
			sim_excuse_read(w, u, until + search(w, u));
}

static void excuse_behind(struct world *w, unsigned cas, int64_t until)
{
	struct px_user_view v;

	for (uint32_t u = 0; u < w->c.users; u++)
		if (px_engine_user(w->e, u, &v) && v.gateway == (int)cas && v.dirty)
			sim_excuse_read(w, u, until);
}

/* Who is in trouble already is in more of it: the waits between attempts grow. */
static void excuse_user(struct world *w, uint32_t u, int64_t until)
{
	const struct person *p = &w->person[u];
	const int64_t more = p->blind > w->mono ? 75 * S : 0;

	sim_excuse_read(w, u, until + more + search(w, u));
}

static void may_park(struct world *w, uint32_t u, int64_t until)
{
	excuse(&w->person[u].parkable, until);
	excuse_user(w, u, until);
}

static void count_user(struct world *w, uint32_t u, int64_t until)
{
	(void)u;
	(void)until;
	w->counted++;
}

void sim_excuse_verdict(struct world *w, const struct http *h, enum px_verdict v)
{
	const int64_t soon = w->mono + 75 * S, hour = w->mono + HOUR + 3 * MIN;
	const struct exchange *x = exchange(w);

	if (v == PX_V_SERVER || v == PX_V_DENIED || v == PX_V_VERSION || v == PX_V_KIND)
		disturb(w);
	w->counted = 0;
	x->about(w, h, count_user, 0);
	x->about(w, h, excuse_user, soon);
	switch (v) {
	case PX_V_SERVER: /* its users, all of them perhaps, go elsewhere; if they can't, everybody comes back */
		sim_excuse_users_of(w, h->cas, let_in(w, w->mono + 15 * S + sim_recovery(w)));
		w->cas[h->cas].died = true;
		if (healthy(w) <= 1)
			sim_excuse_read_all(w, w->mono + 5 * S + sim_recovery(w));
		break;
	case PX_V_DENIED: /* nothing is sent while it is looked into; for 5 min if that is refused, too */
		sim_excuse_users_of(w, h->cas, w->mono + 15 * S + sim_recovery(w));
		w->cas[h->cas].died = true;
		sim_excuse_read_all(
		    w, w->mono + (h->ask == PX_ASK_PROBE ? 6 * MIN + sim_recovery(w) : 20 * S));
		break;
	case PX_V_VERSION:
		if (w->c.versions)
			sim_excuse_users_of(w, h->cas, w->mono + 2 * MIN);
		break;
	case PX_V_KIND:
		if (h->ask == PX_ASK_SUBSCRIBE || h->ask == PX_ASK_STREAM)
			sim_excuse_users_of(w, h->cas, w->mono + 2 * MIN);
		break;
	case PX_V_USER:
	case PX_V_UNREADABLE:
	case PX_V_WIDE: /* who is asked about alone is parked */
		if (w->counted <= 2 && h->ask != PX_ASK_STREAM)
			x->about(w, h, may_park, hour);
		/* for a day what was published is read instead, which isn't as exact */
		if (w->c.webdav && h->ask == PX_ASK_READ_ONE && v == PX_V_UNREADABLE)
			x->about(w, h, sim_excuse_shown, w->mono + DAY + 2 * HOUR);
		break;
	default:
		break;
	}
}

/* ---- requests arrive ---- */

/* One of all the codes that the product knows: it must cost no more than its row says. */
static void odd_answer(struct world *w, struct http *h)
{
	static const int64_t wishes[] = {0, 0, 100, 5 * S, 60 * S, 297749};
	const size_t row = sim_rnd(w) % w->rows;
	const char *code = w->table[row].code;
	const enum px_verdict v = exchange(w)->verdict(h, code);
	const unsigned g = h->cas;
	const bool probe = h->ask == PX_ASK_PROBE;
	const uint64_t id = h->id;
	int64_t wish = 0;

	if (v == PX_V_BUSY)
		wish = wishes[sim_rnd(w) % (sizeof wishes / sizeof *wishes)];
	sim_trace(w, "cas %u answers %s to %s (%s)", g, code, px_ask_name(h->ask),
	          px_verdict_name(v));
	w->r->faults++;
	w->r->coded++;
	w->r->codes_seen += !w->code_seen[row];
	w->code_seen[row] = true;
	sim_excuse_verdict(w, h, v);
	exchange(w)->refuse(w, id, code, wish);
	if (v != PX_V_BUSY || probe)
		return;
	/* never below what we take for the least, never above what can be meant */
	const int64_t least = wish < S ? S : wish > 5 * MIN ? 5 * MIN : wish;
	excuse(&w->cas[g].quiet_until, w->mono + least);
	w->cas[g].quiet_from = w->mono;
	sim_excuse_users_of(w, g, px_engine_pool(w->e)->gateway[g].paused_until.ms + MIN);
}

static void http_arrives(struct world *w, uint64_t id)
{
	struct http *h = sim_http(w, id);

	if (!h)
		return;
	switch (w->cas[h->cas].state) {
	case CAS_REFUSES:
		sim_http_fails(w, id, PX_HTTP_CONNECT);
		return;
	case CAS_HANGS:
		if (h->ask != PX_ASK_STREAM)
			sim_later(w, w->mono + (h->ask == PX_ASK_PROBE ? 10 : 30) * S, W_HTTP_LOST,
			          id, 0, NULL);
		return;
	case CAS_BUSY:
		sim_http_status(w, id, 503);
		return;
	case CAS_DENIES:
		/* what was under way when the first came is refused, too; then it is asked again once, and once elsewhere; then once each five
		 * minutes */
		if (!w->denied_first)
			w->denied_first = w->mono;
		if (h->started <= w->denied_first)
			;
		else if (++w->denials > 2 && h->started - w->denied_last < 300 * S)
			sim_complain(w, &w->r->logins_over, "logins refused %lld ms apart",
			             (long long)(h->started - w->denied_last));
		if (h->started > w->denied_first)
			w->denied_last = w->mono;
		sim_http_status(w, id, 401);
		return;
	case CAS_UP:
		break;
	}
	if (sim_chance(w, w->c.lost_answers)) {
		sim_trace(w, "lost http ask=%d cas=%u", h->ask, h->cas);
		w->r->faults++;
		bool cut = sim_rnd(w) % 2;
		/* 30 s until it is given up, and then a reading or two; a stream has 30 s too, or
		 * 10 */
		exchange(w)->about(w, h, excuse_user, w->mono + (cut ? 0 : 30 * S) + 15 * S);
		if (h->ask == PX_ASK_READ_ONE &&
		    !cut) /* few go at a time, who waits behind it waits as long */
			excuse_behind(w, h->cas, w->mono + 45 * S);
		if (h->ask != PX_ASK_STREAM || cut)
			sim_later(w, w->mono + (cut ? 10 : 30 * S), W_HTTP_LOST, id, cut, NULL);
		return;
	}
	if (sim_chance(w, w->c.codes)) {
		odd_answer(w, h);
		return;
	}
	sim_later(w, w->mono + sim_between(w, 2, 30), W_HTTP_ANSWER, id, 0, NULL);
}

static void cut_streams(struct world *w, unsigned cas)
{
	for (size_t i = 0; i < w->https; i++)
		if (w->http[i].id && w->http[i].cas == cas && w->http[i].open)
			sim_http_fails(w, w->http[i].id, PX_HTTP_CUT);
}

/* ---- presence server ---- */

static void sip_arrives(struct world *w, struct px_action *a)
{
	uint32_t u = sim_user(a->sip.key);
	struct person *p = &w->person[u];
	struct px_sip_answer *answer = calloc(1, sizeof *answer);

	if (!answer)
		abort();
	*answer = (struct px_sip_answer){.expires = -1, .min_expires = -1, .retry_after = -1};
	if (p->in_flight)
		sim_complain(w, &w->r->in_flight_doubles, "two PUBLISHes of user %u at once", u);
	p->in_flight = true;
	w->r->published++;
	int64_t done = w->mono + sim_between(w, 1, 6);
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
				    a->sip.op == PX_OP_CLEAR                 ? PX_UNKNOWN
				    : strstr(a->sip.body.data, "<rpid:busy") ? PX_PRESENCE_BUSY
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
		if (sim_chance(w, w->c.lost_answers)) {
			sim_trace(w, "lost sip user=%u op=%d", u, a->sip.op);
			w->r->faults++;
			answer->fail = PX_SIP_TIMEOUT;
			answer->status = 0;
			answer->etag = NULL;
			done = w->mono + a->sip.timeout_ms;
			sim_excuse_shown(w, u, done + 5 * S);
		}
	}
	compare(w, u, CHANGE_MS);
	sim_later(w, done, W_SIP_DONE, a->sip.id, u, answer);
}

/* ---- faults ---- */

enum fault {
	F_CAS,
	F_POOL,
	F_CUT,
	F_DROP,
	F_CLOCK,
	F_ESC,
	F_FORGET,
	F_THROTTLE,
	F_DENIED,
	F_FORGED,
	F_DEAF,
	F_KIND,
	F_MOVE,
	F_GAP,
	F_SESSION,
	FAULTS,
	F_POOL_ONCE
};

static double per_day(const struct world *w, enum fault f)
{
	const struct sim_config *c = &w->c;
	const double of[FAULTS] = {
	    [F_CAS] = c->cas_dies_per_day,       [F_POOL] = c->pool_dies_per_day,
	    [F_CUT] = c->stream_cuts_per_day,    [F_DROP] = c->drops_per_day,
	    [F_CLOCK] = c->clock_steps_per_day,  [F_ESC] = c->esc_dies_per_day,
	    [F_FORGET] = c->esc_forgets_per_day, [F_THROTTLE] = c->throttle_per_day,
	    [F_DENIED] = c->denied_per_day,      [F_FORGED] = c->forged_per_day,
	    [F_DEAF] = c->deaf_per_day,          [F_KIND] = c->kinds_break_per_day,
	    [F_MOVE] = c->moves_per_day,         [F_GAP] = c->gaps_per_day,
	    [F_SESSION] = c->sessions_per_day};
	return of[f];
}

static void plan_fault(struct world *w, enum fault f)
{
	double rate = per_day(w, f);

	/* an hour at least before the first: the population must be there */
	if (rate > 0)
		sim_later(w,
		          w->mono + (int64_t)((double)DAY / rate *
		                              (0.5 + (double)(sim_rnd(w) % 1000) / 1000.0)),
		          W_FAULT, f, 0, NULL);
}

static void kill_cas(struct world *w, unsigned g, bool hang, int64_t for_ms)
{
	/* a stream tells at once; where there is none, whoever is quiet is asked each 45 s */
	const bool streams = px_engine_pool(w->e)->gateway[g].kind == PX_KIND_STREAM;
	int64_t noticed = w->mono + (hang ? 100 * S : streams ? 0 : 48 * S);

	sim_trace(w, "cas %u %s", g, hang ? "hangs" : "refuses");
	w->cas[g].state = hang ? CAS_HANGS : CAS_REFUSES;
	w->cas[g].died = true;
	w->cas[g].down_at = w->mono;
	/* P3, P4, and what the last of them asks is answered and published; later where nobody is let in meanwhile */
	const int64_t right = let_in(w, noticed + 61 * S);
	sim_excuse_users_of(w, g, right);
	if (!hang) {
		w->cas[g].epoch++;
		cut_streams(w, g);
	}
	w->cas[g].heals_at = w->mono + for_ms;
	excuse_unserved(w);
	sim_later(w, w->cas[g].heals_at, W_HEAL, g, 0, NULL);
	w->even_at = noticed + 60 * S;
	w->even_disturbed = w->disturbed;
	if (healthy(w) == 0)
		sim_excuse_read_all(w, w->mono + for_ms + 33 * S + sim_recovery(w));
}

static void kill_pool(struct world *w)
{
	for (unsigned g = 0; g < w->c.gateways; g++)
		if (w->cas[g].state == CAS_UP)
			kill_cas(w, g, false, 10 * MIN);
	w->recovering = true;
	w->recovery_from = w->mono + 10 * MIN;
	w->back_at = w->recovery_from + 33 * S + sim_recovery(w);
	memset(w->per_second, 0, sizeof w->per_second);
	w->even_at = 0;
}

/* The server doesn't know it any more, and says so at once if there is a stream to say it in. */
static void drop(struct world *w, uint32_t s)
{
	struct sub *sub = &w->sub[s];
	char text[64];

	if (!sim_alive(w, sub))
		return;
	sub->alive = false;
	/* what changes before it is said is read after the new subscription: what is pushed is missed after twice its time, what is
	 * polled at the next poll */
	excuse_user(w, sub->user,
	            w->mono + MIN +
	                (sub->kind == PX_KIND_PUSH   ? 2 * sub->minutes * MIN + 30 * S + MIN
	                 : sub->kind == PX_KIND_PULL ? 6 * MIN
	                                             : 0));
	if (sub->http) {
		snprintf(text, sizeof text, "G s%u\n", s);
		sim_say(w, w->http[sub->http - 1].id, text);
	}
}

static void move_mailbox(struct world *w)
{
	const uint32_t u = (uint32_t)(sim_rnd(w) % w->c.users);
	struct person *p = &w->person[u];
	const uint32_t all = (1u << w->c.gateways) - 1;

	p->moving = w->mono + sim_between(w, 20 * S, 10 * MIN);
	p->serves = w->c.gateways > 1 ? (uint32_t)sim_rnd(w) & all : 0;
	if (p->serves)
		p->serves |= 1u << sim_rnd(w) % w->c.gateways;
	sim_trace(w, "mailbox %u moves to %x", u, p->serves);
	sim_excuse_read(w, u, p->moving + PX_WATCH_RETRY_MAX + search(w, u));
	excuse_unserved(w);
	for (unsigned i = 0; i < p->subs && i < SUBS; i++)
		drop(w, p->sub[i]);
}

static void break_kind(struct world *w, unsigned g)
{
	struct cas *cas = &w->cas[g];
	const unsigned can = w->c.kinds ? w->c.kinds : PX_KIND_BIT(PX_KIND_STREAM);
	const enum px_kind k = (enum px_kind)(sim_rnd(w) % PX_KIND_NONE);

	if (cas->state != CAS_UP || cas->broken || cas->mute || !(can & PX_KIND_BIT(k)))
		return;
	if (k == PX_KIND_STREAM && sim_rnd(w) % 2)
		cas->mute = true;
	else
		cas->broken = PX_KIND_BIT(k);
	sim_trace(w, "cas %u: %s doesn't work any more%s", g, px_kind_name(k),
	          cas->mute ? ", and nothing says so" : "");
	/* three streams without a word, a minute and a half; then everybody subscribes anew */
	sim_excuse_users_of(w, g, w->mono + 8 * MIN);
	if (k == PX_KIND_STREAM)
		cut_streams(w, g);
	sim_later(w, w->mono + sim_between(w, 10 * MIN, 2 * HOUR), W_HEAL, HEAL_KIND + g, 0, NULL);
}

static void fault(struct world *w, enum fault f)
{
	unsigned g = (unsigned)(sim_rnd(w) % w->c.gateways);

	w->r->faults++;
	if (f < FAULTS)
		plan_fault(w, f);
	if (f == F_CAS || f == F_THROTTLE || f == F_DENIED || f == F_KIND || f == F_SESSION)
		disturb(w);
	switch (f) {
	case F_CAS:
		if (w->cas[g].state == CAS_UP && healthy(w) > 1)
			kill_cas(w, g, sim_rnd(w) % 3 == 0, sim_between(w, 5 * MIN, 40 * MIN));
		break;
	case F_POOL:
	case F_POOL_ONCE:
		if (healthy(w) == w->c.gateways)
			kill_pool(w);
		break;
	case F_CUT:
		sim_trace(w, "streams of cas %u are cut", g);
		cut_streams(w, g);
		break;
	case F_DROP:
		if (w->subs)
			drop(w, (uint32_t)(sim_rnd(w) % w->subs));
		break;
	case F_CLOCK: {
		int64_t step = sim_between(w, -HOUR, HOUR);
		sim_trace(w, "clock steps by %lld ms", (long long)step);
		w->offset += step;
		excuse(&w->excused, w->mono + 3 * S);
		for (uint32_t u = 0; u < w->c.users; u++) {
			plan_boundary(w, u);
			/* of whom there is too much, half an hour back is known: the rest is read */
			if (!w->c.webdav && u % WIDE == 0)
				sim_excuse_shown(
				    w, u,
				    (w->person[u].blind > w->mono ? w->person[u].blind : w->mono) +
				        10 * S);
			compare(w, u, 1200);
		}
		px_engine_tick(w->e, sim_now(w)); /* the loop notices a step at once */
		break;
	}
	case F_ESC:
		if (w->esc == ESC_UP) {
			int64_t for_ms = sim_between(w, 20 * S, 90 * S);
			w->esc = sim_rnd(w) % 2 ? ESC_REFUSES : ESC_SILENT;
			sim_trace(w, "presence server %s for %lld ms",
			          w->esc == ESC_SILENT ? "silent" : "refuses", (long long)for_ms);
			/* P6: 5 s and the pace; what was sent into the silence just before the
			 * return is found out 8 s later */
			excuse(&w->excused,
			       w->mono + for_ms + 5 * S + 8 * S + (int64_t)w->c.users / 2);
			sim_later(w, w->mono + for_ms, W_HEAL, HEAL_ESC, 0, NULL);
		}
		break;
	case F_FORGET:
		sim_trace(w, "presence server restarts empty");
		for (uint32_t u = 0; u < w->c.users; u++)
			w->person[u].docs = 0;
		px_engine_sip_lost(w->e, sim_now(w));
		excuse(&w->excused, w->mono + 5 * S + (int64_t)w->c.users);
		for (uint32_t u = 0; u < w->c.users; u++)
			compare(w, u, 1200);
		break;
	case F_THROTTLE:
		if (w->cas[g].state == CAS_UP) {
			sim_trace(w, "cas %u throttles", g);
			w->cas[g].state = CAS_BUSY;
			w->cas[g].heals_at = w->mono + MIN;
			sim_excuse_users_of(w, g, w->cas[g].heals_at + THROTTLED_MS);
			sim_later(w, w->cas[g].heals_at, W_HEAL, g, 0, NULL);
		}
		break;
	case F_DENIED:
		if (healthy(w) == w->c.gateways) {
			sim_trace(w, "account refused");
			w->denied_first = w->denied_last = 0;
			w->denials = 0;
			for (g = 0; g < w->c.gateways; g++) {
				w->cas[g].state = CAS_DENIES;
				cut_streams(w, g);
				sim_later(w, w->mono + 20 * MIN, W_HEAL, g, 0, NULL);
			}
			sim_excuse_read_all(w, w->mono + 20 * MIN + 6 * MIN + sim_recovery(w));
		}
		break;
	case F_FORGED:
		exchange(w)->forge(w);
		break;
	case F_DEAF:
		if (!w->deaf) {
			w->deaf = true;
			sim_trace(w, "the listener can't be reached");
			sim_later(w, w->mono + sim_between(w, 2 * MIN, 30 * MIN), W_HEAL,
			          HEAL_LISTENER, 0, NULL);
		}
		break;
	case F_KIND:
		break_kind(w, g);
		break;
	case F_MOVE:
		move_mailbox(w);
		break;
	case F_GAP:
		sim_trace(w, "cas %u loses track of all events", g);
		exchange(w)->gap(w, g);
		break;
	case F_SESSION:
		sim_trace(w, "the session ends");
		w->session_over = true;
		/* everybody is told to go, and comes back */
		sim_excuse_read_all(w, w->mono + 5 * S + sim_recovery(w));
		break;
	case FAULTS:
		break;
	}
}

static void heal(struct world *w, uint64_t what)
{
	if (what == HEAL_ESC) {
		sim_trace(w, "presence server back");
		w->esc = ESC_UP;
		return;
	}
	if (what == HEAL_LISTENER) {
		sim_trace(w, "the listener is reached again");
		w->deaf = false;
		return;
	}
	if (what >= HEAL_KIND) {
		sim_trace(w, "cas %u: everything works", (unsigned)(what - HEAL_KIND));
		w->cas[what - HEAL_KIND].broken = 0;
		w->cas[what - HEAL_KIND].mute = false;
		return;
	}
	struct cas *cas = &w->cas[what];
	if (w->c.versions && (cas->state == CAS_REFUSES || cas->state == CAS_HANGS) &&
	    sim_rnd(w) % 2) {
		cas->version = (unsigned)(sim_rnd(w) % sim_ews.backend->versions);
		/* hung requests are the old one's; new probes find out */
		sim_excuse_users_of(w, (unsigned)what, w->mono + 2 * MIN);
	}
	sim_trace(w, "cas %u heals, version %u", (unsigned)what, cas->version);
	/* a request that hung there gets its end elsewhere */
	cas->state = CAS_UP;
	if (exchange(w)->heal)
		exchange(w)->heal(w, (unsigned)what);
	/* users are where they are: evenness was for the survivors */
	w->even_at = 0;
}

/* Is it looked after as well as can be there? */
static bool cared_for(const struct world *w, uint32_t u)
{
	struct px_user_view v;

	if (!px_engine_user(w->e, u, &v) || v.gateway == PX_NO_GATEWAY)
		return false;
	return v.watch == PX_WATCH_FOLLOWED ||
	       (v.watch == PX_WATCH_SWEPT &&
	        px_engine_pool(w->e)->gateway[v.gateway].kind == PX_KIND_NONE);
}

/* Its own trouble: a code about it alone said so. */
static bool rightly_parked(const struct world *w, uint32_t u)
{
	struct px_user_view v;

	return px_engine_user(w->e, u, &v) && v.watch == PX_WATCH_PARKED &&
	       w->person[u].parkable > w->mono;
}

static void check_parked(struct world *w)
{
	for (uint32_t u = 0; u < w->c.users; u++) {
		struct px_user_view v;

		if (px_engine_user(w->e, u, &v) && v.watch == PX_WATCH_PARKED &&
		    !rightly_parked(w, u))
			sim_complain(w, &w->r->not_followed, "user %u is parked for nothing", u);
	}
}

static void check_even(struct world *w)
{
	const struct px_pool *p = px_engine_pool(w->e);
	uint32_t least = UINT32_MAX, most = 0;

	w->even_at = 0;
	if (w->disturbed != w->even_disturbed)
		return;
	w->r->deaths++;
	/* users of one that is dead, and users nobody follows: a stream may just be reopened, not more */
	uint32_t stranded = 0, unfollowed = 0;
	for (uint32_t u = 0; u < w->c.users; u++) {
		struct px_user_view v;
		if (!px_engine_user(w->e, u, &v) || v.watch == PX_WATCH_PARKED)
			continue;
		/* whose mailbox moves may be led to one that nobody has found dead, as nobody was there */
		stranded += w->person[u].blind < w->mono &&
		            (v.gateway == PX_NO_GATEWAY || w->cas[v.gateway].state != CAS_UP);
		unfollowed += !cared_for(w, u) && w->person[u].blind < w->mono;
	}
	if (stranded || unfollowed > 400)
		sim_complain(
		    w, &w->r->violations,
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
		sim_complain(w, &w->r->uneven, "survivors have %u to %u users", least, most);
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
	uint64_t most_of = (sum < w->c.users ? sum : w->c.users) * 19 / 20;
	sum = 0;
	for (last = first; last < 399 && sum + w->per_second[last] < most_of; last++)
		sum += w->per_second[last];
	sum += w->per_second[last];
	uint64_t mean = sum / (last - first + 1) + 1;
	w->r->recoveries++;
	w->r->most = most;
	w->r->mean = (unsigned)mean;
	sim_trace(w, "recovery: %llu in %u s, mean %llu, most %u", (unsigned long long)sum,
	          last - first + 1, (unsigned long long)mean, most);
	/* and all at once isn't a pace: 45 s for everybody, or 20 ms between two at a gateway */
	const uint64_t pace =
	    w->c.users / 45 > 50 * w->c.gateways ? w->c.users / 45 : 50 * w->c.gateways;
	if (most > 2 * mean || most > 2 * pace)
		sim_complain(w, &w->r->herds, "a second of a recovery with %u, mean %llu", most,
		             (unsigned long long)mean);
	w->recovering = false;
}

/* P5: when the pool is back everybody is followed in time. */
static void check_back(struct world *w)
{
	uint32_t lost = 0, one = 0;

	for (uint32_t u = 0; u < w->c.users; u++)
		if (!cared_for(w, u) && w->person[u].blind <= w->mono) {
			lost++;
			one = u;
		}
	if (lost == 0) {
		w->r->returned_ms = w->mono - w->recovery_from;
		w->back_at = 0;
	} else if (w->mono >= w->back_at) {
		struct px_user_view v;
		px_engine_user(w->e, one, &v);
		sim_complain(w, &w->r->not_followed,
		             "%u users are not followed %lld ms after the pool is back: %u is %s",
		             lost, (long long)(w->mono - w->recovery_from), one,
		             px_watch_state_name(v.watch));
		w->back_at = 0;
	}
}

static void check_start(struct world *w)
{
	unsigned parked = 0;

	for (uint32_t u = 0; u < w->c.users; u++)
		if (rightly_parked(w, u))
			parked++;
		else if (!cared_for(w, u) || oracle(w, u) != seen(w, u))
			return;
	w->r->started_without = parked;
	w->r->started_ms = w->mono - 1000;
	w->r->started_http = w->r->http;
	sim_trace(w, "everybody is there");
}

static void probe_starts(struct world *w, struct cas *c)
{
	const bool dead = c->state == CAS_REFUSES || c->state == CAS_HANGS;

	if (dead && healthy(w) == 0 && px_engine_pool(w->e)->login == PX_LOGIN_OPEN &&
	    w->mono - c->down_at > 130 * S && w->mono - c->probed_at < 29 * S)
		sim_complain(w, &w->r->probes_over, "probes %lld ms apart",
		             (long long)(w->mono - c->probed_at));
	c->probed_at = w->mono;
}

static char *take(struct px_buf *b)
{
	char *data = b->data ? b->data : calloc(1, 1);

	if (!data)
		abort();
	b->data = NULL;
	b->len = 0;
	return data;
}

static void http_starts(struct world *w, struct px_action *a)
{
	size_t slot = (uint32_t)a->http.id;
	char anchor[256];

	while (slot >= w->https) {
		w->http = realloc(w->http, (w->https + 64) * sizeof *w->http);
		if (!w->http)
			abort();
		memset(w->http + w->https, 0, 64 * sizeof *w->http);
		w->https += 64;
	}
	struct http *h = &w->http[slot];
	*h = (struct http){.id = a->http.id,
	                   .cas = (unsigned)a->http.gateway,
	                   .ask = a->http.ask,
	                   .started = w->mono};
	h->target = take(&a->http.wire.target);
	h->head = take(&a->http.wire.head);
	h->body = take(&a->http.wire.body);
	if (sscanf(h->head, "Anchor: %255s", anchor) == 1)
		h->routed = sim_user(anchor);
	w->r->http++;
	w->r->asked[h->ask]++;
	struct cas *c = &w->cas[h->cas];
	if (h->ask != PX_ASK_STREAM && ++c->in_flight > 8 + 1)
		sim_complain(w, &w->r->over_concurrency, "%u requests in flight at cas %u",
		             c->in_flight, h->cas);
	if (h->ask == PX_ASK_PROBE)
		probe_starts(w, c);
	else if (w->mono < c->quiet_until && w->mono > c->quiet_from)
		sim_complain(w, &w->r->early, "%s %lld ms before the end of a pause",
		             px_ask_name(h->ask), (long long)(c->quiet_until - w->mono));
	const bool counts = w->c.kinds == PX_KIND_BIT(PX_KIND_NONE) ? h->ask == PX_ASK_READ
	                                                            : h->ask == PX_ASK_SUBSCRIBE;
	if (counts && w->recovering && w->mono >= w->recovery_from &&
	    w->mono < w->recovery_from + 400 * S)
		w->per_second[(w->mono - w->recovery_from) / S]++;
	sim_later(w, w->mono + sim_between(w, 1, 5), W_HTTP_ARRIVES, h->id, 0, NULL);
}

/* ---- the run ---- */

static void carry_out(struct world *w)
{
	size_t n;
	struct px_action *a = px_engine_actions(w->e, &n);

	for (size_t i = 0; i < n; i++) {
		switch (a[i].kind) {
		case PX_DO_HTTP_START:
			http_starts(w, &a[i]);
			break;
		case PX_DO_HTTP_CANCEL: {
			struct http *h = sim_http(w, a[i].http_cancel);
			if (h)
				http_close(w, h);
			break;
		}
		case PX_DO_SIP_START:
			sip_arrives(w, &a[i]);
			break;
		case PX_DO_LOG:
			sim_trace(w, "log %s", a[i].log.text);
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

static void answer(struct world *w, uint64_t id)
{
	struct http *h = sim_http(w, id);

	if (h && w->cas[h->cas].state != CAS_UP)
		http_arrives(w, id);
	else if (h)
		exchange(w)->answer(w, id);
}

static void handle(struct world *w, struct event *ev)
{
	char text[32];

	switch (ev->what) {
	case W_BOUNDARY:
		if (w->person[ev->b].boundary_no != ev->a)
			break;
		w->r->boundaries++;
		judge(w, ev->b, w->person[ev->b].unread);
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
		sim_http_fails(w, ev->a, ev->b ? PX_HTTP_CUT : PX_HTTP_TIMEOUT);
		break;
	case W_HEARTBEAT: {
		struct http *h = sim_http(w, ev->a);
		if (!h)
			break;
		if (w->cas[h->cas].state != CAS_HANGS)
			sim_say(w, ev->a, "A\n");
		sim_later(w, w->mono + HEARTBEAT, W_HEARTBEAT, ev->a, 0, NULL);
		break;
	}
	case W_STREAM_END: {
		struct http *h = sim_http(w, ev->a);
		if (!h || w->cas[h->cas].state == CAS_HANGS)
			break;
		sim_say(w, ev->a, "Z\n");
		sim_http_status(w, ev->a, 200);
		break;
	}
	case W_EVENT:
		exchange(w)->event(w, ev->b);
		break;
	case W_CALL:
		exchange(w)->call(w, (uint32_t)ev->a, ev->b);
		break;
	case W_LATE:
		if (!w->deaf)
			px_engine_notified(w->e, 0, ev->p, strlen(ev->p), sim_now(w));
		free(ev->p);
		break;
	case W_SIP_DONE: {
		struct px_sip_answer *a = ev->p;
		snprintf(text, sizeof text, "%llx", (unsigned long long)(uintptr_t)a->etag);
		if (a->etag)
			a->etag = text;
		w->person[ev->b].in_flight = false;
		px_engine_sip_done(w->e, ev->a, a, sim_now(w));
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
	int64_t checked = 0, parked_checked = w->mono;

	for (;;) {
		int64_t due = px_engine_due(w->e, sim_now(w)).ms;
		int64_t at = w->heap_n && w->heap[0].at < due ? w->heap[0].at : due;
		if (at > until)
			break;
		if (at > w->mono)
			w->mono = at;
		while (w->heap_n && w->heap[0].at <= w->mono) {
			struct event ev = next(w);
			handle(w, &ev);
		}
		px_engine_tick(w->e, sim_now(w));
		px_engine_pump(w->e, sim_now(w));
		carry_out(w);
		w->r->steps++;
		if (w->mono - checked >= 100) {
			checked = w->mono;
			check(w);
			if (w->even_at && w->mono >= w->even_at)
				check_even(w);
			if (w->recovering && w->mono >= w->recovery_from + 300 * S)
				check_herd(w);
			if (w->back_at && w->mono >= w->recovery_from + S)
				check_back(w);
			if (!w->r->started_ms)
				check_start(w);
			if (w->mono >= parked_checked + MIN) {
				parked_checked = w->mono;
				check_parked(w);
			}
		}
	}
	w->mono = until;
}

static void change_rate(struct world *w, int64_t until)
{
	double all = w->c.changes_per_user_day * w->c.users * (double)until / (double)DAY;

	for (uint64_t i = 0; i < (uint64_t)all; i++)
		sim_later(w, sim_between(w, 10 * MIN, until), W_CHANGE, 0,
		          (uint32_t)(sim_rnd(w) % w->c.users), NULL);
}

static void begin(struct world *w)
{
	const struct sim_config *c = &w->c;
	char name[PX_GATEWAYS][16];
	const char *names[PX_GATEWAYS];
	unsigned concurrency[PX_GATEWAYS];

	for (unsigned g = 0; g < c->gateways; g++) {
		snprintf(name[g], sizeof name[g], "cas%u", g);
		names[g] = name[g];
		concurrency[g] = 8;
		if (c->versions) /* 2007, 2010, 2013, 2007, ... */
			w->cas[g].version =
			    sim_ews.backend->versions - 1 - g % sim_ews.backend->versions;
	}
	const struct px_engine_config ec = {.backend = exchange(w)->backend,
	                                    .map = px_map_default,
	                                    .gateways = c->gateways,
	                                    .gateway_name = names,
	                                    .gateway_concurrency = concurrency,
	                                    .kinds = c->webdav  ? PX_KIND_BIT(PX_KIND_PULL)
	                                             : c->kinds ? c->kinds
	                                                        : PX_KIND_BIT(PX_KIND_STREAM),
	                                    .callback = c->webdav ? "httpu://192.0.2.1:50020/token/"
	                                                          : "http://192.0.2.1/token/",
	                                    .horizon_s = 172800,
	                                    .resync_s = RESYNC_MS / S,
	                                    .stale_after_s = 3600,
	                                    .publish_expires = 3600,
	                                    .publish_window = 200,
	                                    .presence_servers = 1,
	                                    .users_max = c->users,
	                                    .log_level = c->trace ? PX_LOG_DEBUG : PX_LOG_ERROR,
	                                    .seed = c->seed};
	w->e = px_engine_new(&ec, sim_now(w));
	if (!w->e)
		abort();
	/* 10 s, and the pace, until everybody is there; one by one over WebDAV, two requests each */
	w->excused = w->mono + 10 * S + (int64_t)c->users * (c->webdav ? 20 : 1);
	if (c->versions) /* what each server is must be found, and some are swept until it is */
		excuse(&w->excused, w->mono + MIN);
	for (uint32_t u = 0; u < c->users; u++) {
		char key[64];
		snprintf(key, sizeof key, "u%u@example.test", u);
		if (px_engine_user_put(w->e, key, key, true, sim_now(w)) != u)
			sim_complain(w, &w->r->violations, "user %u has another id", u);
		w->person[u].unread = w->excused; /* a late first reading is shown late */
		compare(w, u, 1200);
	}
}

/* Everything is healed, and nobody may be lost. */
static void finish(struct world *w, int64_t end)
{
	const struct sim_config *c = &w->c;

	w->c.lost_answers = w->c.codes = w->c.calls_lost = 0;
	w->deaf = w->session_over = false;
	for (size_t i = 0; i < w->heap_n; i++)
		if (w->heap[i].what == W_FAULT || w->heap[i].what == W_HEAL)
			w->heap[i].what = W_STEP;
	for (unsigned g = 0; g < c->gateways; g++) {
		w->cas[g].state = CAS_UP;
		w->cas[g].broken = 0;
		w->cas[g].mute = false;
	}
	w->esc = ESC_UP;
	/* who was refused alone is tried again in an hour */
	run(w, end + (w->coded ? 64 : 12) * MIN);
	/* a stream that is just being reopened has its users back within seconds */
	bool *once = calloc(c->users, sizeof *once);
	if (!once)
		abort();
	for (int look = 0; look < 2; look++) {
		for (uint32_t u = 0; u < c->users; u++) {
			struct px_user_view v;
			bool lost = !cared_for(w, u);

			if (look && lost && once[u] && px_engine_user(w->e, u, &v))
				sim_complain(w, &w->r->not_followed, "user %u is %s at the end", u,
				             px_watch_state_name(v.watch));
			once[u] = lost;
			if (look && oracle(w, u) != seen(w, u) && !w->person[u].wrong_since)
				sim_complain(w, &w->r->not_right,
				             "user %u shows %s, should be %s at the end", u,
				             px_presence_name(seen(w, u)),
				             px_presence_name(oracle(w, u)));
		}
		run(w, w->mono + 20 * S);
	}
	free(once);
}

int sim_run(const struct sim_config *c, struct sim_report *out)
{
	struct world *w = calloc(1, sizeof *w);
	int64_t end = (int64_t)(c->days * (double)DAY);

	*out = (struct sim_report){0};
	if (!w)
		abort();
	w->c = *c;
	w->coded = c->codes > 0;
	w->r = out;
	w->rng = c->seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	w->mono = 1000;
	w->offset = EPOCH / HOUR * HOUR;
	w->etags = 0x1000;
	w->table = c->webdav ? px_webdav_table : px_ews_table;
	w->rows = c->webdav ? px_webdav_rows : px_ews_rows;
	out->codes = (unsigned)w->rows;
	w->code_seen = calloc(w->rows, sizeof *w->code_seen);
	w->person = calloc(c->users, sizeof *w->person);
	w->wrong = calloc(c->users, sizeof *w->wrong);
	w->cas = calloc(c->gateways, sizeof *w->cas);
	w->anchors = calloc(c->users, sizeof *w->anchors);
	if (!w->code_seen || !w->person || !w->wrong || !w->cas || !w->anchors ||
	    c->gateways > PX_GATEWAYS)
		abort();
	for (uint32_t u = 0; u < c->users; u++) {
		for (int64_t d = -1; d <= (int64_t)c->days + 1; d++)
			for (int64_t k = sim_between(w, 2, 5); k > 0; k--)
				add_meeting(w, u,
				            w->mono + w->offset + d * DAY +
				                sim_between(w, 0, 95) * 15 * MIN,
				            sim_between(w, 1, 8) * 15 * MIN);
		plan_boundary(w, u);
	}
	begin(w);
	change_rate(w, end);
	for (enum fault f = 0; f < FAULTS; f++)
		plan_fault(w, f);
	if (c->pool_dies_at > 0)
		sim_later(w, w->mono + (int64_t)(c->pool_dies_at * (double)DAY), W_FAULT,
		          F_POOL_ONCE, 0, NULL);
	run(w, end);
	finish(w, end);
	struct px_engine_counts counts = px_engine_counts(w->e);
	out->reads = counts.reads;
	out->subscribes = counts.subscribes;
	for (uint32_t u = 0; u < c->users; u++) {
		struct px_user_view v;
		if (px_engine_user(w->e, u, &v))
			out->kind[v.watch == PX_WATCH_SWEPT ? PX_KIND_NONE : v.kind]++;
	}

	px_engine_free(w->e);
	while (w->heap_n) {
		struct event ev = next(w);
		free(ev.what == W_SIP_DONE || ev.what == W_LATE ? ev.p : NULL);
	}
	for (size_t i = 0; i < w->https; i++) {
		free(w->http[i].target);
		free(w->http[i].head);
		free(w->http[i].body);
		free(w->http[i].member);
	}
	free(w->heap);
	free(w->http);
	free(w->sub);
	free(w->person);
	free(w->wrong);
	free(w->cas);
	free(w->anchors);
	free(w->code_seen);
	free(w);
	return 0;
}
