# SPDX-License-Identifier: GPL-2.0-or-later
"""MESSAGE before a meeting: what, when and where, as far as the calendar may be read."""

import time

from harness import SILENT, wait_until

BEFORE = {"remind_before": 60, "remind_zone": "Asia/Kolkata"}


def when(meeting, zone=5.5 * 3600):
    """How a meeting's time is written."""
    return "–".join(time.strftime("%H:%M", time.gmtime(meeting[at] + zone)) for at in ("start", "end"))


def meet(world, aor, start, end, **more):
    """start, end: seconds from now; returns what the simulator made of it."""
    return world.sim.request("POST", "/meetings", {"mailbox": aor, "start": f"+{start}",
                                                   "end": f"+{end}", **more})


def wait_texts(world, aor, *texts, timeout=10):
    wait_until(lambda: len(world.presence.texts(aor)) >= len(texts), timeout,
               lambda: f"{texts}, got {world.presence.texts(aor)}\n{world.log()}")
    assert world.presence.texts(aor) == list(texts)


def test_what_when_and_where(world):
    w = world(transport="udp", note_lang="de", **BEFORE).start()
    alice, bob, carol, dave = w.aors[:4]
    budget = meet(w, alice, 62, 1800, subject="Budget", location="Raum 5")
    doctor = meet(w, bob, 63, 1800, subject="Doctor", location="Hospital", private=True)
    meet(w, carol, 62, 1800, subject="Free", status="free")
    moved = meet(w, carol, 300, 1800, subject="Moved", status="tentative")
    gone = meet(w, dave, 64, 1800, subject="Gone")
    w.sim.delete_meeting(gone["id"])
    wait_texts(w, alice, f"Besprechung {when(budget)}: Budget (Raum 5)")
    wait_texts(w, bob, f"Private Besprechung {when(doctor)}")
    message = w.presence.messages[0]
    assert message["From"].startswith(f"<sip:{alice}>;tag=") and message["Content-Language"] == "de"
    assert message["Content-Type"] == "text/plain;charset=UTF-8"
    assert 55 <= int(message["Expires"]) <= 60
    # moved to within the minute: at once
    w.sim.change_meeting(moved["id"], start="+40")
    wait_until(lambda: w.presence.texts(carol), 10, w.log)
    assert w.presence.texts(carol)[0].endswith(": Moved")
    assert not w.presence.texts(dave)
    assert len(w.presence.messages) == 3
    # neither log nor board has any of it
    assert "Budget" not in w.worker.log() and "Doctor" not in w.worker.log()


def test_answers(world):
    """480 is tried again, with what holds then; who isn't there isn't; a silent phone is its own trouble."""
    w = world(transport="tcp", remind_from="calendar@example.test", user=(), **BEFORE)
    alice, bob, carol, quiet = w.aors[:4]
    said = {}

    def rule(message):
        said[message.aor] = said.get(message.aor, 0) + 1
        return {alice: 480 if said[message.aor] == 1 else 200, bob: 404, carol: SILENT}[message.aor]

    w.presence.message_rule = rule
    users = w.folder / "users.csv"
    users.write_text("".join(f"{aor},,on,{'quiet' if aor == quiet else 'remind'}\n"
                             for aor in w.aors))
    w.worker.write({**w.settings, "users_file": users})
    w.worker.start()
    w.wait_followed(w.aors)
    one = meet(w, alice, 62, 1800, subject="One")
    for aor in (bob, carol, quiet):
        meet(w, aor, 62, 1800, subject="One")
    wait_until(lambda: len(w.presence.messages) >= 3, 10, w.log)
    assert all(m["From"].startswith("<sip:calendar@example.test>;") for m in w.presence.messages)
    w.sim.change_meeting(one["id"], subject="Two")
    # the presence server goes on as if nothing were
    w.meet(w.aors[5], "-60", "+3600")
    w.presence.wait_for(w.aors[5], "busy", timeout=3)
    wait_until(lambda: len(w.presence.texts(alice)) == 2, 20, w.log)
    assert w.presence.texts(alice)[1].endswith(": Two")
    w.wait_said(f"user={alice} reminded meetings=1")
    w.wait_said(f"user={bob} reminder gave_up status=404")
    assert len(w.presence.texts(bob)) == 1 and not w.presence.texts(quiet)
    w.wait_right(w.aors)


def test_without_the_right_to_see_details(world):
    """The account sees free/busy only, or not even that, and reads by FindItem: the mailbox itself is asked, under
    impersonation."""
    w = world(transport="tcp", **BEFORE)
    seen, hidden = w.aors[:2]
    w.sim.request("POST", "/mailboxes", {"address": seen, "no_details": True})
    w.sim.request("POST", "/mailboxes", {"address": hidden, "no_freebusy": True})
    w.start()
    assert w.sim.counters()["requests"]["FindItem"] >= 1
    one = meet(w, seen, 62, 1800, subject="Seen", location="")
    other = meet(w, hidden, 62, 1800, subject="Found", location="Roof")
    wait_texts(w, seen, f"Meeting {when(one)}: Seen")
    wait_texts(w, hidden, f"Meeting {when(other)}: Found (Roof)")


def test_details_not_wanted(world):
    w = world(transport="tcp", remind_details="no", **BEFORE).start()
    aor = w.aors[0]
    one = meet(w, aor, 62, 1800, subject="Never read")
    wait_texts(w, aor, f"Meeting {when(one)[:5]}")
