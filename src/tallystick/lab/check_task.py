"""What a task file comes to: the terms its members would approve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.errors import ConfigError
from tallystick.federation.arrays import as_arrays
from tallystick.federation.task_file import resolve_terms
from tallystick.federation.trainer import as_trainer
from tallystick.lab.simulate_table import load_cast, located
from tallystick.tensors.memory import MemoryBlobs
from tallystick.tensors.model import write_model

if TYPE_CHECKING:
    from tallystick.ledger.terms import Terms
    from tallystick.tensors.spec import ModelSpec

__all__ = ["resolve"]


def resolve(path: str | Path) -> Terms:
    """Return the terms of a task file, with the members and the model of its simulation.

    Raises
    ------
    ConfigError
        What is wrong, with line and key.
    """
    cast = load_cast(path)
    try:
        return resolve_terms(
            cast.task,
            owner=cast.members[0],
            members=cast.members,
            model=_model(cast.initial, cast.sites[cast.members[0]]),
            trial=True,
        )
    except ConfigError as error:
        raise located(path, error) from error


def _model(initial: object, first: object) -> ModelSpec | None:
    """Return the model a simulation would start from."""
    if initial is None:
        maker = getattr(as_trainer(first), "initial_parameters", None)
        if not callable(maker):
            return None
        initial = maker()
    return write_model(as_arrays(initial), MemoryBlobs().create())
