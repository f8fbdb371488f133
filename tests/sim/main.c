/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sim - one long run in virtual time:
 *     sim [-u users] [-g gateways] [-d days] [-s seed] [-k auto|streaming|push|pull|none|webdav] [-q] [-t trace-file]
 * -q: without a fault
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

static bool kind_of(const char *name, struct sim_config *c)
{
	c->webdav = strcmp(name, "webdav") == 0;
	c->kinds = 0;
	if (c->webdav)
		return true;
	for (enum px_kind k = 0; k < PX_KINDS; k++)
		if (strcmp(name, "auto") == 0 || strcmp(name, px_kind_name(k)) == 0)
			c->kinds |= PX_KIND_BIT(k);
	c->versions = strcmp(name, "auto") == 0;
	return c->kinds != 0;
}

static void every_fault(struct sim_config *c)
{
	c->cas_dies_per_day = 24;
	c->pool_dies_per_day = 1;
	c->lost_answers = 0.0005;
	c->stream_cuts_per_day = 24;
	c->drops_per_day = 500;
	c->clock_steps_per_day = 4;
	c->esc_dies_per_day = 6;
	c->esc_forgets_per_day = 4;
	c->throttle_per_day = 6;
	c->denied_per_day = 0.5;
	c->codes = c->webdav ? 0.00002 : 0.0002;
	c->calls_lost = 0.0005;
	c->forged_per_day = 5000;
	c->deaf_per_day = 2;
	c->kinds_break_per_day = 2;
	c->moves_per_day = 100;
	c->gaps_per_day = 2;
	c->sessions_per_day = 2;
}

int main(int argc, char **argv)
{
	struct sim_config c = {
	    .users = 10000, .gateways = 4, .days = 7, .seed = 1, .changes_per_user_day = 4};
	struct sim_report r;
	const char *kind = "auto";
	bool quiet = false;

	for (int o; (o = getopt(argc, argv, "u:g:d:s:k:qt:")) != -1;) {
		if (o == 'u')
			c.users = (unsigned)atoi(optarg);
		else if (o == 'g')
			c.gateways = (unsigned)atoi(optarg);
		else if (o == 'd')
			c.days = atof(optarg);
		else if (o == 's')
			c.seed = (uint32_t)atoi(optarg);
		else if (o == 'k')
			kind = optarg;
		else if (o == 'q')
			quiet = true;
		else if (o == 't')
			c.trace = strcmp(optarg, "-") == 0 ? stderr : fopen(optarg, "w");
		else
			return 2;
	}
	if (!kind_of(kind, &c))
		return 2;
	if (c.webdav)
		c.gateways = 1;
	if (!quiet)
		every_fault(&c);
	const clock_t began = clock();
	sim_run(&c, &r);
	printf("%s: users %u, CAS %u, days %.1f, seed %u: cpu %.1f s, steps %llu, http %llu, reads "
	       "%llu, "
	       "subscribes %llu, polls %llu, calls %llu, publishes %llu, boundaries %llu, changes "
	       "%llu\n",
	       kind, c.users, c.gateways, c.days, c.seed,
	       (double)(clock() - began) / CLOCKS_PER_SEC, (unsigned long long)r.steps,
	       (unsigned long long)r.http, (unsigned long long)r.reads,
	       (unsigned long long)r.subscribes, (unsigned long long)r.asked[PX_ASK_POLL],
	       (unsigned long long)r.calls, (unsigned long long)r.published,
	       (unsigned long long)r.boundaries, (unsigned long long)r.changes);
	printf("faults %llu, answers with a code %llu (%u of %u codes), deaths looked at %llu, "
	       "judged %llu, "
	       "excused %llu as shown, %llu as not read\n",
	       (unsigned long long)r.faults, (unsigned long long)r.coded, r.codes_seen, r.codes,
	       (unsigned long long)r.deaths, (unsigned long long)r.judged,
	       (unsigned long long)r.pardoned_shown, (unsigned long long)r.pardoned_read);
	printf("start: everybody right and followed after %.1f s and %llu requests, but for %u "
	       "parked by a "
	       "code; recoveries looked at %llu, the last %.1f s; at the end streaming %u, "
	       "push %u, pull %u, none %u\n",
	       (double)r.started_ms / 1000, (unsigned long long)r.started_http, r.started_without,
	       (unsigned long long)r.recoveries, (double)r.returned_ms / 1000,
	       r.kind[PX_KIND_STREAM], r.kind[PX_KIND_PUSH], r.kind[PX_KIND_PULL],
	       r.kind[PX_KIND_NONE]);
	printf(
	    "violations %llu, longest unexcused difference %llu ms, doubles %llu, uneven %llu, "
	    "herds %llu, over concurrency %llu, anchors over %llu, logins over %llu, early %llu, "
	    "probes over %llu, not followed %llu, not right %llu\n",
	    (unsigned long long)r.violations, (unsigned long long)r.wrong_ms_max,
	    (unsigned long long)r.in_flight_doubles, (unsigned long long)r.uneven,
	    (unsigned long long)r.herds, (unsigned long long)r.over_concurrency,
	    (unsigned long long)r.anchors_over, (unsigned long long)r.logins_over,
	    (unsigned long long)r.early, (unsigned long long)r.probes_over,
	    (unsigned long long)r.not_followed, (unsigned long long)r.not_right);
	if (r.first[0])
		printf("first: %s\n", r.first);
	return r.first[0] ? 1 : 0;
}
