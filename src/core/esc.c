/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/esc.h"

#include <string.h>

#define WINDOW_START 32
#define WINDOW_MIN 4
#define SLACK_MS                                                                                   \
	16 /* of a batch that queues behind itself: more in the server's queue makes it slower, not busier */
#define HALF_MS 30000 /* the best round trip is forgotten after one to two of these */
#define PROBE_MS 2000
#define PAUSE_MIN_S 1
#define PAUSE_MAX_S 60
#define FAILED_MAX 3 /* in a row */
#define DENIED_MAX 3 /* likewise */
#define DENIED_MS 300000
#define UNSURE_MAX 10   /* in a row ... */
#define UNSURE_MS 10000 /* ... within so long */
#define RTT_SMOOTH 8    /* answers */
#define SCALE 16        /* of round trips */
#define TOKEN 1000      /* one PUBLISH, in ms × rate */

static const struct px_mono never = {0};

void px_esc_init(struct px_esc *e, unsigned servers, unsigned window_max, unsigned rate,
                 struct px_now now)
{
	memset(e, 0, sizeof *e);
	e->servers = servers < 1 ? 1 : servers > PX_ESC_SERVERS_MAX ? PX_ESC_SERVERS_MAX : servers;
	e->window_max = window_max < 1 ? 1 : window_max;
	e->window = e->window_max < WINDOW_START ? e->window_max : WINDOW_START;
	e->rate = rate;
	e->tokens_ms = TOKEN;
	e->tokens_at = now.mono;
	e->since = now.mono;
}

/* What has gathered by now: never more than 20 ms' worth, so that the ceiling holds in every
 * second. */
static int64_t tokens(const struct px_esc *e, struct px_now now)
{
	int64_t most = (int64_t)e->rate * 20 > TOKEN ? (int64_t)e->rate * 20 : TOKEN;
	int64_t passed = now.mono.ms - e->tokens_at.ms;
	int64_t have = e->tokens_ms + (passed < 1000 ? passed : 1000) * e->rate;

	return have < most ? have : most;
}

bool px_esc_may_send(struct px_esc *e, struct px_now now)
{
	if (e->down)
		return !e->probing && px_due(e->probe_at, now);
	return e->in_flight < e->window && (e->rate == 0 || tokens(e, now) >= TOKEN);
}

void px_esc_sent(struct px_esc *e, struct px_now now)
{
	e->sent++;
	e->in_flight++;
	if (e->rate) {
		e->tokens_ms = tokens(e, now) - TOKEN;
		e->tokens_at = now.mono;
	}
	if (e->down) {
		e->probing = true;
		e->probe_at = px_after(now, PROBE_MS);
	}
}

/* The next server in turn that doesn't wish to be left alone; if all do, the one for the shortest
 * time. */
static void next_server(struct px_esc *e, struct px_now now)
{
	unsigned best = (e->current + 1) % e->servers;

	for (unsigned i = 1; i <= e->servers && e->paused_until[best].ms > now.mono.ms; i++) {
		unsigned s = (e->current + i) % e->servers;

		if (e->paused_until[s].ms < e->paused_until[best].ms)
			best = s;
	}
	e->current = best;
}

/* The server in use is left alone for so long. */
static void pause_for(struct px_esc *e, enum px_esc_word word, int64_t ms, struct px_now now)
{
	e->paused_until[e->current] = px_after(now, ms);
	e->denied[e->current] = word == PX_ESC_DENIED;
}

static void probe_at(struct px_esc *e, struct px_mono at)
{
	struct px_mono paused = e->paused_until[e->current];

	e->probing = false;
	e->probe_at = at.ms > paused.ms ? at : paused;
}

static unsigned at_least(unsigned n, unsigned least)
{
	return n > least ? n : least;
}

static void set_window(struct px_esc *e, unsigned n)
{
	e->window = n < e->window_max ? n : e->window_max;
}

/* What was sent before this says nothing of the new window. */
static void shrink(struct px_esc *e, struct px_now now)
{
	e->rtt_ms = 0;
	e->rtt_n = 0;
	set_window(e, at_least(e->window / 2, WINDOW_MIN));
	e->shrunk_at = now.mono;
}

static void go_down(struct px_esc *e, enum px_esc_word word, struct px_now now)
{
	unsigned was = e->current;

	e->down = true;
	e->since = now.mono;
	if (word == PX_ESC_DENIED)
		pause_for(e, word, DENIED_MS, now);
	e->failed_in_a_row = e->unsure_in_a_row = e->denied_in_a_row = 0;
	next_server(e, now);
	/* another server needn't wait for this one's failure, and this one has said for how long */
	probe_at(e, e->current == was && word != PX_ESC_PAUSE && word != PX_ESC_DENIED
	                ? px_after(now, PROBE_MS)
	                : now.mono);
}

static void go_up(struct px_esc *e)
{
	e->down = e->probing = false;
	if (e->window > WINDOW_START)
		e->window = WINDOW_START;
	e->rtt_ms = e->rtt_best_ms = e->rtt_half_ms[0] = e->rtt_half_ms[1] = 0;
	e->rtt_n = 0;
}

