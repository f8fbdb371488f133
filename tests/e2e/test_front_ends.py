# SPDX-License-Identifier: GPL-2.0-or-later
"""Exchange 2003 and 2007 over WebDAV through a real proxy, seen by a watcher. All cases share one
proxy, which is the presence server too, and three front ends:

- old: 2003, Basic, folders in Japanese, URLs that name the back end; followed by the module
- new: 2007, forms-based authentication, folders in several languages; by a worker beside it
- mute: 2007, whose NOTIFYs never arrive; by another one"""

import os
import signal
import socket
import threading

import pytest

from harness import ExchangeSim, Watch, wait_until
from harness.folder import empty_folder
from harness.host import Host
from harness.process import own_address
from harness.world import World

USERS = 6
SEEN_S = 8  # what takes 2 s when nobody else needs the machine


class Place:
    """What all cases share. sims: {"old", "new", "mute"}; the last user of each is a case's own."""

    def __init__(self, path):
        for name in ("k", "old", "new", "mute"):
            (path / name).mkdir()
        self.aors = {name: [f"user{i}@{name}.test" for i in range(1, USERS + 1)]
                     for name in ("old", "new", "mute")}
        old = ExchangeSim(path / "old", "--cas", 0, "--users", USERS, "--calendars", "empty",
                          "--domain", "old.test", "--webdav", "2003", "--folders", "ja",
                          "--dav-urls", "backend")
        self.proxy = Host(path / "k", {**old.settings(), "user": self.aors["old"],
                                       "listen_udp": f"{own_address(1)}:50020"},
                          clean_s=1, processes=2)
        uri = f"sip:127.0.0.1:{self.proxy.port};transport=tcp"
        self.new = World(path / "new", users=USERS, cas=0, uri=uri, domain="new.test",
                         sim=("--webdav", "2007", "--forms", "--folders", "mixed"),
                         listen_udp=f"{own_address(2)}:50020")
        # Exchange is told another port, where nobody listens
        self.mute = World(path / "mute", users=USERS, cas=0, uri=uri, domain="mute.test",
                          sim=("--webdav", "2007", "--folders", "de"), subscription="push",
                          listen_udp=f"{own_address(3)}:50020",
                          announce_udp=f"{own_address(3)}:50021")
        self.sims = {"old": old, "new": self.new.sim, "mute": self.mute.sim}
        self.folder, self.watch = path, None

    def __enter__(self):
        for name in self.sims:  # before anybody looks
            self.meet(name, 1, "-86460", "+3600", recurrence={"type": "daily", "interval": 1, "count": 3})
            self.meet(name, 2, "-600", "+3600", "oof")
        self.proxy.start()
        self.new.worker.start()
        self.mute.worker.start()
        self.watch = Watch(self.folder, self.proxy.tcp,
                           [aor for aors in self.aors.values() for aor in aors])
        self.watch.wait_ready()
        for name in self.sims:
            self.wait_followed(name)
            self.wait_seen(name)
        # found by the POLL that goes on anyway: it may take a while, and other cases run meanwhile
        self.unheard(self.sims["new"], self.meet, "new", USERS, "-60", "+3600")
        for number in (4, 5):
            self.meet("mute", number, "-60", "+3600")
        self.sims["mute"].drop_subscriptions(mailbox=self.aors["mute"][-1])
        self.meet("mute", USERS, "-60", "+3600", "oof")
        self.meet("mute", 3, "-60", "+3600")
        return self

    def unheard(self, sim, do, *args):
        """Does it, and the NOTIFY about it gets lost."""
        lost = sim.counters()["notifications_lost"]
        sim.webdav(lose_notify=1)
        done = do(*args)
        wait_until(lambda: sim.counters()["notifications_lost"] > lost, 5, "a lost NOTIFY")
        sim.webdav(lose_notify=0)
        return done

    def __exit__(self, *_):
        try:
            if self.watch and self.watch.process.running():
                assert self.watch.stop()["problems"] == 0, self.watch.problems
        finally:
            for one in (self.new, self.mute):
                one.close()
            self.proxy.stop()
            self.sims["old"].stop()

    def log(self, name):
        return self.proxy.process.tail() if name == "old" else getattr(self, name).log()

    def meet(self, name, number, start, end, status="busy", **more):
        return self.sims[name].add_meeting(self.aors[name][number - 1], start, end, status, **more)

    def wait_state(self, name, number, status, timeout=SEEN_S):
        try:
            return self.watch.wait_for(self.aors[name][number - 1], status, timeout, tuples=1, persons=1)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.log(name)}") from None

    def subscriptions(self, name):
        """{mailbox: [its ids]}"""
        its = {}
        for one in self.sims[name].request("GET", "/subscriptions"):
            its.setdefault(one["mailbox"], []).append(one["id"])
        return its

    def wait_followed(self, name, timeout=20):
        """Until everybody has one subscription, and nobody else."""
        wait_until(lambda: {who: len(ids) for who, ids in self.subscriptions(name).items()} ==
                   dict.fromkeys(self.aors[name], 1), timeout,
                   lambda: f"one for each: {self.subscriptions(name)}\n{self.log(name)}")
        if name == "old":
            self.proxy.wait_followed(USERS, timeout)

    def wait_seen(self, name, timeout=SEEN_S, but=()):
        """Until everybody but those users is seen as the front end's own oracle says."""
        def wrong():
            expected = self.sims[name].expected()
            return {aor: ((self.watch.state(aor) or {}).get("status"), "not", expected[aor]["availability"])
                    for i, aor in enumerate(self.aors[name], 1) if i not in but and
                    (self.watch.state(aor) or {}).get("status") != expected[aor]["availability"]}

        wait_until(lambda: not wrong(), timeout, lambda: f"seen right: {wrong()}\n{self.log(name)}")

    def requests(self, name):
        return self.sims[name].counters()["requests"]


