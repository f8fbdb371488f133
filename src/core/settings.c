/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "px_settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/availability.h"
#include "core/buf.h"
#include "core/host.h"
#include "core/lang.h"
#include "core/pidf.h"
#include "core/said.h"
#include "core/users.h"
#include "core/utf8.h"

#define CONCURRENCY 8
#define LISTEN_UDP "50020"
#define GATEWAYS_FILE_MAX (1 << 20)
#define EXCHANGE_PATH "/EWS/Exchange.asmx"

enum kind {
	STRING,
	PATH,
	SECRET,
	DOMAIN,
	URL,
	LISTEN,
	ADDRESS,
	HOST,
	AOR,
	ZONE,
	LANGUAGE,
	INTEGER,
	SECONDS,
	BOOLEAN,
	CHOICE,
	GATEWAYS, /* from here on: repeated */
	USERS,
	SERVERS,
	MAP,
	COMPAT,
	NOTES
};

struct setting {
	const char *name, *group;
	enum kind kind;
	size_t at; /* the field in struct px_settings */
	const char *preset;
	int64_t min, max;
	const char *form, *help;
};

/* The settings of a group follow its title, which is a row without a name. */
static const struct setting row[] = {
#define PX_GROUP(title) {.group = title},
#define PX_SETTING(name_, kind_, preset_, min_, max_, form_, help_)                                \
	{.name = #name_,                                                                           \
	 .kind = kind_,                                                                            \
	 .at = offsetof(struct px_settings, name_),                                                \
	 .preset = preset_,                                                                        \
	 .min = min_,                                                                              \
	 .max = max_,                                                                              \
	 .form = form_,                                                                            \
	 .help = help_},
#include "px_settings.def"
#undef PX_GROUP
#undef PX_SETTING
};

#define ROWS (sizeof row / sizeof *row)
#define TLS_NOT_GIVEN ((enum px_tls)99)

/* One reading. */
struct reading {
	struct px_settings *s;
	const struct px_settings_reader *io;
	struct px_complaints said;
	unsigned
	    given[ROWS]; /* the line of each setting, the last one of a repeated one; 0: none */
	unsigned map_given[PX_STATUSES], note_given[PX_NOTES];
	struct px_seen users;
	bool oom;
};

struct slice {
	const char *s;
	size_t n;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct slice trimmed(const char *s, size_t n)
{
	while (n > 0 && blank(s[0])) {
		s++;
		n--;
	}
	while (n > 0 && blank(s[n - 1]))
		n--;
	return (struct slice){s, n};
}

static bool is(struct slice v, const char *word)
{
	return v.n == strlen(word) && strncasecmp(v.s, word, v.n) == 0;
}

/* What stands before the first c; *rest is what follows it, or has s NULL. */
static struct slice until(struct slice v, char c, struct slice *rest)
{
	const char *at = memchr(v.s, c, v.n);

	*rest = (struct slice){0};
	if (!at)
		return v;
	*rest = (struct slice){at + 1, v.n - (size_t)(at - v.s) - 1};
	return (struct slice){v.s, (size_t)(at - v.s)};
}

static char *copy(struct reading *r, struct slice v)
{
	char *text = strndup(v.s, v.n);

	r->oom = r->oom || !text;
	return text;
}

/* Room for one more behind the n elements of an array that only this makes longer. NULL: out of
 * memory. */
static void *one_more(struct reading *r, void *array, size_t n, size_t size)
{
	void *longer = array;

	if ((n & (n - 1)) == 0)
		longer = reallocarray(array, n ? 2 * n : 1, size);
	r->oom = r->oom || !longer;
	return longer;
}

static size_t find(const char *name)
{
	size_t i = 0;

	while (!row[i].name || strcmp(row[i].name, name) != 0)
		i++;
	return i;
}

/* The place of v among "a|b|c"; -1: it isn't there. */
static int choice(const char *form, struct slice v)
{
	struct slice rest = {form, strlen(form)};

	for (int i = 0; rest.s; i++) {
		const struct slice word = until(rest, '|', &rest);

		if (word.n == v.n && strncasecmp(word.s, v.s, v.n) == 0)
			return i;
	}
	return -1;
}

/* false: not a number. One too large for an int64 becomes INT64_MAX. */
static bool number(struct slice v, int64_t *out)
{
	const bool minus = v.n > 1 && v.s[0] == '-';
	int64_t n = 0;

	if (v.n == 0)
		return false;
	for (size_t i = minus; i < v.n; i++) {
		if (v.s[i] < '0' || v.s[i] > '9')
			return false;
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, v.s[i] - '0', &n))
			n = INT64_MAX / 10;
	}
	*out = minus ? -n : n;
	return true;
}

/* ---- repeated settings ---- */

void px_gateway_config_free(struct px_gateway_config *g)
{
	free(g->url);
	free(g->host);
	free(g->ca_file);
	g->url = g->host = g->ca_file = NULL;
}

