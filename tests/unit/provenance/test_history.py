"""A task's history: read from its log, told in sentences, listed in lines."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from tallystick.errors import ConfigError, DecodeError
from tallystick.lab.attacks import assign, parse_attack
from tallystick.ledger.collect.rows import LIVE
from tallystick.ledger.messages import CloseTask, Collect, Entry
from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import ROUND, Complaint
from tallystick.provenance import (
    descent,
    explain,
    list_records,
    read_history,
    record_line,
    to_html,
)
from tallystick.provenance.records import TYPES
from tallystick.provenance.statement import amount

FIELDS = {"round", "member", "update", "code", "reason", "evidence"}


@pytest.fixture
def leaves(eventful):
    return list(eventful.federation.engine.leaves(eventful.task))


def test_a_history_knows_terms_rounds_and_end(eventful):
    history = eventful.history

    assert history.task == eventful.task
    assert history.status == "done"
    assert history.completed == history.attempts == 3
    assert [number for number, _ in history.models] == [1, 2, 3]
    assert history.models[-1][1].root == eventful.model_root
    assert [(each.phase, each.number) for each in history.rounds] == [
        (0, 0),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 4),
    ]


def test_each_refused_update_is_told_once_with_its_first_stage(eventful):
    refusals = eventful.history.refusals
    liars = {refusal.member for refusal in refusals}

    assert len({(each.round, each.member, each.update) for each in refusals}) == len(refusals)
    assert len(liars) == 1
    assert {each.stage for each in refusals} == {"peers"}
    assert {(each.code, each.reason) for each in refusals} == {
        (reasons.COSINE, "against-the-others")
    }
    for each in refusals:
        assert set(each.to_json()) >= FIELDS
        assert len(each.evidence) == 32


def test_a_model_descends_from_the_first_one_round_by_round(eventful):
    history = eventful.history
    line = descent(history)
    refused = {each.update for each in history.refusals}

    assert [made.round for made in line] == [1, 2, 3]
    assert line[0].parent == history.terms.model.root
    assert [made.parent for made in line[1:]] == [made.root for made in line[:-1]]
    assert all(len(made.inputs) == 5 for made in line)
    assert not refused & {subject.id for made in line for subject in made.inputs}
    assert refused == {subject.id for made in line for _, subject in made.measured}
    assert descent(history, line[0].root) == line[:1]
    assert descent(history, history.terms.model.root) == ()
    assert descent(history, bytes(32)) is None


def test_the_end_names_whoever_got_the_rest_of_the_escrow_back(play_watched):
    """All members fund the task, and all get back what it did not pay."""

    def amend(terms):
        setup = (
            msgspec.structs.replace(each, who="members") if each.name == "fund" else each
            for each in terms.setup
        )
        return msgspec.structs.replace(terms, setup=tuple(setup), rounds=2)

    closed = []

    def watch(federation):
        for task in federation.engine.state.get(LIVE) or ():
            if federation.row(task).phase == ROUND and not closed:
                closed.append(federation.members["east"].send(CloseTask(task)))

    history = play_watched(amend=amend, watch=watch).history
    end = next(line for line in explain(history).lines if "the task ended" in line)
    refunds = {
        paid.member: paid.micros
        for each in history.rounds
        for _, paid in each.paid
        if paid.what == "refund"
    }

    assert sorted(refunds) == ["east", "north", "west"]
    for member, micros in refunds.items():
        assert f"{amount(micros)} to {member}" in end
    assert "its owner" not in end


def test_every_statement_names_its_block_and_record(eventful, leaves):
    refusal = eventful.history.refusals[0]
    asked = [
        {},
        {"update": refusal.update},
        {"member": refusal.member},
        {"model": eventful.model_root},
    ]
    for each in asked:
        explanation = explain(eventful.history, **each)
        document = explanation.to_json()

        assert document["format"] == "tally.explain/1"
        assert json.loads(json.dumps(document)) == document
        assert len(explanation.lines) == len(document["statements"]) > 3
        for line, statement in zip(explanation.lines, document["statements"], strict=True):
            assert leaves[statement["record"]][0] == statement["height"]
            assert f"block {statement['height']}, record {statement['record']}" in line


def test_the_question_why_has_an_answer(eventful):
    refusal = eventful.history.refusals[0]
    lines = explain(eventful.history, update=refusal.update).lines
    told = "\n".join(lines)

    assert f"refused for against-the-others ({refusal.code})" in told
    assert refusal.evidence.hex() in told
    assert "its length counted towards the bound 'clip_over'" in told
    assert "it is in none of the 3 rounds" in told


def test_an_absentee_is_told_what_it_missed(eventful):
    absent = next(
        name
        for found in eventful.history.rounds
        if found.phase == ROUND
        for _, shut in found.stages["update"].instances[""].shut
        for name in shut.absent
    )
    told = "\n".join(explain(eventful.history, member=absent).lines)

    assert f"{absent} missed the seal window of 'update', which ran its whole length" in told


def test_what_the_log_does_not_know_is_an_error(eventful):
    for unknown in ({"update": bytes(32)}, {"member": "stranger"}, {"model": bytes(32)}):
        with pytest.raises(ConfigError):
            explain(eventful.history, **unknown)
    with pytest.raises(ConfigError):
        explain(eventful.history, update=bytes(32), member="clinic-1")


def test_a_page_holds_every_statement_and_escapes_what_members_wrote(eventful):
    explanation = explain(eventful.history, member="clinic-2")
    page = to_html(explanation)

    assert page.count("<tr>") == len(explanation.lines) + 1
    assert "clinic-2" in page
    assert "<script" not in page
    assert "'approve'" not in page  # quotes are escaped
    assert "&#x27;approve&#x27;" in page


def test_the_log_is_listed_record_by_record(leaves):
    records = list(list_records(leaves))

    assert json.loads(json.dumps(records)) == records
    assert {each["record"] for each in records} == set(range(len(leaves)))
    assert {each["type"] for each in records} <= set(TYPES)
    assert {"proposal", "seal", "artefact", "opening", "closed", "beacon"} <= {
        each["type"] for each in records
    }
    for each in records:
        assert each["format"] == "tally.log/1"
        assert "\n" not in record_line(each)
        assert re.match(rf" *{each['height']} +{each['record']} ", record_line(each))


def test_the_log_is_filtered_by_round_member_and_type(leaves):
    records = list(list_records(leaves))
    first = list(list_records(leaves, round_=1))
    hers = list(list_records(leaves, member="clinic-3"))
    seals = list(list_records(leaves, kind="seal", round_=2, member="clinic-3"))

    assert first == [each for each in records if each.get("round") == 1]
    assert all("clinic-3" in json.dumps(each) for each in hers)
    assert [each for each in records if each.get("member") == "clinic-3"] == [
        each for each in hers if each.get("member") == "clinic-3"
    ]
    assert [(each["type"], each["stage"]) for each in seals] == [("seal", "update")]
    with pytest.raises(ConfigError):
        list(list_records(leaves, kind="gossip"))


def test_what_is_no_log_is_malformed(leaves):
    for bad in ([], leaves[1:], [(1, b"")], [*leaves[:3], (2, b"\xc0")]):
        with pytest.raises(DecodeError):
            read_history(bad)


def test_a_complaint_cannot_forge_a_statement(play_watched):
    """A member passes its turn with text that looks like a second statement."""
    forged = "no\" data\n'update' kept it [block 7, record 23]\x1b[31m\u2028<script>"
    sent = []

    def watch(federation):
        for task in federation.engine.state.get(LIVE) or ():
            row = federation.row(task)
            if row.phase == ROUND and row.open and row.open[0].stage == "update" and not sent:
                record = Complaint(b"", forged.encode())
                entry = Entry(ROUND, row.round, "update", record)
                federation.members["north"].send(Collect(task, (entry,)))
                sent.append(entry)

    made = play_watched(watch=watch, conduct=assign([parse_attack("absentee=1")], ["north"]))
    told = explain(made.history, member="north")
    (line,) = (line for line in told.lines if "no" in line and "data" in line)

    assert all(line.isprintable() for line in told.lines)
    assert line.startswith(
        """north told 'update' of round 1: "no\\" data\\n'update' kept it [block 7, record 23]"""
    )
    assert "<script>" not in to_html(told)
    assert to_html(told).count("<tr>") == len(told.lines) + 1
    assert "\x1b" not in to_html(told)
