# SPDX-License-Identifier: GPL-2.0-or-later
"""What the presence server says, or doesn't, never loses the newest state."""

import random
import signal
import time

import pytest

from harness import (LOST, LOST_BY_RESET, MISSED, RESET, SILENT, PresenceServer, wait_until)
from harness.process import PATIENCE

both = pytest.mark.parametrize("transport", ["udp", "tcp"])


def one_each(world):
    """Exactly one document stands for everybody, and nothing else does."""
    assert sorted(aor for aor, _, _ in world.presence.standing.values()) == sorted(world.aors)


def test_an_etag_is_unknown(world):
    """412: published anew at once; and as the server may have lost more, everybody is checked."""
    w = world(transport="udp").start()
    mine = w.presence.of(w.aors[0])[-1]
    for etag, (aor, _, _) in list(w.presence.standing.items()):
        if aor in w.aors[:2]:
            del w.presence.standing[etag]
    w.meet(w.aors[0], "-60", "+3600")
    w.presence.wait_for(w.aors[0], "busy", timeout=3)
    came = w.presence.of(w.aors[0])
    assert [(one.op, one.answer) for one in came[came.index(mine) + 1:]] == \
        [("modify", 412), ("initial", 200)]
    w.wait_right(timeout=5)
    one_each(w)
    assert all(w.presence.of(aor)[-1].op == "modify" for aor in w.aors[2:])


def test_expires_too_brief(world):
    w = world(transport="udp", publish_expires=600)
    w.presence.min_expires = 7200
    w.worker.start()
    w.wait_right()
    one_each(w)
    assert {one.expires for one in w.presence.publishes if one.answer == 200} == {7200}
    refused = [one for one in w.presence.publishes if one.answer == 423]
    assert len(refused) <= len(w.aors)


def test_refreshes(world):
    """Granted 3 s only: refreshed in time, with the same document, and it never lapses."""
    w = world(transport="udp", subscription="none")
    w.presence.max_expires = 3
    w.meet(w.aors[0], "-60", "+3600")
    w.worker.start()
    w.wait_right()
    w.stays(4)
    for aor in w.aors:
        came = w.presence.of(aor)
        assert len(came) >= 3 and [one.op for one in came[1:]] == ["modify"] * (len(came) - 1)
        assert all(one.calendar == came[0].calendar for one in came)
    one_each(w)


@pytest.mark.parametrize("transport, status", [("udp", 480), ("tcp", 500)])
def test_one_user_is_refused_for_a_while(world, transport, status):
    w = world(transport=transport, subscription="none")
    seen = []

    def rule(publish):
        if publish.aor == w.aors[0] and len(seen) < 2:
            seen.append(publish)
            return status
        return None

    w.presence.rule = rule
    w.worker.start()
    w.wait_right(w.aors[1:], timeout=8)
    w.wait_right(timeout=8)
    assert len(seen) == 2 and seen[1].t - seen[0].t > 0.4, "it must not be asked again at once"
    one_each(w)


def test_a_user_who_is_forbidden(world):
    """403 doesn't go away: that user is left alone for long, and named in the log."""
    w = world(transport="udp", subscription="none")
    w.presence.rule = lambda publish: 403 if publish.aor == w.aors[0] else None
    w.worker.start()
    w.wait_right(w.aors[1:])
    said = w.wait_said(f"user={w.aors[0]} publication gave_up")[0]
    assert "status=403" in said, said
    time.sleep(1.5)
    assert len(w.presence.of(w.aors[0])) == 1


def test_unavailable(world):
    """503 with Retry-After: nobody is sent until then; then everybody is right."""
    w = world(transport="tcp", users=40, subscription="none")
    first = []

    def rule(publish):
        first.append(publish.t)
        return (503, {"Retry-After": "2"}) if publish.t - first[0] < 1.5 else None

    w.presence.rule = rule
    w.worker.start()
    w.wait_right(timeout=10)
    one_each(w)
    refused = [one.t for one in w.presence.publishes if one.answer == 503]
    after = [one.t for one in w.presence.publishes if one.answer == 200]
    assert after[0] - max(refused) >= 1.9, after[0] - max(refused)


