/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "davprop.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "when.h"

#define NS_PROPTAG "http://schemas.microsoft.com/mapi/proptag/"

/* --- folders --- */
static const char *const folder_names[LANGUAGE_COUNT][FOLDER_COUNT] = {
    [LANGUAGE_EN] = {"", "Inbox", "Deleted Items", "Sent Items", "Drafts", "Outbox", "Calendar",
                     "Contacts", "Tasks", "Journal", "Notes"},
    [LANGUAGE_DE] = {"", "Posteingang", "Gel\xc3\xb6schte Objekte", "Gesendete Objekte",
                     "Entw\xc3\xbcrfe", "Postausgang", "Kalender", "Kontakte", "Aufgaben",
                     "Journal", "Notizen"},
    [LANGUAGE_FR] = {"",
                     "Bo\xc3\xaete de r\xc3\xa9"
                     "ception",
                     "\xc3\x89l\xc3\xa9ments supprim\xc3\xa9s",
                     "\xc3\x89l\xc3\xa9ments envoy\xc3\xa9s", "Brouillons", "Bo\xc3\xaete d'envoi",
                     "Calendrier", "Contacts",
                     "T\xc3\xa2"
                     "ches",
                     "Journal", "Notes"},
    [LANGUAGE_JA] = {"", "\xe5\x8f\x97\xe4\xbf\xa1\xe3\x83\x88\xe3\x83\xac\xe3\x82\xa4",
                     "\xe5\x89\x8a\xe9\x99\xa4\xe6\xb8\x88\xe3\x81\xbf\xe3\x82\xa2\xe3\x82\xa4\xe3"
                     "\x83\x86\xe3\x83\xa0",
                     "\xe9\x80\x81\xe4\xbf\xa1\xe6\xb8\x88\xe3\x81\xbf\xe3\x82\xa2\xe3\x82\xa4\xe3"
                     "\x83\x86\xe3\x83\xa0",
                     "\xe4\xb8\x8b\xe6\x9b\xb8\xe3\x81\x8d",
                     "\xe9\x80\x81\xe4\xbf\xa1\xe3\x83\x88\xe3\x83\xac\xe3\x82\xa4",
                     "\xe4\xba\x88\xe5\xae\x9a\xe8\xa1\xa8", "\xe9\x80\xa3\xe7\xb5\xa1\xe5\x85\x88",
                     "\xe4\xbb\x95\xe4\xba\x8b", "\xe5\xb1\xa5\xe6\xad\xb4",
                     "\xe3\x83\xa1\xe3\x83\xa2"},
};

/* What a folder holds: the content class of the folder itself, and Outlook's name for it. */
static const struct {
	const char *content, *outlook;
	const char *property; /* of the root, that leads to it */
} folder_kinds[FOLDER_COUNT] = {
    [FOLDER_ROOT] = {"urn:content-classes:mailfolder", "IPF.Note", NULL},
    [FOLDER_INBOX] = {"urn:content-classes:mailfolder", "IPF.Note", NS_HTTPMAIL "inbox"},
    [FOLDER_DELETED] = {"urn:content-classes:mailfolder", "IPF.Note", NS_HTTPMAIL "deleteditems"},
    [FOLDER_SENT] = {"urn:content-classes:mailfolder", "IPF.Note", NS_HTTPMAIL "sentitems"},
    [FOLDER_DRAFTS] = {"urn:content-classes:mailfolder", "IPF.Note", NS_HTTPMAIL "drafts"},
    [FOLDER_OUTBOX] = {"urn:content-classes:mailfolder", "IPF.Note", NS_HTTPMAIL "outbox"},
    [FOLDER_CALENDAR] = {"urn:content-classes:calendarfolder", "IPF.Appointment",
                         NS_HTTPMAIL "calendar"},
    [FOLDER_CONTACTS] = {"urn:content-classes:contactfolder", "IPF.Contact",
                         NS_HTTPMAIL "contacts"},
    [FOLDER_TASKS] = {"urn:content-classes:taskfolder", "IPF.Task", NS_HTTPMAIL "tasks"},
    [FOLDER_JOURNAL] = {"urn:content-classes:journalfolder", "IPF.Journal", NS_HTTPMAIL "journal"},
    [FOLDER_NOTES] = {"urn:content-classes:notefolder", "IPF.StickyNote", NS_HTTPMAIL "notes"},
};

