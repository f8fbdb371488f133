# SPDX-License-Identifier: GPL-2.0-or-later
"""A small SIP end over UDP: publishes by hand (RFC 3903), or notifies by hand, also wrongly."""

import itertools
import re
import socket
import threading
import time

from .process import PATIENCE

_unique = itertools.count(1)


def pidf(aor, basic="open", activities=(), tuple_id="phone-1", person_id="person-1", until=None,
         entity=None):
    """A presence document with one tuple and one person; person_id None: without a person."""
    names = "".join(f"<rpid:{name}/>" for name in activities)
    ends = f' until="{until}"' if until else ""
    person = (f'<dm:person id="{person_id}"><rpid:activities{ends}>{names}</rpid:activities>'
              "</dm:person>" if person_id else "")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<presence xmlns="urn:ietf:params:xml:ns:pidf"'
        ' xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"'
        f' xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="{entity or "sip:" + aor}">'
        f'<tuple id="{tuple_id}"><status><basic>{basic}</basic></status></tuple>'
        f"{person}</presence>\n"
    )


class Message:
    """A request or response, taken apart. Header names in lower case; the first of each counts."""

    def __init__(self, data):
        head, _, self.body = data.partition(b"\r\n\r\n")
        self.start, *lines = head.decode("utf-8", "replace").split("\r\n")
        self.headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.headers.setdefault(name.strip().lower(), value.strip())

    @property
    def status(self):
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self):
        return self.start.split()[0]

    def __getitem__(self, name):
        return self.headers[name.lower()]

    def get(self, name):
        return self.headers.get(name.lower())

    def tag(self, name):
        found = re.search(r";tag=([^;>\s]+)", self[name])
        return found[1] if found else None


class Sender:
    """Asks the proxy at port, over UDP."""

    def __init__(self, port):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.connect(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]

    def ask(self, method, aor, sender=None, body="", headers=()):
        """Sends a request to aor, again when it seems lost; returns its final answer, a Message."""
        call_id = f"{method.lower()}-{self.port}-{next(_unique)}"
        body = body.encode()
        lines = [
            f"{method} sip:{aor} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{call_id}",
            "Max-Forwards: 70",
            f"From: <sip:{sender or aor}>;tag=t{call_id}",
            f"To: <sip:{aor}>",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            *headers,
            f"Content-Length: {len(body)}",
        ]
        data = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
        for attempt in range(6):
            self.socket.send(data)
            self.socket.settimeout(0.5 * 2 ** min(attempt, 3))
            try:
                while True:
                    answer = Message(self.socket.recv(65536))
                    if answer.get("Call-ID") == call_id and answer.status >= 200:
                        return answer
            except (socket.timeout, ConnectionRefusedError):
                pass
        raise AssertionError(f"no answer to {method} {aor}")

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Publisher(Sender):
    """Publishes for anybody, to the presence server at port; remembers no ETag itself."""

    def publish(self, aor, body=None, expires=3600, etag=None):
        """Its final answer, a Message."""
        headers = ["Event: presence", f"Expires: {expires}"]
        if etag:
            headers.append(f"SIP-If-Match: {etag}")
        if body:
            headers.append("Content-Type: application/pidf+xml")
        return self.ask("PUBLISH", aor, body=body or "", headers=headers)

    def put(self, aor, *args, etag=None, expires=3600, **kwargs):
        """Publishes pidf(aor, …), which must be accepted; returns the SIP-ETag."""
        answer = self.publish(aor, pidf(aor, *args, **kwargs), expires, etag)
        assert answer.status == 200, answer.start
        return answer["SIP-ETag"]

    def remove(self, aor, etag):
        answer = self.publish(aor, None, 0, etag)
        assert answer.status == 200, answer.start


class Phone:
    """Registers for an AoR at port and takes MESSAGEs. texts: what they said; messages: the same as Message;
    statuses: what the next ones are answered with, 200 when it is empty."""

    def __init__(self, port, aor, statuses=()):
        self.aor, self.server, self.statuses = aor, port, list(statuses)
        self.messages, self.registered, self.seen = [], threading.Event(), set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def register(self, expires=3600):
        n = next(_unique)
        user, _, domain = self.aor.partition("@")
        self.registered.clear()
        self.socket.sendto("\r\n".join([
            f"REGISTER sip:{domain} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bKr{self.port}-{n}",
            "Max-Forwards: 70", f"From: <sip:{self.aor}>;tag=r{n}", f"To: <sip:{self.aor}>",
            f"Call-ID: register-{self.port}", f"CSeq: {n} REGISTER",
            f"Contact: <sip:{user}@127.0.0.1:{self.port}>;expires={expires}",
            "Content-Length: 0", "", ""]).encode(), ("127.0.0.1", self.server))
        assert self.registered.wait(5 * PATIENCE), f"{self.aor} isn't registered"
        return self

    @property
    def texts(self):
        return [one.body.decode() for one in list(self.messages)]

    def _serve(self):
        while True:
            data, peer = self.socket.recvfrom(65536)
            if not data:
                return
            message = Message(data)
            if message.status == 200:
                self.registered.set()
            if message.status or message.method != "MESSAGE":
                continue
            via = [line for line in data.decode("utf-8", "replace").split("\r\n")
                   if line.lower().startswith("via:")]
            if via[0] not in self.seen:
                self.messages.append(message)
                self.seen.add(via[0])
            status = self.statuses.pop(0) if self.statuses else 200
            self.socket.sendto("\r\n".join([
                f"SIP/2.0 {status} As Told", *via, f"From: {message['From']}",
                f"To: {message['To']};tag=phone", f"Call-ID: {message['Call-ID']}",
                f"CSeq: {message['CSeq']}", "Content-Length: 0", "", ""]).encode(), peer)

    def close(self):
        self.socket.sendto(b"", self.socket.getsockname())
        self.thread.join(5)
        self.socket.close()


