/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine on a random walk: answers that are right, wrong, late, doubled and nonsense, streams that are cut at any place, commands in
 * every state, clocks that jump. After each step everything inside must still fit together, and when the world has calmed down
 * everybody must be followed and published as the calendar says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/engine_in.h"
#include "sim/fake.h"

#define WALL0 1764000000000LL
#define GATEWAYS 3
#define PLACES 64 /* of gateways that came and went */
#define USERS 40
#define FLIGHTS 4096

struct flight {
	uint64_t id;
	enum px_ask ask;
	unsigned n; /* mailboxes or ids */
	char *body;
};

struct walk {
	struct px_engine *e;
	struct px_now now;
	uint64_t rng;
	struct flight http[FLIGHTS];
	unsigned https, ids;
	struct {
		uint64_t id;
		enum px_pub_op op;
		uint32_t expires, slot;
	} sip[USERS * 4];
	unsigned sips;
	bool board[USERS * 4]; /* rows, by slot */
	unsigned steps_at_once;
	uint64_t old_http[64], old_sip[64];
	unsigned olds;
	bool gateways_change;
};

static uint32_t rnd(struct walk *w, uint32_t n)
{
	w->rng ^= w->rng << 13;
	w->rng ^= w->rng >> 7;
	w->rng ^= w->rng << 17;
	return (uint32_t)(w->rng >> 20) % n;
}

/* ---- what must be true at all times ---- */

static unsigned walk_list(const struct px_engine *e, const struct list *l, enum link_kind k)
{
	uint32_t before = PX_NOBODY, at = l->n ? l->head : PX_NOBODY;
	unsigned n = 0;

	for (; at != PX_NOBODY; before = at, at = px_user(e, at)->link[k].next) {
		assert_true(at < e->end && px_user(e, at)->used);
		assert_int_equal(px_user(e, at)->link[k].prev, before);
		assert_true(++n <= l->n);
	}
	assert_int_equal(n, l->n);
	if (n)
		assert_int_equal(l->tail, before);
	return n;
}

static bool in_list(const struct px_engine *e, const struct list *l, enum link_kind k,
                    uint32_t slot)
{
	uint32_t at = l->n ? l->head : PX_NOBODY;

	while (at != PX_NOBODY && at != slot)
		at = px_user(e, at)->link[k].next;
	return at == slot;
}

static void check_lists(const struct px_engine *e)
{
	unsigned marked = 0, lined = 0, polls = 0, waiting = 0, homeless = 0;
	uint32_t at[PLACES] = {0};

	for (unsigned g = 0; g < e->pool.n; g++) {
		for (enum read_queue q = READ_HOT; q < READ_QUEUES; q++)
			for (int lane = 0; lane < LANES; lane++)
				marked += walk_list(e, &e->at[g].read[lane][q], LINK_READ);
		lined += walk_list(e, &e->at[g].subscribe, LINK_SUBSCRIBE);
		polls += walk_list(e, &e->at[g].poll, LINK_SUBSCRIBE);
	}
	waiting = walk_list(e, &e->urgent, LINK_PUBLISH) + walk_list(e, &e->calm, LINK_PUBLISH);
	for (uint32_t s = 0; s < e->end; s++) {
		const struct user *u = px_user(e, s);
		if (!u->used)
			continue;
		if (u->read_queue != READ_NONE) {
			marked--;
			assert_int_not_equal(u->gateway, PX_NO_GATEWAY);
			assert_true(in_list(
			    e,
			    &e->at[u->gateway]
			         .read[u->alone_until ? LANE_ONE : LANE_MANY][u->read_queue],
			    LINK_READ, s));
			assert_false(u->reading);
			assert_true(u->on);
		} else {
			assert_int_equal(u->link[LINK_READ].prev, PX_UNLINKED);
		}
		if (u->watch.state == PX_WATCH_WAITING) {
			lined--;
			assert_true(in_list(e, &e->at[u->gateway].subscribe, LINK_SUBSCRIBE, s));
		} else if (u->polling == PX_POLL_QUEUED) {
			polls--;
			assert_int_equal(u->watch.state, PX_WATCH_FOLLOWED);
			assert_true(in_list(e, &e->at[u->gateway].poll, LINK_SUBSCRIBE, s));
		} else {
			assert_int_equal(u->link[LINK_SUBSCRIBE].prev, PX_UNLINKED);
		}
		if (u->publish_queue != PUBLISH_NONE) {
			waiting--;
			assert_true(
			    in_list(e, u->publish_queue == PUBLISH_URGENT ? &e->urgent : &e->calm,
			            LINK_PUBLISH, s));
		}
		assert_int_equal(u->publish_queue != PUBLISH_NONE,
		                 u->publication.state == PX_PUB_WAITING);
		homeless += u->watch.state == PX_WATCH_HOMELESS;
		if (u->gateway != PX_NO_GATEWAY)
			at[u->gateway]++;
	}
	assert_int_equal(marked, 0);
	assert_int_equal(lined, 0);
	assert_int_equal(polls, 0);
	assert_int_equal(waiting, 0);
	assert_int_equal(homeless, e->homeless);
	assert_in_range(e->pool.n, 1, PLACES);
	for (unsigned g = 0; g < e->pool.n; g++) {
		const struct px_gateway *gw = &e->pool.gateway[g];

		assert_int_equal(at[g], gw->users);
		if (gw->health == PX_GW_LEAVING)
			assert_int_equal(at[g], 0);
		assert_int_equal(e->at[g].leaving_until.ms != 0,
		                 gw->used && gw->health == PX_GW_LEAVING);
	}
}

