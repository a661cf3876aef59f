"""One program that a supervisor keeps running: how it starts, how it died, when it starts again."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tallystick.node.parent import PIPE, bind_to_parent
from tallystick.node.processes import ProcessState, started_at

__all__ = ["Backoff", "Child", "Program"]

LOG = logging.getLogger(__name__)
MOST_LOG_BYTES = 8 * 1024 * 1024  # beside as much from before
TAIL_BYTES = 4096
PANICS = ("panic:", "fatal error:", "ERROR:", "Error:")
MOST_SAID = 300
MOST_HOPELESS = 3  # ends in a row that no further try changes, of what was ready for a moment


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before something that died starts again.

    Attributes
    ----------
    first_seconds, most_seconds
        The pause after the first death; it doubles up to the most.
    healthy_seconds
        What lived so long begins again with the first pause.
    """

    first_seconds: float = 0.2
    most_seconds: float = 10.0
    healthy_seconds: float = 60.0

    def after(self, before_seconds: float, lived_seconds: float) -> float:
        """Return the pause after a death, from the pause before and how long it had lived."""
        if not before_seconds or lived_seconds >= self.healthy_seconds:
            return self.first_seconds
        return min(self.most_seconds, 2 * before_seconds)


@dataclass(frozen=True, slots=True)
class Program:
    """What to keep running.

    Attributes
    ----------
    name
        What the log calls it.
    command
        The program and its arguments.
    ready
        A file that exists once the program can be used; it is removed before a start. Without
        one the program can be used at once.
    log
        Where its output goes, a file that is kept small. Without one the program is ours: the
        first line of its standard output is the supervisor's, all else is for standard error, and
        it has a pipe to the supervisor (`parent.leave_with_parent`).
    environment
        Of the program; the supervisor's by default.
    hopeless
        Exit statuses that no further try changes: not before it was ever ready, nor after it has
        ended so a few times without having lived for long.
    """

    name: str
    command: tuple[str, ...]
    ready: Path | None = None
    log: Path | None = None
    environment: Mapping[str, str] | None = None
    hopeless: frozenset[int] = frozenset()


@dataclass
class Child:
    """A program and the process it is in, if it is in one.

    Attributes
    ----------
    start_at
        When it may start, on the supervisor's clock.
    status
        How it ended last: an exit status, or a signal's number below zero.
    output
        What it writes for us to read.
    was_ready
        Whether it could ever be used.
    """

    program: Program
    backoff: Backoff
    process: subprocess.Popen[bytes] | None = None
    start_at: float = 0.0
    status: int = 0
    output: BinaryIO | None = None
    was_ready: bool = False
    state: ProcessState = field(default_factory=ProcessState)
    _starts: int = 0
    _pause: float = 0.0
    _since: float = 0.0
    _kill_at: float | None = None
    _hopeless_ends: int = 0

    @property
    def is_hopeless(self) -> bool:
        """Whether it has ended so that no further try is worth while."""
        ended = self.process is None and self.status in self.program.hopeless
        return ended and (not self.was_ready or self._hopeless_ends >= MOST_HOPELESS)

    def look(self) -> bool:
        """Return whether it can be used now, and remember that it could."""
        if self.process is None:
            return False
        ready = self.program.ready is None or self.program.ready.exists()
        self.was_ready |= ready
        return ready

    def start(self, now: float, pipe: int) -> None:
        """Start it, or wait for the next try; ``pipe`` is the reading end of the one to us."""
        program = self.program
        self._since, self._starts = now, self._starts + 1
        if program.ready is not None:
            program.ready.unlink(missing_ok=True)
        try:
            self.process = self._spawn(pipe)
        except (OSError, subprocess.SubprocessError) as error:
            self._rest(now)
            LOG.warning("%s cannot start: %s; next try in %.1f s", program.name, error, self._pause)
            return
        pid = self.process.pid
        self.state = ProcessState(pid, started_at(pid), True, self._starts - 1)  # noqa: FBT003
        LOG.info("%s started as process %d", program.name, pid)

    def reap(self, now: float, *, expected: bool) -> bool:
        """Return whether it has died since it was last asked; then it may start after a pause.

        Parameters
        ----------
        expected
            Nothing is wrong with it: it was ended, or what it needs died. There is no pause.
        """
        if self.process is None or not self._has_ended(self.process):
            return False
        self.status = self.process.wait()
        self.process, self._kill_at = None, None
        self.state = ProcessState(restarts=self.state.restarts)
        if expected:
            self._pause, self.start_at = 0.0, now
            return True
        is_brief = now - self._since < self.backoff.healthy_seconds
        is_another = is_brief and self.status in self.program.hopeless
        self._hopeless_ends = self._hopeless_ends + 1 if is_another else 0
        self._rest(now)
        said = _last_line(self.program.log)
        LOG.warning(
            "%s ended (%s); it starts again in %.1f s%s",
            self.program.name,
            _how(self.status),
            self._pause,
            f": {said}" if said else "",
        )
        return True

    def end(self, now: float, grace_seconds: float) -> None:
        """Ask it to end; called again, kill it once its time has passed."""
        if self.process is None:
            return
        if self._kill_at is None:
            self._kill_at = now + grace_seconds
            self.process.terminate()
        elif now >= self._kill_at:
            self._kill_at = now + grace_seconds
            LOG.warning("%s did not end within %.0f s: killed", self.program.name, grace_seconds)
            _kill_group(self.process.pid)

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self._kill_at is not None

    def trim(self) -> None:
        """Keep its log small."""
        log = self.program.log
        with suppress(OSError):
            if log is not None and log.stat().st_size > MOST_LOG_BYTES:
                shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                os.truncate(log, 0)  # the program appends, so it goes on from there

    def _rest(self, now: float) -> None:
        self._pause = self.backoff.after(self._pause, now - self._since)
        self.start_at = now + self._pause

    def _spawn(self, pipe: int) -> subprocess.Popen[bytes]:
        program = self.program
        environment = dict(os.environ if program.environment is None else program.environment)
        log = None
        if program.log is None:
            environment[PIPE] = str(pipe)
        else:
            log = program.log.open("ab")
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, and a checked CometBFT
                program.command,
                stdin=subprocess.DEVNULL,
                stdout=log or subprocess.PIPE,
                stderr=log,
                env=environment,
                pass_fds=() if log else (pipe,),
                process_group=0,  # Ctrl-C is for the supervisor, which ends them in their order
                preexec_fn=bind_to_parent(),  # noqa: PLW1509 - a supervisor has no other threads
            )
        finally:
            if log is not None:
                log.close()
        if process.stdout is not None:
            self.output = process.stdout  # pyright: ignore[reportAttributeAccessIssue]
        return process

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it has; then whatever it started in its group ends, too."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PID, process.pid, flags) is None:
            return False
        _kill_group(process.pid)  # before its number is free for others
        return True


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _how(status: int) -> str:
    return f"exit status {status}" if status >= 0 else signal.Signals(-status).name


def _last_line(log: Path | None) -> str:
    """Return why a program ended, if it said so: where it panicked, else the last line."""
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    panics = [line for line in said if line.startswith(PANICS)]
    return (panics or said)[-1][:MOST_SAID] if said else ""
