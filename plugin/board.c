/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "board.h"

#include <stdlib.h>
#include <sys/stat.h>

struct px_board_reader {
	const struct px_board_head *head;
	_Atomic uint64_t *lost; /* shared by the proxy's processes */
};

int px_board_open(struct px_board_reader **out, int fd)
{
	struct px_board_reader *r;
	struct px_board_head head;
	struct stat st;
	void *at;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (pread(fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
	    !px_board_valid(&head, (uint64_t)st.st_size))
		return -EPROTO;
	at = mmap(NULL, head.size, PROT_READ, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	r = malloc(sizeof *r);
	if (r)
		r->lost = mmap(NULL, sizeof *r->lost, PROT_READ | PROT_WRITE,
		               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (!r || r->lost == MAP_FAILED) {
		free(r);
		munmap(at, head.size);
		return -ENOMEM;
	}
	r->head = at;
	*out = r;
	return 0;
}

void px_board_close(struct px_board_reader *r)
{
	if (!r)
		return;
	munmap((void *)r->lost, sizeof *r->lost);
	munmap((void *)r->head, r->head->size);
	free(r);
}

enum px_board_found px_board_user(const struct px_board_reader *r, const char *key,
                                  struct px_board_user *out)
{
	return px_board_find_user(r->head, key, out);
}

enum px_board_found px_board_user_state(const struct px_board_reader *r, const char *key,
                                        struct px_board_user *out)
{
	return px_board_find_row(r->head, key, false, out);
}

uint32_t px_board_end(const struct px_board_reader *r)
{
	const uint32_t end = atomic_load_explicit(&r->head->end, memory_order_acquire);

	return end < r->head->rows ? end : r->head->rows;
}

enum px_board_found px_board_at(const struct px_board_reader *r, uint32_t at,
                                struct px_board_user *out)
{
	return at < px_board_end(r) ? px_board_load_user(r->head, at, out) : PX_BOARD_NONE;
}

bool px_board_next(const struct px_board_reader *r, uint32_t *at, struct px_board_user *out,
                   uint32_t *unknown)
{
	while (*at < px_board_end(r)) {
		enum px_board_found f = px_board_at(r, (*at)++, out);

		if (f == PX_BOARD_FOUND)
			return true;
		if (f == PX_BOARD_UNKNOWN && unknown)
			++*unknown;
	}
	return false;
}

bool px_board_counts_read(const struct px_board_reader *r, struct px_board_counts *out)
{
	return px_board_load_cell(out, sizeof *out, &r->head->counts.sequence,
	                          r->head->counts.copy[0]);
}

bool px_board_gateway_read(const struct px_board_reader *r, uint32_t i,
                           struct px_board_gateway_state *out)
{
	struct px_board_gateway *g = px_board_gateway_at(r->head, i);
	struct px_board_counts c;

	if (i >= r->head->gateways || !px_board_counts_read(r, &c) || i >= c.gateways)
		return false;
	return px_board_load_cell(out, sizeof *out, &g->state.sequence, g->state.copy[0]);
}

void px_board_gateway_name(const struct px_board_reader *r, const struct px_board_user *u,
                           char out[PX_BOARD_NAME_MAX + 1])
{
	struct px_board_gateway_state g;

	out[0] = '\0';
	for (uint32_t i = 0; u->state.gateway != 0 && px_board_gateway_read(r, i, &g); i++)
		if (px_board_name_hash(g.name) == u->state.gateway) {
			memcpy(out, g.name, sizeof g.name);
			return;
		}
}

uint64_t px_board_epoch(const struct px_board_reader *r)
{
	return atomic_load_explicit(&r->head->epoch, memory_order_relaxed);
}

int64_t px_board_silent_ms(const struct px_board_reader *r, int64_t mono_ms)
{
	int64_t beat = atomic_load_explicit(&r->head->beat, memory_order_relaxed);

	if (beat == 0)
		return INT64_MAX;
	return mono_ms > beat ? mono_ms - beat : 0;
}

bool px_board_told(const struct px_board_reader *r, uint64_t *at, uint32_t row[PX_BOARD_TOLD],
                   unsigned *n)
{
	const struct px_board_head *h = r->head;
	const uint64_t from = *at, to = atomic_load_explicit(&h->told, memory_order_acquire);

	*at = to;
	*n = 0;
	if (to < from || to - from > PX_BOARD_TOLD)
		return false;
	for (uint64_t i = from; i < to; i++)
		row[(*n)++] =
		    atomic_load_explicit(&h->told_row[i % PX_BOARD_TOLD], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	/* the writer may have come around meanwhile, and be writing one more than it says */
	return atomic_load_explicit(&h->told, memory_order_relaxed) - from < PX_BOARD_TOLD;
}

void px_board_lose(const struct px_board_reader *r)
{
	atomic_fetch_add_explicit(r->lost, 1, memory_order_relaxed);
}

uint64_t px_board_lost(const struct px_board_reader *r)
{
	return atomic_load_explicit(r->lost, memory_order_relaxed);
}

const char *px_board_presence_name(unsigned presence)
{
	/* the worker's test holds them together */
	static const char *const name[] = {"unknown", "available", "busy", "away"};

	return name[presence < sizeof name / sizeof *name ? presence : 0];
}

const char *px_board_availability(const struct px_board_reader *r, const struct px_board_user *u,
                                  int64_t mono_ms, int64_t wall_s)
{
	if (px_board_silent_ms(r, mono_ms) >= PX_BOARD_SILENT_MS || !u->state.on ||
	    (u->state.until != 0 && u->state.until <= wall_s))
		return px_board_presence_name(0);
	return px_board_presence_name(u->state.presence);
}