/* Every state has a next step: a deadline, a queue or a request under way. */
static void check_users(const struct px_engine *e)
{
	uint32_t used = 0, in_heap = 0;

	for (uint32_t s = 0; s < e->end; s++) {
		const struct user *u = px_user(e, s);
		if (!u->used) {
			assert_int_equal(u->due.ms, 0);
			continue;
		}
		used++;
		assert_int_equal(px_engine_user_find(e, u->key), s);
		assert_int_equal(u->due.ms != 0, u->heap_at != PX_NOBODY);
		in_heap += u->heap_at != PX_NOBODY;
		if (u->heap_at != PX_NOBODY) {
			assert_int_equal(e->heap[u->heap_at], s);
			if (u->heap_at)
				assert_true(px_user(e, e->heap[(u->heap_at - 1) / 4])->due.ms <=
				            u->due.ms);
		}
		/* after a turn nothing that is due sooner is hidden from the heap */
		struct px_mono want = px_earlier(u->publication.due, px_follow_user_deadline(e, u));
		if (!u->touched && want.ms)
			assert_true(u->due.ms && u->due.ms <= want.ms);
		assert_int_equal(u->on, u->watch.state != PX_WATCH_OFF);
		assert_false(u->on && u->leaving);
		assert_int_equal(u->asking != 0, u->watch.state == PX_WATCH_SUBSCRIBING);
		if (u->asking) {
			const struct request *r = &e->request[u->asking - 1];
			assert_int_equal(r->owner, OWNER_USER);
			assert_int_equal(r->index, s);
			assert_int_equal(r->user_generation, u->generation);
			assert_int_equal(r->gateway, u->gateway);
		}
		bool subscribed =
		    u->watch.state == PX_WATCH_GATHERING || u->watch.state == PX_WATCH_FOLLOWED;
		assert_int_equal(u->stream != 0, subscribed && u->kind == PX_KIND_STREAM);
		if (subscribed)
			assert_non_null(u->subscription);
		if (subscribed && u->kind == PX_KIND_PUSH)
			assert_true(u->sub_due.ms > 0 && !u->polling);
		else if (subscribed && u->kind == PX_KIND_PULL)
			assert_true((u->sub_due.ms > 0) != (u->polling > 0));
		else
			assert_true(!u->sub_due.ms && !u->polling);
		if (u->watch.state == PX_WATCH_SWEPT)
			assert_true(u->watch.swept);
		if (u->watch.state == PX_WATCH_BACKOFF || u->watch.state == PX_WATCH_PARKED)
			assert_true(u->watch.due.ms > 0);
		if (u->watch.state == PX_WATCH_OFF)
			assert_int_equal(u->gateway, PX_NO_GATEWAY);
		if (u->watch.state >= PX_WATCH_WAITING && u->watch.state <= PX_WATCH_BACKOFF)
			assert_int_equal(e->pool.gateway[u->gateway].health, PX_GW_UP);
		if (u->publication.state == PX_PUB_STANDING ||
		    u->publication.state == PX_PUB_BACKOFF)
			assert_true(u->publication.due.ms > 0);
		/* what is unread has somebody who will read it */
		if (u->on && u->dirty && u->watch.state != PX_WATCH_PARKED &&
		    u->watch.state != PX_WATCH_HOMELESS)
			assert_true(u->reading || u->read_queue != READ_NONE ||
			            (u->read_failures && u->read_due.ms));
		if (u->leaving) /* or it would have been forgotten */
			assert_true(u->reading || u->publication.state != PX_PUB_OFF);
	}
	assert_int_equal(used, e->users);
	assert_int_equal(in_heap, e->heap_n);
}

