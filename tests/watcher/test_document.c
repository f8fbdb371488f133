/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "document.h"

#define HEAD                                                                                       \
	"<presence xmlns='urn:ietf:params:xml:ns:pidf' "                                           \
	"xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' "                                       \
	"xmlns:r='urn:ietf:params:xml:ns:pidf:rpid' entity='pres:alice@example.test'>"
#define TAIL "</presence>"
#define TUPLE(id, basic) "<tuple id='" id "'><status><basic>" basic "</basic></status></tuple>"
#define PERSON(id, inside)                                                                         \
	"<dm:person id='" id "'><r:activities>" inside "</r:activities></dm:person>"
#define UNTIL(id, until, inside)                                                                   \
	"<dm:person id='" id "'><r:activities until='" until "'>" inside                           \
	"</r:activities></dm:person>"

static bool read_text(const char *text, struct pw_document *doc, struct pw_faults *f)
{
	*f = (struct pw_faults){0};
	return pw_document_read(text, strlen(text), "alice@example.test", doc, f);
}

struct row {
	const char *text;
	enum pw_status all, calendar;
	enum pw_basic basic;
	unsigned tuples, persons;
	const char *activities;
	int64_t until_s;
};

static const struct row rows[] = {
    {HEAD TUPLE("t", "open") TAIL, PW_AVAILABLE, PW_UNKNOWN, PW_BASIC_OPEN, 1, 0, "", 0},
    {HEAD TUPLE("t", "closed") TAIL, PW_OFFLINE, PW_UNKNOWN, PW_BASIC_CLOSED, 1, 0, "", 0},
    {HEAD TUPLE("t", "closed") TUPLE("u", "open") TAIL, PW_AVAILABLE, PW_UNKNOWN, PW_BASIC_OPEN, 2,
     0, "", 0},
    {HEAD TUPLE("t", "closed") PERSON("p", "<r:busy/>") TAIL, PW_OFFLINE, PW_UNKNOWN,
     PW_BASIC_CLOSED, 1, 1, "busy", 0},
    {HEAD PERSON("p", "<r:busy/>") TAIL, PW_BUSY, PW_UNKNOWN, PW_BASIC_NONE, 0, 1, "busy", 0},
    {HEAD TAIL, PW_OFFLINE, PW_UNKNOWN, PW_BASIC_NONE, 0, 0, "", 0},
    {HEAD TUPLE("t", "open") PERSON("p", "<r:note>busy</r:note>") TAIL, PW_AVAILABLE, PW_UNKNOWN,
     PW_BASIC_OPEN, 1, 1, "", 0},
    /* an activity in another namespace's person, or outside of any, is none */
    {HEAD TUPLE("t", "open") "<person id='p'><r:activities><r:busy/></r:activities></person>"
                             "<r:activities><r:busy/></r:activities>" TAIL,
     PW_AVAILABLE, PW_UNKNOWN, PW_BASIC_OPEN, 1, 0, "", 0},
    /* busy stands over away, whoever says it; a double is named once */
    {HEAD TUPLE("cal-1", "open") UNTIL("calp-1", "1970-01-01T00:01:40Z", "<r:away/>")
         UNTIL("p", "1970-01-01T00:03:20Z", "<r:away/><r:busy/>") TAIL,
     PW_BUSY, PW_AWAY, PW_BASIC_OPEN, 1, 2, "away,busy", 200},
    {HEAD TUPLE("cal-1", "open") TUPLE("t", "closed") PERSON("calp-1", "") TAIL, PW_AVAILABLE,
     PW_AVAILABLE, PW_BASIC_OPEN, 2, 1, "", 0},
    {HEAD TUPLE("cal-1", "closed") TUPLE("t", "open") TAIL, PW_AVAILABLE, PW_OFFLINE, PW_BASIC_OPEN,
     2, 0, "", 0},
    {HEAD TUPLE("t", "open") PERSON("p", "<r:very-busy/><r:busy/>") TAIL, PW_BUSY, PW_UNKNOWN,
     PW_BASIC_OPEN, 1, 1, "very-busy,busy", 0},
    /* of two who are busy, the later end counts */
    {HEAD TUPLE("t", "open") UNTIL("p", "1970-01-01T00:03:20Z", "<r:busy/>")
         UNTIL("q", "1970-01-01T00:01:40Z", "<r:meeting/>") TAIL,
     PW_BUSY, PW_UNKNOWN, PW_BASIC_OPEN, 1, 2, "busy,meeting", 200},
};