/* host, from an URI that has it with brackets, in lower case */
static char *host_of(struct reading *r, struct slice v)
{
	char *host;

	if (v.n > 0 && v.s[0] == '[')
		v = (struct slice){v.s + 1, v.n - 2};
	host = copy(r, v);
	for (char *c = host; c && *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	return host;
}

/* What RFC 3986 lets stand in a path, escapes included. */
static bool path_ok(struct slice v)
{
	for (size_t i = 0; i < v.n; i++)
		if (v.s[i] <= ' ' || v.s[i] >= 0x7f || strchr("\"<>\\^`{|}?#@", v.s[i]))
			return false;
	return v.n == 0 || v.s[0] == '/';
}

static const char *gateway_option(struct reading *r, struct px_gateway_config *g, struct slice o)
{
	struct slice v, name;
	int64_t n;
	int i;

	o = trimmed(o.s, o.n);
	name = until(o, '=', &v);

	if (!v.s || v.n == 0)
		return "write an option as ;NAME=VALUE";
	if (is(name, "type")) {
		i = choice("ews|webdav", v);
		if (i < 0)
			return "type is ews or webdav";
		g->type = (enum px_gateway_type)i;
	} else if (is(name, "name")) {
		if (g->name[0])
			return "name is given twice";
		if (v.n > PX_GATEWAY_NAME_MAX)
			return "name has at most 63 bytes";
		for (i = 0; i < (int)v.n; i++)
			if (v.s[i] <= ' ' || v.s[i] >= 0x7f || strchr("\"',=", v.s[i]))
				return "name has no blanks, quotes, commas, nor letters beyond "
				       "ASCII";
		memcpy(g->name, v.s, v.n);
	} else if (is(name, "ca")) {
		if (g->ca_file)
			return "ca is given twice";
		g->ca_file = copy(r, v);
	} else if (is(name, "tls_min")) {
		i = choice("1.0|1.1|1.2|1.3", v);
		if (i < 0)
			return "tls_min is 1.0, 1.1, 1.2 or 1.3";
		g->tls_min = (enum px_tls)i;
	} else if (is(name, "concurrency")) {
		if (!number(v, &n) || n < 1 || n > 100)
			return "concurrency is 1 to 100";
		g->concurrency = (unsigned)n;
	} else {
		return "the options are type, name, ca, tls_min and concurrency";
	}
	return NULL;
}

/* Fills g from one gateway as it is written. NULL, or what is wrong with it; g is to be freed in
 * both cases. */
static const char *gateway(struct reading *r, struct px_gateway_config *g, struct slice v)
{
	struct slice options, url = until(v, ';', &options), path;
	struct px_buf text = px_buf_new(PX_SETTINGS_LINE_MAX);
	const char *wrong = NULL;
	size_t host, port = 0;

	*g = (struct px_gateway_config){
	    .port = 443, .concurrency = CONCURRENCY, .tls_min = TLS_NOT_GIVEN};
	if (memchr(url.s, '@', url.n))
		return "a name or password doesn't belong in the URL; use account and "
		       "password_file";
	if (url.n >= 7 && strncasecmp(url.s, "http://", 7) == 0)
		return "with http the password would travel in clear; write https://";
	if (url.n < 8 || strncasecmp(url.s, "https://", 8) != 0)
		return "is not a URL; write https://HOST" EXCHANGE_PATH;
	url = (struct slice){url.s + 8, url.n - 8};
	host = px_host(url.s, url.n);
	if (host == 0)
		return "there is no host in the URL; write a name, IPv4, or IPv6 in brackets";
	if (host < url.n && url.s[host] == ':') {
		port = px_port(url.s + host, url.n - host, &g->port);
		if (port == 0)
			return "the port is not 1 to 65535";
	}
	path = (struct slice){url.s + host + port, url.n - host - port};
	if (!path_ok(path))
		return "after the host the URL has a path such as " EXCHANGE_PATH
		       ", without ?query and #fragment";
	while (options.s && !wrong)
		wrong = gateway_option(r, g, until(options, ';', &options));
	if (wrong)
		return wrong;

	g->host = host_of(r, (struct slice){url.s, host});
	if (!g->host)
		return NULL;
	px_buf_printf(&text, url.s[0] == '[' ? "[%s]" : "%s", g->host);
	if (g->port != 443)
		px_buf_printf(&text, ":%u", g->port);
	if (!g->name[0]) {
		if (text.len > PX_GATEWAY_NAME_MAX)
			wrong = "the host is longer than the 63 bytes of a name; give it a ;name=";
		else if (!text.failed)
			memcpy(g->name, text.data, text.len);
	}
	if (path.n > 1)
		px_buf_add(&text, path.s, path.n);
	else
		px_buf_str(&text, g->type == PX_GATEWAY_EWS ? EXCHANGE_PATH : "/");
	r->oom = r->oom || text.failed ||
	         asprintf(&g->url, "https://%s", text.data ? text.data : "") < 0;
	px_buf_free(&text);
	return wrong;
}

int px_settings_gateway(const struct px_settings *s, const char *text, size_t n,
                        struct px_gateway_config *out, char why[PX_WHY_MAX])
{
	struct reading r = {.s = NULL};
	const char *wrong = gateway(&r, out, trimmed(text, n));

	if (out->tls_min == TLS_NOT_GIVEN)
		out->tls_min = (enum px_tls)s->tls_min;
	if (!wrong && !out->ca_file && s->ca_file)
		out->ca_file = copy(&r, (struct slice){s->ca_file, strlen(s->ca_file)});
	if (!wrong && !r.oom)
		return 0;
	px_gateway_config_free(out);
	snprintf(why, PX_WHY_MAX, "%s", wrong ? wrong : strerror(ENOMEM));
	return wrong ? -EINVAL : -ENOMEM;
}

static void take_gateway(struct reading *r, unsigned line, struct slice v)
{
	struct px_settings *s = r->s;
	struct px_gateway_config g, *longer;
	const char *wrong = gateway(r, &g, v);

	for (size_t i = 0; i < s->gateways && !wrong; i++)
		if (strcasecmp(s->gateway[i].name, g.name) == 0)
			wrong =
			    "another gateway has this name already; give it a ;name= of its own";
	if (!wrong && s->gateways == (size_t)row[find("gateway")].max)
		wrong = "there are more than 1000";
	if (!wrong && s->gateways > 0 &&
	    (g.type == PX_GATEWAY_WEBDAV || s->gateway[0].type == PX_GATEWAY_WEBDAV))
		wrong = "one WebDAV front end, never mixed with EWS: give one gateway with "
		        "type=webdav alone, or only EWS gateways";
	longer = wrong || r->oom ? NULL : one_more(r, s->gateway, s->gateways, sizeof g);
	if (longer) {
		s->gateway = longer;
		s->gateway[s->gateways++] = g;
		return;
	}
	if (wrong)
		px_complain(&r->said, line, "gateway", "%s", wrong);
	px_gateway_config_free(&g);
}

static void take_user(struct reading *r, unsigned line, struct slice v)
{
	const char *at = memchr(v.s, '@', v.n);
	const struct slice after = at ? (struct slice){at, v.n - (size_t)(at - v.s)} : v;
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1], shown[PX_SHOWN_MAX];
	struct slice second;
	const struct slice host = until(after, ',', &second); /* a comma may stand in a user part */
	const struct slice aor = trimmed(v.s, (size_t)(host.s - v.s) + host.n);
	struct px_user_config *longer;
	unsigned earlier;
	int err;

	if (px_key_from_aor(aor.s, aor.n, key)) {
		px_complain(&r->said, line, "user", "%s is not an AoR; write user@host[,mailbox]",
		            px_shown(aor.s, aor.n, shown));
		return;
	}
	if (second.s) {
		second = trimmed(second.s, second.n);
		if (px_mailbox(second.s, second.n, mailbox)) {
			px_complain(&r->said, line, "user",
			            "%s is not a mailbox; write user@domain",
			            px_shown(second.s, second.n, shown));
			return;
		}
	}
	err = px_seen_add(&r->users, key, line, &earlier);
	if (err == -EEXIST) {
		px_complain(&r->said, line, "user", "%s stands in %s %u already",
		            px_shown(key, strlen(key), shown), px_unit(&r->said), earlier);
		return;
	}
	if (r->s->users == (size_t)row[find("user")].max) {
		px_complain(&r->said, line, "user", "there are more than %zu", r->s->users);
		return;
	}
	r->oom = r->oom || err;
	longer = one_more(r, r->s->user, r->s->users, sizeof *longer);
	if (!longer)
		return;
	r->s->user = longer;
	r->s->user[r->s->users++] = (struct px_user_config){
	    .key = copy(r, (struct slice){key, strlen(key)}),
	    .mailbox = second.s ? copy(r, (struct slice){mailbox, strlen(mailbox)}) : NULL,
	    .on = true,
	    .line = line};
}

