/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "module.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "core/buf.h"
#include "px_file.h"
#include "px_table.h"

static void say(const struct px_module *m, enum px_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void say(const struct px_module *m, enum px_level level, const char *fmt, ...)
{
	char text[4096 + 256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	m->say(level, text);
}

int px_module_param(struct px_module *m, const char *name, const char *value)
{
	char why[PX_WHY_MAX];
	const int err = px_params_add(&m->params, name, value, why);

	if (err < 0)
		say(m, PX_ERROR, "%s", why);
	return err;
}

/* ---- settings ---- */

static void say_setting(void *arg, const char *complaint)
{
	say(arg, PX_ERROR, "%s", complaint);
}

/* What only the worker opens must be there too. */
static bool readable(const struct px_module *m, const char *name, const char *path)
{
	if (!path || access(path, R_OK) == 0)
		return true;
	say(m, PX_ERROR, "%s: %s: %s", name, path, strerror(errno));
	return false;
}

static bool files_readable(const struct px_module *m, const struct px_settings *s)
{
	bool good = readable(m, "users_file", s->users_file) && readable(m, "ca_file", s->ca_file);

	for (size_t i = 0; i < s->gateways && good; i++)
		good = readable(m, "gateway", s->gateway[i].ca_file);
	if (access(m->worker, X_OK) < 0) {
		say(m, PX_ERROR, "worker: %s: %s; give the path of pua_exchange_worker", m->worker,
		    strerror(errno));
		good = false;
	}
	return good;
}

static struct px_settings *check(struct px_module *m, const char *text, size_t n)
{
	const struct px_settings_reader reader = {
	    .unit = PX_MODPARAM, .read = px_file_read, .said = say_setting, .arg = m};
	struct px_settings *s = NULL;
	const int err = px_settings_read(&s, text, n, &reader);

	if (err < 0) {
		say(m, PX_ERROR, "the settings can't be used (%s)", strerror(-err));
		return NULL;
	}
	if (s->worker)
		snprintf(m->worker, sizeof m->worker, "%s", s->worker);
	if (px_settings_impossible(s, say_setting, m) == 0 && files_readable(m, s))
		return s;
	px_settings_free(s);
	return NULL;
}

struct px_settings *px_module_settings(struct px_module *m)
{
	return check(m, m->params.len ? m->params.text : "", m->params.len);
}

int px_module_check_again(struct px_module *m)
{
	struct px_settings *s;
	struct stat st;
	void *text;

	if (fstat(m->settings_fd, &st) < 0 ||
	    (text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, m->settings_fd, 0)) ==
	        MAP_FAILED) {
		say(m, PX_ERROR, "the settings can't be read: %s", strerror(errno));
		return -EINVAL;
	}
	s = check(m, text, (size_t)st.st_size);
	munmap(text, (size_t)st.st_size);
	px_settings_free(s);
	return s ? 0 : -EINVAL;
}

/* ---- users in a database ---- */

/* As CSV. Control characters can't be in an AoR: as blanks they make the row one that is refused and
 * told, instead of two. */
static void add_field(struct px_buf *out, const struct px_cell *c)
{
	px_buf_str(out, "\"");
	for (size_t i = 0; c->s && i < c->n; i++) {
		const char is = (unsigned char)c->s[i] < ' ' ? ' ' : c->s[i];

		px_buf_add(out, "\"\"", is == '"' ? 1 : 0);
		px_buf_add(out, &is, 1);
	}
	px_buf_str(out, "\",");
}

static bool truth(const struct px_cell *c)
{
	static const char *const no[] = {"0", "n", "no", "off", "false", "f", "quiet"};

	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		if (c->s && strlen(no[i]) == c->n && strncasecmp(no[i], c->s, c->n) == 0)
			return false;
	return true;
}

static int add_row(void *arg, const struct px_cell cell[PX_TABLE_COLUMN_COUNT])
{
	struct px_buf *out = arg;

	add_field(out, &cell[PX_TABLE_aor]);
	add_field(out, &cell[PX_TABLE_mailbox]);
	px_buf_printf(out, "%s,%s\n", truth(&cell[PX_TABLE_enabled]) ? "on" : "off",
	              truth(&cell[PX_TABLE_remind]) ? "remind" : "quiet");
	return out->failed ? -ENOMEM : 0;
}

int px_module_read_table(const struct px_module *m, char why[PX_WHY_MAX])
{
	struct px_buf text = px_buf_new(PX_TABLE_MAX);
	int err;

	if (!m->db_url[0])
		return 0;
	snprintf(why, PX_WHY_MAX, "it is too large, or there is no memory");
	err = m->read_table(m->db_url, m->db_table, add_row, &text, why);
	if (err == 0) {
		err = px_table_put(m->table_fd, text.data ? text.data : "", text.len);
		if (err < 0)
			snprintf(why, PX_WHY_MAX, "%s", strerror(-err));
	}
	px_buf_free(&text);
	return err;
}

static int make_table(struct px_module *m, const struct px_settings *s)
{
	char why[PX_WHY_MAX];
	int err = 0;

	m->table_fd = px_table_make();
	if (m->table_fd < 0) {
		say(m, PX_ERROR, "no memory for users: %s", strerror(-m->table_fd));
		return m->table_fd;
	}
	if (s->db_url && (strlen(s->db_url) >= sizeof m->db_url ||
	                  (s->db_table && strlen(s->db_table) >= sizeof m->db_table))) {
		say(m, PX_ERROR, "db_url, db_table: at most %zu and %zu bytes",
		    sizeof m->db_url - 1, sizeof m->db_table - 1);
		return -ENAMETOOLONG;
	}
	snprintf(m->db_url, sizeof m->db_url, "%s", s->db_url ? s->db_url : "");
	snprintf(m->db_table, sizeof m->db_table, "%s",
	         s->db_table ? s->db_table : "exchange_users");
	err = px_module_read_table(m, why);
	if (err < 0)
		say(m, PX_ERROR, "db_table %s can't be read: %s", m->db_table, why);
	return err;
}

/* ---- what is shared ---- */

void px_module_own_uri(char *out, size_t size, const char *address, bool v6, bool any,
                       unsigned port, const char *transport)
{
	if (any)
		address = v6 ? "::1" : "127.0.0.1";
	snprintf(out, size, "sip:%s%s%s:%u;transport=%s", v6 ? "[" : "", address, v6 ? "]" : "",
	         port, transport);
}

static int make_board(struct px_module *m, uint32_t users)
{
	int err;

	m->board_fd = px_board_make(users, PX_BOARD_GATEWAYS_MAX);
	err = m->board_fd < 0 ? m->board_fd : px_board_open(&m->board, m->board_fd);
	if (err < 0)
		say(m, PX_ERROR, "the board can't be made: %s", strerror(-err));
	return err;
}

static int add_own(struct px_module *m, const struct px_settings *s, const char *own_server,
                   const char *own_level)
{
	int err = 0;

	if (s->presence_servers == 0 && !own_server) {
		say(m, PX_ERROR,
		    "presence_server: the proxy has no socket of its own; give sip:HOST[:PORT]");
		return -EINVAL;
	}
	if (s->presence_servers == 0) {
		say(m, PX_INFO, "presence_server is %s", own_server);
		err = px_module_param(m, "presence_server", own_server);
	}
	if (err == 0 && !px_params_has(&m->params, "log_level"))
		err = px_module_param(m, "log_level", own_level);
	return err;
}

static int make_shared(struct px_module *m, const struct px_settings *s, const char *own_server,
                       const char *own_level)
{
	int err = make_board(m, (uint32_t)s->max_users);

	if (err == 0)
		err = make_table(m, s);
	if (err == 0)
		err = add_own(m, s, own_server, own_level);
	if (err < 0)
		return err;
	m->settings_fd = px_params_memfd(&m->params);
	if (m->settings_fd < 0) {
		say(m, PX_ERROR, "the settings can't be kept: %s", strerror(-m->settings_fd));
		return m->settings_fd;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, m->control) < 0) {
		err = -errno;
		say(m, PX_ERROR, "no socket for commands: %s", strerror(-err));
	}
	return err;
}

int px_module_set_up(struct px_module *m, const struct px_settings *s, const char *own_server,
                     const char *own_level)
{
	const int err = make_shared(m, s, own_server, own_level);

	px_params_free(&m->params);
	return err;
}

/* ---- processes ---- */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void px_module_leave(struct px_module *m)
{
	close_fd(&m->settings_fd);
	close_fd(&m->board_fd);
	close_fd(&m->control[1]);
}

void px_module_supervise(struct px_module *m, pid_t proxy, void (*begin)(void), void (*turn)(void))
{
	const struct px_supervisor s = {.worker = m->worker,
	                                .settings_fd = m->settings_fd,
	                                .board_fd = m->board_fd,
	                                .control_fd = m->control[1],
	                                .table_fd = m->table_fd,
	                                .board = m->board,
	                                .proxy = proxy,
	                                .log = m->say,
	                                .begin = begin,
	                                .turn = turn};

	px_keep_supervised(&s);
}
