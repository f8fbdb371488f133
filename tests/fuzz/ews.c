/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers of Exchange. Input: what was asked, of how many, how HTTP ended, how it is cut (4 bytes), the body. Read whole and read in pieces it must come to the
 * same: the same verdict, and wherever items count, the same items.
 */
#include "fuzz.h"

#include "backend/answer.h"
#include "backend/ews.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define HEAD 7

struct heard {
	enum px_ask ask;
	size_t asked, next;
	struct px_buf items;
	struct px_reply reply;
};

static void said(void *arg, const struct px_item *item)
{
	struct heard *h = arg;

	if (item->kind == PX_ITEM_CALENDAR || item->kind == PX_ITEM_REFUSED ||
	    item->kind == PX_ITEM_OOF)
		CHECK(item->index == h->next++ && item->index < h->asked);
	if (item->kind == PX_ITEM_MEETING)
		CHECK(item->index == h->next && item->index < h->asked);
	if (item->id)
		fuzz_visible(item->id, px_ews.id_max);
	if (item->watermark)
		fuzz_visible(item->watermark, px_ews.id_max);
	fuzz_item(&h->items, item);
}

static void feed(void *to, const char *bytes, size_t n)
{
	px_ews.feed(to, bytes, n);
}

static struct heard hear(const uint8_t *head, uint32_t cut, const uint8_t *body, size_t n)
{
	static const char *const type[] = {"text/xml", NULL, "text/html", "application/xml"};
	static const int status[] = {200, 200, 200, 500, 500, 503, 401, 404};
	static const enum px_ask asks[] = {PX_ASK_SUBSCRIBE, PX_ASK_UNSUBSCRIBE, PX_ASK_STREAM,
	                                   PX_ASK_READ,      PX_ASK_PROBE,       PX_ASK_READ_ONE,
	                                   PX_ASK_OOF,       PX_ASK_POLL,        PX_ASK_DETAILS};
	const enum px_ask ask = asks[head[0] % COUNT(asks)];
	const unsigned how = head[0] / COUNT(asks);
	struct heard h = {.ask = ask,
	                  .asked =
	                      ask == PX_ASK_PROBE || ask == PX_ASK_READ_ONE || ask == PX_ASK_POLL
	                          ? 1
	                          : 1 + head[1] % 100,
	                  .items = px_buf_new((size_t)1 << 26)};
	const struct px_query q = {.ask = h.ask,
	                           .n = h.asked,
	                           .version = how % PX_EWS_VERSIONS,
	                           .kind = how / PX_EWS_VERSIONS % PX_KINDS,
	                           .mailbox = "alice@example.test",
	                           .from = {head[1] & 128 ? 0 : INT64_C(1795420800000)},
	                           .until = {head[1] & 128 ? 0 : INT64_C(1795428000000)}};
	const struct px_http_answer a = {.fail = head[2] & 64 ? PX_HTTP_CUT : PX_HTTP_ANSWERED,
	                                 .status = status[head[2] % 8],
	                                 .retry_after_ms = head[2] & 32 ? 7000 : -1,
	                                 .type = type[head[2] >> 3 & 3]};
	struct px_parse *p = px_ews.parse_new(&q, said, &h);

	CHECK(p);
	fuzz_pieces(feed, p, body, n, cut);
	px_ews.done(p, &a, &h.reply);
	px_ews.parse_free(p);
	CHECK(!h.items.failed);
	fuzz_reply(&h.reply);
	/* what is whole is complete */
	CHECK(h.reply.verdict != PX_V_OK ||
	      (h.ask != PX_ASK_READ && h.ask != PX_ASK_DETAILS && h.ask != PX_ASK_OOF) ||
	      h.next == h.asked);
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct heard whole, pieces;
	uint32_t cut;

	if (n < HEAD)
		return -1;
	memcpy(&cut, bytes + 3, sizeof cut);
	whole = hear(bytes, 0, bytes + HEAD, n - HEAD);
	pieces = hear(bytes, cut | 1, bytes + HEAD, n - HEAD);
	/* of an answer that isn't whole, only a stream's items count */
	fuzz_same(&whole.reply, &pieces.reply,
	          whole.reply.verdict == PX_V_OK || whole.ask == PX_ASK_STREAM, &whole.items,
	          &pieces.items);
	return 0;
}
