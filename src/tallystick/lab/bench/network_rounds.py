"""What rounds took, read from the ledger: seconds and blocks, by executing it once more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tallystick.ledger.collect.rows import NAMES, TASKS
from tallystick.ledger.kernel import Kernel
from tallystick.mechanisms.records import ROUND

if TYPE_CHECKING:
    from tallystick.consensus.engine import Engine

__all__ = ["RoundCost", "round_costs"]


@dataclass(frozen=True, slots=True)
class RoundCost:
    """From the block that began a round to the one that began the next, or ended the task.

    Attributes
    ----------
    seconds
        By the blocks' times.
    blocks
        How many came after the one that began it, the last one counted.
    full
        Those of them that hold transactions.
    transactions
        All of theirs.
    """

    seconds: float
    blocks: int
    full: int
    transactions: int


@dataclass(frozen=True, slots=True)
class _Mark:
    height: int
    time: int


def round_costs(engine: Engine, name: str) -> tuple[RoundCost, ...]:
    """Return what each round of a task took."""
    kernel = Kernel(engine.genesis)
    state, head = kernel.found()
    began: dict[int, _Mark] = {}
    ended: _Mark | None = None
    held: list[int] = [0]  # transactions by height
    for block in engine.blocks(1):
        outcome = kernel.apply(state, head, block)
        state.commit(outcome.changes)
        head = outcome.header
        held.append(len(outcome.transactions))
        mark = _Mark(head.height, head.time)
        task = state.get(NAMES, name)
        row = None if task is None else state.get(TASKS, task)
        if row is not None and row.phase == ROUND:
            began.setdefault(row.round, mark)
        elif row is not None and began and ended is None:
            ended = mark
    marks = [began[number] for number in sorted(began)] + ([ended] if ended else [])
    return tuple(_cost(first, last, held) for first, last in pairwise(marks))


def _cost(first: _Mark, last: _Mark, held: list[int]) -> RoundCost:
    counts = held[first.height + 1 : last.height + 1]
    return RoundCost(
        seconds=(last.time - first.time) / 1000,
        blocks=len(counts),
        full=sum(count > 0 for count in counts),
        transactions=sum(counts),
    )
