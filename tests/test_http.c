/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HTTPS requests against a TLS server in threads of this process. The server's certificates are
 * made here; what it does with a request is chosen by the path.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/auth.h"
#include "io/http.h"

/* ---- certificates ---- */

struct issuer {
	X509 *cert;
	EVP_PKEY *key;
	char file[64];
};

static char folder[] = "/tmp/px-http-XXXXXX";
static struct issuer ca_a, ca_b;
static EVP_PKEY *server_key;

static X509 *make_cert(const struct issuer *by, EVP_PKEY *key, const char *cn, const char *san,
                       long days)
{
	static long serial = 1;
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	X509V3_CTX v3;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), -30 * 86400L);
	X509_gmtime_adj(X509_getm_notAfter(x), days * 86400L);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	X509_set_issuer_name(x, by ? X509_get_subject_name(by->cert) : name);
	X509V3_set_ctx(&v3, by ? by->cert : x, x, NULL, NULL, 0);
	X509_EXTENSION *e =
	    san ? X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, san)
	        : X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
	assert_non_null(e);
	X509_add_ext(x, e, -1);
	X509_EXTENSION_free(e);
	assert_true(X509_sign(x, by ? by->key : key, EVP_sha256()) > 0);
	return x;
}

static void make_issuer(struct issuer *ca, const char *name)
{
	FILE *f;

	ca->key = EVP_EC_gen("P-256");
	ca->cert = make_cert(NULL, ca->key, name, NULL, 30);
	snprintf(ca->file, sizeof ca->file, "%s/%s.pem", folder, name);
	f = fopen(ca->file, "w");
	assert_non_null(f);
	PEM_write_X509(f, ca->cert);
	fclose(f);
}

/* ---- the server ---- */

enum { GOOD, OTHER_CA, OTHER_CA_AGAIN, WRONG_NAME, EXPIRED, OLD_TLS, NO_TLS, REFUSED, SITES };

struct site {
	int fd, port;
	bool plain;
	SSL_CTX *ctx;
	pthread_t thread;
};

