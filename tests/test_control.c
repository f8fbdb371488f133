/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Commands from the proxy's processes: each is answered to whoever asked, and nothing else is executed. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../plugin/control.h"
#include "io/control.h"
#include "io/log.h"
#include "px_board.h"

struct bench {
	struct px_loop *loop;
	struct px_control *control;
	int fd; /* the clients' end */
	unsigned executed;
	struct px_command last;
};

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void execute(void *arg, const struct px_command *q, struct px_control_answer *a)
{
	struct bench *b = arg;

	b->executed++;
	b->last = *q;
	if (q->command == PX_CONTROL_RELOAD) {
		a->status = -EINPROGRESS;
		return;
	}
	if (strncmp(q->key, "nobody", 6) == 0)
		a->status = -ENOENT;
	snprintf(a->said, sizeof a->said, "%s", q->key);
}

static void stop(void *arg, struct px_now now)
{
	struct bench *b = arg;

	(void)now;
	px_loop_stop(b->loop);
}

static int setup(void **state)
{
	static struct bench b;
	int pair[2];

	b = (struct bench){0};
	px_log_open(STDERR_FILENO, PX_LOG_ERROR);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
	    px_loop_new(&b.loop, stop, &b) < 0 ||
	    px_control_new(&b.control, b.loop, pair[1], execute, &b) < 0)
		return -1;
	b.fd = pair[0];
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	px_control_free(b->control);
	px_loop_free(b->loop);
	close(b->fd);
	return 0;
}

/* The worker goes round for so long. */
static void run(struct bench *b, int64_t ms)
{
	const int64_t end = mono_ms() + ms;

	while (mono_ms() < end) {
		px_loop_wake(b->loop, (struct px_mono){mono_ms() + 10});
		px_loop_run(b->loop);
	}
}

struct client {
	struct bench *b;
	enum px_control_command command;
	char key[PX_AOR_MAX + 1];
	const char *mailbox;
	int err, rounds;
	struct px_control_answer answer;
};

static void *ask(void *arg)
{
	struct client *c = arg;

	for (int i = 0; i < c->rounds && c->err == 0; i++) {
		c->err = px_control_ask(c->b->fd, c->command, c->key, c->mailbox, mono_ms(), 2000,
		                        &c->answer);
		if (c->err == 0 && strcmp(c->answer.said, c->key) != 0)
			c->err = -EXDEV; /* another's answer */
	}
	return NULL;
}

static void answers_everybody_their_own(void **state)
{
	struct bench *b = *state;
	struct client c[6];
	pthread_t thread[6];

	for (int i = 0; i < 6; i++) {
		c[i] = (struct client){.b = b, .command = PX_CONTROL_REFRESH, .rounds = 50};
		snprintf(c[i].key, sizeof c[i].key, "%s%d@example.com", i % 2 ? "nobody" : "user",
		         i);
		assert_int_equal(pthread_create(&thread[i], NULL, ask, &c[i]), 0);
	}
	for (int64_t end = mono_ms() + 10000; b->executed < 300 && mono_ms() < end;)
		run(b, 10);
	for (int i = 0; i < 6; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(c[i].err, 0);
		assert_int_equal(c[i].answer.status, i % 2 ? -ENOENT : 0);
	}
	assert_int_equal(b->executed, 300);
}

static void says_all_of_a_command(void **state)
{
	struct bench *b = *state;
	struct client c = {.b = b,
	                   .command = PX_CONTROL_ENABLE,
	                   .key = "b\xc3\xb6rje,%@example.com",
	                   .mailbox = "boss@example.com",
	                   .rounds = 1};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, ask, &c), 0);
	while (b->executed == 0)
		run(b, 10);
	pthread_join(thread, NULL);
	assert_int_equal(c.err, 0);
	assert_int_equal(b->last.command, PX_CONTROL_ENABLE);
	assert_int_equal(b->last.origin, PX_FROM_RPC);
	assert_string_equal(b->last.key, c.key);
	assert_string_equal(b->last.mailbox, "boss@example.com");
}

