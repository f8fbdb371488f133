# SPDX-License-Identifier: GPL-2.0-or-later
"""pua_exchange_worker, with a settings file made from a dictionary."""

from pathlib import Path

from .process import BUILD, Process


class Worker:
    """settings: {"name": value}; a list is a repeated setting, underscores stay as they are. It can
    be stopped, or killed, and started again on the same file."""

    def __init__(self, folder, settings, name="worker"):
        self.folder, self.name = Path(folder), name
        self.env = {}  # on top of ours
        self.path = self.folder / f"{name}.conf"
        self.process = None
        self.write(settings)

    def write(self, settings):
        """Writes the settings file anew; a running worker reads it at its next SIGHUP or start."""
        lines = []
        for key, value in settings.items():
            for one in value if isinstance(value, (list, tuple)) else [value]:
                lines.append(f"{key} = {one}\n")
        self.path.write_text("".join(lines))
        self.path.chmod(0o600)

    def start(self, *options):
        self.process = Process([BUILD / "pua_exchange_worker", "-f", self.path, *options],
                               self.folder, self.name, env=self.env)
        return self

    def log(self):
        return self.process.output()

    def stop(self):
        """SIGTERM; it must end cleanly."""
        status = self.process.stop()
        assert status == 0, f"the worker exited with {status}\n{self.process.tail()}"

    def kill(self):
        self.process.kill()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process and self.process.running():
            self.process.stop()
