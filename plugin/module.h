/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * module.h - what the module is in any proxy: settings, the board, the commands' socket, and the
 * worker under its supervisor. The proxy's own file (kamailio.c, opensips.c) only hands things on.
 */
#ifndef PX_MODULE_H
#define PX_MODULE_H

#include "board.h"
#include "params.h"
#include "px_settings.h"
#include "supervisor.h"

/* One row of the users' table: aor, mailbox, enabled, remind. s NULL: the database's null. */
#define PX_TABLE_COLUMNS(X) X(aor) X(mailbox) X(enabled) X(remind)
enum px_table_column {
#define PX_TABLE_COLUMN(name) PX_TABLE_##name,
	PX_TABLE_COLUMNS(PX_TABLE_COLUMN)
#undef PX_TABLE_COLUMN
	    PX_TABLE_COLUMN_COUNT
};
struct px_cell {
	const char *s; /* borrowed, not terminated */
	size_t n;
};
typedef int px_table_row_h(void *arg, const struct px_cell cell[PX_TABLE_COLUMN_COUNT]);

/*
 * How the proxy reads the table at a database: hands each row over, and stops when it is told a
 * negative errno. 0, or a negative errno and in why what is wrong, without the URL's password.
 */
typedef int px_table_read_h(const char *url, const char *table, px_table_row_h *row, void *arg,
                            char why[PX_WHY_MAX]);

struct px_module {
	px_table_read_h *read_table;
	char db_url[512], db_table[64];                     /* db_url "": none */
	int table_fd;                                       /* px_table.h */
	void (*say)(enum px_level level, const char *text); /* one line, without newline */
	char worker[4096];                                  /* the program's path */
	struct px_params params;
	struct px_board_reader *board;
	int settings_fd, board_fd;
	int control[2]; /* [0] of all processes, [1] of the worker */
};

/* To begin with. path: a literal, the installed worker's. */
#define PX_MODULE_INIT(path, say_line, read_rows)                                                  \
	{                                                                                          \
		.say = (say_line), .read_table = (read_rows), .worker = path, .table_fd = -1,      \
		.settings_fd = -1, .board_fd = -1, .control = {                                    \
			-1,                                                                        \
			-1                                                                         \
		}                                                                                  \
	}

/* ---- before the proxy's processes are forked ---- */

/* Takes a modparam. 0, or a negative errno, which was said. */
int px_module_param(struct px_module *m, const char *name, const char *value);

/*
 * The settings, read as the worker will read them, and what they name looked at, so that what is
 * wrong is known before anything runs. The caller's to free; NULL: what is wrong was said.
 */
struct px_settings *px_module_settings(struct px_module *m);

/*
 * Makes what the processes share, out of the settings s. own_server: the URI of the proxy's own
 * socket, taken without a presence_server (NULL: it has none); own_level: log_level unless it is
 * set. Wipes the settings' text here: it goes to the worker alone. 0, or a negative errno, which was
 * said.
 */
int px_module_set_up(struct px_module *m, const struct px_settings *s, const char *own_server,
                     const char *own_level);

/*
 * The URI of a socket of the proxy for px_module_set_up(), in out (size is enough at 128). address:
 * as text; any: it listens on all of its machine's.
 */
void px_module_own_uri(char *out, size_t size, const char *address, bool v6, bool any,
                       unsigned port, const char *transport);

/*
 * Reads the users' table again, if there is one, into what the worker reads. 0; or a negative errno
 * and why: what was read before stays.
 */
int px_module_read_table(const struct px_module *m, char why[PX_WHY_MAX]);

/* ---- then ---- */

/* Once more, as the user that the proxy has become: the worker opens the files as that one. 0 or -EINVAL. */
int px_module_check_again(struct px_module *m);

/* In every process but the supervisor: closes what only that one needs. */
void px_module_leave(struct px_module *m);

/* In the process that the proxy (a pid) forked for it, until that or the proxy is to end. begin, turn: see supervisor.h. */
void px_module_supervise(struct px_module *m, pid_t proxy, void (*begin)(void), void (*turn)(void));

#endif
