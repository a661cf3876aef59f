"""Descent: what went into a model, through every sum, stage and round on the way."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from support.play import Play
from support.terms import (
    AGGREGATE,
    DECIDE,
    FUND,
    SCREEN,
    SETTLE,
    TRAINERS,
    chain_fl,
    make_terms,
    rerun,
    stage,
    trustfed,
    update_stage,
)
from support.world import World

from tallystick.mechanisms.records import CLOSE, ROUND, Subject
from tallystick.provenance import descent, explain, read_history
from tallystick.provenance.membership import says_excluded, says_included

SIX = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot")


def played(terms, members=SIX):
    play = Play(World(members, audited=False), terms)
    assert play.finish() == "done"
    return read_history((1, leaf) for leaf in play.world.leaves[play.task])


def sums_in_sums(**changes):
    """Return rounds whose model sums this round's updates and last round's, past a decision."""
    screen = stage("screen", "screen/test-byte/1", of="update", who="members", short=rerun(1))
    first = stage("sum", "aggregate/test-sum/1", of="screen", who="members", short=rerun(1))
    pick = stage("pick", "decide/all/1", of="sum")
    late = stage("late", "decide/all/1", of=("pick", "sum@-1"))
    last = msgspec.structs.replace(AGGREGATE, of=("late",), **changes)
    return make_terms((TRAINERS, update_stage(), screen, first, pick, late, last), (FUND,))


def keep(found, chosen=bool, extra=()):
    """Let a round's model have been computed from other subjects than it was."""
    made = found.stages["aggregate"]
    (listed,) = made.inputs.of
    subjects = (*filter(chosen, listed.subjects), *extra)
    made.inputs = replace(made.inputs, of=(msgspec.structs.replace(listed, subjects=subjects),))


def sent(history, found):
    return [root for root, _ in history.updates(found)]


def test_what_sums_were_made_of_is_in_the_model_whatever_stages_they_pass():
    history = played(sums_in_sums(), members=SIX[:4])
    first, second = descent(history)
    early, late = (sent(history, found) for found in history.rounds if found.phase == ROUND)

    assert {subject.id for subject in first.inputs if subject.author} == set(early)
    assert {subject.id for subject in second.inputs if subject.author} == {*early, *late}
    assert [subject.author for subject in second.inputs][:2] == ["", ""]  # the sums themselves
    for root in (*early, *late):
        assert says_included(history, root)[0]
        assert not says_excluded(history, root)[0]


def test_of_a_sum_left_out_its_groups_updates_are_left_out():
    history = played(trustfed(members=SIX, rounds=1))
    found = next(each for each in history.rounds if each.phase == ROUND)
    scored = found.stages["score"].output.live
    (both,) = descent(history)
    keep(found, lambda subject: subject.group == "g0")
    (made,) = descent(history)

    assert {each.group for each in scored} == {"g0", "g1"}
    assert {each.id for each in both.inputs if each.author} == {each.id for each in scored}
    assert {each.id for each in made.inputs if each.author} == {
        each.id for each in scored if each.group == "g0"
    }
    for each in scored:
        assert says_included(history, each.id)[0] == (each.group == "g0")
        assert says_excluded(history, each.id)[0] == (each.group == "g1")


def test_a_sum_that_hides_its_group_makes_exclusion_fail():
    history = played(trustfed(members=SIX))
    found = next(each for each in history.rounds if each.phase == ROUND)
    stage_ = found.stages["sum"]
    nameless = tuple(msgspec.structs.replace(each, group="") for each in stage_.output.subjects)
    stage_.output = msgspec.structs.replace(stage_.output, subjects=nameless)
    ok, says = says_excluded(history, bytes(32))

    assert not ok
    assert "does not say of which group" in says


def test_an_input_of_unknown_origin_makes_exclusion_fail():
    history = played(chain_fl(), members=SIX[:4])
    found = next(each for each in history.rounds if each.phase == ROUND)
    keep(found, extra=[Subject(bytes(31) + b"\x09", "")])
    ok, says = says_excluded(history, bytes(32))

    assert not ok
    assert "nobody sent and no sum made" in says


def test_all_lists_that_a_rule_reads_are_its_inputs():
    two = msgspec.structs.replace(AGGREGATE, of=("decide", "update"))
    screen = stage(
        "screen", "screen/test-byte/1", of="update", who="members", short=rerun(1), low=128
    )
    terms = make_terms((TRAINERS, update_stage(), screen, DECIDE, two), (FUND,))
    history = played(terms, members=SIX[:4])
    refused = {each.update for each in history.refusals}

    assert refused
    for root in refused:  # by one list, but not by the other
        assert says_included(history, root)[0]
        assert not says_excluded(history, root)[0]


def test_a_model_made_in_closing_has_its_descent():
    stages = (TRAINERS, update_stage(), SCREEN, DECIDE, AGGREGATE, SETTLE)
    history = played(make_terms(stages, (FUND,), stages), members=SIX[:4])
    line = descent(history)
    closing = next(each for each in history.rounds if each.phase == CLOSE)

    assert [made.phase for made in line] == [ROUND, ROUND, CLOSE]
    assert line[-1].root == history.model.root
    assert {each.id for each in line[-1].inputs} == set(sent(history, closing))
    assert says_included(history, line[-1].inputs[0].id)[0]
    assert "the closing" in says_included(history, line[-1].inputs[0].id)[1]
    assert explain(history, model=history.model.root).statements


def test_closing_over_the_last_round_reaches_that_rounds_updates():
    again = msgspec.structs.replace(AGGREGATE, of=("decide",))
    stages = (TRAINERS, update_stage(), SCREEN, DECIDE, AGGREGATE)
    history = played(make_terms(stages, (FUND,), (again,)), members=SIX[:4])
    line = descent(history)

    assert [made.phase for made in line] == [ROUND, ROUND, CLOSE]
    assert {each.id for each in line[2].inputs} == {each.id for each in line[1].inputs}


@pytest.mark.parametrize("back", [1, 2])
def test_sources_are_the_stages_that_references_meant(back):
    history = played(
        make_terms(
            (TRAINERS, update_stage(), stage("old", "decide/all/1", of=(f"update@-{back}",))),
            (FUND,),
            rounds=4,
        ),
        members=SIX[:4],
    )
    rounds = [each for each in history.rounds if each.phase == ROUND]
    for at, found in enumerate(rounds):
        (source,) = found.stages["old"].sources
        if at < back:
            assert source is None
        else:
            assert source is rounds[at - back].stages["update"]
