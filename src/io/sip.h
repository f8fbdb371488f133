/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sip.h - nta: one PUBLISH or MESSAGE out, one final answer back (RFC 3261, RFC 3903, RFC 3428).
 *
 * The request goes to the server as to an outbound proxy; Request-URI, From and To are the user's
 * AoR. Call-ID is fixed per user and process, so that one user's traffic can be followed in a
 * trace; CSeq grows over all of them. Over UDP, what is longer than 1300 bytes goes by TCP if the
 * server listens there, else by UDP all the same (RFC 3261 §18.1.1).
 *
 * What one request may take, within its timeout, before there is an answer to tell:
 * - A server given by name is looked up (RFC 3263, resolve.h) and asked for again when that is no longer good. Its addresses are tried in their
 *   order: where a connection fails, or 503 comes, the same request goes to the next one, and others begin there. An address that works is kept, as
 *   another one may know nothing of what stands.
 * - A challenge (401, 407) is answered, when there is a login; the credentials then go along with every request. A login that was refused is told as it is.
 * - A redirection (3xx) is followed, five times at most, never from TLS to something less.
 *
 * What Sofia answers itself when a connection fails isn't the server's: it ends in PX_SIP_TRANSPORT
 * or PX_SIP_TIMEOUT. A TCP connection on which a request timed out, and nothing at all was heard
 * since it was sent, is closed: what else waits there ends in PX_SIP_TRANSPORT at once and the next
 * request makes a new connection.
 */
#ifndef PX_SIP_H
#define PX_SIP_H

#include "core/engine.h"
#include "io/loop.h"

struct px_sip;

typedef void px_sip_done_h(void *arg, uint64_t id, const struct px_sip_answer *a);
typedef void px_sip_lost_h(void *arg);

struct px_sip_config {
	const char *const *server; /* "sip:127.0.0.1:5060;transport=tcp", in order of preference;
	                              transport udp, tcp or tls; without one, what the DNS says, or udp */
	unsigned servers;
	const char *bind; /* "ADDRESS[:PORT]", IPv6 in brackets; NULL: any port on the address that
	                     reaches each server. TLS takes any port of that address */
	const char *user, *password;     /* digest; NULL: challenges aren't answered */
	const char *ca_file;             /* who may vouch for a server; NULL: the system's */
	const char *certificate;         /* PEM with its key, shown to a server; NULL: none */
	const char *resolv_conf, *hosts; /* NULL: the system's */
	px_sip_done_h *done; /* exactly once per publish, never from within it; may come from
	                        library callbacks: only tell and mark */
	px_sip_lost_h *lost; /* a TCP connection was lost on which no request was in flight; from
	                        library callbacks */
	void *arg;
};

#define PX_SIP_WHY 256
#define PX_SIP_WINDOW_MAX                                                                          \
	1000 /* requests in flight on one connection that surely fit into its queue */

/* 0 or a negative errno, with a line for the operator in why. *out on success only. */
int px_sip_new(struct px_sip **out, struct px_loop *loop, const struct px_sip_config *c,
               char why[PX_SIP_WHY]);
void px_sip_free(struct px_sip *s); /* ends everything, calls nothing; NULL is fine */

/*
 * The login for what is sent from now on; what is under way goes on with it when it is challenged next. 1: it is another one, and challenges that were kept are
 * forgotten; 0: it is the same; or -ENOMEM, and the old one stays.
 */
int px_sip_login(struct px_sip *s, const char *user, const char *password);

/*
 * Sends what the action (PX_DO_SIP_START) says, and takes its body. Never fails visibly: what can't be sent
 * ends in done(PX_SIP_LOCAL). An answer that comes after its timeout is ignored.
 */
void px_sip_publish(struct px_sip *s, struct px_action *a);

/*
 * The same for PX_DO_SIP_MESSAGE. Whoever it is for may be silent for long, which says nothing about
 * the server that passes it on: its connection stays.
 */
void px_sip_message(struct px_sip *s, struct px_action *a);

#endif
