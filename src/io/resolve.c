/* SPDX-License-Identifier: GPL-2.0-or-later */
#define SRES_CONTEXT_T struct px_lookup
#include "io/resolve.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sofia-resolv/sres.h>
#include <sofia-resolv/sres_record.h>
#include <sofia-sip/sresolv.h>
#include <sofia-sip/su_uniqueid.h>

#include "core/buf.h"
#include "px_file.h"

#define NAME_LONGEST 255
#define SERVICES_MAX 4 /* SRV names of one host */
#define TARGETS_MAX 8  /* hosts behind them */
#define HOSTS_FILE_MAX (1 << 20)
#define TTL_MIN_S 10
#define TTL_MAX_S 300
#define HOSTS_TTL_S 60
#define NOTHING 0

/* An SRV name to be asked for. */
struct service {
	char name[NAME_LONGEST + 1];
	enum px_sip_transport transport;
	unsigned order, preference; /* NAPTR */
};

/* A host whose addresses are wanted. */
struct target {
	char name[NAME_LONGEST + 1];
	uint16_t port;
	enum px_sip_transport transport;
	unsigned priority, weight; /* SRV */
};

struct px_resolver {
	sres_resolver_t *sres;
	char *hosts;
};

struct px_lookup {
	struct px_resolver *resolver;
	sres_query_t *query; /* under way */
	px_resolved_h *done;
	void *arg;
	char host[NAME_LONGEST + 1];
	enum px_sip_transport transport;
	struct service service[SERVICES_MAX];
	unsigned services, next_service;
	struct target target[TARGETS_MAX];
	unsigned targets, next_target;
	struct px_address address[PX_ADDRESSES_MAX];
	unsigned addresses;
	unsigned first;  /* of the target that is being looked up */
	uint16_t asking; /* sres_type_..., or NOTHING */
	int64_t ttl_s;
};

const char *px_sip_transport_name(enum px_sip_transport t)
{
	static const char *const name[] = {"", "udp", "tcp", "tls"};

	return name[t];
}

static uint16_t default_port(enum px_sip_transport t)
{
	return t == PX_SIP_TLS ? 5061 : 5060;
}

static void add_address(struct px_lookup *l, const char *text, bool v6)
{
	const struct target *t = &l->target[l->next_target];
	unsigned at = l->addresses;

	if (l->addresses == PX_ADDRESSES_MAX)
		return;
	/* IPv6 first (RFC 6724 §2.1): where there is no way to it, that turns out at once */
	for (; v6 && at > l->first && l->address[at - 1].host[0] != '['; at--)
		l->address[at] = l->address[at - 1];
	snprintf(l->address[at].host, sizeof l->address[at].host, v6 ? "[%s]" : "%s", text);
	l->address[at].port = t->port;
	l->address[at].transport = t->transport;
	l->addresses++;
}

static void add_target(struct px_lookup *l, const char *name, uint16_t port,
                       enum px_sip_transport transport, unsigned priority, unsigned weight)
{
	struct target *t = &l->target[l->targets];
	size_t n = strlen(name);

	if (l->targets == TARGETS_MAX || n == 0 || n >= sizeof t->name ||
	    strcmp(name, ".") == 0) /* RFC 2782: it isn't served here */
		return;
	memcpy(t->name, name, n + 1);
	if (t->name[n - 1] == '.') /* /etc/hosts has none */
		t->name[n - 1] = '\0';
	t->port = port;
	t->transport = transport;
	t->priority = priority;
	t->weight = weight;
	l->targets++;
}

static void add_service(struct px_lookup *l, const char *prefix, const char *name,
                        enum px_sip_transport transport, unsigned order, unsigned preference)
{
	struct service *s = &l->service[l->services], one;
	unsigned at = l->services;

	if (l->services == SERVICES_MAX ||
	    snprintf(s->name, sizeof s->name, "%s%s", prefix, name) >= (int)sizeof s->name)
		return;
	s->transport = transport;
	s->order = order;
	s->preference = preference;
	l->services++;
	one = *s;
	for (; at > 0 &&
	       (l->service[at - 1].order > order ||
	        (l->service[at - 1].order == order && l->service[at - 1].preference > preference));
	     at--)
		l->service[at] = l->service[at - 1];
	l->service[at] = one;
}

/* ---- /etc/hosts ---- */

static bool is_name(const char *word, size_t n, const char *name)
{
	return strlen(name) == n && strncasecmp(word, name, n) == 0;
}

