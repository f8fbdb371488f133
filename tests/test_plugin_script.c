/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a routing script may ask and command, what events tell, and what remote commands refuse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../plugin/control.h"
#include "../plugin/events.h"
#include "../plugin/remote.h"
#include "../plugin/script.h"
#include "core/buf.h"
#include "io/board.h"
#include "io/control.h"

#define ROWS 10000

struct bench {
	struct px_module module;
	struct px_board *board;
	struct px_now now;
	struct px_events *events;
	struct px_buf told;
	char said[512];
};
static struct bench *current;

static void say(enum px_level level, const char *text)
{
	(void)level;
	snprintf(current->said, sizeof current->said, "%s", text);
}

/* What is asked reads the clock itself. */
static struct px_now clock_now(void)
{
	struct timespec mono, wall;

	clock_gettime(CLOCK_MONOTONIC, &mono);
	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct px_now){{(int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000},
	                       {(int64_t)wall.tv_sec * 1000}};
}

static int setup(void **state)
{
	static struct bench b;
	char why[256];

	b = (struct bench){.module = PX_MODULE_INIT("", say, NULL), .now = clock_now()};
	current = &b;
	b.told = px_buf_new(1 << 20);
	b.module.board_fd = px_board_make(ROWS, 8);
	if (b.module.board_fd < 0 ||
	    px_board_new(&b.board, b.module.board_fd, ROWS, 8, b.now, why) < 0 ||
	    px_board_open(&b.module.board, b.module.board_fd) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
	               b.module.control) < 0 ||
	    !(b.events = px_events_new(b.module.board)))
		return -1;
	px_board_beat(b.board, b.now);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	px_events_free(b->events);
	px_buf_free(&b->told);
	px_board_close(b->module.board);
	px_board_free(b->board);
	close(b->module.board_fd);
	close(b->module.control[0]);
	close(b->module.control[1]);
	return 0;
}

static struct px_publication standing = {.state = PX_PUB_STANDING, .etag = (char *)"a.1"};

static struct px_user_view view(const struct bench *b, uint32_t id, const char *key)
{
	return (struct px_user_view){.id = id,
	                             .key = key,
	                             .mailbox = "someone@example.com",
	                             .on = true,
	                             .watch = PX_WATCH_FOLLOWED,
	                             .presence = PX_AVAILABLE,
	                             .read_at = {b->now.wall.ms - 60000},
	                             .publication = &standing,
	                             .trouble = ""};
}

static void put(struct bench *b, const struct px_user_view *v)
{
	px_board_put(b->board, v, PX_FROM_CFG, "cas1", b->now);
}

/* A backend that can't do anything: nothing is asked here. */
static unsigned no_kinds(unsigned version)
{
	(void)version;
	return 0;
}

static void gateway(struct bench *b, enum px_health health, const char *error)
{
	static const char *const name = "cas1";
	static const unsigned concurrency = 8;
	static const struct px_backend none = {.versions = 1, .kinds = no_kinds};
	const struct px_engine_config c = {.backend = &none,
	                                   .gateways = 1,
	                                   .gateway_name = &name,
	                                   .gateway_concurrency = &concurrency,
	                                   .horizon_s = 3600,
	                                   .resync_s = 60,
	                                   .stale_after_s = 60,
	                                   .publish_expires = 60,
	                                   .publish_window = 1,
	                                   .presence_servers = 1,
	                                   .users_max = 1};
	struct px_engine *e = px_engine_new(&c, b->now);
	struct px_gateway g = {.health = health};

	assert_non_null(e);
	px_board_counts(b->board, e, (struct px_board_counts){.started_at = 1});
	px_engine_free(e);
	strcpy(g.name, name);
	snprintf(g.last_error, sizeof g.last_error, "%s", error);
	px_board_gateway(b->board, 0, &g, PX_FROM_CFG, "");
}

/* ---- $exchange(what=>aor) ---- */

static const char *look_up(struct bench *b, const char *what, const char *aor)
{
	static struct px_value v;
	const int lookup = px_lookup_named(what, strlen(what));

	assert_true(lookup >= 0);
	px_lookup(&b->module, (enum px_lookup)lookup, aor, strlen(aor), &v);
	return v.text;
}

