"""The same task over mined blocks: branches are mined side by side and die, and nothing is doubled.

What is looked at is what all nodes hold in the end, and every block that was ever found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tallystick.codec import decode
from tallystick.lab.demos.audit import money_in
from tallystick.lab.demos.checks import Check, at_least, same
from tallystick.lab.demos.world import scratch_folder
from tallystick.lab.mined import Mining, run_mined
from tallystick.ledger.collect.notes import Note, Paid
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import Collect
from tallystick.mechanisms.records import Seal
from tallystick.provenance.history import parse_signed

if TYPE_CHECKING:
    from tallystick.lab.demos.world import World
    from tallystick.lab.mined import MinedRun
    from tallystick.ledger.block import Block

__all__ = ["MINING", "Spoken", "fork_checks", "said_in"]

MINING = Mining(tries=256)
ROUNDS = 2

Name = tuple[int, int, str, str, str]  # phase, round, stage, group, member


@dataclass
class Spoken:
    """Which seals and reveals some blocks hold, each with the heights it is at."""

    seals: dict[Name, list[int]] = field(default_factory=dict[Name, list[int]])
    reveals: dict[Name, list[int]] = field(default_factory=dict[Name, list[int]])

    @property
    def depths(self) -> list[int]:
        """How many blocks each reveal lies above the last seal before it; -1 for none at all."""
        found: list[int] = []
        for name, heights in self.reveals.items():
            for height in heights:
                under = [at for at in self.seals.get(name, ()) if at <= height]
                found.append(height - max(under) if under else -1)
        return found


def fork_checks(world: World, prefix: str = "", mining: Mining = MINING) -> Iterable[Check]:
    """Yield what becomes of a short run of the world's task while branches die."""
    short = replace(world, rounds=min(ROUNDS, world.rounds))
    with scratch_folder() as folder:
        alone = short.run(folder / "alone")
        mined = run_mined(short, folder / "mined", mining)
    yield from _branches(mined, prefix)
    yield from _once(mined, prefix)
    yield from _reveals(mined, mining, prefix)
    yield same(
        f"{prefix}fork-same-model",
        mined.row.model.root.hex() if mined.row.model else None,
        alone.model_root,
        "The model is the one that the same members make with a single sealer, bit for bit.",
    )


def said_in(blocks: Iterable[Block]) -> Spoken:
    """Return which seals and reveals the blocks hold."""
    spoken = Spoken()
    for block in blocks:
        for wire in block.transactions:
            body = parse_signed(wire)
            if not isinstance(body.message, Collect):
                continue
            for entry in body.message.entries:
                name = (entry.phase, entry.round, entry.stage, entry.group, body.sender)
                if isinstance(entry.record, Seal):
                    spoken.seals.setdefault(name, []).append(block.header.height)
                elif entry.salt:
                    spoken.reveals.setdefault(name, []).append(block.header.height)
    return spoken


def _branches(mined: MinedRun, prefix: str) -> Iterable[Check]:
    dead, nodes = mined.orphaned, mined.network.nodes
    depths = mined.reorganisations
    both = {wire for block in dead for wire in block.transactions}
    both &= {wire for block in mined.node.branch for wire in block.transactions}
    yield at_least(
        f"{prefix}fork-both-branches-mined",
        len(both),
        1,
        f"{len(dead)} of {len(mined.network.mined)} blocks died on branches that were mined side "
        f"by side; so many transactions were in a dead block and in a living one.",
    )
    yield at_least(
        f"{prefix}fork-rolled-back",
        len(depths),
        1,
        f"Reorganisations, each of which took back {max(depths, default=0)} blocks at most.",
    )
    yield same(
        f"{prefix}fork-converged",
        len({(node.tip, node.tip_state.root) for node in nodes}),
        1,
        f"The {len(nodes)} nodes end with one tip and one state root.",
    )


def _once(mined: MinedRun, prefix: str) -> Iterable[Check]:
    reveals = said_in(mined.node.branch).reveals
    yield same(
        f"{prefix}fork-counted-once",
        sum(len(heights) - 1 for heights in reveals.values()),
        0,
        f"Records counted more than once, of {len(reveals)} that were revealed.",
    )
    paid: Counter[tuple[int, str, str]] = Counter()
    for _, leaf in mined.node.leaves(mined.task):
        note = decode(Note, leaf)  # pyright: ignore[reportArgumentType] - a union is a type
        if isinstance(note, Paid):
            paid[note.round, note.member, note.what] += 1
    yield same(
        f"{prefix}fork-paid-once",
        sum(times - 1 for times in paid.values()),
        0,
        f"Payments made more than once, of {len(paid)}.",
    )
    kernel = Kernel(mined.node.genesis)
    supply = sum(founder.micros for founder in mined.node.genesis.founders)
    state, head = kernel.found()
    off = 0
    for block in mined.node.branch:
        outcome = kernel.apply(state, head, block)
        state.commit(outcome.changes)
        head = outcome.header
        off += money_in(state) != supply
    yield same(
        f"{prefix}fork-supply-constant",
        off,
        0,
        f"Blocks after which the money does not add up, of {len(mined.node.branch)} that a replica "
        "executes from genesis.",
    )


def _reveals(mined: MinedRun, mining: Mining, prefix: str) -> Iterable[Check]:
    depths = said_in(mined.node.branch).depths
    yield at_least(
        f"{prefix}fork-reveal-depth",
        min(depths, default=None),
        mining.confirmations,
        f"Blocks between a seal and its reveal, the fewest of {len(depths)}.",
    )
    exposed = Spoken(said_in(mined.node.branch).seals, said_in(mined.orphaned).reveals).depths
    yield same(
        f"{prefix}fork-reveals-unexposed",
        sum(depth < mining.confirmations for depth in exposed),
        0,
        "Reveals in dead blocks whose seal did not lie as deep on the branch that lived, of "
        f"{len(exposed)}.",
    )
