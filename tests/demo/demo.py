#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""One minute of pua_exchange: twenty-two users, three Client Access Servers, one of which dies.
`make demo` runs it.

Starts exchange-sim with the calendars of plan(), Kamailio with presence and the module, and
presence-watch on everybody. Changes some calendars while all look on, stops a CAS and heals it. Exits
with 0 if whatever was to happen was seen within 2 s of its time, nothing else was seen, and only the
users of the stopped CAS moved; what was to happen is worked out from the calendars (days.py). Nothing
that it started is left, however it ends.

With GATEWAY=webdav in the environment Exchange is one OWA front end of 2007 with forms-based
authentication, spoken to over WebDAV. It is stopped and healed in the same minute: nobody can move, so
what is in memory must go on, and everybody be followed again.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback while the rest is imported

import calendar
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
os.environ["PX_BUILD"] = "build"

from harness import ExchangeSim, Kamailio, Watch, wait_until  # noqa: E402
from harness.process import BUILD, ROOT, free_port  # noqa: E402
from harness.proxy import MODULE, WORKER, Proxy  # noqa: E402

from days import Calendars, Meeting  # noqa: E402
from plan import ALL_HANDS, DOMAIN, NAMES, SPARE, aor, name_of, plan  # noqa: E402
from screen import clock, screen  # noqa: E402
from verdict import ON_TIME_S, Homes, judge  # noqa: E402

CAS = 3
DAV = os.environ.get("GATEWAY") == "webdav"
STOPPED = "owa1" if DAV else "cas2"

LEAD_S = 4  # from the calendars' making to second 0; nothing begins before second 3
PLAY_S = 51
MOVED_S = 60  # a user whose CAS died is followed elsewhere by then
READY_S = 40


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP; args: the signal's number."""


class Signals:
    """They end the demo by an exception, except while a program is being started: so none is
    forgotten."""

    def __init__(self):
        self.holding, self.got = False, None
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, self._take)

    def _take(self, signum, _):
        again, self.got = self.got, signum
        if not self.holding and not again:
            raise Interrupted(signum)

    @contextlib.contextmanager
    def held(self):
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.got:
            raise Interrupted(self.got)

    @staticmethod
    def ignore():
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)


def first_lines(program, *options):
    """{"version": …, "flags": …} of what it prints."""
    said = subprocess.run([program, *options], capture_output=True, text=True, check=False).stdout
    return {what: " ".join(text.split())
            for what, text in re.findall(r"^(version|flags):(.*)", said, re.M)}


def check_programs():
    """AssertionError in words when something isn't there, or the module is for another Kamailio."""
    kamailio = Kamailio.program()
    assert os.access(kamailio, os.X_OK), \
        "kamailio is not installed; make deps installs it on Debian 12"
    for path in [BUILD / "exchange-sim", BUILD / "presence-watch", WORKER, MODULE]:
        assert path.exists(), f"{path} is not there; make demo builds it"
    built_for, installed = first_lines(MODULE.parent / "flags.say"), first_lines(kamailio, "-v")
    for what in ("version", "flags"):
        assert built_for.get(what) == installed.get(what), (
            f"the module was built for another kamailio: its {what} differs\n"
            f"  installed: {installed.get(what)}\n  module:    {built_for.get(what)}\n"
            f"remove {MODULE.parent} and {ROOT / 'build' / 'kamailio-src'}, "
            "and run make demo again")


