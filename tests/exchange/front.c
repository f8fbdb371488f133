/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define PATH "/EWS/Exchange.asmx"
#define BODY_MAX (1024 * 1024)
#define OUT_MAX (4 * 1024 * 1024) /* what a stream nobody reads may hold */
#define CONNECTIONS_MAX 20000
#define IDLE_S 120 /* after which IIS closes a connection without a request */
#define CHUNK 32768

struct cas;

/* One TCP connection. */
struct conn {
	struct source source; /* first; tells that the client went away while we were waiting */
	struct cas *cas;
	int fd;
	bool watched, gone;
	struct ask *ask; /* the request that is being answered */
	struct conn *prev, *next;
};

/* One HTTP request. */
struct ask {
	struct cas *cas;
	struct conn *conn;
	struct MHD_Connection *mhd;
	struct buf body;
	struct buf cookie; /* that the answer sets; empty: none */
	struct buf head;   /* more header lines of the answer */
	struct buf ids;    /* all Subscription-id headers of the request */
	bool counted;      /* against EWSMaxConcurrency */
	bool too_big;
	bool suspended;
	bool waited;    /* the delay is over */
	bool hung;      /* waits for its CAS to be healed */
	int64_t due_ms; /* of a delayed request */
	struct stream *stream;
	struct buf plain; /* an answer that isn't sent as a whole */
	struct wire wire;
	bool listed;
	struct ask *prev, *next; /* in front->waiting while listed: wakes at due_ms */
};

struct cas {
	struct front *front;
	unsigned index;
	char name[16], host[64];
	int port;
	int reserve; /* bound, never listening: the port stays ours while connects are refused */
	struct MHD_Daemon *mhd;
	struct cert_pair cert;
	struct conn *conns;
	enum ailment ail;
	unsigned status;
	char code[64];
	int retry_after;
	bool running; /* its daemon is in the loop */
	bool owa;     /* speaks WebDAV, not EWS */
};

struct front {
	struct front_options o;
	struct loop *loop;
	struct ews *ews;
	struct dav *dav; /* NULL: there is no OWA front end */
	struct logon logon;
	struct cas cas[CAS_MAX];
	unsigned n; /* of them */
	char *account, *password;
	struct ask *waiting;
	struct fault *faults;
	uint64_t random;
};

static struct cas_counters *counters_of(const struct cas *c)
{
	return &c->front->ews->counters->cas[c->index];
}

static void refused(struct cas *c, const char *reason)
{
	counters_refused(c->front->ews->counters, c->index, reason);
}

/* --- connections --- */
static void unlist(struct ask *a)
{
	if (a->listed)
		DL_DELETE(a->cas->front->waiting, a);
	a->listed = false;
}

static void resume(struct ask *a)
{
	if (!a->suspended)
		return;
	a->suspended = false;
	unlist(a);
	if (a->conn->watched) {
		loop_unwatch(a->cas->front->loop, a->conn->fd);
		a->conn->watched = false;
	}
	MHD_resume_connection(a->mhd);
	loop_kick(a->cas->front->loop, a->cas->mhd);
}

static void client_gone(struct source *s, uint32_t events)
{
	struct conn *conn = (struct conn *)s;

	(void)events;
	conn->gone = true;
	if (!conn->ask)
		return;
	/* at once, so that it neither counts against a limit nor takes events that nobody reads */
	if (conn->ask->stream)
		conn->ask->stream->over = true;
	resume(conn->ask);
}

static void on_connection(void *arg, struct MHD_Connection *mhd, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
	struct cas *c = arg;
	struct cas_counters *n = counters_of(c);
	struct conn *conn = *socket_context;
	int on = 1;

	if (code == MHD_CONNECTION_NOTIFY_STARTED) {
		conn = xcalloc(1, sizeof *conn);
		conn->source.ready = client_gone;
		conn->cas = c;
		conn->fd =
		    MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
		setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		DL_APPEND(c->conns, conn);
		*socket_context = conn;
		n->connects++;
		if (++n->connections > n->peak_connections)
			n->peak_connections = n->connections;
	} else {
		if (conn->watched)
			loop_unwatch(c->front->loop, conn->fd);
		DL_DELETE(c->conns, conn);
		free(conn);
		n->connections--;
	}
}

