/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/availability.h"
#include "core/buf.h"
#include "core/engine.h"
#include "core/esc.h"
#include "px_settings.h"

#define SECRET "Tr0ub4dor&3"

/* All complaints of one reading, one to a line. */
static struct px_buf heard;

static void said(void *arg, const char *complaint)
{
	(void)arg;
	for (const char *c = complaint; *c; c++)
		assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
	assert_null(strstr(complaint, SECRET));
	px_buf_printf(&heard, "%s\n", complaint);
}

/* What the settings find where they name a file. */
static int read_file(const char *path, size_t ceiling, bool secret, struct px_buf *out,
                     char why[PX_WHY_MAX])
{
	static const struct {
		const char *path, *text;
		bool secret;
	} file[] = {
	    {"/pw", SECRET "\n", true},
	    {"/pw-crlf", SECRET "\r\nmore\n", true},
	    {"/pw-bare", SECRET, true},
	    {"/pw-empty", "", true},
	    {"/pw-blank", "\n" SECRET, true},
	    {"/pw-tab", "a\tb", true},
	    {"/gateways",
	     "# ours\n\nhttps://cas3.example.com # third\r\n  https://cas4.example.com;name=d\n",
	     false},
	    {"/gateways-bad", "https://cas3.example.com\nhttps://CAS3.example.com\nftp://x\n",
	     false},
	    {"/gateways-none", "# nothing\n", false},
	};

	for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
		if (strcmp(path, file[i].path) != 0)
			continue;
		assert_int_equal(secret, file[i].secret);
		px_buf_str(out, file[i].text);
		assert_true(out->len <= ceiling);
		return 0;
	}
	snprintf(why, PX_WHY_MAX, "No such file or directory");
	return -ENOENT;
}

/* Reads a copy of exactly n bytes, so that a look behind it is seen. */
static int with(const char *text, size_t n, bool standalone, struct px_settings **out)
{
	const struct px_settings_reader r = {
	    .standalone = standalone, .read = read_file, .said = said};
	char *exact = malloc(n ? n : 1);
	int err;

	assert_non_null(exact);
	memcpy(exact, text, n);
	px_buf_free(&heard);
	heard = px_buf_new(1 << 20);
	err = px_settings_read(out, exact, n, &r);
	free(exact);
	return err;
}

#define GATEWAY "gateway = https://cas1.example.com\n"
#define ACCOUNT "account = svc@example.com\npassword_file = /pw\n"
#define BASE GATEWAY ACCOUNT

/* The settings of a text that is right. */
static struct px_settings *good(const char *text)
{
	struct px_settings *s = NULL;

	if (with(text, strlen(text), false, &s))
		fail_msg("%s\nshould be right, but: %s", text, heard.data);
	assert_null(heard.data);
	return s;
}

/* A text that is wrong, and everything that is said of it. */
static void bad(const char *text, const char *complaints)
{
	struct px_settings *s = NULL;

	assert_int_equal(with(text, strlen(text), false, &s), -EINVAL);
	assert_null(s);
	assert_string_equal(heard.data ? heard.data : "", complaints);
}

static void has_every_default(void **state)
{
	struct px_settings *s = good(BASE);

	(void)state;
	assert_int_equal(s->gateways, 1);
	assert_null(s->gateways_file);
	assert_string_equal(s->account, "svc@example.com");
	assert_string_equal(s->password, SECRET);
	assert_int_equal(s->auth, PX_AUTH_AUTO);
	assert_null(s->ca_file);
	assert_int_equal(s->tls_min, PX_TLS_1_2);
	assert_int_equal(s->subscription, PX_SUBSCRIPTION_AUTO);
	assert_int_equal(s->horizon, 172800);
	assert_int_equal(s->resync, 3600);
	assert_int_equal(s->stale_after, 3600);
	assert_int_equal(s->on_stale, PX_STALE_WITHDRAW);
	assert_false(s->oof_replies);
	assert_null(s->listen_http);
	assert_null(s->announce_http);
	assert_null(s->listen_udp);
	assert_null(s->announce_udp);
	assert_int_equal(s->users, 0);
	assert_null(s->users_file);
	assert_null(s->mailbox_domain);
	assert_int_equal(s->max_users, 100000);
	assert_memory_equal(s->map, &px_map_default, sizeof px_map_default);
	assert_int_equal(s->presence_servers, 0);
	assert_null(s->sip_bind);
	assert_null(s->sip_user);
	assert_null(s->sip_password_file);
	assert_null(s->sip_password);
	assert_int_equal(s->publish_expires, 3600);
	assert_int_equal(s->publish_rate, 0);
	assert_int_equal(s->publish_when, PX_PUBLISH_ALWAYS);
	assert_int_equal(s->compat, 0);
	assert_false(s->timed_status);
	assert_string_equal(s->note_lang, "en");
	for (int i = 0; i < PX_NOTES; i++)
		assert_null(s->note[i]);
	assert_int_equal(s->remind_before, 0);
	assert_true(s->remind_details);
	assert_null(s->remind_from);
	assert_null(s->remind_zone);
	assert_null(s->state_file);
	assert_int_equal(s->on_exit, PX_EXIT_KEEP);
	assert_null(s->worker);
	assert_false(s->standby);
	assert_int_equal(s->log_level, PX_LOG_INFO);
	px_settings_free(s);
}