static struct site site[SITES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char last_request[65536 * 2];
static unsigned connections, requests, connections_open;
static pthread_cond_t closed = PTHREAD_COND_INITIALIZER;

static bool say(SSL *s, const char *fmt, ...)
{
	char text[4096];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return SSL_write(s, text, n) == n;
}

static void plain_answer(SSL *s, const char *status, const char *headers, const char *body)
{
	say(s,
	    "HTTP/1.1 %s\r\nContent-Type: Text/XML; charset=utf-8\r\n%sContent-Length: "
	    "%zu\r\n\r\n%s",
	    status, headers, strlen(body), body);
}

/* Reads one request; false: none came. The text is left in `in`, NUL-terminated. */
static bool read_request(SSL *s, char *in, size_t size)
{
	size_t n = 0, want = 0;
	char *end;

	for (;;) {
		int got = SSL_read(s, in + n, (int)(size - 1 - n));

		if (got <= 0)
			return false;
		n += (size_t)got;
		in[n] = '\0';
		end = strstr(in, "\r\n\r\n");
		if (!end)
			continue;
		if (want == 0) {
			char *length = strcasestr(in, "Content-Length:");

			want = (size_t)(end + 4 - in) + (length ? (size_t)atol(length + 15) : 0);
		}
		if (n >= want)
			return true;
	}
}

static void wait_for_close(SSL *s)
{
	char c[256];

	while (SSL_read(s, c, sizeof c) > 0)
		;
}

/* "kb-b": offers Negotiate (k) and Basic (b), and takes the latter; n is NTLM, f too, but wants it
 * for each request and not for each connection. */
static void offer(SSL *s, const char *in, const char *how, unsigned nth)
{
	/* [MS-NLMP] 2.2.1.2: a CHALLENGE_MESSAGE with Unicode, NTLM and an empty target info */
	static const char challenge[] =
	    "WWW-Authenticate: NTLM TlRMTVNTUAACAAAAAAAAADAAAAABAoAAASNF"
	    "Z4mrze8AAAAAAAAAAAQABAAwAAAAAAAAAA==\r\n";
	const size_t offered = strcspn(how, "-");
	const char takes = how[offered] ? how[offered + 1] : '-';
	bool basic = strstr(in, "\r\nAuthorization: Basic ");
	bool ntlm = strstr(in, "\r\nAuthorization: NTLM TlRMTVNTUAAD");
	char lines[256];

	if ((takes == 'b' && basic) || (takes == 'n' && (ntlm || nth > 3)) ||
	    (takes == 'f' && ntlm))
		plain_answer(s, "200 OK", "", "fine");
	else if (memchr(how, 'n', offered) && strstr(in, "NTLM TlRMTVNTUAAB"))
		plain_answer(s, "401 Unauthorized", challenge, "no");
	else {
		snprintf(lines, sizeof lines, "Set-Cookie: exchangecookie=refused\r\n%s%s%s",
		         memchr(how, 'k', offered) ? "WWW-Authenticate: Negotiate\r\n" : "",
		         memchr(how, 'n', offered) ? "WWW-Authenticate: NTLM\r\n" : "",
		         memchr(how, 'b', offered) ? "WWW-Authenticate: Basic realm=\"x\"\r\n"
		                                   : "");
		plain_answer(s, "401 Unauthorized", lines, "no");
	}
}

/* Outlook Web Access with forms-based authentication. */
static struct {
	unsigned session; /* the one that is good */
	unsigned forms, refusals, pages;
	bool slow;
	const char
	    *password; /* NULL: there is no form; "": no forms-based authentication any more */
} owa;

static bool outlook_web_access(SSL *s, const char *in)
{
	static const char logon[] = "Location: /exchweb/bin/auth/owalogon.asp?url=x&reason=%d\r\n";
	char cookie[64], lines[256], field[64];
	const char *body = strstr(in, "\r\n\r\n") + 4, *mailbox = strstr(in, " /exchange/");
	bool form = strstr(in, "POST /exchweb/bin/auth/owaauth.dll ") == in;

	if (!form && !(mailbox && mailbox < strchr(in, '\n')))
		return false;
	if (form && owa.slow)
		usleep(300000);
	pthread_mutex_lock(&lock);
	snprintf(cookie, sizeof cookie, "Cookie: sessionid=%u; cadata=x\r\n", owa.session);
	snprintf(field, sizeof field, "&password=%s&", owa.password ? owa.password : "");
	if (form && !owa.password) {
		plain_answer(s, "404 Not Found", "", "");
	} else if (form) {
		owa.forms++;
		if (strstr(body, field) && strstr(in, "\r\nCookie: PBack=0\r\n") &&
		    strstr(body, "&username=EXAMPLE%5Csvc&") &&
		    strstr(body, "destination=https%3A%2F%2Flocalhost")) {
			snprintf(lines, sizeof lines,
			         "Location: /exchange/\r\nSet-Cookie: sessionid=%u; path=/\r\n"
			         "Set-Cookie: cadata=x; path=/\r\n",
			         ++owa.session);
		} else {
			owa.refusals++;
			snprintf(lines, sizeof lines, logon, 2);
		}
		plain_answer(s, "302 Moved Temporarily", lines, "<html>");
	} else if (owa.password && !*owa.password) {
		plain_answer(
		    s, strstr(in, "\r\nAuthorization: Basic ") ? "200 OK" : "401 Unauthorized",
		    "WWW-Authenticate: Basic realm=\"x\"\r\n", "fine");
	} else if (strstr(in, cookie)) {
		plain_answer(s, "200 OK", "MS-WebStorage: 08.01.10240\r\nX-Other: x\r\n", "fine");
	} else if (strncmp(in, "GET ", 4) == 0) {
		owa.pages++;
		snprintf(lines, sizeof lines, logon, 0);
		plain_answer(s, "302 Moved Temporarily", lines, "<html>");
	} else {
		plain_answer(s, "440 Login Timeout", "", "<html>Login Timeout</html>");
	}
	pthread_mutex_unlock(&lock);
	return true;
}

/* One request of the n-th on this connection. False: the connection is over. */
static bool serve(SSL *s, const char *in, unsigned nth)
{
	char path[64] = "";

	if (outlook_web_access(s, in))
		return true;
	sscanf(in, "POST /%63[^ ]", path);
	if (strcmp(path, "ok") == 0) {
		plain_answer(s, "200 OK", "", "fine");
	} else if (strcmp(path, "chunks") == 0 || strcmp(path, "stream") == 0) {
		say(s, "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nTransfer-Encoding: "
		       "chunked\r\n\r\n");
		for (int i = 0; i < 5; i++) {
			if (!say(s, "5\r\nnews%d\r\n", i))
				return false;
			usleep(20000);
		}
		if (strcmp(path, "stream") == 0) {
			wait_for_close(s);
			return false;
		}
		say(s, "0\r\n\r\n");
	} else if (strcmp(path, "cut") == 0) {
		say(s, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
		return false;
	} else if (strcmp(path, "cutchunk") == 0) {
		say(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhalf");
		return false;
	} else if (strcmp(path, "nothing") == 0) {
		return false;
	} else if (strcmp(path, "silent") == 0) {
		wait_for_close(s);
		return false;
	} else if (strcmp(path, "huge") == 0) {
		say(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		while (say(s, "200\r\n%0512d\r\n", 1))
			;
		return false;
	} else if (strcmp(path, "headers") == 0) {
		say(s, "HTTP/1.1 200 OK\r\n");
		while (say(s, "X-%d: %01000d\r\n", 1, 1))
			;
		return false;
	} else if (strcmp(path, "garbage") == 0) {
		say(s, "SSH-2.0-OpenSSH_9.2\r\n");
		return false;
	} else if (strcmp(path, "401") == 0) {
		plain_answer(s, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n",
		             "no");
	} else if (strcmp(path, "endless401") == 0) {
		say(s, "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n");
		while (say(s, "200\r\n%0512d\r\n", 1))
			;
		return false;
	} else if (strcmp(path, "ntlm") == 0) {
		offer(s, in, "n-n", nth);
	} else if (strncmp(path, "offer-", 6) == 0) {
		offer(s, in, path + 6, nth);
	} else if (strcmp(path, "302") == 0) {
		plain_answer(s, "302 Found", "Location: https://localhost/ok\r\n", "");
	} else if (strcmp(path, "affinity") == 0) {
		plain_answer(s, "200 OK",
		             "Set-Cookie: session=secret; path=/\r\n"
		             "Set-Cookie: X-BackEndOverrideCookie=mbx7.example.test~1941996295; "
		             "path=/; secure\r\n"
		             "set-cookie:   exchangecookie=abc; HttpOnly\r\n"
		             "Set-Cookie: exchangecookie\r\n",
		             "fine");
	} else if (strcmp(path, "503") == 0) {
		plain_answer(s, "503 Busy", "Retry-After: 7\r\n", "later");
	} else if (strcmp(path, "once") == 0) {
		if (nth > 1)
			return false; /* a kept connection that turns out dead */
		plain_answer(s, "200 OK", "", "fine");
	} else if (strcmp(path, "begun") == 0) {
		if (nth > 1)
			say(s, "HTTP/1.1 200 OK\r\nContent-Le");
		else
			plain_answer(s, "200 OK", "", "fine");
		return nth == 1;
	} else {
		plain_answer(s, "404 Not Found", "", "");
	}
	return true;
}

struct accepted {
	struct site *site;
	int fd;
};

static void *connection(void *arg)
{
	struct accepted *a = arg;
	char *in = malloc(sizeof last_request);
	unsigned nth = 0;

	if (a->site->plain) {
		while (read(a->fd, in, 4096) > 0)
			; /* takes everything, says nothing */
	} else {
		SSL *s = SSL_new(a->site->ctx);

		SSL_set_fd(s, a->fd);
		if (SSL_accept(s) == 1) {
			bool more = true;

			while (more && read_request(s, in, sizeof last_request)) {
				pthread_mutex_lock(&lock);
				requests++;
				strcpy(last_request, in);
				pthread_mutex_unlock(&lock);
				more = serve(s, in, ++nth);
			}
		}
		SSL_free(s);
	}
	close(a->fd);
	free(in);
	free(a);
	pthread_mutex_lock(&lock);
	connections_open--;
	pthread_cond_signal(&closed);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *listener(void *arg)
{
	struct site *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		struct accepted *a = malloc(sizeof *a);
		pthread_t t;

		*a = (struct accepted){s, fd};
		pthread_mutex_lock(&lock);
		connections++;
		connections_open++;
		pthread_mutex_unlock(&lock);
		pthread_create(&t, NULL, connection, a);
		pthread_detach(t);
	}
	return NULL;
}

static void open_site(struct site *s, X509 *cert, bool listening)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	if (!listening)
		return;
	assert_int_equal(listen(s->fd, 512), 0);
	if (cert) {
		s->ctx = SSL_CTX_new(TLS_server_method());
		SSL_CTX_use_certificate(s->ctx, cert);
		SSL_CTX_use_PrivateKey(s->ctx, server_key);
		X509_free(cert);
	} else {
		s->plain = true;
	}
	pthread_create(&s->thread, NULL, listener, s);
}

static int start_server(void **state)
{
	const char *here = "DNS:localhost,IP:127.0.0.1";

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	setenv("https_proxy", "http://127.0.0.1:9", 1); /* must be ignored */
	assert_non_null(mkdtemp(folder));
	make_issuer(&ca_a, "authority-a");
	make_issuer(&ca_b, "authority-b");
	server_key = EVP_EC_gen("P-256");
	open_site(&site[GOOD], make_cert(&ca_a, server_key, "good", here, 10), true);
	open_site(&site[OTHER_CA], make_cert(&ca_b, server_key, "other", here, 10), true);
	open_site(&site[OTHER_CA_AGAIN], make_cert(&ca_b, server_key, "other", here, 10), true);
	open_site(&site[WRONG_NAME],
	          make_cert(&ca_a, server_key, "wrong", "DNS:mail.example.test,IP:::1", 10), true);
	open_site(&site[EXPIRED], make_cert(&ca_a, server_key, "expired", here, -1), true);
	open_site(&site[OLD_TLS], make_cert(&ca_a, server_key, "old", here, 10), true);
	SSL_CTX_set_cipher_list(site[OLD_TLS].ctx, "DEFAULT@SECLEVEL=0");
	SSL_CTX_set_max_proto_version(site[OLD_TLS].ctx, TLS1_VERSION);
	SSL_CTX_set_min_proto_version(site[OLD_TLS].ctx, TLS1_VERSION);
	open_site(&site[NO_TLS], NULL, true);
	open_site(&site[REFUSED], NULL, false);
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	for (int i = 0; i < SITES; i++) {
		shutdown(site[i].fd, SHUT_RDWR);
		if (i != REFUSED)
			pthread_join(site[i].thread, NULL);
		close(site[i].fd);
	}
	pthread_mutex_lock(&lock);
	while (connections_open > 0)
		pthread_cond_wait(&closed, &lock);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < SITES; i++)
		SSL_CTX_free(site[i].ctx);
	EVP_PKEY_free(server_key);
	for (int i = 0; i < 2; i++) {
		struct issuer *ca = i ? &ca_b : &ca_a;

		unlink(ca->file);
		X509_free(ca->cert);
		EVP_PKEY_free(ca->key);
	}
	rmdir(folder);
	return 0;
}

/* ---- the client ---- */

#define ANSWERS 700

struct answer {
	unsigned done, calls;
	enum px_http_fail fail;
	int status;
	int64_t retry_after_ms;
	char type[64], detail[PX_DETAIL_MAX], body[64], cookie[128], head[128];
	size_t bytes;
};

struct bench {
	struct px_loop *loop;
	struct px_http *http;
	struct answer a[ANSWERS];
	unsigned done, stop_after;
	uint64_t cancel_at_data; /* id + 1 to be cancelled from within any data callback */
	unsigned stop_after_calls, calls;
};

static struct bench b;
static int timed_out; /* seconds that a run may take */

static void turn(void *arg, struct px_now now)
{
	(void)arg;
	(void)now;
	px_loop_stop(b.loop);
}

static void on_data(void *arg, uint64_t id, const char *bytes, size_t n)
{
	struct answer *a = &b.a[id];

	(void)arg;
	a->calls++;
	if (a->bytes + n < sizeof a->body)
		memcpy(a->body + a->bytes, bytes, n);
	a->bytes += n;
	if (b.cancel_at_data)
		px_http_cancel(b.http, b.cancel_at_data - 1);
	if (b.stop_after_calls && ++b.calls >= b.stop_after_calls)
		px_loop_mark(b.loop);
}

static void on_done(void *arg, uint64_t id, const struct px_http_answer *got)
{
	struct answer *a = &b.a[id];

	(void)arg;
	a->done++;
	a->fail = got->fail;
	a->status = got->status;
	a->retry_after_ms = got->retry_after_ms;
	snprintf(a->type, sizeof a->type, "%s", got->type ? got->type : "");
	snprintf(a->detail, sizeof a->detail, "%s", got->detail ? got->detail : "");
	snprintf(a->cookie, sizeof a->cookie, "%s", got->cookie ? got->cookie : "");
	snprintf(a->head, sizeof a->head, "%s", got->head ? got->head : "");
	if (++b.done >= b.stop_after)
		px_loop_mark(b.loop);
}

static int setup(void **state)
{
	(void)state;
	memset(&b, 0, sizeof b);
	b.stop_after = 1;
	timed_out = 10;
	assert_int_equal(px_loop_new(&b.loop, turn, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	px_http_free(b.http);
	px_loop_free(b.loop);
	return 0;
}

/* A client of one gateway (or two). */
static struct px_http_gateway gateway(const char *host, int where, const char *path, const char *ca)
{
	static char url[4][128];
	static unsigned next;
	char *u = url[next++ % 4];

	snprintf(u, sizeof url[0], "https://%s:%d/%s", host, site[where].port, path);
	return (struct px_http_gateway){.url = u, .ca_file = ca, .tls_min = 12};
}

static const char *const heads[] = {"ms-webstorage", NULL};

static void client_with(const struct px_http_gateway *g, unsigned n, enum px_auth auth)
{
	char why[PX_HTTP_WHY];
	const struct px_http_config c = {.gateway = g,
	                                 .auth = auth,
	                                 .gateways = n,
	                                 .account = "EXAMPLE\\svc",
	                                 .password = "s3cret",
	                                 .heads = heads,
	                                 .data = on_data,
	                                 .done = on_done};

	assert_int_equal(px_http_new(&b.http, b.loop, &c, why), 0);
}

static void client(const struct px_http_gateway *g, unsigned n)
{
	client_with(g, n, PX_AUTH_BASIC);
}

static struct px_wire bytes(size_t n)
{
	struct px_wire wire = px_wire_new();
	char *text = malloc(n + 1);

	wire.method = "POST";
	memset(text, 'b', n);
	px_buf_add(&wire.body, text, n);
	free(text);
	return wire;
}

static void start(uint64_t id, int gw, int64_t timeout_ms, int64_t ceiling)
{
	struct px_wire wire = bytes(20);

	px_http_start(b.http, id, gw, &wire, NULL, timeout_ms, ceiling);
	assert_null(wire.body.data);
}

/* Runs until what was asked for has come; the time it took in ms. */
static int64_t run(void)
{
	struct px_now began = px_loop_now(b.loop);

	px_loop_wake(b.loop, px_after(began, timed_out * 1000));
	px_loop_run(b.loop);
	return px_loop_now(b.loop).mono.ms - began.mono.ms;
}

static struct answer *ask(const char *host, int where, const char *path, const char *ca)
{
	struct px_http_gateway g = gateway(host, where, path, ca);

	client(&g, 1);
	start(0, 0, 3000, 100000);
	run();
	assert_int_equal(b.a[0].done, 1);
	return &b.a[0];
}

static bool request_has(const char *text)
{
	bool has;

	pthread_mutex_lock(&lock);
	has = strstr(last_request, text) != NULL;
	pthread_mutex_unlock(&lock);
	return has;
}

static void an_answer(void **state)
{
	struct answer *a = ask("localhost", GOOD, "ok", ca_a.file);

	(void)state;
	assert_int_equal(a->fail, PX_HTTP_ANSWERED);
	assert_int_equal(a->status, 200);
	assert_string_equal(a->type, "text/xml");
	assert_string_equal(a->body, "fine");
	assert_int_equal(a->retry_after_ms, -1);
	assert_true(request_has("POST /ok HTTP/1.1\r\n"));
	assert_true(request_has("\r\nAuthorization: Basic RVhBTVBMRVxzdmM6czNjcmV0\r\n"));
	assert_true(request_has("\r\nUser-Agent: pua_exchange/"));
	assert_true(request_has("\r\n\r\nbbbbbbbbbbbbbbbbbbbb"));
	assert_false(request_has("Expect"));
	assert_false(request_has("Accept-Encoding"));
}

/* The cookies that lead back to a server, and no others, are handed out and taken back. */
static void affinity(void **state)
{
	struct answer *a = ask("localhost", GOOD, "affinity", ca_a.file);
	struct px_wire wire = bytes(20);

	(void)state;
	assert_string_equal(
	    a->cookie, "X-BackEndOverrideCookie=mbx7.example.test~1941996295; exchangecookie=abc");
	assert_false(request_has("\r\nCookie:"));
	px_http_start(b.http, 1, 0, &wire, a->cookie, 3000, 1000);
	b.stop_after = 2;
	run();
	assert_true(request_has("\r\nCookie: X-BackEndOverrideCookie=mbx7.example.test~1941996295; "
	                        "exchangecookie=abc\r\n"));
	wire = bytes(20);
	px_http_start(b.http, 2, 0, &wire, "a=b\r\nEvil: yes", 3000, 1000);
	b.stop_after = 3;
	run();
	assert_int_equal(b.a[2].done, 1);
	assert_false(request_has("Evil"));
}

/* Method, target and headers are the request's own; host and port never are. */
static void a_wire_of_its_own(void **state)
{
	struct px_http_gateway g = gateway("localhost", GOOD, "ok", ca_a.file);
	struct px_wire wire = bytes(20);

	(void)state;
	client(&g, 1);
	wire.method = "SEARCH";
	px_buf_str(&wire.target, "/exchange/alice/Calendar%20of%20hers/?a=b");
	px_buf_str(&wire.head, "Depth: 1\r\nContent-Type: text/xml\r\nUser-Agent: mine\r\n");
	px_http_start(b.http, 0, 0, &wire, "a=b", 3000, 1000);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_ANSWERED);
	assert_true(request_has("SEARCH /exchange/alice/Calendar%20of%20hers/?a=b HTTP/1.1\r\n"));
	assert_true(request_has("\r\nDepth: 1\r\n"));
	assert_true(request_has("\r\nContent-Type: text/xml\r\n"));
	assert_true(request_has("\r\nUser-Agent: mine\r\n"));
	assert_true(request_has("\r\nCookie: a=b\r\n"));
	assert_true(request_has("\r\n\r\nbbbbbbbbbbbbbbbbbbbb"));

	wire = bytes(0);
	wire.method = "GET";
	px_buf_str(&wire.target, "/public/?cmd=freebusy");
	px_http_start(b.http, 1, 0, &wire, NULL, 3000, 1000);
	b.stop_after = 2;
	run();
	assert_int_equal(b.a[1].fail, PX_HTTP_ANSWERED);
	assert_true(request_has("GET /public/?cmd=freebusy HTTP/1.1\r\n"));
	assert_false(request_has("Content-Length"));

	static const char *const bad[] = {"exchange", "@elsewhere/", ":443/", "/a b",
	                                  "/a\r\nEvil: yes"};
	for (uint64_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		wire = bytes(20);
		px_buf_str(&wire.target, bad[i]);
		px_http_start(b.http, 2 + i, 0, &wire, NULL, 3000, 1000);
		b.stop_after = 3 + (unsigned)i;
		run();
		assert_int_equal(b.a[2 + i].fail, PX_HTTP_LOCAL);
	}
	wire = bytes(20);
	px_buf_str(&wire.head, "Half");
	px_http_start(b.http, 8, 0, &wire, NULL, 3000, 1000);
	b.stop_after++;
	run();
	assert_int_equal(b.a[8].fail, PX_HTTP_LOCAL);
}

static void address_in_certificate(void **state)
{
	(void)state;
	assert_int_equal(ask("127.0.0.1", GOOD, "ok", ca_a.file)->fail, PX_HTTP_ANSWERED);
}

static void big_body(void **state)
{
	struct px_http_gateway g = gateway("localhost", GOOD, "ok", ca_a.file);
	struct px_wire wire = bytes(100000);

	(void)state;
	client(&g, 1);
	px_http_start(b.http, 0, 0, &wire, NULL, 3000, 1000);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_ANSWERED);
	assert_true(request_has("\r\nContent-Length: 100000\r\n"));
	assert_false(request_has("Content-Type"));
	assert_false(request_has("Accept"));
}

static void refused(void **state)
{
	struct px_http_gateway g = gateway("localhost", REFUSED, "ok", ca_a.file);

	(void)state;
	client(&g, 1);
	start(0, 0, 3000, 1000);
	assert_true(run() < 1000);
	assert_int_equal(b.a[0].fail, PX_HTTP_CONNECT);
	assert_int_equal(b.a[0].status, 0);
	assert_string_equal(b.a[0].detail, "Connection refused");
}

static void no_such_host(void **state)
{
	struct answer *a = ask("nowhere.invalid", GOOD, "ok", ca_a.file);

	(void)state;
	assert_int_equal(a->fail, PX_HTTP_RESOLVE);
	assert_non_null(strstr(a->detail, "nowhere.invalid"));
}

static void unknown_authority(void **state)
{
	struct answer *a = ask("localhost", GOOD, "ok", ca_b.file);

	(void)state;
	assert_int_equal(a->fail, PX_HTTP_TLS);
	print_message("%s\n", a->detail);
	assert_non_null(strstr(a->detail, "unable to get local issuer certificate"));
	assert_non_null(strstr(a->detail, "issued by /CN=authority-a"));
}

static void systems_authorities(void **state)
{
	(void)state;
	assert_int_equal(ask("localhost", GOOD, "ok", NULL)->fail, PX_HTTP_TLS);
}

static void wrong_name(void **state)
{
	struct answer *a = ask("localhost", WRONG_NAME, "ok", ca_a.file);

	(void)state;
	assert_int_equal(a->fail, PX_HTTP_TLS);
	print_message("%s\n", a->detail);
	assert_non_null(strstr(a->detail, "'localhost'"));
	assert_non_null(strstr(a->detail, "the certificate is for mail.example.test, ::1"));
}

static void expired(void **state)
{
	struct answer *a = ask("localhost", EXPIRED, "ok", ca_a.file);

	(void)state;
	assert_int_equal(a->fail, PX_HTTP_TLS);
	print_message("%s\n", a->detail);
	assert_non_null(strstr(a->detail, "expired"));
	assert_non_null(strstr(a->detail, "for localhost, 127.0.0.1, valid "));
}

static void two_authorities(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "ok", ca_a.file),
	                              gateway("localhost", OTHER_CA, "ok", ca_b.file),
	                              gateway("localhost", OTHER_CA_AGAIN, "ok", ca_a.file)};

	(void)state;
	client(g, 3);
	b.stop_after = 6;
	for (uint64_t i = 0; i < 6; i++)
		start(i, (int)(i % 3), 3000, 1000);
	run();
	for (int i = 0; i < 6; i++)
		assert_int_equal(b.a[i].fail, i % 3 == 2 ? PX_HTTP_TLS : PX_HTTP_ANSWERED);
}

