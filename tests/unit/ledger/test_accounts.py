"""Money: moved, never made."""

import pytest
from support.terms import simple
from support.world import World, digest

from tallystick.ledger.contracts import accounts
from tallystick.ledger.contracts.accounts import (
    InsufficientFundsError,
    Totals,
    UnknownPayeeError,
    bond_of,
)
from tallystick.ledger.messages import Transfer
from tallystick.ledger.terms import task_id

TASK = task_id(simple())
START = Totals(40_000_000, 0, 0, 0, 40_000_000)


@pytest.fixture
def world():
    return World()


def balances(world):
    return {name: accounts.balance(world.state, name) for name in world.generations}


def test_the_supply_is_what_the_founders_brought(world):
    assert accounts.totals(world.state) == START
    assert accounts.balance(world.state, "zulu") == 0


def test_a_transfer_moves_exactly_its_amount(world):
    outcome = world.accept("alpha", Transfer("bravo", 3))

    assert balances(world) == {
        "alpha": 9_999_997,
        "bravo": 10_000_003,
        "charlie": 10_000_000,
        "delta": 10_000_000,
    }
    assert [event.amount for event in outcome.receipts[0].events] == [3]
    assert accounts.totals(world.state) == START


def test_everything_can_be_spent_and_not_a_unit_more(world):
    world.accept("alpha", Transfer("bravo", 10_000_000))

    assert type(world.refused("alpha", Transfer("bravo", 1))) is InsufficientFundsError
    assert balances(world)["alpha"] == 0


@pytest.mark.parametrize("to", ["alpha", "zulu"])
def test_a_payee_is_another_member(world, to):
    error = world.refused("alpha", Transfer(to, 1))

    assert type(error) is UnknownPayeeError
    assert error.code == 412


def test_escrow_and_bonds_come_from_the_balance_and_go_back(world):
    state = world.state.scratch()
    accounts.fund_escrow(state, TASK, "alpha", 100)
    accounts.lock_bond(state, TASK, "bravo", 30, standing=False)
    accounts.lock_bond(state, TASK, "bravo", 20, standing=True)

    assert accounts.totals(state) == Totals(40_000_000 - 150, 100, 50, 0, 40_000_000)
    assert bond_of(state, TASK, "bravo") == accounts.Bond(30, 20)
    assert bond_of(state, digest("other"), "bravo") == accounts.Bond()
    assert accounts.release_bond(state, TASK, "bravo", standing=False) == 30
    assert accounts.release_bond(state, TASK, "bravo", standing=True) == 20
    assert accounts.release_bond(state, TASK, "bravo", standing=True) == 0
    accounts.pay_from_escrow(state, TASK, "alpha", 100)
    assert accounts.totals(state) == START


def test_a_forfeit_takes_the_rounds_bond_first_and_stops_at_what_is_there(world):
    state = world.state.scratch()
    accounts.lock_bond(state, TASK, "bravo", 30, standing=False)
    accounts.lock_bond(state, TASK, "bravo", 20, standing=True)

    assert accounts.forfeit_bond(state, TASK, "bravo", 10) == 10
    assert bond_of(state, TASK, "bravo") == accounts.Bond(20, 20)
    assert accounts.forfeit_bond(state, TASK, "bravo", 25) == 25
    assert bond_of(state, TASK, "bravo") == accounts.Bond(0, 15)
    assert accounts.forfeit_bond(state, TASK, "bravo", 1000) == 15
    assert accounts.forfeit_bond(state, TASK, "bravo", 1000) == 0
    assert accounts.totals(state) == Totals(40_000_000 - 50, 0, 0, 50, 40_000_000)
    assert state.get(accounts.BONDS, TASK, "bravo") is None


def test_an_escrow_pays_no_more_than_it_holds(world):
    state = world.state.scratch()
    accounts.fund_escrow(state, TASK, "alpha", 100)

    with pytest.raises(InsufficientFundsError):
        accounts.pay_from_escrow(state, TASK, "bravo", 101)
    with pytest.raises(InsufficientFundsError):
        accounts.pay_from_escrow(state, digest("other"), "bravo", 1)
    accounts.pay_from_escrow(state, TASK, "bravo", 100)
    assert state.get(accounts.ESCROW, TASK) is None


def test_a_bond_of_nothing_leaves_no_row(world):
    state = world.state.scratch()
    accounts.lock_bond(state, TASK, "alpha", 0, standing=True)

    assert state.changes() == {}


def test_nobody_bonds_or_funds_beyond_its_balance(world):
    state = world.state.scratch()

    with pytest.raises(InsufficientFundsError):
        accounts.lock_bond(state, TASK, "alpha", 10_000_001, standing=False)
    with pytest.raises(InsufficientFundsError):
        accounts.fund_escrow(state, TASK, "alpha", 10_000_001)
