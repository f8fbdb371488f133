/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "oracle.h"
#include "publisher.h"
#include "push.h"
#include "when.h"

#define BODY_MAX (64 * 1024 * 1024)
#define REPEAT_MAX 10000

struct control {
	struct MHD_Daemon *mhd;
	struct loop *loop;
	struct ews *ews;
	struct front *front;
	struct dav *dav;
	unsigned ncas;
	int port;
};

struct call {
	struct control *c;
	struct MHD_Connection *mhd;
	struct buf body;
	bool too_big;
	const char *method;
	char *path[4]; /* the parts of the URL */
	int npath;
	json_t *in;
	unsigned status;
	char error[200];
};

/* Says what is wrong with a call; NULL, to be returned. */
static __attribute__((format(printf, 3, 4))) json_t *bad(struct call *call, unsigned status,
                                                         const char *fmt, ...)
{
	va_list ap;

	call->status = status;
	va_start(ap, fmt);
	vsnprintf(call->error, sizeof call->error, fmt, ap);
	va_end(ap);
	return NULL;
}

static const char *query(struct call *call, const char *name)
{
	return MHD_lookup_connection_value(call->mhd, MHD_GET_ARGUMENT_KIND, name);
}

/* Whole seconds, rounded down. False: beyond any calendar, or not a number at all. */
static bool whole_seconds(double d, int64_t *t)
{
	if (!(d > -1e11 && d < 1e11))
		return false;
	*t = (int64_t)d;
	if ((double)*t > d)
		--*t;
	return true;
}

/* "2026-11-23T09:00:00Z", seconds since 1970, or "+12.5": from now */
static bool time_text(struct call *call, const char *s, int64_t *t)
{
	bool zoned;
	char *end;
	double d;

	if (when_parse(s, t, &zoned))
		return zoned;
	d = strtod(s, &end);
	if (!*s || *end)
		return false;
	if (*s == '+' || *s == '-')
		d += (double)call->c->loop->wall_ms / 1000;
	return whole_seconds(d, t);
}

static bool time_of(struct call *call, const json_t *v, int64_t *t)
{
	if (json_is_string(v))
		return time_text(call, json_string_value(v), t);
	return json_is_number(v) && whole_seconds(json_number_value(v), t);
}

/* --- meetings --- */
static json_t *meeting_id(const struct meeting *m)
{
	return json_sprintf("%u-%u", m->mailbox, m->ordinal);
}

/* False: refused, it has another one. known ends with NULL. */
static bool only_members(struct call *call, const json_t *in, const char *const *known)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)in, key, v)
	{
		int k = 0;

		while (known[k] && strcmp(known[k], key) != 0)
			k++;
		if (!known[k])
			return bad(call, 400, "unknown member \"%.60s\"", key) != NULL;
	}
	return true;
}

/* Reads what is given into *m. *freebusy: something that shows in free/busy was given. */
static bool read_meeting(struct call *call, const json_t *in, struct meeting *m, bool *freebusy)
{
	static const char *const known[] = {"mailbox",    "start",    "end",     "status",
	                                    "subject",    "location", "private", "all_day",
	                                    "recurrence", NULL};
	json_t *v;

	*freebusy = false;
	if (!only_members(call, in, known))
		return NULL;
	v = json_object_get(in, "start");
	if (v) {
		*freebusy = true;
		if (!time_of(call, v, &m->start))
			return bad(call, 400,
			           "start must be a time with Z or offset, seconds since "
			           "1970, or \"+SECONDS\"");
	}
	v = json_object_get(in, "end");
	if (v) {
		*freebusy = true;
		if (!time_of(call, v, &m->end))
			return bad(call, 400,
			           "end must be a time with Z or offset, seconds since "
			           "1970, or \"+SECONDS\"");
	}
	if (m->end < m->start)
		return bad(call, 400, "end lies before start");
	v = json_object_get(in, "status");
	if (v) {
		*freebusy = true;
		if (!json_is_string(v) || !status_parse(json_string_value(v), &m->status))
			return bad(call, 400,
			           "status must be free, tentative, busy, oof or "
			           "workingelsewhere");
	}
	v = json_object_get(in, "subject");
	if (v) {
		if (!json_is_string(v) || json_string_length(v) >= sizeof m->subject)
			return bad(call, 400, "subject must be a text of at most 63 bytes");
		strcpy(m->subject, json_string_value(v));
	}
	v = json_object_get(in, "location");
	if (v) {
		if (!json_is_string(v) || json_string_length(v) >= sizeof m->location)
			return bad(call, 400, "location must be a text of at most 31 bytes");
		strcpy(m->location, json_string_value(v));
	}
	v = json_object_get(in, "private");
	if (v && !json_is_boolean(v))
		return bad(call, 400, "private must be true or false");
	if (v)
		m->secret = json_is_true(v);
	v = json_object_get(in, "all_day");
	if (v && !json_is_boolean(v))
		return bad(call, 400, "all_day must be true or false");
	if (v)
		m->all_day = json_is_true(v);
	v = json_object_get(in, "recurrence");
	if (v && !json_is_null(v)) {
		const char *type = json_string_value(json_object_get(v, "type"));
		json_t *interval = json_object_get(v, "interval");
		json_t *count = json_object_get(v, "count");
		json_int_t every = interval ? json_integer_value(interval) : 1;
		json_int_t times = count ? json_integer_value(count) : 0;

		*freebusy = true;
		if (!type || (strcmp(type, "daily") != 0 && strcmp(type, "weekly") != 0) ||
		    every < 1 || every > 1000 || times < 0 || times > REPEAT_MAX ||
		    (count && times == 0))
			return bad(call, 400,
			           "recurrence must have type daily or weekly, interval "
			           "1..1000, count 1..%d or none",
			           REPEAT_MAX);
		m->repeat = strcmp(type, "daily") == 0 ? REPEAT_DAILY : REPEAT_WEEKLY;
		m->interval = (uint32_t)every;
		m->count = (uint32_t)times;
	} else if (v) {
		*freebusy = true;
		m->repeat = REPEAT_NONE;
		m->nexc = 0;
	}
	return true;
}

