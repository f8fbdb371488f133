/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/auth.h"

#include <stdio.h>

static const char *const shown[] = {[PX_METHOD_NEGOTIATE] = "Negotiate",
                                    [PX_METHOD_NTLM] = "NTLM",
                                    [PX_METHOD_BASIC] = "Basic",
                                    [PX_METHOD_FORMS] = "forms"};

struct px_auth_gateway px_auth_gateway(enum px_auth setting)
{
	static const enum px_method first[] = {[PX_AUTH_AUTO] = PX_METHOD_ASK,
	                                       [PX_AUTH_BASIC] = PX_METHOD_BASIC,
	                                       [PX_AUTH_NTLM] = PX_METHOD_NTLM,
	                                       [PX_AUTH_NEGOTIATE] = PX_METHOD_ASK};

	return (struct px_auth_gateway){.setting = setting, .method = first[setting]};
}

static bool allowed(const struct px_auth_gateway *a, enum px_method m)
{
	switch (a->setting) {
	case PX_AUTH_BASIC:
		return m == PX_METHOD_BASIC;
	case PX_AUTH_NTLM:
		return m == PX_METHOD_NTLM;
	case PX_AUTH_NEGOTIATE:
		return m == PX_METHOD_NEGOTIATE;
	case PX_AUTH_AUTO:
		break;
	}
	return true;
}

/* The best that is offered and not in `but`; it is what the gateway's next request goes with, too. */
static bool choose(struct px_auth_gateway *a, unsigned but, struct px_now now, enum px_method *next)
{
	for (enum px_method m = PX_METHOD_NEGOTIATE; m < PX_METHODS; m++) {
		if (!allowed(a, m) || (but & PX_OFFER(m)) || !(a->offered & PX_OFFER(m)))
			continue;
		*next = a->method = m;
		a->again_at = (struct px_mono){0};
		if (m != PX_METHOD_NEGOTIATE && (a->offered & PX_OFFER(PX_METHOD_NEGOTIATE)))
			a->again_at = px_after(now, PX_AUTH_AGAIN_MS);
		return true;
	}
	return false;
}

bool px_auth_refused(struct px_auth_gateway *a, enum px_method used, unsigned tried,
                     unsigned offered, struct px_now now, enum px_method *next)
{
	const bool password = used >= PX_METHOD_NTLM;
	const bool wanted = offered & PX_OFFER(used);

	/* in the midst of a login a server may name that one only */
	if (used == PX_METHOD_ASK || (password && !wanted))
		a->offered = offered;
	else
		a->offered |= offered;
	if (password && wanted)
		return false;
	if (!choose(a, tried, now, next))
		return false;
	if (used == PX_METHOD_NEGOTIATE && *next != PX_METHOD_NEGOTIATE)
		a->again_at = px_after(now, PX_AUTH_REFUSED_MS);
	return true;
}

bool px_auth_no_ticket(struct px_auth_gateway *a, unsigned tried, struct px_now now,
                       enum px_method *next)
{
	return choose(a, tried | PX_OFFER(PX_METHOD_NEGOTIATE), now, next);
}

bool px_auth_try_ticket(struct px_auth_gateway *a, struct px_now now)
{
	if (a->again_at.ms == 0 || !px_due(a->again_at, now))
		return false;
	a->again_at = px_after(now, PX_AUTH_AGAIN_MS);
	return true;
}

void px_auth_has_ticket(struct px_auth_gateway *a)
{
	a->method = PX_METHOD_NEGOTIATE;
	a->again_at = (struct px_mono){0};
}

const char *px_method_name(enum px_method m)
{
	static const char *const name[] = {[PX_METHOD_ASK] = "none",
	                                   [PX_METHOD_NEGOTIATE] = "negotiate",
	                                   [PX_METHOD_NTLM] = "ntlm",
	                                   [PX_METHOD_BASIC] = "basic",
	                                   [PX_METHOD_FORMS] = "forms"};

	return name[m];
}

const char *px_auth_offer_text(unsigned offered, char *out, size_t size)
{
	size_t len = 0;

	snprintf(out, size, "nothing that we know");
	for (enum px_method m = PX_METHOD_NEGOTIATE; m < PX_METHODS; m++)
		if ((offered & PX_OFFER(m)) && len < size)
			len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "",
			                        shown[m]);
	return out;
}
