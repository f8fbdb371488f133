/* SPDX-License-Identifier: GPL-2.0-or-later */
/* state_file: what was on the board is found again, whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "core/engine.h"
#include "io/log.h"
#include "io/state.h"
#include "sim/fake.h"

#define WALL 1764000000000LL
#define IDENTITY 77u
#define USERS 40

static const struct px_now begun = {{1000}, {WALL}};

struct bench {
	struct px_board *board;
	struct px_engine *engine;
	char folder[64], path[96], bad[104];
	unsigned users, gateways, with_etag;
	char last[PX_AOR_MAX + 1];
};

static int setup(void **state)
{
	static const char *const name[] = {"cas1", "cas2"};
	static const unsigned concurrency[] = {8, 8};
	static struct bench b;
	const struct px_engine_config c = {.backend = &fake_backend,
	                                   .map = px_map_default,
	                                   .gateways = 2,
	                                   .gateway_name = name,
	                                   .gateway_concurrency = concurrency,
	                                   .kinds = PX_KIND_BIT(PX_KIND_STREAM),
	                                   .horizon_s = 172800,
	                                   .resync_s = 3600,
	                                   .stale_after_s = 3600,
	                                   .publish_expires = 3600,
	                                   .publish_window = 10,
	                                   .presence_servers = 1,
	                                   .users_max = USERS,
	                                   .log_level = PX_LOG_ERROR};
	char why[256], key[300];

	b = (struct bench){.users = 0};
	px_log_open(STDERR_FILENO, PX_LOG_ERROR);
	strcpy(b.folder, "/tmp/px-state-XXXXXX");
	if (!mkdtemp(b.folder) || px_board_new(&b.board, -1, USERS, 16, begun, why) < 0 ||
	    !(b.engine = px_engine_new(&c, begun)))
		return -1;
	snprintf(b.path, sizeof b.path, "%s/state", b.folder);
	snprintf(b.bad, sizeof b.bad, "%s.bad", b.path);
	for (int i = 0; i < USERS; i++) {
		struct px_user_view v;

		/* some longer than what a row has room for by itself */
		snprintf(key, sizeof key, "user%d%0*d@example.com", i, i % 4 ? 1 : 150, 0);
		px_engine_user_put(b.engine, key, key, i % 5, begun);
		const struct px_known k = {.gateway = i % 2,
		                           .subscription = i % 3 ? "S-1" : NULL,
		                           .etag = i % 2 ? "etag.1" : NULL,
		                           .lapses = {WALL + 1800000}};

		px_engine_user_restore(b.engine, key, &k, begun);
		px_engine_user(b.engine, (uint32_t)i, &v);
		px_board_put(b.board, &v, i % 7 ? PX_FROM_FILE : PX_FROM_RPC, "cas2", begun);
	}
	px_board_gateway(b.board, 0, &px_engine_pool(b.engine)->gateway[0], PX_FROM_CFG, "");
	px_board_gateway(b.board, 1, &px_engine_pool(b.engine)->gateway[1], PX_FROM_RPC,
	                 "https://cas2;concurrency=3");
	px_board_gateway_removed(b.board, 2, "cas9");
	px_board_gateways(b.board, 3);
	px_board_counts(b.board, b.engine, (struct px_board_counts){.active = 1});
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	px_board_free(b->board);
	px_engine_free(b->engine);
	unlink(b->path);
	unlink(b->bad);
	return rmdir(b->folder);
}

static void see_user(void *arg, const struct px_board_user *u)
{
	struct bench *b = arg;
	struct px_board_user on_board;

	b->users++;
	b->with_etag += u->etag[0] != '\0';
	if (px_board_find_user(px_board_head(b->board), u->key, &on_board) != PX_BOARD_FOUND)
		return;
	assert_string_equal(on_board.mailbox, u->mailbox);
	assert_string_equal(on_board.subscription, u->subscription);
	assert_string_equal(on_board.etag, u->etag);
	assert_memory_equal(&on_board.state, &u->state, sizeof u->state);
}

static void see_gateway(void *arg, const struct px_board_gateway_state *g)
{
	struct bench *b = arg;

	b->gateways++;
	if (g->health == PX_BOARD_REMOVED)
		assert_string_equal(g->name, "cas9");
	else
		assert_string_equal(g->given, "https://cas2;concurrency=3");
}

