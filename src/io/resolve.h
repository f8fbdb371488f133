/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * resolve.h - from a SIP URI's host to addresses in the order in which they are to be tried (RFC 3263, RFC 2782): NAPTR, SRV, AAAA and A, asked one after
 * the other over Sofia's sresolv, which sends and waits within the loop: a DNS server that is silent holds up nobody but whoever waits for that name.
 * /etc/hosts goes before the DNS for addresses, as everywhere on the machine.
 */
#ifndef PX_RESOLVE_H
#define PX_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sofia-sip/su_wait.h>

#define PX_ADDRESS_MAX 64   /* "[IPv6]" */
#define PX_ADDRESSES_MAX 16 /* of one name; more aren't tried */

enum px_sip_transport { PX_SIP_ANY, PX_SIP_UDP, PX_SIP_TCP, PX_SIP_TLS };

/* Somewhere to send to. */
struct px_address {
	char host[PX_ADDRESS_MAX]; /* numeric, IPv6 in brackets */
	uint16_t port;
	enum px_sip_transport transport; /* never ANY */
};

struct px_resolver;
struct px_lookup;

/*
 * What came of it: n addresses, the first to be tried first; 0: there are none, or nobody said. They are good for ttl_s (10 to 300). Everything borrowed.
 * Exactly once, and not after px_lookup_cancel(); may come from within px_resolve() itself. The lookup is gone when it returns.
 */
typedef void px_resolved_h(void *arg, const struct px_address *address, unsigned n, int64_t ttl_s);

/* resolv_conf, hosts: paths; NULL: the system's. NULL when it can't be had. */
struct px_resolver *px_resolver_new(su_root_t *root, const char *resolv_conf, const char *hosts);
void px_resolver_free(
    struct px_resolver *r); /* after the last lookup's end or cancel; NULL is fine */

/*
 * host: a name or a numeric address (IPv6 in brackets); port 0: none is given; transport as in the URI. NULL when done has been called already, or will
 * never be (out of memory: it has been called with n = 0).
 */
struct px_lookup *px_resolve(struct px_resolver *r, const char *host, uint16_t port,
                             enum px_sip_transport transport, px_resolved_h *done, void *arg);
void px_lookup_cancel(struct px_lookup *l); /* NULL is fine */

/* The transport's name in a URI. */
const char *px_sip_transport_name(enum px_sip_transport t);

#endif
