"""What a block of ours carries as evidence when CometBFT orders it, and how that is checked.

The evidence is the light block of the same height. It fixes the block's transactions, its time and
the state before it; the state that the block leads to is what the next one's evidence fixes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.codec import decode
from tallystick.consensus.cometbft.chain import check_first, check_next
from tallystick.consensus.cometbft.commits import LightBlock, check_commit
from tallystick.consensus.cometbft.headers import data_hash
from tallystick.errors import VerificationError
from tallystick.ledger.block import header_hash, transactions_root

if TYPE_CHECKING:
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.genesis import Genesis

__all__ = ["check_binding", "check_evidence"]


def check_evidence(
    genesis: Genesis, parent: Header, before: LightBlock | None, block: Block
) -> LightBlock:
    """Check that a block of ours is final after its parent, and return its light block.

    Parameters
    ----------
    parent
        The header before the block, whose state root is known to be right.
    before
        The light block of ``parent``, checked before; None when that is the header of height 0.

    Raises
    ------
    DecodeError
        The evidence is not the canonical encoding of a light block.
    VerificationError
        The evidence does not check out, does not follow the one before, or is of another block.
    """
    light = decode(LightBlock, block.evidence)
    check_commit(light)
    if before is None:
        check_first(genesis, light)
    else:
        check_next(before, light)
    check_binding(parent, light, block)
    return light


def check_binding(parent: Header, light: LightBlock, block: Block) -> None:
    """Check that a final CometBFT block is this block of ours, on the state of its parent.

    Raises
    ------
    VerificationError
        Height, parent, time, transactions or the state before are not the same.
    """
    header, at = block.header, f"the block at height {block.header.height}"
    if header.height != light.height or header.height != parent.height + 1:
        msg = f"{at} has evidence of height {light.height}, after a parent of {parent.height}"
        raise VerificationError(msg)
    if header.chain != parent.chain or header.parent != header_hash(parent):
        msg = f"{at} has another parent or is of another chain"
        raise VerificationError(msg)
    if header.time != light.header.time.milliseconds:
        msg = f"{at} states another time than its evidence"
        raise VerificationError(msg)
    ordered = light.header.data_hash == data_hash(block.transactions)
    if not ordered or header.tx_root != transactions_root(block.transactions):
        msg = f"{at} has other transactions than those that were ordered"
        raise VerificationError(msg)
    if light.header.app_hash != parent.state_root:
        msg = f"{at} was ordered on another state than its parent's"
        raise VerificationError(msg)
