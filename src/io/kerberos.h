/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kerberos.h - tokens for "Authorization: Negotiate" (RFC 4559), made on threads.
 *
 * Whatever GSSAPI does may ask a KDC or a DNS server, and wait for it for half a minute: so libcurl, which would do it from within
 * the loop, is never asked to. Each host has a thread of its own, made when it is first needed; a host whose realm's KDC is silent
 * holds up nobody but its own requests, and these no longer than they say. (A ticket fetched ahead and used in the loop wouldn't do:
 * when it has run out, or the name has to be looked up again, the library asks again.) A token serves one request: IIS wants a
 * login for each, and a connection that is shared between requests carries nobody's name.
 *
 * Credentials are found as MIT Kerberos finds them: KRB5CCNAME (a ticket cache that somebody else renews) or KRB5_CLIENT_KTNAME (a
 * keytab; its tickets are then kept in memory). Only Kerberos is spoken, whatever other GSSAPI mechanisms the machine has. A KDC
 * that refuses the account (wrong key, locked, expired) isn't asked again for 290 s, for such refusals count towards the lockout.
 */
#ifndef PX_KERBEROS_H
#define PX_KERBEROS_H

#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

struct px_kerberos;

enum px_ticket {
	PX_TICKET_MADE,
	PX_TICKET_NONE,    /* no credentials on this machine, or they can't be used */
	PX_TICKET_LATE,    /* no answer from a KDC, in time or at all */
	PX_TICKET_NO_HOST, /* the KDC doesn't know HTTP/host */
	PX_TICKET_REFUSED  /* the KDC refuses the account */
};

/* Borrowed for the call. */
struct px_ticket_answer {
	enum px_ticket ticket;
	const char *token; /* MADE: base64 */
	const char *why;   /* else: in words */
};

#define PX_KERBEROS_NOBODY UINT64_MAX /* an id for a ticket that no request waits for */
#define PX_KERBEROS_BINDING_MAX 96

/* host: the number that ask() was given. Never from within ask(). */
typedef void px_ticket_h(void *arg, unsigned host, uint64_t id, const struct px_ticket_answer *a);

/* Knows no host yet. 0 or a negative errno; *out on success only. */
int px_kerberos_new(struct px_kerberos **out, struct px_loop *loop, px_ticket_h *done, void *arg);
/* Calls nothing. A thread that waits for a KDC ends by itself when it has its answer; it owns what it needs until then. */
void px_kerberos_free(struct px_kerberos *k);

/*
 * Which host this number stands for from now on; NULL: none. Its thread, if there was one for another name, ends when it is through with what it
 * waits for. Nobody may be waiting there. 0 or -ENOMEM (then it stands for none).
 */
int px_kerberos_host(struct px_kerberos *k, unsigned number, const char *name);

/* Account, keytab or ticket cache are others now: tickets are got anew, refusals forgotten. */
void px_kerberos_renew(struct px_kerberos *k);

/*
 * Wants a token for HTTP/host, bound to `binding` (RFC 5929: "tls-server-end-point:" and the hash; n 0: to nothing). `done` is
 * called once, within wait_ms: LATE then. An id may be asked for once at a time, except PX_KERBEROS_NOBODY.
 */
void px_kerberos_ask(struct px_kerberos *k, unsigned host, uint64_t id, const void *binding,
                     size_t n, int64_t wait_ms);
void px_kerberos_cancel(struct px_kerberos *k, uint64_t id); /* unknown ids are fine */

#endif
