"""Light blocks of chains whose validators a test names, signed with keys made from the names."""

from __future__ import annotations

from hashlib import sha256

from msgspec.structs import replace

from tallystick.consensus.cometbft.commits import (
    FOR_BLOCK,
    FOR_NIL,
    NO_VOTE,
    Commit,
    CommitSig,
    LightBlock,
)
from tallystick.consensus.cometbft.headers import CometHeader, comet_header_hash, data_hash
from tallystick.consensus.cometbft.validators import (
    FOUNDING_POWER,
    Validator,
    address_of,
    in_order,
    validators_hash,
)
from tallystick.crypto import keys
from tallystick.crypto.merkle_proof import EMPTY_ROOT
from tallystick.crypto.votes import PRECOMMIT, BlockId, Moment, Vote, sign_bytes

__all__ = [
    "CHAIN_ID",
    "START",
    "grow",
    "public",
    "secret",
    "signed",
    "validators",
]

CHAIN_ID = "test-chain"
START = Moment(1_700_000_000, 5_000_000)


def secret(name):
    return keys.secret_from_seed(name.encode())


def public(name):
    return keys.public_of(secret(name))


def validators(names, power=FOUNDING_POWER):
    """Return the set of those named: a string of one-letter names, or any list of names."""
    return in_order(Validator(public(name), power) for name in names)


def grow(sets, *, chain_id=CHAIN_ID, start=START, absent=None, nil=None, **header):
    """Return light blocks by height, a second apart; ``sets`` names each height's validators.

    ``absent`` and ``nil`` name by height who did not vote or voted for nil; ``header`` sets fields.
    """
    lights = {}
    last = BlockId()
    for index, names in enumerate(sets):
        height, following = index + 1, sets[min(index + 1, len(sets) - 1)]
        made = CometHeader(
            block_version=11,
            app_version=1,
            chain_id=chain_id,
            height=height,
            time=Moment(start.seconds + index, start.nanos),
            last_block_id=last,
            last_commit_hash=EMPTY_ROOT,
            data_hash=data_hash([]),
            validators_hash=validators_hash(validators(names)),
            next_validators_hash=validators_hash(validators(following)),
            consensus_hash=EMPTY_ROOT,
            app_hash=bytes(32),
            last_results_hash=EMPTY_ROOT,
            evidence_hash=EMPTY_ROOT,
            proposer_address=address_of(public(names[0])),
        )
        lights[height] = signed(
            replace(made, **header),
            names,
            absent=(absent or {}).get(height, ()),
            nil=(nil or {}).get(height, ()),
        )
        last = lights[height].commit.block_id
    return lights


def signed(header, names, *, absent=(), nil=(), round_=0):
    """Return the header with the votes of those named."""
    members = validators(names)
    secrets = {public(name): secret(name) for name in names}
    gone, against = ({public(name) for name in some} for some in (absent, nil))
    block_id = BlockId(comet_header_hash(header), 1, sha256(b"parts").digest())
    votes = tuple(
        NO_VOTE
        if each.public in gone
        else vote_of(secrets[each.public], header, round_, block_id, each.public in against)
        for each in members
    )
    return LightBlock(header, Commit(header.height, round_, block_id, votes), members)


def vote_of(key, header, round_, block_id, is_nil):
    time = Moment(header.time.seconds + 1, header.time.nanos)
    block = BlockId() if is_nil else block_id
    vote = Vote(PRECOMMIT, header.height, round_, block, time)
    return CommitSig(
        FOR_NIL if is_nil else FOR_BLOCK,
        address_of(keys.public_of(key)),
        time,
        keys.unsafe_sign_raw(key, sign_bytes(vote, header.chain_id)),
    )
