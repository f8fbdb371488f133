/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "store.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#include "buf.h"
#include "when.h"

/* Mailboxes live in blocks so that a pointer to one stays valid while others are added. */
#define BLOCK 4096

struct named {
	char *address; /* lower case */
	uint32_t index;
	UT_hash_handle hh;
};

struct store {
	char *domain; /* lower case */
	uint32_t users, size;
	uint64_t seed;
	int64_t day0; /* midnight (UTC) of the anchor's day */
	bool calendars;
	struct mailbox **block;
	struct named *named; /* the mailboxes beyond users */
	struct {
		store_changed_fn *fn;
		void *arg;
	} listeners[STORE_LISTENERS];
	unsigned nlisteners;
	store_before_fn *before;
	void *before_arg;
	struct meeting *all; /* scratch of store_meetings */
	size_t all_cap;
	struct occurrence *occ; /* scratch of store_expand */
	size_t occ_cap;
};

static const char *const names[STATUS_COUNT] = {"free", "tentative", "busy", "oof",
                                                "workingelsewhere"};

const char *status_name(enum status s)
{
	return names[s];
}

bool status_parse(const char *name, enum status *s)
{
	for (int i = 0; i < STATUS_COUNT; i++)
		if (strcasecmp(names[i], name) == 0) {
			*s = (enum status)i;
			return true;
		}
	return false;
}

int64_t meeting_period(const struct meeting *m)
{
	if (m->repeat == REPEAT_NONE)
		return 0;
	return (int64_t)m->interval * (m->repeat == REPEAT_DAILY ? 1 : 7) * WHEN_DAY;
}

