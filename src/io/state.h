/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * state.h - state_file: a snapshot of the board, for the time when neither process nor memory lives on. Who was followed where, under which
 * subscription and with which SIP-ETag, and what commands have switched.
 *
 * It is written on a thread, which reads the board as any other process does, to a temporary file that is synced and renamed: at no moment there is
 * half a file under its name. What it says is checked as a whole before any of it counts: a file that is damaged, of another version,
 * or of another identity (another presence server: its ETags mean nothing here) is set aside as FILE.bad.
 */
#ifndef PX_IO_STATE_H
#define PX_IO_STATE_H

#include "io/board.h"

#define PX_STATE_WHY 320

/* ---- reading ---- */

struct px_state_file; /* one that was read */

/*
 * 0 and *out (NULL: there is no such file); or a negative errno and a line for the operator in why: it can't be read, or it was set aside.
 * `identity` as it was saved with.
 */
int px_state_read(struct px_state_file **out, const char *path, uint64_t identity,
                  char why[PX_STATE_WHY]);
void px_state_forget(struct px_state_file *f);            /* NULL is fine */
int64_t px_state_saved_at(const struct px_state_file *f); /* ms since 1970 */
void px_state_users(const struct px_state_file *f, px_board_each_h *each, void *arg);
void px_state_gateways(const struct px_state_file *f, px_board_each_gateway_h *each, void *arg);

/* ---- writing ---- */

/* Writes it now. 0, or a negative errno and why. */
int px_state_save(const char *path, uint64_t identity, const struct px_board *b, int64_t wall_ms,
                  char why[PX_STATE_WHY]);

struct px_state;

/* Of this board, to this path; both outlive it. NULL: out of memory. */
struct px_state *px_state_new(const char *path, uint64_t identity, const struct px_board *b);
/* Call it now and then: begins to write when something has changed and it is time, and logs what came of it. */
void px_state_turn(struct px_state *s, struct px_now now);
/* Waits for a thread that writes, and writes what has changed since. NULL is fine. */
void px_state_free(struct px_state *s, struct px_now now);

#endif
