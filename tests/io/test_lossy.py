# SPDX-License-Identifier: GPL-2.0-or-later
"""10 % of the packets are lost, and each takes 200 ms."""

import random
import time

import pytest

from harness.relay import LossyRelay


@pytest.fixture
def relay():
    made = []

    def make(port):
        made.append(LossyRelay(port))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_lossy(world, relay):
    """What is shown becomes what the oracle says, while calendars change and once they don't; never are two PUBLISH in
    flight for a user."""
    w = world(users=60)
    between = relay(w.presence.port)
    w.settings["presence_server"] = between.uri
    w.worker.write(w.settings)
    w.worker.start()
    chance = random.Random(3)
    busy = {}
    end = time.monotonic() + 6
    while time.monotonic() < end:
        aor = chance.choice(w.aors)
        if aor in busy:
            w.sim.delete_meeting(busy.pop(aor))
        else:
            busy[aor] = w.meet(aor, "-60", "+3600", chance.choice(["busy", "oof"]))
        time.sleep(0.05)
    # an answer that was lost five times leaves a document that ends by itself: then the newest counts
    expected = w.expected()
    deadline = time.monotonic() + 25
    while any(w.presence.of(aor)[-1:] == [] or w.presence.of(aor)[-1].calendar != calendar or
              w.presence.of(aor)[-1].answer != 200 for aor, calendar in expected.items()):
        assert time.monotonic() < deadline, w.log()
        time.sleep(0.1)
    assert between.lost > 20 and not between.problems, between.problems
    shown = w.presence.states(w.aors)
    wrong = [aor for aor in w.aors if shown[aor] != expected[aor]]
    assert len(wrong) <= 2, [(aor, shown[aor], expected[aor]) for aor in wrong]
