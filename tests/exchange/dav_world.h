/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dav_world.h - for the tests of the WebDAV side: a store with five users and no meetings, what the last answer
 * was, and what it says.
 */
#ifndef EXCHANGE_DAV_WORLD_H
#define EXCHANGE_DAV_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dav.h"
#include "when.h"

#define DAY0 1795392000 /* 2026-11-23T00:00:00Z, a Monday */
#define HOUR 3600

struct world {
	struct store *store;
	struct dav dav;
	struct davsubs subs;
	struct cas_counters counters;
	struct dav_answer a;
	struct buf sent; /* NOTIFY datagrams, one after the other */
	unsigned nsent;
};

static void keep_datagram(void *arg, const char *call_back, const char *datagram, size_t len)
{
	struct world *w = arg;

	(void)call_back;
	buf_add(&w->sent, datagram, len);
	w->nsent++;
}

static int set_up(void **state)
{
	struct world *w = xcalloc(1, sizeof *w);

	w->store = store_new(5, "example.test", 1, DAY0, false);
	davsubs_init(&w->subs, w->store, &w->counters, keep_datagram, w);
	w->dav = (struct dav){
	    .store = w->store, .subs = &w->subs, .version = OWA_2003, .denied_status = 403};
	*state = w;
	return 0;
}

static void forget(struct world *w)
{
	buf_free(&w->a.head);
	buf_free(&w->a.body);
	w->a = (struct dav_answer){0};
}

static int tear_down(void **state)
{
	struct world *w = *state;

	forget(w);
	buf_free(&w->sent);
	davsubs_free(&w->subs);
	store_free(w->store);
	free(w);
	return 0;
}

static struct mailbox *user(struct world *w, unsigned n)
{
	return store_at(w->store, n - 1);
}

static void meet(struct world *w, unsigned n, struct meeting m)
{
	if (!m.interval)
		m.interval = 1;
	if (!*m.subject)
		strcpy(m.subject, "Review");
	store_create(w->store, user(w, n), &m);
}

static __attribute__((unused)) unsigned asked(struct world *w, struct dav_ask ask)
{
	forget(w);
	if (!ask.host)
		ask.host = "owa.example.test";
	if (ask.body)
		ask.len = strlen(ask.body);
	dav_answer(&w->dav, &ask, &w->a);
	return w->a.status;
}

/* The text that an XPath finds in the answer, in static memory; a number as a number. */
static const char *found(struct world *w, const char *path)
{
	static char text[600];
	xmlDoc *doc = xmlReadMemory(w->a.body.p, (int)w->a.body.len, NULL, NULL, 0);
	xmlXPathContext *x;
	xmlXPathObject *o;
	xmlChar *s;

	assert_non_null(doc);
	x = xmlXPathNewContext(doc);
	xmlXPathRegisterNs(x, (const xmlChar *)"S", (const xmlChar *)NS_SUBSCRIPTION);
	xmlXPathRegisterNs(x, (const xmlChar *)"D", (const xmlChar *)NS_DAV);
	xmlXPathRegisterNs(x, (const xmlChar *)"H", (const xmlChar *)NS_HTTPMAIL);
	xmlXPathRegisterNs(x, (const xmlChar *)"C", (const xmlChar *)NS_CALENDAR);
	xmlXPathRegisterNs(x, (const xmlChar *)"T", (const xmlChar *)NS_DATATYPES);
	o = xmlXPathEvalExpression((const xmlChar *)path, x);
	assert_non_null(o);
	s = xmlXPathCastToString(o);
	snprintf(text, sizeof text, "%s", (const char *)s);
	xmlFree(s);
	xmlXPathFreeObject(o);
	xmlXPathFreeContext(x);
	xmlFreeDoc(doc);
	return text;
}

#endif
