/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * show.h - what the board says, as rows of names and values: for RPC, MI and statistics of any proxy.
 * Everything is bounded and waits for nobody.
 */
#ifndef PX_SHOW_H
#define PX_SHOW_H

#include "board.h"

#define PX_SHOW_LIMIT 100 /* users on a page, if not told otherwise */
#define PX_SHOW_LIMIT_MAX 1000
#define PX_SHOW_ROWS_MAX 20000 /* rows of the board looked at for one page: about 10 ms */
#define PX_SHOW_WHY_MAX 160

/* Where rows go. Names are literals; texts are borrowed for the call. */
struct px_rows {
	void *ctx;
	void (*begin)(void *ctx); /* what follows belongs to a new row */
	void (*list)(void *ctx,
	             const char *name); /* rows from here on are elements of a list of the
	                                              row at hand ... */
	void (*end)(void *ctx);         /* ... that ends; what follows belongs to that row again */
	void (*text)(void *ctx, const char *name, const char *value);
	void (*number)(void *ctx, const char *name, int64_t value);
};

/* Read once for each request: CLOCK_MONOTONIC in ms, seconds since 1970. */
struct px_show_now {
	int64_t mono_ms, wall_s;
};
struct px_show_now px_show_now(void);

/* Zeroed to begin with, then limit set by px_users_query_word() or left 0 for PX_SHOW_LIMIT. */
struct px_users_query {
	uint32_t
	    offset; /* on the board, as the page before said in `next`; not a number of users */
	uint32_t limit;
	unsigned numbers; /* words without a name so far */
	char status[16];  /* "available", "busy", "away", "unknown" */
	char gateway[PX_BOARD_NAME_MAX + 1];
	char watch[16]; /* a name of the watch's state */
	char match[64]; /* in AoR or mailbox, whatever the case */
};

/*
 * Takes one word of a request: NAME=VALUE with one of offset, limit, status, gateway, watch, match; a
 * number (the first is the offset, the second the limit); or anything else: match. 0, or -EINVAL and
 * in why what is wrong.
 */
int px_users_query_word(struct px_users_query *q, const char *word, char why[PX_SHOW_WHY_MAX]);

/*
 * One page: a row for each user that the query wants, at most its limit, with no more than
 * PX_SHOW_ROWS_MAX rows looked at. Returns where the next page begins; 0: there is none.
 */
uint32_t px_show_users(const struct px_board_reader *b, const struct px_users_query *q,
                       struct px_show_now now, const struct px_rows *rows);

/* Everything about one user, in one row. */
enum px_board_found px_show_user(const struct px_board_reader *b, const char *key,
                                 struct px_show_now now, const struct px_rows *rows);

/* A row for each gateway. */
void px_show_gateways(const struct px_board_reader *b, const struct px_rows *rows);

/* One row: the worker, the login, and all statistics. */
void px_show_stats(const struct px_board_reader *b, struct px_show_now now,
                   const struct px_rows *rows);

/* "up", "down", "refused": a gateway's. */
const char *px_show_health(uint32_t health);

/* Statistics: X(name, help). Gauges, and counters since the worker's start (worker_restarts: since
 * the proxy's). */
#define PX_STATS(X)                                                                                \
	X(users, "users that are known")                                                           \
	X(enabled, "users whose calendar is to be followed")                                       \
	X(published, "users with a document at the presence server")                               \
	X(confirmed, "of them, those whose newest state the presence server has")                  \
	X(subscribed, "users with a subscription at their gateway")                                \
	X(followed, "of them, those in a running stream, called or polled")                        \
	X(parked, "users that have a trouble of their own and are tried hourly")                   \
	X(refused, "users refused since there are max_users")                                      \
	X(streams, "streaming connections that run")                                               \
	X(gateways_up, "gateways that are healthy")                                                \
	X(gateways_down, "gateways that are not")                                                  \
	X(publishes, "PUBLISH requests")                                                           \
	X(publish_failures, "PUBLISH requests that the presence server failed to answer")          \
	X(reads, "calendars read")                                                                 \
	X(events, "changes told by gateways")                                                      \
	X(subscribes, "Subscribe requests")                                                        \
	X(polls, "requests that asked whether something has changed")                              \
	X(notified, "calls of servers that came in")                                               \
	X(strays, "of them, those that meant nothing or were forged")                              \
	X(login_held,                                                                              \
	  "1: the account is refused, and nothing is sent to Exchange but one login in 5 minutes") \
	X(presence_up, "1: the presence server answers; 0: it is probed")                          \
	X(reminders, "reminders of meetings that were delivered")                                  \
	X(reminder_failures, "reminders of meetings that could not be delivered")                  \
	X(active, "1: this node publishes; 0: it stands by")                                       \
	X(reloads, "times that settings and files were read again")                                \
	X(reload_wrong, "complaints of the last time")                                             \
	X(worker_up, "1: the worker runs; 0: it is silent")                                        \
	X(worker_restarts, "times that the worker was started again")                              \
	X(log_lost, "log lines of the worker that found no room")                                  \
	X(commands_lost, "commands of the routing script that found no room, or no worker")

enum px_stat {
#define PX_STAT_ENUM(name, help) PX_STAT_##name,
	PX_STATS(PX_STAT_ENUM)
#undef PX_STAT_ENUM
	    PX_STAT_COUNT
};

/* One of them now; 0 as long as no worker has told. */
uint64_t px_stat(const struct px_board_reader *b, enum px_stat which, struct px_show_now now);

#endif
