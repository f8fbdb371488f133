# SPDX-License-Identifier: GPL-2.0-or-later
"""OpenSIPS with the module: plugin/opensips.cfg.sample with other addresses and settings."""

import json
import os
import re
import sqlite3
import urllib.error
import urllib.request
from pathlib import Path

from .process import Process, ROOT, free_port
from .proxy import Proxy, Tls

SAMPLE = ROOT / "plugin" / "opensips.cfg.sample"
MODULE = Path(os.environ.get("PX_MODULE", ROOT / "build" / "opensips" / "pua_exchange.so"))
SOURCE = os.environ.get("OPENSIPS_SRC", "")


class OpenSipsTls(Tls):
    def configured(self, key):
        modules = "".join(f'loadmodule "{name}.so"\n'
                          for name in ("proto_tls", "tls_openssl", "tls_mgm"))
        values = {"certificate": self.cert, "private_key": key, "verify_cert": 0,
                  "require_cert": 0, "tls_method": "TLSv1_2-"}
        return (f'socket=tls:127.0.0.1:{self.port}\n{modules}'
                'modparam("tls_mgm", "server_domain", "own")\n' +
                "".join(f'modparam("tls_mgm", "{name}", "[own]{value}")\n'
                        for name, value in values.items()))


class OpenSips(Proxy):
    """As Proxy. The program, its modules and its schemas are those of OPENSIPS_SRC."""

    sample, module, Tls = SAMPLE, MODULE, OpenSipsTls

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.mi_port = free_port()

    @staticmethod
    def program():
        return Path(SOURCE) / "opensips"

    def configuration(self):
        cfg = super().configuration()

        def put(pattern, text, times=1):
            nonlocal cfg
            cfg, n = re.subn(pattern, lambda _: text, cfg, flags=re.M)
            assert n == times, f"{pattern} is {n} times in {SAMPLE}"

        put(r'^mpath=".*"', f'mpath="{Path(SOURCE) / "modules"}/"')
        put(r"^tcp_workers=4", "tcp_workers=2")
        if (Path(SOURCE) / "modules" / "event_route" / "event_route.so").exists():
            put(r'^#loadmodule "event_route\.so"', 'loadmodule "event_route.so"')
        if b"busy_timeout" in (Path(SOURCE) / "modules/db_sqlite/db_sqlite.so").read_bytes():
            put(r'^#modparam\("db_sqlite"', 'modparam("db_sqlite"')
        put("sqlite:///var/lib/opensips/presence.sqlite",
            f"sqlite:///{str(self.database()).lstrip('/')}", times=2)
        put('"port", 8888', f'"port", {self.mi_port}')
        if "tcp" not in self.listen:
            put(r'^.*"proto_tcp.*\n', "", times=2)
        return cfg

    def places(self):
        """What stands in the sample, and what in its place."""
        lines = {f'^socket={transport}:127\\.0\\.0\\.1:5060\n':
                 f"socket={transport}:127.0.0.1:{self.port}\n" if transport in self.listen else ""
                 for transport in ("udp", "tcp")}
        return {**lines,
                r"^udp_workers=4\n": f"udp_workers={self.processes}\n",
                r"^log_level=3\n": f"log_level={self.debug + 1}\n",
                r'^\tsend_reply\(405': lambda found: self.route + found}

    def database(self):
        """presence keeps all there; made anew, as a Kamailio without a database forgets all."""
        path = self.folder / "presence.sqlite"
        path.unlink(missing_ok=True)
        with sqlite3.connect(path) as db:
            for name in ("standard", "presence"):
                db.executescript((Path(SOURCE) / "scripts" / "sqlite" /
                                  f"{name}-create.sql").read_text())
            db.execute("pragma journal_mode=wal")
        return path

    def spawn(self):
        path = self.folder / "opensips.cfg"
        path.write_text(self.configuration())
        becomes = ["-u", self.becomes] if self.becomes else []
        self.process = Process([self.program(), "-F", "-f", path, "-m", "256", "-M", "32", "-w",
                                self.folder, *becomes], self.folder, "opensips")

    # ---- what it says ----

    @staticmethod
    def named(method, params):
        """MI takes what filters users by name, and what else there is in order."""
        if method != "pua_exchange.users":
            return list(params)
        words, numbers = {}, ["offset", "limit"]
        for one in map(str, params):
            name, equals, value = one.partition("=")
            words[name if equals else numbers.pop(0) if one.isdigit() else "match"] = \
                value if equals else one
        return words

    def ask(self, method, params):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.mi_port}/mi", method="POST",
            headers={"Content-Type": "application/json"},
            data=json.dumps({"jsonrpc": "2.0", "method": method.replace(".", "_"),
                             "params": self.named(method, params), "id": 1}).encode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            return json.load(e)

    def rpc(self, method, *params):
        reply = self.ask(method, params)
        assert "error" not in reply, reply["error"]
        return "ok" if reply["result"] == "OK" else reply["result"]

    def fault(self, method, *params):
        reply = self.ask(method, params)
        assert "error" in reply, reply
        return reply["error"]["code"], reply["error"]["message"]

    def statistics(self):
        """The module's, as numbers, by their name in the proxy."""
        every = self.ask("get_statistics", [["pua_exchange:"]])["result"]
        return {name.partition(":")[2]: int(value) for name, value in every.items()}

    def shared_memory(self):
        return int(self.ask("get_statistics", [["shmem:"]])["result"]["shmem:used_size"])

    def errors(self):
        return [line for line in self.log().splitlines() if "ERROR:pua_exchange" in line]
