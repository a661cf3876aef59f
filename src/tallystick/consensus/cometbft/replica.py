"""The ledger as one of several nodes keeps it: CometBFT orders, this executes.

What CometBFT asks comes from several threads; one lock makes each question a whole. A block is
executed on scratch state when it is proposed, and what came of it is kept for when it is decided.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import U63, Hash, Label, Record, decode, encode
from tallystick.consensus.cometbft.mempool import Mempool
from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.kept import KeptLedger
from tallystick.consensus.pool import DurablePool
from tallystick.crypto.hashes import sha256
from tallystick.errors import InvariantError, RejectedError, TallyError, to_keep
from tallystick.ledger.block import transactions_root
from tallystick.ledger.collect.installed import UninstalledRuleError, check_live
from tallystick.ledger.collect.rows import TASKS
from tallystick.ledger.contracts import members, validators
from tallystick.ledger.kernel import UnsupportedProtocolError
from tallystick.ledger.state import state_from_rows
from tallystick.ledger.transaction import (
    transaction_hash,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.kernel import Outcome
    from tallystick.ledger.receipt import Receipt
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["CannotJudgeError", "Decided", "Replica", "receipt_hash"]

LOG = logging.getLogger(__name__)
MOST_REFUSED = 50_000
LEAVING = "leaving"  # a fact of the store


class CannotJudgeError(TallyError):
    """Whether a block is in order cannot be told here; whoever proposed it is not to blame."""

    slug: ClassVar[str] = "cannot-judge"


@dataclass(frozen=True, slots=True)
class Decided:
    """A block that is executed and not yet written.

    Attributes
    ----------
    version
        The protocol version from the next block on, if it is another one.
    """

    outcome: Outcome
    version: int | None


class _Leaving(Record):
    """The validators before a block that changed them: those who decide the one after it."""

    height: U63
    keys: tuple[tuple[Label, Hash], ...]


class Replica(KeptLedger):
    """A ledger whose blocks CometBFT decides; an `Engine`.

    Parameters
    ----------
    store
        Where it lives; a new store is founded with ``genesis``.
    secret
        The member's validator key, which signs this node's word that it took a transaction.
    most_pending
        How many transactions handed in here may wait, in equal shares of the members.
    clock
        Milliseconds since 1970.

    Attributes
    ----------
    lock
        Held while something is asked that has to be of one block.
    failure
        Why this ledger cannot go on; empty while it does.

    Raises
    ------
    UnavailableError
        Another process keeps this ledger, or the file is damaged.
    """

    def __init__(
        self,
        store: LedgerStore,
        genesis: Genesis | None = None,
        secret: bytes = b"",
        *,
        most_pending: int | None = None,
        clock: Callable[[], int] | None = None,
    ) -> None:
        """Open the ledger, or found it."""
        store.claim()
        self.lock = threading.RLock()
        super().__init__(store, genesis)
        self.secret = secret
        self.failure = ""
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._pool = DurablePool(self.kernel, store, most_pending)
        self._mempool = Mempool(self.kernel, most_pending)
        self._refused: dict[bytes, RejectedError] = {}
        self._executed: dict[tuple[int, int, bytes], Outcome] = {}
        self._decided: Decided | None = None
        self._listeners: list[Callable[[Outcome], None]] = []
        self._refused.update(self._pool.take_up(self._state, self._head.time))
        self._look_ahead()
        self._look_for_rules()

    # --- what every engine offers -----------------------------------------------------------

    @property
    def now(self) -> int:
        """See `Engine.now`; by this machine's clock."""
        return max(self._head.time, self._clock())

    @property
    def pending(self) -> int:
        """Transactions handed in here that wait for a block."""
        return len(self._pool)

    def submit(self, wire: bytes) -> bytes:
        """See `Engine.submit`; somebody has to hand it on to CometBFT."""
        (answer,) = self.admit([wire], self.now)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def admit(
        self, wires: Sequence[bytes], time: int
    ) -> list[bytes | RejectedError | RetryLaterError]:
        """Take several transactions; see `DurablePool.admit`."""
        with self.lock:
            answers = self._pool.admit(self._state, wires, max(time, self._head.time))
            for answer in answers:
                if isinstance(answer, bytes):
                    self._refused.pop(answer, None)  # it is tried again
            return answers

    def holds(self, tx_hash: bytes) -> bool:
        """Return whether a transaction was taken here and waits."""
        with self.lock:
            return tx_hash in self._pool

    def give_back(self, tx_hash: bytes) -> None:
        """Forget a transaction that was taken here and that CometBFT has no room for."""
        with self.lock:
            self._pool.settle((), [tx_hash])

    def waiting(self) -> dict[bytes, bytes]:
        """Return what was handed in here and waits, by hash, each sender's in order."""
        with self.lock:
            listed = sorted(self._pool.waiting(), key=lambda tx: tx.order)
            return {tx.hash: tx.wire for tx in listed}

    def reconsider(self, hashes: Iterable[bytes]) -> None:
        """Forget what waits here and can be in no block any more, and remember why.

        Parameters
        ----------
        hashes
            Of those that are executed to find out; of the others the envelope decides.
        """
        with self.lock:
            self._forget_expired()
            doubtful = set(hashes)
            waiting = [tx for tx in self._pool.waiting() if tx.hash in doubtful]
            if waiting:
                outcome = self.kernel.propose(self._state, self._head, self.now, waiting)
                self._forget_refused(outcome)

    def outcome(self, tx_hash: bytes) -> Receipt | RejectedError | None:
        """See `Engine.outcome`."""
        with self.lock:
            found = self._store.receipt(tx_hash)
            return self._refused.get(tx_hash) if found is None else found[1]

    @property
    def proven(self) -> int:
        """Height up to which blocks have what the validators signed them by."""
        with self.lock:
            return self._store.proven()

    def prove(self, height: int, evidence: bytes) -> Block:
        """Keep what the validators signed a block by; return the block. Raises as `commit`."""
        with self.lock:
            self._store.prove(height, evidence)
            return next(self._store.blocks(height))

    def listen(self, listener: Callable[[Outcome], None]) -> None:
        """Call ``listener`` after every block, from the thread that wrote it."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Close the store."""
        self._mempool.close()
        self._store.close()

    # --- what CometBFT asks -----------------------------------------------------------------

    def check(self, wire: bytes, *, again: bool = False) -> RejectedError | RetryLaterError | None:
        """Return why a transaction has no place in the mempool, `None` if it has.

        Parameters
        ----------
        again
            It is there already, and a block has been decided since.
        """
        tx_hash = transaction_hash(wire)
        with self.lock:
            problem: RejectedError | RetryLaterError | None = None
            try:
                if not again:
                    self._mempool.enter(self._state, wire, self.now)
                elif (problem := self._refused.get(tx_hash)) is None:
                    self._mempool.stay(self._state, self._mempool.parse(wire), self.now)
            except (RejectedError, RetryLaterError) as error:
                problem = error
            if problem is not None:
                self._mempool.drop(tx_hash)
            return problem

    def propose(self, at: int, candidates: Sequence[bytes]) -> list[bytes]:
        """Return what the next block, at a time in ms, is to hold.

        It is chosen from the candidates and from all that wait in the mempool: CometBFT shows no
        more than fits a block, the oldest, and so only those of whoever sent most.
        """
        with self.lock:
            self._check_able()
            waiting = self._mempool.waiting()
            taken = {tx.hash: tx for tx in waiting if tx.hash not in self._refused}
            for wire in candidates:
                tx_hash = transaction_hash(wire)
                try:
                    if tx_hash not in taken:
                        taken[tx_hash] = self._mempool.parse(wire)
                except RejectedError as error:
                    self._refuse(tx_hash, error)
            outcome = self.kernel.propose(self._state, self._head, at, taken.values())
            self._forget_refused(outcome)
            wires = [tx.wire for tx in outcome.transactions]
            self._keep(at, wires, outcome)
            return wires

    def refusal(self, height: int, at: int, wires: Sequence[bytes]) -> str:
        """Return what is wrong with a proposed block, nothing if it may be decided.

        Raises
        ------
        CannotJudgeError
            Nothing may be wrong with it: this node cannot tell.
        """
        with self.lock:
            self._check_able()
            if height != self._head.height + 1:
                msg = f"it does not follow block {self._head.height}, the newest here"
                raise CannotJudgeError(msg)
            try:
                self._execute(at, wires)
            except (UninstalledRuleError, InvariantError) as error:
                raise CannotJudgeError(str(error)) from error
            except RejectedError as error:
                return str(error)
        return ""

    def finalize(self, height: int, at: int, wires: Sequence[bytes]) -> Decided:
        """Execute a decided block; it is written by `commit`.

        Raises
        ------
        InvariantError
            Two thirds of the validators decided what cannot be executed, or another height.
        UninstalledRuleError
            The block needs a rule that is not installed here; this ledger waits for it.
        UnsupportedProtocolError
            The network went on to a protocol version that this program does not know.
        """
        with self.lock:
            self._check_able()
            if height != self._head.height + 1:
                msg = f"block {height} was decided, and block {self._head.height} is the newest"
                raise InvariantError(msg)
            try:
                outcome = self._execute(at, wires)
            except UninstalledRuleError as error:
                self._stop(f"{error}; {error.hint}")
                raise
            except RejectedError as error:
                msg = f"block {height} was decided and cannot be executed: {error}"
                raise InvariantError(msg) from error
            coming = outcome.changes.get(members.PROTOCOL.key())
            version = None if coming is None else decode(members.PROTOCOL.kind, coming)
            self._decided = Decided(outcome, version)
            return self._decided

    def commit(self) -> None:
        """Write the decided block; it survives power loss when this returns.

        Raises
        ------
        UnavailableError
            The disk is full or failed.
        """
        with self.lock:
            if self._decided is None:
                msg = "a block was to be written before it was decided"
                raise InvariantError(msg)
            outcome = self._decided.outcome
            leaving: dict[str, bytes] = {}
            if outcome.validator_updates:  # they are in force from the block after the next on
                before = validators.validator_set(self._state)
                leaving[LEAVING] = encode(_Leaving(outcome.header.height, tuple(before.items())))
            self._store.commit(outcome, b"", leaving)
            self._state.commit(outcome.changes)
            self._head = outcome.header
            self._decided = None
            self._executed.clear()
            included = [tx.hash for tx in outcome.transactions]
            self._pool.settle(included, ())
            self._mempool.turn(included)
            self._look_ahead()
        for listener in self._listeners:
            listener(outcome)

    def voters(self) -> dict[str, bytes]:
        """Return the public keys, by member, whose votes decide the block after the head.

        CometBFT is told of other keys after a block, and asks for them from the next but one on.
        """
        with self.lock:
            data = self._store.fact(LEAVING)
            leaving = None if data is None else decode(_Leaving, data)
            if leaving is not None and leaving.height == self._head.height:
                return dict(leaving.keys)
            return validators.validator_set(self._state)

    @property
    def base(self) -> Header | None:
        """The header this ledger began with, `None` when every block is here."""
        with self.lock:
            return self._store.base()

    def fill_in(self, other: Path) -> None:
        """Take over the blocks before the base; see `LedgerStore.fill_in`."""
        with self.lock:
            self._store.fill_in(other)

    def restore(self, rows: dict[bytes, bytes], header: Header) -> None:
        """Begin with the state of a block that others decided, before this node has any.

        It may be done over: CometBFT begins anew when it did not hear that it was done.

        Raises
        ------
        InvariantError
            There are blocks already, or the rows are not those of the header's state.
        UnavailableError
            The disk is full or failed.
        """
        with self.lock:
            state = state_from_rows(rows)
            if next(self._store.blocks(), None) is not None:
                msg = "a ledger that has blocks cannot begin with the state of another one"
                raise InvariantError(msg)
            if state.root != header.state_root or header.chain != self.kernel.chain:
                msg = f"the rows are not the state of block {header.height} of this ledger"
                raise InvariantError(msg)
            logs = {row.id: row.log.size for _, row in state.rows_of(TASKS)}
            self._store.begin_at(header, rows, logs)
            self._state, self._head = state, header
            self._decided = None
            self._executed.clear()
            self._look_ahead()
            self._look_for_rules()

    # --- inside -----------------------------------------------------------------------------

    def _look_ahead(self) -> None:
        """Stop before a block that this program cannot execute, and say so."""
        try:
            self.kernel.check_protocol(self._state)
        except UnsupportedProtocolError as error:
            self._stop(str(error))

    def _look_for_rules(self) -> None:
        """Stop where a running task uses a rule that is not installed here, and say so."""
        try:
            check_live(self._state)
        except UninstalledRuleError as error:
            self._stop(f"{error}; {error.hint}")

    def _stop(self, why: str) -> None:
        """Go on no more; what is here stays readable."""
        LOG.critical("%s", why)
        self.failure = why

    def _check_able(self) -> None:
        if self.failure:
            raise InvariantError(self.failure)

    def _execute(self, at: int, wires: Sequence[bytes]) -> Outcome:
        key = self._key(at, wires)
        known = self._executed.get(key)
        if known is not None:
            return known
        self._mempool.verify_ahead(self._state, wires)
        outcome = self.kernel.execute(self._state, self._head, at, wires, self._mempool.parse)
        self._executed[key] = outcome
        return outcome

    def _keep(self, at: int, wires: Sequence[bytes], outcome: Outcome) -> None:
        self._executed[self._key(at, wires)] = outcome

    def _key(self, at: int, wires: Sequence[bytes]) -> tuple[int, int, bytes]:
        return self._head.height + 1, at, transactions_root(list(wires))

    def _forget_expired(self) -> None:
        """Forget those whose envelope no block can take after the head."""
        refusals: dict[bytes, RejectedError] = {}
        for tx in self._pool.waiting():
            try:
                self.kernel.check_envelope(self._state, tx, self.now)
            except RejectedError as error:
                refusals[tx.hash] = error
        self._forget(refusals)

    def _forget_refused(self, outcome: Outcome) -> None:
        for faulty in outcome.faulty:
            LOG.error("a transaction was left out, our bug: %s", faulty.error)
        self._forget(outcome.refusals)

    def _forget(self, refusals: Mapping[bytes, RejectedError]) -> None:
        """Let transactions wait no more, and remember why."""
        for tx_hash, error in refusals.items():
            self._refuse(tx_hash, error)
        self._pool.settle((), refusals)

    def _refuse(self, tx_hash: bytes, error: RejectedError) -> None:
        if len(self._refused) >= MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[tx_hash] = to_keep(error)


def receipt_hash(receipt: Receipt) -> bytes:
    """Return what a receipt is called in CometBFT's record of results."""
    return sha256("receipt", encode(receipt))
