/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A board with users, names long and short, and gateways; and how it is written on. */
#include "fuzz.h"
#include "io/board.h"

#define ROWS 12
#define USERS 9
#define GATEWAYS 3

static const struct px_now now = {{5000}, {INT64_C(1795424400000)}};

static void key_of(unsigned i, char out[PX_AOR_MAX + 1])
{
	/* a third are long: theirs go on in the tail */
	sprintf(out, "user%u%0*d@example.test", i, i % 3 ? 1 : 180, 0);
}

/* On fd, which has room for ROWS and GATEWAYS. The caller's to free. */
static struct px_board *good_board(int fd)
{
	struct px_board *b;
	char why[256], key[PX_AOR_MAX + 1];
	struct px_publication p = {.etag = (char[]){"etag-1"}, .state = PX_PUB_STANDING};

	CHECK(fd >= 0 && px_board_new(&b, fd, ROWS, GATEWAYS, now, why) == 0);
	for (unsigned i = 0; i < USERS; i++) {
		key_of(i, key);
		const struct px_user_view v = {.id = i,
		                               .generation = 1,
		                               .key = key,
		                               .mailbox = key,
		                               .on = true,
		                               .watch = PX_WATCH_FOLLOWED,
		                               .subscription = key,
		                               .presence = PX_PRESENCE_BUSY,
		                               .publication = &p,
		                               .trouble = ""};
		px_board_put(b, &v, PX_FROM_FILE, i % 2 ? "cas1" : NULL, now);
	}
	px_board_drop(b, 4);
	return b;
}

/* Pieces (place, 4 bytes; length, 1 byte; bytes), each written over `to`. */
static void overwrite(void *to, size_t size, const uint8_t *bytes, size_t n)
{
	for (size_t at = 0, len; at + 5 < n; at += 5 + len) {
		uint32_t place;

		memcpy(&place, bytes + at, sizeof place);
		len = bytes[at + 4];
		if (len > n - at - 5)
			len = n - at - 5;
		place %= (uint32_t)size;
		if (len > size - place)
			len = size - place;
		memcpy((char *)to + place, bytes + at + 5, len);
	}
}
