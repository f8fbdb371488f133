/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "grammar.h"

#include <libxml/parser.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "when.h"

enum kind { STRING, NON_EMPTY, INT, BOOL, TIME, WORD, WORDS, ANYTHING };

/* A text and what it may be; ANYTHING stands for content that isn't looked into. */
struct value {
	enum kind kind;
	const char *name;
	long min, max;
	const char *const *words;
};

struct attr {
	const char *name;
	const struct value *value;
	bool required;
};

struct type;

/*
 * One element that may stand in a place. Parts with the same place are a choice; places follow one
 * another in order. The first part of a place says how often the place is filled.
 */
struct part {
	int place;
	enum { ONE, OPTIONAL, MANY, ANY_NUMBER } times;
	const char *ns, *name;
	const struct type *type;
	enum version since;
};

/* An element: a text (value) or children (parts, ended by a part without name). */
struct type {
	const struct value *value;
	const struct part *parts;
	const struct attr *attrs; /* ended by one without name */
};

#define T NS_TYPES
#define M NS_MESSAGES
#define END                                                                                        \
	{                                                                                          \
		0                                                                                  \
	}

/* --- values --- */
static const struct value string = {STRING, "string", 0, 0, NULL};
static const struct value non_empty = {NON_EMPTY, "NonEmptyStringType", 0, 0, NULL};
static const struct value integer = {INT, "int", -2147483647L - 1, 2147483647L, NULL};
static const struct value short_int = {INT, "short", -32768, 32767, NULL};
static const struct value boolean = {BOOL, "boolean", 0, 0, NULL};
static const struct value date_time = {TIME, "dateTime", 0, 0, NULL};
static const struct value anything = {ANYTHING, "anything", 0, 0, NULL};
static const struct value timeout_minutes = {INT, "SubscriptionTimeoutType", 1, 1440, NULL};
static const struct value status_minutes = {INT, "SubscriptionStatusFrequencyType", 1, 1440, NULL};
static const struct value connection_minutes = {INT, "StreamingSubscriptionConnectionTimeoutType",
                                                1, 30, NULL};

static const char *const day_words[] = {"Sunday",   "Monday",     "Tuesday",  "Wednesday",
                                        "Thursday", "Friday",     "Saturday", "Day",
                                        "Weekday",  "WeekendDay", NULL};
static const struct value day = {WORD, "DayOfWeekType", 0, 0, day_words};
static const char *const attendee_words[] = {"Organizer", "Required", "Optional",
                                             "Room",      "Resource", NULL};
static const struct value attendee = {WORD, "MeetingAttendeeType", 0, 0, attendee_words};
static const char *const view_words[] = {"None",     "MergedOnly",     "FreeBusy", "FreeBusyMerged",
                                         "Detailed", "DetailedMerged", NULL};
static const struct value view = {WORDS, "FreeBusyViewType", 0, 0, view_words};
static const char *const event_words[] = {
    "CopiedEvent", "CreatedEvent", "DeletedEvent", "ModifiedEvent", "MovedEvent", "NewMailEvent",
    NULL};
static const struct value event = {WORD, "NotificationEventTypeType", 0, 0, event_words};
static const char *const event_words_2010[] = {
    "CopiedEvent", "CreatedEvent", "DeletedEvent",         "ModifiedEvent",
    "MovedEvent",  "NewMailEvent", "FreeBusyChangedEvent", NULL};
static const struct value event_2010 = {WORD, "NotificationEventTypeType", 0, 0, event_words_2010};
static const char *const traversal_words[] = {"Shallow", "SoftDeleted", "Associated", NULL};
static const struct value traversal = {WORD, "ItemQueryTraversalType", 0, 0, traversal_words};
static const char *const shape_words[] = {"IdOnly", "Default", "AllProperties", "PcxPeopleSearch",
                                          NULL};
static const struct value shape = {WORD, "DefaultShapeNamesType", 0, 0, shape_words};
static const char *const body_words[] = {"Best", "HTML", "Text", NULL};
static const struct value body_kind = {WORD, "BodyTypeResponseType", 0, 0, body_words};
static const char *const base_words[] = {"Beginning", "End", NULL};
static const struct value base_point = {WORD, "IndexBasePointType", 0, 0, base_words};
static const char *const mailbox_words[] = {
    "Unknown", "OneOff",       "Mailbox",      "PublicDL",        "PrivateDL",
    "Contact", "PublicFolder", "GroupMailbox", "ImplicitContact", NULL};
