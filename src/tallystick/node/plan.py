"""What a supervisor is to run, handed to a program that knows nothing else.

Finding out takes most of this package; keeping processes alive takes next to nothing of it. So the
process that found out becomes the one that supervises, with the memory of an empty interpreter.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tallystick.node.program import Program

__all__ = ["Plan", "become_supervisor"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Whose processes there are to be, and how they say what happens.

    Attributes
    ----------
    folder
        The node's.
    programs
        What to run, each needing those before it.
    json_logs
        Log JSON lines.
    """

    folder: Path
    programs: tuple[Program, ...]
    json_logs: bool = False

    def to_text(self) -> str:
        """Return this for another process; it holds an environment, so for nobody else's eyes."""
        return json.dumps(
            [str(self.folder), [_told(each) for each in self.programs], self.json_logs]
        )

    @classmethod
    def from_text(cls, text: str) -> Plan:
        """Return what `to_text` wrote."""
        folder, programs, json_logs = json.loads(text)
        return cls(Path(folder), tuple(_heard(each) for each in programs), json_logs)


def become_supervisor(plan: Plan) -> NoReturn:
    """Replace this program, in the same process, by one that carries out a plan."""
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as file:  # which nobody else can open
        file.write(plan.to_text().encode())
        file.seek(0)
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003
        command = (sys.executable, "-P", "-m", "tallystick.node.supervising", str(file.fileno()))
        os.execv(sys.executable, command)  # noqa: S606 - our own program


def _told(program: Program) -> dict[str, Any]:
    return {
        "name": program.name,
        "command": program.command,
        "ready": None if program.ready is None else str(program.ready),
        "log": None if program.log is None else str(program.log),
        "environment": None if program.environment is None else dict(program.environment),
        "hopeless": sorted(program.hopeless),
    }


def _heard(said: dict[str, Any]) -> Program:
    return Program(
        said["name"],
        _texts(said["command"]),
        ready=_path(said["ready"]),
        log=_path(said["log"]),
        environment=said["environment"],
        hopeless=frozenset(said["hopeless"]),
    )


def _texts(given: Sequence[object]) -> tuple[str, ...]:
    return tuple(map(str, given))


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
