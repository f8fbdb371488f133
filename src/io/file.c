/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "px_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buf.h"

static int refuse(int err, char why[PX_WHY_MAX], const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(int err, char why[PX_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, PX_WHY_MAX, fmt, ap);
	va_end(ap);
	return err;
}

/* All of fd, whose size is about to be that of st. */
static int take(int fd, const struct stat *st, size_t ceiling, struct px_buf *out, char *why)
{
	/* one more than there should be, so that growth is seen, and one for the NUL */
	const size_t cap =
	    (st->st_size > 0 && (size_t)st->st_size < ceiling ? (size_t)st->st_size : ceiling) + 2;
	ssize_t got;

	*out = px_buf_new(ceiling);
	out->data = malloc(cap);
	if (!out->data)
		return refuse(-ENOMEM, why, "%s", strerror(ENOMEM));
	out->cap = cap;
	do {
		got = pread(fd, out->data + out->len, cap - 1 - out->len, (off_t)out->len);
		if (got > 0)
			out->len += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EINTR));
	if (got < 0)
		return refuse(-errno, why, "%s", strerror(errno));
	if (out->len == cap - 1)
		return out->len > ceiling
		           ? refuse(-EFBIG, why, "is larger than %zu bytes", ceiling)
		           : refuse(-EAGAIN, why, "changes while it is read; try again");
	out->data[out->len] = '\0';
	if (out->len == 0)
		px_buf_free(out);
	return 0;
}

int px_file_read_fd(int fd, size_t ceiling, bool secret, struct px_buf *out, char why[PX_WHY_MAX])
{
	struct stat st;
	int err;

	*out = px_buf_new(ceiling);
	if (fstat(fd, &st) < 0)
		err = refuse(-errno, why, "%s", strerror(errno));
	else if (S_ISDIR(st.st_mode))
		err = refuse(-EISDIR, why, "is a directory");
	else if (!S_ISREG(st.st_mode))
		err = refuse(-EINVAL, why, "is not a regular file");
	else if (secret && (st.st_mode & 07))
		err = refuse(-EPERM, why, "others may access it (mode %04o); chmod o= it",
		             (unsigned)st.st_mode & 07777);
	else if (st.st_size > 0 && (uintmax_t)st.st_size > ceiling)
		err = refuse(-EFBIG, why, "is larger than %zu bytes", ceiling);
	else
		err = take(fd, &st, ceiling, out, why);
	if (err) {
		if (secret && out->data)
			explicit_bzero(out->data, out->cap);
		px_buf_free(out);
	}
	return err;
}

int px_file_read(const char *path, size_t ceiling, bool secret, struct px_buf *out,
                 char why[PX_WHY_MAX])
{
	/* a FIFO must not hold us, so it isn't waited for, and refused then */
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int err;

	*out = px_buf_new(ceiling);
	if (fd < 0)
		return refuse(-errno, why, "%s", strerror(errno));
	err = px_file_read_fd(fd, ceiling, secret, out, why);
	close(fd);
	return err;
}
