/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NTA_AGENT_MAGIC_T struct pw_net
#define NTA_OUTGOING_MAGIC_T struct request
#include <sofia-sip/msg_addr.h>
#include <sofia-sip/nta.h>
#include <sofia-sip/nta_stateless.h>
#include <sofia-sip/nta_tport.h>
#include <sofia-sip/sip_header.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/sip_tag.h>
#include <sofia-sip/sip_util.h>
#include <sofia-sip/su_uniqueid.h>
#include <sofia-sip/tport.h>
#include <sofia-sip/tport_tag.h>

/* How long a request may stay unanswered; the library's 32 s would hold a dead server's window. */
#define ANSWER_MS 8000
#define NTP_EPOCH 2208988800ul

struct pw_net {
	nta_agent_t *agent;
	su_home_t home[1];
	url_t *server;
	char *from, *contact;
	char run[17]; /* makes Call-IDs and tags of this process its own */
	tport_t *tport;
	int pending;
	const struct pw_net_calls *calls;
	void *arg;
	struct request *requests; /* in flight, so that the end can drop them */
};

struct request {
	struct pw_net *net;
	nta_outgoing_t *orq;
	struct request *next, **link;
	uint32_t slot, generation;
};

extern void (*_su_time)(su_time_t *tv);

static void monotonic(su_time_t *tv)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	tv->tv_sec = (unsigned long)ts.tv_sec + NTP_EPOCH;
	tv->tv_usec = (unsigned long)ts.tv_nsec / 1000;
}

void pw_net_clock(void)
{
	_su_time = monotonic;
}

static void on_closed(tp_stack_t *stack, tp_client_t *client, tport_t *tport, msg_t *msg, int error)
{
	struct pw_net *net = (struct pw_net *)client;

	(void)stack;
	(void)msg;
	(void)error;
	if (tport != net->tport)
		return;
	tport_release(tport, net->pending, NULL, NULL, client, 0);
	tport_unref(tport);
	net->tport = NULL;
	net->calls->lost(net->arg);
}

static void let_go(struct pw_net *net)
{
	if (!net->tport)
		return;
	tport_release(net->tport, net->pending, NULL, NULL, (tp_client_t *)net, 0);
	tport_unref(net->tport);
	net->tport = NULL;
}

/* Asks to hear of the end of the connection that an answer came over. */
static void hold_on(struct pw_net *net, nta_outgoing_t *orq)
{
	tport_t *tport = nta_outgoing_transport(orq);

	if (!tport || tport == net->tport || !tport_is_reliable(tport) ||
	    !tport_is_secondary(tport)) {
		tport_unref(tport);
		return;
	}
	let_go(net);
	tport_set_params(tport, TPTAG_SDWN_ERROR(1), TAG_END());
	net->tport = tport;
	net->pending = tport_pend(tport, NULL, on_closed, (tp_client_t *)net);
}

/* The route set of a dialog that we opened: Record-Route backwards (RFC 3261 §12.1.2). */
static char *route_set(su_home_t *home, const sip_record_route_t *rr)
{
	char *set = NULL;

	for (; rr; rr = rr->r_next) {
		char *url = url_as_string(home, rr->r_url);
		set = su_sprintf(home, "<%s>%s%s", url, set ? ", " : "", set ? set : "");
	}
	return set;
}

static void drop(struct request *r)
{
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
	nta_outgoing_destroy(r->orq);
	free(r);
}

static int on_answer(struct request *r, nta_outgoing_t *orq, const sip_t *sip)
{
	struct pw_net *net = r->net;
	struct pw_answer a = {nta_outgoing_status(orq), -1, -1, NULL, NULL, NULL};
	uint32_t slot = r->slot, generation = r->generation;
	su_home_t home[1] = {SU_HOME_INIT(home)};

	if (a.status < 200)
		return 0;
	su_home_init(home);
	if (sip) {
		if (sip->sip_expires)
			a.expires_s = (long)sip->sip_expires->ex_delta;
		if (sip->sip_min_expires)
			a.min_expires_s = (long)sip->sip_min_expires->me_delta;
		if (sip->sip_to)
			a.to_tag = sip->sip_to->a_tag;
		if (sip->sip_contact)
			a.contact = url_as_string(home, sip->sip_contact->m_url);
		a.route = route_set(home, sip->sip_record_route);
	}
	if (a.status < 300)
		hold_on(net, orq);
	net->calls->answer(net->arg, slot, generation, &a);
	drop(r);
	su_home_deinit(home);
	return 0;
}

