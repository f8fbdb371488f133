/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * poster.h - posts the notifications of push subscriptions to their listeners, over plain HTTP.
 */
#ifndef EXCHANGE_POSTER_H
#define EXCHANGE_POSTER_H

#include "loop.h"
#include "subscription.h"

#define POSTS_MAX 64          /* at once */
#define POST_ANSWER_MS 30000  /* within which a listener must have answered */
#define POST_ANSWER_MAX 65536 /* bytes */

struct poster;

/* subs's notifications go out by it from now on; loop and subs outlive it. */
struct poster *poster_new(struct loop *loop, struct subs *subs);
void poster_free(struct poster *p);
/* To be called after subs_tick. Gives up on listeners that are too slow. Returns when to turn again. */
int64_t poster_tick(struct poster *p);

/*
 * What a listener's whole answer, from its status line on, means. False: it isn't whole yet. closed: no more will come.
 */
bool poster_read(const char *answer, size_t len, bool closed, enum push_answer *out);

#endif