static void measure(struct px_esc *e, int64_t rtt, struct px_now now)
{
	if (e->rtt_half_at.ms <= now.mono.ms) {
		e->rtt_half_ms[0] = e->rtt_half_ms[1];
		e->rtt_half_ms[1] = 0;
		e->rtt_half_at = px_after(now, HALF_MS);
	}
	if (!e->rtt_half_ms[1] || rtt < e->rtt_half_ms[1])
		e->rtt_half_ms[1] = rtt;
	e->rtt_best_ms = e->rtt_half_ms[1];
	if (e->rtt_half_ms[0] && e->rtt_half_ms[0] < e->rtt_best_ms)
		e->rtt_best_ms = e->rtt_half_ms[0];
}

/*
 * Delay that grows is a queue at the server: between half the slack and the whole of it the window
 * is left alone, so it settles there.
 */
static void follow(struct px_esc *e, int64_t rtt, unsigned was_in_flight, struct px_now now)
{
	e->rtt_ms = e->rtt_n == 0 ? rtt : e->rtt_ms + (rtt - e->rtt_ms) / RTT_SMOOTH;
	if (e->rtt_ms < 1)
		e->rtt_ms = 1;
	if (e->rtt_n < RTT_SMOOTH)
		e->rtt_n++;
	int64_t slack = e->rtt_best_ms > SLACK_MS * SCALE ? e->rtt_best_ms : SLACK_MS * SCALE;
	int64_t over = e->rtt_ms - e->rtt_best_ms;

	if (over > slack && e->rtt_n == RTT_SMOOTH)
		shrink(e, now);
	else if (over <= slack / 2 && was_in_flight * 2 >= e->window)
		set_window(e, e->window + 1); /* a window that isn't used tells nothing */
}

/* FAILED, PAUSE or UNSURE: is it DOWN now? */
static bool fails(struct px_esc *e, enum px_esc_word word, struct px_mono sent, struct px_now now)
{
	if (word == PX_ESC_PAUSE)
		return true;
	if (word == PX_ESC_FAILED)
		/* a server that has answered later ones works */
		return sent.ms >= e->alive_at.ms &&
		       (++e->failed_in_a_row >= FAILED_MAX || !e->works);
	if (word == PX_ESC_DENIED)
		return sent.ms >= e->alive_at.ms &&
		       (++e->denied_in_a_row >= DENIED_MAX || !e->works);
	if (e->unsure_in_a_row == 0 || now.mono.ms - e->unsure_at.ms > UNSURE_MS) {
		e->unsure_in_a_row = 0;
		e->unsure_at = now.mono;
	}
	return ++e->unsure_in_a_row >= UNSURE_MAX;
}

bool px_esc_ended(struct px_esc *e, enum px_esc_word word, int64_t retry_after_s, int64_t took_ms,
                  struct px_now now)
{
	struct px_mono sent = {now.mono.ms - took_ms};
	unsigned was_in_flight = e->in_flight;
	/* sent to a server, or in a time, that we have done with: a failure was to be expected,
	 * success may be another server's */
	bool old = sent.ms < e->since.ms && (word != PX_ESC_ALIVE || e->servers > 1);

	if (e->in_flight)
		e->in_flight--;
	if (word == PX_ESC_ALIVE)
		e->answered++;
	else
		e->failed++;
	if (old) {
		if (e->in_flight == 0)
			e->probing = false; /* so it was the probe after all */
		return false;
	}

	if (word == PX_ESC_ALIVE) {
		bool back = e->down;

		if (back)
			go_up(e);
		e->works = true;
		e->alive_at = now.mono;
		e->failed_in_a_row = e->unsure_in_a_row = e->denied_in_a_row = 0;
		int64_t rtt = took_ms > 0 ? took_ms * SCALE : 1;

		measure(e, rtt, now);
		if (sent.ms > e->shrunk_at.ms)
			follow(e, rtt, was_in_flight, now);
		return back;
	}

	if (word == PX_ESC_PAUSE) {
		int64_t s = retry_after_s < PAUSE_MIN_S   ? PAUSE_MIN_S
		            : retry_after_s > PAUSE_MAX_S ? PAUSE_MAX_S
		                                          : retry_after_s;

		pause_for(e, word, s * 1000, now);
	}
	if (e->down) { /* the probe failed */
		if (word == PX_ESC_DENIED)
			pause_for(e, word, DENIED_MS, now);
		next_server(e, now);
		probe_at(e, e->probe_at);
	} else {
		if (word != PX_ESC_UNSURE && word != PX_ESC_DENIED && sent.ms > e->shrunk_at.ms)
			shrink(e, now);
		if (fails(e, word, sent, now))
			go_down(e, word, now);
	}
	return false;
}

void px_esc_login_renewed(struct px_esc *e, struct px_now now)
{
	for (unsigned i = 0; i < e->servers; i++)
		if (e->denied[i]) {
			e->paused_until[i] = never;
			e->denied[i] = false;
		}
	if (e->down && !e->probing)
		probe_at(e, now.mono);
}

struct px_mono px_esc_due(const struct px_esc *e, struct px_now now)
{
	struct px_mono at = never;

	if (e->down)
		at = e->probing ? never : e->probe_at;
	else if (e->rate && e->in_flight < e->window && tokens(e, now) < TOKEN)
		at = px_after(now, (TOKEN - tokens(e, now) + e->rate - 1) / e->rate);
	return at.ms > now.mono.ms ? at : never;
}
