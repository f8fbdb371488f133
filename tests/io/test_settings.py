# SPDX-License-Identifier: GPL-2.0-or-later
"""pua_exchange_worker -t and -h, and what can be seen of a running worker from outside."""

import base64
import subprocess
from pathlib import Path

import pytest

from harness import BUILD
from harness.process import FINDING, SANITIZERS

SECRET = "Hush-Hush-4711"
DAV = "https://owa.example.test;type=webdav"


@pytest.fixture
def try_out(folder):
    """Runs the worker with -t on these settings, changed as told (None: left out), and more
    lines; returns (exit status, stderr)."""
    password = folder / "password"
    password.write_text(SECRET + "\n")
    password.chmod(0o600)

    def run(*lines, **changed):
        settings = {"gateway": "https://cas1.example.test", "account": "svc@example.test",
                    "password_file": password, "presence_server": "sip:127.0.0.1:5060",
                    "user": "alice@example.test", **changed}
        text = "".join(f"{name} = {one}\n" for name, value in settings.items() if value is not None
                       for one in (value if isinstance(value, list) else [value]))
        path = folder / "worker.conf"
        path.write_text(text + "".join(f"{line}\n" for line in lines))
        path.chmod(0o600)
        done = worker("-f", path, "-t")
        assert SECRET not in done.stdout + done.stderr
        return done.returncode, done.stderr

    run.folder = folder
    return run


def worker(*args):
    done = subprocess.run([BUILD / "pua_exchange_worker", *map(str, args)], capture_output=True,
                          text=True, timeout=10, env=SANITIZERS)
    assert not FINDING.search(done.stderr), done.stderr
    return done


def test_good(try_out):
    status, said = try_out(user=["alice@example.test", "bob@example.test,bob@mail.test"])
    assert status == 0 and said.strip().endswith("worker.conf: good"), said


