"""A time limit for a trainer that runs in this process.

Nothing can stop a thread, so whatever hangs is left behind on a daemon thread and its member goes
on without it. A child process (`tallystick.federation.child`) can be ended; it costs a fork.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from tallystick.federation.arrays import TrainerError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["within"]

T = TypeVar("T")


def within(limit_seconds: float | None, work: Callable[[], T]) -> T:
    """Return what ``work`` returns, if it does so in time; without a limit it runs right here.

    Raises
    ------
    TrainerError
        It is still running after ``limit_seconds``.
    """
    if limit_seconds is None or limit_seconds == math.inf:
        return work()
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it belongs
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="trainer")
    thread.start()
    thread.join(limit_seconds)
    if thread.is_alive():
        msg = f"still running after {limit_seconds:g} seconds"
        raise TrainerError(msg)
    if errors:
        raise errors[0]
    return results[0]
