"""Wait for blocks in the background, so that a member can do something else meanwhile."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from tallystick.errors import TallyError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.remote import Asked, Remote

__all__ = ["Poll"]

WAIT_SECONDS = 20.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0


class Poll:
    """Asks for new blocks, one question at a time.

    Parameters
    ----------
    done
        Called, from another thread, when there is an answer or none can be had.
    """

    def __init__(self, engine: Remote, done: Callable[[], None]) -> None:
        """Ask nothing yet."""
        self._engine = engine
        self._done = done
        self._asked = threading.Event()
        self._ended = threading.Event()
        self._answer: Asked | TallyError | None = None
        self._under_way = False
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Ask, unless that is under way or its answer was not taken."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="poll", daemon=True)
            self._thread.start()
        if not self._under_way:
            self._under_way = True
            self._asked.set()

    def take(self) -> int:
        """Execute the blocks of the answer, if there is one; return how many they were.

        Raises
        ------
        UnavailableError
            No node answered.
        LyingNodeError
            What it showed is not true.
        """
        answer, self._answer = self._answer, None
        if answer is None:
            return 0
        self._under_way = False
        if isinstance(answer, TallyError):
            raise answer
        return self._engine.take(answer)

    def close(self) -> None:
        """Ask no more; an answer that is waited for is waited for by nobody."""
        self._ended.set()
        self._asked.set()

    def _work(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            self._asked.wait()
            if self._ended.is_set():
                return
            self._asked.clear()
            began, wait = time.monotonic(), 0.0
            try:
                self._answer = asked = self._engine.ask(WAIT_SECONDS)
                pause = FIRST_PAUSE_SECONDS
                if not asked.answer.content and time.monotonic() - began < FIRST_PAUSE_SECONDS:
                    wait = FIRST_PAUSE_SECONDS  # it was asked to wait, and did not
            except TallyError as error:
                self._answer, wait = error, pause
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except Exception as error:  # noqa: BLE001 - raised again where it is looked at
                self._answer, wait = UnavailableError(f"the connection failed: {error}"), pause
            self._done()
            self._ended.wait(wait)
