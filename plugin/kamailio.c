/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kamailio.c - pua_exchange as a module of Kamailio (5.6 to 6.1): modparams, processes, RPC,
 * statistics. The only file that includes Kamailio's headers; what it does is in the others.
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
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

#include "control.h"
#include "params.h"
#include "px_file.h"
#include "px_settings.h"
#include "show.h"
#include "supervisor.h"

#ifndef PX_WORKER
#error "PX_WORKER is the path of the installed pua_exchange_worker"
#endif

#define MODULE "pua_exchange"
#define ASK_MS 1500 /* an RPC answers or refuses within 2 s */

static struct px_params params;
static char worker[4096] = PX_WORKER;
static struct px_board_reader *board;
static int settings_fd = -1, board_fd = -1;
static int control[2] = {-1, -1}; /* [0] of all processes, [1] of the worker */

/* ---- modparams ---- */

static int take_param(const char *name, modparam_t type, void *val)
{
	char why[PX_WHY_MAX], digits[24];
	const char *value = val;

	if (PARAM_TYPE_MASK(type) == PARAM_INT) {
		snprintf(digits, sizeof digits, "%ld", (long)val);
		value = digits;
	}
	if (px_params_add(&params, name, value, why) < 0) {
		LM_ERR("%s\n", why);
		return -1;
	}
	return 0;
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

static void say_setting(void *arg, const char *complaint)
{
	(void)arg;
	LM_ERR("%s\n", complaint);
}

/* What only the worker opens must be there too. */
static bool readable(const char *name, const char *path)
{
	if (!path || access(path, R_OK) == 0)
		return true;
	LM_ERR("%s: %s: %s\n", name, path, strerror(errno));
	return false;
}

static bool files_readable(const struct px_settings *s)
{
	bool good = readable("users_file", s->users_file) && readable("ca_file", s->ca_file);

	for (size_t i = 0; i < s->gateways && good; i++)
		good = readable("gateway", s->gateway[i].ca_file);
	if (access(worker, X_OK) < 0) {
		LM_ERR("worker: %s: %s; give the path of pua_exchange_worker\n", worker,
		       strerror(errno));
		good = false;
	}
	return good;
}

/* What the worker will read, read the same way, so that what is wrong is known before anything runs. */
static struct px_settings *check_settings(const char *text, size_t n)
{
	const struct px_settings_reader reader = {
	    .unit = PX_MODPARAM, .read = px_file_read, .said = say_setting};
	struct px_settings *s = NULL;
	const int err = px_settings_read(&s, text, n, &reader);

	if (err < 0) {
		LM_ERR("the settings can't be used (%s)\n", strerror(-err));
		return NULL;
	}
	if (s->worker)
		snprintf(worker, sizeof worker, "%s", s->worker);
	if (px_settings_impossible(s, say_setting, NULL) == 0 && files_readable(s))
		return s;
	px_settings_free(s);
	return NULL;
}

static int add_setting(const char *name, const char *value)
{
	char why[PX_WHY_MAX];

	if (px_params_add(&params, name, value, why) == 0)
		return 0;
	LM_ERR("%s\n", why);
	return -1;
}

/* The socket of the list that has the address and port of si. */
static struct socket_info *same_place(struct socket_info *list, struct socket_info *si)
{
	while (list && (list->port_no != si->port_no || !ip_addr_cmp(&list->address, &si->address)))
		list = list->next;
	return list;
}

/* PUBLISH goes to the proxy itself: to its first socket, over TCP if it listens on it. */
static int add_own_socket(void)
{
	struct socket_info *si = get_first_socket();
	const bool tcp = !dont_fork && !tcp_disable; /* Kamailio serves it then */
	char uri[128];
	bool v6;

	if (!si) {
		LM_ERR(
		    "presence_server: the proxy has no socket of its own; give sip:HOST[:PORT]\n");
		return -1;
	}
	v6 = si->address.af == AF_INET6;
	snprintf(uri, sizeof uri, "sip:%s%.*s%s:%u;transport=%s", v6 ? "[" : "",
	         ip_addr_any(&si->address) ? (v6 ? 3 : 9) : si->address_str.len,
	         ip_addr_any(&si->address) ? (v6 ? "::1" : "127.0.0.1") : si->address_str.s,
	         v6 ? "]" : "", si->port_no,
	         si->proto == PROTO_TLS                                          ? "tls"
	         : si->proto == PROTO_TCP || (tcp && same_place(tcp_listen, si)) ? "tcp"
	                                                                         : "udp");
	LM_INFO("presence_server is %s\n", uri);
	return add_setting("presence_server", uri);
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
		return (counter_val_t)px_stat(board, PX_STAT_##name, px_show_now());               \
	}
PX_STATS(PX_STAT_READ)

static stat_export_t stats[] = {
#define PX_STAT_EXPORT(name, help) {#name, STAT_IS_FUNC, (stat_var **)(void *)stat_##name},
    PX_STATS(PX_STAT_EXPORT){0, 0, 0}};

/* ---- RPC ---- */

/* Rows as structs of an RPC's answer: each an element of `list`, or of the answer itself. */
struct answer {
	rpc_t *rpc;
	void *ctx, *list, *row;
};

static void begin_row(void *ctx)
{
	struct answer *a = ctx;

	if (a->list)
		a->rpc->array_add(a->list, "{", &a->row);
	else
		a->rpc->add(a->ctx, "{", &a->row);
}

static void add_text(void *ctx, const char *name, const char *value)
{
	struct answer *a = ctx;

	a->rpc->struct_add(a->row, "s", name, value);
}

static void add_number(void *ctx, const char *name, int64_t value)
{
	struct answer *a = ctx;

	a->rpc->struct_add(a->row, "l", name, (long)value);
}

static struct px_rows rows_of(struct answer *a)
{
	return (struct px_rows){
	    .ctx = a, .begin = begin_row, .text = add_text, .number = add_number};
}

static const char *users_doc[] = {
    "Users, a page at a time: [offset [limit]] and status=, gateway=, watch=, match=", 0};

static void rpc_users(rpc_t *rpc, void *ctx)
{
	struct answer a = {.rpc = rpc, .ctx = ctx};
	const struct px_rows rows = rows_of(&a);
	const struct px_show_now now = px_show_now();
	struct px_users_query q = {0};
	char why[PX_SHOW_WHY_MAX], *word;
	uint32_t next;
	void *head;

	while (rpc->scan(ctx, "*.s", &word) > 0)
		if (px_users_query_word(&q, word, why) < 0) {
			rpc->fault(ctx, 400, "%s", why);
			return;
		}
	if (rpc->add(ctx, "{", &head) < 0 ||
	    rpc->struct_add(head, "l[", "total", (long)px_stat(board, PX_STAT_users, now), "users",
	                    &a.list) < 0) {
		rpc->fault(ctx, 500, "No memory");
		return;
	}
	next = px_show_users(board, &q, now, &rows);
	if (next > 0)
		rpc->struct_add(head, "l", "next", (long)next);
}

/* The key of the AoR that is the request's first parameter. False: the request was refused. */
static bool scan_key(rpc_t *rpc, void *ctx, char key[PX_AOR_MAX + 1], char **mailbox)
{
	char *aor, *comma = NULL;
	int err;

	if (rpc->scan(ctx, "s", &aor) < 1) {
		rpc->fault(ctx, 400, "Give an AoR, such as alice@example.com");
		return false;
	}
	/* AOR,MAILBOX: a comma may stand in a user part, so it is one behind an @ */
	if (mailbox) {
		const char *at = strchr(aor, '@');

		comma = at ? strchr(at, ',') : NULL;
		*mailbox = comma ? comma + 1 : NULL;
	}
	err = px_key_from_aor(aor, comma ? (size_t)(comma - aor) : strlen(aor), key);
	if (err == 0)
		return true;
	rpc->fault(ctx, 400,
	           err == -ENAMETOOLONG ? "The AoR is too long"
	                                : "That is not an AoR; write user@host");
	return false;
}

static bool silent(void)
{
	return px_board_silent_ms(board, px_show_now().mono_ms) >= PX_BOARD_SILENT_MS;
}

static const char *user_doc[] = {"Everything about one user: AOR", 0};

static void rpc_user(rpc_t *rpc, void *ctx)
{
	struct answer a = {.rpc = rpc, .ctx = ctx};
	const struct px_rows rows = rows_of(&a);
	char key[PX_AOR_MAX + 1];

	if (!scan_key(rpc, ctx, key, NULL))
		return;
	switch (px_show_user(board, key, px_show_now(), &rows)) {
	case PX_BOARD_FOUND:
		break;
	case PX_BOARD_NONE:
		if (px_board_epoch(board) == 0)
			rpc->fault(ctx, 503, "The worker has not begun yet");
		else
			rpc->fault(ctx, 404, "No such user");
		break;
	case PX_BOARD_UNKNOWN:
		rpc->fault(ctx, 503, "The user changes all the time; ask again");
		break;
	}
}

static const char *gateways_doc[] = {"The gateways: health, users, requests, errors", 0};

static void rpc_gateways(rpc_t *rpc, void *ctx)
{
	struct answer a = {.rpc = rpc, .ctx = ctx};
	const struct px_rows rows = rows_of(&a);

	px_show_gateways(board, &rows);
}

static const char *stats_doc[] = {"The worker, the login, and all statistics", 0};

static void rpc_stats(rpc_t *rpc, void *ctx)
{
	struct answer a = {.rpc = rpc, .ctx = ctx};
	const struct px_rows rows = rows_of(&a);

	px_show_stats(board, px_show_now(), &rows);
}

static void say_refusal(rpc_t *rpc, void *ctx, int err, const char *said)
{
	switch (err) {
	case -ENOENT:
		rpc->fault(ctx, 404, "No such user");
		break;
	case -EINVAL:
	case -ENAMETOOLONG:
		rpc->fault(ctx, 400, "%s", said);
		break;
	case -EAGAIN:
		rpc->fault(ctx, 503, "Too many commands wait for the worker; ask again");
		break;
	case -ETIMEDOUT:
	case -EPIPE:
		rpc->fault(ctx, 503, "The worker doesn't answer");
		break;
	case -ENOSPC:
		rpc->fault(ctx, 507, "%s", said);
		break;
	default:
		rpc->fault(ctx, 500, "%s", *said ? said : strerror(-err));
	}
}

static void command(rpc_t *rpc, void *ctx, enum px_control_command c)
{
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1] = "", *given = NULL;
	struct px_control_answer answer = {0};
	int err;

	if (!scan_key(rpc, ctx, key, c == PX_CONTROL_ENABLE ? &given : NULL))
		return;
	if (c == PX_CONTROL_ENABLE && !given && rpc->scan(ctx, "*s", &given) < 1)
		given = NULL;
	if (given && px_mailbox(given, strlen(given), mailbox) < 0) {
		rpc->fault(ctx, 400, "That is not a mailbox; write user@domain");
		return;
	}
	if (silent()) {
		rpc->fault(ctx, 503, "The worker is silent");
		return;
	}
	err = px_control_ask(control[0], c, key, mailbox, px_show_now().mono_ms, ASK_MS, &answer);
	if (err == 0)
		err = answer.status;
	if (err < 0)
		say_refusal(rpc, ctx, err, answer.said);
	else
		rpc->rpl_printf(ctx, "ok");
}

static const char *refresh_doc[] = {"Reads a user's calendar now and verifies its publication: AOR",
                                    0};
static const char *enable_doc[] = {"Follows a user's calendar: AOR[,MAILBOX]", 0};
static const char *disable_doc[] = {"Withdraws a user's presence and stops following: AOR", 0};

static void rpc_refresh(rpc_t *rpc, void *ctx)
{
	command(rpc, ctx, PX_CONTROL_REFRESH);
}

static void rpc_enable(rpc_t *rpc, void *ctx)
{
	command(rpc, ctx, PX_CONTROL_ENABLE);
}

static void rpc_disable(rpc_t *rpc, void *ctx)
{
	command(rpc, ctx, PX_CONTROL_DISABLE);
}

static rpc_export_t rpc_exports[] = {{MODULE ".users", rpc_users, users_doc, 0},
                                     {MODULE ".user", rpc_user, user_doc, 0},
                                     {MODULE ".gateways", rpc_gateways, gateways_doc, RET_ARRAY},
                                     {MODULE ".stats", rpc_stats, stats_doc, 0},
                                     {MODULE ".refresh", rpc_refresh, refresh_doc, 0},
                                     {MODULE ".enable", rpc_enable, enable_doc, 0},
                                     {MODULE ".disable", rpc_disable, disable_doc, 0},
                                     {0, 0, 0, 0}};

/* ---- processes ---- */

static int make_board(const struct px_settings *s)
{
	int err;

	board_fd = px_board_make((uint32_t)s->max_users, PX_BOARD_GATEWAYS_MAX);
	err = board_fd < 0 ? board_fd : px_board_open(&board, board_fd);
	if (err < 0)
		LM_ERR("the board can't be made: %s\n", strerror(-err));
	return err;
}

static int set_up(const struct px_settings *s)
{
	if (make_board(s) < 0)
		return -1;
	if (s->presence_servers == 0 && add_own_socket() < 0)
		return -1;
	if (!px_params_has(&params, "log_level") && add_setting("log_level", own_log_level()) < 0)
		return -1;
	settings_fd = px_params_memfd(&params);
	if (settings_fd < 0) {
		LM_ERR("the settings can't be kept: %s\n", strerror(-settings_fd));
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, control) < 0) {
		LM_ERR("no socket for commands: %s\n", strerror(errno));
		return -1;
	}
	return 0;
}

