/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RFC 3263 against a small DNS server in a thread of this process. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/loop.h"
#include "io/resolve.h"

enum type { A = 1, CNAME = 5, AAAA = 28, SRV = 33, NAPTR = 35 };

/* a, b, c: SRV: priority, weight, port; NAPTR: order, preference, - */
static const struct record {
	const char *name;
	enum type type;
	const char *data; /* address or target */
	unsigned a, b, c;
	const char *service;
} zone[] = {
    {"naptr.test", NAPTR, "_sip._tcp.naptr.test", 10, 20, 0, "SIP+D2T"},
    {"naptr.test", NAPTR, "_sip._udp.naptr.test", 20, 10, 0, "SIP+D2U"},
    {"naptr.test", NAPTR, "_sips._tcp.naptr.test", 10, 10, 0, "SIPS+D2T"},
    {"naptr.test", NAPTR, "odd.test", 1, 1, 0, "E2U+sip"},
    {"_sip._tcp.naptr.test", SRV, "a.test", 20, 0, 5070, NULL},
    {"_sip._tcp.naptr.test", SRV, "b.test", 10, 0, 5080, NULL},
    {"_sip._udp.naptr.test", SRV, "a.test", 1, 1, 5090, NULL},
    {"_sips._tcp.naptr.test", SRV, "a.test", 1, 1, 5061, NULL},
    {"srv.test", A, "192.0.2.99", 0, 0, 0, NULL},
    {"_sip._udp.srv.test", SRV, "b.test", 1, 1, 5071, NULL},
    {"_sip._tcp.srv.test", SRV, "a.test", 1, 1, 5072, NULL},
    {"none.test", A, "192.0.2.98", 0, 0, 0, NULL},
    {"_sip._tcp.none.test", SRV, ".", 0, 0, 0, NULL},
    {"even.test", A, "192.0.2.97", 0, 0, 0, NULL},
    {"_sip._tcp.even.test", SRV, "a.test", 1, 0, 1, NULL},
    {"_sip._tcp.even.test", SRV, "b.test", 1, 30, 2, NULL},
    {"_sip._tcp.even.test", SRV, "c.test", 1, 10, 3, NULL},
    {"a.test", A, "192.0.2.1", 0, 0, 0, NULL},
    {"b.test", A, "192.0.2.2", 0, 0, 0, NULL},
    {"b.test", AAAA, "2001:db8::2", 0, 0, 0, NULL},
    {"b.test", A, "192.0.2.3", 0, 0, 0, NULL},
    {"c.test", A, "192.0.2.4", 0, 0, 0, NULL},
};

static struct {
	pthread_t thread;
	int fd, stop[2], port;
	bool silent;
} dns;

static unsigned char *put16(unsigned char *p, unsigned v)
{
	*p++ = (unsigned char)(v >> 8);
	*p++ = (unsigned char)v;
	return p;
}

static unsigned char *put_name(unsigned char *p, const char *name)
{
	while (*name && strcmp(name, ".") != 0) {
		size_t n = strcspn(name, ".");

		*p++ = (unsigned char)n;
		memcpy(p, name, n);
		p += n;
		name += n + (name[n] == '.');
	}
	*p++ = 0;
	return p;
}

static unsigned char *put_text(unsigned char *p, const char *text)
{
	*p++ = (unsigned char)strlen(text);
	memcpy(p, text, strlen(text));
	return p + strlen(text);
}

static unsigned char *put_record(unsigned char *p, const struct record *r)
{
	unsigned char *length;

	p = put_name(p, r->name);
	p = put16(put16(p, r->type), 1);
	p = put16(put16(p, 0), 120); /* TTL */
	length = p;
	p += 2;
	switch (r->type) {
	case A:
		inet_pton(AF_INET, r->data, p);
		p += 4;
		break;
	case AAAA:
		inet_pton(AF_INET6, r->data, p);
		p += 16;
		break;
	case SRV:
		p = put_name(put16(put16(put16(p, r->a), r->b), r->c), r->data);
		break;
	case NAPTR:
		p = put16(put16(p, r->a), r->b);
		p = put_name(put_text(put_text(put_text(p, "s"), r->service), ""), r->data);
		break;
	case CNAME:
		p = put_name(p, r->data);
		break;
	}
	put16(length, (unsigned)(p - length - 2));
	return p;
}

