/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/wall.h"

/* Of one gateway: what is asked now or next. */
enum stage { KNOCK, LOGIN, LOCATE, CALENDAR, SUBSCRIBE, UNSUBSCRIBE, END };

#define FOLDER_MAX 1024
#define DAY_MS 86400000
/* its listener is the service's */
#define PUSH_UNTRIED                                                                               \
	"push isn't tried here; whether the server's calls arrive is what the service logs"
#define REFUSALS_MAX 2 /* failed logins of one run: what is told by the third isn't worth it */

struct gateway {
	enum stage stage;
	bool asking;
	unsigned at;                     /* the mailbox that is tried */
	unsigned version;                /* of the backend's */
	enum px_kind kind;               /* of subscription that is tried */
	unsigned no_rights;              /* mailboxes that the account has no right on */
	char trouble[PX_CHECK_TEXT / 2]; /* of the mailboxes that were passed over, in words */
	char advice[PX_DETAIL_MAX];      /* what to do for the first of them */
	char folder[FOLDER_MAX];         /* where the calendar is; "": not known */
	char id[256];                    /* of the subscription; "": none */
	size_t meetings;
	bool read;               /* the calendar came whole */
	enum px_verdict refused; /* OK: not */
	char code[PX_CODE_MAX];
	struct px_check_line line[PX_CHECK_STEPS];
};

struct px_check_run {
	const struct px_backend *backend;
	unsigned gateways, mailboxes, wanted;
	unsigned kinds; /* of subscription that the settings allow */
	char **host;    /* gateways of them, then the mailboxes */
	char *held, *hints;
	bool accepted;    /* the account, by one of them */
	bool trying;      /* its login is under way at one */
	unsigned refused; /* by so many */
	const char *name[1], *id[1];
	struct gateway gateway[];
};

const char *px_check_step_name(enum px_check_step s)
{
	static const char *const name[PX_CHECK_STEPS] = {
	    "resolve", "connect", "tls",     "chain",    "name",         "validity", "login",
	    "service", "rights",  "mailbox", "calendar", "subscription", "clock"};

	return name[s];
}

const char *px_check_result_name(enum px_check_result r)
{
	static const char *const name[] = {"skipped", "ok", "warn", "FAILED"};

	return name[r];
}

static void add(struct px_check_line *l, const char *text)
{
	size_t had = strlen(l->text), n = strnlen(text, sizeof l->text - 1 - had);

	memcpy(l->text + had, text, n);
	l->text[had + n] = '\0';
}

/* text, and more behind a colon; NULL or "": nothing */
static void set(struct gateway *g, enum px_check_step s, enum px_check_result result,
                const char *text, const char *more)
{
	struct px_check_line *l = &g->line[s];

	l->result = result;
	l->text[0] = '\0';
	add(l, text);
	if (*text && more && *more)
		add(l, ": ");
	add(l, more ? more : "");
}

static void ok(struct gateway *g, enum px_check_step s)
{
	if (g->line[s].result == PX_CHECK_SKIPPED)
		g->line[s].result = PX_CHECK_OK;
}

static void fail(struct gateway *g, enum px_check_step s, const char *text, const char *more)
{
	set(g, s, PX_CHECK_FAILED, text, more);
	g->stage = END;
}

struct px_check_run *px_check_run_new(const struct px_check_config *c)
{
	struct px_check_run *r = calloc(1, sizeof *r + c->gateways * sizeof *r->gateway);

	if (!r)
		return NULL;
	r->backend = c->backend;
	r->gateways = c->gateways;
	r->mailboxes = c->mailboxes < PX_CHECK_MAILBOXES ? c->mailboxes : PX_CHECK_MAILBOXES;
	r->wanted = c->wanted > 0 && c->wanted < r->mailboxes ? c->wanted : r->mailboxes;
	r->kinds = c->kinds & ~PX_KIND_BIT(PX_KIND_NONE);
	r->host = calloc(r->gateways + r->mailboxes, sizeof *r->host);
	bool good = r->host && (!c->held || (r->held = strdup(c->held))) &&
	            (!c->hints || (r->hints = strdup(c->hints)));
	for (unsigned i = 0; good && i < r->gateways; i++)
		good = !c->host[i] || (r->host[i] = strdup(c->host[i]));
	for (unsigned i = 0; good && i < r->mailboxes; i++)
		good = (r->host[r->gateways + i] = strdup(c->mailbox[i]));
	for (unsigned i = 0; i < r->gateways; i++)
		if (!c->host[i])
			r->gateway[i].stage = END;
	if (good)
		return r;
	px_check_run_free(r);
	return NULL;
}

