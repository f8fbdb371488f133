/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "document.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <libxml/parser.h>
#include <libxml/tree.h>

#define NS_PIDF "urn:ietf:params:xml:ns:pidf"
#define NS_DM "urn:ietf:params:xml:ns:pidf:data-model"
#define NS_RPID "urn:ietf:params:xml:ns:pidf:rpid"

/* How many ids are compared with one another; a document with more is a fault by itself. */
#define MAX_IDS 256

/* RFC 4480 §3.2. The ones not listed here say neither: they are shown and change nothing. */
static const char *const busy_activities[] = {"busy", "on-the-phone", "meeting", "appointment",
                                              "presentation"};
static const char *const away_activities[] = {
    "away", "breakfast",         "dinner",   "holiday", "in-transit",
    "meal", "permanent-absence", "sleeping", "travel",  "vacation"};

/* What has been seen so far of one set of tuples and persons. */
struct tally {
	bool open, closed, busy, away;
	int64_t busy_until_s, away_until_s;
};

struct reading {
	struct pw_document *doc;
	struct pw_faults *faults;
	struct tally all, calendar;
	const xmlChar *ids[MAX_IDS];
	unsigned n_ids;
};

void pw_fault(struct pw_faults *f, const char *format, ...)
{
	size_t used = strlen(f->text);
	va_list args;

	f->count++;
	if (used > 0 && used + 3 < sizeof f->text) {
		strcpy(f->text + used, "; ");
		used += 2;
	}
	va_start(args, format);
	vsnprintf(f->text + used, sizeof f->text - used, format, args);
	va_end(args);
}

const char *pw_status_name(enum pw_status s)
{
	static const char *const name[] = {"unknown", "offline", "available", "away", "busy"};

	return name[s];
}

const char *pw_basic_name(enum pw_basic b)
{
	static const char *const name[] = {NULL, "closed", "open"};

	return name[b];
}

bool pw_aor(const char *uri, char *aor, size_t size)
{
	const char *from = strchr(uri, '<');
	const char *at;
	size_t user, host, i;

	from = from ? from + 1 : uri;
	for (i = 0; i < 3; i++) {
		static const char *const scheme[] = {"sip:", "sips:", "pres:"};
		if (strncasecmp(from, scheme[i], strlen(scheme[i])) == 0) {
			from += strlen(scheme[i]);
			break;
		}
	}
	at = strchr(from, '@');
	if (!at || at == from)
		return false;
	user = strcspn(from, ";:@ \t\r\n<>\"");
	host = at[1] == '[' ? strcspn(at + 1, "]") + 1 : strcspn(at + 1, ";:>?/ \t\r\n");
	if (from + user != at || host == 0 || user + 1 + host >= size)
		return false;
	if (at[1] == '[' && at[host] != ']')
		return false;
	memcpy(aor, from, user + 1 + host);
	aor[user + 1 + host] = '\0';
	for (i = 0; aor[i]; i++) {
		if (iscntrl((unsigned char)aor[i]))
			return false;
		if (i > user)
			aor[i] = (char)tolower((unsigned char)aor[i]);
	}
	return true;
}

bool pw_time_read(const char *text, int64_t *seconds)
{
	struct tm tm = {0};
	int used = 0, zone_h = 0, zone_m = 0;
	const char *p = text;

	if (sscanf(p, "%4d-%2d-%2dT%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon, &tm.tm_mday,
	           &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) != 6 ||
	    used != 19)
		return false;
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
	    tm.tm_mday > 31 || tm.tm_hour > 24 || tm.tm_hour < 0 || tm.tm_min < 0 ||
	    tm.tm_min > 59 || tm.tm_sec < 0 || tm.tm_sec > 60)
		return false;
	p += used;
	if (*p == '.')
		p += 1 + strspn(p + 1, "0123456789");
	if (strcmp(p, "Z") != 0) {
		if ((*p != '+' && *p != '-') ||
		    sscanf(p + 1, "%2d:%2d%n", &zone_h, &zone_m, &used) != 2 || used != 5 ||
		    p[6] != '\0' || zone_h < 0 || zone_h > 14 || zone_m < 0 || zone_m > 59)
			return false;
		if (*p == '-') {
			zone_h = -zone_h;
			zone_m = -zone_m;
		}
	}
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	*seconds = (int64_t)timegm(&tm) - zone_h * 3600 - zone_m * 60;
	return true;
}