static void takes_every_setting(void **state)
{
	struct px_settings *s =
	    good("\xef\xbb\xbfgateway = https://cas1.example.com;ca=/one.pem;tls_min=1.0\r\n"
	         "gateway=https://cas2.example.com # the second\n"
	         "  gateways_file = /gateways\n"
	         "\t# a comment with gateway = nonsense\n"
	         "\n"
	         "account = \"CORP\\svc # \\\"x\\\\y\" # quoted\n"
	         "password = \"" SECRET " #\"\n"
	         "auth = NTLM\nca_file = /ca file.pem\ntls_min = 1.3\nsubscription = none\n"
	         "horizon = 3600\nresync = 60\nstale_after = 604800\non_stale = available\n"
	         "oof_replies = yes\nlisten_http = 8443\n"
	         "announce_http = https://px.example.com:8443/push\n"
	         "listen_udp = [::1]:50021\nannounce_udp = px.example.com\n"
	         "user = sip:Alice@Example.com:5060;transport=tcp\n"
	         "user = a,b@example.com , SMTP:Box@Example.org\n"
	         "users_file=/users\nmailbox_domain = Mail.example.com\nmax_users = 1\n"
	         "map = tentative=busy\nmap = NODATA = Keep\nmap = oof=available\n"
	         "presence_server = sip:[2001:db8::1]\n"
	         "presence_server = sip:Px.example.com:5070;transport=TCP\n"
	         "sip_bind = 192.0.2.1:5080\nsip_user = px\nsip_password_file = /pw-crlf\n"
	         "publish_expires = 86400\npublish_rate = 100000\npublish_when = unavailable\n"
	         "compat = Cisco\ncompat = blink\ntimed_status = yes\nnote_lang = de-CH\n"
	         "note = busy=\"In a meeting\"\nnote = away = = out\n"
	         "remind_details = no\nremind_from = sip:Calendar@EXAMPLE.com;x=y\n"
	         "remind_zone = America/St_Johns\n"
	         "remind_before = 900\nstate_file = /state\non_exit = withdraw\n"
	         "worker = /px\nstandby = on\nlog_level = debug");

	(void)state;
	assert_int_equal(s->gateways, 4);
	assert_string_equal(s->gateway[0].ca_file, "/one.pem");
	assert_int_equal(s->gateway[0].tls_min, PX_TLS_1_0);
	assert_string_equal(s->gateway[1].ca_file, "/ca file.pem");
	assert_int_equal(s->gateway[1].tls_min, PX_TLS_1_3);
	assert_string_equal(s->gateway[2].name, "cas3.example.com");
	assert_string_equal(s->gateway[3].name, "d");
	assert_string_equal(s->account, "CORP\\svc # \"x\\y");
	assert_string_equal(s->password, SECRET " #");
	assert_int_equal(s->auth, PX_AUTH_NTLM);
	assert_int_equal(s->subscription, PX_SUBSCRIPTION_NONE);
	assert_int_equal(s->horizon, 3600);
	assert_int_equal(s->resync, 60);
	assert_int_equal(s->stale_after, 604800);
	assert_int_equal(s->on_stale, PX_STALE_AVAILABLE);
	assert_true(s->oof_replies);
	assert_string_equal(s->listen_http, "8443");
	assert_string_equal(s->announce_http, "https://px.example.com:8443/push");
	assert_string_equal(s->listen_udp, "[::1]:50021");
	assert_string_equal(s->announce_udp, "px.example.com");
	assert_int_equal(s->users, 2);
	assert_string_equal(s->user[0].key, "Alice@example.com");
	assert_string_equal(s->user[0].mailbox, "alice@mail.example.com");
	assert_true(s->user[0].on && !s->user[0].quiet);
	assert_string_equal(s->user[1].key, "a,b@example.com");
	assert_string_equal(s->user[1].mailbox, "box@example.org");
	assert_string_equal(s->users_file, "/users");
	assert_int_equal(s->max_users, 1);
	assert_int_equal(s->map->of[PX_TENTATIVE], PX_PRESENCE_BUSY);
	assert_int_equal(s->map->of[PX_NODATA], PX_KEEP);
	assert_int_equal(s->map->of[PX_OOF], PX_AVAILABLE);
	assert_int_equal(s->map->of[PX_BUSY], PX_PRESENCE_BUSY);
	assert_int_equal(s->presence_servers, 2);
	assert_string_equal(s->presence_server[0].uri, "sip:[2001:db8::1]");
	assert_string_equal(s->presence_server[0].host, "2001:db8::1");
	assert_int_equal(s->presence_server[0].port, 0);
	assert_int_equal(s->presence_server[0].transport, PX_TRANSPORT_ANY);
	assert_string_equal(s->presence_server[1].host, "px.example.com");
	assert_int_equal(s->presence_server[1].port, 5070);
	assert_int_equal(s->presence_server[1].transport, PX_TRANSPORT_TCP);
	assert_string_equal(s->sip_bind, "192.0.2.1:5080");
	assert_string_equal(s->sip_user, "px");
	assert_string_equal(s->sip_password, SECRET);
	assert_int_equal(s->publish_expires, 86400);
	assert_int_equal(s->publish_rate, 100000);
	assert_int_equal(s->publish_when, PX_PUBLISH_UNAVAILABLE);
	assert_int_equal(s->compat, PX_COMPAT_BLINK | PX_COMPAT_CISCO);
	assert_true(s->timed_status);
	assert_string_equal(s->note_lang, "de-CH");
	assert_null(s->note[PX_NOTE_AVAILABLE]);
	assert_string_equal(s->note[PX_NOTE_BUSY], "\"In a meeting\"");
	assert_string_equal(s->note[PX_NOTE_AWAY], "= out");
	assert_int_equal(s->remind_before, 900);
	assert_false(s->remind_details);
	assert_string_equal(s->remind_from, "Calendar@example.com");
	assert_string_equal(s->remind_zone, "America/St_Johns");
	assert_string_equal(s->state_file, "/state");
	assert_int_equal(s->on_exit, PX_EXIT_WITHDRAW);
	assert_string_equal(s->worker, "/px");
	assert_true(s->standby);
	assert_int_equal(s->log_level, PX_LOG_DEBUG);
	px_settings_free(s);
	px_settings_free(NULL);
}

static void reads_gateways(void **state)
{
	static const struct {
		const char *value, *url, *host;
		uint16_t port;
		const char *name;
		unsigned concurrency;
	} row[] = {
	    {"https://cas1.example.com", "https://cas1.example.com/EWS/Exchange.asmx",
	     "cas1.example.com", 443, "cas1.example.com", 8},
	    {"HTTPS://CAS1.Example.com/", "https://cas1.example.com/EWS/Exchange.asmx",
	     "cas1.example.com", 443, "cas1.example.com", 8},
	    {"https://cas1.example.com:443/ews/Exchange.asmx",
	     "https://cas1.example.com/ews/Exchange.asmx", "cas1.example.com", 443,
	     "cas1.example.com", 8},
	    {"https://cas1.example.com:8443", "https://cas1.example.com:8443/EWS/Exchange.asmx",
	     "cas1.example.com", 8443, "cas1.example.com:8443", 8},
	    {"https://192.0.2.1/x%20y;concurrency=1", "https://192.0.2.1/x%20y", "192.0.2.1", 443,
	     "192.0.2.1", 1},
	    {"https://[2001:DB8::1]:8443/x; name=v6 ;concurrency=100",
	     "https://[2001:db8::1]:8443/x", "2001:db8::1", 8443, "v6", 100},
	    {"https://[2001:db8::1]", "https://[2001:db8::1]/EWS/Exchange.asmx", "2001:db8::1", 443,
	     "[2001:db8::1]", 8},
	    {"https://ex;type=webdav", "https://ex/", "ex", 443, "ex", 8},
	    {"https://ex/exchange;type=webdav;name=old", "https://ex/exchange", "ex", 443, "old",
	     8},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		char text[300];
		struct px_settings *s;

		snprintf(text, sizeof text, ACCOUNT "gateway = %s\n", row[i].value);
		s = good(text);
		assert_int_equal(s->gateways, 1);
		assert_string_equal(s->gateway->url, row[i].url);
		assert_string_equal(s->gateway->host, row[i].host);
		assert_int_equal(s->gateway->port, row[i].port);
		assert_string_equal(s->gateway->name, row[i].name);
		assert_int_equal(s->gateway->concurrency, row[i].concurrency);
		assert_int_equal(s->gateway->type, strstr(row[i].value, "webdav")
		                                       ? PX_GATEWAY_WEBDAV
		                                       : PX_GATEWAY_EWS);
		if (strstr(row[i].value, "webdav"))
			assert_string_equal(s->listen_udp, "50020");
		else
			assert_null(s->listen_udp);
		px_settings_free(s);
	}
}

