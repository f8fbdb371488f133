/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/head.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct px_head px_head(const char *const *wanted)
{
	return (struct px_head){.wanted = wanted, .lines = px_buf_new(PX_HEAD_KEPT)};
}

void px_head_free(struct px_head *h)
{
	free(h->cookie);
	px_buf_free(&h->lines);
	*h = px_head(h->wanted);
}

/* The value's length if the line has that name, without blanks around. False: it has another. */
static bool is(const char *line, size_t n, const char *name, const char **value, size_t *len)
{
	const size_t k = strlen(name);

	if (n <= k || line[k] != ':' || strncasecmp(line, name, k) != 0)
		return false;
	for (line += k + 1, n -= k + 1; n > 0 && (*line == ' ' || *line == '\t'); n--)
		line++;
	while (n > 0 && strchr(" \t\r\n", line[n - 1]))
		n--;
	*value = line;
	*len = n;
	return true;
}

/* RFC 9110 §6.6.1 */
static void take_date(struct px_head *h, const char *value, size_t n)
{
	char text[64];
	time_t t;

	if (n >= sizeof text)
		return;
	memcpy(text, value, n);
	text[n] = '\0';
	t = curl_getdate(text, NULL);
	if (t > 0)
		h->date = (struct px_wall){(int64_t)t * 1000};
}

/* Exchange's cookies that lead back to the server where a subscription lives (2013 and later; 2010). */
static bool leads_back(const char *name, size_t n)
{
	static const char *const names[] = {"X-BackEndOverrideCookie", "exchangecookie"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strlen(names[i]) == n && strncasecmp(names[i], name, n) == 0)
			return true;
	return false;
}

/* Keeps "name=value" of a Set-Cookie that leads back. One that is too long or odd isn't kept. */
static void take_cookie(struct px_head *h, const char *value, size_t n)
{
	const char *equals = memchr(value, '=', n);
	const size_t had = h->cookie ? strlen(h->cookie) : 0;
	size_t len = 0;
	char *more;

	while (len < n && value[len] > ' ' && value[len] <= '~' && value[len] != ';')
		len++;
	if (!equals || equals >= value + len || !leads_back(value, (size_t)(equals - value)) ||
	    had + len + sizeof "; " > PX_COOKIE_MAX)
		return;
	more = realloc(h->cookie, had + len + sizeof "; ");
	if (!more)
		return;
	h->cookie = more;
	sprintf(more + had, "%s%.*s", had ? "; " : "", (int)len, value);
}

static void keep(struct px_head *h, const char *line, size_t n)
{
	const char *value;
	size_t len;

	for (const char *const *name = h->wanted; name && *name; name++)
		if (is(line, n, *name, &value, &len)) {
			px_buf_add(&h->lines, line, (size_t)(value + len - line));
			px_buf_str(&h->lines, "\n");
		}
}

bool px_head_line(struct px_head *h, const char *line, size_t n)
{
	const char *value;
	size_t len;

	h->bytes += n;
	if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {
		const size_t bytes = h->bytes;

		px_head_free(h);
		h->bytes = bytes;
	}
	h->whole = n > 0 && (line[0] == '\r' || line[0] == '\n');
	if (is(line, n, "Date", &value, &len))
		take_date(h, value, len);
	else if (is(line, n, "Set-Cookie", &value, &len))
		take_cookie(h, value, len);
	keep(h, line, n);
	return h->bytes <= PX_HEAD_MAX;
}
