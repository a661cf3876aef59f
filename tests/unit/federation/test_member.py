"""Members: what goes wrong in one task costs a turn there, and what is not taken is said again."""

import msgspec
import pytest
from support.sites import (
    NAMES,
    Site,
    forfeits,
    initial_model,
    notes,
    terms_of,
)
from support.terms import FUND, make_terms, rerun, stage, update_stage

from tallystick.consensus.engine import RetryLaterError
from tallystick.consensus.solo import Solo
from tallystick.federation.conduct import Honest
from tallystick.federation.outbox import MOST_ATTEMPTS, Outbox, Said, batches
from tallystick.federation.trial import secret_of
from tallystick.ledger.collect.notes import Closed
from tallystick.ledger.genesis import Limits
from tallystick.ledger.messages import Entry, Opening, RegisterDataset, Transfer
from tallystick.ledger.receipt import Receipt
from tallystick.ledger.terms import Need
from tallystick.mechanisms.records import Complaint, Output, Subject
from tallystick.storage.sqlite import LedgerStore
from tallystick.tensors.spec import Parameter


def dataset(number):
    return RegisterDataset(bytes([number]) * 32, 1)


# --- one bad task ---------------------------------------------------------------------------------


def test_terms_whose_model_does_not_fit_are_declined_and_stop_no_other_task(
    federation, tmp_path, caplog
):
    good = terms_of(tmp_path, "good")
    spec = msgspec.structs.replace(good.model, parameters=(Parameter("w", (5,), "F32"),))
    bad = msgspec.structs.replace(good, name="bad", owner="d", model=spec)
    fed = federation(tmp_path)
    task, other = fed.propose(good), fed.propose(bad)
    row = fed.run(task)

    assert row.status == "done"
    assert fed.row(other).status == "aborted"
    assert "the initial model does not fit the terms" in caplog.text


def test_a_commitment_that_raises_costs_its_turn(federation, tmp_path, caplog):
    class Keeper(Site):
        def commitment(self, stage):
            raise KeyError("the rows are gone")

    rows = stage("rows", "submit/commitment/1", who="members", need=Need(0))
    terms = make_terms((rows,), members=NAMES, model=initial_model(tmp_path), rounds=1)
    fed = federation(tmp_path, Keeper)
    row = fed.run(fed.propose(terms))

    assert row.status == "done"
    assert "commitment() raised KeyError" in caplog.text


# --- said, refused, lost --------------------------------------------------------------------------


def test_a_nonce_is_not_used_twice_while_a_transaction_waits(federation, tmp_path):
    fed = federation(tmp_path)
    member = fed.members["a"]
    first = member.send(dataset(1))
    member.step()
    second = member.send(dataset(2))
    fed.engine.seal(fed.engine.head.time + 1000)

    assert [fed.engine.outcome(tx).code for tx in (first, second)] == [0, 0]


def test_blocks_too_small_for_everybody_cost_nobody_a_turn(federation, tmp_path):
    limits = Limits(block_bytes=4096, transaction_bytes=4096)
    fed = federation(tmp_path, limits=limits)
    ids = [fed.propose(terms_of(tmp_path, f"t{n}", owner=NAMES[n % 4], rounds=3)) for n in range(6)]
    ends = [fed.run(task).status for task in ids]
    lost = [forfeits(fed, task) for task in ids]

    assert ends == ["done"] * 6
    assert lost == [[]] * 6


class Forgetful(Solo):
    """An engine that loses the first so many transactions it is handed."""

    losses = 0

    def submit(self, wire):
        if self.losses:
            self.losses -= 1
            return self.kernel.check(self._state, wire, self._head.time).hash
        return super().submit(wire)


@pytest.fixture
def outbox(federation, tmp_path):
    fed = federation(tmp_path)
    genesis, seat = fed.engine.genesis, fed.members["a"].identity
    fed.close()
    sealer = secret_of(1, genesis.sealer, "validator")
    engine = Forgetful(LedgerStore(tmp_path / "ledger.db"), genesis, sealer)
    yield Outbox(seat, engine, lambda: None), engine
    engine.close()


