/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PUBLISH against a small presence server (UDP and TCP on one port) in a thread of this process.
 * What it does with a request is chosen by the user part of its Request-URI.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/sip.h"

/* ---- the presence server ---- */

#define CONNECTIONS 64
#define MESSAGE 70000

struct connection {
	int fd;
	bool deaf; /* reads nothing any more */
	size_t n;
	char in[MESSAGE];
};

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	int udp, tcp, port, stop[2];
	struct connection c[CONNECTIONS];
	/* under lock */
	char last[MESSAGE];
	bool last_tcp;
	unsigned requests, accepted;
	struct sockaddr_in late_to;
	int late_fd;
	char late[2048];
	int64_t late_at;
	bool close_all;
} server = {.lock = PTHREAD_MUTEX_INITIALIZER, .late_fd = -1};

static int64_t ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Copies a header's line. */
static void copy_line(char *out, size_t size, const char *in, const char *name)
{
	char pattern[32];
	const char *at, *end;
	size_t n = strlen(out);

	snprintf(pattern, sizeof pattern, "\n%s: ", name);
	at = strcasestr(in, pattern);
	if (!at)
		return;
	end = strstr(at + 1, "\r\n");
	snprintf(out + n, size - n, "%.*s\r\n", (int)(end - at - 1), at + 1);
}

static void answer(char *out, size_t size, const char *in, const char *status, const char *more)
{
	snprintf(out, size, "SIP/2.0 %s\r\n", status);
	copy_line(out, size, in, "Via");
	copy_line(out, size, in, "From");
	copy_line(out, size, in, "To");
	copy_line(out, size, in, "Call-ID");
	copy_line(out, size, in, "CSeq");
	snprintf(out + strlen(out), size - strlen(out), "%sContent-Length: 0\r\n\r\n", more);
}

static void reply(struct connection *c, const struct sockaddr_in *from, const char *text)
{
	if (c)
		(void)!write(c->fd, text, strlen(text));
	else
		sendto(server.udp, text, strlen(text), 0, (const struct sockaddr *)from,
		       sizeof *from);
}

