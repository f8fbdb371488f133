/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/engine_in.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A wall clock that runs off by less than this is followed at the next deadline; more is a jump. */
#define WALL_JUMP_MS 500
#define SLEEP_MAX_MS 60000

struct user *px_user(const struct px_engine *e, uint32_t slot)
{
	return &e->chunk[slot / CHUNK][slot % CHUNK];
}

uint32_t px_text_hash(const char *s)
{
	return (uint32_t)px_key_hash(s, strlen(s));
}

/* ---- lists ---- */

void px_list_push(struct px_engine *e, struct list *l, enum link_kind k, uint32_t slot)
{
	struct link *link = &px_user(e, slot)->link[k];

	*link = (struct link){.prev = l->n ? l->tail : PX_NOBODY, .next = PX_NOBODY};
	if (l->n)
		px_user(e, l->tail)->link[k].next = slot;
	else
		l->head = slot;
	l->tail = slot;
	l->n++;
}

void px_list_push_front(struct px_engine *e, struct list *l, enum link_kind k, uint32_t slot)
{
	struct link *link = &px_user(e, slot)->link[k];

	*link = (struct link){.prev = PX_NOBODY, .next = l->n ? l->head : PX_NOBODY};
	if (l->n)
		px_user(e, l->head)->link[k].prev = slot;
	else
		l->tail = slot;
	l->head = slot;
	l->n++;
}

void px_list_take(struct px_engine *e, struct list *l, enum link_kind k, uint32_t slot)
{
	struct link *link = &px_user(e, slot)->link[k];

	if (link->prev == PX_NOBODY)
		l->head = link->next;
	else
		px_user(e, link->prev)->link[k].next = link->next;
	if (link->next == PX_NOBODY)
		l->tail = link->prev;
	else
		px_user(e, link->next)->link[k].prev = link->prev;
	l->n--;
	*link = (struct link){PX_UNLINKED, PX_UNLINKED};
}

/* ---- actions ---- */

struct px_action *px_action_add(struct px_engine *e, enum px_action_kind kind)
{
	if (e->actions == e->actions_cap) {
		size_t cap = e->actions_cap ? 2 * e->actions_cap : 64;
		struct px_action *more = realloc(e->action, cap * sizeof *more);
		if (!more)
			return NULL;
		e->action = more;
		e->actions_cap = cap;
	}
	struct px_action *a = &e->action[e->actions++];
	a->kind = kind;
	return a;
}

struct px_action *px_engine_actions(struct px_engine *e, size_t *n)
{
	*n = e->actions;
	return e->action;
}

void px_engine_actions_clear(struct px_engine *e)
{
	for (size_t i = 0; i < e->actions; i++) {
		struct px_action *a = &e->action[i];
		if (a->kind == PX_DO_HTTP_START) {
			px_wire_free(&a->http.wire);
			free(a->http.cookie);
		}
		if (a->kind == PX_DO_SIP_START)
			px_buf_free(&a->sip.body);
		else if (a->kind == PX_DO_SIP_MESSAGE)
			px_buf_free(&a->message.body);
		else if (a->kind == PX_DO_LOG)
			free(a->log.text);
	}
	e->actions = 0;
	/* a storm's list isn't kept */
	if (e->actions_cap > 1024) {
		free(e->action);
		e->action = NULL;
		e->actions_cap = 0;
	}
}

void px_say(struct px_engine *e, enum px_log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if ((int)level > e->config.log_level)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	char *copy = strdup(text);
	struct px_action *a = copy ? px_action_add(e, PX_DO_LOG) : NULL;
	if (!a) {
		free(copy);
		return;
	}
	a->log.level = level;
	a->log.text = copy;
}

uint8_t px_trouble(struct px_engine *e, const char *code)
{
	for (unsigned i = 0; i < e->troubles; i++)
		if (strcmp(e->trouble[i], code) == 0)
			return (uint8_t)i;
	/* codes come from a server: the last place is for all that don't fit any more */
	if (e->troubles == TROUBLES - 1)
		code = "other";
	if (e->troubles == TROUBLES)
		return TROUBLES - 1;
	char *copy = strndup(code, PX_CODE_MAX);
	if (!copy)
		return 0;
	e->trouble[e->troubles] = copy;
	return (uint8_t)e->troubles++;
}

