/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * version.h - the versions of Exchange that a client may ask for (t:RequestServerVersion) and that
 * the simulator may be (--version), oldest first.
 */
#ifndef EXCHANGE_VERSION_H
#define EXCHANGE_VERSION_H

#include <stdbool.h>

#include "buf.h"

enum version {
	V2007,
	V2007_SP1,
	V2010,
	V2010_SP1,
	V2010_SP2,
	V2013,
	V2013_SP1,
	V2015,
	V2016,
	VERSIONS
};

/* "Exchange2010_SP2"; of a server also without "Exchange". False: no such version. */
bool version_parse(const char *text, enum version *v);
const char *version_name(enum version v);
/* The attributes of ServerVersionInfo, with a space before each. */
void version_info(struct buf *b, enum version v);

#endif