void px_check_run_free(struct px_check_run *r)
{
	if (!r)
		return;
	for (unsigned i = 0; r->host && i < r->gateways + r->mailboxes; i++)
		free(r->host[i]);
	free(r->host);
	free(r->held);
	free(r->hints);
	free(r);
}

static const char *mailbox(const struct px_check_run *r, const struct gateway *g)
{
	return r->mailboxes ? r->host[r->gateways + g->at] : NULL;
}

/* ---- asking ---- */

/* May this gateway log in? One that may never is ended. */
static bool login_turn(struct px_check_run *r, struct gateway *g)
{
	if (r->accepted)
		return true;
	if (r->held) {
		fail(g, PX_CHECK_LOGIN, "not tried, the account is refused at the moment", r->held);
		return false;
	}
	if (r->refused >= REFUSALS_MAX) {
		set(g, PX_CHECK_LOGIN, PX_CHECK_SKIPPED,
		    "not tried: other gateways refused the account, and more failures could lock "
		    "it",
		    NULL);
		g->stage = END;
		return false;
	}
	return !r->trying;
}

static void write_query(struct px_check_run *r, struct gateway *g, struct px_now now,
                        struct px_query *q)
{
	*q = (struct px_query){.mailbox = mailbox(r, g),
	                       .version = g->version,
	                       .from = {now.wall.ms},
	                       .until = {now.wall.ms + DAY_MS}};
	r->name[0] = q->mailbox;
	r->id[0] = g->id;
	if (g->folder[0])
		q->folder = g->folder;
	switch (g->stage) {
	case KNOCK:
	case LOGIN:
		q->ask = PX_ASK_PROBE;
		break;
	case LOCATE:
		q->ask = PX_ASK_LOCATE;
		break;
	case CALENDAR:
		/* the way that says more is the service's, too */
		q->ask =
		    r->backend->read_max && !r->backend->one_first ? PX_ASK_READ : PX_ASK_READ_ONE;
		q->name = r->name;
		q->n = q->ask == PX_ASK_READ ? 1 : 0;
		break;
	case SUBSCRIBE:
		q->ask = PX_ASK_SUBSCRIBE;
		q->kind = g->kind;
		q->minutes = 1; /* what is left behind goes soon */
		break;
	case UNSUBSCRIBE:
	case END:
		q->ask = PX_ASK_UNSUBSCRIBE;
		q->kind = g->kind;
		q->id = r->id;
		q->n = 1;
		break;
	}
}

bool px_check_next(struct px_check_run *r, struct px_now now, unsigned *gateway, bool *anonymous,
                   struct px_query *q)
{
	for (unsigned i = 0; i < r->gateways; i++) {
		struct gateway *g = &r->gateway[i];

		if (g->stage == END || g->asking)
			continue;
		if (g->stage == LOGIN && !login_turn(r, g))
			continue;
		if (g->stage == LOGIN && !r->accepted)
			r->trying = true;
		write_query(r, g, now, q);
		g->asking = true;
		g->meetings = 0;
		g->read = false;
		g->refused = PX_V_OK;
		*gateway = i;
		*anonymous = g->stage == KNOCK;
		return true;
	}
	return false;
}

void px_check_said(struct px_check_run *r, unsigned gateway, const struct px_item *item)
{
	struct gateway *g = &r->gateway[gateway];

	switch (item->kind) {
	case PX_ITEM_CALENDAR:
		g->meetings = item->n;
		g->read = true;
		break;
	case PX_ITEM_REFUSED:
		g->refused = item->verdict;
		snprintf(g->code, sizeof g->code, "%s", item->code ? item->code : "");
		break;
	case PX_ITEM_SUBSCRIBED:
		if (item->id && strlen(item->id) < sizeof g->id)
			snprintf(g->id, sizeof g->id, "%s", item->id);
		break;
	case PX_ITEM_FOLDER:
		if (item->id && strlen(item->id) < sizeof g->folder)
			snprintf(g->folder, sizeof g->folder, "%s", item->id);
		break;
	default:
		break;
	}
}

/* ---- what an answer says ---- */

