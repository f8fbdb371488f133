/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * backend.h - the contract between the core and a calendar protocol: build a request, parse its answer. No I/O.
 *
 * The engine asks in the protocol's own terms only by what it wants (enum px_ask); a backend writes the request, reads the answer as it comes in, piece by
 * piece, and reports what it found as items; at the end it condenses HTTP and protocol errors into one verdict.
 */
#ifndef PX_BACKEND_H
#define PX_BACKEND_H

#include "core/availability.h"
#include "core/buf.h"
#include "core/time.h"

/* What a server's answer means for us, by what we must do. */
enum px_verdict {
	PX_V_OK,
	PX_V_SERVER, /* this gateway can't serve anybody: down until a probe succeeds, its users move */
	PX_V_LOST, /* this subscription is gone or was refused: its user is assigned again */
	PX_V_BUSY, /* throttled: back off, nobody moves */
	PX_V_DENIED, /* login or impersonation refused on this gateway: ask one other before the pool is held */
	PX_V_USER,       /* this user's own trouble (no mailbox, no right): park the user */
	PX_V_UNREADABLE, /* READ: what this mailbox shows to others doesn't tell; READ_ONE may */
	PX_V_WIDE,      /* READ_ONE: there is too much between from and until: ask for half of it */
	PX_V_TRANSIENT, /* back off for this request, keep everything */
	PX_V_GAP, /* this subscription lost track of its events: read, and subscribe again, at the same gateway first */
	PX_V_VERSION, /* this server doesn't know the version that was asked with: ask in an older one */
	PX_V_KIND, /* this kind of subscription doesn't work at this gateway: the next kind, there */
	PX_VERDICTS
};
const char *px_verdict_name(enum px_verdict v); /* "ok", "server", ... */

enum px_http_fail {
	PX_HTTP_ANSWERED, /* status is valid and the body came whole */
	PX_HTTP_RESOLVE,  /* the name doesn't resolve */
	PX_HTTP_CONNECT,  /* refused, unreachable, or no connection in time */
	PX_HTTP_TLS,      /* handshake, chain or name */
	PX_HTTP_TIMEOUT,  /* connected, but no answer in time */
	PX_HTTP_CUT,      /* the connection ended in the middle */
	PX_HTTP_TOO_BIG,  /* we ended it: over a ceiling */
	PX_HTTP_LOCAL /* out of memory, descriptors: our own trouble, the server's not to blame */
};

/* What of TLS failed. */
enum px_tls_fault {
	PX_TLS_FINE,
	PX_TLS_PROTOCOL, /* the handshake: no common version or cipher, or no TLS at all */
	PX_TLS_CHAIN,    /* the certificate's issuer isn't trusted */
	PX_TLS_NAME,     /* the certificate is for other hosts */
	PX_TLS_TIME      /* it, or one above it, has expired or isn't valid yet */
};

/* Who answered, as far as it got. A connection that was kept has told its certificate before: names is "" then. */
struct px_http_peer {
	char address[48];       /* "192.0.2.1"; "": no connection was made */
	char tls[16];           /* "TLSv1.3" */
	char names[88];         /* that its certificate is for, cut to fit */
	struct px_wall expires; /* its certificate */
	struct px_wall date;    /* the server's clock, whole seconds (Date); each 0: not told */
};

struct px_http_answer {
	enum px_http_fail fail;
	enum px_tls_fault tls;           /* fail is PX_HTTP_TLS: what of it */
	const struct px_http_peer *peer; /* NULL: nothing is known; borrowed */
	int status;                      /* 0 if none came */
	int64_t retry_after_ms;          /* Retry-After; -1: none */
	const char *type; /* Content-Type, lower case without parameters; NULL: none; borrowed */
	const char *
	    cookie; /* leads back to the server that answered: "name=value[; ...]"; NULL: none; borrowed */
	const char
	    *detail; /* what the library said, for the log and the board; NULL: nothing; borrowed */
	bool
	    asks_login; /* a 401 that wants another login; one that doesn't is about what was asked for */
	const char *
	    head; /* its lines with the backend's `heads`, each ended by "\n"; NULL: none; borrowed */
};

#define PX_COOKIE_MAX 1024 /* bytes with the NUL; a longer one isn't kept */

/* How a calendar is followed. In the order of preference. */
enum px_kind {
	PX_KIND_STREAM, /* one connection that answers without end, for many subscriptions */
	PX_KIND_PUSH,   /* the server calls us */
	PX_KIND_PULL,   /* we ask whether something has changed */
	PX_KIND_NONE,   /* there is no subscription: the calendar is read now and then */
	PX_KINDS
};
#define PX_KIND_BIT(kind) (1u << (kind))
const char *px_kind_name(enum px_kind k); /* "streaming", "push", "pull", "none" */

/*
 * What is wanted, and which members of the query say it. `version` goes with all; `anchor` with all that are for a mailbox's own server.
 * A backend is asked only for what it says it can (struct px_backend).
 */
