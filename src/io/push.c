/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/push.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/buf.h"

#define CONNECTIONS 256u
#define CONNECTIONS_PER_ADDRESS 128u
#define CONNECTION_MEMORY 16384
#define REQUEST_MS 30000
#define BODIES_MAX (8u << 20)
#define ROUNDS 16 /* of the library in one round of the loop */

/* One connection, and what it asks at the moment. */
struct connection {
	int fd;
	struct px_mono since; /* its beginning, or the last request's end */
	struct connection *next, **at;
};

struct ask {
	struct px_buf body;
	uint32_t who;
};

struct px_push {
	struct px_loop *loop;
	struct MHD_Daemon *mhd;
	int epoll, timer;
	char token[PX_PUSH_TOKEN + 1];
	px_push_h *heard;
	void *arg;
	unsigned request_ms;
	size_t bodies; /* bytes of all that are being read */
	uint64_t strays;
	struct connection *first;
};

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *text)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
	    strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result ok;

	if (!r)
		return MHD_NO;
	if (status == MHD_HTTP_OK)
		MHD_add_response_header(r, "Content-Type", "text/xml; charset=utf-8");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, "Allow", "POST");
	ok = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return ok;
}

static enum MHD_Result stray(struct px_push *p, struct MHD_Connection *c, unsigned status)
{
	p->strays++;
	return answer(c, status, "");
}

/* The end of the path, whatever a proxy put before it: /TOKEN/WHO. */
static bool ours(const struct px_push *p, const char *path, uint32_t *who)
{
	const size_t n = strlen(path), tail = 1 + PX_PUSH_TOKEN + 1 + 8;
	const char *at = path + n - tail;

	if (n < tail || at[0] != '/' || at[1 + PX_PUSH_TOKEN] != '/' ||
	    strspn(at + tail - 8, "0123456789abcdef") != 8)
		return false;
	*who = (uint32_t)strtoul(at + tail - 8, NULL, 16);
	return CRYPTO_memcmp(at + 1, p->token, PX_PUSH_TOKEN) == 0;
}

static const char *result(enum px_heard heard)
{
#define RESULT(status)                                                                             \
	"<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"                                             \
	"<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Body>"      \
	"<SendNotificationResult "                                                                 \
	"xmlns=\"http://schemas.microsoft.com/exchange/services/2006/messages\">"                  \
	"<SubscriptionStatus>" status "</SubscriptionStatus></SendNotificationResult></soap:Body>" \
	"</soap:Envelope>"
	return heard == PX_HEARD ? RESULT("OK") : RESULT("Unsubscribe");
#undef RESULT
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version, const char *bytes,
                                  size_t *n, void **context)
{
	struct px_push *p = arg;
	struct ask *a = *context;
	uint32_t who;

	(void)version;
	if (!a) {
		if (!ours(p, path, &who))
			return stray(p, c, MHD_HTTP_NOT_FOUND);
		if (strcmp(method, "POST") != 0)
			return stray(p, c, MHD_HTTP_METHOD_NOT_ALLOWED);
		a = calloc(1, sizeof *a);
		if (!a)
			return MHD_NO;
		a->body = px_buf_new(PX_PUSH_BODY_MAX);
		a->who = who;
		*context = a;
		return MHD_YES;
	}
	if (*n > 0) {
		if (p->bodies + *n > BODIES_MAX)
			a->body.failed = true;
		size_t had = a->body.len;
		if (!a->body.failed)
			px_buf_add(&a->body, bytes, *n);
		p->bodies += a->body.len - had;
		*n = 0;
		/* who sends more than that won't stop by itself */
		return a->body.failed ? MHD_NO : MHD_YES;
	}
	enum px_heard heard =
	    p->heard(p->arg, a->who, a->body.data ? a->body.data : "", a->body.len);
	if (heard == PX_HEARD_BAD)
		return answer(c, MHD_HTTP_BAD_REQUEST, "");
	return answer(c, MHD_HTTP_OK, result(heard));
}

static void on_end(void *arg, struct MHD_Connection *c, void **context,
                   enum MHD_RequestTerminationCode code)
{
	struct px_push *p = arg;
	struct ask *a = *context;
	const union MHD_ConnectionInfo *info =
	    MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	struct connection *k = info ? info->socket_context : NULL;

	(void)code;
	if (k)
		k->since = px_loop_now(p->loop).mono;
	if (!a)
		return;
	p->bodies -= a->body.len;
	if (a->body.failed)
		p->strays++;
	px_buf_free(&a->body);
	free(a);
	*context = NULL;
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
	struct px_push *p = arg;
	struct connection *k = *context;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		k = calloc(1, sizeof *k);
		*context = k;
		if (!k)
			return; /* the library's own time limit holds for it */
		k->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		k->since = px_loop_now(p->loop).mono;
		k->next = p->first;
		k->at = &p->first;
		if (k->next)
			k->next->at = &k->next;
		p->first = k;
	} else if (k) {
		*k->at = k->next;
		if (k->next)
			k->next->at = k->at;
		free(k);
		*context = NULL;
	}
}

