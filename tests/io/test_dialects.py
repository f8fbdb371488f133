# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers that say the same in other words are understood; answers that break change nothing."""

import time
from pathlib import Path

import pytest

from harness import wait_until
from harness.process import SANITIZERS

STATUSES = ["busy", "oof", "tentative", "free", "workingelsewhere"]
DIALECTS = [
    {"prefix": "other", "bom": True},
    {"prefix": "none", "comments": True},
    {"cdata": True, "chunk": 1},
    {"joined": True},
    {"prefix": "other", "bom": True, "comments": True, "cdata": True, "chunk": 5},
    {"prefix": "none", "cdata": True, "joined": True},
]
FAULTS = [
    {"how": "503"},
    {"how": "503", "retry_after": 2},
    {"how": "page"},
    {"how": "type"},
    {"how": "type", "type": "application/soap+xml"},
    {"how": "cut", "bytes": 0},
    {"how": "cut", "bytes": 333},
    {"how": "trickle"},
    {"how": "endless"},
]
KINDS = ["Subscribe", "GetStreamingEvents", "GetUserAvailability"]


def spoil(world, **fault):
    world.sim.request("POST", "/faults", fault)


def told(world):
    return [one["told"] for one in world.sim.request("GET", "/faults")]


def subscriptions(world):
    return {one["mailbox"]: one for one in world.sim.request("GET", "/subscriptions")
            if one["streamed"]}


def change(world, shift):
    for i, aor in enumerate(world.aors):
        world.meet(aor, "-60", "+3600", STATUSES[(i + shift) % len(STATUSES)])


@pytest.mark.limit(140)
def test_the_same_in_other_words(world):
    """Every server has a dialect of its own: first readings of calendars of every kind of meeting,
    subscriptions, streams, what they tell and how they end."""
    w = world(users=3 * len(DIALECTS), cas=len(DIALECTS), calendars="seeded")
    for cas, dialect in zip(w.sim.cas, DIALECTS):
        spoil(w, cas=cas, **dialect)
    w.start()
    assert set(w.per_cas().values()) == {3}
    for shift in range(3):
        change(w, shift)
        w.wait_right(timeout=4)
    before = {aor: one["id"] for aor, one in subscriptions(w).items()}
    w.sim.request("POST", "/streams/close", {})
    w.wait_followed(timeout=8)
    w.sim.drop_subscriptions(mailbox=w.aors[0])
    change(w, 3)
    w.wait_right(timeout=4)
    w.wait_followed(timeout=8)
    # nobody but that one needed another subscription: each stream was understood, also its end
    after = {aor: one["id"] for aor, one in subscriptions(w).items()}
    assert [aor for aor in w.aors if after[aor] != before[aor]] == w.aors[:1]
    # a Subscribe, a stream and its second, first readings and changes, of each
    assert min(told(w)) >= 3 + 2 + 1 + 3, told(w)
    assert not w.said("failed why="), w.said("failed why=")[:3]


def peak_kib(world):
    for line in Path(f"/proc/{world.worker.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


@pytest.mark.limit(140)
def test_faults_heal(world):
    """Every server fails in a way of its own, at one kind of request. What is shown stays or becomes
    right, never anything else, and when they are well everybody is right and followed."""
    faults = [{**fault, "kind": kind} for fault in FAULTS for kind in KINDS]
    w = world(users=2 * (len(faults) + 1), cas=len(faults) + 1)
    # what was freed counts as used while ASan keeps it
    w.worker.env["ASAN_OPTIONS"] = SANITIZERS["ASAN_OPTIONS"] + ":quarantine_size_mb=4"
    w.start(timeout=20)
    homes = w.homes()
    honest = [aor for aor, cas in homes.items() if cas == "cas1"]
    others = [aor for aor in w.aors if aor not in honest]
    peak = peak_kib(w)
    for i, fault in enumerate(faults):
        spoil(w, cas=f"cas{i + 2}", **fault)
    for cas in w.sim.cas:
        if cas != "cas1":
            w.sim.drop_subscriptions(cas=cas)
    w.sim.request("POST", "/streams/cut", {})
    for aor in w.aors:
        w.meet(aor, "-60", "+3600", "oof")
    w.wait_right(honest, timeout=6)
    end = time.monotonic() + 3
    while time.monotonic() < end:
        assert set(w.presence.states(others).values()) <= {"available", "away"}
        time.sleep(0.1)
    wait_until(lambda: all(told(w)), 8, lambda: f"everyone has failed: {told(w)}\n{w.log()}")
    grown = peak_kib(w) - peak
    assert grown < 24 << 10, f"it has grown by {grown} KiB"
    w.sim.request("DELETE", "/faults")
    # whoever lost two subscriptions in a row waits up to half a minute for the next
    w.wait_right(timeout=40)
    w.wait_followed(timeout=40)
