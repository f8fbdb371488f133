/* SPDX-License-Identifier: GPL-2.0-or-later */
/* users.h - which AoR stood on which line: finds the second of a pair in constant time. */
#ifndef PX_USERS_H
#define PX_USERS_H

#include <stddef.h>

#include "core/buf.h"

struct px_seen_slot;

/* Zeroed to begin with. */
struct px_seen {
	struct px_seen_slot *slot;
	size_t slots, n;
	struct px_buf keys; /* every key with its NUL */
};

/* 0 and the key is noted; -EEXIST and in *earlier the line of the first; or -ENOMEM. */
int px_seen_add(struct px_seen *s, const char *key, unsigned line, unsigned *earlier);
void px_seen_free(struct px_seen *s);

#endif
