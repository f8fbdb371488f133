/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * px_board.h - the board: what the worker (one writer) tells every process of the proxy (readers),
 * in shared memory.
 *
 *     head | buckets | gateways | rows | tails
 *
 * A memfd, sealed against shrinking and growing; pages come as they are touched. What changes
 * together stands in a cell: two copies and a sequence. The writer fills the copy that isn't
 * current and then steps the sequence, whose lowest bit picks the copy; a reader copies the current
 * one and looks whether the sequence is still the same. So a writer that is killed in the middle
 * leaves the last good value, and nothing is ever locked.
 *
 * A user's names and subscription are long and change rarely: they stand once, outside the cell,
 * and count only if their hash is the one that the cell says. Their first bytes are in the row, the
 * rest in the row's tail, which short ones never touch.
 *
 * Users are found through chains: bucket -> row -> row. `changes` is odd while a chain is being
 * changed; not finding somebody is only believed when it was even and the same before and after.
 * Every retry is bounded and ends in "unknown".
 *
 * What a script's look-up costs is what it fetches from memory: a bucket, a row's first line (chain,
 * sequence, key) and one of the next two (the current copy's first part, with all that a script asks
 * for). So rows begin at a line, others in the chain are told apart by their first line, and what is
 * written all the time has lines of its own.
 *
 * Who follows changes reads `told`: a ring of the rows that were written last. Whoever falls behind
 * looks at all rows.
 *
 * All words are accessed as relaxed atomics, ordered by fences: a word is never torn, the sequence
 * tells the rest.
 */
#ifndef PX_BOARD_H
#define PX_BOARD_H

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

#include "px_key.h"

#define PX_BOARD_MAGIC 0x6472616f62787001ull /* "\1pxboard" */
#define PX_BOARD_VERSION 5
#define PX_BOARD_RETRIES 64
#define PX_BOARD_ROWS_MAX 1000000
#define PX_BOARD_GATEWAYS_MAX 1024
#define PX_BOARD_LINE 64   /* bytes of a processor's cache line */
#define PX_BOARD_TOLD 4096 /* rows whose last changes are told in order; a power of two */

#define PX_BOARD_ETAG_MAX 127
#define PX_BOARD_SUBSCRIPTION_MAX 255
#define PX_BOARD_NAME_MAX 63
#define PX_BOARD_SERVER_MAX 31
#define PX_BOARD_ERROR_MAX 255
#define PX_BOARD_GIVEN_MAX 511
#define PX_BOARD_REMINDED 7

/* ---- what is told, as plain values ---- */

/* The enums are the core's, as numbers. Up to `reminded_floor` it is the first part of the row's cell. */
struct px_board_state {
	uint64_t key_hash;
	uint32_t until;   /* times in s since 1970: presence holds until then */
	uint32_t read_at; /* last good reading; 0: never */
	uint32_t gateway; /* px_board_name_hash() of its name; 0: none */
	uint32_t
	    id; /* counts the users this row was given to: a freed row is another user's later */
	uint8_t key_len, mailbox_len, subscription_len, etag_len;
	uint8_t used, on;    /* used 0: a free row */
	uint8_t origin;      /* enum px_board_origin */
	uint8_t unsure;      /* a PUBLISH was sent whose answer isn't known */
	uint8_t dirty;       /* a reading is due */
	uint8_t watch;       /* enum px_watch_state */
	uint8_t presence;    /* enum px_presence; PX_UNKNOWN: nothing is wanted */
	uint8_t publication; /* enum px_pub_state */
	uint8_t quiet;       /* isn't reminded of meetings */
	uint8_t confirmed;   /* the presence server has the newest state */
	uint8_t kind;        /* enum px_kind of the subscription */
	uint8_t minutes;     /* push: how often the server calls at least */
	uint32_t lapses;     /* the presence server drops the publication then; 0: none stands */
	uint32_t put_at;
	uint32_t due;     /* watch is BACKOFF or PARKED until then; else 0 */
	uint32_t expires; /* s, granted */
	uint32_t mailbox_hash, subscription_hash; /* lower halves */

	uint32_t reminded_floor, reminded[PX_BOARD_REMINDED]; /* struct px_told */
	char trouble[27]; /* the last code that befell the user, cut; NUL-terminated */
	char etag[48];    /* the first bytes; the rest in the tail; not NUL-terminated */
};
#define PX_BOARD_STATE_FIRST offsetof(struct px_board_state, reminded_floor)
#define PX_BOARD_STATE_REST (sizeof(struct px_board_state) - PX_BOARD_STATE_FIRST)

