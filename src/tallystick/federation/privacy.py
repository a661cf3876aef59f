"""From the privacy somebody asks for to what the terms say, and back to what people read.

A task file's table ``[privacy]`` holds ``epsilon``, ``delta`` and ``clip`` (a clipping norm in the
parameters' unit), and perhaps ``rounds``: how many rounds epsilon has to last, all by default.
Every stage that costs privacy gets its integers from there; in a simulation every member's data set
gets a budget of that epsilon and delta.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

from tallystick.errors import ConfigError
from tallystick.federation.arrays import TrainerError
from tallystick.ledger.collect.recipe import plan_of
from tallystick.mechanisms.records import ROUND
from tallystick.mechanisms.registry import rule_class
from tallystick.mechanisms.theory.calibration import (
    conversion_table,
    noise_multiplier_for,
    understates,
)
from tallystick.mechanisms.theory.protection import ROW, SENSITIVITIES
from tallystick.mechanisms.theory.rdp import UNBOUNDED, epsilon_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tallystick.federation.recipes import Recipe
    from tallystick.federation.task_file import Task
    from tallystick.ledger.collect.recipe import Step
    from tallystick.ledger.terms import Terms

__all__ = [
    "Privacy",
    "Promise",
    "budget_amounts",
    "budget_of",
    "check_tables",
    "check_trainers",
    "promises",
    "with_privacy",
]

KEYS = ("epsilon", "delta", "clip", "rounds")
NANOS, PICOS, MICROS = 10**9, 10**12, 10**6
MOST = 10**6  # epsilon and clip: beyond, nothing is protected
TABLE, NOISE = "table", "noise_multiplier_millis"  # parameters by which a rule is known


@dataclass(frozen=True, slots=True)
class Privacy:
    """What a task file asks for, in integers, each rounded down.

    Attributes
    ----------
    rounds
        How many rounds epsilon has to last.
    """

    epsilon_nanos: int
    delta_picos: int
    clipping_norm_micros: int
    rounds: int

    @classmethod
    def parse(cls, table: object, rounds: int) -> Privacy:
        """Read the table.

        Raises
        ------
        ConfigError
            A key is unknown or missing, or its value makes no sense.
        """
        if not isinstance(table, dict):
            msg = "key 'privacy' is not a table"
            raise ConfigError(msg, hint="[privacy] with epsilon, delta and clip")
        given = cast("dict[str, object]", table)
        for key in given:
            if key not in KEYS:
                msg = f"unknown key '{key}' in [privacy]"
                raise ConfigError(msg, hint=f"known: {', '.join(KEYS)}")
        lasts = given.get("rounds", rounds)
        if not isinstance(lasts, int) or isinstance(lasts, bool) or lasts < 1:
            msg = f"key 'rounds' in [privacy] is {lasts!r}: a whole number of rounds"
            raise ConfigError(msg)
        return cls(
            _scaled(given, "epsilon", NANOS, MOST),
            _scaled(given, "delta", PICOS, 1),
            _scaled(given, "clip", MICROS, MOST),
            lasts,
        )


@dataclass(frozen=True, slots=True)
class Promise:
    """What a stage costs each data set if every round of the terms is charged.

    Attributes
    ----------
    charges
        How often a data set is charged at most.
    parameters
        The rule's, the table left out.
    """

    stage: str
    charges: int
    epsilon_nanos: int
    delta_picos: int
    parameters: Mapping[str, Any]


def with_privacy(recipe: Recipe, table: object, rounds: int) -> Recipe:
    """Return the recipe with the integers of its private stages filled in.

    What a stage's own table says counts before the task's. Noise is the least with which a data set
    whose budget is epsilon at delta lasts for the rounds asked for.

    Raises
    ------
    ConfigError
        A private stage and no ``[privacy]``, or the other way round; a table that makes no sense.
    """
    private = {name for name, each in recipe.tables.items() if TABLE in _parameters(each)}
    if not private and table is None:
        return recipe
    if not private:
        msg = f"key 'privacy': no stage of the recipe '{recipe.name}' costs any"
        raise ConfigError(msg)
    if table is None:
        msg = f"stage '{min(private)}' costs privacy, and the key 'privacy' is missing"
        raise ConfigError(msg, hint="add [privacy] with epsilon, delta and clip")
    wanted = Privacy.parse(table, rounds)
    releases = sum(
        wanted.rounds if name in recipe.lists["round"] else 1
        for name in private
        if NOISE in _parameters(recipe.tables[name])
    )
    tables = {
        name: _filled(name, each, wanted, releases) if name in private else each
        for name, each in recipe.tables.items()
    }
    return replace(recipe, tables=tables)


def budget_amounts(epsilon: float, delta: float) -> tuple[int, int]:
    """Return a budget as the ledger counts it: epsilon in billionths, delta in 10^-12.

    Raises
    ------
    ConfigError
        One of them is no such amount.
    """
    given = {"epsilon": epsilon, "delta": delta}
    return _scaled(given, "epsilon", NANOS, MOST), _scaled(given, "delta", PICOS, 1)


def budget_of(task: Task) -> tuple[int, int] | None:
    """Return epsilon and delta of the budget a simulation gives each data set; `None` without.

    Raises
    ------
    ConfigError
        The table makes no sense.
    """
    table = {**task.to_recipe().options, **task.options}.get("privacy")
    if table is None:
        return None
    wanted = Privacy.parse(table, task.rounds)
    return wanted.epsilon_nanos, wanted.delta_picos


def promises(terms: Terms) -> Iterator[Promise]:
    """Yield what the terms' stages cost a data set, in the order of the recipe."""
    for step in _private_steps(terms):
        charge = step.charge
        if charge is None:
            continue
        times = terms.rounds if step.phase == ROUND else 1
        spent = tuple(min(times * each, UNBOUNDED) for each in charge.rdp)
        parameters = dataclasses.asdict(cast("Any", step.rule))
        del parameters[TABLE]
        epsilon = epsilon_of(spent, charge.table)
        yield Promise(step.stage.name, times, epsilon, charge.delta_picos, parameters)