static const struct value mailbox_kind = {WORD, "MailboxTypeType", 0, 0, mailbox_words};
static const char *const folder_words[] = {"calendar",
                                           "contacts",
                                           "deleteditems",
                                           "drafts",
                                           "inbox",
                                           "journal",
                                           "notes",
                                           "outbox",
                                           "sentitems",
                                           "tasks",
                                           "msgfolderroot",
                                           "publicfoldersroot",
                                           "root",
                                           "junkemail",
                                           "searchfolders",
                                           "voicemail",
                                           "recoverableitemsroot",
                                           "recoverableitemsdeletions",
                                           "recoverableitemsversions",
                                           "recoverableitemspurges",
                                           "archiveroot",
                                           "archivemsgfolderroot",
                                           "archivedeleteditems",
                                           "conversationhistory",
                                           NULL};
static const struct value folder_name = {WORD, "DistinguishedFolderIdNameType", 0, 0, folder_words};
static const char *const field_words[] = {"folder:FolderId",
                                          "folder:ParentFolderId",
                                          "folder:DisplayName",
                                          "folder:UnreadCount",
                                          "folder:TotalCount",
                                          "folder:ChildFolderCount",
                                          "folder:FolderClass",
                                          "item:ItemId",
                                          "item:ParentFolderId",
                                          "item:ItemClass",
                                          "item:MimeContent",
                                          "item:Attachments",
                                          "item:Subject",
                                          "item:DateTimeReceived",
                                          "item:Size",
                                          "item:Categories",
                                          "item:HasAttachments",
                                          "item:Importance",
                                          "item:InReplyTo",
                                          "item:InternetMessageHeaders",
                                          "item:IsAssociated",
                                          "item:IsDraft",
                                          "item:IsFromMe",
                                          "item:IsResend",
                                          "item:IsSubmitted",
                                          "item:IsUnmodified",
                                          "item:DateTimeSent",
                                          "item:DateTimeCreated",
                                          "item:Body",
                                          "item:ResponseObjects",
                                          "item:Sensitivity",
                                          "item:ReminderDueBy",
                                          "item:ReminderIsSet",
                                          "item:ReminderNextTime",
                                          "item:ReminderMinutesBeforeStart",
                                          "item:DisplayTo",
                                          "item:DisplayCc",
                                          "item:DisplayBcc",
                                          "item:Culture",
                                          "item:EffectiveRights",
                                          "item:LastModifiedName",
                                          "item:LastModifiedTime",
                                          "item:ConversationId",
                                          "item:UniqueBody",
                                          "item:Flag",
                                          "item:StoreEntryId",
                                          "item:InstanceKey",
                                          "item:NormalizedBody",
                                          "item:PolicyTag",
                                          "item:ArchiveTag",
                                          "item:RetentionDate",
                                          "item:Preview",
                                          "item:TextBody",
                                          "item:IconIndex",
                                          "calendar:Start",
                                          "calendar:End",
                                          "calendar:OriginalStart",
                                          "calendar:StartWallClock",
                                          "calendar:EndWallClock",
                                          "calendar:StartTimeZoneId",
                                          "calendar:EndTimeZoneId",
                                          "calendar:IsAllDayEvent",
                                          "calendar:LegacyFreeBusyStatus",
                                          "calendar:Location",
                                          "calendar:EnhancedLocation",
                                          "calendar:When",
                                          "calendar:IsMeeting",
                                          "calendar:IsCancelled",
                                          "calendar:IsRecurring",
                                          "calendar:MeetingRequestWasSent",
                                          "calendar:IsResponseRequested",
                                          "calendar:CalendarItemType",
                                          "calendar:MyResponseType",
                                          "calendar:Organizer",
                                          "calendar:RequiredAttendees",
                                          "calendar:OptionalAttendees",
                                          "calendar:Resources",
                                          "calendar:ConflictingMeetingCount",
                                          "calendar:AdjacentMeetingCount",
                                          "calendar:ConflictingMeetings",
                                          "calendar:AdjacentMeetings",
                                          "calendar:Duration",
                                          "calendar:TimeZone",
                                          "calendar:AppointmentReplyTime",
                                          "calendar:AppointmentSequenceNumber",
                                          "calendar:AppointmentState",
                                          "calendar:Recurrence",
                                          "calendar:FirstOccurrence",
                                          "calendar:LastOccurrence",
                                          "calendar:ModifiedOccurrences",
                                          "calendar:DeletedOccurrences",
                                          "calendar:MeetingTimeZone",
                                          "calendar:ConferenceType",
                                          "calendar:AllowNewTimeProposal",
                                          "calendar:IsOnlineMeeting",
                                          "calendar:MeetingWorkspaceUrl",
                                          "calendar:NetShowUrl",
                                          "calendar:UID",
                                          "calendar:RecurrenceId",
                                          "calendar:DateTimeStamp",
                                          "calendar:StartTimeZone",
                                          "calendar:EndTimeZone",
                                          "calendar:JoinOnlineMeetingUrl",
                                          "calendar:IsOrganizer",
                                          NULL};
