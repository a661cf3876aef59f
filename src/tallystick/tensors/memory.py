"""Blobs in memory: for examples, tests and simulations that fit."""

from __future__ import annotations

import numpy as np

from tallystick.crypto.hashes import BlobHasher
from tallystick.errors import UnavailableError
from tallystick.tensors.dtypes import Array

__all__ = ["MemoryBlobs"]

FIRST_BYTES = 1 << 18
STEPS = (1 << 23, 1 << 26, 1 << 29)


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
        self._data = np.empty(FIRST_BYTES, np.uint8)
        self._hasher = BlobHasher()

    def write(self, data: bytes | bytearray | memoryview | Array) -> None:
        """See `BlobWriter.write`."""
        if isinstance(data, np.ndarray):
            plain = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        else:
            plain = np.frombuffer(data, np.uint8)
        start, stop = self._hasher.size, self._hasher.size + len(plain)
        if stop > len(self._data):
            self._grow(stop)
        self._data[start:stop] = plain
        self._hasher.update(plain)

    def commit(self) -> tuple[bytes, int]:
        """See `BlobWriter.commit`."""
        root, size = self._hasher.root, self._hasher.size
        stored = self._data[:size]
        if size < len(self._data) // 4 and len(self._data) <= STEPS[0]:
            stored = stored.copy()  # a huge page is 2 MiB even when little of it is written
        stored.flags.writeable = False
        self._blobs[root] = stored
        return root, size

    def abort(self) -> None:
        """See `BlobWriter.abort`."""
        self._data = np.empty(FIRST_BYTES, np.uint8)
        self._hasher = BlobHasher()

    def _grow(self, needed: int) -> None:
        # From 4 MiB a fresh array comes in huge pages, which take a quarter of the time to fill;
        # what is never written takes no memory, so the steps are large and copies few.
        step = next((step for step in STEPS if step > needed), 2 * needed)
        grown = np.empty(step, np.uint8)
        grown[: self._hasher.size] = self._data[: self._hasher.size]
        self._data = grown
