/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * board.c - looks users up on a board of 100,000 while another process writes it at full speed:
 * `board READS [READERS]`. Most reads look at a row word for word, which belong together, so a torn
 * one is noticed; the others are timed as a script looks a user up. Half of what is written, and most of what is
 * looked at word for word, are some hot rows. The writer is killed and started again now and then.
 * Prints one line of JSON; exits with 1 when a row was torn, or a user who is there all the time was
 * not there.
 */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../plugin/script.h"
#include "io/board.h"

#define USERS 100000
#define LATER 2000000000u /* until when states hold: these seconds and some */
#define HOT 64            /* rows */
#define TIMED 20000       /* look-ups in a row, */
#define WORDS 80000       /* and reads word for word */
#define LIFE_US 1000000   /* of a writer */
#define READERS_MAX 16

static char key[USERS][32];
static char asked
    [USERS]
    [32]; /* the same in a random order: an AoR that is asked about was just read in a request */
static struct px_publication pub = {.state = PX_PUB_STANDING};

static struct px_now clock_now(void)
{
	struct timespec mono, wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct px_now){{(int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000},
	                       {(int64_t)wall.tv_sec * 1000}};
}

static uint64_t next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	return *seed ^= *seed << 17;
}

/* One of so many times anybody, else somebody hot. */
static uint32_t someone(uint64_t *seed, unsigned anybody)
{
	return (uint32_t)(next(seed) % (next(seed) % anybody == 0 ? USERS : HOT));
}

static void put(struct px_board *b, uint32_t i, uint32_t n, struct px_now now)
{
	char etag[24];
	struct px_user_view v = {.id = i,
	                         .key = key[i],
	                         .mailbox = key[i],
	                         .on = true,
	                         .watch = PX_WATCH_FOLLOWED,
	                         .presence = (enum px_presence)(1 + n % 3),
	                         .until = {(int64_t)(LATER + n) * 1000},
	                         .read_at = {(int64_t)n * 1000},
	                         .publication = &pub,
	                         .trouble = ""};

	snprintf(etag, sizeof etag, "e%u", n);
	pub.etag = etag;
	pub.expires = n;
	px_board_put(b, &v, PX_FROM_FILE, NULL, now);
}

static _Noreturn void write_for_ever(int fd, uint64_t seed)
{
	struct px_now now = clock_now();
	struct px_board *b;
	char why[256];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (px_board_new(&b, fd, USERS, 8, now, why) < 0)
		_exit(1);
	for (uint32_t i = 0; i < USERS; i++)
		put(b, i, i, now);
	for (uint64_t n = 0;; n++) {
		if (n % 4096 == 0)
			px_board_beat(b, now = clock_now());
		put(b, someone(&seed, 2), (uint32_t)(next(&seed) % 1000000), now);
	}
}

/* What is in every read, and with `all` the rest of it. */
static bool whole(const struct px_board_user *u, uint32_t i, bool all)
{
	const uint32_t n = u->state.until - LATER;

	return u->state.presence == 1 + n % 3 && u->state.read_at == n && u->state.expires == n &&
	       strcmp(u->key, key[i]) == 0 &&
	       (!all || (u->etag[0] == 'e' && strtoul(u->etag + 1, NULL, 10) == n &&
	                 strcmp(u->mailbox, key[i]) == 0));
}

/* Shared with the parent. */
struct told {
	_Atomic uint64_t reads;
	uint64_t timed, torn, unknown, absent;
	double cpu_ns, wall_ns;
};

static double ns_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void time_some(const struct px_module *m, struct told *t, uint64_t *seed)
{
	const double cpu = ns_of(CLOCK_THREAD_CPUTIME_ID), wall = ns_of(CLOCK_MONOTONIC);
	uint32_t at = (uint32_t)(next(seed) % USERS);
	struct px_value v;

	for (int i = 0; i < TIMED; i++, at = (at + 1) % USERS) {
		const char *k = asked[at];

		px_lookup(m, PX_LOOKUP_availability, k, strlen(k), &v);
		t->unknown += v.text[0] == 'u';
	}
	t->cpu_ns += ns_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
	t->wall_ns += ns_of(CLOCK_MONOTONIC) - wall;
	t->timed += TIMED;
}

