# SPDX-License-Identifier: GPL-2.0-or-later
"""What watchers that others wrote show: linphonec and baresip subscribe through Kamailio to users whose calendar, phone or both say
something. Prints a table, and at the end how many cells were right."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import ExchangeSim, Kamailio, Publisher, Worker, free_port, wait_until  # noqa: E402

DOMAIN = "example.test"
ALWAYS, PHONED, RARELY, BOTH = (f"user{i}@{DOMAIN}" for i in range(1, 5))


class Watcher:
    """A program that tells on its output what it shows. Some tell changes only: pattern finds what it was before, too, and the first
    state of a user is known when the second has come."""

    def __init__(self, folder, argv, pattern, **more):
        self.log = folder / "out"
        self.pattern = re.compile(pattern)
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log,
                                          stderr=subprocess.STDOUT, start_new_session=True, **more)

    def states(self, aor):
        """All that it has shown, oldest first."""
        said = re.sub(r"\x1b\[[\d;]*m", "", self.log.read_text("utf-8", "replace"))
        found = [one for one in self.pattern.finditer(said) if one["who"] == aor.partition("@")[0]]
        before = found[0].groupdict().get("before") if found else None
        return ([before] if before else []) + [one["now"].strip() for one in found]

    def state(self, aor):
        return (self.states(aor) or [None])[-1]

    def stop(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait(5)
        self.child.stdin.close()


def linphone(folder, kamailio, aors):
    folder.mkdir()
    (folder / ".local/share/linphone").mkdir(parents=True)
    rc = ["[sip]", "bind_address=127.0.0.1", "use_ipv6=0", f"sip_port={free_port()}",
          "sip_tcp_port=0", "sip_tls_port=0", "auto_net_state_mon=1", "default_proxy=0",
          "[proxy_0]", f"reg_proxy=<sip:127.0.0.1:{kamailio.port}>",
          f"reg_route=<sip:127.0.0.1:{kamailio.port};lr>",
          f"reg_identity=sip:linphone@{DOMAIN}", "reg_expires=3600", "reg_sendregister=1",
          "publish=0"]
    for i, aor in enumerate(aors):
        rc += [f"[friend_{i}]", f'url="{aor.partition("@")[0]}" <sip:{aor}>', "pol=accept",
               "subscribe=1"]
    path = folder / "rc"
    path.write_text("\n".join(rc) + "\n")
    return Watcher(folder, ["linphonec", "-c", str(path), "-d", "6", "-l", str(folder / "log")],
                   r'Friend "?(?P<who>[\w.]+)"?[^\n]*? is (?P<now>[^\n]+)',
                   env={**os.environ, "HOME": str(folder)}, cwd=folder)


def baresip(folder, kamailio, aors):
    folder.mkdir()
    (folder / "config").write_text("\n".join([
        f"sip_listen 127.0.0.1:{free_port()}", "module_path /usr/lib/baresip/modules",
        "module g711.so", "module ausine.so", "module_app account.so", "module_app contact.so",
        "module_app menu.so", "module_app presence.so"]) + "\n")
    (folder / "accounts").write_text(
        f'<sip:baresip@{DOMAIN};transport=udp>;regint=0;'
        f'outbound="sip:127.0.0.1:{kamailio.port};transport=udp"\n')
    (folder / "contacts").write_text("".join(
        f'"{aor.partition("@")[0]}" <sip:{aor}>;presence=p2p\n' for aor in aors))
    return Watcher(folder, ["baresip", "-f", str(folder), "-v"],
                   r"<sip:(?P<who>[\w.]+)@\S+ changed status from (?P<before>\w+) to (?P<now>\w+)",
                   cwd=folder)


# what is right: by what is published, and what a watcher may then show
RIGHT = {"available": {"Online", "Open"}, "busy": {"Busy"}, "away": {"Away", "Offline", "Closed"},
         "offline": {"Offline", "Closed", None}}


class Table:
    def __init__(self, watchers):
        self.watchers = watchers
        self.passed = self.failed = 0
        self.first = {}  # AoR -> what was right at first
        print(f"{'what':44} {'wanted':10} " + " ".join(f"{name:14}" for name in watchers))

    def row(self, what, aor, wanted, also=()):
        """also: what is right besides, for a row in which watchers differ by what they can show."""
        right = {one and re.sub(r"\W", "", one).lower() for one in RIGHT[wanted] | set(also)}

        def cells():
            return {name: w.state(aor) for name, w in self.watchers.items()}

        def good(state):
            if state is None and first:
                return True  # known later
            return (re.sub(r"\W", "", state).lower() if state else None) in right

        first = aor not in self.first
        self.first.setdefault(aor, right)

        deadline = time.monotonic() + 8
        while time.monotonic() < deadline and not all(map(good, cells().values())):
            time.sleep(0.1)
        shown = cells()
        print(f"{what:44} {wanted:10} " + " ".join(
            f"{str(state) + ('' if good(state) else ' WRONG'):14}" for state in shown.values()))
        self.passed += sum(map(good, shown.values()))
        self.failed += sum(not good(state) for state in shown.values())


def calendar(sim, aor, status):
    """Its whole calendar from now on: one meeting that runs, or none."""
    for one in sim.request("GET", f"/meetings?mailbox={aor}&from=-7200&to=%2B7200"):
        sim.delete_meeting(one["id"])
    if status:
        sim.add_meeting(aor, "-60", "+3600", status)


def main():
    with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as name:
        folder = Path(name)
        sim = ExchangeSim(folder, "--cas", 1, "--users", 4, "--calendars", "empty")
        kamailio = Kamailio(folder).start()
        aors = [ALWAYS, PHONED, RARELY, BOTH]
        common = {**sim.settings(), "presence_server": kamailio.udp, "on_exit": "withdraw",
                  "log_level": "debug"}
        workers = [
            Worker(folder, {**common, "user": [ALWAYS, PHONED]}, "always").start(),
            Worker(folder, {**common, "user": [RARELY, BOTH], "publish_when": "unavailable"},
                   "rarely").start()]
        publisher = Publisher(kamailio.port)
        watchers = {"linphonec": linphone(folder / "linphone", kamailio, aors),
                    "baresip": baresip(folder / "baresip", kamailio, aors)}
        try:
            for worker in workers:
                wait_until(lambda: "->followed" in worker.log(), 20, worker.process.tail)
            table = Table(watchers)
            phone = {}
            for status in (None, "busy", "oof", None):
                calendar(sim, ALWAYS, status)
                table.row(f"calendar alone, {status or 'free'}", ALWAYS,
                          {"busy": "busy", "oof": "away"}.get(status, "available"))
            phone[PHONED] = publisher.put(PHONED)
            for status in (None, "busy", "oof", None):
                calendar(sim, PHONED, status)
                table.row(f"phone online, calendar {status or 'free'}", PHONED,
                          {"busy": "busy", "oof": "away"}.get(status, "available"))
            phone[PHONED] = publisher.put(PHONED, activities=["busy"], etag=phone[PHONED])
            table.row("phone busy, calendar free", PHONED, "busy")
            publisher.remove(PHONED, phone[PHONED])
            table.row("phone gone, calendar free", PHONED, "available", also={"Offline", "Closed"})
            calendar(sim, RARELY, "busy")
            table.row("unavailable only, alone, busy", RARELY, "busy")
            calendar(sim, RARELY, None)
            table.row("unavailable only, alone, free", RARELY, "offline")
            phone[BOTH] = publisher.put(BOTH)
            table.row("unavailable only, phone online, free", BOTH, "available")
            calendar(sim, BOTH, "busy")
            table.row("unavailable only, phone online, busy", BOTH, "busy")
            calendar(sim, BOTH, None)
            table.row("unavailable only, phone online, free again", BOTH, "available")
            for name, watcher in watchers.items():
                for aor, right in table.first.items():
                    states = watcher.states(aor)
                    if not states or states[0].lower() not in right | {"offline"}:
                        print(f"{name} showed {aor} at first as {states[:1]} WRONG")
                        table.failed += 1
        finally:
            for one in watchers.values():
                one.stop()
            for worker in workers:
                worker.stop()
            publisher.close()
            kamailio.stop()
            sim.stop()
            if os.environ.get("PX_KEEP"):
                subprocess.run(["cp", "-r", name, os.environ["PX_KEEP"]], check=False)
    print(f"{table.passed} passed, {table.failed} failed")
    return table.failed > 0


if __name__ == "__main__":
    sys.exit(main())
