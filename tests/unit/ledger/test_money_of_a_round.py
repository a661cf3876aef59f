"""Escrow, bonds and payments: all of a round's money moves at its end or not at all."""

import pytest
from support.play import Play
from support.terms import FUND, WINDOW, deepchain, make_terms, rerun, simple, stage, update_stage
from support.world import World

from tallystick.ledger.collect.notes import Forfeited, Paid
from tallystick.ledger.contracts import accounts
from tallystick.ledger.messages import Collect
from tallystick.ledger.terms import Need


def free(play):
    return {name: accounts.balance(play.world.state, name) for name in play.names}


def paying(*stages, rounds=1, setup=(FUND,)):
    return make_terms((update_stage(who="members", need=Need(1)), *stages), setup, rounds=rounds)


def pay(name, member, micros):
    return stage(name, "settle/test-pay/1", member=member, micros=micros)


def test_nothing_is_paid_before_the_rounds_last_stage_has_closed():
    last = stage("last", "submit/commitment/1", who="members", need=Need(4))
    play = Play(World(), paying(pay("early", "bravo", 500), last))
    play.until("last")
    assert play.paid() == {}
    assert play.row.effects
    assert play.world.money()["escrow"] == 1_000_000
    play.block()

    assert play.paid() == {"bravo": 500}
    assert play.world.money()["escrow"] == 999_500


def test_a_payment_promised_in_a_void_round_is_never_made():
    last = stage("last", "submit/commitment/1", who="members", need=Need(4))
    play = Play(World(), paying(pay("early", "bravo", 500), last))
    play.until("last")
    while play.row.phase == 1:
        play.block("delta")

    assert play.voids() == ["last-short"]
    assert play.paid() == {}
    assert play.row.effects == ()


def test_two_stages_share_one_escrow():
    play = Play(World(), paying(pay("first", "bravo", 700_000), pay("second", "delta", 300_000)))
    play.finish()

    assert play.paid() == {"bravo": 700_000, "delta": 300_000}


def test_promises_beyond_the_escrow_void_the_round():
    play = Play(World(), paying(pay("first", "bravo", 700_000), pay("second", "delta", 300_001)))
    play.until_round(2, phase=2)

    assert play.voids() == ["escrow-overspent"]
    assert play.paid() == {}


def test_an_outsider_is_never_paid():
    terms = make_terms(
        (update_stage(who="members"), pay("out", "delta", 5)), (FUND,), members=("alpha", "bravo")
    )
    play = Play(World(), terms)
    play.until_round(2)

    assert play.voids() == ["payee-outside-the-task"]


def test_an_equal_split_leaves_its_remainder_in_the_escrow():
    play = Play(World(), simple(rounds=1, members=("alpha", "bravo", "charlie")))
    play.until_round(2, phase=2)

    assert play.paid() == {"alpha": 333, "bravo": 333, "charlie": 333}
    assert play.world.money()["escrow"] == 1_000_000 - 999


def test_what_the_task_did_not_spend_goes_back_to_its_funder():
    play = Play(World(), simple(rounds=2))
    before = accounts.balance(play.world.state, "alpha")
    play.finish()

    assert play.paid("refund") == {"alpha": 1_000_000 - 2000}
    assert accounts.balance(play.world.state, "alpha") == before - 2000 + 500


def test_an_owner_that_cannot_fund_aborts_its_task():
    fund = stage("fund", "join/escrow/1", who="owner", escrow=10_000_001, short=FUND.short)
    play = Play(World(), make_terms((update_stage(who="members"),), (fund,)))
    play.until("fund")
    entry = play.entry(play.row.open[0], "alpha")
    assert play.world.refused("alpha", Collect(play.task, (entry,))).code == 411
    while play.status == "running":
        play.world.seal(WINDOW)

    assert play.row.cause == "fund-short"


# --- bonds ----------------------------------------------------------------------------------------


def test_a_bond_is_taken_with_the_seal_and_returned_when_the_round_ends():
    play = Play(World(), simple(rounds=1))
    play.until("update", "seal")
    before = free(play)
    play.block()
    assert free(play) == {name: micros - 1000 for name, micros in before.items()}
    play.until("update", "hold")
    assert play.world.money()["bonds"] == 4000
    play.block()

    assert play.world.money()["bonds"] == 0
    assert play.paid("bond") == dict.fromkeys(play.names, 1000)


