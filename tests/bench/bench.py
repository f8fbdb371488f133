#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What the worker is worth: prints a table, writes build/bench.json. See README.md beside it."""

import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
os.environ["PX_BUILD"] = "build"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from harness import BUILD, ExchangeSim, Kamailio, Process, Watch, Worker, wait_until
from harness.knocking import Knocking
from harness.process import ROOT

CAS = 4
USERS = 10_000
MANY = 20_000
PUBLISHERS = 60_000
ROUNDS = 5
COLD_STARTS = 3
WINDOW = 200
CHANGES_PER_S = 50
CHANGES_S = 60
SETTLE_S = 10
QUARTER_S = 900
STORM = 10_000  # of MANY users, in the same second
STORM_WATCHED = 200
STORM_ROUNDS = 7
STORM_BARE = 10_000  # documents of nta alone
STORM_LEAD_S = 35
STORM_WINDOWS = (8, 32, 128)

# key -> (what it is, unit, target: (at most or at least, figure) or None)
TABLE = {
    "cold_start_10k_s": ("start to 10,000 published in Kamailio", "s", ("<=", 10)),
    "subscribed_10k_s": ("start to 10,000 subscribed and in a stream", "s", ("<=", 120)),
    "event_to_publish_p50_ms": ("a change to its PUBLISH, median", "ms", None),
    "event_to_publish_p99_ms": ("a change to its PUBLISH, 99 of 100", "ms", ("<=", 500)),
    "reads_per_event": ("availability requests per change", "", ("<=", 0.3)),
    "publish_per_s": ("PUBLISH per second of the worker", "/s", None),
    "nta_loop_per_s": ("PUBLISH per second of nta alone", "/s", None),
    "publish_ratio": ("the worker against nta alone", "", (">=", 0.8)),
    "parse_mb_per_s": ("answers of Exchange read", "MB/s", None),
    "sax_mb_per_s": ("the same bytes by bare libxml2", "MB/s", None),
    "parse_ratio": ("ours against bare libxml2", "", (">=", 0.7)),
    "requests_per_user_day": ("requests to Exchange, a day of one user", "", None),
    "bytes_per_user_day": ("and their bytes, asked and answered", "B", None),
    "storm_publish_per_s": ("10,000 of 20,000 change at once: to Kamailio", "/s", None),
    "storm_nta_per_s": ("nta alone to it, best of its windows", "/s", None),
    "storm_ratio": ("the worker against nta alone", "", (">=", 0.9)),
    "storm_wrong": ("users whom a watcher sees wrong after it", "", ("<=", 0)),
    "storm_options_p99_ms": ("OPTIONS during it, 99 of 100", "ms", ("<=", 100)),
    "board_lookup_ns": ("$exchange(...) of 100,000 users, board written at full speed", "ns",
                        ("<=", 1000)),
    "board_lookup_wall_ns": ("... by the clock, if every process had a core", "ns", None),
    "worker_bytes_per_user": ("memory of a user, board included", "B", ("<=", 1536)),
}


def say(text):
    print(f"{time.monotonic() - STARTED:6.1f} s  {text}", file=sys.stderr, flush=True)


class Sink:
    """build/bench/sink; ask() sends a command and returns the line of JSON that answers it."""

    def __init__(self, folder, *options):
        self.lines = []
        self.came = threading.Condition()
        self.process = Process([BUILD / "bench" / "sink", *options], folder,
                               on_line=self._line, open_stdin=True)
        self.port = self.next(10)["port"]

    def _line(self, text):
        with self.came:
            self.lines.append(json.loads(text))
            self.came.notify_all()

    def tell(self, command):
        self.process.child.stdin.write(command.encode() + b"\n")
        self.process.child.stdin.flush()

    def next(self, timeout):
        with self.came:
            if not self.came.wait_for(lambda: self.lines, timeout):
                raise AssertionError(f"nothing from the sink within {timeout} s")
            return self.lines.pop(0)

    @property
    def server(self):
        return f"sip:127.0.0.1:{self.port};transport=tcp"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()


def worker(folder, sim, users, server, **more):
    """The worker for user1 to userN of the simulator, not started."""
    users_file = Path(folder) / f"users-{users}.csv"
    users_file.write_text("".join(f"user{n}@example.test\n" for n in range(1, users + 1)))
    return Worker(folder, {**sim.settings(), "users_file": users_file,
                           "presence_server": server, **more})


