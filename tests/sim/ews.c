/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pool of CAS with one store of mailboxes behind it: streams, calls, polls, versions, sites. */
#include <stdlib.h>
#include <string.h>

#include "backend/ews.h"
#include "sim_in.h"

/* ---- who is asked about ---- */

static const char *lines_of(const struct http *h)
{
	return strchr(h->body, '\n') + 1;
}

static size_t sub_of(const char *line)
{
	return line[0] == 's' ? strtoul(line + 1, NULL, 10) : SIZE_MAX;
}

static void about(struct world *w, const struct http *h,
                  void (*each)(struct world *w, uint32_t user, int64_t until), int64_t until)
{
	const char *space = strchr(h->body, ' ');

	if (space[1] == 'u' && h->ask != PX_ASK_STREAM)
		each(w, sim_user(space + 1), until);
	for (const char *l = lines_of(h); *l; l = strchr(l, '\n') + 1)
		if (*l == 'u')
			each(w, sim_user(l), until);
		else if (sub_of(l) < w->subs)
			each(w, w->sub[sub_of(l)].user, until);
}

/* ---- answers ---- */

static void says(struct world *w, uint64_t id, const char *text)
{
	sim_say(w, id, text);
	sim_http_status(w, id, 200);
}

static void verdict(struct world *w, uint64_t id, enum px_verdict v)
{
	char text[16];

	snprintf(text, sizeof text, "V %d\n", v);
	says(w, id, text);
}

static enum px_verdict verdict_of(const struct http *h, const char *code)
{
	(void)h;
	return px_ews_row(code)->verdict;
}

static void refuse(struct world *w, uint64_t id, const char *code, int64_t wish)
{
	char text[PX_CODE_MAX + 40];

	/* in a header, or in the answer, whatever its status is */
	if (wish && strcmp(code, "HTTP 503") == 0) {
		const struct px_http_answer a = {
		    .fail = PX_HTTP_ANSWERED, .status = 503, .retry_after_ms = wish};
		sim_http_done(w, id, &a);
		return;
	}
	snprintf(text, sizeof text, "W %lld\nK %s\n", (long long)wish, code);
	says(w, id, text);
}

/* What was queued for streams that are open is delivered. */
static void flush(struct world *w, struct http *h)
{
	for (unsigned i = 0; i < h->members; i++) {
		struct sub *sub = &w->sub[h->member[i]];
		char text[64];
		uint64_t id = h->id;

		if (!sub->pending || sub->http != (uint32_t)id + 1)
			continue;
		sub->pending = false;
		snprintf(text, sizeof text, "E s%u\n", h->member[i]);
		sim_say(w, id, text);
		h = sim_http(w, id); /* it may have been given up meanwhile */
		if (!h)
			return;
	}
}

static void heal(struct world *w, unsigned cas)
{
	for (size_t i = 0; i < w->https; i++)
		if (w->http[i].id && w->http[i].open && w->http[i].cas == cas)
			flush(w, &w->http[i]);
}

