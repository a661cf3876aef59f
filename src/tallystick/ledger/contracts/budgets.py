"""Privacy spent: a budget for each data set, across tasks.

The owner of a data set declares how much epsilon may be spent of it in all, at which delta. A
record of a stage that costs privacy is charged when it, or the seal over it, is taken; nothing is
given back, since the ledger cannot see what left a member. What is charged is what the terms
declare: nobody but the author can see whether the noise was added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from tallystick.codec import U63, Record
from tallystick.errors import RejectedError
from tallystick.ledger.contracts import registry
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table
from tallystick.mechanisms.theory.rdp import ORDERS, compose, epsilon_of

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import DeclareBudget
    from tallystick.mechanisms.theory.rdp import Charge

__all__ = [
    "Budget",
    "BudgetError",
    "BudgetExhaustedError",
    "assume",
    "budget",
    "charge",
    "charged",
    "check_budget",
    "handle_declare",
]


class BudgetExhaustedError(RejectedError):
    """What the record costs in privacy exceeds what is left of its data set's budget."""

    slug: ClassVar[str] = "budget-exhausted"
    code: ClassVar[int] = 441


class BudgetError(RejectedError):
    """No data set of the sender's with a budget at this delta, or a budget that would be raised."""

    slug: ClassVar[str] = "budget"
    code: ClassVar[int] = 442


class Budget(Record):
    """What may be spent of a data set, and what was: sums at each order, billionths."""

    epsilon_nanos: U63
    delta_picos: U63
    spent: Annotated[tuple[U63, ...], msgspec.Meta(max_length=256)] = (0,) * len(ORDERS)
    charges: U63 = 0


BUDGETS: Table[Budget] = Table(0x40, Budget)


def budget(state: State, member: str, dataset: bytes) -> Budget | None:
    """Return a data set's budget and what was spent of it."""
    return state.get(BUDGETS, member, dataset)


def handle_declare(state: State, context: Context, message: DeclareBudget) -> tuple[Event, ...]:
    """Write a data set's budget, or lower it."""
    _check_owner(state, context.sender, message.dataset)
    limits = (message.epsilon_nanos, message.delta_picos)
    known = budget(state, context.sender, message.dataset)
    if known is None:
        row = Budget(*limits)
    elif limits[0] > known.epsilon_nanos or limits[1] > known.delta_picos:
        msg = "a budget can be lowered, never raised"
        raise BudgetError(msg)
    else:
        row = msgspec.structs.replace(known, epsilon_nanos=limits[0], delta_picos=limits[1])
    state.put(BUDGETS, context.sender, message.dataset, row=row)
    return (Event("budget", message.dataset.hex(), message.epsilon_nanos),)


def check_budget(state: State, member: str, dataset: bytes) -> Budget:
    """Return the budget of a member's data set.

    Raises
    ------
    BudgetError
        Another's data set, one that is not registered, or one without a budget.
    """
    _check_owner(state, member, dataset)
    known = budget(state, member, dataset)
    if known is None:
        msg = f"'{member}' declared no budget for data set {dataset.hex()[:12]}"
        raise BudgetError(msg)
    return known


def charged(state: State, member: str, dataset: bytes, cost: Charge) -> Budget:
    """Return a data set's budget as it is after ``cost``; nothing is written.

    Raises
    ------
    BudgetError
        There is no budget, or epsilon is asked for at a larger delta than the budget's.
    BudgetExhaustedError
        Not enough is left.
    """
    known = check_budget(state, member, dataset)
    if cost.delta_picos > known.delta_picos:
        msg = f"the terms count at a delta of {cost.delta_picos}, above {known.delta_picos}"
        raise BudgetError(msg)
    spent = compose(known.spent, cost.rdp)
    after = epsilon_of(spent, cost.table)
    if after > known.epsilon_nanos:
        msg = f"epsilon would be {after} billionths, the budget is {known.epsilon_nanos}"
        raise BudgetExhaustedError(msg)
    return msgspec.structs.replace(known, spent=spent, charges=known.charges + 1)


def charge(state: State, member: str, dataset: bytes, cost: Charge) -> None:
    """Spend ``cost`` of a member's data set; raises as `charged`."""
    state.put(BUDGETS, member, dataset, row=charged(state, member, dataset, cost))


def assume(state: State, member: str, dataset: bytes) -> None:
    """Let a data set have all the budget there is: for whoever derives one task's log alone."""
    if budget(state, member, dataset) is None:
        state.put(registry.DATASETS, dataset, row=registry.Dataset(member, 0, "file"))
        state.put(BUDGETS, member, dataset, row=Budget(2**63 - 1, 10**12))


def _check_owner(state: State, member: str, dataset: bytes) -> None:
    row = registry.dataset(state, dataset)
    if row is None or row.owner != member:
        msg = f"'{member}' has registered no data set {dataset.hex()[:12] or 'for this stage'}"
        raise BudgetError(msg)
