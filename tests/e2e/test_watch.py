# SPDX-License-Identifier: GPL-2.0-or-later
"""presence-watch against a real Kamailio, and against a notifier that says what it is told."""

import itertools
import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from xml.etree import ElementTree

import pytest

from harness import BUILD, Kamailio, Notifier, Publisher, Watch, pidf, wait_until
from harness.process import PATIENCE, ROOT
from harness.sip import Subscriber

numbers = itertools.count(1)


@pytest.fixture
def aor():
    """An AoR that no other test uses."""
    return f"user{next(numbers)}@example.test"


@pytest.fixture(params=["udp", "tcp"])
def server(request, kamailio):
    return getattr(kamailio, request.param)


def seen(watch, aor):
    return [record["status"] for record in watch.timeline[aor]]


def test_every_status(folder, server, publisher, aor):
    with Watch(folder, server, [aor]) as watch:
        assert watch.wait_ready()["subscribed"] == 1
        nobody = watch.wait_for(aor, "unknown")
        assert (nobody["tuples"], nobody["persons"], nobody["basic"]) == (0, 0, None)
        etag = publisher.put(aor)
        watch.wait_for(aor, "available", basic="open", tuples=1, persons=1, activities=[])
        etag = publisher.put(aor, activities=["busy"], until="2030-01-02T11:04:05+01:00", etag=etag)
        watch.wait_for(aor, "busy", until="2030-01-02T10:04:05Z", activities=["busy"])
        etag = publisher.put(aor, activities=["away"], etag=etag)
        watch.wait_for(aor, "away", until=None, activities=["away"])
        etag = publisher.put(aor, activities=["other", "on-the-phone"], etag=etag)
        watch.wait_for(aor, "busy", activities=["other", "on-the-phone"])
        etag = publisher.put(aor, activities=["other"], etag=etag)
        watch.wait_for(aor, "available", activities=["other"])
        etag = publisher.put(aor, "closed", ["busy"], etag=etag)
        watch.wait_for(aor, "offline", basic="closed", until=None)
        etag = publisher.put(aor, etag=etag)
        watch.wait_for(aor, "available")
        # Kamailio's last word on a document that is removed: its tuples, closed
        publisher.remove(aor, etag)
        watch.wait_for(aor, "offline", basic="closed", tuples=1, persons=0)
        counts = watch.stop()
    assert watch.problems == [] and counts["problems"] == 0
    assert seen(watch, aor) == ["unknown", "available", "busy", "away", "busy", "available",
                                "offline", "available", "offline"]


def test_two_publishers(folder, server, publisher, aor):
    """A phone and a calendar: both are seen, and the calendar is told apart."""
    with Watch(folder, server, [aor]) as watch:
        watch.wait_ready()
        publisher.put(aor, activities=["on-the-phone"])
        watch.wait_for(aor, "busy", calendar=None, tuples=1)
        etag = publisher.put(aor, tuple_id="cal-1", person_id="calp-1")
        both = watch.wait_for(aor, "busy", tuples=2, persons=2)
        assert both["calendar"] == {"status": "available", "until": None, "basic": "open"}
        publisher.put(aor, tuple_id="cal-1", person_id="calp-1", activities=["away"],
                      until="2030-01-01T00:00:00Z", etag=etag)
        calendar = {"status": "away", "until": "2030-01-01T00:00:00Z", "basic": "open"}
        both = watch.wait_for(aor, "busy", calendar=calendar)
        assert set(both["activities"]) == {"on-the-phone", "away"}
        assert both["until"] is None
        watch.stop()
    assert watch.problems == []


def test_expiry(folder, server, publisher, aor):
    with Watch(folder, server, [aor]) as watch:
        watch.wait_ready()
        publisher.put(aor, activities=["busy"], expires=1)
        watch.wait_for(aor, "busy")
        gone = watch.wait_for(aor, tuples=0, timeout=8)
        assert gone["status"] == "unknown"
        watch.stop()


def test_refresh_changes_nothing(folder, server, publisher, aor):
    """A NOTIFY with nothing new prints nothing, except with --all."""
    with Watch(folder, server, [aor], "--all", name="all") as everything, \
            Watch(folder, server, [aor]) as watch:
        everything.wait_ready()
        watch.wait_ready()
        etag = publisher.put(aor)
        for _ in range(3):
            etag = publisher.put(aor, etag=etag)
        publisher.put(aor, activities=["away"], etag=etag)
        watch.wait_for(aor, "away")
        everything.wait_for(aor, "away")
        assert seen(watch, aor) == ["unknown", "available", "away"]
        assert len(everything.timeline[aor]) == 6
        assert watch.stop()["changes"] == 3
        assert everything.stop()["notifies"] >= 6


