# SPDX-License-Identifier: GPL-2.0-or-later
"""A presence server that keeps to RFC 3903 unless the test tells it otherwise."""

import heapq
import itertools
import re
import selectors
import socket
import struct
import threading
import time
import xml.etree.ElementTree as ET

from .process import free_port, wait_until
from .sip import Message

PIDF = "{urn:ietf:params:xml:ns:pidf}"
DM = "{urn:ietf:params:xml:ns:pidf:data-model}"
RPID = "{urn:ietf:params:xml:ns:pidf:rpid}"
OFF = "{urn:x-pua-exchange:withdrawn}"
CLEAR = "clear"

# What a rule may return besides a status: nothing is answered, or the connection is reset; the
# request is not carried out, or it is and only its answer gets lost.
# MISSED: the packet never came, the next copy of it is looked at anew.
SILENT, RESET, LOST, LOST_BY_RESET = "silent", "reset", "lost", "lost by reset"
MISSED = "missed"

_etag = itertools.count(1)


def calendar_of(aor, body):
    """The status in one of our documents; CLEAR: the one that says nothing; AssertionError when it isn't as it should be."""
    root = ET.fromstring(body)
    assert root.tag == PIDF + "presence" and root.get("entity") == f"sip:{aor}", body
    if not root.findall(PIDF + "*") and not root.findall(DM + "*"):
        # what Kamailio and OpenSIPS look for when they make a last document of it
        found = root.findall(f"{OFF}tuple/{OFF}status/{OFF}basic")
        assert len(root) == len(found) == 1 and root[0].get("id").startswith("cal-"), body
        return CLEAR
    tuples, persons = root.findall(PIDF + "tuple"), root.findall(DM + "person")
    assert len(tuples) == len(persons) == 1, body
    assert tuples[0].get("id").startswith("cal-"), body
    assert persons[0].get("id").startswith("calp-"), body
    assert tuples[0].findtext(f"{PIDF}status/{PIDF}basic") == "open", body
    activities = [one.tag for one in persons[0].findall(f"{RPID}activities/*")]
    found = {(): "available", (RPID + "busy",): "busy", (RPID + "away",): "away"}
    assert tuple(activities) in found, body
    return found[tuple(activities)]


class Publish:
    """One PUBLISH that came, copies left out. op: initial, refresh, modify, clear or remove; calendar: the
    status in its document, if it has one; answer: the status it got, None while it has none."""

    def __init__(self, message):
        self.t = time.time()
        self.message = message
        self.aor = re.search(r"sip:([^>;]+)", message["To"])[1]
        self.etag = message.get("SIP-If-Match")
        self.expires = int(message.get("Expires") or -1)
        self.calendar = None
        self.answer = None
        self.op = ("remove" if self.expires == 0 else "initial" if not self.etag
                   else "modify" if message.body else "refresh")

    def __repr__(self):
        return f"<{self.t:.3f} {self.aor} {self.op} {self.calendar or ''} -> {self.answer}>"


