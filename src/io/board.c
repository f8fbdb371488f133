/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/board.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

#define NOT_SET 0 /* row + 1 */

struct px_board {
	struct px_board_head *head;
	uint32_t *row_of;  /* engine's id -> row + 1 */
	uint32_t ids;      /* of row_of */
	uint32_t gateways; /* rows of them */
	uint32_t *free_row;
	uint32_t frees, frees_cap;
};

/* ---- writing words ---- */

static void store(px_board_word *to, const void *from, size_t n)
{
	const char *in = from;

	for (size_t i = 0; i < n; i += 8) {
		uint64_t w = 0;

		memcpy(&w, in + i, n - i < 8 ? n - i : 8);
		atomic_store_explicit(&to[i / 8], w, memory_order_relaxed);
	}
}

static void store_text(px_board_word *first, size_t in, px_board_word *rest, const char *text,
                       size_t len)
{
	store(first, text, len < in ? len : in);
	if (len > in)
		store(rest, text + in, len - in);
}

/* The next step of a sequence, whose copy may be written from here on: the former step can be seen. */
static uint64_t next_step(const _Atomic uint64_t *sequence)
{
	const uint64_t seq = atomic_load_explicit(sequence, memory_order_relaxed) + 1;

	atomic_thread_fence(memory_order_release);
	return seq;
}

static void store_cell(_Atomic uint64_t *sequence, px_board_word *copies, const void *value,
                       size_t n)
{
	const uint64_t seq = next_step(sequence);

	store(copies + (seq & 1) * PX_WORDS(n), value, n);
	atomic_store_explicit(sequence, seq, memory_order_release);
}

static void store_state(struct px_board_row *row, const struct px_board_state *s)
{
	const uint64_t seq = next_step(&row->sequence);

	store(row->first[seq & 1], s, PX_BOARD_STATE_FIRST);
	store(row->rest[seq & 1], (const char *)s + PX_BOARD_STATE_FIRST, PX_BOARD_STATE_REST);
	atomic_store_explicit(&row->sequence, seq, memory_order_release);
}

/* ---- chains ---- */

static void begin_change(struct px_board *b)
{
	uint64_t n = atomic_load_explicit(&b->head->changes, memory_order_relaxed);

	atomic_store_explicit(&b->head->changes, n | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_release);
}

static void end_change(struct px_board *b)
{
	uint64_t n = atomic_load_explicit(&b->head->changes, memory_order_relaxed);

	atomic_store_explicit(&b->head->changes, n + 1, memory_order_release);
}

static void link_row(struct px_board *b, uint32_t i, uint64_t key_hash)
{
	_Atomic uint32_t *bucket = px_board_bucket(b->head, key_hash);
	struct px_board_row *row = px_board_row_at(b->head, i);

	atomic_store_explicit(&row->tag, px_board_tag(key_hash), memory_order_relaxed);
	atomic_store_explicit(&row->next, atomic_load_explicit(bucket, memory_order_relaxed),
	                      memory_order_relaxed);
	atomic_store_explicit(bucket, i + 1, memory_order_release);
}

static void unlink_row(struct px_board *b, uint32_t i, uint64_t key_hash)
{
	_Atomic uint32_t *at = px_board_bucket(b->head, key_hash);
	uint32_t here;

	while ((here = atomic_load_explicit(at, memory_order_relaxed)) != NOT_SET && here != i + 1)
		at = &px_board_row_at(b->head, here - 1)->next;
	if (here == i + 1)
		atomic_store_explicit(
		    at,
		    atomic_load_explicit(&px_board_row_at(b->head, i)->next, memory_order_relaxed),
		    memory_order_release);
}

/* ---- rows ---- */

static void add_free(struct px_board *b, uint32_t i)
{
	if (b->frees == b->frees_cap) {
		uint32_t cap = b->frees_cap ? 2 * b->frees_cap : 64;
		uint32_t *more = realloc(b->free_row, cap * sizeof *more);

		if (!more)
			return; /* the next worker finds it again */
		b->free_row = more;
		b->frees_cap = cap;
	}
	b->free_row[b->frees++] = i;
}

