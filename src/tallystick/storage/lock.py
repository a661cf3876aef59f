"""One process at a time: a lock on a folder or file, gone when its process is.

Two processes that write to one ledger or one journal would contradict each other, and the seals of
whoever loses would cost its members their bonds. Whoever only reads takes no lock.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from tallystick.errors import UnavailableError
from tallystick.storage.files import translated, unusable

__all__ = ["Lock"]

# The system's locks are the process's, so that a child has no part in them: they tell processes
# apart and nothing else. This table tells the openers within one process apart.
_HELD: WeakValueDictionary[Path, Lock] = WeakValueDictionary()


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
            held = error.errno in {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
            raise (_in_use(what) if held else unusable(path, error)) from error
        self._path = path
        self._release = finalize(self, os.close, number)
        _HELD[path] = self

    def close(self) -> None:
        """Let others have it."""
        if _HELD.get(self._path) is self:
            del _HELD[self._path]
        self._release()


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