/* ---- deadlines ---- */

static void heap_put(struct px_engine *e, uint32_t at, uint32_t slot)
{
	e->heap[at] = slot;
	px_user(e, slot)->heap_at = at;
}

static int64_t heap_key(const struct px_engine *e, uint32_t at)
{
	return px_user(e, e->heap[at])->due.ms;
}

static void heap_up(struct px_engine *e, uint32_t at)
{
	uint32_t slot = e->heap[at];
	int64_t key = px_user(e, slot)->due.ms;

	for (; at > 0 && heap_key(e, (at - 1) / 4) > key; at = (at - 1) / 4)
		heap_put(e, at, e->heap[(at - 1) / 4]);
	heap_put(e, at, slot);
}

static void heap_down(struct px_engine *e, uint32_t at)
{
	uint32_t slot = e->heap[at];
	int64_t key = px_user(e, slot)->due.ms;

	for (;;) {
		uint32_t least = at;
		int64_t least_key = key;
		for (uint32_t c = 4 * at + 1; c <= 4 * at + 4 && c < e->heap_n; c++)
			if (heap_key(e, c) < least_key) {
				least = c;
				least_key = heap_key(e, c);
			}
		if (least == at)
			break;
		heap_put(e, at, e->heap[least]);
		at = least;
	}
	heap_put(e, at, slot);
}

void px_user_schedule(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);
	struct px_mono due = {0};

	if (u->used)
		due = px_earlier(px_earlier(u->publication.due, u->reminder.due),
		                 px_follow_user_deadline(e, u));
	if (due.ms == u->due.ms)
		return;
	if (due.ms == 0) {
		uint32_t at = u->heap_at, last = e->heap[--e->heap_n];
		u->heap_at = PX_NOBODY;
		u->due = due;
		if (last != slot) {
			heap_put(e, at, last);
			heap_up(e, at);
			heap_down(e, px_user(e, last)->heap_at);
		}
		return;
	}
	bool earlier = u->heap_at == PX_NOBODY || due.ms < u->due.ms;
	u->due = due;
	if (u->heap_at == PX_NOBODY)
		heap_put(e, e->heap_n++, slot); /* room was made when the slot was */
	if (earlier)
		heap_up(e, u->heap_at);
	else
		heap_down(e, u->heap_at);
}

/* ---- users ---- */

static uint32_t *table_find(const struct px_engine *e, const char *key, uint32_t hash)
{
	for (uint32_t i = hash & (e->table_size - 1);; i = (i + 1) & (e->table_size - 1)) {
		uint32_t *cell = &e->table[i];
		if (*cell == 0)
			return cell;
		const struct user *u = px_user(e, *cell - 1);
		if (u->key_hash == hash && strcmp(u->key, key) == 0)
			return cell;
	}
}

static int table_grow(struct px_engine *e)
{
	uint32_t size = e->table_size ? 2 * e->table_size : 1024, old_size = e->table_size;
	uint32_t *table = calloc(size, sizeof *table), *old = e->table;

	if (!table)
		return -ENOMEM;
	e->table = table;
	e->table_size = size;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i]) {
			const struct user *u = px_user(e, old[i] - 1);
			*table_find(e, u->key, u->key_hash) = old[i];
		}
	free(old);
	return 0;
}

/* Linear probing without tombstones: what follows the hole moves up (Knuth, 6.4 R). */
static void table_remove(struct px_engine *e, uint32_t *cell)
{
	uint32_t mask = e->table_size - 1, hole = (uint32_t)(cell - e->table);

	for (uint32_t i = (hole + 1) & mask; e->table[i]; i = (i + 1) & mask) {
		uint32_t home = px_user(e, e->table[i] - 1)->key_hash & mask;
		if (((i - home) & mask) >= ((i - hole) & mask)) {
			e->table[hole] = e->table[i];
			hole = i;
		}
	}
	e->table[hole] = 0;
}