/* "sip:HOST[:PORT][;transport=udp|tcp|tls]". NULL, or what is wrong with it. */
static const char *server(struct reading *r, struct px_server_config *p, struct slice v)
{
	struct slice option, value, where = until(v, ';', &option);
	size_t host, port = 0;
	int i;

	*p = (struct px_server_config){0};
	if (v.n >= 5 && strncasecmp(v.s, "sips:", 5) == 0)
		return "for TLS write sip:HOST;transport=tls";
	if (v.n < 4 || strncasecmp(v.s, "sip:", 4) != 0)
		return "is not a SIP URI; write sip:HOST[:PORT][;transport=udp|tcp|tls]";
	if (memchr(v.s, '@', v.n))
		return "a server has no user part; write sip:HOST[:PORT]";
	where = (struct slice){where.s + 4, where.n - 4};
	host = px_host(where.s, where.n);
	if (host == 0)
		return "there is no host; write sip:HOST with a name, IPv4, or IPv6 in brackets";
	if (host < where.n) {
		port = px_port(where.s + host, where.n - host, &p->port);
		if (host + port != where.n)
			return "after the host comes a port from 1 to 65535, or nothing";
	}
	if (option.s) {
		const struct slice name = until(option, '=', &value);

		i = value.s ? choice("udp|tcp|tls", value) : -1;
		if (!is(name, "transport") || i < 0)
			return "the only parameter is ;transport=udp, tcp or tls";
		p->transport = (enum px_transport)(PX_TRANSPORT_UDP + i);
	}
	p->uri = copy(r, v);
	p->host = host_of(r, (struct slice){where.s, host});
	return NULL;
}

static void take_server(struct reading *r, unsigned line, struct slice v)
{
	struct px_settings *s = r->s;
	struct px_server_config p, *longer;
	const char *wrong = server(r, &p, v);

	if (!wrong && s->presence_servers == (size_t)row[find("presence_server")].max)
		wrong = "there are more than 8";
	longer =
	    wrong || r->oom ? NULL : one_more(r, s->presence_server, s->presence_servers, sizeof p);
	if (longer) {
		s->presence_server = longer;
		s->presence_server[s->presence_servers++] = p;
		return;
	}
	if (wrong)
		px_complain(&r->said, line, "presence_server", "%s", wrong);
	free(p.uri);
	free(p.host);
}

static void take_map(struct reading *r, unsigned line, struct slice v)
{
	static const enum px_presence to[] = {PX_AVAILABLE, PX_PRESENCE_BUSY, PX_AWAY, PX_KEEP};
	struct slice right;
	const struct slice left = until(v, '=', &right);
	const struct slice name = trimmed(left.s, left.n);
	char shown[PX_SHOWN_MAX];
	int status = PX_FREE, i;

	while (status < PX_STATUSES && !is(name, px_status_name((enum px_status)status)))
		status++;
	if (!right.s || status == PX_STATUSES) {
		px_complain(&r->said, line, "map",
		            "%s: the statuses are free, tentative, busy, oof, workingelsewhere and "
		            "nodata; write STATUS=available|busy|away",
		            px_shown(name.s, name.n, shown));
		return;
	}
	right = trimmed(right.s, right.n);
	i = choice(status == PX_NODATA ? "available|busy|away|keep" : "available|busy|away", right);
	if (i < 0)
		px_complain(&r->said, line, "map", "%s=%s: give available, busy or away%s",
		            px_status_name((enum px_status)status),
		            px_shown(right.s, right.n, shown),
		            status == PX_NODATA ? ", or keep" : "");
	else if (r->map_given[status])
		px_complain(&r->said, line, "map", "%s is mapped in %s %u already",
		            px_status_name((enum px_status)status), px_unit(&r->said),
		            r->map_given[status]);
	else
		r->s->map->of[status] = to[i];
	r->map_given[status] = line;
}

