#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""DavMail in its Exchange WebDAV mode against exchange-sim's OWA front end: a calendar is read over CalDAV.

DavMail (Debian's davmail-server) is a gateway of its own making, which has spoken with real servers of 2003 and 2007
for many years: it logs in, finds the calendar by PROPFIND, asks by SEARCH, and gets the appointments. Each test starts
it anew, with a trust store of its own, and ends it.
"""

import base64
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("PX_BUILD", "build")

from harness.exchange import ExchangeSim  # noqa: E402
from harness.process import Process, free_port, wait_until  # noqa: E402

JAR = Path("/usr/share/davmail/davmail.jar")
CALDAV = "{urn:ietf:params:xml:ns:caldav}"
CALENDAR = "/users/svc-presence@example.test/calendar/"
PROPERTIES = """davmail.server=true
davmail.mode=WebDav
davmail.url={url}exchange/
davmail.caldavPort={port}
davmail.imapPort=
davmail.popPort=
davmail.smtpPort=
davmail.ldapPort=
davmail.allowRemote=false
davmail.bindAddress=127.0.0.1
davmail.disableUpdateCheck=true
davmail.caldavPastDelay=0
davmail.timezoneId=1
davmail.logFilePath={folder}/davmail.log
log4j.logger.davmail=DEBUG
log4j.logger.httpclient.wire=INFO
log4j.rootLogger=INFO
"""
REPORT = """<?xml version="1.0" encoding="utf-8"?><C:calendar-query xmlns:D="DAV:"
 xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/><C:calendar-data/></D:prop><C:filter>
<C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"/></C:comp-filter></C:filter></C:calendar-query>"""
PROPFIND = """<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop><D:getetag/>
<D:displayname/><D:resourcetype/></D:prop></D:propfind>"""


class DavMail:
    def __init__(self, sim, folder):
        self.sim = sim
        self.port = free_port()
        store = folder / "trust.p12"
        subprocess.run(["keytool", "-importcert", "-noprompt", "-alias", "sim", "-file", sim.ca_file, "-keystore",
                        store, "-storetype", "PKCS12", "-storepass", "changeit"], check=True, capture_output=True)
        (folder / "davmail.properties").write_text(
            PROPERTIES.format(url=sim.owa["url"], port=self.port, folder=folder))
        self.process = Process(
            ["java", "-Xmx256m", f"-Duser.home={folder}", f"-Djavax.net.ssl.trustStore={store}",
             "-Djavax.net.ssl.trustStorePassword=changeit", "-jar", JAR, "-server", folder / "davmail.properties"],
            folder, name="java")
        wait_until(self._listens, 60, lambda: f"DavMail listening\n{self.process.tail()}")

    def _listens(self):
        assert self.process.running(), self.process.tail()
        try:
            self("OPTIONS", "/")
            return True
        except OSError:
            time.sleep(0.2)
            return False

    def __call__(self, method, path, body=None, depth="1", password=None):
        """The status and the body of its answer."""
        pair = f"{self.sim.account}:{password or self.sim.password}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {
            "Authorization": "Basic " + base64.b64encode(pair.encode()).decode(), "Depth": depth,
            "Content-Type": "text/xml; charset=utf-8"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def events(self):
        """{summary: iCalendar text} of the calendar"""
        status, text = self("REPORT", CALENDAR, REPORT)
        assert status == 207, (status, text[:500], self.process.tail())
        found = [e.text for e in ET.fromstring(text).iter(CALDAV + "calendar-data")]
        return {re.search(r"SUMMARY:(.*)", one).group(1).strip(): one for one in found}

    def stop(self):
        self.process.send(15)
        self.process.wait(20)


def logs_in_and_finds_the_calendar(sim, davmail):
    status, text = davmail("PROPFIND", "/principals/users/svc-presence@example.test/", PROPFIND, depth="0")
    assert status == 207, (status, text[:300], davmail.process.tail())
    status, text = davmail("PROPFIND", CALENDAR, PROPFIND, depth="0")
    assert status == 207, (status, text[:300], davmail.process.tail())
    assert b"calendar" in text
    assert sim.counters()["requests"]["PROPFIND"] > 0


def reads_the_appointments(sim, davmail):
    sim.add_meeting("svc-presence@example.test", "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z", subject="Review")
    sim.add_meeting("svc-presence@example.test", "2026-11-24T09:00:00Z", "2026-11-24T09:15:00Z", subject="Stand-up",
                    recurrence={"type": "daily", "count": 5})
    sim.add_meeting("svc-presence@example.test", "2026-11-25T09:00:00Z", "2026-11-25T10:00:00Z", "free",
                    subject="Lunch")
    events = davmail.events()
    assert sorted(events) == ["Lunch", "Review", "Stand-up"], events
    assert re.search(r"DTSTART.*:20261123T090000Z", events["Review"]), events["Review"]
    assert "RRULE:" in events["Stand-up"] and "COUNT=5" in events["Stand-up"], events["Stand-up"]
    assert "TRANSP:TRANSPARENT" in events["Lunch"], events["Lunch"]
    assert sim.counters()["requests"]["SEARCH"] > 0


def sees_what_changes(sim, davmail):
    first = sim.add_meeting("svc-presence@example.test", "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z", subject="One")
    assert sorted(davmail.events()) == ["One"]
    sim.change_meeting(first, start="2026-11-23T11:00:00Z", end="2026-11-23T12:00:00Z")
    sim.add_meeting("svc-presence@example.test", "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z", subject="Two")
    events = davmail.events()
    assert sorted(events) == ["One", "Two"]
    assert re.search(r"DTSTART.*:20261123T110000Z", events["One"])
    sim.delete_meeting(first)
    assert sorted(davmail.events()) == ["Two"]


def is_refused_with_a_wrong_password(sim, davmail):
    status, _ = davmail("PROPFIND", CALENDAR, PROPFIND, depth="0", password="wrong")
    assert status in (401, 403, 503), status
    assert sim.counters()["failed_logins"] > 0


# By the logon form alone: DavMail 6.0.1 ends in a NullPointerException after a login with Basic in this mode, since
# only its form login keeps the address to go on from.
TESTS = [
    ("2003", logs_in_and_finds_the_calendar, ("--webdav", 2003)),
    ("2003", reads_the_appointments, ("--webdav", 2003)),
    ("2003, in German", reads_the_appointments, ("--webdav", 2003, "--folders", "de")),
    ("2007, in Japanese", reads_the_appointments, ("--webdav", 2007, "--folders", "ja")),
    ("2003", sees_what_changes, ("--webdav", 2003)),
    ("2003", is_refused_with_a_wrong_password, ("--webdav", 2003)),
]


def missing():
    """What keeps it from running, or None."""
    if not JAR.exists():
        return "DavMail is missing (Debian: apt-get install --no-install-recommends davmail-server); make deps doesn't"
    for program in ("java", "keytool"):
        if not shutil.which(program):
            return f"{program} is missing: install a Java runtime (Debian: default-jre-headless)"
    return None


def run(name, test, options):
    folder = Path(tempfile.mkdtemp(prefix="exchange-sim-davmail-"))
    begun = time.monotonic()
    trouble = None
    try:
        with ExchangeSim(folder, "--cas", 0, "--users", 3, "--calendars", "empty", "--forms", *options) as sim:
            davmail = DavMail(sim, folder)
            try:
                test(sim, davmail)
            finally:
                davmail.stop()
    except Exception:  # pylint: disable=broad-except
        trouble = traceback.format_exc()
    finally:
        if not trouble:
            shutil.rmtree(folder, ignore_errors=True)
    title = f"DavMail, {name}: {test.__name__.replace('_', ' ')}"
    print(f"{'FAIL' if trouble else 'ok  '} {title} ({time.monotonic() - begun:.1f} s)", flush=True)
    if trouble:
        print("".join(f"     | {line}\n" for line in f"{trouble}kept in {folder}".splitlines()), flush=True)
    return not trouble


def main():
    why = missing()
    if why:
        print(f"check-peers: {why}", file=sys.stderr)
        print("0 passed, 1 failed")
        return 1
    wanted = [t for t in TESTS if len(sys.argv) < 2 or any(a in t[1].__name__ + t[0] for a in sys.argv[1:])]
    passed = sum(run(*t) for t in wanted)
    print(f"{passed} passed, {len(wanted) - passed} failed")
    return 1 if passed < len(wanted) else 0


if __name__ == "__main__":
    sys.exit(main())
