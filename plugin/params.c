/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "params.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* realloc() would leave the old bytes behind. */
static int make_room(struct px_params *p, size_t n)
{
	size_t cap = p->cap ? p->cap : 4096;
	char *text;

	while (cap - p->len < n)
		cap *= 2;
	if (cap == p->cap)
		return 0;
	text = malloc(cap);
	if (!text)
		return -ENOMEM;
	if (p->len > 0)
		memcpy(text, p->text, p->len);
	if (p->text)
		explicit_bzero(p->text, p->cap);
	free(p->text);
	p->text = text;
	p->cap = cap;
	return 0;
}

int px_params_add(struct px_params *p, const char *name, const char *value, char why[PX_WHY_MAX])
{
	size_t n = strlen(name) + strlen(" = \"\"");

	for (const char *c = value; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f) {
			snprintf(why, PX_WHY_MAX, "%s: has a control character in it", name);
			return -EINVAL;
		}
		n += 1 + (*c == '"' || *c == '\\');
	}
	if (n > PX_SETTINGS_LINE_MAX) {
		snprintf(why, PX_WHY_MAX, "%s: is longer than %d bytes", name,
		         PX_SETTINGS_LINE_MAX);
		return -EMSGSIZE;
	}
	if (make_room(p, n + 2) < 0) {
		snprintf(why, PX_WHY_MAX, "%s: %s", name, strerror(ENOMEM));
		return -ENOMEM;
	}
	p->len += (size_t)sprintf(p->text + p->len, "%s = \"", name);
	for (const char *c = value; *c; c++) {
		if (*c == '"' || *c == '\\')
			p->text[p->len++] = '\\';
		p->text[p->len++] = *c;
	}
	p->text[p->len++] = '"';
	p->text[p->len++] = '\n';
	return 0;
}

bool px_params_has(const struct px_params *p, const char *name)
{
	const size_t n = strlen(name);

	for (const char *s = p->text, *end = s + p->len; s < end;
	     s = (const char *)memchr(s, '\n', (size_t)(end - s)) + 1)
		if ((size_t)(end - s) > n && memcmp(s, name, n) == 0 && s[n] == ' ')
			return true;
	return false;
}

int px_params_memfd(const struct px_params *p)
{
	int fd = memfd_create("pua_exchange settings", MFD_CLOEXEC | MFD_ALLOW_SEALING), err = 0;
	size_t at = 0;

	if (fd < 0)
		return -errno;
	while (err == 0 && at < p->len) {
		ssize_t n = write(fd, p->text + at, p->len - at);

		if (n > 0)
			at += (size_t)n;
		else if (errno != EINTR)
			err = -errno;
	}
	if (err == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		err = -errno;
	if (err == 0)
		return fd;
	close(fd);
	return err;
}

void px_params_free(struct px_params *p)
{
	if (p->text)
		explicit_bzero(p->text, p->cap);
	free(p->text);
	*p = (struct px_params){0};
}
