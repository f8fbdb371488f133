/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * davsub.h - the store's subscriptions: who SUBSCRIBEd to what, what has happened since the last POLL, and the
 * NOTIFY datagrams that are due (Exchange SDK, SUBSCRIBE/POLL/NOTIFY methods and their headers).
 *
 * They live in the back end's store: a front end that fails leaves them alone. Times are monotonic
 * milliseconds, given by the caller; datagrams leave by a function that the caller sets.
 */
#ifndef EXCHANGE_DAVSUB_H
#define EXCHANGE_DAVSUB_H

#include <uthash.h>

#include "counters.h"
#include "davprop.h"

#define DAVSUB_IDS_MAX 500 /* in one request */
#define NOTIFY_IDS_MAX 50  /* in one datagram */
#define CALL_BACK_MAX 300
#define LIFETIME_DEFAULT 3600 /* seconds, when none is asked for */

enum notify_type { NOTIFY_UPDATE, NOTIFY_NEW_MEMBER, NOTIFY_DELETE, NOTIFY_MOVE, NOTIFY_NEW_MAIL };

struct davsub {
	uint32_t id;
	UT_hash_handle hh;
	struct mailbox *mailbox;
	struct davsub *prev, *next;   /* of the same mailbox */
	struct davsub *pprev, *pnext; /* of those with a NOTIFY to come */
	enum notify_type type;
	enum folder folder;
	bool item; /* about one appointment, not a folder */
	uint32_t ordinal;
	unsigned depth;
	char call_back[CALL_BACK_MAX]; /* "httpu://host:port/path"; empty: POLL only */
	int64_t lifetime_s, ends_ms;
	int64_t delay_ms;
	bool changed; /* since the last POLL */
	bool deaf;    /* its mailbox moved away: lives, and hears nothing */
	bool listed;
	int64_t notify_ms; /* while listed: when the next NOTIFY goes */
};

typedef void davsub_send_fn(void *arg, const char *call_back, const char *datagram, size_t len);

struct davsubs {
	struct store *store;
	struct cas_counters *counters;
	struct davsub *all;     /* by id */
	struct davsub *pending; /* NOTIFYs to come */
	uint32_t last_id;
	unsigned count;
	int64_t now_ms;
	int64_t next_end_ms, next_notify_ms; /* nothing ends, and no NOTIFY goes, before */
	davsub_send_fn *send;
	void *send_arg;
	/* what may be set at any time */
	int64_t max_lifetime_s;
	int64_t repeat_ms;  /* a NOTIFY is told again after so long */
	unsigned lose_each; /* of so many NOTIFYs one is lost: 1 all, 0 none */
	bool twice;         /* each arrives twice */
	uint64_t sent;
};

/* The store's changes are listened to from now on. */
void davsubs_init(struct davsubs *s, struct store *store, struct cas_counters *counters,
                  davsub_send_fn *send, void *arg);
void davsubs_free(struct davsubs *s);

/* "update", "update/newmember" ... False: not one. */
bool notify_type_parse(const char *text, enum notify_type *t);
/* "httpu://host:port[/path]"; false: not such a URL. */
bool call_back_parse(const char *url, char host[CALL_BACK_MAX], unsigned *port);
/* "1, 18,243": how many; 0: not such a list, or longer than DAVSUB_IDS_MAX */
unsigned davsub_ids(const char *text, uint32_t ids[DAVSUB_IDS_MAX]);

/* Copies the members from type to delay_ms of *want; the lifetime is what is granted. */
struct davsub *davsub_create(struct davsubs *s, const struct davsub *want);
/* NULL: there is none of that id, or it has ended. */
struct davsub *davsub_find(struct davsubs *s, uint32_t id);
void davsub_renew(struct davsubs *s, struct davsub *sub, int64_t lifetime_s);
/* Has something happened since the last POLL? It counts as told now, and the subscription lives on. */
bool davsub_poll(struct davsubs *s, struct davsub *sub);
void davsub_drop(struct davsubs *s, struct davsub *sub);
/* All of a mailbox, or of all with NULL; how many. */
unsigned davsubs_drop(struct davsubs *s, struct mailbox *mb);
/* All are gone, and each Call-Back is told once, in a NOTIFY without an id; how many there were. */
unsigned davsubs_shut_down(struct davsubs *s);

/* Ends what has to end and sends what is due. Returns when it is due again. */
int64_t davsubs_tick(struct davsubs *s, int64_t now_ms);

#endif
