"""What the documentation shows can be done: its commands exist, its examples run."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)(?: [^\n]*)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HAS_CLI = hasattr(importlib.import_module("tallystick.cli"), "main")


def blocks(text: str, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(text) if name == language]


def commands(text: str) -> list[list[str]]:
    """Return the words of each line ``$ tally ...`` inside a fenced block."""
    return [
        shlex.split(line.removeprefix("$ "), comments=True)
        for _, body in BLOCK.findall(text.replace("\\\n", " "))
        for line in body.splitlines()
        if line.startswith("$ tally ")
    ]


def runnable(text: str) -> list[str]:
    return [body for body in blocks(text, "python") if body.startswith("# runs\n")]


@cache
def tally(*words: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from tallystick.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )


def verbs_and_flags(words: list[str]) -> tuple[list[str], set[str]]:
    """Split a command into the verbs it starts with and the long flags it uses."""
    verb = [word for word in words[1:3] if re.fullmatch(r"[a-z]+", word)]
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    return verb, flags


SHOWN = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)}")
    for page in PAGES
    for words in commands(page.read_text(encoding="utf-8"))
]
EXAMPLES = [
    pytest.param(example, id=f"{page.relative_to(ROOT)}-{number}")
    for page in PAGES
    for number, example in enumerate(runnable(page.read_text(encoding="utf-8")), start=1)
]


@pytest.mark.skipif(not HAS_CLI, reason="the command line is not part of this checkout")
@pytest.mark.parametrize("words", SHOWN)
def test_a_documented_command_exists_with_its_flags(words):
    verb, flags = verbs_and_flags(words)
    shown = tally(*verb[:1], "--help")
    if len(verb) > 1 and re.search(r"COMMAND \[ARGS\]", shown.stdout):
        shown = tally(*verb, "--help")

    assert shown.returncode == 0, shown.stderr
    assert {flag for flag in flags if flag not in shown.stdout} == set()


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_documented_example_runs(example, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_commands_and_examples_are_found_in_a_page():
    page = "```\n$ tally demo bflc --seed 1  # why\n```\n```python\n# runs\nassert True\n```\n"

    assert commands(page) == [["tally", "demo", "bflc", "--seed", "1"]]
    assert runnable(page) == ["# runs\nassert True\n"]
    assert verbs_and_flags(commands(page)[0]) == (["demo", "bflc"], {"--seed"})
