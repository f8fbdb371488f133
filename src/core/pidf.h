/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pidf.h - availability -> the document that is published (RFC 3863, RFC 4479, RFC 4480; RFC 4481).
 *
 * Always a tuple with <basic>open</basic>; busy is the single activity <rpid:busy/>, away
 * <rpid:away/>, available none: the one form that every measured watcher shows right. Tuple and
 * person ids depend on the key alone. All that a style adds stands behind what is always there, in
 * a namespace of its own, so that a watcher who doesn't know it reads the same.
 */
#ifndef PX_PIDF_H
#define PX_PIDF_H

#include "core/availability.h"
#include "core/buf.h"

#define PX_PIDF_MAX 8192
#define PX_PIDF_ID 24
#define PX_NOTE_MAX 100 /* bytes of a note */

/* How documents are written, the same for all users. Texts are borrowed: they outlive its use. */
struct px_pidf_style {
	const char *lang;                    /* the notes' language, a BCP 47 tag */
	const char *available, *busy, *away; /* the notes */
	bool blink; /* agp-pidf:extended in the status, as Blink and SIP SIMPLE clients read it */
	bool cisco; /* the activity once more, in the namespace that Cisco's phones read */
	bool timed_status; /* the next meeting (RFC 4481) */
};
extern const struct px_pidf_style px_pidf_default; /* English, nothing added */

struct px_pidf {
	const char *key;                   /* "alice@example.com": entity and ids come from it */
	enum px_presence presence;         /* AVAILABLE, PRESENCE_BUSY or AWAY */
	struct px_wall since;              /* activities' from; 0: left out */
	struct px_wall until;              /* activities' until; 0: left out */
	const char *subject;               /* of the meeting that runs, for the notes; NULL: none */
	struct px_wall now;                /* the timestamps */
	const struct px_pidf_style *style; /* NULL: px_pidf_default */
	/* what comes next, when the style wants to have it: BUSY or AWAY; anything else: not known */
	enum px_presence next;
	struct px_wall next_from, next_until; /* next_until 0: not known */
	bool brief; /* nothing that can be left out: the presence server finds it too large (413) */
};

/* Appends the document to out; out->failed tells whether it fitted. */
void px_pidf_write(struct px_buf *out, const struct px_pidf *doc);

/*
 * The same for a user of whom nothing is said: no tuple, no person. What is in it stands in a namespace that nobody knows, for the sake of Kamailio and
 * OpenSIPS: of a publication that ends they show once more the first tuple, closed, which they find by its name alone, and fail when there is none.
 */
void px_pidf_write_nothing(struct px_buf *out, const char *key);

/* "cal-" and "calp-" with 16 hex digits of the key's hash: distinct from each other and valid XML
 * ids (no leading digit). */
void px_pidf_tuple_id(const char *key, char out[PX_PIDF_ID]);
void px_pidf_person_id(const char *key, char out[PX_PIDF_ID]);

#endif
