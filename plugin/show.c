/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "show.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

/* Names of the core's enums, in their order; tests/test_plugin_show.c holds them together. */
enum watch { OFF, HOMELESS, WAITING, SUBSCRIBING, GATHERING, FOLLOWED, BACKOFF, PARKED, SWEPT };
static const char *const watch_name[] = {"off",         "homeless",  "waiting",
                                         "subscribing", "gathering", "followed",
                                         "backoff",     "parked",    "swept"};
enum publication { PUB_OFF, PUB_WAITING, PUB_IN_FLIGHT, PUB_STANDING, PUB_BACKOFF };
static const char *const publication_name[] = {"off", "waiting", "in_flight", "standing",
                                               "backoff"};
static const char *const kind_name[] = {"streaming", "push", "pull", "none"};
static const char *const health_name[] = {"up", "down", "refused", "leaving"};
static const char *const login_name[] = {"open", "retrying", "asking", "held"};
static const char *const origin_name[] = {"cfg", "file", "db", "rpc", "script"};

#define NAME(of, i) ((size_t)(i) < sizeof(of) / sizeof *(of) ? (of)[i] : "unknown")
#define LOGIN_HELD 3
#define LEAVING 3 /* of health_name */
#define TIME_SIZE sizeof "2026-12-01T10:00:00Z"

const char *px_show_health(uint32_t health)
{
	return health == PX_BOARD_REMOVED ? "removed" : NAME(health_name, health);
}

struct px_show_now px_show_now(void)
{
	struct timespec mono, wall;

	/* some ms late, and cheap: a look-up asks for them */
	clock_gettime(CLOCK_MONOTONIC_COARSE, &mono);
	clock_gettime(CLOCK_REALTIME_COARSE, &wall);
	return (struct px_show_now){(int64_t)mono.tv_sec * 1000 + mono.tv_nsec / 1000000,
	                            wall.tv_sec};
}