static void take_compat(struct reading *r, unsigned line, struct slice v)
{
	const char *form = row[find("compat")].form;
	const int i = choice(form, v);
	char shown[PX_SHOWN_MAX];

	if (i < 0)
		px_complain(&r->said, line, "compat", "%s is no choice; give %s",
		            px_shown(v.s, v.n, shown), form);
	else
		r->s->compat |= 1u << i;
}

static void take_note(struct reading *r, unsigned line, struct slice v)
{
	static const char names[] = "available|busy|away";
	struct slice right;
	const struct slice left = until(v, '=', &right);
	const int i = choice(names, trimmed(left.s, left.n));
	char shown[PX_SHOWN_MAX];

	if (right.s)
		right = trimmed(right.s, right.n);
	if (i < 0 || !right.s || right.n == 0)
		px_complain(&r->said, line, "note", "%s: write %s=TEXT", px_shown(v.s, v.n, shown),
		            names);
	else if (right.n > PX_NOTE_MAX)
		px_complain(&r->said, line, "note", "%s: is longer than %d bytes",
		            px_shown(v.s, v.n, shown), PX_NOTE_MAX);
	else if (r->note_given[i])
		px_complain(&r->said, line, "note", "%s is given in %s %u already",
		            px_shown(left.s, left.n, shown), px_unit(&r->said), r->note_given[i]);
	else {
		r->s->note[i] = copy(r, right);
		r->note_given[i] = line;
	}
}

/* Could be a setting's name: what can't is not shown, it may be a password. */
static bool named(struct slice name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.",
		            name.s[i]))
			return false;
	return name.n > 0;
}

/* ---- single settings ---- */

/* NULL, or what is wrong. */
static const char *check_text(enum kind kind, struct slice v)
{
	const size_t host = px_host(v.s, v.n);
	uint16_t port;

	switch (kind) {
	case SECRET:
		return v.n > PX_PASSWORD_MAX ? "is longer than 255 bytes" : NULL;
	case STRING:
		return v.n > 255 ? "is longer than 255 bytes" : NULL;
	case ZONE:
		for (size_t i = 0; i < v.n; i++)
			if (!named((struct slice){v.s + i, 1}) && v.s[i] != '/' && v.s[i] != '+')
				return "is no time zone; give a name such as Europe/Berlin";
		return v.s[0] == '.' || v.s[0] == '/' || v.n > 64 || memmem(v.s, v.n, "..", 2)
		           ? "is no time zone; give a name such as Europe/Berlin"
		           : NULL;
	case LANGUAGE:
		return px_lang_tag(v.s, v.n) ? NULL : "is no language tag; give one such as de";
	case URL: {
		const size_t scheme = v.n >= 8 && strncasecmp(v.s, "https://", 8) == 0  ? 8
		                      : v.n >= 7 && strncasecmp(v.s, "http://", 7) == 0 ? 7
		                                                                        : v.n;
		const size_t name = px_host(v.s + scheme, v.n - scheme);
		const size_t no = px_port(v.s + scheme + name, v.n - scheme - name, &port);
		const size_t rest = scheme + name + no;

		return name > 0 && path_ok((struct slice){v.s + rest, v.n - rest})
		           ? NULL
		           : "is not a URL; write http://HOST[:PORT][/PATH]";
	}
	case DOMAIN:
		return host == v.n && !px_host_is_address(v.s, v.n) && host < PX_MAILBOX_MAX
		           ? NULL
		           : "is not a domain; write example.com";
	case LISTEN: {
		char only[8];
		const int n = v.n <= 5 ? snprintf(only, sizeof only, ":%.*s", (int)v.n, v.s) : 0;

		if (n > 0 && px_port(only, (size_t)n, &port) == (size_t)n)
			return NULL;
		return host > 0 && px_host_is_address(v.s, host) &&
		               px_port(v.s + host, v.n - host, &port) == v.n - host && host < v.n
		           ? NULL
		           : "give a port from 1 to 65535, or ADDRESS:PORT with IPv4 or [IPv6]";
	}
	case ADDRESS:
	case HOST:
		if (host > 0 && (kind == HOST || px_host_is_address(v.s, host)) &&
		    (host == v.n || px_port(v.s + host, v.n - host, &port) == v.n - host))
			return NULL;
		return kind == HOST ? "write HOST[:PORT]; IPv6 in brackets"
		                    : "write ADDRESS[:PORT] with IPv4 or [IPv6]";
	default:
		return NULL;
	}
}

/* Text is only ever replaced when a preset was there before. */
static void put_text(struct reading *r, void *field, struct slice v)
{
	char *text = copy(r, v);

	free(*(char **)field);
	*(char **)field = text;
}

