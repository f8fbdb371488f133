# SPDX-License-Identifier: GPL-2.0-or-later
"""Logins, against those who really decide about them (harness/login.py)."""

import base64
import ctypes
import hashlib
import re
import signal
import ssl
import time

import pytest

from harness import Worker, free_port, wait_until
from harness.listener import Listener
from harness.login import PASSWORD, Apache, find, run


class Site:
    """A World whose gateways are Apache's sites before CAS of the simulator."""

    def __init__(self, world, folder, kdc, offers, auth, password=PASSWORD, cas=None):
        cas = cas or [f"cas{i + 1}" for i in range(len(offers))]
        self.w = world(users=2 * len(offers), cas=len(offers))
        self.apache = Apache(folder, self.w.sim, list(zip(offers, cas)), kdc)
        self.password_file = folder / "password"
        self.write(password)
        self.w.settings.update(
            gateway=[f"{self.apache.url(i)};name={cas[i]}" for i in range(len(offers))],
            ca_file=self.apache.ca, account="PX\\alice" if auth != "basic" else "alice",
            password_file=self.password_file, auth=auth)
        self.w.worker.write(self.w.settings)

    def write(self, password):
        self.password_file.write_text(password + "\n")
        self.password_file.chmod(0o600)


@pytest.fixture
def site(world, folder, kdc, monkeypatch):
    """Makes a Site; the worker finds the realm, and no tickets unless the test says where."""
    made = []
    for name in ("KRB5CCNAME", "KRB5_CLIENT_KTNAME", "NTLM_USER_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KRB5_CONFIG", str(kdc.config))
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{folder}/nothing")

    def make(*args, **more):
        made.append(Site(world, folder, kdc, *args, **more))
        return made[-1]

    yield make
    kdc.thaw()
    for one in made:
        one.w.close()
        one.apache.close()


@pytest.fixture
def keytab(kdc, monkeypatch, site):
    monkeypatch.delenv("KRB5CCNAME")
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{kdc.account}")


@pytest.fixture
def cache(kdc, monkeypatch, folder, site):
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{folder}/cache")
    kdc.kinit(f"FILE:{folder}/cache")


def works(s):
    """Everybody is followed, and a change comes through the streams."""
    s.w.start()
    s.w.meet(s.w.aors[0], "-60", "+3600")
    s.w.presence.wait_for(s.w.aors[0], "busy", timeout=3)


def logs_in(s):
    """Everybody was read and is shown."""
    s.w.worker.start()
    s.w.wait_right()


def test_basic(site):
    s = site(["basic"], "basic")
    works(s)
    assert s.apache.logins() == {"basic"} and s.apache.refused() == 0


def test_ntlm(site):
    """Each connection is logged in once; and none of them twice."""
    s = site(["ntlm"], "ntlm")
    works(s)
    done = s.apache.requests()
    assert s.apache.refused() == 0 and {login for *_, login in done} <= {"ntlm", "ntlm first", "none"}
    peers = [peer for peer, _, login in done if login == "ntlm"]
    assert len(set(peers)) == len(peers)
    assert any(login == "none" and status == 200 for _, status, login in done), done


def test_negotiate_with_a_keytab(site, keytab):
    s = site(["negotiate"], "negotiate")
    works(s)
    assert s.apache.logins() == {"negotiate"}
    # one question, and each answer after it was given at once
    assert [one for one in s.apache.requests() if one[1] == 401] == [s.apache.requests()[0]]


def test_negotiate_with_a_ticket_cache(site, cache):
    s = site(["negotiate"], "negotiate")
    logs_in(s)
    assert s.apache.logins() == {"negotiate"}


def test_auto_with_a_ticket(site, cache):
    s = site(["both"], "auto")
    works(s)
    assert s.apache.logins() == {"negotiate"}
    assert len(s.w.said("gateway=cas1 login=negotiate")) == 1


def test_auto_without_a_ticket(site):
    s = site(["both"], "auto")
    works(s)
    assert "negotiate" not in s.apache.logins() and "ntlm" in s.apache.logins()
    assert s.apache.refused() == 0
    said = s.w.said("gateway=cas1 login=ntlm")
    assert len(said) == 1 and 'offered="Negotiate, NTLM" why="no Kerberos ticket' in said[0], said


def test_auto_by_gateway(site, keytab):
    """What one gateway wants is nothing to the others."""
    s = site(["basic", "ntlm", "negotiate"], "auto")
    s.w.settings["account"] = "alice"
    s.w.worker.write(s.w.settings)
    logs_in(s)
    assert s.apache.logins(0) == {"basic"} and s.apache.logins(2) == {"negotiate"}
    assert "ntlm" in s.apache.logins(1), s.apache.requests(1)
    assert [len(s.w.said(f"login={one}")) for one in ("basic", "ntlm", "negotiate")] == [1, 1, 1]


