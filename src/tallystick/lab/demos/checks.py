"""Checks: a measured value against a bound, and a sentence that says what that is.

Whether a check holds is computed from what was measured; there is no way to state it.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "Check",
    "Value",
    "at_least",
    "at_most",
    "holds",
    "mean_and_worst",
    "rounded",
    "same",
    "worst_of",
]

Value: TypeAlias = "float | str | bool | None"

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Check:
    """``measured op bound``, under a stable id.

    Attributes
    ----------
    measured
        What was found; `None` when there was nothing to measure, which fails.
    says
        One sentence for people.
    """

    id: str
    measured: Value
    op: str
    bound: Value
    says: str

    @property
    def ok(self) -> bool:
        """Whether the bound holds; what is missing or not a number fails."""
        if self.measured is None or (
            isinstance(self.measured, float) and math.isnan(self.measured)
        ):
            return False
        return OPERATORS[self.op](self.measured, self.bound)

    def to_json(self) -> dict[str, Any]:
        """Return it as the command line prints it."""
        return {
            "id": self.id,
            "ok": self.ok,
            "measured": shown(self.measured),
            "op": self.op,
            "bound": shown(self.bound),
            "says": self.says,
        }


def at_most(name: str, measured: Value, bound: float, says: str) -> Check:
    """Return a check that ``measured`` does not exceed ``bound``."""
    return Check(name, measured, "<=", bound, says)


def at_least(name: str, measured: Value, bound: float, says: str) -> Check:
    """Return a check that ``measured`` reaches ``bound``."""
    return Check(name, measured, ">=", bound, says)


def same(name: str, measured: Value, expected: Value, says: str) -> Check:
    """Return a check that ``measured`` is exactly what is expected."""
    return Check(name, measured, "==", expected, says)


def holds(name: str, fact: Value, says: str) -> Check:
    """Return a check that something is so."""
    return Check(name, fact, "==", bound=True, says=says)


def mean_and_worst(
    name: str,
    values: Sequence[float],
    says: str,
    *,
    mean: float | None = None,
    worst: float | None = None,
    high: bool = True,
) -> Iterable[Check]:
    """Yield checks of the mean and of the worst seed, ids ending in ``-mean`` and ``-worst``.

    Parameters
    ----------
    mean, worst
        The bounds; one that is `None` is not promised.
    high
        Whether large values are good.
    """
    make = at_least if high else at_most
    if mean is not None:
        found = sum(values) / len(values) if values else None
        yield make(f"{name}-mean", rounded(found), mean, f"{says}: mean of {len(values)} seeds.")
    if worst is not None:
        extreme = (min if high else max)(values, default=None)
        yield make(f"{name}-worst", rounded(extreme), worst, f"{says}: the worst seed.")


def worst_of(runs: Sequence[Sequence[Check]]) -> list[Check]:
    """Return one check of each id: the one that fails, or else the one that is nearest to it.

    Parameters
    ----------
    runs
        The same checks, in the same order, of several seeds.
    """
    return [min(each, key=_distance) for each in zip(*runs, strict=True)]


def _distance(check: Check) -> tuple[bool, float]:
    """Return how far a check is from failing; only numbers are more or less far."""
    measured, bound = check.measured, check.bound
    if not isinstance(measured, int | float) or not isinstance(bound, int | float):
        return check.ok, 0.0
    return check.ok, abs(float(measured) - float(bound))


@overload
def rounded(value: float) -> float: ...
@overload
def rounded(value: None) -> None: ...
@overload
def rounded(value: float | None) -> float | None: ...
def rounded(value: float | None) -> float | None:
    """Drop what a sum of floats leaves behind the ninth decimal."""
    return None if value is None else round(value, 9)


def shown(value: Value) -> Value:
    """Return a value as JSON has it: numbers that are not finite become `None`."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
