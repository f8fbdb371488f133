# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs under test: started with their output kept, stopped by pid."""

import atexit
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
ROOT = TESTS.parent
# Where our programs are taken from: sanitized ones, unless PX_BUILD=build is in the environment.
BUILD = ROOT / os.environ.get("PX_BUILD", "build/asan")

# The sanitizers keep SIGSEGV and its like for themselves, since a handler of cmocka or of the
# program would hide the stack.
SANITIZERS = {
    "ASAN_OPTIONS": "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2:handle_abort=2:"
    "detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
}
FINDING = re.compile(r"(ERROR: (Address|Leak)Sanitizer|runtime error: |Sanitizer:DEADLYSIGNAL)")


def free_port():
    """A port on 127.0.0.1 that neither UDP nor TCP has in use now, and that the kernel gives to nobody
    who asks for any: it takes those from 32768 on."""
    while True:
        port = random.SystemRandom().randrange(10000, 32768)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def own_address(number=0):
    """An address on loopback of this process alone: where a port is bound long after it was chosen, no other
    test has taken it meanwhile."""
    return f"127.{100 + number}.{os.getpid() // 254 % 256}.{os.getpid() % 254 + 1}"


# Limits are written for a machine that does nothing else; how fast it is, is make bench's business.
PATIENCE = 3


def wait_until(condition, timeout, what):
    """Returns the first true value of condition(); AssertionError after timeout seconds, or PATIENCE
    times that on a machine with more to do. what: the words for it, or a function that finds them
    then."""
    timeout *= PATIENCE
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, \
            f"not within {timeout} s: {what() if callable(what) else what}"
        time.sleep(0.02)


class Process:
    """A running program. Its stderr is in the file log; its stdout goes line by line to on_line,
    or into the same file. Its stdin is empty; with open_stdin it stays open as long as we live."""

    def __init__(self, argv, folder, name=None, on_line=None, env=None, open_stdin=False):
        self.argv = [str(a) for a in argv]
        self.name = name or Path(self.argv[0]).name
        self.log = Path(folder) / f"{self.name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(
                self.argv, stderr=log, stdout=subprocess.PIPE if on_line else log,
                stdin=subprocess.PIPE if open_stdin else subprocess.DEVNULL,
                env={**os.environ, **SANITIZERS, **(env or {})})
        atexit.register(self._leave)
        self.reader = None
        if on_line:
            self.reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
            self.reader.start()

    def _read(self, on_line):
        for line in self.child.stdout:
            on_line(line.decode("utf-8", "replace"))

    def _leave(self):
        """Nothing that a script started outlives it, even when it forgot to stop it."""
        if self.running():
            self.child.terminate()

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def output(self):
        return self.log.read_text("utf-8", "replace")

    def send(self, signum):
        self.child.send_signal(signum)

    def wait(self, timeout):
        """Its exit status, when it ends within timeout seconds, or PATIENCE times that; AssertionError otherwise."""
        timeout *= PATIENCE
        try:
            status = self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout} s\n{self.tail()}")
        atexit.unregister(self._leave)
        if self.child.stdin:
            self.child.stdin.close()
        if self.reader:
            self.reader.join(timeout)
        return status

    def stop(self, timeout=10):
        """SIGTERM, SIGKILL after timeout; returns the exit status. What a sanitizer found is an
        AssertionError, however the program ended."""
        if self.running():
            self.send(signal.SIGTERM)
        try:
            return self.wait(timeout)
        finally:
            if self.running():
                self.kill()
            self.check()

    def kill(self):
        """SIGKILL, as by the kernel's hand."""
        if self.running():
            self.send(signal.SIGKILL)
        self.wait(5)

    def check(self):
        assert not FINDING.search(self.output()), f"{self.name}:\n{self.tail(60)}"

    def tail(self, lines=30):
        return "\n".join(self.output().splitlines()[-lines:])
