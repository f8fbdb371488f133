/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * logon.h - forms-based authentication of Outlook Web Access: the logon page, the form that comes back, and the
 * sessions that its cookies name. They live in the front end and end with it. No I/O; times are monotonic
 * milliseconds, given by the caller.
 *
 *   2003: /exchweb/bin/auth/owalogon.asp, /exchweb/bin/auth/owaauth.dll
 *   2007: /owa/auth/logon.aspx, /owa/auth/owaauth.dll (that of 2003 is still there and lets nobody in)
 *   2010: /owa/auth/logon.aspx, /owa/auth.owa
 */
#ifndef EXCHANGE_LOGON_H
#define EXCHANGE_LOGON_H

#include <uthash.h>

#include "dav.h"

#define LOGON_TRUSTED_MINUTES 1440 /* idle, with 4 in flags: a private computer */
#define LOGON_PUBLIC_MINUTES 15
#define LOGON_TRUSTED 4

struct session {
	char id[40];
	char cadata[64]; /* in double quotes, as it is set */
	int64_t idle_ms, used_ms;
	UT_hash_handle hh;
};

struct logon {
	enum owa_version version;
	bool on;           /* without: Basic */
	bool page_missing; /* nothing is at owaauth.dll: 404 */
	int64_t minute_ms;
	struct session *sessions;
};

/* Is it right? arg is the caller's. */
typedef bool logon_check_fn(void *arg, const char *user, const char *password);

struct logon_ask {
	const char *method;
	const char *path;   /* decoded */
	const char *host;   /* as the client calls us */
	const char *cookie; /* its headers; NULL where there are none */
	const char *content_type, *translate;
	const char *body;
	size_t len;
};

enum logon_result {
	LOGON_PASSED,   /* not answered: it comes with a session, and may go on */
	LOGON_ANSWERED, /* with a page, a redirection, or 440 */
	LOGON_WRONG,    /* so, too: a form with a wrong password */
	LOGON_RIGHT     /* so, too: a new session */
};
/* Looks at a request first, when logon is on. */
enum logon_result logon_look(struct logon *l, const struct logon_ask *ask, logon_check_fn *check,
                             void *arg, int64_t now_ms, struct dav_answer *a);
/* Is it the form of a logon (which is counted as one)? */
bool logon_is_form(const struct logon *l, const char *method, const char *path);
/* All sessions are over; how many there were. */
unsigned logon_drop(struct logon *l);

#endif
