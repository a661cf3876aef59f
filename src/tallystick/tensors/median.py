"""The coordinate median of rows by a sorting network: whole rows meet, never single values.

A network of compare-exchanges has no data-dependent branch, so it runs as elementwise minima and
maxima; only the exchanges that the middle depends on are kept.

References
----------
Batcher, "Sorting networks and their applications", 1968; Knuth, The Art of Computer Programming,
volume 3, 5.2.2, algorithm M.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tallystick.errors import InvariantError
from tallystick.tensors.arithmetic import Rows
from tallystick.tensors.dtypes import Array

__all__ = ["median_rows"]


def median_rows(rows: Rows) -> Array:
    """Return the median of each column, int64 of shape (d,).

    Parameters
    ----------
    rows
        n int32 vectors of shape (d,), n at least 1.

    Raises
    ------
    InvariantError
        There is no row.

    Notes
    -----
    Of an even number of rows it is the floor of the average of the two middle values.
    """
    count = len(rows)
    if not count:
        msg = "the median of no rows"
        raise InvariantError(msg)
    lanes = [row.copy() for row in rows]
    spare = np.empty_like(lanes[0])
    for low, high in _exchanges(count):
        np.minimum(lanes[low], lanes[high], out=spare)
        np.maximum(lanes[low], lanes[high], out=lanes[high])
        lanes[low], spare = spare, lanes[low]
    middle = lanes[count // 2].astype(np.int64)
    if count % 2 == 0:
        middle += lanes[count // 2 - 1]
        middle >>= np.int64(1)
    return middle


@lru_cache(maxsize=256)
def _exchanges(count: int) -> tuple[tuple[int, int], ...]:
    """Return the exchanges that bring the middle of ``count`` lanes into place, in order."""
    needed = {count // 2, (count - 1) // 2}
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
