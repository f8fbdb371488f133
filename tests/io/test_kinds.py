# SPDX-License-Identifier: GPL-2.0-or-later
"""How changes are learned: streaming, push, pull, none; at servers of all versions."""

import time
import urllib.error
import urllib.request

import pytest

from harness import free_port, wait_until
from harness.world import Board


def kinds(world):
    """mailbox -> the kinds of its subscriptions at the servers."""
    its = {}
    for one in world.sim.request("GET", "/subscriptions"):
        its.setdefault(one["mailbox"], []).append(one["kind"])
    return its


def listening():
    port = free_port()
    return {"listen_http": f"127.0.0.1:{port}"}


def begin(w, state="followed"):
    w.worker.start()
    wait_until(lambda: all(w.said(f"user={aor} watch") and
                           f"->{state} " in w.said(f"user={aor} watch")[-1]
                           for aor in w.aors), 15, lambda: f"{state}\n{w.log()}")
    w.wait_right()
    return w


def call(w, path, body=b"<x/>", method="POST"):
    url = f"http://{w.settings['listen_http']}{path}"
    request = urllib.request.Request(url, body if method == "POST" else None, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, ""


def test_push_tells_changes_at_once(world):
    w = begin(world(users=6, cas=2, subscription="push", **listening()))
    assert kinds(w) == {aor: ["push"] for aor in w.aors}
    assert w.said("push: calls arrive at")
    w.meet(w.aors[0], "-60", "+3600")
    w.wait_right(timeout=2.5)
    assert w.sim.counters()["requests"].get("GetStreamingEvents", 0) == 0


def test_an_old_server_without_a_listener_is_polled(world):
    w = begin(world(users=4, cas=1, sim=("--version", "Exchange2007_SP1")))
    assert w.said('server="Exchange 8.3.83" version=Exchange2007_SP1 subscription=pull')
    assert kinds(w) == {aor: ["pull"] for aor in w.aors}
    w.meet(w.aors[1], "-60", "+3600", "oof")
    w.wait_right(timeout=20)


def test_an_old_server_is_polled_though_streaming_is_set(world):
    w = begin(world(users=2, cas=1, sim=("--version", "Exchange2007_SP1"), subscription="streaming"))
    assert w.said("version=Exchange2007_SP1 subscription=pull: that is the next best")
    assert kinds(w) == {aor: ["pull"] for aor in w.aors}


def test_forged_calls_are_counted_and_do_nothing(world):
    w = begin(world(users=2, cas=1, subscription="push", **listening()))
    url = w.sim.request("GET", "/subscriptions")[0]["url"]
    prefix = url.split(w.settings["listen_http"])[1][:-8]
    assert prefix not in w.worker.log()
    time.sleep(1)  # the reads that follow a subscription are done
    reads = w.sim.counters()["requests"]["GetUserAvailability"]
    assert call(w, "/")[0] == 404
    assert call(w, f"/{'0' * 32}/00000000")[0] == 404
    assert call(w, prefix + "0000000g")[0] == 404
    assert call(w, prefix + "00000000", method="GET")[0] == 405
    assert call(w, prefix + "00000000")[0] == 400
    stranger = """<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
      <m:SendNotification xmlns:m="http://schemas.microsoft.com/exchange/services/2006/messages"
      xmlns:t="http://schemas.microsoft.com/exchange/services/2006/types"><m:ResponseMessages>
      <m:SendNotificationResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>
      <m:Notification><t:SubscriptionId>nobodys</t:SubscriptionId><t:CreatedEvent/></m:Notification>
      </m:SendNotificationResponseMessage></m:ResponseMessages></m:SendNotification></s:Body></s:Envelope>"""
    status, said = call(w, prefix + "00000000", stranger.encode())
    assert status == 200 and "<SubscriptionStatus>Unsubscribe<" in said
    time.sleep(1)
    assert w.sim.counters()["requests"]["GetUserAvailability"] == reads
    assert len(kinds(w)) == 2


@pytest.mark.parametrize("kind", ["push", "pull"])
def test_taken_over(world, kind):
    """A worker that was killed leaves subscriptions behind: the next one goes on with them."""
    w = world(users=6, cas=2, subscription=kind, **listening())
    board = Board(w)
    board.start()
    wait_until(lambda: len(w.said("gathering->followed")) == 6, 15, w.log)
    w.wait_right()
    # an answer that is lost in the kill would leave a publication that nobody knows
    wait_until(lambda: len(w.said("publication initial status=200")) == 6, 5, w.log)
    before = {one["mailbox"]: one["id"] for one in w.sim.request("GET", "/subscriptions")}
    w.worker.kill()
    w.meet(w.aors[0], "-60", "+3600")
    mark = w.mark()
    board.start()
    wait_until(lambda: len(w.said("gathering->followed", mark)) == 6, 15, w.log)
    w.wait_right()
    w.meet(w.aors[1], "-60", "+3600")
    w.wait_right(timeout=2.5 if kind == "push" else 20)
    after = {one["mailbox"]: one["id"] for one in w.sim.request("GET", "/subscriptions")}
    assert after == before and w.sim.counters()["requests"]["Subscribe"] == 6
    board.close()