class Subscriber:
    """Watches one AoR at port, by one SUBSCRIBE over UDP."""

    def __init__(self, port, aor):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5 * PATIENCE)
        me = self.socket.getsockname()[1]
        self.socket.sendto("\r\n".join([
            f"SUBSCRIBE sip:{aor} SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1:{me};branch=z9hG4bKs{me}",
            "Max-Forwards: 70", "From: <sip:bob@example.com>;tag=watcher", f"To: <sip:{aor}>",
            f"Call-ID: subscriber-{me}", "CSeq: 1 SUBSCRIBE", f"Contact: <sip:bob@127.0.0.1:{me}>",
            "Event: presence", "Accept: application/pidf+xml", "Expires: 600", "Content-Length: 0",
            "", ""]).encode(), ("127.0.0.1", port))

    def next(self):
        """The body of the next NOTIFY, with ends of lines as "\\n"."""
        while True:
            data, peer = self.socket.recvfrom(65536)
            head, _, body = data.decode().partition("\r\n\r\n")
            if not head.startswith("NOTIFY"):
                continue
            again = [line for line in head.split("\r\n")[1:]
                     if line.split(":")[0].lower() in ("via", "from", "to", "call-id", "cseq")]
            self.socket.sendto("\r\n".join(["SIP/2.0 200 OK", *again, "Content-Length: 0", "", ""]).encode(),
                               peer)
            return body.replace("\r\n", "\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Notifier:
    """A presence server that is told what to say. It accepts every SUBSCRIBE; notify() then sends
    in the dialog of that subscriber whatever the test wants, right or wrong. dialogs: AoR ->
    the last SUBSCRIBE's Message; answers: (Call-ID, CSeq number) -> SIP status that came back."""

    def __init__(self, status=200, expires=3600):
        self.status, self.expires = status, expires
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.dialogs, self.peers, self.answers, self.cseq = {}, {}, {}, {}
        self.subscribes = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    @property
    def udp(self):
        return f"sip:127.0.0.1:{self.port}"

    def _serve(self):
        while True:
            data, peer = self.socket.recvfrom(65536)
            if not data:
                return
            message = Message(data)
            if message.status:
                number = int(message["CSeq"].split()[0])
                self.answers[message["Call-ID"], number] = message.status
            elif message.method == "SUBSCRIBE":
                self._accept(message, peer)

    def _accept(self, message, peer):
        aor = re.search(r"sip:([^>;]+)", message["To"])[1]
        self.subscribes.append(message)
        to = message["To"] if message.tag("To") else message["To"] + f";tag=notifier{self.port}"
        lines = [f"SIP/2.0 {self.status} As Told", f"Via: {message['Via']}",
                 f"From: {message['From']}", f"To: {to}", f"Call-ID: {message['Call-ID']}",
                 f"CSeq: {message['CSeq']}", f"Contact: <sip:127.0.0.1:{self.port}>",
                 f"Expires: {min(self.expires, int(message['Expires']))}", "Content-Length: 0"]
        self.socket.sendto("\r\n".join(lines).encode() + b"\r\n\r\n", peer)
        if self.status == 200:
            self.peers[aor] = peer
            self.dialogs[aor] = message

    def notify(self, aor, body="", cseq=None, event="presence", state="active;expires=3600",
               content_type="application/pidf+xml", call_id=None, from_tag=None, to_tag=None,
               branch=None):
        """Sends one NOTIFY; returns (Call-ID, CSeq number), the key of its answer."""
        subscribe = self.dialogs[aor]
        call_id = call_id or subscribe["Call-ID"]
        if cseq is None:
            cseq = self.cseq.get(call_id, 0) + 1
        self.cseq[call_id] = max(cseq, self.cseq.get(call_id, 0))
        if from_tag is None:
            from_tag = f"notifier{self.port}"
        self.answers.pop((call_id, cseq), None)
        host, port = self.peers[aor]
        body = body.encode() if isinstance(body, str) else body
        lines = [
            f"NOTIFY sip:presence-watch@{host}:{port} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{branch or next(_unique)}",
            "Max-Forwards: 70",
            f"From: <sip:{aor}>;tag={from_tag}",
            f"To: <sip:watcher@localhost>;tag={to_tag or subscribe.tag('From')}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} NOTIFY",
            f"Contact: <sip:127.0.0.1:{self.port}>",
            f"Content-Length: {len(body)}",
        ]
        if event:
            lines.append(f"Event: {event}")
        if state:
            lines.append(f"Subscription-State: {state}")
        if body and content_type:
            lines.append(f"Content-Type: {content_type}")
        self.socket.sendto("\r\n".join(lines).encode() + b"\r\n\r\n" + body, (host, port))
        return call_id, cseq

    def answer(self, key, timeout=5):
        """The SIP status that the NOTIFY with this key was answered with."""
        deadline = time.monotonic() + timeout
        while key not in self.answers:
            assert time.monotonic() < deadline, f"no answer to NOTIFY {key}"
            time.sleep(0.005)
        return self.answers[key]

    def close(self):
        own = self.socket.getsockname()
        self.socket.sendto(b"", own)
        self.thread.join(5)
        self.socket.close()
