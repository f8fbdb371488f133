/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notifier.h - sends the store's NOTIFY datagrams, from an address that isn't the front end's: 127.0.0.2, as a back end
 * sends them past its front end. Call-Backs are named by a numeric address or localhost; others are never reached.
 */
#ifndef EXCHANGE_NOTIFIER_H
#define EXCHANGE_NOTIFIER_H

#include <stddef.h>

struct notifier {
	int fd4, fd6;
};

int notifier_init(struct notifier *n); /* 0 or a negative errno */
void notifier_free(struct notifier *n);
/* A davsub_send_fn; arg is a struct notifier. What can't be sent is lost, as datagrams are. */
void notifier_send(void *arg, const char *call_back, const char *datagram, size_t len);

#endif
