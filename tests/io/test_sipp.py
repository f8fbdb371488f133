# SPDX-License-Identifier: GPL-2.0-or-later
"""Every answer a presence server may give, by sipp (sip-fixtures/sipp), over UDP and TCP."""

import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import ExchangeSim, Worker, wait_until
from harness.process import ROOT, Process, free_port

SCENARIOS = ROOT / "sip-fixtures" / "sipp"
ROWS = sorted(path.stem for path in SCENARIOS.glob("*.xml"))
# what a scenario can't do by itself
BY_HAND = ["refused", "frozen"]
AT_ONCE = 8
CASES = [(row, transport) for row in ROWS + BY_HAND for transport in ("udp", "tcp")]
# the slow ones first, so that they wait beside the others
CASES.sort(key=lambda case: case[0] not in ("silence", "late", "out-of-order", "frozen"))


def taken(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        try:
            for one in (udp, tcp):
                one.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


class Sipp(Process):
    def __init__(self, folder, scenario, transport, port):
        super().__init__(["sipp", "-sf", SCENARIOS / f"{scenario}.xml", "-i", "127.0.0.1",
                          "-p", port, "-t", "u1" if transport == "udp" else "t1", "-m", 1,
                          "-timeout", 45, "-timeout_error", "-nostdin", "-trace_err",
                          "-error_file", Path(folder) / f"{scenario}.errors"], folder)
        self.errors = Path(folder) / f"{scenario}.errors"

    def ends_well(self):
        status = self.wait(50)
        said = self.errors.read_text() if self.errors.exists() else ""
        assert status == 0, f"{said}\n{self.tail()}"


class Run:
    """One scenario and a worker with one user."""

    def __init__(self, folder, sim, number, row, transport):
        self.row, self.transport = row, transport
        self.folder = Path(folder) / f"{row}-{transport}"
        self.folder.mkdir()
        self.port = free_port()
        self.aor = f"user{number}@example.test"
        password = self.folder / "password"
        password.write_text("secret\n")
        password.chmod(0o600)
        self.worker = Worker(self.folder, {
            **sim.settings(), "user": self.aor, "subscription": "none", "log_level": "debug",
            "presence_server": f"sip:127.0.0.1:{self.port};transport={transport}",
            "sip_user": "me", "sip_password_file": password, "compat": "blink"})
        self.running = []

    def sipp(self, scenario):
        self.running.append(Sipp(self.folder, scenario, self.transport, self.port))
        return self.running[-1]

    def said(self, words):
        return lambda: words in self.worker.log()

    def go(self):
        try:
            getattr(self, self.row, self.scenario)()
        finally:
            for one in self.running:
                if one.running():
                    one.kill()
            if self.worker.process and self.worker.process.running():
                self.worker.stop()

    def scenario(self):
        sipp = self.sipp(self.row)
        self.worker.start()
        sipp.ends_well()

    def refused(self):
        """Nobody is there at first."""
        self.worker.start()
        wait_until(self.said("presence up->down why=unreachable"), 10, self.worker.log)
        self.sipp("200").ends_well()

    def reset(self):
        """It dies with the request, and comes back without its memory."""
        first = self.sipp("reset")
        self.worker.start()
        time.sleep(1.5)
        first.kill()
        self.sipp("200").ends_well()

    def silence(self):
        """Over TCP such a connection is given up, with which sipp ends."""
        if self.transport == "udp":
            self.scenario()
            return
        first = self.sipp("reset")
        self.worker.start()
        wait_until(self.said("presence up->down why=silent"), 15, self.worker.log)
        first.kill()
        self.sipp("200").ends_well()

    def frozen(self):
        """It takes everything in and says nothing, then goes on as if nothing had been."""
        sipp = self.sipp("200-without-etag")
        wait_until(lambda: taken(self.port), 5, "sipp is there")
        sipp.send(signal.SIGSTOP)
        self.worker.start()
        wait_until(self.said("presence up->down why=silent"), 15, self.worker.log)
        sipp.kill()
        self.sipp("200").ends_well()


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """All that were asked for, begun at once."""
    chosen = {(item.callspec.params["row"], item.callspec.params["transport"])
              for item in request.session.items if hasattr(item, "callspec") and
              item.path == request.path}
    folder = tmp_path_factory.mktemp("sipp")
    with ExchangeSim(folder, "--cas", 1, "--users", len(CASES), "--calendars", "empty") as sim, \
            ThreadPoolExecutor(AT_ONCE) as pool:
        yield {case: pool.submit(Run(folder, sim, n + 1, *case).go)
               for n, case in enumerate(CASES) if case in chosen}


@pytest.mark.limit(120)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("row", ROWS + BY_HAND)
def test_row(runs, row, transport):
    runs[row, transport].result()


def test_scenarios_are_well_formed():
    for row in ROWS:
        subprocess.run(["xmllint", "--noout", SCENARIOS / f"{row}.xml"], check=True, timeout=10)


def test_every_scenario_names_its_source():
    table = (ROOT / "sip-fixtures" / "README.md").read_text()
    for row in ROWS:
        assert f"`{row}.xml`" in table, f"{row} isn't in sip-fixtures/README.md"
