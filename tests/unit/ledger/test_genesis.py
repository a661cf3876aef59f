"""What a ledger may start from."""

import msgspec
import pytest
from support.validators import founded
from support.world import make_genesis, public_of

from tallystick.codec import encode
from tallystick.errors import ConfigError, DecodeError
from tallystick.ledger.genesis import (
    Founder,
    Key,
    Limits,
    check_genesis,
    genesis_hash,
    load_genesis,
)

GENESIS = make_genesis()


def founder(name, micros=1, public=None):
    return Founder(name, (Key(public or public_of(name), "owner"),), micros)


def changed(**fields):
    return msgspec.structs.replace(GENESIS, **fields)


WRONG = {
    "unsorted founders": changed(founders=GENESIS.founders[::-1]),
    "a founder twice": changed(
        founders=(founder("alpha"), founder("alpha", public=public_of("x")))
    ),
    "a stranger as sealer": changed(sealer="zulu"),
    "too much money": changed(founders=(founder("alpha", 2**61), founder("bravo", 2**61))),
    "one key for two members": changed(
        founders=(founder("alpha"), founder("bravo", public=public_of("alpha")))
    ),
    "one key twice for one member": changed(
        founders=(Founder("alpha", (Key(public_of("alpha"), "owner"),) * 2, 1),)
    ),
    "a key that is no point": changed(founders=(founder("alpha", public=b"\xff" * 32),)),
    "nobody with an owner key": changed(
        founders=(Founder("alpha", (Key(public_of("alpha"), "worker"),), 1),)
    ),
    "a protocol of the future": changed(protocol=2),
    "blocks without room": changed(limits=Limits(block_bytes=60_000)),
    "transactions without room": changed(limits=Limits(transaction_bytes=1000)),
    "transactions beyond the codec": changed(limits=Limits(transaction_bytes=2**17)),
    "no time to act": changed(limits=Limits(validity=0)),
    "no expiry": changed(limits=Limits(validity=2**62)),
    "validators and a sealer": msgspec.structs.replace(founded(), sealer="alpha"),
    "nobody with a validator key": changed(engine="cometbft", sealer=""),
    "a key of small order": changed(founders=(founder("alpha", public=bytes(32)),)),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_genesis_is_refused(why):
    with pytest.raises(ConfigError):
        check_genesis(WRONG[why])
    with pytest.raises(DecodeError):
        load_genesis(encode(WRONG[why]))


def test_a_genesis_survives_its_bytes():
    assert load_genesis(encode(GENESIS)) == GENESIS


def test_all_the_money_that_fits_is_accepted():
    check_genesis(changed(founders=(founder("alpha", 2**62 - 2), founder("bravo", 1))))


def test_other_engines_need_no_sealer():
    check_genesis(changed(engine="pow", sealer=""))
    check_genesis(founded(("alpha",), ("bravo",)))


@pytest.mark.parametrize(
    "fields",
    [{"name": "other"}, {"time": 0}, {"trial": False}, {"sealer": "bravo"}, {"engine": "pow"}],
)
def test_whatever_differs_makes_another_ledger(fields):
    assert genesis_hash(changed(**fields)) != genesis_hash(GENESIS)


def test_bytes_that_are_not_canonical_are_refused():
    with pytest.raises(DecodeError):
        load_genesis(encode(GENESIS) + b"\0")
