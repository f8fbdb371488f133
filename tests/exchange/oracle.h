/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * oracle.h - what a calendar says at one moment, worked out from the meetings themselves.
 *
 * It doesn't expand series into lists, as everything that answers EWS requests does, but computes
 * which occurrence covers a moment: so the two can be held against each other.
 */
#ifndef EXCHANGE_ORACLE_H
#define EXCHANGE_ORACLE_H

#include "store.h"

/* How far ahead a change is looked for, and how many boundaries at most. */
#define ORACLE_HORIZON (31 * 86400)
#define ORACLE_NEVER INT64_MIN

struct verdict {
	enum status status; /* OOF over Busy over Tentative over WorkingElsewhere over Free */
	int64_t until;      /* when the status changes next; ORACLE_NEVER: not within the horizon */
	/* the same for presence: busy; away for OOF; available for all others */
	const char *availability;
	int64_t availability_until;
};

struct verdict oracle(const struct meeting *m, size_t n, int64_t at);

#endif
