# SPDX-License-Identifier: GPL-2.0-or-later
"""Exchange 2003 and 2007 over WebDAV: one front end, its store's NOTIFYs, and what may go wrong with them."""

import socket
import time

import pytest

from harness import wait_until
from harness.process import own_address


def dav(world, *sim, users=6, **settings):
    """A World whose Exchange is a front end of 2007, or as sim says, and nothing else."""
    sim = ("--webdav", "2007", *sim) if "--webdav" not in sim else sim
    return world(users=users, cas=0, sim=sim, listen_udp=f"{own_address()}:50020", **settings)


def requests(world):
    return world.sim.counters()["requests"]


def at_once(w, aor, calendar, do, *args, **kwargs):
    """Long before the next poll that nobody asks for."""
    done = do(*args, **kwargs)
    w.presence.wait_for(aor, calendar, timeout=2)
    return done


@pytest.mark.parametrize("sim", [("--webdav", "2003", "--folders", "mixed", "--forms"),
                                 ("--webdav", "2007", "--folders", "ja", "--dav-urls", "backend")])
def test_from_start_to_change(world, sim):
    """Everybody is right from the start on, whatever the calendar is called and whoever the URLs name; then
    adding, changing, deleting and series are shown by the NOTIFY."""
    w = dav(world, *sim, users=40, calendars="seeded")
    w.meet(w.aors[0], "-600", "+7200")
    w.meet(w.aors[1], "-600", "+7200", "oof")
    w.start()
    assert set(w.expected().values()) == {"available", "busy", "away"}
    counters = w.sim.counters()
    assert counters["requests"]["SUBSCRIBE"] == 40 and counters["failed_logins"] == 0, counters
    assert counters["requests"]["logon"] == ("--forms" in sim)
    aor = next(aor for aor in w.aors if w.expected([aor])[aor] == "available")
    for meeting in w.sim.request("GET", f"/meetings?mailbox={aor}&from=%2B0&to=%2B7200"):
        w.sim.request("DELETE", f"/meetings/{meeting['id']}")
    meeting = at_once(w, aor, "busy", w.meet, aor, "-60", "+3600")
    at_once(w, aor, "away", w.sim.change_meeting, meeting, status="oof")
    at_once(w, aor, "available", w.sim.delete_meeting, meeting)
    series = at_once(w, aor, "busy", w.meet, aor, "-3", "+3600",
                        recurrence={"type": "daily", "interval": 1, "count": 3})
    at_once(w, aor, "available", w.sim.request, "DELETE", f"/meetings/{series}?occurrence=0")
    w.wait_right()


def test_the_session_ends_in_the_middle(world):
    """One new form for all who are asked to log in again, and no failed login."""
    w = dav(world, "--forms").start()
    assert requests(w)["logon"] == 1
    w.sim.end_sessions()
    for aor in w.aors:
        w.meet(aor, "-60", "+3600")
    w.wait_right(timeout=4)
    counters = w.sim.counters()
    assert counters["requests"]["logon"] == 2 and counters["failed_logins"] == 0, counters


def test_a_wrong_password_is_said_once(world):
    """A form that refuses: the pool is held, as with any login that never was good."""
    w = dav(world, "--forms")
    w.sim.request("POST", "/account", {"password": "changed"})
    w.worker.start()
    w.wait_said("pool login open->held")
    assert w.said("refuses account or password")
    time.sleep(1)
    assert w.sim.counters()["failed_logins"] == 1