static json_t *post_meeting(struct call *call, const json_t *in)
{
	const char *address = json_string_value(json_object_get(in, "mailbox"));
	struct mailbox *mb = address ? store_find(call->c->ews->store, address) : NULL;
	struct meeting m = {.status = STATUS_BUSY, .interval = 1};
	bool freebusy;

	if (!json_is_object(in) || !address)
		return bad(call, 400, "a meeting is an object with mailbox, start and end");
	if (!mb)
		return bad(call, 404, "there is no mailbox %.100s", address);
	if (!json_object_get(in, "start") || !json_object_get(in, "end"))
		return bad(call, 400, "start and end are needed");
	if (!read_meeting(call, in, &m, &freebusy))
		return NULL;
	store_create(call->c->ews->store, mb, &m);
	return json_pack("{s:o, s:I, s:I}", "id", meeting_id(&m), "start", (json_int_t)m.start,
	                 "end", (json_int_t)m.end);
}

static json_t *post_meetings(struct call *call)
{
	json_t *out, *v;
	size_t i;

	if (!json_is_array(call->in))
		return post_meeting(call, call->in);
	out = json_array();
	json_array_foreach(call->in, i, v)
	{
		json_t *one = post_meeting(call, v);

		if (!one) {
			char why[sizeof call->error];

			json_decref(out);
			memcpy(why, call->error, sizeof why);
			return bad(call, call->status,
			           "number %zu (those before it were made): %.150s", i, why);
		}
		json_array_append_new(out, one);
	}
	return out;
}

static bool split_id(struct call *call, struct mailbox **mb, uint32_t *ordinal)
{
	unsigned index;
	int n = 0;

	if (sscanf(call->path[1], "%9u-%9u%n", &index, ordinal, &n) == 2 && !call->path[1][n] &&
	    index < store_size(call->c->ews->store)) {
		*mb = store_at(call->c->ews->store, index);
		return true;
	}
	bad(call, 404, "there is no meeting %.40s", call->path[1]);
	return false;
}

/* ?occurrence=N: the exception of that number, made if there is none yet; NULL: refused */
static struct exception *exception_of(struct call *call, struct meeting *m, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (!*text || *end || m->repeat == REPEAT_NONE || (m->count && n >= m->count) ||
	    n > REPEAT_MAX) {
		bad(call, 404, "the meeting has no occurrence %.20s", text);
		return NULL;
	}
	for (unsigned i = 0; i < m->nexc; i++)
		if (m->exc[i].index == n)
			return &m->exc[i];
	if (m->nexc == MEETING_EXCEPTIONS) {
		bad(call, 409, "a series has at most %d exceptions here", MEETING_EXCEPTIONS);
		return NULL;
	}
	m->exc[m->nexc] = (struct exception){.index = (uint32_t)n,
	                                     .status = m->status,
	                                     .start = m->start + (int64_t)n * meeting_period(m),
	                                     .end = m->end + (int64_t)n * meeting_period(m)};
	return &m->exc[m->nexc++];
}

static json_t *patch_meeting(struct call *call)
{
	struct store *s = call->c->ews->store;
	const char *occurrence = query(call, "occurrence");
	struct exception *x = NULL;
	struct mailbox *mb;
	struct meeting *m, copy;
	uint32_t ordinal;
	bool freebusy;

	if (!split_id(call, &mb, &ordinal))
		return NULL;
	m = store_edit(s, mb, ordinal);
	if (!m)
		return bad(call, 404, "there is no meeting %.40s", call->path[1]);
	copy = *m;
	if (!json_is_object(call->in) || json_object_get(call->in, "mailbox"))
		return bad(call, 400,
		           "an object with what changes is needed; a meeting stays in "
		           "its mailbox");
	if (occurrence) {
		x = exception_of(call, &copy, occurrence);
		if (!x)
			return NULL;
		if (x->deleted)
			return bad(call, 404, "that occurrence was deleted");
		copy.start = x->start;
		copy.end = x->end;
		copy.status = x->status;
	}
	if (!read_meeting(call, call->in, &copy, &freebusy))
		return NULL;
	if (x) {
		x->start = copy.start;
		x->end = copy.end;
		x->status = copy.status;
		copy.start = m->start;
		copy.end = m->end;
		copy.status = m->status;
	}
	*m = copy;
	store_modified(s, mb, m, freebusy);
	return json_pack("{s:o}", "id", meeting_id(m));
}

static json_t *delete_meeting(struct call *call)
{
	struct store *s = call->c->ews->store;
	const char *occurrence = query(call, "occurrence"), *how = query(call, "how");
	struct mailbox *mb;
	uint32_t ordinal;

	if (!split_id(call, &mb, &ordinal))
		return NULL;
	if (occurrence) {
		struct meeting *m = store_edit(s, mb, ordinal);
		struct exception *x = m ? exception_of(call, m, occurrence) : NULL;

		if (!m)
			return bad(call, 404, "there is no meeting %.40s", call->path[1]);
		if (!x)
			return NULL;
		x->deleted = true;
		store_modified(s, mb, m, true);
	} else if (!store_delete(s, mb, ordinal,
	                         how && strcmp(how, "move") == 0 ? CHANGE_MOVED : CHANGE_DELETED)) {
		return bad(call, 404, "there is no meeting %.40s", call->path[1]);
	}
	return json_object();
}

