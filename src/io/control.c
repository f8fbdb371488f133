/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/log.h"
#include "px_board.h"

#define PER_TURN 64 /* then others have theirs */
#define FDS_MAX 8
#define WAITING_MAX 32 /* for answers that take longer */

struct px_control {
	struct px_loop *loop;
	int fd;
	px_command_h *command;
	void *arg;
	struct {
		enum px_control_command command;
		int reply;
	} waiting[WAITING_MAX];
	unsigned waitings;
};

/* What a command about one user says. */
static int parse_user(const struct px_control_request *q, struct px_command *out)
{
	char uri[3 * PX_AOR_MAX + 8], again[PX_AOR_MAX + 1];
	const char *at;

	if (q->key_len > PX_AOR_MAX || q->mailbox_len > PX_MAILBOX_MAX)
		return -EBADMSG;
	memcpy(out->key, q->text, q->key_len);
	at = strrchr(out->key, '@');
	if (!at || at == out->key || memchr(out->key, '\0', q->key_len) ||
	    px_key_uri(out->key, uri, sizeof uri) || px_key_from_aor(uri, strlen(uri), again) ||
	    strcmp(again, out->key) != 0)
		return -EBADMSG;
	if (q->mailbox_len > 0 && px_mailbox(q->text + q->key_len, q->mailbox_len, out->mailbox))
		return -EBADMSG;
	return 0;
}

/* What any other says. */
static int parse_text(const struct px_control_request *q, struct px_command *out)
{
	if (q->mailbox_len > 0)
		return -EBADMSG;
	for (size_t i = 0; i < q->key_len; i++)
		if (q->text[i] < ' ' || q->text[i] > '~')
			return -EBADMSG;
	memcpy(out->text, q->text, q->key_len);
	return 0;
}

int px_control_parse(const void *bytes, size_t n, int64_t now_ms, struct px_command *out)
{
	const size_t head = offsetof(struct px_control_request, text);
	struct px_control_request q = {0};
	int err;

	if (n < head || n > sizeof q)
		return -EBADMSG;
	memcpy(&q, bytes, n);
	if (q.magic != PX_CONTROL_MAGIC || q.command < PX_CONTROL_REFRESH ||
	    q.command >= PX_CONTROL_END || q.origin < PX_FROM_RPC || q.origin > PX_FROM_SCRIPT ||
	    PX_CONTROL_SIZE(&q) != n)
		return -EBADMSG;
	*out = (struct px_command){.command = (enum px_control_command)q.command,
	                           .origin = (uint8_t)q.origin};
	err = q.command <= PX_CONTROL_DISABLE ? parse_user(&q, out) : parse_text(&q, out);
	if (err < 0)
		return err;
	return now_ms < q.deadline ? 0 : -ETIMEDOUT;
}

/* An empty message looks the same to recvmsg. */
static bool ended(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

/* One message and the first descriptor that came with it (-1: none). False: there are no more. */
static bool receive(struct px_control *c, char *bytes, size_t size, ssize_t *n, int *reply)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct iovec v = {.iov_base = bytes, .iov_len = size};
	struct msghdr m = {.msg_iov = &v,
	                   .msg_iovlen = 1,
	                   .msg_control = &control,
	                   .msg_controllen = sizeof control};

	*reply = -1;
	do
		*n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (*n < 0 && errno == EINTR);
	if (*n < 0)
		return false;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (*reply < 0)
				*reply = fd;
			else
				close(fd);
		}
	}
	if (*n == 0 && ended(c->fd)) {
		/* nobody holds the other end any more: it would be readable for ever */
		px_loop_unwatch(c->loop, c->fd);
		return false;
	}
	if (m.msg_flags & MSG_TRUNC)
		*n = 0;
	return true;
}

/* Whoever asked may have gone, or sent no socket at all: nothing depends on it. */
static void answer(int reply, const struct px_control_answer *a)
{
	if (reply >= 0)
		(void)!send(reply, a, sizeof *a, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void ready(void *arg)
{
	struct px_control *c = arg;
	char bytes[sizeof(struct px_control_request)];
	int reply;
	ssize_t n;

	for (int i = 0; i < PER_TURN && receive(c, bytes, sizeof bytes, &n, &reply); i++) {
		struct px_control_answer a = {.magic = PX_CONTROL_MAGIC};
		struct px_command q;
		int err = px_control_parse(bytes, (size_t)n, px_loop_now(c->loop).mono.ms, &q);

		if (err == -EBADMSG)
			px_log(PX_LOG_WARN, "control: %zd bytes that are no command are dropped",
			       n);
		if (err == 0) {
			px_loop_mark(c->loop);
			c->command(c->arg, &q, &a);
		}
		if (err == 0 && a.status == -EINPROGRESS) {
			if (reply >= 0 && c->waitings < WAITING_MAX) {
				c->waiting[c->waitings].command = q.command;
				c->waiting[c->waitings++].reply = reply;
				continue;
			}
			a.status = -EAGAIN;
		}
		if (err == 0)
			answer(reply, &a);
		if (reply >= 0)
			close(reply);
	}
}

void px_control_answer(struct px_control *c, enum px_control_command command,
                       const struct px_control_answer *a)
{
	struct px_control_answer whole = *a;
	unsigned left = 0;

	whole.magic = PX_CONTROL_MAGIC;
	for (unsigned i = 0; i < c->waitings; i++) {
		if (c->waiting[i].command != command) {
			c->waiting[left++] = c->waiting[i];
			continue;
		}
		answer(c->waiting[i].reply, &whole);
		close(c->waiting[i].reply);
	}
	c->waitings = left;
}

int px_control_new(struct px_control **out, struct px_loop *loop, int fd, px_command_h *command,
                   void *arg)
{
	struct px_control *c = malloc(sizeof *c);
	int err = c ? 0 : -ENOMEM;

	if (c) {
		*c = (struct px_control){.loop = loop, .fd = fd, .command = command, .arg = arg};
		err = px_loop_watch(loop, fd, ready, c);
	}
	if (err < 0) {
		free(c);
		close(fd);
		return err;
	}
	*out = c;
	return 0;
}

void px_control_free(struct px_control *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->waitings; i++)
		close(c->waiting[i].reply);
	px_loop_unwatch(c->loop, c->fd);
	close(c->fd);
	free(c);
}