#define A63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* One wrong line among right ones: what is said of it, without the "line 4: ". */
static void says_what_is_wrong_and_what_would_be_right(void **state)
{
	static const struct {
		const char *line, *complaint;
	} row[] = {
	    {"publish_expires = 12x", "publish_expires: 12x is not a number; give 60 to 86400"},
	    {"publish_expires = 59", "publish_expires: 59 is out of range; give 60 to 86400"},
	    {"publish_expires = 86401", "publish_expires: 86401 is out of range; give 60 to 86400"},
	    {"publish_expires = -60", "publish_expires: -60 is out of range; give 60 to 86400"},
	    {"publish_expires = -", "publish_expires: - is not a number; give 60 to 86400"},
	    {"publish_expires = 1e3", "publish_expires: 1e3 is not a number; give 60 to 86400"},
	    {"publish_expires = 99999999999999999999999",
	     "publish_expires: 99999999999999999999999 is out of range; give 60 to 86400"},
	    {"publish_expires = \"60", "publish_expires: a quote is opened and not closed"},
	    {"publish_expires = \"60\"1",
	     "publish_expires: there is something behind the closing quote; "
	     "write \\\" for a quote within"},
	    {"publish_expires = \"60\" 1",
	     "publish_expires: there is something behind the closing quote"},
	    {"publish_expires =",
	     "publish_expires: has no value; leave the line out for the default"},
	    {"publish_expires = # none",
	     "publish_expires: has no value; leave the line out for the default"},
	    {"publish_expires = \"\"",
	     "publish_expires: has no value; leave the line out for the default"},
	    {"publish_expires = 6\001"
	     "0",
	     "publish_expires: has a control character in it, or isn't UTF-8"},
	    {"account = \xff", "account: has a control character in it, or isn't UTF-8"},
	    {"account = other", "account: is given in line 2 already"},
	    {"publish_expires 60", "is not NAME = VALUE"},
	    {"= 60", "is not NAME = VALUE"},
	    {"password: " SECRET "= 60", "is not NAME = VALUE"},
	    {SECRET, "is not NAME = VALUE"},
	    {"passwort = " SECRET, "passwort is no setting; password is the nearest"},
	    {"Gateway = https://x", "Gateway is no setting; gateway is the nearest"},
	    {"publish_expire = 60", "publish_expire is no setting; publish_expires is the nearest"},
	    {"nonsense_of_mine = 60", "nonsense_of_mine is no setting; -h lists them"},
	    {"oof_replies = maybe", "oof_replies: maybe is neither; give yes or no"},
	    {"auth = kerberos", "auth: kerberos is no choice; give auto|basic|ntlm|negotiate"},
	    {"auth = auto|basic", "auth: auto|basic is no choice; give auto|basic|ntlm|negotiate"},
	    {"tls_min = 1.4", "tls_min: 1.4 is no choice; give 1.0|1.1|1.2|1.3"},
	    {"mailbox_domain = a@b", "mailbox_domain: a@b: is not a domain; write example.com"},
	    {"mailbox_domain = 192.0.2.1",
	     "mailbox_domain: 192.0.2.1: is not a domain; write example.com"},
	    {"listen_http = 0", "listen_http: 0: give a port from 1 to 65535, or ADDRESS:PORT with "
	                        "IPv4 or [IPv6]"},
	    {"listen_http = 192.0.2.1", "listen_http: 192.0.2.1: give a port from 1 to 65535, or "
	                                "ADDRESS:PORT with IPv4 or [IPv6]"},
	    {"listen_udp = host:1", "listen_udp: host:1: give a port from 1 to 65535, or "
	                            "ADDRESS:PORT with IPv4 or [IPv6]"},
	    {"announce_http = px:80",
	     "announce_http: px:80: is not a URL; write http://HOST[:PORT][/PATH]"},
	    {"announce_http = http://", "announce_http: http://: is not a URL; write "
	                                "http://HOST[:PORT][/PATH]"},
	    {"announce_http = http://px:99999",
	     "announce_http: http://px:99999: is not a URL; write "
	     "http://HOST[:PORT][/PATH]"},
	    {"announce_udp = ::1", "announce_udp: ::1: write HOST[:PORT]; IPv6 in brackets"},
	    {"announce_udp = px:", "announce_udp: px:: write HOST[:PORT]; IPv6 in brackets"},
	    {"sip_bind = px", "sip_bind: px: write ADDRESS[:PORT] with IPv4 or [IPv6]"},
	    {"sip_bind = 192.0.2.1:x",
	     "sip_bind: 192.0.2.1:x: write ADDRESS[:PORT] with IPv4 or [IPv6]"},
	    {"sip_user = px", "sip_user: sip_password_file is missing; give both or neither"},
	    {"sip_password_file = /pw",
	     "sip_password_file: sip_user is missing; give both or neither"},
	    {"compat = jitsi", "compat: jitsi is no choice; give blink|cisco"},
	    {"note_lang = d", "note_lang: d: is no language tag; give one such as de"},
	    {"note_lang = e1", "note_lang: e1: is no language tag; give one such as de"},
	    {"note_lang = de-", "note_lang: de-: is no language tag; give one such as de"},
	    {"note_lang = tlh",
	     "note_lang: tlh is not built in; give note=available=TEXT, note=busy=TEXT and "
	     "note=away=TEXT, or one of en, de, fr, es, it, nl, pt, pl, sv, da, ja"},
	    {"remind_from = calendar", "remind_from: calendar is not an AoR; write user@host"},
	    {"remind_zone = ../../etc/passwd",
	     "remind_zone: ../../etc/passwd: is no time zone; give a name such as Europe/Berlin"},
	    {"remind_zone = /etc/localtime",
	     "remind_zone: /etc/localtime: is no time zone; give a name such as Europe/Berlin"},
	    {"remind_zone = UTC 1",
	     "remind_zone: UTC 1: is no time zone; give a name such as Europe/Berlin"},
	    {"note = busy", "note: busy: write available|busy|away=TEXT"},
	    {"note = busy=", "note: busy=: write available|busy|away=TEXT"},
	    {"note = free=x", "note: free=x: write available|busy|away=TEXT"},
	    {"map = sleeping=away",
	     "map: sleeping: the statuses are free, tentative, busy, oof, "
	     "workingelsewhere and nodata; write STATUS=available|busy|away"},
	    {"map = busy",
	     "map: busy: the statuses are free, tentative, busy, oof, workingelsewhere and "
	     "nodata; write STATUS=available|busy|away"},
	    {"map = busy=dnd", "map: busy=dnd: give available, busy or away"},
	    {"map = busy=keep", "map: busy=keep: give available, busy or away"},
	    {"map = nodata=free", "map: nodata=free: give available, busy or away, or keep"},
	    {"resync = 86400", ""},
	    {"user = alice", "user: alice is not an AoR; write user@host[,mailbox]"},
	    {"user = alice@h,box", "user: box is not a mailbox; write user@domain"},
	    {"user = alice@h,", "user:  is not a mailbox; write user@domain"},
	    {"user = alice@192.0.2.1", "user: alice@192.0.2.1 makes no mailbox; write AOR,MAILBOX"},
	    {"gateways_file = /missing", "gateways_file: /missing: No such file or directory"},
	    {"gateways_file = /gateways-none", ""},
	    {"presence_server = px.example.com", "presence_server: is not a SIP URI; write "
	                                         "sip:HOST[:PORT][;transport=udp|tcp|tls]"},
	    {"presence_server = sips:px", "presence_server: for TLS write sip:HOST;transport=tls"},
	    {"presence_server = sip:a@px",
	     "presence_server: a server has no user part; write sip:HOST[:PORT]"},
	    {"presence_server = sip:",
	     "presence_server: there is no host; write sip:HOST with a name, "
	     "IPv4, or IPv6 in brackets"},
	    {"presence_server = sip:px:0",
	     "presence_server: after the host comes a port from 1 to 65535, or nothing"},
	    {"presence_server = sip:px/x",
	     "presence_server: after the host comes a port from 1 to 65535, or nothing"},
	    {"presence_server = sip:px;lr",
	     "presence_server: the only parameter is ;transport=udp, tcp or tls"},
	    {"presence_server = sip:px;transport=sctp",
	     "presence_server: the only parameter is ;transport=udp, tcp or tls"},
	    {"presence_server = sip:px;transport=tcp;lr",
	     "presence_server: the only parameter is ;transport=udp, tcp or tls"},
	    {"gateway = http://cas2",
	     "gateway: with http the password would travel in clear; write https://"},
	    {"gateway = cas2", "gateway: is not a URL; write https://HOST/EWS/Exchange.asmx"},
	    {"gateway = https://svc:" SECRET "@cas2",
	     "gateway: a name or password doesn't belong in the "
	     "URL; use account and password_file"},
	    {"gateway = https://",
	     "gateway: there is no host in the URL; write a name, IPv4, or IPv6 in "
	     "brackets"},
	    {"gateway = https://2001:db8::1",
	     "gateway: there is no host in the URL; write a name, IPv4, "
	     "or IPv6 in brackets"},
	    {"gateway = https://300.1.1.1/",
	     "gateway: there is no host in the URL; write a name, IPv4, "
	     "or IPv6 in brackets"},
	    {"gateway = https://cas2:/", "gateway: the port is not 1 to 65535"},
	    {"gateway = https://cas2:70000/", "gateway: the port is not 1 to 65535"},
	    {"gateway = https://cas2/x?y", "gateway: after the host the URL has a path such as "
	                                   "/EWS/Exchange.asmx, without ?query and #fragment"},
	    {"gateway = https://cas2/x#y", "gateway: after the host the URL has a path such as "
	                                   "/EWS/Exchange.asmx, without ?query and #fragment"},
	    {"gateway = https://cas2 /x", "gateway: after the host the URL has a path such as "
	                                  "/EWS/Exchange.asmx, without ?query and #fragment"},
	    {"gateway = https://cas2;", "gateway: write an option as ;NAME=VALUE"},
	    {"gateway = https://cas2;name", "gateway: write an option as ;NAME=VALUE"},
	    {"gateway = https://cas2;name=", "gateway: write an option as ;NAME=VALUE"},
	    {"gateway = https://cas2;type=imap", "gateway: type is ews or webdav"},
	    {"gateway = https://cas2;name=a b",
	     "gateway: name has no blanks, quotes, commas, nor letters beyond ASCII"},
	    {"gateway = https://cas2;name=" A63 "a", "gateway: name has at most 63 bytes"},
	    {"gateway = https://" A63 "a",
	     "gateway: the host is longer than the 63 bytes of a name; give it a ;name="},
	    {"gateway = https://cas2;name=a;name=b", "gateway: name is given twice"},
	    {"gateway = https://cas2;ca=a;ca=b", "gateway: ca is given twice"},
	    {"gateway = https://cas2;tls_min=2", "gateway: tls_min is 1.0, 1.1, 1.2 or 1.3"},
	    {"gateway = https://cas2;concurrency=0", "gateway: concurrency is 1 to 100"},
	    {"gateway = https://cas2;concurrency=101", "gateway: concurrency is 1 to 100"},
	    {"gateway = https://cas2;weight=2",
	     "gateway: the options are type, name, ca, tls_min and concurrency"},
	    {"gateway = https://CAS1.example.com/x",
	     "gateway: another gateway has this name already; give it a ;name= of its own"},
	    {"gateway = https://cas2;type=webdav", "gateway: one WebDAV front end, never mixed "
	                                           "with EWS: give one gateway with type=webdav "
	                                           "alone, or only EWS gateways"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		char text[1000], complaint[1000] = "";
		struct px_settings *s;

		snprintf(text, sizeof text, BASE "%s\nstate_file = /x\n", row[i].line);
		if (row[i].complaint[0]) {
			snprintf(complaint, sizeof complaint, "line 4: %s\n", row[i].complaint);
			bad(text, complaint);
		} else {
			s = good(text);
			px_settings_free(s);
		}
	}
}

static void checks_what_belongs_together(void **state)
{
	static const struct {
		const char *text, *complaints;
	} row[] = {
	    {"", "gateway: there is none; give at least one, such as https://cas1.example.com\n"
	         "account: there is none; give user@domain or DOMAIN\\user\n"
	         "password_file: there is none; give a file whose first line is the account's "
	         "password\n"},
	    {GATEWAY "account = svc\npassword = x\npassword_file = /pw\n",
	     "line 4: password: both password and password_file are given (lines 3 and 4); give "
	     "one\n"},
	    {GATEWAY "account = svc\npassword_file = /missing\n",
	     "line 3: password_file: /missing: No such file or directory\n"},
	    {GATEWAY "account = svc\npassword_file = /pw-empty\n",
	     "line 3: password_file: its first line is empty; write the password there\n"},
	    {GATEWAY "account = svc\npassword_file = /pw-blank\n",
	     "line 3: password_file: its first line is empty; write the password there\n"},
	    {GATEWAY "account = svc\npassword_file = /pw-tab\n",
	     "line 3: password_file: the password has a control character in it, or isn't UTF-8\n"},
	    {ACCOUNT "gateways_file = /gateways-none\n",
	     "line 3: gateways_file: there is no gateway in it\n"},
	    {ACCOUNT "gateways_file = /gateways-bad\n",
	     "gateways_file line 2: gateway: another gateway has this name already; give it a "
	     ";name= of its own\n"
	     "gateways_file line 3: gateway: is not a URL; write "
	     "https://HOST/EWS/Exchange.asmx\n"},
	    /* a gateway that is wrong is not also missing */
	    {ACCOUNT "gateway = x\n",
	     "line 3: gateway: is not a URL; write https://HOST/EWS/Exchange.asmx\n"},
	    {ACCOUNT "gateway = https://a;type=webdav\ngateway = https://b;type=webdav\n",
	     "line 4: gateway: one WebDAV front end, never mixed with EWS: give one gateway with "
	     "type=webdav alone, or only EWS gateways\n"},
	    {ACCOUNT
	     "gateway = https://a;type=webdav\ngateway = https://b\ngateways_file = /gateways\n",
	     "line 4: gateway: one WebDAV front end, never mixed with EWS: give one gateway with "
	     "type=webdav alone, or only EWS gateways\n"
	     "gateways_file line 3: gateway: one WebDAV front end, never mixed with EWS: give one "
	     "gateway with type=webdav alone, or only EWS gateways\n"
	     "gateways_file line 4: gateway: one WebDAV front end, never mixed with EWS: give one "
	     "gateway with type=webdav alone, or only EWS gateways\n"},
	    {BASE "horizon = 7200\nremind_before = 3601\n",
	     "line 5: remind_before: 3601 and resync, 3600, are more than horizon, 7200: meetings "
	     "would be known too late\n"},
	    {BASE "horizon = 3600\n",
	     "resync: 3600 is not below horizon, 3600: what is known would run "
	     "out between two readings\n"},
	    {BASE "map = busy=away\nmap = BUSY=busy\n",
	     "line 5: map: busy is mapped in line 4 already\n"},
	    {BASE "user = alice@h\nuser = sip:alice@H;x,other@h\n",
	     "line 5: user: alice@h stands in line 4 already\n"},
	    /* everything is told, in order */
	    {GATEWAY
	     "publish_rate = x\nbogus_thing_here = 1\naccount = a\npassword = p\nresync = 5\n",
	     "line 2: publish_rate: x is not a number; give 0 to 100000\n"
	     "line 3: bogus_thing_here is no setting; -h lists them\n"
	     "line 6: resync: 5 is out of range; give 60 to 86400\n"},
	    {"\xff\xfeg\0a", "line 1: is UTF-16; save it as UTF-8\n"
	                     "gateway: there is none; give at least one, such as "
	                     "https://cas1.example.com\n"
	                     "account: there is none; give user@domain or DOMAIN\\user\n"
	                     "password_file: there is none; give a file whose first line is the "
	                     "account's password\n"},
	};
	struct px_settings *s = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++)
		bad(row[i].text, row[i].complaints);

	assert_int_equal(with(BASE, strlen(BASE), true, &s), -EINVAL);
	assert_string_equal(heard.data, "presence_server: there is none, and no proxy around; give "
	                                "sip:HOST[:PORT]\n");
	assert_int_equal(with(BASE "presence_server = sip:px\n", strlen(BASE) + 25, true, &s), 0);
	px_settings_free(s);
	s = good(GATEWAY "account = svc\npassword_file = /pw-bare\n");
	assert_string_equal(s->password, SECRET);
	px_settings_free(s);
	s = good(ACCOUNT "gateways_file = /gateways\n");
	assert_int_equal(s->gateways, 2);
	px_settings_free(s);
}

