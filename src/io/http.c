/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "io/auth.h"
#include "io/forms.h"
#include "io/head.h"
#include "io/kerberos.h"
#include "io/log.h"
#include "px_version.h"

#define CONNECT_MS 8000L
#define TICKET_MS 5000       /* that a request waits for a ticket ... */
#define TICKET_FIRST_MS 3000 /* ... when there is another way to log in */
#define REFUSAL_MAX 65536    /* of a 401's body, which nobody reads */
#define LOGINS_MAX 6         /* of one request */
#define FORM_MS 10000        /* for each step of a login by form */
#define FORM_AGAIN 2         /* logins by form for one request, as sessions end */
#define RETRY_AFTER_MAX_S 86400
#define LINES_MAX 12 /* headers of a request's own */
#define BUCKETS 256  /* some 600 streams and as many requests at most */
#define EVENTS 64    /* descriptors served in one round of the loop */

struct gateway {
	unsigned place;
	char *url, *name, *ca_file; /* the last one NULL: the system's */
	size_t origin;              /* bytes of the URL before its path */
	struct px_auth_gateway auth;
	enum px_method told; /* the login that the log was last told of */
	unsigned char end_point[PX_KERBEROS_BINDING_MAX]; /* what a token is bound to (RFC 5929) */
	size_t end_point_len;
	char why[PX_DETAIL_MAX]; /* not Negotiate */
	unsigned certificates;   /* how often it has changed */
	X509_STORE *trusted;     /* shared by the gateways with the same file */
	int tls_min;
	char *forms_root;      /* NULL: no forms there */
	struct px_forms forms; /* one login and one session for all its requests */
	struct px_mono
	    changed_at; /* what was connected before isn't used any more; not set: never */
};

struct request {
	uint64_t id;
	struct px_http *h;
	struct gateway *gateway;
	CURL *easy;             /* NULL: it waits for a ticket, or couldn't be started */
	bool unstarted;         /* the latter: its done() is due */
	struct px_mono late_at; /* not set: never */
	enum px_method method;  /* of its login */
	unsigned tried, logins; /* PX_OFFER() bits; how often it was sent */
	unsigned bound;         /* the gateway's `certificates` when its token was asked for */
	bool form;              /* it is the gateway's login by form, and nobody else's */
	unsigned session;       /* the gateway's forms.logins when it was sent with cookies */
	unsigned sessions;      /* that ended on it */
	struct px_wire wire;
	size_t sent;                          /* of its body */
	struct curl_slist headers[LINES_MAX]; /* its own, then the common ones */
	char *affinity;                       /* one of them: Cookie */
	char *authorization;     /* a header too: Negotiate and its token, or a form's cookies */
	struct curl_slist login; /* it, then the others */
	struct px_head head;     /* of its answer */
	int64_t got, ceiling;
	bool cancelled; /* from within a callback: dropped when the library has returned */
	int64_t over;   /* the ceiling that the answer is over; 0: none */
	bool no_socket;
	enum px_tls_fault
	    distrusted; /* the certificate's check failed, and `certificate` says whose */
	struct px_http_peer peer;
	char certificate[PX_DETAIL_MAX + 64];
	char error[CURL_ERROR_SIZE];
	struct request *next; /* in its bucket */
};

struct px_http {
	struct px_loop *loop;
	CURLM *multi;
	int epoll, timer;
	struct gateway **gateway; /* by place; NULL: none */
	unsigned gateways;
	char *account, *password; /* NULL: nobody logs in */
	enum px_auth auth;
	struct px_kerberos *kerberos; /* NULL: with this setting there are no tickets */
	struct curl_slist *headers;
	const char *const *heads;
	char local[INET6_ADDRSTRLEN];
	px_http_data_h *data;
	px_http_done_h *done;
	void *arg;
	bool inside; /* the library is running, and calls us */
	bool sweep;  /* a request was cancelled from inside */
	unsigned unstarted;
	struct request *bucket[BUCKETS];
};

/* Where a connection's SSL_CTX says whose it is. Process-wide, as OpenSSL has it. */
static int ex_http = -1, ex_id = -1;

/* ---- requests by id ---- */

static struct request **bucket_of(struct px_http *h, uint64_t id)
{
	return &h->bucket[(id ^ id >> 32) % BUCKETS];
}

static struct request *find(struct px_http *h, uint64_t id)
{
	for (struct request *r = *bucket_of(h, id); r; r = r->next)
		if (r->id == id && !r->cancelled)
			return r;
	return NULL;
}

/* The transfer is over. The request may go on with another. */
static void hang_up(struct request *r)
{
	if (r->easy) {
		curl_multi_remove_handle(r->h->multi, r->easy);
		curl_easy_cleanup(r->easy);
	}
	r->easy = NULL;
	if (r->authorization)
		explicit_bzero(r->authorization, strlen(r->authorization));
	free(r->authorization);
	r->authorization = NULL;
}

static void drop(struct request *r)
{
	struct request **at = bucket_of(r->h, r->id);

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	if (r->unstarted)
		r->h->unstarted--;
	else if (!r->easy && r->h->kerberos)
		px_kerberos_cancel(r->h->kerberos, r->id);
	hang_up(r);
	if (r->form && r->wire.body.data) /* the password is in it */
		explicit_bzero(r->wire.body.data, r->wire.body.cap);
	px_wire_free(&r->wire);
	px_head_free(&r->head);
	free(r->affinity);
	free(r);
}

/* ---- the certificate in words ---- */

/* The names a client may use for it: what the operator has to compare with the URL. */
static void names_of(X509 *cert, char *out, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t len = 0;

	out[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && len < size; i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const ASN1_STRING *s = name->d.ia5;
		char ip[INET6_ADDRSTRLEN] = "";

		if (name->type == GEN_DNS) {
			len += (size_t)snprintf(out + len, size - len, "%s%.*s", len ? ", " : "",
			                        ASN1_STRING_length(s), ASN1_STRING_get0_data(s));
		} else if (name->type == GEN_IPADD) {
			inet_ntop(ASN1_STRING_length(s) == 4 ? AF_INET : AF_INET6,
			          ASN1_STRING_get0_data(s), ip, sizeof ip);
			len += (size_t)snprintf(out + len, size - len, "%s%s", len ? ", " : "", ip);
		}
	}
	GENERAL_NAMES_free(names);
	if (len >= size)
		memcpy(out + size - 4, "...", 4);
	if (len == 0)
		X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, out,
		                          (int)size);
}

static int certificate_digest(const X509 *cert, unsigned char *out, unsigned *n)
{
	int md = NID_undef;

	/* RFC 5929 section 4.1: the hash that signed it, but none weaker than SHA-256 */
	OBJ_find_sigid_algs(X509_get_signature_nid(cert), &md, NULL);
	if (md == NID_md5 || md == NID_sha1 || !EVP_get_digestbynid(md))
		md = NID_sha256;
	return X509_digest(cert, EVP_get_digestbynid(md), out, n);
}