@pytest.mark.parametrize("offers, auth", [("basic", "basic"), ("ntlm", "ntlm"), ("all", "auto"),
                                          ("basic", "auto")])
def test_wrong_password(site, offers, auth):
    """It costs the account one failed login, and the log says by what."""
    s = site([offers], auth, password="wrong")
    s.w.worker.start()
    said = s.w.wait_said("pool login open->held", timeout=8)[0]
    by = "basic" if offers == "basic" else "ntlm"
    assert "HTTP 401" in said and f"by {by}, offered: " in said, said
    time.sleep(0.5)
    assert s.apache.refused() == 1, s.apache.requests()


def test_what_is_not_offered(site):
    """Nothing is sent to a server that doesn't want what we have."""
    s = site(["basic"], "negotiate")
    s.w.worker.start()
    said = s.w.wait_said("pool login open->held", timeout=8)[0]
    assert "no credentials were sent, offered: Basic" in said, said
    assert s.apache.refused() == 0


def test_a_wrong_key(site, kdc, keytab, monkeypatch):
    """The KDC refuses the account: it is asked once, whoever wants a ticket."""
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{kdc.wrong}")
    before = kdc.said().count("PREAUTH_FAILED")
    s = site(["negotiate", "negotiate"], "negotiate")
    s.w.worker.start()
    said = s.w.wait_said("pool login open->held", timeout=8)[0]
    assert "HTTP 401" in said and "no Kerberos ticket: Preauthentication failed" in said, said
    assert kdc.said().count("PREAUTH_FAILED") - before == 1, kdc.said()


def test_a_wrong_key_and_a_right_password(site, kdc, keytab, monkeypatch):
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", f"FILE:{kdc.wrong}")
    s = site(["both"], "auto")
    logs_in(s)
    assert "Preauthentication failed" in s.w.said("gateway=cas1 login=ntlm")[0]


def test_a_host_unknown_to_the_kdc(site, keytab):
    """That gateway alone is of no use."""
    s = site(["negotiate", "negotiate"], "negotiate")
    s.w.settings["gateway"][1] = f"{s.apache.url(1, '127.0.0.1')};name=cas2"
    s.w.worker.write(s.w.settings)
    s.w.start()
    said = s.w.said("gateway=cas2 up->down")
    assert len(said) == 1 and "not found in Kerberos database" in said[0], said
    assert set(s.w.homes().values()) == {"cas1"}


def slowest_turn(w, seconds):
    """How long the worker took at most to obey a SIGHUP, tried all the time."""
    slowest, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        mark, began = w.mark(), time.monotonic()
        w.worker.process.send(signal.SIGHUP)
        w.wait_said("notice reload ", timeout=20, since=mark)
        slowest = max(slowest, time.monotonic() - began)
    print(f"slowest turn {slowest * 1000:.0f} ms")
    return slowest


def test_a_silent_kdc_and_another_login(site, kdc, keytab):
    """Nobody waits for it but the first request; then it goes by NTLM."""
    s = site(["both"], "auto")
    kdc.freeze()
    s.w.worker.start()
    s.w.wait_said(" start ", timeout=5)
    assert slowest_turn(s.w, 4) < 0.5
    s.w.wait_followed()
    s.w.wait_right()
    assert "no answer from a KDC" in s.w.said("gateway=cas1 login=ntlm")[0]


def test_a_silent_kdc_and_no_other_login(site, kdc, keytab):
    """It is our trouble, not the gateway's: nothing is taken down, and all is well when it speaks."""
    s = site(["negotiate"], "negotiate")
    kdc.freeze()
    s.w.worker.start()
    s.w.wait_said(" start ", timeout=5)
    assert slowest_turn(s.w, 5) < 0.5
    said = s.w.wait_said("no Kerberos ticket: no answer from a KDC", timeout=5)[0]
    assert "code=local" in said, said
    assert not s.w.said("up->down") and not s.w.presence.publishes
    kdc.thaw()
    s.w.wait_right(timeout=20)
    assert s.apache.logins() == {"negotiate"}


def test_the_end_while_a_kdc_is_silent(site, kdc, keytab):
    """A thread is within Kerberos' library then, and wakes up in the middle of the end."""
    s = site(["negotiate"], "negotiate")
    for _ in range(3):
        kdc.freeze()
        s.w.worker.start()
        wait_until(kdc.kept_waiting, 10, s.w.log)
        s.w.worker.process.send(signal.SIGTERM)
        kdc.thaw()
        s.w.worker.stop()
        wait_until(lambda: not kdc.kept_waiting(), 10, "the KDC has answered all")


