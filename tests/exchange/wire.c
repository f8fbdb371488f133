/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "wire.h"

#include <stdlib.h>
#include <string.h>

#include "davprop.h"
#include "grammar.h"

#define FILL 16384 /* of an endless body, at a time */

/* --- the same, written otherwise --- */
static const struct {
	const char *ns, *prefix;
} others[] = {{NS_SOAP, "soapenv"},   {NS_MESSAGES, "msg"},  {NS_TYPES, "typ"},
              {NS_ERRORS, "err"},     {NS_DAV, "D"},         {NS_HTTPMAIL, "mail"},
              {NS_CALENDAR, "cal"},   {NS_EXCHANGE, "exch"}, {NS_SUBSCRIPTION, "ex"},
              {NS_DATATYPES, "types"}};
#define OTHERS (sizeof others / sizeof *others)

static const char *ns_of(const xmlNode *n)
{
	return n->ns ? (const char *)n->ns->href : "";
}

static void name(struct buf *b, const struct dress *d, const xmlNode *n)
{
	const char *prefix = NULL;

	if (d->prefix == PREFIX_OWN && n->ns)
		prefix = (const char *)n->ns->prefix;
	for (size_t i = 0; d->prefix == PREFIX_OTHER && i < OTHERS; i++)
		if (strcmp(others[i].ns, ns_of(n)) == 0)
			prefix = others[i].prefix;
	if (prefix)
		buf_fmt(b, "%s:", prefix);
	buf_str(b, (const char *)n->name);
}

static void declare(struct buf *b, const char *prefix, const char *ns)
{
	buf_fmt(b, prefix ? " xmlns:%s=\"" : " xmlns%s=\"", prefix ? prefix : "");
	buf_xml(b, ns);
	buf_str(b, "\"");
}

/* outer: the default namespace around n, "" when there is none */
static void declarations(struct buf *b, const struct dress *d, const xmlNode *n, const char *outer)
{
	bool qname = strcmp((const char *)n->name, "faultcode") == 0; /* its text has a prefix */

	for (const xmlNs *ns = n->nsDef; ns; ns = ns->next)
		if (d->prefix == PREFIX_OWN || (qname && ns->prefix))
			declare(b, (const char *)ns->prefix, (const char *)ns->href);
	if (d->prefix == PREFIX_NONE && strcmp(outer, ns_of(n)) != 0)
		declare(b, NULL, ns_of(n));
	if (d->prefix == PREFIX_OTHER && !(n->parent && n->parent->type == XML_ELEMENT_NODE))
		for (size_t i = 0; i < OTHERS; i++)
			declare(b, others[i].prefix, others[i].ns);
}

static void attributes(struct buf *b, const struct dress *d, const xmlNode *n)
{
	for (const xmlAttr *a = n->properties; a; a = a->next) {
		xmlChar *v = xmlNodeListGetString(n->doc, a->children, 1);

		if (a->ns && a->ns->prefix && d->prefix != PREFIX_OWN)
			declare(b, (const char *)a->ns->prefix, (const char *)a->ns->href);
		buf_str(b, " ");
		if (a->ns && a->ns->prefix)
			buf_fmt(b, "%s:", (const char *)a->ns->prefix);
		buf_fmt(b, "%s=\"", (const char *)a->name);
		buf_xml(b, v ? (const char *)v : "");
		buf_str(b, "\"");
		xmlFree(v);
	}
}

static void piece(struct buf *b, const struct dress *d, const char *s, size_t n)
{
	char *copy = xcalloc(1, n + 1);

	memcpy(copy, s, n);
	if (d->cdata && n && !strstr(copy, "]]>"))
		buf_fmt(b, "<![CDATA[%s]]>", copy);
	else
		buf_xml(b, copy);
	free(copy);
}

static void text(struct buf *b, const struct dress *d, const char *s)
{
	size_t n = strlen(s), half = d->comments ? n / 2 : 0;

	while (half && ((unsigned char)s[half] & 0xc0) == 0x80)
		half--; /* not in the middle of a character */
	if (half) {
		piece(b, d, s, half);
		buf_str(b, "<!--> <m:ResponseCode> -->");
	}
	piece(b, d, s + half, n - half);
}

