# SPDX-License-Identifier: GPL-2.0-or-later
"""Users in a table of the proxy's own database."""

import signal
import urllib.error

import pytest

from harness import wait_until
from harness.database import Sqlite, Text
from harness.host import Host

USERS, CAS = 6, 1
AORS = [f"user{i}@example.test" for i in range(1, USERS + 1)]


def origins(proxy):
    """AoR -> where it is from; who goes just then isn't in it."""
    found = {}
    for row in proxy.rpc("pua_exchange.users")["users"]:
        try:
            found[row["aor"]] = proxy.user(row["aor"])["origin"]
        except (AssertionError, urllib.error.HTTPError):
            pass
    return found


@pytest.mark.parametrize("database", [Sqlite, Text])
def test_users_come_and_go_with_the_table(folder, sim, database):
    db = database(folder)
    db.write([(AORS[0], None, 1, 1), (AORS[1], AORS[2], 1, 0), (AORS[3], None, 0, 1),
              ("nonsense", None, 1, 1)])
    with Host(folder, {**sim.settings(), "user": AORS[4], **db.settings}, processes=1,
              more=db.load) as p:
        p.wait_followed(3)
        assert origins(p) == {AORS[0]: "db", AORS[1]: "db", AORS[3]: "db", AORS[4]: "cfg"}
        assert p.user(AORS[1])["mailbox"] == AORS[2] and p.user(AORS[3])["enabled"] == "no"
        assert "nonsense is not an AoR" in p.log() and "db_table: line 4" in p.log()
        # a table that can't be read changes nothing, and is named
        if hasattr(db, "hide"):
            db.hide()
            assert "can't be read" in p.rpc("pua_exchange.reload")["database"]
            assert len(origins(p)) == 4
            db.show()
        # who isn't there any more goes, who is new comes; settings stay
        db.write([(AORS[0], None, 1, 1), (AORS[5], None, 1, 1)])
        assert "database" not in p.rpc("pua_exchange.reload")
        p.wait_followed(3)
        wait_until(lambda: set(origins(p)) == {AORS[0], AORS[4], AORS[5]}, 5, lambda: origins(p))
        # a table that names nobody isn't believed at once
        db.write([])
        said = p.rpc("pua_exchange.reload")
        assert "db_table: 2 of its 2 users would go" in said["wrong"] and said["removed"] == "0"
        assert p.fault("pua_exchange.reload", "everything")[0] == 400
        # nor by the next worker
        p.restart_worker(signal.SIGKILL)
        p.wait_followed(3)
        assert origins(p) == {AORS[0]: "db", AORS[4]: "cfg", AORS[5]: "db"}
        assert p.stats()["reload_wrong"] == 1
        db.write([(AORS[0], None, 1, 1), (AORS[5], None, 1, 1)])
        # the next worker finds what was read last
        assert p.rpc("pua_exchange.reload")["wrong"] == ""
        p.restart_worker(signal.SIGKILL)
        p.wait_followed(3)
        assert origins(p) == {AORS[0]: "db", AORS[4]: "cfg", AORS[5]: "db"}
        db.write([])
        said = p.rpc("pua_exchange.reload", "removing")
        assert said["wrong"] == "" and said["removed"] == "2"
        wait_until(lambda: set(origins(p)) == {AORS[4]}, 5, lambda: origins(p))


@pytest.mark.parametrize("settings, words", [
    ({"db_url": "nothing:///nowhere"}, "there is no db_nothing; load it before this module"),
    ({"db_table": "nowhere"}, "db_table nowhere can't be read: the database has no such table"),
])
def test_refused_at_the_start(folder, sim, settings, words):
    db = Sqlite(folder)
    p = Host(folder, {**sim.settings(), **db.settings, **settings}, processes=1, more=db.load)
    p.spawn()
    assert p.process.wait(10) != 0
    assert any(words in line for line in p.errors()), p.log()