/* The server's own certificate is good as far as its chain goes: a token may be bound to it. */
static void remember_end_point(struct gateway *g, const X509 *cert)
{
	static const char prefix[] = "tls-server-end-point:";
	const size_t from = sizeof prefix - 1;
	unsigned char it[PX_KERBEROS_BINDING_MAX];
	unsigned n = 0;

	_Static_assert(sizeof prefix - 1 + EVP_MAX_MD_SIZE <= PX_KERBEROS_BINDING_MAX, "too long");
	memcpy(it, prefix, from);
	if (!certificate_digest(cert, it + from, &n))
		return;
	if (g->end_point_len == from + n && memcmp(g->end_point, it, from + n) == 0)
		return;
	memcpy(g->end_point, it, from + n);
	g->end_point_len = from + n;
	g->certificates++;
}

static void day_of(const ASN1_TIME *t, char out[16])
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm) || !strftime(out, 16, "%Y-%m-%d", &tm))
		snprintf(out, 16, "?");
}

static struct px_wall moment_of(const ASN1_TIME *t)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(t, &tm))
		return (struct px_wall){0};
	return (struct px_wall){(int64_t)timegm(&tm) * 1000};
}

/* What comes from outside, fit for a line of text. */
static void shown(char *text)
{
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* OpenSSL's word on each certificate of a chain, the server's own last: heard, not changed. */
static int certificate_checked(int ok, X509_STORE_CTX *x)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	struct px_http *h = SSL_CTX_get_ex_data(ctx, ex_http);
	/* by id: a server may ask for a new handshake when the request that made the connection is
	 * long gone */
	struct request *r = find(h, (uint64_t)(uintptr_t)SSL_CTX_get_ex_data(ctx, ex_id));
	X509 *cert = X509_STORE_CTX_get_current_cert(x), *own = X509_STORE_CTX_get0_cert(x);
	char subject[48] = "", issuer[48] = "", names[88], from[16], until[16];

	if (!r || !cert || !own || r->distrusted)
		return ok;
	snprintf(r->peer.tls, sizeof r->peer.tls, "%s", SSL_get_version(ssl));
	if (ok && X509_STORE_CTX_get_error_depth(x) > 0)
		return ok;
	names_of(own, names, sizeof names);
	if (!names[0])
		snprintf(names, sizeof names, "no host at all");
	_Static_assert(sizeof names == sizeof r->peer.names, "they are the same");
	memcpy(r->peer.names, names, sizeof names);
	shown(r->peer.names);
	r->peer.expires = moment_of(X509_get0_notAfter(own));
	if (ok) {
		remember_end_point(r->gateway, own);
		snprintf(r->certificate, sizeof r->certificate, "the certificate is for %s", names);
		return ok;
	}
	r->distrusted = X509_STORE_CTX_get_error(x) == X509_V_ERR_CERT_HAS_EXPIRED ||
	                        X509_STORE_CTX_get_error(x) == X509_V_ERR_CERT_NOT_YET_VALID
	                    ? PX_TLS_TIME
	                    : PX_TLS_CHAIN;
	X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof subject);
	X509_NAME_oneline(X509_get_issuer_name(cert), issuer, sizeof issuer);
	day_of(X509_get0_notBefore(cert), from);
	day_of(X509_get0_notAfter(cert), until);
	/* shortest first: the end may be cut */
	if (X509_cmp(cert, own) == 0)
		snprintf(r->certificate, sizeof r->certificate,
		         "for %s, valid %s to %s, issued by %s", names, from, until, issuer);
	else
		snprintf(r->certificate, sizeof r->certificate,
		         "for %s, whose issuer %s is valid %s to %s, issued by %s", names, subject,
		         from, until, issuer);
	return ok;
}

/* ---- libcurl's callbacks ---- */

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *arg)
{
	struct request *r = arg;
	SSL_CTX *ctx = ssl_ctx;

	(void)easy;
	/* one store for all connections to this gateway: libcurl's own cache holds one file only */
	SSL_CTX_set1_cert_store(ctx, r->gateway->trusted);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_ex_data(ctx, ex_http, r->h);
	SSL_CTX_set_ex_data(ctx, ex_id, (void *)(uintptr_t)r->id);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, certificate_checked);
	return CURLE_OK;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct request *r = arg;
	int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);

	(void)purpose;
	/* a family that this host hasn't got is as good as unreachable; the rest is our own trouble
	 */
	if (fd < 0 && errno != EAFNOSUPPORT)
		r->no_socket = true;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg)
{
	struct request *r = arg;

	if (!px_head_line(&r->head, bytes, size * n)) {
		r->over = PX_HEAD_MAX;
		return 0;
	}
	if (r->form)
		px_forms_header(&r->gateway->forms, bytes, size * n);
	return size * n;
}

/*
 * The body is handed over in pieces: given as a whole, libcurl keeps a copy of it (64 KiB of a stream's request) until the answer ends, which
 * for a stream is half an hour later.
 */
static size_t on_read(char *to, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	size_t left = r->wire.body.len - r->sent;

	if (left > size * n)
		left = size * n;
	if (left > 0)
		memcpy(to, r->wire.body.data + r->sent, left);
	r->sent += left;
	return left;
}

/* libcurl begins anew: on another connection, or with another message of NTLM. */
static int on_seek(void *arg, curl_off_t to, int origin)
{
	struct request *r = arg;

	if (origin != SEEK_SET || to < 0 || (uint64_t)to > r->wire.body.len)
		return CURL_SEEKFUNC_FAIL;
	r->sent = (size_t)to;
	return CURL_SEEKFUNC_OK;
}

/* Answers about the login, whose bodies nobody reads, and after which the request may be sent once more. */
static bool about_login(const struct request *r)
{
	char *to = NULL;
	long status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (r->form || status == 401)
		return true;
	curl_easy_getinfo(r->easy, CURLINFO_REDIRECT_URL, &to);
	return r->gateway->forms_root && px_forms_wanted((int)status, to);
}

static size_t on_data(char *bytes, size_t size, size_t n, void *arg)
{
	struct request *r = arg;
	bool login;

	if (r->cancelled)
		return 0;
	r->got += (int64_t)n;
	login = about_login(r);
	if (login && r->got <= REFUSAL_MAX)
		return size * n; /* the body may be needed once more */
	if (login || (r->ceiling > 0 && r->got > r->ceiling)) {
		r->over = login ? REFUSAL_MAX : r->ceiling;
		return 0;
	}
	if (r->sent == r->wire.body.len) {
		/* no more questions will be asked: the answer's body has begun */
		px_buf_free(&r->wire.body);
		r->sent = 0;
	}
	r->h->data(r->h->arg, r->id, bytes, n);
	return r->cancelled ? 0 : size * n;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct px_http *h = arg;
	struct epoll_event ev = {.data.fd = fd};

	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (what & CURL_POLL_IN)
		ev.events |= EPOLLIN;
	if (what & CURL_POLL_OUT)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(h->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) < 0)
		return -1;
	curl_multi_assign(h->multi, fd, h);
	return 0;
}

