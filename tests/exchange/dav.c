/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "dav.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "davsql.h"
#include "grammar.h"
#include "when.h"

#define NAMES_MAX 256
#define ROWS_MAX 100000 /* in an answer */

/* One request on its way. */
struct task {
	struct dav *d;
	const struct dav_ask *ask;
	struct dav_answer *a;
	struct davbase base;
	struct resource target;
	bool brief;
};

void dav_status(struct dav_answer *a, unsigned status)
{
	buf_free(&a->body);
	a->status = status;
	a->type = NULL;
}

enum request_kind dav_kind(const char *method, const char *path)
{
	static const struct {
		const char *method;
		enum request_kind kind;
	} kinds[] = {{"PROPFIND", REQ_PROPFIND},
	             {"SEARCH", REQ_SEARCH},
	             {"SUBSCRIBE", REQ_DAV_SUBSCRIBE},
	             {"POLL", REQ_POLL},
	             {"UNSUBSCRIBE", REQ_DAV_UNSUBSCRIBE},
	             {"OPTIONS", REQ_DAV_OPTIONS},
	             {"GET", REQ_GET},
	             {"HEAD", REQ_GET}};

	if (strncasecmp(path, "/public", 7) == 0 && strcmp(method, "GET") == 0)
		return REQ_FREEBUSY;
	if (strncasecmp(path, "/exchange", 9) != 0 && strncasecmp(path, "/owa", 4) != 0)
		return REQ_OTHER;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(kinds[i].method, method) == 0)
			return kinds[i].kind;
	return REQ_OTHER;
}

/* --- multistatus --- */

/* The names that an answer may need a prefix for: a is DAV:, b the data types. */
struct prefixes {
	char *ns[NAMES_MAX];
	unsigned n;
};

static void prefix(struct buf *b, unsigned i)
{
	if (i < 'z' - 'd' + 1u)
		buf_fmt(b, "%c", 'd' + (int)i);
	else
		buf_fmt(b, "n%u", i);
}

static void add_name(struct prefixes *p, const char *name)
{
	size_t local = davprop_local(name);
	char *ns = xcalloc(1, local + 1);

	memcpy(ns, name, local);
	if (strcmp(ns, NS_DAV) != 0)
		for (unsigned i = 0; i < p->n || p->n < NAMES_MAX; i++) {
			if (i == p->n)
				p->ns[p->n++] = xstrdup(ns);
			if (strcmp(p->ns[i], ns) == 0)
				break;
		}
	free(ns);
}

static void free_prefixes(struct prefixes *p)
{
	for (unsigned i = 0; i < p->n; i++)
		free(p->ns[i]);
}

static void qname(struct buf *b, const struct prefixes *p, const char *name)
{
	size_t local = davprop_local(name);

	for (unsigned i = 0; i < p->n; i++)
		if (strlen(p->ns[i]) == local && strncmp(p->ns[i], name, local) == 0) {
			prefix(b, i);
			buf_fmt(b, ":%s", name + local);
			return;
		}
	buf_fmt(b, "a:%s", name + local);
}

static void begin_multistatus(struct buf *b, const struct prefixes *p)
{
	buf_str(b, "<?xml version=\"1.0\"?><a:multistatus xmlns:b=\"" NS_DATATYPES "\"");
	for (unsigned i = 0; i < p->n; i++) {
		buf_str(b, " xmlns:");
		prefix(b, i);
		buf_str(b, "=\"");
		buf_xml(b, p->ns[i]);
		buf_str(b, "\"");
	}
	buf_str(b, " xmlns:a=\"" NS_DAV "\">");
}

static void end_multistatus(struct task *t)
{
	buf_str(&t->a->body, "</a:multistatus>");
	t->a->status = 207;
	t->a->type = "text/xml";
}

static void write_value(struct buf *b, const struct prefixes *p, const char *name,
                        const struct value *v)
{
	static const char *const types[] = {
	    [VALUE_INT] = "int", [VALUE_BOOL] = "boolean", [VALUE_TIME] = "dateTime.tz"};
	char text[WHEN_TEXT];

	buf_str(b, "<");
	qname(b, p, name);
	if (v->type == VALUE_COLLECTION) {
		buf_str(b, v->n ? "><a:collection/>" : ">");
	} else if (v->type == VALUE_TEXT) {
		buf_str(b, ">");
		buf_xml(b, v->text.p);
	} else if (v->type == VALUE_TIME) {
		buf_fmt(b, " b:dt=\"%s\">%s.000Z", types[v->type], when_text(text, v->n, false));
	} else {
		buf_fmt(b, " b:dt=\"%s\">%lld", types[v->type], (long long)v->n);
	}
	buf_str(b, "</");
	qname(b, p, name);
	buf_str(b, ">");
}

