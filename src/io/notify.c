/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/notify.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/host.h"
#include "core/notify.h"

#define RECEIVE_BYTES (1 << 20)

struct px_notify_port {
	struct px_loop *loop;
	int fd, timer; /* the timer ends a rest */
	bool any;      /* listens on all addresses */
	char host[80]; /* else: as in a URL */
	uint16_t port;
	char token[PX_NOTIFY_TOKEN + 1];
	px_notify_h *heard;
	void *arg;
	struct px_notify_counts counts;
};

static void hear(struct px_notify_port *p, const char *bytes, size_t n)
{
	struct px_notify it;

	if (!px_notify_parse(bytes, n, &it) || !px_notify_is_for(&it, p->token)) {
		p->counts.dropped++;
		return;
	}
	p->counts.heard++;
	p->heard(p->arg, px_notify_who(&it), it.ids ? it.ids : "", it.ids_len);
}

static const struct itimerspec rest = {.it_value.tv_nsec = PX_NOTIFY_REST_MS * 1000000L};

static void ready(void *arg)
{
	struct px_notify_port *p = arg;
	char bytes[PX_NOTIFY_MAX + 1]; /* one more than is accepted, so that a longer one shows */

	for (unsigned i = 0; i < PX_NOTIFY_BURST; i++) {
		ssize_t n = recv(p->fd, bytes, sizeof bytes, MSG_DONTWAIT);

		if (n >= 0)
			hear(p, bytes, (size_t)n);
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
	}
	if (timerfd_settime(p->timer, 0, &rest, NULL) == 0)
		px_loop_unwatch(p->loop, p->fd);
}

static void rested(void *arg)
{
	struct px_notify_port *p = arg;
	uint64_t times;

	if (read(p->timer, &times, sizeof times) != sizeof times)
		return;
	if (px_loop_watch(p->loop, p->fd, ready, p) == 0)
		ready(p);
	else /* out of memory: rest again */
		timerfd_settime(p->timer, 0, &rest, NULL);
}

/* "[ADDRESS:]PORT". Without an address: all, IPv6 and IPv4. */
static int open_socket(struct px_notify_port *p, const char *listen)
{
	struct addrinfo hints = {.ai_socktype = SOCK_DGRAM,
	                         .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV},
	                *a = NULL;
	const char *colon = strrchr(listen, ':');
	const int bytes = RECEIVE_BYTES, off = 0;
	struct sockaddr_storage bound;
	socklen_t len = sizeof bound;
	char host[64] = "", port[16];
	int err = 0;

	if (colon)
		snprintf(host, sizeof host, "%.*s",
		         (int)(colon - listen - (listen[0] == '[' ? 2 : 0)),
		         listen + (listen[0] == '['));
	snprintf(port, sizeof port, "%s", colon ? colon + 1 : listen);
	p->any = !colon || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
	if (getaddrinfo(colon ? host : "::", port, &hints, &a) != 0)
		return -EINVAL;
	p->fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0 && errno == EAFNOSUPPORT && !colon) { /* a host without IPv6 */
		freeaddrinfo(a);
		if (getaddrinfo("0.0.0.0", port, &hints, &a) != 0)
			return -EINVAL;
		p->fd = socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (p->fd < 0) {
		err = -errno;
	} else {
		if (!colon && a->ai_family == AF_INET6)
			setsockopt(p->fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
		setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
		if (bind(p->fd, a->ai_addr, a->ai_addrlen) < 0 ||
		    getsockname(p->fd, (struct sockaddr *)&bound, &len) < 0)
			err = -errno;
		else
			p->port = ntohs(bound.ss_family == AF_INET6
			                    ? ((struct sockaddr_in6 *)&bound)->sin6_port
			                    : ((struct sockaddr_in *)&bound)->sin_port);
	}
	freeaddrinfo(a);
	snprintf(p->host, sizeof p->host, strchr(host, ':') ? "[%s]" : "%s", host);
	return err;
}

int px_notify_token(char out[PX_NOTIFY_TOKEN + 1])
{
	unsigned char bytes[PX_NOTIFY_TOKEN / 2];

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		return -EIO;
	for (size_t i = 0; i < sizeof bytes; i++)
		sprintf(out + 2 * i, "%02x", bytes[i]);
	explicit_bzero(bytes, sizeof bytes);
	return 0;
}

int px_notify_new(struct px_notify_port **out, struct px_loop *loop, const char *listen,
                  const char *token, px_notify_h *heard, void *arg, char why[PX_NOTIFY_WHY])
{
	struct px_notify_port *p = calloc(1, sizeof *p);
	int err;

	why[0] = '\0';
	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->heard = heard;
	p->arg = arg;
	p->fd = p->timer = -1;
	err = open_socket(p, listen);
	if (err < 0)
		snprintf(why, PX_NOTIFY_WHY, "listen_udp %.80s: %s", listen, strerror(-err));
	snprintf(p->token, sizeof p->token, "%s", token);
	if (err == 0 &&
	    (p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) < 0)
		err = -errno;
	if (err == 0)
		err = px_loop_watch(loop, p->timer, rested, p);
	if (err == 0)
		err = px_loop_watch(loop, p->fd, ready, p);
	if (err < 0) {
		if (!why[0])
			snprintf(why, PX_NOTIFY_WHY, "listen_udp: %s", strerror(-err));
		px_notify_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void px_notify_free(struct px_notify_port *p)
{
	if (!p)
		return;
	if (p->fd >= 0) {
		px_loop_unwatch(p->loop, p->fd);
		close(p->fd);
	}
	if (p->timer >= 0) {
		px_loop_unwatch(p->loop, p->timer);
		close(p->timer);
	}
	explicit_bzero(p->token, sizeof p->token);
	free(p);
}

bool px_notify_url(const struct px_notify_port *p, const char *announce, const char *local,
                   char out[PX_NOTIFY_URL_MAX])
{
	const char *host = announce ? announce : p->any ? local : p->host;
	size_t len = announce ? px_host(announce, strlen(announce)) : host ? strlen(host) : 0;
	uint16_t port = p->port;
	bool bare;

	if (len == 0)
		return false;
	if (announce)
		px_port(announce + len, strlen(announce) - len, &port);
	bare = host[0] != '[' && memchr(host, ':', len);
	return snprintf(out, PX_NOTIFY_URL_MAX,
	                bare ? "httpu://[%.*s]:%u/%s/" : "httpu://%.*s:%u/%s/", (int)len, host,
	                port, p->token) < PX_NOTIFY_URL_MAX;
}

struct px_notify_counts px_notify_counts(const struct px_notify_port *p)
{
	return p->counts;
}

uint64_t px_notify_strays(const struct px_notify_port *p)
{
	return p ? p->counts.dropped : 0;
}
