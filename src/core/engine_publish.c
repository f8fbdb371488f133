/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/engine_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/pidf.h"

static void dequeue(struct px_engine *e, uint32_t slot)
{
	struct user *u = px_user(e, slot);

	if (u->publish_queue != PUBLISH_NONE)
		px_list_take(e, u->publish_queue == PUBLISH_URGENT ? &e->urgent : &e->calm,
		             LINK_PUBLISH, slot);
	u->publish_queue = PUBLISH_NONE;
}

/* Carries out what the publication machine asks for. */
void px_publish_do(struct px_engine *e, uint32_t slot, unsigned todo, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (todo & PX_PUB_QUEUE) {
		enum publish_queue q = todo & PX_PUB_URGENT ? PUBLISH_URGENT : PUBLISH_CALM;

		if (u->publish_queue == PUBLISH_NONE || q < (enum publish_queue)u->publish_queue) {
			dequeue(e, slot);
			px_list_push(e, q == PUBLISH_URGENT ? &e->urgent : &e->calm, LINK_PUBLISH,
			             slot);
			u->publish_queue = (uint8_t)q;
		}
	}
	px_user_touch(e, slot);
	px_user_schedule(e, slot);
	if (todo & PX_PUB_LOST && u->etag_epoch == e->check_epoch)
		px_check_all(e, "unknown_etag", now);
}

/*
 * P7: the presence server may have lost its memory, so every ETag is looked at, at its pace. One that goes on forgetting, or two that
 * don't share their memory behind one address, must not be asked about everybody all the time.
 */
void px_check_all(struct px_engine *e, const char *why, struct px_now now)
{
	uint32_t n = 0;

	if (now.mono.ms < e->check_next.ms) {
		e->check_why = why;
		return;
	}
	bool again = now.mono.ms - e->check_next.ms < e->check_spacing;
	e->check_spacing = again ? 2 * e->check_spacing : PX_CHECK_MIN_MS;
	if (e->check_spacing > PX_CHECK_MAX_MS)
		e->check_spacing = PX_CHECK_MAX_MS;
	e->check_next = px_after(now, e->check_spacing);
	e->check_why = NULL;

	/* ETags from before this moment say nothing new when they turn out to be unknown */
	e->check_epoch++;
	for (uint32_t s = 0; s < e->end; s++) {
		struct user *u = px_user(e, s);
		if (!u->used)
			continue;
		unsigned todo = px_publication_check(&u->publication, now);
		if (todo) {
			px_publish_do(e, s, todo & ~(unsigned)PX_PUB_LOST, now);
			n++;
		}
	}
	px_say(e, PX_LOG_NOTICE, "presence checking why=%s publications=%u", why, n);
}

/* Is what is known of this user published? */
static bool publishes(const struct px_engine *e, const struct user *u)
{
	return e->active && (e->hold_until.ms == 0 || u->good_at.ms >= e->active_at.ms);
}

/* What stands is another node's now. */
static void forget(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (u->publication.state == PX_PUB_IN_FLIGHT)
		return; /* its answer is waited for */
	dequeue(e, slot);
	px_publication_forget(&u->publication);
	px_publish_do(e, slot, 0, now);
	px_user_maybe_free(e, slot);
}

void px_engine_active(struct px_engine *e, bool active, struct px_now now)
{
	if (active == e->active)
		return;
	px_say(e, PX_LOG_NOTICE, "active %s users=%u", active ? "off->on" : "on->off", e->users);
	e->active = active;
	e->active_at = now.mono;
	e->hold_until = active ? px_after(now, PX_TAKEOVER_MS) : (struct px_mono){0};
	e->check_why = NULL;
	px_kinds_choose(e, now);
	for (uint32_t s = 0; s < e->end; s++) {
		if (!px_user(e, s)->used)
			continue;
		if (!active) {
			px_remind_end(e, s);
			forget(e, s, now);
		}
		if (px_user(e, s)->used) {
			px_user(e, s)->told = false;
			px_mark(e, s, READ_COLD, now);
			px_remind_plan(e, s, now);
		}
	}
}

bool px_engine_is_active(const struct px_engine *e)
{
	return e->active;
}

