# SPDX-License-Identifier: GPL-2.0-or-later
"""Several servers behind each gateway: subscriptions are kept where they live."""

import pytest

from harness import wait_until

USERS, CAS, BACKENDS = 150, 2, 3
VERSIONS = {"exchangecookie": "2010_SP2"}  # 2013 and later otherwise


def start(world, affinity):
    w = world(users=USERS, cas=CAS, transport="udp", sim=[
        "--backends", BACKENDS, "--affinity", affinity,
        "--version", VERSIONS.get(affinity, "2013_SP1")])
    return w.start(timeout=25)


def subscriptions(world):
    return {one["mailbox"]: one for one in world.sim.request("GET", "/subscriptions")
            if one["streamed"]}


def servers(world):
    """Which servers have a subscription that is streamed."""
    return {one["server"] for one in subscriptions(world).values()}


def subscribes(world):
    return world.sim.counters()["requests"]["Subscribe"]


def streams(world):
    return world.sim.counters()["requests"]["GetStreamingEvents"]


def led(world):
    """Nobody is looked for on the wrong server."""
    counters = world.sim.counters()
    assert counters["misrouted"] == 0, counters["refusals"]


def change_all(world, status):
    for aor in world.aors:
        world.meet(aor, "-60", "+3600", status)
    world.wait_right(timeout=10)


@pytest.mark.parametrize("affinity", ["cookie", "anchor", "exchangecookie"])
def test_a_group_stays_together(world, affinity):
    """What the server offers to be led by is enough: nobody is looked for on the wrong one."""
    w = start(world, affinity)
    led(w)
    counters = w.sim.counters()
    assert counters["requests"]["Subscribe"] <= USERS + CAS, counters
    assert len(servers(w)) == CAS
    change_all(w, "oof")
    # the streams are opened again where they were
    before, asked = subscriptions(w), streams(w)
    w.sim.request("POST", "/streams/cut", {})
    w.meet(w.aors[0], "-120", "+3700", "oof")
    wait_until(lambda: streams(w) >= asked + CAS, 10, "the streams are asked for again")
    w.wait_followed(timeout=10)
    assert {a: one["id"] for a, one in subscriptions(w).items()} == \
        {a: one["id"] for a, one in before.items()}
    led(w)


@pytest.mark.limit(120)
@pytest.mark.parametrize("affinity", ["cookie", "anchor", "exchangecookie"])
def test_a_server_fails_over(world, affinity):
    """Its subscriptions are gone, what led there leads nowhere: its users, and no others, get new
    subscriptions together on another one, and what changed meanwhile is shown."""
    w = start(world, affinity)
    before, asked = subscriptions(w), subscribes(w)
    failed = before[w.aors[0]]["server"]
    its = [aor for aor, one in before.items() if one["server"] == failed]
    assert 0 < len(its) < USERS
    dropped = w.sim.request("POST", f"/servers/{failed}/failover", {})["dropped"]
    assert dropped == len(its)
    for aor in its:
        w.meet(aor, "-60", "+3600")
    w.wait_followed(timeout=45)  # who is refused twice in a row waits up to half a minute
    w.wait_right(timeout=8)
    after = subscriptions(w)
    assert {aor for aor in w.aors if after[aor]["id"] != before[aor]["id"]} == set(its)
    assert subscribes(w) - asked <= len(its) + 2 * CAS, w.log()
    led(w)
    assert not w.said("up->down")
    change_all(w, "oof")
