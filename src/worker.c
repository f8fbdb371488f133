/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * worker.c - pua_exchange_worker: settings in, the loop around the engine, everything told on the
 * board. The one file that knows everybody.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sofia-sip/su_log.h>
#ifdef PX_SANITIZED
#include <sanitizer/lsan_interface.h>
#endif

#include "backend/ews.h"
#include "backend/webdav.h"
#include "check.h"
#include "core/buf.h"
#include "core/engine.h"
#include "core/lang.h"
#include "io/board.h"
#include "io/control.h"
#include "io/http.h"
#include "io/log.h"
#include "io/loop.h"
#include "io/notify.h"
#include "io/push.h"
#include "io/sip.h"
#include "io/state.h"
#include "io/zone.h"
#include "live.h"
#include "px_file.h"
#include "px_settings.h"
#include "px_version.h"

#define SETTINGS_FILE_MAX (64 << 20)
#define USERS_FILE_MAX (256 << 20)
#define BEAT_MS 1000
#define STATS_MS 60000
#define LEAVE_MS 10000 /* on_exit=withdraw takes so long at most */
#define LEAVE_SILENT_MS                                                                            \
	2000 /* ... and so long without an answer: it is likely being stopped as well */
#define PUBLISH_WINDOW 256 /* more in flight doesn't make a presence server faster */
#define WALL_JUMP_MS 500
#define SUBSCRIPTION_MS 1800000 /* without a stream it doesn't live longer */
#define CHECK_MAX (16 << 20)
#define CHECK_GOOD_MS 30000 /* so long the outcome of a check is told to whoever asks again */

_Static_assert(PUBLISH_WINDOW <= PX_SIP_WINDOW_MAX, "they must fit into the connection's queue");

struct options;

struct worker {
	struct px_settings *settings; /* live's as soon as there is one */
	const struct options *options;
	char *note_lang, *note[PX_NOTES], *remind_from; /* borrowed by the engine */
	bool withdraw_on_exit;

	struct px_loop *loop;
	const struct px_backend *backend;
	char root[PX_WEBDAV_FOLDER_MAX + 2]; /* where a WebDAV front end has its mailboxes */
	struct px_notify_port *notify;       /* NULL: nobody is to call */
	char *announce_udp;
	char notify_url[PX_NOTIFY_URL_MAX]; /* "": not known yet */
	struct px_http *http;
	struct px_sip *sip;
	struct px_engine *engine;
	struct px_board *board;
	struct px_push *push; /* NULL: there is no listener */
	char *callback;       /* what Exchange is told to call; NULL: nothing */
	struct px_control *control;
	int signals;

	struct px_state *state;      /* state_file being written; NULL: none */
	struct px_state_file *saved; /* as it was found; freed when all is set up */
	char *state_path;
	uint64_t identity;
	bool standby; /* at the start */
	bool former;  /* the board has what a former worker knew */
	struct px_live *live;
	unsigned loaded; /* users that were taken over */
	unsigned wrong;  /* lines of users_file at the start */
	unsigned servers;

	struct px_checker *checker;            /* the check at hand, or the last one */
	char checked[PX_CONTROL_TEXT_MAX + 1]; /* whom it is about */
	struct px_mono checked_at;             /* its end; not set: it runs */
	struct px_buf check_rows;              /* as whoever asked last began to read them */
	unsigned kinds; /* of subscription that the settings allow; as PX_KIND_BIT()s */

	bool leaving;
	struct px_mono leave_at, beat_at, stats_at;
	struct px_mono answered_at; /* leaving: when the last user could go */
	unsigned left;
	int64_t wall_offset;
	uint32_t started_at;
	int status;
};

/* The longest answer that can be right, in bytes; 0: no end. */
static int64_t ceiling(enum px_ask ask)
{
	switch (ask) {
	case PX_ASK_STREAM:
		return 0;
	case PX_ASK_READ:
	case PX_ASK_DETAILS:
		return 32 << 20; /* 100 calendars of PX_INTERVALS_MAX events */
	case PX_ASK_PROBE:
	case PX_ASK_POLL:
		return 1 << 20;
	default:
		return 1 << 16;
	}
}

/* ---- what a former worker knew ---- */

static int gateway_by_hash(const struct worker *w, uint32_t hash)
{
	const struct px_pool *pool = px_engine_pool(w->engine);

	for (unsigned i = 0; hash != 0 && i < pool->n; i++)
		if (pool->gateway[i].health != PX_GW_LEAVING &&
		    px_board_name_hash(pool->gateway[i].name) == hash)
			return (int)i;
	return PX_NO_GATEWAY;
}

/*
 * Who was followed is there before what is wanted is read. The state_file tells this only of those whom a command switched: whoever starts the
 * proxy means what its files say.
 */
static void recall(void *arg, const struct px_board_user *u)
{
	struct worker *w = arg;

	if (u->mailbox[0] && (u->state.origin >= PX_FROM_RPC || (w->former && u->state.on)))
		px_live_recall(w->live, u, px_loop_now(w->loop));
}

static void restore_user(void *arg, const struct px_board_user *u)
{
	struct worker *w = arg;
	const struct px_now now = px_loop_now(w->loop);
	struct px_told told = {.floor = u->state.reminded_floor};
	int64_t id = px_engine_user_find(w->engine, u->key);
	const bool known = id >= 0;
	struct px_user_view v;

	if (!known) {
		/* not a user any more: what still stands for it is withdrawn, then it is forgotten
		 */
		id = u->etag[0]
		         ? px_engine_user_put(w->engine, u->key,
		                              u->mailbox[0] ? u->mailbox : u->key, false, now)
		         : -ENOENT;
		if (id < 0 || px_live_claim(w->live, (uint32_t)id, PX_FROM_FILE) < 0) {
			px_board_forget(w->board, u->key);
			return;
		}
	}
	/* a subscription is to a mailbox, which may be another one now */
	const bool same =
	    px_engine_user(w->engine, (uint32_t)id, &v) && strcmp(v.mailbox, u->mailbox) == 0;
	const struct px_known k = {
	    .gateway = gateway_by_hash(w, u->state.gateway),
	    .kind = (enum px_kind)u->state.kind,
	    .minutes = u->state.minutes,
	    .subscription = same && u->subscription[0] ? u->subscription : NULL,
	    .watermark = u->watermark ? u->subscription + u->watermark : NULL,
	    .etag = u->etag[0] ? u->etag : NULL,
	    .unsure = u->state.unsure,
	    .lapses = {(int64_t)u->state.lapses * 1000}};
	px_engine_user_restore(w->engine, u->key, &k, now);
	memcpy(told.start, u->state.reminded, sizeof told.start);
	px_engine_user_told(w->engine, u->key, &told);
	if (known)
		w->loaded++;
	else
		px_engine_user_remove(w->engine, u->key, now);
}