static void old_tls_only_where_allowed(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", OLD_TLS, "ok", ca_a.file),
	                              gateway("localhost", OLD_TLS, "ok", ca_a.file)};

	(void)state;
	g[1].tls_min = 10;
	client(g, 2);
	b.stop_after = 2;
	start(0, 0, 3000, 1000);
	start(1, 1, 3000, 1000);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_TLS);
	print_message("%s\n", b.a[0].detail);
	assert_non_null(strstr(b.a[0].detail, "tls_min forbids"));
	assert_int_equal(b.a[1].fail, PX_HTTP_ANSWERED);
}

static void silence(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "silent", ca_a.file),
	                              gateway("localhost", NO_TLS, "ok", ca_a.file)};
	int64_t took;

	(void)state;
	client(g, 2);
	b.stop_after = 2;
	start(0, 0, 500, 1000);
	start(1, 1, 400, 1000);
	took = run();
	assert_in_range(took, 400, 2000);
	assert_int_equal(b.a[0].fail, PX_HTTP_TIMEOUT);
	/* connected, but no word of TLS: that is no connection */
	assert_int_equal(b.a[1].fail, PX_HTTP_CONNECT);
}

static void cut_in_the_middle(void **state)
{
	const char *const path[] = {"cut", "cutchunk", "nothing", "garbage"};
	struct px_http_gateway g[4];

	(void)state;
	for (int i = 0; i < 4; i++)
		g[i] = gateway("localhost", GOOD, path[i], ca_a.file);
	client(g, 4);
	b.stop_after = 4;
	for (uint64_t i = 0; i < 4; i++)
		start(i, (int)i, 3000, 1000);
	run();
	for (int i = 0; i < 4; i++) {
		print_message("%s: %s\n", path[i], b.a[i].detail);
		assert_int_equal(b.a[i].fail, PX_HTTP_CUT);
		assert_true(b.a[i].detail[0] != '\0');
	}
	assert_int_equal(b.a[0].status, 200);
	assert_int_equal(b.a[2].status, 0);
}