class PresenceServer:
    """On UDP and TCP, one port. rule(publish) decides what happens to a request: None: as RFC 3903
    says; a status, or (status, {"Header": "value"}): that answer; or one of the words above.
    delay: seconds until each answer; min_expires, max_expires: what is granted. publishes: all that came, oldest first; problems: what no
    publisher may do. stop(), forget() and start(): away and back at the same port."""

    def __init__(self, port=None):
        self.port = port or free_port()
        self.rule = None
        self.delay = 0
        self.min_expires, self.max_expires = 0, 86400
        self.publishes, self.problems = [], []
        self.messages, self.message_rule = [], None
        self.standing = {}  # ETag -> (AoR, calendar, until)
        self.done = {}  # branch -> the bytes of its answer; None: there are none
        self.open = {}  # AoR -> the PUBLISH whose answer waits
        self.thread = None
        self.start()

    def uri(self, transport=None):
        return f"sip:127.0.0.1:{self.port}" + (f";transport={transport}" if transport else "")

    def start(self):
        self.wake, self.ended = socket.socketpair()
        self.udp_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.listener = socket.socket()
        for one in (self.udp_socket, self.listener):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", self.port))
        self.listener.listen(16)
        self.poll = selectors.DefaultSelector()
        for one in (self.ended, self.udp_socket, self.listener):
            self.poll.register(one, selectors.EVENT_READ)
        self.received = {}  # TCP connection -> bytes
        self.later = []  # (time, number, send, branch, bytes, publish)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def stop(self):
        """Gone: connections end, packets are refused. What stands is remembered."""
        if not self.thread:
            return
        self.wake.send(b"x")
        self.thread.join(5)
        self.thread = None
        for one in (self.wake, self.ended, self.udp_socket, self.listener, *self.received):
            one.close()
        self.open.clear()

    def forget(self):
        """As after a restart: no ETag is known any more."""
        self.standing.clear()

    def drop_connections(self):
        """All TCP connections end; the server goes on."""
        self.wake.send(b"d")

    def _serve(self):
        while True:
            due = self.later[0][0] - time.monotonic() if self.later else None
            for key, _ in self.poll.select(None if due is None else max(0, due)):
                one = key.fileobj
                if one is self.ended:
                    if one.recv(1) == b"x":
                        return
                    for connection in list(self.received):
                        self._close(connection)
                elif one is self.udp_socket:
                    data, peer = one.recvfrom(65536)
                    self._request(data, lambda d, peer=peer: self.udp_socket.sendto(d, peer), None)
                elif one is self.listener:
                    connection, _ = one.accept()
                    self.received[connection] = b""
                    self.poll.register(connection, selectors.EVENT_READ)
                elif one in self.received:
                    self._read(one)
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, send, branch, data, publish = heapq.heappop(self.later)
                self.done[branch] = data
                if self.open.get(publish.aor) is publish:
                    del self.open[publish.aor]
                self._send(send, data)

    @staticmethod
    def _send(send, data):
        try:
            send(data)
        except OSError:
            pass  # whoever asked is gone

    def _close(self, connection, reset=False):
        if connection not in self.received:
            return
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.poll.unregister(connection)
        del self.received[connection]
        connection.close()

    def _read(self, connection):
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        got = self.received[connection] + data
        while connection in self.received:
            got = got.lstrip(b"\r\n")
            head, sep, rest = got.partition(b"\r\n\r\n")
            found = re.search(rb"\r\n(?:Content-Length|l)\s*:\s*(\d+)", head, re.I)
            length = int(found[1]) if found else 0
            if not sep or len(rest) < length:
                break
            end = len(head) + 4 + length
            self.received[connection] = got[end:]
            self._request(got[:end], connection.sendall, connection)
            got = got[end:]
        if connection in self.received:
            self.received[connection] = got

    def _request(self, data, send, connection):
        message = Message(data)
        if not message.status and message.method == "MESSAGE":
            self._pass_on(message, send)
            return
        if message.status or message.method != "PUBLISH":
            self.problems.append(f"not a PUBLISH: {message.start}")
            return
        branch = re.search(r"branch=([^;,\s]+)", message["Via"])[1]
        if branch in self.done:
            if self.done[branch]:
                self._send(send, self.done[branch])
            return
        publish = Publish(message)
        self._look_at(publish)
        told = self.rule(publish) if self.rule else None
        if told is MISSED:
            return
        self.publishes.append(publish)
        self.done[branch] = None
        if told in (SILENT, RESET):
            publish.answer = told
        else:
            status, headers = (self._carry_out(publish) if told in (None, LOST, LOST_BY_RESET)
                               else told if isinstance(told, tuple) else (told, {}))
            publish.answer = told if told in (LOST, LOST_BY_RESET) else status
        if told in (RESET, LOST_BY_RESET):
            if connection:
                self._close(connection, reset=True)
        elif told not in (SILENT, LOST):
            answer = self._answer(message, status, headers)
            if self.delay:
                self.open[publish.aor] = publish
                heapq.heappush(self.later, (time.monotonic() + self.delay, next(_etag), send,
                                            branch, answer, publish))
            else:
                self.done[branch] = answer
                self._send(send, answer)

    def _pass_on(self, message, send):
        """A MESSAGE, to phones that answer as message_rule(message) says: a status, None for 200, or SILENT."""
        branch = re.search(r"branch=([^;,\s]+)", message["Via"])[1]
        if branch in self.done:
            if self.done[branch]:
                self._send(send, self.done[branch])
            return
        message.t = time.time()
        message.aor = re.search(r"sip:([^>;]+)", message["To"])[1]
        if message.start != f"MESSAGE sip:{message.aor} SIP/2.0":
            self.problems.append(f"{message.start} to {message['To']}")
        if message.get("Contact") or message.get("Content-Length") != str(len(message.body)):
            self.problems.append(f"MESSAGE to {message.aor}: {message.headers}")
        status = self.message_rule(message) if self.message_rule else None
        self.messages.append(message)
        self.done[branch] = None
        if status is not SILENT:
            self.done[branch] = self._answer(message, status or 200, {})
            self._send(send, self.done[branch])

    def _look_at(self, publish):
        message = publish.message
        if publish.aor in self.open:
            self.problems.append(f"two in flight: {self.open[publish.aor]} and {publish}")
        for header, value in (("Event", "presence"),
                              ("Content-Type", message.body and "application/pidf+xml" or None)):
            if message.get(header) != value:
                self.problems.append(f"{publish}: {header} is {message.get(header)}")
        if message.get("Content-Length") != str(len(message.body)):
            self.problems.append(f"{publish}: Content-Length {message.get('Content-Length')}")
        if publish.expires < 0:
            self.problems.append(f"{publish}: Expires is missing")
        if publish.op == "initial" and not message.body:
            self.problems.append(f"{publish}: initial without a document")
        if message.body:
            try:
                publish.calendar = calendar_of(publish.aor, message.body)
                if publish.calendar == CLEAR:
                    publish.op = "clear"
            except (AssertionError, ET.ParseError) as e:
                self.problems.append(f"{publish}: {e}")

    def _carry_out(self, publish):
        """RFC 3903 §6"""
        now = time.time()
        if publish.etag:
            aor, calendar, until = self.standing.pop(publish.etag, (None, None, 0))
            if aor != publish.aor or until < now:
                return 412, {}
        else:
            calendar = None
        if publish.op == "remove":
            if calendar != CLEAR:
                self.problems.append(f"{publish}: watchers would be shown {calendar} as closed")
            return 200, {"SIP-ETag": "gone", "Expires": "0"}
        if publish.expires < self.min_expires:
            if publish.etag:
                self.standing[publish.etag] = aor, calendar, until
            return 423, {"Min-Expires": str(self.min_expires)}
        etag, granted = f"etag-{next(_etag)}", min(publish.expires, self.max_expires)
        self.standing[etag] = publish.aor, publish.calendar or calendar, now + granted
        return 200, {"SIP-ETag": etag, "Expires": str(granted)}

    @staticmethod
    def _answer(message, status, headers):
        to = message["To"] + ";tag=presence"
        lines = [f"SIP/2.0 {status} As Told", f"Via: {message['Via']}", f"From: {message['From']}",
                 f"To: {to}", f"Call-ID: {message['Call-ID']}", f"CSeq: {message['CSeq']}",
                 *(f"{name}: {value}" for name, value in headers.items()), "Content-Length: 0"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    # ---- what has come ----

    def texts(self, aor=None):
        """What the MESSAGEs said, to one or to all."""
        return [one.body.decode() for one in list(self.messages) if aor in (None, one.aor)]

    def of(self, aor):
        return [one for one in list(self.publishes) if one.aor == aor]

    def state(self, aor):
        """The calendar that stands for aor; None: nothing does; a list: more than one does."""
        found = [calendar for who, calendar, until in list(self.standing.values())
                 if who == aor and until >= time.time()]
        return found[0] if len(found) == 1 else found or None

    def states(self, aors):
        found = {aor: None for aor in aors}
        for aor, calendar, until in list(self.standing.values()):
            if aor in found and until >= time.time():
                found[aor] = (found[aor] or []) + [calendar]
        return {aor: one[0] if one and len(one) == 1 else one for aor, one in found.items()}

    def wait_for(self, aor, calendar, timeout=5):
        """Until that stands for aor; returns the newest PUBLISH of aor."""
        wait_until(lambda: self.state(aor) == calendar, timeout,
                   lambda: f"{aor} {calendar}, is {self.state(aor)}: {self.of(aor)[-5:]}")
        return self.of(aor)[-1]

    def wait_all(self, calendars, timeout=10):
        """Until everybody in calendars {AoR: status} has theirs."""
        def wrong():
            now = self.states(calendars)
            return {aor: (now[aor], "not", one) for aor, one in calendars.items()
                    if now[aor] != one}

        wait_until(lambda: not wrong(), timeout,
                   lambda: f"{len(wrong())} are wrong, such as {dict(list(wrong().items())[:4])}")
