/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The board: what the worker writes is what readers read, also while it writes, and after it was killed in the middle. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../plugin/board.h"
#include "io/board.h"

#define ROWS 300

static const struct px_now now = {{5000}, {1795424400000}};

struct bench {
	int fd;
	struct px_board *board;
	struct px_board_reader *reader;
};

static int setup(void **state)
{
	static struct bench b;
	char why[256];

	b.fd = px_board_make(ROWS, 8);
	assert_true(b.fd >= 0);
	if (px_board_new(&b.board, b.fd, ROWS, 8, now, why) < 0)
		fail_msg("%s", why);
	assert_int_equal(px_board_open(&b.reader, b.fd), 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	px_board_close(b->reader);
	px_board_free(b->board);
	close(b->fd);
	return 0;
}

/* A user whose every field follows from (who, n): what is torn shows. Every third has names, ids and ETags that need the tail. */
struct made {
	struct px_user_view v;
	struct px_publication p;
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1];
	char subscription[PX_BOARD_SUBSCRIPTION_MAX + 1], etag[PX_ETAG_MAX + 1], trouble[32];
};

static void fill_text(char *out, size_t len, const char *what, unsigned who, unsigned n)
{
	int at = snprintf(out, len + 1, "%s-%u-%u-", what, who, n);

	for (size_t i = (size_t)at; i < len; i++)
		out[i] = (char)('a' + (who + n + i) % 26);
	out[len] = '\0';
}

static void key_of(unsigned who, char out[PX_AOR_MAX + 1])
{
	fill_text(out, who % 3 == 0 ? 200 : 30, "key", who, 0);
	strcat(out, "@example.test");
}

static void make(struct made *m, unsigned who, unsigned n)
{
	const bool lengthy = who % 3 == 0;

	memset(m, 0, sizeof *m);
	key_of(who, m->key);
	fill_text(m->mailbox, lengthy ? 255 : 40, "mailbox", who, n / 64);
	fill_text(m->subscription, lengthy ? 250 : 90, "subscription", who, n / 16);
	fill_text(m->etag, lengthy && n % 2 ? 127 : 40, "etag", who, n);
	snprintf(m->trouble, sizeof m->trouble, "Trouble%u", n);
	m->p = (struct px_publication){.state = PX_PUB_STANDING,
	                               .etag = m->etag,
	                               .expires = n,
	                               .lapses = {now.mono.ms + 1000},
	                               .unsure = n % 2};
	m->v = (struct px_user_view){.id = who,
	                             .key = m->key,
	                             .mailbox = m->mailbox,
	                             .on = true,
	                             .watch = PX_WATCH_FOLLOWED,
	                             .gateway = 1,
	                             .subscription = m->subscription,
	                             .presence = n % 4,
	                             .until = {(int64_t)n * 1000},
	                             .read_at = {(int64_t)n * 1000},
	                             .publication = &m->p,
	                             .trouble = m->trouble};
}

static void put(struct px_board *board, unsigned who, unsigned n)
{
	struct made m;

	make(&m, who, n);
	px_board_put(board, &m.v, PX_FROM_FILE, "cas1", now);
}

/* All that was read belongs together. `settled`: nobody writes, so what may be left out while something changes must be there. */
static void check(const struct px_board_user *u, unsigned who, bool settled)
{
	struct made m;
	unsigned n = u->state.until;

	make(&m, who, n);
	assert_string_equal(u->key, m.key);
	assert_string_equal(u->etag, m.etag);
	assert_string_equal(u->state.trouble, m.trouble);
	assert_int_equal(u->state.expires, n);
	assert_int_equal(u->state.read_at, n);
	assert_int_equal(u->state.presence, n % 4);
	assert_int_equal(u->state.unsure, n % 2);
	assert_int_equal(u->state.watch, PX_WATCH_FOLLOWED);
	assert_int_equal(u->state.lapses, now.wall.ms / 1000 + 1);
	if (settled || u->mailbox[0])
		assert_string_equal(u->mailbox, m.mailbox);
	if (settled || u->subscription[0])
		assert_string_equal(u->subscription, m.subscription);
}