static struct mailbox *asked_mailbox(struct call *call, const char *address)
{
	struct mailbox *mb = address ? store_find(call->c->ews->store, address) : NULL;

	if (!mb)
		bad(call, address ? 404 : 400, "there is no mailbox %.100s",
		    address ? address : "given: ?mailbox=ADDRESS is needed");
	return mb;
}

static json_t *get_meetings(struct call *call)
{
	struct mailbox *mb = asked_mailbox(call, query(call, "mailbox"));
	int64_t from = call->c->loop->wall_s, to;
	const struct occurrence *o;
	json_t *out;
	size_t n;

	if (!mb)
		return NULL;
	if (query(call, "from") && !time_text(call, query(call, "from"), &from))
		return bad(call, 400, "from is not a time");
	to = from + 7 * WHEN_DAY;
	if (query(call, "to") && !time_text(call, query(call, "to"), &to))
		return bad(call, 400, "to is not a time");
	o = store_expand(call->c->ews->store, mb, from, to, &n);
	out = json_array();
	for (size_t i = 0; i < n; i++) {
		const struct meeting *m = o[i].meeting;
		json_t *j =
		    json_pack("{s:o, s:I, s:I, s:s, s:s, s:s, s:b, s:b}", "id", meeting_id(m),
		              "start", (json_int_t)o[i].start, "end", (json_int_t)o[i].end,
		              "status", status_name(o[i].status), "subject", m->subject, "location",
		              m->location, "private", m->secret, "all_day", m->all_day);

		if (m->repeat != REPEAT_NONE) {
			json_object_set_new(j, "occurrence", json_integer(o[i].index));
			json_object_set_new(j, "exception", json_boolean(o[i].exception));
		}
		json_array_append_new(out, j);
	}
	return out;
}

/* --- the oracle --- */

/* Written in slices, so that a hundred thousand of them don't hold up everything else. */
struct expected {
	struct store *store;
	int64_t at;
	uint32_t next, end;
	bool any, closed;
	struct buf out;
};

#define SLICE 200

static void expect(struct expected *x, struct mailbox *mb)
{
	char address[STORE_ADDRESS];
	size_t n;
	const struct meeting *m = store_meetings(x->store, mb, &n);
	struct verdict v = oracle(m, n, x->at);
	struct buf *b = &x->out;

	buf_fmt(b, "%s\"%s\":{\"status\":\"%s\",\"until\":", x->any ? "," : "",
	        store_address(x->store, mb, address), status_name(v.status));
	if (v.until == ORACLE_NEVER)
		buf_str(b, "null");
	else
		buf_fmt(b, "%lld", (long long)v.until);
	buf_fmt(b, ",\"availability\":\"%s\",\"availability_until\":", v.availability);
	if (v.availability_until == ORACLE_NEVER)
		buf_str(b, "null}");
	else
		buf_fmt(b, "%lld}", (long long)v.availability_until);
	x->any = true;
}

static ssize_t expected_read(void *arg, uint64_t pos, char *out, size_t max)
{
	struct expected *x = arg;
	size_t n;

	(void)pos;
	for (int i = 0; i < SLICE && x->next < x->end && x->out.len < max; x->next++) {
		struct mailbox *mb = store_at(x->store, x->next);

		if (mb->exists) {
			expect(x, mb);
			i++;
		}
	}
	if (x->next >= x->end && !x->closed) {
		buf_str(&x->out, "}");
		x->closed = true;
	}
	if (!x->out.len)
		return MHD_CONTENT_READER_END_OF_STREAM;
	n = x->out.len < max ? x->out.len : max;
	memcpy(out, x->out.p, n);
	buf_drop(&x->out, n);
	return (ssize_t)n;
}

static void expected_free(void *arg)
{
	struct expected *x = arg;

	buf_free(&x->out);
	free(x);
}

static struct MHD_Response *get_expected(struct call *call)
{
	const char *at = query(call, "at"), *address = query(call, "mailbox");
	struct expected *x;
	int64_t t = call->c->loop->wall_s;
	struct mailbox *mb = NULL;

	if (at && !time_text(call, at, &t)) {
		bad(call, 400, "at is not a time");
		return NULL;
	}
	if (address && !(mb = asked_mailbox(call, address)))
		return NULL;
	x = xcalloc(1, sizeof *x);
	x->store = call->c->ews->store;
	x->at = t;
	x->next = mb ? mb->index : 0;
	x->end = mb ? mb->index + 1 : store_size(x->store);
	buf_str(&x->out, "{");
	return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32768, expected_read, x,
	                                         expected_free);
}

/* --- mailboxes --- */
static json_t *post_mailbox(struct call *call)
{
	const char *address = json_string_value(json_object_get(call->in, "address"));
	json_t *denied = json_object_get(call->in, "denied");
	json_t *no_freebusy = json_object_get(call->in, "no_freebusy");
	json_t *merged_only = json_object_get(call->in, "merged_only");
	json_t *oof = json_object_get(call->in, "oof");
	json_t *no_details = json_object_get(call->in, "no_details");
	json_t *back_end = json_object_get(call->in, "back_end");
	int64_t from = 0, until = 0;
	const char *folders = json_string_value(json_object_get(call->in, "folders"));
	enum language language;
	struct mailbox *mb = address ? store_add(call->c->ews->store, address) : NULL;

	if (!mb)
		return bad(call, 400, "address must be a mail address");
	if ((denied && !json_is_boolean(denied)) ||
	    (no_freebusy && !json_is_boolean(no_freebusy)) ||
	    (merged_only && !json_is_boolean(merged_only)) ||
	    (no_details && !json_is_boolean(no_details)))
		return bad(call, 400,
		           "denied, no_freebusy, merged_only and no_details must be true or "
		           "false");
	if (oof && !json_is_boolean(oof) &&
	    (!time_of(call, json_object_get(oof, "from"), &from) ||
	     !time_of(call, json_object_get(oof, "until"), &until)))
		return bad(call, 400, "oof must be true, false, or have the times from and until");
	if (folders && !language_parse(folders, &language))
		return bad(call, 400, "folders must be en, de, fr or ja");
	if (folders)
		mb->language = (uint8_t)language;
	if (back_end) {
		free(mb->back_end);
		mb->back_end =
		    json_is_string(back_end) ? xstrdup(json_string_value(back_end)) : NULL;
	}
	if (denied)
		mb->denied = json_is_true(denied);
	if (no_freebusy)
		mb->no_freebusy = json_is_true(no_freebusy);
	if (merged_only)
		mb->merged_only = json_is_true(merged_only);
	if (oof) {
		mb->oof = json_is_true(oof)    ? OOF_ENABLED
		          : json_is_false(oof) ? OOF_DISABLED
		                               : OOF_SCHEDULED;
		mb->oof_from = from;
		mb->oof_until = until;
	}
	if (no_details)
		mb->no_details = json_is_true(no_details);
	return json_object();
}

