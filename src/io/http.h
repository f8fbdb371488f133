/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * http.h - HTTPS requests to the gateways: curl multi behind one epoll descriptor in the loop.
 *
 * Verification is always on (chain and name). Only https, no redirects. Answers are counted in the write callback; what is over the ceiling is
 * cut there. The password lives here alone, and is wiped.
 */
#ifndef PX_HTTP_H
#define PX_HTTP_H

#include "core/engine.h"
#include "io/loop.h"

struct px_http;

/* Borrowed for the call. */
struct px_http_gateway {
	const char *url;     /* https://cas1.example.com/EWS/Exchange.asmx */
	const char *ca_file; /* NULL: the system's */
	int tls_min;         /* 10, 11, 12, 13 */
	unsigned concurrency;
};

typedef void px_http_data_h(void *arg, uint64_t id, const char *bytes, size_t n);
typedef void px_http_done_h(void *arg, uint64_t id, const struct px_http_answer *a);

struct px_http_config {
	const struct px_http_gateway *gateway;
	unsigned gateways;
	const char *account;
	const char *password; /* copied; wiped by free */
	int auth;             /* enum px_auth of settings */
	const char *type;     /* Content-Type of what is sent */
	px_http_data_h *data; /* called from library callbacks: only tell and mark */
	px_http_done_h *done; /* exactly once per start that wasn't cancelled; never from within start() */
	void *arg;
};

/* 0 or a negative errno, with a line for the operator in why when a file can't be used. *out on success only. */
int px_http_new(struct px_http **out, struct px_loop *loop, const struct px_http_config *c, char why[256]);
void px_http_free(struct px_http *h); /* ends everything, calls nothing */

/*
 * Starts one request; takes *body's bytes. Never fails visibly: what can't be started ends in done(PX_HTTP_LOCAL). The ceiling is in bytes of
 * the answer's body (0: none, for streams).
 */
void px_http_start(struct px_http *h, uint64_t id, int gateway, struct px_buf *body, const char *anchor, int64_t timeout_ms,
                   int64_t ceiling);
void px_http_cancel(struct px_http *h, uint64_t id); /* unknown ids are fine */

#endif
