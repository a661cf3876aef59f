"""What a handler may know besides the state: who asks, and the block it happens in."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Context"]


@dataclass(frozen=True, slots=True)
class Context:
    """The sender and the block.

    Attributes
    ----------
    sender, key, key_role
        The member, the index of the key that signed, and that key's role.
    time, parent_time
        Of the block and of its parent, in milliseconds.
    height
        Of the block; a round never sees it.
    genesis
        The genesis hash.
    wire
        The transaction's bytes, for the task's log.
    sealer
        Who seals a solo ledger; empty on other engines.
    trial, faults
        Whether the genesis is a trial, and how many faulty validators the engine tolerates.
    chain_id
        What CometBFT calls the ledger, in every vote; empty on other engines.
    """

    sender: str
    key: int
    key_role: str
    time: int
    parent_time: int
    height: int
    genesis: bytes
    wire: bytes = b""
    sealer: str = ""
    trial: bool = False
    faults: int = 0
    chain_id: str = ""