static void check_streams(struct px_engine *e)
{
	unsigned members = 0, streaming = 0, in[PLACES] = {0}, flight[PLACES] = {0};

	for (unsigned i = 0; i < e->streams; i++) {
		const struct stream *s = e->stream[i];
		if (!s->used)
			continue;
		assert_true(s->n <= PX_STREAM_MEMBERS);
		assert_true(s->machine.due.ms > 0);
		assert_true(s->n > 0 || s->machine.state == PX_STREAM_GATHERING);
		for (unsigned m = 0; m < s->n; m++) {
			const struct user *u = px_user(e, s->member[m]);
			assert_true(u->used);
			assert_int_equal(u->stream, i + 1);
			assert_int_equal(u->gateway, s->gateway);
			assert_int_equal(u->watch.state == PX_WATCH_FOLLOWED,
			                 s->machine.state == PX_STREAM_RUNNING);
			members++;
		}
		bool open =
		    s->machine.state == PX_STREAM_OPENING || s->machine.state == PX_STREAM_RUNNING;
		assert_int_equal(s->request != 0, open);
		if (open) {
			const struct request *r = &e->request[(uint32_t)s->request];
			assert_int_equal(r->owner, OWNER_STREAM);
			assert_int_equal(r->index, i);
			assert_int_equal(r->generation, s->request >> 32);
			in[s->gateway]++;
		}
	}
	for (unsigned g = 0; g < e->pool.n; g++)
		for (unsigned k = 0; k < PX_GROUPS; k++) {
			const struct group *group = &e->at[g].group[k];
			if (group->young) {
				const struct stream *s = e->stream[group->young - 1];
				assert_true(s->used && s->machine.state == PX_STREAM_GATHERING);
				assert_true(s->gateway == (int)g && s->group == k);
				assert_true(s->n < PX_STREAM_MEMBERS);
			}
			if (group->beginner) {
				const struct request *r = &e->request[(uint32_t)group->beginner];
				assert_int_equal(r->owner, OWNER_USER);
				assert_int_equal(r->generation, group->beginner >> 32);
			}
			assert_true(group->anchor || !group->cookie);
		}
	for (uint32_t s = 0; s < e->end; s++)
		members -= px_user(e, s)->used && px_user(e, s)->stream;
	assert_int_equal(members, 0);
	for (uint32_t i = 0; i < e->requests; i++) {
		const struct request *r = &e->request[i];
		if (r->owner == OWNER_STREAM)
			streaming++;
		else if (r->owner != OWNER_NONE)
			flight[r->gateway]++;
	}
	for (unsigned g = 0; g < e->pool.n; g++) {
		streaming -= in[g];
		assert_int_equal(flight[g], e->pool.gateway[g].in_flight);
	}
	assert_int_equal(streaming, 0);
}

static void check_polls(const struct px_engine *e)
{
	unsigned asking = 0, ids = 0;

	for (unsigned i = 0; i < e->pollings; i++) {
		const struct polling *p = e->polling[i];
		if (!p->used)
			continue;
		const struct request *r = &e->request[(uint32_t)p->request];
		assert_int_equal(r->owner, OWNER_POLLING);
		assert_int_equal(r->index, i);
		assert_int_equal(r->generation, p->request >> 32);
		assert_int_equal(r->gateway, p->gateway);
		for (unsigned k = 0; k < p->n; k++) {
			const struct user *u = px_user(e, p->user[k].slot);
			asking += u->used && u->generation == p->user[k].generation &&
			          u->polling == i + 1;
		}
	}
	for (uint32_t s = 0; s < e->end; s++) {
		const struct user *u = px_user(e, s);
		if (!u->used)
			continue;
		asking -= u->polling && u->polling != PX_POLL_QUEUED;
		if (u->subscription &&
		    (u->kind == PX_KIND_PUSH ||
		     (u->kind == PX_KIND_PULL && e->config.backend->hints)) &&
		    (u->watch.state == PX_WATCH_GATHERING || u->watch.state == PX_WATCH_FOLLOWED)) {
			uint32_t at = u->subscription_hash;
			while (e->id[at & (e->id_size - 1)] != s + 1)
				assert_int_not_equal(e->id[at++ & (e->id_size - 1)], 0);
			ids++;
		}
	}
	assert_int_equal(asking, 0);
	assert_int_equal(ids, e->ids);
	for (unsigned g = 0; g < e->pool.n; g++) {
		const struct at_gateway *at = &e->at[g];
		assert_false(at->kind != PX_KIND_NONE && at->broken & PX_KIND_BIT(at->kind));
		/* it will be asked what it understands */
		if (!e->pool.gateway[g].used || e->pool.gateway[g].health == PX_GW_LEAVING)
			continue;
		if (at->version == PX_VERSION_UNKNOWN && e->pool.login == PX_LOGIN_OPEN)
			assert_true(e->pool.gateway[g].probing ||
			            e->pool.gateway[g].probe_at.ms > 0);
		if (at->trial) {
			const struct user *u = px_user(e, at->trial - 1);
			assert_true(u->used && u->gateway == (int)g);
			assert_true(u->watch.state == PX_WATCH_SUBSCRIBING ||
			            u->watch.state == PX_WATCH_GATHERING);
		}
	}
}

static void check_readings(const struct px_engine *e)
{
	unsigned reading = 0;

	for (unsigned i = 0; i < e->readings; i++) {
		const struct reading *r = e->reading[i];
		unsigned asked = 0;

		if (!r->used) {
			assert_null(r->staged);
			continue;
		}
		for (uint32_t k = 0; k < e->requests; k++)
			asked += e->request[k].owner == OWNER_READING && e->request[k].index == i;
		assert_int_equal(asked, r->machine.state == PX_READ_ASKING);
		if (r->machine.state == PX_READ_RESTING)
			assert_true(r->machine.due.ms > 0);
		for (unsigned m = 0; m < r->n; m++) {
			const struct user *u = px_user(e, r->user[m].slot);
			if (!u->used || u->generation != r->user[m].generation)
				continue;
			assert_true(u->reading);
			reading++;
		}
	}
	for (uint32_t s = 0; s < e->end; s++)
		reading -= px_user(e, s)->used && px_user(e, s)->reading;
	assert_int_equal(reading, 0);
}

