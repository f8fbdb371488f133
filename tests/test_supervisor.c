/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The supervisor with a worker that does what the test wants: this program itself, which the supervisor
 * executes as it would the real one. What it shall do stands in its settings.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../plugin/supervisor.h"
#include "io/board.h"

static char program[4096];

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- the worker ---- */

static volatile sig_atomic_t told[NSIG];

static void on_signal(int s)
{
	told[s] = 1;
}

/* Everything that a program inherits. */
static void tell_what_is_left(void)
{
	char open[256] = "", blocked[64] = "?", line[256];
	unsigned long long ignored = ~0ull;
	FILE *f = fopen("/proc/self/status", "re");
	int death = 0;

	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0 && fd != fileno(f))
			snprintf(open + strlen(open), sizeof open - strlen(open), " %d", fd);
	while (fgets(line, sizeof line, f)) {
		sscanf(line, "SigBlk: %63s", blocked);
		sscanf(line, "SigIgn: %llx", &ignored);
	}
	fclose(f);
	prctl(PR_GET_PDEATHSIG, &death);
	/* 32 and 33 are the C library's own: nobody may change them, and some who start tests leave them ignored */
	ignored &= ~(3ull << 31);
	dprintf(2, "notice fds%s blocked %s ignored %016llx death %d leader %d\n", open, blocked,
	        ignored, death, getsid(0) == getpid());
}

static int worker(void)
{
	struct px_now now = {{mono_ms()}, {0}};
	struct px_board *board;
	char mode[64] = "", why[256];

	if (pread(3, mode, sizeof mode - 1, 0) < 0 || px_board_new(&board, 4, 10, 2, now, why) < 0)
		return 99;
	signal(SIGTERM, strcmp(mode, "stubborn") == 0 ? SIG_IGN : on_signal);
	signal(SIGHUP, on_signal);
	dprintf(2, "notice pid %d\n", (int)getpid());
	if (strcmp(mode, "left") == 0)
		tell_what_is_left();
	if (strcmp(mode, "refuse") == 0)
		return 1;
	if (strcmp(mode, "levels") == 0) {
		static char most[5000];

		memset(most, 'm', sizeof most - 1);
		dprintf(2,
		        "error e\nwarn w\nnotice n\ninfo i\ndebug d\nplain \x1b[1m\nwarning x\n\n");
		dprintf(2, "info %s\ninfo after\n", most);
	}
	if (strcmp(mode, "flood") == 0) {
		fcntl(2, F_SETFL, fcntl(2, F_GETFL) | O_NONBLOCK);
		for (int i = 0; i < 300000; i++)
			(void)!write(2, "info flooded with lines of some length\n", 39);
	}
	while (!told[SIGTERM]) {
		if (told[SIGHUP]) {
			dprintf(2, "notice reload\n");
			told[SIGHUP] = 0;
		}
		if (strcmp(mode, "silent") != 0)
			px_board_beat(board, (struct px_now){{mono_ms()}, {0}});
		poll(NULL, 0, 20);
	}
	dprintf(2, "notice leaving\n");
	px_board_free(board);
	return 0;
}

/* ---- the proxy ---- */

static int said_fd;

static void say(enum px_level level, const char *text)
{
	dprintf(said_fd, "%d %s\n", level, text);
}

struct bench {
	pid_t proxy, supervisor, worker; /* worker: the last that told its pid */
	int said;
	char text[1 << 20];
	size_t len, told; /* told: behind the last worker's pid */
};
static struct bench b;

