"""Two votes at odds by one key: the seat, the key and a tenth of the money, once."""

import msgspec
import pytest
from support.validators import VALIDATOR, Validators, ballot, evidence, new_key, signed
from support.world import World, public_of, rotation

from tallystick.codec import decode, encode
from tallystick.crypto.hashes import sha256
from tallystick.crypto.votes import PREVOTE
from tallystick.ledger.context import Context
from tallystick.ledger.contracts import accounts, validators
from tallystick.ledger.contracts.members import MEMBERS
from tallystick.ledger.contracts.validators import EQUIVOCATIONS, Conviction, EvidenceError
from tallystick.ledger.messages import (
    Equivocate,
    Message,
    ProposeChange,
    Remove,
    Seat,
    Transfer,
    Unseat,
    Vote,
)

PUBLIC = public_of("delta", VALIDATOR)


@pytest.fixture
def world():
    return Validators()


def receipts(outcome):
    return [(event.kind, event.subject, event.amount) for event in outcome.receipts[0].events]


def is_refused(world, message, words, by="alpha"):
    error = world.refused(by, message)
    return type(error) is EvidenceError and words in str(error)


def test_the_proof_costs_seat_key_and_a_tenth(world):
    world.accept("delta", Transfer("alpha", 5))
    outcome = world.accept("alpha", evidence(world, "delta"))
    row = world.state.get(MEMBERS, "delta")

    assert receipts(outcome) == [("equivocation", "delta", 999_999), ("unseated", "delta", 0)]
    assert world.seats == ("alpha", "bravo", "charlie")
    assert dict(outcome.validator_updates) == {PUBLIC: 0}
    assert row.active
    assert [key.active for key in row.keys] == [True, False]
    assert accounts.balance(world.state, "delta") == 9_999_995 - 999_999
    assert accounts.totals(world.state).sink == 999_999
    found = world.state.get(EQUIVOCATIONS, "delta", 1, 0, 2)
    assert found == Conviction(PUBLIC, world.head.height, 999_999)


def test_a_vote_for_no_block_is_at_odds_with_one_for_a_block(world):
    world.accept("alpha", evidence(world, "delta", ballot(b""), ballot(b"b")))

    assert world.seats == ("alpha", "bravo", "charlie")


def test_prevotes_convict_as_precommits_do(world):
    world.accept(
        "alpha",
        evidence(world, "delta", ballot(b"a", kind=PREVOTE), ballot(b"b", kind=PREVOTE)),
    )

    assert "delta" not in world.seats


def test_owner_worker_and_validator_keys_hand_proofs_in(world):
    world.accept("alpha", rotation(world, "alpha", 50, role="worker"))
    world.accept("alpha", evidence(world, "bravo"))
    world.accept("alpha", evidence(world, "charlie"), **world.by("alpha", 50))
    world.accept("alpha", evidence(world, "delta"), **world.by("alpha", VALIDATOR))

    assert world.seats == ("alpha",)


def test_a_validator_key_still_signs_nothing_else(world):
    by = world.by("alpha", VALIDATOR)

    assert world.refused("alpha", Transfer("bravo", 1), **by).code == 401
    assert world.refused("alpha", ProposeChange(Unseat("bravo")), **by).code == 401


def test_the_same_proof_counts_once_whichever_way_round(world):
    message = evidence(world, "delta")
    swapped = Equivocate("delta", message.votes[::-1], message.signatures[::-1])
    world.accept("alpha", message)

    for again in (message, swapped):
        assert is_refused(world, again, "convicted of this before")


def test_a_third_vote_of_the_same_round_is_no_new_offence():
    world = Validators(("delta",), ("alpha",))
    world.accept("alpha", evidence(world, "delta"))

    assert is_refused(
        world, evidence(world, "delta", ballot(b"a"), ballot(b"c")), "convicted of this before"
    )


def test_the_last_validator_pays_and_goes_on():
    world = Validators(("delta",), ("alpha",))
    outcome = world.accept("alpha", evidence(world, "delta"))

    assert receipts(outcome) == [("equivocation", "delta", 1_000_000)]
    assert outcome.validator_updates == ()
    assert world.set == {"delta": PUBLIC}
    again = evidence(world, "delta", ballot(b"a", turn=1), ballot(b"b", turn=1))
    assert receipts(world.accept("alpha", again)) == [("equivocation", "delta", 900_000)]


def test_two_that_equivocate_in_one_block_leave_one_validator():
    world = Validators(("bravo", "charlie"), ("alpha",))
    for name in ("bravo", "charlie"):
        world.send("alpha", evidence(world, name))
    world.seal()

    assert world.seats == ("charlie",)
    assert accounts.totals(world.state).sink == 2_000_000


def test_a_member_without_money_still_loses_its_seat(world):
    world.accept("delta", Transfer("alpha", 10_000_000))
    outcome = world.accept("alpha", evidence(world, "delta"))

    assert receipts(outcome)[0] == ("equivocation", "delta", 0)
    assert "delta" not in world.seats


def test_who_has_no_seat_any_more_still_answers_for_its_key(world):
    world.vote(Unseat("delta"))
    outcome = world.accept("alpha", evidence(world, "delta"))

    assert receipts(outcome) == [("equivocation", "delta", 1_000_000)]
    assert "no valid validator key" in str(world.refused("alpha", ProposeChange(Seat("delta"))))