bool language_parse(const char *text, enum language *l)
{
	static const char *const names[LANGUAGE_COUNT] = {"en", "de", "fr", "ja"};

	for (int i = 0; i < LANGUAGE_COUNT; i++)
		if (strcmp(names[i], text) == 0) {
			*l = (enum language)i;
			return true;
		}
	return false;
}

const char *folder_name(enum folder f, enum language l)
{
	return folder_names[l][f];
}

/* --- paths --- */
void davprop_encode(struct buf *b, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c < 0x80 && (isalnum(c) || strchr("-._~@!$'()*+,;=:", c)))
			buf_add(b, s, 1);
		else
			buf_fmt(b, "%%%02X", c);
	}
}

/* "Review-12.EML"; occurrences of a series are below their master's name, as "Review-12-3.EML" */
static void item_name(struct buf *b, const struct resource *r)
{
	const struct meeting *m = r->what.meeting;
	char subject[MEETING_SUBJECT];
	size_t n = 0;

	/* what a path can't hold isn't in a name either; the number keeps names apart */
	for (const char *p = m->subject; *p; p++)
		if (!strchr("/\\?#%\"<>|*:&", *p))
			subject[n++] = *p;
	subject[n] = '\0';
	buf_fmt(b, "%s-%u", n ? subject : "Appointment", m->ordinal);
	if (r->instance == INSTANCE_OCCURRENCE || r->instance == INSTANCE_EXCEPTION)
		buf_fmt(b, "-%u", r->what.index);
	buf_str(b, ".EML");
}

void davprop_href(struct buf *b, const struct davbase *base, const struct resource *r, bool slash)
{
	struct buf name = {0};

	buf_fmt(b, "%s/exchange/", base->origin);
	davprop_encode(b, base->named);
	buf_str(b, "/");
	if (r->folder == FOLDER_ROOT)
		return;
	davprop_encode(b, folder_name(r->folder, base->language));
	if (r->item) {
		item_name(&name, r);
		buf_str(b, "/");
		davprop_encode(b, name.p);
		buf_free(&name);
	} else if (slash) {
		buf_str(b, "/");
	}
}

bool davpath_split(const char *path, struct davpath *p)
{
	char *parts[4], *copy, *save = NULL;
	int n = 0;

	*p = (struct davpath){NULL, NULL, NULL};
	if (strncasecmp(path, "/exchange", 9) != 0 || (path[9] && path[9] != '/'))
		return false;
	copy = xstrdup(path + 9);
	for (char *s = strtok_r(copy, "/", &save); s && n < 4; s = strtok_r(NULL, "/", &save))
		parts[n++] = s;
	if (n > 0)
		p->mailbox = xstrdup(parts[0]);
	if (n > 1)
		p->folder = xstrdup(parts[1]);
	if (n > 2)
		p->item = xstrdup(parts[2]);
	free(copy);
	if (n < 4)
		return true;
	davpath_free(p);
	return false;
}

void davpath_free(struct davpath *p)
{
	free(p->mailbox);
	free(p->folder);
	free(p->item);
	*p = (struct davpath){NULL, NULL, NULL};
}

struct mailbox *davpath_mailbox(struct store *s, const char *name)
{
	char address[STORE_ADDRESS];

	if (strchr(name, '@'))
		return store_find(s, name);
	snprintf(address, sizeof address, "%s@%s", name, store_domain(s));
	return store_find(s, address);
}

/* The numbers at the end of an item's name: what stands before .EML */
static bool item_numbers(const char *name, uint32_t *ordinal, long *index)
{
	size_t n = strlen(name);
	const char *at;
	unsigned a, b;
	int end = 0;

	*index = -1;
	if (n < 5 || strcasecmp(name + n - 4, ".EML") != 0)
		return false;
	for (at = name + n - 4; at > name && (isdigit((unsigned char)at[-1]) || at[-1] == '-');
	     at--)
		;
	for (; *at; at++) { /* a subject may end with digits: the shortest that fits is ours */
		if (*at != '-')
			continue;
		if (sscanf(at, "-%9u-%9u.%n", &a, &b, &end) == 2 && end == (int)strlen(at) - 3) {
			*ordinal = a;
			*index = (long)b;
			return true;
		}
		if (sscanf(at, "-%9u.%n", &a, &end) == 1 && end == (int)strlen(at) - 3) {
			*ordinal = a;
			return true;
		}
	}
	return false;
}

