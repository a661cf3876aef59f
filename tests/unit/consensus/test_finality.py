"""What makes a block final, whichever engine ordered it, and what proves that two were."""

import pytest
from msgspec.structs import replace
from support.comet_chain import signed, validators
from support.comet_ledger import commit_json, lights_of, names_at, validators_json
from support.validators import VALIDATOR, Validators, new_key
from support.world import World, public_of, secret_of

from tallystick.codec import encode
from tallystick.consensus.cometbft.rpc_json import parse_light_block
from tallystick.consensus.cometbft.validators import validators_hash
from tallystick.consensus.finality import (
    check_engine,
    check_final,
    check_root,
    check_twin,
    describe,
    node_keys,
    orderers,
)
from tallystick.consensus.solo import Solo
from tallystick.consensus.wire import SealedHeader
from tallystick.errors import ConfigError, DecodeError, VerificationError
from tallystick.ledger.block import Block
from tallystick.ledger.contracts.validators import validator_keys
from tallystick.ledger.messages import Transfer, Unseat
from tallystick.storage.sqlite import MEMORY, LedgerStore


class Ordered:
    """A ledger under CometBFT with the evidence of each block."""

    def __init__(self):
        self.world = Validators(audited=False)
        self.genesis = self.world.genesis
        self.states = [self.world.kernel.found()[0]]
        self.pay(dt=0)
        self.pay()
        self.world.accept("bravo", new_key(self.world, "bravo"))
        self.world.vote(Unseat("delta"))
        for _ in range(3):
            self.pay()
        self.lights = lights_of(self.world)
        self.headers = [self.world.kernel.found()[1], *(o.header for o in self.world.outcomes)]

    def pay(self, dt=1000):
        self.world.send("alpha", Transfer("bravo", 1))
        self.world.seal(dt)

    def block(self, height, light=None):
        outcome = self.world.outcomes[height - 1]
        evidence = encode(light or self.lights[height])
        return Block(outcome.header, outcome.block.transactions, evidence)

    def check(self, height, block=None, before=None):
        """Check a block after the one before it; that one's evidence can be another."""
        before = before or (encode(self.lights[height - 1]) if height > 1 else b"")
        block = block or self.block(height)
        check_final(self.genesis, self.world.state, self.headers[height - 1], before, block)

    def sealed(self, height, light=None):
        return SealedHeader(self.headers[height], encode(light or self.lights[height]))


@pytest.fixture(scope="module")
def ordered():
    return Ordered()


def heights(ordered):
    return range(1, len(ordered.world.outcomes) + 1)


def resigned(ordered, at, *, names=None, absent=(), **fields):
    """Return the light block of a height after its header was changed and signed again."""
    header = replace(ordered.lights[at].header, **fields)
    return signed(header, names or names_at(ordered.world, at), absent=absent)


# --- under CometBFT -------------------------------------------------------------------------------


def test_what_cometbft_answers_in_json_is_the_same_light_block(ordered):
    for light in ordered.lights.values():
        told = parse_light_block(commit_json(light)["signed_header"], validators_json(light))
        assert told == light


def test_every_block_is_final_after_the_one_before(ordered):
    for height in heights(ordered):
        ordered.check(height)


def test_two_thirds_of_the_validators_are_not_enough_and_more_are(ordered):
    names = names_at(ordered.world, 2)
    assert len(names) == 4
    ordered.check(2, ordered.block(2, resigned(ordered, 2, absent=names[:1])))

    with pytest.raises(VerificationError, match="too few"):
        ordered.check(2, ordered.block(2, resigned(ordered, 2, absent=names[:2])))


