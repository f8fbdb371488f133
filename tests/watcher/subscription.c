/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "subscription.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* RFC 6665 §4.1.2.4, timer N: how long a NOTIFY may take after its SUBSCRIBE was accepted. */
#define NOTIFY_WAIT_MS 32000
#define REFUSED_RETRY_MS (5 * 60 * 1000)
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 30000

static uint64_t hash(const char *text)
{
	uint64_t h = 14695981039346656037u; /* FNV-1a */

	for (; text && *text; text++)
		h = (h ^ (unsigned char)*text) * 1099511628211u;
	return h;
}

/* 0..99, fixed for a subscription: neighbours in time stay apart */
static unsigned spread(const struct pw_sub *s)
{
	return (s->slot * 2654435761u >> 16) % 100;
}

static void keep(char **to, const char *text)
{
	if (!text || (*to && strcmp(*to, text) == 0))
		return;
	free(*to);
	*to = strdup(text);
}

static void forget(char **text)
{
	free(*text);
	*text = NULL;
}

void pw_sub_init(struct pw_sub *s, uint32_t slot, const char *aor)
{
	*s = (struct pw_sub){.slot = slot, .due_ms = 1};
	snprintf(s->aor, sizeof s->aor, "%s", aor);
}

void pw_sub_clear(struct pw_sub *s)
{
	forget(&s->remote_tag);
	forget(&s->target);
	forget(&s->route);
}

/* The one place where a dialog is given up: the next SUBSCRIBE opens another. */
static void renew(struct pw_sub *s, int64_t due_ms)
{
	pw_sub_clear(s);
	s->generation++;
	s->local_cseq = s->remote_cseq = 0;
	s->last_branch = 0;
	s->notify_by_ms = 0;
	s->state = PW_SUB_DUE;
	s->due_ms = due_ms;
}

