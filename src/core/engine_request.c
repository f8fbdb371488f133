/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests to gateways, from the first byte asked to the last one heard. */
#include "core/engine_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct request *request_of(struct px_engine *e, uint64_t id)
{
	uint32_t slot = (uint32_t)id;

	if (slot >= e->requests || e->request[slot].owner == OWNER_NONE ||
	    e->request[slot].generation != id >> 32)
		return NULL;
	return &e->request[slot];
}

static void request_free(struct px_engine *e, struct request *r)
{
	if (r->parse)
		e->config.backend->parse_free(r->parse);
	free(r->got);
	free(r->watermark);
	uint32_t generation = r->generation + 1;
	*r = (struct request){.generation = generation};
}

static void said(void *arg, const struct px_item *item)
{
	struct px_engine *e = arg;
	struct request *r = request_of(e, e->hearing);

	if (!r)
		return;
	if (r->owner == OWNER_USER && item->kind == PX_ITEM_FOLDER) {
		free(r->got);
		r->got = strdup(item->id);
	} else if (r->owner == OWNER_USER && item->kind == PX_ITEM_SUBSCRIBED && item->id &&
	           strlen(item->id) <= e->config.backend->id_max) {
		free(r->got);
		free(r->watermark);
		r->got = strdup(item->id);
		r->watermark = item->watermark ? strdup(item->watermark) : NULL;
		r->lifetime_s = item->lifetime_s;
	} else if (r->owner == OWNER_POLLING) {
		px_polling_said(e, r->index, item);
	} else if (r->owner == OWNER_READING) {
		px_reading_said(e, r->index, item);
	} else if (r->owner == OWNER_OOF) {
		px_oof_said(e, (int)r->index, item);
	} else if (r->owner == OWNER_DETAILS) {
		px_details_said(e, r->index, item);
	} else if (r->owner == OWNER_STREAM) {
		px_stream_said(e, r->index, item);
	}
}

/*
 * Starts a request. The parser's items come while http_data() runs, so what they need is kept in
 * e->hearing then. 0: out of memory.
 */
uint64_t px_request_start(struct px_engine *e, enum owner owner, uint32_t index, int gateway,
                          const struct group *affinity, const struct px_query *wanted)
{
	struct px_query asked = *wanted;
	const struct px_query *q = &asked;
	asked.root = e->config.root;
	uint32_t slot = 0;

	while (slot < e->requests && e->request[slot].owner != OWNER_NONE)
		slot++;
	if (slot == e->requests) {
		if (e->requests == e->requests_cap) {
			uint32_t cap = e->requests_cap ? 2 * e->requests_cap : 64;
			struct request *more = realloc(e->request, cap * sizeof *more);
			if (!more)
				return 0;
			memset(more + e->requests_cap, 0, (cap - e->requests_cap) * sizeof *more);
			e->request = more;
			e->requests_cap = cap;
		}
		e->requests++;
	}
	struct request *r = &e->request[slot];
	if (r->generation == 0)
		r->generation = 1;
	const struct at_gateway *at = &e->at[gateway];
	asked.version =
	    owner == OWNER_PROBE || at->version == PX_VERSION_UNKNOWN ? at->trying : at->version;
	asked.anchor = affinity && affinity->anchor ? affinity->anchor : q->mailbox;
	struct px_parse *parse = e->config.backend->parse_new(q, said, e);
	struct px_action *a = parse ? px_action_add(e, PX_DO_HTTP_START) : NULL;
	if (!a) {
		if (parse)
			e->config.backend->parse_free(parse);
		return 0;
	}
	uint64_t id = (uint64_t)r->generation << 32 | slot;
	*r = (struct request){.generation = r->generation,
	                      .owner = (uint8_t)owner,
	                      .ask = (uint8_t)q->ask,
	                      .gateway = (int16_t)gateway,
	                      .login_epoch = e->login_epoch,
	                      .version = (uint8_t)q->version,
	                      .kind = (uint8_t)q->kind,
	                      .minutes = (uint8_t)q->minutes,
	                      .index = index,
	                      .parse = parse};
	if (owner == OWNER_USER) {
		r->user_generation = px_user(e, index)->generation;
		r->group = px_user(e, index)->group;
		r->led = e->at[gateway].group[r->group].led;
	}
	a->http.id = id;
	a->http.gateway = gateway;
	a->http.ask = q->ask;
	a->http.timeout_ms = q->ask == PX_ASK_STREAM  ? 0
	                     : q->ask == PX_ASK_PROBE ? PX_PROBE_MS
	                                              : PX_ANSWER_MS;
	a->http.cookie = affinity && affinity->cookie ? strdup(affinity->cookie) : NULL;
	a->http.wire = px_wire_new();
	e->config.backend->write(&a->http.wire, q);
	px_pool_started(&e->pool, gateway, q->ask == PX_ASK_STREAM);
	return id;
}