CHANGED = {
    "another state before": lambda _: {"app_hash": bytes(32)},
    "other transactions": lambda _: {"data_hash": bytes(32)},
    "another time": lambda header: {"time": replace(header.time, seconds=header.time.seconds + 1)},
    "another chain": lambda _: {"chain_id": "other"},
    "another parent": lambda header: {
        "last_block_id": replace(header.last_block_id, hash=bytes(32))
    },
    "a height further": lambda _: {"height": 3},
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_a_block_that_the_validators_signed_and_that_is_another_is_not_this_one(ordered, change):
    light = resigned(ordered, 2, **change(ordered.lights[2].header))

    with pytest.raises(VerificationError):
        ordered.check(2, ordered.block(2, light))


def test_validators_that_nobody_named_make_nothing_final(ordered):
    strangers = [f"stranger/{number}" for number in range(4)]
    light = resigned(
        ordered, 2, names=strangers, validators_hash=validators_hash(validators(strangers))
    )
    with pytest.raises(VerificationError, match="not those the block before named"):
        ordered.check(2, ordered.block(2, light))


def test_evidence_of_another_engine_is_none(ordered):
    with pytest.raises(DecodeError):
        ordered.check(2, replace(ordered.block(2), evidence=b"solo"))
    with pytest.raises(DecodeError):
        ordered.check(2, replace(ordered.block(2), evidence=b""))


def test_the_first_block_has_no_evidence_before_it(ordered):
    with pytest.raises(VerificationError):
        ordered.check(1, before=encode(ordered.lights[1]))
    parent = ordered.headers[1]
    with pytest.raises(VerificationError):
        check_final(ordered.genesis, ordered.world.state, parent, b"", ordered.block(2))


def test_a_fork_is_proven_by_who_voted_for_both(ordered):
    fork = resigned(ordered, 2, data_hash=bytes(32), absent=["alpha/100"])
    names = check_twin(
        ordered.world.state, ordered.genesis, ordered.sealed(2), ordered.sealed(2, fork)
    )

    assert names == "'bravo', 'charlie', 'delta'"


def test_what_proves_no_fork_is_refused(ordered):
    state, genesis, names = ordered.world.state, ordered.genesis, names_at(ordered.world, 2)
    few = resigned(ordered, 2, data_hash=bytes(32), absent=names[:2])
    other_chain = resigned(ordered, 2, chain_id="other")
    mixed = resigned(ordered, 2, data_hash=bytes(32))
    broken = replace(mixed, commit=replace(mixed.commit, signatures=mixed.commit.signatures[::-1]))
    for twin in (ordered.lights[2], ordered.lights[3], few, other_chain, broken):
        with pytest.raises(VerificationError):
            check_twin(state, genesis, ordered.sealed(2), ordered.sealed(2, twin))
    with pytest.raises(DecodeError):
        check_twin(state, genesis, ordered.sealed(2), SealedHeader(ordered.headers[2], b"?"))


def test_a_second_round_of_votes_for_the_same_block_is_no_fork(ordered):
    again = signed(ordered.lights[2].header, names_at(ordered.world, 2), round_=1)

    with pytest.raises(VerificationError):
        check_twin(
            ordered.world.state, ordered.genesis, ordered.sealed(2), ordered.sealed(2, again)
        )


def test_a_state_is_final_by_the_votes_for_the_next_block(ordered):
    for height in heights(ordered)[:-1]:
        publics = [each.public for each in ordered.lights[height + 1].validators]
        evidence = encode(ordered.lights[height + 1])
        check_root(ordered.genesis, publics, ordered.headers[height], evidence)


def test_a_header_that_claims_to_be_later_than_what_proves_its_state_is_refused(ordered):
    following = ordered.lights[3].header.time.milliseconds
    publics = [each.public for each in ordered.lights[3].validators]

    with pytest.raises(VerificationError, match="later time"):
        check_root(
            ordered.genesis,
            publics,
            replace(ordered.headers[2], time=following),
            encode(ordered.lights[3]),
        )


def test_a_state_that_too_few_of_those_known_signed_is_not_final(ordered):
    publics = [each.public for each in ordered.lights[3].validators]
    strangers = [public_of(f"stranger {n}") for n in range(2)]

    def check(known, height=2, light=None):
        evidence = encode(light or ordered.lights[3])
        check_root(ordered.genesis, known, ordered.headers[height], evidence)

    check([*publics, strangers[0]])
    with pytest.raises(VerificationError, match="4 of 6 validators signed"):
        check([*publics, *strangers])
    with pytest.raises(VerificationError, match="0 of 0"):
        check([])
    with pytest.raises(VerificationError, match="0 of 2"):
        check(strangers)
    with pytest.raises(VerificationError, match="too few"):
        check(publics, light=resigned(ordered, 3, absent=names_at(ordered.world, 3)[:2]))
    with pytest.raises(VerificationError, match="too few"):
        check(publics, light=resigned(ordered, 3, chain_id="other"))
    with pytest.raises(VerificationError, match="not the state after block 1"):
        check(publics, height=1)
    with pytest.raises(VerificationError, match="not the state after block 2"):
        check(publics, light=resigned(ordered, 3, app_hash=bytes(32)))


def test_it_says_how_many_agreed(ordered):
    names = names_at(ordered.world, 2)
    light = resigned(ordered, 2, absent=names[:1])
    said = describe(ordered.genesis, encode(light))

    assert (said["engine"], said["signers"], said["validators"]) == ("cometbft", 3, 4)
    assert "3 of 4 validators" in said["says"]
    assert "no fault is tolerated" not in said["says"]
    assert describe(ordered.genesis, b"")["signers"] == 0
    last = ordered.lights[len(ordered.lights)]
    assert len(last.validators) == 3
    said = describe(ordered.genesis, encode(last))["says"]
    assert "with 3 validators no fault is tolerated" in said
    assert orderers(ordered.genesis) == "two thirds of the validators"


def test_the_keys_of_nodes_are_all_valid_validator_keys(ordered):
    keys = node_keys(ordered.world.state, ordered.genesis)

    assert public_of("bravo", VALIDATOR) not in keys
    assert public_of("bravo", VALIDATOR + 1) in keys
    assert public_of("delta", VALIDATOR) in keys  # without a seat it still has a node
    assert len(keys) == 4
    assert len(list(validator_keys(ordered.world.state))) == 5


# --- solo -----------------------------------------------------------------------------------------


@pytest.fixture
def solo():
    world = World(audited=False)
    engine = Solo(LedgerStore(MEMORY), world.genesis, secret_of("alpha"))
    for _ in range(2):
        engine.submit(world.sign("bravo", Transfer("alpha", 1)).wire)
        engine.seal(engine.head.time + 5)
    yield engine
    engine.close()


def test_a_solo_ledgers_block_is_final_by_its_seal(solo, ordered):
    first, second = solo.blocks()
    parent = solo.kernel.found()[1]
    check_final(solo.genesis, solo.state, parent, b"", first)
    check_final(solo.genesis, solo.state, first.header, first.evidence, second)

    for evidence in (first.evidence, encode(ordered.lights[1])):
        with pytest.raises((VerificationError, DecodeError)):
            check_final(
                solo.genesis, solo.state, first.header, b"", replace(second, evidence=evidence)
            )


def test_a_solo_ledgers_twin_is_told_by_its_seal(solo):
    first, _ = solo.blocks()
    other = replace(first.header, time=first.header.time + 1)
    twin = SealedHeader(other, solo._sign(other))
    known = SealedHeader(first.header, first.evidence)

    assert check_twin(solo.state, solo.genesis, known, twin) == "'alpha'"
    with pytest.raises(VerificationError):
        check_twin(solo.state, solo.genesis, known, SealedHeader(other, first.evidence))


def test_a_solo_ledgers_state_is_final_by_a_key_known_from_elsewhere(solo):
    first, second = solo.blocks()
    check_root(solo.genesis, node_keys(solo.state, solo.genesis), first.header, first.evidence)

    for publics, evidence in (((), first.evidence), ([public_of("bravo")], first.evidence),
                              (node_keys(solo.state, solo.genesis), second.evidence)):  # fmt: skip
        with pytest.raises(VerificationError, match="not sealed by 'alpha'"):
            check_root(solo.genesis, publics, first.header, evidence)


def test_a_solo_ledger_says_that_one_orders_it(solo):
    assert describe(solo.genesis, b"")["signers"] == 1
    assert "by alpha alone" in describe(solo.genesis, b"")["says"]
    assert orderers(solo.genesis) == "'alpha'"
    assert node_keys(solo.state, solo.genesis) == (public_of("alpha"),)


def test_ledgers_of_other_engines_are_not_followed(ordered, solo):
    check_engine(ordered.genesis)
    check_engine(solo.genesis)

    with pytest.raises(ConfigError, match="'pow'"):
        check_engine(replace(solo.genesis, engine="pow"))
