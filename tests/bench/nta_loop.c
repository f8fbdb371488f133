/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nta_loop.c - how fast Sofia's nta can PUBLISH at all: the same requests as the worker's, made of
 * nothing but nta, over one TCP connection, a fixed number of them in flight. The measure against
 * which the worker's own rate is held; counted where they arrive.
 *
 *     nta_loop PORT REQUESTS WINDOW BODY      BODY: bytes
 *     nta_loop PORT REQUESTS WINDOW FILE      a document; when all stand, a line says so, and then each line on stdin
 *                                             is a window with which all are modified; another line says that they were
 *
 * Ends with 0 when each got 200, at the first that did not with 1.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NTA_OUTGOING_MAGIC_T struct loop
#define SU_ROOT_MAGIC_T struct loop
#include <sofia-sip/nta.h>
#include <sofia-sip/sip_header.h>
#include <sofia-sip/sip_status.h>
#include <sofia-sip/sip_tag.h>
#include <sofia-sip/su_wait.h>
#include <sofia-sip/tport_tag.h>

struct loop {
	su_root_t *root;
	nta_leg_t *leg;
	char server[64];
	char *body;
	const char *user;
	char (*etag)[128]; /* NULL: nothing is modified */
	long cseq;         /* of the round before */
	long requests, sent, answered, window;
};

static void send_next(struct loop *l);

static int on_answer(struct loop *l, nta_outgoing_t *out, sip_t const *sip)
{
	int status = nta_outgoing_status(out);

	if (status < 200)
		return 0;
	if (status != 200 || !sip || !sip->sip_etag) {
		fprintf(stderr, "nta_loop: request %ld was answered %d\n", l->answered + 1, status);
		exit(1);
	}
	if (l->etag)
		snprintf(l->etag[(sip->sip_cseq->cs_seq - 1) % l->requests], sizeof *l->etag, "%s",
		         sip->sip_etag->g_string);
	nta_outgoing_destroy(out);
	if (++l->answered == l->requests)
		su_root_break(l->root);
	else
		send_next(l);
	return 0;
}

static void send_next(struct loop *l)
{
	char uri[64], from[96], to[80], call_id[40], cseq[32];
	nta_outgoing_t *out;
	long n = l->sent + 1;

	if (l->sent == l->requests)
		return;
	l->sent++;
	snprintf(uri, sizeof uri, "sip:%s%ld@example.test", l->user, n);
	snprintf(from, sizeof from, "<%s>;tag=%016lx", uri, n);
	snprintf(to, sizeof to, "<%s>", uri);
	snprintf(call_id, sizeof call_id, "%016lx@nta", n);
	snprintf(cseq, sizeof cseq, "%ld PUBLISH", l->cseq + n);
	out = nta_outgoing_tcreate(
	    l->leg, on_answer, l, (url_string_t *)l->server, SIP_METHOD_PUBLISH,
	    (url_string_t *)uri, SIPTAG_FROM_STR(from), SIPTAG_TO_STR(to),
	    SIPTAG_CALL_ID_STR(call_id), SIPTAG_CSEQ_STR(cseq), SIPTAG_EVENT_STR("presence"),
	    SIPTAG_EXPIRES_STR("3600"), SIPTAG_USER_AGENT_STR("pua_exchange/bench"),
	    TAG_IF(l->cseq > 0, SIPTAG_IF_MATCH_STR(l->etag ? l->etag[n - 1] : NULL)),
	    SIPTAG_CONTENT_TYPE_STR("application/pidf+xml"), SIPTAG_PAYLOAD_STR(l->body),
	    TAG_END());
	if (!out) {
		fprintf(stderr, "nta_loop: request %ld can't be sent\n", n);
		exit(2);
	}
}

/* All requests, once. */
static void run(struct loop *l)
{
	l->sent = l->answered = 0;
	while (l->sent < l->window && l->sent < l->requests)
		send_next(l);
	su_root_run(l->root);
	l->cseq += l->requests;
}

/* As often as it is wanted, and with that window. */
static void modify(struct loop *l)
{
	char line[32];

	for (;;) {
		puts("all");
		fflush(stdout);
		if (!fgets(line, sizeof line, stdin) || (l->window = atol(line)) < 1)
			return;
		run(l);
	}
}

/* A file that is the body, or a body of so many bytes. */
static char *read_body(struct loop *l, const char *what)
{
	char *end, *body;
	long n = strtol(what, &end, 10);
	FILE *f;

	if (!*end && n >= 0) {
		body = calloc(1, (size_t)n + 1);
		if (body)
			memset(body, 'x', (size_t)n);
		return body;
	}
	f = fopen(what, "r");
	body = calloc(1, 8192);
	l->etag = calloc((size_t)l->requests, sizeof *l->etag);
	l->user = "bare";
	if (!f || !body || !l->etag || fread(body, 1, 8191, f) == 0)
		return NULL;
	fclose(f);
	return body;
}

int main(int argc, char **argv)
{
	struct loop l = {.user = "user"};
	nta_agent_t *agent;

	if (argc != 5 || (l.requests = atol(argv[2])) < 1 || (l.window = atol(argv[3])) < 1) {
		fprintf(stderr, "usage: nta_loop PORT REQUESTS WINDOW BODY|FILE\n");
		return 2;
	}
	snprintf(l.server, sizeof l.server, "sip:127.0.0.1:%ld;transport=tcp", atol(argv[1]));
	l.body = read_body(&l, argv[4]);
	if (!l.body) {
		fprintf(stderr, "nta_loop: no body %s\n", argv[4]);
		return 2;
	}
	su_init();
	l.root = su_root_create(&l);
	agent = nta_agent_create(l.root, (url_string_t *)"sip:127.0.0.1:*;transport=tcp", NULL,
	                         NULL, TPTAG_QUEUESIZE(1000), TAG_END());
	l.leg = agent ? nta_leg_tcreate(agent, NULL, NULL, NTATAG_NO_DIALOG(1), TAG_END()) : NULL;
	if (!l.leg) {
		fprintf(stderr, "nta_loop: SIP can't be started\n");
		return 2;
	}
	run(&l);
	if (l.etag)
		modify(&l);
	nta_leg_destroy(l.leg);
	nta_agent_destroy(agent);
	su_root_destroy(l.root);
	su_deinit();
	free(l.body);
	free(l.etag);
	return 0;
}
