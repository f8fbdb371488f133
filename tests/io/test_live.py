# SPDX-License-Identifier: GPL-2.0-or-later
"""What changes while the worker runs: SIGHUP reads settings and files again."""

import hashlib
import re
import signal
import time

from harness import wait_until


def reload(w, timeout=5):
    """The line that says what became of it."""
    since = w.mark()
    w.worker.process.send(signal.SIGHUP)
    return w.wait_said(" reload users=", timeout, since)[-1]


def gateways(w, *names, **options):
    """The file's lines for these servers."""
    return "".join(f"{w.sim.cas[name]['url']};name={name}{options.get(name, '')}\n"
                   for name in names)


def pool(world, folder, first, **settings):
    """Three servers, of which the file has the first ones."""
    file = folder / "gateways"
    w = world(cas=3, **settings)
    del w.settings["gateway"]
    w.settings["gateways_file"] = file
    w.worker.write(w.settings)
    file.write_text(gateways(w, *first))
    return w, file


def test_gateways_come_and_go(world, folder):
    """Who was at the one that goes is followed elsewhere, and what changed meanwhile is shown; nobody
    is published twice, nobody else moves."""
    w, file = pool(world, folder, ["cas1", "cas2"], users=30)
    w.start()
    before = w.homes()
    assert set(before.values()) == {"cas1", "cas2"}
    file.write_text(gateways(w, "cas2", "cas3"))
    publishes = len(w.presence.publishes)
    said = reload(w)
    assert 'gateways_added="cas3" gateways_removed="cas1"' in said, said
    for aor in w.aors[:5]:
        w.meet(aor, "-60", "+3600")
    wait_until(lambda: set(w.homes()) == set(w.aors) and "cas1" not in w.homes().values(), 15,
               lambda: f"everybody elsewhere: {w.per_cas()}\n{w.log()}")
    w.wait_right(timeout=5)
    after = w.homes()
    assert all(after[aor] == "cas2" for aor in w.aors if before[aor] == "cas2")
    w.wait_said("gateway=cas3 up")
    assert len(w.presence.publishes) == publishes + 5
    # the subscriptions of the old one were ended, not left
    wait_until(lambda: w.sim.counters()["cas"]["cas1"]["subscriptions"] == 0, 5,
               lambda: w.sim.counters()["cas"]["cas1"])


def test_a_wrong_gateway_changes_nothing(world, folder):
    """Each wrong line is named, and users are read all the same."""
    users = folder / "users"
    w, file = pool(world, folder, ["cas1", "cas2"], users=6, users_file=users)
    w.settings["user"] = w.aors[:2]
    w.worker.write(w.settings)
    users.write_text(f"{w.aors[2]}\n")
    w.worker.start()
    w.wait_followed(w.aors[:3])
    homes = w.homes()
    for wrong, words in ((gateways(w, "cas1") + "http://cas2\n", "gateways_file line 2"),
                         (gateways(w, "cas1", cas1=";ca=/dev/null"), "no certificates")):
        file.write_text(wrong)
        since = w.mark()
        users.write_text("".join(f"{aor}\n" for aor in w.aors[2:4]))
        reload(w)
        assert w.said(words, since), w.log()
        w.wait_followed(w.aors[:4])
        assert all(w.homes()[aor] == home for aor, home in homes.items())
    # what is wrong with one user's line is that user's matter; whose it is must be told
    users.write_text(f"{w.aors[2]},,maybe\n{w.aors[4]}\n")
    said = reload(w)
    assert "wrong=" in said and "removed=1" in said, said
    w.wait_followed(w.aors[:3] + w.aors[4:5])
    users.write_text(f"nobody\n{w.aors[4]}\n")
    said = reload(w)
    assert "removed=0" in said and "nobody of users_file is removed" in said, said
    users.unlink()
    assert "removed=0" in reload(w)
    w.wait_followed(w.aors[:3] + w.aors[4:5])


