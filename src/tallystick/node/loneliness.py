"""Start anew when no other node is connected for long: CometBFT gives up on peers for good.

A peer that hangs up at once, as those do that do not know a newcomer yet, is dialled again within
milliseconds; and when that happens while the call before is still under way, never again.

Where the others are down, starting anew does not help, and costs a validator that is left alone the
blocks of that time. So each time takes twice as long as the one before, until somebody was there.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from tallystick.errors import DecodeError, UnavailableError
from tallystick.node.parent import end_this_process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tallystick.consensus.cometbft.rpc import CometRpc

__all__ = ["Loneliness"]

LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 60.0
MOST_TIMES = 3  # that it doubles: a newcomer may have been admitted meanwhile
LOOKS = 10  # within that time


class Loneliness:
    """Looks now and then whether CometBFT has peers, in a thread of its own.

    Parameters
    ----------
    make_rpc
        Connects to CometBFT's JSON-RPC.
    file
        Says how often it was in vain, from one start to the next.
    leave
        Called once when it has had none for `PATIENCE_SECONDS`, or as many times twice as long as
        it was called in vain; by default this process ends, and is started again together with
        CometBFT.
    """

    def __init__(
        self,
        make_rpc: Callable[[], CometRpc],
        file: Path,
        leave: Callable[[], None] = end_this_process,
    ) -> None:
        """Look from `start` on."""
        self._make_rpc = make_rpc
        self._file = file
        self._leave = leave
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="loneliness", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        rpc, since, times = self._make_rpc(), time.monotonic(), self._times()
        while not self._stopping.wait(PATIENCE_SECONDS / LOOKS):
            patience = PATIENCE_SECONDS * 2**times
            peers = self._peers(rpc)
            if peers != 0:
                since = time.monotonic()
                if peers and times:
                    times = self._note(0)
            elif time.monotonic() - since > patience:
                LOG.warning("no other node in %.0f s: starting anew", patience)
                self._note(min(times + 1, MOST_TIMES))
                self._leave()
                break
        rpc.close()

    def _times(self) -> int:
        """Return how often this was in vain."""
        try:
            return min(int(self._file.read_text("ascii")), MOST_TIMES)
        except (OSError, ValueError):
            return 0

    def _note(self, times: int) -> int:
        try:
            if times:
                self._file.write_text(f"{times}\n", "ascii")
            else:
                self._file.unlink(missing_ok=True)
        except OSError as error:
            LOG.warning("%s cannot be written: %s", self._file, error)
        return times

    def _peers(self, rpc: CometRpc) -> int | None:
        """Return how many CometBFT says are connected, `None` while it is silent."""
        try:
            return len(rpc.call("net_info").get("peers") or ())
        except (UnavailableError, DecodeError, TypeError):
            return None
