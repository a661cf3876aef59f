"""What a member has handed in and not yet seen the end of.

Nonces rise while anything waits, or a second transaction would take the first one's place. What was
refused before inclusion or lost may be said again; what the ledger keeps refusing is given up.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.codec import encode
from tallystick.consensus.engine import RetryLaterError
from tallystick.errors import RejectedError
from tallystick.ledger.receipt import Receipt
from tallystick.ledger.transaction import Body, last_nonce, sign_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from tallystick.consensus.engine import Engine
    from tallystick.federation.habits import Identity
    from tallystick.ledger.messages import Entry, Message, Opening

__all__ = ["Outbox", "Said", "batches"]

LOG = logging.getLogger(__name__)
MOST_ATTEMPTS = 8
MOST_REMEMBERED = 10_000
MOST_ITEMS = 64  # in one message
ENVELOPE_BYTES = 512  # more than a transaction has besides its records


@dataclass(frozen=True, slots=True)
class Said:
    """A part of a message, and what tells it from every other thing a member may say."""

    mark: Hashable
    part: Entry | Opening


@dataclass(slots=True)
class _Waiting:
    wire: bytes
    marks: frozenset[Hashable]
    height: int  # of the head when it was last handed in
    nonce: int


class Outbox:
    """Signs a member's messages, hands them in and follows what becomes of them."""

    def __init__(self, identity: Identity, engine: Engine, before: Callable[[], None]) -> None:
        """Call ``before`` whenever something is about to leave."""
        self._identity = identity
        self._engine = engine
        self._before = before
        self._nonce = 0
        self._least = 0  # a nonce that something given up may still take
        self._waiting: dict[bytes, _Waiting] = {}
        self._refused: Counter[Hashable] = Counter()
        self.found_no_room = False  # since `settle` was last called

    @property
    def waits(self) -> bool:
        """Whether something is handed in and neither in a block nor refused."""
        return bool(self._waiting)

    def rekey(self, identity: Identity) -> None:
        """Sign with another key; what the old one signed is given up."""
        self._identity = identity
        self._nonce = self._least = 0
        self._waiting.clear()

    def settle(self) -> None:
        """See what became of what waits; hand in again what may be lost."""
        self.found_no_room = False
        for tx_hash, waiting in tuple(self._waiting.items()):
            outcome = self._engine.outcome(tx_hash)
            if outcome is None and self._still_waits(waiting):
                continue
            del self._waiting[tx_hash]
            if isinstance(outcome, RejectedError) and not self._engine.refuses_for_good:
                self._least = max(self._least, waiting.nonce)
            if not isinstance(outcome, Receipt) or outcome.code:
                self._refused.update(waiting.marks)
                self._tell(waiting, outcome)
        if len(self._refused) > MOST_REMEMBERED:
            self._refused.clear()
        last = last_nonce(self._engine.state, self._identity.member, self._identity.key)
        self._nonce = max(self._nonce if self._waiting else self._least, last)

    def has_said(self, mark: Hashable) -> bool:
        """Whether something waits for its block, or was refused too often to be said again."""
        waits = any(mark in waiting.marks for waiting in self._waiting.values())
        return waits or self._refused[mark] >= MOST_ATTEMPTS

    def apart(self, said: Iterable[Said]) -> list[list[Said]]:
        """Group what can be said together: what was refused before goes alone."""
        together: list[Said] = []
        alone: list[list[Said]] = []
        for each in said:
            if self._refused[each.mark]:
                alone.append([each])
            else:
                together.append(each)
        room = self._engine.genesis.limits.transaction_bytes - ENVELOPE_BYTES
        return [*batches(together, room), *alone]

    def send(self, message: Message, marks: Iterable[Hashable] = ()) -> bytes:
        """Sign and hand in a message; return the transaction's hash.

        What is refused at the door is logged, and what finds no room is left for later: neither
        counts as said.

        Raises
        ------
        RetryLaterError
            There is no room for a message without marks, which nobody would say again.
        """
        self._before()
        last = last_nonce(self._engine.state, self._identity.member, self._identity.key)
        nonce = max(self._nonce, last) + 1
        body = Body(
            sender=self._identity.member,
            key=self._identity.key,
            nonce=nonce,
            valid_until=self._engine.now + self._engine.genesis.limits.validity // 2,
            message=message,
        )
        head = self._engine.head
        tx = sign_transaction(body, self._identity.secret, head.chain)
        said = frozenset(marks)
        try:
            self._engine.submit(tx.wire)
        except RejectedError as error:
            LOG.warning("%s: refused: %s", self._identity.member, error)
            self._refused.update(said)
        except RetryLaterError as error:
            if not said:
                raise
            self.found_no_room = True
            LOG.info("%s waits: %s", self._identity.member, error)
        else:
            self._nonce = nonce
            self._waiting[tx.hash] = _Waiting(tx.wire, said, head.height, nonce)
        return tx.hash

    def _tell(self, waiting: _Waiting, outcome: Receipt | RejectedError | None) -> None:
        """Log why something was refused, louder when it is not said again."""
        why = f"code {outcome.code}" if isinstance(outcome, Receipt) else outcome
        for mark in waiting.marks:
            if self._refused[mark] >= MOST_ATTEMPTS:
                LOG.warning("%s gives up, refused too often: %s", self._identity.member, why)
                return
        LOG.info("%s: refused: %s", self._identity.member, why or "no block can hold it any more")

    def _still_waits(self, waiting: _Waiting) -> bool:
        """Whether it can still be in a block; an engine that forgot it gets it again."""
        head = self._engine.head.height
        if waiting.height == head:
            return True
        try:
            self._engine.submit(waiting.wire)
        except RejectedError:
            return False
        except RetryLaterError:
            self.found_no_room = True
            return True
        waiting.height = head
        return True


def batches(said: Sequence[Said], room_bytes: int) -> list[list[Said]]:
    """Cut what is to be said into messages of at most ``room_bytes``, in the same order.

    A part that is larger by itself can be in no message; it is logged and left out.
    """
    found: list[list[Said]] = []
    left = 0
    for each in said:
        size = len(encode(each.part))
        if size > room_bytes:
            msg = "stage '%s' asks for a record of %d bytes; a transaction has room for %d"
            LOG.error(msg, each.part.stage, size, room_bytes)
            continue
        if not found or size > left or len(found[-1]) == MOST_ITEMS:
            found.append([])
            left = room_bytes
        found[-1].append(each)
        left -= size
    return found