/* The way to the server, which every answer says something of. False: it ended there. */
static bool see_way(struct px_check_run *r, unsigned i, enum px_check_step shows,
                    const struct px_http_answer *a, struct px_now now)
{
	static const enum px_check_step broken[] = {[PX_TLS_FINE] = PX_CHECK_TLS,
	                                            [PX_TLS_PROTOCOL] = PX_CHECK_TLS,
	                                            [PX_TLS_CHAIN] = PX_CHECK_CHAIN,
	                                            [PX_TLS_NAME] = PX_CHECK_NAME,
	                                            [PX_TLS_TIME] = PX_CHECK_VALIDITY};
	struct gateway *g = &r->gateway[i];
	const struct px_http_peer *p = a->peer;
	char text[PX_CHECK_TEXT], when[PX_WALL_TEXT];

	if (a->fail == PX_HTTP_RESOLVE) {
		snprintf(text, sizeof text,
		         "%s isn't known to this machine's name servers; check the gateway's name",
		         r->host[i]);
		fail(g, PX_CHECK_RESOLVE, text, a->detail);
		return false;
	}
	if (p && p->address[0])
		set(g, PX_CHECK_RESOLVE, PX_CHECK_OK, p->address, NULL);
	ok(g, PX_CHECK_RESOLVE);
	if (a->fail == PX_HTTP_CONNECT) {
		fail(g, PX_CHECK_CONNECT,
		     "nobody listens there, or a firewall is between; check address, port and "
		     "server",
		     a->detail);
		return false;
	}
	ok(g, PX_CHECK_CONNECT);
	if (p && p->tls[0])
		set(g, PX_CHECK_TLS, PX_CHECK_OK, p->tls, NULL);
	if (a->fail == PX_HTTP_TLS) {
		static const char *const cure[] = {
		    [PX_TLS_FINE] = "",
		    [PX_TLS_PROTOCOL] =
		        "no common TLS; if the server is too old for tls_min, say so "
		        "for this gateway alone (;tls_min=1.0)",
		    [PX_TLS_CHAIN] =
		        "the certificate's issuer isn't trusted; give its chain in ca_file, "
		        "or for this gateway alone (;ca=FILE)",
		    [PX_TLS_NAME] = "the certificate is for other names; name the gateway as the "
		                    "certificate does, or have one made for this name",
		    [PX_TLS_TIME] = "the certificate isn't valid today; renew it"};
		const enum px_check_step s = broken[a->tls];

		/* what is looked at before it was in order */
		for (enum px_check_step b = PX_CHECK_TLS; b < s; b++)
			ok(g, b);
		fail(g, s, cure[a->tls], a->detail);
		return false;
	}
	for (enum px_check_step b = PX_CHECK_TLS; b <= PX_CHECK_VALIDITY; b++)
		ok(g, b);
	if (p && p->names[0])
		set(g, PX_CHECK_NAME, PX_CHECK_OK, "the certificate is for", p->names);
	if (p && p->expires.ms) {
		bool soon = p->expires.ms - now.wall.ms < PX_CHECK_EXPIRY_S * 1000LL;

		snprintf(text, sizeof text, "until %.10s%s", px_wall_text(p->expires, when),
		         soon ? "; renew it" : "");
		set(g, PX_CHECK_VALIDITY, soon ? PX_CHECK_WARN : PX_CHECK_OK, text, NULL);
	}
	if (p && p->date.ms) {
		int64_t off = p->date.ms - now.wall.ms, by = off < 0 ? -off : off;

		/* the header has whole seconds, and the answer took its time */
		snprintf(text, sizeof text, by < 2000 ? "as ours" : "%lld s %s ours%s",
		         (long long)(by + 500) / 1000, off < 0 ? "behind" : "ahead of",
		         by >= PX_CHECK_CLOCK_WARN_S * 1000
		             ? "; set both by NTP: meetings begin by ours, and Kerberos takes 5 min"
		             : "");
		set(g, PX_CHECK_CLOCK,
		    by >= PX_CHECK_CLOCK_FAIL_S * 1000   ? PX_CHECK_FAILED
		    : by >= PX_CHECK_CLOCK_WARN_S * 1000 ? PX_CHECK_WARN
		                                         : PX_CHECK_OK,
		    text, NULL);
	}
	if (a->fail == PX_HTTP_ANSWERED)
		return true;
	fail(g, shows,
	     a->fail == PX_HTTP_TIMEOUT   ? "it takes connections and doesn't answer in time"
	     : a->fail == PX_HTTP_TOO_BIG ? "its answer is larger than any right one"
	     : a->fail == PX_HTTP_LOCAL   ? "this machine's own trouble"
	                                  : "its answer ended in the middle",
	     a->detail);
	return false;
}

