"""A task's log from wherever it is kept: a bundle, the folder of a run, or a network."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.cli.reach import Reach
from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["follow_leaves", "parties_of", "reach_of", "read_leaves"]

POLL_SECONDS = 0.2
PATIENCE_SECONDS = 20.0  # that a node may wait for the next block
MAGIC = b"SQLite format 3"
WAL_BYTE, WAL_MODE = 18, 2  # in SQLite's header: the file is written ahead


def reach_of(
    source: str, ca: Path | None, proxy: str | None, genesis: str
) -> tuple[str | Reach, str]:
    """Return where a source is, and which task of it is meant if it is a network's address.

    Raises
    ------
    ConfigError
        A way to a network is given to what is none.
    """
    if source.startswith(("http://", "https://")):
        url, _, task = source.partition("#")
        return Reach(url, ca, proxy, genesis), task
    if ca or proxy or genesis:
        msg = f"'{source}' is no node's address, which --ca, --proxy and --genesis are for"
        raise ConfigError(msg, hint="leave them out; `tally verify` checks a bundle's genesis")
    return source, ""


def read_leaves(source: str | Reach, task: str = "") -> list[tuple[int, bytes]]:
    """Return a task's log leaves, each with the height of its block.

    Parameters
    ----------
    task
        The task's name, for a network with several.

    Raises
    ------
    ConfigError
        Neither a bundle nor a run's folder, or no such task.
    DecodeError
        The bundle is damaged.
    UnavailableError, VerificationError
        The node does not answer, or lies.
    """
    if isinstance(source, Reach):
        return list(_node_leaves(source, task, follow=False))
    path = _path(source)
    if path.is_dir():
        return list(_run_leaves(path, follow=False))
    return _bundle_leaves(path)


def follow_leaves(source: str | Reach, task: str = "") -> Iterator[tuple[int, bytes]]:
    """Yield the leaves that are there and those that come, until the task has ended.

    Raises
    ------
    ConfigError, DecodeError, UnavailableError, VerificationError
        As `read_leaves`.
    """
    if isinstance(source, Reach):
        return _node_leaves(source, task, follow=True)
    path = _path(source)
    return _run_leaves(path, follow=True) if path.is_dir() else iter(_bundle_leaves(path))


def parties_of(source: str | Reach, task: str = "") -> tuple[str, ...]:
    """Return everybody the task's terms name; raises as `read_leaves`."""
    from tallystick.provenance.history import read_history

    return read_history(read_leaves(source, task)).terms.parties


def _path(source: str) -> Path:
    path = Path(source)
    if not path.exists():
        msg = f"'{source}' is neither a file nor a folder"
        raise ConfigError(msg, hint="name a bundle such as run.tally, or a run's folder")
    return path


def _node_leaves(reach: Reach, task: str, *, follow: bool) -> Iterator[tuple[int, bytes]]:
    """Execute every block of a network: nothing a node says is believed."""
    from tallystick.federation.proposing import find_task
    from tallystick.ledger.collect.notes import Finished
    from tallystick.provenance.leaf import parse_leaf

    with reach.open() as acting:
        wanted = find_task(acting.state, task)
        number, ended = 0, False
        while True:
            for height, leaf in list(acting.engine.leaves(wanted, number)):
                number += 1
                ended = ended or isinstance(parse_leaf(leaf), Finished)
                yield height, leaf
            if ended or not follow:
                return
            acting.engine.follow(PATIENCE_SECONDS)


def _bundle_leaves(path: Path) -> list[tuple[int, bytes]]:
    """Execute the blocks, whose heights the log leaves themselves do not name."""
    from tallystick.provenance.bundle import Bundle
    from tallystick.provenance.execution import execute

    with Bundle(path) as bundle:
        return list(execute(bundle, None).leaves)


def _run_leaves(folder: Path, *, follow: bool) -> Iterator[tuple[int, bytes]]:
    from tallystick.ledger.collect.notes import Finished
    from tallystick.provenance.leaf import parse_leaf
    from tallystick.storage.sqlite import LedgerStore

    ledger = folder / "ledger.db"
    task = bytes.fromhex(_marker(folder)["terms"])
    while follow and not _is_founded(ledger):
        time.sleep(POLL_SECONDS)
    if not _is_founded(ledger):
        msg = f"{folder} holds a run that has not begun: there is no ledger.db"
        raise ConfigError(msg, hint="start it with `tally run`")
    store = LedgerStore(ledger)
    try:
        number, ended = 0, False
        while True:
            for height, leaf in list(store.leaves(task, number)):
                number += 1
                ended = ended or isinstance(parse_leaf(leaf), Finished)
                yield height, leaf
            if ended or not follow:
                return
            time.sleep(POLL_SECONDS)
    finally:
        store.close()


def _is_founded(ledger: Path) -> bool:
    """Whether the ledger's own process is done setting it up: a reader must not get in between.

    Damaged files count, so that opening them says so.
    """
    try:
        with ledger.open("rb") as file:
            head = file.read(WAL_BYTE + 1)
    except FileNotFoundError:
        return False
    return len(head) > WAL_BYTE and (head[WAL_BYTE] == WAL_MODE or not head.startswith(MAGIC))


def _marker(folder: Path) -> dict[str, Any]:
    """Return what a run's folder says about itself."""
    path = folder / "run.json"
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        bytes.fromhex(found["terms"])
    except FileNotFoundError:
        msg = f"{folder} holds no run: there is no run.json"
        raise ConfigError(msg, hint="name the folder that --out named") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is damaged or cannot be read"
        raise ConfigError(msg, hint="restore it, or use the bundle") from error
    return found
