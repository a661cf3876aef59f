"""A whole federation in one process: the real ledger, rules and members, on virtual time.

A block is sealed when every member has said what it has to say about the newest state, its
transactions in canonical order; when nobody has anything to say, time jumps to the next deadline.
So a run is a function of its task, its trainers and its seed, and an interrupted run goes on from
its folder as if nothing had happened.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tallystick.consensus.solo import Solo
from tallystick.errors import ConfigError, InvariantError
from tallystick.federation.child import Children
from tallystick.federation.conduct import HONEST, Conduct
from tallystick.federation.foresight import FoldCache
from tallystick.federation.habits import Habits, Identity
from tallystick.federation.member import Member
from tallystick.federation.names import check_names
from tallystick.federation.trial import DEFAULT_LIMITS, secret_of, simulated_genesis
from tallystick.ledger.collect.rows import LIVE, NAMES, STAGES, TASKS, TaskRow
from tallystick.ledger.contracts import registry
from tallystick.ledger.genesis import Limits
from tallystick.ledger.messages import DeclareBudget, ProposeTask, RegisterDataset
from tallystick.ledger.terms import task_id
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.sqlite import MEMORY, LedgerStore
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.terms import Terms

__all__ = ["MARKER", "Federation", "Setup", "claim_folder"]

LOG = logging.getLogger(__name__)
BLOCK = 1000
FLUSHERS = 4
MOST_IDLE = 10_000
SAID_AGAIN = 2
MARKER = "run.json"  # what the run in a folder is


@dataclass(slots=True)
class Setup:
    """Who takes part in a simulation, and how.

    Attributes
    ----------
    trainers
        One per member, by name.
    conduct
        How members behave that are not honest, by name.
    durable
        Flush journals and blobs to disk, as a member on its own machine would.
    isolate, limit_seconds
        Train in child processes; how long a trainer may take, the window's length by default. No
        end (`math.inf`) spares trainers that are known to end a thread each time.
    outsiders
        Members of the ledger that are no party to the task.
    budget
        Epsilon and delta, in billionths and 10^-12, that every member's data set may spend in all;
        `None` registers no data set.
    noise_from_seed
        Draw noise for privacy from the seed: a private run, too, is then a function of it, and
        protects nobody's rows.
    limits
        The ledger's sizes.
    watch
        Called after every sealed block with the federation; for probes and progress.
    """

    trainers: Mapping[str, Trainer]
    conduct: Mapping[str, Conduct] = field(default_factory=dict[str, Conduct])
    durable: bool = True
    isolate: bool = False
    limit_seconds: float | None = None
    outsiders: tuple[str, ...] = ()
    budget: tuple[int, int] | None = None
    noise_from_seed: bool = False
    limits: Limits = DEFAULT_LIMITS
    watch: Callable[[Federation], None] | None = None


def dataset_of(seed: int, member: str) -> bytes:
    """Return the root under which a simulation registers a member's data set: made up."""
    return secret_of(seed, member, "dataset")


