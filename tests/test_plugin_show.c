/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What RPC and statistics show of the board. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../plugin/show.h"
#include "core/buf.h"
#include "io/board.h"

#define ROWS 50000
#define WALL 1795424400 /* 2026-11-23T09:00:00Z */

static const struct px_now now = {{500000}, {(int64_t)WALL * 1000}};
static const struct px_show_now shown_now = {500000, WALL};

struct bench {
	int fd;
	struct px_board *board;
	struct px_board_reader *reader;
	struct px_buf out;
	unsigned rows;
};

static void begin(void *ctx)
{
	struct bench *b = ctx;

	px_buf_str(&b->out, b->rows++ ? "\n" : "");
}

static void text(void *ctx, const char *name, const char *value)
{
	px_buf_printf(&((struct bench *)ctx)->out, "%s=%s ", name, value);
}

static void number(void *ctx, const char *name, int64_t value)
{
	px_buf_printf(&((struct bench *)ctx)->out, "%s=%lld ", name, (long long)value);
}

static struct px_rows rows(struct bench *b)
{
	b->out.len = 0;
	b->rows = 0;
	return (struct px_rows){.ctx = b, .begin = begin, .text = text, .number = number};
}

static void shows(const struct bench *b, const char *what)
{
	if (!strstr(b->out.data, what))
		fail_msg("there is no \"%s\" in %s", what, b->out.data);
}

static int setup(void **state)
{
	static struct bench b;
	char why[256];

	b = (struct bench){.fd = px_board_make(ROWS, 8), .out = px_buf_new(64 << 20)};
	if (b.fd < 0 || px_board_new(&b.board, b.fd, ROWS, 8, now, why) < 0 ||
	    px_board_open(&b.reader, b.fd) < 0)
		return -1;
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	px_board_close(b->reader);
	px_board_free(b->board);
	px_buf_free(&b->out);
	close(b->fd);
	return 0;
}

/* A user who is followed, available and published at cas1; the caller changes it. */
static struct px_publication standing = {.state = PX_PUB_STANDING,
                                         .want = true,
                                         .etag = (char *)"a.1",
                                         .expires = 3600,
                                         .lapses = {500000 + 3600000}};

static struct px_user_view view(uint32_t id, const char *key)
{
	return (struct px_user_view){.id = id,
	                             .key = key,
	                             .mailbox = "someone@example.com",
	                             .on = true,
	                             .watch = PX_WATCH_FOLLOWED,
	                             .gateway = 0,
	                             .subscription = "S1",
	                             .presence = PX_AVAILABLE,
	                             .read_at = {(int64_t)(WALL - 60) * 1000},
	                             .publication = &standing,
	                             .trouble = ""};
}

static void put(struct bench *b, const struct px_user_view *v, const char *gateway)
{
	px_board_put(b->board, v, PX_FROM_CFG, gateway, now);
}

static void gateway(struct bench *b, unsigned i, const char *name, enum px_health health)
{
	struct px_gateway g = {.health = health, .users = 3, .requests = 7, .errors = i};

	snprintf(g.name, sizeof g.name, "%s", name);
	snprintf(g.server, sizeof g.server, "Exchange 15.2.1258");
	if (i > 0) {
		snprintf(g.last_error, sizeof g.last_error, "HTTP 503 away");
		g.last_error_at.ms = (int64_t)(WALL - 30) * 1000;
	}
	g.kind = PX_KIND_PULL;
	px_board_gateway(b->board, i, &g, PX_FROM_CFG, "");
}

/* A backend that can't do anything: nothing is asked here. */
static unsigned no_kinds(unsigned version)
{
	(void)version;
	return 0;
}

/* An engine without users, only for its counts of gateways. */
static void counts(struct bench *b)
{
	const char *const name[] = {"cas1", "cas2"};
	const unsigned concurrency[] = {8, 8};
	static const struct px_backend none = {.versions = 1, .kinds = no_kinds};
	const struct px_engine_config c = {.backend = &none,
	                                   .gateways = 2,
	                                   .gateway_name = name,
	                                   .gateway_concurrency = concurrency,
	                                   .horizon_s = 3600,
	                                   .resync_s = 60,
	                                   .stale_after_s = 60,
	                                   .publish_expires = 60,
	                                   .publish_window = 1,
	                                   .presence_servers = 1,
	                                   .users_max = 1};
	struct px_engine *e = px_engine_new(&c, now);

	assert_non_null(e);
	px_board_counts(
	    b->board, e,
	    (struct px_board_counts){.log_lost = 3, .refused = 2, .started_at = WALL - 100});
	px_engine_free(e);
	gateway(b, 0, "cas1", PX_GW_UP);
	gateway(b, 1, "cas2", PX_GW_DOWN);
}

