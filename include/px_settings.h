/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * px_settings.h - text -> settings, checked; and the users_file.
 *
 * The text has lines `name = value`. `#` begins a comment, at the start of a line or after a blank.
 * A value may stand in double quotes; within them \" is a quote and \\ a backslash. LF or CRLF,
 * UTF-8. Repeated settings (gateway, user, map, presence_server) repeat their name; any other may
 * be given once.
 *
 * Nothing here opens a file: what the text names is read by the function that the caller gives.
 */
#ifndef PX_SETTINGS_H
#define PX_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "px_key.h"

struct px_buf; /* core/buf.h */
struct px_map; /* core/availability.h */

enum px_compat { PX_COMPAT_BLINK = 1 << 0, PX_COMPAT_CISCO = 1 << 1 };
enum px_note { PX_NOTE_AVAILABLE, PX_NOTE_BUSY, PX_NOTE_AWAY, PX_NOTES };

#define PX_SETTINGS_LINE_MAX 4096 /* bytes of a line; a longer one is refused */
#define PX_SETTINGS_SAID_MAX                                                                       \
	50 /* complaints about one text; of the others only the number is told */
#define PX_PASSWORD_MAX 255
#define PX_GATEWAY_NAME_MAX 63
#define PX_WHY_MAX 256
#define PX_MODPARAM "modparam" /* unit of what a proxy gives: a line is one of its settings */

enum px_auth { PX_AUTH_AUTO, PX_AUTH_BASIC, PX_AUTH_NTLM, PX_AUTH_NEGOTIATE };
enum px_tls { PX_TLS_1_0, PX_TLS_1_1, PX_TLS_1_2, PX_TLS_1_3 };
enum px_subscription {
	PX_SUBSCRIPTION_AUTO,
	PX_SUBSCRIPTION_STREAMING,
	PX_SUBSCRIPTION_PUSH,
	PX_SUBSCRIPTION_PULL,
	PX_SUBSCRIPTION_NONE
};
enum px_on_stale { PX_STALE_WITHDRAW, PX_STALE_AVAILABLE };
enum px_publish_when { PX_PUBLISH_ALWAYS, PX_PUBLISH_UNAVAILABLE };
enum px_on_exit { PX_EXIT_KEEP, PX_EXIT_WITHDRAW };
/* log_level: enum px_log_level of core/engine.h */

enum px_gateway_type { PX_GATEWAY_EWS, PX_GATEWAY_WEBDAV };

struct px_gateway_config {
	char *url;  /* "https://cas1.example.com/EWS/Exchange.asmx": port only when it isn't 443 */
	char *host; /* lower case; IPv6 without its brackets */
	uint16_t port;
	enum px_gateway_type type;
	char name[PX_GATEWAY_NAME_MAX +
	          1];  /* unique whatever its case; host[:port if not 443] unless given */
	char *ca_file; /* this one's, else ca_file; NULL: the system's */
	enum px_tls tls_min;
	unsigned concurrency;
};

enum px_transport { PX_TRANSPORT_ANY, PX_TRANSPORT_UDP, PX_TRANSPORT_TCP, PX_TRANSPORT_TLS };

struct px_server_config {
	char *uri;     /* "sip:192.0.2.1:5060;transport=tcp", as given */
	char *host;    /* IPv6 without its brackets */
	uint16_t port; /* 0: none given */
	enum px_transport transport;
};

struct px_user_config {
	char *key;     /* px_key_from_aor() */
	char *mailbox; /* px_mailbox(); NULL: see px_users_read() */
	bool on;       /* false: known, but not followed */
	bool quiet;    /* no reminders, whatever remind_before says */
	unsigned line; /* on which it stands */
};

/* What holds a setting of each kind. char *: NULL when it isn't given; PATH and STRING as written,
 * the other texts checked. */
#define PX_FIELD_STRING(name) char *name;
#define PX_FIELD_PATH(name) char *name;
#define PX_FIELD_SECRET(name) char *name;
#define PX_FIELD_DOMAIN(name) char *name;
#define PX_FIELD_URL(name) char *name;      /* http or https */
#define PX_FIELD_LISTEN(name) char *name;   /* "[ADDRESS:]PORT"; IPv6 in brackets */
#define PX_FIELD_ADDRESS(name) char *name;  /* "ADDRESS[:PORT]" */
#define PX_FIELD_HOST(name) char *name;     /* "HOST[:PORT]" */
#define PX_FIELD_LANGUAGE(name) char *name; /* a BCP 47 tag; never NULL */
#define PX_FIELD_AOR(name) char *name;      /* px_key_from_aor() */
#define PX_FIELD_ZONE(name) char *name;     /* a name as tzdata has them */
#define PX_FIELD_INTEGER(name) int64_t name;
#define PX_FIELD_SECONDS(name) int64_t name;
#define PX_FIELD_BOOLEAN(name) bool name;
#define PX_FIELD_CHOICE(name) unsigned name; /* its enum */
#define PX_FIELD_GATEWAYS(name)                                                                    \
	struct px_gateway_config *name;                                                            \
	size_t name##s;