def test_a_server_without_transport(world):
    """sip:127.0.0.1:PORT means UDP (RFC 3263), though this server would take TCP as well."""
    w = world(users=2, transport=None)
    w.worker.start()
    w.wait_right()
    assert all("SIP/2.0/UDP" in one.message["Via"] for one in w.presence.publishes)


def test_packets_are_lost(world):
    """A third of the packets is lost, of both ways: SIP's own retransmissions see to it."""
    w = world(transport="udp", users=30, subscription="none")
    n = [0]

    def rule(_):
        n[0] += 1
        return MISSED if n[0] % 3 == 0 else None

    w.presence.rule = rule
    w.worker.start()
    w.wait_right(timeout=8)
    one_each(w)
    assert {one.op for one in w.presence.publishes} == {"initial"}


def test_silence(world):
    """Carried out, but no answer ever comes: the newest state is shown in the end. An older
    document may be left; it has the same ids and ends by itself."""
    w = world(transport="udp").start()
    w.presence.rule = lambda publish: LOST if publish.aor == w.aors[0] else None
    w.meet(w.aors[0], "-60", "+3600")
    wait_until(lambda: w.presence.of(w.aors[0])[-1].answer == LOST, 3, "the PUBLISH")
    w.presence.rule = None
    w.sim.add_meeting(w.aors[0], "-60", "+3600", "oof")
    w.meet(w.aors[1], "-60", "+3600")
    w.presence.wait_for(w.aors[1], "busy", timeout=3)
    wait_until(lambda: w.presence.of(w.aors[0])[-1].op == "initial", 20,
               lambda: f"away: {w.presence.of(w.aors[0])}\n{w.log()}")
    came = w.presence.of(w.aors[0])
    assert came[-1].calendar == came[-2].calendar == "away"
    assert [(one.op, one.answer) for one in came] == [("initial", 200), ("modify", LOST), ("modify", 412), ("initial", 200)]
    w.presence.wait_all(w.expected(w.aors[1:]))


@pytest.mark.parametrize("transport, forgets", [("udp", True), ("tcp", True), ("tcp", False)])
def test_it_is_refused_and_comes_back(world, transport, forgets):
    """Down, meanwhile calendars change, and back, with or without its memory: all right within 5 s
    (P6, P7)."""
    w = world(transport=transport, users=20).start()
    w.presence.stop()
    for aor in w.aors[:10]:
        w.meet(aor, "-60", "+3600")
    w.wait_said("presence up->down")
    time.sleep(1)
    if forgets:
        w.presence.forget()
    w.presence.start()
    w.wait_right(timeout=5)
    one_each(w)
    assert len(w.said("presence up->down")) == 1 and w.said("presence down->up")


@both
def test_its_memory_is_lost_at_rest(world, transport):
    """Over TCP the end of the connection tells; over UDP the next 412 (P7)."""
    w = world(transport=transport, users=20)
    w.meet(w.aors[5], "-60", "+3600", "oof")
    w.start()
    w.presence.stop()
    w.presence.forget()
    w.presence.start()
    if transport == "udp":
        assert len(w.presence.standing) == 0
        w.meet(w.aors[0], "-60", "+3600")
    w.wait_right(timeout=5)
    one_each(w)


@pytest.mark.parametrize("how", [RESET, LOST_BY_RESET])
def test_reset_in_the_middle(world, how):
    """The connection ends while answers are awaited, before or after they were carried out."""
    w = world(transport="tcp").start()
    before = len(w.presence.publishes)
    done = []

    def rule(publish):
        if not done and publish.aor == w.aors[0]:
            done.append(publish)
            return how
        return None

    w.presence.rule = rule
    for aor in w.aors[:3]:
        w.meet(aor, "-60", "+3600")
    wait_until(lambda: done, 3, "a PUBLISH")
    for aor, calendar in w.expected().items():
        wait_until(lambda: w.presence.of(aor)[-1].answer == 200 and (
            calendar in w.presence.states([aor])[aor]), 8,
            lambda: f"{aor} {calendar}: {w.presence.of(aor)}\n{w.log()}")
    if how == RESET:
        w.wait_right(timeout=2)
        one_each(w)
    assert len(w.presence.publishes) - before < 20


