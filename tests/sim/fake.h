/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fake.h - a calendar protocol of text lines, to drive the engine without XML.
 *
 * A request has the line "Anchor: mailbox" in its head, and is "ask mailbox minutes from until version kind watermark callback" and one line per name or id. An answer's lines:
 *   I id          subscribed                A      alive           Z      closed
 *   E id          changed                   G id   gone          P id   gone, by a gap
 *   N             more waits; I, E and A may be followed by a watermark. What a listener hears are lines E, A, G, P.
 *   M start end status    a meeting (wall ms); C      the calendar that they make is whole
 *   O away from until     automatic replies (wall ms)
 *   R n                   in place of C: this mailbox is refused, enum px_verdict
 *   K code        the verdict is what Exchange's code means (px_ews_table); W ms: and it wishes to be left alone so long
 *   V n           the verdict, enum px_verdict; without it HTTP decides: 401 denied, 503 busy, 2xx
 * ok
 */
#ifndef FAKE_H
#define FAKE_H

#include "core/backend.h"

#define FAKE_HEARTBEAT_MS 45000

extern const struct px_backend fake_backend;  /* of one version */
extern const struct px_backend fake_versions; /* of three */
#define FAKE_STREAMLESS 2                     /* the version that knows no streams */

#endif