static bool take_free(struct px_board *b, uint32_t *i)
{
	uint32_t end = atomic_load_explicit(&b->head->end, memory_order_relaxed);

	if (b->frees > 0) {
		*i = b->free_row[--b->frees];
		return true;
	}
	if (end == b->head->rows)
		return false;
	*i = end;
	atomic_store_explicit(&b->head->end, end + 1, memory_order_relaxed);
	return true;
}

/* Nobody else writes it. */
static void current_state(const struct px_board *b, uint32_t i, struct px_board_state *out)
{
	const struct px_board_row *row = px_board_row_at(b->head, i);

	px_board_load_state(out, row, atomic_load_explicit(&row->sequence, memory_order_relaxed),
	                    true);
}

/* Tells those who follow changes that a row was written. */
static void tell(struct px_board *b, uint32_t i)
{
	const uint64_t n = atomic_load_explicit(&b->head->told, memory_order_relaxed);

	atomic_store_explicit(&b->head->told_row[n % PX_BOARD_TOLD], i, memory_order_relaxed);
	atomic_store_explicit(&b->head->told, n + 1, memory_order_release);
}

static void free_row(struct px_board *b, uint32_t i)
{
	struct px_board_row *row = px_board_row_at(b->head, i);
	struct px_board_state was, now = {0};

	current_state(b, i, &was);
	now.id = was.id;
	begin_change(b);
	unlink_row(b, i, was.key_hash);
	store_state(row, &now);
	end_change(b);
	add_free(b, i);
	tell(b, i);
}

/* Whatever a killed writer left behind is put in order: the rows tell. Nobody who can be found is
 * lost meanwhile, unless the chains are to be made anew: it was killed while it changed one. */
static void recover(struct px_board *b)
{
	struct px_board_head *h = b->head;
	const bool broken = atomic_load_explicit(&h->changes, memory_order_relaxed) & 1;
	uint32_t end = atomic_load_explicit(&h->end, memory_order_relaxed);
	struct px_board_user u, found;

	if (end > h->rows)
		atomic_store_explicit(&h->end, end = h->rows, memory_order_relaxed);
	if (broken)
		begin_change(b);
	for (uint32_t i = 0; broken && i < h->buckets; i++)
		if (atomic_load_explicit(px_board_bucket(h, i), memory_order_relaxed) != NOT_SET)
			atomic_store_explicit(px_board_bucket(h, i), NOT_SET, memory_order_relaxed);
	for (uint32_t i = 0; i < end; i++) {
		if (px_board_load_user(h, i, &u) != PX_BOARD_FOUND)
			add_free(b, i);
		else if (broken)
			link_row(b, i, u.state.key_hash);
		else if (px_board_find_row(h, u.key, false, &found) != PX_BOARD_FOUND) {
			/* written, and not in its chain yet */
			begin_change(b);
			link_row(b, i, u.state.key_hash);
			end_change(b);
		}
	}
	if (broken)
		end_change(b);
}

/* ---- making and ending ---- */

int px_board_new(struct px_board **out, int fd, uint32_t users, unsigned gateways,
                 struct px_now now, char why[256])
{
	struct px_board *b = calloc(1, sizeof *b);
	struct px_board_head head;
	const bool own = fd < 0;
	struct stat st;
	int err = 0;

	if (!b)
		return -ENOMEM;
	if (own)
		fd = px_board_make(users, gateways);
	if (fd < 0 || fstat(fd, &st) < 0)
		err = fd < 0 ? fd : -errno;
	else if (st.st_size == 0 &&
	         ((err = px_board_prepare(fd, users, gateways)) < 0 || fstat(fd, &st) < 0))
		err = err < 0 ? err : -errno;
	if (err < 0) {
		snprintf(why, 256, "board: %s", strerror(-err));
	} else if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
	           !px_board_valid(&head, (uint64_t)st.st_size)) {
		err = -EPROTO;
		snprintf(why, 256,
		         "board: not one of this version; module and worker must be of one build");
	} else if (head.rows < users || head.gateways < gateways) {
		err = -ENOSPC;
		snprintf(why, 256,
		         "board: has room for %u users and %u gateways, not for %u and %u",
		         head.rows, head.gateways, users, gateways);
	} else {
		b->head = mmap(NULL, head.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (b->head == MAP_FAILED) {
			err = -errno;
			b->head = NULL;
			snprintf(why, 256, "board: %s", strerror(-err));
		}
	}
	if (own && fd >= 0)
		close(fd);
	if (err < 0) {
		px_board_free(b);
		return err;
	}
	recover(b);
	atomic_fetch_add_explicit(&b->head->epoch, 1, memory_order_relaxed);
	px_board_beat(b, now);
	*out = b;
	return 0;
}