static void reads_every_kind(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct pw_document doc;
		struct pw_faults f;

		assert_true(read_text(rows[i].text, &doc, &f));
		if (f.count)
			print_message("row %zu: %s\n", i, f.text);
		assert_int_equal(f.count, 0);
		assert_int_equal(doc.all.status, rows[i].all);
		assert_int_equal(doc.all.basic, rows[i].basic);
		assert_int_equal(doc.all.until_s, rows[i].until_s);
		assert_int_equal(doc.calendar.status, rows[i].calendar);
		assert_int_equal(doc.has_calendar, strstr(rows[i].text, "cal-") != NULL);
		assert_int_equal(doc.tuples, rows[i].tuples);
		assert_int_equal(doc.persons, rows[i].persons);
		assert_string_equal(doc.activities, rows[i].activities);
	}
}

static void names_what_is_wrong(void **state)
{
	static const struct {
		const char *text, *fault;
		bool readable;
	} wrong[] = {
	    {HEAD TUPLE("t", "open") TUPLE("t", "open") TAIL, "id t twice", true},
	    {HEAD TUPLE("t", "open") PERSON("t", "") TAIL, "id t twice", true},
	    {HEAD TUPLE("t", "open") "<dm:device id='t'/>" TAIL, "id t twice", true},
	    {HEAD TUPLE("", "open") TAIL, "tuple without an id", true},
	    {HEAD "<tuple><status/></tuple>" TAIL, "tuple without an id", true},
	    {HEAD "<dm:person/>" TAIL, "person without an id", true},
	    {HEAD "<tuple id='t'/>" TAIL, "tuple t without a status", true},
	    {HEAD TUPLE("t", "Open") TAIL, "basic is \"Open\"", true},
	    {HEAD TUPLE("t", "") TAIL, "basic is \"\"", true},
	    {HEAD TUPLE("t", " open") TAIL, "basic is \" open\"", true},
	    {HEAD UNTIL("p", "soon", "<r:busy/>") TAIL, "until is \"soon\"", true},
	    {HEAD "<x xmlns=''/>" TAIL, "x without a namespace", true},
	    {"<presence xmlns='urn:ietf:params:xml:ns:pidf'/>", "without an entity", true},
	    {"<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:bob@example.test'/>",
	     "entity is sip:bob@example.test, not alice@example.test", true},
	    {"<presence entity='sip:alice@example.test'/>", "the root is presence", false},
	    {"<!DOCTYPE presence [<!ENTITY a 'b'>]>" HEAD TAIL, "a DOCTYPE", false},
	    {HEAD, "not well-formed", false},
	    {"", "not well-formed", false},
	    {HEAD "&lol;" TAIL, "not well-formed", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct pw_document doc = {.tuples = 77};
		struct pw_faults f;

		assert_int_equal(read_text(wrong[i].text, &doc, &f), wrong[i].readable);
		assert_int_equal(f.count, 1);
		assert_non_null(strstr(f.text, wrong[i].fault));
		if (!wrong[i].readable)
			assert_int_equal(doc.tuples, 77);
	}
}

static void every_prefix_is_refused(void **state)
{
	const char *whole =
	    HEAD TUPLE("cal-1", "open") UNTIL("calp-1", "2030-01-01T00:00:00Z", "<r:busy/>") TAIL;
	size_t length = strlen(whole);

	(void)state;
	for (size_t n = 0; n < length; n++) {
		struct pw_document doc = {.tuples = 77};
		struct pw_faults f = {0};
		char *copy = malloc(n + 1); /* its own block, so that ASan sees a step too far */

		memcpy(copy, whole, n);
		assert_false(pw_document_read(copy, n, "alice@example.test", &doc, &f));
		assert_int_equal(doc.tuples, 77);
		free(copy);
	}
}

static void mutations_do_no_harm(void **state)
{
	const char *whole = HEAD TUPLE("cal-1", "open") TUPLE("t", "closed")
	    UNTIL("calp-1", "2030-01-01T00:00:00Z", "<r:busy/>") PERSON("p", "<r:away/>") TAIL;
	size_t length = strlen(whole);
	char *copy = malloc(length);

	(void)state;
	srand(1);
	for (int i = 0; i < 20000; i++) {
		struct pw_document doc = {0};
		struct pw_faults f = {0};
		int edits = 1 + rand() % 4;

		memcpy(copy, whole, length);
		while (edits-- > 0)
			copy[(size_t)rand() % length] = (char)rand();
		if (!pw_document_read(copy, length, "alice@example.test", &doc, &f))
			assert_true(f.count > 0);
		assert_true(doc.tuples <= 2 && doc.persons <= 2);
		assert_true(strlen(f.text) < sizeof f.text);
	}
	free(copy);
}

static void bounds_what_comes(void **state)
{
	size_t n = 400, length = 0, room = n * 200 + 1000;
	char *text = malloc(room > PW_DOCUMENT_MAX + 1 ? room : PW_DOCUMENT_MAX + 1);
	struct pw_document doc;
	struct pw_faults f;

	(void)state;
	length += (size_t)sprintf(text, "%s", HEAD);
	for (size_t i = 0; i < n; i++)
		length += (size_t)sprintf(text + length, PERSON("p%zu", "<r:activity-number-%zu/>"),
		                          i, i);
	sprintf(text + length, TAIL);
	assert_true(read_text(text, &doc, &f));
	assert_int_equal(doc.persons, n);
	assert_true(strlen(doc.activities) < sizeof doc.activities);
	assert_int_equal(f.count, n - 256); /* ids that could not be compared */

	memset(text, ' ', PW_DOCUMENT_MAX + 1);
	f = (struct pw_faults){0};
	assert_false(pw_document_read(text, PW_DOCUMENT_MAX + 1, "a@b", &doc, &f));
	assert_non_null(strstr(f.text, "a body of"));
	free(text);
}

static void reads_addresses(void **state)
{
	static const struct {
		const char *uri, *aor;
	} row[] = {
	    {"alice@example.test", "alice@example.test"},
	    {"sip:alice@Example.TEST:5060;transport=tcp", "alice@example.test"},
	    {"\"Alice\" <sips:Alice@example.test?x=y>;tag=1", "Alice@example.test"},
	    {"pres:a@[2001:DB8::1]:5060", "a@[2001:db8::1]"},
	    {"alice", NULL},
	    {"@example.test", NULL},
	    {"sip:alice@", NULL},
	    {"a b@example.test", NULL},
	    {"a@[::1", NULL},
	    {"a\033b@example.test", NULL},
	    {"", NULL},
	};
	char aor[32];

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		assert_int_equal(pw_aor(row[i].uri, aor, sizeof aor), row[i].aor != NULL);
		if (row[i].aor)
			assert_string_equal(aor, row[i].aor);
	}
	assert_false(pw_aor("alice@a-host-that-is-too-long.test", aor, sizeof aor));
}

