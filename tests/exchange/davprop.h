/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * davprop.h - what the Exchange store shows over WebDAV: resources, their paths and their properties.
 *
 * A resource is a mailbox's root, one of its default folders, or an appointment in the calendar: a single one,
 * the master of a series, an instance or an exception of it. No I/O, no clock.
 */
#ifndef EXCHANGE_DAVPROP_H
#define EXCHANGE_DAVPROP_H

#include "buf.h"
#include "store.h"

#define NS_DAV "DAV:"
#define NS_HTTPMAIL "urn:schemas:httpmail:"
#define NS_CALENDAR "urn:schemas:calendar:"
#define NS_EXCHANGE "http://schemas.microsoft.com/exchange/"
#define NS_SUBSCRIPTION                                                                            \
	"http://schemas.microsoft.com/Exchange/" /* of subscriptionID; the case matters */
#define NS_DATATYPES "urn:uuid:c2f41010-65b3-11d1-a29f-00aa00c14882/"

#define FLAT_URL_SPACE "-FlatUrlSpace-" /* where permanent URLs lead */

enum folder {
	FOLDER_ROOT,
	FOLDER_INBOX,
	FOLDER_DELETED,
	FOLDER_SENT,
	FOLDER_DRAFTS,
	FOLDER_OUTBOX,
	FOLDER_CALENDAR,
	FOLDER_CONTACTS,
	FOLDER_TASKS,
	FOLDER_JOURNAL,
	FOLDER_NOTES,
	FOLDER_COUNT
};

enum language { LANGUAGE_EN, LANGUAGE_DE, LANGUAGE_FR, LANGUAGE_JA, LANGUAGE_COUNT };
bool language_parse(const char *text, enum language *l); /* "en", "de", "fr", "ja" */
const char *folder_name(enum folder f, enum language l); /* UTF-8; "" for the root */

/* urn:schemas:calendar:instancetype (MS-XWDCAL 2.2) */
enum instance { INSTANCE_SINGLE, INSTANCE_MASTER, INSTANCE_OCCURRENCE, INSTANCE_EXCEPTION };

struct resource {
	struct mailbox *mailbox;
	enum folder folder;
	bool item;              /* an appointment in the calendar */
	struct occurrence what; /* of an item; its meeting is lent by the store */
	enum instance instance;
};

/* How paths and URLs in answers begin. */
struct davbase {
	struct store *store;
	const char *origin; /* "https://owa.example.test" */
	const char *named;  /* the mailbox as the client named it: its alias or its address */
	enum language language;
};

/* Appends the URL of a resource, percent-encoded; folders end with a slash if so asked. */
void davprop_href(struct buf *b, const struct davbase *base, const struct resource *r, bool slash);
/* Appends s as a segment of a path. */
void davprop_encode(struct buf *b, const char *s);

/*
 * The parts of a decoded path below /exchange/: the mailbox's name, the folder's and the item's, in own memory
 * (free), NULL where there is none. False: not below /exchange/, or too deep.
 */
struct davpath {
	char *mailbox, *folder, *item;
};
bool davpath_split(const char *path, struct davpath *p);
void davpath_free(struct davpath *p);
/* The mailbox of an alias or an address; NULL: there is none. */
struct mailbox *davpath_mailbox(struct store *s, const char *name);
/* Finds what folder and item name; mailbox stands in r. False: there is no such thing. */
bool davpath_find(struct store *s, const struct davpath *p, enum language l, struct resource *r);

enum value_type { VALUE_NONE, VALUE_TEXT, VALUE_INT, VALUE_BOOL, VALUE_TIME, VALUE_COLLECTION };
struct value {
	enum value_type type;
	int64_t n;       /* of VALUE_INT, VALUE_BOOL, and VALUE_TIME (seconds since 1970) */
	struct buf text; /* of VALUE_TEXT; the caller frees it */
};

/* The type of a property by its whole name ("urn:schemas:calendar:dtstart"); VALUE_NONE: unknown. */
enum value_type davprop_type(const char *name);
/* The value a resource has for it; false: it has none. */
bool davprop_get(const struct davbase *base, const struct resource *r, const char *name,
                 struct value *v);
/* All known names, ended by NULL. */
const char *const *davprop_names(void);
/* Where the local part of a whole name begins; 0: it can't be written as an XML name. */
size_t davprop_local(const char *name);

/* "2026/11/23 09:00:00" and xs:dateTime, UTC where no zone is written. False: not a time. */
bool davprop_time(const char *text, int64_t *t);

#endif
