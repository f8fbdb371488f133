/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ews.h - Exchange Web Services, 2007 SP1 and newer: subscriptions under impersonation (MS-OXWSNTIF; push, MS-OXWSPSNTIF),
 * free/busy by GetUserAvailability (MS-OXWAVLS).
 *
 * How answers become items and verdicts, beyond what core/backend.h says:
 * - PX_ASK_STREAM: items come when their envelope is whole. An envelope that reports an error is no
 * PX_ITEM_ALIVE. When it names the subscriptions (PX_ITEM_GONE each) the verdict is TRANSIENT,
 * since the others still stand; LOST means all of them. A stream that had begun and then fell
 * silent or was cut is TRANSIENT, and OK once the server has said Closed.
 * - PX_ASK_READ: a mailbox that this gateway can't serve (wrong site or version) is REFUSED with
 * LOST: its user belongs elsewhere, and the gateway answered the others.
 * What the account may not see of a mailbox (or sees as digits that can't be believed) is UNREADABLE:
 * the mailbox itself shows all to whoever impersonates its owner.
 * - PX_ASK_READ_ONE: FindItem with a CalendarView. Cancelled meetings are left out, one without a
 * status is busy. More than the server lets be found is WIDE.
 * - PX_ASK_OOF: of one mailbox GetUserOofSettings, of more GetMailTips, which tell who is away now.
 * - PX_ASK_PROBE: as a READ of one mailbox; when that is refused, its verdict is the probe's, too.
 * - backoff_ms is the greater of Retry-After and BackOffMilliseconds, at most PX_BACKOFF_WISH_MAX.
 */
#ifndef PX_EWS_H
#define PX_EWS_H

#include "backend/answer.h"
#include "core/backend.h"

extern const struct px_backend px_ews;

#define PX_EWS_SOAP "http://schemas.xmlsoap.org/soap/envelope/"
#define PX_EWS_TYPES "http://schemas.microsoft.com/exchange/services/2006/types"
#define PX_EWS_MESSAGES "http://schemas.microsoft.com/exchange/services/2006/messages"
#define PX_EWS_ERRORS "http://schemas.microsoft.com/exchange/services/2006/errors"

/*
 * Versions that a request may be in (MS-OXWSCDATA, ExchangeVersionType), newest first: those in which something we need differs.
 * From 2013 on there is WorkingElsewhere; from 2010 SP1 on streaming, FreeBusyChangedEvent, and a mailbox may be impersonated by
 * any of its addresses.
 */
enum { PX_EWS_2013, PX_EWS_2010_SP1, PX_EWS_2007_SP1, PX_EWS_VERSIONS };
const char *px_ews_version_name(unsigned version);

#define PX_EWS_READ_MAX 100   /* ErrorMailboxDataArrayTooBig beyond */
#define PX_EWS_OOF_MAX 100    /* recipients of one GetMailTips */
#define PX_EWS_STREAM_MAX 200 /* subscriptions of one connection */
#define PX_EWS_ID_MAX 255
#define PX_EWS_SLOT_MS                                                                             \
	300000 /* one digit of MergedFreeBusy; 5 min is the least that may be asked */
/* Bytes that the reading of an answer holds at most, whatever it says. */
#define PX_EWS_MEMORY ((size_t)512 << 10)

/* ---- for the files of this backend ---- */

extern const struct px_meaning px_ews_table[]; /* sorted by code */
extern const size_t px_ews_rows;
const struct px_meaning *px_ews_row(const char *code); /* NULL: unknown */

enum px_fault px_ews_fault(const char *code, enum px_verdict v); /* backend.h */

void px_ews_write(struct px_wire *out, const struct px_query *q);

/* The window is asked for in whole slots: then it doesn't matter whether a server counts digits
 * from its start or from the clock. */
static inline struct px_wall px_ews_slot_before(struct px_wall w)
{
	return (struct px_wall){w.ms - w.ms % PX_EWS_SLOT_MS};
}
static inline struct px_wall px_ews_slot_after(struct px_wall w)
{
	return px_ews_slot_before((struct px_wall){w.ms + PX_EWS_SLOT_MS - 1});
}

#endif
