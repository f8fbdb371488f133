/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine_in.h - the engine's inside, shared by its files and nobody else:
 *   engine.c          users, deadlines, turns, what can be seen
 *   engine_follow.c   gateways and the users' watch machines: who is followed where
 *   engine_gateway.c  gateways that come and go
 *   engine_request.c  requests to gateways
 *   engine_kind.c     what each gateway's server can: version, kinds of subscription
 *   engine_poll.c     subscriptions without a stream: push and pull
 *   engine_stream.c   streams and their members
 *   engine_read.c     who waits to be read, and batches
 *   engine_oof.c      automatic replies
 *   engine_publish.c  the presence side: availability, publications
 *   engine_remind.c   reminders of meetings
 */
#ifndef PX_ENGINE_IN_H
#define PX_ENGINE_IN_H

#include "core/engine.h"
#include "core/read.h"
#include "core/reminder.h"
#include "core/stream.h"

#define PX_NOBODY UINT32_MAX
#define PX_UNLINKED (UINT32_MAX - 1) /* link.prev of a user who is in no list of that kind */
#define PX_STREAM_MEMBERS 200
#define PX_READ_USERS 100

/* Events are gathered for so long before their users are read (P2: published within 2 s; at most
 * 0.3 requests per change). */
#define PX_GATHER_MS 300
/* Between two batches of a gateway that nobody waits for (first readings, reopened streams,
 * sweeps). */
#define PX_COLD_SPACING_MS 40
/* Sweeps wait so long for company: the time between two of a user over this. */
#define PX_SWEEP_GATHER 30
/* Whose free/busy can't be read is read alone, and a day later once more in company. So often is the window halved for who has
 * too much in it: from 48 h to 45 min. Two that nobody waits for begin so far apart at a gateway. */
#define PX_ALONE_S 86400
#define PX_NARROW_MAX 6
#define PX_ALONE_SPACING_MS 20
/* Automatic replies: everybody is asked about so often, in batches, or one by one where there are none; so long after a change in
 * the calendar; so long after nothing could be learnt; and so long are they waited for before a user is shown for the first time. */
#define PX_OOF_MS 300000
#define PX_OOF_SINGLE_MS 3600000
#define PX_OOF_CHANGED_MS 10000
#define PX_OOF_AGAIN_MS 10000
#define PX_OOF_WAIT_MS 10000
/* So many batches may rest at a gateway before no other one is begun there; those whose calendar
 * has changed don't pay for a few bad mailboxes. */
#define PX_RESTING_MAX 4
#define PX_RESTING_HOT_MAX 16
/* Between two Subscribes at a gateway; shorter when more than that would take longer than
 * PX_RECOVERY_MS. */
#define PX_SUBSCRIBE_SPACING_MS 20
#define PX_RECOVERY_MS 45000
#define PX_ANSWER_MS 30000
#define PX_PROBE_MS 10000
#define PX_PUBLISH_MS 8000
#define PX_TAKEOVER_MS 15000 /* then who couldn't be read is published as last known */
#define PX_PUBLISH_PROBE_MS 3000
/* What was found of a server is doubted so often; without a word about it, a probe is repeated after that. */
#define PX_VERSION_AGAIN_MS 21600000
#define PX_VERSION_WAIT_MS 2000
#define PX_VERSION_UNKNOWN UINT8_MAX
/* Where there are no streams, a gateway that said nothing for so long is probed (P3). */
#define PX_QUIET_MS 45000
/* Polls at a gateway: so far apart, and so often per user at the most and at the least. 20 requests a second each gateway at most,
 * up to 6000 users there. */