static json_t *delete_mailbox(struct call *call)
{
	struct mailbox *mb = asked_mailbox(call, call->path[1]);

	if (!mb)
		return NULL;
	subs_drop(call->c->ews->subs, mb, -1, -1, "ErrorSubscriptionNotFound");
	davsubs_drop(call->c->dav->subs, mb);
	store_remove(mb);
	return json_object();
}

static void deafen(void *arg, const struct subscription *sub)
{
	if (sub->mailbox == arg)
		((struct subscription *)sub)->deaf = true;
}

static json_t *move_mailbox(struct call *call)
{
	struct mailbox *mb = asked_mailbox(call, call->path[1]);
	json_t *seconds = json_object_get(call->in, "seconds");
	bool silent = json_is_true(json_object_get(call->in, "silent"));
	double s = seconds ? json_number_value(seconds) : 30;

	if (!mb)
		return NULL;
	if (!(s >= 0) || s > 1e6)
		return bad(call, 400, "seconds must be a number from 0 to 1000000");
	mb->move_until_ms = call->c->loop->now_ms + (int64_t)(s * 1000);
	if (silent) {
		subs_each(call->c->ews->subs, deafen, mb);
		for (struct davsub *sub = mb->davsubs; sub; sub = sub->next)
			sub->deaf = true;
	} else {
		subs_drop(call->c->ews->subs, mb, -1, -1, "ErrorReadEventsFailed");
		davsubs_drop(call->c->dav->subs, mb);
	}
	return json_object();
}

/* --- CAS --- */

