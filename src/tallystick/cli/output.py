"""What verbs print: one JSON document for programs, or plain lines for people.

Standard output belongs to the result. Progress goes to standard error, and only where somebody is
looking; whatever other people's code prints meanwhile goes there too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, TextIO

from tallystick.text import plain, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
    from types import TracebackType

    from rich.progress import Progress, TaskID

__all__ = [
    "Bar",
    "complain",
    "mark",
    "paint",
    "plain",
    "print_document",
    "print_grid",
    "quiet_stdout",
    "say",
    "table",
    "warn",
]

BAR_AFTER_SECONDS = 2.0
WIDE = 400  # columns of what is no terminal
COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}


def print_document(document: Mapping[str, Any], *, compact: bool = False) -> None:
    """Print one JSON document; with ``compact`` on one line."""
    indent = None if compact else 1
    print(json.dumps(plain(document), indent=indent, allow_nan=False), flush=True)


class Painted(str):
    """Text of ours that may hold a terminal's escapes; `say` shows those of any other text."""

    __slots__ = ()


def say(*parts: str) -> None:
    """Print one line for people, whatever the parts hold."""
    print(*map(_shown, parts), sep="", flush=True)


def warn(*parts: str) -> None:
    """Tell people something beside the result, on standard error."""
    complain("note:", "yellow", *parts)


def complain(word: str, colour: str, *parts: str) -> None:
    """Print one line on standard error, after a word in a colour."""
    start = paint(word, colour, sys.stderr)
    print(start, "".join(map(_shown, parts)), file=sys.stderr, flush=True)


def paint(text: str, colour: str, stream: TextIO | None = None) -> Painted:
    """Return ``text`` in a colour if the stream is a terminal and ``NO_COLOR`` is not set."""
    target = sys.stdout if stream is None else stream
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not target.isatty():
        return Painted(visible(text))
    return Painted(f"\x1b[{COLOURS[colour]}m{visible(text)}\x1b[0m")


def mark(*, ok: bool) -> Painted:
    """Return the word before a check: five characters wide, in green or red."""
    return paint("ok   ", "green") if ok else paint("FAILS", "red")


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return rows as lines whose columns line up; the last column is as long as it is."""
    listed = list(rows)
    if not listed:
        return []
    widths = [max(len(cell) for cell in column) for column in zip(*listed, strict=True)]
    widths[-1] = 0
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in listed]


def _shown(part: str) -> str:
    return part if isinstance(part, Painted) else visible(part)


def print_grid(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table with a heading; off a terminal as wide as it has to be, and plain."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD)
    for number, name in enumerate(header):
        grid.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console = Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = WIDE
    say()
    say(paint(title, "bold"))
    console.print(grid)


@contextmanager
def quiet_stdout() -> Generator[None]:
    """Send what is written to standard output to standard error instead, native code's too."""
    out, err = sys.stdout, sys.stderr
    out.flush()
    saved = None
    with suppress(OSError):
        saved = os.dup(1)
        os.dup2(2, 1)
    sys.stdout = err
    try:
        yield
    finally:
        sys.stdout = out
        err.flush()
        if saved is not None:
            os.dup2(saved, 1)
            os.close(saved)


class Bar:
    """A progress bar on standard error, once something takes long and a terminal shows it.

    An instance is called with what is being done, how far it is and how far it will go.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the clock."""
        self._clock = clock
        self._started = clock()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._wanted = sys.stderr.isatty()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Show how far it is."""
        if not self._wanted or self._clock() - self._started < BAR_AFTER_SECONDS:
            return
        if self._progress is None:
            self._progress = _start_progress()
            self._task = self._progress.add_task(what, total=total)
        if self._task is not None:
            self._progress.update(self._task, description=what, completed=done, total=total)


def _start_progress() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    progress = Progress(console=Console(file=sys.stderr), transient=True)
    progress.start()
    return progress
