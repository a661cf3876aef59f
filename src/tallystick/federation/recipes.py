"""Recipes: three ordered lists of stages in TOML, shipped as data."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from tallystick.errors import ConfigError
from tallystick.ledger.terms import Need, Short, Stage
from tallystick.mechanisms.records import Artefact
from tallystick.mechanisms.registry import rule_class
from tallystick.mechanisms.rule import Place

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Recipe", "load_recipe", "milliseconds", "parse_recipe", "recipe_names", "recipe_text"]

DURATION = re.compile(r"^([0-9]+)(ms|s|m|h|d)\Z")
UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
WITHIN = "10m"
REVEAL = HOLD = "2m"
COMMON = (
    "rule",
    "who",
    "from",
    "of",
    "parent",
    "into",
    "per",
    "sealed",
    "within",
    "reveal",
    "hold",
    "bond",
    "forfeit",
    "need",
    "short",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe's stage tables by name, and the order they run in."""

    name: str
    mode: str
    lists: Mapping[str, tuple[str, ...]]
    tables: Mapping[str, Mapping[str, Any]]
    rosters: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def train(self) -> Mapping[str, Any]:
        """What trainers are told unless a task says otherwise."""
        return self.options.get("train", {})

    def changed(self, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
        """Return the recipe with some keys of some stages replaced.

        A stage that gets another rule keeps its roster and windows, not the old rule's parameters.

        Raises
        ------
        ConfigError
            A stage the recipe does not have.
        """
        tables = {name: dict(table) for name, table in self.tables.items()}
        for name, table in changes.items():
            if name not in tables:
                msg = f"the recipe '{self.name}' has no stage '{name}'"
                raise ConfigError(msg, hint=f"it has: {', '.join(tables)}")
            if table.get("rule", tables[name].get("rule")) != tables[name].get("rule"):
                tables[name] = {key: tables[name][key] for key in COMMON if key in tables[name]}
            tables[name].update(table)
        return replace(self, tables=tables)

    def stages(self, phase: str, members: int) -> tuple[Stage, ...]:
        """Return a phase's stages, every default resolved for that many members.

        Raises
        ------
        ConfigError
            A key or value that the stage or its rule does not take.
        """
        return tuple(_stage(name, self.tables[name], phase, members) for name in self.lists[phase])


def recipe_names() -> tuple[str, ...]:
    """Return the built-in recipes' names."""
    folder = files("tallystick") / "recipes"
    return tuple(
        sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".toml"))
    )


def recipe_text(name: str) -> str:
    """Return a built-in recipe's TOML.

    Raises
    ------
    ConfigError
        There is no such recipe, or not in that version.
    """
    bare, _, version = name.partition("/")
    if bare not in recipe_names():
        msg = f"unknown recipe '{name}'"
        raise ConfigError(msg, hint=f"known: {', '.join(recipe_names())}")
    text = (files("tallystick") / "recipes" / f"{bare}.toml").read_text(encoding="utf-8")
    known = str(tomllib.loads(text)["recipe"])
    if version and known != name:
        msg = f"unknown recipe '{name}': this program has '{known}'"
        raise ConfigError(msg)
    return text


def load_recipe(name: str) -> Recipe:
    """Return a built-in recipe by ``NAME`` or ``NAME/VERSION``; raises as `recipe_text` does."""
    return parse_recipe(tomllib.loads(recipe_text(name)))


def parse_recipe(table: Mapping[str, Any]) -> Recipe:
    """Return the recipe that a TOML table describes.

    Raises
    ------
    ConfigError
        A list names a stage without a table, or a table is in no list.
    """
    lists = {phase: tuple(table.get(phase, ())) for phase in ("setup", "round", "close")}
    tables: dict[str, Mapping[str, Any]] = dict(table.get("stage", {}))
    named = {name for stages in lists.values() for name in stages}
    for name in sorted(named - set(tables)):
        msg = f"stage '{name}' has no table under [stage]"
        raise ConfigError(msg)
    for name in sorted(set(tables) - named):
        msg = f"stage '{name}' is in no list"
        raise ConfigError(msg, hint="name it in setup, round or close")
    known = {"recipe", "mode", "setup", "round", "close", "stage", "rosters"}
    return Recipe(
        name=str(table.get("recipe", "own/1")),
        mode=str(table.get("mode", "auditable")),
        lists=lists,
        tables=tables,
        rosters=tuple(table.get("rosters", ())),
        options={key: value for key, value in table.items() if key not in known},
    )