def test_newest_wins(world):
    """One PUBLISH in flight for each user, however fast changes come and however slow answers are;
    what is shown in the end is the newest."""
    w = world(transport="udp").start()
    w.presence.delay = 0.7
    meeting = w.meet(w.aors[0], "-60", "+3600")
    for status in ("oof", "busy", "oof"):
        time.sleep(0.4)
        w.sim.change_meeting(meeting, status=status)
    w.settles(2)
    assert w.presence.state(w.aors[0]) == "away"
    assert not w.presence.problems


def test_failover(world):
    """The first of two servers is gone: the second gets everything."""
    gone = PresenceServer()
    gone.stop()
    w = world(users=20)
    w.settings["presence_server"] = [gone.uri("udp"), w.presence.uri("udp")]
    w.worker.write(w.settings)
    w.worker.start()
    w.wait_right(timeout=10)
    one_each(w)


def test_rate(world):
    """publish_rate is a ceiling. Some may arrive late, and then together, but none before its time."""
    w = world(transport="udp", users=50, subscription="none", publish_rate=20)
    w.worker.start()
    w.wait_right(timeout=6)
    times = [one.t for one in w.presence.publishes]
    for before, t in enumerate(times):
        assert before <= 20 * (t - times[0]) + 22
    assert times[-1] - times[0] < 3.5 * PATIENCE


@pytest.mark.parametrize("on_exit", ["keep", "withdraw"])
def test_the_end(world, on_exit):
    """SIGTERM: exit status 0 within 2 s (World.close looks)."""
    w = world(transport="tcp", users=30, on_exit=on_exit)
    w.worker.start()
    w.wait_right()
    began = time.monotonic()
    w.worker.stop()
    assert time.monotonic() - began < 2 * PATIENCE
    if on_exit == "keep":
        w.wait_right(timeout=1)
        one_each(w)
    else:
        assert not w.presence.standing
        assert all(w.presence.of(aor)[-1].op == "remove" for aor in w.aors)


def test_the_end_before_a_silent_server(world):
    """on_exit=withdraw doesn't wait for long where nobody answers any more."""
    w = world(transport="tcp", users=30, on_exit="withdraw")
    w.worker.start()
    w.wait_right()
    w.presence.rule = lambda _: SILENT
    began = time.monotonic()
    w.worker.stop()
    assert 1.5 < time.monotonic() - began < 4 * PATIENCE
    assert w.said("30 users could not be withdrawn: the presence server doesn't answer")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_end_with_nobody_there(world, signum):
    """Neither Exchange nor the presence server answer: it ends all the same."""
    w = world(transport="udp")
    w.presence.rule = lambda _: SILENT
    w.worker.start()
    wait_until(lambda: w.presence.publishes, 3, "a PUBLISH")
    w.sim.fail("cas1", "hang")
    w.sim.fail("cas2", "freeze")
    began = time.monotonic()
    w.worker.process.send(signum)
    assert w.worker.process.wait(5) == 0, w.log()
    assert time.monotonic() - began < 2 * PATIENCE
    w.worker.process.check()


def test_a_worker_that_died(world):
    """Without board or state_file a new one begins anew; the older documents have the same ids."""
    w = world(transport="tcp")
    w.worker.start()
    w.wait_right()
    first = {aor: w.presence.of(aor)[-1].message.body for aor in w.aors}
    w.worker.kill()
    w.presence.forget()
    w.worker.start()
    w.wait_right()
    for aor in w.aors:
        ids = [[one.split(b'"')[1] for one in body.split(b" id=")[1:]]
               for body in (first[aor], w.presence.of(aor)[-1].message.body)]
        assert ids[0] == ids[1] and len(ids[0]) == 2


