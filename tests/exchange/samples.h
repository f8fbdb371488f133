/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * samples.h - requests as a good client writes them, for the tests to send and to spoil.
 */
#ifndef EXCHANGE_SAMPLES_H
#define EXCHANGE_SAMPLES_H

#include "grammar.h"

#define AS(address)                                                                                \
	"<t:ExchangeImpersonation><t:ConnectingSID><t:PrimarySmtpAddress>" address                 \
	"</t:PrimarySmtpAddress></t:ConnectingSID></t:ExchangeImpersonation>"
#define VERSION(v) "<t:RequestServerVersion Version=\"" v "\"/>"
#define ENVELOPE(headers, body)                                                                    \
	"<?xml version=\"1.0\" encoding=\"utf-8\"?><soap:Envelope xmlns:soap=\"" NS_SOAP           \
	"\" xmlns:t=\"" NS_TYPES "\" xmlns:m=\"" NS_MESSAGES "\"><soap:Header>" headers            \
	"</soap:Header><soap:Body>" body "</soap:Body></soap:Envelope>"

#define CALENDAR "<t:FolderIds><t:DistinguishedFolderId Id=\"calendar\"/></t:FolderIds>"
#define EVENT(name) "<t:EventType>" name "</t:EventType>"
#define EVENTS                                                                                     \
	"<t:EventTypes>" EVENT("CreatedEvent") EVENT("DeletedEvent") EVENT("ModifiedEvent")        \
	    EVENT("MovedEvent") EVENT("FreeBusyChangedEvent") "</t:EventTypes>"
#define STREAMING(inside)                                                                          \
	"<m:Subscribe><m:StreamingSubscriptionRequest>" inside                                     \
	"</m:StreamingSubscriptionRequest></m:Subscribe>"
#define PULL(inside)                                                                               \
	"<m:Subscribe><m:PullSubscriptionRequest>" inside                                          \
	"</m:PullSubscriptionRequest></m:Subscribe>"
#define PULL_EVENTS "<t:EventTypes>" EVENT("CreatedEvent") EVENT("DeletedEvent") "</t:EventTypes>"
#define TIMEOUT(n) "<t:Timeout>" n "</t:Timeout>"

#define RULE_OF(bias, order, month)                                                                \
	"<t:Bias>" bias "</t:Bias><t:Time>02:00:00</t:Time><t:DayOrder>" order                     \
	"</t:DayOrder><t:Month>" month "</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek>"
#define ZONE(bias, standard, daylight)                                                             \
	"<t:TimeZone><t:Bias>" bias "</t:Bias><t:StandardTime>" standard                           \
	"</t:StandardTime><t:DaylightTime>" daylight "</t:DaylightTime></t:TimeZone>"
#define UTC ZONE("0", RULE_OF("0", "1", "1"), RULE_OF("0", "1", "6"))
#define MAILBOX(address)                                                                           \
	"<t:MailboxData><t:Email><t:Address>" address                                              \
	"</t:Address></t:Email><t:AttendeeType>Required</t:AttendeeType>"                          \
	"<t:ExcludeConflicts>false</t:ExcludeConflicts></t:MailboxData>"
#define WINDOW(from, to)                                                                           \
	"<t:TimeWindow><t:StartTime>" from "</t:StartTime><t:EndTime>" to                          \
	"</t:EndTime></t:TimeWindow>"
#define SLOT(n) "<t:MergedFreeBusyIntervalInMinutes>" n "</t:MergedFreeBusyIntervalInMinutes>"
#define VIEW(v) "<t:RequestedView>" v "</t:RequestedView>"
#define OPTIONS(inside) "<t:FreeBusyViewOptions>" inside "</t:FreeBusyViewOptions>"
#define AVAILABILITY(inside)                                                                       \
	"<m:GetUserAvailabilityRequest>" inside "</m:GetUserAvailabilityRequest>"
#define MAILBOXES(inside) "<m:MailboxDataArray>" inside "</m:MailboxDataArray>"

#define FIELD(uri) "<t:FieldURI FieldURI=\"" uri "\"/>"
#define SHAPE(base, properties)                                                                    \
	"<m:ItemShape><t:BaseShape>" base "</t:BaseShape>" properties "</m:ItemShape>"
#define PARENT "<m:ParentFolderIds><t:DistinguishedFolderId Id=\"calendar\"/></m:ParentFolderIds>"
#define FIND(inside) "<m:FindItem Traversal=\"Shallow\">" inside "</m:FindItem>"

#define GET_STREAMING(ids, minutes)                                                                \
	"<m:GetStreamingEvents><m:SubscriptionIds>" ids                                            \
	"</m:SubscriptionIds><m:ConnectionTimeout>" minutes                                        \
	"</m:ConnectionTimeout></m:GetStreamingEvents>"
#define ID(id) "<t:SubscriptionId>" id "</t:SubscriptionId>"

#endif
