# SPDX-License-Identifier: GPL-2.0-or-later
"""A bad network between UDP peers: packets are lost and come late."""

import heapq
import itertools
import random
import re
import selectors
import socket
import threading
import time

from .process import free_port


class LossyRelay:
    """Passes packets on to 127.0.0.1:port and answers back, each `delay_s` later; `loss` of them, of both ways,
    never. It looks at what passes: problems tells of a user with two PUBLISH in flight, that is, another one before
    the final answer to the last was sent to the sender, or `timeout_s` have passed: the shorter of the worker's two limits,
    which holds for a probe while the server counts as down. A copy of a request that crosses its answer opens nothing
    again."""

    def __init__(self, port, loss=0.1, delay_s=0.2, timeout_s=3, seed=1):
        self.to = ("127.0.0.1", port)
        self.port = free_port()
        self.loss, self.delay_s, self.timeout_s = loss, delay_s, timeout_s
        self.chance = random.Random(seed)
        self.passed = self.lost = 0
        self.problems = []
        self.open = {}  # Call-ID -> (branch, since)
        self.answered = set()  # branches
        self.number = itertools.count()
        self.later = []  # (when, number, socket, packet, to)
        self.back = {}  # towards the server -> the client it is for
        self.forward = {}  # client -> its socket
        self.inside = self._bound(self.port)
        self.poll = selectors.DefaultSelector()
        self.poll.register(self.inside, selectors.EVENT_READ)
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @staticmethod
    def _bound(port):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        one.bind(("127.0.0.1", port))
        return one

    @property
    def uri(self):
        return f"sip:127.0.0.1:{self.port};transport=udp"

    def _run(self):
        while not self.ended:
            wait = self.later[0][0] - time.monotonic() if self.later else 0.2
            for key, _ in self.poll.select(min(0.2, max(0, wait))):
                packet, peer = key.fileobj.recvfrom(65536)
                if key.fileobj is self.inside:
                    self._sent(packet)
                    self._pass(self._socket_for(peer), packet, self.to)
                else:
                    self._pass(self.inside, packet, self.back[key.fileobj])
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, one, packet, to = heapq.heappop(self.later)
                if one is self.inside:
                    self._answered(packet)
                one.sendto(packet, to)

    def _socket_for(self, client):
        if client not in self.forward:
            one = self._bound(0)
            self.forward[client], self.back[one] = one, client
            self.poll.register(one, selectors.EVENT_READ)
        return self.forward[client]

    def _pass(self, one, packet, to):
        if self.chance.random() < self.loss:
            self.lost += 1
            return
        self.passed += 1
        heapq.heappush(self.later, (time.monotonic() + self.delay_s, next(self.number), one, packet, to))

    @staticmethod
    def _who(packet):
        return (re.search(rb"\r\nCall-ID: *(\S+)", packet)[1],
                re.search(rb"branch=([^;,\s]+)", packet)[1])

    def _sent(self, packet):
        call, branch = self._who(packet)
        before, since = self.open.get(call, (None, 0))
        now = time.monotonic()
        if branch not in self.answered and before not in (None, branch) and now - since < self.timeout_s - 0.1:
            self.problems.append(f"two in flight: {call.decode()} {now - since:.2f} s after another")
        if before != branch and branch not in self.answered:
            self.open[call] = branch, now

    def _answered(self, packet):
        if not packet.startswith(b"SIP/2.0 1"):
            call, branch = self._who(packet)
            self.answered.add(branch)
            if self.open.get(call, (None,))[0] == branch:
                del self.open[call]

    def close(self):
        self.ended = True
        self.thread.join(5)
        for one in (self.inside, *self.back):
            one.close()