static enum px_board_found find(const struct bench *b, unsigned who, struct px_board_user *u)
{
	char key[PX_AOR_MAX + 1];

	key_of(who, key);
	return px_board_user(b->reader, key, u);
}

static void what_is_put_is_read(void **state)
{
	struct bench *b = *state;
	struct px_board_user u;

	for (unsigned who = 0; who < 200; who++)
		put(b->board, who, who + 7);
	for (unsigned who = 0; who < 200; who++) {
		assert_int_equal(find(b, who, &u), PX_BOARD_FOUND);
		check(&u, who, true);
		put(b->board, who, who + 8);
		assert_int_equal(find(b, who, &u), PX_BOARD_FOUND);
		check(&u, who, true);
		assert_int_equal(u.state.until, who + 8);
	}
	assert_int_equal(find(b, 200, &u), PX_BOARD_NONE);
}

static void dropped_is_gone(void **state)
{
	struct bench *b = *state;
	struct px_board_user u;
	uint32_t id;

	for (unsigned who = 0; who < 10; who++)
		put(b->board, who, 1);
	assert_int_equal(find(b, 4, &u), PX_BOARD_FOUND);
	id = u.state.id;
	px_board_drop(b->board, 4);
	px_board_drop(b->board, 4);
	px_board_drop(b->board, 9999);
	assert_int_equal(find(b, 4, &u), PX_BOARD_NONE);
	for (unsigned who = 0; who < 10; who++)
		if (who != 4)
			assert_int_equal(find(b, who, &u), PX_BOARD_FOUND);
	/* the row is another user's, and says so */
	put(b->board, 11, 2);
	assert_int_equal(find(b, 11, &u), PX_BOARD_FOUND);
	assert_int_equal(u.row, 4);
	assert_int_not_equal(u.state.id, id);
}

/* The engine gives a freed id to another user within one turn: no drop is seen. */
static void id_goes_to_another_user(void **state)
{
	struct bench *b = *state;
	struct px_board_user u;
	struct made m;

	put(b->board, 5, 1);
	make(&m, 6, 2);
	m.v.id = 5;
	px_board_put(b->board, &m.v, PX_FROM_CFG, NULL, now);
	assert_int_equal(find(b, 5, &u), PX_BOARD_NONE);
	assert_int_equal(find(b, 6, &u), PX_BOARD_FOUND);
	check(&u, 6, true);
	assert_int_equal(u.state.origin, PX_FROM_CFG);
	assert_int_equal(u.state.gateway, 0);
}

static void full_board(void **state)
{
	struct bench *b = *state;
	struct px_board_user u;

	for (unsigned who = 0; who < ROWS + 5; who++)
		put(b->board, who, 1);
	assert_int_equal(find(b, ROWS - 1, &u), PX_BOARD_FOUND);
	assert_int_equal(find(b, ROWS, &u), PX_BOARD_NONE);
	px_board_drop(b->board, 0);
	put(b->board, ROWS, 1);
	assert_int_equal(find(b, ROWS, &u), PX_BOARD_FOUND);
}

static void collect(void *arg, const struct px_board_user *u)
{
	unsigned who;

	assert_int_equal(sscanf(u->key, "key-%u-", &who), 1);
	check(u, who, true);
	++*(unsigned *)arg;
}

