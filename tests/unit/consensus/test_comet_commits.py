"""What a commit has to hold, and what it may not."""

import pytest
from msgspec.structs import replace
from support.comet_chain import grow, public, signed, validators

from tallystick.consensus.cometbft.commits import (
    ABSENT,
    FOR_BLOCK,
    FOR_NIL,
    NO_VOTE,
    check_commit,
    double_signers,
    signers,
    without_unverifiable,
)
from tallystick.consensus.cometbft.validators import (
    MOST_POWER,
    Validator,
    check_validators,
    founding_validators,
    in_order,
    validators_hash,
)
from tallystick.crypto.votes import BlockId, Moment
from tallystick.errors import VerificationError
from tallystick.ledger.genesis import Founder, Genesis, Key


def light_of(names="abcd", **votes):
    light = grow([names])[1]
    return signed(light.header, names, **votes)


def with_vote(light, place, vote):
    votes = list(light.commit.signatures)
    votes[place] = vote
    return with_votes(light, votes)


def with_votes(light, votes):
    return replace(light, commit=replace(light.commit, signatures=tuple(votes)))


def test_a_commit_of_three_of_four_is_accepted_and_names_them():
    light = light_of(absent="b")

    check_commit(light)

    assert set(signers(light)) == {public(name) for name in "acd"}


def test_two_thirds_are_not_more_than_two_thirds():
    with pytest.raises(VerificationError, match="20 of 30 power"):
        check_commit(light_of("abc", absent="a"))


def test_a_vote_for_nil_does_not_count_for_the_block():
    check_commit(light_of(nil="a"))

    with pytest.raises(VerificationError, match="20 of 40 power"):
        check_commit(light_of(nil="ab"))


@pytest.mark.parametrize("votes", [{}, {"nil": "a"}], ids=["for-block", "for-nil"])
def test_every_vote_present_has_to_verify_although_the_others_are_enough(votes):
    light = light_of(**votes)
    place = [each.public for each in light.validators].index(public("a"))
    vote = light.commit.signatures[place]
    altered = replace(vote, signature=bytes([vote.signature[0] ^ 1]) + vote.signature[1:])

    with pytest.raises(VerificationError, match=f"vote {place} of height 1 does not verify"):
        check_commit(with_vote(light, place, altered))


@pytest.mark.parametrize("flag", [FOR_BLOCK, FOR_NIL])
def test_a_vote_serves_only_what_it_was_given_for(flag):
    light = light_of(**({} if flag == FOR_NIL else {"nil": "a"}))
    place = [each.public for each in light.validators].index(public("a"))

    with pytest.raises(VerificationError, match="does not verify"):
        check_commit(with_vote(light, place, replace(light.commit.signatures[place], flag=flag)))


CARRIED = {
    "address": {"address": bytes(20)},
    "time": {"time": Moment(0, 0)},
    "signature": {"signature": bytes(64)},
}


@pytest.mark.parametrize("carried", CARRIED.values(), ids=CARRIED)
def test_an_absent_vote_that_carries_something_is_refused(carried):
    with pytest.raises(VerificationError, match="absent and yet carries something"):
        check_commit(with_vote(light_of(), 0, replace(NO_VOTE, **carried)))


def test_votes_stand_in_the_order_of_the_validators():
    light = light_of()
    one, two, *rest = light.commit.signatures

    with pytest.raises(VerificationError, match="vote 0 of the block"):
        check_commit(with_votes(light, [two, one, *rest]))


@pytest.mark.parametrize("votes", [-1, 1], ids=["one-less", "one-more"])
def test_there_is_one_vote_for_each_validator(votes):
    light = light_of()
    given = light.commit.signatures[:votes] if votes < 0 else (*light.commit.signatures, NO_VOTE)

    with pytest.raises(VerificationError, match="votes for 4 validators"):
        check_commit(with_votes(light, given))


def test_a_commit_of_another_height_is_refused():
    light = light_of()

    with pytest.raises(VerificationError, match="votes of height 2"):
        check_commit(replace(light, commit=replace(light.commit, height=2)))


def test_a_commit_for_another_header_is_refused():
    light = light_of()

    with pytest.raises(VerificationError, match="another hash than the one voted for"):
        check_commit(replace(light, header=replace(light.header, app_hash=b"other")))


def test_validators_that_the_header_does_not_name_are_refused():
    light = light_of()

    with pytest.raises(VerificationError, match="names other validators"):
        check_commit(replace(light, validators=validators("abce")))


MALFORMED = {
    "protocol": ({"block_version": 10}, "block protocol 10, not 11"),
    "height": ({"height": 0}, "no block has height 0"),
    "proposer": ({"proposer_address": b"short"}, "names no proposer"),
    "hash": ({"data_hash": b"short"}, "not of 32 bytes"),
}


