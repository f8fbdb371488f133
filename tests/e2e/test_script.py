# SPDX-License-Identifier: GPL-2.0-or-later
"""What the proxy's routing script asks, commands and is told; the calls of plugin/*.cfg.sample."""

import math
import os
import re
import signal
import subprocess
import time

import pytest

from harness import Sender, Watch, free_port, wait_until
from harness.host import HOST, Host
from harness.process import TESTS

USERS = 8
AORS = [f"user{i}@example.test" for i in range(1, USERS + 1)]

# MESSAGE sip:COMMAND@host with the words in its body; the answer's reason says what became of it
ROUTE = """
	if (is_method("MESSAGE")) {
		if ($rU == "get") {
			sl_send_reply("200", "is $exchange(availability=>$rb) $exchange(until=>$rb) gateway=$exchange(gateway=>$rb) age=$exchange(age=>$rb)");
			exit;
		}
		$var(aor) = $(rb{s.select,0, });
		$var(ok) = -1;
		if ($rU == "enable") {
			if (exchange_enable("$var(aor)")) $var(ok) = 1;
		} else if ($rU == "enable2") {
			if (exchange_enable("$var(aor)", "$(rb{s.select,1, })")) $var(ok) = 1;
		} else if ($rU == "disable") {
			if (exchange_disable("$var(aor)")) $var(ok) = 1;
		} else if ($rU == "refresh") {
			if (exchange_refresh("$var(aor)")) $var(ok) = 1;
		} else if ($rU == "same") {
			if ($exchange(gateway=>$var(aor)) == $exchange(availability=>$var(aor))) $var(ok) = 1;
		}
		if ($var(ok) == 1)
			sl_send_reply("200", "true");
		else
			sl_send_reply("200", "false");
		exit;
	}
"""
if HOST == "opensips":
    ROUTE = re.sub(r'sl_send_reply\("(\d+)"', r"send_reply(\1", ROUTE)
else:
    ROUTE = ROUTE.replace('"same") {', '"outside") {\n\t\t\tif ($exchange(aor) == $null) '
                          '$var(ok) = 1;\n\t\t} else if ($rU == "same") {')


@pytest.fixture(scope="module")
def voicemail():
    return free_port()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, sim, voicemail):
    """One for all tests here: each changes users of its own."""
    folder = tmp_path_factory.mktemp("proxy")
    with Host(folder, {**sim.settings(), "user": AORS}, processes=2, route=ROUTE,
               voicemail=f"127.0.0.1:{voicemail}") as one:
        one.wait_followed(USERS)
        yield one


# ---- $exchange(...) ----

def test_a_look_up(proxy, sim, script):
    aor = AORS[0]
    status, until, gateway, age = script("get", aor).split()
    assert status == "available" and int(until) >= 0
    assert gateway in ("gateway=cas1", "gateway=cas2") and 0 <= int(age[4:]) < 60
    end = math.ceil(time.time()) + 600
    sim.add_meeting(aor, "-10", end)
    wait_until(lambda: script("get", aor).startswith(f"busy {end} gateway=cas"), 5,
               lambda: script("get", aor))
    assert script("get", f"sip:{aor};transport=udp").startswith("busy ")
    assert script("get", "nobody@example.test") == "unknown unknown gateway=unknown age=unknown"
    assert script("get", "nonsense").startswith("unknown ")
    # both values stand beside one another; an event's are nothing in a request
    assert script("same", aor) == "false"
    if HOST == "kamailio":
        assert script("outside") == "true"


# ---- functions ----

def test_functions(proxy, sim, script, folder):
    aor, new = AORS[1], "script@example.test"
    with Watch(folder, proxy.tcp, [aor, new]) as watch:
        watch.wait_for(aor, "available")
        assert script("disable", f"sip:{aor}") == "true"
        watch.wait_gone(aor, timeout=4)
        assert (proxy.user(aor)["enabled"], proxy.user(aor)["origin"]) == ("no", "script")
        assert script("get", aor).startswith("unknown ")
        assert script("disable", aor) == "true"  # nothing to do
        assert script("enable", aor) == "true"
        watch.wait_for(aor, "available", timeout=5)
        # a user who wasn't there, with somebody else's calendar
        assert script("disable", new) == "false" and script("refresh", new) == "false"
        assert script("enable2", new, AORS[2]) == "true"
        watch.wait_for(new, "available", timeout=6)
        assert proxy.user(new)["mailbox"] == AORS[2]
        etag = proxy.user(aor)["etag"]
        assert script("refresh", aor) == "true"
        wait_until(lambda: proxy.user(aor)["etag"] != etag, 5, "published again")
        assert script("enable", "nonsense") == "false"
        assert script("enable2", new, "nonsense") == "false"
        watch.stop()
    assert "a script's nonsense is no AoR" in proxy.log()
    assert proxy.log().count(f"command=disable user={aor}") == 1
    assert watch.problems == []
    assert script("disable", new) == "true"