static void next_worker_finds_all(void **state)
{
	struct bench *b = *state;
	struct px_board_user before, after;
	unsigned found = 0;
	char why[256], key[PX_AOR_MAX + 1];

	for (unsigned who = 0; who < 50; who++)
		put(b->board, who, 3);
	px_board_drop(b->board, 49);
	assert_int_equal(find(b, 7, &before), PX_BOARD_FOUND);
	assert_int_equal(px_board_epoch(b->reader), 1);
	px_board_free(b->board);
	assert_true(px_board_silent_ms(b->reader, now.mono.ms) == INT64_MAX);
	assert_int_equal(px_board_new(&b->board, b->fd, ROWS, 8, now, why), 0);
	assert_int_equal(px_board_epoch(b->reader), 2);
	px_board_each(b->board, collect, &found);
	assert_int_equal(found, 49);
	/* its engine counts otherwise; the row stays */
	struct made m;
	make(&m, 7, 4);
	m.v.id = 0;
	px_board_put(b->board, &m.v, PX_FROM_FILE, "cas1", now);
	assert_int_equal(find(b, 7, &after), PX_BOARD_FOUND);
	assert_int_equal(after.row, before.row);
	assert_int_equal(after.state.id, before.state.id);
	assert_int_equal(after.state.until, 4);
	key_of(8, key);
	px_board_forget(b->board, key);
	px_board_forget(b->board, "nobody@example.test");
	assert_int_equal(find(b, 8, &after), PX_BOARD_NONE);
	put(b->board, 100, 1); /* into a free row */
	assert_int_equal(find(b, 100, &after), PX_BOARD_FOUND);
	assert_true(after.row < 50);
}

static void not_a_board(void **state)
{
	struct bench *b = *state;
	struct px_board *other = NULL;
	struct px_board_reader *reader = NULL;
	char why[256];
	int fd = memfd_create("other", MFD_CLOEXEC);

	assert_int_equal(px_board_open(&reader, fd), -EPROTO);
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(px_board_new(&other, fd, 10, 1, now, why), -EPROTO);
	assert_int_equal(px_board_open(&reader, fd), -EPROTO);
	/* right, but cut off */
	struct px_board_head head = {0};
	px_board_layout(&head, 100000, 8);
	assert_int_equal(pwrite(fd, &head, sizeof head, 0), sizeof head);
	assert_int_equal(px_board_open(&reader, fd), -EPROTO);
	close(fd);
	assert_int_equal(px_board_new(&other, b->fd, ROWS + 1, 8, now, why), -ENOSPC);
	assert_int_equal(px_board_new(&other, b->fd, ROWS, 9, now, why), -ENOSPC);
	/* nobody can take memory away from under the proxy */
	assert_int_equal(ftruncate(b->fd, 0), -1);
}

static void empty_memfd_becomes_one(void **state)
{
	struct px_board *board;
	struct px_board_reader *reader;
	char why[256];
	int fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)state;
	assert_int_equal(px_board_new(&board, fd, 10, 1, now, why), 0);
	assert_int_equal(px_board_open(&reader, fd), 0);
	put(board, 1, 1);
	px_board_close(reader);
	px_board_free(board);
	close(fd);
}

/* A backend that can't do anything: nothing is asked here. */
static unsigned no_kinds(unsigned version)
{
	(void)version;
	return 0;
}

static void gateways_and_counts(void **state)
{
	struct bench *b = *state;
	struct px_board_gateway_state g;
	struct px_board_counts c;
	struct px_board_user u;
	char name[PX_BOARD_NAME_MAX + 1];
	const char *const names[] = {"cas0", "cas1"};
	const unsigned concurrency[] = {8, 8};
	const struct px_backend none = {.versions = 1, .kinds = no_kinds};
	const struct px_engine_config config = {.backend = &none,
	                                        .map = px_map_default,
	                                        .gateways = 2,
	                                        .gateway_name = names,
	                                        .gateway_concurrency = concurrency,
	                                        .presence_servers = 1,
	                                        .publish_window = 10,
	                                        .publish_expires = 3600,
	                                        .users_max = 10};
	struct px_engine *e = px_engine_new(&config, now);

	assert_non_null(e);
	assert_false(px_board_counts_read(b->reader, &c));
	assert_false(px_board_gateway_read(b->reader, 0, &g));
	assert_true(px_engine_user_put(e, "a@example.test", "a@example.test", true, now) >= 0);
	px_board_counts(b->board, e, (struct px_board_counts){.refused = 3});
	for (unsigned i = 0; i < 2; i++)
		px_board_gateway(b->board, i, &px_engine_pool(e)->gateway[i], PX_FROM_CFG, "");
	assert_true(px_board_counts_read(b->reader, &c));
	assert_int_equal(c.users, 1);
	assert_int_equal(c.refused, 3);
	assert_int_equal(c.gateways, 2);
	assert_true(px_board_gateway_read(b->reader, 1, &g));
	assert_string_equal(g.name, "cas1");
	assert_int_equal(g.health, PX_GW_UP);
	assert_false(px_board_gateway_read(b->reader, 2, &g));
	put(b->board, 1, 1);
	assert_int_equal(find(b, 1, &u), PX_BOARD_FOUND);
	px_board_gateway_name(b->reader, &u, name);
	assert_string_equal(name, "cas1");
	px_engine_free(e);
}

