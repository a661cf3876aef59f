"""Task files: TOML written by people, resolved to the terms that members approve.

A file names a recipe and changes what it wants changed; every default is resolved here, so that
the terms do not depend on a release. The ``[simulate]`` table says who plays the members in a
simulation and is no part of the terms.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tallystick.codec import MAX_U63, decode, encode
from tallystick.errors import ConfigError, TallyError
from tallystick.federation.locate import located
from tallystick.federation.privacy import with_privacy
from tallystick.federation.recipes import Recipe, load_recipe, milliseconds, parse_recipe
from tallystick.ledger.collect.recipe import MOST_ROUNDS, check_terms
from tallystick.ledger.terms import Pin, Roster, Setting, Terms
from tallystick.mechanisms.registry import rule_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.tensors.spec import ModelSpec

__all__ = ["Task", "owner_of", "resolve_terms"]

KEYS = (
    "name",
    "recipe",
    "owner",
    "mode",
    "rounds",
    "score",
    "keep",
    "weights",
    "weight_cap",
    "approve_within",
    "gap",
    "retention",
    "holders",
    "read_fee",
    "edition",
    "privacy",
    "setup",
    "round",
    "close",
    "stage",
    "rosters",
    "train",
    "simulate",
)
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,63}\Z")
CHOICES = {
    "weights": ("equal", "declared", "committed"),
    "keep": ("last", "best"),
    "mode": ("auditable", "grouped", "private"),
}
DAY = 24 * 3600 * 1000
FIELD_KINDS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (str, "no text", ("name", "recipe", "score", "weights")),
    (int, "no whole number", ("rounds", "weight_cap")),
    (Mapping, "not a table", ("train", "stage", "rosters", "options", "simulate")),
)
GIVEN = ("round", "seed", "member")  # what every trainer finds in its config


@dataclass(frozen=True, slots=True)
class Task:
    """What somebody asks for, before it is resolved to terms.

    Parameters
    ----------
    name
        Lower-case name, unique on its ledger.
    recipe
        ``NAME`` or ``NAME/VERSION`` of a built-in recipe.
    rounds
        Attempts, void ones included. At least 1.
    score
        The metric of the trainers' ``evaluate`` that stages go by: in [0, 1], larger is better.
    train
        What trainers find in ``config`` besides ``round``, ``seed`` and ``member``, and what the
        recipe says itself.
    stage
        Changes to the recipe's stages, by stage name.
    rosters
        Further rosters the recipe requires, by name.
    weights
        ``equal``, ``declared`` (capped by ``weight_cap``) or ``committed``.
    options
        Further keys of a task file: owner, mode, keep, gap, retention, approve_within, read_fee,
        holders, privacy.
    simulate
        Data, trainers and attackers of a simulation; no part of the terms.
    """

    name: str
    recipe: str = "standard"
    rounds: int = 10
    score: str = "accuracy"
    train: Mapping[str, Any] = field(default_factory=dict[str, Any])
    stage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Any])
    rosters: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Any])
    weights: str = "equal"
    weight_cap: int = 1000
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    simulate: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Refuse values of the wrong kind.

        Raises
        ------
        ConfigError
            Names the key.
        """
        for kind, called, keys in FIELD_KINDS:
            for key in keys:
                value = getattr(self, key)
                if not isinstance(value, kind) or isinstance(value, bool):
                    msg = f"key '{key}' is {called}"
                    raise ConfigError(msg)

    @classmethod
    def load(cls, path: str | Path) -> Task:
        """Read a task file.

        Raises
        ------
        ConfigError
            Not readable, not TOML, or a key it does not know; names the line.
        """
        file = Path(path)
        try:
            text = file.read_text(encoding="utf-8-sig")
            table = tomllib.loads(text)
        except OSError as error:
            msg = f"{file}: {error.strerror or error}"
            raise ConfigError(msg) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            msg = f"{file}: {error}"
            raise ConfigError(msg) from error
        try:
            return cls.parse(table)
        except ConfigError as error:
            raise located(file, error) from error

    @classmethod
    def parse(cls, table: Mapping[str, Any]) -> Task:
        """Return the task that a TOML table describes.

        Raises
        ------
        ConfigError
            An unknown key, or a value of the wrong kind.
        """
        for key in table:
            if key not in KEYS:
                msg = f"unknown key '{key}'"
                raise ConfigError(msg, hint=f"known: {', '.join(KEYS)}")
        _check_numbers(table)
        if "name" not in table:
            msg = "the key 'name' is missing"
            raise ConfigError(msg)
        known = {"name", "recipe", "rounds", "score", "train", "stage", "rosters", "simulate"}
        plain = {key: table[key] for key in known | {"weights", "weight_cap"} if key in table}
        rest = {key: value for key, value in table.items() if key not in plain}
        return cls(**plain, options=rest)

    def to_recipe(self) -> Recipe:
        """Return the recipe with this task's changes.

        Raises
        ------
        ConfigError
            Unknown recipe, stage or parameter.
        """
        lists = {
            name: self.options[name] for name in ("setup", "round", "close") if name in self.options
        }
        if lists:
            table: dict[str, Any] = {**lists, "recipe": self.recipe, "stage": dict(self.stage)}
            return parse_recipe({**table, "mode": self.options.get("mode", "auditable")})
        return load_recipe(self.recipe).changed(self.stage)


