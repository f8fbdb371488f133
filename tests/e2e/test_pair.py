# SPDX-License-Identifier: GPL-2.0-or-later
"""Two proxies of which one publishes, and what an operator changes by command."""

import re
import time

from harness import Kamailio, PresenceServer, Watch, wait_until

USERS = 12
AORS = [f"user{i}@example.test" for i in range(1, USERS + 1)]


def shown(server, aor):
    """What was said last, by whomever: documents with the same ids take the place of one another."""
    return [one for one in list(server.publishes) if one.aor == aor][-1].calendar


def read(node, aor, status):
    """Until a node that stands by knows it."""
    def there():
        stats = node.stats()
        return (stats["worker"] == "running" and stats["reads"] > 0 and stats["users"] == USERS and
                node.user(aor)["status"] == status)
    wait_until(there, 10, lambda: f"{aor} is read: {node.stats()}")


def ids(body):
    return re.findall(rb'id="(cal[^"]*)"', body)


def test_two_nodes_and_one_presence_server(new_proxy, sim, folder):
    """The second publishes nothing until it is told to; then it has everybody right within seconds, under
    the same ids, and the first, told to stop, takes nothing away."""
    server = PresenceServer()
    meeting = sim.add_meeting(AORS[0], "-60", "+3600")
    try:
        a = new_proxy({"presence_server": server.uri("tcp")})
        a.wait_followed(USERS)
        wait_until(lambda: server.state(AORS[0]) == "busy", 5, "busy by the first")
        b = new_proxy({"presence_server": server.uri("tcp"), "standby": "yes"})
        read(b, AORS[0], "busy")
        assert b.rpc("pua_exchange.active") == {"active": "no"}
        assert b.stats()["active"] == 0 and b.stats()["publishes"] == 0
        assert b.stats()["subscribed"] == 0
        # a restart of its worker doesn't change that
        b.restart_worker(9)
        assert b.stats()["active"] == 0
        before = len(server.publishes)
        assert a.rpc("pua_exchange.active", "off") == {"active": "no"}
        assert b.rpc("pua_exchange.active", "on") == {"active": "yes"}
        sim.add_meeting(AORS[1], "-60", "+3600", "oof")
        wait_until(lambda: b.stats()["confirmed"] == USERS, 8, lambda: b.stats())
        wait_until(lambda: shown(server, AORS[1]) == "away", 5, "what changed meanwhile")
        b.wait_followed(USERS)
        new = server.publishes[before:]
        assert {one.op for one in new if one.aor == AORS[0]} <= {"initial", "modify"}
        assert not [one for one in new if one.op == "remove"]
        first = ids([p for p in server.publishes[:before] if p.aor == AORS[0]][-1].message.body)
        last = ids([p for p in new if p.aor == AORS[0]][-1].message.body)
        assert first == last and len(first) == 2, (first, last)
        time.sleep(0.5)
        counts = a.stats()["publishes"]
        assert a.stats()["subscribed"] == 0 and a.stats()["published"] == 0
        sim.add_meeting(AORS[2], "-60", "+3600")
        wait_until(lambda: shown(server, AORS[2]) == "busy", 5, "by the second")
        assert a.stats()["publishes"] == counts
        # and back; a restart keeps it
        b.rpc("pua_exchange.active", "off")
        a.rpc("pua_exchange.active", "on")
        a.wait_followed(USERS)
        b.restart_worker(9)
        assert b.stats()["active"] == 0
        assert not server.problems, server.problems[:3]
    finally:
        sim.delete_meeting(meeting)
        server.stop()


def test_each_its_own_presence_server(new_proxy, sim, folder):
    """Watchers of the second see everybody as soon as it is active, and nobody twice."""
    meeting = sim.add_meeting(AORS[3], "-60", "+3600")
    b = new_proxy({"standby": "yes"})
    read(b, AORS[3], "busy")
    with Watch(folder, b.tcp, [AORS[3]]) as watch:
        watch.wait_ready()
        b.rpc("pua_exchange.active", "on")
        watch.wait_for(AORS[3], "busy", timeout=6)
        assert watch.stop()["problems"] == 0
    sim.delete_meeting(meeting)


def test_gateways_and_users_by_command(new_proxy, sim):
    """They last over reloads and restarts of the worker."""
    a = new_proxy({"gateway": [f"{sim.cas['cas1']['url']};name=cas1"]})
    a.wait_followed(USERS)

    def names():
        return {one["name"]: one["health"] for one in a.rpc("pua_exchange.gateways")}

    assert a.fault("pua_exchange.gateway_remove", "cas7")[0] == 404
    assert a.fault("pua_exchange.gateway_add", "http://cas2")[0] == 400
    a.rpc("pua_exchange.gateway_add", f"{sim.cas['cas2']['url']};name=cas2")
    wait_until(lambda: names() == {"cas1": "up", "cas2": "up"}, 5, names)
    a.rpc("pua_exchange.gateway_remove", "cas1")
    wait_until(lambda: names() == {"cas1": "removed", "cas2": "up"}, 10, names)
    a.wait_followed(USERS)
    a.rpc("pua_exchange.disable", AORS[5])
    said = a.rpc("pua_exchange.reload")
    assert said["wrong"] == "" and said["gateways_added"] == "" and said["switched"] == "1", said
    a.restart_worker(9)
    a.wait_followed(USERS - 1)
    wait_until(lambda: names() == {"cas1": "removed", "cas2": "up"}, 5, names)
    assert a.user(AORS[5])["enabled"] == "no"
    assert {a.user(aor)["gateway"] for aor in AORS if aor != AORS[5]} == {"cas2"}
    a.rpc("pua_exchange.gateway_add", "cas1")
    wait_until(lambda: names() == {"cas1": "up", "cas2": "up"}, 5, names)


def test_a_restart_of_the_proxy(new_proxy, sim, folder):
    """With a state_file and a presence server that lives on: nothing is published anew, nobody changes his
    CAS, and who was switched off stays off."""
    with Kamailio(folder, clean_s=1, processes=1) as server:
        settings = {"presence_server": f"sip:127.0.0.1:{server.port};transport=tcp",
                    "state_file": folder / "state"}
        a = new_proxy(settings)
        a.wait_followed(USERS)
        a.rpc("pua_exchange.disable", AORS[6])
        others = [aor for aor in AORS if aor != AORS[6]]
        wait_until(lambda: a.stats()["confirmed"] == USERS - 1, 5, lambda: a.stats())
        before = {aor: (a.user(aor)["gateway"], a.user(aor)["subscription"], a.user(aor)["etag"])
                  for aor in others}
        a.stop()
        a.start()
        a.wait_followed(USERS - 1)
        assert a.user(AORS[6])["enabled"] == "no"
        after = {aor: a.user(aor) for aor in others}
        assert {aor: (one["gateway"], one["subscription"]) for aor, one in after.items()} == \
            {aor: known[:2] for aor, known in before.items()}
        # each was modified at most, none is there twice
        with Watch(folder, server.tcp, others) as watch:
            watch.wait_ready()
            watch.wait_all({aor: "available" for aor in others if aor not in AORS[:4]}, timeout=5)
            assert watch.stop()["problems"] == 0
        assert a.stats()["subscribes"] == 0
