/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim_in.h - the inside of the simulation, shared by its files and nobody else:
 *   sim.c   the world: time, people and their meetings, the oracle, the presence server, faults, the run
 *   ews.c   a pool of CAS, spoken to in the lines of fake.h
 *   dav.c   a front end, spoken to in WebDAV
 */
#ifndef SIM_IN_H
#define SIM_IN_H

#include "sim.h"

#include "backend/ews.h"
#include "backend/webdav.h"
#include "core/engine.h"
#include "fake.h"

#define S 1000LL
#define MIN (60 * S)
#define HOUR (60 * MIN)
#define DAY (24 * HOUR)
#define MEETINGS 64
#define PX_GATEWAYS 8     /* at most */
#define HIDDEN 20         /* every so many users show the account no free/busy */
#define WIDE (3 * HIDDEN) /* ... and have more in their calendars than one answer takes */

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
	W_EVENT, /* user: whoever has subscribed is told */
	W_CALL,  /* a: subscription, b: sub.call_no: the server calls */
	W_LATE,  /* p: what is called once more */
	W_SIP_DONE,
	W_FAULT,
	W_HEAL, /* a: HEAL_ or a CAS */
	W_STEP
};
enum { HEAL_ESC = 1000, HEAL_LISTENER, HEAL_KIND }; /* HEAL_KIND + CAS */

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

#define SUBS 8 /* that an event is told to: the last ones */
struct person {
	struct meeting meeting[MEETINGS];
	unsigned meetings;
	struct published doc[4];
	unsigned docs;
	int64_t wrong_since; /* mono; 0: right */
	int64_t allowance;   /* of the difference that is there */
	int64_t excused;     /* it needn't be shown as it should be until */
	int64_t blind;       /* its calendar may not be readable until ... */
	int64_t blind_since; /* ... since then */
	bool vouched;        /* it was followed then */
	int64_t parkable;    /* it may be parked until */
	int64_t unread;      /* the changes that there were needn't be known until */
	int64_t moving;      /* its mailbox is served nowhere until */
	uint32_t serves;     /* the CAS that serve it, by bit; 0: all do */
	bool in_flight, listed;
	uint32_t sub[SUBS]; /* the last that were made for it */
	unsigned subs;
	uint64_t boundary_no;
};

struct sub {
	uint32_t user;
	unsigned cas;
	uint32_t epoch; /* of its CAS when it was made */
	enum px_kind kind;
	bool alive, pending, gap, more;
	uint32_t http; /* slot of the stream + 1 */
	/* push */
	uint32_t who, call_no;
	unsigned minutes, attempts;
	int64_t calls_at, failing_since;
	/* pull: dies then if it isn't asked about or renewed */
	int64_t ends;
	unsigned watermark;
};

struct http {
	uint64_t id; /* 0: free */
	unsigned cas;
	enum px_ask ask;
	char *target, *head, *body;
	bool open;
	int64_t started;
	uint32_t anchor, routed; /* impersonated; X-AnchorMailbox */
	uint32_t *member;        /* subscriptions of an open stream; owned */
	unsigned members;
};

struct cas {
	enum cas_state state;
	bool died; /* ever: its share of the users is its own matter since */
	unsigned in_flight;
	unsigned version;                /* the newest it knows is this one, 0 the newest of all */
	unsigned broken;                 /* PX_KIND_BIT()s that don't work there */
	bool mute;                       /* streams begin and say nothing */
	uint32_t epoch;                  /* restarts: what was subscribed before is gone */
	int64_t quiet_from, quiet_until; /* it has asked not to be asked */
	int64_t down_at, heals_at, probed_at;
};

struct world {
	struct sim_config c;
	struct sim_report *r;
	struct px_engine *e;
	const struct px_meaning *table; /* what the product knows of answers */
	size_t rows;
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
	int64_t excused; /* nothing need be shown as it should be until */
	enum esc_state esc;
	bool deaf;         /* our listener can't be reached */
	bool session_over; /* WebDAV: until the next login */
	bool coded;        /* there were codes */
	bool *code_seen;   /* by row */
	unsigned counted;  /* users that a request is about */
	uint16_t *anchors; /* hanging connections per mailbox */
	int64_t even_at;   /* when survivors must be even and everybody followed (P3); 0: not */
	uint64_t even_disturbed; /* unless something else has happened since */
	uint64_t disturbed;
	/* the first login that was refused; the last one of those that began after it, and how many they are */
	int64_t denied_first, denied_last;
	unsigned denials;
	/* what is asked each second of a recovery */
	bool recovering;
	int64_t recovery_from, back_at; /* then everybody must be followed; 0: that was seen */
	unsigned per_second[400];
};

/* sim.c */
uint64_t sim_rnd(struct world *w);
int64_t sim_between(struct world *w, int64_t from, int64_t to);
bool sim_chance(struct world *w, double p);
struct px_now sim_now(const struct world *w);
void sim_trace(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_complain(struct world *w, uint64_t *counter, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void sim_later(struct world *w, int64_t at, enum what what, uint64_t a, uint32_t b, void *p);
/*
 * Excuses. A calendar that can't be read excuses nothing of what is known of it: only who has a change that isn't known yet. What the presence
 * server does, or the clock, excuses whatever is shown.
 */
void sim_excuse_read(struct world *w, uint32_t u, int64_t until);
void sim_excuse_read_all(struct world *w, int64_t until);
void sim_excuse_shown(struct world *w, uint32_t u, int64_t until);
int64_t sim_recovery(const struct world *w); /* of everybody, ms */
void sim_excuse_users_of(struct world *w, unsigned cas, int64_t until);
struct http *sim_http(struct world *w, uint64_t id); /* NULL: it has ended */
void sim_http_done(struct world *w, uint64_t id, const struct px_http_answer *a);
void sim_http_fails(struct world *w, uint64_t id, enum px_http_fail fail);
void sim_http_status(struct world *w, uint64_t id, int status);
void sim_say(struct world *w, uint64_t id, const char *text);
uint32_t sim_user(const char *mailbox);
bool sim_alive(const struct world *w, const struct sub *sub);
size_t sim_subscribe(struct world *w, uint32_t user, unsigned cas, enum px_kind kind);
/* A change must be known after so long, by how its user is followed at the moment. */
int64_t sim_change_allowance(const struct world *w, uint32_t user);

/* What a verdict on a request may cost, and whom: said before it is told. */
void sim_excuse_verdict(struct world *w, const struct http *h, enum px_verdict v);

/* The two kinds of Exchange. */
struct exchange {
	const struct px_backend *backend;
	/* A request that gets through is answered. */
	void (*answer)(struct world *w, uint64_t id);
	/* ... with a code, by its row in the table. `wish`: how long the server wants to be left alone, ms; 0: it doesn't say. */
	void (*refuse)(struct world *w, uint64_t id, const char *code, int64_t wish);
	enum px_verdict (*verdict)(const struct http *h, const char *code); /* of that */
	void (*about)(struct world *w, const struct http *h,
	              void (*each)(struct world *w, uint32_t user, int64_t until), int64_t until);
	void (*event)(struct world *w, uint32_t user); /* its calendar has changed */
	void (*call)(struct world *w, uint32_t sub, uint32_t call_no);
	void (*forge)(struct world *w);
	void (*gap)(struct world *w, unsigned cas);
	void (*heal)(struct world *w,
	             unsigned cas); /* what waited there is told; NULL: nothing does */
};
extern const struct exchange sim_ews, sim_dav;

#endif
