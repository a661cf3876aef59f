"""From a message to the contract that handles it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.ledger.contracts import (
    access,
    accounts,
    budgets,
    changes,
    members,
    pointers,
    registry,
    tasks,
    validators,
)
from tallystick.ledger.messages import (
    Accuse,
    BuyAccess,
    CloseTask,
    Collect,
    DeclareBudget,
    Equivocate,
    Erase,
    GrantToken,
    Open,
    ProposeChange,
    ProposeTask,
    Publish,
    Read,
    RegisterDataset,
    RevokeToken,
    RotateKey,
    Transfer,
    Vote,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.ledger.context import Context
    from tallystick.ledger.messages import Message
    from tallystick.ledger.receipt import Event
    from tallystick.ledger.state import State

__all__ = ["PROOFS", "WORKERS", "handle"]

PROOFS = (Equivocate,)  # what any key may sign: it speaks for itself
WORKERS = (Collect, Open, Accuse, RegisterDataset)  # what a worker key may sign: a task's work
HANDLERS: dict[type, Callable[[State, Context, Any], tuple[Event, ...]]] = {
    Transfer: accounts.handle_transfer,
    RotateKey: members.handle_rotate,
    ProposeChange: changes.handle_propose,
    Vote: changes.handle_vote,
    ProposeTask: tasks.handle_propose,
    Collect: tasks.handle_collect,
    Open: tasks.handle_open,
    Accuse: tasks.handle_accuse,
    CloseTask: tasks.handle_close,
    RegisterDataset: registry.handle_dataset,
    BuyAccess: access.handle_buy,
    DeclareBudget: budgets.handle_declare,
    Equivocate: validators.handle_equivocate,
    Publish: pointers.handle_publish,
    Erase: pointers.handle_erase,
    GrantToken: access.handle_grant,
    RevokeToken: access.handle_revoke,
    Read: access.handle_read,
}


def handle(state: State, context: Context, message: Message) -> tuple[Event, ...]:
    """Execute a message on ``state``; whoever calls drops the state if this raises.

    Raises
    ------
    RejectedError
        The contract refuses it, or the key's role does not cover it: an owner key may do
        everything, a worker key a task's work, a validator key nothing but seal and vote on
        blocks. Any key may hand in the proof that a validator equivocated.
    """
    working = context.key_role == "worker" and isinstance(message, WORKERS)
    working = working or isinstance(message, PROOFS)
    if context.key_role != "owner" and not working:
        msg = f"a {context.key_role} key cannot sign '{type(message).__name__}'"
        raise members.MembershipError(msg)
    return HANDLERS[type(message)](state, context, message)