def test_many(folder, server, publisher):
    aors = [f"many{i}@example.test" for i in range(300)]
    etags = {aor: publisher.put(aor) for aor in aors[:30]}
    with Watch(folder, server, ["# nobody", *aors]) as watch:
        assert watch.wait_ready()["subscribed"] == 300
        watch.wait_all({aor: "available" if aor in etags else "unknown" for aor in aors})
        for aor, etag in etags.items():
            publisher.remove(aor, etag)
        watch.wait_all({aor: "offline" for aor in etags})
        counts = watch.stop()
    assert counts["problems"] == 0 and counts["subscribes"] == 300


def test_short_subscriptions_are_refreshed(folder, server, publisher, aor):
    with Watch(folder, server, [aor], "--expires", "2") as watch:
        watch.wait_ready()
        time.sleep(3)
        publisher.put(aor, activities=["busy"])
        watch.wait_for(aor, "busy", timeout=2)
        counts = watch.stop()
    assert counts["problems"] == 0 and counts["subscribes"] >= 2 and counts["renewed"] == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_restart_of_the_server(folder, transport, how):
    """Over TCP the lost connection tells at once; over UDP the refresh after a restart does."""
    aors = [f"restart{i}@example.test" for i in range(20)]
    with Kamailio(folder / "kamailio") as kamailio:
        publisher = Publisher(kamailio.port)
        for aor in aors:
            publisher.put(aor)
        options = ["--expires", "3"] if transport == "udp" else []
        with Watch(folder, getattr(kamailio, transport), aors, *options) as watch:
            watch.wait_all({aor: "available" for aor in aors})
            getattr(kamailio, how)()
            time.sleep(0.5)
            kamailio.start()
            for aor in aors:
                publisher.put(aor, activities=["busy"])
            watch.wait_all({aor: "busy" for aor in aors}, timeout=12)
            counts = watch.stop()
        publisher.close()
    assert counts["renewed"] >= 20 and counts["problems"] == 0


def test_documents_that_are_wrong(folder, server, publisher, aor):
    """What Kamailio passes on although it is wrong is named, and the rest of it is shown."""
    with Watch(folder, server, [aor]) as watch:
        watch.wait_ready()
        etag = publisher.put(aor, tuple_id="same", person_id="same", activities=["busy"])
        watch.wait_problem("id same twice")
        watch.wait_for(aor, "busy", tuples=1, persons=1)
        etag = publisher.put(aor, "sometimes", etag=etag)
        watch.wait_problem('basic is "sometimes"')
        watch.wait_for(aor, basic=None)
        etag = publisher.put(aor, activities=["busy"], until="tomorrow", etag=etag)
        watch.wait_problem('until is "tomorrow"')
        etag = publisher.put(aor, entity="sip:another@example.test", etag=etag)
        watch.wait_problem("entity is sip:another@example.test")
        publisher.put(aor, etag=etag)
        watch.wait_for(aor, "available")
        assert watch.stop()["problems"] == len(watch.problems) >= 4


@pytest.fixture
def notifier():
    one = Notifier()
    yield one
    one.close()


def test_notifies_that_are_wrong(folder, notifier, aor):
    good = pidf(aor, activities=["busy"])
    with Watch(folder, notifier.udp, [aor]) as watch:
        wait_until(lambda: aor in notifier.dialogs, 5, "SUBSCRIBE")

        def says(status, words, *args, **kwargs):
            before = len(watch.problems)
            assert notifier.answer(notifier.notify(aor, *args, **kwargs)) == status
            watch.wait_problem(words)
            assert len(watch.problems) == before + 1, watch.problems[before:]

        says(489, "Event is dialog", good, event="dialog")
        says(400, "Subscription-State is missing", good, state=None)
        says(415, "Content-Type is text/plain", good, content_type="text/plain")
        assert notifier.answer(notifier.notify(aor, good, cseq=10)) == 200
        watch.wait_for(aor, "busy")
        says(481, "From tag of another dialog", good, from_tag="another")
        says(481, "NOTIFY of no dialog", good, call_id="another")
        says(481, "To tag another", good, to_tag="another")
        says(500, "CSeq 10 twice", pidf(aor), cseq=10)
        says(200, "not well-formed", good[:-20], cseq=11)
        says(200, "a DOCTYPE", good.replace("?>\n", '?>\n<!DOCTYPE presence [<!ENTITY e "x">]>'))
        says(200, "the root is html", "<html/>")
        says(200, "not well-formed", b"\xff\xfe\x00")
        assert watch.state(aor)["status"] == "busy"
        watch.wait_ready()
        watch.stop()


