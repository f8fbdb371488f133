/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kamailio.c - pua_exchange as a module of Kamailio (5.6 to 6.1): modparams, processes, RPC,
 * statistics, script functions, $exchange(...), event routes. The only file that includes Kamailio's
 * headers; what it does is in the others.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/action.h"
#include "core/cfg/cfg.h"
#include "core/cfg/cfg_struct.h"
#include "core/cfg_core.h"
#include "core/counters.h"
#include "core/dprint.h"
#include "core/fmsg.h"
#include "core/globals.h"
#include "core/ip_addr.h"
#include "core/kemi.h"
#include "core/mod_fix.h"
#include "core/pt.h"
#include "core/pvapi.h"
#include "core/pvar.h"
#include "core/receive.h"
#include "core/route.h"
#include "core/rpc.h"
#include "core/rpc_lookup.h"
#include "core/socket_info.h"
#include "core/sr_module.h"
#include "lib/srdb1/db.h"

#include "events.h"
#include "remote.h"

#define PX_INT_PARAM PARAM_INT
#include "adapter.h"

static str event_callback; /* of KEMI, called instead of event routes */

/* ---- modparams ---- */

/* Both types for each, since Kamailio looks for the one with which a value is written. */
static param_export_t param_exports[] = {
#define PX_SETTING(name, ...)                                                                      \
	{#name, PARAM_STRING | PARAM_USE_FUNC, (void *)take_##name},                               \
	    {#name, PARAM_INT | PARAM_USE_FUNC, (void *)take_##name},
#include "px_settings.def"
#undef PX_SETTING
#undef PX_GROUP
    {"event_callback", PARAM_STR, &event_callback}, {0, 0, 0}};

/* The socket of the list that has the address and port of si. */
static struct socket_info *same_place(struct socket_info *list, struct socket_info *si)
{
	while (list && (list->port_no != si->port_no || !ip_addr_cmp(&list->address, &si->address)))
		list = list->next;
	return list;
}

/* PUBLISH goes to the proxy itself: to its first socket, over TCP if it listens on it. NULL: there is none. */
static const char *own_server(char uri[128])
{
	struct socket_info *si = get_first_socket();
	const bool tcp = !dont_fork && !tcp_disable; /* Kamailio serves it then */
	char address[IP_ADDR_MAX_STRZ_SIZE];

	if (!si)
		return NULL;
	snprintf(address, sizeof address, "%.*s", si->address_str.len, si->address_str.s);
	px_module_own_uri(uri, 128, address, si->address.af == AF_INET6, ip_addr_any(&si->address),
	                  si->port_no,
	                  si->proto == PROTO_TLS                                          ? "tls"
	                  : si->proto == PROTO_TCP || (tcp && same_place(tcp_listen, si)) ? "tcp"
	                                                                                  : "udp");
	return uri;
}

/* ---- users in a database ---- */

#define PX_DB(name) DB1_##name
typedef db1_con_t px_db_con;
typedef db1_res_t px_db_res;
#include "table_rows.h"

static int read_table(const char *url, const char *table, px_table_row_h *row, void *arg,
                      char why[PX_WHY_MAX])
{
	db_bind_api_f bind;
	db_func_t db = {0};
	char name[64];

	snprintf(name, sizeof name, "db_%.*s", (int)strcspn(url, ":"), url);
	bind = (db_bind_api_f)(void *)find_mod_export(name, "db_bind_api", 0, 0);
	if (!bind || bind(&db) < 0) {
		snprintf(why, PX_WHY_MAX, "there is no %.60s; load it before this module", name);
		return -ENOENT;
	}
	return read_table_with(&db, url, table, row, arg, why);
}

/* ---- statistics ---- */

#define PX_STAT_READ(name, help)                                                                   \
	static counter_val_t stat_##name(void)                                                     \
	{                                                                                          \
		return (counter_val_t)px_stat(module.board, PX_STAT_##name, px_show_now());        \
	}
PX_STATS(PX_STAT_READ)

static stat_export_t stats[] = {
#define PX_STAT_EXPORT(name, help) {#name, STAT_IS_FUNC, (stat_var **)(void *)stat_##name},
    PX_STATS(PX_STAT_EXPORT){0, 0, 0}};

/* ---- RPC ---- */

/* Rows as structs of an RPC's answer: each an element of `list`, or of the answer itself. */
struct answer {
	rpc_t *rpc;
	void *ctx, *head, *list, *row;
};

static void begin_row(void *ctx)
{
	struct answer *a = ctx;

	/* without memory there is no row, and nothing is added to it */
	a->row = NULL;
	if (a->list) {
		a->rpc->array_add(a->list, "{", &a->row);
	} else {
		a->rpc->add(a->ctx, "{", &a->row);
		a->head = a->row;
	}
}

static void begin_list(void *ctx, const char *name)
{
	struct answer *a = ctx;

	if (a->row)
		a->rpc->struct_add(a->row, "[", name, &a->list);
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
		a->rpc->struct_add(a->row, "s", name, value);
}

static void add_number(void *ctx, const char *name, int64_t value)
{
	struct answer *a = ctx;

	if (a->row)
		a->rpc->struct_add(a->row, "l", name, (long)value);
}

static void answer(rpc_t *rpc, void *ctx, int (*command)(struct px_remote *r),
                   enum px_remote_form form)
{
	struct answer a = {.rpc = rpc, .ctx = ctx};
	const struct px_rows rows = {.ctx = &a,
	                             .begin = begin_row,
	                             .list = begin_list,
	                             .end = end_list,
	                             .text = add_text,
	                             .number = add_number};
	struct px_remote r = {.module = &module, .rows = &rows};
	char *one;
	int code;

	while (r.words < PX_REMOTE_WORDS_MAX && rpc->scan(ctx, "*.s", &one) > 0)
		px_remote_word(&r, one, strlen(one));
	code = command(&r);
	if (code != 0)
		rpc->fault(ctx, code, "%s", r.said);
	else if (form == PX_REMOTE_OK)
		rpc->rpl_printf(ctx, "ok");
}

#define PX_RPC(name, form, parameters, help)                                                       \
	static const char *doc_##name[] = {help, 0};                                               \
	static void rpc_##name(rpc_t *rpc, void *ctx)                                              \
	{                                                                                          \
		answer(rpc, ctx, px_remote_##name, form);                                          \
	}
PX_REMOTE(PX_RPC)
#undef PX_RPC

static rpc_export_t rpc_exports[] = {
#define PX_RPC(name, form, parameters, help)                                                       \
	{MODULE "." #name, rpc_##name, doc_##name, form == PX_REMOTE_LIST ? RET_ARRAY : 0},
    PX_REMOTE(PX_RPC)
#undef PX_RPC
        {0, 0, 0, 0}};

/* ---- script functions ---- */

static int command_with(struct sip_msg *msg, enum px_control_command c, char *aor, char *mailbox)
{
	str a, m;

	if (fixup_get_svalue(msg, (gparam_t *)aor, &a) != 0 ||
	    (mailbox && fixup_get_svalue(msg, (gparam_t *)mailbox, &m) != 0)) {
		LM_ERR("a parameter has no value\n");
		return -1;
	}
	return command(c, &a, mailbox ? &m : NULL);
}

static int w_enable(struct sip_msg *msg, char *aor, char *mailbox)
{
	return command_with(msg, PX_CONTROL_ENABLE, aor, mailbox);
}

static int w_disable(struct sip_msg *msg, char *aor, char *unused)
{
	(void)unused;
	return command_with(msg, PX_CONTROL_DISABLE, aor, NULL);
}

static int w_refresh(struct sip_msg *msg, char *aor, char *unused)
{
	(void)unused;
	return command_with(msg, PX_CONTROL_REFRESH, aor, NULL);
}

#define FIX_1 fixup_spve_null, fixup_free_spve_null
#define FIX_2 fixup_spve_spve, fixup_free_spve_spve
static cmd_export_t cmd_exports[] = {
    {"exchange_enable", (cmd_function)w_enable, 1, FIX_1, ANY_ROUTE},
    {"exchange_enable", (cmd_function)w_enable, 2, FIX_2, ANY_ROUTE},
    {"exchange_disable", (cmd_function)w_disable, 1, FIX_1, ANY_ROUTE},
    {"exchange_refresh", (cmd_function)w_refresh, 1, FIX_1, ANY_ROUTE},
    {0, 0, 0, 0, 0, 0}};

/* ---- $exchange(...) ---- */

static const struct px_event *event; /* whose route runs */

/* $exchange(WHAT=>AOR), or $exchange(FIELD) of an event. */
struct name {
	int lookup, field; /* enum px_lookup, enum px_event_field; -1: it is the other one */
	pv_elem_t *aor;
};

static int pv_parse_exchange(pv_spec_t *sp, str *in)
{
	const char *arrow = memmem(in->s, (size_t)in->len, "=>", 2);
	struct name *name = pkg_malloc(sizeof *name);
	str aor;

	if (!name)
		return -1;
	*name = (struct name){-1, -1, NULL};
	if (arrow) {
		aor.s = (char *)arrow + 2;
		aor.len = (int)(in->s + in->len - aor.s);
		name->lookup = px_lookup_named(in->s, (size_t)(arrow - in->s));
		if (name->lookup >= 0 && aor.len > 0 && pv_parse_format(&aor, &name->aor) == 0) {
			sp->pvp.pvn.u.dname = name;
			return 0;
		}
	} else {
		name->field = px_event_named(in->s, (size_t)in->len);
		sp->pvp.pvn.u.dname = name;
		if (name->field >= 0)
			return 0;
	}
	LM_ERR("$exchange(%.*s): write $exchange(availability=>AOR), until, gateway or age; in an "
	       "event route $exchange(aor), status, was, until, gateway, health or error\n",
	       in->len, in->s);
	pkg_free(name);
	return -1;
}

static int give(struct sip_msg *msg, pv_param_t *param, pv_value_t *res, const struct px_value *v)
{
	/* two values may be compared with one another: each has a buffer of its own for a while */
	str text = {pv_get_buffer(), 0};

	text.len = snprintf(text.s, (size_t)pv_get_buffer_size(), "%s", v->text);
	if (v->number)
		return pv_get_intstrval(msg, param, res, (int)v->n, &text);
	return pv_get_strval(msg, param, res, &text);
}

static int pv_get_exchange(struct sip_msg *msg, pv_param_t *param, pv_value_t *res)
{
	const struct name *name = param->pvn.u.dname;
	struct px_value v;
	str aor;

	if (name->lookup < 0) {
		if (!event || !px_event_has(event->kind, (enum px_event_field)name->field))
			return pv_get_null(msg, param, res);
		return give(msg, param, res, &event->value[name->field]);
	}
	if (pv_printf_s(msg, name->aor, &aor) != 0)
		return pv_get_null(msg, param, res);
	px_lookup(&module, (enum px_lookup)name->lookup, aor.s, (size_t)aor.len, &v);
	return give(msg, param, res, &v);
}

static pv_export_t pv_exports[] = {{{"exchange", sizeof("exchange") - 1},
                                    PVT_OTHER,
                                    pv_get_exchange,
                                    0,
                                    pv_parse_exchange,
                                    0,
                                    0,
                                    0},
                                   {{0, 0}, 0, 0, 0, 0, 0, 0, 0}};

/* ---- KEMI ---- */

static int ki_enable(sip_msg_t *msg, str *aor)
{
	(void)msg;
	return command(PX_CONTROL_ENABLE, aor, NULL);
}

static int ki_enable_mailbox(sip_msg_t *msg, str *aor, str *mailbox)
{
	(void)msg;
	return command(PX_CONTROL_ENABLE, aor, mailbox);
}

static int ki_disable(sip_msg_t *msg, str *aor)
{
	(void)msg;
	return command(PX_CONTROL_DISABLE, aor, NULL);
}

static int ki_refresh(sip_msg_t *msg, str *aor)
{
	(void)msg;
	return command(PX_CONTROL_REFRESH, aor, NULL);
}

static sr_kemi_xval_t *ki_value(const struct px_value *v)
{
	static struct px_value kept;
	static sr_kemi_xval_t x;

	if (!v) {
		sr_kemi_xval_null(&x, SR_KEMI_XVAL_NULL_NONE);
		return &x;
	}
	kept = *v;
	if (v->number) {
		x.vtype = SR_KEMIP_INT;
		x.v.n = (int)v->n;
	} else {
		x.vtype = SR_KEMIP_STR;
		x.v.s.s = kept.text;
		x.v.s.len = (int)strlen(kept.text);
	}
	return &x;
}

/* As $exchange(what=>aor). */
static sr_kemi_xval_t *ki_get(sip_msg_t *msg, str *what, str *aor)
{
	const int lookup = px_lookup_named(what->s, (size_t)what->len);
	struct px_value v;

	(void)msg;
	if (lookup < 0) {
		LM_ERR("exchange_get: there is no %.*s; availability, until, gateway and age are\n",
		       what->len, what->s);
		return ki_value(NULL);
	}
	px_lookup(&module, (enum px_lookup)lookup, aor->s, (size_t)aor->len, &v);
	return ki_value(&v);
}

/* As $exchange(field). */
static sr_kemi_xval_t *ki_event(sip_msg_t *msg, str *name)
{
	const int field = px_event_named(name->s, (size_t)name->len);

	(void)msg;
	return ki_value(event && field >= 0 && px_event_has(event->kind, (enum px_event_field)field)
	                    ? &event->value[field]
	                    : NULL);
}

#define KEMI(name, type, function, ...)                                                            \
	{                                                                                          \
		str_init(MODULE), str_init(name), type, function,                                  \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}
static sr_kemi_t kemi_exports[] = {
    KEMI("exchange_enable", SR_KEMIP_INT, ki_enable, SR_KEMIP_STR),
    KEMI("exchange_enable_mailbox", SR_KEMIP_INT, ki_enable_mailbox, SR_KEMIP_STR, SR_KEMIP_STR),
    KEMI("exchange_disable", SR_KEMIP_INT, ki_disable, SR_KEMIP_STR),
    KEMI("exchange_refresh", SR_KEMIP_INT, ki_refresh, SR_KEMIP_STR),
    KEMI("exchange_get", SR_KEMIP_XVAL, ki_get, SR_KEMIP_STR, SR_KEMIP_STR),
    KEMI("exchange_event", SR_KEMIP_XVAL, ki_event, SR_KEMIP_STR),
    {{0, 0}, {0, 0}, 0, NULL, {0}}};

/* ---- event routes ---- */

/* Kamailio's grammar has no underscore before the colon; the pua_ of event_route[pua_exchange:state] it skips. */
static char *const event_route[] = {
    [PX_EVENT_STATE] = "exchange:state", [PX_EVENT_HEALTH] = "exchange:gateway"};

static struct action *event_actions(enum px_event_kind kind)
{
	const int i = route_lookup(&event_rt, event_route[kind]);

	return i < 0 ? NULL : event_rt.rlist[i];
}

/* Whether anybody wants to hear; without, there is no process for it. */
static bool events_wanted(void)
{
	return event_callback.len > 0 || event_actions(PX_EVENT_STATE) ||
	       event_actions(PX_EVENT_HEALTH);
}

static void run_event(void *unused, const struct px_event *e)
{
	sr_kemi_eng_t *engine = event_callback.len > 0 ? sr_kemi_eng_get() : NULL;
	struct action *actions = event_actions(e->kind);
	str name = {event_route[e->kind], (int)strlen(event_route[e->kind])};
	struct run_act_ctx ctx;
	sip_msg_t *msg;

	(void)unused;
	if (!engine && !actions)
		return;
	msg = faked_msg_next();
	event = e;
	set_route_type(EVENT_ROUTE);
	init_run_actions_ctx(&ctx);
	if (engine)
		sr_kemi_ctx_route(engine, &ctx, msg, EVENT_ROUTE, &event_callback, &name);
	else
		run_top_route(actions, msg, &ctx);
	event = NULL;
	ksr_msg_env_reset();
}

/* ---- processes ---- */

static int mod_init(void)
{
	struct px_settings *s = px_module_settings(&module);
	char uri[128];
	int err;

	if (!s)
		return -1;
	err = px_module_set_up(&module, s, own_server(uri),
	                       level_name(cfg_get(core, core_cfg, debug)));
	px_settings_free(s);
	if (err < 0)
		return -1;
	if (register_module_stats(MODULE, stats) < 0 || rpc_register_array(rpc_exports) != 0) {
		LM_ERR("RPC and statistics can't be registered\n");
		return -1;
	}
	if (events_wanted() && faked_msg_init() < 0) {
		LM_ERR("no memory for event routes\n");
		return -1;
	}
	register_procs(events_wanted() ? 2 : 1);
	cfg_register_child(events_wanted() ? 1 : 0);
	return 0;
}

/* The supervisor may be another one tomorrow: it isn't counted among the processes of the start. */
static void begin_cfg(void)
{
	cfg_late_child_init();
}

static void update_cfg(void)
{
	cfg_update();
}

/* Kamailio's handler takes a SIGTERM that comes before a new process knows that it isn't the main one for one to the main
 * one: it is lost, and Kamailio waits a minute for the process to end. before: the mask to go back to; in the parent that
 * is done already. */
static int fork_one(int rank, char *description, sigset_t *before)
{
	sigset_t end;
	int pid;

	sigemptyset(&end);
	sigaddset(&end, SIGTERM);
	sigaddset(&end, SIGINT);
	sigprocmask(SIG_BLOCK, &end, before);
	pid = fork_process(rank, description, 0);
	if (pid != 0)
		sigprocmask(SIG_SETMASK, before, NULL);
	if (pid < 0)
		LM_ERR("%s: the process can't be forked\n", description);
	return pid;
}

/* The process in which the routes of events run, like those of requests. */
static int fork_events(void)
{
	sigset_t before;
	const int pid = fork_one(PROC_XWORKER, "Exchange presence events", &before);

	if (pid != 0)
		return pid < 0 ? -1 : 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (cfg_child_init())
		_exit(1);
	px_events_run(&module, run_event, update_cfg);
}

static int fork_supervisor(void)
{
	const pid_t main_pid = getpid();
	sigset_t before;
	const int pid = fork_one(PROC_NOCHLDINIT, "Exchange presence supervisor", &before);

	if (pid != 0)
		return pid < 0 ? -1 : 0;
	/* which takes what is blocked from a descriptor */
	px_module_supervise(&module, main_pid, begin_cfg, update_cfg);
	_exit(0);
}

static int child_init(int rank)
{
	if (rank == PROC_INIT)
		return px_module_check_again(&module) < 0 ? -1 : 0;
	if (rank == PROC_POSTCHILDINIT)
		return 0;
	if (rank == PROC_MAIN && fork_supervisor() < 0)
		return -1;
	px_module_leave(&module);
	return rank == PROC_MAIN && events_wanted() ? fork_events() : 0;
}

/* ---- what Kamailio looks for ---- */

#pragma GCC visibility push(default)
MODULE_VERSION
extern struct module_exports exports;
int mod_register(char *path, int *dlflags, void *p1, void *p2);
#pragma GCC visibility pop

struct module_exports exports = {
    .name = MODULE,
    .dlflags = DEFAULT_DLFLAGS,
    .cmds = cmd_exports,
    .params = param_exports,
    .pv_items = pv_exports,
    .init_mod_f = mod_init,
    .init_child_f = child_init,
};

int mod_register(char *path, int *dlflags, void *p1, void *p2)
{
	(void)path, (void)dlflags, (void)p1, (void)p2;
	return sr_kemi_modules_add(kemi_exports);
}
