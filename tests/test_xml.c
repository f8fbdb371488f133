/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libxml/xmlmemory.h>

#include "backend/xml.h"
#include "core/buf.h"

static const struct px_xml_limits wide = {1 << 20, 10000, 4096, 16};

/* What libxml2 holds, counted by allocators of our own. fail_at: the how-many-th allocation fails;
 * 0: none. */
static struct {
	size_t now, peak, calls, fail_at;
} mem;

static bool refused_memory(void)
{
	return ++mem.calls == mem.fail_at;
}

static void *count(void *p)
{
	mem.now += p ? malloc_usable_size(p) : 0;
	if (mem.now > mem.peak)
		mem.peak = mem.now;
	return p;
}

static void mem_free(void *p)
{
	mem.now -= p ? malloc_usable_size(p) : 0;
	free(p);
}

static void *mem_malloc(size_t n)
{
	return refused_memory() ? NULL : count(malloc(n));
}

static void *mem_realloc(void *p, size_t n)
{
	size_t before = p ? malloc_usable_size(p) : 0;
	void *grown = refused_memory() ? NULL : realloc(p, n);

	if (!grown)
		return NULL;
	mem.now -= before;
	return count(grown);
}

static char *mem_strdup(const char *s)
{
	return refused_memory() ? NULL : count(strdup(s));
}

/* What libxml2 holds but for the last error, of which it keeps one. */
static size_t held(void)
{
	xmlResetLastError();
	return mem.now;
}

/* ---- a reader that writes down what it is told ---- */

static void on_open(void *arg, const char *ns, const char *name, const struct px_xml_attr *attr,
                    size_t attrs)
{
	px_buf_printf(arg, "%s|%s", ns, name);
	for (size_t i = 0; i < attrs; i++)
		px_buf_printf(arg, " %s|%s=%.*s", attr[i].ns, attr[i].name, (int)attr[i].n,
		              attr[i].value);
	px_buf_str(arg, "(");
}

static void on_close(void *arg, const char *text, size_t n)
{
	assert_int_equal(strlen(text), n);
	px_buf_add(arg, text, n);
	px_buf_str(arg, ")");
}

static void on_end(void *arg)
{
	px_buf_str(arg, ".");
}

static const struct px_xml_calls calls = {on_open, on_close, on_end};

/* Feeds n bytes as pieces [0, cut), [cut, n), or one by one when cut is n + 1; each in memory of
 * its own, so that ASan sees its ends. */
static int feed(struct px_xml *x, const char *bytes, size_t n, size_t cut)
{
	int err = 0;

	for (size_t at = 0, part; at < n; at += part) {
		char *exact;

		part = cut > n ? 1 : at < cut ? cut - at : n - at;
		exact = malloc(part);
		assert_non_null(exact);
		memcpy(exact, bytes + at, part);
		err = px_xml_feed(x, exact, part);
		free(exact);
	}
	return err;
}

struct told {
	int err;
	bool between;
	char why[128];
	struct px_buf text;
};

static struct told read_cut(const struct px_xml_limits *limits, const char *bytes, size_t n,
                            size_t cut)
{
	struct told told = {.text = px_buf_new(1 << 22)};
	struct px_xml *x = px_xml_new(limits, &calls, &told.text);

	assert_non_null(x);
	told.err = feed(x, bytes, n, cut);
	told.between = px_xml_between(x);
	snprintf(told.why, sizeof told.why, "%s", px_xml_why(x));
	px_xml_free(x);
	assert_false(told.text.failed);
	return told;
}

/* Whole, one by one, and cut in two everywhere: the same is told. */
static void reads_as(const char *bytes, size_t n, const char *want)
{
	for (size_t cut = 0; cut <= n + 1; cut++) {
		struct told told = read_cut(&wide, bytes, n, cut);

		assert_string_equal(told.why, "");
		assert_int_equal(told.err, 0);
		assert_true(told.between);
		assert_string_equal(told.text.data, want);
		px_buf_free(&told.text);
	}
}

