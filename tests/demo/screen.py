# SPDX-License-Identifier: GPL-2.0-or-later
"""How the demo is shown: a table over itself on a terminal, timed lines everywhere else."""

import os
import shutil
import sys
import time

STATUS_COLOURS = {"available": "32", "busy": "1;31", "away": "33"}
CELL = 32  # a user without the meeting's subject
CELL_MIN = 37
SUBJECT_MIN = 10
DRAW_S = 0.2


def clock(t):
    return time.strftime("%H:%M:%S", time.localtime(t))


def clock_or_day(t):
    """At most 9 wide; "" for None."""
    if t is None:
        return ""
    then = time.localtime(t)
    return time.strftime("%H:%M:%S" if then[:3] == time.localtime()[:3] else "%a %H:%M", then)


class Lines:
    """For a pipe, a file or a dumb terminal. title: the first line."""

    def __init__(self, title):
        print(title, flush=True)

    def say(self, text, at=None):
        """What happens now."""
        print(f"{clock(at or time.time())} {text}", flush=True)

    def seen(self, t, name, status, until, late):
        """A user's status changed; late: seconds after it was to, None when it wasn't."""
        until = f" until {clock_or_day(until)}" if until else ""
        late = "nobody expected it" if late is None else f"{late:.3f} s late"
        self.say(f"{name:<7} {status}{until} ({late})", t)

    def draw(self, view):
        pass

    def close(self, summary):
        for line in summary:
            print(line, flush=True)


class Table:
    """On a terminal: redrawn from its upper left corner on."""

    def __init__(self, title):
        self.title = title
        self.colour = not os.environ.get("NO_COLOR")
        self.said = []
        self.view = None
        self.drawn = 0.0
        self.changed = {}  # name -> when its status changed
        self.size = None
        self.open = True
        sys.stdout.write("\033[?25l")

    def say(self, text, at=None):
        self.said.append(f"{clock(at or time.time())} {text}")
        self.drawn = 0.0

    def seen(self, t, name, status, until, late):
        self.changed[name] = t

    def draw(self, view):
        """view(): what to show; see demo.py."""
        now = time.monotonic()
        if now - self.drawn >= DRAW_S:
            self.drawn, self.view = now, view()
            self._draw([])

    def close(self, summary):
        """The table stays with the summary below it; the cursor is back."""
        if not self.open:
            return
        self.open = False
        try:
            self._draw(summary)
        finally:
            sys.stdout.write("\033[0m\033[?25h")
            sys.stdout.flush()

    def _paint(self, text, code):
        return f"\033[{code}m{text}\033[0m" if self.colour and code else text

    def _cell(self, user, width):
        name, status, until, cas, moved, subject = user
        text = f"{name:<7.7} {status:<9.9} {clock_or_day(until):<9.9} {cas:<4.4}"
        if width >= CELL + SUBJECT_MIN:
            text = f"{text} {subject:<{width - CELL - 1}.{width - CELL - 1}}"
        text = f"{text:<{width}.{width}}"
        code = STATUS_COLOURS.get(status, "2")
        if time.time() - self.changed.get(name, 0) < 2:
            code += ";7"  # a change is marked for 2 s
        return (text[:8] + self._paint(text[8:17], code) + text[17:28] +
                self._paint(text[28:32], "36" if moved else None) + text[32:])

    def _table(self, width, rows):
        """At most so many rows."""
        users = self.view["users"]
        columns = max(1, min((width + 1) // (CELL_MIN + 1), 2))
        if -(-len(users) // columns) > rows - 1:
            columns = max(1, (width + 1) // (CELL_MIN + 1))
        cell = min((width - 2 * (columns - 1)) // columns, CELL + 30)
        height = -(-len(users) // columns)
        head = f"{'user':<7} {'status':<9} {'until':<9} {'CAS':<4}"
        if cell >= CELL + SUBJECT_MIN:
            head += " in the calendar"
        lines = [self._paint("  ".join([f"{head:<{cell}.{cell}}"] * columns).rstrip(), "4")]
        for row in range(height):
            lines.append("  ".join(self._cell(user, cell)
                                   for user in users[row::height]))
        if len(lines) > rows:
            more = len(lines) - rows + 1
            lines = lines[:rows - 1] + [f"... {more} more rows; make the terminal higher"]
        return lines

    def _draw(self, summary):
        width, height = shutil.get_terminal_size()
        width -= 1  # the last column makes some terminals wrap
        if self.view is None:
            lines = [self._paint(self.title[:width], "1")]
        else:
            lines = [self._paint(self.view["head"][:width], "1")]
            share = width // max(len(self.view["cas"]), 1) - 2
            lines.append("  ".join(self._paint(text[:share], None if up else "1;37;41")
                                   for text, up in self.view["cas"]))
            room = height - len(lines) - 2 - max(len(summary), 3)
            lines += self._table(width, max(room, 2)) + [""]
        if summary:
            lines += summary
        else:
            lines += [line[:width] for line in self.said[-max(height - len(lines) - 1, 1):]]
        out = []
        if self.size != (width, height):
            # what stood there before goes up, and isn't lost
            out.append("\n" * height if self.size is None else "\033[2J")
            self.size = width, height
        out.append("\033[H" + "".join(f"{line}\033[K\n" for line in lines) + "\033[J")
        sys.stdout.write("".join(out))
        sys.stdout.flush()


def screen(title):
    dumb = os.environ.get("TERM", "dumb") in ("", "dumb")
    return (Lines if dumb or not sys.stdout.isatty() else Table)(title)