#define PX_FIELD_USERS(name)                                                                       \
	struct px_user_config *name;                                                               \
	size_t name##s;
#define PX_FIELD_SERVERS(name)                                                                     \
	struct px_server_config *name;                                                             \
	size_t name##s;
#define PX_FIELD_COMPAT(name) unsigned name;       /* a set of enum px_compat */
#define PX_FIELD_NOTES(name) char *name[PX_NOTES]; /* NULL: not given */
#define PX_FIELD_MAP(name) struct px_map *name;    /* never NULL, complete */

/* gateway[gateways], user[users], presence_server[presence_servers], and one field per other
 * setting. */
struct px_settings {
#define PX_GROUP(title)
#define PX_SETTING(name, kind, preset, min, max, form, help) PX_FIELD_##kind(name)
#include "px_settings.def"
#undef PX_GROUP
#undef PX_SETTING
	char
	    *sip_password; /* of sip_password_file; `password` also holds what password_file said */
};

/*
 * One complaint for the operator, without newline, such as "line 7: publish_expires: 12x is not a
 * number; give 60 to 86400". Borrowed for the call; never holds a secret, only printable UTF-8.
 */
typedef void px_said_h(void *arg, const char *complaint);

/*
 * Reads a whole file of at most `ceiling` bytes (px_file_read of io/file.h). `secret`: refuses one
 * that others may read. 0 and *out filled, or a negative errno and a reason in why.
 */
typedef int px_read_file_h(const char *path, size_t ceiling, bool secret, struct px_buf *out,
                           char why[PX_WHY_MAX]);

struct px_settings_reader {
	bool standalone;      /* no proxy around: a presence_server is needed */
	const char *unit;     /* what complaints call a line of the text; NULL: "line" */
	px_read_file_h *read; /* NULL: files are not opened, and what they would say is not there */
	px_said_h *said;      /* NULL: nobody is told */
	void *arg;            /* said's */
};

/*
 * Reads and checks n bytes of text. 0 and *out; or -EINVAL when anything is wrong (everything that
 * is was told to `said`), or -ENOMEM: *out is then untouched. The text may hold the password: the
 * caller wipes it.
 */
int px_settings_read(struct px_settings **out, const char *text, size_t n,
                     const struct px_settings_reader *r);

void px_settings_free(struct px_settings *s); /* wipes what is secret; NULL is fine */

/*
 * One gateway as the setting is written, with the other settings' ca_file and tls_min where it says none. 0 and *out, to be freed by
 * px_gateway_config_free(); or -EINVAL and why, or -ENOMEM.
 */
int px_settings_gateway(const struct px_settings *s, const char *text, size_t n,
                        struct px_gateway_config *out, char why[PX_WHY_MAX]);
void px_gateway_config_free(struct px_gateway_config *g);

/*
 * Names the settings that differ and can't change while the worker runs: all but gateways and what is said for all of them, the
 * account and its password, the login at the presence server, and users. How many there are. (Neither may have lost its lists.)
 */
unsigned px_settings_fixed(const struct px_settings *was, const struct px_settings *now,
                           px_said_h *said, void *arg);

/* Appends what can be set: for -h, or as the README's Markdown tables. */
void px_settings_print(struct px_buf *out, bool markdown);

/* Says what good settings ask for that this version can't do, and what to give instead. How many there are: none of them may be
 * started with. */
unsigned px_settings_impossible(const struct px_settings *s, px_said_h *said, void *arg);

/* The mailbox of a user given by key alone: user part at `domain` (NULL: the key's). 0, -EINVAL or
 * -ENAMETOOLONG. */
int px_user_mailbox(const char *key, const char *domain, char out[PX_MAILBOX_MAX + 1]);

/* One user of a users_file; borrowed for the call. 0 to go on, or a negative errno to stop with. */
typedef int px_user_h(void *arg, const struct px_user_config *u);

/*
 * Reads a users_file: CSV (RFC 4180, but a field doesn't go over a line's end) with the columns
 * aor[, mailbox[, on|off[, remind|quiet]]]; blank lines, lines that begin with #, a header line and
 * a byte order mark are skipped. A line that is wrong is told with its number and left out, so is
 * the second line of one AoR; the others go to `user`, in order. A line that is wrong though its AoR is good is
 * given, too, with mailbox NULL: what is known of that user may stay. mailbox_domain may be NULL.
 * Returns how many lines were wrong, or -EINVAL (no text at all: UTF-16), -ENOMEM, or what `user`
 * stopped with.
 */
int px_users_read(const char *text, size_t n, const char *mailbox_domain, px_user_h *user,
                  px_said_h *said, void *arg);

#endif