/* One a:response with these properties of a resource; values only, or names only. */
static void respond(struct task *t, const struct prefixes *p, const struct resource *r,
                    const char *const *names, bool values)
{
	struct buf *b = &t->a->body, found = {0}, missing = {0}, url = {0};

	for (; *names; names++) {
		struct value v;

		if (!davprop_get(&t->base, r, *names, &v)) {
			buf_str(&missing, "<");
			qname(&missing, p, *names);
			buf_str(&missing, "/>");
			continue;
		}
		if (values) {
			write_value(&found, p, *names, &v);
		} else {
			buf_str(&found, "<");
			qname(&found, p, *names);
			buf_str(&found, "/>");
		}
		buf_free(&v.text);
	}
	davprop_href(&url, &t->base, r, true);
	buf_str(b, "<a:response><a:href>");
	buf_xml(b, url.p);
	buf_str(b, "</a:href>");
	if (found.len || !missing.len || t->brief)
		buf_fmt(b,
		        "<a:propstat><a:status>HTTP/1.1 200 "
		        "OK</a:status><a:prop>%s</a:prop></a:propstat>",
		        found.len ? found.p : "");
	if (missing.len && !t->brief)
		buf_fmt(b,
		        "<a:propstat><a:status>HTTP/1.1 404 Resource Not "
		        "Found</a:status><a:prop>%s</a:prop>"
		        "</a:propstat>",
		        missing.p);
	buf_str(b, "</a:response>");
	buf_free(&found);
	buf_free(&missing);
	buf_free(&url);
}

/* --- what is in a folder --- */
struct rows {
	struct resource *r;
	size_t n, cap;
};

static void add_row(struct rows *rows, const struct resource *r)
{
	if (rows->n == ROWS_MAX)
		return;
	if (rows->n == rows->cap) {
		rows->cap = rows->cap ? 2 * rows->cap : 64;
		rows->r = xrealloc(rows->r, rows->cap * sizeof *rows->r);
	}
	rows->r[rows->n++] = *r;
}

static void add_folders(struct rows *rows, struct mailbox *mb)
{
	for (int f = FOLDER_ROOT + 1; f < FOLDER_COUNT; f++)
		add_row(rows, &(struct resource){.mailbox = mb, .folder = (enum folder)f});
}

/*
 * The appointments of a calendar: single ones and masters, and with a time span the instances and exceptions
 * that touch it as well. The meetings they point to are lent until the store's next change.
 */
static void add_items(struct task *t, struct rows *rows, const int64_t *from, const int64_t *to)
{
	struct resource r = {.mailbox = t->target.mailbox, .folder = FOLDER_CALENDAR, .item = true};
	const struct occurrence *occ;
	const struct meeting *m;
	size_t n;

	/* first what moves the store's list, then what points into it */
	occ = from ? store_expand(t->d->store, r.mailbox, *from - 1, *to + 1, &n) : NULL;
	for (size_t i = 0; occ && i < n; i++)
		if (meeting_period(occ[i].meeting)) {
			r.what = occ[i];
			r.instance = occ[i].exception ? INSTANCE_EXCEPTION : INSTANCE_OCCURRENCE;
			add_row(rows, &r);
		}
	m = store_meetings(t->d->store, r.mailbox, &n);
	for (size_t i = 0; i < n; i++) {
		r.what = (struct occurrence){
		    .meeting = &m[i], .status = m[i].status, .start = m[i].start, .end = m[i].end};
		r.instance = meeting_period(&m[i]) ? INSTANCE_MASTER : INSTANCE_SINGLE;
		add_row(rows, &r);
	}
}

/* --- requests with XML --- */

/* The root element's document; NULL: answered with what is wrong. */
static xmlDoc *read_xml(struct task *t, const char *root)
{
	const char *type = t->ask->content_type;
	struct violation v;
	xmlDoc *doc;

	if (!type || (strncasecmp(type, "text/xml", 8) != 0 &&
	              strncasecmp(type, "application/xml", 15) != 0)) {
		dav_status(t->a, 415);
		return NULL;
	}
	doc = grammar_parse(t->ask->body, t->ask->len, &v);
	if (doc && xml_is(xmlDocGetRootElement(doc), NS_DAV, root))
		return doc;
	xmlFreeDoc(doc);
	dav_status(t->a, 400);
	return NULL;
}

/* --- PROPFIND (RFC 2518, 8.1) --- */
struct depth {
	bool self, children, deep;
};

/* "0", "1", "infinity", and Exchange's own "1,noroot" and "infinity,noroot"; missing: infinity */
static bool read_depth(const char *text, struct depth *d)
{
	static const struct {
		const char *text;
		struct depth depth;
	} depths[] = {{"0", {true, false, false}},
	              {"1", {true, true, false}},
	              {"1,noroot", {false, true, false}},
	              {"infinity", {true, true, true}},
	              {"infinity,noroot", {false, true, true}}};

	for (size_t i = 0; i < sizeof depths / sizeof *depths; i++)
		if (strcasecmp(text ? text : "infinity", depths[i].text) == 0) {
			*d = depths[i].depth;
			return true;
		}
	return false;
}