def test_a_lost_transaction_is_handed_in_again(outbox):
    box, engine = outbox
    engine.losses = 1
    sent = box.send(dataset(1), ["mark"])
    for _ in range(2):
        engine.seal(engine.head.time + 1000)
        box.settle()

    assert engine.outcome(sent) == Receipt(0, engine.outcome(sent).events)
    assert not box.has_said("mark")


def test_what_was_refused_before_inclusion_can_be_said_again_a_few_times(outbox):
    box, engine = outbox
    for _ in range(MOST_ATTEMPTS):
        assert not box.has_said("mark")
        box.send(Transfer("b", 2**60), ["mark"])
        assert box.has_said("mark")
        engine.seal(engine.head.time + 1000)
        box.settle()

    assert box.has_said("mark")


def test_what_finds_no_room_does_not_count_as_said(outbox, monkeypatch):
    box, _ = outbox
    monkeypatch.setattr("tallystick.consensus.pool.MOST_PENDING", 4)
    box.send(dataset(1), ["one"])
    box.send(dataset(2), ["two"])

    assert box.has_said("one")
    assert not box.has_said("two")
    with pytest.raises(RetryLaterError):
        box.send(dataset(3))


def test_what_was_refused_before_is_said_alone(outbox):
    box, engine = outbox
    box.send(Transfer("b", 2**60), ["bad"])
    engine.seal(engine.head.time + 1000)
    box.settle()
    said = [Said(mark, Entry(1, 1, "s", Complaint())) for mark in ("good", "bad", "fine")]

    assert [[each.mark for each in part] for part in box.apart(said)] == [["good", "fine"], ["bad"]]


# --- openings -------------------------------------------------------------------------------------


class Late(Honest):
    """Absent from the first few windows of a stage."""

    def __init__(self, stage, times):
        self.stage, self.times = stage, times

    def present(self, moment):
        if (moment.key.stage, moment.window) == (self.stage, "attest") and self.times:
            self.times -= 1
            return False
        return True


def grouped(tmp_path, groups=2, rounds=1):
    chosen = stage(
        "groups", "select/test-groups/1", source="members", into=("trainers",), groups=groups
    )
    sums = stage(
        "sum", "aggregate/test-sum/1", of="update", who="trainers", per_group=True, short=rerun(1)
    )
    update = update_stage(per_group=True, parent="sum@-1")
    return make_terms(
        (chosen, update, sums), (FUND,), members=tuple("abcdef"),
        model=initial_model(tmp_path), rounds=rounds,
    )  # fmt: skip


@pytest.mark.parametrize("late", tuple("abcdef"))
def test_a_group_that_signs_late_is_opened_all_the_same(federation, tmp_path, late):
    fed = federation(tmp_path, names=tuple("abcdef"), conduct={late: Late("sum", 3)})
    task = fed.propose(grouped(tmp_path))
    fed.run(task)
    closed = [note for note in notes(fed, task, Closed) if note.stage == "sum"]

    assert [[found.group for found in note.output.subjects] for note in closed] == [["g0", "g1"]]


def said_of(sizes):
    """Return openings whose outputs have so many subjects."""
    return [
        Said(number, Opening("s", f"g{number}", Output((Subject(bytes(32), "a"),) * size)))
        for number, size in enumerate(sizes)
    ]


def test_openings_are_cut_into_messages_that_fit(caplog):
    found = batches(said_of([10, 10, 10, 1000, 10]), 1200)

    assert [[each.mark for each in part] for part in found] == [[0, 1], [2, 4]]
    assert "stage 's' asks for a record of" in caplog.text


def test_a_message_has_no_more_parts_than_it_may():
    assert [len(part) for part in batches(said_of([0] * 130), 60_000)] == [64, 64, 2]
