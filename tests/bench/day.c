/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What following calendars costs Exchange: a day of 10,000 users in virtual time, with the real engine and the real EWS backend, against servers that answer at
 * once and as Exchange writes it. Prints one line of JSON. Counted are the bodies and the head lines that the backend writes, and the bodies of the answers, from the
 * second hour on, for 24 hours; HTTP's and TLS's own bytes aren't.
 *
 * Everybody has MEETINGS meetings in what is read, and changes CHANGES times a day, between 8 and 18 h; each change is three events on the stream.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ews.h"
#include "core/engine.h"
#include "core/wall.h"

#define USERS 10000
#define GATEWAYS 4
#define MEETINGS 10
#define CHANGES 4
#define HEARTBEAT_MS 45000
#define HOUR_MS INT64_C(3600000)
#define WALL0 INT64_C(1795392000000) /* 2026-11-23T00:00:00Z */
#define LATENCY_MS 20

/* An answer, or a piece of a stream, on its way. */
struct piece {
	int64_t at;
	uint64_t id;
	struct px_buf bytes;
	bool last;
};

struct stream {
	uint64_t id; /* 0: none */
	int64_t beat, closes;
};

static struct px_engine *engine;
static struct px_now now;
static struct piece *wire;
static size_t pieces, pieces_cap;
static struct stream stream[1000];
static uint64_t stream_of[USERS]; /* subscription -> request */
static unsigned subscriptions;
static bool counting;
static uint64_t requests, bytes, etags;
static uint64_t seed = 1;

static const char head[] =
    "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"" PX_EWS_SOAP
    "\"><s:Header><h:ServerVersionInfo MajorVersion=\"15\" MinorVersion=\"1\" "
    "MajorBuildNumber=\"2507\" MinorBuildNumber=\"6\" Version=\"V2017_07_11\" "
    "xmlns:h=\"" PX_EWS_TYPES "\" xmlns=\"" PX_EWS_TYPES
    "\" xmlns:xsd=\"http://www.w3.org/2001/XMLSchema\" "
    "xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"/></s:Header><s:Body>";
static const char foot[] = "</s:Body></s:Envelope>";

static uint32_t below(uint32_t n) /* xorshift64* */
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (uint32_t)((seed * 2685821657736338717u >> 33) % n);
}

static void send_piece(uint64_t id, struct px_buf b, bool last)
{
	if (pieces == pieces_cap) {
		pieces_cap = pieces_cap ? 2 * pieces_cap : 1024;
		wire = realloc(wire, pieces_cap * sizeof *wire);
	}
	if (counting)
		bytes += b.len;
	wire[pieces++] = (struct piece){now.mono.ms + LATENCY_MS, id, b, last};
}

static size_t count(const char *text, const char *word)
{
	size_t n = 0;

	for (; (text = strstr(text, word)); text++)
		n++;
	return n;
}

static struct px_buf availability(size_t n)
{
	struct px_buf b = px_buf_new(1 << 24);

	px_buf_printf(&b, "%s<GetUserAvailabilityResponse xmlns=\"%s\"><FreeBusyResponseArray>",
	              head, PX_EWS_MESSAGES);
	for (size_t i = 0; i < n; i++) {
		px_buf_printf(
		    &b,
		    "<FreeBusyResponse><ResponseMessage "
		    "ResponseClass=\"Success\"><ResponseCode>NoError"
		    "</ResponseCode></ResponseMessage><FreeBusyView><FreeBusyViewType xmlns=\"%s\">"
		    "FreeBusyMerged</FreeBusyViewType><MergedFreeBusy xmlns=\"%s\">%0605d"
		    "</MergedFreeBusy><CalendarEventArray xmlns=\"%s\">",
		    PX_EWS_TYPES, PX_EWS_TYPES, 0, PX_EWS_TYPES);
		for (int m = 0; m < MEETINGS; m++) {
			char from[PX_WALL_TEXT], until[PX_WALL_TEXT];
			const struct px_wall day = {now.wall.ms / 86400000 * 86400000 +
			                            m / 5 * 86400000 + (8 + m % 5 * 2) * HOUR_MS};

			px_wall_text(day, from);
			px_wall_text((struct px_wall){day.ms + HOUR_MS}, until);
			px_buf_printf(&b,
			              "<CalendarEvent><StartTime>%.19s</StartTime><EndTime>%.19s"
			              "</EndTime><BusyType>Busy</BusyType></CalendarEvent>",
			              from, until);
		}
		px_buf_printf(
		    &b,
		    "</CalendarEventArray><WorkingHours xmlns=\"%s\"><TimeZone><Bias>-60</Bias>"
		    "<StandardTime><Bias>0</Bias><Time>03:00:00</Time><DayOrder>5</"
		    "DayOrder><Month>10"
		    "</Month><DayOfWeek>Sunday</DayOfWeek></StandardTime><DaylightTime><Bias>-60</"
		    "Bias>"
		    "<Time>02:00:00</Time><DayOrder>5</DayOrder><Month>3</Month><DayOfWeek>Sunday"
		    "</DayOfWeek></DaylightTime></"
		    "TimeZone><WorkingPeriodArray><WorkingPeriod><DayOfWeek>"
		    "Monday Tuesday Wednesday Thursday Friday</DayOfWeek><StartTimeInMinutes>480"
		    "</StartTimeInMinutes><EndTimeInMinutes>1020</EndTimeInMinutes></WorkingPeriod>"
		    "</WorkingPeriodArray></WorkingHours></FreeBusyView></FreeBusyResponse>",
		    PX_EWS_TYPES);
	}
	px_buf_strs(&b, "</FreeBusyResponseArray></GetUserAvailabilityResponse>", foot);
	return b;
}

