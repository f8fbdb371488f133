/* SPDX-License-Identifier: GPL-2.0-or-later */
#define NTA_OUTGOING_MAGIC_T struct request
#define TP_CLIENT_T struct server
#include "io/sip.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <sofia-sip/nta.h>
#include <sofia-sip/nta_tport.h>
#include <sofia-sip/sip_header.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/sip_tag.h>
#include <sofia-sip/su_tag.h>
#include <sofia-sip/tport.h>
#include <sofia-sip/tport_tag.h>

#include "px_version.h"

#define CSEQ_MAX 0x7fffffffu /* RFC 3261 §8.1.1.5 */
#define ADDRESS_MAX 64       /* "[IPv6]" */

struct server {
	struct px_sip *sip;
	url_t *url;
	struct px_mono heard_at;
	tport_t *connection; /* referenced; NULL: none is known */
	int pending;         /* our place among those that are told of its end */
	unsigned in_flight;
};

struct request {
	uint64_t id;
	struct px_sip *sip;
	struct server *server;
	nta_outgoing_t *out; /* NULL: couldn't be sent */
	bool passed_on;      /* the answer is somebody else's than the server's */
	struct px_mono sent_at, deadline;
	struct request *next, *prev;
};

struct px_sip {
	struct px_loop *loop;
	su_home_t *home;
	nta_agent_t *agent;
	nta_leg_t *leg;
	struct server *server;
	unsigned servers;
	bool udp; /* one of them may be reached over it */
	px_sip_done_h *done;
	px_sip_lost_h *lost;
	void *arg;
	su_timer_t *timer; /* for the first of waiting */
	struct px_mono timer_at;
	struct request *first, *last; /* waiting for their answer, earliest deadline first */
	uint64_t salt;                /* of Call-IDs and tags */
	uint32_t cseq;
};

/* ---- requests in flight ---- */

static void on_deadline(su_root_magic_t *magic, su_timer_t *t, su_timer_arg_t *arg);

/* It may run too early, when the request it was set for has been answered: cheaper than to set it anew at every answer. */
static void set_timer(struct px_sip *s)
{
	int64_t left;

	if (!s->first || (s->timer_at.ms != 0 && s->timer_at.ms <= s->first->deadline.ms))
		return;
	s->timer_at = s->first->deadline;
	left = s->timer_at.ms - px_loop_now(s->loop).mono.ms;
	su_timer_set_interval(s->timer, on_deadline, s, left > 0 ? left : 0);
}

static void insert(struct px_sip *s, struct request *r)
{
	struct request *before = s->last; /* the new one's deadline is nearly always the latest */

	while (before && before->deadline.ms > r->deadline.ms)
		before = before->prev;
	r->prev = before;
	r->next = before ? before->next : s->first;
	*(r->prev ? &r->prev->next : &s->first) = r;
	*(r->next ? &r->next->prev : &s->last) = r;
}

/* Sofia goes on by itself with what is left of the transaction: retransmissions of the answer, its
 * timers. */
static void drop(struct request *r)
{
	struct px_sip *s = r->sip;

	*(r->prev ? &r->prev->next : &s->first) = r->next;
	*(r->next ? &r->next->prev : &s->last) = r->prev;
	r->server->in_flight--;
	nta_outgoing_destroy(r->out);
	free(r);
}

/*
 * The request's connection, referenced, if nothing was heard on it since the request was sent: it
 * is as good as gone, but the kernel would hold on to it for a quarter of an hour. NULL: there is
 * no such thing.
 */
static tport_t *silent_connection(struct request *r)
{
	tport_t *tp = r->out && !r->passed_on ? nta_outgoing_transport(r->out) : NULL;

	if (tp && r->server->heard_at.ms <= r->sent_at.ms && tport_is_tcp(tp) &&
	    tport_is_secondary(tp))
		return tp;
	tport_unref(tp);
	return NULL;
}