static void arm(struct px_http *h, long ms)
{
	struct itimerspec t = {0};

	if (ms >= 0) {
		t.it_value.tv_sec = ms / 1000;
		t.it_value.tv_nsec = ms % 1000 * 1000000 + 1; /* all 0 would disarm it */
	}
	timerfd_settime(h->timer, 0, &t, NULL);
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
	struct px_http *h = arg;

	(void)multi;
	arm(h, h->unstarted ? 0 : ms);
	return 0;
}

/* ---- the end of a request ---- */

/* Were we still on the way to a connection? libcurl calls every lapse of time the same. */
static enum px_http_fail timed_out(struct request *r)
{
	curl_off_t resolved = 0, ready = 0;
	long made = 0, status = 0;

	curl_easy_getinfo(r->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	curl_easy_getinfo(r->easy, CURLINFO_APPCONNECT_TIME_T, &ready);
	curl_easy_getinfo(r->easy, CURLINFO_NUM_CONNECTS, &made);
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	if (status > 0 || ready > 0)
		return PX_HTTP_TIMEOUT;
	if (resolved == 0)
		return PX_HTTP_RESOLVE;
	return made == 0 ? PX_HTTP_TIMEOUT : PX_HTTP_CONNECT;
}

static enum px_http_fail fail_of(struct request *r, CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		/* libcurl takes an answer that ends in the middle of its headers for a good one */
		return r->head.whole ? PX_HTTP_ANSWERED : PX_HTTP_CUT;
	case CURLE_COULDNT_RESOLVE_HOST:
		return PX_HTTP_RESOLVE;
	case CURLE_COULDNT_CONNECT:
		return r->no_socket ? PX_HTTP_LOCAL : PX_HTTP_CONNECT;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
		return PX_HTTP_TLS;
	case CURLE_OPERATION_TIMEDOUT:
		return timed_out(r);
	case CURLE_WRITE_ERROR: /* ours: nothing else in the callbacks refuses */
		return PX_HTTP_TOO_BIG;
	case CURLE_OUT_OF_MEMORY:
	case CURLE_FAILED_INIT:
	case CURLE_BAD_FUNCTION_ARGUMENT:
		return PX_HTTP_LOCAL;
	default: /* SEND, RECV, GOT_NOTHING, PARTIAL_FILE, not HTTP at all ... */
		return r->over > 0 ? PX_HTTP_TOO_BIG : PX_HTTP_CUT;
	}
}

static enum px_tls_fault tls_fault(const struct request *r, CURLcode code)
{
	if (r->distrusted)
		return r->distrusted;
	return code == CURLE_PEER_FAILED_VERIFICATION ? PX_TLS_NAME : PX_TLS_PROTOCOL;
}

static void say_detail(struct request *r, CURLcode code, enum px_http_fail fail, char *out,
                       size_t size)
{
	long system_error = 0;

	switch (fail) {
	case PX_HTTP_TOO_BIG:
		snprintf(out, size, "answer over %lld bytes, ended by us", (long long)r->over);
		break;
	case PX_HTTP_CONNECT:
		curl_easy_getinfo(r->easy, CURLINFO_OS_ERRNO, &system_error);
		if (code == CURLE_COULDNT_CONNECT && system_error != 0)
			snprintf(out, size, "%s", strerror((int)system_error));
		else
			snprintf(out, size, "%s",
			         r->error[0] ? r->error : curl_easy_strerror(code));
		break;
	case PX_HTTP_CUT:
		if (code == CURLE_OK) {
			snprintf(out, size, "connection closed in the middle of the headers");
			break;
		}
		/* fall through */
	default:
		snprintf(out, size, "%s%s%s", r->error[0] ? r->error : curl_easy_strerror(code),
		         code == CURLE_PEER_FAILED_VERIFICATION && r->certificate[0] ? ": " : "",
		         code == CURLE_PEER_FAILED_VERIFICATION ? r->certificate : "");
		/* OpenSSL's word for what it, or the server, doesn't want to speak */
		if (strstr(out, "alert protocol version") || strstr(out, "unsupported protocol"))
			snprintf(out, size, "the server speaks only TLS that tls_min forbids (%s)",
			         r->error);
	}
	shown(out);
}

/* A login that was refused, in words. */
static void say_refused(const struct request *r, char *out, size_t size)
{
	const struct gateway *g = r->gateway;
	char offered[64];

	px_auth_offer_text(g->auth.offered, offered, sizeof offered);
	if (r->method == PX_METHOD_ASK)
		snprintf(out, size, "no credentials were sent, offered: %s", offered);
	else
		snprintf(out, size, "by %s, offered: %s%s%s", px_method_name(r->method), offered,
		         g->why[0] ? "; " : "", g->why);
}

/* Content-Type in lower case and without parameters. */
static const char *type_of(struct request *r, char *out, size_t size)
{
	const char *type = NULL;
	size_t n = 0;

	curl_easy_getinfo(r->easy, CURLINFO_CONTENT_TYPE, &type);
	if (!type)
		return NULL;
	while (n < size - 1 && type[n] > ' ' && type[n] <= '~' && type[n] != ';') {
		out[n] = (char)tolower((unsigned char)type[n]);
		n++;
	}
	out[n] = '\0';
	return n > 0 ? out : NULL;
}

static void log_in(struct request *r);

/* As if nothing of it had been answered yet. */
static void begin_anew(struct request *r)
{
	hang_up(r);
	px_head_free(&r->head);
	r->sent = 0;
	r->got = r->over = 0;
	log_in(r);
}

/* A form is wanted. True: the request goes on with one. False: its answer is *status. */
static bool log_in_by_form(struct request *r, int *status)
{
	const enum px_method used = r->method;
	struct gateway *g = r->gateway;
	const bool forms = used == PX_METHOD_FORMS;

	/* a login that ended after this was sent speaks for it, too */
	if (r->session != g->forms.logins && g->forms.last != PX_FORMS_DONE) {
		*status = g->forms.last == PX_FORMS_REFUSED ? 401 : 440;
		return false;
	}
	if (forms && r->session == g->forms.logins && g->forms.state == PX_FORMS_IN)
		px_forms_end(&g->forms); /* the first to see that the session has ended says so */
	if (forms && ++r->sessions > FORM_AGAIN) {
		snprintf(g->why, sizeof g->why, "no session lasts for one request");
		*status = 401;
		return false;
	}
	if (!forms && (r->logins == LOGINS_MAX ||
	               !px_auth_refused(&g->auth, used, r->tried, PX_OFFER(PX_METHOD_FORMS),
	                                px_loop_now(r->h->loop), &r->method)))
		return false;
	begin_anew(r);
	return true;
}

