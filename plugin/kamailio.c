/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kamailio.c - pua_exchange as a module of Kamailio (5.6 to 6.1): modparams, processes, RPC,
 * statistics. The only file that includes Kamailio's headers; what it does is in the others.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/cfg/cfg.h"
#include "core/cfg/cfg_struct.h"
#include "core/cfg_core.h"
#include "core/counters.h"
#include "core/dprint.h"
#include "core/globals.h"
#include "core/ip_addr.h"
#include "core/pt.h"
#include "core/rpc.h"
#include "core/rpc_lookup.h"
#include "core/socket_info.h"
#include "core/sr_module.h"

#include "module.h"
#include "remote.h"

#ifndef PX_WORKER
#error "PX_WORKER is the path of the installed pua_exchange_worker"
#endif

#define MODULE "pua_exchange"

static void say_line(enum px_level level, const char *text);

static struct px_module module = PX_MODULE_INIT(PX_WORKER, say_line);

/* ---- modparams ---- */

static int take_param(const char *name, modparam_t type, void *val)
{
	const char *value = val;
	char digits[24];

	if (PARAM_TYPE_MASK(type) == PARAM_INT) {
		snprintf(digits, sizeof digits, "%ld", (long)val);
		value = digits;
	}
	return px_module_param(&module, name, value) < 0 ? -1 : 0;
}

#define PX_GROUP(title)
#define PX_SETTING(name, ...)                                                                      \
	static int take_##name(modparam_t type, void *val)                                         \
	{                                                                                          \
		return take_param(#name, type, val);                                               \
	}
#include "px_settings.def"
#undef PX_SETTING

/* Both types for each, since Kamailio looks for the one with which a value is written. */
static param_export_t param_exports[] = {
#define PX_SETTING(name, ...)                                                                      \
	{#name, PARAM_STRING | PARAM_USE_FUNC, (void *)take_##name},                               \
	    {#name, PARAM_INT | PARAM_USE_FUNC, (void *)take_##name},
#include "px_settings.def"
#undef PX_SETTING
#undef PX_GROUP
    {0, 0, 0}};

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

static const char *own_log_level(void)
{
	const int level = cfg_get(core, core_cfg, debug);

	return level >= L_DBG      ? "debug"
	       : level >= L_INFO   ? "info"
	       : level >= L_NOTICE ? "notice"
	       : level >= L_WARN   ? "warn"
	                           : "error";
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

/* ---- processes ---- */

static int mod_init(void)
{
	struct px_settings *s = px_module_settings(&module);
	char uri[128];
	int err;

	if (!s)
		return -1;
	err = px_module_set_up(&module, s, own_server(uri), own_log_level());
	px_settings_free(s);
	if (err < 0)
		return -1;
	if (register_module_stats(MODULE, stats) < 0 || rpc_register_array(rpc_exports) != 0) {
		LM_ERR("RPC and statistics can't be registered\n");
		return -1;
	}
	register_procs(1);
	cfg_register_child(1);
	return 0;
}

static void say_line(enum px_level level, const char *text)
{
	switch (level) {
	case PX_ERROR:
		LM_ERR("%s\n", text);
		break;
	case PX_WARN:
		LM_WARN("%s\n", text);
		break;
	case PX_NOTICE:
		LM_NOTICE("%s\n", text);
		break;
	case PX_INFO:
		LM_INFO("%s\n", text);
		break;
	case PX_DEBUG:
		LM_DBG("%s\n", text);
		break;
	}
}

static void update_cfg(void)
{
	cfg_update();
}

static int child_init(int rank)
{
	const pid_t main_pid = getpid();
	int pid;

	if (rank == PROC_INIT)
		return px_module_check_again(&module) < 0 ? -1 : 0;
	if (rank == PROC_POSTCHILDINIT)
		return 0;
	if (rank != PROC_MAIN) {
		px_module_leave(&module);
		return 0;
	}
	pid = fork_process(PROC_NOCHLDINIT, "Exchange presence supervisor", 0);
	if (pid < 0) {
		LM_ERR("the supervisor can't be forked\n");
		return -1;
	}
	if (pid > 0) {
		px_module_leave(&module);
		return 0;
	}
	if (cfg_child_init())
		_exit(1);
	px_module_supervise(&module, main_pid, update_cfg);
	_exit(0);
}

/* ---- what Kamailio looks for ---- */

#pragma GCC visibility push(default)
MODULE_VERSION
extern struct module_exports exports;
#pragma GCC visibility pop

struct module_exports exports = {
    .name = MODULE,
    .dlflags = DEFAULT_DLFLAGS,
    .params = param_exports,
    .init_mod_f = mod_init,
    .init_child_f = child_init,
};
