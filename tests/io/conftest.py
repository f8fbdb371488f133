# SPDX-License-Identifier: GPL-2.0-or-later
import pytest


@pytest.fixture
def world(new_world):
    """Makes a World with a scripted presence server."""
    return new_world
