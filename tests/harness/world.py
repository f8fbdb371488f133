# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker between a simulated Exchange and a presence server, and how to look at the three."""

import os
import time

from .exchange import ExchangeSim
from .presence import PresenceServer
from .process import BUILD, Process, wait_until
from .worker import Worker


class World:
    """users: how many, user1@DOMAIN …; cas, sim: how many servers, and more options of
    exchange-sim; calendars: seeded, or empty. uri: the presence server; without it a PresenceServer
    is made, and transport says how it is reached. Further arguments are settings of the worker,
    which starts at start()."""

    def __init__(self, folder, users=6, cas=2, sim=(), calendars="empty", uri=None,
                 transport="tcp", domain="example.test", **settings):
        self.folder = folder
        self.sim = ExchangeSim(folder, "--cas", cas, "--users", users, "--calendars", calendars,
                               "--domain", domain, *sim)
        self.presence = None if uri else PresenceServer()
        self.aors = [f"user{i}@{domain}" for i in range(1, users + 1)]
        self.settings = {**self.sim.settings(), "log_level": "debug", "user": self.aors,
                         "presence_server": uri or self.presence.uri(transport), **settings}
        self.worker = Worker(folder, self.settings)

    def start(self, timeout=15):
        """The worker is up, everybody is followed and, as far as we see it, shown right."""
        self.worker.start()
        self.wait_followed(timeout=timeout)
        if self.presence:
            self.wait_right()
        return self

    def close(self):
        """Everything ends, and must have been well."""
        try:
            if self.worker.process and self.worker.process.running():
                began = time.monotonic()
                self.worker.stop()
                took = time.monotonic() - began
                assert took < 2, f"the worker took {took:.1f} s to end\n{self.log()}"
        finally:
            if self.presence:
                self.presence.stop()
            if self.sim.process.running():
                self.sim.stop()
        if self.presence:
            assert not self.presence.problems, self.presence.problems[:5]

    def log(self, lines=30):
        return self.worker.process.tail(lines)

    def said(self, words, since=0):
        """The lines of the worker's log that contain words, of what came after `since` bytes."""
        return [line for line in self.worker.log()[since:].splitlines() if words in line]

    def wait_said(self, words, timeout=5, since=0):
        return wait_until(lambda: self.said(words, since), timeout,
                          lambda: f"{words!r} in the log\n{self.log()}")

    def mark(self):
        """For since: from here on."""
        return len(self.worker.log())

    def homes(self):
        """AoR -> the CAS on which its subscription is streamed; of WebDAV, its front end."""
        return {one["mailbox"]: self.sim.owa["name"] if one["kind"] == "webdav" else one["cas"]
                for one in self.sim.request("GET", "/subscriptions")
                if one["kind"] == "webdav" or one["streamed"]}

    def per_cas(self):
        homes = list(self.homes().values())
        return {cas: homes.count(cas) for cas in self.sim.cas}

    def wait_followed(self, aors=None, timeout=15):
        """Until aors, and nobody else, have a subscription that is streamed."""
        aors = set(self.settings["user"] if aors is None else aors)
        wait_until(lambda: set(self.homes()) == aors, timeout,
                   lambda: f"{len(aors)} are followed; missing {sorted(aors - set(self.homes()))}"
                           f" too many {sorted(set(self.homes()) - aors)}\n{self.log()}")
        return self.homes()

    def expected(self, aors=None):
        """AoR -> what the simulator's own oracle says now."""
        every = self.sim.expected()
        return {aor: every[aor]["availability"]
                for aor in (self.settings["user"] if aors is None else aors)}

    def wait_right(self, aors=None, timeout=8):
        """Until everybody of aors is shown as the oracle says."""
        def wrong():
            expected = self.expected(aors)
            shown = self.presence.states(expected)
            return {aor: (shown[aor], "not", one) for aor, one in expected.items()
                    if shown[aor] != one}

        wait_until(lambda: not wrong(), timeout,
                   lambda: f"right; {len(wrong())} are wrong, such as "
                           f"{dict(list(wrong().items())[:4])}\n{self.log()}")

    def settles(self, seconds, timeout=15):
        """Until everybody has been shown right for so long: what was right on the way doesn't count."""
        since = None

        def long_enough():
            nonlocal since
            now = time.monotonic()
            expected = self.expected()
            if self.presence.states(expected) != expected:
                since = None
            elif since is None:
                since = now
            return since is not None and now - since >= seconds

        wait_until(long_enough, timeout, lambda: f"right for {seconds} s\n{self.log()}")

    def stays(self, seconds, aors=None):
        """Everybody is shown right all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            expected = self.expected(aors)
            shown = self.presence.states(expected)
            assert shown == expected, \
                f"{[(a, shown[a], one) for a, one in expected.items() if shown[a] != one][:4]}"
            time.sleep(0.05)

    def meet(self, aor, start, end, status="busy", **more):
        return self.sim.add_meeting(aor, start, end, status, **more)


class Board:
    """A board that outlives workers, as the module in the proxy keeps one."""

    def __init__(self, world):
        self.world = world
        self.fd = os.memfd_create("board", os.MFD_ALLOW_SEALING)

    def start(self):
        """The world's worker, with the board as its descriptor 9."""
        worker = self.world.worker
        worker.process = Process(
            ["/bin/sh", "-c", f'exec "$0" -f "$1" --board-fd 9 9<>/proc/{os.getpid()}/fd/{self.fd}',
             BUILD / "pua_exchange_worker", worker.path], worker.folder, worker.name)

    def close(self):
        os.close(self.fd)
