/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dav.h - from a WebDAV request to its answer, as the Exchange store of 2003 and 2007 gives it behind an OWA
 * front end (RFC 2518, MS-XWDCAL, the Exchange SDK's WebDAV reference). No I/O, no clock.
 */
#ifndef EXCHANGE_DAV_H
#define EXCHANGE_DAV_H

#include "counters.h"
#include "davsub.h"

enum owa_version { OWA_NONE, OWA_2003, OWA_2007, OWA_2010 };

/* A condition on dates may span at most so much; then the store answers 422. */
#define DAV_RANGE_MAX (2 * 366 * 86400)

struct dav {
	struct store *store;
	struct davsubs *subs;
	struct publisher *publisher;
	enum owa_version version;
	struct mailbox *own; /* the account's: its Outlook Web Access is at /exchange/ and /owa/ */
	/* URLs in answers name the back end and http, not what the client asked */
	bool back_end_urls;
	/* a POLL's ids must be of its URI, as the SDK has it; real servers take any */
	bool poll_own_uri;
	unsigned denied_status; /* 403, or 401: to an account without Receive As */
	unsigned dav_2010;      /* what 2010 answers to WebDAV methods: 302 to /owa, 404, 405 ... */
	bool denied;            /* Receive As is missing for everybody */
	int64_t now_ms;         /* set before each call */
};

/* Headers are NULL where there are none. */
struct dav_ask {
	const char *method;
	const char *path; /* decoded, without what follows the question mark */
	const char *host; /* as the client calls us */
	const char *depth, *brief, *range, *content_type;
	const char *cmd, *an, *ae; /* of the query */
	const char *notification_type, *call_back, *lifetime, *delay, *subscription_id;
	const char *body;
	size_t len;
};

struct dav_answer {
	unsigned status;
	struct buf head;  /* "Name: value\r\n" lines beyond Content-Type; the caller frees it */
	struct buf body;  /* the caller frees it */
	const char *type; /* of the body; NULL: there is none */
};

/* What a request is counted as. */
enum request_kind dav_kind(const char *method, const char *path);
/* Answers a request below /exchange whose login was right. */
void dav_answer(struct dav *d, const struct dav_ask *ask, struct dav_answer *a);
/*
 * An OWA of 2010 or later, which has no WebDAV: the old paths lead to /owa. False: not answered, it needs a
 * login first (has_login false), or isn't 2010.
 */
bool dav_2010(const struct dav *d, const struct dav_ask *ask, bool has_login, struct dav_answer *a);
/* Sets the status of an answer without a body. */
void dav_status(struct dav_answer *a, unsigned status);

#endif