enum px_board_origin { PX_FROM_CFG, PX_FROM_FILE, PX_FROM_DB, PX_FROM_RPC, PX_FROM_SCRIPT };

struct px_board_gateway_state {
	int64_t last_error_at; /* ms since 1970; 0: never */
	uint64_t requests, errors;
	uint32_t users, in_flight, limit, concurrency;
	uint32_t health; /* enum px_health, or PX_BOARD_REMOVED */
	uint32_t probing;
	uint32_t origin;                      /* enum px_board_origin */
	uint32_t kind;                        /* enum px_kind: how changes are learned there */
	char name[PX_BOARD_NAME_MAX + 1];     /* "": a free place */
	char server[PX_BOARD_SERVER_MAX + 1]; /* what it calls itself; "": not known */
	char last_error[PX_BOARD_ERROR_MAX + 1];
	char given[PX_BOARD_GIVEN_MAX + 1]; /* as a command wrote it; "": it is in the settings */
};
#define PX_BOARD_REMOVED 100 /* it is in the settings, and a command has taken it out */

#define PX_BOARD_WATCHES 12
struct px_board_counts {
	uint64_t reads, events, publishes, subscribes; /* since the worker's start */
	uint64_t polls;
	uint64_t notified,
	    strays; /* messages that listeners heard; those that meant nothing, or were forged */
	uint64_t sip_sent, sip_answered, sip_failed, log_lost;
	uint64_t reminders, reminders_failed;
	uint32_t users, on, published, confirmed, streams;
	uint32_t refused;                 /* users for whom there was no room */
	uint32_t watch[PX_BOARD_WATCHES]; /* by enum px_watch_state */
	uint32_t login;                   /* enum px_login */
	uint32_t sip_down, sip_window, sip_in_flight;
	uint32_t gateways; /* rows of them */
	uint32_t active;   /* it publishes: 1; as the second of a pair: 0 */
	uint32_t reloads, reload_wrong, reloaded_at; /* s since 1970; 0: never */
	uint32_t started_at;                         /* s since 1970 */
	uint32_t epoch; /* of the worker that tells; another than the head's: the new one has
	                        told nothing yet */
};

/* ---- how it lies in memory ---- */

typedef _Atomic uint64_t px_board_word;
#define PX_WORDS(bytes) (((bytes) + 7) / 8)

#define PX_BOARD_CELL(type)                                                                        \
	struct {                                                                                   \
		_Atomic uint64_t sequence; /* 0: never written */                                  \
		px_board_word copy[2][PX_WORDS(sizeof(type))];                                     \
	}

#define PX_BOARD_KEY_INLINE 48
#define PX_BOARD_MAILBOX_INLINE 56
#define PX_BOARD_SUBSCRIPTION_INLINE 96
#define PX_BOARD_ETAG_INLINE 48

struct px_board_row {
	_Alignas(PX_BOARD_LINE) _Atomic uint32_t next; /* in its chain; row + 1, 0: the last */
	_Atomic uint32_t tag;      /* px_board_tag() of whose it is, as long as it is in a chain */
	_Atomic uint64_t sequence; /* of the state; 0: never written */
	px_board_word key[PX_WORDS(PX_BOARD_KEY_INLINE)];
	/* the state, twice */
	_Alignas(PX_BOARD_LINE) px_board_word first[2][PX_WORDS(PX_BOARD_STATE_FIRST)];
	px_board_word rest[2][PX_WORDS(PX_BOARD_STATE_REST)];
	px_board_word mailbox[PX_WORDS(PX_BOARD_MAILBOX_INLINE)];
	px_board_word subscription[PX_WORDS(PX_BOARD_SUBSCRIPTION_INLINE)];
};
_Static_assert(PX_BOARD_STATE_FIRST == PX_BOARD_LINE, "the state's first part is one line");

/* What doesn't fit inline, from its first byte that doesn't. */
struct px_board_tail {
	px_board_word key[PX_WORDS(PX_AOR_MAX + 1 - PX_BOARD_KEY_INLINE)];
	px_board_word mailbox[PX_WORDS(PX_MAILBOX_MAX + 1 - PX_BOARD_MAILBOX_INLINE)];
	px_board_word
	    subscription[PX_WORDS(PX_BOARD_SUBSCRIPTION_MAX + 1 - PX_BOARD_SUBSCRIPTION_INLINE)];
	px_board_word etag[2][PX_WORDS(PX_BOARD_ETAG_MAX + 1 -
	                               PX_BOARD_ETAG_INLINE)]; /* goes with the state's copy */
};

