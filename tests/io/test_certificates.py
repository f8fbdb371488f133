# SPDX-License-Identifier: GPL-2.0-or-later
"""Which certificates of a gateway are taken, which aren't, and what the log says of those: one test for each row of MATRIX.
Names under .localhost are 127.0.0.1 and ::1 to libcurl, without DNS or /etc/hosts."""

import re
import ssl
import tempfile
import time
from pathlib import Path

import pytest

from harness import Worker, free_port, wait_until
from harness.certificates import DAY, Certificates, Server

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")  # old ones are what we want
@pytest.fixture(scope="module")
def made():
    with tempfile.TemporaryDirectory(prefix="px-certs-") as folder:
        one = Certificates(Path(folder))
        one.root = one.authority("root")
        one.other = one.authority("stranger")
        one.middle = one.authority("middle", by=one.root)
        one.old_middle = one.authority("lapsed", by=one.root, days=(-30, -3))
        yield one


@pytest.fixture
def outcome(folder):
    """outcome({name: (server, host, more of the setting)}): what the worker's log says of the first
    request to each: (code, detail)."""
    ended = []

    def find(gateways, **settings):
        (folder / "password").write_text("secret\n")
        (folder / "password").chmod(0o600)
        lines = [f"https://{host}:{server.port}/EWS/Exchange.asmx;name={name}{more}"
                 for name, (server, host, more) in gateways.items()]
        worker = Worker(folder, {
            "gateway": lines, "account": "svc", "password_file": folder / "password", "auth": "basic",
            "user": [f"user{i}@a.test" for i in range(1, len(lines) + 1)], "log_level": "debug",
            "presence_server": f"sip:127.0.0.1:{free_port()}", **settings})
        ended.extend([worker, *(server for server, *_ in gateways.values())])
        worker.start()

        def said():
            found = {name: re.search(rf"gateway={name} probe failed \S+ code=(.*?) detail=\"(.*)\"",
                                     worker.log()) for name in gateways}
            return all(found.values()) and {name: one.groups() for name, one in found.items()}

        return wait_until(said, 10, lambda: f"each was tried\n{worker.log()}")

    yield find
    for one in ended:
        one.stop() if isinstance(one, Worker) else one.close()


def dns(*names):
    return ["subjectAltName = " + ",".join(n if n[:3] == "IP:" else f"DNS:{n}" for n in names)]


