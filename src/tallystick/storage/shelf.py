"""Blobs as a node keeps them for a task's members: in piece by piece, out by range.

A node computes nothing on what it keeps and trusts nobody about it. A member uploads chunk by
chunk and, whatever broke, goes on where the shelf says; the shelf checks the whole against the root
and answers for it only once it survives power loss. Every chunk that goes out was checked again.
With a key the disk holds encrypted chunks alone, each on its own so that any range can be served.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tallystick.codec import convert
from tallystick.crypto.envelope import KEY_BYTES, EnvelopeError, decrypt, encrypt
from tallystick.crypto.hashes import CHUNK_BYTES, chunk_count, chunk_hashes, root_of_chunks
from tallystick.errors import ConfigError, UnavailableError
from tallystick.storage.files import sync_folder, translated, write_new
from tallystick.storage.lock import Lock
from tallystick.storage.shelved import (
    BAD,
    HASH_BYTES,
    DamagedError,
    Header,
    Shelved,
    WrongBytesError,
)
from tallystick.storage.slots import QuotaError, Slot, Slots, folder_of

__all__ = ["DamagedError", "OffsetError", "Progress", "QuotaError", "Shelf", "WrongBytesError"]

KEY_CHECK = "key-check"  # a file that opens under the folder's key alone
PLAIN, ENCRYPTED = b"not encrypted", b"encrypted"


class OffsetError(ConfigError):
    """An upload goes on at ``offset`` bytes, not where the caller said."""

    slug = "wrong-offset"

    def __init__(self, offset: int) -> None:
        """Say where to go on."""
        super().__init__(f"the upload goes on at byte {offset}")
        self.offset = offset


@dataclass(frozen=True, slots=True)
class Progress:
    """A blob's declared size, the bytes here, whether it can be read, and who began it."""

    size: int
    offset: int
    complete: bool
    member: str