static uint32_t page(struct bench *b, const char *words)
{
	struct px_users_query q = {0};
	char why[PX_SHOW_WHY_MAX], copy[256], *rest = copy, *word;
	const struct px_rows r = rows(b);

	snprintf(copy, sizeof copy, "%s", words);
	while ((word = strsep(&rest, " ")))
		if (*word && px_users_query_word(&q, word, why) < 0)
			fail_msg("%s", why);
	return px_show_users(b->reader, &q, shown_now, &r);
}

static void pages_go_through_everybody_once(void **state)
{
	struct bench *b = *state;
	char key[64], words[64];
	uint32_t next = 0;
	unsigned seen = 0, pages = 0;

	for (uint32_t i = 0; i < 1050; i++) {
		snprintf(key, sizeof key, "user%u@example.com", i);
		struct px_user_view v = view(i, key);

		put(b, &v, "cas1");
	}
	for (uint32_t i = 0; i < 50; i++)
		px_board_drop(b->board, i * 20);
	do {
		snprintf(words, sizeof words, "%u 100", next);
		next = page(b, words);
		seen += b->rows;
		pages++;
		assert_in_range(b->rows, 1, 100);
	} while (next > 0);
	assert_int_equal(seen, 1000);
	assert_int_equal(pages, 10);
	assert_int_equal(page(b, ""), 106); /* the default: 100, of 106 rows */
	assert_int_equal(page(b, "4000000000"), 0);
	assert_int_equal(b->rows, 0);
	assert_int_equal(page(b, "limit=1000"), 0);
	assert_int_equal(b->rows, 1000);
}

static void one_call_is_bounded(void **state)
{
	struct bench *b = *state;
	char key[64];
	unsigned calls = 0;
	uint32_t next = 0;

	for (uint32_t i = 0; i < ROWS; i++) {
		snprintf(key, sizeof key, "user%u@example.com", i);
		struct px_user_view v = view(i, key);

		put(b, &v, "cas1");
	}
	do {
		snprintf(key, sizeof key, "match=user%u@ offset=%u", ROWS - 1, next);
		next = page(b, key);
		calls++;
		assert_int_equal(b->rows, next == 0);
	} while (next > 0);
	assert_int_equal(calls, (ROWS + PX_SHOW_ROWS_MAX - 1) / PX_SHOW_ROWS_MAX);
}

static void filters(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(0, "alice@example.com");

	counts(b);
	put(b, &v, "cas1");
	v = view(1, "bob@example.com");
	v.presence = PX_PRESENCE_BUSY;
	v.mailbox = "robert@example.org";
	v.until.ms = (int64_t)(WALL + 60) * 1000;
	put(b, &v, "cas2");
	v = view(2, "carol@example.com");
	v.watch = PX_WATCH_PARKED;
	v.trouble = "ErrorNonExistentMailbox";
	v.presence = PX_UNKNOWN;
	put(b, &v, NULL);
	page(b, "status=busy");
	assert_string_equal(b->out.data,
	                    "aor=bob@example.com status=busy until=2026-11-23T09:01:00Z "
	                    "watch=followed gateway=cas2 publication=standing ");
	page(b, "watch=PARKED");
	assert_string_equal(b->out.data,
	                    "aor=carol@example.com status=unknown watch=parked gateway= "
	                    "publication=standing trouble=ErrorNonExistentMailbox ");
	page(b, "gateway=cas1");
	assert_int_equal(b->rows, 1);
	shows(b, "alice@");
	page(b, "gateway=cas");
	assert_int_equal(b->rows, 0);
	page(b, "ROBERT@");
	assert_int_equal(b->rows, 1);
	page(b, "match=example.com");
	assert_int_equal(b->rows, 3);
	page(b, "status=busy gateway=cas1");
	assert_int_equal(b->rows, 0);
	/* nobody's status holds when the worker is silent */
	px_board_beat(b->board, (struct px_now){{500000 - PX_BOARD_SILENT_MS}, {0}});
	page(b, "status=unknown");
	assert_int_equal(b->rows, 3);
}

