# SPDX-License-Identifier: GPL-2.0-or-later
"""Does a proxy still answer?"""

import socket
import threading
import time

from .kamailio import OPTIONS


class Knocking(threading.Thread):
    """Asks a proxy OPTIONS all the time, and notes how long each answer took, in seconds."""

    def __init__(self, port, every=0.02, patience=1):
        super().__init__(daemon=True)
        self.port, self.every, self.patience = port, every, patience
        self.took, self.unanswered = [], 0
        self.ended = threading.Event()

    def run(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(self.patience)
            s.connect(("127.0.0.1", self.port))
            n = 0
            while not self.ended.wait(self.every):
                n += 1
                text = OPTIONS.format(port=self.port, own=s.getsockname()[1])
                text = text.replace("z9hG4bKready", f"z9hG4bKk{n}").replace(
                    "Call-ID: ready", f"Call-ID: k{n}")
                began = time.monotonic()
                s.send(text.encode())
                try:
                    while f"Call-ID: k{n}\r\n" not in s.recv(4096).decode():
                        pass
                    self.took.append(time.monotonic() - began)
                except OSError:
                    self.unanswered += 1

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()
