/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ews.h - from a request's bytes to its answer, as one CAS gives it. No I/O, no clock.
 */
#ifndef EXCHANGE_EWS_H
#define EXCHANGE_EWS_H

#include "affinity.h"
#include "counters.h"
#include "store.h"
#include "subscription.h"

#define MAILBOXES_PER_REQUEST 100
#define FIND_COUNT_LIMIT 1000
#define FREEBUSY_DAYS_MAX 42

struct ews {
	struct store *store;
	struct subs *subs;
	struct counters *counters;
	enum version version;
	struct subs_limits limits;
	struct mailbox *service; /* the service account's own */
	bool denied[CAS_MAX];    /* nobody may be impersonated there */
	struct affinity affinity;
	int64_t now_ms, wall_s; /* set before each call */
};

struct answer {
	enum request_kind kind;
	unsigned status;       /* of HTTP */
	struct buf body;       /* the caller frees it */
	const char *refused;   /* the ResponseCode if it was refused as a whole, or NULL */
	struct buf cookie;     /* to be set, "name=value"; empty: none; the caller frees it */
	struct stream *stream; /* not NULL: status 200, and this in chunks instead of body */
};

/* Answers a request whose login was right. hints: what its headers say of where it belongs. */
void ews_answer(struct ews *e, unsigned cas, const struct hints *hints, const char *body,
                size_t len, struct answer *a);
/* What a request is about, without answering it. */
enum request_kind ews_kind(const char *body, size_t len);
/* HTTP 500 with a fault. */
void ews_fault(struct answer *a, const char *code, const char *text);
/* HTTP 500 with ErrorServerBusy. */
void ews_busy(struct answer *a, const char *text, long back_off_ms);

#endif
