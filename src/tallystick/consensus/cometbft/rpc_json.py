"""CometBFT's JSON as records: what its RPC answers about commits, validators and open votes.

Integers are strings or numbers there, hashes hexadecimal, keys and signatures base64, times RFC
3339 in UTC with up to nine decimals; ``null`` stands for nothing. Keys not named here are left
alone, since later versions add some. What is parsed is not verified.

References
----------
CometBFT v0.39, ``rpc/openapi/openapi.yaml``.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from datetime import date
from typing import Annotated, Any, TypeVar

import msgspec

from tallystick.codec import Record, convert
from tallystick.consensus.cometbft.commits import ABSENT, NO_TIME, Commit, CommitSig, LightBlock
from tallystick.consensus.cometbft.headers import CometHeader
from tallystick.consensus.cometbft.validators import (
    MOST_VALIDATORS,
    Validator,
    Validators,
    address_of,
    in_order,
)
from tallystick.crypto.votes import BlockId, Moment, Vote
from tallystick.errors import DecodeError

__all__ = [
    "DoubleVote",
    "parse_commit",
    "parse_double_votes",
    "parse_header",
    "parse_light_block",
    "parse_signed_header",
    "parse_time",
    "parse_validators",
    "total_validators",
    "voters_in",
]

R = TypeVar("R", bound=Record)
DOUBLE_VOTE = "tendermint/DuplicateVoteEvidence"
EPOCH_DAY = date(1970, 1, 1).toordinal()
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?Z", re.ASCII
)
_VOTE = re.compile(r"Vote\{\d+:([0-9A-F]{12}) ", re.ASCII)
_EPOCH = Moment(0, 0)

_Number = Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,18})\Z")] | int
_Hex = Annotated[str, msgspec.Meta(pattern=r"^([0-9A-Fa-f]{2})*\Z")] | None
_Base64 = str | None


class _Version(msgspec.Struct):
    block: _Number = 0
    app: _Number = 0


class _Parts(msgspec.Struct):
    total: _Number = 0
    hash: _Hex = None


class _BlockId(msgspec.Struct):
    hash: _Hex = None
    parts: _Parts | None = None
    part_set_header: _Parts | None = None  # what the protobuf calls it


class _Header(msgspec.Struct):
    version: _Version
    chain_id: str
    height: _Number
    time: str
    validators_hash: _Hex
    next_validators_hash: _Hex
    last_block_id: _BlockId | None = None
    last_commit_hash: _Hex = None
    data_hash: _Hex = None
    consensus_hash: _Hex = None
    app_hash: _Hex = None
    last_results_hash: _Hex = None
    evidence_hash: _Hex = None
    proposer_address: _Hex = None


class _Signature(msgspec.Struct):
    block_id_flag: int
    validator_address: _Hex = None
    timestamp: str | None = None
    signature: _Base64 = None


class _Commit(msgspec.Struct):
    height: _Number
    round: _Number
    block_id: _BlockId
    signatures: list[_Signature] | None = None


class _SignedHeader(msgspec.Struct):
    header: _Header
    commit: _Commit


class _PublicKey(msgspec.Struct):
    type: str
    value: str


class _Validator(msgspec.Struct):
    address: str
    pub_key: _PublicKey
    voting_power: _Number


class _Vote(msgspec.Struct):
    type: int
    height: _Number
    round: _Number
    block_id: _BlockId
    timestamp: str
    validator_address: _Hex
    signature: _Base64


class _DoubleVote(msgspec.Struct):
    vote_a: _Vote
    vote_b: _Vote


class _Evidence(msgspec.Struct):
    type: str
    value: dict[str, Any]


class _EvidenceList(msgspec.Struct):
    evidence: list[_Evidence] | None = None


class _Block(msgspec.Struct):
    evidence: _EvidenceList


class _BlockResult(msgspec.Struct):
    block: _Block


class DoubleVote(Record):
    """Two votes of one validator that are at odds, each with its signature."""

    address: bytes
    votes: tuple[Vote, Vote]
    signatures: tuple[bytes, bytes]


class _RoundVotes(msgspec.Struct):
    prevotes: list[str]
    precommits: list[str]


class _RoundState(msgspec.Struct):
    height_vote_set: list[_RoundVotes]


class _ConsensusState(msgspec.Struct):
    round_state: _RoundState


class _ValidatorSet(msgspec.Struct):
    validators: list[_Validator] | None = None
    total: _Number | None = None


def parse_light_block(signed_header: object, *pages: object) -> LightBlock:
    """Return a light block from a ``signed_header`` and the pages of ``/validators``.

    Raises
    ------
    DecodeError
        They are not what CometBFT answers.
    """
    header, commit = parse_signed_header(signed_header)
    try:
        return _made(LightBlock, header, commit, parse_validators(*pages))
    except msgspec.ValidationError as error:
        msg = f"not a light block: {error}"
        raise DecodeError(msg) from error


def parse_commit(result: object) -> tuple[CometHeader, Commit]:
    """Return header and commit from the result of ``/commit``.

    Raises
    ------
    DecodeError
        It is not what CometBFT answers.
    """
    if not isinstance(result, dict) or "signed_header" not in result:
        msg = "the answer to /commit holds no signed header"
        raise DecodeError(msg)
    return parse_signed_header(result["signed_header"])  # pyright: ignore[reportUnknownArgumentType]


def parse_double_votes(result: object) -> list[DoubleVote]:
    """Return who voted twice, as the result of ``/block`` shows it; none is checked here.

    Raises
    ------
    DecodeError
        It is not what CometBFT answers.
    """
    try:
        listed = convert(result, _BlockResult).block.evidence.evidence or ()
        found = [each.value for each in listed if each.type == DOUBLE_VOTE]
        return [_double_vote(convert(each, _DoubleVote)) for each in found]
    except msgspec.ValidationError as error:
        msg = f"not a block: {error}"
        raise DecodeError(msg) from error


def parse_header(value: object) -> CometHeader:
    """Return a header by itself.

    Raises
    ------
    DecodeError
        It is not one.
    """
    try:
        return _header(convert(value, _Header))
    except msgspec.ValidationError as error:
        msg = f"not a header: {error}"
        raise DecodeError(msg) from error


def parse_signed_header(value: object) -> tuple[CometHeader, Commit]:
    """Return header and commit from a signed header.

    Raises
    ------
    DecodeError
        It is not one.
    """
    try:
        signed = convert(value, _SignedHeader)
        return _header(signed.header), _commit(signed.commit)
    except msgspec.ValidationError as error:
        msg = f"not a signed header: {error}"
        raise DecodeError(msg) from error


def parse_validators(*pages: object) -> Validators:
    """Return a set of validators, in its order, from the pages of the result of ``/validators``.

    Raises
    ------
    DecodeError
        One is not what CometBFT answers, a page is missing, or an address is not that of its key.
    """
    found: list[Validator] = []
    total: int | None = None
    try:
        for page in pages:
            part = convert(page, _ValidatorSet)
            found += map(_validator, part.validators or ())
            total = total if part.total is None else _int(part.total)
    except msgspec.ValidationError as error:
        msg = f"not a set of validators: {error}"
        raise DecodeError(msg) from error
    if total is not None and total != len(found):
        msg = f"{len(found)} of {total} validators are there: ask for the other pages"
        raise DecodeError(msg)
    return in_order(found)


def total_validators(page: object) -> int:
    """Return how many validators a page of the result of ``/validators`` says there are.

    Raises
    ------
    DecodeError
        It does not say it, or says more than there can be.
    """
    try:
        total = convert(page, _ValidatorSet).total
    except msgspec.ValidationError as error:
        msg = f"not a set of validators: {error}"
        raise DecodeError(msg) from error
    counted = 0 if total is None else _int(total)
    if not 0 <= counted <= MOST_VALIDATORS:
        msg = f"there cannot be {counted} validators"
        raise DecodeError(msg)
    return counted


def voters_in(result: object) -> set[str]:
    """Return whose votes are there, of the kind that is waited for, from ``/consensus_state``.

    Each is the beginning of a validator's address, 12 lower-case hexadecimal digits. It is empty
    while nobody votes.

    Raises
    ------
    DecodeError
        It is not what CometBFT answers.
    """
    try:
        rounds = convert(result, _ConsensusState).round_state.height_vote_set
    except msgspec.ValidationError as error:
        msg = f"not the state of a vote: {error}"
        raise DecodeError(msg) from error
    kinds = [found for each in rounds for found in (each.prevotes, each.precommits)]
    for kind in reversed(kinds):
        found = {str(match[1]).lower() for vote in kind if (match := _VOTE.match(vote))}
        if found:
            return found
    return set()


def parse_time(text: str) -> Moment:
    """Return the time that an RFC 3339 text in UTC states.

    Raises
    ------
    DecodeError
        It is no such text, or no such day exists.

    Examples
    --------
    >>> parse_time("1970-01-01T00:00:01.5Z")
    Moment(seconds=1, nanos=500000000)
    """
    match = _TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError  # noqa: TRY301 - one refusal for both
        year, month, day, hour, minute, second = map(int, match.groups()[:6])
        days = date(year, month, day).toordinal() - EPOCH_DAY
    except ValueError as error:
        msg = f"'{text[:40]}' is not a time in UTC"
        raise DecodeError(msg) from error
    nanos = int((match[7] or "0").ljust(9, "0"))
    return Moment(((days * 24 + hour) * 60 + minute) * 60 + second, nanos)


def _header(value: _Header) -> CometHeader:
    return _made(
        CometHeader,
        _int(value.version.block),
        _int(value.version.app),
        _text(value.chain_id),
        _int(value.height),
        parse_time(value.time),
        _block_id(value.last_block_id),
        _hex(value.last_commit_hash),
        _hex(value.data_hash),
        _hex(value.validators_hash),
        _hex(value.next_validators_hash),
        _hex(value.consensus_hash),
        _hex(value.app_hash),
        _hex(value.last_results_hash),
        _hex(value.evidence_hash),
        _hex(value.proposer_address),
    )


def _commit(value: _Commit) -> Commit:
    return _made(
        Commit,
        _int(value.height),
        _int(value.round),
        _block_id(value.block_id),
        tuple(map(_signature, value.signatures or ())),
    )


def _signature(value: _Signature) -> CommitSig:
    time = NO_TIME if value.timestamp is None else parse_time(value.timestamp)
    if value.block_id_flag == ABSENT and time == _EPOCH:  # as tendermint-rs once wrote no time
        time = NO_TIME
    return _made(
        CommitSig,
        value.block_id_flag,
        _hex(value.validator_address),
        time,
        _base64(value.signature or ""),
    )


def _double_vote(value: _DoubleVote) -> DoubleVote:
    one, other = value.vote_a, value.vote_b
    return DoubleVote(
        _hex(one.validator_address),
        (_vote(one), _vote(other)),
        (_base64(one.signature or ""), _base64(other.signature or "")),
    )


def _vote(value: _Vote) -> Vote:
    return _made(
        Vote,
        value.type,
        _int(value.height),
        _int(value.round),
        _block_id(value.block_id),
        parse_time(value.timestamp),
    )


def _block_id(value: _BlockId | None) -> BlockId:
    if value is None:
        return BlockId()
    if value.parts is not None and value.part_set_header is not None:
        msg = "a block's id names its parts twice"
        raise DecodeError(msg)
    parts = value.parts or value.part_set_header or _Parts()
    return _made(BlockId, _hex(value.hash), _int(parts.total), _hex(parts.hash))


def _validator(value: _Validator) -> Validator:
    if value.pub_key.type != "tendermint/PubKeyEd25519":
        msg = f"a validator has a key of type '{value.pub_key.type[:40]}', not Ed25519"
        raise DecodeError(msg)
    made = _made(Validator, _base64(value.pub_key.value), _int(value.voting_power))
    if value.address.upper() != address_of(made.public).hex().upper():
        msg = f"'{value.address[:40]}' is not the address of the key it stands with"
        raise DecodeError(msg)
    return made


def _made(kind: type[R], *fields: object) -> R:
    """Return the record of these fields, whose ranges are checked here."""
    return convert(fields, kind)


def _text(value: str) -> str:
    """Return a text that has bytes: JSON can escape half a character."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        msg = "the name of a chain is not text"
        raise DecodeError(msg) from error
    return value


def _int(value: str | int) -> int:
    return int(value)


def _hex(value: str | None) -> bytes:
    return bytes.fromhex(value or "")


def _base64(value: str) -> bytes:
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"'{value[:40]}' is not base64"
        raise DecodeError(msg) from error