/* ISO 8601 in UTC. */
static const char *when(int64_t seconds, char out[TIME_SIZE])
{
	const time_t t = (time_t)seconds;
	struct tm tm;

	out[0] = '\0';
	if (gmtime_r(&t, &tm))
		strftime(out, TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return out;
}

static void put_time(const struct px_rows *rows, const char *name, int64_t seconds)
{
	char text[TIME_SIZE];

	if (seconds > 0)
		rows->text(rows->ctx, name, when(seconds, text));
}

/* ---- users ---- */

static int refuse(char why[PX_SHOW_WHY_MAX], const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static int refuse(char why[PX_SHOW_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, PX_SHOW_WHY_MAX, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool number(const char *text, uint32_t *out)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	*out = (uint32_t)n;
	return *text >= '0' && *text <= '9' && !*end && errno == 0 && n <= UINT32_MAX;
}

static int take_limit(struct px_users_query *q, const char *value, char why[PX_SHOW_WHY_MAX])
{
	uint32_t n;

	if (!number(value, &n) || n == 0 || n > PX_SHOW_LIMIT_MAX)
		return refuse(why, "limit is 1 to %d", PX_SHOW_LIMIT_MAX);
	q->limit = n;
	return 0;
}

static int take_text(char *to, size_t size, const char *name, const char *value,
                     char why[PX_SHOW_WHY_MAX])
{
	if (strlen(value) >= size)
		return refuse(why, "%s has at most %zu bytes", name, size - 1);
	strcpy(to, value);
	return 0;
}

static int take_choice(char to[16], const char *const *of, size_t n, const char *name,
                       const char *value, char why[PX_SHOW_WHY_MAX])
{
	size_t len = (size_t)snprintf(why, PX_SHOW_WHY_MAX, "%s is", name);

	for (size_t i = 0; i < n; i++) {
		if (strcasecmp(of[i], value) == 0) {
			strcpy(to, of[i]);
			return 0;
		}
		len += (size_t)snprintf(why + len, PX_SHOW_WHY_MAX - len, "%s %s",
		                        i == 0       ? ""
		                        : i == n - 1 ? " or"
		                                     : ",",
		                        of[i]);
	}
	return -EINVAL;
}

int px_users_query_word(struct px_users_query *q, const char *word, char why[PX_SHOW_WHY_MAX])
{
	static const char *const status[] = {"available", "busy", "away", "unknown"};
	const char *value = strchr(word, '=');
	const size_t n = value ? (size_t)(value++ - word) : 0;
	uint32_t no;

#define IS(name) (n == strlen(name) && strncmp(word, name, n) == 0)
	if (!value && number(word, &no)) {
		if (q->numbers++ == 0) {
			q->offset = no;
			return 0;
		}
		return take_limit(q, word, why);
	}
	if (!value)
		return take_text(q->match, sizeof q->match, "match", word, why);
	if (IS("offset"))
		return number(value, &q->offset) ? 0 : refuse(why, "offset is a number");
	if (IS("limit"))
		return take_limit(q, value, why);
	if (IS("status"))
		return take_choice(q->status, status, sizeof status / sizeof *status, "status",
		                   value, why);
	if (IS("watch"))
		return take_choice(q->watch, watch_name, sizeof watch_name / sizeof *watch_name,
		                   "watch", value, why);
	if (IS("gateway"))
		return take_text(q->gateway, sizeof q->gateway, "gateway", value, why);
	if (IS("match"))
		return take_text(q->match, sizeof q->match, "match", value, why);
	return refuse(why, "%.40s: the filters are offset, limit, status, gateway, watch and match",
	              word);
#undef IS
}

static bool wanted(const struct px_users_query *q, const struct px_board_user *u,
                   const char *availability)
{
	return (!q->status[0] || strcmp(q->status, availability) == 0) &&
	       (!q->watch[0] || strcmp(q->watch, NAME(watch_name, u->state.watch)) == 0) &&
	       (!q->gateway[0] || u->state.gateway == px_board_name_hash(q->gateway)) &&
	       (!q->match[0] || strcasestr(u->key, q->match) || strcasestr(u->mailbox, q->match));
}

/* The names of all gateways, read once for a page. */
struct names {
	size_t n;
	struct {
		uint32_t hash;
		char name[PX_BOARD_NAME_MAX + 1];
	} of[PX_BOARD_GATEWAYS_MAX];
};

static void read_names(const struct px_board_reader *b, struct names *out)
{
	struct px_board_gateway_state g;

	for (uint32_t i = 0; i < PX_BOARD_GATEWAYS_MAX && px_board_gateway_read(b, i, &g); i++) {
		out->of[i].hash = px_board_name_hash(g.name);
		memcpy(out->of[i].name, g.name, sizeof g.name);
		out->n = i + 1;
	}
}

static const char *name_of(const struct names *names, uint32_t hash)
{
	for (size_t i = 0; names && i < names->n; i++)
		if (names->of[i].hash == hash)
			return names->of[i].name;
	return "";
}

static void short_row(const struct px_board_user *u, const char *availability, const char *gateway,
                      const struct px_rows *rows)
{
	rows->begin(rows->ctx);
	rows->text(rows->ctx, "aor", u->key);
	rows->text(rows->ctx, "status", availability);
	put_time(rows, "until", u->state.until);
	rows->text(rows->ctx, "watch", NAME(watch_name, u->state.watch));
	rows->text(rows->ctx, "gateway", gateway);
	rows->text(rows->ctx, "publication", NAME(publication_name, u->state.publication));
	if (u->state.trouble[0])
		rows->text(rows->ctx, "trouble", u->state.trouble);
}

uint32_t px_show_users(const struct px_board_reader *b, const struct px_users_query *q,
                       struct px_show_now now, const struct px_rows *rows)
{
	const uint32_t limit = q->limit ? q->limit : PX_SHOW_LIMIT, end = px_board_end(b);
	struct names *names = calloc(1, sizeof *names);
	uint32_t at = q->offset, shown = 0;
	struct px_board_user u;

	if (names)
		read_names(b, names);
	while (at < end && shown < limit && at - q->offset < PX_SHOW_ROWS_MAX) {
		const char *availability;

		if (px_board_at(b, at++, &u) != PX_BOARD_FOUND)
			continue;
		availability = px_board_availability(b, &u, now.mono_ms, now.wall_s);
		if (!wanted(q, &u, availability))
			continue;
		short_row(&u, availability, name_of(names, u.state.gateway), rows);
		shown++;
	}
	free(names);
	return at < end ? at : 0;
}

/* Appends to the words about a user. */
static void add(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void add(char *out, size_t size, const char *fmt, ...)
{
	const size_t n = strlen(out);
	va_list ap;

	if (n > 0 && n + 3 < size)
		strcpy(out + n, "; ");
	va_start(ap, fmt);
	vsnprintf(out + strlen(out), size - strlen(out), fmt, ap);
	va_end(ap);
}

/* What the user waits for, in words. */
static void words(const struct px_board_state *s, const char *gateway,
                  const struct px_board_counts *c, bool silent, char *out, size_t size)
{
	const char *why = s->trouble[0] ? s->trouble : "no reason known";
	char time[TIME_SIZE];

	out[0] = '\0';
	if (silent)
		add(out, size, "the worker is silent, this is the last that it told");
	switch ((enum watch)s->watch) {
	case OFF:
		add(out, size, "switched off");
		break;
	case HOMELESS:
		add(out, size, "waits for a gateway that is up");
		break;
	case WAITING:
		add(out, size, "waits for its turn to subscribe at %s", gateway);
		break;
	case SUBSCRIBING:
		add(out, size, "waits for %s to answer its Subscribe", gateway);
		break;
	case GATHERING:
		add(out, size, "subscribed, waits for its stream at %s", gateway);
		break;
	case FOLLOWED:
		add(out, size, "followed at %s", gateway);
		break;
	case BACKOFF:
		add(out, size, "tries again at %s: %s", when(s->due, time), why);
		break;
	case PARKED:
		add(out, size, "parked until %s: %s", when(s->due, time), why);
		break;
	case SWEPT:
		add(out, size, "not subscribed, read every resync at %s", gateway);
		break;
	}
	if (c->login == LOGIN_HELD)
		add(out, size, "the gateways refuse the login, all requests are held");
	if (s->on && s->read_at == 0)
		add(out, size, "its calendar was never read");
	else if (s->on && s->dirty)
		add(out, size, "its calendar waits to be read again");
	switch ((enum publication)s->publication) {
	case PUB_WAITING:
		add(out, size, "waits for its turn to PUBLISH");
		break;
	case PUB_IN_FLIGHT:
		add(out, size, "waits for the answer to its PUBLISH");
		break;
	case PUB_BACKOFF:
		add(out, size, "its PUBLISH failed and is tried again");
		break;
	case PUB_OFF:
	case PUB_STANDING:
		break;
	}
	if (c->sip_down)
		add(out, size, "the presence server doesn't answer");
}

enum px_board_found px_show_user(const struct px_board_reader *b, const char *key,
                                 struct px_show_now now, const struct px_rows *rows)
{
	const bool silent = px_board_silent_ms(b, now.mono_ms) >= PX_BOARD_SILENT_MS;
	char gateway[PX_BOARD_NAME_MAX + 1], text[512];
	struct px_board_counts c = {0};
	struct px_board_user u;
	const struct px_board_state *s = &u.state;
	const enum px_board_found found = px_board_user(b, key, &u);
	void *ctx = rows->ctx;

	if (found != PX_BOARD_FOUND)
		return found;
	px_board_counts_read(b, &c);
	px_board_gateway_name(b, &u, gateway);
	rows->begin(ctx);
	rows->text(ctx, "aor", u.key);
	rows->text(ctx, "mailbox", u.mailbox);
	rows->text(ctx, "enabled", s->on ? "yes" : "no");
	rows->text(ctx, "origin", NAME(origin_name, s->origin));
	rows->text(ctx, "status", px_board_availability(b, &u, now.mono_ms, now.wall_s));
	put_time(rows, "until", s->until);
	words(s, gateway, &c, silent, text, sizeof text);
	rows->text(ctx, "waits", text);
	rows->text(ctx, "watch", NAME(watch_name, s->watch));
	rows->text(ctx, "gateway", gateway);
	rows->text(ctx, "subscription", u.subscription);
	rows->text(ctx, "kind", u.subscription[0] ? NAME(kind_name, s->kind) : "none");
	rows->text(ctx, "trouble", s->trouble);
	put_time(rows, "tried_again", s->due);
	rows->text(ctx, "reminded", s->quiet ? "no" : "yes");
	put_time(rows, "read", s->read_at);
	if (s->read_at > 0)
		rows->number(ctx, "age", now.wall_s > s->read_at ? now.wall_s - s->read_at : 0);
	rows->text(ctx, "reading_due", s->dirty ? "yes" : "no");
	rows->text(ctx, "publication", NAME(publication_name, s->publication));
	rows->text(ctx, "confirmed", s->confirmed ? "yes" : "no");
	rows->text(ctx, "answer_unknown", s->unsure ? "yes" : "no");
	rows->text(ctx, "etag", u.etag);
	rows->number(ctx, "expires", s->expires);
	put_time(rows, "lapses", s->lapses);
	put_time(rows, "changed", s->put_at);
	return PX_BOARD_FOUND;
}

/* ---- gateways and statistics ---- */

void px_show_gateways(const struct px_board_reader *b, const struct px_rows *rows)
{
	struct px_board_gateway_state g;
	void *ctx = rows->ctx;

	for (uint32_t i = 0; px_board_gateway_read(b, i, &g); i++) {
		if (!g.name[0]) /* a free place */
			continue;
		rows->begin(ctx);
		rows->text(ctx, "name", g.name);
		rows->text(ctx, "health", px_show_health(g.health));
		rows->text(ctx, "origin", NAME(origin_name, g.origin));
		rows->text(ctx, "server", g.server);
		rows->text(ctx, "learns_by", NAME(kind_name, g.kind));
		rows->number(ctx, "users", g.users);
		rows->number(ctx, "requests", (int64_t)g.requests);
		rows->number(ctx, "errors", (int64_t)g.errors);
		rows->number(ctx, "in_flight", g.in_flight);
		rows->number(ctx, "limit", g.limit);
		rows->number(ctx, "concurrency", g.concurrency);
		rows->text(ctx, "probing", g.probing ? "yes" : "no");
		rows->text(ctx, "last_error", g.last_error);
		put_time(rows, "last_error_at", g.last_error_at / 1000);
	}
}

static uint64_t gateways(const struct px_board_reader *b, bool up)
{
	struct px_board_gateway_state g;
	uint64_t n = 0;

	for (uint32_t i = 0; px_board_gateway_read(b, i, &g); i++)
		n += g.name[0] && g.health != PX_BOARD_REMOVED && g.health != LEAVING &&
		     (g.health == 0) == up;
	return n;
}

uint64_t px_stat(const struct px_board_reader *b, enum px_stat which, struct px_show_now now)
{
	const uint64_t epoch = px_board_epoch(b);
	struct px_board_counts c = {0};

	px_board_counts_read(b, &c);
	switch (which) {
	case PX_STAT_users:
		return c.users;
	case PX_STAT_enabled:
		return c.on;
	case PX_STAT_published:
		return c.published;
	case PX_STAT_confirmed:
		return c.confirmed;
	case PX_STAT_subscribed:
		return (uint64_t)c.watch[GATHERING] + c.watch[FOLLOWED];
	case PX_STAT_followed:
		return c.watch[FOLLOWED];
	case PX_STAT_parked:
		return c.watch[PARKED];
	case PX_STAT_refused:
		return c.refused;
	case PX_STAT_streams:
		return c.streams;
	case PX_STAT_gateways_up:
		return gateways(b, true);
	case PX_STAT_gateways_down:
		return gateways(b, false);
	case PX_STAT_publishes:
		return c.publishes;
	case PX_STAT_publish_failures:
		return c.sip_failed;
	case PX_STAT_reads:
		return c.reads;
	case PX_STAT_events:
		return c.events;
	case PX_STAT_polls:
		return c.polls;
	case PX_STAT_notified:
		return c.notified;
	case PX_STAT_strays:
		return c.strays;
	case PX_STAT_subscribes:
		return c.subscribes;
	case PX_STAT_login_held:
		return c.login == LOGIN_HELD;
	case PX_STAT_presence_up:
		return epoch > 0 && !c.sip_down;
	case PX_STAT_reminders:
		return c.reminders;
	case PX_STAT_reminder_failures:
		return c.reminders_failed;
	case PX_STAT_active:
		return c.active;
	case PX_STAT_reloads:
		return c.reloads;
	case PX_STAT_reload_wrong:
		return c.reload_wrong;
	case PX_STAT_worker_up:
		return px_board_silent_ms(b, now.mono_ms) < PX_BOARD_SILENT_MS;
	case PX_STAT_worker_restarts:
		return epoch > 0 ? epoch - 1 : 0;
	case PX_STAT_log_lost:
		return c.log_lost;
	case PX_STAT_commands_lost:
		return px_board_lost(b);
	case PX_STAT_COUNT:
		break;
	}
	return 0;
}

void px_show_stats(const struct px_board_reader *b, struct px_show_now now,
                   const struct px_rows *rows)
{
	static const char *const name[] = {
#define NAME_OF(name, help) #name,
	    PX_STATS(NAME_OF)
#undef NAME_OF
	};
	const int64_t silent = px_board_silent_ms(b, now.mono_ms);
	struct px_board_counts c = {0};
	void *ctx = rows->ctx;

	px_board_counts_read(b, &c);
	rows->begin(ctx);
	rows->text(ctx, "worker",
	           silent >= PX_BOARD_SILENT_MS             ? "silent"
	           : c.epoch != (uint32_t)px_board_epoch(b) ? "starting"
	                                                    : "running");
	put_time(rows, "started", c.started_at);
	put_time(rows, "reloaded", c.reloaded_at);
	rows->text(ctx, "login", NAME(login_name, c.login));
	rows->text(ctx, "presence_server", c.sip_down ? "down" : "up");
	for (unsigned i = 0; i < PX_STAT_COUNT; i++)
		rows->number(ctx, name[i], (int64_t)px_stat(b, (enum px_stat)i, now));
}