void px_request_cancel(struct px_engine *e, uint64_t id)
{
	struct request *r = request_of(e, id);
	struct px_action *a;

	if (!r)
		return;
	px_pool_cancelled(&e->pool, r->gateway, r->owner == OWNER_STREAM);
	request_free(e, r);
	a = px_action_add(e, PX_DO_HTTP_CANCEL);
	if (a)
		a->http_cancel = id;
}

void px_requests_cancel_at(struct px_engine *e, int gateway, bool all)
{
	for (uint32_t i = 0; i < e->requests; i++) {
		const struct request *r = &e->request[i];

		if (r->owner != OWNER_NONE && r->gateway == gateway &&
		    (all || r->owner == OWNER_PROBE))
			px_request_cancel(e, (uint64_t)r->generation << 32 | i);
	}
}

void px_engine_http_data(struct px_engine *e, uint64_t id, const char *bytes, size_t n,
                         struct px_now now)
{
	struct request *r = request_of(e, id);

	if (!r)
		return;
	/* the parse is ours while it runs: a stream whose last member leaves in the middle is
	 * cancelled afterwards */
	struct px_parse *parse = r->parse;
	r->parse = NULL;
	e->hearing = id;
	e->now = now;
	e->config.backend->feed(parse, bytes, n);
	e->hearing = 0;
	r = request_of(e, id);
	if (r)
		r->parse = parse;
	else
		e->config.backend->parse_free(parse);
}

/* The one user whom a request was about; NULL: several, or it is gone. */
static struct user *asked_about(const struct px_engine *e, const struct request *r)
{
	uint32_t slot = r->index, generation = r->user_generation;

	if (r->owner == OWNER_READING && e->reading[r->index]->n == 1) {
		slot = e->reading[r->index]->user[0].slot;
		generation = e->reading[r->index]->user[0].generation;
	} else if (r->owner != OWNER_USER) {
		return NULL;
	}
	struct user *u = px_user(e, slot);
	return u->used && u->generation == generation ? u : NULL;
}

/*
 * Some servers answer who may not open a mailbox as if the login were wrong. The pool then asks about another mailbox; if the account is
 * accepted there, and the same user is refused again, it is that user's own trouble.
 */
static void judge_denial(struct px_engine *e, const struct request *r, struct px_reply *reply)
{
	struct user *u = e->config.backend->denies_alone ? asked_about(e, r) : NULL;

	if (!u)
		return;
	if (reply->verdict == PX_V_DENIED && u->denied && e->pool.login == PX_LOGIN_OPEN)
		reply->verdict = r->owner == OWNER_READING ? PX_V_UNREADABLE : PX_V_USER;
	else if (reply->verdict == PX_V_DENIED)
		u->denied = true;
	else if (reply->verdict == PX_V_OK)
		u->denied = false;
}

void px_engine_http_done(struct px_engine *e, uint64_t id, const struct px_http_answer *a,
                         struct px_now now)
{
	struct request *r = request_of(e, id);
	struct px_reply reply = {.verdict = PX_V_TRANSIENT};