static const struct value field_uri = {WORD, "UnindexedFieldURIType", 0, 0, field_words};

/* --- elements with a text --- */
static const struct type a_string = {.value = &string};
static const struct type a_non_empty = {.value = &non_empty};
static const struct type an_int = {.value = &integer};
static const struct type a_short = {.value = &short_int};
static const struct type a_bool = {.value = &boolean};
static const struct type a_time = {.value = &date_time};
static const struct type a_day = {.value = &day};
static const struct type an_attendee = {.value = &attendee};
static const struct type a_view = {.value = &view};
static const struct type an_event = {.value = &event};
static const struct type an_event_2010 = {.value = &event_2010};
static const struct type a_timeout = {.value = &timeout_minutes};
static const struct type a_status_frequency = {.value = &status_minutes};
static const struct type a_connection_timeout = {.value = &connection_minutes};
static const struct type a_shape = {.value = &shape};
static const struct type a_body_kind = {.value = &body_kind};
static const struct type a_mailbox_kind = {.value = &mailbox_kind};
static const struct type unchecked = {.value = &anything};

/* --- folders --- */
static const struct attr item_id_attrs[] = {
    {"Id", &string, true}, {"ChangeKey", &string, false}, END};
static const struct type item_id = {.attrs = item_id_attrs};
static const struct part address_parts[] = {{1, OPTIONAL, T, "Name", &a_string, 0},
                                            {2, OPTIONAL, T, "EmailAddress", &a_non_empty, 0},
                                            {3, OPTIONAL, T, "RoutingType", &a_non_empty, 0},
                                            {4, OPTIONAL, T, "MailboxType", &a_mailbox_kind, 0},
                                            {5, OPTIONAL, T, "ItemId", &item_id, 0},
                                            END};
static const struct type address = {.parts = address_parts};
static const struct part named_folder_parts[] = {{1, OPTIONAL, T, "Mailbox", &address, 0}, END};
static const struct attr named_folder_attrs[] = {
    {"Id", &folder_name, true}, {"ChangeKey", &string, false}, END};
static const struct type named_folder = {.parts = named_folder_parts, .attrs = named_folder_attrs};
static const struct part folder_ids_parts[] = {
    {1, MANY, T, "FolderId", &item_id, 0},
    {1, MANY, T, "DistinguishedFolderId", &named_folder, 0},
    END};
static const struct type folder_ids = {.parts = folder_ids_parts};

/* --- Subscribe --- */
/* of two parts with the same name, the later whose version is spoken is the one that holds */
static const struct part event_types_parts[] = {
    {1, MANY, T, "EventType", &an_event, 0},
    {1, MANY, T, "EventType", &an_event_2010, V2010_SP1},
    END};
static const struct type event_types = {.parts = event_types_parts};
static const struct attr subscribe_attrs[] = {{"SubscribeToAllFolders", &boolean, false}, END};
static const struct part pull_parts[] = {{1, OPTIONAL, T, "FolderIds", &folder_ids, 0},
                                         {2, ONE, T, "EventTypes", &event_types, 0},
                                         {3, OPTIONAL, T, "Watermark", &a_non_empty, 0},
                                         {4, ONE, T, "Timeout", &a_timeout, 0},
                                         END};
static const struct type pull = {.parts = pull_parts, .attrs = subscribe_attrs};
static const struct part push_parts[] = {{1, OPTIONAL, T, "FolderIds", &folder_ids, 0},
                                         {2, ONE, T, "EventTypes", &event_types, 0},
                                         {3, OPTIONAL, T, "Watermark", &a_non_empty, 0},
                                         {4, ONE, T, "StatusFrequency", &a_status_frequency, 0},
                                         {5, ONE, T, "URL", &a_string, 0},
                                         {6, OPTIONAL, T, "CallerData", &a_string, V2013},
                                         END};
static const struct type push = {.parts = push_parts, .attrs = subscribe_attrs};
static const struct part streaming_parts[] = {
    {1, OPTIONAL, T, "FolderIds", &folder_ids, 0}, {2, ONE, T, "EventTypes", &event_types, 0}, END};
