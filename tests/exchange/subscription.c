/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "subscription.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <utlist.h>

#include "grammar.h"
#include "ids.h"
#include "push.h"
#include "when.h"

#define SWEEP_MS 1000

struct subs {
	unsigned ncas;
	struct subs_limits limits;
	struct store *store;
	struct counters *counters;
	stream_wake_fn *wake;
	void *wake_arg;
	struct subscription *by_id[CAS_MAX];
	struct stream *streams;
	struct pushes pushes;
	bool dirty;
	int64_t wall_s, now_ms, swept_ms;
};

static void changed(void *arg, struct mailbox *mb, const struct meeting *m, enum change change,
                    bool freebusy);

static bool nobody_listens(void *arg, const struct subscription *sub, const char *body, size_t len)
{
	(void)arg;
	(void)sub;
	(void)body;
	(void)len;
	return false;
}

struct subs *subs_new(unsigned ncas, const struct subs_limits *limits, struct store *store,
                      struct counters *counters, stream_wake_fn *wake, void *arg)
{
	struct subs *s = xcalloc(1, sizeof *s);

	s->ncas = ncas;
	s->limits = *limits;
	s->store = store;
	s->counters = counters;
	s->wake = wake;
	s->wake_arg = arg;
	s->pushes = (struct pushes){.send = nobody_listens, .due_ms = INT64_MAX};
	store_on_change(store, changed, s);
	return s;
}

void subs_free(struct subs *s)
{
	while (s->streams)
		stream_close(s, s->streams, 0);
	for (unsigned c = 0; c < s->ncas; c++)
		while (s->by_id[c])
			sub_drop(s, s->by_id[c], NULL);
	store_on_change(s->store, NULL, s);
	free(s);
}

void subs_on_push(struct subs *s, push_send_fn *send, void *arg)
{
	s->pushes.send = send;
	s->pushes.arg = arg;
}

void subs_pushed(struct subs *s, unsigned cas, const char *id, enum push_answer answer,
                 int64_t now_ms)
{
	struct subscription *sub = sub_find(s, cas, id);

	if (!sub || !sub->push)
		return;
	if (!push_answered(s, &s->pushes, sub, answer, now_ms)) {
		sub_drop(s, sub, NULL);
		return;
	}
	while (sub->qlen && sub->queue[sub->qfirst].number <= sub->push->told) {
		sub->qfirst = (sub->qfirst + 1) % sub->qcap;
		sub->qlen--;
	}
}

const struct subs_limits *subs_limits(const struct subs *s)
{
	return &s->limits;
}

void subs_wall(struct subs *s, int64_t wall_s, int64_t now_ms)
{
	s->wall_s = wall_s;
	s->now_ms = now_ms;
}

/* --- subscriptions --- */
struct subscription *sub_create(struct subs *s, const struct sub_ask *ask, int64_t now_ms)
{
	struct subscription *sub, *other;
	unsigned char raw[72];
	struct buf id = {0};
	unsigned n = 0, len;

	for (other = ask->mailbox->subs; other; other = other->next)
		n++;
	if (n >= s->limits.per_mailbox)
		return NULL;
	/* as in Exchange: which server it lives on, and a guid */
	len = (unsigned)snprintf((char *)raw + 2, 30, "cas%u.example.test", ask->cas + 1);
	raw[0] = (unsigned char)len;
	raw[1] = 0;
	memcpy(raw + 2 + len, "\x10\0\0", 4);
	if (getrandom(raw + 6 + len, 16, 0) != 16)
		abort();
	memcpy(raw + 22 + len, &now_ms, sizeof now_ms);
	buf_base64(&id, raw, 22 + len + sizeof now_ms);

	sub = xcalloc(1, sizeof *sub);
	snprintf(sub->id, sizeof sub->id, "%s", id.p);
	buf_free(&id);
	sub->cas = ask->cas;
	sub->backend = ask->backend;
	sub->mailbox = ask->mailbox;
	sub->mask = ask->mask;
	sub->pull = ask->pull;
	sub->calendar = ask->calendar;
	sub->idle_since_ms = now_ms;
	sub->idle_max_ms =
	    s->limits.minute_ms * (ask->pull ? ask->timeout_minutes : STREAMING_IDLE_MINUTES);
	HASH_ADD_STR(s->by_id[ask->cas], id, sub);
	DL_APPEND(ask->mailbox->subs, sub);
	if (ask->push_url)
		push_begin(&s->pushes, sub, ask->push_url,
		           ask->timeout_minutes * s->limits.minute_ms, now_ms);
	return sub;
}

