# SPDX-License-Identifier: GPL-2.0-or-later
"""Certificates of every kind, and TLS servers that show them."""

import itertools
import re
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

from .listener import Listener

DAY = 86400
CONF = """[ca]
default_ca = here
[here]
database = {0}/index
new_certs_dir = {0}
unique_subject = no
rand_serial = yes
policy = any
[any]
commonName = optional
organizationName = optional
"""


class Certificates:
    """Made by the openssl program, in a folder of their own."""

    def __init__(self, folder):
        self.folder, self.number = folder, itertools.count(1)
        (folder / "conf").write_text(CONF.format(folder))
        (folder / "index").write_text("")
        self.keys = {}

    def run(self, *args):
        done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True)
        assert done.returncode == 0, f"openssl {args}: {done.stderr}"

    def key(self, name, kind="ec"):
        """The file of a key, made when it is first asked for."""
        if (name, kind) not in self.keys:
            path = self.folder / f"{name}-{kind}.key".replace(":", "")
            how = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else \
                ["-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[4:]}"]
            self.run("genpkey", *how, "-out", path)
            self.keys[name, kind] = path
        return self.keys[name, kind]

    def make(self, subject, extensions=(), by=None, key="server", kind="ec", days=(-1, 2),
             digest="sha256"):
        """The file of a certificate; by: the (certificate, key) of its issuer, else it signs itself."""
        path = self.folder / f"{next(self.number)}.pem"
        text = path.with_suffix(".ext")
        text.write_text("\n".join(["basicConstraints = CA:FALSE", *extensions]
                                  if not any("basic" in one for one in extensions)
                                  else extensions) + "\n")
        own = self.key(key, kind)
        self.run("req", "-new", "-key", own, "-subj", subject, "-out", path.with_suffix(".csr"))
        first, last = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + day * DAY))
                       for day in days)
        signed = ["-cert", by[0], "-keyfile", by[1]] if by else ["-selfsign", "-keyfile", own]
        self.run("ca", "-batch", "-notext", "-config", self.folder / "conf", *signed, "-md", digest,
                 "-startdate", first, "-enddate", last, "-extfile", text, "-in",
                 path.with_suffix(".csr"), "-out", path)
        return path

    def authority(self, name, by=None, **more):
        """(certificate, key) of a CA."""
        return (self.make(f"/CN={name}", ["basicConstraints = critical, CA:TRUE"], by, name, **more),
                self.key(name))

    def together(self, *files):
        path = self.folder / f"{next(self.number)}.pem"
        path.write_text("".join(one.read_text() for one in files))
        return path


class Authority:
    """One CA. certificate() makes files for a server."""

    def __init__(self, folder, name="Test CA"):
        self.made = Certificates(Path(tempfile.mkdtemp(prefix="ca-", dir=folder)))
        self.file, self.key = self.made.authority(name)

    def certificate(self, *names):
        """(certificate, key) for names, "DNS:a.test" or "IP:127.0.0.1"."""
        return (self.made.make("/CN=gateway", [f"subjectAltName = {','.join(names)}"],
                               (self.file, self.key)), self.made.key("server"))


class Server(Listener):
    """TLS with a certificate; every request gets this answer, and the connection ends."""

    def __init__(self, certificate, key, tls=None, weak=False, host="127.0.0.1",
                 answer=b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"):
        self.asked, self.answer = [], answer
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if tls or weak:
            context.set_ciphers("DEFAULT@SECLEVEL=0")
        if tls:
            context.minimum_version = context.maximum_version = tls
        context.load_cert_chain(certificate, key)
        self.context = context
        super().__init__(host)

    def serve(self, raw):
        try:
            raw.settimeout(10)
            with self.context.wrap_socket(raw, server_side=True) as connection:
                got = b""
                while b"\r\n\r\n" not in got:
                    more = connection.recv(65536)
                    if not more:
                        return
                    got += more
                head, _, body = got.partition(b"\r\n\r\n")
                length = int(re.search(rb"Content-Length: (\d+)", head)[1])
                while len(body) < length:
                    body += connection.recv(65536)
                self.asked.append(head)
                connection.sendall(self.answer + b"Connection: close\r\n\r\n")
        except OSError:
            pass  # it didn't like the certificate
        finally:
            raw.close()
