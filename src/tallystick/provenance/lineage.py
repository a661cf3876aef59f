"""A model's descent: the rounds that made it, back to the task's first model, and what went in.

A model may be the sum of sums, made in this round or in earlier ones, and sums may pass other
stages on their way. So what went in is found by walking: from the stage that made the model through
the lists that each stage was about, to every sum among them and what that was made of in turn.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.mechanisms.records import CLOSE, ROUND
from tallystick.provenance.facts import At

if TYPE_CHECKING:
    from collections.abc import Collection

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
        The live subjects of the lists that the model was computed from, and of those that the sums
        among them were computed from.
    measured
        Live subjects of the rules' other references (such as ``clip_over``) that are not inputs:
        they set a bound but are not summed.
    unresolved
        Why the inputs may not be all there are; empty when they are.
    """

    at: At
    phase: int
    round: int
    stage: str
    rule: str
    root: bytes
    parent: bytes
    inputs: tuple[Subject, ...]
    measured: tuple[tuple[str, Subject], ...]
    unresolved: str = ""

    @property
    def where(self) -> str:
        """The round as sentences name it."""
        return "the closing" if self.phase == CLOSE else f"round {self.round}"


def descent(history: TaskHistory, root: bytes | None = None) -> tuple[Made, ...] | None:
    """Return the rounds that made a model, first one first; closing counts as one.

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
    sent = {root for found in history.rounds for root, _ in history.updates(found)}
    line: list[Made] = []
    for found in reversed(history.rounds):
        stage = _maker(history, found)
        if stage is not None and stage.output.live[0].id == current:
            line.append(_made(found, stage, sent))
            current = line[-1].parent
    return tuple(reversed(line)) if current == (first or b"") else None


def _maker(history: TaskHistory, found: RoundHistory) -> StageHistory | None:
    """Return the stage that made a completed round's model."""
    if found.phase not in {ROUND, CLOSE} or not found.completed:
        return None
    stage = found.stages.get(history.plan.model_stage)
    if stage is None or stage.step is None or not stage.step.yields_model:
        return None
    return stage if stage.output.live else None


def _made(found: RoundHistory, stage: StageHistory, sent: Collection[bytes]) -> Made:
    walk = _Walk(sent)
    walk.follow(stage, stage.output.live[0])
    measured = {
        (name, *key): subject for name, key, subject in walk.measured if key not in walk.inputs
    }
    return Made(
        at=stage.closed or At(0, 0),
        phase=found.phase,
        round=found.number,
        stage=stage.name,
        rule=stage.rule,
        root=stage.output.live[0].id,
        parent=b"" if stage.inputs is None else stage.inputs.parent[0],
        inputs=tuple(walk.inputs.values()),
        measured=tuple((key[0], subject) for key, subject in sorted(measured.items())),
        unresolved=walk.unresolved,
    )


class _Walk:
    """What one model was computed from, sum by sum."""

    def __init__(self, sent: Collection[bytes]) -> None:
        self.sent = sent
        self.inputs: dict[tuple[bytes, str], Subject] = {}
        self.measured: list[tuple[str, tuple[bytes, str], Subject]] = []
        self.unresolved = ""

    def follow(self, stage: StageHistory, made: Subject) -> None:
        """Take what a sum was computed from, and what the sums among that were."""
        waiting, seen = deque([(stage, made)]), set[tuple[At | None, str]]()
        while waiting:
            stage, made = waiting.popleft()
            if (stage.closed, made.group) in seen:
                continue
            seen.add((stage.closed, made.group))
            if not made.group and any(stage.instances):
                self.unresolved = f"a sum of '{stage.name}' does not say of which group it is"
                continue
            waiting += self._take(stage, made.group)

    def _take(self, stage: StageHistory, group: str) -> list[tuple[StageHistory, Subject]]:
        """Take the inputs of one group's sum; return the sums among them."""
        if stage.inputs is None or stage.step is None:
            return []
        sums = _sums(stage)
        found: list[tuple[StageHistory, Subject]] = []
        read = stage.inputs.of[: getattr(stage.step.rule, "lists", 1)]
        for subject in (each for output in read for each in output.live):
            if group and subject.group not in {"", group}:
                continue
            self.inputs.setdefault((subject.id, subject.author), subject)
            found += sums.get(subject.id, ())
            if subject.id not in sums and subject.id not in self.sent:
                self.unresolved = f"'{stage.name}' had an input that nobody sent and no sum made"
        self.measured += [
            (name, (subject.id, subject.author), subject)
            for name, output in sorted(stage.inputs.refs.items())
            for subject in output.live
        ]
        return found


def _sums(stage: StageHistory) -> dict[bytes, list[tuple[StageHistory, Subject]]]:
    """Return the sums that lead to a stage through whatever stages, by root."""
    found: dict[bytes, list[tuple[StageHistory, Subject]]] = {}
    waiting, seen = list(stage.sources), set[At | None]()
    while waiting:
        source = waiting.pop()
        if source is None or source.closed in seen:
            continue
        seen.add(source.closed)
        waiting += source.sources
        if source.rule.startswith(AGGREGATE):
            for subject in source.output.live:
                found.setdefault(subject.id, []).append((source, subject))
    return found
