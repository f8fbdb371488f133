/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The program itself, over real TLS and HTTP on loopback: it is started, asked, broken, healed and
 * ended. The client is written here on OpenSSL, so that nothing but the server is under test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "buf.h"
#include "samples.h"

#define LOGIN "c3ZjLXByZXNlbmNlOnNlY3JldA==" /* svc-presence:secret */
#define SP1 VERSION("Exchange2010_SP1")
#define U(n) AS("user" #n "@example.test")
#define PATIENCE_MS 10000

struct world {
	pid_t pid;
	int to, from; /* its standard input and output */
	char dir[64], ca[96];
	int control, port[2];
	SSL_CTX *tls;
};

struct conn {
	int fd;
	SSL *ssl;      /* NULL: plain */
	struct buf in; /* read and not yet used */
};

/* --- the program --- */
static void program(char out[4096])
{
	ssize_t n = readlink("/proc/self/exe", out, 4000);
	char *slash;

	assert_true(n > 0);
	out[n] = '\0';
	for (int i = 0; i < 3; i++) { /* bin/exchange/test_front */
		slash = strrchr(out, '/');
		assert_non_null(slash);
		*slash = '\0';
	}
	strcat(out, "/exchange-sim");
}

static void start(struct world *w, const char *const *more)
{
	const char *argv[32] = {"exchange-sim", "--cas", "2",           "--users", "50",
	                        "--calendars",  "empty", "--ca-out",    w->ca,     "--exit-on-eof",
	                        "--minute-ms",  "2000",  "--heartbeat", "1"};
	int in[2], out[2], n = 14;
	char path[4096], line[4096];
	size_t len = 0;
	json_t *j;

	while (*more)
		argv[n++] = *more++;
	program(path);
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	w->pid = fork();
	if (w->pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		execv(path, (char **)(uintptr_t)argv);
		_exit(127);
	}
	assert_true(w->pid > 0);
	close(in[0]);
	close(out[1]);
	w->to = in[1];
	w->from = out[0];
	while (len < sizeof line - 1 && read(w->from, line + len, 1) == 1 && line[len++] != '\n')
		;
	line[len] = '\0';
	j = json_loads(line, 0, NULL);
	if (!j)
		fail_msg("%s said \"%s\"", path, line);
	assert_string_equal(json_string_value(json_object_get(j, "ca_file")), w->ca);
	w->control = atoi(strrchr(json_string_value(json_object_get(j, "control")), ':') + 1);
	for (int i = 0; i < 2; i++)
		w->port[i] = (int)json_integer_value(
		    json_object_get(json_array_get(json_object_get(j, "cas"), (size_t)i), "port"));
	json_decref(j);
	w->tls = SSL_CTX_new(TLS_client_method());
	assert_int_equal(SSL_CTX_load_verify_locations(w->tls, w->ca, NULL), 1);
	SSL_CTX_set_verify(w->tls, SSL_VERIFY_PEER, NULL);
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);

	signal(SIGPIPE, SIG_IGN);
	strcpy(w->dir, "/tmp/exchange-sim-test-XXXXXX");
	if (!mkdtemp(w->dir))
		return -1;
	snprintf(w->ca, sizeof w->ca, "%s/ca.pem", w->dir);
	*state = w;
	return 0;
}

/* Its exit status, or -1: it had to be killed. */
static int ended(struct world *w)
{
	struct timespec tick = {.tv_nsec = 10000000};
	int status;

	for (int i = 0; i < PATIENCE_MS / 10; i++) {
		if (waitpid(w->pid, &status, WNOHANG) == w->pid) {
			w->pid = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
		}
		nanosleep(&tick, NULL);
	}
	kill(w->pid, SIGKILL);
	waitpid(w->pid, &status, 0);
	w->pid = 0;
	return -1;
}

static int tear_down(void **state)
{
	struct world *w = *state;
	int status = 0;

	if (w->to)
		close(w->to);
	if (w->pid)
		status = ended(w);
	if (w->from)
		close(w->from);
	SSL_CTX_free(w->tls);
	unlink(w->ca);
	rmdir(w->dir);
	free(w);
	return status;
}

