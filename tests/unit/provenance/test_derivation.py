"""Deriving a log again: every record follows, and none can be changed."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tallystick.codec import encode
from tallystick.crypto.keys import public_of
from tallystick.errors import VerificationError
from tallystick.federation.trial import secret_of
from tallystick.ledger.collect.notes import Advanced, Attested, Closed, Opened, Paid, Shut, Signed
from tallystick.ledger.contracts.members import key_proof
from tallystick.ledger.genesis import Key
from tallystick.ledger.messages import CloseTask, RotateKey, Transfer
from tallystick.ledger.terms import Need, Stage
from tallystick.ledger.transaction import sign_transaction
from tallystick.provenance import Bundle, verify, write_bundle
from tallystick.provenance.derivation import derive
from tallystick.provenance.execution import HistoryError, execute
from tallystick.provenance.leaf import parse_leaf, parse_signed
from tallystick.provenance.replay import replay_folds


@pytest.fixture(scope="module")
def executed(eventful):
    with Bundle(eventful.bundle) as bundle:
        return execute(bundle)


def changed(note):
    """Return the record with one fact altered, or `None` where it states none."""
    fields = {}
    match note:
        case Closed() if note.output.subjects:
            first, *rest = note.output.subjects
            other = msgspec.structs.replace(first, verdict=0 if first.verdict else 305)
            fields["output"] = msgspec.structs.replace(note.output, subjects=(other, *rest))
        case Opened():
            fields["seats"] = note.seats[:-1]
        case Shut():
            fields["absent"] = note.absent[1:] if note.absent else ("clinic-1",)
        case Advanced():
            fields["beacon"] = bytes(32)
        case Attested():
            fields["signers"] = note.signers[:-1]
        case Paid():
            fields["micros"] = note.micros + 1
        case _:
            return None
    return msgspec.structs.replace(note, **fields)


def test_the_log_follows_from_what_was_signed(eventful, executed):
    genesis = eventful.federation.engine.genesis
    derived = derive(genesis, eventful.task, executed.leaves, executed.timeline)
    row = eventful.federation.row(eventful.task)

    assert msgspec.structs.replace(derived.row, excess=row.excess) == row
    assert len(derived.folds) == 9
    assert {fold.key.round for fold in derived.folds} == {1, 2, 3}


def test_no_record_can_say_anything_else(eventful, executed):
    genesis = eventful.federation.engine.genesis
    tried = 0
    for number, (height, leaf) in enumerate(executed.leaves):
        other = changed(parse_leaf(leaf))
        if other is None:
            continue
        tried += 1
        forged = [*executed.leaves]
        forged[number] = (height, encode(other))

        with pytest.raises(HistoryError, match=r"record \d+"):
            derive(genesis, eventful.task, forged, executed.timeline)
    assert tried > 50


@pytest.mark.parametrize("what", ["left out", "twice", "swapped"])
def test_no_record_can_be_moved(small, what):
    with Bundle(small.bundle) as bundle:
        executed = execute(bundle)
    leaves, genesis = executed.leaves, small.federation.engine.genesis
    for number in range(len(leaves) - 1):
        forged = [*leaves]
        if what == "left out":
            del forged[number]
        elif what == "twice":
            forged.insert(number, forged[number])
        else:
            forged[number : number + 2] = forged[number + 1], forged[number]
            both = [type(parse_leaf(leaf)).__name__ for _, leaf in forged[number : number + 2]]
            if both == ["Signed", "Signed"]:
                continue  # who spoke first within a block decides nothing

        with pytest.raises(HistoryError):
            derive(genesis, small.task, forged, executed.timeline)


def test_a_log_that_stops_early_leads_to_another_state(small):
    with Bundle(small.bundle) as bundle:
        executed = execute(bundle)
    genesis = small.federation.engine.genesis
    early = derive(genesis, small.task, executed.leaves[:2], executed.timeline)
    for size in (0, 1):
        with pytest.raises(HistoryError):
            derive(genesis, small.task, executed.leaves[:size], executed.timeline)

    assert early.row.status == "running"


def test_a_replay_that_comes_out_otherwise_is_false(eventful, executed):
    genesis = eventful.federation.engine.genesis
    derived = derive(genesis, eventful.task, executed.leaves, executed.timeline)
    model = next(fold for fold in derived.folds if fold.key.stage == "aggregate")
    screen = next(fold for fold in derived.folds if fold.key.stage == "screen")
    with Bundle(eventful.bundle) as bundle:
        assert replay_folds(derived.folds, [bundle]) == 9
        for fold, other in ((model, screen), (screen, model)):
            with pytest.raises(VerificationError, match="another output"):
                replay_folds([replace(fold, output=other.output)], [bundle])


def test_keys_are_those_of_their_time(play_watched):
    """A member rotates its worker key in the middle; what it signed before stays good."""

    def rotate(federation):
        if federation.engine.head.height == 5:
            secret = secret_of(3, "north", "next-worker")
            key = Key(public_of(secret), "worker")
            proof = key_proof(secret, "north", key.public, federation.engine.head.chain)
            federation.members["north"].send(RotateKey(key, proof))

    made = play_watched(watch=rotate)
    with Bundle(made.bundle) as bundle:
        timeline = execute(bundle).timeline
    before, after = timeline.at(6), timeline.at(7)

    assert (len(before.members["north"].keys), len(after.members["north"].keys)) == (3, 4)
    assert before.key("north", 1) is not None
    assert after.key("north", 1) is None
    assert verify(made.bundle, made.genesis)
    write_bundle(made.bundle, made.federation.engine, made.task)
    assert verify(made.bundle, made.genesis)


def test_rounds_that_ask_nobody_are_derived_too(play_watched):
    """Such rounds end a few a block, and go on in the next one without a record of why."""

    def amend(terms):
        nobody = Stage(
            name="trainers",
            rule="select/named/1",
            source="members",
            parameters=(("names", ("nobody",)),),
        )
        update = next(stage for stage in terms.round if stage.name == "update")
        update = msgspec.structs.replace(update, need=Need(0), parent="")
        return msgspec.structs.replace(terms, rounds=11, round=(nobody, update))

    made = play_watched(amend=amend)
    ends = [found.ended[0].height for found in made.history.rounds if found.phase == 1]
    report = verify(made.bundle, made.genesis, replay=True)

    assert len(ends) == 11
    assert len(set(ends)) == 3
    assert report.ok
    assert "no attested output" in report.checks[-1].says


def test_a_task_that_came_to_nothing_proves_only_its_history(play_watched):
    """Three rounds are void in a row, so there is no result to co-sign."""

    def amend(terms):
        stages = tuple(
            msgspec.structs.replace(stage, parameters=(("cohort", 9),), rule="decide/screened/1")
            if stage.name == "decide"
            else stage
            for stage in terms.round
        )
        return msgspec.structs.replace(terms, round=stages, rounds=5)

    made = play_watched(amend=amend)
    strict = verify(made.bundle, made.genesis)
    lenient = verify(made.bundle, made.genesis, min_signers=0, replay=True)

    assert made.history.status == "void"
    assert made.history.attempts == 3
    assert made.history.completed == 0
    assert "ended void" in strict.checks[-1].says
    assert not strict
    assert lenient


def resigned(leaf, chain, **fields):
    """Return a log's transaction with parts of its body replaced, signed by who it says."""
    body = msgspec.structs.replace(parse_signed(parse_leaf(leaf).wire), **fields)
    secret = secret_of(3, body.sender, "owner")
    return encode(Signed(sign_transaction(body, secret, chain).wire))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"sender": "stranger"}, "signature"),
        ({"key": 9}, "signature"),
        ({"nonce": 0}, "nonce"),
        ({"message": Transfer("east", 1)}, "does not concern a task"),
        ({"message": CloseTask(bytes(32))}, "another task"),
    ],
)
def test_a_transaction_that_has_no_place_in_the_log_is_refused(small, fields, told):
    with Bundle(small.bundle) as bundle:
        executed = execute(bundle)
    chain, genesis = executed.kernel.chain, small.federation.engine.genesis
    forged = [*executed.leaves]
    signed = [at for at, (_, leaf) in enumerate(forged) if isinstance(parse_leaf(leaf), Signed)]
    for at in (signed[8], signed[-1]):
        height, leaf = executed.leaves[at]
        forged[at] = (height, resigned(leaf, chain, **fields))

        with pytest.raises(HistoryError, match=told):
            derive(genesis, small.task, forged[: at + 1], executed.timeline)
        forged[at] = executed.leaves[at]


def test_a_second_set_of_terms_and_a_stolen_signature_are_refused(small):
    with Bundle(small.bundle) as bundle:
        executed = execute(bundle)
    genesis, leaves = small.federation.engine.genesis, executed.leaves
    terms = [*leaves[:2], leaves[0]]
    wire = parse_leaf(leaves[0][1]).wire
    stolen = [(1, encode(Signed(wire[:-1] + bytes([wire[-1] ^ 1]))))]

    for forged, told in ((terms, "nonce|begins with"), (stolen, "signature")):
        with pytest.raises(HistoryError, match=told):
            derive(genesis, small.task, forged, executed.timeline)
    with pytest.raises(HistoryError, match="another task"):
        derive(genesis, bytes(32), leaves, executed.timeline)
