# SPDX-License-Identifier: GPL-2.0-or-later
"""What our own TLS servers have in common."""

import socket
import threading


class Listener:
    """Each connection is served on a thread of its own, by serve(socket)."""

    def __init__(self, host="127.0.0.1"):
        self.listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def close(self):
        self.listener.close()