static void look_ups(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(b, 0, "alice@example.com");
	struct px_value value;
	char until[32];

	gateway(b, PX_GW_UP, "");
	v.presence = PX_PRESENCE_BUSY;
	v.until.ms = b->now.wall.ms + 600000;
	put(b, &v);
	snprintf(until, sizeof until, "%lld", (long long)v.until.ms / 1000);
	assert_string_equal(look_up(b, "availability", "alice@example.com"), "busy");
	assert_string_equal(look_up(b, "availability", "sip:alice@EXAMPLE.com:5060;x=y"), "busy");
	assert_string_equal(look_up(b, "until", "alice@example.com"), until);
	assert_string_equal(look_up(b, "gateway", "alice@example.com"), "cas1");
	px_lookup(&b->module, PX_LOOKUP_age, "alice@example.com", 17, &value);
	assert_true(value.number);
	assert_in_range(value.n, 60, 65);
	/* no end is in sight */
	v.until.ms = 0;
	put(b, &v);
	assert_string_equal(look_up(b, "until", "alice@example.com"), "0");
	/* its moment has passed: what holds now isn't known, the rest is */
	v.until.ms = b->now.wall.ms - 1000;
	put(b, &v);
	assert_string_equal(look_up(b, "availability", "alice@example.com"), "unknown");
	assert_string_equal(look_up(b, "until", "alice@example.com"), "unknown");
	assert_string_equal(look_up(b, "gateway", "alice@example.com"), "cas1");
	assert_string_equal(look_up(b, "availability", "nobody@example.com"), "unknown");
	assert_string_equal(look_up(b, "gateway", "nobody@example.com"), "unknown");
	assert_string_equal(look_up(b, "age", "nonsense"), "unknown");
	/* a worker that is silent */
	v.until.ms = 0;
	put(b, &v);
	px_board_beat(b->board, (struct px_now){{b->now.mono.ms - PX_BOARD_SILENT_MS - 1000}, {0}});
	assert_string_equal(look_up(b, "availability", "alice@example.com"), "unknown");
	assert_string_equal(look_up(b, "age", "alice@example.com"), "unknown");
	assert_int_equal(px_lookup_named("avail", 5), -1);
	assert_int_equal(px_lookup_named("ages", 4), -1);
}

/* ---- commands ---- */

static bool command(struct bench *b, enum px_control_command c, const char *aor,
                    const char *mailbox)
{
	return px_script_command(&b->module, c, aor, strlen(aor), mailbox,
	                         mailbox ? strlen(mailbox) : 0);
}

/* The command that waits for the worker; false: none does. */
static bool take(struct bench *b, struct px_command *out)
{
	char bytes[sizeof(struct px_control_request)];
	const ssize_t n = recv(b->module.control[1], bytes, sizeof bytes, MSG_DONTWAIT);

	if (n < 0)
		return false;
	assert_int_equal(px_control_parse(bytes, (size_t)n, b->now.mono.ms, out), 0);
	assert_int_equal(
	    px_control_parse(bytes, (size_t)n, b->now.mono.ms + 2 * PX_SCRIPT_DEADLINE_MS, out),
	    -ETIMEDOUT);
	return true;
}

static void only_differences_are_sent(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(b, 0, "alice@example.com");
	struct px_command q;

	put(b, &v);
	assert_true(command(b, PX_CONTROL_ENABLE, "sip:alice@Example.com", NULL));
	assert_true(command(b, PX_CONTROL_ENABLE, "alice@example.com", "SOMEONE@example.com"));
	assert_false(take(b, &q));
	assert_true(command(b, PX_CONTROL_ENABLE, "alice@example.com", "other@example.com"));
	assert_true(take(b, &q));
	assert_int_equal(q.command, PX_CONTROL_ENABLE);
	assert_int_equal(q.origin, PX_FROM_SCRIPT);
	assert_string_equal(q.mailbox, "other@example.com");
	assert_true(command(b, PX_CONTROL_DISABLE, "alice@example.com", NULL));
	assert_true(take(b, &q));
	assert_int_equal(q.command, PX_CONTROL_DISABLE);
	assert_string_equal(q.key, "alice@example.com");
	/* a refresh is always one */
	assert_true(command(b, PX_CONTROL_REFRESH, "alice@example.com", NULL));
	assert_true(take(b, &q));
	/* who isn't there can be added, and nothing else */
	assert_false(command(b, PX_CONTROL_DISABLE, "new@example.com", NULL));
	assert_false(command(b, PX_CONTROL_REFRESH, "new@example.com", NULL));
	assert_false(take(b, &q));
	assert_true(command(b, PX_CONTROL_ENABLE, "new@example.com", NULL));
	assert_true(take(b, &q));
	assert_string_equal(q.mailbox, "");
	v.on = false;
	put(b, &v);
	assert_true(command(b, PX_CONTROL_DISABLE, "alice@example.com", NULL));
	assert_false(take(b, &q));
	assert_int_equal(px_board_lost(b->module.board), 0);
}

