/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * exchange-sim: several client access servers of an Exchange 2010 to 2016 in one process, for
 * tests and measurements. README.md beside this file says what it imitates and what not.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <libxml/parser.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "control.h"
#include "front.h"
#include "notifier.h"
#include "poster.h"
#include "publisher.h"

static const char usage[] =
    "exchange-sim: an Exchange for tests: one store behind several client access servers\n"
    "\n"
    "  --cas N                how many client access servers (2, at most 63)\n"
    "  --backends N           mailbox servers behind each of them (1, at most 16)\n"
    "  --affinity cookie|anchor|exchangecookie|none  what leads to one of them (cookie from\n"
    "                         2013 on, before exchangecookie)\n"
    "  --users N              mailboxes user1@DOMAIN to userN@DOMAIN (100)\n"
    "  --domain D             (example.test)\n"
    "  --seed S               calendars follow from it (1)\n"
    "  --anchor SECONDS       the day they lie around, seconds since 1970 (today)\n"
    "  --calendars seeded|empty  (seeded)\n"
    "  --port P               first HTTPS port, the others follow; 0: free ones (0)\n"
    "  --control P            port of the control API; 0: a free one (0)\n"
    "  --ca-out FILE          where the CA's certificate is written (exchange-sim-ca.pem)\n"
    "  --cert-days N          how long server certificates are valid; negative: expired (825)\n"
    "  --account NAME         the service account (svc-presence)\n"
    "  --password-file FILE   its password, first line; without: \"secret\"\n"
    "  --webdav 2003|2007|2010  an OWA front end of that version as well (2010: without WebDAV);\n"
    "                         --cas 0 leaves it alone\n"
    "  --dav-urls asked|backend  what URLs in its answers name: the host the client asked, or\n"
    "                         http and a back end that can't be reached (asked)\n"
    "  --forms                log in to it by forms-based authentication, not Basic\n"
    "  --folders en|de|fr|ja|mixed  what folders are called (en)\n"
    "  --version V            2007_SP1, 2010, 2010_SP1, 2010_SP2, 2013, 2013_SP1, 2015, 2016\n"
    "                         (2013_SP1)\n"
    "  --heartbeat SECONDS    of streams (45)\n"
    "  --minute-ms MS         how long a minute of a time-out is (60000)\n"
    "  --max-concurrency N    EWSMaxConcurrency, on each CAS (27)\n"
    "  --max-hanging N        HangingConnectionLimit, per mailbox and CAS (3)\n"
    "  --max-subscriptions N  EWSMaxSubscriptions, per mailbox (5000)\n"
    "  --latency-ms MS[,J]    each answer takes MS to MS+J milliseconds (0)\n"
    "  --stream exchange|prefixed  how envelopes of streams are written (exchange)\n"
    "  --chunk BYTES          cuts streams into chunks of at most so many bytes (0: not)\n"
    "  --exit-on-eof          end when standard input ends\n"
    "  --verbose              what the HTTP library reports goes to standard error\n"
    "  --help\n";

struct options {
	struct front_options front;
	struct subs_limits limits;
	uint32_t users;
	const char *domain, *ca_out, *password_file;
	uint64_t seed;
	int64_t anchor;
	int control;
	unsigned backends;
	int affinity; /* enum affinity_kind; -1: by version */
	enum owa_version webdav;
	bool back_end_urls, forms;
	int language; /* enum language; -1: mixed */
	bool empty, exit_on_eof;
};

static _Noreturn void give_up(const char *what, const char *why)
{
	fprintf(stderr, "exchange-sim: %s: %s\n", what, why);
	exit(2);
}

static long long number(const char *name, const char *text, long long min, long long max)
{
	char why[120], *end;
	long long v;

	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno || !*text || *end || v < min || v > max) {
		snprintf(why, sizeof why, "\"%.20s\" is not a number from %lld to %lld", text, min,
		         max);
		give_up(name, why);
	}
	return v;
}