enum px_ask {
	PX_ASK_LOCATE,      /* mailbox: where is its calendar? */
	PX_ASK_SUBSCRIBE,   /* mailbox, kind [, folder, callback, minutes] */
	PX_ASK_RENEW,       /* mailbox, id[0..n) [, folder]: before the granted lifetime ends */
	PX_ASK_UNSUBSCRIBE, /* mailbox, id[0] [, folder] */
	PX_ASK_STREAM,      /* mailbox = anchor, id[0..n), minutes */
	PX_ASK_POLL, /* mailbox, id[0..n) [, folder, watermark]: has something changed? n is at most poll_max */
	PX_ASK_READ,     /* name[0..n), from, until: by what the account itself may see of them */
	PX_ASK_READ_ONE, /* mailbox, from, until [, folder, offset]: its calendar folder, expanded */
	/* name[0..n), from, until [, mailbox, folder]: as READ, with what meetings are about, as far as the account, or the mailbox, may see it */
	PX_ASK_DETAILS,
	PX_ASK_OOF, /* mailbox = name[0], name[0..n), n at most oof_max: are automatic replies on? */
	PX_ASK_PROBE, /* mailbox: the cheapest request that shows login and impersonation; from, until */
	PX_ASKS
};
const char *px_ask_name(enum px_ask a); /* "subscribe", ... */

/* Everything borrowed for the call; what isn't known is NULL or 0. */
struct px_query {
	enum px_ask ask;
	unsigned version;    /* below the backend's versions */
	const char *mailbox; /* impersonated */
	const char *anchor;  /* the mailbox whose server all requests of a group are led to */
	const char
	    *root; /* path below which the gateway has its mailboxes; NULL: where it usually is */
	const char *folder;      /* path of the calendar, as LOCATE found it */
	const char *const *name; /* mailboxes to read */
	const char *const *id;   /* subscription ids */
	size_t n;
	enum px_kind kind;
	const char *callback;  /* push: the URL that the server is to call */
	const char *watermark; /* the last one that was told; POLL of one id */
	/* STREAM: the connection's length, 1 to 30; SUBSCRIBE: push, how often the server calls though nothing happened; pull, how
	 * long the subscription outlives the last poll; 1 to 1440 */
	unsigned minutes;
	size_t offset; /* of a long answer that is read in parts */
	struct px_wall from, until;
	bool
	    meetings; /* READ, READ_ONE: MEETING items, too, as far as the account itself may see what they are about */
};

/* A request as it goes over the wire. Nothing from outside gets a CR or LF into target or head. */
struct px_wire {
	const char *method;   /* static */
	struct px_buf target; /* absolute path with query; empty: the gateway's own URL */
	struct px_buf head;   /* whole lines "Name: value\r\n" */
	struct px_buf body;
};
struct px_wire px_wire_new(void); /* empty, with ceilings; frees nothing */
void px_wire_free(struct px_wire *w);

enum px_item_kind {
	PX_ITEM_CALENDAR, /* index, interval[0..n): mailbox `index` of the query was read whole */
	PX_ITEM_MEETING, /* index, meeting: DETAILS, or where `meetings` asks for it; before the mailbox's CALENDAR */
	PX_ITEM_REFUSED, /* index, verdict, code: mailbox `index` couldn't be read; the others could */
	PX_ITEM_FOLDER,     /* id: the path of the calendar */
	PX_ITEM_SUBSCRIBED, /* id, watermark, lifetime_s: the new subscription */
	PX_ITEM_CHANGED,    /* id, watermark: something changed in that subscription's calendar */
	PX_ITEM_ALIVE, /* STREAM: a heartbeat (any whole envelope that reports no error); else id, watermark: that subscription stands, nothing changed */
	PX_ITEM_CLOSED, /* the server ends the stream as agreed */
	PX_ITEM_GONE, /* id, verdict (LOST or GAP; 0: LOST), code: the server doesn't know this subscription */
	PX_ITEM_MORE, /* POLL: id: more waits; poll again at once. READ_ONE: n: the calendar goes on at this offset */
	PX_ITEM_OOF, /* index, away: automatic replies are on, or will be; from, until: only then (0: no such end) */
	PX_ITEMS
};

/* Texts: UTF-8, one line, at most PX_MEETING_TEXT_MAX bytes, "" when not known. */
#define PX_MEETING_TEXT_MAX 255
struct px_meeting {
	struct px_interval when;
	const char *subject, *place;
	bool hidden; /* marked as private: nobody is to be told what it is about */
};

