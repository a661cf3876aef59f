"""Start anew when no other node is connected for long: CometBFT gives up on peers for good.

A peer that hangs up at once, as those do that do not know a newcomer yet, is dialled again within
milliseconds; and when that happens while the call before is still under way, never again.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from tallystick.errors import DecodeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.cometbft.rpc import CometRpc

__all__ = ["Loneliness"]

LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 60.0
LOOKS = 10  # within that time


def _end_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class Loneliness:
    """Looks now and then whether CometBFT has peers, in a thread of its own.

    Parameters
    ----------
    make_rpc
        Connects to CometBFT's JSON-RPC.
    leave
        Called once when it has had none for `PATIENCE_SECONDS`; by default this process ends,
        and is started again together with CometBFT.
    """

    def __init__(
        self, make_rpc: Callable[[], CometRpc], leave: Callable[[], None] = _end_this_process
    ) -> None:
        """Look from `start` on."""
        self._make_rpc = make_rpc
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
        rpc, since = self._make_rpc(), time.monotonic()
        while not self._stopping.wait(PATIENCE_SECONDS / LOOKS):
            if not self._is_alone(rpc):
                since = time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                LOG.warning("no other node in %.0f s: starting anew", PATIENCE_SECONDS)
                self._leave()
                break
        rpc.close()

    def _is_alone(self, rpc: CometRpc) -> bool:
        """Return whether CometBFT says that nobody is connected; that it is silent says nothing."""
        try:
            return not rpc.call("net_info").get("peers")
        except (UnavailableError, DecodeError):
            return False