static void hang_up(struct connection *c, bool reset)
{
	const struct linger now = {.l_onoff = 1};

	if (reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(c->fd);
	c->fd = -1;
	c->n = 0;
	c->deaf = false;
}

/*
 * loginN: 401 until it is answered with the newest nonce, which is good for N requests; then 401 with another, stale. login0: also 407. login-: never
 * accepted. What the answer must be is test_digest.c's matter.
 */
static void serve_login(struct connection *c, const struct sockaddr_in *from, const char *in,
                        const char *user)
{
	static unsigned nonce, uses, limit;
	char out[2048], more[512], expect[64];
	const bool proxy = user[5] == '0';
	const char *www = strcasestr(in, "\nAuthorization: Digest username=\"me\", ");
	const char *other = strcasestr(in, "\nProxy-Authorization: Digest username=\"me\", ");

	snprintf(expect, sizeof expect, "nonce=\"n%u\"", nonce);
	if (proxy && !other) {
		answer(
		    out, sizeof out, in, "407 Proxy",
		    "Proxy-Authenticate: Digest realm=\"p\", nonce=\"x\", algorithm=SHA-256\r\n");
	} else if (user[5] != '-' && www && strstr(www, expect) && ++uses <= limit &&
	           strstr(www, "realm=\"example.test\"") && strstr(www, "uri=\"sip:login")) {
		answer(out, sizeof out, in, "200 OK", "SIP-ETag: in\r\nExpires: 600\r\n");
	} else {
		snprintf(more, sizeof more,
		         "WWW-Authenticate: Basic realm=\"b\"\r\n"
		         "WWW-Authenticate: Digest realm=\"example.test\", nonce=\"n%u\", "
		         "qop=\"auth\", algorithm=SHA-256%s\r\n",
		         ++nonce, uses > limit ? ", stale=true" : "");
		uses = 0;
		limit = user[5] > '0' && user[5] <= '9' ? (unsigned)(user[5] - '0') : 1;
		answer(out, sizeof out, in, "401 Unauthorized", more);
	}
	reply(c, from, out);
}

static void serve(struct connection *c, const struct sockaddr_in *from, const char *in)
{
	char out[2048], user[32] = "";
	unsigned cseq = 0;
	const char *at = strcasestr(in, "\nCSeq: ");

	if (at)
		cseq = (unsigned)atol(at + 7);
	sscanf(in, "%*[A-Z] sip:%31[^@]@", user);
	pthread_mutex_lock(&server.lock);
	server.requests++;
	server.last_tcp = c != NULL;
	snprintf(server.last, sizeof server.last, "%s", in);
	pthread_mutex_unlock(&server.lock);
	if (strncmp(user, "ok", 2) == 0) {
		char more[64];

		snprintf(more, sizeof more, "SIP-ETag: e%u\r\nExpires: 1800\r\n", cseq);
		answer(out, sizeof out, in, "200 OK", more);
		reply(c, from, out);
	} else if (strcmp(user, "twice") == 0) {
		answer(out, sizeof out, in, "200 OK", "SIP-ETag: one\r\n");
		reply(c, from, out);
		answer(out, sizeof out, in, "500 Changed my mind", "");
		reply(c, from, out);
	} else if (strcmp(user, "trying") == 0) {
		answer(out, sizeof out, in, "100 Trying", "");
		reply(c, from, out);
		usleep(50000);
		answer(out, sizeof out, in, "200 OK", "SIP-ETag: tried\r\n");
		reply(c, from, out);
	} else if (strcmp(user, "gone") == 0) {
		answer(out, sizeof out, in, "412 Conditional Request Failed", "");
		reply(c, from, out);
	} else if (strcmp(user, "brief") == 0) {
		answer(out, sizeof out, in, "423 Interval Too Brief", "Min-Expires: 600\r\n");
		reply(c, from, out);
	} else if (strcmp(user, "busy") == 0) {
		answer(out, sizeof out, in, "503 Overloaded", "Retry-After: 3\r\n");
		reply(c, from, out);
	} else if (strncmp(user, "moved", 5) == 0) {
		char more[128];

		snprintf(more, sizeof more,
		         "Contact: <sip:nobody@127.0.0.1:1>;q=0.1, "
		         "<sip:%s@127.0.0.1:%d;transport=%s>;q=0.7\r\n",
		         strcmp(user, "moved") == 0 ? "ok-there" : user, server.port,
		         c ? "udp" : "tcp");
		answer(out, sizeof out, in, "302 Moved Temporarily", more);
		reply(c, from, out);
	} else if (strcmp(user, "lured") == 0) {
		answer(out, sizeof out, in, "301 Moved", "Contact: <http://127.0.0.1/>\r\n");
		reply(c, from, out);
	} else if (strncmp(user, "login", 5) == 0) {
		serve_login(c, from, in, user);
	} else if (strcmp(user, "bad") == 0) {
		reply(c, from,
		      "SIP/2.0 200 OK\r\nVia: nonsense\r\nCSeq: x\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(user, "late") == 0) {
		pthread_mutex_lock(&server.lock);
		answer(server.late, sizeof server.late, in, "200 OK", "SIP-ETag: late\r\n");
		server.late_at = ms() + 400;
		server.late_fd = c ? c->fd : -1;
		if (from)
			server.late_to = *from;
		pthread_mutex_unlock(&server.lock);
	} else if (strcmp(user, "reset") == 0 && c) {
		hang_up(c, true);
	} else if (strcmp(user, "close") == 0 && c) {
		answer(out, sizeof out, in, "200 OK", "SIP-ETag: bye\r\n");
		reply(c, from, out);
		usleep(20000);
		hang_up(c, false);
	} else if (strcmp(user, "deaf") == 0 && c) {
		c->deaf = true;
	} /* silent: nothing */
}

/* Whole messages of a stream, one after the other. */
static void serve_stream(struct connection *c)
{
	static char one[MESSAGE];
	char *end, *length;

	while (c->fd >= 0 && !c->deaf && (end = strstr(c->in, "\r\n\r\n"))) {
		size_t whole = (size_t)(end + 4 - c->in);

		length = strcasestr(c->in, "\nContent-Length: ");
		if (length && length < end)
			whole += (size_t)atol(length + 17);
		if (c->n < whole)
			return;
		memcpy(one, c->in, whole);
		one[whole] = '\0';
		c->n -= whole;
		memmove(c->in, c->in + whole, c->n + 1);
		serve(c, NULL, one);
	}
}

static void read_connection(struct connection *c)
{
	ssize_t got = read(c->fd, c->in + c->n, sizeof c->in - 1 - c->n);

	if (got <= 0) {
		hang_up(c, false);
		return;
	}
	c->n += (size_t)got;
	c->in[c->n] = '\0';
	serve_stream(c);
}

static void *serve_all(void *arg)
{
	static char in[MESSAGE];

	(void)arg;
	for (int i = 0; i < CONNECTIONS; i++)
		server.c[i].fd = -1;
	for (;;) {
		struct pollfd p[3 + CONNECTIONS] = {{.fd = server.stop[0], .events = POLLIN},
		                                    {.fd = server.udp, .events = POLLIN},
		                                    {.fd = server.tcp, .events = POLLIN}};

		for (int i = 0; i < CONNECTIONS; i++)
			p[3 + i] = (struct pollfd){.fd = server.c[i].deaf ? -1 : server.c[i].fd,
			                           .events = POLLIN};
		poll(p, 3 + CONNECTIONS, 20);
		if (p[0].revents)
			break;
		pthread_mutex_lock(&server.lock);
		if (server.late_at && ms() >= server.late_at) {
			server.late_at = 0;
			if (server.late_fd >= 0)
				(void)!write(server.late_fd, server.late, strlen(server.late));
			else
				reply(NULL, &server.late_to, server.late);
		}
		bool close_all = server.close_all;

		server.close_all = false;
		pthread_mutex_unlock(&server.lock);
		for (int i = 0; i < CONNECTIONS; i++)
			if (server.c[i].fd >= 0 && close_all)
				hang_up(&server.c[i], false);
			else if (p[3 + i].revents && server.c[i].fd == p[3 + i].fd)
				read_connection(&server.c[i]);
		if (p[1].revents) {
			struct sockaddr_in from;
			socklen_t len = sizeof from;
			ssize_t n = recvfrom(server.udp, in, sizeof in - 1, 0,
			                     (struct sockaddr *)&from, &len);

			if (n > 0) {
				in[n] = '\0';
				serve(NULL, &from, in);
			}
		}
		if (p[2].revents) {
			int fd = accept(server.tcp, NULL, NULL), i = 0;

			while (i < CONNECTIONS && server.c[i].fd >= 0)
				i++;
			assert_true(i < CONNECTIONS);
			server.c[i] = (struct connection){.fd = fd};
			pthread_mutex_lock(&server.lock);
			server.accepted++;
			pthread_mutex_unlock(&server.lock);
		}
	}
	for (int i = 0; i < CONNECTIONS; i++)
		if (server.c[i].fd >= 0)
			close(server.c[i].fd);
	return NULL;
}

static int bound(int type, int *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                        .sin_port = htons((uint16_t)*port)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
		close(fd);
		return -1;
	}
	getsockname(fd, (struct sockaddr *)&a, &len);
	*port = ntohs(a.sin_port);
	return fd;
}

static int start_server(void **state)
{
	(void)state;
	do {
		server.port = 0;
		server.tcp = bound(SOCK_STREAM, &server.port);
		server.udp = bound(SOCK_DGRAM, &server.port);
		if (server.udp < 0)
			close(server.tcp);
	} while (server.udp < 0);
	assert_int_equal(listen(server.tcp, 16), 0);
	assert_int_equal(pipe(server.stop), 0);
	pthread_create(&server.thread, NULL, serve_all, NULL);
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	close(server.stop[1]);
	pthread_join(server.thread, NULL);
	close(server.stop[0]);
	close(server.udp);
	close(server.tcp);
	return 0;
}

/* ---- the client ---- */

#define ANSWERS 20000

struct answer_seen {
	unsigned done;
	enum px_sip_fail fail;
	int status;
	int64_t expires, min_expires, retry_after;
	char etag[128], reason[64];
};

static struct {
	struct px_loop *loop;
	struct px_sip *sip;
	struct answer_seen a[ANSWERS];
	unsigned done, stop_after, lost;
	unsigned total, sent, window; /* the storm: `total` users in all */
	size_t body;
	const char *hosts; /* a file to be removed; NULL: none */
} b;

static struct px_action publish(uint64_t id, const char *key, size_t body, int64_t timeout_ms)
{
	struct px_action a = {.kind = PX_DO_SIP_START};
	static char text[MESSAGE];

	a.sip.id = id;
	a.sip.op = PX_OP_INITIAL;
	snprintf(a.sip.key, sizeof a.sip.key, "%s", key);
	a.sip.expires = 3600;
	a.sip.timeout_ms = timeout_ms;
	a.sip.body = px_buf_new(MESSAGE);
	memset(text, 'x', body);
	px_buf_add(&a.sip.body, text, body);
	return a;
}

static void send_one(uint64_t id, const char *key, size_t body, int64_t timeout_ms)
{
	struct px_action a = publish(id, key, body, timeout_ms);
	unsigned before = b.done;

	px_sip_publish(b.sip, &a);
	assert_int_equal(b.done, before);
	px_buf_free(&a.sip.body);
}

static void turn(void *arg, struct px_now now)
{
	(void)arg;
	(void)now;
	while (b.sent < b.total && b.sent - b.done < b.window) {
		char key[64];

		snprintf(key, sizeof key, "ok%u@example.test", b.sent);
		send_one(b.sent++, key, b.body, 30000);
	}
	if (b.total == 0 || b.done >= b.total)
		px_loop_stop(b.loop);
}

static void on_done(void *arg, uint64_t id, const struct px_sip_answer *got)
{
	struct answer_seen *a = &b.a[id];

	(void)arg;
	a->done++;
	a->fail = got->fail;
	a->status = got->status;
	a->expires = got->expires;
	a->min_expires = got->min_expires;
	a->retry_after = got->retry_after;
	snprintf(a->etag, sizeof a->etag, "%s", got->etag ? got->etag : "");
	snprintf(a->reason, sizeof a->reason, "%s", got->reason ? got->reason : "");
	if (++b.done >= b.stop_after || b.total)
		px_loop_mark(b.loop);
}

static void on_lost(void *arg)
{
	(void)arg;
	b.lost++;
	px_loop_mark(b.loop);
}

static int setup(void **state)
{
	(void)state;
	memset(&b, 0, sizeof b);
	b.stop_after = 1;
	assert_int_equal(px_loop_new(&b.loop, turn, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	px_sip_free(b.sip);
	px_loop_free(b.loop);
	if (b.hosts)
		unlink(b.hosts);
	return 0;
}

static void afresh(void)
{
	teardown(NULL);
	setup(NULL);
}

static void client_of(const char *transport, int port)
{
	char uri[64], why[PX_SIP_WHY];
	const char *servers[] = {uri};
	const struct px_sip_config c = {
	    .server = servers, .servers = 1, .done = on_done, .lost = on_lost};

	snprintf(uri, sizeof uri, "sip:127.0.0.1:%d;transport=%s", port, transport);
	if (px_sip_new(&b.sip, b.loop, &c, why) < 0)
		fail_msg("%s", why);
}

static void client(const char *transport)
{
	client_of(transport, server.port);
}

static int64_t run(int64_t at_most_ms)
{
	struct px_now began = px_loop_now(b.loop);

	px_loop_wake(b.loop, px_after(began, at_most_ms));
	px_loop_run(b.loop);
	return px_loop_now(b.loop).mono.ms - began.mono.ms;
}

static bool request_has(const char *text)
{
	bool has;

	pthread_mutex_lock(&server.lock);
	has = strstr(server.last, text) != NULL;
	pthread_mutex_unlock(&server.lock);
	return has;
}

static void assert_answered(unsigned id, int status)
{
	assert_int_equal(b.a[id].done, 1);
	assert_int_equal(b.a[id].fail, PX_SIP_ANSWERED);
	assert_int_equal(b.a[id].status, status);
}

/* What RFC 3903 §4 and §6 want of an initial PUBLISH, and what comes back of the answer. */
static void initial(const char *transport)
{
	client(transport);
	send_one(0, "ok@example.test", 300, 2000);
	run(3000);
	assert_answered(0, 200);
	assert_true(b.a[0].etag[0] == 'e');
	assert_int_equal(b.a[0].expires, 1800);
	assert_int_equal(b.a[0].min_expires, -1);
	assert_int_equal(b.a[0].retry_after, -1);
	assert_string_equal(b.a[0].reason, "OK");
	assert_true(request_has("PUBLISH sip:ok@example.test SIP/2.0\r\n"));
	assert_true(request_has("\r\nMax-Forwards: 70\r\n"));
	assert_true(request_has("\r\nFrom: <sip:ok@example.test>;tag="));
	assert_true(request_has("\r\nTo: <sip:ok@example.test>\r\n"));
	assert_true(request_has("\r\nEvent: presence\r\n"));
	assert_true(request_has("\r\nExpires: 3600\r\n"));
	assert_true(request_has("\r\nContent-Type: application/pidf+xml\r\n"));
	assert_true(request_has("\r\nContent-Length: 300\r\n"));
	assert_true(request_has("\r\nUser-Agent: pua_exchange/"));
	assert_true(request_has("SIP/2.0/"));
	assert_false(request_has("SIP-If-Match"));
	assert_false(request_has("Route:"));
	assert_false(request_has("Contact:"));
	assert_int_equal(server.last_tcp, strcmp(transport, "tcp") == 0);
}

static void initial_udp(void **state)
{
	(void)state;
	initial("udp");
}

static void initial_tcp(void **state)
{
	(void)state;
	initial("tcp");
}

static struct px_action message(uint64_t id, const char *key, const char *text, int64_t timeout_ms)
{
	struct px_action a = {.kind = PX_DO_SIP_MESSAGE};

	a.message.id = id;
	snprintf(a.message.key, sizeof a.message.key, "%s", key);
	a.message.lang = "de";
	a.message.expires = 300;
	a.message.timeout_ms = timeout_ms;
	a.message.body = px_buf_new(MESSAGE);
	px_buf_str(&a.message.body, text);
	return a;
}

static void send_message(uint64_t id, const char *key, const char *text, int64_t timeout_ms)
{
	struct px_action a = message(id, key, text, timeout_ms);
	unsigned before = b.done;

	px_sip_message(b.sip, &a);
	assert_int_equal(b.done, before);
	px_buf_free(&a.message.body);
}

/* Appends what stands in `in`, with * for what is another one each time, and LF for CRLF. */
static void plain(char *out, size_t size, const char *in)
{
	static const char *const varies[] = {
	    "Via: ", "Call-ID: ", "Date: ", "User-Agent: ", "CSeq: ", "Authorization: "};
	size_t n = 0;

	while (*in && n + 1 < size) {
		const char *end = strstr(in, "\r\n");
		size_t len = end ? (size_t)(end - in) : strlen(in);
		const char *tag = memmem(in, len, ";tag=", 5);

		for (size_t i = 0; i < sizeof varies / sizeof *varies; i++)
			if (strncmp(in, varies[i], strlen(varies[i])) == 0)
				tag = in + strlen(varies[i]) - 5;
		n += (size_t)snprintf(out + n, size - n, "%.*s%s%s",
		                      (int)(tag ? (size_t)(tag + 5 - in) : len), in, tag ? "*" : "",
		                      end ? "\n" : "");
		in += len + (end ? 2 : 0);
	}
}

static void client_with_login(const char *transport)
{
	char uri[64], why[PX_SIP_WHY];
	const char *servers[] = {uri};
	const struct px_sip_config c = {.server = servers,
	                                .servers = 1,
	                                .user = "me",
	                                .password = "secret",
	                                .done = on_done,
	                                .lost = on_lost};

	snprintf(uri, sizeof uri, "sip:127.0.0.1:%d;transport=%s", server.port, transport);
	if (px_sip_new(&b.sip, b.loop, &c, why) < 0)
		fail_msg("%s", why);
}

/* What came last is what stands in sip-fixtures. */
static void assert_golden(const char *path)
{
	char got[4096], want[4096];
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(want, 1, sizeof want - 1, f);
	want[n] = '\0';
	fclose(f);
	plain(got, sizeof got, server.last);
	assert_string_equal(got, want);
}

/* RFC 3903 §4.1 to §4.5, as they go out: initial, then with an ETag, with a login, and removed. */
static void golden_publish(void **state)
{
	static const char *const path[] = {"initial", "modify", "login", "remove"};
	struct px_action a;

	(void)state;
	client_with_login("tcp");
	for (unsigned i = 0; i < 4; i++) {
		a = publish(i, i == 2 ? "login4@example.test" : "ok J\xc3\xb6rg@example.test", 0,
		            2000);
		char file[64];

		if (i != 3)
			px_buf_str(&a.sip.body, "<presence/>\n");
		if (i > 0)
			strcpy(a.sip.etag, "dx200xyz");
		if (i == 3)
			a.sip.expires = 0;
		b.stop_after = i + 1;
		px_sip_publish(b.sip, &a);
		run(3000);
		assert_answered(i, 200);
		snprintf(file, sizeof file, "sip-fixtures/publish/%s.txt", path[i]);
		assert_golden(file);
	}
}

/* RFC 3428 §4, as it goes out. */
static void golden_message(void **state)
{
	(void)state;
	client("tcp");
	send_message(0, "ok J\xc3\xb6rg@example.test",
	             "Besprechung 10:00\xe2\x80\x93"
	             "11:00: B\xc3\xbc"
	             "cher",
	             2000);
	run(3000);
	assert_answered(0, 200);
	assert_golden("sip-fixtures/message/reminder.txt");
}

static void message_from_somebody_else(void **state)
{
	struct px_action a = message(0, "ok@example.test", "x", 2000);

	(void)state;
	client("udp");
	a.message.from = "calendar@example.test";
	px_sip_message(b.sip, &a);
	px_buf_free(&a.message.body);
	run(3000);
	assert_answered(0, 200);
	assert_true(request_has("MESSAGE sip:ok@example.test SIP/2.0\r\n"));
	assert_true(request_has("\r\nFrom: <sip:calendar@example.test>;tag="));
	assert_true(request_has("\r\nTo: <sip:ok@example.test>\r\n"));
}

/* A phone that doesn't answer says nothing about the presence server: its connection isn't closed. */
static void nobody_answers_the_message(void **state)
{
	(void)state;
	client("tcp");
	send_one(0, "ok@example.test", 10, 2000);
	run(3000);
	b.stop_after = 2;
	send_message(1, "silent@example.test", "x", 300);
	run(1000);
	assert_int_equal(b.a[1].done, 1);
	assert_int_equal(b.a[1].fail, PX_SIP_TIMEOUT);
	assert_int_equal(b.lost, 0);
	b.stop_after = 3;
	unsigned accepted = server.accepted;
	send_one(2, "ok@example.test", 10, 2000);
	run(3000);
	assert_answered(2, 200);
	assert_int_equal(server.accepted, accepted);
}

static void refresh_and_remove(void **state)
{
	struct px_action a = publish(0, "ok@example.test", 0, 2000);

	(void)state;
	client("tcp");
	strcpy(a.sip.etag, "dx200xyz");
	px_sip_publish(b.sip, &a);
	run(3000);
	assert_answered(0, 200);
	assert_true(request_has("\r\nSIP-If-Match: dx200xyz\r\n"));
	assert_true(request_has("\r\nContent-Length: 0\r\n"));
	assert_false(request_has("Content-Type"));
	a.sip.id = 1;
	a.sip.expires = 0;
	px_sip_publish(b.sip, &a);
	run(3000);
	assert_true(request_has("\r\nExpires: 0\r\n"));
}

/* One Call-ID per user, and a CSeq that grows. */
static void call_ids(void **state)
{
	char call_id[3][128] = {"", "", ""};
	unsigned cseq[3];

	(void)state;
	client("tcp");
	for (unsigned i = 0; i < 3; i++) {
		send_one(i, i == 1 ? "ok2@example.test" : "ok1@example.test", 10, 2000);
		run(3000);
		copy_line(call_id[i], sizeof call_id[i], server.last, "Call-ID");
		cseq[i] = (unsigned)atol(strcasestr(server.last, "\nCSeq: ") + 7);
	}
	assert_string_equal(call_id[0], call_id[2]);
	assert_string_not_equal(call_id[0], call_id[1]);
	assert_true(cseq[0] < cseq[1] && cseq[1] < cseq[2]);
}

static void odd_key(void **state)
{
	(void)state;
	client("tcp");
	send_one(0, "ok J\xc3\xb6rg@example.test", 10, 2000);
	run(3000);
	assert_answered(0, 200);
	assert_true(request_has("PUBLISH sip:ok%20J%C3%B6rg@example.test SIP/2.0\r\n"));
}

static void refusals(void **state)
{
	const char *const user[] = {"gone", "brief", "busy", "trying", "twice"};
	const int status[] = {412, 423, 503, 200, 200};

	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		afresh();
		client(tcp ? "tcp" : "udp");
		b.stop_after = 5;
		for (unsigned i = 0; i < 5; i++) {
			char key[64];

			snprintf(key, sizeof key, "%s@example.test", user[i]);
			send_one(i, key, 10, 2000);
		}
		run(3000);
		for (unsigned i = 0; i < 5; i++)
			assert_answered(i, status[i]);
		assert_int_equal(b.a[1].min_expires, 600);
		assert_int_equal(b.a[2].retry_after, 3);
		assert_string_equal(b.a[2].reason, "Overloaded");
		assert_string_equal(b.a[3].etag, "tried");
		assert_string_equal(b.a[4].etag, "one");
	}
}

static void silence(void **state)
{
	(void)state;
	client("udp");
	b.stop_after = 3;
	send_one(0, "silent@example.test", 10, 700);
	send_one(1, "bad@example.test", 10, 600);
	send_one(2, "silent@example.test", 10, 300);
	assert_in_range(run(3000), 690, 1500);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(b.a[i].done, 1);
		assert_int_equal(b.a[i].fail, PX_SIP_TIMEOUT);
		assert_int_equal(b.a[i].status, 0);
	}
}

static unsigned requests(void)
{
	unsigned n;

	pthread_mutex_lock(&server.lock);
	n = server.requests;
	pthread_mutex_unlock(&server.lock);
	return n;
}

/* A copy that came after what is sent next would be carried out, too. */
static void what_timed_out_is_not_repeated(void **state)
{
	unsigned before;

	(void)state;
	client("udp");
	b.stop_after = 1;
	send_one(0, "silent@example.test", 10, 600);
	run(5000);
	assert_int_equal(b.a[0].fail, PX_SIP_TIMEOUT);
	/* behind all that was sent before */
	b.stop_after = 2;
	send_one(1, "ok@example.test", 10, 5000);
	run(5000);
	assert_answered(1, 200);
	before = requests();
	assert_true(before >= 2);
	b.stop_after = 100;
	run(1300); /* the next one would come 1.5 s after the first */
	assert_int_equal(requests(), before);
}

static void late_answer_falls_to_the_floor(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		afresh();
		client(tcp ? "tcp" : "udp");
		/* something else is heard, so the connection stays */
		b.stop_after = 2;
		send_one(0, "late@example.test", 10, 200);
		send_one(1, "ok@example.test", 10, 2000);
		run(3000);
		b.stop_after = 100;
		run(600);
		assert_int_equal(b.a[0].done, 1);
		assert_int_equal(b.a[0].fail, PX_SIP_TIMEOUT);
		assert_answered(1, 200);
	}
}

