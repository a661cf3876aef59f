"""Tagged SHA-256 for records, and BLAKE3 chunk trees for blobs.

A blob is cut into chunks of `CHUNK_BYTES`, the last one shorter; an empty blob is one empty chunk.
Leaves, inner nodes and the root are BLAKE3 in key-derivation mode under three contexts. The tree
splits as RFC 6962 does, and the root also binds the blob's length, so a chunk opened with its path
is that chunk of that blob.

References
----------
O'Connor, Aumasson, Neves, Wilcox-O'Hearn, "BLAKE3: one function, fast everywhere", 2020.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from blake3 import blake3

from tallystick.crypto.merkle_list import HashedList, climb
from tallystick.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "CHUNK_BYTES",
    "BlobHasher",
    "Buffer",
    "blob_root",
    "chunk_count",
    "chunk_hashes",
    "chunk_proof",
    "root_of_chunks",
    "sha256",
    "verify_chunk",
]

CHUNK_BYTES = 1 << 18  # 65,536 parameters of four bytes
LEAF_CONTEXT = "tallystick 2026 blob chunk v1"
NODE_CONTEXT = "tallystick 2026 blob node v1"
ROOT_CONTEXT = "tallystick 2026 blob root v1"
LENGTH_BYTES = 8

Buffer: TypeAlias = "bytes | bytearray | memoryview | np.ndarray"


def sha256(domain: str, *parts: bytes) -> bytes:
    """Return the SHA-256 of ``parts`` under a ``domain``.

    The preimage is "tallystick/", the domain, a zero byte, then each part after its length as
    eight little-endian bytes: no two lists of parts, and no two domains, share one.
    """
    preimage = [_tag(domain)]
    for part in parts:
        preimage += (len(part).to_bytes(LENGTH_BYTES, "little"), part)
    return hashlib.sha256(b"".join(preimage)).digest()


class BlobHasher:
    """Hash a blob as it streams by; memory is one hash per level of the tree.

    With ``keep_leaves`` the chunk hashes stay too (32 bytes per `CHUNK_BYTES`), for proofs.
    """

    __slots__ = ("_chunk", "_leaves", "_peaks", "_room", "size")

    def __init__(self, *, keep_leaves: bool = False) -> None:
        """Start with nothing hashed."""
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []  # (height, root) of complete subtrees
        self._leaves: list[bytes] | None = [] if keep_leaves else None
        self._chunk = blake3(derive_key_context=LEAF_CONTEXT)
        self._room = CHUNK_BYTES

    def update(self, data: Buffer) -> None:
        """Hash ``data`` next: the bytes of a C-contiguous buffer, which is not copied.

        Raises
        ------
        TypeError, ValueError
            ``data`` is not a C-contiguous buffer of plain numbers.
        """
        view = _bytes_of(data)
        size = len(view)
        start = 0
        while start < size:
            end = min(size, start + self._room)
            self._chunk.update(view[start:end])
            self._room -= end - start
            start = end
            if not self._room:
                self._push(self._chunk.digest())
                self._chunk = blake3(derive_key_context=LEAF_CONTEXT)
                self._room = CHUNK_BYTES
        self.size += size

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """The chunk hashes so far, the unfinished chunk's included; needs ``keep_leaves``."""
        if self._leaves is None:
            msg = "this hasher was made without keep_leaves"
            raise ValueError(msg)
        return (*self._leaves, *self._tail())

    @property
    def root(self) -> bytes:
        """Root of what was hashed so far; hashing may go on."""
        nodes = [*(root for _, root in self._peaks), *self._tail()]
        node = nodes.pop()
        while nodes:
            node = _join(nodes.pop(), node)
        return _seal(node, self.size)

    def _tail(self) -> list[bytes]:
        """Return the hash of the unfinished chunk, if there is one."""
        unfinished = self._room < CHUNK_BYTES or not self.size
        return [self._chunk.digest()] if unfinished else []

    def _push(self, leaf: bytes) -> None:
        if self._leaves is not None:
            self._leaves.append(leaf)
        height, node = 0, leaf
        while self._peaks and self._peaks[-1][0] == height:
            node = _join(self._peaks.pop()[1], node)
            height += 1
        self._peaks.append((height, node))


def blob_root(data: Buffer) -> bytes:
    """Return the root of a whole blob."""
    hasher = BlobHasher()
    hasher.update(data)
    return hasher.root


def chunk_hashes(data: Buffer) -> tuple[bytes, ...]:
    """Return the hash of each chunk of a whole blob."""
    hasher = BlobHasher(keep_leaves=True)
    hasher.update(data)
    return hasher.leaves


def chunk_count(size: int) -> int:
    """Return the number of chunks of a blob of ``size`` bytes."""
    return max(1, -(-size // CHUNK_BYTES))


def root_of_chunks(leaf_hashes: Sequence[bytes], size: int) -> bytes:
    """Return the root of the blob of ``size`` bytes with these chunk hashes.

    Raises
    ------
    ValueError
        A blob of that size has another number of chunks.
    """
    if len(leaf_hashes) != chunk_count(size):
        msg = f"a blob of {size} bytes does not have {len(leaf_hashes)} chunks"
        raise ValueError(msg)
    return _seal(HashedList(leaf_hashes, _join).root(), size)


def chunk_proof(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the path of chunk ``index``, from the leaf upwards.

    Raises
    ------
    IndexError
        There is no such chunk.
    """
    return HashedList(leaf_hashes, _join).inclusion(index)


def verify_chunk(root: bytes, size: int, index: int, chunk: Buffer, path: Sequence[bytes]) -> None:
    """Check that ``chunk`` is number ``index`` of the blob of ``size`` bytes under ``root``.

    Raises
    ------
    VerificationError
        It is not, or the path does not show it.
    """
    if size < 0 or not 0 <= index < chunk_count(size):
        msg = f"no chunk {index} in a blob of {size} bytes"
        raise VerificationError(msg)
    view = _bytes_of(chunk)
    expected = min(CHUNK_BYTES, size - index * CHUNK_BYTES)
    if len(view) != expected:
        msg = f"chunk {index} has {len(view)} bytes instead of {expected}"
        raise VerificationError(msg)
    leaf = blake3(view, derive_key_context=LEAF_CONTEXT).digest()
    if _seal(climb(leaf, index, chunk_count(size), path, _join), size) != root:
        msg = f"chunk {index} is not under this root"
        raise VerificationError(msg)


@lru_cache(maxsize=256)
def _tag(domain: str) -> bytes:
    if not domain or "\0" in domain:
        msg = "a hash domain is not empty and holds no zero byte"
        raise ValueError(msg)
    return b"tallystick/" + domain.encode() + b"\0"


def _join(left: bytes, right: bytes) -> bytes:
    return blake3(left + right, derive_key_context=NODE_CONTEXT).digest()


def _seal(node: bytes, size: int) -> bytes:
    length = size.to_bytes(LENGTH_BYTES, "little")
    return blake3(node + length, derive_key_context=ROOT_CONTEXT).digest()


def _bytes_of(data: Buffer) -> memoryview:
    """Return the bytes of ``data`` as they lie in memory, not copied."""
    if isinstance(data, np.ndarray):
        if not data.flags.c_contiguous:
            msg = "an array is hashed as it lies in memory, so it has to be C-contiguous"
            raise ValueError(msg)
        # By way of uint8, since some dtypes (bfloat16) export no buffer of their own.
        return data.reshape(-1).view(np.uint8).data
    view = memoryview(data)
    return view.cast("B") if view.nbytes else memoryview(b"")  # cast refuses a zero in the shape
