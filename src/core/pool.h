/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pool.h - the gateways (CAS): who gets which, and which of them is healthy.
 *
 * Assignment: a user's first gateway comes round robin over the healthy ones and stays until the user's subscription fails;
 * then the healthy gateway with the fewest users gets the user, ties round robin; who fails again is tried at the others in turn. A healed gateway takes nobody back.
 *
 * Health of one gateway:
 *
 *      UP --one request without an answer--> UP, and one probe at once: its end decides
 *          SERVER                    probe due             probe answered (anything but SERVER or DENIED)
 *      UP ------------------> DOWN -----------> probing -------------------------------------> UP
 *                               ^------------------+ probe failed: 2, 4 ... 30 s later
 *      UP --login refused, and another gateway accepts it--> REFUSED (probed every 5 min) --accepted--> UP
 *
 * Login of the whole pool (one account; it must not be locked by us):
 *
 *      OPEN --DENIED by A--> RETRYING (one probe at A) --accepted--> OPEN
 *                               | DENIED again
 *                               v
 *                            ASKING (one probe at another healthy gateway) --accepted--> OPEN, A is REFUSED
 *                               | DENIED, or there is no other
 *                               v
 *                            HELD --5 min--> one probe --accepted--> OPEN
 *      While not OPEN nothing but that one probe is sent to any gateway. A probe at the other gateway that ends in SERVER asks the next one.
 *      BUSY and TRANSIENT say nothing of the login: the next one is asked, and when none is left, again 10 s later (HELD: SERVER too, 30 s later,
 *      at the gateways in turn, so that there is one DENIED per 5 min). RETRYING that ends in one of the three goes on ASKING, or to OPEN if then
 *      none is UP: the health probes find out. A gateway that isn't UP and DENIES its health probe is REFUSED; but if none is UP the login goes
 *      RETRYING there, lest each gateway that comes back costs the account a failed login every few seconds.
 *      A gateway that accepts its probes and refuses its requests, 5 times in 5 min, is taken as DENIED again, and another is asked.
 *      A gateway that is DENIED because impersonation is refused there goes the same way: the probe is impersonated.
 *      A new account or password: RETRYING at one gateway, from whatever state; DENIED then leads to HELD at once. What was sent with the old one says nothing.
 *
 * Gateways come and go while all this runs. One that comes is DOWN and probed at once. One that goes is LEAVING until what is under way there has ended;
 * then its place is free, and may be another's. It is asked nothing any more, and nobody is assigned to it.
 *
 * Throttling (BUSY): the gateway pauses for max(what the server wishes, at most 5 min; 1 s doubled per refusal in a row, at most 60 s) with jitter, and
 * its limit of requests in flight is halved (at least 1); each 30 s without BUSY gives one back, up to `concurrency`. What was in flight already and
 * is refused during a pause belongs to the same refusal. Nobody moves.
 *
 * The pool coming back from being wholly down: the first successful probe makes all the others due at once, and for 2 s after it
 * px_pool_settling() is true, so that the users don't all go to the first one back.
 */
#ifndef PX_POOL_H
#define PX_POOL_H

#include "core/backend.h"
#include "core/time.h"

#define PX_GATEWAY_NAME_MAX 63
#define PX_NO_GATEWAY (-1)

enum px_health { PX_GW_UP, PX_GW_DOWN, PX_GW_REFUSED, PX_GW_LEAVING };
enum px_login { PX_LOGIN_OPEN, PX_LOGIN_RETRYING, PX_LOGIN_ASKING, PX_LOGIN_HELD };

struct px_gateway {
	bool used; /* else the place is free */
	char name[PX_GATEWAY_NAME_MAX + 1];
	enum px_health health;
	bool probing; /* its one probe is in flight */
	struct px_mono
	    probe_at; /* next probe; set whenever health isn't UP (or is suspect) and no probe is in flight; waits while login isn't OPEN */
	unsigned failures;           /* probes in a row that failed */
	unsigned limit, concurrency; /* requests in flight now allowed / at most */
	unsigned in_flight;          /* requests, streams not counted */
	struct px_mono paused_until; /* throttled */
	unsigned busy_in_a_row;
	struct px_mono limit_grows_at;
	unsigned acquitted;          /* times that RETRYING was accepted there ... */
	struct px_mono acquitted_at; /* ... since then */
	uint32_t users;              /* assigned */
	uint64_t requests, errors;   /* since the start; streams count as requests */
	uint8_t
	    kind; /* enum px_kind: how changes are learned there; whoever has the pool sets it */
	char server[PX_SERVER_MAX];                   /* what it calls itself; "": not known */
	char last_error[PX_CODE_MAX + PX_DETAIL_MAX]; /* code, blank, detail; "" if never */
	struct px_wall last_error_at;
};

struct px_pool {
	struct px_gateway *gateway; /* owned */
	unsigned n;
	unsigned next_first, next_again; /* round robins */
	enum px_login login;
	int accused;        /* the gateway that said DENIED first; PX_NO_GATEWAY */
	bool refused_twice; /* the accused has said so again */
	bool renewed;       /* RETRYING is about a new password: refused, it is HELD */
	unsigned asked; /* how far round the ring, from the accused, gateways were asked since */
	int asking;     /* the gateway where the login's probe is in flight; PX_NO_GATEWAY */
	struct px_mono held_until; /* not OPEN: when the login's next probe is due */
	struct px_mono settled_at; /* set for 2 s after the first return from wholly down */
	uint32_t seed;             /* jitter */
};

