"""Which processes belong to a node: written down, so that the next start can end what is left.

A process is known by its number and when it started, so that nobody else's is ended for having the
same number.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from tallystick.errors import UnavailableError
from tallystick.storage.files import write_new

__all__ = ["ProcessState", "end_leftovers", "note_processes", "process_states", "started_at"]

FILE = "processes.json"
BOOT = Path("/proc/sys/kernel/random/boot_id")
GONE_SECONDS = 10.0
STARTED_FIELD = 19  # of /proc/PID/stat, after the program's name


@dataclass(frozen=True, slots=True)
class ProcessState:
    """How one of a node's processes is.

    Attributes
    ----------
    pid
        Its number while it runs, else 0.
    started
        When it started, in the kernel's ticks since the machine did.
    running
        Whether it does.
    restarts
        How often it was started again.
    """

    pid: int = 0
    started: int = 0
    running: bool = False
    restarts: int = 0


def process_states(folder: Path) -> dict[str, ProcessState]:
    """Return how the processes of a node are by name; nothing where none was ever supervised."""
    return _read(folder)[1]


def note_processes(folder: Path, states: Mapping[str, ProcessState]) -> None:
    """Write down how a node's processes are.

    Raises
    ------
    OSError
        The disk is full or failed.
    """
    listed = {name: asdict(each) for name, each in states.items()}
    document = {"boot": _boot(), "folder": _place(folder), "processes": listed}
    write_new(folder / FILE, json.dumps(document).encode())


def started_at(pid: int) -> int:
    """Return when a process started, in ticks since the machine did; 0 if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # a program's name may hold anything
    return 0 if fields[0] == "Z" else int(fields[STARTED_FIELD])


def end_leftovers(folder: Path) -> list[int]:
    """End the processes of an earlier run that still live; return their numbers.

    They are killed: whoever watched them was, and both go on from what is on disk.

    Raises
    ------
    UnavailableError
        They are those of another folder, of which this one is a copy.
    """
    boot, states, place = _read(folder)
    if boot != _boot():
        return []
    left = [state for state in states.values() if _lives(state)]
    if left and place not in {"", _place(folder)}:
        msg = f"{folder} is a copy of the folder of a node that runs: two of one node vote twice"
        raise UnavailableError(msg, hint="use the node's own folder")
    for state in left:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(state.pid, signal.SIGKILL)
    deadline = time.monotonic() + GONE_SECONDS
    while any(_lives(state) for state in left) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [state.pid for state in left]


def _lives(state: ProcessState) -> bool:
    return state.pid > 1 and state.started > 0 and started_at(state.pid) == state.started


def _read(folder: Path) -> tuple[str, dict[str, ProcessState], str]:
    """Return of which start of the machine the note is, its processes, and of which folder."""
    try:
        document: Any = json.loads((folder / FILE).read_bytes())
        states = cast("dict[str, dict[str, Any]]", document["processes"])
        listed = {name: ProcessState(**each) for name, each in states.items()}
        return str(document["boot"]), listed, str(document.get("folder", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", {}, ""


def _place(folder: Path) -> str:
    """Return what a folder keeps when it is moved, and a copy of it does not have."""
    found = folder.stat()
    return f"{found.st_dev}:{found.st_ino}"


def _boot() -> str:
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return "unknown"