static void open_stream(struct world *w, struct http *h)
{
	const char *lines = lines_of(h);
	uint64_t id = h->id;
	unsigned minutes, n = 0;
	char anchor[256];
	struct px_buf bad = px_buf_new(1 << 20);

	sscanf(h->body, "%*d %255s %u", anchor, &minutes);
	h->anchor = sim_user(anchor);
	h->open = true;
	h->member = calloc(200, sizeof *h->member);
	if (!h->member)
		abort();
	if (++w->anchors[h->anchor] > 3)
		sim_complain(w, &w->r->anchors_over, "more than 3 streams on mailbox %u",
		             h->anchor);
	for (const char *l = lines; *l; l = strchr(l, '\n') + 1) {
		size_t s = sub_of(l);

		if (++n > 200)
			break;
		if (s >= w->subs || !sim_alive(w, &w->sub[s]) || w->sub[s].cas != h->cas ||
		    (w->c.backends && w->sub[s].user % w->c.backends != h->routed % w->c.backends))
			px_buf_printf(&bad, "G %.*s\n", (int)(strchr(l, '\n') - l), l);
		else {
			w->sub[s].http = (uint32_t)id + 1;
			h->member[h->members++] = (uint32_t)s;
		}
	}
	if (n > 200)
		sim_complain(w, &w->r->violations, "more than 200 ids in a stream");
	if (bad.len) {
		px_buf_printf(&bad, "V %d\n", PX_V_LOST);
		sim_say(w, id, bad.data);
		px_buf_free(&bad);
		sim_http_status(w, id, 200);
		return;
	}
	if (w->cas[h->cas].mute)
		return;
	sim_later(w, w->mono + FAKE_HEARTBEAT_MS, W_HEARTBEAT, id, 0, NULL);
	sim_later(w, w->mono + minutes * MIN, W_STREAM_END, id, 0, NULL);
	sim_say(w, id, "A\n");
	if ((h = sim_http(w, id)))
		flush(w, h);
}

static void read_of(struct world *w, const struct http *h, uint32_t u, int64_t from, int64_t until,
                    struct px_buf *out)
{
	const struct person *p = &w->person[u];

	/* some show the account nothing; and of some there is too much for one answer */
	if (p->moving > w->mono) {
		px_buf_printf(out, "R %d\n", PX_V_TRANSIENT);
		return;
	}
	if (h->ask == PX_ASK_READ && u % HIDDEN == 0) {
		px_buf_printf(out, "R %d\n", PX_V_UNREADABLE);
		return;
	}
	if (h->ask == PX_ASK_READ_ONE && u % WIDE == 0 && until - from > 20 * HOUR) {
		px_buf_printf(out, "V %d\n", PX_V_WIDE);
		return;
	}
	for (unsigned m = 0; m < p->meetings; m++)
		if (p->meeting[m].end > from && p->meeting[m].start < until)
			px_buf_printf(out, "M %lld %lld %d\n", (long long)p->meeting[m].start,
			              (long long)p->meeting[m].end, p->meeting[m].status);
	px_buf_str(out, "C\n");
}

static void subscribe(struct world *w, const struct http *h, uint32_t user, enum px_kind kind,
                      struct px_buf *out)
{
	size_t s = sim_subscribe(w, user, h->cas, kind);
	struct sub *sub = &w->sub[s];
	const char *callback = strstr(h->body, "http://");

	sscanf(h->body, "%*d %*s %u", &sub->minutes);
	if (callback)
		sub->who = (uint32_t)strtoul(callback + strcspn(callback, "\n") - 8, NULL, 16);
	sub->ends = w->mono + sub->minutes * MIN;
	px_buf_printf(out, kind == PX_KIND_PULL ? "I s%zu 0\n" : "I s%zu\n", s);
	if (kind != PX_KIND_PUSH)
		return;
	/* the first call comes at once: now and then before the answer */
	sub->calls_at = w->mono + sim_between(w, 1, 50);
	if (sim_rnd(w) % 4 == 0)
		sim_ews.call(w, (uint32_t)s, sub->call_no);
	else
		sim_later(w, sub->calls_at, W_CALL, s, sub->call_no, NULL);
}

static void poll(struct world *w, const struct http *h, struct px_buf *out)
{
	const size_t s = sub_of(lines_of(h));
	struct sub *sub = s < w->subs ? &w->sub[s] : NULL;

	if (!sub || !sim_alive(w, sub) || sub->cas != h->cas || sub->ends < w->mono) {
		px_buf_printf(out, "V %d\n", PX_V_LOST);
	} else if (sub->gap) { /* its watermark isn't known any more */
		sub->alive = false;
		px_buf_printf(out, "V %d\n", PX_V_GAP);
	} else {
		const bool more = sub->pending && sim_rnd(w) % 8 == 0;

		px_buf_printf(out, "%c s%zu %u\n%s", sub->pending ? 'E' : 'A', s, ++sub->watermark,
		              more ? "N\n" : "");
		sub->pending = false;
		sub->ends = w->mono + sub->minutes * MIN;
	}
}

