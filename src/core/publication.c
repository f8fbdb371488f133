/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/publication.h"

#include <stdlib.h>
#include <string.h>

#include "core/watch.h"

#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 30000
/* after silence or a lost connection: whether the server works is found out by esc.h (P6) */
#define LOST_MAX_MS 4000
#define RETRY_AFTER_MAX_S                                                                          \
	60                    /* a server that wishes to be left alone for longer is asked anyway  \
	                       */
#define GAVE_UP_MS 3600000    /* and up to a tenth more, spread */
#define DENIED_MS 300000      /* likewise */
#define MIN_EXPIRES_MAX 86400 /* s; a server that wants publications for longer is mistaken */
#define MINIS_MAX 3           /* 423 in a row */
#define LAPSE_MARGIN_MS 2000  /* our reckoning of the server's clock may be off by so much */

static const struct px_mono never = {0};

enum action {
	STANDS,          /* the document is there, or gone as was asked */
	ANEW,            /* the ETag is unknown there */
	TOO_BRIEF,       /* asked again for longer */
	BACK_OFF,        /* refused for now; what stood before still stands */
	BACK_OFF_UNSURE, /* ... or the request was carried out after all */
	SIMPLER, /* asked again with the shortest document; that was it already: as GIVE_UP */
	DENIED, /* the server would answer anybody alike: when that changes is found out by esc.h */
	GIVE_UP /* trying again soon would be answered alike */
};

struct rule {
	int16_t from, to; /* status; what isn't an answer comes as minus enum px_sip_fail */
	uint8_t action;
	uint8_t word; /* enum px_esc_word */
};

/* RFC 3903 §4, RFC 3261 §21. The first row that holds counts. */
static const struct rule rules[] = {
    {-PX_SIP_TIMEOUT, -PX_SIP_TIMEOUT, BACK_OFF_UNSURE, PX_ESC_FAILED},
    {-PX_SIP_TRANSPORT, -PX_SIP_TRANSPORT, BACK_OFF_UNSURE, PX_ESC_FAILED},
    {-PX_SIP_LOCAL, -PX_SIP_LOCAL, BACK_OFF, PX_ESC_UNSURE},
    {200, 299, STANDS, PX_ESC_ALIVE},
    {300, 399, GIVE_UP,
     PX_ESC_ALIVE}, /* a redirection that leads nowhere: io/sip.h follows the others */
    {401, 401, DENIED, PX_ESC_DENIED}, /* no login, or a wrong one: io/sip.h answers challenges */
    {405, 405, DENIED, PX_ESC_DENIED}, /* knows no PUBLISH */
    {406, 406, DENIED, PX_ESC_DENIED},
    {407, 407, DENIED, PX_ESC_DENIED},
    {408, 408, BACK_OFF_UNSURE, PX_ESC_FAILED},
    {412, 412, ANEW, PX_ESC_ALIVE},
    {413, 413, SIMPLER, PX_ESC_ALIVE}, /* too large */
    {415, 415, SIMPLER, PX_ESC_ALIVE}, /* something in it isn't understood */
    {423, 423, TOO_BRIEF, PX_ESC_ALIVE},
    {480, 480, BACK_OFF, PX_ESC_UNSURE},
    {486, 486, BACK_OFF, PX_ESC_UNSURE},
    {489, 489, DENIED, PX_ESC_DENIED},  /* knows no presence */
    {491, 491, BACK_OFF, PX_ESC_ALIVE}, /* request pending */
    {400, 499, GIVE_UP, PX_ESC_ALIVE},
    {501, 501, DENIED, PX_ESC_DENIED}, /* knows no PUBLISH */
    {503, 503, BACK_OFF, PX_ESC_PAUSE},
    {505, 505, DENIED, PX_ESC_DENIED}, /* version */
    {513, 513, SIMPLER, PX_ESC_ALIVE}, /* too large */
    {500, 599, BACK_OFF_UNSURE, PX_ESC_UNSURE},
    {600, 699, GIVE_UP, PX_ESC_ALIVE},
    {INT16_MIN, INT16_MAX, BACK_OFF_UNSURE,
     PX_ESC_UNSURE}, /* not a final status: nothing is known */
};

