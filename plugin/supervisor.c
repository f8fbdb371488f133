/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define LOOK_MS 500
#define LINE_MAX_ 4096       /* of the worker's log */
#define READ_PER_TURN 65536  /* of its lines; then the heartbeat is looked at */
#define SETTLED_MS 10000     /* who lived so long starts anew at once */
#define LEAVE_SILENT_MS 3000 /* a hanging worker doesn't hold up the proxy's end */

struct state {
	const struct px_supervisor *s;
	int signals;
	pid_t worker; /* 0: none runs */
	int log_fd;   /* its stderr; -1 */
	char line[LINE_MAX_ + 1];
	size_t len; /* of a line that isn't complete */
	bool cut;   /* the rest of this line is dropped */
	int64_t started_at, start_at, looked_at, leave_at;
	unsigned failures; /* in a row */
	bool killed;       /* by us: it hung */
	bool leaving;
};

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void say(const struct state *st, enum px_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void say(const struct state *st, enum px_level level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	st->s->log(level, text);
}

/* ---- leaving the proxy ---- */

/* So that a proxy that starts again finds its ports free, and no packet waits in our copy. */
static void close_inet_sockets(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		struct sockaddr_storage a = {0};
		socklen_t n = sizeof a;
		const int fd = atoi(e->d_name);

		if (e->d_name[0] != '.' && getsockname(fd, (struct sockaddr *)&a, &n) == 0 &&
		    (a.ss_family == AF_INET || a.ss_family == AF_INET6))
			close(fd);
	}
	if (d)
		closedir(d);
}

/* A core of this process would be one of the proxy's memory, passwords included. */
static void forbid_core(void)
{
	const int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!write(fd, "0", 1);
	close(fd);
}

static int take_signals(void)
{
	static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGCHLD};
	static const int ignored[] = {SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
		/* the proxy's handlers must not run here, nor reap our child */
		signal(ours[i], SIG_DFL);
		sigaddset(&set, ours[i]);
	}
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	sigprocmask(SIG_SETMASK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/* ---- the worker ---- */

/* In the child. Only what is allowed after a fork. */
static _Noreturn void become_worker(const struct px_supervisor *s, int log_fd, pid_t supervisor)
{
	char *const argv[] = {"pua_exchange_worker",
	                      "--settings-fd",
	                      "3",
	                      "--board-fd",
	                      "4",
	                      "--control-fd",
	                      "5",
	                      "--table-fd",
	                      "6",
	                      NULL};
	const int given[] = {log_fd, s->settings_fd, s->board_fd, s->control_fd, s->table_fd};
	const int place[] = {STDERR_FILENO, 3, 4, 5, 6};
	enum { GIVEN = sizeof given / sizeof *given };
	int high[GIVEN], null = open("/dev/null", O_RDWR);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != supervisor)
		_exit(0);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	/* first above all their places, so that none is overwritten */
	for (int i = 0; i < GIVEN; i++)
		high[i] = fcntl(given[i], F_DUPFD, 16);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	for (int i = 0; i < GIVEN; i++)
		if (dup2(high[i], place[i]) < 0)
			_exit(126);
	close_range(7, ~0U, 0);
	execv(s->worker, argv);
	dprintf(STDERR_FILENO, "error worker %s: %s\n", s->worker, strerror(errno));
	_exit(127);
}

static void start(struct state *st, int64_t now)
{
	const pid_t self = getpid();
	int pipe_fd[2] = {-1, -1};
	pid_t pid = -1;

	st->started_at = now;
	if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) == 0)
		pid = fork();
	if (pid == 0)
		become_worker(st->s, pipe_fd[1], self);
	if (pid < 0) {
		say(st, PX_ERROR, "worker: can't be started: %s", strerror(errno));
		if (pipe_fd[0] >= 0)
			close(pipe_fd[0]);
		st->start_at = now + PX_WORKER_BACK_MS;
	} else {
		st->worker = pid;
		st->log_fd = pipe_fd[0];
		st->len = 0;
		st->cut = st->killed = false;
	}
	if (pipe_fd[1] >= 0)
		close(pipe_fd[1]);
}

