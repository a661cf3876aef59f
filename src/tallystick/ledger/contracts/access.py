"""Who may read: a task's own members, and whoever paid its fee.

The fee goes to the task's members in equal parts; the remainder of the division goes to its owner.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import U63
from tallystick.errors import RejectedError
from tallystick.ledger.collect.rows import TASKS, TERMS
from tallystick.ledger.contracts import accounts
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import BuyAccess

__all__ = ["AccessError", "NoAccessError", "check_access", "handle_buy", "has_access"]


class AccessError(RejectedError):
    """Nothing to buy: no such task, access held already, or a fee above the stated budget."""

    slug: ClassVar[str] = "access"
    code: ClassVar[int] = 431


class NoAccessError(RejectedError):
    """The reader is no party to the task and has not paid its fee."""

    slug: ClassVar[str] = "no-access"
    code: ClassVar[int] = 432


READERS: Table[int] = Table(0x38, U63)


def has_access(state: State, task: bytes, reader: str) -> bool:
    """Whether ``reader`` may read the task's models: a party, or somebody who paid."""
    terms = state.get(TERMS, task)
    if terms is None:
        return False
    return reader in terms.parties or state.get(READERS, task, reader) is not None


def check_access(state: State, task: bytes, reader: str) -> None:
    """Refuse a reader without access.

    Raises
    ------
    NoAccessError
        Neither a party to the task nor paid.
    """
    if not has_access(state, task, reader):
        msg = f"'{reader}' has not paid to read this task's models"
        raise NoAccessError(msg)


def handle_buy(state: State, context: Context, message: BuyAccess) -> tuple[Event, ...]:
    """Take the fee and open the task's models to the sender."""
    terms = state.get(TERMS, message.task)
    if terms is None or state.get(TASKS, message.task) is None:
        msg = "no such task"
        raise AccessError(msg)
    if has_access(state, message.task, context.sender):
        msg = "access is held already"
        raise AccessError(msg)
    if terms.read_fee > message.budget:
        msg = f"the fee is {terms.read_fee}, the budget {message.budget}"
        raise AccessError(msg)
    receivers = terms.roster("members")
    share, rest = divmod(terms.read_fee, len(receivers))
    for member in receivers:
        micros = share + (rest if member == terms.owner else 0)
        accounts.move(state, context.sender, member, micros)
    if terms.owner not in receivers:
        accounts.move(state, context.sender, terms.owner, rest)
    state.put(READERS, message.task, context.sender, row=terms.read_fee)
    return (Event("access", message.task.hex(), terms.read_fee),)
