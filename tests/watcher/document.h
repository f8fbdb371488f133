/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * document.h - what a watcher reads in a presence document (PIDF, RFC 3863; persons, RFC 4479;
 * activities, RFC 4480), and what is wrong with it.
 */
#ifndef PW_DOCUMENT_H
#define PW_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ceiling of a body in bytes. What is longer isn't parsed. */
#define PW_DOCUMENT_MAX (1u << 20)

enum pw_status { PW_UNKNOWN, PW_OFFLINE, PW_AVAILABLE, PW_AWAY, PW_BUSY };

enum pw_basic { PW_BASIC_NONE, PW_BASIC_CLOSED, PW_BASIC_OPEN };

/* What a set of tuples and persons says together. */
struct pw_view {
	enum pw_status status;
	enum pw_basic basic; /* open as soon as one tuple is */
	int64_t until_s;     /* wall clock, seconds since 1970 UTC; 0: not said */
};

struct pw_document {
	struct pw_view all;      /* every tuple and person, whoever published them */
	struct pw_view calendar; /* those whose ids say that a calendar published them */
	unsigned tuples, persons;
	bool has_calendar;
	char activities[160]; /* names in document order, doubles left out, "busy,on-the-phone" */
};

/* Faults found in what was received: how many, and the first ones in words. Starts as {0}. */
struct pw_faults {
	unsigned count;
	char text[256];
};

/* Counts a fault and appends its description as far as there is room. */
void pw_fault(struct pw_faults *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Reads the body of a NOTIFY about aor ("user@host"). Returns true and fills doc when it could be
 * read as a presence document, perhaps with faults (double ids, a basic that is neither open nor
 * closed, a foreign entity, an unreadable until); false, doc untouched, when it could not: too
 * long, not well-formed, with a DOCTYPE, or another root. Every fault is appended to f.
 */
bool pw_document_read(const char *body, size_t length, const char *aor, struct pw_document *doc,
                      struct pw_faults *f);

/* "user@host" of a sip:, sips: or pres: URI, or of a bare AoR: parameters, port, display and
 * brackets dropped, host in lower case. False when there is no user or host, or it is longer than
 * size. */
bool pw_aor(const char *uri, char *aor, size_t size);

/* xs:dateTime with a time zone -> seconds since 1970 UTC; false for anything else. */
bool pw_time_read(const char *text, int64_t *seconds);

const char *pw_status_name(enum pw_status s); /* static storage, as in JSON */
const char *pw_basic_name(enum pw_basic b);   /* static storage; NULL for none */

#endif
