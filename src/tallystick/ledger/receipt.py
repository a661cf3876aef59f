"""What became of a transaction: a code that is hashed, and a text that never is."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tallystick.codec import U16, Record, encode
from tallystick.crypto.merkle_list import list_root

__all__ = ["OK", "Event", "Receipt", "receipts_root"]

OK = 0


class Event(Record):
    """Something a contract did: a kind, whom it concerns, and an amount or number."""

    kind: Annotated[str, msgspec.Meta(max_length=32)]
    subject: Annotated[str, msgspec.Meta(max_length=80)]
    amount: int = 0


class Receipt(Record):
    """Code 0, or the code of the rejection; events of what was done."""

    code: U16 = OK
    events: tuple[Event, ...] = ()


def receipts_root(receipts: list[Receipt]) -> bytes:
    """Return the RFC 6962 root over the receipts, in block order."""
    return list_root([encode(receipt) for receipt in receipts])
