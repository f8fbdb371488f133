# SPDX-License-Identifier: GPL-2.0-or-later
"""The module in a real proxy, which is the presence server too: the samples of plugin/. The same cases
for Kamailio and, with PX_HOST=opensips, for OpenSIPS."""

import math
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from harness import Watch, free_port, wait_until
from harness.knocking import Knocking
from harness.host import HOST, Host
from harness.process import PATIENCE
from harness.proxy import WORKER, alive, children, stopped

USERS = 12
AORS = [f"user{i}@example.test" for i in range(1, USERS + 1)]


@pytest.fixture
def proxy(new_proxy):
    """Starts a proxy that follows everybody; more settings as arguments."""
    def make(settings=None, followed=USERS, **kwargs):
        one = new_proxy(settings, **kwargs)
        if followed:
            one.wait_followed(followed)
        return one

    return make


@pytest.fixture(scope="module")
def shared(tmp_path_factory, sim):
    """One for the tests that only ask, or change users of their own."""
    folder = Path("/tmp") / f"px-shared-{os.getpid()}"
    folder.mkdir()
    with Host(folder, {**sim.settings(), "user": AORS}, processes=2) as one:
        one.wait_followed(USERS)
        yield one
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def meet(sim):
    """Adds a meeting, which goes with the test."""
    made = []

    def add(*args):
        made.append(sim.add_meeting(*args))
        return made[-1]

    yield add
    for one in made:
        try:
            sim.delete_meeting(one)
        except AssertionError:
            pass  # the test did


def known(proxy):
    """What must outlive a worker: AoR -> gateway, subscription, ETag."""
    return {aor: {name: one[name] for name in ("gateway", "subscription", "etag")}
            for aor, one in ((aor, proxy.user(aor)) for aor in AORS)}


def subscribes(sim):
    return sum(sim.counters()["subscribes_per_second"].values())


# ---- users become busy ----

@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_meetings_are_seen_on_time(proxy, sim, meet, folder, transport):
    """presence_server is the proxy's own socket, over TCP if it listens on it."""
    if transport == "udp":
        p = proxy(listen=("udp",), followed=0)  # without TCP there is no RPC over HTTP either
    else:
        p = proxy()
    assert f"presence_server is sip:127.0.0.1:{p.port};transport={transport}" in p.log()
    with Watch(folder, p.tcp if transport == "tcp" else p.udp, AORS) as watch:
        watch.wait_ready()
        watch.wait_all({aor: "available" for aor in AORS}, timeout=10)
        begins = math.ceil(time.time()) + 2
        meet(AORS[0], begins, begins + 2, "busy")
        meet(AORS[1], begins, begins + 2, "oof")
        meet(AORS[2], begins, begins + 2, "tentative")
        gone = meet(AORS[3], begins, begins + 600, "busy")
        for aor, status in ((AORS[0], "busy"), (AORS[1], "away"), (AORS[3], "busy")):
            assert begins <= watch.wait_for(aor, status, timeout=5)["t"] < begins + 2
        sim.delete_meeting(gone)
        watch.wait_for(AORS[3], "available", timeout=4)
        for aor in AORS[:2]:
            seen = watch.wait_for(aor, "available", timeout=5)
            assert begins + 2 <= seen["t"] < begins + 4
        assert {one["status"] for one in watch.timeline[AORS[2]]} <= {"available", "unknown"}
        watch.stop()
    assert watch.problems == []


# ---- RPC and statistics ----

def test_users_in_pages(shared):
    every = shared.rpc("pua_exchange.users")
    assert every["total"] == USERS and "next" not in every
    assert sorted(one["aor"] for one in every["users"]) == sorted(AORS)
    seen, at = [], 0
    while True:
        page = shared.rpc("pua_exchange.users", at, 5)
        assert len(page["users"]) <= 5
        seen += [one["aor"] for one in page["users"]]
        at = page.get("next", 0)
        if not at:
            break
    assert sorted(seen) == sorted(AORS)
    some = shared.rpc("pua_exchange.users", "gateway=cas1", "watch=followed", "limit=100")["users"]
    assert 0 < len(some) < USERS and all(one["gateway"] == "cas1" for one in some)
    assert [one["aor"] for one in shared.rpc("pua_exchange.users", "match=USER12@")["users"]] == \
        ["user12@example.test"]
    if HOST == "kamailio":
        assert "aor: user12@example.test" in shared.kamcmd("pua_exchange.users", "0", "50")


