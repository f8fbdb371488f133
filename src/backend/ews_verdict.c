/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Exchange's answers mean for us. One table, so that it can be read against Microsoft's list
 * of codes (ResponseCodeType). */
#include <string.h>

#include "backend/ews.h"

#define LOGON "a logon page answers: forms-based authentication or a proxy stands before /EWS"
#define OLDER "this CAS is older than Exchange 2007 SP1"
#define ACCOUNT "the service account's password must be renewed"

const struct px_meaning px_ews_table[] = {
    {"ErrorADOperation", PX_V_TRANSIENT, NULL},
    {"ErrorADUnavailable", PX_V_TRANSIENT, NULL},
    {"ErrorAccessDenied", PX_V_USER, "the account has no right on this mailbox"},
    {"ErrorAccountDisabled", PX_V_USER, NULL},
    {"ErrorCalendarViewRangeTooBig", PX_V_WIDE, NULL},
    {"ErrorConnectionFailed", PX_V_TRANSIENT, NULL},
    {"ErrorCrossSiteRequest", PX_V_LOST, NULL},
    {"ErrorEventNotFound", PX_V_GAP, NULL},
    {"ErrorExceededConnectionCount", PX_V_BUSY, NULL},
    {"ErrorExceededFindCountLimit", PX_V_WIDE, NULL},
    {"ErrorExceededSubscriptionCount", PX_V_TRANSIENT,
     "no more subscriptions there: raise EWSMaxSubscriptions of the account"},
    {"ErrorExpiredSubscription", PX_V_LOST, NULL},
    {"ErrorFreeBusyDLLimitReached", PX_V_TRANSIENT, "a distribution list is no mailbox"},
    {"ErrorImpersonateUserDenied", PX_V_USER,
     "the account may not impersonate this user: check the role's scope"},
    {"ErrorImpersonationDenied", PX_V_DENIED,
     "the account may not impersonate on this CAS: grant ApplicationImpersonation"},
    {"ErrorImpersonationFailed", PX_V_TRANSIENT, NULL},
    {"ErrorIncorrectSchemaVersion", PX_V_VERSION, OLDER},
    {"ErrorInsufficientResources", PX_V_TRANSIENT, NULL},
    {"ErrorInternalServerError", PX_V_TRANSIENT, NULL},
    {"ErrorInternalServerTransientError", PX_V_TRANSIENT, NULL},
    {"ErrorInvalidPullSubscriptionId", PX_V_LOST, NULL},
    {"ErrorInvalidPushSubscriptionUrl", PX_V_KIND, "Exchange doesn't take announce_http for a URL"},
    {"ErrorInvalidServerVersion", PX_V_VERSION, OLDER},
    {"ErrorInvalidSmtpAddress", PX_V_USER, NULL},
    {"ErrorInvalidSubscription", PX_V_LOST, NULL},
    {"ErrorInvalidUserPrincipalName", PX_V_USER, NULL},
    {"ErrorInvalidWatermark", PX_V_GAP, NULL},
    {"ErrorMailRecipientNotFound", PX_V_USER, "no such mailbox"},
    {"ErrorMailTipsDisabled", PX_V_KIND, "no mail tips there"},
    {"ErrorMailboxDataArrayTooBig", PX_V_TRANSIENT, NULL},
    {"ErrorMailboxFailover", PX_V_TRANSIENT, NULL},
    {"ErrorMailboxMoveInProgress", PX_V_TRANSIENT, NULL},
    {"ErrorMailboxStoreUnavailable", PX_V_TRANSIENT, NULL},
    {"ErrorMissedNotificationEvents", PX_V_GAP, NULL},
    {"ErrorNewEventStreamConnectionOpened", PX_V_TRANSIENT,
     "another connection took over these subscriptions"},
    {"ErrorNoApplicableProxyCASServersAvailable", PX_V_LOST, NULL},
    {"ErrorNoDestinationCASDueToKerberosRequirements", PX_V_LOST, NULL},
    {"ErrorNoDestinationCASDueToSSLRequirements", PX_V_LOST, NULL},
    {"ErrorNoDestinationCASDueToVersionMismatch", PX_V_LOST, NULL},
    {"ErrorNoFreeBusyAccess", PX_V_UNREADABLE, "the account has no right to this free/busy"},
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
    {"ErrorReadEventsFailed", PX_V_GAP, NULL},
    {"ErrorResultSetTooBig", PX_V_WIDE, NULL},
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
    {"FreeBusyViewType None", PX_V_UNREADABLE, "the account has no right to this free/busy"},
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
    {"MergedOnly", PX_V_UNREADABLE, "this mailbox shows merged free/busy only"},
    {"bad MergedFreeBusy", PX_V_UNREADABLE, NULL},
    {"bad subscription id", PX_V_LOST, "empty, not printable or over 255 bytes"},
    {"broken XML", PX_V_TRANSIENT, NULL},
    {"broken answer", PX_V_TRANSIENT, NULL},
    {"connect", PX_V_SERVER, NULL},
    {"cut", PX_V_TRANSIENT, NULL},
    {"local", PX_V_TRANSIENT, NULL},
    {"not EWS", PX_V_SERVER, NULL},
    {"resolve", PX_V_SERVER, NULL},
    {"short MergedFreeBusy", PX_V_UNREADABLE, NULL},
    {"silent", PX_V_TRANSIENT, NULL},
    {"timeout", PX_V_SERVER, NULL},
    {"tls", PX_V_SERVER, NULL},
    {"too big", PX_V_TRANSIENT, NULL},
};
const size_t px_ews_rows = sizeof px_ews_table / sizeof *px_ews_table;

const struct px_meaning *px_ews_row(const char *code)
{
	return px_meaning_of(px_ews_table, px_ews_rows, code);
}

enum px_fault px_ews_fault(const char *code, enum px_verdict v)
{
	static const struct {
		const char *code;
		enum px_fault fault;
	} table[] = {{"ErrorImpersonationDenied", PX_FAULT_RIGHTS},
	             {"ErrorImpersonateUserDenied", PX_FAULT_USER_RIGHTS},
	             {"ErrorAccessDenied", PX_FAULT_USER_RIGHTS},
	             {"ErrorNoFreeBusyAccess", PX_FAULT_CALENDAR},
	             {"FreeBusyViewType None", PX_FAULT_CALENDAR},
	             {"MergedOnly", PX_FAULT_CALENDAR},
	             {"HTTP 403", PX_FAULT_SERVICE}};

	(void)v;
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(code, table[i].code) == 0)
			return table[i].fault;
	return PX_FAULT_NONE;
}
