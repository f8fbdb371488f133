/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "io/forms.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Takes all the room it will need, lest growing leaves copies of secrets behind. */
static void reserve(struct px_buf *b, size_t n)
{
	static const char nothing[4096];

	px_buf_add(b, nothing, n < sizeof nothing ? n : sizeof nothing);
	b->len = 0;
}

static void wipe(struct px_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	px_buf_free(b);
}

/* The path of a Location, without query; its length, 0: there is none. */
static size_t path_of(const char *location, const char **path)
{
	const char *s = location ? location : "";
	const char *host = strstr(s, "://");

	if (host && host < s + strcspn(s, "/?#"))
		s = host + 3 + strcspn(host + 3, "/?#");
	*path = s;
	return *s == '/' ? strcspn(s, "?#") : 0;
}

/* owalogon.asp (2003), logon.aspx (2007 and later) */
static bool is_logon_page(const char *path, size_t n)
{
	static const char *const names[] = {"owalogon.asp", "logon.aspx"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const size_t len = strlen(names[i]);

		if (n > len && path[n - len - 1] == '/' &&
		    strncasecmp(path + n - len, names[i], len) == 0)
			return true;
	}
	return false;
}

static bool leads_to_logon(int status, const char *location)
{
	const char *path;
	const size_t n = path_of(location, &path);

	return status >= 300 && status < 400 && is_logon_page(path, n);
}

bool px_forms_wanted(int status, const char *location)
{
	return status == 440 || leads_to_logon(status, location);
}

void px_forms_end(struct px_forms *f)
{
	wipe(&f->cookies);
	f->state = PX_FORMS_OUT;
}

void px_forms_begin(struct px_forms *f, const char *root)
{
	px_forms_end(f);
	f->cookies = px_buf_new(PX_FORMS_COOKIES_MAX);
	reserve(&f->cookies, PX_FORMS_COOKIES_MAX);
	f->redirects = 0;
	f->page[0] = '\0';
	snprintf(f->path, sizeof f->path, "%s", root);
	f->state = PX_FORMS_FINDING;
}

/* A cookie that is set again replaces what there was: the logon page clears old ones before it sets new ones. */
static void put_cookie(struct px_buf *all, const char *s, size_t n, size_t name)
{
	char *at = all->data;

	while (at && *at) {
		size_t len = strcspn(at, ";"), gap = at[len] ? 2 : 0;

		if (len > name && strncmp(at, s, name + 1) == 0) {
			memmove(at, at + len + gap, strlen(at + len + gap) + 1);
			all->len -= len + gap;
			break;
		}
		at += len + gap;
	}
	if (all->len > 0 && all->data[all->len - 1] == ' ') /* the last one went */
		all->data[all->len -= 2] = '\0';
	if (n > name + 1) { /* without a value it is to be forgotten */
		px_buf_str(all, all->len ? "; " : "");
		px_buf_add(all, s, n);
	}
}

void px_forms_header(struct px_forms *f, const char *line, size_t n)
{
	static const char header[] = "set-cookie:";
	size_t from = sizeof header - 1, name, end;

	if (f->state != PX_FORMS_POSTING || n < from || strncasecmp(line, header, from) != 0)
		return;
	while (from < n && line[from] == ' ')
		from++;
	for (end = from; end < n && line[end] >= ' ' && line[end] <= '~' && line[end] != ';'; end++)
		;
	while (end > from && line[end - 1] == ' ')
		end--;
	for (name = from; name < end && line[name] != '=' && line[name] != ' '; name++)
		;
	if (name > from && name < end && line[name] == '=')
		put_cookie(&f->cookies, line + from, end - from, name - from);
}

static enum px_forms_next end(struct px_forms *f, enum px_forms_next how)
{
	f->logins++;
	f->last = how;
	if (how == PX_FORMS_DONE)
		f->state = PX_FORMS_IN;
	else
		px_forms_end(f);
	return how;
}

