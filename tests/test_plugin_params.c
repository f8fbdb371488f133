/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a proxy gives as modparams is what the worker's reader finds. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "../plugin/params.h"
#include "core/availability.h"
#include "core/buf.h"
#include "px_file.h"

static char why[PX_WHY_MAX];

static void add(struct px_params *p, const char *name, const char *value)
{
	if (px_params_add(p, name, value, why) < 0)
		fail_msg("%s", why);
}

static void needed(struct px_params *p)
{
	add(p, "gateway", "https://cas1.example.com");
	add(p, "account", "EXAMPLE\\svc");
	add(p, "password", "secret");
}

static void collect(void *arg, const char *complaint)
{
	px_buf_printf(arg, "%s\n", complaint);
}

static void reads_back_what_was_given(void **state)
{
	static const char *const values[] = {
	    "plain",
	    "with blank",
	    " blanks around ",
	    "a # no comment",
	    "\"quoted\"",
	    "back\\slash",
	    "\\",
	    "\\\\\"",
	    "\"",
	    "ends in \\",
	    "a = b, c; d=1",
	    "m\xc3\xbcnchen",
	    "#",
	    "100%s",
	    "\\\"\\\"",
	};
	const struct px_settings_reader reader = {.unit = PX_MODPARAM};

	(void)state;
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		struct px_params p = {0};
		struct px_settings *s;

		add(&p, "gateway", "https://cas1.example.com");
		add(&p, "account", values[i]);
		add(&p, "password", values[i]);
		add(&p, "sip_password_file", "/nowhere");
		add(&p, "sip_user", values[i]);
		assert_int_equal(px_settings_read(&s, p.text, p.len, &reader), 0);
		assert_string_equal(s->account, values[i]);
		assert_string_equal(s->password, values[i]);
		assert_string_equal(s->sip_user, values[i]);
		px_settings_free(s);
		px_params_free(&p);
	}
}

static void no_value_becomes_a_line_of_its_own(void **state)
{
	struct px_params p = {0};

	(void)state;
	needed(&p);
	const size_t before = p.len;

	assert_int_equal(px_params_add(&p, "account", "x\nuser = evil@example.com", why), -EINVAL);
	assert_string_equal(why, "account: has a control character in it");
	assert_int_equal(px_params_add(&p, "password", "secret\r", why), -EINVAL);
	assert_null(strstr(why, "secret"));
	assert_int_equal(p.len, before);
	px_params_free(&p);
}

static void limits_a_line(void **state)
{
	static char value[PX_SETTINGS_LINE_MAX + 1];
	const struct px_settings_reader reader = {0};
	struct px_params p = {0};
	struct px_settings *s;
	size_t most = PX_SETTINGS_LINE_MAX - strlen("ca_file = \"\"");

	(void)state;
	needed(&p);
	memset(value, 'x', most + 1);
	assert_int_equal(px_params_add(&p, "ca_file", value, why), -EMSGSIZE);
	value[most] = '\0';
	add(&p, "ca_file", value);
	assert_int_equal(px_settings_read(&s, p.text, p.len, &reader), 0);
	assert_string_equal(s->ca_file, value);
	px_settings_free(s);
	/* what is escaped counts twice */
	value[0] = '"';
	assert_int_equal(px_params_add(&p, "ca_file", value, why), -EMSGSIZE);
	px_params_free(&p);
}

static void complaints_count_modparams(void **state)
{
	struct px_buf said = px_buf_new(10000);
	const struct px_settings_reader reader = {
	    .unit = PX_MODPARAM, .said = collect, .arg = &said};
	struct px_params p = {0};
	struct px_settings *s;

	(void)state;
	needed(&p);
	add(&p, "publish_expires", "3600");
	add(&p, "publish_expires", "12x");
	add(&p, "auth", "");
	assert_int_equal(px_settings_read(&s, p.text, p.len, &reader), -EINVAL);
	assert_string_equal(said.data,
	                    "modparam 5: publish_expires: is given in modparam 4 already\n"
	                    "modparam 6: auth: has no value; leave the line out for the default\n");
	px_buf_free(&said);
	px_params_free(&p);
}

static void knows_what_was_given(void **state)
{
	struct px_params p = {0};

	(void)state;
	assert_false(px_params_has(&p, "gateway"));
	needed(&p);
	add(&p, "sip_user", "log_level = x");
	assert_true(px_params_has(&p, "gateway"));
	assert_true(px_params_has(&p, "sip_user"));
	assert_false(px_params_has(&p, "sip"));
	assert_false(px_params_has(&p, "log_level"));
	px_params_free(&p);
}

static void keeps_them_where_a_second_worker_finds_them(void **state)
{
	struct px_params p = {0};
	char name[64];

	(void)state;
	for (int i = 0; i < 5000; i++) {
		snprintf(name, sizeof name, "user%d@example.com", i);
		add(&p, "user", name);
	}
	const int fd = px_params_memfd(&p);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		struct px_buf text;

		assert_int_equal(px_file_read_fd(fd, 1 << 20, false, &text, why), 0);
		assert_int_equal(text.len, p.len);
		assert_memory_equal(text.data, p.text, p.len);
		px_buf_free(&text);
	}
	/* sealed: nobody changes them any more */
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	close(fd);
	px_params_free(&p);
	assert_null(p.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_back_what_was_given),
	    cmocka_unit_test(no_value_becomes_a_line_of_its_own),
	    cmocka_unit_test(limits_a_line),
	    cmocka_unit_test(complaints_count_modparams),
	    cmocka_unit_test(knows_what_was_given),
	    cmocka_unit_test(keeps_them_where_a_second_worker_finds_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
