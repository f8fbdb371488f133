/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ews.h"

#define INTERVALS 64

static void fake_write(struct px_wire *wire, const struct px_query *q)
{
	struct px_buf *out = &wire->body;

	wire->method = "POST";
	px_buf_strs(&wire->head, "Anchor: ", q->anchor ? q->anchor : "", "\r\n");
	px_buf_printf(out, "%d %s %u %lld %lld %u %d %s %s\n", q->ask,
	              q->mailbox ? q->mailbox : "-", q->minutes, (long long)q->from.ms,
	              (long long)q->until.ms, q->version, q->kind,
	              q->watermark ? q->watermark : "-", q->callback ? q->callback : "-");
	for (size_t i = 0; i < q->n; i++)
		px_buf_printf(out, "%s\n", q->name ? q->name[i] : q->id[i]);
}

struct px_parse {
	enum px_ask ask;
	size_t n, seen;
	px_item_h *said;
	void *arg;
	char *line;
	size_t len;
	int verdict;
	char code[PX_CODE_MAX];
	int64_t backoff_ms;
	struct px_interval interval[INTERVALS];
	size_t intervals;
};

static struct px_parse *fake_new(const struct px_query *q, px_item_h *said, void *arg)
{
	struct px_parse *p = calloc(1, sizeof *p);

	if (p) {
		p->ask = q->ask;
		p->n = q->n;
		p->said = said;
		p->arg = arg;
		p->verdict = -1;
	}
	return p;
}

static void fake_line(struct px_parse *p, char *line)
{
	struct px_item item = {.id = line[0] && line[1] ? line + 2 : NULL};
	char *mark = item.id ? strchr(item.id, ' ') : NULL;

	if (mark && strchr("IEA", line[0])) {
		*mark = '\0';
		item.watermark = mark + 1;
	}
	switch (line[0]) {
	case 'N':
		item.kind = PX_ITEM_MORE;
		break;
	case 'P':
		item.kind = PX_ITEM_GONE;
		item.verdict = PX_V_GAP;
		break;
	case 'I':
		item.kind = PX_ITEM_SUBSCRIBED;
		break;
	case 'A':
		item.kind = PX_ITEM_ALIVE;
		break;
	case 'E':
		item.kind = PX_ITEM_CHANGED;
		break;
	case 'G':
		item.kind = PX_ITEM_GONE;
		break;
	case 'Z':
		item.kind = PX_ITEM_CLOSED;
		break;
	case 'M': {
		char *end;
		struct px_interval *v = &p->interval[p->intervals++];
		v->start.ms = strtoll(line + 2, &end, 10);
		v->end.ms = strtoll(end, &end, 10);
		v->status = (enum px_status)strtol(end, NULL, 10);
		return;
	}
	case 'D': { /* start end status hidden subject|place */
		struct px_meeting m = {0};
		const struct px_item about = {
		    .kind = PX_ITEM_MEETING, .index = p->seen, .meeting = &m};
		char *end, *place = strchr(line, '|');
		m.when.start.ms = strtoll(line + 2, &end, 10);
		m.when.end.ms = strtoll(end, &end, 10);
		m.when.status = (enum px_status)strtol(end, &end, 10);
		m.hidden = strtol(end, &end, 10) != 0;
		m.subject = end + 1;
		m.place = place + 1;
		*place = '\0';
		p->said(p->arg, &about);
		return;
	}
	case 'B': /* as C, and nobody may see what meetings are about */
	case 'C':
		item = (struct px_item){.kind = PX_ITEM_CALENDAR,
		                        .index = p->seen++,
		                        .interval = p->interval,
		                        .n = p->intervals,
		                        .details = p->ask == PX_ASK_DETAILS && line[0] == 'C'};
		p->intervals = 0;
		break;
	case 'O': {
		char *end;
		item = (struct px_item){.kind = PX_ITEM_OOF, .index = p->seen++};
		item.away = strtol(line + 2, &end, 10);
		item.from.ms = strtoll(end, &end, 10);
		item.until.ms = strtoll(end, NULL, 10);
		break;
	}
	case 'R':
		item = (struct px_item){.kind = PX_ITEM_REFUSED,
		                        .index = p->seen++,
		                        .verdict = (enum px_verdict)atoi(line + 2),
		                        .code = "ErrorRefused"};
		p->intervals = 0;
		break;
	case 'V':
		p->verdict = atoi(line + 2);
		return;
	case 'K': {
		const struct px_meaning *row = px_ews_row(line + 2);
		snprintf(p->code, sizeof p->code, "%s", line + 2);
		p->verdict = row ? (int)row->verdict : PX_V_TRANSIENT;
		return;
	}
	case 'W':
		p->backoff_ms = strtoll(line + 2, NULL, 10);
		return;
	default:
		return;
	}
	p->said(p->arg, &item);
}

