/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * davsql.h - the SQL of the Exchange store's SEARCH method: one SELECT over a folder. No I/O, no clock.
 *
 *   SELECT "a","b" | * FROM "path" | Scope('SHALLOW|DEEP|HIERARCHICAL TRAVERSAL OF "path"')
 *   [WHERE condition] [ORDER BY "a" [ASC|DESC], ...]
 *
 * Conditions: AND, OR, NOT, parentheses, = != <> < <= > >= between a property and a literal, IS [NOT] NULL,
 * LIKE with % and _. Literals: 'text', numbers, true, false, CAST(literal AS 'type'). A property that a
 * resource doesn't have makes a comparison unknown, and NOT leaves it unknown, as SQL has it.
 */
#ifndef EXCHANGE_DAVSQL_H
#define EXCHANGE_DAVSQL_H

#include "davprop.h"

#define SQL_COLUMNS_MAX 64
#define SQL_ORDER_MAX 8
#define SQL_NODES_MAX 256

enum traversal { TRAVERSAL_SHALLOW, TRAVERSAL_DEEP, TRAVERSAL_HIERARCHICAL };

enum sql_op {
	SQL_AND,
	SQL_OR,
	SQL_NOT,
	SQL_EQ,
	SQL_NE,
	SQL_LT,
	SQL_LE,
	SQL_GT,
	SQL_GE,
	SQL_LIKE,
	SQL_IS_NULL,
	SQL_NOT_NULL
};

struct sql_node {
	enum sql_op op;
	int left, right; /* of AND and OR; NOT has left alone */
	char *column;    /* own memory, as the texts below */
	char *text;      /* the literal as it was written */
	int64_t n;       /* and as a number, a time or a truth where the property is one */
};

struct sql {
	char *columns[SQL_COLUMNS_MAX];
	unsigned ncolumns; /* 0: all (*) */
	char *path;        /* of the scope; may be a whole URL */
	enum traversal traversal;
	struct sql_node nodes[SQL_NODES_MAX];
	int nnodes, root; /* root -1: no WHERE */
	struct {
		char *column;
		bool descending;
	} order[SQL_ORDER_MAX];
	unsigned norder;
};

#define SQL_WHY 160
/* False: not a statement the store understands; why says what is wrong. The caller frees q in both cases. */
bool sql_parse(const char *text, struct sql *q, char why[SQL_WHY]);
void sql_free(struct sql *q);

/* Is the condition true for this resource? Without WHERE it is. */
bool sql_match(const struct sql *q, const struct davbase *base, const struct resource *r);
/*
 * The time that the condition is about, when it bounds dtstart or dtend from both sides by what must all
 * hold (AND): then the store expands series. False: it doesn't, and masters stand for their series.
 */
bool sql_range(const struct sql *q, int64_t *from, int64_t *to);
/* As qsort's comparison: by ORDER BY, 0 when that doesn't tell them apart. */
int sql_compare(const struct sql *q, const struct davbase *base, const struct resource *a,
                const struct resource *b);

#endif
