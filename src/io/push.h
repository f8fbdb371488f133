/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * push.h - EWS push notifications (MS-OXWSPSNTIF): a listener for what Exchange posts to us, in the loop.
 *
 * Exchange doesn't log in. What is taken is what comes to a path that ends in /TOKEN/WHO: 32 digits that nobody guesses, and 8
 * that say about whom; where it comes from means nothing, as servers have many addresses. Everything else is a stray: refused before
 * its body is read, and counted. Plain HTTP: a proxy before it can speak TLS, announce_http then says https.
 *
 * Hostile clients: 256 connections, 128 from one address, 30 s for each request from the first to the last byte, 512 KiB of body, 8 MiB of
 * all of them together, 16 KiB of headers.
 */
#ifndef PX_PUSH_H
#define PX_PUSH_H

#include "core/engine.h"
#include "io/loop.h"

#define PX_PUSH_TOKEN 32
#define PX_PUSH_WHY 256
#define PX_PUSH_BODY_MAX (512 << 10)

struct px_push;

/* One whole notification. The answer to it: OK, Unsubscribe, or 400. */
typedef enum px_heard px_push_h(void *arg, uint32_t who, const char *bytes, size_t n);

struct px_push_config {
	const char *listen; /* [ADDRESS:]PORT, valid */
	const char *token;  /* copied */
	px_push_h *heard;   /* called from the library: only tell and mark */
	void *arg;
	unsigned request_ms; /* for one request; 0: 30 s */
};

/* 0 or a negative errno, with a line for the operator in why; *out on success only. */
int px_push_new(struct px_push **out, struct px_loop *loop, const struct px_push_config *c,
                char why[PX_PUSH_WHY]);
void px_push_free(struct px_push *p); /* NULL is fine */
/* At least every few seconds: ends what takes too long and who has gone, listens again after the limit. May call heard. */
void px_push_tick(struct px_push *p);

uint64_t px_push_strays(const struct px_push *p); /* requests refused unread; NULL: 0 */

/*
 * What Exchange is told to call: `announce`, or http://`listen` without it, and the token. The caller frees it; NULL: out of memory, or there is no
 * address in `listen` that could be called.
 */
char *px_push_callback(const char *listen, const char *announce, const char *token);

#endif
