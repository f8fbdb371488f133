/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The push listener: what is heard, what is refused, and what hostile clients can't do. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/push.h"

#define TOKEN "0123456789abcdef0123456789abcdef"
#define WRONG "0123456789abcdef0123456789abcdee"
#define POST(path, more) "POST " path " HTTP/1.1\r\nHost: x\r\n" more
#define OK_BODY "<SubscriptionStatus>OK</SubscriptionStatus>"
#define LONG_MS 8000 /* only what fails waits so long */

struct bed {
	struct px_loop *loop;
	struct px_push *push;
	uint16_t port;
	unsigned heard;
	uint32_t who;
	size_t n;
	char start[64];
	enum px_heard say;
	/* a flood */
	int pipe[2];
	unsigned others, heard_before, gap;
};

static void turn(void *arg, struct px_now now)
{
	(void)arg;
	(void)now;
}

static enum px_heard heard(void *arg, uint32_t who, const char *bytes, size_t n)
{
	struct bed *b = arg;

	b->heard++;
	b->who = who;
	b->n = n;
	snprintf(b->start, sizeof b->start, "%.*s", (int)(n < 60 ? n : 60), bytes);
	return b->say;
}

static int64_t ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void step(struct bed *b)
{
	su_root_step(px_loop_root(b->loop), 5);
}

