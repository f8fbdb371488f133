/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream of elements. Input: how it is cut (4 bytes), the documents. Every element that opens closes, nothing is over its ceiling, an error stays, and it doesn't
 * matter how the bytes were cut.
 */
#include "fuzz.h"

#include <errno.h>

#include "backend/xml.h"
#include "core/buf.h"

static const struct px_xml_limits limits = {8192, 300, 512, 16};

struct heard {
	struct px_xml *xml;
	unsigned depth, documents;
	size_t elements;
	int err;
	bool whole_end;      /* nothing was wrong and nothing is unfinished */
	struct px_buf whole; /* what whole documents said */
	size_t mark;         /* its length when the last one was */
};

static void on_open(void *arg, const char *ns, const char *name, const struct px_xml_attr *attr,
                    size_t attrs)
{
	struct heard *h = arg;

	CHECK(ns && *name && ++h->depth <= limits.depth && ++h->elements <= limits.elements);
	CHECK(attrs <= PX_XML_ATTRS);
	px_buf_printf(&h->whole, "<%s|%s", ns, name);
	for (size_t i = 0; i < attrs; i++) {
		px_buf_printf(&h->whole, " %s|%s=", attr[i].ns, attr[i].name);
		px_buf_add(&h->whole, attr[i].value, attr[i].n);
	}
}

static void on_close(void *arg, const char *text, size_t n)
{
	struct heard *h = arg;

	CHECK(h->depth-- > 0 && n <= limits.text && text[n] == '\0' && strlen(text) == n);
	px_buf_add(&h->whole, text, n);
	px_buf_str(&h->whole, ">");
}

static void on_end(void *arg)
{
	struct heard *h = arg;

	CHECK(h->depth == 0 && h->elements > 0);
	h->elements = 0;
	h->documents++;
	h->mark = h->whole.len;
}

static void feed(void *to, const char *bytes, size_t n)
{
	struct heard *h = to;
	int err = px_xml_feed(h->xml, bytes, n);

	CHECK(err == 0 || err == -EBADMSG || err == -E2BIG);
	CHECK(h->err == 0 || h->err == err);
	CHECK((err != 0) == (*px_xml_why(h->xml) != '\0'));
	h->err = err;
}

static struct heard hear(const uint8_t *bytes, size_t n, uint32_t cut)
{
	static const struct px_xml_calls calls = {on_open, on_close, on_end};
	struct heard h = {.whole = px_buf_new((size_t)1 << 24)};

	h.xml = px_xml_new(&limits, &calls, &h);
	CHECK(h.xml);
	fuzz_pieces(feed, &h, bytes, n, cut);
	CHECK(!px_xml_between(h.xml) || h.depth == 0);
	h.whole_end = h.err == 0 && px_xml_between(h.xml);
	px_xml_free(h.xml);
	CHECK(!h.whole.failed);
	return h;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct heard one, two;
	uint32_t cut;

	if (n < sizeof cut)
		return -1;
	memcpy(&cut, bytes, sizeof cut);
	one = hear(bytes + sizeof cut, n - sizeof cut, 0);
	two = hear(bytes + sizeof cut, n - sizeof cut, cut | 1);
	/* whether what is wrong with an unfinished document has shown yet may depend on the cuts */
	CHECK(one.whole_end == two.whole_end && one.documents == two.documents);
	CHECK(one.mark == two.mark &&
	      (one.mark == 0 || memcmp(one.whole.data, two.whole.data, one.mark) == 0));
	px_buf_free(&one.whole);
	px_buf_free(&two.whole);
	return 0;
}
