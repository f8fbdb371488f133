# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that fail, streams that end, users that Exchange refuses: who moves, what stays shown."""

import time

import pytest

from harness import wait_until


def ids(world):
    return {one["mailbox"]: one["id"] for one in world.sim.request("GET", "/subscriptions")
            if one["streamed"]}


def subscribes(world):
    return {name: cas["requests"]["Subscribe"]
            for name, cas in world.sim.counters()["cas"].items()}


def of_cas(world, cas):
    return [aor for aor, home in world.homes().items() if home == cas]


def moved(world, before, cas, timeout=15):
    """Waits until those of `cas`, and only they, are elsewhere; returns where everybody is."""
    gone = {aor for aor, home in before.items() if home == cas}

    def there():
        now = world.homes()
        return now if set(now) == set(before) and cas not in now.values() else None

    now = wait_until(there, timeout, lambda: f"those of {cas} elsewhere: {world.per_cas()}\n"
                                             f"{world.log()}")
    assert {aor for aor in before if now[aor] != before[aor]} == gone
    return now


def test_one_is_refused(world):
    """A CAS is gone: its users move, evenly, and only they; what changes meanwhile is shown; when
    it is back nobody moves, and the next who needs a CAS gets it."""
    w = world(users=30, cas=3).start()
    before, asked = w.homes(), subscribes(w)
    gone = of_cas(w, "cas2")
    w.sim.fail("cas2", "refuse")
    w.meet(gone[0], "-60", "+3600")
    w.meet(gone[1], "-60", "+3600", "oof")
    stays = of_cas(w, "cas1")[0]
    w.meet(stays, "-60", "+3600")
    w.wait_right([stays], timeout=2)
    after = moved(w, before, "cas2")
    w.wait_right(timeout=3)
    homes = list(after.values())
    assert (homes.count("cas1"), homes.count("cas3")) == (15, 15)
    now = subscribes(w)
    assert [now[name] - asked[name] for name in ("cas1", "cas3")] == [5, 5]
    assert len(w.said("up->down")) == 1 and "gateway=cas2" in w.said("up->down")[0]
    # nothing was withdrawn or shown wrong
    assert all(one.op in ("initial", "modify", "refresh") for one in w.presence.publishes)
    assert {one.calendar for one in w.presence.of(gone[2])} == {"available"}

    w.sim.heal("cas2")
    w.wait_said("notice gateway=cas2 up", timeout=8)
    time.sleep(0.5)
    assert w.homes() == after
    w.sim.drop_subscriptions(mailbox=stays)
    wait_until(lambda: w.homes().get(stays) == "cas2", 6,
               lambda: f"{stays} on cas2\n{w.log()}")


def test_one_is_dead_from_the_start(world):
    w = world(users=9, cas=3)
    w.sim.fail("cas1", "refuse")
    w.start()
    assert w.per_cas() == {"cas1": 0, "cas2": 5, "cas3": 4} or \
        w.per_cas() == {"cas1": 0, "cas2": 4, "cas3": 5}


def test_one_is_frozen(world):
    """A machine that is stopped: connects are taken and nothing follows. (Silence on a connection
    that stands takes 90 s to notice: tests/sim has that.)"""
    w = world(users=6, cas=3).start()
    before = w.homes()
    gone = of_cas(w, "cas1")
    w.sim.request("POST", "/cas/cas1/fail", {"how": "cut"})
    w.sim.fail("cas1", "freeze")
    w.meet(gone[0], "-60", "+3600")
    moved(w, before, "cas1", timeout=25)
    w.wait_right(timeout=3)
    assert len(w.said("gateway=cas1 up->down")) == 1


def test_throttled(world):
    """Nobody moves; what changed is shown when the server may be asked again."""
    w = world(users=6, cas=3).start()
    before = ids(w)
    w.sim.fail("cas1", "503", retry_after=2)
    w.sim.fail("cas2", "busy", retry_after=2)
    for aor in w.aors[:3]:
        w.meet(aor, "-60", "+3600")
    w.presence.wait_for(w.aors[2], "busy", timeout=2)
    w.wait_said("code=HTTP 503", timeout=2)
    w.wait_said("code=ErrorServerBusy", timeout=2)

    def asked():
        counters = w.sim.counters()["cas"]
        return [counters[cas]["requests"] for cas in ("cas1", "cas2")]

    told = asked()
    time.sleep(0.8)
    assert asked() == told, "they were to be left alone for 2 s"
    w.sim.heal("cas1")
    w.sim.heal("cas2")
    w.wait_right(timeout=4)
    assert ids(w) == before and not w.said("up->down")


def test_nothing_there(world):
    """404: that server is of no use, and the log says what a URL looks like."""
    w = world(users=6, cas=2).start()
    before = w.homes()
    w.sim.fail("cas1", "404")
    w.meet(w.aors[0], "-60", "+3600")
    moved(w, before, "cas1")
    w.wait_right(timeout=2)
    assert "/EWS/Exchange.asmx" in w.said("gateway=cas1 up->down")[0]


def test_login_refused_by_one(world):
    """The others go on; the account isn't tried there again and again."""
    w = world(users=30, cas=3).start()
    before = w.homes()
    w.sim.fail("cas1", "401")
    for aor in of_cas(w, "cas1")[:5]:
        w.meet(aor, "-60", "+3600")
    moved(w, before, "cas1")
    w.wait_right(timeout=3)
    assert w.said("gateway=cas1 refused")
    failed = w.sim.counters()["cas"]["cas1"]["refusals"]
    assert sum(failed.values()) <= 3, failed


