"""From a genesis of ours to a final block, and what a block of ours needs as evidence."""

import pytest
from msgspec.structs import replace
from support.comet_chain import CHAIN_ID, grow, public, signed

from tallystick.codec import encode
from tallystick.consensus.cometbft.chain import check_chain, check_next
from tallystick.consensus.cometbft.evidence import check_binding, check_evidence
from tallystick.consensus.cometbft.headers import data_hash
from tallystick.crypto.votes import BlockId, Moment
from tallystick.errors import DecodeError, VerificationError
from tallystick.ledger.block import Block, Header, genesis_header, header_hash, transactions_root
from tallystick.ledger.genesis import Founder, Genesis, Key, engine_chain_id, genesis_hash

TIME = 1_700_000_000_005
GENESIS = Genesis(
    "test",
    TIME,
    "cometbft",
    "",
    True,
    tuple(
        Founder(
            name, (Key(public(f"{name}-owner"), "owner"), Key(public(name), "validator")), micros=0
        )
        for name in "abcd"
    ),
)
STATE = bytes([7]) * 32
WIRES = (b"one", b"two")


def chain(sets, **options):
    return grow(
        sets,
        chain_id=engine_chain_id(GENESIS),
        start=Moment(TIME // 1000, TIME % 1000 * 10**6),
        **options,
    )


def test_a_chain_without_gaps_is_final():
    lights = chain(["abcd", "abcd", "abce", "efgh"])

    assert check_chain(GENESIS, lights.values()) == lights[4]


def test_blocks_may_be_left_out_while_the_validators_stay():
    lights = chain(["abcd"] * 20)

    assert check_chain(GENESIS, [lights[1], lights[20]]) == lights[20]


def test_a_block_may_be_the_first_of_validators_named_long_before():
    lights = chain(["abcd", "wxyz", "wxyz", "wxyz"])

    assert check_chain(GENESIS, [lights[1], lights[4]]) == lights[4]


def test_validators_hand_over_with_more_than_two_thirds_of_their_power():
    enough, too_few = (chain(["abcd", "abcd", "abcd", last]) for last in ("abce", "abef"))

    assert check_chain(GENESIS, [enough[1], enough[4]]) == enough[4]
    with pytest.raises(VerificationError, match="a block between the two is missing"):
        check_chain(GENESIS, [too_few[1], too_few[4]])


def test_exactly_two_thirds_do_not_hand_over():
    lights = chain(["abcd", "abc", "abc", "abx"])

    with pytest.raises(VerificationError, match="hand over"):
        check_chain(GENESIS, [lights[1], lights[2], lights[4]])


def test_who_did_not_sign_does_not_hand_over():
    lights = chain(["abcd", "abcd", "abcde"], absent={3: "a"}, nil={3: ""})
    fewer = chain(["abcd", "abcd", "abcdefg"], absent={3: "ab"})

    assert check_chain(GENESIS, [lights[1], lights[3]]) == lights[3]
    with pytest.raises(VerificationError, match="hand over"):
        check_chain(GENESIS, [fewer[1], fewer[3]])


def test_a_chain_of_no_blocks_shows_nothing():
    with pytest.raises(VerificationError, match="no blocks"):
        check_chain(GENESIS, [])


FIRST = {
    "chain": ({"chain_id": CHAIN_ID}, "chain 'test-chain'"),
    "height": ({"height": 2}, "height 1 without a parent"),
    "parent": ({"last_block_id": BlockId(bytes(32), 1, bytes(32))}, "height 1 without a parent"),
    "time": ({"time": Moment(TIME // 1000, 5_000_001)}, "time of the genesis"),
}


@pytest.mark.parametrize("case", FIRST.values(), ids=FIRST)
def test_a_first_block_that_the_genesis_does_not_found_is_refused(case):
    fields, sentence = case
    first = chain(["abcd"])[1]

    with pytest.raises(VerificationError, match=sentence):
        check_chain(GENESIS, [signed(replace(first.header, **fields), "abcd")])


def test_a_first_block_of_other_validators_is_refused():
    with pytest.raises(VerificationError, match="not those of the genesis"):
        check_chain(GENESIS, [chain(["abc"])[1]])


def test_a_genesis_of_another_engine_has_no_such_chain():
    solo = replace(GENESIS, engine="solo", sealer="a")

    with pytest.raises(VerificationError, match="engine 'solo'"):
        check_chain(solo, [chain(["abcd"])[1]])


NEXT = {
    "chain": ({"chain_id": CHAIN_ID}, "chain"),
    "height": ({"height": 1}, "does not come after"),
    "time": ({"time": Moment(TIME // 1000, 5_000_000)}, "does not come after"),
    "parent": ({"last_block_id": BlockId(bytes(32), 1, bytes(32))}, "another parent"),
}


@pytest.mark.parametrize("case", NEXT.values(), ids=NEXT)
def test_a_next_block_that_does_not_follow_is_refused(case):
    fields, sentence = case
    lights = chain(["abcd", "abcd"])

    with pytest.raises(VerificationError, match=sentence):
        check_chain(GENESIS, [lights[1], signed(replace(lights[2].header, **fields), "abcd")])


def test_the_next_block_is_of_the_validators_named():
    one, other = chain(["abcd", "abcd"]), chain(["abcd", "abce"])

    with pytest.raises(VerificationError, match="the block before named"):
        check_chain(GENESIS, [one[1], other[2]])


def test_a_block_further_on_is_not_the_next():
    lights = chain(["abcd"] * 3)

    with pytest.raises(VerificationError, match="does not follow"):
        check_next(lights[1], lights[3])


@pytest.fixture
def ours():
    """Return the header of height 0, and two blocks of ours with the light blocks they carry."""
    founded = genesis_header(genesis_hash(GENESIS), TIME, STATE)
    lights = chain(["abcd", "abcd"], data_hash=data_hash(WIRES), app_hash=STATE)
    first = block_of(founded, lights[1])
    return founded, lights, first, block_of(first.header, lights[2])


def block_of(parent, light, /, **fields):
    header = Header(
        chain=parent.chain,
        height=light.height,
        time=light.header.time.milliseconds,
        parent=header_hash(parent),
        tx_root=transactions_root(WIRES),
        receipts_root=bytes(32),
        state_root=STATE,
    )
    return Block(replace(header, **fields), WIRES, encode(light))


def test_a_block_with_its_evidence_is_final_at_any_height(ours):
    founded, lights, first, second = ours

    assert check_evidence(GENESIS, founded, None, first) == lights[1]
    assert check_evidence(GENESIS, first.header, lights[1], second) == lights[2]


def test_a_time_within_a_millisecond_is_rounded_down(ours):
    _founded, lights, first, _second = ours
    time = Moment(lights[2].header.time.seconds, 999_999_999)
    light = signed(replace(lights[2].header, time=time), "abcd")
    block = block_of(first.header, light)

    check_evidence(GENESIS, first.header, lights[1], block)

    assert block.header.time == time.seconds * 1000 + 999


OURS = {
    "time": ({"time": TIME + 1001}, "another time"),
    "height": ({"height": 3}, "evidence of height 2"),
    "parent": ({"parent": bytes(32)}, "another parent"),
    "chain": ({"chain": bytes(32)}, "another chain"),
    "root": ({"tx_root": bytes(32)}, "other transactions"),
}


@pytest.mark.parametrize("case", OURS.values(), ids=OURS)
def test_a_header_of_ours_that_the_evidence_is_not_of_is_refused(ours, case):
    fields, sentence = case
    _founded, lights, first, _second = ours

    with pytest.raises(VerificationError, match=sentence):
        check_evidence(
            GENESIS, first.header, lights[1], block_of(first.header, lights[2], **fields)
        )


def test_evidence_counts_at_its_own_height_after_a_parent_just_below(ours):
    founded, lights, first, second = ours

    check_binding(first.header, lights[2], second)
    for parent, light in ((founded, lights[2]), (first.header, lights[1])):
        block = block_of(parent, light, height=2)

        with pytest.raises(VerificationError, match="has evidence of height"):
            check_binding(parent, light, block)


def test_evidence_that_too_few_signed_is_refused(ours):
    founded, lights, _first, _second = ours
    light = signed(lights[1].header, "abcd", absent="ab")

    with pytest.raises(VerificationError, match="too few"):
        check_evidence(GENESIS, founded, None, block_of(founded, light))


@pytest.mark.parametrize("wires", [(), WIRES[:1], WIRES[::-1]], ids=["none", "fewer", "order"])
def test_other_transactions_than_those_ordered_are_refused(ours, wires):
    _founded, lights, first, second = ours
    header = replace(second.header, tx_root=transactions_root(wires))

    with pytest.raises(VerificationError, match="other transactions"):
        check_evidence(GENESIS, first.header, lights[1], Block(header, wires, second.evidence))


def test_a_block_on_another_state_is_refused(ours):
    founded, lights, _first, _second = ours
    parent = replace(founded, state_root=bytes(32))

    with pytest.raises(VerificationError, match="another state"):
        check_evidence(GENESIS, parent, None, block_of(parent, lights[1]))


def test_a_first_block_is_none_that_follows(ours):
    founded, _lights, first, second = ours

    with pytest.raises(VerificationError, match="height 1 without a parent"):
        check_evidence(GENESIS, first.header, None, second)
    assert founded.height == 0


@pytest.mark.parametrize("spoil", [lambda data: data + b"\0", lambda _data: b""])
def test_evidence_that_is_no_light_block_is_refused(ours, spoil):
    founded, _lights, first, _second = ours

    with pytest.raises(DecodeError):
        check_evidence(GENESIS, founded, None, replace(first, evidence=spoil(first.evidence)))
