# SPDX-License-Identifier: GPL-2.0-or-later
"""Calendars become publications: all statuses, begin and end of meetings, changes."""

import math
import time

import pytest

from harness import wait_until
from harness.process import PATIENCE

DAY = 86400


def availability_reads(world):
    return world.sim.counters()["requests"]["GetUserAvailability"]


def test_cold_start(world):
    """300 users over 3 CAS: right before they are subscribed, then all followed, evenly."""
    w = world(users=300, cas=3, calendars="seeded")
    w.worker.start()
    w.wait_right(timeout=10)
    w.wait_followed(timeout=20)
    assert w.per_cas() == {"cas1": 100, "cas2": 100, "cas3": 100}
    # round robin, in the order of the settings
    homes = w.homes()
    for i, aor in enumerate(w.aors):
        assert homes[aor] == f"cas{i % 3 + 1}", (aor, homes[aor])
    # all three statuses are there, so right means something
    assert set(w.expected().values()) == {"available", "busy", "away"}
    first = {}
    for one in w.presence.publishes:
        first.setdefault(one.aor, one)
    assert all(one.op == "initial" and one.answer == 200 for one in first.values())
    # one reading each when it is new, one when its stream runs; and the first probe. A gateway that is slow to
    # answer is probed too.
    counters = w.sim.counters()
    assert counters["mailboxes_asked"] <= 610, counters["mailboxes_asked"]
    assert not counters["refusals"] and counters["failed_logins"] == 0, counters


def quiet(world):
    """Everybody is followed and was read again because of it: nothing more is to be asked."""
    def asked():
        return world.sim.counters()["mailboxes_asked"]

    wait_until(lambda: asked() >= 2 * len(world.aors), 3,
               lambda: f"all read twice: {world.sim.counters()}")
    before = None
    while before != (before := asked()):
        time.sleep(0.4)


