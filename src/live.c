/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "live.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/buf.h"
#include "io/log.h"
#include "px_file.h"
#include "px_table.h"

#define USERS_FILE_MAX (256 << 20)
#define SLICE 500       /* users in a turn */
#define WRONG_SHOWN 900 /* bytes of complaints that whoever asked is shown; the log has all */

/* Where a user came from, and the last reading that had it. */
struct source {
	uint8_t origin; /* enum px_board_origin */
	uint8_t pass;
};

struct wanted {
	uint32_t key, mailbox; /* where in `text`; mailbox NOTHING: only kept */
	uint8_t origin, on, quiet;
};
#define NOTHING UINT32_MAX

/* A gateway's place in the engine. */
struct place {
	struct px_gateway_config config; /* url NULL: there is none */
	uint8_t origin;
	bool leaving;
	char *given; /* by command, as it was written; else NULL */
};

enum phase { IDLE, PUTTING, REMOVING };

struct px_live {
	struct px_engine *engine;
	struct px_http *http;
	struct px_sip *sip;
	const char *root;
	struct px_settings *settings;
	int (*read)(void *arg, struct px_settings **out, px_said_h *said, void *said_arg);
	void *arg;
	int table_fd;

	struct source *source; /* by user id */
	uint32_t sources;
	uint8_t pass;
	struct place *place;
	unsigned places;
	char **removed; /* names of gateways, by command */
	unsigned removeds;

	enum phase phase;
	bool again, ended;
	bool removing;      /* however many go, they are meant to */
	struct px_buf text; /* keys and mailboxes with their NULs */
	struct wanted *wanted;
	size_t wants, room, at;
	uint32_t id;                /* REMOVING goes on there */
	bool whole[PX_FROM_DB + 1]; /* the source was read, and whoever isn't in it goes */
	enum px_board_origin reading;
	unsigned kept; /* wrong lines whose user is known */

	/* the report */
	unsigned users, added, removed_users, changed, switched, refused_now, complaints;
	struct px_buf gateways_added, gateways_removed, gateways_changed, restart, wrong;
	const char *login, *sip_login;

	unsigned refused, reloads, last_complaints;
	uint32_t reloaded_at;
};

/* ---- the report ---- */

static void begin_report(struct px_live *l)
{
	struct px_buf *const text[] = {&l->gateways_added, &l->gateways_removed,
	                               &l->gateways_changed, &l->restart, &l->wrong};

	for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
		px_buf_free(text[i]);
		*text[i] = px_buf_new(WRONG_SHOWN);
	}
	l->users = l->added = l->removed_users = l->changed = l->switched = l->refused_now = 0;
	l->complaints = 0;
	l->login = l->sip_login = "unchanged";
}

static void list(struct px_buf *b, const char *text)
{
	if (b->len + strlen(text) + 2 < WRONG_SHOWN / 2)
		px_buf_printf(b, "%s%s", b->len ? ", " : "", text);
}

static void complain(void *arg, const char *complaint)
{
	struct px_live *l = arg;

	px_log(PX_LOG_ERROR, "%s", complaint);
	if (l->wrong.len + strlen(complaint) + 2 < WRONG_SHOWN)
		px_buf_printf(&l->wrong, "%s%s", l->wrong.len ? "; " : "", complaint);
	l->complaints++;
}

static void complain_of_user(void *arg, const char *complaint)
{
	char line[PX_WHY_MAX + 64];

	snprintf(line, sizeof line, "%s: %s",
	         ((struct px_live *)arg)->reading == PX_FROM_DB ? "db_table" : "users_file",
	         complaint);
	complain(arg, line);
}

static void needs_restart(void *arg, const char *name)
{
	struct px_live *l = arg;

	px_log(PX_LOG_WARN, "reload: %s has changed; it counts after a restart", name);
	list(&l->restart, name);
}

static const char *text_of(const struct px_buf *b)
{
	return b->len ? b->data : "";
}

