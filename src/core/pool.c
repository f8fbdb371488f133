/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PROBE_MIN_MS 2000
#define PROBE_MAX_MS 30000
#define REFUSED_MS 300000 /* a login that was refused is tried again after this */
#define NO_WORD_MS 10000  /* the login's probe said nothing of the login */
#define HELD_NO_WORD_MS 30000
#define ACQUITTED_MAX 5 /* within REFUSED_MS */
#define UNSENT_MS 1000
#define SETTLE_MS 2000
#define BUSY_MIN_MS 1000
#define BUSY_MAX_MS 60000
#define WISH_MAX_MS                                                                                \
	300000 /* Exchange wishes up to some minutes (MS-OXWSCDATA BackOffMilliseconds) */
#define LIMIT_GROWS_MS 30000

static const struct px_mono never = {0};

/* ms and up to a tenth more: what broke at once must not come back at once, and never sooner than
 * promised. */
static struct px_mono later(struct px_pool *p, int64_t ms, struct px_now now)
{
	p->seed = p->seed * 1664525u + 1013904223u;
	return px_after(now, ms + (int64_t)((uint64_t)(ms / 10) * p->seed >> 32));
}

static int64_t doubled(int64_t min, int64_t max, unsigned times)
{
	while (times-- > 0 && min < max)
		min *= 2;
	return min < max ? min : max;
}

int px_pool_init(struct px_pool *p, unsigned n, uint32_t seed)
{
	memset(p, 0, sizeof *p);
	p->accused = p->asking = PX_NO_GATEWAY;
	p->seed = seed;
	p->gateway = calloc(n ? n : 1, sizeof *p->gateway);
	if (!p->gateway)
		return -ENOMEM;
	p->n = n;
	for (unsigned i = 0; i < n; i++)
		p->gateway[i].used = true;
	return 0;
}

void px_pool_free(struct px_pool *p)
{
	free(p->gateway);
	p->gateway = NULL;
	p->n = 0;
}

void px_pool_gateway(struct px_pool *p, unsigned i, const char *name, unsigned concurrency)
{
	struct px_gateway *g = &p->gateway[i];

	snprintf(g->name, sizeof g->name, "%s", name);
	g->limit = g->concurrency = concurrency ? concurrency : 1;
}

/* ---- assignment ---- */

int px_pool_assign_first(struct px_pool *p)
{
	for (unsigned k = 0; k < p->n; k++) {
		unsigned i = (p->next_first + k) % p->n;

		if (p->gateway[i].health != PX_GW_UP)
			continue;
		p->next_first = (i + 1) % p->n;
		p->gateway[i].users++;
		return (int)i;
	}
	return PX_NO_GATEWAY;
}

int px_pool_assign_again(struct px_pool *p, int from)
{
	int best = PX_NO_GATEWAY;
	uint32_t fewest = 0;

	for (unsigned k = 0; k < p->n; k++) {
		unsigned i = (p->next_again + k) % p->n;
		/* the others that it has */
		uint32_t users = p->gateway[i].users - ((int)i == from);

		if (p->gateway[i].health == PX_GW_UP && (best == PX_NO_GATEWAY || users < fewest)) {
			best = (int)i;
			fewest = users;
		}
	}
	if (best == PX_NO_GATEWAY)
		return PX_NO_GATEWAY;
	px_pool_leave(p, from);
	p->gateway[best].users++;
	p->next_again = ((unsigned)best + 1) % p->n;
	return best;
}

int px_pool_assign_next(struct px_pool *p, int from)
{
	for (unsigned k = 1; k <= p->n && from != PX_NO_GATEWAY; k++) {
		unsigned i = ((unsigned)from + k) % p->n;

		if (p->gateway[i].health != PX_GW_UP)
			continue;
		px_pool_leave(p, from);
		p->gateway[i].users++;
		return (int)i;
	}
	return PX_NO_GATEWAY;
}

