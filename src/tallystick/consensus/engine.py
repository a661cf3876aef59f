"""What every engine offers: submit, await a receipt, read state with proof, follow blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Protocol

from tallystick.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.errors import RejectedError
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.receipt import Receipt
    from tallystick.ledger.state import State

__all__ = ["Engine", "RetryLaterError"]


class RetryLaterError(UnavailableError):
    """The mempool or the sender's share of it is full; the same transaction may be sent again."""

    slug: ClassVar[str] = "retry-later"


class Engine(Protocol):
    """An ordered ledger as members see it."""

    @property
    def refuses_for_good(self) -> bool:
        """Whether a transaction that `outcome` calls refused is in no block any more.

        Where it may still wait somewhere, its nonce is not to be used again.
        """
        ...

    @property
    def genesis(self) -> Genesis:
        """Where the ledger started."""
        ...

    @property
    def head(self) -> Header:
        """The newest final header."""
        ...

    @property
    def state(self) -> State:
        """The state after ``head``; readers do not write to it."""
        ...

    @property
    def now(self) -> int:
        """The time to reckon with, in milliseconds: the head's in a simulation, else the clock's.

        Never before the head's.
        """
        ...

    def submit(self, wire: bytes) -> bytes:
        """Hand in a transaction; return its hash.

        Raises
        ------
        RejectedError
            It is refused before inclusion and leaves no trace.
        RetryLaterError
            There is no room now.
        """
        ...

    def outcome(self, tx_hash: bytes) -> Receipt | RejectedError | None:
        """Return what became of a transaction: its receipt once final, the refusal, or neither."""
        ...

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield final blocks from a height on."""
        ...

    def leaves(self, task: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield a task's log leaves, each with the height that added it."""
        ...
