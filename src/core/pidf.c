/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/pidf.h"

#include <assert.h>
#include <string.h>

#include "core/wall.h"
#include "px_key.h"

#define URI_MAX (sizeof "sip:" + 3 * PX_AOR_MAX)

const struct px_pidf_style px_pidf_default = {
    .lang = "en", .available = "Available", .busy = "Busy", .away = "Away"};

static void id(const char *prefix, const char *key, char out[PX_PIDF_ID])
{
	uint64_t hash = px_key_hash(key, strlen(key));
	size_t n = strlen(prefix);

	memcpy(out, prefix, n);
	out[n++] = '-';
	for (int shift = 60; shift >= 0; shift -= 4)
		out[n++] = "0123456789abcdef"[hash >> shift & 15];
	out[n] = '\0';
}

void px_pidf_tuple_id(const char *key, char out[PX_PIDF_ID])
{
	id("cal", key, out);
}

void px_pidf_person_id(const char *key, char out[PX_PIDF_ID])
{
	id("calp", key, out);
}

static void when(struct px_buf *out, const char *attribute, struct px_wall w)
{
	char text[PX_WALL_TEXT];

	if (w.ms != 0)
		px_buf_strs(out, " ", attribute, "=\"", px_wall_text(w, text), "\"");
}

/* What an activity is called, in RPID and, for these two, everywhere else. NULL: there is none. */
static const char *activity_of(enum px_presence p)
{
	return p == PX_PRESENCE_BUSY ? "busy" : p == PX_AWAY ? "away" : NULL;
}

static const char *note_of(const struct px_pidf_style *style, enum px_presence p)
{
	return p == PX_PRESENCE_BUSY ? style->busy : p == PX_AWAY ? style->away : style->available;
}

/* `element` with its prefix, such as "dm:note"; subject NULL: none. */
static void note(struct px_buf *out, const char *element, const struct px_pidf_style *style,
                 enum px_presence p, const char *subject)
{
	const char *text = note_of(style, p);

	px_buf_strs(out, "<", element, " xml:lang=\"", style->lang, "\">");
	px_buf_xml(out, text, strlen(text));
	if (subject) {
		px_buf_str(out, ": ");
		px_buf_xml(out, subject, strlen(subject));
	}
	px_buf_strs(out, "</", element, ">");
}

static void timed_status(struct px_buf *out, const struct px_pidf *doc,
                         const struct px_pidf_style *style)
{
	const char *next = activity_of(doc->next);

	if (!next)
		return;
	px_buf_str(out, "<ts:timed-status");
	when(out, "from", doc->next_from);
	when(out, "until", doc->next_until);
	px_buf_str(out, "><ts:basic>open</ts:basic>");
	note(out, "ts:note", style, doc->next, NULL);
	px_buf_strs(out, "<rpid:activities><rpid:", next,
	            "/></rpid:activities></ts:timed-status>\n");
}

static void tuple(struct px_buf *out, const struct px_pidf *doc, const struct px_pidf_style *style,
                  const char *uri, const char *now)
{
	char name[PX_PIDF_ID];

	px_pidf_tuple_id(doc->key, name);
	px_buf_strs(out, "<tuple id=\"", name, "\">\n<status><basic>open</basic>");
	if (style->blink && !doc->brief)
		px_buf_strs(out, "<agp-pidf:extended>", px_presence_name(doc->presence),
		            "</agp-pidf:extended>");
	px_buf_str(out, "</status>\n<contact>");
	px_buf_xml(out, uri, strlen(uri));
	px_buf_str(out, "</contact>\n");
	if (!doc->brief) {
		note(out, "note", style, doc->presence, doc->subject);
		px_buf_str(out, "\n");
	}
	px_buf_strs(out, "<timestamp>", now, "</timestamp>\n</tuple>\n");
}

static void person(struct px_buf *out, const struct px_pidf *doc, const struct px_pidf_style *style,
                   const char *now)
{
	const char *activity = activity_of(doc->presence);
	char name[PX_PIDF_ID];

	px_pidf_person_id(doc->key, name);
	px_buf_strs(out, "<dm:person id=\"", name, "\">\n");
	/* No activity at all means available: an empty or unknown one makes watchers show busy. */
	if (activity) {
		px_buf_str(out, "<rpid:activities");
		when(out, "from", doc->since);
		when(out, "until", doc->until);
		px_buf_strs(out, "><rpid:", activity, "/></rpid:activities>\n");
	}
	if (activity && style->cisco && !doc->brief)
		px_buf_strs(out, "<e:activities><e:", activity, "/></e:activities>\n");
	if (style->timed_status && !doc->brief)
		timed_status(out, doc, style);
	if (!doc->brief) {
		note(out, "dm:note", style, doc->presence, doc->subject);
		px_buf_str(out, "\n");
	}
	px_buf_strs(out, "<dm:timestamp>", now, "</dm:timestamp>\n</dm:person>\n");
}

void px_pidf_write_nothing(struct px_buf *out, const char *key)
{
	char uri[URI_MAX], name[PX_PIDF_ID];

	if (px_key_uri(key, uri, sizeof uri)) {
		out->failed = true;
		return;
	}
	px_pidf_tuple_id(key, name);
	px_buf_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	                "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\""
	                " xmlns:off=\"urn:x-pua-exchange:withdrawn\" entity=\"");
	px_buf_xml(out, uri, strlen(uri));
	px_buf_strs(out, "\">\n<off:tuple id=\"", name,
	            "\"><off:status><off:basic>closed</off:basic></off:status></off:tuple>\n"
	            "</presence>\n");
}

void px_pidf_write(struct px_buf *out, const struct px_pidf *doc)
{
	const struct px_pidf_style *style = doc->style ? doc->style : &px_pidf_default;
	char uri[URI_MAX], now[PX_WALL_TEXT];

	/* what isn't known isn't published */
	assert(doc->presence == PX_AVAILABLE || doc->presence == PX_PRESENCE_BUSY ||
	       doc->presence == PX_AWAY);
	if (px_key_uri(doc->key, uri, sizeof uri)) {
		out->failed = true;
		return;
	}
	px_wall_text(doc->now, now);

	px_buf_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	                "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\""
	                " xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\""
	                " xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\"");
	if (style->blink && !doc->brief)
		px_buf_str(out, " xmlns:agp-pidf=\"urn:ag-projects:xml:ns:pidf\"");
	if (style->cisco && !doc->brief)
		px_buf_str(out, " xmlns:e=\"urn:ietf:params:xml:ns:pidf:status:rpid\"");
	if (style->timed_status && !doc->brief)
		px_buf_str(out, " xmlns:ts=\"urn:ietf:params:xml:ns:pidf:timed-status\"");
	px_buf_str(out, " entity=\"");
	px_buf_xml(out, uri, strlen(uri));
	px_buf_str(out, "\">\n");
	tuple(out, doc, style, uri, now);
	person(out, doc, style, now);
	px_buf_str(out, "</presence>\n");
}