def simulator(folder, users):
    return ExchangeSim(folder, "--cas", CAS, "--users", users)


# ---- how fast it publishes ----

def nta_alone(sink, body):
    sink.tell(f"expect {PUBLISHERS}")
    subprocess.run([BUILD / "bench" / "nta_loop", str(sink.port), str(PUBLISHERS), str(WINDOW),
                    str(body)], check=True, timeout=60)
    return sink.next(10)["per_s"]


def worker_alone(folder, sim, sink, body):
    """The worker has read everybody before its presence server is there, so that the simulator has
    no part in it. nta alone goes just before and just after it: (worker's rate, nta's, body)."""
    with Sink(folder, "--closed") as own:
        before = sim.counters()["mailboxes_asked"]
        with worker(folder, sim, PUBLISHERS, own.server, subscription="none") as w:
            wait_until(lambda: sim.counters()["mailboxes_asked"] - before >= PUBLISHERS, 60,
                       f"all {PUBLISHERS} read\n{w.process.tail()}")
            time.sleep(1)
            bare = nta_alone(sink, body)
            own.tell(f"expect {PUBLISHERS}")
            own.tell("open")
            seen = own.next(60)
            w.stop()
    return seen["per_s"], (bare + nta_alone(sink, body)) / 2, round(seen["body"])


def publishing(folder):
    ours, bare = [], []
    body = 590  # until it is known
    with simulator(folder, PUBLISHERS) as sim, Sink(folder) as sink:
        for _ in range(ROUNDS):
            one, other, body = worker_alone(folder, sim, sink, body)
            ours.append(one)
            bare.append(other)
            say(f"publishing: worker {one:.0f}/s, nta alone {other:.0f}/s, "
                f"ratio {one / other:.3f}, body {body}")
    ratios = [one / other for one, other in zip(ours, bare)]
    return {"publish_per_s": round(statistics.median(ours)),
            "nta_loop_per_s": round(statistics.median(bare)),
            "publish_ratio": round(statistics.median(ratios), 3)}


# ---- how fast it reads ----

def measured(program):
    """What a program of its own says: a line of JSON."""
    one = subprocess.run([BUILD / "bench" / program], stdout=subprocess.PIPE, check=True, timeout=180)
    return json.loads(one.stdout)


def parsing(_):
    return measured("parse")


def day(_):
    return measured("day")


# ---- cold start ----

def in_kamailio(kamailio):
    """How many presentities Kamailio has a publication of."""
    return len({p["user"] for p in kamailio.rpc("presence.presentity_list")})


def answered(kamailio):
    """How many requests Kamailio has answered 200: cheap, and no fewer than it has publications."""
    return int(kamailio.rpc("tm.stats")["2xx"])


def cold_start(folder, sim, turn):
    with Kamailio(short(folder, f"k{turn}")) as kamailio:
        with worker(folder, sim, USERS, kamailio.tcp) as w:
            start = time.monotonic()
            end = [0]

            def all_there():
                at = time.monotonic()
                if answered(kamailio) < USERS or in_kamailio(kamailio) < USERS:
                    return False
                end[0] = at
                return True

            wait_until(all_there, 60, f"{USERS} published\n{w.process.tail()}")
            w.stop()
    return end[0] - start


def short(folder, name):
    path = Path(folder) / name
    path.mkdir()
    return path


def cold_starts(folder):
    times = []
    with simulator(folder, USERS) as sim:
        for turn in range(COLD_STARTS):
            times.append(cold_start(folder, sim, turn))
            say(f"cold start: {times[-1]:.2f} s")
    return {"cold_start_10k_s": round(statistics.median(times), 2)}


# ---- subscribed, changed, grown ----

def memory(process):
    """Resident bytes, shared pages of the board among them."""
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Rss")


def settle(folder, sim, sink, users):
    """A worker that follows all users: (it, seconds to all published, to all subscribed)."""
    sink.tell(f"expect {users}")
    w = worker(folder, sim, users, sink.server)
    start = time.monotonic()
    w.start()

    def subscribed():
        return sim.counters()["subscriptions"] >= users and \
            sum(s["streamed"] for s in sim.request("GET", "/subscriptions")) >= users

    wait_until(lambda: slowly(subscribed), 180, f"{users} subscribed\n{w.process.tail()}")
    took = time.monotonic() - start
    published = sink.next(60)["at"] - start
    time.sleep(SETTLE_S)
    return w, published, took


