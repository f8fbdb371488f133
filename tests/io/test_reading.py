# SPDX-License-Identifier: GPL-2.0-or-later
"""Calendars that the account can't read in company, times as servers write them, automatic replies."""

import re
import time

import pytest

from harness import Authority, Gateway


def mailbox(w, aor, **flags):
    w.sim.request("POST", "/mailboxes", {"address": aor, **flags})


def asked(w, operation):
    return w.sim.counters()["requests"][operation]


def test_without_a_right_to_free_busy(world):
    """Such users are read by FindItem, as promptly as the others; all-day, private and recurring meetings
    count; nobody is parked."""
    w = world(users=6, cas=2)
    blind = w.aors[:3]
    for aor in blind:
        mailbox(w, aor, no_freebusy=True)
    mailbox(w, w.aors[3], merged_only=True)
    midnight = int(time.time()) // 86400 * 86400
    w.sim.add_meeting(blind[0], midnight, midnight + 86400, "oof", all_day=True)
    w.sim.add_meeting(blind[1], midnight - 7 * 86400, midnight - 6 * 86400, "busy", private=True,
                      recurrence={"type": "daily", "interval": 1})
    w.meet(w.aors[3], "-600", "+3600")
    w.start()
    assert w.presence.states(w.aors[:4]) == dict(zip(w.aors, ["away", "busy", "available", "busy"]))
    assert asked(w, "FindItem") >= 3
    w.meet(blind[2], "-60", "+3")
    w.presence.wait_for(blind[2], "busy", timeout=2)
    w.presence.wait_for(blind[2], "available", timeout=6)
    assert len(w.said("read alone")) == 3 and not w.said("->parked")


def test_parked_only_when_both_ways_fail(world):
    w = world(users=3, cas=1)
    mailbox(w, w.aors[0], no_freebusy=True, denied=True)
    w.worker.start()
    w.wait_said(f"user={w.aors[0]} watch", timeout=10)
    w.wait_followed(w.aors[1:])
    assert w.said("->parked") and not w.said(f"user={w.aors[1]} watch waiting->parked")


@pytest.mark.parametrize("was, then", [
    (b"Z</t:", b"</t:"), (b"Z</t:", b".0000000Z</t:"), (b"Z</t:", b"+00:00</t:"), (b":00Z</t:", b":00.25Z</t:")],
    ids=["no zone", "fraction", "offset", "part of a second"])
def test_times_as_servers_write_them(world, folder, was, then):
    w = world(users=2, cas=1)
    g = Gateway(folder, w.sim.cas["cas1"]["url"], Authority(folder))
    w.settings["gateway"] = [g.setting("odd")]
    w.worker.write(w.settings)
    told = []

    def lie(operation, genuine):
        if operation != "FindItem":
            return None
        head, body = genuine().split(b"\r\n\r\n", 1)
        told.append(body.replace(was, then))
        head = re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(told[-1]), head)
        return [head + b"\r\n\r\n" + told[-1]]

    g.lie = lie
    mailbox(w, w.aors[0], no_freebusy=True)
    start = int(time.time()) // 60 * 60 - 60
    w.sim.add_meeting(w.aors[0], start, start + 7200)
    w.start()
    assert w.presence.states(w.aors[:1]) == {w.aors[0]: "busy"}
    assert told and then in told[-1]
    g.close()


def test_automatic_replies(world):
    """On: away from the first document on, whatever the calendar says; off again: what the calendar says. Of many it is
    asked in one request."""
    w = world(users=4, cas=1, oof_replies="yes")
    mailbox(w, w.aors[0], oof=True)
    w.meet(w.aors[0], "-60", "+3600")
    mailbox(w, w.aors[1], oof={"from": "-60", "until": "+3600"})
    w.worker.start()
    w.wait_followed()
    w.presence.wait_for(w.aors[0], "away", timeout=5)
    w.presence.wait_for(w.aors[1], "away", timeout=5)
    w.presence.wait_for(w.aors[2], "available", timeout=5)
    assert asked(w, "GetMailTips") == 1
    mailbox(w, w.aors[0], oof=False)
    mailbox(w, w.aors[2], oof=True)
    for aor in w.aors[0], w.aors[2]:  # a change in the calendar is a reason to ask soon
        w.meet(aor, "+7200", "+7300")
    w.presence.wait_for(w.aors[2], "away", timeout=14)
    w.presence.wait_for(w.aors[0], "busy", timeout=5)


def test_scheduled_replies_begin_and_end_on_time(world):
    """Of one alone it is asked what it has set, and that tells of a time to come."""
    w = world(users=1, cas=1, oof_replies="yes")
    began = time.time()
    mailbox(w, w.aors[0], oof={"from": int(began) + 6, "until": int(began) + 9})
    w.worker.start()
    w.presence.wait_for(w.aors[0], "available", timeout=4)
    w.presence.wait_for(w.aors[0], "away", timeout=6)
    assert -0.1 < time.time() - int(began) - 6 < 2
    w.presence.wait_for(w.aors[0], "available", timeout=5)
    assert asked(w, "GetUserOofSettings") == 1