/* "<level> <text>"; whatever else is on its stderr wasn't meant for a log, so it is worth looking at. */
static void pass_on(struct state *st)
{
	static const char *const word[] = {"error ", "warn ", "notice ", "info ", "debug "};
	enum px_level level = PX_ERROR;
	const char *text = st->line;

	st->line[st->len] = '\0';
	for (unsigned i = 0; i < sizeof word / sizeof *word; i++)
		if (strncmp(st->line, word[i], strlen(word[i])) == 0) {
			level = (enum px_level)i;
			text += strlen(word[i]);
		}
	for (char *c = st->line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	if (*text)
		st->s->log(level, text);
	st->len = 0;
}

/* Hands on what the worker said; at most `most` bytes. */
static void read_lines(struct state *st, size_t most)
{
	char bytes[8192];
	ssize_t n;

	while (st->log_fd >= 0 && most > 0) {
		n = read(st->log_fd, bytes, sizeof bytes < most ? sizeof bytes : most);
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0) {
			close(st->log_fd);
			st->log_fd = -1;
		}
		if (n <= 0)
			return;
		most -= (size_t)n;
		for (ssize_t i = 0; i < n; i++) {
			if (bytes[i] == '\n') {
				pass_on(st);
				st->cut = false;
			} else if (!st->cut) {
				st->line[st->len++] = bytes[i];
				if (st->len == LINE_MAX_) {
					pass_on(st);
					st->cut = true;
				}
			}
		}
	}
}

static void ended(struct state *st, int status, int64_t now)
{
	const bool by_itself = WIFEXITED(status);
	const int64_t most = by_itself ? PX_WORKER_REFUSED_MS : PX_WORKER_BACK_MS;
	int64_t delay = 0;

	/* a child of the worker may hold its stderr open: don't wait for the end of it */
	read_lines(st, 1 << 20);
	if (st->len > 0)
		pass_on(st);
	if (st->log_fd >= 0)
		close(st->log_fd);
	st->log_fd = -1;
	st->worker = 0;
	if (st->leaving)
		return;
	if (now - st->started_at >= SETTLED_MS)
		st->failures = 0;
	if (st->failures > 0)
		delay = 100LL << (st->failures < 10 ? st->failures : 10);
	if (delay > most)
		delay = most;
	st->failures++;
	st->start_at = now + delay;
	if (by_itself)
		say(st, PX_ERROR, "worker ended with status %d after %lld s; next in %lld ms",
		    WEXITSTATUS(status), (long long)(now - st->started_at) / 1000,
		    (long long)delay);
	else
		say(st, PX_ERROR, "worker %s signal %d after %lld s; next in %lld ms",
		    st->killed ? "hung and was ended by" : "was ended by", WTERMSIG(status),
		    (long long)(now - st->started_at) / 1000, (long long)delay);
}

static void reap(struct state *st, int64_t now)
{
	int status;

	if (st->worker > 0 && waitpid(st->worker, &status, WNOHANG) == st->worker)
		ended(st, status, now);
}

/* Kills a worker whose heartbeat has stopped. */
static void look(struct state *st, int64_t now)
{
	const int64_t silent = px_board_silent_ms(st->s->board, now);
	const bool begun = silent < now - st->started_at; /* this one has beaten */
	const int64_t age = begun ? silent : now - st->started_at;
	const int64_t most = !begun        ? PX_WORKER_START_MS
	                     : st->leaving ? LEAVE_SILENT_MS
	                                   : PX_BOARD_SILENT_MS;
	/* did we hang ourselves, so might the worker have: it gets another chance */
	const bool late = now - st->looked_at > 4 * LOOK_MS;

	st->looked_at = now;
	if (st->worker == 0 || late || st->killed)
		return;
	if (age >= most || (st->leaving && now >= st->leave_at)) {
		say(st, PX_ERROR, "worker: no heartbeat for %lld ms; it is killed", (long long)age);
		kill(st->worker, SIGKILL);
		st->killed = true;
	}
}

