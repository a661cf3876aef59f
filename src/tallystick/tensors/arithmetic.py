"""Exact integer arithmetic on rows of updates, at the speed of floats where that is exact.

A sum of integers in float64 is exact in any order, with or without fused operations, as long as
every partial sum stays below 2^53; so BLAS may be used there, and only there. Beyond, values are
cut into 16-bit limbs or stay in int64. No result depends on the order of rows or on chunks.

Rows are int32 of shape (n, d); results that could leave 64 bits are Python integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from tallystick.errors import ConfigError, InvariantError
from tallystick.tensors.dtypes import Array

__all__ = [
    "HEADROOM",
    "Rows",
    "check_headroom",
    "cosine_ppm",
    "divide",
    "gram",
    "max_abs",
    "mean_rows",
    "mix_rows",
    "norm_of",
    "scale_rows",
    "squared_norms",
]

Rows: TypeAlias = "Sequence[Array] | Array"

HEADROOM = 2**62
BEYOND_INT32 = 2**31
EXACT = 2**53  # below it every integer is a float64
MIN_BLOCK = 512  # columns per exact block below which limbs are quicker
CACHED_COLUMNS = 1 << 15  # as many as stay in a cache in float64, for a dozen rows
GRAM_COLUMNS = 1 << 14  # fewer cost more calls than they save in a cache
UNTHREADED = 1 << 13  # a product so short stays in one BLAS thread: waiting for more costs more
MAX_COLUMNS = 1 << 18  # so many products of 22 bits fit into int64, of limbs into float64
NORM_GUARD_BITS = 32
PPM = 1_000_000


def check_headroom(largest: int, weight_total: int) -> None:
    """Check that weighted sums of values up to ``largest`` fit into 64 bits.

    Raises
    ------
    ConfigError
        ``largest · weight_total`` reaches 2^62.
    """
    if largest * weight_total >= HEADROOM:
        msg = f"updates up to {largest} with weights of {weight_total} in all exceed 2^62"
        raise ConfigError(msg, hint="lower the range of updates or the cap on weights")


def max_abs(rows: Array) -> int:
    """Return the largest absolute value; 0 of nothing."""
    return max(-int(rows.min()), int(rows.max()), 0) if rows.size else 0


def squared_norms(rows: Array, bound: int | None = None) -> tuple[int, ...]:
    """Return the exact squared length of each row; ``bound`` is a known limit of the values."""
    block = _block(bound if bound is not None else max_abs(rows), rows.shape[1])
    return tuple(_squared_norm(row, block) for row in rows)


def gram(rows: Rows, bound: int | None = None) -> list[list[int]]:
    """Return the exact products of all pairs of rows, shape (n, n).

    Parameters
    ----------
    rows
        n int32 vectors of shape (d,), n at least 1, d at most 2^18.
    bound
        A known limit of their absolute values; found when not given.
    """
    count, columns = len(rows), len(rows[0])
    if columns > MAX_COLUMNS:
        msg = f"a Gram matrix takes {MAX_COLUMNS} columns at a time, not {columns}"
        raise InvariantError(msg)
    block = _block(bound if bound is not None else max(map(max_abs, rows)), columns)
    if block:
        total = np.zeros((count, count), np.int64)
        for part in _pieces(rows, min(block, GRAM_COLUMNS)):
            total += (part @ part.T).astype(np.int64)
        return total.tolist()
    high, low = _limbs(np.stack(list(rows)))
    top, mixed, bottom = (
        (left @ right.T).astype(np.int64).astype(object)
        for left, right in ((high, high), (high, low), (low, low))
    )
    return ((top << 32) + ((mixed + mixed.T) << 16) + bottom).tolist()


def norm_of(squared: int) -> int:
    """Return the length whose square is ``squared``, in 2^-32 of a step, rounded down."""
    return math.isqrt(squared << (2 * NORM_GUARD_BITS))


def cosine_ppm(product: int, squared_left: int, squared_right: int) -> int:
    """Return the cosine in parts per million, rounded up; 0 when a vector is zero.

    Rounding up keeps comparison exact: the result is at most an integer t exactly when the
    cosine is.
    """
    if not product or not squared_left or not squared_right:
        return 0
    numerator, denominator = (product * PPM) ** 2, squared_left * squared_right
    if product < 0:
        return -math.isqrt(numerator // denominator)
    return math.isqrt(-(-numerator // denominator) - 1) + 1


def scale_rows(rows: Rows, scales: Sequence[int], bits: int) -> list[Array]:
    """Return ``floor((scale · row + half) / 2^bits)`` per row, int32, in which results have to fit.

    Ties go up. Rows whose scale is 2^bits come back as they are.
    """
    half, shift = np.int64(1 << (bits - 1)), np.int64(bits)
    return [
        row
        if scale == 1 << bits
        else ((row.astype(np.int64) * np.int64(scale) + half) >> shift).astype(np.int32)
        for row, scale in zip(rows, scales, strict=True)
    ]


def mean_rows(rows: Rows, weights: Sequence[int], divisor: int, bound: int | None = None) -> Array:
    """Return ``floor((Σ weight · row + divisor // 2) / divisor)``, int64 of shape (d,).

    Parameters
    ----------
    rows
        n int32 vectors of shape (d,), n at least 1.
    weights, divisor
        Integers from 0, and a positive one. A factor common to all cancels exactly, rounding
        included.
    bound
        A known limit: the sum of ``weight · |row|`` nowhere exceeds ``bound · divisor``. Found when
        not given.

    Raises
    ------
    InvariantError
        The sum could leave 2^62: the terms should have refused such weights.

    Notes
    -----
    Rounds to the nearest integer, ties up. Rows of weight 0 are not read. Sums run in int32,
    float64 or int64, whichever is the quickest that is exact for these values.
    """
    common = math.gcd(divisor, *weights)
    factors, divisor = [weight // common for weight in weights], divisor // common
    if bound is None:
        reach = max(map(max_abs, rows)) * sum(factors) + 2 * divisor
    else:
        reach = bound * divisor + 2 * divisor
    if reach >= HEADROOM:
        msg = f"a weighted sum of {len(factors)} rows could reach 2^62"
        raise InvariantError(msg)
    used = [row for row, factor in zip(rows, factors, strict=True) if factor] or [rows[0]]
    factors = [factor for factor in factors if factor] or [0]
    if all(factor == 1 for factor in factors):
        narrow = reach < BEYOND_INT32 and len(used) > 1
        return divide(_plain_sum(used, np.int32 if narrow else np.int64), divisor)
    if reach >= EXACT:
        total = np.zeros(len(rows[0]), np.int64)
        for row, factor in zip(used, factors, strict=True):
            total += row.astype(np.int64) * np.int64(factor)
        return divide(total, divisor)
    return _weighted_means(used, np.asarray([factors], np.float64), divisor)[0]


def mix_rows(
    rows: Rows, matrix: Sequence[Sequence[int]], divisor: int, bound: int | None = None
) -> list[Array]:
    """Return one mean of the rows per line of ``matrix``, each as `mean_rows` rounds it, int32.

    Parameters
    ----------
    rows
        n int32 vectors of shape (d,), n at least 1.
    matrix, divisor
        Lines of n integers from 0, none with a sum above the divisor: so no mean leaves int32.
    bound
        A known limit of the rows' absolute values; found when not given.

    Raises
    ------
    InvariantError
        A sum could leave 2^62.
    """
    limit = bound if bound is not None else max(map(max_abs, rows))
    if limit * divisor + 2 * divisor < EXACT:
        mixed = _weighted_means(rows, np.asarray(matrix, np.float64), divisor)
    else:
        mixed = np.stack([mean_rows(rows, line, divisor, limit) for line in matrix])
    return list(mixed.astype(np.int32))


def divide(total: Array, divisor: int) -> Array:
    """Return ``floor((total + divisor // 2) / divisor)``, int64; ``total`` is overwritten."""
    if divisor > 1:
        np.add(total, total.dtype.type(divisor // 2), out=total)
        np.floor_divide(total, total.dtype.type(divisor), out=total)
    return total.astype(np.int64, copy=False)


def _weighted_means(rows: Rows, factors: Array, divisor: int) -> Array:
    """Return the rounded mean per line of factors, where every partial sum is below 2^53."""
    result = np.empty((len(factors), len(rows[0])), np.int64)
    start = 0
    for part in _pieces(rows, CACHED_COLUMNS):
        sums = factors @ part
        # Correctly rounded, a/D reaches no integer it is not, since |a| + D < 2^53.
        np.add(sums, float(divisor // 2), out=sums)
        np.divide(sums, float(divisor), out=sums)
        stop = start + part.shape[1]
        np.copyto(result[:, start:stop], np.floor(sums, out=sums), casting="unsafe")
        start = stop
    return result


def _pieces(rows: Rows, step: int) -> Iterator[Array]:
    """Yield the rows in float64, ``step`` columns at a time, in one buffer."""
    columns = len(rows[0])
    values = np.empty((len(rows), min(columns, step)))
    for start in range(0, columns, step):
        part = values[:, : min(step, columns - start)]
        for value, row in zip(part, rows, strict=True):
            np.copyto(value, row[start : start + step])
        yield part


def _plain_sum(rows: Rows, kind: type[np.int32 | np.int64]) -> Array:
    total = rows[0].astype(kind)
    for row in rows[1:]:
        np.add(total, row, out=total)
    return total


def _block(bound: int, columns: int) -> int:
    """Return how many products of such values float64 sums exactly; 0 where limbs are quicker."""
    fits = EXACT >> (2 * bound.bit_length())
    if fits >= columns:
        return max(columns, 1)
    return fits if fits >= MIN_BLOCK else 0


def _squared_norm(row: Array, block: int) -> int:
    if block:
        block = min(block, UNTHREADED)
        values = row.astype(np.float64)
        whole = len(values) - len(values) % block
        parts = values[:whole].reshape(-1, block)
        rest = values[whole:]
        return sum(map(int, np.vecdot(parts, parts).tolist())) + int(np.vdot(rest, rest))
    total = 0
    for start in range(0, len(row), MAX_COLUMNS):
        high, low = _limbs(row[start : start + MAX_COLUMNS])
        total += (int(high @ high) << 32) + (int(high @ low) << 17) + int(low @ low)
    return total


def _limbs(rows: Array) -> tuple[Array, Array]:
    """Return values as ``high · 2^16 + low``, ``low`` from 0 to 65,535, in float64."""
    high = rows >> np.int32(16)
    low = rows & np.int32(0xFFFF)
    return high.astype(np.float64), low.astype(np.float64)