bool px_live_ended(struct px_live *l, char said[PX_CONTROL_SAID_MAX + 1])
{
	int n;

	if (!l->ended)
		return false;
	l->ended = false;
	n = snprintf(
	    said, PX_CONTROL_SAID_MAX + 1,
	    "users=%u\nadded=%u\nremoved=%u\nchanged=%u\nswitched=%u\nrefused=%u\nlogin=%s\n"
	    "sip_login=%s\n"
	    "gateways_added=%s\ngateways_removed=%s\ngateways_changed=%s\n",
	    l->users, l->added, l->removed_users, l->changed, l->switched, l->refused_now, l->login,
	    l->sip_login, text_of(&l->gateways_added), text_of(&l->gateways_removed),
	    text_of(&l->gateways_changed));
	if (n > 0 && n < PX_CONTROL_SAID_MAX)
		snprintf(said + n, (size_t)(PX_CONTROL_SAID_MAX + 1 - n),
		         "restart=%s\nwrong=%s%s\n", text_of(&l->restart), text_of(&l->wrong),
		         l->complaints > 1 ? "; the log has all" : "");
	return true;
}

/* ---- users ---- */

static struct source *source_of(struct px_live *l, uint32_t id)
{
	if (id >= l->sources) {
		uint32_t n = id + id / 4 + 1024;
		struct source *more = realloc(l->source, n * sizeof *more);

		if (!more)
			return NULL;
		memset(more + l->sources, 0, (n - l->sources) * sizeof *more);
		l->source = more;
		l->sources = n;
	}
	return &l->source[id];
}

enum px_board_origin px_live_origin(const struct px_live *l, uint32_t user)
{
	return user < l->sources ? l->source[user].origin : PX_FROM_FILE;
}

int px_live_claim(struct px_live *l, uint32_t user, enum px_board_origin origin)
{
	struct source *s = source_of(l, user);

	if (!s)
		return -ENOMEM;
	*s = (struct source){.origin = (uint8_t)origin, .pass = l->pass};
	return 0;
}

/* One row is put, if it is the one that counts. 0 or -ENOMEM. */
static int put(struct px_live *l, const struct wanted *w, struct px_now now)
{
	const char *key = l->text.data + w->key, *mailbox = l->text.data + w->mailbox;
	int64_t id = px_engine_user_find(l->engine, key);
	const bool known = id >= 0;
	struct px_user_view v = {.on = false};
	struct source *s = known ? source_of(l, (uint32_t)id) : NULL;

	if (known && !s)
		return -ENOMEM;
	if (w->mailbox == NOTHING) {
		if (s && s->origin == w->origin)
			s->pass = l->pass;
		return 0;
	}
	/* what stands in the settings goes before what stands in the file */
	if (s && s->origin < w->origin && (s->pass == l->pass || !l->whole[s->origin])) {
		px_log(
		    PX_LOG_WARN,
		    w->origin == PX_FROM_DB
		        ? "db_table: user=%s is a setting or in users_file already; the row is "
		          "left out"
		        : "users_file: user=%s is a setting already; the file's line is left out",
		    key);
		return 0;
	}
	/* who was switched by command stays as the last command said */
	if (s && s->origin >= PX_FROM_RPC) {
		px_engine_user_quiet(l->engine, key, w->quiet, now);
		px_log(PX_LOG_INFO, "user=%s was switched by command and stays so", key);
		l->switched++;
		return 0;
	}
	if (known)
		px_engine_user(l->engine, (uint32_t)id, &v);
	if (!known)
		l->added++;
	else if (strcmp(v.mailbox, mailbox) != 0 || v.on != w->on)
		l->changed++;
	id = px_engine_user_put(l->engine, key, mailbox, w->on, now);
	if (id == -ENOSPC) {
		l->added--;
		l->refused++;
		l->refused_now++;
		px_log(PX_LOG_ERROR, "user=%s is refused: there are max_users already", key);
		return 0;
	}
	if (id < 0)
		return (int)id;
	px_engine_user_quiet(l->engine, key, w->quiet, now);
	l->users++;
	return px_live_claim(l, (uint32_t)id, w->origin);
}

static int want(void *arg, const struct px_user_config *u)
{
	struct px_live *l = arg;
	const size_t key = strlen(u->key) + 1;

	if (l->wants == l->room) {
		size_t room = l->room ? 2 * l->room : 1024;
		struct wanted *more = reallocarray(l->wanted, room, sizeof *more);

		if (!more)
			return -ENOMEM;
		l->wanted = more;
		l->room = room;
	}
	if (!u->mailbox)
		l->kept++;
	l->wanted[l->wants++] =
	    (struct wanted){.key = (uint32_t)l->text.len,
	                    .mailbox = u->mailbox ? (uint32_t)(l->text.len + key) : NOTHING,
	                    .origin = (uint8_t)l->reading,
	                    .on = u->on,
	                    .quiet = u->quiet};
	px_buf_add(&l->text, u->key, key);
	if (u->mailbox)
		px_buf_add(&l->text, u->mailbox, strlen(u->mailbox) + 1);
	return l->text.failed ? -ENOMEM : 0;
}