/* While a connection is suspended MHD doesn't look at it, so we do. */
static void suspend(struct ask *a)
{
	struct conn *conn = a->conn;

	if (!conn->watched &&
	    loop_watch(conn->cas->front->loop, conn->fd, EPOLLRDHUP | EPOLLHUP, &conn->source) == 0)
		conn->watched = true;
	a->suspended = true;
	MHD_suspend_connection(a->mhd);
}

static void wait_in_list(struct ask *a)
{
	suspend(a);
	DL_APPEND(a->cas->front->waiting, a);
	a->listed = true;
}

/* --- answers --- */
static void count_off(struct ask *a)
{
	if (a->counted)
		counters_of(a->cas)->concurrency--;
	a->counted = false;
}

/* "Name: value\r\n" lines */
static void add_headers(struct MHD_Response *r, struct buf *lines)
{
	char *save = NULL;

	for (char *l = lines->len ? strtok_r(lines->p, "\r\n", &save) : NULL; l;
	     l = strtok_r(NULL, "\r\n", &save)) {
		char *colon = strchr(l, ':');

		*colon = '\0';
		MHD_add_response_header(r, l, colon + 1 + strspn(colon + 1, " "));
	}
}

static const char *iis(const struct cas *c)
{
	if (!c->owa)
		return "Microsoft-IIS/8.5";
	return c->front->dav->version == OWA_2010 ? "Microsoft-IIS/7.5" : "Microsoft-IIS/6.0";
}

static enum MHD_Result send_response(struct ask *a, unsigned status, struct MHD_Response *r)
{
	enum MHD_Result ok;

	MHD_add_response_header(r, "Server", iis(a->cas));
	if (!a->cas->owa)
		MHD_add_response_header(r, "X-FEServer", a->cas->name);
	add_headers(r, &a->head);
	if (a->cookie.len) {
		buf_str(&a->cookie, "; path=/; secure; HttpOnly");
		MHD_add_response_header(r, "Set-Cookie", a->cookie.p);
	}
	ok = MHD_queue_response(a->mhd, status, r);
	MHD_destroy_response(r);
	return ok;
}

/* Whoever sends no credentials only asks how to log in. */
static bool has_credentials(struct ask *a)
{
	return MHD_lookup_connection_value(a->mhd, MHD_HEADER_KIND, "Authorization") != NULL;
}

/* retry_after: seconds; -1: not said */
static enum MHD_Result send_status(struct ask *a, unsigned status, int retry_after)
{
	static char body[] = "";
	struct MHD_Response *r = MHD_create_response_from_buffer(0, body, MHD_RESPMEM_PERSISTENT);
	char text[120];

	if (status == 401) {
		snprintf(text, sizeof text, "Basic realm=\"%s\"", a->cas->host);
		MHD_add_response_header(r, "WWW-Authenticate", text);
	}
	if (status == 405 && !a->cas->owa)
		MHD_add_response_header(r, "Allow", "POST");
	if (retry_after >= 0) {
		snprintf(text, sizeof text, "%d", retry_after);
		MHD_add_response_header(r, "Retry-After", text);
	}
	snprintf(text, sizeof text, "http-%u", status);
	if (status != 401 || has_credentials(a))
		refused(a->cas, text);
	counters_of(a->cas)->requests[REQ_OTHER]++;
	return send_response(a, status, r);
}

static void xml_headers(struct ask *a, struct MHD_Response *r)
{
	bool wrong = a->wire.spoil.how == BREAK_TYPE;
	const char *right = a->cas->owa ? "text/xml" : "text/xml; charset=utf-8";

	MHD_add_response_header(r, "Content-Type", wrong ? a->wire.spoil.type : right);
	MHD_add_response_header(r, "Cache-Control", "private");
}