static int mod_init(void)
{
	struct px_settings *s = check_settings(params.len ? params.text : "", params.len);
	int err;

	if (!s)
		return -1;
	err = set_up(s);
	px_settings_free(s);
	px_params_free(&params);
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

/* Once more, as the user that Kamailio has become: the worker opens the files as that one. */
static int check_again(void)
{
	struct px_settings *s;
	struct stat st;
	void *text;

	if (fstat(settings_fd, &st) < 0 ||
	    (text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, settings_fd, 0)) ==
	        MAP_FAILED) {
		LM_ERR("the settings can't be read: %s\n", strerror(errno));
		return -1;
	}
	s = check_settings(text, (size_t)st.st_size);
	munmap(text, (size_t)st.st_size);
	px_settings_free(s);
	return s ? 0 : -1;
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

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Only the supervisor needs them. */
static void close_supervisors(void)
{
	close_fd(&settings_fd);
	close_fd(&board_fd);
	close_fd(&control[1]);
}

static int child_init(int rank)
{
	struct px_supervisor s;
	const pid_t main_pid = getpid();
	int pid;

	if (rank == PROC_INIT)
		return check_again();
	if (rank == PROC_POSTCHILDINIT)
		return 0;
	if (rank != PROC_MAIN) {
		close_supervisors();
		return 0;
	}
	pid = fork_process(PROC_NOCHLDINIT, "Exchange presence supervisor", 0);
	if (pid < 0) {
		LM_ERR("the supervisor can't be forked\n");
		return -1;
	}
	if (pid > 0) {
		close_supervisors();
		return 0;
	}
	if (cfg_child_init())
		_exit(1);
	s = (struct px_supervisor){.worker = worker,
	                           .settings_fd = settings_fd,
	                           .board_fd = board_fd,
	                           .control_fd = control[1],
	                           .board = board,
	                           .proxy = main_pid,
	                           .log = say_line,
	                           .turn = update_cfg};
	px_supervise(&s);
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
