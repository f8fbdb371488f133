/* SPDX-License-Identifier: GPL-2.0-or-later */
#define NTA_OUTGOING_MAGIC_T struct request
#define TP_CLIENT_T struct place
#include "io/sip.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>

#include <sofia-sip/msg_header.h>
#include <sofia-sip/nta.h>
#include <sofia-sip/nta_tport.h>
#include <sofia-sip/sip_header.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/sip_tag.h>
#include <sofia-sip/su_log.h>
#include <sofia-sip/su_tag.h>
#include <sofia-sip/tport.h>
#include <sofia-sip/tport_tag.h>

#include "io/digest.h"
#include "io/log.h"
#include "io/port.h"
#include "io/resolve.h"
#include "io/tls.h"
#include "px_version.h"

#define CSEQ_MAX 0x7fffffffu /* RFC 3261 §8.1.1.5 */
#define HOST_MAX 255
#define URI_MAX (3 * PX_AOR_MAX + 8)
#define HOPS_MAX 5       /* redirections of one request */
#define CHALLENGES_MAX 4 /* of one request */
#define OVERTAKEN_MAX 3  /* challenges after which a request that was refused counts as that */
#define LOGINS_MAX 4     /* realms of one server whose challenge is kept */
#define RETRY_LOOKUP_MS 3000
#define BY_UDP_MS 600000 /* a TCP that swallowed a long request isn't tried again for so long */
#define SAY_TLS_MS 60000 /* the same trouble isn't told more often */

/* An address that requests go to. Owned by those that use it: the server that lists it, the requests that are there. */
struct place {
	struct px_sip *sip;
	struct px_address address;
	char host[HOST_MAX + 1]; /* as it was given: what a certificate must say */
	char *url;               /* for nta; with it Sofia needs no resolver */
	nta_leg_t *leg;          /* at the local sockets that reach it */
	struct px_mono heard_at, by_udp_until;
	tport_t *connection; /* referenced; NULL: none is known */
	int pending;         /* our place among those that are told of its end */
	unsigned in_flight;
	unsigned listed; /* by servers */
	struct place *next;
};

/* A challenge that was answered, and goes on being. */
struct login {
	bool proxy; /* 407 */
	struct px_digest digest;
	uint64_t used; /* the one that wasn't for longest gives way; 0: free */
};

/* One presence_server. */
struct server {
	struct px_sip *sip;
	const char *uri;
	char host[HOST_MAX + 1];
	uint16_t port;
	enum px_sip_transport transport;
	struct px_lookup *lookup; /* under way */
	struct px_mono good_until;
	bool failed; /* the last lookup */
	struct place *place[PX_ADDRESSES_MAX];
	unsigned places, current;
	struct login login[LOGINS_MAX];
};

struct request {
	uint64_t id;
	struct px_sip *sip;
	struct server *server;
	bool waits;            /* for its server's name */
	bool heard;            /* a provisional answer came */
	struct place *place;   /* where it is; NULL: nowhere */
	nta_outgoing_t *out;   /* NULL: couldn't be sent, or waits */
	enum px_sip_fail fail; /* what it ends in at its deadline */
	struct px_mono sent_at, deadline;
	struct request *next, *prev;
	unsigned moves, hops, challenges; /* to other addresses, redirections, answered */
	bool answered[2];                 /* a challenge of 401, of 407, in this very request */
	char realm[2][PX_REALM_MAX + 1];  /* its last challenge's */
	uint64_t nonce
	    [2]; /* hash of what it went with, and how often that had been used; 0: with none */
	uint32_t nc[2];
	struct px_lookup *lookup; /* of a redirection */
	char *contact;            /* the Request-URI of a redirection; NULL: the user's own */
	char contact_host[HOST_MAX + 1];
	bool message; /* MESSAGE, else PUBLISH: the answer is somebody else's than the server's */
	const char *sender, *lang; /* MESSAGE: see engine.h */
	char key[PX_AOR_MAX + 1];
	char etag[PX_ETAG_MAX + 1];
	uint32_t expires;
	struct px_buf body;
};

