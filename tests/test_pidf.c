/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libxml/parser.h>
#include <libxml/xmlschemas.h>
#include <libxml/xmlschemastypes.h>

#include "core/lang.h"
#include "core/pidf.h"
#include "px_key.h"

#define NOON INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define HOUR INT64_C(3600000)

static xmlSchemaPtr schema;

static int read_schema(void **state)
{
	xmlSchemaParserCtxtPtr parser = xmlSchemaNewParserCtxt("sip-fixtures/schemas/pidf.xsd");

	(void)state;
	schema = xmlSchemaParse(parser);
	xmlSchemaFreeParserCtxt(parser);
	return schema ? 0 : -1;
}

static int forget_schema(void **state)
{
	(void)state;
	xmlSchemaFree(schema);
	xmlSchemaCleanupTypes();
	xmlCleanupParser();
	return 0;
}

static void says_nothing(void *arg, const char *fmt, ...)
{
	(void)arg;
	(void)fmt;
}

/* Order of children, unique ids, no element without a namespace that is known. */
static bool valid(const char *text, size_t n)
{
	xmlSchemaValidCtxtPtr v = xmlSchemaNewValidCtxt(schema);
	xmlDocPtr doc = xmlReadMemory(text, (int)n, "document", NULL, XML_PARSE_NONET);
	bool good;

	xmlSchemaSetValidErrors(v, says_nothing, says_nothing, NULL);
	good = doc && xmlSchemaValidateDoc(v, doc) == 0;

	xmlFreeDoc(doc);
	xmlSchemaFreeValidCtxt(v);
	return good;
}

