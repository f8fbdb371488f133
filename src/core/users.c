/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/users.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/said.h"

#define COLUMNS 4

struct px_seen_slot {
	size_t key; /* where in keys; line 0: free */
	uint32_t hash;
	unsigned line;
};

static struct px_seen_slot *slot_of(const struct px_seen *s, const char *key, uint32_t hash)
{
	size_t i = hash & (s->slots - 1);

	while (s->slot[i].line &&
	       (s->slot[i].hash != hash || strcmp(s->keys.data + s->slot[i].key, key) != 0))
		i = (i + 1) & (s->slots - 1);
	return &s->slot[i];
}

static int grow(struct px_seen *s)
{
	struct px_seen bigger = *s;

	bigger.slots = s->slots ? 2 * s->slots : 64;
	bigger.slot = calloc(bigger.slots, sizeof *bigger.slot);
	if (!bigger.slot)
		return -ENOMEM;
	for (size_t i = 0; i < s->slots; i++)
		if (s->slot[i].line)
			*slot_of(&bigger, s->keys.data + s->slot[i].key, s->slot[i].hash) =
			    s->slot[i];
	free(s->slot);
	*s = bigger;
	return 0;
}

int px_seen_add(struct px_seen *s, const char *key, unsigned line, unsigned *earlier)
{
	const size_t n = strlen(key);
	const uint32_t hash = (uint32_t)px_key_hash(key, n);
	struct px_seen_slot *slot;

	if (2 * s->n >= s->slots && grow(s))
		return -ENOMEM;
	slot = slot_of(s, key, hash);
	if (slot->line) {
		*earlier = slot->line;
		return -EEXIST;
	}
	*slot = (struct px_seen_slot){.key = s->keys.len, .hash = hash, .line = line};
	s->n++;
	s->keys.ceiling = PTRDIFF_MAX; /* as much as the text itself at most */
	px_buf_add(&s->keys, key, n + 1);
	return s->keys.failed ? -ENOMEM : 0;
}

void px_seen_free(struct px_seen *s)
{
	free(s->slot);
	px_buf_free(&s->keys);
	*s = (struct px_seen){0};
}

int px_user_mailbox(const char *key, const char *domain, char out[PX_MAILBOX_MAX + 1])
{
	const char *at = strrchr(key, '@');
	char address[2 * PX_AOR_MAX + 2];
	const size_t user = at ? (size_t)(at - key) : 0;
	const size_t n = at ? strlen(domain ? domain : at + 1) : 0;

	if (!at)
		return -EINVAL;
	if (user > PX_AOR_MAX || n > PX_AOR_MAX)
		return -ENAMETOOLONG;
	memcpy(address, key, user);
	address[user] = '@';
	memcpy(address + user + 1, domain ? domain : at + 1, n);
	return px_mailbox(address, user + 1 + n, out);
}

struct field {
	const char *s;
	size_t n;
};

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct field trimmed(const char *s, size_t n)
{
	while (n > 0 && blank(s[0])) {
		s++;
		n--;
	}
	while (n > 0 && blank(s[n - 1]))
		n--;
	return (struct field){s, n};
}

/*
 * Splits one record into its first COLUMNS fields; quoted ones are written to scratch, which has as
 * much room as the line. NULL, or what is wrong.
 */
static const char *split(struct field line, struct field column[COLUMNS], char *scratch)
{
	const char *s = line.s, *const end = line.s + line.n;

	for (unsigned i = 0; i < COLUMNS; i++)
		column[i] = (struct field){"", 0};
	for (unsigned i = 0;; i++) {
		struct field f;

		while (s < end && blank(*s))
			s++;
		if (s < end && *s == '"') {
			f = (struct field){scratch, 0};
			for (s++;; s++) {
				if (s == end)
					return "a quote is opened and not closed";
				if (*s == '"' && (s + 1 == end || s[1] != '"'))
					break;
				s += *s == '"'; /* two stand for one */
				*scratch++ = *s;
				f.n++;
			}
			for (s++; s < end && blank(*s);)
				s++;
			if (s < end && *s != ',')
				return "there is something between a closing quote and the comma";
		} else {
			const char *comma = memchr(s, ',', (size_t)(end - s));

			f = trimmed(s, (size_t)((comma ? comma : end) - s));
			s = comma ? comma : end;
		}
		if (i < COLUMNS)
			column[i] = f;
		else if (f.n > 0)
			return "there are more than four columns; give aor, mailbox, on|off, "
			       "remind|quiet";
		if (s == end)
			return NULL;
		s++;
	}
}

static bool is(struct field f, const char *word)
{
	return f.n == strlen(word) && strncasecmp(f.s, word, f.n) == 0;
}

