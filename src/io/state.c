/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/state.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/buf.h"
#include "io/log.h"
#include "px_file.h"

#define MAGIC 0x6574617473787001ull /* "\1pxstate" */
#define VERSION 1
#define FILE_MAX (1u << 30)
#define EVERY_MS 10000
#define SHARE 20 /* of the time at most one in so many is spent writing */

struct head {
	uint64_t magic;
	uint32_t version, state_size;
	uint64_t identity;
	int64_t saved_at; /* ms since 1970 */
	uint64_t size;    /* of the whole */
	uint32_t users, gateways;
	uint64_t sum; /* of what follows the head, then of what is before this */
};

/* A user's record: the state, then key, mailbox, subscription and etag, as long as it says. A gateway's: */
struct gateway {
	uint32_t health;
	uint16_t name_len, given_len; /* which follow */
};

/* FNV-1a: no change of one byte goes unseen. */
static uint64_t sum(uint64_t h, const void *bytes, size_t n)
{
	const unsigned char *b = bytes;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3u;
	return h;
}

#define SUM_BEGINS 0xcbf29ce484222325u

/* The head comes last, as it is known last. */
static uint64_t sum_of(const struct head *head, uint64_t sum_of_rest)
{
	return sum(sum_of_rest, head, offsetof(struct head, sum));
}

/* ---- reading ---- */

struct px_state_file {
	struct px_buf text;
	struct head head;
	size_t gateways_at;
};

struct cursor {
	const char *at, *end;
};

static bool take(struct cursor *c, void *to, size_t n)
{
	if ((size_t)(c->end - c->at) < n)
		return false;
	memcpy(to, c->at, n);
	c->at += n;
	return true;
}

static bool take_text(struct cursor *c, char *to, size_t n)
{
	to[n] = '\0';
	return take(c, to, n) && strlen(to) == n;
}

static bool take_user(struct cursor *c, struct px_board_user *u)
{
	struct px_board_state *s = &u->state;
	char *blank;

	if (!take(c, s, sizeof *s) || s->etag_len > PX_BOARD_ETAG_MAX)
		return false;
	s->trouble[sizeof s->trouble - 1] = '\0';
	s->on = s->on != 0;
	s->unsure = s->unsure != 0;
	if (!s->used || s->origin > PX_FROM_SCRIPT || !take_text(c, u->key, s->key_len) ||
	    !take_text(c, u->mailbox, s->mailbox_len) ||
	    !take_text(c, u->subscription, s->subscription_len) ||
	    !take_text(c, u->etag, s->etag_len))
		return false;
	u->watermark = 0;
	blank = strchr(u->subscription, ' ');
	if (blank) {
		*blank = '\0';
		u->watermark = (uint8_t)(blank + 1 - u->subscription);
	}
	return true;
}

static bool take_gateway(struct cursor *c, struct px_board_gateway_state *g)
{
	struct gateway r;

	*g = (struct px_board_gateway_state){.origin = PX_FROM_RPC};
	if (!take(c, &r, sizeof r) || r.name_len > PX_BOARD_NAME_MAX ||
	    r.given_len > PX_BOARD_GIVEN_MAX)
		return false;
	g->health = r.health;
	return take_text(c, g->name, r.name_len) && take_text(c, g->given, r.given_len);
}

static struct cursor begin(const struct px_state_file *f)
{
	return (struct cursor){f->text.data + sizeof f->head, f->text.data + f->text.len};
}

/* NULL: it is good. Else what is wrong with it. */
static const char *check(struct px_state_file *f, uint64_t identity)
{
	struct px_board_gateway_state g;
	struct px_board_user u;
	struct cursor c;

	if (f->text.len < sizeof f->head)
		return "is cut short";
	memcpy(&f->head, f->text.data, sizeof f->head);
	if (f->head.magic != MAGIC)
		return "is no state_file";
	if (f->head.version != VERSION || f->head.state_size != sizeof u.state)
		return "is of another version of this program";
	if (f->head.size != f->text.len)
		return "is cut short";
	if (f->head.sum != sum_of(&f->head, sum(SUM_BEGINS, f->text.data + sizeof f->head,
	                                        f->text.len - sizeof f->head)))
		return "is damaged";
	if (f->head.identity != identity)
		return "was written for another presence server";
	c = begin(f);
	for (uint32_t i = 0; i < f->head.users; i++)
		if (!take_user(&c, &u))
			return "is damaged";
	f->gateways_at = (size_t)(c.at - f->text.data);
	for (uint32_t i = 0; i < f->head.gateways; i++)
		if (!take_gateway(&c, &g))
			return "is damaged";
	return c.at == c.end ? NULL : "is damaged";
}

