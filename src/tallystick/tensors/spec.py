"""The shape of a task's model, as the terms fix it, and where tensor bytes are kept."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

import msgspec
import numpy as np

from tallystick.codec import U63, Hash, Record
from tallystick.crypto.hashes import CHUNK_BYTES

__all__ = ["CHUNK_BYTES", "DTYPES", "BlobWriter", "Blobs", "ModelSpec", "Parameter"]

DTYPES = ("BF16", "F16", "F32", "F64", "I16", "I32", "I64", "I8", "U16", "U32", "U8")
Exponent = Annotated[int, msgspec.Meta(ge=-60, le=0)]


class Parameter(Record):
    """One tensor: name, shape, safetensors dtype, and the power of two its updates count in."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    shape: Annotated[tuple[U63, ...], msgspec.Meta(max_length=8)]
    dtype: Literal["BF16", "F16", "F32", "F64", "I16", "I32", "I64", "I8", "U16", "U32", "U8"]
    exponent: Exponent = -24

    @property
    def size(self) -> int:
        """Number of elements."""
        total = 1
        for side in self.shape:
            total *= side
        return total


class ModelSpec(Record):
    """A model's root and size in bytes, and its parameters sorted by name."""

    root: Hash
    size: U63
    parameters: Annotated[tuple[Parameter, ...], msgspec.Meta(max_length=8192)]


class BlobWriter(Protocol):
    """Bytes on their way into a store; nothing is visible before ``commit``."""

    def write(self, data: bytes | bytearray | memoryview | np.ndarray) -> None:
        """Append ``data``."""
        ...

    def commit(self) -> tuple[bytes, int]:
        """Make the blob durable under its root; return root and size in bytes."""
        ...

    def abort(self) -> None:
        """Forget what was written."""
        ...


class Blobs(Protocol):
    """Bytes by fingerprint: what is read under a root has that root."""

    def has(self, root: bytes) -> bool:
        """Whether the blob is here, whole and verified."""
        ...

    def open(self, root: bytes) -> np.ndarray:
        """Return the blob as a read-only uint8 array (memory-mapped when on disk).

        Raises
        ------
        UnavailableError
            The blob is not here, or its bytes no longer have that root.
        """
        ...

    def create(self) -> BlobWriter:
        """Start a new blob."""
        ...
