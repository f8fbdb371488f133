/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * store.h - the mailboxes and the meetings in their calendars.
 *
 * user1@DOMAIN .. userN@DOMAIN exist from the start. Their calendars follow from the seed and are
 * made anew each time they are read, so a hundred thousand of them cost no memory; a calendar is
 * kept only from its first change on. All times are seconds since 1970 (UTC), intervals are
 * half-open [start, end), series repeat in UTC.
 */
#ifndef EXCHANGE_STORE_H
#define EXCHANGE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum status { STATUS_FREE, STATUS_TENTATIVE, STATUS_BUSY, STATUS_OOF, STATUS_ELSEWHERE };
#define STATUS_COUNT 5

const char *status_name(enum status s); /* "free", "tentative", "busy", "oof", "workingelsewhere" */
bool status_parse(const char *name, enum status *s);

enum repeat { REPEAT_NONE, REPEAT_DAILY, REPEAT_WEEKLY };

#define MEETING_EXCEPTIONS 4
#define MEETING_SUBJECT 64
#define MEETING_LOCATION 32

/* One occurrence of a series that isn't where the series would have it. */
struct exception {
	uint32_t index; /* which occurrence, from 0; beyond the series' count: of no effect */
	bool deleted;
	enum status status;
	int64_t start, end;
};

struct meeting {
	uint32_t mailbox, ordinal; /* the two make its identity */
	uint32_t change;           /* goes up with each change */
	int64_t start, end;        /* of the first occurrence; start <= end */
	enum status status;
	bool all_day, secret;
	enum repeat repeat;
	uint32_t interval; /* every so many days or weeks, >= 1 */
	uint32_t count;    /* of occurrences; 0: without end */
	unsigned nexc;
	struct exception exc[MEETING_EXCEPTIONS];
	char subject[MEETING_SUBJECT], location[MEETING_LOCATION];
};

struct occurrence {
	const struct meeting *meeting;
	uint32_t index; /* 0 when the meeting doesn't repeat */
	bool exception;
	enum status status;
	int64_t start, end;
};

enum oof { OOF_DISABLED, OOF_ENABLED, OOF_SCHEDULED };

struct mailbox {
	uint32_t index;
	bool exists;
	bool denied;                 /* may not be impersonated */
	bool no_freebusy;            /* its free/busy may not be read */
	bool no_details;             /* others see free/busy only, not what meetings are about */
	bool merged_only;            /* of it only the digits may be read */
	uint8_t oof;                 /* enum oof: its automatic replies */
	int64_t oof_from, oof_until; /* s; scheduled */
	uint8_t language;            /* enum language (davprop.h): what its folders are called */
	char *back_end; /* own memory: the server it lives on is asked for elsewhere; or NULL */
	bool lazy;      /* its seeded meetings still follow from the seed */
	int64_t move_until_ms; /* monotonic; being moved to another database until then; 0: not */
	uint32_t nkept, next_ordinal;
	struct meeting *kept;
	struct subscription *subs; /* subscription.c's: who listens to this mailbox */
	struct davsub *davsubs;    /* and davsub.c's */
	char *address;             /* own memory, or NULL: user<index+1>@domain */
};

enum change { CHANGE_CREATED, CHANGE_MODIFIED, CHANGE_DELETED, CHANGE_MOVED };

/* Called after a change; freebusy: somebody's busy time changed by it. m is lent for the call. */
typedef void store_changed_fn(void *arg, struct mailbox *mb, const struct meeting *m,
                              enum change change, bool freebusy);

struct store;

/* anchor: the day (any time in it) that seeded calendars lie around. domain is copied. */
struct store *store_new(uint32_t users, const char *domain, uint64_t seed, int64_t anchor,
                        bool calendars);
void store_free(struct store *s);
/* One more listener, at most STORE_LISTENERS; with fn NULL that of arg is none any more. */
#define STORE_LISTENERS 2
void store_on_change(struct store *s, store_changed_fn *fn, void *arg);

/* Letter case is ignored. NULL: no such mailbox. */
struct mailbox *store_find(struct store *s, const char *address);
/* Makes the mailbox (with an empty calendar) unless it exists. NULL: not an address. */
struct mailbox *store_add(struct store *s, const char *address);
/* The mailbox and its meetings are gone; its struct stays, so pointers to it remain valid. */
void store_remove(struct mailbox *mb);
/* index < store_size(); also those that don't exist any more */
struct mailbox *store_at(struct store *s, uint32_t index);
uint32_t store_size(const struct store *s);
const char *store_domain(const struct store *s); /* of user1 .. userN, lower case */
#define STORE_ADDRESS 320
const char *store_address(const struct store *s, const struct mailbox *mb, char out[STORE_ADDRESS]);

/* The one that is told before a calendar changes; NULL: nobody. */
typedef void store_before_fn(void *arg, struct mailbox *mb);
void store_before_change(struct store *s, store_before_fn *fn, void *arg);

/* All meetings of a calendar, in no order; valid until the next call on this store. */
const struct meeting *store_meetings(struct store *s, struct mailbox *mb, size_t *n);
/*
 * All occurrences that touch [from, to), by start; of no length: those that begin in it. Valid
 * until the next call on this store. At most STORE_EXPAND_MAX, the earliest ones of each series.
 */
#define STORE_EXPAND_MAX 20000
const struct occurrence *store_expand(struct store *s, struct mailbox *mb, int64_t from, int64_t to,
                                      size_t *n);

/* The same of meetings that needn't be in the store. */
const struct occurrence *store_expand_list(struct store *s, const struct meeting *m, size_t count,
                                           int64_t from, int64_t to, size_t *n);

/* Changes; each tells the listener. ordinal and change of *m are set by store_create. */
void store_create(struct store *s, struct mailbox *mb, struct meeting *m);
/* The meeting to be changed, kept from now on; NULL: none. Then call store_modified. */
struct meeting *store_edit(struct store *s, struct mailbox *mb, uint32_t ordinal);
void store_modified(struct store *s, struct mailbox *mb, struct meeting *m, bool freebusy);
/* how: CHANGE_DELETED or CHANGE_MOVED (into Deleted Items). False: no such meeting. */
bool store_delete(struct store *s, struct mailbox *mb, uint32_t ordinal, enum change how);

/* Seconds from one occurrence to the next; 0: doesn't repeat. */
int64_t meeting_period(const struct meeting *m);

#endif
