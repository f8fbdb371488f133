# SPDX-License-Identifier: GPL-2.0-or-later
"""A Kamailio that wants TLS, a client's certificate and a login, and one that closes what is idle."""

import re
import signal
import socket
import time

import pytest

from harness import Kamailio, Watch, World, wait_until
from harness.certificates import Authority
from harness.process import free_port

MODULES = """
loadmodule "auth.so"
modparam("auth", "algorithm", "{algorithm}")
modparam("auth", "qop", "auth")
modparam("auth", "nonce_count", 1)
modparam("auth", "nonce_expire", {nonce_s})
"""
CHALLENGE = """
	if (is_method("PUBLISH") && !pv_www_authenticate("example.test", "secret", "0")) {
		www_challenge("example.test", "1");
		exit;
	}
"""


class Strict(Kamailio):
    """tls: a (certificate, key) of its own, and the file of the CA that its clients must come from;
    login: the algorithm; lifetime_s: of a TCP connection; six: it listens on ::1, too, at the same ports."""

    def __init__(self, folder, tls=None, login=None, nonce_s=300, lifetime_s=None, six=False):
        super().__init__(folder, clean_s=1, processes=2)
        self.six = six
        self.tls, self.login, self.nonce_s, self.lifetime_s = tls, login, nonce_s, lifetime_s
        self.tls_port = free_port()

    def configuration(self):
        cfg = super().configuration()
        before = after = ""
        if self.tls:
            certificate, key, ca = self.tls
            before = f"enable_tls=yes\nlisten=tls:127.0.0.1:{self.tls_port}\n"
            after = f'loadmodule "tls.so"\nmodparam("tls", "certificate", "{certificate}")\n' \
                    f'modparam("tls", "private_key", "{key}")\nmodparam("tls", "ca_list", "{ca}")\n' \
                    'modparam("tls", "tls_method", "TLSv1.2+")\n' \
                    'modparam("tls", "require_certificate", 1)\n' \
                    'modparam("tls", "verify_certificate", 1)\n'
        if self.login:
            after += MODULES.format(algorithm=self.login, nonce_s=self.nonce_s)
            cfg = cfg.replace('\tif (is_method("PUBLISH|SUBSCRIBE")) {',
                              CHALLENGE + '\tif (is_method("PUBLISH|SUBSCRIBE")) {')
        if self.six:
            before += f"listen=udp:[::1]:{self.port}\nlisten=tcp:[::1]:{self.port}\n"
        if self.lifetime_s:
            cfg = cfg.replace("tcp_connection_lifetime=3700",
                              f"tcp_connection_lifetime={self.lifetime_s}")
        return cfg.replace("auto_aliases=no", before + "auto_aliases=no") \
            .replace('loadmodule "presence.so"', after + 'loadmodule "presence.so"')


@pytest.fixture
def strict(folder):
    made = []

    def make(**kwargs):
        path = folder / "k"
        path.mkdir()
        made.append(Strict(path, **kwargs).start())
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def password(folder):
    path = folder / "sip-password"
    path.write_text("secret\n")
    path.chmod(0o600)
    return path


def one_file(folder, name, pair):
    """Certificate and key in one file, as sip_certificate wants them."""
    path = folder / name
    path.write_text("".join(open(part).read() for part in pair))
    path.chmod(0o600)
    return path


def end(world):
    """The worker ends. Sofia loses some 200 bytes of each connection's certificate, and nothing may be lost beside."""
    process = world.worker.process
    process.send(signal.SIGTERM)
    process.wait(10)
    log = process.output()
    lost = re.search(r"(\d+) byte\(s\) leaked", log)
    assert "ERROR: AddressSanitizer" not in log and "runtime error" not in log, log[-4000:]
    assert not lost or int(lost[1]) < 4000, lost[0]