#define PX_POLL_SPACING_MS 50
#define PX_POLL_MIN_MS 15000
#define PX_POLL_MAX_MS 300000
#define PX_POLL_USERS 50
#define PX_POLL_QUEUED UINT16_MAX
/* Where several can be asked about at once, polls that nobody waits for wait so long for company. */
#define PX_POLL_GATHER_MS 5000
/* After the hint that something has changed polls wait so long for company (P2). */
#define PX_HINT_GATHER_MS 500
/* A subscription that is believed to stand is renewed so soon; a poll may come before. */
#define PX_BELIEVED_MS 30000
/* So many changes without a hint, and with none ever: they don't arrive. */
#define PX_UNHEARD 3
/* A pull subscription outlives its last poll so long: six of the slowest; what is left behind goes by itself. */
#define PX_PULL_MINUTES 30
/* Push: so often the server calls though nothing happened; 10 calls a second from each gateway at most, up to 18,000 users there. */
#define PX_PUSH_USERS_A_MINUTE 600
#define PX_PUSH_MIN 2
#define PX_PUSH_MAX 30
#define PX_PUSH_GRACE_MS 30000
/* The first call comes at once, or 30 s later when the first attempt fails. */
#define PX_PUSH_FIRST_MS 75000
/* Where no stream has brought a word for so long, two heartbeats, and new ones don't: there are none any more. */
#define PX_STREAM_MUTE_MS 90000
/* Users who may share an id, or what stands in a URL. */
#define PX_NAMESAKES 64
/* Between two checks of every ETag, doubled while one asks for the next. */
#define PX_CHECK_MIN_MS 2000
#define PX_CHECK_MAX_MS 600000

/* Doubly linked lists of users by slot: a user is in at most one list of each kind. */
enum link_kind { LINK_READ, LINK_SUBSCRIBE, LINK_PUBLISH, LINK_REMIND, LINKS };
struct link {
	uint32_t prev, next;
};
struct list {
	uint32_t head, tail, n;
};

/* Who waits to be read, by urgency: a change was told; state isn't known or may be old; it is just time to look again. */
enum read_queue { READ_NONE, READ_HOT, READ_COLD, READ_SWEEP, READ_QUEUES };
/* And how: many calendars at once by what the account may see of them, or one as its owner sees it. */
enum lane { LANE_MANY, LANE_ONE, LANES };
/* How a user's meetings' details are asked for: with others as the account sees them; as the mailbox itself sees them. */
enum details_how { DETAILS_TOGETHER, DETAILS_ALONE_ONCE, DETAILS_ALONE };
enum publish_queue { PUBLISH_NONE, PUBLISH_URGENT, PUBLISH_CALM };

struct user {
	char *key; /* owned, with the mailbox behind its NUL */
	const char *mailbox;
	char *subscription; /* owned; NULL: none */
	char *
	    folder; /* owned; path of its calendar, where that must be asked for; NULL: not known */
	char *watermark; /* owned; of a pull subscription; NULL: none */
	uint32_t subscription_hash;
	uint32_t generation;
	uint32_t key_hash;
	uint32_t heap_at;   /* place in the heap; PX_NOBODY: no deadline */
	struct px_mono due; /* the earliest of its deadlines, as the heap has it */

	struct px_calendar calendar;
	struct px_watch watch;
	struct px_publication publication;
	struct px_reminder reminder;
	struct link link[LINKS];