void px_user_touch(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (u->touched)
		return;
	u->touched = true;
	e->touched[e->touched_n++] = slot; /* as many places as slots */
}

static int more_slots(struct px_engine *e)
{
	if (e->end % CHUNK)
		return 0;
	struct user **chunk = realloc(e->chunk, (e->chunks + 1) * sizeof(struct user *));
	if (!chunk)
		return -ENOMEM;
	e->chunk = chunk;
	uint32_t cap = (e->chunks + 1) * CHUNK;
	uint32_t *heap = realloc(e->heap, cap * sizeof *heap);
	if (!heap)
		return -ENOMEM;
	e->heap = heap;
	uint32_t *touched = realloc(e->touched, cap * sizeof *touched);
	if (!touched)
		return -ENOMEM;
	e->touched = touched;
	struct user *users = calloc(CHUNK, sizeof *users);
	if (!users)
		return -ENOMEM;
	e->chunk[e->chunks++] = users;
	return 0;
}

int64_t px_engine_user_find(const struct px_engine *e, const char *key)
{
	uint32_t *cell = table_find(e, key, (uint32_t)px_key_hash(key, strlen(key)));

	return *cell ? (int64_t)*cell - 1 : -ENOENT;
}

static char *names(const char *key, const char *mailbox)
{
	size_t k = strlen(key) + 1, m = strlen(mailbox) + 1;
	char *both = malloc(k + m);

	if (both) {
		memcpy(both, key, k);
		memcpy(both + k, mailbox, m);
	}
	return both;
}

static void set_on(struct px_engine *e, uint32_t slot, bool on, struct px_now now)
{
	struct user *u = px_user(e, slot);

	u->on = on;
	u->good_at = now.mono;
	if (on) {
		px_watch_event(e, slot, PX_W_WANT, now);
		px_present(e, slot, now);
	} else {
		px_watch_event(e, slot, PX_W_OFF, now);
		px_calendar_free(&u->calendar);
		u->turn_at = u->read_due = (struct px_mono){0};
		u->known = PX_UNKNOWN;
		u->stale = u->dirty = false;
		px_remind_end(e, slot);
		px_withdraw(e, slot, now);
	}
	px_user_touch(e, slot);
	px_user_schedule(e, slot);
}

int64_t px_engine_user_put(struct px_engine *e, const char *key, const char *mailbox, bool on,
                           struct px_now now)
{
	uint32_t hash = (uint32_t)px_key_hash(key, strlen(key));
	uint32_t *cell = table_find(e, key, hash);

	if (*cell) {
		uint32_t slot = *cell - 1;
		struct user *u = px_user(e, slot);
		if (strcmp(u->mailbox, mailbox) != 0) {
			char *both = names(key, mailbox);
			if (!both)
				return -ENOMEM;
			/* another calendar: followed from the start; what stands is replaced when
			 * it has been read */
			if (u->on)
				px_watch_event(e, slot, PX_W_OFF, now);
			free(u->key);
			u->key = both;
			u->mailbox = both + strlen(key) + 1;
			px_calendar_free(&u->calendar);
			px_remind_end(e, slot);
			u->turn_at = (struct px_mono){0};
			u->renamed = u->reading;
			u->alone_until = u->narrow = 0;
			px_oof_forget(u);
			px_user_touch(e, slot);
			if (u->on)
				set_on(e, slot, true, now);
		}
		u->leaving = false;
		if (u->on != on)
			set_on(e, slot, on, now);
		return slot;
	}
	if (e->users >= e->config.users_max)
		return -ENOSPC;
	if (4 * (e->users + 1) > 3 * e->table_size) {
		if (table_grow(e))
			return -ENOMEM;
		cell = table_find(e, key, hash);
	}
	uint32_t slot = e->free_slot;
	if (slot == PX_NOBODY) {
		if (more_slots(e))
			return -ENOMEM;
		slot = e->end;
	}
	char *both = names(key, mailbox);
	if (!both)
		return -ENOMEM;
	struct user *u = px_user(e, slot);
	uint32_t generation = u->generation + 1;
	bool touched = u->touched;
	if (slot == e->end)
		e->end++;
	else
		e->free_slot = u->link[0].next;
	*u = (struct user){.key = both,
	                   .mailbox = both + strlen(key) + 1,
	                   .generation = generation,
	                   .key_hash = hash,
	                   .heap_at = PX_NOBODY,
	                   .gateway = PX_NO_GATEWAY,
	                   .used = true,
	                   .touched = touched};
	for (int k = 0; k < LINKS; k++)
		u->link[k] = (struct link){PX_UNLINKED, PX_UNLINKED};
	px_oof_forget(u);
	u->watch.seed = u->publication.seed = (slot + 1) * 2654435761u ^ e->config.seed;
	*cell = slot + 1;
	e->users++;
	px_user_touch(e, slot);
	if (on)
		set_on(e, slot, true, now);
	return slot;
}

