/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "freebusy.h"

#include <stdlib.h>
#include <string.h>

#include "ids.h"
#include "when.h"

#define T " xmlns=\"http://schemas.microsoft.com/exchange/services/2006/types\""

static const char *const views[] = {"None",           "MergedOnly", "FreeBusy",
                                    "FreeBusyMerged", "Detailed",   "DetailedMerged"};

bool view_parse(const char *word, enum view *v)
{
	for (size_t i = 0; i < sizeof views / sizeof *views; i++)
		if (strcmp(views[i], word) == 0) {
			*v = (enum view)i;
			return true;
		}
	return false;
}

void freebusy_merge(struct buf *b, const struct freebusy_ask *ask, const struct occurrence *occ,
                    size_t n)
{
	/* which wins in a slot, and its digit */
	static const char weight[STATUS_COUNT] = {[STATUS_FREE] = 0,
	                                          [STATUS_ELSEWHERE] = 1,
	                                          [STATUS_TENTATIVE] = 2,
	                                          [STATUS_BUSY] = 3,
	                                          [STATUS_OOF] = 4};
	static const char digit[] = {'0', '4', '1', '2', '3'};
	int64_t step = ask->slot * INT64_C(60);
	size_t slots = (size_t)((ask->to - ask->from + step - 1) / step);
	char *top = xcalloc(slots + 1, 1);

	for (size_t i = 0; i < n; i++) {
		const struct occurrence *o = &occ[i];
		int64_t first = o->start <= ask->from ? 0 : (o->start - ask->from) / step;
		char w = weight[o->status];

		if (o->status == STATUS_ELSEWHERE && !ask->elsewhere)
			w = 0;
		for (int64_t s = first; s < (int64_t)slots && ask->from + s * step < o->end; s++)
			if (top[s] < w)
				top[s] = w;
	}
	for (size_t s = 0; s < slots; s++)
		top[s] = digit[(int)top[s]];
	buf_add(b, top, slots);
	free(top);
}

static const char *flag(bool b)
{
	return b ? "true" : "false";
}

static void details(struct buf *b, const struct occurrence *o)
{
	const struct meeting *m = o->meeting;

	buf_str(b, "<CalendarEventDetails>");
	if (!m->secret) {
		buf_str(b, "<ID>");
		ids_entry(b, m);
		buf_str(b, "</ID><Subject>");
		buf_xml(b, m->subject);
		buf_str(b, "</Subject><Location>");
		buf_xml(b, m->location);
		buf_str(b, "</Location>");
	}
	buf_fmt(b,
	        "<IsMeeting>false</IsMeeting><IsRecurring>%s</IsRecurring><IsException>%s"
	        "</IsException><IsReminderSet>false</IsReminderSet><IsPrivate>%s</IsPrivate>"
	        "</CalendarEventDetails>",
	        flag(m->repeat != REPEAT_NONE), flag(o->exception), flag(m->secret));
}

static const char working_hours[] =
    "<WorkingHours" T ">"
    "<TimeZone><Bias>0</Bias><StandardTime><Bias>0</Bias><Time>00:00:00</Time>"
    "<DayOrder>0</DayOrder><Month>0</Month><DayOfWeek>Sunday</DayOfWeek></StandardTime>"
    "<DaylightTime><Bias>0</Bias><Time>00:00:00</Time><DayOrder>0</DayOrder><Month>0</Month>"
    "<DayOfWeek>Sunday</DayOfWeek></DaylightTime></TimeZone><WorkingPeriodArray>"
    "<WorkingPeriod><DayOfWeek>Monday Tuesday Wednesday Thursday Friday</DayOfWeek>"
    "<StartTimeInMinutes>480</StartTimeInMinutes><EndTimeInMinutes>1020</EndTimeInMinutes>"
    "</WorkingPeriod></WorkingPeriodArray></WorkingHours>";

void freebusy_write(struct buf *b, const struct freebusy_ask *ask, const struct occurrence *occ,
                    size_t n)
{
	static const char *const busy[STATUS_COUNT] = {"Free", "Tentative", "Busy", "OOF",
	                                               "WorkingElsewhere"};
	bool detailed = ask->view >= VIEW_DETAILED;
	char from[WHEN_TEXT], to[WHEN_TEXT];

	buf_fmt(b, "<FreeBusyViewType" T ">%s</FreeBusyViewType>", views[ask->view]);
	if (ask->view == VIEW_MERGED_ONLY || ask->view == VIEW_FREEBUSY_MERGED ||
	    ask->view == VIEW_DETAILED_MERGED) {
		buf_str(b, "<MergedFreeBusy" T ">");
		freebusy_merge(b, ask, occ, n);
		buf_str(b, "</MergedFreeBusy>");
	}
	if (ask->view < VIEW_FREEBUSY)
		return;
	if (n)
		buf_str(b, "<CalendarEventArray" T ">");
	for (size_t i = 0; i < n; i++) {
		enum status s = occ[i].status;

		if (s == STATUS_ELSEWHERE && !ask->elsewhere)
			s = STATUS_FREE;
		buf_str(b, "<CalendarEvent><StartTime>");
		buf_str(b, when_text(from, zone_local(&ask->zone, occ[i].start), false));
		buf_str(b, "</StartTime><EndTime>");
		buf_str(b, when_text(to, zone_local(&ask->zone, occ[i].end), false));
		buf_str(b, "</EndTime><BusyType>");
		buf_str(b, busy[s]);
		buf_str(b, "</BusyType>");
		if (detailed)
			details(b, &occ[i]);
		buf_str(b, "</CalendarEvent>");
	}
	if (n)
		buf_str(b, "</CalendarEventArray>");
	buf_str(b, working_hours);
}