/* -1: not one, or none was named (and the call is answered only in the first case) */
static int cas_of(struct call *call, const char *name)
{
	for (unsigned i = 0; name && i < front_count(call->c->front); i++)
		if (strcmp(front_name(call->c->front, i), name) == 0)
			return (int)i;
	if (name)
		bad(call, 404, "there is no server %.40s", name);
	return -1;
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

static json_t *fail_cas(struct call *call)
{
	static const struct {
		const char *name;
		enum ailment ail;
		unsigned status;
	} ways[] = {
	    {"refuse", AIL_REFUSE, 0}, {"hang", AIL_HANG, 0},    {"freeze", AIL_FREEZE, 0},
	    {"code", AIL_CODE, 0},     {"503", AIL_STATUS, 503}, {"404", AIL_STATUS, 404},
	    {"401", AIL_STATUS, 401},  {"403", AIL_STATUS, 403}, {"500", AIL_STATUS, 500},
	    {"507", AIL_STATUS, 507},  {"440", AIL_STATUS, 440}, {"busy", AIL_BUSY, 0},
	};
	int cas = cas_of(call, call->path[1]);
	json_t *how_json = json_object_get(call->in, "how");
	json_t *retry = json_object_get(call->in, "retry_after");
	const char *code = json_string_value(json_object_get(call->in, "code"));
	int retry_after = retry ? (int)json_integer_value(retry) : -1;
	char how[24] = "";

	if (cas < 0)
		return NULL;
	if (json_is_string(how_json))
		snprintf(how, sizeof how, "%s", json_string_value(how_json));
	else if (json_is_integer(how_json))
		snprintf(how, sizeof how, "%d", (int)json_integer_value(how_json));
	if (retry && (!json_is_integer(retry) || retry_after < 0))
		return bad(call, 400, "retry_after must be a number of seconds");
	if (strcmp(how, "cut") == 0)
		return json_pack("{s:I}", "cut",
		                 (json_int_t)front_cut(call->c->front, (unsigned)cas, false));
	if (strcmp(how, "denied") == 0) {
		front_heal(call->c->front, (unsigned)cas);
		call->c->ews->denied[cas] = true;
		return json_object();
	}
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		if (strcmp(ways[i].name, how) == 0) {
			struct front_failure x = {ways[i].ail, ways[i].status, retry_after, code};

			if (front_is_owa(call->c->front, (unsigned)cas) &&
			    (ways[i].ail == AIL_CODE || ways[i].ail == AIL_BUSY))
				return bad(call, 400,
				           "that is how a CAS fails; an OWA front end says 503");
			if (ways[i].ail == AIL_CODE &&
			    (!code || !*code || code[strspn(code, LETTERS)]))
				return bad(call, 400, "code is needed: a ResponseCode");
			if (front_fail(call->c->front, (unsigned)cas, &x) < 0)
				return bad(call, 500, "the port can't be opened again");
			/* they lived in the memory of the server that died */
			if (ways[i].ail == AIL_REFUSE &&
			    !json_is_true(json_object_get(call->in, "keep_subscriptions")))
				subs_drop(call->c->ews->subs, NULL, cas, -1, NULL);
			return json_object();
		}
	return bad(call, 400,
	           "how must be refuse, hang, freeze, 503, 404, 401, 403, 440, 500, 507, busy, "
	           "code, denied or cut");
}

static json_t *fail_over(struct call *call)
{
	struct ews *ews = call->c->ews;
	unsigned n, all = call->c->ncas * ews->affinity.backends, cas, backend;
	int len = 0;

	if (sscanf(call->path[1], "mbx%9u%n", &n, &len) != 1 || call->path[1][len] || n < 1 ||
	    n > all)
		return bad(call, 404, "there is no server %.40s: mbx1 to mbx%u", call->path[1],
		           all);
	cas = (n - 1) / ews->affinity.backends;
	backend = (n - 1) % ews->affinity.backends;
	affinity_fail_over(&ews->affinity, cas, backend);
	front_cut_server(call->c->front, cas, backend);
	return json_pack("{s:I}", "dropped",
	                 (json_int_t)subs_drop(ews->subs, NULL, (int)cas, (int)backend, NULL));
}

/* A number from 0 to max in in[name], `otherwise` when it isn't there. False: refused. */
static bool number_in(struct call *call, const char *name, json_int_t max, json_int_t otherwise,
                      json_int_t *out)
{
	const json_t *v = json_object_get(call->in, name);

	*out = v ? json_integer_value(v) : otherwise;
	if (!v || (json_is_integer(v) && *out >= 0 && *out <= max))
		return true;
	return bad(call, 400, "%s must be a number from 0 to %lld", name, (long long)max) != NULL;
}

static bool read_dress(struct call *call, struct spoil *s)
{
	const json_t *prefix = json_object_get(call->in, "prefix");
	const char *text = json_string_value(prefix);
	json_int_t chunk;

	if (prefix && (!text || (strcmp(text, "other") != 0 && strcmp(text, "none") != 0)))
		return bad(call, 400, "prefix must be other or none") != NULL;
	if (text)
		s->dress.prefix = strcmp(text, "other") == 0 ? PREFIX_OTHER : PREFIX_NONE;
	s->dress.bom = json_is_true(json_object_get(call->in, "bom"));
	s->dress.comments = json_is_true(json_object_get(call->in, "comments"));
	s->dress.cdata = json_is_true(json_object_get(call->in, "cdata"));
	s->joined = json_is_true(json_object_get(call->in, "joined"));
	if (!number_in(call, "chunk", 32768, 0, &chunk))
		return false;
	s->chunk = (unsigned)chunk;
	return true;
}

static json_t *post_fault(struct call *call)
{
	static const char *const ways[] = {"", "503", "page", "type", "cut", "trickle", "endless"};
	static const char *const known[] = {"cas",   "kind",        "times",  "how", "bytes",
	                                    "type",  "retry_after", "prefix", "bom", "comments",
	                                    "cdata", "chunk",       "joined", NULL};
	const char *kind = json_string_value(json_object_get(call->in, "kind"));
	const char *how = json_string_value(json_object_get(call->in, "how"));
	const char *type = json_string_value(json_object_get(call->in, "type"));
	const char *name = json_string_value(json_object_get(call->in, "cas"));
	struct fault x = {.cas = cas_of(call, name), .kind = -1};
	json_int_t times, bytes, retry;
	int w = 0;

	if (!json_is_object(call->in))
		return bad(call, 400, "an object is needed");
	if (!only_members(call, call->in, known))
		return NULL;
	if (name && x.cas < 0)
		return NULL;
	for (int k = 0; kind && k < REQ_KINDS; k++)
		if (strcmp(request_kind_name((enum request_kind)k), kind) == 0)
			x.kind = k;
	if (kind && x.kind < 0)
		return bad(call, 400, "there are no requests of kind %.40s", kind);
	while (how && w < BREAKAGES && strcmp(ways[w], how) != 0)
		w++;
	if (w == BREAKAGES)
		return bad(call, 400, "how must be 503, page, type, cut, trickle or endless");
	if (!number_in(call, "times", 1000000, -1, &times) ||
	    !number_in(call, "bytes", 1000000000, 1, &bytes) ||
	    !number_in(call, "retry_after", 1000000, -1, &retry) || !read_dress(call, &x.spoil))
		return NULL;
	x.left = times;
	x.spoil.how = (enum breakage)w;
	x.spoil.status = 503;
	x.spoil.retry_after = (int)retry;
	x.spoil.bytes = (unsigned)bytes;
	snprintf(x.spoil.type, sizeof x.spoil.type, "%s", type ? type : "application/octet-stream");
	front_spoil(call->c->front, &x);
	return json_object();
}

static json_t *get_faults(struct call *call)
{
	json_t *out = json_array();

	for (const struct fault *x = front_faults(call->c->front); x; x = x->next)
		json_array_append_new(out, json_pack("{s:I, s:I}", "told", (json_int_t)x->told,
		                                     "left", (json_int_t)x->left));
	return out;
}

static json_t *heal_cas(struct call *call)
{
	int cas = cas_of(call, call->path[1]);

	if (cas < 0)
		return NULL;
	if (front_heal(call->c->front, (unsigned)cas) < 0)
		return bad(call, 500, "the port can't be opened again");
	return json_object();
}

/* --- subscriptions, streams, counters --- */
static json_t *drop(struct call *call)
{
	const char *address = json_string_value(json_object_get(call->in, "mailbox"));
	const char *name = json_string_value(json_object_get(call->in, "cas"));
	bool all = json_is_true(json_object_get(call->in, "all"));
	bool silent = json_is_true(json_object_get(call->in, "silent"));
	json_t *id = json_object_get(call->in, "id");
	struct mailbox *mb = NULL;
	int cas = cas_of(call, name);
	struct davsub *dav;
	json_int_t n;

	if (name && cas < 0)
		return NULL;
	if (address && !(mb = asked_mailbox(call, address)))
		return NULL;
	if (id) {
		dav = davsub_find(call->c->dav->subs, (uint32_t)json_integer_value(id));
		if (dav)
			davsub_drop(call->c->dav->subs, dav);
		return json_pack("{s:i}", "dropped", dav != NULL);
	}
	if (!address && !name && !all)
		return bad(call, 400, "mailbox, cas, id or \"all\": true is needed");
	n = subs_drop(call->c->ews->subs, mb, cas, -1, silent ? NULL : "ErrorSubscriptionNotFound");
	if (cas < 0 || front_is_owa(call->c->front, (unsigned)cas))
		n += davsubs_drop(call->c->dav->subs, mb);
	return json_pack("{s:I}", "dropped", n);
}

static json_t *end_streams(struct call *call, bool cut)
{
	const char *name = json_string_value(json_object_get(call->in, "cas"));
	int cas = cas_of(call, name);
	json_int_t n = 0;

	if (name && cas < 0)
		return NULL;
	for (unsigned i = 0; cut && i < front_count(call->c->front); i++)
		if (cas < 0 || (unsigned)cas == i)
			n += front_cut(call->c->front, i, true);
	for (struct stream *st = cut ? NULL : streams(call->c->ews->subs); st; st = st->next)
		if (!st->over && (cas < 0 || (unsigned)cas == st->cas)) {
			stream_say_closed(call->c->ews->subs, st);
			n++;
		}
	return json_pack("{s:I}", cut ? "cut" : "closed", n);
}

static json_t *cas_counters(struct call *call, unsigned i)
{
	const struct counters *all = call->c->ews->counters;
	const struct cas_counters *n = &all->cas[i];
	json_t *requests = json_object(), *refusals = json_object(), *out;
	bool owa = front_is_owa(call->c->front, i);

	for (int k = 0; k < REQ_KINDS; k++)
		if (k == REQ_OTHER || (k >= REQ_DAV) == front_is_owa(call->c->front, i))
			json_object_set_new(requests, request_kind_name((enum request_kind)k),
			                    json_integer((json_int_t)n->requests[k]));
	for (unsigned k = 0; k < all->nrefusals; k++)
		if (all->refusals[k].n[i])
			json_object_set_new(refusals, all->refusals[k].reason,
			                    json_integer((json_int_t)all->refusals[k].n[i]));
	out = json_pack(
	    "{s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state",
	    front_state(call->c->front, i), "requests", requests, "refusals", refusals,
	    "connections", (json_int_t)n->connections, "peak_connections",
	    (json_int_t)n->peak_connections, "connects", (json_int_t)n->connects, "streams",
	    (json_int_t)streams_count(call->c->ews->subs, i), "subscriptions",
	    (json_int_t)(owa ? call->c->dav->subs->count : subs_count(call->c->ews->subs, i)),
	    "mailboxes_asked", (json_int_t)n->mailboxes_asked, "failed_logins",
	    (json_int_t)n->failed_logins, "peak_concurrency", (json_int_t)n->peak_concurrency,
	    "notifications", (json_int_t)n->notifications, "events", (json_int_t)n->events,
	    "misrouted", (json_int_t)n->misrouted);
	if (owa)
		json_object_set_new(out, "notifications_lost",
		                    json_integer((json_int_t)n->notifications_lost));
	return out;
}

/* Adds the numbers in b to those in a, objects member by member; peaks: the higher. */
static void add_up(json_t *a, json_t *b)
{
	const char *key;
	json_t *v;

	json_object_foreach(b, key, v)
	{
		json_t *old = json_object_get(a, key);
		json_int_t x = json_integer_value(old), y = json_integer_value(v);

		if (json_is_object(v)) {
			if (!old) {
				old = json_object();
				json_object_set_new(a, key, old);
			}
			add_up(old, v);
		} else if (json_is_integer(v)) {
			bool peak = strncmp(key, "peak_", 5) == 0;

			json_object_set_new(a, key, json_integer(peak ? (x > y ? x : y) : x + y));
		}
	}
}

static json_t *get_counters(struct call *call)
{
	const struct counters *n = call->c->ews->counters;
	json_t *total = json_object(), *by_cas = json_object(), *seconds = json_object();
	int64_t now = call->c->loop->wall_s;

	for (unsigned i = 0; i < front_count(call->c->front); i++) {
		json_t *one = cas_counters(call, i);

		add_up(total, one);
		json_object_set_new(by_cas, front_name(call->c->front, i), one);
	}
	for (int64_t t = now - SUBSCRIBE_SECONDS + 1; t <= now; t++) {
		int64_t i = t % SUBSCRIBE_SECONDS;
		char key[24];

		if (n->subscribes_at[i] != t || !n->subscribes[i])
			continue;
		snprintf(key, sizeof key, "%lld", (long long)t);
		json_object_set_new(seconds, key, json_integer(n->subscribes[i]));
	}
	json_object_set_new(total, "cas", by_cas);
	json_object_set_new(total, "subscribes_per_second", seconds);
	return total;
}

struct list {
	struct call *call;
	const struct mailbox *mb;
	json_t *out;
};

static void list_one(void *arg, const struct subscription *sub)
{
	struct list *l = arg;
	char address[STORE_ADDRESS], server[16];

	snprintf(server, sizeof server, "mbx%u",
	         affinity_number(&l->call->c->ews->affinity, sub->cas, sub->backend));
	if (l->mb && sub->mailbox != l->mb)
		return;
	json_array_append_new(
	    l->out, json_pack("{s:s, s:s, s:s, s:s, s:s, s:b, s:I, s:s*}", "mailbox",
	                      store_address(l->call->c->ews->store, sub->mailbox, address), "cas",
	                      front_name(l->call->c->front, sub->cas), "server", server, "id",
	                      sub->id, "kind",
	                      sub->push   ? "push"
	                      : sub->pull ? "pull"
	                                  : "streaming",
	                      "streamed", sub->stream != NULL, "queued", (json_int_t)sub->qlen,
	                      "url", sub->push ? sub->push->url : NULL));
}

static void list_dav(struct list *l, const struct davsub *sub)
{
	char address[STORE_ADDRESS];
	int64_t left_ms = sub->ends_ms - l->call->c->loop->now_ms;

	if ((l->mb && sub->mailbox != l->mb) || left_ms <= 0)
		return;
	json_array_append_new(
	    l->out,
	    json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:b, s:b, s:I}", "mailbox",
	              store_address(l->call->c->ews->store, sub->mailbox, address), "cas",
	              front_name(l->call->c->front, front_count(l->call->c->front) - 1), "id",
	              (json_int_t)sub->id, "kind", "webdav", "call_back", sub->call_back,
	              "lifetime", (json_int_t)sub->lifetime_s, "changed", sub->changed, "notifying",
	              sub->listed, "left", (json_int_t)(left_ms / 1000)));
}

