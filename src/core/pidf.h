/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pidf.h - availability -> the document that is published (RFC 3863, RFC 4479, RFC 4480).
 *
 * Always a tuple with <basic>open</basic>; busy is the single activity <rpid:busy/>, away
 * <rpid:away/>, available none: the one form that every measured watcher shows right. Tuple and
 * person ids depend on the key alone.
 */
#ifndef PX_PIDF_H
#define PX_PIDF_H

#include "core/availability.h"
#include "core/buf.h"

#define PX_PIDF_MAX 4096
#define PX_PIDF_ID 24

struct px_pidf {
	const char *key;           /* "alice@example.com": entity and ids come from it */
	enum px_presence presence; /* AVAILABLE, PRESENCE_BUSY or AWAY */
	struct px_wall since;      /* activities' from; 0: left out */
	struct px_wall until;      /* activities' until; 0: left out */
	struct px_wall now;        /* the timestamps */
};

/* Appends the document to out; out->failed tells whether it fitted. */
void px_pidf_write(struct px_buf *out, const struct px_pidf *doc);

/* "cal-" and "calp-" with 16 hex digits of the key's hash: distinct from each other and valid XML
 * ids (no leading digit). */
void px_pidf_tuple_id(const char *key, char out[PX_PIDF_ID]);
void px_pidf_person_id(const char *key, char out[PX_PIDF_ID]);

#endif