static void fake_feed(struct px_parse *p, const char *bytes, size_t n)
{
	while (n) {
		const char *nl = memchr(bytes, '\n', n);
		size_t part = nl ? (size_t)(nl - bytes) : n;
		char *more = realloc(p->line, p->len + part + 1);
		if (!more)
			return;
		p->line = more;
		memcpy(p->line + p->len, bytes, part);
		p->len += part;
		p->line[p->len] = '\0';
		bytes += part;
		n -= part;
		if (nl) {
			fake_line(p, p->line);
			p->len = 0;
			bytes++;
			n--;
		}
	}
}

static void fake_done(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out)
{
	*out = (struct px_reply){.verdict = PX_V_OK, .backoff_ms = p->backoff_ms};
	if (p->code[0])
		snprintf(out->code, sizeof out->code, "%s", p->code);
	else
		snprintf(out->code, sizeof out->code, "sim %d %d", a->fail, p->verdict);
	if (a->retry_after_ms > out->backoff_ms)
		out->backoff_ms = a->retry_after_ms;
	switch (a->fail) {
	case PX_HTTP_RESOLVE:
	case PX_HTTP_CONNECT:
	case PX_HTTP_TLS:
	case PX_HTTP_TIMEOUT:
		out->verdict = PX_V_SERVER;
		return;
	case PX_HTTP_CUT:
	case PX_HTTP_TOO_BIG:
	case PX_HTTP_LOCAL:
		out->verdict = PX_V_TRANSIENT;
		return;
	case PX_HTTP_ANSWERED:
		break;
	}
	if (a->status == 401)
		out->verdict = PX_V_DENIED;
	else if (a->status == 503)
		out->verdict = PX_V_BUSY;
	else if (p->verdict >= 0)
		out->verdict = (enum px_verdict)p->verdict;
	else if ((p->ask == PX_ASK_READ || p->ask == PX_ASK_READ_ONE || p->ask == PX_ASK_DETAILS) &&
	         p->seen != p->n)
		out->verdict = PX_V_TRANSIENT;
}

static void fake_free(struct px_parse *p)
{
	if (p)
		free(p->line);
	free(p);
}

static unsigned fake_kinds(unsigned version)
{
	return PX_KIND_BIT(PX_KIND_PUSH) | PX_KIND_BIT(PX_KIND_PULL) | PX_KIND_BIT(PX_KIND_NONE) |
	       (version < FAKE_STREAMLESS ? PX_KIND_BIT(PX_KIND_STREAM) : 0);
}

static size_t fake_oof_max(unsigned version)
{
	(void)version;
	return 100;
}

static int fake_notified(const char *bytes, size_t n, px_item_h *said, void *arg)
{
	struct px_parse p = {.said = said, .arg = arg, .verdict = -1};

	for (size_t i = 0; i < n; i++)
		if (strchr("EAGP\n", bytes[0]) == NULL)
			return -EBADMSG;
	fake_feed(&p, bytes, n);
	free(p.line);
	return 1;
}

#define FAKE(...)                                                                                  \
	{                                                                                          \
		.name = "fake", .kinds = fake_kinds, .read_max = 100, .read_one = true,            \
		.oof_max = fake_oof_max, .details_max = 100, .stream_max = 200, .poll_max = 1,     \
		.id_max = 255, .heartbeat_ms = FAKE_HEARTBEAT_MS, .write = fake_write,             \
		.parse_new = fake_new, .feed = fake_feed, .done = fake_done,                       \
		.parse_free = fake_free, .notified = fake_notified, __VA_ARGS__                    \
	}

const struct px_backend fake_backend = FAKE(.versions = 1);
const struct px_backend fake_versions = FAKE(.versions = 3);
