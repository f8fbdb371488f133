/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * forms.h - forms-based authentication of Outlook Web Access 2003 and 2007 at one gateway. Pure: it says what to send, and is told
 * what came back. (Exchange has no specification of it; it is as the OWA logon pages do it.)
 *
 * Where it is on, requests get 440 Login Timeout, or 302 to a logon page. Then, once for all who wait:
 *
 *      OUT --GET the mailboxes' root--> FINDING --302 to a logon page--> POSTING --302 elsewhere, with cookies--> IN
 *       ^                                  |                                |
 *       +------- no such page, no answer --+--- the password is refused ----+
 *
 * and the cookies go with every request there. A request that was sent with them and gets 440 again ends the session: one new
 * login for all. Only the path of what the server sends us to is taken: scheme, host and port stay the gateway's.
 */
#ifndef PX_FORMS_H
#define PX_FORMS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buf.h"

enum px_forms_state { PX_FORMS_OUT, PX_FORMS_FINDING, PX_FORMS_POSTING, PX_FORMS_IN };

#define PX_FORMS_PATH_MAX 255
#define PX_FORMS_COOKIES_MAX 4096 /* an answer that sets more isn't used */
#define PX_FORMS_REDIRECTS 3

enum px_forms_next {
	PX_FORMS_GET,     /* `path`, without credentials */
	PX_FORMS_POST,    /* `path`, with px_forms_body() and PX_FORMS_COOKIE */
	PX_FORMS_DONE,    /* IN: the cookies are good */
	PX_FORMS_REFUSED, /* the password isn't accepted; why says where */
	PX_FORMS_GIVEN_UP /* there is no form that we know; why says what is there instead */
};

struct px_forms {
	enum px_forms_state state;
	unsigned
	    logins; /* that have ended, well or not: who was sent before the last one ended needn't ask for another */
	enum px_forms_next last;          /* how the last one ended */
	unsigned redirects;               /* while FINDING */
	char path[PX_FORMS_PATH_MAX + 1]; /* of what is asked next, from the server's root */
	char page[PX_FORMS_PATH_MAX + 1]; /* of the logon page, for the log */
	struct px_buf cookies;            /* "name=value; ..."; wiped */
};

/* Whether an answer means that a form must be filled in. location: of a 3xx, NULL: none. */
bool px_forms_wanted(int status, const char *location);

/* Begins a login: `path` is to be got. root: where the gateway has its mailboxes. */
void px_forms_begin(struct px_forms *f, const char *root);

/* A header line of an answer while POSTING: keeps what it sets. */
void px_forms_header(struct px_forms *f, const char *line, size_t n);

#define PX_FORMS_COOKIE "PBack=0" /* what the page's script sets */
#define PX_FORMS_WHY 160

/* The answer to what was asked while FINDING or POSTING; why[] is set with the last two. */
enum px_forms_next px_forms_answered(struct px_forms *f, int status, const char *location,
                                     char why[PX_FORMS_WHY]);
void px_forms_failed(struct px_forms *f); /* there was no answer: OUT again */

/* What is posted (application/x-www-form-urlencoded); holds the password: wipe it. destination: URL of the mailboxes' root. */
void px_forms_body(struct px_buf *out, const char *destination, const char *account,
                   const char *password);

void px_forms_end(struct px_forms *f); /* the session is over: OUT, cookies wiped */

#endif