/* What push needs is listen_http with EWS, and over WebDAV listen_udp, which is there by itself. */
static void push_needs_its_own_listener(void **state)
{
	struct px_settings *s =
	    good(ACCOUNT "gateway = https://owa;type=webdav\nsubscription = push\n");

	(void)state;
	assert_int_equal(s->subscription, PX_SUBSCRIPTION_PUSH);
	assert_string_equal(s->listen_udp, "50020");
	assert_null(s->listen_http);
	assert_int_equal(px_settings_impossible(s, said, NULL), 0);
	px_settings_free(s);
	s = good(BASE "subscription = push\nlisten_http = 192.0.2.1:8080\n");
	assert_int_equal(px_settings_impossible(s, said, NULL), 0);
	px_settings_free(s);
	s = good(ACCOUNT "gateway = https://owa;type=webdav\nlisten_http = 192.0.2.1:8080\n");
	heard.len = 0;
	assert_int_equal(px_settings_impossible(s, said, NULL), 1);
	assert_string_equal(heard.data,
	                    "listen_http with type=webdav can't be done by this version; give "
	                    "listen_udp, to which its NOTIFYs come\n");
	px_settings_free(s);
	s = good(ACCOUNT "gateway = https://owa;type=webdav\nsubscription = streaming\n");
	heard.len = 0;
	assert_int_equal(px_settings_impossible(s, said, NULL), 1);
	px_settings_free(s);
	bad(GATEWAY ACCOUNT "subscription = push\n",
	    "line 4: subscription: push needs listen_http; give a port that Exchange can reach\n");
}

