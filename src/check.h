/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * check.h - the troubleshooter (core/check.h) at work: its requests go over connections and logins of its own, so that the service
 * isn't disturbed, and with the service's own eyes: the same TLS, logins, requests and parsers.
 */
#ifndef PX_CHECKER_H
#define PX_CHECKER_H

#include "core/check.h"
#include "io/http.h"

struct px_checker;

/* What is checked; all copied. The gateways are those of `http`, with its indices; name NULL: a place without one. */
struct px_checker_config {
	const struct px_backend *backend;
	unsigned gateways;
	const char *const *name, *const *url;
	int only; /* this gateway alone; negative: all */
	const char *const *mailbox;
	unsigned mailboxes, wanted; /* core/check.h */
	unsigned kinds;
	const char *held, *hints;
};

/* Begins a run. 0 or a negative errno with a line in why. */
int px_checker_new(struct px_checker **out, struct px_loop *loop, const struct px_http *http,
                   const struct px_checker_config *c, char why[PX_HTTP_WHY]);
void px_checker_free(struct px_checker *k); /* ends what is under way; NULL is fine */

void px_checker_pump(struct px_checker *k); /* once per turn: starts what may start */
bool px_checker_ended(const struct px_checker *k);

/*
 * How it has gone so far. One line for each step, its fields parted by a tab: gateway, step, result, text. Steps that are skipped
 * without a word are left out.
 */
void px_checker_rows(const struct px_checker *k, struct px_buf *out);
/* The same for people. How many gateways have a step that failed. */
unsigned px_checker_page(const struct px_checker *k, struct px_buf *out);

#endif