static size_t answer(const unsigned char *in, size_t n, unsigned char *out)
{
	char name[256] = "";
	size_t at = 12, len = 0;
	unsigned found = 0, type;
	bool known = false;
	unsigned char *p;

	while (at < n && in[at]) {
		len += (size_t)snprintf(name + len, sizeof name - len, "%s%.*s", len ? "." : "",
		                        in[at], (const char *)in + at + 1);
		at += in[at] + 1u;
	}
	type = (unsigned)in[at + 1] << 8 | in[at + 2];
	memcpy(out, in, at + 5);
	p = out + at + 5;
	for (size_t i = 0; i < sizeof zone / sizeof *zone; i++) {
		if (strcasecmp(zone[i].name, name) != 0)
			continue;
		known = true;
		if (zone[i].type != type)
			continue;
		p = put_record(p, &zone[i]);
		found++;
	}
	put16(out + 2, known ? 0x8180 : 0x8183);
	put16(out + 6, found);
	put16(out + 8, 0);
	put16(out + 10, 0);
	return (size_t)(p - out);
}

static void *serve(void *arg)
{
	(void)arg;
	for (;;) {
		struct pollfd f[2] = {{.fd = dns.fd, .events = POLLIN},
		                      {.fd = dns.stop[0], .events = POLLIN}};
		unsigned char in[1500], out[4096];
		struct sockaddr_in from;
		socklen_t size = sizeof from;
		ssize_t n;

		poll(f, 2, -1);
		if (f[1].revents)
			return NULL;
		n = recvfrom(dns.fd, in, sizeof in, 0, (struct sockaddr *)&from, &size);
		if (n > 16 && !__atomic_load_n(&dns.silent, __ATOMIC_SEQ_CST))
			sendto(dns.fd, out, answer(in, (size_t)n, out), 0, (struct sockaddr *)&from,
			       size);
	}
}

static int start_dns(void **state)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof a;

	(void)state;
	dns.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(dns.fd, (struct sockaddr *)&a, sizeof a), 0);
	getsockname(dns.fd, (struct sockaddr *)&a, &size);
	dns.port = ntohs(a.sin_port);
	assert_int_equal(pipe(dns.stop), 0);
	return pthread_create(&dns.thread, NULL, serve, NULL);
}

static int stop_dns(void **state)
{
	(void)state;
	close(dns.stop[1]);
	pthread_join(dns.thread, NULL);
	close(dns.stop[0]);
	close(dns.fd);
	return 0;
}

/* ---- who asks ---- */

static struct {
	struct px_loop *loop;
	struct px_resolver *resolver;
	unsigned done, n;
	int64_t ttl_s;
	char found[2048]; /* "udp 192.0.2.1 5060, ..." */
} b;

static void turn(void *arg, struct px_now now)
{
	(void)arg;
	(void)now;
	px_loop_stop(b.loop);
}

static void on_done(void *arg, const struct px_address *a, unsigned n, int64_t ttl_s)
{
	size_t len = 0;

	assert_ptr_equal(arg, &b);
	b.done++;
	b.n = n;
	b.ttl_s = ttl_s;
	b.found[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(b.found + len, sizeof b.found - len, "%s%s %s %u",
		                        i ? ", " : "", px_sip_transport_name(a[i].transport),
		                        a[i].host, a[i].port);
	px_loop_mark(b.loop);
}

static void write_file(char *path, const char *text)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static int setup(void **state)
{
	char conf[] = "/tmp/px-conf.XXXXXX", hosts[] = "/tmp/px-hosts.XXXXXX", text[80];

	(void)state;
	memset(&b, 0, sizeof b);
	__atomic_store_n(&dns.silent, false, __ATOMIC_SEQ_CST);
	snprintf(text, sizeof text, "port %d\nnameserver 127.0.0.1\n", dns.port);
	write_file(conf, text);
	write_file(hosts, "127.0.0.1 localhost\n::1 six.test\n192.0.2.7 six.test b-too # b.test\n"
	                  "bad line\n#192.0.2.8 six.test\n192.0.2.9 c.test");
	assert_int_equal(px_loop_new(&b.loop, turn, NULL), 0);
	b.resolver = px_resolver_new(px_loop_root(b.loop), conf, hosts);
	assert_non_null(b.resolver);
	unlink(conf);
	*state = strdup(hosts);
	return 0;
}

static int teardown(void **state)
{
	unlink(*state);
	free(*state);
	px_resolver_free(b.resolver);
	px_loop_free(b.loop);
	return 0;
}

static const char *resolve(const char *host, uint16_t port, enum px_sip_transport t)
{
	const unsigned before = b.done;

	if (px_resolve(b.resolver, host, port, t, on_done, &b)) {
		assert_int_equal(b.done, before);
		px_loop_wake(b.loop, px_after(px_loop_now(b.loop), 5000));
		while (b.done == before)
			px_loop_run(b.loop);
	}
	assert_int_equal(b.done, before + 1);
	return b.found;
}

static void numeric(void **state)
{
	(void)state;
	assert_string_equal(resolve("192.0.2.1", 0, PX_SIP_ANY), "udp 192.0.2.1 5060");
	assert_string_equal(resolve("192.0.2.1", 0, PX_SIP_TLS), "tls 192.0.2.1 5061");
	assert_string_equal(resolve("[2001:db8::1]", 99, PX_SIP_TCP), "tcp [2001:db8::1] 99");
	assert_int_equal(b.done, 3);
}

/* RFC 3263 §4.1, §4.2: by order and preference, then by priority; IPv6 first. */
static void naptr(void **state)
{
	(void)state;
	assert_string_equal(resolve("naptr.test", 0, PX_SIP_ANY),
	                    "tls 192.0.2.1 5061, "
	                    "tcp [2001:db8::2] 5080, tcp 192.0.2.2 5080, tcp 192.0.2.3 5080, "
	                    "tcp 192.0.2.1 5070, udp 192.0.2.1 5090");
	assert_int_equal(b.ttl_s, 120);
	/* from memory, without waiting */
	assert_null(px_resolve(b.resolver, "naptr.test", 0, PX_SIP_ANY, on_done, &b));
	assert_int_equal(b.done, 2);
	assert_int_equal(b.n, 6);
}

static void srv(void **state)
{
	(void)state;
	assert_string_equal(resolve("srv.test", 0, PX_SIP_ANY),
	                    "udp [2001:db8::2] 5071, udp 192.0.2.2 5071, udp 192.0.2.3 5071, "
	                    "tcp 192.0.2.1 5072");
	assert_string_equal(resolve("srv.test", 0, PX_SIP_TCP), "tcp 192.0.2.1 5072");
	/* not for this transport: the host itself; so with a port */
	assert_string_equal(resolve("srv.test", 0, PX_SIP_TLS), "tls 192.0.2.99 5061");
	assert_string_equal(resolve("srv.test", 7000, PX_SIP_TCP), "tcp 192.0.2.99 7000");
	assert_string_equal(resolve("none.test", 0, PX_SIP_TCP), "tcp 192.0.2.98 5060");
}

/* RFC 2782: 3 to 1, over many drawings; a weight of 0 hardly ever comes first. */
static void weights(void **state)
{
	unsigned first[4] = {0};

	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		const char *port = strchr(resolve("even.test", 0, PX_SIP_TCP) + 4, ' ');

		first[atoi(port)]++;
		assert_int_equal(b.n, 5);
	}
	assert_in_range(first[2], 230, 360);
	assert_in_range(first[3], 40, 160);
	assert_in_range(first[1], 0, 40);
}

