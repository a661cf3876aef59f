"""Members that take part in a task, each in a process of its own, and the memory that takes."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tallystick.errors import ConfigError
from tallystick.federation.joining import join
from tallystick.lab.bench.round import Clock, Idler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from multiprocessing.connection import Connection

__all__ = ["Place", "Told", "Watch", "run_members"]

LOOK_SECONDS = 0.02
OWN, ALL = "RssAnon:", "VmRSS:"
KIB = 1024


@dataclass(frozen=True, slots=True)
class Told:
    """What a member's process says at its end."""

    status: str
    baseline_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's folder is, and its node."""

    home: Path
    url: str


def run_members(task: str, places: Mapping[str, Place]) -> list[Told]:
    """Let everybody take part until the task has ended, with trainers that do next to nothing.

    Raises
    ------
    ConfigError
        A member's process ended before the task did.
    """
    context: Any = multiprocessing.get_context("fork")
    pipes: list[Connection] = []
    children: list[Any] = []
    try:
        for place in places.values():
            ours, theirs = context.Pipe()
            child = context.Process(target=_member, args=(theirs, task, place))
            child.start()
            theirs.close()
            pipes.append(ours)
            children.append(child)
        return [pipe.recv() for pipe in pipes]
    except EOFError as error:
        msg = "a member's process ended before the task did"
        raise ConfigError(msg) from error
    finally:
        for child in children:
            child.join(10)
            if child.is_alive():
                child.kill()


def _member(pipe: Connection, task: str, place: Place) -> None:
    with Watch([os.getpid()]) as watch:
        joined = join(place.url, task=task, trainer=Idler(Clock()), home=place.home)
    pipe.send(Told(joined.status, watch.baseline, watch.peak))


class Watch:
    """Looks at what some processes have of memory, together, until told to stop.

    Parameters
    ----------
    whole
        Count what is mapped from files, too, as the system does; else only what is their own.

    Attributes
    ----------
    baseline, peak
        In bytes: what they had at first, and the most; 0 where the system does not say.
    """

    def __init__(self, pids: Sequence[int], *, whole: bool = False) -> None:
        """Note what they have now."""
        self._files = [Path(f"/proc/{pid}/status") for pid in pids]
        self._field = ALL if whole else OWN
        self.baseline = self.peak = self._taken()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(LOOK_SECONDS * len(self._files)):
            self.peak = max(self.peak, self._taken())

    def _taken(self) -> int:
        return sum(map(self._of, self._files))

    def _of(self, file: Path) -> int:
        try:
            for line in file.read_text(encoding="ascii").splitlines():
                if line.startswith(self._field):
                    return int(line.split()[1]) * KIB
        except OSError:
            time.sleep(0)
        return 0
