/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * notify.h - the UDP port where Exchange's NOTIFYs (WebDAV) arrive.
 *
 * They come from stores behind the front end, from any address, and can be forged: so the path of the URL that Exchange is
 * told holds a token of 128 random bits, and whoever doesn't know it isn't listened to. What is heard
 * is a hint and nothing else: whoever believes it asks Exchange itself. So nothing is answered, and nothing depends on one
 * that is lost.
 *
 * A flood costs little: PX_NOTIFY_BURST datagrams are looked at, and then none for PX_NOTIFY_REST_MS; the kernel drops what
 * its buffer can't hold meanwhile.
 */
#ifndef PX_IO_NOTIFY_H
#define PX_IO_NOTIFY_H

#include <stddef.h>
#include <stdint.h>

#include "io/loop.h"

struct px_notify_port;

#define PX_NOTIFY_BURST 256
#define PX_NOTIFY_REST_MS 50
#define PX_NOTIFY_WHY 160
#define PX_NOTIFY_URL_MAX 320

/* who: what was put behind the URL (8 hexadecimal digits), 0: nothing. ids: as they stand in the NOTIFY, n bytes, borrowed;
 * n 0: the store had nothing to name. */
typedef void px_notify_h(void *arg, uint32_t who, const char *ids, size_t n);

#define PX_NOTIFY_TOKEN 32 /* hexadecimal digits */
/* 0 or -EIO */
int px_notify_token(char out[PX_NOTIFY_TOKEN + 1]);

/*
 * listen: "[ADDRESS:]PORT" as in listen_udp; token: copied. 0 or a negative errno with a line for the operator; *out on
 * success only.
 */
int px_notify_new(struct px_notify_port **out, struct px_loop *loop, const char *listen,
                  const char *token, px_notify_h *heard, void *arg, char why[PX_NOTIFY_WHY]);
void px_notify_free(struct px_notify_port *p); /* NULL is fine; wipes the token */

/*
 * The URL that Exchange is told: httpu://HOST:PORT/TOKEN/, and whatever is put behind it. announce: "HOST[:PORT]", or NULL: the address that is listened on,
 * and `local` (an address of ours, IPv6 without brackets) where that is any. false: it isn't known yet (local NULL, and needed).
 */
bool px_notify_url(const struct px_notify_port *p, const char *announce, const char *local,
                   char out[PX_NOTIFY_URL_MAX]);

struct px_notify_counts {
	uint64_t heard;   /* with our token */
	uint64_t dropped; /* no NOTIFY, or not for us */
};
struct px_notify_counts px_notify_counts(const struct px_notify_port *p);
uint64_t px_notify_strays(const struct px_notify_port *p); /* dropped; NULL is fine */

#endif
