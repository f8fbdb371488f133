/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast Exchange's answers are read, against bare libxml2 over the same bytes in the same pieces:
 *
 *     parse [read|stream]     prints one line of JSON; with a word, of that part alone
 *
 * The mix: availability of 100 mailboxes with 0 to 20 meetings in the two days of `horizon` (each with its digits and working hours, as Exchange sends them), and
 * streams of 200 subscriptions, heartbeats and notifications. Bare is a push parser with empty SAX2 callbacks, one context for each document, told where documents
 * end; it throws everything away.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libxml/parser.h>

#include "backend/ews.h"

#define PIECE 16384 /* what curl hands over at most (CURL_MAX_WRITE_SIZE) */
#define MAILBOXES 100
#define ENVELOPES 600
#define ROUNDS 9
#define ROUND_S 0.4

struct answer {
	enum px_ask ask;
	size_t n;
	struct px_buf bytes;
	size_t *end; /* of each document */
	size_t ends;
};

static const char head[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"" PX_EWS_SOAP
    "\"><s:Header><h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"1\" "
    "MajorBuildNumber=\"2507\" MinorBuildNumber=\"6\" "
    "Version=\"V2017_07_11\" xmlns:h=\"" PX_EWS_TYPES "\" xmlns=\"" PX_EWS_TYPES
    "\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" "
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"/></s:Header><s:Body>";
static const char foot[] = "</s:Body></s:Envelope>";

static void document(struct answer *a)
{
	if ((a->ends & (a->ends - 1)) == 0)
		a->end = realloc(a->end, (a->ends ? 2 * a->ends : 1) * sizeof *a->end);
	a->end[a->ends++] = a->bytes.len;
}

static struct answer availability(unsigned seed)
{
	static const char *const type[] = {"Busy", "Tentative", "OOF", "Busy", "Free", "Busy"};
	struct answer a = {.ask = PX_ASK_READ, .n = MAILBOXES, .bytes = px_buf_new(1 << 24)};
	struct px_buf *b = &a.bytes;

	px_buf_printf(b, "%s<GetUserAvailabilityResponse xmlns=\"%s\"><FreeBusyResponseArray>",
	              head, PX_EWS_MESSAGES);
	for (unsigned i = 0; i < MAILBOXES; i++) {
		unsigned meetings = (i * 7 + seed) % 21;

		px_buf_printf(
		    b,
		    "<FreeBusyResponse><ResponseMessage "
		    "ResponseClass=\"Success\"><ResponseCode>NoError"
		    "</ResponseCode></ResponseMessage><FreeBusyView><FreeBusyViewType xmlns=\"%s\">"
		    "FreeBusyMerged</FreeBusyViewType><MergedFreeBusy xmlns=\"%s\">",
		    PX_EWS_TYPES, PX_EWS_TYPES);
		for (unsigned s = 0; s < 50 * 12; s++)
			px_buf_str(b, (s / 7 + i) % 5 ? "0" : "2");
		px_buf_str(b, "</MergedFreeBusy>");
		if (meetings)
			px_buf_printf(b, "<CalendarEventArray xmlns=\"%s\">", PX_EWS_TYPES);
		for (unsigned m = 0; m < meetings; m++)
			px_buf_printf(
			    b,
			    "<CalendarEvent><StartTime>2026-11-%02uT%02u:%02u:00</StartTime>"
			    "<EndTime>2026-11-%02uT%02u:%02u:00</EndTime><BusyType>%s</BusyType>"
			    "</CalendarEvent>",
			    23 + m / 10, 8 + m % 10, i % 2 * 30, 23 + m / 10, 8 + m % 10,
			    45 + i % 2 * 10, type[(m + i) % 6]);
		if (meetings)
			px_buf_str(b, "</CalendarEventArray>");
		px_buf_printf(
		    b,
		    "<WorkingHours "
		    "xmlns=\"%s\"><TimeZone><Bias>-60</Bias><StandardTime><Bias>0</Bias>"
		    "<Time>03:00:00</Time><DayOrder>5</DayOrder><Month>10</Month><DayOfWeek>Sunday"
		    "</DayOfWeek></StandardTime><DaylightTime><Bias>-60</Bias><Time>02:00:00</Time>"
		    "<DayOrder>5</DayOrder><Month>3</Month><DayOfWeek>Sunday</DayOfWeek></"
		    "DaylightTime>"
		    "</TimeZone><WorkingPeriodArray><WorkingPeriod><DayOfWeek>Monday Tuesday "
		    "Wednesday "
		    "Thursday Friday</DayOfWeek><StartTimeInMinutes>480</StartTimeInMinutes>"
		    "<EndTimeInMinutes>1020</EndTimeInMinutes></WorkingPeriod></WorkingPeriodArray>"
		    "</WorkingHours></FreeBusyView></FreeBusyResponse>",
		    PX_EWS_TYPES);
	}
	px_buf_printf(b, "</FreeBusyResponseArray></GetUserAvailabilityResponse>%s", foot);
	document(&a);
	return a;
}

static struct answer stream(void)
{
	static const char *const event[] = {"Created", "Modified", "FreeBusyChanged"};
	struct answer a = {.ask = PX_ASK_STREAM, .n = 200, .bytes = px_buf_new(1 << 24)};
	struct px_buf *b = &a.bytes;

	for (unsigned i = 0; i < ENVELOPES; i++) {
		px_buf_printf(b,
		              "%s<m:GetStreamingEventsResponse xmlns:m=\"%s\" "
		              "xmlns:t=\"%s\"><m:ResponseMessages>"
		              "<m:GetStreamingEventsResponseMessage "
		              "ResponseClass=\"Success\"><m:ResponseCode>"
		              "NoError</m:ResponseCode>",
		              head, PX_EWS_MESSAGES, PX_EWS_TYPES);
		if (i % 3 == 0) {
			px_buf_printf(b, "<m:ConnectionStatus>%s</m:ConnectionStatus>",
			              i < ENVELOPES - 3 ? "OK" : "Closed");
		} else {
			px_buf_str(b, "<m:Notifications>");
			for (unsigned k = 0; k < 1 + i % 3; k++) {
				px_buf_printf(
				    b,
				    "<m:Notification><t:SubscriptionId>JgBjYXMxLmV4YW1wbGUu"
				    "dGVzdBAAAAB%04uAAA+7cZ1w==</t:SubscriptionId>",
				    (i * 3 + k) % 200);
				for (unsigned e = 0; e < 3; e++)
					px_buf_printf(
					    b,
					    "<t:%sEvent><t:TimeStamp>2026-11-23T09:%02u:01Z</"
					    "t:TimeStamp>"
					    "<t:ItemId "
					    "Id=\"AAMkAGZmNjM2ZTQ5LTk1MzMtNGYwMi1hY2E2LWE1ZmRkZTY5"
					    "ZGU4YgBGAAAAAACq5u%u\" ChangeKey=\"DwAAABYAAADkRMm\"/>"
					    "<t:ParentFolderId "
					    "Id=\"AAMkAGZmNjM2ZTQ5LTk1MzMtNGYwMi1hY2E2LWE1"
					    "ZmRkZTY5ZGU4YgAuAAAAAACq\" "
					    "ChangeKey=\"AQAAAA==\"/></t:%sEvent>",
					    event[e], i % 60, i, event[e]);
				px_buf_str(b, "</m:Notification>");
			}
			px_buf_str(b, "</m:Notifications>");
		}
		px_buf_printf(b,
		              "</m:GetStreamingEventsResponseMessage></m:ResponseMessages>"
		              "</m:GetStreamingEventsResponse>%s",
		              foot);
		document(&a);
	}
	return a;
}

static void die(const char *why)
{
	fprintf(stderr, "parse: %s\n", why);
	exit(1);
}

/* ---- ours ---- */

static void said(void *arg, const struct px_item *item)
{
	*(size_t *)arg += 1 + item->n;
}

static void ours(const struct answer *a)
{
	const struct px_query q = {.ask = a->ask,
	                           .n = a->n,
	                           .mailbox = "alice@example.test",
	                           .from = {INT64_C(1795392000000)},
	                           .until = {INT64_C(1795392000000) + 50 * 3600000}};
	const struct px_http_answer fine = {
	    .status = 200, .retry_after_ms = -1, .type = "text/xml"};
	size_t items = 0;
	struct px_parse *p = px_ews.parse_new(&q, said, &items);
	struct px_reply reply;

	for (size_t at = 0; at < a->bytes.len; at += PIECE)
		px_ews.feed(p, a->bytes.data + at,
		            a->bytes.len - at < PIECE ? a->bytes.len - at : PIECE);
	px_ews.done(p, &fine, &reply);
	px_ews.parse_free(p);
	if (reply.verdict != PX_V_OK || items < 500)
		die(reply.code);
}

/* ---- bare ---- */

static void open_nothing(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *ns,
                         int spaces, const xmlChar **space, int attrs, int defaulted,
                         const xmlChar **attr)
{
	(void)name;
	(void)prefix;
	(void)ns;
	(void)spaces;
	(void)space;
	(void)attrs;
	(void)defaulted;
	(void)attr;
	++*(size_t *)arg;
}

static void close_nothing(void *arg, const xmlChar *name, const xmlChar *prefix, const xmlChar *ns)
{
	(void)arg;
	(void)name;
	(void)prefix;
	(void)ns;
}

static void text_nothing(void *arg, const xmlChar *s, int n)
{
	(void)arg;
	(void)s;
	(void)n;
}

static void bare(const struct answer *a)
{
	static xmlSAXHandler sax = {.initialized = XML_SAX2_MAGIC,
	                            .startElementNs = open_nothing,
	                            .endElementNs = close_nothing,
	                            .characters = text_nothing,
	                            .ignorableWhitespace = text_nothing};
	size_t elements = 0;

	for (size_t d = 0, at = 0; d < a->ends; d++) {
		xmlParserCtxt *x = xmlCreatePushParserCtxt(&sax, &elements, NULL, 0, NULL);

		while (at < a->end[d]) {
			size_t part = PIECE - at % PIECE;

			if (part > a->end[d] - at)
				part = a->end[d] - at;
			xmlParseChunk(x, a->bytes.data + at, (int)part, 0);
			at += part;
		}
		xmlParseChunk(x, NULL, 0, 1);
		if (!x->wellFormed)
			die("bare: not well-formed");
		xmlFreeParserCtxt(x);
	}
	if (elements < 1000)
		die("bare: no elements");
}

/* ---- */

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* MB a second of processor time. */
static double rate(void (*read)(const struct answer *a), const struct answer *a, size_t n)
{
	const double start = cpu();
	size_t bytes = 0;
	double took;

	do
		for (size_t i = 0; i < n; i++) {
			read(&a[i]);
			bytes += a[i].bytes.len;
		}
	while ((took = cpu() - start) < ROUND_S);
	return (double)bytes / took / 1e6;
}

static int by_size(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof *v, by_size);
	return v[ROUNDS / 2];
}

int main(int argc, char **argv)
{
	struct answer mix[4] = {availability(0), availability(5), availability(11), stream()};
	double our[ROUNDS], their[ROUNDS], ratio[ROUNDS];
	size_t n = 4, from = 0;

	/* "read" or "stream": a part alone, for profiling */
	if (argc > 1 && strcmp(argv[1], "read") == 0)
		n = 3;
	else if (argc > 1 && strcmp(argv[1], "stream") == 0)
		from = 3;
	for (size_t i = 0; i < 4; i++)
		if (mix[i].bytes.failed || !mix[i].end)
			die("out of memory");
	/* neighbours in time, so that a busy machine is busy for both */
	for (int i = 0; i < ROUNDS; i++) {
		our[i] = rate(ours, mix + from, n - from);
		their[i] = rate(bare, mix + from, n - from);
		ratio[i] = our[i] / their[i];
	}
	printf("{\"parse_mb_per_s\": %.1f, \"sax_mb_per_s\": %.1f, \"parse_ratio\": %.3f}\n",
	       median(our), median(their), median(ratio));
	for (size_t i = 0; i < 4; i++) {
		px_buf_free(&mix[i].bytes);
		free(mix[i].end);
	}
	return 0;
}
