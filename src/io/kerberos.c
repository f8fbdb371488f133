/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/kerberos.h"

#include <assert.h>
#include <errno.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define STACK (512 << 10)
#define REFUSED_MS 290000 /* a little less than the pool waits for after a refusal */
#define SPARE_MS 300000   /* credentials that end earlier are got anew */
#define TOKEN_MAX 49152   /* headers of 64 KiB are what IIS takes at most */
#define WHY_MAX 200

/* One token wanted; owned by whoever holds it: a host's queue, its thread, the list of results. */
struct job {
	struct job *next;
	unsigned host;
	uint64_t number; /* ties it to its waiter */
	struct px_now asked;
	unsigned char binding[PX_KERBEROS_BINDING_MAX];
	size_t binding_len;
	enum px_ticket ticket;
	char *token;
	char why[WHY_MAX];
};

struct host {
	char *name;
	bool started, ended; /* ended: its thread frees it */
	pthread_cond_t wanted;
	struct job *first, **last;
	/* its thread's alone */
	gss_cred_id_t cred;
	struct px_mono cred_ends;
	unsigned renewal; /* that the credentials are of */
};

/* What threads and loop share; freed by the last of them. */
struct shared {
	pthread_mutex_t lock; /* of all but what is said below */
	unsigned users;
	bool ended;
	int event;
	struct job *results;
	struct host **host; /* by number; NULL: none. The loop's alone, as is `hosts` */
	unsigned hosts;
	atomic_uint renewal; /* counts accounts */
	/* the account at the KDC: one asks at a time, the others then find the ticket or the refusal */
	pthread_mutex_t account;
	unsigned refused_in; /* renewal */
	struct px_mono refused_until;
	char refused_why[WHY_MAX];
};

struct waiter {
	struct waiter *next;
	unsigned host;
	uint64_t id, number;
	struct px_mono late_at;
};

struct px_kerberos {
	struct px_loop *loop;
	struct shared *shared;
	int timer;
	struct waiter *waiters;
	uint64_t last_number;
	px_ticket_h *done;
	void *arg;
};

/* ---- on a host's thread ---- */

static void job_free(struct job *j)
{
	free(j->token);
	free(j);
}

static void say(char why[WHY_MAX], OM_uint32 major, OM_uint32 minor)
{
	OM_uint32 ignored, more = 0;
	gss_buffer_desc text = {0, NULL};

	/* what the mechanism says is the better half, if it says anything */
	if (minor != 0)
		gss_display_status(&ignored, minor, GSS_C_MECH_CODE, (gss_OID)gss_mech_krb5, &more,
		                   &text);
	if (text.length == 0)
		gss_display_status(&ignored, major, GSS_C_GSS_CODE, GSS_C_NO_OID, &more, &text);
	snprintf(why, WHY_MAX, "%.*s", (int)text.length, (const char *)text.value);
	gss_release_buffer(&ignored, &text);
}

static enum px_ticket meaning(OM_uint32 minor)
{
	switch ((krb5_error_code)minor) {
	case KRB5_KDC_UNREACH:
	case KRB5_REALM_UNKNOWN:
	case KRB5_REALM_CANT_RESOLVE:
		return PX_TICKET_LATE;
	case KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN:
		return PX_TICKET_NO_HOST;
	case KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN:
	case KRB5KDC_ERR_CLIENT_REVOKED:
	case KRB5KDC_ERR_KEY_EXP:
	case KRB5KDC_ERR_PREAUTH_FAILED:
	case KRB5KDC_ERR_POLICY:
		return PX_TICKET_REFUSED;
	default:
		return PX_TICKET_NONE;
	}
}

static enum px_ticket failed(struct job *j, OM_uint32 major, OM_uint32 minor)
{
	say(j->why, major, minor);
	return meaning(minor);
}

/* A keytab's tickets stay in memory, unless the environment says where else; another keytab's elsewhere in it. */
struct store {
	char name[48];
	gss_key_value_element_desc in_memory;
	gss_key_value_set_desc keytab;
};

