/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a WebDAV answer means for us: HTTP status and status inside a 207 in one table, since Exchange says the same either
 * way. A row for one ask goes before the row for all.
 */
#include <stdio.h>
#include <string.h>

#include "backend/webdav.h"

#define RECEIVE_AS "the account has no right on this mailbox: grant Receive As on its store"
#define NO_DAV                                                                                     \
	"no WebDAV at this URL: Exchange 2010 or later (give type=ews), or a filter (URLScan, "    \
	"ISA) "                                                                                    \
	"keeps its methods back"
#define NO_MAILBOX "no such mailbox at this front end"
#define ELSEWHERE "the mailbox is at another server than this front end speaks for"
#define MOVED "the folder isn't there any more"

const struct px_meaning px_webdav_table[] = {
    {"Exchange 2010", PX_V_SERVER, "this server has no WebDAV any more: give type=ews"},
    {"HTTP 301", PX_V_SERVER, "it sends us elsewhere; name the front end itself"},
    {"HTTP 302", PX_V_SERVER,
     "it sends us elsewhere: to a logon page (forms-based authentication needs auth=auto), or "
     "away"},
    {"HTTP 400", PX_V_TRANSIENT, NULL},
    {"HTTP 400 poll", PX_V_LOST, NULL},
    {"HTTP 400 renew", PX_V_LOST, NULL},
    {"HTTP 400 subscribe", PX_V_LOST, NULL},
    {"HTTP 401", PX_V_DENIED,
     "login refused: check account, password and the login methods of /exchange"},
    {"HTTP 403", PX_V_USER, RECEIVE_AS},
    {"HTTP 403 read-one", PX_V_UNREADABLE, RECEIVE_AS},
    {"HTTP 404", PX_V_LOST, MOVED},
    {"HTTP 404 locate", PX_V_USER, NO_MAILBOX},
    {"HTTP 404 probe", PX_V_USER, NO_MAILBOX},
    {"HTTP 404 read", PX_V_USER, "no free/busy was published"},
    {"HTTP 405", PX_V_SERVER, NO_DAV},
    {"HTTP 410", PX_V_LOST, MOVED},
    {"HTTP 412", PX_V_LOST, NULL},
    {"HTTP 429", PX_V_BUSY, NULL},
    {"HTTP 440", PX_V_SERVER, "the logon form isn't filled in; auth=auto does it"},
    {"HTTP 501", PX_V_SERVER, NO_DAV},
    {"HTTP 503", PX_V_BUSY, NULL},
    {"bad subscription id", PX_V_LOST, "none, not printable or too long"},
    {"broken XML", PX_V_TRANSIENT, NULL},
    {"broken answer", PX_V_TRANSIENT, NULL},
    {"connect", PX_V_SERVER, NULL},
    {"cut", PX_V_TRANSIENT, NULL},
    {"elsewhere", PX_V_USER, ELSEWHERE},
    {"elsewhere read-one", PX_V_UNREADABLE, ELSEWHERE},
    {"local", PX_V_TRANSIENT, NULL},
    {"no calendar", PX_V_USER, "the mailbox has no calendar; its owner must have logged in once"},
    {"no free/busy", PX_V_USER, "no free/busy was published"},
    {"not WebDAV", PX_V_SERVER, NULL},
    {"resolve", PX_V_SERVER, NULL},
    {"timeout", PX_V_SERVER, NULL},
    {"tls", PX_V_SERVER, NULL},
    {"too big", PX_V_TRANSIENT, NULL},
};
const size_t px_webdav_rows = sizeof px_webdav_table / sizeof *px_webdav_table;

const struct px_meaning *px_webdav_meaning(enum px_ask ask, int status)
{
	const struct px_meaning *row;
	char code[PX_CODE_MAX];

	snprintf(code, sizeof code, "HTTP %d %s", status, px_ask_name(ask));
	row = px_meaning_of(px_webdav_table, px_webdav_rows, code);
	if (row)
		return row;
	snprintf(code, sizeof code, "HTTP %d", status);
	return px_meaning_of(px_webdav_table, px_webdav_rows, code);
}

enum px_fault px_webdav_fault(const char *code, enum px_verdict v)
{
	static const struct {
		const char *code;
		enum px_fault fault;
	} table[] = {{"HTTP 403", PX_FAULT_USER_RIGHTS},  {"HTTP 440", PX_FAULT_LOGIN},
	             {"HTTP 410", PX_FAULT_CALENDAR},     {"no calendar", PX_FAULT_CALENDAR},
	             {"no free/busy", PX_FAULT_CALENDAR}, {"HTTP 412", PX_FAULT_PASSING}};

	/* some front ends say so of a mailbox, too: then the login isn't in question */
	if (strcmp(code, "HTTP 401") == 0)
		return v == PX_V_DENIED ? PX_FAULT_LOGIN : PX_FAULT_USER_RIGHTS;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(code, table[i].code) == 0)
			return table[i].fault;
	return PX_FAULT_NONE;
}
