"""The ledger on disk: one SQLite file, a block in one transaction.

Write-ahead logging with ``synchronous=FULL``: when ``commit`` returns, the block, the changed rows
and the new log leaves survive power loss together.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tallystick.codec import decode, encode
from tallystick.errors import DecodeError, UnavailableError
from tallystick.ledger.block import Block, Header
from tallystick.ledger.receipt import Receipt
from tallystick.storage.lock import Lock

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from tallystick.ledger.kernel import Outcome

__all__ = ["MEMORY", "PROVEN", "LedgerStore"]

BASE, PROVEN = "base", "proven"  # facts
HINT = (
    "see that the disk works and has room; a damaged copy of what others have comes back from them "
    "once it is removed, what a solo node seals from its backup alone"
)
MEMORY = ":memory:"  # instead of a path: gone when it is closed

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS blocks (height INTEGER PRIMARY KEY, block BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS receipts (
    hash BLOB PRIMARY KEY, height INTEGER NOT NULL, receipt BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leaves (
    task BLOB NOT NULL, number INTEGER NOT NULL, height INTEGER NOT NULL, leaf BLOB NOT NULL,
    PRIMARY KEY (task, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS earlier (task BLOB PRIMARY KEY, leaves INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pool (hash BLOB PRIMARY KEY, wire BLOB NOT NULL) WITHOUT ROWID;
"""


