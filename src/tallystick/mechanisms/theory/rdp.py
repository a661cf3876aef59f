"""The accountant: privacy spent as integers, so that a ledger only adds and takes a minimum.

What a mechanism costs is a vector: its Renyi divergence bound at each of `ORDERS`, in billionths,
rounded up. Costs of several releases add up, order by order. A *table* turns a sum into an epsilon:
one constant for each order, computed off the ledger for a fixed delta
(`tallystick.mechanisms.theory.calibration`) and part of the terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tallystick.codec import MAX_U63

__all__ = ["ORDERS", "UNBOUNDED", "Charge", "Vector", "compose", "epsilon_of", "gaussian", "pure"]

Vector = tuple[int, ...]

# Tenths, each about an eighth above the one before; fixed, so that tasks can share a budget.
ORDERS: Vector = (
    *(11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26, 28, 30, 33, 36, 40, 45, 50, 55, 60),
    *(70, 80, 90, 100, 110, 120, 140, 160, 180, 200, 240, 280, 320, 400, 480, 640, 800, 1000),
    *(1280, 2560, 5120, 10240),
)
UNBOUNDED = MAX_U63  # no bound is known at this order; sums stay there
NANOS = 10**9


@dataclass(frozen=True, slots=True)
class Charge:
    """What one record of a stage costs its author's data set.

    Attributes
    ----------
    rdp
        A bound at each of `ORDERS`, billionths.
    delta_picos
        The delta that ``table`` is for, in units of 10^-12.
    table
        The constant to add at each of `ORDERS`, billionths; see `epsilon_of`.
    """

    rdp: Vector
    delta_picos: int
    table: Vector


@lru_cache(maxsize=256)
def gaussian(noise_multiplier_millis: int, sensitivity: int) -> Vector:
    """Return what one release with Gaussian noise costs, at each of `ORDERS`, in billionths.

    Parameters
    ----------
    noise_multiplier_millis
        Standard deviation of the noise in thousandths of the clipping norm. At least 1.
    sensitivity
        How many clipping norms two neighbours can be apart: 1 or 2.

    Notes
    -----
    ``order * sensitivity^2 / (2 * noise_multiplier^2)``, exact, rounded up once. The same bound
    holds after any rounding of what was released.

    References
    ----------
    Mironov, CSF 2017, proposition 7. arXiv:1702.07476.

    Examples
    --------
    >>> gaussian(4_000, 1)[ORDERS.index(20)]
    62500000
    """
    square = noise_multiplier_millis**2
    scale = sensitivity**2 * NANOS * 10**6
    return tuple(_up(min(order * scale, UNBOUNDED * 20 * square), 20 * square) for order in ORDERS)


def pure(epsilon_nanos: int) -> Vector:
    """Return what one release under pure epsilon costs, at each of `ORDERS`, in billionths.

    Notes
    -----
    The smaller of epsilon and ``order * epsilon^2 / 2``, rounded up.

    References
    ----------
    Bun and Steinke, TCC 2016, proposition 3.3. arXiv:1605.02065.

    Examples
    --------
    >>> pure(10**9)[0], pure(10**9)[-1]
    (550000000, 1000000000)
    """
    square = epsilon_nanos**2
    return tuple(min(epsilon_nanos, _up(order * square, 20 * NANOS)) for order in ORDERS)


def compose(spent: Vector, added: Vector) -> Vector:
    """Return the cost of both together: the sum at each order, or `UNBOUNDED` beyond 63 bits.

    References
    ----------
    Mironov, CSF 2017, proposition 1. arXiv:1702.07476.

    Examples
    --------
    >>> compose((1, UNBOUNDED), (2, 3)) == (3, UNBOUNDED)
    True
    """
    return tuple(min(a + b, UNBOUNDED) for a, b in zip(spent, added, strict=True))


def epsilon_of(spent: Vector, table: Vector) -> int:
    """Return the epsilon that ``spent`` comes to, in billionths; 0 if nothing was spent.

    Parameters
    ----------
    spent
        Sums at each of `ORDERS`.
    table
        The constant of each order for one delta.

    Examples
    --------
    >>> epsilon_of((0, 0), (5, 6)), epsilon_of((10, 8), (5, 6)), epsilon_of((1, 8), (-9, 6))
    (0, 14, 0)
    """
    if not any(spent):
        return 0
    pairs = zip(spent, table, strict=True)
    return max(0, min((a + b for a, b in pairs if a < UNBOUNDED), default=UNBOUNDED))


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
