# SPDX-License-Identifier: GPL-2.0-or-later
"""Exchange 2007 over WebDAV, the worker and a real Kamailio, seen by a watcher."""

from harness import Kamailio, Watch
from harness.process import free_port


def test_a_change_is_seen(new_world, folder):
    path = folder / "k"
    path.mkdir()
    with Kamailio(path, clean_s=1, processes=1) as server:
        w = new_world(uri=f"sip:127.0.0.1:{server.port};transport=tcp", users=6, cas=0,
                      sim=("--webdav", "2007", "--forms", "--folders", "mixed"),
                      listen_udp=f"127.0.0.1:{free_port()}")
        aor = w.aors[0]
        with Watch(folder, server.tcp, w.aors) as watch:
            watch.wait_ready()
            w.start()
            watch.wait_for(aor, "available", timeout=8)
            meeting = w.meet(aor, "-60", "+3600")
            watch.wait_for(aor, "busy", timeout=6)
            w.sim.change_meeting(meeting, status="oof")
            watch.wait_for(aor, "away", timeout=6)
            w.sim.delete_meeting(meeting)
            watch.wait_for(aor, "available", timeout=6)
            assert watch.stop()["problems"] == 0
