/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/host.h"

static void finds_the_host(void **state)
{
	static const struct {
		const char *text;
		size_t n; /* of it that are the host */
		bool address;
	} row[] = {
	    {"example.com", 11, false},
	    {"example.com:5060", 11, false},
	    {"example.com/path", 11, false},
	    {"example.com;x", 11, false},
	    {"example.com.", 12, false},
	    {"a", 1, false},
	    {"1a.2b", 5, false},
	    {"my_pbx-2", 8, false},
	    {"192.0.2.1", 9, true},
	    {"192.0.2.1:80", 9, true},
	    {"[2001:db8::1]:80", 13, true},
	    {"[::]", 4, true},
	    {"", 0, false},
	    {".", 0, false},
	    {".a", 0, false},
	    {"a..b", 0, false},
	    {"192.0.2", 0, false},
	    {"192.0.2.256", 0, false},
	    {"192.0.2.1.", 0, false},
	    {"192.0.2.01", 0, false},
	    {"a.42", 0, false},
	    {"2130706433", 0, false},
	    {"[", 0, false},
	    {"[]", 0, false},
	    {"[::1", 0, false},
	    {"[fe80::1%eth0]", 0, false},
	    {"[192.0.2.1]", 0, false},
	    {"[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]", 0, false},
	    {":80", 0, false},
	    {"\xc3\xa4", 0, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const size_t n = strlen(row[i].text);
		char *exact = malloc(n ? n : 1);

		assert_non_null(exact);
		memcpy(exact, row[i].text, n);
		if (px_host(exact, n) != row[i].n)
			fail_msg("%s: %zu", row[i].text, px_host(exact, n));
		assert_int_equal(px_host_is_address(exact, row[i].n), row[i].address);
		free(exact);
	}
	assert_int_equal(px_host("[::1\0]", 6), 0);
}

static void finds_the_port(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		uint16_t port;
	} row[] = {
	    {":1", 2, 1},      {":65535", 6, 65535}, {":5060;x", 5, 5060},
	    {":0080/", 5, 80}, {"", 0, 7},           {":", 0, 7},
	    {":0", 0, 7},      {":65536", 0, 7},     {":x", 0, 7},
	    {"80", 0, 7},      {":-1", 0, 7},        {":99999999999999999999999999", 0, 7},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		uint16_t port = 7;

		assert_int_equal(px_port(row[i].text, strlen(row[i].text), &port), row[i].n);
		assert_int_equal(port, row[i].port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds_the_host),
	    cmocka_unit_test(finds_the_port),
	};

	return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
