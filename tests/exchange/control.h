/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * control.h - the control port: plain HTTP with JSON, described in README.md beside this file.
 */
#ifndef EXCHANGE_CONTROL_H
#define EXCHANGE_CONTROL_H

#include "front.h"

struct control;

/* port 0: a free one. NULL: it can't listen there. */
struct control *control_new(int port, unsigned ncas, struct loop *loop, struct ews *ews,
                            struct front *front, struct dav *dav);
void control_free(struct control *c);
int control_port(const struct control *c);

#endif
