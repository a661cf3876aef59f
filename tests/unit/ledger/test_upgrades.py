"""New protocol versions: decided by vote, in force after the height voted on, foreseen by nodes."""

import msgspec
import pytest
from support.world import World

from tallystick.codec import encode
from tallystick.crypto.hashes import sha256
from tallystick.ledger import kernel
from tallystick.ledger.block import Block, header_hash
from tallystick.ledger.contracts.changes import upcoming
from tallystick.ledger.contracts.members import MembershipError, protocol
from tallystick.ledger.kernel import UnsupportedProtocolError
from tallystick.ledger.messages import ProposeChange, Upgrade, Vote


@pytest.fixture
def world():
    return World(audited=False)


@pytest.fixture
def newer(monkeypatch):
    """Be a program that knows versions 1 to 3."""
    monkeypatch.setattr(kernel, "KNOWN", frozenset({1, 2, 3}))


def versions(world, last):
    """Return the version that each further block is made under, up to a height."""
    found = {}
    while world.head.height < last:
        before = protocol(world.state)
        world.seal()
        found[world.head.height] = before
    return found


def decide(world, *upgrades):
    for upgrade in upgrades:
        world.accept("alpha", ProposeChange(upgrade))
    for name in ("bravo", "charlie"):
        for upgrade in upgrades:
            world.send(name, Vote(sha256("proposal", encode(upgrade))))
    return world.seal()


@pytest.mark.usefixtures("newer")
def test_the_block_of_the_voted_height_is_the_last_under_the_old_version(world):
    decide(world, Upgrade(2, 5))

    assert versions(world, 7) == {3: 1, 4: 1, 5: 1, 6: 2, 7: 2}


@pytest.mark.usefixtures("newer")
def test_a_height_that_has_passed_means_at_once(world):
    for _ in range(5):
        world.seal()
    decide(world, Upgrade(2, 3))

    assert protocol(world.state) == 2
    assert upcoming(world.state) == ()


@pytest.mark.usefixtures("newer")
def test_the_height_of_the_block_that_decides_is_not_too_late(world):
    decide(world, Upgrade(2, 2))

    assert world.head.height == 2
    assert protocol(world.state) == 2


@pytest.mark.usefixtures("newer")
def test_two_upgrades_follow_each_other(world):
    decide(world, Upgrade(3, 8), Upgrade(2, 5))

    assert upcoming(world.state) == ((2, 5), (3, 8))
    assert versions(world, 9) == {4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 3}
    assert upcoming(world.state) == ()


@pytest.mark.usefixtures("newer")
def test_an_upgrade_that_was_overtaken_changes_nothing(world):
    decide(world, Upgrade(3, 5), Upgrade(2, 8))

    assert upcoming(world.state) == ((3, 5),)
    assert versions(world, 10)[10] == 3
    assert upcoming(world.state) == ()
    assert type(world.refused("alpha", ProposeChange(Upgrade(2, 99)))) is MembershipError


@pytest.mark.usefixtures("newer")
def test_of_two_versions_for_one_height_the_newer_counts(world):
    decide(world, Upgrade(2, 5), Upgrade(3, 5))

    assert upcoming(world.state) == ((3, 5),)
    assert versions(world, 6)[6] == 3


def test_a_program_refuses_the_first_block_under_a_version_it_does_not_know(world):
    decide(world, Upgrade(2, 3))
    assert upcoming(world.state) == ((2, 3),)
    world.seal()
    block = world.outcomes[-1].block

    with pytest.raises(
        UnsupportedProtocolError, match="protocol 2; this program knows 1"
    ) as caught:
        world.seal()
    assert caught.value.hint == "upgrade tallystick on this node"
    with pytest.raises(UnsupportedProtocolError):
        world.kernel.apply(world.state, world.head, following(world, block))


def following(world, block):
    """Return a block that has the right parent."""
    header = msgspec.structs.replace(
        block.header, height=world.head.height + 1, parent=header_hash(world.head)
    )
    return Block(header, ())


def test_a_program_that_dropped_an_old_version_refuses_its_blocks(world, monkeypatch):
    monkeypatch.setattr(kernel, "KNOWN", frozenset({2, 3}))

    with pytest.raises(UnsupportedProtocolError, match="protocol 1; this program knows 2, 3"):
        world.seal()


def test_nothing_is_foreseen_before_it_is_decided(world):
    world.accept("alpha", ProposeChange(Upgrade(2, 50)))

    assert upcoming(world.state) == ()
