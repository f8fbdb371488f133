/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sim - one long run in virtual time: sim [-u users] [-g gateways] [-d days] [-s seed] [-q] [-t
 * trace-file] */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

int main(int argc, char **argv)
{
	struct sim_config c = {.users = 10000,
	                       .gateways = 4,
	                       .days = 3,
	                       .seed = 1,
	                       .changes_per_user_day = 4,
	                       .cas_dies_per_day = 24,
	                       .pool_dies_per_day = 1,
	                       .lost_answers = 0.0005,
	                       .stream_cuts_per_day = 24,
	                       .drops_per_day = 500,
	                       .clock_steps_per_day = 4,
	                       .esc_dies_per_day = 6,
	                       .esc_forgets_per_day = 4,
	                       .throttle_per_day = 6,
	                       .denied_per_day = 0.5};
	struct sim_report r;

	for (int o; (o = getopt(argc, argv, "u:g:d:s:qt:n")) != -1;) {
		if (o == 'u')
			c.users = (unsigned)atoi(optarg);
		else if (o == 'g')
			c.gateways = (unsigned)atoi(optarg);
		else if (o == 'd')
			c.days = atof(optarg);
		else if (o == 's')
			c.seed = (uint32_t)atoi(optarg);
		else if (o == 'q')
			c.cas_dies_per_day = c.pool_dies_per_day = c.lost_answers =
			    c.stream_cuts_per_day = c.drops_per_day = c.clock_steps_per_day =
			        c.esc_dies_per_day = c.esc_forgets_per_day = c.throttle_per_day =
			            c.denied_per_day = 0;
		else if (o == 'n')
			c.no_subscriptions = true;
		else if (o == 't')
			c.trace = strcmp(optarg, "-") == 0 ? stderr : fopen(optarg, "w");
		else
			return 2;
	}
	sim_run(&c, &r);
	printf("users %u, CAS %u, days %.1f, seed %u: steps %llu, http %llu, reads %llu, "
	       "subscribes %llu, publishes %llu, boundaries %llu, changes "
	       "%llu, faults %llu, deaths looked at %llu\n",
	       c.users, c.gateways, c.days, c.seed, (unsigned long long)r.steps,
	       (unsigned long long)r.http, (unsigned long long)r.reads,
	       (unsigned long long)r.subscribes, (unsigned long long)r.published,
	       (unsigned long long)r.boundaries, (unsigned long long)r.changes,
	       (unsigned long long)r.faults, (unsigned long long)r.deaths);
	printf("violations %llu, longest unexcused difference %llu ms, doubles %llu, uneven %llu, "
	       "herds %llu, over concurrency %llu, anchors over %llu, "
	       "not followed %llu, not right %llu\n",
	       (unsigned long long)r.violations, (unsigned long long)r.wrong_ms_max,
	       (unsigned long long)r.in_flight_doubles, (unsigned long long)r.uneven,
	       (unsigned long long)r.herds, (unsigned long long)r.over_concurrency,
	       (unsigned long long)r.anchors_over, (unsigned long long)r.not_followed,
	       (unsigned long long)r.not_right);
	if (r.first[0])
		printf("first: %s\n", r.first);
	return r.first[0] ? 1 : 0;
}
