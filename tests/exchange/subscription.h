/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * subscription.h - who is told of which calendar's changes, and the streams that tell it.
 *
 * A subscription lives on the CAS, and the server behind it, that made it and nowhere else. A pull subscription keeps its
 * events for GetEvents, a streaming one until they were sent in a stream. Times are monotonic
 * milliseconds, given by the caller; nothing here does I/O: a stream collects bytes in out and
 * calls wake when there are some, or when it ended.
 */
#ifndef EXCHANGE_SUBSCRIPTION_H
#define EXCHANGE_SUBSCRIPTION_H

#include <uthash.h>

#include "counters.h"
#include "soap.h"
#include "store.h"

/* What Exchange keeps for a subscription nobody reads; one more and the oldest is missed. */
#define QUEUE_MAX 1000
/* Events in one notification, or in one answer to GetEvents. */
#define EVENTS_AT_ONCE 50
#define STREAM_SUBSCRIPTIONS_MAX 200
/* A streaming subscription without a stream dies after so many minutes. */
#define STREAMING_IDLE_MINUTES 30

enum event_mask {
	EV_COPIED = 1,
	EV_CREATED = 2,
	EV_DELETED = 4,
	EV_MODIFIED = 8,
	EV_MOVED = 16,
	EV_NEW_MAIL = 32,
	EV_FREEBUSY = 64
};

struct event {
	uint64_t number; /* in the mailbox's subscription, from 1 */
	enum event_mask kind;
	bool folder; /* about the calendar folder, not about an item */
	uint32_t ordinal, change;
	int64_t wall_s;
};

struct stream;

#define SUBSCRIPTION_ID 120

struct subscription {
	char id[SUBSCRIPTION_ID];
	UT_hash_handle hh;
	unsigned cas, backend;
	struct mailbox *mailbox;
	struct subscription *prev, *next; /* of the same mailbox */
	unsigned mask;                    /* enum event_mask, or-ed */
	bool pull;
	struct push *push;   /* of a push subscription (push.h); else NULL */
	bool calendar;       /* the calendar is among its folders; otherwise it hears nothing */
	bool deaf;           /* its mailbox moved away: lives, and hears nothing */
	bool missed;         /* events were lost for want of room */
	struct event *queue; /* a ring */
	uint32_t qcap, qfirst, qlen;
	uint64_t last; /* number of the newest event */
	struct stream *stream;
	int64_t idle_since_ms, idle_max_ms;
};

struct stream {
	unsigned cas, backend;
	struct mailbox *anchor; /* whose HangingConnectionLimit it counts against */
	struct subscription *subs[STREAM_SUBSCRIPTIONS_MAX];
	unsigned nsubs;
	int64_t ends_ms, beat_ms;
	struct buf out;
	bool over; /* nothing follows out any more */
	bool dirty;
	bool muted;  /* its CAS hangs: nothing is written */
	void *owner; /* the caller's */
	struct stream *prev, *next;
};

struct subs_limits {
	int64_t minute_ms;    /* how long a minute is: 60000, or less in tests */
	int64_t heartbeat_ms; /* 45000 */
	unsigned per_mailbox; /* EWSMaxSubscriptions: 5000 */
	unsigned hanging;     /* HangingConnectionLimit: 3 */
	enum version version;
	enum dialect dialect;
};

struct subs;

typedef void stream_wake_fn(void *arg, struct stream *st);

/* The store's changes are listened to from now on. counters and store outlive it. */
struct subs *subs_new(unsigned ncas, const struct subs_limits *limits, struct store *store,
                      struct counters *counters, stream_wake_fn *wake, void *arg);
void subs_free(struct subs *s);

struct sub_ask {
	unsigned cas, backend;
	struct mailbox *mailbox;
	unsigned mask;
	bool pull, calendar;
	int timeout_minutes;  /* of a pull subscription; of a push one StatusFrequency */
	const char *push_url; /* NULL: not push */
};
/* NULL: the mailbox has as many as it may. */
struct subscription *sub_create(struct subs *s, const struct sub_ask *ask, int64_t now_ms);
/* On whichever server behind that CAS. */
struct subscription *sub_find(struct subs *s, unsigned cas, const char *id);
/*
 * Ends a subscription. code: the ResponseCode with which an open stream is told, or NULL: it
 * isn't. A stream left without subscriptions ends.
 */
void sub_drop(struct subs *s, struct subscription *sub, const char *code);
/* mailbox, cas and backend may be NULL and -1: any. Returns how many. */
unsigned subs_drop(struct subs *s, const struct mailbox *mb, int cas, int backend,
                   const char *code);
unsigned subs_count(const struct subs *s, unsigned cas);
void subs_each(struct subs *s, void (*fn)(void *arg, const struct subscription *sub), void *arg);

/* Watermarks of pull subscriptions. */
void sub_watermark(struct buf *b, const struct subscription *sub, uint64_t number);
/* False: not a watermark. */
bool watermark_parse(const char *text, uint64_t *number);
/*
 * Appends the events (t:CreatedEvent ...) after that number, at most EVENTS_AT_ONCE; *last: the
 * number of the last one, unchanged if there is none. Returns whether there are more.
 */
bool sub_events_after(struct subs *s, struct subscription *sub, uint64_t number, struct buf *b,
                      uint64_t *last);

/*
 * Push subscriptions. send posts a notification to its listener (sub->push->url) and calls
 * subs_pushed when that has ended; false: it can't now.
 */
enum push_answer { PUSH_OK, PUSH_UNSUBSCRIBE, PUSH_FAILED };
typedef bool push_send_fn(void *arg, const struct subscription *sub, const char *body, size_t len);
struct pushes {
	push_send_fn *send;
	void *arg;
	struct subscription *first;
	int64_t due_ms;
};
void subs_on_push(struct subs *s, push_send_fn *send, void *arg);
/* id: of a subscription that may be gone meanwhile */
void subs_pushed(struct subs *s, unsigned cas, const char *id, enum push_answer answer,
                 int64_t now_ms);
const struct subs_limits *subs_limits(const struct subs *s);

/* How many streams count against this mailbox there. */
unsigned streams_of(const struct subs *s, unsigned cas, const struct mailbox *anchor);
/*
 * Opens a stream for n ids: the first envelopes are in out afterwards (unknown ids, and those that
 * live on another server behind the CAS, named, then ConnectionStatus OK). Other streams with one of the ids are closed. The caller frees it with
 * stream_close. Never NULL; over is set if no id was good.
 */
struct stream *stream_open(struct subs *s, unsigned cas, unsigned backend, struct mailbox *anchor,
                           char *const *ids, unsigned n, int minutes, int64_t now_ms);
/* The connection is gone, or all was sent: its subscriptions stay. */
void stream_close(struct subs *s, struct stream *st, int64_t now_ms);
/* Says Closed and ends it. */
void stream_say_closed(struct subs *s, struct stream *st);
struct stream *streams(struct subs *s); /* the first of the list */
unsigned streams_count(const struct subs *s, unsigned cas);

/* Writes what was gathered since the last call into the streams' out. */
void subs_flush(struct subs *s, int64_t now_ms);
/* Heartbeats, ends of streams, deaths of idle subscriptions. Returns when it is due again. */
int64_t subs_tick(struct subs *s, int64_t now_ms);
/* The wall clock that events are stamped with, seconds. */
void subs_wall(struct subs *s, int64_t wall_s, int64_t now_ms);

#endif
