"""References: this list, then setup, then the last completed round; void rounds are invisible."""

import pytest
from support.play import Play
from support.terms import (
    FUND,
    TRAINERS,
    WINDOW,
    chain_fl,
    contest,
    make_terms,
    stage,
    update_stage,
)
from support.world import World

from tallystick.ledger.terms import Need
from tallystick.mechanisms.records import Output

UPDATE = update_stage(need=Need(3))


def looking_back(*texts, rounds=8, close=()):
    looks = tuple(stage(f"look{at}", "decide/all/1", of=(text,)) for at, text in enumerate(texts))
    terms = make_terms((TRAINERS, UPDATE, *looks), (FUND,), close, rounds=rounds)
    return Play(World(), terms)


def void_rounds(play, *numbers):
    """Play to the end of the rounds; in ``numbers`` two members stay away, so those are void."""
    play.until("update")
    seen = {}
    while play.status == "running" and play.row.phase == 1:
        number = play.row.round
        silent = ("charlie", "delta") if number in numbers else ()
        play.block(*silent)
        for at in range(3):
            output = play.output(f"look{at}", number)
            if output is not None:
                seen[number, at] = {subject.id for subject in output.subjects}
        if play.row.round != number:
            seen[number] = {
                subject.id for subject in (play.output("update", number) or Output()).subjects
            }
    return seen


def test_before_the_first_round_there_is_nothing_to_refer_to():
    play = Play(World(), contest())
    play.until("update")

    for name in ("vote", "rank", "aggregate"):
        assert play.output(name, 1) == Output()


@pytest.mark.parametrize("back", [1, 2, 3])
def test_void_rounds_are_invisible(back):
    voided = {2, 3, 5, 7}
    play = looking_back(f"update@-{back}", rounds=8)
    inputs = {}
    play.until("update")
    while play.row.phase == 1:
        number = play.row.round
        step = play.view.plan.find(1, "look0")
        inputs[number] = {s.author + s.id.hex() for s in play.view.inputs(step).of[0].subjects}
        play.block(*(("charlie", "delta") if number in voided else ()))
    completed = [number for number in range(1, 9) if number not in voided]

    for number in range(1, 9):
        before = [past for past in completed if past < number]
        if len(before) < back:
            assert inputs[number] == set()
            continue
        expected = {
            name
            + play.record(
                type(play.row.open[0])(play.task, 1, before[-back], "update", ""), name
            ).root.hex()
            for name in play.names
        }
        assert inputs[number] == expected


def test_a_bare_name_means_this_round():
    play = looking_back("update", rounds=2)
    seen = void_rounds(play)

    assert seen[1, 0] == seen[1]
    assert seen[1, 0] != seen[2, 0]


def test_a_bare_name_means_setup_when_this_list_has_none_before():
    holdout = stage("holdout", "submit/commitment/1", who="owner")
    look = stage("look", "decide/all/1", of="holdout")
    play = Play(World(), make_terms((TRAINERS, UPDATE, look), (FUND, holdout), rounds=2))
    play.until_round(2)
    play.until_round(3)

    assert play.output("look", 2).subjects == play.output("holdout", 0, 0).subjects
    assert play.output("look", 2).subjects


def test_this_list_goes_before_setup():
    first = stage("update", "submit/commitment/1", who="owner")
    look = stage("look", "decide/all/1", of="update")
    play = Play(World(), make_terms((TRAINERS, UPDATE, look), (FUND, first), rounds=1))
    play.until_round(2, phase=2)

    assert len(play.output("look", 1).subjects) == 4


def test_in_close_a_bare_name_means_the_last_completed_round():
    look = stage("final", "decide/all/1", of="update")
    play = looking_back("update", rounds=3, close=(look,))
    play.until("update")
    while play.row.phase == 1:
        play.block(*(("charlie", "delta") if play.row.round == 3 else ()))

    assert play.row.completed == (2,)
    assert play.output("final", 4, 2) == play.output("update", 2)


def test_in_close_without_any_completed_round_there_is_nothing():
    look = stage("final", "decide/all/1", of="update")
    play = looking_back("update", rounds=2, close=(look,))
    play.until("update")
    while play.row.phase == 1:
        play.block("charlie", "delta")

    assert play.output("final", 3, 2) == Output()
    assert play.finish() == "done"


def test_several_references_are_positional():
    both = stage("both", "decide/all/1", of=("trainers", "update"))
    play = Play(World(), make_terms((TRAINERS, UPDATE, both), (FUND,), rounds=1))
    play.until("update")
    step = play.view.plan.find(1, "both")
    while play.row.phase == 1:
        play.block()
    inputs = play.notes()

    assert step.stage.of == ("trainers", "update")
    closed = [note for note in inputs if getattr(note, "stage", "") == "both"]
    assert len(closed[0].output.subjects) == 8
    assert closed[0].output.subjects[:4] == play.output("trainers", 1).subjects


def test_outputs_that_no_reference_reaches_are_forgotten():
    play = looking_back("update@-2", rounds=8)
    play.until("update")
    while play.row.phase == 1:
        play.block()

    assert [number for number in range(9) if play.output("update", number)] == [7, 8]


def test_a_void_rounds_outputs_are_forgotten():
    play = looking_back("update@-1", rounds=4)
    play.until("update")
    while play.row.phase == 1:
        play.block(*(("charlie", "delta") if play.row.round in {2, 3} else ()))

    assert [number for number in range(9) if play.output("trainers", number)] == [4]


# --- parents --------------------------------------------------------------------------------------


def test_the_parent_is_the_last_completed_rounds_model():
    play = Play(World(), chain_fl(rounds=4))
    first = play.terms.model.root
    play.until("update")
    step = play.view.plan.find(1, "update")
    assert play.view.parent(step) == (first, 1000)
    play.until_round(2)
    made = play.row.model.root
    assert made != first
    assert play.view.parent(step)[0] == made
    play.until("update")
    while play.row.round == 2:
        play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]
    assert play.view.parent(step)[0] == made


def test_a_round_without_a_model_leaves_the_parent_as_it_was():
    play = Play(World(), contest(rounds=3))
    play.until_round(2)
    assert play.row.model.root == play.terms.model.root
    play.until("update")
    step = play.view.step

    assert play.view.parent(step)[0] == play.row.draft.root
    assert play.row.model.root == play.terms.model.root
    play.until_round(3)
    assert play.row.model.root != play.terms.model.root


def test_a_voided_draft_is_no_model():
    play = Play(World(), contest(rounds=3))
    play.until_round(2)
    play.until("update")
    before = play.row.model
    while play.row.round == 2:
        play.world.seal(WINDOW)

    assert play.voids() == ["update-short"]
    assert play.row.draft is None
    assert play.row.model == before
