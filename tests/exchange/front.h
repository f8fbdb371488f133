/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * front.h - the HTTPS side of the client access servers, and of the OWA front end: ports, login, limits, and how
 * they fail.
 */
#ifndef EXCHANGE_FRONT_H
#define EXCHANGE_FRONT_H

#include "cert.h"
#include "dav.h"
#include "ews.h"
#include "logon.h"
#include "publisher.h"
#include "loop.h"
#include "wire.h"

enum ailment {
	AIL_NONE,
	AIL_REFUSE, /* the port is closed: connects are refused, connections were reset */
	AIL_HANG,   /* takes requests and never answers; streams go silent */
	AIL_FREEZE, /* as a stopped machine: not even TLS gets on */
	AIL_STATUS, /* every request gets one HTTP status: 503, 404, 401 ... */
	AIL_BUSY,   /* every request gets ErrorServerBusy */
	AIL_CODE    /* every request gets a fault with a given ResponseCode */
};

struct front_options {
	unsigned ncas;  /* that speak EWS */
	int first_port; /* 0: free ones */
	const char *account;
	unsigned max_concurrency;
	int latency_ms, jitter_ms;
	int cert_days;
	unsigned chunk; /* streams are cut into chunks of at most so many bytes; 0: they aren't */
	bool verbose;
};

struct front;

/*
 * Listens on 127.0.0.1. NULL: *why (static) says what failed. ews, dav and loop outlive it. Unless dav is NULL, one
 * more server than ncas, the last one, is its OWA front end.
 */
struct front *front_new(const struct front_options *o, struct loop *loop, struct ews *ews,
                        struct dav *dav, const struct cert_ca *ca, const char **why);
void front_free(struct front *f);
/* Sessions end with it: their cookies held the old one. */
void front_password(struct front *f, const char *password);
/* How one logs in to the OWA front end. */
struct logon *front_logon(struct front *f);

unsigned front_count(const struct front *f); /* of all servers */
int front_port(const struct front *f, unsigned cas);
bool front_is_owa(const struct front *f, unsigned cas);
const char *front_name(const struct front *f, unsigned cas);  /* "cas1", "owa1" */
const char *front_state(const struct front *f, unsigned cas); /* "healthy", "refuse" ... */

struct front_failure {
	enum ailment how;
	unsigned status;  /* with AIL_STATUS */
	int retry_after;  /* seconds, with AIL_STATUS and AIL_BUSY; -1: not said */
	const char *code; /* with AIL_CODE */
};

/* Both: 0, or a negative errno when the port can't be opened again. */
int front_fail(struct front *f, unsigned cas, const struct front_failure *x);
int front_heal(struct front *f, unsigned cas);
/* Resets connections; only those with a stream, if so asked. Returns how many. */
unsigned front_cut(struct front *f, unsigned cas, bool streams_only);
/* What becomes of the next answers to requests that came with a right login. */
struct fault {
	int cas;      /* -1: any */
	int kind;     /* enum request_kind; -1: any */
	int64_t left; /* answers; -1: all, until front_clear */
	uint64_t told;
	struct spoil spoil;
	struct fault *prev, *next;
};
/* Copies it. The first fault that fits an answer is the one that holds. */
void front_spoil(struct front *f, const struct fault *fault);
const struct fault *front_faults(const struct front *f); /* the first of the list */
/* No more faults; what is going out slowly goes out at once, what has no end is cut. */
void front_clear(struct front *f);
/* Resets those with a stream of that server behind the CAS. */
void front_cut_server(struct front *f, unsigned cas, unsigned backend);

/* To be called when a stream has something to send (struct subs's wake). */
void front_wake(void *f, struct stream *st);
/* Lets delayed requests go on whose time has come. Returns when it is due again. */
int64_t front_tick(struct front *f);

#endif