def test_one_user(shared):
    one = shared.user("sip:user1@EXAMPLE.test:5060;transport=tcp")
    assert one["aor"] == one["mailbox"] == "user1@example.test"
    assert (one["enabled"], one["origin"], one["status"]) == ("yes", "cfg", "available")
    assert one["waits"] == f"followed at {one['gateway']}" and one["gateway"] in ("cas1", "cas2")
    assert one["etag"] and one["subscription"] and one["confirmed"] == "yes"
    assert 0 <= one["age"] < 60
    if HOST == "kamailio":
        assert "waits: followed at" in shared.kamcmd("pua_exchange.user", "user1@example.test")


@pytest.mark.parametrize("command, code, words", [
    (("user", "nobody@example.test"), 404, "No such user"),
    (("user", "nobody"), 400, "write user@host"),
    (("user", "x" * 300 + "@example.test"), 400, "too long"),
    (("user",), 400, "Give an AoR"),
    (("users", "colour=red"), 400, "colour=red: the filters are"),
    (("users", "0", "0"), 400, "limit is 1 to 1000"),
    (("refresh", "nobody@example.test"), 404, "No such user"),
    (("disable", "nobody@example.test"), 404, "No such user"),
    (("enable", "new@example.test,nomailbox"), 400, "not a mailbox"),
    (("enable", ""), 400, "not an AoR"),
])
def test_refusals(shared, command, code, words):
    if HOST == "opensips" and command == ("users", "colour=red"):
        code, words = -32602, "Invalid params"  # it knows the names, and says so itself
    got, said = shared.fault("pua_exchange." + command[0], *command[1:])
    assert got == code and words in said


def test_gateways(shared):
    gateways = shared.rpc("pua_exchange.gateways")
    assert [one["name"] for one in gateways] == ["cas1", "cas2"]
    assert sum(one["users"] for one in gateways) == USERS
    assert all(one["health"] == "up" and one["requests"] > 0 for one in gateways)
    if HOST == "kamailio":
        assert "name: cas2" in shared.kamcmd("pua_exchange.gateways")


def checked(proxy, *whom):
    """The rows of a check that has ended: {gateway: {step: (result, text)}}."""
    whole = []

    def ended():
        whole[:] = [proxy.rpc("pua_exchange.check", *whom)]
        return whole[0]["check"] == "done"

    wait_until(ended, 15, lambda: whole)
    found = {}
    for row in whole[0]["steps"]:
        found.setdefault(row["gateway"], {})[row["step"]] = (row["result"], row.get("text", ""))
    return found


def test_check(shared, sim):
    found = checked(shared)
    assert set(found) == {"cas1", "cas2"}
    for steps in found.values():
        assert {result for result, _ in steps.values()} == {"ok"} and len(steps) == 13, found
    user = checked(shared, "user3@example.test")
    at = shared.user("user3@example.test")["gateway"]
    assert set(user) == {at} and user[at]["mailbox"] == ("ok", "user3@example.test")
    sim.request("POST", "/faults", {"cas": "cas2", "kind": "Subscribe", "how": "cut", "bytes": 60})
    try:
        one = checked(shared, "cas2")
    finally:
        sim.request("DELETE", "/faults")
    assert set(one) == {"cas2"} and one["cas2"]["subscription"][0] == "FAILED", one
    assert one["cas2"]["calendar"][0] == "ok"
    assert shared.fault("pua_exchange.check", "nobody@example.test")[0] == 404
    if HOST == "kamailio":
        assert "step: resolve" in shared.kamcmd("pua_exchange.check", "cas1")
    # the service wasn't touched
    assert shared.stats()["followed"] == USERS and sim.counters()["failed_logins"] == 0