/* Whoever couldn't be read is published as last known. */
void px_publish_tick(struct px_engine *e, struct px_now now)
{
	if (!px_due(e->hold_until, now))
		return;
	e->hold_until = (struct px_mono){0};
	for (uint32_t s = 0; s < e->end; s++)
		if (px_user(e, s)->used)
			px_present(e, s, now);
}

void px_withdraw(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	u->presence = u->next = PX_UNKNOWN;
	u->doc_since = u->doc_until = u->doc_next_from = u->doc_next_until = u->doc_subject = 0;
	px_publish_do(e, slot, px_publication_withdraw(&u->publication, now), now);
}

/* What a document says; times in s, 0: left out. */
struct saying {
	enum px_presence presence, next;
	uint32_t since, until, next_from, next_until;
	uint32_t subject; /* hash; 0: none */
};

static void want(struct px_engine *e, uint32_t slot, const struct saying *doc, struct px_now now)
{
	struct user *u = px_user(e, slot);

	/* when it began may become known later, or forgotten: that alone is not worth a PUBLISH */
	const bool same = u->presence == doc->presence && u->doc_until == doc->until &&
	                  u->next == doc->next && u->doc_next_from == doc->next_from &&
	                  u->doc_next_until == doc->next_until && u->doc_subject == doc->subject;

	if (same && (u->told || !publishes(e, u)))
		return;
	px_say(e, PX_LOG_DEBUG, "user=%s presence %s->%s", u->key, px_presence_name(u->presence),
	       px_presence_name(doc->presence));
	u->presence = (uint8_t)doc->presence;
	u->doc_since = doc->since;
	u->doc_until = doc->until;
	u->next = (uint8_t)doc->next;
	u->doc_next_from = doc->next_from;
	u->doc_next_until = doc->next_until;
	u->doc_subject = doc->subject;
	u->told = publishes(e, u);
	px_user_touch(e, slot);
	if (!u->told)
		return;
	if (doc->presence == PX_AVAILABLE && e->config.publish_unavailable)
		px_publish_do(e, slot, px_publication_withdraw(&u->publication, now), now);
	else
		px_publish_do(e, slot, px_publication_want(&u->publication, now), now);
}

/* The begin of the window says nothing about a meeting, nor does its end. */
static uint32_t inside(const struct px_calendar *c, struct px_wall w)
{
	uint32_t s = (uint32_t)(w.ms / 1000);

	return s <= c->from || s >= c->until ? 0 : s;
}

/* The first time from `from` on at which the user isn't available; at most one available stretch
 * lies before it. */
static void say_next(struct saying *doc, const struct px_engine *e, const struct user *u,
                     struct px_wall from)
{
	struct px_availability a = {.until = from};

	for (int i = 0; i < 2 && a.until.ms; i++) {
		a = px_availability_at(&u->calendar, &e->config.map, PX_UNKNOWN, a.until);
		if (a.presence != PX_PRESENCE_BUSY && a.presence != PX_AWAY)
			continue;
		doc->next = a.presence;
		doc->next_from = (uint32_t)(a.since.ms / 1000);
		doc->next_until = inside(&u->calendar, a.until);
		return;
	}
}

/* What runs now may be followed by another meeting that is shown alike. */
static void say_subject(struct saying *doc, const struct px_engine *e, struct user *u,
                        struct px_now now)
{
	struct px_wall until;
	const char *subject =
	    px_calendar_subject(&u->calendar, &e->config.map, doc->presence, now.wall, &until);

	doc->subject = subject ? px_text_hash(subject) | 1 : 0;
	if (until.ms)
		u->turn_at = px_earlier(u->turn_at, px_after(now, until.ms - now.wall.ms));
}

