"""A consortium on this machine: a trial network under CometBFT, a node for each organisation.

Each node is three processes, as it is elsewhere: what keeps the others alive, the application, and
CometBFT. For measurements, tests and trying things out.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
from msgspec import structs

from tallystick.consensus.solo import Solo
from tallystick.errors import UnavailableError
from tallystick.federation.acting import Acting
from tallystick.federation.card import make_card, save_card
from tallystick.federation.founding import trial_keyring, trial_network
from tallystick.federation.key_file import save_keyring
from tallystick.federation.network_folder import (
    GENESIS,
    SETTINGS,
    plan_settings,
    read_genesis,
    write_network,
)
from tallystick.federation.proposing import propose
from tallystick.federation.settings import P2P_OFFSET
from tallystick.lab.pilot import COMMAND
from tallystick.node.engine import APPLICATION, COMETBFT
from tallystick.node.home import init_home
from tallystick.node.parent import PIPE
from tallystick.node.processes import process_states
from tallystick.storage.files import write_new
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    import numpy as np

    from tallystick.consensus.engine import Engine
    from tallystick.federation.task_file import Task
    from tallystick.ledger.genesis import Genesis

__all__ = ["Consortium", "free_ports"]

START = (*COMMAND, "node", "start")
FIRST_PORT, LAST_PORT = 20_000, 30_000
START_SECONDS, LOOK_SECONDS = 90.0, 0.2
GRACE_SECONDS = 40.0


class Consortium:
    """A trial network in a folder, and its nodes while the context lasts.

    Parameters
    ----------
    names
        The founding members that have a node.
    seed
        Drives every key: worthless beyond this machine.
    guests
        Founding members without one: they order nothing, and speak to others' nodes in turn.
    settings
        Keys of ``node.toml`` that are other than the defaults, on every node.

    Attributes
    ----------
    names, guests
        The same; `add` adds a name.
    programs
        What starts a member's node instead of ``tally node start``; the node's folder is added.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        seed: int = 0,
        guests: Sequence[str] = (),
        **settings: Any,  # noqa: ANN401
    ) -> None:
        """Found the network unless the folder has it."""
        self.folder = folder
        self.names = list(names)
        self.guests = list(guests)
        self._seed, self._settings = seed, settings
        self._network = folder / "network"
        if not (self._network / GENESIS).exists():
            made = trial_network((*names, *guests), seed, engine="cometbft")
            genesis = _without_votes(made.genesis, guests)
            for name in names:  # of an attempt that was cut short
                (self.home(name) / SETTINGS).unlink(missing_ok=True)
            base = free_ports(len(names))
            planned = {
                name: replace(each, **settings)
                for name, each in plan_settings(names, {}, base, genesis).items()
            }
            write_network(self._network, genesis, planned, made.keyrings)
        for name in names:
            if not (self.node(name) / GENESIS).exists():
                init_home(self.node(name), self._network, self.home(name))
        self.genesis = read_genesis(self._network)
        self.programs: dict[str, Sequence[str]] = {}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._urls: dict[str, str] = {}
        self._pipe: tuple[int, int] | None = None  # which no node outlives

    def __enter__(self) -> Self:
        """Start every node; return once all of them have the first block."""
        try:
            for name in self.names:
                self._spawn(name)
            for name in self.names:
                self._listen(name)
            self.wait_for_height(1)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every node."""
        self._end()

    def home(self, name: str) -> Path:
        """Return a member's folder: its keys, and what it keeps of its tasks."""
        return self._network / name

    def node(self, name: str) -> Path:
        """Return the folder of a member's node."""
        return self.folder / "nodes" / name

    def url(self, name: str) -> str:
        """Return where a member's node answers, or the one that a guest speaks to."""
        if name in self.guests:
            return self._urls[self.names[self.guests.index(name) % len(self.names)]]
        return self._urls[name]

    def pids(self, name: str) -> dict[str, int]:
        """Return the processes of a node that runs: ``node``, ``application`` and ``cometbft``."""
        found = process_states(self.node(name))
        process = self._processes.get(name)
        pids = {each: found[each].pid for each in (APPLICATION, COMETBFT) if each in found}
        return {"node": 0 if process is None else process.pid, **pids}

    def add(self, name: str) -> Path:
        """Make a newcomer's folder and its node, which knows those that run; return its card.

        It is a member once the others have admitted it, and its node runs once it is started.
        """
        keyring = trial_keyring(self._seed, name)
        save_keyring(self.home(name), keyring)
        card = self.home(name) / f"{name}.card"
        save_card(card, make_card(keyring))
        settings = plan_settings((name,), {}, free_ports(1))[name]
        settings = replace(settings, p2p_port=settings.port + P2P_OFFSET, **self._settings)
        write_new(self.home(name) / SETTINGS, settings.to_toml().encode())
        urls = [self.url(each) for each in self.names]
        init_home(self.node(name), self._network, self.home(name), urls)
        self.names.append(name)
        return card

    def start(self, name: str, *, wait: bool = True) -> None:
        """Start a node.

        Parameters
        ----------
        wait
            Until it answers; if not, `url` knows its address only if it ran before.

        Raises
        ------
        UnavailableError
            It ended instead of serving.
        """
        self._spawn(name)
        if wait:
            self._listen(name)

    def _end(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for name in list(self._processes):
            self.stop(name)
        if self._pipe is not None:
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def _spawn(self, name: str) -> None:
        folder = self.node(name)
        self._pipe = self._pipe or os.pipe()
        reader, _ = self._pipe
        with (folder / "log").open("a", encoding="utf-8") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603 - our own program
                (*self.programs.get(name, START), str(folder)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, PIPE: str(reader)},
                pass_fds=(reader,),
            )

    def _listen(self, name: str) -> None:
        """Wait until a node says where it answers."""
        output = self._processes[name].stdout
        there = output is not None and select.select([output], [], [], START_SECONDS)[0]
        said = output.readline() if output is not None and there else ""
        if not said.startswith("serving "):
            self.stop(name)
            msg = f"the node of '{name}' does not start: see {self.node(name) / 'log'}"
            raise UnavailableError(msg)
        self._urls[name] = said.split()[-1]

    def stop(self, name: str, *, kill: bool = False) -> None:
        """End a node; with ``kill`` its supervising process without a warning."""
        process = self._processes.pop(name, None)
        if process is None:
            return
        if kill:
            process.kill()
        else:
            process.terminate()
        process.wait(GRACE_SECONDS)
        if process.stdout is not None:
            process.stdout.close()

    def status(self, name: str) -> dict[str, Any]:
        """Return what a node says of itself.

        Raises
        ------
        UnavailableError
            It does not answer.
        """
        try:
            answer = httpx.get(f"{self.url(name)}/v1/status", timeout=5, trust_env=False)
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            msg = f"the node of '{name}' does not answer: {error}"
            raise UnavailableError(msg) from error
        return found

    def wait_for_height(
        self, height: int, names: Sequence[str] | None = None, seconds: float = START_SECONDS
    ) -> None:
        """Return once nodes, all of them by default, are at a height.

        Raises
        ------
        UnavailableError
            One is not within the time.
        """
        deadline = time.monotonic() + seconds
        waiting = set(self.names if names is None else names)
        while waiting:
            for name in tuple(waiting):
                try:
                    if self.status(name)["height"] >= height:
                        waiting.discard(name)
                except UnavailableError:
                    pass
            if waiting and time.monotonic() > deadline:
                msg = f"no block {height} at {', '.join(sorted(waiting))} in {seconds:g} seconds"
                raise UnavailableError(msg)
            time.sleep(LOOK_SECONDS if waiting else 0)

    def propose(self, task: Task, initial: Mapping[str, np.ndarray], by: str = "") -> bytes:
        """Propose a task among all members in the name of one, the first by default."""
        name = by or self.names[0]
        with Acting.open((self.url(name),), key_folder=self.home(name)) as acting:
            return propose(acting, self.home(name), task, initial).task

    def join_command(self, name: str, task: str, *arguments: str) -> tuple[str, ...]:
        """Return the command line of a member that takes part in a task at its own node."""
        key = str(self.home(name))
        return (*COMMAND, "join", self.url(name), "--key", key, "--task", task, *arguments)

    def engine(self, name: str) -> Engine:
        """Return a node's ledger, opened for reading, as it is now."""
        return Solo(LedgerStore(self.node(name) / "ledger.db"))


def _without_votes(genesis: Genesis, guests: Sequence[str]) -> Genesis:
    """Return a genesis in which some founders have no key to order blocks with."""
    founders = tuple(
        structs.replace(each, keys=tuple(key for key in each.keys if key.role != "validator"))
        if each.id in guests
        else each
        for each in genesis.founders
    )
    return structs.replace(genesis, founders=founders)


def free_ports(count: int) -> int:
    """Return the first of so many ports that are free, as are those of their CometBFTs.

    Raises
    ------
    UnavailableError
        There are none.
    """
    places = range(FIRST_PORT, LAST_PORT, max(4, count))
    first = os.getpid() % len(places)  # or two consortia that begin at once take the same
    for base in (*places[first:], *places[:first]):
        with ExitStack() as held:
            try:
                for port in range(base, base + count):
                    for each in (port, port + P2P_OFFSET):
                        held.enter_context(socket.create_server(("127.0.0.1", each)))
            except OSError:
                continue
            return base
    msg = f"no {count} ports are free from {FIRST_PORT} on"
    raise UnavailableError(msg)