static void opens_no_file_without_a_reader(void **state)
{
	const struct px_settings_reader r = {.said = said};
	struct px_settings *s = NULL;
	const char text[] = "gateways_file = /nowhere\naccount = a\npassword_file = /nowhere\n";

	(void)state;
	assert_int_equal(px_settings_read(&s, text, sizeof text - 1, &r), 0);
	assert_null(s->password);
	assert_int_equal(s->gateways, 0);
	px_settings_free(s);
}

static void refuses_what_is_no_text(void **state)
{
	char text[PX_SETTINGS_LINE_MAX + 300];
	struct px_settings *s = NULL;
	int n = snprintf(text, sizeof text, BASE "state_file = /a");

	(void)state;
	text[n] = '\0';
	text[n + 1] = '\n';
	assert_int_equal(with(text, (size_t)n + 2, false, &s), -EINVAL);
	assert_string_equal(heard.data, "line 4: has a NUL byte in it: this is no text\n");

	memset(text + n, 'a', sizeof text - (size_t)n);
	n += PX_SETTINGS_LINE_MAX - 15; /* "state_file = /a" is 15 */
	assert_int_equal(with(text, (size_t)n, false, &s), 0);
	assert_int_equal(strlen(s->state_file), PX_SETTINGS_LINE_MAX - 13);
	px_settings_free(s);
	s = NULL;
	assert_int_equal(with(text, (size_t)n + 1, false, &s), -EINVAL);
	assert_string_equal(heard.data, "line 4: is longer than 4096 bytes\n");
}

