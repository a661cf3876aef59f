"""Our own bugs in due work: they suspend one task, the same on every node, and refund it."""

import pytest
from support.play import Play
from support.terms import FUND, WINDOW, make_terms, simple, stage, update_stage
from support.world import World

from tallystick.ledger.collect import window
from tallystick.ledger.collect.notes import Finished
from tallystick.ledger.contracts import accounts
from tallystick.ledger.messages import CloseTask, Open, Opening, Transfer


def crashing(world, **fields):
    crash = stage("crash", "decide/test-crash/1", of="update", after=2)
    terms = make_terms((update_stage(who="members"), crash), (FUND,), **{"rounds": 3, **fields})
    return Play(world, terms)


def test_a_rule_that_raises_suspends_its_task_with_refunds():
    play = crashing(World(tolerant=True))
    play.until_round(2)
    assert play.world.money()["escrow"] == 1_000_000
    play.finish()

    assert (play.status, play.row.cause) == ("suspended", "fault-KeyError")
    assert play.world.money() == {"balances": 40_000_000, "escrow": 0, "bonds": 0}
    assert play.notes(Finished) == [Finished("suspended", "fault-KeyError", 1_000_000)]
    assert [event.kind for event in play.world.outcomes[-1].events] == ["suspended"]


def test_other_tasks_and_the_chain_go_on():
    world = World(tolerant=True)
    bad, good = crashing(world), Play(world, simple(name="good", rounds=3))
    for _ in range(60):
        for play in (bad, good):
            play.answer(*play.names)
        world.seal(1000)

    assert bad.status == "suspended"
    assert good.status == "done"
    world.accept("alpha", Transfer("bravo", 1))


def test_a_suspended_task_takes_nothing_more():
    play = crashing(World(tolerant=True))
    play.finish()

    assert play.row.open == ()
    assert play.world.refused("alpha", CloseTask(play.task)).code == 502
    assert not any(key[0] in {0x24, 0x25} for key, _ in play.world.state.rows())


@pytest.mark.parametrize(
    "error", [KeyError, ZeroDivisionError, RecursionError, MemoryError, AssertionError]
)
def test_whatever_due_work_raises_is_caught(monkeypatch, error):
    world = World(tolerant=True)
    play = Play(world, simple())

    def crash(*_, **__):
        raise error

    play.until("update", "seal")
    monkeypatch.setattr(window, "_advance", crash)
    play.finish()

    assert play.row.cause == f"fault-{error.__name__}"


def test_half_done_due_work_leaves_no_trace_but_the_suspension(monkeypatch):
    world = World(tolerant=True)
    play = Play(world, simple())
    play.until("update", "reveal")

    def pay_then_crash(cursor, *_):
        accounts.lock_bond(cursor.state, cursor.row.id, "alpha", 123, standing=True)
        raise ValueError

    monkeypatch.setattr(window, "_advance", pay_then_crash)
    play.answer(*play.names)
    world.seal()

    assert play.status == "suspended"
    assert world.money()["bonds"] == 0


def test_due_work_that_writes_a_row_nobody_could_read_is_a_fault(monkeypatch):
    world = World(tolerant=True)
    play = Play(world, simple())
    play.until("update", "reveal")

    def overflow(cursor, _step, stage_row, *_):
        cursor.state.put(accounts.ESCROW, cursor.row.id, row=2**64)
        return stage_row

    monkeypatch.setattr(window, "_advance", overflow)
    play.answer(*play.names)
    world.seal()

    assert (play.status, play.row.cause) == ("suspended", "fault-InvariantError")


def test_an_opening_that_leads_to_a_fault_enters_no_block_and_the_window_ends_the_stage():
    world = World(tolerant=True)
    screen = stage("screen", "screen/test-byte/1", of="update", who="members")
    crash = stage("crash", "decide/test-crash/1", of="screen")
    play = Play(world, make_terms((update_stage(who="members"), screen, crash), (FUND,)))
    play.until("screen", "attest")
    step = play.view.step
    inputs = play.view.inputs(step)
    opening = Opening("screen", "", step.rule.fold((), inputs))
    world.send("alpha", Open(play.task, 1, 1, (opening,)))
    outcome = world.seal()

    assert len(outcome.faulty) == 1
    assert outcome.transactions == ()
    world.seal(WINDOW)
    assert play.voids() == ["screen-short"]


def test_more_columns_than_a_row_holds_suspend_the_task_everywhere():
    names = tuple(f"m{at:02}" for at in range(66))
    world = World(names, tolerant=True, audited=False)
    score = stage("score", "score/own-data/1", of="update", who="members")
    update = update_stage(who="owner")
    play = Play(world, make_terms((update, score), members=names, holders="owner", rounds=1))
    play.until("score")
    world.start_audit()
    play.finish()

    assert play.status in {"suspended", "done", "void"}
