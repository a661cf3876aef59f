"""Where blobs lie on this side of a transfer: a member's folder, or a node's shelf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tallystick.crypto.hashes import chunk_hashes
from tallystick.storage.partial import PartialBlob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tallystick.storage.blobs import FileBlobs
    from tallystick.tensors.dtypes import Array

__all__ = ["FolderStore", "Part", "Source", "Store"]


class Source(Protocol):
    """A whole blob that is to be sent."""

    @property
    def size(self) -> int:
        """In bytes."""
        ...

    def hashes(self) -> bytes:
        """Return the hashes of its chunks, 32 bytes each."""
        ...

    def read(self, start: int, length: int) -> bytes:
        """Return up to ``length`` bytes from ``start``, fewer only at the end."""
        ...


class Part(Protocol):
    """A blob on its way in; `tallystick.storage.partial.PartialBlob` is one."""

    root: bytes
    size: int
    offset: int

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``, however it was cut; each chunk is checked, and kept once it is whole.

        Raises
        ------
        VerificationError
            These are not the blob's bytes.
        UnavailableError
            The disk is full or failed, or somebody else goes on with the blob.
        """
        ...

    def commit(self) -> None:
        """Make it a blob of the store once all of it is there."""
        ...

    def close(self) -> None:
        """Keep what is here for later."""
        ...


class Store(Protocol):
    """Keeps blobs by task and root, whole ones and parts."""

    def has(self, task: bytes, root: bytes) -> bool:
        """Return whether a blob is here, whole."""
        ...

    def held(self, task: bytes, root: bytes) -> int:
        """Return how many bytes of a blob are here that is not whole."""
        ...

    def begin(self, task: bytes, root: bytes, size: int, leaves: Sequence[bytes]) -> Part:
        """Go on with a blob, or begin it; ``leaves`` give ``root`` with ``size``."""
        ...

    def open(self, task: bytes, root: bytes) -> Source:
        """Open a whole blob.

        Raises
        ------
        UnavailableError
            It is not here.
        """
        ...


class FolderStore:
    """A member's folder, in which a blob is the same for every task."""

    def __init__(self, blobs: FileBlobs) -> None:
        """Open nothing yet."""
        self._blobs = blobs

    def has(self, task: bytes, root: bytes) -> bool:  # noqa: ARG002
        """See `Store.has`."""
        return self._blobs.has(root)

    def held(self, task: bytes, root: bytes) -> int:  # noqa: ARG002
        """See `Store.held`."""
        try:
            return self._blobs.part(root).stat().st_size
        except FileNotFoundError:
            return 0

    def begin(self, task: bytes, root: bytes, size: int, leaves: Sequence[bytes]) -> Part:  # noqa: ARG002
        """See `Store.begin`."""
        return PartialBlob(self._blobs, root, size, leaves)

    def open(self, task: bytes, root: bytes) -> Source:  # noqa: ARG002
        """See `Store.open`."""
        return _Mapped(self._blobs.open(root))


class _Mapped:
    """A file's bytes, of which no more are read than are asked for."""

    def __init__(self, data: Array) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return self._data.nbytes

    def hashes(self) -> bytes:
        return b"".join(chunk_hashes(self._data))

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length].tobytes()