static const struct type streaming = {.parts = streaming_parts, .attrs = subscribe_attrs};
static const struct part subscribe_parts[] = {
    {1, ONE, M, "PullSubscriptionRequest", &pull, 0},
    {1, ONE, M, "PushSubscriptionRequest", &push, 0},
    {1, ONE, M, "StreamingSubscriptionRequest", &streaming, V2010_SP1},
    END};
static const struct type subscribe = {.parts = subscribe_parts};

/* --- events --- */
static const struct part unsubscribe_parts[] = {{1, ONE, M, "SubscriptionId", &a_non_empty, 0},
                                                END};
static const struct type unsubscribe = {.parts = unsubscribe_parts};
static const struct part get_events_parts[] = {
    {1, ONE, M, "SubscriptionId", &a_non_empty, 0}, {2, ONE, M, "Watermark", &a_non_empty, 0}, END};
static const struct type get_events = {.parts = get_events_parts};
static const struct part subscription_ids_parts[] = {
    {1, MANY, T, "SubscriptionId", &a_non_empty, 0}, END};
static const struct type subscription_ids = {.parts = subscription_ids_parts};
static const struct part get_streaming_parts[] = {
    {1, ONE, M, "SubscriptionIds", &subscription_ids, 0},
    {2, ONE, M, "ConnectionTimeout", &a_connection_timeout, 0},
    END};
static const struct type get_streaming = {.parts = get_streaming_parts};

/* --- GetUserAvailability --- */
static const struct part zone_time_parts[] = {{1, ONE, T, "Bias", &an_int, 0},
                                              {2, ONE, T, "Time", &a_string, 0},
                                              {3, ONE, T, "DayOrder", &a_short, 0},
                                              {4, ONE, T, "Month", &a_short, 0},
                                              {5, ONE, T, "DayOfWeek", &a_day, 0},
                                              {6, OPTIONAL, T, "Year", &a_string, 0},
                                              END};
static const struct type zone_time = {.parts = zone_time_parts};
static const struct part time_zone_parts[] = {{1, ONE, T, "Bias", &an_int, 0},
                                              {2, ONE, T, "StandardTime", &zone_time, 0},
                                              {3, ONE, T, "DaylightTime", &zone_time, 0},
                                              END};
static const struct type time_zone = {.parts = time_zone_parts};
static const struct part email_parts[] = {{1, OPTIONAL, T, "Name", &a_string, 0},
                                          {2, ONE, T, "Address", &a_string, 0},
                                          {3, OPTIONAL, T, "RoutingType", &a_string, 0},
                                          END};
static const struct type email = {.parts = email_parts};
static const struct part mailbox_data_parts[] = {{1, ONE, T, "Email", &email, 0},
                                                 {2, ONE, T, "AttendeeType", &an_attendee, 0},
                                                 {3, OPTIONAL, T, "ExcludeConflicts", &a_bool, 0},
                                                 END};
static const struct type mailbox_data = {.parts = mailbox_data_parts};
static const struct part mailboxes_parts[] = {{1, ANY_NUMBER, T, "MailboxData", &mailbox_data, 0},
                                              END};
static const struct type mailboxes = {.parts = mailboxes_parts};
static const struct part window_parts[] = {
    {1, ONE, T, "StartTime", &a_time, 0}, {2, ONE, T, "EndTime", &a_time, 0}, END};
static const struct type window = {.parts = window_parts};
static const struct part view_options_parts[] = {
    {1, ONE, T, "TimeWindow", &window, 0},
    {2, OPTIONAL, T, "MergedFreeBusyIntervalInMinutes", &an_int, 0},
    {3, OPTIONAL, T, "RequestedView", &a_view, 0},
    END};
static const struct type view_options = {.parts = view_options_parts};
static const struct part availability_parts[] = {
    {1, OPTIONAL, T, "TimeZone", &time_zone, 0},
    {2, ONE, M, "MailboxDataArray", &mailboxes, 0},
    {3, OPTIONAL, T, "FreeBusyViewOptions", &view_options, 0},
    {4, OPTIONAL, T, "SuggestionsViewOptions", &unchecked, 0},
    END};
static const struct type availability = {.parts = availability_parts};

/* --- FindItem --- */
static const struct attr field_attrs[] = {{"FieldURI", &field_uri, true}, END};
static const struct type field = {.attrs = field_attrs};
static const struct part properties_parts[] = {{1, MANY, T, "FieldURI", &field, 0},
                                               {1, MANY, T, "IndexedFieldURI", &unchecked, 0},
                                               {1, MANY, T, "ExtendedFieldURI", &unchecked, 0},
                                               END};