/* As the state_file tells: it may be old. */
static void restore_saved(void *arg, const struct px_board_user *u)
{
	struct worker *w = arg;
	const struct px_now now = px_loop_now(w->loop);
	struct px_board_user copy = *u;

	if (now.wall.ms - px_state_saved_at(w->saved) > SUBSCRIPTION_MS)
		copy.subscription[0] = '\0';
	restore_user(arg, &copy);
}

static void restore_gateway(void *arg, const struct px_board_gateway_state *g)
{
	struct worker *w = arg;

	px_live_gateway_restore(w->live, g, px_loop_now(w->loop));
}

/* ---- turns ---- */

static void put_user(struct worker *w, uint32_t id, struct px_now now)
{
	const struct px_pool *pool = px_engine_pool(w->engine);
	struct px_user_view v;

	if (px_engine_user(w->engine, id, &v))
		px_board_put(w->board, &v, px_live_origin(w->live, id),
		             v.gateway == PX_NO_GATEWAY ? NULL : pool->gateway[v.gateway].name,
		             now);
}

static enum px_heard push_heard(void *arg, uint32_t who, const char *bytes, size_t n)
{
	struct worker *w = arg;

	px_loop_mark(w->loop);
	return px_engine_notified(w->engine, who, bytes, n, px_loop_now(w->loop));
}

static void carry_out(struct worker *w, struct px_action *a, struct px_now now)
{
	switch (a->kind) {
	case PX_DO_HTTP_START:
		px_http_start(w->http, a->http.id, a->http.gateway, &a->http.wire, a->http.cookie,
		              a->http.timeout_ms, ceiling(a->http.ask));
		break;
	case PX_DO_HTTP_CANCEL:
		px_http_cancel(w->http, a->http_cancel);
		break;
	case PX_DO_SIP_START:
		px_sip_publish(w->sip, a);
		break;
	case PX_DO_SIP_MESSAGE:
		px_sip_message(w->sip, a);
		break;
	case PX_DO_BOARD_PUT:
		put_user(w, a->user, now);
		break;
	case PX_DO_BOARD_DROP:
		px_board_drop(w->board, a->user);
		break;
	case PX_DO_GATEWAY_GONE:
		px_live_gateway_gone(w->live, a->gateway);
		break;
	case PX_DO_LOG:
		px_log_line(a->log.level, a->log.text);
		break;
	}
}

static void carry_all_out(struct worker *w, struct px_now now)
{
	size_t n;
	struct px_action *a = px_engine_actions(w->engine, &n);

	/* the board first: whoever finds it after us must know what may have been sent */
	for (size_t i = 0; i < n; i++)
		if (a[i].kind == PX_DO_BOARD_PUT || a[i].kind == PX_DO_BOARD_DROP)
			carry_out(w, &a[i], now);
	for (size_t i = 0; i < n; i++)
		if (a[i].kind != PX_DO_BOARD_PUT && a[i].kind != PX_DO_BOARD_DROP)
			carry_out(w, &a[i], now);
	px_engine_actions_clear(w->engine);
}

static void beat(struct worker *w, struct px_now now)
{
	const struct px_live_counts live = px_live_counts(w->live);
	const struct px_board_counts also = {.log_lost = px_log_lost(),
	                                     .strays = px_push_strays(w->push) +
	                                               px_notify_strays(w->notify),
	                                     .refused = live.refused,
	                                     .started_at = w->started_at,
	                                     .active = px_engine_is_active(w->engine),
	                                     .reloads = live.reloads,
	                                     .reload_wrong = live.wrong,
	                                     .reloaded_at = live.reloaded_at};

	px_live_gateways_put(w->live, w->board);
	px_board_counts(w->board, w->engine, also);
	px_board_beat(w->board, now);
	px_push_tick(w->push);
	if (w->state)
		px_state_turn(w->state, now);
	w->beat_at = px_after(now, BEAT_MS);
}

static void say_stats(struct worker *w, struct px_now now)
{
	const struct px_engine_counts c = px_engine_counts(w->engine);
	const struct px_esc *esc = px_engine_esc(w->engine);

	px_log(PX_LOG_DEBUG,
	       "stats users=%u on=%u followed=%u published=%u confirmed=%u streams=%u reads=%llu "
	       "events=%llu publishes=%llu subscribes=%llu sip=%s window=%u",
	       c.users, c.on, c.watch[PX_WATCH_FOLLOWED], c.published, c.confirmed, c.streams,
	       (unsigned long long)c.reads, (unsigned long long)c.events,
	       (unsigned long long)c.publishes, (unsigned long long)c.subscribes,
	       esc->down ? "down" : "up", esc->window);
	w->stats_at = px_after(now, STATS_MS);
}

/*
 * Withdrawing takes as long as the presence server takes it. The proxy that stops us may be that server: it is gone then, or about to be.
 */
static bool still_leaving(struct worker *w, struct px_now now)
{
	const unsigned left = px_engine_counts(w->engine).users;
	const struct px_esc *esc = px_engine_esc(w->engine);
	const struct px_mono silent = {w->answered_at.ms + LEAVE_SILENT_MS};

	if (left < w->left)
		w->answered_at = now.mono;
	w->left = left;
	if (left == 0)
		return false;
	if (px_due(w->leave_at, now))
		px_log(PX_LOG_WARN, "end: %u users could not be withdrawn in time", left);
	else if ((esc->down && esc->servers == 1) || px_due(silent, now))
		px_log(PX_LOG_WARN, "end: %u users could not be withdrawn: the presence server %s",
		       left, esc->down ? "is down" : "doesn't answer");
	else
		return true;
	return false;
}

static struct px_mono leave_due(const struct worker *w)
{
	if (!w->leaving)
		return (struct px_mono){0};
	return px_earlier(w->leave_at, (struct px_mono){w->answered_at.ms + LEAVE_SILENT_MS});
}

/* Whoever waits for a reload is told what became of it. */
static void tell_reload(struct worker *w)
{
	struct px_control_answer a = {.status = 0};

	if (px_live_ended(w->live, a.said) && w->control)
		px_control_answer(w->control, PX_CONTROL_RELOAD, &a);
}

static void turn(void *arg, struct px_now now)
{
	struct worker *w = arg;
	const int64_t offset = now.wall.ms - now.mono.ms;
	const bool jumped =
	    offset > w->wall_offset + WALL_JUMP_MS || offset < w->wall_offset - WALL_JUMP_MS;

	if (jumped || px_due(px_engine_due(w->engine, now), now)) {
		w->wall_offset = offset;
		px_engine_tick(w->engine, now);
	}
	if (px_live_busy(w->live))
		px_live_turn(w->live, now);
	px_engine_pump(w->engine, now);
	carry_all_out(w, now);
	if (w->checker && !w->checked_at.ms) {
		px_checker_pump(w->checker);
		if (px_checker_ended(w->checker))
			w->checked_at = now.mono;
	}
	tell_reload(w);
	if (px_due(w->beat_at, now))
		beat(w, now);
	if (px_due(w->stats_at, now))
		say_stats(w, now);
	if (w->leaving) {
		if (!still_leaving(w, now))
			px_loop_stop(w->loop);
	}
	if (px_live_busy(w->live)) {
		px_loop_wake(w->loop, now.mono);
		return;
	}
	px_loop_wake(w->loop, px_earlier(px_engine_due(w->engine, now),
	                                 px_earlier(w->beat_at, leave_due(w))));
}