static void reads_times(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds; /* -1: no time */
	} row[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"2030-01-02T10:04:05Z", 1893578645},
	    {"2030-01-02T11:04:05.250+01:00", 1893578645},
	    {"2030-01-02T04:34:05-05:30", 1893578645},
	    {"2024-02-29T24:00:00Z", 1709251200},
	    {"2030-01-02T10:04:05", -1},
	    {"2030-01-02 10:04:05Z", -1},
	    {"2030-13-02T10:04:05Z", -1},
	    {"2030-01-02T10:04:05+1:00", -1},
	    {"2030-01-02T10:04:05Zx", -1},
	    {"2030-1-2T10:04:05Z", -1},
	    {"", -1},
	};
	int64_t seconds;

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		seconds = -2;
		assert_int_equal(pw_time_read(row[i].text, &seconds), row[i].seconds >= 0);
		if (row[i].seconds >= 0)
			assert_int_equal(seconds, row[i].seconds);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_every_kind),
	    cmocka_unit_test(names_what_is_wrong),
	    cmocka_unit_test(every_prefix_is_refused),
	    cmocka_unit_test(mutations_do_no_harm),
	    cmocka_unit_test(bounds_what_comes),
	    cmocka_unit_test(reads_addresses),
	    cmocka_unit_test(reads_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
