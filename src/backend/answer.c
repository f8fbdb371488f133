/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "backend/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/utf8.h"

static int by_code(const void *code, const void *row)
{
	return strcmp(code, ((const struct px_meaning *)row)->code);
}

const struct px_meaning *px_meaning_of(const struct px_meaning *table, size_t n, const char *code)
{
	return bsearch(code, table, n, sizeof *table, by_code);
}

const char *px_http_fail_code(enum px_http_fail fail)
{
	static const char *const code[] = {
	    [PX_HTTP_ANSWERED] = "answered", [PX_HTTP_RESOLVE] = "resolve",
	    [PX_HTTP_CONNECT] = "connect",   [PX_HTTP_TLS] = "tls",
	    [PX_HTTP_TIMEOUT] = "timeout",   [PX_HTTP_CUT] = "cut",
	    [PX_HTTP_TOO_BIG] = "too big",   [PX_HTTP_LOCAL] = "local"};

	return code[fail];
}

void px_conclude(struct px_reply *out, const struct px_meaning *row, const char *code,
                 const char *more)
{
	const char *hint = row && row->hint ? row->hint : "";
	char text[2 * PX_DETAIL_MAX];

	out->verdict = row ? row->verdict : PX_V_TRANSIENT;
	px_answer_code(out->code, sizeof out->code, code, strlen(code));
	if (!more)
		more = "";
	snprintf(text, sizeof text, "%s%s%s", hint, *hint && *more ? ": " : "", more);
	px_answer_text(out->detail, sizeof out->detail, text, strlen(text));
}

void px_answer_code(char *out, size_t size, const char *s, size_t n)
{
	static const char fine[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _.-";
	size_t len = 0;

	for (size_t i = 0; i < n && len + 1 < size; i++)
		if (s[i] && strchr(fine, s[i]))
			out[len++] = s[i];
	out[len] = '\0';
}

/* Not white space, controls, and what reorders or hides the text around it (Unicode Cf as far as it
 * concerns a line of log). */
static bool shown(uint32_t c)
{
	return c > 0x20 && !(c >= 0x7f && c < 0xa0) && c != 0xad && c != 0x61c &&
	       !(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) &&
	       !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff && !(c >= 0xfff0 && c <= 0xfffb) &&
	       c < 0xe0000;
}

void px_answer_text(char *out, size_t size, const char *s, size_t n)
{
	size_t len = 0;

	for (size_t i = 0, step; i < n; i += step) {
		uint32_t c = 0;

		step = px_utf8(s + i, n - i, &c);
		if (step && shown(c)) {
			if (len + step >= size)
				break;
			memcpy(out + len, s + i, step);
			len += step;
		} else if (len > 0 && out[len - 1] != ' ' && len + 1 < size)
			out[len++] = ' ';
		step += !step;
	}
	while (len > 0 && out[len - 1] == ' ')
		len--;
	out[len] = '\0';
}