@pytest.fixture(scope="module")
def place(request):
    with empty_folder(request) as path, Place(path) as one:
        yield one


@pytest.fixture
def folder(place):
    """For what a failed test shows."""
    return place.folder


def test_the_state_comes_first(place):
    """Seen at the start: an instance of a series, an absence, and free time; each by one SUBSCRIBE."""
    for name in place.sims:
        place.wait_state(name, 1, "busy")
        place.wait_state(name, 2, "away")
        place.wait_state(name, 3, "available" if name != "mute" else None)
    assert place.requests("new")["logon"] == 1 and place.requests("old")["logon"] == 0
    for name in ("old", "new"):
        counters = place.sims[name].counters()
        assert counters["requests"]["SUBSCRIBE"] == USERS and counters["failed_logins"] == 0, counters


@pytest.mark.parametrize("name", ["old", "new"])
def test_changes_are_seen(place, name):
    """A meeting comes, changes and goes; so does an instance of a series."""
    sim = place.sims[name]
    meeting = place.meet(name, 3, "-60", "+3600")
    place.wait_state(name, 3, "busy")
    sim.change_meeting(meeting, status="oof")
    place.wait_state(name, 3, "away")
    sim.delete_meeting(meeting)
    place.wait_state(name, 3, "available")
    series = place.meet(name, 3, "-60", "+3600", recurrence={"type": "daily", "interval": 1, "count": 3})
    place.wait_state(name, 3, "busy")
    sim.request("DELETE", f"/meetings/{series}?occurrence=0")
    place.wait_state(name, 3, "available")


def test_the_session_ends_in_the_middle(place):
    """One new form for all, no failed login, and nothing is lost."""
    sim, logons = place.sims["new"], place.requests("new")["logon"]
    assert sim.end_sessions() == 1
    for number in (3, 4, 5):
        place.meet("new", number, "-60", "+3600", "oof" if number == 4 else "busy")
    place.wait_seen("new", but=[USERS])
    counters = sim.counters()
    assert counters["requests"]["logon"] == logons + 1 and counters["failed_logins"] == 0, counters


def test_the_troubleshooter_in_the_worker(place):
    """It says that NOTIFYs arrive; and it doesn't touch the service's own subscriptions."""
    had = place.subscriptions("old")

    def rows():
        said = place.proxy.rpc("pua_exchange.check")
        return said if said["check"] == "done" else None

    place.meet("old", 3, "+7200", "+7260")
    wait_until(lambda: "NOTIFYs arrive" in place.proxy.log(), 10, "one")
    said = str(wait_until(rows, 20, "the check's end"))
    assert "NOTIFYs have come to httpu://" in said and "FAILED" not in said, said
    assert place.subscriptions("old") == had