static ssize_t read_wire(void *arg, uint64_t pos, char *out, size_t max)
{
	struct ask *a = arg;
	struct stream *st = a->stream;
	ssize_t n = 0;

	(void)pos;
	if (a->conn->gone || (st && st->out.len + a->wire.out.len > OUT_MAX))
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (!st || !st->muted)
		n = wire_next(&a->wire, st ? &st->out : &a->plain, !st || st->over,
		              a->cas->front->loop->now_ms, out, max);
	if (n > 0)
		return n;
	if (n < 0)
		return n == WIRE_END ? MHD_CONTENT_READER_END_OF_STREAM
		                     : MHD_CONTENT_READER_END_WITH_ERROR;
	a->due_ms = a->wire.due_ms;
	if (a->due_ms == INT64_MAX || (st && st->muted))
		suspend(a);
	else
		wait_in_list(a);
	return 0;
}

/* body goes over to the response */
static enum MHD_Result send_xml(struct ask *a, unsigned status, struct buf *body)
{
	const struct spoil *s = &a->wire.spoil;
	struct MHD_Response *r;

	if ((s->how == BREAK_NONE || s->how == BREAK_TYPE) && !s->chunk) {
		if (!dress_is_own(&s->dress)) {
			struct buf all = {0};

			dress_envelope(&s->dress, body->p, body->len, &all);
			buf_free(body);
			*body = all;
		}
		r = MHD_create_response_from_buffer(body->len, body->p, MHD_RESPMEM_MUST_FREE);
	} else {
		a->plain = *body;
		r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK, read_wire, a, NULL);
	}
	xml_headers(a, r);
	return send_response(a, status, r);
}

static enum MHD_Result send_page(struct ask *a)
{
	static char page[] = "<!DOCTYPE html><html><head><title>Outlook</title></head><body>"
	                     "<form action=\"/owa/auth.owa\" method=\"POST\"><input name=username>"
	                     "<input name=password type=password></form></body></html>";
	struct MHD_Response *r =
	    MHD_create_response_from_buffer(sizeof page - 1, page, MHD_RESPMEM_PERSISTENT);

	MHD_add_response_header(r, "Content-Type", "text/html; charset=utf-8");
	refused(a->cas, "page");
	counters_of(a->cas)->requests[REQ_OTHER]++;
	return send_response(a, 200, r);
}

/* Which fault holds for this answer, if any; it is told from now on. */
static void choose_fault(struct ask *a, enum request_kind owa)
{
	struct front *f = a->cas->front;
	struct fault *x;
	int kind;

	a->wire.spoil = (struct spoil){.chunk = 0};
	if (!f->faults)
		return;
	kind = (int)(a->cas->owa ? owa : ews_kind(a->body.p ? a->body.p : "", a->body.len));
	for (x = f->faults; x; x = x->next)
		if ((x->cas < 0 || x->cas == (int)a->cas->index) &&
		    (x->kind < 0 || x->kind == kind) && x->left)
			break;
	if (!x)
		return;
	x->left -= x->left > 0;
	x->told++;
	a->wire.spoil = x->spoil;
}

void front_spoil(struct front *f, const struct fault *fault)
{
	struct fault *copy = xcalloc(1, sizeof *copy);

	*copy = *fault;
	DL_APPEND(f->faults, copy);
}

const struct fault *front_faults(const struct front *f)
{
	return f->faults;
}

static void forget_faults(struct front *f)
{
	struct fault *x, *tmp;

	for (x = f->faults; x; x = tmp) {
		tmp = x->next;
		free(x);
	}
	f->faults = NULL;
}

void front_clear(struct front *f)
{
	forget_faults(f);
	for (unsigned i = 0; i < f->n; i++)
		for (struct conn *c = f->cas[i].conns; c; c = c->next) {
			struct spoil *s = c->ask ? &c->ask->wire.spoil : NULL;

			if (s && s->how == BREAK_ENDLESS)
				*s = (struct spoil){.how = BREAK_CUT};
			else if (s && s->how == BREAK_TRICKLE)
				*s = (struct spoil){.how = BREAK_NONE};
			else
				continue;
			resume(c->ask);
		}
}

void front_wake(void *arg, struct stream *st)
{
	(void)arg;
	if (st->owner)
		resume(st->owner);
}

static enum MHD_Result send_stream(struct ask *a, struct stream *st)
{
	struct MHD_Response *r;