void px_pool_leave(struct px_pool *p, int gateway)
{
	if (gateway != PX_NO_GATEWAY && p->gateway[gateway].users > 0)
		p->gateway[gateway].users--;
}

/* ---- may it ---- */

bool px_pool_may_stream(const struct px_pool *p, int gateway, struct px_now now)
{
	if (gateway == PX_NO_GATEWAY || p->login != PX_LOGIN_OPEN)
		return false;
	const struct px_gateway *g = &p->gateway[gateway];

	return g->health == PX_GW_UP && g->paused_until.ms <= now.mono.ms;
}

bool px_pool_may_send(const struct px_pool *p, int gateway, struct px_now now)
{
	return px_pool_may_stream(p, gateway, now) &&
	       p->gateway[gateway].in_flight < p->gateway[gateway].limit;
}

bool px_pool_settling(const struct px_pool *p, struct px_now now)
{
	return p->settled_at.ms > now.mono.ms;
}

bool px_pool_any_up(const struct px_pool *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->gateway[i].health == PX_GW_UP)
			return true;
	return false;
}

static bool stays(const struct px_gateway *g)
{
	return g->used && g->health != PX_GW_LEAVING;
}

/* ---- health of one gateway ---- */

static enum px_pool_change alive(struct px_pool *p, struct px_gateway *g, struct px_now now)
{
	if (g->health == PX_GW_UP)
		return PX_POOL_SAME;
	bool first = !px_pool_any_up(p);

	g->health = PX_GW_UP;
	g->failures = 0;
	if (first) {
		p->settled_at = px_after(now, SETTLE_MS);
		for (unsigned i = 0; i < p->n; i++)
			if (p->gateway[i].health == PX_GW_DOWN && !p->gateway[i].probing)
				p->gateway[i].probe_at = now.mono;
	}
	return PX_POOL_GATEWAY_UP;
}

static void refuse(struct px_pool *p, struct px_gateway *g, struct px_now now)
{
	if (!stays(g))
		return;
	g->health = PX_GW_REFUSED;
	if (!g->probing)
		g->probe_at = later(p, REFUSED_MS, now);
}

static enum px_pool_change unreachable(struct px_pool *p, struct px_gateway *g, struct px_now now)
{
	if (g->health != PX_GW_UP)
		return PX_POOL_SAME;
	g->health = PX_GW_DOWN;
	if (!g->probing)
		g->probe_at = later(p, PROBE_MIN_MS, now);
	return PX_POOL_GATEWAY_DOWN;
}

/* A probe of a gateway that isn't UP has failed, or must wait for the login. */
static void probe_again(struct px_pool *p, struct px_gateway *g, struct px_now now)
{
	if (g->health == PX_GW_REFUSED)
		g->probe_at = later(p, REFUSED_MS, now);
	else
		g->probe_at = later(
		    p, doubled(PROBE_MIN_MS, PROBE_MAX_MS, g->failures ? g->failures - 1 : 0), now);
}

static void throttled(struct px_pool *p, struct px_gateway *g, int64_t wish, struct px_now now)
{
	bool another = g->paused_until.ms <= now.mono.ms;
	int64_t ms = doubled(BUSY_MIN_MS, BUSY_MAX_MS, another ? g->busy_in_a_row : 0);

	if (wish > WISH_MAX_MS)
		wish = WISH_MAX_MS;
	struct px_mono until = later(p, wish > ms ? wish : ms, now);

	if (until.ms > g->paused_until.ms)
		g->paused_until = until;
	if (another) {
		g->busy_in_a_row++;
		g->limit = g->limit > 1 ? g->limit / 2 : 1;
	}
	g->limit_grows_at = px_after(now, LIMIT_GROWS_MS);
}

static void grow(struct px_gateway *g, struct px_now now)
{
	while (g->limit < g->concurrency && px_due(g->limit_grows_at, now)) {
		g->limit++;
		g->limit_grows_at.ms += LIMIT_GROWS_MS;
	}
}

/* ---- the login of the pool ---- */

