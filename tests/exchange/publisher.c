/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "publisher.h"

#include <stdlib.h>
#include <string.h>

#include "freebusy.h"
#include "when.h"

static void forget(struct publisher *p, struct published *x)
{
	HASH_DEL(p->old, x);
	free(x->meetings);
	free(x);
}

/* A calendar is about to change: what it says now is what stays published for a while. */
static void before(void *arg, struct mailbox *mb)
{
	struct publisher *p = arg;
	const struct meeting *m;
	struct published *x;

	HASH_FIND(hh, p->old, &mb->index, sizeof mb->index, x);
	if (x || !p->lag_ms)
		return;
	x = xcalloc(1, sizeof *x);
	x->mailbox = mb->index;
	x->due_ms = p->now_ms + p->lag_ms;
	m = store_meetings(p->store, mb, &x->n);
	x->meetings = xcalloc(x->n + 1, sizeof *m);
	memcpy(x->meetings, m, x->n * sizeof *m);
	HASH_ADD(hh, p->old, mailbox, sizeof x->mailbox, x);
}

void publisher_init(struct publisher *p, struct store *store)
{
	*p = (struct publisher){.store = store};
	store_before_change(store, before, p);
}

void publisher_free(struct publisher *p)
{
	while (p->old)
		forget(p, p->old);
	store_before_change(p->store, NULL, NULL);
}

int64_t publisher_tick(struct publisher *p, int64_t now_ms)
{
	struct published *x, *tmp;
	int64_t due = INT64_MAX;

	p->now_ms = now_ms;
	HASH_ITER(hh, p->old, x, tmp)
	{
		if (x->due_ms <= now_ms)
			forget(p, x);
		else if (x->due_ms < due)
			due = x->due_ms;
	}
	return due;
}

/* --- the URL --- */

/* What is published of a mailbox between two times; false: nothing. */
static bool published(struct publisher *p, const char *user, const struct freebusy_ask *ask,
                      struct buf *digits)
{
	const char *address = strncasecmp(user, "SMTP:", 5) == 0 ? user + 5 : user;
	struct mailbox *mb = store_find(p->store, address);
	struct occurrence *kept;
	const struct occurrence *occ;
	struct published *x;
	size_t n, left = 0;

	if (!mb || mb->no_freebusy)
		return false;
	HASH_FIND(hh, p->old, &mb->index, sizeof mb->index, x);
	occ = x ? store_expand_list(p->store, x->meetings, x->n, ask->from, ask->to, &n)
	        : store_expand(p->store, mb, ask->from, ask->to, &n);
	kept = xcalloc(n + 1, sizeof *kept);
	for (size_t i = 0; i < n; i++)
		if (!p->tentative_missing || occ[i].status != STATUS_TENTATIVE)
			kept[left++] = occ[i];
	freebusy_merge(digits, ask, kept, left);
	free(kept);
	return true;
}

static bool read_url(const struct freebusy_url *ask, struct freebusy_ask *out)
{
	bool zoned;
	long minutes;
	char *end;

	if (!ask->start || !ask->end || !ask->interval || !ask->n ||
	    !when_parse(ask->start, &out->from, &zoned) || !when_parse(ask->end, &out->to, &zoned))
		return false;
	minutes = strtol(ask->interval, &end, 10);
	if (end == ask->interval || *end || minutes < 1 || minutes > 1440 || out->to <= out->from ||
	    (out->to - out->from) / (60 * minutes) >= PUBLISHER_SLOTS_MAX)
		return false;
	out->slot = (int)minutes;
	return true;
}

static void the_form(struct dav_answer *a)
{
	buf_str(&a->body,
	        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 3.2 Final//EN\">\r\n<HTML><HEAD>"
	        "<TITLE>Microsoft Outlook Web Access</TITLE></HEAD><BODY>This browser shows no "
	        "free/busy times.</BODY></HTML>\r\n");
	a->status = 200;
	a->type = "text/html; charset=utf-8";
}

void publisher_answer(struct publisher *p, const struct freebusy_url *ask, struct dav_answer *a)
{
	struct buf all[PUBLISHER_USERS_MAX] = {{0}}, merged = {0};
	struct freebusy_ask slots = {.slot = 0};
	unsigned known = 0;

	dav_status(a, 400);
	if (!read_url(ask, &slots))
		return;
	if (!ask->user_agent || !strstr(ask->user_agent, "MSIE ")) {
		the_form(a);
		return;
	}
	freebusy_merge(&merged, &slots, NULL, 0);
	for (unsigned i = 0; i < ask->n; i++) {
		if (published(p, ask->users[i], &slots, &all[i])) {
			known++;
			for (size_t s = 0; s < merged.len; s++)
				if (all[i].p[s] > merged.p[s])
					merged.p[s] = all[i].p[s];
		} else {
			buf_str(&all[i], merged.p);
			memset(all[i].p, '4', all[i].len); /* no data */
		}
	}
	if (known) {
		buf_fmt(&a->body,
		        "<a:response xmlns:a=\"WM\"><a:recipients><a:item><a:displayname>All "
		        "Attendees</a:displayname>"
		        "<a:type>1</a:type><a:fbdata>%s</a:fbdata></a:item>",
		        merged.p);
		for (unsigned i = 0; i < ask->n; i++) {
			const char *user = ask->users[i];
			const char *address = strncasecmp(user, "SMTP:", 5) == 0 ? user + 5 : user;

			buf_str(&a->body, "<a:item><a:displayname>");
			buf_xml(&a->body, address);
			buf_str(&a->body, "</a:displayname><a:email type=\"SMTP\">");
			buf_xml(&a->body, address);
			buf_fmt(&a->body,
			        "</a:email><a:type>1</a:type><a:fbdata>%s</a:fbdata></a:item>",
			        all[i].p);
		}
		buf_str(&a->body, "</a:recipients></a:response>");
		a->status = 200;
		a->type = "text/xml";
	} else {
		dav_status(a, 404);
	}
	for (unsigned i = 0; i < ask->n; i++)
		buf_free(&all[i]);
	buf_free(&merged);
}