static void run(void *arg)
{
	struct px_push *p = arg;
	MHD_UNSIGNED_LONG_LONG wait = 0;
	struct itimerspec t = {.it_value.tv_nsec = 1};
	uint64_t times;

	if (read(p->timer, &times, sizeof times) < 0)
		times = 0;
	for (int i = 0; i < ROUNDS; i++) {
		MHD_run(p->mhd);
		if (MHD_get_timeout(p->mhd, &wait) != MHD_YES) {
			t.it_value.tv_nsec = 0; /* nothing is open: no timer */
			break;
		}
		if (wait > 0) {
			t.it_value.tv_sec = (time_t)(wait / 1000);
			t.it_value.tv_nsec = (long)(wait % 1000) * 1000000 + 1;
			break;
		}
	}
	timerfd_settime(p->timer, 0, &t, NULL);
}

void px_push_tick(struct px_push *p)
{
	if (!p)
		return;
	const struct px_now now = px_loop_now(p->loop);
	for (struct connection *k = p->first; k; k = k->next) {
		char c;

		/* the library doesn't see an end that came together with the bytes it read last */
		if (now.mono.ms - k->since.ms > p->request_ms ||
		    recv(k->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
			shutdown(k->fd, SHUT_RDWR);
	}
	/* at its limit the library stops listening, and begins again only in a later round than the one that made room */
	run(p);
}

/* ---- making and ending ---- */

/* [ADDRESS:]PORT; *address is "" without one. */
static void split(const char *listen, char address[64], char port[8])
{
	const char *colon = strrchr(listen, ':');
	size_t n = colon ? (size_t)(colon - listen) : 0;

	if (n >= 2 && listen[0] == '[') {
		listen++;
		n -= 2;
	}
	snprintf(address, 64, "%.*s", (int)n, listen);
	snprintf(port, 8, "%s", colon ? colon + 1 : listen);
}

static int bound(const char *listen_at)
{
	static const int on = 1, off = 0;
	char address[64], port[8];
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
	                         .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int fd = -1, err = -EADDRNOTAVAIL;

	split(listen_at, address, port);
	if (!address[0])
		hints.ai_family = AF_INET6; /* and what is mapped into it */
	if (getaddrinfo(address[0] ? address : NULL, port, &hints, &list) != 0)
		return -EINVAL;
	fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 && !address[0]) { /* a host without IPv6 */
		freeaddrinfo(list);
		hints.ai_family = AF_INET;
		if (getaddrinfo(NULL, port, &hints, &list) != 0)
			return -EINVAL;
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	}
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		if (list->ai_family == AF_INET6)
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, address[0] ? &on : &off,
			           sizeof on);
		err = bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, 128) < 0 ? -errno
		                                                                           : 0;
	} else {
		err = -errno;
	}
	freeaddrinfo(list);
	if (err == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return err;
}

int px_push_new(struct px_push **out, struct px_loop *loop, const struct px_push_config *c,
                char why[PX_PUSH_WHY])
{
	struct px_push *p = calloc(1, sizeof *p);
	int fd, err;

	why[0] = '\0';
	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->epoll = -1;
	p->heard = c->heard;
	p->arg = c->arg;
	p->request_ms = c->request_ms ? c->request_ms : REQUEST_MS;
	snprintf(p->token, sizeof p->token, "%s", c->token);
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	fd = p->timer < 0 ? -errno : bound(c->listen);
	err = fd < 0 ? fd : 0;
	if (err < 0) {
		snprintf(why, PX_PUSH_WHY, "listen_http %.60s: %s", c->listen, strerror(-err));
		px_push_free(p);
		return err;
	}
	p->mhd = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, p,
	                          MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
	                          CONNECTIONS, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	                          CONNECTIONS_PER_ADDRESS, MHD_OPTION_CONNECTION_TIMEOUT,
	                          (p->request_ms + 999) / 1000, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	                          (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_end, p,
	                          MHD_OPTION_NOTIFY_CONNECTION, on_connection, p, MHD_OPTION_END);
	if (!p->mhd) {
		close(fd);
		snprintf(why, PX_PUSH_WHY, "listen_http %.60s: libmicrohttpd can't start",
		         c->listen);
		px_push_free(p);
		return -EIO;
	}
	p->epoll = MHD_get_daemon_info(p->mhd, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	if ((err = px_loop_watch(loop, p->epoll, run, p)) < 0 ||
	    (err = px_loop_watch(loop, p->timer, run, p)) < 0) {
		snprintf(why, PX_PUSH_WHY, "listen_http: %s", strerror(-err));
		px_push_free(p);
		return err;
	}
	*out = p;
	return 0;
}

void px_push_free(struct px_push *p)
{
	if (!p)
		return;
	if (p->epoll >= 0)
		px_loop_unwatch(p->loop, p->epoll);
	if (p->mhd)
		MHD_stop_daemon(p->mhd);
	if (p->timer >= 0) {
		px_loop_unwatch(p->loop, p->timer);
		close(p->timer);
	}
	free(p);
}

uint64_t px_push_strays(const struct px_push *p)
{
	return p ? p->strays : 0;
}

char *px_push_callback(const char *listen, const char *announce, const char *token)
{
	char address[64], port[8], *url = NULL;
	size_t n = announce ? strlen(announce) : 0;
	int len;

	split(listen, address, port);
	if (announce)
		len = asprintf(&url, "%s%s%s/", announce, n && announce[n - 1] == '/' ? "" : "/",
		               token);
	else if (!address[0] || strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0)
		return NULL;
	else
		len =
		    asprintf(&url, strchr(address, ':') ? "http://[%s]:%s/%s/" : "http://%s:%s/%s/",
		             address, port, token);
	return len < 0 ? NULL : url;
}
