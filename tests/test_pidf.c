/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/pidf.h"
#include "px_key.h"

#define NOON INT64_C(1795435200000) /* 2026-11-23T12:00:00Z */
#define HOUR INT64_C(3600000)

/* Compares with sip-fixtures/pidf/NAME byte for byte. */
static void is_fixture(const char *name, const struct px_pidf *doc)
{
	struct px_buf b = px_buf_new(PX_PIDF_MAX);
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
	px_pidf_write(&b, doc);
	assert_false(b.failed);
	assert_string_equal(b.data, text);
	px_buf_free(&b);
}

static void writes_the_golden_documents(void **state)
{
	const struct px_wall none = {0}, eleven = {NOON - HOUR}, noon = {NOON}, one = {NOON + HOUR};

	(void)state;
	is_fixture("available.xml",
	           &(struct px_pidf){"alice@example.com", PX_AVAILABLE, eleven, one, noon});
	is_fixture("busy.xml",
	           &(struct px_pidf){"alice@example.com", PX_PRESENCE_BUSY, eleven, one, noon});
	is_fixture("away.xml", &(struct px_pidf){"bob@example.com", PX_AWAY, eleven, one, noon});
	is_fixture("busy-open-ended.xml",
	           &(struct px_pidf){"alice@example.com", PX_PRESENCE_BUSY, none, none, noon});
	is_fixture("away-escaped.xml", &(struct px_pidf){"o'neil&co<j\xc3\xbcrgen>@example.org",
	                                                 PX_AWAY, none, one, noon});
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

/* The longest keys, of the characters that grow most when escaped, still fit. */
static void fits(void **state)
{
	static const char grows[] = "'&%\"<";

	(void)state;
	for (const char *c = grows; *c; c++) {
		char key[PX_AOR_MAX + 1];
		struct px_buf b = px_buf_new(PX_PIDF_MAX);
		const struct px_pidf doc = {key, PX_PRESENCE_BUSY, {NOON}, {NOON + HOUR}, {NOON}};

		memset(key, *c, PX_AOR_MAX);
		memcpy(key + PX_AOR_MAX - 2, "@h", 3);
		px_pidf_write(&b, &doc);
		assert_false(b.failed);
		px_buf_free(&b);
	}
}

static void says_when_it_does_not_fit(void **state)
{
	const struct px_pidf doc = {"alice@example.com", PX_AWAY, {NOON}, {NOON + HOUR}, {NOON}};
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
	    cmocka_unit_test(names_are_stable_and_distinct),
	    cmocka_unit_test(fits),
	    cmocka_unit_test(says_when_it_does_not_fit),
	};

	return cmocka_run_group_tests_name("pidf", tests, NULL, NULL);
}
