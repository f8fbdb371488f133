/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The same answers otherwise: what is written differently says the same; what breaks, breaks so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "grammar.h"
#include "soap.h"
#include "wire.h"

/* Elements with their namespaces, attributes and texts: what a document says. */
static void meaning(struct buf *b, const xmlNode *n)
{
	char *text = NULL;

	buf_fmt(b, "(%s|%s", n->ns ? (const char *)n->ns->href : "", (const char *)n->name);
	for (const xmlAttr *a = n->properties; a; a = a->next) {
		xmlChar *v = xmlNodeListGetString(n->doc, a->children, 1);

		buf_fmt(b, " %s=%s", (const char *)a->name, (const char *)v);
		xmlFree(v);
	}
	if (!xml_first(n)) {
		text = xml_text(n);
		buf_fmt(b, " \"%s\"", text);
		free(text);
	}
	for (const xmlNode *c = xml_first(n); c; c = xml_next(c))
		meaning(b, c);
	buf_str(b, ")");
}

static char *said(const char *xml, size_t len)
{
	struct violation v = {0};
	xmlDoc *doc = grammar_parse(xml, len, &v);
	struct buf b = {0};

	if (!doc)
		fail_msg("%s: %.*s", v.text, (int)len, xml);
	meaning(&b, xmlDocGetRootElement(doc));
	xmlFreeDoc(doc);
	return b.p;
}

static void samples(struct buf out[3])
{
	soap_fault(&out[0], "ErrorServerBusy", "a <b> & \"c\" ]]> d\xc3\xbc",
	           "<t:Value Name=\"BackOffMilliseconds\">5</t:Value>");
	soap_stream_begin(&out[1], V2013_SP1, DIALECT_EXCHANGE);
	buf_str(&out[1], "<m:A xmlns:m=\"" NS_MESSAGES "\" xmlns:t=\"" NS_TYPES
	                 "\"><t:B Id=\"x&amp;y\">1 &lt; 2</t:B><m:C/></m:A>");
	soap_stream_end(&out[1], DIALECT_EXCHANGE);
	soap_begin(&out[2], V2010_SP1);
	buf_str(&out[2],
	        "<R xmlns=\"" NS_MESSAGES "\"><S><T xmlns=\"" NS_TYPES "\">\xe2\x82\xac\xe2"
	        "\x82\xac</T></S></R>");
	soap_end(&out[2]);
}

static void every_dress_says_the_same(void **state)
{
	struct buf in[3] = {{0}};

	(void)state;
	samples(in);
	for (int i = 0; i < 3; i++) {
		char *right = said(in[i].p, in[i].len);

		for (unsigned k = 0; k < 24; k++) {
			struct dress d = {.prefix = (enum prefix)(k % 3),
			                  .bom = k / 3 & 1,
			                  .comments = k / 6 & 1,
			                  .cdata = k / 12 & 1};
			struct buf out = {0};
			char *got;

			dress_envelope(&d, in[i].p, in[i].len, &out);
			got = said(out.p, out.len);
			assert_string_equal(got, right);
			assert_int_equal(memcmp(out.p, "\xef\xbb\xbf", 3) == 0, d.bom);
			if (d.comments)
				assert_non_null(strstr(out.p, "<!--"));
			if (d.cdata)
				assert_non_null(strstr(out.p, "<![CDATA["));
			if (d.prefix == PREFIX_OTHER)
				assert_non_null(strstr(out.p, "<soapenv:Envelope "));
			if (d.prefix == PREFIX_NONE)
				assert_non_null(strstr(out.p, "<Envelope xmlns=\"" NS_SOAP "\">"));
			buf_free(&out);
			free(got);
		}
		free(right);
		buf_free(&in[i]);
	}
}

/* A wire that is asked until it says something other than bytes; chunks are parted by '|'. */
struct heard {
	struct buf all;
	unsigned chunks;
	ssize_t last;
};

static struct heard hear(struct wire *w, struct buf *from, bool over, int64_t now, unsigned most)
{
	struct heard h = {.last = 1};
	char out[1000];

