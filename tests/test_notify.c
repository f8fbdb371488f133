/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NOTIFY datagrams: which are ours, and what a flood of others costs. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/notify.h"
#include "io/notify.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* In memory of its own, so that ASan sees its end. */
static bool parse(const char *text, size_t n, char *path, char *ids)
{
	struct px_notify it;
	char *copy = malloc(n ? n : 1);
	bool good;

	memcpy(copy, text, n);
	good = px_notify_parse(copy, n, &it);
	path[0] = ids[0] = '\0';
	if (good) {
		assert_true(it.path >= copy && it.path + it.path_len <= copy + n);
		snprintf(path, 300, "%.*s", (int)it.path_len, it.path);
		if (it.ids) {
			assert_true(it.ids >= copy && it.ids + it.ids_len <= copy + n);
			snprintf(ids, 300, "%.*s", (int)it.ids_len, it.ids);
		}
	}
	free(copy);
	return good;
}

static void datagrams(void **state)
{
	static const struct {
		const char *text, *path, *ids; /* path NULL: none of ours */
	} row[] = {
	    {"NOTIFY httpu://192.0.2.10:50020/abc HTTP/1.1\r\nSubscription-id: 15\r\n\r\n", "/abc",
	     "15"},
	    {"NOTIFY httpu://[::1]:50020/abc HTTP/1.1\r\nHost: x\r\nsubscription-ID:\t15,16 \r\n"
	     "Content-Length: 0\r\n\r\n",
	     "/abc", "15,16"},
	    {"NOTIFY /abc HTTP/1.1\nSubscription-id: 7\n", "/abc", "7"},
	    {"NOTIFY /abc HTTP/1.0\r\n\r\n", "/abc", ""},
	    {"NOTIFY / HTTP/1.1\r\n\r\nSubscription-id: 7\r\n", "/", ""},
	    {"NOTIFY /a HTTP/1.1\r\nSubscription-id: 7", "/a", ""},
	    {"NOTIFY /a HTTP/1.1", NULL, NULL},
	    {"", NULL, NULL},
	    {"\r\n", NULL, NULL},
	    {"NOTIFY /a b HTTP/1.1\r\n", NULL, NULL},
	    {"NOTIFY  HTTP/1.1\r\n", NULL, NULL},
	    {"NOTIFY abc HTTP/1.1\r\n", NULL, NULL},
	    {"NOTIFY httpu://host HTTP/1.1\r\n", NULL, NULL},
	    {"notify /abc HTTP/1.1\r\n", NULL, NULL},
	    {"NOTIFY /abc HTTP/2.0\r\n", NULL, NULL},
	    {"M-SEARCH * HTTP/1.1\r\n", NULL, NULL},
	};
	char path[300], ids[300];

	(void)state;
	for (size_t i = 0; i < COUNT(row); i++) {
		bool good = parse(row[i].text, strlen(row[i].text), path, ids);

		assert_int_equal(good, row[i].path != NULL);
		if (good) {
			assert_string_equal(path, row[i].path);
			assert_string_equal(ids, row[i].ids);
		}
		for (size_t n = 0; n < strlen(row[i].text); n++)
			parse(row[i].text, n, path, ids);
	}
	char *big = malloc(PX_NOTIFY_MAX + 1);

	memset(big, 'x', PX_NOTIFY_MAX + 1);
	memcpy(big, row[0].text, strlen(row[0].text));
	assert_false(parse(big, PX_NOTIFY_MAX + 1, path, ids));
	assert_true(parse(big, PX_NOTIFY_MAX, path, ids));
	free(big);
}

static void mutations_do_no_harm(void **state)
{
	static const char text[] =
	    "NOTIFY httpu://192.0.2.10:50020/abc HTTP/1.1\r\nSubscription-id: 15, 16\r\n\r\n";
	char copy[sizeof text], path[300], ids[300];

	(void)state;
	srand(1);
	for (int i = 0; i < 20000; i++) {
		memcpy(copy, text, sizeof text);
		for (int k = rand() % 4; k >= 0; k--)
			copy[(size_t)rand() % (sizeof text - 1)] = (char)rand();
		parse(copy, sizeof text - 1, path, ids);
	}
}