#define READS_AS(text, want) reads_as(text, sizeof(text) - 1, want)

static void tells_elements(void **state)
{
	(void)state;
	READS_AS("<a/>", "|a().");
	READS_AS("<a>x</a>", "|a(x).");
	READS_AS(
	    "<?xml version='1.0' encoding='UTF-8'?>\n<!-- c --><?p i?><a b='1' c=\"&lt;2>\"/>\n",
	    "|a |b=1 |c=<2>().");
	READS_AS("<p:a xmlns:p='urn:1' xmlns='urn:2' p:x='y' z=''><b/><c xmlns=''/></p:a>",
	         "urn:1|a urn:1|x=y |z=(urn:2|b()|c()).");
	/* the text of a leaf is one, whatever it is made of; of others there is none */
	READS_AS(
	    "<a> 1 <b>x<!-- - -->y<![CDATA[<&]]>&amp;&#x42;&#67;<?p?>z</b> 2 <c> \n </c> 3 </a>",
	    "|a(|b(xy<&&BCz)|c( \n )).");
	READS_AS("<a>\xC3\xBC\xE2\x82\xAC\xF0\x9F\x93\x85</a>",
	         "|a(\xC3\xBC\xE2\x82\xAC\xF0\x9F\x93\x85).");
	READS_AS("<a>1\r\n2\r3</a>\r", "|a(1\n2\n3).");
}

static void tells_documents_one_after_another(void **state)
{
	(void)state;
	READS_AS("<a/><b/><c></c>", "|a().|b().|c().");
	READS_AS("\xEF\xBB\xBF<?xml version='1.0'?><a>1</a>\r\n \t\xEF\xBB\xBF<?xml version='1.0' "
	         "encoding='utf-8'?>"
	         "<a>2</a><?xml version='1.0'?><!-- --><a>\xC3\xBC</a >\n<a\n/>",
	         "|a(1).|a(2).|a(\xC3\xBC).|a().");
}

/* So many in one chunk that each fresh parser must not copy all the rest. */
static void tells_many_documents_in_one_chunk(void **state)
{
	struct px_buf in = px_buf_new(1 << 24);
	struct told told;

	(void)state;
	for (unsigned i = 0; i < 20000; i++)
		px_buf_printf(&in, "<?xml version='1.0'?><a><b>%u</b></a>", i);
	told = read_cut(&wide, in.data, in.len, 0);
	assert_int_equal(told.err, 0);
	assert_true(told.text.len > 20000 * 9);
	assert_string_equal(told.text.data + told.text.len - 14, "|a(|b(19999)).");
	px_buf_free(&told.text);
	px_buf_free(&in);
}

/* ---- what is refused ---- */

static void refused_as(const struct px_xml_limits *limits, const char *bytes, size_t n, int err,
                       const char *why)
{
	for (int one_by_one = 0; one_by_one <= 1; one_by_one++) {
		struct told told = read_cut(limits, bytes, n, one_by_one ? n + 1 : 0);

		if (told.err != err || !strstr(told.why, why))
			fail_msg("%.60s: %d %s", bytes, told.err, told.why);
		assert_false(told.between);
		assert_true(told.text.len == 0 || !strchr(told.text.data, '.'));
		px_buf_free(&told.text);
	}
}

#define REFUSED(text, why) refused_as(&wide, text, sizeof(text) - 1, -EBADMSG, why)

