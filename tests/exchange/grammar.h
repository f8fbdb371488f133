/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * grammar.h - what a request must look like: names, namespaces, order, counts, values.
 *
 * Exchange holds each request against its schema before it does anything, and the schema is that
 * of the version the client asked for. So does this; the rules of the supported operations stand
 * in a table (grammar.c), written after Messages.xsd and types.xsd.
 */
#ifndef EXCHANGE_GRAMMAR_H
#define EXCHANGE_GRAMMAR_H

#include <libxml/tree.h>
#include <stdbool.h>

#include "version.h"

#define NS_SOAP "http://schemas.xmlsoap.org/soap/envelope/"
#define NS_TYPES "http://schemas.microsoft.com/exchange/services/2006/types"
#define NS_MESSAGES "http://schemas.microsoft.com/exchange/services/2006/messages"
#define NS_ERRORS "http://schemas.microsoft.com/exchange/services/2006/errors"

/* What is wrong, and where; text is empty when nothing is. */
struct violation {
	int line;
	char text[1400];
};

/*
 * Parses a request: no DTD, no entities beyond XML's own, no network, bounded depth. NULL: not
 * well-formed, and *v says why. The caller frees with xmlFreeDoc.
 */
xmlDoc *grammar_parse(const char *body, size_t len, struct violation *v);

/* Is there a rule for this operation (the child of soap:Body)? */
bool grammar_knows(const xmlNode *operation);
/* Checks an operation, with everything inside, as a server that speaks asked does. */
bool grammar_check(const xmlNode *operation, enum version asked, struct violation *v);
/* The same for a header that Exchange knows; others are nobody's business and pass. */
bool grammar_check_header(const xmlNode *header, enum version asked, struct violation *v);

/* Reading what was checked. */
bool xml_is(const xmlNode *n, const char *ns, const char *name);
xmlNode *xml_first(const xmlNode *parent); /* first child element, or NULL */
xmlNode *xml_next(const xmlNode *n);       /* next sibling element, or NULL */
xmlNode *xml_child(const xmlNode *parent, const char *name);
/* The text, surrounding white space cut off, in own memory (free); "" when n is NULL. */
char *xml_text(const xmlNode *n);
/* The attribute's value in own memory (free); NULL: there is none, or no n. */
char *xml_attr(const xmlNode *n, const char *name);

#endif