static int unused_port(void)
{
	int port = 0, fd = bound(SOCK_STREAM, &port);

	close(fd);
	return port;
}

static void nobody_there(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		afresh();
		client_of(tcp ? "tcp" : "udp", unused_port());
		b.stop_after = 2;
		send_one(0, "ok@example.test", 10, 5000);
		send_one(1, "ok2@example.test", 10, 5000);
		assert_true(run(6000) < 1000);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(b.a[i].done, 1);
			assert_int_equal(b.a[i].fail, PX_SIP_TRANSPORT);
			assert_int_equal(b.a[i].status, 0);
		}
	}
}

static void reset_in_the_middle(void **state)
{
	(void)state;
	client("tcp");
	b.stop_after = 10;
	for (unsigned i = 0; i < 9; i++)
		send_one(i, "silent@example.test", 10, 5000);
	send_one(9, "reset@example.test", 10, 5000);
	assert_true(run(6000) < 1000);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(b.a[i].done, 1);
		assert_int_equal(b.a[i].fail, PX_SIP_TRANSPORT);
	}
	/* and the next one finds a new connection */
	b.stop_after = 11;
	send_one(10, "ok@example.test", 10, 5000);
	run(3000);
	assert_answered(10, 200);
}

/* The server closes a connection that is idle: the next request must not be lost. */
static void idle_connection_closed(void **state)
{
	(void)state;
	client("tcp");
	for (unsigned i = 0; i < 6; i += 2) {
		b.stop_after = i + 1;
		send_one(i, "close@example.test", 10, 3000);
		run(3000);
		assert_answered(i, 200);
		if (i == 2) {
			/* noticed before */
			b.stop_after = 100;
			run(100);
		} else {
			usleep(100000); /* not noticed: it goes into the dead connection */
		}
		b.stop_after = i + 2;
		send_one(i + 1, "ok@example.test", 10, 3000);
		assert_true(run(3500) < 1000);
		assert_int_equal(b.a[i + 1].done, 1);
		print_message("after a close %s: fail %d\n", i == 2 ? "noticed" : "unnoticed",
		              b.a[i + 1].fail);
		if (i == 2)
			assert_answered(i + 1, 200);
		else if (b.a[i + 1].fail != PX_SIP_ANSWERED)
			assert_int_equal(b.a[i + 1].fail, PX_SIP_TRANSPORT);
	}
}