/* A 401 came. True: the request goes on by another method. */
static bool log_in_again(struct request *r)
{
	struct gateway *g = r->gateway;
	const enum px_method used = r->method;
	unsigned offered = 0, tried = r->tried;
	long seen = 0;

	curl_easy_getinfo(r->easy, CURLINFO_HTTPAUTH_AVAIL, &seen);
	offered |= seen & CURLAUTH_NEGOTIATE ? PX_OFFER(PX_METHOD_NEGOTIATE) : 0;
	offered |= seen & CURLAUTH_NTLM ? PX_OFFER(PX_METHOD_NTLM) : 0;
	offered |= seen & CURLAUTH_BASIC ? PX_OFFER(PX_METHOD_BASIC) : 0;
	if (!r->h->account) {
		g->auth.offered = offered;
		return false;
	}
	if (used == PX_METHOD_NEGOTIATE) {
		snprintf(g->why, sizeof g->why, "the server refuses the ticket");
		/* bound to a certificate that the server doesn't have any more? */
		if (r->bound != g->certificates)
			tried &= ~PX_OFFER(used);
	}
	if (!px_auth_refused(&g->auth, used, tried, offered, px_loop_now(r->h->loop), &r->method) ||
	    r->logins == LOGINS_MAX) {
		r->method = used;
		return false;
	}
	begin_anew(r);
	return true;
}

/* Told once for each change, when the login is known to work. */
static void say_login(struct gateway *g, enum px_method m)
{
	char offered[64];

	if (m == g->told || m != g->auth.method)
		return;
	g->told = m;
	if (m == PX_METHOD_NEGOTIATE || m == PX_METHOD_FORMS)
		g->why[0] = '\0';
	px_log(PX_LOG_NOTICE, "gateway=%s login=%s offered=\"%s\"%s%s%s", g->name,
	       px_method_name(m), px_auth_offer_text(g->auth.offered, offered, sizeof offered),
	       g->why[0] ? " why=\"" : "", g->why, g->why[0] ? "\"" : "");
}

static void forms_over(struct gateway *g, struct px_http *h, const struct px_http_answer *a);

/* The end, with an answer that is nobody's but ours. */
static void finish_by_us(struct request *r, enum px_http_fail fail, int status, const char *detail)
{
	const struct px_http_answer a = {.fail = fail,
	                                 .status = status,
	                                 .asks_login = status == 401,
	                                 .retry_after_ms = -1,
	                                 .detail = detail};
	struct gateway *g = r->gateway;
	struct px_http *h = r->h;
	const bool form = r->form;
	uint64_t id = r->id;

	drop(r);
	if (form) {
		px_forms_failed(&g->forms);
		forms_over(g, h, &a);
	} else {
		h->done(h->arg, id, &a);
	}
}

/* ---- login by form ---- */

/* Whoever waits for the gateway's login by form. */
static struct request *waiting_at(struct px_http *h, const struct gateway *g)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct request *r = h->bucket[i]; r; r = r->next)
			if (r->gateway == g && r->method == PX_METHOD_FORMS && !r->easy &&
			    !r->unstarted && !r->form)
				return r;
	return NULL;
}

/* It failed: all who wait end like this. */
static void forms_over(struct gateway *g, struct px_http *h, const struct px_http_answer *a)
{
	for (struct request *r; (r = waiting_at(h, g));) {
		uint64_t id = r->id;

		drop(r);
		h->done(h->arg, id, a);
	}
}

static void ask_form(struct px_http *h, struct gateway *g, bool post);

/* The transfer of a login has ended. */
static void form_answered(struct request *f, CURLcode code)
{
	struct px_http *h = f->h;
	struct gateway *g = f->gateway;
	struct px_http_answer a = {.fail = fail_of(f, code), .retry_after_ms = -1};
	char detail[CURL_ERROR_SIZE + PX_DETAIL_MAX + 80], why[PX_FORMS_WHY];
	struct px_head head = f->head;
	long status = 0;
	char *to = NULL;

	curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(f->easy, CURLINFO_REDIRECT_URL, &to);
	if (a.fail == PX_HTTP_TOO_BIG && status > 0 && f->head.whole)
		a.fail = PX_HTTP_ANSWERED; /* its body means nothing */
	if (a.fail != PX_HTTP_ANSWERED) {
		say_detail(f, code, a.fail, detail, sizeof detail);
		a.detail = detail;
		drop(f);
		px_forms_failed(&g->forms);
		forms_over(g, h, &a);
		return;
	}
	const bool finding = g->forms.state == PX_FORMS_FINDING;
	const enum px_forms_next next = px_forms_answered(&g->forms, (int)status, to, why);

	f->head = px_head(NULL);
	drop(f);
	a.detail = why;
	a.head = head.lines.data;
	switch (next) {
	case PX_FORMS_GET:
	case PX_FORMS_POST:
		ask_form(h, g, next == PX_FORMS_POST);
		break;
	case PX_FORMS_DONE:
		say_login(g, PX_METHOD_FORMS);
		for (struct request *r; (r = waiting_at(h, g));)
			log_in(r);
		break;
	case PX_FORMS_REFUSED:
		snprintf(g->why, sizeof g->why, "%s", why);
		a.status = 401;
		a.asks_login = true;
		forms_over(g, h, &a);
		break;
	case PX_FORMS_GIVEN_UP:
		snprintf(g->why, sizeof g->why, "%s", why);
		if (finding &&
		    status == 401) { /* forms were switched off: ask again what is offered */
			g->auth.method = PX_METHOD_ASK;
			for (struct request *r; (r = waiting_at(h, g));) {
				r->method = PX_METHOD_ASK;
				r->tried = 0;
				log_in(r);
			}
			break;
		}
		a.status = status >= 500 ? (int)status : 440;
		forms_over(g, h, &a);
		break;
	}
	px_head_free(&head);
}

static void finish(struct request *r, CURLcode code)
{
	struct px_http *h = r->h;
	struct px_http_answer a = {.fail = fail_of(r, code), .retry_after_ms = -1};
	char detail[CURL_ERROR_SIZE + PX_DETAIL_MAX + 80], type[64];
	curl_off_t retry_after = 0;
	char *local = NULL;
	long status = 0, offered = 0;
	uint64_t id = r->id;
	bool form;

	if (r->cancelled) {
		drop(r);
		return;
	}
	curl_easy_getinfo(r->easy, CURLINFO_LOCAL_IP, &local);
	if (local && *local)
		snprintf(h->local, sizeof h->local, "%s", local);
	if (r->form) {
		form_answered(r, code);
		return;
	}
	curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &retry_after);
	a.status = (int)status;
	form = (a.fail == PX_HTTP_ANSWERED || r->over) && status > 0 && status != 401 &&
	       about_login(r);
	if (form)
		a.fail = PX_HTTP_ANSWERED;
	if (form && h->account && log_in_by_form(r, &a.status))
		return;
	if (a.fail == PX_HTTP_ANSWERED && status == 401 && log_in_again(r))
		return;
	if (retry_after > 0)
		a.retry_after_ms =
		    (retry_after < RETRY_AFTER_MAX_S ? retry_after : RETRY_AFTER_MAX_S) * 1000;
	a.type = type_of(r, type, sizeof type);
	if (a.fail == PX_HTTP_TLS)
		a.tls = tls_fault(r, code);
	struct px_http_peer peer = r->peer;
	const char *address = NULL;

	if (curl_easy_getinfo(r->easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address)
		snprintf(peer.address, sizeof peer.address, "%s", address);
	a.peer = &peer;
	if (a.fail != PX_HTTP_ANSWERED) {
		say_detail(r, code, a.fail, detail, sizeof detail);
		a.detail = detail;
	} else if (form && !h->account) {
		a.asks_login = true;
		a.detail = "offered: a logon form";
	} else if (form) {
		a.asks_login = a.status == 401;
		a.detail = r->gateway->why;
	} else if (status == 401) {
		curl_easy_getinfo(r->easy, CURLINFO_HTTPAUTH_AVAIL, &offered);
		a.asks_login = offered != 0;
		say_refused(r, detail, sizeof detail);
		a.detail = detail;
	} else {
		say_login(r->gateway, r->method);
	}
	struct px_head head = r->head; /* outlives the request for its last word */

	a.cookie = head.cookie;
	a.head = head.lines.data;
	peer.date = head.date;
	r->head = px_head(NULL);
	drop(r);
	h->done(h->arg, id, &a);
	px_head_free(&head);
}

