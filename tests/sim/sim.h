/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim.h - days of the engine's life in virtual time.
 *
 * The engine runs over a scripted Exchange (a pool of CAS with one store of meetings, or a front end that
 * speaks WebDAV) and a scripted presence server. Time jumps from event to event. After each step the users
 * it touched are compared with an oracle that knows only the meetings; a difference that lasts longer than
 * the promises allow is counted and described.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/backend.h"

struct sim_config {
	unsigned users, gateways;
	bool webdav; /* one front end, over WebDAV */
	double days;
	uint32_t seed;
	double changes_per_user_day; /* meetings added, moved, deleted */
	double cas_dies_per_day;     /* refused or hanging, for 5 to 40 min */
	double pool_dies_per_day;    /* every CAS, for 10 min */
	double pool_dies_at;         /* days from the start; 0: it doesn't */
	double lost_answers;         /* of HTTP and SIP, 0..1 */
	double stream_cuts_per_day;  /* each cuts every stream of a CAS */
	double drops_per_day;        /* subscriptions that the server forgets */
	double clock_steps_per_day;  /* up to an hour, either way */
	double esc_dies_per_day;     /* the presence server, refused or silent, for a minute */
	double esc_forgets_per_day;  /* ... restarts with empty memory */
	double throttle_per_day;     /* a CAS answers Busy for a minute */
	double denied_per_day;       /* the account is refused everywhere for 20 min */
	unsigned kinds;              /* PX_KIND_BIT()s that may be used; 0: streams */
	bool versions;               /* CAS of three versions; who comes back may be another */
	double codes;      /* requests that get one of all the codes that the product knows, 0..1 */
	double calls_lost; /* of what the server calls, 0..1; as many come twice, the second late */
	double forged_per_day;      /* calls by strangers */
	double deaf_per_day;        /* our listener can't be reached, for 2 to 30 min */
	double kinds_break_per_day; /* a kind stops working at a CAS, for 10 min to 2 h */
	double moves_per_day; /* a mailbox is moved, and then served by some of the CAS alone */
	double
	    gaps_per_day; /* a server loses track of all events: watermarks, or ids, are unknown */
	double
	    sessions_per_day; /* WebDAV: the session ends, and every request is refused until the next login */
	unsigned
	    backends; /* servers behind each CAS; a subscription lives on its mailbox's own, streams go to their
	                                anchor's; 0: one */
	FILE *trace; /* NULL: none */
};

struct sim_report {
	uint64_t steps, published, reads, subscribes, boundaries, changes, http, faults, calls;
	uint64_t asked[PX_ASKS];
	uint64_t deaths;            /* of a CAS, after which the survivors were looked at */
	uint64_t coded;             /* requests that were answered with a code ... */
	unsigned codes, codes_seen; /* ... of so many; so many of them came */
	/* boundaries and changes that nothing excused; that the presence server or the clock did; of a calendar that couldn't be read */
	uint64_t judged, pardoned_shown, pardoned_read;
	int64_t
	    started_ms; /* until everybody was right and followed for the first time; 0: never */
	uint64_t started_http;    /* requests until then */
	unsigned started_without; /* so many who were parked, as a code about them asks for */
	uint64_t recoveries;      /* of the pool, whose pace was looked at */
	int64_t returned_ms;      /* from the pool's last return until everybody was followed */
	unsigned most,
	    mean; /* of that, each second: Subscribes (or readings, where there are none) */
	unsigned kind[PX_KINDS];    /* users at the end */
	uint64_t violations;        /* promises broken */
	uint64_t wrong_ms_max;      /* longest difference that no fault excuses */
	uint64_t in_flight_doubles; /* two PUBLISHes of one user at once */
	uint64_t uneven;            /* survivors not even after a death */
	uint64_t herds;             /* a second of a recovery above twice its mean */
	uint64_t over_concurrency;
	uint64_t anchors_over; /* more than 3 hanging connections on a mailbox */
	uint64_t
	    logins_over; /* refused logins closer than 5 min, but for the two that open the case */
	uint64_t early;  /* requests to a server that had asked to be left alone */
	uint64_t
	    probes_over; /* of a gateway that is down with all others, closer than 29 s after the first minute */
	uint64_t not_followed,
	    not_right; /* users, at the end, ten minutes after everything was healed; and a minute after the pool was */
	char first[512]; /* the first violation in words; "" if none */
};

/* Runs it. 0, or -1 when out of memory. */
int sim_run(const struct sim_config *c, struct sim_report *out);

#endif
