/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "davsub.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* --- reading headers --- */
bool notify_type_parse(const char *text, enum notify_type *t)
{
	static const char *const names[] = {
	    "update", "update/newmember", "delete", "move",
	    "pragma/<http://schemas.microsoft.com/exchange/newmail>"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcasecmp(names[i], text) == 0) {
			*t = (enum notify_type)i;
			return true;
		}
	return false;
}

bool call_back_parse(const char *url, char host[CALL_BACK_MAX], unsigned *port)
{
	const char *from = url + 8, *colon;
	char *end;
	size_t n;

	if (strncasecmp(url, "httpu://", 8) != 0 || strlen(url) >= CALL_BACK_MAX ||
	    url[strcspn(url, " \t\r\n\"<>")])
		return false;
	n = strcspn(from, "/");
	colon = *from == '[' ? strstr(from, "]:") : strchr(from, ':');
	if (colon && *from == '[')
		colon++;
	if (!colon || colon >= from + n || colon == from || !isdigit((unsigned char)colon[1]))
		return false;
	*port = (unsigned)strtoul(colon + 1, &end, 10);
	if (end != from + n || *port < 1 || *port > 65535)
		return false;
	n = (size_t)(colon - from);
	if (*from == '[') {
		from++;
		n -= 2;
	}
	memcpy(host, from, n);
	host[n] = '\0';
	return n > 0;
}

unsigned davsub_ids(const char *text, uint32_t ids[DAVSUB_IDS_MAX])
{
	unsigned n = 0;

	for (;;) {
		unsigned long id;
		char *end;

		text += strspn(text, " \t");
		if (!isdigit((unsigned char)*text) || n == DAVSUB_IDS_MAX)
			return 0;
		id = strtoul(text, &end, 10);
		if (id > UINT32_MAX)
			return 0;
		ids[n++] = (uint32_t)id;
		text = end + strspn(end, " \t");
		if (!*text)
			return n;
		if (*text++ != ',')
			return 0;
	}
}

/* --- subscriptions --- */
static void unlist(struct davsubs *s, struct davsub *sub)
{
	if (sub->listed)
		DL_DELETE2(s->pending, sub, pprev, pnext);
	sub->listed = false;
}

void davsub_drop(struct davsubs *s, struct davsub *sub)
{
	unlist(s, sub);
	DL_DELETE(sub->mailbox->davsubs, sub);
	HASH_DEL(s->all, sub);
	s->count--;
	free(sub);
}

struct davsub *davsub_find(struct davsubs *s, uint32_t id)
{
	struct davsub *sub;

	HASH_FIND(hh, s->all, &id, sizeof id, sub);
	if (!sub || sub->ends_ms > s->now_ms)
		return sub;
	davsub_drop(s, sub);
	return NULL;
}

void davsub_renew(struct davsubs *s, struct davsub *sub, int64_t lifetime_s)
{
	sub->lifetime_s = lifetime_s < s->max_lifetime_s ? lifetime_s : s->max_lifetime_s;
	sub->ends_ms = s->now_ms + sub->lifetime_s * 1000;
	if (sub->ends_ms < s->next_end_ms)
		s->next_end_ms = sub->ends_ms;
}

struct davsub *davsub_create(struct davsubs *s, const struct davsub *want)
{
	struct davsub *sub = xcalloc(1, sizeof *sub);

	sub->id = ++s->last_id;
	sub->mailbox = want->mailbox;
	sub->type = want->type;
	sub->folder = want->folder;
	sub->item = want->item;
	sub->ordinal = want->ordinal;
	sub->depth = want->depth;
	strcpy(sub->call_back, want->call_back);
	sub->delay_ms = want->delay_ms;
	davsub_renew(s, sub, want->lifetime_s);
	HASH_ADD(hh, s->all, id, sizeof sub->id, sub);
	DL_APPEND(sub->mailbox->davsubs, sub);
	s->count++;
	return sub;
}

bool davsub_poll(struct davsubs *s, struct davsub *sub)
{
	bool changed = sub->changed;

	sub->changed = false;
	unlist(s, sub);
	davsub_renew(s, sub, sub->lifetime_s);
	return changed;
}

unsigned davsubs_drop(struct davsubs *s, struct mailbox *mb)
{
	struct davsub *sub, *tmp;
	unsigned n = 0;

	HASH_ITER(hh, s->all, sub, tmp)
	{
		if (mb && sub->mailbox != mb)
			continue;
		davsub_drop(s, sub);
		n++;
	}
	return n;
}

/* --- what happens --- */
static bool hears(const struct davsub *sub, const struct meeting *m, enum change change)
{
	bool gone = change == CHANGE_DELETED || change == CHANGE_MOVED;

	if (sub->deaf || sub->folder != FOLDER_CALENDAR ||
	    (sub->item && sub->ordinal != m->ordinal))
		return false;
	switch (sub->type) {
	case NOTIFY_UPDATE:
		/* the folder's own properties change with the number of its items */
		return sub->item ? change == CHANGE_MODIFIED
		                 : sub->depth || change == CHANGE_CREATED || gone;
	case NOTIFY_NEW_MEMBER:
		return !sub->item && sub->depth && change == CHANGE_CREATED;
	case NOTIFY_DELETE:
		return change == CHANGE_DELETED && (sub->item || sub->depth);
	case NOTIFY_MOVE:
		return change == CHANGE_MOVED && (sub->item || sub->depth);
	default:
		return false;
	}
}