@pytest.mark.parametrize("changed, words", [
    # missing
    ({"gateway": None}, ["gateway", "give at least one", "https://"]),
    ({"account": None}, ["account", "user@domain"]),
    ({"password_file": None}, ["password_file", "first line"]),
    ({"presence_server": None}, ["presence_server", "sip:HOST[:PORT]"]),
    # gateways
    ({"gateway": "http://cas1.example.test"}, ["gateway", "line 1", "in clear", "https://"]),
    ({"gateway": "cas1.example.test"}, ["gateway", "not a URL", "https://HOST"]),
    ({"gateway": "https://cas1.example.test:99999"}, ["gateway", "port", "65535"]),
    ({"gateway": "https://svc:Hush-Hush-4711@cas1"}, ["gateway", "password", "account"]),
    ({"gateway": "https://cas1;type=imap"}, ["gateway", "ews or webdav"]),
    ({"gateway": "https://cas1;concurrency=0"}, ["gateway", "concurrency", "1 to 100"]),
    ({"gateway": "https://cas1;tls_min=3"}, ["gateway", "tls_min", "1.2"]),
    ({"gateway": "https://cas1;colour=red"}, ["gateway", "the options are type, name, ca"]),
    ({"gateway": ["https://cas1", "https://cas1"]}, ["gateway", "line 2", "name"]),
    ({"gateway": ["https://cas1;type=webdav", "https://cas2;type=webdav"]},
     ["gateway", "line 2", "one WebDAV front end"]),
    ({"gateway": ["https://cas1", "https://cas2;type=webdav"]},
     ["gateway", "line 2", "never mixed with EWS"]),
    ({"gateway": ["https://cas1;type=webdav", "https://cas2"]},
     ["gateway", "line 2", "never mixed with EWS"]),
    ({"gateway": "https://cas1;ca=/nowhere.pem"}, ["ca", "/nowhere.pem", "No such file"]),
    ({"ca_file": "/nowhere.pem"}, ["ca_file", "/nowhere.pem", "No such file"]),
    ({"gateways_file": "/nowhere"}, ["gateways_file", "/nowhere", "No such file"]),
    # numbers and choices
    ({"resync": "5"}, ["resync", "5", "60 to 86400"]),
    ({"resync": "1h"}, ["resync", "1h", "not a number", "60 to 86400"]),
    ({"resync": "86400", "horizon": "3600"}, ["resync", "below horizon"]),
    ({"horizon": "99999999"}, ["horizon", "3600 to 3628800"]),
    ({"on_stale": "panic"}, ["on_stale", "panic", "withdraw|available"]),
    ({"subscription": "often"}, ["subscription", "often", "auto|streaming"]),
    ({"standby": "perhaps"}, ["standby", "perhaps", "yes or no"]),
    ({"max_users": "0"}, ["max_users", "1 to 1000000"]),
    ({"log_level": "loud"}, ["log_level", "loud", "error|warn|notice|info|debug"]),
    # map
    ({"map": "lunch=away"}, ["map", "lunch", "free, tentative, busy, oof, workingelsewhere"]),
    ({"map": "oof=gone"}, ["map", "gone", "available, busy or away"]),
    ({"map": ["oof=busy", "oof=away"]}, ["map", "oof", "already"]),
    # users
    ({"user": "alice"}, ["user", "alice", "user@host[,mailbox]"]),
    ({"user": "alice@example.test,nobody"}, ["user", "nobody", "user@domain"]),
    ({"user": ["a@x.test", "A@x.test", "a@X.test"]}, ["user", "a@x.test", "already"]),
    ({"users_file": "/nowhere.csv"}, ["users_file", "/nowhere.csv", "No such file"]),
    ({"mailbox_domain": "10.0.0.1"}, ["mailbox_domain", "example.com"]),
    # SIP
    ({"presence_server": "127.0.0.1"}, ["presence_server", "sip:HOST[:PORT]"]),
    ({"presence_server": "sip:127.0.0.1;transport=carrier"}, ["presence_server", "udp, tcp or"]),
    ({"presence_server": "sip:bob@127.0.0.1"}, ["presence_server", "no user part"]),
    ({"sip_bind": "everywhere"}, ["sip_bind", "everywhere", "ADDRESS[:PORT]"]),
    ({"sip_bind": "192.0.2.1"}, ["sip_bind", "192.0.2.1"]),
    ({"sip_user": "me"}, ["sip_user", "sip_password_file"]),
    # what isn't there at all, or can't be done
    ({"gatway": "https://cas1"}, ["gatway", "gateway is the nearest"]),
    ({"nonsense_of_mine": "1"}, ["nonsense_of_mine", "-h lists them"]),
    ({"subscription": "push"}, ["subscription", "push needs listen_http"]),
    ({"gateway": DAV, "subscription": "streaming"}, ["subscription=streaming", "auto, push, pull or none"]),
    ({"gateway": DAV, "listen_http": "127.0.0.1:8080"}, ["listen_http with type=webdav", "listen_udp"]),
    ({"listen_udp": "127.0.0.1:50020"}, ["listen_udp", "leave it out"]),
], ids=lambda one: " ".join(f"{k}={v}" for k, v in one.items()) if isinstance(one, dict) else "")
def test_bad(try_out, changed, words):
    """Named is the setting, what is wrong and what would be right; exit status 1."""
    status, said = try_out(**changed)
    assert status == 1, said
    errors = [line for line in said.splitlines() if line.startswith("error ")]
    assert any(all(word in line for word in words) for line in errors), said
    assert "not started" in errors[-1], said


def test_all_that_is_wrong_is_told_at_once(try_out):
    status, said = try_out(resync="1", account=None, on_stale="x", gateway="http://a")
    assert status == 1
    for name in ("resync", "account", "on_stale", "gateway"):
        assert name in said, said


