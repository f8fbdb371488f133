/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libxml/parser.h>
#include <libxml/parserInternals.h>

#include "backend/xml.h"
#include "core/buf.h"

/* libxml2 copies what it is given: so a chunk of many small documents isn't copied once for each, and a
 * long document goes faster. */
#define PART 4096
#define PART_LONG 16384

struct px_xml {
	const struct px_xml_limits *limits;
	const struct px_xml_calls *calls;
	void *arg;
	xmlParserCtxt *ctxt; /* NULL between documents */
	struct px_buf text;  /* of the element that is open */
	bool leaf;           /* it has no child so far */
	bool cut;            /* long texts */
	bool ended;          /* the root was closed, at ended_at */
	unsigned depth;
	unsigned bom; /* bytes of a byte order mark that were skipped */
	size_t elements;
	size_t fed, ended_at; /* bytes of this document */
	int err;
	char why[120];
};

/*
 * Only notes it: libxml2 may be in the middle of its buffer, which xmlStopParser would free.
 * Callbacks ignore what comes after it, and within() ends the document a part of PART_LONG bytes later
 * at most.
 */
static void __attribute__((format(printf, 3, 4)))
refuse(struct px_xml *x, int err, const char *fmt, ...)
{
	va_list ap;

	if (x->err)
		return;
	x->err = err;
	va_start(ap, fmt);
	vsnprintf(x->why, sizeof x->why, fmt, ap);
	va_end(ap);
}

static const char *str(const xmlChar *s)
{
	return s ? (const char *)s : "";
}

static void on_open(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *ns,
                    int spaces, const xmlChar **space, int attrs, int defaulted,
                    const xmlChar **attr)
{
	struct px_xml *x = arg;
	struct px_xml_attr a[PX_XML_ATTRS];

	(void)space;
	(void)defaulted;
	if (x->err || x->ended)
		return;
	/* libxml2 converts what isn't UTF-8, and its count of bytes is no longer ours */
	if (x->ctxt->input->buf->encoder)
		refuse(x, -EBADMSG, "encoding %.40s: only UTF-8 is read",
		       x->ctxt->input->encoding ? str(x->ctxt->input->encoding)
		                                : "UTF-16 or UTF-32");
	else if (prefix && !ns)
		refuse(x, -EBADMSG, "undeclared prefix %.40s", str(prefix));
	/* libxml2 keeps every name that it meets until the document ends */
	else if (xmlDictSize(x->ctxt->dict) > PX_XML_NAMES ||
	         xmlDictGetUsage(x->ctxt->dict) > PX_XML_NAME_BYTES)
		refuse(x, -E2BIG, "more than %d different names", PX_XML_NAMES);
	else if (++x->depth > x->limits->depth)
		refuse(x, -E2BIG, "more than %u elements deep", x->limits->depth);
	else if (++x->elements > x->limits->elements)
		refuse(x, -E2BIG, "more than %zu elements", x->limits->elements);
	else if (spaces + attrs > PX_XML_ATTRS)
		refuse(x, -E2BIG, "more than %d attributes", PX_XML_ATTRS);
	if (x->err)
		return;
	for (int i = 0; i < attrs; i++, attr += 5) /* name, prefix, namespace, value, its end */
		a[i] = (struct px_xml_attr){.ns = str(attr[2]),
		                            .name = str(attr[0]),
		                            .value = str(attr[3]),
		                            .n = (size_t)(attr[4] - attr[3])};
	x->leaf = true;
	x->text.len = 0;
	x->calls->open(x->arg, str(ns), str(name), a, (size_t)attrs);
}

static void on_text(void *arg, const xmlChar *s, int n)
{
	struct px_xml *x = arg;

	if (x->err || x->ended || !x->leaf)
		return;
	if (x->cut && x->text.len + (size_t)n > x->limits->text)
		n = (int)(x->limits->text - x->text.len);
	if (x->text.len + (size_t)n > x->limits->text) {
		refuse(x, -E2BIG, "more than %zu bytes of text in one element", x->limits->text);
		return;
	}
	px_buf_add(&x->text, s, (size_t)n);
	if (x->text.failed)
		refuse(x, -ENOMEM, "out of memory");
}

static void on_close(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *ns)
{
	struct px_xml *x = arg;
	bool text;

	(void)name;
	(void)prefix;
	(void)ns;
	if (x->err || x->ended)
		return;
	text = x->leaf && x->text.len > 0;
	x->leaf = false;
	x->calls->close(x->arg, text ? x->text.data : "", text ? x->text.len : 0);
	if (--x->depth == 0) {
		x->ended = true;
		x->ended_at = (size_t)xmlByteConsumed(x->ctxt);
		xmlStopParser(x->ctxt);
	}
}

/* Stopped here, before an internal subset is read: libxml2 looks whether it was
 * (xmlParseDocTypeDecl). */