struct list {
	const char *mailbox_domain;
	px_user_h *user;
	void *arg;
	struct px_complaints complaints;
	struct px_seen seen;
	bool begun; /* the first record has been seen: no header any more */
};

/* The line is wrong, but whose it is can be told. */
static int keep(struct list *l, struct px_user_config *u)
{
	u->mailbox = NULL;
	return l->user(l->arg, u);
}

/* One line. 0, also when it was wrong; or what ends it all. */
static int take(struct list *l, unsigned no, struct field line, char *scratch)
{
	struct px_complaints *c = &l->complaints;
	char key[PX_AOR_MAX + 1], mailbox[PX_MAILBOX_MAX + 1], shown[PX_SHOWN_MAX];
	struct px_user_config u = {.key = key, .mailbox = mailbox, .line = no};
	struct field column[COLUMNS];
	const bool first = !l->begun;
	const char *wrong;
	unsigned earlier;
	int err;

	if (line.n == 0 || line.s[0] == '#')
		return 0;
	l->begun = true;
	if (line.n > PX_SETTINGS_LINE_MAX) {
		px_complain(c, no, NULL, "is longer than %d bytes", PX_SETTINGS_LINE_MAX);
		return 0;
	}
	wrong = split(line, column, scratch);
	if (wrong) {
		px_complain(c, no, NULL, "%s", wrong);
		return 0;
	}
	if (first && is(column[0], "aor")) {
		if (column[1].n > 0 && !is(column[1], "mailbox"))
			px_complain(
			    c, no, NULL,
			    "the columns are aor, mailbox, on|off, remind|quiet, in this order");
		return 0;
	}

	err = px_key_from_aor(column[0].s, column[0].n, key);
	if (err) {
		px_shown(column[0].s, column[0].n, shown);
		if (column[0].n == 0)
			px_complain(c, no, NULL, "there is no AoR; the first column is user@host");
		else if (err == -ENAMETOOLONG)
			px_complain(c, no, NULL, "%s is longer than %d bytes", shown, PX_AOR_MAX);
		else
			px_complain(c, no, NULL, "%s is not an AoR; write user@host", shown);
		return 0;
	}
	if (column[1].n > 0) {
		if (px_mailbox(column[1].s, column[1].n, mailbox)) {
			px_complain(c, no, NULL, "%s is not a mailbox; write user@domain",
			            px_shown(column[1].s, column[1].n, shown));
			return keep(l, &u);
		}
	} else if (px_user_mailbox(key, l->mailbox_domain, mailbox)) {
		px_complain(c, no, NULL, "%s makes no mailbox; write it in the second column",
		            px_shown(key, strlen(key), shown));
		return keep(l, &u);
	}
	u.on = column[2].n == 0 || is(column[2], "on");
	u.quiet = is(column[3], "quiet");
	if (!u.on && !is(column[2], "off")) {
		px_complain(c, no, NULL, "%s in the third column; give on or off",
		            px_shown(column[2].s, column[2].n, shown));
		return keep(l, &u);
	}
	if (!u.quiet && column[3].n > 0 && !is(column[3], "remind")) {
		px_complain(c, no, NULL, "%s in the fourth column; give remind or quiet",
		            px_shown(column[3].s, column[3].n, shown));
		return keep(l, &u);
	}
	err = px_seen_add(&l->seen, key, no, &earlier);
	if (err == -EEXIST) {
		px_complain(c, no, NULL, "%s stands in line %u already; that one counts",
		            px_shown(key, strlen(key), shown), earlier);
		return keep(l, &u);
	}
	return err ? err : l->user(l->arg, &u);
}

int px_users_read(const char *text, size_t n, const char *mailbox_domain, px_user_h *user,
                  px_said_h *said, void *arg)
{
	struct list l = {.mailbox_domain = mailbox_domain,
	                 .user = user,
	                 .arg = arg,
	                 .complaints = {.said = said, .arg = arg}};
	char scratch[PX_SETTINGS_LINE_MAX];
	const char *s = text, *const end = text + n;
	unsigned no = 0;
	int err = 0;

	if (n >= 2 && (memcmp(s, "\xff\xfe", 2) == 0 || memcmp(s, "\xfe\xff", 2) == 0)) {
		px_complain(&l.complaints, 0, NULL, "is UTF-16; save it as UTF-8");
		return -EINVAL;
	}
	if (n >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
		s += 3;
	while (s < end && err == 0) {
		const char *lf = memchr(s, '\n', (size_t)(end - s));
		size_t len = (size_t)((lf ? lf : end) - s);

		if (len > 0 && s[len - 1] == '\r')
			len--;
		err = take(&l, ++no, trimmed(s, len), scratch);
		s = lf ? lf + 1 : end;
	}
	px_complaints_end(&l.complaints);
	px_seen_free(&l.seen);
	return err ? err : (int)l.complaints.n;
}
