/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/pidf.h"

#include <assert.h>
#include <string.h>

#include "core/wall.h"
#include "px_key.h"

#define URI_MAX (sizeof "sip:" + 3 * PX_AOR_MAX)

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

void px_pidf_write(struct px_buf *out, const struct px_pidf *doc)
{
	const char *activity = NULL, *note = NULL;
	char uri[URI_MAX], tuple[PX_PIDF_ID], person[PX_PIDF_ID], now[PX_WALL_TEXT];

	switch (doc->presence) {
	case PX_AVAILABLE:
		note = "Available";
		break;
	case PX_PRESENCE_BUSY:
		note = "Busy";
		activity = "busy";
		break;
	case PX_AWAY:
		note = "Away";
		activity = "away";
		break;
	case PX_UNKNOWN:
	case PX_KEEP:
		break;
	}
	assert(note); /* what isn't known isn't published */
	if (px_key_uri(doc->key, uri, sizeof uri)) {
		out->failed = true;
		return;
	}
	px_pidf_tuple_id(doc->key, tuple);
	px_pidf_person_id(doc->key, person);
	px_wall_text(doc->now, now);

	px_buf_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	                "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\""
	                " xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\""
	                " xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"");
	px_buf_xml(out, uri, strlen(uri));
	px_buf_strs(out, "\">\n<tuple id=\"", tuple,
	            "\">\n"
	            "<status><basic>open</basic></status>\n"
	            "<contact>");
	px_buf_xml(out, uri, strlen(uri));
	px_buf_strs(out, "</contact>\n<note xml:lang=\"en\">", note, "</note>\n<timestamp>", now,
	            "</timestamp>\n</tuple>\n<dm:person id=\"", person, "\">\n");
	/* No activity at all means available: an empty or unknown one makes watchers show busy. */
	if (activity) {
		px_buf_str(out, "<rpid:activities");
		when(out, "from", doc->since);
		when(out, "until", doc->until);
		px_buf_strs(out, "><rpid:", activity, "/></rpid:activities>\n");
	}
	px_buf_strs(out, "<dm:note xml:lang=\"en\">", note, "</dm:note>\n<dm:timestamp>", now,
	            "</dm:timestamp>\n</dm:person>\n</presence>\n");
}