def slowly(condition):
    time.sleep(0.2)
    return condition()


def away_from_quarters(seconds):
    """Meetings begin and end at quarters: a storm of its own, that is not to be measured here."""
    left = QUARTER_S - time.time() % QUARTER_S
    if left < seconds:
        say(f"waiting {left + 15:.0f} s for the quarter of an hour to pass")
        time.sleep(left + 15)


class Changes:
    """Flips meetings that run now: (when, user, what it must become)."""

    def __init__(self, sim):
        now = time.time()
        self.connection = http.client.HTTPConnection(sim.control.split("//")[1], timeout=30)
        # nobody whose own meetings begin, end or hide what we do
        self.free = [user for user, e in sim.expected().items()
                     if e["availability"] == "available" and user.startswith("user") and
                     (e["availability_until"] or now + 86400) > now + 3 * CHANGES_S]
        self.random = random.Random(1)
        self.meeting, self.busy, self.changed_at = {}, {}, {}
        self.made = []

    def _request(self, method, path, body):
        self.connection.request(method, path, json.dumps(body).encode())
        answer = self.connection.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{method} {path}: {answer.status} {text}"
        return json.loads(text)

    def one(self):
        now = time.monotonic()
        # what is still under way would be overtaken
        while now - self.changed_at.get(user := self.random.choice(self.free), -60) < 5:
            pass
        busy = self.busy[user] = not self.busy.get(user)
        self.changed_at[user] = now
        self.made.append((now, user.split("@")[0], "busy" if busy else "available"))
        if user in self.meeting:
            self._request("PATCH", f"/meetings/{self.meeting[user]}",
                          {"status": "busy" if busy else "free"})
        else:
            self.meeting[user] = self._request("POST", "/meetings", {
                "mailbox": user, "start": "-60", "end": "+7200", "status": "busy"})["id"]

    def run(self):
        start = time.monotonic()
        for n in range(CHANGES_PER_S * CHANGES_S):
            left = start + n / CHANGES_PER_S - time.monotonic()
            if left > 0:
                time.sleep(left)
            self.one()
        return time.monotonic() - start


def latencies(made, log):
    """ms from each change to the first PUBLISH after it that says so; None: none did."""
    published = {}
    for line in Path(log).read_text().splitlines():
        at, user, status = line.split()
        published.setdefault((user, status), []).append(float(at))
    return [next(((t - at) * 1000 for t in published.get((user, status), []) if t >= at), None)
            for at, user, status in made]


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def changing(folder, sim, sink):
    away_from_quarters(CHANGES_S + 15)
    changes = Changes(sim)
    log = Path(folder) / "publishes"
    sink.tell(f"log {log}")
    before = sim.counters()["requests"]["GetUserAvailability"]
    took = changes.run()
    time.sleep(3)
    reads = sim.counters()["requests"]["GetUserAvailability"] - before
    sink.tell("flush")
    sink.next(10)
    found = latencies(changes.made, log)
    late = [ms if ms is not None else float("inf") for ms in found]
    say(f"{len(found)} changes in {took:.1f} s among {len(changes.free)} users, {reads} reads, "
        f"{found.count(None)} not published, slowest {max(late):.0f} ms")
    if found.count(None):
        say("lost changes count as endless")
    return {"event_to_publish_p50_ms": round(percentile(late, 0.5)),
            "event_to_publish_p99_ms": round(percentile(late, 0.99)),
            "reads_per_event": round(reads / len(found), 3)}


def following(folder):
    rows = {}
    with simulator(folder, USERS) as sim, Sink(folder) as sink:
        w, published, took = settle(folder, sim, sink, USERS)
        small = memory(w.process)
        say(f"{USERS} users: published {published:.1f} s, subscribed {took:.1f} s, "
            f"Rss {small / 1e6:.1f} MB")
        rows["subscribed_10k_s"] = round(took, 1)
        rows.update(changing(folder, sim, sink))
        w.stop()
    with simulator(folder, MANY) as sim, Sink(folder) as sink:
        w, published, took = settle(folder, sim, sink, MANY)
        large = memory(w.process)
        say(f"{MANY} users: published {published:.1f} s, subscribed {took:.1f} s, "
            f"Rss {large / 1e6:.1f} MB")
        w.stop()
    rows["worker_bytes_per_user"] = round((large - small) / (MANY - USERS))
    return rows