def test_an_overtaken_one_is_no_problem(folder, notifier, aor):
    with Watch(folder, notifier.udp, [aor]) as watch:
        wait_until(lambda: aor in notifier.dialogs, 5, "SUBSCRIBE")
        assert notifier.answer(notifier.notify(aor, pidf(aor), cseq=7)) == 200
        late = notifier.notify(aor, pidf(aor, activities=["busy"]), cseq=6)
        assert notifier.answer(late) == 500
        counts = watch.stop()
    assert (counts["notifies"], counts["overtaken"], counts["problems"]) == (1, 1, 0)
    assert seen(watch, aor) == ["available"]


def test_a_copy_is_no_problem(folder, notifier, aor):
    with Watch(folder, notifier.udp, [aor]) as watch:
        wait_until(lambda: aor in notifier.dialogs, 5, "SUBSCRIBE")
        first = notifier.notify(aor, pidf(aor), branch="same")
        assert notifier.answer(first) == 200
        assert notifier.answer(notifier.notify(aor, pidf(aor), cseq=first[1], branch="same")) == 200
        counts = watch.stop()
    assert (counts["notifies"], counts["copies"], counts["problems"]) == (1, 1, 0)


@pytest.mark.parametrize("reason, again", [("deactivated", True), ("timeout", True),
                                           ("probation;retry-after=1", True), ("rejected", False)])
def test_terminated(folder, notifier, aor, reason, again):
    """What ended is opened anew, in a new dialog, unless the server wants us to stay away."""
    with Watch(folder, notifier.udp, [aor]) as watch:
        wait_until(lambda: aor in notifier.dialogs, 5, "SUBSCRIBE")
        notifier.answer(notifier.notify(aor, pidf(aor)))
        watch.wait_for(aor, "available")
        call_id = notifier.dialogs[aor]["Call-ID"]
        notifier.answer(notifier.notify(aor, state=f"terminated;reason={reason}"))
        watch.wait_for(aor, "available", state="terminated")
        if again:
            wait_until(lambda: notifier.dialogs[aor]["Call-ID"] != call_id, 3, "a new SUBSCRIBE")
        else:
            time.sleep(0.5)
            assert notifier.dialogs[aor]["Call-ID"] == call_id
        assert watch.stop()["problems"] == 0


def test_refused(folder, aor):
    notifier = Notifier(status=403)
    with Watch(folder, notifier.udp, [aor]) as watch:
        assert watch.wait_ready() == {**watch.ready, "subscribed": 0, "refused": 1}
        watch.wait_problem("SUBSCRIBE was answered 403")
        watch.stop()
    notifier.close()
    assert len(notifier.subscribes) == 1


# What Kamailio makes of golden documents, and what a watcher makes of that: status and activities.
FIXTURES = ROOT / "sip-fixtures"
GOLDEN = {"available": ("available", []), "busy": ("busy", ["busy"]), "away": ("away", ["away"]),
          "busy-beside-a-phone": ("busy", ["busy"]), "away-beside-a-phone": ("away", ["away"]),
          "withdrawn-beside-a-phone": ("available", [])}


def golden(name):
    head, _, body = (FIXTURES / "notify" / f"{name}.txt").read_text().partition("\n\n")
    assert f"Content-Length: {len(body.encode())}" in head.split("\n")
    return body


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_notify_is_understood(folder, notifier, name):
    aor = "bob@example.com" if "away" in name else "alice@example.com"
    with Watch(folder, notifier.udp, [aor]) as watch:
        wait_until(lambda: aor in notifier.dialogs, 5, "SUBSCRIBE")
        assert notifier.answer(notifier.notify(aor, golden(name))) == 200
        status, activities = GOLDEN[name]
        watch.wait_for(aor, status, timeout=3)
        assert watch.state(aor)["activities"] == activities
        watch.stop()
        assert watch.problems == []


def test_golden_notify_is_what_kamailio_sends(folder):
    """The documents as the worker publishes them, alone and beside a phone's."""
    def parts(body):
        """Its tuples and persons, in whatever order two publishers' are put together."""
        root = ElementTree.fromstring(body)
        return root.attrib, sorted(ElementTree.canonicalize(ElementTree.tostring(one), strip_text=True)
                                   for one in root)

    def same(body, name):
        assert parts(body) == parts(golden(name)), name

    def document(name):
        return (FIXTURES / "pidf" / f"{name}.xml").read_text()

    with Kamailio(folder, clean_s=1, processes=1) as server:
        publisher, aor = Publisher(server.port), "alice@example.com"
        with Subscriber(server.port, aor) as seen:
            seen.next()
            calendar = publisher.publish(aor, document("available"))["SIP-ETag"]
            same(seen.next(), "available")
            calendar = publisher.publish(aor, document("busy"), etag=calendar)["SIP-ETag"]
            same(seen.next(), "busy")
            publisher.put(aor)
            same(seen.next(), "busy-beside-a-phone")
            calendar = publisher.publish(aor, document("nothing"), etag=calendar)["SIP-ETag"]
            same(seen.next(), "withdrawn-beside-a-phone")
            publisher.remove(aor, calendar)
            same(seen.next(), "withdrawn-beside-a-phone")
        aor = "bob@example.com"
        with Subscriber(server.port, aor) as seen:
            seen.next()
            publisher.publish(aor, document("away"))
            same(seen.next(), "away")
            publisher.put(aor)
            same(seen.next(), "away-beside-a-phone")
        publisher.close()