static void refuses_other_words(void **state)
{
	static const struct {
		const char *word, *why;
	} table[] = {
	    {"limit=0", "limit is 1 to 1000"},
	    {"limit=1001", "limit is 1 to 1000"},
	    {"limit=-1", "limit is 1 to 1000"},
	    {"offset=x", "offset is a number"},
	    {"offset=4294967296", "offset is a number"},
	    {"status=idle", "status is available, busy, away or unknown"},
	    {"watch=",
	     "watch is off, homeless, waiting, subscribing, gathering, followed, backoff, "
	     "parked or swept"},
	    {"colour=red",
	     "colour=red: the filters are offset, limit, status, gateway, watch and match"},
	    {"=", "=: the filters are offset, limit, status, gateway, watch and match"},
	    {"match=0123456789012345678901234567890123456789012345678901234567890123",
	     "match has at most 63 bytes"},
	};
	struct px_users_query q = {0};
	char why[PX_SHOW_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		assert_int_equal(px_users_query_word(&q, table[i].word, why), -EINVAL);
		assert_string_equal(why, table[i].why);
	}
}

/* What the user with this view waits for. */
static const char *waits(struct bench *b, const struct px_user_view *v)
{
	static char out[512];
	const struct px_rows r = rows(b);
	char *at;

	put(b, v, "cas2");
	assert_int_equal(px_show_user(b->reader, v->key, shown_now, &r), PX_BOARD_FOUND);
	at = strstr(b->out.data, "waits=");
	assert_non_null(at);
	snprintf(out, sizeof out, "%.*s", (int)(strstr(at, " watch=") - at - 6), at + 6);
	return out;
}

static void says_in_words_what_a_user_waits_for(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(0, "alice@example.com");
	struct px_publication p = standing;

	counts(b);
	assert_string_equal(waits(b, &v), "followed at cas2");
	v.watch = PX_WATCH_WAITING;
	v.dirty = true;
	assert_string_equal(waits(b, &v), "waits for its turn to subscribe at cas2; its calendar "
	                                  "waits to be read again");
	v.dirty = false;
	v.watch = PX_WATCH_SUBSCRIBING;
	assert_string_equal(waits(b, &v), "waits for cas2 to answer its Subscribe");
	v.watch = PX_WATCH_GATHERING;
	assert_string_equal(waits(b, &v), "subscribed, waits for its stream at cas2");
	v.watch = PX_WATCH_HOMELESS;
	assert_string_equal(waits(b, &v), "waits for a gateway that is up");
	v.watch = PX_WATCH_SWEPT;
	assert_string_equal(waits(b, &v), "not subscribed, read every resync at cas2");
	v.watch = PX_WATCH_PARKED;
	v.due.ms = now.mono.ms + 1800 * 1000;
	v.trouble = "ErrorNonExistentMailbox";
	v.read_at.ms = 0;
	assert_string_equal(waits(b, &v), "parked until 2026-11-23T09:30:00Z: "
	                                  "ErrorNonExistentMailbox; its calendar was never read");
	v.watch = PX_WATCH_BACKOFF;
	v.trouble = "";
	v.read_at.ms = 1;
	v.due.ms = now.mono.ms + 4000;
	v.read_at.ms = now.wall.ms;
	p.state = PX_PUB_WAITING;
	v.publication = &p;
	assert_string_equal(waits(b, &v), "tries again at 2026-11-23T09:00:04Z: no reason known; "
	                                  "waits for its turn to PUBLISH");
	v.watch = PX_WATCH_FOLLOWED;
	p.state = PX_PUB_IN_FLIGHT;
	assert_string_equal(waits(b, &v), "followed at cas2; waits for the answer to its PUBLISH");
	p.state = PX_PUB_BACKOFF;
	assert_string_equal(waits(b, &v),
	                    "followed at cas2; its PUBLISH failed and is tried again");
	v.on = false;
	v.watch = PX_WATCH_OFF;
	p.state = PX_PUB_OFF;
	assert_string_equal(waits(b, &v), "switched off");
	px_board_beat(b->board, (struct px_now){{1}, {0}});
	assert_string_equal(waits(b, &v),
	                    "the worker is silent, this is the last that it told; switched off");
}

static void shows_all_of_one(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(0, "alice@example.com");
	const struct px_rows r = rows(b);

	counts(b);
	v.until.ms = (int64_t)(WALL + 1800) * 1000;
	put(b, &v, "cas2");
	assert_int_equal(px_show_user(b->reader, "nobody@example.com", shown_now, &r),
	                 PX_BOARD_NONE);
	assert_int_equal(b->rows, 0);
	assert_int_equal(px_show_user(b->reader, "alice@example.com", shown_now, &r),
	                 PX_BOARD_FOUND);
	assert_string_equal(
	    b->out.data,
	    "aor=alice@example.com mailbox=someone@example.com enabled=yes origin=cfg "
	    "status=available until=2026-11-23T09:30:00Z waits=followed at cas2 watch=followed "
	    "gateway=cas2 subscription=S1 kind=streaming trouble= reminded=yes "
	    "read=2026-11-23T08:59:00Z age=60 reading_due=no "
	    "publication=standing confirmed=yes answer_unknown=no etag=a.1 expires=3600 "
	    "lapses=2026-11-23T10:00:00Z changed=2026-11-23T09:00:00Z ");
}

