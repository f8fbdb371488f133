/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * remote.h - what an operator asks and commands from outside: Kamailio's RPC, OpenSIPS' MI. Each
 * proxy hands over the words of a request and a place for the answer.
 */
#ifndef PX_REMOTE_H
#define PX_REMOTE_H

#include "module.h"
#include "px_control.h"
#include "show.h"

#define PX_REMOTE_SAID_MAX (PX_CONTROL_SAID_MAX + 1)
#define PX_REMOTE_WORDS_MAX 16

#define PX_REMOTE_WORD_MAX 1023 /* more can't be an AoR with all its parameters; it is cut */

struct px_remote {
	const struct px_module *module;
	const struct px_rows *rows;    /* where the answer goes */
	char said[PX_REMOTE_SAID_MAX]; /* why it is refused */
	size_t words;
	char word[PX_REMOTE_WORDS_MAX][PX_REMOTE_WORD_MAX + 1]; /* of the request */
};

/* Takes one more word, as far as there is room; copied, as a proxy may convert each in the same place. */
void px_remote_word(struct px_remote *r, const char *word, size_t len);

/* What a command answers with: one row, a list of rows, or nothing (the proxy says ok). */
enum px_remote_form { PX_REMOTE_ROW, PX_REMOTE_LIST, PX_REMOTE_OK };

/*
 * The commands: X(name, form, parameters, help). Parameters are in order; a bare word of a request is the value of the next one,
 * except that those of `users` are given as NAME=VALUE (see px_users_query_word).
 */
#define PX_REMOTE(X)                                                                               \
	X(users, PX_REMOTE_ROW, "offset limit status watch gateway match",                         \
	  "Users, a page at a time: [offset [limit]] and status=, gateway=, watch=, match=")       \
	X(user, PX_REMOTE_ROW, "aor", "Everything about one user: AOR")                            \
	X(gateways, PX_REMOTE_LIST, "", "The gateways: health, users, requests, errors")           \
	X(stats, PX_REMOTE_ROW, "", "The worker, the login, and all statistics")                   \
	X(enable, PX_REMOTE_OK, "aor mailbox", "Follows a user's calendar: AOR [MAILBOX]")         \
	X(disable, PX_REMOTE_OK, "aor", "Withdraws a user's presence and stops following: AOR")    \
	X(refresh, PX_REMOTE_OK, "aor",                                                            \
	  "Reads a user's calendar now and verifies its publication: AOR")                         \
	X(reload, PX_REMOTE_ROW, "removing",                                                       \
	  "Reads users, gateways, account and password again: [removing]")                         \
	X(active, PX_REMOTE_ROW, "state", "Whether this node publishes: [on|off]")                 \
	X(gateway_add, PX_REMOTE_OK, "gateway", "Adds a gateway, as the setting: URL[;...]")       \
	X(gateway_remove, PX_REMOTE_OK, "gateway", "Takes a gateway out, its users move: NAME")    \
	X(check, PX_REMOTE_ROW, "whom",                                                            \
	  "What is wrong with a gateway or a user, or with all gateways: [NAME|AOR]")

/* One function for each. 0, or a code as HTTP has them (400, 404, 500, 503, 507) and said. Takes 2 s at most. */
#define PX_REMOTE_FUNCTION(name, form, parameters, help) int px_remote_##name(struct px_remote *r);
PX_REMOTE(PX_REMOTE_FUNCTION)
#undef PX_REMOTE_FUNCTION

#endif
