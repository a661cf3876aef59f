"""Versions and tombstones of what is kept encrypted off the ledger.

Deleting from a ledger is not possible, and not needed: it holds digests only. To delete is to
destroy the key of the encrypted bytes and to say so with a tombstone; the digest stays, and with it
everything that was proved about the plain bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tallystick.ledger.collect.rows import TERMS
from tallystick.ledger.contracts import access, registry
from tallystick.ledger.receipt import Event

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import Erase, Publish
    from tallystick.ledger.state import State

__all__ = ["handle_erase", "handle_publish"]


def handle_publish(state: State, context: Context, message: Publish) -> tuple[Event, ...]:
    """Write a pointer; a version in another's place belongs to that one's owner."""
    owner = context.sender
    if message.replaces:
        before = access.check_right(state, context, message.replaces, "update")
        if before.next:
            msg = "another version has taken its place"
            raise registry.SpentPointerError(msg)
        owner = before.owner
        after = msgspec.structs.replace(before, next=message.digest)
        registry.put_pointer(state, message.replaces, after)
    _check_new(state, message.digest, owner)
    row = registry.Pointer(
        owner=owner,
        kind=message.kind,
        size=message.size,
        stored=message.stored,
        stored_size=message.stored_size,
        replaces=message.replaces,
    )
    registry.put_pointer(state, message.digest, row)
    return (Event("pointer", message.digest.hex(), message.stored_size),)


def handle_erase(state: State, context: Context, message: Erase) -> tuple[Event, ...]:
    """Put a tombstone on the pointer; its digest and its history stay."""
    row = access.check_right(state, context, message.digest, "delete")
    registry.put_pointer(state, message.digest, msgspec.structs.replace(row, erased=True))
    return (Event("erased", message.digest.hex()),)


def _check_new(state: State, digest: bytes, owner: str) -> None:
    """Refuse a digest that has a pointer, or that somebody else has registered or made."""
    made, data = registry.model(state, digest), registry.dataset(state, digest)
    terms = None if made is None else state.get(TERMS, made.task)
    others = {terms.owner} if terms is not None else set[str]()
    if data is not None:
        others.add(data.owner)
    if state.get(registry.POINTERS, digest) is not None or others - {owner}:
        raise registry.RegisteredAlreadyError
