/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * buf.h - a growing run of bytes, and the few encodings that answers are made of.
 *
 * Memory that can't be had ends the program: the simulator is a test instrument, and a half
 * written answer would be blamed on the program under test.
 */
#ifndef EXCHANGE_BUF_H
#define EXCHANGE_BUF_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed is empty. p is NUL-terminated once anything was added; len doesn't count the NUL. */
struct buf {
	char *p;
	size_t len, cap;
};

void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);

void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* s as XML character data or a double-quoted attribute's value; what XML 1.0 forbids becomes '?' */
void buf_xml(struct buf *b, const char *s);
void buf_base64(struct buf *b, const void *p, size_t n);
/* removes the first n bytes, n <= len */
void buf_drop(struct buf *b, size_t n);
void buf_free(struct buf *b); /* and empties it */

/* Decodes n characters into out (at least n / 4 * 3 bytes); the length, or -1: not base64. */
long base64_decode(void *out, const char *s, size_t n);

#endif
