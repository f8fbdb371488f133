# SPDX-License-Identifier: GPL-2.0-or-later
"""The troubleshooter: pua_exchange_worker --check names what is wrong with each gateway, and its cure."""

import re
import ssl
import subprocess

import pytest

from harness import BUILD, ExchangeSim, Worker, free_port
from harness.certificates import Certificates, Server
from harness.process import FINDING, SANITIZERS

pytestmark = pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
HOST = "cas.a.localhost"


@pytest.fixture
def sim(folder):
    with ExchangeSim(folder, "--cas", 8, "--users", 5) as one:
        yield one


@pytest.fixture
def owa(folder):
    """Makes the front end of WebDAV alone."""
    made = []

    def make(*options):
        made.append(ExchangeSim(folder, "--cas", 0, "--users", 5, "--webdav", *options))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def check(folder, sim, *whom, **changed):
    """Runs --check: (exit status, {gateway: {step: (result, text)}}, all that was said)."""
    settings = {**sim.settings(), "user": [f"user{i}@example.test" for i in range(1, 4)],
                "presence_server": f"sip:127.0.0.1:{free_port()}", **changed}
    done = subprocess.run([BUILD / "pua_exchange_worker", "-f", Worker(folder, settings).path,
                           "--check", *whom], capture_output=True, text=True, timeout=40,
                          env=SANITIZERS)
    assert not FINDING.search(done.stderr), done.stderr
    assert sim.password not in done.stdout + done.stderr
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith("gateway "):
            steps = found[line.split()[1]] = {}
        elif line.startswith("  "):
            step, result, *text = line.split(None, 2)
            steps[step] = (result, *text)
    return done.returncode, found, done.stdout + done.stderr


def failed(steps):
    return {step: text for step, (result, *text) in steps.items() if result == "FAILED"}


STEPS = ["resolve", "connect", "tls", "chain", "name", "validity", "login", "service", "rights",
         "mailbox", "calendar", "subscription", "clock"]


def test_a_good_pool(folder, sim):
    status, found, said = check(folder, sim)
    assert status == 0, said
    assert list(found) == list(sim.cas)
    for steps in found.values():
        assert {step: one[0] for step, one in steps.items()} == dict.fromkeys(STEPS, "ok"), said
        assert steps["resolve"][1] == "127.0.0.1" and "127.0.0.1" in steps["name"][1]
        assert re.fullmatch(r"TLSv1\.[23]", steps["tls"][1])
        assert re.fullmatch(r"until 20\d\d-\d\d-\d\d", steps["validity"][1])
        assert steps["mailbox"][1] == "user1@example.test"
        assert steps["subscription"][1] == "streaming"
    assert "8 gateways checked, 0 with a failed step" in said
    # it leaves nothing behind
    assert sim.request("GET", "/subscriptions") == []
    assert sim.counters()["failed_logins"] == 0


def test_push_is_said_to_be_untried(folder, sim):
    status, found, said = check(folder, sim, "cas1", subscription="push", listen_http=f"127.0.0.1:{free_port()}")
    assert status == 0, said
    (steps,) = found.values()
    # what a service falls to where calls don't arrive is tried instead
    assert steps["subscription"][0] == "ok" and steps["subscription"][1].startswith("pull: push isn't tried here"), said
    assert sim.request("GET", "/subscriptions") == []


