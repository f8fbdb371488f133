/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A board that somebody has written on. Input: pieces (place, 4 bytes; length, 1 byte; bytes), each written over a good board with users, names long and short, and
 * gateways. A proxy that reads it and a worker that takes it over must stay inside it, come to an end, and get texts that end.
 */
#include "fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include "../plugin/board.h"
#include "good_board.h"

static int fd = -1;
static struct px_board_head *map, *good;
static size_t size;

static void make(void)
{
	fd = px_board_make(ROWS, GATEWAYS);
	px_board_free(good_board(fd));
	size = (size_t)lseek(fd, 0, SEEK_END);
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	good = malloc(size);
	CHECK(map != MAP_FAILED && good);
	memcpy(good, map, size);
}

static void ends(const char *text, size_t room)
{
	CHECK(memchr(text, 0, room));
}

static void is_sound(const struct px_board_user *u)
{
	ends(u->key, sizeof u->key);
	ends(u->mailbox, sizeof u->mailbox);
	ends(u->subscription, sizeof u->subscription);
	ends(u->etag, sizeof u->etag);
	CHECK(u->row < ROWS);
}

static void read_all(void)
{
	struct px_board_reader *r;
	struct px_board_user u;
	struct px_board_gateway_state g;
	struct px_board_counts c;
	char key[PX_AOR_MAX + 1], name[PX_BOARD_NAME_MAX + 1];
	uint32_t at = 0, unknown = 0, n = 0;

	if (px_board_open(&r, fd) < 0)
		return;
	for (; px_board_next(r, &at, &u, &unknown); n++) {
		is_sound(&u);
		px_board_gateway_name(r, &u, name);
		ends(name, sizeof name);
		px_board_availability(r, &u, 6000, INT64_C(1795424400));
	}
	CHECK(n + unknown <= ROWS);
	for (unsigned i = 0; i < USERS; i++) {
		key_of(i, key);
		if (px_board_user(r, key, &u) == PX_BOARD_FOUND)
			CHECK(strcmp(u.key, key) == 0);
	}
	for (uint32_t i = 0; i <= GATEWAYS; i++)
		if (px_board_gateway_read(r, i, &g)) {
			ends(g.name, sizeof g.name);
			ends(g.last_error, sizeof g.last_error);
		}
	px_board_counts_read(r, &c);
	px_board_silent_ms(r, 6000);
	px_board_close(r);
}

static void found(void *arg, const struct px_board_user *u)
{
	is_sound(u);
	++*(unsigned *)arg;
}

static void take_over(void)
{
	struct px_board *b;
	char why[256], key[PX_AOR_MAX + 1];
	struct px_publication p = {.state = PX_PUB_OFF};
	unsigned n = 0;

	if (px_board_new(&b, fd, ROWS, GATEWAYS, now, why) < 0) {
		ends(why, sizeof why);
		return;
	}
	px_board_each(b, found, &n);
	CHECK(n <= ROWS);
	for (unsigned i = 0; i < USERS; i++) {
		key_of(i, key);
		const struct px_user_view v = {.id = i,
		                               .generation = 2,
		                               .key = key,
		                               .mailbox = key,
		                               .publication = &p,
		                               .trouble = "",
		                               .gateway = -1};
		if (i % 2)
			px_board_put(b, &v, PX_FROM_FILE, NULL, now);
		else
			px_board_forget(b, key);
	}
	px_board_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (fd < 0)
		make();
	memcpy(map, good, size);
	overwrite(map, size, bytes, n);
	read_all();
	take_over();
	read_all();
	return 0;
}