class LedgerStore:
    """Blocks, state rows, receipts and log leaves of one ledger.

    Whatever SQLite cannot do is an `UnavailableError`.

    Parameters
    ----------
    path
        The file, made if need be, or `MEMORY`.
    durable
        Whether ``commit`` waits for the disk. A copy that can be fetched again does without: power
        loss then takes its newest blocks, never part of one.
    """

    def __init__(self, path: Path | str, *, durable: bool = True) -> None:
        """Open or create the file.

        Raises
        ------
        UnavailableError
            The file cannot be opened or is no ledger.
        """
        self._path = Path(path)
        self._lock: Lock | None = None
        try:
            self._db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            msg = f"{path}: {error}"
            raise UnavailableError(msg, hint=HINT) from error
        self._counts: dict[bytes, int] = {}

    def claim(self) -> None:
        """Become the only one who adds blocks, until the file is closed; readers go on.

        Raises
        ------
        UnavailableError
            Another process adds blocks to this ledger.
        """
        if self._lock is None and self._path != Path(MEMORY):
            self._lock = Lock(self._path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def fact(self, name: str) -> bytes | None:
        """Return a named value such as the genesis."""
        with self._translated():
            row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_fact(self, name: str, value: bytes) -> None:
        """Write a named value durably."""
        with self._translated():
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def rows(self) -> dict[bytes, bytes]:
        """Return the committed state rows."""
        with self._translated():
            found = self._db.execute("SELECT key, value FROM state")
            return {bytes(key): bytes(value) for key, value in found}

    def snapshot(self) -> tuple[dict[bytes, bytes], Header | None]:
        """Return the state rows and the header of one moment, whoever adds blocks meanwhile."""
        with self._translated():
            self._db.execute("BEGIN")
            try:
                return self.rows(), self.head()
            finally:
                self._db.execute("ROLLBACK")

    def pin(self) -> None:
        """Read from now on what is there at this moment, whoever adds blocks meanwhile."""
        with self._translated():
            self._db.execute("BEGIN")
            self._db.execute("SELECT count(*) FROM facts").fetchone()

    def sorted_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the committed state rows in the order of their keys."""
        with self._translated():
            for key, value in self._db.execute("SELECT key, value FROM state ORDER BY key"):
                yield bytes(key), bytes(value)

    def found(self, rows: dict[bytes, bytes]) -> None:
        """Write the founding rows; repeating it changes nothing."""
        with self._all_or_nothing("the founding state was not written"):
            self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", list(rows.items()))

    def head(self) -> Header | None:
        """Return the newest block's header, `None` before the first."""
        query = "SELECT block FROM blocks ORDER BY height DESC LIMIT 1"
        with self._translated():
            row = self._db.execute(query).fetchone()
        return self.base() if row is None else _block(row[0]).header

    def base(self) -> Header | None:
        """Return the header this ledger began with, `None` when it has every block."""
        data = self.fact(BASE)
        return None if data is None else decode(Header, data)

    def blocks(self, start: int = 1) -> Iterator[Block]:
        """Yield the blocks from a height on."""
        query = "SELECT block FROM blocks WHERE height >= ? ORDER BY height"
        with self._translated():
            for (data,) in self._db.execute(query, (start,)):
                yield _block(data)

    def receipt(self, tx_hash: bytes) -> tuple[int, Receipt] | None:
        """Return a transaction's height and receipt, `None` while it is in no block."""
        query = "SELECT height, receipt FROM receipts WHERE hash = ?"
        with self._translated():
            row = self._db.execute(query, (tx_hash,)).fetchone()
        return None if row is None else (row[0], decode(Receipt, bytes(row[1])))

    def leaves(self, task: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield a task's log leaves with the height of the block that added each."""
        query = "SELECT height, leaf FROM leaves WHERE task = ? AND number >= ? ORDER BY number"
        with self._translated():
            for height, leaf in self._db.execute(query, (task, start)):
                yield height, bytes(leaf)

    def commit(
        self, outcome: Outcome, evidence: bytes, facts: Mapping[str, bytes] | None = None
    ) -> None:
        """Write a block and everything it changed, all or nothing.

        Parameters
        ----------
        facts
            Named values that are written with it.

        Raises
        ------
        UnavailableError
            Nothing was written; the same call may be repeated.
        """
        block = Block(outcome.header, outcome.block.transactions, evidence)
        height = outcome.header.height
        gone = [(key,) for key, value in outcome.changes.items() if value is None]
        kept = [(key, value) for key, value in outcome.changes.items() if value is not None]
        receipts = [
            (tx.hash, height, encode(receipt))
            for tx, receipt in zip(outcome.transactions, outcome.receipts, strict=True)
        ]
        counts = dict(self._counts)
        try:
            with self._all_or_nothing("the block was not written"):
                self._db.execute("INSERT INTO blocks VALUES (?, ?)", (height, encode(block)))
                self._db.executemany("DELETE FROM state WHERE key = ?", gone)
                self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", kept)
                self._db.executemany("INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)", receipts)
                self._db.executemany(
                    "INSERT INTO leaves VALUES (?, ?, ?, ?)", self._numbered(outcome)
                )
                gone = [(tx.hash,) for tx in outcome.transactions]
                self._db.executemany("DELETE FROM pool WHERE hash = ?", gone)
                self._db.executemany(
                    "INSERT OR REPLACE INTO facts VALUES (?, ?)", list((facts or {}).items())
                )
        except UnavailableError:
            self._counts = counts
            raise

    def hold(self, pending: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep transactions, each with its hash, until a block has them; durable on return.

        Raises
        ------
        UnavailableError
            None was kept; the same call may be repeated.
        """
        self._pool("INSERT OR REPLACE INTO pool VALUES (?, ?)", pending)

    def release(self, hashes: Iterable[bytes]) -> None:
        """Forget transactions that will be in no block; raises as `hold`."""
        self._pool("DELETE FROM pool WHERE hash = ?", [(tx_hash,) for tx_hash in hashes])

    def held(self) -> list[bytes]:
        """Return the wire bytes of what is kept and in no block yet."""
        with self._translated():
            found = self._db.execute("SELECT wire FROM pool ORDER BY hash")
            return [bytes(wire) for (wire,) in found]

    def begin_at(self, header: Header, rows: dict[bytes, bytes], leaves: dict[bytes, int]) -> None:
        """Begin an empty ledger with the state of a later block than genesis.

        Parameters
        ----------
        leaves
            How many records the log of each task has that are not here.

        Raises
        ------
        UnavailableError
            Nothing was written, or there are blocks already.
        """
        with self._all_or_nothing("the state was not written"):
            if self._db.execute("SELECT 1 FROM blocks LIMIT 1").fetchone():
                msg = "there are blocks already"
                raise UnavailableError(msg)
            self._db.execute("DELETE FROM state")
            self._db.executemany("INSERT INTO state VALUES (?, ?)", list(rows.items()))
            self._db.execute("DELETE FROM earlier")
            self._db.executemany("INSERT INTO earlier VALUES (?, ?)", list(leaves.items()))
            self._db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (BASE, encode(header)))
        self._counts.clear()

    def fill_in(self, other: Path) -> None:
        """Take over every block up to the base from another ledger's file, which was checked.

        Raises
        ------
        UnavailableError
            Nothing was written.
        """
        base = self.base()
        if base is None:
            return
        with self._translated():
            self._db.execute("ATTACH DATABASE ? AS filled", (str(other),))
        try:
            with self._all_or_nothing("the blocks before were not written"):
                for table in ("blocks", "receipts", "leaves"):
                    self._db.execute(
                        f"INSERT OR IGNORE INTO {table} "  # noqa: S608 - names of ours
                        f"SELECT * FROM filled.{table} WHERE height <= ?",
                        (base.height,),
                    )
                self._db.execute("DELETE FROM earlier")
                self._db.execute("DELETE FROM facts WHERE name = ?", (BASE,))
                self._db.execute(  # what was taken over is proven
                    "INSERT OR IGNORE INTO facts VALUES (?, ?)", (PROVEN, str(base.height).encode())
                )
        finally:
            self._db.execute("DETACH DATABASE filled")
        self._counts.clear()

    def prove(self, height: int, evidence: bytes) -> None:
        """Keep what the engine signed a block by; raises as `commit`."""
        with self._all_or_nothing("a block's evidence was not written"):
            row = self._db.execute(
                "SELECT block FROM blocks WHERE height = ?", (height,)
            ).fetchone()
            if row is None:
                msg = f"a block's evidence was not written: block {height} is not here"
                raise UnavailableError(msg)
            block = _block(row[0])
            proven = Block(block.header, block.transactions, evidence)
            self._db.execute(
                "UPDATE blocks SET block = ? WHERE height = ?", (encode(proven), height)
            )
            self._db.execute(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)", (PROVEN, str(height).encode())
            )

    def proven(self) -> int:
        """Return the height up to which blocks carry what their engine signed them by."""
        data = self.fact(PROVEN)
        if data is not None:
            return int(data)
        base = self.base()
        return 0 if base is None else base.height

    @contextmanager
    def _translated(self) -> Generator[None]:
        """Say of SQLite's errors which file they are about."""
        try:
            yield
        except sqlite3.Error as error:
            msg = f"{self._path}: {error}"
            raise UnavailableError(msg, hint=HINT) from error

    @contextmanager
    def _all_or_nothing(self, failure: str) -> Generator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            msg = f"{failure}: {error}"
            raise UnavailableError(msg) from error
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _pool(self, statement: str, rows: Iterable[tuple[bytes, ...]]) -> None:
        listed = list(rows)
        if not listed:
            return
        with self._all_or_nothing("transactions that wait were not written"):
            self._db.executemany(statement, listed)

    def _numbered(self, outcome: Outcome) -> list[tuple[bytes, int, int, bytes]]:
        rows: list[tuple[bytes, int, int, bytes]] = []
        for task, leaf in outcome.logged:
            number = self._counts.get(task)
            if number is None:
                query = (
                    "SELECT (SELECT count(*) FROM leaves WHERE task = ?1)"
                    " + coalesce((SELECT leaves FROM earlier WHERE task = ?1), 0)"
                )
                number = int(self._db.execute(query, (task,)).fetchone()[0])
            rows.append((task, number, outcome.header.height, leaf))
            self._counts[task] = number + 1
        return rows


def _block(data: bytes) -> Block:
    try:
        return decode(Block, bytes(data))
    except DecodeError as error:
        msg = f"the ledger file is damaged: {error}"
        raise UnavailableError(msg) from error
