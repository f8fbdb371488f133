/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ids.h"

#include <string.h>

/* Real ids carry the mailbox's guid; a fixed run of bytes keeps them as long as real ones. */
static const unsigned char lead[32] = {
    0x00, 0x02, 0x64, 0x01, 0x00, 0x41, 0x44, 0x5a, 0x6a, 0x4e, 0x32, 0x59, 0x77, 0x4d, 0x57, 0x4e,
    0x6b, 0x46, 0x00, 0x00, 0x03, 0x92, 0x1c, 0x7d, 0x4b, 0xe0, 0x55, 0x29, 0x8f, 0x13, 0x6a, 0x07};

static void put32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (8 * i));
}

static uint32_t get32(const unsigned char *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

void ids_item(struct buf *b, uint32_t mailbox, uint32_t ordinal, uint32_t occurrence)
{
	unsigned char raw[93] = {0};

	memcpy(raw, lead, sizeof lead);
	memcpy(raw + 45, lead, sizeof lead);
	put32(raw + 32, mailbox);
	put32(raw + 36, ordinal);
	put32(raw + 40, occurrence);
	buf_base64(b, raw, sizeof raw);
}

void ids_change(struct buf *b, uint32_t change)
{
	unsigned char raw[18] = {0x0f, 0, 0, 0, 0x16};

	put32(raw + 12, change);
	buf_base64(b, raw, sizeof raw);
}

void ids_entry(struct buf *b, const struct meeting *m)
{
	buf_fmt(b, "00000000A1B2C3D4E5F60718293A4B5C6D7E8F900700%08X%08X0000", m->mailbox,
	        m->ordinal);
}

void ids_folder(struct buf *b, uint32_t mailbox, enum folder f)
{
	unsigned char raw[69] = {0};

	memcpy(raw, lead, sizeof lead);
	put32(raw + 32, mailbox);
	raw[36] = (unsigned char)f;
	buf_base64(b, raw, sizeof raw);
}

bool ids_folder_parse(const char *id, uint32_t *mailbox, enum folder *f)
{
	unsigned char raw[72];

	if (strlen(id) != 92 || base64_decode(raw, id, 92) != 69 ||
	    memcmp(raw, lead, sizeof lead) != 0 || raw[36] < FOLDER_CALENDAR ||
	    raw[36] > FOLDER_OTHER)
		return false;
	*mailbox = get32(raw + 32);
	*f = (enum folder)raw[36];
	return true;
}