static void ceilings(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "huge", ca_a.file),
	                              gateway("localhost", GOOD, "headers", ca_a.file)};

	(void)state;
	client(g, 2);
	b.stop_after = 2;
	start(0, 0, 5000, 1000000);
	start(1, 1, 5000, 1000000);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_TOO_BIG);
	assert_true(b.a[0].bytes <= 1000000);
	assert_string_equal(b.a[0].detail, "answer over 1000000 bytes, ended by us");
	assert_int_equal(b.a[1].fail, PX_HTTP_TOO_BIG);
	assert_int_equal(b.a[1].bytes, 0);
}

static void what_servers_say(void **state)
{
	const char *const path[] = {"401", "302", "503"};
	struct px_http_gateway g[3];
	unsigned before = requests;

	(void)state;
	for (int i = 0; i < 3; i++)
		g[i] = gateway("localhost", GOOD, path[i], ca_a.file);
	client(g, 3);
	b.stop_after = 3;
	for (uint64_t i = 0; i < 3; i++)
		start(i, (int)i, 3000, 1000);
	run();
	for (int i = 0; i < 3; i++)
		assert_int_equal(b.a[i].fail, PX_HTTP_ANSWERED);
	assert_int_equal(b.a[0].status, 401);
	assert_string_equal(b.a[0].body, "");
	assert_string_equal(b.a[0].detail, "by basic, offered: Basic");
	assert_int_equal(b.a[1].status, 302);
	assert_int_equal(b.a[2].status, 503);
	assert_int_equal(b.a[2].retry_after_ms, 7000);
	/* one request each: neither a refused login nor a redirect is tried again here */
	assert_int_equal(requests - before, 3);
}

