/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * counters.h - what the program under test did, for GET /counters.
 */
#ifndef EXCHANGE_COUNTERS_H
#define EXCHANGE_COUNTERS_H

#include <stdint.h>

#define CAS_MAX 64

enum request_kind {
	REQ_SUBSCRIBE,
	REQ_UNSUBSCRIBE,
	REQ_GET_EVENTS,
	REQ_GET_STREAMING_EVENTS,
	REQ_GET_USER_AVAILABILITY,
	REQ_FIND_ITEM,
	REQ_GET_OOF_SETTINGS,
	REQ_GET_MAIL_TIPS,
	REQ_DAV, /* from here on: to an OWA front end */
	REQ_PROPFIND = REQ_DAV,
	REQ_SEARCH,
	REQ_DAV_SUBSCRIBE,
	REQ_POLL,
	REQ_DAV_UNSUBSCRIBE,
	REQ_DAV_OPTIONS,
	REQ_GET,
	REQ_LOGON,    /* POST of the logon form */
	REQ_FREEBUSY, /* /public/?Cmd=freebusy */
	REQ_OTHER,    /* refused before its kind was known, or an operation that isn't imitated */
	REQ_KINDS
};

const char *request_kind_name(enum request_kind k);

#define REASONS_MAX 96
#define SUBSCRIBE_SECONDS 600

struct cas_counters {
	uint64_t requests[REQ_KINDS];
	uint64_t mailboxes_asked; /* MailboxData in all availability requests */
	uint64_t failed_logins;
	uint64_t notifications, events; /* sent in streams; of an OWA front end: NOTIFY datagrams */
	uint64_t notifications_lost;    /* NOTIFY datagrams that weren't sent, as a test wanted */
	uint64_t connects;
	uint64_t
	    misrouted; /* requests about a subscription of another server behind the same CAS */
	unsigned connections, concurrency, peak_concurrency, peak_connections;
};

struct counters {
	struct cas_counters cas[CAS_MAX];
	struct {
		char reason[48]; /* a ResponseCode, or "http-404" */
		uint64_t n[CAS_MAX];
	} refusals[REASONS_MAX];
	unsigned nrefusals;
	/* successful Subscribes, by second: [s % SUBSCRIBE_SECONDS] counts if at[...] is s */
	uint32_t subscribes[SUBSCRIBE_SECONDS];
	int64_t subscribes_at[SUBSCRIBE_SECONDS];
};

void counters_refused(struct counters *c, unsigned cas, const char *reason);
void counters_subscribed(struct counters *c, int64_t wall_s);
/* Everything to 0 but what is open now. */
void counters_reset(struct counters *c);

#endif
