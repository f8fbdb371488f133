/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * params.h - the proxy's modparams as the text that px_settings_read() reads: one line each, in the
 * order in which they were given, so that "modparam 7" in a complaint is the seventh of ours.
 */
#ifndef PX_PARAMS_H
#define PX_PARAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "px_settings.h"

/* Zeroed to begin with. The text may hold a password: it is wiped wherever it goes away. */
struct px_params {
	char *text;
	size_t len, cap;
};

/*
 * Appends `name = "value"`, quoted so that the reader finds value again. 0; -EINVAL and a reason in
 * why (a control character would end the line or isn't text); -EMSGSIZE and a reason (a line would be
 * longer than the reader takes); or -ENOMEM. name and value are borrowed.
 */
int px_params_add(struct px_params *p, const char *name, const char *value, char why[PX_WHY_MAX]);

bool px_params_has(const struct px_params *p, const char *name);

/* A sealed memfd with the text, the caller's to close, or a negative errno. */
int px_params_memfd(const struct px_params *p);

void px_params_free(struct px_params *p);

#endif
