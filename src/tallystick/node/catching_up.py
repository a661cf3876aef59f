"""The history before the state that a node began with.

Every block before is fetched from other nodes and executed from genesis like a member does it, so
what this node shows and bundles rests on what it checked, not on what it was told. That confirms
the header it began with, parts of which nobody signed. Where it was a false one, the blocks that
were fetched take its place, and the node's own are executed on top of them.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

from tallystick.consensus.client import NodeClient, Route
from tallystick.consensus.cometbft.replica import Replica
from tallystick.consensus.remote import Remote
from tallystick.consensus.witness import LyingNodeError, Witness
from tallystick.errors import InvariantError, TallyError, UnavailableError
from tallystick.ledger.transaction import transaction_hash
from tallystick.node.home import LEDGER
from tallystick.node.parent import end_this_process
from tallystick.storage.files import sync_folder, translated
from tallystick.storage.sqlite import PROVEN, LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tallystick.ledger.block import Header
    from tallystick.ledger.genesis import Genesis

__all__ = ["Backfill", "put_right", "remove_ledger"]

LOG = logging.getLogger(__name__)
PAUSE_SECONDS = 2.0
MOST_PAUSE_SECONDS = 300.0
FILE = "backfill.db"


class Backfill:
    """Fetches the blocks before the state a node began with, in a thread of its own.

    Parameters
    ----------
    nodes
        Who is asked.
    ledger
        The node's own; it is given every block up to its base, checked.
    leave
        Called when the header it began with turns out to be a false one: `put_right` mends that
        before the next start. By default this process ends, and is started again.
    """

    def __init__(
        self,
        folder: Path,
        genesis: Genesis,
        nodes: Sequence[str],
        ledger: Replica,
        authority: Path | None = None,
        leave: Callable[[], None] = end_this_process,
    ) -> None:
        """Ask nobody before `start`."""
        self._path = folder / FILE
        self._genesis = genesis
        self._route = Route(tuple(nodes), authority, None) if nodes else None
        self._ledger = ledger
        self._leave = leave
        self._witness = Witness(folder / "evidence")
        self._client: NodeClient | None = None  # knows who lied
        self._reached = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="backfill", daemon=True)

    def start(self) -> None:
        """Begin; a node that has everything does nothing."""
        self._thread.start()

    def stop(self) -> None:
        """Leave; what was fetched is kept."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        pause = PAUSE_SECONDS
        while not self._stopping.wait(pause):
            base = self._ledger.base
            if base is None or self._route is None:
                continue
            reached = self._reached
            try:
                self._fill(base, self._ask(self._route))
                pause = PAUSE_SECONDS
            except TallyError as error:
                LOG.warning("the blocks before %d are not here yet: %s", base.height, error)
                moves = self._reached > reached or isinstance(error, LyingNodeError)
                pause = PAUSE_SECONDS if moves else min(2 * pause, MOST_PAUSE_SECONDS)
            except Exception:
                LOG.exception("the blocks before %d are not fetched", base.height)
                break
        if self._client is not None:
            self._client.close()

    def _ask(self, route: Route) -> NodeClient:
        """Return how nodes are asked; whoever lied is asked again once nobody else is left."""
        if self._client is not None and self._client.none_left:
            self._client.close()
            self._client = None
        if self._client is None:
            self._client = NodeClient(route)
        return self._client

    def _fill(self, base: Header, client: NodeClient) -> None:
        store = LedgerStore(self._path, durable=False)
        with ExitStack() as opened:
            opened.callback(store.close)
            fetched = Remote(store, client, self._genesis, self._witness)
            self._fetch(fetched, client, base.height)
            if self._stopping.is_set():
                return
            header, top = next(fetched.blocks(base.height)).header, fetched.head.height
        if header == base:
            self._ledger.fill_in(self._path)
            remove_ledger(self._path)
            LOG.info("every block since genesis is here")
            return
        msg = f"block {base.height} is another one than the state this node began with says"
        if self._ledger.head.height < max(top, base.height + 1):
            msg = f"{msg}; that is put right once block {max(top, base.height + 1)} is here"
            raise UnavailableError(msg)
        LOG.error("%s: starting anew with the blocks that were fetched", msg)
        self._stopping.set()
        self._leave()

    def _fetch(self, fetched: Remote, client: NodeClient, height: int) -> None:
        """Follow up to a height, or until told to stop."""
        silent = 0
        while fetched.head.height < height and not self._stopping.is_set():
            first = client.url
            if fetched.follow():
                silent, self._reached = 0, fetched.head.height
                continue
            client.turn(first)
            silent += 1
            if silent > len(client.urls):
                msg = f"nobody shows block {fetched.head.height + 1}"
                raise UnavailableError(msg)


def put_right(folder: Path, genesis: Genesis) -> None:
    """Where a ledger began with a false header, let the blocks a `Backfill` checked replace it.

    Elsewhere nothing is done. What the validators decided since is executed again, on
    the true header: the state is the same, and so is the height, which is all CometBFT knows of
    it. Whoever dies on the way does it over.

    Raises
    ------
    UnavailableError
        The disk is full or failed, or a file is damaged.
    InvariantError
        A block leads to another state on the true header.
    """
    path, filled = folder / LEDGER, folder / FILE
    if not (path.exists() and filled.exists()):
        return
    with closing(LedgerStore(path)) as store:
        base, head = store.base(), store.head()
        if base is None or head is None or head.height == base.height:
            return
        with closing(LedgerStore(filled)) as whole:
            found, top = next(whole.blocks(base.height), None), whole.head()
            if found is None or top is None or found.header.height != base.height:
                return
            if found.header == base or top.height > head.height:
                return
            whole.set_fact(PROVEN, str(base.height).encode())
        LOG.warning("executing the blocks after %d again, on the true header", base.height)
        _execute(store, base.height, filled, genesis)
        with closing(LedgerStore(filled)) as whole:
            whole.hold((transaction_hash(wire), wire) for wire in store.held())
    with translated(path):
        if filled.with_name(f"{FILE}-wal").exists():
            msg = f"{filled} could not be closed in good order"
            raise UnavailableError(msg, hint="see the disk and its space")
        for each in _beside(path):
            each.unlink(missing_ok=True)
        filled.replace(path)
        sync_folder(folder)


def _execute(store: LedgerStore, height: int, filled: Path, genesis: Genesis) -> None:
    """Bring the ledger in a file to the head of another one, of which both have a height."""
    with closing(Replica(LedgerStore(filled), genesis)) as replica:
        for block in store.blocks(replica.head.height + 1):
            header = block.header
            made = replica.finalize(header.height, header.time, block.transactions).outcome.header
            if made.state_root != header.state_root:
                msg = f"block {header.height} leads to another state than it did before"
                raise InvariantError(msg)
            replica.commit()
        for block in store.blocks(height + 1):
            if block.evidence:
                replica.prove(block.header.height, block.evidence)


def remove_ledger(path: Path) -> None:
    """Remove a ledger's file with what SQLite keeps beside it, and nothing else."""
    with translated(path):
        for each in (*_beside(path), path):
            each.unlink(missing_ok=True)


def _beside(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