/* What is asked for: names (own memory, ended by NULL), or all. False: refused. */
static bool read_propfind(struct task *t, char *names[NAMES_MAX + 1], bool *values)
{
	xmlDoc *doc;
	xmlNode *what;
	unsigned n = 0;
	bool all = true, good = true;

	*values = true;
	if (t->ask->len) { /* none: as allprop */
		doc = read_xml(t, "propfind");
		if (!doc)
			return false;
		what = xml_first(xmlDocGetRootElement(doc));
		*values = !xml_is(what, NS_DAV, "propname");
		all = xml_is(what, NS_DAV, "allprop") || !*values;
		good =
		    (all || (xml_is(what, NS_DAV, "prop") && xml_first(what))) && !xml_next(what);
		for (xmlNode *p = good && !all ? xml_first(what) : NULL; p && n < NAMES_MAX;
		     p = xml_next(p)) {
			const char *ns = p->ns ? (const char *)p->ns->href : "";
			struct buf name = {0};

			buf_fmt(&name, "%s%s", ns, (const char *)p->name);
			good = good && davprop_local(name.p) == strlen(ns);
			names[n++] = name.p;
		}
		xmlFreeDoc(doc);
	}
	t->brief = t->brief || all; /* of all there are, none is missing */
	for (const char *const *p = davprop_names(); good && all && *p; p++)
		names[n++] = xstrdup(*p);
	names[n] = NULL;
	if (!good)
		dav_status(t->a, 400);
	return good;
}

static void propfind(struct task *t)
{
	char *names[NAMES_MAX + 1] = {NULL};
	struct prefixes p = {.n = 0};
	struct rows rows = {0};
	struct depth depth;
	bool values;

	if (!read_depth(t->ask->depth, &depth)) {
		dav_status(t->a, 400);
		return;
	}
	if (read_propfind(t, names, &values)) {
		for (unsigned i = 0; names[i]; i++)
			add_name(&p, names[i]);
		if (depth.self)
			add_row(&rows, &t->target);
		if (depth.children && !t->target.item && t->target.folder == FOLDER_ROOT)
			add_folders(&rows, t->target.mailbox);
		if (!t->target.item && ((depth.children && t->target.folder == FOLDER_CALENDAR) ||
		                        (depth.deep && t->target.folder == FOLDER_ROOT)))
			add_items(t, &rows, NULL, NULL);
		begin_multistatus(&t->a->body, &p);
		for (size_t i = 0; i < rows.n; i++)
			respond(t, &p, &rows.r[i], (const char *const *)names, values);
		end_multistatus(t);
	}
	for (unsigned i = 0; names[i]; i++)
		free(names[i]);
	free_prefixes(&p);
	free(rows.r);
}

/* --- SEARCH --- */