static void check(struct walk *w)
{
	unsigned flying = 0;

	check_lists(w->e);
	check_users(w->e);
	check_streams(w->e);
	check_readings(w->e);
	check_polls(w->e);
	for (uint32_t s = 0; s < w->e->end; s++)
		flying += px_user(w->e, s)->used &&
		          px_user(w->e, s)->publication.state == PX_PUB_IN_FLIGHT;
	assert_int_equal(flying, w->sips);
	assert_int_equal(w->e->esc.in_flight, w->sips);
}

/* ---- the world ---- */

static void drop_http(struct walk *w, unsigned i)
{
	free(w->http[i].body);
	w->http[i] = w->http[--w->https];
}

static void carry_out(struct walk *w)
{
	size_t n;
	struct px_action *a = px_engine_actions(w->e, &n);

	for (size_t i = 0; i < n; i++) {
		switch (a[i].kind) {
		case PX_DO_HTTP_START: {
			assert_true(w->https < FLIGHTS);
			struct flight *f = &w->http[w->https++];
			*f = (struct flight){.id = a[i].http.id,
			                     .ask = a[i].http.ask,
			                     .body = a[i].http.wire.body.data};
			for (const char *p = strchr(f->body, '\n') + 1; (p = strchr(p, '\n')); p++)
				f->n++;
			a[i].http.wire.body.data = NULL;
			a[i].http.wire.body.len = 0;
			for (unsigned k = 0; k + 1 < w->https; k++)
				assert_true(w->http[k].id != f->id);
			w->old_http[w->olds++ % 64] = f->id;
			break;
		}
		case PX_DO_HTTP_CANCEL:
			for (unsigned k = 0; k < w->https; k++)
				if (w->http[k].id == a[i].http_cancel) {
					drop_http(w, k);
					break;
				}
			break;
		case PX_DO_SIP_START:
			assert_true(w->sips < USERS * 4);
			for (unsigned k = 0; k < w->sips; k++)
				assert_true(w->sip[k].slot != (uint32_t)a[i].sip.id);
			w->sip[w->sips].id = a[i].sip.id;
			w->sip[w->sips].slot = (uint32_t)a[i].sip.id;
			w->sip[w->sips].op = a[i].sip.op;
			w->sip[w->sips++].expires = a[i].sip.expires;
			if (a[i].sip.op == PX_OP_INITIAL || a[i].sip.op == PX_OP_MODIFY ||
			    a[i].sip.op == PX_OP_CLEAR)
				assert_true(a[i].sip.body.len > 0);
			if (a[i].sip.op == PX_OP_REMOVE)
				assert_int_equal(a[i].sip.body.len, 0);
			w->old_sip[w->olds++ % 64] = a[i].sip.id;
			break;
		case PX_DO_SIP_MESSAGE:
			fail_msg("nobody is to be reminded");
			break;
		case PX_DO_BOARD_PUT:
			w->board[a[i].user] = true;
			break;
		case PX_DO_GATEWAY_GONE:
			if (!w->e->pool.gateway[a[i].gateway].used)
				for (unsigned k = 0; k < w->e->requests; k++)
					assert_true(w->e->request[k].owner == OWNER_NONE ||
					            w->e->request[k].gateway != a[i].gateway);
			break;
		case PX_DO_BOARD_DROP:
			w->board[a[i].user] = false;
			break;
		case PX_DO_LOG:
			if (getenv("TRACE"))
				print_message("%lld %s\n", (long long)w->now.mono.ms,
				              a[i].log.text);
			break;
		}
	}
	px_engine_actions_clear(w->e);
	for (uint32_t s = 0; s < w->e->end; s++)
		assert_int_equal(w->board[s], px_user(w->e, s)->used);
}

static void turn(struct walk *w)
{
	struct px_mono due = px_engine_due(w->e, w->now);

	if (px_due(due, w->now))
		px_engine_tick(w->e, w->now);
	px_engine_pump(w->e, w->now);
	carry_out(w);
	check(w);
	/* it doesn't want to be called again and again without time passing */
	due = px_engine_due(w->e, w->now);
	assert_true(due.ms <= w->now.mono.ms + 60000);
	w->steps_at_once = due.ms <= w->now.mono.ms ? w->steps_at_once + 1 : 0;
	assert_in_range(w->steps_at_once, 0, 100);
}

static void pass(struct walk *w, int64_t ms)
{
	w->now.mono.ms += ms;
	w->now.wall.ms += ms;
}

static const char *some_id(struct walk *w, const struct flight *f)
{
	static char id[64];
	const char *line = strchr(f->body, '\n') + 1;

	if (f->ask != PX_ASK_STREAM || f->n == 0 || rnd(w, 10) == 0) {
		snprintf(id, sizeof id, "s%u", rnd(w, w->ids + 1));
		return id;
	}
	for (unsigned k = rnd(w, f->n); k > 0; k--)
		line = strchr(line, '\n') + 1;
	snprintf(id, sizeof id, "%.*s", (int)strcspn(line, "\n"), line);
	return id;
}