static void latency(struct front_options *o, const char *text)
{
	char copy[32], *comma;

	snprintf(copy, sizeof copy, "%s", text);
	comma = strchr(copy, ',');
	if (comma)
		*comma++ = '\0';
	o->latency_ms = (int)number("--latency-ms", copy, 0, 600000);
	o->jitter_ms = comma ? (int)number("--latency-ms", comma, 0, 600000) : 0;
}

static void read_options(struct options *o, int argc, char **argv)
{
	enum {
		CAS = 256,
		BACKENDS,
		AFFINITY,
		USERS,
		DOMAIN,
		SEED,
		ANCHOR,
		CALENDARS,
		PORT,
		CONTROL,
		CA_OUT,
		DAYS,
		ACCOUNT,
		PASSWORD,
		VERSION,
		HEARTBEAT,
		MINUTE,
		CONCURRENCY,
		HANGING,
		SUBSCRIPTIONS,
		LATENCY,
		STREAM,
		CHUNK,
		WEBDAV,
		DAV_URLS,
		FOLDERS,
		FORMS,
		EOF_EXIT,
		VERBOSE,
		HELP
	};
	static const struct option table[] = {{"cas", 1, 0, CAS},
	                                      {"backends", 1, 0, BACKENDS},
	                                      {"affinity", 1, 0, AFFINITY},
	                                      {"users", 1, 0, USERS},
	                                      {"domain", 1, 0, DOMAIN},
	                                      {"seed", 1, 0, SEED},
	                                      {"anchor", 1, 0, ANCHOR},
	                                      {"calendars", 1, 0, CALENDARS},
	                                      {"port", 1, 0, PORT},
	                                      {"control", 1, 0, CONTROL},
	                                      {"ca-out", 1, 0, CA_OUT},
	                                      {"cert-days", 1, 0, DAYS},
	                                      {"account", 1, 0, ACCOUNT},
	                                      {"password-file", 1, 0, PASSWORD},
	                                      {"version", 1, 0, VERSION},
	                                      {"heartbeat", 1, 0, HEARTBEAT},
	                                      {"minute-ms", 1, 0, MINUTE},
	                                      {"max-concurrency", 1, 0, CONCURRENCY},
	                                      {"max-hanging", 1, 0, HANGING},
	                                      {"max-subscriptions", 1, 0, SUBSCRIPTIONS},
	                                      {"latency-ms", 1, 0, LATENCY},
	                                      {"stream", 1, 0, STREAM},
	                                      {"chunk", 1, 0, CHUNK},
	                                      {"webdav", 1, 0, WEBDAV},
	                                      {"dav-urls", 1, 0, DAV_URLS},
	                                      {"folders", 1, 0, FOLDERS},
	                                      {"forms", 0, 0, FORMS},
	                                      {"exit-on-eof", 0, 0, EOF_EXIT},
	                                      {"verbose", 0, 0, VERBOSE},
	                                      {"help", 0, 0, HELP},
	                                      {0, 0, 0, 0}};
	enum affinity_kind kind;
	enum language language;
	int c;

	while ((c = getopt_long(argc, argv, "h", table, NULL)) != -1) {
		switch (c) {
		case CAS:
			o->front.ncas = (unsigned)number("--cas", optarg, 0, CAS_MAX - 1);
			break;
		case BACKENDS:
			o->backends = (unsigned)number("--backends", optarg, 1, BACKENDS_MAX);
			break;
		case AFFINITY:
			if (!affinity_parse(optarg, &kind))
				give_up("--affinity",
				        "must be cookie, anchor, exchangecookie or none");
			o->affinity = (int)kind;
			break;
		case USERS:
			o->users = (uint32_t)number("--users", optarg, 0, 1000000);
			break;
		case DOMAIN:
			o->domain = optarg;
			break;
		case SEED:
			o->seed = (uint64_t)number("--seed", optarg, 0, INT64_MAX);
			break;
		case ANCHOR:
			o->anchor = number("--anchor", optarg, 0, 100000000000);
			break;
		case CALENDARS:
			o->empty = strcmp(optarg, "empty") == 0;
			if (!o->empty && strcmp(optarg, "seeded") != 0)
				give_up("--calendars", "must be seeded or empty");
			break;
		case PORT:
			o->front.first_port = (int)number("--port", optarg, 0, 65535);
			break;
		case CONTROL:
			o->control = (int)number("--control", optarg, 0, 65535);
			break;
		case CA_OUT:
			o->ca_out = optarg;
			break;
		case DAYS:
			o->front.cert_days = (int)number("--cert-days", optarg, -3650, 3650);
			break;
		case ACCOUNT:
			o->front.account = optarg;
			break;
		case PASSWORD:
			o->password_file = optarg;
			break;
		case VERSION:
			if (!version_parse(optarg, &o->limits.version))
				give_up("--version", "not a version; see --help");
			break;
		case HEARTBEAT:
			o->limits.heartbeat_ms = 1000 * number("--heartbeat", optarg, 1, 86400);
			break;
		case MINUTE:
			o->limits.minute_ms = number("--minute-ms", optarg, 1, 60000);
			break;
		case CONCURRENCY:
			o->front.max_concurrency =
			    (unsigned)number("--max-concurrency", optarg, 1, 100000);
			break;
		case HANGING:
			o->limits.hanging = (unsigned)number("--max-hanging", optarg, 1, 100000);
			break;
		case SUBSCRIPTIONS:
			o->limits.per_mailbox =
			    (unsigned)number("--max-subscriptions", optarg, 1, 1000000);
			break;
		case LATENCY:
			latency(&o->front, optarg);
			break;
		case STREAM:
			o->limits.dialect =
			    strcmp(optarg, "prefixed") == 0 ? DIALECT_PREFIXED : DIALECT_EXCHANGE;
			if (strcmp(optarg, "prefixed") != 0 && strcmp(optarg, "exchange") != 0)
				give_up("--stream", "must be exchange or prefixed");
			break;
		case CHUNK:
			o->front.chunk = (unsigned)number("--chunk", optarg, 0, 32768);
			break;
		case WEBDAV:
			o->webdav = strcmp(optarg, "2003") == 0   ? OWA_2003
			            : strcmp(optarg, "2007") == 0 ? OWA_2007
			            : strcmp(optarg, "2010") == 0 ? OWA_2010
			                                          : OWA_NONE;
			if (!o->webdav)
				give_up("--webdav", "must be 2003, 2007 or 2010");
			break;
		case DAV_URLS:
			o->back_end_urls = strcmp(optarg, "backend") == 0;
			if (!o->back_end_urls && strcmp(optarg, "asked") != 0)
				give_up("--dav-urls", "must be asked or backend");
			break;
		case FOLDERS:
			o->language = -1;
			if (language_parse(optarg, &language))
				o->language = (int)language;
			else if (strcmp(optarg, "mixed") != 0)
				give_up("--folders", "must be en, de, fr, ja or mixed");
			break;
		case FORMS:
			o->forms = true;
			break;
		case EOF_EXIT:
			o->exit_on_eof = true;
			break;
		case VERBOSE:
			o->front.verbose = true;
			break;
		case 'h':
		case HELP:
			fputs(usage, stdout);
			exit(0);
		default:
			fputs("exchange-sim: see --help\n", stderr);
			exit(2);
		}
	}
	if (!o->front.ncas && !o->webdav)
		give_up("--cas", "0 needs --webdav");
	if (optind != argc)
		give_up(argv[optind], "not an option; see --help");
}

