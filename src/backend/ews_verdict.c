/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Exchange's answers mean for us. One table, so that it can be read against Microsoft's list
 * of codes (ResponseCodeType). */
#include <stdlib.h>
#include <string.h>

#include "backend/ews.h"
#include "core/utf8.h"

#define LOGON "a logon page answers: forms-based authentication or a proxy stands before /EWS"
#define OLDER "this CAS is older than Exchange 2010 SP1"
#define ACCOUNT "the service account's password must be renewed"

const struct px_ews_row px_ews_table[] = {
    {"ErrorADOperation", PX_V_TRANSIENT, NULL},
    {"ErrorADUnavailable", PX_V_TRANSIENT, NULL},
    {"ErrorAccessDenied", PX_V_USER, "the account has no right on this mailbox"},
    {"ErrorAccountDisabled", PX_V_USER, NULL},
    {"ErrorCalendarViewRangeTooBig", PX_V_TRANSIENT, NULL},
    {"ErrorConnectionFailed", PX_V_TRANSIENT, NULL},
    {"ErrorCrossSiteRequest", PX_V_LOST, NULL},
    {"ErrorEventNotFound", PX_V_LOST, NULL},
    {"ErrorExceededConnectionCount", PX_V_BUSY, NULL},
    {"ErrorExceededFindCountLimit", PX_V_TRANSIENT, NULL},
    {"ErrorExceededSubscriptionCount", PX_V_LOST,
     "no more subscriptions there: raise EWSMaxSubscriptions of the account"},
    {"ErrorExpiredSubscription", PX_V_LOST, NULL},
    {"ErrorFreeBusyDLLimitReached", PX_V_TRANSIENT, "a distribution list is no mailbox"},
    {"ErrorImpersonateUserDenied", PX_V_USER,
     "the account may not impersonate this user: check the role's scope"},
    {"ErrorImpersonationDenied", PX_V_DENIED,
     "the account may not impersonate on this CAS: grant ApplicationImpersonation"},
    {"ErrorImpersonationFailed", PX_V_TRANSIENT, NULL},
    {"ErrorIncorrectSchemaVersion", PX_V_SERVER, OLDER},
    {"ErrorInsufficientResources", PX_V_TRANSIENT, NULL},
    {"ErrorInternalServerError", PX_V_TRANSIENT, NULL},
    {"ErrorInternalServerTransientError", PX_V_TRANSIENT, NULL},
    {"ErrorInvalidPullSubscriptionId", PX_V_LOST, NULL},
    {"ErrorInvalidServerVersion", PX_V_SERVER, OLDER},
    {"ErrorInvalidSmtpAddress", PX_V_USER, NULL},
    {"ErrorInvalidSubscription", PX_V_LOST, NULL},
    {"ErrorInvalidUserPrincipalName", PX_V_USER, NULL},
    {"ErrorInvalidWatermark", PX_V_LOST, NULL},
    {"ErrorMailRecipientNotFound", PX_V_USER, "no such mailbox"},
    {"ErrorMailboxDataArrayTooBig", PX_V_TRANSIENT, NULL},
    {"ErrorMailboxFailover", PX_V_TRANSIENT, NULL},
    {"ErrorMailboxMoveInProgress", PX_V_TRANSIENT, NULL},
    {"ErrorMailboxStoreUnavailable", PX_V_TRANSIENT, NULL},
    {"ErrorMissedNotificationEvents", PX_V_LOST, NULL},
    {"ErrorNewEventStreamConnectionOpened", PX_V_TRANSIENT,
     "another connection took over these subscriptions"},
    {"ErrorNoApplicableProxyCASServersAvailable", PX_V_LOST, NULL},
    {"ErrorNoDestinationCASDueToKerberosRequirements", PX_V_LOST, NULL},
    {"ErrorNoDestinationCASDueToSSLRequirements", PX_V_LOST, NULL},
    {"ErrorNoDestinationCASDueToVersionMismatch", PX_V_LOST, NULL},
    {"ErrorNoFreeBusyAccess", PX_V_USER, "the account has no right to this free/busy"},
    {"ErrorNoRespondingCASInDestinationSite", PX_V_LOST, NULL},
    {"ErrorNonExistentMailbox", PX_V_USER, "no such mailbox"},
    {"ErrorNotEnoughMemory", PX_V_TRANSIENT, NULL},
    {"ErrorPasswordChangeRequired", PX_V_DENIED, ACCOUNT},
    {"ErrorPasswordExpired", PX_V_DENIED, ACCOUNT},
    {"ErrorProxiedSubscriptionCallFailure", PX_V_LOST, NULL},
    {"ErrorProxyCallFailed", PX_V_LOST, NULL},
    {"ErrorProxyGroupSidLimitExceeded", PX_V_LOST, NULL},
    {"ErrorProxyRequestNotAllowed", PX_V_LOST, NULL},
    {"ErrorProxyRequestProcessingFailed", PX_V_LOST, NULL},
    {"ErrorProxyServiceDiscoveryFailed", PX_V_LOST, NULL},
    {"ErrorProxyTokenExpired", PX_V_LOST, NULL},
    {"ErrorReadEventsFailed", PX_V_LOST, NULL},
    {"ErrorResultSetTooBig", PX_V_TRANSIENT, NULL},
    {"ErrorServerBusy", PX_V_BUSY, NULL},
    {"ErrorServiceDiscoveryFailed", PX_V_LOST, NULL},
    {"ErrorSubscriptionAccessDenied", PX_V_LOST, "another account made this subscription"},
    {"ErrorSubscriptionDelegateAccessNotSupported", PX_V_USER,
     "the mailbox isn't the impersonated one"},
    {"ErrorSubscriptionNotFound", PX_V_LOST, NULL},
    {"ErrorSubscriptionUnsubscribed", PX_V_LOST, NULL},
    {"ErrorSubscriptionUnsubsribed", PX_V_LOST, NULL}, /* so in the documentation */
    {"ErrorTimeoutExpired", PX_V_TRANSIENT, NULL},
    {"ErrorWrongServerVersion", PX_V_LOST, NULL},
    {"FreeBusyViewType None", PX_V_USER, "the account has no right to this free/busy"},
    {"HTTP 302", PX_V_SERVER, LOGON},
    {"HTTP 401", PX_V_DENIED,
     "login refused: check account, password and the login methods of /EWS"},
    {"HTTP 403", PX_V_DENIED,
     "EWS is blocked for the account or the application (EwsEnabled, EwsApplicationAccessPolicy)"},
    {"HTTP 404", PX_V_SERVER, "no EWS at this URL; usual is https://CAS/EWS/Exchange.asmx"},
    {"HTTP 405", PX_V_SERVER, "no EWS at this URL; usual is https://CAS/EWS/Exchange.asmx"},
    {"HTTP 429", PX_V_BUSY, NULL},
    {"HTTP 440", PX_V_SERVER, LOGON},
    {"HTTP 502", PX_V_SERVER, "the proxy before it can't reach it"},
    {"HTTP 503", PX_V_BUSY, NULL},
    {"HTTP 504", PX_V_SERVER, "the proxy before it can't reach it"},
    {"MergedOnly", PX_V_USER, "this mailbox shows merged free/busy only"},
    {"bad subscription id", PX_V_LOST, "empty, not printable or over 255 bytes"},
    {"broken XML", PX_V_TRANSIENT, NULL},
    {"broken answer", PX_V_TRANSIENT, NULL},
    {"connect", PX_V_SERVER, NULL},
    {"cut", PX_V_TRANSIENT, NULL},
    {"local", PX_V_TRANSIENT, NULL},
    {"not EWS", PX_V_SERVER, NULL},
    {"resolve", PX_V_SERVER, NULL},
    {"silent", PX_V_TRANSIENT, NULL},
    {"timeout", PX_V_SERVER, NULL},
    {"tls", PX_V_SERVER, NULL},
    {"too big", PX_V_TRANSIENT, NULL},
};
const size_t px_ews_rows = sizeof px_ews_table / sizeof *px_ews_table;