struct px_board_gateway {
	PX_BOARD_CELL(struct px_board_gateway_state) state;
};

struct px_board_head {
	uint64_t magic;
	uint32_t version, head_size, row_size, tail_size, gateway_size;
	uint32_t rows, buckets, gateways; /* capacities */
	uint64_t buckets_at, gateways_at, rows_at, tails_at, size;
	_Atomic uint64_t epoch; /* workers that wrote here so far */
	_Atomic int64_t beat; /* CLOCK_MONOTONIC in ms when the worker last came around; 0: it ended
	                         by itself */
	_Atomic uint64_t changes; /* to chains; odd: one is under way */
	_Atomic uint32_t end;     /* rows from here on were never used */
	/* rows in the order in which they were written: the last PX_BOARD_TOLD of `told` */
	_Alignas(PX_BOARD_LINE) _Atomic uint64_t told;
	_Atomic uint32_t told_row[PX_BOARD_TOLD];
	/* What the URL has that servers call (push), so that they find the next worker, too. Not the key to anything: who
	 * knows it can make a calendar be read. 0: none was drawn yet */
	_Alignas(PX_BOARD_LINE) _Atomic uint64_t token[2];
	PX_BOARD_CELL(struct px_board_counts) counts;
};

static inline uint32_t px_board_buckets(uint32_t rows)
{
	uint32_t n = 64;

	while (n < rows)
		n *= 2;
	return n;
}

/* Fills all but the live part. A page is the unit, so that nothing shares one with what is rarely
 * touched. */
static inline void px_board_layout(struct px_board_head *h, uint32_t rows, uint32_t gateways)
{
	const uint64_t page = 4096;
#define PX_PAGES(bytes) (((bytes) + page - 1) / page * page)
	h->magic = PX_BOARD_MAGIC;
	h->version = PX_BOARD_VERSION;
	h->head_size = sizeof(struct px_board_head);
	h->row_size = sizeof(struct px_board_row);
	h->tail_size = sizeof(struct px_board_tail);
	h->gateway_size = sizeof(struct px_board_gateway);
	h->rows = rows;
	h->buckets = px_board_buckets(rows);
	h->gateways = gateways;
	h->buckets_at = PX_PAGES(sizeof(struct px_board_head));
	h->gateways_at = h->buckets_at + PX_PAGES((uint64_t)h->buckets * sizeof(uint32_t));
	h->rows_at =
	    h->gateways_at + PX_PAGES((uint64_t)gateways * sizeof(struct px_board_gateway));
	h->tails_at = h->rows_at + PX_PAGES((uint64_t)rows * sizeof(struct px_board_row));
	h->size = h->tails_at + PX_PAGES((uint64_t)rows * sizeof(struct px_board_tail));
#undef PX_PAGES
}

/* Whether `size` bytes at h are a board of this build. */
static inline bool px_board_valid(const struct px_board_head *h, uint64_t size)
{
	struct px_board_head want;

	if (size < sizeof *h || h->magic != PX_BOARD_MAGIC || h->version != PX_BOARD_VERSION ||
	    h->rows == 0 || h->rows > PX_BOARD_ROWS_MAX || h->gateways > PX_BOARD_GATEWAYS_MAX)
		return false;
	memset(&want, 0, sizeof want);
	px_board_layout(&want, h->rows, h->gateways);
	return memcmp(&want, h, offsetof(struct px_board_head, epoch)) == 0 && h->size <= size;
}

static inline _Atomic uint32_t *px_board_bucket(const struct px_board_head *h, uint64_t key_hash)
{
	return (_Atomic uint32_t *)((char *)h + h->buckets_at) + (key_hash & (h->buckets - 1));
}

/* Not the bits that chose the bucket. */
static inline uint32_t px_board_tag(uint64_t key_hash)
{
	return (uint32_t)(key_hash >> 32);
}

static inline struct px_board_row *px_board_row_at(const struct px_board_head *h, uint32_t i)
{
	return (struct px_board_row *)((char *)h + h->rows_at) + i;
}

static inline struct px_board_tail *px_board_tail_at(const struct px_board_head *h, uint32_t i)
{
	return (struct px_board_tail *)((char *)h + h->tails_at) + i;
}

static inline struct px_board_gateway *px_board_gateway_at(const struct px_board_head *h,
                                                           uint32_t i)
{
	return (struct px_board_gateway *)((char *)h + h->gateways_at) + i;
}

/* A gateway is told by its name's hash: its place in the table may be another one after a restart.
 * Never 0. */