	count_off(a);
	a->stream = st;
	st->owner = a;
	if (!a->wire.spoil.chunk)
		a->wire.spoil.chunk = a->cas->front->o.chunk;
	r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, CHUNK, read_wire, a, NULL);
	xml_headers(a, r);
	return send_response(a, 200, r);
}

static bool login_is(void *arg, const char *user, const char *password)
{
	const struct front *f = arg;

	return strcasecmp(user, f->account) == 0 && strcmp(password, f->password) == 0;
}

static bool login_right(struct ask *a)
{
	const char *h = MHD_lookup_connection_value(a->mhd, MHD_HEADER_KIND, "Authorization");
	struct front *f = a->cas->front;
	char plain[600], *colon;
	long n;
	bool ok;

	if (!h || strncasecmp(h, "Basic ", 6) != 0 || strlen(h + 6) > 780)
		return false;
	n = base64_decode(plain, h + 6, strlen(h + 6));
	if (n < 0)
		return false;
	plain[n] = '\0';
	colon = strchr(plain, ':');
	if (colon)
		*colon = '\0';
	ok = colon && login_is(f, plain, colon + 1);
	explicit_bzero(plain, sizeof plain);
	return ok;
}

static bool is_xml(struct ask *a)
{
	const char *h = MHD_lookup_connection_value(a->mhd, MHD_HEADER_KIND, "Content-Type");
	const char *set = h ? strcasestr(h, "charset=") : NULL;

	if (!h || strncasecmp(h, "text/xml", 8) != 0 || (h[8] && !strchr("; ", h[8])))
		return false;
	return !set || strncasecmp(set + 8 + (set[8] == '"'), "utf-8", 5) == 0;
}

static const char *header_of(struct ask *a, const char *name)
{
	return MHD_lookup_connection_value(a->mhd, MHD_HEADER_KIND, name);
}

/* An answer that isn't XML, or has no body; both go over to the response. */
static enum MHD_Result send_other(struct ask *a, unsigned status, const char *type,
                                  struct buf *body)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(
	    body->len, body->p ? body->p : xstrdup(""), MHD_RESPMEM_MUST_FREE);

	if (type)
		MHD_add_response_header(r, "Content-Type", type);
	return send_response(a, status, r);
}

static enum MHD_Result add_ids(void *arg, enum MHD_ValueKind kind, const char *name,
                               const char *value)
{
	struct ask *a = arg;

	(void)kind;
	if (strcasecmp(name, "Subscription-id") == 0)
		buf_fmt(&a->ids, a->ids.p ? ",%s" : "%s", value ? value : "");
	return MHD_YES;
}

/* Counts an answer of the OWA front end, and sends it. */
static enum MHD_Result send_owa(struct ask *a, enum request_kind kind, struct dav_answer *out)
{
	char reason[24];

	counters_of(a->cas)->requests[kind]++;
	a->head = out->head;
	if (out->status >= 400) {
		snprintf(reason, sizeof reason, "http-%u", out->status);
		refused(a->cas, reason);
	}
	if (out->type && strcmp(out->type, "text/xml") == 0)
		return send_xml(a, out->status, &out->body);
	return send_other(a, out->status, out->type, &out->body);
}

static enum MHD_Result add_user(void *arg, enum MHD_ValueKind kind, const char *name,
                                const char *value)
{
	struct freebusy_url *url = arg;

	(void)kind;
	if (strcasecmp(name, "u") == 0 && value && url->n < PUBLISHER_USERS_MAX)
		url->users[url->n++] = value;
	return MHD_YES;
}

static const char *query_of(struct ask *a, const char *name)
{
	return MHD_lookup_connection_value(a->mhd, MHD_GET_ARGUMENT_KIND, name);
}