static struct request *first_unstarted(struct px_http *h)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct request *r = h->bucket[i]; r; r = r->next)
			if (r->unstarted)
				return r;
	return NULL;
}

static void finish_unstarted(struct px_http *h)
{
	for (unsigned n = h->unstarted; n > 0 && h->unstarted > 0; n--)
		finish_by_us(first_unstarted(h), PX_HTTP_LOCAL, 0,
		             "out of memory, or a request too long");
}

static void sweep(struct px_http *h)
{
	h->sweep = false;
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct request *next;

		for (struct request *r = h->bucket[i]; r; r = next) {
			next = r->next;
			if (r->cancelled)
				drop(r);
		}
	}
}

static void ready(void *arg)
{
	struct px_http *h = arg;
	struct epoll_event ev[EVENTS];
	int n = epoll_wait(h->epoll, ev, EVENTS, 0), running, left;
	CURLMsg *msg;

	h->inside = true;
	for (int i = 0; i < n; i++) {
		int what = 0;

		if (ev[i].data.fd == h->timer) {
			uint64_t times;

			if (read(h->timer, &times, sizeof times) == sizeof times)
				curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0,
				                         &running);
			continue;
		}
		if (ev[i].events & EPOLLIN)
			what |= CURL_CSELECT_IN;
		if (ev[i].events & EPOLLOUT)
			what |= CURL_CSELECT_OUT;
		if (ev[i].events & (EPOLLERR | EPOLLHUP))
			what |= CURL_CSELECT_ERR;
		curl_multi_socket_action(h->multi, ev[i].data.fd, what, &running);
	}
	h->inside = false;
	if (h->sweep)
		sweep(h);
	while ((msg = curl_multi_info_read(h->multi, &left))) {
		struct request *r;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &r);
		finish(r, msg->data.result);
	}
	if (h->unstarted)
		finish_unstarted(h);
}

/* ---- what the engine asks for ---- */

static bool prepare(struct request *r, int64_t timeout_ms)
{
	static const long version[] = {[10] = CURL_SSLVERSION_TLSv1_0,
	                               [11] = CURL_SSLVERSION_TLSv1_1,
	                               [12] = CURL_SSLVERSION_TLSv1_2,
	                               [13] = CURL_SSLVERSION_TLSv1_3};
	struct px_http *h = r->h;
	struct curl_slist *headers = r->headers[0].data ? r->headers : h->headers;
	const char *method = r->wire.method;
	CURL *c = r->easy = curl_easy_init();
	CURLcode e = CURLE_OK;

	if (!c)
		return false;
#define SET(option, value) (e = e ? e : curl_easy_setopt(c, CURLOPT_##option, value))
	SET(PRIVATE, r);
	SET(ERRORBUFFER, r->error);
	SET(URL, r->wire.target.len ? r->wire.target.data : r->gateway->url);
	SET(PROTOCOLS_STR, "https");
	SET(PROXY, ""); /* none, whatever the environment says */
	SET(FOLLOWLOCATION, 0L);
	SET(HTTP_VERSION, CURL_HTTP_VERSION_1_1);
	if (r->authorization)
		r->login = (struct curl_slist){r->authorization, headers};
	SET(HTTPHEADER, r->authorization ? &r->login : headers);
	SET(USERAGENT, "pua_exchange/" PX_VERSION);
	if (strcmp(method, "GET") == 0) {
		SET(HTTPGET, 1L);
	} else {
		SET(POST, 1L);
		SET(POSTFIELDSIZE_LARGE, (curl_off_t)r->wire.body.len);
		SET(CUSTOMREQUEST, strcmp(method, "POST") == 0 ? NULL : method);
	}
	SET(UPLOAD_BUFFERSIZE, 16384L);
	SET(BUFFERSIZE, r->ceiling ? 16384L : 4096L);

	if (r->method == PX_METHOD_NTLM || r->method == PX_METHOD_BASIC) {
		SET(HTTPAUTH, r->method == PX_METHOD_NTLM ? CURLAUTH_NTLM : CURLAUTH_BASIC);
		SET(USERNAME, h->account);
		SET(PASSWORD, h->password);
	}

	SET(SSL_VERIFYPEER, 1L);
	SET(SSL_VERIFYHOST, 2L);
	SET(CAINFO, NULL); /* on_ssl_ctx brings its own */
	SET(CAPATH, NULL);
	SET(CA_CACHE_TIMEOUT, 0L); /* or it takes the first gateway's store for everybody's */
	SET(SSLVERSION, version[r->gateway->tls_min]);
	if (r->gateway->tls_min < 12)
		SET(SSL_CIPHER_LIST, "DEFAULT@SECLEVEL=0");
	if (r->gateway->changed_at.ms != 0) {
		const struct px_now now = px_loop_now(h->loop);
		const int64_t age_s = (now.mono.ms - r->gateway->changed_at.ms) / 1000;

		/* libcurl knows neither our stores nor when they changed, and counts whole seconds */
		SET(FRESH_CONNECT, age_s < 2 ? 1L : 0L);
		SET(MAXLIFETIME_CONN, age_s < 2 ? 1L : (long)age_s - 1);
	}
	SET(SSL_SESSIONID_CACHE, 0L); /* it would be kept by this handle alone */
	SET(SSL_CTX_FUNCTION, on_ssl_ctx);
	SET(SSL_CTX_DATA, r);

	SET(NOSIGNAL, 1L);
	SET(QUICK_EXIT, 1L); /* a dead DNS server holds nobody but the request */
	SET(CONNECTTIMEOUT_MS, CONNECT_MS);
	SET(TIMEOUT_MS, (long)timeout_ms);
	SET(TCP_KEEPALIVE, 1L);
	SET(TCP_KEEPIDLE, 30L);
	SET(TCP_KEEPINTVL, 15L);
	SET(OPENSOCKETFUNCTION, on_open_socket);
	SET(OPENSOCKETDATA, r);
	SET(HEADERFUNCTION, on_header);
	SET(HEADERDATA, r);
	SET(READFUNCTION, on_read);
	SET(READDATA, r);
	SET(SEEKFUNCTION, on_seek);
	SET(SEEKDATA, r);
	SET(WRITEFUNCTION, on_data);
	SET(WRITEDATA, r);
#undef SET
	return e == CURLE_OK && curl_multi_add_handle(h->multi, c) == CURLM_OK;
}