struct px_sip {
	struct px_loop *loop;
	su_home_t *home;
	struct px_ports *ports;
	struct px_resolver *resolver;
	struct server *server;
	unsigned servers;
	struct place *places;
	char *user, *password;
	px_sip_done_h *done;
	px_sip_lost_h *lost;
	void *arg;
	su_timer_t *timer; /* for the first of waiting */
	struct px_mono timer_at;
	struct request *first, *last; /* waiting for their answer, earliest deadline first */
	uint64_t salt;                /* of Call-IDs and tags */
	uint32_t cseq;
	uint64_t logins;
	struct px_mono tls_said_at;
};

/* Sofia's, which has it in no header */
extern su_log_t tport_log[];

static void go_to(struct request *r, struct place *to);

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
	set_timer(s);
}

static void take_out(struct request *r)
{
	*(r->prev ? &r->prev->next : &r->sip->first) = r->next;
	*(r->next ? &r->next->prev : &r->sip->last) = r->prev;
}

static void release(struct place *p);

/* Away from where it is. Sofia goes on by itself with what is left of the transaction: retransmissions of the answer, its timers. */
static void leave(struct request *r)
{
	if (r->out)
		nta_outgoing_destroy(r->out);
	r->out = NULL;
	if (r->place) {
		r->place->in_flight--;
		release(r->place);
	}
	r->place = NULL;
}

static void drop(struct request *r)
{
	take_out(r);
	leave(r);
	px_lookup_cancel(r->lookup);
	px_buf_free(&r->body);
	free(r->contact);
	free(r);
}

/* It ends soon, but not from within whatever is under way. */
static void end_soon(struct request *r, enum px_sip_fail fail)
{
	leave(r);
	r->waits = false;
	r->fail = fail;
	r->deadline = px_loop_now(r->sip->loop).mono;
	take_out(r);
	insert(r->sip, r);
}

/*
 * The request's connection, referenced, if nothing was heard on it since the request was sent: it
 * is as good as gone, but the kernel would hold on to it for a quarter of an hour. NULL: there is
 * no such thing.
 */
static tport_t *silent_connection(struct request *r)
{
	tport_t *tp = r->out && !r->heard && !r->message ? nta_outgoing_transport(r->out) : NULL;

	if (tp && r->place->heard_at.ms <= r->sent_at.ms && tport_is_tcp(tp) &&
	    tport_is_secondary(tp))
		return tp;
	tport_unref(tp);
	return NULL;
}

/* Did it go by TCP to a place that is for UDP? */
static bool was_too_long(struct request *r)
{
	tport_t *tp = nta_outgoing_transport(r->out);
	const bool tcp = r->place->address.transport == PX_SIP_UDP && tport_is_tcp(tp);

	tport_unref(tp);
	return tcp;
}

/* Whoever comes after it begins at the next address. */
static void turn_from(struct server *server, const struct place *p)
{
	if (server->places > 1 && server->place[server->current] == p)
		server->current = (server->current + 1) % server->places;
}