static void take_value(struct reading *r, const struct setting *is_, unsigned line, struct slice v)
{
	void *field = (char *)r->s + is_->at;
	char shown[PX_SHOWN_MAX], key[PX_AOR_MAX + 1];
	const char *wrong;
	int64_t n;
	int i;

	switch (is_->kind) {
	case GATEWAYS:
		take_gateway(r, line, v);
		break;
	case USERS:
		take_user(r, line, v);
		break;
	case SERVERS:
		take_server(r, line, v);
		break;
	case MAP:
		take_map(r, line, v);
		break;
	case AOR:
		if (px_key_from_aor(v.s, v.n, key) != 0)
			px_complain(&r->said, line, is_->name, "%s is not an AoR; write user@host",
			            px_shown(v.s, v.n, shown));
		else
			put_text(r, field, (struct slice){key, strlen(key)});
		break;
	case COMPAT:
		take_compat(r, line, v);
		break;
	case NOTES:
		take_note(r, line, v);
		break;
	case INTEGER:
	case SECONDS:
		if (!number(v, &n))
			px_complain(
			    &r->said, line, is_->name, "%s is not a number; give %lld to %lld",
			    px_shown(v.s, v.n, shown), (long long)is_->min, (long long)is_->max);
		else if (n < is_->min || n > is_->max)
			px_complain(
			    &r->said, line, is_->name, "%s is out of range; give %lld to %lld",
			    px_shown(v.s, v.n, shown), (long long)is_->min, (long long)is_->max);
		else
			*(int64_t *)field = n;
		break;
	case BOOLEAN:
		i = choice("yes|no|on|off|true|false|1|0", v);
		if (i < 0)
			px_complain(&r->said, line, is_->name, "%s is neither; give yes or no",
			            px_shown(v.s, v.n, shown));
		else
			*(bool *)field = i % 2 == 0;
		break;
	case CHOICE:
		i = choice(is_->form, v);
		if (i < 0)
			px_complain(&r->said, line, is_->name, "%s is no choice; give %s",
			            px_shown(v.s, v.n, shown), is_->form);
		else
			*(unsigned *)field = (unsigned)i;
		break;
	default:
		wrong = check_text(is_->kind, v);
		if (!wrong)
			put_text(r, field, v);
		else if (is_->kind == SECRET)
			px_complain(&r->said, line, is_->name, "%s", wrong);
		else
			px_complain(&r->said, line, is_->name, "%s: %s", px_shown(v.s, v.n, shown),
			            wrong);
	}
}

/* ---- lines ---- */

/* Levenshtein's distance, for names: of more than 31 bytes only the first 31 count. */
static unsigned distance(struct slice a, const char *b)
{
	unsigned before[32], now[32];
	const size_t n = strlen(b) < 31 ? strlen(b) : 31;

	for (size_t j = 0; j <= n; j++)
		before[j] = (unsigned)j;
	for (size_t i = 0; i < a.n && i < 31; i++) {
		now[0] = (unsigned)i + 1;
		for (size_t j = 0; j < n; j++) {
			const unsigned changed = before[j] + (a.s[i] != b[j]);
			const unsigned other =
			    (before[j + 1] < now[j] ? before[j + 1] : now[j]) + 1;

			now[j + 1] = changed < other ? changed : other;
		}
		memcpy(before, now, sizeof before);
	}
	return before[n];
}

static void unknown(struct reading *r, unsigned line, struct slice name)
{
	const char *nearest = NULL;
	unsigned least = name.n < 6 ? 3 : 4; /* farther away is another word */
	char shown[PX_SHOWN_MAX];

	for (size_t i = 0; i < ROWS; i++) {
		const unsigned d = row[i].name ? distance(name, row[i].name) : least;

		if (d < least) {
			least = d;
			nearest = row[i].name;
		}
	}
	px_shown(name.s, name.n, shown);
	if (nearest)
		px_complain(&r->said, line, NULL, "%s is no setting; %s is the nearest", shown,
		            nearest);
	else
		px_complain(&r->said, line, NULL, "%s is no setting; -h lists them", shown);
}

/*
 * The value as it stands behind the `=`: out of its quotes and without the comment behind it.
 * `text` has room for it. NULL, or what is wrong.
 */
static const char *unquoted(struct slice v, char *text, size_t *n)
{
	const char *s = v.s, *const end = v.s + v.n;

	*n = 0;
	if (s == end || *s != '"') {
		while (s < end && !(*s == '#' && blank(s[-1]))) /* before v is the `=` or a blank */
			s++;
		v = trimmed(v.s, (size_t)(s - v.s));
		memcpy(text, v.s, v.n);
		*n = v.n;
		return NULL;
	}
	for (s++; s < end && *s != '"'; s++) {
		if (*s == '\\' && s + 1 < end && (s[1] == '"' || s[1] == '\\'))
			s++;
		text[(*n)++] = *s;
	}
	if (s == end)
		return "a quote is opened and not closed";
	if (++s < end && !blank(*s))
		return "there is something behind the closing quote; write \\\" for a quote within";
	while (s < end && blank(*s))
		s++;
	return s < end && *s != '#' ? "there is something behind the closing quote" : NULL;
}

static bool printable(struct slice v)
{
	for (size_t i = 0; i < v.n;) {
		uint32_t c;
		const size_t step = px_utf8(v.s + i, v.n - i, &c);

		if (step == 0 || c < ' ' || (c >= 0x7f && c < 0xa0))
			return false;
		i += step;
	}
	return true;
}

/* One line of the settings. Nothing of a value is shown that could be a password. */
static void take_line(struct reading *r, unsigned line, struct slice text)
{
	char value[PX_SETTINGS_LINE_MAX];
	struct slice rest, name = until(text, '=', &rest);
	const char *wrong;
	size_t n, i = 0;

	name = trimmed(name.s, name.n);
	if (!rest.s || !named(name)) {
		px_complain(&r->said, line, NULL, "is not NAME = VALUE");
		return;
	}
	while (i < ROWS && (!row[i].name || strlen(row[i].name) != name.n ||
	                    memcmp(row[i].name, name.s, name.n) != 0))
		i++;
	if (i == ROWS) {
		unknown(r, line, name);
		return;
	}
	rest = trimmed(rest.s, rest.n);
	wrong = unquoted(rest, value, &n);
	if (!wrong && n == 0)
		wrong = "has no value; leave the line out for the default";
	if (!wrong && !printable((struct slice){value, n}))
		wrong = "has a control character in it, or isn't UTF-8";
	if (wrong)
		px_complain(&r->said, line, row[i].name, "%s", wrong);
	else if (r->given[i] && row[i].kind < GATEWAYS)
		px_complain(&r->said, line, row[i].name, "is given in %s %u already",
		            px_unit(&r->said), r->given[i]);
	else
		take_value(r, &row[i], line, (struct slice){value, n});
	r->given[i] = line;
	explicit_bzero(value, n);
}

