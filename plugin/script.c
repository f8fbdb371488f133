/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "script.h"

#include <inttypes.h>
#include <stdio.h>

#include "control.h"
#include "show.h"

void px_value_text(struct px_value *v, const char *text)
{
	v->number = false;
	v->n = 0;
	v->text[0] = '\0';
	strncat(v->text, text, sizeof v->text - 1);
}

void px_value_number(struct px_value *v, int64_t n)
{
	v->number = true;
	v->n = n;
	snprintf(v->text, sizeof v->text, "%" PRId64, n);
}

int px_lookup_named(const char *name, size_t n)
{
	static const char *const of[] = {
#define NAME(name, help) #name,
	    PX_LOOKUPS(NAME)
#undef NAME
	};

	for (int i = 0; i < PX_LOOKUP_COUNT; i++)
		if (strlen(of[i]) == n && memcmp(of[i], name, n) == 0)
			return i;
	return -1;
}

static bool silent(const struct px_module *m, int64_t mono_ms)
{
	return px_board_silent_ms(m->board, mono_ms) >= PX_BOARD_SILENT_MS;
}

void px_lookup(const struct px_module *m, enum px_lookup what, const char *aor, size_t n,
               struct px_value *out)
{
	const struct px_show_now now = px_show_now();
	char key[PX_AOR_MAX + 1], gateway[PX_BOARD_NAME_MAX + 1];
	struct px_board_user u;
	const char *availability;

	px_value_text(out, "unknown");
	if (px_key_from_aor(aor, n, key) < 0 || silent(m, now.mono_ms) ||
	    px_board_user_state(m->board, key, &u) != PX_BOARD_FOUND)
		return;
	availability = px_board_availability(m->board, &u, now.mono_ms, now.wall_s);
	switch (what) {
	case PX_LOOKUP_availability:
		px_value_text(out, availability);
		break;
	case PX_LOOKUP_until:
		if (strcmp(availability, "unknown") != 0)
			px_value_number(out, u.state.until);
		break;
	case PX_LOOKUP_gateway:
		px_board_gateway_name(m->board, &u, gateway);
		px_value_text(out, gateway);
		break;
	case PX_LOOKUP_age:
		if (u.state.read_at != 0)
			px_value_number(
			    out, now.wall_s > u.state.read_at ? now.wall_s - u.state.read_at : 0);
		break;
	case PX_LOOKUP_COUNT:
		break;
	}
}

static void say_nonsense(const struct px_module *m, const char *what, const char *text, size_t n)
{
	char line[PX_AOR_MAX + 64];

	snprintf(line, sizeof line, "a script's %.*s%s is no %s", n < 200 ? (int)n : 200, text,
	         n < 200 ? "" : "...", what);
	m->say(PX_WARN, line);
}

bool px_script_command(const struct px_module *m, enum px_control_command c, const char *aor,
                       size_t aor_len, const char *mailbox, size_t mailbox_len)
{
	const int64_t now_ms = px_show_now().mono_ms;
	char key[PX_AOR_MAX + 1], box[PX_MAILBOX_MAX + 1] = "";
	struct px_board_user u;

	if (px_key_from_aor(aor, aor_len, key) < 0) {
		say_nonsense(m, "AoR", aor, aor_len);
		return false;
	}
	if (mailbox_len > 0 && px_mailbox(mailbox, mailbox_len, box) < 0) {
		say_nonsense(m, "mailbox", mailbox, mailbox_len);
		return false;
	}
	if (silent(m, now_ms)) {
		px_board_lose(m->board);
		return false;
	}
	/* first what waits, then the board: a command that is taken in between is on the board */
	if (!px_control_waits(m->control[0])) {
		const enum px_board_found found = px_board_user(m->board, key, &u);

		if (found == PX_BOARD_NONE && c != PX_CONTROL_ENABLE)
			return false;
		if (found == PX_BOARD_FOUND && c != PX_CONTROL_REFRESH &&
		    u.state.on == (c == PX_CONTROL_ENABLE) &&
		    (!box[0] || strcmp(box, u.mailbox) == 0))
			return true;
	}
	if (px_control_send(m->control[0], c, key, box, now_ms + PX_SCRIPT_DEADLINE_MS) == 0)
		return true;
	px_board_lose(m->board);
	return false;
}
