"""Too few: reopened, voided, aborted; three voids in a row end the task with refunds."""

import pytest
from support.play import Play
from support.terms import (
    ABORT,
    FUND,
    WINDOW,
    chain_fl,
    contest,
    make_terms,
    rerun,
    simple,
    stage,
    update_stage,
)
from support.world import World

from tallystick.ledger.collect.notes import Finished, Paid, RoundEnded
from tallystick.ledger.contracts import accounts
from tallystick.ledger.terms import Need


@pytest.mark.parametrize(
    ("need", "roster", "fewest"),
    [
        (Need(), 4, 1),
        (Need(3), 4, 3),
        (Need(0), 4, 0),
        (Need(1, 2), 4, 3),
        (Need(1, 2), 5, 3),
        (Need(2, 3), 6, 5),
        (Need(1, 2), 0, None),
    ],
)
def test_need_is_a_number_or_more_than_a_share(need, roster, fewest):
    enough = [got for got in range(roster + 1) if need.met(got, roster)]

    assert (enough[0] if enough else None) == fewest
    assert need.reachable(roster) == (fewest is not None)


def short_seal(reruns):
    play = Play(World(), simple(update={"need": Need(3), "short": rerun(reruns)}, rounds=5))
    play.until("update", "seal")
    return play, play.row.open[0]


@pytest.mark.parametrize("reruns", [0, 1, 3])
def test_a_window_that_fell_short_is_reopened_so_often(reruns):
    play, _ = short_seal(reruns)
    play.block("charlie", "delta")
    for at in range(reruns):
        play.world.seal(WINDOW)
        assert (play.where[1], play.where[3], play.voids()) == (1, "seal", [])
        assert play.world.stage(play.row.open[0]).tries == at + 1
    play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]
    assert play.where[:2] == (1, 2)


def test_a_rerun_keeps_what_came_in_and_asks_the_others():
    play, key = short_seal(1)
    play.block("charlie", "delta")
    play.world.seal(WINDOW)
    play.answer("charlie")
    play.world.seal()

    assert play.where[3] == "reveal"
    assert [bool(play.records(key, name).seal) for name in play.names] == [True, True, True, False]


def test_reruns_are_counted_over_all_windows_of_a_stage():
    play, _ = short_seal(1)
    play.block("charlie", "delta")
    play.world.seal(WINDOW)
    play.answer("charlie")
    play.world.seal()
    play.block("charlie", "delta")
    play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]


def test_a_void_round_gives_its_bonds_back_and_keeps_forfeits():
    play, _ = short_seal(0)
    play.block()
    play.block("charlie", "delta")
    play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]
    assert play.paid("bond") == {"alpha": 1000, "bravo": 1000}
    assert {name: play.forfeited(name) for name in play.names} == {
        "alpha": 0,
        "bravo": 0,
        "charlie": 1000,
        "delta": 1000,
    }
    assert play.world.money()["bonds"] == 0
    assert accounts.totals(play.world.state).sink == 2000


def test_a_void_round_pays_nobody_and_keeps_the_model():
    cohort = stage("late", "decide/screened/1", of="update", cohort=4)
    terms = make_terms((*chain_fl().round, cohort), (FUND,), rounds=2, pins=chain_fl().pins)
    play = Play(World(), terms)
    before = play.row.model
    play.until("update", "seal")
    while play.row.round == 1:
        play.block("delta")

    assert play.voids() == ["cohort-too-small"]
    assert play.paid() == {}
    assert play.row.model == before
    assert play.world.money()["escrow"] == 1_000_000


def test_three_voids_in_a_row_end_the_task_with_refunds():
    play, _ = short_seal(0)
    while play.status == "running":
        play.world.seal(WINDOW)

    assert play.status == "void"
    assert play.row.cause == "update-short"
    assert len(play.voids()) == 3
    assert play.row.round == 3
    assert play.notes(Finished) == [Finished("void", "update-short", 1_000_000)]
    assert play.world.money() == {"balances": 40_000_000, "escrow": 0, "bonds": 0}


