"""Membership: keys that rotate, votes that need more than two thirds, changes at a block's end."""

import pytest
from support.play import Play
from support.terms import simple
from support.world import World, make_genesis, public_of, rotation, secret_of

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.ledger.contracts import accounts, members
from tallystick.ledger.contracts.changes import UnknownProposalError, VotedAlreadyError
from tallystick.ledger.contracts.members import MembershipError
from tallystick.ledger.genesis import Founder, Genesis, Key
from tallystick.ledger.kernel import UnsupportedProtocolError
from tallystick.ledger.messages import (
    Admit,
    Collect,
    Grant,
    ProposeChange,
    ProposeTask,
    RegisterDataset,
    Remove,
    ReplaceOwner,
    RotateKey,
    Transfer,
    Upgrade,
    Vote,
)
from tallystick.ledger.transaction import UnknownSenderError

PAY = Transfer("bravo", 5)


@pytest.fixture
def world():
    return World()


def proposal_of(change):
    return sha256("proposal", encode(change))


def test_a_rotated_key_takes_effect_in_the_next_block(world):
    early = world.sign("alpha", PAY, key=1, nonce=1, secret=secret_of("alpha", 1))
    world.send("alpha", rotation(world, "alpha"))
    world.pending.append(early)
    old = world.send("alpha", PAY)
    outcome = world.seal()

    assert old in outcome.transactions
    assert [type(error) for _, error in outcome.refused] == [UnknownSenderError]
    assert type(world.refused("alpha", PAY)) is UnknownSenderError
    world.generations["alpha"] = 1
    world.accept("alpha", PAY)


def test_a_new_key_starts_with_its_own_nonces(world):
    world.accept("alpha", PAY, nonce=50)
    world.accept("alpha", rotation(world, "alpha"), nonce=51)
    world.generations["alpha"] = 1
    world.accept("alpha", PAY, nonce=1)

    assert accounts.balance(world.state, "bravo") == 10_000_010


def test_rotation_needs_the_new_keys_own_signature(world):
    stolen = rotation(world, "alpha", owner="bravo")
    other = rotation(world, "alpha", secret=secret_of("alpha", 2))
    elsewhere = World(genesis=make_genesis(name="other"))

    for message in (stolen, other, rotation(elsewhere, "alpha")):
        assert type(world.refused("alpha", message)) is MembershipError


def test_no_key_is_attached_twice(world):
    own = rotation(world, "alpha", generation=0)
    taken = rotation(world, "bravo", generation=0, owner="alpha")
    world.accept("alpha", rotation(world, "alpha", 1))
    world.generations["alpha"] = 1

    assert world.refused("alpha", own).code == 401
    assert world.refused("alpha", taken).code == 401
    assert world.refused("alpha", rotation(world, "alpha", 1)).code == 401


def test_a_key_of_small_order_is_never_attached(world):
    weak = RotateKey(Key(bytes(32), "owner"), bytes(64))

    assert type(world.refused("alpha", weak)) is MembershipError
    assert (
        type(world.refused("alpha", ProposeChange(Admit("echo", (weak.key,))))) is MembershipError
    )


def test_two_rotations_in_one_block_leave_one_key_valid(world):
    world.send("alpha", rotation(world, "alpha", 1))
    world.send("alpha", rotation(world, "alpha", 2))
    world.seal()
    keys = world.state.get(members.MEMBERS, "alpha").keys

    assert [key.active for key in keys] == [False, False, True]


def test_a_key_of_one_role_leaves_the_other_roles_alone(world):
    world.accept("alpha", rotation(world, "alpha", 5, role="worker"))
    world.accept("alpha", PAY)

    keys = world.state.get(members.MEMBERS, "alpha").keys
    assert [(key.role, key.active) for key in keys] == [("owner", True), ("worker", True)]


def test_a_worker_key_rotates_nothing_and_has_no_vote(world):
    world.accept("alpha", rotation(world, "alpha", 5, role="worker"))
    envelope = {"key": 1, "secret": secret_of("alpha", 5)}

    assert world.refused("alpha", rotation(world, "alpha", 6), **envelope).code == 401
    assert world.refused("alpha", ProposeChange(Remove("bravo")), **envelope).code == 401


def test_a_worker_key_works_for_tasks_and_moves_no_money(world):
    world.accept("delta", rotation(world, "delta", 5, role="worker"))
    envelope = {"key": 1, "secret": secret_of("delta", 5)}
    play = Play(world, simple(holders="owner"))
    play.until("update", "seal")
    message = Collect(play.task, tuple(play.duties("delta")))
    stolen = ProposeTask(simple(name="x", owner="delta"))

    assert world.refused("delta", Transfer("alpha", 1), **envelope).code == 401
    assert world.refused("delta", stolen, **envelope).code == 401
    world.accept("delta", message, **envelope)