static void next_stage(struct px_check_run *r, struct gateway *g)
{
	do
		g->stage++;
	while ((g->stage == LOCATE && !r->backend->locates) ||
	       ((g->stage == SUBSCRIBE || g->stage == UNSUBSCRIBE) && !r->kinds) ||
	       (g->stage == UNSUBSCRIBE && !g->id[0]));
}

/* Notes a mailbox's own trouble and goes on with the next one. False: there is none. */
static bool another_mailbox(struct px_check_run *r, struct gateway *g, enum px_fault fault,
                            const char *code, const char *detail)
{
	size_t had = strlen(g->trouble);

	snprintf(g->trouble + had, sizeof g->trouble - had, "%s%s %s", had ? ", " : "",
	         mailbox(r, g), code);
	if (!had)
		snprintf(g->advice, sizeof g->advice, "%s", detail ? detail : "");
	if (g->at + 1 >= (fault == PX_FAULT_USER_RIGHTS ? r->mailboxes : r->wanted))
		return false;
	g->at++;
	g->folder[0] = '\0';
	g->stage = LOGIN; /* the account has been accepted: it is only about the mailbox now */
	return true;
}

static void user_trouble(struct px_check_run *r, struct gateway *g, enum px_fault fault,
                         const char *code, const char *detail)
{
	char text[PX_CHECK_TEXT];

	g->no_rights += fault == PX_FAULT_USER_RIGHTS;
	if (another_mailbox(r, g, fault, code, detail))
		return;
	snprintf(text, sizeof text, "%s%s%s", g->trouble, detail && *detail ? "; " : "",
	         detail ? detail : "");
	if (fault == PX_FAULT_USER_RIGHTS) {
		fail(g, PX_CHECK_RIGHTS, "not for the users that were tried", text);
		return;
	}
	ok(g, PX_CHECK_RIGHTS);
	if (fault == PX_FAULT_CALENDAR)
		ok(g, PX_CHECK_MAILBOX);
	fail(g, fault == PX_FAULT_CALENDAR ? PX_CHECK_CALENDAR : PX_CHECK_MAILBOX, "", text);
}

/* What the last words on the mailboxes that were passed over are. False: those that were asked about are among them. */
static bool mailbox_good(struct px_check_run *r, struct gateway *g)
{
	char text[PX_CHECK_TEXT + PX_DETAIL_MAX];

	if (!r->mailboxes)
		return true;
	if (g->at >= r->wanted) {
		snprintf(text, sizeof text, "%s; %s", g->trouble, g->advice);
		fail(g, PX_CHECK_RIGHTS, "not for this user, though for others", text);
		return false;
	}
	if (g->no_rights)
		set(g, PX_CHECK_RIGHTS, PX_CHECK_WARN, "granted, but not for every user",
		    g->trouble);
	ok(g, PX_CHECK_RIGHTS);
	if (g->trouble[0] && !g->no_rights)
		set(g, PX_CHECK_MAILBOX, PX_CHECK_WARN, "others are in trouble", g->trouble);
	else
		set(g, PX_CHECK_MAILBOX, PX_CHECK_OK, mailbox(r, g), NULL);
	return true;
}

static enum px_fault fault_of(const struct px_check_run *r, const struct px_reply *reply)
{
	static const enum px_fault by_verdict[PX_VERDICTS] = {
	    [PX_V_SERVER] = PX_FAULT_SERVICE, [PX_V_LOST] = PX_FAULT_MAILBOX,
	    [PX_V_BUSY] = PX_FAULT_THROTTLED, [PX_V_DENIED] = PX_FAULT_LOGIN,
	    [PX_V_USER] = PX_FAULT_MAILBOX,   [PX_V_TRANSIENT] = PX_FAULT_PASSING};

	const enum px_fault f =
	    r->backend->fault ? r->backend->fault(reply->code, reply->verdict) : PX_FAULT_NONE;

	return f ? f : by_verdict[reply->verdict];
}

