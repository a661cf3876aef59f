"""Where transactions are handed in and blocks are looked at, whatever engine orders them.

Transactions that arrive together are taken together: one write to disk acknowledges all of them.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.wire import Acknowledgement, blocks_in, frame
from tallystick.errors import TallyError, UnavailableError
from tallystick.node.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tallystick.consensus.cometbft.replica import Replica
    from tallystick.consensus.solo import Solo
    from tallystick.crypto.merkle_map import MapProof
    from tallystick.errors import RejectedError
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.receipt import Receipt
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["Reception"]

LOG = logging.getLogger(__name__)
MOST_AT_ONCE = 256  # transactions written to disk together
KEPT_BLOCKS = 256  # newest blocks, kept in memory for those who follow
MOST_KEPT_BYTES = 1 << 24  # of them together
MOST_SENT_BYTES = 1 << 21  # of blocks in one answer, which waits in memory until it is taken

Answer = tuple[bytes, Acknowledgement]


@dataclass(slots=True)
class _Asked:
    wire: bytes
    answer: Future[Answer]


class Reception:
    """Takes transactions in one thread, and shows blocks to any other.

    Parameters
    ----------
    engine
        The ledger.
    reader
        The same ledger, opened once more for those who only read.
    """

    def __init__(self, engine: Solo | Replica, reader: LedgerStore) -> None:
        """Work from `start` on."""
        self.engine = engine
        self.clock = Clock(engine.head.time)
        self.lock = threading.RLock()
        self._still = self.lock  # while it is held no block is added
        self.failure: BaseException | None = None
        self._reader = reader
        self._reading = threading.Lock()  # so that whoever reads holds up no block
        self._inbox: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self.ask_engine: Callable[[str, dict[str, str]], dict[str, Any]] | None = None
        self._recent: deque[tuple[int, bytes]] = deque(maxlen=KEPT_BLOCKS)
        self._listeners: list[Callable[[int], None]] = []
        self._thread = threading.Thread(target=self._work, name="reception", daemon=True)
        self._stopping = False
        self._is_whole = False

    def start(self) -> None:
        """Begin to take transactions."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is under way and leave; what waits goes on after the next start."""
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

    @property
    def height(self) -> int:
        """Of the newest block that is shown."""
        return self.engine.head.height

    def facts(self) -> dict[str, Any]:
        """Return what this engine says of itself for the node's status."""
        return {
            "validators": [self.engine.genesis.sealer],
            "peers": [],
            "catching_up": False,
        }

    def listen(self, listener: Callable[[int], None]) -> None:
        """Call ``listener`` with the height after every block that is shown, from any thread."""
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

    def check_whole(self) -> None:
        """Refuse to show blocks before every one since genesis is here.

        Until then it is not known whether the header that the first of them follows is the true
        one, and so whether theirs are.

        Raises
        ------
        RetryLaterError
            The node is catching up.
        """
        if self._is_whole:
            return
        begun = self.engine.head.height
        with self._reading:
            base = self._reader.base()
        if base is not None:
            msg = f"the node is catching up: blocks before {base.height + 1} are not here yet"
            raise RetryLaterError(msg, hint="ask another node meanwhile")
        self._is_whole = begun > 0  # before its first block it may still begin with a later state

    def framed(self, start: int, most: int) -> bytes:
        """Return up to ``most`` blocks from a height on, framed, as many as fit an answer.

        Raises as `check_whole`.
        """
        parts: list[bytes] = []
        size = 0
        for data in self._from(start, most):
            size += len(data)
            if parts and size > MOST_SENT_BYTES:
                break
            parts.append(data)
        return b"".join(parts)

    def headers(self, start: int) -> list[tuple[Header, int]]:
        """Return some headers from a height on, each with its number of transactions.

        Raises as `check_whole`.
        """
        return [
            (block.header, len(block.transactions))
            for block in blocks_in(self.framed(start, KEPT_BLOCKS))
        ]

    def prove(self, key: bytes) -> tuple[bytes | None, MapProof, Header]:
        """Return a row, `None` if there is none, its proof, and the header after which it is so.

        `evidence` of the height that `fixed_at` names shows that the header is final.

        Raises
        ------
        UnavailableError
            As `check_whole`.
        """
        self.check_whole()
        with self._still:
            row, proof = self.engine.state.prove_key(key)
            return row, proof, self.engine.head

    def fixed_at(self, height: int) -> int:
        """Return the height of the block whose evidence fixes the state after this height."""
        return height

    def evidence(self, height: int) -> bytes:
        """Return what made a block final that is shown; nothing for genesis."""
        with self._reading:
            return next(self._reader.blocks(height)).evidence if height else b""

    def _from(self, start: int, most: int) -> list[bytes]:
        self.check_whole()
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
            self._go_on()
        except BaseException as error:
            LOG.critical("no transactions are taken any more: %s", error, exc_info=error)
            self.failure = error
        finally:
            self._turn_away()

    def _go_on(self) -> None:
        """Work until it is told to stop."""
        raise NotImplementedError

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
            answers = self._admit([each.wire for each in batch])
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

    def _admit(self, wires: Sequence[bytes]) -> list[bytes | RejectedError | RetryLaterError]:
        """Take transactions; return for each its hash, or why it is not taken."""
        with self.lock:
            return self.engine.admit(wires, self.now)

    def _keep(self, block: Block) -> None:
        height = block.header.height
        self._recent.append((height, frame(encode(block))))
        while sum(len(data) for _, data in self._recent) > MOST_KEPT_BYTES:
            self._recent.popleft()
        LOG.debug("block %d with %d transactions", height, len(block.transactions))

    def _ring(self, height: int) -> None:
        for listener in self._listeners:
            listener(height)

    def _turn_away(self) -> None:
        while not self._inbox.empty():
            asked = self._inbox.get_nowait()
            if asked is not None and asked.answer.set_running_or_notify_cancel():
                asked.answer.set_exception(UnavailableError("the node is stopping"))