/* --- a client --- */
static int connected(int port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0)
		return fd;
	close(fd);
	return -1;
}

/* NULL: refused */
static struct conn *dial(struct world *w, int cas)
{
	int fd = connected(cas < 0 ? w->control : w->port[cas]);
	struct conn *c;

	if (fd < 0)
		return NULL;
	c = xcalloc(1, sizeof *c);
	c->fd = fd;
	if (cas >= 0) {
		c->ssl = SSL_new(w->tls);
		SSL_set_fd(c->ssl, fd);
		SSL_set1_host(c->ssl, cas ? "cas2.example.test" : "cas1.example.test");
		if (SSL_connect(c->ssl) != 1)
			fail_msg("no TLS: %ld", SSL_get_verify_result(c->ssl));
	}
	return c;
}

static void hang_up(struct conn *c)
{
	if (c->ssl)
		SSL_free(c->ssl);
	close(c->fd);
	buf_free(&c->in);
	free(c);
}

static void put(struct conn *c, const char *p, size_t n)
{
	if (c->ssl)
		assert_int_equal(SSL_write(c->ssl, p, (int)n), n);
	else
		assert_int_equal(send(c->fd, p, n, 0), n);
}

/* More bytes into in; false: the connection ended, or nothing came in time. */
static bool more(struct conn *c)
{
	char chunk[16384];
	int n = c->ssl ? SSL_read(c->ssl, chunk, sizeof chunk)
	               : (int)recv(c->fd, chunk, sizeof chunk, 0);

	if (n <= 0)
		return false;
	buf_add(&c->in, chunk, (size_t)n);
	return true;
}

/* Waits until in holds the text; false: it never came. */
static bool comes(struct conn *c, const char *text)
{
	while (!c->in.len || !memmem(c->in.p, c->in.len, text, strlen(text)))
		if (!more(c))
			return false;
	return true;
}

static void silence(struct conn *c, int ms)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	assert_true(!c->ssl || !SSL_pending(c->ssl));
	assert_int_equal(poll(&p, 1, ms), 0);
}

static void send_request(struct conn *c, const char *method, const char *path, const char *headers,
                         const char *body)
{
	struct buf b = {0};

	buf_fmt(&b, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n%s\r\n%s", method,
	        path, strlen(body), headers, body);
	put(c, b.p, b.len);
	buf_free(&b);
}

#define XML_HEADERS "Content-Type: text/xml; charset=utf-8\r\nAuthorization: Basic " LOGIN "\r\n"

static void send_ews(struct conn *c, const char *body)
{
	send_request(c, "POST", "/EWS/Exchange.asmx", XML_HEADERS, body);
}

/* The status; head and body of the whole answer are left in in. 0: none came. */
static int status_of(struct conn *c)
{
	const char *p;
	size_t head, length = 0;

	if (!comes(c, "\r\n\r\n"))
		return 0;
	p = strcasestr(c->in.p, "\r\nContent-Length:");
	if (p)
		length = strtoul(p + 17, NULL, 10);
	head = (size_t)(strstr(c->in.p, "\r\n\r\n") - c->in.p) + 4;
	while (c->in.len < head + length)
		if (!more(c))
			return 0;
	if (strcasestr(c->in.p, "\r\nTransfer-Encoding: chunked") && !comes(c, "\r\n0\r\n\r\n"))
		return 0;
	return atoi(c->in.p + 9);
}

static int ask(struct conn *c, const char *body)
{
	buf_drop(&c->in, c->in.len);
	send_ews(c, body);
	return status_of(c);
}

/* One control call; what it answered in own memory. */
static char *control(struct world *w, const char *method, const char *path, const char *body)
{
	struct conn *c = dial(w, -1);
	char *out;
	int status;

	assert_non_null(c);
	send_request(c, method, path, "", body);
	status = status_of(c);
	if (status != 200)
		fail_msg("%s %s: %d %s", method, path, status, c->in.p ? c->in.p : "");
	out = xstrdup(strstr(c->in.p, "\r\n\r\n") + 4);
	hang_up(c);
	return out;
}