/* A process that forks the supervisor as a proxy would. */
static void start_with(const char *mode, const char *path)
{
	int pipe_fd[2], supervisor[2];

	b = (struct bench){0};
	assert_int_equal(pipe2(pipe_fd, O_CLOEXEC), 0);
	assert_int_equal(pipe2(supervisor, O_CLOEXEC), 0);
	fflush(NULL);
	b.proxy = fork();
	assert_true(b.proxy >= 0);
	if (b.proxy == 0) {
		const pid_t self = getpid();
		pid_t pid;
		int pair[2];
		const int settings = memfd_create("settings", MFD_CLOEXEC);
		const int board = px_board_make(10, 2);
		struct px_supervisor s = {.worker = path,
		                          .settings_fd = settings,
		                          .board_fd = board,
		                          .table_fd = memfd_create("users", MFD_CLOEXEC),
		                          .proxy = self,
		                          .log = say};
		struct px_board_reader *reader;

		said_fd = pipe_fd[1];
		if (write(settings, mode, strlen(mode)) < 0 ||
		    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 ||
		    px_board_open(&reader, board) < 0)
			_exit(1);
		s.board = reader;
		s.control_fd = pair[1];
		/* what a proxy leaves around: descriptors that exec would keep, signals */
		dup2(pipe_fd[1], 40);
		signal(SIGCHLD, SIG_IGN);
		signal(SIGUSR1, SIG_IGN);
		sigset_t all;

		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		pid = fork();
		if (pid == 0) {
			px_supervise(&s);
			dprintf(said_fd, "2 supervisor ends\n");
			_exit(0);
		}
		(void)!write(supervisor[1], &pid, sizeof pid);
		for (;;)
			pause();
	}
	close(pipe_fd[1]);
	close(supervisor[1]);
	b.said = pipe_fd[0];
	assert_int_equal(read(supervisor[0], &b.supervisor, sizeof b.supervisor),
	                 sizeof b.supervisor);
	close(supervisor[0]);
}

static void start(const char *mode)
{
	start_with(mode, program);
}

/* Waits until the supervisor has said words, from `from` on; returns where it did. */
static const char *wait_said(const char *words, size_t from, int ms)
{
	const int64_t end = mono_ms() + ms;

	for (;;) {
		struct pollfd p = {.fd = b.said, .events = POLLIN};
		const char *at = strstr(b.text + from, words);
		ssize_t n;

		if (at && strchr(at, '\n'))
			return at;
		if (mono_ms() >= end || b.len + 1 == sizeof b.text)
			fail_msg("not within %d ms: %s\n%.3000s", ms, words, b.text);
		poll(&p, 1, 20);
		if (!(p.revents & POLLIN))
			continue;
		n = read(b.said, b.text + b.len, sizeof b.text - 1 - b.len);
		if (n > 0)
			b.len += (size_t)n;
	}
}

/* Until the next worker has told its pid. */
static pid_t wait_worker(int ms)
{
	const char *at = wait_said("2 pid ", b.told, ms);

	b.told = (size_t)(at + 1 - b.text);
	b.worker = atoi(at + strlen("2 pid "));
	return b.worker;
}

static bool alive(pid_t pid)
{
	while (waitpid(-1, NULL, WNOHANG) > 0) /* we are the subreaper */
		;
	return kill(pid, 0) == 0;
}

static void wait_gone(pid_t pid, int ms)
{
	const int64_t end = mono_ms() + ms;

	while (alive(pid)) {
		if (mono_ms() >= end)
			fail_msg("%d still runs after %d ms\n%s", (int)pid, ms, b.text);
		poll(NULL, 0, 10);
	}
}

static int teardown(void **state)
{
	(void)state;
	if (b.proxy > 0) {
		kill(b.proxy, SIGKILL);
		if (b.worker > 0)
			kill(b.worker, SIGCONT);
		wait_gone(b.proxy, 1000);
		wait_gone(b.supervisor, 5000);
	}
	close(b.said);
	return 0;
}

static void ends_cleanly(void **state)
{
	const int64_t began = mono_ms();

	(void)state;
	start("work");
	wait_worker(5000);
	kill(b.supervisor, SIGTERM);
	wait_said("2 leaving", 0, 2000);
	wait_said("2 supervisor ends", 0, 2000);
	wait_gone(b.worker, 1000);
	assert_in_range(mono_ms() - began, 0, 4000);
}

static void nothing_of_the_proxy_is_left(void **state)
{
	(void)state;
	start("left");
	wait_said("2 fds 0 1 2 3 4 5 6 blocked 0000000000000000 ignored 0000000000000000 death 9 "
	          "leader 1\n",
	          0, 5000);
}

static void starts_it_again(void **state)
{
	(void)state;
	start("work");
	wait_worker(5000);
	for (int i = 0; i < 5; i++) {
		const pid_t former = b.worker;
		const int64_t began = mono_ms();

		assert_int_equal(kill(former, SIGKILL), 0);
		assert_int_not_equal(wait_worker(PX_WORKER_BACK_MS + 1000), former);
		assert_in_range(mono_ms() - began, 0, PX_WORKER_BACK_MS + 1000);
		assert_false(alive(former));
	}
	wait_said("0 worker was ended by signal 9", 0, 1000);
}