static json_t *get_subscriptions(struct call *call)
{
	const char *address = query(call, "mailbox");
	struct list l = {.call = call};

	if (address && !(l.mb = asked_mailbox(call, address)))
		return NULL;
	l.out = json_array();
	subs_each(call->c->ews->subs, list_one, &l);
	for (struct davsub *sub = call->c->dav->subs->all; sub; sub = sub->hh.next)
		list_dav(&l, sub);
	return l.out;
}

static json_t *post_account(struct call *call)
{
	const char *password = json_string_value(json_object_get(call->in, "password"));

	if (!password)
		return bad(call, 400, "password must be a text");
	front_password(call->c->front, password);
	return json_object();
}

/* --- the OWA front end and the store behind it --- */
static bool word_in(struct call *call, const char *name, const char *off, const char *on, bool *out)
{
	const json_t *v = json_object_get(call->in, name);
	const char *text = json_string_value(v);

	if (!v)
		return true;
	if (!text || (strcmp(text, off) != 0 && strcmp(text, on) != 0))
		return bad(call, 400, "%s must be %s or %s", name, off, on) != NULL;
	*out = strcmp(text, on) == 0;
	return true;
}

static json_t *post_webdav(struct call *call)
{
	static const char *const known[] = {
	    "urls",        "poll",         "denied_status", "max_lifetime",
	    "lose_notify", "notify_twice", "notify_repeat", "login",
	    "logon_page",  "publish_lag",  "tentative",     "dav_2010",
	    NULL};
	struct dav *d = call->c->dav;
	struct logon *logon = front_logon(call->c->front);
	json_int_t lifetime, lose, repeat, status, lag, dav_2010;

	if (!json_is_object(call->in))
		return bad(call, 400, "an object is needed");
	if (!only_members(call, call->in, known))
		return NULL;
	if (!number_in(call, "max_lifetime", 100000000, d->subs->max_lifetime_s, &lifetime) ||
	    !number_in(call, "lose_notify", 1000000, d->subs->lose_each, &lose) ||
	    !number_in(call, "notify_repeat", 1000000, d->subs->repeat_ms / 1000, &repeat) ||
	    !number_in(call, "denied_status", 499, d->denied_status, &status) ||
	    !number_in(call, "publish_lag", 1000000, d->publisher->lag_ms / 1000, &lag) ||
	    !number_in(call, "dav_2010", 599, d->dav_2010, &dav_2010) ||
	    !word_in(call, "tentative", "published", "missing", &d->publisher->tentative_missing) ||
	    !word_in(call, "urls", "asked", "backend", &d->back_end_urls) ||
	    !word_in(call, "login", "basic", "forms", &logon->on) ||
	    !word_in(call, "logon_page", "there", "missing", &logon->page_missing) ||
	    !word_in(call, "poll", "any", "own", &d->poll_own_uri))
		return NULL;
	if (status != 401 && status != 403)
		return bad(call, 400, "denied_status must be 401 or 403");
	if (!lifetime || (!repeat && json_object_get(call->in, "notify_repeat")))
		return bad(call, 400, "max_lifetime and notify_repeat are at least a second");
	if (dav_2010 != 302 && dav_2010 != 404 && dav_2010 != 405 && dav_2010 != 501 &&
	    dav_2010 != 440)
		return bad(call, 400, "dav_2010 must be 302, 404, 405, 440 or 501");
	d->subs->max_lifetime_s = lifetime;
	d->publisher->lag_ms = lag * 1000;
	d->dav_2010 = (unsigned)dav_2010;
	d->subs->lose_each = (unsigned)lose;
	if (json_object_get(call->in, "notify_repeat"))
		d->subs->repeat_ms = repeat * 1000;
	if (json_object_get(call->in, "notify_twice"))
		d->subs->twice = json_is_true(json_object_get(call->in, "notify_twice"));
	d->denied_status = (unsigned)status;
	return json_object();
}

