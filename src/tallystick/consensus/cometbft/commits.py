"""Commits: the votes that made a block final, checked one by one.

CometBFT itself stops at two thirds. Here every vote present has to verify and nothing may stand
beside the votes, so that a light block has no byte that could be another and still pass.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec.structs import replace

from tallystick.codec import U63, Record
from tallystick.consensus.cometbft.headers import (
    BLOCK_PROTOCOL,
    HASH_FIELDS,
    CometHeader,
    comet_header_hash,
)
from tallystick.consensus.cometbft.validators import (
    MOST_VALIDATORS,
    Validator,
    address_of,
    check_validators,
    power_of,
    validators_hash,
)
from tallystick.crypto.merkle_list import list_root
from tallystick.crypto.protobuf import message, octets, timestamp, varint_field
from tallystick.crypto.votes import MOST_ROUND, PRECOMMIT, BlockId, Moment, Vote, is_vote_of
from tallystick.errors import VerificationError

__all__ = [
    "ABSENT",
    "FOR_BLOCK",
    "FOR_NIL",
    "NO_TIME",
    "NO_VOTE",
    "Commit",
    "CommitSig",
    "LightBlock",
    "check_commit",
    "check_power",
    "check_shape",
    "check_signatures",
    "commit_hash",
    "double_signers",
    "signers",
    "without_unverifiable",
]

ABSENT, FOR_BLOCK, FOR_NIL = 1, 2, 3
NO_TIME = Moment(-62135596800, 0)  # year 1, which stands for no time
_HASH_BYTES, _ADDRESS_BYTES = 32, 20


class CommitSig(Record):
    """One validator's vote: `ABSENT`, `FOR_BLOCK` or `FOR_NIL`."""

    flag: Annotated[int, msgspec.Meta(ge=ABSENT, le=FOR_NIL)]
    address: Annotated[bytes, msgspec.Meta(max_length=_ADDRESS_BYTES)] = b""
    time: Moment = NO_TIME
    signature: Annotated[bytes, msgspec.Meta(max_length=64)] = b""


NO_VOTE = CommitSig(ABSENT)


class Commit(Record):
    """The votes for one block, in the order of the validators."""

    height: U63
    round: Annotated[int, msgspec.Meta(ge=0, le=MOST_ROUND)]
    block_id: BlockId
    signatures: Annotated[tuple[CommitSig, ...], msgspec.Meta(max_length=MOST_VALIDATORS)]


class LightBlock(Record):
    """A header, the votes for it, and who was entitled to vote."""

    header: CometHeader
    commit: Commit
    validators: Annotated[tuple[Validator, ...], msgspec.Meta(max_length=MOST_VALIDATORS)]

    @property
    def height(self) -> int:
        """Height of the header."""
        return self.header.height


def check_commit(light: LightBlock, *, block_version: int = BLOCK_PROTOCOL) -> None:
    """Check that more than two thirds of the power voted for the header, and all that is there.

    Raises
    ------
    VerificationError
        The header, the validators and the votes do not belong together, a vote present does not
        verify, an absent one carries something, or too few voted for the block.
    """
    check_shape(light, block_version=block_version)
    check_signatures(light)
    check_power(light)


def check_shape(light: LightBlock, *, block_version: int = BLOCK_PROTOCOL) -> None:
    """Check all of `check_commit` that needs neither signatures nor a count.

    Raises
    ------
    VerificationError
        Header, commit and validators do not belong together.
    """
    header, commit, at = light.header, light.commit, f"the block at height {light.height}"
    _check_header(header, block_version)
    check_validators(light.validators)
    if header.validators_hash != validators_hash(light.validators):
        msg = f"{at} names other validators than those given with it"
        raise VerificationError(msg)
    if commit.height != header.height:
        msg = f"{at} comes with the votes of height {commit.height}"
        raise VerificationError(msg)
    if commit.block_id.hash != comet_header_hash(header):
        msg = f"{at} has another hash than the one voted for"
        raise VerificationError(msg)
    if len(commit.block_id.parts_hash) not in {0, _HASH_BYTES}:
        msg = f"the parts of {at} have no hash of {_HASH_BYTES} bytes"
        raise VerificationError(msg)
    if len(commit.signatures) != len(light.validators):
        msg = f"{at} has {len(commit.signatures)} votes for {len(light.validators)} validators"
        raise VerificationError(msg)
    for place, (each, owner) in enumerate(zip(commit.signatures, light.validators, strict=True)):
        if each.flag == ABSENT and each != NO_VOTE:
            msg = f"vote {place} of {at} is absent and yet carries something"
            raise VerificationError(msg)
        if each.flag != ABSENT and each.address != address_of(owner.public):
            msg = f"vote {place} of {at} is not that of the validator in its place"
            raise VerificationError(msg)


