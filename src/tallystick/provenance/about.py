"""What the log says about an update, a member, a model or the task, statement by statement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tallystick.mechanisms import reasons
from tallystick.mechanisms.records import (
    Artefact,
    Attestation,
    Complaint,
    Opinion,
    Seal,
)
from tallystick.provenance.lineage import descent
from tallystick.provenance.spending import Spent, spending
from tallystick.provenance.statement import Statement, amount, privacy, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.mechanisms.records import Subject
    from tallystick.provenance.facts import Instance, RoundHistory, Sent, TaskHistory
    from tallystick.provenance.lineage import Made

__all__ = ["about_member", "about_model", "about_task", "about_update"]

ARTEFACTS = ("submit/", "join/")  # stages whose opinions say what a holder holds


def about_update(history: TaskHistory, root: bytes) -> list[Statement]:
    """Say who sent an update, what every stage made of it, and whether it is in the model."""
    found: list[Statement] = []
    if not any(root == sent for each in history.rounds for sent, _ in history.updates(each)):
        return found  # a model, a sum or nothing of this task's: nobody submitted it
    for each in history.rounds:
        for (sent_root, member), sent in history.updates(each).items():
            if sent_root == root:
                found.append(_revealed(each, member, sent))
        found += _held(each, root)
        found += _judged(each, root)
    return found + list(_used(history, root))


def about_member(history: TaskHistory, member: str) -> list[Statement]:
    """Say what a member sent, missed, signed, earned and lost."""
    found: list[Statement] = []
    for each in history.rounds:
        for stage in each.stages.values():
            for instance in stage.instances.values():
                holds = stage.rule.startswith(ARTEFACTS)
                found += [
                    Statement(sent.at, each.number, _did(sent, holds=holds), _evidence(sent))
                    for sent in instance.sent
                    if sent.member == member
                ]
                found += _missed(each, instance, member)
        found += [
            Statement(at, each.number, f"{member} received {amount(paid.micros)} ({paid.what})")
            for at, paid in each.paid
            if paid.member == member
        ]
        found += [
            Statement(at, each.number, f"{member} lost {amount(lost.micros)}: {lost.why}")
            for at, lost in each.forfeited
            if lost.member == member
        ]
    found += [
        Statement(
            refusal.at,
            refusal.round,
            f"{member}'s update {short(refusal.update)} was refused by '{refusal.stage}': "
            f"{refusal.reason} ({refusal.code})",
            refusal.evidence.hex(),
        )
        for refusal in history.refusals
        if refusal.member == member
    ]
    found += [_spent(each) for each in spending(history) if each.member == member]
    if not found and member in history.terms.parties:
        says = f"{member} is named by the terms and did nothing"
        found.append(Statement(history.opened, 0, says))
    return found


def about_model(history: TaskHistory, root: bytes) -> list[Statement]:
    """Say which rounds made a model, from whose updates, and who was left out."""
    line = descent(history, root)
    first = history.terms.model
    if line is None or (not line and (first is None or first.root != root)):
        return []
    found: list[Statement] = []
    if first is not None:
        says = f"the task began with model {first.root.hex()}; what made it is outside this log"
        found.append(Statement(history.opened, 0, says, first.root.hex()))
    rounds = {made.round for made in line}
    for made in line:
        found += _made(made)
    found += [
        Statement(
            refusal.at,
            refusal.round,
            f"left out of round {refusal.round}: {refusal.member}'s update "
            f"{short(refusal.update)}, {refusal.reason} ({refusal.code}) by '{refusal.stage}'",
            refusal.evidence.hex(),
        )
        for refusal in history.refusals
        if refusal.round in rounds
    ]
    return found


def about_task(history: TaskHistory) -> list[Statement]:
    """Say what was agreed, how each round went, and how the task ended."""
    terms = history.terms
    found = [
        Statement(
            history.opened,
            0,
            f"{terms.owner} proposed '{terms.name}' by recipe {terms.recipe} ({terms.mode}), "
            f"{terms.rounds} rounds among {len(terms.roster('members'))} members",
            history.task.hex(),
        )
    ]
    for each in history.rounds:
        if each.ended is not None:
            at, ended = each.ended
            what = ("setup", f"round {each.number}", "closing")[each.phase]
            cause = f"was void: {ended.cause}" if ended.cause else "completed"
            model = "" if ended.model is None else f"; the model is {short(ended.model.root)}"
            evidence = "" if ended.model is None else ended.model.root.hex()
            found.append(Statement(at, each.number, f"{what} {cause}{model}", evidence))
    for refusal in history.refusals:
        says = (
            f"round {refusal.round} refused {refusal.member}'s update {short(refusal.update)}: "
            f"{refusal.reason} ({refusal.code}) by '{refusal.stage}'"
        )
        found.append(Statement(refusal.at, refusal.round, says, refusal.evidence.hex()))
    last = {(each.member, each.dataset): each for each in spending(history)}
    found += [_spent(each) for each in last.values()]
    if history.finished is not None:
        at, end = history.finished
        cause = f" ({end.cause})" if end.cause else ""
        says = f"the task ended: {end.status}{cause}; {_refunded(history)}"
        found.append(Statement(at, history.rounds[-1].number if history.rounds else 0, says))
    return found


def _spent(spent: Spent) -> Statement:
    says = (
        f"{spent.member}'s data set {short(spent.dataset)} was charged for '{spent.stage}' of "
        f"round {spent.round}: {privacy(spent.epsilon_nanos, spent.delta_picos)} by this task "
        f"so far, in {spent.charges} charges"
    )
    return Statement(spent.at, spent.round, says, spent.dataset.hex())


def _refunded(history: TaskHistory) -> str:
    back = [
        f"{amount(paid.micros)} to {paid.member}"
        for each in history.rounds
        for _, paid in each.paid
        if paid.what == "refund"
    ]
    return f"of its escrow went back {', '.join(back)}" if back else "nothing of its escrow is left"


def _revealed(found: RoundHistory, member: str, sent: Sent) -> Statement:
    record = sent.entry.record
    size = record.size if isinstance(record, Artefact) else 0
    parents = record.parents if isinstance(record, Artefact) else ()
    built = f", built on model {short(parents[0])}" if parents else ""
    says = f"{member} submitted it to '{sent.entry.stage}' of round {found.number}"
    return Statement(sent.at, found.number, f"{says}: {size} bytes{built}", _evidence(sent))


def _held(found: RoundHistory, root: bytes) -> Iterator[Statement]:
    for stage in found.stages.values():
        for instance in stage.instances.values():
            for at, shut in instance.shut:
                if root in shut.lost:
                    yield Statement(
                        at, found.number, "too few holders could hold its bytes: unavailable"
                    )


def _judged(found: RoundHistory, root: bytes) -> Iterator[Statement]:
    refused: set[str] = set()
    for stage in found.closed():
        for subject in stage.output.subjects:
            if subject.id != root or stage.closed is None or subject.author in refused:
                continue
            if not subject.live:
                refused.add(subject.author)
            whose = f"{subject.author}'s" if subject.author else "it, as"
            says = f"'{stage.name}' ({stage.rule}) {_verdict(subject)} {whose} submission"
            says += _judgement(subject, scored=stage.rule.startswith("score/"))
            basis = subject.evidence or stage.output.root
            yield Statement(stage.closed, found.number, says, basis.hex())


def _verdict(subject: Subject) -> str:
    if subject.live:
        return "kept"
    return f"refused for {reasons.name_of(subject.verdict)} ({subject.verdict})"


def _judgement(subject: Subject, *, scored: bool) -> str:
    judged = subject.columns[2:]  # the first two are the artefact's size and weight
    if not judged:
        return ""
    told = ("none" if scored and value < 0 else str(value) for value in judged)
    return f"; judged {', '.join(told)}"


def _used(history: TaskHistory, root: bytes) -> Iterator[Statement]:
    line = descent(history) or ()
    into = [made for made in line if any(subject.id == root for subject in made.inputs)]
    for made in into:
        says = f"{made.where} computed model {short(made.root)} with it, by {made.rule}"
        yield Statement(made.at, made.round, says, made.root.hex())
    for made in line:
        for name, subject in made.measured:
            if subject.id == root:
                says = f"its length counted towards the bound '{name}' of {made.where}"
                yield Statement(made.at, made.round, says, made.root.hex())
    if not into and line:
        says = f"it is in none of the {len(line)} rounds that made the task's model"
        yield Statement(line[-1].at, line[-1].round, says, line[-1].root.hex())


def _made(made: Made) -> Iterator[Statement]:
    names = ", ".join(sorted({subject.author or "a group" for subject in made.inputs})) or "nobody"
    says = (
        f"{made.where} made model {short(made.root)} from {short(made.parent)} "
        f"by {made.rule} with {len(made.inputs)} inputs, of {names}"
    )
    yield Statement(made.at, made.round, says, made.root.hex())
    for subject in made.inputs:
        says = f"in {made.where}: update {subject.id.hex()} by {subject.author or 'a group'}"
        yield Statement(made.at, made.round, says, subject.id.hex())


def _missed(found: RoundHistory, instance: Instance, member: str) -> Iterator[Statement]:
    for at, shut in instance.shut:
        if member in shut.absent:
            length = "ran its whole length" if shut.full else "did not wait for it"
            says = f"{member} missed the {shut.window} window of '{instance.key.stage}', which "
            yield Statement(at, found.number, says + length)


def _did(sent: Sent, *, holds: bool) -> str:
    where = f"'{sent.entry.stage}' of round {sent.entry.round}"
    record = sent.entry.record
    match record:
        case Seal():
            return f"{sent.member} sealed a record for {where}"
        case Artefact():
            return f"{sent.member} submitted {short(record.root)} to {where}, {record.size} bytes"
        case Opinion() if holds:
            held = sum(value == 1 for value in record.vector)
            return f"{sent.member} holds {held} of {len(record.vector)} artefacts of {where}"
        case Opinion():
            given = sum(value is not None for value in record.vector)
            return f"{sent.member} gave {given} values to {where}"
        case Attestation():
            return f"{sent.member} signed {where}"
        case Complaint():
            said = record.evidence or record.record
            told = "no complaint"
            if said:  # in quotes, which it cannot end itself
                told = json.dumps(said.decode("utf-8", "replace"), ensure_ascii=False)
            return f"{sent.member} told {where}: {told}"


def _evidence(sent: Sent) -> str:
    record = sent.entry.record
    match record:
        case Seal():
            return record.seal.hex()
        case Artefact():
            return record.root.hex()
        case Opinion():
            return record.subjects.hex()
        case Attestation():
            return record.signature.hex()
        case Complaint():
            return ""
