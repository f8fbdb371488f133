/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "davsql.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32

/* --- words --- */
enum token { T_END, T_WORD, T_NAME, T_TEXT, T_NUMBER, T_SIGN, T_BAD };

struct parser {
	const char *p;
	enum token token;
	char *text; /* of the token, own memory */
	struct sql *q;
	char *why;
	int depth;
};

static __attribute__((format(printf, 2, 3))) bool wrong(struct parser *s, const char *fmt, ...)
{
	va_list ap;

	if (!*s->why) {
		va_start(ap, fmt);
		vsnprintf(s->why, SQL_WHY, fmt, ap);
		va_end(ap);
	}
	return false;
}

/* What stands between two of these quotes; a doubled one is one. */
static bool quoted(struct parser *s, char quote)
{
	struct buf b = {0};

	for (s->p++; *s->p; s->p++) {
		if (*s->p == quote && s->p[1] == quote) {
			s->p++;
		} else if (*s->p == quote) {
			s->p++;
			buf_str(&b, "");
			s->text = b.p ? b.p : xstrdup("");
			return true;
		}
		buf_add(&b, s->p, 1);
	}
	buf_free(&b);
	return false;
}

static void next(struct parser *s)
{
	const char *from;

	free(s->text);
	s->text = NULL;
	while (isspace((unsigned char)*s->p))
		s->p++;
	from = s->p;
	if (!*from) {
		s->token = T_END;
	} else if (*from == '"' || *from == '\'') {
		s->token = *from == '"' ? T_NAME : T_TEXT;
		if (!quoted(s, *from))
			s->token = T_BAD;
		return;
	} else if (isalpha((unsigned char)*from)) {
		s->token = T_WORD;
		while (isalnum((unsigned char)*s->p) || *s->p == '_')
			s->p++;
	} else if (isdigit((unsigned char)*from) ||
	           (*from == '-' && isdigit((unsigned char)from[1]))) {
		s->token = T_NUMBER;
		s->p++;
		while (isdigit((unsigned char)*s->p))
			s->p++;
	} else if (strchr("<>!=", *from)) {
		s->token = T_SIGN;
		s->p += from[1] == '=' || (*from == '<' && from[1] == '>') ? 2 : 1;
	} else if (strchr("(),*", *from)) {
		s->token = T_SIGN;
		s->p++;
	} else {
		s->token = T_BAD;
		s->p++;
	}
	s->text = xcalloc(1, (size_t)(s->p - from) + 1);
	memcpy(s->text, from, (size_t)(s->p - from));
}

static bool is_word(const struct parser *s, const char *word)
{
	return s->token == T_WORD && strcasecmp(s->text, word) == 0;
}

static bool is_sign(const struct parser *s, const char *sign)
{
	return s->token == T_SIGN && strcmp(s->text, sign) == 0;
}

static bool take_word(struct parser *s, const char *word)
{
	if (!is_word(s, word))
		return false;
	next(s);
	return true;
}

static bool take_sign(struct parser *s, const char *sign)
{
	if (!is_sign(s, sign))
		return false;
	next(s);
	return true;
}

static bool need_word(struct parser *s, const char *word)
{
	return take_word(s, word) ||
	       wrong(s, "%s is needed before \"%.20s\"", word, s->text ? s->text : "the end");
}

static bool need_sign(struct parser *s, const char *sign)
{
	return take_sign(s, sign) ||
	       wrong(s, "%s is needed before \"%.20s\"", sign, s->text ? s->text : "the end");
}

/* A property's name in double quotes; NULL: there is none. */
static char *column(struct parser *s)
{
	char *name;

	if (s->token != T_NAME || !davprop_local(s->text)) {
		wrong(s, "a property's name in double quotes is needed, not %.20s",
		      s->text ? s->text : "the end");
		return NULL;
	}
	name = xstrdup(s->text);
	next(s);
	return name;
}

/* --- conditions --- */
static int node(struct parser *s, enum sql_op op, int left, int right)
{
	if (s->q->nnodes == SQL_NODES_MAX) {
		wrong(s, "the condition is too long");
		return -1;
	}
	s->q->nodes[s->q->nnodes] = (struct sql_node){.op = op, .left = left, .right = right};
	return s->q->nnodes++;
}

