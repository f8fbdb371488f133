/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Prints README.md's tables of settings. */
#include <stdio.h>

#include "core/buf.h"
#include "px_settings.h"

int main(void)
{
	struct px_buf b = px_buf_new(1 << 20);
	int failed;

	px_settings_print(&b, true);
	failed = b.failed || fwrite(b.data, 1, b.len, stdout) != b.len || fflush(stdout) != 0;
	px_buf_free(&b);
	return failed;
}
