"""The envelope: who may say what, once, in time, on this ledger and no other."""

import msgspec
import pytest
from support.play import Play
from support.terms import simple
from support.world import START, VALIDITY, World, make_genesis, secret_of

from tallystick.codec import encode
from tallystick.crypto import keys
from tallystick.ledger.genesis import Limits
from tallystick.ledger.kernel import InvalidBlockError
from tallystick.ledger.messages import Collect, Transfer
from tallystick.ledger.transaction import (
    BadNonceError,
    BadSignatureError,
    ExpiredError,
    InvalidTransactionError,
    MalformedError,
    SignedTransaction,
    UnknownSenderError,
    last_nonce,
    parse_transaction,
)

PAY = Transfer("bravo", 5)


@pytest.fixture
def world():
    return World()


ENVELOPES = [
    ("a stranger", {"member": "zulu", "secret": secret_of("zulu")}, UnknownSenderError, 102),
    ("a key never attached", {"key": 1}, UnknownSenderError, 102),
    ("the last possible key", {"key": 255}, UnknownSenderError, 102),
    ("another member's key", {"secret": secret_of("bravo")}, BadSignatureError, 103),
    ("another ledger's hash", {"chain": bytes(32)}, BadSignatureError, 103),
    ("an expiry in the past", {"until": START}, ExpiredError, 105),
    ("an expiry too far ahead", {"until": START + 1001 + VALIDITY}, ExpiredError, 105),
]


@pytest.mark.parametrize(
    ("why", "wrong", "error", "code"), ENVELOPES, ids=[e[0] for e in ENVELOPES]
)
def test_a_wrong_envelope_is_refused_without_trace(world, why, wrong, error, code):
    refused = world.refused(**{"member": "alpha", "message": PAY, "key": 0, **wrong})

    assert type(refused) is error
    assert refused.code == code
    assert world.outcomes[-1].receipts == ()


def test_an_expiry_at_the_block_and_one_at_the_limit_are_accepted(world):
    world.accept("alpha", PAY, until=START + 1000)
    world.accept("alpha", PAY, until=START + 2000 + VALIDITY)

    assert last_nonce(world.state, "alpha", 0) == 2


def test_a_transaction_sent_twice_counts_once(world):
    tx = world.send("alpha", PAY)
    world.seal()
    before = world.state.root
    world.pending = [tx]
    outcome = world.seal()

    assert [type(error) for _, error in outcome.refused] == [BadNonceError]
    assert outcome.refused[0][1].code == 104
    assert world.state.root == before


def test_the_same_transaction_twice_in_one_block_counts_once(world):
    tx = world.send("alpha", PAY)
    world.pending.append(tx)
    outcome = world.seal()

    assert outcome.transactions == (tx,)
    assert [type(error) for _, error in outcome.refused] == [BadNonceError]


def test_nonces_rise_and_may_skip(world):
    world.accept("alpha", PAY, nonce=7)
    world.accept("alpha", PAY, nonce=1_000_000)

    assert type(world.refused("alpha", PAY, nonce=8)) is BadNonceError
    assert type(world.refused("alpha", PAY, nonce=1_000_000)) is BadNonceError
    assert last_nonce(world.state, "alpha", 0) == 1_000_000


def test_the_largest_nonce_is_accepted_and_is_the_last(world):
    world.accept("alpha", PAY, nonce=2**63 - 1)

    assert type(world.refused("alpha", PAY, nonce=2**63 - 1)) is BadNonceError


def test_nonces_are_per_member(world):
    world.accept("alpha", PAY, nonce=9)
    world.accept("charlie", PAY, nonce=1)

    assert last_nonce(world.state, "charlie", 0) == 1
    assert last_nonce(world.state, "bravo", 0) == 0


def test_a_refused_transaction_leaves_its_nonce_unspent(world):
    world.refused("alpha", Transfer("bravo", 2**60), nonce=3)
    world.accept("alpha", PAY, nonce=3)

    assert last_nonce(world.state, "alpha", 0) == 3


def test_a_signature_is_worth_nothing_on_a_sister_ledger(world):
    sister = World(genesis=make_genesis(name="sister"))
    tx = world.sign("alpha", PAY)

    with pytest.raises(BadSignatureError):
        sister.kernel.check(sister.state, tx.wire, sister.now)