/* The literal of a comparison, into n; CAST only says what the property's type says already. */
static bool literal(struct parser *s, struct sql_node *n)
{
	enum value_type type = davprop_type(n->column);
	bool cast = take_word(s, "CAST"), word = is_word(s, "true") || is_word(s, "false");
	char *end;

	if (cast && !need_sign(s, "("))
		return false;
	word = is_word(s, "true") || is_word(s, "false");
	if (!word && s->token != T_TEXT && s->token != T_NUMBER && !(cast && s->token == T_NAME))
		return wrong(s, "a value is needed before \"%.20s\"",
		             s->text ? s->text : "the end");
	n->text = xstrdup(s->text);
	next(s);
	if (cast) {
		if (!need_word(s, "AS"))
			return false;
		if (s->token != T_TEXT && s->token != T_NAME)
			return wrong(s, "CAST needs a type in quotes");
		next(s);
		if (!need_sign(s, ")"))
			return false;
	}
	if (type == VALUE_TIME && n->op != SQL_LIKE)
		return davprop_time(n->text, &n->n) || wrong(s, "\"%.40s\" is not a time", n->text);
	if (type == VALUE_BOOL) {
		n->n = strcasecmp(n->text, "true") == 0 || strcmp(n->text, "1") == 0;
		return n->n || strcasecmp(n->text, "false") == 0 || strcmp(n->text, "0") == 0 ||
		       wrong(s, "\"%.40s\" is neither true nor false", n->text);
	}
	if (type == VALUE_INT) {
		errno = 0;
		n->n = strtoll(n->text, &end, 10);
		return (!errno && end != n->text && !*end) ||
		       wrong(s, "\"%.40s\" is not a number", n->text);
	}
	return true;
}

static int comparison(struct parser *s)
{
	static const struct {
		const char *sign;
		enum sql_op op;
	} signs[] = {{"=", SQL_EQ},  {"!=", SQL_NE}, {"<>", SQL_NE}, {"<", SQL_LT},
	             {"<=", SQL_LE}, {">", SQL_GT},  {">=", SQL_GE}};
	int at = node(s, SQL_EQ, -1, -1);
	struct sql_node *n;

	if (at < 0)
		return -1;
	n = &s->q->nodes[at];
	n->column = column(s);
	if (!n->column)
		return -1;
	if (take_word(s, "IS")) {
		n->op = take_word(s, "NOT") ? SQL_NOT_NULL : SQL_IS_NULL;
		return need_word(s, "NULL") ? at : -1;
	}
	if (take_word(s, "LIKE")) {
		n->op = SQL_LIKE;
		return literal(s, n) ? at : -1;
	}
	for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
		if (take_sign(s, signs[i].sign)) {
			n->op = signs[i].op;
			return literal(s, n) ? at : -1;
		}
	wrong(s, "a comparison is needed before \"%.20s\"", s->text ? s->text : "the end");
	return -1;
}

static int either(struct parser *s);

static int factor(struct parser *s)
{
	int at;

	if (++s->depth > DEPTH_MAX) {
		wrong(s, "the condition is too deep");
		return -1;
	}
	if (take_word(s, "NOT")) {
		at = factor(s);
		at = at < 0 ? -1 : node(s, SQL_NOT, at, -1);
	} else if (take_sign(s, "(")) {
		at = either(s);
		if (at >= 0 && !need_sign(s, ")"))
			at = -1;
	} else {
		at = comparison(s);
	}
	s->depth--;
	return at;
}

static int both(struct parser *s)
{
	int left = factor(s), right;

	while (left >= 0 && take_word(s, "AND")) {
		right = factor(s);
		left = right < 0 ? -1 : node(s, SQL_AND, left, right);
	}
	return left;
}

static int either(struct parser *s)
{
	int left = both(s), right;

	while (left >= 0 && take_word(s, "OR")) {
		right = both(s);
		left = right < 0 ? -1 : node(s, SQL_OR, left, right);
	}
	return left;
}