static const struct type properties = {.parts = properties_parts};
static const struct part item_shape_parts[] = {
    {1, ONE, T, "BaseShape", &a_shape, 0},
    {2, OPTIONAL, T, "IncludeMimeContent", &a_bool, 0},
    {3, OPTIONAL, T, "BodyType", &a_body_kind, 0},
    {4, OPTIONAL, T, "UniqueBodyType", &a_body_kind, V2013},
    {5, OPTIONAL, T, "NormalizedBodyType", &a_body_kind, V2013},
    {6, OPTIONAL, T, "FilterHtmlContent", &a_bool, V2010},
    {7, OPTIONAL, T, "ConvertHtmlCodePageToUTF8", &a_bool, V2010},
    {8, OPTIONAL, T, "InlineImageUrlTemplate", &a_string, V2013},
    {9, OPTIONAL, T, "BlockExternalImages", &a_bool, V2013},
    {10, OPTIONAL, T, "AddBlankTargetToLinks", &a_bool, V2013},
    {11, OPTIONAL, T, "MaximumBodySize", &an_int, V2013},
    {12, OPTIONAL, T, "AdditionalProperties", &properties, 0},
    END};
static const struct type item_shape = {.parts = item_shape_parts};
static const struct attr calendar_view_attrs[] = {{"MaxEntriesReturned", &integer, false},
                                                  {"StartDate", &date_time, true},
                                                  {"EndDate", &date_time, true},
                                                  END};
static const struct type calendar_view = {.attrs = calendar_view_attrs};
static const struct attr indexed_view_attrs[] = {{"MaxEntriesReturned", &integer, false},
                                                 {"Offset", &integer, true},
                                                 {"BasePoint", &base_point, true},
                                                 END};
static const struct type indexed_view = {.attrs = indexed_view_attrs};
static const struct part find_item_parts[] = {
    {1, ONE, M, "ItemShape", &item_shape, 0},
    {2, OPTIONAL, M, "IndexedPageItemView", &indexed_view, 0},
    {2, OPTIONAL, M, "FractionalPageItemView", &unchecked, 0},
    {2, OPTIONAL, M, "SeekToConditionPageItemView", &unchecked, V2013},
    {2, OPTIONAL, M, "CalendarView", &calendar_view, 0},
    {2, OPTIONAL, M, "ContactsView", &unchecked, 0},
    {3, OPTIONAL, M, "GroupBy", &unchecked, 0},
    {3, OPTIONAL, M, "DistinguishedGroupBy", &unchecked, 0},
    {4, OPTIONAL, M, "Restriction", &unchecked, 0},
    {5, OPTIONAL, M, "SortOrder", &unchecked, 0},
    {6, ONE, M, "ParentFolderIds", &folder_ids, 0},
    {7, OPTIONAL, M, "QueryString", &unchecked, V2010},
    END};
static const struct attr find_item_attrs[] = {{"Traversal", &traversal, true}, END};
static const struct type find_item = {.parts = find_item_parts, .attrs = find_item_attrs};

/* --- automatic replies --- */
static const struct part oof_settings_parts[] = {{1, ONE, T, "Mailbox", &email, 0}, END};
static const struct type oof_settings = {.parts = oof_settings_parts};
static const struct part sending_as_parts[] = {{1, OPTIONAL, T, "Name", &a_string, 0},
                                               {2, ONE, T, "EmailAddress", &a_non_empty, 0},
                                               {3, OPTIONAL, T, "RoutingType", &a_string, 0},
                                               END};
static const struct type sending_as = {.parts = sending_as_parts};
static const struct part recipients_parts[] = {{1, MANY, T, "Mailbox", &sending_as, 0}, END};
static const struct type recipients = {.parts = recipients_parts};
static const char *const tip_words[] = {"All",
                                        "OutOfOfficeMessage",
                                        "MailboxFullStatus",
                                        "CustomMailTip",
                                        "ExternalMemberCount",
                                        "TotalMemberCount",
                                        "MaxMessageSize",
                                        "DeliveryRestriction",
                                        "ModerationStatus",
                                        "InvalidRecipient",
                                        NULL};
static const struct value tips = {WORDS, "MailTipTypes", 0, 0, tip_words};
static const struct type a_tips = {.value = &tips};
static const struct part mail_tips_parts[] = {{1, ONE, M, "SendingAs", &sending_as, 0},
                                              {2, ONE, M, "Recipients", &recipients, 0},
                                              {3, ONE, M, "MailTipsRequested", &a_tips, 0},
                                              END};