static enum px_pool_change open_up(struct px_pool *p)
{
	p->login = PX_LOGIN_OPEN;
	p->accused = p->asking = PX_NO_GATEWAY;
	p->refused_twice = p->renewed = false;
	p->asked = 0;
	p->held_until = never;
	return PX_POOL_OPEN;
}

static enum px_pool_change hold(struct px_pool *p, struct px_now now)
{
	bool already = p->login == PX_LOGIN_HELD;

	p->login = PX_LOGIN_HELD;
	p->renewed = false;
	p->held_until = later(p, REFUSED_MS, now);
	return already ? PX_POOL_SAME : PX_POOL_HELD;
}

/* The gateway k places round the ring from the accused. */
static unsigned ring(const struct px_pool *p, unsigned k)
{
	return ((unsigned)p->accused + k) % p->n;
}

/* The first after place `asked` that is UP and not the accused; n: none. */
static unsigned next_to_ask(const struct px_pool *p, unsigned asked)
{
	for (unsigned k = asked + 1; k < p->n; k++)
		if (p->gateway[ring(p, k)].health == PX_GW_UP)
			return k;
	return p->n;
}

/* The next one after place `asked`, in turn and whatever is known of it; n: there is none. */
static unsigned next_in_turn(const struct px_pool *p, unsigned asked)
{
	for (unsigned k = 1; k <= p->n; k++)
		if (stays(&p->gateway[ring(p, (asked + k) % p->n)]))
			return (asked + k) % p->n;
	return p->n;
}

/* Where on the ring the login's next probe goes; n: nowhere, as one is in flight there. */
static unsigned login_target(const struct px_pool *p)
{
	unsigned k = p->n;

	if (p->asking != PX_NO_GATEWAY)
		return p->n;
	if (p->login == PX_LOGIN_RETRYING)
		k = 0;
	else if (p->login == PX_LOGIN_ASKING)
		k = next_to_ask(p, p->asked);
	else if (p->login == PX_LOGIN_HELD)
		k = next_in_turn(p, p->asked);
	return k < p->n && p->gateway[ring(p, k)].probing ? p->n : k;
}

/* On with ASKING from where it is. */
static enum px_pool_change ask_next(struct px_pool *p, struct px_now now)
{
	p->login = PX_LOGIN_ASKING;
	p->held_until = now.mono;
	if (next_to_ask(p, p->asked) < p->n)
		return PX_POOL_SAME;

	p->held_until = later(p, NO_WORD_MS, now);
	p->asked = 0;
	if (next_to_ask(p, 0) < p->n)
		return PX_POOL_SAME; /* they had no time to say; once more round */
	if (p->refused_twice)
		return hold(p, now);
	if (p->gateway[p->accused].health != PX_GW_UP)
		return open_up(p);
	p->login = PX_LOGIN_RETRYING;
	return PX_POOL_SAME;
}

/* After a refusal, and unless it has been too often, the accused is asked again. */
static enum px_pool_change accuse(struct px_pool *p, int gateway, struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];

	p->login = PX_LOGIN_RETRYING;
	p->accused = gateway;
	p->held_until = now.mono;
	p->refused_twice =
	    g->acquitted >= ACQUITTED_MAX && now.mono.ms - g->acquitted_at.ms <= REFUSED_MS;
	return p->refused_twice ? ask_next(p, now) : PX_POOL_SAME;
}

void px_pool_begin(struct px_pool *p, struct px_now now)
{
	if (p->n > 0)
		accuse(p, 0, now);
}

static void acquit(struct px_gateway *g, struct px_now now)
{
	if (g->acquitted == 0 || now.mono.ms - g->acquitted_at.ms > REFUSED_MS) {
		g->acquitted = 0;
		g->acquitted_at = now.mono;
	}
	g->acquitted++;
}

static enum px_pool_change login_answered(struct px_pool *p, enum px_verdict verdict,
                                          struct px_now now)
{
	bool accepted = verdict == PX_V_OK || verdict == PX_V_USER || verdict == PX_V_LOST ||
	                verdict == PX_V_UNREADABLE || verdict == PX_V_WIDE || verdict == PX_V_GAP ||
	                verdict == PX_V_VERSION || verdict == PX_V_KIND;