/* Compares with sip-fixtures/pidf/NAME byte for byte. */
static void is_text(const char *name, struct px_buf b)
{
	char path[100], text[PX_PIDF_MAX + 1];
	FILE *f;
	size_t n;

	snprintf(path, sizeof path, "sip-fixtures/pidf/%s", name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s: can't be read; run the test where the repository begins", path);
	n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = '\0';
	assert_false(b.failed);
	assert_string_equal(b.data, text);
	assert_true(valid(b.data, b.len));
	px_buf_free(&b);
}

static void is_fixture(const char *name, const struct px_pidf *doc)
{
	struct px_buf b = px_buf_new(PX_PIDF_MAX);

	px_pidf_write(&b, doc);
	is_text(name, b);
}

static void says_nothing_when_withdrawn(void **state)
{
	struct px_buf b = px_buf_new(PX_PIDF_MAX);

	(void)state;
	px_pidf_write_nothing(&b, "alice@example.com");
	is_text("nothing.xml", b);
}

static const struct px_pidf_style german = {.lang = "de-CH",
                                            .available = "Verfügbar",
                                            .busy = "In Sitzung <3. OG>",
                                            .away = "Abwesend"},
                                  everything = {.lang = "en",
                                                .available = "Available",
                                                .busy = "Busy",
                                                .away = "Away",
                                                .blink = true,
                                                .cisco = true,
                                                .timed_status = true};

static void writes_the_golden_documents(void **state)
{
	const struct px_wall eleven = {NOON - HOUR}, noon = {NOON}, one = {NOON + HOUR};

	(void)state;
	is_fixture("available.xml", &(struct px_pidf){.key = "alice@example.com",
	                                              .presence = PX_AVAILABLE,
	                                              .since = eleven,
	                                              .until = one,
	                                              .now = noon});
	is_fixture("busy.xml", &(struct px_pidf){.key = "alice@example.com",
	                                         .presence = PX_PRESENCE_BUSY,
	                                         .since = eleven,
	                                         .until = one,
	                                         .now = noon});
	is_fixture("away.xml", &(struct px_pidf){.key = "bob@example.com",
	                                         .presence = PX_AWAY,
	                                         .since = eleven,
	                                         .until = one,
	                                         .now = noon});
	is_fixture("busy-open-ended.xml", &(struct px_pidf){.key = "alice@example.com",
	                                                    .presence = PX_PRESENCE_BUSY,
	                                                    .now = noon});
	is_fixture("away-escaped.xml",
	           &(struct px_pidf){.key = "o'neil&co<j\xc3\xbcrgen>@example.org",
	                             .presence = PX_AWAY,
	                             .until = one,
	                             .now = noon});
}

static void writes_what_a_style_adds(void **state)
{
	const struct px_wall eleven = {NOON - HOUR}, noon = {NOON}, one = {NOON + HOUR},
	                     two = {NOON + 2 * HOUR};

	(void)state;
	is_fixture("notes-de.xml", &(struct px_pidf){.key = "alice@example.com",
	                                             .presence = PX_PRESENCE_BUSY,
	                                             .since = eleven,
	                                             .until = one,
	                                             .now = noon,
	                                             .style = &german});
	is_fixture("everything-available.xml", &(struct px_pidf){.key = "alice@example.com",
	                                                         .presence = PX_AVAILABLE,
	                                                         .now = noon,
	                                                         .style = &everything,
	                                                         .next = PX_PRESENCE_BUSY,
	                                                         .next_from = one,
	                                                         .next_until = two});
	is_fixture("everything-busy.xml", &(struct px_pidf){.key = "alice@example.com",
	                                                    .presence = PX_PRESENCE_BUSY,
	                                                    .since = eleven,
	                                                    .until = one,
	                                                    .now = noon,
	                                                    .style = &everything,
	                                                    .next = PX_AWAY,
	                                                    .next_from = two});
	is_fixture("brief.xml", &(struct px_pidf){.key = "alice@example.com",
	                                          .presence = PX_AWAY,
	                                          .since = eleven,
	                                          .until = one,
	                                          .now = noon,
	                                          .style = &everything,
	                                          .next = PX_PRESENCE_BUSY,
	                                          .next_from = two,
	                                          .brief = true});
}

/* Each switch alone and all together, in each state, with and without times. */
static void every_variant_is_valid(void **state)
{
	static const enum px_presence state_of[] = {PX_AVAILABLE, PX_PRESENCE_BUSY, PX_AWAY},
	                              next_of[] = {PX_UNKNOWN, PX_PRESENCE_BUSY, PX_AWAY};

	(void)state;
	for (unsigned i = 0; i < 3 * 3 * 64; i++) {
		const unsigned bits = i / 9;
		const struct px_pidf_style style = {.lang = "sr-Latn-RS",
		                                    .available = "&",
		                                    .busy = "<rpid:busy/>",
		                                    .away = "]]>",
		                                    .blink = bits & 1,
		                                    .cisco = bits & 2,
		                                    .timed_status = bits & 4};
		const struct px_pidf doc = {.key = "alice@example.com",
		                            .presence = state_of[i % 3],
		                            .since = {bits & 8 ? NOON : 0},
		                            .until = {bits & 16 ? NOON + HOUR : 0},
		                            .now = {NOON},
		                            .style = &style,
		                            .next = next_of[i / 3 % 3],
		                            .next_from = {NOON + HOUR},
		                            .next_until = {bits & 16 ? NOON + 2 * HOUR : 0},
		                            .brief = bits & 32};
		struct px_buf b = px_buf_new(PX_PIDF_MAX);

		px_pidf_write(&b, &doc);
		assert_false(b.failed);
		if (!valid(b.data, b.len))
			fail_msg("%s", b.data);
		/* whoever found it too large gets something smaller */
		if (!doc.brief) {
			struct px_buf less = px_buf_new(b.len - 1);
			struct px_pidf brief = doc;

			brief.brief = true;
			px_pidf_write(&less, &brief);
			assert_false(less.failed);
			px_buf_free(&less);
		}
		px_buf_free(&b);
	}
}

static void says_what_runs(void **state)
{
	struct px_pidf doc = {.key = "alice@example.com",
	                      .presence = PX_PRESENCE_BUSY,
	                      .subject = "Plan <B> & more",
	                      .now = {NOON},
	                      .style = &everything,
	                      .next = PX_AWAY,
	                      .next_from = {NOON + HOUR}};
	struct px_buf b = px_buf_new(PX_PIDF_MAX);

	(void)state;
	px_pidf_write(&b, &doc);
	assert_true(valid(b.data, b.len));
	assert_non_null(
	    strstr(b.data, "<note xml:lang=\"en\">Busy: Plan &lt;B&gt; &amp; more</note>"));
	assert_non_null(
	    strstr(b.data, "<dm:note xml:lang=\"en\">Busy: Plan &lt;B&gt; &amp; more</dm:note>"));
	assert_non_null(strstr(b.data, "<ts:note xml:lang=\"en\">Away</ts:note>"));
	px_buf_free(&b);
	doc.brief = true;
	px_pidf_write(&b, &doc);
	assert_null(strstr(b.data, "Plan"));
	px_buf_free(&b);
}

/* What the schemas are good for. */
static void the_schemas_refuse(void **state)
{
	static const struct {
		const char *is, *as;
	} wrong[] = {
	    {"calp-", "cal-"},                               /* one id twice */
	    {"cal-5", "5"},                                  /* an id that begins with a digit */
	    {"dm:note", "note"},                             /* another namespace */
	    {"rpid:busy", "rpid:bored"},                     /* no such activity */
	    {"<basic>open", "<basic>ajar"},                  /* neither */
	    {"</status>", "</status><note>a</note>"},        /* before contact */
	    {"</dm:person>", "<e:activities/></dm:person>"}, /* behind the timestamp */
	    {"from=\"2026-11-23T14", "from=\"14"},           /* no time */
	};
	const struct px_pidf doc = {.key = "alice@example.com",
	                            .presence = PX_PRESENCE_BUSY,
	                            .now = {NOON},
	                            .style = &everything,
	                            .next = PX_AWAY,
	                            .next_from = {NOON + 2 * HOUR}};
	struct px_buf b = px_buf_new(PX_PIDF_MAX);

	(void)state;
	px_pidf_write(&b, &doc);
	assert_true(valid(b.data, b.len));
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct px_buf w = px_buf_new(2 * PX_PIDF_MAX);
		const char *s = b.data;

		for (const char *at; (at = strstr(s, wrong[i].is)); s = at + strlen(wrong[i].is)) {
			px_buf_add(&w, s, (size_t)(at - s));
			px_buf_str(&w, wrong[i].as);
		}
		px_buf_str(&w, s);
		if (valid(w.data, w.len))
			fail_msg("%s instead of %s", wrong[i].as, wrong[i].is);
		px_buf_free(&w);
	}
	px_buf_free(&b);
}