/* Where Scope leads: to a folder of the mailbox that the request is about. */
static bool find_scope(struct task *t, const char *path, struct resource *r)
{
	const char *host = strstr(path, "://");
	struct davpath parts;
	struct mailbox *mb;
	char *plain, *out;
	bool good;

	if (host)
		path = strchr(host + 3, '/');
	plain = xstrdup(path ? path : "");
	out = plain;
	for (const char *s = plain; *s; s++) {
		char hex[3] = {s[0] == '%' ? s[1] : '\0', '\0', '\0'};

		if (hex[0] && isxdigit((unsigned char)s[1]) && isxdigit((unsigned char)s[2])) {
			hex[1] = s[2];
			*out++ = (char)strtol(hex, NULL, 16);
			s += 2;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
	good = davpath_split(plain, &parts) && parts.mailbox;
	mb = good ? davpath_mailbox(t->d->store, parts.mailbox) : NULL;
	*r = (struct resource){.mailbox = mb};
	good = mb && mb == t->target.mailbox &&
	       davpath_find(t->d->store, &parts, t->base.language, r) && !r->item;
	davpath_free(&parts);
	free(plain);
	return good;
}

/* qsort knows no argument; the program has one thread */
static const struct sql *order_query;
static const struct davbase *order_base;

static int by_order(const void *a, const void *b)
{
	const struct resource *x = a, *y = b;
	int d = sql_compare(order_query, order_base, x, y);

	if (d)
		return d;
	if (x->what.start != y->what.start)
		return x->what.start < y->what.start ? -1 : 1;
	if (x->item && y->item && x->what.meeting->ordinal != y->what.meeting->ordinal)
		return x->what.meeting->ordinal < y->what.meeting->ordinal ? -1 : 1;
	return (x->what.index > y->what.index) - (x->what.index < y->what.index);
}

/*
 * "rows=0-4,10-19,-5,40-": which of n rows are asked for. False: not such a header. *first, *last: what
 * Content-Range says.
 */
static bool read_rows(const char *text, size_t n, bool *want, size_t *first, size_t *last)
{
	*first = n;
	*last = 0;
	if (strncasecmp(text, "rows=", 5) != 0 || !text[5])
		return false;
	for (text += 5; *text;) {
		unsigned long a = 0, b = n ? n - 1 : 0;
		char *end;

		while (*text == ' ')
			text++;
		if (*text == '-') {
			if (!isdigit((unsigned char)text[1]))
				return false;
			a = strtoul(text + 1, &end, 10);
			a = a < n ? n - a : 0;
			if (text[1] == '0' && end == text + 2)
				a = n; /* -0: none, only how many there are */
		} else {
			if (!isdigit((unsigned char)*text))
				return false;
			a = strtoul(text, &end, 10);
			if (*end != '-')
				return false;
			text = end + 1;
			if (isdigit((unsigned char)*text)) {
				b = strtoul(text, &end, 10);
				if (b < a)
					return false;
			} else {
				end = (char *)(uintptr_t)text;
			}
		}
		for (size_t i = a; i <= b && i < n; i++) {
			want[i] = true;
			if (i < *first)
				*first = i;
			if (i > *last)
				*last = i;
		}
		text = end;
		if (*text == ',')
			text++;
		else if (*text)
			return false;
	}
	return true;
}

static void write_rows(struct task *t, const struct sql *q, const struct rows *rows)
{
	const char *names[SQL_COLUMNS_MAX + 1];
	bool *want = xcalloc(1, rows->n + 1);
	struct prefixes p = {.n = 0};
	size_t first = 0, last = 0;
	unsigned n = 0;

	while (n < q->ncolumns) {
		names[n] = q->columns[n];
		n++;
	}
	names[n] = NULL;
	t->brief = t->brief || !n;
	if (!t->ask->range) {
		memset(want, true, rows->n);
	} else if (!read_rows(t->ask->range, rows->n, want, &first, &last)) {
		dav_status(t->a, 400);
		goto out;
	} else if (rows->n && first < rows->n) {
		buf_fmt(&t->a->head, "Content-Range: rows %zu-%zu; total=%zu\r\n", first, last,
		        rows->n);
	} else if (rows->n && strstr(t->ask->range, "-0") == NULL) {
		buf_fmt(&t->a->head, "Content-Range: rows */%zu\r\n", rows->n);
		dav_status(t->a, 416);
		goto out;
	}
	buf_str(&t->a->head, "Accept-Ranges: rows\r\n");
	for (const char *const *name = n ? names : davprop_names(); *name; name++)
		add_name(&p, *name);
	begin_multistatus(&t->a->body, &p);
	for (size_t i = 0; i < rows->n; i++)
		if (want[i])
			respond(t, &p, &rows->r[i], n ? names : davprop_names(), true);
	end_multistatus(t);
out:
	free_prefixes(&p);
	free(want);
}

static void run_query(struct task *t, const struct sql *q)
{
	struct rows rows = {0};
	struct resource scope;
	int64_t from, to;
	size_t kept = 0;
	bool expand = sql_range(q, &from, &to);

	if (!find_scope(t, q->path, &scope)) {
		dav_status(t->a, 404);
		return;
	}
	if (expand && to - from > DAV_RANGE_MAX) {
		dav_status(t->a, 422);
		return;
	}
	if (scope.folder == FOLDER_ROOT)
		add_folders(&rows, scope.mailbox);
	if (q->traversal != TRAVERSAL_HIERARCHICAL &&
	    (scope.folder == FOLDER_CALENDAR ||
	     (scope.folder == FOLDER_ROOT && q->traversal == TRAVERSAL_DEEP)))
		add_items(t, &rows, expand ? &from : NULL, expand ? &to : NULL);
	for (size_t i = 0; i < rows.n; i++)
		if (sql_match(q, &t->base, &rows.r[i]))
			rows.r[kept++] = rows.r[i];
	rows.n = kept;
	order_query = q;
	order_base = &t->base;
	if (rows.n)
		qsort(rows.r, rows.n, sizeof *rows.r, by_order);
	write_rows(t, q, &rows);
	free(rows.r);
}

static void search(struct task *t)
{
	xmlDoc *doc = read_xml(t, "searchrequest");
	xmlNode *sql = doc ? xml_first(xmlDocGetRootElement(doc)) : NULL;
	char why[SQL_WHY], *text;
	struct sql q;

	if (!doc)
		return;
	if (!xml_is(sql, NS_DAV, "sql") || xml_next(sql) || t->target.item) {
		dav_status(t->a, 400);
	} else {
		text = xml_text(sql);
		if (sql_parse(text, &q, why)) {
			run_query(t, &q);
		} else {
			dav_status(t->a, 400);
			buf_fmt(&t->a->body, "%s\r\n", why);
			t->a->type = "text/plain";
		}
		sql_free(&q);
		free(text);
	}
	xmlFreeDoc(doc);
}

/* --- SUBSCRIBE, POLL, UNSUBSCRIBE --- */
static bool read_seconds(const char *text, int64_t least, int64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	*out = strtoll(text, &end, 10);
	return !*end && *out >= least && *out <= 100000000;
}

/* Of one id in a list: the status that the answer gives it. */
static unsigned id_status(struct task *t, uint32_t id, bool own_uri, struct davsub **sub)
{
	*sub = davsub_find(t->d->subs, id);
	if (!*sub ||
	    (own_uri && ((*sub)->mailbox != t->target.mailbox ||
	                 (*sub)->folder != t->target.folder || (*sub)->item != t->target.item)))
		return 412;
	return (*sub)->mailbox->denied ? 401 : 200;
}

/* One a:response for all ids of this status. */
static void respond_ids(struct task *t, const uint32_t *ids, const unsigned *statuses, unsigned n,
                        unsigned status)
{
	struct buf *b = &t->a->body, url = {0};
	bool any = false;

	for (unsigned i = 0; i < n; i++) {
		if (statuses[i] != status)
			continue;
		if (!any) {
			davprop_href(&url, &t->base, &t->target, false);
			buf_str(b, "<a:response><a:href>");
			buf_xml(b, url.p);
			buf_fmt(b, "</a:href><a:status>HTTP/1.1 %u %s</a:status><b:subscriptionID>",
			        status,
			        status == 200   ? "OK"
			        : status == 204 ? "No Content"
			        : status == 401 ? "Unauthorized"
			                        : "Precondition Failed");
		}
		any = true;
		buf_fmt(b, "<li>%u</li>", ids[i]);
	}
	if (any)
		buf_str(b, "</b:subscriptionID></a:response>");
	buf_free(&url);
}

static void respond_all_ids(struct task *t, const uint32_t *ids, const unsigned *statuses,
                            unsigned n)
{
	static const unsigned order[] = {200, 204, 401, 412};

	buf_str(&t->a->body, "<?xml version=\"1.0\"?><a:multistatus xmlns:b=\"" NS_SUBSCRIPTION
	                     "\" xmlns:a=\"" NS_DAV "\">");
	for (size_t i = 0; i < sizeof order / sizeof *order; i++)
		respond_ids(t, ids, statuses, n, order[i]);
	end_multistatus(t);
}

static void subscribe(struct task *t)
{
	const struct dav_ask *ask = t->ask;
	struct davsub want = {.mailbox = t->target.mailbox,
	                      .folder = t->target.folder,
	                      .item = t->target.item,
	                      .depth = !t->target.item,
	                      .lifetime_s = LIFETIME_DEFAULT};
	char host[CALL_BACK_MAX];
	const struct davsub *sub;
	int64_t delay_s = 0;
	unsigned port;

	dav_status(t->a, 400);
	if (!ask->notification_type || !notify_type_parse(ask->notification_type, &want.type))
		return;
	if (ask->depth && strcmp(ask->depth, "0") != 0 && strcmp(ask->depth, "1") != 0)
		return;
	if (ask->depth)
		want.depth = *ask->depth == '1';
	if (ask->call_back && !call_back_parse(ask->call_back, host, &port))
		return;
	if (ask->lifetime && !read_seconds(ask->lifetime, 1, &want.lifetime_s))
		return;
	if (ask->delay && !read_seconds(ask->delay, 0, &delay_s))
		return;
	if (t->target.item)
		want.ordinal = t->target.what.meeting->ordinal;
	want.delay_ms = delay_s * 1000;
	snprintf(want.call_back, sizeof want.call_back, "%s", ask->call_back ? ask->call_back : "");
	sub = davsub_create(t->d->subs, &want);
	buf_fmt(&t->a->head,
	        "Subscription-id: %u\r\nSubscription-lifetime: %lld\r\nContent-Location: ", sub->id,
	        (long long)sub->lifetime_s);
	davprop_href(&t->a->head, &t->base, &t->target, true);
	buf_str(&t->a->head, "\r\n");
	if (ask->delay && ask->call_back)
		buf_fmt(&t->a->head, "Notification-Delay: %lld\r\n", (long long)delay_s);
	dav_status(t->a, 200);
}

/* The ids of the header; 0: answered with 400. */
static unsigned read_ids(struct task *t, uint32_t ids[DAVSUB_IDS_MAX])
{
	unsigned n = t->ask->subscription_id ? davsub_ids(t->ask->subscription_id, ids) : 0;

	if (!n)
		dav_status(t->a, 400);
	return n;
}

static void renew(struct task *t)
{
	const struct dav_ask *ask = t->ask;
	int64_t lifetime_s = LIFETIME_DEFAULT;
	uint32_t ids[DAVSUB_IDS_MAX];
	unsigned statuses[DAVSUB_IDS_MAX], n = read_ids(t, ids), good = 0;
	struct davsub *sub = NULL;

	if (!n)
		return;
	if (ask->notification_type || ask->depth || ask->call_back ||
	    (ask->lifetime && !read_seconds(ask->lifetime, 1, &lifetime_s))) {
		dav_status(t->a, 400);
		return;
	}
	for (unsigned i = 0; i < n; i++) {
		statuses[i] = id_status(t, ids[i], true, &sub);
		if (statuses[i] == 200) {
			davsub_renew(t->d->subs, sub, lifetime_s);
			lifetime_s = sub->lifetime_s;
			good++;
		}
	}
	buf_fmt(&t->a->head, "Subscription-id: %s\r\n", ask->subscription_id);
	if (!good) {
		dav_status(t->a, 412);
		return;
	}
	buf_fmt(&t->a->head, "Subscription-lifetime: %lld\r\n", (long long)lifetime_s);
	if (n == 1)
		dav_status(t->a, 200);
	else
		respond_all_ids(t, ids, statuses, n);
}

static void poll_ids(struct task *t)
{
	uint32_t ids[DAVSUB_IDS_MAX];
	unsigned statuses[DAVSUB_IDS_MAX], n = read_ids(t, ids);
	struct buf changed = {0};
	struct davsub *sub;

	for (unsigned i = 0; i < n; i++) {
		statuses[i] = id_status(t, ids[i], t->d->poll_own_uri, &sub);
		if (statuses[i] == 200 && !davsub_poll(t->d->subs, sub))
			statuses[i] = 204;
		else if (statuses[i] == 200)
			buf_fmt(&changed, changed.len ? ",%u" : "%u", ids[i]);
	}
	if (changed.len)
		buf_fmt(&t->a->head, "Subscription-id: %s\r\n", changed.p);
	buf_free(&changed);
	if (n)
		respond_all_ids(t, ids, statuses, n);
}

static void unsubscribe(struct task *t)
{
	uint32_t ids[DAVSUB_IDS_MAX];
	unsigned statuses[DAVSUB_IDS_MAX], n = read_ids(t, ids);
	struct davsub *sub;

	for (unsigned i = 0; i < n; i++) {
		statuses[i] = id_status(t, ids[i], true, &sub);
		if (statuses[i] == 200)
			davsub_drop(t->d->subs, sub);
	}
	if (n == 1)
		dav_status(t->a, statuses[0]);
	else if (n)
		respond_all_ids(t, ids, statuses, n);
}

/* --- GET --- */
static void fold_time(struct buf *b, const char *name, int64_t t)
{
	struct civil c = when_civil(t);

	buf_fmt(b, "%s:%04d%02d%02dT%02d%02d%02dZ\r\n", name, c.year, c.month, c.day, c.hour,
	        c.minute, c.second);
}

static void ical_text(struct buf *b, const char *name, const char *text)
{
	buf_fmt(b, "%s:", name);
	for (; *text; text++) {
		if (strchr("\\;,", *text))
			buf_str(b, "\\");
		buf_add(b, text, 1);
	}
	buf_str(b, "\r\n");
}

#define BOUNDARY "----_=_NextPart_001_01C3"

/* An appointment is a message with an iCalendar part (RFC 2445), as the store keeps it. */
static void get_item(struct task *t)
{
	static const char *const busy[] = {"FREE", "TENTATIVE", "BUSY", "OOF", "FREE"};
	const struct resource *r = &t->target;
	const struct meeting *m = r->what.meeting;
	struct buf *b = &t->a->body;
	struct value uid;

	davprop_get(&t->base, r, NS_CALENDAR "uid", &uid);
	buf_str(b, "MIME-Version: 1.0\r\nContent-Class: "
	           "urn:content-classes:appointment\r\nSubject: =?utf-8?B?");
	buf_base64(b, m->subject, strlen(m->subject));
	buf_str(
	    b, "?=\r\nContent-Type: multipart/alternative; boundary=\"" BOUNDARY "\"\r\n\r\n"
	       "--" BOUNDARY "\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\r\n\r\n"
	       "--" BOUNDARY "\r\nContent-Class: urn:content-classes:calendarmessage\r\n"
	       "Content-Type: text/calendar; method=REQUEST; charset=\"utf-8\"\r\n"
	       "Content-Transfer-Encoding: 8bit\r\n\r\n"
	       "BEGIN:VCALENDAR\r\nPRODID:-//Microsoft Corporation//Exchange//EN\r\nVERSION:2.0\r\n"
	       "METHOD:REQUEST\r\nBEGIN:VEVENT\r\n");
	buf_fmt(b, "UID:%s\r\n", uid.text.p);
	buf_free(&uid.text);
	fold_time(b, "DTSTAMP", m->start - 7 * WHEN_DAY + m->change);
	fold_time(b, "DTSTART", r->what.start);
	fold_time(b, "DTEND", r->what.end);
	if (r->instance == INSTANCE_MASTER) {
		buf_fmt(b, "RRULE:FREQ=%s;INTERVAL=%u",
		        m->repeat == REPEAT_DAILY ? "DAILY" : "WEEKLY", m->interval);
		if (m->count)
			buf_fmt(b, ";COUNT=%u", m->count);
		buf_str(b, "\r\n");
		for (unsigned i = 0; i < m->nexc; i++)
			fold_time(b, "EXDATE", m->start + m->exc[i].index * meeting_period(m));
	} else if (r->instance != INSTANCE_SINGLE) {
		fold_time(b, "RECURRENCE-ID", m->start + r->what.index * meeting_period(m));
	}
	ical_text(b, "SUMMARY", m->subject);
	ical_text(b, "LOCATION", m->location);
	buf_fmt(b,
	        "CLASS:%s\r\nTRANSP:%s\r\nX-MICROSOFT-CDO-BUSYSTATUS:%s\r\nX-MICROSOFT-CDO-"
	        "ALLDAYEVENT:%s\r\n"
	        "X-MICROSOFT-CDO-INSTTYPE:%d\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n\r\n--" BOUNDARY
	        "--\r\n",
	        m->secret ? "PRIVATE" : "PUBLIC",
	        r->what.status == STATUS_FREE ? "TRANSPARENT" : "OPAQUE", busy[r->what.status],
	        m->all_day ? "TRUE" : "FALSE", r->instance);
	t->a->status = 200;
	t->a->type = "message/rfc822";
}

/* Outlook Web Access itself: a page whose base names the mailbox (2003), or the way to /owa (2007). */
static void get_folder(struct task *t)
{
	struct buf url = {0};

	if (t->d->version == OWA_2007) {
		buf_fmt(&t->a->head, "Location: %s/owa/\r\n", t->base.origin);
		dav_status(t->a, 302);
		return;
	}
	davprop_href(&url, &t->base, &t->target, true);
	buf_str(&t->a->body,
	        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\r\n<HTML><HEAD>"
	        "<TITLE>Microsoft Outlook Web Access</TITLE>\r\n<BASE href=\"");
	buf_xml(&t->a->body, url.p);
	buf_str(&t->a->body,
	        "\">\r\n</HEAD><FRAMESET cols=\"180,*\"><FRAME name=\"navbar\" src=\"?Cmd=navbar\">"
	        "<FRAME name=\"viewer\" src=\"Inbox/?Cmd=contents\"></FRAMESET></HTML>\r\n");
	t->a->status = 200;
	t->a->type = "text/html; charset=utf-8";
	buf_free(&url);
}

/* OWA of 2007: its first page, and (?ae=Options&t=About) the one that says whose mailbox this is. */
static void get_owa(struct task *t)
{
	char address[STORE_ADDRESS];
	const char *text = store_address(t->d->store, t->d->own, address);
	struct buf *b = &t->a->body;

	buf_str(b,
	        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.0 Transitional//EN\">\r\n<html><head>"
	        "<title>Outlook Web Access</title></head><body>\r\n");
	if (t->ask->ae && strcasecmp(t->ask->ae, "Options") == 0) {
		buf_fmt(b, "<table><tr><td>Mailbox owner: %.*s [", (int)strcspn(text, "@"), text);
		buf_xml(b, text);
		buf_fmt(b,
		        "]</td><td>/o=Example/ou=First Administrative "
		        "Group/cn=Recipients/cn=%.*s</td></tr></table>\r\n",
		        (int)strcspn(text, "@"), text);
	}
	buf_str(b, "</body></html>\r\n");
	t->a->status = 200;
	t->a->type = "text/html; charset=utf-8";
}

/*
 * ?Cmd=galfind&AN=alias: the address list's entry of that alias (2003).
 */
static void find_in_address_list(struct task *t)
{
	struct mailbox *mb = t->ask->an ? davpath_mailbox(t->d->store, t->ask->an) : NULL;
	struct buf *b = &t->a->body;
	char address[STORE_ADDRESS];

	buf_str(b, "<a:response xmlns:a=\"WM\">");
	if (mb) {
		const char *text = store_address(t->d->store, mb, address);
		int alias = (int)strcspn(text, "@");

		buf_fmt(b, "<a:item><a:DN>%.*s</a:DN><a:AN>%.*s</a:AN><a:EM>%s</a:EM></a:item>",
		        alias, text, alias, text, text);
	}
	buf_str(b, "</a:response>");
	t->a->status = 200;
	t->a->type = "text/xml";
}

/* What isn't below a mailbox: the account's own Outlook Web Access. False: there is nothing there. */
static bool own_pages(struct task *t, bool exchange)
{
	bool get = strcmp(t->ask->method, "GET") == 0 || strcmp(t->ask->method, "HEAD") == 0;
	bool owa = strcasecmp(t->ask->path, "/owa") == 0 || strcasecmp(t->ask->path, "/owa/") == 0;
	char address[STORE_ADDRESS], *named;

	if (!t->d->own || !get || !(exchange || (owa && t->d->version == OWA_2007)))
		return false;
	if (owa) {
		get_owa(t);
		return true;
	}
	named = xstrdup(store_address(t->d->store, t->d->own, address));
	if (strcmp(strchr(named, '@') + 1, store_domain(t->d->store)) == 0)
		*strchr(named, '@') = '\0';
	t->target.mailbox = t->d->own;
	t->base.named = named;
	get_folder(t);
	free(named);
	return true;
}

/* --- the store --- */
static void options(struct task *t)
{
	static const char all[] =
	    "OPTIONS, TRACE, GET, HEAD, DELETE, PUT, POST, COPY, MOVE, MKCOL, PROPFIND, PROPPATCH, "
	    "LOCK, UNLOCK, SEARCH, SUBSCRIBE, UNSUBSCRIBE, POLL, BDELETE, BCOPY, BMOVE, "
	    "BPROPPATCH, BPROPFIND, NOTIFY, X-MS-ENUMATTS";
	static const char here[] =
	    "OPTIONS, GET, HEAD, PROPFIND, SEARCH, SUBSCRIBE, UNSUBSCRIBE, POLL";

	buf_fmt(&t->a->head,
	        "DAV: 1,2\r\nDASL: <DAV:sql>\r\nAccept-Ranges: bytes, rows\r\nMS-Author-Via: "
	        "DAV\r\nPublic: %s\r\n"
	        "Allow: %s\r\n",
	        all, here);
	dav_status(t->a, 200);
}

/* The mailbox can't be had; true: it can. */
static bool let_in(struct task *t)
{
	const struct mailbox *mb = t->target.mailbox;

	if (mb->back_end) {
		buf_fmt(&t->a->head, "Location: %s", mb->back_end);
		davprop_href(&t->a->head,
		             &(struct davbase){t->base.store, "", t->base.named, t->base.language},
		             &t->target, true);
		buf_str(&t->a->head, "\r\n");
		dav_status(t->a, 302);
		return false;
	}
	if (mb->move_until_ms > t->d->now_ms) {
		dav_status(t->a, 503);
		return false;
	}
	if (mb->denied || t->d->denied) {
		dav_status(t->a, t->d->denied_status);
		return false;
	}
	return true;
}

static void dispatch(struct task *t)
{
	const char *method = t->ask->method;

	if (strcmp(method, "OPTIONS") == 0)
		options(t);
	else if (strcmp(method, "PROPFIND") == 0)
		propfind(t);
	else if (strcmp(method, "SEARCH") == 0)
		search(t);
	else if (strcmp(method, "SUBSCRIBE") == 0 && t->ask->subscription_id)
		renew(t);
	else if (strcmp(method, "SUBSCRIBE") == 0)
		subscribe(t);
	else if (strcmp(method, "POLL") == 0)
		poll_ids(t);
	else if (strcmp(method, "UNSUBSCRIBE") == 0)
		unsubscribe(t);
	else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		dav_status(t->a, strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
		                         strcmp(method, "DELETE") == 0
		                     ? 405
		                     : 501);
	else if (t->ask->cmd && strcasecmp(t->ask->cmd, "galfind") == 0 &&
	         t->d->version == OWA_2003)
		find_in_address_list(t);
	else if (t->target.item)
		get_item(t);
	else
		get_folder(t);
	if (t->a->status == 405)
		buf_str(&t->a->head, "Allow: OPTIONS, GET, HEAD, PROPFIND, SEARCH, SUBSCRIBE, "
		                     "UNSUBSCRIBE, POLL\r\n");
}

void dav_answer(struct dav *d, const struct dav_ask *ask, struct dav_answer *a)
{
	struct task t = {
	    .d = d, .ask = ask, .a = a, .brief = ask->brief && strcasecmp(ask->brief, "t") == 0};
	struct buf origin = {0};
	struct davpath path;
	bool known = davpath_split(ask->path, &path);

	if (d->back_end_urls)
		buf_str(&origin, "http://exbe1.internal.test");
	else
		buf_fmt(&origin, "https://%s", ask->host ? ask->host : "localhost");
	t.base = (struct davbase){.store = d->store, .origin = origin.p, .named = path.mailbox};
	d->subs->now_ms = d->now_ms;
	t.target.mailbox = known && path.mailbox ? davpath_mailbox(d->store, path.mailbox) : NULL;
	buf_fmt(&a->head, "MS-WebStorage: %s\r\n",
	        d->version == OWA_2003 ? "06.05.7638" : "08.01.10240");
	if (t.target.mailbox)
		t.base.language = (enum language)t.target.mailbox->language;
	if (!t.target.mailbox) {
		if (known && !path.mailbox && strcmp(ask->method, "OPTIONS") == 0)
			options(&t);
		else if (!own_pages(&t, known && !path.mailbox))
			dav_status(a, 404);
	} else if (strcmp(ask->method, "SUBSCRIBE") == 0 && path.folder &&
	           strcasecmp(path.folder, FLAT_URL_SPACE) == 0) {
		dav_status(a, 403); /* a permanent URL can't be subscribed to */
	} else if (let_in(&t)) {
		if (davpath_find(d->store, &path, t.base.language, &t.target))
			dispatch(&t);
		else
			dav_status(a, 404);
	}
	davpath_free(&path);
	buf_free(&origin);
}

bool dav_2010(const struct dav *d, const struct dav_ask *ask, bool has_login, struct dav_answer *a)
{
	bool old = strncasecmp(ask->path, "/exchange", 9) == 0,
	     page = dav_kind(ask->method, ask->path) == REQ_GET;

	if (d->version != OWA_2010 || (!old && !has_login))
		return false;
	buf_str(&a->head, "X-OWA-Version: 14.3.123.3\r\n");
	if (old && (page || d->dav_2010 == 302)) {
		buf_fmt(&a->head, "Location: https://%s/owa/\r\n",
		        ask->host ? ask->host : "localhost");
		dav_status(a, 302);
	} else if (old) {
		dav_status(a, d->dav_2010);
	} else if (page &&
	           (strcasecmp(ask->path, "/owa") == 0 || strcasecmp(ask->path, "/owa/") == 0)) {
		buf_str(&a->body, "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.0 "
		                  "Transitional//EN\">\r\n<html><head>"
		                  "<title>Outlook Web App</title></head><body></body></html>\r\n");
		a->status = 200;
		a->type = "text/html; charset=utf-8";
	} else if (strncasecmp(ask->path, "/owa", 4) == 0 && !page) {
		dav_status(a, 501);
	} else {
		dav_status(a, 404);
	}
	return true;
}