/* The login's messages go first, on the connection that then has it; the body is sent once, whole, with the last of them. */
static void ntlm(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "ntlm", ca_a.file)};
	unsigned before = requests;

	(void)state;
	client_with(g, 1, PX_AUTH_NTLM);
	start(0, 0, 3000, 1000);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_ANSWERED);
	assert_int_equal(b.a[0].status, 200);
	assert_string_equal(b.a[0].body, "fine");
	assert_int_equal(requests - before, 2);
	assert_true(request_has("\r\nContent-Length: 20\r\n"));
	assert_true(request_has("\r\n\r\nbbbbbbbbbbbbbbbbbbbb"));
	assert_false(request_has("Basic"));
}

/* What is offered is asked for once, and costs the account nothing; nobody sees these answers. */
static void auto_asks(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "offer-nb-n", ca_a.file),
	                              gateway("localhost", GOOD, "offer-b-b", ca_a.file)};
	const unsigned asked[] = {3, 2}, before = connections;

	(void)state;
	for (int i = 0; i < 2; i++) {
		unsigned had = requests;

		client_with(&g[i], 1, PX_AUTH_AUTO);
		start(0, 0, 3000, 1000);
		run();
		assert_int_equal(b.a[0].fail, PX_HTTP_ANSWERED);
		assert_int_equal(b.a[0].status, 200);
		assert_string_equal(b.a[0].body, "fine");
		assert_string_equal(b.a[0].cookie, "");
		assert_int_equal(requests - had, asked[i]);
		assert_true(request_has("\r\n\r\nbbbbbbbbbbbbbbbbbbbb"));
		start(1, 0, 3000, 1000);
		run();
		assert_string_equal(b.a[1].body, "fine");
		assert_int_equal(requests - had, asked[i] + 1);
		assert_int_equal(connections - before, i + 1);
		/* NTLM logged the connection in */
		assert_int_equal(request_has("Authorization"), i == 1);
		px_http_free(b.http);
		b.http = NULL;
		memset(b.a, 0, sizeof b.a);
	}
}

