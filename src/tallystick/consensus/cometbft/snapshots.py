"""Snapshots: what a newcomer begins with instead of every block since genesis.

A snapshot is the header of a height and every row of the state after it, in key order, cut into
chunks. All nodes make the same bytes. Whoever takes one in checks each chunk against the list it
was offered with, and the whole against the state root that two thirds of the validators signed.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import U32, U63, Hash, Record, decode, encode
from tallystick.crypto.hashes import sha256
from tallystick.errors import DecodeError, InvariantError, TallyError, UnavailableError
from tallystick.ledger.block import Header
from tallystick.storage.files import write_new
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EVERY", "FORMAT", "SnapshotInfo", "Snapshots", "join_chunks"]

LOG = logging.getLogger(__name__)
FORMAT = 1
CHUNK_BYTES = 8 << 20
MOST_CHUNKS = 4096
EVERY = 500  # blocks
KEPT = 3
INFO = "info"
# How an offer and a chunk are answered.
ACCEPT, ABORT, REJECT, REJECT_FORMAT = 1, 2, 3, 4
RETRY, REJECT_SNAPSHOT = 3, 5

Row = tuple[bytes, bytes]


class SnapshotInfo(Record):
    """What a snapshot is known by; ``parts`` are the hashes of its chunks."""

    height: U63
    format: U32
    parts: Annotated[tuple[Hash, ...], msgspec.Meta(min_length=1, max_length=MOST_CHUNKS)]

    @property
    def hash(self) -> bytes:
        """The identity of the whole."""
        return sha256("snapshot", *self.parts)


@dataclass(slots=True)
class _Coming:
    """A snapshot being taken in."""

    info: SnapshotInfo
    root: bytes
    chunks: dict[int, bytes]


class Snapshots:
    """The snapshots of one node, and the one it is about to begin with.

    Parameters
    ----------
    folder
        Where they are kept, newest `KEPT`.
    ledger
        The ledger's file, of which a snapshot reads one moment while blocks go on.
    restore
        Called with the rows and the header of a snapshot that checks out.
    every
        Height between two of them; 0 makes none.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Path,
        restore: Callable[[dict[bytes, bytes], Header], None],
        every: int = EVERY,
    ) -> None:
        """Find what earlier processes made."""
        self._folder = folder
        self._ledger = ledger
        self._restore = restore
        self._every = every
        self._coming: _Coming | None = None
        self._making: threading.Thread | None = None
        for unfinished in folder.glob(".*"):
            shutil.rmtree(unfinished, ignore_errors=True)

    def after(self, head: Header) -> None:
        """Begin a snapshot if one is due; it reads the ledger as it is now."""
        if not self._every or head.height % self._every:
            return
        if self._making is not None and self._making.is_alive():
            LOG.warning("no snapshot of height %d: the last one is not done", head.height)
            return
        try:
            store = LedgerStore(self._ledger)
            store.pin()
        except (sqlite3.Error, UnavailableError) as error:  # blocks go on without a snapshot
            LOG.warning("no snapshot of height %d: %s", head.height, error)
            return
        self._making = threading.Thread(
            target=self._make, args=(store, head), name="snapshot", daemon=True
        )
        self._making.start()

    def wait(self) -> None:
        """Wait until the snapshot that was begun is there."""
        if self._making is not None:
            self._making.join()

    def listed(self) -> list[SnapshotInfo]:
        """Return the snapshots that are whole, newest first."""
        found: list[SnapshotInfo] = []
        for file in self._folder.glob(f"[0-9]*/{INFO}"):
            try:
                found.append(decode(SnapshotInfo, file.read_bytes()))
            except (DecodeError, OSError) as error:
                LOG.warning("%s is no snapshot: %s", file.parent, error)
        return sorted(found, key=lambda info: info.height, reverse=True)

    def load(self, height: int, kind: int, index: int) -> bytes:
        """Return a chunk, nothing when it is not here."""
        if kind != FORMAT:
            return b""
        try:
            return (self._folder / str(height) / str(index)).read_bytes()
        except OSError:
            return b""

    def offer(self, info: SnapshotInfo | None, promised: bytes, root: bytes) -> int:
        """Begin to take in a snapshot, or say why not.

        Parameters
        ----------
        info
            What it says it is; `None` when that could not be read.
        promised
            The hash it is offered under.
        root
            The state root that the validators signed for its height.
        """
        if info is None or info.hash != promised:
            return REJECT
        if info.format != FORMAT:
            return REJECT_FORMAT
        self._coming = _Coming(info, root, {})
        LOG.info("taking in the state of height %d", info.height)
        return ACCEPT

    def apply(self, index: int, chunk: bytes) -> int:
        """Take in a chunk; after the last one the ledger begins with the snapshot."""
        coming = self._coming
        if coming is None:
            return ABORT
        parts = coming.info.parts
        if not 0 <= index < len(parts) or sha256("snapshot-chunk", chunk) != parts[index]:
            return RETRY
        coming.chunks[index] = chunk
        if len(coming.chunks) < len(parts):
            return ACCEPT
        self._coming = None
        try:
            ordered = [coming.chunks[place] for place in range(len(parts))]
            rows, header = join_chunks(ordered, coming.info.height, coming.root)
            self._restore(rows, header)
        except (DecodeError, InvariantError) as error:
            LOG.error("the snapshot is refused: %s", error)  # noqa: TRY400 - no bug of ours
            return REJECT_SNAPSHOT
        LOG.info("the ledger goes on from height %d", header.height)
        return ACCEPT

    def _make(self, store: LedgerStore, head: Header) -> None:
        partial = self._folder / f".{head.height}"
        try:
            with closing(store):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                parts: list[bytes] = []
                for index, chunk in enumerate(_cut(_rows(store, head))):
                    (partial / str(index)).write_bytes(chunk)
                    parts.append(sha256("snapshot-chunk", chunk))
            info = SnapshotInfo(head.height, FORMAT, tuple(parts))
            write_new(partial / INFO, encode(info))
            final = self._folder / str(head.height)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            for old in self.listed()[KEPT:]:
                shutil.rmtree(self._folder / str(old.height), ignore_errors=True)
        except (OSError, sqlite3.Error, TallyError) as error:
            LOG.warning("no snapshot of height %d: %s", head.height, error)


def join_chunks(chunks: list[bytes], height: int, root: bytes) -> tuple[dict[bytes, bytes], Header]:
    """Return the rows and the header in the chunks of a snapshot.

    Raises
    ------
    DecodeError
        They are no snapshot of that height and state root, or the rows are not in order.
    """
    items = [row for chunk in chunks for row in decode(tuple[Row, ...], chunk)]
    listed = [key for key, _ in items]
    if not items or listed[0] or any(one >= other for one, other in pairwise(listed)):
        msg = "a snapshot is a header, then rows in the order of their keys"
        raise DecodeError(msg)
    header = decode(Header, items[0][1])
    if (header.height, header.state_root) != (height, root):
        msg = f"it is not of the state that the validators signed for height {height}"
        raise DecodeError(msg)
    return dict(items[1:]), header


def _rows(store: LedgerStore, head: Header) -> Iterator[Row]:
    yield b"", encode(head)
    yield from store.sorted_rows()


def _cut(rows: Iterator[Row]) -> Iterator[bytes]:
    """Yield chunks of whole rows: as many as fit, at least one."""
    chunk: list[Row] = []
    size = 0
    for row in rows:
        length = len(row[0]) + len(row[1])
        if chunk and size + length > CHUNK_BYTES:
            yield encode(chunk)
            chunk, size = [], 0
        chunk.append(row)
        size += length
    yield encode(chunk)
