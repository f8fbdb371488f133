/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The one place where a process has its state in a static: so that anybody in io may speak. */
static struct {
	int fd;
	enum px_log_level threshold;
	uint64_t lost, told;
} out = {.fd = STDERR_FILENO, .threshold = PX_LOG_NOTICE};

void px_log_open(int fd, enum px_log_level threshold)
{
	out.fd = fd;
	out.threshold = threshold;
	out.lost = out.told = 0;
}

const char *px_log_level_name(enum px_log_level level)
{
	static const char *const name[] = {"error", "warn", "notice", "info", "debug"};

	return name[level];
}

uint64_t px_log_lost(void)
{
	return out.lost;
}

/* False: it would have had to wait, or nobody reads. */
static bool put(enum px_log_level level, const char *text)
{
	char line[PX_LOG_LINE];
	size_t n = (size_t)snprintf(line, sizeof line, "%s %s", px_log_level_name(level), text);
	struct pollfd writable = {.fd = out.fd, .events = POLLOUT};

	if (n > sizeof line - 1)
		n = sizeof line - 1;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n';
	/* asked first instead of O_NONBLOCK, which would be set for everybody who shares the open
	 * file */
	if (poll(&writable, 1, 0) != 1 || !(writable.revents & POLLOUT))
		return false;
	return write(out.fd, line, n) == (ssize_t)n;
}

void px_log_line(enum px_log_level level, const char *text)
{
	if (level > out.threshold)
		return;
	if (out.lost != out.told) {
		char lost[64];

		snprintf(lost, sizeof lost, "log lost=%llu lines",
		         (unsigned long long)(out.lost - out.told));
		if (put(PX_LOG_WARN, lost))
			out.told = out.lost;
	}
	if (!put(level, text))
		out.lost++;
}

void px_log(enum px_log_level level, const char *fmt, ...)
{
	char text[PX_LOG_LINE];
	va_list ap;

	if (level > out.threshold)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	px_log_line(level, text);
}
