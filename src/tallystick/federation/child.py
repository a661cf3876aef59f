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
import signal
import sys
import tempfile
import threading
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

__all__ = ["Facts", "Work", "run_child"]

Facts = dict[str, Any]
Work = Callable[..., tuple[Arrays, Facts]]

# Their thread pools or device contexts do not survive a fork.
UNFORKABLE = ("jax", "tensorflow", "torch")
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


def run_child(
    work: Work, arguments: tuple[Any, ...], *, limit_seconds: float | None
) -> tuple[Arrays, Facts]:
    """Return ``work(*arguments)``, computed in a child process.

    Raises
    ------
    TrainerError
        ``work`` raised one, the limit passed (the child is killed), or the child died.

    Notes
    -----
    On Linux the child is a fork: nothing is copied and nothing need be picklable, unless a library
    is loaded that does not survive one. Elsewhere it is spawned and the arguments are pickled.
    """
    method = _start_method(arguments)
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory(prefix="tally-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "arrays"
        inherited = ours if method == "fork" else None
        told = (inherited, theirs, path, work, arguments)
        child = context.Process(target=_child_main, args=told)
        patience_seconds = 0.0
        try:
            _start(child)
            theirs.close()
            reply = _await_reply(child, ours, limit_seconds)
            patience_seconds = LEAVE_SECONDS
            return _load(path, reply.tensors), reply.facts
        finally:
            _end(child, patience_seconds)
            ours.close()  # not before: the child leaves at once when this end closes
            theirs.close()


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


def _await_reply(child: Any, ours: Connection, limit_seconds: float | None) -> _Reply:  # noqa: ANN401
    if not connections.wait([ours, child.sentinel], timeout=limit_seconds):
        msg = f"training did not end within {limit_seconds:g} seconds"
        raise TrainerError(msg)
    try:
        reply = msgspec.msgpack.decode(ours.recv_bytes(), type=_Reply) if ours.poll() else None
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
    inherited: Connection | None,
    pipe: Connection,
    path: Path,
    work: Work,
    arguments: tuple[Any, ...],
) -> None:
    if inherited is not None:
        inherited.close()  # else our own copy would keep the pipe open after the parent's death
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_parent, args=(pipe,), daemon=True).start()
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


def _leave_with_parent(pipe: Connection) -> None:
    """End this process when the other end of the pipe closes: nobody waits for the result."""
    try:
        pipe.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
