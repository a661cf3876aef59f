"""A guide's fenced blocks, performed: each organisation in its own folder, mail by copying.

The info string of a block says what it is for: ``console NAME…`` commands, ``send FROM TO…`` files
that one mails to others, ``LANGUAGE NAME FILE`` a file to write. *everybody* is all of them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from support.commands import PROGRAM, SOURCE

FENCE = re.compile(r"^```(\w+) ([\w. /-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDLESS = re.compile(r"^tally (?:node start|join|log .*--follow)")
SERVES = re.compile(r"^tally node start")
AFTER_THE_END = re.compile(r"^tally (?:verify|explain) ")
SECONDS = 120


@dataclass(frozen=True)
class Block:
    """A fenced block: its first word, the others, and what is in it."""

    kind: str
    words: tuple[str, ...]
    body: str


@dataclass
class Running:
    """A command that goes on while others run, where what it says goes, and what it came to."""

    who: str
    command: str
    process: subprocess.Popen
    said: Path
    status: int | None = None


def blocks_of(text: str) -> list[Block]:
    """Return the blocks that say whose they are."""
    return [Block(kind, tuple(words.split()), body) for kind, words, body in FENCE.findall(text)]


def commands_in(body: str) -> list[str]:
    """Return the commands of a console block, continued lines joined."""
    lines = body.replace("\\\n", " ").splitlines()
    return [re.sub(r" +", " ", line[2:]) for line in lines if line.startswith("$ ")]


class Stage:
    """The machines of several organisations, as folders."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        """Give each a folder; a shared one holds nothing but the programs."""
        self.folder, self.names = folder, names
        self.running: list[Running] = []
        self.outputs: dict[tuple[str, str], str] = {}
        programs = folder / "programs"
        programs.mkdir(parents=True)
        _program(programs / "tally", f"exec '{sys.executable}' -c '{PROGRAM}' \"$@\"")
        _program(programs / "python", f"exec '{sys.executable}' \"$@\"")
        self._path = f"{programs}:{os.environ['PATH']}"
        for name in names:
            self.home(name).mkdir()

    def home(self, name: str) -> Path:
        """Where an organisation works, and its home."""
        return self.folder / name

    def perform(self, block: Block) -> None:
        """Do what a block says."""
        if block.kind == "send":
            sender, *receivers = block.words
            self._send(sender, receivers, block.body.split())
        elif block.kind == "console":
            who = self._whose(block.words)
            for command in commands_in(block.body):
                self._everywhere(who, command)
        else:
            name, file = block.words
            (self.home(name) / file).write_text(block.body, encoding="utf-8")

    def wait(self, what: str = "") -> None:
        """Wait for what goes on and was begun by such a command."""
        for each in self.running:
            if each.command.startswith(f"tally {what}") and each.status is None:
                each.status = each.process.wait(SECONDS)

    def run(self, name: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on an organisation's machine."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.home(name),
            env=self._environment(name),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def close(self) -> None:
        """End what a test left behind."""
        for each in self.running:
            if each.process.poll() is None:
                each.process.kill()
                each.process.wait()
            if each.process.stdout is not None:
                each.process.stdout.close()

    def _whose(self, words: tuple[str, ...]) -> tuple[str, ...]:
        return self.names if words == ("everybody",) else words

    def _send(self, sender: str, receivers: list[str], files: list[str]) -> None:
        for file in files:
            found = self.home(sender) / file.replace("$NAME", sender)
            for name in receivers:
                shutil.copyfile(found, self.home(name) / found.name)

    def _everywhere(self, who: tuple[str, ...], command: str) -> None:
        if ENDLESS.match(command):
            for name in who:
                self._begin(name, command)
            return
        if AFTER_THE_END.match(command):
            self.wait("join")
            self.wait("log")
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda name: self.run(name, command), who))
        failed = {name: each for name, each in zip(who, done, strict=True) if each.returncode}
        assert not failed, (command, failed)
        for name, each in zip(who, done, strict=True):
            self.outputs[name, command] = each.stdout

    def _begin(self, name: str, command: str) -> None:
        said = self.home(name) / f"said-{len(self.running)}"
        with said.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.home(name),
                env=self._environment(name),
                stdout=subprocess.PIPE if SERVES.match(command) else file,
                stderr=file,
            )
        self.running.append(Running(name, command, process, said))
        if process.stdout is not None:
            assert process.stdout.readline().startswith(b"serving "), said.read_text()

    def _environment(self, name: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("LANG", "TMPDIR") if key in os.environ}
        own = {"HOME": str(self.home(name)), "NAME": name, "PATH": self._path}
        return {**kept, **own, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1"}


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