static bool denied(struct px_check_run *r, struct gateway *g, const struct px_reply *reply,
                   enum px_fault fault)
{
	if (fault != PX_FAULT_LOGIN)
		return false;
	r->refused += g->stage == LOGIN;
	fail(g, PX_CHECK_LOGIN, reply->code, reply->detail);
	return true;
}

/* What a request with credentials met, other than good. `step` is what it was to show. */
static void refused(struct px_check_run *r, struct gateway *g, enum px_check_step step,
                    const struct px_reply *reply)
{
	const enum px_fault fault = fault_of(r, reply);

	if (denied(r, g, reply, fault))
		return;
	set(g, PX_CHECK_LOGIN, PX_CHECK_OK, "", NULL);
	switch (fault) {
	case PX_FAULT_RIGHTS:
		ok(g, PX_CHECK_SERVICE);
		fail(g, PX_CHECK_RIGHTS, reply->code, reply->detail);
		return;
	case PX_FAULT_USER_RIGHTS:
	case PX_FAULT_MAILBOX:
	case PX_FAULT_CALENDAR:
		ok(g, PX_CHECK_SERVICE);
		if (step == PX_CHECK_SUBSCRIPTION)
			fail(g, step, reply->code, reply->detail);
		else
			user_trouble(r, g, fault, reply->code, reply->detail);
		return;
	case PX_FAULT_THROTTLED:
		set(g, step, PX_CHECK_WARN, "throttled; check again later", reply->code);
		g->stage = END;
		return;
	default:
		fail(g, fault == PX_FAULT_SERVICE ? PX_CHECK_SERVICE : step, reply->code,
		     reply->detail);
	}
}

static void see_knock(struct px_check_run *r, struct gateway *g, const struct px_http_answer *a,
                      const struct px_reply *reply)
{
	const enum px_fault fault = fault_of(r, reply);

	if (a->status == 401 || a->asks_login || reply->verdict == PX_V_DENIED ||
	    fault == PX_FAULT_LOGIN) {
		if ((a->status == 401 || a->asks_login) && a->detail)
			set(g, PX_CHECK_LOGIN, PX_CHECK_SKIPPED, a->detail, NULL);
		g->stage = LOGIN;
		return;
	}
	if (fault == PX_FAULT_SERVICE) {
		fail(g, PX_CHECK_SERVICE, reply->code, reply->detail);
		return;
	}
	if (fault == PX_FAULT_THROTTLED) {
		set(g, PX_CHECK_SERVICE, PX_CHECK_WARN, "throttled; check again later",
		    reply->code);
		g->stage = END;
		return;
	}
	g->stage = LOGIN;
}

static void see_calendar(struct px_check_run *r, struct gateway *g)
{
	char text[PX_CHECK_TEXT];

	if (g->refused != PX_V_OK) {
		struct px_reply reply = {.verdict = g->refused};

		memcpy(reply.code, g->code, sizeof reply.code);
		refused(r, g, PX_CHECK_CALENDAR, &reply);
		return;
	}
	if (!g->read) {
		fail(g, PX_CHECK_CALENDAR, "the answer holds no calendar", NULL);
		return;
	}
	if (!mailbox_good(r, g))
		return;
	snprintf(text, sizeof text, "%zu intervals in the next 24 hours", g->meetings);
	set(g, PX_CHECK_CALENDAR, PX_CHECK_OK, text, NULL);
	next_stage(r, g);
}

/* Kinds in the order of subscription=auto; those that need a listener aren't tried here. */
static bool next_kind(struct px_check_run *r, struct gateway *g, bool first)
{
	static const enum px_kind order[] = {PX_KIND_STREAM, PX_KIND_PULL};
	unsigned can = r->backend->kinds(g->version) & r->kinds, i = 0;

	for (; !first && order[i] != g->kind; i++)
		;
	for (i += !first; i < sizeof order / sizeof *order; i++)
		if (can & PX_KIND_BIT(order[i])) {
			g->kind = order[i];
			return true;
		}
	return false;
}

