/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "oracle.h"

#include <string.h>

static int rank(enum status s)
{
	switch (s) {
	case STATUS_OOF:
		return 4;
	case STATUS_BUSY:
		return 3;
	case STATUS_TENTATIVE:
		return 2;
	case STATUS_ELSEWHERE:
		return 1;
	case STATUS_FREE:
		break;
	}
	return 0;
}

static const char *availability(enum status s)
{
	return s == STATUS_OOF ? "away" : s == STATUS_BUSY ? "busy" : "available";
}

struct look {
	int64_t at;
	enum status status;
	int64_t next; /* the first boundary after at; INT64_MAX: none */
};

static void interval(struct look *l, enum status status, int64_t start, int64_t end)
{
	if (end <= start)
		return;
	if (start <= l->at && l->at < end && rank(status) > rank(l->status))
		l->status = status;
	if (start > l->at && start < l->next)
		l->next = start;
	if (end > l->at && end < l->next)
		l->next = end;
}

static bool regular(const struct meeting *m, int64_t i)
{
	if (i < 0 || (m->count && i >= m->count))
		return false;
	for (unsigned e = 0; e < m->nexc; e++)
		if (m->exc[e].index == i)
			return false;
	return true;
}

static void look_at(struct look *l, const struct meeting *m)
{
	int64_t length = m->end - m->start;
	int64_t period = m->repeat == REPEAT_DAILY    ? m->interval * INT64_C(86400)
	                 : m->repeat == REPEAT_WEEKLY ? m->interval * INT64_C(604800)
	                                              : 0;
	int64_t last, ahead;

	if (!period) {
		interval(l, m->status, m->start, m->end);
		return;
	}
	for (unsigned e = 0; e < m->nexc; e++)
		if (!m->exc[e].deleted && (!m->count || m->exc[e].index < m->count))
			interval(l, m->exc[e].status, m->exc[e].start, m->exc[e].end);
	/* the last occurrence begun by now, those before it that may still run, and the next */
	last = l->at < m->start ? -1 : (l->at - m->start) / period;
	for (int64_t i = last; i >= 0 && m->start + i * period + length > l->at; i--)
		if (regular(m, i))
			interval(l, m->status, m->start + i * period,
			         m->start + i * period + length);
	/* at most MEETING_EXCEPTIONS occurrences are missing one after another */
	for (ahead = last + 1; ahead <= last + 1 + MEETING_EXCEPTIONS; ahead++)
		if (regular(m, ahead)) {
			interval(l, m->status, m->start + ahead * period,
			         m->start + ahead * period + length);
			break;
		}
}

static struct look look(const struct meeting *m, size_t n, int64_t at)
{
	struct look l = {.at = at, .status = STATUS_FREE, .next = INT64_MAX};

	for (size_t i = 0; i < n; i++)
		look_at(&l, &m[i]);
	return l;
}

struct verdict oracle(const struct meeting *m, size_t n, int64_t at)
{
	struct look l = look(m, n, at);
	struct verdict v = {.status = l.status,
	                    .until = ORACLE_NEVER,
	                    .availability = availability(l.status),
	                    .availability_until = ORACLE_NEVER};

	while (l.next != INT64_MAX && l.next <= at + ORACLE_HORIZON) {
		int64_t then = l.next;

		l = look(m, n, then);
		if (l.status != v.status && v.until == ORACLE_NEVER)
			v.until = then;
		if (strcmp(availability(l.status), v.availability) != 0) {
			v.availability_until = then;
			break;
		}
	}
	return v;
}
