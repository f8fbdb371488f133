/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A front end over WebDAV: the product's own requests and answers, one store behind it. Ids are numbers. */
#include <stdlib.h>
#include <string.h>

#include "core/wall.h"
#include "sim_in.h"

#define LIFETIME_S 3600

static const char multistatus[] =
    "<a:multistatus xmlns:a='DAV:' xmlns:c='urn:schemas:calendar:' xmlns:h='urn:schemas:httpmail:' "
    "xmlns:x='http://schemas.microsoft.com/Exchange/'>";

/* ---- who is asked about ---- */

static const char *header(const struct http *h, const char *name)
{
	const char *at = strstr(h->head, name);

	return at ? at + strlen(name) : "";
}

/* Ids are one more than a subscription's place: there is no subscription 0. */
static size_t next_id(const char **at)
{
	char *end;
	const size_t id = strtoul(*at, &end, 10);

	*at = *end == ',' ? end + 1 : "";
	return id - 1;
}

static uint32_t user_of(const struct http *h)
{
	const char *at = strstr(h->target, "/u");

	return at ? sim_user(at + 1) : 0;
}

static void about(struct world *w, const struct http *h,
                  void (*each)(struct world *w, uint32_t user, int64_t until), int64_t until)
{
	const char *at = header(h, "Subscription-id: ");

	if (h->ask == PX_ASK_READ) {
		for (at = h->target; (at = strstr(at, "SMTP:")); at += 5)
			each(w, sim_user(at + 5), until);
		return;
	}
	each(w, user_of(h), until);
	while (*at) {
		size_t s = next_id(&at);

		if (s < w->subs)
			each(w, w->sub[s].user, until);
	}
}

/* ---- answers ---- */

static void told(struct world *w, uint64_t id, int status, const char *head, const char *body)
{
	const struct px_http_answer a = {.fail = PX_HTTP_ANSWERED,
	                                 .status = status,
	                                 .type = "text/xml",
	                                 .head = head,
	                                 .asks_login = status == 401,
	                                 .retry_after_ms = -1};

	sim_say(w, id, body);
	sim_http_done(w, id, &a);
}

static enum px_http_fail fail_of(const char *code)
{
	static const struct {
		const char *code;
		enum px_http_fail fail;
	} table[] = {{"connect", PX_HTTP_CONNECT}, {"cut", PX_HTTP_CUT},
	             {"local", PX_HTTP_LOCAL},     {"resolve", PX_HTTP_RESOLVE},
	             {"timeout", PX_HTTP_TIMEOUT}, {"tls", PX_HTTP_TLS},
	             {"too big", PX_HTTP_TOO_BIG}};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(code, table[i].code) == 0)
			return table[i].fail;
	return PX_HTTP_ANSWERED;
}

static void refuse(struct world *w, uint64_t id, const char *code, int64_t wish)
{
	int status = 0;

	if (fail_of(code) != PX_HTTP_ANSWERED) {
		sim_http_fails(w, id, fail_of(code));
	} else if (sscanf(code, "HTTP %d", &status) == 1) {
		const struct px_http_answer a = {.fail = PX_HTTP_ANSWERED,
		                                 .status = status,
		                                 .asks_login = status == 401,
		                                 .retry_after_ms = wish ? wish : -1};
		sim_http_done(w, id, &a);
	} else if (strcmp(code, "not WebDAV") == 0) {
		const struct px_http_answer a = {.fail = PX_HTTP_ANSWERED,
		                                 .status = 200,
		                                 .type = "text/html",
		                                 .retry_after_ms = -1};
		sim_say(w, id, "<html><body>welcome</body></html>");
		sim_http_done(w, id, &a);
	} else if (strcmp(code, "Exchange 2010") == 0) {
		told(w, id, 501, "MS-WebStorage: 14.0.639\n", "");
	} else {
		told(w, id, 207, NULL, strcmp(code, "broken XML") == 0 ? "<a:multi" : "<b/>");
	}
}

static enum px_verdict verdict_of(const struct http *h, const char *code)
{
	int status = 0;

	if (sscanf(code, "HTTP %d", &status) == 1)
		return px_webdav_meaning(h->ask, status)->verdict;
	return px_meaning_of(px_webdav_table, px_webdav_rows, code)->verdict;
}