/* The peer is gone without a word: one request finds out, those behind it don't have to. */
static void deaf_connection(void **state)
{
	unsigned accepted;

	(void)state;
	client("tcp");
	send_one(0, "ok@example.test", 10, 3000);
	run(3000);
	accepted = server.accepted;
	b.stop_after = 4;
	send_one(1, "deaf@example.test", 10, 500);
	send_one(2, "ok@example.test", 10, 20000);
	send_one(3, "ok@example.test", 10, 20000);
	assert_in_range(run(5000), 490, 2000);
	assert_int_equal(b.a[1].fail, PX_SIP_TIMEOUT);
	assert_int_equal(b.a[2].fail, PX_SIP_TRANSPORT);
	assert_int_equal(b.a[3].fail, PX_SIP_TRANSPORT);
	b.stop_after = 5;
	send_one(4, "ok@example.test", 10, 3000);
	run(3000);
	assert_answered(4, 200);
	assert_int_equal(server.accepted - accepted, 1);
}

/* An idle connection that ends is worth a word: the server may have lost its memory. */
static void idle_connection_lost(void **state)
{
	(void)state;
	client("tcp");
	for (unsigned i = 0; i < 3; i++) {
		b.stop_after = i + 1;
		send_one(i, "ok@example.test", 10, 3000);
		run(3000);
		assert_answered(i, 200);
		assert_int_equal(b.lost, i);
		pthread_mutex_lock(&server.lock);
		server.close_all = true;
		pthread_mutex_unlock(&server.lock);
		assert_true(run(3000) < 1000);
		assert_int_equal(b.lost, i + 1);
	}
	/* not when somebody waits there, who is told */
	b.stop_after = 5;
	send_one(3, "ok@example.test", 10, 3000);
	send_one(4, "reset@example.test", 10, 3000);
	run(3000);
	assert_int_equal(b.a[4].fail, PX_SIP_TRANSPORT);
	b.stop_after = 100;
	run(100);
	assert_int_equal(b.lost, 3);
}