def test_a_validator_key_signs_no_transaction(world):
    world.accept("delta", rotation(world, "delta", 5, role="validator"))
    envelope = {"key": 1, "secret": secret_of("delta", 5)}

    assert world.refused("delta", Transfer("alpha", 1), **envelope).code == 401
    assert world.refused("delta", RegisterDataset(bytes(32), 1), **envelope).code == 401


def test_a_vote_admits_nobody_without_an_owner_key_and_replaces_no_other(world):
    worker = Key(public_of("echo"), "worker")

    assert world.refused("alpha", ProposeChange(Admit("echo", (worker,)))).code == 401
    assert world.refused("alpha", ProposeChange(ReplaceOwner("delta", worker))).code == 401


def test_a_member_that_rotates_often_keeps_a_state_that_can_be_read_again():
    world = World(("alpha", "bravo"), audited=False)
    for generation in range(1, 260):
        message = rotation(world, "bravo", generation)
        if world.refusal("bravo", message) is not None:
            break
        world.generations["bravo"] = generation
    world.start_audit()

    world.seal()
    assert world.refusal("bravo", Transfer("alpha", 1)) is None


def test_a_member_that_rotates_often_in_one_block_does_not_stop_the_chain():
    world = World(("alpha", "bravo"))
    for generation in range(1, 300):
        world.send("bravo", rotation(world, "bravo", generation))
    world.seal()

    world.accept("alpha", Transfer("bravo", 1))


# --- votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "needed"), [(1, 1), (2, 2), (3, 3), (4, 3), (6, 5), (7, 5)])
def test_more_than_two_thirds_decide(size, needed):
    names = tuple(f"m{at}" for at in range(size))
    world = World(names)
    change = Grant("m0", 77)
    world.accept("m0", ProposeChange(change))
    for at, name in enumerate(names[1:needed], start=2):
        assert accounts.totals(world.state).supply == size * 10_000_000
        world.accept(name, Vote(proposal_of(change)))
        assert (accounts.balance(world.state, "m0") > 10_000_000) == (at == needed)

    assert accounts.balance(world.state, "m0") == 10_000_077
    assert accounts.totals(world.state).supply == size * 10_000_000 + 77


def test_nobody_votes_twice_and_nothing_is_voted_on_twice(world):
    change = Grant("alpha", 77)
    world.accept("alpha", ProposeChange(change))

    assert type(world.refused("alpha", Vote(proposal_of(change)))) is VotedAlreadyError
    assert type(world.refused("bravo", ProposeChange(change))) is VotedAlreadyError
    assert type(world.refused("bravo", Vote(bytes(32)))) is UnknownProposalError


def test_a_decided_proposal_is_closed_and_can_be_put_again(world):
    change = Grant("alpha", 77)
    world.vote(change)

    assert type(world.refused("delta", Vote(proposal_of(change)))) is UnknownProposalError
    world.vote(change, proposer="alpha")
    assert accounts.balance(world.state, "alpha") == 10_000_154


def test_an_admitted_member_takes_part_from_the_next_block_on(world):
    world.vote(Admit("echo", (Key(public_of("echo"), "owner"),)))
    world.generations["echo"] = 0
    world.accept("alpha", Transfer("echo", 9))
    world.accept("echo", Transfer("alpha", 4))

    assert members.active_members(world.state) == ("alpha", "bravo", "charlie", "delta", "echo")
    assert accounts.balance(world.state, "echo") == 5


def test_a_removed_member_is_out_and_stays_out(world):
    world.vote(Remove("delta"))

    assert members.active_members(world.state) == ("alpha", "bravo", "charlie")
    assert type(world.refused("delta", PAY)) is UnknownSenderError
    assert world.refused("alpha", Transfer("delta", 1)).code == 412
    again = Admit("delta", (Key(public_of("delta", 7), "owner"),))
    assert world.refused("alpha", ProposeChange(again)).code == 401
    assert accounts.balance(world.state, "delta") == 10_000_000


def test_votes_of_removed_members_no_longer_count(world):
    change = Grant("alpha", 77)
    world.accept("delta", ProposeChange(change))
    world.vote(Remove("delta"))
    world.accept("alpha", Vote(proposal_of(change)))
    world.accept("bravo", Vote(proposal_of(change)))
    assert accounts.totals(world.state).supply == 40_000_000
    world.accept("charlie", Vote(proposal_of(change)))

    assert accounts.totals(world.state).supply == 40_000_077