class Federation:
    """Members, their ledger and their blobs in one folder, or in memory.

    Parameters
    ----------
    folder
        Where everything is kept; a run it holds already goes on. `None` keeps it in memory, and
        nothing is left when the process ends: the same blocks and roots, sooner.

    Raises
    ------
    UnavailableError
        Another process runs this federation, or one of its members.
    """

    def __init__(self, folder: Path | None, setup: Setup, seed: int) -> None:
        """Found the ledger or open it, and let the members sit down."""
        names = tuple(sorted({*setup.trainers, *setup.outsiders}))
        check_names(names)
        self.folder = folder
        self.setup = setup
        self.seed = seed
        self.blobs: FileBlobs | MemoryBlobs = MemoryBlobs()
        self._folds = FoldCache()
        self._children = Children()
        self.members: dict[str, Member] = {}
        with ExitStack() as opened:
            store = LedgerStore(_ledger_in(folder))
            opened.callback(store.close)
            genesis = simulated_genesis("simulation", names, seed, setup.limits)
            self.engine = Solo(store, genesis, secret_of(seed, genesis.sealer, "validator"))
            if folder is not None:
                self.blobs = FileBlobs(folder / "blobs", durable=setup.durable, grouped=True)
                opened.callback(self.blobs.close)
            self.workbench = Workbench(self.blobs)
            self._flushers = ThreadPoolExecutor(FLUSHERS, thread_name_prefix="flush")
            opened.callback(self._flushers.shutdown)
            for name in sorted(setup.trainers):
                self.members[name] = self._member(name)
                opened.callback(self.members[name].close)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close what is open."""
        self._opened.close()

    def propose(self, terms: Terms) -> bytes:
        """Propose the task unless the ledger has it; return its id."""
        self._declare_budgets()
        task = task_id(terms)
        if self.engine.state.get(TASKS, task) is None:
            if self.engine.state.get(NAMES, terms.name) is not None:
                where = self.folder or "memory"
                msg = f"the ledger in {where} has another task named '{terms.name}'"
                raise ConfigError(msg)
            self.members[terms.owner].send(ProposeTask(terms))
            self.engine.seal(self.engine.head.time + BLOCK)
        if self.engine.state.get(TASKS, task) is None:
            msg = "the ledger refused the task"
            raise InvariantError(msg)
        return task

    def _declare_budgets(self) -> None:
        """Register every member's data set with its budget, unless the ledger has it."""
        if self.setup.budget is None:
            return
        for name, member in self.members.items():
            root = dataset_of(self.seed, name)
            if registry.dataset(self.engine.state, root) is None:
                member.send(RegisterDataset(root, 0))
                member.send(DeclareBudget(root, *self.setup.budget))
        if self.engine.pending:
            self.engine.seal(self.engine.head.time + BLOCK)

    def run(self, task: bytes) -> TaskRow:
        """Run until the task has ended; return its final row."""
        for _ in self.blocks(task):
            if self.setup.watch is not None:
                self.setup.watch(self)
        row = self.row(task)
        if row.status == "running":
            msg = "the task stands still although no window is open"
            raise InvariantError(msg)
        return row

    def blocks(self, task: bytes) -> Any:  # noqa: ANN401 - a generator of headers
        """Seal block after block until the task has ended, yielding each header."""
        idle = again = 0
        while task in (self.engine.state.get(LIVE) or ()) and idle < MOST_IDLE:
            self._step()
            self._flush()
            if self.engine.pending:
                if self.engine.seal_pending(self.engine.head.time + BLOCK):
                    idle = again = 0
                    yield self.engine.head
                    continue
                if again < SAID_AGAIN:  # before time passes, members may repeat what was refused
                    again += 1
                    continue
            again = 0
            idle += 1
            self.engine.seal(self._next_time(task))
            yield self.engine.head

    def _step(self) -> None:
        """Let members say what they have to say; virtual time stands still while any trains."""
        waiting = list(self.members.values())
        while waiting:
            for member in waiting:
                member.step(together=True)
            waiting = [member for member in waiting if member.busy]
            if waiting:
                self._children.wait()

    def _flush(self) -> None:
        """Make durable what members said; nothing leaves this process before a block is sealed."""
        if self.setup.durable and isinstance(self.blobs, FileBlobs):
            flushed = self._flushers.map(Member.flush, self.members.values())
            self.blobs.flush()
            deque(flushed, maxlen=0)  # waits, and raises what a flush raised

    def row(self, task: bytes) -> TaskRow:
        """Return the task's row."""
        row = self.engine.state.get(TASKS, task)
        if row is None:
            msg = "the ledger does not have this task"
            raise InvariantError(msg)
        return row

    def _next_time(self, task: bytes) -> int:
        """Return when the next window runs out or somebody wants to look again."""
        row, head = self.row(task), self.engine.head.time
        stages = [self.engine.state.get(STAGES, key) for key in row.open]
        times = [
            stage.ends + row.excess
            for stage in stages
            if stage is not None and stage.window != "done"
        ]
        times.extend(m.wake for m in self.members.values() if m.wake is not None)
        ahead = [time for time in times if time > head]
        return min(ahead) if ahead else head + BLOCK

    def _member(self, name: str) -> Member:
        setup = self.setup
        identity = Identity(
            member=name,
            key=0,
            secret=secret_of(self.seed, name, "owner"),
            salt_secret=secret_of(self.seed, name, "salt"),
        )
        dishonest = frozenset(setup.conduct)
        habits = Habits(
            isolate=setup.isolate,
            limit_seconds=setup.limit_seconds,
            conduct=setup.conduct.get(name, HONEST),
            cache=self._folds,
            children=self._children,
            allies=dishonest if name in dishonest else frozenset(),
            peers=self.members if name in dishonest else {},
            flush=False,
            dataset=b"" if setup.budget is None else dataset_of(self.seed, name),
            noise_secret=secret_of(self.seed, name, "noise") if setup.noise_from_seed else b"",
        )
        folder = None if self.folder is None else self.folder / "members" / name
        return Member(identity, self.engine, setup.trainers[name], self.workbench, folder, habits)


def _ledger_in(folder: Path | None) -> Path | str:
    """Return where the ledger's file is."""
    if folder is None:
        return MEMORY
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "ledger.db"


def claim_folder(folder: Path, identity: Mapping[str, Any]) -> None:
    """Mark ``folder`` as holding this run, or see that it does already.

    Raises
    ------
    ConfigError
        The folder holds something else; it is never overwritten.
    """
    marker = folder / MARKER
    wanted = json.dumps(identity, sort_keys=True, indent=1)
    if marker.exists():
        if marker.read_text(encoding="utf-8") != wanted:
            msg = f"{folder} holds another run"
            raise ConfigError(msg, hint="name another --out, or remove the folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / ".run.json"
    temporary.write_text(wanted, encoding="utf-8")
    temporary.replace(marker)
