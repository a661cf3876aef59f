"""CometBFT's JSON is read strictly: what is not what it answers is refused as malformed."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.consensus.cometbft.commits import NO_TIME, NO_VOTE
from tallystick.consensus.cometbft.rpc_json import (
    parse_commit,
    parse_header,
    parse_light_block,
    parse_signed_header,
    parse_time,
    parse_validators,
    voters_in,
)
from tallystick.crypto.votes import BlockId, Moment
from tallystick.errors import DecodeError

LIVE = Path(__file__).parents[2] / "vectors" / "cometbft_live.json"


@pytest.fixture
def recorded():
    """Return the answers at height 7, where one validator is absent; a test may alter them."""
    return json.loads(LIVE.read_text(encoding="utf-8"))["lights"][4]


TIMES = {
    "1970-01-01T00:00:00Z": Moment(0, 0),
    "0001-01-01T00:00:00Z": NO_TIME,
    "2026-11-26T15:21:07.21141498Z": Moment(1795706467, 211_414_980),
    "2024-02-29T23:59:59.999999999Z": Moment(1709251199, 999_999_999),
    "1969-12-31T23:59:59.5Z": Moment(-1, 500_000_000),
}


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_exact_to_the_nanosecond(text):
    assert parse_time(text) == TIMES[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-26",
        "2026-11-26T15:21:07",
        "2026-11-26T15:21:07+00:00",
        "2026-11-26 15:21:07Z",
        "2026-13-26T15:21:07Z",
        "2023-02-29T15:21:07Z",
        "0000-01-01T00:00:00Z",
        "2026-11-26T24:00:00Z",
        "2026-11-26T15:21:60Z",
        "2026-11-26T15:21:07.Z",
        "2026-11-26T15:21:07.0000000001Z",
        "2026-11-26T15:21:07Z\n",
        "٢٠٢٦-11-26T15:21:07Z",
    ],
)
def test_what_is_no_time_in_utc_is_refused(text):
    with pytest.raises(DecodeError):
        parse_time(text)


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_malformed(text):
    try:
        moment = parse_time(text)
    except DecodeError:
        return

    assert 0 <= moment.nanos < 10**9


def test_an_absent_vote_is_read_as_nothing(recorded):
    _header, commit = parse_commit(recorded["commit"])

    assert NO_VOTE in commit.signatures


def test_null_and_a_missing_key_stand_for_nothing(recorded):
    header = recorded["commit"]["signed_header"]["header"]
    header["last_block_id"] = None
    del header["version"]["app"]
    header["app_hash"] = ""

    parsed = parse_header(header)

    assert (parsed.last_block_id, parsed.app_version, parsed.app_hash) == (BlockId(), 0, b"")


HEADER, COMMIT = ("signed_header", "header"), ("signed_header", "commit")
SPOILT = {
    "no-header": (("signed_header",), {}),
    "text": (("signed_header",), "header"),
    "number-as-float": ((*HEADER, "height"), 7.5),
    "number-as-truth": ((*HEADER, "height"), True),
    "number-with-sign": ((*HEADER, "height"), "+7"),
    "number-below-zero": ((*HEADER, "height"), -7),
    "number-with-zeros": ((*HEADER, "height"), "07"),
    "number-with-newline": ((*HEADER, "height"), "7\n"),
    "number-too-large": ((*HEADER, "height"), "9999999999999999999"),
    "round-too-large": ((*COMMIT, "round"), 2**31),
    "hash-odd": ((*HEADER, "data_hash"), "ABC"),
    "hash-with-blanks": ((*HEADER, "data_hash"), "AB CD"),
    "hash-too-long": ((*HEADER, "data_hash"), "AB" * 33),
    "hash-as-number": ((*HEADER, "data_hash"), 12),
    "address-too-long": ((*HEADER, "proposer_address"), "AB" * 21),
    "chain-id-no-text": ((*HEADER, "chain_id"), "\ud800"),
    "chain-id-too-long": ((*HEADER, "chain_id"), "a" * 51),
    "time-as-number": ((*HEADER, "time"), 7),
    "time-null": ((*HEADER, "time"), None),
    "votes-as-text": ((*COMMIT, "signatures"), "votes"),
    "flag-unknown": ((*COMMIT, "signatures", 1, "block_id_flag"), 0),
    "flag-as-text": ((*COMMIT, "signatures", 1, "block_id_flag"), "2"),
    "signature-not-base64": ((*COMMIT, "signatures", 1, "signature"), "%%%%"),
    "signature-not-ascii": ((*COMMIT, "signatures", 1, "signature"), "é"),
    "signature-too-long": ((*COMMIT, "signatures", 1, "signature"), "A" * 88),
    "parts-twice": ((*COMMIT, "block_id", "part_set_header"), {"total": 1, "hash": ""}),
}


@pytest.mark.parametrize("case", SPOILT.values(), ids=SPOILT)
def test_an_answer_to_commit_of_another_shape_is_malformed(recorded, case):
    *path, last = case[0]
    place = recorded["commit"]
    for key in path:
        place = place[key]
    place[last] = case[1]

    with pytest.raises(DecodeError):
        parse_commit(recorded["commit"])


@pytest.mark.parametrize("value", [None, 7, [], {}, "text"], ids=repr)
def test_what_is_no_answer_at_all_is_malformed(value):
    for parse in (parse_commit, parse_signed_header, parse_header):
        with pytest.raises(DecodeError):
            parse(value)


VALIDATORS = {
    "key-type": ({"pub_key": {"type": "tendermint/PubKeySecp256k1", "value": ""}}, "not Ed25519"),
    "key-short": ({"pub_key": {"type": "tendermint/PubKeyEd25519", "value": "AAAA"}}, "length"),
    "address": ({"address": "00" * 20}, "not the address"),
    "no-power": ({"voting_power": "0"}, "not a set"),
    "negative-power": ({"voting_power": "-1"}, "not a set"),
}


@pytest.mark.parametrize("case", VALIDATORS.values(), ids=VALIDATORS)
def test_a_validator_of_another_shape_is_malformed(recorded, case):
    fields, sentence = case
    recorded["validators"]["validators"][0].update(fields)

    with pytest.raises(DecodeError, match=sentence):
        parse_validators(recorded["validators"])


def test_validators_come_in_pages_and_all_are_needed(recorded):
    whole = recorded["validators"]
    pages = [{**whole, "validators": whole["validators"][at : at + 2]} for at in (0, 2)]

    assert parse_validators(*pages) == parse_validators(whole)
    with pytest.raises(DecodeError, match="2 of 4"):
        parse_validators(pages[0])


def test_too_many_votes_are_malformed(recorded):
    signed = recorded["commit"]["signed_header"]
    signed["commit"]["signatures"] *= 1025

    with pytest.raises(DecodeError):
        parse_light_block(signed, recorded["validators"])


def votes(*rounds):
    """Return a state of votes: for each round who prevoted and who precommitted."""
    said = [
        {kind: [f"Vote{{{at}:{who} 7/00/…" if who else "nil-Vote" for at, who in enumerate(each)]
         for kind, each in zip(("prevotes", "precommits"), pair, strict=True)}
        for pair in rounds
    ]  # fmt: skip
    return {"round_state": {"height/round/step": "7/0/4", "height_vote_set": said}}


A, B = "A1" * 6, "B2" * 6


@pytest.mark.parametrize(
    ("rounds", "found"),
    [
        ([(("", ""), ("", ""))], set()),
        ([((A, ""), ("", ""))], {A}),
        ([((A, B), ("", B))], {B}),
        ([((A, B), (A, B)), ((A, ""), ("", ""))], {A}),
        ([((A, B), (A, "")), (("", ""), ("", ""))], {A}),
    ],
)
def test_those_whose_votes_came_last_are_the_voters(rounds, found):
    assert voters_in(votes(*rounds)) == {each.lower() for each in found}


@pytest.mark.parametrize("said", [None, {}, {"round_state": []}, votes() | {"round_state": {}}])
def test_what_is_no_state_of_a_vote_is_refused(said):
    with pytest.raises(DecodeError):
        voters_in(said)


def test_too_many_validators_are_malformed(recorded):
    page = {"validators": recorded["validators"]["validators"] * 1025}

    with pytest.raises(DecodeError, match="not a light block"):
        parse_light_block(recorded["commit"]["signed_header"], page)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=4,
)


@given(st.data())
def test_whatever_stands_in_an_answer_it_is_read_or_malformed(data):
    answers = json.loads(LIVE.read_text(encoding="utf-8"))["lights"][4]
    place, key = answers, data.draw(st.sampled_from(["commit", "validators"]))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
    place[key] = data.draw(JSON)
    read = []

    try:
        read.append(parse_commit(answers["commit"])[0].height)
        read.append(len(parse_validators(answers["validators"])))
    except DecodeError:
        return

    assert all(number >= 0 for number in read)
