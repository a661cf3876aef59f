"""What rounds took, read from the ledger: seconds and blocks, by executing it once more."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from tallystick.ledger.collect.rows import NAMES, TASKS
from tallystick.ledger.kernel import Kernel
from tallystick.ledger.messages import Collect, Open
from tallystick.mechanisms.records import ROUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tallystick.consensus.engine import Engine
    from tallystick.ledger.messages import Message

__all__ = ["RoundCost", "count_steps", "round_costs"]

Step = frozenset[tuple[str, str]]  # what is said together: stages, each with a kind of record


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
    steps
        How many it cannot do without, however fast everybody is: each kind of record answers a
        block with those before it, but for what is said together.
    transactions
        All of theirs.
    """

    seconds: float
    blocks: int
    full: int
    steps: int
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
    said: list[list[Step]] = [[]]  # by height, for each transaction
    for block in engine.blocks(1):
        outcome = kernel.apply(state, head, block)
        state.commit(outcome.changes)
        head = outcome.header
        said.append([_step(tx.body.message) for tx in outcome.transactions])
        mark = _Mark(head.height, head.time)
        task = state.get(NAMES, name)
        row = None if task is None else state.get(TASKS, task)
        if row is not None and row.phase == ROUND:
            began.setdefault(row.round, mark)
        elif row is not None and began and ended is None:
            ended = mark
    marks = [began[number] for number in sorted(began)] + ([ended] if ended else [])
    return tuple(_cost(first, last, said) for first, last in pairwise(marks))


def count_steps(said: Iterable[Step]) -> int:
    """Return into how many groups transactions fall where those that share something are one.

    Examples
    --------
    >>> both = frozenset({("update", "Opinion"), ("screen", "Attestation")})
    >>> one = frozenset({("screen", "Attestation")})
    >>> count_steps([both, one, frozenset({("screen", "Open")})])
    2
    """
    groups: list[Step] = []
    for step in said:
        apart = [group for group in groups if not group & step]
        together = step.union(*(group for group in groups if group & step))
        groups = [*apart, together] if together else apart
    return len(groups)


def _step(message: Message) -> Step:
    if isinstance(message, Collect):
        return frozenset((each.stage, type(each.record).__name__) for each in message.entries)
    if isinstance(message, Open):
        return frozenset((each.stage, "Open") for each in message.openings)
    return frozenset()


def _cost(first: _Mark, last: _Mark, said: Sequence[list[Step]]) -> RoundCost:
    blocks = said[first.height + 1 : last.height + 1]
    return RoundCost(
        seconds=(last.time - first.time) / 1000,
        blocks=len(blocks),
        full=sum(bool(steps) for steps in blocks),
        steps=count_steps(step for steps in blocks for step in steps),
        transactions=sum(map(len, blocks)),
    )
