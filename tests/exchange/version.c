/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "version.h"

#include <string.h>

static const struct {
	const char *name, *info;
} table[VERSIONS] = {
    {"Exchange2007", "8 0 685 24 Exchange2007"},
    {"Exchange2007_SP1", "8 3 83 0 Exchange2007_SP1"},
    {"Exchange2010", "14 0 639 21 Exchange2010"},
    {"Exchange2010_SP1", "14 1 218 15 Exchange2010_SP1"},
    {"Exchange2010_SP2", "14 3 123 3 Exchange2010_SP2"},
    {"Exchange2013", "15 0 516 32 Exchange2013"},
    {"Exchange2013_SP1", "15 0 847 32 V2_8"},
    {"Exchange2015", "15 1 225 42 V2_48"},
    {"Exchange2016", "15 1 2507 6 V2017_07_11"},
};

bool version_parse(const char *text, enum version *v)
{
	for (int i = 0; i < VERSIONS; i++)
		if (strcmp(text, table[i].name) == 0 ||
		    strcmp(text, table[i].name + strlen("Exchange")) == 0) {
			*v = (enum version)i;
			return true;
		}
	return false;
}

const char *version_name(enum version v)
{
	return table[v].name;
}

void version_info(struct buf *b, enum version v)
{
	static const char *const name[] = {"MajorVersion", "MinorVersion", "MajorBuildNumber",
	                                   "MinorBuildNumber", "Version"};
	const char *p = table[v].info;

	for (int i = 0; i < 5; i++) {
		size_t n = strcspn(p, " ");

		buf_fmt(b, " %s=\"%.*s\"", name[i], (int)n, p);
		p += n + (p[n] == ' ');
	}
}