static int dial(struct bed *b, const char *from)
{
	struct sockaddr_in me = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	inet_pton(AF_INET, from, &me.sin_addr);
	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	to.sin_port = htons(b->port);
	assert_int_equal(bind(fd, (struct sockaddr *)&me, sizeof me), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

/* False: the other side has closed. */
static bool give(struct bed *b, int fd, const char *bytes, size_t n)
{
	const int64_t end = ms() + LONG_MS;

	while (n > 0) {
		const ssize_t did = send(fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (did < 0 && errno != EAGAIN)
			return false;
		if (did > 0) {
			bytes += did;
			n -= (size_t)did;
		}
		step(b);
		assert_true(ms() < end);
	}
	return true;
}

static bool say(struct bed *b, int fd, const char *text)
{
	return give(b, fd, text, strlen(text));
}

/* Until `text` has come `times` times, or, NULL, until the other side closes. What came is in out. */
static bool hear(struct bed *b, int fd, const char *text, unsigned times, char *out, size_t size)
{
	const int64_t end = ms() + LONG_MS;
	size_t n = 0;

	out[0] = '\0';
	while (ms() < end) {
		const ssize_t did = recv(fd, out + n, size - 1 - n, MSG_DONTWAIT);
		unsigned seen = 0;

		if (did == 0 || (did < 0 && errno != EAGAIN))
			return !text;
		if (did > 0) {
			n += (size_t)did;
			out[n] = '\0';
		}
		for (const char *at = out; text && (at = strstr(at, text)); at += strlen(text))
			seen++;
		if (text && seen >= times)
			return true;
		step(b);
		px_push_tick(b->push);
	}
	return false;
}

static void start(struct bed *b, unsigned request_ms)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof a;
	const int fd = socket(AF_INET, SOCK_STREAM, 0);
	char listen[32], why[PX_PUSH_WHY];

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	close(fd);
	b->port = ntohs(a.sin_port);
	snprintf(listen, sizeof listen, "127.0.0.1:%u", b->port);
	assert_int_equal(px_push_new(&b->push, b->loop,
	                             &(struct px_push_config){.listen = listen,
	                                                      .token = TOKEN,
	                                                      .heard = heard,
	                                                      .arg = b,
	                                                      .request_ms = request_ms},
	                             why),
	                 0);
}

static int setup(void **state)
{
	static struct bed b;

	memset(&b, 0, sizeof b);
	if (px_loop_new(&b.loop, turn, &b) != 0)
		return -1;
	start(&b, 0);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	px_push_free(b->push);
	px_loop_free(b->loop);
	return 0;
}

static void requests(void **state)
{
	static const struct {
		const char *text, *answer;
		unsigned heard, strays;
		enum px_heard say;
	} row[] = {
	    {POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody"), OK_BODY, 1, 0, PX_HEARD},
	    {POST("/a/proxy/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody"), OK_BODY, 1, 0,
	     PX_HEARD},
	    {POST("/" TOKEN "/0000000a",
	          "Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n3\r\nody\r\n0\r\n\r\n"),
	     OK_BODY, 1, 0, PX_HEARD},
	    {POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody"),
	     "<SubscriptionStatus>Unsubscribe</SubscriptionStatus>", 1, 0, PX_HEARD_UNKNOWN},
	    {POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 400 ", 1, 0,
	     PX_HEARD_BAD},
	    {POST("/" WRONG "/0000000a", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 404 ", 0, 1,
	     0},
	    {POST("/" TOKEN "/0000000", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 404 ", 0, 1, 0},
	    {POST("/" TOKEN "/0000000g", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 404 ", 0, 1,
	     0},
	    {POST("/" TOKEN "/0000000a/", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 404 ", 0, 1,
	     0},
	    {POST("/" TOKEN, "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 404 ", 0, 1, 0},
	    {POST("/", "Content-Length: 4\r\n\r\nbody"), "HTTP/1.1 404 ", 0, 1, 0},
	    {"GET /" TOKEN "/0000000a HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 405 ", 0, 1, 0},
	    {"PUT /" TOKEN "/0000000a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
	     "HTTP/1.1 405 ", 0, 1, 0},
	};
	struct bed *b = *state;
	char out[4096];

	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const uint64_t strays = px_push_strays(b->push);
		const int fd = dial(b, "127.0.0.1");

		b->heard = 0;
		b->say = row[i].say;
		assert_true(say(b, fd, row[i].text));
		assert_true(hear(b, fd, row[i].answer, 1, out, sizeof out));
		assert_int_equal(b->heard, row[i].heard);
		assert_int_equal(px_push_strays(b->push) - strays, row[i].strays);
		if (row[i].heard) {
			assert_int_equal(b->who, 10);
			assert_string_equal(b->start, "body");
		}
		close(fd);
	}
}

/* One behind the other on one connection, sent at once: each has its answer. */
static void pipelined(void **state)
{
	struct bed *b = *state;
	const int fd = dial(b, "127.0.0.1");
	char out[16384];

	for (int i = 0; i < 10; i++)
		assert_true(
		    say(b, fd, POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody")));
	assert_true(hear(b, fd, OK_BODY, 10, out, sizeof out));
	assert_int_equal(b->heard, 10);
	close(fd);
}

/* Nothing counts that isn't whole, and who has gone holds no place. */
static void halves(void **state)
{
	static const char *const part[] = {
	    "P",
	    "POST /" TOKEN "/0000000a HTTP/1.1\r\nHost: x\r\n",
	    POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbod"),
	    POST("/" TOKEN "/0000000a", "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n"),
	};
	struct bed *b = *state;
	char out[4096];

	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		const int fd = dial(b, "127.0.0.1");

		assert_true(say(b, fd, part[i]));
		shutdown(fd, SHUT_WR);
		assert_true(hear(b, fd, NULL, 0, out, sizeof out));
		close(fd);
	}
	assert_int_equal(b->heard, 0);
}

static void too_long(void **state)
{
	struct bed *b = *state;
	char *body = malloc(PX_PUSH_BODY_MAX + 1), head[200], out[4096];
	int fd = dial(b, "127.0.0.1");

	memset(body, 'x', PX_PUSH_BODY_MAX + 1);
	for (int more = 0; more < 2; more++) {
		snprintf(head, sizeof head,
		         POST("/" TOKEN "/0000000a", "Content-Length: %d\r\n\r\n"),
		         PX_PUSH_BODY_MAX + more);
		assert_true(say(b, fd, head));
		give(b, fd, body, PX_PUSH_BODY_MAX + (size_t)more);
		assert_true(hear(b, fd, more ? NULL : OK_BODY, 1, out, sizeof out));
		assert_int_equal(b->heard, 1);
		assert_int_equal(b->n, PX_PUSH_BODY_MAX);
	}
	assert_int_equal(px_push_strays(b->push), 1);
	close(fd);
	/* headers */
	fd = dial(b, "127.0.0.1");
	say(b, fd, "POST /" TOKEN "/0000000a HTTP/1.1\r\nX: ");
	give(b, fd, body, 20000);
	hear(b, fd, NULL, 0, out, sizeof out);
	assert_int_equal(b->heard, 1);
	close(fd);
	free(body);
}

#define PART 512000
#define PARTS 16 /* of 8 MiB */

static void too_much_at_once(void **state)
{
	struct bed *b = *state;
	char *body = malloc(PART), head[200], out[4096];
	int fd[PARTS + 1];

	memset(body, 'x', PART);
	snprintf(head, sizeof head, POST("/" TOKEN "/0000000a", "Content-Length: %d\r\n\r\n"),
	         PART);
	for (int i = 0; i <= PARTS; i++) {
		fd[i] = dial(b, "127.0.0.1");
		assert_true(say(b, fd[i], head));
		if (!give(b, fd[i], body, PART - 1))
			assert_int_equal(i, PARTS);
		if (i < PARTS) /* until it has been read */
			for (int n = 0; n < 100; n++)
				su_root_step(px_loop_root(b->loop), 0);
	}
	assert_true(hear(b, fd[PARTS], NULL, 0, out, sizeof out));
	assert_int_equal(b->heard, 0);
	assert_int_equal(px_push_strays(b->push), 1);
	close(fd[PARTS]);
	for (unsigned i = 0; i < PARTS; i++) { /* the others don't suffer */
		assert_true(say(b, fd[i], "x"));
		assert_true(hear(b, fd[i], OK_BODY, 1, out, sizeof out));
		assert_int_equal(b->heard, i + 1);
		assert_int_equal(b->n, PART);
		close(fd[i]);
	}
	fd[0] = dial(b, "127.0.0.1"); /* and nothing stays counted */
	assert_true(say(b, fd[0], head) && give(b, fd[0], body, PART));
	assert_true(hear(b, fd[0], OK_BODY, 1, out, sizeof out));
	close(fd[0]);
	free(body);
}

static void connections(void **state)
{
	static const char request[] = POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody");
	struct bed *b = *state;
	int fd[256], more;
	char out[4096];

	for (int i = 0; i < 256; i++) {
		fd[i] = dial(b, i < 128 ? "127.0.0.1" : "127.0.0.2");
		assert_true(say(b, fd[i], "POST / HTTP/1.1\r\nX: "));
		if (i == 127) { /* one address has all it may have: others have theirs */
			more = dial(b, "127.0.0.1");
			say(b, more, request);
			assert_true(hear(b, more, NULL, 0, out, sizeof out));
			assert_int_equal(b->heard, 0);
			close(more);
		}
	}
	more = dial(b, "127.0.0.3"); /* waits until there is room */
	say(b, more, request);
	for (int i = 0; i < 20; i++)
		step(b);
	assert_int_equal(b->heard, 0);
	for (int i = 0; i < 256; i++)
		close(fd[i]);
	for (int i = 0; i < 20; i++)
		step(b);
	if (!hear(b, more, OK_BODY, 1, out, sizeof out)) {
		/* or was sent away: the next try is heard */
		close(more);
		more = dial(b, "127.0.0.3");
		assert_true(say(b, more, request));
		assert_true(hear(b, more, OK_BODY, 1, out, sizeof out));
	}
	close(more);
}

/* Who sends a byte now and then is ended, in headers and in bodies. */
static void slow(void **state)
{
	static const char *const begin[] = {
	    "POST /", POST("/" TOKEN "/0000000a", "Content-Length: 100000\r\n\r\n")};
	struct bed *b = *state;
	char out[4096];

	px_push_free(b->push);
	start(b, 300);
	for (int i = 0; i < 2; i++) {
		const int64_t began = ms();
		const int fd = dial(b, "127.0.0.1");
		bool open = say(b, fd, begin[i]);

		while (open && ms() < began + LONG_MS) {
			open = say(b, fd, "x") && recv(fd, out, sizeof out, MSG_DONTWAIT) != 0;
			for (int n = 0; n < 4; n++)
				step(b);
			px_push_tick(b->push);
		}
		assert_false(open);
		assert_true(ms() - began >= 300);
		close(fd);
	}
	assert_int_equal(b->heard, 0);
}

static void other(void *arg)
{
	struct bed *b = arg;

	b->others++;
	if (b->heard - b->heard_before > b->gap)
		b->gap = b->heard - b->heard_before;
	b->heard_before = b->heard;
}

#define FLOODERS 8
#define FLOOD 400

/* Thousands of requests lie there: whatever else is in the loop has its turns between. */
static void flood(void **state)
{
	static const char request[] = POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbody");
	struct bed *b = *state;
	const int64_t end = ms() + LONG_MS;
	char out[65536];
	int fd[FLOODERS];

	for (int i = 0; i < FLOODERS; i++) {
		fd[i] = dial(b, "127.0.0.1");
		for (int n = 0; n < FLOOD; n++) /* not a turn of the loop between */
			assert_int_equal(send(fd[i], request, sizeof request - 1, MSG_DONTWAIT),
			                 sizeof request - 1);
	}
	assert_int_equal(pipe(b->pipe), 0);
	assert_int_equal(write(b->pipe[1], "x", 1), 1);
	assert_int_equal(px_loop_watch(b->loop, b->pipe[0], other, b), 0);
	while (b->heard < FLOODERS * FLOOD && ms() < end) {
		step(b);
		for (int i = 0; i < FLOODERS; i++)
			while (recv(fd[i], out, sizeof out, MSG_DONTWAIT) > 0)
				;
	}
	assert_int_equal(b->heard, FLOODERS * FLOOD);
	/* 16 rounds, by the descriptor and by the timer, of all of them */
	assert_true(b->others > 0 && b->gap <= 2 * 16 * FLOODERS);
	px_loop_unwatch(b->loop, b->pipe[0]);
	close(b->pipe[0]);
	close(b->pipe[1]);
	for (int i = 0; i < FLOODERS; i++)
		close(fd[i]);
}

static void stops_with_open_connections(void **state)
{
	struct bed *b = *state;
	const int fd = dial(b, "127.0.0.1");

	assert_true(say(b, fd, POST("/" TOKEN "/0000000a", "Content-Length: 4\r\n\r\nbo")));
	step(b);
	px_push_free(b->push);
	b->push = NULL;
	assert_int_equal(px_push_strays(NULL), 0);
	px_push_tick(NULL);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(requests, setup, teardown),
	    cmocka_unit_test_setup_teardown(pipelined, setup, teardown),
	    cmocka_unit_test_setup_teardown(halves, setup, teardown),
	    cmocka_unit_test_setup_teardown(too_long, setup, teardown),
	    cmocka_unit_test_setup_teardown(too_much_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(connections, setup, teardown),
	    cmocka_unit_test_setup_teardown(slow, setup, teardown),
	    cmocka_unit_test_setup_teardown(flood, setup, teardown),
	    cmocka_unit_test_setup_teardown(stops_with_open_connections, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
