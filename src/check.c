/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/host.h"

#define ANSWER_MS 10000
#define ANSWER_MAX (4 << 20) /* bytes: one mailbox's calendar */

struct asked {
	struct px_parse *parse; /* NULL: nothing is asked */
	struct px_checker *k;
};

struct px_checker {
	struct px_loop *loop;
	struct px_http *stranger, *ours; /* without and with the account */
	const struct px_backend *backend;
	struct px_check_run *run;
	unsigned gateways;
	char **name, **url; /* name NULL: it isn't checked */
	struct asked asked[];
};

/* Requests are known by their gateway: each has one at a time. */
static void item_said(void *arg, const struct px_item *item)
{
	struct asked *a = arg;

	px_check_said(a->k->run, (unsigned)(a - a->k->asked), item);
}

static void http_data(void *arg, uint64_t id, const char *bytes, size_t n)
{
	struct px_checker *k = arg;

	if (k->asked[id].parse)
		k->backend->feed(k->asked[id].parse, bytes, n);
}

static void http_done(void *arg, uint64_t id, const struct px_http_answer *a)
{
	struct px_checker *k = arg;
	struct px_reply reply = {.verdict = PX_V_TRANSIENT};
	struct px_parse *parse = k->asked[id].parse;

	k->backend->done(parse, a, &reply);
	k->asked[id].parse = NULL;
	k->backend->parse_free(parse);
	px_check_done(k->run, (unsigned)id, a, &reply, px_loop_now(k->loop));
	px_loop_mark(k->loop);
}

/* The host of an https URL, as it stands there. */
static char *host_of(const char *url)
{
	const char *host = url + strcspn(url, ":") + 3;

	return strndup(host, px_host(host, strlen(host)));
}

static int take_gateways(struct px_checker *k, const struct px_checker_config *c, char **host)
{
	k->name = calloc(c->gateways, sizeof *k->name);
	k->url = calloc(c->gateways, sizeof *k->url);
	if (!k->name || !k->url)
		return -ENOMEM;
	for (unsigned i = 0; i < c->gateways; i++) {
		if (!c->name[i] || (c->only >= 0 && i != (unsigned)c->only))
			continue;
		k->name[i] = strdup(c->name[i]);
		k->url[i] = strdup(c->url[i]);
		host[i] = host_of(c->url[i]);
		if (!k->name[i] || !k->url[i] || !host[i])
			return -ENOMEM;
	}
	return 0;
}

int px_checker_new(struct px_checker **out, struct px_loop *loop, const struct px_http *http,
                   const struct px_checker_config *c, char why[PX_HTTP_WHY])
{
	struct px_checker *k = calloc(1, sizeof *k + c->gateways * sizeof *k->asked);
	char **host = calloc(c->gateways, sizeof *host);
	const struct px_check_config run = {.backend = c->backend,
	                                    .gateways = c->gateways,
	                                    .host = (const char *const *)host,
	                                    .mailbox = c->mailbox,
	                                    .mailboxes = c->mailboxes,
	                                    .wanted = c->wanted,
	                                    .kinds = c->kinds,
	                                    .held = c->held,
	                                    .hints = c->hints};
	int err = k && host ? 0 : -ENOMEM;

	snprintf(why, PX_HTTP_WHY, "%s", strerror(ENOMEM));
	if (err == 0) {
		k->loop = loop;
		k->backend = c->backend;
		k->gateways = c->gateways;
		for (unsigned i = 0; i < k->gateways; i++)
			k->asked[i].k = k;
		err = take_gateways(k, c, host);
	}
	if (err == 0 && !(k->run = px_check_run_new(&run)))
		err = -ENOMEM;
	for (unsigned i = 0; host && i < c->gateways; i++)
		free(host[i]);
	free(host);
	if (err == 0)
		err = px_http_like(&k->stranger, http, true, http_data, http_done, k, why);
	if (err == 0)
		err = px_http_like(&k->ours, http, false, http_data, http_done, k, why);
	if (err < 0) {
		px_checker_free(k);
		return err;
	}
	*out = k;
	return 0;
}

void px_checker_free(struct px_checker *k)
{
	if (!k)
		return;
	px_http_free(k->stranger);
	px_http_free(k->ours);
	for (unsigned i = 0; i < k->gateways; i++) {
		if (k->asked[i].parse)
			k->backend->parse_free(k->asked[i].parse);
		if (k->name)
			free(k->name[i]);
		if (k->url)
			free(k->url[i]);
	}
	free(k->name);
	free(k->url);
	px_check_run_free(k->run);
	free(k);
}

void px_checker_pump(struct px_checker *k)
{
	const struct px_now now = px_loop_now(k->loop);
	struct px_query q;
	unsigned g;
	bool anonymous;

	while (px_check_next(k->run, now, &g, &anonymous, &q)) {
		struct px_wire wire = px_wire_new();

		k->asked[g].parse = k->backend->parse_new(&q, item_said, &k->asked[g]);
		if (!k->asked[g].parse) {
			const struct px_http_answer a = {.fail = PX_HTTP_LOCAL,
			                                 .detail = "out of memory"};
			const struct px_reply reply = {.verdict = PX_V_TRANSIENT};

			px_check_done(k->run, g, &a, &reply, now);
			continue;
		}
		k->backend->write(&wire, &q);
		px_http_start(anonymous ? k->stranger : k->ours, g, (int)g, &wire, NULL, ANSWER_MS,
		              ANSWER_MAX);
		px_wire_free(&wire);
	}
}

bool px_checker_ended(const struct px_checker *k)
{
	return px_check_ended(k->run);
}

static bool worth_a_word(const struct px_check_line *l)
{
	return l->result != PX_CHECK_SKIPPED || l->text[0];
}

void px_checker_rows(const struct px_checker *k, struct px_buf *out)
{
	for (unsigned g = 0; g < k->gateways; g++)
		for (enum px_check_step s = 0; s < PX_CHECK_STEPS; s++) {
			const struct px_check_line *l = px_check_line(k->run, g, s);

			if (worth_a_word(l))
				px_buf_strs(out, k->name[g], "\t", px_check_step_name(s), "\t",
				            px_check_result_name(l->result), "\t", l->text, "\n");
		}
}

unsigned px_checker_page(const struct px_checker *k, struct px_buf *out)
{
	unsigned checked = 0, wrong = 0;

	for (unsigned g = 0; g < k->gateways; g++) {
		const enum px_check_step failed = px_check_failed(k->run, g);

		if (!k->name[g])
			continue;
		px_buf_printf(out, "gateway %s  %s\n", k->name[g], k->url[g]);
		for (enum px_check_step s = 0; s < PX_CHECK_STEPS; s++) {
			const struct px_check_line *l = px_check_line(k->run, g, s);

			if (worth_a_word(l))
				px_buf_printf(out, "  %-13s %s%*s%s\n", px_check_step_name(s),
				              px_check_result_name(l->result),
				              l->text[0]
				                  ? 9 - (int)strlen(px_check_result_name(l->result))
				                  : 0,
				              "", l->text);
		}
		checked++;
		wrong += failed != PX_CHECK_STEPS;
	}
	px_buf_printf(out, "%u gateway%s checked, %u with a failed step\n", checked,
	              checked == 1 ? "" : "s", wrong);
	return wrong;
}
