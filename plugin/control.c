/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "px_board.h"

static int64_t mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* With a socket for the answer; reply -1: without. */
static int send_with(int fd, const struct px_control_request *q, int reply)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec v = {.iov_base = (void *)q, .iov_len = PX_CONTROL_SIZE(q)};
	struct msghdr m = {.msg_iov = &v,
	                   .msg_iovlen = 1,
	                   .msg_control = &control,
	                   .msg_controllen = sizeof control};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	ssize_t n;

	if (reply < 0) {
		m.msg_control = NULL;
		m.msg_controllen = 0;
	} else {
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof reply);
		memcpy(CMSG_DATA(h), &reply, sizeof reply);
	}
	do
		n = sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* The answer at fd, until `deadline`. */
static int await(int fd, int64_t deadline, struct px_control_answer *out)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ssize_t n;

	for (;;) {
		const int64_t left = deadline - mono_ms();
		const int ready = left > 0 ? poll(&p, 1, (int)left) : 0;

		if (ready > 0)
			break;
		if (ready == 0)
			return -ETIMEDOUT;
		if (errno != EINTR)
			return -errno;
	}
	n = recv(fd, out, sizeof *out, MSG_DONTWAIT);
	if (n == 0)
		return -ETIMEDOUT; /* it was dropped: too late, or the worker died over it */
	if (n != (ssize_t)sizeof *out || out->magic != PX_CONTROL_MAGIC)
		return -EPROTO;
	out->said[sizeof out->said - 1] = '\0';
	return 0;
}

static int fill(struct px_control_request *q, const char *key, const char *mailbox)
{
	const size_t key_len = strlen(key), mailbox_len = mailbox ? strlen(mailbox) : 0;

	if (key_len + mailbox_len > sizeof q->text)
		return -ENAMETOOLONG;
	q->key_len = (uint16_t)key_len;
	q->mailbox_len = (uint16_t)mailbox_len;
	memcpy(q->text, key, key_len);
	if (mailbox)
		memcpy(q->text + key_len, mailbox, mailbox_len);
	return 0;
}

int px_control_ask(int fd, enum px_control_command command, const char *key, const char *mailbox,
                   int64_t now_ms, int timeout_ms, struct px_control_answer *out)
{
	struct px_control_request q = {.magic = PX_CONTROL_MAGIC,
	                               .command = command,
	                               .deadline = now_ms + timeout_ms,
	                               .origin = PX_FROM_RPC};
	int pair[2], err = fill(&q, key, mailbox);

	if (err < 0)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	err = send_with(fd, &q, pair[1]);
	close(pair[1]);
	if (err == 0)
		err = await(pair[0], q.deadline, out);
	close(pair[0]);
	return err;
}

int px_control_send(int fd, enum px_control_command command, const char *key, const char *mailbox,
                    int64_t deadline_ms)
{
	struct px_control_request q = {.magic = PX_CONTROL_MAGIC,
	                               .command = command,
	                               .deadline = deadline_ms,
	                               .origin = PX_FROM_SCRIPT};
	const int err = fill(&q, key, mailbox);

	return err < 0 ? err : send_with(fd, &q, -1);
}

bool px_control_waits(int fd)
{
	int bytes = 0; /* sent and not received yet */

	return ioctl(fd, SIOCOUTQ, &bytes) < 0 || bytes > 0;
}
