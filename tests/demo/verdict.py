# SPDX-License-Identifier: GPL-2.0-or-later
"""Holds what was seen against what was to be seen."""

import dataclasses
import statistics

ON_TIME_S = 2.0  # so late at most
EARLY_S = 0.05  # clocks are read twice: so much before its time is not yet wrong


@dataclasses.dataclass
class Transition:
    user: str
    at: float  # when it was to happen
    status: str
    seen: float = None  # when it was first seen; None: never
    by_clock: bool = True  # a meeting begins or ends; else the calendar was changed just then

    @property
    def late(self):
        return max(0.0, self.seen - self.at)


def match(user, expected, records, begin):
    """expected: [(time, status)], the first at begin; records: what presence-watch printed of the
    user. Returns its Transitions, and [(time, what was seen)] of what was seen besides.

    Each expected status has the time up to the next one to be seen in; whatever else is seen then is
    wrong."""
    transitions, wrong = [], []
    seen, shown = [], None
    for record in records:
        status = "twice" if max(record["tuples"], record["persons"]) > 1 else record["status"]
        if record["t"] <= begin:
            shown = status
        elif status != shown:
            seen.append((record["t"], status))
            shown = status
    ends = [at for at, _ in expected[1:]] + [float("inf")]
    for number, ((at, status), end) in enumerate(zip(expected, ends)):
        # the state at begin was there before: only what follows is looked at
        wanted = Transition(user, at, status, by_clock=at == int(at)) if number else None
        while seen and seen[0][0] < end - EARLY_S:
            t, what = seen.pop(0)
            if wanted and wanted.seen is None and what == status:
                wanted.seen = t
            else:
                wrong.append((t, what))
        if wanted:
            transitions.append(wanted)
    return transitions, wrong


@dataclasses.dataclass
class Verdict:
    transitions: list
    wrong: list  # (user, time, what was seen)

    @property
    def seen(self):
        return [t for t in self.transitions if t.seen is not None]

    @property
    def late(self):
        return [t for t in self.seen if t.late > ON_TIME_S]

    @property
    def missing(self):
        return [t for t in self.transitions if t.seen is None]

    @property
    def good(self):
        return bool(self.transitions) and not (self.late or self.missing or self.wrong)

    def lateness(self, by_clock):
        """(how many, min, median, max) in seconds of those that were seen, None without any."""
        late = [t.late for t in self.seen if t.by_clock == by_clock]
        return (len(late), min(late), statistics.median(late), max(late)) if late else None


def judge(days, timeline, begin, end):
    """days: {user: Day}; timeline: {user: records}. What was to happen from begin to end, and did."""
    verdict = Verdict([], [])
    for user, day in days.items():
        transitions, wrong = match(user, day.timeline(begin, end), timeline.get(user, []), begin)
        verdict.transitions += transitions
        verdict.wrong += [(user, t, what) for t, what in wrong]
    verdict.transitions.sort(key=lambda t: t.at)
    return verdict


class Homes:
    """Who is on which CAS, from the moment at which one is stopped. before: {user: CAS} then."""

    def __init__(self, before, stopped):
        self.before, self.stopped = before, stopped
        self.since = None
        self.took = None  # seconds until the last one had moved
        self.after = dict(before)
        self.strays = set()  # users who moved and shouldn't, or twice

    @property
    def movers(self):
        return [user for user, cas in self.before.items() if cas == self.stopped]

    @property
    def left(self):
        """Those still to move."""
        return [user for user in self.movers if self.after[user] == self.stopped]

    def look(self, homes, now):
        """homes: {user: CAS}, of those whose subscription is streamed now."""
        for user, cas in homes.items():
            was = self.after.get(user)
            if cas != was and not (was == self.stopped and user in self.before):
                self.strays.add(user)
            self.after[user] = cas
        if self.took is None and not self.left:
            self.took = now - self.since

    def good(self, homes):
        """At the end, when that is where everybody is."""
        return bool(self.movers) and not self.left and not self.strays and homes == self.after