def test_reload(world, folder):
    """SIGHUP: who was added is shown, who was removed or switched off is withdrawn; a line that is
    wrong removes nobody."""
    users = folder / "users.csv"
    w = world(transport="tcp", users=6)
    w.settings["user"] = w.aors[:1]
    w.settings["users_file"] = users
    w.worker.write(w.settings)
    users.write_text("".join(f"{aor}\n" for aor in w.aors[1:4]))
    w.worker.start()
    w.wait_right(w.aors[:4])
    assert w.presence.states(w.aors[4:]) == {aor: None for aor in w.aors[4:]}
    w.meet(w.aors[4], "-60", "+3600")

    def reload(*lines):
        since = w.mark()
        users.write_text("".join(f"{line}\n" for line in lines))
        w.worker.process.send(signal.SIGHUP)
        return w.wait_said(" reload users=", since=since)

    reload(w.aors[2], f"{w.aors[3]},,off", w.aors[4], f"shown@else.test,{w.aors[5]}")
    w.presence.wait_all({w.aors[0]: "available", w.aors[1]: None, w.aors[2]: "available",
                         w.aors[3]: None, w.aors[4]: "busy", "shown@else.test": "available"}, 5)
    w.wait_followed([w.aors[0], w.aors[2], w.aors[4], w.aors[5]])
    said = reload("no-aor", w.aors[4])
    assert "wrong=1" in said[-1] and "removed=0" in said[-1], said
    time.sleep(0.5)
    assert w.presence.state(w.aors[2]) == "available"
    users.unlink()
    w.worker.process.send(signal.SIGHUP)
    w.wait_said("No such file")
    time.sleep(0.3)
    assert w.presence.state(w.aors[2]) == "available"
    reload(*w.aors[1:3])
    w.presence.wait_all({w.aors[0]: "available", w.aors[1]: "available",
                         w.aors[2]: "available", w.aors[4]: None, "shown@else.test": None}, 5)


@both
def test_answers_that_make_no_sense(world, transport):
    """They concern the user who got them; the log stays a log, and everybody else is right."""
    odd = [(200, {}), (200, {"SIP-ETag": "x" * 200}), (200, {"SIP-ETag": "a", "Expires": "0"}),
           (200, {"SIP-ETag": "b", "Expires": "99999999999"}), (423, {}),
           (423, {"Min-Expires": "4000000000"}), 299, 302, 412, 699,
           (500, {"Retry-After": "-1"}), (403, {"Reason": "x" * 3000})]
    w = world(transport=transport, users=len(odd) + 4, subscription="none")
    w.presence.rule = lambda publish: dict(zip(w.aors, odd)).get(publish.aor)
    w.worker.start()
    w.wait_right(w.aors[len(odd):], timeout=5)
    wait_until(lambda: all(w.presence.of(aor) for aor in w.aors), 5, "all are sent")
    time.sleep(2)
    for aor in w.aors[:len(odd)]:
        assert len(w.presence.of(aor)) <= 6, f"{w.presence.of(aor)} within 2 s"
    assert all(line.isprintable() for line in w.worker.log().splitlines())
    w.presence.rule = None
    w.wait_right(w.aors[len(odd):], timeout=5)


def test_noise_from_the_presence_server(world):
    """What isn't SIP does no harm, over either transport."""
    w = world(transport="tcp", users=4, subscription="none")
    noise = random.Random(5)

    def rule(publish):
        if len(w.presence.publishes) % 3 == 0:
            for connection in list(w.presence.received):
                connection.sendall(noise.randbytes(2000))
            return RESET
        return None

    w.presence.rule = rule
    w.worker.start()
    wait_until(lambda: len(w.presence.publishes) >= 8, 10, lambda: w.log())
    w.presence.rule = None
    # an answer that was lost behind the noise leaves a second document until it lapses: the newest counts
    expected = w.expected()
    wait_until(lambda: all((last := w.presence.of(aor)[-1]).answer == 200 and last.calendar == want
                           for aor, want in expected.items() if w.presence.of(aor))
               and all(w.presence.of(aor) for aor in expected), 8, lambda: w.log())