def test_statistics(shared):
    stats = shared.stats()
    assert (stats["worker"], stats["login"], stats["presence_server"]) == ("running", "open", "up")
    want = {"users": USERS, "published": USERS, "subscribed": USERS, "followed": USERS,
            "gateways_up": 2, "gateways_down": 0, "worker_up": 1, "worker_restarts": 0}
    assert want.items() <= stats.items()
    assert stats["streams"] >= 2 and stats["subscribes"] >= USERS <= stats["publishes"]
    fetched = shared.statistics()
    metrics = shared.metrics() if HOST == "kamailio" else None
    for name, value in want.items():
        assert fetched[name] == value
        assert not metrics or metrics[f"kamailio_pua_exchange_{name}"] == value


def test_commands(shared, sim, meet, folder):
    aor, new = AORS[5], "stranger@example.test"
    with Watch(folder, shared.tcp, [aor, new]) as watch:
        watch.wait_for(aor, "available")
        assert shared.rpc("pua_exchange.disable", aor) == "ok"
        watch.wait_gone(aor, timeout=4)
        # the watcher may hear of it before the worker has its answer
        wait_until(lambda: shared.user(aor)["waits"] == "switched off", 3, lambda: shared.user(aor))
        one = shared.user(aor)
        assert (one["enabled"], one["status"]) == ("no", "unknown")
        # a new user, shown what is in somebody else's calendar
        assert shared.rpc("pua_exchange.enable", f"{new},{AORS[6]}") == "ok"
        watch.wait_for(new, "available", timeout=6)
        meeting = meet(AORS[6], "-10", "+600")
        watch.wait_for(new, "busy", timeout=8)
        one = shared.user(new)
        assert (one["mailbox"], one["origin"], one["status"]) == (AORS[6], "rpc", "busy")
        assert shared.rpc("pua_exchange.refresh", new) == "ok"
        # both stay so when the worker is another
        shared.restart_worker(signal.SIGKILL)
        shared.wait_followed(USERS)
        assert shared.user(aor)["enabled"] == "no"
        assert shared.user(new)["enabled"] == "yes"
        assert watch.state(new)["status"] == "busy"
        # OpenSIPS says twice that a document is gone: closed, and then empty
        assert watch.state(aor)["status"] in ("offline", "unknown")
        sim.delete_meeting(meeting)
        watch.wait_for(new, "available", timeout=6)
        assert shared.rpc("pua_exchange.enable", aor) == "ok"
        watch.wait_for(aor, "available", timeout=6)
        shared.wait_followed(USERS + 1)
        if HOST == "kamailio":
            assert shared.kamcmd("pua_exchange.disable", new).strip() == "ok"
        else:
            assert shared.rpc("pua_exchange.disable", new) == "ok"
        watch.stop()
    assert watch.problems == []


def test_a_refresh_changes_nothing(shared, meet, folder):
    """Kamailio without a database forgets a document that is refreshed without it."""
    aor = AORS[8]
    meet(aor, "-10", "+600")
    with Watch(folder, shared.tcp, [aor], "--all") as watch:
        watch.wait_for(aor, "busy", timeout=8)
        seen = len(watch.timeline[aor])
        etag = shared.user(aor)["etag"]
        assert shared.rpc("pua_exchange.refresh", aor) == "ok"
        wait_until(lambda: shared.user(aor)["etag"] != etag, 5, "a new ETag")
        wait_until(lambda: len(watch.timeline[aor]) > seen, 5, "a NOTIFY")
        time.sleep(0.5)
        assert all((one["status"], one["tuples"], one["persons"]) == ("busy", 1, 1)
                   for one in watch.timeline[aor][seen:]), watch.timeline[aor][seen:]
        watch.stop()
    assert watch.problems == []


def test_what_a_user_waits_for(shared, sim):
    assert shared.rpc("pua_exchange.enable", "ghost@example.test,ghost@example.test") == "ok"
    wait_until(lambda: shared.user("ghost@example.test")["watch"] == "parked", 10,
               lambda: shared.user("ghost@example.test"))
    one = shared.user("ghost@example.test")
    assert one["waits"].startswith(f"parked until {one['tried_again']}: Error")
    assert one["status"] == "unknown"
    parked = shared.rpc("pua_exchange.users", "watch=parked")["users"]
    assert [user["aor"] for user in parked] == ["ghost@example.test"]
    shared.rpc("pua_exchange.disable", "ghost@example.test")


def test_lines_of_the_worker_have_their_level(shared):
    assert any(re.search("NOTICE: ?pua_exchange", line) and "start version=" in line
               for line in shared.log().splitlines())


