/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/zone.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ZONEINFO "/usr/share/zoneinfo"

int px_zone_take(const char *name, char why[PX_ZONE_WHY])
{
	char path[sizeof ZONEINFO + 256];
	FILE *f;
	char magic[4] = "";

	if (!name) {
		tzset();
		return 0;
	}
	/* a name that it doesn't know is UTC to the C library */
	snprintf(path, sizeof path, ZONEINFO "/%.250s", name);
	f = fopen(path, "re");
	if (f) {
		(void)!fread(magic, 1, sizeof magic, f);
		fclose(f);
	}
	if (memcmp(magic, "TZif", sizeof magic) != 0) {
		snprintf(why, PX_ZONE_WHY,
		         "remind_zone: there is no zone %.100s in " ZONEINFO
		         "; give a name such as Europe/Berlin, and install tzdata",
		         name);
		return -ENOENT;
	}
	if (setenv("TZ", name, 1) < 0)
		return -errno;
	tzset();
	return 0;
}

int32_t px_zone_offset_s(struct px_wall w)
{
	const time_t t = (time_t)(w.ms / 1000);
	struct tm tm;

	return localtime_r(&t, &tm) ? (int32_t)tm.tm_gmtoff : 0;
}