/* /public/?Cmd=freebusy; false: it isn't that. */
static bool look_at_freebusy(struct ask *a, const char *url, struct dav_answer *out)
{
	const char *cmd = query_of(a, "Cmd");
	struct freebusy_url ask = {.start = query_of(a, "start"),
	                           .end = query_of(a, "end"),
	                           .interval = query_of(a, "interval"),
	                           .user_agent = header_of(a, "User-Agent")};

	if ((strcasecmp(url, "/public") != 0 && strcasecmp(url, "/public/") != 0) || !cmd ||
	    strcasecmp(cmd, "freebusy") != 0)
		return false;
	MHD_get_connection_values(a->mhd, MHD_GET_ARGUMENT_KIND, add_user, &ask);
	publisher_answer(a->cas->front->dav->publisher, &ask, out);
	return true;
}

static enum logon_result log_on(struct ask *a, const struct dav_ask *ask, struct dav_answer *out)
{
	const struct logon_ask l = {.method = ask->method,
	                            .path = ask->path,
	                            .host = ask->host,
	                            .cookie = header_of(a, "Cookie"),
	                            .content_type = ask->content_type,
	                            .translate = header_of(a, "Translate"),
	                            .body = ask->body,
	                            .len = ask->len};
	struct front *f = a->cas->front;

	return logon_look(&f->logon, &l, login_is, f, f->loop->now_ms, out);
}

static enum MHD_Result answer_owa(struct ask *a, const char *url, const char *method)
{
	struct cas *c = a->cas;
	struct front *f = c->front;
	struct dav *d = f->dav;
	struct cas_counters *n = counters_of(c);
	enum request_kind kind = dav_kind(method, url);
	struct dav_ask ask = {.method = method,
	                      .path = url,
	                      .host = header_of(a, "Host"),
	                      .depth = header_of(a, "Depth"),
	                      .brief = header_of(a, "Brief"),
	                      .range = header_of(a, "Range"),
	                      .content_type = header_of(a, "Content-Type"),
	                      .cmd = query_of(a, "Cmd"),
	                      .an = query_of(a, "AN"),
	                      .ae = query_of(a, "ae"),
	                      .notification_type = header_of(a, "Notification-type"),
	                      .call_back = header_of(a, "Call-Back"),
	                      .lifetime = header_of(a, "Subscription-lifetime"),
	                      .delay = header_of(a, "Notification-Delay"),
	                      .body = a->body.p ? a->body.p : "",
	                      .len = a->body.len};
	struct dav_answer out = {.status = 404};

	if (a->too_big)
		return send_status(a, 413, -1);
	if (dav_2010(d, &ask, false, &out)) /* who comes to the old paths isn't asked for a login */
		return send_owa(a, kind, &out);
	if (f->logon.on && logon_is_form(&f->logon, method, url)) {
		kind = REQ_LOGON; /* faults hold for it whether or not it is right */
	} else if (f->logon.on) {
		if (log_on(a, &ask, &out) != LOGON_PASSED)
			return send_owa(a, kind, &out);
	} else if (!login_right(a)) {
		n->failed_logins += has_credentials(a);
		return send_status(a, 401, -1);
	}
	choose_fault(a, kind);
	if (a->wire.spoil.how == BREAK_STATUS)
		return send_status(a, a->wire.spoil.status, a->wire.spoil.retry_after);
	if (a->wire.spoil.how == BREAK_PAGE)
		return send_page(a);
	if (kind == REQ_LOGON) {
		n->failed_logins += log_on(a, &ask, &out) == LOGON_WRONG;
		return send_owa(a, kind, &out);
	}
	MHD_get_connection_values(a->mhd, MHD_HEADER_KIND, add_ids, a);
	ask.subscription_id = a->ids.p;
	d->now_ms = c->front->loop->now_ms;
	d->denied = c->front->ews->denied[c->index];
	if (!dav_2010(d, &ask, true, &out) &&
	    !(kind == REQ_FREEBUSY && look_at_freebusy(a, url, &out)))
		dav_answer(d, &ask, &out);
	return send_owa(a, kind, &out);
}

static enum MHD_Result answer(struct ask *a, const char *url, const char *method)
{
	struct cas *c = a->cas;
	struct front *f = c->front;
	struct cas_counters *n = counters_of(c);
	struct answer out = {0};
	struct hints hints;