def test_unsubscribes_at_the_end(folder, notifier, aor):
    with Watch(folder, notifier.udp, [aor]) as watch:
        wait_until(lambda: aor in notifier.dialogs, 5, "SUBSCRIBE")
        notifier.answer(notifier.notify(aor, pidf(aor)))
        watch.wait_ready()
        began = time.monotonic()
        watch.stop()
        assert time.monotonic() - began < 2 * PATIENCE
    first, last = notifier.subscribes
    assert last["Expires"] == "0" and last["Call-ID"] == first["Call-ID"]
    assert last.tag("To") and last["CSeq"] == "2 SUBSCRIBE"


def test_a_big_document(folder, kamailio, publisher, aor):
    """Several publications make a NOTIFY of far more than a packet; TCP carries it."""
    note = "x" * 20000
    with Watch(folder, kamailio.tcp, [aor]) as watch:
        watch.wait_ready()
        for i in range(4):
            body = pidf(aor, tuple_id=f"t{i}", person_id=f"p{i}")
            answer = publisher.publish(aor, body.replace("</tuple>", f"<note>{note}</note></tuple>"))
            assert answer.status == 200
        watch.wait_for(aor, "available", tuples=4, persons=4)
        assert watch.stop()["problems"] == 0


def run(*args, **kwargs):
    return subprocess.run([BUILD / "presence-watch", *args], capture_output=True, text=True,
                          timeout=20, **kwargs)


def test_once(kamailio, publisher, aor, folder):
    publisher.put(aor, activities=["away"])
    users = folder / "users"
    users.write_text(f"# who\n\n  sip:{aor}, mailbox, on\n")
    done = run("--server", kamailio.udp, "--users", str(users), "--once")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == ""
    assert lines[0]["aor"] == aor and lines[0]["status"] == "away"
    assert [line.get("event") for line in lines[1:]] == ["ready", "end"]


def test_nobody_there(notifier, aor):
    done = run("--server", notifier.udp, "--once", "--for", "1", aor)
    assert done.returncode == 1 and '"event":"end"' in done.stdout


@pytest.mark.parametrize("args, words", [
    ((), "--server is missing"),
    (("--server", "sip:127.0.0.1"), "nobody to watch"),
    (("--server", "http://127.0.0.1", "a@b"), "--server is no sip: URI"),
    (("--server", "sip:127.0.0.1", "a"), "a is no user@host"),
    (("--server", "sip:127.0.0.1", "--rate", "0", "a@b"), "--rate 0: a number from 1"),
    (("--server", "sip:127.0.0.1", "--expires", "1h", "a@b"), "--expires 1h: a number from 1"),
    (("--server", "sip:127.0.0.1", "--users", "/nowhere", "a@b"), "/nowhere: No such file"),
    (("--server", "sip:127.0.0.1", "--bind", "sip:192.0.2.1:*", "a@b"), "--bind can't be had"),
])
def test_options_that_are_wrong(args, words):
    done = run(*args)
    assert done.returncode == 2 and words in done.stderr and done.stdout == ""


def test_table_on_a_terminal(kamailio, publisher, aor):
    """Drawn over itself: the last drawing has one line for each, with the present status."""
    etag = publisher.put(aor, activities=["busy"], until="2030-01-02T10:00:00Z")
    ours, theirs = pty.openpty()
    child = subprocess.Popen([BUILD / "presence-watch", "--server", kamailio.tcp, aor],
                             stdin=theirs, stdout=theirs, stderr=theirs,
                             env=dict(os.environ, TZ="UTC"))
    os.close(theirs)
    text = ""

    def drawn(pattern):
        nonlocal text
        deadline = time.monotonic() + 5
        while not re.search(pattern, text):
            ready, _, _ = select.select([ours], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{pattern} not in {text!r}"
            text += os.read(ours, 4096).decode()

    drawn(rf"{aor}\s+\S*busy\s*\S*\s+\w+ 10:00 ")
    publisher.put(aor, etag=etag)
    drawn(rf"\x1b\[\d+A\r(?s:.)*{aor}\s+\S*available")
    child.send_signal(signal.SIGINT)
    assert child.wait(5) == 0
    os.close(ours)
