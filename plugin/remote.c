/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "remote.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "control.h"

#define ASK_MS 1500 /* a command answers or refuses within 2 s */
#define NO_ANSWER "The worker doesn't answer"

static int refuse(struct px_remote *r, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct px_remote *r, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->said, sizeof r->said, fmt, ap);
	va_end(ap);
	return code;
}

void px_remote_word(struct px_remote *r, const char *word, size_t len)
{
	if (r->words == PX_REMOTE_WORDS_MAX)
		return;
	if (len > PX_REMOTE_WORD_MAX)
		len = PX_REMOTE_WORD_MAX;
	memcpy(r->word[r->words], word, len);
	r->word[r->words++][len] = '\0';
}

/* ---- what the board says ---- */

int px_remote_users(struct px_remote *r)
{
	const struct px_show_now now = px_show_now();
	const struct px_board_reader *b = r->module->board;
	const struct px_rows *rows = r->rows;
	struct px_users_query q = {0};
	char why[PX_SHOW_WHY_MAX];
	uint32_t next;

	for (size_t i = 0; i < r->words; i++)
		if (px_users_query_word(&q, r->word[i], why) < 0)
			return refuse(r, 400, "%s", why);
	rows->begin(rows->ctx);
	rows->number(rows->ctx, "total", (int64_t)px_stat(b, PX_STAT_users, now));
	rows->list(rows->ctx, "users");
	next = px_show_users(b, &q, now, rows);
	rows->end(rows->ctx);
	if (next > 0)
		rows->number(rows->ctx, "next", next);
	return 0;
}

/* The key of the AoR that is the request's first word. 0, or a code. */
static int take_key(struct px_remote *r, char key[PX_AOR_MAX + 1], const char **mailbox)
{
	const char *aor = r->words > 0 ? r->word[0] : NULL, *comma = NULL;
	int err;

	if (!aor)
		return refuse(r, 400, "Give an AoR, such as alice@example.com");
	/* AOR,MAILBOX: a comma may stand in a user part, so it is one behind an @ */
	if (mailbox) {
		const char *at = strchr(aor, '@');

		comma = at ? strchr(at, ',') : NULL;
		*mailbox = comma ? comma + 1 : r->words > 1 ? r->word[1] : NULL;
	}
	err = px_key_from_aor(aor, comma ? (size_t)(comma - aor) : strlen(aor), key);
	if (err == 0)
		return 0;
	return refuse(r, 400, "%s",
	              err == -ENAMETOOLONG ? "The AoR is too long"
	                                   : "That is not an AoR; write user@host");
}

int px_remote_user(struct px_remote *r)
{
	char key[PX_AOR_MAX + 1];
	const int code = take_key(r, key, NULL);

	if (code != 0)
		return code;
	switch (px_show_user(r->module->board, key, px_show_now(), r->rows)) {
	case PX_BOARD_FOUND:
		return 0;
	case PX_BOARD_NONE:
		if (px_board_epoch(r->module->board) == 0)
			return refuse(r, 503, "The worker has not begun yet");
		return refuse(r, 404, "No such user");
	case PX_BOARD_UNKNOWN:
		break;
	}
	return refuse(r, 503, "The user changes all the time; ask again");
}

int px_remote_gateways(struct px_remote *r)
{
	px_show_gateways(r->module->board, r->rows);
	return 0;
}

int px_remote_stats(struct px_remote *r)
{
	px_show_stats(r->module->board, px_show_now(), r->rows);
	return 0;
}

/* ---- what the worker does ---- */

static int refusal(struct px_remote *r, int err, const char *said)
{
	switch (err) {
	case -ENOENT:
		return refuse(r, 404, "%s", *said ? said : "No such user");
	case -EINVAL:
	case -ENAMETOOLONG:
	case -EEXIST:
		return refuse(r, 400, "%s", said);
	case -EBUSY:
		return refuse(r, 503, "%s", said);
	case -EAGAIN:
		return refuse(r, 503, "Too many commands wait for the worker; ask again");
	case -ETIMEDOUT:
	case -EPIPE:
		return refuse(r, 503, NO_ANSWER);
	case -ENOSPC:
		return refuse(r, 507, "%s", said);
	default:
		return refuse(r, 500, "%s", *said ? said : strerror(-err));
	}
}

static int ask(struct px_remote *r, enum px_control_command c, const char *word,
               const char *mailbox, struct px_control_answer *answer)
{
	const int64_t now_ms = px_show_now().mono_ms;
	int err;

	if (px_board_silent_ms(r->module->board, now_ms) >= PX_BOARD_SILENT_MS)
		return refuse(r, 503, "The worker is silent");
	err = px_control_ask(r->module->control[0], c, word, mailbox, now_ms, ASK_MS, answer);
	if (err == 0)
		err = answer->status;
	return err < 0 ? refusal(r, err, answer->said) : 0;
}

/* About one user. */
static int command(struct px_remote *r, enum px_control_command c)
{
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1] = "";
	const char *given = NULL;
	struct px_control_answer answer = {0};
	int err = take_key(r, key, c == PX_CONTROL_ENABLE ? &given : NULL);

	if (err != 0)
		return err;
	if (given && px_mailbox(given, strlen(given), mailbox) < 0)
		return refuse(r, 400, "That is not a mailbox; write user@domain");
	return ask(r, c, key, mailbox, &answer);
}

/* What the worker said, lines NAME=VALUE, as a row. */
static void show_said(char *said, const struct px_rows *rows)
{
	char *next;

	rows->begin(rows->ctx);
	for (char *line = said; *line; line = next) {
		char *end = strchrnul(line, '\n'), *value;

		next = *end ? end + 1 : end;
		*end = '\0';
		value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = '\0';
		rows->text(rows->ctx, line, value);
	}
}

