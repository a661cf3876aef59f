"""Off the ledger: the table that turns Renyi bounds into an epsilon, and how much noise it takes.

Both are computed when a task is made and travel in its terms as integers; nothing here runs on the
ledger. A member computes the table again before it enrols its data (see `understates`).
"""

from __future__ import annotations

import math
from functools import lru_cache

from tallystick.errors import ConfigError
from tallystick.mechanisms.theory.rdp import ORDERS, UNBOUNDED, Vector, epsilon_of, gaussian

__all__ = ["conversion_table", "noise_multiplier_for", "understates"]

NANOS, PICOS = 10**9, 10**12
MOST_NOISE_MILLIS = 10**9
FLOAT_NANOS = 1  # far above what the logarithms' own rounding amounts to


@lru_cache(maxsize=64)
def conversion_table(delta_picos: int) -> Vector:
    """Return the constant of each order, in billionths, for one delta.

    Parameters
    ----------
    delta_picos
        Delta in units of 10^-12, between 1 and 10^12 - 1.

    Raises
    ------
    ConfigError
        Not a delta.

    Notes
    -----
    ``log((order - 1) / order) - (log(delta) + log(order)) / (order - 1)``, rounded up to the next
    billionth but one, which covers the error of float64.

    References
    ----------
    Canonne, Kamath, Steinke, NeurIPS 2020, proposition 12. arXiv:2004.00010.

    Examples
    --------
    >>> conversion_table(10**8)[ORDERS.index(20)]
    7824046012
    """
    if not 0 < delta_picos < PICOS:
        msg = f"delta = {delta_picos / PICOS:g}: above 0 and below 1"
        raise ConfigError(msg)
    constants: list[int] = []
    for tenths in ORDERS:
        order = tenths / 10
        log_delta = math.log(delta_picos) - math.log(PICOS)
        exact = math.log1p(-1 / order) - (log_delta + math.log(order)) / (order - 1)
        constants.append(math.ceil(exact * NANOS) + FLOAT_NANOS)
    return tuple(constants)


def noise_multiplier_for(
    epsilon_nanos: int, delta_picos: int, releases: int, sensitivity: int
) -> int:
    """Return the least noise multiplier, in thousandths, under which so many releases are allowed.

    Counted in the ledger's own integers, so what it allows is what the ledger will accept.

    Raises
    ------
    ConfigError
        No noise up to a million clipping norms is enough.

    Examples
    --------
    >>> noise_multiplier_for(8 * 10**9, 10**8, releases=60, sensitivity=1)
    4507
    """
    table = conversion_table(delta_picos)

    def spends(millis: int) -> int:
        cost = gaussian(millis, sensitivity)
        total = tuple(min(releases * each, UNBOUNDED) for each in cost)
        return epsilon_of(total, table)

    low, high = 0, MOST_NOISE_MILLIS
    if spends(high) > epsilon_nanos:
        msg = f"epsilon = {epsilon_nanos / NANOS:g} is out of reach with {releases} releases"
        raise ConfigError(msg, hint="raise epsilon or delta, or plan for fewer rounds")
    while high - low > 1:
        middle = (low + high) // 2
        if spends(middle) > epsilon_nanos:
            low = middle
        else:
            high = middle
    return high


def understates(table: Vector, delta_picos: int) -> bool:
    """Whether ``table`` would report less epsilon than was spent; one of another length does.

    Two machines' logarithms may differ in the last billionth: so much is forgiven.
    """
    own = conversion_table(delta_picos)
    return len(table) != len(own) or any(
        given < needed - FLOAT_NANOS for given, needed in zip(table, own, strict=True)
    )