/* ---- commands ---- */

static int execute_user(struct worker *w, const struct px_command *q, const char **why)
{
	const struct px_now now = px_loop_now(w->loop);
	int64_t id = px_engine_user_find(w->engine, q->key);

	if (id < 0 && q->command != PX_CONTROL_ENABLE) {
		*why = "No such user";
		return -ENOENT;
	}
	if (q->command == PX_CONTROL_REFRESH)
		return px_engine_user_refresh(w->engine, q->key, now);
	id = px_live_switch(w->live, q->key, q->mailbox, q->command == PX_CONTROL_ENABLE,
	                    (enum px_board_origin)q->origin, now, why);
	if (id < 0)
		return (int)id;
	put_user(w, (uint32_t)id, now);
	return 0;
}

/* ---- the troubleshooter, by command ---- */

/* What the account is refused for, while it is; "": it isn't. */
static void say_held(const struct px_pool *pool, char *out, size_t size)
{
	const struct px_gateway *g = pool->accused >= 0 ? &pool->gateway[pool->accused] : NULL;

	out[0] = '\0';
	if (pool->login == PX_LOGIN_HELD && g)
		snprintf(out, size, "%s at %s", g->last_error, g->name);
}

/* Users whose calendars may be tried there: those who are at that gateway already go first. */
static unsigned find_tried(const struct worker *w, int gateway,
                           const char *mailbox[PX_CHECK_MAILBOXES])
{
	struct px_user_view v;
	unsigned n = 0;

	for (int pass = 0; pass < 2; pass++)
		for (uint32_t id = 0; id < px_engine_users_end(w->engine) && n < PX_CHECK_MAILBOXES;
		     id++) {
			if (!px_engine_user(w->engine, id, &v) || !v.on ||
			    (gateway >= 0 && (v.gateway == gateway) == pass))
				continue;
			if (gateway < 0 && pass)
				break;
			mailbox[n++] = v.mailbox;
		}
	return n;
}

/* What the listener for NOTIFYs has heard; NULL: there is none. */
static const char *say_hints(const struct worker *w, char out[PX_NOTIFY_URL_MAX + 80])
{
	const int shown = (int)strlen(w->notify_url) - PX_NOTIFY_TOKEN - 1;
	const uint64_t heard = w->notify ? px_notify_counts(w->notify).heard : 0;

	if (!w->notify || shown < 0)
		return NULL;
	if (heard)
		snprintf(out, PX_NOTIFY_URL_MAX + 80, "%llu NOTIFYs have come to %.*s",
		         (unsigned long long)heard, shown, w->notify_url);
	else
		snprintf(out, PX_NOTIFY_URL_MAX + 80,
		         "no NOTIFY has come to %.*s yet; change a calendar, and check again",
		         shown, w->notify_url);
	return out;
}

static int begin_check(struct worker *w, const char *whom, const char **said)
{
	static char why[PX_HTTP_WHY];
	const struct px_pool *pool = px_engine_pool(w->engine);
	const char *mailbox[PX_CHECK_MAILBOXES];
	char held[PX_CODE_MAX + PX_DETAIL_MAX + PX_GATEWAY_NAME_MAX + 8], key[PX_AOR_MAX + 1];
	char hints[PX_NOTIFY_URL_MAX + 80];
	const char **name = calloc(2 * pool->n, sizeof *name);
	struct px_checker_config c = {.backend = w->backend,
	                              .gateways = pool->n,
	                              .name = name,
	                              .url = name + pool->n,
	                              .mailbox = mailbox,
	                              .only = -1,
	                              .kinds = w->kinds};
	struct px_checker *k;
	int64_t id = -1;
	int err = 0;

	if (!name)
		return -ENOMEM;
	for (unsigned i = 0; i < pool->n; i++) {
		if (!pool->gateway[i].used || pool->gateway[i].health == PX_GW_LEAVING)
			continue;
		name[i] = pool->gateway[i].name;
		name[pool->n + i] = px_http_url(w->http, i);
		if (*whom && strcasecmp(name[i], whom) == 0)
			c.only = (int)i;
	}
	if (*whom && c.only < 0) {
		struct px_user_view v;

		if (px_key_from_aor(whom, strlen(whom), key) == 0)
			id = px_engine_user_find(w->engine, key);
		if (id < 0 || !px_engine_user(w->engine, (uint32_t)id, &v)) {
			*said = "neither a gateway nor a user has this name";
			err = -ENOENT;
		} else {
			const char *other[PX_CHECK_MAILBOXES];
			const unsigned others = find_tried(w, v.gateway, other);

			mailbox[0] = v.mailbox;
			c.mailboxes = c.wanted = 1;
			c.only = v.gateway;
			for (unsigned i = 0; i < others && c.mailboxes < PX_CHECK_MAILBOXES; i++)
				if (strcmp(other[i], v.mailbox) != 0)
					mailbox[c.mailboxes++] = other[i];
		}
	} else {
		c.mailboxes = find_tried(w, c.only, mailbox);
	}
	say_held(pool, held, sizeof held);
	c.held = held[0] ? held : NULL;
	c.hints = say_hints(w, hints);
	if (err == 0 && (err = px_checker_new(&k, w->loop, w->http, &c, why)) < 0)
		*said = why;
	free(name);
	if (err < 0)
		return err;
	px_checker_free(w->checker);
	w->checker = k;
	w->checked_at = (struct px_mono){0};
	snprintf(w->checked, sizeof w->checked, "%s", whom);
	px_log(PX_LOG_NOTICE, "check %s", *whom ? whom : "of all gateways");
	return 0;
}

/*
 * "OFFSET [WHOM]": offset 0 begins a check, or tells of the one that runs or has just ended; the rows come in parts, each asked for
 * by the offset behind the one before.
 */