static void element(struct buf *b, const struct dress *d, const xmlNode *n, const char *outer)
{
	buf_str(b, "<");
	name(b, d, n);
	declarations(b, d, n, outer);
	attributes(b, d, n);
	buf_str(b, ">");
	if (d->comments)
		buf_str(b, "<!-- </s:Envelope> -->");
	for (const xmlNode *c = n->children; c; c = c->next) {
		if (c->type == XML_ELEMENT_NODE)
			element(b, d, c, ns_of(n));
		else if (c->type == XML_TEXT_NODE)
			text(b, d, (const char *)c->content);
	}
	buf_str(b, "</");
	name(b, d, n);
	buf_str(b, ">");
}

bool dress_is_own(const struct dress *d)
{
	return d->prefix == PREFIX_OWN && !d->bom && !d->comments && !d->cdata;
}

void dress_envelope(const struct dress *d, const char *xml, size_t len, struct buf *out)
{
	struct violation v;
	xmlDoc *doc;

	if (dress_is_own(d)) {
		buf_add(out, xml, len);
		return;
	}
	doc = grammar_parse(xml, len, &v);
	if (!doc)
		abort(); /* our own answers are XML */
	if (d->bom)
		buf_str(out, "\xef\xbb\xbf");
	if (len > 5 && memcmp(xml, "<?xml", 5) == 0)
		buf_str(out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>");
	if (d->comments)
		buf_str(out, "<!-- before -->");
	element(out, d, xmlDocGetRootElement(doc), "");
	xmlFreeDoc(doc);
}

/* --- bytes and time --- */
static const char *const roots[] = {"Envelope>", "multistatus>"};

/* The length of the first whole document from `at` on; 0: none is whole. */
static size_t whole(const struct buf *b, size_t at)
{
	for (size_t i = 0; i < sizeof roots / sizeof *roots && b->len > at; i++) {
		const char *end = memmem(b->p + at, b->len - at, roots[i], strlen(roots[i]));

		if (end)
			return (size_t)(end - b->p) + strlen(roots[i]) - at;
	}
	return 0;
}

/* Its head, up to the inside of Body or of multistatus; the rest never comes. */
static void begin_endless(struct wire *w, struct buf *from)
{
	const char *soap = from->len ? memmem(from->p, from->len, "Body", 4) : NULL;
	const char *dav = from->len ? memmem(from->p, from->len, "multistatus", 11) : NULL;
	const char *body = soap ? soap : dav;
	const char *end = body ? strchr(body, '>') : NULL;

	if (!end)
		return;
	buf_add(&w->out, from->p, (size_t)(end - from->p) + 1);
	w->endless = true;
}

static void take(struct wire *w, struct buf *from)
{
	static const char filler[] = "<filler xmlns=\"\">and so on</filler>";
	size_t at = 0, n;

	if (w->spoil.how == BREAK_ENDLESS) {
		if (!w->endless)
			begin_endless(w, from);
		while (w->endless && w->out.len < FILL)
			buf_add(&w->out, filler, sizeof filler - 1);
		return;
	}
	for (; (n = whole(from, at)); at += n)
		dress_envelope(&w->spoil.dress, from->p + at, n, &w->out);
	buf_drop(from, at);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

ssize_t wire_next(struct wire *w, struct buf *from, bool over, int64_t now_ms, char *out,
                  size_t max)
{
	const struct spoil *s = &w->spoil;
	bool had = w->out.len > 0;
	size_t n;

	take(w, from);
	if (!had)
		w->first_ms = now_ms;
	if (s->how == BREAK_CUT && w->sent >= s->bytes)
		return WIRE_CUT;
	if (!w->out.len) {
		w->due_ms = INT64_MAX;
		return over ? WIRE_END : 0;
	}
	if (s->how == BREAK_TRICKLE && w->sent && now_ms < w->due_ms)
		return 0;
	if (s->joined && !over && now_ms - w->first_ms < WIRE_JOIN_MS) {
		w->due_ms = w->first_ms + WIRE_JOIN_MS;
		return 0;
	}
	n = least(max,
	          s->joined || w->endless || !whole(&w->out, 0) ? w->out.len : whole(&w->out, 0));
	if (s->chunk)
		n = least(n, s->chunk);
	if (s->how == BREAK_CUT)
		n = least(n, s->bytes - w->sent);
	if (s->how == BREAK_TRICKLE) {
		n = least(n, s->bytes);
		w->due_ms = now_ms + WIRE_TRICKLE_MS;
	}
	memcpy(out, w->out.p, n);
	buf_drop(&w->out, n);
	w->sent += n;
	return (ssize_t)n;
}

void wire_free(struct wire *w)
{
	buf_free(&w->out);
}