def test_the_sealer_of_a_solo_ledger_cannot_be_removed(world):
    assert type(world.refused("bravo", ProposeChange(Remove("alpha")))) is MembershipError


def test_the_last_member_cannot_be_removed():
    world = World(("alpha", "bravo"), engine="pow", sealer="")
    world.vote(Remove("bravo"))
    world.accept("alpha", ProposeChange(Remove("alpha")))

    assert members.active_members(world.state) == ("alpha",)


def test_a_lost_owner_key_is_replaced_by_vote(world):
    change = ReplaceOwner("delta", Key(public_of("delta", 3), "owner"))
    world.vote(change)
    keys = world.state.get(members.MEMBERS, "delta").keys

    assert [key.active for key in keys] == [False, True]
    assert type(world.refused("delta", PAY)) is UnknownSenderError
    world.accept("delta", PAY, key=1, secret=secret_of("delta", 3))


IMPOSSIBLE = {
    "admit a member": Admit("bravo", (Key(public_of("x"), "owner"),)),
    "admit with a taken key": Admit("echo", (Key(public_of("bravo"), "owner"),)),
    "admit with one key twice": Admit("echo", (Key(public_of("x"), "owner"),) * 2),
    "remove a stranger": Remove("zulu"),
    "replace a stranger's key": ReplaceOwner("zulu", Key(public_of("x"), "owner")),
    "replace by a taken key": ReplaceOwner("bravo", Key(public_of("alpha"), "owner")),
    "grant to a stranger": Grant("zulu", 5),
    "the version in force": Upgrade(1, 0),
    "a version of the past": Upgrade(0, 100),
}


@pytest.mark.parametrize("why", IMPOSSIBLE)
def test_an_impossible_change_is_not_put_to_the_vote(world, why):
    assert type(world.refused("alpha", ProposeChange(IMPOSSIBLE[why]))) is MembershipError


def test_money_beyond_what_sums_can_hold_is_never_created(world):
    for micros in (2**62, 2**62 - 1):
        world.vote(Grant("alpha", micros))
    world.accept("alpha", PAY)

    assert accounts.totals(world.state).supply == 40_000_000


def test_an_upgrade_happens_at_its_height_and_stops_programs_without_it(world):
    world.vote(Upgrade(2, 5))
    while world.head.height < 5:
        assert members.protocol(world.state) == 1
        world.seal()

    assert members.protocol(world.state) == 2
    with pytest.raises(UnsupportedProtocolError):
        world.seal()


def test_the_protocol_version_never_falls():
    world = World(audited=False)
    for version in (3, 2):
        world.accept("alpha", ProposeChange(Upgrade(version, 0)))
    for name in ("bravo", "charlie"):
        for version in (3, 2):
            world.send(name, Vote(proposal_of(Upgrade(version, 0))))
    world.seal()

    assert members.protocol(world.state) == 3


def test_one_key_never_ends_up_with_two_members(world):
    key = Key(public_of("new"), "owner")
    for name in ("echo", "foxtrot"):
        world.accept("alpha", ProposeChange(Admit(name, (key,))))
    for voter in ("bravo", "charlie"):
        for name in ("echo", "foxtrot"):
            world.send(voter, Vote(proposal_of(Admit(name, (key,)))))
    world.seal()
    holders = [
        name
        for name in members.active_members(world.state)
        if key.public in {row.public for row in world.state.get(members.MEMBERS, name).keys}
    ]

    assert len(holders) == 1


def test_a_removed_member_leaves_running_tasks_to_the_others(world):
    play = Play(world, simple(holders="owner"))
    play.until("update", "seal")
    world.vote(Remove("delta"))
    gone = [name for name in play.names if name != "delta"]

    assert play.finish(absent=("delta",)) == "done"
    assert set(play.paid()) <= set(gone)


def test_a_removed_member_is_not_asked_again(world):
    play = Play(world, simple(rounds=3))
    play.until("update", "seal")
    world.vote(Remove("delta"))
    play.until_round(2, absent=("delta",))
    play.until("update", "seal", absent=("delta",))

    assert [seat.member for seat in world.stage(play.row.open[0]).roster] == list(play.names[:3])
    assert [seat.member for seat in play.view.roster("members")] == list(play.names[:3])


def test_founders_keys_have_roles():
    founder = Founder(
        "alpha", (Key(public_of("alpha"), "owner"), Key(public_of("alpha", 1), "validator")), 5
    )
    world = World(
        ("alpha",), genesis=Genesis("t", 0, "solo", "alpha", trial=True, founders=(founder,))
    )

    assert [key.role for key in world.state.get(members.MEMBERS, "alpha").keys] == [
        "owner",
        "validator",
    ]