/* A few lines of an answer; `good`: as a healthy server would answer. */
static void say(struct walk *w, const struct flight *f, bool good)
{
	char text[16384] = "";
	size_t n = 0;
	int64_t t = w->now.wall.ms;

	if (f->ask == PX_ASK_SUBSCRIBE && (good || rnd(w, 4)))
		n += (size_t)snprintf(text, sizeof text, rnd(w, 8) ? "I s%u 0\n" : "I s%u\n",
		                      w->ids++);
	if (f->ask == PX_ASK_POLL && (good || rnd(w, 4)))
		n += (size_t)snprintf(text, sizeof text, "%c %.*s %u\n%s", "AE"[rnd(w, 2)],
		                      (int)strcspn(strchr(f->body, '\n') + 1, "\n"),
		                      strchr(f->body, '\n') + 1, w->ids++, rnd(w, 5) ? "" : "N\n");
	if (f->ask == PX_ASK_STREAM && good)
		n += (size_t)snprintf(text, sizeof text, "A\n");
	for (unsigned k = 0; (f->ask == PX_ASK_READ || f->ask == PX_ASK_READ_ONE) && k < f->n;
	     k++) {
		if (!good && rnd(w, 30) == 0)
			continue;
		if (!good && rnd(w, 10) == 0) {
			n += (size_t)snprintf(text + n, sizeof text - n, "R %u\n",
			                      rnd(w, PX_VERDICTS));
			continue;
		}
		for (unsigned m = rnd(w, 3); m > 0; m--) {
			int64_t from = t + (int64_t)rnd(w, 7200000) - 3600000;
			n += (size_t)snprintf(text + n, sizeof text - n, "M %lld %lld %u\n",
			                      (long long)from, (long long)from + rnd(w, 3600000),
			                      rnd(w, PX_STATUSES));
		}
		n += (size_t)snprintf(text + n, sizeof text - n, "C\n");
	}
	for (unsigned k = 0; f->ask == PX_ASK_OOF && k < f->n; k++) {
		const int64_t from = t + (int64_t)rnd(w, 7200000) - 3600000;

		if (good) /* in the end the calendars alone count */
			n += (size_t)snprintf(text + n, sizeof text - n, "O 0 0 0\n");
		else if (rnd(w, 4) == 0)
			n += (size_t)snprintf(text + n, sizeof text - n, "R %u\n",
			                      rnd(w, PX_VERDICTS));
		else if (rnd(w, 2))
			n += (size_t)snprintf(text + n, sizeof text - n, "O 1 %lld %lld\n",
			                      (long long)from, (long long)from + rnd(w, 3600000));
		else if (rnd(w, 20))
			n += (size_t)snprintf(text + n, sizeof text - n, "O %u 0 0\n", rnd(w, 2));
	}
	for (unsigned k = good ? 0 : rnd(w, 4); k > 0; k--) {
		static const char kind[] = "AEEGGZICQPN";
		char c = kind[rnd(w, sizeof kind - 1)];

		n += (size_t)snprintf(text + n, sizeof text - n, "%c %s\n", c, some_id(w, f));
	}
	if (!good && rnd(w, 4) == 0) {
		enum px_verdict v = (enum px_verdict)rnd(w, PX_VERDICTS);

		/* what stops everything is rare, or nothing else would be seen */
		if ((v != PX_V_DENIED && v != PX_V_SERVER) || rnd(w, 20) == 0)
			n += (size_t)snprintf(text + n, sizeof text - n, "V %u\n", v);
	}
	for (size_t at = 0; at < n;) {
		size_t part = 1 + rnd(w, 400);
		part = part < n - at ? part : n - at;
		px_engine_http_data(w->e, f->id, text + at, part, w->now);
		at += part;
	}
}

static void end_http(struct walk *w, unsigned i, bool good)
{
	static const int status[] = {200, 200, 200, 401, 503, 500, 404, 0};
	char cookie[32];
	const struct px_http_answer a = {
	    .fail =
	        good || rnd(w, 2) ? PX_HTTP_ANSWERED : (enum px_http_fail)rnd(w, PX_HTTP_LOCAL + 1),
	    .status = good ? 200 : status[rnd(w, 8)],
	    .retry_after_ms = good ? -1 : (int64_t)rnd(w, 400000) - 100000,
	    .cookie = rnd(w, 2) ? cookie : NULL};
	uint64_t id = w->http[i].id;

	snprintf(cookie, sizeof cookie, "b=%u", rnd(w, 4));
	drop_http(w, i);
	px_engine_http_done(w->e, id, &a, w->now);
	if (!good && rnd(w, 20) == 0)
		px_engine_http_done(w->e, id, &a, w->now);
}

static void end_sip(struct walk *w, unsigned i, bool good)
{
	static const int status[] = {200, 200, 202, 300, 400, 403, 404, 408, 412, 412,  423,
	                             480, 489, 491, 500, 503, 513, 600, 0,   -7,  70000};
	static const char *const etag[] = {
	    "a",
	    "b",
	    "c d",
	    "",
	    NULL,
	    "0123456789012345678901234567890123456789012345678901234567890123456789"
	    "0123456789012345678901234567890123456789012345678901234567890123456789"};
	const struct px_sip_answer a = {
	    .fail = good || rnd(w, 4) ? PX_SIP_ANSWERED : (enum px_sip_fail)rnd(w, 4),
	    .status = good ? 200 : status[rnd(w, sizeof status / sizeof *status)],
	    .etag = w->sip[i].op == PX_OP_REMOVE ? NULL : etag[good ? 0 : rnd(w, 6)],
	    .expires = good ? w->sip[i].expires : (int64_t)rnd(w, 5000) - 100,
	    .min_expires = good ? -1 : (int64_t)rnd(w, 100000) - 100,
	    .retry_after = good ? -1 : (int64_t)rnd(w, 200) - 100};
	uint64_t id = w->sip[i].id;

	w->sip[i] = w->sip[--w->sips];
	px_engine_sip_done(w->e, id, &a, w->now);
	if (!good && rnd(w, 20) == 0)
		px_engine_sip_done(w->e, id, &a, w->now);
}

