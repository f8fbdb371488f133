# SPDX-License-Identifier: GPL-2.0-or-later
import pytest

from harness import ExchangeSim
from harness.host import Host


@pytest.fixture(scope="module")
def sim(request, tmp_path_factory):
    """A pool of Exchange servers shared by the tests of a file, which says how many USERS there are, and CAS
    if not 2."""
    with ExchangeSim(tmp_path_factory.mktemp("sim"), "--cas", getattr(request.module, "CAS", 2),
                     "--users", request.module.USERS, "--calendars", "empty") as one:
        yield one


@pytest.fixture
def new_proxy(request, folder, sim):
    """Starts a proxy with the module for the file's AORS; more settings as arguments."""
    made = []

    def make(settings=None, **kwargs):
        path = folder / f"k{len(made)}"
        path.mkdir()
        made.append(Host(path, {**sim.settings(), "user": request.module.AORS, **(settings or {})},
                         clean_s=1, processes=2, **kwargs))
        return made[-1].start()

    yield make
    for one in made:
        if one.process.running():
            one.stop()
        else:
            one.process.check()


@pytest.fixture
def script(proxy):
    """script("enable", "alice@example.test") runs it in the routing script of the file's proxy; what it answers."""
    with proxy.script() as ask:
        yield ask
