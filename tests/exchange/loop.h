/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * loop.h - one thread, one epoll: the HTTP daemons and a few descriptors of our own.
 */
#ifndef EXCHANGE_LOOP_H
#define EXCHANGE_LOOP_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>

struct source {
	void (*ready)(struct source *s, uint32_t events); /* those of epoll */
};

struct loop {
	int epoll;
	int64_t now_ms; /* CLOCK_MONOTONIC */
	int64_t wall_s, wall_ms;
	struct loop_daemon *daemons;
	void (*woke)(void *arg); /* the clock was read; called before anything else in a turn */
	void *woke_arg;
};

int loop_init(struct loop *l); /* 0 or a negative errno */
void loop_free(struct loop *l);
int loop_watch(struct loop *l, int fd, uint32_t events, struct source *s);
void loop_unwatch(struct loop *l, int fd);
/* d was made with MHD_USE_EPOLL and without threads. */
void loop_add_daemon(struct loop *l, struct MHD_Daemon *d);
void loop_remove_daemon(struct loop *l, struct MHD_Daemon *d);
/* d has something to do that its descriptors don't show: a connection was resumed. */
void loop_kick(struct loop *l, struct MHD_Daemon *d);
/* Waits until something happens, at most until due_ms, and handles it. */
void loop_turn(struct loop *l, int64_t due_ms);

#endif