static void told(struct world *w, const char *method, const char *path, const char *body)
{
	free(control(w, method, path, body));
}

/* the number at a path like "cas.cas1.streams" in /counters */
static long long counted(struct world *w, const char *path)
{
	char *text = control(w, "GET", "/counters", ""), *copy = xstrdup(path), *save = NULL;
	json_t *all = json_loads(text, 0, NULL), *j = all;
	long long n;

	for (char *p = strtok_r(copy, ".", &save); p; p = strtok_r(NULL, ".", &save))
		j = json_object_get(j, p);
	n = json_integer_value(j);
	json_decref(all);
	free(copy);
	free(text);
	return n;
}

static char *subscribed(struct conn *c)
{
	const char *p;

	assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
	p = strstr(c->in.p, "<m:SubscriptionId>");
	assert_non_null(p);
	p += strlen("<m:SubscriptionId>");
	return strndup(p, strcspn(p, "<"));
}

static struct conn *streaming(struct world *w, int cas, const char *id, const char *minutes)
{
	struct conn *c = dial(w, cas);
	char body[2000];

	snprintf(body, sizeof body, ENVELOPE(SP1 U(1), GET_STREAMING(ID("%s"), "%s")), id, minutes);
	send_ews(c, body);
	assert_true(comes(c, "ConnectionStatus>OK<"));
	buf_drop(&c->in, c->in.len);
	return c;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static const char *const nothing[] = {NULL};

/* --- the tests --- */
static void http_is_as_strict(void **state)
{
	static const struct {
		const char *method, *path, *headers;
		int status;
	} rows[] = {
	    {"POST", "/EWS/Exchange.asmx", XML_HEADERS, 200},
	    {"POST", "/ews/exchange.ASMX", XML_HEADERS, 200},
	    {"POST", "/", XML_HEADERS, 404},
	    {"POST", "/EWS/Exchange.asmx/x", XML_HEADERS, 404},
	    {"GET", "/EWS/Exchange.asmx", XML_HEADERS, 405},
	    {"POST", "/EWS/Exchange.asmx", "Content-Type: text/xml\r\n", 401},
	    {"POST", "/EWS/Exchange.asmx",
	     "Content-Type: text/xml\r\nAuthorization: Basic c3ZjLXByZXNlbmNlOndyb25n\r\n", 401},
	    {"POST", "/EWS/Exchange.asmx",
	     "Content-Type: text/xml\r\nAuthorization: Basic !!!!\r\n", 401},
	    {"POST", "/EWS/Exchange.asmx", "Content-Type: text/xml\r\nAuthorization: NTLM TlRM\r\n",
	     401},
	    {"POST", "/EWS/Exchange.asmx",
	     "Content-Type: application/soap+xml\r\nAuthorization: Basic " LOGIN "\r\n", 415},
	    {"POST", "/EWS/Exchange.asmx",
	     "Content-Type: text/xml; charset=utf-16\r\nAuthorization: Basic " LOGIN "\r\n", 415},
	};
	struct world *w = *state;

	start(w, nothing);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct conn *c = dial(w, 1);

		send_request(c, rows[i].method, rows[i].path, rows[i].headers,
		             ENVELOPE(SP1, STREAMING(CALENDAR EVENTS)));
		assert_int_equal(status_of(c), rows[i].status);
		if (rows[i].status == 401)
			assert_non_null(
			    strstr(c->in.p, "WWW-Authenticate: Basic realm=\"cas2.example.test\""));
		if (rows[i].status == 200)
			assert_non_null(strstr(c->in.p, "Content-Type: text/xml; charset=utf-8"));
		hang_up(c);
	}
	assert_int_equal(counted(w, "failed_logins"), 3);
	assert_int_equal(counted(w, "cas.cas2.refusals.http-401"), 3);
	assert_int_equal(counted(w, "cas.cas1.refusals.http-401"), 0);
	assert_int_equal(counted(w, "cas.cas2.requests.Subscribe"), 2);
	told(w, "POST", "/account", "{\"password\":\"other\"}");
	{
		struct conn *c = dial(w, 0);

		assert_int_equal(ask(c, ENVELOPE(SP1, STREAMING(CALENDAR EVENTS))), 401);
		hang_up(c);
	}
}

