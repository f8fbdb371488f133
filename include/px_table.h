/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * px_table.h - users that the module read from the proxy's database, for the worker: text as in a
 * users_file, in a memfd that both have. It is written anew at each reload, by any process of the
 * proxy, while a worker may be reading or just starting: so there are two texts, and the one that
 * isn't current is written. It outlives every worker.
 */
#ifndef PX_TABLE_H
#define PX_TABLE_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define PX_TABLE_MAX (256ull << 20) /* bytes of a text */
#define PX_TABLE_FIRST 4096ull      /* where texts begin */
#define PX_TABLE_TRIES 10

struct px_table_head {
	uint64_t
	    turn; /* texts written so far: its lowest bit picks the current one; 0: there is none */
	struct {
		uint64_t at, len;
	} text[2];
};

/* The descriptor of an empty one, the caller's to close, or a negative errno. */
static inline int px_table_make(void)
{
	const struct px_table_head head = {0};
	const int fd = memfd_create("pua_exchange users", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (pwrite(fd, &head, sizeof head, 0) == (ssize_t)sizeof head)
		return fd;
	close(fd);
	return -EIO;
}

static inline bool px_table_whole(int fd, void *to, size_t n, uint64_t at, bool write)
{
	char *p = to;

	while (n > 0) {
		const ssize_t done =
		    write ? pwrite(fd, p, n, (off_t)at) : pread(fd, p, n, (off_t)at);

		if (done <= 0 && !(done < 0 && errno == EINTR))
			return false;
		if (done > 0) {
			p += done;
			n -= (size_t)done;
			at += (uint64_t)done;
		}
	}
	return true;
}

/* Whether the current text is where it can be: in the file, behind the head. */
static inline bool px_table_has(int fd, const struct px_table_head *h)
{
	const uint64_t at = h->text[h->turn & 1].at, len = h->text[h->turn & 1].len;
	struct stat st;

	return h->turn > 0 && fstat(fd, &st) == 0 && at >= PX_TABLE_FIRST &&
	       at <= (uint64_t)st.st_size && len <= (uint64_t)st.st_size - at;
}

/* Makes n bytes the current text. 0; -EBUSY: another process is writing; or another negative errno. */
static inline int px_table_put(int fd, const char *text, size_t n)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct px_table_head h;
	unsigned now, next;
	int err = -EIO;

	if (n > PX_TABLE_MAX)
		return -EFBIG;
	if (fcntl(fd, F_SETLK, &lock) < 0)
		return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	if (px_table_whole(fd, &h, sizeof h, 0, false)) {
		now = h.turn & 1;
		next = !now;
		/* before the current one if there is room, else behind it */
		h.text[next].len = n;
		h.text[next].at = !px_table_has(fd, &h) || PX_TABLE_FIRST + n <= h.text[now].at
		                      ? PX_TABLE_FIRST
		                      : h.text[now].at + h.text[now].len;
		if (px_table_whole(fd, (void *)(uintptr_t)text, n, h.text[next].at, true) &&
		    px_table_whole(fd, h.text, sizeof h.text, offsetof(struct px_table_head, text),
		                   true)) {
			h.turn++;
			err = px_table_whole(fd, &h.turn, sizeof h.turn, 0, true) ? 0 : -EIO;
		}
	}
	lock.l_type = F_UNLCK;
	fcntl(fd, F_SETLK, &lock);
	return err;
}

/* The current text, NUL-terminated, the caller's to free, and its length. 1: there is none; or a negative errno. */
static inline int px_table_get(int fd, char **out, size_t *n)
{
	for (int i = 0; i < PX_TABLE_TRIES; i++) {
		struct px_table_head h, again;
		unsigned now;
		char *text;

		if (!px_table_whole(fd, &h, sizeof h, 0, false))
			return -EIO;
		now = h.turn & 1;
		if (h.turn == 0)
			return 1;
		if (h.text[now].len > PX_TABLE_MAX)
			return -EIO;
		/* no memory for what can't be there */
		if (!px_table_has(fd, &h))
			continue;
		text = malloc(h.text[now].len + 1);
		if (!text)
			return -ENOMEM;
		text[h.text[now].len] = '\0';
		if (px_table_whole(fd, text, h.text[now].len, h.text[now].at, false) &&
		    px_table_whole(fd, &again, sizeof again, 0, false) && again.turn == h.turn) {
			*out = text;
			*n = h.text[now].len;
			return 0;
		}
		free(text);
	}
	return -EAGAIN;
}

#endif