static void on_deadline(su_root_magic_t *magic, su_timer_t *t, su_timer_arg_t *arg)
{
	struct px_sip *s = arg;
	struct px_mono now = px_loop_now(s->loop).mono;

	(void)magic;
	(void)t;
	s->timer_at.ms = 0;
	while (s->first && s->first->deadline.ms <= now.ms) {
		struct request *r = s->first;
		const struct px_sip_answer a = {.fail = r->out ? PX_SIP_TIMEOUT : PX_SIP_LOCAL,
		                                .expires = -1,
		                                .min_expires = -1,
		                                .retry_after = -1};
		uint64_t id = r->id;

		tport_t *silent = silent_connection(r);

		drop(r);
		if (silent) {
			tport_shutdown(silent, 2); /* ends the others there from within */
			tport_unref(silent);
		}
		s->done(s->arg, id, &a);
	}
	set_timer(s);
}

/* ---- connections ---- */

static void forget_connection(struct server *to)
{
	if (!to->connection)
		return;
	tport_release(to->connection, to->pending, NULL, NULL, to, 0);
	tport_unref(to->connection);
	to->connection = NULL;
}

static void on_connection_end(tp_stack_t *stack, struct server *to, tport_t *tp, msg_t *msg,
                              int error)
{
	(void)stack;
	(void)tp;
	(void)msg;
	(void)error;
	forget_connection(to);
	/* else they end in PX_SIP_TRANSPORT, which says as much */
	if (to->in_flight == 0)
		to->sip->lost(to->sip->arg);
}

/* An answer came on it: if it ends while nobody waits, that says something about the server too. */
static void know_connection(struct server *to, nta_outgoing_t *out)
{
	tport_t *tp = nta_outgoing_transport(out);

	if (tp == to->connection || !tport_is_tcp(tp) || !tport_is_secondary(tp)) {
		tport_unref(tp);
		return;
	}
	forget_connection(to);
	to->pending = tport_pend(tp, NULL, on_connection_end, to);
	if (to->pending > 0)
		to->connection = tp;
	else
		tport_unref(tp);
}

/* ---- answers ---- */

static int on_answer(struct request *r, nta_outgoing_t *out, sip_t const *sip)
{
	struct px_sip *s = r->sip;
	struct px_sip_answer a = {.expires = -1, .min_expires = -1, .retry_after = -1};
	int status = nta_outgoing_status(out);
	msg_t *msg = nta_outgoing_getresponse(out);
	bool ours = !sip || !msg || nta_is_internal_msg(msg);
	uint64_t id = r->id;

	if (!ours) {
		r->server->heard_at = px_loop_now(s->loop).mono;
		know_connection(r->server, out);
	}
	if (status < 200) {
		msg_destroy(msg);
		return 0;
	}
	if (ours) {
		a.fail = status == 408 ? PX_SIP_TIMEOUT : PX_SIP_TRANSPORT;
	} else {
		a.fail = PX_SIP_ANSWERED;
		a.status = status;
		a.reason = sip->sip_status ? sip->sip_status->st_phrase : NULL;
		a.etag = sip->sip_etag ? sip->sip_etag->g_string : NULL;
		if (sip->sip_expires)
			a.expires = (int64_t)sip->sip_expires->ex_delta;
		if (sip->sip_min_expires)
			a.min_expires = (int64_t)sip->sip_min_expires->me_delta;
		if (sip->sip_retry_after)
			a.retry_after = (int64_t)sip->sip_retry_after->af_delta;
	}
	s->done(s->arg, id, &a);
	drop(r);
	msg_destroy(msg);
	return 0;
}

/* ---- sending ---- */

static void next_cseq(struct px_sip *s)
{
	if (s->cseq++ < CSEQ_MAX)
		return;
	s->cseq = 1;
	s->salt++; /* other Call-IDs, so that none sees its CSeq go back */
}