def orphans(cfg):
    """Pids of the processes of the Kamailio that was started on this file, which is ours alone."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            argv = path.read_bytes().split(b"\0")
            if argv[0] == Kamailio.program().encode() and str(cfg).encode() in argv:
                pids.append(int(path.parent.name))
    return pids


def gist(process):
    """What a program that failed has to say for itself: its errors, else its last words."""
    lines = re.sub(r"\033\[[0-9;]*m", "", process.output()).splitlines()
    errors = [line for line in lines if re.search(r" (ERROR|CRITICAL): ", line)]
    said = errors[:8] or [line for line in lines if line and " INFO: " not in line][-8:]
    if any("could not find module" in line for line in errors):
        said.append("make deps installs Kamailio's modules on Debian 12")
    return "".join(f"\n  {line}" for line in said)


class Demo:
    def __init__(self, folder, screen, signals):
        self.folder, self.screen, self.signals = folder, screen, signals
        self.users = [aor(name) for name in NAMES]
        self.sim = self.kamailio = self.watch = None
        self.calendars = None
        self.t0 = self.begin = self.end = None
        self.homes_now = {}
        self.gateways = []
        self.homes = None  # from the moment at which a CAS is stopped
        self.outage = {}  # of the front end, with WebDAV: when it was "stopped", "noticed", "healed", "back"
        self.cas_stopped_at = None
        self.told = {user: 0 for user in self.users}  # how many of its records the screen knows
        self.looked = 0.0
        self.steps = []

    # ---- before and after ----

    def start(self):
        say = self.screen.say
        with self.signals.held():
            self.sim = ExchangeSim(self.folder, "--cas", 0 if DAV else CAS, "--users", 0,
                                   "--calendars", "empty", "--domain", DOMAIN,
                                   *(["--webdav", 2007, "--forms", "--folders", "mixed"] if DAV else []))
        for user in self.users:
            self.sim.request("POST", "/mailboxes", {"address": user})
        self.t0 = int(time.time()) + 1 + LEAD_S
        self.calendars = Calendars(self.sim, self.users, self.t0 + PLAY_S + MOVED_S)
        self.calendars.put([(user, meeting) for user, meeting in plan(self.t0)])
        meetings = sum(len(day.meetings) for day in self.calendars.days.values())
        servers = "an OWA front end of 2007" if DAV else f"{CAS} CAS"
        say(f"Exchange is simulated: {servers}, {len(self.users)} users with {meetings} meetings")

        folder = self.folder / "k"
        folder.mkdir()
        settings = {**self.sim.settings(), "user": self.users}
        if DAV:
            settings["listen_udp"] = f"127.0.0.1:{free_port()}"
        for last in (False, False, True):
            self.kamailio = Proxy(folder, settings)
            with self.signals.held():
                self.kamailio.spawn()
            try:
                wait_until(self.kamailio.answers, 20, "kamailio answers")
                break
            except AssertionError:
                self.stop_kamailio()
                # somebody else may have taken the port since it was found free
                if last or "ddress already in use" not in self.kamailio.log():
                    raise AssertionError("kamailio does not start"
                                         f"{gist(self.kamailio.process)}") from None
        say("Kamailio is up, with presence and the module")
        with self.signals.held():
            self.watch = Watch(self.folder, self.kamailio.tcp, self.users)
        self.watch.wait_ready(20)
        say(f"presence-watch has subscribed to {len(self.users)} users")

    def stop_kamailio(self):
        """Also one that crashed and left its children behind, or that got a signal while it was
        forking them and waits for those that didn't hear of it."""
        if not self.kamailio:
            return
        if self.kamailio.process:
            with contextlib.suppress(AssertionError):
                self.kamailio.process.stop(4)
        for pid in orphans(self.kamailio.folder / "kamailio.cfg"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self):
        """Ends all that runs; returns what presence-watch counted, None when it can't say."""
        counts = None
        if self.watch:
            with contextlib.suppress(AssertionError):
                counts = self.watch.stop()
        self.stop_kamailio()
        if self.sim and self.sim.process.running():
            with contextlib.suppress(AssertionError):
                self.sim.stop()
        return counts

    # ---- looking ----

    def status(self, user):
        record = self.watch.state(user) if self.watch else None
        return record["status"] if record else "unknown"

    def look(self):
        """Once a turn: is everybody still there, who is where, what is new to show."""
        now = time.time()
        for one in (self.sim, self.kamailio, self.watch):
            assert one.process.running(), \
                f"{one.process.name} ended ({one.process.child.returncode}){gist(one.process)}"
        if now - self.looked >= 0.5:
            self.looked = now
            self.homes_now = {one["mailbox"]: STOPPED if one["kind"] == "webdav" else one["cas"]
                              for one in self.sim.request("GET", "/subscriptions")
                              if one["kind"] == "webdav" or one["streamed"]}
            self.gateways = self.kamailio.rpc("pua_exchange.gateways")
            if self.outage:
                self.look_at_outage(now)
            if self.homes:
                self.look_at_movers(now)
        self.show_changes()
        self.screen.draw(self.view)

    def look_at_movers(self, now):
        before, moved = len(self.homes.left), self.homes.took is not None
        self.homes.look(self.homes_now, now)
        if self.homes.took is not None and not moved:
            self.screen.say(f"the {len(self.homes.movers)} users of {STOPPED} have moved: "
                            f"{self.where_to()}")
            self.steps.append((now + 1.5, self.meet_moved))
            self.steps.append((max(now + 3, self.t0 + 36), self.heal))
            self.end = max(self.end, now + 16)
        elif len(self.homes.left) < before:
            self.screen.say(f"{before - len(self.homes.left)} users have moved, "
                            f"{len(self.homes.left)} are left")
        assert moved or self.homes.took is not None or now - self.homes.since < MOVED_S, \
            f"{len(self.homes.left)} users of {STOPPED} are not followed {MOVED_S} s after it stopped"

    def look_at_outage(self, now):
        up = self.gateways[0]["health"] == "up"
        if "noticed" not in self.outage and not up:
            self.outage["noticed"] = now
        if "healed" in self.outage and "back" not in self.outage and up and \
                self.kamailio.stats()["followed"] == len(self.users):
            self.outage["back"] = now
            self.screen.say(f"everybody is followed again, {now - self.outage['healed']:.1f} s after it")
            self.steps.append((now + 0.5, self.meet_moved))
            self.end = max(self.end, now + 16)
        assert "back" in self.outage or now - self.outage["stopped"] < MOVED_S, \
            f"not everybody is followed {MOVED_S} s after {STOPPED} stopped"

    def where_to(self):
        on = [self.homes.after[user] for user in self.homes.movers]
        return ", ".join(f"{on.count(cas)} to {cas}" for cas in sorted(set(on)))

    def expected_at(self, user, status, t):
        """When a change to this status that is seen at t was to happen; None: it wasn't."""
        for at, what in reversed(self.calendars.days[user].timeline(self.begin, t)[1:]):
            if what == status:
                return at
        return None

    def show_changes(self):
        for user in self.users:
            records = self.watch.timeline.get(user, [])
            for number in range(self.told[user], len(records)):
                record = records[number]
                if number > 0 and record["status"] != records[number - 1]["status"] and self.begin:
                    at = self.expected_at(user, record["status"], record["t"])
                    self.screen.seen(record["t"], name_of(user), record["status"],
                                     self.until(record), None if at is None else record["t"] - at)
            self.told[user] = len(records)

    @staticmethod
    def until(record):
        """Epoch seconds, None: no end."""
        text = record and record["until"]
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")) if text else None

    def view(self):
        """What the screen shows: "head", "cas": [(text, up)], "users": [(name, status, until, CAS,
        whether it moved, subject)]."""
        now = time.time()
        if self.begin is None:
            head = f"pua_exchange  {clock(now)}  starting"
        else:
            verdict = judge(self.calendars.days, self.watch.timeline, self.begin, now)
            worst = max((t.late for t in verdict.seen), default=0)
            head = (f"pua_exchange  {clock(now)}  {len(verdict.seen)} of {self.to_come()} transitions "
                    f"seen, worst {worst:.2f} s  {max(0, round(self.end - now))} s left")
        cas = [(f"{one['name']} {one['health']}: {one['users']} users", one["health"] == "up")
               for one in self.gateways]
        moved = self.homes.movers if self.homes else []
        users = [(name_of(user), self.status(user), self.until(self.watch.state(user)),
                  self.homes_now.get(user, "-"), user in moved,
                  self.calendars.days[user].subject(now)) for user in self.users]
        return {"head": head, "cas": cas, "users": users}

    def to_come(self):
        return sum(len(day.timeline(self.begin, self.end)) - 1
                   for day in self.calendars.days.values())

    # ---- what happens on the way ----

    def schedule(self):
        t0, calendars, say = self.t0, self.calendars, self.screen.say

        def add(name, subject, seconds, status="busy"):
            end = int(time.time()) + seconds
            calendars.put([(aor(name), Meeting(subject, int(time.time()) - 60, end, status))])
            say(f"{name} gets a meeting on the fly: {subject}, until {clock(end)}")

        def add_peggy():
            add("peggy", "Fire drill", 12)

        def move_nina():
            calendars.change(aor("nina"), "Training", start=t0 + 13, end=t0 + 26)
            say(f"nina's Training is moved: {clock(t0 + 13)} to {clock(t0 + 26)}")

        def delete_oscar():
            calendars.delete(aor("oscar"), "Offsite")
            say("oscar's Offsite is deleted")

        def prolong_quinn():
            calendars.change(aor("quinn"), "Retrospective", end=t0 + 30)
            say(f"quinn's Retrospective is prolonged until {clock(t0 + 30)}")

        def meet_other():
            """Somebody whose CAS is well, while the other one is down."""
            name = next(name for name in SPARE if self.homes.before[aor(name)] != STOPPED)
            add(name, "Escalation", 8, "oof")

        def meet_moved():
            """Somebody who has moved is heard on the new CAS."""
            name = SPARE[0] if DAV else next(
                name for name in SPARE if self.homes.before[aor(name)] == STOPPED)
            add(name, "Urgent call", 7)

        self.meet_moved = meet_moved
        self.steps = [
            (t0 + 7, add_peggy),
            (t0 + 9, move_nina),
            (t0 + 11, delete_oscar),
            (t0 + 13, prolong_quinn),
            *([(t0 + 15.5, self.stop_front_end), (t0 + 24, self.heal_front_end)] if DAV else
              [(t0 + 15.5, self.stop_cas), (t0 + 20, meet_other)]),
            (t0 + 33, lambda: say(f"All hands: {len(ALL_HANDS)} users become busy in one second")),
        ]

    def stop_cas(self):
        self.homes = Homes(dict(self.homes_now), STOPPED)
        self.homes.since = time.time()
        self.sim.fail(STOPPED, "refuse")
        self.screen.say(f"{STOPPED} stopped: {len(self.homes.movers)} users move")

    def stop_front_end(self):
        self.sim.fail(STOPPED, "refuse")
        self.outage["stopped"] = time.time()
        self.kamailio.rpc("pua_exchange.refresh", self.users[0])  # or it might not be noticed in so short a time
        self.screen.say(f"{STOPPED} stopped: meetings go on beginning and ending")

    def heal_front_end(self):
        self.sim.heal(STOPPED)
        self.outage["healed"] = time.time()
        self.screen.say(f"{STOPPED} is back")

    def heal(self):
        self.sim.heal(STOPPED)
        self.screen.say(f"{STOPPED} is back: nobody moves")

    def settled(self):
        """Everybody is followed, and seen as the calendar says."""
        now = time.time()
        return len(self.homes_now) == len(self.users) and all(
            day.timeline(now, now + 1)[0][1] == self.status(user)
            for user, day in self.calendars.days.items())

    def run(self):
        """From settled to the end; the Verdict."""
        deadline = time.monotonic() + READY_S
        while not self.settled():
            assert time.monotonic() < deadline, \
                f"not within {READY_S} s: all users followed and seen as their calendars say" \
                f"{gist(self.kamailio.process)}"
            time.sleep(0.1)
            self.look()
        self.begin = time.time()
        self.end = self.t0 + PLAY_S
        statuses = [self.status(user) for user in self.users]
        self.screen.say("everybody is followed and seen right: " + ", ".join(
            f"{statuses.count(status)} {status}" for status in ("available", "busy", "away")))
        self.schedule()
        while time.time() < self.end:
            for step in sorted(self.steps, key=lambda step: step[0]):
                if step[0] <= time.time():
                    self.steps.remove(step)
                    step[1]()
            self.look()
            time.sleep(0.05)
        end = self.end
        # what was due at the very end may be as late as anything else
        while time.time() < end + ON_TIME_S + 0.5:
            self.look()
            time.sleep(0.05)
        return judge(self.calendars.days, self.watch.timeline, self.begin, end)

    def module_agrees(self):
        """The module, asked by RPC, has everybody where the simulator has them."""
        users = self.kamailio.rpc("pua_exchange.users")["users"]
        said = {one["aor"]: one["gateway"] for one in users}
        return said == self.homes_now

    def summary(self, verdict, module_agrees, problems):
        """(its lines, whether all was well)"""
        v, homes = verdict, self.homes
        lines = [f"{len(v.transitions)} transitions expected: {len(v.seen)} seen, "
                 f"{len(v.late)} of them late, {len(v.missing)} missing; {len(v.wrong)} wrong",
                 "  seen after its time    how many      min   median      max"]
        for what, by_clock in (("begins or ends", True), ("changed on the fly", False)):
            if (figures := v.lateness(by_clock)):
                count, low, median, high = figures
                lines.append(f"  {what:<22} {count:8} {low:6.3f} s {median:6.3f} s {high:6.3f} s")
        if DAV:
            return self.dav_summary(lines, module_agrees, problems, v)
        moved_well = homes.good(self.homes_now)
        others = "nobody else moved" if not homes.strays else \
            "moved without need: " + " ".join(sorted(name_of(user) for user in homes.strays))
        lines.append(f"{STOPPED} stopped at {clock(homes.since)}: its {len(homes.movers)} users moved "
                     f"within {homes.took:.1f} s ({self.where_to()})")
        lines.append(f"  {others}")
        if not moved_well and not homes.strays:
            lines.append("  not followed where they were: " + " ".join(
                name_of(user) for user in self.users
                if self.homes_now.get(user) != homes.after.get(user)))
        if not module_agrees:
            lines.append("  the module's RPC has users elsewhere than the simulator")
        lines += self.wrongs(v, problems)
        return lines, v.good and moved_well and module_agrees and not problems

    @staticmethod
    def wrongs(v, problems):
        lines = []
        for what, them in (("late", v.late), ("missing", v.missing)):
            for t in them[:5]:
                how = f", seen {t.late:.3f} s later" if what == "late" else ""
                lines.append(f"  {what}: {name_of(t.user)} {t.status} at {clock(t.at)}{how}")
        for user, t, status in v.wrong[:5]:
            lines.append(f"  wrong: {name_of(user)} was seen {status} at {clock(t)}")
        for problem in problems[:5]:
            lines.append(f"  problem: {problem['aor'] or ''} {problem['what']}")
        return lines

    def dav_summary(self, lines, module_agrees, problems, v):
        out, asked = self.outage, self.counters["requests"]
        back = all(what in out for what in ("stopped", "noticed", "healed", "back"))
        lines.append(f"{STOPPED} stopped at {clock(out['stopped'])} for "
                     f"{out['healed'] - out['stopped']:.1f} s" +
                     (f": everybody was followed again within {out['back'] - out['healed']:.1f} s"
                      if back else ": not everybody is followed again"))
        methods = ("PROPFIND", "SEARCH", "SUBSCRIBE", "POLL", "UNSUBSCRIBE")
        lines.append("WebDAV requests that the simulator counted: " +
                     ", ".join(f"{asked[method]} {method}" for method in methods) +
                     f"; {asked['logon']} login by form")
        if not module_agrees:
            lines.append("  the module's RPC has users elsewhere than the simulator")
        spoken = all(asked[method] for method in methods[:4]) and asked["logon"] > 0
        return lines + self.wrongs(v, problems), \
            v.good and back and module_agrees and spoken and not problems


