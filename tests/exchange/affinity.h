/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * affinity.h - the servers behind each CAS, and what leads a request to one of them.
 *
 * From Exchange 2013 on a subscription lives on the mailbox server that took the Subscribe, and the
 * CAS only passes requests on: by X-BackEndOverrideCookie, else to the server of the mailbox in
 * X-AnchorMailbox, else to that of the impersonated one. Before, a load balancer with a cookie of
 * its own may stand before several servers. No I/O.
 */
#ifndef EXCHANGE_AFFINITY_H
#define EXCHANGE_AFFINITY_H

#include "buf.h"
#include "counters.h"
#include "store.h"

#define BACKENDS_MAX 16

enum affinity_kind {
	AFFINITY_NONE,           /* by the impersonated mailbox alone */
	AFFINITY_ANCHOR,         /* by the anchor; cookies are neither set nor read */
	AFFINITY_COOKIE,         /* as Exchange 2013 and later */
	AFFINITY_EXCHANGE_COOKIE /* 2010 behind a load balancer: by exchangecookie, else in turn */
};

/* False: not one of "none", "anchor", "cookie", "exchangecookie". */
bool affinity_parse(const char *text, enum affinity_kind *kind);

struct affinity {
	enum affinity_kind kind;
	unsigned backends; /* behind each CAS, 1 .. BACKENDS_MAX */
	/* on which of them each database is mounted; a mailbox belongs to one of `backends` databases */
	unsigned mounted[CAS_MAX][BACKENDS_MAX];
	uint32_t number[CAS_MAX][BACKENDS_MAX]; /* its cookie's; another after each failure */
	unsigned turn[CAS_MAX];                 /* the load balancer's */
};

void affinity_init(struct affinity *a, enum affinity_kind kind, unsigned backends);

/* What a request's headers say of where it belongs; NULL: header not sent. */
struct hints {
	const char *anchor, *cookies;
	bool prefer; /* X-PreferServerAffinity: true */
};

struct route {
	unsigned backend;
	bool by_anchor, by_cookie;
};

/* as: whom the request acts as. */
struct route affinity_route(struct affinity *a, unsigned cas, const struct hints *h,
                            struct store *s, const struct mailbox *as);
/* Appends "name=value" if the answer has to set a cookie. subscribed: it is that of a Subscribe that succeeded. */
void affinity_cookie(const struct affinity *a, unsigned cas, const struct hints *h,
                     const struct route *r, bool subscribed, struct buf *b);
/* A server fails: its databases are mounted on the next one, and its cookie is no longer good. */
void affinity_fail_over(struct affinity *a, unsigned cas, unsigned backend);
/* Numbered through: the first behind cas2 of two each is 3, "mbx3.example.test". */
unsigned affinity_number(const struct affinity *a, unsigned cas, unsigned backend);

#endif