	struct px_mono turn_at;   /* availability changes by itself */
	struct px_mono good_at;   /* until then what we know is good: last reading, or end of the
	                            stream without a change unread */
	struct px_mono read_due;  /* its next own reading: after a failure, or the sweep */
	struct px_mono sub_due;   /* pull: its next poll; push: it is called until then */
	struct px_mono renew_due; /* of a subscription whose lifetime the server has set */
	uint32_t read_at;         /* s, wall: last good reading */
	uint32_t oof_from, oof_until; /* s, wall: automatic replies; 0: they are off */
	uint32_t
	    alone_until; /* s, wall: it can't be read as it should be first, and is read the other way; 0: it can, as far as is known */
	uint32_t doc_since, doc_until;          /* s; 0: not in the document */
	uint32_t doc_next_from, doc_next_until; /* of what comes next, with timed_status */
	uint32_t
	    doc_subject; /* hash of what its meeting is about, with note_subject; 0: that isn't shown */
	uint32_t asking; /* slot of its Subscribe under way + 1; 0: none */
	struct px_mono publish_began;
	uint32_t publish_asked; /* Expires of the one under way */
	int16_t gateway;
	uint16_t stream;       /* + 1; 0: none */
	uint16_t polling;      /* + 1; 0: none; PX_POLL_QUEUED */
	uint8_t kind, minutes; /* of its subscription: enum px_kind; how often it is called */
	uint8_t poll_failures; /* in a row */
	uint16_t publish_no;   /* counts its PUBLISHes: in the id */
	uint16_t message_no;   /* ... its MESSAGEs */
	uint32_t details; /* the request for its meetings' details that is under way + 1; 0: none */
	uint8_t trouble;  /* index into engine.trouble */
	uint8_t read_failures;
	uint8_t narrow; /* times that its window was halved */
	bool
	    denied; /* a request about it was refused as if the login were wrong, and none went well since */
	uint8_t read_queue, publish_queue;
	uint8_t presence; /* in the wanted document; PX_UNKNOWN: none is wanted */
	uint8_t next;     /* in the document, with timed_status; PX_UNKNOWN: nothing */
	uint8_t known;    /* last presence that the calendar gave */
	uint8_t etag_epoch;
	uint8_t group,
	    refused_ids; /* at its gateway; times in a row its id was refused there before it was followed */
	uint8_t details_alone; /* enum details_how */
	bool quiet;            /* is not reminded */
	bool used, on, leaving, stale;
	bool oof_ask;   /* automatic replies are to be asked about soon */
	bool oof_told;  /* they are known, or weren't to be had in time */
	bool oof_waits; /* nothing is shown until then */
	bool reading;   /* in a batch under way */
	uint8_t again;  /* enum read_queue: marked meanwhile */
	bool called;    /* before its Subscribe was answered */
	bool hinted;    /* its next poll is because of a hint */
	bool calls;     /* pull: what changes from now on is told to us, too */
	bool old;       /* while its subscription is believed to stand from before */
	bool kept;      /* its subscription is of before its server was gone */
	bool renamed;   /* while reading: the answer will be about another mailbox */
	bool dirty;     /* a change or a first reading hasn't been read yet */
	bool touched;   /* its board row must be put */
	bool told;      /* its publication knows what watchers are to be shown */
};

struct stream {
	struct px_stream machine;
	bool used;
	bool gone; /* this connection named bad ids */
	uint8_t group;
	int gateway;
	uint64_t request; /* 0: none */
	unsigned n, anchor;
	uint32_t member[PX_STREAM_MEMBERS];
};

struct reading {
	struct px_read machine;
	bool used;
	uint8_t lane;
	uint64_t request; /* while ASKING */
	int gateway;
	bool locating; /* LANE_ONE: first it is asked where the calendar is */
	struct px_interval
	    *part; /* LANE_ONE: what has come of a calendar that is read in parts; owned */
	size_t parts, offset, more;
	unsigned n;
	struct px_wall from, until;
	struct member {
		uint32_t slot, generation;
	} user[PX_READ_USERS];
	struct px_calendar *staged; /* n of them while ASKING */
	uint8_t *refused;           /* enum px_verdict + 1 */
	uint8_t *code;              /* trouble index of a refusal */
};

/* Some users who are asked about, at a gateway. */
struct oof {
	struct px_mono next,
	    soon; /* the next whose turn it is; those with oof_ask, not set: there are none */
	uint64_t request; /* 0: none */
	uint32_t cursor;
	bool single;      /* there is no asking about many */
	uint16_t doubted; /* so many are asked about one by one, as one of them may be to blame */
	uint16_t n;
	struct member user[PX_READ_USERS];
	struct replies {
		uint32_t from, until;
		bool known;
	} said[PX_READ_USERS];
};

/* Some users who are asked about in one poll. */
struct polling {
	bool used, renew;
	int gateway;
	uint64_t request;
	unsigned n;
	struct polled {
		uint32_t slot, generation;
		uint32_t lifetime_s;
		uint8_t said;
		char *watermark; /* owned */
	} user[PX_POLL_USERS];
};

