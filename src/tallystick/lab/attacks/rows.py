"""Updates as rows of numbers: what attacks that reckon with several updates share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.federation.arrays import Arrays

__all__ = [
    "add_update",
    "arrays_of",
    "disguise",
    "disguised",
    "rows_of",
    "scaled_update",
    "update_of",
]

NEAR = 1e-3  # of an update's length
MOST_STEPS = 2**31 - 1  # what an update may change an integer tensor by


def update_of(trained: Arrays, parent: Arrays) -> Arrays:
    """Return the difference of two models, in float64."""
    return {name: trained[name].astype(np.float64) - parent[name] for name in parent}


def add_update(parent: Arrays, update: Arrays) -> Arrays:
    """Return ``parent`` moved by ``update``, in its own dtypes.

    Whole numbers are rounded to (ties to even) and stay within their dtype; where a float leaves
    its own it becomes infinite, which the member cannot submit.
    """
    moved: Arrays = {}
    for name, array in parent.items():
        if array.dtype.kind in "iu":
            steps = np.rint(np.clip(update[name], -MOST_STEPS, MOST_STEPS)).astype(np.int64)
            limits = np.iinfo(array.dtype)
            exact = np.clip(array.astype(np.int64) + steps, limits.min, limits.max)
        else:
            exact = array.astype(np.float64) + update[name]
        with np.errstate(over="ignore"):
            moved[name] = np.asarray(exact).astype(array.dtype)
    return moved


def scaled_update(trained: Arrays, parent: Arrays, factor: float) -> Arrays:
    """Return ``parent`` moved by ``factor`` times what training moved it by."""
    change = update_of(trained, parent)
    return add_update(parent, {name: factor * part for name, part in change.items()})


def rows_of(updates: Iterable[Arrays]) -> np.ndarray:
    """Return updates as float64 of shape (n, d), tensors in name order; (0, 0) of none."""
    rows = [
        np.concatenate([np.ravel(update[name]) for name in sorted(update)]).astype(np.float64)
        for update in updates
    ]
    return np.stack(rows) if rows else np.zeros((0, 0))


def arrays_of(row: np.ndarray, like: Arrays) -> Arrays:
    """Return a row of shape (d,) as an update of a model with the shapes of ``like``."""
    names = sorted(like)
    cuts = np.cumsum([like[name].size for name in names])[:-1]
    parts = np.split(row, cuts)
    return {name: part.reshape(like[name].shape) for name, part in zip(names, parts, strict=True)}


def disguise(row: np.ndarray, generator: np.random.Generator, size: float = NEAR) -> np.ndarray:
    """Return ``row`` moved in a random direction by ``size`` times its length.

    Colluders who send the same would be refused as copies of one another (reason 306); so little
    apart they pass, and do the same.
    """
    noise = generator.normal(size=row.shape)
    length = np.linalg.norm(noise)
    return row + noise * (size * np.linalg.norm(row) / length) if length else row


def disguised(
    parent: Arrays, row: np.ndarray, generator: np.random.Generator, size: float = NEAR
) -> Arrays:
    """Return ``parent`` moved by an update given as a row of shape (d,), disguised."""
    return add_update(parent, arrays_of(disguise(row, generator, size), parent))
