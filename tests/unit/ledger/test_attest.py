"""Attested stages: signed blind, opened by anybody, counted above two thirds."""

from dataclasses import replace

import msgspec
import pytest
from support.play import Play, Promise
from support.terms import (
    FUND,
    TRAINERS,
    WINDOW,
    chain_fl,
    make_terms,
    rerun,
    stage,
    update_stage,
)
from support.world import World, digest, rotation, secret_of

from tallystick.crypto import keys
from tallystick.ledger.collect.attest import ATTEST_DOMAIN, NoQuorumError
from tallystick.ledger.collect.notes import Attested, Forfeited, Opened
from tallystick.ledger.collect.view import attested_message
from tallystick.ledger.messages import Accuse, Collect, Entry, Open, Opening
from tallystick.ledger.terms import Need
from tallystick.mechanisms.records import Artefact, Attestation, Key, Output, Pay, Subject

NAMES = tuple(f"m{at:02}" for at in range(40))


def opened(name="screen", **fields):
    play = Play(World(), chain_fl(**fields))
    play.until(name, "attest")
    return play


def first(play):
    return play.promises()[0]


def open_message(play, *promises):
    row = play.row
    parts = tuple(Opening(each.key.stage, each.key.group, each.output) for each in promises)
    return Open(play.task, row.phase, row.round, parts)


def sign(play, promise, *members):
    for name in members:
        play.send(name, promise.entry(promise.signed_by(name)))
    play.world.seal()


def unsigned(name="screen", **fields):
    """Return a play at an attested stage that nobody has signed yet."""
    play = Play(World(), chain_fl(**fields))
    play.until("update", "hold")
    key = play.row.open[0]
    for member in play.names:
        play.send(member, play.entry(key, member))
    play.world.seal()
    if name == "aggregate":
        sign(play, first(play), *play.names)
        play.world.accept("alpha", open_message(play, first(play)))
    return play


def test_three_of_four_signatures_open_an_output_and_two_do_not():
    play = unsigned()
    promise = first(play)
    sign(play, promise, "alpha", "bravo")
    error = play.world.refused("delta", open_message(play, promise))
    assert type(error) is NoQuorumError
    assert error.code == 512
    sign(play, promise, "charlie")
    play.world.accept("delta", open_message(play, promise))

    assert play.where[2] == "aggregate"
    note = play.notes(Attested)[-1]
    assert (note.signers, note.roster) == (("alpha", "bravo", "charlie"), 4)
    assert note.inputs == promise.inputs


def test_exactly_two_thirds_are_not_enough():
    play = Play(World(NAMES[:6]), chain_fl(members=NAMES[:6]))
    play.until("update", "hold")
    key = play.row.open[0]
    for member in play.names:
        play.send(member, play.entry(key, member))
    play.world.seal()
    promise = first(play)
    sign(play, promise, *NAMES[:4])

    assert play.world.refused("m00", open_message(play, promise)).code == 512
    sign(play, promise, "m04")
    play.world.accept("m00", open_message(play, promise))


def test_a_wrong_opening_leaves_no_trace():
    play = unsigned()
    promise = first(play)
    sign(play, promise, *play.names)
    wrong = Promise(promise.key, promise.inputs, promise.rule, Output())
    leaves = len(play.notes())

    assert play.world.refused("delta", open_message(play, wrong)).code == 512
    assert len(play.notes()) == leaves
    play.world.accept("delta", open_message(play, promise))


def test_signatures_are_taken_ahead_and_openings_share_a_block():
    play = Play(World(), chain_fl())
    play.until("update", "hold")
    play.block()
    assert play.where[2:] == ("screen", "attest")
    both = play.promises()
    assert [promise.key.stage for promise in both] == ["screen", "aggregate"]
    before = len(play.world.outcomes)
    play.world.accept("bravo", open_message(play, *both))

    assert play.where[:2] == (1, 2)
    assert len(play.world.outcomes) == before + 1


def test_openings_are_taken_all_or_none():
    play = Play(World(), chain_fl())
    play.until("update", "hold")
    play.block()
    good, later = play.promises()
    wrong = Promise(later.key, later.inputs, later.rule, Output())

    assert play.world.refused("bravo", open_message(play, good, wrong)).code == 512
    assert play.where[2] == "screen"


