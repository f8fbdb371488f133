# SPDX-License-Identifier: GPL-2.0-or-later
import shutil
import tempfile
from pathlib import Path

import pytest

from harness.login import Kdc, lacking


@pytest.fixture
def world(new_world):
    """Makes a World with a scripted presence server."""
    return new_world


@pytest.fixture(scope="module")
def kdc():
    """A realm shared by the tests of a file."""
    if lacking():
        pytest.fail(f"not installed: {' '.join(sorted(lacking()))}; `make deps` installs them")
    folder = Path(tempfile.mkdtemp(prefix="px-kdc-"))
    folder.chmod(0o755)  # Apache reads its keytab as another user
    one = Kdc(folder)
    yield one
    one.close()
    shutil.rmtree(folder, ignore_errors=True)
