/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * auth.h - which login is used at one gateway. Pure: it is told what happened and says what is next.
 *
 * With auth=basic, ntlm or negotiate there is nothing to choose. With auto the first request goes without credentials, and the
 * 401 that it gets says what is offered (RFC 9110 §11.6.1); that is no failed login. Taken is the first of Negotiate, NTLM, Basic
 * that is offered, and remembered:
 *
 *      ASK --401--> NEGOTIATE --no ticket, or 401 to a ticket--> NTLM, else BASIC
 *                      ^-------- a ticket could be had: tried every 10 min; after a 401, every day ---+
 *
 * One password is sent once: a 401 to NTLM or Basic, or a form refused, is the end of the request (DENIED), and no other method is tried with the
 * same password, for each refusal counts towards the lockout of the account. A ticket that is refused counts towards nothing.
 * The exception is a method that isn't offered any more: its credentials weren't looked at, so another is chosen.
 *
 * With negotiate the first request goes without credentials too: so we know the certificate that a token is bound to (RFC 5929 §4).
 */
#ifndef PX_AUTH_H
#define PX_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "core/time.h"
#include "px_settings.h"

/* In the order in which they are preferred. */
enum px_method {
	PX_METHOD_ASK,
	PX_METHOD_NEGOTIATE,
	PX_METHOD_NTLM,
	PX_METHOD_BASIC,
	PX_METHOD_FORMS, /* of OWA (forms.h); a 440 or a logon page offers it, and no 401 does */
	PX_METHODS
};
#define PX_OFFER(method) (1U << (method))

#define PX_AUTH_AGAIN_MS 600000
#define PX_AUTH_REFUSED_MS 86400000 /* a server that refuses one ticket refuses the next, too */

struct px_auth_gateway {
	enum px_auth setting;
	unsigned offered;      /* PX_OFFER() bits of the last 401; 0: none came yet */
	enum px_method method; /* what the next request goes with */
	struct px_mono
	    again_at; /* something less than Negotiate is used, and then it is tried again; else not set */
};

struct px_auth_gateway px_auth_gateway(enum px_auth setting);

/*
 * A request that went with `used` got a 401 that offers these. True: go on with *next. False: the login is refused, and 401 is
 * the answer. `tried`: PX_OFFER() bits of what this request went with so far, `used` among them; none of it is said again.
 */
bool px_auth_refused(struct px_auth_gateway *a, enum px_method used, unsigned tried,
                     unsigned offered, struct px_now now, enum px_method *next);

/* There is no ticket for a request that was to go by Negotiate. As above; false: it can't be sent at all. */
bool px_auth_no_ticket(struct px_auth_gateway *a, unsigned tried, struct px_now now,
                       enum px_method *next);

/* Is it time to try for a ticket again, without a request that waits for it? Once true, not again before the next time. */
bool px_auth_try_ticket(struct px_auth_gateway *a, struct px_now now);
void px_auth_has_ticket(struct px_auth_gateway *a); /* ... and there is one */

const char *px_method_name(enum px_method m); /* "none", "negotiate", "ntlm", "basic", "forms" */
/* "Negotiate, NTLM" or "nothing that we know"; out is returned. */
const char *px_auth_offer_text(unsigned offered, char *out, size_t size);

#endif