static void calendar(struct world *w, uint32_t u, struct px_buf *out)
{
	const struct person *p = &w->person[u];
	static const char *const status[] = {[PX_FREE] = "FREE",
	                                     [PX_TENTATIVE] = "TENTATIVE",
	                                     [PX_BUSY] = "BUSY",
	                                     [PX_OOF] = "OOF",
	                                     [PX_WORKINGELSEWHERE] = "FREE"};

	px_buf_str(out, multistatus);
	/* the whole calendar: what is out of the window is the reader's to leave */
	for (unsigned m = 0; m < p->meetings; m++) {
		char from[PX_WALL_TEXT], until[PX_WALL_TEXT];
		const int64_t t = w->mono + w->offset;

		if (p->meeting[m].end < t - DAY || p->meeting[m].start > t + 4 * DAY)
			continue;
		px_wall_text((struct px_wall){p->meeting[m].start}, from);
		px_wall_text((struct px_wall){p->meeting[m].end}, until);
		px_buf_strs(out,
		            "<a:response><a:propstat><a:status>HTTP/1.1 200 OK</a:status><a:prop>"
		            "<c:dtstart>",
		            from, "</c:dtstart><c:dtend>");
		px_buf_strs(out, until, "</c:dtend><c:busystatus>", status[p->meeting[m].status]);
		px_buf_str(out, "</c:busystatus></a:prop></a:propstat></a:response>");
	}
	px_buf_str(out, "</a:multistatus>");
}

/* What was published, a digit each quarter of an hour. */
static void published(const struct world *w, const struct http *h, struct px_buf *out)
{
	static const char digit[] = {[PX_FREE] = '0',
	                             [PX_TENTATIVE] = '1',
	                             [PX_BUSY] = '2',
	                             [PX_OOF] = '3',
	                             [PX_WORKINGELSEWHERE] = '0'};
	const char *start = strstr(h->target, "start="), *end = strstr(h->target, "end=");
	struct px_wall from, until;

	if (px_wall_parse(start + 6, strcspn(start + 6, "&"), &from) < 0 ||
	    px_wall_parse(end + 4, strcspn(end + 4, "&"), &until) < 0)
		abort();
	px_buf_str(out, "<a:response xmlns:a=\"WM\"><a:recipients>");
	for (const char *at = h->target; (at = strstr(at, "SMTP:")); at += 5) {
		const struct person *p = &w->person[sim_user(at + 5)];

		px_buf_printf(out, "<a:item><a:email type=\"SMTP\">%.*s</a:email><a:fbdata>",
		              (int)strcspn(at + 5, "&"), at + 5);
		for (int64_t t = from.ms; t < until.ms; t += 15 * MIN) {
			char d = '0';
			for (unsigned m = 0; m < p->meetings; m++)
				if (p->meeting[m].start < t + 15 * MIN && p->meeting[m].end > t &&
				    digit[p->meeting[m].status] > d)
					d = digit[p->meeting[m].status];
			px_buf_add(out, &d, 1);
		}
		px_buf_str(out, "</a:fbdata></a:item>");
	}
	px_buf_str(out, "</a:recipients></a:response>");
}

static void poll(struct world *w, const struct http *h, struct px_buf *out)
{
	const char *at = header(h, "Subscription-id: ");

	px_buf_str(out, multistatus);
	while (*at) {
		const size_t s = next_id(&at);
		struct sub *sub = s < w->subs ? &w->sub[s] : NULL;
		const char *status = "412 Precondition Failed";

		if (sub && sim_alive(w, sub) && sub->ends > w->mono) {
			status = sub->pending ? "200 OK" : "204 No Content";
			sub->pending = false;
		}
		px_buf_printf(out,
		              "<a:response><a:status>HTTP/1.1 %s</a:status><x:subscriptionID>"
		              "<li>%zu</li></x:subscriptionID></a:response>",
		              status, s + 1);
	}
	px_buf_str(out, "</a:multistatus>");
}

static void renew(struct world *w, uint64_t id, const struct http *h)
{
	const char *at = header(h, "Subscription-id: ");
	const size_t s = next_id(&at);
	struct sub *sub = s < w->subs ? &w->sub[s] : NULL;
	char head[96];

	if (!sub || !sim_alive(w, sub) || sub->ends <= w->mono) {
		told(w, id, 412, NULL, "");
		return;
	}
	sub->ends = w->mono + LIFETIME_S * S;
	snprintf(head, sizeof head, "Subscription-id: %zu\nSubscription-lifetime: %d\n", s + 1,
	         LIFETIME_S);
	told(w, id, 200, head, "");
}

