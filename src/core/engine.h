/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine.h - the users, the deadline heap, the machines joined.
 *
 * The engine is told what happened and when, and appends what to do to its list of actions. It does
 * no I/O, reads no clock, and never calls back: whoever drives it (src/io through worker.c, or
 * tests/sim) carries the actions out after each turn and clears the list.
 *
 *     px_engine_http_data, _http_done, _sip_done, _user_put, _tick ...   any number of them
 *     px_engine_pump(e, now)      starts whatever may start now
 *     px_engine_actions(e, &n)    carry them out, then px_engine_actions_clear(e)
 *     px_engine_due(e, now)       sleep until then at most, then px_engine_tick()
 *
 * Every HTTP_START, SIP_START and SIP_MESSAGE ends in exactly one done(); a HTTP_CANCEL ends in none. Ids carry
 * a generation: an answer that comes too late is ignored.
 */
#ifndef PX_ENGINE_H
#define PX_ENGINE_H

#include "core/availability.h"
#include "core/backend.h"
#include "core/esc.h"
#include "core/pidf.h"
#include "core/pool.h"
#include "core/publication.h"
#include "core/reminder.h"
#include "core/watch.h"
#include "px_key.h"

/* Everything is copied or outlives the engine (backend); times in ms unless they say s. */
#define PX_CALLBACK_MAX 2083 /* ErrorInvalidPushSubscriptionUrl beyond */

struct px_engine_config {
	const struct px_backend *backend;
	const char *root; /* px_query.root, borrowed for good; NULL: where mailboxes usually are */
	struct px_map map;
	unsigned gateways;
	const char *const *gateway_name; /* gateways of them */
	const unsigned *gateway_concurrency;
	unsigned
	    kinds; /* PX_KIND_BIT()s that may be used, best first; without one that works: sweeps only */
	bool
	    kind_set; /* the best of them was asked for by name: where a server doesn't know it, that is a warning */
	const char *
	    callback; /* push: the beginning of what the server is told to call, borrowed for good; NULL: no push */
	int64_t horizon_s; /* how far ahead calendars are read */
	int64_t resync_s;  /* whoever has no stream is read at least this often */
	bool oof_replies;  /* automatic replies make a user away */
	int64_t stale_after_s;
	bool stale_available;          /* on_stale=available, else withdraw */
	struct px_pidf_style document; /* its texts outlive the engine; NULL: px_pidf_default's */
	bool note_subject;             /* documents say what the meeting is about that runs */
	bool publish_unavailable; /* publish_when=unavailable: what is free has no publication */
	uint32_t publish_expires; /* s */
	unsigned publish_rate;    /* per s, 0: none */
	unsigned publish_window;  /* in flight at most */
	unsigned presence_servers;
	int64_t remind_before_s; /* reminders of meetings so long ahead; 0: none */
	bool remind_details;     /* they say what the meeting is about */
	const char *
	    remind_from; /* a key: whom they are from; NULL: whom they are for; outlives the engine */
	const struct px_lang *remind_lang; /* NULL: English */
	int32_t (*utc_offset_s)(
	    struct px_wall w); /* of the clocks that people look at; NULL: UTC */
	uint32_t users_max;
	bool standby;  /* begins inactive: px_engine_active() */
	int log_level; /* enum px_log_level: what is below isn't even formatted */
	uint32_t seed; /* jitter; the same seed gives the same run */
};

enum px_log_level { PX_LOG_ERROR, PX_LOG_WARN, PX_LOG_NOTICE, PX_LOG_INFO, PX_LOG_DEBUG };

enum px_action_kind {
	PX_DO_HTTP_START,
	PX_DO_HTTP_CANCEL,
	PX_DO_SIP_START,
	PX_DO_SIP_MESSAGE,
	PX_DO_BOARD_PUT,
	PX_DO_BOARD_DROP,
	PX_DO_GATEWAY_GONE,
	PX_DO_LOG
};