static void refuses_what_is_not_plain_xml(void **state)
{
	(void)state;
	REFUSED("<!DOCTYPE a><a/>", "DOCTYPE a");
	REFUSED("<!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0 Strict//EN' "
	        "'http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd'><html/>",
	        "DOCTYPE html");
	REFUSED("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><a>&x;</a>", "DOCTYPE");
	REFUSED(
	    "<!DOCTYPE a [<!ENTITY l0 'ha'><!ENTITY l1 '&l0;&l0;&l0;&l0;&l0;&l0;&l0;&l0;&l0;&l0;'>"
	    "<!ENTITY l2 '&l1;&l1;&l1;&l1;&l1;&l1;&l1;&l1;&l1;&l1;'>"
	    "<!ENTITY l3 '&l2;&l2;&l2;&l2;&l2;&l2;&l2;&l2;&l2;&l2;'>]><a>&l3;&l3;&l3;</a>",
	    "DOCTYPE");
	REFUSED("<!DOCTYPE a [<!ENTITY % p SYSTEM 'http://127.0.0.1:1/x'>%p;]><a/>", "DOCTYPE");
	REFUSED("<a>&nbsp;</a>", "nbsp");
	REFUSED("<a b='&x;'/>", "x");
	REFUSED("<p:a/>", "p");
	REFUSED("<a p:b=''/>", "p");
	REFUSED("<a><b></a></b>", "mismatch");
	REFUSED("<a b='1' b='2'/>", "redefined");
	REFUSED("<a b=1/>", "");
	REFUSED("<a>]]></a>", "]]>");
	REFUSED("<a>&#0;</a>", "");
	REFUSED("<a>\xFF</a>", "");
	REFUSED("<a>\xC0\x80</a>", "");
	REFUSED("<a>\x01</a>", "");
	REFUSED("<a>\0</a>", "");
	REFUSED("HTTP/1.1 200 OK", "byte 0x48");
	REFUSED("\xEF\xBB <a/>", "byte 0x20");
	REFUSED("\0<a/>", "byte 0x00");
	REFUSED("</a>", "");
}

static void refuses_other_encodings(void **state)
{
	(void)state;
	REFUSED("<?xml version='1.0' encoding='ISO-8859-1'?><a>\xFC</a>", "ISO-8859-1");
	REFUSED("<?xml version='1.0' encoding='us-ascii'?><a>x</a>", "us-ascii");
	REFUSED("<?xml version='1.0' encoding='UTF-16'?><a>x</a>", "UTF-16");
	REFUSED("<?xml version='1.0' encoding='x-none'?><a>x</a>", "x-none");
	REFUSED("\xFF\xFE<\0a\0/\0>\0", "byte 0xff");
	REFUSED("\xFE\xFF\0<\0a\0/\0>", "byte 0xfe");
	REFUSED("<\0?\0x\0m\0l\0 \0v\0e\0r\0s\0i\0o\0n\0=\0'\0001\0.\0000\0'\0?\0>\0<\0a\0/\0>\0",
	        "UTF-16");
	REFUSED("\0<\0a\0/\0>", "byte 0x00");
	REFUSED("\x4C\x6F\xA7\x94\x93\x40", "byte 0x4c"); /* EBCDIC */
}

/* An error stays, and nothing comes after it. */
static void ignores_what_follows_an_error(void **state)
{
	static const char text[] = "<a/><b></c><d/>";
	struct told told = read_cut(&wide, text, sizeof text - 1, sizeof text);

	(void)state;
	assert_int_equal(told.err, -EBADMSG);
	assert_string_equal(told.text.data, "|a().|b(");
	px_buf_free(&told.text);
}

/* ---- ceilings ---- */

static void repeat(struct px_buf *b, const char *s, size_t times)
{
	while (times-- > 0)
		px_buf_str(b, s);
}

/* A document that is right within the ceilings, and refused once `limits` is one less. */
static void right_at(const char *doc, struct px_xml_limits limits, struct px_xml_limits less,
                     const char *why)
{
	struct told told = read_cut(&limits, doc, strlen(doc), 0);

	assert_string_equal(told.why, "");
	assert_int_equal(told.err, 0);
	px_buf_free(&told.text);
	refused_as(&less, doc, strlen(doc), -E2BIG, why);
}