/* One line of gateways_file. */
static void take_gateway_line(struct reading *r, unsigned line, struct slice text)
{
	size_t n = 0;

	while (n < text.n && !(text.s[n] == '#' && blank(text.s[n - 1])))
		n++;
	text = trimmed(text.s, n);
	if (!printable(text))
		px_complain(&r->said, line, NULL, "has a control character in it, or isn't UTF-8");
	else
		take_gateway(r, line, text);
}

/* Gives each line that says something to `take`. */
static void each_line(struct reading *r, const char *text, size_t n,
                      void (*take)(struct reading *, unsigned, struct slice))
{
	const char *s = text, *const end = text + n;
	unsigned line = 0;

	if (n >= 2 && (memcmp(s, "\xff\xfe", 2) == 0 || memcmp(s, "\xfe\xff", 2) == 0)) {
		px_complain(&r->said, 1, NULL, "is UTF-16; save it as UTF-8");
		return;
	}
	if (n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
		s += 3;
	while (s < end && !r->oom) {
		const char *lf = memchr(s, '\n', (size_t)(end - s));
		size_t len = (size_t)((lf ? lf : end) - s);
		struct slice t;

		line++;
		if (len > 0 && s[len - 1] == '\r')
			len--;
		t = trimmed(s, len);
		if (t.n == 0 || t.s[0] == '#')
			;
		else if (len > PX_SETTINGS_LINE_MAX)
			px_complain(&r->said, line, NULL, "is longer than %d bytes",
			            PX_SETTINGS_LINE_MAX);
		else if (memchr(t.s, '\0', t.n))
			px_complain(&r->said, line, NULL, "has a NUL byte in it: this is no text");
		else
			take(r, line, t);
		s = lf ? lf + 1 : end;
	}
}

/* ---- the whole ---- */

/* What a file says, for a setting that names it. false: nothing, and that was said. */
static bool read_named(struct reading *r, const char *setting, const char *path, size_t ceiling,
                       bool secret, struct px_buf *out)
{
	char why[PX_WHY_MAX] = "", shown[PX_SHOWN_MAX];

	int err;

	*out = px_buf_new(ceiling);
	err = r->io->read(path, ceiling, secret, out, why);
	if (err == 0)
		return true;
	px_buf_free(out);
	if (err == -ENOMEM)
		r->oom = true;
	else
		px_complain(&r->said, r->given[find(setting)], setting, "%s: %s",
		            px_shown(path, strlen(path), shown), why);
	return false;
}

/* The first line of the file that `setting` names. */
static char *read_password(struct reading *r, const char *setting, const char *path)
{
	struct px_buf b;
	struct slice first, rest;
	char *password = NULL;
	const char *wrong = NULL;

	if (!path || !r->io->read || !read_named(r, setting, path, PX_SETTINGS_LINE_MAX, true, &b))
		return NULL;
	first = until((struct slice){b.data ? b.data : "", b.len}, '\n', &rest);
	if (first.n > 0 && first.s[first.n - 1] == '\r')
		first.n--;
	if (first.n == 0)
		wrong = "its first line is empty; write the password there";
	else if (first.n > PX_PASSWORD_MAX)
		wrong = "the password is longer than 255 bytes";
	else if (!printable(first))
		wrong = "the password has a control character in it, or isn't UTF-8";
	else
		password = copy(r, first);
	if (wrong)
		px_complain(&r->said, r->given[find(setting)], setting, "%s", wrong);
	if (b.data)
		explicit_bzero(b.data, b.cap);
	px_buf_free(&b);
	return password;
}

static void read_gateways(struct reading *r)
{
	struct px_buf b;

	if (!r->s->gateways_file || !r->io->read ||
	    !read_named(r, "gateways_file", r->s->gateways_file, GATEWAYS_FILE_MAX, false, &b))
		return;
	r->said.where = "gateways_file";
	each_line(r, b.data ? b.data : "", b.len, take_gateway_line);
	r->said.where = NULL;
	if (r->s->gateways == 0 && r->said.n == 0)
		px_complain(&r->said, r->given[find("gateways_file")], "gateways_file",
		            "there is no gateway in it");
	px_buf_free(&b);
}

/* There is no mixture of both. */
static bool speaks_webdav(const struct px_settings *s)
{
	return s->gateways > 0 && s->gateway[0].type == PX_GATEWAY_WEBDAV;
}

static void finish_gateways(struct reading *r)
{
	struct px_settings *s = r->s;

	for (size_t i = 0; i < s->gateways; i++) {
		struct px_gateway_config *g = &s->gateway[i];

		if (g->tls_min == TLS_NOT_GIVEN)
			g->tls_min = (enum px_tls)s->tls_min;
		if (!g->ca_file && s->ca_file)
			g->ca_file = copy(r, (struct slice){s->ca_file, strlen(s->ca_file)});
	}
	if (speaks_webdav(s) && !s->listen_udp)
		s->listen_udp = copy(r, (struct slice){LISTEN_UDP, strlen(LISTEN_UDP)});
}

static void finish_users(struct reading *r)
{
	char mailbox[PX_MAILBOX_MAX + 1], shown[PX_SHOWN_MAX];

	for (size_t i = 0; i < r->s->users && !r->oom; i++) {
		struct px_user_config *u = &r->s->user[i];

		if (u->mailbox)
			continue;
		if (px_user_mailbox(u->key, r->s->mailbox_domain, mailbox))
			px_complain(&r->said, u->line, "user",
			            "%s makes no mailbox; write AOR,MAILBOX",
			            px_shown(u->key, strlen(u->key), shown));
		else
			u->mailbox = copy(r, (struct slice){mailbox, strlen(mailbox)});
	}
}

/* [ADDRESS:]PORT with an address, and not that for all. */
static bool has_address(const char *listen)
{
	return strchr(listen, ':') && strncmp(listen, "0.0.0.0:", 8) != 0 &&
	       strncmp(listen, "[::]:", 5) != 0;
}

/* What one line alone can't tell. */
static void finish(struct reading *r)
{
	struct px_settings *s = r->s;
	const unsigned password = r->given[find("password")];
	const unsigned password_file = r->given[find("password_file")];
	const unsigned sip_user = r->given[find("sip_user")];
	const unsigned sip_password = r->given[find("sip_password_file")];

	read_gateways(r);
	finish_gateways(r);
	finish_users(r);
	if (!r->given[find("gateway")] && !r->given[find("gateways_file")])
		px_complain(&r->said, 0, "gateway",
		            "there is none; give at least one, such as https://cas1.example.com");
	if (!r->given[find("account")])
		px_complain(&r->said, 0, "account",
		            "there is none; give user@domain or DOMAIN\\user");
	if (password && password_file)
		px_complain(&r->said, password > password_file ? password : password_file,
		            "password",
		            "both password and password_file are given (%ss %u and %u); give one",
		            px_unit(&r->said), password, password_file);
	else if (password_file)
		s->password = read_password(r, "password_file", s->password_file);
	else if (!password)
		px_complain(
		    &r->said, 0, "password_file",
		    "there is none; give a file whose first line is the account's password");
	if (!sip_user != !sip_password)
		px_complain(&r->said, sip_user ? sip_user : sip_password,
		            sip_user ? "sip_user" : "sip_password_file",
		            "%s is missing; give both or neither",
		            sip_user ? "sip_password_file" : "sip_user");
	else
		s->sip_password = read_password(r, "sip_password_file", s->sip_password_file);
	if (r->io->standalone && r->given[find("db_url")])
		px_complain(&r->said, r->given[find("db_url")], "db_url",
		            "only the module in a proxy reads a database; give users_file");
	if (r->io->standalone && !r->given[find("presence_server")])
		px_complain(&r->said, 0, "presence_server",
		            "there is none, and no proxy around; give sip:HOST[:PORT]");
	if (!px_lang_find(s->note_lang) &&
	    !(s->note[PX_NOTE_AVAILABLE] && s->note[PX_NOTE_BUSY] && s->note[PX_NOTE_AWAY]))
		px_complain(&r->said, r->given[find("note_lang")], "note_lang",
		            "%s is not built in; give note=available=TEXT, note=busy=TEXT and "
		            "note=away=TEXT, or one of %s",
		            s->note_lang, px_lang_list());
	if (s->remind_before > 0 && s->remind_before + s->resync > s->horizon &&
	    s->resync < s->horizon)
		px_complain(&r->said, r->given[find("remind_before")], "remind_before",
		            "%lld and resync, %lld, are more than horizon, %lld: meetings would be "
		            "known too late",
		            (long long)s->remind_before, (long long)s->resync,
		            (long long)s->horizon);
	/* over WebDAV it is listen_udp, which has a default; a gateways_file that isn't read may hold either */
	if (s->subscription == PX_SUBSCRIPTION_PUSH && !s->listen_http && s->gateways > 0 &&
	    !speaks_webdav(s))
		px_complain(&r->said, r->given[find("subscription")], "subscription",
		            "push needs listen_http; give a port that Exchange can reach");
	if (s->listen_http && !s->announce_http && !has_address(s->listen_http))
		px_complain(&r->said, r->given[find("listen_http")], "listen_http",
		            "it names no address that Exchange could call; give announce_http, "
		            "such as http://192.0.2.10:8080/");
	if (s->resync >= s->horizon)
		px_complain(
		    &r->said, r->given[find("resync")], "resync",
		    "%lld is not below horizon, %lld: what is known would run out between two "
		    "readings",
		    (long long)s->resync, (long long)s->horizon);
}

static struct px_settings *presets(void)
{
	struct px_settings *s = calloc(1, sizeof *s);
	struct reading r = {.s = s};

	if (!s || !(s->map = malloc(sizeof *s->map))) {
		free(s);
		return NULL;
	}
	*s->map = px_map_default;
	for (size_t i = 0; i < ROWS; i++)
		if (row[i].name && row[i].kind >= LANGUAGE && row[i].kind <= CHOICE)
			take_value(&r, &row[i], 0,
			           (struct slice){row[i].preset, strlen(row[i].preset)});
	return s;
}

int px_settings_read(struct px_settings **out, const char *text, size_t n,
                     const struct px_settings_reader *io)
{
	struct reading r = {
	    .s = presets(), .io = io, .said = {.said = io->said, .arg = io->arg, .unit = io->unit}};
	int err = 0;

	if (!r.s)
		return -ENOMEM;
	each_line(&r, text, n, take_line);
	if (!r.oom)
		finish(&r);
	px_complaints_end(&r.said);
	px_seen_free(&r.users);
	if (r.oom)
		err = -ENOMEM;
	else if (r.said.n > 0)
		err = -EINVAL;
	if (err)
		px_settings_free(r.s);
	else
		*out = r.s;
	return err;
}

static void wipe(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void px_settings_free(struct px_settings *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->gateways; i++)
		px_gateway_config_free(&s->gateway[i]);
	for (size_t i = 0; i < s->users; i++) {
		free(s->user[i].key);
		free(s->user[i].mailbox);
	}
	for (size_t i = 0; i < s->presence_servers; i++) {
		free(s->presence_server[i].uri);
		free(s->presence_server[i].host);
	}
	free(s->gateway);
	free(s->user);
	free(s->presence_server);
	free(s->map);
	for (size_t i = 0; i < PX_NOTES; i++)
		free(s->note[i]);
	wipe(s->sip_password);
	for (size_t i = 0; i < ROWS; i++)
		if (row[i].name && row[i].kind == SECRET)
			wipe(*(char **)((char *)s + row[i].at));
		else if (row[i].name && row[i].kind < INTEGER)
			free(*(char **)((char *)s + row[i].at));
	free(s);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_servers(const struct px_settings *a, const struct px_settings *b)
{
	bool same = a->presence_servers == b->presence_servers;

	for (size_t i = 0; i < a->presence_servers && same; i++)
		same = strcmp(a->presence_server[i].uri, b->presence_server[i].uri) == 0;
	return same;
}

static bool same(const struct setting *t, const struct px_settings *a, const struct px_settings *b)
{
	const char *x = (const char *)a + t->at, *y = (const char *)b + t->at;

	switch (t->kind) {
	case INTEGER:
	case SECONDS:
		return *(const int64_t *)x == *(const int64_t *)y;
	case BOOLEAN:
		return *(const bool *)x == *(const bool *)y;
	case CHOICE:
	case COMPAT:
		return *(const unsigned *)x == *(const unsigned *)y;
	case GATEWAYS:
	case USERS:
		return true;
	case SERVERS:
		return same_servers(a, b);
	case MAP:
		return memcmp(a->map, b->map, sizeof *a->map) == 0;
	case NOTES:
		for (int i = 0; i < PX_NOTES; i++)
			if (!same_text(a->note[i], b->note[i]))
				return false;
		return true;
	default:
		return same_text(*(char *const *)x, *(char *const *)y);
	}
}

unsigned px_settings_fixed(const struct px_settings *was, const struct px_settings *now,
                           px_said_h *said, void *arg)
{
	static const char *const live[] = {
	    "gateways_file", "account",    "password",       "password_file", "ca_file",
	    "tls_min",       "users_file", "mailbox_domain", "sip_user",      "sip_password_file"};
	unsigned n = 0;

	for (size_t i = 0; i < ROWS; i++) {
		bool fixed = row[i].name;

		for (size_t k = 0; k < sizeof live / sizeof *live && fixed; k++)
			fixed = strcmp(row[i].name, live[k]) != 0;
		if (!fixed || same(&row[i], was, now))
			continue;
		said(arg, row[i].name);
		n++;
	}
	return n;
}

/* A cell of a Markdown table: a bar would end it. */
static void cell(struct px_buf *out, const char *s, const char *around)
{
	px_buf_printf(out, " %s", around);
	for (; *s; s++)
		px_buf_printf(out, *s == '|' ? "\\%c" : "%c", *s);
	px_buf_printf(out, "%s |", around);
}

void px_settings_print(struct px_buf *out, bool markdown)
{
	for (size_t i = 0; i < ROWS; i++) {
		const struct setting *t = &row[i];
		const bool ranged = t->name && (t->kind == INTEGER || t->kind == SECONDS);
		const bool spoken = t->name && t->kind < LANGUAGE; /* its preset is no value */
		const char *many = t->name && t->kind >= GATEWAYS ? " (may be repeated)" : "";
		char form[200], help[400];

		if (!t->name) {
			px_buf_printf(out,
			              markdown
			                  ? "%s**%s**\n\n| Setting | Value | Default | What it "
			                    "is |\n|---|---|---|---|\n"
			                  : "%s%s\n",
			              i ? "\n" : "", t->group);
			continue;
		}
		if (ranged)
			snprintf(form, sizeof form, "%lld to %lld%s", (long long)t->min,
			         (long long)t->max, t->kind == SECONDS ? " s" : "");
		else
			snprintf(form, sizeof form, "%s", t->form);
		snprintf(help, sizeof help, "%s%s", t->help, many);
		if (markdown) {
			px_buf_str(out, "|");
			cell(out, t->name, "`");
			cell(out, form, ranged ? "" : "`");
			cell(out, t->preset ? t->preset : "",
			     t->preset && !spoken && !*many ? "`" : "");
			cell(out, help, "");
			px_buf_str(out, "\n");
		} else {
			px_buf_printf(out, "  %s = %s\n      %s", t->name, form, help);
			if (t->preset)
				px_buf_printf(out, "; default: %s", t->preset);
			px_buf_str(out, "\n");
		}
	}
}

unsigned px_settings_impossible(const struct px_settings *s, px_said_h *said, void *arg)
{
	const bool webdav = speaks_webdav(s);
	const struct {
		bool asked;
		const char *what, *instead;
	} table[] = {
	    {s->subscription == PX_SUBSCRIPTION_STREAMING && webdav,
	     "subscription=streaming with type=webdav", "give auto, push, pull or none"},
	    {s->listen_http && webdav, "listen_http with type=webdav",
	     "give listen_udp, to which its NOTIFYs come"},
	    {s->listen_udp && !webdav, "listen_udp", "leave it out"},
	};
	unsigned n = 0;

	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (table[i].asked) {
			char line[160];

			snprintf(line, sizeof line, "%s can't be done by this version; %s",
			         table[i].what, table[i].instead);
			said(arg, line);
			n++;
		}
	return n;
}
