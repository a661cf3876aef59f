"""A pilot on this machine: a trial network, its node as a process, and a folder for each member.

What a consortium spreads over several machines, for measurements, tests and trying things out.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tallystick.consensus.solo import Solo
from tallystick.errors import UnavailableError
from tallystick.federation.acting import Acting
from tallystick.federation.founding import trial_network
from tallystick.federation.network_folder import plan_settings, write_network
from tallystick.federation.proposing import propose
from tallystick.node.home import init_home
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy as np

    from tallystick.consensus.engine import Engine
    from tallystick.federation.task_file import Task

__all__ = ["COMMAND", "Pilot"]

COMMAND = (sys.executable, "-c", "import sys; from tallystick.cli import main; sys.exit(main())")
SERVING = "serving "


class Pilot:
    """A trial network in a folder, and its node while the context lasts.

    Parameters
    ----------
    seed
        Drives every key: worthless beyond this machine.
    """

    def __init__(self, folder: Path, names: Sequence[str], seed: int = 0) -> None:
        """Found the network unless the folder has it."""
        self.folder = folder
        self._network, self._node = folder / "network", folder / "node"
        network = trial_network(names, seed)
        self.genesis = network.genesis
        self.sealer = network.genesis.sealer
        if not (self._network / "genesis.bin").exists():
            write_network(
                self._network, network.genesis, plan_settings(names, {}), network.keyrings
            )
            init_home(self._node, self._network, self.home(self.sealer))
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        """Start the node."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the node."""
        self.stop()

    @property
    def url(self) -> str:
        """Where the node answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def node_pid(self) -> int:
        """The node's process."""
        return 0 if self._process is None else self._process.pid

    def home(self, name: str) -> Path:
        """Return a member's folder."""
        return self._network / name

    def start(self) -> None:
        """Start the node, on the port it had before.

        Raises
        ------
        UnavailableError
            It ended instead of serving.
        """
        command = (*COMMAND, "node", "start", str(self._node), "--port", str(self.port))
        log = (self.folder / "node.log").open("a", encoding="utf-8")
        with log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                command, stdout=subprocess.PIPE, stderr=log, text=True
            )
        said = "" if self._process.stdout is None else self._process.stdout.readline()
        if not said.startswith(SERVING):
            self.stop()
            msg = f"the node does not start: see {self.folder / 'node.log'}"
            raise UnavailableError(msg)
        self.port = int(said.strip().rpartition(":")[2])

    def stop(self, *, kill: bool = False) -> None:
        """End the node; with ``kill`` without a warning."""
        process, self._process = self._process, None
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def propose(self, task: Task, initial: Mapping[str, np.ndarray]) -> bytes:
        """Propose a task among all members in the sealer's name; return its id."""
        home = self.home(self.sealer)
        with Acting.open((self.url,), key_folder=home) as acting:
            return propose(acting, home, task, initial).task

    def engine(self) -> Engine:
        """Return the node's ledger, opened for reading, as it is now."""
        return Solo(LedgerStore(self._node / "ledger.db"))
