/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/said.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

const char *px_unit(const struct px_complaints *c)
{
	return c->unit && !c->where ? c->unit : "line";
}

void px_complain(struct px_complaints *c, unsigned line, const char *name, const char *fmt, ...)
{
	char where[160] = "", what[900], text[sizeof where + sizeof what];
	va_list ap;

	if (++c->n > PX_SETTINGS_SAID_MAX || !c->said)
		return;
	if (line)
		snprintf(where, sizeof where, "%.40s%s%s %u: %.60s%s", c->where ? c->where : "",
		         c->where ? " " : "", px_unit(c), line, name ? name : "", name ? ": " : "");
	else if (name)
		snprintf(where, sizeof where, "%.60s: ", name);
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	snprintf(text, sizeof text, "%s%s", where, what);
	c->said(c->arg, text);
}

void px_complaints_end(struct px_complaints *c)
{
	char text[64];

	if (c->n <= PX_SETTINGS_SAID_MAX || !c->said)
		return;
	snprintf(text, sizeof text, "and %u more", c->n - PX_SETTINGS_SAID_MAX);
	c->said(c->arg, text);
}

const char *px_shown(const char *s, size_t n, char out[PX_SHOWN_MAX])
{
	size_t len = 0, i = 0;

	while (i < n && len < PX_SHOWN_MAX - 8) {
		uint32_t c;
		const size_t step = px_utf8(s + i, n - i, &c);

		if (step == 0 || c < ' ' || (c >= 0x7f && c < 0xa0)) {
			out[len++] = '?';
			i += step ? step : 1;
			continue;
		}
		memcpy(out + len, s + i, step);
		len += step;
		i += step;
	}
	strcpy(out + len, i < n ? "..." : "");
	return out;
}
