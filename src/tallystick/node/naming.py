"""Which blobs a task's rows on the ledger name now, and who made each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tallystick.ledger.collect.rows import OUTPUTS, RECORDS, SEEN, STAGES
from tallystick.ledger.collect.view import view_task
from tallystick.mechanisms.records import Artefact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tallystick.ledger.collect.view import TaskView
    from tallystick.ledger.state import State

__all__ = ["author_of", "named_blobs"]


def named_blobs(state: State, task: bytes) -> dict[bytes, str]:
    """Return the roots of what a running round needs, each with its author, empty if unknown.

    That is the model the round builds on, the one it has made, what members have revealed in
    open stages, what those are about, and what the stages before them have listed.
    """
    view = view_task(state, task)
    if view is None:
        return {}
    models = (view.row.model, view.row.draft)
    found = {model.root: "" for model in models if model is not None and model.size}
    for root, author in (*_listed(view), *_revealed(view)):
        found[root] = found.get(root) or author
    return found


def author_of(state: State, task: bytes, root: bytes) -> str:
    """Return which member revealed a blob in a task; empty where nobody has, or it is a model."""
    seen = state.get(SEEN, task, root)
    if seen is not None:
        return seen.author
    view = view_task(state, task)
    revealed = () if view is None else _revealed(view)
    return next((author for found, author in revealed if found == root), "")


def _revealed(view: TaskView) -> Iterator[tuple[bytes, str]]:
    """Yield root and author of the artefacts in open stages; whoever was first counts."""
    for key in view.row.open:
        stage = view.state.get(STAGES, key)
        for seat in () if stage is None else stage.roster:
            row = view.state.get(RECORDS, key, seat.member)
            if row is not None and isinstance(row.record, Artefact) and row.record.size:
                root = row.record.root
                yield root, view.first_author(root) or seat.member


def _listed(view: TaskView) -> Iterator[tuple[bytes, str]]:
    """Yield root and author of the artefacts that this round's stages list or are about."""
    row, step = view.row, view.step
    outputs = [
        view.state.get(OUTPUTS, row.id, row.phase, row.round, closed.stage.name)
        for closed in view.plan.phases[row.phase][: row.position]
        if closed.held
    ]
    if step is not None:
        place = step.phase, step.position
        outputs += [view.output(reference, *place) for reference in step.stage.of]
        root, _ = view.parent(step)
        if root:
            yield root, ""
    for output in outputs:
        for subject in () if output is None else output.live:
            author = view.first_author(subject.id)
            if author:  # else it has no bytes
                yield subject.id, author