static void limits_complaints_and_counts(void **state)
{
	struct px_buf b = px_buf_new(1 << 20);
	struct px_settings *s = NULL;
	unsigned lines = 0;

	(void)state;
	px_buf_str(&b, BASE);
	for (int i = 0; i < 1000; i++)
		px_buf_str(&b, "x = y\n");
	assert_int_equal(with(b.data, b.len, false, &s), -EINVAL);
	for (const char *c = heard.data; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, PX_SETTINGS_SAID_MAX + 1);
	assert_non_null(strstr(heard.data, "\nand 950 more\n"));
	px_buf_free(&b);

	px_buf_str(&b, ACCOUNT);
	for (int i = 0; i <= 1000; i++)
		px_buf_printf(&b, "gateway = https://cas%d\n", i);
	assert_int_equal(with(b.data, b.len, false, &s), -EINVAL);
	assert_string_equal(heard.data, "line 1003: gateway: there are more than 1000\n");
	px_buf_free(&b);

	px_buf_str(&b, BASE);
	for (int i = 0; i <= PX_ESC_SERVERS_MAX; i++)
		px_buf_printf(&b, "presence_server = sip:px%d\n", i);
	assert_int_equal(with(b.data, b.len, false, &s), -EINVAL);
	assert_string_equal(heard.data, "line 12: presence_server: there are more than 8\n");
	px_buf_free(&b);
}

/* ---- users_file ---- */

struct taken {
	struct px_buf text; /* "key mailbox on|off remind|quiet\n" of each */
	unsigned n, stop_at;
	unsigned kept; /* wrong lines of known users */
};

static int take_user(void *arg, const struct px_user_config *u)
{
	struct taken *t = arg;

	if (!u->mailbox) {
		t->kept++;
		return 0;
	}
	px_buf_printf(&t->text, "%s %s %s %s\n", u->key, u->mailbox, u->on ? "on" : "off",
	              u->quiet ? "quiet" : "remind");
	return ++t->n == t->stop_at ? -ENOSPC : 0;
}

static void complain_of_user(void *arg, const char *complaint)
{
	(void)arg;
	said(NULL, complaint);
}

static int users(const char *text, size_t n, const char *domain, struct taken *t)
{
	char *exact = malloc(n ? n : 1);
	int got;

	assert_non_null(exact);
	memcpy(exact, text, n);
	*t = (struct taken){.text = px_buf_new(1 << 24), .stop_at = t->stop_at};
	px_buf_free(&heard);
	heard = px_buf_new(1 << 20);
	got = px_users_read(exact, n, domain, take_user, complain_of_user, t);
	free(exact);
	return got;
}

static void reads_users(void **state)
{
	static const struct {
		const char *text, *domain, *taken, *complaints;
	} row[] = {
	    {"", NULL, "", ""},
	    {"\n\r\n# nobody\n  \t\n", NULL, "", ""},
	    {"alice@example.com", NULL, "alice@example.com alice@example.com on remind\n", ""},
	    {"sip:Alice@Example.com:5060\n", NULL,
	     "Alice@example.com alice@example.com on remind\n", ""},
	    {"alice@h", "Corp.example", "alice@h alice@corp.example on remind\n", ""},
	    {"alice@h,Box@Corp.example\r\n", "x.org", "alice@h box@corp.example on remind\n", ""},
	    {" alice@h , box@h , OFF , Quiet \n", NULL, "alice@h box@h off quiet\n", ""},
	    {"alice@h,,off,remind\nbob@h,,,quiet\n", NULL,
	     "alice@h alice@h off remind\nbob@h bob@h on quiet\n", ""},
	    {"alice@h,,,,,,\n", NULL, "alice@h alice@h on remind\n", ""},
	    {"\xef\xbb\xbf"
	     "aor,mailbox\nalice@h\n",
	     NULL, "alice@h alice@h on remind\n", ""},
	    {"# x\n\"AOR\",Mailbox,enabled,reminders\r\nalice@h\r\n", NULL,
	     "alice@h alice@h on remind\n", ""},
	    {"\"a,b@h\",\"box@h\" , \"on\"\n", NULL, "a,b@h box@h on remind\n", ""},
	    {"\"#1@h\",one@h\n", NULL, "#1@h one@h on remind\n", ""},
	    {"al#ice@h,a@h # x\n", NULL, "",
	     "line 1: a@h # x is not a mailbox; write user@domain\n"},

	    {"alice\nbob@h\n", NULL, "bob@h bob@h on remind\n",
	     "line 1: alice is not an AoR; write user@host\n"},
	    {"\n,box@h\n", NULL, "", "line 2: there is no AoR; the first column is user@host\n"},
	    {"alice@h,box\nbob@h\n", NULL, "bob@h bob@h on remind\n",
	     "line 1: box is not a mailbox; write user@domain\n"},
	    {"alice@192.0.2.1\n", NULL, "",
	     "line 1: alice@192.0.2.1 makes no mailbox; write it in the second column\n"},
	    {"alice@192.0.2.1\n", "corp.example", "alice@192.0.2.1 alice@corp.example on remind\n",
	     ""},
	    {"alice@h,,yes\n", NULL, "", "line 1: yes in the third column; give on or off\n"},
	    {"alice@h,,on,loud\n", NULL, "",
	     "line 1: loud in the fourth column; give remind or quiet\n"},
	    {"alice@h,,,,x\n", NULL, "",
	     "line 1: there are more than four columns; give aor, mailbox, on|off, "
	     "remind|quiet\n"},
	    {"\"alice@h\nbob@h\n", NULL, "bob@h bob@h on remind\n",
	     "line 1: a quote is opened and not closed\n"},
	    {"\"alice@h\"x,\nbob@h\n", NULL, "bob@h bob@h on remind\n",
	     "line 1: there is something between a closing quote and the comma\n"},
	    {"\"a\"\"b@h\"\n", NULL, "", "line 1: a\"b@h is not an AoR; write user@host\n"},
	    {"alice@h\nbob@h\nsip:alice@H;x=y,other@h\n", NULL,
	     "alice@h alice@h on remind\nbob@h bob@h on remind\n",
	     "line 3: alice@h stands in line 1 already; that one counts\n"},
	    {"mailbox,aor\nalice@h\n", NULL, "alice@h alice@h on remind\n",
	     "line 1: mailbox is not an AoR; write user@host\n"},
	    {"aor,sip\nalice@h\n", NULL, "alice@h alice@h on remind\n",
	     "line 1: the columns are aor, mailbox, on|off, remind|quiet, in this order\n"},
	    {"alice@h\naor,mailbox\n", NULL, "alice@h alice@h on remind\n",
	     "line 2: aor is not an AoR; write user@host\n"},
	    {"\xff\xfe"
	     "a\n",
	     NULL, "", "is UTF-16; save it as UTF-8\n"},
	    {"al\x1b[2Jice\xff\n", NULL, "", "line 1: al?[2Jice? is not an AoR; write user@host\n"},
	};
	struct taken t = {.n = 0};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
		const int got = users(row[i].text, strlen(row[i].text), row[i].domain, &t);

		assert_string_equal(t.text.data ? t.text.data : "", row[i].taken);
		assert_string_equal(heard.data ? heard.data : "", row[i].complaints);
		assert_int_equal(got, strstr(row[i].complaints, "UTF-16") ? -EINVAL
		                      : row[i].complaints[0]              ? 1
		                                                          : 0);
		px_buf_free(&t.text);
	}
	assert_int_equal(users("alice@h\0,b@h\n", 13, NULL, &t), 1);
	assert_int_equal(t.n, 0);
	t.stop_at = 2;
	assert_int_equal(users("a@h\nx\nb@h\nc@h\n", 14, NULL, &t), -ENOSPC);
	assert_int_equal(t.n, 2);
	px_buf_free(&t.text);
}

