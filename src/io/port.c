/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include <sofia-sip/nta_stateless.h>
#include <sofia-sip/nta_tport.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/su_tag.h>
#include <sofia-sip/tport.h>
#include <sofia-sip/tport_tag.h>

#include "core/buf.h"
#include "io/tls.h"
#include "px_file.h"

#define PORTS_MAX 32 /* local addresses, those of TLS by themselves */
#define TLS_DEPTH 9  /* certificates in a chain */
#define PEM_MAX (1 << 20)

struct port {
	char address[PX_ADDRESS_MAX]; /* as bound: with a port, if sip_bind gives one */
	bool tls;
	nta_agent_t *agent;
	nta_leg_t *leg;
};

struct px_ports {
	su_root_t *root;
	char *bind, *ca_file, *certificate;
	unsigned queue;
	struct port port[PORTS_MAX];
	unsigned n;
};

/* The local address from which `to` is reached; false: there is no way to it now. */
static bool local_address(const struct px_address *to, char out[PX_ADDRESS_MAX])
{
	const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
	                               .ai_socktype = SOCK_DGRAM};
	struct sockaddr_storage a;
	socklen_t len = sizeof a;
	struct addrinfo *ai;
	char host[PX_ADDRESS_MAX], name[INET6_ADDRSTRLEN];
	const bool v6 = to->host[0] == '[';
	bool found = false;
	int fd;

	strcpy(host, to->host + v6);
	host[strcspn(host, "]")] = '\0';
	if (getaddrinfo(host, "5060", &hints, &ai) != 0)
		return false;
	fd = socket(ai->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    getsockname(fd, (struct sockaddr *)&a, &len) == 0 &&
	    getnameinfo((struct sockaddr *)&a, len, name, sizeof name, NULL, 0, NI_NUMERICHOST) ==
	        0) {
		snprintf(out, PX_ADDRESS_MAX, v6 ? "[%s]" : "%s", name);
		found = true;
	}
	if (fd >= 0)
		close(fd);
	freeaddrinfo(ai);
	return found;
}

/* ---- TLS ---- */

/*
 * Sofia takes certificates from a folder, by names of its own, and reads them while the socket is made. The folder is there just for so long.
 */
static int make_folder(const struct px_ports *p, char folder[PATH_MAX])
{
	const char *tmp = getenv("TMPDIR");
	char path[PATH_MAX + 16], whole[PATH_MAX];

	snprintf(folder, PATH_MAX, "%.3000s/pua_exchange.XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(folder))
		return -errno;
	snprintf(path, sizeof path, "%s/cafile.pem", folder);
	if (!realpath(p->ca_file, whole) || symlink(whole, path) < 0)
		return -errno;
	snprintf(path, sizeof path, "%s/agent.pem", folder);
	if (p->certificate && (!realpath(p->certificate, whole) || symlink(whole, path) < 0))
		return -errno;
	return 0;
}

static void remove_folder(const char *folder)
{
	char path[PATH_MAX + 16];

	snprintf(path, sizeof path, "%s/cafile.pem", folder);
	unlink(path);
	snprintf(path, sizeof path, "%s/agent.pem", folder);
	unlink(path);
	rmdir(folder);
}

static const char *ca_file(const struct px_port_config *c)
{
	return c->ca_file ? c->ca_file : X509_get_default_cert_file();
}

/* Sofia would go on without, and only whisper. */
int px_port_tls_check(const struct px_port_config *c, char why[PX_PORT_WHY])
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	struct px_buf pem;
	char reason[PX_WHY_MAX];
	int err = 0;

	if (!ctx)
		return -ENOMEM;
	if (SSL_CTX_load_verify_locations(ctx, ca_file(c), NULL) != 1) {
		snprintf(why, PX_PORT_WHY,
		         "sip_ca_file %.150s: no certificates could be read from it", ca_file(c));
		err = -EINVAL;
	} else if (c->certificate &&
	           (err = px_file_read(c->certificate, PEM_MAX, true, &pem, reason)) < 0) {
		snprintf(why, PX_PORT_WHY, "sip_certificate %.100s: %.100s", c->certificate,
		         reason);
	} else if (c->certificate) {
		explicit_bzero(pem.data, pem.cap);
		px_buf_free(&pem);
		if (SSL_CTX_use_certificate_file(ctx, c->certificate, SSL_FILETYPE_PEM) != 1 ||
		    SSL_CTX_use_PrivateKey_file(ctx, c->certificate, SSL_FILETYPE_PEM) != 1 ||
		    SSL_CTX_check_private_key(ctx) != 1) {
			snprintf(why, PX_PORT_WHY,
			         "sip_certificate %.100s: must hold a certificate and its key, "
			         "both PEM and without a passphrase",
			         c->certificate);
			err = -EINVAL;
		}
	}
	SSL_CTX_free(ctx);
	return err;
}

/* ---- sockets ---- */

static int add_tport(struct px_ports *p, struct port *port, const char *uri)
{
	char folder[PATH_MAX] = "";
	const bool tls = port->tls;
	int err = 0;

	if (tls && !px_tls_begin())
		return -ENOMEM;
	if (tls && (err = make_folder(p, folder)) < 0) {
		remove_folder(folder);
		px_tls_end();
		return err;
	}
	if (nta_agent_add_tport(
	        port->agent, (url_string_t *)uri, TPTAG_QUEUESIZE(p->queue), TPTAG_SDWN_ERROR(1),
	        TAG_IF(tls, TPTAG_CERTIFICATE(folder)),
	        TAG_IF(tls, TPTAG_TLS_VERIFY_POLICY(TPTLS_VERIFY_OUT | TPTLS_VERIFY_SUBJECTS_OUT)),
	        TAG_IF(tls, TPTAG_TLS_VERIFY_DEPTH(TLS_DEPTH)), TAG_END()) < 0)
		err = errno ? -errno : -EIO;
	if (tls)
		remove_folder(folder);
	px_tls_end();
	return err;
}

