/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control.h - the proxy's end of px_control.h: a command asked, its answer awaited. */
#ifndef PX_PLUGIN_CONTROL_H
#define PX_PLUGIN_CONTROL_H

#include <stdbool.h>

#include "px_control.h"

/*
 * Sends a command through fd, which all processes share, and waits for its answer, at most timeout_ms
 * from now_ms (CLOCK_MONOTONIC). key in its normal form, or the word of a command that isn't about a
 * user; mailbox in its normal form, NULL or "": none. 0 and *out
 * (whose status tells what became of it); -EAGAIN: the queue is full; -ETIMEDOUT: no answer, and it
 * won't be executed any more unless that is happening right now; -EPIPE: there is no worker and no
 * supervisor; or another negative errno.
 */
int px_control_ask(int fd, enum px_control_command command, const char *key, const char *mailbox,
                   int64_t now_ms, int timeout_ms, struct px_control_answer *out);

/*
 * Sends a command without waiting for it, and without a way back: from a routing script. It isn't
 * executed after deadline_ms (CLOCK_MONOTONIC). 0; -EAGAIN: the queue is full; or another negative
 * errno.
 */
int px_control_send(int fd, enum px_control_command command, const char *key, const char *mailbox,
                    int64_t deadline_ms);

/* Whether commands still wait at fd's other end; true when that can't be told. */
bool px_control_waits(int fd);

#endif
