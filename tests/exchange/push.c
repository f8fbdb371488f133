/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "push.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "grammar.h"

#define BUSY_MS 100 /* until a notification is tried again for which nothing was free */

bool push_url_good(const char *url)
{
	size_t host;

	if (strncasecmp(url, "http://", 7) != 0 || strlen(url) >= PUSH_URL_MAX)
		return false;
	for (const char *p = url; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	host = strcspn(url + 7, "/");
	return host > 0 && host < 256 && !memchr(url + 7, '@', host);
}

static void sooner(struct pushes *p, int64_t due_ms)
{
	if (due_ms < p->due_ms)
		p->due_ms = due_ms;
}

static void due(struct pushes *p, struct push *push, int64_t at_ms)
{
	push->due_ms = at_ms;
	sooner(p, at_ms);
}

void push_begin(struct pushes *p, struct subscription *sub, const char *url, int64_t frequency_ms,
                int64_t now_ms)
{
	struct push *push = xcalloc(1, sizeof *push);

	push->url = xstrdup(url);
	push->frequency_ms = frequency_ms;
	push->failed_ms = -1;
	push->next = p->first;
	if (p->first)
		p->first->push->prev = sub;
	p->first = sub;
	sub->push = push;
	due(p, push, now_ms);
}

void push_end(struct pushes *p, struct subscription *sub)
{
	struct push *push = sub->push;

	if (push->prev)
		push->prev->push->next = push->next;
	else
		p->first = push->next;
	if (push->next)
		push->next->push->prev = push->prev;
	free(push->url);
	free(push);
	sub->push = NULL;
}

void push_event(struct pushes *p, struct subscription *sub, int64_t now_ms)
{
	/* what failed is sent again at its time, with what came since */
	if (!sub->push->flying && sub->push->failed_ms < 0)
		due(p, sub->push, now_ms);
}

static void envelope(struct buf *b, enum version v)
{
	buf_fmt(b,
	        "<?xml version=\"1.0\" encoding=\"utf-8\"?><soap11:Envelope xmlns:soap11=\"" NS_SOAP
	        "\"><soap11:Header><t:RequestServerVersion xmlns:t=\"" NS_TYPES
	        "\" Version=\"%s\"/>"
	        "</soap11:Header><soap11:Body><m:SendNotification xmlns:m=\"" NS_MESSAGES
	        "\" xmlns:t=\"" NS_TYPES "\"><m:ResponseMessages>",
	        version_name(v));
}

static void envelope_end(struct buf *b)
{
	buf_str(b, "</m:SendNotificationResponseMessage></m:ResponseMessages></m:SendNotification>"
	           "</soap11:Body></soap11:Envelope>");
}

void push_say_error(struct subs *s, struct pushes *p, struct subscription *sub, const char *code)
{
	struct buf b = {0};

	envelope(&b, subs_limits(s)->version);
	soap_error_message(&b, "SendNotificationResponseMessage", code,
	                   "The subscription is over.");
	envelope_end(&b);
	p->send(p->arg, sub, b.p, b.len);
	buf_free(&b);
}

static bool notify(struct subs *s, struct pushes *p, struct subscription *sub)
{
	struct push *push = sub->push;
	struct buf events = {0}, b = {0};
	uint64_t last = push->told;
	bool more = sub_events_after(s, sub, push->told, &events, &last), sent;

	envelope(&b, subs_limits(s)->version);
	buf_fmt(&b,
	        "<m:SendNotificationResponseMessage ResponseClass=\"Success\"><m:ResponseCode>"
	        "NoError</m:ResponseCode><m:Notification><t:SubscriptionId>%s</t:SubscriptionId>"
	        "<t:PreviousWatermark>",
	        sub->id);
	sub_watermark(&b, sub, push->told);
	buf_fmt(&b, "</t:PreviousWatermark><t:MoreEvents>%s</t:MoreEvents>",
	        more ? "true" : "false");
	if (events.len) {
		buf_add(&b, events.p, events.len);
	} else {
		buf_str(&b, "<t:StatusEvent><t:Watermark>");
		sub_watermark(&b, sub, push->told);
		buf_str(&b, "</t:Watermark></t:StatusEvent>");
	}
	buf_str(&b, "</m:Notification>");
	envelope_end(&b);
	sent = p->send(p->arg, sub, b.p, b.len);
	if (sent) {
		push->flying = true;
		push->in_flight = last;
	}
	buf_free(&events);
	buf_free(&b);
	return sent;
}

int64_t push_tick(struct subs *s, struct pushes *p, int64_t now_ms)
{
	struct subscription *sub;

	if (now_ms < p->due_ms)
		return p->due_ms;
	p->due_ms = INT64_MAX;
	for (sub = p->first; sub; sub = sub->push->next) {
		struct push *push = sub->push;

		if (push->flying)
			continue;
		if (now_ms >= push->due_ms && !notify(s, p, sub))
			push->due_ms = now_ms + BUSY_MS;
		if (!push->flying)
			sooner(p, push->due_ms);
	}
	return p->due_ms;
}

bool push_answered(struct subs *s, struct pushes *p, struct subscription *sub,
                   enum push_answer answer, int64_t now_ms)
{
	const int64_t first_retry_ms = subs_limits(s)->minute_ms / 2;
	struct push *push = sub->push;

	push->flying = false;
	switch (answer) {
	case PUSH_OK:
		push->told = push->in_flight;
		push->failed_ms = -1;
		due(p, push, push->told < sub->last ? now_ms : now_ms + push->frequency_ms);
		return true;
	case PUSH_UNSUBSCRIBE:
		return false;
	case PUSH_FAILED:
		break;
	}
	if (push->failed_ms < 0) {
		push->failed_ms = now_ms;
		push->retry_ms = first_retry_ms;
	}
	if (now_ms + push->retry_ms > push->failed_ms + push->frequency_ms)
		return false;
	due(p, push, now_ms + push->retry_ms);
	push->retry_ms *= 2;
	return true;
}