static void take_no_connections(nta_agent_t *agent)
{
	for (tport_t *tp = tport_primaries(nta_agent_tports(agent)); tp; tp = tport_next(tp))
		if (tport_is_tcp(tp))
			tport_stall(tp);
}

static int make(struct px_ports *p, struct port *port, char why[PX_PORT_WHY])
{
	/* each by itself: of a list, Sofia uses what is already gone. What is too long for UDP goes by TCP (RFC 3261 §18.1.1) */
	static const char *const form[] = {"sip:%.*s%s;transport=tcp", "sip:%.*s%s;transport=udp"};
	const char *address = port->address, *number = strrchr(address, ':');
	size_t host = strlen(address);
	char uri[PX_ADDRESS_MAX + 64];
	int err = 0;

	if (number && strchr(number, ']'))
		number = NULL; /* IPv6 alone */
	if (number)
		host = (size_t)(number - address);
	port->agent = nta_agent_create(p->root, (url_string_t *)-1, NULL, NULL, TAG_END());
	if (!port->agent)
		return -ENOMEM;
	for (unsigned i = 0; i < (port->tls ? 1 : 2) && err == 0; i++) {
		if (port->tls) /* can't have the port of TCP, which listens there, too */
			snprintf(uri, sizeof uri, "sips:%.*s:*", (int)host, address);
		else
			snprintf(uri, sizeof uri, form[i], (int)host, address,
			         number ? number : ":*");
		err = add_tport(p, port, uri);
		if (err < 0)
			snprintf(why, PX_PORT_WHY, "%s %.100s: can't be used for %s: %s",
			         p->bind ? "sip_bind" : "the local address", address,
			         port->tls ? "tls"
			         : i == 0  ? "tcp"
			                   : "udp",
			         strerror(-err));
	}
	if (err < 0)
		return err;
	take_no_connections(port->agent);
	port->leg = nta_leg_tcreate(port->agent, NULL, NULL, NTATAG_NO_DIALOG(1), TAG_END());
	return port->leg ? 0 : -ENOMEM;
}

static void close_port(struct port *port)
{
	if (port->leg)
		nta_leg_destroy(port->leg);
	if (port->agent)
		nta_agent_destroy(port->agent);
	px_tls_sweep();
}

nta_leg_t *px_port_for(struct px_ports *p, const struct px_address *to, int *err,
                       char why[PX_PORT_WHY])
{
	const bool tls = to->transport == PX_SIP_TLS;
	char address[PX_ADDRESS_MAX];
	struct port *port = p->port;

	if (p->bind)
		snprintf(address, sizeof address, "%s", p->bind);
	if (p->bind ? (p->bind[0] == '[') != (to->host[0] == '[') : !local_address(to, address)) {
		*err = -EADDRNOTAVAIL;
		snprintf(why, PX_PORT_WHY, "%.64s can't be reached from %.100s", to->host,
		         p->bind ? p->bind : "here");
		return NULL;
	}
	while (port < p->port + p->n && (port->tls != tls || strcmp(port->address, address) != 0))
		port++;
	if (port < p->port + p->n)
		return port->leg;
	*err = -ENOSPC;
	snprintf(why, PX_PORT_WHY, "too many local addresses");
	if (p->n == PORTS_MAX)
		return NULL;
	*port = (struct port){.tls = tls};
	strcpy(port->address, address);
	*err = make(p, port, why);
	if (*err < 0) {
		close_port(port);
		return NULL;
	}
	p->n++;
	return port->leg;
}

/* Sofia has no way to end it before its time, but an answer does that: so it gets one, from ourselves. */
void px_port_give_up(struct px_ports *p, const nta_leg_t *leg, nta_outgoing_t *out)
{
	struct port *port = p->port;
	tport_t *tp = nta_outgoing_transport(out);
	const bool udp = tp && !tport_is_tcp(tp);

	tport_unref(tp);
	while (port < p->port + p->n && port->leg != leg)
		port++;
	if (udp && port < p->port + p->n)
		nta_msg_treply(port->agent, nta_outgoing_getrequest(out), SIP_408_REQUEST_TIMEOUT,
		               TAG_END());
}

struct px_ports *px_ports_new(su_root_t *root, const struct px_port_config *c)
{
	struct px_ports *p = calloc(1, sizeof *p);

	if (!p)
		return NULL;
	p->root = root;
	p->queue = c->queue;
	p->bind = c->bind ? strdup(c->bind) : NULL;
	p->ca_file = strdup(ca_file(c));
	p->certificate = c->certificate ? strdup(c->certificate) : NULL;
	if (p->ca_file && !c->bind == !p->bind && !c->certificate == !p->certificate)
		return p;
	px_ports_free(p);
	return NULL;
}

void px_ports_free(struct px_ports *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->n; i++)
		close_port(&p->port[i]);
	free(p->bind);
	free(p->ca_file);
	free(p->certificate);
	free(p);
}
