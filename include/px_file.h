/* SPDX-License-Identifier: GPL-2.0-or-later */
/* px_file.h - a whole file, bounded: settings, users, passwords; for the worker, and for the module's check of its settings. */
#ifndef PX_FILE_H
#define PX_FILE_H

#include "px_settings.h"

/*
 * Reads the regular file `path` into out, which is empty and gets `ceiling` for its own. `secret`:
 * refuses a file that others than owner and group may read, write or execute. The bytes are in one
 * allocation only, so wiping out's cap bytes leaves none behind. 0, or a negative errno (-EFBIG:
 * more than ceiling; -EPERM: not secret; ...) and in why what is wrong, for the operator; out is
 * then empty.
 */
int px_file_read(const char *path, size_t ceiling, bool secret, struct px_buf *out,
                 char why[PX_WHY_MAX]);

/* The same of an open file (borrowed), from its beginning wherever its offset is. */
int px_file_read_fd(int fd, size_t ceiling, bool secret, struct px_buf *out, char why[PX_WHY_MAX]);

#endif