	while (h.chunks < most && (h.last = wire_next(w, from, over, now, out, sizeof out)) > 0) {
		buf_add(&h.all, out, (size_t)h.last);
		h.chunks++;
	}
	return h;
}

#define TWO "<a:Envelope x=\"1\">first</a:Envelope><a:Envelope x=\"2\">second</a:Envelope>"

static void an_envelope_is_a_chunk(void **state)
{
	struct wire w = {0};
	struct buf from = {0};
	struct heard h;

	(void)state;
	buf_str(&from, TWO "<a:Envelope x=\"3\">not yet");
	h = hear(&w, &from, false, 0, 99);
	assert_int_equal(h.chunks, 2);
	assert_int_equal(h.last, 0);
	assert_true(w.due_ms == INT64_MAX);
	assert_string_equal(h.all.p, TWO);
	buf_free(&h.all);
	buf_str(&from, "</a:Envelope>");
	h = hear(&w, &from, true, 0, 99);
	assert_int_equal(h.chunks, 1);
	assert_int_equal(h.last, WIRE_END);
	buf_free(&h.all);
	buf_free(&from);
	wire_free(&w);
}

static void chunks_are_small_or_joined(void **state)
{
	struct wire w = {.spoil.chunk = 7};
	struct buf from = {0};
	struct heard h;

	(void)state;
	buf_str(&from, TWO);
	h = hear(&w, &from, true, 0, 99);
	assert_in_range(h.chunks, strlen(TWO) / 7, strlen(TWO) / 7 + 2);
	assert_string_equal(h.all.p, TWO);
	buf_free(&h.all);
	wire_free(&w);
	w = (struct wire){.spoil.joined = true};
	buf_str(&from, TWO);
	h = hear(&w, &from, false, 5000, 99);
	assert_int_equal(h.last, 0);
	assert_true(w.due_ms == 5000 + WIRE_JOIN_MS);
	buf_str(&from, "<Envelope></Envelope>");
	h = hear(&w, &from, false, w.due_ms, 99);
	assert_int_equal(h.chunks, 1);
	assert_string_equal(h.all.p, TWO "<Envelope></Envelope>");
	buf_free(&h.all);
	buf_free(&from);
	wire_free(&w);
}

static void it_breaks_as_told(void **state)
{
	struct wire w = {.spoil = {.how = BREAK_CUT, .bytes = 20}};
	struct buf from = {0};
	struct heard h;

	(void)state;
	buf_str(&from, TWO);
	h = hear(&w, &from, true, 0, 99);
	assert_int_equal(h.last, WIRE_CUT);
	assert_int_equal(h.all.len, 20);
	buf_free(&h.all);
	wire_free(&w);
	buf_free(&from);

	w = (struct wire){.spoil = {.how = BREAK_TRICKLE, .bytes = 1}};
	buf_str(&from, TWO);
	for (int64_t now = 0; now < 10; now++) {
		h = hear(&w, &from, true, now * WIRE_TRICKLE_MS, 99);
		assert_int_equal(h.all.len, 1);
		assert_int_equal(h.last, 0);
		assert_true(w.due_ms == (now + 1) * WIRE_TRICKLE_MS);
		buf_free(&h.all);
	}
	wire_free(&w);
	buf_free(&from);

	w = (struct wire){.spoil.how = BREAK_ENDLESS};
	buf_str(&from, "<s:Envelope><s:Body a=\"b\"><x/></s:Body></s:Envelope>");
	h = hear(&w, &from, true, 0, 5000);
	assert_int_equal(h.chunks, 5000);
	assert_memory_equal(h.all.p, "<s:Envelope><s:Body a=\"b\"><filler", 33);
	assert_null(strstr(h.all.p, "</s:"));
	assert_in_range(w.out.cap, 1, 100000);
	buf_free(&h.all);
	wire_free(&w);
	buf_free(&from);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_dress_says_the_same),
	    cmocka_unit_test(an_envelope_is_a_chunk),
	    cmocka_unit_test(chunks_are_small_or_joined),
	    cmocka_unit_test(it_breaks_as_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
