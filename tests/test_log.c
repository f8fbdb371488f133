/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lines on stderr: whole, clean, and never waited for. */
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "io/log.h"

static int ends[2];

static int setup(void **state)
{
	(void)state;
	assert_int_equal(pipe(ends), 0);
	px_log_open(ends[1], PX_LOG_INFO);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	px_log_open(STDERR_FILENO, PX_LOG_NOTICE);
	close(ends[0]);
	close(ends[1]);
	return 0;
}

static const char *said(void)
{
	static char text[65537];
	ssize_t n = read(ends[0], text, sizeof text - 1);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

static void level_comes_first(void **state)
{
	(void)state;
	px_log(PX_LOG_ERROR, "gateway=%s", "cas1");
	px_log_line(PX_LOG_INFO, "100% plain");
	px_log(PX_LOG_DEBUG, "below the threshold");
	assert_string_equal(said(), "error gateway=cas1\ninfo 100% plain\n");
}

static void one_line_whatever_is_in_it(void **state)
{
	char big[3 * PX_LOG_LINE];
	const char *line;

	(void)state;
	px_log_line(PX_LOG_WARN, "user=a\nerror forged\r\x1b[2J\x7f tab\t J\xc3\xb6rg");
	assert_string_equal(said(), "warn user=a?error forged??[2J? tab? J\xc3\xb6rg\n");
	memset(big, 'x', sizeof big);
	big[sizeof big - 1] = '\0';
	px_log(PX_LOG_WARN, "%s", big);
	line = said();
	assert_int_equal(strlen(line), PX_LOG_LINE);
	assert_ptr_equal(strchr(line, '\n'), line + PX_LOG_LINE - 1);
}

static void full_pipe_costs_lines_not_time(void **state)
{
	unsigned fitted, got = 0;
	char all[65536 + 1];
	ssize_t n;

	(void)state;
	for (fitted = 0; px_log_lost() == 0; fitted++) {
		assert_true(fitted < 100000);
		px_log(PX_LOG_NOTICE, "%01000d", fitted);
	}
	fitted--;
	px_log(PX_LOG_NOTICE, "lost too");
	assert_int_equal(px_log_lost(), 2);
	assert_true((n = read(ends[0], all, sizeof all - 1)) > 0);
	for (ssize_t i = 0; i < n; i++)
		got += all[i] == '\n';
	assert_int_equal(got, fitted);
	px_log(PX_LOG_NOTICE, "here again");
	assert_string_equal(said(), "warn log lost=2 lines\nnotice here again\n");
}

static void nobody_reads(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	close(ends[0]);
	px_log(PX_LOG_ERROR, "into the void");
	assert_int_equal(px_log_lost(), 1);
	ends[0] = open("/dev/null", O_RDONLY);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(level_comes_first),
	    T(one_line_whatever_is_in_it),
	    T(full_pipe_costs_lines_not_time),
	    T(nobody_reads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