static inline uint32_t px_board_name_hash(const char *name)
{
	uint32_t h = (uint32_t)px_key_hash(name, strlen(name));

	return h ? h : 1;
}

/* ---- reading (also by a worker that takes over) ---- */

/* n bytes out of words; of the last word only what is wanted. */
static inline void px_board_load(void *to, const px_board_word *from, size_t n)
{
	char *out = to;

	for (size_t i = 0; i < n; i += 8) {
		uint64_t w = atomic_load_explicit(&from[i / 8], memory_order_relaxed);

		memcpy(out + i, &w, n - i < 8 ? n - i : 8);
	}
}

/* A text of len bytes, partly inline and partly in the tail, and its NUL. */
static inline void px_board_load_text(char *to, size_t len, const px_board_word *first, size_t in,
                                      const px_board_word *rest)
{
	px_board_load(to, first, len < in ? len : in);
	if (len > in)
		px_board_load(to + in, rest, len - in);
	to[len] = '\0';
}

struct px_board_user {
	uint32_t row;
	struct px_board_state state;
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1];
	char subscription
	    [PX_BOARD_SUBSCRIPTION_MAX +
	     1]; /* "": none, or it can't be told; after its NUL, a pull one's watermark */
	uint8_t watermark;                /* where in subscription[] that begins; 0: none */
	char etag[PX_BOARD_ETAG_MAX + 1]; /* "": none */
};

enum px_board_found { PX_BOARD_FOUND, PX_BOARD_NONE, PX_BOARD_UNKNOWN };

/* The state's copy that goes with the sequence; all: with its rest. */
static inline void px_board_load_state(struct px_board_state *s, const struct px_board_row *row,
                                       uint64_t sequence, bool all)
{
	px_board_load(s, row->first[sequence & 1], PX_BOARD_STATE_FIRST);
	if (all)
		px_board_load((char *)s + PX_BOARD_STATE_FIRST, row->rest[sequence & 1],
		              PX_BOARD_STATE_REST);
}

/* Mailbox, subscription and ETag, as long as the state says; whether they belong to it isn't known yet. */
static inline void px_board_load_names(struct px_board_user *out, const struct px_board_row *row,
                                       const struct px_board_tail *tail, uint64_t sequence)
{
	const struct px_board_state *s = &out->state;
	const size_t etag = s->etag_len < PX_BOARD_ETAG_INLINE ? s->etag_len : PX_BOARD_ETAG_INLINE;

	px_board_load_text(out->mailbox, s->mailbox_len, row->mailbox, PX_BOARD_MAILBOX_INLINE,
	                   tail->mailbox);
	px_board_load_text(out->subscription, s->subscription_len, row->subscription,
	                   PX_BOARD_SUBSCRIPTION_INLINE, tail->subscription);
	memcpy(out->etag, s->etag, etag);
	px_board_load(out->etag + etag, tail->etag[sequence & 1], s->etag_len - etag);
	out->etag[s->etag_len] = '\0';
}

/* What isn't the one that the state says is "". */
static inline void px_board_check_names(struct px_board_user *out)
{
	const struct px_board_state *s = &out->state;
	char *blank;

	if ((uint32_t)px_key_hash(out->mailbox, s->mailbox_len) != s->mailbox_hash)
		out->mailbox[0] = '\0';
	if ((uint32_t)px_key_hash(out->subscription, s->subscription_len) != s->subscription_hash)
		out->subscription[0] = '\0';
	/* they stand together, with a blank between */
	blank = strchr(out->subscription, ' ');
	if (blank) {
		*blank = '\0';
		out->watermark = (uint8_t)(blank + 1 - out->subscription);
	}
}

/*
 * Copies one row; all: with mailbox, subscription and ETag, else these are "" and the state has its first part alone. key: only if it is that one's, with
 * its hash; NULL: whosever. NONE: it is free, or another's. UNKNOWN: it changed all the time, or its names were lost when a worker was killed in the middle.
 */
static inline enum px_board_found px_board_load_row(const struct px_board_head *h, uint32_t i,
                                                    const char *key, uint64_t hash, bool all,
                                                    struct px_board_user *out)
{
	const struct px_board_row *row = px_board_row_at(h, i);
	const struct px_board_tail *tail = px_board_tail_at(h, i);
	struct px_board_state *s = &out->state;

