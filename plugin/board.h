/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * board.h - the readers' side of the board (px_board.h), in the processes of the proxy. Nothing here waits, locks or writes; what can't be told in
 * a bounded number of tries is unknown. The memory is mapped read-only.
 */
#ifndef PX_PLUGIN_BOARD_H
#define PX_PLUGIN_BOARD_H

#include "px_board.h"

#define PX_BOARD_SILENT_MS 10000 /* a worker that was silent for so long is dead or hangs */

struct px_board_reader;

/* Maps the board behind fd (borrowed). 0, -EPROTO (not a board of this build), or another negative errno. */
int px_board_open(struct px_board_reader **out, int fd);
void px_board_close(struct px_board_reader *r); /* NULL is fine */

/* The user of a key in its normal form (px_key_from_aor). *out is only good when FOUND. */
enum px_board_found px_board_user(const struct px_board_reader *r, const char *key,
                                  struct px_board_user *out);

/* The same, but without mailbox, subscription and ETag: for who waits while a call does. */
enum px_board_found px_board_user_state(const struct px_board_reader *r, const char *key,
                                        struct px_board_user *out);

/*
 * Goes through all users: *at is 0 to begin with. False: there are no more. Who comes or goes meanwhile may be met or not; a row that can't be told is left
 * out and counted in *unknown (may be NULL).
 */
bool px_board_next(const struct px_board_reader *r, uint32_t *at, struct px_board_user *out,
                   uint32_t *unknown);

/* The user in one row, and where rows end that were ever used: to go through a part of them. */
enum px_board_found px_board_at(const struct px_board_reader *r, uint32_t at,
                                struct px_board_user *out);
uint32_t px_board_end(const struct px_board_reader *r);

/* Gateway i of the worker's pool. False: there is none. */
bool px_board_gateway_read(const struct px_board_reader *r, uint32_t i,
                           struct px_board_gateway_state *out);

/* The name of a user's gateway; "" if it has none. */
void px_board_gateway_name(const struct px_board_reader *r, const struct px_board_user *u,
                           char out[PX_BOARD_NAME_MAX + 1]);

/* False: no worker has written yet. */
bool px_board_counts_read(const struct px_board_reader *r, struct px_board_counts *out);

/* Workers that have written here so far. */
uint64_t px_board_epoch(const struct px_board_reader *r);

/*
 * The rows that were written since *at, which is stepped on: 0 to begin with. False: there were too
 * many of them to be told, any row may have been; nothing is in row then.
 */
bool px_board_told(const struct px_board_reader *r, uint64_t *at, uint32_t row[PX_BOARD_TOLD],
                   unsigned *n);

/* Commands that processes of the proxy could not give to the worker: counted in memory that those
 * share which were forked after px_board_open(). */
void px_board_lose(const struct px_board_reader *r);
uint64_t px_board_lost(const struct px_board_reader *r);

/* How long the worker has been silent, in ms, by CLOCK_MONOTONIC; INT64_MAX: none ever ran, or it ended by itself. */
int64_t px_board_silent_ms(const struct px_board_reader *r, int64_t mono_ms);

/*
 * What may be said of a user's availability now: "available", "busy", "away"; or "unknown" when nothing is known, when it was only known until a moment
 * that has passed, or when the worker is silent. wall_s: seconds since 1970.
 */
const char *px_board_availability(const struct px_board_reader *r, const struct px_board_user *u,
                                  int64_t mono_ms, int64_t wall_s);

/* "unknown", "available", "busy", "away": enum px_presence of the core. */
const char *px_board_presence_name(unsigned presence);

#endif