	if (!r)
		return;
	struct px_parse *parse = r->parse;
	r->parse = NULL;
	e->hearing = id;
	e->now = now;
	e->config.backend->done(parse, a, &reply);
	e->hearing = 0;
	e->config.backend->parse_free(parse);
	r = request_of(e, id);
	if (!r)
		return;

	/* from here on the request is ended: whoever is told may start another in its place */
	struct request was = *r;
	r->got = r->watermark = NULL;
	request_free(e, r);
	bool stream = was.owner == OWNER_STREAM;
	int g = was.gateway;

	/* One slow mailbox must not cost a gateway all its users: a probe decides, and whoever
	 * asked tries again. */
	if (a->fail == PX_HTTP_TIMEOUT && was.owner != OWNER_PROBE) {
		reply.verdict = PX_V_TRANSIENT;
		px_pool_suspect(&e->pool, g, now);
	}

	if (reply.verdict != PX_V_OK && reply.verdict != PX_V_USER)
		px_say(e, PX_LOG_DEBUG, "gateway=%s %s failed why=%s code=%s detail=\"%s\"",
		       e->pool.gateway[g].name, px_ask_name((enum px_ask)was.ask),
		       px_verdict_name(reply.verdict), reply.code, reply.detail);

	enum px_pool_change change = PX_POOL_SAME;
	judge_denial(e, &was, &reply);
	px_version_answered(e, &was, &reply, now);
	if (a->fail == PX_HTTP_ANSWERED)
		px_gateway_heard(e, g, now);
	if (reply.verdict == PX_V_DENIED && was.login_epoch != e->login_epoch) {
		/* it went with the old password: that says nothing of the new one */
		px_pool_cancelled(&e->pool, g, stream);
		if (was.owner == OWNER_PROBE)
			change = px_pool_probe_unsent(&e->pool, g, now);
	} else if (was.owner == OWNER_PROBE) {
		change = px_pool_probed(&e->pool, g, &reply, now);
		px_version_next(e, g, reply.verdict == PX_V_VERSION, now);
	} else {
		change = px_pool_ended(&e->pool, g, stream, &reply, now);
	}

	/* the request's own users first, then what it means for all */
	switch ((enum owner)was.owner) {
	case OWNER_USER:
		if (change == PX_POOL_GATEWAY_DOWN)
			px_gateway_changed(e, g, change, &reply, now);
		px_subscribed(e, &was, id, &reply, a->cookie, now);
		break;
	case OWNER_POLLING:
		if (change == PX_POOL_GATEWAY_DOWN)
			px_gateway_changed(e, g, change, &reply, now);
		if (e->polling[was.index]->used && e->polling[was.index]->request == id)
			px_polling_done(e, was.index, &reply, now);
		break;
	case OWNER_STREAM:
		e->stream[was.index]->request = 0;
		if (change == PX_POOL_GATEWAY_DOWN)
			px_gateway_changed(e, g, change, &reply, now);
		if (e->stream[was.index]->used && e->stream[was.index]->request == 0)
			px_stream_done(e, was.index, &reply, now);
		break;
	case OWNER_READING:
		px_reading_done(e, was.index, &reply, now);
		break;
	case OWNER_OOF:
		px_oof_done(e, g, &reply, now);
		break;
	case OWNER_DETAILS:
		px_details_done(e, was.index, &reply, now);
		break;
	case OWNER_PROBE:
	case OWNER_NOBODY:
	case OWNER_NONE:
		break;
	}
	free(was.got);
	free(was.watermark);
	if (change != PX_POOL_GATEWAY_DOWN || was.owner == OWNER_READING ||
	    was.owner == OWNER_OOF || was.owner == OWNER_DETAILS || was.owner == OWNER_PROBE ||
	    was.owner == OWNER_NOBODY)
		px_gateway_changed(e, g, change, &reply, now);
}

void px_requests_free(struct px_engine *e)
{
	for (uint32_t i = 0; i < e->requests; i++)
		if (e->request[i].owner != OWNER_NONE)
			request_free(e, &e->request[i]);
	free(e->request);
}