/* Everything a dialog of ours is known by hangs on slot and generation. */
static void call_id(const struct pw_net *net, uint32_t slot, uint32_t generation, char out[64])
{
	snprintf(out, 64, "%s.%x.%x", net->run, slot, generation);
}

static bool ours(const struct pw_net *net, const char *id, uint32_t *slot, uint32_t *generation)
{
	char again[64];

	if (strlen(id) >= sizeof again || sscanf(id, "%*16[0-9a-f].%x.%x", slot, generation) != 2)
		return false;
	call_id(net, *slot, *generation, again);
	return strcmp(id, again) == 0;
}

static int on_notify(struct pw_net *net, const sip_t *sip)
{
	struct pw_notify n = {.expires_s = -1, .retry_after_s = -1, .body = ""};
	uint32_t slot, generation;
	char why[160];

	/* our tag is the Call-ID once more: both must name the same dialog */
	if (!ours(net, sip->sip_call_id->i_id, &slot, &generation) || !sip->sip_to->a_tag ||
	    strcmp(sip->sip_to->a_tag, sip->sip_call_id->i_id) != 0) {
		snprintf(why, sizeof why, "NOTIFY of no dialog: Call-ID %.60s, To tag %.60s",
		         sip->sip_call_id->i_id, sip->sip_to->a_tag ? sip->sip_to->a_tag : "none");
		net->calls->stray(net->arg, why);
		return 481;
	}
	n.from_tag = sip->sip_from->a_tag;
	n.branch = sip->sip_via->v_branch;
	n.cseq = sip->sip_cseq->cs_seq;
	if (sip->sip_event)
		n.event = sip->sip_event->o_type;
	if (sip->sip_subscription_state) {
		const sip_subscription_state_t *ss = sip->sip_subscription_state;
		n.substate = ss->ss_substate;
		n.reason = ss->ss_reason;
		if (ss->ss_expires)
			n.expires_s = strtol(ss->ss_expires, NULL, 10);
		if (ss->ss_retry_after)
			n.retry_after_s = strtol(ss->ss_retry_after, NULL, 10);
	}
	if (sip->sip_content_type)
		n.content_type = sip->sip_content_type->c_type;
	if (sip->sip_payload) {
		n.body = sip->sip_payload->pl_data;
		n.length = sip->sip_payload->pl_len;
	}
	return net->calls->notify(net->arg, slot, generation, &n);
}

static int on_message(struct pw_net *net, nta_agent_t *agent, msg_t *msg, sip_t *sip)
{
	int status;

	if (!sip->sip_request || sip->sip_request->rq_method == sip_method_ack) {
		nta_msg_discard(agent, msg);
		return 0;
	}
	if (sip->sip_request->rq_method == sip_method_notify)
		status = on_notify(net, sip);
	else
		status = sip->sip_request->rq_method == sip_method_options ? 200 : 405;
	nta_msg_treply(agent, msg, status, sip_status_phrase(status), TAG_END());
	return 0;
}

