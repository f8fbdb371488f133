/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xml.h - XML from outside as a stream of elements. The only user of libxml2.
 *
 * Bytes come in however they were cut; elements go out. One byte stream may hold several documents
 * one after another (EWS GetStreamingEvents: MS-OXWSNTIF); white space and byte order marks between
 * them are skipped. Nothing is built in memory: at any time there are the text of one leaf element,
 * at most PX_XML_PENDING bytes of unfinished markup and the names met so far, and between documents
 * nothing but this reader itself.
 *
 * Refused, with a reason: any DOCTYPE (so there are no entities but the five predefined),
 * undeclared entities and prefixes, encodings other than UTF-8, and whatever exceeds a ceiling.
 */
#ifndef PX_XML_H
#define PX_XML_H

#include <stdbool.h>
#include <stddef.h>

#define PX_XML_PENDING 65536     /* bytes of one tag, comment or instruction */
#define PX_XML_ATTRS 32          /* attributes of one element, namespace declarations included */
#define PX_XML_NAMES 2000        /* different names, prefixes and namespaces of one document */
#define PX_XML_NAME_BYTES 100000 /* that they take */

struct px_xml;

/* Ceilings, each for one document. */
struct px_xml_limits {
	size_t bytes;
	size_t elements;
	size_t text;    /* bytes of text in one leaf element */
	unsigned depth; /* the root has depth 1 */
};

struct px_xml_attr {
	const char *ns; /* "": none */
	const char *name;
	const char *value; /* n bytes, no NUL behind them */
	size_t n;
};

/* All arguments are borrowed for the call; none may feed or free the reader. */
struct px_xml_calls {
	/* An element begins; ns "" when it has none. */
	void (*open)(void *arg, const char *ns, const char *name, const struct px_xml_attr *attr,
	             size_t attrs);
	/* It ends. text: what stood in it, joined over comments and CDATA, with a NUL behind; ""
	 * when it has child elements. */
	void (*close)(void *arg, const char *text, size_t n);
	/* The document is whole and well-formed. */
	void (*end)(void *arg);
};

/* limits and calls are borrowed until free. NULL when out of memory. */
struct px_xml *px_xml_new(const struct px_xml_limits *limits, const struct px_xml_calls *calls,
                          void *arg);
void px_xml_free(struct px_xml *x); /* NULL is fine */

/* From now on text beyond its ceiling is left out instead of refused. */
void px_xml_cut_text(struct px_xml *x);

/*
 * Takes the next n bytes. 0; -EBADMSG: not well-formed, or refused; -E2BIG: over a ceiling;
 * -ENOMEM. An error stays: what comes after it is ignored.
 */
int px_xml_feed(struct px_xml *x, const char *bytes, size_t n);

/* What was wrong, in one line, partly the sender's own bytes: sanitise before showing. "" when
 * nothing was. */
const char *px_xml_why(const struct px_xml *x);

/* No document is begun and unfinished: the stream may end here. */
bool px_xml_between(const struct px_xml *x);

#endif