static void leave_unstarted(struct request *r)
{
	r->unstarted = true;
	r->h->unstarted++;
	arm(r->h, 0);
}

static void dial(struct request *r)
{
	const struct px_now now = px_loop_now(r->h->loop);
	int64_t left = 0;

	if (r->late_at.ms != 0)
		left = r->late_at.ms > now.mono.ms ? r->late_at.ms - now.mono.ms : 1;
	if (prepare(r, left))
		return;
	curl_easy_cleanup(r->easy);
	r->easy = NULL;
	leave_unstarted(r);
}

static void add(struct px_http *h, struct request *r)
{
	r->h = h;
	r->head = px_head(h->heads);
	r->next = *bucket_of(h, r->id);
	*bucket_of(h, r->id) = r;
}

/* One step of a gateway's login by form: a request that nobody but us waits for. Its id is beyond those of the engine. */
static void ask_form(struct px_http *h, struct gateway *g, bool post)
{
	static char type[] = "Content-Type: application/x-www-form-urlencoded",
	            cookie[] = "Cookie: " PX_FORMS_COOKIE;
	struct request *f = calloc(1, sizeof *f);
	struct px_buf destination = px_buf_new(4096);

	if (!f)
		abort(); /* as for any request */
	*f = (struct request){.id = UINT64_MAX - (uint64_t)g->place,
	                      .gateway = g,
	                      .method = PX_METHOD_ASK,
	                      .form = true,
	                      .ceiling = REFUSAL_MAX,
	                      .late_at = px_after(px_loop_now(h->loop), FORM_MS),
	                      .wire = px_wire_new()};
	add(h, f);
	f->wire.method = post ? "POST" : "GET";
	px_buf_add(&f->wire.target, g->url, g->origin);
	px_buf_str(&f->wire.target, g->forms.path);
	if (post) {
		px_buf_add(&destination, g->url, g->origin);
		px_buf_str(&destination, g->forms_root);
		px_forms_body(&f->wire.body, destination.data ? destination.data : "", h->account,
		              h->password);
		f->headers[0] = (struct curl_slist){type, &f->headers[1]};
		f->headers[1] = (struct curl_slist){cookie, h->headers};
	}
	px_buf_free(&destination);
	if (f->wire.target.failed || f->wire.body.failed)
		leave_unstarted(f);
	else
		dial(f);
}

/* With the cookies of its gateway's session; if there is none it waits for one. */
static void log_in_with_session(struct request *r)
{
	struct gateway *g = r->gateway;

	if (g->forms.state == PX_FORMS_IN) {
		r->session = g->forms.logins;
		if (asprintf(&r->authorization, "Cookie: %s", g->forms.cookies.data) < 0)
			abort();
		dial(r);
		return;
	}
	if (g->forms.state == PX_FORMS_OUT) {
		px_forms_begin(&g->forms, g->forms_root);
		ask_form(r->h, g, false);
	}
}

/* Sends the request by its method, now or when there is a ticket or a session for it. */
static void log_in(struct request *r)
{
	const struct px_now now = px_loop_now(r->h->loop);
	struct gateway *g = r->gateway;
	const unsigned others = PX_OFFER(PX_METHOD_NTLM) | PX_OFFER(PX_METHOD_BASIC);
	int64_t wait = TICKET_MS;

	r->tried |= PX_OFFER(r->method);
	if (r->method == PX_METHOD_FORMS) {
		log_in_with_session(r);
		return;
	}
	r->logins++;
	if (r->method != PX_METHOD_NEGOTIATE) {
		dial(r);
		return;
	}
	if (g->auth.setting == PX_AUTH_AUTO && (g->auth.offered & others & ~r->tried))
		wait = TICKET_FIRST_MS;
	if (r->late_at.ms != 0 && r->late_at.ms - now.mono.ms < wait)
		wait = r->late_at.ms > now.mono.ms ? r->late_at.ms - now.mono.ms : 0;
	r->bound = g->certificates;
	px_kerberos_ask(r->h->kerberos, g->place, r->id, g->end_point, g->end_point_len, wait);
}

static void on_ticket(void *arg, unsigned host, uint64_t id, const struct px_ticket_answer *t)
{
	struct px_http *h = arg;
	struct gateway *g = h->gateway[host];
	struct request *r = id == PX_KERBEROS_NOBODY ? NULL : find(h, id);
	char why[PX_DETAIL_MAX];

	if (!r) {
		if (t->ticket == PX_TICKET_MADE)
			px_auth_has_ticket(&g->auth);
		return;
	}
	if (t->ticket == PX_TICKET_MADE) {
		if (asprintf(&r->authorization, "Authorization: Negotiate %s", t->token) < 0)
			abort(); /* as for the request itself */
		dial(r);
		return;
	}
	snprintf(why, sizeof why, "no Kerberos ticket: %s", t->why);
	if (px_auth_no_ticket(&g->auth, r->tried, px_loop_now(h->loop), &r->method)) {
		memcpy(g->why, why, sizeof why);
		log_in(r);
	} else if (t->ticket == PX_TICKET_REFUSED) {
		finish_by_us(r, PX_HTTP_ANSWERED, 401, why);
	} else {
		finish_by_us(r, t->ticket == PX_TICKET_NO_HOST ? PX_HTTP_CONNECT : PX_HTTP_LOCAL, 0,
		             why);
	}
}

/* Its own header lines become a list, in place, before the common one. */
static bool add_lines(struct request *r, const char *cookie)
{
	unsigned n = 0;

	for (char *line = r->wire.head.data, *end; line && *line; line = end + 2) {
		end = strstr(line, "\r\n");
		if (!end || n == LINES_MAX - 1)
			return false;
		*end = '\0';
		r->headers[n++].data = line;
	}
	if (cookie && cookie[0] && !strpbrk(cookie, "\r\n")) {
		if (asprintf(&r->affinity, "Cookie: %s", cookie) < 0) {
			r->affinity = NULL;
			return false;
		}
		r->headers[n++].data = r->affinity;
	}
	for (unsigned i = 0; i < n; i++)
		r->headers[i].next = i + 1 < n ? &r->headers[i + 1] : r->h->headers;
	return true;
}

/* Where it goes: at the gateway, and nowhere else. */
static bool add_target(struct request *r)
{
	struct px_buf *target = &r->wire.target, url = px_buf_new(target->ceiling + 4096);

	if (!target->len)
		return true;
	for (size_t i = 0; i < target->len; i++)
		if (target->data[i] <= ' ' || target->data[i] > '~')
			return false;
	px_buf_add(&url, r->gateway->url, r->gateway->origin);
	px_buf_add(&url, target->data, target->len);
	px_buf_free(target);
	*target = url;
	return url.len > 0 && !url.failed && url.data[r->gateway->origin] == '/';
}

