/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * readme.c - prints the module's README as users of Kamailio or OpenSIPS expect one: `readme kamailio`,
 * `readme opensips`. What the code says already is taken from it.
 */
#include <stdio.h>
#include <string.h>

#include "../events.h"
#include "../remote.h"
#include "../script.h"
#include "../show.h"
#include "px_settings.h"

static bool opensips;

static void title(const char *text, char line)
{
	printf("\n%s\n", text);
	for (size_t i = 0; text[i]; i++)
		putchar(line);
	printf("\n\n");
}

/* Broken before column 78, each line indented. */
static void words(const char *text, int indent)
{
	int column = 0;

	while (*text) {
		const int n = (int)strcspn(text, " ");

		if (column > 0 && column + 1 + n > 78) {
			putchar('\n');
			column = 0;
		}
		if (column == 0)
			column = printf("%*s%.*s", indent, "", n, text);
		else
			column += printf(" %.*s", n, text);
		text += n;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void overview(void)
{
	title("1. Overview", '=');
	words(
	    "Follows the Exchange calendars of many users and publishes them as SIP presence: "
	    "Busy, Away or Available, on time. The module starts and watches one separate program, "
	    "pua_exchange_worker, which reads the calendars and sends PUBLISH (RFC 3903, PIDF) to "
	    "a presence server, by default to this proxy itself. Calls never wait for it.",
	    0);
	title("2. Dependencies", '=');
	words(
	    "No other module must be loaded. This proxy as presence server needs presence and "
	    "presence_xml. The module itself needs the C library alone; what the worker is linked "
	    "with, its package or ldd says.",
	    0);
}

static void parameter(const char *name, const char *form, const char *help, const char *preset)
{
	printf("\n%s (%s)\n", name, form);
	words(help, 4);
	if (preset)
		printf("    Default: %s\n", preset);
}

static void parameters(void)
{
	title("3. Parameters", '=');
	words("A parameter that may be repeated is set once for each value. Times are in seconds. "
	      "A wrong one is refused at the start with what would be right.",
	      0);
#define PX_GROUP(text)                                                                             \
	printf("\n");                                                                              \
	words(text ":", 0);
#define PX_SETTING(name, kind, preset, min, max, form, help)                                       \
	parameter(#name, form, help ".", preset);
#include "px_settings.def"
#undef PX_SETTING
#undef PX_GROUP
	if (!opensips) {
		printf("\nevent_callback (NAME)\n");
		words("The function of a KEMI script that is called with the name of an event "
		      "(exchange:state, exchange:gateway), instead of event routes.",
		      4);
	}
	printf("\n    modparam(\"pua_exchange\", \"gateway\", \"https://cas1.example.com\")\n"
	       "    modparam(\"pua_exchange\", \"account\", \"svc-presence@example.com\")\n"
	       "    modparam(\"pua_exchange\", \"password_file\", \"/etc/%s/exchange.password\")\n"
	       "    modparam(\"pua_exchange\", \"user\", \"alice@example.com\")\n",
	       opensips ? "opensips" : "kamailio");
}

static void functions(void)
{
	title("4. Functions", '=');
	words(
	    "They may be used in any route and never wait. They are true when it is so, or is "
	    "about to be; false when there is no such user, when an AoR or mailbox is none, or "
	    "when the worker is silent or too many commands wait for it (statistic commands_lost).",
	    0);
	printf("\nexchange_enable(aor [, mailbox])\n");
	words("Follows a user's calendar; a user who wasn't there is added.", 4);
	printf("\nexchange_disable(aor)\n");
	words("Withdraws a user's presence and stops following. It lasts.", 4);
	printf("\nexchange_refresh(aor)\n");
	words("Reads the calendar now, and verifies the publication.", 4);
	if (opensips)
		return;
	printf(
	    "\nKEMI: KSR.pua_exchange.exchange_enable(aor), exchange_enable_mailbox(aor, "
	    "mailbox),\n"
	    "exchange_disable(aor), exchange_refresh(aor), exchange_get(name, aor) as\n"
	    "$exchange(name=>aor), exchange_event(name) as $exchange(name) in an event route.\n");
}

static void variables(void)
{
	title("5. Variables", '=');
	words("$exchange(NAME=>AOR), read from shared memory. AOR may have variables in it: "
	      "$exchange(availability=>$ru). \"unknown\" where nothing can be said: no such user, "
	      "the worker is silent, or what was known held until a moment that has passed.",
	      0);
	printf("\n");
#define PX_ROW(name, help) printf("  %-14s%s\n", #name, help);
	PX_LOOKUPS(PX_ROW)
#undef PX_ROW
	printf("\n    if ($exchange(availability=>$ru) == \"away\")\n"
	       "        $ru = \"sip:\" + $rU + \"@voicemail.example.com\";\n");
}

static void remote(void)
{
	title(opensips ? "6. MI commands" : "6. RPC commands", '=');
	if (opensips)
		words(
		    "From OpenSIPS 4.0 on also as pua_exchange:NAME. pua_exchange_users takes its "
		    "parameters by name only.",
		    0);
#define PX_ROW(name, form, parameters, help)                                                       \
	printf("\npua_exchange%c" #name " %s\n", opensips ? '_' : '.', parameters);                \
	words(help ".", 4);
	PX_REMOTE(PX_ROW)
#undef PX_ROW
}

static void statistics(void)
{
	title("7. Statistics", '=');
#define PX_ROW(name, help) printf("  %-18s%s\n", #name, help);
	PX_STATS(PX_ROW)
#undef PX_ROW
}

static void values(const char *kind)
{
#define PX_ROW(name, kinds, help)                                                                  \
	if (strstr(kinds, kind))                                                                   \
		printf("  %-10s%s\n", #name, help);
	PX_EVENT_VALUES(PX_ROW)
#undef PX_ROW
}

static void events(void)
{
	title(opensips ? "8. Events" : "8. Event routes", '=');
	words("What lasts is told once. A state that comes and goes within a tenth of a second "
	      "isn't told, nor is a silent worker: see the statistic worker_up.",
	      0);
	if (!opensips)
		words(
		    "They run in a process of their own, which is only there when one of them is "
		    "written, so that no call waits for them. What changed is in $exchange(NAME).",
		    0);
	printf("\n%s\n", opensips ? "E_PUA_EXCHANGE_STATE" : "event_route[exchange:state]");
	words("A user's state has changed.", 4);
	printf("\n");
	values("s");
	printf("\n%s\n", opensips ? "E_PUA_EXCHANGE_GATEWAY" : "event_route[exchange:gateway]");
	words("A gateway goes down or comes back.", 4);
	printf("\n");
	values("g");
}

int main(int argc, char **argv)
{
	opensips = argc == 2 && strcmp(argv[1], "opensips") == 0;
	if (argc != 2 || (!opensips && strcmp(argv[1], "kamailio") != 0)) {
		fprintf(stderr, "usage: readme kamailio|opensips\n");
		return 2;
	}
	printf("pua_exchange Module\n===================\n");
	overview();
	parameters();
	functions();
	variables();
	remote();
	statistics();
	events();
	return fflush(stdout) != 0;
}