enum owner {
	OWNER_NONE,
	OWNER_USER,
	OWNER_STREAM,
	OWNER_READING,
	OWNER_OOF,
	OWNER_DETAILS,
	OWNER_POLLING,
	OWNER_PROBE,
	OWNER_NOBODY
};
struct request {
	uint32_t generation;
	uint8_t owner;
	uint8_t ask;
	int16_t gateway;
	uint32_t index; /* user, stream, reading, polling or gateway */
	uint32_t user_generation;
	struct px_parse *parse;
	uint8_t version, login_epoch;
	uint8_t group, led, kind, minutes; /* a Subscribe's; led: the group's, as it was sent */
	char *got, *watermark;             /* a new subscription's; owned */
	uint32_t lifetime_s;
};

/*
 * Who can share a stream: subscriptions that live on one server behind the gateway. Which those are isn't known without
 * Autodiscover. So everybody begins in group 0, whose first Subscribe goes alone and sets the affinity (X-AnchorMailbox, cookie) that all
 * the others of the group are sent with; whoever's id is refused there twice goes on to the next group.
 */
#define PX_GROUPS 8
struct group {
	char *anchor;      /* owned; NULL: not begun */
	char *cookie;      /* owned; NULL: the server set none */
	uint64_t beginner; /* its first Subscribe while that is under way; 0: none */
	uint8_t failures;  /* Subscribes in a row that were refused */
	uint8_t led;       /* counts the cookies it has had */
	uint16_t young;    /* stream that gathers + 1 */
};

/* A subscription that is to be ended when there is time for it. */
struct farewell {
	char *mailbox, *folder, *id; /* owned; folder NULL: not known */
};

struct at_gateway {
	struct list read[LANES][READ_QUEUES], subscribe, poll;
	struct px_mono read_since[LANES][READ_QUEUES]; /* first mark of what is in the list */
	unsigned batches, alone; /* asking or resting there; those of LANE_ONE among them */
	struct px_mono alone_next;
	struct oof oof;
	struct px_mono cold_next, subscribe_next;
	int64_t subscribe_spacing;
	struct group group[PX_GROUPS];
	bool evacuated;
	struct px_mono
	    poll_at; /* when who waits in `poll` is asked about, unless they are as many as may be at once before */
	bool
	    namesakes; /* two subscriptions there have the same id: they are of different servers */
	struct farewell *farewell; /* owned; farewells of them, room for the next power of two */
	unsigned farewells;
	struct px_mono leaving_until; /* set while LEAVING */
	bool reachable;               /* when it began to leave */
	uint8_t version, trying;      /* what is asked in; what the next probe is asked in */
	uint8_t kind,
	    broken;       /* enum px_kind to be had there; PX_KIND_BIT()s that don't work there */
	bool polled_last; /* the last that was sent was a poll, not a Subscribe */
	bool called;      /* its server's calls arrive */
	uint8_t doubts;   /* Subscribes of that kind in a row that it refused as such ... */
	uint32_t doubted_by;      /* ... all about this user */
	struct px_mono called_at; /* the last call; not set: none */
	struct px_mono
	    streamed_at; /* the last word on any stream since it came up; not set: none */
	uint8_t unheard; /* changes that none has told of, up to PX_UNHEARD */
	uint32_t trial;  /* slot + 1 of who waits for the first of them */
	struct px_mono again,
	    quiet_at;        /* versions and kinds are doubted; it is asked for a sign of life */
	uint32_t probe_user; /* where the search for somebody to ask about goes on */
};

#define CHUNK 1024u
#define TROUBLES 255

