/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http.h - HTTPS requests to the gateways: curl multi behind one epoll descriptor in the loop.
 *
 * Verification is always on (chain and name). Only https, no redirects, no proxy from the
 * environment. Answers are counted in the write callback; what is over the ceiling is cut there; 64
 * KiB of headers are. Nothing is said of Accept-Encoding: a stream's events would wait in a
 * compressor, and 600 decompressors are 25 MB. The password lives here alone, and is wiped.
 *
 * Every request has a handle of its own, so that a refused login leaves nothing behind; connections
 * are kept and shared by libcurl, one request at a time on each (HTTP/1.1): a stream never stands
 * in a request's way. How many there are is the engine's business. A request on a kept connection
 * that turns out dead is sent again by libcurl on a new one, if nothing of its answer had come.
 *
 * Logins: which one is used at a gateway is io/auth's business, tokens for Negotiate are
 * io/kerberos's, OWA's forms are io/forms's, NTLM (v2) is libcurl's. NTLM logs a connection in: such connections are kept for
 * requests by NTLM, and there is one account here. A 401 ends a request unless another method may be
 * tried without sending the password twice. The body of a 401 is handed to nobody,
 * nor is that of an answer that wants a form. A form that is refused is a 401; one that can't be filled in is a 440, or the
 * 5xx that stands in its way.
 */
#ifndef PX_HTTP_H
#define PX_HTTP_H

#include "core/engine.h"
#include "io/loop.h"
#include "px_settings.h"

struct px_http;

/* Borrowed for the call. */
struct px_http_gateway {
	const char *name;    /* in the log; NULL: the URL */
	const char *url;     /* https://cas1.example.com/EWS/Exchange.asmx */
	const char *ca_file; /* NULL: the system's */
	int tls_min; /* 10, 11, 12, 13; below 12 also weak ciphers and keys are taken from this one
	              */
	const char *
	    forms_root; /* where its mailboxes are, "/exchange/": with auth=auto a form is filled in if it
	                           wants that; NULL: never */
};

typedef void px_http_data_h(void *arg, uint64_t id, const char *bytes, size_t n);
typedef void px_http_done_h(void *arg, uint64_t id, const struct px_http_answer *a);

struct px_http_config {
	const struct px_http_gateway *gateway;
	unsigned gateways;
	const char *
	    account; /* NULL: nobody logs in; a 401 ends a request, and its detail says what is offered */
	const char *password; /* copied; wiped by free */
	enum px_auth auth;
	const char *const *
	    heads; /* names of lines for px_http_answer.head, ended by NULL; NULL: none; outlives it */
	px_http_data_h
	    *data; /* called from library callbacks: only tell and mark; cancel is allowed */
	px_http_done_h
	    *done; /* exactly once per start that wasn't cancelled; never from within start() */
	void *arg;
};

#define PX_HTTP_WHY 256

/* 0 or a negative errno, with a line for the operator in why. *out on success only. */
int px_http_new(struct px_http **out, struct px_loop *loop, const struct px_http_config *c,
                char why[PX_HTTP_WHY]);
/*
 * Another one for the same gateways and account (anonymous: without it), with connections and a memory of logins of its own: what
 * is tried there leaves no trace in h. As above.
 */
int px_http_like(struct px_http **out, const struct px_http *h, bool anonymous,
                 px_http_data_h *data, px_http_done_h *done, void *arg, char why[PX_HTTP_WHY]);
const char *px_http_url(const struct px_http *h, unsigned gateway); /* borrowed */
void px_http_free(struct px_http *h); /* ends everything, calls nothing */

/*
 * Gateways while it runs, by their place, as the engine has it. put: a new one, or the one there with another URL, ca_file or tls_min: then what
 * is under way there ends in PX_HTTP_CUT, and no connection that was made before is used again. 0, or a negative errno and why, and
 * nothing has changed. drop: nothing may be under way there.
 */
int px_http_gateway_put(struct px_http *h, int place, const struct px_http_gateway *g,
                        char why[PX_HTTP_WHY]);
void px_http_gateway_drop(struct px_http *h, int place);
/* Could it be put? As above. */
int px_http_gateway_check(const struct px_http_gateway *g, char why[PX_HTTP_WHY]);

/*
 * What is sent from now on goes with this account and password (copied; the former are wiped), tickets are got anew. 1: they are others than before; 0: the
 * same, nothing has changed; -ENOMEM.
 */
int px_http_login(struct px_http *h, const char *account, const char *password);

/*
 * Starts one request; takes *wire's bytes. Never fails visibly: what can't be started ends in
 * done(PX_HTTP_LOCAL). The ceiling is in bytes of the answer's body (0: a stream: none, and small
 * buffers). timeout_ms from now to the end of the answer, 0: none; a connection has 8 s to be made
 * in any case. Not from within `data`.
 *
 * It goes to the gateway's own scheme, host and port, whatever the target says. cookie: the affinity that an earlier answer of the
 * group set (px_http_answer.cookie). NULL or "": none.
 *
 * Of an answer, `status` is set as soon as one came, whatever happened afterwards; `detail` is
 * printable ASCII and says in words what the library, the system or the certificate had to say, or
 * by which method a login was refused. A KDC that refuses the account is a 401, too; one that
 * doesn't know the gateway is PX_HTTP_CONNECT; any other lack of a ticket is PX_HTTP_LOCAL.
 */
void px_http_start(struct px_http *h, uint64_t id, int gateway, struct px_wire *wire,
                   const char *cookie, int64_t timeout_ms, int64_t ceiling);
void px_http_cancel(struct px_http *h, uint64_t id); /* unknown ids are fine */

/* The address of ours from which a gateway was reached last, IPv6 without brackets. NULL: none was. */
const char *px_http_local(const struct px_http *h);

#endif