struct subscription *sub_find(struct subs *s, unsigned cas, const char *id)
{
	struct subscription *sub;

	HASH_FIND_STR(s->by_id[cas], id, sub);
	return sub;
}

static void ready(struct subs *s, struct stream *st)
{
	if (!st->muted)
		s->wake(s->wake_arg, st);
}

static void begin(struct subs *s, struct stream *st)
{
	soap_stream_begin(&st->out, s->limits.version, s->limits.dialect);
	buf_str(&st->out, "<m:GetStreamingEventsResponse xmlns:t=\"" NS_TYPES
	                  "\" xmlns:m=\"" NS_MESSAGES "\"><m:ResponseMessages>");
}

static void success(struct subs *s, struct stream *st)
{
	begin(s, st);
	buf_str(&st->out, "<m:GetStreamingEventsResponseMessage ResponseClass=\"Success\">"
	                  "<m:ResponseCode>NoError</m:ResponseCode>");
}

static void end(struct subs *s, struct stream *st)
{
	buf_str(&st->out, "</m:GetStreamingEventsResponseMessage></m:ResponseMessages>"
	                  "</m:GetStreamingEventsResponse>");
	soap_stream_end(&st->out, s->limits.dialect);
	st->beat_ms = s->now_ms + s->limits.heartbeat_ms;
}

static void say_status(struct subs *s, struct stream *st, const char *status)
{
	success(s, st);
	buf_fmt(&st->out, "<m:ConnectionStatus>%s</m:ConnectionStatus>", status);
	end(s, st);
}

static void say_bad_ids(struct subs *s, struct stream *st, const char *code, const char *const *ids,
                        unsigned n)
{
	static const struct {
		const char *code, *text;
	} texts[] = {
	    {"ErrorSubscriptionNotFound", "The specified subscription was not found."},
	    {"ErrorNewEventStreamConnectionOpened",
	     "Another connection was opened using the same subscription."},
	    {"ErrorMissedNotificationEvents",
	     "Some notification events were missed for this subscription."},
	    {"ErrorReadEventsFailed", "Events could not be read for this subscription."},
	};
	const char *text = "The subscription failed.";

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (strcmp(texts[i].code, code) == 0)
			text = texts[i].text;
	begin(s, st);
	soap_error_message(&st->out, "GetStreamingEventsResponseMessage", code, text);
	buf_str(&st->out, "<m:ErrorSubscriptionIds>");
	for (unsigned i = 0; i < n; i++) {
		buf_str(&st->out, "<m:SubscriptionId>");
		buf_xml(&st->out, ids[i]);
		buf_str(&st->out, "</m:SubscriptionId>");
	}
	buf_str(&st->out, "</m:ErrorSubscriptionIds>");
	end(s, st);
}

static void detach(struct subscription *sub, int64_t now_ms)
{
	struct stream *st = sub->stream;

	for (unsigned i = 0; i < st->nsubs; i++)
		if (st->subs[i] == sub) {
			st->subs[i] = st->subs[--st->nsubs];
			break;
		}
	sub->stream = NULL;
	sub->idle_since_ms = now_ms;
}

void sub_drop(struct subs *s, struct subscription *sub, const char *code)
{
	struct stream *st = sub->stream;
	const char *id = sub->id;

	if (st) {
		detach(sub, s->now_ms);
		if (code && !st->over)
			say_bad_ids(s, st, code, &id, 1);
		if (code && !st->nsubs && !st->over) {
			say_status(s, st, "Closed");
			st->over = true;
		}
		if (code)
			ready(s, st);
	}
	if (sub->push && code)
		push_say_error(s, &s->pushes, sub, code);
	if (sub->push)
		push_end(&s->pushes, sub);
	HASH_DEL(s->by_id[sub->cas], sub);
	DL_DELETE(sub->mailbox->subs, sub);
	free(sub->queue);
	free(sub);
}