static int by_code(const void *code, const void *row)
{
	return strcmp(code, ((const struct px_ews_row *)row)->code);
}

const struct px_ews_row *px_ews_row(const char *code)
{
	return bsearch(code, px_ews_table, px_ews_rows, sizeof *px_ews_table, by_code);
}

void px_ews_code(char *out, size_t size, const char *s, size_t n)
{
	static const char fine[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 _.-";
	size_t len = 0;

	for (size_t i = 0; i < n && len + 1 < size; i++)
		if (s[i] && strchr(fine, s[i]))
			out[len++] = s[i];
	out[len] = '\0';
}

/* Not white space, controls, and what reorders or hides the text around it (Unicode Cf as far as it
 * concerns a line of log). */
static bool shown(uint32_t c)
{
	return c > 0x20 && !(c >= 0x7f && c < 0xa0) && c != 0xad && c != 0x61c &&
	       !(c >= 0x200b && c <= 0x200f) && !(c >= 0x2028 && c <= 0x202e) &&
	       !(c >= 0x2060 && c <= 0x206f) && c != 0xfeff && !(c >= 0xfff0 && c <= 0xfffb) &&
	       c < 0xe0000;
}

void px_ews_text(char *out, size_t size, const char *s, size_t n)
{
	size_t len = 0;

	for (size_t i = 0, step; i < n; i += step) {
		uint32_t c = 0;

		step = px_utf8(s + i, n - i, &c);
		if (step && shown(c)) {
			if (len + step >= size)
				break;
			memcpy(out + len, s + i, step);
			len += step;
		} else if (len > 0 && out[len - 1] != ' ' && len + 1 < size)
			out[len++] = ' ';
		step += !step;
	}
	while (len > 0 && out[len - 1] == ' ')
		len--;
	out[len] = '\0';
}