/* --- the statement --- */
static bool columns(struct parser *s)
{
	struct sql *q = s->q;

	if (take_sign(s, "*"))
		return true;
	do {
		if (q->ncolumns == SQL_COLUMNS_MAX)
			return wrong(s, "too many properties");
		q->columns[q->ncolumns] = column(s);
		if (!q->columns[q->ncolumns])
			return false;
		q->ncolumns++;
	} while (take_sign(s, ","));
	return true;
}

/* What stands inside Scope('...') */
static bool traversal(struct parser *outer, const char *text)
{
	char why[SQL_WHY] = "";
	struct parser s = {.p = text, .q = outer->q, .why = why};
	bool good = true;

	next(&s);
	if (take_word(&s, "DEEP"))
		s.q->traversal = TRAVERSAL_DEEP;
	else if (take_word(&s, "HIERARCHICAL"))
		s.q->traversal = TRAVERSAL_HIERARCHICAL;
	else
		good = need_word(&s, "SHALLOW");
	good = good && need_word(&s, "TRAVERSAL") && need_word(&s, "OF");
	if (good && s.token == T_NAME) {
		s.q->path = xstrdup(s.text);
		next(&s);
	}
	good = good && s.q->path && s.token == T_END;
	free(s.text);
	return good || wrong(outer, "Scope needs 'SHALLOW TRAVERSAL OF \"path\"'");
}

static bool from(struct parser *s)
{
	bool good;

	if (s->token == T_NAME) {
		s->q->path = xstrdup(s->text);
		next(s);
		return true;
	}
	if (!need_word(s, "SCOPE") || !need_sign(s, "("))
		return false;
	if (s->token != T_TEXT)
		return wrong(s, "Scope needs a text in single quotes");
	good = traversal(s, s->text);
	next(s);
	return good && need_sign(s, ")");
}

static bool order(struct parser *s)
{
	struct sql *q = s->q;

	do {
		if (q->norder == SQL_ORDER_MAX)
			return wrong(s, "too much to order by");
		q->order[q->norder].column = column(s);
		if (!q->order[q->norder].column)
			return false;
		q->order[q->norder].descending = take_word(s, "DESC");
		if (!q->order[q->norder++].descending)
			take_word(s, "ASC");
	} while (take_sign(s, ","));
	return true;
}

static bool statement(struct parser *s)
{
	next(s);
	if (!need_word(s, "SELECT") || !columns(s) || !need_word(s, "FROM") || !from(s))
		return false;
	if (take_word(s, "WHERE")) {
		s->q->root = either(s);
		if (s->q->root < 0)
			return false;
	}
	if (take_word(s, "ORDER") && (!need_word(s, "BY") || !order(s)))
		return false;
	return s->token == T_END || wrong(s, "\"%.20s\" is not understood", s->text ? s->text : "");
}

bool sql_parse(const char *text, struct sql *q, char why[SQL_WHY])
{
	struct parser s = {.p = text, .q = q, .why = why};
	bool good;

	*q = (struct sql){.root = -1};
	*why = '\0';
	good = statement(&s);
	free(s.text);
	return good;
}

void sql_free(struct sql *q)
{
	for (unsigned i = 0; i < q->ncolumns; i++)
		free(q->columns[i]);
	for (unsigned i = 0; i < q->norder; i++)
		free(q->order[i].column);
	for (int i = 0; i < q->nnodes; i++) {
		free(q->nodes[i].column);
		free(q->nodes[i].text);
	}
	free(q->path);
}

/* --- what holds --- */
enum truth { IS_FALSE, IS_TRUE, IS_UNKNOWN };

static bool like(const char *pattern, const char *s)
{
	for (; *pattern; pattern++, s++) {
		if (*pattern == '%') {
			for (;; s++) {
				if (like(pattern + 1, s))
					return true;
				if (!*s)
					return false;
			}
		}
		if (!*s || (*pattern != '_' &&
		            tolower((unsigned char)*pattern) != tolower((unsigned char)*s)))
			return false;
	}
	return !*s;
}