def test_signatures_ahead_are_for_this_round_only():
    play = Play(World(), chain_fl())
    play.until("update", "seal")
    signature = Attestation(bytes(64))

    def entry(**fields):
        given = {"phase": 1, "round": 1, "stage": "screen", "record": signature, **fields}
        return Collect(play.task, (Entry(**given),))

    assert play.world.refused("alpha", entry(round=2)).code == 504
    assert play.world.refused("alpha", entry(group="g0")).code == 503
    assert play.world.refused("alpha", entry(record=Artefact(bytes(32), 1))).code == 508
    play.world.accept("alpha", entry())
    assert play.world.refused("alpha", entry()).code == 507


def test_a_member_outside_the_roster_signs_nothing():
    play = Play(World(), chain_fl(members=("alpha", "bravo", "charlie")))
    play.until("update", "seal")
    entry = Entry(1, 1, "screen", Attestation(bytes(64)))

    assert play.world.refused("delta", Collect(play.task, (entry,))).code == 506


def test_junk_signatures_count_for_nothing_and_can_be_followed_by_a_good_one():
    play = unsigned()
    promise = first(play)
    for name in play.names:
        play.send(name, promise.entry(Attestation(bytes(64))))
    play.world.seal()
    assert play.world.refused("alpha", open_message(play, promise)).code == 512
    sign(play, promise, "alpha", "bravo", "charlie")

    play.world.accept("delta", open_message(play, promise))
    assert play.forfeited() == 0


def test_a_member_gives_a_bounded_number_of_signatures():
    play = unsigned()
    promise = first(play)
    for at in range(8):
        play.world.accept(
            "alpha", Collect(play.task, (promise.entry(Attestation(bytes([at]) * 64)),))
        )

    full = Collect(play.task, (promise.entry(promise.signed_by("alpha")),))
    assert play.world.refused("alpha", full).code == 507


@pytest.mark.parametrize("part", ["round", "stage", "inputs", "rule", "domain", "key"])
def test_a_signature_is_over_the_whole_place(part):
    play = unsigned()
    promise = first(play)
    fields = {"key": promise.key, "inputs": promise.inputs, "rule": promise.rule}
    if part == "inputs":
        fields["inputs"] = digest("other")
    elif part == "rule":
        fields["rule"] = "screen/other/1"
    elif part == "round":
        fields["key"] = type(promise.key)(play.task, 1, 2, "screen", "")
    elif part == "stage":
        fields["key"] = type(promise.key)(play.task, 1, 1, "aggregate", "")
    message = attested_message(*fields.values(), promise.output.root)
    domain = b"cosign/1" if part == "domain" else ATTEST_DOMAIN
    for name in play.names:
        secret = secret_of("zulu" if part == "key" else name)
        play.send(name, promise.entry(Attestation(keys.sign(secret, domain, message))))
    play.world.seal()

    assert play.world.refused("alpha", open_message(play, promise)).code == 512


def test_an_opening_is_for_the_stage_that_is_open():
    play = Play(World(), chain_fl())
    play.until("update", "hold")
    play.block()
    good, later = play.promises()

    assert play.world.refused("alpha", open_message(play, later)).code == 504
    group = Open(play.task, 1, 1, (Opening("screen", "g0", good.output),))
    assert play.world.refused("alpha", group).code == 503
    ledger = Open(play.task, 1, 1, (Opening("decide", "", good.output),))
    assert play.world.refused("alpha", ledger).code == 503
    other_round = Open(play.task, 1, 2, (Opening("screen", "", good.output),))
    assert play.world.refused("alpha", other_round).code == 505
    play.world.accept("alpha", open_message(play, good))
    assert play.world.refused("alpha", open_message(play, good)).code == 505


def test_anybody_may_open_even_outside_the_task():
    play = Play(World(), chain_fl(members=("alpha", "bravo", "charlie")))
    play.until("screen", "attest")
    play.world.accept("delta", open_message(play, first(play)))

    assert play.where[2] == "aggregate"