static bool same_name(const struct resource *r, const char *name)
{
	struct buf own = {0};
	bool same;

	item_name(&own, r);
	same = strcasecmp(own.p, name) == 0;
	buf_free(&own);
	return same;
}

/* An appointment by its number, and if it is one of a series (index >= 0) by which; false: there is none. */
static bool find_numbered(struct store *s, uint32_t ordinal, long index, struct resource *r)
{
	const struct occurrence *occ;
	const struct meeting *m;
	int64_t period;
	size_t n;

	m = store_meetings(s, r->mailbox, &n);
	while (n && m->ordinal != ordinal) {
		m++;
		n--;
	}
	if (!n)
		return false;
	period = meeting_period(m);
	r->item = true;
	if (index < 0) {
		r->instance = period ? INSTANCE_MASTER : INSTANCE_SINGLE;
		r->what = (struct occurrence){
		    .meeting = m, .status = m->status, .start = m->start, .end = m->end};
		return true;
	}
	if (!period)
		return false;
	/* exceptions may lie anywhere; the expansion knows them all */
	occ = store_expand(s, r->mailbox, m->start - 10 * WHEN_DAY,
	                   m->start + (index + 10) * period + 366 * WHEN_DAY, &n);
	for (size_t i = 0; i < n; i++)
		if (occ[i].meeting->ordinal == ordinal && occ[i].index == (uint32_t)index) {
			r->what = occ[i];
			r->instance = occ[i].exception ? INSTANCE_EXCEPTION : INSTANCE_OCCURRENCE;
			return true;
		}
	return false;
}

/* By its permanent URL: what identity() wrote. */
static bool find_permanent(struct store *s, const char *id, struct resource *r)
{
	unsigned mailbox, folder, item, index = 0;
	int end = 0;

	if (sscanf(id, "%8x%2x%8x%n", &mailbox, &folder, &item, &end) != 3 || end != 18 ||
	    mailbox != r->mailbox->index + 1 || folder >= FOLDER_COUNT)
		return false;
	if (id[end] && (sscanf(id + end, "%6x", &index) != 1 || strlen(id) != 24))
		return false;
	r->folder = (enum folder)folder;
	return !item || find_numbered(s, item - 1, (long)index - 1, r);
}

bool davpath_find(struct store *s, const struct davpath *p, enum language l, struct resource *r)
{
	uint32_t ordinal;
	long index;

	r->folder = FOLDER_ROOT;
	r->item = false;
	if (!p->folder)
		return true;
	if (p->item && strcasecmp(p->folder, FLAT_URL_SPACE) == 0)
		return find_permanent(s, p->item, r);
	for (int f = FOLDER_ROOT + 1; f < FOLDER_COUNT; f++)
		if (strcasecmp(folder_name((enum folder)f, l), p->folder) == 0)
			r->folder = (enum folder)f;
	if (r->folder == FOLDER_ROOT)
		return false;
	if (!p->item)
		return true;
	return r->folder == FOLDER_CALENDAR && item_numbers(p->item, &ordinal, &index) &&
	       find_numbered(s, ordinal, index, r) && same_name(r, p->item);
}

/* --- properties --- */
enum where {
	ON_ROOT = 1,
	ON_FOLDER = 2,
	ON_ITEM = 4,
	ON_BOTH = ON_ROOT | ON_FOLDER,
	ON_ALL = ON_BOTH | ON_ITEM
};