static void keeps_its_ceilings(void **state)
{
	struct px_buf b = px_buf_new(1 << 20);

	(void)state;
	right_at("<a><b>12345</b></a>", (struct px_xml_limits){19, 2, 5, 2},
	         (struct px_xml_limits){18, 2, 5, 2}, "18 bytes");
	right_at("<a><b>12345</b></a>", (struct px_xml_limits){19, 2, 5, 2},
	         (struct px_xml_limits){19, 1, 5, 2}, "1 elements");
	right_at("<a><b>12345</b></a>", (struct px_xml_limits){19, 2, 5, 2},
	         (struct px_xml_limits){19, 2, 4, 2}, "4 bytes of text");
	right_at("<a><b>12345</b></a>", (struct px_xml_limits){19, 2, 5, 2},
	         (struct px_xml_limits){19, 2, 5, 1}, "1 elements deep");
	/* they hold for each document, not for the stream */
	repeat(&b, "<a><b>12345</b></a>", 50);
	struct told told = read_cut(&(struct px_xml_limits){19, 2, 5, 2}, b.data, b.len, 0);
	assert_int_equal(told.err, 0);
	px_buf_free(&told.text);
	px_buf_free(&b);

	px_buf_str(&b, "<a");
	for (int i = 0; i < PX_XML_ATTRS; i++)
		px_buf_printf(&b, " a%d='1'", i);
	px_buf_str(&b, " xmlns='urn:1'/>");
	refused_as(&wide, b.data, b.len, -E2BIG, "attributes");
	px_buf_free(&b);
}

/*
 * Without an end: refused, and until then what libxml2 holds stays small, whatever came. The
 * ceilings are those of the largest answer there is.
 */
static void bounded(const char *start, const char *more)
{
	const struct px_xml_limits limits = {16 << 20, 500000, 65536, 64};
	struct px_buf told =
	    px_buf_new(1); /* it fails at once, and that is fine: nobody reads it */
	struct px_xml *x = px_xml_new(&limits, &calls, &told);
	size_t before = held(), sent = 0;
	int err;

	assert_non_null(x);
	mem.peak = mem.now;
	err = px_xml_feed(x, start, strlen(start));
	while (!err && sent < 32 << 20) {
		err = px_xml_feed(x, more, strlen(more));
		sent += strlen(more);
	}
	assert_int_not_equal(err, 0);
	assert_int_equal(held(), before);
	if (mem.peak - before > 2 << 20)
		fail_msg("%s%.10s: %zu bytes", start, more, mem.peak - before);
	px_xml_free(x);
	px_buf_free(&told);
}

static void memory_is_bounded(void **state)
{
	char block[1025];

	(void)state;
	memset(block, 'x', sizeof block - 1);
	block[sizeof block - 1] = '\0';
	bounded("", "<a>");                    /* deep */
	bounded("<a>", "<b/><c></c><d>1</d>"); /* wide */
	bounded("<a>", block);                 /* text */
	bounded("<a><![CDATA[", block);        /* the same, hidden */
	bounded("<a b='", block);              /* a value */
	bounded("<a", " b=''");                /* attributes */
	bounded("<", block);                   /* a name */
	bounded("<!--", block);                /* a comment */
	bounded("<?p ", block);                /* an instruction */
	bounded("<!DOCTYPE ", block);          /* half a DOCTYPE */
	bounded("<a>", "<!-- -->");            /* what is nothing at all */
	bounded("<a>&", block);                /* a reference */
	bounded("<?xml version='1.0' encoding='UTF-16'?>", block);
}

/* libxml2 keeps all names of a document: no more than PX_XML_NAMES, and no more than PX_XML_NAME_BYTES
 * of them (it adds a few of its own, and rounds up to its blocks). */
static void names_have_a_ceiling(void **state)
{
	static const struct {
		const char *form;
		unsigned least, most;
	} row[] = {{"<n%u/>", PX_XML_NAMES - 10, PX_XML_NAMES + 1},
	           {"<n a%u=''/>", PX_XML_NAMES - 10, PX_XML_NAMES + 1},
	           {"<n xmlns='urn:%u'/>", PX_XML_NAMES - 10, PX_XML_NAMES + 1},
	           {"<n%01000u/>", 50, 350}};
	const struct px_xml_limits limits = {16 << 20, 500000, 65536, 64};

	(void)state;
	for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
		struct px_buf told = px_buf_new(1);
		struct px_xml *x = px_xml_new(&limits, &calls, &told);
		const size_t before = held();
		char tag[1100];
		unsigned n = 0;
		int err = px_xml_feed(x, "<a>", 3);

		mem.peak = mem.now;
		for (; n < 20000 && !err; n++) {
			snprintf(tag, sizeof tag, row[k].form, n);
			err = px_xml_feed(x, tag, strlen(tag));
		}
		assert_int_equal(err, -E2BIG);
		assert_non_null(strstr(px_xml_why(x), "different names"));
		assert_in_range(n, row[k].least, row[k].most);
		assert_true(mem.peak - before < 512 << 10);
		px_xml_free(x);
		px_buf_free(&told);
	}
}