def test_what_is_sent_in_a_row(proxy, script):
    """The last word counts, however fast they come."""
    aor = AORS[3]
    for i in range(10):
        assert script("disable", aor) == "true" and script("enable", aor) == "true"
    wait_until(lambda: (proxy.user(aor)["watch"], proxy.user(aor)["enabled"]) == ("followed", "yes"), 8,
               lambda: proxy.user(aor))
    time.sleep(0.5)  # and stays so
    assert proxy.user(aor)["enabled"] == "yes"


# ---- events ----

def test_events_of_users(proxy, sim, script):
    aor = AORS[4]
    meeting = sim.add_meeting(aor, "-10", "+600", "oof")
    proxy.wait_logged(f"{aor} is away, was available")
    sim.delete_meeting(meeting)
    proxy.wait_logged(f"{aor} is available, was away")
    script("disable", aor)
    proxy.wait_logged(f"{aor} is unknown, was available")
    script("enable", aor)
    wait_until(lambda: proxy.log().count(f"{aor} is available, was unknown") == 2, 6,
               lambda: proxy.process.tail())


def test_events_of_gateways(proxy, sim):
    try:
        sim.fail("cas2", "refuse")
        proxy.wait_logged("gateway cas2 is down: ", timeout=8)
    finally:
        sim.heal("cas2")
    proxy.wait_logged("gateway cas2 is up: ", timeout=40)
    proxy.wait_followed(USERS, timeout=20)


# ---- calls ----

def test_a_feature_code(proxy, folder):
    """*84 switches the caller's calendar presence off, *85 on."""
    aor = AORS[5]
    with Watch(folder, proxy.tcp, [aor]) as watch, Sender(proxy.port) as phone:
        def dial(code):
            return phone.ask("INVITE", f"{code}@127.0.0.1:{proxy.port}", aor,
                             headers=[f"Contact: <sip:{aor}>"]).start
        watch.wait_for(aor, "available")
        assert dial("*84") == "SIP/2.0 480 Calendar Presence Off"
        watch.wait_gone(aor, timeout=4)
        assert dial("*85") == "SIP/2.0 480 Calendar Presence On"
        watch.wait_for(aor, "available", timeout=5)
        assert phone.ask("INVITE", f"*84@127.0.0.1:{proxy.port}", "nobody@example.test",
                         headers=["Contact: <sip:nobody@example.test>"]).status == 503
        watch.stop()


def sipp(folder, scenario, *args):
    return subprocess.Popen(
        ["sipp", "-sf", str(TESTS / "e2e" / scenario), "-i", "127.0.0.1", "-trace_err",
         *map(str, args)],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)


def test_calls_go_to_voicemail_while_the_callee_is_away(proxy, sim, folder, voicemail):
    """sipp answers as phone and as voicemail, and calls before and during an absence."""
    aor, phone = AORS[6], free_port()

    def call(answers_at):
        """A call from begin to end, for which only that port answers."""
        called = sipp(folder, "answer.xml", "-p", answers_at, "-m", 1, "-timeout", "10")
        try:
            caller = sipp(folder, "call.xml", f"127.0.0.1:{proxy.port}", "-p", free_port(), "-key",
                          "callee", aor, "-m", 1, "-timeout", "8")
            assert caller.wait(10) == 0 and called.wait(10) == 0
        finally:
            for one in (called, caller):
                one.kill()
                one.wait()

    with Sender(proxy.port) as sender:
        assert sender.ask("REGISTER", aor, headers=[
            f"Contact: <sip:{aor.split('@')[0]}@127.0.0.1:{phone}>", "Expires: 600"]).status == 200
    call(phone)
    meeting = sim.add_meeting(aor, "-10", "+600", "oof")
    wait_until(lambda: proxy.user(aor)["status"] == "away", 5, "away")
    call(voicemail)
    sim.delete_meeting(meeting)
    wait_until(lambda: proxy.user(aor)["status"] == "available", 5, "available")
    call(phone)


# ---- the worker is away: last, as nothing is followed for a while ----

def test_nobody_waits_for_a_worker_that_hangs(proxy, script):
    aor, pid = AORS[7], proxy.worker()
    os.kill(pid, signal.SIGSTOP)
    try:
        answers, slowest = [], 0
        while "false" not in answers and len(answers) < 3000:
            began = time.monotonic()
            answers.append(script("refresh", aor))
            slowest = max(slowest, time.monotonic() - began)
        assert answers.count("true") > 5 and answers[-1] == "false"
        assert slowest < 0.5
        assert script("get", aor).startswith("available ")
        assert proxy.stats()["commands_lost"] == 1
        # it is silent for 10 s, and then nothing is known
        wait_until(lambda: script("get", aor).startswith("unknown unknown") or
                   proxy.worker() not in (0, pid), 13, lambda: script("get", aor))
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    proxy.wait_worker(15, pid)
    proxy.wait_followed(USERS, timeout=20)
    assert script("get", aor).startswith("available ")
