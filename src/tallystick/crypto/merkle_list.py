"""RFC 6962 Merkle lists over SHA-256: roots, compact ranges and proofs.

`list_root` is for a list at hand, `Peaks` for a log whose state stays in O(log n), `HashedList`
for whoever proves. What a verifier needs is in `tallystick.crypto.merkle_proof`, and here too.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated

import msgspec

from tallystick.codec import U63, Hash, Record
from tallystick.crypto.merkle_proof import (
    EMPTY_ROOT,
    climb,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HashedList",
    "Peaks",
    "climb",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "list_root",
    "node_hash",
    "verify_consistency",
    "verify_inclusion",
]

MAX_PEAKS = 63  # one for each bit of a 63-bit size


def list_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the list of ``leaves`` (data, not hashes)."""
    row = [sha256(b"\x00" + leaf).digest() for leaf in leaves]
    if not row:
        return EMPTY_ROOT
    # Pairing neighbours and passing an odd last node up gives the same tree as the RFC's split.
    while (size := len(row)) > 1:
        above = [sha256(b"\x01" + row[i] + row[i + 1]).digest() for i in range(0, size - 1, 2)]
        if size & 1:
            above.append(row[-1])
        row = above
    return row[0]


class Peaks(Record):
    """A list reduced to the roots of its complete subtrees, largest first.

    Enough to append and to know the root, so a state can hold a log of any length in at most
    63 hashes. ``Peaks()`` is the empty list.
    """

    size: U63 = 0
    hashes: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=MAX_PEAKS)] = ()

    def __post_init__(self) -> None:
        """Refuse a number of peaks that no list of that size has."""
        if len(self.hashes) != self.size.bit_count():
            msg = f"a list of {self.size} leaves does not have {len(self.hashes)} peaks"
            raise ValueError(msg)

    def append(self, leaf: bytes) -> Peaks:
        """Return the list with the data ``leaf`` added at its end."""
        peaks = list(self.hashes)
        node = leaf_hash(leaf)
        size = self.size
        while size & 1:
            node = node_hash(peaks.pop(), node)
            size >>= 1
        return Peaks(self.size + 1, (*peaks, node))

    def extend(self, leaves: Iterable[bytes]) -> Peaks:
        """Return the list with all of ``leaves`` added in order."""
        grown = self
        for leaf in leaves:
            grown = grown.append(leaf)
        return grown

    @property
    def root(self) -> bytes:
        """Root of the list, as `list_root` gives it."""
        return _fold(self.hashes) if self.hashes else EMPTY_ROOT


class HashedList:
    """A list of leaf hashes with every complete subtree kept, for proofs in O(log n) hashes.

    Memory is two hashes a leaf. Any prefix can be proved too: pass its ``size``. ``join`` hashes
    two nodes into one; other trees of this shape bring their own.
    """

    __slots__ = ("_join", "_rows")

    def __init__(
        self,
        leaf_hashes: Iterable[bytes] = (),
        join: Callable[[bytes, bytes], bytes] = node_hash,
    ) -> None:
        """Hash the tree over ``leaf_hashes`` once."""
        self._join = join
        row = list(leaf_hashes)
        self._rows = [row]
        while len(row) > 1:
            row = list(map(join, row[::2], row[1::2]))
            self._rows.append(row)

    @classmethod
    def of(cls, leaves: Iterable[bytes]) -> HashedList:
        """Return the list of the data ``leaves``."""
        return cls(leaf_hash(leaf) for leaf in leaves)

    def __len__(self) -> int:
        """Return the number of leaves."""
        return len(self._rows[0])

    def append(self, leaf: bytes) -> None:
        """Add the data ``leaf``."""
        self.append_hash(leaf_hash(leaf))

    def append_hash(self, node: bytes) -> None:
        """Add a leaf by its hash."""
        height, index = 0, len(self)
        self._rows[0].append(node)
        while index & 1:
            row = self._rows[height]
            node = self._join(row[-2], row[-1])
            height, index = height + 1, index >> 1
            if height == len(self._rows):
                self._rows.append([])
            self._rows[height].append(node)

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first ``size`` leaves, of all by default."""
        end = self._check_size(size)
        return self._subtree(0, end) if end else EMPTY_ROOT

    def peaks(self) -> Peaks:
        """Return the compact range of the whole list."""
        hashes: list[bytes] = []
        start = 0
        for height in reversed(range(len(self).bit_length())):
            if len(self) >> height & 1:
                hashes.append(self._rows[height][start >> height])
                start += 1 << height
        return Peaks(len(self), tuple(hashes))

    def inclusion(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the path from leaf ``index`` to the root of the first ``size`` leaves.

        Raises
        ------
        IndexError
            There is no such leaf in that prefix.
        """
        end = self._check_size(size)
        if not 0 <= index < end:
            msg = f"no leaf {index} in a list of {end}"
            raise IndexError(msg)
        path: list[bytes] = []
        start = 0
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency(self, old_size: int, size: int | None = None) -> tuple[bytes, ...]:
        """Return the path that shows the first ``old_size`` leaves to be a prefix.

        Raises
        ------
        IndexError
            ``old_size`` is beyond the list.
        """
        end = self._check_size(size)
        if not 0 <= old_size <= end:
            msg = f"a list of {end} has no prefix of {old_size}"
            raise IndexError(msg)
        if old_size in {0, end}:
            return ()
        path: list[bytes] = []
        start = 0
        while end != old_size:
            middle = start + _split(end - start)
            if old_size <= middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        if start:  # else the last node is the old root, which the verifier has
            path.append(self._subtree(start, end))
        return tuple(reversed(path))

    def _check_size(self, size: int | None) -> int:
        if size is None:
            return len(self)
        if not 0 <= size <= len(self):
            msg = f"a list of {len(self)} has no prefix of {size}"
            raise IndexError(msg)
        return size

    def _subtree(self, start: int, end: int) -> bytes:
        """Return the root over leaves ``start`` to ``end``; ``start`` is aligned to the tree."""
        hashes: list[bytes] = []
        while start < end:
            height = (end - start).bit_length() - 1
            hashes.append(self._rows[height][start >> height])
            start += 1 << height
        return _fold(hashes, self._join)


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the path of leaf ``index``; for more than one proof keep a `HashedList`."""
    return HashedList(leaf_hashes).inclusion(index)


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """Return the path from the first ``old_size`` leaves to the whole list."""
    return HashedList(leaf_hashes).consistency(old_size)


def _split(size: int) -> int:
    """Return the largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def _fold(hashes: Sequence[bytes], join: Callable[[bytes, bytes], bytes] = node_hash) -> bytes:
    """Return the root over complete subtrees that follow each other, largest first."""
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = join(left, node)
    return node
