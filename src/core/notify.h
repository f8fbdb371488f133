/* SPDX-License-Identifier: GPL-2.0-or-later */
/* notify.h - one NOTIFY datagram of an Exchange store (HTTP over UDP: Exchange SDK, "NOTIFY Method"). */
#ifndef PX_NOTIFY_H
#define PX_NOTIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PX_NOTIFY_MAX 8192 /* bytes of a datagram; a longer one is none of ours */

/* Parts of the datagram, borrowed from it. */
struct px_notify {
	const char *path; /* of the Request-URI, "/..." */
	size_t path_len;
	const char *
	    ids; /* Subscription-id, without blanks around; NULL: there is none, as when a store shuts down */
	size_t ids_len;
};

/* "NOTIFY httpu://HOST:PORT/PATH HTTP/1.1" and headers; also with a path alone, and with bare LF. */
bool px_notify_parse(const char *bytes, size_t n, struct px_notify *out);

/* The number of 8 hexadecimal digits with which the path ends, behind a "/"; 0: it doesn't end so. */
uint32_t px_notify_who(const struct px_notify *n);

/* Whether the path is "/TOKEN" or begins with "/TOKEN/"; takes the same time wherever they differ. */
bool px_notify_is_for(const struct px_notify *n, const char *token);

#endif
