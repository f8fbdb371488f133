# SPDX-License-Identifier: GPL-2.0-or-later
"""Where programs leave their logs."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def empty_folder(request):
    """Has a short name; kept, and named, when a test failed in it."""
    path = Path(tempfile.mkdtemp(prefix="px-"))
    failed = request.session.testsfailed
    yield path
    if request.session.testsfailed == failed and not getattr(request.node, "ended_badly", False):
        shutil.rmtree(path, ignore_errors=True)
    else:
        print(f"what was left behind is in {path}")