struct px_engine {
	struct px_engine_config config; /* names are not kept: the pool has them */
	struct px_pool pool;
	struct px_esc esc;
	struct at_gateway *at; /* one for each place of the pool */
	unsigned places;
	uint8_t login_epoch; /* counts accounts and passwords */
	struct user **chunk;
	uint32_t chunks, end, users, free_slot; /* free slots are chained through link[0].next */
	uint32_t *table, table_size;            /* key -> slot + 1, open addressing */
	uint32_t *heap, heap_n;
	struct stream **stream;
	unsigned streams, streams_cap;
	struct reading **reading;
	unsigned readings, readings_cap;
	struct polling **polling;
	unsigned pollings, pollings_cap;
	uint32_t *id, ids, id_size; /* subscription -> slot + 1, of those without a stream */
	struct request *request;
	uint32_t requests, requests_cap;
	struct details **details; /* requests under way; NULL: a free place */
	unsigned details_n;
	struct list curious, messages;           /* wait for details; with a text for their turn */
	struct px_mono curious_at, message_next; /* not before then */
	unsigned messages_in_flight;
	struct list urgent, calm;
	unsigned calm_debt;
	uint32_t
	    prober; /* where the search for somebody to probe the presence server with goes on */
	uint32_t *touched, touched_n, touched_cap; /* slots whose board row must be put */
	struct px_action *action;
	size_t actions, actions_cap;
	char *trouble[TROUBLES];
	unsigned troubles;
	int64_t wall_offset; /* wall - mono, to notice jumps */
	uint32_t homeless;
	uint32_t expires_floor;
	bool active;
	struct px_mono active_at;  /* since then; what was read before isn't published ... */
	struct px_mono hold_until; /* ... before then; not set: all is */
	uint8_t check_epoch;
	struct px_mono check_next; /* not before then */
	int64_t check_spacing;
	const char *check_why; /* static; NULL: none is asked for */
	bool suspect; /* a connection was lost: does the presence server still know what it knew? */
	uint32_t seq;
	uint64_t hearing;  /* the request whose answer is being read */
	struct px_now now; /* while it is */
	struct px_engine_counts counts;
};

/* engine.c */
struct user *px_user(const struct px_engine *e, uint32_t slot);
void px_user_touch(struct px_engine *e, uint32_t slot);
void px_user_schedule(struct px_engine *e, uint32_t slot); /* after any of its deadlines changed */
void px_user_maybe_free(struct px_engine *e, uint32_t slot);
struct px_action *px_action_add(struct px_engine *e,
                                enum px_action_kind kind); /* NULL: out of memory */
void px_say(struct px_engine *e, enum px_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
uint8_t px_trouble(struct px_engine *e, const char *code); /* interns a code; 0 is "" */
void px_list_push(struct px_engine *e, struct list *l, enum link_kind k, uint32_t slot);
void px_list_push_front(struct px_engine *e, struct list *l, enum link_kind k, uint32_t slot);
void px_list_take(struct px_engine *e, struct list *l, enum link_kind k, uint32_t slot);

uint32_t px_text_hash(const char *s);

/* engine_request.c */
/* Sends a query for an owner, to the server that `affinity` leads to (NULL: any); the answer goes to the owner's said and done. 0: out of memory. */
uint64_t px_request_start(struct px_engine *e, enum owner owner, uint32_t index, int gateway,
                          const struct group *affinity, const struct px_query *q);
void px_request_cancel(struct px_engine *e, uint64_t id); /* ends without done; unknown is fine */
void px_requests_free(struct px_engine *e);

/* All at a gateway end without done: its probe alone, or everything. */
void px_requests_cancel_at(struct px_engine *e, int gateway, bool all);

/* engine_gateway.c */
int px_gateway_place(struct px_engine *e, int g); /* empty; 0 or -ENOMEM */
void px_farewell(struct px_engine *e, int g, const struct user *u, const char *id);
void px_gateways_pump(struct px_engine *e, struct px_now now);
struct px_mono px_gateways_due(const struct px_engine *e, struct px_now now);
void px_gateways_free(struct px_engine *e);
/* engine_kind.c */
/* May a request that isn't a probe, or a stream, start there now? */
bool px_may_ask(const struct px_engine *e, int g, struct px_now now);
bool px_may_stream(const struct px_engine *e, int g, struct px_now now);
void px_gateway_begin(struct px_engine *e, int g, struct px_now now);
void px_gateway_lost(struct px_engine *e, int g);
void px_gateway_back(struct px_engine *e, int g, struct px_now now);
void px_gateway_heard(struct px_engine *e, int g, struct px_now now); /* a sign of life */
/* Such subscriptions can't be had there: its users take the next kind. */
void px_kinds_choose(struct px_engine *e,
                     struct px_now now); /* what can be had has changed everywhere */
/* A Subscribe was refused as if the kind were to blame. It is if a second user is told so, or the same three times, and nobody's was accepted in
 * between, and nobody there has one: then true, and whoever is there takes the next kind. False: it may be that user alone. */
bool px_kind_refused(struct px_engine *e, int g, uint32_t slot, enum px_kind kind,
                     const struct px_reply *r, struct px_now now);
void px_kind_broken(struct px_engine *e, int g, enum px_kind kind, const char *code,
                    const char *detail, struct px_now now);
/* What an answer says about the server; the verdict may become another one. */
void px_version_answered(struct px_engine *e, const struct request *r, struct px_reply *reply,
                         struct px_now now);
void px_version_next(struct px_engine *e, int g, bool refused,
                     struct px_now now); /* after a probe: if its version isn't known yet */
void px_kinds_tick(struct px_engine *e, struct px_now now);
struct px_mono px_kinds_due(const struct px_engine *e);

/* engine_poll.c */
int64_t px_poll_interval(const struct px_engine *e, int g);
unsigned px_subscribe_minutes(const struct px_engine *e, int g, enum px_kind kind);
/* Subscribed; `old`: by an earlier process. */
void px_gather(struct px_engine *e, uint32_t slot, bool old, struct px_now now);
void px_poll_leave(struct px_engine *e, uint32_t slot); /* before its subscription is forgotten */
void px_poll_user_due(struct px_engine *e, uint32_t slot, struct px_now now);
void px_renew_at(struct user *u, uint32_t lifetime_s, struct px_now now);
void px_polling_said(struct px_engine *e, unsigned index, const struct px_item *item);
void px_polling_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                     struct px_now now);
void px_polls_evacuate(struct px_engine *e, int g);
void px_polls_pump(struct px_engine *e, int g, struct px_now now);
struct px_mono px_polls_due(const struct px_engine *e, struct px_now now);
void px_polls_free(struct px_engine *e);