/* /etc/hosts goes first, also for what an SRV record names. */
static void hosts(void **state)
{
	(void)state;
	assert_string_equal(resolve("localhost", 5060, PX_SIP_UDP), "udp 127.0.0.1 5060");
	assert_string_equal(resolve("SIX.test", 1, PX_SIP_TCP), "tcp [::1] 1, tcp 192.0.2.7 1");
	assert_string_equal(resolve("b.test", 1, PX_SIP_TCP),
	                    "tcp [2001:db8::2] 1, tcp 192.0.2.2 1, tcp 192.0.2.3 1");
	assert_non_null(strstr(resolve("even.test", 0, PX_SIP_TCP), "192.0.2.9 3"));
	assert_null(strstr(b.found, "192.0.2.4"));
	assert_int_equal(b.ttl_s, 60);
}

static void unknown(void **state)
{
	static char name[400];

	(void)state;
	memset(name, 'x', sizeof name - 1);
	assert_string_equal(resolve("nobody.test", 0, PX_SIP_ANY), "");
	assert_string_equal(resolve("nobody.test", 5060, PX_SIP_UDP), "");
	assert_string_equal(resolve(name, 0, PX_SIP_ANY), "");
	assert_int_equal(b.ttl_s, 10);
}

/* Nobody waits for it but who asked, and that can be given up. */
static void a_silent_server(void **state)
{
	struct px_lookup *l;
	struct px_now began;

	(void)state;
	__atomic_store_n(&dns.silent, true, __ATOMIC_SEQ_CST);
	began = px_loop_now(b.loop);
	l = px_resolve(b.resolver, "naptr.test", 0, PX_SIP_ANY, on_done, &b);
	assert_non_null(l);
	px_loop_wake(b.loop, px_after(began, 300));
	px_loop_run(b.loop);
	assert_in_range(px_loop_now(b.loop).mono.ms - began.mono.ms, 290, 1000);
	px_lookup_cancel(l);
	__atomic_store_n(&dns.silent, false, __ATOMIC_SEQ_CST);
	px_loop_wake(b.loop, px_after(px_loop_now(b.loop), 100));
	px_loop_run(b.loop);
	assert_int_equal(b.done, 0);
	assert_string_equal(resolve("a.test", 1, PX_SIP_UDP), "udp 192.0.2.1 1");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(numeric), T(naptr), T(srv), T(weights), T(hosts), T(unknown), T(a_silent_server),
	};

	return cmocka_run_group_tests(tests, start_dns, stop_dns);
}