struct px_action {
	enum px_action_kind kind;
	union {
		struct {
			uint64_t id;
			int gateway;
			enum px_ask ask;
			struct px_wire
			    wire;     /* the carrier may take it (and leave px_wire_new()), else it
			                        is freed by clear */
			char *cookie; /* the affinity of its group; NULL: none; freed by clear */
			int64_t timeout_ms; /* to the end of the answer; 0: none (a stream; the
			                       engine has a deadline for it) */
		} http;
		uint64_t http_cancel;
		struct {
			uint64_t id;
			unsigned server; /* which presence_server */
			enum px_pub_op op;
			char key[PX_AOR_MAX + 1];
			char etag[PX_ETAG_MAX + 1]; /* SIP-If-Match; "": none */
			uint32_t expires;           /* s; 0: remove */
			struct px_buf body;         /* as above; empty: none */
			int64_t timeout_ms;         /* a final answer or PX_SIP_TIMEOUT within it */
		} sip;
		struct {
			uint64_t id;
			unsigned server;
			char key[PX_AOR_MAX + 1]; /* to whom */
			const char *from;   /* a key, or NULL: from the same; outlives the engine */
			const char *lang;   /* BCP 47: the text's; outlives the engine */
			uint32_t expires;   /* s after which nobody wants to have it any more */
			struct px_buf body; /* UTF-8; as above */
			int64_t timeout_ms;
		} message;
		int gateway; /* GATEWAY_GONE: what it needed can be freed, and its place may soon be another's */
		uint32_t user; /* BOARD_PUT: its row has changed (px_engine_user); BOARD_DROP: it is
		                  free */
		struct {
			enum px_log_level level;
			char *text; /* one line without newline; freed by clear */
		} log;
	};
};

struct px_engine;

/* NULL when out of memory. */
struct px_engine *px_engine_new(const struct px_engine_config *c, struct px_now now);
void px_engine_free(struct px_engine *e);

/*
 * A user is there (again). key and mailbox are in their normal form (px_key.h), copied. A changed
 * mailbox starts the calendar anew and keeps the publication; on=false withdraws and stops. Returns
 * the user's id (slot), or -ENOSPC (users_max), -ENOMEM.
 */
int64_t px_engine_user_put(struct px_engine *e, const char *key, const char *mailbox, bool on,
                           struct px_now now);
int64_t px_engine_user_find(const struct px_engine *e, const char *key); /* id, or -ENOENT */
/* The user goes: unsubscribed, withdrawn, then forgotten (BOARD_DROP). 0 or -ENOENT. */
int px_engine_user_remove(struct px_engine *e, const char *key, struct px_now now);
/* Reads the calendar and verifies the publication now; a parked user is tried again. 0 or -ENOENT.
 */
int px_engine_user_refresh(struct px_engine *e, const char *key, struct px_now now);

/*
 * What an earlier process knew of a user (board, state_file), before the first pump: taken over,
 * not believed. 0 or -ENOENT.
 */
struct px_known {
	int gateway;              /* by index, or PX_NO_GATEWAY */
	enum px_kind kind;        /* of the subscription */
	unsigned minutes;         /* push: how often it is called at least */
	const char *subscription; /* NULL: none; so the others */
	const char *watermark;    /* pull */
	const char *etag;
	bool unsure;           /* a PUBLISH was in flight */
	struct px_wall lapses; /* when the presence server drops it */
};
int px_engine_user_restore(struct px_engine *e, const char *key, const struct px_known *k,
                           struct px_now now);

/*
 * Gateways while it runs. A new one gets a place (its index) and is probed at once; users come to it as others fail and as new ones are
 * added. -ENOSPC (PX_GATEWAYS_MAX), -ENOMEM. One that is removed is LEAVING: its users move as if it had failed, their subscriptions are
 * ended best effort, and after 30 s at most GATEWAY_GONE frees its place. A name may come again meanwhile, at another place.
 */
int px_engine_gateway_add(struct px_engine *e, const char *name, unsigned concurrency,
                          struct px_now now);
void px_engine_gateway_remove(struct px_engine *e, int gateway, struct px_now now);
int px_engine_gateway_find(const struct px_engine *e,
                           const char *name); /* not LEAVING; or PX_NO_GATEWAY */
void px_engine_gateway_concurrency(struct px_engine *e, int gateway, unsigned n, struct px_now now);
/* What is sent from now on goes with another account or password: it is tried once, at one gateway. */
void px_engine_login_renewed(struct px_engine *e, struct px_now now);
/* The same at the presence server: whoever was refused for the old one is tried at once. */
void px_engine_sip_login_renewed(struct px_engine *e, struct px_now now);
/* Of what meetings an earlier process reminded the user, before the first pump. 0 or -ENOENT. */
int px_engine_user_told(struct px_engine *e, const char *key, const struct px_told *told);
/* Whether the user isn't reminded of meetings (it is, until this is called). 0 or -ENOENT. */
int px_engine_user_quiet(struct px_engine *e, const char *key, bool quiet, struct px_now now);