static enum truth compare(const struct sql_node *n, const struct davbase *base,
                          const struct resource *r)
{
	struct value v;
	bool has = davprop_get(base, r, n->column, &v);
	int64_t d = 0;
	enum truth t;

	if (n->op == SQL_IS_NULL || n->op == SQL_NOT_NULL) {
		t = has == (n->op == SQL_NOT_NULL) ? IS_TRUE : IS_FALSE;
	} else if (!has) {
		t = IS_UNKNOWN;
	} else if (n->op == SQL_LIKE) {
		t = v.type == VALUE_TEXT && like(n->text, v.text.p) ? IS_TRUE : IS_FALSE;
	} else {
		d = v.type == VALUE_TEXT ? strcasecmp(v.text.p, n->text) : v.n - n->n;
		t = n->op == SQL_EQ   ? d == 0
		    : n->op == SQL_NE ? d != 0
		    : n->op == SQL_LT ? d < 0
		    : n->op == SQL_LE ? d <= 0
		    : n->op == SQL_GT ? d > 0
		                      : d >= 0;
	}
	buf_free(&v.text);
	return t;
}

static enum truth holds(const struct sql *q, int at, const struct davbase *base,
                        const struct resource *r)
{
	const struct sql_node *n = &q->nodes[at];
	enum truth a, b;

	if (n->op == SQL_NOT) {
		a = holds(q, n->left, base, r);
		return a == IS_UNKNOWN ? IS_UNKNOWN : a == IS_TRUE ? IS_FALSE : IS_TRUE;
	}
	if (n->op != SQL_AND && n->op != SQL_OR)
		return compare(n, base, r);
	a = holds(q, n->left, base, r);
	b = holds(q, n->right, base, r);
	if (n->op == SQL_AND)
		return a == IS_FALSE || b == IS_FALSE ? IS_FALSE
		       : a == IS_TRUE && b == IS_TRUE ? IS_TRUE
		                                      : IS_UNKNOWN;
	return a == IS_TRUE || b == IS_TRUE     ? IS_TRUE
	       : a == IS_FALSE && b == IS_FALSE ? IS_FALSE
	                                        : IS_UNKNOWN;
}

bool sql_match(const struct sql *q, const struct davbase *base, const struct resource *r)
{
	return q->root < 0 || holds(q, q->root, base, r) == IS_TRUE;
}

static void bounds(const struct sql *q, int at, int64_t *from, int64_t *to)
{
	const struct sql_node *n = &q->nodes[at];

	if (n->op == SQL_AND) {
		bounds(q, n->left, from, to);
		bounds(q, n->right, from, to);
		return;
	}
	if (!n->column || (strcmp(n->column, NS_CALENDAR "dtstart") != 0 &&
	                   strcmp(n->column, NS_CALENDAR "dtend") != 0))
		return;
	if ((n->op == SQL_GT || n->op == SQL_GE) && n->n > *from)
		*from = n->n;
	if ((n->op == SQL_LT || n->op == SQL_LE) && n->n < *to)
		*to = n->n;
}

bool sql_range(const struct sql *q, int64_t *from, int64_t *to)
{
	*from = INT64_MIN;
	*to = INT64_MAX;
	if (q->root >= 0)
		bounds(q, q->root, from, to);
	return *from != INT64_MIN && *to != INT64_MAX;
}

int sql_compare(const struct sql *q, const struct davbase *base, const struct resource *a,
                const struct resource *b)
{
	for (unsigned i = 0; i < q->norder; i++) {
		struct value x, y;
		bool has_x = davprop_get(base, a, q->order[i].column, &x);
		bool has_y = davprop_get(base, b, q->order[i].column, &y);
		int d;

		if (has_x && has_y && x.type == VALUE_TEXT)
			d = strcasecmp(x.text.p, y.text.p);
		else if (has_x && has_y)
			d = (x.n > y.n) - (x.n < y.n);
		else
			d = has_x - has_y;
		buf_free(&x.text);
		buf_free(&y.text);
		if (d)
			return q->order[i].descending ? -d : d;
	}
	return 0;
}
