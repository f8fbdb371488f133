/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * wire.h - how the bytes of an answer go out when a test wants them otherwise: the same XML written
 * in another way, in other chunks, too slowly, without an end, or not to the end. No I/O, no clock.
 */
#ifndef EXCHANGE_WIRE_H
#define EXCHANGE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "buf.h"

enum prefix {
	PREFIX_OWN,   /* as they are */
	PREFIX_OTHER, /* soapenv, msg, typ, err; all declared at the root */
	PREFIX_NONE   /* default namespaces only */
};

/* Ways to write an envelope that mean the same to whoever reads XML. */
struct dress {
	enum prefix prefix;
	bool bom;      /* a byte order mark before it */
	bool comments; /* in every element, also in the middle of a text */
	bool cdata;    /* texts are CDATA sections */
};

bool dress_is_own(const struct dress *d); /* nothing is rewritten */
/* Appends one envelope, a well-formed document, to out. */
void dress_envelope(const struct dress *d, const char *xml, size_t len, struct buf *out);

enum breakage {
	BREAK_NONE,
	BREAK_STATUS,  /* an HTTP status without a body */
	BREAK_PAGE,    /* 200 with a log-on page in HTML */
	BREAK_TYPE,    /* the right body with a wrong Content-Type */
	BREAK_CUT,     /* the connection ends after so many bytes of the body */
	BREAK_TRICKLE, /* so many bytes a second */
	BREAK_ENDLESS, /* begins right, and goes on for ever */
	BREAKAGES
};

#define WIRE_TYPE 80

/* What happens to an answer. Zeroed: nothing. */
struct spoil {
	enum breakage how;
	unsigned status;
	int retry_after; /* seconds; -1: not said */
	unsigned bytes;
	char type[WIRE_TYPE];
	struct dress dress;
	unsigned chunk; /* at most so many bytes at once; 0: an envelope at once */
	bool joined;    /* envelopes wait for one another and leave in one chunk */
};

#define WIRE_JOIN_MS 300
#define WIRE_TRICKLE_MS 1000

struct wire {
	struct spoil spoil;
	struct buf out; /* dressed, and not sent yet */
	uint64_t sent;
	int64_t due_ms;   /* after wire_next returned 0: when it is worth asking again */
	int64_t first_ms; /* since when out isn't empty */
	bool endless;     /* the beginning of the endless body was taken */
};

enum { WIRE_END = -1, WIRE_CUT = -2 };
/*
 * The next chunk of what stands in `from` (whole envelopes are taken from it), at most max bytes.
 * over: nothing will be added to it. 0: nothing for now; else WIRE_END or WIRE_CUT.
 */
ssize_t wire_next(struct wire *w, struct buf *from, bool over, int64_t now_ms, char *out,
                  size_t max);
void wire_free(struct wire *w);

#endif
