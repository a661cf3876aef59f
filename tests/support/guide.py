"""A guide's fenced blocks, performed: each organisation in its own folder, mail by copying.

The info string of a block says what it is for: ``console NAME…`` commands, ``stop NAME…`` commands
to end, ``send FROM TO…`` files and folders that one mails to others, ``LANGUAGE NAME FILE`` a file
to write or, with ``changed`` after it, lines to change in one. *everybody* is all but guests.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from support.commands import PROGRAM, SOURCE
from tallystick.federation.key_file import load_keyring

FENCE = re.compile(r"^```(\w+) ([\w. /-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDLESS = re.compile(r"^tally (?:node start|join|log .*--follow)")
SERVES = re.compile(r"^tally node start")
AFTER_THE_END = re.compile(r"^tally (?:verify|explain) ")
ROLES = ("owner", "worker", "validator")
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
    """The machines of several organisations, as folders.

    Guests are those who are not meant by *everybody*; ``variables`` are in each one's environment.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        guests: Sequence[str] = (),
        variables: Mapping[str, Mapping[str, str]] | None = None,
        seconds: float = SECONDS,
    ) -> None:
        """Give each a folder; a shared one holds nothing but the programs."""
        self.folder, self.names, self.seconds = folder, tuple(names), seconds
        self._variables = variables or {}
        self.running: list[Running] = []
        self.outputs: dict[tuple[str, str], str] = {}
        programs = folder / "programs"
        programs.mkdir(parents=True)
        _program(programs / "tally", f"exec '{sys.executable}' -c '{PROGRAM}' \"$@\"")
        _program(programs / "python", f"exec '{sys.executable}' \"$@\"")
        self._path = f"{programs}:{os.environ['PATH']}"
        for name in (*names, *guests):
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
        elif block.kind == "stop":
            for name in block.words:
                for command in block.body.splitlines():
                    self.stop(name, command)
        else:
            for name in self._whose(block.words[:1]):
                file = self.home(name) / block.words[1]
                text = _changed(file, block.body) if block.words[2:] else block.body
                file.write_text(text, encoding="utf-8")

    def wait(self, what: str = "") -> None:
        """Wait for what goes on and was begun by such a command."""
        for each in self.running:
            if each.command.startswith(f"tally {what}") and each.status is None:
                each.status = each.process.wait(self.seconds)

    def stop(self, name: str, command: str) -> None:
        """End what goes on at an organisation as Ctrl-C does, and wait for it."""
        (each,) = (
            each
            for each in self.running
            if (each.who, each.command, each.status) == (name, command, None)
        )
        each.process.send_signal(signal.SIGINT)
        each.status = each.process.wait(self.seconds)

    def found(self, verb: str, pattern: str) -> set[str]:
        """Return what the outputs of a verb show."""
        return {
            found
            for (_, command), out in self.outputs.items()
            if command.startswith(verb)
            for found in re.findall(pattern, out, re.MULTILINE)
        }

    def said(self, verb: str, pattern: str) -> list[str]:
        """Return what each command of a verb that went on says, once each."""
        return [
            re.search(pattern, each.said.read_text(), re.MULTILINE)[1]
            for each in self.running
            if each.command.startswith(verb)
        ]

    def run(self, name: str, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command on an organisation's machine."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.home(name),
            env=self._environment(name),
            capture_output=True,
            text=True,
            timeout=self.seconds,
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
            copy = shutil.copytree if found.is_dir() else shutil.copyfile
            for name in receivers:
                copy(found, self.home(name) / found.name)

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
        own |= self._variables.get(name, {})
        return {**kept, **own, "PYTHONPATH": str(SOURCE), "NO_COLOR": "1"}


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def secrets_in(folder: Path, name: str) -> list[bytes]:
    """Return the secrets of a key folder as bytes that a file might hold."""
    ring = load_keyring(folder)
    raw = [ring.salt, *(each for role in ROLES for each in ring.secrets(role))]
    body = [line.encode() for line in (folder / f"{name}.key").read_text().splitlines()[1:-1]]
    return [*raw, *(each.hex().encode() for each in raw), *filter(None, body)]


def files_with(folder: Path, secrets: Sequence[bytes]) -> list[Path]:
    """Return the files below a folder that hold one of the secrets; refuse an empty folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 5
    return [path for path in files if any(each in path.read_bytes() for each in secrets)]


def _changed(file: Path, lines: str) -> str:
    """Return a file's text with lines in place of those that begin with the same key."""
    text = file.read_text(encoding="utf-8")
    for line in lines.splitlines():
        key = line.partition(" = ")[0]
        text, count = re.subn(rf"^{key} = .*$", line.replace("\\", r"\\"), text, flags=re.MULTILINE)
        assert count == 1, (file, line)
    return text


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
