/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a turn comes after the callbacks: px_loop_mark() sets a su_timer whose time is long past.
 * Sofia runs timers at the top level, never from within another callback, and before it sleeps; one
 * that was set by a descriptor's callback runs in the next round, one that was set by another timer
 * in the same. (A pre-poll hook would miss marks made by timers, an eventfd would cost two system
 * calls a turn.)
 */
#include "io/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct watch {
	struct px_loop *loop;
	int fd, index;
	px_ready_h *ready;
	void *arg;
	struct watch *next;
};

struct px_loop {
	su_root_t *root;
	su_timer_t *turn_timer;
	px_turn_h *turn;
	void *arg;
	struct watch *watches;
	int deadline_fd, jump_fd;
	struct px_mono wake_at;
	struct px_now now;
	bool now_known, marked, turning;
};

/* Sofia's hook, meant for its own tests; not in its headers. */
extern void (*_su_time)(su_time_t *tv);

/*
 * Sofia's timers compare su_time() values: with this they can't be moved by whoever sets the clock.
 * Whole milliseconds, since Sofia sleeps in those, cut off: the last fraction before a timer would
 * be spent in rounds without sleep. The offset keeps all values far from 0 = "not set".
 */
static void su_time_monotonic(su_time_t *tv)
{
	struct timespec t;

	if (!tv)
		return;
	clock_gettime(CLOCK_MONOTONIC, &t);
	tv->tv_sec = (unsigned long)t.tv_sec + 1000000;
	tv->tv_usec = (unsigned long)t.tv_nsec / 1000000 * 1000;
}

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The offset is for a process that starts in the machine's first millisecond: 0 means "not set". */
static int64_t mono_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC) + 1;
}

struct px_now px_loop_now(struct px_loop *l)
{
	if (!l->now_known) {
		l->now = (struct px_now){{mono_ms()}, {clock_ms(CLOCK_REALTIME)}};
		/* kept only when a turn is sure to come and end it */
		l->now_known = l->marked || l->turning;
	}
	return l->now;
}

static void take_turn(su_root_magic_t *magic, su_timer_t *t, su_timer_arg_t *arg)
{
	struct px_loop *l = arg;

	(void)magic;
	(void)t;
	l->marked = false;
	l->turning = true;
	l->turn(l->arg, px_loop_now(l));
	l->turning = false;
	l->now_known = false;
	if (l->marked) /* by the turn itself: a moment later, so that descriptors are served in
	                  between */
		su_timer_set_interval(l->turn_timer, take_turn, l, 1);
}

void px_loop_mark(struct px_loop *l)
{
	static const su_time_t past = {1, 0};

	if (l->marked)
		return;
	l->marked = true;
	if (!l->turning)
		su_timer_set_at(l->turn_timer, take_turn, l, past);
}

void px_loop_wake(struct px_loop *l, struct px_mono at)
{
	struct itimerspec when = {0};

	/* the kernel is asked only when it has become another moment */
	if (l->wake_at.ms == at.ms)
		return;
	l->wake_at = at;
	if (at.ms != 0) {
		when.it_value.tv_sec = (at.ms - 1) / 1000;
		/* never all 0, which would disarm it */
		when.it_value.tv_nsec = (at.ms - 1) % 1000 * 1000000 + 1;
	}
	timerfd_settime(l->deadline_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void deadline_passed(void *arg)
{
	struct px_loop *l = arg;
	uint64_t times;

	if (read(l->deadline_fd, &times, sizeof times) != sizeof times)
		return; /* replaced meanwhile */
	l->wake_at.ms = 0;
	px_loop_mark(l);
}

/* A timer of the wall clock that never ends by itself; setting the clock cancels it. */
static int await_jump(struct px_loop *l)
{
	const struct itimerspec never = {.it_value.tv_sec = (time_t)1 << 40};

	if (timerfd_settime(l->jump_fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) <
	    0)
		return -errno;
	return 0;
}

static void wall_jumped(void *arg)
{
	struct px_loop *l = arg;
	uint64_t times;

	/* ECANCELED, and the timer is armed again by whoever was told */
	if (read(l->jump_fd, &times, sizeof times) < 0 && errno == EAGAIN)
		return;
	await_jump(l);
	px_loop_mark(l);
}

static int watch_ready(su_root_magic_t *magic, su_wait_t *wait, su_wakeup_arg_t *arg)
{
	struct watch *w = arg;

	(void)magic;
	(void)wait;
	w->ready(w->arg);
	return 0;
}

int px_loop_watch(struct px_loop *l, int fd, px_ready_h *ready, void *arg)
{
	struct watch *w = malloc(sizeof *w);
	su_wait_t wait[1];

	if (!w)
		return -ENOMEM;
	*w = (struct watch){.loop = l, .fd = fd, .ready = ready, .arg = arg, .next = l->watches};
	if (su_wait_create(wait, fd, SU_WAIT_IN) < 0 ||
	    (w->index = su_root_register(l->root, wait, watch_ready, w, 0)) < 0) {
		free(w);
		return -EBADF;
	}
	l->watches = w;
	return 0;
}

void px_loop_unwatch(struct px_loop *l, int fd)
{
	for (struct watch **at = &l->watches; *at; at = &(*at)->next) {
		struct watch *w = *at;

		if (w->fd != fd)
			continue;
		su_root_deregister(l->root, w->index);
		*at = w->next;
		free(w);
		return;
	}
}

int px_loop_new(struct px_loop **out, px_turn_h *turn, void *arg)
{
	struct px_loop *l = calloc(1, sizeof *l);
	int err = -ENOMEM;

	if (!l)
		return -ENOMEM;
	l->turn = turn;
	l->arg = arg;
	l->deadline_fd = l->jump_fd = -1;
	_su_time = su_time_monotonic;
	if (su_init() < 0)
		goto failed;
	l->root = su_root_create(NULL);
	if (!l->root)
		goto failed;
	su_root_threading(l->root, 0);
	su_root_multishot(l->root, 1); /* several ready descriptors a round */
	l->turn_timer = su_timer_create(su_root_task(l->root), 0);
	if (!l->turn_timer)
		goto failed;
	l->deadline_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	l->jump_fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->deadline_fd < 0 || l->jump_fd < 0) {
		err = -errno;
		goto failed;
	}
	if ((err = await_jump(l)) < 0 ||
	    (err = px_loop_watch(l, l->deadline_fd, deadline_passed, l)) < 0 ||
	    (err = px_loop_watch(l, l->jump_fd, wall_jumped, l)) < 0)
		goto failed;
	*out = l;
	return 0;

failed:
	px_loop_free(l);
	return err;
}

void px_loop_free(struct px_loop *l)
{
	if (!l)
		return;
	while (l->watches)
		px_loop_unwatch(l, l->watches->fd);
	if (l->turn_timer)
		su_timer_destroy(l->turn_timer);
	if (l->root) {
		su_root_destroy(l->root);
		su_deinit();
	}
	if (l->deadline_fd >= 0)
		close(l->deadline_fd);
	if (l->jump_fd >= 0)
		close(l->jump_fd);
	free(l);
}

su_root_t *px_loop_root(struct px_loop *l)
{
	return l->root;
}

void px_loop_run(struct px_loop *l)
{
	su_root_run(l->root);
}

void px_loop_stop(struct px_loop *l)
{
	su_root_break(l->root);
}