static const struct rule *rule_for(const struct px_sip_answer *a)
{
	int what = a->fail == PX_SIP_ANSWERED ? a->status : -(int)a->fail;
	const struct rule *r = rules;

	if (what < INT16_MIN || what > INT16_MAX)
		what = 0;
	while (what < r->from || what > r->to)
		r++;
	return r;
}

static unsigned enter(struct px_publication *p, enum px_pub_state to, struct px_mono due)
{
	p->state = (uint8_t)to;
	p->due = due;
	p->op = PX_OP_NONE;
	p->gave_up = false;
	return 0;
}

static unsigned queue(struct px_publication *p)
{
	enter(p, PX_PUB_WAITING, never);
	/* whatever a watcher would see goes first */
	bool seen = p->want ? p->newer || !p->etag : !p->cleared;
	return PX_PUB_QUEUE | (seen ? PX_PUB_URGENT : 0);
}

/* Nothing of ours stands there any more, as far as is known. */
static void drop_etag(struct px_publication *p)
{
	free(p->etag);
	p->etag = NULL;
	p->expires = 0;
	p->lapses = never;
	p->unsure = p->check = p->cleared = false;
}

/* From now on, nothing stands and nothing is wanted. */
static unsigned off(struct px_publication *p)
{
	drop_etag(p);
	p->newer = false;
	p->failures = p->minis = 0;
	return enter(p, PX_PUB_OFF, never);
}

void px_publication_forget(struct px_publication *p)
{
	const uint32_t seed = p->seed;

	free(p->etag);
	*p = (struct px_publication){.state = PX_PUB_OFF, .seed = seed};
}

void px_publication_free(struct px_publication *p)
{
	free(p->etag);
	p->etag = NULL;
}

unsigned px_publication_want(struct px_publication *p, struct px_now now)
{
	(void)now;
	p->want = p->newer = true;
	switch ((enum px_pub_state)p->state) {
	case PX_PUB_OFF:
	case PX_PUB_WAITING:
	case PX_PUB_STANDING:
		return queue(p);
	case PX_PUB_IN_FLIGHT: /* its answer queues it */
	case PX_PUB_BACKOFF:   /* the server has asked for peace; the newest state goes then */
		break;
	}
	return 0;
}

unsigned px_publication_withdraw(struct px_publication *p, struct px_now now)
{
	(void)now;
	p->want = p->newer = false;
	switch ((enum px_pub_state)p->state) {
	case PX_PUB_OFF:
	case PX_PUB_IN_FLIGHT:
		break;
	case PX_PUB_WAITING:
		return queue(p); /* its turn tells whether there is anything to remove */
	case PX_PUB_STANDING:
		/* without an ETag it can't be removed, it lapses */
		return p->etag ? queue(p) : off(p);
	case PX_PUB_BACKOFF:
		return p->etag ? 0 : off(p);
	}
	return 0;
}

unsigned px_publication_check(struct px_publication *p, struct px_now now)
{
	(void)now;
	if (!p->etag)
		return 0;
	switch ((enum px_pub_state)p->state) {
	case PX_PUB_STANDING:
		return queue(p);
	case PX_PUB_IN_FLIGHT:
		/* its answer may be from before the loss */
		p->check = true;
		break;
	case PX_PUB_OFF:
	case PX_PUB_WAITING: /* whatever is sent next names the ETag */
	case PX_PUB_BACKOFF:
		break;
	}
	return 0;
}

unsigned px_publication_tick(struct px_publication *p, struct px_now now)
{
	if (!px_due(p->due, now))
		return 0;
	if (p->state == PX_PUB_STANDING && px_due(p->lapses, now))
		drop_etag(p);
	return queue(p);
}

unsigned px_publication_retry(struct px_publication *p, struct px_now now)
{
	(void)now;
	return p->state == PX_PUB_BACKOFF && !p->gave_up ? queue(p) : 0;
}

enum px_pub_op px_publication_turn(struct px_publication *p, struct px_now now)
{
	enum px_pub_op op;

