/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "counters.h"

#include <stdio.h>
#include <string.h>

const char *request_kind_name(enum request_kind k)
{
	static const char *const names[REQ_KINDS] = {"Subscribe",
	                                             "Unsubscribe",
	                                             "GetEvents",
	                                             "GetStreamingEvents",
	                                             "GetUserAvailability",
	                                             "FindItem",
	                                             "GetUserOofSettings",
	                                             "GetMailTips",
	                                             "PROPFIND",
	                                             "SEARCH",
	                                             "SUBSCRIBE",
	                                             "POLL",
	                                             "UNSUBSCRIBE",
	                                             "OPTIONS",
	                                             "GET",
	                                             "logon",
	                                             "freebusy",
	                                             "other"};

	return names[k];
}

void counters_refused(struct counters *c, unsigned cas, const char *reason)
{
	unsigned i = 0;

	while (i < c->nrefusals && strcmp(c->refusals[i].reason, reason) != 0)
		i++;
	if (i == c->nrefusals) {
		if (i == REASONS_MAX)
			return;
		snprintf(c->refusals[i].reason, sizeof c->refusals[i].reason, "%s", reason);
		c->nrefusals++;
	}
	c->refusals[i].n[cas]++;
}

void counters_subscribed(struct counters *c, int64_t wall_s)
{
	int64_t i = wall_s % SUBSCRIBE_SECONDS;

	if (c->subscribes_at[i] != wall_s) {
		c->subscribes_at[i] = wall_s;
		c->subscribes[i] = 0;
	}
	c->subscribes[i]++;
}

void counters_reset(struct counters *c)
{
	static struct counters zero;
	struct counters old = *c;

	*c = zero;
	for (int i = 0; i < CAS_MAX; i++) {
		c->cas[i].connections = c->cas[i].peak_connections = old.cas[i].connections;
		c->cas[i].concurrency = c->cas[i].peak_concurrency = old.cas[i].concurrency;
	}
}