static void forget_wanted(struct px_live *l)
{
	px_buf_free(&l->text);
	free(l->wanted);
	l->wanted = NULL;
	l->wants = l->room = l->at = 0;
}

/* How many lines were wrong, or a negative errno, which was said. */
static int want_file(struct px_live *l)
{
	const char *path = l->settings->users_file;
	const size_t before = l->wants;
	char line[PX_WHY_MAX + 300], why[PX_WHY_MAX];
	struct px_buf text;
	int wrong;

	if (!path) {
		l->whole[PX_FROM_FILE] = true; /* nobody is from a file any more */
		return 0;
	}
	l->reading = PX_FROM_FILE;
	l->kept = 0;
	wrong = px_file_read(path, USERS_FILE_MAX, false, &text, why);
	if (wrong == 0) {
		wrong = px_users_read(text.data ? text.data : "", text.len,
		                      l->settings->mailbox_domain, want, complain_of_user, l);
		px_buf_free(&text);
		if (wrong < 0)
			snprintf(why, sizeof why, "%s", strerror(-wrong));
	}
	if (wrong < 0) {
		l->wants = before;
		snprintf(line, sizeof line, "users_file %.250s: %s", path, why);
		complain(l, line);
		return wrong;
	}
	/* a line that is wrong may be anybody's, unless it says whose it is */
	l->whole[PX_FROM_FILE] = (unsigned)wrong == l->kept;
	return wrong;
}

/* What the proxy's module read from its database. How many rows were wrong, or a negative errno, which was said. */
static int want_table(struct px_live *l)
{
	const size_t before = l->wants;
	char line[PX_WHY_MAX], *text;
	size_t n;
	int wrong;

	wrong = l->table_fd < 0 ? 1 : px_table_get(l->table_fd, &text, &n);
	if (wrong == 1) {
		l->whole[PX_FROM_DB] = true; /* there is no table */
		return 0;
	}
	if (wrong == 0) {
		l->reading = PX_FROM_DB;
		l->kept = 0;
		wrong =
		    px_users_read(text, n, l->settings->mailbox_domain, want, complain_of_user, l);
		free(text);
	}
	if (wrong < 0) {
		l->wants = before;
		snprintf(line, sizeof line, "db_table: %s", strerror(-wrong));
		complain(l, line);
		return wrong;
	}
	l->whole[PX_FROM_DB] = (unsigned)wrong == l->kept;
	return wrong;
}

static int want_settings(struct px_live *l)
{
	int err = 0;

	l->reading = PX_FROM_CFG;
	for (size_t i = 0; i < l->settings->users && err == 0; i++)
		err = want(l, &l->settings->user[i]);
	/* they are the engine's now */
	for (size_t i = 0; i < l->settings->users; i++) {
		free(l->settings->user[i].key);
		free(l->settings->user[i].mailbox);
	}
	free(l->settings->user);
	l->settings->user = NULL;
	l->settings->users = 0;
	return err;
}

int64_t px_live_switch(struct px_live *l, const char *key, const char *mailbox, bool on,
                       enum px_board_origin origin, struct px_now now, const char **why)
{
	int64_t id = px_engine_user_find(l->engine, key);
	char whose[PX_MAILBOX_MAX + 1];
	struct px_user_view v;
	int err;

	if (*mailbox)
		snprintf(whose, sizeof whose, "%s", mailbox);
	else if (id >= 0 && px_engine_user(l->engine, (uint32_t)id, &v))
		snprintf(whose, sizeof whose, "%s", v.mailbox);
	else if ((err = px_user_mailbox(key, l->settings->mailbox_domain, whose)) < 0) {
		*why = "this AoR makes no mailbox; give AOR,MAILBOX";
		return err;
	}
	id = px_engine_user_put(l->engine, key, whose, on, now);
	if (id == -ENOSPC) {
		l->refused++;
		*why = "there are max_users already";
		return id;
	}
	if (id < 0)
		return id;
	err = px_live_claim(l, (uint32_t)id, origin);
	return err < 0 ? err : id;
}

/* ---- gateways ---- */