def owner_of(task: Task, members: Sequence[str]) -> str:
    """Return who owns a task: whom it names, or else the first of its members.

    Raises
    ------
    ConfigError
        It names nobody's name.
    """
    owner = task.options.get("owner", min(members))
    if not isinstance(owner, str) or owner not in members:
        msg = f"owner = {owner!r} is none of the members"
        raise ConfigError(msg, hint=f"members: {', '.join(sorted(members))}")
    return owner


def resolve_terms(
    task: Task,
    *,
    owner: str,
    members: Sequence[str],
    model: ModelSpec | None,
    trial: bool,
    faults: int = 0,
) -> Terms:
    """Return the terms, every default and rule resolved, integers only.

    Raises
    ------
    ConfigError
        The task contradicts itself, or its recipe does not fit these members.
    """
    if not NAME.match(task.name):
        msg = f"name '{task.name}': lower-case letters, digits, '.', '_' and '-', at most 64"
        raise ConfigError(msg)
    if not 1 <= task.rounds <= MOST_ROUNDS:
        msg = f"rounds = {task.rounds}: 1 to {MOST_ROUNDS:,}"
        raise ConfigError(msg)
    _check_choices(task)
    recipe = task.to_recipe()
    option = {**recipe.options, **task.options}
    recipe = with_privacy(recipe, option.get("privacy"), task.rounds)
    train = {**recipe.train, **task.train}
    rosters = _rosters(task, recipe, members)
    lists = {phase: recipe.stages(phase, len(members)) for phase in ("setup", "round", "close")}
    stages = [stage for phase in lists.values() for stage in phase]
    lengths = [
        length for stage in stages for length in (stage.within, stage.reveal, stage.hold) if length
    ]
    approve = milliseconds(option.get("approve_within", "10m"), "approve_within")
    gap = max([approve, *lengths]) if trial else min([approve, *lengths]) // (faults + 2)
    pins = {stage.rule: rule_digest(stage.rule) for stage in stages}
    cap = 0 if task.weights == "equal" else task.weight_cap
    try:
        terms = Terms(
            version=1,
            name=task.name,
            recipe=recipe.name,
            mode=cast("Any", recipe.mode),
            owner=owner,
            rounds=task.rounds,
            rosters=tuple(Roster(name, rosters[name]) for name in sorted(rosters)),
            setup=lists["setup"],
            round=lists["round"],
            close=lists["close"],
            model=model,
            weights=(cast("Any", task.weights), cap),
            approve_within=approve,
            gap=milliseconds(option.get("gap", gap), "gap"),
            retention=milliseconds(option.get("retention", 365 * DAY), "retention"),
            holders=str(option.get("holders", "members")),
            score=task.score,
            keep=option.get("keep", "last"),
            train=tuple(_setting(name, train[name]) for name in sorted(train)),
            read_fee=int(option.get("read_fee", 0)),
            pins=tuple(Pin(rule, pins[rule]) for rule in sorted(pins) if pins[rule]),
            edition=int(option.get("edition", 0)),
        )
        terms = _checked(terms)
        check_terms(terms, trial=trial, faults=faults)
    except TallyError as error:
        raise ConfigError(str(error), hint=error.hint) from error
    return terms


def _check_numbers(table: Mapping[str, Any]) -> None:
    """Refuse whole numbers that no ledger holds, wherever they stand."""
    for key, value in table.items():
        values = cast("list[object]", value) if isinstance(value, list) else [value]
        for item in values:
            if isinstance(item, dict):
                _check_numbers(cast("dict[str, Any]", item))
            elif isinstance(item, int) and not -MAX_U63 <= item <= MAX_U63:
                msg = f"key '{key}' holds {item}, which does not fit 63 bits"
                raise ConfigError(msg)


def _check_choices(task: Task) -> None:
    values = {"weights": task.weights, **task.options}
    for key, choices in CHOICES.items():
        if key in values and values[key] not in choices:
            msg = f"{key} = '{values[key]}': one of {', '.join(choices)}"
            raise ConfigError(msg)


def _rosters(task: Task, recipe: Recipe, members: Sequence[str]) -> dict[str, tuple[str, ...]]:
    rosters = {name: tuple(sorted(set(named))) for name, named in task.rosters.items()}
    for name in recipe.rosters:
        if name not in rosters:
            msg = f"the recipe '{recipe.name}' needs the roster '{name}'"
            raise ConfigError(msg, hint=f'add a line: {name} = ["member", …] under [rosters]')
    return {**rosters, "members": tuple(sorted(members))}


def _checked(terms: Terms) -> Terms:
    """Put the terms through the codec, which knows every field's range."""
    return decode(Terms, encode(terms))


def _setting(name: str, value: object) -> Setting:
    if name in GIVEN:
        msg = f"train.{name} is given to every trainer; the table cannot set it"
        raise ConfigError(msg, hint=f"{', '.join(GIVEN)} are in config anyway")
    if isinstance(value, float) and not math.isfinite(value):
        msg = f"train.{name} is {value}: a finite number is needed"
        raise ConfigError(msg)
    if isinstance(value, bool):
        return Setting(name, "bool", "true" if value else "false")
    if isinstance(value, int):
        return Setting(name, "int", str(value))
    if isinstance(value, float):
        return Setting(name, "float", value.hex())
    if isinstance(value, str):
        return Setting(name, "str", value)
    msg = f"train.{name} is a {type(value).__name__}: only numbers, texts and booleans"
    raise ConfigError(msg)