def test_a_flood_of_forged_notifications(place):
    """It is counted, costs Exchange nothing, and what is real gets through meanwhile."""
    host, port = place.proxy.settings["listen_udp"].split(":")
    sim, strays = place.sims["old"], place.proxy.stats()["strays"]
    sent, over = [0], threading.Event()
    before = place.requests("old")

    def flood():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            while not over.wait(0.002):
                sent[0] += 2
                one.sendto(f"NOTIFY httpu://{host}:{port}/{sent[0]:032x}/00000000 HTTP/1.1\r\n"
                           "Subscription-id: 1,2,3,4,5,6\r\n\r\n".encode(), (host, int(port)))
                one.sendto(os.urandom(1400), (host, int(port)))

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        wait_until(lambda: place.proxy.stats()["strays"] >= strays + 300, 10,
                   lambda: f"{sent[0]} strays are counted: {place.proxy.stats()}")
        now = place.requests("old")
        assert now["SEARCH"] <= before["SEARCH"] + 3, "more than what came before had left to read"
        assert now["POLL"] <= before["POLL"] + 3, "more than the slow POLL"
        meeting = place.meet("old", 4, "-60", "+3600")
        place.wait_state("old", 4, "busy")
        sim.delete_meeting(meeting)
        place.wait_state("old", 4, "available")
    finally:
        over.set()
        thread.join(5)
    assert place.proxy.stats()["strays"] <= strays + sent[0]


def test_the_front_end_is_down_and_back(place):
    """What was published stands; after the return everybody is right and followed again."""
    sim, seen = place.sims["old"], {aor: place.watch.state(aor)["t"] for aor in place.aors["old"]}
    sim.fail("owa1", "refuse")
    place.meet("old", 3, "-60", "+3600")  # its NOTIFY makes us notice

    def health():
        return [one["health"] for one in place.proxy.rpc("pua_exchange.gateways")]

    wait_until(lambda: health() == ["down"], 20, lambda: f"down: {health()}\n{place.log('old')}")
    assert {aor: place.watch.state(aor)["t"] for aor in place.aors["old"]} == seen
    sim.heal("owa1")
    place.wait_state("old", 3, "busy", 20)
    place.wait_followed("old", 30)
    place.wait_seen("old")


def test_the_store_forgets(place):
    """Subscriptions that are gone are made anew, and what changed meanwhile is read."""
    sim, had = place.sims["old"], place.subscriptions("old")
    place.unheard(sim, place.meet, "old", 4, "-60", "+3600", "oof")
    assert sim.shut_down_store() == USERS
    place.wait_followed("old")
    place.wait_state("old", 4, "away")
    now = place.subscriptions("old")
    assert all(now[aor] != had[aor] for aor in place.aors["old"]), (had, now)
    place.meet("old", 5, "-60", "+3600")
    place.wait_state("old", 5, "busy")


def test_killed_and_taken_over(place):
    """The next worker goes on with the subscriptions that the board tells of: none is made or left
    behind, NOTIFYs to the former one reach it, and what changed meanwhile is seen."""
    sim, had = place.sims["old"], place.subscriptions("old")
    before = sim.counters()["requests"]
    for number in (3, 1):
        restarts = place.proxy.stats()["worker_restarts"]
        os.kill(place.proxy.worker(), signal.SIGKILL)
        meeting = place.meet("old", number, "-30", "+3600", "oof")
        place.proxy.wait_restarted(restarts + 1, timeout=15)
        place.wait_state("old", number, "away")
        place.wait_followed("old")
        assert place.subscriptions("old") == had
        sim.change_meeting(meeting, status="free")
        place.wait_seen("old")
    now = sim.counters()["requests"]
    assert now["UNSUBSCRIBE"] == before["UNSUBSCRIBE"]
    # how long they live isn't known to who takes them over: each is renewed once
    assert now["SUBSCRIBE"] - before["SUBSCRIBE"] <= 2 * USERS


def test_a_lost_notification(place):
    """The POLL that goes on anyway finds what a NOTIFY should have told."""
    place.wait_state("new", USERS, "busy", 40)
    assert "notify: none came" not in place.new.worker.log()
    assert "NOTIFYs arrive at" in place.new.worker.log()


def test_no_notification_arrives(place):
    """POLL alone finds changes, and subscriptions that are gone; and what is wrong is said."""
    for number in (3, 4, 5):
        place.wait_state("mute", number, "busy", 40)
    place.wait_state("mute", USERS, "away", 40)
    place.wait_followed("mute")
    said = place.mute.wait_said("notify: none came", 5)
    assert len(said) == 1 and place.mute.settings["announce_udp"] in said[0], said
    assert not place.mute.said("NOTIFYs arrive")