static const struct type mail_tips = {.parts = mail_tips_parts};

static const struct part operations[] = {
    {1, ONE, M, "Subscribe", &subscribe, 0},
    {1, ONE, M, "Unsubscribe", &unsubscribe, 0},
    {1, ONE, M, "GetEvents", &get_events, 0},
    {1, ONE, M, "GetStreamingEvents", &get_streaming, V2010_SP1},
    {1, ONE, M, "GetUserAvailabilityRequest", &availability, 0},
    {1, ONE, M, "FindItem", &find_item, 0},
    {1, ONE, M, "GetUserOofSettingsRequest", &oof_settings, 0},
    {1, ONE, M, "GetMailTips", &mail_tips, V2010},
    END};

/* --- headers --- */
static const struct attr version_attrs[] = {{"Version", &string, true}, END};
static const struct type server_version = {.attrs = version_attrs};
static const struct part sid_parts[] = {{1, ONE, T, "PrincipalName", &a_non_empty, 0},
                                        {1, ONE, T, "SID", &a_non_empty, 0},
                                        {1, ONE, T, "PrimarySmtpAddress", &a_non_empty, 0},
                                        {1, ONE, T, "SmtpAddress", &a_non_empty, V2010},
                                        END};
static const struct type connecting_sid = {.parts = sid_parts};
static const struct part impersonation_parts[] = {{1, ONE, T, "ConnectingSID", &connecting_sid, 0},
                                                  END};
static const struct type impersonation = {.parts = impersonation_parts};
static const struct part headers[] = {{1, ONE, T, "RequestServerVersion", &server_version, 0},
                                      {1, ONE, T, "ExchangeImpersonation", &impersonation, 0},
                                      {1, ONE, T, "MailboxCulture", &a_string, 0},
                                      {1, ONE, T, "TimeZoneContext", &unchecked, 0},
                                      END};

/* --- reading XML --- */
bool xml_is(const xmlNode *n, const char *ns, const char *name)
{
	return n && n->type == XML_ELEMENT_NODE && strcmp((const char *)n->name, name) == 0 &&
	       n->ns && n->ns->href && strcmp((const char *)n->ns->href, ns) == 0;
}

static xmlNode *element(xmlNode *n)
{
	while (n && n->type != XML_ELEMENT_NODE)
		n = n->next;
	return n;
}

xmlNode *xml_first(const xmlNode *parent)
{
	return parent ? element(parent->children) : NULL;
}

xmlNode *xml_next(const xmlNode *n)
{
	return element(n->next);
}

xmlNode *xml_child(const xmlNode *parent, const char *name)
{
	xmlNode *n = xml_first(parent);

	while (n && strcmp((const char *)n->name, name) != 0)
		n = xml_next(n);
	return n;
}

/* Only numbers, times and lists lose the white space around them when they are checked. */
static bool collapses(const struct value *val)
{
	return val->kind != WORD && val->kind != NON_EMPTY;
}

static char *trimmed(xmlChar *raw)
{
	const char *s = raw ? (const char *)raw : "";
	size_t n;
	char *out;

	s += strspn(s, " \t\r\n");
	n = strlen(s);
	while (n && strchr(" \t\r\n", s[n - 1]))
		n--;
	out = xcalloc(n + 1, 1);
	memcpy(out, s, n);
	xmlFree(raw);
	return out;
}

char *xml_text(const xmlNode *n)
{
	return trimmed(n ? xmlNodeGetContent(n) : NULL);
}

char *xml_attr(const xmlNode *n, const char *name)
{
	xmlChar *raw = n ? xmlGetNoNsProp(n, (const xmlChar *)name) : NULL;

	return raw ? trimmed(raw) : NULL;
}

static __attribute__((format(printf, 3, 4))) bool wrong(struct violation *v, const xmlNode *n,
                                                        const char *fmt, ...)
{
	va_list ap;

	v->line = n ? (int)xmlGetLineNo(n) : 0;
	va_start(ap, fmt);
	vsnprintf(v->text, sizeof v->text, fmt, ap);
	va_end(ap);
	return false;
}

#define DEPTH_MAX 32

static bool shallow(const xmlNode *n, int depth)
{
	for (n = xml_first(n); n; n = xml_next(n))
		if (depth >= DEPTH_MAX || !shallow(n, depth + 1))
			return false;
	return true;
}