def test_a_new_key_can_be_seated_by_vote_and_answers_for_itself(world):
    world.accept("alpha", evidence(world, "delta"))
    world.accept("delta", new_key(world, "delta"))
    assert "delta" not in world.seats
    world.vote(Seat("delta"))
    assert world.set["delta"] == public_of("delta", VALIDATOR + 1)
    later = (ballot(b"a", height=2), ballot(b"b", height=2))

    assert is_refused(world, evidence(world, "delta", *later), "no valid validator key")
    world.accept("alpha", evidence(world, "delta", *later, generation=VALIDATOR + 1))
    assert "delta" not in world.seats


def test_a_replaced_key_convicts_nobody(world):
    message = evidence(world, "delta")
    world.accept("delta", new_key(world, "delta"))

    assert is_refused(world, message, "no valid validator key")


def test_a_removed_member_and_a_stranger_are_not_convicted(world):
    message = evidence(world, "delta")
    world.vote(Remove("delta"))

    assert is_refused(world, message, "no valid validator key")
    assert is_refused(world, evidence(world, "zulu"), "no valid validator key")


def test_a_key_that_is_convicted_signs_no_further_transaction_of_the_block(world):
    world.send("alpha", evidence(world, "delta"))
    tx = world.send("delta", evidence(world, "bravo"), **world.by("delta", VALIDATOR))
    outcome = world.seal()

    assert [found for found, _ in outcome.refused] == [tx]
    assert world.seats == ("alpha", "bravo", "charlie")


def test_a_seat_voted_in_the_block_of_the_proof_needs_another_key(world):
    world.vote(Unseat("delta"))
    world.accept("alpha", ProposeChange(Seat("delta")))
    proposal = sha256("proposal", encode(Seat("delta")))
    world.send("bravo", Vote(proposal))
    world.seal()
    world.send("charlie", Vote(proposal))
    world.send("delta", evidence(world, "delta"))
    world.seal()

    assert world.seats == ("alpha", "bravo", "charlie")


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ((ballot(b"a"), ballot(b"a")), "same block"),
        ((ballot(b"a"), ballot(b"a", seconds=9)), "same block"),
        ((ballot(b""), ballot(b"", seconds=9)), "same block"),
        ((ballot(b"a"), ballot(b"b", height=2)), "not of one height"),
        ((ballot(b"a"), ballot(b"b", turn=1)), "not of one height"),
        ((ballot(b"a"), ballot(b"b", kind=PREVOTE)), "not of one height"),
        ((ballot(b"a", height=3), ballot(b"b", height=3)), "ahead of the ledger"),
    ],
)
def test_votes_that_are_not_at_odds_convict_nobody(world, votes, words):
    world.seal()

    assert is_refused(world, evidence(world, "delta", *votes), words)


def test_votes_of_the_block_that_is_being_made_convict(world):
    world.accept("alpha", evidence(world, "delta", ballot(b"a"), ballot(b"b")))

    assert world.head.height == 1
    assert "delta" not in world.seats


def test_signatures_count_only_by_one_validator_key_of_the_member_on_this_ledger(world):
    one, other = votes = (ballot(b"a"), ballot(b"b"))
    right, wrong = signed(world, "delta", one), signed(world, "bravo", other)
    flipped = bytes([right[0] ^ 1]) + right[1:]
    forged = [
        evidence(world, "delta", generation=0),  # its owner key
        evidence(world, "delta", chain_id="t-0000000000000000"),
        evidence(world, "delta", chain_id=""),
        Equivocate("delta", votes, (right, wrong)),
        Equivocate("delta", votes, (right, right)),
        Equivocate("delta", votes, (flipped, signed(world, "delta", other))),
        Equivocate("bravo", votes, evidence(world, "delta").signatures),
    ]

    for message in forged:
        assert is_refused(world, message, "no valid validator key")


def test_two_keys_that_sign_one_vote_each_convict_nobody(world):
    both = (
        signed(world, "delta", ballot(b"a")),
        signed(world, "delta", ballot(b"b"), VALIDATOR + 1),
    )
    row = world.state.get(MEMBERS, "delta")
    second = type(row.keys[0])(public_of("delta", VALIDATOR + 1), "validator")
    scratch = world.state.scratch()
    scratch.put(MEMBERS, "delta", row=type(row)((*row.keys, second)))
    message = Equivocate("delta", (ballot(b"a"), ballot(b"b")), both)
    context = context_of(world)

    with pytest.raises(EvidenceError, match="no valid validator key"):
        validators.handle_equivocate(scratch, context, message)


def context_of(world):
    return Context(
        "alpha", 0, "owner", world.now, world.now, 5, world.kernel.chain,
        chain_id=world.kernel.chain_id,
    )  # fmt: skip


@pytest.mark.parametrize("engine", ["solo", "pow"])
def test_no_other_engine_knows_such_proofs(engine):
    world = World(engine=engine)
    world.accept("delta", rotation(world, "delta", VALIDATOR, role="validator"))

    assert world.kernel.chain_id == ""
    assert is_refused(world, evidence(world, "delta"), "its engine is not 'cometbft'")


def test_messages_and_changes_keep_their_tags():
    message = evidence(Validators(), "delta")
    array = msgspec.msgpack.decode(encode(message))

    assert array[:2] == [13, "delta"]
    assert array[2][0] == [2, 1, 0, [b"a".ljust(32, b"."), 1, b"a".rjust(32, b".")], [7, 0]]
    assert decode(Message, encode(message)) == message
    assert [encode(change)[1] for change in (Seat("delta"), Unseat("delta"))] == [6, 7]
