"""Work in a child process with a time limit: a hang or a crash costs a turn, never the member.

The child writes its arrays to a file in a private folder and then says so over a pipe, so nothing
it sends is unpickled here. It ignores Ctrl-C (we end it ourselves), prints to standard error
(standard output belongs to the command line) and leaves when the process that started it is gone.
"""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.connection as connections
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from tallystick.federation.arrays import Arrays, TrainerError
from tallystick.tensors.dtypes import RAW, dtype_of, present, raw_view

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Child", "Children", "Facts", "Work", "run_child"]

Facts = dict[str, Any]
Work = Callable[..., tuple[Arrays, Facts]]

# Their thread pools or device contexts do not survive a fork.
UNFORKABLE = ("jax", "tensorflow", "torch")
_OURS: set[Connection] = set()  # this process's ends of the pipes to its children
LEAVE_SECONDS = 1.0  # what a child that has delivered may still use to close down


class _Tensor(msgspec.Struct, frozen=True):
    name: str
    dtype: str
    shape: tuple[int, ...]


class _Reply(msgspec.Struct, frozen=True):
    """What the child says when its file is complete, or when it failed."""

    tensors: list[_Tensor] = []
    facts: Facts = {}
    error: str = ""
    tensor: str = ""
    traceback: str = ""
    hint: str = ""


_REPLIES = msgspec.msgpack.Decoder(_Reply)


class Child:
    """``work(*arguments)`` on its way in a child process.

    Notes
    -----
    On Linux the child is a fork: nothing is copied and nothing need be picklable, unless a library
    is loaded that does not survive one. Elsewhere it is spawned and the arguments are pickled.
    """

    def __init__(
        self, work: Work, arguments: tuple[Any, ...], *, limit_seconds: float | None
    ) -> None:
        """Start.

        Raises
        ------
        TrainerError
            The arguments cannot be sent to a process of its own.
        """
        method = _start_method(arguments)
        context: Any = multiprocessing.get_context(method)
        self._limit_seconds = limit_seconds
        self._started = time.monotonic()
        self._folder = tempfile.TemporaryDirectory(prefix="tally-", ignore_cleanup_errors=True)
        self._path = Path(self._folder.name) / "arrays"
        self._ours, theirs = context.Pipe()
        _OURS.add(self._ours)
        inherited = tuple(_OURS) if method == "fork" else ()
        told = (inherited, theirs, self._path, work, arguments)
        self._process = context.Process(target=_child_main, args=told)
        self._patience_seconds = 0.0
        try:
            _start(self._process)
        except BaseException:
            self.close()
            raise
        finally:
            theirs.close()

    @property
    def handles(self) -> list[Any]:
        """What becomes ready when the child has something to say or is gone."""
        return [self._ours, self._process.sentinel]

    @property
    def left_seconds(self) -> float | None:
        """How long it may still take; `None` without a limit."""
        if self._limit_seconds is None:
            return None
        return max(0.0, self._started + self._limit_seconds - time.monotonic())

    @property
    def is_ready(self) -> bool:
        """Whether `result` would not wait."""
        return bool(connections.wait(self.handles, timeout=0)) or self.left_seconds == 0

    def result(self) -> tuple[Arrays, Facts]:
        """Wait for what the work returns, and end the child.

        Raises
        ------
        TrainerError
            The work raised one, the limit passed (the child is killed), or the child died.
        """
        try:
            reply = self._await_reply()
            self._patience_seconds = LEAVE_SECONDS
            return _load(self._path, reply.tensors), reply.facts
        finally:
            self.close()

    def close(self) -> None:
        """End the child, whatever it is doing."""
        if self._ours.closed:
            return
        _end(self._process, self._patience_seconds)
        _OURS.discard(self._ours)
        self._ours.close()  # not before: the child leaves at once when this end closes
        self._folder.cleanup()

    def _await_reply(self) -> _Reply:
        ours, child = self._ours, self._process
        if not connections.wait(self.handles, timeout=self.left_seconds):
            msg = f"training did not end within {self._limit_seconds:g} seconds"
            raise TrainerError(msg)
        try:
            reply = _REPLIES.decode(ours.recv_bytes()) if ours.poll() else None
        except (EOFError, ConnectionError):
            reply = None
        if reply is None:
            child.join()
            msg = f"the training process ended without a result ({_how_it_ended(child.exitcode)})"
            raise TrainerError(msg)
        if reply.error:
            raise TrainerError(
                reply.error, tensor=reply.tensor, traceback=reply.traceback, hint=reply.hint
            )
        return reply


