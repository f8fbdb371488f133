/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * port.h - the SIP stack at its local sockets: UDP with TCP, or TLS, for each local address that is needed to reach somebody, made when it first is.
 * Each is an agent of its own, as Sofia can't add sockets to one that has connections.
 *
 * Our TCP port is the name in Via, not an invitation: answers come on the connections that we made, and nobody else's are taken.
 */
#ifndef PX_PORT_H
#define PX_PORT_H

#include <sofia-sip/nta.h>

#include "io/resolve.h"

#define PX_PORT_WHY 256

struct px_port_config {
	const char *
	    bind; /* "ADDRESS[:PORT]"; NULL: any port on the address that reaches whoever is sent to */
	const char *ca_file;     /* who may vouch for a TLS server; NULL: the system's */
	const char *certificate; /* shown to a TLS server: PEM with its key; NULL: none */
	unsigned queue;          /* messages that may wait on one connection */
};

struct px_ports;

/* Everything copied; root borrowed. NULL: out of memory. */
struct px_ports *px_ports_new(su_root_t *root, const struct px_port_config *c);
void px_ports_free(struct px_ports *p); /* after the last transaction on them; NULL is fine */

/*
 * The leg whose sockets reach `to`, owned by *p. NULL: it can't be reached from here, or they can't be made; then there is a line
 * for the operator in why, and a negative errno in *err.
 */
nta_leg_t *px_port_for(struct px_ports *p, const struct px_address *to, int *err,
                       char why[PX_PORT_WHY]);

/*
 * What was sent by this leg and waits for an answer isn't repeated any more (RFC 3261 §17.1.2.2, timer E, would go on for 32 s): a copy of it that comes after what was
 * sent next would be carried out as well. To be destroyed right after.
 */
void px_port_give_up(struct px_ports *p, const nta_leg_t *leg, nta_outgoing_t *out);

/* Is what TLS needs there? 0, or a negative errno and a line in why. */
int px_port_tls_check(const struct px_port_config *c, char why[PX_PORT_WHY]);

#endif
