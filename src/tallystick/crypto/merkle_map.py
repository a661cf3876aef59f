"""A compact sparse Merkle map over SHA-256, persistent, with membership and absence proofs.

A key's path is SHA-256(key), read from its most significant bit. A leaf is SHA-256(0x00 || path ||
SHA-256(value)), an inner node SHA-256(0x01 || left || right), an empty subtree 32 zero bytes. A
subtree with exactly one leaf is that leaf, at whatever depth, so the root depends on the contents
alone. Updates share every untouched node with the map they start from: a scratch copy is free.

Nodes are bare tuples (hash, ...), told apart by their length; a class would cost half the speed.
"""

from __future__ import annotations

from bisect import bisect_left
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec

from tallystick.codec import Hash, Record
from tallystick.errors import VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EMPTY_ROOT", "MapProof", "MerkleMap", "verify_absent", "verify_member"]

EMPTY_ROOT = bytes(32)
DEPTH = 256

Empty: TypeAlias = "tuple[bytes]"  # (hash,)
Leaf: TypeAlias = "tuple[bytes, bytes]"  # (hash, path || value hash)
Inner: TypeAlias = "tuple[bytes, Node, Node]"  # (hash, left, right)
Node: TypeAlias = "Empty | Leaf | Inner"

_EMPTY: Empty = (EMPTY_ROOT,)
_LEAF_SIZE, _INNER_SIZE = 2, 3


class MapProof(Record):
    """The way from the root to where a key is, or would be.

    ``siblings`` run from the root down, ``other`` is path || value hash of the foreign leaf found
    there, or empty when the key's own leaf or nothing is there.
    """

    siblings: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=DEPTH)]
    other: Annotated[bytes, msgspec.Meta(max_length=64)] = b""


class MerkleMap:
    """An immutable map from keys to the hashes of their values; ``MerkleMap()`` is empty."""

    __slots__ = ("_node",)

    def __init__(self, _node: Node = _EMPTY) -> None:
        """Start empty; `update` adds."""
        self._node = _node

    @property
    def root(self) -> bytes:
        """The 32 bytes that stand for the whole contents."""
        return self._node[0]

    def update(self, changes: Mapping[bytes, bytes | None]) -> MerkleMap:
        """Return the map with ``changes`` made; a value of ``None`` deletes its key.

        Deleting an absent key is no change. The result depends on the contents alone.

        Notes
        -----
        About log2(keys / changes) + 3 hashes a change.
        """
        if not changes:
            return self
        rows = sorted((sha256(key).digest(), value) for key, value in changes.items())
        paths = [int.from_bytes(path, "big") for path, _ in rows]
        leaves = [_EMPTY if value is None else _make_leaf(path, value) for path, value in rows]
        node = _change(self._node, 0, paths, leaves, (0, len(rows)))
        return self if node is self._node else MerkleMap(node)

    def prove(self, key: bytes) -> MapProof:
        """Return the proof that ``key`` is here with its value, or that it is absent."""
        path = sha256(key).digest()
        bits = int.from_bytes(path, "big")
        siblings: list[bytes] = []
        node, shift = self._node, DEPTH - 1
        while len(node) == _INNER_SIZE:
            if bits >> shift & 1:
                siblings.append(node[1][0])
                node = node[2]
            else:
                siblings.append(node[2][0])
                node = node[1]
            shift -= 1
        if len(node) == _LEAF_SIZE and node[1][:32] != path:
            return MapProof(tuple(siblings), node[1])
        return MapProof(tuple(siblings))


def verify_member(root: bytes, key: bytes, value: bytes, proof: MapProof) -> None:
    """Check that the map under ``root`` holds ``value`` for ``key``.

    Raises
    ------
    VerificationError
        It does not, or the proof does not show it.
    """
    path = sha256(key).digest()
    if proof.other or _climb(_make_leaf(path, value)[0], path, proof) != root:
        msg = "the map does not hold this value for this key"
        raise VerificationError(msg)


def verify_absent(root: bytes, key: bytes, proof: MapProof) -> None:
    """Check that the map under ``root`` holds nothing for ``key``.

    Raises
    ------
    VerificationError
        It does, or the proof does not show its absence.
    """
    path = sha256(key).digest()
    other = proof.other
    node = EMPTY_ROOT
    if other:
        shift = DEPTH - len(proof.siblings)
        differing = int.from_bytes(other[:32], "big") ^ int.from_bytes(path, "big")
        # The foreign leaf must lie where the key would: same way down, another path.
        if len(other) != len(path) * 2 or differing == 0 or shift < 0 or differing >> shift:
            msg = "the leaf shown is not in this key's place"
            raise VerificationError(msg)
        node = sha256(b"\x00" + other).digest()
    if _climb(node, path, proof) != root:
        msg = "the map may hold this key"
        raise VerificationError(msg)


