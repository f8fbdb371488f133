/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Exchange 2007 and later post to our listener: one item, or nothing. */
#include "fuzz.h"

#include <errno.h>

#include "backend/ews.h"

static void said(void *arg, const struct px_item *item)
{
	struct px_buf items = px_buf_new(1 << 16);

	CHECK(item->kind == PX_ITEM_CHANGED || item->kind == PX_ITEM_ALIVE ||
	      item->kind == PX_ITEM_GONE);
	CHECK(item->id || item->kind == PX_ITEM_GONE);
	if (item->id)
		fuzz_visible(item->id, px_ews.id_max);
	fuzz_item(&items, item);
	px_buf_free(&items);
	++*(int *)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *exact = fuzz_exact(bytes, n);
	int items = 0, told = px_ews.notified(exact, n, said, &items);

	free(exact);
	CHECK(told == -EBADMSG ? items == 0 : told == 1 && items == 1);
	return 0;
}