/* --- HTTP --- */
static bool route(struct call *call, const char *method, int n, const char *first, const char *last)
{
	return strcmp(call->method, method) == 0 && call->npath == n &&
	       strcmp(call->path[0], first) == 0 && (!last || strcmp(call->path[n - 1], last) == 0);
}

static json_t *dispatch(struct call *call)
{
	if (route(call, "POST", 1, "meetings", NULL))
		return post_meetings(call);
	if (route(call, "GET", 1, "meetings", NULL))
		return get_meetings(call);
	if (route(call, "PATCH", 2, "meetings", NULL))
		return patch_meeting(call);
	if (route(call, "DELETE", 2, "meetings", NULL))
		return delete_meeting(call);
	if (route(call, "POST", 1, "mailboxes", NULL))
		return post_mailbox(call);
	if (route(call, "DELETE", 2, "mailboxes", NULL))
		return delete_mailbox(call);
	if (route(call, "POST", 3, "mailboxes", "move"))
		return move_mailbox(call);
	if (route(call, "POST", 3, "cas", "fail"))
		return fail_cas(call);
	if (route(call, "POST", 3, "cas", "heal"))
		return heal_cas(call);
	if (route(call, "POST", 3, "servers", "failover"))
		return fail_over(call);
	if (route(call, "POST", 1, "faults", NULL))
		return post_fault(call);
	if (route(call, "GET", 1, "faults", NULL))
		return get_faults(call);
	if (route(call, "DELETE", 1, "faults", NULL)) {
		front_clear(call->c->front);
		return json_object();
	}
	if (route(call, "POST", 1, "webdav", NULL))
		return post_webdav(call);
	if (route(call, "POST", 2, "webdav", "logoff"))
		return json_pack("{s:I}", "dropped",
		                 (json_int_t)logon_drop(front_logon(call->c->front)));
	if (route(call, "POST", 2, "webdav", "shutdown"))
		return json_pack("{s:I}", "dropped",
		                 (json_int_t)davsubs_shut_down(call->c->dav->subs));
	if (route(call, "POST", 1, "account", NULL))
		return post_account(call);
	if (route(call, "POST", 2, "subscriptions", "drop"))
		return drop(call);
	if (route(call, "GET", 1, "subscriptions", NULL))
		return get_subscriptions(call);
	if (route(call, "POST", 2, "streams", "close"))
		return end_streams(call, false);
	if (route(call, "POST", 2, "streams", "cut"))
		return end_streams(call, true);
	if (route(call, "GET", 1, "counters", NULL))
		return get_counters(call);
	if (route(call, "POST", 2, "counters", "reset")) {
		counters_reset(call->c->ews->counters);
		return json_object();
	}
	return bad(call, 404, "there is no %.10s with this path; see tests/exchange/README.md",
	           call->method);
}

