/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/host.h"

#include <arpa/inet.h>
#include <string.h>

static bool address(int family, const char *s, size_t n)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr parsed; /* room for either */

	if (n >= sizeof text || memchr(s, '\0', n))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	return inet_pton(family, text, &parsed) == 1;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool of_label(char c)
{
	return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

size_t px_host(const char *s, size_t n)
{
	size_t len = 0;
	bool number = false; /* the last label is one: then it is no name */

	if (n > 0 && s[0] == '[') {
		const char *end = memchr(s, ']', n);

		return end && address(AF_INET6, s + 1, (size_t)(end - s) - 1)
		           ? (size_t)(end - s) + 1
		           : 0;
	}
	for (; len < n && (of_label(s[len]) || s[len] == '.'); len++) {
		if (s[len] == '.' && (len == 0 || s[len - 1] == '.'))
			return 0;
		if (len == 0 || s[len - 1] == '.')
			number = true;
		number = number && (digit(s[len]) || s[len] == '.');
	}
	return number && !address(AF_INET, s, len) ? 0 : len;
}

bool px_host_is_address(const char *s, size_t n)
{
	return n > 0 && (s[0] == '[' || address(AF_INET, s, n));
}

size_t px_port(const char *s, size_t n, uint16_t *port)
{
	unsigned long v = 0;
	size_t len = 1;

	if (n == 0 || s[0] != ':')
		return 0;
	for (; len < n && digit(s[len]) && v <= UINT16_MAX; len++)
		v = v * 10 + (unsigned long)(s[len] - '0');
	if (v == 0 || v > UINT16_MAX)
		return 0;
	*port = (uint16_t)v;
	return len;
}
