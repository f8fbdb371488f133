# SPDX-License-Identifier: GPL-2.0-or-later
"""exchange-sim: a pool of Exchange servers on loopback. See tests/exchange/README.md."""

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from .process import BUILD, Process


class ExchangeSim:
    """Starts exchange-sim with these options ("--cas", 4, "--users", 1000) and waits for the line
    in which it says where it listens. cas: {"cas1": {"name", "url", "port"}}; a gateway of the
    worker is settings(). With ("--webdav", 2003) there is an OWA front end too, owa; ("--cas", 0) leaves
    it alone."""

    def __init__(self, folder, *options, timeout=30):
        folder = Path(folder)
        self.password = "not-the-default"
        self.password_file = folder / "exchange-sim.password"
        self.password_file.write_text(self.password + "\n")
        self.password_file.chmod(0o600)
        self.line = None
        self.said = threading.Event()
        self.process = Process(
            [BUILD / "exchange-sim", "--exit-on-eof", "--ca-out", folder / "exchange-sim-ca.pem",
             "--password-file", self.password_file, *options],
            folder, on_line=self._line, open_stdin=True)
        if not self.said.wait(timeout):
            self.process.stop()
            raise AssertionError(f"exchange-sim says nothing\n{self.process.tail()}")
        self.ready = json.loads(self.line)
        self.control = self.ready["control"]
        self.ca_file = self.ready["ca_file"]
        self.account = self.ready["account"]
        self.cas = {cas["name"]: cas for cas in self.ready["cas"]}
        self.owa = self.ready.get("owa")  # {"name", "url", "port"} with --webdav, else None

    def _line(self, text):
        if self.line is None:
            self.line = text
            self.said.set()

    def request(self, method, path, body=None):
        """A request to the control port; its JSON answer, None when it has no body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.control.rstrip("/") + path, data, method=method,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{method} {path}: {e.code} {e.read().decode(errors='replace')}")
        return json.loads(text) if text.strip() else None

    def settings(self):
        """What the worker's settings file needs to follow all the servers."""
        gateways = [f"{cas['url']};name={name}" for name, cas in self.cas.items()]
        if self.owa:
            gateways.append(f"{self.owa['url']};type=webdav;name={self.owa['name']}")
        return {"gateway": gateways, "account": self.account, "password_file": self.password_file,
                "ca_file": self.ca_file}

    def add_meeting(self, mailbox, start, end, status="busy", **more):
        """Times in epoch seconds, or "+10": from now; returns the meeting's id."""
        return self.request("POST", "/meetings", {"mailbox": mailbox, "start": start, "end": end,
                                                  "status": status, **more})["id"]

    def change_meeting(self, meeting, **fields):
        self.request("PATCH", f"/meetings/{meeting}", fields)

    def delete_meeting(self, meeting):
        self.request("DELETE", f"/meetings/{meeting}")

    def fail(self, cas, how, **more):
        """how: refuse, hang, freeze, 503, busy, denied, cut …"""
        self.request("POST", f"/cas/{cas}/fail", {"how": how, **more})

    def heal(self, cas):
        self.request("POST", f"/cas/{cas}/heal", {})

    def drop_subscriptions(self, **which):
        """mailbox=…, cas=… or (of WebDAV) id=…; without: all. Returns how many there were."""
        return self.request("POST", "/subscriptions/drop", which or {"all": True})["dropped"]

    def webdav(self, **settings):
        """What the OWA front end and the store behind it do from now on: lose_notify=3, urls="backend" …"""
        self.request("POST", "/webdav", settings)

    def shut_down_store(self):
        """All WebDAV subscriptions are gone, and every Call-Back gets a NOTIFY without an id."""
        return self.request("POST", "/webdav/shutdown", {})["dropped"]

    def end_sessions(self):
        """All sessions of forms-based authentication are over; returns how many there were."""
        return self.request("POST", "/webdav/logoff", {})["dropped"]

    def counters(self):
        return self.request("GET", "/counters")

    def expected(self, at=None, mailbox=None):
        """{"user@host": {"status", "until", "availability", "availability_until"}} at a time in
        epoch seconds, now by default"""
        query = {"at": at, "mailbox": mailbox}
        query = {name: value for name, value in query.items() if value is not None}
        return self.request("GET", "/expected?" + urllib.parse.urlencode(query))

    def stop(self):
        return self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.running():
            self.process.stop()
