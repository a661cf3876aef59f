"""Order statistics of each column by a sorting network: whole rows meet, never single values.

A network of compare-exchanges has no data-dependent branch, so it runs as elementwise minima and
maxima; only the exchanges that the wanted lanes depend on are kept.

References
----------
Batcher, "Sorting networks and their applications", 1968; Knuth, The Art of Computer Programming,
volume 3, 5.2.2, algorithm M.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tallystick.errors import InvariantError
from tallystick.tensors.arithmetic import Rows, divide, mean_rows
from tallystick.tensors.dtypes import Array

__all__ = ["around_median_rows", "median_rows", "sorted_rows", "trimmed_mean_rows"]


def sorted_rows(rows: Rows, first: int, last: int) -> list[Array]:
    """Return the ``first`` to ``last`` lowest values of each column, both included, from 0 on.

    Parameters
    ----------
    rows
        n int32 vectors of shape (d,), n above ``last``.

    Raises
    ------
    InvariantError
        There are not so many rows.

    Notes
    -----
    O(n log² n · d) time; the rows are copied.
    """
    if not 0 <= first <= last < len(rows):
        msg = f"values {first} to {last} of {len(rows)} rows"
        raise InvariantError(msg)
    lanes = [row.copy() for row in rows]
    spare = np.empty_like(lanes[0])
    for low, high in _exchanges(len(rows), first, last):
        np.minimum(lanes[low], lanes[high], out=spare)
        np.maximum(lanes[low], lanes[high], out=lanes[high])
        lanes[low], spare = spare, lanes[low]
    return lanes[first : last + 1]


def median_rows(rows: Rows) -> Array:
    """Return the median of each column, int64 of shape (d,); n is at least 1.

    Notes
    -----
    Of an even number of rows it is the floor of the average of the two middle values.
    """
    count = len(rows)
    lanes = sorted_rows(rows, (count - 1) // 2, count // 2)
    middle = lanes[-1].astype(np.int64)
    if len(lanes) > 1:
        middle += lanes[0]
        middle >>= np.int64(1)
    return middle


def trimmed_mean_rows(rows: Rows, trim: int) -> Array:
    """Return the mean of each column without its ``trim`` lowest and highest values, int64.

    Notes
    -----
    n is at least ``2 · trim + 1``. Rounds to the nearest integer, ties up.
    """
    kept = sorted_rows(rows, trim, len(rows) - trim - 1)
    return mean_rows(kept, [1] * len(kept), len(kept))


def around_median_rows(rows: Rows, drop: int) -> Array:
    """Return the mean of each column without the ``drop`` values furthest from its median, int64.

    Notes
    -----
    n is above ``drop``. Of two values equally far the higher one goes. Distances are exact also
    where the median is the average of two values. Rounds to the nearest integer, ties up.
    """
    lanes = [row.astype(np.int64) for row in sorted_rows(rows, 0, len(rows) - 1)]
    count, kept = len(lanes), len(lanes) - drop
    middles = lanes[(count - 1) // 2] + lanes[count // 2]
    total = np.sum(lanes[:kept], axis=0)
    for low, high in zip(lanes[:drop], lanes[kept:], strict=True):
        # The kept values are a run of the sorted ones; it moves up while the next one is closer.
        total += np.where(low + high < middles, high - low, np.int64(0))
    return divide(total, kept)


@lru_cache(maxsize=256)
def _exchanges(count: int, first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Return the exchanges that bring lanes ``first`` to ``last`` into place, in order."""
    needed = set(range(first, last + 1))
    kept: list[tuple[int, int]] = []
    for low, high in reversed(_sorting_network(count)):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return tuple(reversed(kept))


def _sorting_network(count: int) -> list[tuple[int, int]]:
    """Return Batcher's merge exchange for any ``count``."""
    exchanges: list[tuple[int, int]] = []
    top = 1 << max((count - 1).bit_length() - 1, 0)
    stride = top
    while stride:
        width, offset, gap = top, 0, stride
        while True:
            exchanges += [(i, i + gap) for i in range(count - gap) if i & stride == offset]
            if width == stride:
                break
            gap, width, offset = width - stride, width >> 1, stride
        stride >>= 1
    return exchanges
