/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * presence-watch - watches many presentities over SIP and says who is what until when.
 */
#include "net.h"
#include "crowd.h"
#include "show.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <libxml/parser.h>
#include <sofia-sip/su.h>

#define LEAVE_MS 3000
#define DRAW_MS 200

static const char help[] =
    "usage: presence-watch --server URI [options] [AOR ...]\n"
    "\n"
    "Subscribes to the presence of every AOR (user@host) and prints each change: a table on a\n"
    "terminal, one JSON object per line otherwise.\n"
    "\n"
    "  --server URI   the presence server, sip:127.0.0.1:5060 or …;transport=tcp\n"
    "  --bind URI     own address, without transport (sip:127.0.0.1:*: any free port)\n"
    "  --from AOR     who watches (presence-watch@localhost)\n"
    "  --users FILE   more AORs, one per line; what follows a comma or blank is ignored, # "
    "comments\n"
    "  --expires S    length of a subscription (3600)\n"
    "  --rate N       SUBSCRIBEs a second at most (1000)\n"
    "  --once         end as soon as everybody has been heard of\n"
    "  --for S        end after S seconds; with --once a failure, as somebody is missing\n"
    "  --json         JSON also on a terminal\n"
    "  --all          print NOTIFYs that change nothing, too\n"
    "  -h, --help     this\n"
    "\n"
    "SIGTERM and SIGINT end it: it un-SUBSCRIBEs and exits with 0.\n";

struct options {
	const char *server, *bind, *from, *users;
	long expires_s, for_s;
	double rate;
	bool once, json, all;
};

struct watch {
	struct options o;
	struct pw_crowd crowd;
	struct pw_net *net;
	su_root_t *root;
	int timer, signals, waits[2];
	bool table, colour, dirty;
	unsigned drawn;
	char last_problem[256];
	int64_t began_ms, leave_by_ms, drawn_ms; /* leave_by_ms: 0 while nobody wants us to end */
	bool missed;                             /* --once, and somebody was never heard of */
};

static int64_t clock_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t mono_ms(void)
{
	return clock_ms(CLOCK_MONOTONIC);
}

static int64_t wall_ms(void)
{
	return clock_ms(CLOCK_REALTIME);
}

static bool send_subscribe(void *arg, const struct pw_sub *s, long expires_s)
{
	return pw_net_subscribe(((struct watch *)arg)->net, s, expires_s);
}

static void notified(void *arg, const struct pw_sub *s, bool changed, int64_t at_ms)
{
	struct watch *w = arg;

	w->dirty = true;
	if (!w->table && (changed || w->o.all))
		pw_show_presence(stdout, s, at_ms);
}

static void problem(void *arg, const char *aor, const char *what)
{
	struct watch *w = arg;

	w->dirty = true;
	snprintf(w->last_problem, sizeof w->last_problem, "%s%s%s", aor ? aor : "", aor ? ": " : "",
	         what);
	if (!w->table)
		pw_show_problem(stdout, aor, what, wall_ms());
}

static void leave(struct watch *w)
{
	if (w->leave_by_ms)
		return;
	w->leave_by_ms = mono_ms() + LEAVE_MS;
	pw_crowd_leave(&w->crowd);
}

static void ready(void *arg)
{
	struct watch *w = arg;

	if (!w->table)
		pw_show_ready(stdout, &w->crowd, wall_ms());
	if (w->o.once)
		leave(w);
}

static const struct pw_crowd_calls crowd_calls = {send_subscribe, notified, problem, ready};

static void on_answer(void *arg, uint32_t slot, uint32_t generation, const struct pw_answer *a)
{
	pw_crowd_answer(&((struct watch *)arg)->crowd, slot, generation, a, mono_ms());
}

static int on_notify(void *arg, uint32_t slot, uint32_t generation, const struct pw_notify *n)
{
	return pw_crowd_notify(&((struct watch *)arg)->crowd, slot, generation, n, mono_ms(),
	                       wall_ms());
}

static void on_stray(void *arg, const char *why)
{
	pw_crowd_problem(&((struct watch *)arg)->crowd, why);
}

static void on_lost(void *arg)
{
	pw_crowd_lost(&((struct watch *)arg)->crowd, mono_ms());
}

static const struct pw_net_calls net_calls = {on_answer, on_notify, on_stray, on_lost};

