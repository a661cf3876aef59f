"""Snapshots: what a newcomer begins with instead of every block since genesis.

A snapshot is the header of a height and every row of the state after it, in key order, cut into
chunks. All nodes make the same bytes. Whoever takes one in checks each chunk against the list it
was offered with, the header against what two thirds of the validators signed, and the whole against
their state root. What of the header nobody signed is known once every block before it is executed;
until then a node makes no snapshots of its own.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import threading
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import U32, U63, Hash, Record, decode, encode
from tallystick.crypto.hashes import sha256
from tallystick.errors import (
    DecodeError,
    InvariantError,
    TallyError,
    UnavailableError,
    VerificationError,
)
from tallystick.ledger.block import Header
from tallystick.storage.files import Identity, sync_folder, write_new
from tallystick.storage.sqlite import LedgerStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EVERY", "FORMAT", "SnapshotInfo", "Snapshots"]

LOG = logging.getLogger(__name__)
FORMAT = 1
CHUNK_BYTES = 8 << 20
MOST_CHUNKS = 4096
MOST_BYTES = 1 << 30  # of a state that is taken in: it is kept in memory
EVERY = 500  # blocks
KEPT = 3
INFO = "info"
# How an offer and a chunk are answered.
ACCEPT, ABORT, REJECT, REJECT_FORMAT = 1, 2, 3, 4
RETRY, RETRY_SNAPSHOT, REJECT_SNAPSHOT = 3, 4, 5

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


_Read = tuple[Identity, SnapshotInfo | None]  # what a file said, as it was then


@dataclass(slots=True)
class _Coming:
    """A snapshot of a height and state root, whose chunks come in their order."""

    height: int
    root: bytes
    parts: tuple[bytes, ...] = ()
    taken: int = 0  # chunks
    header: Header | None = None
    rows: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    _last: bytes = b""
    _size: int = 0

    def take(self, chunk: bytes) -> None:
        """Take in the next chunk, or raise `DecodeError`: it goes on with no such snapshot."""
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            msg = f"it has more than {MOST_BYTES} bytes"
            raise DecodeError(msg)
        for key, row in decode(tuple[Row, ...], chunk):
            if self.header is None:
                self.header = self._header(key, row)
            elif key <= self._last:
                raise _disordered()
            else:
                self.rows[key], self._last = row, key
        if self.header is None:
            raise _disordered()
        self.taken += 1

    def _header(self, key: bytes, row: bytes) -> Header:
        if key:
            raise _disordered()
        header = decode(Header, row)
        if (header.height, header.state_root) != (self.height, self.root):
            msg = f"it is not of the state that the validators signed for height {self.height}"
            raise DecodeError(msg)
        return header


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
    confirm
        Called with the header before that; raises `VerificationError` where the validators signed
        otherwise, and `UnavailableError` where that cannot be found out now.
    every
        Height between two of them; 0 makes none.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Path,
        restore: Callable[[dict[bytes, bytes], Header], None],
        confirm: Callable[[Header], None],
        every: int = EVERY,
    ) -> None:
        """Find what earlier processes made."""
        self._folder = folder
        self._ledger = ledger
        self._restore = restore
        self._confirm = confirm
        self._every = every
        self._read: dict[Path, _Read] = {}
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
        with ExitStack() as opened:
            try:
                store = LedgerStore(self._ledger)
                opened.callback(store.close)
                store.pin()
                if store.base() is not None:
                    LOG.info("no snapshot of height %d: blocks before are lacking", head.height)
                    return
            except (sqlite3.Error, UnavailableError) as error:  # blocks go on without a snapshot
                LOG.warning("no snapshot of height %d: %s", head.height, error)
                return
            opened.pop_all()
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
        before, now = self._read, dict[Path, _Read]()
        for file in self._folder.glob(f"[0-9]*/{INFO}"):
            try:
                status = file.stat()
                version = status.st_ino, status.st_mtime_ns, status.st_size
                known = before.get(file)
                if known is None or known[0] != version:
                    known = version, _info_in(file)
                now[file] = known
            except OSError as error:
                LOG.debug("%s is gone: %s", file.parent, error)
        self._read = now
        found = [info for _, info in now.values() if info is not None]
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
        self._coming = _Coming(info.height, root, info.parts)
        LOG.info("taking in the state of height %d", info.height)
        return ACCEPT

    def apply(self, index: int, chunk: bytes) -> int:
        """Take in a chunk; after the last one the ledger begins with the snapshot."""
        coming = self._coming
        if coming is None:
            return ABORT
        parts = coming.parts
        is_promised = 0 <= index < len(parts) and sha256("snapshot-chunk", chunk) == parts[index]
        if not is_promised or index > coming.taken:
            return RETRY
        if index < coming.taken:
            return ACCEPT
        try:
            self._take(coming, chunk)
        except UnavailableError as error:
            LOG.warning("the snapshot is taken in later: %s", error)
            verdict = RETRY_SNAPSHOT
        except (DecodeError, InvariantError, VerificationError) as error:
            LOG.error("the snapshot is refused: %s", error)  # noqa: TRY400 - no bug of ours
            verdict = REJECT_SNAPSHOT
        else:
            verdict = ACCEPT if coming.taken < len(parts) else self._begin(coming)
        if verdict != ACCEPT:
            self._coming = None
        return verdict

    def _take(self, coming: _Coming, chunk: bytes) -> None:
        is_new = coming.header is None
        coming.take(chunk)
        if is_new and coming.header is not None:
            self._confirm(coming.header)

    def _begin(self, coming: _Coming) -> int:
        header = _whole(coming)
        self._coming = None
        try:
            self._restore(coming.rows, header)
        except InvariantError as error:
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
                    write_new(partial / str(index), chunk)
                    parts.append(sha256("snapshot-chunk", chunk))
            info = SnapshotInfo(head.height, FORMAT, tuple(parts))
            write_new(partial / INFO, encode(info))
            sync_folder(partial)
            final = self._folder / str(head.height)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            sync_folder(self._folder)
            for old in self.listed()[KEPT:]:
                shutil.rmtree(self._folder / str(old.height), ignore_errors=True)
        except (OSError, sqlite3.Error, TallyError) as error:
            LOG.warning("no snapshot of height %d: %s", head.height, error)


def _whole(coming: _Coming) -> Header:
    if coming.header is None:
        raise _disordered()
    return coming.header


def _disordered() -> DecodeError:
    return DecodeError("a snapshot is a header, then rows in the order of their keys")


def _info_in(file: Path) -> SnapshotInfo | None:
    """Return what a snapshot is known by, `None` where the file does not say it."""
    try:
        return decode(SnapshotInfo, file.read_bytes())
    except DecodeError as error:
        LOG.warning("%s is no snapshot: %s", file.parent, error)
        return None


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