/* What a verdict changed, for the engine to act on. When several did, the first of DOWN, HELD, OPEN, UP; health and login tell all. */
enum px_pool_change {
	PX_POOL_SAME,
	PX_POOL_GATEWAY_DOWN, /* its users must move */
	PX_POOL_GATEWAY_UP,   /* users without a healthy gateway may come */
	PX_POOL_HELD,         /* login has become HELD: nobody moves, nothing is sent */
	PX_POOL_OPEN /* sending may go on; a gateway may have become REFUSED: then its users must move; or UP */
};

int px_pool_init(
    struct px_pool *p, unsigned n,
    uint32_t
        seed); /* 0 or -ENOMEM; the caller then fills name and concurrency (limit is set by it) */
void px_pool_free(struct px_pool *p);
/*
 * The account hasn't been tried yet: login begins as RETRYING at the first gateway, so that a wrong password costs two failed
 * logins and not one per request that would have left at once.
 */
void px_pool_begin(struct px_pool *p, struct px_now now);
void px_pool_gateway(struct px_pool *p, unsigned i, const char *name, unsigned concurrency);

/* ---- while it runs ---- */

#define PX_GATEWAYS_MAX 1024 /* places */

/* One more: its place, DOWN and due to be probed; -ENOSPC or -ENOMEM. Pointers to gateways are no good any more. */
int px_pool_add(struct px_pool *p, const char *name, unsigned concurrency, struct px_now now);
/* It is LEAVING. Its probe, if one is under way, is the caller's to cancel; login goes on without it, 5 min later if that was the probe that
 * might have told, and a refused login too many. */
void px_pool_remove(struct px_pool *p, int gateway, struct px_now now);
/* Nothing is under way there any more: the place is free. */
void px_pool_free_place(struct px_pool *p, int gateway);
void px_pool_concurrency(struct px_pool *p, int gateway, unsigned n, struct px_now now);
/* The gateway of that name, whatever its case, that isn't LEAVING; or PX_NO_GATEWAY. */
int px_pool_find(const struct px_pool *p, const char *name);
/* Account or password are new ones. */
void px_pool_login_renewed(struct px_pool *p, struct px_now now);

/* Chooses, and counts the user there. PX_NO_GATEWAY: none is healthy. */
int px_pool_assign_first(struct px_pool *p);
/* The user leaves `from` (PX_NO_GATEWAY: none) for the healthy gateway with the fewest users; it may be the same one.
 * PX_NO_GATEWAY: none is healthy, and the user stays counted at `from`. */
int px_pool_assign_again(struct px_pool *p, int from);
/* As above for a user who has failed again and again: the next healthy one round the ring, whoever has the fewest. Not every gateway can serve
 * every mailbox (another site, another version), and the one with the fewest users may be one that can't. */
int px_pool_assign_next(struct px_pool *p, int from);
void px_pool_leave(struct px_pool *p, int gateway); /* the user is no more; PX_NO_GATEWAY is fine */

/* May a request (not a probe) start there now? False: not UP, login not OPEN, paused, or the limit of requests in flight reached. */
bool px_pool_may_send(const struct px_pool *p, int gateway, struct px_now now);
/* May a stream be opened: as above without the limit. */
bool px_pool_may_stream(const struct px_pool *p, int gateway, struct px_now now);
bool px_pool_settling(const struct px_pool *p, struct px_now now);
bool px_pool_any_up(const struct px_pool *p);

/* A request, stream or probe was started (counted in flight until ended() or probed()). `stream`: doesn't count against the limit. */
void px_pool_started(struct px_pool *p, int gateway, bool stream);
/* It was given up without an answer (not a probe). */
void px_pool_cancelled(struct px_pool *p, int gateway, bool stream);
/*
 * Every answer of a request that isn't a probe goes through here. `stream`: as given to started. r->verdict LOST, GAP, USER, TRANSIENT, VERSION, KIND say nothing about the
 * gateway beyond being an error for the counters (USER, LOST and GAP aren't counted as gateway errors), and all but TRANSIENT that the login is good.
 */
enum px_pool_change px_pool_ended(struct px_pool *p, int gateway, bool stream,
                                  const struct px_reply *r, struct px_now now);

/* One request there got no answer in time. That may be one slow mailbox: a probe decides for the gateway. Nothing if one is under way. */
void px_pool_suspect(struct px_pool *p, int gateway, struct px_now now);

/*
 * The gateway whose probe is due now, or PX_NO_GATEWAY. The caller must send exactly one probe there: started(), then probed(); or unsent(). Call until it says none.
 */
int px_pool_probe(struct px_pool *p, struct px_now now);
enum px_pool_change px_pool_probed(struct px_pool *p, int gateway, const struct px_reply *r,
                                   struct px_now now);
/* The probe couldn't be sent (nobody to ask about), and wasn't started(): again in a second; or, when the login is being asked about and the gateway
 * has gone down meanwhile, elsewhere. */
enum px_pool_change px_pool_probe_unsent(struct px_pool *p, int gateway, struct px_now now);

/* When the pool next wants something: a probe, the end of a pause or of settling. Not set: never. */
struct px_mono px_pool_due(const struct px_pool *p, struct px_now now);

const char *px_health_name(enum px_health h); /* "up", "down", "refused", "leaving" */
const char *px_login_name(enum px_login l);   /* "open", "retrying", "asking", "held" */

#endif