/* engine_stream.c */
void px_stream_join(struct px_engine *e, uint32_t slot, struct px_now now);
void px_stream_leave(struct px_engine *e, uint32_t slot); /* none is fine */
void px_stream_said(struct px_engine *e, unsigned i, const struct px_item *item);
void px_stream_done(struct px_engine *e, unsigned i, const struct px_reply *reply,
                    struct px_now now);
void px_streams_tick(struct px_engine *e, struct px_now now);
struct px_mono px_streams_due(const struct px_engine *e);
void px_streams_forget(struct px_engine *e, int g); /* those without members */
void px_streams_free(struct px_engine *e);
/* Its id was refused: before it was ever followed, and twice, it belongs to another server than its group. */
void px_misplaced(struct px_engine *e, uint32_t slot);
/* The affinity of a group is forgotten: the next Subscribe begins it anew. */
void px_group_end(struct group *g);

/* engine_read.c */
void px_mark(struct px_engine *e, uint32_t slot, enum read_queue why,
             struct px_now now); /* its calendar should be read */
void px_unmark(struct px_engine *e,
               uint32_t slot); /* out of its gateway's queues; a batch under way goes on */
void px_reading_said(struct px_engine *e, unsigned index, const struct px_item *item);
void px_reading_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                     struct px_now now);
void px_set_sweep(struct px_engine *e, struct user *u,
                  struct px_now now); /* when it is read next without a reason */
bool px_readings_stuck(const struct px_engine *e, int g,
                       enum read_queue q); /* too many rest for another to begin */
void px_readings_evacuate(struct px_engine *e, int g, struct px_now now);
void px_readings_pump(struct px_engine *e, int g, struct px_now now);
void px_readings_tick(struct px_engine *e, struct px_now now);
struct px_mono px_readings_due(const struct px_engine *e, struct px_now now);
void px_readings_free(struct px_engine *e);

/* What is known of it may not be all from here on; until now its subscription has vouched for it. */
static inline void px_vouched(struct user *u, struct px_now now)
{
	if (u->watch.state == PX_WATCH_FOLLOWED && !u->dirty)
		u->good_at = now.mono;
}

