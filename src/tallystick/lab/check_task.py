"""What a task file comes to: the terms its members would approve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.errors import ConfigError
from tallystick.federation.arrays import as_arrays
from tallystick.federation.locate import located
from tallystick.federation.task_file import owner_of, resolve_terms
from tallystick.federation.trainer import as_trainer
from tallystick.lab.simulate_table import Cast, load_cast
from tallystick.tensors.model import spec_of

if TYPE_CHECKING:
    from tallystick.federation.arrays import Arrays
    from tallystick.ledger.terms import Terms
    from tallystick.tensors.spec import ModelSpec

__all__ = ["initial_arrays", "load_checked"]


def load_checked(
    path: str | Path, *, seed: int | None = None, rounds: int | None = None
) -> tuple[Cast, Terms]:
    """Return a task file's players, and the terms that they would approve.

    Raises
    ------
    ConfigError
        What is wrong, with line and key.
    """
    cast = load_cast(path, seed=seed, rounds=rounds)
    try:
        terms = resolve_terms(
            cast.task,
            owner=owner_of(cast.task, cast.members),
            members=cast.members,
            model=_model(cast),
            trial=True,
        )
    except ConfigError as error:
        raise located(path, error) from error
    return cast, terms


def initial_arrays(cast: Cast) -> Arrays | None:
    """Return what a simulation starts from: the cast's own, or else the first trainer's.

    `None` when neither says.
    """
    initial = cast.initial
    if initial is None:
        maker = getattr(as_trainer(cast.sites[cast.members[0]]), "initial_parameters", None)
        if not callable(maker):
            return None
        initial = maker()
    return as_arrays(initial)


def _model(cast: Cast) -> ModelSpec | None:
    arrays = initial_arrays(cast)
    return None if arrays is None else spec_of(arrays)
