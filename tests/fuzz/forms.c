/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A login by OWA's forms. Input: answers one after the other, each a line with the status (3 digits) and the Location, and header lines up to an empty one. It ends within a few
 * steps, and whatever is asked or sent next is fit for a request.
 */
#include "fuzz.h"

#include "io/forms.h"

#define STEPS (PX_FORMS_REDIRECTS + 2)

struct text {
	const char *at, *end;
};

/* The next line, with its end, in memory of exactly its size; NULL: there is none. */
static char *line(struct text *t, size_t *n)
{
	const char *stop = t->at < t->end ? memchr(t->at, '\n', (size_t)(t->end - t->at)) : NULL;
	char *exact;

	if (t->at >= t->end)
		return NULL;
	*n = (size_t)((stop ? stop + 1 : t->end) - t->at);
	exact = fuzz_exact(t->at, *n);
	t->at += *n;
	return exact;
}

/* Takes the headers of one answer. False: there is none any more. */
static bool answer(struct text *t, struct px_forms *f, int *status, char **location)
{
	size_t n;
	char *first = line(t, &n), *next;
	bool more = true;

	if (!first)
		return false;
	*status = 200;
	*location = NULL;
	first[n - 1] = '\0';
	if (sscanf(first, "%3d", status) == 1 && strlen(first) > 4)
		*location = strdup(first + 4);
	free(first);
	while (more && (next = line(t, &n))) {
		more = n > 1;
		if (more)
			px_forms_header(f, next, n);
		free(next);
	}
	return true;
}

static void is_sound(const struct px_forms *f)
{
	CHECK(memchr(f->path, 0, sizeof f->path) && memchr(f->page, 0, sizeof f->page));
	if (f->state == PX_FORMS_FINDING || f->state == PX_FORMS_POSTING)
		CHECK(f->path[0] == '/');
	CHECK(f->state != PX_FORMS_OUT || !f->cookies.data);
	CHECK(f->cookies.len <= PX_FORMS_COOKIES_MAX);
	for (size_t i = 0; i < f->cookies.len; i++)
		CHECK(f->cookies.data[i] >= ' ' && f->cookies.data[i] <= '~');
	CHECK(!f->cookies.data || strlen(f->cookies.data) == f->cookies.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct text t = {(const char *)bytes, (const char *)bytes + n};
	struct px_forms f = {0};
	char *location, why[PX_FORMS_WHY];
	int status, steps = 0;

	px_forms_begin(&f, "/exchange/");
	while (f.state != PX_FORMS_IN && f.state != PX_FORMS_OUT &&
	       answer(&t, &f, &status, &location)) {
		const bool posting = f.state == PX_FORMS_POSTING;
		enum px_forms_next next;

		is_sound(&f);
		px_forms_wanted(status, location);
		next = px_forms_answered(&f, status, location, why);
		free(location);
		is_sound(&f);
		CHECK(++steps <= STEPS && memchr(why, 0, sizeof why));
		fuzz_shown(why);
		CHECK((next >= PX_FORMS_REFUSED) == (why[0] != '\0'));
		CHECK((next <= PX_FORMS_POST) ==
		      (f.state == PX_FORMS_FINDING || f.state == PX_FORMS_POSTING));
		CHECK(next != PX_FORMS_DONE ||
		      (posting && f.state == PX_FORMS_IN && f.cookies.len > 0));
	}
	px_forms_end(&f);
	CHECK(f.state == PX_FORMS_OUT && !f.cookies.data);
	return 0;
}
