"""Pointers to encrypted bytes, and capability tokens: one member, one digest, one verb, a time."""

import pytest
from support.play import Play
from support.terms import MEMBERS, chain_fl
from support.world import World, digest

from tallystick.ledger.contracts import access, registry
from tallystick.ledger.contracts.registry import UnknownPointerError
from tallystick.ledger.messages import (
    Erase,
    GrantToken,
    Publish,
    Read,
    RegisterDataset,
    RevokeToken,
)

ROWS, ANEW, THIRD = digest("rows"), digest("rows, corrected"), digest("rows, once more")
STORED, ROTATED = digest("encrypted"), digest("encrypted again")
HOUR = 3_600_000


@pytest.fixture
def world():
    """A ledger on which alpha points at its rows."""
    world = World((*MEMBERS, "guest"))
    world.accept("alpha", publish(ROWS))
    return world


def publish(what, replaces=b"", stored=STORED):
    return Publish(what, 500, stored, 540, "dataset", replaces)


def grant(world, verb, subject="guest", until=HOUR, what=ROWS):
    world.accept("alpha", GrantToken(what, subject, verb, world.now + until))


def revoke(verb, subject="guest", stored=ROTATED):
    return RevokeToken(ROWS, subject, verb, stored, 540)


def code_of(world, member, message, dt=1000):
    """Return the code of a message's receipt on the ledger, or of its refusal before it."""
    tx = world.send(member, message)
    outcome = world.seal(dt)
    found = dict(zip(outcome.transactions, outcome.receipts, strict=True))
    return found[tx].code if tx in found else next(e.code for t, e in outcome.refused if t is tx)


def denied(world, member, message, dt=1000):
    """Whether an attempt is refused, recorded once, and changes nothing but its nonce."""
    tx = world.send(member, message)
    outcome = world.seal(dt)
    changed = {key[0] for key in outcome.changes}
    again = world.kernel.propose(world.state, world.head, world.now, [tx])

    assert [error.code for _, error in again.refused] == [104]
    return (
        outcome.transactions == (tx,)
        and [(r.code, r.events) for r in outcome.receipts] == [(433, ())]
        and changed == {0x03}
    )


# --- tokens


def test_the_owner_needs_no_token_and_others_do(world):
    assert code_of(world, "alpha", Read(ROWS)) == 0
    assert denied(world, "guest", Read(ROWS))
    assert denied(world, "bravo", Erase(ROWS))


def test_a_token_lets_one_member_do_one_thing_to_one_pointer(world):
    world.accept("alpha", publish(THIRD))
    grant(world, "read")
    receipt = world.accept("guest", Read(ROWS)).receipts[0]

    assert [(e.kind, e.subject, e.amount) for e in receipt.events] == [("read", ROWS.hex(), 1)]
    assert denied(world, "bravo", Read(ROWS))
    assert denied(world, "guest", Read(THIRD))


def test_a_guest_with_a_read_only_token_who_tries_to_update_or_delete_is_refused_on_the_record(
    world,
):
    grant(world, "read")

    assert denied(world, "guest", publish(ANEW, ROWS))
    assert denied(world, "guest", Erase(ROWS))
    assert registry.pointer(world.state, ROWS).next == b""
    assert code_of(world, "guest", Read(ROWS)) == 0


def test_a_token_expires(world):
    grant(world, "read", until=5000)
    left = 4000  # the grant's own block took a second

    assert code_of(world, "guest", Read(ROWS), dt=left) == 0
    assert denied(world, "guest", Read(ROWS), dt=1)


def test_a_revoked_token_fails_in_the_next_block_and_the_bytes_have_another_key(world):
    grant(world, "read")
    grant(world, "read", subject="bravo")
    receipt = world.accept("alpha", revoke("read")).receipts[0]
    row = registry.pointer(world.state, ROWS)

    assert [(e.kind, e.subject, e.amount) for e in receipt.events] == [("revoked", "guest", 2)]
    assert (row.stored, row.keys) == (ROTATED, 2)
    assert denied(world, "guest", Read(ROWS))
    assert code_of(world, "bravo", Read(ROWS)) == 0


