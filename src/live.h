/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * live.h - users, gateways, account and passwords as they are wanted: at the start, when they are read again, and by command.
 *
 * What is wanted comes from sources: settings, users_file, commands. A reading begins with everything being parsed and checked. A source that can't be
 * read, or has something wrong that isn't one user's line, changes nothing; the others count all the same. Then users are compared by key and
 * put a slice per turn. Only who came from a source goes when that source doesn't have him any more; whoever was switched by command stays as he was
 * switched, and a gateway that was added or removed by command likewise.
 */
#ifndef PX_LIVE_H
#define PX_LIVE_H

#include "core/engine.h"
#include "io/board.h"
#include "io/http.h"
#include "io/sip.h"
#include "px_control.h"
#include "px_settings.h"

struct px_live;

struct px_live_config {
	struct px_engine *engine; /* it has the settings' gateways, in their order; so has http */
	struct px_http *http;
	struct px_sip *sip;
	struct px_settings *
	    settings; /* taken, unless new() fails; without what users they list when load() has ended */
	/* Reads the settings again: 0 and *out, the caller's to free; or a negative errno, and what is wrong was said. */
	int (*read)(void *arg, struct px_settings **out, px_said_h *said, void *said_arg);
	void *arg;
	const char
	    *root;    /* WebDAV: where its front end has the mailboxes, outlives it; NULL: EWS */
	int table_fd; /* px_table.h, borrowed; -1: there is none */
};

/* 0 or -ENOMEM. */
int px_live_new(struct px_live **out, const struct px_live_config *c);
void px_live_free(struct px_live *l); /* NULL is fine */

/* A user of a former process, as it left him: before load(), which then finds him there as a reload would. His mailbox must be known. 0 or a negative errno. */
int px_live_recall(struct px_live *l, const struct px_board_user *u, struct px_now now);
/*
 * All users of all sources, at the start. resumed: of a worker after another, whose users were recalled; sources are then believed as in a reload, and one
 * that can't be read changes nothing. How many lines were wrong, or a negative errno; what is wrong was logged.
 */
int px_live_load(struct px_live *l, bool resumed, struct px_now now);
/* Removes who was recalled and isn't wanted any more: after load(), when the engine knows what still stands for him. How many they were. */
unsigned px_live_settle(struct px_live *l, struct px_now now);

#define PX_LIVE_MANY 10 /* users */

/*
 * Reads everything again, or once more when a reading is under way. Unless removing is said, nobody is removed for a users_file or table that names nobody any more, or
 * would take away PX_LIVE_MANY or more and more than it leaves.
 */
void px_live_reload(struct px_live *l, bool removing, struct px_now now);
/* The next slice of it. */
void px_live_turn(struct px_live *l, struct px_now now);
bool px_live_busy(const struct px_live *l);
/* The reading that ended since the last call, as lines NAME=VALUE; false: none has. */
bool px_live_ended(struct px_live *l, char said[PX_CONTROL_SAID_MAX + 1]);

enum px_board_origin px_live_origin(const struct px_live *l, uint32_t user);
/* A user that somebody else put is from there; 0 or -ENOMEM. */
int px_live_claim(struct px_live *l, uint32_t user, enum px_board_origin origin);

/* Switches one user by command. mailbox "": the one it has, or the one that mailbox_domain gives. Its id, or a negative errno and why. */
int64_t px_live_switch(struct px_live *l, const char *key, const char *mailbox, bool on,
                       enum px_board_origin origin, struct px_now now, const char **why);

/* A gateway by command: as the setting is written, or the name of one that was removed. 0, or a negative errno and why. */
int px_live_gateway_add(struct px_live *l, const char *text, struct px_now now,
                        char why[PX_WHY_MAX]);
int px_live_gateway_remove(struct px_live *l, const char *name, struct px_now now,
                           char why[PX_WHY_MAX]);
/* What a command to a former process did to a gateway: before load(). */
void px_live_gateway_restore(struct px_live *l, const struct px_board_gateway_state *g,
                             struct px_now now);
/* Nothing is under way there any more. */
void px_live_gateway_gone(struct px_live *l, int place);
/* All of them, and those that were removed by command, as they stand on the board. */
void px_live_gateways_put(struct px_live *l, struct px_board *b);

struct px_live_counts {
	unsigned refused;     /* users for whom there was no room */
	unsigned reloads;     /* that ended */
	unsigned wrong;       /* complaints of the last reading */
	uint32_t reloaded_at; /* s since 1970; 0: never */
};
struct px_live_counts px_live_counts(const struct px_live *l);

#endif