/* One line: "ADDRESS NAME NAME ... # comment". */
static void read_hosts_line(struct px_lookup *l, const char *line, size_t n, const char *name)
{
	char address[INET6_ADDRSTRLEN];
	unsigned char bytes[sizeof(struct in6_addr)];
	const char *hash = memchr(line, '#', n), *end;
	size_t k;

	end = hash ? hash : line + n;
	line += strspn(line, " \t");
	k = strcspn(line, " \t\r\n");
	if (line + k >= end || k >= sizeof address)
		return;
	memcpy(address, line, k);
	address[k] = '\0';
	for (line += k; line < end; line += k) {
		line += strspn(line, " \t\r");
		k = strcspn(line, " \t\r\n#");
		if (k == 0 || line + k > end)
			return;
		if (!is_name(line, k, name))
			continue;
		if (inet_pton(AF_INET6, address, bytes) == 1)
			add_address(l, address, true);
		else if (inet_pton(AF_INET, address, bytes) == 1)
			add_address(l, address, false);
		return;
	}
}

static bool in_hosts(struct px_lookup *l, const char *name)
{
	const unsigned before = l->addresses;
	char why[PX_WHY_MAX];
	struct px_buf text;

	if (px_file_read(l->resolver->hosts, HOSTS_FILE_MAX, false, &text, why) < 0)
		return false;
	for (const char *line = text.data, *end; line && *line; line = end ? end + 1 : NULL) {
		end = strchr(line, '\n');
		read_hosts_line(l, line, end ? (size_t)(end - line) : strlen(line), name);
	}
	px_buf_free(&text);
	return l->addresses > before;
}

/* ---- answers of the DNS ---- */

static void took(struct px_lookup *l, uint32_t ttl)
{
	if (ttl < l->ttl_s)
		l->ttl_s = ttl;
}

static void take_naptr(struct px_lookup *l, const sres_naptr_record_t *n)
{
	static const struct {
		const char *service;
		enum px_sip_transport transport;
	} known[] = {{"SIP+D2U", PX_SIP_UDP}, {"SIP+D2T", PX_SIP_TCP}, {"SIPS+D2T", PX_SIP_TLS}};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (n->na_services && n->na_flags && n->na_replace &&
		    strcasecmp(n->na_services, known[i].service) == 0 &&
		    strcasecmp(n->na_flags, "s") == 0)
			add_service(l, "", n->na_replace, known[i].transport, n->na_order,
			            n->na_prefer);
}

static void take(struct px_lookup *l, const sres_record_t *r)
{
	char text[INET6_ADDRSTRLEN];

	switch (r->sr_record->r_type) {
	case sres_type_naptr:
		take_naptr(l, r->sr_naptr);
		break;
	case sres_type_srv:
		if (r->sr_srv->srv_target)
			add_target(l, r->sr_srv->srv_target, r->sr_srv->srv_port,
			           l->service[l->next_service].transport, r->sr_srv->srv_priority,
			           r->sr_srv->srv_weight);
		break;
	case sres_type_a:
		if (inet_ntop(AF_INET, &r->sr_a->a_addr, text, sizeof text))
			add_address(l, text, false);
		break;
	case sres_type_aaaa:
		if (inet_ntop(AF_INET6, &r->sr_aaaa->aaaa_addr, text, sizeof text))
			add_address(l, text, true);
		break;
	default:
		break;
	}
}

/* RFC 2782: by priority, within one by chance according to the weights. */
static void sort_targets(struct px_lookup *l, unsigned from)
{
	for (unsigned i = from; i < l->targets; i++) {
		unsigned best = i, sum = 0;

		for (unsigned k = i; k < l->targets; k++)
			if (l->target[k].priority < l->target[best].priority)
				best = k;
		for (unsigned k = i; k < l->targets; k++)
			if (l->target[k].priority == l->target[best].priority)
				sum += l->target[k].weight;
		unsigned draw = sum ? (unsigned)su_randint(0, (int)sum) : 0, passed = 0;
		for (unsigned k = i; k < l->targets; k++) {
			if (l->target[k].priority != l->target[best].priority)
				continue;
			best = k;
			passed += l->target[k].weight;
			if (passed >= draw)
				break;
		}
		const struct target one = l->target[best];

		l->target[best] = l->target[i];
		l->target[i] = one;
	}
}

/* ---- one question after the other ---- */

static void begin_target(struct px_lookup *l)
{
	for (; l->next_target < l->targets; l->next_target++) {
		l->first = l->addresses;
		if (!in_hosts(l, l->target[l->next_target].name)) {
			l->asking = sres_type_a;
			return;
		}
		took(l, HOSTS_TTL_S);
	}
	l->asking = NOTHING;
}

static void begin_service(struct px_lookup *l)
{
	if (l->next_service < l->services) {
		l->asking = sres_type_srv;
		return;
	}
	if (l->targets == 0) /* RFC 3263 §4.2 */
		add_target(l, l->host, default_port(l->transport),
		           l->transport ? l->transport : PX_SIP_UDP, 0, 0);
	begin_target(l);
}