/* Is its mailbox to be had here? */
static bool served(const struct world *w, uint32_t u, const struct http *h, enum px_verdict *why)
{
	const struct person *p = &w->person[u];

	*why = p->moving > w->mono
	           ? PX_V_TRANSIENT
	           : PX_V_LOST; /* ErrorMailboxMoveInProgress, ErrorCrossSiteRequest */
	return p->moving <= w->mono && (!p->serves || p->serves >> h->cas & 1);
}

static void answer(struct world *w, uint64_t id)
{
	struct http *h = sim_http(w, id);
	struct cas *cas = &w->cas[h->cas];
	struct px_buf out = px_buf_new(16 << 20);
	char mailbox[256];
	long long from, until;
	unsigned version;
	int kind;
	enum px_verdict why;

	sscanf(h->body, "%*d %255s %*u %lld %lld %u %d", mailbox, &from, &until, &version, &kind);
	if (w->c.versions && version < cas->version) {
		verdict(w, id, PX_V_VERSION);
		return;
	}
	const uint32_t user = mailbox[0] == 'u' ? sim_user(mailbox) : 0;
	const char *lines = lines_of(h);
	const bool alone =
	    h->ask == PX_ASK_SUBSCRIBE || h->ask == PX_ASK_POLL || h->ask == PX_ASK_READ_ONE;
	if (alone && !served(w, user, h, &why)) {
		verdict(w, id, why);
		return;
	}
	switch (h->ask) {
	case PX_ASK_SUBSCRIBE:
		if (cas->broken & PX_KIND_BIT(kind)) {
			verdict(w, id, PX_V_KIND);
			return;
		}
		subscribe(w, h, user, (enum px_kind)kind, &out);
		break;
	case PX_ASK_UNSUBSCRIBE:
		if (sub_of(lines) < w->subs)
			w->sub[sub_of(lines)].alive = false;
		break;
	case PX_ASK_STREAM:
		open_stream(w, h);
		return;
	case PX_ASK_POLL:
		poll(w, h, &out);
		break;
	case PX_ASK_READ:
	case PX_ASK_READ_ONE:
		for (const char *l = lines; *l; l = strchr(l, '\n') + 1)
			read_of(w, h, sim_user(l), from, until, &out);
		break;
	default:
		break;
	}
	if (out.data)
		sim_say(w, id, out.data);
	px_buf_free(&out);
	sim_http_status(w, id, 200);
}

/* ---- calls ---- */

static void next_call(struct world *w, uint32_t s, int64_t in_ms)
{
	struct sub *sub = &w->sub[s];

	sub->calls_at = w->mono + in_ms;
	sim_later(w, sub->calls_at, W_CALL, s, ++sub->call_no, NULL);
}

/*
 * A server that isn't heard tries again after 30 s, and twice as long each time, until the time is over after which it would have called
 * anyhow; then it drops the subscription and says nothing (protocol of push).
 */
static void not_heard(struct world *w, uint32_t s)
{
	struct sub *sub = &w->sub[s];
	const int64_t in = (30 * S) << sub->attempts;

	if (sub->attempts++ == 0)
		sub->failing_since = w->mono;
	if (w->mono + in > sub->failing_since + sub->minutes * MIN) {
		sub->alive = false;
		/* silence of twice the time; then it is followed anew, perhaps elsewhere or in another way */
		sim_excuse_read(w, sub->user, w->mono + 2 * sub->minutes * MIN + 30 * S + 3 * MIN);
		return;
	}
	sim_excuse_read(w, sub->user, w->mono + in + 5 * S);
	next_call(w, s, in);
}