static enum MHD_Result respond(struct call *call, unsigned status, struct MHD_Response *r)
{
	enum MHD_Result ok;

	MHD_add_response_header(r, "Content-Type", "application/json");
	ok = MHD_queue_response(call->mhd, status, r);
	MHD_destroy_response(r);
	return ok;
}

static enum MHD_Result answer(struct call *call, const char *url)
{
	char *copy = xstrdup(url), *save = NULL;
	struct MHD_Response *r = NULL;
	json_error_t err;
	json_t *out = NULL;
	enum MHD_Result rc;
	char *text;

	call->status = 200;
	for (char *p = strtok_r(copy, "/", &save); p && call->npath < 4;
	     p = strtok_r(NULL, "/", &save))
		call->path[call->npath++] = p;
	if (call->body.len)
		call->in = json_loadb(call->body.p, call->body.len, JSON_REJECT_DUPLICATES, &err);
	if (call->too_big)
		bad(call, 413, "the body is too big");
	else if (call->body.len && !call->in)
		bad(call, 400, "the body is not JSON: line %d: %.120s", err.line, err.text);
	else if (!call->npath)
		bad(call, 404, "see tests/exchange/README.md");
	else if (route(call, "GET", 1, "expected", NULL))
		r = get_expected(call);
	else
		out = dispatch(call);
	if (!r) {
		if (!out)
			out = json_pack("{s:s}", "error", call->error);
		text = json_dumps(out, JSON_COMPACT);
		r = MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	}
	rc = respond(call, call->status, r);
	json_decref(out);
	json_decref(call->in);
	call->in = NULL;
	free(copy);
	return rc;
}

static enum MHD_Result on_call(void *arg, struct MHD_Connection *mhd, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **context)
{
	struct call *call = *context;

	(void)version;
	if (!call) {
		call = xcalloc(1, sizeof *call);
		call->c = arg;
		call->mhd = mhd;
		*context = call;
		return MHD_YES;
	}
	if (*size) {
		if (call->body.len + *size > BODY_MAX)
			call->too_big = true;
		else
			buf_add(&call->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	call->method = method;
	return answer(call, url);
}

static void on_done(void *arg, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode why)
{
	struct call *call = *context;

	(void)arg;
	(void)mhd;
	(void)why;
	if (!call)
		return;
	buf_free(&call->body);
	free(call);
	*context = NULL;
}

struct control *control_new(int port, unsigned ncas, struct loop *loop, struct ews *ews,
                            struct front *front, struct dav *dav)
{
	struct control *c = xcalloc(1, sizeof *c);
	struct sockaddr_in sa = {.sin_family = AF_INET,
	                         .sin_port = htons((uint16_t)port),
	                         .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	*c = (struct control){.loop = loop, .ews = ews, .front = front, .dav = dav, .ncas = ncas};
	c->mhd = MHD_start_daemon(
	    MHD_USE_EPOLL, (uint16_t)port, NULL, NULL, on_call, c, MHD_OPTION_SOCK_ADDR, &sa,
	    MHD_OPTION_CONNECTION_LIMIT, (unsigned)4000, MHD_OPTION_NOTIFY_COMPLETED, on_done, c,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)131072, MHD_OPTION_END);
	if (!c->mhd) {
		free(c);
		return NULL;
	}
	c->port = MHD_get_daemon_info(c->mhd, MHD_DAEMON_INFO_BIND_PORT)->port;
	loop_add_daemon(loop, c->mhd);
	return c;
}

void control_free(struct control *c)
{
	loop_remove_daemon(c->loop, c->mhd);
	MHD_stop_daemon(c->mhd);
	free(c);
}

int control_port(const struct control *c)
{
	return c->port;
}