	out->row = i;
	out->watermark = 0;
	out->mailbox[0] = out->subscription[0] = out->etag[0] = '\0';
	for (int tries = 0; tries < PX_BOARD_RETRIES; tries++) {
		const uint64_t seq = atomic_load_explicit(&row->sequence, memory_order_acquire);

		if (seq == 0)
			return PX_BOARD_NONE;
		px_board_load_state(s, row, seq, all);
		if (s->etag_len > PX_BOARD_ETAG_MAX)
			continue; /* torn; the other lengths can't be too long */
		if (s->used)
			px_board_load_text(out->key, s->key_len, row->key, PX_BOARD_KEY_INLINE,
			                   tail->key);
		if (s->used && all)
			px_board_load_names(out, row, tail, seq);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&row->sequence, memory_order_relaxed) != seq)
			continue;
		if (!s->used || (key && s->key_hash != hash))
			return PX_BOARD_NONE;
		if (!key || strcmp(out->key, key) != 0) {
			if (px_key_hash(out->key, s->key_len) != s->key_hash)
				continue;
			if (key)
				return PX_BOARD_NONE;
		}
		if (all)
			px_board_check_names(out);
		return PX_BOARD_FOUND;
	}
	return PX_BOARD_UNKNOWN;
}

static inline enum px_board_found px_board_load_user(const struct px_board_head *h, uint32_t i,
                                                     struct px_board_user *out)
{
	return px_board_load_row(h, i, NULL, 0, true, out);
}

/* The row of a key (in its normal form), copied to *out as px_board_load_row does. */
static inline enum px_board_found px_board_find_row(const struct px_board_head *h, const char *key,
                                                    bool all, struct px_board_user *out)
{
	const uint64_t hash = px_key_hash(key, strlen(key));

	for (int tries = 0; tries < PX_BOARD_RETRIES; tries++) {
		uint64_t before = atomic_load_explicit(&h->changes, memory_order_acquire);
		uint32_t at = atomic_load_explicit(px_board_bucket(h, hash), memory_order_acquire);
		bool doubt = false;

		for (uint32_t steps = 0; at != 0 && at <= h->rows && steps < 256; steps++) {
			const struct px_board_row *row = px_board_row_at(h, at - 1);
			enum px_board_found f = PX_BOARD_NONE;

			/* the lines that follow come while the first one does */
			__builtin_prefetch(row->first[0]);
			__builtin_prefetch(row->first[1]);
			if (atomic_load_explicit(&row->tag, memory_order_relaxed) ==
			    px_board_tag(hash))
				f = px_board_load_row(h, at - 1, key, hash, all, out);
			if (f == PX_BOARD_FOUND)
				return f;
			doubt = doubt || f == PX_BOARD_UNKNOWN;
			at = atomic_load_explicit(&row->next, memory_order_acquire);
		}
		atomic_thread_fence(memory_order_acquire);
		if (at == 0 && !doubt && !(before & 1) &&
		    atomic_load_explicit(&h->changes, memory_order_relaxed) == before)
			return PX_BOARD_NONE;
	}
	return PX_BOARD_UNKNOWN;
}

static inline enum px_board_found px_board_find_user(const struct px_board_head *h, const char *key,
                                                     struct px_board_user *out)
{
	return px_board_find_row(h, key, true, out);
}

/* Copies a cell's current value of n bytes. False: never written, or it changed all the time. */
static inline bool px_board_load_cell(void *to, size_t n, const _Atomic uint64_t *sequence,
                                      const px_board_word *copies)
{
	for (int tries = 0; tries < PX_BOARD_RETRIES; tries++) {
		uint64_t seq = atomic_load_explicit(sequence, memory_order_acquire);

		if (seq == 0)
			return false;
		px_board_load(to, copies + (seq & 1) * PX_WORDS(n), n);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(sequence, memory_order_relaxed) == seq)
			return true;
	}
	return false;
}

/*
 * Makes an empty memfd (with sealing allowed) a board: sized, its head written, sealed. 0 or a negative errno. (Here, since both the module and a
 * worker alone make one.)
 */
static inline int px_board_prepare(int fd, uint32_t rows, uint32_t gateways)
{
	struct px_board_head head;

	memset(&head, 0, sizeof head);
	px_board_layout(&head, rows, gateways);
	if (ftruncate(fd, (off_t)head.size) < 0 ||
	    pwrite(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -errno;
	return 0;
}

/* A new board's descriptor, the caller's to close, or a negative errno. */
static inline int px_board_make(uint32_t rows, uint32_t gateways)
{
	int fd = memfd_create("pua_exchange board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err = fd < 0 ? -errno : px_board_prepare(fd, rows, gateways);

	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err;
}

#endif