static void command_check(struct worker *w, const char *text, struct px_control_answer *a)
{
	const struct px_now now = px_loop_now(w->loop);
	char *whom;
	size_t offset = strtoul(text, &whom, 10), room, n;
	const char *said = "";
	int head;

	whom += *whom == ' ';
	if (w->checker && !w->checked_at.ms && strcmp(w->checked, whom) != 0) {
		a->status = -EBUSY;
		snprintf(a->said, sizeof a->said, "another check runs (%.200s); ask again",
		         w->checked[0] ? w->checked : "of all gateways");
		return;
	}
	if (offset == 0) {
		if ((!w->checker || strcmp(w->checked, whom) != 0 ||
		     (w->checked_at.ms && now.mono.ms - w->checked_at.ms > CHECK_GOOD_MS)) &&
		    (a->status = begin_check(w, whom, &said)) < 0) {
			snprintf(a->said, sizeof a->said, "%s",
			         *said ? said : strerror(-a->status));
			return;
		}
		px_buf_free(&w->check_rows);
		w->check_rows = px_buf_new(CHECK_MAX);
		px_checker_rows(w->checker, &w->check_rows);
	}
	head = snprintf(a->said, sizeof a->said, "%s %lld %zu\n",
	                w->checked_at.ms ? "done" : "running",
	                (long long)(w->checked_at.ms ? now.mono.ms - w->checked_at.ms : 0) / 1000,
	                w->check_rows.len);
	room = sizeof a->said - 1 - (size_t)head;
	n = offset < w->check_rows.len ? w->check_rows.len - offset : 0;
	if (n > room)
		n = room;
	if (n > 0)
		memcpy(a->said + head, w->check_rows.data + offset, n);
	a->said[(size_t)head + n] = '\0';
}

/* What isn't about one user. */
static int execute(struct worker *w, const struct px_command *q, struct px_control_answer *a,
                   char why[PX_WHY_MAX])
{
	const struct px_now now = px_loop_now(w->loop);

	switch (q->command) {
	case PX_CONTROL_RELOAD:
		px_live_reload(w->live, strcmp(q->text, PX_CONTROL_REMOVING) == 0, now);
		return -EINPROGRESS;
	case PX_CONTROL_ACTIVE:
		if (q->text[0])
			px_engine_active(w->engine, strcmp(q->text, "on") == 0, now);
		snprintf(a->said, sizeof a->said, "active=%s",
		         px_engine_is_active(w->engine) ? "yes" : "no");
		return 0;
	case PX_CONTROL_GATEWAY_ADD:
		return px_live_gateway_add(w->live, q->text, now, why);
	case PX_CONTROL_GATEWAY_REMOVE:
		return px_live_gateway_remove(w->live, q->text, now, why);
	default:
		return -ENOTSUP;
	}
}

static void command(void *arg, const struct px_command *q, struct px_control_answer *a)
{
	static const char *const name[] = {[PX_CONTROL_REFRESH] = "refresh",
	                                   [PX_CONTROL_ENABLE] = "enable",
	                                   [PX_CONTROL_DISABLE] = "disable",
	                                   [PX_CONTROL_RELOAD] = "reload",
	                                   [PX_CONTROL_ACTIVE] = "active",
	                                   [PX_CONTROL_GATEWAY_ADD] = "gateway_add",
	                                   [PX_CONTROL_GATEWAY_REMOVE] = "gateway_remove"};
	const bool user = q->command <= PX_CONTROL_DISABLE;
	char text[PX_WHY_MAX] = "";
	const char *why = text;
	bool refused;

	if (q->command == PX_CONTROL_CHECK) {
		command_check(arg, q->text, a);
		return;
	}
	a->status = user ? execute_user(arg, q, &why) : execute(arg, q, a, text);
	refused = a->status < 0 && a->status != -EINPROGRESS;
	if (refused)
		snprintf(a->said, sizeof a->said, "%s", *why ? why : strerror(-a->status));
	px_log(PX_LOG_NOTICE, "command=%s%s%s%s%s%s%s", name[q->command],
	       user         ? " user="
	       : q->text[0] ? " "
	                    : "",
	       user ? q->key : q->text, q->mailbox[0] ? " mailbox=" : "", q->mailbox,
	       refused ? " refused: " : "", refused ? a->said : "");
}

/* ---- what libraries tell ---- */

static void http_data(void *arg, uint64_t id, const char *bytes, size_t n)
{
	struct worker *w = arg;

	px_loop_mark(w->loop);
	px_engine_http_data(w->engine, id, bytes, n, px_loop_now(w->loop));
}

/* Without the token, which is nobody's business. */
static void say_notify_url(const struct worker *w)
{
	px_log(PX_LOG_NOTICE, "notify=%.*s", (int)strlen(w->notify_url) - PX_NOTIFY_TOKEN - 1,
	       w->notify_url);
}

static void http_done(void *arg, uint64_t id, const struct px_http_answer *a)
{
	struct worker *w = arg;

	px_loop_mark(w->loop);
	px_engine_http_done(w->engine, id, a, px_loop_now(w->loop));
	/* by which address of ours it reaches us is known once we have reached it */
	if (w->notify && !w->notify_url[0] && px_http_local(w->http) &&
	    px_notify_url(w->notify, w->announce_udp, px_http_local(w->http), w->notify_url))
		say_notify_url(w);
}

static void notify_heard(void *arg, uint32_t who, const char *ids, size_t n)
{
	struct worker *w = arg;

	px_loop_mark(w->loop);
	px_engine_notified(w->engine, who, ids, n, px_loop_now(w->loop));
}

static void sip_done(void *arg, uint64_t id, const struct px_sip_answer *a)
{
	struct worker *w = arg;

	px_loop_mark(w->loop);
	px_engine_sip_done(w->engine, id, a, px_loop_now(w->loop));
}

static void sip_lost(void *arg)
{
	struct worker *w = arg;

	px_loop_mark(w->loop);
	px_engine_sip_lost(w->engine, px_loop_now(w->loop));
}

static void leave(struct worker *w)
{
	const struct px_now now = px_loop_now(w->loop);
	struct px_user_view v;

	if (!w->withdraw_on_exit || w->leaving) {
		px_loop_stop(w->loop);
		return;
	}
	w->leaving = true;
	w->leave_at = px_after(now, LEAVE_MS);
	w->answered_at = now.mono;
	w->left = UINT_MAX;
	for (uint32_t id = 0; id < px_engine_users_end(w->engine); id++) {
		char key[PX_AOR_MAX + 1];

		if (!px_engine_user(w->engine, id, &v))
			continue;
		snprintf(key, sizeof key, "%s", v.key);
		px_engine_user_remove(w->engine, key, now);
	}
	px_loop_mark(w->loop);
}

