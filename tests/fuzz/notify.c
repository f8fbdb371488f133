/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UDP NOTIFYs of Exchange 2003 and 2007, as they come from anybody: what is told of is inside the datagram, and fit to be looked for. */
#include "fuzz.h"

#include <errno.h>

#include "backend/webdav.h"
#include "core/notify.h"

#define TOKEN "0123456789abcdef0123456789abcdef"

static void said(void *arg, const struct px_item *item)
{
	CHECK(item->kind == PX_ITEM_CHANGED);
	CHECK(!item->id || px_webdav_id(item->id, strlen(item->id)));
	++*(int *)arg;
}

static void is_inside(const char *part, size_t len, const char *bytes, size_t n)
{
	CHECK(part >= bytes && part <= bytes + n && len <= (size_t)(bytes + n - part));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *exact = fuzz_exact(bytes, n), hex[10];
	struct px_notify it;
	int items = 0, told;

	if (px_notify_parse(exact, n, &it)) {
		CHECK(n <= PX_NOTIFY_MAX && it.path_len > 0 && it.path[0] == '/');
		is_inside(it.path, it.path_len, exact, n);
		if (it.ids)
			is_inside(it.ids, it.ids_len, exact, n);
		CHECK(px_notify_is_for(&it, TOKEN) ==
		      (it.path_len >= sizeof TOKEN &&
		       memcmp(it.path + 1, TOKEN, strlen(TOKEN)) == 0 &&
		       (it.path_len == sizeof TOKEN || it.path[sizeof TOKEN] == '/')));
		sprintf(hex, "/%08x", px_notify_who(&it));
		CHECK(px_notify_who(&it) == 0 || memcmp(it.path + it.path_len - 9, hex, 9) == 0);
		told = px_webdav.notified(it.ids ? it.ids : "", it.ids_len, said, &items);
		CHECK(told == items || (told == -EBADMSG && items == 0));
	}
	free(exact);
	return 0;
}