static void availability(void **state)
{
	struct bench *b = *state;
	struct px_board_user u;

	px_board_beat(b->board, now);
	for (unsigned n = 100; n < 104; n++) {
		put(b->board, 1, n);
		assert_int_equal(find(b, 1, &u), PX_BOARD_FOUND);
		assert_string_equal(px_board_availability(b->reader, &u, now.mono.ms, 99),
		                    n == 100 ? "unknown"
		                             : px_presence_name((enum px_presence)(n % 4)));
		/* until it is over, or nobody is there to tell */
		assert_string_equal(px_board_availability(b->reader, &u, now.mono.ms, n),
		                    "unknown");
		assert_string_equal(px_board_availability(b->reader, &u, now.mono.ms + 10000, 99),
		                    "unknown");
	}
	assert_int_equal(px_board_silent_ms(b->reader, now.mono.ms + 700), 700);
	u.state.on = 0;
	assert_string_equal(px_board_availability(b->reader, &u, now.mono.ms, 1), "unknown");
}

/* ---- writer and readers at once ---- */

#define HOT 8     /* users who change all the time */
#define COMING 60 /* users HOT.. who come and go */

static atomic_bool stop;
static unsigned long reads, unknown;

static void *read_all_the_time(void *arg)
{
	struct bench *b = arg;
	struct px_board_user u;
	unsigned long n = 0, lost = 0;

	while (!atomic_load(&stop)) {
		for (unsigned who = 0; who < COMING; who++) {
			enum px_board_found f = find(b, who, &u);

			n++;
			lost += f == PX_BOARD_UNKNOWN;
			if (f == PX_BOARD_FOUND)
				check(&u, who, false);
			else if (who < HOT)
				assert_int_not_equal(f, PX_BOARD_NONE);
		}
	}
	__atomic_fetch_add(&reads, n, __ATOMIC_RELAXED);
	__atomic_fetch_add(&unknown, lost, __ATOMIC_RELAXED);
	return NULL;
}

static unsigned random_below(unsigned *seed, unsigned n)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % n;
}

/* n steps of a writer's life. */
static void write_steps(struct px_board *board, unsigned *seed, unsigned n, bool *there)
{
	for (unsigned i = 0; i < n; i++) {
		unsigned who = random_below(seed, COMING);

		if (who >= HOT && there[who]) {
			px_board_drop(board, who);
			there[who] = false;
		} else {
			put(board, who, random_below(seed, 1000000));
			there[who] = true;
		}
	}
}

static void readers_never_see_a_torn_row(void **state)
{
	struct bench *b = *state;
	bool there[COMING] = {false};
	pthread_t t[3];
	unsigned seed = 1, written = 0;
	time_t end;

	for (unsigned who = 0; who < HOT; who++)
		put(b->board, who, 1);
	atomic_store(&stop, false);
	reads = unknown = 0;
	for (int i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, read_all_the_time, b);
	for (end = time(NULL) + 3; time(NULL) < end; written += 1000)
		write_steps(b->board, &seed, 1000, there);
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	print_message("%u writes, %lu look-ups, %lu of them unknown\n", written, reads, unknown);
	assert_true(reads > 1000);
	/* bounded tries end in unknown only now and then */
	assert_true(unknown * 10 < reads);
}

