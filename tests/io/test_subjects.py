# SPDX-License-Identifier: GPL-2.0-or-later
"""note_subject: what the meeting is about that runs, as far as the account may see it."""

import re

import pytest

from harness import wait_until
from harness.process import free_port


def notes(w, aor):
    """What the last document of aor says, in tuple and person."""
    body = w.presence.of(aor)[-1].message.body.decode()
    return set(re.findall(r"note xml:lang=\"en\">([^<]*)</", body))


def wait_note(w, aor, note, timeout=8):
    wait_until(lambda: w.presence.of(aor) and notes(w, aor) == {note}, timeout,
               lambda: f"{aor} {note!r}, says {w.presence.of(aor) and notes(w, aor)}\n{w.log()}")


@pytest.mark.parametrize("gateway", ["ews", "webdav"])
def test_subjects(world, gateway):
    webdav = gateway == "webdav"
    more = {"cas": 0, "sim": ("--webdav", "2007"),
            "listen_udp": f"127.0.0.1:{free_port()}"} if webdav else {}
    w = world(transport="tcp", note_subject="yes", **more)
    alice, bob, carol, dave, eve, frank = w.aors

    def meet(aor, end="+3600", **more):
        return w.sim.request("POST", "/meetings", {"mailbox": aor, "start": "-60", "end": end, **more})

    budget = meet(alice, subject="Budget & more")
    meet(bob, subject="Surgeon", private=True)
    meet(carol, subject="Holidays", status="oof")
    meet(dave, subject="Perhaps", status="tentative")
    w.sim.request("POST", "/mailboxes", {"address": eve, "no_details": True})
    meet(eve, subject="Shown to few")
    w.sim.request("POST", "/mailboxes", {"address": frank, "no_freebusy": True})
    meet(frank, subject="Shown to nobody")
    w.start()
    wait_note(w, alice, "Busy: Budget &amp; more")
    wait_note(w, bob, "Busy")
    wait_note(w, carol, "Away: Holidays")
    wait_note(w, dave, "Available")
    if not webdav:  # what the account isn't shown isn't shown to others
        wait_note(w, eve, "Busy")
        wait_note(w, frank, "Busy")
    # renamed: another document, though nobody's availability has changed
    w.sim.change_meeting(budget["id"], subject="Plan")
    wait_note(w, alice, "Busy: Plan")
    w.sim.change_meeting(budget["id"], private=True)
    wait_note(w, alice, "Busy")
    bodies = [one.message.body.decode() for aor in w.aors for one in w.presence.of(aor)]
    log = w.worker.log()
    for hidden in ("Surgeon", "Perhaps") + (() if webdav else ("Shown to few", "Shown to nobody")):
        assert not any(hidden in body for body in bodies)
    for subject in ("Budget", "Plan", "Surgeon", "Holidays", "Perhaps", "Shown to"):
        assert subject not in log