def play(folder, view, signals):
    """(summary, whether all was well)"""
    demo = Demo(folder, view, signals)
    try:
        demo.start()
        verdict = demo.run()
        agrees = demo.module_agrees()
        demo.counters = demo.sim.counters()
        view.say("stopping everything")
        view.draw(demo.view)
    finally:
        signals.ignore()
        counts = demo.stop()
    summary, good = demo.summary(verdict, agrees, demo.watch.problems)
    if counts is None:
        summary.append("  presence-watch did not end well")
    return summary, good and counts is not None


def main():
    code, summary, folder, view = 1, [], None, None
    try:
        signals = Signals()
        check_programs()
        with signals.held():
            folder = Path(tempfile.mkdtemp(prefix="px-demo-"))
        view = screen("pua_exchange: a minute of twenty-two calendars, seen by a SIP watcher")
        summary, good = play(folder, view, signals)
        code = 0 if good else 1
        summary.append("All was seen on time." if good else "FAILED.")
    except Interrupted as e:
        code, summary = 128 + e.args[0], ["Interrupted; everything is stopped."]
    except BrokenPipeError:
        code = 128 + signal.SIGPIPE
    except (AssertionError, OSError) as e:
        summary = f"FAILED: {e}".splitlines()
    finally:
        Signals.ignore()
        if code == 1 and folder:
            summary.append(f"The logs are kept in {folder}")
        elif folder:
            shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(BrokenPipeError):
            if view:
                view.close(summary)
            else:
                print("\n".join(summary))
            sys.stdout.flush()
    if code == 128 + signal.SIGPIPE:
        sys.stdout = None  # nobody reads it, nor is it to be flushed
    return code


if __name__ == "__main__":
    sys.exit(main())