void px_http_start(struct px_http *h, uint64_t id, int gateway, struct px_wire *wire,
                   const char *cookie, int64_t timeout_ms, int64_t ceiling)
{
	const struct px_now now = px_loop_now(h->loop);
	struct request *r = calloc(1, sizeof *r);

	assert(!h->inside);
	assert(gateway >= 0 && (unsigned)gateway < h->gateways && h->gateway[gateway]);
	if (!r)
		abort(); /* without it there is no way to keep the promise of one done() */
	*r = (struct request){.id = id,
	                      .gateway = h->gateway[gateway],
	                      .session = h->gateway[gateway]->forms.logins,
	                      .wire = *wire,
	                      .ceiling = ceiling};
	*wire = px_wire_new();
	add(h, r);
	r->method = r->gateway->auth.method;
	if (r->wire.target.failed || r->wire.head.failed || r->wire.body.failed ||
	    !add_lines(r, cookie) || !add_target(r)) {
		leave_unstarted(r);
		return;
	}
	if (timeout_ms > 0)
		r->late_at = px_after(now, timeout_ms);
	if (h->kerberos && px_auth_try_ticket(&r->gateway->auth, now))
		px_kerberos_ask(h->kerberos, (unsigned)gateway, PX_KERBEROS_NOBODY, NULL, 0,
		                PX_AUTH_AGAIN_MS);
	log_in(r);
}

void px_http_cancel(struct px_http *h, uint64_t id)
{
	struct request *r = find(h, id);

	if (!r)
		return;
	if (h->inside)
		r->cancelled = h->sweep = true;
	else
		drop(r);
}

/* ---- making and ending ---- */

static bool same_file(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The certificates of a file, for the caller to free; NULL: why says it. */
static X509_STORE *load_store(const char *ca_file, char *why)
{
	X509_STORE *store = X509_STORE_new();

	if (!store) {
		snprintf(why, PX_HTTP_WHY, "%s", strerror(ENOMEM));
		return NULL;
	}
	/* as libcurl does: an issuer or server in the file is trusted, though its own root isn't
	 * there */
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	ERR_clear_error();
	if (ca_file ? X509_STORE_load_file(store, ca_file) : X509_STORE_set_default_paths(store))
		return store;
	snprintf(why, PX_HTTP_WHY, "ca_file %s: no certificates could be read from it (%s)",
	         ca_file ? ca_file : "of the system",
	         access(ca_file ? ca_file : "/", R_OK) < 0
	             ? strerror(errno)
	             : ERR_reason_error_string(ERR_peek_last_error()));
	ERR_clear_error();
	X509_STORE_free(store);
	return NULL;
}

static void gateway_free(struct gateway *g)
{
	if (!g)
		return;
	X509_STORE_free(g->trusted);
	px_forms_end(&g->forms);
	free(g->forms_root);
	free(g->url);
	free(g->name);
	free(g->ca_file);
	free(g);
}

/* Is it a URL that may be asked? And whose: *host is to be given to curl_free(). */
static bool host_of(const char *text, char **host)
{
	CURLU *url = curl_url();
	bool good = url && curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
	            strncasecmp(text, "https://", 8) == 0 &&
	            curl_url_get(url, CURLUPART_HOST, host, 0) == CURLUE_OK;

	curl_url_cleanup(url);
	return good;
}

/* Without what it trusts; NULL: why says it. */
static struct gateway *gateway_new(const struct px_http *h, const struct px_http_gateway *from,
                                   char *why)
{
	struct gateway *g = calloc(1, sizeof *g);
	char *host;

	if (!host_of(from->url, &host)) {
		snprintf(why, PX_HTTP_WHY,
		         "gateway %.150s: must be a URL that begins with https://", from->url);
		free(g);
		return NULL;
	}
	curl_free(host);
	if (!g)
		return NULL;
	g->tls_min = from->tls_min;
	g->auth = px_auth_gateway(h->account ? h->auth : PX_AUTH_AUTO);
	g->told = g->auth.method;
	g->url = strdup(from->url);
	g->origin = 8 + strcspn(from->url + 8, "/?#");
	g->name = strdup(from->name ? from->name : from->url);
	g->ca_file = from->ca_file ? strdup(from->ca_file) : NULL;
	/* also without an account: it isn't filled in, but known for what it is */
	const bool forms = from->forms_root && h->auth == PX_AUTH_AUTO;
	g->forms_root = forms ? strdup(from->forms_root) : NULL;
	if (g->url && g->name && (g->ca_file || !from->ca_file) && (g->forms_root || !forms))
		return g;
	gateway_free(g);
	return NULL;
}

static int gateway_room(struct px_http *h, int place)
{
	struct gateway **more = h->gateway;

	if ((unsigned)place < h->gateways)
		return 0;
	more = realloc(more, ((unsigned)place + 1) * sizeof(struct gateway *));
	if (!more)
		return -ENOMEM;
	while (h->gateways <= (unsigned)place)
		more[h->gateways++] = NULL;
	h->gateway = more;
	return 0;
}

/* What is under way at a gateway ends. */
static void cut(struct px_http *h, const struct gateway *g)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct request *r = h->bucket[i], *next; r; r = next) {
			next = r->next;
			if (r->gateway != g || r->cancelled)
				continue;
			if (r->form) { /* nobody but us waits for it */
				drop(r);
				continue;
			}
			finish_by_us(r, PX_HTTP_CUT, 0, "the gateway's settings have changed");
			next = h->bucket[i]; /* done() may have cancelled others */
		}
}

/* Tickets are for the hosts in the gateways' URLs. */
static int ticket_host(struct px_http *h, unsigned place, const char *url)
{
	char *host = NULL;
	int err;

	if (!h->kerberos)
		return 0;
	if (!host_of(url, &host))
		return -EINVAL;
	err = px_kerberos_host(h->kerberos, place, host);
	curl_free(host);
	return err;
}

/* `fresh`: files are read again, whoever else has read them. */
static int put(struct px_http *h, int place, const struct px_http_gateway *from,
               X509_STORE *trusted, bool fresh, char *why)
{
	struct gateway *g, *was;
	int err = gateway_room(h, place);

	if (err < 0)
		return err;
	g = gateway_new(h, from, why);
	if (!g)
		return *why ? -EINVAL : -ENOMEM;
	for (unsigned k = 0; k < h->gateways && !trusted && !fresh; k++)
		if (h->gateway[k] && same_file(h->gateway[k]->ca_file, from->ca_file))
			trusted = h->gateway[k]->trusted;
	if (trusted)
		X509_STORE_up_ref(trusted);
	g->trusted = trusted ? trusted : load_store(from->ca_file, why);
	err = g->trusted ? 0 : -EINVAL;
	was = h->gateway[place];
	if (err == 0 && !was)
		err = ticket_host(h, (unsigned)place, from->url);
	if (err < 0) {
		gateway_free(g);
		return err;
	}
	g->place = (unsigned)place;
	if (fresh)
		g->changed_at = px_loop_now(h->loop).mono;
	if (was) {
		cut(h, was);
		ticket_host(h, (unsigned)place, from->url);
		g->told = was->told;
		gateway_free(was);
	}
	h->gateway[place] = g;
	return 0;
}

