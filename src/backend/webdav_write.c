/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What we send over WebDAV. Everything from outside is percent-encoded in targets and escaped in bodies. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backend/webdav.h"
#include "core/wall.h"

static bool in(const char *set, char c)
{
	return c && strchr(set, c);
}

static bool plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       in("-._~", c);
}

static bool hex(char c)
{
	return in("0123456789abcdefABCDEF", c);
}

static void encode(struct px_buf *out, const char *s, size_t n, const char *also)
{
	for (size_t i = 0; i < n; i++)
		if (plain(s[i]) || in(also, s[i]))
			px_buf_add(out, &s[i], 1);
		else
			px_buf_printf(out, "%%%02X", (unsigned char)s[i]);
}

int px_webdav_path(const char *url, size_t n, char out[PX_WEBDAV_FOLDER_MAX + 1])
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = 0, i = 0;

	for (; n > 0 && in(" \t\r\n", *url); n--)
		url++;
	while (n > 0 && in(" \t\r\n", url[n - 1]))
		n--;
	for (size_t at = 0; at + 3 <= n && url[0] != '/'; at++)
		if (memcmp(url + at, "://", 3) == 0) {
			i = at + 3;
			break;
		}
	while (i < n && url[i] != '/')
		i++;
	if (i == n)
		return -EINVAL;
	for (; i < n && url[i] != '?' && url[i] != '#'; i++) {
		const char c = url[i];

		/* @ + , : stand unescaped in what Exchange itself writes; a quote would end the text in a SEARCH */
		if (plain(c) || in("/@+,:=!$*()", c)) {
			if (len + 1 > PX_WEBDAV_FOLDER_MAX)
				return -EINVAL;
			out[len++] = c;
			continue;
		}
		if (len + 3 > PX_WEBDAV_FOLDER_MAX)
			return -EINVAL;
		if (c == '%') {
			if (i + 2 >= n || !hex(url[i + 1]) || !hex(url[i + 2]) ||
			    (url[i + 1] == '0' && url[i + 2] == '0'))
				return -EINVAL;
			memcpy(out + len, url + i, 3);
			i += 2;
		} else if ((unsigned char)c < ' ' || c == 0x7f) {
			return -EINVAL;
		} else {
			out[len] = '%';
			out[len + 1] = digits[(unsigned char)c >> 4];
			out[len + 2] = digits[(unsigned char)c & 15];
		}
		len += 3;
	}
	out[len] = '\0';
	return 0;
}

static void mailbox_target(struct px_wire *out, const struct px_query *q)
{
	px_buf_str(&out->target, q->root ? q->root : PX_WEBDAV_ROOT);
	encode(&out->target, q->mailbox, strlen(q->mailbox), "@");
	px_buf_str(&out->target, "/");
}

/* The folder that LOCATE found; requests about subscriptions may know none. */
static void folder_target(struct px_wire *out, const struct px_query *q)
{
	if (q->folder)
		px_buf_str(&out->target, q->folder);
	else
		mailbox_target(out, q);
}