	if (p->state != PX_PUB_WAITING)
		return PX_OP_NONE;
	if (px_due(p->lapses, now))
		drop_etag(p);
	if (!p->want && !p->etag) {
		off(p);
		return PX_OP_NONE;
	}
	if (!p->want)
		op = p->cleared ? PX_OP_REMOVE : PX_OP_CLEAR;
	else if (!p->etag)
		op = PX_OP_INITIAL;
	else
		op = p->newer ? PX_OP_MODIFY : PX_OP_REFRESH;
	enter(p, PX_PUB_IN_FLIGHT, never);
	p->op = (uint8_t)op;
	p->newer = p->check = false;
	p->cleared = op == PX_OP_REMOVE;
	return op;
}

/* It didn't get there. What was sent, if it was a document, must be sent again. */
static unsigned back_off(struct px_publication *p, struct px_mono due)
{
	if (!p->want && !p->etag)
		return off(p);
	if (p->op == PX_OP_INITIAL || p->op == PX_OP_MODIFY)
		p->newer = p->want;
	return enter(p, PX_PUB_BACKOFF, due);
}

static unsigned retry_later(struct px_publication *p, const struct px_sip_answer *a,
                            struct px_now now)
{
	if (p->failures < UINT8_MAX)
		p->failures++;
	bool lost = a->fail != PX_SIP_ANSWERED || a->status == 408;
	int64_t ms =
	    px_backoff(RETRY_MIN_MS, lost ? LOST_MAX_MS : RETRY_MAX_MS, p->failures, p->seed);
	int64_t wish = a->retry_after;

	if (wish > RETRY_AFTER_MAX_S)
		wish = RETRY_AFTER_MAX_S;
	/* the wish is kept, and what it held back doesn't come at once */
	return back_off(p, px_after(now, wish > 0 ? wish * 1000 + ms / 4 : ms));
}

/*
 * This user's part of a span of time. The parts fill it evenly, whether seeds are counted up or
 * drawn: multiples of the golden ratio, modulo 1. It is always the same part, so users that refresh
 * in the same minute once drift apart for good: had each a new part every time, all would have the
 * same period on the average and stay in step with the storm that began it.
 */
static int64_t part_of(const struct px_publication *p, int64_t ms)
{
	return (int64_t)((uint64_t)ms * (p->seed * 2654435769u) >> 32);
}

static unsigned give_up(struct px_publication *p, struct px_now now)
{
	p->failures = 0;
	back_off(p, px_after(now, GAVE_UP_MS + part_of(p, GAVE_UP_MS / 10)));
	if (p->state != PX_PUB_BACKOFF)
		return 0;
	p->gave_up = true;
	return PX_PUB_GAVE_UP;
}

static unsigned denied(struct px_publication *p, struct px_now now)
{
	p->failures = 0;
	return back_off(p, px_after(now, DENIED_MS + part_of(p, DENIED_MS / 10)));
}

