/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "notifier.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "davsub.h"

#define BACK_END 0x7f000002 /* 127.0.0.2 */

int notifier_init(struct notifier *n)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(BACK_END)};

	n->fd4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	n->fd6 =
	    socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); /* not everywhere */
	if (n->fd4 < 0 || bind(n->fd4, (struct sockaddr *)&sa, sizeof sa) < 0)
		return -errno;
	return 0;
}

void notifier_free(struct notifier *n)
{
	close(n->fd4);
	if (n->fd6 >= 0)
		close(n->fd6);
}

void notifier_send(void *arg, const char *call_back, const char *datagram, size_t len)
{
	const struct addrinfo want = {.ai_socktype = SOCK_DGRAM,
	                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	struct notifier *n = arg;
	struct addrinfo *found = NULL;
	char host[CALL_BACK_MAX], service[8];
	unsigned port;
	int fd;

	if (!call_back_parse(call_back, host, &port))
		return;
	snprintf(service, sizeof service, "%u", port);
	if (getaddrinfo(strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : host, service, &want,
	                &found) != 0)
		return;
	fd = found->ai_family == AF_INET ? n->fd4 : n->fd6;
	(void)!sendto(fd, datagram, len, 0, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
}
