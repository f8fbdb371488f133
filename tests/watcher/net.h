/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * net.h - the watcher's SIP: SUBSCRIBE out, its one final answer back, NOTIFY in. Knows messages
 * and connections; what they mean is subscription.h's business.
 */
#ifndef PW_NET_H
#define PW_NET_H

#include "subscription.h"

#include <sofia-sip/su_wait.h>

struct pw_net;

/* What net tells. All arguments are borrowed for the call; none may call pw_net_free(). */
struct pw_net_calls {
	/* exactly once for every pw_net_subscribe() that returned true */
	void (*answer)(void *arg, uint32_t slot, uint32_t generation, const struct pw_answer *a);
	/* a NOTIFY in a dialog of ours; returns the SIP status to answer it with */
	int (*notify)(void *arg, uint32_t slot, uint32_t generation, const struct pw_notify *n);
	/* a NOTIFY that belongs to no dialog of ours; it is answered 481 */
	void (*stray)(void *arg, const char *why);
	/* the connection to the server was closed, or broke (TCP only) */
	void (*lost)(void *arg);
};

/* Puts the library's timers on the monotonic clock. Before su_root_create(). */
void pw_net_clock(void);

/*
 * server: where everything is sent ("sip:127.0.0.1:5060;transport=tcp"). bind: "sip:127.0.0.1:*",
 * on the server's transport. from: the watcher's own address. NULL when the socket can't be had
 * or a URI is wrong; then *why says what.
 */
struct pw_net *pw_net_new(su_root_t *root, const char *bind, const char *server, const char *from,
                          const struct pw_net_calls *calls, void *arg, const char **why);
void pw_net_free(struct pw_net *net);

/* Sends a SUBSCRIBE for s as it is after pw_sub_sent(). False: it could not even be made. */
bool pw_net_subscribe(struct pw_net *net, const struct pw_sub *s, long expires_s);

/* Requests that were so broken that the library refused them by itself. */
unsigned pw_net_bad_requests(const struct pw_net *net);

#endif