static void on_signal(void *arg)
{
	struct worker *w = arg;
	struct signalfd_siginfo s;

	while (read(w->signals, &s, sizeof s) == sizeof s) {
		if (s.ssi_signo == SIGHUP) {
			px_live_reload(w->live, false, px_loop_now(w->loop));
			px_loop_mark(w->loop);
			continue;
		}
		px_log(PX_LOG_NOTICE, "%s: ending", s.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
		leave(w);
	}
}

static void sofia_says(void *arg, char const *fmt, va_list ap)
{
	char text[1024];

	(void)arg;
	vsnprintf(text, sizeof text, fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	px_log(PX_LOG_DEBUG, "sofia: %s", text);
}

/* ---- setting up ---- */

static void say_setting(void *arg, const char *complaint)
{
	(void)arg;
	px_log(PX_LOG_ERROR, "%s", complaint);
}

/* What stands on the command line. */
struct options {
	const char *path; /* of the settings; NULL: settings_fd has them */
	int settings_fd, board_fd, control_fd,
	    table_fd; /* of the module in the proxy; -1: there is none */
	bool test, check;
	const char *whom; /* check: a gateway's name or a user's AoR; NULL: all gateways */
};

static const char *settings_name(const struct options *o)
{
	return o->path ? o->path : "settings";
}

static int read_settings(const struct options *o, struct px_settings **out, px_said_h *said,
                         void *arg)
{
	const struct px_settings_reader reader = {.standalone = o->path != NULL,
	                                          .unit = o->path ? NULL : PX_MODPARAM,
	                                          .read = px_file_read,
	                                          .said = said,
	                                          .arg = arg};
	char why[PX_WHY_MAX], line[2 * PX_WHY_MAX];
	struct px_buf text;
	int err = o->path ? px_file_read(o->path, SETTINGS_FILE_MAX, false, &text, why)
	                  : px_file_read_fd(o->settings_fd, SETTINGS_FILE_MAX, false, &text, why);

	if (err < 0) {
		snprintf(line, sizeof line, "%.200s: %s", settings_name(o), why);
		said(arg, line);
		return err;
	}
	err = px_settings_read(out, text.data ? text.data : "", text.len, &reader);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	px_buf_free(&text);
	if (err < 0)
		return err;
	if (px_settings_impossible(*out, said, arg) == 0)
		return 0;
	px_settings_free(*out);
	*out = NULL;
	return -ENOTSUP;
}

/* For a reload. */
static int read_again(void *arg, struct px_settings **out, px_said_h *said, void *said_arg)
{
	const struct worker *w = arg;

	return read_settings(w->options, out, said, said_arg);
}

static int open_http(struct worker *w)
{
	const struct px_settings *s = w->settings;
	struct px_http_gateway *g = calloc(s->gateways, sizeof *g);
	const struct px_http_config c = {.gateway = g,
	                                 .gateways = (unsigned)s->gateways,
	                                 .account = s->account,
	                                 .password = s->password,
	                                 .auth = (enum px_auth)s->auth,
	                                 .heads = w->backend->heads,
	                                 .data = http_data,
	                                 .done = http_done,
	                                 .arg = w};
	char why[PX_HTTP_WHY];
	int err;

	if (!g)
		return -ENOMEM;
	for (size_t i = 0; i < s->gateways; i++)
		g[i] = (struct px_http_gateway){.name = s->gateway[i].name,
		                                .url = s->gateway[i].url,
		                                .ca_file = s->gateway[i].ca_file,
		                                .tls_min = 10 + (int)s->gateway[i].tls_min,
		                                .forms_root = w->root[0] ? w->root : NULL};
	err = px_http_new(&w->http, w->loop, &c, why);
	if (err < 0)
		px_log(PX_LOG_ERROR, "%s", why);
	free(g);
	return err;
}

static int keep(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

/* One front end of WebDAV, or any number of EWS: the settings see to that. */
static int choose_backend(struct worker *w)
{
	const struct px_gateway_config *g = w->settings->gateway;
	size_t n;

	w->backend = &px_ews;
	if (g->type == PX_GATEWAY_EWS)
		return 0;
	w->backend = &px_webdav;
	if (px_webdav_path(g->url, strlen(g->url), w->root) < 0) {
		px_log(PX_LOG_ERROR, "gateway %.150s: its path can't be used", g->url);
		return -EINVAL;
	}
	n = strlen(w->root);
	if (n == 1)
		strcpy(w->root, "/exchange/");
	else if (w->root[n - 1] != '/')
		strcpy(w->root + n, "/");
	return 0;
}

/* Where a WebDAV front end's stores call: it is only a hint, so without it all is but slower. */
static int open_notify(struct worker *w)
{
	const struct px_settings *s = w->settings;
	char token[PX_NOTIFY_TOKEN + 1], why[PX_NOTIFY_WHY];
	int err;

	if (w->backend != &px_webdav || s->subscription == PX_SUBSCRIPTION_PULL ||
	    s->subscription == PX_SUBSCRIPTION_NONE)
		return 0;
	if ((err = keep(&w->announce_udp, s->announce_udp)) < 0)
		return err;
	px_board_token(w->board, token);
	err = px_notify_new(&w->notify, w->loop, s->listen_udp, token, notify_heard, w, why);
	explicit_bzero(token, sizeof token);
	if (err < 0)
		px_log(PX_LOG_ERROR, "%s", why);
	else if (px_notify_url(w->notify, w->announce_udp, NULL, w->notify_url))
		say_notify_url(w);
	return err;
}

static int open_sip(struct worker *w)
{
	const struct px_settings *s = w->settings;
	const char **server = calloc(s->presence_servers, sizeof *server);
	const struct px_sip_config c = {.server = server,
	                                .servers = (unsigned)s->presence_servers,
	                                .bind = s->sip_bind,
	                                .user = s->sip_user,
	                                .password = s->sip_password,
	                                .ca_file = s->sip_ca_file,
	                                .certificate = s->sip_certificate,
	                                .done = sip_done,
	                                .lost = sip_lost,
	                                .arg = w};
	char why[PX_SIP_WHY];
	int err;

	if (!server)
		return -ENOMEM;
	for (size_t i = 0; i < s->presence_servers; i++)
		server[i] = s->presence_server[i].uri;
	err = px_sip_new(&w->sip, w->loop, &c, why);
	if (err < 0)
		px_log(PX_LOG_ERROR, "%s", why);
	free(server);
	return err;
}

/* The texts are w's or built in: the settings' own are freed before the engine. */
static struct px_pidf_style document_style(const struct worker *w)
{
	const struct px_settings *s = w->settings;
	const struct px_lang *lang = px_lang_find(w->note_lang);
	const char *const built_in[PX_NOTES] = {[PX_NOTE_AVAILABLE] = lang ? lang->available : NULL,
	                                        [PX_NOTE_BUSY] = lang ? lang->busy : NULL,
	                                        [PX_NOTE_AWAY] = lang ? lang->away : NULL};
	const char *text[PX_NOTES];

	for (int i = 0; i < PX_NOTES; i++)
		text[i] = w->note[i] ? w->note[i] : built_in[i];
	return (struct px_pidf_style){.lang = w->note_lang,
	                              .available = text[PX_NOTE_AVAILABLE],
	                              .busy = text[PX_NOTE_BUSY],
	                              .away = text[PX_NOTE_AWAY],
	                              .blink = s->compat & PX_COMPAT_BLINK,
	                              .cisco = s->compat & PX_COMPAT_CISCO,
	                              .timed_status = s->timed_status};
}

/* PX_KIND_BIT()s that the settings allow: the one that is set, and what may take its place where it isn't to be had. */
static unsigned kinds_of(const struct worker *w)
{
	const struct px_settings *s = w->settings;
	const unsigned all = PX_KIND_BIT(PX_KIND_STREAM) | PX_KIND_BIT(PX_KIND_PULL) |
	                     (s->listen_http ? PX_KIND_BIT(PX_KIND_PUSH) : 0);
	const unsigned kinds[] = {[PX_SUBSCRIPTION_AUTO] = all,
	                          [PX_SUBSCRIPTION_STREAMING] = all,
	                          [PX_SUBSCRIPTION_PUSH] =
	                              PX_KIND_BIT(PX_KIND_PUSH) | PX_KIND_BIT(PX_KIND_PULL),
	                          [PX_SUBSCRIPTION_PULL] = PX_KIND_BIT(PX_KIND_PULL),
	                          [PX_SUBSCRIPTION_NONE] = PX_KIND_BIT(PX_KIND_NONE)};

	/* WebDAV is asked, whether its store calls or not */
	if (w->backend == &px_webdav && s->subscription != PX_SUBSCRIPTION_NONE)
		return PX_KIND_BIT(PX_KIND_PULL);
	return kinds[s->subscription];
}

static int make_engine(struct worker *w, struct px_now now)
{
	const struct px_settings *s = w->settings;
	const char **name = calloc(s->gateways, sizeof *name);
	unsigned *concurrency = calloc(s->gateways, sizeof *concurrency);
	struct px_engine_config c = {.backend = w->backend,
	                             .root = w->root[0] ? w->root : NULL,
	                             .map = *s->map,
	                             .gateways = (unsigned)s->gateways,
	                             .gateway_name = name,
	                             .gateway_concurrency = concurrency,
	                             .kinds = kinds_of(w),
	                             .kind_set = s->subscription != PX_SUBSCRIPTION_AUTO &&
	                                         s->subscription != PX_SUBSCRIPTION_NONE,
	                             .callback = w->notify ? w->notify_url : w->callback,
	                             .horizon_s = s->horizon,
	                             .resync_s = s->resync,
	                             .oof_replies = s->oof_replies,
	                             .stale_after_s = s->stale_after,
	                             .stale_available = s->on_stale == PX_STALE_AVAILABLE,
	                             .document = document_style(w),
	                             .note_subject = s->note_subject,
	                             .publish_unavailable =
	                                 s->publish_when == PX_PUBLISH_UNAVAILABLE,
	                             .remind_before_s = s->remind_before,
	                             .remind_details = s->remind_details,
	                             .remind_from = w->remind_from,
	                             .remind_lang = px_lang_find(w->note_lang),
	                             .utc_offset_s = px_zone_offset_s,
	                             .publish_expires = (uint32_t)s->publish_expires,
	                             .publish_rate = (unsigned)s->publish_rate,
	                             .publish_window = PUBLISH_WINDOW,
	                             .presence_servers = (unsigned)s->presence_servers,
	                             .users_max = (uint32_t)s->max_users,
	                             .standby = w->standby,
	                             .log_level = (int)s->log_level};

	if (name && concurrency && getrandom(&c.seed, sizeof c.seed, 0) == sizeof c.seed) {
		for (size_t i = 0; i < s->gateways; i++) {
			name[i] = s->gateway[i].name;
			concurrency[i] = s->gateway[i].concurrency;
		}
		w->engine = px_engine_new(&c, now);
		w->kinds = c.kinds;
	}
	free(name);
	free(concurrency);
	return w->engine ? 0 : -ENOMEM;
}

/* The listener for EWS push, where calls to the last worker go, too. */
static int open_push(struct worker *w)
{
	const struct px_settings *s = w->settings;
	char token[PX_PUSH_TOKEN + 1], why[PX_PUSH_WHY];
	const struct px_push_config c = {
	    .listen = s->listen_http, .token = token, .heard = push_heard, .arg = w};
	int err;

	if (!s->listen_http)
		return 0;
	px_board_token(w->board, token);
	err = px_push_new(&w->push, w->loop, &c, why);
	if (err < 0) {
		px_log(PX_LOG_ERROR, "%s", why);
		return err;
	}
	w->callback = px_push_callback(s->listen_http, s->announce_http, token);
	return w->callback ? 0 : -ENOMEM;
}

static int open_signals(struct worker *w)
{
	sigset_t set;
	int err;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* before any library starts a thread */
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	w->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (w->signals < 0)
		return -errno;
	err = px_loop_watch(w->loop, w->signals, on_signal, w);
	return err;
}

/* Secrets in memory stay there: no core, no other process of this user may look. */
static void close_up(void)
{
	struct rlimit l;

	umask(077);
	signal(SIGPIPE, SIG_IGN);
	l = (struct rlimit){0, 0};
	setrlimit(RLIMIT_CORE, &l);
#ifndef PX_SANITIZED /* its leak check has to look */
	prctl(PR_SET_DUMPABLE, 0);
#endif
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
}

static int keep_notes(struct worker *w)
{
	int err = 0;

	for (int i = 0; i < PX_NOTES && err == 0; i++)
		err = keep(&w->note[i], w->settings->note[i]);
	return err;
}

/* Publications are known to one presence server (or several that are used in turn), and mean nothing to another. */
static uint64_t identity(const struct px_settings *s)
{
	uint64_t id = 0;

	for (size_t i = 0; i < s->presence_servers; i++)
		id = id * 31 +
		     px_key_hash(s->presence_server[i].uri, strlen(s->presence_server[i].uri));
	return id;
}

/* What was kept over the end of all processes, unless there is something newer. */
static int read_state(struct worker *w, const struct options *o)
{
	char why[PX_STATE_WHY];

	if (!w->settings->state_file || o->test)
		return 0;
	w->identity = identity(w->settings);
	w->state_path = strdup(w->settings->state_file);
	if (!w->state_path)
		return -ENOMEM;
	if (!w->former && px_state_read(&w->saved, w->state_path, w->identity, why) < 0)
		px_log(PX_LOG_ERROR, "%s", why);
	return 0;
}

/* Who is to be followed, and what commands to a former worker have changed. */
static int load(struct worker *w, const struct options *o, struct px_now now)
{
	const struct px_live_config c = {.engine = w->engine,
	                                 .http = w->http,
	                                 .sip = w->sip,
	                                 .settings = w->settings,
	                                 .read = read_again,
	                                 .arg = w,
	                                 .root = w->root[0] ? w->root : NULL,
	                                 .table_fd = o->table_fd};
	int err = px_live_new(&w->live, &c);

	if (err < 0)
		return err;
	w->servers = (unsigned)w->settings->presence_servers;
	w->settings = NULL;
	if (w->former)
		px_board_each_gateway(w->board, restore_gateway, w);
	else if (w->saved)
		px_state_gateways(w->saved, restore_gateway, w);
	if (w->former)
		px_board_each(w->board, recall, w);
	else if (w->saved)
		px_state_users(w->saved, recall, w);
	err = px_live_load(w->live, w->former, now);
	w->wrong = err > 0 ? (unsigned)err : 0;
	return err < 0 ? err : 0;
}

static int set_up(struct worker *w, const struct options *o)
{
	struct px_board_counts was;
	char why[256];
	int err = read_settings(o, &w->settings, say_setting, w);

	if (err < 0)
		return err;
	w->options = o;
	px_log_open(STDERR_FILENO, w->settings->log_level);
	w->withdraw_on_exit = w->settings->on_exit == PX_EXIT_WITHDRAW;
	if ((err = keep(&w->note_lang, w->settings->note_lang)) < 0 || (err = keep_notes(w)) < 0 ||
	    (err = keep(&w->remind_from, w->settings->remind_from)) < 0 ||
	    (err = px_loop_new(&w->loop, turn, w)) < 0 || (err = open_signals(w)) < 0)
		return err;
	su_log_redirect(NULL, sofia_says, NULL);
	if ((err = px_zone_take(w->settings->remind_zone, why)) < 0) {
		px_log(PX_LOG_ERROR, "%s", why);
		return err;
	}

	struct px_now now = px_loop_now(w->loop);

	w->wall_offset = now.wall.ms - now.mono.ms;
	w->started_at = (uint32_t)(now.wall.ms / 1000);
	err = px_board_new(&w->board, o->board_fd, (uint32_t)w->settings->max_users,
	                   PX_BOARD_GATEWAYS_MAX, now, why);
	if (err < 0) {
		px_log(PX_LOG_ERROR, "%s", why);
		return err;
	}
	w->former = px_board_former(w->board, &was);
	w->standby = w->settings->standby;
	if (w->former) /* a restart of the worker alone doesn't change which of the two publishes */
		w->standby = !was.active;
	if ((err = read_state(w, o)) < 0 || (err = choose_backend(w)) < 0 ||
	    (err = open_http(w)) < 0 || (err = open_sip(w)) < 0 || (err = open_push(w)) < 0 ||
	    (err = open_notify(w)) < 0 || (err = make_engine(w, now)) < 0)
		return err;
	if (err == 0 && o->control_fd >= 0)
		err = px_control_new(&w->control, w->loop, o->control_fd, command, w);
	return err < 0 ? err : load(w, o, now);
}

static void run(struct worker *w)
{
	const struct px_now now = px_loop_now(w->loop);
	const struct px_engine_counts c = px_engine_counts(w->engine);
	unsigned gateways = 0, gone;

	for (unsigned i = 0; i < px_engine_pool(w->engine)->n; i++)
		gateways += px_engine_pool(w->engine)->gateway[i].health != PX_GW_LEAVING;
	w->loaded = 0;
	if (w->former)
		px_board_each(w->board, restore_user, w);
	else if (w->saved)
		px_state_users(w->saved, restore_saved, w);
	gone = px_live_settle(w->live, now);
	px_state_forget(w->saved);
	w->saved = NULL;
	if (w->state_path)
		w->state = px_state_new(w->state_path, w->identity, w->board);
	px_log(PX_LOG_NOTICE,
	       "start version=" PX_VERSION
	       " users=%u gateways=%u presence_servers=%u taken_over=%u",
	       c.users - gone, gateways, w->servers, w->loaded - gone);
	if (c.users == gone)
		px_log(PX_LOG_WARN, "there are no users; give user or users_file");
	w->beat_at = now.mono;
	w->stats_at = px_after(now, STATS_MS);
	px_loop_mark(w->loop);
	px_loop_run(w->loop);
}

static void tear_down(struct worker *w)
{
	px_checker_free(w->checker);
	px_buf_free(&w->check_rows);
	px_control_free(w->control);
	px_sip_free(w->sip);
	if (w->loop)
		px_state_free(w->state, px_loop_now(w->loop));
	px_state_forget(w->saved);
	free(w->state_path);
	px_live_free(w->live);
	px_notify_free(w->notify);
	free(w->announce_udp);
	px_http_free(w->http);
	px_push_free(w->push);
	px_engine_free(w->engine);
	free(w->callback);
	px_board_free(w->board);
	if (w->signals >= 0) {
		if (w->loop)
			px_loop_unwatch(w->loop, w->signals);
		close(w->signals);
	}
	px_loop_free(w->loop);
	px_settings_free(w->settings);
	free(w->note_lang);
	free(w->remind_from);
	for (int i = 0; i < PX_NOTES; i++)
		free(w->note[i]);
}

/* ---- the troubleshooter, without the service ---- */

static void check_turn(void *arg, struct px_now now)
{
	struct worker *w = arg;

	(void)now;
	if (!w->checker)
		return;
	px_checker_pump(w->checker);
	if (px_checker_ended(w->checker))
		px_loop_stop(w->loop);
}

/* Whose calendars may be tried: the first users that are on, or the one that was asked for. */
struct trial {
	const char *key;    /* NULL: anybody */
	const char *beside; /* but this one */
	char *mailbox[PX_CHECK_MAILBOXES];
	unsigned n;
};

static void say_user_line(void *arg, const char *complaint)
{
	(void)arg;
	px_log(PX_LOG_ERROR, "users_file: %s", complaint);
}

static int try_user(void *arg, const struct px_user_config *u)
{
	struct trial *t = arg;

	if (!u->mailbox) /* a line that is wrong */
		return 0;
	if (t->key ? strcmp(t->key, u->key) != 0 : !u->on)
		return 0;
	if (t->beside && strcmp(t->beside, u->key) == 0)
		return 0;
	t->mailbox[t->n] = strdup(u->mailbox);
	if (!t->mailbox[t->n])
		return -ENOMEM;
	t->n++;
	return t->key || t->n == PX_CHECK_MAILBOXES ? -ECANCELED : 0; /* enough */
}

static int find_users(const struct px_settings *s, struct trial *t)
{
	struct px_buf text;
	char why[PX_WHY_MAX];
	int err = 0;

	for (size_t i = 0; i < s->users && err == 0; i++)
		err = try_user(t, &s->user[i]);
	if (err < 0 || !s->users_file)
		return err;
	err = px_file_read(s->users_file, USERS_FILE_MAX, false, &text, why);
	if (err < 0) {
		px_log(PX_LOG_ERROR, "users_file %s: %s", s->users_file, why);
		return err;
	}
	err = px_users_read(text.data ? text.data : "", text.len, s->mailbox_domain, try_user,
	                    say_user_line, t);
	px_buf_free(&text);
	return err;
}

/* Which gateway and which users `whom` means. */
static int find_whom(const struct px_settings *s, const char *whom, struct px_checker_config *c,
                     struct trial *t, char key[PX_AOR_MAX + 1])
{
	int err;

	c->only = -1;
	for (size_t i = 0; whom && i < s->gateways; i++)
		if (strcasecmp(s->gateway[i].name, whom) == 0)
			c->only = (int)i;
	if (whom && c->only < 0) {
		if (px_key_from_aor(whom, strlen(whom), key)) {
			px_log(PX_LOG_ERROR,
			       "--check %s: no gateway has this name, and it is no AoR", whom);
			return -EINVAL;
		}
		t->key = key;
	}
	err = find_users(s, t);
	if (err < 0 && err != -ECANCELED)
		return err;
	if (t->key && t->n == 0) {
		px_log(PX_LOG_ERROR, "--check %s: neither a gateway nor a user has this name",
		       whom);
		return -ENOENT;
	}
	if (t->key) { /* others, to compare with */
		c->wanted = t->n;
		t->beside = t->key;
		t->key = NULL;
		err = find_users(s, t);
	}
	return err == -ECANCELED ? 0 : err;
}

/* 0, or a negative errno: it couldn't be done, or a step failed. */
static int check(struct worker *w, const struct options *o)
{
	struct trial t = {.n = 0};
	struct px_checker_config c = {.gateways = 0};
	char key[PX_AOR_MAX + 1], why[PX_HTTP_WHY];
	const char **name = NULL;
	const struct px_settings *s;
	unsigned wrong = 0;
	int err = read_settings(o, &w->settings, say_setting, w);

	if (err < 0)
		return err;
	s = w->settings;
	px_log_open(STDERR_FILENO, s->log_level);
	err = choose_backend(w);
	if (err < 0)
		return err;
	c.backend = w->backend;
	name = calloc(2 * s->gateways, sizeof *name);
	if (!name)
		return -ENOMEM;
	for (size_t i = 0; i < s->gateways; i++) {
		name[i] = s->gateway[i].name;
		name[s->gateways + i] = s->gateway[i].url;
	}
	c.gateways = (unsigned)s->gateways;
	c.name = name;
	c.url = name + s->gateways;
	c.kinds = kinds_of(w);
	c.hints = "whether NOTIFYs arrive is what the running service logs";
	err = find_whom(s, o->whom, &c, &t, key);
	c.mailbox = (const char *const *)t.mailbox;
	c.mailboxes = t.n;
	if (err == 0)
		err = px_loop_new(&w->loop, check_turn, w);
	if (err == 0)
		err = open_http(w);
	if (err == 0 && (err = px_checker_new(&w->checker, w->loop, w->http, &c, why)) < 0)
		px_log(PX_LOG_ERROR, "%s", why);
	if (err == 0) {
		struct px_buf page = px_buf_new(CHECK_MAX);

		px_loop_mark(w->loop);
		px_loop_run(w->loop);
		wrong = px_checker_page(w->checker, &page);
		fputs(page.data ? page.data : "", stdout);
		px_buf_free(&page);
	}
	for (unsigned i = 0; i < t.n; i++)
		free(t.mailbox[i]);
	free(name);
	return err == 0 && wrong ? -EREMOTEIO : err;
}

static int help(void)
{
	struct px_buf out = px_buf_new(1 << 20);

	px_settings_print(&out, false);
	printf(
	    "usage: pua_exchange_worker -f FILE [-t | --check [WHOM]] [--board-fd N]\n"
	    "\n"
	    "  -f FILE           settings, lines of the form name = value\n"
	    "  -t                test the file and what it names, and exit\n"
	    "  --check [WHOM]    ask every gateway step by step what is wrong, say it, and exit: 0 "
	    "when\n"
	    "                    nothing is. WHOM: one gateway by its name, or one user by AoR\n"
	    "  -h                this\n"
	    "\n"
	    "The module in the proxy gives it open descriptors:\n"
	    "\n"
	    "  --settings-fd N   settings, instead of -f\n"
	    "  --board-fd N      the board to write on; a worker that is started again finds what\n"
	    "                    the former one knew there\n"
	    "  --control-fd N    where commands come from\n"
	    "  --table-fd N      users from the proxy's database\n"
	    "\n"
	    "It logs on stderr. SIGTERM ends it, SIGHUP makes it read settings and files again.\n"
	    "\n%s",
	    out.data ? out.data : "");
	px_buf_free(&out);
	return 0;
}

static int usage(const char *what)
{
	fprintf(stderr, "pua_exchange_worker: %s; pua_exchange_worker -h tells more\n", what);
	return 2;
}

/*
 * Ends the process here: a thread may still wait for a silent KDC inside of Kerberos' library, whose destructors must not run then. Nothing of ours is left to them.
 */
static void __attribute__((noreturn)) end(int status)
{
	fflush(NULL);
#ifdef PX_SANITIZED
	__lsan_do_leak_check();
#endif
	_exit(status);
}

static bool number(const char *text, int *out)
{
	char *end;
	long n = strtol(text, &end, 10);

	*out = (int)n;
	return *text && !*end && n >= 0 && n < 1 << 20;
}

int main(int argc, char **argv)
{
	struct worker w = {.signals = -1};
	struct options o = {.settings_fd = -1, .board_fd = -1, .control_fd = -1, .table_fd = -1};
	const struct {
		const char *name;
		int *fd;
	} given[] = {{"--settings-fd", &o.settings_fd},
	             {"--board-fd", &o.board_fd},
	             {"--control-fd", &o.control_fd},
	             {"--table-fd", &o.table_fd}};
	int err;

	for (int i = 1; i < argc; i++) {
		bool taken = false;

		if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
			return help();
		if (strcmp(argv[i], "-t") == 0) {
			o.test = true;
			continue;
		}
		if (strcmp(argv[i], "--check") == 0) {
			o.check = true;
			if (i + 1 < argc && argv[i + 1][0] != '-')
				o.whom = argv[++i];
			continue;
		}
		if (i + 1 == argc)
			return usage("an argument isn't understood");
		if (strcmp(argv[i], "-f") == 0) {
			o.path = argv[++i];
			continue;
		}
		for (size_t j = 0; j < sizeof given / sizeof *given && !taken; j++)
			taken =
			    strcmp(argv[i], given[j].name) == 0 && number(argv[i + 1], given[j].fd);
		if (!taken)
			return usage("an argument isn't understood");
		i++;
	}
	if (!o.path == (o.settings_fd < 0))
		return usage("-f FILE is missing");
	close_up();
	px_log_open(STDERR_FILENO, PX_LOG_NOTICE);
	err = o.check ? check(&w, &o) : set_up(&w, &o);
	if (o.check)
		; /* it has said what there is to say */
	else if (err < 0)
		px_log(PX_LOG_ERROR, "%s: not started (%s)", settings_name(&o), strerror(-err));
	else if (o.test && w.wrong + px_live_counts(w.live).refused > 0)
		err = -EINVAL; /* said line by line; a worker would start with the others */
	else if (o.test)
		px_log(PX_LOG_NOTICE, "%s: good", settings_name(&o));
	else
		run(&w);
	tear_down(&w);
	end(err < 0 ? 1 : 0);
}
