"""One blob of a shelf: its files, and what of them is sound.

Four files share the blob's name: ``.meta`` says its size and who began it, ``.part`` holds the
chunks that came and becomes ``.blob`` with the last one, ``.leaves`` holds the chunks' hashes, each
written after its chunk. So whatever a crash tore is found by reading the part against the hashes,
and a blob is known to be right without its bytes being read once more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO

import msgspec

from tallystick.codec import MAX_U63, Label, Record, decode, encode
from tallystick.crypto.envelope import OVERHEAD_BYTES, EnvelopeError, decrypt, encrypt
from tallystick.crypto.hashes import CHUNK_BYTES, chunk_count, chunk_hashes, root_of_chunks
from tallystick.errors import DecodeError, UnavailableError, VerificationError
from tallystick.storage.files import sync_data, sync_folder, translated, write_at, write_new

__all__ = ["DamagedError", "Header", "Shelved", "WrongBytesError"]

HASH_BYTES = 32
META, PART, BLOB, LEAVES, BAD = ".meta", ".part", ".blob", ".leaves", ".bad"


class WrongBytesError(VerificationError):
    """The bytes of an upload are not those of its ``root``; they were thrown away."""

    slug = "wrong-bytes"

    def __init__(self, root: bytes) -> None:
        """Name the blob."""
        super().__init__(
            f"what was uploaded is not blob {root.hex()}", hint="upload it again from the start"
        )
        self.root = root


class DamagedError(UnavailableError):
    """The copy of blob ``root`` here was right once and is not any more."""

    slug = "damaged"

    def __init__(self, root: bytes) -> None:
        """Name the blob."""
        super().__init__(
            f"the copy of blob {root.hex()} here is damaged and was put aside",
            hint="get it from another holder, or upload it again",
        )
        self.root = root


class Header(Record):
    """What was declared when the upload began: the size in bytes, and by whom."""

    size: Annotated[int, msgspec.Meta(ge=1, le=MAX_U63)]
    member: Label


class Shelved:
    """A blob on a shelf, whole or on its way. Whoever calls sees to it that nobody else does.

    Parameters
    ----------
    folder
        The task's folder.
    root
        The blob's root, 32 bytes.
    key
        Encrypts each chunk on its own; empty for chunks as they are.
    header
        What was declared.

    Notes
    -----
    Holds the hashes of the chunks in memory once they were asked for: a byte for 8 KiB.
    """

    def __init__(self, folder: Path, root: bytes, key: bytes, header: Header) -> None:
        """Find out whether the blob is whole; nothing is read yet."""
        self.root, self.size, self.member = root, header.size, header.member
        self._folder, self._key = folder, key
        self._leaves: bytearray | None = None
        self.complete = self._path(BLOB).exists()

    @classmethod
    def begin(cls, folder: Path, root: bytes, key: bytes, header: Header) -> Shelved:
        """Begin an upload; on return its header survives power loss."""
        is_new = not folder.exists()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _unlink(folder, root, PART, BLOB, LEAVES)
        try:
            write_new(_named(folder, root, META), encode(header))
            blob = cls(folder, root, key, header)
            for suffix in (PART, LEAVES):
                blob._open(suffix).close()
            sync_folder(folder)
            if is_new:
                sync_folder(folder.parent)
        except OSError:
            with suppress(OSError):
                _unlink(folder, root, PART, LEAVES, META)
            raise
        return blob

    @classmethod
    def load(cls, folder: Path, root: bytes, key: bytes) -> Shelved:
        """Return the blob whose header is here.

        Raises
        ------
        DecodeError
            The header is damaged, so nobody knows how long the blob was: it was put aside.
        """
        try:
            header = decode(Header, _named(folder, root, META).read_bytes())
        except DecodeError:
            _put_aside(folder, root)
            raise
        return cls(folder, root, key, header)

    @property
    def offset(self) -> int:
        """Bytes of whole chunks here; the first time it is asked for, a part is read and checked.

        Raises
        ------
        UnavailableError
            The disk failed.
        """
        if self.complete:
            return self.size
        return min(self.size, len(self._sound()) // HASH_BYTES * CHUNK_BYTES)

    @property
    def touched(self) -> float:
        """When its bytes were last written to, in seconds since 1970; 0 if they are gone."""
        path = self._path(BLOB if self.complete else PART)
        try:
            return path.stat().st_mtime
        except FileNotFoundError:
            return 0

    def begins(self, leaves: bytes) -> bool:
        """Return whether the chunks that are here are those of a list of hashes, in order."""
        return leaves.startswith(bytes(self._sound()))

    def add(self, data: bytes) -> None:
        """Append the next chunk; it is here once it and its hash were written.

        Raises
        ------
        UnavailableError
            The disk is full or failed; the blob is as it was.
        """
        leaves = self._sound()
        index = len(leaves) // HASH_BYTES
        (leaf,) = chunk_hashes(data)
        with translated(self._path(PART)):
            with self._open(PART) as part:
                stored = encrypt(self._key, data) if self._key else data
                write_at(part, stored, index * self._stored(CHUNK_BYTES))
            with self._open(LEAVES) as listed:
                write_at(listed, leaf, len(leaves))
        leaves += leaf

    def finish(self) -> None:
        """Check the root and give the file its name; on return the blob survives power loss.

        Raises
        ------
        WrongBytesError
            The bytes are not those of the root.
        UnavailableError
            The disk failed: nobody knows which of the bytes reached it.
        """
        if self._root_of(self._sound()) != self.root:
            raise WrongBytesError(self.root)
        with translated(self._path(PART)):
            for suffix in (PART, LEAVES):
                with self._open(suffix) as file:
                    sync_data(file.fileno())
            self._path(PART).replace(self._path(BLOB))
            sync_folder(self._folder)
        self.complete = True

    def leaves(self) -> bytearray:
        """Return the hashes of a whole blob's chunks, one after the other, checked.

        Raises
        ------
        DamagedError
            They are not there, or not those of the root.
        """
        known = self._leaves
        if known is None:
            with translated(self._path(LEAVES)):
                try:
                    known = bytearray(self._path(LEAVES).read_bytes())
                except FileNotFoundError:
                    raise DamagedError(self.root) from None
            if self._root_of(known) != self.root:
                raise DamagedError(self.root)
            self._leaves = known
        return known

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """Yield ``length`` bytes of a whole blob from ``start``, cut where its chunks are.

        Raises
        ------
        DamagedError
            A chunk is not what it was; those before it were right.
        """
        leaves, end = self.leaves(), start + length
        if not length:
            return
        with translated(self._path(BLOB)):
            try:
                file: BinaryIO = self._path(BLOB).open("rb", buffering=0)
            except FileNotFoundError:
                raise DamagedError(self.root) from None
        with file:
            for index in range(start // CHUNK_BYTES, -(-end // CHUNK_BYTES)):
                with translated(self._path(BLOB)):
                    chunk = self._read(file, index)
                if not chunk or chunk_hashes(chunk)[0] != _leaf(leaves, index):
                    raise DamagedError(self.root)
                first = index * CHUNK_BYTES
                yield chunk[max(0, start - first) : end - first]

    def put_aside(self) -> None:
        """Keep a damaged file under another name, and forget the blob."""
        with translated(self._path(BLOB)):
            _put_aside(self._folder, self.root)
        self._leaves, self.complete = None, False

    def forget(self) -> None:
        """Remove the blob, its header last: as long as anything is here, it is accounted for."""
        with translated(self._path(META)):
            _unlink(self._folder, self.root, PART, BLOB, LEAVES, META)
        self._leaves, self.complete = None, False

    def _sound(self) -> bytearray:
        """Return the hashes of the part's chunks; the first time, cut off what a crash tore."""
        if self._leaves is not None:
            return self._leaves
        sound = bytearray()
        with (
            translated(self._path(PART)),
            self._open(PART) as part,
            self._open(LEAVES) as listed,
        ):
            said = listed.read()
            for index in range(min(len(said) // HASH_BYTES, chunk_count(self.size))):
                chunk = self._read(part, index)
                if not chunk or chunk_hashes(chunk)[0] != _leaf(said, index):
                    break
                sound += _leaf(said, index)
            if len(sound) < len(said):
                listed.truncate(len(sound))
        self._leaves = sound
        return sound

    def _read(self, file: BinaryIO, index: int) -> bytes:
        """Return the plain bytes of a stored chunk, or none if they are not to be had."""
        size = min(CHUNK_BYTES, self.size - index * CHUNK_BYTES)
        file.seek(index * self._stored(CHUNK_BYTES))
        stored = file.read(self._stored(size))
        if len(stored) < self._stored(size):
            return b""
        try:
            return decrypt(self._key, stored) if self._key else stored
        except EnvelopeError:
            return b""

    def _stored(self, size: int) -> int:
        """Return how much of the disk a chunk of ``size`` bytes takes."""
        return size + (OVERHEAD_BYTES if self._key else 0)

    def _root_of(self, leaves: bytearray) -> bytes:
        """Return the root over the hashes, or nothing if there are too few or too many."""
        if len(leaves) != chunk_count(self.size) * HASH_BYTES:
            return b""
        return root_of_chunks([_leaf(leaves, i) for i in range(chunk_count(self.size))], self.size)

    def _path(self, suffix: str) -> Path:
        return _named(self._folder, self.root, suffix)

    def _open(self, suffix: str) -> BinaryIO:
        """Open a file of the upload without a buffer, and make it if a crash lost it."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        number = os.open(self._path(suffix), flags, 0o600)
        return os.fdopen(number, "r+b", buffering=0)


def _leaf(leaves: bytes | bytearray, index: int) -> bytes:
    return bytes(leaves[index * HASH_BYTES : (index + 1) * HASH_BYTES])


def _named(folder: Path, root: bytes, suffix: str) -> Path:
    return folder / f"{root.hex()}{suffix}"


def _unlink(folder: Path, root: bytes, *suffixes: str) -> None:
    for suffix in suffixes:
        _named(folder, root, suffix).unlink(missing_ok=True)


def _put_aside(folder: Path, root: bytes) -> None:
    with suppress(FileNotFoundError):
        _named(folder, root, BLOB).replace(_named(folder, root, BAD))
    _unlink(folder, root, PART, LEAVES, META)
