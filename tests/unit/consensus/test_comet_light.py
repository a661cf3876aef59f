"""Steps of the light client: published vectors, chains of our own, and bisection over them."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.comet_chain import START, grow, signed, validators
from support.light_vectors import INVALID, NOT_ENOUGH_TRUST, SUCCESS, run

from tallystick.consensus.cometbft.light import (
    ExpiredTrustError,
    ForkError,
    NotEnoughTrustError,
    Policy,
    Trusted,
    compare,
    trust,
    verify,
    verify_to,
)
from tallystick.crypto.votes import NANOS, Moment
from tallystick.errors import ConfigError, VerificationError

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "tendermint").glob("MC*.json"))
POLICY = Policy(3600 * NANOS)
NOW = Moment(START.seconds + 100, 0)


def trusted_of(light):
    return Trusted(light.header, light.validators)


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_a_published_vector_has_its_verdicts(path):
    result = run(json.loads(path.read_text(encoding="utf-8")))

    assert result.found == result.expected


def test_the_published_vectors_show_every_verdict():
    verdicts = [run(json.loads(path.read_text(encoding="utf-8"))).expected for path in VECTORS]

    assert set().union(*verdicts) == {SUCCESS, INVALID, NOT_ENOUGH_TRUST}
    assert len(VECTORS) == 14


CHANGES = {
    "block-version": ("version", {"block": "12", "app": "0"}),
    "chain-id": ("chain_id", "another-chain"),
    "time": ("time", "1970-01-01T00:00:03.5Z"),
    "parent": ("last_block_id", {"hash": "AA" * 32, "parts": {"total": 1, "hash": "BB" * 32}}),
    "last-commit": ("last_commit_hash", "AA" * 32),
    "data": ("data_hash", "AA" * 32),
    "validators": ("validators_hash", "AA" * 32),
    "next-validators": ("next_validators_hash", "AA" * 32),
    "consensus": ("consensus_hash", "AA" * 32),
    "app": ("app_hash", "000102030405"),
    "results": ("last_results_hash", "AA" * 32),
    "evidence": ("evidence_hash", "AA" * 32),
    "proposer": ("proposer_address", "AA" * 20),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_published_block_with_one_field_changed_is_invalid(change):
    field, value = change
    vector = next(path for path in VECTORS if "ValsetDoubles" in path.name)
    altered = json.loads(vector.read_text(encoding="utf-8"))
    for each in altered["input"]:
        each["block"]["signed_header"]["header"][field] = value

    assert set(run(altered).found) == {INVALID}


def test_a_step_to_the_next_height_needs_no_trust_in_its_validators():
    lights = grow(["abcd", "efgh"])

    verify(trusted_of(lights[1]), lights[2], POLICY, NOW)


def test_a_long_step_needs_more_than_a_third_of_the_power_trusted():
    enough, too_few = (grow(["abc", "abc", last]) for last in ("abxy", "axyz"))

    verify(trusted_of(enough[1]), enough[3], POLICY, NOW)
    with pytest.raises(NotEnoughTrustError):
        verify(trusted_of(too_few[1]), too_few[3], POLICY, NOW)


def test_a_higher_trust_level_asks_for_more():
    lights = grow(["abc", "abc", "abxy"])
    policy = Policy(3600 * NANOS, level=Fraction(2, 3))

    with pytest.raises(NotEnoughTrustError):
        verify(trusted_of(lights[1]), lights[3], policy, NOW)


def test_a_trust_level_of_one_is_the_highest():
    assert Policy(NANOS, level=Fraction(1)).level == 1


@pytest.mark.parametrize("level", [Fraction(33, 100), Fraction(4, 3)])
def test_a_trust_level_outside_its_bounds_is_refused(level):
    with pytest.raises(ConfigError):
        Policy(NANOS, level=level)


def test_a_trusted_header_expires_at_the_end_of_its_period():
    lights = grow(["abcd", "abcd"])
    trusted, end = trusted_of(lights[1]), Moment(START.seconds + 3600, START.nanos)

    verify(trusted, lights[2], POLICY, Moment(end.seconds, end.nanos - 1))
    with pytest.raises(ExpiredTrustError):
        verify(trusted, lights[2], POLICY, end)


def test_a_header_from_the_future_is_refused_beyond_the_drift_of_clocks():
    lights = grow(["abcd", "abcd"])
    time = lights[2].header.time

    verify(trusted_of(lights[1]), lights[2], POLICY, Moment(time.seconds - 10, time.nanos + 1))
    with pytest.raises(VerificationError, match="future"):
        verify(trusted_of(lights[1]), lights[2], POLICY, Moment(time.seconds - 10, time.nanos))


REFUSED = {
    "another-chain": ({"chain_id": "another"}, "chain"),
    "another-protocol": ({"block_version": 12}, "protocol"),
    "not-later": ({"time": START}, "not later"),
    "not-higher": ({"height": 1}, "does not come after"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_well_signed_block_that_does_not_follow_is_refused(case):
    fields, sentence = case
    lights = grow(["abcd", "abcd", "abcd"])
    altered = signed(replace(lights[3].header, **fields), "abcd")

    with pytest.raises(VerificationError, match=sentence) as caught:
        verify(trusted_of(lights[1]), altered, POLICY, NOW)

    assert not isinstance(caught.value, NotEnoughTrustError)


def test_validators_that_the_block_before_did_not_name_are_refused():
    lights = grow(["abcd", "abcd"])
    altered = signed(
        replace(lights[2].header, validators_hash=grow(["abce"])[1].header.validators_hash), "abce"
    )

    with pytest.raises(VerificationError, match="the block before named"):
        verify(trusted_of(lights[1]), altered, POLICY, NOW)


def test_a_block_trusted_by_too_few_is_not_called_invalid_for_its_own_lack_of_votes():
    lights = grow(["abc", "abc", "axyz"], absent={3: "xy"})

    with pytest.raises(NotEnoughTrustError):
        verify(trusted_of(lights[1]), lights[3], POLICY, NOW)


def test_trust_begins_at_a_block_of_the_hash_given():
    light = grow(["abcd"])[1]

    assert trust(light, light.commit.block_id.hash) == trusted_of(light)
    with pytest.raises(VerificationError, match="not the one to be trusted"):
        trust(light, bytes(32))


def spoilt(light):
    """Return the light block with the last vote's signature replaced by the first's."""
    *votes, last = light.commit.signatures
    votes.append(replace(last, signature=votes[0].signature))
    return replace(light, commit=replace(light.commit, signatures=tuple(votes)))


BAD_TRUST = {
    "shape": (lambda light: replace(light, validators=validators("abce")), "other validators"),
    "signature": (spoilt, "does not verify"),
    "power": (lambda light: signed(light.header, "abcd", absent="ab"), "too few"),
}


@pytest.mark.parametrize("case", BAD_TRUST.values(), ids=BAD_TRUST)
def test_the_hash_given_does_not_excuse_a_bad_commit(case):
    spoil, sentence = case
    light = grow(["abcd"])[1]

    with pytest.raises(VerificationError, match=sentence):
        trust(spoil(light), light.commit.block_id.hash)


def test_a_vote_that_does_not_verify_spoils_a_step():
    lights = grow(["abcd", "abcd", "abcd"])

    for height in (2, 3):
        with pytest.raises(VerificationError, match="does not verify"):
            verify(trusted_of(lights[1]), spoilt(lights[height]), POLICY, NOW)


def test_validators_that_are_not_the_trusted_headers_are_refused():
    lights = grow(["abcd", "abcd"])

    with pytest.raises(VerificationError, match="not those of the trusted header"):
        verify(Trusted(lights[1].header, validators("abce")), lights[2], POLICY, NOW)


def test_next_validators_at_hand_have_to_be_those_the_block_names():
    lights = grow(["abcd", "abcd", "abce"])

    verify(trusted_of(lights[1]), lights[2], POLICY, NOW, validators("abce"))
    with pytest.raises(VerificationError, match="other next validators"):
        verify(trusted_of(lights[1]), lights[2], POLICY, NOW, validators("abcd"))


def test_the_validators_of_the_height_after_the_trusted_one_are_known_too():
    lights = grow(["abc", "xyz", "xyz", "xyzw"])
    trusted = Trusted(lights[1].header, validators("xyz"))

    verify(trusted, lights[4], POLICY, NOW)
    with pytest.raises(NotEnoughTrustError):
        verify(trusted_of(lights[1]), lights[4], POLICY, NOW)


def test_one_step_is_enough_where_the_validators_stay():
    lights = grow(["abcd"] * 40)

    steps = verify_to(trusted_of(lights[1]), 40, lights.__getitem__, POLICY, NOW)

    assert [light.height for light in steps] == [40]


def test_bisection_returns_the_hand_overs_that_it_went_over():
    lights = grow(["abcd"] * 9 + ["cdef"] * 10 + ["efgh"] * 13)

    steps = verify_to(trusted_of(lights[1]), 32, lights.__getitem__, POLICY, NOW)

    assert [light.height for light in steps] == [16, 32]


def test_bisection_goes_height_by_height_where_every_set_is_new():
    sets = ["abc", "def", "ghi", "jkl", "mno", "pqr"]
    lights = grow(sets)

    steps = verify_to(trusted_of(lights[1]), 6, lights.__getitem__, POLICY, NOW)

    assert [light.height for light in steps] == [2, 3, 4, 5, 6]


def test_bisection_asks_for_each_height_once():
    lights, asked = grow(["abc", "def", "ghi", "jkl", "mno", "pqr"]), []

    def fetch(height):
        asked.append(height)
        return lights[height]

    verify_to(trusted_of(lights[1]), 6, fetch, POLICY, NOW)

    assert sorted(asked) == [2, 3, 4, 5, 6]


def test_bisection_stops_at_a_block_that_too_few_signed():
    lights = grow(["abc", "def", "ghi", "jkl"], absent={3: "g"})

    with pytest.raises(VerificationError, match="too few"):
        verify_to(trusted_of(lights[1]), 4, lights.__getitem__, POLICY, NOW)


def test_a_source_that_answers_with_another_height_is_refused():
    lights = grow(["abcd"] * 4)

    with pytest.raises(VerificationError, match="got that of"):
        verify_to(trusted_of(lights[1]), 4, lambda _height: lights[3], POLICY, NOW)


def test_a_trusted_target_needs_no_step_and_an_earlier_one_is_refused():
    lights = grow(["abcd"] * 3)

    assert verify_to(trusted_of(lights[2]), 2, lights.__getitem__, POLICY, NOW) == ()
    with pytest.raises(VerificationError, match="before the trusted header"):
        verify_to(trusted_of(lights[2]), 1, lights.__getitem__, POLICY, NOW)


def test_a_fork_is_named_with_those_who_signed_both():
    light = grow(["abcd"])[1]
    other = signed(replace(light.header, app_hash=b"other"), "abcd", absent="a")

    compare(light, light)
    compare(light, grow(["abcd", "abcd"])[2])
    with pytest.raises(ForkError, match="height 1, 3 validators") as caught:
        compare(light, other)

    assert set(caught.value.double) == {each.public for each in validators("bcd")}