class Shelf:
    """A folder of blobs by task and root, for any number of threads of one process.

    Parameters
    ----------
    folder
        Made if it is missing; locked until ``close``.
    key
        32 bytes that encrypt every stored chunk, or nothing. A folder keeps to the key it began
        with: under another every blob would look damaged.
    quota_bytes
        How much a member may have begun for a task, whole or not.

    Raises
    ------
    ConfigError
        The key is not 32 bytes, or not the folder's.
    UnavailableError
        Another process, or another shelf in this one, has the folder; or the disk failed.

    Notes
    -----
    An upload of n bytes that a restart interrupted is read once when it is next asked about. In
    memory stay 32 bytes for each chunk of a blob that was read or written.
    """

    def __init__(self, folder: Path, *, key: bytes = b"", quota_bytes: int) -> None:
        """Find what is in the folder; only headers are read."""
        if key and len(key) != KEY_BYTES:
            msg = f"a shelf's key is {KEY_BYTES} bytes"
            raise ConfigError(msg)
        self._folder = folder
        with translated(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = Lock(folder)
            try:
                _check_key(folder, key)
                self._slots = Slots(folder, key, quota_bytes)
            except BaseException:
                self._lock.close()
                raise

    def close(self) -> None:
        """Let others have the folder."""
        self._lock.close()

    def plan(self, task: bytes, root: bytes, size: int, member: str, leaves: bytes) -> int:
        """Say which chunks a blob has before they come; return the bytes of it now here.

        The hashes and the size give the root, so nobody can say anything else: what another began
        with another size or other bytes is forgotten, and only the right chunks are taken now.

        Parameters
        ----------
        leaves
            The hashes of all chunks, 32 bytes each.

        Raises
        ------
        WrongBytesError
            They are not the chunks of the root.
        QuotaError, UnavailableError
            As for `append`.
        """
        count = len(leaves) // HASH_BYTES
        listed = [leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES)]
        if len(leaves) % HASH_BYTES or size < 1 or count != chunk_count(size):
            raise WrongBytesError(root)
        if root_of_chunks(listed, size) != root:
            raise WrongBytesError(root)
        with self._slots.held(task, root) as slot:
            blob = self._current(slot)
            if blob is not None and blob.complete:
                return blob.size
            if blob is not None and (blob.size != size or not blob.begins(leaves)):
                self._slots.clear(slot)
                blob = None
            if blob is None:
                with translated(self._folder):
                    blob = self._slots.begin(slot, _header(size, member))
            slot.plan = leaves
            return blob.offset

    def append(
        self, task: bytes, root: bytes, size: int, member: str, offset: int, data: bytes
    ) -> int:
        """Append the chunk at ``offset``, the last one perhaps shorter; return the bytes now here.

        The first chunk begins the upload and fixes its size; any member may go on with it. Once
        the last chunk is in, the blob was checked and survives power loss; appending to it then
        changes nothing.

        Raises
        ------
        OffsetError
            The upload goes on elsewhere, as the error says.
        QuotaError
            The member has no room for a blob of this size; nothing was stored.
        ConfigError
            An empty blob, no member's name, another size than at first, or no whole chunk.
        WrongBytesError
            All bytes are here and are not those of the root; they were thrown away. Or the chunk is
            none of the plan: nothing was stored.
        UnavailableError
            The disk is full or failed; ask for the progress and go on from there.
        """
        with self._slots.held(task, root) as slot:
            blob = self._current(slot)
            if blob is not None and blob.size != size:
                msg = f"the upload of blob {root.hex()} began with {blob.size} bytes, not {size}"
                raise ConfigError(msg)
            if blob is not None and blob.complete:
                return blob.size
            held = blob.offset if blob is not None else 0
            if offset != held:
                raise OffsetError(held)
            if not data or len(data) != min(CHUNK_BYTES, size - offset):
                msg = f"{len(data)} bytes at {offset} are no whole chunk of a blob of {size} bytes"
                raise ConfigError(msg)
            at = offset // CHUNK_BYTES * HASH_BYTES
            if slot.plan and chunk_hashes(data)[0] != slot.plan[at : at + HASH_BYTES]:
                raise WrongBytesError(root)
            if blob is None:
                with translated(self._folder):
                    blob = self._slots.begin(slot, _header(size, member))
            blob.add(data)
            self._finish(slot, blob)
            return blob.offset

    def progress(self, task: bytes, root: bytes) -> Progress | None:
        """Return how far a blob is, or nothing if it was never begun.

        Raises
        ------
        UnavailableError
            The disk failed.
        """
        with self._slots.held(task, root) as slot:
            blob = self._current(slot)
            if blob is None:
                return None
            return Progress(blob.size, blob.offset, blob.complete, blob.member)

    def read(self, task: bytes, root: bytes, start: int, length: int) -> Iterator[bytes]:
        """Return the bytes of a range, in pieces of at most `CHUNK_BYTES`, each checked.

        Raises
        ------
        ConfigError
            The range is not within the blob.
        UnavailableError
            The blob is not here or not whole; or its copy here is damaged (`DamagedError`, from
            the iterator too), and was put aside so that it can be uploaded again.
        """
        with self._slots.held(task, root) as slot:
            blob = _whole(slot)
            if start < 0 or length < 0 or start + length > blob.size:
                msg = f"no {length} bytes from {start} in a blob of {blob.size}"
                raise ConfigError(msg)
        return self._pieces(task, blob, start, length)

    def leaves(self, task: bytes, root: bytes) -> tuple[bytes, ...]:
        """Return the hashes of a blob's chunks, whose root is ``root``.

        Raises
        ------
        UnavailableError
            As for `read`.
        """
        with self._slots.held(task, root) as slot:
            blob = _whole(slot)
            try:
                listed = bytes(blob.leaves())
            except DamagedError:
                self._slots.clear(slot, damaged=True)
                raise
        return tuple(listed[i : i + HASH_BYTES] for i in range(0, len(listed), HASH_BYTES))

    def blobs(self, task: bytes) -> list[tuple[bytes, int, str]]:
        """Return root, size and first uploader of each of a task's whole blobs, by root."""
        found = [(slot.root, slot.blob) for slot in self._slots.all(task)]
        return sorted((root, b.size, b.member) for root, b in found if b is not None and b.complete)

    def used(self, task: bytes, member: str) -> int:
        """Return the declared bytes of all that a member began for a task."""
        return self._slots.used(task, member)

    def drop(self, task: bytes) -> None:
        """Forget all of a task's bytes.

        Raises
        ------
        UnavailableError
            The disk failed; the same call goes on.
        """
        folder = folder_of(self._folder, task)
        for known in self._slots.all(task):
            with self._slots.held(task, known.root) as slot:
                self._slots.clear(slot)
        with translated(folder):
            for suffix in (BAD, ".new"):  # what a crash left of a header is new
                for path in folder.glob(f"*{suffix}"):
                    path.unlink(missing_ok=True)
            with suppress(OSError):  # never made, or somebody begins an upload right now
                folder.rmdir()
            sync_folder(self._folder)

    def tidy(self, older_seconds: float) -> None:
        """Forget uploads not gone on with, and damaged files put aside, that long ago.

        Raises
        ------
        UnavailableError
            The disk failed; the same call goes on.
        """
        oldest = time.time() - older_seconds
        for known in self._slots.all():
            with self._slots.held(known.task, known.root) as slot:
                if slot.blob and not slot.blob.complete and slot.blob.touched < oldest:
                    self._slots.clear(slot)
        with translated(self._folder):
            for path in self._folder.glob(f"*/*{BAD}"):
                with suppress(FileNotFoundError):
                    if path.stat().st_ctime < oldest:  # since it was put aside
                        path.unlink()

    def _current(self, slot: Slot) -> Shelved | None:
        """Return the blob of a place, its end made up for if a crash came between."""
        if slot.blob is not None and not slot.blob.complete:
            with suppress(WrongBytesError):
                self._finish(slot, slot.blob)
        return slot.blob

    def _finish(self, slot: Slot, blob: Shelved) -> None:
        """Make a blob whole if all of its bytes are here; forget one that cannot be."""
        if blob.offset < blob.size:
            return
        try:
            blob.finish()
        except (WrongBytesError, UnavailableError):
            self._slots.clear(slot)
            raise
        slot.plan = b""

    def _pieces(self, task: bytes, blob: Shelved, start: int, length: int) -> Iterator[bytes]:
        try:
            yield from blob.pieces(start, length)
        except DamagedError:
            with self._slots.held(task, blob.root) as slot:
                if slot.blob is not blob:
                    msg = f"blob {blob.root.hex()} was dropped meanwhile"
                    raise UnavailableError(msg) from None
                self._slots.clear(slot, damaged=True)
            raise


def _whole(slot: Slot) -> Shelved:
    if slot.blob is None or not slot.blob.complete:
        what = "not here" if slot.blob is None else "not whole yet"
        msg = f"blob {slot.root.hex()} is {what}"
        raise UnavailableError(msg)
    return slot.blob


def _header(size: int, member: str) -> Header:
    try:
        return convert((size, member), Header)
    except msgspec.ValidationError as error:
        msg = f"no upload of {size} bytes by {member!r}: {error}"
        raise ConfigError(msg) from error


def _check_key(folder: Path, key: bytes) -> None:
    """Refuse a key that the folder did not begin with; an empty folder begins with it."""
    path = folder / KEY_CHECK
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        write_new(path, encrypt(key, ENCRYPTED) if key else PLAIN)
        sync_folder(folder)
        return
    try:
        right = decrypt(key, found) == ENCRYPTED if key else found == PLAIN
    except EnvelopeError:
        right = False
    if not right:
        msg = f"{folder} was not begun with this key"
        raise ConfigError(msg, hint="an empty folder may begin with any key, or none")
