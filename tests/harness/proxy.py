# SPDX-License-Identifier: GPL-2.0-or-later
"""A proxy with the module: Kamailio with plugin/kamailio.cfg.sample, with other addresses and settings."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from .kamailio import OPTIONS, Kamailio, children
from .process import BUILD, ROOT, free_port, wait_until
from .sip import Sender

SAMPLE = ROOT / "plugin" / "kamailio.cfg.sample"
MODULE = Path(os.environ.get("PX_MODULE", ROOT / "build" / "kamailio" / "pua_exchange.so"))
WORKER = BUILD / "pua_exchange_worker"


def quoted(value):
    """A value as it stands in double quotes in Kamailio's configuration."""
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def everybody(pid):
    """A process and all that descend from it."""
    return [pid] + [one for child in children(pid) for one in everybody(child)]


@contextmanager
def stopped(pid):
    """A process and all that descend from it stand still meanwhile."""
    pids = everybody(pid)
    for one in pids:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in pids:
            os.kill(one, signal.SIGCONT)


def alive(pid):
    """Whether it runs: a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_worker(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == WORKER.name[:15]
    except OSError:
        return False


class Tls:
    """TLS in the proxy with a certificate of its own: lines for its configuration, and a client."""

    def __init__(self, folder):
        self.port = free_port()
        key, self.cert = folder / "key.pem", folder / "cert.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", key, "-out", self.cert], check=True,
                       capture_output=True)
        self.lines = self.configured(key)

    def configured(self, key):
        return (f'enable_tls=yes\nloadmodule "tls.so"\nlisten=tls:127.0.0.1:{self.port}\n'
                'modparam("tls", "tls_method", "TLSv1.2+")\n'
                f'modparam("tls", "private_key", "{key}")\n'
                f'modparam("tls", "certificate", "{self.cert}")\n')

    def answers(self):
        """A new connection gets an answer to OPTIONS."""
        context = ssl.create_default_context(cafile=str(self.cert))
        context.check_hostname = False
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as plain, \
                    context.wrap_socket(plain) as s:
                s.sendall(OPTIONS.replace("/UDP", "/TLS").format(port=self.port, own=5061).encode())
                return s.recv(4096).startswith(b"SIP/2.0 200")
        except OSError:
            return False


class Proxy(Kamailio):
    """settings: {"name": value}, a list is a repeated one; they replace those of the sample, and an
    int goes without quotes. more: lines before the first module. listen: without "tcp" there is
    no RPC over HTTP. route: statements for requests that the sample refuses. voicemail: host and
    port for calls of those who are away. user: who the proxy becomes."""

    sample, module, Tls = SAMPLE, MODULE, Tls

    def __init__(self, folder, settings, more="", listen=("udp", "tcp"), debug=2, route="",
                 voicemail="127.0.0.1:9", user=None, **kwargs):
        super().__init__(folder, **kwargs)
        self.settings = {"worker": WORKER, **settings}
        self.more, self.listen, self.debug = more, listen, debug
        self.route, self.voicemail, self.becomes = route, voicemail, user

    def configuration(self):
        cfg = self.sample.read_text()

        def put(pattern, text):
            nonlocal cfg
            cfg, n = re.subn(pattern, lambda m: text(m[0]) if callable(text) else text, cfg,
                             flags=re.M)
            assert n == 1, f"{pattern} is {n} times in {self.sample}"

        lines = []
        for name, value in self.settings.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                one = one if isinstance(one, int) else quoted(one)
                lines.append(f'modparam("pua_exchange", "{name}", {one})\n')
        put(r"(?s)^# ---- Your Exchange ----\n.*^# ---- end of it ----\n", "".join(lines))
        put(r'^loadmodule "tm\.so"\n', self.more + 'loadmodule "tm.so"\n')
        put(r'"pua_exchange\.so"', f'"{self.module}"')
        put("voicemail.example.com", self.voicemail)
        put('"clean_period", 10', f'"clean_period", {self.clean_s}')
        for pattern, text in self.places().items():
            put(pattern, text)
        return cfg

    def places(self):
        """What stands in the sample, and what in its place."""
        lines = {f"^listen={transport}:127\\.0\\.0\\.1:5060\n":
                 f"listen={transport}:127.0.0.1:{self.port}\n" if transport in self.listen else ""
                 for transport in ("udp", "tcp")}
        return {**lines,
                "/run/kamailio/kamailio_ctl": str(self.folder / "ctl"),
                # as in e2e/kamailio.cfg.in
                r"^children=4\n": f"children={self.processes}\ndebug={self.debug}\n"
                "exit_timeout=10\ndisable_core_dump=yes\n" +
                (f"user={self.becomes}\n" if self.becomes else ""),
                r'^\tsl_send_reply\("405"': lambda found: self.route + found}

    def stop(self):
        """Ends it. A proxy kills what doesn't end by itself; what is ours must."""
        ours = [pid for one in self.supervisors() for pid in everybody(one)] if self.process else []
        if ours:
            self.process.send(signal.SIGTERM)
            wait_until(lambda: not any(map(alive, ours)), 3,
                       lambda: f"the module's processes end\n{self.process.tail()}")
        super().stop()

    def log(self):
        return self.process.output()

    def wait_logged(self, words, timeout=5):
        wait_until(lambda: words in self.log(), timeout, lambda: f"{words!r}\n{self.process.tail()}")

    @contextmanager
    def script(self):
        """ask("enable", "alice@example.test") sends a MESSAGE to `enable` with the words after it as body, for
        which `route` must have an answer: its reason phrase, and a result behind "is "."""
        with Sender(self.port) as sender:
            def ask(command, *words):
                answer = sender.ask("MESSAGE", f"{command}@127.0.0.1:{self.port}",
                                    "tester@example.test", " ".join(words),
                                    ["Content-Type: text/plain"])
                assert answer.start.startswith("SIP/2.0 200 "), answer.start
                return answer.start[len("SIP/2.0 200 "):].removeprefix("is ")
            yield ask

    # ---- its processes ----

    def worker(self):
        """The worker's pid, 0 when none runs."""
        for supervisor in self.supervisors():
            for child in children(supervisor):
                if is_worker(child) and alive(child):
                    return child
        return 0

    def supervisors(self):
        """Grandchildren of main: what it forked itself only keeps the supervisor running."""
        return [pid for kept in children(self.process.pid) for pid in children(kept)]

    def supervisor(self):
        """The supervisor's pid; a worker must be running."""
        for pid in self.supervisors():
            if any(is_worker(child) for child in children(pid)):
                return pid
        raise AssertionError(f"there is no supervisor\n{self.process.tail()}")

    def wait_worker(self, timeout=5, other_than=0):
        """Until a worker runs that isn't that one; its pid."""
        return wait_until(lambda: self.worker() not in (0, other_than) and self.worker(), timeout,
                          lambda: f"a worker\n{self.process.tail()}")

    def restart_worker(self, signum):
        """Ends it by that signal, and waits until the next one has taken over: within 5 s."""
        restarts, pid = self.stats()["worker_restarts"], self.worker()
        os.kill(pid, signum)
        self.wait_restarted(restarts + 1)

    def wait_restarted(self, restarts, timeout=5):
        """Until so many workers took over from another, and the last has told its state."""
        def there():
            stats = self.stats()
            return stats["worker_restarts"] == restarts and stats["worker"] == "running"
        wait_until(there, timeout,
                   lambda: f"restart {restarts}: {self.stats()}\n{self.process.tail()}")

    # ---- what it says ----

    def fault(self, method, *params):
        """(code, message) of a JSON-RPC command that is refused."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/RPC", method="POST",
            data=json.dumps({"jsonrpc": "2.0", "method": method, "params": params,
                             "id": 1}).encode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                reply = json.load(answer)
        except urllib.error.HTTPError as e:
            reply = json.load(e)
        assert "error" in reply, reply
        return reply["error"]["code"], reply["error"]["message"]

    def kamcmd(self, *words):
        """What kamcmd prints."""
        done = subprocess.run(["kamcmd", "-s", f"unix:{self.folder / 'ctl'}", *words],
                              capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stats(self):
        return self.rpc("pua_exchange.stats")

    def user(self, aor):
        return self.rpc("pua_exchange.user", aor)

    def statistics(self):
        """The module's, as numbers, by their name in the proxy."""
        return {name.partition(".")[2]: int(value)
                for name, value in self.rpc("stats.fetch", "pua_exchange:").items()}

    def shared_memory(self):
        """Bytes of it that are in use."""
        return self.rpc("core.shmmem")["used"]

    def errors(self):
        """What the module complained about."""
        return [line for line in self.log().splitlines() if "ERROR: pua_exchange" in line]

    def metrics(self):
        """{"kamailio_pua_exchange_users": 12.0, ...} as Prometheus gets them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {line.split()[0]: float(line.split()[1]) for line in lines
                if line and line[0] != "#"}

    def wait_followed(self, users, timeout=15):
        """Until the worker runs and that many users are in running streams."""
        def there():
            stats = self.stats()
            return stats["worker"] == "running" and stats["followed"] == users
        wait_until(there, timeout,
                   lambda: f"{users} followed: {self.stats()}\n{self.process.tail()}")
