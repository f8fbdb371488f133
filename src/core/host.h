/* SPDX-License-Identifier: GPL-2.0-or-later */
/* host.h - hosts and ports as they stand in URIs (RFC 3261 §25.1, RFC 3986 §3.2.2). */
#ifndef PX_HOST_H
#define PX_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The bytes of the host that s begins with: a name, an IPv4 address, or an IPv6 address in brackets
 * (they count); what is behind it is the caller's. 0: there is none. A name may hold '_', as
 * networks have it, and end in a dot.
 */
size_t px_host(const char *s, size_t n);

/* Whether the host of n bytes, as px_host() found it, is an address and not a name. */
bool px_host_is_address(const char *s, size_t n);

/* The bytes of the ":port" that s begins with, 1 to 65535 in *port. 0: s begins with no such thing;
 * *port is then untouched. */
size_t px_port(const char *s, size_t n, uint16_t *port);

#endif
