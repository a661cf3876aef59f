"""What a member can compute ahead: outputs of the stages that follow without asking anybody new.

Once a stage's list is fixed, everything up to the next local stage is a function of it. So members
sign attested outputs before their stages open, and hold, screen and aggregate share a block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tallystick.errors import UnavailableError
from tallystick.ledger.collect.rows import STAGES
from tallystick.ledger.collect.view import TaskView, inputs_root
from tallystick.mechanisms.records import Output, join_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.ledger.collect.recipe import Step
    from tallystick.mechanisms.records import Key
    from tallystick.mechanisms.rule import Inputs
    from tallystick.tensors.workbench import Workbench

__all__ = ["FoldCache", "Foreseen", "foresee"]

MOST_CACHED = 512


@dataclass(frozen=True, slots=True)
class Foreseen:
    """An attested output before anybody has opened it."""

    step: Step
    key: Key
    inputs: bytes
    output: Output


class FoldCache:
    """Attested folds by their inputs: members in one process compute each of them once."""

    def __init__(self) -> None:
        """Start empty."""
        self._outputs: dict[tuple[Key, bytes], Output] = {}

    def fold(self, step: Step, inputs: Inputs, workbench: Workbench) -> tuple[bytes, Output]:
        """Return the root of the inputs and the fold's output."""
        root = inputs_root(inputs)
        known = self._outputs.get((inputs.key, root))
        if known is None:
            known = step.rule.fold((), replace(inputs, workbench=workbench))
            if len(self._outputs) >= MOST_CACHED:
                self._outputs.clear()
            self._outputs[inputs.key, root] = known
        return root, known


def foresee(
    view: TaskView, listed: Output | None, workbench: Workbench, cache: FoldCache
) -> Iterator[Foreseen]:
    """Yield the attested outputs that follow from where the task stands, in order.

    Parameters
    ----------
    listed
        What the open stage will yield if all its artefacts are held; `None` when the open stage is
        itself attested.

    Notes
    -----
    Ends quietly where a blob is missing: whoever lacks one cannot attest.
    """
    steps = view.plan.phases[view.row.phase]
    position = view.row.position
    assumed: dict[str, Output] = {}
    if listed is not None:
        assumed[steps[position].stage.name] = listed
        position += 1
    for step in steps[position:]:
        ahead = TaskView(view.state, view.row, view.terms, assumed)
        if step.attested:
            outputs: list[Output] = []
            for group in ahead.groups(step):
                opened = view.state.get(STAGES, ahead.key(step, group))
                if opened is not None and opened.window == "done":
                    outputs.append(opened.output or Output())
                    continue
                inputs = ahead.inputs(step, group)
                if step.stage.of and not inputs.live:
                    outputs.append(Output())
                    continue
                try:
                    root, output = cache.fold(step, inputs, workbench)
                except UnavailableError:
                    return
                outputs.append(output)
                yield Foreseen(step, ahead.key(step, group), root, output)
        elif step.on_ledger and not step.writes:
            outputs = [
                step.rule.fold((), ahead.inputs(step, group)) for group in ahead.groups(step)
            ]
        else:
            return
        joined = join_outputs(outputs)
        if joined.void:
            return
        assumed[step.stage.name] = joined
