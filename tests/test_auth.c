/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which login is used at one gateway. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "io/auth.h"

#define NEG PX_OFFER(PX_METHOD_NEGOTIATE)
#define NTLM PX_OFFER(PX_METHOD_NTLM)
#define BASIC PX_OFFER(PX_METHOD_BASIC)
#define END PX_METHODS /* the login is refused */

static const struct px_now now = {.mono = {1000}};

static struct px_now later(int64_t ms)
{
	return (struct px_now){.mono = {now.mono.ms + ms}};
}

/* One 401 to a request that had tried nothing else. */
static enum px_method after(struct px_auth_gateway *a, enum px_method used, unsigned offered)
{
	enum px_method next = END;

	if (!px_auth_refused(a, used, PX_OFFER(used), offered, now, &next))
		assert_int_equal(next, END);
	else
		assert_int_equal(a->method, next);
	return next;
}

/* The first request to a gateway goes with `first`; a 401 that offers this is followed by that. */
static void the_first_answer(void **state)
{
	static const struct {
		enum px_auth setting;
		enum px_method first;
		unsigned offered;
		enum px_method next;
	} rows[] = {
	    {PX_AUTH_AUTO, PX_METHOD_ASK, NEG | NTLM | BASIC, PX_METHOD_NEGOTIATE},
	    {PX_AUTH_AUTO, PX_METHOD_ASK, NTLM | BASIC, PX_METHOD_NTLM},
	    {PX_AUTH_AUTO, PX_METHOD_ASK, BASIC, PX_METHOD_BASIC},
	    {PX_AUTH_AUTO, PX_METHOD_ASK, 0, END},
	    {PX_AUTH_NEGOTIATE, PX_METHOD_ASK, NEG | NTLM, PX_METHOD_NEGOTIATE},
	    {PX_AUTH_NEGOTIATE, PX_METHOD_ASK, NTLM | BASIC, END},
	    {PX_AUTH_NTLM, PX_METHOD_NTLM, NEG | NTLM | BASIC, END},
	    {PX_AUTH_NTLM, PX_METHOD_NTLM, BASIC, END},
	    {PX_AUTH_BASIC, PX_METHOD_BASIC, BASIC, END},
	    {PX_AUTH_BASIC, PX_METHOD_BASIC, NEG | NTLM, END},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct px_auth_gateway a = px_auth_gateway(rows[i].setting);

		assert_int_equal(a.method, rows[i].first);
		assert_int_equal(after(&a, a.method, rows[i].offered), rows[i].next);
	}
}

static void no_ticket(void **state)
{
	struct px_auth_gateway a = px_auth_gateway(PX_AUTH_AUTO);
	enum px_method next;

	(void)state;
	assert_int_equal(after(&a, PX_METHOD_ASK, NEG | NTLM | BASIC), PX_METHOD_NEGOTIATE);
	assert_false(px_auth_try_ticket(&a, later(PX_AUTH_AGAIN_MS)));
	assert_true(px_auth_no_ticket(&a, 0, now, &next));
	assert_int_equal(next, PX_METHOD_NTLM);
	assert_int_equal(a.method, PX_METHOD_NTLM);
	/* once every ten minutes, until there is one */
	assert_false(px_auth_try_ticket(&a, later(PX_AUTH_AGAIN_MS - 1)));
	assert_true(px_auth_try_ticket(&a, later(PX_AUTH_AGAIN_MS)));
	assert_false(px_auth_try_ticket(&a, later(PX_AUTH_AGAIN_MS)));
	assert_true(px_auth_try_ticket(&a, later(2 * PX_AUTH_AGAIN_MS)));
	px_auth_has_ticket(&a);
	assert_int_equal(a.method, PX_METHOD_NEGOTIATE);
	assert_false(px_auth_try_ticket(&a, later(9 * PX_AUTH_AGAIN_MS)));
	/* where nothing else is offered, there is nothing else */
	a = px_auth_gateway(PX_AUTH_AUTO);
	assert_int_equal(after(&a, PX_METHOD_ASK, NEG), PX_METHOD_NEGOTIATE);
	assert_false(px_auth_no_ticket(&a, 0, now, &next));
	assert_int_equal(a.method, PX_METHOD_NEGOTIATE);
	a = px_auth_gateway(PX_AUTH_NEGOTIATE);
	assert_int_equal(after(&a, PX_METHOD_ASK, NEG | NTLM), PX_METHOD_NEGOTIATE);
	assert_false(px_auth_no_ticket(&a, 0, now, &next));
}