def test_a_file_that_was_cut_short_removes_nobody(world, folder):
    """Nobody left, or more than half of many gone: that is doubted."""
    users = folder / "users"
    w, _ = pool(world, folder, ["cas1"], users=25, users_file=users)
    w.settings["user"] = w.aors[24]
    w.worker.write(w.settings)

    def write(n):
        users.write_text("# who is followed\n" + "".join(f"{aor}\n" for aor in w.aors[:n]))
        return reload(w)

    users.write_text("".join(f"{aor}\n" for aor in w.aors[:24]))
    w.worker.start()
    w.wait_followed(w.aors)
    assert "removed=0" in write(0) and w.said("users_file: 24 of its 24 users would go")
    assert "removed=0" in write(11) and w.said("users_file: 13 of its 24 users would go")
    w.wait_followed(w.aors)
    assert "removed=11" in write(13)
    assert "removed=9" in write(4)
    w.wait_followed(w.aors[:4] + w.aors[24:])


def test_parameters_change(world, folder):
    """Other certificates are asked for at once, on new connections; nobody moves, nothing is lost."""
    w, file = pool(world, folder, ["cas1", "cas2"], users=10)
    w.start()
    homes = w.homes()
    ca = folder / "copy.pem"
    ca.write_bytes((folder / "exchange-sim-ca.pem").read_bytes())
    file.write_text(gateways(w, "cas1", "cas2", cas1=f";ca={ca}", cas2=";concurrency=3"))
    said = reload(w)
    assert 'gateways_changed="cas1, cas2"' in said, said
    w.meet(w.aors[0], "-60", "+3600")
    w.meet(w.aors[1], "-60", "+3600")
    w.wait_right()
    assert w.wait_followed() == homes
    assert not w.said("up->down")


def test_settings_that_need_a_restart_are_named(world):
    w = world(users=4)
    w.start()
    since = w.mark()
    w.settings.update(publish_expires=600, resync=120, user=w.aors[:3])
    w.worker.write(w.settings)
    said = reload(w)
    assert "removed=1" in said, said
    assert [line for line in w.said("counts after a restart", since) if "resync" in line]
    assert [line for line in w.said("counts after a restart", since) if "publish_expires" in line]
    w.wait_followed(w.aors[:3])


def test_a_new_password(world):
    """Everything is held until it is there; then all goes on at once, and it cost no login."""
    w = world(users=30, cas=3)
    w.start()
    homes = w.homes()
    w.sim.request("POST", "/account", {"password": "another"})
    for aor in w.aors[:4]:
        w.meet(aor, "-60", "+3600")
    w.wait_said("pool login open->held")
    failed = w.sim.counters()["failed_logins"]
    assert "login=unchanged" in reload(w)
    w.sim.password_file.write_text("wrong again\n")
    assert "login=renewed" in reload(w)
    wait_until(lambda: w.sim.counters()["failed_logins"] == failed + 1, 5, "tried")
    time.sleep(1)
    assert w.sim.counters()["failed_logins"] == failed + 1
    w.sim.password_file.write_text("another\n")
    reload(w)
    w.wait_said("pool login open", timeout=5)
    w.wait_right()
    assert w.sim.counters()["failed_logins"] == failed + 1
    assert w.wait_followed() == homes


def test_a_new_password_in_time(world):
    """The account's password and the file change together while requests are under way: what still
    goes with the old one accuses nobody."""
    w = world(users=60, cas=2, sim=["--latency-ms", 300])
    w.start(timeout=30)
    for aor in w.aors[:20]:
        w.meet(aor, "-60", "+3600")
    time.sleep(0.6)  # they are being read
    w.sim.request("POST", "/account", {"password": "another"})
    w.sim.password_file.write_text("another\n")
    since = w.mark()
    reload(w)
    w.wait_said("pool login open", 5, since)
    w.wait_right(timeout=15)
    assert not w.said("held", since), w.said("login", since)
    assert w.sim.counters()["failed_logins"] <= 4


