"""A recording of a running network under CometBFT v0.39.4, and everything altered in it."""

import json
from base64 import b64decode
from functools import cache
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.light_vectors import run

from tallystick.codec import decode, encode
from tallystick.consensus.cometbft.chain import check_chain
from tallystick.consensus.cometbft.commits import (
    ABSENT,
    LightBlock,
    check_commit,
    commit_hash,
    without_unverifiable,
)
from tallystick.consensus.cometbft.headers import (
    TxResult,
    comet_header_hash,
    data_hash,
    results_hash,
)
from tallystick.consensus.cometbft.rpc_json import parse_commit, parse_light_block
from tallystick.errors import DecodeError, VerificationError
from tallystick.ledger.genesis import load_genesis

VECTORS = Path(__file__).parents[2] / "vectors"
HEADER_HASH = "f30a71f2409fb15aacaedb6cc122dfa2525bee9cae521721b06bfdca291b8d56"


@cache
def recorded():
    return json.loads((VECTORS / "cometbft_live.json").read_text(encoding="utf-8"))


@cache
def lights():
    return {
        light.height: light
        for each in recorded()["lights"]
        for light in [
            parse_light_block(each["commit"]["signed_header"], each["validators"]),
        ]
    }


def genesis():
    return load_genesis(bytes.fromhex(recorded()["genesis"]))


def test_every_recorded_commit_checks_out():
    for light in lights().values():
        check_commit(light)

    assert any(vote.flag == ABSENT for vote in lights()[13].commit.signatures)


def test_the_recording_leads_from_its_genesis_over_gaps_and_a_change_of_validators():
    named, before = lights()[12].header.validators_hash, lights()[11].header.validators_hash

    assert check_chain(genesis(), lights().values()).height == 13
    assert check_chain(genesis(), [lights()[1], lights()[11], lights()[13]]).height == 13
    assert named != before


def test_a_hash_is_that_of_the_header_voted_for():
    for light in lights().values():
        assert comet_header_hash(light.header) == light.commit.block_id.hash


def test_a_published_header_has_its_published_hash():
    path = VECTORS / "tendermint" / "header_with_known_hash.json"
    signed = recorded()["lights"][0]["commit"]["signed_header"]

    header, _commit = parse_commit(
        {"signed_header": {**signed, "header": json.loads(path.read_text(encoding="utf-8"))}}
    )

    assert comet_header_hash(header).hex() == HEADER_HASH


def test_the_hash_of_the_data_is_that_of_the_recorded_transactions():
    numbers = []
    for each, light in zip(recorded()["lights"], lights().values(), strict=True):
        wires = [b64decode(wire) for wire in each["txs"]]
        numbers.append(len(wires))

        assert light.header.data_hash == data_hash(wires)

    assert max(numbers) == 3


@pytest.mark.parametrize("height", [4, 10])
def test_the_next_header_holds_the_hash_of_results_and_of_the_commit(height):
    each = next(
        each
        for each, light in zip(recorded()["lights"], lights().values(), strict=True)
        if light.height == height
    )
    results = [
        TxResult(
            result["code"],
            b64decode(result["data"] or ""),
            int(result["gas_wanted"]),
            int(result["gas_used"]),
        )
        for result in each["results"]
    ]
    following = lights()[height + 1].header

    assert following.last_results_hash == results_hash(results)
    assert following.last_commit_hash == commit_hash(lights()[height].commit)


def test_nothing_in_the_recording_is_unverifiable():
    for light in lights().values():
        assert without_unverifiable(light) == light


@pytest.mark.parametrize("height", [1, 7])
@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_every_altered_byte_is_refused(height, mask):
    data, accepted = encode(lights()[height]), []
    for place in range(len(data)):
        altered = bytearray(data)
        altered[place] ^= mask
        try:
            check_commit(decode(LightBlock, bytes(altered)))
        except (DecodeError, VerificationError):
            continue
        accepted.append(place)

    assert accepted == []


def leaves(value, path=()):
    """Yield the path of every text, number and null in JSON."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))
    else:
        yield path


def altered_at(value, path):
    """Return the JSON with the leaf at ``path`` made another of its kind."""
    if path:
        copy = dict(value) if isinstance(value, dict) else list(value)
        copy[path[0]] = altered_at(value[path[0]], path[1:])
        return copy
    if value is None:
        return "AA"
    if isinstance(value, int):
        return value + 1
    if value.isdigit():
        return str(int(value) + 1)
    return ("1" if value[:1] == "0" else "0") + value[1:]


def test_every_altered_field_of_the_answers_is_refused():
    answers = {key: recorded()["lights"][4][key] for key in ("commit", "validators")}
    unbound = {("commit", "canonical"), ("validators", "block_height"), ("validators", "count")}
    accepted, tried = [], 0
    for path in leaves(answers):
        if path in unbound or path[-1] == "proposer_priority":
            continue
        tried += 1
        altered = altered_at(answers, path)
        try:
            check_commit(
                parse_light_block(altered["commit"]["signed_header"], altered["validators"])
            )
        except (DecodeError, VerificationError):
            continue
        accepted.append(path)

    assert accepted == []
    assert tried > 50


def lite(height):
    each = recorded()["lights"][[*lights()].index(height)]
    return {
        "signed_header": each["commit"]["signed_header"],
        "validator_set": each["validators"],
        "next_validator_set": each["validators"],
    }


@pytest.mark.parametrize(
    ("witness", "expected"), [({}, "no error"), ({"app_hash": "0001"}, "error")]
)
def test_the_recording_passes_as_a_published_vector_for_bisection(witness, expected):
    blocks = [lite(height) for height in lights()]
    other = json.loads(json.dumps(blocks))
    header = other[-1]["signed_header"]["header"]
    header.update(witness)
    vector = {
        "trust_options": {
            "period": "10800000000000",
            "height": "1",
            "hash": lights()[1].commit.block_id.hash.hex(),
            "trust_level": {"numerator": "1", "denominator": "3"},
        },
        "primary": {"lite_blocks": blocks},
        "witnesses": [{"value": {"lite_blocks": other}}],
        "height_to_verify": "13",
        "now": recorded()["lights"][-1]["commit"]["signed_header"]["header"]["time"],
        "expected_output": expected,
    }

    result = run(vector)

    assert result.found == result.expected


def test_one_vote_less_is_too_few_where_one_is_absent_already():
    light = lights()[7]
    votes = light.commit.signatures
    gone = replace(votes[-1], flag=ABSENT)

    with pytest.raises(VerificationError):
        check_commit(replace(light, commit=replace(light.commit, signatures=(*votes[:-1], gone))))
    with pytest.raises(VerificationError, match="too few"):
        check_commit(
            replace(light, commit=replace(light.commit, signatures=(*votes[:-1], votes[0])))
        )