def test_a_kdc_that_falls_silent(site, kdc, keytab):
    """Whoever has tickets goes on with them; a meeting begins in time."""
    s = site(["negotiate"], "negotiate")
    s.w.start()
    kdc.freeze()
    now = int(time.time())
    s.w.meet(s.w.aors[1], now + 3, now + 60)
    s.w.meet(s.w.aors[0], "-60", "+3600")
    s.w.presence.wait_for(s.w.aors[0], "busy", timeout=3)
    assert slowest_turn(s.w, 2) < 0.5
    s.w.presence.wait_for(s.w.aors[1], "busy", timeout=3)
    assert time.time() < now + 4.5


class Buffer(ctypes.Structure):
    """gss_buffer_desc"""
    _fields_ = [("length", ctypes.c_size_t), ("value", ctypes.c_char_p)]


class Bindings(ctypes.Structure):
    """gss_channel_bindings_struct"""
    _fields_ = [("from_type", ctypes.c_uint32), ("from_address", Buffer),
                ("to_type", ctypes.c_uint32), ("to_address", Buffer), ("data", Buffer)]


def accepts(token, binding):
    """Does MIT's acceptor take a token, as one that is bound to this?"""
    gss = ctypes.CDLL("libgssapi_krb5.so.2")
    given = Buffer(len(token), token)
    bound = Bindings(data=Buffer(len(binding), binding))
    minor, context, answer = ctypes.c_uint32(), ctypes.c_void_p(), Buffer()
    major = gss.gss_accept_sec_context(
        ctypes.byref(minor), ctypes.byref(context), None, ctypes.byref(given), ctypes.byref(bound),
        None, None, ctypes.byref(answer), None, None, None)
    gss.gss_release_buffer(ctypes.byref(minor), ctypes.byref(answer))
    gss.gss_delete_sec_context(ctypes.byref(minor), ctypes.byref(context), None)
    assert major in (0, 4 << 16), f"{major:x}"  # GSS_S_COMPLETE, GSS_S_BAD_BINDINGS
    return major == 0


class Guarded(Listener):
    """A server with Extended Protection: takes only tokens that are bound to its certificate (RFC
    5929 section 4). certificates: one after the other, the next one after each token it took."""

    def __init__(self, certificates):
        self.contexts = []
        for path, digest in certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(path)
            plain = ssl.PEM_cert_to_DER_cert(path.read_text()[path.read_text().index("-----BEGIN C"):])
            self.contexts.append((context, b"tls-server-end-point:" +
                                  hashlib.new(digest, plain).digest()))
        self.answers = []
        super().__init__()

    def serve(self, raw):
        raw.settimeout(10)
        context, binding = self.contexts[0]
        try:
            with context.wrap_socket(raw, server_side=True) as connection:
                self._answer(connection, binding)
        except ssl.SSLError as e:
            self.answers.append(str(e))
        except OSError:
            pass

    def _answer(self, connection, binding):
        head, body = b"", b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
        head, _, body = head.partition(b"\r\n\r\n")
        while len(body) < int(re.search(rb"Content-Length: (\d+)", head)[1]):
            body += connection.recv(65536)
        token = re.search(rb"\r\nAuthorization: Negotiate (\S+)", head)
        good = token and accepts(base64.b64decode(token[1]), binding)
        self.answers.append("taken" if good else "refused" if token else "asked")
        if good and len(self.contexts) > 1:
            self.contexts.pop(0)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\n" if good else
                           b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\n")
        connection.sendall(b"Content-Length: 0\r\nConnection: close\r\n\r\n")


def test_extended_protection(folder, kdc, keytab, monkeypatch):
    """A token is bound to the certificate, by the hash that signed it; also when that is renewed."""
    monkeypatch.setenv("KRB5_KTNAME", f"FILE:{kdc.service}")
    monkeypatch.setenv("KRB5RCNAME", "none:")
    made = []
    for i, digest in enumerate(("sha384", "sha1")):
        path = folder / f"{i}.pem"
        run(find("openssl"), "req", "-x509", f"-{digest}", "-newkey", "rsa:2048", "-nodes", "-subj",
            "/CN=localhost", "-days", "2", "-keyout", path, "-out", folder / "only.pem")
        path.write_text(path.read_text() + (folder / "only.pem").read_text())
        made.append((path, "sha256" if digest == "sha1" else digest))
    trusted = folder / "trusted.pem"
    trusted.write_text("".join(path.read_text() for path, _ in made))
    server = Guarded(made)
    (folder / "password").write_text("none\n")
    (folder / "password").chmod(0o600)
    with Worker(folder, {
            "gateway": f"https://localhost:{server.port}/EWS/Exchange.asmx", "account": "alice",
            "password_file": folder / "password", "auth": "negotiate", "ca_file": trusted,
            "user": "alice@px.test", "presence_server": f"sip:127.0.0.1:{free_port()}",
            "log_level": "debug"}) as worker:
        wait_until(lambda: server.answers.count("taken") == 2, 20,
                   lambda: f"{server.answers}\n{worker.log()}")
    server.close()
    assert server.answers == ["asked", "taken", "refused", "taken"]
    assert "HTTP 401" not in worker.log()