int px_state_read(struct px_state_file **out, const char *path, uint64_t identity,
                  char why[PX_STATE_WHY])
{
	struct px_state_file *f = calloc(1, sizeof *f);
	char reason[PX_WHY_MAX], bad[4096];
	const char *wrong;
	int err;

	*out = NULL;
	snprintf(why, PX_STATE_WHY, "%s", strerror(ENOMEM));
	if (!f)
		return -ENOMEM;
	err = px_file_read(path, FILE_MAX, false, &f->text, reason);
	if (err < 0) {
		free(f);
		snprintf(why, PX_STATE_WHY, "state_file %.40s: %s", path, reason);
		return err == -ENOENT ? 0 : err;
	}
	wrong = check(f, identity);
	if (!wrong) {
		*out = f;
		return 0;
	}
	px_state_forget(f);
	err = snprintf(bad, sizeof bad, "%s.bad", path) < (int)sizeof bad && rename(path, bad) == 0
	          ? -EBADMSG
	          : -EIO;
	snprintf(why, PX_STATE_WHY, "state_file %.100s %s; it is %s", path, wrong,
	         err == -EBADMSG ? "set aside as .bad" : "left out");
	return err;
}

void px_state_forget(struct px_state_file *f)
{
	if (!f)
		return;
	px_buf_free(&f->text);
	free(f);
}

int64_t px_state_saved_at(const struct px_state_file *f)
{
	return f->head.saved_at;
}

void px_state_users(const struct px_state_file *f, px_board_each_h *each, void *arg)
{
	struct cursor c = begin(f);
	struct px_board_user u = {.row = 0};

	for (uint32_t i = 0; i < f->head.users && take_user(&c, &u); i++)
		each(arg, &u);
}

void px_state_gateways(const struct px_state_file *f, px_board_each_gateway_h *each, void *arg)
{
	struct cursor c = {f->text.data + f->gateways_at, f->text.data + f->text.len};
	struct px_board_gateway_state g;

	for (uint32_t i = 0; i < f->head.gateways && take_gateway(&c, &g); i++)
		each(arg, &g);
}

/* ---- writing ---- */

struct out {
	FILE *f;
	struct head head;
	uint64_t sum;
};

static void give(struct out *o, const void *bytes, size_t n)
{
	o->sum = sum(o->sum, bytes, n);
	o->head.size += n;
	(void)!fwrite(bytes, 1, n, o->f); /* ferror() tells at the end */
}

static void give_user(struct out *o, const struct px_board_user *u)
{
	struct px_board_state s = u->state;
	char subscription[sizeof u->subscription];

	memcpy(subscription, u->subscription, sizeof subscription);
	if (u->watermark)
		subscription[u->watermark - 1] = ' ';
	/* what can't be told of them is left out */
	s.mailbox_len = (uint8_t)strlen(u->mailbox);
	s.subscription_len = (uint8_t)strlen(subscription);
	give(o, &s, sizeof s);
	give(o, u->key, s.key_len);
	give(o, u->mailbox, s.mailbox_len);
	give(o, subscription, s.subscription_len);
	give(o, u->etag, s.etag_len);
	o->head.users++;
}

static void give_gateway(void *arg, const struct px_board_gateway_state *g)
{
	struct out *o = arg;
	const struct gateway r = {.health = g->health,
	                          .name_len = (uint16_t)strlen(g->name),
	                          .given_len = (uint16_t)strlen(g->given)};

	if (g->health != PX_BOARD_REMOVED && !g->given[0])
		return; /* it is in the settings */
	give(o, &r, sizeof r);
	give(o, g->name, r.name_len);
	give(o, g->given, r.given_len);
	o->head.gateways++;
}

static void give_all(struct out *o, const struct px_board *b)
{
	const struct px_board_head *h = px_board_head(b);
	const uint32_t end = atomic_load_explicit(&h->end, memory_order_relaxed);
	struct px_board_user u;

	for (uint32_t i = 0; i < end && i < h->rows; i++)
		if (px_board_load_user(h, i, &u) == PX_BOARD_FOUND)
			give_user(o, &u);
	px_board_each_gateway(b, give_gateway, o);
}

