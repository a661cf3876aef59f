"""Seats under CometBFT: by vote, never the last one, one net update a key and block."""

import pytest
from support.terms import WINDOW, simple
from support.validators import VALIDATOR, Validators, evidence, new_key
from support.world import World, make_genesis, public_of, rotation

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.ledger.contracts import members, validators
from tallystick.ledger.contracts.members import MembershipError
from tallystick.ledger.genesis import Founder, Key
from tallystick.ledger.messages import (
    Admit,
    ProposeChange,
    ProposeTask,
    Remove,
    Seat,
    Transfer,
    Unseat,
    Vote,
)

NEW = public_of("alpha", VALIDATOR + 1)
OLD = public_of("alpha", VALIDATOR)


@pytest.fixture
def world():
    return Validators()


def decide(world, *changes):
    """Let all members but the last decide on changes, all in one block."""
    names = members.active_members(world.state)
    for change in changes:
        world.accept(names[0], ProposeChange(change))
    for name in names[1 : 1 + 2 * len(names) // 3]:
        for change in changes:
            world.send(name, Vote(sha256("proposal", encode(change))))
    outcome = world.seal()
    assert not outcome.refused
    return outcome


def updates(outcome):
    return dict(outcome.validator_updates)


# --- founding -------------------------------------------------------------------------------------


def test_founders_with_a_validator_key_validate_with_equal_power():
    world = Validators(("alpha", "delta"), ("bravo",))

    assert world.seats == ("alpha", "delta")
    assert world.set == {name: public_of(name, VALIDATOR) for name in ("alpha", "delta")}
    assert set(world.power.values()) == {10}


@pytest.mark.parametrize("engine", ["solo", "pow"])
def test_other_engines_have_no_seats_and_no_row_of_them(engine):
    founder = Founder("alpha", (Key(public_of("alpha"), "owner"), Key(OLD, "validator")), 5)
    world = World(("alpha",), genesis=make_genesis(("alpha",), engine=engine, founders=(founder,)))
    world.seal()

    assert {key[0] for key, _ in world.state.rows()}.isdisjoint({0x0A, 0x0B})
    assert validators.validator_set(world.state) == {}
    assert world.outcomes[-1].validator_updates == ()


def test_the_newest_valid_validator_key_counts():
    founder = Founder(
        "alpha",
        (Key(public_of("alpha"), "owner"), Key(OLD, "validator"), Key(NEW, "validator")),
        5,
    )
    genesis = make_genesis(("alpha",), engine="cometbft", sealer="", founders=(founder,))
    world = World(("alpha",), genesis=genesis)
    assert validators.validator_set(world.state) == {"alpha": NEW}
    world.state.put(members.MEMBERS, "alpha", row=world.state.get(members.MEMBERS, "alpha"))
    members.retire_key(world.state, "alpha", NEW)

    assert validators.validator_set(world.state) == {"alpha": OLD}


# --- votes ----------------------------------------------------------------------------------------


def test_a_seat_is_given_by_vote_and_taken_by_vote(world):
    lost = decide(world, Unseat("delta"))
    assert world.seats == ("alpha", "bravo", "charlie")
    assert members.active_members(world.state) == ("alpha", "bravo", "charlie", "delta")
    world.accept("delta", Transfer("alpha", 1))
    back = decide(world, Seat("delta"))

    public = public_of("delta", VALIDATOR)
    assert (updates(lost), updates(back)) == ({public: 0}, {public: 10})
    assert world.seats == ("alpha", "bravo", "charlie", "delta")


def test_a_new_member_validates_once_it_is_seated(world):
    keys = (Key(public_of("echo"), "owner"), Key(public_of("echo", VALIDATOR), "validator"))
    admitted = decide(world, Admit("echo", keys))
    world.generations["echo"] = 0
    assert updates(admitted) == {}
    seated = decide(world, Seat("echo"))

    assert updates(seated) == {public_of("echo", VALIDATOR): 10}


def test_a_removed_member_loses_its_seat(world):
    outcome = decide(world, Remove("charlie"))

    assert world.seats == ("alpha", "bravo", "delta")
    assert updates(outcome) == {public_of("charlie", VALIDATOR): 0}


def test_what_cannot_be_seated_or_unseated_is_not_put_to_the_vote():
    world = Validators(("alpha", "bravo"), ("charlie",))
    for change, named in {
        Seat("alpha"): "validates already",
        Seat("charlie"): "no valid validator key",
        Seat("zulu"): "not an active member",
        Unseat("charlie"): "has no seat",
        Unseat("zulu"): "not an active member",
    }.items():
        error = world.refused("alpha", ProposeChange(change))
        assert type(error) is MembershipError
        assert named in str(error)


def test_under_another_engine_nobody_is_seated():
    world = World()
    for change in (Seat("bravo"), Unseat("bravo")):
        assert type(world.refused("alpha", ProposeChange(change))) is MembershipError


def test_the_last_validator_is_neither_unseated_nor_removed():
    world = Validators(("alpha",), ("bravo", "charlie"))
    for change in (Unseat("alpha"), Remove("alpha")):
        assert "last validator" in str(world.refused("bravo", ProposeChange(change)))
    world.accept("bravo", new_key(world, "bravo"))
    decide(world, Seat("bravo"))
    decide(world, Remove("alpha"))

    assert world.seats == ("bravo",)


def test_a_vote_is_refused_once_only_one_validator_is_left():
    world = Validators(("alpha", "bravo"), ("charlie",))
    world.accept("alpha", ProposeChange(Unseat("bravo")))
    decide(world, Unseat("alpha"))
    late = Vote(sha256("proposal", encode(Unseat("bravo"))))

    assert "last validator" in str(world.refused("charlie", late))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Unseat("alpha"), Unseat("bravo")),
        (Remove("alpha"), Unseat("bravo")),
        (Unseat("alpha"), Remove("bravo")),
        (Remove("alpha"), Remove("bravo")),
    ],
)
def test_two_decisions_of_one_block_leave_a_validator(first, second):
    world = Validators(("alpha", "bravo"), ("charlie", "delta"))
    decide(world, first, second)

    assert world.seats == ("bravo",)
    assert "bravo" in members.active_members(world.state)


