"""Where a node without a history begins: with a state that others have, checked from genesis on.

All nodes are asked at once, and none of them is waited for or believed: what a node shows counts
when it is a chain of light blocks from the genesis on (`consensus.cometbft.climb`).
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from tallystick.consensus.client import NodeClient, Route
from tallystick.consensus.cometbft.climb import LIGHT, climb, climb_past, light_fetcher
from tallystick.consensus.cometbft.headers import comet_header_hash
from tallystick.consensus.cometbft.settings import StateSync
from tallystick.consensus.wire import API
from tallystick.errors import TallyError, UnavailableError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tallystick.consensus.cometbft.commits import LightBlock
    from tallystick.federation.settings import NodeSettings
    from tallystick.ledger.block import Header
    from tallystick.ledger.genesis import Genesis

__all__ = ["confirm_header", "find_snapshot"]

LOG = logging.getLogger(__name__)
TRUST_SECONDS = 7 * 24 * 3600
NANOS = 10**9
PATIENCE_SECONDS = 120.0  # for the first node that shows what is asked for
GRACE_SECONDS = 5.0  # for the others after that
PAUSE_SECONDS = 2.0  # before nobody is asked again
MOST_HEIGHT = 1 << 62
PARTS = "state-sync"

T = TypeVar("T")


def find_snapshot(folder: Path, genesis: Genesis, settings: NodeSettings) -> StateSync | None:
    """Return from where to take a state, checked from the genesis on; `None` where nobody has one.

    Parameters
    ----------
    folder
        The node's; parts of a snapshot are kept in it meanwhile.
    """

    def look(client: NodeClient, fetch: Callable[[int], LightBlock]) -> LightBlock:
        return climb(genesis, fetch, _snapshot_at(client))

    found = _ask_all(settings, look)
    if not found:
        return None
    url, trusted = max(found.items(), key=lambda each: each[1].height)
    parts = folder.resolve() / PARTS
    parts.mkdir(parents=True, exist_ok=True)
    servers = [f"{each}{LIGHT}" for each in found]
    LOG.info("beginning with a state of height %d, as %s has one", trusted.height, url)
    return StateSync(
        rpc_servers=tuple(servers if len(servers) > 1 else servers * 2),
        trust_height=trusted.height,
        trust_hash=comet_header_hash(trusted.header),
        trust_seconds=TRUST_SECONDS + _age_seconds(trusted),
        folder=parts,
    )


def confirm_header(header: Header, genesis: Genesis, settings: NodeSettings) -> None:
    """Check the header of a snapshot against the light blocks of its height and the next.

    They fix its time and its state. What else it says is fixed by the blocks before it alone.

    Raises
    ------
    VerificationError
        Two thirds of the validators signed another time or state.
    UnavailableError
        No node shows these light blocks now.
    """
    height = header.height
    found = _ask_all(settings, lambda _, fetch: climb_past(genesis, fetch, height))
    if not found:
        time.sleep(PAUSE_SECONDS)
        msg = f"no node shows what the validators signed at height {height}"
        raise UnavailableError(msg)
    for light, following in found.values():
        if header.time != light.header.time.milliseconds:
            msg = f"block {height} has another time than the validators signed"
            raise VerificationError(msg)
        if header.state_root != following.header.app_hash:
            msg = f"block {height} has another state than the validators signed"
            raise VerificationError(msg)


def _ask_all(
    settings: NodeSettings, look: Callable[[NodeClient, Callable[[int], LightBlock]], T]
) -> dict[str, T]:
    """Return what was found out at each node, by its address, of those that answer in time."""
    authority = Path(settings.authority) if settings.authority else None
    told: SimpleQueue[tuple[str, T | None]] = SimpleQueue()
    end = time.monotonic() + PATIENCE_SECONDS

    def ask(url: str) -> None:
        address = url
        result: T | None = None
        try:
            with closing(NodeClient(Route((url,), authority))) as client:
                address = client.url
                result = look(client, _until(end, light_fetcher(client)))
        except TallyError as error:
            LOG.warning("%s: %s", url, error)
        finally:
            told.put((address, result))

    for url in settings.nodes:
        threading.Thread(target=ask, args=(url,), name="beginning", daemon=True).start()
    found: dict[str, T] = {}
    for _ in settings.nodes:
        try:
            url, result = told.get(timeout=max(0.0, end - time.monotonic()))
        except Empty:
            LOG.warning("not every node answers in time")
            break
        if result is not None:
            found[url] = result
            end = min(end, time.monotonic() + GRACE_SECONDS)
    return found


def _until(end: float, fetch: Callable[[int], LightBlock]) -> Callable[[int], LightBlock]:
    """Return what fetches until a moment of the monotonic clock, so that no thread goes on."""

    def fetch_in_time(height: int) -> LightBlock:
        if time.monotonic() > end:
            msg = f"nobody waits for block {height} any more"
            raise UnavailableError(msg)
        return fetch(height)

    return fetch_in_time


def _snapshot_at(client: NodeClient) -> int:
    """Return the height of the newest snapshot that a node says it has."""
    said = client.ask("GET", f"{API}/status").document().get("snapshot")
    if isinstance(said, bool) or not isinstance(said, int) or not 0 < said < MOST_HEIGHT:
        msg = "it has no snapshot"
        raise UnavailableError(msg)
    return said


def _age_seconds(light: LightBlock) -> int:
    """Return how long ago a block was, 0 for one that is ahead of this machine's clock.

    It was checked without a clock, and CometBFT is to trust it however long the ledger stood still.
    """
    return max(0, time.time_ns() - light.header.time.total) // NANOS