static int sync_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char folder[4096];
	int fd, err;

	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) + 1 : 1,
	         slash ? path : ".");
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = fd < 0 || fsync(fd) < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return err;
}

int px_state_save(const char *path, uint64_t identity, const struct px_board *b, int64_t wall_ms,
                  char why[PX_STATE_WHY])
{
	struct out o = {.head = {.magic = MAGIC,
	                         .version = VERSION,
	                         .state_size = sizeof(struct px_board_state),
	                         .identity = identity,
	                         .saved_at = wall_ms,
	                         .size = sizeof(struct head)},
	                .sum = SUM_BEGINS};
	char temporary[4096];
	int fd, err = 0;

	if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary) {
		snprintf(why, PX_STATE_WHY, "state_file: %s", strerror(ENAMETOOLONG));
		return -ENAMETOOLONG;
	}
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	o.f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!o.f) {
		err = -errno;
		if (fd >= 0)
			close(fd);
	} else {
		(void)!fwrite(&o.head, 1, sizeof o.head, o.f);
		give_all(&o, b);
		o.head.sum = sum_of(&o.head, o.sum);
		if (ferror(o.f) || fflush(o.f) != 0 ||
		    pwrite(fd, &o.head, sizeof o.head, 0) != (ssize_t)sizeof o.head ||
		    fsync(fd) < 0)
			err = errno ? -errno : -EIO;
		if (fclose(o.f) != 0 && err == 0)
			err = -errno;
		if (err == 0 && rename(temporary, path) < 0)
			err = -errno;
		if (err == 0)
			err = sync_folder(path);
		if (err < 0)
			unlink(temporary);
	}
	if (err < 0)
		snprintf(why, PX_STATE_WHY, "state_file %.200s can't be written: %s", path,
		         strerror(-err));
	return err;
}

/* ---- now and then ---- */

struct px_state {
	const char *path;
	uint64_t identity;
	const struct px_board *board;
	pthread_t thread;
	bool writing;
	atomic_bool through; /* the thread has ended; what follows is the loop's again */
	int64_t wall_ms;
	int err;
	char why[PX_STATE_WHY];
	uint64_t saved_told; /* of the board, when it was last begun */
	bool saved, complained;
	struct px_mono next, began;
};

struct px_state *px_state_new(const char *path, uint64_t identity, const struct px_board *b)
{
	struct px_state *s = calloc(1, sizeof *s);

	if (s)
		*s = (struct px_state){.path = path, .identity = identity, .board = b};
	return s;
}

static void *write_it(void *arg)
{
	struct px_state *s = arg;

	s->err = px_state_save(s->path, s->identity, s->board, s->wall_ms, s->why);
	atomic_store(&s->through, true);
	return NULL;
}

static void said(struct px_state *s)
{
	s->saved = s->err == 0;
	if (s->err < 0 && !s->complained)
		px_log(PX_LOG_ERROR, "%s", s->why);
	if (s->err == 0 && s->complained)
		px_log(PX_LOG_NOTICE, "state_file %s is written again", s->path);
	s->complained = s->err < 0;
}

static void end(struct px_state *s)
{
	pthread_join(s->thread, NULL);
	s->writing = false;
	said(s);
}

static bool changed(const struct px_state *s)
{
	const uint64_t told =
	    atomic_load_explicit(&px_board_head(s->board)->told, memory_order_relaxed);

	return !s->saved || told != s->saved_told;
}

static void note(struct px_state *s, struct px_now now)
{
	s->saved_told = atomic_load_explicit(&px_board_head(s->board)->told, memory_order_relaxed);
	s->wall_ms = now.wall.ms;
	s->began = now.mono;
	atomic_store(&s->through, false);
}

void px_state_turn(struct px_state *s, struct px_now now)
{
	if (s->writing && atomic_load(&s->through)) {
		const int64_t rest = (now.mono.ms - s->began.ms) * SHARE;

		end(s);
		s->next = px_after(now, rest > EVERY_MS ? rest : EVERY_MS);
	}
	if (s->writing || s->next.ms > now.mono.ms || !changed(s))
		return;
	note(s, now);
	s->writing = pthread_create(&s->thread, NULL, write_it, s) == 0;
	s->next = px_after(now, EVERY_MS);
}

void px_state_free(struct px_state *s, struct px_now now)
{
	if (!s)
		return;
	if (s->writing)
		end(s);
	note(s, now);
	s->err = px_state_save(s->path, s->identity, s->board, s->wall_ms, s->why);
	said(s);
	free(s);
}
