"""A trial network on this machine, and its node as a program of its own."""

import os
import signal
import subprocess

from support.commands import command, environment
from tallystick.cli import main

NAMES = ("east", "north", "south")
SEALER = "north"


class Node:
    """The node of a trial network's sealer; started, stopped and started again."""

    def __init__(self, folder, names=NAMES, seed=0):
        self.network, self.home = folder / "net", folder / "home"
        self.process = None
        self.url = ""
        trial = ("--trial", ",".join(names), "--seed", str(seed), "--sealer", SEALER)
        assert main(["network", "init", str(self.network), *trial]) == 0
        arguments = ("--genesis", str(self.network), "--key", str(self.key(SEALER)))
        assert main(["node", "init", str(self.home), *arguments]) == 0

    def key(self, name):
        """The key folder of a member."""
        return self.network / name

    def start(self, *options):
        """Start it on a free port; return once it serves."""
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command("node", "start", self.home, "--port", "0", *options),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(),
            )
        line = self.process.stdout.readline()
        assert line.startswith("serving net at http://127.0.0.1:"), (line, self.log)
        self.url = line.split()[-1]
        return self

    def end(self, *signals):
        """Send signals, a graceful one by default; return the exit status."""
        for number in signals or (signal.SIGTERM,):
            os.kill(self.process.pid, number)
        status = self.process.wait(timeout=20)
        self.process.stdout.close()
        self.process = None
        return status

    def close(self):
        """End it, whatever a test left behind."""
        if self.process is not None:
            self.end(signal.SIGKILL)

    @property
    def log(self):
        """What it wrote to standard error."""
        return (self.home / "log").read_text(encoding="utf-8")