static char *lower(const char *s)
{
	char *d = xstrdup(s);

	for (char *p = d; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	return d;
}

static struct mailbox *new_slot(struct store *s)
{
	struct mailbox *mb;

	if (s->size % BLOCK == 0) {
		s->block = xrealloc(s->block, (s->size / BLOCK + 1) * sizeof *s->block);
		s->block[s->size / BLOCK] = xcalloc(BLOCK, sizeof **s->block);
	}
	mb = &s->block[s->size / BLOCK][s->size % BLOCK];
	mb->index = s->size++;
	mb->exists = true;
	return mb;
}

/* Seeded meetings have the ordinals below this, later ones those from it on. */
#define SEEDED_MAX 40

struct store *store_new(uint32_t users, const char *domain, uint64_t seed, int64_t anchor,
                        bool calendars)
{
	struct store *s = xcalloc(1, sizeof *s);

	s->domain = lower(domain);
	s->users = users;
	s->seed = seed;
	s->day0 = anchor - ((anchor % WHEN_DAY) + WHEN_DAY) % WHEN_DAY;
	s->calendars = calendars;
	for (uint32_t i = 0; i < users; i++) {
		struct mailbox *mb = new_slot(s);

		mb->lazy = calendars;
		mb->next_ordinal = SEEDED_MAX;
	}
	return s;
}

void store_free(struct store *s)
{
	struct named *n, *tmp;

	for (uint32_t i = 0; i < s->size; i++) {
		free(store_at(s, i)->kept);
		free(store_at(s, i)->address);
		free(store_at(s, i)->back_end);
	}
	for (uint32_t i = 0; i < (s->size + BLOCK - 1) / BLOCK; i++)
		free(s->block[i]);
	for (n = s->named; n; n = tmp) {
		tmp = n->hh.next;
		HASH_DEL(s->named, n);
		free(n->address);
		free(n);
	}
	free(s->block);
	free(s->all);
	free(s->occ);
	free(s->domain);
	free(s);
}

void store_on_change(struct store *s, store_changed_fn *fn, void *arg)
{
	unsigned i = 0;

	while (!fn && i < s->nlisteners && s->listeners[i].arg != arg)
		i++;
	if (!fn && i < s->nlisteners)
		s->listeners[i] = s->listeners[--s->nlisteners];
	if (!fn)
		return;
	if (s->nlisteners == STORE_LISTENERS)
		abort();
	s->listeners[s->nlisteners].fn = fn;
	s->listeners[s->nlisteners++].arg = arg;
}

void store_before_change(struct store *s, store_before_fn *fn, void *arg)
{
	s->before = fn;
	s->before_arg = arg;
}

struct mailbox *store_at(struct store *s, uint32_t index)
{
	return &s->block[index / BLOCK][index % BLOCK];
}

uint32_t store_size(const struct store *s)
{
	return s->size;
}

const char *store_domain(const struct store *s)
{
	return s->domain;
}

const char *store_address(const struct store *s, const struct mailbox *mb, char out[STORE_ADDRESS])
{
	if (mb->address)
		return mb->address;
	snprintf(out, STORE_ADDRESS, "user%u@%s", mb->index + 1, s->domain);
	return out;
}

/* The slot of an address, whether or not its mailbox exists now. */
static struct mailbox *slot(struct store *s, const char *address)
{
	struct named *n;
	char *low, *end;

	if (strncasecmp(address, "user", 4) == 0 && address[4] >= '1' && address[4] <= '9') {
		unsigned long k = strtoul(address + 4, &end, 10);

		if (*end == '@' && strcasecmp(end + 1, s->domain) == 0 && k <= s->users)
			return store_at(s, (uint32_t)k - 1);
	}
	low = lower(address);
	HASH_FIND_STR(s->named, low, n);
	free(low);
	return n ? store_at(s, n->index) : NULL;
}

struct mailbox *store_find(struct store *s, const char *address)
{
	struct mailbox *mb = slot(s, address);

	return mb && mb->exists ? mb : NULL;
}

struct mailbox *store_add(struct store *s, const char *address)
{
	const char *at = strchr(address, '@');
	struct mailbox *mb = slot(s, address);

	if (!at || at == address || !at[1] || strlen(address) >= STORE_ADDRESS)
		return NULL;
	if (!mb) {
		struct named *n = xcalloc(1, sizeof *n);

		mb = new_slot(s);
		mb->address = lower(address);
		n->address = xstrdup(mb->address);
		n->index = mb->index;
		HASH_ADD_KEYPTR(hh, s->named, n->address, strlen(n->address), n);
	}
	mb->exists = true;
	return mb;
}

void store_remove(struct mailbox *mb)
{
	free(mb->kept);
	mb->kept = NULL;
	mb->nkept = 0;
	free(mb->back_end);
	mb->back_end = NULL;
	mb->exists = mb->lazy = mb->denied = mb->no_freebusy = mb->merged_only = false;
	mb->no_details = false;
	mb->oof = OOF_DISABLED;
	mb->move_until_ms = 0;
}

/* splitmix64: each mailbox gets its own stream of numbers from seed and index */
static uint64_t roll(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static unsigned below(uint64_t *x, unsigned n)
{
	return (unsigned)(roll(x) % n);
}

static enum status any_status(uint64_t *x)
{
	unsigned p = below(x, 100);

	return p < 58   ? STATUS_BUSY
	       : p < 72 ? STATUS_TENTATIVE
	       : p < 82 ? STATUS_OOF
	       : p < 92 ? STATUS_FREE
	                : STATUS_ELSEWHERE;
}

static struct meeting *seeded(struct meeting *out, size_t *n, uint32_t mailbox, uint64_t *x)
{
	static const char *const about[] = {
	    "Review",   "Planning",       "Stand-up", "Interview",    "Budget",     "Customer",
	    "Design",   "Release",        "Training", "Travel",       "Focus time", "Lunch & learn",
	    "Site <B>", "R\xc3\xa9union", "1:1",      "Retrospective"};
	static const char *const where[] = {"Room 1", "Room \"Oslo\"", "Online", "", "Cafeteria"};
	struct meeting *m = &out[*n];

	*m = (struct meeting){.mailbox = mailbox,
	                      .ordinal = (uint32_t)*n,
	                      .change = 1,
	                      .status = any_status(x),
	                      .secret = below(x, 12) == 0,
	                      .interval = 1};
	strcpy(m->subject, about[below(x, sizeof about / sizeof *about)]);
	strcpy(m->location, where[below(x, sizeof where / sizeof *where)]);
	++*n;
	return m;
}

/* Fills out (SEEDED_MAX of them) with the calendar that follows from the seed; how many. */
static size_t generate(const struct store *s, uint32_t mailbox, struct meeting *out)
{
	uint64_t x = s->seed * 0x9e3779b97f4a7c15u + mailbox;
	/* people work in different places, so something begins at every hour of the day */
	int64_t shift = ((int64_t)below(&x, 18) - 8) * 3600;
	struct meeting *m;
	size_t n = 0;

	for (int day = -1; day <= 5; day++) {
		int64_t midnight = s->day0 + day * WHEN_DAY;
		int weekday = when_civil(midnight).weekday;
		unsigned k = weekday == 0 || weekday == 6 ? below(&x, 2) : 1 + below(&x, 3);

		while (k--) {
			m = seeded(out, &n, mailbox, &x);
			/* mostly on the hour: that is when everybody's state changes at once */
			m->start = midnight + shift + (8 + below(&x, 10)) * 3600;
			if (below(&x, 3) == 0)
				m->start += 900 * (1 + below(&x, 3));
			m->end = m->start + 1800 * (1 + below(&x, 4));
		}
	}
	if (below(&x, 10) < 3) { /* a daily series, one occurrence deleted, one moved */
		m = seeded(out, &n, mailbox, &x);
		m->status = below(&x, 2) ? STATUS_BUSY : STATUS_TENTATIVE;
		m->start = s->day0 - 10 * WHEN_DAY + shift + (9 + below(&x, 8)) * 3600 + 900;
		m->end = m->start + 900 * (1 + below(&x, 2));
		m->repeat = REPEAT_DAILY;
		m->interval = 1 + below(&x, 2);
		m->count = 8 + below(&x, 20);
		m->exc[0] = (struct exception){.index = 10 / m->interval, .deleted = true};
		m->exc[1].index = 10 / m->interval + 1;
		m->exc[1].start = m->start + m->exc[1].index * meeting_period(m) + 5400;
		m->exc[1].end = m->exc[1].start + 3600;
		m->exc[1].status = STATUS_BUSY;
		m->nexc = 2;
	}
	if (below(&x, 10) < 6) { /* a weekly series without end */
		m = seeded(out, &n, mailbox, &x);
		m->start = s->day0 - (int64_t)(21 + below(&x, 7)) * WHEN_DAY + shift +
		           (8 + below(&x, 9)) * 3600;
		m->end = m->start + 3600;
		m->repeat = REPEAT_WEEKLY;
		m->count = below(&x, 2) ? 0 : 12;
		if (below(&x, 2)) {
			m->exc[0] = (struct exception){.index = 3, .deleted = true};
			m->nexc = 1;
		}
	}
	if (below(&x, 10) < 2) { /* all day long: a birthday, or days off */
		m = seeded(out, &n, mailbox, &x);
		m->all_day = true;
		m->start = s->day0 + ((int64_t)below(&x, 6) - 1) * WHEN_DAY;
		m->status = below(&x, 3) ? STATUS_FREE : STATUS_OOF;
		m->end = m->start + (m->status == STATUS_OOF ? 1 + below(&x, 3) : 1) * WHEN_DAY;
	}
	return n;
}

const struct meeting *store_meetings(struct store *s, struct mailbox *mb, size_t *n)
{
	size_t need = SEEDED_MAX + mb->nkept;

	*n = 0;
	if (need > s->all_cap) {
		s->all = xrealloc(s->all, need * sizeof *s->all);
		s->all_cap = need;
	}
	if (!mb->exists)
		return s->all;
	if (mb->lazy)
		*n = generate(s, mb->index, s->all);
	if (mb->nkept)
		memcpy(s->all + *n, mb->kept, mb->nkept * sizeof *s->all);
	*n += mb->nkept;
	return s->all;
}

static int by_start(const void *a, const void *b)
{
	const struct occurrence *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	if (x->meeting->ordinal != y->meeting->ordinal)
		return x->meeting->ordinal < y->meeting->ordinal ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static void found(struct store *s, size_t *n, struct occurrence o, int64_t from, int64_t to)
{
	if (o.start >= to || (o.start == o.end ? o.start < from : o.end <= from) ||
	    *n >= STORE_EXPAND_MAX)
		return;
	if (*n == s->occ_cap) {
		s->occ_cap = s->occ_cap ? 2 * s->occ_cap : 64;
		s->occ = xrealloc(s->occ, s->occ_cap * sizeof *s->occ);
	}
	s->occ[(*n)++] = o;
}

static void expand(struct store *s, const struct meeting *m, int64_t from, int64_t to, size_t *n)
{
	int64_t period = meeting_period(m), length = m->end - m->start, first;

	if (!period) {
		found(s, n,
		      (struct occurrence){
		          .meeting = m, .status = m->status, .start = m->start, .end = m->end},
		      from, to);
		return;
	}
	for (unsigned e = 0; e < m->nexc; e++)
		if (!m->exc[e].deleted && (!m->count || m->exc[e].index < m->count))
			found(s, n,
			      (struct occurrence){.meeting = m,
			                          .index = m->exc[e].index,
			                          .exception = true,
			                          .status = m->exc[e].status,
			                          .start = m->exc[e].start,
			                          .end = m->exc[e].end},
			      from, to);
	first = from - length - m->start;
	for (int64_t i = first > 0 ? first / period : 0; !m->count || i < m->count; i++) {
		int64_t start = m->start + i * period;
		bool plain = true;

		if (start >= to || i > UINT32_MAX || *n >= STORE_EXPAND_MAX)
			break;
		for (unsigned e = 0; e < m->nexc; e++)
			plain = plain && m->exc[e].index != i;
		if (plain)
			found(s, n,
			      (struct occurrence){.meeting = m,
			                          .index = (uint32_t)i,
			                          .status = m->status,
			                          .start = start,
			                          .end = start + length},
			      from, to);
	}
}

const struct occurrence *store_expand_list(struct store *s, const struct meeting *m, size_t count,
                                           int64_t from, int64_t to, size_t *n)
{
	*n = 0;
	for (size_t i = 0; i < count; i++)
		expand(s, &m[i], from, to, n);
	if (*n)
		qsort(s->occ, *n, sizeof *s->occ, by_start);
	return s->occ;
}

const struct occurrence *store_expand(struct store *s, struct mailbox *mb, int64_t from, int64_t to,
                                      size_t *n)
{
	size_t all;
	const struct meeting *m = store_meetings(s, mb, &all);

	return store_expand_list(s, m, all, from, to, n);
}

static void tell(struct store *s, struct mailbox *mb, const struct meeting *m, enum change change,
                 bool freebusy)
{
	for (unsigned i = 0; i < s->nlisteners; i++)
		s->listeners[i].fn(s->listeners[i].arg, mb, m, change, freebusy);
}

static struct meeting *keep(struct mailbox *mb, size_t n)
{
	mb->kept = xrealloc(mb->kept, (mb->nkept + n) * sizeof *mb->kept);
	mb->nkept += (uint32_t)n;
	return mb->kept + mb->nkept - n;
}

void store_create(struct store *s, struct mailbox *mb, struct meeting *m)
{
	if (s->before)
		s->before(s->before_arg, mb);
	m->mailbox = mb->index;
	m->ordinal = mb->next_ordinal++;
	m->change = 1;
	*keep(mb, 1) = *m;
	tell(s, mb, m, CHANGE_CREATED, true);
}

struct meeting *store_edit(struct store *s, struct mailbox *mb, uint32_t ordinal)
{
	if (!mb->exists)
		return NULL;
	if (s->before)
		s->before(s->before_arg, mb);
	if (mb->lazy && ordinal < SEEDED_MAX) {
		struct meeting made[SEEDED_MAX];
		size_t n = generate(s, mb->index, made);

		memcpy(keep(mb, n), made, n * sizeof *made);
		mb->lazy = false;
	}
	for (uint32_t i = 0; i < mb->nkept; i++)
		if (mb->kept[i].ordinal == ordinal)
			return &mb->kept[i];
	return NULL;
}

void store_modified(struct store *s, struct mailbox *mb, struct meeting *m, bool freebusy)
{
	m->change++;
	tell(s, mb, m, CHANGE_MODIFIED, freebusy);
}

bool store_delete(struct store *s, struct mailbox *mb, uint32_t ordinal, enum change how)
{
	struct meeting *m = store_edit(s, mb, ordinal), gone;

	if (!m)
		return false;
	gone = *m;
	*m = mb->kept[--mb->nkept];
	tell(s, mb, &gone, how, true);
	return true;
}