struct pw_net *pw_net_new(su_root_t *root, const char *bind, const char *server, const char *from,
                          const struct pw_net_calls *calls, void *arg, const char **why)
{
	struct pw_net *net = calloc(1, sizeof *net);
	char transport[16] = "udp"; /* the server's, for everything */
	su_guid_t unique[1];
	sip_contact_t *at;
	uint64_t run;
	char *url;

	if (!net) {
		*why = "out of memory";
		return NULL;
	}
	net->calls = calls;
	net->arg = arg;
	su_home_init(net->home);
	su_guid_generate(unique);
	memcpy(&run, unique, sizeof run);
	run ^= (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL);
	snprintf(net->run, sizeof net->run, "%016llx", (unsigned long long)run);

	net->server = url_make(net->home, server);
	if (!net->server || net->server->url_type != url_sip || !net->server->url_host) {
		*why = "--server is no sip: URI with a host (sip:127.0.0.1:5060;transport=tcp)";
		pw_net_free(net);
		return NULL;
	}
	url_param(net->server->url_params, "transport", transport, sizeof transport);
	url = su_sprintf(net->home, "%s;transport=%s", bind, transport);
	net->agent = nta_agent_create(
	    root, (url_string_t *)url, on_message, net, NTATAG_STATELESS(1), NTATAG_UA(0),
	    NTATAG_SIP_T1X64(ANSWER_MS), NTATAG_MAXSIZE(2 * PW_DOCUMENT_MAX), NTATAG_UDP_MTU(65535),
	    TPTAG_QUEUESIZE(10000), TPTAG_SDWN_ERROR(1), TPTAG_UDP_RMEM(4 << 20), TAG_END());
	if (!net->agent) {
		*why = "the address of --bind can't be had (sip:127.0.0.1:* takes any free port)";
		pw_net_free(net);
		return NULL;
	}
	at = nta_agent_contact(net->agent);
	net->contact = su_sprintf(net->home, "<sip:presence-watch@%s:%s;transport=%s>",
	                          at->m_url->url_host, url_port(at->m_url), transport);
	net->from = su_sprintf(net->home, "<sip:%s>", from);
	return net;
}

void pw_net_free(struct pw_net *net)
{
	if (!net)
		return;
	while (net->requests)
		drop(net->requests);
	let_go(net);
	if (net->agent)
		nta_agent_destroy(net->agent);
	su_home_deinit(net->home);
	free(net);
}

bool pw_net_subscribe(struct pw_net *net, const struct pw_sub *s, long expires_s)
{
	struct request *r = calloc(1, sizeof *r);
	msg_t *msg = nta_msg_create(net->agent, 0);
	su_home_t *home = msg_home(msg);
	sip_t *sip = sip_object(msg);
	char aor[PW_AOR_MAX + 8], id[64], from[PW_AOR_MAX + 80], to[PW_AOR_MAX + 160];
	char cseq[32], expires[16];
	sip_request_t *rq;

	call_id(net, s->slot, s->generation, id);
	snprintf(aor, sizeof aor, "sip:%s", s->aor);
	snprintf(from, sizeof from, "%s;tag=%s", net->from, id);
	snprintf(to, sizeof to, "<%s>%s%.140s", aor, s->target && s->remote_tag ? ";tag=" : "",
	         s->target && s->remote_tag ? s->remote_tag : "");
	snprintf(cseq, sizeof cseq, "%u SUBSCRIBE", s->local_cseq);
	snprintf(expires, sizeof expires, "%ld", expires_s);
	rq = sip_request_create(home, SIP_METHOD_SUBSCRIBE,
	                        (url_string_t *)(s->target ? s->target : aor), NULL);
	if (!r || !rq ||
	    sip_add_tl(msg, sip, SIPTAG_REQUEST(rq), SIPTAG_FROM_STR(from), SIPTAG_TO_STR(to),
	               SIPTAG_CALL_ID_STR(id), SIPTAG_CSEQ_STR(cseq), SIPTAG_MAX_FORWARDS_STR("70"),
	               TAG_IF(s->route, SIPTAG_ROUTE_STR(s->route)),
	               SIPTAG_CONTACT_STR(net->contact), SIPTAG_EVENT_STR("presence"),
	               SIPTAG_ACCEPT_STR("application/pidf+xml"), SIPTAG_EXPIRES_STR(expires),
	               TAG_END()) < 0) {
		msg_destroy(msg);
		free(r);
		return false;
	}
	r->net = net;
	r->slot = s->slot;
	r->generation = s->generation;
	r->orq = nta_outgoing_mcreate(net->agent, on_answer, r, (url_string_t *)net->server, msg,
	                              TAG_END());
	if (!r->orq) {
		msg_destroy(msg);
		free(r);
		return false;
	}
	r->next = net->requests;
	r->link = &net->requests;
	if (r->next)
		r->next->link = &r->next;
	net->requests = r;
	return true;
}

unsigned pw_net_bad_requests(const struct pw_net *net)
{
	usize_t bad = 0;

	nta_agent_get_stats(net->agent, NTATAG_S_BAD_REQUEST_REF(bad), TAG_END());
	return (unsigned)bad;
}
