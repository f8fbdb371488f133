# SPDX-License-Identifier: GPL-2.0-or-later
"""presence-watch, and the timeline of what it saw."""

import json
import threading
from pathlib import Path

from .process import BUILD, PATIENCE, Process


class Watch:
    """Watches aors at server ("sip:127.0.0.1:5060;transport=tcp"). Records are what presence-watch
    prints: {"t", "aor", "status", "until", "basic", "activities", "tuples", "persons", …}."""

    def __init__(self, folder, server, aors, *options, name="presence-watch"):
        users = Path(folder) / f"{name}.users"
        users.write_text("".join(f"{aor}\n" for aor in aors))
        self.changed = threading.Condition()
        self.timeline = {}  # AoR -> its records, oldest first
        self.problems = []  # {"t", "aor", "what"}
        self.ready = None  # {"subscribed", "refused"}
        self.end = None  # the counts of the last line
        self.process = Process(
            [BUILD / "presence-watch", "--json", "--server", server, "--users", users, *options],
            folder, name, on_line=self._line)

    def _line(self, text):
        record = json.loads(text)
        with self.changed:
            event = record.get("event")
            if event is None:
                self.timeline.setdefault(record["aor"], []).append(record)
            elif event == "problem":
                self.problems.append(record)
            elif event == "ready":
                self.ready = record
            elif event == "end":
                self.end = record
            self.changed.notify_all()

    def _wait(self, condition, timeout, what):
        timeout *= PATIENCE
        with self.changed:
            value = self.changed.wait_for(condition, timeout)
        assert value, f"not within {timeout} s: {what()}\n{self.process.tail()}"
        return value

    def wait_ready(self, timeout=10):
        """Until all initial NOTIFYs have come."""
        return self._wait(lambda: self.ready, timeout,
                          lambda: f"ready; {len(self.timeline)} heard of")

    def wait_for(self, aor, status=None, timeout=5, **fields):
        """Until the latest record of aor has this status and these fields; returns it."""
        if status is not None:
            fields["status"] = status

        def there():
            record = self.state(aor)
            return record if record and fields.items() <= record.items() else None

        return self._wait(there, timeout, lambda: f"{aor} {fields}, is {self.state(aor)}")

    def wait_gone(self, aor, timeout=5):
        """Until nothing of aor is shown any more: its document is closed. OpenSIPS says it twice, the
        second time without any document, and the first may be over before we look."""
        self._wait(lambda: (self.state(aor) or {}).get("status") in ("offline", "unknown"), timeout,
                   lambda: f"{aor} gone, is {self.state(aor)}")

    def wait_all(self, statuses, timeout=30):
        """Until everybody in statuses {AoR: status} has theirs."""
        def right():  # up to the first who isn't: it is asked at every record
            return all((self.state(aor) or {}).get("status") == status
                       for aor, status in statuses.items())

        def wrong():
            return {aor: now for aor, status in statuses.items()
                    if (now := (self.state(aor) or {}).get("status")) != status}

        def few():
            left = wrong()
            return f"{len(left)} are wrong, such as {dict(list(left.items())[:5])}"

        self._wait(right, timeout, few)

    def wait_problem(self, words, timeout=5):
        """Until a problem was reported whose description contains words; returns the first."""
        return self._wait(lambda: next((p for p in self.problems if words in p["what"]), None),
                          timeout, lambda: f"a problem with {words!r} in {self.problems}")

    def state(self, aor, at=None):
        """The last record of aor, or the last one at time at (epoch seconds); None before any."""
        records = self.timeline.get(aor, [])
        if at is None:
            return records[-1] if records else None
        return next((r for r in reversed(records) if r["t"] <= at), None)

    def stop(self):
        """Ends it, which must go well; returns its counts."""
        status = self.process.stop()
        assert status == 0, f"presence-watch exited with {status}\n{self.process.tail()}"
        assert self.end is not None, "presence-watch left no counts"
        return self.end

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.running():
            self.process.stop()