xmlDoc *grammar_parse(const char *body, size_t len, struct violation *v)
{
	xmlParserCtxt *ctx = xmlNewParserCtxt();
	xmlDoc *doc;

	if (!ctx)
		abort();
	doc = xmlCtxtReadMemory(ctx, body, (int)len, NULL, NULL,
	                        XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
	if (!doc)
		wrong(v, NULL, "line %d: %s", ctx->lastError.line,
		      ctx->lastError.message ? ctx->lastError.message : "not well-formed XML");
	xmlFreeParserCtxt(ctx);
	if (doc && (doc->intSubset || doc->extSubset)) {
		wrong(v, NULL, "a document type declaration is not allowed in a SOAP message");
	} else if (doc && !shallow((const xmlNode *)doc, 0)) {
		wrong(v, NULL, "the document is nested too deeply");
	} else {
		return doc;
	}
	xmlFreeDoc(doc);
	return NULL;
}

/* --- checking --- */
static bool is_word(const char *s, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(s, *words) == 0)
			return true;
	return false;
}

static const char *unfit(const struct value *val, const char *s)
{
	char *end, copy[256], *save = NULL;
	int64_t t;
	bool zoned;
	long l;

	switch (val->kind) {
	case STRING:
	case ANYTHING:
		return NULL;
	case NON_EMPTY:
		return *s ? NULL : "The actual length is less than the MinLength value.";
	case INT:
		l = strtol(s, &end, 10);
		if (!*s || *end || strlen(s) > 11 || strchr(" \t", *s))
			return "The string is not a valid integer value.";
		if (l < val->min)
			return "The MinInclusive constraint failed.";
		return l > val->max ? "The MaxInclusive constraint failed." : NULL;
	case BOOL:
		return strcmp(s, "true") && strcmp(s, "false") && strcmp(s, "1") && strcmp(s, "0")
		           ? "The string is not a valid Boolean value."
		           : NULL;
	case TIME:
		return when_parse(s, &t, &zoned) ? NULL
		                                 : "The string is not a valid XsdDateTime value.";
	case WORD:
		return is_word(s, val->words) ? NULL : "The Enumeration constraint failed.";
	case WORDS:
		if (strlen(s) >= sizeof copy)
			return "The Enumeration constraint failed.";
		strcpy(copy, s);
		for (char *w = strtok_r(copy, " \t\r\n", &save); w;
		     w = strtok_r(NULL, " \t\r\n", &save))
			if (!is_word(w, val->words))
				return "The Enumeration constraint failed.";
		return NULL;
	}
	return NULL;
}

static const char *unfit_value(const struct value *val, const char *s, const xmlChar *raw)
{
	return unfit(val, collapses(val) ? s : (const char *)raw);
}

static const char *ns_of(const xmlNode *n)
{
	return n->ns && n->ns->href ? (const char *)n->ns->href : "";
}

static bool check_attrs(const xmlNode *n, const struct type *t, struct violation *v)
{
	for (const xmlAttr *a = n->properties; a; a = a->next) {
		const struct attr *rule = t->attrs;

		/* xsi:type and xsi:schemaLocation, and soap:mustUnderstand and soap:actor */
		if (a->ns)
			continue;
		while (rule && rule->name && strcmp(rule->name, (const char *)a->name) != 0)
			rule++;
		if (!rule || !rule->name)
			return wrong(v, n, "The '%s' attribute is not declared.", a->name);
	}
	for (const struct attr *rule = t->attrs; rule && rule->name; rule++) {
		char *s = xml_attr(n, rule->name);
		xmlChar *raw = xmlGetNoNsProp(n, (const xmlChar *)rule->name);
		const char *why = s ? unfit_value(rule->value, s, raw) : NULL;

		xmlFree(raw);

		if (!s && rule->required)
			return wrong(v, n, "The required attribute '%s' is missing.", rule->name);
		if (why) {
			wrong(v, n,
			      "The '%s' attribute is invalid - The value '%.100s' is invalid "
			      "according to its datatype '%s:%s' - %s",
			      rule->name, s, NS_TYPES, rule->value->name, why);
			free(s);
			return false;
		}
		free(s);
	}
	return true;
}

/* "List of possible elements expected" from place on, up to the first that can't be left out */
static void expected(char *out, size_t size, const struct part *p, int place, enum version asked)
{
	size_t n = 0;
	const struct part *head = NULL;

	out[0] = '\0';
	for (; p->name; p++) {
		if (p->place < place || p->since > asked)
			continue;
		if (head && p->place != head->place && (head->times == ONE || head->times == MANY))
			break;
		if (!head || p->place != head->place)
			head = p;
		n += (size_t)snprintf(out + n, size - n, "%s'%s' in namespace '%s'", n ? ", " : "",
		                      p->name, p->ns);
		if (n >= size - 1)
			break;
	}
	if (!out[0])
		snprintf(out, size, "none");
}

