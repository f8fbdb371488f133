/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz.h - what libFuzzer's targets share. An input is a few bytes that say how to go about it, then what a stranger sent. What is fed is in memory of its own
 * and of exactly its size, so that ASan sees its ends.
 */
#ifndef PX_FUZZ_H
#define PX_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* The length of the next piece of `left` bytes, by a generator that *seed is the state of (Marsaglia's xorshift32); seed 0: all of it. */
static inline size_t fuzz_piece(uint32_t *seed, size_t left)
{
	if (*seed == 0)
		return left;
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	/* mostly short, sometimes long: what breaks at an edge breaks soon */
	const size_t n = 1 + (*seed >> 8) % (*seed & 7 ? 16 : 2000);

	return n < left ? n : left;
}

/* Gives `feed` n bytes piece by piece. */
static inline void fuzz_pieces(void (*feed)(void *to, const char *bytes, size_t n), void *to,
                               const uint8_t *bytes, size_t n, uint32_t seed)
{
	for (size_t at = 0, part; at < n; at += part) {
		char *exact;

		part = fuzz_piece(&seed, n - at);
		exact = malloc(part);
		CHECK(exact);
		memcpy(exact, bytes + at, part);
		feed(to, exact, part);
		free(exact);
	}
}

#endif
