"""A child that does not outlive the process that started it.

On Linux the kernel kills a child when its parent ends, however it ends. Beside that a child may
hold the reading end of a pipe whose writing end only the parent has, which works everywhere.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

__all__ = ["PIPE", "bind_to_parent", "end_this_process", "leave_with_parent", "parent_pipe"]

PIPE = "TALLY_PARENT_PIPE"  # names the file descriptor of the reading end
PR_SET_PDEATHSIG = 1
_LIBC: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None


def bind_to_parent() -> Callable[[], None]:
    """Return what a child of this thread has to call first, so that it dies when the thread does.

    It runs between fork and exec, where only a process without further threads may run Python.
    """
    parent = os.getpid()

    def bind() -> None:
        if _LIBC is not None:
            _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was told
            os._exit(1)

    return bind


def leave_with_parent(leave: Callable[[], None] = lambda: os._exit(1)) -> None:
    """Watch the pipe to whoever started this process; without one, do nothing.

    Parameters
    ----------
    leave
        Called in a thread of its own once the parent is gone; ends this process by default.
    """
    reader = parent_pipe()
    if reader is None:
        return

    def watch() -> None:
        while os.read(reader, 64):  # nobody writes: it returns when the other end is closed
            pass
        leave()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def end_this_process() -> None:
    """Let this process end in good order; whoever supervises it starts it anew."""
    os.kill(os.getpid(), signal.SIGTERM)


def parent_pipe() -> int | None:
    """Return the reading end of the pipe to whoever started this process, for no child of it."""
    number = os.environ.pop(PIPE, "")
    if not number.isdecimal():
        return None
    reader = int(number)
    os.set_inheritable(reader, False)  # noqa: FBT003
    return reader