def _check_header(header: CometHeader, block_version: int) -> None:
    at = f"the header of height {header.height}"
    if header.block_version != block_version:
        msg = f"{at} is of block protocol {header.block_version}, not {block_version}"
        raise VerificationError(msg)
    if not header.height:
        msg = "no block has height 0"
        raise VerificationError(msg)
    if len(header.proposer_address) != _ADDRESS_BYTES:
        msg = f"{at} names no proposer by an address of {_ADDRESS_BYTES} bytes"
        raise VerificationError(msg)
    last = header.last_block_id
    hashes = [getattr(header, name) for name in HASH_FIELDS] + [last.hash, last.parts_hash]
    if any(len(each) not in {0, _HASH_BYTES} for each in hashes):
        msg = f"{at} holds a hash that is not of {_HASH_BYTES} bytes"
        raise VerificationError(msg)


def check_signatures(light: LightBlock) -> None:
    """Check every vote that is present, also those for nil; the shape has been checked.

    Raises
    ------
    VerificationError
        One does not verify.
    """
    for place in range(len(light.validators)):
        if light.commit.signatures[place].flag != ABSENT and not _verifies(light, place):
            msg = f"the signature of vote {place} of height {light.height} does not verify"
            raise VerificationError(msg)


def check_power(light: LightBlock) -> None:
    """Check that more than two thirds of the power voted for the block.

    Raises
    ------
    VerificationError
        Too few did.
    """
    total, voted = power_of(light.validators), power_of(_voters(light))
    if voted * 3 <= total * 2:
        msg = f"{voted} of {total} power voted for the block at height {light.height}: too few"
        raise VerificationError(msg)


def signers(light: LightBlock) -> list[bytes]:
    """Return the public keys, in order, of who voted for a block whose commit has been checked."""
    return [each.public for each in _voters(light)]


def double_signers(one: LightBlock, other: LightBlock) -> list[bytes]:
    """Return who voted for both of two different blocks of one chain and height; both are checked.

    A fork needs such votes: more than a third of the power stands in this list, or the sets
    of validators differ.
    """
    same_place = (one.header.chain_id, one.height) == (other.header.chain_id, other.height)
    if not same_place or one.commit.block_id.hash == other.commit.block_id.hash:
        return []
    return sorted(set(signers(one)) & set(signers(other)))


def without_unverifiable(light: LightBlock) -> LightBlock:
    """Return the light block with every vote that does not verify left out.

    So that one vote that nobody should have counted does not make the rest unprovable.
    """
    votes = light.commit.signatures
    if len(votes) != len(light.validators):
        return light
    kept = tuple(vote if _verifies(light, at) else NO_VOTE for at, vote in enumerate(votes))
    return replace(light, commit=replace(light.commit, signatures=kept))


def commit_hash(commit: Commit) -> bytes:
    """Return the root over the votes, which the next header holds."""
    return list_root(
        [
            varint_field(1, each.flag)
            + octets(2, each.address)
            + message(3, timestamp(each.time.seconds, each.time.nanos))
            + octets(4, each.signature)
            for each in commit.signatures
        ]
    )


def _voters(light: LightBlock) -> list[Validator]:
    pairs = zip(light.commit.signatures, light.validators, strict=True)
    return [owner for each, owner in pairs if each.flag == FOR_BLOCK]


def _verifies(light: LightBlock, place: int) -> bool:
    """Return whether the vote in this place is one of the validator there."""
    commit, owner = light.commit, light.validators[place]
    each = commit.signatures[place]
    if each.flag == ABSENT or each.address != address_of(owner.public):
        return False
    block = commit.block_id if each.flag == FOR_BLOCK else BlockId()
    vote = Vote(PRECOMMIT, commit.height, commit.round, block, each.time)
    return is_vote_of(owner.public, vote, light.header.chain_id, each.signature)