static void names_are_stable_and_distinct(void **state)
{
	char tuple[PX_PIDF_ID], person[PX_PIDF_ID];

	(void)state;
	px_pidf_tuple_id("alice@example.com", tuple);
	px_pidf_person_id("alice@example.com", person);
	assert_string_equal(tuple, "cal-53e4b3bc79050458");
	assert_string_equal(person, "calp-53e4b3bc79050458");
	px_pidf_tuple_id("bob@example.com", person);
	assert_string_not_equal(tuple, person);
}

/* The longest keys and notes, of the characters that grow most when escaped, still fit. */
static void fits(void **state)
{
	static const char grows[] = "'&%\"<";
	char note[PX_NOTE_MAX + 1] = "", tag[PX_LANG_TAG_MAX + 1] = "";
	char subject[PX_TOPIC_SUBJECT_MAX + 1] = "";
	struct px_pidf_style style = everything;

	(void)state;
	memset(note, '"', PX_NOTE_MAX);
	memset(subject, '"', PX_TOPIC_SUBJECT_MAX);
	memset(tag, 'x', PX_LANG_TAG_MAX);
	style.lang = tag;
	style.available = style.busy = style.away = note;
	for (const char *c = grows; *c; c++) {
		char key[PX_AOR_MAX + 1];
		struct px_buf b = px_buf_new(PX_PIDF_MAX);
		const struct px_pidf doc = {.key = key,
		                            .subject = subject,
		                            .presence = PX_PRESENCE_BUSY,
		                            .since = {NOON},
		                            .until = {NOON + HOUR},
		                            .now = {NOON},
		                            .style = &style,
		                            .next = PX_AWAY,
		                            .next_from = {NOON + HOUR},
		                            .next_until = {NOON + 2 * HOUR}};

		memset(key, *c, PX_AOR_MAX);
		memcpy(key + PX_AOR_MAX - 2, "@h", 3);
		px_pidf_write(&b, &doc);
		assert_false(b.failed);
		px_buf_free(&b);
	}
}

static void says_when_it_does_not_fit(void **state)
{
	const struct px_pidf doc = {.key = "alice@example.com",
	                            .presence = PX_AWAY,
	                            .since = {NOON},
	                            .until = {NOON + HOUR},
	                            .now = {NOON}};
	struct px_buf whole = px_buf_new(PX_PIDF_MAX);

	(void)state;
	px_pidf_write(&whole, &doc);
	for (size_t ceiling = 0; ceiling <= whole.len; ceiling++) {
		struct px_buf b = px_buf_new(ceiling);

		px_pidf_write(&b, &doc);
		assert_int_equal(b.failed, ceiling < whole.len);
		px_buf_free(&b);
	}
	px_buf_free(&whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(writes_the_golden_documents),
	    cmocka_unit_test(says_nothing_when_withdrawn),
	    cmocka_unit_test(writes_what_a_style_adds),
	    cmocka_unit_test(every_variant_is_valid),
	    cmocka_unit_test(says_what_runs),
	    cmocka_unit_test(the_schemas_refuse),
	    cmocka_unit_test(names_are_stable_and_distinct),
	    cmocka_unit_test(fits),
	    cmocka_unit_test(says_when_it_does_not_fit),
	};

	return cmocka_run_group_tests_name("pidf", tests, read_schema, forget_schema);
}