static struct px_buf message(const char *operation, const char *inside)
{
	struct px_buf b = px_buf_new(1 << 20);

	px_buf_strs(
	    &b, head, "<m:", operation, "Response xmlns:m=\"", PX_EWS_MESSAGES, "\" xmlns:t=\"",
	    PX_EWS_TYPES, "\"><m:ResponseMessages><m:", operation,
	    "ResponseMessage ResponseClass=\"Success\"><m:ResponseCode>NoError</m:ResponseCode>",
	    inside, "</m:", operation, "ResponseMessage></m:ResponseMessages></m:", operation,
	    "Response>", foot);
	return b;
}

static struct px_buf status(const char *word)
{
	char text[100];

	snprintf(text, sizeof text, "<m:ConnectionStatus>%s</m:ConnectionStatus>", word);
	return message("GetStreamingEvents", text);
}

static void begin_stream(uint64_t id, const char *body)
{
	const char *at = strstr(body, "<m:ConnectionTimeout>");
	const int minutes = at ? atoi(at + strlen("<m:ConnectionTimeout>")) : 0;
	struct stream *s = stream;

	while (s->id)
		s++;
	*s = (struct stream){id, now.mono.ms + HEARTBEAT_MS, now.mono.ms + minutes * 60000};
	for (at = body; (at = strstr(at, "<t:SubscriptionId>sub-")); at++)
		stream_of[atoi(at + strlen("<t:SubscriptionId>sub-"))] = id;
	send_piece(id, status("OK"), false);
}

static void start(const struct px_action *a)
{
	const char *body = a->http.wire.body.data;
	char text[300];

	if (counting) {
		requests++;
		bytes += a->http.wire.head.len + a->http.wire.body.len;
	}
	switch (a->http.ask) {
	case PX_ASK_READ:
	case PX_ASK_PROBE:
		send_piece(a->http.id, availability(count(body, "<t:MailboxData>")), true);
		return;
	case PX_ASK_SUBSCRIBE:
		snprintf(text, sizeof text,
		         "<m:SubscriptionId>sub-%u-GdmM2ZTQ5LTk1MzMtNGYwMi1hY2E2LWE1ZmRkZTY5ZGU4"
		         "YgBGAAAAAACq</m:SubscriptionId>",
		         subscriptions++ % USERS);
		send_piece(a->http.id, message("Subscribe", text), true);
		return;
	case PX_ASK_STREAM:
		begin_stream(a->http.id, body);
		return;
	default:
		send_piece(a->http.id, message("Unsubscribe", ""), true);
	}
}

static void carry_out(void)
{
	size_t n;
	const struct px_action *a = (px_engine_pump(engine, now), px_engine_actions(engine, &n));
	uint64_t sip[2000];
	uint32_t expires[2000];
	size_t sips = 0;

	for (size_t i = 0; i < n; i++) {
		if (a[i].kind == PX_DO_HTTP_START) {
			start(&a[i]);
		} else if (a[i].kind == PX_DO_SIP_START && sips < 2000) {
			expires[sips] = a[i].sip.expires;
			sip[sips++] = a[i].sip.id;
		}
	}
	px_engine_actions_clear(engine);
	for (size_t i = 0; i < sips; i++) {
		char etag[32];
		const struct px_sip_answer ok = {.status = 200,
		                                 .etag = etag,
		                                 .expires = expires[i],
		                                 .min_expires = -1,
		                                 .retry_after = -1};

		snprintf(etag, sizeof etag, "e%llu", (unsigned long long)++etags);
		px_engine_sip_done(engine, sip[i], &ok, now);
	}
}

static void deliver(void)
{
	const struct px_http_answer fine = {
	    .status = 200, .retry_after_ms = -1, .type = "text/xml"};
	size_t left = 0, had = pieces;

	for (size_t i = 0; i < had; i++) {
		struct piece p = wire[i];

		if (p.at > now.mono.ms) {
			wire[left++] = p;
			continue;
		}
		px_engine_http_data(engine, p.id, p.bytes.data, p.bytes.len, now);
		if (p.last)
			px_engine_http_done(engine, p.id, &fine, now);
		px_buf_free(&p.bytes);
	}
	for (size_t i = had; i < pieces; i++)
		wire[left++] = wire[i];
	pieces = left;
}

