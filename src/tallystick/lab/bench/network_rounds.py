"""What rounds took, read from the ledger: seconds and blocks, by executing it once more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tallystick.ledger.collect.rows import NAMES, STAGES, TASKS
from tallystick.ledger.kernel import Kernel
from tallystick.mechanisms.records import ROUND

if TYPE_CHECKING:
    from tallystick.consensus.engine import Engine
    from tallystick.ledger.collect.rows import TaskRow
    from tallystick.ledger.state import State

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
    sequential
        Those after which somebody owes something new: a window was shut or opened. Fewer are not
        possible, however fast everybody is.
    """

    seconds: float
    blocks: int
    full: int
    transactions: int
    sequential: int


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
    turned: list[bool] = [False]  # whether somebody owes something new after it
    before: object = None
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
        windows = _windows(state, row)
        turned.append(windows != before)
        before = windows
    marks = [began[number] for number in sorted(began)] + ([ended] if ended else [])
    return tuple(_cost(first, last, held, turned) for first, last in pairwise(marks))


def _windows(state: State, row: TaskRow | None) -> object:
    """Return what is open in a task: where everybody's next duty comes from."""
    if row is None:
        return None
    stages = [state.get(STAGES, key) for key in row.open]
    return row.phase, row.round, [(stage.key, stage.window) for stage in stages if stage]


def _cost(first: _Mark, last: _Mark, held: list[int], turned: list[bool]) -> RoundCost:
    counts = held[first.height + 1 : last.height + 1]
    return RoundCost(
        seconds=(last.time - first.time) / 1000,
        blocks=len(counts),
        full=sum(count > 0 for count in counts),
        transactions=sum(counts),
        sequential=sum(turned[first.height + 1 : last.height + 1]),
    )
