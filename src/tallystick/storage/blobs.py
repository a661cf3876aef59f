"""Blobs in a folder, by fingerprint: ``ab/cdef…`` holds the bytes whose root is ``abcdef…``.

A blob is written beside the others and renamed into place once it is whole and on disk, so a crash
leaves a stray temporary file and never half a blob. What is read was checked against its name: when
this process wrote it, or else when it first opens the file (again if the file has changed since).
A name is a hash and nothing but a hash becomes a path.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tallystick.crypto.hashes import CHUNK_BYTES, BlobHasher, Buffer
from tallystick.errors import DecodeError, UnavailableError
from tallystick.storage.files import (
    Identity,
    chunks_of,
    identity_of,
    remove_older,
    sync_data,
    sync_folder,
    translated,
    unusable,
)
from tallystick.tensors.spec import Blobs

__all__ = ["FileBlobs", "FileWriter"]

ROOT_BYTES = 32
FLUSHERS = 4
COPY_BYTES = 4 * CHUNK_BYTES
UNFINISHED, BAD = "tmp", "bad"
LEFTOVER_SECONDS = 86_400  # a temporary file this old is nobody's any more
PART = ".part"
PART_SECONDS = 14 * 86_400  # but a download that goes on later


class FileBlobs:
    """A content-addressed folder; see `tallystick.tensors.spec.Blobs`.

    Parameters
    ----------
    folder
        Made at the first write. Several processes may share it, one that only reads among them.
    durable
        Whether ``commit`` waits until the blob survives power loss. A simulation can do without.
    grouped
        Let ``commit`` go ahead and have several blobs flushed at once; whoever must know that they
        survive power loss calls ``flush``. A blob that did not is found out when it is opened.
    read_only
        Leave the folder as it is: nothing is tidied, put aside or written. For evidence.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        durable: bool = True,
        grouped: bool = False,
        read_only: bool = False,
    ) -> None:
        """Open the store and remove what writers left behind long ago."""
        self.folder = Path(folder)
        self.durable = durable
        self.read_only = read_only
        self._pool = ThreadPoolExecutor(FLUSHERS) if durable and grouped else None
        self._flushing: list[Future[None]] = []
        self._checked: dict[bytes, Identity] = {}
        if not read_only and (self.folder / UNFINISHED).is_dir():
            remove_older(self.folder / UNFINISHED, LEFTOVER_SECONDS, but_for=PART)
            remove_older(self.folder / UNFINISHED, PART_SECONDS)

    def has(self, root: bytes) -> bool:
        """See `Blobs.has`; reads the whole blob the first time."""
        try:
            self._open_checked(root).close()
        except UnavailableError:
            return False
        return True

    def open(self, root: bytes) -> np.ndarray:
        """See `Blobs.open`. Nothing is read into this process before it is used.

        Raises
        ------
        UnavailableError
            It is not here, or its bytes were not those of its name: then the file now lies in
            ``bad/`` (unless the store is read only), and the blob can be fetched again.
        """
        with self._open_checked(root) as file, translated(self.folder):
            if not os.fstat(file.fileno()).st_size:
                return np.frombuffer(b"", np.uint8)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)

    def flush(self) -> None:
        """Return when every blob committed so far survives power loss.

        Raises
        ------
        UnavailableError
            The disk is full or failed.
        """
        waiting, self._flushing = self._flushing, []
        with translated(self.folder):
            for future in waiting:
                future.result()

    def close(self) -> None:
        """Flush, and end the threads that did it."""
        self.flush()
        if self._pool is not None:
            self._pool.shutdown()

    def size(self, root: bytes) -> int:
        """Return the blob's size in bytes.

        Raises
        ------
        UnavailableError
            It is not here.
        """
        try:
            return self._path(root).stat().st_size
        except FileNotFoundError:
            raise _missing(root) from None

    def create(self) -> FileWriter:
        """See `Blobs.create`.

        Raises
        ------
        UnavailableError
            The store is open for reading, or its disk cannot be written.
        """
        self._check_writable()
        return FileWriter(self)

    def part(self, root: bytes) -> Path:
        """Return where a download of ``root`` lies until it is whole; see `PartialBlob`.

        Raises
        ------
        UnavailableError
            The store is open for reading, or its disk cannot be written.
        """
        self._check_writable()
        _check_root(root)
        path = self.folder / UNFINISHED / f"{root.hex()}{PART}"
        with translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def put(self, data: Buffer) -> tuple[bytes, int]:
        """Store a whole blob; return its root and size in bytes."""
        writer = self.create()
        try:
            writer.write(data)
            return writer.commit()
        finally:
            writer.abort()

    def add_file(self, path: Path | str) -> tuple[bytes, int]:
        """Store a copy of a file; return its root and size in bytes.

        Raises
        ------
        UnavailableError
            The file cannot be read, or the store not written.
        """
        writer = self.create()
        try:
            with translated(Path(path)), Path(path).open("rb") as file:
                for chunk in chunks_of(file, COPY_BYTES):
                    writer.write(chunk)
            return writer.commit()
        finally:
            writer.abort()

    def fetch(self, root: bytes, size: int, holders: Iterable[Blobs]) -> None:
        """Get a blob from the first of ``holders`` that gives the right bytes, unless it is here.

        Raises
        ------
        UnavailableError
            None of them did; the hint says what each answered.
        """
        if self.has(root) and self.size(root) == size:
            return
        answers: list[str] = []
        for holder in holders:
            try:
                data = holder.open(root)
            except UnavailableError as error:
                answers.append(str(error))
                continue
            if data.nbytes != size:
                answers.append(f"{data.nbytes} bytes instead of {size}")
            elif self._accept(root, data):
                return
            else:
                answers.append("other bytes")
        msg = f"none of {len(answers)} holders has blob {root.hex()}"
        raise UnavailableError(msg, hint="; ".join(answers))

    def delete(self, root: bytes) -> None:
        """Forget a blob; one that is not here is no error. Arrays already open stay valid."""
        self._check_writable()
        self._checked.pop(root, None)
        with translated(self.folder):
            self._path(root).unlink(missing_ok=True)

    def roots(self) -> list[bytes]:
        """Return the root of every blob here, sorted."""
        found: list[bytes] = []
        for shelf in self.folder.glob("[0-9a-f][0-9a-f]"):
            for file in shelf.iterdir():
                with suppress(ValueError):  # a stranger's file
                    found.append(bytes.fromhex(shelf.name + file.name))
        return sorted(root for root in found if len(root) == ROOT_BYTES)

    def _check_writable(self) -> None:
        if self.read_only:
            msg = f"{self.folder} is open for reading only"
            raise UnavailableError(msg)

    def _path(self, root: bytes) -> Path:
        _check_root(root)
        name = root.hex()
        return self.folder / name[:2] / name[2:]

    def _open_checked(self, root: bytes) -> BinaryIO:
        """Return the blob's file, known to hold the right bytes."""
        path = self._path(root)
        try:
            file: Any = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise _missing(root) from None
        except OSError as error:
            raise unusable(path, error) from error
        try:
            self._check(root, path, file)
        except BaseException:
            file.close()
            raise
        return file

    def _check(self, root: bytes, path: Path, file: BinaryIO) -> None:
        identity = identity_of(file.fileno())
        if self._checked.get(root) == identity:
            return
        # Read, not mapped: pages of a map would count as this process's memory.
        hasher = BlobHasher()
        with translated(path):
            for chunk in chunks_of(file, COPY_BYTES):
                hasher.update(chunk)
        if hasher.root == root:
            self._checked[root] = identity
            return
        says = f"blob {root.hex()} no longer has the bytes of its name"
        if self.read_only:
            raise UnavailableError(says, hint="get it again from another holder")
        aside = self.folder / BAD / f"{root.hex()}-{identity[0]}"
        with translated(path), suppress(FileNotFoundError):
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
        msg = f"{says}; the file is now {aside}"
        raise UnavailableError(msg, hint="fetch it again from another holder")

    def _accept(self, root: bytes, data: np.ndarray) -> bool:
        """Store ``data`` if it is the blob ``root``."""
        writer = self.create()
        try:
            for start in range(0, data.size, COPY_BYTES):
                writer.write(data[start : start + COPY_BYTES])
            if writer.root != root:
                return False
            writer.commit()
        finally:
            writer.abort()
        return True

    def adopt(self, root: bytes, unfinished: Path, file: BinaryIO) -> None:
        """Move a whole and checked file under its name; return when that survives power loss."""
        path = self._path(root)
        if self._is_checked(root, path):
            file.close()
            unfinished.unlink()
            return
        if self.durable and self._pool is None:
            sync_data(file.fileno())
        identity = identity_of(file.fileno())
        shelf_is_new = not path.parent.exists()
        path.parent.mkdir(exist_ok=True)
        unfinished.replace(path)
        folders = (path.parent, self.folder) if shelf_is_new else (path.parent,)
        if self._pool is not None:
            number = os.dup(file.fileno())
            self._flushing.append(self._pool.submit(_sync_later, number, folders))
        elif self.durable:
            for folder in folders:
                sync_folder(folder)
        file.close()
        self._checked[root] = identity

    def _is_checked(self, root: bytes, path: Path) -> bool:
        """Whether the blob is here already, and this process knows that it is whole."""
        known = self._checked.get(root)
        if known is None:
            return False
        try:
            with path.open("rb", buffering=0) as file:
                return identity_of(file.fileno()) == known
        except OSError:
            return False