static void see_subscribed(struct px_check_run *r, struct gateway *g)
{
	if (!g->id[0]) {
		fail(g, PX_CHECK_SUBSCRIPTION, "the answer holds no usable id", NULL);
		return;
	}
	set(g, PX_CHECK_SUBSCRIPTION, PX_CHECK_OK,
	    g->kind == PX_KIND_STREAM ? "streaming"
	    : r->backend->hints       ? "POLL"
	                              : "pull",
	    r->backend->hints                                                   ? r->hints
	    : g->kind != PX_KIND_STREAM && r->kinds & PX_KIND_BIT(PX_KIND_PUSH) ? PUSH_UNTRIED
	                                                                        : NULL);
	next_stage(r, g);
}

void px_check_done(struct px_check_run *r, unsigned gateway, const struct px_http_answer *a,
                   const struct px_reply *reply, struct px_now now)
{
	static const enum px_check_step shows[] = {
	    [KNOCK] = PX_CHECK_SERVICE,          [LOGIN] = PX_CHECK_SERVICE,
	    [LOCATE] = PX_CHECK_MAILBOX,         [CALENDAR] = PX_CHECK_CALENDAR,
	    [SUBSCRIBE] = PX_CHECK_SUBSCRIPTION, [UNSUBSCRIBE] = PX_CHECK_SUBSCRIPTION,
	    [END] = PX_CHECK_SUBSCRIPTION};
	struct gateway *g = &r->gateway[gateway];
	const enum stage stage = g->stage;

	g->asking = false;
	if (stage == LOGIN)
		r->trying = false;
	if (stage == END || !see_way(r, gateway, shows[stage], a, now))
		return;
	if (stage == KNOCK) {
		see_knock(r, g, a, reply);
		return;
	}
	/* whatever else it says, it has looked behind the login */
	if (stage == LOGIN && fault_of(r, reply) != PX_FAULT_LOGIN &&
	    fault_of(r, reply) != PX_FAULT_SERVICE && fault_of(r, reply) != PX_FAULT_THROTTLED)
		r->accepted = true;
	if (reply->verdict == PX_V_VERSION && g->version + 1 < r->backend->versions) {
		g->version++;
		return;
	}
	if (stage == SUBSCRIBE && reply->verdict == PX_V_KIND && next_kind(r, g, false))
		return;
	if (reply->verdict != PX_V_OK) {
		refused(r, g, shows[stage], reply);
		return;
	}
	set(g, PX_CHECK_LOGIN, PX_CHECK_OK, "", NULL);
	if (reply->server[0])
		set(g, PX_CHECK_SERVICE, PX_CHECK_OK, reply->server, NULL);
	ok(g, PX_CHECK_SERVICE);
	switch (stage) {
	case LOGIN:
		if (!r->mailboxes) {
			set(g, PX_CHECK_MAILBOX, PX_CHECK_SKIPPED, "there is no user to try", NULL);
			g->stage = END;
			return;
		}
		ok(g, PX_CHECK_RIGHTS);
		next_stage(r, g);
		break;
	case LOCATE:
		if (g->folder[0])
			next_stage(r, g);
		else
			fail(g, PX_CHECK_MAILBOX, "the answer holds no calendar folder", NULL);
		break;
	case CALENDAR:
		see_calendar(r, g);
		if (g->stage == SUBSCRIBE && !next_kind(r, g, true)) {
			set(g, PX_CHECK_SUBSCRIPTION, PX_CHECK_SKIPPED,
			    r->kinds & PX_KIND_BIT(PX_KIND_PUSH)
			        ? PUSH_UNTRIED
			        : "this server knows none that can be tried without disturbing",
			    NULL);
			g->stage = END;
		}
		break;
	case SUBSCRIBE:
		see_subscribed(r, g);
		break;
	default:
		next_stage(r, g);
	}
}

bool px_check_gateway_ended(const struct px_check_run *r, unsigned g)
{
	return r->gateway[g].stage == END && !r->gateway[g].asking;
}

bool px_check_ended(const struct px_check_run *r)
{
	for (unsigned i = 0; i < r->gateways; i++)
		if (!px_check_gateway_ended(r, i))
			return false;
	return true;
}

const struct px_check_line *px_check_line(const struct px_check_run *r, unsigned gateway,
                                          enum px_check_step s)
{
	return &r->gateway[gateway].line[s];
}

enum px_check_step px_check_failed(const struct px_check_run *r, unsigned gateway)
{
	enum px_check_step s = PX_CHECK_RESOLVE;

	while (s < PX_CHECK_STEPS && r->gateway[gateway].line[s].result != PX_CHECK_FAILED)
		s++;
	return s;
}