	if (accepted) {
		if (p->login == PX_LOGIN_RETRYING && !p->renewed)
			acquit(&p->gateway[p->accused], now);
		if (p->login == PX_LOGIN_ASKING && p->refused_twice)
			refuse(p, &p->gateway[p->accused], now);
		return open_up(p);
	}
	if (verdict == PX_V_DENIED) {
		if (p->login != PX_LOGIN_RETRYING || p->renewed)
			return hold(p, now);
		p->refused_twice = true;
		return ask_next(p, now);
	}
	if (p->login == PX_LOGIN_HELD) {
		p->held_until = later(p, HELD_NO_WORD_MS, now);
		return PX_POOL_SAME;
	}
	return ask_next(p, now);
}

/* ---- gateways come and go ---- */

int px_pool_add(struct px_pool *p, const char *name, unsigned concurrency, struct px_now now)
{
	unsigned i = 0;

	while (i < p->n && p->gateway[i].used)
		i++;
	if (i == PX_GATEWAYS_MAX)
		return -ENOSPC;
	if (i == p->n) {
		struct px_gateway *more = realloc(p->gateway, (p->n + 1) * sizeof *more);

		if (!more)
			return -ENOMEM;
		p->gateway = more;
		p->n++;
	}
	p->gateway[i] =
	    (struct px_gateway){.used = true, .health = PX_GW_DOWN, .probe_at = now.mono};
	px_pool_gateway(p, i, name, concurrency);
	/* the login was in doubt where there was nobody to ask any more */
	if (p->login != PX_LOGIN_OPEN && !stays(&p->gateway[p->accused])) {
		p->accused = (int)i;
		p->asked = 0;
	}
	return (int)i;
}

void px_pool_remove(struct px_pool *p, int gateway, struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];

	g->health = PX_GW_LEAVING;
	g->probing = false;
	g->probe_at = never;
	if (p->login == PX_LOGIN_OPEN)
		return;
	const bool asked = p->asking == gateway;
	if (asked)
		p->asking = PX_NO_GATEWAY;
	if (p->accused == gateway && p->renewed)
		px_pool_login_renewed(p, now);
	else if (p->login == PX_LOGIN_RETRYING && p->accused == gateway)
		ask_next(p, now);
	else if (p->login == PX_LOGIN_ASKING && p->asking == PX_NO_GATEWAY &&
	         next_to_ask(p, p->asked) == p->n)
		ask_next(p, now);
	/* what it would have answered nobody hears; it may have been one failed login more than there may be */
	if (asked && (p->login == PX_LOGIN_HELD || p->refused_twice))
		p->held_until = later(p, REFUSED_MS, now);
}

void px_pool_free_place(struct px_pool *p, int gateway)
{
	p->gateway[gateway] = (struct px_gateway){.health = PX_GW_LEAVING};
}

void px_pool_concurrency(struct px_pool *p, int gateway, unsigned n, struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];

	/* what throttling has taken stays taken */
	g->limit = g->limit == g->concurrency || g->limit > n ? n : g->limit;
	g->concurrency = n;
	if (g->limit < n)
		g->limit_grows_at = px_after(now, LIMIT_GROWS_MS);
}

int px_pool_find(const struct px_pool *p, const char *name)
{
	for (unsigned i = 0; i < p->n; i++)
		if (stays(&p->gateway[i]) && strcasecmp(p->gateway[i].name, name) == 0)
			return (int)i;
	return PX_NO_GATEWAY;
}