void px_present(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	if (!u->on || u->leaving)
		return;
	struct px_availability a =
	    px_availability_at(&u->calendar, &e->config.map, (enum px_presence)u->known, now.wall);
	const struct px_mono was = u->turn_at;
	struct px_wall replies;
	const bool away = px_oof_away(u, now.wall, &replies);
	u->turn_at = (struct px_mono){0};
	int64_t in = a.until.ms - now.wall.ms;
	if (a.until.ms)
		u->turn_at = px_after(now, in > 0 ? in : 1);
	if (replies.ms)
		u->turn_at = px_earlier(u->turn_at, px_after(now, replies.ms - now.wall.ms));
	if (a.presence == PX_UNKNOWN && !away) {
		/* never read, the clock left the window, or the server itself doesn't know: what
		 * stands, stands until it is stale */
		px_remind_plan(e, slot, now);
		px_user_schedule(e, slot);
		return;
	}
	if (px_oof_awaited(e, u)) {
		if (!u->oof_waits || !px_due(was, now)) {
			u->turn_at = u->oof_waits ? was : px_after(now, PX_OOF_WAIT_MS);
			u->oof_waits = true;
			px_user_schedule(e, slot);
			return;
		}
		u->oof_told = true; /* it goes without */
	}
	if (a.presence != PX_UNKNOWN)
		u->known = (uint8_t)a.presence;

	struct saying doc = {.presence = a.presence, .next = PX_UNKNOWN};
	if (a.presence != PX_AVAILABLE) {
		doc.since = inside(&u->calendar, a.since);
		doc.until = inside(&u->calendar, a.until);
	}
	if (away)
		doc = (struct saying){.presence = PX_AWAY,
		                      .until = (uint32_t)(replies.ms / 1000),
		                      .next = PX_UNKNOWN};
	else if (e->config.document.timed_status)
		say_next(&doc, e, u, a.until);
	if (!away && e->config.note_subject)
		say_subject(&doc, e, u, now);
	if (!u->stale)
		want(e, slot, &doc, now);
	px_remind_plan(e, slot, now);
	px_user_schedule(e, slot);
}

void px_present_stale(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	u->stale = true;
	px_say(e, PX_LOG_WARN, "user=%s stale after=%llds on_stale=%s", u->key,
	       (long long)e->config.stale_after_s,
	       e->config.stale_available ? "available" : "withdraw");
	if (e->config.stale_available)
		want(e, slot, &(struct saying){.presence = PX_AVAILABLE, .next = PX_UNKNOWN}, now);
	else
		px_withdraw(e, slot, now);
	px_remind_plan(e, slot, now);
	px_user_schedule(e, slot);
}

static void write_document(struct px_buf *out, const struct px_engine *e, const struct user *u,
                           struct px_now now)
{
	struct px_wall until;
	const struct px_pidf doc = {
	    .key = u->key,
	    .subject = !u->doc_subject
	                   ? NULL
	                   : px_calendar_subject(&u->calendar, &e->config.map,
	                                         (enum px_presence)u->presence, now.wall, &until),
	    .presence = (enum px_presence)u->presence,
	    .since = {(int64_t)u->doc_since * 1000},
	    .until = {(int64_t)u->doc_until * 1000},
	    .now = now.wall,
	    .style = &e->config.document,
	    .brief = u->publication.brief,
	    .next = (enum px_presence)u->next,
	    .next_from = {(int64_t)u->doc_next_from * 1000},
	    .next_until = {(int64_t)u->doc_next_until * 1000}};
	px_pidf_write(out, &doc);
}