static void executes_nothing_that_is_late(void **state)
{
	struct bench *b = *state;
	struct px_control_answer a;
	const int64_t began = mono_ms();

	/* the worker hangs: it isn't waited for longer than told */
	assert_int_equal(
	    px_control_ask(b->fd, PX_CONTROL_DISABLE, "user@example.com", NULL, began, 100, &a),
	    -ETIMEDOUT);
	assert_in_range(mono_ms() - began, 100, 1000);
	run(b, 50);
	assert_int_equal(b->executed, 0);
}

static void a_full_queue_is_said_at_once(void **state)
{
	struct bench *b = *state;
	struct px_control_answer a;
	int64_t began;
	int err, n = 0;

	do {
		began = mono_ms();
		err = px_control_ask(b->fd, PX_CONTROL_REFRESH, "user@example.com", NULL, began, 1,
		                     &a);
	} while (err == -ETIMEDOUT && ++n < 100000);
	assert_int_equal(err, -EAGAIN);
	assert_in_range(mono_ms() - began, 0, 500);
	assert_true(n >= 10);
	/* all of it is late, and dropped */
	run(b, 100);
	assert_int_equal(b->executed, 0);
}

static unsigned open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Sends n bytes, and `fds` descriptors with them. */
static void send_raw(int fd, const void *bytes, size_t n, unsigned fds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(20 * sizeof(int))];
	} control = {0};
	struct iovec v = {.iov_base = (void *)bytes, .iov_len = n};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};

	if (fds > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);

		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(fds * sizeof(int));
		for (unsigned i = 0; i < fds; i++)
			memcpy(CMSG_DATA(h) + i * sizeof(int), &(int){STDERR_FILENO}, sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), n);
}

static struct px_control_request good(void)
{
	struct px_control_request q = {.magic = PX_CONTROL_MAGIC,
	                               .command = PX_CONTROL_REFRESH,
	                               .deadline = mono_ms() + 60000,
	                               .origin = PX_FROM_RPC};

	q.key_len = (uint16_t)strlen("user@example.com");
	memcpy(q.text, "user@example.com", q.key_len);
	return q;
}

static void survives_whoever_sends_anything(void **state)
{
	struct bench *b = *state;
	struct px_control_request q = good();
	char large[20000] = {0};
	const unsigned before = open_fds();

	memcpy(large, &q, sizeof q);
	send_raw(b->fd, "", 0, 0);
	send_raw(b->fd, "x", 1, 1);
	send_raw(b->fd, large, sizeof large, 1);
	send_raw(b->fd, &q, PX_CONTROL_SIZE(&q) - 1, 2);
	send_raw(b->fd, &q, PX_CONTROL_SIZE(&q) + 1, 19);
	run(b, 50);
	assert_int_equal(b->executed, 0);
	assert_int_equal(open_fds(), before);
	/* with no answer wanted, or with more sockets than one */
	send_raw(b->fd, &q, PX_CONTROL_SIZE(&q), 0);
	send_raw(b->fd, &q, PX_CONTROL_SIZE(&q), 19);
	run(b, 50);
	assert_int_equal(b->executed, 2);
	assert_int_equal(open_fds(), before);
}

