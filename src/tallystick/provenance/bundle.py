"""A bundle: one file that holds a task's whole history, for anyone to check offline.

Opening one reads it through once: every frame is decoded, every count compared, every blob hashed
against its name, and nothing but an index is kept. What the parts prove is for
`tallystick.provenance.verify` to say.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from tallystick.codec import decode
from tallystick.crypto.hashes import BlobHasher
from tallystick.errors import DecodeError
from tallystick.ledger.block import Block
from tallystick.ledger.genesis import Genesis, load_genesis
from tallystick.provenance.frames import (
    BlobHead,
    ChunkList,
    Frame,
    Head,
    Kind,
    RowProof,
    read_frames,
)
from tallystick.provenance.leaf import parse_leaf
from tallystick.provenance.writing import write_bundle
from tallystick.storage.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import BinaryIO

__all__ = ["Bundle", "write_bundle"]

READ_BYTES = 1 << 20
MOST_BLOBS = 1 << 22


class Bundle:
    """A bundle on disk, read section by section.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    head
        What the file says it holds.
    genesis
        Where the ledger started, decoded.
    proof
        The task's row in the final state.
    chunks
        Hashes of the final model's chunks; empty when the bundle has none.
    blobs
        Size in bytes of every blob in the file, by root.

    Raises
    ------
    ConfigError
        The file cannot be read.
    DecodeError
        It is no whole, canonical bundle.
    """

    def __init__(self, path: Path | str) -> None:
        """Open and scan the file."""
        self.path = Path(path)
        self._file: BinaryIO = open_regular(self.path, "name a bundle, such as run.tally")
        self._size = os.fstat(self._file.fileno()).st_size
        self._starts: dict[Kind, int] = {}
        self._places: dict[bytes, int] = {}
        self._map: mmap.mmap | None = None
        self.blobs: dict[bytes, int] = {}
        self.chunks: tuple[bytes, ...] = ()
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise

    head: Head
    genesis: Genesis
    proof: RowProof

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; blobs that are open stay valid."""
        self._file.close()

    def blocks(self) -> Iterator[Block]:
        """Yield every block since genesis."""
        for frame in self._section(Kind.BLOCK):
            yield decode(Block, frame.payload)

    def leaves(self) -> Iterator[bytes]:
        """Yield the task's log."""
        for frame in self._section(Kind.LEAF):
            yield frame.payload

    def open_blob(self, root: bytes) -> np.ndarray | None:
        """Return a blob of the file, read-only and mapped; `None` when it is not in here."""
        place = self._places.get(root)
        if place is None:
            return None
        if not self.blobs[root]:
            return np.frombuffer(b"", np.uint8)
        if self._map is None:
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(self._map, np.uint8, self.blobs[root], place)

    def _section(self, kind: Kind) -> Iterator[Frame]:
        start = self._starts.get(kind)
        if start is None:
            return
        with self.path.open("rb") as file:
            for frame in read_frames(file, self._size, start):
                if frame.kind != kind:
                    return
                yield frame

    def _scan(self) -> None:
        counts = dict.fromkeys(Kind, 0)
        for frame in read_frames(self._file, self._size):
            if not counts[Kind.HEAD] and frame.kind != Kind.HEAD:
                msg = "a bundle begins with its head"
                raise DecodeError(msg)
            counts[frame.kind] += 1
            self._starts.setdefault(frame.kind, frame.start)
            self._take(frame)
        self._check_counts(counts)

    def _take(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.HEAD:
                self.head = decode(Head, frame.payload)
                self.genesis = load_genesis(self.head.genesis)
            case Kind.BLOCK:
                decode(Block, frame.payload)
            case Kind.LEAF:
                parse_leaf(frame.payload)
            case Kind.PROOF:
                self.proof = decode(RowProof, frame.payload)
            case Kind.CHUNKS:
                self.chunks = decode(ChunkList, frame.payload).hashes
            case Kind.BLOB:
                self._take_blob(decode(BlobHead, frame.payload), frame.end)
            case Kind.END:
                pass

    def _take_blob(self, head: BlobHead, start: int) -> None:
        if self.blobs and head.root <= next(reversed(self.blobs)):
            msg = f"blob {head.root.hex()} is there twice or out of order"
            raise DecodeError(msg)
        if start + head.size > self._size or len(self.blobs) >= MOST_BLOBS:
            msg = f"blob {head.root.hex()} is cut off"
            raise DecodeError(msg)
        hasher, left = BlobHasher(), head.size
        while left:
            piece = self._file.read(min(left, READ_BYTES))
            if not piece:
                msg = f"blob {head.root.hex()} is cut off"
                raise DecodeError(msg)
            hasher.update(piece)
            left -= len(piece)
        if hasher.root != head.root:
            msg = f"blob {head.root.hex()} does not have the bytes of its name"
            raise DecodeError(msg)
        self.blobs[head.root] = head.size
        self._places[head.root] = start

    def _check_counts(self, counts: dict[Kind, int]) -> None:
        head = self.head
        expected = {
            Kind.HEAD: 1,
            Kind.BLOCK: head.height,
            Kind.LEAF: head.leaves,
            Kind.PROOF: 1,
            Kind.CHUNKS: head.chunked,
            Kind.BLOB: head.blobs,
            Kind.END: 1,
        }
        for kind, count in counts.items():
            if count != expected[kind]:
                name = kind.name.lower()
                msg = f"the bundle has {count} frames of kind {name}, not {expected[kind]}"
                raise DecodeError(msg)
        if head.chunked > 1:
            msg = "a bundle has one list of chunks or none"
            raise DecodeError(msg)
