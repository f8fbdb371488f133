/* SPDX-License-Identifier: GPL-2.0-or-later */
/* answer.h - what every backend does with a server's answer: tables of meanings, and bytes from outside made fit to be shown. */
#ifndef PX_ANSWER_H
#define PX_ANSWER_H

#include <stddef.h>

#include "core/backend.h"

#define PX_BACKOFF_WISH_MAX 3600000 /* ms; a server that wishes for more isn't believed */

/* What a code means. Codes: the protocol's own, "HTTP 503", or a word of ours ("connect"). */
struct px_meaning {
	const char *code;
	enum px_verdict verdict;
	const char *hint; /* what it means here and what to do; NULL: the code says it */
};
/* table: n rows sorted by code. NULL: unknown. */
const struct px_meaning *px_meaning_of(const struct px_meaning *table, size_t n, const char *code);

const char *px_http_fail_code(enum px_http_fail fail); /* "connect", ...: our words for no answer */

/* Fills verdict, code and detail from a row (NULL: TRANSIENT) and what else is known (NULL: nothing). */
void px_conclude(struct px_reply *out, const struct px_meaning *row, const char *code,
                 const char *more);

/* Copies n bytes from outside as a code ([A-Za-z0-9 _.-], the rest left out) or as a line of text
 * (UTF-8; white space, control and format characters become one space), cut to fit size and ended
 * by NUL. */
void px_answer_code(char *out, size_t size, const char *s, size_t n);
void px_answer_text(char *out, size_t size, const char *s, size_t n);

#endif
