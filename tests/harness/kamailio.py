# SPDX-License-Identifier: GPL-2.0-or-later
"""A real Kamailio as presence server, on loopback, without a database."""

import json
import os
import shutil
import signal
import socket
import urllib.request
from pathlib import Path

from .process import Process, TESTS, free_port, wait_until

# A tree in which another Kamailio was built, to be tested in place of the installed one
SOURCE = os.environ.get("KAMAILIO_SRC")

OPTIONS = (
    "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bKready\r\n"
    "From: <sip:ready@localhost>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\n"
    "Call-ID: ready\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def children(pid):
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def waits(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    except OSError:
        return False


class Kamailio:
    """folder: where its configuration, run directory and log go; the path must be short (UNIX
    sockets). clean_s: how often it looks for publications that have expired. It can be stopped and
    started again: it keeps its port and forgets everything else."""

    listen = ("udp", "tcp")

    def __init__(self, folder, port=None, clean_s=10, processes=4):
        self.folder = Path(folder)
        self.port = port or free_port()
        self.clean_s = clean_s
        self.processes = processes
        self.process = None
        self.waited = set()

    @staticmethod
    def program():
        if SOURCE:
            return Path(SOURCE) / "src" / "kamailio"
        return shutil.which("kamailio") or "/usr/sbin/kamailio"

    @property
    def udp(self):
        return f"sip:127.0.0.1:{self.port}"

    @property
    def tcp(self):
        return f"sip:127.0.0.1:{self.port};transport=tcp"

    def configuration(self):
        cfg = (TESTS / "e2e" / "kamailio.cfg.in").read_text()
        for name, value in {"PORT": self.port, "CLEAN": self.clean_s,
                            "PROCESSES": self.processes}.items():
            cfg = cfg.replace(f"@{name}@", str(value))
        return cfg

    def spawn(self):
        """Starts the program, and doesn't wait until it answers."""
        run = self.folder / "run"
        run.mkdir(parents=True, exist_ok=True)
        path = self.folder / "kamailio.cfg"
        path.write_text(self.configuration())
        # -DD: in the foreground; the memory is only touched as it is needed
        modules = ["-L", Path(SOURCE) / "src" / "modules"] if SOURCE else []
        self.process = Process(
            [self.program(), "-DD", "-E", "-e", "-f", path, "-Y", run, "-m", "1024", "-M", "32",
             *modules], self.folder, "kamailio")

    def start(self, timeout=10):
        self.spawn()
        wait_until(lambda: self.answers(), timeout, f"kamailio answers\n{self.process.tail()}")
        return self

    def answers(self):
        """By TCP, if it listens there: the process that takes connections is the last one that is forked. And each
        process has begun to wait for something: one that hasn't run since it was forked would lose the SIGTERM of a
        stop, which then waits a minute for it."""
        assert self.process.running(), f"kamailio ended\n{self.process.tail()}"
        tcp = "tcp" in self.listen
        text = OPTIONS.replace("/UDP", "/TCP") if tcp else OPTIONS
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            s.settimeout(1)
            try:
                s.connect(("127.0.0.1", self.port))
                s.send(text.format(port=self.port, own=s.getsockname()[1]).encode())
                answered = s.recv(4096).startswith(b"SIP/2.0 200")
            except OSError:
                return False
        now = children(self.process.pid)
        self.waited |= {pid for pid in now if waits(pid)}
        return answered and self.waited.issuperset(now)

    def rpc(self, method, *params):
        """The result of a JSON-RPC command, as kamcmd would show it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/RPC", method="POST",
            headers={"Content-Type": "application/json"},
            data=json.dumps({"jsonrpc": "2.0", "method": method, "params": params,
                             "id": 1}).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            reply = json.load(answer)
        assert "error" not in reply, reply["error"]
        return reply["result"]

    def stop(self):
        if self.process:
            self.process.stop(30)

    def kill(self):
        """Ends main and its children without a word, as a crash would."""
        pids = children(self.process.pid)
        self.process.kill()
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
