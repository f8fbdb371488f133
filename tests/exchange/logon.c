/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "logon.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM_2003 "/exchweb/bin/auth/owaauth.dll"
#define FORM_2007 "/owa/auth/owaauth.dll"
#define FORM_2010 "/owa/auth.owa"
#define PAGE_2003 "/exchweb/bin/auth/owalogon.asp"
#define PAGE_2007 "/owa/auth/logon.aspx"

static const char *page_of(const struct logon *l)
{
	return l->version == OWA_2003 ? PAGE_2003 : PAGE_2007;
}

static const char *form_of(const struct logon *l)
{
	return l->version == OWA_2003 ? FORM_2003 : l->version == OWA_2007 ? FORM_2007 : FORM_2010;
}

bool logon_is_form(const struct logon *l, const char *method, const char *path)
{
	return strcmp(method, "POST") == 0 &&
	       (strcasecmp(path, form_of(l)) == 0 ||
	        (l->version == OWA_2007 && strcasecmp(path, FORM_2003) == 0));
}

/* --- sessions --- */
static void drop(struct logon *l, struct session *s)
{
	HASH_DEL(l->sessions, s);
	OPENSSL_cleanse(s, sizeof *s);
	free(s);
}

unsigned logon_drop(struct logon *l)
{
	unsigned n = HASH_COUNT(l->sessions);
	struct session *s, *tmp;

	HASH_ITER(hh, l->sessions, s, tmp)
	{
		drop(l, s);
	}
	return n;
}

/* The value of a cookie as it stands in the header, quotes and all; false: it isn't there. */
static bool cookie(const char *header, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	while (header && *header) {
		size_t n;

		header += strspn(header, "; ");
		n = strcspn(header, ";");
		if (n > len && header[len] == '=' && strncasecmp(header, name, len) == 0 &&
		    n - len - 1 < size) {
			memcpy(out, header + len + 1, n - len - 1);
			out[n - len - 1] = '\0';
			return true;
		}
		header += n;
	}
	return false;
}

static bool has_session(struct logon *l, const char *header, int64_t now_ms)
{
	char id[40], cadata[64];
	struct session *s;

	if (!cookie(header, "sessionid", id, sizeof id) ||
	    !cookie(header, "cadata", cadata, sizeof cadata))
		return false;
	HASH_FIND_STR(l->sessions, id, s);
	if (!s || strcmp(s->cadata, cadata) != 0)
		return false;
	if (now_ms - s->used_ms >= s->idle_ms) {
		drop(l, s);
		return false;
	}
	s->used_ms = now_ms;
	return true;
}

static void new_session(struct logon *l, long flags, int64_t now_ms, struct dav_answer *a)
{
	struct session *s = xcalloc(1, sizeof *s);
	unsigned char r[46];
	struct buf data = {0};

	if (RAND_bytes(r, sizeof r) != 1)
		abort();
	snprintf(s->id, sizeof s->id,
	         "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0], r[1],
	         r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14],
	         r[15]);
	buf_base64(&data, r + 16, 30);
	snprintf(s->cadata, sizeof s->cadata, "\"%s\"", data.p);
	buf_free(&data);
	s->idle_ms =
	    l->minute_ms * (flags & LOGON_TRUSTED ? LOGON_TRUSTED_MINUTES : LOGON_PUBLIC_MINUTES);
	s->used_ms = now_ms;
	HASH_ADD_STR(l->sessions, id, s);
	buf_fmt(&a->head,
	        "Set-Cookie: sessionid=%s; path=/\r\nSet-Cookie: cadata=%s; HttpOnly; secure; "
	        "path=/\r\n",
	        s->id, s->cadata);
}

/* --- the form --- */
struct form {
	char *destination, *flags, *username, *password;
};

static char *decoded(const char *s, size_t n)
{
	char *out = xcalloc(1, n + 1), *to = out;

	for (size_t i = 0; i < n; i++) {
		char hex[3] = "";

		if (s[i] == '%' && i + 2 < n && isxdigit((unsigned char)s[i + 1]) &&
		    isxdigit((unsigned char)s[i + 2])) {
			memcpy(hex, s + i + 1, 2);
			*to++ = (char)strtol(hex, NULL, 16);
			i += 2;
		} else {
			*to++ = s[i] == '+' ? ' ' : s[i];
		}
	}
	return out;
}

static void read_form(const char *body, size_t len, struct form *f)
{
	const struct {
		const char *name;
		char **value;
	} fields[] = {{"destination", &f->destination},
	              {"flags", &f->flags},
	              {"username", &f->username},
	              {"password", &f->password}};
	const char *end = body + len;

	*f = (struct form){NULL, NULL, NULL, NULL};
	while (body < end) {
		const char *amp = memchr(body, '&', (size_t)(end - body));
		size_t n = (size_t)((amp ? amp : end) - body);
		const char *eq = memchr(body, '=', n);

		for (size_t i = 0; eq && i < sizeof fields / sizeof *fields; i++)
			if (strlen(fields[i].name) == (size_t)(eq - body) &&
			    strncmp(fields[i].name, body, (size_t)(eq - body)) == 0 &&
			    !*fields[i].value)
				*fields[i].value = decoded(eq + 1, n - (size_t)(eq - body) - 1);
		body += n + (amp != NULL);
	}
}

