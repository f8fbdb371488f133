/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * log.h - lines on stderr: "<level> <text>", level one of error, warn, notice, info, debug.
 *
 * The level comes first so that a supervisor can hand the line on at the right level; the time is
 * left to whoever collects (journal, the proxy's log). One line is one write(2) of at most
 * PX_LOG_LINE bytes, which a pipe never mixes with another's. A pipe that is full costs the line,
 * never time: lost lines are counted, and the count is said before the next line that fits.
 */
#ifndef PX_LOG_H
#define PX_LOG_H

#include <stdint.h>

#include "core/engine.h"

#define PX_LOG_LINE 4096 /* bytes with the newline; PIPE_BUF of Linux */

/* From here on lines go to fd (borrowed; its flags are left alone: it may be shared with a shell).
 */
void px_log_open(int fd, enum px_log_level threshold);

/* Says text at that level, or nothing if it is below the threshold. Control characters become '?';
 * a longer text is cut. */
void px_log_line(enum px_log_level level, const char *text);
void px_log(enum px_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

uint64_t px_log_lost(void); /* lines that didn't fit, since px_log_open */

const char *
px_log_level_name(enum px_log_level level); /* "error", "warn", "notice", "info", "debug" */

#endif