static void command(struct walk *w)
{
	char key[32], mailbox[32];
	unsigned u = rnd(w, USERS);

	snprintf(key, sizeof key, "u%u@x", u);
	snprintf(mailbox, sizeof mailbox, "%s%u@x", rnd(w, 20) ? "u" : "v", u);
	switch (rnd(w, 8)) {
	case 0:
	case 1:
	case 2:
		px_engine_user_put(w->e, key, mailbox, true, w->now);
		break;
	case 3:
		px_engine_user_put(w->e, key, mailbox, false, w->now);
		break;
	case 4:
		px_engine_user_remove(w->e, key, w->now);
		break;
	case 5:
	case 6:
		px_engine_user_refresh(w->e, key, w->now);
		break;
	case 7:
		px_engine_sip_lost(w->e, w->now);
		break;
	}
}

static unsigned gateways(const struct walk *w)
{
	unsigned n = 0;

	for (unsigned g = 0; g < w->e->pool.n; g++)
		n += w->e->pool.gateway[g].used && w->e->pool.gateway[g].health != PX_GW_LEAVING;
	return n;
}

static void change_gateways(struct walk *w)
{
	static unsigned named;
	const unsigned g = rnd(w, w->e->pool.n), n = gateways(w);
	char name[16];

	switch (rnd(w, 7)) {
	case 0:
	case 1:
		snprintf(name, sizeof name, "new%u", named++);
		if (n < 2 * GATEWAYS)
			assert_true(px_engine_gateway_add(w->e, name, 1 + rnd(w, 8), w->now) >= 0);
		break;
	case 2:
	case 3:
		if (w->e->pool.gateway[g].used && w->e->pool.gateway[g].health != PX_GW_LEAVING &&
		    (n > 1 || rnd(w, 10) == 0))
			px_engine_gateway_remove(w->e, (int)g, w->now);
		break;
	case 4:
		if (w->e->pool.gateway[g].used)
			px_engine_gateway_concurrency(w->e, (int)g, 1 + rnd(w, 8), w->now);
		break;
	case 5:
		if (rnd(w, 3) == 0)
			px_engine_login_renewed(w->e, w->now);
		break;
	case 6:
		if (rnd(w, 3) == 0)
			px_engine_active(w->e, !px_engine_is_active(w->e), w->now);
		break;
	}
}

/* Somebody calls: about a subscription that somebody has, or about none. */
static void call(struct walk *w, bool good)
{
	uint32_t slot = w->e->end ? rnd(w, w->e->end) : 0;
	const struct user *u = w->e->end ? px_user(w->e, slot) : NULL;
	char text[600];

	snprintf(text, sizeof text, "%c %s\n",
	         good || rnd(w, 2) ? "AE"[rnd(w, 2)] : "AEGPX"[rnd(w, 5)],
	         u && u->used && u->subscription && (good || rnd(w, 4)) ? u->subscription : "s1");
	px_engine_notified(w->e, u && u->used && rnd(w, 2) ? u->key_hash : 0, text, strlen(text),
	                   w->now);
}

/* The weather changes now and then: how much of what is answered is right. */
static void step(struct walk *w, unsigned bad)
{
	unsigned i;

	switch (rnd(w, 12)) {
	case 0:
		if (rnd(w, 3) == 0)
			command(w);
		else if (w->gateways_change && rnd(w, 100) == 0)
			change_gateways(w);
		break;
	case 1:
		if (rnd(w, 4) == 0)
			call(w, rnd(w, 100) >= bad);
		break;
	case 2:
		if (w->https && rnd(w, 400) < 20 + bad)
			say(w, &w->http[rnd(w, w->https)], false);
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		if (w->https) {
			bool good = rnd(w, 100) >= bad;

			i = rnd(w, w->https);
			say(w, &w->http[i], good);
			if (w->http[i].ask != PX_ASK_STREAM || rnd(w, 50) == 0)
				end_http(w, i, good);
		}
		break;
	case 7:
	case 8:
		if (w->sips)
			end_sip(w, rnd(w, w->sips), rnd(w, 100) >= bad);
		break;
	case 9:
		px_engine_http_done(
		    w->e, w->old_http[rnd(w, 64)] ^ (rnd(w, 2) ? 0 : 1ull << 40),
		    &(struct px_http_answer){.status = 200, .fail = PX_HTTP_ANSWERED}, w->now);
		break;
	case 10:
		pass(w, rnd(w, 1000));
		break;
	case 11:
		if (rnd(w, 4000) == 0)
			w->now.wall.ms += ((int64_t)rnd(w, 200) - 100) * 3600000;
		else if (rnd(w, 3000) == 0)
			pass(w, rnd(w, 7200000));
		else if (rnd(w, 100) == 0)
			pass(w, rnd(w, 60000));
		break;
	}
}

