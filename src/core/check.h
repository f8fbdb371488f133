/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check.h - the troubleshooter: every gateway asked step by step, as a machine without I/O.
 *
 *   KNOCK --> LOGIN --> (LOCATE) --> CALENDAR --> SUBSCRIBE --> UNSUBSCRIBE --> END
 *
 *   KNOCK goes without credentials: it shows name, connection, certificate and clock, and costs the account nothing. LOGIN goes
 *   through one gateway at a time until the account was accepted once, and through none any more when two have refused it: the
 *   account must not be locked by looking for what is wrong with it. A step that fails ends its gateway's check; what comes after
 *   it is `skipped`. The mailboxes that are tried are the caller's; where one is in trouble of its own the next is tried, so that
 *   what is wrong with a gateway is told from what is wrong with a user.
 */
#ifndef PX_CHECK_H
#define PX_CHECK_H

#include "core/backend.h"
#include "core/time.h"
#include "px_key.h"

enum px_check_step {
	PX_CHECK_RESOLVE,      /* the name is known */
	PX_CHECK_CONNECT,      /* somebody listens */
	PX_CHECK_TLS,          /* TLS is spoken, and new enough */
	PX_CHECK_CHAIN,        /* the certificate's issuer is trusted */
	PX_CHECK_NAME,         /* the certificate is for this host */
	PX_CHECK_VALIDITY,     /* and for today */
	PX_CHECK_LOGIN,        /* the account is accepted */
	PX_CHECK_SERVICE,      /* the protocol is spoken, and which version */
	PX_CHECK_RIGHTS,       /* impersonation, Receive As */
	PX_CHECK_MAILBOX,      /* the mailbox is there */
	PX_CHECK_CALENDAR,     /* and its calendar can be read */
	PX_CHECK_SUBSCRIPTION, /* a subscription is made and taken back */
	PX_CHECK_CLOCK,        /* the server's clock and ours */
	PX_CHECK_STEPS
};
enum px_check_result { PX_CHECK_SKIPPED, PX_CHECK_OK, PX_CHECK_WARN, PX_CHECK_FAILED };

const char *px_check_step_name(enum px_check_step s);     /* "resolve", ... */
const char *px_check_result_name(enum px_check_result r); /* "skipped", "ok", "warn", "FAILED" */

#define PX_CHECK_TEXT 320
#define PX_CHECK_MAILBOXES 3
/* A certificate that ends sooner than this is warned of, s. */
#define PX_CHECK_EXPIRY_S (30 * 86400)
/* Clocks that differ by more: a warning; Kerberos refuses tickets beyond the second (RFC 4120 §1.6). s */
#define PX_CHECK_CLOCK_WARN_S 60
#define PX_CHECK_CLOCK_FAIL_S 300

struct px_check_line {
	enum px_check_result result;
	char text[PX_CHECK_TEXT]; /* what was seen, and what to do; printable */
};

struct px_check_run;

/* All copied. */
struct px_check_config {
	const struct px_backend *backend;
	unsigned gateways;       /* at least 1 */
	const char *const *host; /* of each gateway, for the texts; NULL: this one isn't checked */
	const char *const *mailbox; /* whose calendars may be tried */
	unsigned mailboxes;         /* 0 to PX_CHECK_MAILBOXES; 0: what needs one is skipped */
	/* The first of them are asked about; the others show whether a right that is missing is missing there, too. 0: all */
	unsigned wanted;
	unsigned
	    kinds; /* PX_KIND_BIT()s that the settings allow; none of a subscription: it isn't tried */
	const char *hints; /* what is known of calls that are hints, in words; NULL: nothing */
	const char
	    *held; /* the account is known to be refused, in words: nobody logs in; NULL: not so */
};

/* NULL: out of memory. */
struct px_check_run *px_check_run_new(const struct px_check_config *c);
void px_check_run_free(struct px_check_run *r);

/*
 * The next request that may leave: its gateway in *gateway, without credentials when *anonymous, *q valid until the next call to
 * the run. Each must end in px_check_done(). False: none at the moment.
 */
bool px_check_next(struct px_check_run *r, struct px_now now, unsigned *gateway, bool *anonymous,
                   struct px_query *q);
/* An item of the answer (backend.h); may come while it is read. */
void px_check_said(struct px_check_run *r, unsigned gateway, const struct px_item *item);
/* The request of this gateway has ended. */
void px_check_done(struct px_check_run *r, unsigned gateway, const struct px_http_answer *a,
                   const struct px_reply *reply, struct px_now now);

bool px_check_ended(const struct px_check_run *r);                     /* all of it */
bool px_check_gateway_ended(const struct px_check_run *r, unsigned g); /* one */
/* Borrowed from the run. */
const struct px_check_line *px_check_line(const struct px_check_run *r, unsigned gateway,
                                          enum px_check_step s);
/* The step that failed; PX_CHECK_STEPS: none did (yet). */
enum px_check_step px_check_failed(const struct px_check_run *r, unsigned gateway);

#endif
