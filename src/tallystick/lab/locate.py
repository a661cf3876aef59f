"""Which line of a task file a complaint is about."""

from __future__ import annotations

import re
from pathlib import Path

from tallystick.errors import ConfigError

__all__ = ["locate", "located"]


def locate(text: str, message: str) -> int:
    """Return the line of a task file that a message is most likely about; 0 when none is.

    The later something is quoted or said to have a value, the more it is to the point.
    """
    lines = [line.partition("#")[0] for line in text.splitlines()]
    named = [quoted or key for quoted, key in re.findall(r"'([^']+)'|\b([a-z_]+) = ", message)]
    for name in reversed(named):
        word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
        for number, line in enumerate(lines, 1):
            if word.search(line):
                return number
    return 0


def located(path: str | Path, error: ConfigError) -> ConfigError:
    """Return the error with the file and line it is about; it keeps its hint."""
    message = str(error)
    if message.startswith(str(path)):
        return error
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    line = locate(text, message)
    return ConfigError(f"{path}{f', line {line}' if line else ''}: {message}", hint=error.hint)
