"""Keep a node's processes running: each starts once the one before it can be used.

What dies is started again, after a pause that grows while it keeps dying. Whatever comes after a
process that died is ended first, since it cannot go on without it. SIGTERM and SIGINT end
everything, the last first; a second one changes nothing. Nothing is left when this process is gone,
however it went.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Self

from tallystick.node.processes import ProcessState, end_leftovers, note_processes
from tallystick.node.program import Backoff, Child, Program
from tallystick.storage.lock import Lock

__all__ = ["supervise"]

LOG = logging.getLogger(__name__)
GRACE_SECONDS = 10.0
BEREFT_SECONDS = 3.0  # and when what it needs is gone: CometBFT may wait for it in vain
LOOK_SECONDS = 0.05  # how often to look whether a program can be used
IDLE_SECONDS = 2.0  # and at everything else; a death is noticed at once
READ_BYTES = 1 << 16


def _print_line(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - standard output is where a node says its address


def supervise(
    folder: Path,
    programs: Sequence[Program],
    *,
    say: Callable[[str], None] = _print_line,
    backoff: Backoff | None = None,
    grace_seconds: float = GRACE_SECONDS,
    parent: int | None = None,
) -> int:
    """Run programs, each needing those before it, until a signal ends them all.

    Parameters
    ----------
    folder
        The node's; at most one supervisor works in it, and writes down there what it runs.
    say
        Called once, with the first line that a program of ours prints.
    grace_seconds
        What a program may take to end before it is killed.
    parent
        A pipe nobody writes to: everything ends once its other end is closed.

    Returns
    -------
    status
        0, or the exit status of a program that found no further try worth while.

    Raises
    ------
    UnavailableError
        Another supervisor works in the folder.

    Notes
    -----
    For the main thread of a process without others: it forks, handles signals, and its children
    die with it.
    """
    with closing(Lock(folder / "supervisor")), _Signals() as signals:
        for pid in end_leftovers(folder):
            LOG.warning("process %d of an earlier run was still there: ended", pid)
        running = _Supervisor(folder, programs, say, backoff or Backoff(), grace_seconds)
        if parent is not None:
            running.watch(parent)
        with running.opened(signals):
            return running.run(signals)


class _Signals:
    """Signals as something to wait for."""

    def __init__(self) -> None:
        self.told_to_end = False
        self.reader, self._writer = socket.socketpair()
        for end in (self.reader, self._writer):
            end.setblocking(False)  # noqa: FBT003

    def __enter__(self) -> Self:
        self._wakeup = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._before = {
            number: signal.signal(number, self._note)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        self.reader.close()
        self._writer.close()

    def _note(self, number: int, _: object) -> None:
        self.told_to_end |= number != signal.SIGCHLD

    def drain(self) -> None:
        """Forget which came; who died and what was told is looked up."""
        with suppress(BlockingIOError):
            while self.reader.recv(READ_BYTES):
                pass


class _Supervisor:
    """The children in their order, and what they say."""

    def __init__(
        self,
        folder: Path,
        programs: Sequence[Program],
        say: Callable[[str], None],
        backoff: Backoff,
        grace_seconds: float,
    ) -> None:
        self._folder = folder
        self._children = [Child(program, backoff) for program in programs]
        self._say: Callable[[str], None] | None = say
        self._first = b""  # the beginning of the line to say
        self._grace_seconds = grace_seconds
        self._noted: dict[str, ProcessState] | None = None
        self._selector = selectors.DefaultSelector()
        self._parent: FileIO | None = None
        self._pipe, self._other_end = os.pipe()  # the other end is closed when this process ends

    def watch(self, parent: int) -> None:
        """End when the other end of a pipe is closed."""
        self._parent = os.fdopen(parent, "rb", buffering=0)
        self._selector.register(self._parent, selectors.EVENT_READ, self._parent)

    @contextmanager
    def opened(self, signals: _Signals) -> Generator[None]:
        """Wait for signals, too; at the end nothing runs and nothing is open."""
        self._selector.register(signals.reader, selectors.EVENT_READ)
        try:
            yield
        finally:
            self._end_all(signals)
            for key in list(self._selector.get_map().values()):
                if key.data is not None:
                    key.data.close()
            self._selector.close()
            os.close(self._pipe)
            os.close(self._other_end)

    def run(self, signals: _Signals) -> int:
        """Keep them running; return why no more."""
        while not signals.told_to_end:
            self._collect()
            for child in self._children:
                if child.is_hopeless:
                    return child.status
            self._start_next()
            self._note()
            self._wait(signals, self._patience_seconds())
        return 0

    def _collect(self) -> None:
        """See who died; end what needs it."""
        now, broken = time.monotonic(), False
        for child in self._children:
            child.reap(now, expected=broken or child.is_ending)
            if broken:
                child.end(now, min(self._grace_seconds, BEREFT_SECONDS))
            broken |= child.process is None
            child.trim()

    def _start_next(self) -> None:
        """Start the first that does not run, if what it needs can be used and nothing needs it."""
        for number, child in enumerate(self._children):
            if child.process is None:
                later = self._children[number + 1 :]
                now = time.monotonic()
                if now >= child.start_at and all(each.process is None for each in later):
                    child.start(now, self._pipe)
                    self._listen(child)
                return
            if not child.look():
                return

    def _listen(self, child: Child) -> None:
        if child.output is not None:
            os.set_blocking(child.output.fileno(), False)
            self._selector.register(child.output, selectors.EVENT_READ, child.output)
            child.output = None

    def _patience_seconds(self) -> float:
        now, soon = time.monotonic(), IDLE_SECONDS
        for child in self._children:
            if child.process is None:
                return min(soon, max(0.0, child.start_at - now) or LOOK_SECONDS)
            if child.is_ending or not child.look():
                return LOOK_SECONDS
        return soon

    def _wait(self, signals: _Signals, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                signals.drain()
            elif key.data is self._parent:
                signals.told_to_end = True
                self._selector.unregister(key.data)
                key.data.close()
            else:
                self._hear(key.data)

    def _hear(self, output: BinaryIO) -> None:
        """Pass on what one of ours printed: the first line of all to whoever waits for it."""
        try:
            data = os.read(output.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._selector.unregister(output)
            output.close()
            self._first = b""
            return
        if self._say is not None:
            line, newline, data = (self._first + data).partition(b"\n")
            if not newline:
                self._first = line
                return
            say, self._say = self._say, None
            say(line.decode("utf-8", "replace"))
        if data:
            with suppress(OSError):
                sys.stderr.buffer.write(data)
                sys.stderr.flush()

    def _end_all(self, signals: _Signals) -> None:
        """End the last first, each before the one it needs."""
        for child in reversed(self._children):
            while child.process is not None:
                now = time.monotonic()
                if not child.reap(now, expected=True):
                    child.end(now, self._grace_seconds)
                    self._wait(signals, LOOK_SECONDS)
        self._note()

    def _note(self) -> None:
        states = {child.program.name: child.state for child in self._children}
        if states != self._noted:
            self._noted = states
            try:
                note_processes(self._folder, states)
            except OSError as error:
                LOG.warning("the processes are not written down: %s", error)
