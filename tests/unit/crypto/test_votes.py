"""What a validator of CometBFT signs, by the vectors of its own tests (types/vote_test.go)."""

import pytest

from tallystick.crypto import keys
from tallystick.crypto.votes import (
    PRECOMMIT,
    PREVOTE,
    BlockId,
    Moment,
    Vote,
    is_vote_of,
    sign_bytes,
)

YEAR_ONE = Moment(-62135596800, 0)  # Go's time of nothing
TIME = "2a0b088092b8c398feffffff01"
PLACE = "1101000000000000001901" + "00" * 7
PUBLISHED = {
    "no-field": (0, 0, 0, "", "0d" + TIME),
    "precommit": (PRECOMMIT, 1, 1, "", "210802" + PLACE + TIME),
    "prevote": (PREVOTE, 1, 1, "", "210801" + PLACE + TIME),
    "no-kind": (0, 1, 1, "", "1f" + PLACE + TIME),
    "chain": (0, 1, 1, "test_chain_id", "2e" + PLACE + TIME + "320d" + b"test_chain_id".hex()),
}


@pytest.mark.parametrize("case", PUBLISHED.values(), ids=PUBLISHED)
def test_the_published_votes_have_the_published_bytes(case):
    kind, height, round_, chain_id, expected = case

    vote = Vote(kind, height, round_, BlockId(), YEAR_ONE)

    assert sign_bytes(vote, chain_id).hex() == expected


def test_a_signature_is_one_of_the_chain_it_was_made_for():
    secret = keys.secret_from_seed(b"ada")
    vote = Vote(PRECOMMIT, 3, 0, BlockId(bytes(32), 1, bytes(32)), Moment(5, 6))
    signature = keys.unsafe_sign_raw(secret, sign_bytes(vote, "one"))

    assert is_vote_of(keys.public_of(secret), vote, "one", signature)
    assert not is_vote_of(keys.public_of(secret), vote, "two", signature)


def test_milliseconds_are_rounded_down_also_before_1970():
    assert Moment(2, 1_999_999).milliseconds == 2001
    assert Moment(-1, 999_999_999).milliseconds == -1
