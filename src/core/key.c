/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "px_key.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "core/host.h"
#include "core/utf8.h"

static bool alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Only characters one can see, in UTF-8: no blank, no control (C0, DEL, C1), nothing that XML 1.0
 * §2.2 forbids. */
static bool visible(const char *s, size_t n)
{
	for (size_t i = 0; i < n;) {
		uint32_t c;
		size_t len;

		if (s[i] > ' ' && s[i] < 0x7f) {
			i++;
			continue;
		}
		len = px_utf8(s + i, n - i, &c);

		if (len == 0 || c <= ' ' || (c >= 0x7f && c <= 0xa0) || c == 0xfffe || c == 0xffff)
			return false;
		i += len;
	}
	return true;
}

/* What may follow the host: ":port", ";parameters", "?headers". */
static bool tail(const char *s, size_t n)
{
	uint16_t port;
	size_t i = px_port(s, n, &port);

	if (i < n && s[i] != ';' && s[i] != '?')
		return false;
	for (; i < n; i++)
		if (s[i] == '"' || s[i] == '<' || s[i] == '>')
			return false;
	return true;
}

int px_key_from_aor(const char *aor, size_t n, char out[PX_AOR_MAX + 1])
{
	char key[PX_AOR_MAX + 1];
	const char *at;
	size_t user, len = 0, host_len;

	if (n >= 4 && strncasecmp(aor, "sip:", 4) == 0) {
		aor += 4;
		n -= 4;
	} else if (n >= 5 && strncasecmp(aor, "sips:", 5) == 0) {
		aor += 5;
		n -= 5;
	}
	if (n == 0 || !visible(aor, n))
		return -EINVAL;
	at = memchr(aor, '@', n);
	if (!at || at == aor)
		return -EINVAL;
	user = (size_t)(at - aor);
	host_len = px_host(at + 1, n - user - 1);
	if (host_len == 0 || !tail(at + 1 + host_len, n - user - 1 - host_len))
		return -EINVAL;

	for (size_t i = 0; i < user; i++) {
		char c = aor[i];

		/* a colon begins a password, which no AoR has; brackets and quotes a display name
		 */
		if (c == ':' || c == '<' || c == '>' || c == '"')
			return -EINVAL;
		if (c == '%') {
			if (user - i < 3 || hex(aor[i + 1]) < 0 || hex(aor[i + 2]) < 0)
				return -EINVAL;
			c = (char)(hex(aor[i + 1]) << 4 | hex(aor[i + 2]));
			i += 2;
		}
		if (len >= PX_AOR_MAX)
			return -ENAMETOOLONG;
		key[len++] = c;
	}
	if (!visible(key, len))
		return -EINVAL;
	if (len + 1 + host_len > PX_AOR_MAX)
		return -ENAMETOOLONG;
	key[len++] = '@';
	for (size_t i = 0; i < host_len; i++)
		key[len++] = lower(at[1 + i]);
	memcpy(out, key, len);
	out[len] = '\0';
	return 0;
}

int px_mailbox(const char *address, size_t n, char out[PX_MAILBOX_MAX + 1])
{
	const char *at;
	size_t local, domain;

	if (n >= 5 && strncasecmp(address, "smtp:", 5) == 0) {
		address += 5;
		n -= 5;
	}
	if (n == 0 || !visible(address, n))
		return -EINVAL;
	at = memchr(address, '@', n);
	if (!at || at == address)
		return -EINVAL;
	local = (size_t)(at - address);
	domain = n - local - 1;
	if (domain == 0 || px_host(at + 1, domain) != domain || px_host_is_address(at + 1, domain))
		return -EINVAL;
	for (size_t i = 0; i < local; i++) /* RFC 5322 §3.2.3: atoms and dots; no quoted strings */
		if (strchr("()<>[]:;\\,\"", address[i]))
			return -EINVAL;
	if (n > PX_MAILBOX_MAX)
		return -ENAMETOOLONG;
	for (size_t i = 0; i < n; i++)
		out[i] = lower(address[i]);
	out[n] = '\0';
	return 0;
}

int px_key_uri(const char *key, char *out, size_t size)
{
	static const char digit[] = "0123456789ABCDEF";
	const char *at = strrchr(key, '@'); /* the user may hold one, the host can't */
	size_t len = 0;

	assert(at && at != key);
	for (const char *s = "sip:"; *s; s++)
		if (len < size)
			out[len++] = *s;
	for (const char *s = key; s < at; s++) {
		const unsigned char c = (unsigned char)*s;

		/* unreserved and user-unreserved of RFC 3261 §25.1 */
		if (alnum(c) || strchr("-_.!~*'()&=+$,;?/", c)) {
			if (len < size)
				out[len++] = *s;
			continue;
		}
		if (size - len < 3)
			return -ENAMETOOLONG;
		out[len++] = '%';
		out[len++] = digit[c >> 4];
		out[len++] = digit[c & 15];
	}
	if (size - len < strlen(at) + 1)
		return -ENAMETOOLONG;
	memcpy(out + len, at, strlen(at) + 1);
	return 0;
}

uint64_t px_key_hash(const char *s, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
	/* FNV leaves the high bits weak on short names: MurmurHash3's finaliser */
	h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
	h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 33;
}