static nta_outgoing_t *send_publish(struct px_sip *s, struct request *r, const struct px_action *a)
{
	const bool body = a->sip.body.len > 0;
	char uri[3 * PX_AOR_MAX + 8], from[sizeof uri + 32], to[sizeof uri + 2];
	char call_id[40], cseq[32], expires[16];
	uint64_t user = px_key_hash(a->sip.key, strlen(a->sip.key)) ^ s->salt;

	if (px_key_uri(a->sip.key, uri, sizeof uri) < 0)
		return NULL;
	next_cseq(s);
	snprintf(from, sizeof from, "<%s>;tag=%016llx", uri, (unsigned long long)user);
	snprintf(to, sizeof to, "<%s>", uri);
	snprintf(call_id, sizeof call_id, "%016llx@pua", (unsigned long long)user);
	snprintf(cseq, sizeof cseq, "%u PUBLISH", s->cseq);
	snprintf(expires, sizeof expires, "%u", a->sip.expires);
	return nta_outgoing_tcreate(
	    s->leg, on_answer, r, (url_string_t *)r->server->url, SIP_METHOD_PUBLISH,
	    (url_string_t *)uri, SIPTAG_FROM_STR(from), SIPTAG_TO_STR(to),
	    SIPTAG_CALL_ID_STR(call_id), SIPTAG_CSEQ_STR(cseq), SIPTAG_EVENT_STR("presence"),
	    SIPTAG_EXPIRES_STR(expires), SIPTAG_USER_AGENT_STR("pua_exchange/" PX_VERSION),
	    TAG_IF(a->sip.etag[0], SIPTAG_IF_MATCH_STR(a->sip.etag)),
	    TAG_IF(body, SIPTAG_CONTENT_TYPE_STR("application/pidf+xml")),
	    TAG_IF(body, SIPTAG_PAYLOAD_STR(a->sip.body.data)), TAG_END());
}

static struct request *begin(struct px_sip *s, uint64_t id, unsigned server)
{
	struct request *r = calloc(1, sizeof *r);

	assert(server < s->servers);
	if (!r)
		abort(); /* without it there is no way to keep the promise of one done() */
	*r = (struct request){
	    .id = id, .sip = s, .server = &s->server[server], .sent_at = px_loop_now(s->loop).mono};
	return r;
}

/* It was sent, or couldn't be. */
static void wait_for(struct request *r, nta_outgoing_t *out, int64_t timeout_ms)
{
	struct px_sip *s = r->sip;

	r->out = out;
	r->deadline = r->sent_at;
	if (out)
		r->deadline.ms += timeout_ms;
	r->server->in_flight++;
	insert(s, r);
	set_timer(s);
}

void px_sip_publish(struct px_sip *s, const struct px_action *a)
{
	struct request *r = begin(s, a->sip.id, a->sip.server);

	assert(a->kind == PX_DO_SIP_START);
	wait_for(r, send_publish(s, r, a), a->sip.timeout_ms);
}

/* RFC 3428 §4: not in a dialog, no Contact; Date tells when it was written, Expires how long that matters. */
static nta_outgoing_t *send_message(struct px_sip *s, struct request *r, const struct px_action *a)
{
	const char *sender = a->message.from ? a->message.from : a->message.key;
	const time_t now = (time_t)(px_loop_now(s->loop).wall.ms / 1000);
	char uri[3 * PX_AOR_MAX + 8], from[sizeof uri + 32], to[sizeof uri + 2];
	char call_id[48], cseq[32], expires[16], date[40];
	uint64_t user = px_key_hash(a->message.key, strlen(a->message.key)) ^ s->salt;
	struct tm tm;

	if (px_key_uri(sender, uri, sizeof uri) < 0)
		return NULL;
	next_cseq(s);
	snprintf(from, sizeof from, "<%s>;tag=%016llx", uri, (unsigned long long)user);
	if (px_key_uri(a->message.key, uri, sizeof uri) < 0)
		return NULL;
	snprintf(to, sizeof to, "<%s>", uri);
	snprintf(call_id, sizeof call_id, "%016llx-%u@pua", (unsigned long long)user, s->cseq);
	snprintf(cseq, sizeof cseq, "%u MESSAGE", s->cseq);
	snprintf(expires, sizeof expires, "%u", a->message.expires);
	strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	return nta_outgoing_tcreate(
	    s->leg, on_answer, r, (url_string_t *)r->server->url, SIP_METHOD_MESSAGE,
	    (url_string_t *)uri, SIPTAG_FROM_STR(from), SIPTAG_TO_STR(to),
	    SIPTAG_CALL_ID_STR(call_id), SIPTAG_CSEQ_STR(cseq), SIPTAG_DATE_STR(date),
	    SIPTAG_EXPIRES_STR(expires), SIPTAG_USER_AGENT_STR("pua_exchange/" PX_VERSION),
	    SIPTAG_CONTENT_TYPE_STR("text/plain;charset=UTF-8"),
	    TAG_IF(a->message.lang, SIPTAG_CONTENT_LANGUAGE_STR(a->message.lang)),
	    SIPTAG_PAYLOAD_STR(a->message.body.data), TAG_END());
}