static void leave(struct state *st, int64_t now)
{
	if (st->leaving)
		return;
	st->leaving = true;
	st->leave_at = now + PX_WORKER_LEAVE_MS;
	if (st->worker > 0)
		kill(st->worker, SIGTERM);
}

static void take(struct state *st, int64_t now)
{
	struct signalfd_siginfo i;

	while (read(st->signals, &i, sizeof i) == sizeof i) {
		if (i.ssi_signo == SIGTERM || i.ssi_signo == SIGINT)
			leave(st, now);
		else if (i.ssi_signo == SIGHUP && st->worker > 0 && !st->leaving)
			kill(st->worker, SIGHUP);
	}
}

void px_supervise(const struct px_supervisor *s)
{
	struct state st = {.s = s, .log_fd = -1, .start_at = mono_ms()};

	st.looked_at = st.start_at;
	st.signals = take_signals();
	forbid_core();
	close_inet_sockets();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	while (!st.leaving || st.worker > 0) {
		int64_t now = mono_ms(), wait = LOOK_MS;
		struct pollfd p[] = {{.fd = st.signals, .events = POLLIN},
		                     {.fd = st.log_fd, .events = POLLIN}};

		if (getppid() != s->proxy)
			leave(&st, now);
		if (st.worker == 0 && !st.leaving && now >= st.start_at)
			start(&st, now);
		if (st.worker == 0 && !st.leaving && st.start_at - now < wait)
			wait = st.start_at > now ? st.start_at - now : 0;
		p[1].fd = st.log_fd;
		poll(p, 2, st.leaving && st.worker == 0 ? 0 : (int)wait);
		now = mono_ms();
		take(&st, now);
		read_lines(&st, READ_PER_TURN);
		reap(&st, now);
		look(&st, now);
		if (s->turn)
			s->turn();
	}
	close(st.signals);
}

/* ---- the supervisor's own ---- */

#define KEEP_AGAIN_MS 100

/* The supervisor's process; it has its own signals. */
static _Noreturn void become_supervisor(const struct px_supervisor *s, int signals)
{
	close(signals);
	if (s->begin)
		s->begin();
	px_supervise(s);
	_exit(0);
}

void px_keep_supervised(const struct px_supervisor *s)
{
	struct px_supervisor own = *s;
	const struct state st = {.s = s};
	const int signals = take_signals();
	int64_t start_at = mono_ms();
	bool leaving = false;
	pid_t child = 0;

	own.proxy = getpid();
	forbid_core();
	close_inet_sockets();
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	while (!leaving || child > 0) {
		struct pollfd p = {.fd = signals, .events = POLLIN};
		struct signalfd_siginfo i;
		const int64_t now = mono_ms();
		int status;

		if (child == 0 && now >= start_at) {
			child = fork();
			if (child == 0)
				become_supervisor(&own, signals);
			if (child < 0)
				say(&st, PX_ERROR, "supervisor: can't be started: %s",
				    strerror(errno));
			start_at = now + (child < 0 ? PX_WORKER_BACK_MS : KEEP_AGAIN_MS);
			child = child < 0 ? 0 : child;
		}
		poll(&p, 1, child > 0 ? LOOK_MS : KEEP_AGAIN_MS);
		while (read(signals, &i, sizeof i) == sizeof i) {
			leaving = leaving || i.ssi_signo == SIGTERM || i.ssi_signo == SIGINT;
			if (child > 0 && i.ssi_signo != SIGCHLD)
				kill(child, (int)i.ssi_signo);
		}
		if (getppid() != s->proxy && !leaving) {
			leaving = true;
			if (child > 0)
				kill(child, SIGTERM);
		}
		if (child > 0 && waitpid(child, &status, WNOHANG) == child) {
			child = 0;
			if (!leaving)
				say(&st, PX_ERROR, "supervisor ended (status %d); next in %d ms",
				    status, KEEP_AGAIN_MS);
			start_at = mono_ms() + KEEP_AGAIN_MS;
		}
	}
	close(signals);
}