def test_login_refused_by_all(world):
    """The password has changed: everything is held, nothing moves, meetings begin and end."""
    w = world(users=30, cas=3, sim=["--latency-ms", 20])
    now = int(time.time())
    w.meet(w.aors[3], now - 60, now + 6)
    w.start()
    before = w.homes()
    w.sim.request("POST", "/account", {"password": "another"})
    for aor in w.aors[:3]:
        w.meet(aor, "-60", "+3600")
    said = w.wait_said("pool login open->held", timeout=5)[0]
    assert "HTTP 401" in said and "account" in said, said
    w.presence.wait_for(w.aors[3], "available", timeout=6)
    assert w.homes() == before
    failed = w.sim.counters()["failed_logins"]
    # one change was read at each of the three, one was asked twice, another once
    assert failed <= 5, f"{failed} failed logins can lock an account"


def test_wrong_password_from_the_start(world):
    w = world(users=60, cas=3)
    w.sim.request("POST", "/account", {"password": "another"})
    w.worker.start()
    w.wait_said("pool login open->held", timeout=5)
    time.sleep(1)
    failed = w.sim.counters()["failed_logins"]
    assert failed <= 5, f"{failed} failed logins can lock an account\n{w.log()}"
    assert not w.presence.publishes


def test_users_of_their_own_trouble(world):
    """No right to impersonate, none of either kind, no mailbox: that user is left alone, and the
    others are what they are."""
    w = world(users=12, cas=2)
    denied, hidden, missing = w.aors[1], w.aors[4], w.aors[6]
    w.sim.request("POST", "/mailboxes", {"address": denied, "denied": True})
    w.sim.request("POST", "/mailboxes", {"address": hidden, "no_freebusy": True,
                                             "denied": True})
    w.sim.request("DELETE", f"/mailboxes/{missing}")
    others = [aor for aor in w.aors if aor not in (denied, hidden, missing)]
    for aor in others[::2]:
        w.meet(aor, "-60", "+3600")
    w.worker.start()
    w.wait_right(others)
    w.wait_followed(others)
    for aor, code in ((denied, "ErrorImpersonateUserDenied"), (hidden, "ErrorImpersonateUserDenied"),
                      (missing, "ErrorNonExistentMailbox|ErrorMailRecipientNotFound")):
        line = w.wait_said(f"user={aor} watch ")
        parked = [one for one in w.said(f"user={aor} watch ") if "->parked" in one]
        assert parked and any(one in parked[0] for one in code.split("|")), line
    assert w.presence.state(hidden) is None and w.presence.state(missing) is None
    asked = w.sim.counters()["requests"]
    w.stays(1, others)
    assert w.sim.counters()["requests"]["Subscribe"] == asked["Subscribe"]
    assert not w.said("up->down")


def test_subscriptions_are_dropped(world):
    """Who lost a subscription gets another, and what changed in between is shown; nobody else
    notices."""
    w = world(users=12, cas=3).start()
    before = ids(w)
    lost = w.aors[4]
    w.sim.drop_subscriptions(mailbox=lost)
    w.meet(lost, "-60", "+3600")
    w.presence.wait_for(lost, "busy", timeout=6)
    wait_until(lambda: ids(w).get(lost, before[lost]) != before[lost], 8,
               lambda: f"another subscription for {lost}\n{w.log()}")
    after = ids(w)
    assert {aor for aor in before if after[aor] != before[aor]} == {lost}
    w.sim.drop_subscriptions(cas="cas1")
    w.meet(of_cas(w, "cas2")[0], "-60", "+3600")
    w.wait_followed(timeout=8)
    w.wait_right(timeout=2)
    for aor in w.aors:
        w.meet(aor, "-120", "+3600", "oof")
    w.wait_right(timeout=3)
    assert set(w.expected().values()) == {"away"}


@pytest.mark.parametrize("how", ["close", "cut"])
def test_streams_end(world, how):
    """A stream that ends is opened again with the same subscriptions, and everybody on it is read:
    what changed in between is shown."""
    w = world(users=6, cas=2).start()
    before, opened = ids(w), w.sim.counters()["requests"]["GetStreamingEvents"]
    w.sim.request("POST", f"/streams/{how}", {})
    w.meet(w.aors[0], "-60", "+3600")
    w.presence.wait_for(w.aors[0], "busy", timeout=5)
    w.wait_followed(timeout=8)
    assert ids(w) == before
    assert w.sim.counters()["requests"]["GetStreamingEvents"] - opened == 2
    w.meet(w.aors[1], "-60", "+3600")
    w.presence.wait_for(w.aors[1], "busy", timeout=3)
    assert not w.said("up->down")


def test_all_are_down_and_come_back(world):
    """What is shown stands, meetings begin and end; everybody is followed again soon after (P5)."""
    w = world(users=30, cas=3)
    now = int(time.time())
    w.meet(w.aors[0], now - 60, now + 5)
    w.start()
    for cas in w.sim.cas:
        w.sim.fail(cas, "refuse")
    w.meet(w.aors[1], "-60", "+3600", "oof")
    wait_until(lambda: len(w.said("up->down")) == 3, 3, lambda: f"all are down\n{w.log()}")
    w.presence.wait_for(w.aors[0], "available", timeout=7)
    assert not any(one.op == "remove" for one in w.presence.publishes)
    tried = sum(cas["connects"] for cas in w.sim.counters()["cas"].values())
    for cas in w.sim.cas:
        w.sim.heal(cas)
    w.wait_followed(timeout=15)
    w.wait_right(timeout=2)
    counts = sorted(w.per_cas().values())
    assert counts[-1] - counts[0] <= 3, counts
    assert tried < 40


def test_certificates_expired(world):
    w = world(users=2, cas=1, sim=["--cert-days", -1])
    w.worker.start()
    said = w.wait_said("gateway=cas1 up->down", timeout=5)[0]
    assert "code=tls" in said and "expired" in said, said
    assert not w.presence.publishes
