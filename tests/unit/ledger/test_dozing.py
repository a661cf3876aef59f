"""One dead member costs one full window; then nobody waits until it speaks."""

import pytest
from support.play import Play
from support.terms import HALF, WINDOW, chain_fl, simple
from support.world import World

from tallystick.ledger.messages import CloseTask
from tallystick.ledger.terms import Need


def full_windows(play):
    return [note for note in play.notes() if getattr(note, "full", False) and note.absent]


def test_a_dead_member_costs_one_window_in_all():
    play = Play(World(), chain_fl(rounds=5))
    play.until("update", "seal")
    assert play.finish(absent=("delta",)) == "done"

    assert [(note.key.round, note.window) for note in full_windows(play)] == [(1, "seal")]
    assert play.row.dozing == ("delta",)
    assert play.voids() == []


def test_it_is_waited_for_again_once_it_has_spoken():
    play = Play(World(), simple(rounds=4))
    play.until("update", "seal")
    play.until_round(2, absent=("delta",))
    assert play.row.dozing == ("delta",)
    play.until("update", "seal", absent=("delta",))
    play.answer("delta")
    play.world.seal()
    assert play.row.dozing == ()
    play.block("delta")

    assert play.where[3] == "reveal"
    play.block("delta")
    assert play.where[3] == "reveal"


@pytest.mark.parametrize("names", [("charlie", "delta"), ("bravo", "charlie", "delta")])
def test_nobody_is_left_out_before_enough_have_answered(names):
    play = Play(World(), simple(rounds=9, update={"need": HALF}))
    play.until("update", "seal")
    play.block(*names)
    play.world.seal(WINDOW)
    assert set(names) <= set(play.row.dozing)
    play.until("update", "seal", absent=names)
    play.block(*names)

    assert play.where[2:] == ("update", "seal")


def test_sleepers_are_still_asked_and_can_answer_in_time():
    play = Play(World(), simple(rounds=3))
    play.until("update", "seal")
    play.until_round(2, absent=("delta",))
    play.until("update", "seal", absent=("delta",))
    play.answer("alpha", "bravo", "charlie", "delta")
    play.world.seal()

    assert play.shuts("update", "seal", 2)[0].absent == ()


def test_missing_a_window_that_shut_early_is_no_sleep():
    play = Play(World(), simple(update={"need": Need(1)}))
    play.until("update", "seal")
    play.block("delta")
    play.world.seal(WINDOW)
    play.until("update", "hold", absent=("delta",))
    play.answer("alpha", "bravo", "charlie")
    play.world.seal()

    assert play.shuts("update", "hold", 1)[0].absent == ("delta",)
    assert play.shuts("update", "hold", 1)[0].full is False
    assert play.row.dozing == ("delta",)


def test_only_the_absent_of_a_full_window_doze():
    play = Play(World(), simple())
    play.until("update", "hold")
    play.block("delta")

    assert play.shuts("update", "hold")[0].absent == ("delta",)
    assert play.row.dozing == ()


def test_a_sleeper_that_misses_shut_windows_forfeits_nothing():
    play = Play(World(), simple(rounds=4))
    play.until("update", "seal")
    play.until_round(4, absent=("delta",))

    assert play.forfeited() == 0


def test_any_transaction_about_the_task_wakes():
    play = Play(World(), simple(rounds=4, owner="delta"))
    play.until("update", "seal")
    play.until_round(2, absent=("delta",))
    assert play.row.dozing == ("delta",)
    play.world.accept("delta", CloseTask(play.task))

    assert play.row.dozing == ()


def test_when_all_have_slept_the_first_to_answer_does_not_decide_alone():
    play = Play(World(), simple(rounds=9, update={"need": HALF}))
    play.until("update", "seal")
    play.world.seal(WINDOW)
    assert play.row.dozing == play.names
    play.until("update", "seal", absent=play.names)
    play.answer("alpha")
    play.world.seal()

    assert play.where[2:] == ("update", "seal")