def test_nothing_secret_is_seen(shared, sim):
    """Neither settings nor password in arguments, environment or log; nothing of the proxy left."""
    worker = shared.worker()
    for pid in (worker, shared.supervisor(), shared.process.pid):
        for name in ("cmdline", "environ"):
            assert sim.password.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")[1:] == \
        b"--settings-fd\0003\0--board-fd\0004\0--control-fd\0005\0--table-fd\0006\0".split(b"\0")
    assert sim.password not in shared.log()
    ours = {f"/memfd:pua_exchange {name} (deleted)" for name in ("board", "settings", "users")}
    links = {os.readlink(fd) for fd in Path(f"/proc/{worker}/fd").iterdir()}
    assert ours <= links
    assert not any(link.startswith("/memfd") for link in links - ours)
    # no shared memory, no module of the proxy is mapped, only the board
    maps = Path(f"/proc/{worker}/maps").read_text()
    assert f"bin/{HOST}" not in maps and f"{HOST}/modules" not in maps and "/dev/zero" not in maps
    # and the proxy's processes have the board read-only, and no settings
    for pid in children(shared.process.pid):
        if shared.supervisor() in children(pid):
            continue
        lines = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines()
                 if "pua_exchange board" in line]
        assert lines and all(line.split()[1] == "r--s" for line in lines)
        assert "/memfd:pua_exchange settings (deleted)" not in \
            {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}


# ---- bad settings ----