/* Gives one user its turn. */
static void turn(struct px_engine *e, uint32_t slot, struct px_now now)
{
	struct user *u = px_user(e, slot);

	/* an earlier process's document is gone before its calendar was read: nothing to say yet */
	if (u->presence == PX_UNKNOWN && u->publication.want &&
	    (!u->publication.etag || px_due(u->publication.lapses, now)))
		px_publication_withdraw(&u->publication, now);

	enum px_pub_op op = px_publication_turn(&u->publication, now);

	if (op == PX_OP_NONE) {
		px_user_touch(e, slot);
		px_user_schedule(e, slot);
		px_user_maybe_free(e, slot);
		return;
	}
	struct px_action *a = px_action_add(e, PX_DO_SIP_START);
	if (!a) { /* out of memory: as if it had never left */
		const struct px_sip_answer local = {
		    .fail = PX_SIP_LOCAL, .expires = -1, .min_expires = -1, .retry_after = -1};
		enum px_esc_word word;
		px_publish_do(e, slot,
		              px_publication_answer(&u->publication, &local,
		                                    e->config.publish_expires, &e->expires_floor,
		                                    &word, now),
		              now);
		return;
	}
	u->publish_no++;
	u->publish_began = now.mono;
	e->counts.publishes++;
	a->sip.id = (uint64_t)(u->generation & 0xffff) << 48 | (uint64_t)u->publish_no << 32 | slot;
	a->sip.server = e->esc.current;
	a->sip.op = op;
	/* while it is down the next probe waits for this one's end (P6) */
	a->sip.timeout_ms = e->esc.down ? PX_PUBLISH_PROBE_MS : PX_PUBLISH_MS;
	a->sip.expires = 0;
	if (op != PX_OP_REMOVE)
		a->sip.expires = e->config.publish_expires > e->expires_floor
		                     ? e->config.publish_expires
		                     : e->expires_floor;
	u->publish_asked = a->sip.expires;
	/* they fit: keys and ETags that don't were refused when they came */
	memcpy(a->sip.key, u->key, strlen(u->key) + 1);
	const char *etag = op != PX_OP_INITIAL && u->publication.etag ? u->publication.etag : "";
	memcpy(a->sip.etag, etag, strlen(etag) + 1);
	a->sip.body = px_buf_new(PX_PIDF_MAX);
	/*
	 * A refresh could go without the document (RFC 3903 §4.1). But Kamailio (5.6 to 6.1) with publ_cache 2, which is how presence
	 * without a database runs, then loses the one it has, and the user vanishes. With it, it changes nothing anywhere, and mends what
	 * a server has lost. Who was taken over and isn't read yet has none.
	 */
	if (op == PX_OP_CLEAR)
		px_pidf_write_nothing(&a->sip.body, u->key);
	else if (op != PX_OP_REMOVE && u->presence != PX_UNKNOWN)
		write_document(&a->sip.body, e, u, now);
	px_esc_sent(&e->esc, now);
	px_user_touch(e, slot);
	px_user_schedule(e, slot);
}

/* While the server is down everybody backs off; the probe that finds it back (P6) must not wait for
 * the first of them. */
static bool find_prober(struct px_engine *e, struct px_now now)
{
	for (uint32_t i = 0; i < e->end; i++) {
		uint32_t slot = (e->prober + i) % e->end;
		struct user *u = px_user(e, slot);
		unsigned todo = 0;

		if (!u->used)
			continue;
		if (u->publication.state == PX_PUB_BACKOFF)
			todo = px_publication_retry(&u->publication, now);
		else if (u->publication.state == PX_PUB_STANDING)
			todo = px_publication_check(&u->publication, now);
		if (todo & PX_PUB_QUEUE) {
			e->prober = slot + 1;
			px_publish_do(e, slot, todo & ~(unsigned)PX_PUB_LOST, now);
			return true;
		}
	}
	return false;
}

/*
 * A connection ended. That may be a restart with empty memory (P7), or only a server that closes what is idle, as Kamailio does: one ETag is
 * asked for, and a 412 to that makes all be checked. A failure tells of itself, and ends in DOWN.
 */
static void check_one(struct px_engine *e, struct px_now now)
{
	e->suspect = false;
	for (uint32_t i = 0; i < e->end; i++) {
		uint32_t slot = (e->prober + i) % e->end;
		struct user *u = px_user(e, slot);

		if (!u->used || u->publication.state != PX_PUB_STANDING || u->publication.unsure ||
		    u->etag_epoch != e->check_epoch)
			continue;
		unsigned todo = px_publication_check(&u->publication, now);

		if (todo & PX_PUB_QUEUE) {
			e->prober = slot + 1;
			px_publish_do(e, slot, todo, now);
			return;
		}
	}
}

void px_publish_pump(struct px_engine *e, struct px_now now)
{
	if (!e->active)
		return;
	if (e->suspect && !e->esc.down)
		check_one(e, now);
	if (e->check_why && px_due(e->check_next, now))
		px_check_all(e, e->check_why, now);
	while (px_esc_may_send(&e->esc, now)) {
		/* whoever is found may turn out to have nothing to send */
		if (!e->urgent.n && !e->calm.n && !(e->esc.down && find_prober(e, now)))
			break;
		/* refreshes and checks get a turn even in an endless storm of changes */
		bool calm = e->calm.n && (!e->urgent.n || e->calm_debt >= 8);

		e->calm_debt = calm ? 0 : e->calm_debt + 1;
		uint32_t slot = calm ? e->calm.head : e->urgent.head;
		dequeue(e, slot);
		turn(e, slot, now);
	}
}

void px_engine_sip_lost(struct px_engine *e, struct px_now now)
{
	if (!e->active)
		return;
	(void)now;
	e->suspect = true;
}

