/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sip.h - nta: one PUBLISH out, one final answer back (RFC 3261, RFC 3903).
 */
#ifndef PX_SIP_H
#define PX_SIP_H

#include "core/engine.h"
#include "io/loop.h"

struct px_sip;

typedef void px_sip_done_h(void *arg, uint64_t id, const struct px_sip_answer *a);

struct px_sip_config {
	const char *const *server; /* "sip:127.0.0.1:5060;transport=tcp", in order of preference */
	unsigned servers;
	const char *bind;          /* NULL: any port on the address that reaches the server */
	px_sip_done_h *done;       /* exactly once per start; may come from library callbacks: only tell and mark */
	void *arg;
};

/* 0 or a negative errno, with a line for the operator in why. *out on success only. */
int px_sip_new(struct px_sip **out, struct px_loop *loop, const struct px_sip_config *c, char why[256]);
void px_sip_free(struct px_sip *s); /* ends everything, calls nothing */

/* Sends what the action (PX_DO_SIP_START) says. Never fails visibly: what can't be sent ends in done(PX_SIP_LOCAL). */
void px_sip_publish(struct px_sip *s, const struct px_action *a);

#endif