/*
 * The second of a pair publishes nothing: it reads every calendar each resync, subscribes to none, and forgets its publications, which are the other
 * one's now. When it becomes active it reads everybody anew and publishes each as soon as that is done; whoever can't be read within 15 s is
 * published as last known. Nothing happens if it is so already.
 */
void px_engine_active(struct px_engine *e, bool active, struct px_now now);
bool px_engine_is_active(const struct px_engine *e);

void px_engine_http_data(struct px_engine *e, uint64_t id, const char *bytes, size_t n,
                         struct px_now now);
void px_engine_http_done(struct px_engine *e, uint64_t id, const struct px_http_answer *a,
                         struct px_now now);
/*
 * What a listener heard, one whole message from whoever knew where to send it: the backend reads it. `who` stood in the URL that was called
 * (config.callback and 8 hexadecimal digits); 0: that isn't known. UNKNOWN: it is about nothing that we have subscribed
 * to (the server may be told to stop). What is known is at worst read once too often, so a forged message does little harm.
 */
enum px_heard { PX_HEARD, PX_HEARD_UNKNOWN, PX_HEARD_BAD };
enum px_heard px_engine_notified(struct px_engine *e, uint32_t who, const char *bytes, size_t n,
                                 struct px_now now);
void px_engine_sip_done(struct px_engine *e, uint64_t id, const struct px_sip_answer *a,
                        struct px_now now);
/* A connection to the presence server was lost while nothing was in flight: it may have restarted
 * with empty memory (P7). */
void px_engine_sip_lost(struct px_engine *e, struct px_now now);
void px_engine_tick(
    struct px_engine *e,
    struct px_now now); /* deadlines that have passed; also after a jump of the wall clock */
void px_engine_pump(struct px_engine *e, struct px_now now);

/* When to call tick at the latest; never "not set", at most a minute ahead. */
struct px_mono px_engine_due(const struct px_engine *e, struct px_now now);

struct px_action *px_engine_actions(struct px_engine *e, size_t *n);
void px_engine_actions_clear(struct px_engine *e);

/* ---- what can be seen from outside ---- */

/* A view of one user, borrowed until the next call that changes the engine. */
struct px_user_view {
	uint32_t id;
	uint32_t generation;
	const char *key, *mailbox;
	bool on, leaving; /* leaving: removed, and withdrawn before it is forgotten */
	enum px_watch_state watch;
	int gateway;              /* PX_NO_GATEWAY: none */
	const char *subscription; /* NULL: none; of that kind */
	const char *watermark;    /* NULL: none */
	enum px_kind kind;
	unsigned minutes;
	enum px_presence presence; /* what watchers are to be shown; UNKNOWN: nothing */
	struct px_wall until;
	struct px_wall read_at; /* last good reading; 0: never */
	struct px_mono due;     /* BACKOFF, PARKED: until then; else not set */
	bool dirty;             /* a reading is due */
	const struct px_publication *publication;
	const struct px_calendar *calendar;
	bool quiet; /* isn't reminded */
	struct px_told told;
	const char *trouble; /* the last code that befell this user; "" if none */
};
/* false: no user has that id. */
bool px_engine_user(const struct px_engine *e, uint32_t id, struct px_user_view *out);
uint32_t px_engine_users_end(const struct px_engine *e); /* ids are below it */

struct px_engine_counts {
	uint32_t users, on;
	uint32_t watch[PX_WATCH_STATES]; /* by enum px_watch_state */
	uint32_t published, confirmed;   /* a document stands; ... and is the newest */
	uint32_t streams;
	uint64_t reads, events, publishes, subscribes, polls;
	uint64_t reminders, reminders_failed; /* delivered; given up */
	uint64_t notified, strays; /* messages that listeners heard; ... and that meant nothing */
};
struct px_engine_counts px_engine_counts(const struct px_engine *e);
const struct px_pool *px_engine_pool(const struct px_engine *e);
const struct px_esc *px_engine_esc(const struct px_engine *e);

#endif