/* RFC 3261 §18.1.1 */
static void too_long_for_udp(void **state)
{
	(void)state;
	client("udp");
	send_one(0, "ok@example.test", 400, 3000);
	run(3000);
	assert_answered(0, 200);
	assert_false(server.last_tcp);
	b.stop_after = 2;
	send_one(1, "ok@example.test", 2000, 3000);
	run(3000);
	assert_answered(1, 200);
	assert_true(server.last_tcp);
	assert_true(request_has("\r\nContent-Length: 2000\r\n"));
}

/* Over another transport each time, to the better Contact; what can't be followed is told. */
static void redirections(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		afresh();
		client(tcp ? "tcp" : "udp");
		unsigned before = server.requests;

		send_one(0, "moved@example.test", 300, 3000);
		run(3000);
		assert_answered(0, 200);
		assert_true(request_has("PUBLISH sip:ok-there@127.0.0.1:"));
		assert_true(request_has("\r\nTo: <sip:moved@example.test>\r\n"));
		assert_true(request_has("\r\nContent-Length: 300\r\n"));
		assert_int_equal(server.last_tcp, !tcp);
		assert_int_equal(server.requests - before, 2);
		b.stop_after = 2;
		send_one(1, "moved-again@example.test", 10, 3000);
		run(3000);
		assert_answered(1, 302);
		assert_int_equal(server.requests - before, 8); /* five times and no more */
		b.stop_after = 3;
		send_one(2, "lured@example.test", 10, 3000);
		run(3000);
		assert_answered(2, 301);
	}
}

