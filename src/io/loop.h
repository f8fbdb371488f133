/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - the one event loop (Sofia's su_root), the one clock, one timer.
 *
 * Libraries call in from their descriptors; each such callback only tells the engine what happened
 * and marks the loop. Once a turn, after all library callbacks have returned, loop calls `turn`:
 * there the engine is pumped and its actions are carried out (inside a curl callback every add or
 * remove would be refused).
 */
#ifndef PX_LOOP_H
#define PX_LOOP_H

#include <sofia-sip/su_wait.h>

#include "core/time.h"

struct px_loop;

/* Called at the end of every turn in which something happened, and when the timer was due. */
typedef void px_turn_h(void *arg, struct px_now now);

/*
 * Sets Sofia's clock to CLOCK_MONOTONIC and makes su_root. One per process. 0 or a negative errno;
 * *out on success only.
 */
int px_loop_new(struct px_loop **out, px_turn_h *turn, void *arg);
void px_loop_free(struct px_loop *l); /* NULL is fine */

su_root_t *px_loop_root(struct px_loop *l);

/* The time of this turn; the first caller of a turn reads the clocks. A jump of the wall clock is
 * noticed by a cancel-on-set timer and ends in a turn. */
struct px_now px_loop_now(struct px_loop *l);

/* Something was told to the engine: call `turn` before sleeping. */
void px_loop_mark(struct px_loop *l);

/* Wake up at `at` (CLOCK_MONOTONIC timerfd) and call `turn`; replaces the earlier one. Not set:
 * only when marked. */
void px_loop_wake(struct px_loop *l, struct px_mono at);

/* Watches a descriptor; `ready(arg)` is called when it is readable. 0 or a negative errno. The loop
 * doesn't own fd. */
typedef void px_ready_h(void *arg);
int px_loop_watch(struct px_loop *l, int fd, px_ready_h *ready, void *arg);
void px_loop_unwatch(struct px_loop *l, int fd);

/* Runs until px_loop_stop(). */
void px_loop_run(struct px_loop *l);
void px_loop_stop(struct px_loop *l);

#endif