/* An answer came, or the lack of one. */
static void advance(struct px_lookup *l)
{
	switch (l->asking) {
	case sres_type_naptr:
		if (l->services == 0) {
			add_service(l, "_sip._udp.", l->host, PX_SIP_UDP, 0, 0);
			add_service(l, "_sip._tcp.", l->host, PX_SIP_TCP, 1, 0);
		}
		begin_service(l);
		break;
	case sres_type_srv:
		l->next_service++;
		begin_service(l);
		break;
	case sres_type_a:
		l->asking = sres_type_aaaa;
		break;
	default:
		l->next_target++;
		begin_target(l);
		break;
	}
}

static void take_all(struct px_lookup *l, sres_record_t **answers)
{
	const unsigned before = l->targets;

	for (sres_record_t **a = answers; a && *a; a++) {
		if ((*a)->sr_record->r_status != SRES_OK || (*a)->sr_record->r_type != l->asking)
			continue;
		took(l, (*a)->sr_record->r_ttl);
		take(l, *a);
	}
	sort_targets(l, before);
	sres_free_answers(l->resolver->sres, answers);
	advance(l);
}

static void on_answers(struct px_lookup *l, sres_query_t *q, sres_record_t **answers);

static const char *asked_name(const struct px_lookup *l)
{
	if (l->asking == sres_type_naptr)
		return l->host;
	if (l->asking == sres_type_srv)
		return l->service[l->next_service].name;
	return l->target[l->next_target].name;
}

/* False: it is done, and gone. */
static bool run(struct px_lookup *l)
{
	while (l->asking != NOTHING) {
		const char *name = asked_name(l);
		sres_record_t **known = sres_cached_answers(l->resolver->sres, l->asking, name);

		if (!known &&
		    (l->query = sres_query(l->resolver->sres, on_answers, l, l->asking, name)))
			return true;
		take_all(l, known);
	}
	l->done(l->arg, l->address, l->addresses, l->ttl_s < TTL_MIN_S ? TTL_MIN_S : l->ttl_s);
	free(l);
	return false;
}

static void on_answers(struct px_lookup *l, sres_query_t *q, sres_record_t **answers)
{
	(void)q;
	l->query = NULL;
	take_all(l, answers);
	run(l);
}

/* ---- from outside ---- */

struct px_resolver *px_resolver_new(su_root_t *root, const char *resolv_conf, const char *hosts)
{
	struct px_resolver *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->hosts = strdup(hosts ? hosts : "/etc/hosts");
	r->sres = sres_resolver_create(root, resolv_conf, TAG_END());
	if (r->hosts && r->sres)
		return r;
	px_resolver_free(r);
	return NULL;
}

void px_resolver_free(struct px_resolver *r)
{
	if (!r)
		return;
	if (r->sres)
		sres_resolver_destroy(r->sres);
	free(r->hosts);
	free(r);
}

static bool is_numeric(const char *host)
{
	unsigned char bytes[sizeof(struct in_addr)];

	return host[0] == '[' || inet_pton(AF_INET, host, bytes) == 1;
}

struct px_lookup *px_resolve(struct px_resolver *r, const char *host, uint16_t port,
                             enum px_sip_transport transport, px_resolved_h *done, void *arg)
{
	const enum px_sip_transport or_udp = transport ? transport : PX_SIP_UDP;
	struct px_address numeric = {.port = port ? port : default_port(or_udp),
	                             .transport = or_udp};
	const size_t n = strlen(host);
	struct px_lookup *l;

	if (is_numeric(host) && n < sizeof numeric.host) {
		memcpy(numeric.host, host, n + 1);
		done(arg, &numeric, 1, TTL_MAX_S);
		return NULL;
	}
	l = n <= NAME_LONGEST ? calloc(1, sizeof *l) : NULL;
	if (!l) {
		done(arg, NULL, 0, TTL_MIN_S);
		return NULL;
	}
	l->resolver = r;
	l->done = done;
	l->arg = arg;
	l->transport = transport;
	l->ttl_s = TTL_MAX_S;
	memcpy(l->host, host, n + 1);
	if (port) { /* RFC 3263 §4.2: a port means that it is this very host */
		add_target(l, host, port, or_udp, 0, 0);
		begin_target(l);
	} else if (transport) {
		add_service(l,
		            transport == PX_SIP_UDP   ? "_sip._udp."
		            : transport == PX_SIP_TCP ? "_sip._tcp."
		                                      : "_sips._tcp.",
		            host, transport, 0, 0);
		begin_service(l);
	} else {
		l->asking = sres_type_naptr;
	}
	return run(l) ? l : NULL;
}

void px_lookup_cancel(struct px_lookup *l)
{
	if (!l)
		return;
	sres_query_bind(l->query, NULL, NULL);
	free(l);
}
