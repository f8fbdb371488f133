/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "affinity.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define OVERRIDE "X-BackEndOverrideCookie"
#define BALANCER "exchangecookie"

bool affinity_parse(const char *text, enum affinity_kind *kind)
{
	static const char *const names[] = {"none", "anchor", "cookie", "exchangecookie"};

	for (int i = 0; i < 4; i++)
		if (strcmp(names[i], text) == 0) {
			*kind = (enum affinity_kind)i;
			return true;
		}
	return false;
}

void affinity_init(struct affinity *a, enum affinity_kind kind, unsigned backends)
{
	*a = (struct affinity){.kind = kind, .backends = backends};
	for (unsigned c = 0; c < CAS_MAX; c++)
		for (unsigned b = 0; b < BACKENDS_MAX; b++) {
			a->mounted[c][b] = b;
			a->number[c][b] = 1941996295u + 7919 * (c * BACKENDS_MAX + b);
		}
}

unsigned affinity_number(const struct affinity *a, unsigned cas, unsigned backend)
{
	return cas * a->backends + backend + 1;
}

static unsigned home(const struct affinity *a, unsigned cas, const struct mailbox *mb)
{
	return a->mounted[cas][(mb->index * 2654435761u >> 8) % a->backends];
}

/* The value that leads to a server, as long as it doesn't fail. */
static void value(const struct affinity *a, unsigned cas, unsigned backend, char out[80])
{
	if (a->kind == AFFINITY_COOKIE)
		snprintf(out, 80, "mbx%u.example.test~%u", affinity_number(a, cas, backend),
		         a->number[cas][backend]);
	else
		snprintf(out, 80, "%08x%08x%08x%08x", a->number[cas][backend], cas, backend,
		         a->number[cas][backend] * 2654435761u);
}

/* Where the cookie of that name leads; -1: there is none, or none that is good here. */
static int by_cookie(const struct affinity *a, unsigned cas, const char *cookies, const char *name)
{
	const size_t n = strlen(name);
	char good[80];

	for (const char *p = cookies; p; p = strchr(p, ';')) {
		size_t len;

		p += strspn(p, "; ");
		len = strcspn(p, "; ");
		if (len <= n || p[n] != '=' || strncasecmp(p, name, n) != 0)
			continue;
		for (unsigned b = 0; b < a->backends; b++) {
			value(a, cas, b, good);
			if (strlen(good) == len - n - 1 &&
			    memcmp(good, p + n + 1, len - n - 1) == 0)
				return (int)b;
		}
	}
	return -1;
}

struct route affinity_route(struct affinity *a, unsigned cas, const struct hints *h,
                            struct store *s, const struct mailbox *as)
{
	const struct mailbox *anchor = h->anchor ? store_find(s, h->anchor) : NULL;
	int b = -1;

	if (a->kind == AFFINITY_COOKIE)
		b = by_cookie(a, cas, h->cookies, OVERRIDE);
	if (a->kind == AFFINITY_EXCHANGE_COOKIE)
		b = by_cookie(a, cas, h->cookies, BALANCER);
	if (b >= 0)
		return (struct route){.backend = (unsigned)b, .by_cookie = true};
	if (a->kind == AFFINITY_EXCHANGE_COOKIE)
		return (struct route){.backend = a->turn[cas]++ % a->backends};
	if (a->kind != AFFINITY_NONE && anchor)
		return (struct route){.backend = home(a, cas, anchor), .by_anchor = true};
	return (struct route){.backend = home(a, cas, as)};
}

void affinity_cookie(const struct affinity *a, unsigned cas, const struct hints *h,
                     const struct route *r, bool subscribed, struct buf *b)
{
	bool override = a->kind == AFFINITY_COOKIE && subscribed && h->prefer && r->by_anchor;
	bool balancer = a->kind == AFFINITY_EXCHANGE_COOKIE && !r->by_cookie;
	char text[80];

	if (!override && !balancer)
		return;
	value(a, cas, r->backend, text);
	buf_fmt(b, "%s=%s", override ? OVERRIDE : BALANCER, text);
}

void affinity_fail_over(struct affinity *a, unsigned cas, unsigned backend)
{
	for (unsigned d = 0; d < a->backends; d++)
		if (a->mounted[cas][d] == backend)
			a->mounted[cas][d] = (backend + 1) % a->backends;
	a->number[cas][backend]++;
}