def _climb(node: bytes, path: bytes, proof: MapProof) -> bytes:
    """Return the root that ``node`` has at the end of the proof's way."""
    if len(proof.siblings) > DEPTH:
        msg = "the proof is deeper than the map"
        raise VerificationError(msg)
    bits = int.from_bytes(path, "big") >> (DEPTH - len(proof.siblings))
    for sibling in reversed(proof.siblings):
        pair = sibling + node if bits & 1 else node + sibling
        node = sha256(b"\x01" + pair).digest()
        bits >>= 1
    return node


def _make_leaf(path: bytes, value: bytes) -> Leaf:
    body = path + sha256(value).digest()
    return sha256(b"\x00" + body).digest(), body


def _change(
    node: Node, depth: int, paths: list[int], leaves: list[Leaf | Empty], span: tuple[int, int]
) -> Node:
    """Return ``node``, which lies at ``depth``, with the sorted leaves of ``span`` put in."""
    low, high = span
    if high - low == 1:
        leaf = leaves[low]
        if len(leaf) == _LEAF_SIZE:
            return _put(node, depth, paths[low], leaf)
        return _drop(node, depth, paths[low])
    if low == high:
        return node
    shift = DEPTH - 1 - depth
    middle = bisect_left(paths, (paths[low] >> shift | 1) << shift, low, high)
    left, right = _children(node, shift)
    new_left = _change(left, depth + 1, paths, leaves, (low, middle))
    new_right = _change(right, depth + 1, paths, leaves, (middle, high))
    if new_left is left and new_right is right:
        return node
    return _join(new_left, new_right)


def _children(node: Node, shift: int) -> tuple[Node, Node]:
    """Return the halves of ``node``; a lone leaf lies in one of them."""
    if len(node) == _INNER_SIZE:
        return node[1], node[2]
    if len(node) == _LEAF_SIZE and int.from_bytes(node[1][:32], "big") >> shift & 1:
        return _EMPTY, node
    return node, _EMPTY


def _join(left: Node, right: Node) -> Node:
    """Return the node over two halves, in the one canonical form."""
    if right is _EMPTY and len(left) < _INNER_SIZE:
        return left
    if left is _EMPTY and len(right) < _INNER_SIZE:
        return right
    return sha256(b"\x01" + left[0] + right[0]).digest(), left, right


def _put(node: Node, depth: int, path: int, leaf: Leaf) -> Node:
    """Return ``node`` with one leaf set; a loop, as most of an update happens here."""
    start = node
    shift = DEPTH - 1 - depth
    trail: list[Inner] = []
    while len(node) == _INNER_SIZE:
        trail.append(node)
        node = node[2] if path >> shift & 1 else node[1]
        shift -= 1
    grown: Node = leaf
    if len(node) == _LEAF_SIZE:
        if node[1] == leaf[1]:
            return start
        if node[1][:32] != leaf[1][:32]:
            grown = _fork(node, leaf, path, shift)
    for parent in reversed(trail):
        shift += 1
        _, left, right = parent
        if path >> shift & 1:
            grown = (sha256(b"\x01" + left[0] + grown[0]).digest(), left, grown)
        else:
            grown = (sha256(b"\x01" + grown[0] + right[0]).digest(), grown, right)
    return grown


def _fork(old: Leaf, leaf: Leaf, path: int, shift: int) -> Node:
    """Return the subtree of two leaves from bit ``shift`` down to where their paths part."""
    parting = (int.from_bytes(old[1][:32], "big") ^ path).bit_length() - 1
    halves = (old, leaf) if path >> parting & 1 else (leaf, old)
    grown: Node = _join(*halves)
    for bit in range(parting + 1, shift + 1):
        grown = _join(_EMPTY, grown) if path >> bit & 1 else _join(grown, _EMPTY)
    return grown


def _drop(node: Node, depth: int, path: int) -> Node:
    """Return ``node`` without the leaf at ``path``."""
    start = node
    shift = DEPTH - 1 - depth
    trail: list[Inner] = []
    while len(node) == _INNER_SIZE:
        trail.append(node)
        node = node[2] if path >> shift & 1 else node[1]
        shift -= 1
    if len(node) != _LEAF_SIZE or int.from_bytes(node[1][:32], "big") != path:
        return start
    rest: Node = _EMPTY
    for parent in reversed(trail):
        shift += 1
        rest = _join(parent[1], rest) if path >> shift & 1 else _join(rest, parent[2])
    return rest
