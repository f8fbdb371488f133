/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sink.c - a presence server that does nothing: every PUBLISH over TCP is answered 200 with a new
 * SIP-ETag, and counted. Cheap enough that whoever sends to it is what is measured.
 *
 *     sink [--closed]
 *
 * Standard output, one line of JSON each: {"port":P} at the start; what `expect` says. Standard
 * input, one command per line; its end is the end of the program.
 *
 *     open            listens from now on (with --closed connections are refused until then)
 *     expect N        counts anew; with the N-th PUBLISH without SIP-If-Match (RFC 3903 §4.1)
 *                     prints {"at":T,"per_s":R,"body":B,"others":M}. T: when it came, seconds of
 *                     CLOCK_MONOTONIC; R: requests per second between 10 % and 90 % of them; B:
 *                     mean body in bytes; M: PUBLISHes with SIP-If-Match meanwhile
 *     log FILE        from now on a line "T USER STATUS" for each PUBLISH with a body; T as above,
 *                     STATUS available, busy or away
 *     flush           the lines so far are in FILE when {"flushed":true} is printed
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 65536
#define ANSWER_MAX 8192
#define OUT_MAX (1 << 20) /* a peer that doesn't read its answers isn't read either */
#define EVENTS 16

struct connection {
	int fd;
	char *in, *out;
	size_t in_len, out_len, out_sent;
};

struct sink {
	int epoll, listener;
	long expected, initial, others;
	long long body_bytes;
	double at_10, at_90;
	unsigned long long etag;
	FILE *log;
	char command[4096];
	size_t command_len;
};

/* the values point into the message, CRLF not included */
struct text {
	const char *at;
	size_t len;
};

struct publish {
	struct text user, from, to, call_id, cseq, expires;
	struct text via[8];
	unsigned vias;
	bool conditional;
	size_t content;
};

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- one message ---- */

static void header(struct publish *p, const char *line, size_t len)
{
	const struct {
		const char *name;
		struct text *into;
	} known[] = {{"From", &p->from},
	             {"To", &p->to},
	             {"Call-ID", &p->call_id},
	             {"CSeq", &p->cseq},
	             {"Expires", &p->expires}};
	const char *colon = memchr(line, ':', len), *value;
	size_t name;

	if (!colon)
		return;
	name = (size_t)(colon - line);
	value = colon + 1;
	while (value < line + len && *value == ' ')
		value++;
	struct text v = {value, (size_t)(line + len - value)};

	if (name == 3 && strncasecmp(line, "Via", 3) == 0) {
		if (p->vias < sizeof p->via / sizeof *p->via)
			p->via[p->vias++] = v;
		return;
	}
	if (name == 12 && strncasecmp(line, "SIP-If-Match", 12) == 0)
		p->conditional = true;
	if (name == 14 && strncasecmp(line, "Content-Length", 14) == 0)
		p->content = strtoul(value, NULL, 10);
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strlen(known[i].name) == name && strncasecmp(line, known[i].name, name) == 0)
			*known[i].into = v;
}

/* How long the first message in s is, 0: it isn't all there yet, -1: it isn't one. */
static long message(struct publish *p, const char *s, size_t len)
{
	const char *end = memmem(s, len, "\r\n\r\n", 4), *line, *eol, *at;
	size_t head;

	if (!end)
		return len < MESSAGE_MAX ? 0 : -1;
	head = (size_t)(end + 4 - s);
	*p = (struct publish){0};
	line = memchr(s, '\r', len);
	if (len < 12 || memcmp(s, "PUBLISH sip:", 12) != 0 ||
	    !(at = memchr(s + 12, '@', (size_t)(line - s - 12))))
		return -1;
	p->user = (struct text){s + 12, (size_t)(at - s - 12)};
	for (line += 2; line < end; line = eol + 2) {
		eol = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
		header(p, line, (size_t)(eol - line));
	}
	if (p->content > MESSAGE_MAX - head || !p->vias || !p->from.at || !p->to.at ||
	    !p->call_id.at || !p->cseq.at)
		return -1;
	return head + p->content <= len ? (long)(head + p->content) : 0;
}

/* ---- counting ---- */

static void counted(struct sink *s, const struct publish *p, const char *body)
{
	const double t = now();
	const char *status = "available";

	if (s->log && p->content) {
		if (memmem(body, p->content, "<rpid:busy", 10))
			status = "busy";
		else if (memmem(body, p->content, "<rpid:away", 10))
			status = "away";
		fprintf(s->log, "%.6f %.*s %s\n", t, (int)p->user.len, p->user.at, status);
	}
	if (p->conditional) {
		s->others++;
		return;
	}
	s->initial++;
	s->body_bytes += (long long)p->content;
	if (s->initial == s->expected / 10)
		s->at_10 = t;
	if (s->initial == s->expected * 9 / 10)
		s->at_90 = t;
	if (s->initial != s->expected)
		return;
	printf("{\"at\":%.6f,\"per_s\":%.1f,\"body\":%.1f,\"others\":%ld}\n", t,
	       (double)(s->expected * 9 / 10 - s->expected / 10) / (s->at_90 - s->at_10),
	       (double)s->body_bytes / (double)s->initial, s->others);
	fflush(stdout);
}

/* ---- answering ---- */

static void put(struct connection *c, const char *text, size_t len)
{
	memcpy(c->out + c->out_len, text, len);
	c->out_len += len;
}

static void put_header(struct connection *c, const char *name, struct text v)
{
	put(c, name, strlen(name));
	put(c, v.at, v.len);
}

