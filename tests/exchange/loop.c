/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#include "buf.h"

struct loop_daemon {
	struct source source;   /* first: a source is turned back into this */
	struct MHD_Daemon *mhd; /* NULL: removed, and freed when the next turn begins */
	int fd;
	bool ready;
	struct loop_daemon *prev, *next;
};

static void read_clock(struct loop *l)
{
	struct timespec mono, wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	l->now_ms = mono.tv_sec * INT64_C(1000) + mono.tv_nsec / 1000000;
	l->wall_s = wall.tv_sec;
	l->wall_ms = wall.tv_sec * INT64_C(1000) + wall.tv_nsec / 1000000;
}

int loop_init(struct loop *l)
{
	*l = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	read_clock(l);
	return l->epoll < 0 ? -errno : 0;
}

/* Daemons are removed while a turn walks the list, so they are freed between turns. */
static void sweep(struct loop *l)
{
	struct loop_daemon *d, *tmp;

	for (d = l->daemons; d; d = tmp) {
		tmp = d->next;
		if (d->mhd)
			continue;
		DL_DELETE(l->daemons, d);
		free(d);
	}
}

void loop_free(struct loop *l)
{
	sweep(l);
	close(l->epoll);
}

int loop_watch(struct loop *l, int fd, uint32_t events, struct source *s)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

void loop_unwatch(struct loop *l, int fd)
{
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
}

static void daemon_ready(struct source *s, uint32_t events)
{
	(void)events;
	((struct loop_daemon *)s)->ready = true;
}

void loop_add_daemon(struct loop *l, struct MHD_Daemon *mhd)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(mhd, MHD_DAEMON_INFO_EPOLL_FD);
	struct loop_daemon *d = xcalloc(1, sizeof *d);

	d->source.ready = daemon_ready;
	d->mhd = mhd;
	d->fd = info->epoll_fd;
	d->ready = true;
	DL_APPEND(l->daemons, d);
	loop_watch(l, d->fd, EPOLLIN, &d->source);
}

void loop_remove_daemon(struct loop *l, struct MHD_Daemon *mhd)
{
	struct loop_daemon *d;

	for (d = l->daemons; d; d = d->next) {
		if (d->mhd == mhd)
			break;
	}
	if (!d)
		return;
	loop_unwatch(l, d->fd);
	d->mhd = NULL;
}

void loop_kick(struct loop *l, struct MHD_Daemon *mhd)
{
	struct loop_daemon *d;

	for (d = l->daemons; d; d = d->next) {
		if (d->mhd == mhd)
			d->ready = true;
	}
}

void loop_turn(struct loop *l, int64_t due_ms)
{
	struct epoll_event ev[64];
	struct loop_daemon *d;
	MHD_UNSIGNED_LONG_LONG wait;
	int n;

	read_clock(l);
	sweep(l);
	for (d = l->daemons; d; d = d->next) {
		if (!d->ready && MHD_get_timeout(d->mhd, &wait) == MHD_YES) {
			d->ready = wait == 0;
			if (l->now_ms + (int64_t)wait < due_ms)
				due_ms = l->now_ms + (int64_t)wait;
		}
		if (d->ready)
			due_ms = l->now_ms;
	}
	n = epoll_wait(l->epoll, ev, 64, due_ms > l->now_ms ? (int)(due_ms - l->now_ms) : 0);
	read_clock(l);
	l->woke(l->woke_arg);
	/* First what only takes notes; daemons may free connections, so they come last. */
	for (int i = 0; i < n; i++)
		((struct source *)ev[i].data.ptr)->ready(ev[i].data.ptr, ev[i].events);
	for (d = l->daemons; d; d = d->next) {
		if (!d->mhd)
			continue;
		if (!d->ready && (MHD_get_timeout(d->mhd, &wait) != MHD_YES || wait > 0))
			continue;
		d->ready = false;
		MHD_run(d->mhd);
	}
}
