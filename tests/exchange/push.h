/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * push.h - when a push subscription's listener is told what, and what its answers mean.
 *
 * A notification goes out at once when the subscription begins and when there are events, and with
 * a StatusEvent when nothing was told for StatusFrequency. One that isn't answered well is sent
 * again after 30 s, 60 s, 120 s ... until that would be later than StatusFrequency after it failed
 * first; then the subscription is dropped, and nobody is told. No I/O.
 */
#ifndef EXCHANGE_PUSH_H
#define EXCHANGE_PUSH_H

#include "subscription.h"

#define PUSH_URL_MAX 2083

struct push {
	char *url;
	int64_t frequency_ms;
	int64_t due_ms;     /* of the next notification; while flying: not meant */
	int64_t failed_ms;  /* since when no notification arrived; -1: the last one did */
	int64_t retry_ms;   /* the next wait after a failure */
	uint64_t told;      /* the number of the last event that the listener has taken */
	uint64_t in_flight; /* the same, once the one under way is taken */
	bool flying;
	struct subscription *prev, *next;
};

/* http only: a listener with TLS isn't imitated. */
bool push_url_good(const char *url);

/* sub->push is made; a first notification is due. */
void push_begin(struct pushes *p, struct subscription *sub, const char *url, int64_t frequency_ms,
                int64_t now_ms);
void push_end(struct pushes *p, struct subscription *sub);
/* There is a new event. */
void push_event(struct pushes *p, struct subscription *sub, int64_t now_ms);
/* Says why the subscription ends, once, to whoever listens. */
void push_say_error(struct subs *s, struct pushes *p, struct subscription *sub, const char *code);
/* Sends what is due. Returns when something is due next. */
int64_t push_tick(struct subs *s, struct pushes *p, int64_t now_ms);
/* False: the subscription is to be dropped. */
bool push_answered(struct subs *s, struct pushes *p, struct subscription *sub,
                   enum push_answer answer, int64_t now_ms);

#endif