/* A 401 to a password is the end, whatever else is offered. */
static void one_password_is_sent_once(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "offer-nb-x", ca_a.file)};
	unsigned before = requests;

	(void)state;
	client_with(g, 1, PX_AUTH_AUTO);
	start(0, 0, 3000, 1000);
	run();
	assert_int_equal(b.a[0].status, 401);
	assert_string_equal(b.a[0].detail, "by ntlm, offered: NTLM, Basic");
	assert_int_equal(requests - before, 3);
	assert_true(request_has("Authorization: NTLM TlRMTVNTUAAD"));
	/* and is so at once the next time */
	start(1, 0, 3000, 1000);
	run();
	assert_int_equal(b.a[1].status, 401);
	assert_int_equal(requests - before, 5);
}

/* A server that forgets who has the connection gets the login again, and the body whole. */
static void ntlm_for_each_request(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "offer-n-f", ca_a.file)};

	(void)state;
	client_with(g, 1, PX_AUTH_NTLM);
	for (uint64_t i = 0; i < 4; i++) {
		struct px_wire wire = bytes(40000);

		px_http_start(b.http, i, 0, &wire, NULL, 3000, 1000);
		run();
		assert_int_equal(b.a[i].fail, PX_HTTP_ANSWERED);
		assert_int_equal(b.a[i].status, 200);
		assert_true(request_has("Authorization: NTLM TlRMTVNTUAAD"));
		assert_true(request_has("\r\nContent-Length: 40000\r\n"));
	}
}

static void endless_refusal(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "endless401", ca_a.file)};

	(void)state;
	client(g, 1);
	start(0, 0, 5000, 0);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_TOO_BIG);
	assert_int_equal(b.a[0].status, 401);
	assert_int_equal(b.a[0].calls, 0);
	assert_string_equal(b.a[0].detail, "answer over 65536 bytes, ended by us");
}

/* ---- a KDC that takes everything and says nothing ---- */

static char krb5_conf[64], keytab[64];

static int silent_kdc(void **state)
{
	/* MIT's format: svc@PX.TEST, version 1, an AES-256 key of 32 bytes */
	static const char head[] = "\x05\x02\0\0\0\x3d\0\x01\0\x07PX.TEST\0\x03svc\0\0\0\x01"
	                           "\0\0\0\0\x01\0\x12\0\x20";
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	FILE *f;

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(krb5_conf, sizeof krb5_conf, "%s/krb5.conf", folder);
	snprintf(keytab, sizeof keytab, "%s/keytab", folder);
	f = fopen(krb5_conf, "w");
	fprintf(f,
	        "[libdefaults]\ndefault_realm = PX.TEST\ndns_lookup_kdc = false\n"
	        "dns_canonicalize_hostname = false\n[realms]\nPX.TEST = {\nkdc = 127.0.0.1:%d\n}\n",
	        ntohs(a.sin_port));
	fclose(f);
	f = fopen(keytab, "w");
	fwrite(head, sizeof head - 1, 1, f);
	fprintf(f, "%032d", 1);
	fclose(f);
	setenv("KRB5_CONFIG", krb5_conf, 1);
	setenv("KRB5_CLIENT_KTNAME", keytab, 1);
	unsetenv("KRB5CCNAME");
	setup(state);
	*state = (void *)(intptr_t)fd;
	return 0;
}

static int no_kdc(void **state)
{
	close((int)(intptr_t)*state);
	unsetenv("KRB5_CONFIG");
	unsetenv("KRB5_CLIENT_KTNAME");
	unlink(krb5_conf);
	unlink(keytab);
	return teardown(NULL);
}

/* The longest time in ms between two moments at which the loop was there, until `done` are done. */
static int64_t longest_turn(unsigned done, int64_t limit_ms)
{
	const struct px_now began = px_loop_now(b.loop);
	struct px_now last = began;
	int64_t longest = 0;

	b.stop_after = done;
	while (b.done < done && last.mono.ms - began.mono.ms < limit_ms) {
		struct px_now now;

		px_loop_wake(b.loop, px_after(last, 5));
		px_loop_run(b.loop);
		now = px_loop_now(b.loop);
		if (now.mono.ms - last.mono.ms > longest)
			longest = now.mono.ms - last.mono.ms;
		last = now;
	}
	return longest;
}

static bool kdc_was_asked(void **state)
{
	char c[4096];

	return recv((int)(intptr_t)*state, c, sizeof c, MSG_DONTWAIT) > 0;
}

static int64_t ahead_s; /* of the kernel's monotonic clock; timers of the loop don't know it */

int clock_gettime(clockid_t id, struct timespec *t)
{
	long rc = syscall(SYS_clock_gettime, id, t);

	if (id == CLOCK_MONOTONIC)
		t->tv_sec += ahead_s;
	return (int)rc;
}

/* Ten minutes after there was none, a ticket is asked for again, and nobody waits for it. */
static void a_ticket_is_tried_again(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "offer-kn-n", ca_a.file)};
	bool asked = false;

	setenv("KRB5CCNAME", "FILE:/nonexistent/cache", 1);
	unsetenv("KRB5_CLIENT_KTNAME");
	client_with(g, 1, PX_AUTH_AUTO);
	start(0, 0, 5000, 1000);
	assert_in_range(run(), 0, 1000);
	assert_int_equal(b.a[0].status, 200);
	unsetenv("KRB5CCNAME");
	setenv("KRB5_CLIENT_KTNAME", keytab, 1);
	ahead_s = PX_AUTH_AGAIN_MS / 1000 - 5;
	start(1, 0, 5000, 1000);
	run();
	usleep(100000);
	assert_false(kdc_was_asked(state));
	ahead_s += 6;
	start(2, 0, 5000, 1000);
	assert_in_range(run(), 0, 1000);
	assert_int_equal(b.a[2].status, 200);
	for (int i = 0; i < 100 && !asked; i++) {
		usleep(20000);
		asked = kdc_was_asked(state);
	}
	assert_true(asked);
	px_http_free(b.http); /* its timers go before the time does */
	b.http = NULL;
	ahead_s = 0;
}

/* Requests wait, the loop doesn't; after 3 s they go by NTLM, and from then on at once. */
static void silent_kdc_holds_nobody(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "offer-kn-n", ca_a.file),
	                              gateway("localhost", GOOD, "offer-b-b", ca_a.file)};
	int64_t longest;

	client_with(g, 2, PX_AUTH_AUTO);
	start(0, 0, 20000, 1000);
	start(1, 1, 20000, 1000);
	longest = longest_turn(1, 1000);
	assert_int_equal(b.a[1].status, 200);
	start(2, 0, 20000, 1000);
	start(3, 0, 20000, 1000);
	start(4, 0, 1500, 1000);
	px_http_cancel(b.http, 3);
	int64_t more = longest_turn(4, 8000);
	if (more > longest)
		longest = more;
	print_message("longest turn %lld ms\n", (long long)longest);
	assert_true(kdc_was_asked(state));
	assert_in_range(longest, 5, 200);
	assert_int_equal(b.a[0].status, 200);
	assert_int_equal(b.a[2].status, 200);
	assert_int_equal(b.a[3].done, 0);
	assert_int_equal(b.a[4].done, 1);
	start(5, 0, 1000, 1000);
	b.stop_after = 5;
	assert_in_range(run(), 0, 500);
	assert_int_equal(b.a[5].status, 200);
}