	if (c->ail == AIL_STATUS) {
		n->failed_logins += c->status == 401 && has_credentials(a);
		return send_status(a, c->status, c->retry_after);
	}
	if (c->owa)
		return answer_owa(a, url, method);
	if (strcasecmp(url, PATH) != 0)
		return send_status(a, 404, -1);
	if (!login_right(a)) {
		n->failed_logins += has_credentials(a);
		return send_status(a, 401, -1);
	}
	if (strcmp(method, "POST") != 0)
		return send_status(a, 405, -1);
	if (a->too_big)
		return send_status(a, 413, -1);
	if (!is_xml(a))
		return send_status(a, 415, -1);
	if (c->ail == AIL_CODE) {
		ews_fault(&out, c->code, "The server was told to answer so.");
		refused(c, c->code);
		n->requests[REQ_OTHER]++;
		return send_xml(a, out.status, &out.body);
	}
	if (c->ail == AIL_BUSY || !a->counted) {
		ews_busy(&out, "The server cannot service this request right now. Try again later.",
		         c->retry_after >= 0 ? c->retry_after * 1000L : 5000);
		refused(c, out.refused);
		n->requests[REQ_OTHER]++;
		return send_xml(a, out.status, &out.body);
	}
	choose_fault(a, REQ_OTHER);
	if (a->wire.spoil.how == BREAK_STATUS)
		return send_status(a, a->wire.spoil.status, a->wire.spoil.retry_after);
	if (a->wire.spoil.how == BREAK_PAGE)
		return send_page(a);
	hints = (struct hints){header_of(a, "X-AnchorMailbox"), header_of(a, "Cookie"), false};
	if (header_of(a, "X-PreferServerAffinity"))
		hints.prefer = strcasecmp(header_of(a, "X-PreferServerAffinity"), "true") == 0;
	ews_answer(f->ews, c->index, &hints, a->body.p ? a->body.p : "", a->body.len, &out);
	a->cookie = out.cookie;
	n->requests[out.kind]++;
	if (out.stream) {
		buf_free(&out.body);
		return send_stream(a, out.stream);
	}
	return send_xml(a, out.status, &out.body);
}

