"""What verifies a place in an RFC 6962 Merkle list, and that one list continues another.

A leaf is SHA-256(0x00 || data), an inner node SHA-256(0x01 || left || right), the empty root
SHA-256 of nothing; a list splits at the largest power of two below its length. Paths run from the
leaf upwards.

References
----------
Laurie, Langley, Kasper, RFC 6962, 2013; the verification follows RFC 9162, 2021, section 2.1.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tallystick.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "EMPTY_ROOT",
    "climb",
    "leaf_hash",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
]

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(
    root: bytes, size: int, index: int, leaf: bytes, path: Sequence[bytes]
) -> None:
    """Check that the data ``leaf`` is number ``index`` of the list of ``size`` under ``root``.

    Raises
    ------
    VerificationError
        It is not, or the path does not show it.

    Notes
    -----
    A root alone does not bind its size: both have to come from the same trusted record.
    """
    if not 0 <= index < size:
        msg = f"no leaf {index} in a list of {size}"
        raise VerificationError(msg)
    if climb(leaf_hash(leaf), index, size, path, node_hash) != root:
        msg = f"leaf {index} is not under this root"
        raise VerificationError(msg)


def verify_consistency(
    old_root: bytes, old_size: int, new_root: bytes, new_size: int, path: Sequence[bytes]
) -> None:
    """Check that the list under ``old_root`` is a prefix of the one under ``new_root``.

    Raises
    ------
    VerificationError
        It is not, or the path does not show it.
    """
    if not 0 <= old_size <= new_size:
        msg = f"a list of {new_size} has no prefix of {old_size}"
        raise VerificationError(msg)
    if old_size in {0, new_size}:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        empty_grew = new_size == 0 and new_root != EMPTY_ROOT
        if path or old_root != expected or empty_grew:
            msg = "the two roots contradict each other"
            raise VerificationError(msg)
        return
    rest = iter(path)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = _next(rest) if position else old_root
    while last:
        if position & 1:
            sibling = _next(rest)
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        elif position < last:
            new = node_hash(new, _next(rest))
        position, last = position >> 1, last >> 1
    if next(rest, None) is not None or old != old_root or new != new_root:
        msg = "the new list does not begin with the old one"
        raise VerificationError(msg)


def climb(
    node: bytes,
    index: int,
    size: int,
    path: Sequence[bytes],
    join: Callable[[bytes, bytes], bytes],
) -> bytes:
    """Return the root that leaf hash ``node``, number ``index`` of ``size``, has by ``path``.

    Raises
    ------
    VerificationError
        The path has not as many hashes as the way from there to the root.
    """
    position, last = index, size - 1
    rest = iter(path)
    while last:
        if position & 1:
            node = join(_next(rest), node)
        elif position < last:
            node = join(node, _next(rest))
        position, last = position >> 1, last >> 1
    if next(rest, None) is not None:
        msg = "the path is longer than the way to the root"
        raise VerificationError(msg)
    return node


def _next(path: Iterator[bytes]) -> bytes:
    node = next(path, None)
    if node is None or len(node) != len(EMPTY_ROOT):
        msg = "the path is too short, or holds something that is no hash"
        raise VerificationError(msg)
    return node