void px_pool_login_renewed(struct px_pool *p, struct px_now now)
{
	int best = PX_NO_GATEWAY;

	/* where the old one was accepted last, the new one has the best chance */
	for (unsigned i = 0; i < p->n; i++)
		if (stays(&p->gateway[i]) &&
		    (best == PX_NO_GATEWAY ||
		     (p->gateway[best].health != PX_GW_UP && p->gateway[i].health == PX_GW_UP)))
			best = (int)i;
	open_up(p);
	if (best == PX_NO_GATEWAY)
		return;
	p->login = PX_LOGIN_RETRYING;
	p->accused = best;
	p->renewed = true;
	p->held_until = now.mono;
	/* what refused the old one may accept the new one */
	for (unsigned i = 0; i < p->n; i++)
		if (p->gateway[i].health == PX_GW_REFUSED && !p->gateway[i].probing)
			p->gateway[i].probe_at = now.mono;
}

/* ---- requests ---- */

static void note(struct px_gateway *g, const struct px_reply *r, struct px_now now)
{
	if (r->verdict == PX_V_OK || r->verdict == PX_V_USER || r->verdict == PX_V_LOST ||
	    r->verdict == PX_V_UNREADABLE || r->verdict == PX_V_WIDE || r->verdict == PX_V_GAP)
		return;
	g->errors++;
	snprintf(g->last_error, sizeof g->last_error, "%s%s%s", r->code, r->detail[0] ? " " : "",
	         r->detail);
	g->last_error_at = now.wall;
}

static enum px_pool_change first_of(enum px_pool_change a, enum px_pool_change b)
{
	static const int rank[] = {[PX_POOL_GATEWAY_DOWN] = 4,
	                           [PX_POOL_HELD] = 3,
	                           [PX_POOL_OPEN] = 2,
	                           [PX_POOL_GATEWAY_UP] = 1,
	                           [PX_POOL_SAME] = 0};

	return rank[a] >= rank[b] ? a : b;
}

/* SERVER. It may have been the last that could be asked about the login. */
static enum px_pool_change lose(struct px_pool *p, struct px_gateway *g, struct px_now now)
{
	enum px_pool_change change = unreachable(p, g, now);

	if (change != PX_POOL_SAME && p->login == PX_LOGIN_ASKING && p->asking == PX_NO_GATEWAY &&
	    next_to_ask(p, p->asked) == p->n)
		change = first_of(change, ask_next(p, now));
	return change;
}

void px_pool_started(struct px_pool *p, int gateway, bool stream)
{
	struct px_gateway *g = &p->gateway[gateway];

	g->requests++;
	if (!stream)
		g->in_flight++;
}

void px_pool_cancelled(struct px_pool *p, int gateway, bool stream)
{
	struct px_gateway *g = &p->gateway[gateway];

	if (!stream && g->in_flight > 0)
		g->in_flight--;
}

enum px_pool_change px_pool_ended(struct px_pool *p, int gateway, bool stream,
                                  const struct px_reply *r, struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];
	enum px_pool_change change = PX_POOL_SAME;

	if (!stream && g->in_flight > 0)
		g->in_flight--;
	note(g, r, now);
	switch (r->verdict) {
	case PX_V_OK:
		if (g->paused_until.ms <= now.mono.ms)
			g->busy_in_a_row = 0;
		break;
	case PX_V_SERVER:
		change = lose(p, g, now);
		break;
	case PX_V_BUSY:
		throttled(p, g, r->backoff_ms, now);
		break;
	case PX_V_DENIED:
		/* what isn't UP, or while the login is being asked about, is no news */
		if (g->health == PX_GW_UP && p->login == PX_LOGIN_OPEN)
			change = accuse(p, gateway, now);
		break;
	case PX_V_LOST:
	case PX_V_USER:
	case PX_V_UNREADABLE:
	case PX_V_WIDE:
	case PX_V_TRANSIENT:
	case PX_V_GAP:
	case PX_V_VERSION:
	case PX_V_KIND:
	case PX_VERDICTS:
		break;
	}
	return change;
}

/* ---- probes ---- */

void px_pool_suspect(struct px_pool *p, int gateway, struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];

	if (g->health == PX_GW_UP && !g->probing)
		g->probe_at = now.mono;
}

