# SPDX-License-Identifier: GPL-2.0-or-later
"""Users in a table of the proxy's own database."""

import os
import shutil
import signal
import sqlite3
import time
import urllib.error

import pytest

from harness import ExchangeSim, wait_until
from harness.host import HOST, Host
from harness.process import ROOT

USERS = 6
AORS = [f"user{i}@example.test" for i in range(1, USERS + 1)]


class Sqlite:
    load = 'loadmodule "db_sqlite.so"\n' if HOST == "kamailio" else ""  # the sample has it

    def __init__(self, folder):
        self.path = folder / "users.sqlite"
        self.url = f"sqlite://{self.path}" if HOST == "kamailio" else \
            f"sqlite:///{str(self.path).lstrip('/')}"
        with sqlite3.connect(self.path) as db:
            db.executescript((ROOT / "db" / "exchange_users-sqlite.sql").read_text())

    def write(self, rows):
        with sqlite3.connect(self.path) as db:
            db.execute("delete from exchange_users")
            db.executemany("insert into exchange_users (aor, mailbox, enabled, remind) "
                           "values (?, ?, ?, ?)", rows)

    def hide(self):
        with sqlite3.connect(self.path) as db:
            db.execute("alter table exchange_users rename to hidden")

    def show(self):
        with sqlite3.connect(self.path) as db:
            db.execute("alter table hidden rename to exchange_users")


class Text:
    """db_text keeps what it read of a file that goes, so it has no hide()."""

    load = 'loadmodule "db_text.so"\nmodparam("db_text", "db_mode", 1)\n'

    def __init__(self, folder):
        self.folder = folder / "text"
        self.url = f"text://{self.folder}"
        shutil.copytree(ROOT / "db" / "dbtext", self.folder)
        self.path = self.folder / "exchange_users"
        self.head = self.path.read_text()
        self.time = int(time.time())

    def write(self, rows):
        lines = [f"{i}:{aor}:{mailbox or ''}:{enabled}:{remind}\n"
                 for i, (aor, mailbox, enabled, remind) in enumerate(rows, 1)]
        self.path.write_text(self.head + "".join(lines))
        # it looks at the seconds of the file's time
        self.time += 10
        os.utime(self.path, (self.time, self.time))


@pytest.fixture(scope="module")
def sim(tmp_path_factory):
    with ExchangeSim(tmp_path_factory.mktemp("sim"), "--cas", 1, "--users", USERS,
                     "--calendars", "empty") as one:
        yield one


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
    with Host(folder, {**sim.settings(), "user": AORS[4], "db_url": db.url}, processes=1,
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
    p = Host(folder, {**sim.settings(), "db_url": db.url, **settings}, processes=1, more=db.load)
    p.spawn()
    assert p.process.wait(10) != 0
    assert any(words in line for line in p.errors()), p.log()