static void on_doctype(void *arg, const xmlChar *name, const xmlChar *public_id,
                       const xmlChar *system_id)
{
	struct px_xml *x = arg;

	(void)public_id;
	(void)system_id;
	refuse(x, -EBADMSG, "DOCTYPE %.40s: none is accepted", str(name));
	xmlStopParser(x->ctxt);
}

/* Everything libxml2 calls an error is one, namespaces included; warnings aren't. */
static void on_error(void *arg, xmlErrorPtr e)
{
	struct px_xml *x = arg;
	const char *message;

	if (x->err || x->ended || e->level < XML_ERR_ERROR || e->code == XML_ERR_USER_STOP)
		return;
	message = e->message ? e->message : "not well-formed";
	if (e->code == XML_ERR_NO_MEMORY)
		refuse(x, -ENOMEM, "out of memory");
	else
		refuse(x, -EBADMSG, "%.*s", (int)strcspn(message, "\n"), message);
}

/* Errors without a parser, such as an unknown encoding's, would go to stderr. */
static void silence(void *arg, xmlErrorPtr e)
{
	(void)arg;
	(void)e;
}

static xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC,
                            .startElementNs = on_open,
                            .endElementNs = on_close,
                            .characters = on_text,
                            .ignorableWhitespace = on_text,
                            .cdataBlock = on_text,
                            .internalSubset = on_doctype,
                            .serror = on_error};

static void begin(struct px_xml *x)
{
	xmlSetStructuredErrorFunc(NULL, silence);
	x->ctxt = xmlCreatePushParserCtxt(&sax, x, NULL, 0, NULL);
	if (!x->ctxt) {
		refuse(x, -ENOMEM, "out of memory");
		return;
	}
	xmlCtxtUseOptions(x->ctxt, XML_PARSE_NONET);
	x->fed = x->elements = 0;
	x->depth = 0;
	x->ended = x->leaf = false;
}

static void release(struct px_xml *x)
{
	xmlFreeParserCtxt(x->ctxt); /* there is no tree that it could have built */
	x->ctxt = NULL;
	px_buf_free(&x->text);
}

/* Skips what may stand between documents, up to the next `<`. Returns how many bytes. */
static size_t between(struct px_xml *x, const char *bytes, size_t n)
{
	static const char mark[] = "\xEF\xBB\xBF";

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == mark[x->bom]) {
			x->bom = (x->bom + 1) % 3;
			continue;
		}
		if (x->bom == 0 && bytes[i] == '<') {
			begin(x);
			return i;
		}
		if (x->bom != 0 || !strchr(" \t\r\n", bytes[i]) || !bytes[i]) {
			refuse(x, -EBADMSG,
			       "no XML in UTF-8: a document can't begin with byte 0x%02x",
			       (unsigned char)bytes[i]);
			return i;
		}
	}
	return n;
}

/* Gives a part of the bytes to the open document. Returns how many of them it took. */
static size_t within(struct px_xml *x, const char *bytes, size_t n)
{
	const size_t most = x->fed < PART ? PART : PART_LONG;
	size_t part = n < most ? n : most;

	if (part > x->limits->bytes - x->fed)
		part = x->limits->bytes - x->fed;
	if (part == 0) {
		refuse(x, -E2BIG, "more than %zu bytes", x->limits->bytes);
		return 0;
	}
	x->fed += part;
	xmlParseChunk(x->ctxt, bytes, (int)part, 0);
	if (x->ended && (x->ended_at > x->fed || x->fed - x->ended_at > part))
		refuse(x, -EBADMSG, "the end of the document can't be found");
	else if (x->ended) {
		part -= x->fed - x->ended_at;
		release(x);
		x->calls->end(x->arg);
	} else if (!x->err && !x->ctxt->wellFormed)
		refuse(x, -EBADMSG, "not well-formed");
	else if (!x->err && x->ctxt->input->end - x->ctxt->input->cur > PX_XML_PENDING)
		refuse(x, -E2BIG, "a tag or comment of more than %d bytes", PX_XML_PENDING);
	return part;
}

struct px_xml *px_xml_new(const struct px_xml_limits *limits, const struct px_xml_calls *calls,
                          void *arg)
{
	struct px_xml *x = calloc(1, sizeof *x);

	if (x) {
		x->limits = limits;
		x->calls = calls;
		x->arg = arg;
		x->text = px_buf_new(limits->text);
	}
	return x;
}

void px_xml_free(struct px_xml *x)
{
	if (!x)
		return;
	if (x->ctxt)
		release(x);
	free(x);
}

void px_xml_cut_text(struct px_xml *x)
{
	x->cut = true;
}

int px_xml_feed(struct px_xml *x, const char *bytes, size_t n)
{
	while (n > 0 && !x->err) {
		size_t took = x->ctxt ? within(x, bytes, n) : between(x, bytes, n);

		bytes += took;
		n -= took;
	}
	if (x->err && x->ctxt)
		release(x);
	return x->err;
}

const char *px_xml_why(const struct px_xml *x)
{
	return x->why;
}

bool px_xml_between(const struct px_xml *x)
{
	return !x->ctxt && !x->err && x->bom == 0;
}
