"""Money: balances, escrow, bonds and the sink, in micro-units.

Nothing here creates or destroys any: at the end of every block, balances + escrow + bonds + sink
equal the supply, which is the genesis plus voted grants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tallystick.codec import U63, Record, check_range
from tallystick.errors import RejectedError
from tallystick.ledger.contracts.members import active_members
from tallystick.ledger.receipt import Event
from tallystick.ledger.state import State, Table

if TYPE_CHECKING:
    from tallystick.ledger.context import Context
    from tallystick.ledger.genesis import Genesis
    from tallystick.ledger.messages import Grant, Transfer

__all__ = [
    "InsufficientFundsError",
    "Totals",
    "UnknownPayeeError",
    "balance",
    "bond_of",
    "escrow",
    "forfeit",
    "forfeit_bond",
    "found",
    "fund_escrow",
    "grant",
    "handle_transfer",
    "lock_bond",
    "move",
    "pay_from_escrow",
    "release_bond",
    "totals",
]


MOST_SUPPLY = 2**62


class InsufficientFundsError(RejectedError):
    """The balance does not cover the amount."""

    slug: ClassVar[str] = "insufficient-funds"
    code: ClassVar[int] = 411


class UnknownPayeeError(RejectedError):
    """The payee is no member, or the sender itself."""

    slug: ClassVar[str] = "unknown-payee"
    code: ClassVar[int] = 412


class Totals(Record):
    """Where all money is; the first four add up to the supply."""

    balances: U63
    escrow: U63
    bonds: U63
    sink: U63
    supply: U63


class Bond(Record):
    """What a member has at stake in a task: for this round, and for the whole task."""

    round: U63 = 0
    standing: U63 = 0


BALANCES: Table[int] = Table(0x10, U63)
ESCROW: Table[int] = Table(0x11, U63)
BONDS: Table[Bond] = Table(0x12, Bond)
TOTALS: Table[Totals] = Table(0x13, Totals)


def found(state: State, genesis: Genesis) -> None:
    """Write the founders' balances."""
    supply = sum(founder.micros for founder in genesis.founders)
    for founder in genesis.founders:
        state.put(BALANCES, founder.id, row=founder.micros)
    state.put(TOTALS, row=Totals(supply, 0, 0, 0, supply))


def totals(state: State) -> Totals:
    """Return where all money is."""
    return state.get(TOTALS) or Totals(0, 0, 0, 0, 0)


def balance(state: State, member: str) -> int:
    """Return a member's free money."""
    return state.get(BALANCES, member) or 0


def escrow(state: State, task: bytes) -> int:
    """Return what a task may still pay out."""
    return state.get(ESCROW, task) or 0


def bond_of(state: State, task: bytes, member: str) -> Bond:
    """Return what a member has at stake in a task."""
    return state.get(BONDS, task, member) or Bond()


def handle_transfer(state: State, context: Context, message: Transfer) -> tuple[Event, ...]:
    """Move money from the sender to another member."""
    if message.to == context.sender or message.to not in active_members(state):
        msg = f"'{message.to}' cannot be paid"
        raise UnknownPayeeError(msg)
    move(state, context.sender, message.to, message.micros)
    return (Event("transfer", message.to, message.micros),)


def move(state: State, payer: str, payee: str, micros: int) -> None:
    """Move free money from one member to another.

    Raises
    ------
    InsufficientFundsError
        The payer's balance does not cover it.
    """
    _take(state, payer, micros)
    _give(state, payee, micros)


def grant(state: State, voted: Grant) -> Event:
    """Create voted money; the supply grows by as much, but never beyond 62 bits."""
    if totals(state).supply + voted.micros >= MOST_SUPPLY:
        return Event("grant-beyond-limit", voted.member, voted.micros)
    _give(state, voted.member, voted.micros)
    _shift(state, balances=voted.micros, supply=voted.micros)
    return Event("grant", voted.member, voted.micros)


def fund_escrow(state: State, task: bytes, member: str, micros: int) -> None:
    """Move a member's money into a task's escrow."""
    _take(state, member, micros)
    state.put(ESCROW, task, row=check_range(escrow(state, task) + micros))
    _shift(state, balances=-micros, escrow=micros)


def pay_from_escrow(state: State, task: bytes, member: str, micros: int) -> None:
    """Pay a member from a task's escrow.

    Raises
    ------
    InsufficientFundsError
        The escrow does not hold as much.
    """
    left = escrow(state, task) - micros
    if left < 0:
        msg = f"the escrow holds {left + micros} of {micros}"
        raise InsufficientFundsError(msg)
    if left:
        state.put(ESCROW, task, row=left)
    else:
        state.delete(ESCROW, task)
    _give(state, member, micros)
    _shift(state, balances=micros, escrow=-micros)


def lock_bond(state: State, task: bytes, member: str, micros: int, *, standing: bool) -> None:
    """Put a member's money at stake, for the round or for the whole task."""
    if not micros:
        return
    _take(state, member, micros)
    bond = bond_of(state, task, member)
    raised = (
        Bond(bond.round, check_range(bond.standing + micros))
        if standing
        else Bond(check_range(bond.round + micros), bond.standing)
    )
    state.put(BONDS, task, member, row=raised)
    _shift(state, balances=-micros, bonds=micros)


def release_bond(state: State, task: bytes, member: str, *, standing: bool) -> int:
    """Return what is left of a member's round bond, and with ``standing`` the rest too."""
    bond = bond_of(state, task, member)
    micros = bond.round + (bond.standing if standing else 0)
    if micros:
        _write_bond(state, task, member, Bond(0, 0 if standing else bond.standing))
        _give(state, member, micros)
        _shift(state, balances=micros, bonds=-micros)
    return micros


def forfeit_bond(state: State, task: bytes, member: str, micros: int) -> int:
    """Move up to ``micros`` of a member's stake to the sink: the round's bond first."""
    bond = bond_of(state, task, member)
    from_round = min(micros, bond.round)
    from_standing = min(micros - from_round, bond.standing)
    lost = from_round + from_standing
    if lost:
        left = Bond(bond.round - from_round, bond.standing - from_standing)
        _write_bond(state, task, member, left)
        _shift(state, bonds=-lost, sink=lost)
    return lost


def forfeit(state: State, member: str, micros: int) -> None:
    """Move a member's free money to the sink.

    Raises
    ------
    InsufficientFundsError
        The balance does not cover it.
    """
    if micros:
        _take(state, member, micros)
        _shift(state, balances=-micros, sink=micros)


def _write_bond(state: State, task: bytes, member: str, bond: Bond) -> None:
    if bond == Bond():
        state.delete(BONDS, task, member)
    else:
        state.put(BONDS, task, member, row=bond)


def _take(state: State, member: str, micros: int) -> None:
    left = balance(state, member) - micros
    if left < 0:
        msg = f"'{member}' holds {left + micros}, the amount is {micros}"
        raise InsufficientFundsError(msg)
    state.put(BALANCES, member, row=left)


def _give(state: State, member: str, micros: int) -> None:
    state.put(BALANCES, member, row=check_range(balance(state, member) + micros))


def _shift(
    state: State,
    *,
    balances: int = 0,
    escrow: int = 0,
    bonds: int = 0,
    sink: int = 0,
    supply: int = 0,
) -> None:
    now = totals(state)
    state.put(
        TOTALS,
        row=Totals(
            check_range(now.balances + balances),
            check_range(now.escrow + escrow),
            check_range(now.bonds + bonds),
            check_range(now.sink + sink),
            check_range(now.supply + supply),
        ),
    )
