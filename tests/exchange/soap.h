/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * soap.h - envelopes and faults as Exchange writes them.
 */
#ifndef EXCHANGE_SOAP_H
#define EXCHANGE_SOAP_H

#include "buf.h"
#include "version.h"

/* How the envelopes of a stream are written; every one is a complete document in each. */
enum dialect {
	DIALECT_EXCHANGE, /* <Envelope xmlns=...>, its children with a prefix, no declaration */
	DIALECT_PREFIXED, /* as all other answers: an XML declaration, <s:Envelope> */
};

/* One answer: soap_begin, the child of Body, soap_end. */
void soap_begin(struct buf *b, enum version server);
void soap_end(struct buf *b);
void soap_stream_begin(struct buf *b, enum version server, enum dialect d);
void soap_stream_end(struct buf *b, enum dialect d);

/*
 * A whole envelope with a fault (it goes with HTTP status 500). code: a ResponseCode; text: what
 * is said to people; values: what stands in t:MessageXml, or NULL.
 */
void soap_fault(struct buf *b, const char *code, const char *text, const char *values);
/* A fault of SOAP itself: "VersionMismatch", "MustUnderstand", "Client". */
void soap_plain_fault(struct buf *b, const char *code, const char *text);

/* m:X ResponseClass="Error" with text and code, left open: more children may follow. */
void soap_error_message(struct buf *b, const char *element, const char *code, const char *text);

#endif