/* Challenged once, then every request brings its credentials, until the nonce is too old. */
static void logins(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		afresh();
		client_with_login(tcp ? "tcp" : "udp");
		unsigned before = server.requests;

		for (unsigned i = 0; i < 8; i++) {
			b.stop_after = i + 1;
			send_one(i, "login4@example.test", 50, 3000);
			run(3000);
			assert_answered(i, 200);
			assert_string_equal(b.a[i].etag, "in");
		}
		assert_true(request_has("\r\nContent-Length: 50\r\n"));
		assert_true(request_has("nc=00000004"));
		assert_int_equal(server.requests - before, 8 + 2);
		/* each with a nonce of its own */
		for (unsigned i = 8; i < 11; i++) {
			b.stop_after = i + 1;
			send_one(i, "login1@example.test", 50, 3000);
			run(3000);
			assert_answered(i, 200);
		}
		b.stop_after = 12;
		send_one(11, "login0@example.test", 50, 3000);
		run(3000);
		assert_answered(11, 200);
	}
}

static void a_login_that_is_refused(void **state)
{
	unsigned before = server.requests;

	(void)state;
	client_with_login("tcp");
	send_one(0, "login-@example.test", 50, 3000);
	run(3000);
	assert_answered(0, 401);
	assert_int_equal(server.requests - before, 2);
	/* without a login there is nothing to try */
	afresh();
	client("tcp");
	before = server.requests;
	send_one(0, "login1@example.test", 50, 3000);
	run(3000);
	assert_answered(0, 401);
	assert_int_equal(server.requests - before, 1);
}

