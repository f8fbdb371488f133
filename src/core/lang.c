/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/lang.h"

#include <string.h>
#include <strings.h>

/* tag, available, busy, away, meeting, private meeting */
#define LANGUAGES(_)                                                                               \
	_("en", "Available", "Busy", "Away", "Meeting", "Private meeting")                         \
	_("de", "Verfügbar", "Beschäftigt", "Abwesend", "Besprechung", "Private Besprechung")      \
	_("fr", "Disponible", "Occupé", "Absent", "Réunion", "Réunion privée")                     \
	_("es", "Disponible", "Ocupado", "Ausente", "Reunión", "Reunión privada")                  \
	_("it", "Disponibile", "Occupato", "Assente", "Riunione", "Riunione privata")              \
	_("nl", "Beschikbaar", "Bezet", "Afwezig", "Vergadering", "Privévergadering")              \
	_("pt", "Disponível", "Ocupado", "Ausente", "Reunião", "Reunião privada")                  \
	_("pl", "Dostępny", "Zajęty", "Nieobecny", "Spotkanie", "Spotkanie prywatne")              \
	_("sv", "Tillgänglig", "Upptagen", "Frånvarande", "Möte", "Privat möte")                   \
	_("da", "Ledig", "Optaget", "Ikke til stede", "Møde", "Privat møde")                       \
	_("ja", "連絡可能", "取り込み中", "不在", "会議", "非公開の会議")

static const struct px_lang lang[] = {
#define ROW(tag, available, busy, away, meeting, hidden)                                           \
	{tag, available, busy, away, meeting, hidden},
    LANGUAGES(ROW)
#undef ROW
};

const struct px_lang *px_lang_find(const char *tag)
{
	for (size_t n = strlen(tag); n > 0; n--) {
		if (tag[n] != '\0' && tag[n] != '-')
			continue;
		for (size_t i = 0; i < sizeof lang / sizeof *lang; i++)
			if (strlen(lang[i].tag) == n && strncasecmp(lang[i].tag, tag, n) == 0)
				return &lang[i];
	}
	return NULL;
}

static bool letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool px_lang_tag(const char *s, size_t n)
{
	size_t part = 0, parts = 0;

	if (n > PX_LANG_TAG_MAX)
		return false;
	for (size_t i = 0; i <= n; i++) {
		if (i == n || s[i] == '-') {
			if (part == 0 || part > 8 || (parts == 0 && part < 2))
				return false;
			part = 0;
			parts++;
		} else if (letter(s[i]) || (parts > 0 && s[i] >= '0' && s[i] <= '9')) {
			part++;
		} else {
			return false;
		}
	}
	return true;
}

const char *px_lang_list(void)
{
#define TAG(tag, available, busy, away, meeting, hidden) ", " tag
	return &LANGUAGES(TAG)[2];
#undef TAG
}
