"""How a table's rows fall to the members: evenly, or as unlike as real sites are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.lab.datasets import Table

__all__ = ["MIN_ROWS", "partition"]

MIN_ROWS = 4  # what every member holds at least
QUANTILE_BINS = 10  # a regression's target, cut into as many equal parts, stands in for classes
HINT = "iid, or dirichlet:A with A above 0 (0.5 is usual; smaller is more uneven)"


def partition(train: Table, members: Sequence[str], kind: str, seed: int) -> dict[str, Table]:
    """Return each member's rows; every row falls to exactly one member.

    Parameters
    ----------
    kind
        ``iid``: shuffled and cut into parts whose sizes differ by one at most. ``dirichlet:A``: of
        each class, members get shares drawn from a symmetric Dirichlet distribution with
        concentration A (of each tenth of the target, for a regression). Then the largest members
        hand over rows until everybody has `MIN_ROWS`.

    Raises
    ------
    ConfigError
        Unknown kind, no member, a name given twice, or fewer than `MIN_ROWS` rows for each.

    References
    ----------
    Hsu, Qi, Brown, 2019. arXiv:1909.06335.
    """
    alpha = _alpha_of(kind)
    count = len(members)
    if not count or len(set(members)) != count:
        msg = "a partition needs at least one member, and each only once"
        raise ConfigError(msg)
    if len(train) < MIN_ROWS * count:
        msg = f"{len(train)} rows of '{train.name}' are too few for {count} members"
        raise ConfigError(msg, hint=f"each gets at least {MIN_ROWS}: use fewer members")
    generator = np.random.default_rng([seed, 2])
    if alpha is None:
        parts = np.array_split(generator.permutation(len(train)), count)
    else:
        parts = _even_out(_draw(_groups_of(train), count, alpha, generator))
    return {member: train.rows(np.sort(part)) for member, part in zip(members, parts, strict=True)}


def _alpha_of(kind: str) -> float | None:
    """Return a Dirichlet partition's concentration, `None` for IID."""
    name, _, text = kind.partition(":")
    if kind == "iid":
        return None
    try:
        alpha = float(text)
    except ValueError:
        alpha = 0.0
    if name != "dirichlet" or not 0 < alpha < np.inf:
        msg = f"unknown partition '{kind}'"
        raise ConfigError(msg, hint=HINT)
    return alpha


def _groups_of(train: Table) -> np.ndarray:
    if train.classes is not None:
        return train.y
    inner = np.quantile(train.y, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1])
    return np.searchsorted(inner, train.y)


def _draw(
    groups: np.ndarray, count: int, alpha: float, generator: np.random.Generator
) -> list[np.ndarray]:
    """Deal each group's rows by shares of its own."""
    parts: list[list[np.ndarray]] = [[] for _ in range(count)]
    for group in np.unique(groups):
        index = generator.permutation(np.flatnonzero(groups == group))
        shares = generator.dirichlet(np.full(count, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(index)).astype(np.int64)
        for part, dealt in zip(parts, np.split(index, cuts), strict=True):
            part.append(dealt)
    return [generator.permutation(np.concatenate(part)) for part in parts]


def _even_out(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Let the largest part hand over its last row until each has `MIN_ROWS`."""
    for poor in range(len(parts)):
        while len(parts[poor]) < MIN_ROWS:
            rich = max(range(len(parts)), key=lambda index: len(parts[index]))
            parts[poor] = np.append(parts[poor], parts[rich][-1])
            parts[rich] = parts[rich][:-1]
    return parts
