"""The one thread that adds blocks: it takes transactions in, seals them, and keeps time.

A transaction is acknowledged once it survives power loss; those that arrive together share one
write. A block is sealed a moment after the first transaction came, so that it has company. Without
transactions a block is sealed only where time has to pass for a task: when a window runs out, and
before a silence gets so long that the ledger would count it as an outage.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from tallystick.errors import ConfigError, UnavailableError
from tallystick.ledger.collect.rows import LIVE, STAGES, TASKS, TERMS
from tallystick.node.reception import Reception

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.solo import Solo
    from tallystick.ledger.kernel import Outcome
    from tallystick.storage.sqlite import LedgerStore

__all__ = ["Clerk"]

LOG = logging.getLogger(__name__)
BATCH_SECONDS = 0.02
IDLE_SECONDS = 1.0
RETRY_SECONDS = 1.0
SHARE_OF_GAP = 0.8  # of the longest silence a task takes for its members' own


class Clerk(Reception):
    """Orders a ledger of the engine solo, on the clock of this machine.

    Parameters
    ----------
    engine
        Open with the sealer's key; nobody else touches it while the clerk works.
    reader
        The same ledger, opened once more for those who only read.
    batch_seconds
        How long the first transaction of a block waits for others.
    new_secret
        Asked for the key that seals when the ledger has replaced the one in use.
    """

    engine: Solo

    def __init__(
        self,
        engine: Solo,
        reader: LedgerStore,
        *,
        batch_seconds: float = BATCH_SECONDS,
        new_secret: Callable[[], bytes] | None = None,
    ) -> None:
        """Work from `start` on."""
        super().__init__(engine, reader)
        self._new_secret = new_secret
        self._batch_seconds = batch_seconds

    def _go_on(self) -> None:
        since: float | None = time.monotonic() if self.engine.pending else None
        while not self._stopping:
            wait = self._patience(since)
            if self._take_in(wait) and since is None and self.engine.pending:
                since = time.monotonic()
            if since is not None and time.monotonic() - since >= self._batch_seconds:
                pause = 0.0 if self._seal() else RETRY_SECONDS
                # What had no room in that block is not to wait for somebody to send more.
                since = time.monotonic() + pause if self.engine.pending else None
            elif since is None and self._is_due():
                self._seal(empty=True)

    def _patience(self, since: float | None) -> float:
        """Return how long to wait for a transaction before something else has to be done."""
        if since is not None:
            return max(0.0, since + self._batch_seconds - time.monotonic())
        return min(IDLE_SECONDS, max(0.0, (self._due_at() - self.now) / 1000))

    def _seal(self, *, empty: bool = False) -> bool:
        """Seal what waits, or with ``empty`` even nothing; return whether a block came of it."""
        try:
            with self.lock:
                sealed = self._seal_now(empty=empty)
                block = self.engine.newest if sealed is not None else None
        except UnavailableError as error:  # the disk: nothing was written
            LOG.error("no block was sealed: %s", error)  # noqa: TRY400 - no bug of ours
            time.sleep(RETRY_SECONDS)
            return False
        if block is None:
            return False
        self._keep(block)
        self._ring(block.header.height)
        return True

    def _seal_now(self, *, empty: bool) -> Outcome | None:
        seal = self.engine.seal if empty else self.engine.seal_pending
        try:
            return seal(self.now)
        except ConfigError:  # the key is none that seals: perhaps it was replaced
            if self._new_secret is None:
                raise
            self.engine.rekey(self._new_secret())
            LOG.warning("the sealer's key was replaced: blocks are sealed with the new one")
            return seal(self.now)

    def _is_due(self) -> bool:
        return self.now >= self._due_at()

    def _due_at(self) -> float:
        """Return when a block has to be sealed even if nobody sends anything."""
        state, head = self.engine.state, self.engine.head
        due = float("inf")
        for task in state.get(LIVE) or ():
            row, terms = state.get(TASKS, task), state.get(TERMS, task)
            if row is None or terms is None:
                continue
            due = min(due, head.time + SHARE_OF_GAP * terms.gap)
            for key in row.open:
                stage = state.get(STAGES, key)
                if stage is not None and stage.window != "done":
                    ends = stage.ends + row.excess
                    due = min(due, ends if ends > head.time else head.time + IDLE_SECONDS * 1000)
        return due