void px_board_free(struct px_board *b)
{
	if (!b)
		return;
	if (b->head) {
		atomic_store_explicit(&b->head->beat, 0, memory_order_relaxed);
		munmap(b->head, b->head->size);
	}
	free(b->row_of);
	free(b->free_row);
	free(b);
}

void px_board_beat(struct px_board *b, struct px_now now)
{
	atomic_store_explicit(&b->head->beat, now.mono.ms, memory_order_relaxed);
}

/* ---- users ---- */

const struct px_board_head *px_board_head(const struct px_board *b)
{
	return b->head;
}

bool px_board_former(const struct px_board *b, struct px_board_counts *out)
{
	return px_board_load_cell(out, sizeof *out, &b->head->counts.sequence,
	                          b->head->counts.copy[0]);
}

void px_board_each(struct px_board *b, px_board_each_h *each, void *arg)
{
	uint32_t end = atomic_load_explicit(&b->head->end, memory_order_relaxed);
	struct px_board_user u;

	for (uint32_t i = 0; i < end; i++)
		if (px_board_load_user(b->head, i, &u) == PX_BOARD_FOUND)
			each(arg, &u);
}

static bool room_for(struct px_board *b, uint32_t id)
{
	uint32_t n = b->ids ? b->ids : 1024;
	uint32_t *more;

	if (id < b->ids)
		return true;
	while (n <= id)
		n += n / 2;
	more = realloc(b->row_of, n * sizeof *more);
	if (!more)
		return false;
	memset(more + b->ids, 0, (n - b->ids) * sizeof *more);
	b->row_of = more;
	b->ids = n;
	return true;
}

/* A free row becomes this key's: not to be found yet. */
static bool new_row(struct px_board *b, const char *key, uint32_t *i)
{
	if (!take_free(b, i))
		return false;
	store_text(px_board_row_at(b->head, *i)->key, PX_BOARD_KEY_INLINE,
	           px_board_tail_at(b->head, *i)->key, key, strlen(key));
	return true;
}

static uint32_t seconds(int64_t ms)
{
	return ms <= 0 ? 0 : ms / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ms / 1000);
}

static void fill(struct px_board_state *s, const struct px_user_view *v, struct px_now now)
{
	const struct px_publication *p = v->publication;

	s->used = 1;
	s->on = v->on;
	s->watch = (uint8_t)v->watch;
	s->presence = (uint8_t)v->presence;
	s->until = seconds(v->until.ms);
	s->read_at = seconds(v->read_at.ms);
	s->put_at = seconds(now.wall.ms);
	s->dirty = v->dirty;
	s->quiet = v->quiet;
	_Static_assert(PX_TOLD == PX_BOARD_REMINDED, "the board has room for what was told");
	s->reminded_floor = v->told.floor;
	memcpy(s->reminded, v->told.start, sizeof s->reminded);
	if (v->watch == PX_WATCH_BACKOFF || v->watch == PX_WATCH_PARKED)
		s->due = seconds(now.wall.ms + v->due.ms - now.mono.ms);
	snprintf(s->trouble, sizeof s->trouble, "%s", v->trouble ? v->trouble : "");
	if (!p)
		return;
	s->publication = p->state;
	s->unsure = p->unsure || p->state == PX_PUB_IN_FLIGHT;
	s->confirmed = p->state == PX_PUB_STANDING && !p->newer;
	s->expires = p->expires;
	if (p->lapses.ms != 0)
		s->lapses = seconds(now.wall.ms + p->lapses.ms - now.mono.ms);
	s->etag_len = p->etag ? (uint8_t)strnlen(p->etag, PX_BOARD_ETAG_MAX) : 0;
	if (p->etag)
		memcpy(s->etag, p->etag,
		       s->etag_len < sizeof s->etag ? s->etag_len : sizeof s->etag);
}

