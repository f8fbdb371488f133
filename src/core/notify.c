/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/notify.h"

#include <string.h>
#include <strings.h>

/* The next line without its end; what is behind it is left. False: there is no whole line. */
static bool next_line(const char **bytes, size_t *n, const char **line, size_t *len)
{
	const char *end = memchr(*bytes, '\n', *n);

	if (!end)
		return false;
	*line = *bytes;
	*len = (size_t)(end - *bytes);
	*n -= *len + 1;
	*bytes = end + 1;
	if (*len > 0 && (*line)[*len - 1] == '\r')
		--*len;
	return true;
}

static bool request_line(const char *s, size_t n, struct px_notify *out)
{
	static const char method[] = "NOTIFY ", version[] = " HTTP/1.", scheme[] = "httpu://";
	const size_t m = sizeof method - 1, v = sizeof version - 1, h = sizeof scheme - 1;
	const char *path;

	if (n < m + 1 + v + 1 || memcmp(s, method, m) != 0 ||
	    memcmp(s + n - v - 1, version, v) != 0)
		return false;
	s += m;
	n -= m + v + 1;
	if (n > h && strncasecmp(s, scheme, h) == 0) {
		path = memchr(s + h, '/', n - h);
		if (!path)
			return false;
	} else if (n > 0 && s[0] == '/') {
		path = s;
	} else {
		return false;
	}
	out->path = path;
	out->path_len = n - (size_t)(path - s);
	return !memchr(path, ' ', out->path_len);
}

bool px_notify_parse(const char *bytes, size_t n, struct px_notify *out)
{
	static const char name[] = "Subscription-id:";
	const size_t name_len = sizeof name - 1;
	const char *line;
	size_t len;

	*out = (struct px_notify){0};
	if (n > PX_NOTIFY_MAX || !next_line(&bytes, &n, &line, &len) ||
	    !request_line(line, len, out))
		return false;
	while (next_line(&bytes, &n, &line, &len) && len > 0) {
		if (len < name_len || strncasecmp(line, name, name_len) != 0)
			continue;
		line += name_len;
		len -= name_len;
		for (; len > 0 && (*line == ' ' || *line == '\t'); len--)
			line++;
		while (len > 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'))
			len--;
		out->ids = line;
		out->ids_len = len;
	}
	return true;
}

bool px_notify_is_for(const struct px_notify *n, const char *token)
{
	const size_t len = strlen(token);
	unsigned char differ = 0;

	if (n->path_len < len + 1 || (n->path_len > len + 1 && n->path[len + 1] != '/'))
		return false;
	for (size_t i = 0; i < len; i++)
		differ |= (unsigned char)(n->path[i + 1] ^ token[i]);
	return differ == 0;
}

uint32_t px_notify_who(const struct px_notify *n)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t who = 0;

	if (n->path_len < 9 || n->path[n->path_len - 9] != '/')
		return 0;
	for (size_t i = n->path_len - 8; i < n->path_len; i++) {
		const char *digit = n->path[i] ? strchr(digits, n->path[i]) : NULL;

		if (!digit)
			return 0;
		who = who << 4 | (uint32_t)(digit - digits);
	}
	return who;
}
