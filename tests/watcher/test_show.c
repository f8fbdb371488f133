/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "show.h"

static void a_presence_is_one_line_of_json(void **state)
{
	struct pw_sub s;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	pw_sub_init(&s, 0, "alice@example.test");
	strcpy(s.substate, "active");
	pw_show_presence(out, &s, 1795402653447);
	assert_string_equal(text, "{\"t\":1795402653.447,\"aor\":\"alice@example.test\","
	                          "\"status\":\"unknown\",\"until\":null,\"basic\":null,"
	                          "\"activities\":[],\"tuples\":0,\"persons\":0,"
	                          "\"calendar\":null,\"state\":\"active\"}\n");
	rewind(out);
	s.has_document = true;
	s.doc = (struct pw_document){.all = {PW_BUSY, PW_BASIC_OPEN, 1893578645},
	                             .calendar = {PW_AWAY, PW_BASIC_OPEN, 0},
	                             .has_calendar = true,
	                             .tuples = 2,
	                             .persons = 1,
	                             .activities = "busy,on-the-phone"};
	pw_show_presence(out, &s, 1000);
	fflush(out);
	assert_memory_equal(text,
	                    "{\"t\":1.0,\"aor\":\"alice@example.test\",\"status\":\"busy\","
	                    "\"until\":\"2030-01-02T10:04:05Z\",\"basic\":\"open\","
	                    "\"activities\":[\"busy\",\"on-the-phone\"],\"tuples\":2,\"persons\":1,"
	                    "\"calendar\":{\"status\":\"away\",\"until\":null,\"basic\":\"open\"},"
	                    "\"state\":\"active\"}\n",
	                    size);
	fclose(out);
	free(text);
}

static void a_problem_is_json_whatever_came(void **state)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	pw_show_problem(out, "a@b", "id \"x\"\n twice", 2500);
	assert_string_equal(text, "{\"event\":\"problem\",\"t\":2.5,\"aor\":\"a@b\","
	                          "\"what\":\"id \\\"x\\\"\\n twice\"}\n");
	rewind(out);
	pw_show_problem(out, NULL, "\xff\xfe", 2500);
	assert_non_null(strstr(text, "\"aor\":null,\"what\":\"what came is not UTF-8\"}"));
	fclose(out);
	free(text);
}

static bool never(void *arg, const struct pw_sub *s, long expires_s)
{
	(void)arg;
	(void)s;
	(void)expires_s;
	return false;
}

static unsigned lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

static void the_table_fits_its_terminal(void **state)
{
	static const struct pw_crowd_calls calls = {.send = never};
	const char *aors[] = {"a@b", "b@b", "c@b", "d@b", "e@b"};
	struct pw_crowd c;
	unsigned drawn = 0;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	setenv("TZ", "UTC", 1);
	assert_true(pw_crowd_init(&c, aors, 5, 1, 60, &calls, NULL));
	c.subs[1].has_document = true;
	c.subs[1].doc.all = (struct pw_view){PW_BUSY, PW_BASIC_OPEN, 1893578645};
	c.subs[4].since_ms = 5000;
	c.subs[1].since_ms = 4000;

	pw_show_table(out, &c, "", 24, 80, true, &drawn);
	assert_int_equal(drawn, 7);
	assert_int_equal(lines(text), drawn);
	assert_null(strstr(text, "\033[7A"));
	assert_non_null(strstr(text, "b@b"));
	assert_non_null(strstr(text, "\033[31mbusy     \033[0m  Wed 10:04"));

	rewind(out);
	pw_show_table(out, &c, "", 6, 80, false, &drawn);
	fflush(out);
	text[size] = '\0';
	assert_int_equal(strncmp(text, "\033[7A\r", 5), 0);
	assert_int_equal(drawn, 4); /* the two that changed last, in the order they were given */
	assert_non_null(strstr(text, "b@b"));
	assert_non_null(strstr(text, "e@b"));
	assert_true(strstr(text, "b@b") < strstr(text, "e@b"));
	assert_null(strstr(text, "a@b"));
	assert_non_null(strstr(text, "\033[J")); /* nothing of the longer one is left below */
	assert_non_null(strstr(text, "3 more not shown"));
	assert_null(strstr(text, "\033[31m"));

	c.counts.problems = 2;
	pw_show_table(out, &c, "id\033[2J twice", 24, 80, false, &drawn);
	assert_int_equal(drawn, 8);
	assert_non_null(strstr(text, "2 problems, last: id?[2J twice"));
	fclose(out);
	free(text);
	pw_crowd_clear(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_presence_is_one_line_of_json),
	    cmocka_unit_test(a_problem_is_json_whatever_came),
	    cmocka_unit_test(the_table_fits_its_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
