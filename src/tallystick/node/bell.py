"""Wake whoever waits for the next block, without a thread for each."""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """Rung from the clerk's thread, heard by many requests.

    Parameters
    ----------
    height
        Of the head.
    most
        How many may wait at once: the rest of the connections is for those who have work to do.
    """

    def __init__(self, height: int, most: int = 384) -> None:
        """Let nobody wait yet."""
        self.height = height
        self.most = most
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake those who wait in this loop."""
        self._loop = loop

    def ring(self, height: int) -> None:
        """Say that there is a block of this height; from any thread."""
        self.height = height
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """Let nobody wait any more; in the loop's thread."""
        self.closed = True
        self._wake()

    @property
    def is_full(self) -> bool:
        """Whether nobody more may wait."""
        return len(self._waiting) >= self.most

    async def above(self, height: int, seconds: float) -> bool:
        """Wait until there is a block above a height; return whether there is.

        Nobody waits where too many wait already.
        """
        end = asyncio.get_running_loop().time() + seconds
        while self.height <= height and not self.closed:
            left = end - asyncio.get_running_loop().time()
            if left <= 0 or self.is_full:
                break
            heard = asyncio.get_running_loop().create_future()
            self._waiting.add(heard)
            try:
                await asyncio.wait_for(heard, left)
            except TimeoutError:
                break
            finally:
                self._waiting.discard(heard)
        return self.height > height

    def _wake(self) -> None:
        for heard in self._waiting:
            if not heard.done():
                heard.set_result(None)
