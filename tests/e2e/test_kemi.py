# SPDX-License-Identifier: GPL-2.0-or-later
"""The module's functions and events in a script that isn't Kamailio's own: KEMI, with Lua (kemi.lua)."""

import math
import time
from pathlib import Path

import pytest

from harness import Watch, wait_until
from harness.kamailio import SOURCE
from harness.process import TESTS
from harness.proxy import Proxy

USERS = 4
AORS = [f"user{i}@example.test" for i in range(1, USERS + 1)]
PLACES = [Path(SOURCE) / "src/modules/app_lua"] if SOURCE else \
    sorted(Path("/usr").glob("lib*/**/kamailio/modules"))

pytestmark = pytest.mark.skipif(not any((place / "app_lua.so").exists() for place in PLACES),
                                reason="app_lua.so is not there: apt-get install kamailio-lua-modules")

LUA = f"""loadmodule "app_lua.so"
modparam("app_lua", "load", "{TESTS / "e2e" / "kemi.lua"}")
cfgengine "lua"
"""


class InLua(Proxy):
    def configuration(self):
        # a request_route would go before the script
        return super().configuration().replace("\nrequest_route {", "\nroute[NATIVE] {")


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, sim):
    with InLua(tmp_path_factory.mktemp("proxy"),
               {**sim.settings(), "user": AORS[:3], "event_callback": "on_exchange"}, processes=2,
               more=LUA) as one:
        one.wait_followed(3)
        yield one


def test_look_ups(proxy, sim, script):
    aor = AORS[0]
    assert script("get", aor, "availability") == "string available"
    assert script("get", aor, "gateway") in ("string cas1", "string cas2")
    kind, age = script("get", aor, "age").split()
    assert kind == "number" and 0 <= int(age) < 60
    end = math.ceil(time.time()) + 600
    sim.add_meeting(aor, "-10", end)
    wait_until(lambda: script("get", aor, "availability") == "string busy", 5, "busy")
    assert script("get", aor, "until") == f"number {end}"
    assert script("get", "nobody@example.test", "until") == "string unknown"
    assert script("get", aor, "weather") == "nil nil"
    assert "exchange_get: there is no weather" in proxy.log()
    assert script("event", "aor") == "nil"


def test_functions(proxy, script, folder):
    aor, new = AORS[1], AORS[3]
    with Watch(folder, proxy.tcp, [aor, new]) as watch:
        watch.wait_for(aor, "available")
        assert script("disable", aor) == "1"
        watch.wait_for(aor, "offline")
        assert (proxy.user(aor)["enabled"], proxy.user(aor)["origin"]) == ("no", "script")
        assert script("enable", aor) == "1"
        watch.wait_for(aor, "available")
        assert script("refresh", new) == "-1"
        assert script("enable2", new, AORS[2]) == "1"
        watch.wait_for(new, "available", timeout=8)
        assert proxy.user(new)["mailbox"] == AORS[2]
        assert script("refresh", new) == "1"
        assert script("enable", "nonsense") == "-1"
        watch.stop()
    assert watch.problems == []


def test_events(proxy, sim):
    aor = AORS[2]
    sim.add_meeting(aor, "-10", "+600", "oof")
    proxy.wait_logged(f"kemi: {aor} is away, was available")
    try:
        sim.fail("cas2", "refuse")
        proxy.wait_logged("kemi: gateway cas2 is down, aor nil", timeout=15)
    finally:
        sim.heal("cas2")