# What stands in a row, all but the first two optional:
#   subject, extensions of the server's certificate; host in the URL; `by` whom it is issued, `sent`
#   with it, `trusted`: which files are in ca=, more of `certificate`, `server` and the setting's text.
#   `says`: words of the log when it is refused; without it, it is taken.
FOO, BAR = "foo.a.localhost", "bar.foo.a.localhost"
MATRIX = {
    "CN only": dict(subject=f"/CN={FOO}"),
    "CN only, of another host": dict(subject="/CN=cas9.a.localhost", says=[FOO, "cas9.a.localhost"]),
    "SAN": dict(subject="/CN=x", extensions=dns(FOO)),
    "several SAN": dict(subject="/CN=x", extensions=dns("cas1.test", "IP:192.0.2.1", FOO, "a.test")),
    "several SAN, none of them": dict(
        subject="/CN=x", extensions=dns("cas1.test", "IP:192.0.2.1", "cas2.test"),
        says=[f"'{FOO}'", "the certificate is for cas1.test, 192.0.2.1, cas2.test"]),
    "SAN without the name that CN has": dict(
        subject=f"/CN={FOO}", extensions=dns("mail.test"), says=["the certificate is for mail.test"]),
    "SAN in capitals": dict(subject="/CN=x", extensions=dns(FOO.upper())),
    "no name at all": dict(subject="/O=Nobody", says=["no host at all"]),
    "IPv4 in SAN": dict(subject="/CN=x", extensions=dns("IP:127.0.0.1"), host="127.0.0.1"),
    "IPv6 in SAN": dict(subject="/CN=x", extensions=dns("IP:::1"), host="[::1]"),
    "IPv6 in SAN, of another host": dict(
        subject="/CN=x", extensions=dns("IP:2001:db8::7"), host="[::1]",
        says=["the certificate is for 2001:db8::7"]),
    "gateway as IP, name in SAN": dict(
        subject="/CN=x", extensions=dns("localhost"), host="127.0.0.1",
        says=["'127.0.0.1'", "the certificate is for localhost"]),
    "gateway as IP, as a name in SAN": dict(
        subject="/CN=x", extensions=dns("127.0.0.1"), host="127.0.0.1",
        says=["'127.0.0.1'", "the certificate is for 127.0.0.1"]),
    "gateway as IP, in CN": dict(subject="/CN=127.0.0.1", host="127.0.0.1"),
    "gateway as FQDN, IP in SAN": dict(
        subject=f"/CN={FOO}", extensions=dns("IP:127.0.0.1"), says=["the certificate is for 127.0.0.1"]),
    "wildcard in SAN": dict(subject="/CN=x", extensions=dns("*.a.localhost")),
    "wildcard in SAN, a label more": dict(
        subject="/CN=x", extensions=dns("*.a.localhost"), host=BAR,
        says=[f"'{BAR}'", "the certificate is for *.a.localhost"]),
    "wildcard in SAN, a label less": dict(
        subject="/CN=x", extensions=dns("*.a.localhost"), host="a.localhost",
        says=["'a.localhost'", "the certificate is for *.a.localhost"]),
    "wildcard in CN": dict(subject="/CN=*.a.localhost"),
    "wildcard in CN, a label more": dict(
        subject="/CN=*.a.localhost", host=BAR, says=[BAR, "*.a.localhost"]),
    "wildcard in CN, a label less": dict(
        subject="/CN=*.a.localhost", host="a.localhost", says=["a.localhost", "*.a.localhost"]),
    "wildcard for everything": dict(
        subject="/CN=x", extensions=dns("*.localhost"), host="a.localhost",
        says=["the certificate is for *.localhost"]),
    "wildcard for a part of a label": dict(
        subject="/CN=x", extensions=dns("f*.a.localhost"), says=["the certificate is for f*.a.localhost"]),
    "expired": dict(subject="/CN=x", extensions=dns(FOO), certificate=dict(days=(-9, -2)),
                    says=["expired", f"for {FOO}, valid ", "issued by /CN=root", "{-9} to {-2}"]),
    "not yet valid": dict(subject="/CN=x", extensions=dns(FOO), certificate=dict(days=(2, 9)),
                          says=["not yet valid", f"for {FOO}, valid ", "{2} to {9}"]),
    "self-signed": dict(subject="/CN=own", extensions=dns(FOO), by=None,
                        says=["self-signed", f"for {FOO}", "issued by /CN=own"]),
    "self-signed, in ca=": dict(subject="/CN=own", extensions=dns(FOO), by=None, trusted=["own"]),
    "unknown CA": dict(subject="/CN=x", extensions=dns(FOO), by="other",
                       says=["unable to get local issuer", f"for {FOO}", "issued by /CN=stranger"]),
    "unknown CA, sent": dict(
        subject="/CN=x", extensions=dns(FOO), by="other", sent=["other"],
        says=["self-signed certificate in certificate chain", f"for {FOO}", "/CN=stranger"]),
    "intermediate missing": dict(
        subject="/CN=x", extensions=dns(FOO), by="middle",
        says=["unable to get local issuer", f"for {FOO}", "issued by /CN=middle"]),
    "intermediate sent": dict(subject="/CN=x", extensions=dns(FOO), by="middle", sent=["middle"]),
    "intermediate in ca=": dict(subject="/CN=x", extensions=dns(FOO), by="middle",
                                trusted=["root", "middle"]),
    "intermediate alone in ca=": dict(subject="/CN=x", extensions=dns(FOO), by="middle",
                                      trusted=["middle"]),
    "intermediate expired": dict(
        subject="/CN=x", extensions=dns(FOO), by="old_middle", sent=["old_middle"],
        says=["expired", f"for {FOO}, whose issuer /CN=lapsed is valid "]),
    "not for servers": dict(
        subject="/CN=x", extensions=[*dns(FOO), "extendedKeyUsage = clientAuth"],
        says=["purpose", f"for {FOO}"]),
    "weak key": dict(subject="/CN=x", extensions=dns(FOO), certificate=dict(kind="rsa:1024"),
                     server=dict(weak=True), says=["key too weak", f"for {FOO}"]),
    "TLS 1.0 only": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1),
        says=["the server speaks only TLS that tls_min forbids"]),
    "TLS 1.1 only": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1_1),
        says=["the server speaks only TLS that tls_min forbids"]),
    "TLS 1.0 only, tls_min=1.1": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1),
        setting=";tls_min=1.1", says=["the server speaks only TLS that tls_min forbids"]),
    "TLS 1.0 only, tls_min=1.0": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1),
        setting=";tls_min=1.0"),
    "TLS 1.1 only, tls_min=1.0": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1_1),
        setting=";tls_min=1.0"),
    "TLS 1.0, weak key, SHA-1, tls_min=1.0": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1),
        certificate=dict(kind="rsa:1024", digest="sha1"), setting=";tls_min=1.0"),
    "TLS 1.2 only, tls_min=1.3": dict(
        subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1_2),
        setting=";tls_min=1.3", says=["the server speaks only TLS that tls_min forbids"]),
}


