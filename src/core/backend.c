/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/backend.h"

#include <assert.h>

const char *px_verdict_name(enum px_verdict v)
{
	static const char *const name[PX_VERDICTS] = {
	    [PX_V_OK] = "ok",
	    [PX_V_SERVER] = "server",
	    [PX_V_LOST] = "lost",
	    [PX_V_BUSY] = "busy",
	    [PX_V_DENIED] = "denied",
	    [PX_V_USER] = "user",
	    [PX_V_TRANSIENT] = "transient",
	};

	assert(v < PX_VERDICTS);
	return name[v];
}

const char *px_ask_name(enum px_ask a)
{
	static const char *const name[PX_ASKS] = {
	    [PX_ASK_SUBSCRIBE] = "subscribe", [PX_ASK_UNSUBSCRIBE] = "unsubscribe",
	    [PX_ASK_STREAM] = "stream",       [PX_ASK_READ] = "read",
	    [PX_ASK_PROBE] = "probe",
	};

	assert(a < PX_ASKS);
	return name[a];
}
