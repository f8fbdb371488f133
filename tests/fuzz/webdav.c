/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of Exchange over WebDAV. Input: what was asked, of how many, how HTTP ended, how it is cut (4 bytes), header lines up to an empty one, the body. Read whole
 * and read in pieces it must come to the same.
 */
#include "fuzz.h"

#include "backend/webdav.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define HEAD 7

static const char *const names[] = {"alice@example.test", "bob@example.test", "carol@example.test",
                                    "dave@example.test"};

struct heard {
	enum px_ask ask;
	size_t asked, calendars, folders, subscriptions, ids, more;
	bool answered[COUNT(names)];
	struct px_buf items;
	struct px_reply reply;
};

static void said(void *arg, const struct px_item *item)
{
	struct heard *h = arg;

	switch (item->kind) {
	case PX_ITEM_CALENDAR:
	case PX_ITEM_REFUSED:
		CHECK(item->index < h->asked && !h->answered[item->index]);
		h->answered[item->index] = true;
		h->calendars++;
		break;
	case PX_ITEM_FOLDER:
		CHECK(item->id[0] == '/');
		fuzz_visible(item->id, PX_WEBDAV_FOLDER_MAX);
		h->folders++;
		break;
	case PX_ITEM_SUBSCRIBED:
	case PX_ITEM_CHANGED:
	case PX_ITEM_ALIVE:
	case PX_ITEM_GONE:
		/* a renewal needn't name what it renews */
		CHECK(item->id ? px_webdav_id(item->id, strlen(item->id))
		               : h->ask == PX_ASK_RENEW && item->kind == PX_ITEM_SUBSCRIBED);
		CHECK(++h->ids <= h->asked);
		break;
	case PX_ITEM_MORE:
		CHECK(h->calendars == 1 && item->n > 0 && h->more++ == 0);
		break;
	default:
		CHECK(item->kind == PX_ITEM_MEETING && h->ask == PX_ASK_DETAILS);
	}
	fuzz_item(&h->items, item);
}

static void feed(void *to, const char *bytes, size_t n)
{
	px_webdav.feed(to, bytes, n);
}

/* On what is believed there is what was asked for. */
static void is_complete(const struct heard *h, int status)
{
	if (h->ask == PX_ASK_READ || h->ask == PX_ASK_READ_ONE || h->ask == PX_ASK_DETAILS)
		CHECK(h->calendars == h->asked);
	if (h->ask == PX_ASK_LOCATE || h->ask == PX_ASK_PROBE)
		CHECK(h->folders == 1);
	if (h->ask == PX_ASK_SUBSCRIBE || (h->ask == PX_ASK_RENEW && status == 200))
		CHECK(h->ids == 1);
}

static struct heard hear(const uint8_t *how, uint32_t cut, const char *lines, const uint8_t *body,
                         size_t n)
{
	static const char *const type[] = {"text/xml", NULL, "text/html", "application/xml"};
	static const int status[] = {207, 207, 207, 200, 204, 401, 404, 503};
	static const enum px_ask asks[] = {PX_ASK_LOCATE,  PX_ASK_SUBSCRIBE, PX_ASK_RENEW,
	                                   PX_ASK_POLL,    PX_ASK_READ_ONE,  PX_ASK_READ,
	                                   PX_ASK_DETAILS, PX_ASK_PROBE,     PX_ASK_UNSUBSCRIBE};
	const enum px_ask ask = asks[how[0] % COUNT(asks)];
	const bool many = ask == PX_ASK_POLL || ask == PX_ASK_READ || ask == PX_ASK_RENEW;
	struct heard h = {.ask = ask,
	                  .asked = many ? 1 + how[1] % COUNT(names) : 1,
	                  .items = px_buf_new((size_t)1 << 26)};
	const struct px_query q = {.ask = ask,
	                           .n = h.asked,
	                           .mailbox = names[0],
	                           .name = names,
	                           .id = names,
	                           .offset = how[1] & 16 ? PX_WEBDAV_ROWS : 0,
	                           .from = {INT64_C(1795420800000)},
	                           .until = {INT64_C(1795428000000)}};
	const struct px_http_answer a = {.fail = how[2] & 64 ? PX_HTTP_CUT : PX_HTTP_ANSWERED,
	                                 .status = status[how[2] % 8],
	                                 .asks_login = how[2] & 128,
	                                 .retry_after_ms = how[2] & 32 ? 7000 : -1,
	                                 .type = type[how[2] >> 3 & 3],
	                                 .head = lines};
	struct px_parse *p = px_webdav.parse_new(&q, said, &h);

	CHECK(p);
	fuzz_pieces(feed, p, body, n, cut);
	px_webdav.done(p, &a, &h.reply);
	px_webdav.parse_free(p);
	CHECK(!h.items.failed);
	fuzz_reply(&h.reply);
	if (h.reply.verdict == PX_V_OK)
		is_complete(&h, a.status);
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct heard whole, pieces;
	const uint8_t *body, *empty;
	char *lines;
	uint32_t cut;

	if (n < HEAD)
		return -1;
	memcpy(&cut, bytes + 3, sizeof cut);
	n -= HEAD;
	body = bytes + HEAD;
	empty = memmem(body, n, "\n\n", 2);
	/* a string: libcurl lets no NUL through */
	lines = calloc(1, empty ? (size_t)(empty - body) + 2 : 1);
	CHECK(lines);
	if (empty) {
		memcpy(lines, body, (size_t)(empty - body) + 1);
		n -= (size_t)(empty + 2 - body);
		body = empty + 2;
	}
	whole = hear(bytes, 0, lines, body, n);
	pieces = hear(bytes, cut | 1, lines, body, n);
	free(lines);
	fuzz_same(&whole.reply, &pieces.reply, whole.reply.verdict == PX_V_OK, &whole.items,
	          &pieces.items);
	return 0;
}