static gss_const_key_value_set_t store(struct store *s, unsigned renewal)
{
	if (!getenv("KRB5_CLIENT_KTNAME") || getenv("KRB5CCNAME"))
		return GSS_C_NO_CRED_STORE;
	snprintf(s->name, sizeof s->name, "MEMORY:pua_exchange.%u", renewal);
	s->in_memory = (gss_key_value_element_desc){"ccache", s->name};
	s->keytab = (gss_key_value_set_desc){1, &s->in_memory};
	return &s->keytab;
}

/* The account's own ticket: found, or got from the KDC. s->account is held. */
static enum px_ticket ask_kdc(struct shared *s, struct host *h, struct job *j)
{
	gss_OID_set_desc krb5 = {1, (gss_OID)gss_mech_krb5};
	OM_uint32 major, minor, ignored, lifetime = 0;
	enum px_ticket ticket = PX_TICKET_MADE;
	struct store at;

	if (s->refused_in == h->renewal && s->refused_until.ms > j->asked.mono.ms) {
		snprintf(j->why, sizeof j->why, "%s", s->refused_why);
		return PX_TICKET_REFUSED;
	}
	major = gss_acquire_cred_from(&minor, GSS_C_NO_NAME, GSS_C_INDEFINITE, &krb5,
	                              GSS_C_INITIATE, store(&at, h->renewal), &h->cred, NULL, NULL);
	if (!GSS_ERROR(major)) /* asks whoever has to be asked */
		major = gss_inquire_cred(&minor, h->cred, NULL, &lifetime, NULL, NULL);
	if (GSS_ERROR(major)) {
		ticket = failed(j, major, minor);
	} else if (lifetime == 0) {
		snprintf(j->why, sizeof j->why, "the account's ticket has expired");
		ticket = PX_TICKET_NONE;
	}
	if (ticket == PX_TICKET_REFUSED) {
		s->refused_until = px_after(j->asked, REFUSED_MS);
		s->refused_in = h->renewal;
		snprintf(s->refused_why, sizeof s->refused_why, "%s", j->why);
	}
	h->cred_ends = px_after(j->asked, (int64_t)lifetime * 1000);
	if (ticket != PX_TICKET_MADE)
		gss_release_cred(&ignored, &h->cred);
	return ticket;
}

static enum px_ticket get_credentials(struct shared *s, struct host *h, struct job *j)
{
	const unsigned renewal = atomic_load(&s->renewal);
	OM_uint32 ignored;
	enum px_ticket ticket;

	if (h->renewal != renewal)
		gss_release_cred(&ignored, &h->cred);
	h->renewal = renewal;
	if (h->cred && h->cred_ends.ms - SPARE_MS > j->asked.mono.ms)
		return PX_TICKET_MADE;
	gss_release_cred(&ignored, &h->cred);
	pthread_mutex_lock(&s->account);
	ticket = ask_kdc(s, h, j);
	pthread_mutex_unlock(&s->account);
	return ticket;
}

/* Puts tag and length before the len bytes at `at`. DER; at most 64 KiB. */
static unsigned char *der(unsigned char *at, unsigned char tag, size_t len)
{
	*--at = (unsigned char)len;
	if (len > 0xff) {
		*--at = (unsigned char)(len >> 8);
		*--at = 0x82;
	} else if (len > 0x7f) {
		*--at = 0x81;
	}
	*--at = tag;
	return at;
}

/*
 * Kerberos' token as SPNEGO's NegTokenInit (RFC 4178 section 4.2.1), in base64. The library's own SPNEGO would bring in whatever
 * mechanisms are installed, and hide the KDC's reasons.
 */
static char *wrap(const gss_buffer_desc *token)
{
	static const unsigned char kerberos[] = {0xa0, 0x0d, 0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86,
	                                         0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02};
	static const unsigned char spnego[] = {0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02};
	const size_t room = token->length + 64;
	unsigned char *bytes = malloc(room), *end, *at;
	char *text = malloc(room / 3 * 4 + 8);

	if (bytes && text) {
		end = bytes + room;
		at = end - token->length;
		memcpy(at, token->value, token->length);
		at = der(at, 0x04, (size_t)(end - at));
		at = der(at, 0xa2, (size_t)(end - at));
		at -= sizeof kerberos;
		memcpy(at, kerberos, sizeof kerberos);
		at = der(at, 0x30, (size_t)(end - at));
		at = der(at, 0xa0, (size_t)(end - at));
		at -= sizeof spnego;
		memcpy(at, spnego, sizeof spnego);
		at = der(at, 0x60, (size_t)(end - at));
		EVP_EncodeBlock((unsigned char *)text, at, (int)(end - at));
	} else {
		free(text);
		text = NULL;
	}
	free(bytes);
	return text;
}

