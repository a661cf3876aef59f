"""A node that begins late: with a snapshot, and then with the history before it.

Where to begin is checked from the genesis on (`consensus.cometbft.climb`); CometBFT fetches the
snapshot and checks it against that. Every block before is fetched from other nodes afterwards and
executed from genesis like a member does it, so what this node shows and bundles rests on what it
checked, not on what it was told.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tallystick.consensus.client import NodeClient, Route
from tallystick.consensus.cometbft.climb import LIGHT, climb, light_fetcher
from tallystick.consensus.cometbft.headers import comet_header_hash
from tallystick.consensus.cometbft.settings import StateSync
from tallystick.consensus.remote import Remote
from tallystick.consensus.witness import Witness
from tallystick.errors import TallyError, UnavailableError
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tallystick.federation.settings import NodeSettings
    from tallystick.ledger.block import Header
    from tallystick.ledger.genesis import Genesis

__all__ = ["Backfill", "find_snapshot"]

LOG = logging.getLogger(__name__)
TRUST_SECONDS = 7 * 24 * 3600
ASK_SECONDS = 5.0
PAUSE_SECONDS = 2.0
PARTS = "state-sync"
FILE = "backfill.db"


def find_snapshot(folder: Path, genesis: Genesis, settings: NodeSettings) -> StateSync | None:
    """Return from where to take a state, checked from the genesis on; `None` where nobody has one.

    Parameters
    ----------
    folder
        The node's; parts of a snapshot are kept in it meanwhile.

    Raises
    ------
    VerificationError
        A node's headers are no history of this genesis.
    """
    authority = Path(settings.authority) if settings.authority else None
    heights = {url: _snapshot_at(url, authority) for url in settings.nodes}
    found = {url: height for url, height in heights.items() if height}
    for url in sorted(found, key=lambda each: -found[each]):
        try:
            trusted = climb(genesis, light_fetcher(url, authority), found[url])
        except UnavailableError as error:
            LOG.warning("%s", error)
            continue
        parts = folder.resolve() / PARTS
        parts.mkdir(parents=True, exist_ok=True)
        servers = [f"{each.rstrip('/')}{LIGHT}" for each in found]
        LOG.info("beginning with a state of height %d, as %s has one", found[url], url)
        return StateSync(
            rpc_servers=tuple(servers if len(servers) > 1 else servers * 2),
            trust_height=trusted.height,
            trust_hash=comet_header_hash(trusted.header),
            trust_seconds=TRUST_SECONDS,
            folder=parts,
        )
    return None


def _snapshot_at(url: str, authority: Path | None) -> int:
    """Return the height of the newest snapshot a node says it has, 0 for none."""
    try:
        verify = True if authority is None else str(authority)
        with httpx.Client(verify=verify, timeout=ASK_SECONDS) as client:
            said = client.get(f"{url.rstrip('/')}/v1/status").json()
        return int(said["snapshot"])
    except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        LOG.info("%s names no snapshot: %s", url, error)
        return 0


class Backfill:
    """Fetches the blocks before the state a node began with, in a thread of its own.

    Parameters
    ----------
    nodes
        Who is asked.
    base
        Asked for the header the ledger began with, `None` once there is nothing to fetch.
    take
        Called with the file that holds every block up to there, checked.
    """

    def __init__(
        self,
        folder: Path,
        genesis: Genesis,
        nodes: Sequence[str],
        base: Callable[[], Header | None],
        take: Callable[[Path], None],
        authority: Path | None = None,
    ) -> None:
        """Ask nobody before `start`."""
        self._folder = folder
        self._genesis = genesis
        self._route = Route(tuple(nodes), authority, None) if nodes else None
        self._base = base
        self._take = take
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
        while not self._stopping.wait(PAUSE_SECONDS):
            base = self._base()
            if base is None or self._route is None:
                continue
            try:
                self._fill(base, self._route)
            except TallyError as error:
                LOG.warning("the blocks before %d are not here yet: %s", base.height, error)
            except Exception:
                LOG.exception("the blocks before %d are not fetched", base.height)
                return

    def _fill(self, base: Header, route: Route) -> None:
        path = self._folder / FILE
        witness = Witness(self._folder / "evidence")
        with closing(NodeClient(route)) as client:
            ledger = Remote(LedgerStore(path, durable=False), client, self._genesis, witness)
            try:
                while ledger.head.height < base.height:
                    if self._stopping.is_set():
                        return
                    if not ledger.follow():
                        msg = f"nobody shows block {ledger.head.height + 1}"
                        raise UnavailableError(msg)
                known = ledger.head if ledger.head.height == base.height else None
                header = known or next(iter(ledger.blocks(base.height))).header
            finally:
                ledger.close()
        if header != base:
            msg = f"block {base.height} is another one than the state this node began with says"
            raise UnavailableError(msg, hint="remove the node's ledger.db and cometbft/data")
        self._take(path)
        for each in (path, path.with_name(f"{FILE}-wal"), path.with_name(f"{FILE}-shm")):
            with suppress(OSError):
                each.unlink()
        LOG.info("every block since genesis is here")