/* Switched off and on again before the worker came to it: the board still says on, and both count. */
static void what_waits_is_not_the_boards(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(b, 0, "alice@example.com");
	struct px_command q;

	put(b, &v);
	assert_true(command(b, PX_CONTROL_DISABLE, "alice@example.com", NULL));
	assert_true(command(b, PX_CONTROL_ENABLE, "alice@example.com", NULL));
	assert_true(take(b, &q));
	assert_int_equal(q.command, PX_CONTROL_DISABLE);
	assert_true(take(b, &q));
	assert_int_equal(q.command, PX_CONTROL_ENABLE);
	assert_false(take(b, &q));
}

static void nobody_waits_for_a_full_queue(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(b, 0, "alice@example.com");
	struct px_command q;
	unsigned sent = 0, lost = 0;

	put(b, &v);
	while (lost < 3 && sent < 1000000)
		if (command(b, PX_CONTROL_REFRESH, "alice@example.com", NULL))
			sent++;
		else
			lost++;
	assert_true(sent > 5 && lost == 3);
	assert_int_equal(px_board_lost(b->module.board), 3);
	assert_int_equal(px_stat(b->module.board, PX_STAT_commands_lost, px_show_now()), 3);
	assert_true(take(b, &q));
	assert_true(command(b, PX_CONTROL_REFRESH, "alice@example.com", NULL));
	/* nor for a worker that is silent: its commands would be too old when it comes back */
	px_board_beat(b->board, (struct px_now){{b->now.mono.ms - PX_BOARD_SILENT_MS - 1000}, {0}});
	assert_false(command(b, PX_CONTROL_REFRESH, "alice@example.com", NULL));
	assert_int_equal(px_board_lost(b->module.board), 4);
}

static void nonsense_is_said(void **state)
{
	struct bench *b = *state;
	char longest[1000];

	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	assert_false(command(b, PX_CONTROL_ENABLE, "nonsense", NULL));
	assert_string_equal(b->said, "a script's nonsense is no AoR");
	assert_false(command(b, PX_CONTROL_ENABLE, "alice@example.com", "nobox"));
	assert_string_equal(b->said, "a script's nobox is no mailbox");
	assert_false(command(b, PX_CONTROL_ENABLE, longest, NULL));
	assert_non_null(strstr(b->said, "xxx... is no AoR"));
	assert_false(command(b, PX_CONTROL_ENABLE, "", NULL));
	assert_false(px_control_waits(b->module.control[0]));
}

/* ---- events ---- */

static void note(void *ctx, const struct px_event *e)
{
	struct bench *b = ctx;

	for (int i = 0; i < PX_EVENT_FIELDS; i++)
		if (px_event_has(e->kind, (enum px_event_field)i))
			px_buf_printf(&b->told, "%s=%s ", px_event_name((enum px_event_field)i),
			              e->value[i].text);
	px_buf_str(&b->told, "\n");
}

static const char *look(struct bench *b)
{
	b->told.len = 0;
	px_buf_str(&b->told, "");
	px_events_look(b->events, note, b);
	return b->told.len ? b->told.data : "";
}

static void events_of_users(void **state)
{
	struct bench *b = *state;
	struct px_user_view v = view(b, 0, "alice@example.com");
	char want[256];

	gateway(b, PX_GW_UP, "");
	assert_string_equal(look(b), "");
	put(b, &v);
	assert_string_equal(
	    look(b), "aor=alice@example.com status=available was=unknown until=0 gateway=cas1 \n");
	put(b, &v); /* written again, and the same */
	assert_string_equal(look(b), "");
	v.presence = PX_PRESENCE_BUSY;
	v.until.ms = b->now.wall.ms + 600000;
	put(b, &v);
	snprintf(want, sizeof want,
	         "aor=alice@example.com status=busy was=available until=%lld gateway=cas1 \n",
	         (long long)v.until.ms / 1000);
	assert_string_equal(look(b), want);
	/* came and went between two looks */
	v.presence = PX_AWAY;
	put(b, &v);
	v.presence = PX_PRESENCE_BUSY;
	put(b, &v);
	assert_string_equal(look(b), "");
	v.on = false;
	put(b, &v);
	assert_string_equal(
	    look(b), "aor=alice@example.com status=unknown was=busy until=0 gateway=cas1 \n");
	v.on = true;
	put(b, &v);
	look(b);
	/* gone, and the row is another's at once */
	px_board_drop(b->board, 0);
	v = view(b, 0, "bob@example.com");
	put(b, &v);
	assert_string_equal(
	    look(b), "aor=alice@example.com status=unknown was=busy until=0 gateway= \n"
	             "aor=bob@example.com status=available was=unknown until=0 gateway=cas1 \n");
	px_board_drop(b->board, 0);
	assert_string_equal(look(b),
	                    "aor=bob@example.com status=unknown was=available until=0 gateway= \n");
}

