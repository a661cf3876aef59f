"""Who may change which blob of a shelf right now, and how much each member has begun.

Every blob has a lock of its own, so that threads wait for each other only over the same blob. The
table of blobs and the sums have another, which is never held while a disk is waited for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from tallystick.errors import ConfigError, DecodeError
from tallystick.storage.shelved import HASH_BYTES, META, Header, Shelved

__all__ = ["QuotaError", "Slot", "Slots", "folder_of"]

HASH_NAME = re.compile(f"[0-9a-f]{{{2 * HASH_BYTES}}}")


class QuotaError(ConfigError):
    """A member would have more than ``quota`` bytes here for a task; it has ``used``."""

    slug = "quota"

    def __init__(self, used: int, quota: int) -> None:
        """Say how much there is."""
        super().__init__(f"{used} of {quota} bytes are used, and the blob is larger than the rest")
        self.used = used
        self.quota = quota


@dataclass(slots=True)
class Slot:
    """A place for one blob of a task; whoever holds it may change the blob."""

    task: bytes
    root: bytes
    blob: Shelved | None = None
    plan: bytes = b""  # the hashes of all chunks of a blob on its way, where somebody showed them
    users: int = 0  # who hold it or wait for it
    lock: Lock = field(default_factory=Lock)


class Slots:
    """The places of all blobs in ``folder``, found there by their headers.

    Parameters
    ----------
    folder
        Holds a folder for each task.
    key
        The chunks' key; see `Shelved`.
    quota_bytes
        How much a member may have begun for a task.
    """

    def __init__(self, folder: Path, key: bytes, quota_bytes: int) -> None:
        """Read every header, and nothing else."""
        self._folder, self._key, self._quota = folder, key, quota_bytes
        self._table = Lock()
        self._slots: dict[tuple[bytes, bytes], Slot] = {}
        self._used: Counter[tuple[bytes, str]] = Counter()
        for task, root in _found(folder):
            try:
                blob = Shelved.load(folder_of(folder, task), root, key)
            except DecodeError:  # it was put aside
                continue
            self._slots[task, root] = Slot(task, root, blob)
            self._used[task, blob.member] += blob.size

    @contextmanager
    def held(self, task: bytes, root: bytes) -> Generator[Slot]:
        """Hold the place of a blob, which may be empty.

        Raises
        ------
        DecodeError
            ``task`` or ``root`` is no hash.
        """
        _check_hash(task)
        _check_hash(root)
        with self._table:
            slot = self._slots.setdefault((task, root), Slot(task, root))
            slot.users += 1
        try:
            with slot.lock:
                yield slot
        finally:
            with self._table:
                slot.users -= 1
                if not slot.users and slot.blob is None:
                    del self._slots[task, root]

    def begin(self, slot: Slot, header: Header) -> Shelved:
        """Begin an upload in an empty place.

        Raises
        ------
        QuotaError
            The member has no room for it.
        OSError
            The disk is full or failed; nothing was begun.
        """
        account = slot.task, header.member
        with self._table:
            used = self._used[account]
            if used + header.size > self._quota:
                raise QuotaError(used, self._quota)
            self._used[account] = used + header.size
        try:
            folder = folder_of(self._folder, slot.task)
            blob = slot.blob = Shelved.begin(folder, slot.root, self._key, header)
        except OSError:
            self._release(account, header.size)
            raise
        return blob

    def clear(self, slot: Slot, *, damaged: bool = False) -> None:
        """Forget the blob of a place, or put it aside if it is damaged.

        Raises
        ------
        UnavailableError
            The disk failed; the blob stays accounted for.
        """
        blob = slot.blob
        if blob is None:
            return
        if damaged:
            blob.put_aside()
        else:
            blob.forget()
        slot.blob, slot.plan = None, b""
        self._release((slot.task, blob.member), blob.size)

    def used(self, task: bytes, member: str) -> int:
        """Return the declared bytes of all that a member began for a task."""
        with self._table:
            return self._used[task, member]

    def all(self, task: bytes | None = None) -> list[Slot]:
        """Return the places as they are now, of one task or all, in no order."""
        with self._table:
            return [slot for slot in self._slots.values() if task in (None, slot.task)]

    def _release(self, account: tuple[bytes, str], size: int) -> None:
        with self._table:
            self._used[account] -= size
            if not self._used[account]:
                del self._used[account]


def folder_of(folder: Path, task: bytes) -> Path:
    """Return a task's folder.

    Raises
    ------
    DecodeError
        ``task`` is no hash, and nothing else becomes a path.
    """
    _check_hash(task)
    return folder / task.hex()


def _check_hash(value: bytes) -> None:
    if not isinstance(value, bytes) or len(value) != HASH_BYTES:  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"a task and the root of a blob are {HASH_BYTES} bytes each"
        raise DecodeError(msg)


def _found(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """Find the headers in a shelf's folder; strangers' files are left alone."""
    for path in folder.glob(f"*/*{META}"):
        if HASH_NAME.fullmatch(path.parent.name) and HASH_NAME.fullmatch(path.stem):
            yield bytes.fromhex(path.parent.name), bytes.fromhex(path.stem)
