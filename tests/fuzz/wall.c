/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Times: what is read is in range, and written and read again it is the same second. */
#include "fuzz.h"

#include <errno.h>

#include "core/wall.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const struct px_wall before = {-7};
	struct px_wall w = before, again;
	char *exact = fuzz_exact(bytes, n), text[PX_WALL_TEXT];
	int err;

	err = px_wall_parse(exact, n, &w);
	free(exact);
	if (err) {
		CHECK((err == -EINVAL || err == -ERANGE) && w.ms == before.ms);
		return 0;
	}
	CHECK(w.ms >= 0 && w.ms < INT64_C(7258118400000)); /* 1970 to 2200 */
	px_wall_text(w, text);
	CHECK(px_wall_parse(text, strlen(text), &again) == 0 && again.ms == w.ms - w.ms % 1000);
	return 0;
}