static void draw(struct watch *w, int64_t now_ms)
{
	struct winsize size;

	if (!w->table || !w->dirty || now_ms - w->drawn_ms < DRAW_MS)
		return;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
		size = (struct winsize){.ws_row = 24, .ws_col = 80};
	pw_show_table(stdout, &w->crowd, w->last_problem, size.ws_row, size.ws_col, w->colour,
	              &w->drawn);
	w->drawn_ms = now_ms;
	w->dirty = false;
}

static void arm(struct watch *w, int after_ms)
{
	struct itimerspec at = {.it_value = {after_ms / 1000, after_ms % 1000 * 1000000L}};

	timerfd_settime(w->timer, 0, &at, NULL);
}

static int on_timer(su_root_magic_t *magic, su_wait_t *wait, su_wakeup_arg_t *arg)
{
	struct watch *w = (struct watch *)arg;
	int64_t now_ms = mono_ms();
	uint64_t fired;

	(void)magic;
	(void)wait;
	if (read(w->timer, &fired, sizeof fired) < 0)
		return 0;
	if (w->o.for_s && now_ms - w->began_ms >= w->o.for_s * 1000 && !w->leave_by_ms) {
		w->missed = w->o.once;
		leave(w);
	}
	arm(w, pw_crowd_turn(&w->crowd, now_ms));
	draw(w, now_ms);
	if (w->leave_by_ms && (pw_crowd_left(&w->crowd) || now_ms >= w->leave_by_ms))
		su_root_break(w->root);
	return 0;
}

static int on_signal(su_root_magic_t *magic, su_wait_t *wait, su_wakeup_arg_t *arg)
{
	struct watch *w = (struct watch *)arg;
	struct signalfd_siginfo info;

	(void)magic;
	(void)wait;
	if (read(w->signals, &info, sizeof info) == sizeof info)
		leave(w);
	return 0;
}

/* The index to deregister it by; -1 when it can't be listened to. */
static int listen_to(struct watch *w, int fd, su_wakeup_f call)
{
	su_wait_t wait[1];

	if (fd < 0 || su_wait_create(wait, fd, SU_WAIT_IN) != 0)
		return -1;
	return su_root_register(w->root, wait, call, (su_wakeup_arg_t *)w, 0);
}

/* The addresses to watch; grows as they come. */
struct aors {
	char **list;
	unsigned n, room;
};

static bool add(struct aors *a, const char *uri)
{
	char aor[PW_AOR_MAX];

	if (!pw_aor(uri, aor, sizeof aor))
		return false;
	if (a->n == a->room) {
		unsigned room = a->room ? 2 * a->room : 64;
		char **list = realloc(a->list, room * sizeof *list);
		if (!list)
			return false;
		a->list = list;
		a->room = room;
	}
	a->list[a->n] = strdup(aor);
	return a->list[a->n] && ++a->n;
}

static bool add_file(struct aors *a, const char *name)
{
	FILE *file = fopen(name, "r");
	char *text = NULL;
	size_t size = 0;
	unsigned number = 0;
	bool good = true;

	if (!file) {
		fprintf(stderr, "presence-watch: %s: %s\n", name, strerror(errno));
		return false;
	}
	while (good && getline(&text, &size, file) >= 0) {
		char *start = text + strspn(text, " \t\r\n");
		number++;
		start[strcspn(start, ", \t\r\n#")] = '\0';
		if (*start && !add(a, start)) {
			fprintf(stderr, "presence-watch: %s:%u: %s is no user@host\n", name, number,
			        start);
			good = false;
		}
	}
	free(text);
	fclose(file);
	return good;
}

/* A decimal number in a range; says which option is wrong otherwise. */
static bool number(const char *option, const char *text, long min, long max, long *value)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	if (errno == 0 && *text && !*end && *value >= min && *value <= max)
		return true;
	fprintf(stderr, "presence-watch: %s %s: a number from %ld to %ld\n", option, text, min,
	        max);
	return false;
}

enum { GO = -1 };