static void tokens(void **state)
{
	struct px_notify n;

	(void)state;
	assert_true(px_notify_parse("NOTIFY /0123 HTTP/1.1\r\n", 23, &n));
	assert_true(px_notify_is_for(&n, "0123"));
	assert_false(px_notify_is_for(&n, "0124"));
	assert_false(px_notify_is_for(&n, "012"));
	assert_false(px_notify_is_for(&n, "01234"));
	assert_false(px_notify_is_for(&n, ""));
	assert_true(px_notify_parse("NOTIFY /0123/xyz HTTP/1.1\r\n", 27, &n));
	assert_true(px_notify_is_for(&n, "0123"));
	assert_false(px_notify_is_for(&n, "0123/x"));
	assert_false(px_notify_is_for(&n, "012"));
}

/* ---- the port ---- */

struct bench {
	struct px_loop *loop;
	struct px_notify_port *port;
	int from; /* who sends: another address than the front end's */
	char token[PX_NOTIFY_TOKEN + 1], token_url[PX_NOTIFY_TOKEN + 2];
	unsigned heard;
	uint32_t who;
	char ids[64];
	unsigned stop_after; /* heard, or turns of the timer */
	struct px_mono until;
};

static void turn(void *arg, struct px_now now)
{
	struct bench *b = arg;

	if (b->heard >= b->stop_after || px_due(b->until, now))
		px_loop_stop(b->loop);
}

static void heard(void *arg, uint32_t who, const char *ids, size_t n)
{
	struct bench *b = arg;

	b->heard++;
	b->who = who;
	snprintf(b->ids, sizeof b->ids, "%.*s", (int)n, ids);
	px_loop_mark(b->loop);
}

static void send_to(struct bench *b, const char *text)
{
	assert_int_equal(send(b->from, text, strlen(text), 0), (ssize_t)strlen(text));
}

static void run_for(struct bench *b, unsigned heard_too, int64_t ms)
{
	b->stop_after = b->heard + heard_too;
	b->until = px_after(px_loop_now(b->loop), ms);
	px_loop_wake(b->loop, b->until);
	px_loop_run(b->loop);
}