static void changes_arrive_at_once(void **state)
{
	struct world *w = *state;
	struct conn *c, *s;
	int64_t begun;
	char *id;

	start(w, nothing);
	c = dial(w, 0);
	id = subscribed(c);
	s = streaming(w, 0, id, "30");
	begun = now_ms();
	told(w, "POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":\"+60\",\"end\":\"+120\"}");
	assert_true(comes(s, "<t:FreeBusyChangedEvent>"));
	assert_true(comes(s, "</Envelope>"));
	/* sanitizers and a busy machine included */
	assert_in_range(now_ms() - begun, 0, 1000);
	assert_non_null(memmem(s->in.p, s->in.len, id, strlen(id)));
	buf_drop(&s->in, s->in.len);
	assert_true(comes(s, "ConnectionStatus>OK<")); /* the next heartbeat */
	hang_up(s);
	hang_up(c);
	free(id);
}

static void streams_end_when_their_time_is_over(void **state)
{
	struct world *w = *state;
	struct conn *c, *s;
	char *id;

	start(w, nothing);
	c = dial(w, 0);
	id = subscribed(c);
	s = streaming(w, 0, id, "1"); /* of 2 seconds */
	assert_true(comes(s, "ConnectionStatus>Closed<"));
	assert_true(comes(s, "0\r\n\r\n"));
	/* the connection stays good for requests */
	assert_int_equal(ask(s, ENVELOPE(SP1 U(2), STREAMING(CALENDAR EVENTS))), 200);
	assert_int_equal(counted(w, "streams"), 0);
	hang_up(s);
	/* a client that goes away is noticed without a heartbeat */
	s = streaming(w, 0, id, "30");
	assert_int_equal(counted(w, "streams"), 1);
	hang_up(s);
	for (int i = 0; i < 50 && counted(w, "streams"); i++)
		poll(NULL, 0, 10);
	assert_int_equal(counted(w, "streams"), 0);
	hang_up(c);
	free(id);
}

static void a_refusing_cas_is_gone(void **state)
{
	struct world *w = *state;
	struct conn *c, *s, *idle;
	char *id, body[2000];

	start(w, nothing);
	c = dial(w, 0);
	idle = dial(w, 0);
	id = subscribed(c);
	s = streaming(w, 0, id, "30");
	told(w, "POST", "/cas/cas1/fail", "{\"how\":\"refuse\"}");
	assert_null(dial(w, 0));
	assert_false(more(s));
	assert_false(more(c));
	assert_false(more(idle));
	hang_up(s);
	hang_up(c);
	hang_up(idle);
	c = dial(w, 1); /* the other one lives */
	assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
	hang_up(c);
	told(w, "POST", "/cas/cas1/heal", "");
	c = dial(w, 0);
	snprintf(body, sizeof body, ENVELOPE(SP1 U(1), GET_STREAMING(ID("%s"), "30")), id);
	send_ews(c, body);
	assert_true(comes(c, "ErrorSubscriptionNotFound"));
	hang_up(c);
	free(id);
}

