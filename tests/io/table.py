# SPDX-License-Identifier: GPL-2.0-or-later
"""The table: every version of Exchange, every way of learning changes, every login. One worker for
each cell, all of them at once; Apache stands before the simulators."""

import itertools
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from harness import ExchangeSim, PresenceServer, Worker, free_port, wait_until
from harness.login import PASSWORD, Apache

VERSIONS = ["2007_SP1", "2010_SP1", "2016"]
KINDS = ["streaming", "push", "pull", "none"]
LOGINS = ["basic", "ntlm", "negotiate"]
CELLS = list(itertools.product(VERSIONS, KINDS, LOGINS))
STARTED_S = 25  # until all that started at once on a busy machine must be right


def followed_by(version, kind):
    """2007 has no streams: the next kind, which without a listener is pull."""
    return "pull" if (version, kind) == ("2007_SP1", "streaming") else kind


class Cell:
    """One user of a simulator, and the worker that follows nobody else."""

    def __init__(self, table, version, kind, login):
        self.table, self.version, self.kind, self.login = table, version, kind, login
        self.sim, self.apache = table.sim[version], table.apache[version]
        i = [cell[1:] for cell in CELLS if cell[0] == version].index((kind, login))
        self.aor = f"user{i + 1}@v{version.lower().replace('_', '-')}.test"
        settings = {
            "gateway": f"{self.apache.url(LOGINS.index(login))};name=cas1",
            "account": "alice" if login == "basic" else "PX\\alice",
            "password_file": table.password_file, "ca_file": self.apache.ca, "auth": login,
            "user": self.aor, "presence_server": table.presence.uri("tcp"), "log_level": "debug",
            # asked to stream alone, a worker would only poll at a server that can't
            "subscription": "auto" if kind == "streaming" else kind}
        if kind == "push":
            settings["listen_http"] = f"127.0.0.1:{free_port()}"
        self.worker = Worker(table.folder, settings, name=f"{version}-{kind}-{login}")
        self.worker.env = {"KRB5_CONFIG": str(table.kdc.config),
                           "KRB5CCNAME": f"FILE:{table.folder}/{self.worker.name}.tickets"}
        if login == "negotiate":
            self.worker.env["KRB5_CLIENT_KTNAME"] = f"FILE:{table.kdc.account}"

    def meet(self):
        self.sim.add_meeting(self.aor, "-60", "+3600", "oof")

    def subscriptions(self):
        return [one["kind"] for one in self.sim.request("GET", f"/subscriptions?mailbox={self.aor}")]

    def stands(self):
        """It has what it is followed by; with streams, also the stream."""
        its = self.sim.request("GET", f"/subscriptions?mailbox={self.aor}")
        kind = followed_by(self.version, self.kind)
        return [one["kind"] for one in its] == ([] if kind == "none" else [kind]) and \
            (kind != "streaming" or its[0]["streamed"])

    def shows(self, calendar, timeout):
        wait_until(lambda: self.table.presence.state(self.aor) == calendar, timeout,
                   lambda: f"{self.aor} is {calendar}\n{self.worker.process.tail()}")


