/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * publisher.h - free/busy as it is published in the public folders, and the URL where OWA shows it:
 *
 *   GET /public/?Cmd=freebusy&start=...&end=...&interval=MINUTES&u=SMTP:address[&u=...]
 *
 * What is published lags behind the calendars (Outlook: 15 to 45 minutes). No I/O; times are monotonic
 * milliseconds, given by the caller.
 */
#ifndef EXCHANGE_PUBLISHER_H
#define EXCHANGE_PUBLISHER_H

#include <uthash.h>

#include "dav.h"

#define PUBLISHER_USERS_MAX 200
#define PUBLISHER_SLOTS_MAX 50000

/* A calendar as it was before the changes that aren't published yet. */
struct published {
	uint32_t mailbox;
	struct meeting *meetings;
	size_t n;
	int64_t due_ms; /* when they are */
	UT_hash_handle hh;
};

struct publisher {
	struct store *store;
	struct published *old;
	int64_t lag_ms;         /* 0: at once */
	bool tentative_missing; /* tentative meetings aren't published (Microsoft KB 232380) */
	int64_t now_ms;
};

/* Hears of the store's changes before they happen from now on. */
void publisher_init(struct publisher *p, struct store *store);
void publisher_free(struct publisher *p);

struct freebusy_url {
	const char *start, *end, *interval; /* NULL where they are missing */
	const char *users[PUBLISHER_USERS_MAX];
	unsigned n;
	const char *user_agent;
};
void publisher_answer(struct publisher *p, const struct freebusy_url *ask, struct dav_answer *a);
/* Returns when it is due again. */
int64_t publisher_tick(struct publisher *p, int64_t now_ms);

#endif
