# SPDX-License-Identifier: GPL-2.0-or-later
"""make install and uninstall, into a place of its own."""

import os
import subprocess

import pytest

from harness.process import ROOT

# make compiles what isn't built yet, and asks OpenSIPS' own makefiles: beside other tests that takes its time
pytestmark = pytest.mark.limit(200)


def make(target, destdir, *options):
    env = {name: value for name, value in os.environ.items() if name != "OPENSIPS_SRC"}
    done = subprocess.run(["make", "-C", str(ROOT), target, f"DESTDIR={destdir}", *options],
                          capture_output=True, text=True, env=env, timeout=90)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not (ROOT / "build" / "pua_exchange_worker").exists(),
                    reason="build/pua_exchange_worker isn't built; run make all")
def test_install_and_uninstall(folder):
    make("install", folder)
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    modules = [path for path in found if path.endswith("/kamailio/modules/pua_exchange.so")]
    assert len(modules) == 1
    assert os.path.exists("/" + modules[0].replace("pua_exchange", "tm")), "Kamailio looks elsewhere"
    for name in ("sbin/pua_exchange_worker", "share/doc/pua_exchange/kamailio.cfg.sample",
                 "share/doc/pua_exchange/opensips.cfg.sample",
                 "share/doc/pua_exchange/README.pua_exchange", "share/doc/pua_exchange/README.md",
                 "share/pua_exchange/monitoring/alerts.yml", "share/pua_exchange/dbtext/exchange_users"):
        assert f"usr/local/{name}" in found
    # the module looks for the worker where it was put
    assert b"/usr/local/sbin/pua_exchange_worker\0" in (folder / modules[0]).read_bytes()
    assert os.access(folder / "usr/local/sbin/pua_exchange_worker", os.X_OK)
    readme = (folder / "usr/local/share/doc/pua_exchange/README.pua_exchange").read_text()
    for words in ("publish_expires (SECONDS)", "exchange_disable(aor)", "$exchange(NAME=>AOR)",
                  "pua_exchange.users", "worker_restarts", "event_route[exchange:state]"):
        assert words in readme
    assert max(map(len, readme.splitlines())) < 110
    make("uninstall", folder)
    assert [path for path in folder.rglob("*") if path.is_file()] == []


@pytest.mark.skipif("OPENSIPS_SRC" not in os.environ, reason="OPENSIPS_SRC isn't given")
@pytest.mark.parametrize("kamailio", [True, False])
def test_install_for_opensips(folder, kamailio):
    """Its module goes where its source says; where there is no Kamailio it goes alone."""
    options = [f"OPENSIPS_SRC={os.environ['OPENSIPS_SRC']}"] + ([] if kamailio else ["KAMAILIO_MODULES="])
    make("install", folder, *options)
    modules = {str(path.relative_to(folder)): path for path in folder.rglob("pua_exchange.so")}
    theirs = [name for name in modules if name.endswith("/opensips/modules/pua_exchange.so")]
    assert len(theirs) == 1 and len(modules) == 1 + kamailio
    assert b"/usr/local/sbin/pua_exchange_worker\0" in modules[theirs[0]].read_bytes()
    assert (folder / "usr/local/share/doc/pua_exchange/README.pua_exchange.opensips").exists()
    make("uninstall", folder, *options)
    assert [path for path in folder.rglob("*") if path.is_file()] == []
