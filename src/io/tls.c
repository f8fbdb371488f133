/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/tls.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <openssl/ssl.h>

#define CONTEXTS_MAX 64

struct object {
	SSL *ssl;
	ino_t socket; /* 0: isn't known yet */
	struct object *next;
};

/* One for the process, as OpenSSL's indexes are. All of it in the loop's thread, as all connections are. */
static struct {
	bool ready, making;
	SSL_CTX *context[CONTEXTS_MAX];
	unsigned contexts;
	struct object *first;
} tls;

static void on_context(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	(void)ptr, (void)ad, (void)idx, (void)argl, (void)argp;
	if (tls.making && tls.contexts < CONTEXTS_MAX)
		tls.context[tls.contexts++] = parent;
}

static void on_context_end(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                           void *argp)
{
	(void)ptr, (void)ad, (void)idx, (void)argl, (void)argp;
	for (unsigned i = 0; i < tls.contexts; i++)
		if (tls.context[i] == parent)
			tls.context[i--] = tls.context[--tls.contexts];
}

static void on_object(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct object *o = tls.contexts ? malloc(sizeof *o) : NULL;

	(void)ptr, (void)ad, (void)idx, (void)argl, (void)argp;
	if (!o)
		return;
	*o = (struct object){.ssl = parent, .next = tls.first};
	tls.first = o;
}

static void on_object_end(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                          void *argp)
{
	struct object **at = &tls.first;

	(void)ptr, (void)ad, (void)idx, (void)argl, (void)argp;
	while (*at && (*at)->ssl != parent)
		at = &(*at)->next;
	struct object *o = *at;

	if (!o)
		return;
	*at = o->next;
	free(o);
}

bool px_tls_begin(void)
{
	if (!tls.ready)
		tls.ready =
		    SSL_CTX_get_ex_new_index(0, NULL, on_context, NULL, on_context_end) >= 0 &&
		    SSL_get_ex_new_index(0, NULL, on_object, NULL, on_object_end) >= 0;
	tls.making = tls.ready;
	return tls.ready;
}

void px_tls_end(void)
{
	tls.making = false;
}

static bool is_sofias(const SSL *ssl)
{
	for (unsigned i = 0; i < tls.contexts; i++)
		if (SSL_get_SSL_CTX(ssl) == tls.context[i])
			return true;
	return false;
}

/* Its socket is closed; a descriptor may be another's by now. */
static bool is_over(struct object *o)
{
	int fd = SSL_get_fd(o->ssl);
	struct stat s;

	if (fd < 0)
		return false; /* hasn't got one yet */
	if (fstat(fd, &s) < 0)
		return true;
	if (o->socket == 0)
		o->socket = s.st_ino;
	return o->socket != s.st_ino;
}

void px_tls_sweep(void)
{
	struct object *o, *next;

	for (o = tls.first; o; o = next) {
		next = o->next;
		if (!is_sofias(o->ssl) || !is_over(o))
			continue;
		BIO_up_ref(SSL_get_rbio(o->ssl));
		SSL_CTX_up_ref(SSL_get_SSL_CTX(o->ssl));
		SSL_free(o->ssl); /* takes it off the list */
	}
}
