"""What a poisoned update did: its round again without it.

The round's stages are folded again by the rules' own code, on the run's own blobs and records, with
one update taken out at the start. The difference of the two models on `World.judges` is what the
update did.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tallystick.mechanisms.records import ROUND, Artefact, Opinion, Output
from tallystick.mechanisms.rule import Held
from tallystick.provenance.replay import FolderSource, Scratch
from tallystick.tensors.model import open_model
from tallystick.tensors.workbench import Workbench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.federation.run import Run
    from tallystick.lab.demos.world import World
    from tallystick.ledger.collect.recipe import Step
    from tallystick.mechanisms.rule import Inputs
    from tallystick.provenance.facts import RoundHistory, StageHistory

__all__ = ["Effect", "Poison", "measure_poison"]

Name = tuple[bytes, str]


@dataclass(frozen=True, slots=True)
class Effect:
    """A poisoned update that was accepted, and by how much it moved accuracy (0 to 1)."""

    round: int
    member: str
    update: bytes
    moved: float


@dataclass(frozen=True, slots=True)
class Poison:
    """All poisoned updates of a run.

    Attributes
    ----------
    sent, refused
        How many there were, and how many of them were refused.
    accepted
        The others, each with what it did. Those of void rounds are left out: nothing came of them.
    """

    sent: int
    refused: int
    accepted: tuple[Effect, ...]

    @property
    def worst(self) -> float:
        """The largest move any of them made, 0 when there were none."""
        return max((effect.moved for effect in self.accepted), default=0.0)


def measure_poison(world: World, run: Run, *, largest: int | None = None) -> Poison:
    """Return what became of the poisoners' updates.

    Parameters
    ----------
    largest
        Replay at most so many accepted ones, evenly spread over the run; all by default.
    """
    refused = {(found.round, found.update, found.member) for found in run.history.refusals}
    sent = 0
    kept: list[tuple[RoundHistory, Name]] = []
    for found in run.history.rounds:
        if found.phase != ROUND:
            continue
        for name in sorted(run.history.updates(found)):
            if name[1] not in world.poisoners:
                continue
            sent += 1
            if (found.number, *name) not in refused and found.completed:
                kept.append((found, name))
    if largest is not None and len(kept) > largest:
        kept = [kept[at * len(kept) // largest] for at in range(largest)]
    with tempfile.TemporaryDirectory(prefix="tally-effect-", ignore_cleanup_errors=True) as folder:
        replayer = _Replayer(world, run, Path(folder))
        effects = tuple(replayer.effects(kept))
    return Poison(sent, len([one for one in refused if one[2] in world.poisoners]), effects)


class _Replayer:
    """Rounds of one run, folded again."""

    def __init__(self, world: World, run: Run, folder: Path) -> None:
        self.world = world
        self.run = run
        self.bench = Workbench(Scratch([FolderSource(run.out / "blobs")], folder))
        self.measured: dict[bytes, float | None] = {}

    def effects(self, kept: list[tuple[RoundHistory, Name]]) -> Iterator[Effect]:
        plan = self.run.history.plan
        for found, name in kept:
            made = found.stages[plan.model_stage].output.live
            without = self.without(found, name)
            if not made or not without.live:
                continue
            moved = abs(self.accuracy(made[0].id) - self.accuracy(without.live[0].id))
            yield Effect(found.number, name[1], name[0], moved)

    def without(self, found: RoundHistory, name: Name) -> Output:
        """Return the output of the round's model stage if ``name`` had not been sent."""
        plan = self.run.history.plan
        outputs: dict[str, Output] = {}
        for step in plan.phases[ROUND]:
            stage = found.stages.get(step.stage.name)
            if stage is None or stage.closed is None or stage.inputs is None:
                break
            if step.rule.record is Artefact:
                outputs[stage.name] = _less(stage.output, name)
            elif any(text in outputs for text in step.stage.of):
                inputs = _changed(stage.inputs, step, outputs)
                records = () if step.attested else tuple(_records(stage, stage.inputs, inputs))
                outputs[stage.name] = step.rule.fold(
                    records, replace(inputs, workbench=self.bench if step.attested else None)
                )
            if stage.name == plan.model_stage:
                break
        return outputs.get(plan.model_stage, Output())

    def accuracy(self, root: bytes) -> float:
        """Return a model's accuracy on the rows that judge."""
        spec = self.run.terms.model
        if root not in self.measured and spec is not None:
            arrays = open_model(self.bench.blobs.open(root), spec.parameters).arrays()
            self.measured[root] = self.world.measure(arrays, self.world.judges)
        return self.measured.get(root) or 0.0


def _less(output: Output, name: Name) -> Output:
    kept = tuple(found for found in output.subjects if (found.id, found.author) != name)
    return msgspec.structs.replace(output, subjects=kept)


def _changed(inputs: Inputs, step: Step, outputs: dict[str, Output]) -> Inputs:
    """Return a stage's inputs with the outputs that came out differently."""
    of = tuple(
        outputs.get(text, output) for text, output in zip(step.stage.of, inputs.of, strict=True)
    )
    meant = dict(step.stage.refs)
    refs = {key: outputs.get(meant.get(key, ""), ref) for key, ref in inputs.refs.items()}
    return replace(inputs, of=of, refs=refs)


def _records(stage: StageHistory, before: Inputs, after: Inputs) -> Iterator[Held]:
    """Yield a stage's opinions, less what they said about subjects that are gone."""
    left = {(subject.id, subject.author) for subject in after.subjects}
    known = [(subject.id, subject.author) in left for subject in before.subjects]
    for label, instance in sorted(stage.instances.items()):
        for sent in instance.sent:
            record = sent.entry.record
            if not isinstance(record, Opinion) or record.subjects != before.of[0].root:
                continue  # hold vectors name another list
            head = len(record.vector) - len(known)
            vector = (
                *record.vector[:head],
                *(score for score, stays in zip(record.vector[head:], known, strict=True) if stays),
            )
            yield Held(sent.member, label, Opinion(after.of[0].root, vector, record.evidence))
