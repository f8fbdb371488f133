/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ids.h - the opaque identifiers that Exchange gives to folders and items: long base64 texts.
 */
#ifndef EXCHANGE_IDS_H
#define EXCHANGE_IDS_H

#include <stdbool.h>

#include "buf.h"
#include "store.h"

/* occurrence: which of a series, or IDS_MASTER for the meeting itself */
#define IDS_MASTER UINT32_MAX
void ids_item(struct buf *b, uint32_t mailbox, uint32_t ordinal, uint32_t occurrence);
void ids_change(struct buf *b, uint32_t change);
/* the entry id in hexadecimal that availability answers carry */
void ids_entry(struct buf *b, const struct meeting *m);

enum folder { FOLDER_CALENDAR = 1, FOLDER_DELETED = 2, FOLDER_OTHER = 3 };
void ids_folder(struct buf *b, uint32_t mailbox, enum folder f);
/* False: not an id of this server. */
bool ids_folder_parse(const char *id, uint32_t *mailbox, enum folder *f);

#endif
