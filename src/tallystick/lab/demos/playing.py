"""A world's task in memory: the same blocks and roots as on disk, and nothing left behind.

What a run leaves for others (a bundle, a folder that an interrupted run goes on from) is not there,
so ledger, blobs and journals stay in memory, and trainers that are known to end need no time limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tallystick.federation.privacy import budget_of
from tallystick.federation.simulation import Federation, Setup
from tallystick.federation.task_file import resolve_terms
from tallystick.lab.table_trainer import initial_parameters
from tallystick.provenance.history import read_engine
from tallystick.tensors.model import open_model, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from tallystick.federation.conduct import Conduct
    from tallystick.federation.task_file import Task
    from tallystick.lab.demos.world import World
    from tallystick.ledger.terms import Terms
    from tallystick.provenance.facts import TaskHistory
    from tallystick.tensors.spec import Blobs

__all__ = ["Played", "play", "terms_of"]


@dataclass(frozen=True, slots=True)
class Played:
    """A finished run that was kept in memory."""

    history: TaskHistory
    blobs: Blobs
    state_root: str
    height: int

    @property
    def model(self) -> dict[str, np.ndarray] | None:
        """The last round's model; `None` when no round completed."""
        models = self.history.models
        return self.arrays(models[-1][1].root) if models else None

    def accuracies(self, world: World) -> Iterator[tuple[int, float]]:
        """Yield each completed round's number and its model's accuracy on rows nobody holds."""
        for number, model in self.history.models:
            yield number, world.measure(self.arrays(model.root)) or 0.0

    def arrays(self, root: bytes) -> dict[str, np.ndarray]:
        """Return one of the run's models."""
        spec = self.history.terms.model
        if spec is None:
            return {}
        return open_model(self.blobs.open(root), spec.parameters).arrays()


def play(
    world: World,
    *,
    conduct: Mapping[str, Conduct] | None = None,
    **changes: Any,  # noqa: ANN401 - any key of a task
) -> Played:
    """Run the world's task in memory: the same blocks and roots as `World.run`.

    Where privacy takes noise, that comes from the seed here, so that a result can be had again.
    """
    task = world.task(**changes)
    setup = Setup(
        trainers=world.trainers,
        conduct=dict(world.attackers) if conduct is None else conduct,
        durable=False,
        limit_seconds=math.inf,
        budget=budget_of(task),
        noise_from_seed=True,
    )
    federation = Federation(None, setup, world.seed)
    try:
        row = federation.run(federation.propose(terms_of(task, world, federation.blobs)))
        engine = federation.engine
        history = read_engine(engine, row.id)
        return Played(history, federation.blobs, engine.head.state_root.hex(), engine.head.height)
    finally:
        federation.close()


def terms_of(task: Task, world: World, blobs: Blobs) -> Terms:
    """Return what the world's members approve; the initial model is then among the blobs."""
    model = write_model(initial_parameters(world.train), blobs.create())
    return resolve_terms(
        task, owner=world.members[0], members=world.members, model=model, trial=True
    )
