/* SPDX-License-Identifier: GPL-2.0-or-later */
/* px_key.h - how users and mailboxes are named, in the module and in the worker. */
#ifndef PX_KEY_H
#define PX_KEY_H

#include <stddef.h>
#include <stdint.h>

#define PX_AOR_MAX 255     /* bytes of a key, without the NUL */
#define PX_MAILBOX_MAX 255 /* bytes of a mailbox address */

/*
 * AoR -> key "user@host": scheme (sip:, sips:, none), port, parameters and headers dropped,
 * %-escapes undone (RFC 3261 §19.1.4), host lower-cased (IPv6 in brackets kept), user kept as it
 * is. Display names and <> are not accepted. 0, -EINVAL (no user, no host, a control character,
 * blank, NUL or a character that no SIP URI can carry back) or -ENAMETOOLONG (over PX_AOR_MAX); out
 * is written on success only.
 */
int px_key_from_aor(const char *aor, size_t n, char out[PX_AOR_MAX + 1]);

/* A mailbox's SMTP address (optional "smtp:" before it), ASCII lower-cased. 0, -EINVAL (not
 * local@domain) or -ENAMETOOLONG. */
int px_mailbox(const char *address, size_t n, char out[PX_MAILBOX_MAX + 1]);

/*
 * The key as a Request-URI "sip:user@host", with what RFC 3261 §25.1 does not allow in the user
 * part %-escaped. 0, or -ENAMETOOLONG when it doesn't fit in `size`.
 */
int px_key_uri(const char *key, char *out, size_t size);

/* Mixes all bytes; the same on every node, in every process and every release (ids in documents are
 * made of it). FNV-1a 64, finalised. */
uint64_t px_key_hash(const char *s, size_t n);

#endif
