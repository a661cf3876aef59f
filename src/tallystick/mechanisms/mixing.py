"""Rules that mix updates before another rule combines them: whatever that rule is."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from tallystick.errors import InvariantError
from tallystick.mechanisms.registry import make_rule, rule_class
from tallystick.tensors.arithmetic import mix_rows

if TYPE_CHECKING:
    from tallystick.mechanisms.aggregation import (
        Aggregation,
        Geometry,
        Mixing,
        Row,
        Rows,
        Weights,
    )

__all__ = ["AFTER", "check_after", "combine_mixed", "weigh_mixed"]

AFTER = (
    "aggregate/geometric-median/1",
    "aggregate/krum/1",
    "aggregate/mean-around-median/1",
    "aggregate/mean/1",
    "aggregate/median/1",
    "aggregate/multi-krum/1",
    "aggregate/trimmed-mean/1",
)


def check_after(rule_id: str) -> None:
    """Refuse a rule that cannot work on mixtures; for a rule's ``__post_init__``.

    Raises
    ------
    ValueError
        It is none of `AFTER`.
    """
    if rule_id not in AFTER:
        msg = f"then is one of {', '.join(AFTER)}, not {rule_id}"
        raise ValueError(msg)


def weigh_mixed(rule_id: str, f: int, geometry: Geometry, mixing: Mixing) -> Weights:
    """Return what the rule ``rule_id`` makes of the mixtures, each of which counts once.

    Parameters
    ----------
    f
        For the rule, where it has such a parameter.

    Raises
    ------
    NotEnoughUpdatesError
        There are fewer mixtures than the rule needs.
    """
    mixed = replace(geometry, mixing=mixing)
    weights = _rule(rule_id, f).weigh(mixed, (1,) * len(mixing.matrix))
    return replace(weights, mixing=mixing)


def combine_mixed(rule_id: str, f: int, rows: Rows, weights: Weights) -> Row:
    """Return the rule's combination of the mixtures; of those without a factor none is made."""
    mixing = weights.mixing
    if mixing is None:
        msg = "there are no mixtures to combine"
        raise InvariantError(msg)
    used = [line for line, factor in zip(mixing.matrix, weights.factors, strict=True) if factor]
    mixed = mix_rows(rows, used, mixing.divisor, weights.bound)
    factors = tuple(factor for factor in weights.factors if factor)
    return _rule(rule_id, f).combine(mixed, replace(weights, factors=factors, mixing=None))


def _rule(rule_id: str, f: int) -> Aggregation:
    kind = rule_class(rule_id)
    fields = dataclasses.fields(kind)  # pyright: ignore[reportArgumentType]
    takes_f = any(field.name == "f" for field in fields)
    return cast("Aggregation", make_rule(rule_id, {"f": f} if takes_f else {}))
