"""Files that survive: waiting for the disk, telling files apart, naming what went wrong."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tallystick.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "Identity",
    "chunks_of",
    "identity_of",
    "open_regular",
    "remove_older",
    "sync_data",
    "sync_folder",
    "translated",
    "unusable",
    "write_array",
    "write_at",
    "write_new",
]

WRITE_BYTES = 1 << 20

# A file as it was at one moment: inode, modification time in nanoseconds, size in bytes.
Identity = tuple[int, int, int]


def identity_of(number: int) -> Identity:
    """Return the identity of the open file ``number``."""
    status = os.fstat(number)
    return status.st_ino, status.st_mtime_ns, status.st_size


def chunks_of(file: BinaryIO, size_bytes: int) -> Iterator[memoryview]:
    """Read ``file`` through one buffer; each piece is valid until the next is asked for."""
    buffer = memoryview(bytearray(size_bytes))
    reader: Any = file
    while count := reader.readinto(buffer):
        yield buffer[:count]


def sync_data(number: int) -> None:
    """Return when the contents of the open file ``number`` survive power loss."""
    getattr(os, "fdatasync", os.fsync)(number)


def sync_folder(folder: Path) -> None:
    """Return when the names in ``folder`` survive power loss."""
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def write_at(file: BinaryIO, data: bytes | bytearray | memoryview, start: int) -> None:
    """Write all of ``data`` from byte ``start`` on; ``file`` is open without a buffer."""
    view = memoryview(data).cast("B")
    file.seek(start)
    while view:  # the system may take a part, and say why at the next call
        view = view[file.write(view) :]


def write_new(path: Path, data: bytes) -> None:
    """Write a small file; on return its contents survive power loss, and it was never half there.

    Its name survives once its folder was synced.
    """
    unfinished = path.with_name(f"{path.name}.new")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        sync_data(file.fileno())
    unfinished.replace(path)


def remove_older(folder: Path, age_seconds: float, *, but_for: str = "") -> None:
    """Remove the files in ``folder`` that nobody has written to for ``age_seconds``.

    Those whose names end in ``but_for`` stay, whatever their age; by default there are none.
    """
    oldest = time.time() - age_seconds
    for path in folder.iterdir():
        if but_for and path.name.endswith(but_for):
            continue
        with suppress(OSError):  # another process may tidy up too, or the disk be read-only
            if path.stat().st_mtime < oldest:
                path.unlink()


def unusable(path: Path, error: OSError) -> UnavailableError:
    """Return the operating system's error as ours."""
    return UnavailableError(f"{path}: {error.strerror or error}", hint="see the disk and its space")


def open_regular(path: Path, hint: str) -> BinaryIO:
    """Open a file to read from any place in it.

    Raises
    ------
    ConfigError
        It cannot be read, or is a folder, a pipe or a device, which cannot be read twice.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # before opening: a pipe may wait for its writer
            msg = f"{path} is no regular file"
            raise ConfigError(msg, hint=f"{hint}; what comes through a pipe has to be saved first")
        return path.open("rb")
    except (OSError, ValueError) as error:
        msg = f"{path}: {getattr(error, 'strerror', None) or error}"
        raise ConfigError(msg, hint=hint) from error


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Turn an operating system's error into ours, naming ``path``."""
    try:
        yield
    except OSError as error:
        raise unusable(path, error) from error


def write_array(path: Path, data: np.ndarray) -> None:
    """Write an array's bytes to a file, which appears whole or not; a mapped one piece by piece."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        for start in range(0, len(data), WRITE_BYTES):
            file.write(data[start : start + WRITE_BYTES].tobytes())
    temporary.replace(path)
