/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * board.c - looks users up on a board of 100,000 while another process writes it at full speed:
 * `board LOOKUPS`. Every row's words belong together, so a torn one is noticed; the writer is killed
 * and started again now and then. Prints one line of JSON; exits with 1 when a row was torn, or a
 * user who is there all the time was not there.
 */
#include <signal.h>
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
#define BATCH 100000
#define LIFE 20 /* batches of a writer */

static char key[USERS][32];
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
		put(b, (uint32_t)(next(&seed) % USERS), (uint32_t)(next(&seed) % 1000000), now);
	}
}

static bool whole(const struct px_board_user *u, uint32_t i)
{
	const uint32_t n = u->state.until - LATER;

	return u->state.presence == 1 + n % 3 && u->state.read_at == n && u->state.expires == n &&
	       u->etag[0] == 'e' && strtoul(u->etag + 1, NULL, 10) == n &&
	       strcmp(u->key, key[i]) == 0;
}

int main(int argc, char **argv)
{
	const uint64_t want = argc > 1 ? strtoull(argv[1], NULL, 10) : 3000000;
	struct px_module m = PX_MODULE_INIT("", NULL, NULL);
	uint64_t seed = 88172645463325252u, looked = 0, torn = 0, unknown = 0, absent = 0,
	         writers = 0;
	double ns = 0, fastest = 0, slowest = 0;
	pid_t writer = 0;

	for (uint32_t i = 0; i < USERS; i++)
		snprintf(key[i], sizeof key[i], "user%u@example.com", i);
	m.board_fd = px_board_make(USERS, 8);
	if (m.board_fd < 0 || px_board_open(&m.board, m.board_fd) < 0)
		return 2;
	for (uint64_t batch = 0; looked < want; batch++) {
		struct timespec a, b;
		struct px_value v;
		double took;

		if (batch % LIFE == 0) {
			if (writer > 0) {
				kill(writer, SIGKILL);
				waitpid(writer, NULL, 0);
			}
			writer = fork();
			if (writer == 0)
				write_for_ever(m.board_fd, seed);
			writers++;
			/* until it has taken over, rows of the one before are what there is */
			do
				usleep(1000);
			while (px_board_epoch(m.board) < writers ||
			       px_board_user(m.board, key[USERS - 1], &(struct px_board_user){0}) !=
			           PX_BOARD_FOUND ||
			       px_board_silent_ms(m.board, clock_now().mono.ms) > 1000);
		}
		/* half of them timed as a script looks one up, half looked at word for word */
		clock_gettime(CLOCK_MONOTONIC, &a);
		for (int i = 0; i < BATCH / 2; i++) {
			const char *k = key[next(&seed) % USERS];

			px_lookup(&m, PX_LOOKUP_availability, k, strlen(k), &v);
			unknown += v.text[0] == 'u';
		}
		clock_gettime(CLOCK_MONOTONIC, &b);
		took = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) /
		       (BATCH / 2);
		ns += took;
		fastest = batch == 0 || took < fastest ? took : fastest;
		slowest = took > slowest ? took : slowest;
		for (int i = 0; i < BATCH / 2; i++) {
			const uint32_t who = (uint32_t)(next(&seed) % USERS);
			struct px_board_user u;

			switch (px_board_user(m.board, key[who], &u)) {
			case PX_BOARD_FOUND:
				torn += !whole(&u, who);
				break;
			case PX_BOARD_NONE:
				absent++;
				break;
			case PX_BOARD_UNKNOWN:
				unknown++;
				break;
			}
		}
		looked += BATCH;
	}
	kill(writer, SIGKILL);
	waitpid(writer, NULL, 0);
	printf(
	    "{\"lookups\": %llu, \"board_lookup_ns\": %.0f, \"fastest_ns\": %.0f, \"slowest_ns\": "
	    "%.0f, \"torn\": %llu, \"absent\": %llu, \"unknown\": %llu, \"writers\": %llu}\n",
	    (unsigned long long)looked, ns / ((double)looked / BATCH), fastest, slowest,
	    (unsigned long long)torn, (unsigned long long)absent, (unsigned long long)unknown,
	    (unsigned long long)writers);
	return torn > 0 || absent > 0;
}
