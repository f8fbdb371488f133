/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef PX_UTF8_H
#define PX_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * The length of the character that the n > 0 bytes at s begin with, and in *c which it is; 0 when
 * that isn't well-formed UTF-8 (RFC 3629 §4: no overlong forms, no surrogates, nothing over
 * U+10FFFF).
 */
static inline size_t px_utf8(const char *s, size_t n, uint32_t *c)
{
	const unsigned char *u = (const unsigned char *)s;
	const size_t len = u[0] < 0x80 ? 1 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (len == 1) {
		*c = u[0];
		return 1;
	}
	if (u[0] < 0xc2 || u[0] > 0xf4 || n < len)
		return 0;
	*c = u[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (u[i] & 0x3f);
	}
	if (*c < least[len] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff))
		return 0;
	return len;
}

/* How many bytes of s are whole characters and fit into `most`: all, or as many as leave room for "…" behind them. */
static inline size_t px_utf8_cut(const char *s, size_t n, size_t most)
{
	size_t len = 0, step;
	uint32_t c;

	if (n <= most)
		return n;
	while ((step = px_utf8(s + len, n - len, &c)) > 0 && len + step + sizeof "…" - 1 <= most)
		len += step;
	return len;
}

#endif
