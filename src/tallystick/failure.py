"""From an error to an exit status and one sentence, for every program of this package.

0 done and true, 1 checked and false, 2 bad input, 3 not available now, 4 our bug, 130 interrupted.
"""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from dataclasses import dataclass
from typing import Any

from tallystick.errors import TallyError, UnavailableError, VerificationError

__all__ = [
    "BAD_INPUT",
    "BUG",
    "DONE",
    "FALSE",
    "INTERRUPTED",
    "UNAVAILABLE",
    "Failure",
    "describe",
    "foreseen",
]

DONE, FALSE, BAD_INPUT, UNAVAILABLE, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 130
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.EAGAIN}

# What to do about errors that do not say so themselves.
HINTS = {
    "malformed": "get the file again from where it came",
    "unavailable": "try again",
    "blobs-missing": "name a folder that has them with --blobs",
    "verification-failed": "do not rely on it",
    "history": "do not rely on it",
    "finality": "do not rely on it",
}
HINT = "correct it and try again"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a verb ended: its exit status, a stable code, one sentence, and what to do."""

    status: int
    code: str
    message: str
    hint: str = ""

    @property
    def sentence(self) -> str:
        """The message with the hint."""
        return f"{self.message.rstrip('.')}{f' ({self.hint})' if self.hint else ''}"

    def to_json(self) -> dict[str, Any]:
        """Return the document that ``--json`` prints."""
        return {
            "format": "tally.error/1",
            "ok": False,
            "error": {"code": self.code, "message": self.message, "hint": self.hint},
        }


def describe(error: BaseException) -> Failure:
    """Return what an error comes to; one nobody foresaw leaves its traceback in a file."""
    return foreseen(error) or _of_bug(error)


def foreseen(error: BaseException) -> Failure | None:  # noqa: PLR0911 - a table of causes
    """Return what an error comes to; `None` for one that nobody foresaw."""
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        hint = "the same command, with the same --out if it has one, goes on from there"
        return Failure(INTERRUPTED, "interrupted", "interrupted; what was committed stays", hint)
    if isinstance(error, TallyError):
        hint = _flat(error.hint) or HINTS.get(error.slug, HINT)
        return Failure(_status_of(error), error.slug, _flat(str(error)), hint)
    if callable(getattr(error, "format_message", None)):
        return _of_usage(error)
    if isinstance(error, MemoryError):
        hint = "use fewer members or a smaller model"
        return Failure(UNAVAILABLE, "out-of-memory", "there is not enough memory", hint)
    if isinstance(error, OSError) and not isinstance(error, BlockingIOError):
        found = _of_system(error)
        if found is not None:
            return found
    if type(error).__module__ == "sqlite3":
        message = f"the ledger file cannot be used: {_flat(str(error))}"
        return Failure(UNAVAILABLE, "unavailable", message, "see that the disk has room")
    return None


def _status_of(error: TallyError) -> int:
    if isinstance(error, VerificationError):
        return FALSE
    return UNAVAILABLE if isinstance(error, UnavailableError) else BAD_INPUT


def _of_usage(error: Any) -> Failure:  # noqa: ANN401 - the parser's own errors share no public class
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "tally"
    message = _flat(error.format_message()) or "the command line is incomplete"
    return Failure(BAD_INPUT, "usage", message, f"see `{command} --help`")


def _of_system(error: OSError) -> Failure | None:
    """Return what the operating system refused, if that is something people can change."""
    what = error.strerror or str(error)
    if error.errno in FULL:
        where = f"{error.filename}: " if error.filename else ""
        return Failure(UNAVAILABLE, "unavailable", f"{where}{what}", "make room and try again")
    if error.filename is not None:
        hint = "name a file or folder that can be used"
        return Failure(BAD_INPUT, "bad-input", f"{error.filename}: {what}", hint)
    return None


def _of_bug(error: BaseException) -> Failure:
    text = "".join(traceback.format_exception(error))
    try:
        number, path = tempfile.mkstemp(prefix="tally-bug-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        hint = f"please report it with the file {path}"
    except OSError as problem:
        hint = f"its traceback could not be saved ({problem.strerror})"
    message = f"this is a bug of tally's, not yours: {type(error).__name__}: {_flat(str(error))}"
    return Failure(BUG, "bug", message, hint)


def _flat(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())