def test_an_open_record_takes_its_bond_when_it_arrives():
    ask = stage("ask", "submit/commitment/1", who="members", bond=70)
    play = Play(World(), make_terms((ask,), rounds=1))
    play.until("ask")
    play.block("delta")

    assert play.world.money()["bonds"] == 210


def test_a_setups_bond_stands_until_the_task_ends():
    play = Play(World(), deepchain(rounds=2))
    play.until_round(2)
    assert play.world.money()["bonds"] == 200_000
    assert play.bond("delta") == accounts.Bond(0, 50_000)
    assert play.finish() == "done"

    assert play.world.money()["bonds"] == 0
    assert play.paid("bond") == dict.fromkeys(play.names, 50_000)


def test_a_forfeit_comes_out_of_a_standing_bond_and_into_the_sink():
    play = Play(World(), deepchain(rounds=1))
    play.until("shares")
    play.until_round(2, phase=2, absent=("delta",))

    assert play.forfeited("delta") == 10_000
    assert play.bond("delta") == accounts.Bond(0, 40_000)
    assert accounts.totals(play.world.state).sink == 10_000
    assert [note.why for note in play.notes(Forfeited)] == ["missed-record"]
    play.finish()
    assert play.paid("bond")["delta"] == 40_000


def test_nobody_forfeits_more_than_it_has_at_stake():
    withhold = update_stage(who="members", bond=10, forfeit=1000, need=Need(3))
    play = Play(World(), make_terms((withhold,), rounds=1))
    play.until("update", "reveal")
    play.until_round(2, phase=2, absent=("delta",))

    assert play.forfeited("delta") == 10


def test_each_full_window_missed_costs_once():
    shares = stage(
        "shares", "submit/commitment/1", who="members", need=Need(4), forfeit=100, short=rerun(1)
    )
    join = stage("joined", "join/test-parties/1", who="members", bond=250)
    play = Play(World(), make_terms((shares,), (join,), rounds=1))
    play.until("shares")
    play.until_round(2, phase=2, absent=("delta",))

    assert [(note.member, note.micros) for note in play.notes(Forfeited)] == [("delta", 100)] * 2


@pytest.mark.parametrize("window", ["seal", "hold"])
def test_missing_other_windows_costs_nothing(window):
    play = Play(World(), simple(rounds=1))
    play.until("update", window)
    play.until_round(2, phase=2, absent=("delta",))

    assert play.forfeited() == 0


def test_signing_nothing_costs_nothing():
    play = Play(World(), deepchain(rounds=1))
    play.until("check")
    play.until_round(2, phase=2, absent=("delta",))

    assert play.forfeited("delta") == 10_000
    assert {note.key.stage for note in play.notes(Forfeited)} == {"shares"}


def test_a_forfeit_never_reaches_a_peer():
    play = Play(World(), simple(rounds=1))
    play.until("update", "reveal")
    before = free(play)
    play.until_round(2, phase=2, absent=("delta",))
    after = free(play)

    assert after["delta"] == before["delta"]
    assert {name: after[name] - before[name] for name in ("alpha", "bravo", "charlie")} == (
        dict.fromkeys(("alpha", "bravo", "charlie"), 1000 + 333)
    )
    assert {note.what for note in play.notes(Paid)} == {"bond", "pay"}


def test_a_sleeper_forfeits_for_the_full_window_only():
    play = Play(World(), deepchain(rounds=4))
    play.until("shares")
    play.until_round(5, phase=2, absent=("delta",))

    assert [note.full for note in play.shuts("shares", "record")] == [True, False, False, False]
    assert all("delta" in note.absent for note in play.shuts("shares", "record"))
    assert play.forfeited("delta") == 10_000


def test_whoever_seals_nothing_keeps_a_standing_bond():
    play = Play(World(), deepchain(rounds=2))
    play.until("encrypt", "seal")
    play.until("encrypt", "reveal", absent=("delta",))
    play.world.seal(WINDOW)

    assert play.shuts("encrypt", "seal")[0].absent == ("delta",)
    assert play.shuts("encrypt", "seal")[0].full is True
    assert play.forfeited("delta") == 0
    assert play.forfeited("alpha") == 10_000