unsigned subs_drop(struct subs *s, const struct mailbox *mb, int cas, int backend, const char *code)
{
	struct subscription *sub, *tmp;
	unsigned n = 0;

	for (unsigned c = 0; c < s->ncas; c++) {
		if (cas >= 0 && c != (unsigned)cas)
			continue;
		for (sub = s->by_id[c]; sub; sub = tmp) {
			tmp = sub->hh.next;
			if (mb && sub->mailbox != mb)
				continue;
			if (backend >= 0 && sub->backend != (unsigned)backend)
				continue;
			sub_drop(s, sub, code);
			n++;
		}
	}
	return n;
}

unsigned subs_count(const struct subs *s, unsigned cas)
{
	return HASH_COUNT(s->by_id[cas]);
}

void subs_each(struct subs *s, void (*fn)(void *arg, const struct subscription *sub), void *arg)
{
	struct subscription *sub, *tmp;

	for (unsigned c = 0; c < s->ncas; c++)
		for (sub = s->by_id[c]; sub; sub = tmp) {
			tmp = sub->hh.next;
			fn(arg, sub);
		}
}

/* --- events --- */
static void enqueue(struct subs *s, struct subscription *sub, struct event ev)
{
	if (!(sub->mask & (unsigned)ev.kind))
		return;
	if (sub->qlen == QUEUE_MAX) {
		sub->qfirst = (sub->qfirst + 1) % sub->qcap;
		sub->qlen--;
		sub->missed = true;
	}
	if (sub->qlen == sub->qcap) {
		uint32_t cap = sub->qcap ? 2 * sub->qcap : 4;
		struct event *q;

		if (cap > QUEUE_MAX)
			cap = QUEUE_MAX;
		q = xcalloc(cap, sizeof *q);
		for (uint32_t i = 0; i < sub->qlen; i++)
			q[i] = sub->queue[(sub->qfirst + i) % sub->qcap];
		free(sub->queue);
		sub->queue = q;
		sub->qcap = cap;
		sub->qfirst = 0;
	}
	ev.number = ++sub->last;
	sub->queue[(sub->qfirst + sub->qlen++) % sub->qcap] = ev;
	if (sub->stream) {
		sub->stream->dirty = true;
		s->dirty = true;
	}
	if (sub->push)
		push_event(&s->pushes, sub, s->now_ms);
}

static void changed(void *arg, struct mailbox *mb, const struct meeting *m, enum change change,
                    bool freebusy)
{
	static const enum event_mask kinds[] = {[CHANGE_CREATED] = EV_CREATED,
	                                        [CHANGE_MODIFIED] = EV_MODIFIED,
	                                        [CHANGE_DELETED] = EV_DELETED,
	                                        [CHANGE_MOVED] = EV_MOVED};
	struct subs *s = arg;
	struct subscription *sub;
	struct event ev = {.ordinal = m->ordinal, .change = m->change, .wall_s = s->wall_s};

	for (sub = mb->subs; sub; sub = sub->next) {
		if (!sub->calendar || sub->deaf)
			continue;
		ev.folder = false;
		ev.kind = kinds[change];
		enqueue(s, sub, ev);
		if (freebusy) {
			ev.kind = EV_FREEBUSY;
			enqueue(s, sub, ev);
		}
		if (change != CHANGE_MODIFIED) { /* the folder's count of items changed */
			ev.kind = EV_MODIFIED;
			ev.folder = true;
			enqueue(s, sub, ev);
		}
	}
}

static void folder_id(struct buf *b, const char *element, uint32_t mailbox, enum folder f)
{
	buf_fmt(b, "<t:%s Id=\"", element);
	ids_folder(b, mailbox, f);
	buf_str(b, "\" ChangeKey=\"AQAAAA==\"/>");
}

static void item_id(struct buf *b, const char *element, uint32_t mailbox, const struct event *ev)
{
	buf_fmt(b, "<t:%s Id=\"", element);
	ids_item(b, mailbox, ev->ordinal, IDS_MASTER);
	buf_str(b, "\" ChangeKey=\"");
	ids_change(b, ev->change);
	buf_str(b, "\"/>");
}