def milliseconds(value: object, key: str) -> int:
    """Return a length of time: whole milliseconds, or a text such as ``90s``, ``10m``, ``1h``.

    Raises
    ------
    ConfigError
        Neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    match = DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        msg = f"key '{key}': {value!r} is no length of time such as 500ms, 90s, 10m, 1h"
        raise ConfigError(msg)
    return int(match[1]) * UNITS[match[2]]


def _stage(name: str, table: Mapping[str, Any], phase: str, members: int) -> Stage:
    if not isinstance(table.get("rule"), str):
        msg = f"stage '{name}' names no rule"
        raise ConfigError(msg)
    kind = rule_class(table["rule"])
    asks = kind.place is not Place.LEDGER
    sealed = bool(table.get("sealed", False))
    holds = kind.record is Artefact
    parameters = {
        key: _value(name, key, value, members)
        for key, value in table.items()
        if key not in COMMON and key not in kind.refs
    }
    try:
        return Stage(
            name=name,
            rule=kind.id,
            who=_text(table, "who"),
            source=_text(table, "from"),
            of=_texts(table, "of"),
            refs=tuple((key, str(table[key])) for key in sorted(kind.refs) if key in table),
            parent=_text(table, "parent"),
            into=_texts(table, "into"),
            per_group=_per_group(table),
            sealed=sealed,
            within=milliseconds(table.get("within", WITHIN if asks else 0), "within"),
            reveal=milliseconds(table.get("reveal", REVEAL if sealed else 0), "reveal"),
            hold=milliseconds(table.get("hold", HOLD if holds else 0), "hold"),
            bond=_amount(table, "bond"),
            forfeit=_amount(table, "forfeit"),
            need=_need(table.get("need", 1)),
            short=_short(table.get("short", "abort" if phase == "setup" else "void")),
            parameters=tuple(sorted(parameters.items())),
        )
    except ConfigError as error:
        msg = f"stage '{name}': {error}"
        raise ConfigError(msg, hint=error.hint) from error


def _value(stage: str, key: str, value: object, members: int) -> Any:  # noqa: ANN401
    if key == "seats" and value == "auto":
        quarter = -(-members // 4)
        return quarter if quarter % 2 else min(quarter + 1, max(1, members - 1) | 1)
    if isinstance(value, list):
        return tuple(cast("list[object]", value))
    if isinstance(value, bool | int | str):
        return value
    msg = f"stage '{stage}': key '{key}' is a {type(value).__name__}; terms hold no such thing"
    raise ConfigError(msg, hint="write shares in basis points and money in micro-units")


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        msg = f"key '{key}' is no text"
        raise ConfigError(msg)
    return value


def _texts(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, ())
    if isinstance(value, str):
        return (value,)
    items = cast("list[object]", value) if isinstance(value, list | tuple) else [None]
    if all(isinstance(item, str) for item in items):
        return tuple(cast("list[str]", items))
    msg = f"key '{key}' is neither a text nor a list of texts"
    raise ConfigError(msg)


def _per_group(table: Mapping[str, Any]) -> bool:
    value = table.get("per", "")
    if value not in {"", "group"}:
        msg = "key 'per': only \"group\" is possible"
        raise ConfigError(msg)
    return value == "group"


def _amount(table: Mapping[str, Any], key: str) -> int:
    value = table.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        msg = f"key '{key}' is no amount of micro-units"
        raise ConfigError(msg)
    return value


def _need(value: object) -> Need:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32:
        return Need(value)
    match = (
        re.match(r"^([0-9]{1,4})/([1-9][0-9]{0,3})\Z", value) if isinstance(value, str) else None
    )
    if match is None or int(match[1]) >= int(match[2]):
        msg = "key 'need': a number, or a share: \"1/2\" is more than half"
        raise ConfigError(msg)
    return Need(int(match[1]), int(match[2]))


def _short(value: object) -> Short:
    match = re.match(r"^(?:rerun:([0-9]{1,2})|void|abort)\Z", str(value))
    if match is None:
        msg = 'key \'short\': "rerun:K", "void" or "abort"'
        raise ConfigError(msg)
    if match[1] is not None:
        return Short(int(match[1]), "void")
    return Short(0, "abort" if value == "abort" else "void")