def test_a_seat_decided_in_the_block_that_removes_the_member_is_not_given(world):
    decide(world, Unseat("delta"))
    decide(world, Remove("delta"), Seat("delta"))

    assert world.seats == ("alpha", "bravo", "charlie")


# --- keys -----------------------------------------------------------------------------------------


def test_a_rotated_key_takes_the_old_ones_place_in_the_set(world):
    outcome = world.accept("alpha", new_key(world, "alpha"))

    assert updates(outcome) == {OLD: 0, NEW: 10}
    assert world.set["alpha"] == NEW


def test_a_block_that_rotates_twice_names_the_last_key_only(world):
    for _ in range(2):
        world.send("alpha", new_key(world, "alpha"))

    assert updates(world.seal()) == {OLD: 0, public_of("alpha", VALIDATOR + 2): 10}


def test_a_key_that_comes_and_goes_in_one_block_is_not_named(world):
    world.accept("alpha", ProposeChange(Unseat("alpha")))
    world.send("alpha", new_key(world, "alpha"))
    for name in ("bravo", "charlie"):
        world.send(name, Vote(sha256("proposal", encode(Unseat("alpha")))))

    assert updates(world.seal()) == {OLD: 0}


@pytest.mark.parametrize("role", ["owner", "worker"])
def test_an_owners_or_workers_new_key_leaves_the_set_alone(world, role):
    outcome = world.accept("alpha", rotation(world, "alpha", 5, role=role))

    assert outcome.validator_updates == ()
    assert world.set["alpha"] == OLD


def test_a_member_without_a_seat_rotates_its_key_unheard(world):
    decide(world, Unseat("alpha"))
    outcome = world.accept("alpha", new_key(world, "alpha"))

    assert outcome.validator_updates == ()


def test_updates_are_sorted_and_name_a_key_once():
    before = {"a": b"1", "b": b"2", "c": b"3"}
    after = {"b": b"2", "c": b"0", "d": b"1"}

    assert validators.validator_updates(before, after) == [(b"0", 10), (b"3", 0)]
    assert validators.validator_updates(before, before) == []


# --- faults ---------------------------------------------------------------------------------------


def test_the_faults_tolerated_follow_from_the_seats():
    world = Validators(tuple(f"m{at}" for at in range(7)), ("x",))
    counted = []
    for at in range(1, 7):
        counted.append(world.kernel.faults(world.state))
        decide(world, Unseat(f"m{at}"))

    assert counted == [2, 1, 1, 1, 0, 0]
    assert world.kernel.faults(world.state) == 0


def test_other_engines_tolerate_what_they_did():
    names = tuple(f"m{at}" for at in range(7))
    solo, mined = World(names), World(names, engine="pow", sealer="")

    assert solo.kernel.faults(solo.state) == 0
    assert mined.kernel.faults(mined.state) == 2


def test_the_seats_before_the_block_say_how_long_a_window_has_to_be():
    world = Validators(trial=False)
    terms = simple(owner="bravo", gap=WINDOW // 2)  # two gaps are enough where none may fail
    world.send("alpha", evidence(world, "delta"))
    tx = world.send("bravo", ProposeTask(terms))
    refused = dict(world.seal().refused)

    assert world.kernel.faults(world.state) == 0
    assert refused[tx].code == 520
    world.accept("bravo", ProposeTask(terms))