static const struct {
	const char *name;
	enum value_type type;
	enum where where;
} props[] = {
    {NS_DAV "displayname", VALUE_TEXT, ON_ALL},
    {NS_DAV "href", VALUE_TEXT, ON_ALL},
    {NS_DAV "uid", VALUE_TEXT, ON_ALL},
    {NS_DAV "contentclass", VALUE_TEXT, ON_ALL},
    {NS_DAV "creationdate", VALUE_TIME, ON_ALL},
    {NS_DAV "getlastmodified", VALUE_TIME, ON_ALL},
    {NS_DAV "getetag", VALUE_TEXT, ON_ALL},
    {NS_DAV "getcontenttype", VALUE_TEXT, ON_ITEM},
    {NS_DAV "resourcetype", VALUE_COLLECTION, ON_ALL},
    {NS_DAV "iscollection", VALUE_BOOL, ON_ALL},
    {NS_DAV "isfolder", VALUE_BOOL, ON_ALL},
    {NS_DAV "ishidden", VALUE_BOOL, ON_ALL},
    {NS_DAV "isreadonly", VALUE_BOOL, ON_ALL},
    {NS_DAV "parentname", VALUE_TEXT, ON_ALL},
    {NS_DAV "hassubs", VALUE_BOOL, ON_BOTH},
    {NS_DAV "nosubs", VALUE_BOOL, ON_BOTH},
    {NS_DAV "childcount", VALUE_INT, ON_BOTH},
    {NS_DAV "objectcount", VALUE_INT, ON_BOTH},
    {NS_DAV "visiblecount", VALUE_INT, ON_BOTH},
    {NS_HTTPMAIL "inbox", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "deleteditems", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "sentitems", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "drafts", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "outbox", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "calendar", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "contacts", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "tasks", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "journal", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "notes", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "msgfolderroot", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "sendmsg", VALUE_TEXT, ON_ROOT},
    {NS_HTTPMAIL "unreadcount", VALUE_INT, ON_BOTH},
    {NS_HTTPMAIL "subject", VALUE_TEXT, ON_ITEM},
    {NS_HTTPMAIL "hasattachment", VALUE_BOOL, ON_ITEM},
    {"urn:schemas:mailheader:subject", VALUE_TEXT, ON_ITEM},
    {NS_CALENDAR "dtstart", VALUE_TIME, ON_ITEM},
    {NS_CALENDAR "dtend", VALUE_TIME, ON_ITEM},
    {NS_CALENDAR "duration", VALUE_INT, ON_ITEM},
    {NS_CALENDAR "busystatus", VALUE_TEXT, ON_ITEM},
    {NS_CALENDAR "instancetype", VALUE_INT, ON_ITEM},
    {NS_CALENDAR "alldayevent", VALUE_BOOL, ON_ITEM},
    {NS_CALENDAR "location", VALUE_TEXT, ON_ITEM},
    {NS_CALENDAR "uid", VALUE_TEXT, ON_ITEM},
    {NS_CALENDAR "recurrenceid", VALUE_TIME, ON_ITEM},
    {NS_CALENDAR "meetingstatus", VALUE_TEXT, ON_ITEM},
    {NS_CALENDAR "lastmodified", VALUE_TIME, ON_ITEM},
    {NS_EXCHANGE "sensitivity", VALUE_INT, ON_ITEM},
    {NS_EXCHANGE "permanenturl", VALUE_TEXT, ON_ALL},
    {NS_EXCHANGE "outlookfolderclass", VALUE_TEXT, ON_BOTH},
    {NS_EXCHANGE "outlookmessageclass", VALUE_TEXT, ON_ITEM},
    {"http://schemas.microsoft.com/repl/repl-uid", VALUE_TEXT, ON_ALL},
    {NS_PROPTAG "x10f3001f", VALUE_TEXT, ON_ITEM}, /* PR_URL_COMP_NAME */
    {NS_PROPTAG "x10f3001e", VALUE_TEXT, ON_ITEM},
    {NS_PROPTAG "x00360003", VALUE_INT, ON_ITEM}, /* PR_SENSITIVITY */
    {NS_PROPTAG "x0e230003", VALUE_INT, ON_ITEM}, /* PR_INTERNET_ARTICLE_NUMBER */
};
#define PROPS (sizeof props / sizeof *props)

enum value_type davprop_type(const char *name)
{
	for (size_t i = 0; i < PROPS; i++)
		if (strcmp(props[i].name, name) == 0)
			return props[i].type;
	return VALUE_NONE;
}

const char *const *davprop_names(void)
{
	static const char *names[PROPS + 1];

	for (size_t i = 0; i < PROPS; i++)
		names[i] = props[i].name;
	return names;
}

size_t davprop_local(const char *name)
{
	size_t n = strlen(name), at = n;

	while (at && !strchr(":/#", name[at - 1]))
		at--;
	if (!at || at == n || !(isalpha((unsigned char)name[at]) || name[at] == '_'))
		return 0;
	for (size_t i = at; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("_.-", name[i]))
			return 0;
	for (size_t i = 0; i < at; i++)
		if ((unsigned char)name[i] <= ' ' || strchr("\"<>", name[i]))
			return 0;
	return at;
}

