# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker between the simulator and a real Kamailio, seen by watchers."""

import math
import time

import pytest

from harness import Kamailio, Publisher, Watch, wait_until
from harness.process import PATIENCE


@pytest.fixture
def server(folder):
    """A Kamailio of this test's own, as everybody uses the same AoRs."""
    path = folder / "k"
    path.mkdir()
    with Kamailio(path, clean_s=1, processes=1) as one:
        yield one


@pytest.fixture
def world(new_world, server):
    """Makes a World that publishes to that Kamailio."""
    return lambda transport="tcp", **kwargs: new_world(
        uri=f"sip:127.0.0.1:{server.port};transport={transport}", **kwargs)


def wait_seen(world, watch, timeout, aors=None):
    """Until watchers see of everybody what the oracle says, in one tuple and one person of ours."""
    def wrong():
        expected = world.expected(aors)
        found = {}
        for aor, calendar in expected.items():
            seen = watch.state(aor) or {}
            now = (seen.get("status"), seen.get("tuples"), seen.get("persons"))
            if now != (calendar, 1, 1) or not seen.get("calendar"):
                found[aor] = now, "not", calendar
        return found

    wait_until(lambda: not wrong(), timeout,
               lambda: f"{len(wrong())} are seen wrong, such as "
                       f"{dict(list(wrong().items())[:4])}\n{world.log()}")


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_everybody_is_seen_right(world, folder, server, transport):
    """300 users over 3 CAS from the start on; then meetings begin, end, come and go, and a CAS dies:
    watchers see what the oracle says, and nothing else in between."""
    w = world(transport, users=300, cas=3, calendars="seeded")
    # nobody's seeded calendar changes in these seconds, unless the test runs over a full hour
    with Watch(folder, getattr(server, transport), w.aors) as watch:
        watch.wait_ready()
        w.worker.start()
        wait_seen(w, watch, 10)
        w.wait_followed(timeout=20)
        begins = math.ceil(time.time()) + 2
        free = [aor for aor, one in w.expected().items() if one == "available"][:12]
        for aor in free[:6]:
            w.meet(aor, begins, begins + 2, "busy")
        w.sim.fail("cas2", "refuse")
        for aor in free[6:]:
            w.meet(aor, "-60", "+3600", "oof")
        time.sleep(max(0, begins + 0.3 - time.time()))
        wait_seen(w, watch, 2)
        time.sleep(max(0, begins + 2.3 - time.time()))
        wait_seen(w, watch, 2)
        w.wait_followed(timeout=20)
        wait_seen(w, watch, 2)
        for aor in free[:6]:
            # the worker says it within 1 s, and Kamailio's NOTIFY follows
            at = {one["status"]: one["t"] for one in watch.timeline[aor]}
            assert begins <= at["busy"] <= begins + 1.5 and \
                begins + 2 <= at["available"] <= begins + 3.5, watch.timeline[aor]
        for aor in w.aors:
            assert all(one["tuples"] <= 1 and one["persons"] <= 1
                       for one in watch.timeline[aor]), watch.timeline[aor]
            # nobody was withdrawn on the way
            assert "offline" not in [one["status"] for one in watch.timeline[aor]]
        assert watch.stop()["problems"] == 0, watch.problems


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_kamailio_is_killed(world, folder, server, transport):
    """It comes back with empty memory: everybody is right within 5 s of that (P6, P7)."""
    w = world(transport, users=100, cas=2, calendars="seeded").start()
    # over UDP a watcher learns of the loss by its next refresh, so look with another one
    with Watch(folder, getattr(server, transport), w.aors) as watch:
        wait_seen(w, watch, 5)
    server.kill()
    changed = [aor for aor, one in w.expected().items() if one == "available"][:3]
    for aor in changed:
        w.meet(aor, "-60", "+3600", "oof")
    time.sleep(1)
    server.start()
    back = time.monotonic()
    with Watch(folder, getattr(server, transport), w.aors, name="second-watch") as watch:
        wait_seen(w, watch, 5.5)
        assert time.monotonic() - back < 5.5 * PATIENCE
        assert watch.stop()["problems"] == 0, watch.problems


def test_a_phone_publishes_too(world, folder, server):
    """The calendar's tuple and person stand beside the phone's; each goes by itself."""
    w = world(users=2, cas=1).start()
    aor, phone = w.aors[0], Publisher(server.port)
    with Watch(folder, server.tcp, [aor]) as watch:
        watch.wait_for(aor, "available", tuples=1, persons=1)
        etag = phone.put(aor, tuple_id="phone-1", person_id="person-1")
        watch.wait_for(aor, "available", tuples=2, persons=2)
        meeting = w.meet(aor, "-60", "+3600")
        seen = watch.wait_for(aor, "busy", tuples=2, persons=2)
        assert seen["calendar"]["status"] == "busy"
        phone.remove(aor, etag)
        # Kamailio's last word on what was removed: its tuple, closed
        watch.wait_for(aor, "busy", tuples=2, persons=1)
        w.sim.delete_meeting(meeting)
        watch.wait_for(aor, "available", tuples=1, persons=1)
        assert watch.stop()["problems"] == 0, watch.problems
    phone.close()


@pytest.mark.parametrize("on_exit, seen", [("keep", "busy"), ("withdraw", "offline")])
def test_the_worker_ends(world, folder, server, on_exit, seen):
    w = world(users=20, cas=2, on_exit=on_exit)
    w.meet(w.aors[0], "-60", "+3600")
    w.worker.start()
    with Watch(folder, server.tcp, w.aors) as watch:
        wait_seen(w, watch, 5)
        w.worker.stop()
        watch.wait_for(w.aors[0], seen)
        time.sleep(0.5)
        assert watch.state(w.aors[0])["status"] == seen
        assert {one.get("status") for one in map(watch.state, w.aors[1:])} == \
            {"offline" if on_exit == "withdraw" else "available"}
        assert watch.stop()["problems"] == 0, watch.problems


def test_many_changes_leave_one_document(world, folder, server):
    w = world(users=5, cas=1, publish_expires=60).start()
    with Watch(folder, server.tcp, w.aors) as watch:
        wait_seen(w, watch, 3)
        for status in ("busy", "oof", "tentative"):
            for aor in w.aors:
                w.meet(aor, "-60", "+3600", status)
            wait_seen(w, watch, 3)
        assert watch.stop()["problems"] == 0, watch.problems
