/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cert.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "buf.h"

struct cert_ca {
	EVP_PKEY *key;
	X509 *cert;
	char *pem;
};

static char *pem_of(X509 *cert, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	struct buf b = {0};
	char *data;
	long n;

	if (!bio)
		return NULL;
	if (cert ? !PEM_write_bio_X509(bio, cert)
	         : !PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) {
		BIO_free(bio);
		return NULL;
	}
	n = BIO_get_mem_data(bio, &data);
	buf_add(&b, data, (size_t)n);
	BIO_free(bio);
	return b.p;
}

static int extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	int ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (!ext)
		return 0;
	ok = X509_add_ext(cert, ext, -1);
	X509_EXTENSION_free(ext);
	return ok;
}

/* Without signature and extensions. NULL: OpenSSL failed. */
static X509 *blank(const char *cn, EVP_PKEY *key, int days)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
	uint64_t serial;
	long now = 86400L * days;

	if (x && RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 &&
	    X509_set_version(x, 2) &&
	    ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), now < 0 ? 2 * now : -3600) &&
	    X509_gmtime_adj(X509_getm_notAfter(x), now) && X509_set_pubkey(x, key) &&
	    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_ASC,
	                               (const unsigned char *)"Exchange simulator", -1, -1, 0) &&
	    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, -1, -1,
	                               0))
		return x;
	X509_free(x);
	return NULL;
}

struct cert_ca *cert_ca_new(void)
{
	struct cert_ca *ca = xcalloc(1, sizeof *ca);

	ca->key = EVP_EC_gen("P-256");
	ca->cert = ca->key ? blank("Exchange simulator CA", ca->key, 3650) : NULL;
	if (ca->cert && X509_set_issuer_name(ca->cert, X509_get_subject_name(ca->cert)) &&
	    extension(ca->cert, ca->cert, NID_basic_constraints, "critical,CA:TRUE") &&
	    extension(ca->cert, ca->cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	    extension(ca->cert, ca->cert, NID_subject_key_identifier, "hash") &&
	    X509_sign(ca->cert, ca->key, EVP_sha256()))
		ca->pem = pem_of(ca->cert, NULL);
	if (ca->pem)
		return ca;
	cert_ca_free(ca);
	return NULL;
}

void cert_ca_free(struct cert_ca *ca)
{
	if (!ca)
		return;
	X509_free(ca->cert);
	EVP_PKEY_free(ca->key);
	free(ca->pem);
	free(ca);
}

const char *cert_ca_pem(const struct cert_ca *ca)
{
	return ca->pem;
}

int cert_issue(const struct cert_ca *ca, const char *name, int days, struct cert_pair *out)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = key ? blank(name, key, days) : NULL;
	char san[400];
	int rc = -1;

	snprintf(san, sizeof san, "DNS:%.300s,DNS:localhost,IP:127.0.0.1", name);
	*out = (struct cert_pair){0};
	if (x && X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) &&
	    extension(x, ca->cert, NID_subject_alt_name, san) &&
	    extension(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	    extension(x, ca->cert, NID_ext_key_usage, "serverAuth") &&
	    extension(x, ca->cert, NID_authority_key_identifier, "keyid") &&
	    X509_sign(x, ca->key, EVP_sha256())) {
		out->cert = pem_of(x, NULL);
		out->key = pem_of(NULL, key);
		rc = out->cert && out->key ? 0 : -1;
	}
	X509_free(x);
	EVP_PKEY_free(key);
	if (rc)
		cert_pair_free(out);
	return rc;
}

void cert_pair_free(struct cert_pair *p)
{
	free(p->cert);
	free(p->key);
	*p = (struct cert_pair){0};
}
