"""The one thread that adds blocks: it takes transactions in, seals them, and keeps time.

A transaction is acknowledged once it survives power loss; those that arrive together share one
write. A block is sealed a moment after the first transaction came, so that it has company. Without
transactions a block is sealed only where time has to pass for a task: when a window runs out, and
before a silence gets so long that the ledger would count it as an outage.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.consensus.wire import Acknowledgement, blocks_in, frame
from tallystick.errors import ConfigError, TallyError, UnavailableError
from tallystick.ledger.collect.rows import LIVE, STAGES, TASKS, TERMS
from tallystick.node.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.solo import Solo
    from tallystick.errors import RejectedError
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.kernel import Outcome
    from tallystick.ledger.receipt import Receipt
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["Clerk"]

LOG = logging.getLogger(__name__)
BATCH_SECONDS = 0.02
MOST_AT_ONCE = 256  # transactions written to disk together
KEPT_BLOCKS = 256  # newest blocks, kept in memory for those who follow
MOST_KEPT_BYTES = 1 << 24  # of them together
MOST_SENT_BYTES = 1 << 23  # of blocks in one answer
IDLE_SECONDS = 1.0
RETRY_SECONDS = 1.0
SHARE_OF_GAP = 0.8  # of the longest silence a task takes for its members' own

Answer = tuple[bytes, Acknowledgement]


@dataclass(slots=True)
class _Asked:
    wire: bytes
    answer: Future[Answer]


class Clerk:
    """Orders a ledger of the engine solo, on the clock of this machine.

    Parameters
    ----------
    engine
        Open with the sealer's key; nobody else touches it while the clerk works.
    reader
        The same ledger, opened once more for those who only read.
    batch_seconds
        How long the first transaction of a block waits for others.
    new_secret
        Asked for the key that seals when the ledger has replaced the one in use.
    """

    def __init__(
        self,
        engine: Solo,
        reader: LedgerStore,
        *,
        batch_seconds: float = BATCH_SECONDS,
        new_secret: Callable[[], bytes] | None = None,
    ) -> None:
        """Work from `start` on."""
        self.engine = engine
        self.clock = Clock(engine.head.time)
        self._new_secret = new_secret
        self.lock = threading.RLock()
        self.failure: BaseException | None = None
        self._reader = reader
        self._reading = threading.Lock()  # so that whoever reads holds up no block
        self._batch_seconds = batch_seconds
        self._inbox: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT_BLOCKS)
        self._listeners: list[Callable[[int], None]] = []
        self._thread = threading.Thread(target=self._work, name="clerk", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Begin to seal."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and leave; what waits is sealed after the next start."""
        self._stopping = True
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    @property
    def works(self) -> bool:
        """Whether it is there to take transactions."""
        return self._thread.is_alive() and self.failure is None and not self._stopping

    @property
    def now(self) -> int:
        """Milliseconds since 1970, and never before the head."""
        return max(self.engine.head.time, self.clock.now())

    def listen(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` with the height after every block, from the clerk's thread."""
        self._listeners.append(listener)

    def submit(self, wire: bytes) -> Future[Answer]:
        """Take a transaction; the future holds its hash and the acknowledgement to sign.

        It raises `RejectedError`, `RetryLaterError`, or `UnavailableError` when the disk failed.
        """
        asked = _Asked(wire, Future())
        if self.works:
            self._inbox.put(asked)
            if not self.works:  # it left just now, and may have seen to its inbox before
                self._turn_away()
        else:
            asked.answer.set_exception(UnavailableError("the node is stopping"))
        return asked.answer

    def outcome(self, tx_hash: bytes) -> Receipt | RejectedError | None:
        """See `tallystick.consensus.engine.Engine.outcome`."""
        with self.lock:
            return self.engine.outcome(tx_hash)

    def framed(self, start: int, most: int) -> bytes:
        """Return up to ``most`` blocks from a height on, framed, as many as fit an answer."""
        parts: list[bytes] = []
        size = 0
        for data in self._from(start, most):
            size += len(data)
            if parts and size > MOST_SENT_BYTES:
                break
            parts.append(data)
        return b"".join(parts)

    def headers(self, start: int) -> list[tuple[Header, int]]:
        """Return some headers from a height on, each with its number of transactions."""
        return [
            (block.header, len(block.transactions))
            for block in blocks_in(self.framed(start, KEPT_BLOCKS))
        ]

    def sealed_head(self) -> tuple[Header, bytes]:
        """Return the newest header with its seal; genesis has none."""
        head = self.engine.head
        if not head.height:
            return head, b""
        with self.lock, self._reading:
            return head, next(iter(self._reader.blocks(head.height))).evidence

    def _from(self, start: int, most: int) -> list[bytes]:
        recent = list(self._recent)
        if recent and recent[0][0] <= start:
            return [data for height, data in recent if height >= start][:most]
        found: list[bytes] = []
        size = 0
        with self._reading:
            for block in self._reader.blocks(start):
                found.append(frame(encode(block)))
                size += len(found[-1])
                if len(found) >= most or size > MOST_SENT_BYTES:
                    break
        return found

    def _work(self) -> None:
        try:
            self._seal_on()
        except BaseException as error:
            LOG.critical("the clerk stopped: %s", error, exc_info=error)
            self.failure = error
        finally:
            self._turn_away()

    def _seal_on(self) -> None:
        since: float | None = time.monotonic() if self.engine.pending else None
        while not self._stopping:
            wait = self._patience(since)
            if self._take_in(wait) and since is None and self.engine.pending:
                since = time.monotonic()
            if since is not None and time.monotonic() - since >= self._batch_seconds:
                pause = 0.0 if self._seal() else RETRY_SECONDS
                # What had no room in that block is not to wait for somebody to send more.
                since = time.monotonic() + pause if self.engine.pending else None
            elif since is None and self._is_due():
                self._seal(empty=True)

    def _patience(self, since: float | None) -> float:
        """Return how long to wait for a transaction before something else has to be done."""
        if since is not None:
            return max(0.0, since + self._batch_seconds - time.monotonic())
        return min(IDLE_SECONDS, max(0.0, (self._due_at() - self.now) / 1000))

    def _take_in(self, wait_seconds: float) -> bool:
        """Admit what is in the inbox; return whether anything was."""
        try:
            first = (
                self._inbox.get(timeout=wait_seconds) if wait_seconds else self._inbox.get_nowait()
            )
        except queue.Empty:
            return False
        asked = [first]
        while len(asked) < MOST_AT_ONCE and not self._inbox.empty():
            asked.append(self._inbox.get_nowait())
        batch = [
            each for each in asked if each and each.answer.set_running_or_notify_cancel()
        ]  # nobody waits for the others any more
        try:
            with self.lock:
                answers = self.engine.admit([each.wire for each in batch], self.now)
        except UnavailableError as error:
            for each in batch:
                each.answer.set_exception(error)
            return False
        except BaseException:
            for each in batch:
                each.answer.set_exception(UnavailableError("the node failed: its log says why"))
            raise
        for each, answer in zip(batch, answers, strict=True):
            if isinstance(answer, TallyError):
                each.answer.set_exception(answer)
            else:
                given = Acknowledgement(answer, self.engine.head.height, self.now)
                each.answer.set_result((answer, given))
        return bool(batch)

    def _seal(self, *, empty: bool = False) -> bool:
        """Seal what waits, or with ``empty`` even nothing; return whether a block came of it."""
        try:
            with self.lock:
                sealed = self._seal_now(empty=empty)
                block = self.engine.newest if sealed is not None else None
        except UnavailableError as error:  # the disk: nothing was written
            LOG.error("no block was sealed: %s", error)  # noqa: TRY400 - no bug of ours
            time.sleep(RETRY_SECONDS)
            return False
        if block is None:
            return False
        self._keep(block)
        return True

    def _seal_now(self, *, empty: bool) -> Outcome | None:
        seal = self.engine.seal if empty else self.engine.seal_pending
        try:
            return seal(self.now)
        except ConfigError:  # the key is none that seals: perhaps it was replaced
            if self._new_secret is None:
                raise
            self.engine.rekey(self._new_secret())
            LOG.warning("the sealer's key was replaced: blocks are sealed with the new one")
            return seal(self.now)

    def _keep(self, block: Block) -> None:
        height = block.header.height
        self._recent.append((height, frame(encode(block))))
        while sum(len(data) for _, data in self._recent) > MOST_KEPT_BYTES:
            self._recent.popleft()
        LOG.debug("sealed block %d with %d transactions", height, len(block.transactions))
        for listener in self._listeners:
            listener(height)

    def _is_due(self) -> bool:
        return self.now >= self._due_at()

    def _due_at(self) -> float:
        """Return when a block has to be sealed even if nobody sends anything."""
        state, head = self.engine.state, self.engine.head
        due = float("inf")
        for task in state.get(LIVE) or ():
            row, terms = state.get(TASKS, task), state.get(TERMS, task)
            if row is None or terms is None:
                continue
            due = min(due, head.time + SHARE_OF_GAP * terms.gap)
            for key in row.open:
                stage = state.get(STAGES, key)
                if stage is not None and stage.window != "done":
                    ends = stage.ends + row.excess
                    due = min(due, ends if ends > head.time else head.time + IDLE_SECONDS * 1000)
        return due

    def _turn_away(self) -> None:
        while not self._inbox.empty():
            asked = self._inbox.get_nowait()
            if asked is not None and asked.answer.set_running_or_notify_cancel():
                asked.answer.set_exception(UnavailableError("the node is stopping"))
