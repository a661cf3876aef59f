"""Challenges: everybody asked answers, an empty complaint means none, proof costs the bond."""

import pytest
from support.play import Play
from support.terms import FUND, WINDOW, make_terms, stage, update_stage
from support.world import World

from tallystick.ledger.collect.notes import Closed, Forfeited
from tallystick.ledger.messages import Collect, Entry
from tallystick.ledger.terms import Need
from tallystick.mechanisms.records import Complaint, Fault

PROOF = Complaint(b"delta", b"proof")


def challenged(after=(), **fields):
    given = {"of": "update", "who": "members", "fine": 600}
    complain = stage("complain", "challenge/test-proof/1", **{**given, **fields})
    terms = make_terms((update_stage(who="members"), complain, *after), (FUND,), rounds=2)
    play = Play(World(), terms)
    play.until("complain")
    return play, play.row.open[0]


def send(play, member, complaint):
    key = play.row.open[0]
    play.send(member, Entry(key.phase, key.round, key.stage, complaint))


def test_all_answer_none_and_the_round_goes_on_at_once():
    play, key = challenged()
    play.block()

    assert play.where[1] == 2
    assert play.shuts("complain", "record")[0].full is False
    assert play.forfeited() == 0
    assert key.stage == "complain"


def test_a_window_without_answers_is_never_short():
    play, _ = challenged()
    play.world.seal(WINDOW)

    assert play.voids() == []
    assert play.row.dozing == play.names


def test_proof_costs_the_accused_and_nobody_else():
    play, _ = challenged()
    send(play, "alpha", PROOF)
    play.answer("bravo", "charlie", "delta")
    play.world.seal()

    assert play.forfeited("delta") == 600
    assert play.forfeited() == 600
    assert play.notes(Forfeited)[0].why == "fault-399"
    assert play.paid("bond") == {"alpha": 1000, "bravo": 1000, "charlie": 1000, "delta": 400}


def test_a_complaint_without_proof_costs_nothing():
    play, _ = challenged()
    send(play, "alpha", Complaint(b"delta", b"rumour"))
    play.answer("bravo", "charlie", "delta")
    play.world.seal()

    assert play.forfeited() == 0


def test_two_proofs_of_one_fault_cost_once():
    play, _ = challenged()
    for name in ("alpha", "bravo"):
        send(play, name, PROOF)
    play.answer("charlie", "delta")
    play.world.seal()

    assert play.forfeited("delta") == 600


def test_a_fault_stands_even_when_it_voids_its_round():
    play, _ = challenged(void=True)
    send(play, "alpha", PROOF)
    play.answer("bravo", "charlie", "delta")
    play.world.seal()

    assert play.voids() == ["complained"]
    assert play.forfeited("delta") == 600


def test_a_fault_stands_when_a_later_stage_voids_the_round():
    later = stage("later", "decide/screened/1", of="update", cohort=99)
    play, _ = challenged(after=(later,))
    send(play, "alpha", PROOF)
    play.answer("bravo", "charlie", "delta")
    play.world.seal()

    assert play.voids() == ["cohort-too-small"]
    assert play.forfeited("delta") == 600


def test_the_output_names_the_faults():
    play, _ = challenged()
    send(play, "alpha", PROOF)
    play.answer("bravo", "charlie", "delta")
    play.world.seal()
    closed = next(note for note in play.notes(Closed) if note.stage == "complain")

    assert closed.output.effects == (Fault("delta", 600, 399),)


def test_a_member_complains_once():
    play, key = challenged()
    message = Collect(play.task, (Entry(1, 1, key.stage, Complaint()),))
    play.world.accept("alpha", message)

    assert play.world.refused("alpha", message).code == 507


@pytest.mark.parametrize(("need", "voids"), [(Need(2), ["complain-short"]), (Need(1), [])])
def test_a_challenge_can_ask_for_more_than_nobody(need, voids):
    play, _ = challenged(need=need)
    play.block("bravo", "charlie", "delta")
    play.world.seal(WINDOW)

    assert play.voids() == (voids if need == Need(2) else [])


def test_a_fault_of_one_group_stands_when_all_groups_are_void():
    groups = stage("deal", "select/test-groups/1", source="members", into=("team",), groups=2)
    complain = stage(
        "complain", "challenge/test-proof/1", who="team", per_group=True, fine=600, void=True
    )
    join = stage("joined", "join/test-parties/1", who="members", bond=5000)
    play = Play(World(), make_terms((groups, complain), (join,), rounds=1))
    play.until("complain")
    pairs = [(key, play.world.stage(key).roster[0].member) for key in play.row.open]
    accused = ("charlie", "delta")
    for (key, name), bad in zip(pairs, accused, strict=True):
        play.send(name, Entry(1, 1, "complain", Complaint(bad.encode(), b"proof"), key.group))
    play.answer(*(name for name in play.names if name not in {name for _, name in pairs}))
    play.world.seal()

    assert play.voids() == ["complained"]
    assert {name: play.forfeited(name) for name in accused} == dict.fromkeys(accused, 600)