static void a_hanging_cas_is_silent(void **state)
{
	struct world *w = *state;
	struct conn *c, *s, *late;
	char *id;

	start(w, nothing);
	c = dial(w, 0);
	id = subscribed(c);
	s = streaming(w, 0, id, "30");
	told(w, "POST", "/cas/cas1/fail", "{\"how\":\"hang\"}");
	told(w, "POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":\"+60\",\"end\":\"+120\"}");
	late = dial(w, 0);
	send_ews(late, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS)));
	silence(s, 1500); /* longer than a heartbeat */
	silence(late, 1);
	told(w, "POST", "/cas/cas1/heal", "");
	assert_int_equal(status_of(late), 200);
	assert_true(comes(s, "<t:CreatedEvent>"));
	hang_up(late);
	/* a client that gave up is forgotten */
	told(w, "POST", "/cas/cas1/fail", "{\"how\":\"hang\"}");
	late = dial(w, 0);
	send_ews(late, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS)));
	silence(late, 100);
	hang_up(late);
	hang_up(s);
	told(w, "POST", "/cas/cas1/fail", "{\"how\":\"freeze\"}");
	{
		int fd = connected(w->port[0]);
		struct pollfd p = {.fd = fd, .events = POLLIN};

		assert_true(fd >= 0);
		assert_int_equal(send(fd, "\x16\x03\x01", 3, 0), 3);
		assert_int_equal(poll(&p, 1, 200), 0);
		close(fd);
	}
	told(w, "POST", "/cas/cas1/heal", "");
	assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
	hang_up(c);
	free(id);
}

static void a_cas_can_answer_badly(void **state)
{
	static const struct {
		const char *how, *found;
		int status;
	} rows[] = {
	    {"{\"how\":\"503\",\"retry_after\":7}", "Retry-After: 7", 503},
	    {"{\"how\":404}", "", 404},
	    {"{\"how\":\"401\"}", "WWW-Authenticate: Basic", 401},
	    {"{\"how\":\"busy\",\"retry_after\":9}", "Name=\"BackOffMilliseconds\">9000<", 500},
	    {"{\"how\":\"code\",\"code\":\"ErrorADUnavailable\"}", "a:ErrorADUnavailable", 500},
	    {"{\"how\":\"denied\"}", "a:ErrorImpersonationDenied", 500},
	};
	struct world *w = *state;
	struct conn *c;

	start(w, nothing);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		told(w, "POST", "/cas/cas1/fail", rows[i].how);
		c = dial(w, 0);
		assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))),
		                 rows[i].status);
		assert_non_null(strstr(c->in.p, rows[i].found));
		hang_up(c);
	}
	told(w, "POST", "/cas/cas1/heal", "");
	c = dial(w, 0);
	assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
	told(w, "POST", "/cas/cas1/fail", "{\"how\":\"cut\"}");
	assert_false(more(c));
	hang_up(c);
	c = dial(w, 0);
	assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
	hang_up(c);
}

static void too_many_at_once_are_throttled(void **state)
{
	static const char *const slow[] = {"--latency-ms", "1000", "--max-concurrency", "3", NULL};
	struct world *w = *state;
	struct conn *c[5];
	int good = 0, busy = 0;

	start(w, slow);
	for (int i = 0; i < 5; i++)
		c[i] = dial(w, 0);
	for (int i = 0; i < 5; i++)
		send_ews(c[i], ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS)));
	for (int i = 0; i < 5; i++) {
		int status = status_of(c[i]);

		good += status == 200;
		busy += status == 500 && strstr(c[i]->in.p, "a:ErrorServerBusy") &&
		        strstr(c[i]->in.p, "BackOffMilliseconds");
		hang_up(c[i]);
	}
	assert_int_equal(good, 3);
	assert_int_equal(busy, 2);
	assert_int_equal(counted(w, "peak_concurrency"), 4);
	assert_int_equal(counted(w, "refusals.ErrorServerBusy"), 2);
}

