/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * px_control.h - commands from the proxy's processes to the worker.
 *
 * They go over one SEQPACKET socketpair that all processes of the proxy share; it is made before they
 * are forked and outlives every worker. A command that wants an answer carries a socket of its own for
 * it (SCM_RIGHTS), so nobody can get another's. A worker that takes a command after its deadline
 * doesn't execute it, as whoever asked has been told that it failed.
 */
#ifndef PX_CONTROL_H
#define PX_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "px_key.h"

#define PX_CONTROL_MAGIC 0x70786332u /* "pxc2": changes with what follows */
#define PX_CONTROL_TEXT_MAX 1024
#define PX_CONTROL_SAID_MAX 1535

enum px_control_command {
	/* about one user */
	PX_CONTROL_REFRESH = 1, /* reads the calendar and verifies the publication now */
	PX_CONTROL_ENABLE,      /* follows the calendar; a user who isn't known becomes one */
	PX_CONTROL_DISABLE,     /* withdraws and stops */
	/* about the whole; `key` is a word of another kind */
	PX_CONTROL_RELOAD,      /* none: reads again what settings name, and applies what changed;
	                              PX_CONTROL_REMOVING: however many users are gone from it */
	PX_CONTROL_ACTIVE,      /* "on", "off"; none: asks */
	PX_CONTROL_GATEWAY_ADD, /* URL[;...] as the setting is written, or the NAME of one that was
	                              removed by command */
	PX_CONTROL_GATEWAY_REMOVE, /* NAME */
	PX_CONTROL_CHECK, /* "OFFSET [WHOM]": a gateway's name, an AoR, or all. Answered with
	                              "running|done AGE_S BYTES\n" and the rows from OFFSET on, as far as
	                              they fit; BYTES is the length of them all */
	PX_CONTROL_END
};

#define PX_CONTROL_REMOVING "removing"

/* Sent as far as its text goes: PX_CONTROL_SIZE bytes. */
struct px_control_request {
	uint32_t magic;
	uint32_t command; /* enum px_control_command */
	int64_t deadline; /* CLOCK_MONOTONIC in ms */
	uint32_t origin;  /* enum px_board_origin: who asks */
	uint16_t key_len; /* of a user, px_key_from_aor() made it; of the others, printable text */
	uint16_t
	    mailbox_len; /* ENABLE: 0 for the one it has, or the one that mailbox_domain gives */
	char text[PX_CONTROL_TEXT_MAX]; /* key, mailbox; without NULs */
};
#define PX_CONTROL_SIZE(q)                                                                         \
	(offsetof(struct px_control_request, text) + (q)->key_len + (q)->mailbox_len)

struct px_control_answer {
	uint32_t magic;
	int32_t
	    status; /* 0 or a negative errno: -ENOENT (no such user, gateway), -EINVAL, -ENOSPC (max_users), -ENOMEM ... */
	char said[PX_CONTROL_SAID_MAX +
	          1]; /* for the operator. status 0: lines NAME=VALUE, or ""; else why */
};

#endif
