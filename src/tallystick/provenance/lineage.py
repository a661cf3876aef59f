"""A model's descent: the rounds that made it, back to the task's first model, and what went in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.ledger.collect.recipe import parse_reference
from tallystick.mechanisms.records import ROUND
from tallystick.provenance.facts import At

if TYPE_CHECKING:
    from tallystick.mechanisms.records import Subject
    from tallystick.provenance.facts import RoundHistory, StageHistory, TaskHistory

__all__ = ["Made", "descent"]

AGGREGATE = "aggregate/"


@dataclass(frozen=True, slots=True)
class Made:
    """A round's model: what it was made from.

    Attributes
    ----------
    inputs
        The live subjects on the list that the model was computed from; those of group sums that
        went in are here too.
    measured
        Live subjects of the rule's other references (such as ``clip_over``) that are not inputs:
        they set a bound but are not summed.
    """

    at: At
    round: int
    stage: str
    rule: str
    root: bytes
    parent: bytes
    inputs: tuple[Subject, ...]
    measured: tuple[tuple[str, Subject], ...]


def descent(history: TaskHistory, root: bytes | None = None) -> tuple[Made, ...] | None:
    """Return the rounds that made a model, first one first.

    Parameters
    ----------
    root
        The model; the task's newest by default.

    Returns
    -------
    `None` when no unbroken line leads from the task's first model to this one; empty for the first
    model itself.
    """
    first = None if history.terms.model is None else history.terms.model.root
    newest = history.model
    current = root if root is not None else None if newest is None else newest.root
    if current is None:
        return None
    line: list[Made] = []
    for found in reversed(history.rounds):
        if found.phase != ROUND or not found.completed:
            continue
        made = _made(history, found)
        if made is not None and made.root == current:
            line.append(made)
            current = made.parent
    return tuple(reversed(line)) if current == (first or b"") else None


def _made(history: TaskHistory, found: RoundHistory) -> Made | None:
    stage = found.stages.get(history.plan.model_stage)
    step = history.plan.find(ROUND, history.plan.model_stage)
    if stage is None or step is None or stage.closed is None or stage.inputs is None:
        return None
    if not step.yields_model or not stage.output.live:
        return None
    inputs = _inputs(history, found, stage, set())
    chosen = {(subject.id, subject.author) for subject in inputs}
    measured = tuple(
        (name, subject)
        for name, output in sorted(stage.inputs.refs.items())
        for subject in output.live
        if (subject.id, subject.author) not in chosen
    )
    return Made(
        at=stage.closed,
        round=found.number,
        stage=stage.name,
        rule=stage.rule,
        root=stage.output.live[0].id,
        parent=stage.inputs.parent[0],
        inputs=inputs,
        measured=measured,
    )


def _inputs(
    history: TaskHistory, found: RoundHistory, stage: StageHistory, seen: set[str]
) -> tuple[Subject, ...]:
    """Return what a stage computed with, and what its inputs were computed with in turn."""
    seen.add(stage.name)
    listed = list(stage.inputs.live) if stage.inputs is not None else []
    step = history.plan.find(found.phase, stage.name)
    for text in () if step is None else step.stage.of:
        name, back = parse_reference(text)
        source = found.stages.get(name)
        if source is None or back or name in seen or not source.rule.startswith(AGGREGATE):
            continue
        listed += _inputs(history, found, source, seen)
    return tuple(listed)