@pytest.mark.limit(60)
def test_twelve_gateways_twelve_faults(folder, sim):
    made = Certificates(folder)
    root, stranger = made.authority("root"), made.authority("stranger")
    san = [f"subjectAltName = DNS:{HOST}"]
    servers = {
        "old": Server(made.make("/CN=x", san, root, days=(-1, 60)), made.key("server"), tls=ssl.TLSVersion.TLSv1),
        "unknown": Server(made.make("/CN=x", san, stranger), made.key("server")),
        "other": Server(made.make("/CN=x", ["subjectAltName = DNS:mail.test"], root), made.key("server")),
        "lapsed": Server(made.make("/CN=x", san, root, days=(-9, -2)), made.key("server")),
        "soon": Server(made.make("/CN=x", san, root), made.key("server")),
        "bare": Server(made.make("/CN=x", san, root, days=(-1, 60)), made.key("server")),
        "logon": Server(made.make("/CN=x", san, root, days=(-1, 60)), made.key("server"), answer=b"HTTP/1.1 302 Found\r\n"
                        b"Location: /owa/auth/logon.aspx\r\nContent-Length: 0\r\n"),
    }
    sim.fail("cas1", "401")
    sim.fail("cas2", "denied")
    sim.fail("cas3", "hang")
    sim.request("POST", "/faults", {"cas": "cas4", "kind": "Subscribe", "how": "cut", "bytes": 60})
    sim.fail("cas5", "503")
    gateways = [f"{sim.cas[f'cas{i}']['url']};name=cas{i}" for i in range(1, 7)]
    gateways += ["https://nobody.invalid;name=nameless",
                 f"https://127.0.0.1:{free_port()};name=closed"]
    gateways += [f"https://{HOST}:{one.port}/EWS/Exchange.asmx;name={name};ca={root[0]}"
                 for name, one in servers.items()]
    wrong = {  # gateway: (the step that fails, what is said of it and of its cure)
        "nameless": ("resolve", "nobody.invalid isn't known", "check the gateway's name"),
        "closed": ("connect", "Connection refused", "firewall"),
        "old": ("tls", "tls_min=1.0"),
        "unknown": ("chain", "isn't trusted", "ca=FILE", "issued by /CN=stranger"),
        "other": ("name", "is for other names", "the certificate is for mail.test"),
        "lapsed": ("validity", "renew it", "expired"),
        "bare": ("service", "HTTP 404", "usual is https://CAS/EWS/Exchange.asmx"),
        "logon": ("service", "HTTP 302", "logon page"),
        "cas1": ("login", "HTTP 401", "check account, password"),
        "cas2": ("rights", "ErrorImpersonationDenied", "grant ApplicationImpersonation"),
        "cas3": ("service", "doesn't answer in time"),
        "cas4": ("subscription", "ended in the middle"),
    }
    status, found, said = check(folder, sim, gateway=gateways)
    for one in servers.values():
        one.close()
    assert status == 1, said
    assert set(found) == {*wrong, "cas5", "cas6", "soon"}
    for name, (step, *words) in wrong.items():
        assert list(failed(found[name])) == [step], (name, said)
        for one in words:
            assert one in found[name][step][1], (name, one, said)
        # what comes before it was looked at and is in order
        for before in STEPS[:STEPS.index(step)]:
            assert before == "login" or found[name][before][0] == "ok", (name, before, said)
    assert found["soon"]["validity"][0] == "warn" and "renew it" in found["soon"]["validity"][1]
    # throttling is no failure, and says so
    assert found["cas5"]["service"][0] == "warn" and "throttled" in found["cas5"]["service"][1]
    assert not failed(found["cas6"]) and found["cas6"]["subscription"][0] == "ok"
    assert "15 gateways checked, 13 with a failed step" in said
    assert sim.counters()["failed_logins"] <= 1


def test_the_account_is_not_locked(folder, sim):
    (folder / "wrong").write_text("wrong\n")
    (folder / "wrong").chmod(0o600)
    status, found, said = check(folder, sim, password_file=folder / "wrong")
    assert status == 1
    logins = [steps["login"] for steps in found.values()]
    assert [one[0] for one in logins].count("FAILED") == 2
    assert [one[0] for one in logins].count("skipped") == 6 and "lock" in logins[-1][1], said
    assert sim.counters()["failed_logins"] == 2


def test_one_user(folder, sim):
    """What is wrong with a user is told from what is wrong with a gateway."""
    sim.request("POST", "/mailboxes", {"address": "user2@example.test", "denied": True})
    status, found, said = check(folder, sim, "sip:user2@example.test")
    assert status == 1 and len(found) == 8
    for steps in found.values():
        assert list(failed(steps)) == ["rights"]
        assert "user2@example.test ErrorImpersonateUserDenied" in steps["rights"][1], said
        assert "role's scope" in steps["rights"][1]
    status, found, said = check(folder, sim, "user3@example.test")
    assert status == 0 and found["cas1"]["mailbox"][1] == "user3@example.test"
    # the gateways are good: the first of the users that are tried isn't
    status, found, said = check(folder, sim, user=["user2@example.test", "user1@example.test"])
    assert status == 0, said
    assert found["cas1"]["rights"][0] == "warn" and "not for every user" in found["cas1"]["rights"][1]
    status, found, said = check(folder, sim, user="nobody@example.test")
    assert status == 1
    assert "nobody@example.test ErrorNonExistentMailbox" in failed(found["cas1"])["mailbox"][0], said


def test_one_gateway(folder, sim):
    sim.fail("cas2", "404")
    status, found, said = check(folder, sim, "cas1")
    assert status == 0 and list(found) == ["cas1"], said
    status, found, said = check(folder, sim, "CAS2")
    assert status == 1 and list(found) == ["cas2"] and "service" in failed(found["cas2"]), said
    status, found, said = check(folder, sim, "cas99")
    assert status == 1 and not found and "no gateway has this name" in said
    status, found, said = check(folder, sim, "stranger@example.test")
    assert status == 1 and not found and "neither a gateway nor a user" in said


