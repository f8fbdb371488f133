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
	    [PX_V_UNREADABLE] = "unreadable",
	    [PX_V_WIDE] = "wide",
	    [PX_V_TRANSIENT] = "transient",
	    [PX_V_GAP] = "gap",
	    [PX_V_VERSION] = "version",
	    [PX_V_KIND] = "kind",
	};

	assert(v < PX_VERDICTS);
	return name[v];
}

const char *px_kind_name(enum px_kind k)
{
	static const char *const name[PX_KINDS] = {[PX_KIND_STREAM] = "streaming",
	                                           [PX_KIND_PUSH] = "push",
	                                           [PX_KIND_PULL] = "pull",
	                                           [PX_KIND_NONE] = "none"};

	assert(k < PX_KINDS);
	return name[k];
}

const char *px_ask_name(enum px_ask a)
{
	static const char *const name[PX_ASKS] = {
	    [PX_ASK_LOCATE] = "locate",   [PX_ASK_SUBSCRIBE] = "subscribe",
	    [PX_ASK_RENEW] = "renew",     [PX_ASK_UNSUBSCRIBE] = "unsubscribe",
	    [PX_ASK_STREAM] = "stream",   [PX_ASK_POLL] = "poll",
	    [PX_ASK_READ] = "read",       [PX_ASK_READ_ONE] = "read-one",
	    [PX_ASK_DETAILS] = "details", [PX_ASK_OOF] = "oof",
	    [PX_ASK_PROBE] = "probe",
	};

	assert(a < PX_ASKS);
	return name[a];
}

struct px_wire px_wire_new(void)
{
	return (struct px_wire){
	    .target = px_buf_new(8192), .head = px_buf_new(16384), .body = px_buf_new(1 << 20)};
}

void px_wire_free(struct px_wire *w)
{
	px_buf_free(&w->target);
	px_buf_free(&w->head);
	px_buf_free(&w->body);
}
