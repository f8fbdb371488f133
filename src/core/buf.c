/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/buf.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

void px_buf_free(struct px_buf *b)
{
	free(b->data);
	*b = px_buf_new(b->ceiling);
}

/* Room for n more bytes and the NUL. All or nothing: what doesn't fit as a whole sets `failed`. */
static bool grow(struct px_buf *b, size_t n)
{
	size_t cap = b->cap ? b->cap : 256;
	char *data;

	if (b->failed || n > b->ceiling - b->len || n > PTRDIFF_MAX / 4) {
		b->failed = true;
		return false;
	}
	if (b->len + n < b->cap)
		return true;
	while (cap <= b->len + n)
		cap = cap > b->ceiling / 2 ? b->ceiling + 1 : cap * 2;
	data = realloc(b->data, cap);
	if (!data) {
		b->failed = true;
		return false;
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void px_buf_add(struct px_buf *b, const void *bytes, size_t n)
{
	if (n == 0 || !grow(b, n))
		return;
	memcpy(b->data + b->len, bytes, n);
	b->len += n;
	b->data[b->len] = '\0';
}

void px_buf_str(struct px_buf *b, const char *s)
{
	px_buf_add(b, s, strlen(s));
}

void px_buf_list(struct px_buf *b, const char *first, ...)
{
	va_list ap;

	va_start(ap, first);
	for (const char *s = first; s; s = va_arg(ap, const char *))
		px_buf_add(b, s, strlen(s));
	va_end(ap);
}

void px_buf_printf(struct px_buf *b, const char *fmt, ...)
{
	/* mostly there is room, and then once is enough */
	size_t room = b->cap > b->len && !b->failed ? b->cap - b->len : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(room ? b->data + b->len : NULL, room, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= room || (size_t)n > b->ceiling - b->len) {
		if (room)
			b->data[b->len] = '\0';
		if (n == 0)
			return;
		if (n < 0 || !grow(b, (size_t)n)) {
			b->failed = true;
			return;
		}
		va_start(ap, fmt);
		vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
		va_end(ap);
	}
	b->len += (size_t)n;
}

/* The length of the character at s, if XML 1.0 §2.2 allows it; else 0. */
static size_t xml_char(const char *s, size_t n)
{
	uint32_t c = 0;
	const size_t len = px_utf8(s, n, &c);

	if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0xfffe || c == 0xffff)
		return 0;
	return len;
}

/* NULL: stands for itself. Tab and line ends are written so that no parser normalises them (§2.11,
 * §3.3.3). */
static const char *xml_escape(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	case '\t':
		return "&#9;";
	case '\n':
		return "&#10;";
	case '\r':
		return "&#13;";
	default:
		return NULL;
	}
}

void px_buf_xml(struct px_buf *b, const char *s, size_t n)
{
	size_t plain = 0; /* bytes before i that stand for themselves and aren't written yet */

	for (size_t i = 0; i < n;) {
		const size_t len = xml_char(s + i, n - i);
		const char *instead = len ? xml_escape(s[i]) : "\xef\xbf\xbd";

		if (!instead) {
			plain += len;
			i += len;
			continue;
		}
		px_buf_add(b, s + i - plain, plain);
		px_buf_str(b, instead);
		plain = 0;
		i += len ? len : 1;
	}
	px_buf_add(b, s + n - plain, plain);
}
