"""From our genesis to a block, offline: every header that hands over to other validators, checked.

No clock and no trusting period: what is trusted is that no past set's keys were misused by more
than two thirds of its power, then or later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.consensus.cometbft.commits import LightBlock, check_commit, signers
from tallystick.consensus.cometbft.validators import founding_validators, power_of
from tallystick.crypto.votes import BlockId
from tallystick.errors import VerificationError
from tallystick.ledger.genesis import engine_chain_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.consensus.cometbft.headers import CometHeader
    from tallystick.ledger.genesis import Genesis

__all__ = ["check_chain", "check_first", "check_next"]


def check_chain(genesis: Genesis, lights: Iterable[LightBlock]) -> LightBlock:
    """Check blocks from height 1 upwards and return the last, which then is final.

    Between two of them blocks may be left out where the later one's validators are those that the
    earlier named, or where more than two thirds of the earlier one's power signed the later.

    Raises
    ------
    VerificationError
        The first is not what the genesis founds, a step is too long, or a block is wrong.
    """
    last: LightBlock | None = None
    for light in lights:
        check_commit(light)
        if last is None:
            check_first(genesis, light)
        elif light.height == last.height + 1:
            check_next(last, light)
        else:
            _check_later(last.header, light.header)
            _check_handed_over(last, light)
        last = light
    if last is None:
        msg = "a chain of no blocks shows nothing"
        raise VerificationError(msg)
    return last


def check_first(genesis: Genesis, light: LightBlock) -> None:
    """Check that a block with a good commit is the first of the chain that the genesis founds.

    Raises
    ------
    VerificationError
        Its chain, height, time, validators or parent is not.
    """
    header = light.header
    if genesis.engine != "cometbft":
        msg = f"the genesis is for the engine '{genesis.engine}', not for cometbft"
        raise VerificationError(msg)
    if header.chain_id != engine_chain_id(genesis):
        msg = f"the header is of chain '{header.chain_id}', not of '{engine_chain_id(genesis)}'"
        raise VerificationError(msg)
    if header.height != 1 or header.last_block_id != BlockId():
        msg = "the first block is not one of height 1 without a parent"
        raise VerificationError(msg)
    if header.time.total != genesis.time * 10**6:
        msg = "the first block does not have the time of the genesis"
        raise VerificationError(msg)
    if light.validators != founding_validators(genesis):
        msg = "the validators of the first block are not those of the genesis"
        raise VerificationError(msg)


def check_next(before: LightBlock, light: LightBlock) -> None:
    """Check that a block follows another directly; both commits have been checked.

    Raises
    ------
    VerificationError
        It has another chain, height, parent or set of validators, or is not later.
    """
    _check_later(before.header, light.header)
    if light.height != before.height + 1:
        msg = f"height {light.height} does not follow height {before.height}"
        raise VerificationError(msg)
    if light.header.validators_hash != before.header.next_validators_hash:
        msg = f"the validators of height {light.height} are not those the block before named"
        raise VerificationError(msg)
    if light.header.last_block_id != before.commit.block_id:
        msg = f"the block at height {light.height} has another parent"
        raise VerificationError(msg)


def _check_later(before: CometHeader, header: CometHeader) -> None:
    if header.chain_id != before.chain_id:
        msg = f"the header is of chain '{header.chain_id}', not of '{before.chain_id}'"
        raise VerificationError(msg)
    if header.height <= before.height or header.time.total <= before.time.total:
        msg = f"the block at height {header.height} does not come after that of {before.height}"
        raise VerificationError(msg)


def _check_handed_over(before: LightBlock, light: LightBlock) -> None:
    """Check that the validators of ``before`` answer for the later block."""
    if light.header.validators_hash == before.header.next_validators_hash:
        return
    voters = set(signers(light))
    known = power_of(each for each in before.validators if each.public in voters)
    if known * 3 <= power_of(before.validators) * 2:
        msg = (
            f"the validators of height {before.height} did not hand over to those of height "
            f"{light.height}: a block between the two is missing"
        )
        raise VerificationError(msg)
