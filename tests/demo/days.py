# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demo puts into the calendars, and what everybody must see of it, worked out from these
meetings alone.

Every meeting is kept here as it is made, changed and deleted. So is the moment of each change: a
user's expected transitions are the boundaries of the meetings that stood at the time. The simulator's
own oracle is asked for the same, and has to agree.
"""

import dataclasses
import math
import time

DAY = 86400
# Which of several at once is shown, and as what.
RANK = {"free": 0, "workingelsewhere": 1, "tentative": 2, "busy": 3, "oof": 4}
SHOWN = {"busy": "busy", "oof": "away"}  # all else: available


@dataclasses.dataclass(frozen=True)
class Meeting:
    subject: str
    start: int  # epoch seconds; of a series: of its first occurrence
    end: int
    status: str = "busy"
    every: int = 0  # a series' period in days, 0: once
    count: int = 1
    without: frozenset = frozenset()  # occurrences of a series that are deleted
    private: bool = False
    all_day: bool = False

    def spans(self):
        """Its occurrences: [start, end) each."""
        for i in range(self.count):
            if i not in self.without:
                yield self.start + i * self.every * DAY, self.end + i * self.every * DAY

    def covers(self, at):
        return any(start <= at < end for start, end in self.spans())


def first_of(meetings, at):
    """The meeting that is shown at a time, None while there is none."""
    return max((m for m in meetings if m.covers(at)), key=lambda m: RANK[m.status], default=None)


def availability(meetings, at):
    meeting = first_of(meetings, at)
    return SHOWN.get(meeting.status, "available") if meeting else "available"


class Day:
    """A user's calendar: versions, each the meetings that stand from a moment on."""

    def __init__(self):
        self.versions = [(-math.inf, ())]

    @property
    def meetings(self):
        return self.versions[-1][1]

    def subject(self, at):
        """What the calendar says of a moment that is now or to come."""
        meeting = first_of(self.meetings, at)
        return meeting.subject if meeting else ""

    def timeline(self, begin, end):
        """[(time, availability)]: at begin, and each change from then to end."""
        untils = [since for since, _ in self.versions[1:]] + [math.inf]
        moments = {begin: availability((), begin)}
        for (since, meetings), until in zip(self.versions, untils):
            low, high = max(since, begin), min(until, end)
            points = {low} | {t for m in meetings for span in m.spans() for t in span if low <= t}
            moments.update({t: availability(meetings, t) for t in points if t < high})
        line = []
        for t in sorted(moments):
            if not line or line[-1][1] != moments[t]:
                line.append((t, moments[t]))
        return line


class Calendars:
    """The calendars of users (AoRs, that are mailboxes too) on a simulator."""

    def __init__(self, sim, users, horizon):
        self.sim = sim
        self.horizon = horizon  # epoch seconds: until then calendars are compared with the oracle
        self.days = {user: Day() for user in users}
        self.ids = {}  # (user, subject) -> the simulator's name for it

    def _version(self, user, since, meetings):
        self.days[user].versions.append((since, tuple(meetings)))

    def find(self, user, subject):
        return next(m for m in self.days[user].meetings if m.subject == subject)

    def put(self, plan):
        """plan: [(user, Meeting)], made in one go."""
        since = time.time()
        bodies = []
        for user, m in plan:
            body = {"mailbox": user, "subject": m.subject, "start": m.start, "end": m.end,
                    "status": m.status, "private": m.private, "all_day": m.all_day}
            if m.every:
                body["recurrence"] = {"type": "daily", "interval": m.every, "count": m.count}
            bodies.append(body)
        answers = self.sim.request("POST", "/meetings", bodies)
        for (user, m), answer in zip(plan, answers):
            self.ids[user, m.subject] = answer["id"]
            self._version(user, since, (*self.days[user].meetings, m))
            for occurrence in m.without:
                self.sim.request("DELETE", f"/meetings/{answer['id']}?occurrence={occurrence}")
        self.check(sorted({user for user, _ in plan}))

    def change(self, user, subject, **fields):
        """start, end, status: changed while everybody looks on."""
        since, old = time.time(), self.find(user, subject)
        self.sim.change_meeting(self.ids[user, subject], **fields)
        self._version(user, since, (dataclasses.replace(m, **fields) if m is old else m
                                    for m in self.days[user].meetings))
        self.check([user])

    def delete(self, user, subject):
        since, old = time.time(), self.find(user, subject)
        self.sim.delete_meeting(self.ids[user, subject])
        self._version(user, since, (m for m in self.days[user].meetings if m is not old))
        self.check([user])

    def check(self, users):
        """AssertionError if the oracle says other than our meetings what these users will be."""
        begin = math.ceil(time.time())
        for user in users:
            ours = self.days[user].timeline(begin, self.horizon)
            theirs, at = [], begin
            while at is not None and at < self.horizon:
                one = self.sim.expected(at, user)[user]
                theirs.append((at, one["availability"]))
                at = one["availability_until"]
            assert ours == theirs, f"the demo expects of {user} {ours}, the simulator {theirs}"