static void names_are_the_cores(void **state)
{
	struct bench *b = *state;
	char want[64];

	for (int i = 0; i < PX_WATCH_STATES; i++) {
		struct px_user_view v = view(0, "alice@example.com");

		v.watch = (enum px_watch_state)i;
		put(b, &v, NULL);
		snprintf(want, sizeof want, "watch=%s", px_watch_state_name(v.watch));
		page(b, want);
		assert_int_equal(b->rows, 1);
		shows(b, want);
	}
	for (int i = PX_PUB_OFF; i <= PX_PUB_BACKOFF; i++) {
		struct px_publication p = {.state = (uint8_t)i};
		struct px_user_view v = view(0, "alice@example.com");

		v.publication = &p;
		put(b, &v, NULL);
		snprintf(want, sizeof want, "publication=%s ",
		         px_pub_state_name((enum px_pub_state)i));
		page(b, "");
		shows(b, want);
	}
	counts(b);
	for (int i = PX_GW_UP; i <= PX_GW_LEAVING; i++) {
		const struct px_rows r = rows(b);

		gateway(b, 0, "cas1", (enum px_health)i);
		snprintf(want, sizeof want, "health=%s ", px_health_name((enum px_health)i));
		px_show_gateways(b->reader, &r);
		shows(b, want);
	}
}

static void shows_gateways_and_counts(void **state)
{
	struct bench *b = *state;
	struct px_rows r = rows(b);

	/* before any worker told */
	px_show_gateways(b->reader, &r);
	assert_int_equal(b->rows, 0);
	assert_int_equal(px_stat(b->reader, PX_STAT_gateways_up, shown_now), 0);
	counts(b);
	r = rows(b);
	px_show_gateways(b->reader, &r);
	assert_string_equal(
	    b->out.data,
	    "name=cas1 health=up origin=cfg server=Exchange 15.2.1258 learns_by=pull users=3 "
	    "requests=7 errors=0 in_flight=0 limit=0 concurrency=0 "
	    "probing=no last_error= \n"
	    "name=cas2 health=down origin=cfg server=Exchange 15.2.1258 learns_by=pull users=3 "
	    "requests=7 errors=1 in_flight=0 limit=0 concurrency=0 "
	    "probing=no last_error=HTTP 503 away last_error_at=2026-11-23T08:59:30Z ");
	assert_int_equal(px_stat(b->reader, PX_STAT_gateways_up, shown_now), 1);
	assert_int_equal(px_stat(b->reader, PX_STAT_gateways_down, shown_now), 1);
	assert_int_equal(px_stat(b->reader, PX_STAT_log_lost, shown_now), 3);
	assert_int_equal(px_stat(b->reader, PX_STAT_refused, shown_now), 2);
	assert_int_equal(px_stat(b->reader, PX_STAT_worker_up, shown_now), 1);
	assert_int_equal(px_stat(b->reader, PX_STAT_worker_restarts, shown_now), 0);
	r = rows(b);
	px_show_stats(b->reader, shown_now, &r);
	assert_int_equal(b->rows, 1);
	shows(b, "worker=running started=2026-11-23T08:58:20Z login=");
	shows(b, "presence_server=up users=0 ");
	/* the next worker, and silence */
	struct px_board *next;
	char why[256];

	assert_int_equal(px_board_new(&next, b->fd, ROWS, 8, now, why), 0);
	assert_int_equal(px_stat(b->reader, PX_STAT_worker_restarts, shown_now), 1);
	r = rows(b);
	px_show_stats(b->reader, shown_now, &r);
	shows(b, "worker=starting ");
	px_board_free(next);
	assert_int_equal(px_stat(b->reader, PX_STAT_worker_up, shown_now), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(pages_go_through_everybody_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(one_call_is_bounded, setup, teardown),
	    cmocka_unit_test_setup_teardown(filters, setup, teardown),
	    cmocka_unit_test(refuses_other_words),
	    cmocka_unit_test_setup_teardown(says_in_words_what_a_user_waits_for, setup, teardown),
	    cmocka_unit_test_setup_teardown(shows_all_of_one, setup, teardown),
	    cmocka_unit_test_setup_teardown(names_are_the_cores, setup, teardown),
	    cmocka_unit_test_setup_teardown(shows_gateways_and_counts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
