"""The node's clock: read once, and counted from there, so that it never jumps."""

from __future__ import annotations

import logging
import time

__all__ = ["Clock"]

LOG = logging.getLogger(__name__)
BEHIND_SECONDS = 60  # behind the newest block, from where on somebody should look at the clock


class Clock:
    """Milliseconds since 1970, as this machine had them when the node was started.

    Blocks go by it, and so do members: a machine's clock that is set while the node runs moves no
    window and makes no request stale.

    Parameters
    ----------
    least
        The time of the newest block: it goes on from there where the machine is behind.
    """

    def __init__(self, least: int = 0) -> None:
        """Read the machine's clock."""
        wall = time.time_ns() // 1_000_000
        if wall + BEHIND_SECONDS * 1000 < least:
            LOG.error(
                "this machine's clock is %d seconds behind the newest block: set it, and start "
                "the node again",
                (least - wall) // 1000,
            )
        self._base = max(wall, least)
        self._started = time.monotonic_ns()

    def now(self) -> int:
        """Return the time."""
        return self._base + (time.monotonic_ns() - self._started) // 1_000_000
