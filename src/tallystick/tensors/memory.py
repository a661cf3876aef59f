"""Blobs in memory: for examples, tests and simulations that fit."""

from __future__ import annotations

import numpy as np

from tallystick.crypto.hashes import BlobHasher
from tallystick.errors import UnavailableError
from tallystick.tensors.dtypes import Array

__all__ = ["MemoryBlobs"]


class MemoryBlobs:
    """A store of blobs that ends with the process."""

    def __init__(self) -> None:
        """Start empty."""
        self._blobs: dict[bytes, Array] = {}

    def has(self, root: bytes) -> bool:
        """See `Blobs.has`."""
        return root in self._blobs

    def open(self, root: bytes) -> Array:
        """See `Blobs.open`."""
        found = self._blobs.get(root)
        if found is None:
            msg = f"blob {root.hex()} is not in memory"
            raise UnavailableError(msg)
        return found

    def create(self) -> _MemoryWriter:
        """See `Blobs.create`."""
        return _MemoryWriter(self._blobs)

    def put(self, data: bytes | bytearray | memoryview | Array) -> tuple[bytes, int]:
        """Store ``data`` at once; return its root and size."""
        writer = self.create()
        writer.write(data)
        return writer.commit()


class _MemoryWriter:
    def __init__(self, blobs: dict[bytes, Array]) -> None:
        self._blobs = blobs
        self._data = bytearray()
        self._hasher = BlobHasher()

    def write(self, data: bytes | bytearray | memoryview | Array) -> None:
        """See `BlobWriter.write`."""
        self._hasher.update(data)
        view = memoryview(data)
        if view.nbytes:  # cast refuses a zero in the shape
            self._data += view.cast("B")

    def commit(self) -> tuple[bytes, int]:
        """See `BlobWriter.commit`."""
        stored = np.frombuffer(self._data, np.uint8)
        stored.flags.writeable = False
        self._blobs[self._hasher.root] = stored
        return self._hasher.root, len(stored)

    def abort(self) -> None:
        """See `BlobWriter.abort`."""
        self._data = bytearray()
        self._hasher = BlobHasher()
