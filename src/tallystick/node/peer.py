"""Another organisation's node: what it is asked for, and what it is still to be given.

Each has a thread of its own for what it is given, so that one that is slow or away holds up none of
the others. What one does not take is tried again, ever more rarely.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tallystick.consensus.client import NodeClient, RefusedError, Route, Signer
from tallystick.consensus.wire import NO_PART_HERE
from tallystick.errors import TallyError, UnavailableError
from tallystick.federation.transfer import Transfers
from tallystick.node.shelf_store import LostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.witness import Witness
    from tallystick.node.shelf_store import ShelfStore

__all__ = ["Job", "Peer"]

LOG = logging.getLogger(__name__)
MOST_PENDING = 4096  # blobs that wait for one node; the oldest are left for it to fetch
MOST_REMEMBERED = 4096  # of those it was given
MOST_REFUSALS = 10  # of one blob, over some 13 minutes
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0  # while it is away
FIRST_REFUSED_SECONDS, LONGEST_REFUSED_SECONDS = 2.0, 300.0  # while it refuses one blob
LAST_SECONDS = 2.0  # for what is under way to look up at the end

Job = tuple[bytes, bytes]  # a task and the root of a blob


@dataclass(slots=True)
class _Push:
    """A blob to be given: not before ``again``, after so many refusals and tries."""

    again: float = 0.0
    refusals: int = 0
    tries: int = 0


class Peer:
    """A node at an address.

    Parameters
    ----------
    is_over
        Whether a task has ended: what could not be given by then is forgotten.

    Attributes
    ----------
    transfers
        Downloads from it alone, onto this node's shelf.
    """

    def __init__(
        self,
        route: Route,
        signer: Callable[[], Signer],
        store: ShelfStore,
        witness: Witness,
        is_over: Callable[[bytes], bool],
    ) -> None:
        """Speak to nobody yet.

        Raises
        ------
        ConfigError
            As `NodeClient`.
        """
        self._client = NodeClient(route, signer)
        self.url = self._client.url
        self.transfers = Transfers(self._client, store, witness)
        self._store, self._is_over = store, is_over
        self._pushes: OrderedDict[Job, _Push] = OrderedDict()
        self._given: OrderedDict[Job, None] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._pause = FIRST_PAUSE_SECONDS
        self._away_until = 0.0

    @property
    def pending(self) -> int:
        """How many blobs it is still to be given."""
        return len(self._pushes)

    @property
    def is_away(self) -> bool:
        """Whether it did not answer a moment ago."""
        return time.monotonic() < self._away_until

    def give(self, job: Job) -> None:
        """Give it a blob soon, unless it was given it already; does not wait."""
        with self._changed:
            if self._ended.is_set() or job in self._given or job in self._pushes:
                return
            if len(self._pushes) >= MOST_PENDING:
                (_, left), _ = self._pushes.popitem(last=False)
                LOG.warning("%s has to fetch blob %s itself", self.url, left.hex()[:12])
            self._pushes[job] = _Push()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="replicator", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def note(self, *, answered: bool) -> None:
        """Note whether it answered just now."""
        with self._changed:
            if answered:
                self._away_until, self._pause = 0.0, FIRST_PAUSE_SECONDS
                self._changed.notify_all()
            else:
                self._away_until = time.monotonic() + self._pause
                self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Give nothing more, and wait for nobody who hangs."""
        self._ended.set()
        with self._changed:
            self._pushes.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS)
        self._client.close()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                self._push(job)
            except Exception:
                if self._ended.is_set():  # its connections were closed
                    return
                LOG.exception("our bug: %s is not given blob %s", self.url, job[1].hex()[:12])
                self._forget(job)

    def _next(self) -> Job | None:
        """Return the blob to give now; `None` at the end."""
        with self._changed:
            while not self._ended.is_set():
                now = time.monotonic()
                for job, push in self._pushes.items():
                    if max(push.again, self._away_until) <= now:
                        push.tries += 1
                        return job
                soonest = min((push.again for push in self._pushes.values()), default=None)
                self._changed.wait(
                    None if soonest is None else max(soonest, self._away_until) - now
                )
        return None

    def _push(self, job: Job) -> None:
        push = self._pushes.get(job)
        if push is None or (push.tries > 1 and self._is_over(job[0])):
            self._forget(job)
            return
        try:
            source = self._store.open(*job)
            self.transfers.send(self.url, *job, source, is_over=self._ended.is_set)
        except LostError as error:
            LOG.warning("%s is not given blob %s: %s", self.url, job[1].hex()[:12], error)
            self._forget(job)
        except UnavailableError as error:
            if not self._ended.is_set():
                LOG.info("%s is away: %s", self.url, error)
            self.note(answered=False)
        except TallyError as error:
            self.note(answered=True)
            if isinstance(error, RefusedError) and error.code == NO_PART_HERE:
                self._forget(job)
            else:
                self._put_off(job, error)
        else:
            self.note(answered=True)
            self._remember(job)

    def _put_off(self, job: Job, error: TallyError) -> None:
        """Try a blob again later that the node refuses: it may not know the task yet."""
        with self._changed:
            push = self._pushes.get(job)
            if push is None:
                return
            push.refusals += 1
            pause = FIRST_REFUSED_SECONDS * 2 ** (push.refusals - 1)
            push.again = time.monotonic() + min(pause, LONGEST_REFUSED_SECONDS)
            if push.refusals >= MOST_REFUSALS:
                LOG.warning("%s does not take blob %s: %s", self.url, job[1].hex()[:12], error)
                del self._pushes[job]

    def _remember(self, job: Job) -> None:
        with self._changed:
            self._pushes.pop(job, None)
            self._given[job] = None
            while len(self._given) > MOST_REMEMBERED:
                self._given.popitem(last=False)

    def _forget(self, job: Job) -> None:
        with self._changed:
            self._pushes.pop(job, None)