/* Somebody who is there is found all the time. */
static void *find_all_the_time(void *arg)
{
	struct bench *b = arg;
	struct px_board_user u;

	for (unsigned who = 0; !atomic_load(&stop); who = (who + 1) % HOT)
		unknown += find(b, who, &u) != PX_BOARD_FOUND;
	return NULL;
}

static void taking_over_hides_nobody(void **state)
{
	struct bench *b = *state;
	pthread_t t;
	char why[256];

	for (unsigned who = 0; who < HOT; who++)
		put(b->board, who, 1);
	atomic_store(&stop, false);
	unknown = 0;
	pthread_create(&t, NULL, find_all_the_time, b);
	for (int i = 0; i < 300; i++) {
		px_board_free(b->board);
		assert_int_equal(px_board_new(&b->board, b->fd, ROWS, 8, now, why), 0);
	}
	atomic_store(&stop, true);
	pthread_join(t, NULL);
	assert_int_equal(unknown, 0);
}

/* ---- a writer that is killed ---- */

static void write_until_killed(int fd, unsigned seed)
{
	struct bench b = {.fd = fd};
	bool there[COMING] = {false};
	struct px_board_user u;
	char why[256];

	if (px_board_new(&b.board, fd, ROWS, 8, now, why) < 0 || px_board_open(&b.reader, fd) < 0)
		_exit(1);
	for (unsigned who = 0; who < COMING; who++) {
		there[who] = find(&b, who, &u) == PX_BOARD_FOUND;
		if (there[who])
			put(b.board, who, u.state.until);
	}
	for (;;)
		write_steps(b.board, &seed, 1000, there);
}

static void killed_in_the_middle(void **state)
{
	struct bench *b = *state;
	unsigned seed = 7, torn_changes = 0;
	struct px_board_user u;
	char why[256];

	for (unsigned who = 0; who < HOT; who++)
		put(b->board, who, 1);
	px_board_free(b->board);
	for (unsigned round = 0; round < 150; round++) {
		struct timespec a_moment = {0, 500000 + (long)random_below(&seed, 4000000)};
		pid_t child = fork();
		uint32_t at = 0, lost = 0;
		unsigned rows = 0, found = 0;
		int status;

		assert_true(child >= 0);
		if (child == 0)
			write_until_killed(b->fd, round + 1);
		nanosleep(&a_moment, NULL);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		/* the last good value of everybody who was there all the time */
		while (px_board_next(b->reader, &at, &u, &lost)) {
			unsigned who;

			assert_int_equal(sscanf(u.key, "key-%u-", &who), 1);
			check(&u, who, false);
			rows += who < HOT;
		}
		assert_int_equal(rows, HOT);
		assert_int_equal(lost, 0);
		/* killed within a change of chains: who isn't found is unknown, never "not there" */
		for (unsigned who = 0; who < HOT; who++)
			assert_int_not_equal(find(b, who, &u), PX_BOARD_NONE);
		torn_changes += find(b, 200, &u) == PX_BOARD_UNKNOWN;
		/* the next worker puts all in order */
		assert_int_equal(px_board_new(&b->board, b->fd, ROWS, 8, now, why), 0);
		at = rows = 0;
		while (px_board_next(b->reader, &at, &u, &lost))
			rows++;
		for (unsigned who = 0; who < COMING; who++)
			found += find(b, who, &u) == PX_BOARD_FOUND;
		assert_int_equal(found, rows);
		assert_int_equal(find(b, 200, &u), PX_BOARD_NONE);
		px_board_free(b->board);
	}
	print_message("killed within a change of chains: %u of 150 times\n", torn_changes);
	assert_int_equal(px_board_new(&b->board, b->fd, ROWS, 8, now, why), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(what_is_put_is_read),
	    T(dropped_is_gone),
	    T(id_goes_to_another_user),
	    T(full_board),
	    T(next_worker_finds_all),
	    T(not_a_board),
	    T(empty_memfd_becomes_one),
	    T(gateways_and_counts),
	    T(availability),
	    T(readers_never_see_a_torn_row),
	    T(taking_over_hides_nobody),
	    T(killed_in_the_middle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