/* The server that refuses a ticket may offer the rest only in its first answer. */
static void a_refused_ticket(void **state)
{
	struct px_auth_gateway a = px_auth_gateway(PX_AUTH_AUTO);

	(void)state;
	assert_int_equal(after(&a, PX_METHOD_ASK, NEG | BASIC), PX_METHOD_NEGOTIATE);
	assert_int_equal(after(&a, PX_METHOD_NEGOTIATE, NEG), PX_METHOD_BASIC);
	assert_false(px_auth_try_ticket(&a, later(PX_AUTH_REFUSED_MS - 1)));
	assert_true(px_auth_try_ticket(&a, later(PX_AUTH_REFUSED_MS)));
	a = px_auth_gateway(PX_AUTH_NEGOTIATE);
	assert_int_equal(after(&a, PX_METHOD_ASK, NEG | BASIC), PX_METHOD_NEGOTIATE);
	assert_int_equal(after(&a, PX_METHOD_NEGOTIATE, NEG | BASIC), END);
}

static void one_password_is_sent_once(void **state)
{
	struct px_auth_gateway a = px_auth_gateway(PX_AUTH_AUTO);

	(void)state;
	assert_int_equal(after(&a, PX_METHOD_ASK, NTLM | BASIC), PX_METHOD_NTLM);
	assert_int_equal(after(&a, PX_METHOD_NTLM, NTLM | BASIC), END);
	assert_int_equal(a.method, PX_METHOD_NTLM);
	/* what isn't offered any more wasn't looked at */
	assert_int_equal(after(&a, PX_METHOD_NTLM, BASIC), PX_METHOD_BASIC);
	assert_int_equal(after(&a, PX_METHOD_BASIC, BASIC), END);
}

/* Whatever a server offers, a request ends, and each method is tried once. */
static void it_ends(void **state)
{
	uint32_t dice = 1;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		struct px_auth_gateway a = px_auth_gateway((enum px_auth)(i % 4));
		enum px_method used = a.method;
		unsigned tried = 0, passwords = 0, steps = 0;

		for (bool more = true; more; steps++) {
			unsigned offered;

			assert_false(tried & PX_OFFER(used));
			tried |= PX_OFFER(used);
			dice = dice * 1664525 + 1013904223;
			offered = dice >> 16 & (NEG | NTLM | BASIC);
			/* a password that was looked at is the last */
			passwords += (used == PX_METHOD_NTLM || used == PX_METHOD_BASIC) &&
			             (offered & PX_OFFER(used));
			more = used == PX_METHOD_NEGOTIATE && dice >> 31
			           ? px_auth_no_ticket(&a, tried, now, &used)
			           : px_auth_refused(&a, used, tried, offered, now, &used);
		}
		assert_in_range(steps, 1, PX_METHODS);
		assert_in_range(passwords, 0, 1);
	}
}

static void words(void **state)
{
	char text[64], small[8];

	(void)state;
	assert_string_equal(px_auth_offer_text(NEG | NTLM | BASIC, text, sizeof text),
	                    "Negotiate, NTLM, Basic");
	assert_string_equal(px_auth_offer_text(BASIC, text, sizeof text), "Basic");
	assert_string_equal(px_auth_offer_text(0, text, sizeof text), "nothing that we know");
	assert_string_equal(px_auth_offer_text(NEG | NTLM | BASIC, small, sizeof small), "Negotia");
	assert_string_equal(px_method_name(PX_METHOD_ASK), "none");
	assert_string_equal(px_method_name(PX_METHOD_NEGOTIATE), "negotiate");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_first_answer), cmocka_unit_test(no_ticket),
	    cmocka_unit_test(a_refused_ticket), cmocka_unit_test(one_password_is_sent_once),
	    cmocka_unit_test(it_ends),          cmocka_unit_test(words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