int px_engine_user_remove(struct px_engine *e, const char *key, struct px_now now)
{
	int64_t slot = px_engine_user_find(e, key);

	if (slot < 0)
		return -ENOENT;
	struct user *u = px_user(e, (uint32_t)slot);
	u->leaving = true;
	if (u->on)
		set_on(e, (uint32_t)slot, false, now);
	px_user_maybe_free(e, (uint32_t)slot);
	return 0;
}

/* A user that was removed stays until its publication is withdrawn and nothing under way speaks of
 * it. */
void px_user_maybe_free(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (!u->used || !u->leaving || u->publication.state != PX_PUB_OFF || u->reading)
		return;
	table_remove(e, table_find(e, u->key, u->key_hash));
	px_pool_leave(&e->pool, u->gateway);
	px_say(e, PX_LOG_INFO, "user=%s removed", u->key);
	px_publication_free(&u->publication);
	px_remind_end(e, slot);
	px_reminder_free(&u->reminder);
	px_calendar_free(&u->calendar);
	free(u->subscription);
	free(u->watermark);
	free(u->folder);
	free(u->key);
	u->key = u->subscription = u->watermark = u->folder = NULL;
	u->mailbox = NULL;
	u->used = false;
	px_user_schedule(e, slot);
	px_user_touch(e, slot);
	u->generation++;
	u->link[0].next = e->free_slot;
	e->free_slot = slot;
	e->users--;
}

int px_engine_user_refresh(struct px_engine *e, const char *key, struct px_now now)
{
	int64_t slot = px_engine_user_find(e, key);

	if (slot < 0)
		return -ENOENT;
	struct user *u = px_user(e, (uint32_t)slot);
	if (!u->on)
		return 0;
	px_watch_event(e, (uint32_t)slot, PX_W_RETRY, now);
	u->read_failures = 0;
	px_mark(e, (uint32_t)slot, READ_HOT, now);
	px_oof_want(e, (uint32_t)slot, PX_GATHER_MS, now);
	px_publish_do(e, (uint32_t)slot, px_publication_check(&u->publication, now), now);
	return 0;
}

int px_engine_user_quiet(struct px_engine *e, const char *key, bool quiet, struct px_now now)
{
	int64_t slot = px_engine_user_find(e, key);

	if (slot < 0)
		return -ENOENT;
	px_user(e, (uint32_t)slot)->quiet = quiet;
	px_remind_plan(e, (uint32_t)slot, now);
	px_user_touch(e, (uint32_t)slot);
	px_user_schedule(e, (uint32_t)slot);
	return 0;
}

int px_engine_user_told(struct px_engine *e, const char *key, const struct px_told *told)
{
	int64_t slot = px_engine_user_find(e, key);

	if (slot < 0)
		return -ENOENT;
	px_reminder_restore(&px_user(e, (uint32_t)slot)->reminder, told);
	px_user_touch(e, (uint32_t)slot);
	return 0;
}

int px_engine_user_restore(struct px_engine *e, const char *key, const struct px_known *k,
                           struct px_now now)
{
	int64_t at = px_engine_user_find(e, key);

