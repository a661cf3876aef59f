"""Wake whoever waits for the next block, without a thread for each."""

from __future__ import annotations

import asyncio

__all__ = ["Bell"]


class Bell:
    """Rung from the clerk's thread, heard by any number of requests."""

    def __init__(self, height: int) -> None:
        """Begin at the height of the head."""
        self.height = height
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

    async def above(self, height: int, seconds: float) -> bool:
        """Wait until there is a block above a height; return whether there is."""
        end = asyncio.get_running_loop().time() + seconds
        while self.height <= height and not self.closed:
            left = end - asyncio.get_running_loop().time()
            if left <= 0:
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
