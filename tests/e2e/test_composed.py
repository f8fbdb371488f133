# SPDX-License-Identifier: GPL-2.0-or-later
"""The calendar beside what a user's phone publishes, as Kamailio puts them together; and reminders through Kamailio."""

import itertools
import time

import pytest

from harness import Phone, Watch, wait_until

numbers = itertools.count(1)


@pytest.fixture
def busy_world(new_world, kamailio):
    """A worker that publishes to Kamailio; nobody has meetings."""
    return lambda **settings: new_world(users=3, cas=1, uri=kamailio.udp, **settings).start()


def both(record):
    """What all says, and what the calendar's own part of it says."""
    return record["status"], record["calendar"] and record["calendar"]["status"]


def wait_both(watch, aor, status, calendar, **fields):
    def found():
        last = watch.timeline[aor][-1]
        return both(last) == (status, calendar) and all(last[k] == v for k, v in fields.items())
    wait_until(found, 8, lambda: f"{aor} {status}/{calendar} {fields}: {watch.timeline[aor][-1]}")


def test_the_phone_first_and_the_calendar_leaves_first(folder, kamailio, publisher, busy_world):
    """Side by side, two tuples and two persons; what leaves takes only its own with it."""
    w = busy_world(on_exit="withdraw")
    aor, other = w.aors[:2]
    with Watch(folder, kamailio.udp, [aor, other]) as watch:
        watch.wait_ready()
        # the calendar was there first, for `other` too
        wait_both(watch, aor, "available", "available", tuples=1, persons=1)
        phone = publisher.put(aor)
        wait_both(watch, aor, "available", "available", tuples=2, persons=2)
        meeting = w.meet(aor, "-60", "+3600")
        wait_both(watch, aor, "busy", "busy", tuples=2)
        phone = publisher.put(aor, activities=["on-the-phone"], etag=phone)
        w.sim.delete_meeting(meeting)
        wait_both(watch, aor, "busy", "available", tuples=2)
        phone = publisher.put(aor, etag=phone)
        wait_both(watch, aor, "available", "available", tuples=2)
        w.meet(aor, "-60", "+3600", "oof")
        wait_both(watch, aor, "away", "away", tuples=2)
        before = len(watch.timeline[aor])
        w.worker.stop()  # the calendar leaves first
        wait_both(watch, aor, "available", None, tuples=1, persons=1)
        # and no NOTIFY has a closed tuple of it, before the phone's, on the way
        assert all(one["tuples"] == 1 for one in watch.timeline[aor][before:])
        phone = publisher.put(aor, activities=["busy"], etag=phone)
        wait_both(watch, aor, "busy", None, tuples=1, persons=1)
        publisher.remove(aor, phone)
        watch.wait_for(aor, "offline", timeout=5)
        assert watch.problems == []


def test_the_calendar_first_and_the_phone_leaves_first(folder, kamailio, publisher, busy_world):
    w = busy_world(on_exit="withdraw")
    aor = w.aors[0]
    w.meet(aor, "-60", "+3600")
    with Watch(folder, kamailio.udp, [aor]) as watch:
        watch.wait_ready()
        wait_both(watch, aor, "busy", "busy", tuples=1, persons=1)
        phone = publisher.put(aor)
        wait_both(watch, aor, "busy", "busy", tuples=2, persons=2)
        publisher.remove(aor, phone)
        wait_both(watch, aor, "busy", "busy", persons=1)
        w.worker.stop()
        watch.wait_for(aor, "offline", timeout=5)
        assert watch.problems == []


def test_published_only_when_unavailable(folder, kamailio, publisher, busy_world):
    """Free: nothing is there of the calendar. The phone's own state stays what watchers see."""
    w = busy_world(publish_when="unavailable")
    alone, phoned = w.aors[:2]
    phone = publisher.put(phoned)
    with Watch(folder, kamailio.udp, [alone, phoned]) as watch:
        watch.wait_ready()
        wait_both(watch, phoned, "available", None, tuples=1)
        watch.wait_for(alone, "unknown", tuples=0)
        meetings = [w.meet(aor, "-60", "+3600") for aor in (alone, phoned)]
        wait_both(watch, phoned, "busy", "busy", tuples=2, persons=2)
        watch.wait_for(alone, "busy", tuples=1)
        for meeting in meetings:
            w.sim.delete_meeting(meeting)
        wait_both(watch, phoned, "available", None, tuples=1, persons=1)
        watch.wait_for(alone, "offline", timeout=5)
        publisher.put(phoned, etag=phone)
        wait_both(watch, phoned, "available", None, tuples=1)
        assert watch.problems == []


def test_reminders_reach_the_phone(kamailio, busy_world):
    """Through Kamailio to whoever is registered; who isn't gets it when the phone comes back."""
    w = busy_world(remind_before=60, remind_zone="UTC")
    alice, bob = w.aors[:2]
    phones = [Phone(kamailio.port, alice, statuses=[503]).register(), Phone(kamailio.port, bob)]
    begin = int(time.time()) + 63
    for aor in (alice, bob):
        w.sim.add_meeting(aor, begin, begin + 1800, subject="Budget", location="Room 5")
    text = "Meeting " + "–".join(time.strftime("%H:%M", time.gmtime(t))
                                 for t in (begin, begin + 1800)) + ": Budget (Room 5)"
    w.wait_said(f"user={bob} reminder failed status=480", timeout=15)
    phones[1].register()
    wait_until(lambda: phones[1].texts and len(phones[0].texts) == 2, 20, w.log)
    assert phones[0].texts == [text, text] and phones[1].texts == [text]
    w.wait_said(f"user={alice} reminded meetings=1")
    for phone in phones:
        phone.close()