/* GO, or the exit code to end with. */
static int read_options(int argc, char **argv, struct options *o, struct aors *aors)
{
	static const struct option known[] = {
	    {"server", 1, NULL, 's'}, {"bind", 1, NULL, 'b'},    {"from", 1, NULL, 'f'},
	    {"users", 1, NULL, 'u'},  {"expires", 1, NULL, 'e'}, {"rate", 1, NULL, 'r'},
	    {"once", 0, NULL, 'o'},   {"for", 1, NULL, 't'},     {"json", 0, NULL, 'j'},
	    {"all", 0, NULL, 'a'},    {"help", 0, NULL, 'h'},    {0}};
	char from[PW_AOR_MAX];
	bool good = true;
	long rate = 1000;
	int c;

	*o = (struct options){
	    .bind = "sip:127.0.0.1:*", .from = "presence-watch@localhost", .expires_s = 3600};
	while (good && (c = getopt_long(argc, argv, "h", known, NULL)) != -1) {
		switch (c) {
		case 's':
			o->server = optarg;
			break;
		case 'b':
			o->bind = optarg;
			break;
		case 'f':
			o->from = optarg;
			break;
		case 'u':
			good = add_file(aors, optarg);
			break;
		case 'e':
			good = number("--expires", optarg, 1, 7 * 86400, &o->expires_s);
			break;
		case 'r':
			good = number("--rate", optarg, 1, 100000, &rate);
			break;
		case 't':
			good = number("--for", optarg, 1, 30 * 86400, &o->for_s);
			break;
		case 'o':
			o->once = true;
			break;
		case 'j':
			o->json = true;
			break;
		case 'a':
			o->all = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			good = false;
		}
	}
	for (; good && optind < argc; optind++) {
		good = add(aors, argv[optind]);
		if (!good)
			fprintf(stderr, "presence-watch: %s is no user@host\n", argv[optind]);
	}
	if (good && (!o->server || aors->n == 0)) {
		fprintf(stderr, "presence-watch: %s\n",
		        o->server ? "nobody to watch: name AORs, or --users FILE"
		                  : "--server is missing");
		good = false;
	}
	if (good && (!pw_aor(o->from, from, sizeof from) || strcasecmp(o->from, from) != 0)) {
		fprintf(stderr, "presence-watch: --from %s is no user@host\n", o->from);
		good = false;
	}
	if (good && strchr(o->bind, ';')) {
		fprintf(stderr,
		        "presence-watch: --bind %s: without parameters; the transport is "
		        "that of --server\n",
		        o->bind);
		good = false;
	}
	o->rate = (double)rate;
	if (!good)
		fputs("presence-watch -h explains the options\n", stderr);
	return good ? GO : 2;
}

/* Everything that runs until the end; the exit code. */
static int run(struct watch *w)
{
	const char *why = NULL;
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	w->signals = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
	w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	w->waits[0] = listen_to(w, w->signals, on_signal);
	w->waits[1] = listen_to(w, w->timer, on_timer);
	if (w->waits[0] < 0 || w->waits[1] < 0) {
		fprintf(stderr, "presence-watch: %s\n", strerror(errno));
		return 1;
	}
	w->net = pw_net_new(w->root, w->o.bind, w->o.server, w->o.from, &net_calls, w, &why);
	if (!w->net) {
		fprintf(stderr, "presence-watch: %s\n", why);
		return 2;
	}
	w->began_ms = mono_ms();
	arm(w, 1);
	su_root_run(w->root);

	if (pw_net_bad_requests(w->net) > 0) {
		char what[80];
		snprintf(what, sizeof what, "%u requests so broken that they were refused unread",
		         pw_net_bad_requests(w->net));
		w->crowd.counts.problems += pw_net_bad_requests(w->net) - 1;
		pw_crowd_problem(&w->crowd, what);
	}
	w->drawn_ms = 0;
	draw(w, mono_ms());
	if (!w->table)
		pw_show_end(stdout, &w->crowd, (mono_ms() - w->began_ms) / 1000, wall_ms());
	return w->missed ? 1 : 0;
}

int main(int argc, char **argv)
{
	struct watch w = {.timer = -1, .signals = -1};
	struct aors aors = {0};
	int code = read_options(argc, argv, &w.o, &aors);

	if (code == GO) {
		code = 1;
		w.table = isatty(STDOUT_FILENO) && !w.o.json;
		w.colour = !getenv("NO_COLOR");
		xmlInitParser();
		pw_net_clock();
		su_init();
		w.root = su_root_create(NULL);
		if (w.root && pw_crowd_init(&w.crowd, (const char *const *)aors.list, aors.n,
		                            w.o.rate, w.o.expires_s, &crowd_calls, &w))
			code = run(&w);
		else
			fputs("presence-watch: out of memory\n", stderr);
		pw_net_free(w.net);
		pw_crowd_clear(&w.crowd);
		for (int i = 0; i < 2; i++)
			if (w.waits[i] > 0)
				su_root_deregister(w.root, w.waits[i]);
		if (w.root)
			su_root_destroy(w.root);
		su_deinit();
		xmlCleanupParser();
		close(w.timer);
		close(w.signals);
	}
	for (unsigned i = 0; i < aors.n; i++)
		free(aors.list[i]);
	free(aors.list);
	return code;
}
