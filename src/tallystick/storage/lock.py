"""One process at a time: a lock on a folder or file, gone when its process is.

Two processes that write to one ledger or one journal would contradict each other, and the seals of
whoever loses would cost its members their bonds. Whoever only reads takes no lock.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary, finalize

from tallystick.errors import UnavailableError
from tallystick.storage.files import translated, unusable

__all__ = ["Lock", "claim"]

# The system's locks are the process's, so that a child has no part in them: they tell processes
# apart and nothing else. This table tells the openers within one process apart.
_HELD: WeakValueDictionary[Path, Lock] = WeakValueDictionary()
_CLAIMED: WeakValueDictionary[Path, BinaryIO] = WeakValueDictionary()
_CLAIMING = threading.Lock()


class Lock:
    """The right to write to ``what``, held until ``close`` or the end of the process.

    Parameters
    ----------
    what
        A folder, or a file whose lock lies beside it; in any case it is named in the refusal.

    Raises
    ------
    UnavailableError
        Another process, or another object in this one, holds it.
    """

    def __init__(self, what: Path) -> None:
        """Take the lock or refuse at once; the lock's file stays behind."""
        inside = what.is_dir()
        path = (what / ".lock" if inside else what.with_name(f"{what.name}-lock")).resolve()
        if path in _HELD:
            raise _in_use(what)
        with translated(path):
            number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            _take(number)
        except OSError as error:
            os.close(number)
            raise (_in_use(what) if _is_held(error) else unusable(path, error)) from error
        self._path = path
        self._release = finalize(self, os.close, number)
        _HELD[path] = self

    def close(self) -> None:
        """Let others have it."""
        if _HELD.get(self._path) is self:
            del _HELD[self._path]
        self._release()


def claim(path: Path) -> BinaryIO:
    """Open a file, made if it is missing, that nobody else opens like this until it is closed.

    The file itself is locked, so that nothing lies beside it and a crash leaves nothing held. It
    may be renamed or removed while it is held: the next to claim its old name makes a new file.
    It is open without a buffer, to read and write.

    Raises
    ------
    UnavailableError
        Another process, or another opener in this one, holds it; or the disk failed.
    """
    with _CLAIMING, translated(path):
        key = path.resolve()
        held = _CLAIMED.get(key)
        # Before opening: to close any of a process's openings of a file ends its locks on it.
        if held is not None and not held.closed:
            raise _in_use(path)
        while True:
            number = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
            file: BinaryIO = os.fdopen(number, "r+b", buffering=0)
            try:
                _take(number)
            except OSError as error:
                file.close()
                raise (_in_use(path) if _is_held(error) else unusable(path, error)) from error
            if _is_at(path, number):
                _CLAIMED[key] = file
                return file
            file.close()  # its holder renamed or removed it before letting it go


def _is_at(path: Path, number: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(number))
    except FileNotFoundError:
        return False


def _is_held(error: OSError) -> bool:
    return error.errno in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}


def _take(number: int) -> None:
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 - there is none elsewhere

        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415 - there is none on Windows

        fcntl.lockf(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _in_use(what: Path) -> UnavailableError:
    msg = f"{what} is in use by another run"
    return UnavailableError(msg, hint="wait for it or end it; then the same command goes on")