BAD = {
    "nothing": ({"gateway": []}, "gateway: there is none"),
    "no url": ({"gateway": "cas1"}, "modparam 2: gateway: is not a URL"),
    "not encrypted": ({"gateway": "http://cas1.example.com"}, "gateway: with http"),
    "range": ({"publish_expires": 5}, "publish_expires: 5 is out of range; give 60 to 86400"),
    "number": ({"horizon": "2 days"}, "horizon: 2 days is not a number"),
    "choice": ({"auth": "kerberos"}, "auth: kerberos is no choice"),
    "mapping": ({"map": "lunch=busy"}, "map: lunch: the statuses are"),
    "user": ({"user": ["a@example.test", "nonsense"]}, "user: nonsense is not an AoR"),
    "twice": ({"user": ["a@example.test", "a@example.test"]}, "stands in modparam"),
    "single twice": ({"account": ["a@example.test", "b@example.test"]}, "account: is given in"),
    "server": ({"presence_server": "localhost"}, "presence_server: is not a SIP URI"),
    "empty": ({"account": ""}, "account: has no value"),
    "line": ({"account": "x\nuser = y@example.test"}, "account: has a control character in it"),
    "password": ({"password_file": "/nowhere/password"}, "password_file: /nowhere/password: No"),
    "users": ({"users_file": "/nowhere/users"}, "users_file: /nowhere/users: No such file"),
    "ca": ({"ca_file": "/nowhere/ca.pem"}, "ca_file: /nowhere/ca.pem: No such file"),
    "no listener": ({"subscription": "push"}, "subscription: push needs listen_http"),
    "worker": ({"worker": "/nowhere/worker"}, "worker: /nowhere/worker: No such file"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_refused(folder, sim, name):
    settings, words = BAD[name]
    proxy = Host(folder, {**sim.settings(), "user": AORS[0], **settings}, processes=1)
    proxy.spawn()
    assert proxy.process.wait(10) != 0
    assert any(words in line for line in proxy.errors()), proxy.log()
    assert sim.password not in proxy.log()


def test_a_password_others_may_read_is_refused(folder, sim):
    path = folder / "password"
    path.write_text("secret\n")
    path.chmod(0o644)
    proxy = Host(folder, {**sim.settings(), "password_file": path}, processes=1)
    proxy.spawn()
    assert proxy.process.wait(10) != 0
    assert "others may access it (mode 0644)" in proxy.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_files_are_opened_as_who_the_proxy_becomes(folder, sim):
    path = folder / "password"
    path.write_text(sim.password + "\n")
    path.chmod(0o600)
    folder.chmod(0o755)
    proxy = Host(folder, {**sim.settings(), "user": AORS[0], "password_file": path}, processes=1,
                 user="nobody")
    proxy.spawn()
    assert proxy.process.wait(10) != 0
    assert f"password_file: {path}: Permission denied" in proxy.log()


# ---- the worker dies, hangs, is missing ----

@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_worker_killed(proxy, sim, meet, folder, transport):
    """Back within 5 s with everything that it knew: nobody subscribes again, nobody sees it."""
    port = free_port()
    p = proxy({"presence_server": f"sip:127.0.0.1:{port};transport={transport}"}, port=port)
    meet(AORS[0], "-10", "+600")
    with Watch(folder, p.tcp if transport == "tcp" else p.udp, AORS, "--all") as watch:
        watch.wait_ready()
        watch.wait_for(AORS[0], "busy")
        watch.wait_all({aor: "available" for aor in AORS[1:]})
        before, asked = known(p), subscribes(sim)
        mark = {aor: len(watch.timeline[aor]) for aor in AORS}
        for _ in range(2):
            p.restart_worker(signal.SIGKILL)
            p.wait_followed(USERS)
        after = known(p)
        assert subscribes(sim) == asked
        for aor in AORS:
            assert after[aor]["gateway"] == before[aor]["gateway"]
            assert after[aor]["subscription"] == before[aor]["subscription"]
            want = "busy" if aor == AORS[0] else "available"
            seen = watch.timeline[aor][mark[aor]:]
            assert all((one["status"], one["tuples"], one["persons"]) == (want, 1, 1)
                       for one in seen), seen
        assert p.stats()["worker_restarts"] == 2
        watch.stop()
    assert watch.problems == []
    assert p.log().count("worker was ended by signal 9") == 2
    assert p.errors()


def test_an_answer_lost_with_the_worker(proxy, sim, meet, folder):
    """A PUBLISH is carried out after the worker was killed that sent it: nobody knows the ETag of what
    stands there then. It neither stands beside what is published next, nor before it."""
    server = proxy({"user": []}, followed=0)
    p = proxy({"presence_server": server.udp})
    aor = AORS[0]
    with Watch(folder, server.tcp, [aor]) as watch:
        watch.wait_for(aor, "available")
        with stopped(server.process.pid):
            meeting = meet(aor, "-10", "+600")
            wait_until(lambda: p.user(aor)["publication"] == "in_flight", 5, lambda: p.user(aor))
            os.kill(p.worker(), signal.SIGKILL)
        p.wait_restarted(1)
        watch.wait_for(aor, "busy", tuples=1, persons=1)
        p.wait_followed(USERS)
        wait_until(lambda: p.user(aor)["confirmed"] == "yes", 5, lambda: p.user(aor))
        sim.delete_meeting(meeting)
        watch.wait_for(aor, "available", tuples=1, persons=1, timeout=8)
        watch.stop()
    assert watch.problems == []


def test_worker_hung(proxy, folder):
    """Killed after 10 s without a heartbeat; nobody waits for it meanwhile."""
    p = proxy()
    with Watch(folder, p.tcp, AORS) as watch, Knocking(p.port) as knocking:
        watch.wait_all({aor: "available" for aor in AORS})
        before, pid = known(p), p.worker()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        code, words = p.fault("pua_exchange.refresh", AORS[0])
        assert time.monotonic() - began < 2 * PATIENCE and code == 503 and "doesn't answer" in words
        began_asking = time.monotonic()
        assert p.user(AORS[0])["gateway"] and len(p.rpc("pua_exchange.users")["users"]) == USERS
        assert time.monotonic() - began_asking < 0.5 * PATIENCE
        wait_until(lambda: not alive(pid), 12, "the hung worker is killed")
        assert time.monotonic() - began > 8
        p.wait_restarted(1)
        p.wait_followed(USERS)
        after = known(p)
        assert all(after[aor]["subscription"] == before[aor]["subscription"] for aor in AORS)
        assert all(watch.state(aor)["status"] == "available" and watch.state(aor)["tuples"] == 1
                   for aor in AORS)
        watch.stop()
    assert p.rpc("pua_exchange.refresh", AORS[0]) == "ok"
    assert "worker hung and was ended by signal 9" in p.log()
    assert knocking.unanswered == 0 and len(knocking.took) > 300


def test_supervisor_killed(proxy, folder):
    """The worker goes with it, and both come back; the proxy isn't concerned."""
    p = proxy()
    with Watch(folder, p.tcp, AORS) as watch, Knocking(p.port) as knocking:
        watch.wait_all({aor: "available" for aor in AORS})
        for n in (1, 2, 3):
            supervisor, worker = p.supervisor(), p.worker()
            os.kill(supervisor, signal.SIGKILL)
            wait_until(lambda: not alive(worker), 2, "the worker ends with it")
            p.wait_worker(5, worker)
            assert p.supervisor() != supervisor
            p.wait_restarted(n)
        p.wait_followed(USERS)
        assert all(watch.state(aor)["status"] == "available" for aor in AORS)
        watch.stop()
    assert p.log().count("supervisor ended (status 9)") == 3
    assert knocking.unanswered == 0


def test_worker_missing(proxy, folder):
    """It is said, and all goes on once it is there."""
    program = folder / "pua_exchange_worker"
    shutil.copy(WORKER, program)
    p = proxy({"worker": program})
    hidden = program.rename(folder / "elsewhere")
    os.kill(p.worker(), signal.SIGKILL)
    wait_until(lambda: f"worker {program}: No such file or directory" in p.log(), 5, "said")
    assert p.user(AORS[0])["gateway"]
    assert p.answers()
    hidden.rename(program)
    p.wait_restarted(1)
    p.wait_followed(USERS)


# ---- the proxy ends ----

def test_proxy_restarted(proxy, folder):
    p = proxy()
    with Watch(folder, p.tcp, AORS) as watch:
        watch.wait_all({aor: "available" for aor in AORS})
        worker, supervisor = p.worker(), p.supervisor()
        began = time.monotonic()
        p.stop()
        assert time.monotonic() - began < 3 * PATIENCE
        assert not alive(worker) and not alive(supervisor)
        p.start()
        p.wait_followed(USERS)
        watch.wait_all({aor: "available" for aor in AORS}, timeout=10)
        wait_until(lambda: all(watch.state(aor)["tuples"] == 1 for aor in AORS), 5, "one tuple")
        watch.stop()


def test_proxy_stops_with_a_hung_worker(proxy):
    p = proxy()
    worker = p.worker()
    os.kill(worker, signal.SIGSTOP)
    began = time.monotonic()
    p.stop()
    assert time.monotonic() - began < 8 * PATIENCE
    wait_until(lambda: not alive(worker), 1, "the worker ends")


def test_proxy_killed(proxy):
    """main alone, so that nobody tells the others."""
    p = proxy()
    worker, supervisor, others = p.worker(), p.supervisor(), children(p.process.pid)
    p.process.kill()
    try:
        wait_until(lambda: not alive(worker) and not alive(supervisor), 1, "both end")
    finally:
        for pid in others:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


# ---- next to tls.so ----

def test_kills_next_to_tls(proxy, sim, folder):
    """With OpenSSL in the proxy's shared memory: no lock is left held, no memory lost."""
    tls = Host.Tls(folder)
    p = proxy(more=tls.lines)
    # OpenSIPS answers over UDP before the process for TCP and TLS is up
    wait_until(tls.answers, 5, "TLS")
    chance = random.Random(1)
    with Watch(folder, p.tcp, AORS) as watch, Knocking(p.port) as knocking:
        watch.wait_all({aor: "available" for aor in AORS})
        used = []
        for _ in range(5):
            pid = p.worker()
            meetings = [sim.add_meeting(aor, "-10", "+600") for aor in AORS]
            time.sleep(chance.uniform(0, 0.4))
            os.kill(pid, signal.SIGKILL)
            p.wait_worker(5, pid)
            assert tls.answers()
            watch.wait_all({aor: "busy" for aor in AORS}, timeout=8)
            for one in meetings:
                sim.delete_meeting(one)
            watch.wait_all({aor: "available" for aor in AORS}, timeout=8)
            used.append(p.shared_memory())
        watch.stop()
    assert watch.problems == []
    assert knocking.unanswered == 0 and max(knocking.took) < 0.5
    assert p.stats()["worker_restarts"] == 5
    # transactions linger for some seconds; nothing stays
    wait_until(lambda: p.shared_memory() < min(used) + 50_000, 15,
               lambda: f"{p.shared_memory()}, after {used}")