def check_tables(terms: Terms) -> None:
    """Check that the terms do not understate what is spent: a member does before it enrols data.

    Raises
    ------
    TrainerError
        Names the stage.
    """
    for step in _private_steps(terms):
        charge = step.charge
        if charge is not None and understates(charge.table, charge.delta_picos):
            msg = f"stage '{step.stage.name}' understates the epsilon it costs: not enrolled"
            raise TrainerError(msg)


def check_trainers(terms: Terms, trainers: Mapping[str, object]) -> None:
    """Check that trainers can do what private stages ask of them.

    Raises
    ------
    ConfigError
        Names the member and what its trainer lacks.
    """
    for step in _private_steps(terms):
        if getattr(step.rule, "unit", "") != ROW:
            continue
        for name, trainer in trainers.items():
            if not callable(getattr(trainer, "contributions", None)):
                where = f"stage '{step.stage.name}' protects rows"
                msg = f"{where}, and the trainer of '{name}' has no contributions()"
                raise ConfigError(msg, hint='give it one, or say unit = "update" in the stage')


def _private_steps(terms: Terms) -> Iterator[Step]:
    for phase in plan_of(terms).phases:
        yield from (step for step in phase if step.charge is not None)


def _parameters(table: Mapping[str, Any]) -> set[str]:
    rule = table.get("rule")
    if not isinstance(rule, str):
        return set()
    return {field.name for field in dataclasses.fields(cast("Any", rule_class(rule)))}


def _filled(name: str, table: Mapping[str, Any], wanted: Privacy, releases: int) -> dict[str, Any]:
    delta = table.get("delta_picos", wanted.delta_picos)
    adjacency = table.get("adjacency", "zero-out")
    if not isinstance(delta, int) or adjacency not in SENSITIVITIES:
        msg = f"stage '{name}': adjacency is one of {', '.join(SENSITIVITIES)}, delta_picos whole"
        raise ConfigError(msg)
    found: dict[str, Any] = {
        "clipping_norm_micros": wanted.clipping_norm_micros,
        "delta_picos": delta,
        TABLE: list(conversion_table(delta)),
    }
    if NOISE in _parameters(table) and NOISE not in table:
        sensitivity = SENSITIVITIES[adjacency]
        found[NOISE] = noise_multiplier_for(wanted.epsilon_nanos, delta, releases, sensitivity)
    return {**found, **table}


def _scaled(table: Mapping[str, object], key: str, unit: int, most: int) -> int:
    value = table.get(key)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < cast("float", value) < most:
        missing = "is missing" if value is None else f"is {value!r}"
        msg = f"key '{key}' in [privacy] {missing}: a number above 0 and below {most:,}"
        raise ConfigError(msg)
    scaled = int(Fraction(str(value)) * unit)
    if not scaled:
        msg = f"key '{key}' in [privacy] is {value!r}: less than the ledger counts"
        raise ConfigError(msg)
    return scaled
