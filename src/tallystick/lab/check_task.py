"""What a task file comes to: the terms its members would approve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.errors import ConfigError
from tallystick.federation.arrays import as_arrays
from tallystick.federation.locate import located
from tallystick.federation.task_file import resolve_terms
from tallystick.federation.trainer import as_trainer
from tallystick.lab.simulate_table import Cast, load_cast
from tallystick.tensors.model import spec_of

if TYPE_CHECKING:
    from tallystick.ledger.terms import Terms
    from tallystick.tensors.spec import ModelSpec

__all__ = ["load_checked"]


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
            owner=cast.members[0],
            members=cast.members,
            model=_model(cast.initial, cast.sites[cast.members[0]]),
            trial=True,
        )
    except ConfigError as error:
        raise located(path, error) from error
    return cast, terms


def _model(initial: object, first: object) -> ModelSpec | None:
    """Return the model a simulation would start from."""
    if initial is None:
        maker = getattr(as_trainer(first), "initial_parameters", None)
        if not callable(maker):
            return None
        initial = maker()
    return spec_of(as_arrays(initial))