static int setup(void **state)
{
	static struct bench b;
	struct sockaddr_in to = {.sin_family = AF_INET};
	char why[PX_NOTIFY_WHY], url[PX_NOTIFY_URL_MAX];
	unsigned port;

	memset(&b, 0, sizeof b);
	assert_int_equal(px_loop_new(&b.loop, turn, &b), 0);
	assert_int_equal(px_notify_token(b.token), 0);
	assert_int_equal(strlen(b.token), PX_NOTIFY_TOKEN);
	snprintf(b.token_url, sizeof b.token_url, "%s/", b.token);
	assert_int_equal(px_notify_new(&b.port, b.loop, "127.0.0.1:0", b.token, heard, &b, why), 0);
	assert_true(px_notify_url(b.port, NULL, NULL, url));
	assert_int_equal(sscanf(url, "httpu://127.0.0.1:%u/", &port), 1);
	assert_string_equal(url + strlen(url) - 33, b.token_url);
	b.from = socket(AF_INET, SOCK_DGRAM, 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1); /* 127.0.0.2 */
	assert_int_equal(bind(b.from, (struct sockaddr *)&to, sizeof to), 0);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons((uint16_t)port);
	assert_int_equal(connect(b.from, (struct sockaddr *)&to, sizeof to), 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	close(b->from);
	px_notify_free(b->port);
	px_loop_free(b->loop);
	return 0;
}

static void known_by_its_token_from_whatever_address(void **state)
{
	struct bench *b = *state;
	char text[200];

	send_to(b, "NOTIFY httpu://127.0.0.1/ HTTP/1.1\r\nSubscription-id: 1\r\n\r\n");
	send_to(b, "NOTIFY httpu://127.0.0.1/00000000000000000000000000000000 HTTP/1.1\r\n"
	           "Subscription-id: 2\r\n\r\n");
	send_to(b, "");
	snprintf(text, sizeof text,
	         "NOTIFY httpu://127.0.0.1/%s HTTP/1.1\r\nSubscription-id: 3,4\r\n\r\n", b->token);
	send_to(b, text);
	run_for(b, 1, 5000);
	assert_int_equal(b->heard, 1);
	assert_string_equal(b->ids, "3,4");
	assert_int_equal(b->who, 0);
	snprintf(text, sizeof text, "NOTIFY httpu://127.0.0.1/%s/00c0ffee HTTP/1.1\r\n\r\n",
	         b->token);
	send_to(b, text);
	run_for(b, 1, 5000);
	assert_int_equal(b->who, 0xc0ffee);
	assert_string_equal(b->ids, "");
	assert_int_equal(px_notify_counts(b->port).heard, 2);
	assert_int_equal(px_notify_counts(b->port).dropped, 3);
}

static void a_flood_is_looked_at_in_parts(void **state)
{
	struct bench *b = *state;
	char text[200];

	for (int i = 0; i < 3 * PX_NOTIFY_BURST; i++)
		send_to(b, "NOTIFY httpu://127.0.0.1/0 HTTP/1.1\r\n\r\n");
	snprintf(text, sizeof text, "NOTIFY httpu://127.0.0.1/%s HTTP/1.1\r\n\r\n", b->token);
	send_to(b, text);
	run_for(b, 1, 0); /* one turn: a burst and no more */
	assert_true(px_notify_counts(b->port).dropped <= PX_NOTIFY_BURST);
	run_for(b, 1, 10000);
	assert_int_equal(px_notify_counts(b->port).dropped, 3 * PX_NOTIFY_BURST);
	assert_int_equal(b->heard, 1);
	assert_string_equal(b->ids, "");
}

static void urls(void **state)
{
	struct bench *b = *state;
	struct px_notify_port *any;
	char why[PX_NOTIFY_WHY], url[PX_NOTIFY_URL_MAX];

	assert_true(px_notify_url(b->port, "px.example.com", NULL, url));
	assert_memory_equal(url, "httpu://px.example.com:", 23);
	assert_true(px_notify_url(b->port, "[2001:db8::1]:99", NULL, url));
	assert_memory_equal(url, "httpu://[2001:db8::1]:99/", 25);
	assert_true(px_notify_url(b->port, NULL, "192.0.2.1", url));
	assert_memory_equal(url, "httpu://127.0.0.1:", 18);

	assert_int_equal(px_notify_new(&any, b->loop, "0", b->token, heard, b, why), 0);
	assert_false(px_notify_url(any, NULL, NULL, url));
	assert_true(px_notify_url(any, NULL, "192.0.2.1", url));
	assert_memory_equal(url, "httpu://192.0.2.1:", 18);
	assert_true(px_notify_url(any, NULL, "2001:db8::1", url));
	assert_memory_equal(url, "httpu://[2001:db8::1]:", 22);
	px_notify_free(any);
	assert_int_equal(px_notify_new(&any, b->loop, "[::1]:0", b->token, heard, b, why), 0);
	assert_true(px_notify_url(any, NULL, NULL, url));
	assert_memory_equal(url, "httpu://[::1]:", 14);
	px_notify_free(any);
	assert_true(px_notify_new(&any, b->loop, "192.0.2.99:5", b->token, heard, b, why) < 0);
	assert_memory_equal(why, "listen_udp 192.0.2.99:5: ", 25);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(datagrams),
	    cmocka_unit_test(mutations_do_no_harm),
	    cmocka_unit_test(tokens),
	    cmocka_unit_test_setup_teardown(known_by_its_token_from_whatever_address, setup,
	                                    teardown),
	    cmocka_unit_test_setup_teardown(a_flood_is_looked_at_in_parts, setup, teardown),
	    cmocka_unit_test_setup_teardown(urls, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
