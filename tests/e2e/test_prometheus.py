# SPDX-License-Identifier: GPL-2.0-or-later
"""What a real Prometheus gets from the module, and what plugin/monitoring makes of it."""

import json
import re
import subprocess
import urllib.parse
import urllib.request

import pytest

from harness import Process, free_port, wait_until
from harness.process import ROOT, TESTS
from harness.proxy import Proxy

USERS = 6
MONITORING = ROOT / "plugin" / "monitoring"
NAME = "kamailio_pua_exchange_"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, sim):
    with Proxy(tmp_path_factory.mktemp("proxy"), {
            **sim.settings(), "user": [f"user{i}@example.test" for i in range(1, USERS + 1)]},
            processes=2) as one:
        one.wait_followed(USERS)
        yield one


class Prometheus:
    """Scrapes the proxy each second, with our rules."""

    def __init__(self, folder, proxy):
        self.port = free_port()
        config = folder / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(MONITORING / "alerts.yml")],
            "scrape_configs": [{"job_name": "kamailio", "metrics_path": "/metrics",
                                "static_configs": [{"targets": [f"127.0.0.1:{proxy.port}"]}]}]}))
        self.process = Process(["prometheus", f"--config.file={config}",
                                f"--storage.tsdb.path={folder / 'data'}",
                                f"--web.listen-address=127.0.0.1:{self.port}"], folder, "prometheus")

    def ask(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?" + urllib.parse.urlencode(query)
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{path} {query}: {e.read().decode(errors='replace')}")

    def value(self, expression):
        """Of the one series that it yields; None: there is none."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if len(result) == 1 else None

    def scraped(self):
        try:
            return self.value(NAME + "worker_up") == 1
        except (OSError, AssertionError):  # it isn't ready yet
            return False

    def alerts(self):
        return {one["labels"]["alertname"]: one["state"] for one in self.ask("alerts")["alerts"]}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, proxy):
    one = Prometheus(tmp_path_factory.mktemp("prometheus"), proxy)
    wait_until(one.scraped, 20, one.process.tail)
    yield one
    one.process.stop()


def test_statistics_arrive(prometheus, proxy):
    stats = proxy.stats()
    numbers = {name for name, value in stats.items() if isinstance(value, int)}
    assert {"users", "login_held", "presence_up", "worker_restarts"} <= numbers
    for name in numbers:
        assert prometheus.value(NAME + name) is not None, name
    for name, value in {"users": USERS, "followed": USERS, "gateways_up": 2, "login_held": 0,
                        "presence_up": 1}.items():
        assert prometheus.value(NAME + name) == value, name


def test_dashboard(prometheus, proxy):
    """Every expression of the dashboard is understood, and yields something."""
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    known = {NAME + name for name in proxy.stats()}
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 15
    # rates want two samples
    wait_until(lambda: prometheus.value(f"count_over_time({NAME}worker_up[30s])") >= 3, 10,
               prometheus.process.tail)
    for one in expressions:
        assert set(re.findall(NAME + r"\w+", one)) <= known, one
        one = one.replace("$instance", ".*").replace("$__rate_interval", "30s")
        assert prometheus.value(one) is not None, one
    where = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [(x, y) for at in where for x in range(at["x"], at["x"] + at["w"])
             for y in range(at["y"], at["y"] + at["h"])]
    assert len(set(cells)) == len(cells) and max(x for x, _ in cells) < 24


def test_alerts(prometheus, proxy, sim):
    wait_until(lambda: prometheus.alerts() == {}, 10, prometheus.alerts)  # before it had scraped
    names = {rule["name"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]}
    assert len(names) == 11
    sim.fail("cas2", "refuse")
    try:
        wait_until(lambda: prometheus.alerts().get("PuaExchangeGatewayDown") == "pending", 20,
                   prometheus.alerts)
    finally:
        sim.heal("cas2")
    wait_until(lambda: prometheus.alerts() == {}, 60, prometheus.alerts)


# What befalls a proxy for so many minutes, and which alert it is worth.
BAD = {
    "worker_up 0": ("worker_up", "0x180", ["PuaExchangeWorkerSilent"]),
    "restarts": ("worker_restarts", "1+1x180", ["PuaExchangeWorkerRestarts"]),
    "held": ("login_held", "1x180", ["PuaExchangeLoginHeld"]),
    "one down": ("gateways_down", "1x180", ["PuaExchangeGatewayDown"]),
    "presence": ("presence_up", "0x180", ["PuaExchangePresenceServerDown"]),
    "unconfirmed": ("confirmed", "900x180", ["PuaExchangeUnconfirmed"]),
    "not followed": ("followed", "900x180", ["PuaExchangeNotFollowed"]),
    "nobody is followed by setting": ("followed", "0x180", []),
    "parked": ("parked", "3x180", ["PuaExchangeUsersInTrouble"]),
    "refused": ("refused", "1x180", ["PuaExchangeUsersRefused"]),
}


def promtool(folder, text):
    (folder / "alerts.yml").write_text((MONITORING / "alerts.yml").read_text())
    (folder / "test.yml").write_text(text)
    done = subprocess.run(["promtool", "test", "rules", "test.yml"], cwd=folder, capture_output=True,
                          text=True)
    return done.returncode, done.stdout + done.stderr


def test_rules_are_silent_when_all_is_well(folder):
    status, said = promtool(folder, (TESTS / "e2e" / "alerts.yml").read_text())
    assert status == 0, said


@pytest.mark.parametrize("case", BAD)
def test_rules(folder, case):
    """One metric goes wrong: promtool finds that alert and no other."""
    metric, values, wanted = BAD[case]
    well = (TESTS / "e2e" / "alerts.yml").read_text()
    text, n = re.subn(rf"({NAME}{metric}\{{instance=\"p\"\}}', values: ')[^']*", rf"\g<1>{values}", well)
    assert n == 1
    status, said = promtool(folder, text)
    fired = set(re.findall(r"alertname:\s*(\w+)", said)) if status else set()
    assert fired == set(wanted), said
