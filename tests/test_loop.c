/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loop: turns come after callbacks, deadlines are monotonic, an idle loop sleeps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <sofia-sip/su_time.h>

#include "io/loop.h"

struct bench {
	struct px_loop *loop;
	int pipe[2];
	unsigned turns, ready, stop_after;
	unsigned again; /* turns that mark the next one */
	bool in_callback;
	struct px_now at_callback, at_turn;
	su_timer_t *timer;
	unsigned timer_fired;
};

static void turn(void *arg, struct px_now now)
{
	struct bench *b = arg;

	assert_false(b->in_callback);
	b->turns++;
	b->at_turn = now;
	if (b->again > 0) {
		b->again--;
		px_loop_mark(b->loop);
	} else if (b->turns >= b->stop_after) {
		px_loop_stop(b->loop);
	}
}

static void ready(void *arg)
{
	struct bench *b = arg;
	char c;

	b->in_callback = true;
	b->ready++;
	assert_int_equal(read(b->pipe[0], &c, 1), 1);
	px_loop_mark(b->loop);
	b->at_callback = px_loop_now(b->loop);
	px_loop_mark(b->loop);
	b->in_callback = false;
}

static int setup(void **state)
{
	static struct bench b;

	memset(&b, 0, sizeof b);
	b.stop_after = 1;
	assert_int_equal(pipe(b.pipe), 0);
	assert_int_equal(px_loop_new(&b.loop, turn, &b), 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	px_loop_free(b->loop);
	close(b->pipe[0]);
	close(b->pipe[1]);
	return 0;
}

static int64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void one_turn_after_the_callbacks(void **state)
{
	struct bench *b = *state;

	assert_int_equal(px_loop_watch(b->loop, b->pipe[0], ready, b), 0);
	assert_int_equal(write(b->pipe[1], "x", 1), 1);
	px_loop_run(b->loop);
	assert_int_equal(b->ready, 1);
	assert_int_equal(b->turns, 1);
	/* the turn has the time of the callback that asked first */
	assert_int_equal(b->at_callback.mono.ms, b->at_turn.mono.ms);
	assert_int_equal(b->at_callback.wall.ms, b->at_turn.wall.ms);
	px_loop_unwatch(b->loop, b->pipe[0]);
}

static void deadline_ends_in_a_turn(void **state)
{
	struct bench *b = *state;
	struct px_now began = px_loop_now(b->loop);
	int64_t cpu = cpu_ms();

	px_loop_wake(b->loop, px_after(began, 5000));
	px_loop_wake(b->loop, px_after(began, 300));
	px_loop_run(b->loop);
	assert_int_equal(b->turns, 1);
	assert_in_range(b->at_turn.mono.ms - began.mono.ms, 300, 2000);
	/* and it slept all the time */
	assert_true(cpu_ms() - cpu < 100);
}

static void deadline_in_the_past_is_due_at_once(void **state)
{
	struct bench *b = *state;
	struct px_now began = px_loop_now(b->loop);

	px_loop_wake(b->loop, (struct px_mono){1});
	px_loop_run(b->loop);
	assert_in_range(b->at_turn.mono.ms - began.mono.ms, 0, 1000);
}

static void fire(su_root_magic_t *magic, su_timer_t *t, su_timer_arg_t *arg)
{
	struct bench *b = arg;

	(void)magic;
	(void)t;
	b->in_callback = true;
	b->timer_fired++;
	px_loop_mark(b->loop);
	b->in_callback = false;
}

/* A library's timer runs after Sofia has looked for turns and before it sleeps: its mark must not
 * be slept over. */
static void marked_by_a_timer(void **state)
{
	struct bench *b = *state;
	struct px_now began = px_loop_now(b->loop);
	int64_t cpu = cpu_ms();

	b->timer = su_timer_create(su_root_task(px_loop_root(b->loop)), 0);
	su_timer_set_interval(b->timer, fire, b, 200);
	px_loop_run(b->loop);
	su_timer_destroy(b->timer);
	assert_int_equal(b->timer_fired, 1);
	assert_in_range(b->at_turn.mono.ms - began.mono.ms, 199, 1500);
	assert_true(cpu_ms() - cpu < 100);
}

static void turn_that_marks_itself(void **state)
{
	struct bench *b = *state;

	/* descriptors get their share in between */
	b->again = 100;
	b->stop_after = 101;
	assert_int_equal(px_loop_watch(b->loop, b->pipe[0], ready, b), 0);
	assert_int_equal(write(b->pipe[1], "x", 1), 1);
	px_loop_mark(b->loop);
	px_loop_run(b->loop);
	assert_int_equal(b->ready, 1);
	assert_int_equal(b->turns, 101);
}

/* Sofia's own timers must not follow the wall clock. */
static void sofias_clock_is_monotonic(void **state)
{
	struct timespec before, after;
	su_time_t sofia;

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &before);
	sofia = su_now();
	clock_gettime(CLOCK_MONOTONIC, &after);
	assert_in_range((int64_t)sofia.tv_sec - 1000000, before.tv_sec, after.tv_sec);
	assert_int_equal(sofia.tv_usec % 1000, 0);
}

static void unwatched_is_silent(void **state)
{
	struct bench *b = *state;

	assert_int_equal(px_loop_watch(b->loop, b->pipe[0], ready, b), 0);
	px_loop_unwatch(b->loop, b->pipe[0]);
	px_loop_unwatch(b->loop, b->pipe[0]);
	assert_int_equal(write(b->pipe[1], "x", 1), 1);
	px_loop_wake(b->loop, px_after(px_loop_now(b->loop), 50));
	px_loop_run(b->loop);
	assert_int_equal(b->ready, 0);
	assert_true(px_loop_watch(b->loop, -1, ready, b) < 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(one_turn_after_the_callbacks),
	    T(deadline_ends_in_a_turn),
	    T(deadline_in_the_past_is_due_at_once),
	    T(marked_by_a_timer),
	    T(turn_that_marks_itself),
	    T(sofias_clock_is_monotonic),
	    T(unwatched_is_silent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