static void parses_only_what_is_right(void **state)
{
	struct px_control_request q = good(), m;
	const size_t n = PX_CONTROL_SIZE(&q);
	struct px_command c;
	unsigned seed = 1, good_ones = 0;

	(void)state;
	assert_int_equal(px_control_parse(&q, n, q.deadline - 1, &c), 0);
	assert_int_equal(px_control_parse(&q, n, q.deadline, &c), -ETIMEDOUT);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(px_control_parse(&q, i, 0, &c), -EBADMSG);
	m = q;
	m.text[2] = '\0';
	assert_int_equal(px_control_parse(&m, n, 0, &c), -EBADMSG);
	m = q;
	m.text[9] = 'X'; /* not the normal form */
	assert_int_equal(px_control_parse(&m, n, 0, &c), -EBADMSG);
	m = q;
	m.command = PX_CONTROL_GATEWAY_REMOVE; /* its word is any printable text */
	assert_int_equal(px_control_parse(&m, n, 0, &c), 0);
	assert_string_equal(c.text, "user@example.com");
	m.text[2] = '\n';
	assert_int_equal(px_control_parse(&m, n, 0, &c), -EBADMSG);
	m.command = PX_CONTROL_END;
	assert_int_equal(px_control_parse(&m, n, 0, &c), -EBADMSG);
	m = q;
	m.origin = PX_FROM_CFG;
	assert_int_equal(px_control_parse(&m, n, 0, &c), -EBADMSG);
	for (int i = 0; i < 200000; i++) {
		m = q;
		for (int k = rand_r(&seed) % 4; k >= 0; k--)
			((char *)&m)[(size_t)rand_r(&seed) % n] = (char)rand_r(&seed);
		/* copied, so that every byte beyond is watched by the sanitizer */
		const size_t len = (size_t)rand_r(&seed) % 3 ? n : (size_t)rand_r(&seed) % (n + 1);
		char *exact = malloc(len ? len : 1);

		memcpy(exact, &m, len);
		if (px_control_parse(exact, len, 0, &c) == 0) {
			good_ones++;
			if (c.command <= PX_CONTROL_DISABLE) {
				assert_in_range(strlen(c.key), 3, PX_AOR_MAX);
				assert_non_null(strchr(c.key, '@'));
			}
		}
		free(exact);
	}
	assert_true(good_ones > 100);
}

/* Those who ask for what takes longer wait for it, and only they get it. */
static void answers_later(void **state)
{
	struct bench *b = *state;
	struct client c[] = {{.b = b, .command = PX_CONTROL_RELOAD, .rounds = 1},
	                     {.b = b, .command = PX_CONTROL_RELOAD, .rounds = 1},
	                     {.b = b, .command = PX_CONTROL_ACTIVE, .rounds = 1}};
	struct px_control_answer a = {.status = 0, .said = ""};
	const unsigned before = open_fds();
	pthread_t thread[3];

	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, ask, &c[i]), 0);
	for (int i = 0; i < 300 && b->executed < 3; i++)
		run(b, 10);
	px_control_answer(b->control, PX_CONTROL_ACTIVE, &a); /* nobody waits for that */
	run(b, 20);
	assert_int_equal(c[0].answer.magic, 0);
	px_control_answer(b->control, PX_CONTROL_RELOAD, &a);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(c[i].err, 0);
		assert_int_equal(c[i].answer.magic, PX_CONTROL_MAGIC);
		assert_int_equal(c[i].answer.status, 0);
	}
	assert_int_equal(open_fds(), before);
	/* no more wait than there is room for; whoever has gone meanwhile is no trouble */
	struct px_control_request q = good();

	q.command = PX_CONTROL_RELOAD;
	for (int i = 0; i < 40; i++)
		send_raw(b->fd, &q, PX_CONTROL_SIZE(&q), 1);
	run(b, 20);
	assert_int_equal(open_fds(), before + 32);
	px_control_answer(b->control, PX_CONTROL_RELOAD, &a);
	assert_int_equal(open_fds(), before);
}

static void sleeps_when_nobody_is_left(void **state)
{
	struct bench *b = *state;
	struct rusage before, after;

	shutdown(b->fd, SHUT_RDWR);
	getrusage(RUSAGE_SELF, &before);
	run(b, 300);
	getrusage(RUSAGE_SELF, &after);
	assert_in_range((after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000000 +
	                    after.ru_utime.tv_usec - before.ru_utime.tv_usec,
	                0, 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(answers_everybody_their_own, setup, teardown),
	    cmocka_unit_test_setup_teardown(says_all_of_a_command, setup, teardown),
	    cmocka_unit_test_setup_teardown(executes_nothing_that_is_late, setup, teardown),
	    cmocka_unit_test_setup_teardown(a_full_queue_is_said_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(survives_whoever_sends_anything, setup, teardown),
	    cmocka_unit_test(parses_only_what_is_right),
	    cmocka_unit_test_setup_teardown(answers_later, setup, teardown),
	    cmocka_unit_test_setup_teardown(sleeps_when_nobody_is_left, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
