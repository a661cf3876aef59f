"""One member's place in one task over a network: what turns a `Member` into a process."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tallystick.consensus.client import NodeClient, Signer
from tallystick.consensus.finality import node_keys
from tallystick.consensus.meeting import fetch_genesis
from tallystick.consensus.remote import Remote
from tallystick.consensus.witness import LyingNodeError, Witness
from tallystick.errors import ConfigError, UnavailableError
from tallystick.federation.acting import MEMBER
from tallystick.federation.approving import BLOBS
from tallystick.federation.courier import Courier
from tallystick.federation.datasets import own_dataset
from tallystick.federation.habits import Habits
from tallystick.federation.key_file import load_keyring
from tallystick.federation.member import Member
from tallystick.federation.poll import Poll
from tallystick.federation.privacy import check_trainers
from tallystick.federation.providing import hand_on_after
from tallystick.federation.site_metrics import SiteMetrics
from tallystick.federation.words import Words
from tallystick.ledger.collect.rows import NAMES, STAGES, TASKS, TERMS, TaskRow
from tallystick.ledger.collect.view import view_task
from tallystick.ledger.contracts import members
from tallystick.ledger.genesis import genesis_hash, load_genesis
from tallystick.mechanisms.records import ROUND
from tallystick.provenance.anchors import parse_genesis
from tallystick.provenance.history import read_engine
from tallystick.provenance.writing import write_bundle
from tallystick.storage.blobs import FileBlobs
from tallystick.storage.files import write_array
from tallystick.storage.sqlite import LedgerStore
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from types import TracebackType

    from tallystick.consensus.client import Route
    from tallystick.federation.habits import Identity
    from tallystick.federation.trainer import Trainer
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.state import State

__all__ = ["Progress", "Seat", "Wishes"]

LOG = logging.getLogger(__name__)
WAIT_SECONDS = 20.0  # for the next block
LOOK_SECONDS = 0.05  # while a child trains
ASK_SECONDS = 2.0  # while bytes are on their way
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0  # before something is said again
COLLECT_SECONDS = 120.0  # without a byte, until a proof is written without what is missing
CHECK_SECONDS = 0.5  # between two looks at whether the result can be had


@dataclass(frozen=True, slots=True)
class Progress:
    """What a member is doing.

    Attributes
    ----------
    what
        A few words, such as ``training``.
    round, rounds
        The running round, and how many there will be at most.
    """

    what: str
    round: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Wishes:
    """What `tallystick.federation.joining.join` may be told besides what to join, and as whom."""

    genesis: str = ""
    terms: str = ""
    dataset: str = ""
    limit_seconds: float | None = None
    watch: Callable[[Progress], None] | None = None


class Seat:
    """A member at work on one task; see `tallystick.federation.joining.join`."""

    def __init__(
        self, route: Route, home: Path, task: str, trainer: Trainer, wishes: Wishes
    ) -> None:
        """Open the folder and catch up with the ledger."""
        self._keyring = load_keyring(home)
        self._task, self._trainer, self._wishes = task, trainer, wishes
        _check_terms_hash(wishes.terms)
        self._told: Progress | None = None
        self._id = b""  # of the task, once it was seen
        self._pause = FIRST_PAUSE_SECONDS
        self._bell = threading.Event()
        self._identity: Identity | None = None
        self.folder = home / (f"{task}.task" if task == MEMBER or (home / task).is_file() else task)
        work = home / MEMBER
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._witness = Witness(work / "evidence")
        with ExitStack() as opened:
            self._client = NodeClient(route, self._signer)
            opened.callback(self._client.close)
            self.engine = self._follow(work, opened)
            self._poll = Poll(self.engine, self._bell.set)
            opened.callback(self._poll.close)
            self._identity = self._keyring.identity_in(self.engine.state)
            self.engine.member = self._keyring.name
            self.blobs = FileBlobs(work / BLOBS)
            opened.callback(self.blobs.close)
            words = Words(work / "words", self.engine.kernel.chain, self._sealing_keys)
            self.courier = Courier(self._client, self.blobs, self._witness, self._bell.set, words)
            opened.callback(self.courier.close)
            self.member = self._sit_down(self._identity, work)
            opened.enter_context(closing(self.member))
            self._metrics = SiteMetrics(
                self.folder / "metrics.csv", self._keyring.name, trainer, self._client
            )
            opened.callback(self._metrics.close)
            self._opened = opened.pop_all()

    def _follow(self, work: Path, opened: ExitStack) -> Remote:
        """Open what is known of the ledger and fetch what is new."""
        store = LedgerStore(work / "ledger.db", durable=False)
        opened.callback(store.close)
        founded = _genesis(store, self._client, self._wishes.genesis)
        engine = Remote(store, self._client, founded, self._witness)
        try:
            self._catch_up(engine)
        except UnavailableError as error:
            if not engine.head.height:  # nothing is known yet: perhaps a wrong address
                raise
            LOG.warning("%s; going on with what is known", error)
        return engine

    def _catch_up(self, engine: Remote) -> int:
        """Fetch every block there is, from a node that does not lie; return how many were new."""
        while True:
            try:
                return engine.catch_up()
            except LyingNodeError:  # which the witness has logged
                if self._client.none_left:
                    raise

    def _sit_down(self, identity: Identity, work: Path) -> Member:
        habits = Habits(
            isolate=True,
            limit_seconds=self._wishes.limit_seconds,
            only=self._task,
            carrier=self.courier,
            dataset=own_dataset(self.engine.state, identity.member, self._wishes.dataset),
        )
        workbench = Workbench(self.blobs)
        return Member(identity, self.engine, self._trainer, workbench, work, habits)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the folder."""
        self._opened.close()

    @property
    def row(self) -> TaskRow | None:
        """The task's row, `None` before it is proposed.

        One that was aborted has lost its name, and is still the one this member took part in.
        """
        state = self.engine.state
        if not self._id:
            self._id = state.get(NAMES, self._task) or _ended(state, self._task)
        return state.get(TASKS, self._id) if self._id else None

    @property
    def completed(self) -> int:
        """Learning rounds that completed."""
        row = self.row
        if row is None:
            return 0
        history = read_engine(self.engine, row.id)
        return sum(found.phase == ROUND and found.completed for found in history.rounds)

    def run(self, *, once: bool = False) -> None:
        """Work until the task has ended, or with ``once`` until nothing is owed."""
        while True:
            self._bell.clear()
            self._take_blocks()
            self._check_key()
            row = self.row
            if row is not None:
                self._check_terms(row)
                if row.status != "running":
                    self._finish(row)
                    return
            owed = self._step()
            self.courier.settle()
            self._tell()
            if owed:
                continue
            if row is not None and self._metrics.take(self.engine.state, row, self.blobs):
                continue
            if once and not self._is_at_work():
                return
            self._wait()

    def _is_at_work(self) -> bool:
        if self.member.busy or self.member.waits or self.courier.is_busy or self._metrics.is_busy:
            return True
        return self._catch_up(self.engine) > 0

    def _wait(self) -> None:
        """Return when there is something to look at."""
        self._poll.ask()
        if self.member.found_no_room:  # somebody is busy, or away: not to be asked all the time
            time.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            return
        self._pause = FIRST_PAUSE_SECONDS
        wake = self.member.wake
        seconds = WAIT_SECONDS
        if wake is not None:
            seconds = min(seconds, max(LOOK_SECONDS, (wake - self.engine.now) / 1000))
        if self.member.busy or self._metrics.is_busy:
            seconds = LOOK_SECONDS
        elif self.courier.is_waiting:  # for something that failed, to be tried again
            seconds = min(seconds, 4 * LOOK_SECONDS)
        elif self.courier.is_busy:  # what nobody asks for is left for later
            seconds = min(seconds, ASK_SECONDS)
        self._bell.wait(seconds)

    def _take_blocks(self) -> None:
        try:
            self._poll.take()
        except LyingNodeError:  # which the witness has logged
            if self._client.none_left:
                raise
        except UnavailableError as error:
            LOG.warning("%s%s; trying again", error, f" ({error.hint})" if error.hint else "")

    def _step(self) -> int:
        """Do what is owed; return how much that was."""
        try:
            return self.member.step()
        except LyingNodeError:
            if self._client.none_left:
                raise
            return 0

    def _sealing_keys(self) -> tuple[bytes, ...]:
        return node_keys(self.engine.state, self.engine.genesis)

    def _check_key(self) -> None:
        """Go on with the newest key when the one in use was replaced."""
        identity = self.member.identity
        if members.active_key(self.engine.state, identity.member, identity.key) is None:
            self._keyring = load_keyring(self.folder.parent)
            self._identity = self._keyring.identity_in(self.engine.state)
            self.member.rekey(self._identity)

    def _check_terms(self, row: TaskRow) -> None:
        if self._wishes.terms and row.id.hex() != self._wishes.terms:
            msg = f"the terms of '{self._task}' are {row.id.hex()}, not {self._wishes.terms}"
            raise ConfigError(msg, hint="read them with `tally task show` before you take part")
        terms = self.engine.state.get(TERMS, row.id)
        if terms is not None and self._keyring.name not in terms.parties:
            msg = f"'{self._keyring.name}' has no part in the task '{self._task}'"
            raise ConfigError(msg, hint=f"its members: {', '.join(terms.parties)}")
        if terms is not None:
            check_trainers(terms, {self._keyring.name: self._trainer})

    def _signer(self) -> Signer:
        identity = self._identity
        if identity is None:
            msg = "nothing is signed before the ledger is known"
            raise ConfigError(msg)
        chain = self.engine.kernel.chain
        return Signer(chain, identity.member, identity.key, identity.secret)

    def _tell(self) -> None:
        """Say what is being done, if that has changed."""
        row = self.row
        if self._wishes.watch is None:
            return
        if row is None:
            said = Progress(f"waits for the task '{self._task}'", 0, 0)
        else:
            terms = self.engine.state.get(TERMS, row.id)
            stage = self.engine.state.get(STAGES, row.open[0]) if row.open else None
            what = "training" if self.member.busy else ""
            if not what and stage is not None:
                what = f"{stage.key.stage}: {stage.window}"
            said = Progress(what, row.round, 0 if terms is None else terms.rounds)
        if said != self._told:
            self._told = said
            self._wishes.watch(said)

    def _finish(self, row: TaskRow) -> None:
        """Write the model, the last metrics and the proof."""
        self.folder.mkdir(parents=True, exist_ok=True)
        history = read_engine(self.engine, row.id)
        wanted = dict(history.artefacts())
        if row.model is not None:
            wanted[row.model.root] = row.model.size
        whole = self._collect(row.id, wanted)
        if row.model is not None and self.blobs.has(row.model.root):
            write_array(self.folder / "model.safetensors", self.blobs.open(row.model.root))
            self._metrics.finish(self.engine.state, row, self.blobs)
        if not whole:
            LOG.warning("some updates cannot be had: the bundle is written without them")
        has_model = row.model is not None and self.blobs.has(row.model.root)
        blobs = self.blobs if has_model else None
        write_bundle(self.folder / "run.tally", self.engine, row.id, blobs, with_updates=whole)
        if has_model:
            self._hand_on(row)

    def _collect(self, task: bytes, wanted: dict[bytes, int]) -> bool:
        """Fetch what the proof rests on, while bytes come; return whether all of it is here."""
        received, since = self._client.received, time.monotonic()
        while True:
            self._bell.clear()
            missing = [root for root in wanted if not self.courier.fetch(task, root)]
            if self._client.received > received:
                received, since = self._client.received, time.monotonic()
            if not missing or time.monotonic() - since > COLLECT_SECONDS:
                return not missing
            self._bell.wait(LOOK_SECONDS * 4)

    def _hand_on(self, row: TaskRow) -> None:
        """See that whoever was away can get the result; one member hands it on, if it lives."""
        view = view_task(self.engine.state, row.id)
        if view is None or row.model is None:
            return
        wait = hand_on_after(view, self._keyring.name, row.model.size) / 1000
        started = time.monotonic()
        while time.monotonic() - started < wait:
            if self.courier.is_there(row.id, row.model.root):
                return
            time.sleep(min(wait, CHECK_SECONDS))
        while not self.courier.deliver(row.id, row.model.root):
            if time.monotonic() - started > COLLECT_SECONDS:
                return
            self._bell.wait(LOOK_SECONDS)
            self._bell.clear()


def _check_terms_hash(text: str) -> None:
    if text and not re.fullmatch("[0-9a-f]{64}", text):
        msg = f"terms '{text[:80]}': a hash of 64 lower-case hex digits"
        raise ConfigError(msg, hint="as `tally task show` prints it")


def _ended(state: State, name: str) -> bytes:
    """Return the id of a task that ended and lost this name; empty if there is none."""
    found = (row for _, row in state.rows_of(TASKS) if row.name == name)
    return next((row.id for row in found if row.status != "running"), b"")


def _genesis(store: LedgerStore, client: NodeClient, wanted: str) -> Genesis | None:
    """Return the genesis to found the store with, `None` where it has one."""
    pinned = parse_genesis(wanted).genesis if wanted else b""
    known = store.fact("genesis")
    if known is None:
        return fetch_genesis(client, pinned)
    held = genesis_hash(load_genesis(known))
    if pinned and pinned != held:
        msg = f"this folder follows the ledger {held.hex()}, not {pinned.hex()}"
        raise ConfigError(msg, hint="name another --key folder, or compare with what was published")
    return None