static void client_by_name(const char *transport, const char *hosts)
{
	static char path[32];
	char uri[64], why[PX_SIP_WHY];
	const char *servers[] = {uri};
	const struct px_sip_config c = {
	    .server = servers, .servers = 1, .hosts = path, .done = on_done, .lost = on_lost};
	int fd = mkstemp(strcpy(path, "/tmp/px-hosts.XXXXXX"));

	assert_true(fd >= 0);
	assert_int_equal(write(fd, hosts, strlen(hosts)), strlen(hosts));
	close(fd);
	snprintf(uri, sizeof uri, "sip:presence.test:%d;transport=%s", server.port, transport);
	if (px_sip_new(&b.sip, b.loop, &c, why) < 0)
		fail_msg("%s", why);
	b.hosts = path;
}

/* The first address refuses: the same request goes to the second, and the next one there at once. */
static void another_address(void **state)
{
	(void)state;
	for (int tcp = 0; tcp < 2; tcp++) {
		afresh();
		client_by_name(tcp ? "tcp" : "udp", "# hosts\n127.0.0.3 presence.test\n"
		                                    "127.0.0.1\tother  PRESENCE.test # yes\n");
		send_one(0, "ok@example.test", 300, 4000);
		assert_true(run(4000) < 1000);
		assert_answered(0, 200);
		/* 503 goes on as well; when all say so, it is told */
		b.stop_after = 2;
		send_one(1, "busy@example.test", 10, 3000);
		run(3000);
		assert_int_equal(b.a[1].done, 1);
		assert_int_equal(b.a[1].fail, PX_SIP_TRANSPORT); /* of the other one */
		b.stop_after = 3;
		send_one(2, "ok@example.test", 10, 3000);
		run(3000);
		assert_answered(2, 200);
	}
}