static void answers_are_spoilt_on_demand(void **state)
{
	static const struct {
		const char *fault, *found;
		int status; /* 0: the answer never ends, or not well */
	} rows[] = {
	    {"{\"how\":\"503\",\"retry_after\":7}", "Retry-After: 7", 503},
	    {"{\"how\":\"503\"}", "", 503},
	    {"{\"how\":\"page\"}", "Content-Type: text/html", 200},
	    {"{\"how\":\"type\",\"type\":\"image/png\"}", "Content-Type: image/png", 200},
	    {"{\"how\":\"cut\",\"bytes\":30}", "\r\n1E\r\n<?xml", 0},
	    {"{\"prefix\":\"other\",\"comments\":true}", "<soapenv:Envelope", 200},
	    {"{\"chunk\":3,\"bom\":true}", "\r\n3\r\n\xef\xbb\xbf\r\n3\r\n<?x\r\n", 200},
	};
	struct world *w = *state;
	struct conn *c, *s;
	char *id;

	start(w, nothing);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char fault[200];

		/* the next one of that kind on that server only */
		snprintf(fault, sizeof fault,
		         "{\"cas\":\"cas2\",\"kind\":\"Subscribe\",\"times\":1,%s",
		         rows[i].fault + 1);
		told(w, "POST", "/faults", fault);
		c = dial(w, 0);
		assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
		hang_up(c);
		c = dial(w, 1);
		assert_int_equal(ask(c, ENVELOPE(SP1 U(1), "<m:X/>")), 500);
		assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))),
		                 rows[i].status);
		if (!memmem(c->in.p, c->in.len, rows[i].found, strlen(rows[i].found)))
			fail_msg("%s: %s", fault, c->in.p);
		hang_up(c);
		c = dial(w, 1);
		assert_int_equal(ask(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS))), 200);
		assert_null(strstr(c->in.p, "soapenv"));
		hang_up(c);
	}
	/* what takes for ever ends when the faults do */
	told(w, "POST", "/faults", "{\"how\":\"trickle\",\"kind\":\"Subscribe\"}");
	told(w, "POST", "/faults", "{\"how\":\"endless\"}");
	c = dial(w, 0);
	send_ews(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS)));
	assert_true(comes(c, "\r\n1\r\n<\r\n"));
	s = dial(w, 0);
	send_ews(s, ENVELOPE(SP1 U(1), GET_STREAMING(ID("none"), "1")));
	assert_true(comes(s, "and so on</filler><filler"));
	told(w, "DELETE", "/faults", "");
	assert_true(comes(c, "\r\n0\r\n\r\n"));
	while (more(s))
		buf_drop(&s->in, s->in.len);
	hang_up(s);
	/* streams too */
	told(w, "POST", "/faults", "{\"prefix\":\"other\",\"joined\":true,\"cdata\":true}");
	buf_drop(&c->in, c->in.len);
	send_ews(c, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS)));
	assert_true(comes(c, "msg:SubscriptionId><![CDATA["));
	told(w, "DELETE", "/faults", "");
	id = subscribed(c);
	told(w, "POST", "/faults", "{\"prefix\":\"other\"}");
	s = streaming(w, 0, id, "30");
	told(w, "POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":\"+60\",\"end\":\"+120\"}");
	assert_true(comes(s, "<typ:CreatedEvent>"));
	hang_up(s);
	hang_up(c);
	free(id);
}

static int listening(int *port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sa;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	*port = ntohs(sa.sin_port);
	return fd;
}

/* One notification that holds the text, answered with that status. */
static void hears(int listener, const char *text, const char *status)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	struct conn *c = xcalloc(1, sizeof *c);
	char body[1000], head[200];

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	c->fd = accept(listener, NULL, NULL);
	assert_true(c->fd >= 0);
	assert_true(comes(c, "</soap11:Envelope>"));
	if (!strstr(c->in.p, text))
		fail_msg("no %s in %s", text, c->in.p);
	assert_memory_equal(c->in.p, "POST /told?a=b HTTP/1.1\r\n", 25);
	assert_non_null(strstr(c->in.p, "\r\nContent-Type: text/xml; charset=utf-8\r\n"));
	snprintf(body, sizeof body,
	         "<s:Envelope xmlns:s=\"" NS_SOAP
	         "\"><s:Body><SendNotificationResult xmlns=\"" NS_MESSAGES
	         "\"><SubscriptionStatus>%s</SubscriptionStatus>"
	         "</SendNotificationResult></s:Body></s:Envelope>",
	         status);
	snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(body));
	put(c, head, strlen(head));
	put(c, body, strlen(body));
	while (more(c))
		; /* the simulator closes first */
	hang_up(c);
}

