"""Execute a bundle's blocks again from genesis: every root, seal and log record anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tallystick.consensus.finality import check_final, orderers
from tallystick.errors import (
    DecodeError,
    InvariantError,
    RejectedError,
    VerificationError,
)
from tallystick.ledger.block import header_hash
from tallystick.ledger.collect.installed import needing_rules
from tallystick.ledger.contracts.members import MEMBERS, ROLL
from tallystick.ledger.contracts.validators import VALIDATORS
from tallystick.ledger.kernel import Kernel
from tallystick.provenance.timeline import Timeline

if TYPE_CHECKING:
    from tallystick.ledger.block import Block, Header
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.state import State
    from tallystick.provenance.bundle import Bundle

__all__ = ["Checkpoint", "Executed", "FinalityError", "HistoryError", "execute"]

Checkpoint = tuple[int, bytes]
WHO = {MEMBERS.prefix, ROLL.prefix, VALIDATORS.prefix}  # tables that a timeline follows


class FinalityError(VerificationError):
    """The blocks are not what the engine made final."""

    slug: ClassVar[str] = "finality"


class HistoryError(VerificationError):
    """What the ledger says happened does not follow from what was signed."""

    slug: ClassVar[str] = "history"


@dataclass(frozen=True, slots=True)
class Executed:
    """A ledger brought to its final height.

    Attributes
    ----------
    state, head
        After the last block.
    leaves
        The task's log, each record with the height of the block that added it.
    timeline
        Who was a member when.
    evidence
        What the last block was made final by.
    """

    kernel: Kernel
    state: State
    head: Header
    leaves: list[tuple[int, bytes]]
    timeline: Timeline
    evidence: bytes


def execute(bundle: Bundle, checkpoint: Checkpoint | None = None) -> Executed:
    """Execute every block of the bundle.

    Raises
    ------
    FinalityError
        A header does not follow from its parent, a block was not made final, or the checkpoint's
        block is another one.
    HistoryError
        A block claims what its transactions do not do.
    ConfigError
        A task uses a third party's rule that is not installed here.
    UnsupportedProtocolError
        The ledger went on to a version this program does not know.
    """
    genesis, task = bundle.genesis, bundle.head.task
    kernel = Kernel(genesis)
    state, head = kernel.found()
    timeline = Timeline()
    timeline.note(1, state)
    leaves: list[tuple[int, bytes]] = []
    evidence = b""
    _compare(checkpoint, head)
    for block in bundle.blocks():
        _check_order(kernel.chain, head, block)
        _check_final(genesis, state, head, evidence, block)
        evidence = block.evidence
        try:
            with needing_rules():
                outcome = kernel.apply(state, head, block)
        except (RejectedError, InvariantError) as error:
            msg = f"block {block.header.height} {error}"
            raise HistoryError(msg) from error
        state.commit(outcome.changes)
        head = outcome.header
        leaves += [(head.height, leaf) for owner, leaf in outcome.logged if owner == task]
        if any(key[0] in WHO for key in outcome.changes):
            timeline.note(head.height + 1, state)
        _compare(checkpoint, head)
    if checkpoint is not None and checkpoint[0] > head.height:
        msg = f"the checkpoint is at height {checkpoint[0]}, the bundle ends at {head.height}"
        raise FinalityError(msg)
    return Executed(kernel, state, head, leaves, timeline, evidence)


def _check_order(chain: bytes, parent: Header, block: Block) -> None:
    header = block.header
    if header.chain != chain:
        msg = f"block {header.height} belongs to another ledger"
        raise FinalityError(msg)
    if header.height != parent.height + 1 or header.parent != header_hash(parent):
        msg = f"block {header.height} does not follow block {parent.height}"
        raise FinalityError(msg)


def _check_final(
    genesis: Genesis, state: State, parent: Header, before: bytes, block: Block
) -> None:
    try:
        check_final(genesis, state, parent, before, block)
    except (DecodeError, VerificationError) as error:
        msg = f"block {block.header.height} does not carry the seal of {orderers(genesis)}: {error}"
        raise FinalityError(msg) from error


def _compare(checkpoint: Checkpoint | None, header: Header) -> None:
    if checkpoint is not None and checkpoint[0] == header.height:
        found = header_hash(header)
        if found != checkpoint[1]:
            msg = f"block {header.height} has hash {found.hex()}, not the checkpoint's"
            raise FinalityError(msg)