static void idles_without_a_parser(void **state)
{
	struct px_buf told = px_buf_new(4096);
	size_t idle = held();
	struct px_xml *x = px_xml_new(&wide, &calls, &told);

	(void)state;
	assert_true(malloc_usable_size(x) < 512);
	assert_int_equal(px_xml_feed(x, "<a>x</a>\n ", 10), 0);
	assert_int_equal(held(), idle);
	assert_int_equal(px_xml_feed(x, "<a", 2), 0);
	assert_true(mem.now > idle);
	assert_false(px_xml_between(x));
	px_xml_free(x);
	assert_int_equal(held(), idle);
	px_buf_free(&told);
}

/* The n-th allocation fails, for every n: told as -ENOMEM, or survived, and nothing stays. */
static void survives_lack_of_memory(void **state)
{
	static const char text[] =
	    "<?xml version='1.0' encoding='utf-8'?><p:a xmlns:p='urn:1' b='&lt;' c='d'>"
	    "<p:b>x&amp;y</p:b><!-- - --><c><![CDATA[z]]></c></p:a><a/>";
	size_t before = held(), failed = 0;

	(void)state;
	for (size_t i = 1;; i++) {
		struct told told;
		bool through;

		mem.calls = 0;
		mem.fail_at = i;
		told = read_cut(&wide, text, sizeof text - 1, i % 2 ? 0 : sizeof text);
		through = mem.calls < i;
		mem.fail_at = 0;
		assert_int_equal(held(), before);
		failed += told.err != 0;
		if (told.err == 0)
			assert_string_equal(told.text.data,
			                    "urn:1|a |b=< |c=d(urn:1|b(x&y)|c(z)).|a().");
		px_buf_free(&told.text);
		if (through)
			break;
	}
	assert_true(failed > 10);
}

/* Nothing that a server sends may write to our stderr. */
static int quiet_begin(void **state)
{
	FILE *f = tmpfile();
	static int fd[2];

	assert_non_null(f);
	fd[0] = dup(2);
	fd[1] = dup(fileno(f));
	fclose(f);
	dup2(fd[1], 2);
	*state = fd;
	return 0;
}

static int quiet_end(void **state)
{
	int *fd = *state;
	off_t said = lseek(fd[1], 0, SEEK_END);

	dup2(fd[0], 2);
	close(fd[0]);
	close(fd[1]);
	return said != 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tells_elements),
	    cmocka_unit_test(tells_documents_one_after_another),
	    cmocka_unit_test(tells_many_documents_in_one_chunk),
	    cmocka_unit_test_setup_teardown(refuses_what_is_not_plain_xml, quiet_begin, quiet_end),
	    cmocka_unit_test_setup_teardown(refuses_other_encodings, quiet_begin, quiet_end),
	    cmocka_unit_test(ignores_what_follows_an_error),
	    cmocka_unit_test_setup_teardown(keeps_its_ceilings, quiet_begin, quiet_end),
	    cmocka_unit_test_setup_teardown(memory_is_bounded, quiet_begin, quiet_end),
	    cmocka_unit_test(names_have_a_ceiling),
	    cmocka_unit_test(idles_without_a_parser),
	    cmocka_unit_test_setup_teardown(survives_lack_of_memory, quiet_begin, quiet_end),
	};

	xmlMemSetup(mem_free, mem_malloc, mem_realloc, mem_strdup);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
