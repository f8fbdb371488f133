# SPDX-License-Identifier: GPL-2.0-or-later
"""A server that stands before a CAS of the simulator and can be told to lie."""

import http.client
import re
import socket
import ssl
from urllib.parse import urlsplit

from .certificates import Authority
from .listener import Listener


class Gateway(Listener):
    """Passes requests on to the CAS at url, and its answers back. With lie(operation, genuine) set,
    what that yields is sent instead, bytes of HTTP, and the connection closed; genuine() is the true
    answer, whole; None: passed on. operation: "Subscribe", "GetUserAvailabilityRequest" …
    asked: the operations that came; told: those that got a lie. names: of its certificate."""

    def __init__(self, folder, url, authority=None, names=("IP:127.0.0.1",)):
        self.authority = authority or Authority(folder)
        self.cas = urlsplit(url)
        self.lie = None
        self.asked, self.told = [], []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.authority.certificate(*names))
        self.to_cas = ssl.create_default_context()
        self.to_cas.check_hostname, self.to_cas.verify_mode = False, ssl.CERT_NONE
        self.open = set()
        super().__init__()

    def setting(self, name, ca=None):
        return (f"https://127.0.0.1:{self.port}/EWS/Exchange.asmx;name={name}"
                f";ca={ca or self.authority.file}")

    def serve(self, raw):
        self.open.add(raw)
        try:
            raw.settimeout(60)
            with self.context.wrap_socket(raw, server_side=True) as connection:
                self.open.add(connection)
                rest = b""
                while rest is not None:
                    rest = self._request(connection, rest)
        except (OSError, ValueError, http.client.HTTPException):
            pass  # whoever asked is gone, or wouldn't have this certificate
        finally:
            self.open.discard(raw)

    def _request(self, connection, got):
        """Answers one request; returns what came behind it, None when that was the last."""
        while b"\r\n\r\n" not in got:
            got += self._receive(connection)
        head, _, body = got.partition(b"\r\n\r\n")
        length = int(re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)[1])
        while len(body) < length:
            body += self._receive(connection)
        body, rest = body[:length], body[length:]
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
        found = re.search(rb"Body>\s*<(?:\w+:)?(\w+)", body)
        operation = found[1].decode() if found else "?"
        self.asked.append(operation)
        pieces = self.lie(operation, lambda: self._genuine(headers, body)) if self.lie else None
        if pieces is not None:
            self.told.append(operation)
            for piece in pieces:
                connection.sendall(piece)
            return None
        answer = self._ask(headers, body)
        connection.sendall(self._head(answer))
        while piece := answer.read1(65536):
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return rest

    @staticmethod
    def _receive(connection):
        data = connection.recv(65536)
        if not data:
            raise OSError("closed")
        return data

    def _ask(self, headers, body):
        connection = http.client.HTTPSConnection(self.cas.hostname, self.cas.port,
                                                 context=self.to_cas, timeout=90)
        connection.request("POST", self.cas.path, body, {**headers, "Connection": "close"})
        return connection.getresponse()

    @staticmethod
    def _head(answer, length=None):
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}"]
        lines += [f"{name}: {value}" for name, value in answer.getheaders()
                  if name.lower() not in ("transfer-encoding", "content-length", "connection")]
        lines.append("Transfer-Encoding: chunked" if length is None
                     else f"Content-Length: {length}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n"

    def _genuine(self, headers, body):
        answer = self._ask(headers, body)
        text = answer.read()
        return self._head(answer, len(text)) + text

    def cut(self):
        """All connections end now."""
        for one in list(self.open):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        super().close()
        self.cut()
