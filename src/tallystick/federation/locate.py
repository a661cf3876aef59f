"""Which line of a task file a complaint is about.

Errors name their stage and key in words; this finds them again in the text. A line that defines
what is named counts before one that merely mentions it, and a stage's own table before the rest.
"""

from __future__ import annotations

import re
from pathlib import Path

from tallystick.errors import ConfigError

__all__ = ["locate", "located"]

HEADER = re.compile(r"^\s*\[\s*([^\]]+?)\s*\]")


def locate(text: str, message: str) -> int:
    """Return the line of a task file that a message is most likely about; 0 when none is."""
    lines = [line.partition("#")[0] for line in text.splitlines()]
    stages = re.findall(r"stage '([^']+)'", message)
    header, section = _section(lines, stages[-1]) if stages else (0, range(len(lines)))
    quoted = re.findall(r"'([^']+)'", message)
    named = [name.rpartition(".")[2] for name in (*re.findall(r"\b([a-z_]+) = ", message), *quoted)]
    for name in named:
        defined = re.compile(
            rf"^\s*[\"']?{re.escape(name)}[\"']?\s*=|[{{,]\s*{re.escape(name)}\s*="
        )
        found = _first(lines, section, defined)
        if found and name not in stages:
            return found
    for word in re.findall(r"[a-z]+(?:_[a-z]+)+", message):
        found = _first(lines, section, re.compile(rf"^\s*{word}\s*="))
        if found:
            return found
    for name in (quote for quote in quoted if quote not in stages):
        found = _first(lines, section, re.compile(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])"))
        if found:
            return found
    for word in re.findall(r"[a-z_]+", message):
        found = _first(lines, section, re.compile(rf"^\s*{word}\s*="))
        if found:
            return found
    return header


def located(path: str | Path, error: ConfigError) -> ConfigError:
    """Return the error with the file and line it is about; it keeps its hint."""
    message = str(error)
    if message.startswith(str(path)):
        return error
    text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    line = locate(text, message)
    return ConfigError(f"{path}{f', line {line}' if line else ''}: {message}", hint=error.hint)


def _section(lines: list[str], stage: str) -> tuple[int, range]:
    """Return a stage's first line, counted from 1, and the range of its lines."""
    inline = re.compile(rf"^\s*[\"']?{re.escape(stage)}[\"']?\s*=\s*{{")
    for index, line in enumerate(lines):
        if inline.match(line):
            return index + 1, range(index, index + 1)
        header = HEADER.match(line)
        if header and header[1].replace('"', "") == f"stage.{stage}":
            end = index + 1
            while end < len(lines) and not HEADER.match(lines[end]):
                end += 1
            return index + 1, range(index, end)
    return 0, range(len(lines))


def _first(lines: list[str], section: range, pattern: re.Pattern[str]) -> int:
    return next((index + 1 for index in section if pattern.search(lines[index])), 0)