/* The world answers as it should, until everybody must have come to rest. */
static void calm(struct walk *w)
{
	px_engine_active(w->e, true, w->now);
	if (gateways(w) == 0)
		assert_true(px_engine_gateway_add(w->e, "last", 8, w->now) >= 0);
	for (int64_t until = w->now.mono.ms + 3 * 3600000; w->now.mono.ms < until;) {
		while (w->sips) {
			end_sip(w, 0, true);
			turn(w);
		}
		for (unsigned i = 0; i < w->e->end; i++) {
			const struct user *u = px_user(w->e, i);
			char text[600];

			if (!u->used || !u->subscription || u->kind != PX_KIND_PUSH)
				continue;
			snprintf(text, sizeof text, "A %s\n", u->subscription);
			px_engine_notified(w->e, u && u->used && rnd(w, 2) ? u->key_hash : 0, text,
			                   strlen(text), w->now);
		}
		for (unsigned i = 0; i < w->https;) {
			bool stream = w->http[i].ask == PX_ASK_STREAM;

			say(w, &w->http[i], true);
			if (!stream)
				end_http(w, i, true);
			else
				i++;
		}
		turn(w);
		int64_t due = px_engine_due(w->e, w->now).ms - w->now.mono.ms;
		pass(w, due < 1 ? 1 : due < 30000 ? due : 30000);
		turn(w);
	}
	for (uint32_t s = 0; s < w->e->end; s++) {
		const struct user *u = px_user(w->e, s);
		if (!u->used)
			continue;
		assert_false(u->leaving);
		if (!u->on) {
			assert_int_equal(u->publication.state, PX_PUB_OFF);
			continue;
		}
		/* a kind may have been taken for broken */
		assert_int_equal(u->watch.state, w->e->at[u->gateway].kind == PX_KIND_NONE
		                                     ? PX_WATCH_SWEPT
		                                     : PX_WATCH_FOLLOWED);
		assert_false(u->stale);
		assert_true(u->calendar.until > w->now.wall.ms / 1000);
		if (u->presence != PX_UNKNOWN) {
			assert_non_null(u->publication.etag);
			/* a meeting may have begun in this very turn */
			assert_true(!u->publication.newer ||
			            u->publication.state != PX_PUB_STANDING);
			assert_int_not_equal(u->publication.state, PX_PUB_BACKOFF);
		}
	}
	assert_false(w->e->esc.down);
}

static void walk(uint32_t seed, unsigned steps, struct px_engine_config c, bool gateways_change)
{
	struct walk *w = calloc(1, sizeof *w);
	unsigned bad = 0;

	assert_non_null(w);
	w->now = (struct px_now){{1000}, {WALL0}};
	w->rng = seed * 0x9e3779b97f4a7c15u + 88172645463325252u;
	c.seed = seed;
	w->gateways_change = gateways_change;
	w->e = px_engine_new(&c, w->now);
	assert_non_null(w->e);
	for (unsigned u = 0; u < USERS; u++) {
		char key[32];

		snprintf(key, sizeof key, "u%u@x", u);
		assert_true(px_engine_user_put(w->e, key, key, rnd(w, 8), w->now) >= 0);
		if (rnd(w, 3) == 0)
			px_engine_user_restore(
			    w->e, key,
			    &(struct px_known){.gateway = (int)rnd(w, GATEWAYS + 1) - 1,
			                       .kind = (enum px_kind)rnd(w, PX_KINDS),
			                       .minutes = 2,
			                       .subscription = rnd(w, 2) ? key : NULL,
			                       .watermark = rnd(w, 2) ? "0" : NULL,
			                       .etag = rnd(w, 2) ? "old" : NULL,
			                       .unsure = rnd(w, 2),
			                       .lapses = {WALL0 + rnd(w, 3600000)}},
			    w->now);
	}
	for (unsigned i = 0; i < steps; i++) {
		if (i % 5000 == 0)
			bad = rnd(w, 3) ? rnd(w, 20) : rnd(w, 101);
		step(w, bad);
		/* several things may happen in one turn */
		if (rnd(w, 3))
			turn(w);
	}
	calm(w);
	px_engine_free(w->e);
	while (w->https)
		drop_http(w, 0);
	free(w);
}

static const char *const names[GATEWAYS] = {"cas1", "cas2", "cas3"};
static const unsigned places[GATEWAYS] = {8, 1, 3};
static const struct px_engine_config usual = {.backend = &fake_backend,
                                              .gateways = GATEWAYS,
                                              .gateway_name = names,
                                              .gateway_concurrency = places,
                                              .kinds = PX_KIND_BIT(PX_KIND_STREAM),
                                              .horizon_s = 172800,
                                              .resync_s = 3600,
                                              .stale_after_s = 3600,
                                              .publish_expires = 3600,
                                              .publish_window = 200,
                                              .presence_servers = 1,
                                              .users_max = USERS,
                                              .log_level = PX_LOG_ERROR};

/* WALK=steps: a longer one, by hand */
static unsigned steps(void)
{
	return getenv("WALK") ? (unsigned)atoi(getenv("WALK")) : 100000;
}