static void subscribe(struct world *w, uint64_t id, uint32_t u)
{
	char head[96];
	const size_t s = sim_subscribe(w, u, 0, PX_KIND_PULL);

	w->sub[s].ends = w->mono + LIFETIME_S * S;
	snprintf(head, sizeof head, "Subscription-id: %zu\nSubscription-lifetime: %d\n", s + 1,
	         LIFETIME_S);
	told(w, id, 200, head, "");
}

static void answer(struct world *w, uint64_t id)
{
	struct http *h = sim_http(w, id);
	const uint32_t u = user_of(h);
	struct px_buf out = px_buf_new(16 << 20);
	const char *at;

	if (w->session_over) { /* whoever probes logs in again */
		if (h->ask == PX_ASK_PROBE) {
			w->session_over = false;
		} else {
			told(w, id, 440, NULL, "");
			return;
		}
	}
	switch (h->ask) {
	case PX_ASK_LOCATE:
	case PX_ASK_PROBE:
		px_buf_printf(&out,
		              "%s<a:response><a:propstat><a:prop><h:calendar>"
		              "http://be/exchange/u%u@example.test/Kalender</h:calendar></a:prop>"
		              "<a:status>HTTP/1.1 200 OK</a:status></a:propstat></a:response>"
		              "</a:multistatus>",
		              multistatus, u);
		told(w, id, 207, NULL, out.data);
		break;
	case PX_ASK_READ_ONE:
		calendar(w, u, &out);
		told(w, id, 207, NULL, out.data);
		break;
	case PX_ASK_READ:
		published(w, h, &out);
		told(w, id, 200, NULL, out.data);
		break;
	case PX_ASK_SUBSCRIBE:
		subscribe(w, id, u);
		break;
	case PX_ASK_RENEW:
		renew(w, id, h);
		break;
	case PX_ASK_POLL:
		poll(w, h, &out);
		told(w, id, 207, NULL, out.data);
		break;
	case PX_ASK_UNSUBSCRIBE:
		at = header(h, "Subscription-id: ");
		while (*at) {
			const size_t s = next_id(&at);
			if (s < w->subs)
				w->sub[s].alive = false;
		}
		told(w, id, 200, NULL, "");
		break;
	default:
		told(w, id, 200, NULL, "");
	}
	px_buf_free(&out);
}

/* ---- hints ---- */

/* One datagram to whoever subscribed; a lost one is missed until the next poll. */
static void event(struct world *w, uint32_t u)
{
	struct person *p = &w->person[u];

	for (unsigned i = 0; i < p->subs && i < SUBS; i++) {
		struct sub *sub = &w->sub[p->sub[i]];
		char id[24];

		if (!sim_alive(w, sub) || sub->ends <= w->mono)
			continue;
		sub->pending = true;
		if (w->deaf || sim_chance(w, w->c.calls_lost)) {
			w->r->faults++;
			/* each is polled every 15 s or so, gathered for 5 s */
			sim_excuse_read(w, u, w->mono + 30 * S);
			continue;
		}
		w->r->calls++;
		snprintf(id, sizeof id, "%u", p->sub[i] + 1);
		px_engine_notified(w->e, 0, id, strlen(id), sim_now(w));
		if (sim_chance(w, w->c.calls_lost))
			sim_later(w, w->mono + sim_between(w, S, 30 * MIN), W_LATE, 0, 0,
			          strdup(id));
	}
}

static void forge(struct world *w)
{
	char text[64];

	switch (sim_rnd(w) % 4) {
	case 0:
		snprintf(text, sizeof text, "1 OR 1");
		break;
	case 1:
		snprintf(text, sizeof text, "%zu", w->subs + 7);
		break;
	case 2:
		snprintf(text, sizeof text, "1,2,3,999999999999");
		break;
	default:
		snprintf(text, sizeof text, "%u",
		         w->subs ? (uint32_t)(sim_rnd(w) % w->subs) + 1 : 1);
	}
	px_engine_notified(w->e, 0, text, strlen(text), sim_now(w));
}

/* The store restarts: every id is forgotten, and each poll says so. */
static void gap(struct world *w, unsigned cas)
{
	w->cas[cas].epoch++;
	/* the next poll of each; then all subscribe anew, one by one */
	sim_excuse_read_all(w, w->mono + MIN + sim_recovery(w));
}

const struct exchange sim_dav = {.backend = &px_webdav,
                                 .answer = answer,
                                 .refuse = refuse,
                                 .verdict = verdict_of,
                                 .about = about,
                                 .event = event,
                                 .forge = forge,
                                 .gap = gap};