/* A number that stays with a resource: the store's identity of a row. */
static void identity(struct buf *b, const struct resource *r)
{
	buf_fmt(b, "%08x%02x%08x", r->mailbox->index + 1, r->folder,
	        r->item ? r->what.meeting->ordinal + 1 : 0);
	if (r->instance == INSTANCE_OCCURRENCE || r->instance == INSTANCE_EXCEPTION)
		buf_fmt(b, "%06x", r->what.index + 1);
}

static size_t items_in(const struct davbase *base, const struct resource *r)
{
	size_t n = 0;

	if (r->folder == FOLDER_CALENDAR)
		store_meetings(base->store, r->mailbox, &n);
	return n;
}

static void display_name(struct buf *b, const struct davbase *base, const struct resource *r)
{
	char address[STORE_ADDRESS];
	const char *text = store_address(base->store, r->mailbox, address);

	if (r->item)
		item_name(b, r);
	else if (r->folder == FOLDER_ROOT)
		buf_add(b, text, strcspn(text, "@"));
	else
		buf_str(b, folder_name(r->folder, base->language));
}

static const char *busy_status(enum status s)
{
	/* 2003 and 2007 know no working elsewhere */
	return s == STATUS_BUSY        ? "BUSY"
	       : s == STATUS_TENTATIVE ? "TENTATIVE"
	       : s == STATUS_OOF       ? "OOF"
	                               : "FREE";
}

static void shared_text(struct buf *b, const struct davbase *base, const struct resource *r,
                        const char *name)
{
	struct resource other = {.mailbox = r->mailbox};

	if (strcmp(name, NS_DAV "displayname") == 0) {
		display_name(b, base, r);
	} else if (strcmp(name, NS_DAV "href") == 0) {
		davprop_href(b, base, r, true);
	} else if (strcmp(name, NS_DAV "parentname") == 0) {
		other.folder = r->item ? r->folder : FOLDER_ROOT;
		davprop_href(b, base, &other, true);
	} else if (strcmp(name, NS_DAV "contentclass") == 0) {
		buf_str(b, r->item ? "urn:content-classes:appointment"
		                   : folder_kinds[r->folder].content);
	} else if (strcmp(name, NS_DAV "getetag") == 0) {
		buf_str(b, "\"");
		identity(b, r);
		buf_fmt(b, "%08x\"", r->item ? r->what.meeting->change : 0);
	} else if (strcmp(name, NS_DAV "uid") == 0) {
		identity(b, r);
	} else if (strcmp(name, NS_EXCHANGE "permanenturl") == 0) {
		buf_fmt(b, "%s/exchange/", base->origin);
		davprop_encode(b, base->named);
		buf_str(b, "/" FLAT_URL_SPACE "/");
		identity(b, r);
	} else if (strcmp(name, NS_EXCHANGE "outlookfolderclass") == 0) {
		buf_str(b, folder_kinds[r->folder].outlook);
	} else if (strcmp(name, "http://schemas.microsoft.com/repl/repl-uid") == 0) {
		buf_str(b, "rid:");
		identity(b, r);
	} else if (strcmp(name, NS_HTTPMAIL "msgfolderroot") == 0) {
		davprop_href(b, base, &other, true);
	} else if (strcmp(name, NS_HTTPMAIL "sendmsg") == 0) {
		davprop_href(b, base, &other, true);
		buf_str(b, "%23%23DavMailSubmissionURI%23%23/");
	} else {
		for (int f = FOLDER_ROOT + 1; f < FOLDER_COUNT; f++)
			if (strcmp(folder_kinds[f].property, name) == 0) {
				other.folder = (enum folder)f;
				davprop_href(b, base, &other, false);
			}
	}
}