/* All borrowed for the call. */
struct px_item {
	enum px_item_kind kind;
	size_t index;
	const struct px_interval *interval;
	size_t n;
	const char *id;
	const char *watermark; /* NULL: none */
	uint32_t lifetime_s;   /* 0: none was said */
	bool away;
	const struct px_meeting *meeting;
	bool details; /* CALENDAR: what the meetings are about could be seen */
	struct px_wall from, until;
	enum px_verdict verdict;
	const char *code; /* the server's own word, e.g. "ErrorNoFreeBusyAccess" */
};
typedef void px_item_h(void *arg, const struct px_item *item);

#define PX_CODE_MAX 64
#define PX_DETAIL_MAX 200
#define PX_SERVER_MAX 32

/* Whose fault a verdict is, for the troubleshooter; the core acts on the verdict alone. */
enum px_fault {
	PX_FAULT_NONE,        /* what its verdict says */
	PX_FAULT_SERVICE,     /* no such service, or it can't serve */
	PX_FAULT_LOGIN,       /* the account, its password */
	PX_FAULT_RIGHTS,      /* the account has no right on this server */
	PX_FAULT_USER_RIGHTS, /* it has, but not on this mailbox */
	PX_FAULT_MAILBOX,     /* there is no such mailbox */
	PX_FAULT_CALENDAR,    /* there is, but its calendar can't be read */
	PX_FAULT_THROTTLED,
	PX_FAULT_PASSING
};

struct px_reply {
	enum px_verdict verdict;
	int64_t backoff_ms; /* the server's wish; 0: none */
	char code
	    [PX_CODE_MAX]; /* "ErrorServerBusy", "HTTP 503", "connect": one word or two, safe to log */
	char detail
	    [PX_DETAIL_MAX]; /* what else is known, printable ASCII/UTF-8 without control characters; "" if nothing */
	char server
	    [PX_SERVER_MAX]; /* what the server calls itself, "Exchange 15.2.1258", safe to log; "": it didn't say */
};

struct px_parse; /* one answer being read */

struct px_backend {
	const char *name;                              /* "ews" */
	const char *(*version_name)(unsigned version); /* for the log; NULL: they have none */
	unsigned versions; /* that can be asked with: 0 is the newest, each higher one older */
	unsigned (*kinds)(
	    unsigned version); /* PX_KIND_BIT()s that there can be at a server of that version */
	size_t read_max;       /* mailboxes in one PX_ASK_READ; 0: there is only READ_ONE */
	bool read_one;         /* there is PX_ASK_READ_ONE */
	bool one_first;        /* it says more than PX_ASK_READ, and is asked first */
	bool denies_alone;     /* what looks like a refused login may be about one mailbox */
	bool renews;           /* a subscription ends unless PX_ASK_RENEW prolongs it */
	bool
	    hints; /* PULL takes a callback, too: calls are hints that something may have changed */
	size_t (*oof_max)(
	    unsigned
	        version); /* mailboxes in one PX_ASK_OOF; one alone is always allowed. NULL: there is none */
	size_t details_max; /* mailboxes in one PX_ASK_DETAILS; 0: there is none */
	size_t stream_max;  /* ids in one PX_ASK_STREAM */
	size_t poll_max; /* ids in one PX_ASK_POLL, all of one mailbox's server; 0: there is none */
	size_t id_max;   /* bytes of the longest subscription id that is accepted */
	bool locates;    /* a calendar's path must be asked for first */
	const char *const
	    *heads; /* names of header lines that its answers need, ended by NULL; NULL: none */
	int64_t heartbeat_ms; /* the server's, on a stream */

	/* Fills *out, which px_wire_new() made. A buffer is `failed` when it didn't fit. */
	void (*write)(struct px_wire *out, const struct px_query *q);

	/*
	 * Begins reading the answer to a query (borrowed for the call). `said(arg, item)` is called from within feed() or done(), in
	 * the order of the answer, and must not free the parse. NULL when out of memory. The owner frees it.
	 */
	struct px_parse *(*parse_new)(const struct px_query *q, px_item_h *said, void *arg);

	/* Takes the next bytes, however they were cut. After a violation the rest is ignored and done() tells. */
	void (*feed)(struct px_parse *p, const char *bytes, size_t n);

	/*
	 * The answer ended like this. Fills *out: OK only if HTTP, envelope and every part that must be there were right;
	 * items of an answer that isn't OK must not be believed (stage, then commit), except a stream's, which count at once.
	 * May be called once, also without any feed().
	 */
	void (*done)(struct px_parse *p, const struct px_http_answer *a, struct px_reply *out);

	void (*parse_free)(struct px_parse *p); /* NULL is fine */

	/* Whose fault a code is that stands in px_reply or px_item with this verdict; NULL: always what the verdict says. */
	enum px_fault (*fault)(const char *code, enum px_verdict v);

	/*
	 * Reads what a listener heard, one whole message. Its items (CHANGED, ALIVE, GONE, each with its id) are told if all of it is right; how many there
	 * were, or -EBADMSG. NULL: this protocol has no listener.
	 */
	int (*notified)(const char *bytes, size_t n, px_item_h *said, void *arg);
};

#endif