BAD = {
    "effects": Output(effects=(Pay("alpha", 1),)),
    "a model without a size": Output((Subject(bytes(32), ""),)),
    "a model of no bytes": Output((Subject(bytes(32), "", columns=(0,)),)),
    "a model of negative size": Output((Subject(bytes(32), "", columns=(-1,)),)),
}


@pytest.mark.parametrize("why", BAD)
def test_no_quorum_signs_money_or_nonsense_into_the_state(why):
    play = unsigned("aggregate")
    promise = first(play)
    bad = Promise(promise.key, promise.inputs, promise.rule, BAD[why])
    sign(play, bad, *play.names)

    assert play.world.refused("alpha", open_message(play, bad)).code == 513


def test_an_attested_void_voids_the_round():
    play = unsigned("aggregate")
    promise = first(play)
    void = Promise(promise.key, promise.inputs, promise.rule, Output(void="not-finite"))
    sign(play, void, *play.names)
    play.world.accept("alpha", open_message(play, void))

    assert play.voids() == ["not-finite"]


@pytest.mark.parametrize("reruns", [0, 2])
def test_without_a_quorum_the_stage_is_rerun_then_void_and_nobody_pays(reruns):
    low = stage("screen", "screen/test-byte/1", of="update", who="members", short=rerun(reruns))
    play = Play(World(), make_terms((TRAINERS, update_stage(), low), (FUND,)))
    play.until("update", "hold")
    key = play.row.open[0]
    for member in play.names:
        play.send(member, play.entry(key, member))
    play.world.seal()
    for _ in range(reruns):
        play.world.seal(WINDOW)
        assert play.where[2:] == ("screen", "attest")
    play.world.seal(WINDOW)

    assert play.voids() == ["screen-short"]
    assert play.forfeited() == 0


def test_signatures_given_before_a_rerun_still_count():
    play = unsigned()
    promise = first(play)
    sign(play, promise, "alpha", "bravo")
    play.world.seal(WINDOW)
    sign(play, promise, "charlie")

    play.world.accept("alpha", open_message(play, promise))


def test_a_signature_by_a_replaced_key_no_longer_counts():
    play = unsigned()
    promise = first(play)
    sign(play, promise, "alpha", "bravo", "charlie")
    play.world.accept("charlie", rotation(play.world, "charlie"))

    assert play.world.refused("alpha", open_message(play, promise)).code == 512


# --- committees -----------------------------------------------------------------------------------


def large(size, **fields):
    names = NAMES[:size]
    play = Play(
        World(names, audited=False),
        make_terms(
            (update_stage(who="owner", need=Need(1)), SCREEN_ALL),
            (),
            members=names,
            holders="owner",
        ),
    )
    play.until("screen", "attest")
    return play


SCREEN_ALL = stage("screen", "screen/test-byte/1", of="update", who="members", short=rerun(1))


def test_up_to_32_members_all_attest():
    play = large(32)

    assert len(play.world.stage(play.row.open[0]).roster) == 32


def test_above_32_a_committee_of_16_is_drawn_and_escalates_to_all():
    play = large(33)
    key = play.row.open[0]
    drawn = [seat.member for seat in play.world.stage(key).roster]
    assert len(drawn) == 16
    assert drawn == sorted(drawn)
    play.world.seal(WINDOW)
    assert play.world.stage(key).escalated
    assert len(play.world.stage(key).roster) == 33
    assert play.world.stage(key).tries == 0
    play.world.seal(WINDOW)

    assert play.world.stage(key).tries == 1
    play.world.seal(WINDOW)
    assert play.voids() == ["screen-short"]


def test_only_the_drawn_count_until_it_escalates():
    play = large(33)
    key = play.row.open[0]
    drawn = {seat.member for seat in play.world.stage(key).roster}
    rows = [play.records(key, name).signatures for name in play.names]
    assert all(rows)
    promise = first(play)
    play.world.accept("m00", open_message(play, promise))

    note = play.notes(Attested)[-1]
    assert set(note.signers) == drawn
    assert note.roster == 16