/* engine_follow.c */
void px_watch_event(struct px_engine *e, uint32_t slot, enum px_watch_event ev, struct px_now now);
/* Everybody there moves; its streams and resting batches end. */
void px_evacuate(struct px_engine *e, int g, struct px_now now);
/* What an answer or a probe changed for the gateway and so for its users. */
void px_gateway_changed(struct px_engine *e, int g, enum px_pool_change change,
                        const struct px_reply *r, struct px_now now);
/* The answer to a Subscribe; what it brought is taken from r, or left. */
void px_subscribed(struct px_engine *e, struct request *r, uint64_t id,
                   const struct px_reply *reply, const char *cookie, struct px_now now);
void px_adopt(struct px_engine *e, uint32_t slot, const struct px_known *k, struct px_now now);
void px_follow_tick(struct px_engine *e, struct px_now now);
void px_follow_user_due(struct px_engine *e, uint32_t slot, struct px_now now);
struct px_mono px_follow_user_deadline(const struct px_engine *e, const struct user *u);
void px_follow_pump(struct px_engine *e, struct px_now now);
struct px_mono px_follow_due(const struct px_engine *e, struct px_now now);

/* engine_oof.c */
void px_oof_want(struct px_engine *e, uint32_t slot, int64_t in_ms, struct px_now now);
void px_oof_forget(struct user *u); /* another mailbox */
void px_oof_said(struct px_engine *e, int g, const struct px_item *item);
void px_oof_done(struct px_engine *e, int g, const struct px_reply *reply, struct px_now now);
void px_oof_evacuate(struct px_engine *e, int g);
void px_oof_pump(struct px_engine *e, int g, struct px_now now);
struct px_mono px_oof_due(const struct px_engine *e, int g, struct px_now now);
bool px_oof_awaited(const struct px_engine *e, const struct user *u); /* nothing is known so far */
/* Do they make the user away? until: when that may change by itself; 0: it doesn't. */
bool px_oof_away(const struct user *u, struct px_wall now, struct px_wall *until);

/* engine_publish.c */
void px_present(struct px_engine *e, uint32_t slot,
                struct px_now now); /* re-evaluates a user's availability */
void px_present_stale(struct px_engine *e, uint32_t slot, struct px_now now);
void px_withdraw(struct px_engine *e, uint32_t slot, struct px_now now);
void px_publish_do(struct px_engine *e, uint32_t slot, unsigned todo, struct px_now now);
void px_check_all(
    struct px_engine *e, const char *why,
    struct px_now now); /* now, or when the last one is long enough ago; why: static */
void px_publish_pump(struct px_engine *e, struct px_now now);
void px_publish_tick(struct px_engine *e, struct px_now now);

/* engine_remind.c */
#define PX_MESSAGE_BIT (UINT32_C(1) << 31) /* in an id: a MESSAGE's, not a PUBLISH's */
static inline uint64_t px_message_id(const struct user *u, uint32_t slot)
{
	return (uint64_t)(u->generation & 0xffff) << 48 | (uint64_t)u->message_no << 32 |
	       PX_MESSAGE_BIT | slot;
}
/* Its calendar, the clock, or whether it is reminded has changed. */
void px_remind_plan(struct px_engine *e, uint32_t slot, struct px_now now);
void px_remind_due(struct px_engine *e, uint32_t slot, struct px_now now);
void px_remind_end(struct px_engine *e, uint32_t slot); /* nothing is due any more */
void px_details_said(struct px_engine *e, unsigned index, const struct px_item *item);
void px_details_done(struct px_engine *e, unsigned index, const struct px_reply *reply,
                     struct px_now now);
void px_remind_answered(struct px_engine *e, uint64_t id, const struct px_sip_answer *a,
                        struct px_now now);
void px_remind_pump(struct px_engine *e, struct px_now now);
struct px_mono px_reminders_due(const struct px_engine *e, struct px_now now);
void px_reminders_free(struct px_engine *e);

#endif