def test_the_signature_covers_every_byte_of_the_body(world):
    tx = world.sign("alpha", PAY)
    other = msgspec.structs.replace(tx.body, message=Transfer("bravo", 6))
    wire = encode(SignedTransaction(encode(other), tx.signature))

    with pytest.raises(BadSignatureError):
        world.kernel.check(world.state, wire, world.now)


def test_a_signature_of_another_domain_is_refused(world):
    tx = world.sign("alpha", PAY)
    signature = keys.sign(secret_of("alpha"), b"attest/1", world.kernel.chain + tx.raw_body)

    with pytest.raises(BadSignatureError):
        world.kernel.check(
            world.state, encode(SignedTransaction(tx.raw_body, signature)), world.now
        )


def malformed(world):
    tx = world.sign("alpha", PAY)
    body = tx.raw_body
    yield "no bytes", b""
    yield "not msgpack", b"\xc1"
    yield "a byte too many", tx.wire + b"\0"
    yield "a byte too few", tx.wire[:-1]
    yield "a short signature", encode((body, bytes(63)))
    yield "a body that is no body", encode((b"\x90", tx.signature))
    yield "an unknown message", encode((encode(("alpha", 0, 1, START, (99,))), tx.signature))
    yield "a capital in a name", encode((body.replace(b"alpha", b"Alpha"), tx.signature))
    yield (
        "a long form of a small integer",
        encode((body.replace(b"\xa5bravo\x05", b"\xa5bravo\xcc\x05"), tx.signature)),
    )
    yield "nothing to pay", encode((body.replace(b"\xa5bravo\x05", b"\xa5bravo\x00"), tx.signature))
    yield "too large", encode((bytes(64 * 1024), tx.signature))


@pytest.mark.parametrize("why", [why for why, _ in malformed(World())])
def test_bytes_that_are_no_transaction_are_malformed(world, why):
    wire = dict(malformed(world))[why]

    with pytest.raises(MalformedError) as refused:
        parse_transaction(wire, world.genesis.limits)
    assert refused.value.code == 101


def test_the_planted_bytes_are_wrong_in_one_place_only(world):
    tx = world.sign("alpha", PAY)

    assert b"\xa5bravo\x05" in tx.raw_body
    assert parse_transaction(tx.wire, world.genesis.limits).body == tx.body


def test_the_size_limit_is_the_ledgers(world):
    tx = world.sign("alpha", PAY)

    parse_transaction(tx.wire, Limits(transaction_bytes=len(tx.wire)))
    with pytest.raises(MalformedError):
        parse_transaction(tx.wire, Limits(transaction_bytes=len(tx.wire) - 1))


def test_a_transaction_refused_inside_a_block_leaves_its_code_and_nothing_else(world):
    poor = world.sign("alpha", Transfer("bravo", 2**60))
    rich = world.sign("bravo", Transfer("alpha", 1))
    outcome = world.forced(poor, rich)

    assert [receipt.code for receipt in outcome.receipts] == [411, 0]
    assert outcome.receipts[0].events == ()
    assert world.forced(poor).changes == {}


def test_a_refusal_after_something_was_written_undoes_it(world):
    play = Play(world, simple())
    key = play.row.open[0]
    good = play.entry(key, "bravo")
    bad = msgspec.structs.replace(good, stage="nothing")
    outcome = world.forced(world.sign("bravo", Collect(play.task, (good, bad))))

    assert [receipt.code for receipt in outcome.receipts] == [503]
    assert outcome.changes == {}
    assert outcome.logged == ()


@pytest.mark.parametrize("wrong", [{"until": START}, {"nonce": 0, "chain": bytes(32)}])
def test_no_block_holds_a_transaction_with_a_wrong_envelope(world, wrong):
    bad = world.sign("alpha", PAY, **wrong)
    good = world.kernel.propose(
        world.state, world.head, world.now + 1000, [world.sign("alpha", PAY)]
    )
    block = msgspec.structs.replace(good.block, transactions=(bad.wire,))

    with pytest.raises(InvalidBlockError):
        world.kernel.apply(world.state, world.head, block)


def test_every_error_of_the_envelope_has_its_own_code():
    def below(kind):
        return [kind, *(found for each in kind.__subclasses__() for found in below(each))]

    codes = [kind.code for kind in below(InvalidTransactionError)]

    assert len(codes) == len(set(codes))
    assert all(100 <= code < 200 for code in codes)