static void call(struct world *w, uint32_t s, uint32_t call_no)
{
	struct sub *sub = &w->sub[s];
	char text[64];

	if (sub->call_no != call_no || !sim_alive(w, sub))
		return;
	if (w->cas[sub->cas].state == CAS_HANGS) {
		next_call(w, s, 10 * S);
		return;
	}
	if (w->deaf || sim_chance(w, w->c.calls_lost)) {
		w->r->faults++;
		not_heard(w, s);
		return;
	}
	sub->attempts = 0;
	snprintf(text, sizeof text, "%c s%u\n", sub->pending ? 'E' : 'A', s);
	sub->pending = false;
	w->r->calls++;
	if (sim_chance(w, w->c.calls_lost)) /* and once more, when it is no news */
		sim_later(w, w->mono + sim_between(w, S, 30 * MIN), W_LATE, 0, 0, strdup(text));
	switch (px_engine_notified(w->e, sub->who, text, strlen(text), sim_now(w))) {
	case PX_HEARD:
		next_call(w, s, sub->minutes * MIN);
		break;
	case PX_HEARD_UNKNOWN:
		sub->alive = false;
		break;
	case PX_HEARD_BAD:
		sim_complain(w, &w->r->violations, "a good call was refused");
		break;
	}
}

/* By somebody who isn't Exchange: nonsense, what nobody has, and what somebody has. */
static void forge(struct world *w)
{
	const uint32_t s = w->subs ? (uint32_t)(sim_rnd(w) % w->subs) : 0;
	const bool hurts = sim_rnd(w) % 4 == 0;
	char text[64];

	switch (sim_rnd(w) % 3) {
	case 0:
		snprintf(text, sizeof text, "<nonsense/>");
		break;
	case 1:
		snprintf(text, sizeof text, "E s%zu\n", w->subs + 7);
		break;
	default:
		snprintf(text, sizeof text, "%c s%u\n", hurts ? "GP"[sim_rnd(w) % 2] : 'E', s);
		if (hurts && s < w->subs)
			sim_excuse_read(w, w->sub[s].user, w->mono + MIN);
	}
	px_engine_notified(w->e, (uint32_t)sim_rnd(w), text, strlen(text), sim_now(w));
}

static void event(struct world *w, uint32_t u)
{
	struct person *p = &w->person[u];

	for (unsigned i = 0; i < p->subs && i < SUBS; i++) {
		uint32_t s = p->sub[i];
		struct sub *sub = &w->sub[s];
		char text[64];

		if (!sim_alive(w, sub))
			continue;
		struct http *h = sub->http ? &w->http[sub->http - 1] : NULL;
		enum cas_state state = w->cas[sub->cas].state;
		if (sub->kind == PX_KIND_PUSH && sub->attempts == 0 && !sub->pending)
			next_call(w, s, 1);
		if (!h || (state != CAS_UP && state != CAS_BUSY)) {
			sub->pending = true;
			continue;
		}
		snprintf(text, sizeof text, "E s%u\n", s);
		sim_say(w, h->id, text);
	}
}

/* Streams are told; what is polled is when it is. */
static void gap(struct world *w, unsigned cas)
{
	for (size_t s = 0; s < w->subs; s++)
		if (w->sub[s].cas == cas && sim_alive(w, &w->sub[s]) &&
		    w->sub[s].kind == PX_KIND_PULL)
			w->sub[s].gap = true;
	sim_excuse_users_of(w, cas, w->mono + 8 * MIN);
	for (size_t i = 0; i < w->https; i++)
		if (w->http[i].id && w->http[i].open && w->http[i].cas == cas &&
		    sim_rnd(w) % 4 == 0) {
			for (unsigned m = 0; m < w->http[i].members; m++)
				w->sub[w->http[i].member[m]].alive = false;
			says(w, w->http[i].id, "K ErrorMissedNotificationEvents\n");
		}
}

const struct exchange sim_ews = {.backend = &fake_versions,
                                 .answer = answer,
                                 .refuse = refuse,
                                 .verdict = verdict_of,
                                 .about = about,
                                 .event = event,
                                 .call = call,
                                 .forge = forge,
                                 .gap = gap,
                                 .heal = heal};