# ---- a storm ----

class Bare:
    """nta alone with documents of its own at a Kamailio, for as long as it is wanted."""

    def __init__(self, folder, port, documents):
        self.said = threading.Semaphore(0)
        self.process = Process(
            [BUILD / "bench" / "nta_loop", port, documents, STORM_WINDOWS[-1],
             ROOT / "sip-fixtures" / "pidf" / "busy.xml"],
            folder, on_line=lambda _: self.said.release(), open_stdin=True)
        self._wait()

    def _wait(self):
        assert self.said.acquire(timeout=60), f"nta_loop\n{self.process.tail()}"

    def modify(self, window):
        """All of them."""
        self.process.child.stdin.write(f"{window}\n".encode())
        self.process.child.stdin.flush()
        self._wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()


def busy_s(*pids):
    """Processor time that they have taken, and those that they made and that still run."""
    ticks, todo = 0, list(pids)
    while todo:
        pid = todo.pop()
        field = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(field[11]) + int(field[12])
        todo += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


class Round:
    """While it lasts: how many requests Kamailio has answered 200, over time; how fast it answers OPTIONS besides; and what
    Kamailio and the sender take of the processors."""

    def __init__(self, kamailio, sender):
        self.kamailio, self.sender = kamailio, sender
        self.seen, self.ended = [], threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.knocking = Knocking(kamailio.port, every=0.005)

    def _run(self):
        while not self.ended.wait(0.05):
            self.seen.append((time.monotonic(), answered(self.kamailio)))

    def _busy(self):
        return busy_s(self.sender.pid), busy_s(self.kamailio.process.pid)

    def __enter__(self):
        self.start, self.busy = answered(self.kamailio), self._busy()
        self.thread.start()
        self.knocking.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.knocking.ended.set()
        self.knocking.join()
        self.busy = [after - before for before, after in zip(self.busy, self._busy())]

    def wait(self, requests):
        wait_until(lambda: slowly(lambda: self.seen and
                                  self.seen[-1][1] >= self.start + requests), 60,
                   f"{requests} are answered\n{self.sender.tail()}")

    def rate(self, requests):
        """Per second, between a tenth and nine tenths of them."""
        first, last = (next((t, n) for t, n in self.seen if n >= self.start + requests * part / 10)
                       for part in (1, 9))
        return (last[1] - first[1]) / (last[0] - first[0])

    def cost(self, requests):
        return "µs each: {:.0f} sender, {:.0f} kamailio".format(
            *(s / requests * 1e6 for s in self.busy))


def nta_at_kamailio(kamailio, bare):
    """{window: PUBLISH per second that modify what stands}, by nta alone."""
    rates = {}
    for window in STORM_WINDOWS:
        with Round(kamailio, bare.process) as one:
            bare.modify(window)
            one.wait(STORM_BARE)
        rates[window] = one.rate(STORM_BARE)
        say(f"storm: nta alone {rates[window]:.0f}/s with {window} in flight; "
            f"{one.cost(STORM_BARE)}")
    return rates