static void limits_users(void **state)
{
	struct px_buf b = px_buf_new(1 << 20);
	struct taken t = {.n = 0};
	unsigned lines = 0;

	(void)state;
	for (int i = 0; i < PX_SETTINGS_LINE_MAX + 1; i++)
		px_buf_str(&b, "a");
	px_buf_str(&b, "\nalice@h\n");
	assert_int_equal(users(b.data, b.len, NULL, &t), 1);
	assert_string_equal(heard.data, "line 1: is longer than 4096 bytes\n");
	assert_string_equal(t.text.data, "alice@h alice@h on remind\n");
	px_buf_free(&t.text);
	px_buf_free(&b);

	for (int i = 0; i < 300; i++)
		px_buf_str(&b, "a");
	px_buf_str(&b, "@h\n");
	assert_int_equal(users(b.data, b.len, NULL, &t), 1);
	assert_non_null(strstr(heard.data, "... is longer than 255 bytes\n"));
	px_buf_free(&b);

	for (int i = 0; i < 1000; i++)
		px_buf_str(&b, "x\n");
	assert_int_equal(users(b.data, b.len, NULL, &t), 1000);
	for (const char *c = heard.data; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, PX_SETTINGS_SAID_MAX + 1);
	assert_non_null(strstr(heard.data, "\nand 950 more\n"));
	px_buf_free(&b);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Under the sanitizers, which cost a factor of ten or so; what is quadratic takes minutes. */
static void reads_100000_users_quickly(void **state)
{
	struct px_buf csv = px_buf_new(1 << 24), text = px_buf_new(1 << 24);
	struct taken t = {.n = 0};
	struct px_settings *s;
	double began;

	(void)state;
	px_buf_str(&text, BASE);
	for (int i = 0; i < 100000; i++) {
		px_buf_printf(&csv, "sip:user%d@example.com,user%d@corp.example.com,on,remind\n", i,
		              i);
		px_buf_printf(&text, "user = sip:user%d@example.com\n", i);
	}
	began = now();
	assert_int_equal(users(csv.data, csv.len, NULL, &t), 0);
	assert_int_equal(t.n, 100000);
	s = good(text.data);
	assert_int_equal(s->users, 100000);
	assert_string_equal(s->user[99999].mailbox, "user99999@example.com");
	assert_true(now() - began < 10);
	px_settings_free(s);
	px_buf_free(&t.text);
	px_buf_free(&csv);
	px_buf_free(&text);
}

/* ---- mutations ---- */

/* Changes a text in place in up to 4 places; returns its new length. */
static size_t mutate(char *text, size_t n, size_t room)
{
	static const char alphabet[] = "=;,\"\\#@:/[]%.\n\r\t 019azAZ_-\0\xff\xc3\xbc|";

	for (int changes = 1 + rand() % 4; changes > 0 && n > 1; changes--) {
		const size_t at = (size_t)rand() % n;
		size_t m = 1 + (size_t)rand() % 8;

		if (m > n - at)
			m = n - at;
		switch (rand() % 5) {
		case 0:
			n = at; /* cut the end */
			break;
		case 1: /* take something out */
			memmove(text + at, text + at + m, n - at - m);
			n -= m;
			break;
		case 2: /* double something */
			if (n + m <= room) {
				memmove(text + at + m, text + at, n - at);
				n += m;
			}
			break;
		default:
			text[at] = alphabet[(size_t)rand() % (sizeof alphabet - 1)];
		}
	}
	return n;
}

/*
 * Whatever the text: settings in their ranges, or at least one complaint (said() checks those).
 */
static void survives_mutations(void **state)
{
	static const char seed[] =
	    "gateway = https://cas1.example.com:8443/EWS/Exchange.asmx;name=one;ca=/x;tls_min=1.1\n"
	    "gateway = https://[2001:db8::1];concurrency=4 # comment\n"
	    "account = \"CORP\\\\svc\"\npassword_file = /pw\ngateways_file = /gateways\n"
	    "user = sip:al%69ce@example.com,alice@example.org\nuser = bob@example.com\n"
	    "map = tentative=busy\nmap = nodata=keep\npresence_server = sip:px:5070;transport=tcp\n"
	    "publish_expires = 600\nauth = ntlm\noof_replies = yes\nlisten_http = 127.0.0.1:80\n"
	    "announce_http = http://px/push\nsip_bind = [::1]:5060\nmailbox_domain = "
	    "corp.example\n";
	int right = 0;

	(void)state;
	srand(20261123);
	for (int i = 0; i < 20000; i++) {
		char text[2 * sizeof seed];
		struct px_settings *s = NULL;
		size_t n = sizeof seed - 1;

		memcpy(text, seed, n);
		n = mutate(text, n, sizeof text);
		if (with(text, n, false, &s)) {
			assert_null(s);
			assert_true(heard.len > 0);
			continue;
		}
		right++;
		assert_int_equal(heard.len, 0);
		assert_true(s->gateways > 0 && s->account && s->password);
		assert_in_range(s->publish_expires, 60, 86400);
		for (size_t k = 0; k < s->gateways; k++) {
			const struct px_gateway_config *g = &s->gateway[k];

			assert_int_equal(strncmp(g->url, "https://", 8), 0);
			assert_true(g->name[0] && g->host[0] && g->port > 0);
			assert_in_range(g->tls_min, PX_TLS_1_0, PX_TLS_1_3);
			assert_in_range(g->concurrency, 1, 100);
		}
		for (size_t k = 0; k < s->users; k++)
			assert_true(strchr(s->user[k].key, '@') && strchr(s->user[k].mailbox, '@'));
		px_settings_free(s);
	}
	assert_in_range(right, 1000, 19999); /* else this tests nothing */
}

static void users_survive_mutations(void **state)
{
	static const char seed[] =
	    "aor,mailbox,state,reminders\r\n# two\n\"a,\"\"b@example.com\",x@h\n"
	    "sip:al%69ce@example.com:5060;x,smtp:a@h,on,quiet\nbob@example.com,,off\n"
	    "carol@[2001:db8::1],c@h\n";
	int right = 0;

	(void)state;
	srand(20261123);
	for (int i = 0; i < 20000; i++) {
		char text[2 * sizeof seed];
		struct taken t = {.n = 0};
		size_t n = sizeof seed - 1, lines = 1;
		int wrong;

		memcpy(text, seed, n);
		n = mutate(text, n, sizeof text);
		for (size_t k = 0; k < n; k++)
			lines += text[k] == '\n';
		wrong = users(text, n, NULL, &t);
		assert_in_range(wrong, 0, lines);
		assert_true((size_t)wrong + t.n <= lines);
		assert_int_equal(wrong > 0, heard.len > 0);
		right += t.n > 2;
		px_buf_free(&t.text);
	}
	assert_in_range(right, 1000, 19999);
}

/* ---- what is shown ---- */

static char *readme(void)
{
	FILE *f = fopen("README.md", "r");
	char *text;
	size_t n;

	if (!f)
		return NULL;
	text = malloc(1 << 20);
	assert_non_null(text);
	n = fread(text, 1, (1 << 20) - 1, f);
	fclose(f);
	text[n] = '\0';
	return text;
}

/* What stands between README.md's markers is what `make settings-table` prints. */
static void readme_has_the_table(void **state)
{
	static const char begin[] = "<!-- settings -->\n", end[] = "<!-- /settings -->";
	struct px_buf b = px_buf_new(1 << 20);
	char *text = readme(), *from = text ? strstr(text, begin) : NULL, *to;

	(void)state;
	if (!from) {
		free(text);
		skip();
	}
	from += strlen(begin);
	to = strstr(from, end);
	assert_non_null(to);
	*to = '\0';
	px_settings_print(&b, true);
	assert_string_equal(from, b.data);
	px_buf_free(&b);
	free(text);
}

static void shows_every_setting_in_both_forms(void **state)
{
	static const char *const name[] = {
#define PX_GROUP(title)
#define PX_SETTING(name, kind, preset, min, max, form, help) #name,
#include "px_settings.def"
#undef PX_GROUP
#undef PX_SETTING
	};
	struct px_buf help = px_buf_new(1 << 20), table = px_buf_new(1 << 20);

	(void)state;
	px_settings_print(&help, false);
	px_settings_print(&table, true);
	assert_false(help.failed || table.failed);
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		char line[100];

		snprintf(line, sizeof line, "\n  %s = ", name[i]);
		assert_non_null(strstr(help.data, line));
		snprintf(line, sizeof line, "\n| `%s` |", name[i]);
		assert_non_null(strstr(table.data, line));
	}
	/* every row has four cells */
	for (char *row = strtok(table.data, "\n"); row; row = strtok(NULL, "\n")) {
		unsigned bars = 0;

		for (const char *c = row; *c; c++)
			bars += *c == '|' && (c == row || c[-1] != '\\');
		assert_true(bars == 0 || bars == 5);
	}
	px_buf_free(&help);
	px_buf_free(&table);
}