static int room_for(struct px_live *l, int place)
{
	struct place *more;

	if ((unsigned)place < l->places)
		return 0;
	more = realloc(l->place, ((unsigned)place + 1) * sizeof *more);
	if (!more)
		return -ENOMEM;
	memset(more + l->places, 0, ((unsigned)place + 1 - l->places) * sizeof *more);
	l->place = more;
	l->places = (unsigned)place + 1;
	return 0;
}

/* Moves *c to its place. */
static void settle(struct px_live *l, int place, struct px_gateway_config *c, uint8_t origin,
                   char *given)
{
	struct place *p = &l->place[place];

	px_gateway_config_free(&p->config);
	free(p->given);
	*p = (struct place){.config = *c, .origin = origin, .given = given};
	*c = (struct px_gateway_config){.url = NULL};
}

static struct px_http_gateway as_http(const struct px_live *l, const struct px_gateway_config *c)
{
	return (struct px_http_gateway){.name = c->name,
	                                .url = c->url,
	                                .ca_file = c->ca_file,
	                                .tls_min = 10 + (int)c->tls_min,
	                                .forms_root = l->root};
}

/* Takes *c, also when it fails. 0, or a negative errno and why. */
static int add_gateway(struct px_live *l, struct px_gateway_config *c, uint8_t origin, char *given,
                       struct px_now now, char why[PX_WHY_MAX])
{
	const struct px_http_gateway g = as_http(l, c);
	int err = px_http_gateway_check(&g, why), place;

	if (err == 0 && (c->type == PX_GATEWAY_WEBDAV) != (l->root != NULL)) {
		snprintf(why, PX_WHY_MAX, "WebDAV and EWS are never mixed; restart to change over");
		err = -EINVAL;
	}
	if (err == 0) {
		place = px_engine_gateway_add(l->engine, c->name, c->concurrency, now);
		err = place < 0 ? place : room_for(l, place);
		snprintf(why, PX_WHY_MAX, "%s",
		         err == -ENOSPC ? "there are too many gateways" : strerror(-err));
		if (err == 0 && (err = px_http_gateway_put(l->http, place, &g, why)) == 0) {
			settle(l, place, c, origin, given);
			return 0;
		}
		if (place >= 0)
			px_engine_gateway_remove(l->engine, place, now);
	}
	px_gateway_config_free(c);
	free(given);
	return err;
}