def test_forged_and_lost_notifications(world):
    """Whoever doesn't know the token isn't heard, and a NOTIFY that says too much is only a hint."""
    w = dav(world).start()
    call_back = w.sim.request("GET", "/subscriptions")[0]["call_back"]
    (host, port), path = call_back.split("/")[2].split(":"), call_back.split("/", 3)[3]
    polls, reads = requests(w)["POLL"], requests(w)["SEARCH"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        def notify(to, ids):
            one.sendto(f"NOTIFY httpu://127.0.0.1/{to} HTTP/1.1\r\nSubscription-id: {ids}\r\n\r\n"
                       .encode(), (host, int(port)))

        for i in range(300):
            notify("0" * 32 + "/00000000", i)
        one.sendto(b"\0" * 9000, (host, int(port)))
        time.sleep(0.8)
        assert (requests(w)["POLL"], requests(w)["SEARCH"]) == (polls, reads)
        known = w.sim.request("GET", "/subscriptions")[0]["id"]
        for _ in range(100):  # with the token, about nothing
            notify(path, "4711")
            notify(path, known)
        wait_until(lambda: requests(w)["POLL"] > polls, 3, "a POLL after a hint")
        time.sleep(0.8)
        assert requests(w)["POLL"] <= polls + 3 and requests(w)["SEARCH"] == reads
    w.stays(0.3)


def test_the_store_forgets(world):
    """Subscriptions that are gone are made anew, and what changed meanwhile is read."""
    w = dav(world).start()
    w.sim.webdav(lose_notify=1)
    w.meet(w.aors[0], "-60", "+3600")
    time.sleep(0.5)
    w.sim.webdav(lose_notify=0)
    w.sim.shut_down_store()
    w.wait_followed(timeout=10)
    w.wait_right()
    at_once(w, w.aors[1], "busy", w.meet, w.aors[1], "-60", "+3600")


def test_the_front_end_is_down_and_back(world):
    """What was published stands; after the return everybody is right and followed again."""
    w = dav(world).start()
    w.meet(w.aors[0], "-60", "+3600")
    w.wait_right()
    w.sim.fail("owa1", "refuse")
    w.meet(w.aors[1], "-60", "+3600")  # its NOTIFY makes us notice
    w.wait_said("gateway=owa1 up->down")
    assert w.presence.states(w.aors[:1]) == {w.aors[0]: "busy"}
    w.sim.heal("owa1")
    w.wait_said("gateway=owa1 up", timeout=8)
    w.wait_right(timeout=8)
    w.wait_followed()
    at_once(w, w.aors[2], "busy", w.meet, w.aors[2], "-60", "+3600")


@pytest.mark.parametrize("status", [403, 401, 302])
def test_no_right_on_a_mailbox(world, status):
    """Without Receive As, or where the mailbox is at another front end, its published free/busy is taken; who has
    published none is parked. Nobody else notices, though a front end may say it as if the login were wrong."""
    w = dav(world)
    why = {"back_end": "https://exbe2.example.test"} if status == 302 else {"denied": True}
    w.sim.webdav(publish_lag=0, **({} if status == 302 else {"denied_status": status}))
    w.sim.request("POST", "/mailboxes", {"address": w.aors[0], **why})
    w.sim.request("POST", "/mailboxes", {"address": w.aors[1], **why, "no_freebusy": True})
    now = time.time() // 900 * 900
    w.meet(w.aors[0], now, now + 1800)
    w.worker.start()
    w.presence.wait_for(w.aors[0], "busy", timeout=8)
    w.wait_said(f"user={w.aors[1]} watch", timeout=8)
    wait_until(lambda: any("->parked" in line for line in w.said(f"user={w.aors[1]} watch")), 8,
               lambda: f"parked\n{w.log()}")
    w.wait_followed(w.aors[2:])
    assert not w.said("->held") and not w.said("up->down"), w.log()


def test_polled_only(world):
    """subscription=pull: no Call-Back, nothing is listened to."""
    w = dav(world, subscription="pull").start()
    assert [one["call_back"] for one in w.sim.request("GET", "/subscriptions")] == [""] * 6
    assert not w.said("notify=")


def test_a_server_without_webdav(world):
    w = dav(world, "--webdav", "2010")
    w.worker.start()
    said = w.wait_said("up->down", timeout=8)[0]
    assert "Exchange 2010" in said and "type=ews" in said, said


def test_reminders(world):
    """What, when and where; a private meeting says only that there is one, and who lost the right is told the time."""
    w = dav(world, remind_before=60, remind_zone="UTC").start()
    alice, bob, carol = w.aors[:3]

    def meet(aor, **more):
        one = w.sim.request("POST", "/meetings", {"mailbox": aor, "start": "+62", "end": "+1800", **more})
        return "–".join(time.strftime("%H:%M", time.gmtime(one[at])) for at in ("start", "end"))

    budget = meet(alice, subject="Budget & more", location="Room 5")
    doctor = meet(bob, subject="Doctor", location="Hospital", private=True)
    moved = w.sim.add_meeting(carol, "+300", "+1800", subject="Moved", location="")
    wait_until(lambda: w.presence.texts(alice) and w.presence.texts(bob), 15,
               lambda: f"{w.presence.messages}\n{w.log()}")
    assert w.presence.texts(alice) == [f"Meeting {budget}: Budget & more (Room 5)"]
    assert w.presence.texts(bob) == [f"Private meeting {doctor}"]
    w.sim.change_meeting(moved, start="+40")
    wait_until(lambda: w.presence.texts(carol), 10, w.log)
    assert w.presence.texts(carol)[0].endswith(": Moved")
    assert len(w.presence.messages) == 3
    assert "Budget" not in w.worker.log() and "Doctor" not in w.worker.log()