void px_sip_message(struct px_sip *s, const struct px_action *a)
{
	struct request *r = begin(s, a->message.id, a->message.server);

	assert(a->kind == PX_DO_SIP_MESSAGE && a->message.body.len > 0);
	r->passed_on = true;
	wait_for(r, send_message(s, r, a), a->message.timeout_ms);
}

/* ---- making and ending ---- */

/* The local address from which a server is reached, as a URI's host; false: its host is a name, or
 * there is no way to it now. */
static bool local_address(const url_t *server, char out[ADDRESS_MAX])
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	                               .ai_socktype = SOCK_DGRAM};
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	struct addrinfo *ai;
	char host[ADDRESS_MAX], name[INET6_ADDRSTRLEN];
	size_t n = strlen(server->url_host);
	bool found = false;
	int fd;

	if (n >= sizeof host)
		return false;
	strcpy(host, server->url_host);
	if (host[0] == '[') {
		host[n - 1] = '\0';
		memmove(host, host + 1, n - 1);
	}
	if (getaddrinfo(host, "5060", &hints, &ai) != 0)
		return false;
	fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    getsockname(fd, (struct sockaddr *)&a, &len) == 0 &&
	    getnameinfo((struct sockaddr *)&a, len, name, sizeof name, NULL, 0, NI_NUMERICHOST) ==
	        0) {
		snprintf(out, ADDRESS_MAX, a.ss_family == AF_INET6 ? "[%s]" : "%s", name);
		found = true;
	}
	if (fd >= 0)
		close(fd);
	freeaddrinfo(ai);
	return found;
}

static int add_server(struct px_sip *s, const char *uri, char *why)
{
	url_t *u = url_hdup(s->home, (url_t const *)uri);
	char transport[8] = "";

	if (u && u->url_params)
		url_param(u->url_params, "transport", transport, sizeof transport);
	if (!u || u->url_type != url_sip || !u->url_host || !u->url_host[0]) {
		snprintf(
		    why, PX_SIP_WHY, "presence_server %.150s: %s", uri,
		    u && u->url_type == url_sips
		        ? "sips: can't be done by this version; give sip: with transport=tcp or udp"
		        : "must be sip:HOST[:PORT][;transport=udp|tcp]");
		return -EINVAL;
	}
	if (transport[0] && strcasecmp(transport, "udp") != 0 &&
	    strcasecmp(transport, "tcp") != 0) {
		snprintf(why, PX_SIP_WHY,
		         "presence_server %.150s: transport=%s can't be done by this version; give "
		         "tcp or udp",
		         uri, transport);
		return -EINVAL;
	}
	/* RFC 3263 §4.1; left to itself, Sofia takes the transport that was bound first */
	if (!transport[0] && url_param_add(s->home, u, "transport=udp") < 0)
		return -ENOMEM;
	s->udp = s->udp || strcasecmp(transport, "tcp") != 0;
	s->server[s->servers++] = (struct server){.sip = s, .url = u};
	return 0;
}

