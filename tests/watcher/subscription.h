/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * subscription.h - one subscription to one presentity (RFC 6665, RFC 3856), as a machine without
 * I/O. The caller says what happened and when; the machine says when it wants to be sent, what an
 * incoming NOTIFY deserves, and what was wrong with it.
 *
 *           send                 2xx
 *     DUE ---------> ASKING -------------> HELD
 *      ^                |                   |  deadline: refresh (ASKING again)
 *      +----------------+-------------------+
 *        refused, lost, terminated: a new dialog, at once or after a while
 *
 * Times are milliseconds of a monotonic clock, never 0; durations in SIP are seconds.
 */
#ifndef PW_SUBSCRIPTION_H
#define PW_SUBSCRIPTION_H

#include "document.h"

#define PW_AOR_MAX 256

enum pw_sub_state { PW_SUB_DUE, PW_SUB_ASKING, PW_SUB_HELD };

struct pw_sub {
	char aor[PW_AOR_MAX]; /* user@host */
	uint32_t slot;        /* who it is: index in the caller's array */
	uint32_t generation;  /* of the dialog; a new dialog is a new Call-ID */
	enum pw_sub_state state;
	bool settled; /* had its first NOTIFY, or was refused for good: it's no longer waited for */
	bool refused; /* the last answer was a refusal that asking again soon won't change */
	bool notified; /* a NOTIFY has come since the SUBSCRIBE in flight, or the last, was sent */
	unsigned failures;    /* in a row */
	int64_t due_ms;       /* DUE: when to send; HELD: when to refresh */
	int64_t notify_by_ms; /* when a missing NOTIFY becomes a fault; 0: none is missing */

	/* the dialog; strings are owned, NULL as long as unknown */
	char *remote_tag, *target, *route;
	uint32_t local_cseq, remote_cseq;
	uint64_t last_branch; /* hash of the branch of the last NOTIFY: a copy of it is no fault */

	/* what is known of the presentity */
	char substate[16]; /* Subscription-State of the last NOTIFY, "" before it */
	bool has_document;
	struct pw_document doc; /* meaningful when has_document */
	int64_t since_ms;       /* wall clock, ms since 1970: when the status last changed here */
};

/* An answer to SUBSCRIBE. Strings are borrowed, NULL when absent; numbers -1 when absent. */
struct pw_answer {
	int status;
	long expires_s, min_expires_s;
	const char *to_tag, *contact, *route;
};

/* An incoming NOTIFY. Strings are borrowed, NULL when absent; numbers -1 when absent. */
struct pw_notify {
	const char *from_tag, *branch, *event, *substate, *reason, *content_type;
	uint32_t cseq;
	long expires_s, retry_after_s;
	const char *body;
	size_t length;
};

enum pw_kind { PW_FRESH, PW_COPY, PW_OVERTAKEN };

/* What an answer or a NOTIFY meant for more than this one subscription. */
enum pw_meaning {
	PW_MEANS_REACHED,   /* the server answers */
	PW_MEANS_DOWN,      /* it doesn't, or is overloaded: hold everything, try one at a time */
	PW_MEANS_FORGOTTEN, /* it has lost a subscription that we held, and perhaps all */
	PW_MEANS_REFUSED    /* this one won't be had; said once, tried again after minutes */
};

/* Initialises a subscription that wants to be sent at once. aor as of pw_aor(). */
void pw_sub_init(struct pw_sub *s, uint32_t slot, const char *aor);
void pw_sub_clear(struct pw_sub *s);

/* Tells that its SUBSCRIBE goes out now: DUE or HELD -> ASKING, and the CSeq moves on. */
void pw_sub_sent(struct pw_sub *s);

/*
 * The final answer (RFC 6665 §4.1.2). asked_s is the Expires that was sent. Afterwards the
 * subscription is HELD or DUE with a due_ms. May raise *expires_s (423 with Min-Expires).
 */
enum pw_meaning pw_sub_answer(struct pw_sub *s, const struct pw_answer *a, long *expires_s,
                              int64_t now_ms, struct pw_faults *f);

/*
 * A NOTIFY for this dialog generation whose To tag is ours. Returns the SIP status to answer with:
 * 200, or 481, 489, 400, 415, 500 and nothing was changed. *kind tells a copy of the last one and
 * one that a later NOTIFY has overtaken from the rest: neither is a fault, transports do that.
 * wall_ms is for since_ms.
 */
int pw_sub_notify(struct pw_sub *s, const struct pw_notify *n, int64_t now_ms, int64_t wall_ms,
                  enum pw_kind *kind, struct pw_faults *f);

/* The next moment at which the caller must look; INT64_MAX while only an answer is awaited. */
int64_t pw_sub_deadline(const struct pw_sub *s);

/* The NOTIFY that had to follow a 2xx didn't come by notify_by_ms: a fault and a new dialog. */
void pw_sub_silent(struct pw_sub *s, int64_t now_ms, struct pw_faults *f);

/* A HELD subscription is to be confirmed now: the server may have lost it. */
void pw_sub_check(struct pw_sub *s, int64_t now_ms);

/* Available, busy …, unknown when there is no document. */
enum pw_status pw_sub_status(const struct pw_sub *s);

#endif