static void answer(struct sink *s, struct connection *c, const struct publish *p)
{
	char etag[64];
	int n = snprintf(etag, sizeof etag, "\r\nSIP-ETag: sink-%llx", ++s->etag);

	put(c, "SIP/2.0 200 OK", 14);
	for (unsigned i = 0; i < p->vias; i++)
		put_header(c, "\r\nVia: ", p->via[i]);
	put_header(c, "\r\nFrom: ", p->from);
	put_header(c, "\r\nTo: ", p->to);
	put(c, ";tag=sink", 9);
	put_header(c, "\r\nCall-ID: ", p->call_id);
	put_header(c, "\r\nCSeq: ", p->cseq);
	if (p->expires.at)
		put_header(c, "\r\nExpires: ", p->expires);
	put(c, etag, (size_t)n);
	put(c, "\r\nContent-Length: 0\r\n\r\n", 23);
}

static void end(struct connection *c)
{
	close(c->fd);
	free(c->in);
	free(c->out);
	free(c);
}

/* false: the connection is over. */
static bool write_out(struct sink *s, struct connection *c)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
	ssize_t n;

	while (c->out_sent < c->out_len) {
		n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			e.events = EPOLLOUT;
			break;
		}
		if (n < 0)
			return false;
		c->out_sent += (size_t)n;
	}
	if (c->out_sent == c->out_len)
		c->out_sent = c->out_len = 0;
	return epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &e) == 0;
}

static bool read_in(struct sink *s, struct connection *c)
{
	struct publish p;
	size_t done = 0;
	ssize_t n = recv(c->fd, c->in + c->in_len, 2 * MESSAGE_MAX - c->in_len, 0);
	long len;

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0)
		return false;
	c->in_len += (size_t)n;
	for (;;) {
		while (done + 2 <= c->in_len && memcmp(c->in + done, "\r\n", 2) == 0)
			done += 2; /* keep-alive (RFC 5626 §3.5.1) */
		len = message(&p, c->in + done, c->in_len - done);
		if (len <= 0)
			break;
		/* an answer is no longer than what it answers, and a little */
		if (c->out_len + (size_t)len + ANSWER_MAX > OUT_MAX)
			return false;
		counted(s, &p, c->in + done + (size_t)len - p.content);
		answer(s, c, &p);
		done += (size_t)len;
	}
	if (len < 0) {
		fprintf(stderr, "sink: not a PUBLISH: %.60s\n", c->in + done);
		return false;
	}
	memmove(c->in, c->in + done, c->in_len - done);
	c->in_len -= done;
	return write_out(s, c);
}

static void take(struct sink *s)
{
	int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;
	struct connection *c;
	struct epoll_event e = {.events = EPOLLIN};

	if (fd < 0)
		return;
	c = calloc(1, sizeof *c);
	if (!c || !(c->in = malloc(2 * MESSAGE_MAX)) || !(c->out = malloc(OUT_MAX)))
		give_up("memory");
	c->fd = fd;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	e.data.ptr = c;
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		give_up("epoll");
}

/* ---- commands ---- */

static void start_listening(struct sink *s)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = &s->listener};

	if (listen(s->listener, 64) < 0 || epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &e) < 0)
		give_up("listen");
}

static void execute(struct sink *s, const char *line)
{
	if (strcmp(line, "open") == 0) {
		start_listening(s);
	} else if (strncmp(line, "expect ", 7) == 0) {
		s->expected = strtol(line + 7, NULL, 10);
		s->initial = s->others = 0;
		s->body_bytes = 0;
	} else if (strncmp(line, "log ", 4) == 0) {
		if (s->log)
			fclose(s->log);
		s->log = fopen(line + 4, "w");
		if (!s->log)
			give_up(line + 4);
	} else if (strcmp(line, "flush") == 0) {
		if (s->log)
			fflush(s->log);
		printf("{\"flushed\":true}\n");
		fflush(stdout);
	} else {
		fprintf(stderr, "sink: no such command: %s\n", line);
		exit(2);
	}
}

static void commands(struct sink *s)
{
	ssize_t n =
	    read(STDIN_FILENO, s->command + s->command_len, sizeof s->command - 1 - s->command_len);
	char *eol;

	if (n <= 0)
		exit(0);
	s->command_len += (size_t)n;
	s->command[s->command_len] = '\0';
	while ((eol = strchr(s->command, '\n'))) {
		*eol = '\0';
		execute(s, s->command);
		s->command_len -= (size_t)(eol + 1 - s->command);
		memmove(s->command, eol + 1, s->command_len + 1);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	struct epoll_event ready[EVENTS], in = {.events = EPOLLIN, .data.ptr = NULL};
	static struct sink s;

	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	s.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s.epoll < 0 || s.listener < 0 ||
	    bind(s.listener, (struct sockaddr *)&a, sizeof a) < 0 ||
	    getsockname(s.listener, (struct sockaddr *)&a, &len) < 0 ||
	    epoll_ctl(s.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &in) < 0)
		give_up("start");
	if (argc == 1)
		start_listening(&s);
	else if (argc != 2 || strcmp(argv[1], "--closed") != 0) {
		fprintf(stderr, "usage: sink [--closed]\n");
		return 2;
	}
	printf("{\"port\":%u}\n", ntohs(a.sin_port));
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(s.epoll, ready, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct connection *c = ready[i].data.ptr;

			if (!c)
				commands(&s);
			else if (ready[i].data.ptr == &s.listener)
				take(&s);
			else if (!(ready[i].events & EPOLLOUT ? write_out(&s, c) : read_in(&s, c)))
				end(c);
		}
	}
}