def test_password_files(try_out):
    """Others may not read it; it has a first line; it is given once."""
    path = try_out.folder / "pw"

    def with_mode(mode, text=SECRET + "\n"):
        path.write_text(text)
        path.chmod(mode)
        return try_out(password_file=path)

    assert with_mode(0o640)[0] == 0
    status, said = with_mode(0o644)
    assert status == 1 and "password_file" in said and "0644" in said and "chmod" in said, said
    status, said = with_mode(0o600, "\n")
    assert status == 1 and "first line is empty" in said, said
    status, said = with_mode(0o600, "x" * 300)
    assert status == 1 and "255" in said and "xxx" not in said, said
    status, said = try_out(f"password = {SECRET}")
    assert status == 1 and "give one" in said, said
    assert try_out(password=SECRET, password_file=None)[0] == 0
    status, said = try_out(password_file="/nowhere")
    assert status == 1 and "/nowhere: No such file" in said, said
    # a password that got onto a line of its own isn't shown either
    status, said = try_out(SECRET)
    assert status == 1 and "is not NAME = VALUE" in said, said
    status, said = try_out(f'password = "{SECRET}', password_file=None)
    assert status == 1 and "quote" in said, said


def test_a_broken_line_in_users_file(try_out, world):
    """Named by number; the others load."""
    users = try_out.folder / "users.csv"
    users.write_text("user1@example.test\nnobody\n# a comment\n\nuser2@example.test,,maybe\n"
                     "user3@example.test,user4@example.test,on\nuser1@example.test\n\xff\n",
                     encoding="latin-1")
    status, said = try_out(users_file=users)
    assert status == 1, said
    for line in (2, 5, 7, 8):
        assert any(f"line {line}" in one and "users_file" in one for one in said.splitlines()), \
            (line, said)
    w = world(users=4)
    w.settings.pop("user")
    w.settings["users_file"] = users
    w.worker.write(w.settings)
    w.worker.start()
    w.presence.wait_all({"user1@example.test": "available", "user3@example.test": "available"})
    assert len(w.said("users_file: line")) == 4, w.log()


def test_more_users_than_max_users(world):
    """One more is refused by name; those that fit are shown."""
    w = world(users=4, max_users=3)
    w.worker.start()
    w.wait_right(w.aors[:3])
    assert "max_users" in w.said(w.aors[3])[0]
    assert w.presence.state(w.aors[3]) is None


def test_arguments(folder):
    """-h is for people, on stdout; what isn't understood is 2, what can't be read is 1."""
    done = worker("-h")
    assert done.returncode == 0 and done.stderr == ""
    for words in ("usage:", "-f FILE", "-t", "gateway = URL", "presence_server", "default: 3600"):
        assert words in done.stdout, words
    for args in ([], ["-f"], ["-x"], ["-t"], ["-f", "a", "b"]):
        done = worker(*args)
        assert done.returncode == 2 and "-h tells more" in done.stderr, (args, done.stderr)
    done = worker("-f", folder / "missing", "-t")
    assert done.returncode == 1 and "missing: No such file" in done.stderr, done.stderr
    done = worker("-f", folder, "-t")
    assert done.returncode == 1 and "is a directory" in done.stderr, done.stderr
    (folder / "binary").write_bytes(b"gateway = \0\xff\n")
    done = worker("-f", folder / "binary", "-t")
    assert done.returncode == 1 and "line 1" in done.stderr, done.stderr


@pytest.mark.parametrize("given", ["password", "password_file"])
def test_secrets_are_nowhere(world, given):
    """Not in the log at its loudest, nor in what /proc shows"""
    w = world(users=3)
    secret = w.sim.password
    if given == "password":
        w.settings.pop("password_file")
        w.settings["password"] = secret
        w.worker.write(w.settings)
    w.start()
    w.sim.request("POST", "/account", {"password": "another"})
    w.meet(w.aors[0], "-60", "+3600")
    w.wait_said("pool login open->held")
    proc = Path(f"/proc/{w.worker.process.pid}")
    assert secret.encode() not in (proc / "cmdline").read_bytes()
    try:
        assert secret.encode() not in (proc / "environ").read_bytes()
    except PermissionError:
        pass  # the optimised one lets nobody look at all
    for words in (secret, base64.b64encode(f"{w.sim.account}:{secret}".encode()).decode(),
                  "Authorization"):
        assert words not in w.worker.log()
