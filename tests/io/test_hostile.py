# SPDX-License-Identifier: GPL-2.0-or-later
"""A gateway that lies: never a crash, never a changed state, and the other gateway's users go on."""

import random
import time
from pathlib import Path

import pytest

from harness import Authority, Gateway, wait_until
from harness.process import SANITIZERS

XML = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n"
CLOSE = b"Connection: close\r\n\r\n"
OPEN = (b'<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        b"<s:Body>")


def endless(_):
    """More and more of it, as fast as it is taken."""
    yield XML + CLOSE + OPEN
    while True:
        yield b"<a>" + b"x" * 65536 + b"</a>"


def endless_element(_):
    yield XML + CLOSE + OPEN + b"<m:"
    while True:
        yield b"x" * 65536


def endless_headers(_):
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        yield b"X-More: " + b"x" * 4096 + b"\r\n"


def deep(_):
    yield XML + CLOSE + OPEN + b"<a>" * 200000


def wide(_):
    """Each of another name."""
    yield XML + CLOSE + OPEN
    n = 0
    while True:
        yield b"".join(b"<name%d/>" % i for i in range(n, n + 5000))
        n += 5000


def slow(genuine):
    """One byte a second of the truth."""
    for byte in genuine():
        yield bytes([byte])
        time.sleep(1)


def bomb(_):
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    yield XML + CLOSE + (f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e0 "ha">{entities}]>'
                         "<x>&e11;</x>").encode()


def foreign_entity(_):
    yield XML + CLOSE + (b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM '
                         b'"file:///etc/passwd">]><x>&e;</x>')


def page(_):
    yield (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n" + CLOSE +
           b"<html><body><form action=owaauth.dll>Log on</form></body></html>")


def redirect(_):
    yield b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/owa/auth\r\nContent-Length: 0\r\n\r\n"


def wrong_type(genuine):
    yield genuine().replace(b"text/xml", b"application/octet-stream")


def noise(_):
    yield random.Random(7).randbytes(20000)


def nothing(_):
    return
    yield


def other_namespace(genuine):
    """All is there, but none of it is EWS."""
    yield genuine().replace(b"http://schemas.microsoft.com/exchange/", b"http://schemas.xicrosoft.c/")


def chunk_too_big(_):
    yield XML + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + b"x" * 100


LIES = [endless, endless_element, endless_headers, deep, wide, slow, bomb, foreign_entity, page, redirect,
        wrong_type, noise, nothing, other_namespace, chunk_too_big]


@pytest.fixture
def liars(world):
    """makes a World with the honest cas1 and n gateways that pass on cas2 until they are told to
    lie."""
    made = []

    def make(n, users):
        w = world(users=users, cas=2)
        ca = Authority(w.folder)
        made.extend(Gateway(w.folder, w.sim.cas["cas2"]["url"], ca) for _ in range(n))
        w.settings["gateway"] = [w.settings["gateway"][0],
                                 *(g.setting(f"liar{i}") for i, g in enumerate(made))]
        w.worker.write(w.settings)
        # what was freed counts as used while ASan keeps it
        w.worker.env["ASAN_OPTIONS"] = SANITIZERS["ASAN_OPTIONS"] + ":quarantine_size_mb=4"
        return w, made

    yield make
    for g in made:
        g.close()


def rss_kib(world):
    for line in Path(f"/proc/{world.worker.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.parametrize("streams_too", [True, False])
def test_gateways_that_lie(liars, streams_too):
    """Each in its way. What is shown stays; the honest one's users go on; and when they have come
    to their senses everybody is right and followed."""
    w, gateways = liars(len(LIES), 2 * (len(LIES) + 1))
    honest = [w.aors[0], w.aors[len(LIES) + 1]]
    changed = w.aors[3:8]
    w.meet(w.aors[1], "-60", "+3600")
    w.start()
    before = w.presence.states(w.aors)
    rss = rss_kib(w)

    def lie_by(how):
        def lie(operation, genuine):
            if operation == "GetStreamingEvents" and not streams_too:
                return None
            return how(genuine)
        return lie

    for g, how in zip(gateways, LIES):
        g.lie = lie_by(how)
        g.cut()
    w.meet(honest[0], "-60", "+3600", "oof")
    w.presence.wait_for(honest[0], "away", timeout=4)
    wait_until(lambda: all(g.told for g in gateways), 8,
               lambda: f"all have lied: {[g.told for g in gateways]}\n{w.log()}")
    most, end = 0, time.monotonic() + 3
    while time.monotonic() < end:
        assert w.presence.states(w.aors[1:]) == {aor: before[aor] for aor in w.aors[1:]}
        most = max(most, rss_kib(w) - rss)
        time.sleep(0.1)
    assert most < len(LIES) << 10, f"it has grown by {most} KiB, more than 1 MiB a liar"
    w.meet(honest[1], "-60", "+3600")
    w.presence.wait_for(honest[1], "busy", timeout=4)
    assert "root:" not in w.worker.log(), "an entity was fetched"
    for aor in changed:
        w.meet(aor, "-60", "+3600")
    for g in gateways:
        g.lie = None
        g.cut()
    w.wait_right(timeout=20)
    w.wait_followed(timeout=30)


def test_cut_at_any_byte(liars):
    """Answers of every kind that end too early, at many places: half an answer changes nothing."""
    w, (g,) = liars(1, 12)
    w.start()
    dice = random.Random(3)

    def lie(operation, genuine):
        if operation == "GetStreamingEvents":
            return None
        whole = genuine()
        return [whole[:dice.randrange(1, len(whole))]]

    g.lie = lie
    meetings = [w.meet(aor, "-60", "+3600") for aor in w.aors]
    end = time.monotonic() + 4
    while time.monotonic() < end:
        # what is shown is what was or what is, and never withdrawn
        assert set(w.presence.states(w.aors).values()) <= {"available", "busy"}
        w.sim.change_meeting(meetings[1], end="+3500")
        time.sleep(0.1)
    assert len(g.told) > 3, "it was hardly asked"
    g.lie = None
    w.wait_right(timeout=20)


@pytest.mark.parametrize("names, ca, words", [
    (("DNS:cas9.example.test", "DNS:*.mail.test"), None, ["cas9.example.test", "*.mail.test"]),
    (("IP:127.0.0.1",), "other", ["CA"]),
], ids=["wrong name", "unknown CA"])
def test_certificates(world, folder, names, ca, words):
    """Not taken; the log says which names it has, or that its issuer isn't trusted."""
    w = world(users=4, cas=2)
    g = Gateway(folder, w.sim.cas["cas2"]["url"], names=names)
    w.settings["gateway"] = [w.settings["gateway"][0],
                             g.setting("odd", w.sim.ca_file if ca else None)]
    w.worker.write(w.settings)
    w.start()
    line = w.said("gateway=odd up->down")[0]
    assert "code=tls" in line and all(one in line for one in words), line
    assert set(w.homes().values()) == {"cas1"} and not g.asked
    g.close()


def test_a_ca_for_one_gateway_is_none_for_the_other(world, folder):
    """;ca= of one doesn't make the other trusted."""
    w = world(users=2, cas=1)
    stranger = Authority(folder)
    w.settings["gateway"] = [f"{w.sim.cas['cas1']['url']};name=cas1;ca={stranger.file}"]
    w.worker.write(w.settings)
    w.worker.start()
    assert "code=tls" in w.wait_said("gateway=cas1 up->down")[0]
    assert not w.presence.publishes and w.sim.counters()["failed_logins"] == 0