/* ---- while it runs ---- */

static void names_what_needs_a_restart(void **state)
{
	struct px_settings *was = good(BASE "horizon = 7200\nresync = 100\n"),
	                   *now = good("gateway = https://other;tls_min=1.3\naccount = other\n"
	                               "password = more\nhorizon = 7200\nresync = 120\n"
	                               "map = oof=busy\nstandby = yes\nuser = a@h\n"
	                               "mailbox_domain = x.org\nnote_lang = de\n"
	                               "presence_server = sip:h\n");

	(void)state;
	px_buf_free(&heard);
	heard = px_buf_new(1 << 20);
	assert_int_equal(px_settings_fixed(was, was, said, NULL), 0);
	assert_null(heard.data);
	assert_int_equal(px_settings_fixed(was, now, said, NULL), 5);
	for (size_t i = 0; i < 5; i++) {
		static const char *const name[] = {"resync\n", "map\n", "standby\n", "note_lang\n",
		                                   "presence_server\n"};

		assert_non_null(strstr(heard.data, name[i]));
	}
	px_settings_free(was);
	px_settings_free(now);
}

static void reads_one_gateway(void **state)
{
	struct px_settings *s = good(BASE "ca_file = /etc/all.pem\ntls_min = 1.3\n");
	struct px_gateway_config g;
	char why[PX_WHY_MAX];
	const char *text = " https://Cas9.example.com;name=nine;concurrency=3 ";

	(void)state;
	assert_int_equal(px_settings_gateway(s, text, strlen(text), &g, why), 0);
	assert_string_equal(g.url, "https://cas9.example.com/EWS/Exchange.asmx");
	assert_string_equal(g.name, "nine");
	assert_string_equal(g.ca_file, "/etc/all.pem");
	assert_int_equal(g.tls_min, PX_TLS_1_3);
	assert_int_equal(g.concurrency, 3);
	px_gateway_config_free(&g);
	text = "http://cas9";
	assert_int_equal(px_settings_gateway(s, text, strlen(text), &g, why), -EINVAL);
	assert_non_null(strstr(why, "https://"));
	assert_int_equal(px_settings_gateway(s, "", 0, &g, why), -EINVAL);
	px_settings_free(s);
}

/* A line that is wrong says at least whose it is, if it does. */
static void tells_whose_line_is_wrong(void **state)
{
	struct taken t = {.n = 0};
	const char *text = "a@h,,maybe\nb@h,x\nc@h,,,loud\nc@h,,on\nc@h\nnobody\n\"d@h\n";

	(void)state;
	assert_int_equal(users(text, strlen(text), NULL, &t), 6);
	assert_int_equal(t.kept, 4);
	assert_string_equal(t.text.data, "c@h c@h on remind\n");
	px_buf_free(&t.text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(has_every_default),
	    cmocka_unit_test(takes_every_setting),
	    cmocka_unit_test(reads_gateways),
	    cmocka_unit_test(says_what_is_wrong_and_what_would_be_right),
	    cmocka_unit_test(checks_what_belongs_together),
	    cmocka_unit_test(push_needs_its_own_listener),
	    cmocka_unit_test(opens_no_file_without_a_reader),
	    cmocka_unit_test(refuses_what_is_no_text),
	    cmocka_unit_test(limits_complaints_and_counts),
	    cmocka_unit_test(reads_users),
	    cmocka_unit_test(limits_users),
	    cmocka_unit_test(names_what_needs_a_restart),
	    cmocka_unit_test(reads_one_gateway),
	    cmocka_unit_test(tells_whose_line_is_wrong),
	    cmocka_unit_test(reads_100000_users_quickly),
	    cmocka_unit_test(survives_mutations),
	    cmocka_unit_test(users_survive_mutations),
	    cmocka_unit_test(readme_has_the_table),
	    cmocka_unit_test(shows_every_setting_in_both_forms),
	};
	const int failed = cmocka_run_group_tests_name("settings", tests, NULL, NULL);

	px_buf_free(&heard);
	return failed;
}
