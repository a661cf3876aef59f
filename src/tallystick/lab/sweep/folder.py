"""A sweep's folder: its description, and one file a finished cell.

A cell's file is written beside the others and renamed into place, so it is there whole or not at
all, whatever stops the sweep. It is named by the hash of the cell's description, and what it holds
is only believed if it describes that cell.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError
from tallystick.lab.sweep.plan import Sweep

if TYPE_CHECKING:
    from tallystick.lab.sweep.plan import Cell

__all__ = ["SweepFolder", "write_whole"]

FORMAT = "tally.lab-folder/1"
MARKER, CELLS = "sweep.json", "cells"


class SweepFolder:
    """Where a sweep keeps what is finished.

    Attributes
    ----------
    sweep
        What the folder is about.
    """

    def __init__(self, path: Path, sweep: Sweep) -> None:
        """Look at the folder; `claim` and `open_folder` make one."""
        self.path = path
        self.sweep = sweep

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether a sweep was begun here."""
        return (path / MARKER).exists()

    @classmethod
    def claim(cls, path: Path, sweep: Sweep) -> SweepFolder:
        """Return the folder for ``sweep``, marked as such if it is new or empty.

        Raises
        ------
        ConfigError
            It holds another sweep, or something else; it is never overwritten.
        """
        if cls.is_one(path):
            folder = cls.open(path)
            if folder.sweep != sweep:
                msg = f"{path} holds another sweep"
                raise ConfigError(msg, hint="name another --out, or give the same options")
            return folder
        if path.exists() and (
            not path.is_dir() or any(each.name != f".{MARKER}" for each in path.iterdir())
        ):
            msg = f"{path} holds something else and no sweep"
            raise ConfigError(msg, hint="name another --out")
        path.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"format": FORMAT, "sweep": sweep.to_json()}, indent=1, sort_keys=True)
        write_whole(path / MARKER, text.encode())
        return cls(path, sweep)

    @classmethod
    def open(cls, path: Path) -> SweepFolder:
        """Return the folder of a sweep that was begun.

        Raises
        ------
        ConfigError
            It holds no sweep, or its description is damaged.
        """
        marker = path / MARKER
        try:
            found: Any = json.loads(marker.read_text(encoding="utf-8"))
            sweep = Sweep.parse(found["sweep"])
        except (FileNotFoundError, NotADirectoryError):
            msg = f"{path} holds no sweep: there is no {MARKER}"
            raise ConfigError(msg, hint="name the folder that --out named") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            msg = f"{marker} is damaged or cannot be read"
            raise ConfigError(msg, hint="begin again with another --out") from error
        return cls(path, sweep)

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return a finished cell's result; `None` while there is none that can be read."""
        try:
            found: Any = json.loads(self._file(cell).read_bytes())
        except (OSError, ValueError):
            return None
        described = json.loads(json.dumps(asdict(cell)))
        if not isinstance(found, dict) or found.pop("sha256", None) != _digest(found):
            return None
        return found if found.get("cell") == described else None

    def keep(self, cell: Cell, result: dict[str, Any]) -> None:
        """Write a finished cell's result, whole or not at all."""
        file = self._file(cell)
        file.parent.mkdir(exist_ok=True)
        whole = {**result, "sha256": _digest(result)}
        write_whole(file, json.dumps(whole, sort_keys=True, indent=1).encode())

    def results(self) -> list[dict[str, Any]]:
        """Return the finished cells' results in canonical order."""
        found = (self.result(cell) for cell in self.sweep.cells)
        return [result for result in found if result is not None]

    def _file(self, cell: Cell) -> Path:
        return self.path / CELLS / f"{cell.key}.json"


def _digest(result: Any) -> str:  # noqa: ANN401 - whatever a file holds
    """Return the hash of a result, by which a damaged file is told from a finished cell."""
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_bytes(data)
    temporary.replace(path)