def test_begin_and_end(world):
    """Meetings begin and end within 1 s of their time, and nobody is asked about it (P1). Where
    one ends and another begins nothing is published in between."""
    w = world(users=8)
    begins = math.ceil(time.time()) + 8
    for i, aor in enumerate(w.aors[:4]):
        w.meet(aor, begins, begins + 1 + i % 2, ["busy", "oof"][i // 2])
    w.meet(w.aors[4], begins - 60, begins)
    w.meet(w.aors[4], begins, begins + 600)
    w.meet(w.aors[5], begins - 60, begins)
    w.meet(w.aors[5], begins, begins + 600, "oof")
    w.start()
    quiet(w)
    reads = availability_reads(w)
    assert time.time() < begins, "the start took too long for this test"
    w.wait_right(timeout=begins + 1 - time.time())
    time.sleep(max(0, begins + 2.2 - time.time()))
    w.wait_right(timeout=1)
    for i, aor in enumerate(w.aors[:4]):
        calendar = ["busy", "away"][i // 2]
        came = w.presence.of(aor)
        assert [one.calendar for one in came] == ["available", calendar, "available"]
        assert [one.op for one in came] == ["initial", "modify", "modify"]
        assert 0 <= came[1].t - begins <= PATIENCE and 0 <= came[2].t - begins - 1 - i % 2 <= PATIENCE, came
    assert availability_reads(w) == reads
    assert {one.calendar for one in w.presence.of(w.aors[4])} == {"busy"}
    assert [one.calendar for one in w.presence.of(w.aors[5])] == ["busy", "away"]
    # nobody heard anything of the others
    assert [one.op for one in w.presence.of(w.aors[7])] == ["initial"]


def test_changes(world):
    """Add, change, move and delete are shown within 2 s (P2)."""
    w = world().start()
    aor, other = w.aors[0], w.aors[1]

    def within_2_s(calendar, do, *args, **kwargs):
        began = time.time()
        done = do(*args, **kwargs)
        came = w.presence.wait_for(aor, calendar, timeout=5)
        assert came.t - began < 2, f"{calendar} after {came.t - began:.1f} s\n{w.log()}"
        return done

    meeting = within_2_s("busy", w.meet, aor, "-60", "+3600")
    within_2_s("away", w.sim.change_meeting, meeting, status="oof")
    within_2_s("available", w.sim.change_meeting, meeting, start="+600")
    within_2_s("away", w.sim.change_meeting, meeting, start="-10")
    within_2_s("available", w.sim.delete_meeting, meeting)
    meeting = within_2_s("busy", w.meet, aor, "-60", "+3600")
    within_2_s("available", w.sim.request, "DELETE", f"/meetings/{meeting}?how=move")
    series = within_2_s("busy", w.meet, aor, "-3", "+3600",
                        recurrence={"type": "daily", "interval": 1, "count": 3})
    within_2_s("available", w.sim.request, "DELETE", f"/meetings/{series}?occurrence=0")
    assert [one.op for one in w.presence.of(other)] == ["initial"]


def test_a_change_moves_the_deadline(world):
    """A running meeting is made shorter: it ends then, not when it would have ended before."""
    w = world().start()
    meeting = w.meet(w.aors[0], "-60", "+3600")
    w.presence.wait_for(w.aors[0], "busy")
    ends = math.ceil(time.time()) + 2
    w.sim.change_meeting(meeting, end=ends)
    came = w.presence.wait_for(w.aors[0], "available", timeout=6)
    assert 0 <= came.t - ends <= 1


def test_statuses(world):
    """Each status, alone and over another, with a neighbour that begins where it ends."""
    w = world(users=14)
    hour = {"start": "-3600", "end": "+3600"}
    now = int(time.time())
    midnight = now - now % DAY
    cases = {
        "free": [{**hour, "status": "free"}],
        "tentative": [{**hour, "status": "tentative"}],
        "busy": [{**hour, "status": "busy"}],
        "oof": [{**hour, "status": "oof"}],
        "workingelsewhere": [{**hour, "status": "workingelsewhere"}],
        "oof over busy": [{**hour, "status": "busy"}, {**hour, "status": "oof"}],
        "busy over tentative": [{**hour, "status": "tentative"}, {**hour, "status": "busy"}],
        "tentative over free": [{**hour, "status": "free"}, {**hour, "status": "tentative"}],
        "oof within busy": [{**hour, "status": "busy"},
                            {"start": "-60", "end": "+1800", "status": "oof"}],
        "ended": [{"start": "-3600", "end": now - 1, "status": "busy"}],
        "all day": [{"start": midnight, "end": midnight + DAY, "status": "oof", "all_day": True}],
        "all day, free": [{"start": midnight, "end": midnight + DAY, "status": "free",
                           "all_day": True}],
        "daily since last week": [{"start": now - 7 * DAY - 600, "end": now - 7 * DAY + 3600,
                                   "status": "busy",
                                   "recurrence": {"type": "daily", "interval": 1, "count": 30}}],
        "weekly, over": [{"start": now - 28 * DAY - 600, "end": now - 28 * DAY + 3600,
                          "status": "busy",
                          "recurrence": {"type": "weekly", "interval": 1, "count": 2}}],
    }
    right = ["available", "available", "busy", "away", "available", "away", "busy", "available",
             "away", "available", "away", "available", "busy", "available"]
    for aor, meetings in zip(w.aors, cases.values()):
        for one in meetings:
            w.meet(aor, **one)
    w.start()
    shown = w.presence.states(w.aors)
    assert dict(zip(cases, (shown[aor] for aor in w.aors))) == dict(zip(cases, right))


def test_map(world):
    w = world(map=["tentative=busy", "oof=busy", "busy=away"])
    for aor, status in zip(w.aors, ["tentative", "oof", "busy", "workingelsewhere", "free"]):
        w.meet(aor, "-60", "+3600", status)
    w.worker.start()
    w.presence.wait_all(dict(zip(w.aors, ["busy", "busy", "away", "available", "available",
                                          "available"])))


def test_map_workingelsewhere(world):
    w = world(map="workingelsewhere=away")
    w.meet(w.aors[0], "-60", "+3600", "workingelsewhere")
    w.worker.start()
    w.presence.wait_for(w.aors[0], "away", timeout=5)


def test_a_private_meeting_says_nothing(world):
    """Neither subject nor place is in any document or line of the log."""
    w = world().start()
    w.meet(w.aors[0], "-60", "+3600", subject="Plan Aurora", location="Vault 7", private=True)
    came = w.presence.wait_for(w.aors[0], "busy")
    for words in ("Aurora", "Vault"):
        assert words.encode() not in came.message.body
        assert words not in w.worker.log()


def test_a_storm_of_changes_is_gathered(world):
    """50 changes a second cost at most 0.3 readings each, and the last state is right (P2)."""
    w = world(users=50, cas=2).start()
    reads, began = availability_reads(w), time.monotonic()
    for i in range(100):
        w.meet(w.aors[i % 50], "-60", "+3600", ["busy", "oof"][i // 50])
        time.sleep(max(0, began + (i + 1) / 50 - time.monotonic()))
    w.wait_right(timeout=2)
    reads = availability_reads(w) - reads
    assert reads <= 30, f"{reads} readings for 100 changes"


def test_polling_only(world):
    """subscription=none: nobody is subscribed, everybody is read."""
    w = world(subscription="none")
    w.meet(w.aors[2], "-60", "+3600")
    w.worker.start()
    w.wait_right()
    counters = w.sim.counters()["requests"]
    assert counters["Subscribe"] == counters["GetStreamingEvents"] == 0


def test_an_old_exchange(world):
    """2010 SP1 is the oldest that streams; envelopes may be written with prefixes."""
    w = world(sim=["--version", "2010_SP1", "--stream", "prefixed", "--heartbeat", 1]).start()
    w.meet(w.aors[0], "-60", "+3600", "oof")
    w.presence.wait_for(w.aors[0], "away", timeout=3)
    assert w.sim.counters()["streams"] == 2


def test_older_than_streaming(world):
    """2007 has no streams: its users are followed all the same."""
    w = world(sim=["--version", "2007_SP1"])
    w.meet(w.aors[0], "-60", "+3600", "oof")
    w.worker.start()
    said = w.wait_said('version=Exchange2007_SP1 subscription=pull', timeout=10)
    assert 'server="Exchange 8.' in said[0], said[0]
    w.wait_right(timeout=8)

    def kinds():
        return [one["kind"] for one in w.sim.request("GET", "/subscriptions")]

    wait_until(lambda: kinds() == ["pull"] * len(w.aors), 8, kinds)
    assert w.sim.counters()["streams"] == 0