static void write_event(struct buf *b, const struct subscription *sub, const struct event *ev)
{
	const char *name = ev->kind == EV_CREATED    ? "CreatedEvent"
	                   : ev->kind == EV_DELETED  ? "DeletedEvent"
	                   : ev->kind == EV_MODIFIED ? "ModifiedEvent"
	                   : ev->kind == EV_MOVED    ? "MovedEvent"
	                                             : "FreeBusyChangedEvent";
	uint32_t mb = sub->mailbox->index;
	char at[WHEN_TEXT];

	buf_fmt(b, "<t:%s>", name);
	if (sub->pull || sub->push) {
		buf_str(b, "<t:Watermark>");
		sub_watermark(b, sub, ev->number);
		buf_str(b, "</t:Watermark>");
	}
	buf_fmt(b, "<t:TimeStamp>%s</t:TimeStamp>", when_text(at, ev->wall_s, true));
	if (ev->folder) {
		folder_id(b, "FolderId", mb, FOLDER_CALENDAR);
		folder_id(b, "ParentFolderId", mb, FOLDER_OTHER);
		buf_str(b, "<t:UnreadCount>0</t:UnreadCount>");
	} else {
		item_id(b, "ItemId", mb, ev);
		folder_id(b, "ParentFolderId", mb,
		          ev->kind == EV_MOVED ? FOLDER_DELETED : FOLDER_CALENDAR);
		if (ev->kind == EV_MOVED) {
			item_id(b, "OldItemId", mb, ev);
			folder_id(b, "OldParentFolderId", mb, FOLDER_CALENDAR);
		}
	}
	buf_fmt(b, "</t:%s>", name);
}

/* A watermark is opaque to clients: whose, and the number of an event. */
void sub_watermark(struct buf *b, const struct subscription *sub, uint64_t number)
{
	unsigned char raw[18] = {0x01, 0x57};

	memcpy(raw + 2, &sub->mailbox->index, 4);
	memcpy(raw + 10, &number, 8);
	buf_base64(b, raw, sizeof raw);
}

bool watermark_parse(const char *text, uint64_t *number)
{
	unsigned char raw[18];

	if (strlen(text) != 24 || base64_decode(raw, text, 24) != 18 || raw[0] != 0x01 ||
	    raw[1] != 0x57)
		return false;
	memcpy(number, raw + 10, 8);
	return true;
}

bool sub_events_after(struct subs *s, struct subscription *sub, uint64_t number, struct buf *b,
                      uint64_t *last)
{
	unsigned n = 0;

	sub->idle_since_ms = s->now_ms;
	for (uint32_t i = 0; i < sub->qlen; i++) {
		const struct event *ev = &sub->queue[(sub->qfirst + i) % sub->qcap];

		if (ev->number <= number)
			continue;
		if (n == EVENTS_AT_ONCE)
			return true;
		write_event(b, sub, ev);
		*last = ev->number;
		n++;
	}
	return false;
}

/* --- streams --- */
unsigned streams_of(const struct subs *s, unsigned cas, const struct mailbox *anchor)
{
	const struct stream *st;
	unsigned n = 0;

	for (st = s->streams; st; st = st->next)
		n += st->cas == cas && st->anchor == anchor && !st->over;
	return n;
}

static void replaced(struct subs *s, struct subscription *sub)
{
	struct stream *old = sub->stream;
	const char *id = sub->id;

	say_bad_ids(s, old, "ErrorNewEventStreamConnectionOpened", &id, 1);
	stream_say_closed(s, old);
	if (sub->stream)
		detach(sub, s->now_ms);
}

struct stream *stream_open(struct subs *s, unsigned cas, unsigned backend, struct mailbox *anchor,
                           char *const *ids, unsigned n, int minutes, int64_t now_ms)
{
	const char *bad[STREAM_SUBSCRIPTIONS_MAX];
	struct stream *st = xcalloc(1, sizeof *st);
	unsigned nbad = 0;
	bool astray = false;

	s->now_ms = now_ms;
	st->cas = cas;
	st->backend = backend;
	st->anchor = anchor;
	st->ends_ms = now_ms + minutes * s->limits.minute_ms;
	for (unsigned i = 0; i < n && i < STREAM_SUBSCRIPTIONS_MAX; i++) {
		struct subscription *sub = sub_find(s, cas, ids[i]);

		astray = astray || (sub && sub->backend != backend);
		if (!sub || sub->pull || sub->push || sub->backend != backend) {
			bad[nbad++] = ids[i];
			continue;
		}
		if (sub->stream == st)
			continue;
		if (sub->stream)
			replaced(s, sub);
		sub->stream = st;
		st->subs[st->nsubs++] = sub;
		if (sub->qlen || sub->missed) {
			st->dirty = true;
			s->dirty = true;
		}
	}
	DL_APPEND(s->streams, st);
	s->counters->cas[cas].misrouted += astray;
	if (nbad)
		say_bad_ids(s, st, "ErrorSubscriptionNotFound", bad, nbad);
	if (st->nsubs) {
		say_status(s, st, "OK");
	} else {
		st->over = true;
	}
	return st;
}

