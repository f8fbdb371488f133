/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * board.h - the writer's side of the board (px_board.h): what the engine shows, put where other
 * processes read it, and found again by the next worker.
 *
 * Rows stay where they are over restarts, so they aren't the engine's slots; a user is found by
 * key.
 */
#ifndef PX_IO_BOARD_H
#define PX_IO_BOARD_H

#include "core/engine.h"
#include "px_board.h"

struct px_board;

/*
 * Takes the board behind fd (borrowed; of a former worker, new, or an empty memfd), or makes one of its own if fd
 * is -1. Chains are rebuilt from the rows, as a worker may have been killed while it changed them.
 * 0, or a negative errno and a line for the operator in why: not a board of this version, or one
 * with less room than `users` and `gateways`.
 */
int px_board_new(struct px_board **out, int fd, uint32_t users, unsigned gateways,
                 struct px_now now, char why[256]);
void px_board_free(struct px_board *b); /* says that it ended by itself; NULL is fine */

const struct px_board_head *px_board_head(const struct px_board *b); /* to read it as others do */

/* What a former worker told last; false: there was none. */
bool px_board_former(const struct px_board *b, struct px_board_counts *out);

/* Every user found there (of a former worker). `each` may put and drop. */
typedef void px_board_each_h(void *arg, const struct px_board_user *u);
void px_board_each(struct px_board *b, px_board_each_h *each, void *arg);

/* The user's row says what v says. Without room (which the engine's own limit prevents) nothing
 * happens. `gateway`: the name of v's, NULL: none. */
void px_board_put(struct px_board *b, const struct px_user_view *v, enum px_board_origin origin,
                  const char *gateway, struct px_now now);
void px_board_drop(struct px_board *b, uint32_t user); /* the engine's id */
void px_board_forget(struct px_board *b,
                     const char *key); /* a user that only a former worker knew */

/* given: as a command wrote it, or "". */
void px_board_gateway(struct px_board *b, unsigned i, const struct px_gateway *g,
                      enum px_board_origin origin, const char *given);
void px_board_gateway_removed(struct px_board *b, unsigned i, const char *name);
void px_board_gateways(struct px_board *b, unsigned n); /* rows of them, from the next counts on */
/* Every gateway's row of a former worker. */
typedef void px_board_each_gateway_h(void *arg, const struct px_board_gateway_state *g);
void px_board_each_gateway(const struct px_board *b, px_board_each_gateway_h *each, void *arg);

/* 128 random bits in 32 digits, the same for all workers that had or will have this board. */
void px_board_token(struct px_board *b, char out[33]);

/* `also` has what the engine doesn't know (log_lost, refused, strays of listeners, started_at, reloads ...); the rest of it is filled
 * in. */
void px_board_counts(struct px_board *b, const struct px_engine *e, struct px_board_counts also);

void px_board_beat(struct px_board *b, struct px_now now);

#endif