static void restarts_come_slower(void **state)
{
	size_t from = 0;

	(void)state;
	start("refuse");
	for (int i = 0; i < 4; i++)
		from = (size_t)(wait_said("0 worker ended with status 1", from, 5000) + 1 - b.text);
	/* 0, 200, 400, 800 ms */
	wait_said("next in 800 ms", from - 1, 1000);
	kill(b.supervisor, SIGTERM);
	wait_said("2 supervisor ends", 0, 1000);
}

static void says_what_is_missing(void **state)
{
	(void)state;
	start_with("work", "/nowhere/pua_exchange_worker");
	wait_said("0 worker /nowhere/pua_exchange_worker: No such file or directory", 0, 3000);
	wait_said("0 worker ended with status 127", 0, 3000);
}

static void hands_lines_on_at_their_level(void **state)
{
	(void)state;
	start("levels");
	wait_said("3 after\n", 0, 5000);
	assert_non_null(
	    strstr(b.text, "0 e\n1 w\n2 n\n3 i\n4 d\n0 plain ?[1m\n0 warning x\n3 mmm"));
	/* a line that is too long is cut, not taken for two */
	const char *m = strstr(b.text, "3 mmm");

	assert_int_equal(strspn(m + 2, "m"), 4096 - strlen("info "));
	assert_memory_equal(m + 2 + 4096 - strlen("info "), "\n3 after\n", 9);
}

static void a_flood_holds_nobody_up(void **state)
{
	(void)state;
	start("flood");
	wait_said("3 flooded", 0, 5000);
	/* the proxy's log takes nothing for a while: b.said isn't read */
	poll(NULL, 0, 200);
	kill(b.supervisor, SIGTERM);
	wait_said("2 supervisor ends", 0, 10000);
}

static void ends_with_the_proxy(void **state)
{
	(void)state;
	start("work");
	wait_worker(5000);
	kill(b.proxy, SIGKILL);
	wait_gone(b.worker, 1000);
	wait_gone(b.supervisor, 1000);
}

static void no_worker_outlives_its_supervisor(void **state)
{
	(void)state;
	start("work");
	wait_worker(5000);
	kill(b.worker, SIGSTOP);
	kill(b.supervisor, SIGKILL);
	wait_gone(b.worker, 1000);
}

static void a_hanging_worker_is_killed(void **state)
{
	pid_t former;
	int64_t began;

	(void)state;
	start("work");
	former = wait_worker(5000);
	kill(former, SIGSTOP);
	began = mono_ms();
	wait_said("0 worker: no heartbeat", 0, PX_BOARD_SILENT_MS + 1500);
	assert_in_range(mono_ms() - began, PX_BOARD_SILENT_MS - 500, PX_BOARD_SILENT_MS + 1500);
	wait_said("0 worker hung and was ended by signal 9", 0, 1000);
	assert_int_not_equal(wait_worker(3000), former);
}

static void a_hanging_worker_doesnt_hold_up_the_end(void **state)
{
	(void)state;
	start("stubborn");
	wait_worker(5000);
	kill(b.worker, SIGSTOP);
	kill(b.supervisor, SIGTERM);
	wait_gone(b.worker, 5000);
	wait_said("2 supervisor ends", 0, 1000);
}

static void hands_on_sighup(void **state)
{
	(void)state;
	start("work");
	wait_worker(5000);
	kill(b.supervisor, SIGHUP);
	wait_said("2 reload", 0, 2000);
	assert_true(alive(b.worker));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(ends_cleanly, teardown),
	    cmocka_unit_test_teardown(nothing_of_the_proxy_is_left, teardown),
	    cmocka_unit_test_teardown(starts_it_again, teardown),
	    cmocka_unit_test_teardown(restarts_come_slower, teardown),
	    cmocka_unit_test_teardown(says_what_is_missing, teardown),
	    cmocka_unit_test_teardown(hands_lines_on_at_their_level, teardown),
	    cmocka_unit_test_teardown(a_flood_holds_nobody_up, teardown),
	    cmocka_unit_test_teardown(ends_with_the_proxy, teardown),
	    cmocka_unit_test_teardown(no_worker_outlives_its_supervisor, teardown),
	    cmocka_unit_test_teardown(a_hanging_worker_is_killed, teardown),
	    cmocka_unit_test_teardown(a_hanging_worker_doesnt_hold_up_the_end, teardown),
	    cmocka_unit_test_teardown(hands_on_sighup, teardown),
	};

	if (argc > 1 && strcmp(argv[1], "--settings-fd") == 0)
		return worker();
	if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
		return 1;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