static void look_at_some(const struct px_board_reader *b, struct told *t, uint64_t *seed)
{
	for (int i = 0; i < WORDS; i++) {
		const uint32_t who = someone(seed, 8);
		const bool all = i % 2;
		struct px_board_user u;

		switch (all ? px_board_user(b, key[who], &u)
		            : px_board_user_state(b, key[who], &u)) {
		case PX_BOARD_FOUND:
			t->torn += !whole(&u, who, all);
			break;
		case PX_BOARD_NONE:
			t->absent++;
			break;
		case PX_BOARD_UNKNOWN:
			t->unknown++;
			break;
		}
	}
	atomic_fetch_add(&t->reads, WORDS);
}

static _Noreturn void read_on(const struct px_module *m, struct told *t, uint64_t want,
                              uint64_t seed)
{
	struct px_board_user u;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (uint32_t i = 0; i < USERS; i++) /* the pages are mapped when they are touched */
		px_board_user(m->board, key[i], &u);
	while (atomic_load(&t->reads) < want) {
		time_some(m, t, &seed);
		look_at_some(m->board, t, &seed);
	}
	_exit(0);
}

static pid_t start_writer(const struct px_module *m, uint64_t seed)
{
	const pid_t writer = fork();

	if (writer == 0)
		write_for_ever(m->board_fd, seed);
	return writer;
}

static void end(pid_t writer)
{
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
}

int main(int argc, char **argv)
{
	const uint64_t want = argc > 1 ? strtoull(argv[1], NULL, 10) : 3000000;
	const unsigned readers = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
	struct px_module m = PX_MODULE_INIT("", NULL, NULL);
	struct told *t, all = {0};
	uint64_t seed = 88172645463325252u, writers = 1;
	pid_t writer;

	if (readers == 0 || readers > READERS_MAX)
		return 2;
	for (uint32_t i = 0; i < USERS; i++) {
		const uint32_t j = (uint32_t)(next(&seed) % (i + 1));

		snprintf(key[i], sizeof key[i], "user%u@example.com", i);
		memcpy(asked[i], asked[j], sizeof asked[i]);
		memcpy(asked[j], key[i], sizeof asked[j]);
	}
	m.board_fd = px_board_make(USERS, 8);
	if (m.board_fd < 0 || px_board_open(&m.board, m.board_fd) < 0)
		return 2;
	t = mmap(NULL, READERS_MAX * sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	         -1, 0);
	if (t == MAP_FAILED)
		return 2;
	writer = start_writer(&m, seed);
	while (px_board_user(m.board, key[USERS - 1], &(struct px_board_user){0}) != PX_BOARD_FOUND)
		usleep(1000);
	for (unsigned i = 0; i < readers; i++)
		if (fork() == 0)
			read_on(&m, &t[i], want / readers, seed + 1 + i);
	for (unsigned ended = 0; ended < readers;) {
		/* it lives from when it has taken over, however busy the machine is */
		while (px_board_epoch(m.board) < writers)
			usleep(1000);
		usleep(LIFE_US);
		end(writer);
		for (; ended < readers && waitpid(-1, NULL, WNOHANG) > 0; ended++)
			;
		if (ended < readers) {
			writer = start_writer(&m, seed += writers);
			writers++;
		}
	}
	for (unsigned i = 0; i < readers; i++) {
		all.reads += t[i].reads;
		all.timed += t[i].timed;
		all.torn += t[i].torn;
		all.unknown += t[i].unknown;
		all.absent += t[i].absent;
		all.cpu_ns += t[i].cpu_ns;
		all.wall_ns += t[i].wall_ns;
	}
	printf("{\"reads\": %llu, \"readers\": %u, \"timed\": %llu, \"cpu_ns\": %.0f, \"wall_ns\": "
	       "%.0f, "
	       "\"torn\": %llu, \"absent\": %llu, \"unknown\": %llu, \"writers\": %llu}\n",
	       (unsigned long long)all.reads, readers, (unsigned long long)all.timed,
	       all.cpu_ns / (double)all.timed, all.wall_ns / (double)all.timed,
	       (unsigned long long)all.torn, (unsigned long long)all.absent,
	       (unsigned long long)all.unknown, (unsigned long long)writers);
	return all.reads < want || all.torn > 0 || all.absent > 0;
}