static enum px_ticket make_token(struct host *h, struct job *j)
{
	struct gss_channel_bindings_struct bindings = {
	    .application_data = {j->binding_len, j->binding}};
	char service[300];
	gss_buffer_desc name_text = {0, service}, token = GSS_C_EMPTY_BUFFER;
	gss_ctx_id_t context = GSS_C_NO_CONTEXT;
	gss_name_t name = GSS_C_NO_NAME;
	OM_uint32 major, minor, ignored;
	enum px_ticket ticket = PX_TICKET_NONE;

	name_text.length = (size_t)snprintf(service, sizeof service, "HTTP@%s", h->name);
	major = gss_import_name(&minor, &name_text, GSS_C_NT_HOSTBASED_SERVICE, &name);
	if (!GSS_ERROR(major))
		major = gss_init_sec_context(&minor, h->cred, &context, name,
		                             (gss_OID)gss_mech_krb5, 0, GSS_C_INDEFINITE,
		                             j->binding_len ? &bindings : GSS_C_NO_CHANNEL_BINDINGS,
		                             GSS_C_NO_BUFFER, NULL, &token, NULL, NULL);
	if (GSS_ERROR(major))
		ticket = failed(j, major, minor);
	else if (token.length > TOKEN_MAX)
		snprintf(j->why, sizeof j->why,
		         "it has %zu bytes: the account is in too many groups", token.length);
	else if ((j->token = wrap(&token)))
		ticket = PX_TICKET_MADE;
	else
		snprintf(j->why, sizeof j->why, "out of memory");
	gss_release_buffer(&ignored, &token);
	gss_delete_sec_context(&ignored, &context, GSS_C_NO_BUFFER);
	gss_release_name(&ignored, &name);
	if (ticket != PX_TICKET_MADE)
		gss_release_cred(&ignored, &h->cred);
	return ticket;
}

static void host_free(struct host *h)
{
	struct job *j;

	if (!h)
		return;
	while ((j = h->first)) {
		h->first = j->next;
		job_free(j);
	}
	pthread_cond_destroy(&h->wanted);
	free(h->name);
	free(h);
}

static void shared_drop(struct shared *s)
{
	unsigned left;
	struct job *j;

	pthread_mutex_lock(&s->lock);
	left = --s->users;
	pthread_mutex_unlock(&s->lock);
	if (left > 0)
		return;
	while ((j = s->results)) {
		s->results = j->next;
		job_free(j);
	}
	for (unsigned i = 0; i < s->hosts; i++)
		host_free(s->host[i]);
	free(s->host);
	if (s->event >= 0)
		close(s->event);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->account);
	free(s);
}

/* s->lock is held */
static void give_back(struct shared *s, struct job *j)
{
	const uint64_t one = 1;

	j->next = s->results;
	s->results = j;
	while (write(s->event, &one, sizeof one) < 0 && errno == EINTR)
		;
}

struct start {
	struct shared *shared;
	struct host *host;
};

static void *serve(void *arg)
{
	const struct start at = *(struct start *)arg;
	struct shared *s = at.shared;
	struct host *h = at.host;
	OM_uint32 minor;

	free(arg);
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct job *j;

		while (!h->first && !s->ended && !h->ended)
			pthread_cond_wait(&h->wanted, &s->lock);
		if (s->ended || h->ended)
			break;
		j = h->first;
		h->first = j->next;
		if (!h->first)
			h->last = &h->first;
		pthread_mutex_unlock(&s->lock);
		j->ticket = get_credentials(s, h, j);
		if (j->ticket == PX_TICKET_MADE)
			j->ticket = make_token(h, j);
		pthread_mutex_lock(&s->lock);
		give_back(s, j);
	}
	const bool ours = h->ended; /* nobody else knows it any more */
	pthread_mutex_unlock(&s->lock);
	gss_release_cred(&minor, &h->cred);
	if (ours)
		host_free(h);
	shared_drop(s);
	return NULL;
}

