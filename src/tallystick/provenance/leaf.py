"""Records of a task's log, and the transactions inside them, from their bytes."""

from __future__ import annotations

from typing import cast

from tallystick.codec import decode
from tallystick.ledger.collect.notes import Note
from tallystick.ledger.transaction import Body, SignedTransaction

__all__ = ["parse_leaf", "parse_signed"]


def parse_leaf(leaf: bytes) -> Note:
    """Return the record that a leaf encodes.

    Raises
    ------
    DecodeError
        It is no record, or not in its one encoding.
    """
    return decode(cast("type[Note]", Note), leaf)


def parse_signed(wire: bytes) -> Body:
    """Return the body of a transaction in a log; its signature is not checked here.

    Raises
    ------
    DecodeError
        Not a canonical transaction.
    """
    return decode(Body, decode(SignedTransaction, wire).body)
