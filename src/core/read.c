/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/read.h"
#include "core/watch.h" /* px_backoff */

void px_read_init(struct px_read *r, uint32_t seed)
{
	*r = (struct px_read){.state = PX_READ_ASKING, .seed = seed};
}

static void rest(struct px_read *r, struct px_now now)
{
	unsigned failures = r->failures ? r->failures : 1;

	r->state = PX_READ_RESTING;
	r->due = px_after(now, px_backoff(PX_READ_REST_MIN, PX_READ_REST_MAX, failures, r->seed));
}

unsigned px_read_answered(struct px_read *r, enum px_verdict v, unsigned users, struct px_now now)
{
	switch (v) {
	case PX_V_OK:
		return PX_R_COMMIT | PX_R_END;
	case PX_V_SERVER:
	case PX_V_BUSY:
	case PX_V_DENIED:
		return PX_R_MARK | PX_R_END;
	case PX_V_LOST:
	case PX_V_USER:
	case PX_V_UNREADABLE:
	case PX_V_WIDE:
	case PX_V_TRANSIENT:
	case PX_V_GAP:
	case PX_V_VERSION:
	case PX_V_KIND:
	case PX_VERDICTS:
		break;
	}
	if (users <= 1)
		return PX_R_ALONE | PX_R_END;
	if (r->failures < UINT8_MAX)
		r->failures++;
	rest(r, now);
	/* the first time it may have been the server's bad moment; then somebody in it is to blame
	 */
	return r->failures > 1 || v == PX_V_USER || v == PX_V_UNREADABLE ? PX_R_SPLIT : 0;
}

unsigned px_read_tick(struct px_read *r, struct px_now now)
{
	if (r->state != PX_READ_RESTING || !px_due(r->due, now))
		return 0;
	r->state = PX_READ_ASKING;
	r->due = (struct px_mono){0};
	return PX_R_ASK;
}

void px_read_blocked(struct px_read *r, struct px_now now)
{
	rest(r, now);
}