class Children:
    """The children of one process: at most as many at once as it has cores."""

    def __init__(self, most: int | None = None) -> None:
        """Start with none."""
        self._most = most or _cores()
        self._running: list[Child] = []
        self._queued = False  # somebody was turned away since `wait` was last called

    def start(
        self, work: Work, arguments: tuple[Any, ...], *, limit_seconds: float | None
    ) -> Child | None:
        """Return a new child, or `None` while there are too many; raises as `Child`."""
        if len(self._running) >= self._most:
            self._queued = True
            return None
        child = Child(work, arguments, limit_seconds=limit_seconds)
        self._running.append(child)
        return child

    def collect(self, child: Child) -> tuple[Arrays, Facts]:
        """Return the child's result and make room; raises as `Child.result`."""
        self._running.remove(child)
        return child.result()

    def end(self, child: Child) -> None:
        """End a child that nobody waits for any more."""
        self._running.remove(child)
        child.close()

    def wait(self) -> None:
        """Return when some child has ended or passed its limit, or can be started."""
        queued, self._queued = self._queued, False
        if not self._running or (queued and len(self._running) < self._most):
            return
        handles = [handle for child in self._running for handle in child.handles]
        limits = [child.left_seconds for child in self._running]
        known = [left for left in limits if left is not None]
        connections.wait(handles, timeout=min(known) if known else None)


def run_child(
    work: Work, arguments: tuple[Any, ...], *, limit_seconds: float | None
) -> tuple[Arrays, Facts]:
    """Return ``work(*arguments)``, computed in a child process; raises as `Child`."""
    return Child(work, arguments, limit_seconds=limit_seconds).result()


def _cores() -> int:
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def _start_method(arguments: tuple[Any, ...]) -> str:
    if sys.platform != "linux":
        return "spawn"
    if not any(name in sys.modules for name in UNFORKABLE):
        return "fork"
    try:
        pickle.dumps(arguments[:1])
    except (pickle.PicklingError, AttributeError, TypeError):
        return "fork"
    # A class of the program's own file would make the child run that file again.
    return "fork" if type(arguments[0]).__module__ == "__main__" else "forkserver"


def _start(child: Any) -> None:  # noqa: ANN401 - a Process of any context
    with warnings.catch_warnings():
        # CPython 3.12 warns of a fork beside threads; the child touches none of their locks.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            child.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            msg = f"the trainer cannot be sent to a process of its own: {error}"
            hint = "define its class at the top of a module"
            raise TrainerError(msg, hint=hint) from error


def _how_it_ended(exitcode: int) -> str:
    if exitcode >= 0:
        return f"exit status {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name}, perhaps out of memory" if name == "SIGKILL" else name


def _end(child: Any, patience_seconds: float) -> None:  # noqa: ANN401
    """Leave no process behind."""
    if child.pid is None:
        return
    child.join(patience_seconds)
    if child.is_alive():
        child.kill()
        child.join()
    child.close()


def _load(path: Path, tensors: list[_Tensor]) -> Arrays:
    """Read the tensors that lie one after the other in ``path``."""
    arrays: Arrays = {}
    with path.open("rb") as file:
        for tensor in tensors:
            count = math.prod(tensor.shape)
            flat = np.fromfile(file, dtype=RAW[tensor.dtype], count=count)
            arrays[tensor.name] = present(flat.reshape(tensor.shape), tensor.dtype)
    return arrays


def _child_main(
    inherited: tuple[Connection, ...],
    pipe: Connection,
    path: Path,
    work: Work,
    arguments: tuple[Any, ...],
) -> None:
    for ours in inherited:
        ours.close()  # else our own copies would keep pipes open after the parent's death
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(2, 1)
    told = (pipe, path.parent)
    threading.Thread(target=_leave_with_parent, args=told, daemon=True).start()
    try:
        arrays, facts = work(*arguments)
        tensors = [_Tensor(name, dtype_of(name, a), a.shape) for name, a in arrays.items()]
        with path.open("wb") as file:
            for tensor in tensors:
                raw_view(arrays[tensor.name], tensor.dtype).tofile(file)
        reply = _Reply(tensors=tensors, facts=facts)
    except TrainerError as error:
        reply = _Reply(
            error=str(error), tensor=error.tensor, traceback=error.traceback, hint=error.hint
        )
    except OSError as error:
        reply = _Reply(error=f"the trained parameters could not be written: {error}")
    pipe.send_bytes(msgspec.msgpack.encode(reply))


def _leave_with_parent(pipe: Connection, folder: Path) -> None:
    """End this process when the other end of the pipe closes: nobody waits for the result."""
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        shutil.rmtree(folder, ignore_errors=True)  # nobody else is there to do it
        os._exit(1)