static void remove_gateway(struct px_live *l, int place, struct px_now now)
{
	l->place[place].leaving = true;
	px_engine_gateway_remove(l->engine, place, now);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The gateway at this place gets what c says. Takes *c. */
static int change_gateway(struct px_live *l, int place, struct px_gateway_config *c,
                          struct px_now now, char why[PX_WHY_MAX])
{
	struct place *p = &l->place[place];
	const struct px_http_gateway g = as_http(l, c);
	const bool moved = strcmp(p->config.url, c->url) != 0 || p->config.type != c->type;
	const bool trust =
	    !same_text(p->config.ca_file, c->ca_file) || p->config.tls_min != c->tls_min;
	int err = 0;

	/* a changed URL is another server: whoever was followed there moves */
	if (moved) {
		err = px_http_gateway_check(&g, why);
		if (err == 0)
			remove_gateway(l, place, now);
		if (err == 0)
			return add_gateway(l, c, p->origin, NULL, now, why);
	}
	if (trust)
		err = px_http_gateway_put(l->http, place, &g, why);
	if (err == 0) {
		px_engine_gateway_concurrency(l->engine, place, c->concurrency, now);
		settle(l, place, c, p->origin, NULL);
	}
	px_gateway_config_free(c);
	return err;
}

static int removed_at(const struct px_live *l, const char *name)
{
	for (unsigned i = 0; i < l->removeds; i++)
		if (strcasecmp(l->removed[i], name) == 0)
			return (int)i;
	return -1;
}

static void forget_removed(struct px_live *l, int i)
{
	free(l->removed[i]);
	l->removed[i] = l->removed[--l->removeds];
}

static int note_removed(struct px_live *l, const char *name)
{
	char **more, *copy = strdup(name);

	more = copy ? reallocarray(l->removed, l->removeds + 1, sizeof(char *)) : NULL;
	if (!more) {
		free(copy);
		return -ENOMEM;
	}
	l->removed = more;
	l->removed[l->removeds++] = copy;
	return 0;
}

static int find_config(const struct px_settings *s, const char *name)
{
	for (size_t i = 0; i < s->gateways; i++)
		if (strcasecmp(s->gateway[i].name, name) == 0)
			return (int)i;
	return -1;
}

static int copy_config(struct px_gateway_config *to, const struct px_gateway_config *from)
{
	*to = *from;
	to->url = strdup(from->url);
	to->host = strdup(from->host);
	to->ca_file = from->ca_file ? strdup(from->ca_file) : NULL;
	if (to->url && to->host && (to->ca_file || !from->ca_file))
		return 0;
	px_gateway_config_free(to);
	return -ENOMEM;
}

int px_live_gateway_add(struct px_live *l, const char *text, struct px_now now,
                        char why[PX_WHY_MAX])
{
	const int removed = removed_at(l, text), known = find_config(l->settings, text);
	struct px_gateway_config c;
	char *given;
	int err;

	if (removed >= 0 && known >= 0) {
		err = copy_config(&c, &l->settings->gateway[known]);
		if (err == 0)
			err = add_gateway(l, &c, PX_FROM_CFG, NULL, now, why);
		if (err == 0)
			forget_removed(l, removed);
		return err;
	}
	if (strlen(text) > PX_BOARD_GIVEN_MAX) {
		snprintf(why, PX_WHY_MAX, "is longer than %d bytes", PX_BOARD_GIVEN_MAX);
		return -EINVAL;
	}
	err = px_settings_gateway(l->settings, text, strlen(text), &c, why);
	if (err < 0)
		return err;
	if (px_engine_gateway_find(l->engine, c.name) != PX_NO_GATEWAY) {
		snprintf(why, PX_WHY_MAX,
		         "there is a gateway %s already; give it a ;name= of its own", c.name);
		px_gateway_config_free(&c);
		return -EEXIST;
	}
	if (c.type != PX_GATEWAY_EWS) {
		snprintf(why, PX_WHY_MAX, "a WebDAV front end can't be added while this runs");
		px_gateway_config_free(&c);
		return -EINVAL;
	}
	const int was = removed_at(l, c.name);

	given = strdup(text);
	if (!given) {
		px_gateway_config_free(&c);
		return -ENOMEM;
	}
	err = add_gateway(l, &c, PX_FROM_RPC, given, now, why);
	if (err == 0 && was >= 0)
		forget_removed(l, was);
	return err;
}

int px_live_gateway_remove(struct px_live *l, const char *name, struct px_now now,
                           char why[PX_WHY_MAX])
{
	const int place = px_engine_gateway_find(l->engine, name);

	if (place == PX_NO_GATEWAY) {
		snprintf(why, PX_WHY_MAX, "No such gateway");
		return -ENOENT;
	}
	/* one that came by command alone is simply gone */
	if (l->place[place].origin != PX_FROM_RPC &&
	    note_removed(l, l->place[place].config.name) < 0)
		return -ENOMEM;
	remove_gateway(l, place, now);
	return 0;
}

void px_live_gateway_gone(struct px_live *l, int place)
{
	struct place *p = &l->place[place];

	px_http_gateway_drop(l->http, place);
	px_gateway_config_free(&p->config);
	free(p->given);
	*p = (struct place){.leaving = false};
}

void px_live_gateway_restore(struct px_live *l, const struct px_board_gateway_state *g,
                             struct px_now now)
{
	char why[PX_WHY_MAX] = "";
	int err = 0;

	if (g->health == PX_BOARD_REMOVED && px_engine_gateway_find(l->engine, g->name) >= 0)
		err = px_live_gateway_remove(l, g->name, now, why);
	else if (g->health != PX_BOARD_REMOVED && g->health != PX_GW_LEAVING && g->given[0])
		err = px_live_gateway_add(l, g->given, now, why);
	if (err < 0)
		px_log(PX_LOG_WARN, "gateway=%s was changed by command and can't be restored: %s",
		       g->name, why);
}

void px_live_gateways_put(struct px_live *l, struct px_board *b)
{
	const struct px_pool *pool = px_engine_pool(l->engine);

	for (unsigned i = 0; i < pool->n; i++) {
		const struct place *p = i < l->places ? &l->place[i] : NULL;

		px_board_gateway(b, i, &pool->gateway[i], p ? p->origin : PX_FROM_CFG,
		                 p && p->given ? p->given : "");
	}
	for (unsigned i = 0; i < l->removeds; i++)
		px_board_gateway_removed(b, pool->n + i, l->removed[i]);
	px_board_gateways(b, pool->n + l->removeds);
}

/* Compares with what there is. */
static void apply_gateways(struct px_live *l, struct px_settings *s, struct px_now now)
{
	char line[PX_WHY_MAX + 80], why[PX_WHY_MAX];

	for (unsigned i = 0; i < l->places; i++) {
		struct place *p = &l->place[i];

		if (!p->config.url || p->leaving || p->origin == PX_FROM_RPC ||
		    find_config(s, p->config.name) >= 0)
			continue;
		list(&l->gateways_removed, p->config.name);
		remove_gateway(l, (int)i, now);
	}
	for (int i = (int)l->removeds - 1; i >= 0; i--)
		if (find_config(s, l->removed[i]) < 0)
			forget_removed(l, i); /* nobody wants it any more */
	for (size_t i = 0; i < s->gateways; i++) {
		const struct px_gateway_config *want = &s->gateway[i];
		const int place = px_engine_gateway_find(l->engine, want->name);
		struct px_gateway_config c;
		int err = copy_config(&c, want);

		if (removed_at(l, want->name) >= 0) {
			px_log(PX_LOG_INFO, "gateway=%s was removed by command and stays so",
			       want->name);
			px_gateway_config_free(&c);
			continue;
		}
		why[0] = '\0';
		if (err == 0 && place == PX_NO_GATEWAY) {
			list(&l->gateways_added, want->name);
			err = add_gateway(l, &c, PX_FROM_CFG, NULL, now, why);
		} else if (err == 0) {
			const struct place *p = &l->place[place];

			if (p->origin == PX_FROM_RPC) /* as for users: the command counts */
				px_log(PX_LOG_INFO, "gateway=%s was added by command and stays so",
				       want->name);
			if (p->origin == PX_FROM_RPC || (strcmp(p->config.url, c.url) == 0 &&
			                                 same_text(p->config.ca_file, c.ca_file) &&
			                                 p->config.tls_min == c.tls_min &&
			                                 p->config.concurrency == c.concurrency)) {
				px_gateway_config_free(&c);
				continue;
			}
			px_log(PX_LOG_NOTICE, "gateway=%s changed", want->name);
			list(&l->gateways_changed, want->name);
			err = change_gateway(l, place, &c, now, why);
		}
		if (err < 0) {
			snprintf(line, sizeof line, "gateway %s: %s", want->name,
			         why[0] ? why : strerror(-err));
			complain(l, line);
		}
	}
}

/* Could all be used? What can't was said. */
static bool gateways_good(struct px_live *l, const struct px_settings *s)
{
	char line[PX_WHY_MAX + 80], why[PX_WHY_MAX];
	bool good = true;

	for (size_t i = 0; i < s->gateways; i++) {
		const struct px_http_gateway g = as_http(l, &s->gateway[i]);

		if (px_http_gateway_check(&g, why) == 0)
			continue;
		snprintf(line, sizeof line, "gateway %s: %s", s->gateway[i].name, why);
		complain(l, line);
		good = false;
	}
	return good;
}

/* ---- reading again ---- */

static void apply_login(struct px_live *l, const struct px_settings *s, struct px_now now)
{
	const int changed = px_http_login(l->http, s->account, s->password);

	if (changed == 1) {
		l->login = "renewed";
		px_engine_login_renewed(l->engine, now);
	} else if (changed < 0) {
		complain(l, "account: out of memory");
	}
}

static void apply_sip_login(struct px_live *l, const struct px_settings *s, struct px_now now)
{
	const int changed = px_sip_login(l->sip, s->sip_user, s->sip_password);

	if (changed == 1) {
		l->sip_login = "renewed";
		px_engine_sip_login_renewed(l->engine, now);
	} else if (changed < 0) {
		complain(l, "sip_user: out of memory");
	}
}

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

/* io/http and io/sip have them, and nobody else needs them. */
static void forget_passwords(struct px_settings *s)
{
	wipe(&s->password);
	wipe(&s->sip_password);
}

/* Takes the settings anew. False: they stay as they were, and what is wrong was said. */
static bool take_settings(struct px_live *l, struct px_now now)
{
	struct px_settings *s = NULL;
	const int err = l->read(l->arg, &s, complain, l);

	if (err == -ENOMEM)
		complain(l, "settings: out of memory");
	if (err < 0)
		return false;
	if (!gateways_good(l, s)) {
		px_settings_free(s);
		return false;
	}
	px_settings_fixed(l->settings, s, needs_restart, l);
	apply_gateways(l, s, now);
	apply_login(l, s, now);
	apply_sip_login(l, s, now);
	px_settings_free(l->settings);
	l->settings = s;
	forget_passwords(s);
	return true;
}

static void begin(struct px_live *l, struct px_now now)
{
	const bool again = l->again;

	l->again = false;
	if (!again)
		begin_report(l);
	l->pass++;
	l->text = px_buf_new(UINT32_MAX - 1);
	memset(l->whole, 0, sizeof l->whole);
	l->users = 0;
	l->whole[PX_FROM_CFG] = take_settings(l, now);
	if (l->whole[PX_FROM_CFG] && want_settings(l) < 0) {
		l->whole[PX_FROM_CFG] = false;
		complain(l, "user: out of memory");
	}
	want_file(l);
	want_table(l);
	l->phase = PUTTING;
	l->at = 0;
	l->id = 0;
}

void px_live_reload(struct px_live *l, bool removing, struct px_now now)
{
	l->removing = l->removing || removing;
	if (l->phase != IDLE)
		l->again = true;
	else
		begin(l, now);
}

bool px_live_busy(const struct px_live *l)
{
	return l->phase != IDLE;
}

/* A source that names nobody, or would take more away than it leaves: as likely cut short as meant. */
static void doubt_source(struct px_live *l, enum px_board_origin from, const char *name)
{
	char line[PX_WHY_MAX];
	unsigned gone = 0, stay = 0;
	struct px_user_view v;

	for (uint32_t id = 0; id < px_engine_users_end(l->engine) && id < l->sources; id++)
		if (l->source[id].origin == from && px_engine_user(l->engine, id, &v) && !v.leaving)
			++*(l->source[id].pass == l->pass ? &stay : &gone);
	if (gone == 0 || (stay > 0 && (gone < PX_LIVE_MANY || gone <= stay)))
		return;
	l->whole[from] = false;
	snprintf(line, sizeof line,
	         "%s: %u of its %u users would go, as if it were cut short; nobody is removed. If "
	         "that is meant: "
	         "pua_exchange.reload removing",
	         name, gone, gone + stay);
	complain(l, line);
}

static void doubt(struct px_live *l)
{
	if (l->removing)
		return;
	if (l->whole[PX_FROM_FILE] && l->settings->users_file)
		doubt_source(l, PX_FROM_FILE, "users_file");
	if (l->whole[PX_FROM_DB] && l->table_fd >= 0)
		doubt_source(l, PX_FROM_DB, "db_table");
}

static void remove_some(struct px_live *l, struct px_now now)
{
	struct px_user_view v;

	for (unsigned n = 0; n < SLICE && l->id < px_engine_users_end(l->engine); l->id++) {
		char key[PX_AOR_MAX + 1];
		const struct source *s = l->id < l->sources ? &l->source[l->id] : NULL;

		if (!s || s->origin > PX_FROM_DB || !l->whole[s->origin] || s->pass == l->pass ||
		    !px_engine_user(l->engine, l->id, &v) || v.leaving)
			continue;
		snprintf(key, sizeof key, "%s", v.key);
		px_engine_user_remove(l->engine, key, now);
		l->removed_users++;
		n++;
	}
	if (l->id >= px_engine_users_end(l->engine))
		l->phase = IDLE;
}

static void end(struct px_live *l, struct px_now now)
{
	forget_wanted(l);
	malloc_trim(0);
	l->ended = true;
	l->removing = false;
	l->reloads++;
	l->last_complaints = l->complaints;
	l->reloaded_at = (uint32_t)(now.wall.ms / 1000);
	px_log(l->complaints ? PX_LOG_WARN : PX_LOG_NOTICE,
	       "reload users=%u added=%u removed=%u changed=%u wrong=%u login=%s "
	       "sip_login=%s "
	       "gateways_added=\"%s\" "
	       "gateways_removed=\"%s\" gateways_changed=\"%s\"%s",
	       l->users, l->added, l->removed_users, l->changed, l->complaints, l->login,
	       l->sip_login, text_of(&l->gateways_added), text_of(&l->gateways_removed),
	       text_of(&l->gateways_changed),
	       !l->whole[PX_FROM_FILE] ? ": nobody of users_file is removed until it is right"
	                               : "");
}

void px_live_turn(struct px_live *l, struct px_now now)
{
	if (l->phase == PUTTING) {
		for (unsigned n = 0; n < SLICE && l->at < l->wants; n++, l->at++)
			if (put(l, &l->wanted[l->at], now) < 0) {
				/* whoever couldn't be put must not be taken for absent */
				complain(l, "users: out of memory");
				memset(l->whole, 0, sizeof l->whole);
				l->at = l->wants - 1;
			}
		if (l->at >= l->wants) {
			doubt(l);
			l->phase = REMOVING;
		}
	} else if (l->phase == REMOVING) {
		remove_some(l, now);
		if (l->phase != IDLE)
			return;
		if (l->again) {
			forget_wanted(l);
			begin(l, now);
			return;
		}
		end(l, now);
	}
}

/* ---- the start ---- */

int px_live_recall(struct px_live *l, const struct px_board_user *u, struct px_now now)
{
	const int64_t id = px_engine_user_put(l->engine, u->key, u->mailbox, u->state.on, now);

	if (id < 0)
		return (int)id;
	px_engine_user_quiet(l->engine, u->key, u->state.quiet, now);
	return px_live_claim(l, (uint32_t)id, (enum px_board_origin)u->state.origin);
}

int px_live_load(struct px_live *l, bool resumed, struct px_now now)
{
	int err, file, table;

	begin_report(l);
	l->pass++;
	l->text = px_buf_new(UINT32_MAX - 1);
	memset(l->whole, 0, sizeof l->whole);
	l->whole[PX_FROM_CFG] = true;
	err = want_settings(l);
	file = want_file(l);
	table = want_table(l);
	/* nobody meant anything by a crash: what can't be read then changes nothing */
	if (err == 0 && !resumed)
		err = file < 0 ? file : table < 0 ? table : 0;
	for (; err == 0 && l->at < l->wants; l->at++)
		err = put(l, &l->wanted[l->at], now);
	if (resumed)
		doubt(l);
	forget_wanted(l);
	/* the settings' text and lists may have been larger than all that follows */
	malloc_trim(0);
	l->last_complaints = l->complaints;
	return err < 0 ? err : (file > 0 ? file : 0) + (table > 0 ? table : 0);
}

unsigned px_live_settle(struct px_live *l, struct px_now now)
{
	l->id = 0;
	for (l->phase = REMOVING; l->phase != IDLE;)
		remove_some(l, now);
	return l->removed_users;
}

/* ---- making and ending ---- */

struct px_live_counts px_live_counts(const struct px_live *l)
{
	return (struct px_live_counts){.refused = l->refused,
	                               .reloads = l->reloads,
	                               .wrong = l->last_complaints,
	                               .reloaded_at = l->reloaded_at};
}

int px_live_new(struct px_live **out, const struct px_live_config *c)
{
	struct px_live *l = calloc(1, sizeof *l);
	int err = l ? 0 : -ENOMEM;

	for (size_t i = 0; i < c->settings->gateways && err == 0; i++) {
		struct px_gateway_config copy;

		err = room_for(l, (int)i);
		if (err == 0)
			err = copy_config(&copy, &c->settings->gateway[i]);
		if (err == 0)
			settle(l, (int)i, &copy, PX_FROM_CFG, NULL);
	}
	if (err < 0) {
		px_live_free(l);
		return err;
	}
	l->engine = c->engine;
	l->http = c->http;
	l->sip = c->sip;
	l->root = c->root;
	l->settings = c->settings;
	l->read = c->read;
	l->arg = c->arg;
	l->table_fd = c->table_fd;
	forget_passwords(l->settings);
	begin_report(l);
	*out = l;
	return 0;
}

void px_live_free(struct px_live *l)
{
	if (!l)
		return;
	px_settings_free(l->settings);
	for (unsigned i = 0; i < l->places; i++) {
		px_gateway_config_free(&l->place[i].config);
		free(l->place[i].given);
	}
	while (l->removeds > 0)
		forget_removed(l, 0);
	free(l->removed);
	free(l->place);
	free(l->source);
	forget_wanted(l);
	px_buf_free(&l->gateways_added);
	px_buf_free(&l->gateways_removed);
	px_buf_free(&l->gateways_changed);
	px_buf_free(&l->restart);
	px_buf_free(&l->wrong);
	free(l);
}
