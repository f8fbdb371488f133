# SPDX-License-Identifier: GPL-2.0-or-later
import pytest

from harness import World


@pytest.fixture
def world(folder):
    """Makes a World, its worker not started yet; all are ended after the test."""
    made = []

    def make(**kwargs):
        made.append(World(folder, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.close()