static int64_t delay(struct front *f)
{
	f->random = f->random * 6364136223846793005u + 1442695040888963407u;
	return f->o.latency_ms +
	       (f->o.jitter_ms ? (int64_t)((f->random >> 33) % (uint64_t)f->o.jitter_ms) : 0);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *mhd, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **context)
{
	struct cas *c = arg;
	struct front *f = c->front;
	struct ask *a = *context;

	(void)version;
	if (!a) {
		struct cas_counters *n = counters_of(c);

		a = xcalloc(1, sizeof *a);
		a->cas = c;
		a->mhd = mhd;
		a->conn = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)
		              ->socket_context;
		a->conn->ask = a;
		/* a request is let in or refused when it arrives */
		if (n->concurrency + 1 > n->peak_concurrency)
			n->peak_concurrency = n->concurrency + 1;
		a->counted = c->owa || n->concurrency < f->o.max_concurrency;
		n->concurrency += a->counted;
		*context = a;
		return MHD_YES;
	}
	if (a->conn->gone)
		return MHD_NO;
	if (*size) {
		if (a->body.len + *size > BODY_MAX)
			a->too_big = true;
		else
			buf_add(&a->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (c->ail == AIL_HANG) {
		a->hung = true;
		a->due_ms = INT64_MAX;
		wait_in_list(a);
		return MHD_YES;
	}
	if (!a->waited && a->counted && (f->o.latency_ms || f->o.jitter_ms)) {
		a->waited = true;
		a->due_ms = f->loop->now_ms + delay(f);
		wait_in_list(a);
		return MHD_YES;
	}
	return answer(a, url, method);
}

static void on_completed(void *arg, struct MHD_Connection *mhd, void **context,
                         enum MHD_RequestTerminationCode why)
{
	struct ask *a = *context;
	struct front *f;

	(void)arg;
	(void)mhd;
	(void)why;
	if (!a)
		return;
	f = a->cas->front;
	count_off(a);
	unlist(a);
	if (a->conn->watched) {
		loop_unwatch(f->loop, a->conn->fd);
		a->conn->watched = false;
	}
	if (a->stream)
		stream_close(f->ews->subs, a->stream, f->loop->now_ms);
	a->conn->ask = NULL;
	buf_free(&a->body);
	buf_free(&a->cookie);
	buf_free(&a->head);
	buf_free(&a->ids);
	buf_free(&a->plain);
	wire_free(&a->wire);
	free(a);
	*context = NULL;
}

int64_t front_tick(struct front *f)
{
	int64_t due = INT64_MAX;
	struct ask *a, *tmp;

	for (a = f->waiting; a; a = tmp) {
		tmp = a->next;
		if (a->due_ms <= f->loop->now_ms)
			resume(a);
		else if (a->due_ms < due)
			due = a->due_ms;
	}
	return due;
}

/* --- ports --- */
static int bound(int port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	return fd;
}

static void quiet(void *arg, const char *fmt, va_list ap)
{
	const struct cas *c = arg;

	if (!c->front->o.verbose)
		return;
	fprintf(stderr, "%s: ", c->name);
	vfprintf(stderr, fmt, ap);
}

static int start(struct cas *c)
{
	int fd = bound(c->port);

	if (fd < 0)
		return fd;
	if (listen(fd, 4096) < 0) {
		int err = errno;

		close(fd);
		return -err;
	}
	c->mhd = MHD_start_daemon(
	    MHD_USE_EPOLL | MHD_USE_TLS | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL,
	    NULL, on_request, c, MHD_OPTION_EXTERNAL_LOGGER, quiet, c, MHD_OPTION_LISTEN_SOCKET, fd,
	    MHD_OPTION_HTTPS_MEM_KEY, c->cert.key, MHD_OPTION_HTTPS_MEM_CERT, c->cert.cert,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
	    (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(2 * CHUNK),
	    MHD_OPTION_NOTIFY_CONNECTION, on_connection, c, MHD_OPTION_NOTIFY_COMPLETED,
	    on_completed, c, MHD_OPTION_END);
	if (!c->mhd) {
		close(fd);
		return -EIO;
	}
	loop_add_daemon(c->front->loop, c->mhd);
	c->running = true;
	return 0;
}

/* Resets rather than closes: the client learns at once and nothing lingers. */
static void reset(struct conn *conn)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	conn->gone = true;
	shutdown(conn->fd, SHUT_RD);
	if (conn->ask)
		resume(conn->ask);
}

static void stop(struct cas *c)
{
	struct conn *conn;

	if (!c->mhd)
		return;
	for (conn = c->conns; conn; conn = conn->next)
		reset(conn);
	if (c->running)
		loop_remove_daemon(c->front->loop, c->mhd);
	c->running = false;
	MHD_stop_daemon(c->mhd); /* resumed connections are closed with the others */
	c->mhd = NULL;
}

unsigned front_cut(struct front *f, unsigned cas, bool streams_only)
{
	struct conn *conn;
	unsigned n = 0;

	for (conn = f->cas[cas].conns; conn; conn = conn->next) {
		if (streams_only && !(conn->ask && conn->ask->stream))
			continue;
		reset(conn);
		n++;
	}
	return n;
}

void front_cut_server(struct front *f, unsigned cas, unsigned backend)
{
	struct conn *conn;

	for (conn = f->cas[cas].conns; conn; conn = conn->next)
		if (conn->ask && conn->ask->stream && conn->ask->stream->backend == backend)
			reset(conn);
}

static void mute(struct cas *c, bool on)
{
	struct stream *st;

	for (st = streams(c->front->ews->subs); st; st = st->next)
		if (st->cas == c->index) {
			st->muted = on;
			if (!on)
				front_wake(c->front, st);
		}
}

int front_heal(struct front *f, unsigned cas)
{
	struct cas *c = &f->cas[cas];
	struct ask *a, *tmp;

	c->ail = AIL_NONE;
	c->retry_after = -1;
	f->ews->denied[cas] = false;
	if (!c->mhd)
		return start(c);
	if (!c->running) {
		loop_add_daemon(f->loop, c->mhd);
		c->running = true;
	}
	mute(c, false);
	for (a = f->waiting; a; a = tmp) {
		tmp = a->next;
		if (a->cas == c && a->hung) {
			a->hung = false;
			resume(a);
		}
	}
	return 0;
}

int front_fail(struct front *f, unsigned cas, const struct front_failure *x)

{
	struct cas *c = &f->cas[cas];
	int rc = front_heal(f, cas);

	if (rc < 0)
		return rc;
	c->ail = x->how;
	c->status = x->status;
	c->retry_after = x->retry_after;
	snprintf(c->code, sizeof c->code, "%s", x->code ? x->code : "");
	if (x->how == AIL_REFUSE) {
		stop(c);
		if (c->owa) /* they lived in its memory */
			logon_drop(&f->logon);
	}
	if (x->how == AIL_HANG || x->how == AIL_FREEZE)
		mute(c, true);
	if (x->how == AIL_FREEZE) {
		loop_remove_daemon(f->loop, c->mhd);
		c->running = false;
	}
	return 0;
}

unsigned front_count(const struct front *f)
{
	return f->n;
}

bool front_is_owa(const struct front *f, unsigned cas)
{
	return f->cas[cas].owa;
}

int front_port(const struct front *f, unsigned cas)
{
	return f->cas[cas].port;
}

const char *front_name(const struct front *f, unsigned cas)
{
	return f->cas[cas].name;
}

const char *front_state(const struct front *f, unsigned cas)
{
	static const char *const names[] = {"healthy", "refuse", "hang", "freeze",
	                                    "status",  "busy",   "code"};

	return f->ews->denied[cas] ? "denied" : names[f->cas[cas].ail];
}

void front_password(struct front *f, const char *password)
{
	if (f->password)
		explicit_bzero(f->password, strlen(f->password));
	free(f->password);
	f->password = xstrdup(password);
	logon_drop(&f->logon);
}

struct logon *front_logon(struct front *f)
{
	return &f->logon;
}

struct front *front_new(const struct front_options *o, struct loop *loop, struct ews *ews,
                        struct dav *dav, const struct cert_ca *ca, const char **why)
{
	struct front *f = xcalloc(1, sizeof *f);

	f->o = *o;
	f->loop = loop;
	f->ews = ews;
	f->dav = dav;
	f->logon.version = dav ? dav->version : OWA_NONE;
	f->n = o->ncas + (dav != NULL);
	f->account = xstrdup(o->account);
	f->password = xstrdup("");
	f->random = 88172645463325252u;
	for (unsigned i = 0; i < f->n; i++)
		f->cas[i].reserve = -1;
	for (unsigned i = 0; i < f->n; i++) {
		struct cas *c = &f->cas[i];
		struct sockaddr_in sa;
		socklen_t len = sizeof sa;

		c->front = f;
		c->index = i;
		c->retry_after = -1;
		c->owa = i >= o->ncas;
		snprintf(c->name, sizeof c->name, c->owa ? "owa%u" : "cas%u",
		         c->owa ? i + 1 - o->ncas : i + 1);
		snprintf(c->host, sizeof c->host, "%s.example.test", c->name);
		c->reserve = bound(o->first_port ? o->first_port + (int)i : 0);
		*why = "a port can't be bound";
		if (c->reserve < 0 || getsockname(c->reserve, (struct sockaddr *)&sa, &len) < 0)
			goto out;
		c->port = ntohs(sa.sin_port);
		*why = "a certificate can't be made";
		if (cert_issue(ca, c->host, o->cert_days, &c->cert) < 0)
			goto out;
		*why = "an HTTPS daemon can't be started";
		if (start(c) < 0)
			goto out;
	}
	return f;
out:
	front_free(f);
	return NULL;
}

void front_free(struct front *f)
{
	for (unsigned i = 0; i < f->n; i++) {
		stop(&f->cas[i]);
		if (f->cas[i].reserve >= 0)
			close(f->cas[i].reserve);
		cert_pair_free(&f->cas[i].cert);
	}
	explicit_bzero(f->password, strlen(f->password));
	free(f->password);
	free(f->account);
	logon_drop(&f->logon);
	forget_faults(f);
	free(f);
}
