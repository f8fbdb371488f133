/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * esc.h - the presence server (RFC 3903: event state compositor) as one peer of all publications: how many may be in flight, how fast, and whether it works.
 *
 *         3 FAILED in a row, or one FAILED while nothing is known to work     ALIVE
 *         (not counted: what was sent before the newest ALIVE; that one was lost alone)
 *     UP -----------------------------------------------------------> DOWN ---------> UP (everybody waiting goes on)
 *     DOWN: one probe PUBLISH every 2 s, by any user that waits, alternating between the servers if there are several.
 *     PAUSE: nothing for retry_after (1 s if none was said, at most 60 s), then as DOWN. Another server, if there is one, is asked at once.
 *     DENIED: as FAILED; when it is DOWN by that, nothing for 5 minutes, as a login that is tried again and again gets locked.
 *     10 UNSURE within 10 s and not one ALIVE among them: it answers, but serves nobody; as FAILED.
 *
 * The window follows the server's response time: it grows by one per answer while answers are quick, is halved (at least 4) when they become slow
 * against the best that was seen in the last minute, or on FAILED and PAUSE, at most once per round trip. publish_rate is a ceiling on top.
 */
#ifndef PX_ESC_H
#define PX_ESC_H

#include "core/publication.h"
#include "core/time.h"

#define PX_ESC_SERVERS_MAX 8

struct px_esc {
	unsigned servers, current; /* index of the presence_server in use */
	bool down;
	bool probing;            /* the one probe is in flight */
	struct px_mono probe_at; /* DOWN: when the next may go */
	struct px_mono since; /* when it went DOWN last: what was sent before tells nothing new */
	struct px_mono alive_at;                         /* the newest ALIVE */
	struct px_mono paused_until[PX_ESC_SERVERS_MAX]; /* as the server wished, or DENIED */
	bool denied[PX_ESC_SERVERS_MAX];                 /* which of the two */
	bool works;                                      /* it has answered, ever */
	unsigned failed_in_a_row, denied_in_a_row;
	unsigned unsure_in_a_row;
	struct px_mono unsure_at; /* the first of them */
	unsigned in_flight;
	unsigned window, window_max;
	int64_t rtt_best_ms,
	    rtt_ms; /* the best of the last minute; smoothed, since the window shrank; ×16 for precision; 0: none yet */
	unsigned rtt_n; /* answers in rtt_ms, as far as they matter */
	int64_t
	    rtt_half_ms[2]; /* the best of the last half minute but one, and of the current one */
	struct px_mono rtt_half_at; /* the current one ends */
	struct px_mono shrunk_at;
	unsigned rate;     /* per s; 0: no ceiling */
	int64_t tokens_ms; /* rate: credit, in ms × rate */
	struct px_mono tokens_at;
	uint64_t sent, answered, failed;
};

/* servers: 1 to PX_ESC_SERVERS_MAX (more aren't used); window_max: at least 1 */
void px_esc_init(struct px_esc *e, unsigned servers, unsigned window_max, unsigned rate,
                 struct px_now now);

/* May one more PUBLISH leave now? While DOWN: true once per probe interval. */
bool px_esc_may_send(struct px_esc *e, struct px_now now);
void px_esc_sent(struct px_esc *e, struct px_now now);
/*
 * One PUBLISH ended, took_ms after px_esc_sent() was told of it. Returns true when the server has come back: from DOWN to UP (all ETags need a check, P7, since it may have lost its memory).
 */
bool px_esc_ended(struct px_esc *e, enum px_esc_word word, int64_t retry_after_s, int64_t took_ms,
                  struct px_now now);
/* There is another login: who was DENIED because of the old one needn't wait. */
void px_esc_login_renewed(struct px_esc *e, struct px_now now);
/* The next moment may_send() can become true by itself (probe interval, rate). Not set: it is true already, or only an answer can change it. */
struct px_mono px_esc_due(const struct px_esc *e, struct px_now now);

#endif