def gateway(made, row):
    """(server, host, more of the setting) of a row."""
    by = row.get("by", "root")
    more = row.get("certificate", {})
    own = made.make(row["subject"], row.get("extensions", []), by and getattr(made, by), **more)
    files = {"own": own, **{one: getattr(made, one)[0]
                            for one in ("root", "other", "middle", "old_middle")}}
    host = row.get("host", FOO)
    server = Server(made.together(own, *(files[one] for one in row.get("sent", []))),
                    made.key("server", more.get("kind", "ec")),
                    host="::1" if host == "[::1]" else "127.0.0.1", **row.get("server", {}))
    trusted = made.together(*(files[one] for one in row.get("trusted", ["root"])))
    return server, host, f";ca={trusted}{row.get('setting', '')}"


def judge(row, server, code, detail):
    if "says" not in row:
        assert code == "HTTP 404" and server.asked, (code, detail)
        return
    assert code == "tls" and not server.asked, (code, detail)
    for words in row["says"]:
        words = re.sub(r"\{(-?\d+)\}", lambda day: time.strftime(
            "%Y-%m-%d", time.gmtime(time.time() + int(day[1]) * DAY)), words)
        assert words in detail, (words, detail)


@pytest.mark.parametrize("name", MATRIX)
def test_matrix(made, outcome, name):
    row = MATRIX[name]
    one = gateway(made, row)
    judge(row, one[0], *outcome({"one": one})["one"])


def test_a_chain_for_each(made, outcome):
    """Each CAS has an authority of its own, and is trusted through that one alone."""
    rows = {"first": dict(subject="/CN=x", extensions=dns(FOO)),
            "second": dict(subject="/CN=x", extensions=dns(FOO), by="other", trusted=["other"]),
            "third": dict(subject="/CN=x", extensions=dns(FOO), by="other",
                          says=["unable to get local issuer", "issued by /CN=stranger"])}
    gateways = {name: gateway(made, row) for name, row in rows.items()}
    for name, (code, detail) in outcome(gateways).items():
        judge(rows[name], gateways[name][0], code, detail)


def test_old_tls_for_one_alone(made, outcome):
    """What one gateway may, the others may not, in either order."""
    row = dict(subject="/CN=x", extensions=dns(FOO), server=dict(tls=ssl.TLSVersion.TLSv1))
    refused = dict(row, says=["tls_min forbids"])
    rows = {"before": refused, "old": dict(row, setting=";tls_min=1.0"), "after": refused}
    gateways = {name: gateway(made, row) for name, row in rows.items()}
    for name, (code, detail) in outcome(gateways).items():
        judge(rows[name], gateways[name][0], code, detail)