static void a_name_that_is_unknown(void **state)
{
	(void)state;
	client_by_name("tcp", "");
	send_one(0, "ok@example.test", 10, 1000);
	run(8000);
	assert_int_equal(b.a[0].done, 1);
	assert_int_equal(b.a[0].fail, PX_SIP_TRANSPORT);
}

static void what_cannot_be_sent(void **state)
{
	struct px_action a = publish(0, "ok@[::1", 0, 2000);

	(void)state;
	client("tcp");
	px_sip_publish(b.sip, &a);
	assert_int_equal(b.done, 0);
	run(3000);
	assert_int_equal(b.a[0].done, 1);
	assert_int_equal(b.a[0].fail, PX_SIP_LOCAL);
}

static void freed_with_requests_in_flight(void **state)
{
	(void)state;
	client("tcp");
	send_one(0, "silent@example.test", 10, 3000);
	send_one(1, "ok@example.test", 10, 3000);
	run(200);
	send_one(2, "ok@example.test", 10, 3000);
	px_sip_free(b.sip);
	b.sip = NULL;
	assert_int_equal(b.a[0].done, 0);
	assert_int_equal(b.a[2].done, 0);
}

static void bad_settings(void **state)
{
	const char *const bad[] = {"sips:127.0.0.1", "sip:127.0.0.1;transport=sctp", "nonsense",
	                           "http://127.0.0.1/"};
	const char *good[] = {"sip:127.0.0.1"};
	struct px_sip_config c = {.servers = 1, .done = on_done, .lost = on_lost};
	char why[PX_SIP_WHY];

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		c.server = &bad[i];
		assert_int_equal(px_sip_new(&b.sip, b.loop, &c, why), -EINVAL);
		assert_non_null(strstr(why, bad[i]));
	}
	c.server = good;
	c.bind = "192.0.2.1"; /* not ours */
	assert_true(px_sip_new(&b.sip, b.loop, &c, why) < 0);
	assert_non_null(strstr(why, "192.0.2.1"));
	assert_null(b.sip);
	c.bind = "127.0.0.1:0";
	assert_true(px_sip_new(&b.sip, b.loop, &c, why) == 0);
}

static double storm(const char *transport, unsigned total, unsigned window)
{
	int64_t took;

	client(transport);
	b.total = total;
	b.window = window;
	b.body = 700;
	px_loop_mark(b.loop);
	took = run(60000);
	assert_int_equal(b.done, total);
	for (unsigned i = 0; i < total; i++)
		assert_answered(i, 200);
	return total * 1000.0 / (double)(took ? took : 1);
}

static void storm_tcp(void **state)
{
	(void)state;
	print_message("TCP, window 200: %.0f/s\n", storm("tcp", 10000, 200));
}

static void storm_udp(void **state)
{
	(void)state;
	print_message("UDP, window 50: %.0f/s\n", storm("udp", 3000, 50));
}

static void window_fits_into_the_queue(void **state)
{
	(void)state;
	storm("tcp", 3000, PX_SIP_WINDOW_MAX);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(initial_udp),
	    T(initial_tcp),
	    T(golden_publish),
	    T(golden_message),
	    T(message_from_somebody_else),
	    T(nobody_answers_the_message),
	    T(refresh_and_remove),
	    T(call_ids),
	    T(odd_key),
	    T(refusals),
	    T(silence),
	    T(what_timed_out_is_not_repeated),
	    T(late_answer_falls_to_the_floor),
	    T(nobody_there),
	    T(reset_in_the_middle),
	    T(idle_connection_closed),
	    T(deaf_connection),
	    T(idle_connection_lost),
	    T(too_long_for_udp),
	    T(redirections),
	    T(logins),
	    T(a_login_that_is_refused),
	    T(another_address),
	    T(a_name_that_is_unknown),
	    T(what_cannot_be_sent),
	    T(freed_with_requests_in_flight),
	    T(bad_settings),
	    T(storm_tcp),
	    T(storm_udp),
	    T(window_fits_into_the_queue),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