static bool check(const xmlNode *n, const struct type *t, enum version asked, struct violation *v);

static bool check_children(const xmlNode *n, const struct type *t, enum version asked,
                           struct violation *v)
{
	static const struct part none[] = {END};
	const struct part *parts = t->parts ? t->parts : none, *at = parts;
	int filled = 0; /* how often the place that at stands in */
	char list[900];

	for (const xmlNode *c = n->children; c; c = c->next) {
		if ((c->type == XML_TEXT_NODE || c->type == XML_CDATA_SECTION_NODE) &&
		    (!t->parts || !xmlIsBlankNode(c)))
			return wrong(v, n,
			             "The element '%s' in namespace '%s' cannot contain text.",
			             n->name, ns_of(n));
		if (c->type == XML_ENTITY_REF_NODE)
			return wrong(v, n, "Entities are not allowed in a SOAP message.");
	}
	for (const xmlNode *c = xml_first(n); c; c = xml_next(c)) {
		const struct part *fit = NULL, *p = at;
		int place = at->place;
		int open = place + (filled && (at->times == ONE || at->times == OPTIONAL));

		for (; p->name; p++) {
			if (p->place != place) {
				/* the place before must not be left empty */
				if (!filled && (at->times == ONE || at->times == MANY))
					break;
				place = p->place;
				at = p;
				filled = 0;
			}
			if (p->since <= asked && xml_is(c, p->ns, p->name) &&
			    (!filled || at->times == MANY || at->times == ANY_NUMBER))
				fit = p;
			if (fit && (!p[1].name || p[1].place != place))
				break;
		}
		if (!fit) {
			expected(list, sizeof list, parts, open, asked);
			return wrong(v, c,
			             "The element '%s' in namespace '%s' has invalid child element "
			             "'%s' in namespace '%s'. List of possible elements expected: "
			             "%s.",
			             n->name, ns_of(n), c->name, ns_of(c), list);
		}
		filled++;
		if (!check(c, fit->type, asked, v))
			return false;
	}
	for (const struct part *p = at; p->name; p++) {
		if (p->place != at->place) {
			at = p;
			filled = 0;
		}
		if (p == at && !filled && (p->times == ONE || p->times == MANY)) {
			expected(list, sizeof list, parts, p->place, asked);
			return wrong(v, n,
			             "The element '%s' in namespace '%s' has incomplete content. "
			             "List of possible elements expected: %s.",
			             n->name, ns_of(n), list);
		}
	}
	return true;
}

static bool check(const xmlNode *n, const struct type *t, enum version asked, struct violation *v)
{
	const char *why;
	xmlChar *raw;
	char *s;

	if (t->value && t->value->kind == ANYTHING)
		return true;
	if (!check_attrs(n, t, v))
		return false;
	if (!t->value)
		return check_children(n, t, asked, v);
	if (xml_first(n))
		return wrong(v, n,
		             "The element '%s' in namespace '%s' cannot contain child element "
		             "'%s' because the parent element's content model is text only.",
		             n->name, ns_of(n), xml_first(n)->name);
	s = xml_text(n);
	raw = xmlNodeGetContent(n);
	why = unfit_value(t->value, s, raw);
	xmlFree(raw);
	if (why)
		wrong(v, n,
		      "The '%s:%s' element is invalid - The value '%.100s' is invalid according to "
		      "its datatype '%s:%s' - %s",
		      ns_of(n), n->name, s, NS_TYPES, t->value->name, why);
	free(s);
	return !why;
}

static const struct part *rule_of(const struct part *p, const xmlNode *n)
{
	for (; p->name; p++)
		if (xml_is(n, p->ns, p->name))
			return p;
	return NULL;
}

bool grammar_knows(const xmlNode *operation)
{
	return rule_of(operations, operation) != NULL;
}

bool grammar_check(const xmlNode *operation, enum version asked, struct violation *v)
{
	const struct part *p = rule_of(operations, operation);

	v->text[0] = '\0';
	if (!p || p->since > asked)
		return wrong(v, operation,
		             "The element 'Body' in namespace '%s' has invalid child "
		             "element '%s' in namespace '%s'.",
		             NS_SOAP, operation->name, ns_of(operation));
	return check(operation, p->type, asked, v);
}

bool grammar_check_header(const xmlNode *header, enum version asked, struct violation *v)
{
	const struct part *p = rule_of(headers, header);

	v->text[0] = '\0';
	return !p || check(header, p->type, asked, v);
}