def test_state_is_kept(world, folder):
    """Over the end of everything but the servers: CAS, subscription and publication are the same, what
    was switched off in the file stays as it was, and who is no user any more is withdrawn."""
    state = folder / "state"
    w = world(users=8, state_file=state)
    w.meet(w.aors[0], "-60", "+3600")
    w.start()
    homes, publishes = w.homes(), len(w.presence.publishes)
    subscribes = w.sim.counters()["requests"]["Subscribe"]
    w.worker.stop()
    assert state.stat().st_mode & 0o777 == 0o600
    w.settings["user"] = w.aors[:7]
    w.worker.write(w.settings)
    w.worker.start()
    w.presence.wait_for(w.aors[7], None, timeout=5)
    w.wait_right(w.aors[:7])
    assert w.wait_followed(w.aors[:7]) == {aor: homes[aor] for aor in w.aors[:7]}
    assert w.sim.counters()["requests"]["Subscribe"] == subscribes
    new = [one for one in w.presence.publishes[publishes:] if one.op == "initial"]
    assert not new, new
    # one that is damaged is set aside, and all begins anew
    w.worker.stop()
    state.write_bytes(state.read_bytes()[:-1] + b"?")
    w.worker.start()
    w.wait_followed(w.aors[:7])
    assert w.said("set aside") and (folder / "state.bad").exists()
    assert not w.presence.problems


def test_reloads_while_calendars_change(world, folder):
    """Nobody is lost, and nobody is published who hasn't changed."""
    users = folder / "users"
    w = world(users=60, cas=3, users_file=users)
    w.settings["user"] = []
    w.worker.write(w.settings)
    residents, guests = w.aors[:50], w.aors[50:]
    users.write_text("".join(f"{aor}\n" for aor in residents))
    w.worker.start()
    w.wait_followed(residents)
    w.wait_right(residents)
    before = len(w.presence.publishes)
    for i in range(6):
        here = guests if i % 2 == 0 else []
        w.meet(residents[i], "-60", "+3600")
        users.write_text("".join(f"{aor}\n" for aor in residents + here))
        said = reload(w)
        assert f"users={50 + len(here)} " in said, said
        w.presence.wait_all({aor: "available" if here else None for aor in guests}, 5)
        w.wait_right(residents)
    w.wait_followed(residents)
    # who leaves does so in two steps
    assert len(w.presence.publishes) == before + 6 + 3 * len(guests) + 2 * 3 * len(guests)


class Login:
    """A rule of the presence server: who may publish."""

    def __init__(self, password):
        self.password, self.refused = password, 0

    def __call__(self, publish):
        said = dict(re.findall(r'(\w+)="([^"]*)"', publish.message.get("Authorization") or ""))
        if said:
            right = self._hash(f"{said['username']}:example.test:{self.password}")
            asked = self._hash(f"PUBLISH:{said['uri']}")
            if said["response"] == self._hash(f"{right}:{said['nonce']}:{asked}"):
                return None
            self.refused += 1
        return 401, {"WWW-Authenticate": 'Digest realm="example.test", nonce="n"'}

    @staticmethod
    def _hash(text):
        return hashlib.md5(text.encode()).hexdigest()


def test_a_new_sip_password(world, folder):
    """Nobody is let in with the old one; with the new one all goes on at once, and what stands stays."""
    password = folder / "sip-password"
    password.write_text("hush-one\n")
    password.chmod(0o600)
    w = world(users=12, sip_user="me", sip_password_file=password)
    w.presence.rule = login = Login("hush-one")
    w.start()
    assert login.refused == 0
    login.password = "hush-two"
    for aor in w.aors[:6]:
        w.meet(aor, "-60", "+3600")
    w.wait_said("presence up->down why=login")
    wait_until(lambda: w.presence.publishes[-1].t < time.time() - 1, 5, "what was under way has ended")
    refused = login.refused
    assert "sip_login=unchanged" in reload(w)
    time.sleep(0.5)
    assert login.refused == refused, "it must not be tried again and again"
    password.write_text("wrong\n")
    assert "sip_login=renewed" in reload(w)
    wait_until(lambda: login.refused == refused + 1, 5, w.log)
    password.write_text("hush-two\n")
    assert " sip_login=renewed" in reload(w)
    w.wait_right(timeout=5)
    assert login.refused == refused + 1
    assert "hush" not in w.worker.log()