int px_pool_probe(struct px_pool *p, struct px_now now)
{
	unsigned i = p->n;

	for (unsigned k = 0; k < p->n; k++)
		grow(&p->gateway[k], now);

	if (p->login == PX_LOGIN_OPEN) {
		for (i = 0; i < p->n; i++)
			if (!p->gateway[i].probing && px_due(p->gateway[i].probe_at, now))
				break;
	} else if (px_due(p->held_until, now)) {
		unsigned k = login_target(p);

		if (k < p->n) {
			i = ring(p, k);
			p->asked = k;
			p->asking = (int)i;
		}
	}
	if (i == p->n)
		return PX_NO_GATEWAY;
	p->gateway[i].probing = true;
	p->gateway[i].probe_at = never;
	return (int)i;
}

enum px_pool_change px_pool_probed(struct px_pool *p, int gateway, const struct px_reply *r,
                                   struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];
	bool login = p->login != PX_LOGIN_OPEN && p->asking == gateway;
	enum px_pool_change change = PX_POOL_SAME;

	if (!g->probing)
		return PX_POOL_SAME;
	g->probing = false;
	if (g->in_flight > 0)
		g->in_flight--;
	note(g, r, now);
	if (r->verdict == PX_V_BUSY)
		throttled(p, g, r->backoff_ms, now);

	if (r->verdict != PX_V_SERVER && r->verdict != PX_V_DENIED) {
		change = alive(p, g, now);
	} else {
		if (r->verdict == PX_V_SERVER)
			change = lose(p, g, now);
		if (g->health != PX_GW_UP) {
			g->failures++;
			probe_again(p, g, now);
		}
	}

	if (login) {
		p->asking = PX_NO_GATEWAY;
		return first_of(change, login_answered(p, r->verdict, now));
	}
	if (r->verdict == PX_V_DENIED && p->login == PX_LOGIN_OPEN) {
		if (g->health != PX_GW_REFUSED && (g->health == PX_GW_UP || !px_pool_any_up(p)))
			change = first_of(change, accuse(p, gateway, now));
		else
			refuse(p, g, now);
	}
	return change;
}

enum px_pool_change px_pool_probe_unsent(struct px_pool *p, int gateway, struct px_now now)
{
	struct px_gateway *g = &p->gateway[gateway];

	if (!g->probing)
		return PX_POOL_SAME;
	g->probing = false;
	if (g->health != PX_GW_UP || p->asking != gateway)
		g->probe_at = px_after(now, UNSENT_MS);
	if (p->asking != gateway)
		return PX_POOL_SAME;
	p->asking = PX_NO_GATEWAY;
	if (p->login == PX_LOGIN_ASKING && g->health != PX_GW_UP)
		return ask_next(p, now); /* it went down meanwhile: there is nothing to wait for */
	/* the same one again */
	p->asked = p->asked ? p->asked - 1 : 0;
	p->held_until = px_after(now, UNSENT_MS);
	return PX_POOL_SAME;
}

struct px_mono px_pool_due(const struct px_pool *p, struct px_now now)
{
	struct px_mono due = never;

	if (p->login != PX_LOGIN_OPEN && login_target(p) < p->n)
		due = p->held_until;
	if (p->settled_at.ms > now.mono.ms)
		due = px_earlier(due, p->settled_at);
	for (unsigned i = 0; i < p->n; i++) {
		const struct px_gateway *g = &p->gateway[i];

		if (p->login == PX_LOGIN_OPEN && !g->probing)
			due = px_earlier(due, g->probe_at);
		if (g->paused_until.ms > now.mono.ms)
			due = px_earlier(due, g->paused_until);
		if (g->limit < g->concurrency)
			due = px_earlier(due, g->limit_grows_at);
	}
	return due;
}

const char *px_health_name(enum px_health h)
{
	static const char *const name[] = {"up", "down", "refused", "leaving"};

	return name[h];
}

const char *px_login_name(enum px_login l)
{
	static const char *const name[] = {"open", "retrying", "asking", "held"};

	return name[l];
}
