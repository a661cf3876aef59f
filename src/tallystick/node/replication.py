"""Blobs between organisations' nodes: given to all at once, fetched where one is missing.

What a member uploads to its node that node gives to every other one; what another node gives it
passes on to nobody. What the ledger names and is not here is fetched, and so is what a member asks
for, while its request waits. Nothing here holds up a block or a request for anything else.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from tallystick.consensus.client import Route
from tallystick.errors import TallyError
from tallystick.ledger.collect.rows import ENDED, LIVE, SEEN, TASKS, TERMS
from tallystick.node.gate import NODE
from tallystick.node.naming import author_of, named_blobs
from tallystick.node.peer import Peer
from tallystick.node.pulling import Pulls
from tallystick.node.shelf_store import ShelfStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from tallystick.consensus.client import Signer
    from tallystick.consensus.witness import Witness
    from tallystick.ledger.state import State
    from tallystick.node.metrics import Metrics
    from tallystick.node.peer import Job
    from tallystick.storage.shelf import Shelf

__all__ = ["Replicator"]

LOG = logging.getLogger(__name__)
LOOK_SECONDS = 1.0  # at the ledger, at most so often


class Replicator:
    """Moves the blobs of one organisation's node to and from the others'.

    Parameters
    ----------
    peers
        The other nodes' addresses; a node whose own is in nobody's list still gives and fetches.
    signer
        Asked for this organisation's validator key whenever a request is made.
    state
        Asked for the newest state, from any thread.
    member
        This organisation: of tasks it is no party of nothing is kept here.
    witness
        Writes down who serves other bytes than a root says.
    ca, proxy
        How the others are reached; see `Route`.

    Raises
    ------
    ConfigError
        An address is none, or the authority's file cannot be read.

    Notes
    -----
    A thread for each other node that was ever given something, four that fetch, and one that looks
    at the ledger. What is still to be given is not on disk: after a restart it is found again by
    what the shelf holds of this organisation's own. What others uploaded here the rest fetch.
    """

    def __init__(  # noqa: PLR0913 - what it moves, where to, and as whom
        self,
        shelf: Shelf,
        peers: Sequence[str],
        signer: Callable[[], Signer],
        state: Callable[[], State],
        *,
        member: str,
        metrics: Metrics,
        witness: Witness,
        ca: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        """Speak to nobody before `start`."""
        self.member = member
        self._shelf, self._state = shelf, state
        taken = metrics.replicated_bytes.labels("in")
        given = metrics.replicated_bytes.labels("out")
        store = ShelfStore(shelf, self._account, taken.inc, given.inc)
        self._store = store
        self._peers = [
            Peer(Route((url,), ca, proxy), signer, store, witness, self._is_over)
            for url in dict.fromkeys(peers)
        ]
        self._pulls = Pulls(self._peers, store)
        self._rung, self._ended = threading.Event(), threading.Event()
        self._looker = threading.Thread(target=self._look_on, name="replicator", daemon=True)
        metrics.pending_pushes.set_function(lambda: self.pending)

    @property
    def pending(self) -> int:
        """How many blobs other nodes are still to be given, one for each node."""
        return sum(peer.pending for peer in self._peers)

    def start(self) -> None:
        """Begin to give and to fetch."""
        self._pulls.start()
        self._rung.set()
        self._looker.start()

    def stop(self) -> None:
        """Let nobody wait any more, and leave what is under way; it goes on after a start."""
        self._ended.set()
        self._rung.set()
        self._pulls.close()
        for peer in self._peers:
            peer.close()
        if self._looker.is_alive():
            self._looker.join()

    def ring(self, height: int) -> None:  # noqa: ARG002
        """Say that there is a new block; from any thread, without waiting."""
        self._rung.set()

    def stored(self, task: bytes, root: bytes, member: str, role: str) -> None:
        """Say that a blob became whole here: what a member uploaded goes to every other node.

        Parameters
        ----------
        member, role
            Who sent the end of it, and the role of its key. What a node gave goes no further.
        """
        self._pulls.arrived(task, root)
        if role != NODE:
            LOG.debug("blob %s of '%s' goes to all nodes", root.hex()[:12], member)
            self._give(task, root)

    def wanted(self, task: bytes, root: bytes, member: str, *, begun: bool = False) -> Future[bool]:
        """Fetch what a member asks for; return what is true once it is here.

        False as soon as no other node has it. Whoever waits may give up, and it comes all the same.

        Parameters
        ----------
        begun
            Whether part of it is here.
        """
        return self._pulls.want(task, root, member, begun=begun)

    def _give(self, task: bytes, root: bytes) -> None:
        for peer in self._peers:
            peer.give((task, root))

    def _look_on(self) -> None:
        """Look at the ledger whenever it has grown."""
        is_first = True
        while True:
            self._rung.wait()
            self._rung.clear()
            if self._ended.is_set():
                return
            try:
                if is_first:
                    self._resume()
                is_first = False
                self._pulls.need(self._missing())
            except TallyError as error:
                LOG.warning("what the ledger names is not looked for: %s", error)
            except Exception:
                LOG.exception("our bug: what the ledger names is not looked for")
            self._ended.wait(LOOK_SECONDS)

    def _resume(self) -> None:
        """Give what this organisation uploaded before a restart and others may lack."""
        state = self._state()
        for task in self._tasks(state):
            named = named_blobs(state, task)
            for root, _, member in self._shelf.blobs(task):
                is_new = root in named or state.get(SEEN, task, root) is None
                if member == self.member and is_new:
                    self._give(task, root)

    def _missing(self) -> Iterator[Job]:
        """Yield what running tasks name that is not here."""
        state = self._state()
        for task in self._tasks(state):
            for root in named_blobs(state, task):
                if not self._store.has(task, root):
                    yield task, root

    def _tasks(self, state: State) -> Iterator[bytes]:
        """Yield the running tasks of this organisation."""
        for task in state.get(LIVE) or ():
            terms = state.get(TERMS, task)
            if terms is not None and self.member in terms.parties:
                yield task

    def _is_over(self, task: bytes) -> bool:
        row = self._state().get(TASKS, task)
        return row is None or row.status in ENDED

    def _account(self, task: bytes, root: bytes) -> str:
        """Return for whom a blob counts: who made it, else who asked, else this organisation."""
        author = author_of(self._state(), task, root)
        return author or self._pulls.asker(task, root) or self.member
