/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * opensips.c - pua_exchange as a module of OpenSIPS (3.4 to 4.0): modparams, processes, MI,
 * statistics, events, script functions, $exchange(...). The only file that includes OpenSIPS'
 * headers; what it does is in the others.
 */
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/db.h"
#include "dprint.h"
#include "evi/evi_modules.h"
#include "evi/evi_params.h"
#include "globals.h"
#include "ip_addr.h"
#include "mem/mem.h"
#include "mi/mi.h"
#include "pvar.h"
#include "socket_info.h"
#include "sr_module.h"
#include "statistics.h"

#include "events.h"
#include "remote.h"

#define PX_INT_PARAM INT_PARAM
#include "adapter.h"

/* ---- modparams ---- */

static const param_export_t param_exports[] = {
#define PX_SETTING(name, ...)                                                                      \
	{#name, STR_PARAM | USE_FUNC_PARAM, (void *)take_##name},                                  \
	    {#name, INT_PARAM | USE_FUNC_PARAM, (void *)take_##name},
#include "px_settings.def"
#undef PX_SETTING
#undef PX_GROUP
    {0, 0, 0}};

/* PUBLISH goes to the proxy itself: to its first socket, over TCP if it listens on it. NULL: there is none. */
static const char *own_server(char uri[128])
{
	const struct socket_info *si = get_first_socket();
	char address[64];
	str host;

	if (!si)
		return NULL;
	host = si->address_str;
	snprintf(address, sizeof address, "%.*s", host.len, host.s);
	px_module_own_uri(
	    uri, 128, address, si->address.af == AF_INET6,
	    strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0, si->port_no,
	    si->proto == PROTO_TLS                                                    ? "tls"
	    : si->proto == PROTO_TCP || grep_sock_info(&host, si->port_no, PROTO_TCP) ? "tcp"
	                                                                              : "udp");
	return uri;
}

/* ---- users in a database ---- */

#define PX_DB(name) DB_##name
typedef db_con_t px_db_con;
typedef db_res_t px_db_res;
#include "table_rows.h"

static int read_table(const char *url, const char *table, px_table_row_h *row, void *arg,
                      char why[PX_WHY_MAX])
{
	const str u = {(char *)url, (int)strlen(url)};
	db_func_t db = {0};

	if (db_bind_mod(&u, &db) < 0) {
		snprintf(why, PX_WHY_MAX, "there is no db_%.*s; load it before this module",
		         (int)strcspn(url, ":"), url);
		return -ENOENT;
	}
	return read_table_with(&db, url, table, row, arg, why);
}

/* ---- statistics ---- */

#define PX_STAT_READ(name, help)                                                                   \
	static unsigned long stat_##name(void *unused)                                             \
	{                                                                                          \
		(void)unused;                                                                      \
		return (unsigned long)px_stat(module.board, PX_STAT_##name, px_show_now());        \
	}
PX_STATS(PX_STAT_READ)

static const stat_export_t stats[] = {
#define PX_STAT_EXPORT(name, help) {#name, STAT_IS_FUNC, (stat_var **)(void *)stat_##name},
    PX_STATS(PX_STAT_EXPORT){0, 0, 0}};

/* ---- MI ---- */

/* Rows as objects of a response: each an element of `list`, or the response itself. */
struct answer {
	mi_item_t *head, *list, *row;
};

static void begin_row(void *ctx)
{
	struct answer *a = ctx;

	a->row = a->list ? add_mi_object(a->list, NULL, 0) : a->head;
}

static void begin_list(void *ctx, const char *name)
{
	struct answer *a = ctx;

	a->list = a->row ? add_mi_array(a->row, (char *)name, (int)strlen(name)) : NULL;
}

static void end_list(void *ctx)
{
	struct answer *a = ctx;

	a->list = NULL;
	a->row = a->head;
}

static void add_text(void *ctx, const char *name, const char *value)
{
	struct answer *a = ctx;

	if (a->row)
		add_mi_string(a->row, (char *)name, (int)strlen(name), value, (int)strlen(value));
}

static void add_number(void *ctx, const char *name, int64_t value)
{
	struct answer *a = ctx;

	if (a->row)
		add_mi_number(a->row, (char *)name, (int)strlen(name), (double)value);
}

#define PARAMS_MAX 6 /* of a command */
#define PARAMS_TEXT_MAX 128

/* A command's parameters, taken apart. */
struct params {
	char text[PARAMS_TEXT_MAX];
	char *name[PARAMS_MAX + 1]; /* NULL-terminated */
};

static mi_response_t *answer(const mi_params_t *given, int (*command)(struct px_remote *r),
                             enum px_remote_form form, const struct params *params, bool by_name)
{
	struct answer a = {0};
	const struct px_rows rows = {.ctx = &a,
	                             .begin = begin_row,
	                             .list = begin_list,
	                             .end = end_list,
	                             .text = add_text,
	                             .number = add_number};
	struct px_remote r = {.module = &module, .rows = &rows};
	mi_response_t *response = form == PX_REMOTE_OK    ? init_mi_result_ok()
	                          : form == PX_REMOTE_ROW ? init_mi_result_object(&a.head)
	                                                  : init_mi_result_array(&a.list);
	char word[PX_REMOTE_WORD_MAX + 1];
	int code;

	for (int i = 0; params->name[i] && response; i++) {
		char *value;
		int len;

		if (try_get_mi_string_param(given, params->name[i], &value, &len) != 0)
			continue;
		len = snprintf(word, sizeof word, "%s%s%.*s", by_name ? params->name[i] : "",
		               by_name ? "=" : "", len, value);
		px_remote_word(&r, word, (size_t)len < sizeof word ? (size_t)len : sizeof word - 1);
	}
	code = response ? command(&r) : 0;
	if (code == 0)
		return response;
	free_mi_response(response);
	return init_mi_error(code, r.said, (int)strlen(r.said));
}

#define PX_MI(name, form, parameters, help)                                                        \
	static struct params params_##name = {.text = parameters};                                 \
	static mi_response_t *mi_##name(const mi_params_t *given, struct mi_handler *async)        \
	{                                                                                          \
		(void)async;                                                                       \
		return answer(given, px_remote_##name, form, &params_##name,                       \
		              (int (*)(struct px_remote *))px_remote_##name == px_remote_users);   \
	}
PX_REMOTE(PX_MI)
#undef PX_MI

/* The name is OpenSIPS' manner; from 4.0 on also MODULE:NAME, as OpenSIPS makes it out of the alias. */
#ifdef MAX_MI_ALIASES
#define PX_ALIAS(command) .aliases = {MODULE ":" #command},
#else
#define PX_ALIAS(command)
#endif

static mi_export_t mi_exports[] = {
#define PX_MI(command, form, parameters, text)                                                     \
	{.name = MODULE "_" #command,                                                              \
	 .help = text,                                                                             \
	 .recipes = {{.cmd = mi_##command}},                                                       \
	 PX_ALIAS(command)},
    PX_REMOTE(PX_MI){.name = NULL}
#undef PX_MI
};

static struct params *const params_of[] = {
#define PX_MI(name, form, parameters, help) &params_##name,
    PX_REMOTE(PX_MI)
#undef PX_MI
};

static void take_apart(struct params *p)
{
	char *rest = p->text, *word;
	int n = 0;

	while (n < PARAMS_MAX && (word = strsep(&rest, " ")))
		if (*word)
			p->name[n++] = word;
}

/*
 * OpenSIPS wants every combination of parameters written down. In order: the first, the first two ...;
 * by name: each that is asked for, as far as there is room (recipes end with one without cmd).
 */
static void write_recipes(mi_export_t *e, const struct params *p, bool by_name)
{
	int n = 0, names = 0, recipes = 1; /* the first is without any */

	while (p->name[names])
		names++;
	for (int most = 1; most <= names; most++)
		for (unsigned set = 1; set < 1u << names; set++) {
			mi_recipe_t *r = &e->recipes[recipes];

			if (__builtin_popcount(set) != most || recipes == MAX_MI_RECIPES - 1)
				continue;
			if (!by_name && set != (1u << most) - 1)
				continue;
			n = 0;
			for (int i = 0; i < names; i++)
				if (set & 1u << i)
					r->params[n++] = p->name[i];
			r->cmd = e->recipes[0].cmd;
			recipes++;
		}
	if (by_name)
		e->flags |= MI_NAMED_PARAMS_ONLY;
}

/* Called when the module is loaded, before OpenSIPS looks at its commands. */
static int load(void)
{
	for (size_t i = 0; mi_exports[i].name; i++) {
		take_apart(params_of[i]);
		write_recipes(&mi_exports[i], params_of[i],
		              mi_exports[i].recipes[0].cmd == mi_users);
	}
	return 0;
}

/* ---- script functions ---- */

static int w_enable(struct sip_msg *msg, str *aor, str *mailbox)
{
	(void)msg;
	return command(PX_CONTROL_ENABLE, aor, mailbox);
}

static int w_disable(struct sip_msg *msg, str *aor)
{
	(void)msg;
	return command(PX_CONTROL_DISABLE, aor, NULL);
}

static int w_refresh(struct sip_msg *msg, str *aor)
{
	(void)msg;
	return command(PX_CONTROL_REFRESH, aor, NULL);
}

#define AOR                                                                                        \
	{                                                                                          \
		CMD_PARAM_STR, 0, 0                                                                \
	}
static const cmd_export_t cmd_exports[] = {
    {"exchange_enable",
     (cmd_function)(void *)w_enable,
     {AOR, {CMD_PARAM_STR | CMD_PARAM_OPT, 0, 0}, {0, 0, 0}},
     ALL_ROUTES},
    {"exchange_disable", (cmd_function)(void *)w_disable, {AOR, {0, 0, 0}}, ALL_ROUTES},
    {"exchange_refresh", (cmd_function)(void *)w_refresh, {AOR, {0, 0, 0}}, ALL_ROUTES},
    {0, 0, {{0, 0, 0}}, 0}};

/* ---- $exchange(WHAT=>AOR) ---- */

struct name {
	enum px_lookup lookup;
	pv_elem_t *aor;
};

static int pv_parse_exchange(pv_spec_t *sp, const str *in)
{
	const char *arrow = in->len > 0 ? memmem(in->s, (size_t)in->len, "=>", 2) : NULL;
	const int lookup = arrow ? px_lookup_named(in->s, (size_t)(arrow - in->s)) : -1;
	struct name *name = pkg_malloc(sizeof *name);
	str aor;

	if (!name)
		return -1;
	if (lookup >= 0) {
		aor.s = (char *)arrow + 2;
		aor.len = (int)(in->s + in->len - aor.s);
		*name = (struct name){.lookup = (enum px_lookup)lookup};
		if (aor.len > 0 && pv_parse_format(&aor, &name->aor) == 0) {
			sp->pvp.pvn.u.dname = name;
			return 0;
		}
	}
	LM_ERR("$exchange(%.*s): write $exchange(availability=>AOR), until, gateway or age\n",
	       in->len, in->s);
	pkg_free(name);
	return -1;
}

static int pv_get_exchange(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	/* several values may stand beside one another for a while */
	static struct px_value kept[8];
	static unsigned next;
	const struct name *name = param->pvn.u.dname;
	struct px_value *v = &kept[next++ % (sizeof kept / sizeof *kept)];
	str aor;

	if (pv_printf_s(msg, name->aor, &aor) != 0)
		return pv_get_null(msg, param, res);
	px_lookup(&module, name->lookup, aor.s, (size_t)aor.len, v);
	res->flags = PV_VAL_STR;
	res->rs.s = v->text;
	res->rs.len = (int)strlen(v->text);
	if (v->number) {
		res->ri = (int)v->n;
		res->flags |= PV_VAL_INT | PV_TYPE_INT;
	}
	return 0;
}

static const pv_export_t pv_exports[] = {
    {{"exchange", sizeof "exchange" - 1}, 1000, pv_get_exchange, 0, pv_parse_exchange, 0, 0, 0},
    {{0, 0}, 0, 0, 0, 0, 0, 0, 0}};

/* ---- events ---- */

static const char *const event_name[] = {
    [PX_EVENT_STATE] = "E_PUA_EXCHANGE_STATE", [PX_EVENT_HEALTH] = "E_PUA_EXCHANGE_GATEWAY"};
static event_id_t event_id[sizeof event_name / sizeof *event_name];

static int publish_events(void)
{
	for (size_t i = 0; i < sizeof event_name / sizeof *event_name; i++) {
		str name = {(char *)event_name[i], (int)strlen(event_name[i])};

		event_id[i] = evi_publish_event(name);
		if (event_id[i] == EVI_ERROR) {
			LM_ERR("%s can't be made an event\n", event_name[i]);
			return -1;
		}
	}
	return 0;
}

static int add_value(evi_params_t *list, enum px_event_field f, const struct px_value *v)
{
	str name = {(char *)px_event_name(f), (int)strlen(px_event_name(f))};
	str text = {(char *)v->text, (int)strlen(v->text)};
	int n = (int)v->n;

	/* a number that OpenSIPS' integers can't hold goes as text */
	if (v->number && v->n <= INT_MAX)
		return evi_param_add_int(list, &name, &n);
	return evi_param_add_str(list, &name, &text);
}

static void raise_event(void *unused, const struct px_event *e)
{
	evi_params_t *list;

	(void)unused;
	if (evi_probe_event(event_id[e->kind]) <= 0)
		return;
	list = evi_get_params();
	for (int i = 0; list && i < PX_EVENT_FIELDS; i++)
		if (px_event_has(e->kind, (enum px_event_field)i) &&
		    add_value(list, (enum px_event_field)i, &e->value[i]) != 0) {
			evi_free_params(list);
			list = NULL;
		}
	if (!list)
		LM_ERR("no memory for %s\n", event_name[e->kind]);
	else if (evi_raise_event(event_id[e->kind], list) < 0)
		LM_ERR("%s can't be raised\n", event_name[e->kind]);
}

/* ---- processes ---- */

static int mod_init(void)
{
	struct px_settings *s = px_module_settings(&module);
	char uri[128];
	int err;

	if (!s)
		return -1;
	err = px_module_set_up(&module, s, own_server(uri), level_name(*log_level));
	px_settings_free(s);
	return err < 0 ? -1 : publish_events();
}

/* In the process of main, as the user that it has become. */
static int before_supervisor(void)
{
	return px_module_check_again(&module) < 0 ? -1 : 0;
}

/* What only the supervisor needs is in no process that is forked later. */
static int after_supervisor(void)
{
	px_module_leave(&module);
	return 0;
}

static void supervise(int no)
{
	(void)no;
	px_module_supervise(&module, getppid(), NULL, NULL);
	_exit(0);
}

static void run_events(int no)
{
	(void)no;
	px_events_run(&module, raise_event, NULL);
}

/* Without IPC: they don't read it, and are ended by SIGTERM. */
static const proc_export_t proc_exports[] = {
    {"Exchange presence supervisor", before_supervisor, after_supervisor, supervise, 1, 0},
    {"Exchange presence events", 0, 0, run_events, 1, PROC_FLAG_INITCHILD},
    {0, 0, 0, 0, 0, 0}};

/* ---- what OpenSIPS looks for ---- */

#pragma GCC visibility push(default)
extern struct module_exports exports;
#pragma GCC visibility pop

struct module_exports exports = {
    .name = MODULE,
    .type = MOD_TYPE_DEFAULT,
    .ver_info = MODULE_VERSION,
    .dlflags = DEFAULT_DLFLAGS,
    .load_f = load,
    .cmds = cmd_exports,
    .params = param_exports,
    .stats = stats,
    .mi_cmds = mi_exports,
    .items = pv_exports,
    .procs = proc_exports,
    .init_f = mod_init,
};
