/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PX_TIME_H
#define PX_TIME_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Two clocks that the compiler keeps apart: deadlines are monotonic, meetings are wall time.
 * Only src/io/loop reads them, once per turn; everybody else is told.
 */
struct px_mono {
	int64_t ms; /* since some moment before the process started, > 0; 0 = "not set" */
};
struct px_wall {
	int64_t ms; /* since 1970-01-01 UTC; may jump */
};

struct px_now {
	struct px_mono mono;
	struct px_wall wall;
};

static inline struct px_mono px_after(struct px_now now, int64_t ms)
{
	return (struct px_mono){now.mono.ms + ms};
}

static inline bool px_due(struct px_mono at, struct px_now now)
{
	return at.ms != 0 && at.ms <= now.mono.ms;
}

/* The earlier of two deadlines; "not set" is never. */
static inline struct px_mono px_earlier(struct px_mono a, struct px_mono b)
{
	if (a.ms == 0 || (b.ms != 0 && b.ms < a.ms))
		return b;
	return a;
}

#endif