static int64_t serve_streams(void)
{
	int64_t next = INT64_MAX;

	for (struct stream *s = stream; s < stream + 1000; s++) {
		if (!s->id)
			continue;
		if (s->closes <= now.mono.ms) {
			send_piece(s->id, status("Closed"), true);
			*s = (struct stream){0};
			continue;
		}
		if (s->beat <= now.mono.ms) {
			send_piece(s->id, status("OK"), false);
			s->beat = now.mono.ms + HEARTBEAT_MS;
		}
		next = s->beat < next ? s->beat : next;
		next = s->closes < next ? s->closes : next;
	}
	return next;
}

static void change(unsigned subscription)
{
	static const char *const event[] = {"Created", "Modified", "FreeBusyChanged"};
	struct px_buf b = px_buf_new(1 << 16);

	px_buf_printf(
	    &b,
	    "<m:Notifications><m:Notification><t:SubscriptionId>sub-%u-GdmM2ZTQ5LTk1MzMtNGYw"
	    "Mi1hY2E2LWE1ZmRkZTY5ZGU4YgBGAAAAAACq</t:SubscriptionId>",
	    subscription);
	for (int i = 0; i < 3; i++)
		px_buf_printf(
		    &b,
		    "<t:%sEvent><t:TimeStamp>2026-11-23T09:00:01Z</t:TimeStamp><t:ItemId "
		    "Id=\"AAMkAGZmNjM2ZTQ5LTk1MzMtNGYwMi1hY2E2LWE1ZmRkZTY5ZGU4YgBGAAAAAACq5u\" "
		    "ChangeKey=\"DwAAABYAAADkRMm\"/><t:ParentFolderId Id=\"AAMkAGZmNjM2ZTQ5LTk1"
		    "MzMtNGYwMi1hY2E2LWE1ZmRkZTY5ZGU4YgAuAAAAAACq\" ChangeKey=\"AQAAAA==\"/>"
		    "</t:%sEvent>",
		    event[i], event[i]);
	px_buf_str(&b, "</m:Notification></m:Notifications>");
	send_piece(stream_of[subscription], message("GetStreamingEvents", b.data), false);
	px_buf_free(&b);
}

int main(void)
{
	static const char *const names[GATEWAYS] = {"cas1", "cas2", "cas3", "cas4"};
	static const unsigned places[GATEWAYS] = {8, 8, 8, 8};
	const struct px_engine_config c = {.backend = &px_ews,
	                                   .map = px_map_default,
	                                   .gateways = GATEWAYS,
	                                   .gateway_name = names,
	                                   .gateway_concurrency = places,
	                                   .kinds = PX_KIND_BIT(PX_KIND_STREAM),
	                                   .horizon_s = 172800,
	                                   .resync_s = 3600,
	                                   .stale_after_s = 3600,
	                                   .publish_expires = 3600,
	                                   .publish_window = 200,
	                                   .presence_servers = 1,
	                                   .users_max = USERS,
	                                   .log_level = PX_LOG_ERROR,
	                                   .seed = 1};
	const int64_t begin = HOUR_MS, end = begin + 24 * HOUR_MS;
	/* changes come in working hours only */
	const int64_t gap = 10 * HOUR_MS / (USERS * CHANGES);
	int64_t next_change = 0;
	uint64_t changes = 0;

	now = (struct px_now){{1}, {WALL0}};
	engine = px_engine_new(&c, now);
	for (int i = 0; i < USERS; i++) {
		char key[64];

		snprintf(key, sizeof key, "firstname.lastname%d@example.test", i);
		px_engine_user_put(engine, key, key, true, now);
	}
	while (now.mono.ms < end) {
		int64_t next = serve_streams(), due;
		const int64_t hour = now.wall.ms / HOUR_MS % 24;

		if (hour >= 8 && hour < 18 && now.mono.ms >= next_change &&
		    subscriptions >= USERS) {
			change(below(USERS));
			changes += counting;
			next_change = now.mono.ms + gap;
		}
		if (hour >= 8 && hour < 18)
			next = next_change < next ? next_change : next;
		deliver();
		px_engine_tick(engine, now);
		carry_out();
		for (size_t i = 0; i < pieces; i++)
			next = wire[i].at < next ? wire[i].at : next;
		due = px_engine_due(engine, now).ms;
		next = due < next ? due : next;
		if (next <= now.mono.ms)
			next = now.mono.ms + 1;
		now.wall.ms += next - now.mono.ms;
		now.mono.ms = next;
		counting = now.mono.ms >= begin;
	}
	const struct px_engine_counts n = px_engine_counts(engine);
	if (n.watch[PX_WATCH_FOLLOWED] < USERS * 9 / 10) {
		fprintf(stderr, "day: only %u of %u are followed\n", n.watch[PX_WATCH_FOLLOWED],
		        USERS);
		return 1;
	}
	printf("{\"requests_per_user_day\": %.2f, \"bytes_per_user_day\": %.0f, "
	       "\"changes_per_user_day\": %.1f}\n",
	       (double)requests / USERS, (double)bytes / USERS, (double)changes / USERS);
	px_engine_free(engine);
	for (size_t i = 0; i < pieces; i++)
		px_buf_free(&wire[i].bytes);
	free(wire);
	return 0;
}