/* Whoever backs off goes now. */
static void retry_all(struct px_engine *e, struct px_now now)
{
	for (uint32_t s = 0; s < e->end; s++) {
		struct user *u = px_user(e, s);

		if (u->used && u->publication.state == PX_PUB_BACKOFF)
			px_publish_do(e, s, px_publication_retry(&u->publication, now), now);
	}
}

void px_engine_sip_login_renewed(struct px_engine *e, struct px_now now)
{
	px_say(e, PX_LOG_NOTICE, "presence login renewed");
	px_esc_login_renewed(&e->esc, now);
	retry_all(e, now);
}

static const char *why_down(const struct px_sip_answer *a)
{
	switch (a->fail) {
	case PX_SIP_TIMEOUT:
		return "silent";
	case PX_SIP_TRANSPORT:
		return "unreachable";
	case PX_SIP_LOCAL:
		return "local";
	case PX_SIP_ANSWERED:
		break;
	}
	return a->status == 401 || a->status == 407 ? "login" : "answer";
}

void px_engine_sip_done(struct px_engine *e, uint64_t id, const struct px_sip_answer *a,
                        struct px_now now)
{
	uint32_t slot = (uint32_t)id;

	if (slot & PX_MESSAGE_BIT) {
		px_remind_answered(e, id, a, now);
		return;
	}
	if (slot >= e->end)
		return;
	struct user *u = px_user(e, slot);
	/* a slot isn't given away while its PUBLISH is under way, so an id that differs is a double
	 */
	if (!u->used || (u->generation & 0xffff) != id >> 48 ||
	    u->publish_no != ((id >> 32) & 0xffff) || u->publication.state != PX_PUB_IN_FLIGHT)
		return;

	enum px_esc_word word = PX_ESC_UNSURE;
	uint32_t floor_before = e->expires_floor;
	enum px_pub_op op = (enum px_pub_op)u->publication.op;
	uint32_t asked = u->publish_asked;
	unsigned todo =
	    px_publication_answer(&u->publication, a, asked, &e->expires_floor, &word, now);
	/* whether the ETag that was unknown came from before the last check: decided before the
	 * epoch moves on */
	bool lost = todo & PX_PUB_LOST && u->etag_epoch == e->check_epoch;
	bool was_down = e->esc.down;
	bool back =
	    px_esc_ended(&e->esc, word, a->retry_after, now.mono.ms - u->publish_began.ms, now);

	if (a->fail == PX_SIP_TRANSPORT)
		e->suspect = true;
	if (a->fail == PX_SIP_ANSWERED && a->status / 100 == 2)
		u->etag_epoch = e->check_epoch;
	if (todo & PX_PUB_GAVE_UP || word == PX_ESC_DENIED) {
		char code[PX_CODE_MAX];
		snprintf(code, sizeof code, "SIP %d", a->status);
		u->trouble = px_trouble(e, code);
	}
	if (todo & PX_PUB_GAVE_UP) {
		px_say(e, PX_LOG_WARN,
		       "user=%s publication gave_up op=%s status=%d reason=\"%.60s\"", u->key,
		       px_pub_op_name(op), a->status, a->reason ? a->reason : "");
	} else if (e->config.log_level >= PX_LOG_DEBUG) {
		px_say(e, PX_LOG_DEBUG, "user=%s publication %s status=%d fail=%d -> %s", u->key,
		       px_pub_op_name(op), a->status, a->fail,
		       px_pub_state_name((enum px_pub_state)u->publication.state));
	}
	if (e->expires_floor != floor_before)
		px_say(e, PX_LOG_NOTICE, "presence min_expires=%u asked=%u", e->expires_floor,
		       asked);
	if (e->esc.down && !was_down)
		px_say(e, PX_LOG_ERROR, "presence up->down why=%s status=%d reason=\"%.60s\"",
		       why_down(a), a->status, a->reason ? a->reason : "");
	if (!e->active) {
		forget(e, slot, now);
		return;
	}
	px_publish_do(e, slot, todo & ~(unsigned)PX_PUB_LOST, now);
	if (back) {
		px_say(e, PX_LOG_NOTICE, "presence down->up");
		retry_all(e, now);
		px_check_all(e, "server_back", now);
	} else if (lost) {
		px_check_all(e, "unknown_etag", now);
	}
	px_user_maybe_free(e, slot);
}
