/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * supervisor.h - the process that runs the worker as a program of its own (fork+exec, with nothing of
 * the proxy left in it), starts it again when it dies, kills it when its heartbeat on the board
 * stops, hands its lines to the proxy's log, and ends with the proxy.
 *
 * A proxy ends when any process that it forked does. So what it forks for us only keeps the
 * supervisor running, and has nothing else to do that could go wrong.
 */
#ifndef PX_SUPERVISOR_H
#define PX_SUPERVISOR_H

#include <sys/types.h>

#include "board.h"

/* The worker's levels, in the order of the words with which its lines begin. */
enum px_level { PX_ERROR, PX_WARN, PX_NOTICE, PX_INFO, PX_DEBUG };

#define PX_WORKER_BACK_MS 2000     /* a worker that was killed is back after so long at most ... */
#define PX_WORKER_REFUSED_MS 30000 /* ... one that ends by itself: nothing will be better soon */
#define PX_WORKER_START_MS 30000   /* it has so long to its first heartbeat */
#define PX_WORKER_LEAVE_MS 12000   /* and so long to end (on_exit=withdraw takes 10 s at most) */

struct px_supervisor {
	const char *worker;                              /* its program */
	int settings_fd, board_fd, control_fd, table_fd; /* what it gets, at 3, 4, 5 and 6 */
	const struct px_board_reader *board;
	pid_t proxy;                                        /* our parent: we end when it does */
	void (*log)(enum px_level level, const char *text); /* one line, without newline */
	void (*begin)(void); /* in the supervisor's process, first; NULL: nothing */
	void (*turn)(void);  /* there, at least once a second; NULL: nothing */
};

/*
 * In the process that the proxy forked: has px_supervise() run in a child, and again when that was
 * killed, until SIGTERM, SIGINT or the end of the proxy; waits for its end and returns.
 */
void px_keep_supervised(const struct px_supervisor *s);

/*
 * Supervises until SIGTERM, SIGINT or the end of the proxy, then ends the worker and returns. The
 * process is the supervisor's own: signal handlers and mask are changed, the sockets of the proxy
 * closed. SIGHUP is handed to the worker.
 */
void px_supervise(const struct px_supervisor *s);

#endif