static bool is(const xmlNode *node, const char *ns, const char *name)
{
	return node->type == XML_ELEMENT_NODE && node->ns &&
	       strcmp((const char *)node->ns->href, ns) == 0 &&
	       strcmp((const char *)node->name, name) == 0;
}

/* The value of an attribute without a namespace, as a pointer into the tree; NULL when absent. */
static const xmlChar *attribute(const xmlNode *node, const char *name)
{
	for (const xmlAttr *a = node->properties; a; a = a->next)
		if (!a->ns && strcmp((const char *)a->name, name) == 0)
			return a->children && !a->children->next ? a->children->content : NULL;
	return NULL;
}

static bool named(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

/* Ids are xs:ID: one namespace for the whole document. */
static const char *check_id(struct reading *r, const xmlNode *node)
{
	const xmlChar *id = attribute(node, "id");

	if (!id || !*id) {
		pw_fault(r->faults, "%s without an id", node->name);
		return "";
	}
	for (unsigned i = 0; i < r->n_ids; i++)
		if (xmlStrEqual(r->ids[i], id))
			pw_fault(r->faults, "id %.40s twice", id);
	if (r->n_ids == MAX_IDS)
		pw_fault(r->faults, "more than %d ids", MAX_IDS);
	else
		r->ids[r->n_ids++] = id;
	return (const char *)id;
}

static void read_basic(struct reading *r, const xmlNode *basic, bool calendar)
{
	const xmlNode *text = basic->children;
	const char *value =
	    text && !text->next && text->type == XML_TEXT_NODE ? (const char *)text->content : "";
	bool open = strcmp(value, "open") == 0;

	if (!open && strcmp(value, "closed") != 0) {
		pw_fault(r->faults, "basic is \"%.20s\", neither open nor closed", value);
		return;
	}
	*(open ? &r->all.open : &r->all.closed) = true;
	if (calendar)
		*(open ? &r->calendar.open : &r->calendar.closed) = true;
}

static void read_tuple(struct reading *r, const xmlNode *tuple)
{
	const char *id = check_id(r, tuple);
	bool calendar = strncmp(id, "cal-", 4) == 0;
	const xmlNode *status = tuple->children, *basic;

	r->doc->tuples++;
	r->doc->has_calendar |= calendar;
	while (status && !is(status, NS_PIDF, "status"))
		status = status->next;
	if (!status) {
		pw_fault(r->faults, "tuple %.40s without a status", id);
		return;
	}
	for (basic = status->children; basic; basic = basic->next)
		if (is(basic, NS_PIDF, "basic"))
			read_basic(r, basic, calendar);
}

static void add_activity(struct pw_document *doc, const char *name)
{
	char *list = doc->activities;
	size_t used = strlen(list), length = strlen(name);

	for (const char *p = list; (p = strstr(p, name)) != NULL; p += length)
		if ((p == list || p[-1] == ',') && (p[length] == ',' || p[length] == '\0'))
			return;
	if (used + 1 + length >= sizeof doc->activities)
		return;
	snprintf(list + used, sizeof doc->activities - used, "%s%s", used ? "," : "", name);
}

static void later(int64_t *until_s, int64_t candidate_s)
{
	if (candidate_s > *until_s)
		*until_s = candidate_s;
}

static void read_activities(struct reading *r, const xmlNode *activities, bool calendar)
{
	const xmlChar *until = attribute(activities, "until");
	struct tally *tallies[] = {&r->all, calendar ? &r->calendar : NULL};
	int64_t until_s = 0;

	if (until && !pw_time_read((const char *)until, &until_s))
		pw_fault(r->faults, "until is \"%.40s\", no time", until);
	for (const xmlNode *a = activities->children; a; a = a->next) {
		const char *name = (const char *)a->name;
		bool busy, away;

		if (a->type != XML_ELEMENT_NODE || strcmp(name, "note") == 0)
			continue;
		add_activity(r->doc, name);
		busy =
		    named(name, busy_activities, sizeof busy_activities / sizeof *busy_activities);
		away =
		    named(name, away_activities, sizeof away_activities / sizeof *away_activities);
		for (int i = 0; i < 2 && tallies[i]; i++) {
			tallies[i]->busy |= busy;
			tallies[i]->away |= away;
			if (busy)
				later(&tallies[i]->busy_until_s, until_s);
			if (away)
				later(&tallies[i]->away_until_s, until_s);
		}
	}
}

static void read_person(struct reading *r, const xmlNode *person)
{
	bool calendar = strncmp(check_id(r, person), "calp-", 5) == 0;

	r->doc->persons++;
	r->doc->has_calendar |= calendar;
	for (const xmlNode *a = person->children; a; a = a->next)
		if (is(a, NS_RPID, "activities"))
			read_activities(r, a, calendar);
}

static struct pw_view view_of(const struct tally *t)
{
	struct pw_view v = {.status = PW_UNKNOWN,
	                    .basic = t->open     ? PW_BASIC_OPEN
	                             : t->closed ? PW_BASIC_CLOSED
	                                         : PW_BASIC_NONE};

	if (v.basic == PW_BASIC_CLOSED) {
		v.status = PW_OFFLINE;
	} else if (t->busy) {
		v.status = PW_BUSY;
		v.until_s = t->busy_until_s;
	} else if (t->away) {
		v.status = PW_AWAY;
		v.until_s = t->away_until_s;
	} else if (v.basic == PW_BASIC_OPEN) {
		v.status = PW_AVAILABLE;
	}
	return v;
}

static void read_root(struct reading *r, const xmlNode *root, const char *aor)
{
	const xmlChar *entity = attribute(root, "entity");
	char entity_aor[256];

	if (!entity)
		pw_fault(r->faults, "presence without an entity");
	else if (!pw_aor((const char *)entity, entity_aor, sizeof entity_aor) ||
	         strcmp(entity_aor, aor) != 0)
		pw_fault(r->faults, "entity is %.60s, not %.60s", entity, aor);
	for (const xmlNode *n = root->children; n; n = n->next) {
		if (n->type != XML_ELEMENT_NODE)
			continue;
		if (!n->ns)
			pw_fault(r->faults, "%.20s without a namespace", n->name);
		else if (is(n, NS_PIDF, "tuple"))
			read_tuple(r, n);
		else if (is(n, NS_DM, "person"))
			read_person(r, n);
		else if (is(n, NS_DM, "device"))
			check_id(r, n);
	}
}

bool pw_document_read(const char *body, size_t length, const char *aor, struct pw_document *doc,
                      struct pw_faults *f)
{
	struct pw_document read = {0};
	struct reading r = {.doc = &read, .faults = f};
	xmlDoc *xml;
	bool good = false;

	if (length > PW_DOCUMENT_MAX) {
		pw_fault(f, "a body of %zu bytes", length);
		return false;
	}
	xml = xmlReadMemory(body, (int)length, NULL, NULL,
	                    XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (!xml) {
		pw_fault(f, "not well-formed XML");
		return false;
	}
	if (xml->intSubset) {
		pw_fault(f, "a DOCTYPE");
	} else if (!is(xmlDocGetRootElement(xml), NS_PIDF, "presence")) {
		pw_fault(f, "the root is %.40s, not a PIDF presence",
		         xmlDocGetRootElement(xml)->name);
	} else {
		read_root(&r, xmlDocGetRootElement(xml), aor);
		read.all = view_of(&r.all);
		if (read.tuples == 0 && read.all.status == PW_UNKNOWN)
			read.all.status = PW_OFFLINE; /* as every watcher has it */
		read.calendar = view_of(&r.calendar);
		*doc = read;
		good = true;
	}
	xmlFreeDoc(xml);
	return good;
}