void px_forms_failed(struct px_forms *f)
{
	end(f, PX_FORMS_GIVEN_UP);
}

static enum px_forms_next found(struct px_forms *f, int status, const char *location,
                                char why[PX_FORMS_WHY])
{
	static const char form[] = "owaauth.dll";
	const char *path;
	size_t n = status >= 300 && status < 400 ? path_of(location, &path) : 0;

	if (n == 0)
		snprintf(why, PX_FORMS_WHY, "%.100s leads to no logon page (HTTP %d)", f->path,
		         status);
	else if (n + sizeof form > PX_FORMS_PATH_MAX)
		snprintf(why, PX_FORMS_WHY, "%.100s leads to a logon page with too long a name",
		         f->path);
	else if (is_logon_page(path, n)) {
		size_t folder = n;

		while (path[folder - 1] != '/')
			folder--;
		snprintf(f->page, sizeof f->page, "%.*s", (int)n, path);
		snprintf(f->path, sizeof f->path, "%.*s%s", (int)folder, path, form);
		f->state = PX_FORMS_POSTING;
		return PX_FORMS_POST;
	} else if (++f->redirects < PX_FORMS_REDIRECTS) {
		snprintf(f->path, sizeof f->path, "%.*s", (int)n, path);
		return PX_FORMS_GET;
	} else
		snprintf(why, PX_FORMS_WHY, "%.*s is no logon page of Exchange",
		         (int)(n < 100 ? n : 100), path);
	return end(f, PX_FORMS_GIVEN_UP);
}

static enum px_forms_next posted(struct px_forms *f, int status, const char *location,
                                 char why[PX_FORMS_WHY])
{
	const bool away = status >= 300 && status < 400;

	if (leads_to_logon(status, location)) {
		snprintf(why, PX_FORMS_WHY, "the form %.100s refuses account or password", f->page);
		return end(f, PX_FORMS_REFUSED);
	}
	if (status == 401) {
		snprintf(why, PX_FORMS_WHY, "%.100s refuses account or password", f->path);
		return end(f, PX_FORMS_REFUSED);
	}
	if (!away && status != 200)
		snprintf(why, PX_FORMS_WHY, "%.100s can't take the form (HTTP %d)", f->path,
		         status);
	else if (f->cookies.failed)
		snprintf(why, PX_FORMS_WHY, "%.100s sets cookies of more than %d bytes", f->path,
		         PX_FORMS_COOKIES_MAX);
	else if (f->cookies.len == 0)
		snprintf(why, PX_FORMS_WHY, "%.100s sets no session", f->path);
	else
		return end(f, PX_FORMS_DONE);
	return end(f, PX_FORMS_GIVEN_UP);
}

enum px_forms_next px_forms_answered(struct px_forms *f, int status, const char *location,
                                     char why[PX_FORMS_WHY])
{
	enum px_forms_next next;

	why[0] = '\0';
	next = f->state == PX_FORMS_FINDING ? found(f, status, location, why)
	                                    : posted(f, status, location, why);
	for (char *c = why; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return next;
}

static void field(struct px_buf *out, const char *name, const char *value)
{
	px_buf_strs(out, out->len ? "&" : "", name, "=");
	for (const char *c = value; *c; c++) {
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		    (*c >= '0' && *c <= '9') || strchr("-._", *c))
			px_buf_add(out, c, 1);
		else
			px_buf_printf(out, "%%%02X", (unsigned char)*c);
	}
}

/* flags and trusted 4: a private computer, whose session lasts a day. isUtf8 is 2007's. */
void px_forms_body(struct px_buf *out, const char *destination, const char *account,
                   const char *password)
{
	reserve(out, 4096);
	field(out, "destination", destination);
	field(out, "flags", "4");
	field(out, "forcedownlevel", "0");
	field(out, "trusted", "4");
	field(out, "username", account);
	field(out, "password", password);
	field(out, "isUtf8", "1");
	field(out, "SubmitCreds", "Log On");
}
