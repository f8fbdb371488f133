/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A state_file that somebody has written on. Input: a byte that says how (1: its size and sum are made right again; 2: what follows is the whole file), then pieces as in
 * good_board.h. What is believed ends where it should.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "good_board.h"
#include "io/state.h"

#define IDENTITY 77
#define FILE_MAX 65536
/* as io/state.c has them */
#define SIZE_AT 32
#define SUM_AT 48
#define HEAD 56

static int fd = -1;
static char good[FILE_MAX], file[FILE_MAX], path[40];
static size_t size;

static void make(void)
{
	const struct px_gateway given = {.name = "cas2"};
	const int board = px_board_make(ROWS, GATEWAYS);
	struct px_board *b = good_board(board);
	char folder[] = "/tmp/px-fuzz-XXXXXX", name[40], why[PX_STATE_WHY];
	FILE *f;

	px_board_gateway(b, 0, &given, PX_FROM_RPC, "https://cas2.example.test;concurrency=3");
	px_board_gateway_removed(b, 1, "cas9");
	px_board_gateways(b, 2);
	CHECK(mkdtemp(folder));
	sprintf(name, "%s/state", folder);
	CHECK(px_state_save(name, IDENTITY, b, now.wall.ms, why) == 0 && (f = fopen(name, "r")));
	size = fread(good, 1, sizeof good, f);
	CHECK(size > HEAD && size < sizeof good);
	fclose(f);
	unlink(name);
	rmdir(folder);
	px_board_free(b);
	close(board);
	fd = memfd_create("state", MFD_CLOEXEC);
	CHECK(fd >= 0);
	sprintf(path, "/proc/self/fd/%d", fd);
}

static uint64_t sum(uint64_t h, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)bytes[i]) * 0x100000001b3u;
	return h;
}

static void seal(size_t n)
{
	const uint64_t all = n;
	uint64_t s;

	memcpy(file + SIZE_AT, &all, sizeof all);
	s = sum(sum(0xcbf29ce484222325u, file + HEAD, n - HEAD), file, SUM_AT);
	memcpy(file + SUM_AT, &s, sizeof s);
}

static void ends(const char *text, size_t room)
{
	CHECK(memchr(text, 0, room));
}

static void user(void *arg, const struct px_board_user *u)
{
	++*(unsigned *)arg;
	ends(u->key, sizeof u->key);
	ends(u->mailbox, sizeof u->mailbox);
	ends(u->subscription, sizeof u->subscription);
	ends(u->etag, sizeof u->etag);
	ends(u->state.trouble, sizeof u->state.trouble);
	ends(u->subscription + u->watermark, sizeof u->subscription - u->watermark);
	CHECK(u->state.origin <= PX_FROM_SCRIPT);
}

static void gateway(void *arg, const struct px_board_gateway_state *g)
{
	++*(unsigned *)arg;
	ends(g->name, sizeof g->name);
	ends(g->given, sizeof g->given);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct px_state_file *f;
	char why[PX_STATE_WHY];
	unsigned users = 0, gateways = 0;
	size_t len;
	int err;

	if (n == 0)
		return -1;
	if (fd < 0)
		make();
	len = bytes[0] & 2 ? n - 1 : size;
	if (bytes[0] & 2) {
		memcpy(file, bytes + 1, n - 1 < FILE_MAX ? n - 1 : 0);
	} else {
		memcpy(file, good, size);
		overwrite(file, size, bytes + 1, n - 1);
	}
	if ((bytes[0] & 1) && len >= HEAD)
		seal(len);
	CHECK(ftruncate(fd, (off_t)len) == 0 && pwrite(fd, file, len, 0) == (ssize_t)len);
	err = px_state_read(&f, path, IDENTITY, why);
	CHECK((err == 0) == (f != NULL));
	if (err < 0) {
		ends(why, sizeof why);
		fuzz_shown(why);
		return 0;
	}
	px_state_users(f, user, &users);
	px_state_gateways(f, gateway, &gateways);
	CHECK(users <= len / sizeof(struct px_board_state) && gateways <= len);
	px_state_forget(f);
	return 0;
}
