# SPDX-License-Identifier: GPL-2.0-or-later
"""Where users come from: settings that say so, what the proxy must load before the module, and write(),
which takes (AoR, mailbox or None, enabled, remind) of all who are there from now on."""

import os
import shutil
import sqlite3
import time

from .host import HOST
from .process import ROOT


class File:
    """users_file."""

    load = ""

    def __init__(self, folder):
        self.path = folder / "users.csv"
        self.settings = {"users_file": self.path}

    def write(self, rows):
        self.path.write_text("".join(
            f"{aor},{mailbox or ''},{'on' if enabled else 'off'},{'remind' if remind else 'quiet'}\n"
            for aor, mailbox, enabled, remind in rows))


class Sqlite:
    """db_sqlite."""

    load = 'loadmodule "db_sqlite.so"\n' if HOST == "kamailio" else ""  # the sample has it

    def __init__(self, folder):
        self.path = folder / "users.sqlite"
        self.settings = {"db_url": f"sqlite://{self.path}" if HOST == "kamailio" else
                         f"sqlite:///{str(self.path).lstrip('/')}"}
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
        self.settings = {"db_url": f"text://{self.folder}"}
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
