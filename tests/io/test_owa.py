# SPDX-License-Identifier: GPL-2.0-or-later
"""exchange-sim's OWA front end over the wire: TLS, HTTP, and NOTIFY datagrams from elsewhere."""

import base64
import http.client
import socket
import ssl
import urllib.parse
import xml.etree.ElementTree as ET

import pytest

from harness.exchange import ExchangeSim

DAV = "{DAV:}"
SUB = "{http://schemas.microsoft.com/Exchange/}"
CALENDAR = "/exchange/user1@example.test/Calendar/"
PROPFIND = ('<?xml version="1.0"?><a:propfind xmlns:a="DAV:" xmlns:d="urn:schemas:httpmail:"><a:prop>'
            '<d:calendar/></a:prop></a:propfind>')
SEARCH = ('<?xml version="1.0"?><g:searchrequest xmlns:g="DAV:"><g:sql>SELECT "urn:schemas:calendar:dtstart" '
          'FROM Scope(\'SHALLOW TRAVERSAL OF "/exchange/user1@example.test/Calendar/"\')</g:sql></g:searchrequest>')


class Client:
    def __init__(self, sim, login=True):
        context = ssl.create_default_context(cafile=sim.ca_file)
        self.connection = http.client.HTTPSConnection("127.0.0.1", sim.owa["port"], timeout=10, context=context)
        self.headers = {}
        if login:
            pair = f"{sim.account}:{sim.password}".encode()
            self.headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()

    def __call__(self, method, path, body=None, **headers):
        """The status, the headers and the body; names of headers with _ for -."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        if body and "Content-Type" not in more:
            more["Content-Type"] = "text/xml"
        self.connection.request(method, path, body, {**self.headers, **more})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()


@pytest.fixture
def owa(tmp_path):
    with ExchangeSim(tmp_path, "--cas", 0, "--webdav", 2003, "--users", 5, "--calendars", "empty",
                     "--minute-ms", 500) as sim:
        yield sim


@pytest.fixture
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(10)
        yield s


def statuses(body):
    """{id: status} of a 207 to POLL"""
    return {int(li.text): int(r.find(DAV + "status").text.split()[1])
            for r in ET.fromstring(body) for li in r.iter("li")}


def test_a_login_is_needed(owa):
    status, headers, _ = Client(owa, login=False)("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")
    assert status == 401 and headers["WWW-Authenticate"].startswith("Basic realm=")
    assert Client(owa)("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 207
    assert Client(owa)("PROPFIND", "/elsewhere/", PROPFIND, Depth="0")[0] == 404
    assert owa.counters()["requests"]["PROPFIND"] == 1


def test_notify_comes_from_the_back_end_until_polled(owa, udp):
    client = Client(owa)
    call_back = f"httpu://127.0.0.1:{udp.getsockname()[1]}/alice"
    status, headers, _ = client("SUBSCRIBE", CALENDAR, Notification_type="update", Depth="1", Call_Back=call_back)
    number = int(headers["Subscription-id"])
    assert status == 200 and headers["Subscription-lifetime"] == "3600"
    owa.add_meeting("user1@example.test", "+60", "+120")
    for _ in range(2):  # it is said again after a minute
        datagram, (host, _) = udp.recvfrom(2000)
        assert host == "127.0.0.2"
        assert datagram == f"NOTIFY {call_back} HTTP/1.1\r\nSubscription-id: {number}\r\n\r\n".encode()
    status, headers, body = client("POLL", CALENDAR, Subscription_id=f"{number},99")
    assert status == 207 and headers["Subscription-id"] == str(number)
    assert statuses(body) == {number: 200, 99: 412}
    assert owa.request("GET", "/subscriptions")[0]["notifying"] is False

    owa.webdav(lose_notify=1)
    owa.add_meeting("user1@example.test", "+60", "+120")
    assert statuses(client("POLL", CALENDAR, Subscription_id=str(number))[2]) == {number: 200}
    owa.webdav(lose_notify=0)
    assert owa.shut_down_store() == 1
    while True:  # repetitions of before the first POLL may be on their way
        datagram = udp.recv(2000)
        if b"Subscription-id" not in datagram:
            break
    assert datagram == f"NOTIFY {call_back} HTTP/1.1\r\n\r\n".encode()
    assert statuses(client("POLL", CALENDAR, Subscription_id=str(number))[2]) == {number: 412}
    counters = owa.counters()["cas"]["owa1"]
    assert counters["requests"]["POLL"] == 3 and counters["requests"]["SUBSCRIBE"] == 1
    assert counters["notifications"] >= 3 and counters["notifications_lost"] == 1


def test_it_fails_as_a_server_does(owa):
    client = Client(owa)
    for status in (401, 403, 440, 500, 503, 507):
        owa.fail("owa1", str(status))
        assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == status
    owa.heal("owa1")
    owa.fail("owa1", "denied")
    assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 403
    owa.webdav(denied_status=401)
    assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 401
    owa.heal("owa1")
    owa.fail("owa1", "refuse")
    with pytest.raises(OSError):
        Client(owa)("OPTIONS", "/exchange/")
    owa.heal("owa1")
    assert Client(owa)("OPTIONS", "/exchange/")[0] == 200


@pytest.mark.parametrize("fault", [{"prefix": "other"}, {"prefix": "none"}, {"bom": True, "comments": True},
                                   {"cdata": True}, {"chunk": 3}])
def test_the_same_answer_written_otherwise(owa, fault):
    client = Client(owa)
    owa.add_meeting("user1@example.test", 1795392000, 1795392060)
    owa.request("POST", "/faults", {"kind": "SEARCH", **fault})
    status, _, body = client("SEARCH", CALENDAR, SEARCH, Brief="t")
    root = ET.fromstring(body)
    time = root.find(f".//{{urn:schemas:calendar:}}dtstart")
    assert status == 207 and root.tag == DAV + "multistatus"
    assert time.text == "2026-11-23T00:00:00.000Z"
    assert time.get("{urn:uuid:c2f41010-65b3-11d1-a29f-00aa00c14882/}dt") == "dateTime.tz"


def test_answers_that_break_off_or_never_end(owa):
    owa.add_meeting("user1@example.test", "+60", "+120")
    owa.request("POST", "/faults", {"kind": "SEARCH", "how": "cut", "bytes": 100})
    with pytest.raises((http.client.IncompleteRead, OSError)):
        Client(owa)("SEARCH", CALENDAR, SEARCH)
    owa.request("DELETE", "/faults")
    owa.request("POST", "/faults", {"kind": "PROPFIND", "how": "endless"})
    client = Client(owa)
    client.connection.request("PROPFIND", "/exchange/user1/", PROPFIND,
                              {**client.headers, "Content-Type": "text/xml", "Depth": "0"})
    answer = client.connection.getresponse()
    assert len(answer.read(1000000)) == 1000000
    client.connection.close()
    owa.request("DELETE", "/faults")
    owa.request("POST", "/faults", {"kind": "POLL", "how": "503", "retry_after": 9})
    status, headers, _ = Client(owa)("POLL", CALENDAR, Subscription_id="1")
    assert status == 503 and headers["Retry-After"] == "9"


FORM = "application/x-www-form-urlencoded"


def log_on(client, sim, path="/exchweb/bin/auth/owaauth.dll", password=None):
    """The answer to the form; its cookies are sent from now on."""
    body = urllib.parse.urlencode({"destination": sim.owa["url"] + "exchange/", "flags": 4,
                                   "username": sim.account, "password": password or sim.password})
    status, headers, _ = client("POST", path, body, Content_Type=FORM)
    cookies = [cookie.split(";")[0] for cookie in headers.get_all("Set-Cookie") or []]
    client.headers["Cookie"] = "; ".join(cookies)
    return status, headers


def test_forms_instead_of_basic(owa):
    client = Client(owa)
    owa.webdav(login="forms")
    assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 440  # Basic doesn't count
    status, headers, _ = client("GET", "/exchange/user1/")
    assert status == 302 and "/exchweb/bin/auth/owalogon.asp?url=" in headers["Location"]
    client.headers = {}
    status, headers = log_on(client, owa, password="wrong")
    assert status == 302 and headers["Location"].endswith("reason=2")
    status, headers = log_on(client, owa)
    assert status == 302 and headers["Location"] == owa.owa["url"] + "exchange/"
    assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 207
    assert owa.end_sessions() == 1
    assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 440
    log_on(client, owa)
    owa.fail("owa1", "refuse")
    owa.heal("owa1")
    client.connection.close()
    assert client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")[0] == 440
    owa.webdav(logon_page="missing")
    assert log_on(client, owa)[0] == 404
    counters = owa.counters()
    assert counters["requests"]["logon"] == 4 and counters["failed_logins"] == 1


def test_free_busy_for_what_looks_like_a_browser(owa):
    owa.add_meeting("user2@example.test", "2026-11-23T01:00:00Z", "2026-11-23T02:00:00Z", "oof")
    path = ("/public/?cmd=freebusy&start=2026-11-23T00:00:00Z&end=2026-11-23T04:00:00Z&interval=30"
            "&u=SMTP:user1@example.test&u=SMTP:user2@example.test")
    client = Client(owa)
    assert b"<HTML>" in client("GET", path)[2]
    status, _, body = client("GET", path, User_Agent="Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)")
    assert status == 200
    assert [e.text for e in ET.fromstring(body).iter("{WM}fbdata")] == ["00330000", "00000000", "00330000"]
    assert owa.counters()["requests"]["freebusy"] == 2


def test_a_front_end_of_2010(tmp_path):
    with ExchangeSim(tmp_path, "--cas", 1, "--webdav", 2010, "--forms", "--users", 5) as sim:
        client = Client(sim, login=False)
        status, headers, _ = client("PROPFIND", "/exchange/user1/", PROPFIND, Depth="0")
        assert status == 302 and headers["Location"].endswith("/owa/")
        assert headers["X-OWA-Version"].startswith("14.")
        status, headers, _ = client("GET", "/owa/")
        assert status == 302 and "/owa/auth/logon.aspx?url=" in headers["Location"]
        assert client("PROPFIND", "/owa/", PROPFIND, Depth="0")[0] == 440
        assert log_on(client, sim, "/owa/auth.owa")[0] == 302
        assert client("PROPFIND", "/owa/", PROPFIND, Depth="0")[0] == 501


def test_settings_that_there_are_not(owa):
    for wrong in ({"login": "ntlm"}, {"lose_notify": -1}, {"denied_status": 404}, {"max_lifetime": 0},
                  {"dav_2010": 200}, {"nothing": True}):
        with pytest.raises(AssertionError, match="400"):
            owa.webdav(**wrong)
    with pytest.raises(AssertionError, match="400"):
        owa.fail("owa1", "busy")
    with pytest.raises(AssertionError, match="400"):
        owa.request("POST", "/mailboxes", {"address": "user1@example.test", "folders": "xx"})