static void keeps_all_of_it(void **state)
{
	struct bench *b = *state;
	struct px_state_file *f;
	char why[PX_STATE_WHY];
	struct stat st;

	assert_int_equal(px_state_read(&f, b->path, IDENTITY, why), 0);
	assert_null(f); /* there is none yet */
	assert_int_equal(px_state_save(b->path, IDENTITY, b->board, WALL, why), 0);
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(px_state_read(&f, b->path, IDENTITY, why), 0);
	assert_non_null(f);
	assert_int_equal(px_state_saved_at(f), WALL);
	px_state_users(f, see_user, b);
	px_state_gateways(f, see_gateway, b);
	assert_int_equal(b->users, USERS);
	assert_true(b->with_etag > 0);
	assert_int_equal(b->gateways, 2);
	px_state_forget(f);
}

static char *contents(const char *path, size_t *n)
{
	FILE *in = fopen(path, "r");
	char *bytes = malloc(1 << 20);

	assert_non_null(in);
	*n = fread(bytes, 1, 1 << 20, in);
	fclose(in);
	return bytes;
}

static void put(const char *path, const char *bytes, size_t n)
{
	FILE *out = fopen(path, "w");

	assert_int_equal(fwrite(bytes, 1, n, out), n);
	fclose(out);
}

/* Whatever byte is another, and wherever it is cut: nothing of it counts, and the operator finds it. */
static void a_damaged_one_is_set_aside(void **state)
{
	struct bench *b = *state;
	struct px_state_file *f;
	char why[PX_STATE_WHY], *bytes;
	size_t n, step;

	assert_int_equal(px_state_save(b->path, IDENTITY, b->board, WALL, why), 0);
	bytes = contents(b->path, &n);
	step = n / 400;
	for (size_t i = 0; i < n; i += i < 256 ? 1 : step) {
		bytes[i] ^= (char)(1 << i % 8);
		put(b->path, bytes, n);
		assert_true(px_state_read(&f, b->path, IDENTITY, why) < 0);
		assert_null(f);
		assert_non_null(strstr(why, "set aside"));
		assert_int_equal(access(b->path, F_OK), -1);
		assert_int_equal(access(b->bad, F_OK), 0);
		bytes[i] ^= (char)(1 << i % 8);
	}
	for (size_t i = 0; i < n; i += i < 256 ? 1 : step) {
		put(b->path, bytes, i);
		assert_true(px_state_read(&f, b->path, IDENTITY, why) < 0);
	}
	put(b->path, bytes, n);
	assert_int_equal(px_state_read(&f, b->path, IDENTITY, why), 0);
	px_state_forget(f);
	free(bytes);
}

static void a_foreign_one_is_set_aside(void **state)
{
	struct bench *b = *state;
	struct px_state_file *f;
	char why[PX_STATE_WHY];

	assert_int_equal(px_state_save(b->path, IDENTITY + 1, b->board, WALL, why), 0);
	assert_true(px_state_read(&f, b->path, IDENTITY, why) < 0);
	assert_non_null(strstr(why, "another presence server"));
	assert_int_equal(access(b->bad, F_OK), 0);
}

/* Where it can't be written the one that is there stays, and no half of one is left. */
static void what_cant_be_written_is_said(void **state)
{
	struct bench *b = *state;
	char why[PX_STATE_WHY], path[128];

	snprintf(path, sizeof path, "%s/nowhere/state", b->folder);
	assert_int_equal(px_state_save(path, IDENTITY, b->board, WALL, why), -ENOENT);
	assert_non_null(strstr(why, "can't be written"));
}

/* On its own it writes when something has changed, and once more at the end. */
static void writes_now_and_then(void **state)
{
	struct bench *b = *state;
	struct px_state *s = px_state_new(b->path, IDENTITY, b->board);
	struct px_now now = begun;
	struct px_user_view v;
	struct px_state_file *f;
	char why[PX_STATE_WHY];
	unsigned turns = 0;

	px_state_turn(s, now);
	while (access(b->path, F_OK) < 0 && ++turns < 5000)
		usleep(1000);
	assert_int_equal(access(b->path, F_OK), 0);
	usleep(20000);
	px_state_turn(s, now); /* it is through */
	unlink(b->path);
	now.mono.ms += 3600000;
	px_state_turn(s, now); /* nothing has changed */
	usleep(20000);
	assert_int_equal(access(b->path, F_OK), -1);
	px_engine_user(b->engine, 3, &v);
	px_board_put(b->board, &v, PX_FROM_FILE, NULL, now);
	px_state_free(s, now);
	assert_int_equal(px_state_read(&f, b->path, IDENTITY, why), 0);
	assert_non_null(f);
	px_state_users(f, see_user, b);
	assert_int_equal(b->users, USERS);
	px_state_forget(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(keeps_all_of_it),
	    T(a_damaged_one_is_set_aside),
	    T(a_foreign_one_is_set_aside),
	    T(what_cant_be_written_is_said),
	    T(writes_now_and_then),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
