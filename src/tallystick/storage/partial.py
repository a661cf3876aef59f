"""A download that goes on where it ended: what is here was checked, chunk by chunk.

The bytes of a model come over networks that break and from holders that err. Whoever knows the
hashes of a blob's chunks can keep every chunk that arrived whole, name the one that did not, and
ask somebody else for the rest. Nothing but checked chunks reaches the disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from tallystick.crypto.hashes import (
    CHUNK_BYTES,
    chunk_count,
    chunk_hashes,
    root_of_chunks,
)
from tallystick.errors import ConfigError, VerificationError
from tallystick.storage.blobs import ROOT_BYTES, FileBlobs
from tallystick.storage.files import chunks_of, translated, write_at
from tallystick.storage.lock import claim

__all__ = ["PartialBlob", "WrongChunkError"]


class WrongChunkError(VerificationError):
    """Bytes that came as chunk ``index`` of ``root`` are not it: their hash is ``got``."""

    slug = "wrong-chunk"

    def __init__(self, root: bytes, index: int, got: bytes) -> None:
        """Name the blob and the chunk."""
        super().__init__(
            f"chunk {index} of blob {root.hex()} is not what came: that has hash {got.hex()}",
            hint="get it from another holder",
        )
        self.root = root
        self.index = index
        self.got = got


class PartialBlob:
    """A blob on its way into a `FileBlobs`, and what came of it before.

    Parameters
    ----------
    store
        Where it will be; until then its bytes lie in the store's ``tmp/``, for 14 days after the
        last of them came.
    root, size
        The blob's root and size in bytes.
    leaves
        The hash of each of its chunks, from anybody: they are checked against ``root``.

    Attributes
    ----------
    offset
        Bytes of whole, checked chunks that are here; where to go on.

    Raises
    ------
    ConfigError
        A blob of this size has another number of chunks.
    VerificationError
        ``leaves`` are not the chunks of ``root``.
    UnavailableError
        Another download of the same blob goes on, the store is open for reading, or the disk
        failed.

    Notes
    -----
    Reads what is here from an earlier download, and cuts it off before the first wrong byte.
    Memory is one chunk.
    """

    def __init__(self, store: FileBlobs, root: bytes, size: int, leaves: Sequence[bytes]) -> None:
        """Open the part that is here, or begin one."""
        _check_leaves(root, size, leaves)
        self.root, self.size = root, size
        self.offset = 0
        self._store, self._leaves = store, leaves
        self._piece = bytearray()  # of a chunk that is not whole
        self._path = store.part(root)
        self._file = claim(self._path)
        try:
            with translated(self._path):
                self._recheck()
        except BaseException:
            self._file.close()
            raise

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``, however it was cut; each chunk is kept once it is whole and checked.

        Raises
        ------
        WrongChunkError
            A chunk is not the blob's. Those before it are kept, the rest of ``data`` is not: go on
            from ``offset``.
        VerificationError
            There is more than the blob has; all of the blob is kept.
        UnavailableError
            The disk is full or failed; go on from ``offset``.
        """
        view = memoryview(data).cast("B")
        while view:
            wanted = min(CHUNK_BYTES, self.size - self.offset)
            if not wanted:
                msg = f"more than the {self.size} bytes of blob {self.root.hex()}"
                raise VerificationError(msg)
            if not self._piece and len(view) >= wanted:
                self._keep(view[:wanted])
                view = view[wanted:]
                continue
            missing = wanted - len(self._piece)
            self._piece += view[:missing]
            view = view[missing:]
            if len(self._piece) == wanted:
                whole, self._piece = self._piece, bytearray()
                self._keep(whole)

    def rewind(self) -> int:
        """Forget the chunk that is not whole yet, and return ``offset``: another holder goes on."""
        self._piece = bytearray()
        return self.offset

    def commit(self) -> None:
        """Make it a blob of the store, as durable as the store's others.

        Raises
        ------
        ConfigError
            It is not whole.
        UnavailableError
            The disk is full or failed; nothing became visible.
        """
        if self.offset < self.size:
            msg = f"{self.offset} of {self.size} bytes of blob {self.root.hex()} are here"
            raise ConfigError(msg)
        with translated(self._path):
            self._store.adopt(self.root, self._path, self._file)

    def close(self) -> None:
        """Keep what is here for later; after `commit` there is nothing to keep."""
        self._file.close()

    def _keep(self, chunk: bytearray | memoryview) -> None:
        index = self.offset // CHUNK_BYTES
        (got,) = chunk_hashes(chunk)
        if got != self._leaves[index]:
            raise WrongChunkError(self.root, index, got)
        with translated(self._path):
            write_at(self._file, chunk, self.offset)
        self.offset += len(chunk)

    def _recheck(self) -> None:
        """Find how much of the file is right, and cut off the rest."""
        if os.fstat(self._file.fileno()).st_size > self.size:
            self._file.truncate(self.size)
        for chunk in chunks_of(self._file, CHUNK_BYTES):
            wanted = min(CHUNK_BYTES, self.size - self.offset)
            if len(chunk) != wanted or chunk_hashes(chunk)[0] != self._next_leaf():
                break
            self.offset += wanted
        self._file.truncate(self.offset)
        os.utime(self._path)  # somebody wants it still

    def _next_leaf(self) -> bytes:
        return self._leaves[self.offset // CHUNK_BYTES]


def _check_leaves(root: bytes, size: int, leaves: Sequence[bytes]) -> None:
    if size < 0 or len(leaves) != chunk_count(size):
        msg = f"a blob of {size} bytes does not have {len(leaves)} chunks"
        raise ConfigError(msg)
    right = all(len(leaf) == ROOT_BYTES for leaf in leaves)
    # No chunk of an empty blob ever comes, so its hash is checked here.
    right = right and (size > 0 or tuple(leaves) == chunk_hashes(b""))
    if not right or root_of_chunks(leaves, size) != root:
        msg = f"these are not the chunks of blob {root.hex()}"
        raise VerificationError(msg)
