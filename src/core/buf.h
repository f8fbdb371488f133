/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf.h - bytes that grow up to a ceiling.
 *
 * Failure is sticky: past the ceiling or out of memory nothing more is appended and `failed` stays
 * set, so a writer appends without checking and asks once at the end.
 */
#ifndef PX_BUF_H
#define PX_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct px_buf {
	char *data; /* always followed by a NUL that len doesn't count; NULL while empty */
	size_t len, cap;
	size_t ceiling; /* len never exceeds it */
	bool failed;
};

/* An empty buffer that may hold up to `ceiling` bytes. Nothing is allocated yet. */
static inline struct px_buf px_buf_new(size_t ceiling)
{
	return (struct px_buf){.ceiling = ceiling};
}

void px_buf_free(struct px_buf *b); /* frees the bytes; the buffer is empty and usable again */

void px_buf_add(struct px_buf *b, const void *bytes, size_t n);
void px_buf_str(struct px_buf *b, const char *s);
/* Appends all of the strings given. */
#define px_buf_strs(b, ...) px_buf_list((b), __VA_ARGS__, (const char *)0)
void px_buf_list(struct px_buf *b, const char *first, ...) __attribute__((sentinel));
void px_buf_printf(struct px_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * Appends text as XML character data or attribute value: & < > " ' escaped. What XML 1.0 §2.2 does
 * not allow and what isn't UTF-8 becomes U+FFFD.
 */
void px_buf_xml(struct px_buf *b, const char *s, size_t n);

#endif