static int bind_to(struct px_sip *s, const char *address, char *why)
{
	/* each by itself: of a list, Sofia uses what is already gone. A server on UDP needs TCP
	 * too, for what is too long */
	static const char *const transport[] = {"tcp", "udp"};
	const char *port = strrchr(address, ':');
	char uri[ADDRESS_MAX + 64];

	if (port && strchr(port, ']'))
		port = NULL; /* IPv6 alone */
	for (unsigned i = 0; i < (s->udp ? 2 : 1); i++) {
		snprintf(uri, sizeof uri, "sip:%s%s;transport=%s", address, port ? "" : ":*",
		         transport[i]);
		if (nta_agent_add_tport(s->agent, (url_string_t *)uri,
		                        TPTAG_QUEUESIZE(2 * PX_SIP_WINDOW_MAX), TPTAG_SDWN_ERROR(1),
		                        TAG_END()) == 0)
			continue;
		snprintf(why, PX_SIP_WHY, "sip_bind %.100s: can't be used for %s: %s", address,
		         transport[i], strerror(errno));
		return -EADDRNOTAVAIL;
	}
	return 0;
}

/* One pair of sockets (UDP, TCP) for each address that is needed. */
static int bind_all(struct px_sip *s, const struct px_sip_config *c, char *why)
{
	char address[ADDRESS_MAX], (*bound)[ADDRESS_MAX];
	unsigned n = 0, i;
	int err = 0;

	if (c->bind)
		return bind_to(s, c->bind, why);
	bound = calloc(c->servers, sizeof *bound);
	if (!bound)
		return -ENOMEM;
	for (unsigned k = 0; k < c->servers && err == 0; k++) {
		if (!local_address(s->server[k].url, address))
			strcpy(address, "*");
		for (i = 0; i < n && strcmp(bound[i], address) != 0; i++)
			;
		if (i < n)
			continue;
		strcpy(bound[n++], address);
		err = bind_to(s, address, why);
	}
	free(bound);
	return err;
}

/* Our TCP port is the name in Via, not an invitation: answers come on the connections that we made, and nobody else's are taken. */
static void take_no_connections(struct px_sip *s)
{
	for (tport_t *tp = tport_primaries(nta_agent_tports(s->agent)); tp; tp = tport_next(tp))
		if (tport_is_tcp(tp))
			tport_stall(tp);
}

int px_sip_new(struct px_sip **out, struct px_loop *loop, const struct px_sip_config *c,
               char why[PX_SIP_WHY])
{
	struct px_sip *s = calloc(1, sizeof *s);
	int err = -ENOMEM;

	why[0] = '\0';
	if (!s)
		return -ENOMEM;
	s->loop = loop;
	s->done = c->done;
	s->lost = c->lost;
	s->arg = c->arg;
	s->home = su_home_new(sizeof *s->home);
	s->server = calloc(c->servers, sizeof *s->server);
	s->timer = su_timer_create(su_root_task(px_loop_root(loop)), 0);
	if (!s->home || !s->server || !s->timer)
		goto failed;
	if (getrandom(&s->salt, sizeof s->salt, 0) != sizeof s->salt) {
		err = -errno;
		goto failed;
	}
	for (unsigned i = 0; i < c->servers; i++)
		if ((err = add_server(s, c->server[i], why)) < 0)
			goto failed;
	err = -ENOMEM;
	s->agent = nta_agent_create(px_loop_root(loop), (url_string_t *)-1, NULL, NULL, TAG_END());
	if (!s->agent || (err = bind_all(s, c, why)) < 0)
		goto failed;
	take_no_connections(s);
	s->leg = nta_leg_tcreate(s->agent, NULL, NULL, NTATAG_NO_DIALOG(1), TAG_END());
	if (!s->leg) {
		err = -ENOMEM;
		goto failed;
	}
	*out = s;
	return 0;

failed:
	if (!why[0])
		snprintf(why, PX_SIP_WHY, "SIP can't be started: %s", strerror(-err));
	px_sip_free(s);
	return err;
}

void px_sip_free(struct px_sip *s)
{
	if (!s)
		return;
	while (s->first)
		drop(s->first);
	for (unsigned i = 0; i < s->servers; i++)
		forget_connection(&s->server[i]);
	if (s->leg)
		nta_leg_destroy(s->leg);
	if (s->agent)
		nta_agent_destroy(s->agent);
	if (s->timer)
		su_timer_destroy(s->timer);
	if (s->home)
		su_home_unref(s->home);
	free(s->server);
	free(s);
}
