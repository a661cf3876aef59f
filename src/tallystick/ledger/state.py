"""Typed tables over one flat map of rows, with scratch overlays.

Everything ``apply`` reads is a row. A `State` is a committed base plus an overlay of changes;
``scratch`` stacks another overlay, so executing a proposal or due work can be undone by dropping
it. The base changes only through ``commit``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tallystick.codec import decode, encode
from tallystick.crypto.merkle_map import MapProof, MerkleMap
from tallystick.errors import DecodeError, InvariantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["State", "Table", "state_from_rows"]

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Table(Generic[V]):
    """Rows of one type under one prefix; the key's parts are encoded canonically.

    Parameters
    ----------
    prefix
        First byte of every key; unique among tables.
    kind
        The rows' type, as the codec knows it.
    """

    prefix: int
    kind: Any

    def key(self, *parts: object) -> bytes:
        """Return the map key of the row named by ``parts``."""
        return bytes([self.prefix]) + encode(parts)


class State:
    """Rows by key: an overlay of changes on a parent state or on the committed base."""

    __slots__ = ("_base", "_changes", "_parent", "logged")

    def __init__(self, base: _Base | None = None, parent: State | None = None) -> None:
        """Start empty, on ``base``, or as scratch on ``parent``."""
        self._base = base or (parent._base if parent else _Base({}, MerkleMap()))
        self._parent = parent
        self._changes: dict[bytes, _Change] = {}
        self.logged: list[tuple[bytes, bytes]] = []  # leaves appended to task logs, in order

    @property
    def root(self) -> bytes:
        """Root of the committed map, without pending changes."""
        return self._base.map.root

    def get(self, table: Table[V], *parts: object) -> V | None:
        """Return the row, or `None` when there is none."""
        key = table.key(*parts)
        layer: State | None = self
        while layer is not None:
            if key in layer._changes:
                return layer._changes[key].row
            layer = layer._parent
        return self._base.get(table, key)

    def put(self, table: Table[V], *parts: object, row: V) -> None:
        """Write the row."""
        self._changes[table.key(*parts)] = _Change(table, row)

    def delete(self, table: Table[Any], *parts: object) -> None:
        """Remove the row, if there is one."""
        self._changes[table.key(*parts)] = _Change(table, None)

    def reader(self) -> State:
        """Return a view of the committed rows for other threads than the one that writes.

        It keeps no row it decodes: what is kept here is read again when blocks are executed, and
        a row that was replaced meanwhile must not come back.
        """
        return _Reader(self._base)

    def scratch(self) -> State:
        """Return an overlay that can be dropped, or merged with ``keep``."""
        return State(parent=self)

    def keep(self) -> None:
        """Merge this overlay into the state it stands on."""
        if self._parent is None:
            msg = "only a scratch state can be kept"
            raise InvariantError(msg)
        self._parent._changes.update(self._changes)
        self._parent.logged.extend(self.logged)
        self._changes, self.logged = {}, []

    def encode(self) -> None:
        """Encode every pending row now and check it against its table's type.

        Raises
        ------
        InvariantError
            A row holds something without a canonical form, or outside its range.
        """
        for change in self._changes.values():
            if change.row is None or change.data is not None:
                continue
            data = encode(change.row)
            try:
                decode(change.table.kind, data)
            except DecodeError as error:
                msg = f"a row could not be read back: {error}"
                raise InvariantError(msg) from error
            change.data = data

    def changes(self) -> dict[bytes, bytes | None]:
        """Return the pending changes as encoded rows; unchanged rows are left out."""
        self.encode()
        rows = self._base.rows
        return {
            key: change.data
            for key, change in self._changes.items()
            if change.data != rows.get(key)
        }

    def root_with(self, changes: dict[bytes, bytes | None], objects: State) -> bytes:
        """Return the root the base would have with ``changes``, which ``objects`` made.

        Committing the same ``changes`` afterwards costs nothing more.
        """
        tree = self._base.map.update(changes)
        rows = {key: objects._changes[key].row for key in changes}
        self._base.prepared = (changes, tree, rows)
        return tree.root

    def commit(self, changes: dict[bytes, bytes | None]) -> None:
        """Make ``changes`` the base's and drop the overlay."""
        base = self._base
        prepared = base.prepared
        base.prepared = None
        if prepared is not None and prepared[0] is changes:
            base.map, objects = prepared[1], prepared[2]
        else:
            base.map, objects = base.map.update(changes), {}
        for key, value in changes.items():
            base.objects.pop(key, None)
            if value is None:
                base.rows.pop(key, None)
            else:
                base.rows[key] = value
                if key in objects:
                    base.objects[key] = objects[key]
        self._changes, self.logged = {}, []

    def inverse(self, changes: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
        """Return what undoes ``changes``, which are not committed yet, once they are."""
        rows = self._base.rows
        return {key: rows.get(key) for key in changes}

    def prove(self, table: Table[Any], *parts: object) -> tuple[bytes, bytes | None, MapProof]:
        """Return a committed row's key, its bytes (`None` if absent) and the proof of that."""
        key = table.key(*parts)
        return key, *self.prove_key(key)

    def prove_key(self, key: bytes) -> tuple[bytes | None, MapProof]:
        """Return the committed bytes under a key of any table, `None` if absent, and the proof."""
        return self._base.rows.get(key), self._base.map.prove(key)

    def rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the committed rows in key order."""
        yield from sorted(self._base.rows.items())

    def rows_of(self, table: Table[V]) -> Iterator[tuple[bytes, V]]:
        """Yield a table's committed rows with their keys, in key order; none is kept decoded."""
        listed = [item for item in self._base.rows.items() if item[0][0] == table.prefix]
        for key, data in sorted(listed):
            yield key, decode(table.kind, data)


class _Reader(State):
    """See `State.reader`."""

    __slots__ = ()

    def get(self, table: Table[V], *parts: object) -> V | None:
        """See `State.get`."""
        key = table.key(*parts)
        found: V | None = self._base.objects.get(key)
        if found is not None:
            return found
        data = self._base.rows.get(key)
        return None if data is None else decode(table.kind, data)


class _Change:
    """A pending row and, once asked for, its bytes."""

    __slots__ = ("data", "row", "table")

    def __init__(self, table: Table[Any], row: Any) -> None:  # noqa: ANN401 - the table's row
        self.table = table
        self.row = row
        self.data: bytes | None = None


class _Base:
    """Committed rows, their decoded values, and their Merkle map."""

    __slots__ = ("map", "objects", "prepared", "rows")

    def __init__(self, rows: dict[bytes, bytes], tree: MerkleMap) -> None:
        self.rows = rows
        self.map = tree
        self.objects: dict[bytes, Any] = {}
        self.prepared: tuple[dict[bytes, bytes | None], MerkleMap, dict[bytes, Any]] | None = None

    def get(self, table: Table[Any], key: bytes) -> Any:  # noqa: ANN401 - the table's row type
        if key in self.objects:
            return self.objects[key]
        data = self.rows.get(key)
        if data is None:
            return None
        row = decode(table.kind, data)
        self.objects[key] = row
        return row


def state_from_rows(rows: Mapping[bytes, bytes]) -> State:
    """Return a committed state holding ``rows``."""
    changes: dict[bytes, bytes | None] = dict(rows)
    return State(_Base(dict(rows), MerkleMap().update(changes)))