static void on_deadline(su_root_magic_t *magic, su_timer_t *t, su_timer_arg_t *arg)
{
	struct px_sip *s = arg;
	struct px_now now = px_loop_now(s->loop);

	(void)magic;
	(void)t;
	s->timer_at.ms = 0;
	while (s->first && s->first->deadline.ms <= now.mono.ms) {
		struct request *r = s->first;
		const struct px_sip_answer a = {
		    .fail = r->fail, .expires = -1, .min_expires = -1, .retry_after = -1};
		uint64_t id = r->id;

		tport_t *silent = silent_connection(r);

		if (r->out && !r->message) {
			turn_from(r->server, r->place);
			if (was_too_long(r))
				r->place->by_udp_until = px_after(now, BY_UDP_MS);
		}
		if (r->out)
			px_port_give_up(s->ports, r->place->leg, r->out);
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

static void forget_connection(struct place *to)
{
	if (!to->connection)
		return;
	tport_release(to->connection, to->pending, NULL, NULL, to, 0);
	tport_unref(to->connection);
	to->connection = NULL;
}

static void on_connection_end(tp_stack_t *stack, struct place *to, tport_t *tp, msg_t *msg,
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
static void know_connection(struct place *to, nta_outgoing_t *out)
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

/* ---- places ---- */

static void free_place(struct place *p)
{
	forget_connection(p);
	free(p->url);
	free(p);
}

/* Nobody needs it any more? */
static void release(struct place *p)
{
	struct place **at = &p->sip->places;

	if (p->listed || p->in_flight)
		return;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	free_place(p);
}

/* NULL: there is no way to it from here (a line in why), or no memory. */
static struct place *place_at(struct px_sip *s, const struct px_address *a, const char *host,
                              int *err, char why[PX_PORT_WHY])
{
	const bool named = a->transport == PX_SIP_TLS && strcmp(a->host, host) != 0;
	nta_leg_t *leg;
	struct place *p;

	for (p = s->places; p; p = p->next)
		if (p->address.port == a->port && p->address.transport == a->transport &&
		    strcmp(p->address.host, a->host) == 0 && strcasecmp(p->host, host) == 0)
			return p;
	leg = px_port_for(s->ports, a, err, why);
	if (!leg)
		return NULL;
	*err = -ENOMEM;
	p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	*p = (struct place){.sip = s, .address = *a, .leg = leg, .next = s->places};
	snprintf(p->host, sizeof p->host, "%s", host);
	/* with maddr Sofia connects there, and looks in the certificate for the host */
	if (asprintf(&p->url, "sip:%s:%u;transport=%s%s%s", named ? host : a->host, a->port,
	             px_sip_transport_name(a->transport), named ? ";maddr=" : "",
	             named ? a->host : "") < 0) {
		free(p);
		return NULL;
	}
	s->places = p;
	return p;
}

/* ---- the server's addresses ---- */

static void look_up(struct server *server);

/* Everybody who waits for this server's name. */
static void go_on(struct server *server)
{
	struct request *r = server->sip->first, *next;

	for (; r; r = next) {
		next = r->next;
		if (r->server != server || !r->waits)
			continue;
		if (server->places > 0)
			go_to(r, server->place[server->current]);
		else
			end_soon(r, PX_SIP_TRANSPORT);
	}
}

static void resolved(void *arg, const struct px_address *address, unsigned n, int64_t ttl_s)
{
	struct server *server = arg;
	struct px_sip *s = server->sip;
	const struct px_now now = px_loop_now(s->loop);
	struct place *found[PX_ADDRESSES_MAX], *old[PX_ADDRESSES_MAX], *used = NULL;
	unsigned k = 0, olds = server->places;
	char why[PX_PORT_WHY] = "the name isn't known, or the DNS doesn't answer";
	int err;

	server->lookup = NULL;
	for (unsigned i = 0; i < n; i++) {
		struct place *p = place_at(s, &address[i], server->host, &err, why);

		if (!p)
			continue;
		p->listed++;
		found[k++] = p;
	}
	server->good_until = px_after(now, k > 0 ? ttl_s * 1000 : RETRY_LOOKUP_MS);
	if (k == 0) {
		/* the addresses it had may still be good: better than none */
		if (!server->failed)
			px_log(PX_LOG_WARN, "presence_server %s: no address: %s", server->uri, why);
		server->failed = true;
		go_on(server);
		return;
	}
	server->failed = false;
	if (olds > 0)
		used = server->place[server->current];
	memcpy(old, server->place, sizeof old);
	memcpy(server->place, found, k * sizeof *found);
	server->places = k;
	server->current = 0;
	/* the one in use is kept, as what stands, stands there */
	for (unsigned i = 0; i < k; i++)
		if (found[i] == used)
			server->current = i;
	for (unsigned i = 0; i < olds; i++) {
		old[i]->listed--;
		release(old[i]);
	}
	go_on(server);
}

static void look_up(struct server *server)
{
	struct px_lookup *l;

	if (server->lookup || server->good_until.ms > px_loop_now(server->sip->loop).mono.ms)
		return;
	l = px_resolve(server->sip->resolver, server->host, server->port, server->transport,
	               resolved, server);
	if (l)
		server->lookup = l;
}

/* ---- logging in ---- */

static const char *method_name(const struct request *r)
{
	return r->message ? "MESSAGE" : "PUBLISH";
}

static const char *domain_of(const char *key)
{
	const char *at = strrchr(key, '@');

	return at ? at + 1 : key;
}

static struct login *login_for(struct server *server, bool proxy, const char *realm)
{
	struct login *newest = NULL;

	for (struct login *l = server->login; l < server->login + LOGINS_MAX; l++) {
		if (!l->used || l->proxy != proxy)
			continue;
		if (strcasecmp(l->digest.realm, realm) == 0)
			return l;
		if (!newest || l->used > newest->used)
			newest = l;
	}
	return newest;
}

/* The value of (Proxy-)Authorization; false: there is none to give. */
static bool credentials(struct request *r, bool proxy, const char *uri, char *out, size_t size)
{
	struct px_sip *s = r->sip;
	/* before it is known, the realm is likely that of the user's domain */
	const char *realm = r->answered[proxy] ? r->realm[proxy] : domain_of(r->key);
	struct login *l;

	if (!s->user || (r->contact && !r->answered[proxy]))
		return false;
	l = login_for(r->server, proxy, realm);
	if (!l)
		return false;
	l->used = ++s->logins;
	if (px_digest_answer(&l->digest, s->user, method_name(r), uri, out, size) <= 0)
		return false;
	r->nonce[proxy] = px_key_hash(l->digest.nonce, strlen(l->digest.nonce));
	r->nc[proxy] = l->digest.nc;
	return true;
}

/*
 * Others have used its nonce, too, and over UDP, or in a server of several processes, may have come first: its count looks like a replay then
 * (RFC 7616 §3.4.5). Not every server says "stale" to that.
 */
static bool overtaken(struct request *r, bool proxy)
{
	const struct login *l = login_for(r->server, proxy, r->realm[proxy]);

	return r->challenges < OVERTAKEN_MAX && l &&
	       (r->nc[proxy] > 1 || l->digest.nc > r->nc[proxy] ||
	        r->nonce[proxy] != px_key_hash(l->digest.nonce, strlen(l->digest.nonce)));
}

/* Keeps the first challenge that can be answered (RFC 8760 §2.4). True: it is worth answering. */
static bool challenged(struct request *r, int status, const sip_t *sip)
{
	const bool proxy = status == 407;
	const struct px_account with = {r->sip->user, r->sip->password};
	const msg_auth_t *c = proxy ? sip->sip_proxy_authenticate : sip->sip_www_authenticate;
	struct login *l, *oldest = r->server->login;
	struct px_digest d;

	if (!r->sip->user || r->challenges == CHALLENGES_MAX)
		return false;
	while (c && !px_digest_take(&d, c->au_scheme, (const char *const *)c->au_params, &with))
		c = c->au_next;
	if (!c)
		return false;
	/* what was made for a challenge of this very request and isn't too old is wrong */
	if (r->answered[proxy] && !d.stale && strcmp(r->realm[proxy], d.realm) == 0 &&
	    !overtaken(r, proxy)) {
		explicit_bzero(&d, sizeof d);
		return false;
	}
	l = login_for(r->server, proxy, d.realm);
	if (!l || strcasecmp(l->digest.realm, d.realm) != 0) {
		for (l = r->server->login; l < r->server->login + LOGINS_MAX; l++)
			if (l->used < oldest->used)
				oldest = l;
		l = oldest;
	}
	*l = (struct login){.proxy = proxy, .digest = d, .used = ++r->sip->logins};
	explicit_bzero(&d, sizeof d);
	memcpy(r->realm[proxy], l->digest.realm, sizeof r->realm[proxy]);
	r->answered[proxy] = true;
	r->challenges++;
	return true;
}

/* A nonce for the next request, which needs no challenge then (RFC 7616 §3.5). */
static void next_nonce(struct request *r, const msg_auth_info_t *info, bool proxy)
{
	const char *nonce = info ? msg_params_find(info->ai_params, "nextnonce=") : NULL;
	const char *realm = r->answered[proxy] ? r->realm[proxy] : domain_of(r->key);
	struct login *l = nonce ? login_for(r->server, proxy, realm) : NULL;

	if (l)
		px_digest_next(&l->digest, nonce);
}

/* ---- redirections ---- */

static void contact_resolved(void *arg, const struct px_address *address, unsigned n, int64_t ttl_s)
{
	struct request *r = arg;
	struct place *to = NULL;
	char why[PX_PORT_WHY];
	int err;

	(void)ttl_s;
	r->lookup = NULL;
	for (unsigned i = 0; i < n && !to; i++)
		to = place_at(r->sip, &address[i], r->contact_host, &err, why);
	if (to)
		go_to(r, to);
	else
		end_soon(r, PX_SIP_TRANSPORT);
}

/* Where a Contact leads, and over what; false: we don't go there. */
static bool is_contact(const struct request *r, const url_t *u, uint16_t *port,
                       enum px_sip_transport *transport)
{
	char name[8] = "";
	unsigned long number = u->url_port && *u->url_port ? strtoul(u->url_port, NULL, 10) : 0;

	if ((u->url_type != url_sip && u->url_type != url_sips) || !u->url_host || !*u->url_host ||
	    strlen(u->url_host) > HOST_MAX || number > UINT16_MAX)
		return false;
	if (u->url_params)
		url_param(u->url_params, "transport", name, sizeof name);
	*port = (uint16_t)number;
	*transport = u->url_type == url_sips || strcasecmp(name, "tls") == 0 ? PX_SIP_TLS
	             : strcasecmp(name, "tcp") == 0                          ? PX_SIP_TCP
	             : strcasecmp(name, "udp") == 0                          ? PX_SIP_UDP
	                                                                     : PX_SIP_ANY;
	/* what was to go encrypted goes encrypted */
	return *transport == PX_SIP_TLS || r->server->transport != PX_SIP_TLS;
}

/* The best of the Contacts (q), the first of equals. */
static const sip_contact_t *best_contact(const struct request *r, const sip_t *sip, uint16_t *port,
                                         enum px_sip_transport *transport)
{
	const sip_contact_t *best = NULL;
	double most = -1;

	for (const sip_contact_t *c = sip->sip_contact; c; c = c->m_next) {
		double q = c->m_q ? strtod(c->m_q, NULL) : 1;
		uint16_t p;
		enum px_sip_transport t;

		if (q > most && is_contact(r, c->m_url, &p, &t)) {
			best = c;
			most = q;
			*port = p;
			*transport = t;
		}
	}
	return best;
}

static bool redirected(struct request *r, const sip_t *sip)
{
	enum px_sip_transport transport;
	uint16_t port;
	const sip_contact_t *c;
	char uri[URI_MAX] = "";
	url_t u;

	if (r->hops == HOPS_MAX || !(c = best_contact(r, sip, &port, &transport)))
		return false;
	u = *c->m_url;
	u.url_headers = NULL;
	u.url_fragment = NULL;
	/* one without a user means another server, for the same user */
	if (u.url_user ? url_e(uri, sizeof uri, &u) >= (issize_t)sizeof uri
	               : px_key_uri(r->key, uri, sizeof uri) < 0)
		return false;
	leave(r);
	r->hops++;
	free(r->contact);
	r->contact = strdup(uri);
	snprintf(r->contact_host, sizeof r->contact_host, "%s", c->m_url->url_host);
	r->answered[0] = r->answered[1] = false;
	r->fail = PX_SIP_TRANSPORT;
	if (!r->contact) {
		end_soon(r, PX_SIP_LOCAL);
		return true;
	}
	struct px_lookup *l =
	    px_resolve(r->sip->resolver, r->contact_host, port, transport, contact_resolved, r);
	if (l)
		r->lookup = l;
	return true;
}

/* ---- answers ---- */

/* The server's next address, when there is one that this request wasn't at yet. */
static bool another(struct request *r)
{
	struct server *server = r->server;

	if (r->contact)
		return false;
	turn_from(server, r->place);
	if (r->moves + 1 >= server->places || server->place[server->current] == r->place)
		return false;
	r->moves++;
	leave(r);
	go_to(r, server->place[server->current]);
	return true;
}

/* Is there something to be done about it before it is told? Then that is done. */
static bool goes_on(struct request *r, int status, const sip_t *sip)
{
	if (status == 401 || status == 407) {
		struct place *here = r->place;

		if (!challenged(r, status, sip))
			return false;
		here->in_flight++; /* stays */
		leave(r);
		here->in_flight--;
		go_to(r, here);
		return true;
	}
	if (r->message) /* what else there is to be said, whoever it was for may have said */
		return false;
	if (status / 100 == 3)
		return redirected(r, sip);
	return status == 503 && another(r);
}

static int on_answer(struct request *r, nta_outgoing_t *out, sip_t const *sip)
{
	struct px_sip *s = r->sip;
	struct px_sip_answer a = {.expires = -1, .min_expires = -1, .retry_after = -1};
	int status = nta_outgoing_status(out);
	msg_t *msg = nta_outgoing_getresponse(out);
	bool ours = !sip || !msg || nta_is_internal_msg(msg);
	uint64_t id = r->id;

	if (!ours) {
		r->heard = true;
		r->place->heard_at = px_loop_now(s->loop).mono;
		if (r->place->listed)
			know_connection(r->place, out);
	}
	if (status < 200) {
		msg_destroy(msg);
		return 0;
	}
	if (ours ? status != 408 && another(r) : goes_on(r, status, sip)) {
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
		next_nonce(r, sip->sip_authentication_info, false);
		next_nonce(r, sip->sip_proxy_authentication_info, true);
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

/*
 * RFC 3903 §4; RFC 3428 §4: not in a dialog, no Contact; Date tells when it was written, Expires how long that matters.
 */
static nta_outgoing_t *send_request(struct px_sip *s, struct request *r)
{
	const bool message = r->message, body = r->body.len > 0;
	const bool by_udp = r->place->by_udp_until.ms > r->sent_at.ms;
	char uri[URI_MAX], from[sizeof uri + 32], to[sizeof uri + 2];
	char call_id[48], cseq[32], expires[16], date[40] = "";
	char www[PX_DIGEST_ANSWER_MAX], proxy[PX_DIGEST_ANSWER_MAX];
	uint64_t user = px_key_hash(r->key, strlen(r->key)) ^ s->salt;

	if (px_key_uri(r->sender ? r->sender : r->key, uri, sizeof uri) < 0)
		return NULL;
	next_cseq(s);
	snprintf(from, sizeof from, "<%s>;tag=%016llx", uri, (unsigned long long)user);
	if (r->sender && px_key_uri(r->key, uri, sizeof uri) < 0)
		return NULL;
	snprintf(to, sizeof to, "<%s>", uri);
	if (message) {
		const time_t now = (time_t)(px_loop_now(s->loop).wall.ms / 1000);
		struct tm tm;

		snprintf(call_id, sizeof call_id, "%016llx-%u@pua", (unsigned long long)user,
		         s->cseq);
		strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
	} else {
		snprintf(call_id, sizeof call_id, "%016llx@pua", (unsigned long long)user);
	}
	snprintf(cseq, sizeof cseq, "%u %s", s->cseq, method_name(r));
	snprintf(expires, sizeof expires, "%u", r->expires);

	const char *request_uri = r->contact ? r->contact : uri;
	const bool login = credentials(r, false, request_uri, www, sizeof www);
	const bool proxy_login = credentials(r, true, request_uri, proxy, sizeof proxy);

	return nta_outgoing_tcreate(
	    r->place->leg, on_answer, r, (url_string_t *)r->place->url,
	    message ? sip_method_message : sip_method_publish, method_name(r),
	    (url_string_t *)request_uri, NTATAG_PASS_100(1), TAG_IF(by_udp, TPTAG_MTU(UINT16_MAX)),
	    SIPTAG_FROM_STR(from), SIPTAG_TO_STR(to), SIPTAG_CALL_ID_STR(call_id),
	    SIPTAG_CSEQ_STR(cseq), TAG_IF(!message, SIPTAG_EVENT_STR("presence")),
	    TAG_IF(message, SIPTAG_DATE_STR(date)), SIPTAG_EXPIRES_STR(expires),
	    SIPTAG_USER_AGENT_STR("pua_exchange/" PX_VERSION),
	    TAG_IF(r->etag[0], SIPTAG_IF_MATCH_STR(r->etag)),
	    TAG_IF(login, SIPTAG_AUTHORIZATION_STR(www)),
	    TAG_IF(proxy_login, SIPTAG_PROXY_AUTHORIZATION_STR(proxy)),
	    TAG_IF(body, SIPTAG_CONTENT_TYPE_STR(message ? "text/plain;charset=UTF-8"
	                                                 : "application/pidf+xml")),
	    TAG_IF(r->lang, SIPTAG_CONTENT_LANGUAGE_STR(r->lang)),
	    TAG_IF(body, SIPTAG_PAYLOAD_STR(r->body.data)), TAG_END());
}

/* Sends it there; it is nowhere now. */
static void go_to(struct request *r, struct place *to)
{
	r->waits = r->heard = false;
	r->place = to;
	to->in_flight++;
	r->fail = PX_SIP_TIMEOUT;
	r->sent_at = px_loop_now(r->sip->loop).mono;
	r->out = send_request(r->sip, r);
	if (to->address.transport == PX_SIP_TLS)
		px_tls_sweep();
	if (!r->out)
		end_soon(r, PX_SIP_LOCAL);
}

static struct request *request(struct px_sip *s, uint64_t id, unsigned server, const char *key,
                               struct px_buf *body)
{
	struct request *r = calloc(1, sizeof *r);

	assert(server < s->servers);
	if (!r)
		abort(); /* without it there is no way to keep the promise of one done() */
	r->id = id;
	r->sip = s;
	r->server = &s->server[server];
	r->body = *body;
	*body = px_buf_new(0);
	snprintf(r->key, sizeof r->key, "%s", key);
	return r;
}

static void begin(struct request *r, int64_t timeout_ms)
{
	struct server *server = r->server;

	r->deadline = px_after(px_loop_now(r->sip->loop), timeout_ms);
	r->fail = PX_SIP_TRANSPORT; /* as long as there is nowhere to send it */
	r->waits = true;
	insert(r->sip, r);
	look_up(server);
	if (!r->waits)
		return; /* resolved() has seen to it */
	if (server->places > 0)
		go_to(r, server->place[server->current]);
	else if (!server->lookup)
		end_soon(r, PX_SIP_TRANSPORT);
}

void px_sip_publish(struct px_sip *s, struct px_action *a)
{
	struct request *r = request(s, a->sip.id, a->sip.server, a->sip.key, &a->sip.body);

	assert(a->kind == PX_DO_SIP_START);
	r->expires = a->sip.expires;
	memcpy(r->etag, a->sip.etag, sizeof r->etag);
	begin(r, a->sip.timeout_ms);
}

void px_sip_message(struct px_sip *s, struct px_action *a)
{
	struct request *r =
	    request(s, a->message.id, a->message.server, a->message.key, &a->message.body);

	assert(a->kind == PX_DO_SIP_MESSAGE && r->body.len > 0);
	r->message = true;
	r->sender = a->message.from;
	r->lang = a->message.lang;
	r->expires = a->message.expires;
	begin(r, a->message.timeout_ms);
}

/* ---- making and ending ---- */

static bool is_numeric(const char *host)
{
	return host[0] == '[' || host[strspn(host, "0123456789.")] == '\0';
}

static int add_server(struct px_sip *s, const char *uri, char *why)
{
	struct server *server = &s->server[s->servers];
	url_t *u = url_hdup(s->home, (url_t const *)uri);
	char transport[8] = "";
	unsigned long port;

	if (u && u->url_params)
		url_param(u->url_params, "transport", transport, sizeof transport);
	if (!u || u->url_type != url_sip || !u->url_host || !u->url_host[0] ||
	    strlen(u->url_host) > HOST_MAX) {
		snprintf(why, PX_SIP_WHY, "presence_server %.150s: %s", uri,
		         u && u->url_type == url_sips
		             ? "give sip: with transport=tls instead of sips:"
		             : "must be sip:HOST[:PORT][;transport=udp|tcp|tls]");
		return -EINVAL;
	}
	port = u->url_port && *u->url_port ? strtoul(u->url_port, NULL, 10) : 0;
	*server = (struct server){.sip = s, .uri = su_strdup(s->home, uri)};
	snprintf(server->host, sizeof server->host, "%s", u->url_host);
	server->port = (uint16_t)port;
	while (transport[0] && strcasecmp(transport, px_sip_transport_name(server->transport)) != 0)
		if (++server->transport > PX_SIP_TLS) {
			snprintf(
			    why, PX_SIP_WHY,
			    "presence_server %.150s: transport=%s isn't known; give udp, tcp or "
			    "tls",
			    uri, transport);
			return -EINVAL;
		}
	s->servers++;
	return 0;
}

/* What is known without asking is made ready now, so that what can't be is told at the start. */
static int prepare(struct px_sip *s, char *why)
{
	char port_why[PX_PORT_WHY] = "";
	int err = 0;

	for (unsigned i = 0; i < s->servers; i++) {
		struct server *server = &s->server[i];
		struct px_address a = {.port = 5060, .transport = server->transport};

		if (!is_numeric(server->host) || strlen(server->host) >= sizeof a.host)
			continue;
		strcpy(a.host, server->host);
		if (a.transport == PX_SIP_ANY)
			a.transport = PX_SIP_UDP;
		/* that there is no way to it now needn't stay so */
		if (!px_port_for(s->ports, &a, &err, port_why) &&
		    (err != -EADDRNOTAVAIL || strncmp(port_why, "sip_bind", 8) == 0)) {
			snprintf(why, PX_SIP_WHY, "%.200s", port_why);
			return err;
		}
	}
	return 0;
}

/* Why a server's certificate wasn't accepted stands nowhere but in Sofia's log. */
static void tls_says(void *arg, char const *fmt, va_list ap)
{
	struct px_sip *s = arg;
	const struct px_now now = px_loop_now(s->loop);
	char text[512];
	const char *at;

	vsnprintf(text, sizeof text, fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	at = strstr(text, "Peer Subject Mismatch");
	if (!at && strncmp(text, "  err ", 6) == 0)
		at = text + 2;
	if (at && (s->tls_said_at.ms == 0 || now.mono.ms - s->tls_said_at.ms > SAY_TLS_MS)) {
		s->tls_said_at = now.mono;
		px_log(PX_LOG_WARN, "presence_server: its certificate isn't accepted: %s", at);
	} else {
		px_log(PX_LOG_DEBUG, "sofia: %s", text);
	}
}

static bool needs_tls(const struct px_sip *s)
{
	for (unsigned i = 0; i < s->servers; i++)
		if (s->server[i].transport == PX_SIP_TLS)
			return true;
	return false;
}

static void wipe(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

int px_sip_login(struct px_sip *s, const char *user, const char *password)
{
	char *u = user ? strdup(user) : NULL, *p = strdup(password ? password : "");

	if (!p || (user && !u)) {
		free(u);
		wipe(p);
		return -ENOMEM;
	}
	const bool same = s->password && strcmp(s->password, p) == 0 &&
	                  (u && s->user ? strcmp(s->user, u) == 0 : u == s->user);

	free(s->user);
	wipe(s->password);
	s->user = u;
	s->password = p;
	/* what was made of them holds what stands for the old password */
	for (unsigned i = 0; i < s->servers && !same; i++)
		explicit_bzero(s->server[i].login, sizeof s->server[i].login);
	return !same;
}

static int open_all(struct px_sip *s, const struct px_sip_config *c, char *why)
{
	const struct px_port_config ports = {.bind = c->bind,
	                                     .ca_file = c->ca_file,
	                                     .certificate = c->certificate,
	                                     .queue = 2 * PX_SIP_WINDOW_MAX};
	su_root_t *root = px_loop_root(s->loop);
	int err;

	if (getrandom(&s->salt, sizeof s->salt, 0) != sizeof s->salt)
		return -errno;
	if (px_sip_login(s, c->user, c->password) < 0)
		return -ENOMEM;
	for (unsigned i = 0; i < c->servers; i++)
		if ((err = add_server(s, c->server[i], why)) < 0)
			return err;
	if (needs_tls(s) && (err = px_port_tls_check(&ports, why)) < 0)
		return err;
	s->ports = px_ports_new(root, &ports);
	s->resolver = px_resolver_new(root, c->resolv_conf, c->hosts);
	if (!s->ports || !s->resolver)
		return -ENOMEM;
	return prepare(s, why);
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
	su_log_redirect(tport_log, tls_says, s);
	if (s->home && s->server && s->timer)
		err = open_all(s, c, why);
	if (err < 0) {
		if (!why[0])
			snprintf(why, PX_SIP_WHY, "SIP can't be started: %s", strerror(-err));
		px_sip_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void px_sip_free(struct px_sip *s)
{
	struct place *next;

	if (!s)
		return;
	while (s->first)
		drop(s->first);
	for (unsigned i = 0; i < s->servers; i++) {
		px_lookup_cancel(s->server[i].lookup);
		explicit_bzero(s->server[i].login, sizeof s->server[i].login);
	}
	for (struct place *p = s->places; p; p = next) {
		next = p->next;
		free_place(p);
	}
	px_ports_free(s->ports);
	su_log_redirect(tport_log, NULL, NULL);
	px_resolver_free(s->resolver);
	if (s->timer)
		su_timer_destroy(s->timer);
	if (s->home)
		su_home_unref(s->home);
	wipe(s->password);
	free(s->user);
	free(s->server);
	free(s);
}