/* Without another login that's our own trouble, said in time; and nothing is left when all ends. */
static void silent_kdc_and_no_other_login(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "offer-kn-n", ca_a.file)};
	int64_t took;

	client_with(g, 1, PX_AUTH_NEGOTIATE);
	start(0, 0, 1000, 1000);
	took = run();
	assert_in_range(took, 900, 2000);
	assert_true(kdc_was_asked(state));
	assert_int_equal(b.a[0].fail, PX_HTTP_LOCAL);
	assert_non_null(strstr(b.a[0].detail, "no Kerberos ticket: no answer from a KDC"));
	start(1, 0, 0, 1000);
	timed_out = 1;
	run();
	assert_int_equal(b.a[1].done, 0); /* freed while it waits */
}

static void stream_of_chunks(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "chunks", ca_a.file)};

	(void)state;
	client(g, 1);
	start(0, 0, 0, 0);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_ANSWERED);
	assert_string_equal(b.a[0].body, "news0news1news2news3news4");
	assert_true(b.a[0].calls >= 2); /* as they came, not at the end */
}

static void kept_connection(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "ok", ca_a.file)};
	unsigned before = connections;

	(void)state;
	client(g, 1);
	for (uint64_t i = 0; i < 5; i++) {
		start(i, 0, 3000, 1000);
		run();
		assert_int_equal(b.a[i].fail, PX_HTTP_ANSWERED);
	}
	assert_int_equal(connections - before, 1);
}

/* A connection that died while it was kept costs nobody anything ... */
static void dead_connection_is_replaced(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "once", ca_a.file)};
	unsigned before = requests;

	(void)state;
	client(g, 1);
	for (uint64_t i = 0; i < 3; i++) {
		start(i, 0, 3000, 1000);
		run();
		assert_int_equal(b.a[i].fail, PX_HTTP_ANSWERED);
	}
	assert_int_equal(requests - before, 5);
}

/* ... unless the answer had begun: then it isn't known what was done, and it is not asked again. */
static void begun_answer_is_not_repeated(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "begun", ca_a.file)};
	unsigned before = requests;

	(void)state;
	client(g, 1);
	start(0, 0, 3000, 1000);
	run();
	assert_int_equal(b.a[0].fail, PX_HTTP_ANSWERED);
	start(1, 0, 3000, 1000);
	run();
	assert_int_equal(b.a[1].fail, PX_HTTP_CUT);
	assert_int_equal(requests - before, 2);
}

static void cancelled_from_outside(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "silent", ca_a.file),
	                              gateway("localhost", GOOD, "ok", ca_a.file)};

	(void)state;
	client(g, 2);
	start(0, 0, 3000, 1000);
	start(1, 0, 3000, 1000);
	px_http_cancel(b.http, 1); /* before it has left */
	px_http_cancel(b.http, 99);
	start(2, 1, 3000, 1000);
	run();
	px_http_cancel(b.http, 0);
	px_http_cancel(b.http, 0);
	timed_out = 1;
	b.stop_after = 100;
	run();
	assert_int_equal(b.a[0].done, 0);
	assert_int_equal(b.a[1].done, 0);
	assert_int_equal(b.a[2].done, 1);
	/* the id may be used again at once */
	b.stop_after = 1;
	start(0, 1, 3000, 1000);
	run();
	assert_int_equal(b.a[0].done, 1);
}

static void cancelled_from_inside(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "chunks", ca_a.file),
	                              gateway("localhost", GOOD, "silent", ca_a.file)};

	(void)state;
	client(g, 2);
	timed_out = 1;
	/* itself */
	b.cancel_at_data = 1;
	start(0, 0, 3000, 0);
	run();
	assert_int_equal(b.a[0].calls, 1);
	assert_int_equal(b.a[0].done, 0);
	/* another */
	b.cancel_at_data = 2 + 1;
	start(1, 0, 3000, 0);
	start(2, 1, 700, 0);
	b.stop_after = 3;
	run();
	assert_int_equal(b.a[1].done, 1);
	assert_int_equal(b.a[2].done, 0);
}

static void freed_with_requests_under_way(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "stream", ca_a.file)};

	(void)state;
	client(g, 1);
	b.stop_after_calls = 1;
	start(0, 0, 0, 0);
	start(1, 0, 0, 0);
	run();
	start(2, 0, 0, 0);
	px_http_free(b.http);
	b.http = NULL;
	for (int i = 0; i < 3; i++)
		assert_int_equal(b.a[i].done, 0);
}

static bool all_heard(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (b.a[i].bytes == 0 && b.a[i].done == 0)
			return false;
	return true;
}

/* Many streams at once, each with the bytes of 200 subscription ids behind it; requests pass
 * between them. */
static void many_streams(void **state)
{
	struct px_http_gateway g[] = {gateway("localhost", GOOD, "stream", ca_a.file),
	                              gateway("localhost", GOOD, "ok", ca_a.file)};
	const unsigned n = 300;

	(void)state;
	client(g, 2);
	b.stop_after_calls = 1;
	b.stop_after = ANSWERS;
	timed_out = 1;
	for (uint64_t i = 0; i < n; i++) {
		struct px_wire wire = bytes(40000);

		px_http_start(b.http, i, 0, &wire, NULL, 0, 0);
		while (i % 20 == 19 && !all_heard(i + 1))
			run(); /* so that a slow machine has 20 handshakes to do at a time */
	}
	b.stop_after_calls = 0;
	timed_out = 2;
	run();
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(b.a[i].done, 0);
		assert_int_equal(b.a[i].bytes, 25);
	}
	b.stop_after = 1;
	start(n, 1, 3000, 1000);
	run();
	assert_int_equal(b.a[n].fail, PX_HTTP_ANSWERED);
}

