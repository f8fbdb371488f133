# SPDX-License-Identifier: GPL-2.0-or-later
"""exchange-sim: a pool of Exchange servers on loopback. See tests/exchange/README.md."""

import json
import threading
import urllib.error
import urllib.parse
import urllib.request

from .process import BUILD, Process


class ExchangeSim:
    """Starts exchange-sim with these options and waits for the line in which it says where it
    listens. cas: {"name": {"name", "url", "port"}}."""

    def __init__(self, folder, *options, timeout=20):
        self.line = None
        self.said = threading.Event()
        self.process = Process([BUILD / "exchange-sim", *options], folder, on_line=self._line)
        assert self.said.wait(timeout), f"exchange-sim says nothing\n{self.process.tail()}"
        ready = json.loads(self.line)
        self.control = ready["control"]
        self.ca_file = ready["ca_file"]
        self.account = ready["account"]
        self.cas = {cas["name"]: cas for cas in ready["cas"]}
        self.ready = ready

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

    def add_meeting(self, mailbox, start, end, status="Busy", **more):
        """Times in epoch seconds; returns the meeting's id."""
        return self.request("POST", "/meetings", {"mailbox": mailbox, "start": start, "end": end,
                                                  "status": status, **more})["id"]

    def change_meeting(self, meeting, **fields):
        self.request("PATCH", "/meetings/" + urllib.parse.quote(meeting, safe=""), fields)

    def delete_meeting(self, meeting):
        self.request("DELETE", "/meetings/" + urllib.parse.quote(meeting, safe=""))

    def fail(self, cas, how):
        """how: refuse, hang or 503"""
        self.request("POST", f"/cas/{cas}/fail", {"how": how})

    def heal(self, cas):
        self.request("POST", f"/cas/{cas}/heal")

    def drop_subscriptions(self):
        self.request("POST", "/subscriptions/drop")

    def counters(self):
        return self.request("GET", "/counters")

    def expected(self, at=None):
        """{"user@host": {"status", "until"}} at a time in epoch seconds, now by default"""
        return self.request("GET", "/expected" + (f"?at={at}" if at is not None else ""))

    def stop(self):
        return self.process.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.running():
            self.process.stop()