def test_the_committee_is_drawn_by_the_beacon():
    rosters = {
        tuple(seat.member for seat in note.seats)
        for play in (large(40), large(33))
        for note in play.notes(Opened)
        if note.key.stage == "screen"
    }

    assert len(rosters) == 2


# --- the one fault --------------------------------------------------------------------------------


def accusation(play, member, first_output, second_output):
    promise = first(play)
    signed = [
        Promise(promise.key, promise.inputs, promise.rule, output).signed_by(member).signature
        for output in (first_output, second_output)
    ]
    return Accuse(
        task=play.task,
        member=member,
        phase=1,
        round=1,
        stage="screen",
        group="",
        inputs=promise.inputs,
        outputs=(first_output.root, second_output.root),
        signatures=tuple(signed),
    )


def test_two_outputs_signed_on_the_same_inputs_cost_the_bond():
    play = unsigned()
    other = Output(void="other")
    play.world.accept("alpha", accusation(play, "delta", first(play).output, other))

    assert play.row.faulty == ("delta",)
    assert play.forfeited("delta") == 1000
    assert play.notes(Forfeited)[-1].why == "two-outputs-by-alpha"
    again = accusation(play, "delta", first(play).output, other)
    assert play.world.refused("bravo", again).code == 514


def test_an_early_accusation_buys_no_immunity():
    """Accused by an ally before it has put up its bond, a member still has it to lose."""
    play = Play(World(), chain_fl())
    play.until("update", "seal")
    key = Key(play.task, 1, 1, "screen", "")
    outputs = (Output(void="one"), Output(void="two"))
    junk = Promise(key, digest("junk"), "screen/test-byte/1", outputs[0])
    signed = [replace(junk, output=each).signed_by("delta").signature for each in outputs]
    early = Accuse(
        play.task, "delta", 1, 1, "screen", "", digest("junk"),
        tuple(each.root for each in outputs), tuple(signed),
    )  # fmt: skip
    play.world.accept("bravo", early)
    assert (play.row.faulty, play.forfeited()) == (("delta",), 0)
    play.until("screen")
    play.world.accept("alpha", accusation(play, "delta", first(play).output, Output(void="other")))

    assert play.forfeited("delta") == 1000
    assert play.row.faulty == ("delta",)


def test_an_old_fault_takes_no_bond_of_a_later_round():
    play = unsigned()
    old = accusation(play, "delta", first(play).output, Output(void="other"))
    play.until_round(2)
    play.until("screen")
    play.world.accept("alpha", old)

    assert (play.row.faulty, play.forfeited()) == (("delta",), 0)
    assert play.world.refused("bravo", old).code == 514


def test_a_key_that_was_replaced_convicts_nobody():
    """Whoever stole it could sign anything."""
    play = unsigned()
    held = accusation(play, "delta", first(play).output, Output(void="other"))
    play.world.accept("delta", rotation(play.world, "delta"))

    assert play.world.refused("alpha", held).code == 514


def test_an_accusation_must_hold():
    play = unsigned()
    mine, other = first(play).output, Output(void="other")
    held = accusation(play, "delta", mine, other)

    def changed(**fields):
        return msgspec.structs.replace(held, **fields)

    wrong = {
        "the same output twice": accusation(play, "delta", mine, mine),
        "another member": changed(member="charlie"),
        "a stranger": changed(member="zulu"),
        "other inputs": changed(inputs=digest("x")),
        "another round": changed(round=2),
        "another group": changed(group="g0"),
        "another output": changed(outputs=(mine.root, digest("x"))),
        "one signature twice": changed(signatures=held.signatures[:1] * 2),
    }

    for why, message in wrong.items():
        assert play.world.refused("alpha", message).code == 514, why
    ledger = changed(stage="decide")
    assert play.world.refused("alpha", ledger).code == 503
    assert play.row.faulty == ()


def test_a_different_output_is_no_fault_by_itself():
    play = unsigned()
    promise = first(play)
    lie = Promise(promise.key, promise.inputs, promise.rule, Output())
    sign(play, lie, "delta")
    sign(play, promise, "alpha", "bravo", "charlie")
    play.world.accept("alpha", open_message(play, promise))

    assert play.row.faulty == ()
    assert play.forfeited() == 0