def test_a_completed_round_starts_the_count_again():
    play, _ = short_seal(0)
    absent = {1: True, 2: True, 3: False, 4: True, 5: True}
    while play.status == "running" and play.row.phase == 1:
        silent = ("charlie", "delta") if absent[play.row.round] else ()
        play.block(*silent)

    assert play.row.phase == 2
    assert len(play.voids()) == 4
    assert play.row.completed == (3,)
    assert play.finish() == "done"


def test_rounds_counts_attempts():
    play = Play(World(), simple(rounds=2, update={"need": Need(3)}))
    play.until("update", "seal")
    while play.row.phase == 1:
        play.block("charlie", "delta")

    assert play.row.round == 3
    assert len(play.voids()) == 2
    assert play.row.completed == ()


def test_a_setup_that_falls_short_aborts_and_refunds_who_paid():
    pay = stage("pay", "join/escrow/1", who="members", escrow=100, need=Need(4), short=ABORT)
    play = Play(World(), make_terms((update_stage(who="members"),), (FUND, pay)))
    play.until("pay")
    while play.status == "running":
        play.block("delta")

    assert play.status == "aborted"
    assert play.row.cause == "pay-short"
    assert play.world.money() == {"balances": 40_000_000, "escrow": 0, "bonds": 0}
    assert {name: accounts.balance(play.world.state, name) for name in play.names} == dict.fromkeys(
        play.names, 10_000_000
    )


def test_what_is_left_goes_back_in_proportion_and_the_rest_to_the_owner():
    pay = stage("pay", "join/escrow/1", who="members", escrow=1000, need=Need(4))
    spend = stage("spend", "settle/test-pay/1", member="delta", micros=1001)
    play = Play(World(), make_terms((update_stage(who="members"), spend), (pay,), rounds=1))
    play.finish()

    assert play.paid("refund") == {"alpha": 752, "bravo": 749, "charlie": 749, "delta": 749}
    assert play.notes(Finished)[0].refund == 2999


def test_standing_bonds_go_back_when_setup_aborts():
    join = stage("join", "join/test-parties/1", who="members", bond=70, need=Need(1))
    never = stage("never", "join/test-parties/1", who="members", need=Need(4), short=ABORT)
    play = Play(World(), make_terms((update_stage(who="members"),), (join, never)))
    play.until("never")
    assert play.world.money()["bonds"] == 280
    while play.status == "running":
        play.block("delta")

    assert play.status == "aborted"
    assert play.world.money()["bonds"] == 0
    assert play.paid("bond") == dict.fromkeys(play.names, 70)


def test_a_name_is_free_again_after_an_abort():
    play = Play(World(), simple())
    while play.status == "running":
        play.world.seal(WINDOW)
    again = Play(play.world, simple(edition=1))

    assert again.status == "running"


def test_a_void_in_close_ends_the_task():
    final = stage("final", "submit/commitment/1", who="members", need=Need(4))
    play = Play(World(), make_terms((update_stage(who="members"),), (FUND,), (final,), rounds=1))
    play.until("final")
    while play.status == "running":
        play.block("delta")

    assert (play.status, play.row.cause) == ("void", "final-short")
    assert play.world.money() == {"balances": 40_000_000, "escrow": 0, "bonds": 0}


def test_no_live_subjects_give_an_empty_output_at_once():
    play = Play(World(), contest())
    play.until("update", "seal")

    assert play.row.round == 1
    assert play.output("vote", 1).subjects == ()
    assert play.shuts("vote", "seal") == []
    assert play.voids() == []


def test_a_round_whose_updates_are_all_refused_keeps_the_model():
    terms = chain_fl()
    low = stage("screen", "screen/test-byte/1", of="update", who="members", low=256)
    stages = tuple(low if each.name == "screen" else each for each in terms.round)
    play = Play(World(), make_terms(stages, (FUND,), rounds=1))
    before = play.row.model
    play.finish()

    assert play.status == "done"
    assert play.row.model == before
    assert play.paid() == {}
    assert play.notes(RoundEnded)[1] == RoundEnded(1, 1, "", before)


def test_nothing_of_a_task_is_left_behind_when_it_ends():
    play = Play(World(), chain_fl(rounds=3))
    play.until("update")
    play.finish(absent=("delta",))
    prefixes = {key[0] for key, _ in play.world.state.rows()}

    assert not prefixes & {0x11, 0x12, 0x24, 0x25}
    assert play.notes(Paid)
