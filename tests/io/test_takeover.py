# SPDX-License-Identifier: GPL-2.0-or-later
"""The worker is killed; the next one finds on the board what stands, and goes on with it."""

from harness import wait_until
from harness.world import Board


def test_killed_and_taken_over(world):
    """Nobody is subscribed anew, everybody keeps CAS and ETag, and nothing stands twice."""
    w = world(users=40, cas=3)
    board = Board(w)
    board.start()
    w.wait_followed()
    w.wait_right()
    homes = w.homes()
    for restart in range(3):
        subscribes = w.sim.counters()["requests"]["Subscribe"]
        before = {aor: len(w.presence.of(aor)) for aor in w.aors}
        w.worker.kill()
        # what changes meanwhile is shown afterwards
        w.meet(w.aors[restart], "-60", "+3600")
        mark = w.mark()
        board.start()
        assert "taken_over=40" in w.wait_said(" start ", since=mark)[0]
        w.wait_followed()
        w.wait_right()
        assert w.homes() == homes
        assert w.sim.counters()["requests"]["Subscribe"] == subscribes
        for aor in w.aors:
            assert all(one.op != "initial" for one in w.presence.of(aor)[before[aor]:]), aor
        assert len(w.presence.standing) == 40
    board.close()


def test_killed_again_and_again(world):
    """Also while it starts. A publication whose answer was lost in a kill stands twice until it
    lapses, with the same ids (RFC 3903 knows no better): the newest is what a watcher sees."""
    w = world(users=40, cas=2)
    board = Board(w)
    for milliseconds in (30, 60, 100, 150, 250, 400, 700):
        mark = w.mark() if w.worker.process else 0
        board.start()
        try:
            w.wait_said(" start ", since=mark)
            w.worker.process.wait(milliseconds / 1000)
        except AssertionError:
            pass  # it still runs, as it should
        w.worker.kill()
    board.start()
    w.wait_followed()

    def wrong():
        stands = w.presence.states(w.aors)
        newest = {aor: one[-1] if isinstance(one, list) else one for aor, one in stands.items()}
        return {aor: (newest[aor], "not", one) for aor, one in w.expected().items()
                if newest[aor] != one}

    wait_until(lambda: not wrong(), 8, lambda: f"right: {wrong()}\n{w.log()}")
    # the next change goes to the one that the worker knows
    w.meet(w.aors[0], "-60", "+3600")
    wait_until(lambda: w.expected()[w.aors[0]] == "busy" and not wrong(), 8,
               lambda: f"right: {wrong()}\n{w.log()}")
    board.close()


def test_other_settings_after_the_restart(world):
    """Gateways in another order and a user less: names count, and nothing is left behind."""
    w = world(users=6, cas=2)
    board = Board(w)
    board.start()
    w.wait_followed()
    w.wait_right()
    homes, gone = w.homes(), w.aors[2]
    w.worker.kill()
    w.settings["gateway"] = list(reversed(w.settings["gateway"]))
    w.settings["user"] = [aor for aor in w.aors if aor != gone]
    w.worker.write(w.settings)
    board.start()
    wait_until(lambda: w.presence.of(gone)[-1].op == "remove", 5, lambda: f"withdrawn\n{w.log()}")
    w.wait_right()
    wait_until(lambda: {aor: cas for aor, cas in w.homes().items() if aor != gone} ==
               {aor: cas for aor, cas in homes.items() if aor != gone}, 15, lambda: w.log())
    assert len(w.presence.standing) == 5
    board.close()