static int64_t backoff_ms(const struct pw_sub *s)
{
	int64_t ms = BACKOFF_MIN_MS;

	for (unsigned i = 1; i < s->failures && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	if (ms > BACKOFF_MAX_MS)
		ms = BACKOFF_MAX_MS;
	return ms / 2 + ms / 2 * spread(s) / 100;
}

/* Between 70 and 80 % of the time granted. */
static int64_t refresh_after_ms(const struct pw_sub *s, long expires_s)
{
	return expires_s * (700 + spread(s));
}

void pw_sub_sent(struct pw_sub *s)
{
	s->state = PW_SUB_ASKING;
	s->notified = false;
	s->notify_by_ms = 0;
	s->local_cseq++;
}

static enum pw_meaning accepted(struct pw_sub *s, const struct pw_answer *a, long asked_s,
                                int64_t now_ms, struct pw_faults *f)
{
	long expires_s = a->expires_s;

	if (!a->to_tag || !a->contact) {
		pw_fault(f, "%d without %s", a->status, a->to_tag ? "Contact" : "a To tag");
		s->failures++;
		renew(s, now_ms + backoff_ms(s));
		return PW_MEANS_REACHED;
	}
	if (s->remote_tag && strcmp(s->remote_tag, a->to_tag) != 0)
		pw_fault(f, "the tag of the %d is not that of the NOTIFY before it", a->status);
	if (expires_s < 0 || expires_s > asked_s) {
		pw_fault(f, "Expires %ld granted, %ld asked", expires_s, asked_s);
		expires_s = asked_s;
	}
	keep(&s->remote_tag, a->to_tag);
	keep(&s->target, a->contact);
	keep(&s->route, a->route);
	s->state = PW_SUB_HELD;
	s->due_ms = now_ms + refresh_after_ms(s, expires_s);
	s->notify_by_ms = s->notified ? 0 : now_ms + NOTIFY_WAIT_MS;
	s->failures = 0;
	s->refused = false;
	return PW_MEANS_REACHED;
}

enum pw_meaning pw_sub_answer(struct pw_sub *s, const struct pw_answer *a, long *expires_s,
                              int64_t now_ms, struct pw_faults *f)
{
	bool held = s->target != NULL; /* a refresh: the dialog stood */

	if (a->status >= 200 && a->status < 300)
		return accepted(s, a, *expires_s, now_ms, f);

	s->failures++;
	switch (a->status) {
	case 408:
	case 500:
	case 503:
	case 504:
		/*
		 * A dialog that stood may live on at the server, so it is asked again. A first
		 * SUBSCRIBE may have opened one whose tag we don't know: begin another.
		 */
		if (!held)
			renew(s, now_ms);
		s->state = PW_SUB_DUE;
		s->due_ms = now_ms + (a->status == 500 ? backoff_ms(s) : 0);
		return a->status == 500 ? PW_MEANS_REACHED : PW_MEANS_DOWN;
	case 423:
		if (a->min_expires_s <= *expires_s) {
			pw_fault(f, "423 without a greater Min-Expires");
			break;
		}
		*expires_s = a->min_expires_s;
		s->state = PW_SUB_DUE;
		s->due_ms = now_ms;
		return PW_MEANS_REACHED;
	case 481:
		renew(s, held ? now_ms : now_ms + backoff_ms(s));
		return held ? PW_MEANS_FORGOTTEN : PW_MEANS_REACHED;
	default:
		break;
	}
	if (held) {
		renew(s, now_ms);
		return PW_MEANS_REACHED;
	}
	renew(s, now_ms + REFUSED_RETRY_MS);
	s->settled = s->refused = true;
	return PW_MEANS_REFUSED;
}

/* RFC 6665 §4.1.3: what each reason says about subscribing again. */
static void terminated(struct pw_sub *s, const struct pw_notify *n, int64_t now_ms)
{
	int64_t wait_ms = 0;

	if (n->reason &&
	    (strcasecmp(n->reason, "rejected") == 0 || strcasecmp(n->reason, "noresource") == 0))
		wait_ms = REFUSED_RETRY_MS;
	else if (n->retry_after_s >= 0)
		wait_ms = (int64_t)(n->retry_after_s < 3600 ? n->retry_after_s : 3600) * 1000;
	renew(s, now_ms + wait_ms);
}

static bool state_known(const char *state)
{
	return strcasecmp(state, "active") == 0 || strcasecmp(state, "pending") == 0 ||
	       strcasecmp(state, "terminated") == 0;
}

static int check_head(const struct pw_sub *s, const struct pw_notify *n, enum pw_kind *kind,
                      struct pw_faults *f)
{
	if (s->local_cseq == 0 || !n->from_tag ||
	    (s->remote_tag && strcmp(s->remote_tag, n->from_tag) != 0)) {
		pw_fault(f, "From tag of another dialog");
		return 481;
	}
	if (n->cseq < s->remote_cseq) {
		*kind = PW_OVERTAKEN;
		return 500; /* RFC 3261 §12.2.2 */
	}
	if (s->remote_cseq != 0 && n->cseq == s->remote_cseq) {
		if (hash(n->branch) == s->last_branch) {
			*kind = PW_COPY;
			return 200;
		}
		pw_fault(f, "CSeq %u twice", n->cseq);
		return 500;
	}
	if (!n->event || strcasecmp(n->event, "presence") != 0) {
		pw_fault(f, "Event is %.40s, not presence", n->event ? n->event : "missing");
		return 489;
	}
	if (!n->substate || !state_known(n->substate)) {
		pw_fault(f, "Subscription-State is %.40s", n->substate ? n->substate : "missing");
		return 400;
	}
	if (n->length > 0 &&
	    (!n->content_type || strcasecmp(n->content_type, "application/pidf+xml") != 0)) {
		pw_fault(f, "Content-Type is %.60s", n->content_type ? n->content_type : "missing");
		return 415;
	}
	return 200;
}

int pw_sub_notify(struct pw_sub *s, const struct pw_notify *n, int64_t now_ms, int64_t wall_ms,
                  enum pw_kind *kind, struct pw_faults *f)
{
	enum pw_status before = pw_sub_status(s);
	bool ends;
	int status;

	*kind = PW_FRESH;
	status = check_head(s, n, kind, f);
	if (status != 200 || *kind != PW_FRESH)
		return status;

	keep(&s->remote_tag, n->from_tag);
	s->remote_cseq = n->cseq;
	s->last_branch = hash(n->branch);
	s->notified = true;
	s->notify_by_ms = 0;
	ends = strcasecmp(n->substate, "terminated") == 0;
	snprintf(s->substate, sizeof s->substate, "%s", n->substate);

	/* A wrong document is answered 200 all the same: the subscription is in order. */
	if (n->length > 0) {
		if (pw_document_read(n->body, n->length, s->aor, &s->doc, f))
			s->has_document = true;
	} else if (!ends) {
		s->has_document = false;
	}
	if (!ends && n->expires_s < 0)
		pw_fault(f, "Subscription-State %s without expires", s->substate);
	if (pw_sub_status(s) != before || !s->settled)
		s->since_ms = wall_ms;
	s->settled = true;
	if (ends)
		terminated(s, n, now_ms);
	else if (s->state == PW_SUB_HELD && n->expires_s >= 0 &&
	         now_ms + refresh_after_ms(s, n->expires_s) < s->due_ms)
		s->due_ms = now_ms + refresh_after_ms(s, n->expires_s);
	return 200;
}

int64_t pw_sub_deadline(const struct pw_sub *s)
{
	if (s->state == PW_SUB_ASKING)
		return INT64_MAX;
	if (s->state == PW_SUB_HELD && s->notify_by_ms && s->notify_by_ms < s->due_ms)
		return s->notify_by_ms;
	return s->due_ms;
}

void pw_sub_silent(struct pw_sub *s, int64_t now_ms, struct pw_faults *f)
{
	pw_fault(f, "no NOTIFY within %d s of the accepted SUBSCRIBE", NOTIFY_WAIT_MS / 1000);
	renew(s, now_ms);
}

void pw_sub_check(struct pw_sub *s, int64_t now_ms)
{
	if (s->state == PW_SUB_HELD && s->due_ms > now_ms)
		s->due_ms = now_ms;
}

enum pw_status pw_sub_status(const struct pw_sub *s)
{
	return s->has_document ? s->doc.all.status : PW_UNKNOWN;
}