static void read_password(const struct options *o, char out[256])
{
	FILE *f;

	strcpy(out, "secret");
	if (!o->password_file)
		return;
	f = fopen(o->password_file, "re");
	if (!f || !fgets(out, 256, f))
		give_up(o->password_file, f ? "is empty" : strerror(errno));
	fclose(f);
	out[strcspn(out, "\r\n")] = '\0';
}

static void write_ca(const char *path, const char *pem)
{
	FILE *f = fopen(path, "we");

	if (!f || fputs(pem, f) < 0 || fclose(f) != 0)
		give_up(path, strerror(errno));
}

/* What holds the program together; the sources tell when it has to end. */
struct main {
	struct source signals, stdin_end;
	struct loop loop;
	struct ews ews;
	struct dav dav;
	struct davsubs davsubs;
	struct publisher publisher;
	struct notifier notifier;
	int signal_fd;
	bool over;
};

static struct main *whole; /* of the two callbacks below, which only get their source */

static void on_signal(struct source *s, uint32_t events)
{
	struct signalfd_siginfo info;

	(void)s;
	(void)events;
	if (read(whole->signal_fd, &info, sizeof info) > 0)
		whole->over = true;
}

static void on_stdin(struct source *s, uint32_t events)
{
	char nobody_reads[512];

	(void)s;
	(void)events;
	if (read(0, nobody_reads, sizeof nobody_reads) <= 0)
		whole->over = true;
}

