"""Exact geometry from a Gram matrix alone: distances, mixtures, shares of a combination.

Everything is a Python integer, so nothing is rounded but where a name says so. The unit is the one
the products are in: squares of the finest step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

__all__ = [
    "SHARE_BITS",
    "Gram",
    "mixed_products",
    "nearest",
    "shares_of",
    "squared_distances",
    "squared_distances_to",
]

Gram: TypeAlias = Sequence[Sequence[int]]

SHARE_BITS = 30  # a whole of 2^30 times a 32-bit value stays below 2^62


def squared_distances(products: Gram) -> list[list[int]]:
    """Return the squared distance of each pair of rows, shape (n, n).

    Examples
    --------
    >>> squared_distances([[25, 0], [0, 4]])
    [[0, 29], [29, 0]]
    """
    own = [line[at] for at, line in enumerate(products)]
    return [
        [own[a] + own[b] - 2 * product for b, product in enumerate(line)]
        for a, line in enumerate(products)
    ]


def squared_distances_to(products: Gram, parts: Sequence[int], whole: int) -> list[int]:
    """Return each row's squared distance to ``Σ part · row / whole``, times ``whole²``.

    Parameters
    ----------
    products
        Of n rows.
    parts, whole
        n integers, and what they are parts of; a part that is missing counts for a row of zeros.
    """
    towards = [
        sum(part * product for part, product in zip(parts, line, strict=True)) for line in products
    ]
    squared = sum(part * along for part, along in zip(parts, towards, strict=True))
    return [
        squared - 2 * whole * along + whole * whole * products[at][at]
        for at, along in enumerate(towards)
    ]


def nearest(distances: Sequence[int], count: int) -> list[int]:
    """Return the places of the ``count`` lowest distances, the lowest first; ties go by place."""
    return sorted(range(len(distances)), key=distances.__getitem__)[:count]


def mixed_products(products: Gram, matrix: Gram) -> tuple[tuple[int, ...], ...]:
    """Return the products of the mixtures ``Σ matrix[k][i] · row i``, shape (k, k)."""
    half = [
        [
            sum(part * product for part, product in zip(line, column, strict=True) if part)
            for column in products  # symmetric: a line is a column
        ]
        for line in matrix
    ]
    return tuple(
        tuple(
            sum(part * product for part, product in zip(line, along, strict=True) if part)
            for line in matrix
        )
        for along in half
    )


def shares_of(parts: Sequence[int], whole: int) -> tuple[int, ...]:
    """Return ``floor(2^30 · part / whole)`` of each part."""
    return tuple((part << SHARE_BITS) // whole for part in parts)