static void changed(void *arg, struct mailbox *mb, const struct meeting *m, enum change change,
                    bool freebusy)
{
	struct davsubs *s = arg;
	struct davsub *sub;

	(void)freebusy;
	DL_FOREACH(mb->davsubs, sub)
	{
		if (!hears(sub, m, change))
			continue;
		sub->changed = true;
		if (sub->listed || !*sub->call_back)
			continue; /* told until somebody POLLs */
		sub->listed = true;
		sub->notify_ms = s->now_ms + sub->delay_ms;
		if (sub->notify_ms < s->next_notify_ms)
			s->next_notify_ms = sub->notify_ms;
		DL_APPEND2(s->pending, sub, pprev, pnext);
	}
}

/* --- NOTIFY --- */

/* One datagram under way: those of one moment to one Call-Back share it. */
struct notice {
	char call_back[CALL_BACK_MAX];
	struct buf ids;
	unsigned n;
	UT_hash_handle hh;
};

/* ids: NULL: without Subscription-id */
static void notify(struct davsubs *s, const char *call_back, const char *ids)
{
	struct buf b = {0};

	buf_fmt(&b, "NOTIFY %s HTTP/1.1\r\n", call_back);
	if (ids)
		buf_fmt(&b, "Subscription-id: %s\r\n", ids);
	buf_str(&b, "\r\n");
	if (s->lose_each && ++s->sent % s->lose_each == 0) {
		s->counters->notifications_lost++;
	} else {
		for (int i = 0; i < (s->twice ? 2 : 1); i++) {
			s->send(s->send_arg, call_back, b.p, b.len);
			s->counters->notifications++;
		}
	}
	buf_free(&b);
}

static void leave(struct davsubs *s, struct notice **all, struct notice *x)
{
	notify(s, x->call_back, x->ids.p);
	HASH_DEL(*all, x);
	buf_free(&x->ids);
	free(x);
}

static void send_due(struct davsubs *s)
{
	struct notice *all = NULL, *x, *tmp;
	struct davsub *sub;

	s->next_notify_ms = INT64_MAX;
	DL_FOREACH2(s->pending, sub, pnext)
	{
		bool due = sub->notify_ms <= s->now_ms;

		if (due)
			sub->notify_ms = s->now_ms + s->repeat_ms;
		if (sub->notify_ms < s->next_notify_ms)
			s->next_notify_ms = sub->notify_ms;
		if (!due)
			continue;
		HASH_FIND_STR(all, sub->call_back, x);
		if (!x) {
			x = xcalloc(1, sizeof *x);
			strcpy(x->call_back, sub->call_back);
			HASH_ADD_STR(all, call_back, x);
		}
		buf_fmt(&x->ids, x->n++ ? ",%u" : "%u", sub->id);
		if (x->n == NOTIFY_IDS_MAX)
			leave(s, &all, x);
	}
	HASH_ITER(hh, all, x, tmp)
	{
		leave(s, &all, x);
	}
}

unsigned davsubs_shut_down(struct davsubs *s)
{
	struct notice *all = NULL, *x, *tmp;
	struct davsub *sub, *tmp_sub;
	unsigned n = s->count;

	HASH_ITER(hh, s->all, sub, tmp_sub)
	{
		HASH_FIND_STR(all, sub->call_back, x);
		if (!x && *sub->call_back) {
			x = xcalloc(1, sizeof *x);
			strcpy(x->call_back, sub->call_back);
			HASH_ADD_STR(all, call_back, x);
		}
		davsub_drop(s, sub);
	}
	HASH_ITER(hh, all, x, tmp)
	{
		leave(s, &all, x); /* no ids were gathered: it has none */
	}
	return n;
}

int64_t davsubs_tick(struct davsubs *s, int64_t now_ms)
{
	struct davsub *sub, *tmp;

	s->now_ms = now_ms;
	if (now_ms >= s->next_end_ms) {
		s->next_end_ms = INT64_MAX;
		HASH_ITER(hh, s->all, sub, tmp)
		{
			if (sub->ends_ms <= now_ms)
				davsub_drop(s, sub);
			else if (sub->ends_ms < s->next_end_ms)
				s->next_end_ms = sub->ends_ms;
		}
		/* many end one after the other: they may be looked for in one go */
		if (s->next_end_ms < now_ms + 1000)
			s->next_end_ms = now_ms + 1000;
	}
	if (now_ms >= s->next_notify_ms)
		send_due(s);
	return s->next_end_ms < s->next_notify_ms ? s->next_end_ms : s->next_notify_ms;
}

void davsubs_init(struct davsubs *s, struct store *store, struct cas_counters *counters,
                  davsub_send_fn *send, void *arg)
{
	*s = (struct davsubs){.store = store,
	                      .counters = counters,
	                      .send = send,
	                      .send_arg = arg,
	                      .next_end_ms = INT64_MAX,
	                      .next_notify_ms = INT64_MAX,
	                      .max_lifetime_s = 86400,
	                      .repeat_ms = 60000};
	store_on_change(store, changed, s);
}

void davsubs_free(struct davsubs *s)
{
	davsubs_drop(s, NULL);
	store_on_change(s->store, NULL, s);
}