def test_only_the_owner_grants_and_revokes(world):
    grant(world, "read")

    assert denied(world, "guest", GrantToken(ROWS, "bravo", "read", world.now + HOUR))
    assert denied(world, "bravo", revoke("read"))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (GrantToken(ROWS, "alpha", "read", 2**60), 434),
        (GrantToken(ROWS, "nobody", "read", 2**60), 434),
        (GrantToken(ROWS, "guest", "read", 1), 434),
        (revoke("read"), 434),
        (GrantToken(THIRD, "guest", "read", 2**60), 422),
        (Read(THIRD), 422),
        (Erase(THIRD), 422),
        (publish(ROWS), 421),
        (publish(ANEW, THIRD), 422),
        (publish(ANEW, b"short"), 422),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_what_makes_no_sense_leaves_no_trace(world, message, code):
    assert world.refused("alpha", message).code == code


def test_a_revocation_names_bytes_encrypted_anew(world):
    grant(world, "read")

    assert world.refused("alpha", revoke("read", stored=STORED)).code == 434
    assert code_of(world, "guest", Read(ROWS)) == 0


# --- versions and tombstones


def test_a_version_by_a_guest_belongs_to_the_owner_and_takes_its_place_once(world):
    grant(world, "update")
    world.accept("guest", publish(ANEW, ROWS, ROTATED))

    assert registry.pointer(world.state, ANEW).owner == "alpha"
    assert registry.pointer(world.state, ANEW).replaces == ROWS
    assert registry.latest(world.state, ROWS) == ANEW
    assert world.refused("guest", publish(THIRD, ROWS)).code == 423
    assert denied(world, "guest", publish(THIRD, ANEW))
    world.accept("alpha", publish(THIRD, ANEW))
    assert registry.latest(world.state, ROWS) == THIRD


def test_a_tombstone_ends_everything_but_what_is_known(world):
    grant(world, "delete")
    grant(world, "read")
    world.accept("guest", Erase(ROWS))
    row = registry.pointer(world.state, ROWS)

    assert row.erased
    assert (row.size, row.stored, row.owner) == (500, STORED, "alpha")
    for member, message in (
        ("guest", Read(ROWS)),
        ("alpha", Read(ROWS)),
        ("guest", Erase(ROWS)),
        ("alpha", publish(ANEW, ROWS)),
        ("alpha", revoke("read")),
        ("alpha", GrantToken(ROWS, "bravo", "read", world.now + HOUR)),
    ):
        assert world.refused(member, message).code == 423
    assert world.refused("alpha", publish(ROWS)).code == 421


def test_nobody_points_at_what_another_has_registered_or_made(world):
    play = Play(world, chain_fl(rounds=1))
    play.finish()
    model = play.row.model.root
    world.accept("bravo", RegisterDataset(digest("bravo's"), 3))

    assert world.refused("alpha", publish(digest("bravo's"))).code == 421
    assert world.refused("bravo", publish(model)).code == 421
    world.accept("bravo", publish(digest("bravo's")))
    world.accept(play.terms.owner, publish(model))


def test_a_right_can_be_asked_for_without_a_transaction(world):
    grant(world, "read", until=5000)
    ask = access.has_right

    assert ask(world.state, ROWS, "guest", "read", world.now)
    assert not ask(world.state, ROWS, "guest", "read", world.now + 5001)
    assert not ask(world.state, ROWS, "guest", "update", world.now)
    with pytest.raises(UnknownPointerError):
        ask(world.state, THIRD, "guest", "read", world.now)


def test_a_recorded_refusal_is_the_same_block_for_everybody(world):
    """The proposal and the replica agree, and so does a block that forces it in."""
    tx = world.send("guest", Read(ROWS))
    proposed = world.kernel.propose(world.state, world.head, world.now + 1000, [tx])
    world.pending = []

    assert world.forced(tx).header == proposed.header
    assert proposed.refused == ()
