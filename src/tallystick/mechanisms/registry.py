"""Rules by id: the word before the slash is a folder, the word after it a file.

Built-in modules are imported in name order and let failures surface. A third party's rule comes by
the entry point group ``tallystick.rules``; a task's terms pin the digest of its source file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import pkgutil
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from tallystick.mechanisms.rule import Rule

__all__ = ["KINDS", "all_rules", "make_rule", "register", "rule_class", "rule_digest"]

KINDS = (
    "select",
    "join",
    "submit",
    "screen",
    "score",
    "decide",
    "aggregate",
    "challenge",
    "settle",
)
VALUES: dict[str, Any] = {
    "bool": bool,
    "int": int,
    "str": str,
    "tuple[int, ...]": tuple[int, ...],
    "tuple[str, ...]": tuple[str, ...],
}
ENTRY_POINTS = "tallystick.rules"

R = TypeVar("R", bound="type[Rule]")
_RULES: dict[str, type[Rule]] = {}


def register(rule: R) -> R:
    """Class decorator: make ``rule`` findable by its id.

    Raises
    ------
    ConfigError
        The id is malformed or taken by another class.
    """
    kind, _, rest = rule.id.partition("/")
    name, _, version = rest.partition("/")
    if kind not in KINDS or not name or not version.isdigit():
        msg = f"rule id '{rule.id}' is not KIND/NAME/VERSION with a kind of {', '.join(KINDS)}"
        raise ConfigError(msg)
    known = _RULES.get(rule.id)
    if known is not None and known.__qualname__ != rule.__qualname__:
        msg = f"rule id '{rule.id}' is registered twice: {known.__module__}, {rule.__module__}"
        raise ConfigError(msg)
    _RULES[rule.id] = rule
    return rule


def rule_class(rule_id: str) -> type[Rule]:
    """Return the class registered as ``rule_id``.

    Raises
    ------
    ConfigError
        There is none; the hint lists the ids of the same kind.
    """
    _import_rules()
    found = _RULES.get(rule_id)
    if found is None:
        kind = rule_id.partition("/")[0]
        near = ", ".join(sorted(known for known in _RULES if known.startswith(kind + "/")))
        msg = f"unknown rule '{rule_id}'"
        raise ConfigError(msg, hint=f"known: {near or ', '.join(KINDS)}")
    return found


def make_rule(rule_id: str, parameters: dict[str, object]) -> Rule:
    """Return an instance of ``rule_id`` with ``parameters``.

    Raises
    ------
    ConfigError
        Unknown rule or parameter, or a value the rule refuses.
    """
    kind = rule_class(rule_id)
    fields = {field.name for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    unknown = sorted(set(parameters) - fields)
    if unknown:
        msg = f"rule '{rule_id}' has no parameter '{unknown[0]}'"
        raise ConfigError(msg, hint=f"it has: {', '.join(sorted(fields)) or 'none'}")
    for field in dataclasses.fields(kind):  # pyright: ignore[reportArgumentType]
        wanted = VALUES.get(str(field.type))
        if field.name not in parameters or wanted is None:
            continue
        try:
            msgspec.convert(parameters[field.name], wanted, strict=True)
        except msgspec.ValidationError as error:
            msg = f"rule '{rule_id}': parameter '{field.name}': {error}"
            raise ConfigError(msg) from error
    try:
        return kind(**parameters)
    except (TypeError, ValueError) as error:
        msg = f"rule '{rule_id}': {error}"
        raise ConfigError(msg) from error


def rule_digest(rule_id: str) -> bytes:
    """Return the SHA-256 of a third party's source file; empty for a built-in rule.

    A built-in rule's number changes whenever any output bit would, so its id suffices.
    """
    kind = rule_class(rule_id)
    if _is_built_in(kind):
        return b""
    return _source_digest(kind)


def _is_built_in(kind: type[Rule]) -> bool:
    return kind.__module__.startswith("tallystick.mechanisms.")


@cache
def _source_digest(kind: type[Rule]) -> bytes:
    """Read once, when the rule is imported: what a file says later is not what runs."""
    source = inspect.getsourcefile(kind)
    if source is None:
        msg = f"rule '{kind.id}' has no source file to pin"
        raise ConfigError(msg)
    return hashlib.sha256(Path(source).read_bytes()).digest()


def all_rules() -> tuple[type[Rule], ...]:
    """Return every registered class, by id."""
    _import_rules()
    return tuple(_RULES[key] for key in sorted(_RULES))


@cache
def _import_rules() -> None:
    import tallystick.mechanisms as package  # noqa: PLC0415 - the registry is part of it

    for kind in KINDS:
        folder = importlib.import_module(f"{package.__name__}.{kind}")
        for module in sorted(pkgutil.iter_modules(folder.__path__), key=lambda found: found.name):
            importlib.import_module(f"{folder.__name__}.{module.name}")
    for point in sorted(entry_points(group=ENTRY_POINTS), key=lambda found: found.name):
        point.load()
    for rule in _RULES.values():
        if not _is_built_in(rule):
            with suppress(ConfigError):  # said again when terms name it
                _source_digest(rule)
