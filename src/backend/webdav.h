/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * webdav.h - Exchange 2000 SP2, 2003 and 2007 over WebDAV: RFC 2518 and Microsoft's SEARCH (DASL draft), SUBSCRIBE, POLL and
 * NOTIFY (Exchange SDK; MS-XWDCAL for the calendar's properties).
 *
 * One front end speaks for all back ends. The account acts on others' mailboxes by Receive As; nobody is impersonated.
 *
 * How answers become items and verdicts, beyond what core/backend.h says:
 * - Items are told by done(), and only of an answer that is OK.
 * - PX_ASK_LOCATE: FOLDER is the path of the property urn:schemas:httpmail:calendar, whatever its language; of the URL that
 *   the server says neither scheme nor host is taken. Percent-encoded, printable ASCII, at most PX_WEBDAV_FOLDER_MAX bytes.
 * - PX_ASK_READ_ONE: rows from `offset` on; CALENDAR has the intervals of these rows alone, and MORE with n = the next offset
 *   follows when there are others. The rows of one reading are the caller's to put together.
 * - PX_ASK_READ: published free/busy from the front end's public folders (/public/?Cmd=freebusy): late by up to 45 minutes,
 *   known to PX_WEBDAV_SLOT_MS. Who has published none is REFUSED with USER.
 * - PX_ASK_POLL: CHANGED (events happened), ALIVE (none) or GONE per id. An id that isn't told of stands as it stood. Ids
 *   belong to a store on a back end: GONE in a POLL of many may only say that it lives on another than the first's.
 * - PX_ASK_RENEW: SUBSCRIBED with the new lifetime.
 * - A mailbox's 401, 403, 404 is its own trouble where the answer shows that the account is logged in (webdav_verdict.c).
 */
#ifndef PX_WEBDAV_H
#define PX_WEBDAV_H

#include "backend/answer.h"
#include "core/backend.h"

extern const struct px_backend px_webdav;

#define PX_WEBDAV_FOLDER_MAX 767
#define PX_WEBDAV_ROOT                                                                             \
	"/exchange/"          /* where mailboxes are, unless the gateway's URL says otherwise */
#define PX_WEBDAV_ID_MAX 63   /* a number in truth */
#define PX_WEBDAV_READ_MAX 20 /* mailboxes in the URL of one free/busy request: IIS takes 16 KiB */
#define PX_WEBDAV_POLL_MAX 50 /* ids in one POLL */
#define PX_WEBDAV_ROWS 500    /* of a calendar in one SEARCH */
#define PX_WEBDAV_SLOT_MS 900000  /* one digit of published free/busy */
#define PX_WEBDAV_LIFETIME_S 3600 /* of a subscription, as we ask for it */

/* ---- for the files of this backend ---- */

extern const struct px_meaning px_webdav_table[]; /* sorted by code */
extern const size_t px_webdav_rows;
/* What an HTTP status, or the status inside a 207, means for this ask. "HTTP 404" or "HTTP 404 POLL" in the table. */
const struct px_meaning *px_webdav_meaning(enum px_ask ask, int status);

enum px_fault px_webdav_fault(const char *code, enum px_verdict v); /* backend.h */

bool px_webdav_id(const char *id, size_t n); /* may stand in a list of ids, and was surely ours */
void px_webdav_write(struct px_wire *out, const struct px_query *q);

/*
 * The path of a URL or of an absolute path, made fit for a request line and for the text of a SEARCH: whatever isn't plain is
 * percent-encoded. Without query and fragment. 0 or -EINVAL (no path, bad escapes, too long).
 */
int px_webdav_path(const char *url, size_t n, char out[PX_WEBDAV_FOLDER_MAX + 1]);

static inline struct px_wall px_webdav_slot_before(struct px_wall w)
{
	return (struct px_wall){w.ms - w.ms % PX_WEBDAV_SLOT_MS};
}
static inline struct px_wall px_webdav_slot_after(struct px_wall w)
{
	return px_webdav_slot_before((struct px_wall){w.ms + PX_WEBDAV_SLOT_MS - 1});
}

#endif