void px_board_put(struct px_board *b, const struct px_user_view *v, enum px_board_origin origin,
                  const char *gateway, struct px_now now)
{
	char subscription[2 * PX_BOARD_SUBSCRIPTION_MAX];
	size_t subscription_len = 0;
	struct px_board_state s = {0}, was;
	struct px_board_row *row;
	struct px_board_tail *tail;
	struct px_board_user found;
	bool fresh = false;
	uint32_t i;

	s.key_len = (uint8_t)strlen(v->key);
	s.key_hash = px_key_hash(v->key, s.key_len);
	if (!room_for(b, v->id))
		return;
	if (b->row_of[v->id] != NOT_SET) {
		current_state(b, b->row_of[v->id] - 1, &was);
		if (was.key_hash != s.key_hash)
			px_board_drop(b, v->id); /* the engine gave the id to another user */
	}
	if (b->row_of[v->id] != NOT_SET)
		i = b->row_of[v->id] - 1;
	else if (px_board_find_user(b->head, v->key, &found) == PX_BOARD_FOUND)
		i = found.row;
	else if (new_row(b, v->key, &i))
		fresh = true;
	else
		return;
	b->row_of[v->id] = i + 1;
	row = px_board_row_at(b->head, i);
	tail = px_board_tail_at(b->head, i);
	current_state(b, i, &was);

	if (v->subscription)
		subscription_len =
		    (size_t)snprintf(subscription, sizeof subscription, "%s%s%s", v->subscription,
		                     v->watermark ? " " : "", v->watermark ? v->watermark : "");
	if (subscription_len >
	    PX_BOARD_SUBSCRIPTION_MAX) /* without it, it can't be polled any more */
		subscription_len = strlen(v->subscription);
	if (subscription_len > PX_BOARD_SUBSCRIPTION_MAX)
		subscription_len = 0; /* the engine refuses such ids */
	s.kind = (uint8_t)v->kind;
	s.minutes = (uint8_t)v->minutes;
	s.id = was.id + (fresh ? 1 : 0);
	s.origin = (uint8_t)origin;
	s.gateway = gateway ? px_board_name_hash(gateway) : 0;
	s.mailbox_len = (uint8_t)strlen(v->mailbox);
	s.mailbox_hash = (uint32_t)px_key_hash(v->mailbox, s.mailbox_len);
	s.subscription_len = (uint8_t)subscription_len;
	s.subscription_hash =
	    (uint32_t)px_key_hash(subscription_len ? subscription : "", subscription_len);
	fill(&s, v, now);
	if (fresh || s.mailbox_hash != was.mailbox_hash || s.mailbox_len != was.mailbox_len)
		store_text(row->mailbox, PX_BOARD_MAILBOX_INLINE, tail->mailbox, v->mailbox,
		           s.mailbox_len);
	if (fresh || s.subscription_hash != was.subscription_hash ||
	    s.subscription_len != was.subscription_len)
		store_text(row->subscription, PX_BOARD_SUBSCRIPTION_INLINE, tail->subscription,
		           subscription, subscription_len);
	if (s.etag_len > PX_BOARD_ETAG_INLINE) {
		store(tail->etag[next_step(&row->sequence) & 1],
		      v->publication->etag + PX_BOARD_ETAG_INLINE,
		      s.etag_len - PX_BOARD_ETAG_INLINE);
	}
	store_state(row, &s);
	if (fresh) {
		begin_change(b);
		link_row(b, i, s.key_hash);
		end_change(b);
	}
	tell(b, i);
}

void px_board_drop(struct px_board *b, uint32_t user)
{
	if (user >= b->ids || b->row_of[user] == NOT_SET)
		return;
	free_row(b, b->row_of[user] - 1);
	b->row_of[user] = NOT_SET;
}

void px_board_forget(struct px_board *b, const char *key)
{
	struct px_board_user u;

	if (px_board_find_user(b->head, key, &u) == PX_BOARD_FOUND)
		free_row(b, u.row);
}

/* ---- the rest ---- */