/* It goes back into a SIP-If-Match header: a token (RFC 3903 §11.3.1) has nothing outside these. */
static bool is_etag(const char *s)
{
	if (!s || !*s)
		return false;
	for (; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

/* In ms: between half and nine tenths, never within 10 s of the end. */
static int64_t refresh_after(const struct px_publication *p)
{
	int64_t ms = (int64_t)p->expires * 1000, from = ms / 2;
	int64_t margin = ms / 10 > 10000 ? ms / 10 : 10000;

	if (p->expires < 40)
		return from;
	return from + part_of(p, ms - margin - from);
}

/* Whatever became wanted while it was in flight goes at once. */
static unsigned go_on(struct px_publication *p)
{
	if (!p->want)
		return p->etag ? queue(p) : off(p);
	if (p->newer || p->check || p->state != PX_PUB_STANDING)
		return queue(p);
	return 0;
}

static unsigned stands(struct px_publication *p, const struct px_sip_answer *a,
                       uint32_t ask_expires, struct px_now now)
{
	if (p->op == PX_OP_REMOVE) {
		drop_etag(p);
		p->failures = p->minis = 0;
		return go_on(p);
	}
	/* the server may grant less, never more (RFC 3903 §6) */
	int64_t granted = a->expires >= 0 && a->expires < ask_expires ? a->expires : ask_expires;
	bool check = p->check;

	/* without an ETag it can neither be refreshed nor removed */
	if (granted == 0 || !is_etag(a->etag)) {
		drop_etag(p);
		return retry_later(p, a, now);
	}
	drop_etag(p);
	if (strlen(a->etag) <= PX_ETAG_MAX)
		p->etag = strdup(a->etag);
	p->expires = (uint32_t)granted;
	p->lapses = px_after(now, granted * 1000);
	p->cleared = p->op == PX_OP_CLEAR && p->etag;
	p->failures = p->minis = 0;
	enter(p, PX_PUB_STANDING, p->etag ? px_after(now, refresh_after(p)) : p->lapses);
	p->check = check && p->etag;
	return go_on(p);
}

static unsigned anew(struct px_publication *p, const struct px_sip_answer *a, struct px_now now)
{
	/* an answer to a condition that wasn't set: never at once again, it might go on for ever */
	if (p->op == PX_OP_INITIAL)
		return retry_later(p, a, now);
	/* if an earlier PUBLISH was carried out after all, or it has lapsed, the server is right */
	bool sure = !p->unsure && p->lapses.ms - now.mono.ms > LAPSE_MARGIN_MS;

	drop_etag(p);
	p->newer = p->want;
	return go_on(p) | (sure ? PX_PUB_LOST : 0);
}

static unsigned too_brief(struct px_publication *p, const struct px_sip_answer *a,
                          uint32_t ask_expires, uint32_t *floor, struct px_now now)
{
	bool sane = p->op != PX_OP_REMOVE && a->min_expires > ask_expires &&
	            a->min_expires <= MIN_EXPIRES_MAX;

	if (!sane || ++p->minis >= MINIS_MAX) {
		p->minis = 0;
		return retry_later(p, a, now);
	}
	if (*floor < (uint32_t)a->min_expires)
		*floor = (uint32_t)a->min_expires;
	if (p->op == PX_OP_INITIAL || p->op == PX_OP_MODIFY)
		p->newer = p->want;
	return go_on(p);
}

static unsigned simpler(struct px_publication *p, struct px_now now)
{
	if (p->brief || p->op == PX_OP_REMOVE)
		return give_up(p, now);
	p->brief = true;
	if (p->op != PX_OP_REFRESH)
		p->newer = p->want;
	return go_on(p);
}

unsigned px_publication_answer(struct px_publication *p, const struct px_sip_answer *a,
                               uint32_t ask_expires, uint32_t *expires_floor,
                               enum px_esc_word *word, struct px_now now)
{
	const struct rule *r = rule_for(a);

	*word = (enum px_esc_word)r->word;
	if (p->state != PX_PUB_IN_FLIGHT)
		return 0; /* late or doubled */
	if (r->action != TOO_BRIEF)
		p->minis = 0;

	/* it won't have that document: so be it */
	if (p->op == PX_OP_CLEAR && (r->action == SIMPLER || r->action == GIVE_UP)) {
		p->cleared = true;
		p->failures = 0;
		return go_on(p);
	}

	switch ((enum action)r->action) {
	case STANDS:
		return stands(p, a, ask_expires, now);
	case ANEW:
		return anew(p, a, now);
	case TOO_BRIEF:
		return too_brief(p, a, ask_expires, expires_floor, now);
	case BACK_OFF_UNSURE:
		p->unsure = true;
		return retry_later(p, a, now);
	case BACK_OFF:
		return retry_later(p, a, now);
	case SIMPLER:
		return simpler(p, now);
	case DENIED:
		return denied(p, now);
	case GIVE_UP:
		return give_up(p, now);
	}
	return 0;
}

const char *px_pub_state_name(enum px_pub_state s)
{
	static const char *const name[] = {"off", "waiting", "in_flight", "standing", "backoff"};

	return name[s];
}

const char *px_pub_op_name(enum px_pub_op op)
{
	static const char *const name[] = {"none",   "initial", "refresh",
	                                   "modify", "clear",   "remove"};

	return name[op];
}