static uint32_t first_seed(void)
{
	return getenv("SEED") ? (uint32_t)atoi(getenv("SEED")) : 1;
}

static void test_as_usual(void **state)
{
	struct px_engine_config c = usual;

	(void)state;
	c.map = px_map_default;
	c.log_level = getenv("TRACE") ? PX_LOG_DEBUG : PX_LOG_ERROR;
	for (uint32_t seed = first_seed(); seed < first_seed() + 4; seed++)
		walk(seed, steps(), c, false);
}

static void test_gateways_come_and_go(void **state)
{
	struct px_engine_config c = usual;

	(void)state;
	c.map = px_map_default;
	c.log_level = getenv("TRACE") ? PX_LOG_DEBUG : PX_LOG_ERROR;
	for (uint32_t seed = first_seed() + 20; seed < first_seed() + 22; seed++) {
		c.oof_replies = seed % 2;
		walk(seed, steps(), c, true);
	}
	c.gateways = 1;
	c.kinds = PX_KIND_BIT(PX_KIND_NONE);
	walk(first_seed() + 22, steps(), c, true);
}

static void test_all_kinds(void **state)
{
	struct px_engine_config c = usual;

	(void)state;
	c.map = px_map_default;
	c.log_level = getenv("TRACE") ? PX_LOG_DEBUG : PX_LOG_ERROR;
	c.backend = &fake_versions;
	c.callback = "http://us/";
	for (uint32_t seed = first_seed() + 20; seed < first_seed() + 24; seed++) {
		c.kinds = seed % 4 == 0   ? PX_KIND_BIT(PX_KIND_PUSH)
		          : seed % 4 == 1 ? PX_KIND_BIT(PX_KIND_PULL)
		                          : ~0u;
		walk(seed, steps(), c, seed % 4 == 3);
	}
}

static void test_extremes(void **state)
{
	struct px_engine_config c = usual;

	(void)state;
	c.map = px_map_default;
	c.log_level = getenv("TRACE") ? PX_LOG_DEBUG : PX_LOG_ERROR;
	c.gateways = 1;
	c.oof_replies = true;
	c.horizon_s = 3600;
	c.resync_s = c.stale_after_s = c.publish_expires = 60;
	c.stale_available = true;
	c.publish_window = 1;
	c.publish_rate = 10;
	c.presence_servers = 3;
	walk(first_seed() + 10, steps(), c, false);
	c.kinds = PX_KIND_BIT(PX_KIND_NONE);
	c.gateways = GATEWAYS;
	c.resync_s = 86400;
	walk(first_seed() + 11, steps(), c, false);
}

/* Every reading fails for a passing reason: all others work, and it isn't everybody's batch that rests and is halved at the same time. */
static void test_readings_that_all_fail_are_few(void **state)
{
	struct px_engine_config c = usual;
	struct walk *w = calloc(1, sizeof *w);
	unsigned asked = 0;

	(void)state;
	assert_non_null(w);
	c.map = px_map_default;
	c.users_max = 6000;
	w->now = (struct px_now){{1000}, {WALL0}};
	w->e = px_engine_new(&c, w->now);
	assert_non_null(w->e);
	for (unsigned u = 0; u < c.users_max; u++) {
		char key[32];

		snprintf(key, sizeof key, "u%u@x", u);
		px_engine_user_put(w->e, key, key, true, w->now);
	}
	while (w->now.mono.ms < 120000) {
		const struct px_http_answer a = {.status = 200, .retry_after_ms = -1};
		struct px_action *action;
		size_t n;

		px_engine_tick(w->e, w->now);
		px_engine_pump(w->e, w->now);
		action = px_engine_actions(w->e, &n);
		for (size_t i = 0; i < n; i++)
			if (action[i].kind == PX_DO_HTTP_START)
				w->http[w->https++] = (struct flight){.id = action[i].http.id,
				                                      .ask = action[i].http.ask};
		px_engine_actions_clear(w->e);
		pass(w, 10);
		for (unsigned i = 0; i < w->https;) {
			const struct flight f = w->http[i];
			char text[32];

			snprintf(text, sizeof text, "%s s%u\n",
			         f.ask == PX_ASK_SUBSCRIBE ? "I" : "A", w->ids++);
			if (f.ask == PX_ASK_READ)
				snprintf(text, sizeof text, "V %u\n", PX_V_TRANSIENT);
			px_engine_http_data(w->e, f.id, text, strlen(text), w->now);
			if (f.ask == PX_ASK_STREAM) {
				i++;
				continue;
			}
			asked += f.ask == PX_ASK_READ;
			w->http[i] = w->http[--w->https];
			px_engine_http_done(w->e, f.id, &a, w->now);
		}
	}
	assert_true(asked > 100);
	assert_in_range(w->e->readings, 1, 1500);
	/* they don't keep anybody from being followed */
	assert_int_equal(px_engine_counts(w->e).watch[PX_WATCH_FOLLOWED], c.users_max);
	px_engine_free(w->e);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_as_usual),
	    cmocka_unit_test(test_all_kinds),
	    cmocka_unit_test(test_extremes),
	    cmocka_unit_test(test_gateways_come_and_go),
	    cmocka_unit_test(test_readings_that_all_fail_are_few),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
