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


def test_files_that_were_spoiled_before_the_restart(world, folder):
    """Nobody meant anything by a crash: a users_file that was emptied, cut short, taken away or spoiled
    since takes nobody away, over several restarts; what it does say counts."""
    file = folder / "users"
    w = world(users=14, cas=2, users_file=file)
    w.settings["user"] = w.aors[12:]
    w.worker.write(w.settings)

    def write(aors, more=""):
        file.write_text(more + "".join(f"{aor}\n" for aor in aors))

    write(w.aors[:12])
    board = Board(w)
    board.start()
    w.wait_followed(w.aors)
    w.wait_right(w.aors)
    homes = w.homes()
    for spoil, words in ((lambda: write([]), "users_file: 12 of its 12 users would go"),
                         (lambda: write(w.aors[:2]), "users_file: 10 of its 12 users would go"),
                         (lambda: write(w.aors[:2], "nobody\n"), "nobody is not an AoR"),
                         (lambda: write(w.aors[1:12], f"{w.aors[0]},,maybe\n"), "users_file: line 1"),
                         (file.unlink, "users_file")):
        spoil()
        w.worker.kill()
        # what changes meanwhile is shown afterwards
        mark, before = w.mark(), len(w.presence.publishes)
        w.meet(w.aors[len(w.presence.publishes) % 12], "-60", "+3600")
        board.start()
        assert "users=14 " in w.wait_said(" start ", since=mark)[0] and w.said(words, mark), w.log()
        w.wait_followed(w.aors)
        w.wait_right(w.aors)
        assert w.homes() == homes
        assert all(one.op not in ("initial", "remove") for one in w.presence.publishes[before:])
        assert len(w.presence.standing) == 14
    # fewer than ten is believed, as is another mailbox: what was subscribed to isn't it any more
    write(w.aors[1:10] + [f"{w.aors[10]},{w.aors[0]}"])
    mark = w.mark()
    w.worker.kill()
    board.start()
    assert "users=12 " in w.wait_said(" start ", since=mark)[0], w.log()
    wait_until(lambda: len(w.presence.standing) == 12, 5, lambda: f"two are withdrawn\n{w.log()}")
    w.wait_followed(w.aors[:10] + w.aors[12:])
    w.meet(w.aors[0], "-60", "+3600", "oof")
    wait_until(lambda: w.presence.states([w.aors[10]])[w.aors[10]] == "away", 8,
               lambda: f"another mailbox's\n{w.log()}")
    board.close()