static void free_form(struct form *f)
{
	if (f->password)
		OPENSSL_cleanse(f->password, strlen(f->password));
	free(f->destination);
	free(f->flags);
	free(f->username);
	free(f->password);
}

/* --- answers --- */
static void to_page(const struct logon *l, const struct logon_ask *ask, const char *url, int reason,
                    struct dav_answer *a)
{
	buf_fmt(&a->head, "Location: https://%s%s?url=", ask->host ? ask->host : "localhost",
	        page_of(l));
	for (; *url; url++) {
		if (isalnum((unsigned char)*url) || strchr("-._~", *url))
			buf_add(&a->head, url, 1);
		else
			buf_fmt(&a->head, "%%%02X", (unsigned char)*url);
	}
	buf_fmt(&a->head, "&reason=%d\r\n", reason);
	dav_status(a, 302);
}

static void the_page(const struct logon *l, const struct logon_ask *ask, struct dav_answer *a)
{
	if (ask->translate && strcasecmp(ask->translate, "f") == 0) {
		dav_status(a, 403); /* the page's source is nobody's business */
		return;
	}
	buf_fmt(&a->body,
	        "<!DOCTYPE HTML PUBLIC \"-//W3C//DTD HTML 4.0 Transitional//EN\">\r\n<HTML><HEAD>"
	        "<TITLE>Outlook Web Access</TITLE></HEAD><BODY>\r\n"
	        "<FORM action=\"%s\" method=\"POST\" name=\"logonForm\">"
	        "<INPUT type=\"hidden\" name=\"destination\" value=\"https://%s/%s\">"
	        "<INPUT type=\"hidden\" name=\"flags\" value=\"0\">\r\n"
	        "<INPUT type=\"radio\" name=\"trusted\" value=\"0\" checked><INPUT type=\"radio\" "
	        "name=\"trusted\" "
	        "value=\"4\">\r\n<INPUT type=\"text\" name=\"username\" id=\"username\">"
	        "<INPUT type=\"password\" name=\"password\" id=\"password\">"
	        "<INPUT type=\"submit\" name=\"SubmitCreds\" value=\"Log "
	        "On\"></FORM></BODY></HTML>\r\n",
	        form_of(l), ask->host ? ask->host : "localhost",
	        l->version == OWA_2003 ? "exchange" : "owa");
	a->status = 200;
	a->type = "text/html; charset=utf-8";
}

static enum logon_result the_form(struct logon *l, const struct logon_ask *ask,
                                  logon_check_fn *check, void *arg, int64_t now_ms,
                                  struct dav_answer *a)
{
	enum logon_result result = LOGON_ANSWERED;
	struct form f;

	if (l->page_missing) {
		dav_status(a, 404);
		return result;
	}
	read_form(ask->body, ask->len, &f);
	if (!ask->content_type ||
	    strncasecmp(ask->content_type, "application/x-www-form-urlencoded", 33) != 0 ||
	    !f.destination || strncasecmp(f.destination, "http", 4) != 0 ||
	    f.destination[strcspn(f.destination, "\r\n")] || !f.username || !f.password) {
		dav_status(a, 400);
	} else if (strcasecmp(ask->path, form_of(l)) != 0) {
		to_page(l, ask, f.destination, 0, a);
	} else if (!check(arg, f.username, f.password)) {
		to_page(l, ask, f.destination, 2, a);
		result = LOGON_WRONG;
	} else {
		buf_fmt(&a->head, "Location: %s\r\n", f.destination);
		new_session(l, f.flags ? strtol(f.flags, NULL, 10) : 0, now_ms, a);
		dav_status(a, 302);
		result = LOGON_RIGHT;
	}
	free_form(&f);
	return result;
}

enum logon_result logon_look(struct logon *l, const struct logon_ask *ask, logon_check_fn *check,
                             void *arg, int64_t now_ms, struct dav_answer *a)
{
	bool page = strcmp(ask->method, "GET") == 0 || strcmp(ask->method, "HEAD") == 0;
	struct buf url = {0};

	if (logon_is_form(l, ask->method, ask->path))
		return the_form(l, ask, check, arg, now_ms, a);
	if (page && strcasecmp(ask->path, page_of(l)) == 0) {
		the_page(l, ask, a);
		return LOGON_ANSWERED;
	}
	if (has_session(l, ask->cookie, now_ms))
		return LOGON_PASSED;
	if (page) {
		buf_fmt(&url, "https://%s%s", ask->host ? ask->host : "localhost", ask->path);
		to_page(l, ask, url.p, 0, a);
		buf_free(&url);
	} else {
		dav_status(a, 440);
	}
	return LOGON_ANSWERED;
}