void px_board_token(struct px_board *b, char out[33])
{
	uint64_t drawn[2] = {atomic_load(&b->head->token[0]), atomic_load(&b->head->token[1])};

	if (!drawn[0] && !drawn[1]) {
		if (getrandom(drawn, sizeof drawn, 0) != sizeof drawn)
			abort(); /* there is always some */
		atomic_store(&b->head->token[0], drawn[0]);
		atomic_store(&b->head->token[1], drawn[1]);
	}
	snprintf(out, 33, "%016llx%016llx", (unsigned long long)drawn[0],
	         (unsigned long long)drawn[1]);
}

static void put_gateway(struct px_board *b, unsigned i, const struct px_board_gateway_state *s)
{
	struct px_board_gateway *at = px_board_gateway_at(b->head, i);

	if (i < b->head->gateways)
		store_cell(&at->state.sequence, at->state.copy[0], s, sizeof *s);
}

void px_board_gateway(struct px_board *b, unsigned i, const struct px_gateway *g,
                      enum px_board_origin origin, const char *given)
{
	struct px_board_gateway_state s = {.last_error_at = g->last_error_at.ms,
	                                   .requests = g->requests,
	                                   .errors = g->errors,
	                                   .users = g->users,
	                                   .in_flight = g->in_flight,
	                                   .limit = g->limit,
	                                   .concurrency = g->concurrency,
	                                   .health = g->health,
	                                   .kind = g->kind,
	                                   .probing = g->probing,
	                                   .origin = origin};

	snprintf(s.name, sizeof s.name, "%s", g->name);
	snprintf(s.server, sizeof s.server, "%s", g->server);
	snprintf(s.last_error, sizeof s.last_error, "%.*s", PX_BOARD_ERROR_MAX, g->last_error);
	snprintf(s.given, sizeof s.given, "%s", given);
	put_gateway(b, i, &s);
}

void px_board_gateway_removed(struct px_board *b, unsigned i, const char *name)
{
	struct px_board_gateway_state s = {.health = PX_BOARD_REMOVED, .origin = PX_FROM_RPC};

	snprintf(s.name, sizeof s.name, "%s", name);
	put_gateway(b, i, &s);
}

void px_board_gateways(struct px_board *b, unsigned n)
{
	b->gateways = n < b->head->gateways ? n : b->head->gateways;
}

void px_board_each_gateway(const struct px_board *b, px_board_each_gateway_h *each, void *arg)
{
	struct px_board_counts c;
	struct px_board_gateway_state g;

	if (!px_board_former(b, &c))
		return;
	for (uint32_t i = 0; i < c.gateways && i < b->head->gateways; i++) {
		const struct px_board_gateway *at = px_board_gateway_at(b->head, i);

		if (px_board_load_cell(&g, sizeof g, &at->state.sequence, at->state.copy[0]) &&
		    g.name[0])
			each(arg, &g);
	}
}

void px_board_counts(struct px_board *b, const struct px_engine *e, struct px_board_counts also)
{
	const struct px_engine_counts c = px_engine_counts(e);
	const struct px_esc *esc = px_engine_esc(e);
	const struct px_pool *pool = px_engine_pool(e);

	_Static_assert(PX_WATCH_STATES <= PX_BOARD_WATCHES,
	               "more states than the board has room for");
	also.reads = c.reads;
	also.events = c.events;
	also.polls = c.polls;
	also.notified = c.notified + also.strays;
	also.strays += c.strays;
	also.publishes = c.publishes;
	also.reminders = c.reminders;
	also.reminders_failed = c.reminders_failed;
	also.subscribes = c.subscribes;
	also.users = c.users;
	also.on = c.on;
	also.published = c.published;
	also.confirmed = c.confirmed;
	also.streams = c.streams;
	for (int i = 0; i < PX_WATCH_STATES; i++)
		also.watch[i] = c.watch[i];
	also.sip_sent = esc->sent;
	also.sip_answered = esc->answered;
	also.sip_failed = esc->failed;
	also.sip_down = esc->down;
	also.sip_window = esc->window;
	also.sip_in_flight = esc->in_flight;
	also.login = pool->login;
	also.gateways = pool->n > b->gateways ? pool->n : b->gateways;
	also.epoch = (uint32_t)atomic_load_explicit(&b->head->epoch, memory_order_relaxed);
	store_cell(&b->head->counts.sequence, b->head->counts.copy[0], &also, sizeof also);
}