	if (at < 0)
		return -ENOENT;
	uint32_t slot = (uint32_t)at;
	struct user *u = px_user(e, slot);
	if (u->on)
		px_adopt(e, slot, k, now);
	int64_t left = k->lapses.ms - now.wall.ms;
	if (e->active && k->etag && *k->etag && left > 0 && u->publication.state == PX_PUB_OFF &&
	    (u->publication.etag = strdup(k->etag))) {
		/* it stands, but what it says isn't known: the first reading replaces it, a user
		 * who is off withdraws it */
		u->publication.state = PX_PUB_STANDING;
		u->publication.want = true;
		u->publication.unsure = k->unsure;
		u->publication.expires = (uint32_t)(left / 1000);
		u->publication.lapses = px_after(now, left);
		u->publication.due = px_after(now, left / 2);
		if (!u->on)
			px_withdraw(e, slot, now);
	}
	px_user_touch(e, slot);
	px_user_schedule(e, slot);
	return 0;
}

/* ---- the engine ---- */

struct px_engine *px_engine_new(const struct px_engine_config *c, struct px_now now)
{
	struct px_engine *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->config = *c;
	e->free_slot = PX_NOBODY;
	e->active = !c->standby;
	e->wall_offset = now.wall.ms - now.mono.ms;
	int err = table_grow(e);
	if (err == 0)
		err = px_pool_init(&e->pool, c->gateways, c->seed);
	for (unsigned g = 0; g < c->gateways && err == 0; g++)
		err = px_gateway_place(e, (int)g);
	if (err) {
		px_pool_free(&e->pool);
		free(e->table);
		free(e->at);
		free(e);
		return NULL;
	}
	for (unsigned g = 0; g < c->gateways; g++) {
		px_pool_gateway(&e->pool, g, c->gateway_name[g], c->gateway_concurrency[g]);
		px_gateway_begin(e, (int)g, now);
	}
	px_pool_begin(&e->pool, now);
	e->config.gateway_name = NULL;
	e->config.gateway_concurrency = NULL;
	struct px_pidf_style *d = &e->config.document;
	d->lang = d->lang ? d->lang : px_pidf_default.lang;
	d->available = d->available ? d->available : px_pidf_default.available;
	d->busy = d->busy ? d->busy : px_pidf_default.busy;
	d->away = d->away ? d->away : px_pidf_default.away;
	if (!e->config.remind_lang)
		e->config.remind_lang = px_lang_find("en");
	px_esc_init(&e->esc, c->presence_servers, c->publish_window, c->publish_rate, now);
	px_trouble(e, "");
	return e;
}

void px_engine_free(struct px_engine *e)
{
	if (!e)
		return;
	px_engine_actions_clear(e);
	free(e->action);
	px_requests_free(e);
	px_streams_free(e);
	px_readings_free(e);
	px_reminders_free(e);
	px_polls_free(e);
	for (uint32_t s = 0; s < e->end; s++) {
		struct user *u = px_user(e, s);
		px_publication_free(&u->publication);
		px_reminder_free(&u->reminder);
		px_calendar_free(&u->calendar);
		free(u->subscription);
		free(u->watermark);
		free(u->folder);
		free(u->key);
	}
	for (uint32_t c = 0; c < e->chunks; c++)
		free(e->chunk[c]);
	for (unsigned t = 0; t < e->troubles; t++)
		free(e->trouble[t]);
	free(e->chunk);
	free(e->heap);
	free(e->touched);
	free(e->table);
	px_pool_free(&e->pool);
	px_gateways_free(e);
	free(e);
}

void px_engine_tick(struct px_engine *e, struct px_now now)
{
	int64_t offset = now.wall.ms - now.mono.ms, jump = offset - e->wall_offset;

	if (jump > WALL_JUMP_MS || jump < -WALL_JUMP_MS) {
		px_say(e, PX_LOG_NOTICE,
		       "clock jumped by %lld ms: every availability is worked out again",
		       (long long)jump);
		for (uint32_t s = 0; s < e->end; s++) {
			struct user *u = px_user(e, s);
			if (!u->used)
				continue;
			px_present(e, s, now);
			/* nothing was read of the time that it is now */
			if (u->calendar.until && u->turn_at.ms == 0)
				px_mark(e, s, READ_COLD, now);
		}
	}
	e->wall_offset = offset;
	px_follow_tick(e, now);
	px_publish_tick(e, now);
	while (e->heap_n && px_due(px_user(e, e->heap[0])->due, now)) {
		uint32_t slot = e->heap[0];
		struct user *u = px_user(e, slot);

		if (px_due(u->publication.due, now))
			px_publish_do(e, slot, px_publication_tick(&u->publication, now), now);
		px_follow_user_due(e, slot, now);
		px_remind_due(e, slot, now);
		px_user_schedule(e, slot);
	}
}