/* More changes than the board remembers, and a worker killed before it told: nobody is missed. */
static void nobody_is_missed(void **state)
{
	struct bench *b = *state;
	char key[64], why[256];
	unsigned lines;

	for (uint32_t i = 0; i < ROWS; i++) {
		snprintf(key, sizeof key, "user%u@example.com", i);
		struct px_user_view v = view(b, i, key);

		put(b, &v);
	}
	look(b);
	lines = 0;
	for (size_t i = 0; i < b->told.len; i++)
		lines += b->told.data[i] == '\n';
	assert_int_equal(lines, ROWS);
	assert_string_equal(look(b), "");
	for (uint32_t i = 0; i < ROWS; i++) {
		snprintf(key, sizeof key, "user%u@example.com", i);
		struct px_user_view v = view(b, i, key);

		v.presence = i == 17 ? PX_AWAY : PX_AVAILABLE;
		put(b, &v);
	}
	assert_string_equal(look(b), "aor=user17@example.com status=away was=available until=0 "
	                             "gateway= \n");
	px_board_free(b->board);
	assert_int_equal(px_board_new(&b->board, b->module.board_fd, ROWS, 8, b->now, why), 0);
	assert_string_equal(look(b), "");
}

static void events_of_gateways(void **state)
{
	struct bench *b = *state;

	gateway(b, PX_GW_UP, "");
	assert_string_equal(look(b), "");
	gateway(b, PX_GW_DOWN, "connect Connection refused");
	assert_string_equal(look(b),
	                    "was=up gateway=cas1 health=down error=connect Connection refused \n");
	assert_string_equal(look(b), "");
	gateway(b, PX_GW_UP, "connect Connection refused");
	assert_string_equal(look(b),
	                    "was=down gateway=cas1 health=up error=connect Connection refused \n");
	assert_int_equal(px_event_named("health", 6), PX_EVENT_health);
	assert_int_equal(px_event_named("colour", 6), -1);
	assert_false(px_event_has(PX_EVENT_STATE, PX_EVENT_health));
}

/* ---- remote commands ---- */

static void nothing(void *ctx)
{
	(void)ctx;
}

static void refusals(void **state)
{
	struct bench *b = *state;
	const struct px_rows rows = {.begin = nothing};
	const struct {
		int (*command)(struct px_remote *r);
		const char *word;
		int code;
		const char *said;
	} table[] = {
	    {px_remote_user, NULL, 400, "Give an AoR, such as alice@example.com"},
	    {px_remote_user, "alice", 400, "That is not an AoR; write user@host"},
	    {px_remote_user, "alice@example.com", 404, "No such user"},
	    {px_remote_users, "colour=red", 400,
	     "colour=red: the filters are offset, limit, status, gateway, watch and match"},
	    {px_remote_enable, "alice@example.com,nobox", 400,
	     "That is not a mailbox; write user@domain"},
	    {px_remote_refresh, "alice@example.com", 503, "The worker doesn't answer"},
	};

	for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
		struct px_remote r = {.module = &b->module, .rows = &rows};

		if (table[i].word)
			px_remote_word(&r, table[i].word, strlen(table[i].word));
		if (table[i].code == 503)
			close(b->module.control[1]), b->module.control[1] = -1;
		assert_int_equal(table[i].command(&r), table[i].code);
		assert_string_equal(r.said, table[i].said);
	}
	px_board_beat(b->board, (struct px_now){{1}, {0}});
	struct px_remote r = {.module = &b->module, .rows = &rows};

	px_remote_word(&r, "alice@example.com", 17);
	assert_int_equal(px_remote_disable(&r), 503);
	assert_string_equal(r.said, "The worker is silent");
}

static void words_are_bounded(void **state)
{
	struct px_remote r = {0};
	char much[3000];

	(void)state;
	memset(much, 'x', sizeof much);
	for (int i = 0; i < PX_REMOTE_WORDS_MAX + 5; i++)
		px_remote_word(&r, much, sizeof much);
	assert_int_equal(r.words, PX_REMOTE_WORDS_MAX);
	assert_int_equal(strlen(r.word[PX_REMOTE_WORDS_MAX - 1]), PX_REMOTE_WORD_MAX);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(look_ups),
	    T(only_differences_are_sent),
	    T(what_waits_is_not_the_boards),
	    T(nobody_waits_for_a_full_queue),
	    T(nonsense_is_said),
	    T(events_of_users),
	    T(nobody_is_missed),
	    T(events_of_gateways),
	    T(refusals),
	    T(words_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