static void on_wake(void *arg)
{
	struct main *m = arg;

	m->ews.now_ms = m->loop.now_ms;
	m->ews.wall_s = m->loop.wall_s;
	m->davsubs.now_ms = m->publisher.now_ms = m->loop.now_ms;
	subs_wall(m->ews.subs, m->loop.wall_s, m->loop.now_ms);
}

static void announce(const struct options *o, const struct front *f, const struct control *c)
{
	char *path = realpath(o->ca_out, NULL), url[80], *text;
	json_t *list = json_array(), *all;

	for (unsigned i = 0; i < o->front.ncas; i++) {
		snprintf(url, sizeof url, "https://127.0.0.1:%d/EWS/Exchange.asmx",
		         front_port(f, i));
		json_array_append_new(list, json_pack("{s:s, s:s, s:i}", "name", front_name(f, i),
		                                      "url", url, "port", front_port(f, i)));
	}
	snprintf(url, sizeof url, "http://127.0.0.1:%d", control_port(c));
	all = json_pack("{s:s, s:s, s:s, s:o}", "control", url, "ca_file", path ? path : o->ca_out,
	                "account", o->front.account, "cas", list);
	if (o->webdav) {
		snprintf(url, sizeof url, "https://127.0.0.1:%d/", front_port(f, o->front.ncas));
		json_object_set_new(all, "owa",
		                    json_pack("{s:s, s:s, s:i}", "name",
		                              front_name(f, o->front.ncas), "url", url, "port",
		                              front_port(f, o->front.ncas)));
	}
	text = json_dumps(all, JSON_COMPACT);
	puts(text);
	fflush(stdout);
	free(text);
	free(path);
	json_decref(all);
}

static struct mailbox *service_mailbox(struct store *s, const struct options *o)
{
	const char *name = strrchr(o->front.account, '\\');
	char address[STORE_ADDRESS];