static void bad_settings(void **state)
{
	struct px_http_gateway g = {.url = "http://localhost/", .tls_min = 12};
	struct px_http_config c = {.gateway = &g,
	                           .gateways = 1,
	                           .account = "a",
	                           .password = "p",
	                           .auth = PX_AUTH_BASIC,
	                           .data = on_data,
	                           .done = on_done};
	struct px_http *h = NULL;
	char why[PX_HTTP_WHY];

	(void)state;
	assert_int_equal(px_http_new(&h, b.loop, &c, why), -EINVAL);
	assert_non_null(strstr(why, "https://"));
	g.url = "https://";
	assert_int_equal(px_http_new(&h, b.loop, &c, why), -EINVAL);
	g.url = "https://localhost/";
	g.ca_file = "/nonexistent/ca.pem";
	assert_int_equal(px_http_new(&h, b.loop, &c, why), -EINVAL);
	assert_non_null(strstr(why, "/nonexistent/ca.pem"));
	assert_non_null(strstr(why, "No such file"));
	g.ca_file = "/dev/null";
	assert_int_equal(px_http_new(&h, b.loop, &c, why), -EINVAL);
	print_message("%s\n", why);
	assert_null(h);
}

/* ---- forms ---- */

static uint64_t next_id;

static void owa_client(enum px_auth auth, const char *password)
{
	struct px_http_gateway g = gateway("localhost", GOOD, "", ca_a.file);

	memset(&owa, 0, sizeof owa);
	owa.password = password;
	g.forms_root = "/exchange/";
	client_with(&g, 1, auth);
	next_id = 0;
}

/* n requests at once, which all end like this. */
static void all(unsigned n, int status, const char *detail)
{
	const uint64_t from = next_id;

	for (unsigned i = 0; i < n; i++) {
		struct px_wire wire = bytes(20);

		wire.method = "SEARCH";
		px_buf_str(&wire.target, "/exchange/alice/");
		px_http_start(b.http, next_id++, 0, &wire, NULL, 5000, 1000);
	}
	b.stop_after = (unsigned)next_id;
	run();
	for (uint64_t id = from; id < next_id; id++) {
		assert_int_equal(b.a[id].done, 1);
		assert_int_equal(b.a[id].fail, PX_HTTP_ANSWERED);
		assert_int_equal(b.a[id].status, status);
		assert_string_equal(b.a[id].body, status == 200 ? "fine" : "");
		if (!strstr(b.a[id].detail, detail))
			fail_msg("%s, not %s", b.a[id].detail, detail);
	}
}

static void one_form_for_all(void **state)
{
	(void)state;
	owa_client(PX_AUTH_AUTO, "s3cret");
	assert_null(px_http_local(b.http));
	all(5, 200, "");
	assert_int_equal(owa.forms, 1);
	assert_string_equal(b.a[0].head, "MS-WebStorage: 08.01.10240\n");
	assert_true(request_has("\r\n\r\nbbbbbbbbbbbbbbbbbbbb"));
	assert_string_equal(px_http_local(b.http), "127.0.0.1");
	all(5, 200, "");
	assert_int_equal(owa.forms, 1);
	owa.session++; /* it has ended */
	all(8, 200, "");
	assert_int_equal(owa.forms, 2);
	assert_int_equal(owa.refusals, 0);
}

static void a_form_that_is_refused(void **state)
{
	static const char why[] =
	    "the form /exchweb/bin/auth/owalogon.asp refuses account or password";

	(void)state;
	owa_client(PX_AUTH_AUTO, "other");
	all(5, 401, why);
	assert_int_equal(owa.forms, 1); /* one failed login, however many asked */
	all(1, 401, why);
	assert_int_equal(owa.forms, 2);
	owa.password = "s3cret";
	all(3, 200, "");
	assert_int_equal(owa.forms, 3);
	owa.password = "changed";
	owa.session++;
	all(8, 401, why);
	assert_int_equal(owa.refusals, 3);
}

static void no_form_to_fill_in(void **state)
{
	(void)state;
	owa_client(PX_AUTH_AUTO, NULL);
	all(3, 440, "/exchweb/bin/auth/owaauth.dll can't take the form (HTTP 404)");
	assert_int_equal(owa.pages, 1);
	owa.password = "s3cret"; /* mended */
	all(3, 200, "");
}

static void forms_only_where_they_may_be_found_out(void **state)
{
	(void)state;
	owa_client(PX_AUTH_BASIC, "s3cret");
	for (unsigned i = 0; i < 2; i++) {
		start(i, 0, 5000, 1000);
		b.stop_after = i + 1;
	}
	run();
	assert_int_equal(owa.forms + owa.pages, 0);
}

static void forms_switched_off(void **state)
{
	(void)state;
	owa_client(PX_AUTH_AUTO, "s3cret");
	all(2, 200, "");
	owa.password = "";
	all(2, 200, "");
	assert_int_equal(owa.forms, 1);
	owa.password = "s3cret"; /* and on again */
	owa.session++;
	all(2, 200, "");
	assert_int_equal(owa.forms, 2);
}

static void whoever_waits_may_leave(void **state)
{
	struct px_wire wire = bytes(20);

	(void)state;
	owa_client(PX_AUTH_AUTO, "s3cret");
	all(1, 200, "");
	owa.session++;
	owa.slow = true;
	wire.method = "SEARCH";
	px_buf_str(&wire.target, "/exchange/alice/");
	px_http_start(b.http, 500, 0, &wire, NULL, 5000, 1000);
	while (owa.pages < 2) { /* it waits for the new login */
		px_loop_wake(b.loop, px_after(px_loop_now(b.loop), 10));
		px_loop_run(b.loop);
	}
	px_http_cancel(b.http, 500);
	all(1, 200, "");
	assert_int_equal(b.a[500].done, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(an_answer),
	    T(affinity),
	    T(a_wire_of_its_own),
	    T(address_in_certificate),
	    T(big_body),
	    T(refused),
	    T(no_such_host),
	    T(unknown_authority),
	    T(systems_authorities),
	    T(wrong_name),
	    T(expired),
	    T(two_authorities),
	    T(old_tls_only_where_allowed),
	    T(silence),
	    T(cut_in_the_middle),
	    T(ceilings),
	    T(what_servers_say),
	    T(ntlm),
	    T(auto_asks),
	    T(one_password_is_sent_once),
	    T(ntlm_for_each_request),
	    T(endless_refusal),
	    cmocka_unit_test_setup_teardown(a_ticket_is_tried_again, silent_kdc, no_kdc),
	    cmocka_unit_test_setup_teardown(silent_kdc_holds_nobody, silent_kdc, no_kdc),
	    cmocka_unit_test_setup_teardown(silent_kdc_and_no_other_login, silent_kdc, no_kdc),
	    T(one_form_for_all),
	    T(a_form_that_is_refused),
	    T(no_form_to_fill_in),
	    T(forms_only_where_they_may_be_found_out),
	    T(forms_switched_off),
	    T(whoever_waits_may_leave),
	    T(stream_of_chunks),
	    T(kept_connection),
	    T(dead_connection_is_replaced),
	    T(begun_answer_is_not_repeated),
	    T(cancelled_from_outside),
	    T(cancelled_from_inside),
	    T(freed_with_requests_under_way),
	    T(many_streams),
	    T(bad_settings),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