/* About the whole; its one word may be left out. */
static int ask_and_show(struct px_remote *r, enum px_control_command c)
{
	struct px_control_answer answer = {0};
	int code = ask(r, c, r->words > 0 ? r->word[0] : "", NULL, &answer);

	if (code == 0)
		show_said(answer.said, r->rows);
	return code;
}

int px_remote_enable(struct px_remote *r)
{
	return command(r, PX_CONTROL_ENABLE);
}

int px_remote_disable(struct px_remote *r)
{
	return command(r, PX_CONTROL_DISABLE);
}

int px_remote_refresh(struct px_remote *r)
{
	return command(r, PX_CONTROL_REFRESH);
}

int px_remote_reload(struct px_remote *r)
{
	char why[PX_WHY_MAX], line[PX_WHY_MAX + 128];

	if (r->words > 0 && strcmp(r->word[0], PX_CONTROL_REMOVING) != 0)
		return refuse(r, 400, "Give nothing, or removing: however many users are gone");
	const int err = px_module_read_table(r->module, why);
	/* what takes longer goes on, and whoever asks again joins */
	const int code = ask_and_show(r, PX_CONTROL_RELOAD);

	if (err < 0) {
		snprintf(line, sizeof line,
		         "db_table %s can't be read: %s; its users stay as they are",
		         r->module->db_table, why);
		r->module->say(PX_ERROR, line);
		if (code == 0)
			r->rows->text(r->rows->ctx, "database", line);
	}
	return code == 503 && strcmp(r->said, NO_ANSWER) == 0
	           ? refuse(r, 503, "It isn't through yet; ask again")
	           : code;
}

int px_remote_active(struct px_remote *r)
{
	if (r->words > 0 && strcmp(r->word[0], "on") != 0 && strcmp(r->word[0], "off") != 0)
		return refuse(r, 400, "Give on, off, or nothing to ask");
	return ask_and_show(r, PX_CONTROL_ACTIVE);
}

int px_remote_gateway_add(struct px_remote *r)
{
	struct px_control_answer answer = {0};

	if (r->words == 0)
		return refuse(r, 400, "Give a gateway, such as https://cas3.example.com");
	return ask(r, PX_CONTROL_GATEWAY_ADD, r->word[0], NULL, &answer);
}

int px_remote_gateway_remove(struct px_remote *r)
{
	struct px_control_answer answer = {0};

	if (r->words == 0)
		return refuse(r, 400, "Give a gateway's name");
	return ask(r, PX_CONTROL_GATEWAY_REMOVE, r->word[0], NULL, &answer);
}

/* ---- the troubleshooter ---- */

#define CHECK_MS 1200 /* that a check is waited for; then it tells what it has */
#define CHECK_AGAIN_MS 100

/* One field of a row: ended by `end`, which is overwritten. Returns what is behind it. */
static char *field(char *at, char end, const char **out)
{
	char *stop = strchrnul(at, end);

	*out = at;
	if (!*stop)
		return stop;
	*stop = '\0';
	return stop + 1;
}

static void show_steps(char *rows, const struct px_rows *to)
{
	static const char *const name[] = {"gateway", "step", "result", "text"};

	to->list(to->ctx, "steps");
	while (*rows) {
		to->begin(to->ctx);
		for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
			const char *value;

			rows =
			    field(rows, i + 1 < sizeof name / sizeof *name ? '\t' : '\n', &value);
			if (*value)
				to->text(to->ctx, name[i], value);
		}
	}
	to->end(to->ctx);
}

/* Asks for the part from `offset` on, with `rows` growing by it. 0, or a code. */
static int ask_check(struct px_remote *r, size_t offset, char state[8], int64_t *age, char **rows,
                     size_t *total)
{
	char word[PX_REMOTE_WORD_MAX + 1];
	struct px_control_answer answer = {0};
	long long seconds;
	int code, head = 0;

	if ((size_t)snprintf(word, sizeof word, "%zu %s", offset, r->words ? r->word[0] : "") >=
	    sizeof word)
		return refuse(r, 400, "That is too long for a gateway's name or an AoR");
	code = ask(r, PX_CONTROL_CHECK, word, NULL, &answer);
	if (code != 0)
		return code;
	if (sscanf(answer.said, "%7s %lld %zu%n", state, &seconds, total, &head) != 3 ||
	    answer.said[head] != '\n')
		return refuse(r, 500, "The worker is of another version");
	*age = seconds;
	size_t n = strlen(answer.said + head + 1);
	char *more = realloc(*rows, offset + n + 1);

	if (!more)
		return refuse(r, 500, "%s", strerror(ENOMEM));
	memcpy(more + offset, answer.said + head + 1, n + 1);
	*rows = more;
	return 0;
}

int px_remote_check(struct px_remote *r)
{
	const int64_t until = px_show_now().mono_ms + CHECK_MS;
	char state[8], *rows = NULL;
	size_t total = 0, had = 0;
	int64_t age = 0;
	int code;

	while ((code = ask_check(r, 0, state, &age, &rows, &total)) == 0 &&
	       strcmp(state, "running") == 0 && px_show_now().mono_ms < until)
		usleep(CHECK_AGAIN_MS * 1000);
	while (code == 0 && (had = strlen(rows)) < total) {
		code = ask_check(r, had, state, &age, &rows, &total);
		if (code == 0 && strlen(rows) == had)
			break; /* it was begun anew meanwhile */
	}
	if (code == 0) {
		r->rows->begin(r->rows->ctx);
		r->rows->text(r->rows->ctx, "check", state);
		r->rows->number(r->rows->ctx, "age", age);
		show_steps(rows, r->rows);
	}
	free(rows);
	return code;
}
