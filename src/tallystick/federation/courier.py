"""Carry blobs between a member's folder and its nodes, in the background.

An update goes up once; what others made comes down once, each chunk checked as it comes. What is
cut off goes on from there, also after this process has ended. Nothing is whole in memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.errors import TallyError, UnavailableError
from tallystick.federation.stores import FolderStore
from tallystick.federation.transfer import Transfers

if TYPE_CHECKING:
    from tallystick.consensus.client import NodeClient
    from tallystick.consensus.witness import Witness
    from tallystick.federation.words import Words
    from tallystick.storage.blobs import FileBlobs

__all__ = ["Courier"]

LOG = logging.getLogger(__name__)
TRANSFERS = 4
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 15.0
UNASKED_SECONDS = 5.0  # until what nobody asks for any more is left for later
RECHECK_SECONDS = 60.0  # until a node is asked again whether it still has what it took

Job = tuple[str, bytes, bytes]  # what is done, for which task, with which blob


@dataclass(slots=True)
class _Work:
    """A transfer: under way, or waiting until it is tried again."""

    future: Future[None]
    pause_seconds: float = FIRST_PAUSE_SECONDS
    again: float = 0.0


class Courier:
    """A `tallystick.federation.carrier.Carrier` over HTTP.

    Parameters
    ----------
    done
        Called, from another thread, whenever a transfer has ended well.
    words
        Where nodes' words are kept that they hold what was handed to them; without it they are
        asked for none.
    """

    def __init__(
        self,
        client: NodeClient,
        blobs: FileBlobs,
        witness: Witness,
        done: Callable[[], None],
        words: Words | None = None,
    ) -> None:
        """Carry nothing yet."""
        self._transfers = Transfers(client, FolderStore(blobs), witness, words)
        self._words = words
        self._blobs = blobs
        self._done = done
        self._places = threading.Semaphore(TRANSFERS)
        self._work: dict[Job, _Work] = {}
        self._asked: dict[Job, float] = {}  # when each was last asked for
        self._delivered: dict[tuple[bytes, bytes], float] = {}  # when that was last seen
        self._ended = threading.Event()

    def fetch(self, task: bytes, root: bytes, size: int = 0) -> bool:
        """See `Carrier.fetch`."""
        if self._blobs.has(root):
            return True
        self._begin(
            ("fetch", task, root),
            lambda over: self._transfers.download(task, root, size, is_over=over),
        )
        return False

    def deliver(self, task: bytes, root: bytes) -> bool:
        """See `Carrier.deliver`."""
        if self._words is not None:
            self._words.refresh()
        seen = self._delivered.get((task, root))
        if seen is None or time.monotonic() - seen > RECHECK_SECONDS:
            self._begin(("deliver", task, root), lambda over: self._upload(task, root, over))
        return seen is not None

    def is_there(self, task: bytes, root: bytes) -> bool:
        """Return whether others can get a blob, as a node says now; no harm if none answers."""
        try:
            return self._transfers.is_there(task, root)
        except TallyError:
            return False

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way."""
        return any(not work.future.done() for work in self._work.values())

    @property
    def is_waiting(self) -> bool:
        """Whether something failed and is to be tried again."""
        return any(work.future.done() for work in self._work.values())

    def settle(self) -> None:
        """Forget what has ended well."""
        for job, work in tuple(self._work.items()):
            if work.future.done() and not work.future.exception():
                del self._work[job]
                self._asked.pop(job, None)

    def close(self) -> None:
        """End what is under way as soon as it looks up; it goes on from there next time.

        Nobody waits for it: a node that hangs keeps no member from leaving.
        """
        self._ended.set()

    def _begin(self, job: Job, work: Callable[[Callable[[], bool]], None]) -> None:
        """Start a transfer unless it is under way, or failed a moment ago."""
        self._asked[job] = time.monotonic()
        known = self._work.get(job)
        if known is not None:
            if not known.future.done() or time.monotonic() < known.again:
                return
            error = known.future.exception()
            if error is None:
                del self._work[job]
            elif not known.again:
                self._put_off(job, known, error)
                return
        future: Future[None] = Future()
        threading.Thread(
            target=self._run, args=(job, work, future), name="courier", daemon=True
        ).start()
        pause = FIRST_PAUSE_SECONDS if known is None else known.pause_seconds
        self._work[job] = _Work(future, pause)

    def _is_over(self, job: Job) -> bool:
        """Whether a transfer can be left for later: nobody asks for it, or everything ends."""
        unasked = time.monotonic() - self._asked.get(job, 0.0)
        return self._ended.is_set() or unasked > UNASKED_SECONDS

    def _put_off(self, job: Job, work: _Work, error: BaseException) -> None:
        what, _, root = job
        LOG.info("cannot %s blob %s yet: %s", what, root.hex()[:12], error)
        work.again = time.monotonic() + work.pause_seconds
        work.pause_seconds = min(2 * work.pause_seconds, LONGEST_PAUSE_SECONDS)

    def _run(
        self, job: Job, work: Callable[[Callable[[], bool]], None], future: Future[None]
    ) -> None:
        def is_over() -> bool:
            return self._is_over(job)

        try:
            with self._places:
                if not is_over():
                    work(is_over)
        except TallyError as error:
            future.set_exception(error)
        except Exception as error:
            LOG.exception("a transfer failed")
            future.set_exception(UnavailableError(str(error)))
        else:
            future.set_result(None)
        self._done()

    def _upload(self, task: bytes, root: bytes, is_over: Callable[[], bool]) -> None:
        def missing() -> None:
            self._delivered.pop((task, root), None)

        self._transfers.upload(task, root, is_over=is_over, missing=missing)
        self._delivered[task, root] = time.monotonic()
