"""A task's log from wherever it is kept: a bundle, or the folder of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["follow_leaves", "parties_of", "read_leaves"]

POLL_SECONDS = 0.2
MAGIC = b"SQLite format 3"
WAL_BYTE, WAL_MODE = 18, 2  # in SQLite's header: the file is written ahead


def read_leaves(source: str) -> list[tuple[int, bytes]]:
    """Return a task's log leaves, each with the height of its block.

    Raises
    ------
    ConfigError
        Neither a bundle nor a run's folder, or a network's address, which this release does not
        read.
    DecodeError
        The bundle is damaged.
    """
    path = _path(source)
    if path.is_dir():
        return list(_run_leaves(path, follow=False))
    return _bundle_leaves(path)


def follow_leaves(source: str) -> Iterator[tuple[int, bytes]]:
    """Yield the leaves that are there and those that come, until the task has ended.

    Raises
    ------
    ConfigError
        As `read_leaves`.
    """
    path = _path(source)
    return _run_leaves(path, follow=True) if path.is_dir() else iter(_bundle_leaves(path))


def parties_of(source: str) -> tuple[str, ...]:
    """Return everybody the task's terms name; raises as `read_leaves`."""
    from tallystick.provenance.history import read_history

    return read_history(read_leaves(source)).terms.parties


def _path(source: str) -> Path:
    if source.startswith(("http://", "https://")):
        msg = f"'{source}' is a node's address: this release reads bundles and runs' folders"
        raise ConfigError(msg, hint="name a file such as run.tally, or a run's folder")
    path = Path(source)
    if not path.exists():
        msg = f"'{source}' is neither a file nor a folder"
        raise ConfigError(msg, hint="name a bundle such as run.tally, or a run's folder")
    return path


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