def test_tls_and_login(folder, new_world, strict, password):
    """Over TLS by name, with our own certificate, SHA-256, and a nonce that is soon too old: watchers
    see everybody as they should."""
    authority = Authority(folder)
    ours = one_file(folder, "ours.pem", authority.certificate("DNS:worker"))
    server = strict(tls=(*authority.certificate("DNS:localhost"), authority.file), login="SHA-256",
                    nonce_s=2)
    w = new_world(users=20, uri=f"sip:localhost:{server.tls_port};transport=tls",
                  sip_ca_file=authority.file, sip_certificate=ours, sip_user="me",
                  sip_password_file=password)
    with Watch(folder, server.tcp, w.aors) as watch:
        watch.wait_ready()
        w.worker.start()
        for aor in w.aors:
            watch.wait_for(aor, "available", timeout=8)
        time.sleep(2.5)
        for aor in w.aors[:5]:
            w.meet(aor, "-60", "+3600")
        for aor in w.aors[:5]:
            watch.wait_for(aor, "busy", timeout=5)
        assert watch.stop()["problems"] == 0
    assert not w.said("isn't accepted") and not w.said("up->down")
    end(w)


@pytest.mark.parametrize("what", ["name", "authority", "password"])
def test_what_is_not_accepted(folder, new_world, strict, password, what):
    """The log says why, and nothing is published."""
    authority = Authority(folder)
    ours = one_file(folder, "ours.pem", authority.certificate("DNS:worker"))
    server = strict(tls=(*authority.certificate("DNS:localhost"), authority.file), login="MD5")
    if what == "password":
        password.write_text("wrong\n")
    host = "127.0.0.1" if what == "name" else "localhost"
    settings = {} if what == "authority" else {"sip_ca_file": authority.file}
    w = new_world(users=3, uri=f"sip:{host}:{server.tls_port};transport=tls", sip_user="me",
                  sip_password_file=password, sip_certificate=ours, **settings)
    w.worker.start()
    if what == "password":
        w.wait_said("presence up->down why=login status=401", timeout=8)
    else:
        w.wait_said("its certificate isn't accepted", timeout=8)
        w.wait_said("presence up->down why=unreachable", timeout=8)
    assert not server.rpc("presence.presentity_list")
    end(w)


def has_six():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_six(), reason="there is no ::1 here, so nothing is published over IPv6")
def test_ipv6(folder, strict, password):
    """At [::1], over UDP and TCP, and what is too long for UDP; watchers see everybody as they should."""
    server = strict(login="MD5", six=True)
    long = {"note": f"busy={'x' * 100}", "compat": ["blink", "cisco"], "timed_status": "yes"}
    for name, transport, more in (("u", "udp", {}), ("t", "tcp", {}), ("l", "udp", long)):
        path = folder / name
        path.mkdir()
        w = World(path, users=6, uri=f"sip:[::1]:{server.port};transport={transport}", sip_user="me",
                  sip_password_file=password, subscription="none", **more)
        try:
            w.meet(w.aors[0], "-60", "+3600")
            w.meet(w.aors[0], "+7200", "+9000")
            w.worker.start()
            with Watch(path, server.tcp, w.aors) as watch:
                watch.wait_all({aor: "busy" if aor == w.aors[0] else "available" for aor in w.aors},
                               timeout=10)
                assert watch.stop()["problems"] == 0
            assert not w.said("up->down"), w.log()
        finally:
            w.close()
        server.kill()
        server.start()


def test_what_is_idle_is_closed(folder, new_world, strict):
    """That alone makes nobody be checked; a restart with empty memory is noticed all the same."""
    server = strict(lifetime_s=2)
    w = new_world(users=30, uri=server.tcp)
    w.worker.start()
    wait_until(lambda: len(server.rpc("presence.presentity_list")) == 30, 8, w.log)
    since = w.mark()
    w.wait_said("publication refresh status=200", 20, since)
    time.sleep(1)
    assert len(w.said("publication refresh", since)) == 1
    assert not w.said("presence checking")
    server.kill()
    time.sleep(0.5)
    server.start()
    wait_until(lambda: len(server.rpc("presence.presentity_list")) == 30, 5, w.log)
    assert w.said("presence checking why=unknown_etag") or w.said("presence checking why=server_back")


def test_withdrawing_from_who_is_gone(folder, new_world, strict):
    """on_exit=withdraw doesn't wait for a proxy that ends at the same time."""
    server = strict()
    w = new_world(users=50, uri=server.tcp, on_exit="withdraw")
    w.worker.start()
    wait_until(lambda: len(server.rpc("presence.presentity_list")) == 50, 8, w.log)
    server.kill()
    began = time.monotonic()
    w.worker.stop()
    took = time.monotonic() - began
    assert took < 1.5, took
    assert w.said("users could not be withdrawn: the presence server is down")