static void push_reaches_its_listener(void **state)
{
	struct world *w = *state;
	int port, listener = listening(&port);
	char body[2000];
	struct conn *c;

	start(w, nothing); /* a minute is 2 s */
	c = dial(w, 0);
	snprintf(body, sizeof body,
	         ENVELOPE(SP1 U(1), "<m:Subscribe><m:PushSubscriptionRequest>" CALENDAR EVENTS
	                            "<t:StatusFrequency>1</t:StatusFrequency>"
	                            "<t:URL>http://127.0.0.1:%d/told?a=b</t:URL>"
	                            "</m:PushSubscriptionRequest></m:Subscribe>"),
	         port);
	assert_int_equal(ask(c, body), 200);
	assert_non_null(strstr(c->in.p, "<m:Watermark>"));
	hears(listener, "<t:StatusEvent>", "OK");
	told(w, "POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":\"+60\",\"end\":\"+120\"}");
	hears(listener, "<t:FreeBusyChangedEvent>", "OK");
	hears(listener, "<t:StatusEvent>", "Unsubscribe");
	assert_int_equal(counted(w, "subscriptions"), 0);
	assert_int_equal(ask(c, body), 200);
	hears(listener, "<t:StatusEvent>", "Nonsense");
	hears(listener, "<t:StatusEvent>", "OK"); /* a second later */
	close(listener);
	/* nobody listens: tried twice, then dropped */
	assert_int_equal(counted(w, "subscriptions"), 1);
	for (int i = 0; i < 100 && counted(w, "subscriptions"); i++)
		poll(NULL, 0, 100);
	assert_int_equal(counted(w, "subscriptions"), 0);
	hang_up(c);
}

static void it_ends_with_everything_open(void **state)
{
	struct world *w = *state;
	struct conn *c, *s, *hung;
	char *id;

	start(w, nothing);
	c = dial(w, 0);
	id = subscribed(c);
	s = streaming(w, 0, id, "30");
	told(w, "POST", "/cas/cas2/fail", "{\"how\":\"hang\"}");
	hung = dial(w, 1);
	send_ews(hung, ENVELOPE(SP1 U(1), STREAMING(CALENDAR EVENTS)));
	silence(hung, 100);
	kill(w->pid, SIGTERM);
	assert_int_equal(ended(w), 0);
	hang_up(hung);
	hang_up(s);
	hang_up(c);
	free(id);
}

static void control_says_what_is_wrong(void **state)
{
	static const struct {
		const char *method, *path, *body;
		int status;
	} rows[] = {
	    {"GET", "/", "", 404},
	    {"GET", "/nothing", "", 404},
	    {"POST", "/meetings", "{", 400},
	    {"POST", "/meetings", "{}", 400},
	    {"POST", "/meetings", "{\"mailbox\":\"nobody@x\",\"start\":1,\"end\":2}", 404},
	    {"POST", "/meetings", "{\"mailbox\":\"user1@example.test\",\"start\":1}", 400},
	    {"POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":\"noon\",\"end\":2}", 400},
	    {"POST", "/meetings", "{\"mailbox\":\"user1@example.test\",\"start\":3,\"end\":2}",
	     400},
	    {"POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":1,\"end\":2,\"status\":\"bored\"}",
	     400},
	    {"POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":1,\"end\":2,\"colour\":1}", 400},
	    {"POST", "/meetings",
	     "{\"mailbox\":\"user1@example.test\",\"start\":1,\"end\":2,\"recurrence\":"
	     "{\"type\":\"yearly\"}}",
	     400},
	    {"PATCH", "/meetings/0-9999", "{}", 404},
	    {"DELETE", "/meetings/99999999-1", "", 404},
	    {"DELETE", "/meetings/x", "", 404},
	    {"GET", "/meetings", "", 400},
	    {"GET", "/expected?at=never", "", 400},
	    {"POST", "/mailboxes", "{\"address\":\"none\"}", 400},
	    {"DELETE", "/mailboxes/nobody@x", "", 404},
	    {"POST", "/cas/cas9/heal", "", 404},
	    {"POST", "/cas/cas1/fail", "{\"how\":\"explode\"}", 400},
	    {"POST", "/subscriptions/drop", "{}", 400},
	    {"POST", "/account", "{}", 400},
	    {"POST", "/servers/mbx3/failover", "", 404},
	    {"POST", "/servers/mbx/failover", "", 404},
	    {"POST", "/faults", "[]", 400},
	    {"POST", "/faults", "{\"how\":\"explode\"}", 400},
	    {"POST", "/faults", "{\"kind\":\"Explode\"}", 400},
	    {"POST", "/faults", "{\"cas\":\"cas9\"}", 404},
	    {"POST", "/faults", "{\"times\":-1}", 400},
	    {"POST", "/faults", "{\"prefix\":\"odd\"}", 400},
	    {"POST", "/faults", "{\"howl\":\"cut\"}", 400},
	};
	struct world *w = *state;

	start(w, nothing);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct conn *c = dial(w, -1);
		int status;

		send_request(c, rows[i].method, rows[i].path, "", rows[i].body);
		status = status_of(c);
		if (status != rows[i].status)
			fail_msg("%s %s %s: %d", rows[i].method, rows[i].path, rows[i].body,
			         status);
		assert_non_null(strstr(c->in.p, "{\"error\":"));
		hang_up(c);
	}
}

