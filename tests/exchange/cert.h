/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * cert.h - a certificate authority made at start, and a server certificate for each CAS.
 */
#ifndef EXCHANGE_CERT_H
#define EXCHANGE_CERT_H

struct cert_ca;

/* PEM texts in own memory. */
struct cert_pair {
	char *cert, *key;
};

struct cert_ca *cert_ca_new(void); /* NULL: OpenSSL failed */
void cert_ca_free(struct cert_ca *ca);
const char *cert_ca_pem(const struct cert_ca *ca);
/*
 * name (an FQDN) becomes CN and SAN, beside localhost and 127.0.0.1. days: how long it is valid
 * from now on; negative: it has expired. 0 on success, -1 when OpenSSL failed.
 */
int cert_issue(const struct cert_ca *ca, const char *name, int days, struct cert_pair *out);
void cert_pair_free(struct cert_pair *p);

#endif