/* ---- in the loop ---- */

static void arm(struct px_kerberos *k)
{
	const struct px_now now = px_loop_now(k->loop);
	struct px_mono next = {0};
	struct itimerspec t = {0};

	for (const struct waiter *w = k->waiters; w; w = w->next)
		next = px_earlier(next, w->late_at);
	if (next.ms != 0) {
		int64_t ms = next.ms > now.mono.ms ? next.ms - now.mono.ms : 0;

		t.it_value.tv_sec = ms / 1000;
		t.it_value.tv_nsec = ms % 1000 * 1000000 + 1; /* all 0 would disarm it */
	}
	timerfd_settime(k->timer, 0, &t, NULL);
}

/* Takes the waiter out, tells it, and frees it. */
static void tell(struct px_kerberos *k, struct waiter **at, const struct px_ticket_answer *a)
{
	struct waiter w = **at;

	free(*at);
	*at = w.next;
	k->done(k->arg, w.host, w.id, a);
}

static void answered(void *arg)
{
	struct px_kerberos *k = arg;
	uint64_t times;
	struct job *j, *next;

	if (read(k->shared->event, &times, sizeof times) != sizeof times)
		return;
	pthread_mutex_lock(&k->shared->lock);
	j = k->shared->results;
	k->shared->results = NULL;
	pthread_mutex_unlock(&k->shared->lock);
	for (; j; j = next) {
		const struct px_ticket_answer a = {j->ticket, j->token, j->why};
		struct waiter **at = &k->waiters;

		next = j->next;
		while (*at && (*at)->number != j->number)
			at = &(*at)->next;
		if (*at) /* else it came too late, or nobody wants it any more */
			tell(k, at, &a);
		job_free(j);
	}
	arm(k);
}

/* What hasn't been begun never will be. */
static void take_back(struct px_kerberos *k, const struct waiter *w)
{
	struct host *h = k->shared->host[w->host];

	pthread_mutex_lock(&k->shared->lock);
	for (struct job **at = &h->first; *at; at = &(*at)->next) {
		struct job *j = *at;

		if (j->number != w->number)
			continue;
		*at = j->next;
		if (h->last == &j->next)
			h->last = at;
		job_free(j);
		break;
	}
	pthread_mutex_unlock(&k->shared->lock);
}

static void too_late(void *arg)
{
	static const struct px_ticket_answer late = {
	    PX_TICKET_LATE, NULL, "no answer from a KDC (or from DNS about it) in time"};
	struct px_kerberos *k = arg;
	const struct px_now now = px_loop_now(k->loop);
	uint64_t times;
	struct waiter **at = &k->waiters;

	if (read(k->timer, &times, sizeof times) != sizeof times)
		return;
	/* done() may ask anew, which puts waiters in front: so from the start each time */
	while (*at) {
		if (!px_due((*at)->late_at, now)) {
			at = &(*at)->next;
			continue;
		}
		take_back(k, *at);
		tell(k, at, &late);
		at = &k->waiters;
	}
	arm(k);
}

static bool start(struct shared *s, struct host *h)
{
	struct start *at = malloc(sizeof *at);
	pthread_attr_t attr;
	pthread_t thread;
	bool good;

	if (!at)
		return false;
	*at = (struct start){s, h};
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	good = pthread_create(&thread, &attr, serve, at) == 0;
	pthread_attr_destroy(&attr);
	if (good)
		s->users++;
	else
		free(at);
	return good;
}

void px_kerberos_ask(struct px_kerberos *k, unsigned host, uint64_t id, const void *binding,
                     size_t n, int64_t wait_ms)
{
	struct shared *s = k->shared;
	struct host *h = host < s->hosts ? s->host[host] : NULL;
	struct job *j = calloc(1, sizeof *j);
	struct waiter *w = calloc(1, sizeof *w);
	const struct px_now now = px_loop_now(k->loop);

	assert(h && n <= sizeof j->binding);
	if (!j || !w)
		abort(); /* without them there is no way to keep the promise of one done() */
	*w = (struct waiter){.next = k->waiters,
	                     .host = host,
	                     .id = id,
	                     .number = ++k->last_number,
	                     .late_at = px_after(now, wait_ms)};
	k->waiters = w;
	*j = (struct job){.host = host, .number = w->number, .asked = now, .binding_len = n};
	if (n > 0)
		memcpy(j->binding, binding, n);
	pthread_mutex_lock(&s->lock);
	if (!h->started)
		h->started = start(s, h);
	if (h->started) {
		*h->last = j;
		h->last = &j->next;
		pthread_cond_signal(&h->wanted);
	} else {
		j->ticket = PX_TICKET_NONE;
		snprintf(j->why, sizeof j->why, "no thread could be made");
		give_back(s, j);
	}
	pthread_mutex_unlock(&s->lock);
	arm(k);
}

