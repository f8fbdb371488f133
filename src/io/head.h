/* SPDX-License-Identifier: GPL-2.0-or-later */
/* head.h - what is kept of the header lines of an HTTP answer. Pure. */
#ifndef PX_HEAD_H
#define PX_HEAD_H

#include "core/backend.h"

#define PX_HEAD_MAX 65536 /* bytes of all lines of one request's answers */
#define PX_HEAD_KEPT 4096 /* of those that are kept */

struct px_head {
	const char *const
	    *wanted;  /* names of lines that are kept, ended by NULL; NULL: none; borrowed */
	size_t bytes; /* of all that came */
	bool whole;   /* the empty line came */
	/* of the last answer, for others may have come before it: to a login that takes several messages, or with 1xx */
	char *
	    cookie; /* leads back to the server that answered: "name=value[; ...]"; NULL: none; owned */
	struct px_buf lines; /* those that were wanted, each ended by "\n" */
	struct px_wall date; /* the server's clock; 0: not told */
};

struct px_head px_head(const char *const *wanted); /* nothing came yet */
void px_head_free(struct px_head *h);              /* as px_head() made it */

/* One line as it came, with its end, or the empty one. False: it is more than PX_HEAD_MAX. */
bool px_head_line(struct px_head *h, const char *line, size_t n);

#endif