class FileWriter:
    """A blob on its way into a `FileBlobs`; see `tallystick.tensors.spec.BlobWriter`.

    Writes larger than `CHUNK_BYTES` go to the file as they are, not copied.
    """

    def __init__(self, store: FileBlobs) -> None:
        """Start an empty temporary file."""
        self._store = store
        self._hasher = BlobHasher()
        folder = store.folder / UNFINISHED
        with translated(folder):
            folder.mkdir(parents=True, exist_ok=True)
            number, name = tempfile.mkstemp(dir=folder)
            self._path = Path(name)
            self._file = os.fdopen(number, "wb", buffering=CHUNK_BYTES)
        self._open = True

    @property
    def root(self) -> bytes:
        """Root of what was written so far."""
        return self._hasher.root

    def write(self, data: Buffer) -> None:
        """See `BlobWriter.write`.

        Raises
        ------
        UnavailableError
            The disk is full or failed.
        """
        if isinstance(data, np.ndarray) and data.flags.c_contiguous:
            data = data.reshape(-1).view(np.uint8)  # bfloat16 exports no buffer of its own
        self._hasher.update(data)
        with translated(self._path):
            self._file.write(memoryview(data))  # pyright: ignore[reportArgumentType]

    def commit(self) -> tuple[bytes, int]:
        """See `BlobWriter.commit`.

        Raises
        ------
        UnavailableError
            The disk is full or failed; nothing became visible.
        """
        root, size = self._hasher.root, self._hasher.size
        with translated(self._path):
            self._file.flush()
            self._store.adopt(root, self._path, self._file)
        self._file.close()
        self._open = False
        return root, size

    def abort(self) -> None:
        """See `BlobWriter.abort`; does nothing after `commit`."""
        if not self._open:
            return
        self._open = False
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink()


def _sync_later(number: int, folders: tuple[Path, ...]) -> None:
    try:
        sync_data(number)
    finally:
        os.close(number)
    for folder in folders:
        sync_folder(folder)


def _check_root(root: bytes) -> None:
    if not isinstance(root, bytes) or len(root) != ROOT_BYTES:  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"the root of a blob is {ROOT_BYTES} bytes"
        raise DecodeError(msg)


def _missing(root: bytes) -> UnavailableError:
    return UnavailableError(f"blob {root.hex()} is not here")