static void xml_head(struct px_wire *out)
{
	px_buf_str(&out->head, "Content-Type: text/xml; charset=utf-8\r\nBrief: t\r\n");
	px_buf_str(&out->body, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
}

static void locate(struct px_wire *out, const struct px_query *q)
{
	out->method = "PROPFIND";
	mailbox_target(out, q);
	px_buf_str(&out->head, "Depth: 0\r\n");
	xml_head(out);
	px_buf_str(&out->body, "<a:propfind xmlns:a=\"DAV:\" xmlns:d=\"urn:schemas:httpmail:\">"
	                       "<a:prop><d:calendar/></a:prop></a:propfind>");
}

static void ids(struct px_wire *out, const struct px_query *q)
{
	px_buf_str(&out->head, "Subscription-id: ");
	for (size_t i = 0, told = 0; i < q->n; i++)
		if (px_webdav_id(q->id[i], strlen(q->id[i])))
			px_buf_strs(&out->head, told++ ? "," : "", q->id[i]);
	px_buf_str(&out->head, "\r\n");
}

static void lifetime(struct px_wire *out)
{
	px_buf_printf(&out->head, "Subscription-lifetime: %d\r\n", PX_WEBDAV_LIFETIME_S);
}

/* "update" at depth 1 tells of what is added, changed, moved and deleted in the folder. */
static void subscribe(struct px_wire *out, const struct px_query *q)
{
	out->method = "SUBSCRIBE";
	folder_target(out, q);
	px_buf_str(&out->head, "Notification-type: update\r\nDepth: 1\r\n");
	if (q->callback) /* calls are hints: the subscription is asked about (POLL) with or without */
		px_buf_strs(&out->head, "Call-Back: ", q->callback, "\r\n");
	lifetime(out);
}

/* A renewal names the ids and nothing that a new subscription would: else it may be refused with 400. */
static void renew(struct px_wire *out, const struct px_query *q)
{
	out->method = "SUBSCRIBE";
	folder_target(out, q);
	ids(out, q);
	lifetime(out);
}

/* The store wants its own form of a time, in UTC. */
static void moment(struct px_buf *out, struct px_wall w)
{
	char text[PX_WALL_TEXT];

	px_wall_text(w, text); /* 2026-11-23T09:00:00Z */
	px_buf_printf(out, "'%.4s/%.2s/%.2s %.8s'", text, text + 5, text + 8, text + 11);
}

/* A date in the condition makes the store expand series: what is left out are their masters. */
static void search(struct px_wire *out, const struct px_query *q)
{
	out->method = "SEARCH";
	folder_target(out, q);
	px_buf_str(&out->head, "Depth: 1\r\nTranslate: f\r\n");
	px_buf_printf(&out->head, "Range: rows=%zu-%zu\r\n", q->offset,
	              q->offset + PX_WEBDAV_ROWS - 1);
	xml_head(out);
	px_buf_str(&out->body,
	           "<a:searchrequest xmlns:a=\"DAV:\"><a:sql>"
	           "SELECT \"urn:schemas:calendar:dtstart\", \"urn:schemas:calendar:dtend\", "
	           "\"urn:schemas:calendar:busystatus\", \"urn:schemas:calendar:instancetype\"");
	if (q->ask == PX_ASK_DETAILS || q->meetings)
		px_buf_str(&out->body,
		           ", \"urn:schemas:httpmail:subject\", \"urn:schemas:calendar:location\", "
		           "\"http://schemas.microsoft.com/exchange/sensitivity\"");
	px_buf_str(&out->body, " FROM Scope('SHALLOW TRAVERSAL OF \"");
	px_buf_xml(&out->body, out->target.data ? out->target.data : "", out->target.len);
	px_buf_str(&out->body, "\"') WHERE NOT \"urn:schemas:calendar:instancetype\" = 1 AND "
	                       "\"DAV:contentclass\" = 'urn:content-classes:appointment' AND "
	                       "\"urn:schemas:calendar:dtend\" &gt; ");
	moment(&out->body, q->from);
	px_buf_str(&out->body, " AND \"urn:schemas:calendar:dtstart\" &lt; ");
	moment(&out->body, q->until);
	px_buf_str(&out->body, " ORDER BY \"urn:schemas:calendar:dtstart\" ASC"
	                       "</a:sql></a:searchrequest>");
}

/* Without a browser's name OWA answers with a page for browsers that it doesn't know. */
static void free_busy(struct px_wire *out, const struct px_query *q)
{
	char from[PX_WALL_TEXT], until[PX_WALL_TEXT];

	assert(q->n > 0 && q->n <= PX_WEBDAV_READ_MAX);
	out->method = "GET";
	px_buf_printf(&out->target, "/public/?Cmd=freebusy&start=%s&end=%s&interval=%d",
	              px_wall_text(px_webdav_slot_before(q->from), from),
	              px_wall_text(px_webdav_slot_after(q->until), until),
	              PX_WEBDAV_SLOT_MS / 60000);
	for (size_t i = 0; i < q->n; i++) {
		px_buf_str(&out->target, "&u=SMTP:");
		encode(&out->target, q->name[i], strlen(q->name[i]), "@");
	}
	px_buf_str(&out->head,
	           "User-Agent: Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)\r\n");
}

void px_webdav_write(struct px_wire *out, const struct px_query *q)
{
	switch (q->ask) {
	case PX_ASK_LOCATE:
	case PX_ASK_PROBE:
		locate(out, q);
		break;
	case PX_ASK_SUBSCRIBE:
		subscribe(out, q);
		break;
	case PX_ASK_RENEW:
		renew(out, q);
		break;
	case PX_ASK_UNSUBSCRIBE:
	case PX_ASK_POLL:
		assert(q->n > 0 && q->n <= PX_WEBDAV_POLL_MAX);
		out->method = q->ask == PX_ASK_POLL ? "POLL" : "UNSUBSCRIBE";
		folder_target(out, q);
		ids(out, q);
		break;
	case PX_ASK_READ_ONE:
	case PX_ASK_DETAILS:
		search(out, q);
		break;
	case PX_ASK_READ:
		free_busy(out, q);
		break;
	case PX_ASK_STREAM:
	case PX_ASK_OOF:
	case PX_ASKS:
		assert(!"not asked of this backend");
	}
}