@pytest.mark.parametrize("case", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_header_is_refused_although_all_signed_it(case):
    fields, sentence = case
    header = replace(light_of().header, **fields)

    with pytest.raises(VerificationError, match=sentence):
        check_commit(signed(header, "abcd"))


SMALL_ORDER = bytes([1]) + bytes(31)
SETS = {
    "empty": ((), "empty"),
    "twice": ((validators("a")[0],) * 2, "twice"),
    "order": (validators("abcd")[::-1], "order"),
    "power": (in_order(Validator(public(name), MOST_POWER) for name in "ab"), "power"),
    "key": ((Validator(SMALL_ORDER, 1),), "point"),
}


@pytest.mark.parametrize("case", SETS.values(), ids=SETS)
def test_what_is_no_set_of_validators_is_refused(case):
    members, sentence = case

    with pytest.raises(VerificationError, match=sentence):
        check_validators(members)


def test_a_commit_of_validators_out_of_order_is_refused_although_all_signed():
    light = light_of()
    members = light.validators[::-1]
    turned = replace(light.header, validators_hash=validators_hash(members))
    votes = signed(turned, "abcd").commit

    with pytest.raises(VerificationError, match="not in the order"):
        check_commit(
            replace(
                light,
                header=turned,
                validators=members,
                commit=replace(votes, signatures=votes.signatures[::-1]),
            )
        )


def test_more_power_comes_first_and_then_the_lower_address():
    heavy = Validator(public("z"), 11)

    ordered = in_order([*validators("abcd"), heavy])

    assert ordered == (heavy, *validators("abcd"))


def test_a_genesis_founds_the_first_validator_key_of_each_founder():
    def founder(name, *roles):
        return Founder(name, tuple(Key(public(name + role), role) for role in roles), 0)

    genesis = Genesis(
        "test",
        0,
        "cometbft",
        "",
        True,
        (
            founder("ada", "owner", "validator"),
            Founder(
                "bob",
                (
                    Key(public("o"), "owner"),
                    Key(public("v1"), "validator"),
                    Key(public("v2"), "validator"),
                ),
                0,
            ),
            founder("eve", "owner"),
        ),
    )

    assert founding_validators(genesis) == validators(["adavalidator", "v1"])


def test_the_parts_voted_for_have_a_whole_hash_or_none():
    light = light_of()
    block_id = replace(light.commit.block_id, parts_hash=b"short")

    with pytest.raises(VerificationError, match="parts of the block"):
        check_commit(replace(light, commit=replace(light.commit, block_id=block_id)))


def test_a_header_whose_parent_has_half_a_hash_is_refused():
    light = light_of()
    for parent in (BlockId(b"short"), BlockId(bytes(32), 1, b"short")):
        header = replace(light.header, last_block_id=parent)

        with pytest.raises(VerificationError, match="not of 32 bytes"):
            check_commit(signed(header, "abcd"))


def test_what_only_a_laxer_library_accepts_is_left_out_and_the_rest_stays():
    light = light_of()
    place = [each.public for each in light.validators].index(public("a"))
    vote = light.commit.signatures[place]
    spoilt = with_vote(light, place, replace(vote, signature=bytes(64)))

    kept = without_unverifiable(spoilt)

    check_commit(kept)
    assert kept == light_of(absent="a")
    assert kept.commit.signatures[place].flag == ABSENT


def test_a_good_signature_under_another_address_is_left_out():
    light = light_of()
    vote = replace(light.commit.signatures[0], address=bytes(20))

    kept = without_unverifiable(with_vote(light, 0, vote))

    assert kept.commit.signatures == (NO_VOTE, *light.commit.signatures[1:])


def test_the_power_of_a_set_stays_below_two_to_the_sixty():
    most = in_order([Validator(public("a"), 2**60 - 2), Validator(public("b"), 1)])
    more = in_order([Validator(public("a"), 2**60 - 1), Validator(public("b"), 1)])

    check_validators(most)
    with pytest.raises(VerificationError, match="power"):
        check_validators(more)


def test_leaving_out_changes_nothing_in_a_good_commit():
    light = light_of(absent="a", nil="")

    assert without_unverifiable(light) == light


def test_nothing_is_left_out_where_votes_and_validators_do_not_match():
    light = with_votes(light_of(), light_of().commit.signatures[:3])

    assert without_unverifiable(light) == light


def test_double_signers_signed_two_blocks_of_one_height_and_chain():
    one = light_of(absent="a")
    other = signed(replace(one.header, app_hash=b"other"), "abcd", absent="b")
    later, elsewhere = (
        signed(replace(one.header, **fields), "abcd")
        for fields in ({"height": 2}, {"chain_id": "elsewhere"})
    )

    assert double_signers(one, other) == sorted([public("c"), public("d")])
    assert double_signers(one, one) == []
    assert double_signers(one, later) == []
    assert double_signers(one, elsewhere) == []