static void item_text(struct buf *b, const struct resource *r, const char *local)
{
	const struct meeting *m = r->what.meeting;

	if (strcmp(local, "subject") == 0)
		buf_str(b, m->subject);
	else if (strcmp(local, "location") == 0)
		buf_str(b, m->location);
	else if (strcmp(local, "busystatus") == 0)
		buf_str(b, busy_status(r->what.status));
	else if (strcmp(local, "meetingstatus") == 0)
		buf_str(b, "CONFIRMED");
	else if (strcmp(local, "outlookmessageclass") == 0)
		buf_str(b, r->instance == INSTANCE_EXCEPTION
		               ? "IPM.OLE.CLASS.{00061055-0000-0000-C000-000000000046}"
		               : "IPM.Appointment");
	else if (strncmp(local, "x10f3001", 8) == 0)
		item_name(b, r);
	else if (strcmp(local, "getcontenttype") == 0)
		buf_str(b, "message/rfc822");
	else /* uid, the same for all of a series: a clean global object id in hexadecimal */
		buf_fmt(b, "040000008200E00074C5B7101A82E008%08X%08X", m->mailbox, m->ordinal);
	if (!b->p)
		buf_str(b, "");
}

static int64_t number_of(const struct davbase *base, const struct resource *r, const char *local)
{
	const struct meeting *m = r->what.meeting;

	if (strcmp(local, "dtstart") == 0)
		return r->what.start;
	if (strcmp(local, "dtend") == 0)
		return r->what.end;
	if (strcmp(local, "recurrenceid") == 0)
		return m->start + r->what.index * meeting_period(m);
	if (strcmp(local, "duration") == 0)
		return r->what.end - r->what.start;
	if (strcmp(local, "instancetype") == 0)
		return r->instance;
	if (strcmp(local, "alldayevent") == 0)
		return m->all_day;
	if (strcmp(local, "x0e230003") == 0)
		return m->ordinal + 1;
	if (strcmp(local, "sensitivity") == 0 || strcmp(local, "x00360003") == 0)
		return m->secret ? 2 : 0;
	if (strcmp(local, "iscollection") == 0 || strcmp(local, "isfolder") == 0)
		return !r->item;
	if (strcmp(local, "hassubs") == 0)
		return r->folder == FOLDER_ROOT;
	if (strcmp(local, "childcount") == 0)
		return r->folder == FOLDER_ROOT ? FOLDER_COUNT - 1 : (int64_t)items_in(base, r);
	if (strcmp(local, "objectcount") == 0 || strcmp(local, "visiblecount") == 0)
		return (int64_t)items_in(base, r);
	if (strcmp(local, "creationdate") == 0)
		return m ? m->start - 7 * WHEN_DAY : 1041379200;
	if (strcmp(local, "getlastmodified") == 0 || strcmp(local, "lastmodified") == 0)
		return m ? m->start - 7 * WHEN_DAY + m->change : 1041379200;
	return 0; /* ishidden, isreadonly, nosubs, unreadcount, hasattachment */
}

bool davprop_get(const struct davbase *base, const struct resource *r, const char *name,
                 struct value *v)
{
	enum where here = r->item ? ON_ITEM : r->folder == FOLDER_ROOT ? ON_ROOT : ON_FOLDER;
	const char *local = name + davprop_local(name);
	size_t i = 0;

	*v = (struct value){.type = VALUE_NONE};
	while (i < PROPS && strcmp(props[i].name, name) != 0)
		i++;
	if (i == PROPS || !(props[i].where & here))
		return false;
	if (strcmp(local, "recurrenceid") == 0 && r->instance != INSTANCE_OCCURRENCE &&
	    r->instance != INSTANCE_EXCEPTION)
		return false;
	v->type = props[i].type;
	if (v->type == VALUE_COLLECTION)
		v->n = !r->item;
	else if (v->type != VALUE_TEXT)
		v->n = number_of(base, r, local);
	else if (props[i].where == ON_ITEM)
		item_text(&v->text, r, local);
	else
		shared_text(&v->text, base, r, name);
	return true;
}

bool davprop_time(const char *text, int64_t *t)
{
	int year, month, day, hour = 0, minute = 0, second = 0, end = 0;
	bool zoned;

	if (when_parse(text, t, &zoned))
		return true;
	if (sscanf(text, "%4d/%2d/%2d%n", &year, &month, &day, &end) != 3)
		return false;
	if (text[end] && (sscanf(text, "%4d/%2d/%2d %2d:%2d:%2d%n", &year, &month, &day, &hour,
	                         &minute, &second, &end) != 6 ||
	                  text[end]))
		return false;
	if (year < 1 || month < 1 || month > 12 || day < 1 || day > when_month_days(year, month) ||
	    hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59)
		return false;
	*t = when_from(year, month, day, hour, minute, second);
	return true;
}
