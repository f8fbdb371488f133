# SPDX-License-Identifier: GPL-2.0-or-later
"""What every loopback test can ask for. See tests/README.md."""

import signal
import tempfile

import pytest

from harness import Kamailio, Publisher, World
from harness.folder import empty_folder

LIMIT_S = 60


def pytest_configure(config):
    config.addinivalue_line("markers", f"limit(seconds): may take longer than {LIMIT_S} s")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """A test that hangs fails by itself, and its fixtures are torn down."""
    marker = item.get_closest_marker("limit")
    seconds = marker.args[0] if marker else LIMIT_S

    def late(*_):
        pytest.fail(f"still running after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What failed shows how the logs of its programs end."""
    outcome = yield
    report = outcome.get_result()
    path = getattr(item, "funcargs", {}).get("folder")
    if not report.failed or path is None:
        return
    for log in sorted(path.rglob("*.log")):
        lines = log.read_text("utf-8", "replace").splitlines()[-30:]
        report.sections.append((f"end of {log.name}", "\n".join(lines)))


@pytest.fixture
def folder(request):
    with empty_folder(request) as path:
        yield path


@pytest.fixture
def new_world(request, folder):
    """Makes a World, its worker not started yet; all are ended after the test."""
    made = []

    def make(**kwargs):
        made.append(World(folder, **kwargs))
        return made[-1]

    yield make
    troubles = []
    for one in made:
        try:
            one.close()
        except AssertionError as e:
            request.node.ended_badly = True  # the folder, whose turn comes next, must stay
            troubles.append(e)
    if troubles:
        raise troubles[0]


@pytest.fixture(scope="module")
def kamailio():
    """A presence server shared by the tests of a file: use AoRs that no other test uses.
    With one process, as several let the NOTIFYs of quick changes overtake one another."""
    with tempfile.TemporaryDirectory(prefix="px-kam-") as path:
        with Kamailio(path, clean_s=1, processes=1) as server:
            yield server


@pytest.fixture
def publisher(kamailio):
    one = Publisher(kamailio.port)
    yield one
    one.close()