void px_kerberos_cancel(struct px_kerberos *k, uint64_t id)
{
	for (struct waiter **at = &k->waiters; *at; at = &(*at)->next) {
		struct waiter *w = *at;

		if (w->id != id)
			continue;
		take_back(k, w);
		*at = w->next;
		free(w);
		return;
	}
}

int px_kerberos_host(struct px_kerberos *k, unsigned number, const char *name)
{
	struct shared *s = k->shared;
	struct host *h;

	if (number >= s->hosts) {
		struct host **more = realloc(s->host, (number + 1) * sizeof(struct host *));

		if (!more)
			return -ENOMEM;
		while (s->hosts <= number)
			more[s->hosts++] = NULL;
		s->host = more;
	}
	/* whoever still waits there waits for a ticket that nobody needs */
	for (struct waiter **at = &k->waiters; *at;) {
		struct waiter *w = *at;

		if (w->host != number) {
			at = &w->next;
			continue;
		}
		take_back(k, w);
		*at = w->next;
		free(w);
	}
	h = s->host[number];
	s->host[number] = NULL;
	if (h && h->started) {
		pthread_mutex_lock(&s->lock);
		h->ended = true;
		pthread_cond_signal(&h->wanted);
		pthread_mutex_unlock(&s->lock);
	} else {
		host_free(h);
	}
	if (!name)
		return 0;
	h = calloc(1, sizeof *h);
	if (!h || !(h->name = strdup(name))) {
		free(h);
		return -ENOMEM;
	}
	h->last = &h->first;
	pthread_cond_init(&h->wanted, NULL);
	s->host[number] = h;
	return 0;
}

void px_kerberos_renew(struct px_kerberos *k)
{
	atomic_fetch_add(&k->shared->renewal, 1);
}

static struct shared *shared_new(void)
{
	struct shared *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->users = 1;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->account, NULL);
	s->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (s->event >= 0)
		return s;
	shared_drop(s);
	return NULL;
}

int px_kerberos_new(struct px_kerberos **out, struct px_loop *loop, px_ticket_h *done, void *arg)
{
	struct px_kerberos *k = calloc(1, sizeof *k);
	int err = -ENOMEM;

	if (!k)
		return -ENOMEM;
	*k = (struct px_kerberos){.loop = loop, .timer = -1, .done = done, .arg = arg};
	k->shared = shared_new();
	if (!k->shared)
		goto failed;
	k->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	err = k->timer < 0 ? -errno : px_loop_watch(loop, k->timer, too_late, k);
	if (err == 0)
		err = px_loop_watch(loop, k->shared->event, answered, k);
	if (err < 0)
		goto failed;
	*out = k;
	return 0;

failed:
	px_kerberos_free(k);
	return err;
}

void px_kerberos_free(struct px_kerberos *k)
{
	if (!k)
		return;
	if (k->timer >= 0) {
		px_loop_unwatch(k->loop, k->timer);
		close(k->timer);
	}
	while (k->waiters) {
		struct waiter *w = k->waiters;

		k->waiters = w->next;
		free(w);
	}
	if (k->shared) {
		px_loop_unwatch(k->loop, k->shared->event);
		pthread_mutex_lock(&k->shared->lock);
		k->shared->ended = true;
		for (unsigned i = 0; i < k->shared->hosts; i++)
			if (k->shared->host[i])
				pthread_cond_signal(&k->shared->host[i]->wanted);
		pthread_mutex_unlock(&k->shared->lock);
		shared_drop(k->shared);
	}
	free(k);
}
