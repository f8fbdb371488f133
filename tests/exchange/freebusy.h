/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * freebusy.h - one mailbox's free/busy as GetUserAvailability answers it (t:FreeBusyView).
 */
#ifndef EXCHANGE_FREEBUSY_H
#define EXCHANGE_FREEBUSY_H

#include "buf.h"
#include "store.h"
#include "zone.h"

enum view {
	VIEW_NONE,
	VIEW_MERGED_ONLY,
	VIEW_FREEBUSY,
	VIEW_FREEBUSY_MERGED,
	VIEW_DETAILED,
	VIEW_DETAILED_MERGED
};

struct freebusy_ask {
	enum view view;
	int64_t from, to;
	int slot; /* minutes of a digit of MergedFreeBusy */
	struct zone zone;
	bool elsewhere; /* the client's schema knows WorkingElsewhere; otherwise it reads Free */
};

bool view_parse(const char *word, enum view *v);

/*
 * Appends the children of FreeBusyView, in the types namespace as default namespace each: times
 * are local times of the request's zone without an offset. occ: those that touch [from, to).
 */
void freebusy_write(struct buf *b, const struct freebusy_ask *ask, const struct occurrence *occ,
                    size_t n);

/* The digits of MergedFreeBusy: one for each slot begun in [from, to). */
void freebusy_merge(struct buf *b, const struct freebusy_ask *ask, const struct occurrence *occ,
                    size_t n);

#endif