class Table:
    """All is started here, and the meetings are made when everybody is followed: a cell that isn't
    takes nothing from the others."""

    def __init__(self, folder, kdc):
        self.folder, self.kdc = folder, kdc
        self.password_file = folder / "password"
        self.password_file.write_text(PASSWORD + "\n")
        self.password_file.chmod(0o600)
        self.presence = PresenceServer()
        self.sim, self.apache, self.cell = {}, {}, {}

    def begin(self):
        for version in VERSIONS:
            own = self.folder / version
            own.mkdir()
            self.sim[version] = ExchangeSim(
                own, "--cas", 1, "--users", len(KINDS) * len(LOGINS), "--calendars", "empty",
                "--version", version, "--domain", f"v{version.lower().replace('_', '-')}.test")
            self.apache[version] = Apache(own, self.sim[version], [(one, "cas1") for one in LOGINS],
                                          self.kdc)
        self.folder.chmod(0o755)  # Apache isn't root for long
        for key in CELLS:
            cell = self.cell[key] = Cell(self, *key)
            if cell.kind == "none":  # read at start, and then by resync only
                cell.meet()
            cell.worker.start()
        self._wait(lambda cell: self.presence.state(cell.aor) and cell.stands())
        self.at_start = {key: self.presence.state(cell.aor) for key, cell in self.cell.items()}
        for cell in self.cell.values():
            if cell.kind != "none":
                cell.meet()

    def _wait(self, true):
        left, end = list(self.cell.values()), time.monotonic() + STARTED_S
        while left and time.monotonic() < end:
            left = [cell for cell in left if not true(cell)]
            time.sleep(0.1)

    def close(self):
        troubles = []
        its = [cell.worker.process for cell in self.cell.values() if cell.worker.process]
        its += [one.process for one in [*self.sim.values(), *self.apache.values()]]
        for process in its:
            try:
                if process.running():
                    process.stop()
            except AssertionError as e:
                troubles.append(str(e))
        self.presence.stop()
        troubles += self.presence.problems
        assert not troubles, troubles[:3]


@pytest.fixture(scope="module")
def table(kdc):
    folder = Path(tempfile.mkdtemp(prefix="px-table-"))
    one = Table(folder, kdc)
    try:
        one.begin()
        yield one
    finally:
        one.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("version, kind, login", CELLS)
def test_cell(table, version, kind, login):
    """Right at start, followed by what the server can, logged in by nothing else; and a change
    arrives. Without subscriptions, at the first reading: the next is a resync away."""
    cell = table.cell[version, kind, login]
    assert table.at_start[version, kind, login] == ("away" if kind == "none" else "available"), \
        cell.worker.process.tail()
    assert cell.stands(), f"{cell.subscriptions()}\n{cell.worker.process.tail()}"
    cell.shows("away", timeout=20)
    logins = cell.apache.logins(LOGINS.index(login))
    assert login in logins and logins <= ({login, "none", "ntlm first"} if login == "ntlm" else {login})
    assert cell.apache.refused(LOGINS.index(login)) == 0
    assert " up->down" not in cell.worker.log()


def test_a_pool_of_two_versions(new_world, folder):
    """Each user is followed by what its gateway can."""
    old = new_world(users=4, cas=1, sim=("--version", "2007_SP1"))
    (folder / "new").mkdir()
    with ExchangeSim(folder / "new", "--cas", 1, "--users", 4, "--calendars", "empty",
                     "--version", "2016") as new:
        bundle = folder / "both.pem"
        bundle.write_text(Path(old.sim.ca_file).read_text() + Path(new.ca_file).read_text())
        old.settings.update(ca_file=bundle, gateway=[f"{old.sim.cas['cas1']['url']};name=old",
                                                     f"{new.cas['cas1']['url']};name=new"])
        old.worker.write(old.settings)
        old.worker.start()

        def kinds(sim):
            return {one["mailbox"]: one["kind"] for one in sim.request("GET", "/subscriptions")
                    if one["kind"] != "streaming" or one["streamed"]}

        wait_until(lambda: len(kinds(old.sim)) + len(kinds(new)) == 4, 15, old.log)
        assert set(kinds(old.sim).values()) == {"pull"} and set(kinds(new).values()) == {"streaming"}
        for aor in old.aors:
            for sim in (old.sim, new):  # two halves of one store
                sim.add_meeting(aor, "-60", "+3600", "oof")
        old.presence.wait_all({aor: "away" for aor in old.aors}, timeout=20)
        assert old.said("gateway=old") and old.said("version=Exchange2007_SP1 subscription=pull")
        assert old.said("subscription=streaming"), old.log()
        old.worker.stop()
