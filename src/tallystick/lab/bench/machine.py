"""What a measurement was taken on, and how several of them become one line."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tallystick.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

__all__ = [
    "Measure",
    "check_counts",
    "describe_machine",
    "in_child",
    "peak_memory_bytes",
    "usable_cores",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Measure:
    """One named quantity measured several times.

    Parameters
    ----------
    name
        What it is; ends with its unit unless the unit is in the name.
    unit
        Of every value.
    values
        One per repetition; at least one.
    facts
        What it was measured with: members, parameters, records.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        """Return the median with minimum and maximum."""
        return {
            "name": self.name,
            "median": statistics.median(self.values),
            "min": min(self.values),
            "max": max(self.values),
            "unit": self.unit,
            "repeat": len(self.values),
            **self.facts,
        }


def describe_machine() -> dict[str, Any]:
    """Return processor, usable cores, versions, and the file system that was written to."""
    import numpy as np

    return {
        "cpu": _processor(),
        "cores": usable_cores(),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(Path(tempfile.gettempdir())),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_counts(**counts: int) -> None:
    """Refuse numbers below 1.

    Raises
    ------
    ConfigError
        Names the option.
    """
    for name, count in counts.items():
        if count < 1:
            msg = f"--{name} {count}: a whole number from 1"
            raise ConfigError(msg)


def peak_memory_bytes() -> int:
    """Return the largest resident size this process has had, pages of mapped files included.

    Notes
    -----
    ``ru_maxrss`` of a process made by fork starts at its parent's, so Linux's own figure for the
    program that runs now is preferred.
    """
    try:
        text = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_child(work: Callable[..., T], *arguments: object) -> T:
    """Return what ``work`` returns in a fresh process, whose peak memory is then its own.

    Raises
    ------
    UnavailableError
        The process ended without a result, as one does that runs out of memory.
    """
    context = get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, work, arguments))
    child.start()
    there.close()
    try:
        answer: Any = here.recv()
    except EOFError:
        child.join()
        msg = f"the measuring process ended with status {child.exitcode}"
        raise UnavailableError(msg, hint="use fewer --members or --parameters") from None
    finally:
        if child.is_alive():
            child.join(5)
        if child.is_alive():
            child.kill()
            child.join()
        here.close()
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _child(pipe: Connection, work: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    os.dup2(2, 1)  # the document on standard output is the parent's alone
    try:
        answer: Any = work(*arguments)
    except ConfigError as error:
        answer = ConfigError(str(error), hint=error.hint)
    pipe.send(answer)
    pipe.close()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _file_system(folder: Path) -> str | None:
    """Return the type of the file system that holds ``folder``; `None` where nobody says."""
    try:
        lines = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    found, depth = None, -1
    resolved = folder.resolve()
    for line in lines:
        fields = line.split()
        mount = Path(fields[1].replace("\\040", " "))
        if len(mount.parts) > depth and resolved.is_relative_to(mount):
            found, depth = fields[2], len(mount.parts)
    return found