static void meetings_live(void **state)
{
	struct world *w = *state;
	char *text;

	start(w, nothing);
	text =
	    control(w, "POST", "/meetings",
	            "[{\"mailbox\":\"user1@example.test\",\"start\":1795392000,\"end\":1795395600,"
	            "\"status\":\"oof\",\"recurrence\":{\"type\":\"daily\",\"count\":3}},"
	            "{\"mailbox\":\"user2@example.test\",\"start\":\"2026-11-23T01:00:00+01:00\","
	            "\"end\":1795392001.9}]");
	assert_string_equal(text, "[{\"id\":\"0-40\",\"start\":1795392000,\"end\":1795395600},"
	                          "{\"id\":\"1-40\",\"start\":1795392000,\"end\":1795392001}]");
	free(text);
	text = control(w, "GET", "/expected?at=1795392000&mailbox=user1@example.test", "");
	/* it comes in chunks */
	assert_non_null(strstr(text,
	                       "\"user1@example.test\":{\"status\":\"oof\",\"until\":1795395600,"
	                       "\"availability\":\"away\",\"availability_until\":1795395600}"));
	free(text);
	told(w, "DELETE", "/meetings/0-40?occurrence=1", "");
	told(w, "PATCH", "/meetings/0-40?occurrence=2", "{\"status\":\"busy\"}");
	text = control(w, "GET",
	               "/meetings?mailbox=user1@example.test&from=1795392000&to=1796392000", "");
	{
		json_t *j = json_loads(text, 0, NULL), *second;

		assert_int_equal(json_array_size(j), 2);
		second = json_array_get(j, 1);
		assert_int_equal(json_integer_value(json_object_get(second, "occurrence")), 2);
		assert_true(json_is_true(json_object_get(second, "exception")));
		assert_string_equal(json_string_value(json_object_get(second, "status")), "busy");
		json_decref(j);
	}
	free(text);
	told(w, "DELETE", "/meetings/0-40", "");
	text = control(w, "GET",
	               "/meetings?mailbox=user1@example.test&from=1795392000&to=1796392000", "");
	assert_string_equal(text, "[]");
	free(text);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(http_is_as_strict),
	    TEST(changes_arrive_at_once),
	    TEST(streams_end_when_their_time_is_over),
	    TEST(a_refusing_cas_is_gone),
	    TEST(a_hanging_cas_is_silent),
	    TEST(a_cas_can_answer_badly),
	    TEST(too_many_at_once_are_throttled),
	    TEST(answers_are_spoilt_on_demand),
	    TEST(push_reaches_its_listener),
	    TEST(it_ends_with_everything_open),
	    TEST(control_says_what_is_wrong),
	    TEST(meetings_live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
