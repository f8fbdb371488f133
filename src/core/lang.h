/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lang.h - the few words that people read, in the languages that are built in. */
#ifndef PX_LANG_H
#define PX_LANG_H

#include <stdbool.h>
#include <stddef.h>

#define PX_LANG_TAG_MAX 35 /* bytes: RFC 5646 §4.4.1 */

/* UTF-8; static. */
struct px_lang {
	const char *tag; /* "de" */
	const char *available, *busy, *away;
	const char *meeting;         /* "Besprechung": before its time or its subject */
	const char *private_meeting; /* one of which no more may be said */
};

/*
 * The built-in language for a tag: of "de-CH-1996" the parts behind the last hyphen are dropped until one is known (RFC 4647 §3.4, lookup).
 * Whatever its case. NULL: there is none.
 */
const struct px_lang *px_lang_find(const char *tag);

/* Whether n bytes are a language tag by their form (RFC 5646 §2.1): letters and digits in parts of 1 to 8, the first of 2 to 8 letters. */
bool px_lang_tag(const char *s, size_t n);

/* "en, de, ...": for a complaint. */
const char *px_lang_list(void);

#endif