void stream_close(struct subs *s, struct stream *st, int64_t now_ms)
{
	while (st->nsubs)
		detach(st->subs[0], now_ms);
	DL_DELETE(s->streams, st);
	buf_free(&st->out);
	free(st);
}

void stream_say_closed(struct subs *s, struct stream *st)
{
	if (st->over)
		return;
	say_status(s, st, "Closed");
	st->over = true;
	while (st->nsubs)
		detach(st->subs[0], s->now_ms);
	ready(s, st);
}

struct stream *streams(struct subs *s)
{
	return s->streams;
}

unsigned streams_count(const struct subs *s, unsigned cas)
{
	const struct stream *st;
	unsigned n = 0;

	for (st = s->streams; st; st = st->next)
		n += st->cas == cas && !st->over;
	return n;
}

static void write_notifications(struct subs *s, struct stream *st)
{
	struct cas_counters *c = &s->counters->cas[st->cas];
	bool more = true;

	for (unsigned i = 0; i < st->nsubs; i++) {
		struct subscription *sub = st->subs[i];
		const char *id = sub->id;

		if (sub->missed)
			say_bad_ids(s, st, "ErrorMissedNotificationEvents", &id, 1);
		sub->missed = false;
	}
	while (more) {
		bool opened = false;

		more = false;
		for (unsigned i = 0; i < st->nsubs; i++) {
			struct subscription *sub = st->subs[i];
			unsigned n = 0;

			if (!sub->qlen)
				continue;
			if (!opened) {
				success(s, st);
				buf_str(&st->out, "<m:Notifications>");
				opened = true;
			}
			buf_fmt(&st->out, "<m:Notification><t:SubscriptionId>%s</t:SubscriptionId>",
			        sub->id);
			for (; n < EVENTS_AT_ONCE && sub->qlen; n++) {
				write_event(&st->out, sub, &sub->queue[sub->qfirst]);
				sub->qfirst = (sub->qfirst + 1) % sub->qcap;
				sub->qlen--;
				c->events++;
			}
			buf_str(&st->out, "</m:Notification>");
			c->notifications++;
			more = more || sub->qlen;
			if (!sub->qlen) {
				free(sub->queue);
				sub->queue = NULL;
				sub->qcap = sub->qfirst = 0;
			}
		}
		if (opened) {
			buf_str(&st->out, "</m:Notifications>");
			end(s, st);
		}
	}
}

void subs_flush(struct subs *s, int64_t now_ms)
{
	struct stream *st;

	s->now_ms = now_ms;
	if (!s->dirty)
		return;
	s->dirty = false;
	for (st = s->streams; st; st = st->next) {
		if (!st->dirty || st->over)
			continue;
		if (st->muted) {
			s->dirty = true;
			continue;
		}
		st->dirty = false;
		write_notifications(s, st);
		if (st->out.len)
			ready(s, st);
	}
}

int64_t subs_tick(struct subs *s, int64_t now_ms)
{
	int64_t due = s->swept_ms + SWEEP_MS, pushed;
	struct subscription *sub, *tmp;
	struct stream *st;

	s->now_ms = now_ms;
	if (now_ms >= due) {
		s->swept_ms = now_ms;
		due = now_ms + SWEEP_MS;
		for (unsigned c = 0; c < s->ncas; c++)
			for (sub = s->by_id[c]; sub; sub = tmp) {
				tmp = sub->hh.next;
				if (!sub->stream && !sub->push &&
				    now_ms - sub->idle_since_ms >= sub->idle_max_ms)
					sub_drop(s, sub, NULL);
			}
	}
	for (st = s->streams; st; st = st->next) {
		if (st->over || st->muted)
			continue;
		if (now_ms >= st->ends_ms) {
			stream_say_closed(s, st);
			continue;
		}
		if (now_ms >= st->beat_ms) {
			say_status(s, st, "OK");
			ready(s, st);
		}
		if (st->beat_ms < due)
			due = st->beat_ms;
		if (st->ends_ms < due)
			due = st->ends_ms;
	}
	pushed = push_tick(s, &s->pushes, now_ms);
	return pushed < due ? pushed : due;
}
