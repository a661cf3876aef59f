"""A task starts when everybody its terms name has approved, and only then."""

import pytest
from support.play import Play
from support.terms import WINDOW, simple
from support.world import World, digest

from tallystick.ledger.messages import Collect
from tallystick.mechanisms.records import Artefact


@pytest.fixture
def play():
    return Play(World(), simple())


def test_all_seal_then_all_reveal_then_setup_begins(play):
    assert play.where == (0, 0, "approve", "seal")
    play.block()
    assert play.where == (0, 0, "approve", "reveal")
    play.block()

    assert play.where == (0, 0, "fund", "record")
    assert [subject.author for subject in play.output("approve", 0, 0).subjects] == list(play.names)


@pytest.mark.parametrize("window", ["seal", "reveal"])
def test_one_silent_party_aborts_the_task(play, window):
    play.until("approve", window)
    while play.status == "running":
        play.block("delta")

    assert play.status == "aborted"
    assert play.row.cause == "approve-short"


@pytest.mark.parametrize(
    "dissent", [Artefact(bytes(32), 0), Artefact(digest("x"), 0), Artefact(digest("x"), 1)]
)
def test_a_party_that_reveals_something_else_does_not_approve(play, dissent):
    key = play.row.open[0]
    play.answer("alpha", "bravo", "charlie")
    play.send("delta", play.entry(key, "delta", record=dissent))
    play.world.seal()
    play.answer("alpha", "bravo", "charlie")
    play.send("delta", play.entry(key, "delta", record=dissent))
    play.world.seal()
    while play.status == "running" and play.where[2] == "approve":
        play.world.seal(WINDOW)

    assert play.status == "aborted"


def test_an_approval_with_bytes_makes_nobody_doze(play):
    key, record = play.row.open[0], Artefact(play.task, 1)
    for _ in range(2):
        play.answer("alpha", "bravo", "charlie")
        play.send("delta", play.entry(key, "delta", record=record))
        play.world.seal()

    assert set(play.row.dozing) <= {"delta"}


def test_every_party_approves_also_those_outside_the_members():
    play = Play(World(), simple(members=("alpha", "bravo"), rosters={"auditors": ("delta",)}))

    assert play.names == ("alpha", "bravo", "delta")
    play.until("fund")
    assert len(play.output("approve", 0, 0).subjects) == 3


def test_an_outsider_is_not_asked(play):
    outsider = Play(World(), simple(members=("alpha", "bravo")))
    key = outsider.row.open[0]
    message = Collect(outsider.task, (outsider.entry(key, "delta"),))

    assert outsider.world.refused("delta", message).code == 506


def test_the_salts_of_the_approvals_seed_the_beacon():
    plays = [Play(World(), simple()) for _ in range(2)]
    first, second = plays
    key = second.row.open[0]
    assert first.row.beacon == second.row.beacon
    first.until("fund")
    for _ in range(2):
        second.answer("alpha", "bravo", "charlie")
        second.send("delta", second.entry(key, "delta", salt=b"another"))
        second.world.seal()

    assert second.where[2] == "fund"
    assert first.row.beacon != second.row.beacon
