/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "events.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#include "show.h"

struct seen {
	char *key; /* whose state was told; NULL: unknown was */
	uint8_t presence;
};

struct px_events {
	const struct px_board_reader *board;
	uint64_t epoch, told;
	bool through; /* all rows are to be looked at */
	struct seen *row;
	uint32_t rows;
	struct {
		char name[PX_BOARD_NAME_MAX + 1];
		uint32_t health;
	} * gateway;
};

static const struct {
	const char *name, *kinds;
} field[] = {
#define FIELD(name, kinds, help) {#name, kinds},
    PX_EVENT_VALUES(FIELD)
#undef FIELD
};

int px_event_named(const char *name, size_t n)
{
	for (int i = 0; i < PX_EVENT_FIELDS; i++)
		if (strlen(field[i].name) == n && memcmp(field[i].name, name, n) == 0)
			return i;
	return -1;
}

const char *px_event_name(enum px_event_field f)
{
	return field[f].name;
}

bool px_event_has(enum px_event_kind kind, enum px_event_field f)
{
	return strchr(field[f].kinds, kind == PX_EVENT_STATE ? 's' : 'g');
}

struct px_events *px_events_new(const struct px_board_reader *b)
{
	struct px_events *e = calloc(1, sizeof *e);

	if (!e)
		return NULL;
	e->board = b;
	e->through = true;
	e->gateway = calloc(PX_BOARD_GATEWAYS_MAX, sizeof *e->gateway);
	if (!e->gateway) {
		free(e);
		return NULL;
	}
	return e;
}

void px_events_free(struct px_events *e)
{
	if (!e)
		return;
	for (uint32_t i = 0; i < e->rows; i++)
		free(e->row[i].key);
	free(e->row);
	free(e->gateway);
	free(e);
}

/* ---- users ---- */

static void tell_state(const struct px_events *e, const char *aor, uint8_t was, uint8_t presence,
                       const struct px_board_user *u, px_event_h *told, void *ctx)
{
	struct px_event ev = {.kind = PX_EVENT_STATE};
	char gateway[PX_BOARD_NAME_MAX + 1] = "";

	if (u)
		px_board_gateway_name(e->board, u, gateway);
	px_value_text(&ev.value[PX_EVENT_aor], aor);
	px_value_text(&ev.value[PX_EVENT_status], px_board_presence_name(presence));
	px_value_text(&ev.value[PX_EVENT_was], px_board_presence_name(was));
	px_value_number(&ev.value[PX_EVENT_until], u && presence ? u->state.until : 0);
	px_value_text(&ev.value[PX_EVENT_gateway], gateway);
	told(ctx, &ev);
}

static void look_at(struct px_events *e, uint32_t i, px_event_h *told, void *ctx)
{
	struct seen *seen = &e->row[i];
	struct px_board_user u;
	const enum px_board_found found = px_board_at(e->board, i, &u);
	const uint8_t presence = found == PX_BOARD_FOUND && u.state.on ? u.state.presence : 0;
	char *key = NULL;

	if (found == PX_BOARD_UNKNOWN) {
		e->through = true; /* once more, with the next look */
		return;
	}
	if (seen->key && (found == PX_BOARD_NONE || strcmp(seen->key, u.key) != 0)) {
		/* the row is somebody else's now */
		tell_state(e, seen->key, seen->presence, 0, NULL, told, ctx);
		free(seen->key);
		*seen = (struct seen){0};
	}
	if (presence == seen->presence)
		return;
	if (presence != 0 && !seen->key && !(key = strdup(u.key))) {
		e->through = true;
		return;
	}
	tell_state(e, u.key, seen->presence, presence, &u, told, ctx);
	if (key)
		seen->key = key;
	if (presence == 0) {
		free(seen->key);
		seen->key = NULL;
	}
	seen->presence = presence;
}

static bool make_room(struct px_events *e, uint32_t end)
{
	struct seen *more;

	if (end <= e->rows)
		return true;
	end += end / 4 + 64;
	more = realloc(e->row, end * sizeof *more);
	if (!more)
		return false;
	memset(more + e->rows, 0, (end - e->rows) * sizeof *more);
	e->row = more;
	e->rows = end;
	return true;
}

static void look_at_users(struct px_events *e, px_event_h *told, void *ctx)
{
	const uint64_t epoch = px_board_epoch(e->board);
	uint32_t row[PX_BOARD_TOLD];
	unsigned n;
	bool through;

	/* a worker that was killed may have written a row without its number */
	through = !px_board_told(e->board, &e->told, row, &n) || e->through || epoch != e->epoch;
	e->epoch = epoch;
	e->through = false;
	if (!through && n == 0)
		return;
	if (!make_room(e, px_board_end(e->board))) {
		e->through = true;
		return;
	}
	if (through)
		for (uint32_t i = 0; i < px_board_end(e->board) && i < e->rows; i++)
			look_at(e, i, told, ctx);
	else
		for (unsigned i = 0; i < n; i++)
			if (row[i] < e->rows)
				look_at(e, row[i], told, ctx);
}

/* ---- gateways ---- */

static void tell_health(const struct px_board_gateway_state *g, uint32_t was, px_event_h *told,
                        void *ctx)
{
	struct px_event ev = {.kind = PX_EVENT_HEALTH};

	px_value_text(&ev.value[PX_EVENT_gateway], g->name);
	px_value_text(&ev.value[PX_EVENT_health], px_show_health(g->health));
	px_value_text(&ev.value[PX_EVENT_was], px_show_health(was));
	px_value_text(&ev.value[PX_EVENT_error], g->last_error);
	told(ctx, &ev);
}

static void look_at_gateways(struct px_events *e, px_event_h *told, void *ctx)
{
	struct px_board_gateway_state g;

	for (uint32_t i = 0; i < PX_BOARD_GATEWAYS_MAX && px_board_gateway_read(e->board, i, &g);
	     i++) {
		if (!g.name[0]) { /* a free place */
			e->gateway[i].name[0] = '\0';
			continue;
		}
		if (strcmp(e->gateway[i].name, g.name) != 0) {
			memcpy(e->gateway[i].name, g.name, sizeof g.name);
			e->gateway[i].health = 0; /* another: it begins as up */
		}
		if (g.health == e->gateway[i].health)
			continue;
		tell_health(&g, e->gateway[i].health, told, ctx);
		e->gateway[i].health = g.health;
	}
}

void px_events_look(struct px_events *e, px_event_h *told, void *ctx)
{
	look_at_gateways(e, told, ctx);
	look_at_users(e, told, ctx);
}

_Noreturn void px_events_run(const struct px_module *m, px_event_h *told, void (*turn)(void))
{
	const struct timespec pause = {0, PX_EVENTS_LOOK_MS * 1000000L};
	const pid_t proxy = getppid();
	struct px_events *e = px_events_new(m->board);

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	while (e && getppid() == proxy) {
		px_events_look(e, told, NULL);
		if (turn)
			turn();
		nanosleep(&pause, NULL);
	}
	if (!e)
		m->say(PX_ERROR, "no memory for the events");
	_exit(e ? 0 : 1);
}
