# SPDX-License-Identifier: GPL-2.0-or-later
"""Who is in the demo, and their day: overlaps, meetings back to back, series, and all that shows as
something else than Busy."""

from days import Meeting

DOMAIN = "example.test"
NAMES = ("alice bob carol dave erin frank grace heidi ivan judy kevin laura mike nina oscar peggy "
         "quinn rupert sybil trent ursula victor").split()
SPARE = ("rupert", "sybil", "trent", "ursula", "victor")  # free for what is decided on the way
ALL_HANDS = ("alice", "bob", "dave", "erin", "frank", "grace", "ivan", "kevin", "mike", "oscar",
             "rupert", "victor")


def aor(name):
    return f"{name}@{DOMAIN}"


def name_of(user):
    return user.partition("@")[0]


def plan(t0):
    """[(AoR, Meeting)]: what is in the calendars before anything starts; t0: the demo's second 0."""
    today = int(t0) // 86400 * 86400

    def m(subject, start, end, status="busy", **more):
        return Meeting(subject, t0 + start, t0 + end, status, **more)

    def daily(subject, start, end, first_day, count, **more):
        ago = first_day * 86400
        return m(subject, start - ago, end - ago, every=1, count=count, **more)

    days = {
        "alice": [m("Budget review", 4, 16)],
        "bob": [m("Stand-up", 6, 14), m("Planning", 14, 22)],
        "carol": [m("Workshop", 5, 30), m("Dentist", 12, 20, "oof")],
        "dave": [m("Perhaps a visitor", 3, 45, "tentative"), m("Interview", 18, 26)],
        "erin": [m("Vacation", -7 * 86400, 10, "oof"), m("Handover", 10, 24)],
        "frank": [daily("Daily stand-up", 8, 19, 3, 10)],
        "grace": [daily("Daily report", 11, 33, 2, 10, without=frozenset([2])),
                  m("One-to-one", 21, 29)],
        "heidi": [Meeting("Birthday", today, today + 86400, "free", all_day=True),
                  m("Call", 15, 23)],
        "ivan": [m("Home office", -3600, 50, "workingelsewhere"), m("Code review", 20, 28)],
        "judy": [m("Design", 5, 15), m("Train", 15, 27, "oof"), m("Arrival", 43, 49)],
        "kevin": [m("Call 1", 5, 8), m("Call 2", 12, 15), m("Call 3", 19, 22), m("Call 4", 26, 29)],
        "laura": [m("Private matters", 9, 25, private=True)],
        "mike": [m("Board meeting", -600, 17)],
        "nina": [m("Training", 41, 50)],
        "oscar": [m("Offsite", -600, 900, "oof")],
        "peggy": [m("Review", 38, 46)],
        "quinn": [m("Retrospective", 6, 18)],
        "rupert": [m("Lunch", 5, 13)],
        "sybil": [m("On the road", 7, 12, "oof"), m("Perhaps a call", 40, 47, "tentative")],
        "trent": [m("Press call", 6, 11)],
        "ursula": [m("Sales", 8, 14), m("Sales dinner", 42, 48)],
        "victor": [m("Training", 4, 10), m("Exam", 8, 13)],
    }
    for name in ALL_HANDS:
        days[name].append(m("All hands", 33, 39))
    return [(aor(name), meeting) for name in NAMES for meeting in days[name]]