@pytest.mark.parametrize("options", [("2003",), ("2007", "--forms", "--folders", "ja")])
def test_webdav_is_good(folder, owa, options):
    """Every step of the way that the service goes: by form or without, SEARCH, SUBSCRIBE and back."""
    sim = owa(*options)
    status, found, said = check(folder, sim)
    assert status == 0, said
    assert {step: one[0] for step, one in found["owa1"].items()} == dict.fromkeys(STEPS, "ok"), said
    assert re.match(r"Exchange (6\.5|8\.)", found["owa1"]["service"][1]), said
    assert found["owa1"]["subscription"][1].startswith("POLL"), said
    counters = sim.counters()
    assert counters["failed_logins"] == 0 and counters["requests"]["logon"] == ("--forms" in options)
    assert counters["requests"]["SEARCH"] == 1 and counters["requests"]["freebusy"] == 0
    assert sim.request("GET", "/subscriptions") == []


@pytest.mark.parametrize("forms", [False, True])
def test_webdav_wrong_password(folder, owa, forms):
    """Told apart from a logon page that isn't there, or mayn't be used."""
    sim = owa("2007", *(["--forms"] if forms else []))
    sim.request("POST", "/account", {"password": "changed"})
    status, found, said = check(folder, sim)
    assert status == 1 and list(failed(found["owa1"])) == ["login"], said
    wrong = found["owa1"]["login"][1]
    assert wrong.startswith("HTTP 401") and "check account, password" in wrong, said
    assert ("refuses account or password" in wrong) == forms, said
    assert sim.counters()["failed_logins"] == 1
    if not forms:
        return
    sim.webdav(logon_page="missing")
    _, found, said = check(folder, sim)
    wrong = failed(found["owa1"])["login"][0]
    assert wrong.startswith("HTTP 440") and "can't take the form (HTTP 404)" in wrong and "password" not in wrong, said
    _, found, said = check(folder, sim, auth="basic")
    assert "auth=auto" in failed(found["owa1"])["login"][0], said
    assert sim.counters()["failed_logins"] == 1


@pytest.mark.parametrize("denied", [403, 401])
def test_webdav_receive_as(folder, owa, denied):
    """Missing on one mailbox is something else than missing on all, whoever is asked about."""
    sim = owa("2003")
    sim.webdav(denied_status=denied)
    sim.request("POST", "/mailboxes", {"address": "user1@example.test", "denied": True})
    status, found, said = check(folder, sim)
    assert status == 0 and found["owa1"]["rights"][0] == "warn", said
    assert f"user1@example.test HTTP {denied}" in found["owa1"]["rights"][1], said
    status, found, said = check(folder, sim, "user1@example.test")
    assert status == 1 and list(failed(found["owa1"])) == ["rights"], said
    wrong = found["owa1"]["rights"][1]
    assert "not for this user, though for others" in wrong and "grant Receive As" in wrong, said
    assert found["owa1"]["login"][0] == "ok"
    for number in (2, 3):
        sim.request("POST", "/mailboxes", {"address": f"user{number}@example.test", "denied": True})
    for whom in ([], ["user1@example.test"]):
        status, found, said = check(folder, sim, *whom)
        assert status == 1 and list(failed(found["owa1"])) == ["rights"], said
        wrong = found["owa1"]["rights"][1]
        assert "not for the users that were tried" in wrong and "grant Receive As" in wrong, said
        assert all(f"user{i}@example.test" in wrong for i in (1, 2, 3)), said
    assert sim.counters()["failed_logins"] == 0


@pytest.mark.parametrize("options", [("2010",), ("2010", "--forms")])
def test_webdav_at_a_server_that_has_none(folder, owa, options):
    sim = owa(*options)
    status, found, said = check(folder, sim)
    assert status == 1 and list(failed(found["owa1"])) == ["service"], said
    assert "Exchange 2010" in found["owa1"]["service"][1] and "type=ews" in found["owa1"]["service"][1], said


def test_webdav_mailbox_and_faults(folder, owa):
    sim = owa("2007")
    status, found, said = check(folder, sim, user="nobody@example.test")
    assert status == 1 and "nobody@example.test HTTP 404" in failed(found["owa1"])["mailbox"][0], said
    for kind, step in (("SEARCH", "calendar"), ("SUBSCRIBE", "subscription")):
        sim.request("POST", "/faults", {"kind": kind, "times": 1, "how": "page"})
        status, found, said = check(folder, sim)
        assert status == 1 and list(failed(found["owa1"])) in ([step], ["service"]), said
    status, found, said = check(folder, sim)
    assert status == 0, said
