/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control.h - the worker's end of px_control.h: takes commands, has them executed, answers. What
 * isn't a command is dropped and counted; nobody can make it wait.
 */
#ifndef PX_IO_CONTROL_H
#define PX_IO_CONTROL_H

#include "io/loop.h"
#include "px_control.h"

struct px_control;

struct px_command {
	enum px_control_command command;
	uint8_t origin;
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1]; /* of a command about one user */
	char text[PX_CONTROL_TEXT_MAX + 1];                    /* of the others: their word */
};

/*
 * Executes q (borrowed; key is in its normal form and NUL-terminated, mailbox too, "" if none was
 * given) and fills in a's status and said. A status of -EINPROGRESS leaves whoever asked waiting for
 * px_control_answer().
 */
typedef void px_command_h(void *arg, const struct px_command *q, struct px_control_answer *a);

/* Takes commands from fd, which it then owns, also when it fails. 0 or a negative errno. */
int px_control_new(struct px_control **out, struct px_loop *loop, int fd, px_command_h *command,
                   void *arg);
void px_control_free(struct px_control *c); /* NULL is fine */

/* Answers everybody who waits for this command. Whoever has given up meanwhile doesn't mind. */
void px_control_answer(struct px_control *c, enum px_control_command command,
                       const struct px_control_answer *a);

/*
 * What n received bytes say. 0; -EBADMSG: not a command; -ETIMEDOUT: its deadline has passed at now_ms
 * (*out is filled in).
 */
int px_control_parse(const void *bytes, size_t n, int64_t now_ms, struct px_command *out);

#endif