	name = name ? name + 1 : o->front.account;
	if (strchr(name, '@'))
		snprintf(address, sizeof address, "%s", name);
	else
		snprintf(address, sizeof address, "%s@%s", name, o->domain);
	return store_add(s, address);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static void run(struct main *m, struct front *f, struct poster *p)
{
	int64_t due = m->loop.now_ms;

	while (!m->over) {
		loop_turn(&m->loop, due);
		due = front_tick(f);
		subs_flush(m->ews.subs, m->loop.now_ms);
		due = least(due, subs_tick(m->ews.subs, m->loop.now_ms));
		due = least(due, poster_tick(p));
		due = least(due, davsubs_tick(&m->davsubs, m->loop.now_ms));
		due = least(due, publisher_tick(&m->publisher, m->loop.now_ms));
	}
}

int main(int argc, char **argv)
{
	static struct counters counters;
	struct options o = {.front = {.ncas = 2,
	                              .account = "svc-presence",
	                              .max_concurrency = 27,
	                              .cert_days = 825},
	                    .limits = {.minute_ms = 60000,
	                               .heartbeat_ms = 45000,
	                               .per_mailbox = 5000,
	                               .hanging = 3,
	                               .version = V2013_SP1},
	                    .users = 100,
	                    .domain = "example.test",
	                    .ca_out = "exchange-sim-ca.pem",
	                    .seed = 1,
	                    .anchor = -1,
	                    .backends = 1,
	                    .affinity = -1};
	struct main m = {.signals.ready = on_signal, .stdin_end.ready = on_stdin};
	struct rlimit files;
	struct cert_ca *ca;
	struct store *store;
	struct front *front;
	struct control *control;
	struct poster *poster;
	char password[256];
	const char *why = "";
	sigset_t set;

	read_options(&o, argc, argv);
	read_password(&o, password);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	xmlInitParser();
	whole = &m;
	if (loop_init(&m.loop) < 0)
		give_up("epoll", strerror(errno));
	m.loop.woke = on_wake;
	m.loop.woke_arg = &m;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	m.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	loop_watch(&m.loop, m.signal_fd, EPOLLIN, &m.signals);
	/* a file or /dev/null can't be waited for: it has ended already */
	if (o.exit_on_eof && loop_watch(&m.loop, 0, EPOLLIN, &m.stdin_end) < 0)
		m.over = true;

	store =
	    store_new(o.users, o.domain, o.seed, o.anchor < 0 ? m.loop.wall_s : o.anchor, !o.empty);
	m.ews = (struct ews){.store = store,
	                     .counters = &counters,
	                     .version = o.limits.version,
	                     .limits = o.limits,
	                     .service = service_mailbox(store, &o)};
	if (o.affinity < 0)
		o.affinity = o.limits.version < V2013 ? AFFINITY_EXCHANGE_COOKIE : AFFINITY_COOKIE;
	affinity_init(&m.ews.affinity, (enum affinity_kind)o.affinity, o.backends);
	if (!m.ews.service)
		give_up("--account", "isn't a name a mailbox can have");
	m.dav = (struct dav){.store = store,
	                     .subs = &m.davsubs,
	                     .publisher = &m.publisher,
	                     .dav_2010 = 302,
	                     .own = m.ews.service,
	                     .version = o.webdav,
	                     .back_end_urls = o.back_end_urls,
	                     .denied_status = 403};
	for (uint32_t i = 0; i < store_size(store); i++)
		store_at(store, i)->language =
		    o.language < 0 ? (uint8_t)(i % LANGUAGE_COUNT) : (uint8_t)o.language;
	m.ews.subs = subs_new(o.front.ncas + (o.webdav != OWA_NONE), &o.limits, store, &counters,
	                      front_wake, NULL);
	if (notifier_init(&m.notifier) < 0)
		give_up("127.0.0.2", "can't be bound");
	davsubs_init(&m.davsubs, store, &counters.cas[o.front.ncas], notifier_send, &m.notifier);
	m.davsubs.repeat_ms = o.limits.minute_ms;
	publisher_init(&m.publisher, store);
	poster = poster_new(&m.loop, m.ews.subs);
	ca = cert_ca_new();
	if (!ca)
		give_up("certificates", "OpenSSL failed");
	write_ca(o.ca_out, cert_ca_pem(ca));
	front = front_new(&o.front, &m.loop, &m.ews, o.webdav ? &m.dav : NULL, ca, &why);
	if (!front)
		give_up("ports", why);
	front_password(front, password);
	front_logon(front)->on = o.forms;
	front_logon(front)->minute_ms = o.limits.minute_ms;
	explicit_bzero(password, sizeof password);
	control = control_new(o.control, o.front.ncas, &m.loop, &m.ews, front, &m.dav);
	if (!control)
		give_up("--control", "the port can't be opened");
	announce(&o, front, control);
	run(&m, front, poster);

	control_free(control);
	front_free(front);
	poster_free(poster);
	subs_free(m.ews.subs);
	davsubs_free(&m.davsubs);
	publisher_free(&m.publisher);
	notifier_free(&m.notifier);
	store_free(store);
	cert_ca_free(ca);
	close(m.signal_fd);
	loop_free(&m.loop);
	xmlCleanupParser();
	return 0;
}