void px_engine_pump(struct px_engine *e, struct px_now now)
{
	px_follow_pump(e, now);
	px_publish_pump(e, now);
	px_remind_pump(e, now);
	/* rows are found by key: a user who has got another slot must not be dropped with the old one */
	for (int used = 0; used <= 1; used++)
		for (uint32_t i = 0; i < e->touched_n; i++) {
			uint32_t slot = e->touched[i];
			struct user *u = px_user(e, slot);

			if (u->used != used)
				continue;
			u->touched = false;
			px_user_schedule(e, slot);
			struct px_action *a =
			    px_action_add(e, used ? PX_DO_BOARD_PUT : PX_DO_BOARD_DROP);
			if (a)
				a->user = slot;
		}
	e->touched_n = 0;
}

struct px_mono px_engine_due(const struct px_engine *e, struct px_now now)
{
	struct px_mono at = px_after(now, SLEEP_MAX_MS);

	if (e->heap_n)
		at = px_earlier(at, px_user(e, e->heap[0])->due);
	at = px_earlier(at, px_follow_due(e, now));
	at = px_earlier(at, e->hold_until);
	if (e->urgent.n || e->calm.n || (e->esc.down && e->active))
		at = px_earlier(at, px_esc_due(&e->esc, now));
	if (e->check_why)
		at = px_earlier(at, e->check_next);
	at = px_earlier(at, px_reminders_due(e, now));
	return at;
}

/* ---- what can be seen ---- */

bool px_engine_user(const struct px_engine *e, uint32_t id, struct px_user_view *out)
{
	if (id >= e->end || !px_user(e, id)->used)
		return false;
	const struct user *u = px_user(e, id);
	*out = (struct px_user_view){.id = id,
	                             .generation = u->generation,
	                             .key = u->key,
	                             .mailbox = u->mailbox,
	                             .on = u->on,
	                             .leaving = u->leaving,
	                             .watch = (enum px_watch_state)u->watch.state,
	                             .gateway = u->gateway,
	                             .subscription = u->subscription,
	                             .watermark = u->watermark,
	                             .kind = (enum px_kind)u->kind,
	                             .minutes = u->minutes,
	                             .presence = (enum px_presence)u->presence,
	                             .until = {(int64_t)u->doc_until * 1000},
	                             .read_at = {(int64_t)u->read_at * 1000},
	                             .due = u->watch.due,
	                             .dirty = u->dirty,
	                             .publication = &u->publication,
	                             .calendar = &u->calendar,
	                             .quiet = u->quiet,
	                             .told = px_reminder_told(&u->reminder),
	                             .trouble = e->trouble[u->trouble]};
	return true;
}

uint32_t px_engine_users_end(const struct px_engine *e)
{
	return e->end;
}

struct px_engine_counts px_engine_counts(const struct px_engine *e)
{
	struct px_engine_counts c = e->counts;

	c.users = e->users;
	for (uint32_t s = 0; s < e->end; s++) {
		const struct user *u = px_user(e, s);
		if (!u->used)
			continue;
		c.on += u->on;
		c.watch[u->watch.state]++;
		c.published += u->publication.etag != NULL;
		c.confirmed += u->publication.etag != NULL && !u->publication.newer &&
		               u->publication.state == PX_PUB_STANDING;
	}
	for (unsigned i = 0; i < e->streams; i++)
		c.streams += e->stream[i]->used && e->stream[i]->machine.state == PX_STREAM_RUNNING;
	return c;
}

const struct px_pool *px_engine_pool(const struct px_engine *e)
{
	return &e->pool;
}

const struct px_esc *px_engine_esc(const struct px_engine *e)
{
	return &e->esc;
}