int px_http_gateway_put(struct px_http *h, int place, const struct px_http_gateway *g,
                        char why[PX_HTTP_WHY])
{
	int err;

	why[0] = '\0';
	err = put(h, place, g, NULL, true, why);
	if (err < 0 && !why[0])
		snprintf(why, PX_HTTP_WHY, "%s", strerror(-err));
	return err;
}

void px_http_gateway_drop(struct px_http *h, int place)
{
	if ((unsigned)place >= h->gateways)
		return;
	if (h->kerberos)
		px_kerberos_host(h->kerberos, (unsigned)place, NULL);
	if (h->gateway[place])
		cut(h, h->gateway[place]); /* a login at most */
	gateway_free(h->gateway[place]);
	h->gateway[place] = NULL;
}

int px_http_gateway_check(const struct px_http_gateway *g, char why[PX_HTTP_WHY])
{
	X509_STORE *store;
	char *host;

	if (!host_of(g->url, &host)) {
		snprintf(why, PX_HTTP_WHY,
		         "gateway %.150s: must be a URL that begins with https://", g->url);
		return -EINVAL;
	}
	curl_free(host);
	store = load_store(g->ca_file, why);
	X509_STORE_free(store);
	return store ? 0 : -EINVAL;
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

int px_http_login(struct px_http *h, const char *account, const char *password)
{
	char *a, *p;

	if (strcmp(h->account, account) == 0 && strcmp(h->password, password) == 0)
		return 0;
	a = strdup(account);
	p = strdup(password);
	if (!a || !p) {
		free(a);
		wipe(p);
		return -ENOMEM;
	}
	free(h->account);
	wipe(h->password);
	h->account = a;
	h->password = p;
	for (unsigned i = 0; i < h->gateways; i++)
		if (h->gateway[i]) {
			h->gateway[i]->auth = px_auth_gateway(h->auth);
			if (h->gateway[i]->forms.state == PX_FORMS_IN)
				px_forms_end(&h->gateway[i]->forms);
		}
	if (h->kerberos)
		px_kerberos_renew(h->kerberos);
	return 1;
}

/* `like`: whose certificates are trusted there are trusted here; NULL: the files are read. */
static int add_gateways(struct px_http *h, const struct px_http_config *c,
                        const struct px_http *like, char *why)
{
	int err = 0;

	for (unsigned i = 0; i < c->gateways && err == 0; i++)
		if (!like || like->gateway[i])
			err = put(h, (int)i, &c->gateway[i],
			          like ? like->gateway[i]->trusted : NULL, false, why);
	return err;
}

static int add_headers(struct px_http *h)
{
	/* without a value: libcurl's own are left out; no 100-continue */
	const char *const lines[] = {"Expect:", "Content-Type:", "Accept:"};

	for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++) {
		struct curl_slist *more = curl_slist_append(h->headers, lines[i]);

		if (!more)
			return -ENOMEM;
		h->headers = more;
	}
	return 0;
}

static int open_descriptors(struct px_http *h)
{
	struct epoll_event ev = {.events = EPOLLIN};

	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	ev.data.fd = h->timer;
	if (h->epoll < 0 || h->timer < 0 || epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->timer, &ev) < 0)
		return -errno;
	return px_loop_watch(h->loop, h->epoll, ready, h);
}

static int open_http(struct px_http **out, struct px_loop *loop, const struct px_http_config *c,
                     const struct px_http *like, char why[PX_HTTP_WHY])
{
	struct px_http *h = calloc(1, sizeof *h);
	int err;

	why[0] = '\0';
	if (!h)
		return -ENOMEM;
	h->loop = loop;
	h->epoll = h->timer = -1;
	h->heads = c->heads;
	h->data = c->data;
	h->done = c->done;
	h->arg = c->arg;
	h->auth = c->auth;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (ex_http < 0) {
		ex_http = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
		ex_id = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	}
	if (c->account) {
		h->account = strdup(c->account);
		h->password = strdup(c->password);
	}
	h->multi = curl_multi_init();
	err = (!c->account || (h->account && h->password)) && h->multi ? 0 : -ENOMEM;
	if (err == 0 && c->account && (c->auth == PX_AUTH_AUTO || c->auth == PX_AUTH_NEGOTIATE))
		err = px_kerberos_new(&h->kerberos, loop, on_ticket, h);
	if (err == 0)
		err = add_gateways(h, c, like, why);
	if (err == 0)
		err = add_headers(h);
	if (err == 0)
		err = open_descriptors(h);
	if (err < 0) {
		if (!why[0])
			snprintf(why, PX_HTTP_WHY, "%s", strerror(-err));
		px_http_free(h);
		return err;
	}
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
	*out = h;
	return 0;
}

int px_http_new(struct px_http **out, struct px_loop *loop, const struct px_http_config *c,
                char why[PX_HTTP_WHY])
{
	return open_http(out, loop, c, NULL, why);
}

int px_http_like(struct px_http **out, const struct px_http *h, bool anonymous,
                 px_http_data_h *data, px_http_done_h *done, void *arg, char why[PX_HTTP_WHY])
{
	struct px_http_gateway *g = calloc(h->gateways, sizeof *g);
	const struct px_http_config c = {.gateway = g,
	                                 .gateways = h->gateways,
	                                 .account = anonymous ? NULL : h->account,
	                                 .password = h->password,
	                                 .auth = h->auth,
	                                 .heads = h->heads,
	                                 .data = data,
	                                 .done = done,
	                                 .arg = arg};
	int err = -ENOMEM;

	snprintf(why, PX_HTTP_WHY, "%s", strerror(ENOMEM));
	for (unsigned i = 0; g && i < h->gateways; i++)
		if (h->gateway[i])
			g[i] = (struct px_http_gateway){.name = h->gateway[i]->name,
			                                .url = h->gateway[i]->url,
			                                .ca_file = h->gateway[i]->ca_file,
			                                .tls_min = h->gateway[i]->tls_min,
			                                .forms_root = h->gateway[i]->forms_root};
	if (g)
		err = open_http(out, h->loop, &c, h, why);
	free(g);
	return err;
}

const char *px_http_url(const struct px_http *h, unsigned gateway)
{
	return gateway < h->gateways && h->gateway[gateway] ? h->gateway[gateway]->url : NULL;
}

void px_http_free(struct px_http *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < BUCKETS; i++)
		while (h->bucket[i])
			drop(h->bucket[i]);
	px_kerberos_free(h->kerberos);
	curl_multi_cleanup(h->multi);
	if (h->epoll >= 0) {
		px_loop_unwatch(h->loop, h->epoll);
		close(h->epoll);
	}
	if (h->timer >= 0)
		close(h->timer);
	for (unsigned i = 0; i < h->gateways; i++)
		gateway_free(h->gateway[i]);
	free(h->gateway);
	curl_slist_free_all(h->headers);
	free(h->account);
	wipe(h->password);
	free(h);
	curl_global_cleanup();
}

const char *px_http_local(const struct px_http *h)
{
	return h->local[0] ? h->local : NULL;
}