def some(users):
    """Those that are watched: as many of a hundred of ours as of nta's."""
    return users[::STORM // STORM_WATCHED]


def plan(sim, users, begin, spacing):
    """A meeting begins, or ends, in each round; the last one goes on."""
    for n in range(0, STORM_ROUNDS, 2):
        start = begin + n * spacing
        end = start + (spacing if n + 1 < STORM_ROUNDS else 3600)
        for at in range(0, len(users), 500):
            sim.request("POST", "/meetings", [
                {"mailbox": user, "start": start, "end": end, "status": "busy"}
                for user in users[at:at + 500]])


def storming(folder):
    """The meetings are in the calendars before; nobody is asked about anything when they begin. nta alone goes before and after
    each storm, at the same Kamailio, watched and asked as much."""
    options = ("--cas", CAS, "--users", MANY, "--calendars", "empty")
    users = [f"user{n}@example.test" for n in range(1, MANY + 1)]
    bares = [f"bare{n}@example.test" for n in range(1, STORM_BARE + 1)]
    changed = users[::2][:STORM]
    ours, bare, late = [], [], []
    with ExchangeSim(folder, *options) as sim, Kamailio(short(folder, "ks")) as kamailio, \
            Bare(folder, kamailio.port, STORM_BARE) as nta, \
            Watch(folder, kamailio.tcp, some(bares), name="bare-watch") as others:
        others.wait_ready()
        nta_at_kamailio(kamailio, nta)  # warm
        started = time.monotonic()
        bare.append(nta_at_kamailio(kamailio, nta))
        spacing = round((time.monotonic() - started) * 1.5) + 5
        begin = int(time.time()) + STORM_LEAD_S
        plan(sim, changed, begin, spacing)
        before = answered(kamailio)
        with worker(folder, sim, MANY, kamailio.tcp, subscription="none") as w, \
                Watch(folder, kamailio.tcp, some(changed)) as watch:
            wait_until(lambda: slowly(lambda: answered(kamailio) - before >= MANY),
                       STORM_LEAD_S - 10, f"{MANY} published\n{w.process.tail()}")
            watch.wait_all({user: "available" for user in some(changed)})
            for n in range(STORM_ROUNDS):
                left = begin + n * spacing - 1 - time.time()
                assert left > 0, f"nta alone took longer than {spacing} s between storms"
                time.sleep(left)
                with Round(kamailio, w.process) as storm:
                    storm.wait(STORM)
                ours.append(storm.rate(STORM))
                late.append(percentile(storm.knocking.took, 0.99) * 1000)
                say(f"storm: worker {ours[-1]:.0f}/s; {storm.cost(STORM)}; OPTIONS p99 "
                    f"{late[-1]:.1f} ms, {storm.knocking.unanswered} unanswered")
                bare.append(nta_at_kamailio(kamailio, nta))
            busy = "busy" if STORM_ROUNDS % 2 else "available"
            expected = {user: "available" for user in users} | {user: busy for user in changed}
            with Watch(folder, kamailio.tcp, users, name="everybody") as everybody:
                everybody.wait_ready(60)
                time.sleep(1)
                wrong = sum((everybody.state(user) or {}).get("status") != status
                            for user, status in expected.items())
                everybody.stop()
            watch.stop()
            w.stop()
        others.stop()
    best = max(STORM_WINDOWS, key=lambda w: statistics.median(rates[w] for rates in bare))
    ratios = [one * 2 / (bare[n][best] + bare[n + 1][best]) for n, one in enumerate(ours)]
    say(f"storm: best window {best}; ratios {', '.join(f'{ratio:.3f}' for ratio in ratios)}")
    return {"storm_publish_per_s": round(statistics.median(ours)),
            "storm_nta_per_s": round(statistics.median(rates[best] for rates in bare)),
            "storm_ratio": round(statistics.median(ratios), 3), "storm_wrong": wrong,
            "storm_options_p99_ms": round(max(late), 1)}


# ---- look-ups ----

def looking_up(folder):
    """board.c: another process writes all the time, and is killed now and then."""
    done = subprocess.run([BUILD / "bench" / "board", "6000000"], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    say(f"board: {found}")
    return {"board_lookup_ns": round(found["cpu_ns"]), "board_lookup_wall_ns": round(found["wall_ns"])}


# ---- the table ----

def verdict(value, target):
    if target is None:
        return ""
    sign, figure = target
    met = value <= figure if sign == "<=" else value >= figure
    return f"{sign} {figure:,}".ljust(10) + ("met" if met else "missed")


def table(rows):
    for key, (what, unit, target) in TABLE.items():
        if key in rows:
            value = f"{rows[key]:,}"
            print(f"{key:24} {value:>10} {unit:3} {verdict(rows[key], target):17} {what}")


PARTS = {"board": looking_up, "parse": parsing, "day": day, "publish": publishing, "cold": cold_starts, "storm": storming,
         "follow": following}


def main():
    wanted = sys.argv[1:] or list(PARTS)
    if any(part not in PARTS for part in wanted):
        sys.exit(f"usage: bench.py [{'] ['.join(PARTS)}]")
    rows, status = {}, 0
    for part in wanted:
        with tempfile.TemporaryDirectory(prefix="pxb") as folder:
            try:
                rows.update(PARTS[part](folder))
            except (AssertionError, OSError, subprocess.SubprocessError) as e:
                print(f"{part} could not be measured: {e}", file=sys.stderr)
                status = 1
    table(rows)
    (BUILD / "bench.json").write_text(json.dumps(rows, indent=2) + "\n")
    return status


if __name__ == "__main__":
    STARTED = time.monotonic()
    sys.exit(main())
