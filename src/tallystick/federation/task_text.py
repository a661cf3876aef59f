"""A task as TOML text: what a run writes beside itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tallystick.federation.task_file import Task

__all__ = ["task_text", "toml_value"]


def task_text(task: Task) -> str:
    """Return a task file that `Task.load` reads back to ``task``."""
    plain: dict[str, Any] = {
        "name": task.name,
        "recipe": task.recipe,
        "rounds": task.rounds,
        "score": task.score,
        "weights": task.weights,
        "weight_cap": task.weight_cap,
        **task.options,
    }
    lines = [f"{key} = {toml_value(value)}" for key, value in plain.items()]
    for name, table in (("train", task.train), ("rosters", task.rosters)):
        if table:
            lines += ["", f"[{name}]", *_lines(table)]
    for name, table in task.stage.items():
        lines += ["", f"[stage.{toml_key(name)}]", *_lines(table)]
    if task.simulate:
        lines += ["", "[simulate]", *_lines(task.simulate)]
    return "\n".join(lines) + "\n"


def toml_key(name: str) -> str:
    """Return ``name`` as a TOML key, quoted where it has to be."""
    bare = name.replace("-", "").replace("_", "")
    return name if bare.isascii() and bare.isalnum() else json.dumps(name)


def toml_value(value: object) -> str:
    """Return a value as TOML.

    Raises
    ------
    ConfigError
        TOML has no such thing.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        items = cast("list[object]", value)
        return f"[{', '.join(toml_value(item) for item in items)}]"
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        pairs = ", ".join(f"{toml_key(key)} = {toml_value(item)}" for key, item in table.items())
        return f"{{{pairs}}}"
    msg = f"a task file holds no {type(value).__name__}"
    raise ConfigError(msg)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{toml_key(key)} = {toml_value(value)}" for key, value in table.items()]
