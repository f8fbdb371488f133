/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fuzz.h - what libFuzzer's targets share. An input is a few bytes that say how to go about it, then what a stranger sent. What is fed is in memory of its own
 * and of exactly its size, so that ASan sees its ends.
 */
#ifndef PX_FUZZ_H
#define PX_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/answer.h"
#include "core/backend.h"
#include "core/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define CHECK(what)                                                                                \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* n bytes in memory of exactly that size, the caller's to free. */
static inline char *fuzz_exact(const void *bytes, size_t n)
{
	char *exact = malloc(n ? n : 1);

	CHECK(exact);
	memcpy(exact, bytes, n);
	return exact;
}

/* Fit for a log: UTF-8 without control characters. */
static inline void fuzz_shown(const char *text)
{
	uint32_t c = 0;

	for (size_t i = 0, n = strlen(text), step; i < n; i += step) {
		step = px_utf8(text + i, n - i, &c);
		CHECK(step > 0 && c >= 0x20 && !(c >= 0x7f && c < 0xa0));
	}
}

/* Fit for a line of a request, and for a log: visible ASCII, 1 to `most` of it. */
static inline void fuzz_visible(const char *text, size_t most)
{
	CHECK(*text && strlen(text) <= most);
	for (; *text; text++)
		CHECK(*text > ' ' && *text <= '~');
}

/* Writes down all that an item says, and looks whether it may. */
static inline void fuzz_item(struct px_buf *out, const struct px_item *item)
{
	const struct px_meeting *m = item->meeting;

	CHECK(item->kind < PX_ITEMS && (!item->interval || item->n <= PX_INTERVALS_MAX));
	px_buf_printf(out, "%d %zu %d %zu %u ", item->kind, item->index, item->verdict, item->n,
	              item->lifetime_s);
	for (size_t i = 0; item->interval && i < item->n; i++) {
		CHECK(item->interval[i].status < PX_STATUSES);
		px_buf_printf(out, "%lld-%lld:%d ", (long long)item->interval[i].start.ms,
		              (long long)item->interval[i].end.ms, item->interval[i].status);
	}
	if (m) {
		CHECK(strlen(m->subject) <= PX_MEETING_TEXT_MAX &&
		      strlen(m->place) <= PX_MEETING_TEXT_MAX);
		fuzz_shown(m->subject);
		fuzz_shown(m->place);
		px_buf_printf(out, "%lld-%lld [%s] [%s] %d ", (long long)m->when.start.ms,
		              (long long)m->when.end.ms, m->subject, m->place, m->hidden);
	}
	if (item->code)
		fuzz_shown(item->code);
	px_buf_printf(out, "%d %d %lld %lld %s %s %s\n", item->away, item->details,
	              (long long)item->from.ms, (long long)item->until.ms, item->id ? item->id : "",
	              item->watermark ? item->watermark : "", item->code ? item->code : "");
}

static inline void fuzz_reply(const struct px_reply *r)
{
	static const char fine[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _.-";

	CHECK(r->verdict < PX_VERDICTS && (r->verdict == PX_V_OK || r->code[0]));
	CHECK(r->backoff_ms >= 0 && r->backoff_ms <= PX_BACKOFF_WISH_MAX);
	CHECK(memchr(r->code, 0, sizeof r->code) && memchr(r->detail, 0, sizeof r->detail));
	CHECK(memchr(r->server, 0, sizeof r->server));
	CHECK(strspn(r->code, fine) == strlen(r->code));
	fuzz_shown(r->detail);
	fuzz_shown(r->server);
}

static inline bool fuzz_unreadable(const struct px_reply *r)
{
	return strcmp(r->code, "broken XML") == 0 || strncmp(r->code, "not ", 4) == 0 ||
	       strcmp(r->code, "cut") == 0;
}

/* Read whole and read in pieces it comes to the same; `count`: so do the items. Of a root that isn't well-formed libxml2 may tell before or after
 * the name, as the bytes come: both are no answer. Frees the items. */
static inline void fuzz_same(const struct px_reply *whole, const struct px_reply *pieces,
                             bool count, struct px_buf *items, struct px_buf *in_pieces)
{
	CHECK(whole->verdict == pieces->verdict ||
	      (fuzz_unreadable(whole) && fuzz_unreadable(pieces)));
	CHECK(whole->backoff_ms == pieces->backoff_ms || whole->verdict == PX_V_TRANSIENT);
	if (count)
		CHECK(items->len == in_pieces->len &&
		      (items->len == 0 || memcmp(items->data, in_pieces->data, items->len) == 0));
	px_buf_free(items);
	px_buf_free(in_pieces);
}

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
		exact = fuzz_exact(bytes + at, part);
		feed(to, exact, part);
		free(exact);
	}
}

#endif
