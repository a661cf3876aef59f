from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root
from tallystick.errors import DecodeError, UnavailableError
from tallystick.storage.blobs import FileBlobs

DATA = bytes(range(256)) * 5


@pytest.fixture
def store(tmp_path):
    return FileBlobs(tmp_path / "blobs")


def file_of(store, root):
    return store.folder / root.hex()[:2] / root.hex()[2:]


def flip_a_bit(path, at=7):
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
    os.utime(path, ns=(1, 1))


def visible_files(store):
    return sorted(path for path in store.folder.glob("??/*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 5])
def test_what_was_put_is_read_under_its_root(store, size):
    data = np.random.default_rng(size).bytes(size)

    assert store.put(data) == (blob_root(data), size)
    assert store.has(blob_root(data))
    assert store.size(blob_root(data)) == size
    assert store.open(blob_root(data)).tobytes() == data


@given(pieces=st.lists(st.binary(max_size=60), max_size=6))
def test_pieces_written_one_by_one_make_the_same_blob(tmp_path_factory, pieces):
    store = FileBlobs(tmp_path_factory.mktemp("blobs"), durable=False)
    writer = store.create()
    for piece in pieces:
        writer.write(piece)
    root, size = writer.commit()

    assert (root, size) == (blob_root(b"".join(pieces)), len(b"".join(pieces)))
    assert store.open(root).tobytes() == b"".join(pieces)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_written(store, kind):
    assert store.put(kind(DATA))[0] == blob_root(DATA)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_array_is_stored_as_it_lies_in_memory(store, dtype):
    pytest.importorskip("ml_dtypes")
    array = np.arange(6).reshape(2, 3).astype(dtype)
    root, size = store.put(array)

    assert size == array.nbytes
    assert store.open(root).tobytes() == array.tobytes()


def test_a_blob_cannot_be_written_to(store):
    array = store.open(store.put(DATA)[0])

    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_an_open_array_outlives_the_blob(store):
    root, _ = store.put(DATA)
    array = store.open(root)
    store.delete(root)
    store.delete(root)

    assert array.tobytes() == DATA
    assert not store.has(root)


def test_nothing_is_visible_before_commit_or_after_abort(store):
    writer = store.create()
    writer.write(DATA)
    root = writer.root
    before = store.has(root)
    writer.abort()
    writer.abort()

    assert not before
    assert not store.has(root)
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_abort_after_commit_takes_nothing_back(store):
    writer = store.create()
    writer.write(DATA)
    root, _ = writer.commit()
    writer.abort()

    assert store.has(root)


def test_a_writer_that_dies_leaves_no_blob_and_its_file_is_removed_later(store):
    program = """
import os, sys
from tallystick.storage.blobs import FileBlobs
writer = FileBlobs(sys.argv[1]).create()
writer.write(b"half a blob" * 100_000)
os._exit(9)
"""
    command = [sys.executable, "-c", program, str(store.folder)]
    path = os.pathsep.join(sys.path)
    died = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": path})
    (leftover,) = (store.folder / "tmp").iterdir()
    kept = FileBlobs(store.folder).roots()
    still_there = leftover.exists()
    two_days_ago = time.time() - 2 * 86_400
    os.utime(leftover, (two_days_ago, two_days_ago))
    FileBlobs(store.folder)

    assert died.returncode == 9
    assert kept == []
    assert still_there
    assert not leftover.exists()


def test_a_flipped_bit_is_refused_and_moved_aside(store):
    root, _ = store.put(DATA)
    flip_a_bit(file_of(store, root))

    with pytest.raises(UnavailableError, match="no longer has the bytes"):
        store.open(root)
    assert not store.has(root)
    assert store.roots() == []
    assert [path.name[:64] for path in (store.folder / "bad").iterdir()] == [root.hex()]


def test_a_restarted_process_checks_what_an_earlier_one_wrote(store):
    root, _ = store.put(DATA)
    status = file_of(store, root).stat()
    flip_a_bit(file_of(store, root))
    os.utime(file_of(store, root), ns=(status.st_atime_ns, status.st_mtime_ns))

    assert not FileBlobs(store.folder).has(root)


def test_a_truncated_blob_is_refused(store):
    root, _ = store.put(DATA)
    os.truncate(file_of(store, root), 10)

    with pytest.raises(UnavailableError, match="no longer has the bytes"):
        store.open(root)


def test_bytes_lost_here_are_fetched_again_from_the_next_good_holder(store, tmp_path):
    bad, empty, good = (FileBlobs(tmp_path / name) for name in ("bad", "empty", "good"))
    root, size = store.put(DATA)
    bad.put(DATA)
    good.put(DATA)
    for holder in (store, bad):
        flip_a_bit(file_of(holder, root))
    store.fetch(root, size, [bad, empty, good])

    assert store.open(root).tobytes() == DATA
    assert not bad.has(root)


class CarelessHolder:
    """A holder that serves whatever it was given, as a peer on a network may."""

    def __init__(self, data):
        self.data = np.frombuffer(data, np.uint8)

    def has(self, root):
        return True

    def open(self, root):
        return self.data

    def create(self):
        raise UnavailableError


def test_a_holder_that_gives_other_bytes_is_not_believed(store):
    root = blob_root(DATA)
    wrong = DATA[:-1] + b"?"
    store.fetch(root, len(DATA), map(CarelessHolder, (wrong, DATA + b"!", DATA)))

    assert store.open(root).tobytes() == DATA
    assert store.roots() == [root]


def test_a_blob_nobody_has_says_what_each_holder_answered(store, tmp_path):
    holders = [CarelessHolder(b"no"), CarelessHolder(b"?" * len(DATA)), FileBlobs(tmp_path / "x")]

    with pytest.raises(UnavailableError, match="none of 3 holders") as caught:
        store.fetch(blob_root(DATA), len(DATA), holders)
    assert caught.value.hint.startswith("2 bytes instead of 1280; other bytes; blob ")
    assert visible_files(store) == []
    assert list((store.folder / "tmp").iterdir()) == []


def test_a_blob_already_here_is_not_fetched(store):
    root, size = store.put(DATA)
    store.fetch(root, size, [])

    assert store.has(root)


def test_writers_of_the_same_blob_do_not_disturb_each_other(store):
    data = np.random.default_rng(0).bytes(3 * CHUNK_BYTES)
    with ThreadPoolExecutor(8) as pool:
        written = set(pool.map(store.put, [data] * 16))

    assert written == {(blob_root(data), len(data))}
    assert store.open(blob_root(data)).tobytes() == data
    assert len(visible_files(store)) == 1
    assert list((store.folder / "tmp").iterdir()) == []


def test_roots_are_listed_in_order_and_strangers_files_are_not(store):
    roots = {store.put(bytes([value]))[0] for value in range(20)}
    (store.folder / "ab").mkdir(exist_ok=True)
    (store.folder / "ab" / "README").write_text("mine")
    (store.folder / "ab" / "cdef").write_text("too short")

    assert store.roots() == sorted(roots)


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"x" * 33, "a" * 32, b"/" * 31])
def test_only_a_hash_names_a_blob(store, name):
    for ask in (store.has, store.open, store.size, store.delete):
        with pytest.raises(DecodeError, match="32 bytes"):
            ask(name)


def test_no_hash_names_a_file_outside_the_folder(store):
    root = b"../../../../etc/passwd\0".ljust(32, b"/")

    assert not store.has(root)
    assert file_of(store, root).resolve().is_relative_to(store.folder.resolve())


def test_what_is_missing_is_unavailable(store, tmp_path):
    for ask in (store.open, store.size):
        with pytest.raises(UnavailableError, match="is not here"):
            ask(bytes(32))
    with pytest.raises(UnavailableError, match="nowhere"):
        store.add_file(tmp_path / "nowhere")
    assert store.roots() == []


def test_a_file_is_copied_in(store, tmp_path):
    data = np.random.default_rng(1).bytes(5 * CHUNK_BYTES)
    (tmp_path / "model").write_bytes(data)

    assert store.add_file(tmp_path / "model") == (blob_root(data), len(data))
    assert store.open(blob_root(data)).tobytes() == data


def test_a_store_that_cannot_be_written_says_where(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(UnavailableError, match="file"):
        FileBlobs(tmp_path / "file").put(DATA)


def test_reading_makes_no_folder(tmp_path):
    store = FileBlobs(tmp_path / "elsewhere")

    assert not store.has(bytes(32))
    assert store.roots() == []
    assert not store.folder.exists()


def test_a_store_open_for_reading_leaves_its_folder_as_it_is(store):
    root, other = store.put(DATA)[0], store.put(b"other")[0]
    leftover = store.folder / "tmp" / "old"
    leftover.write_bytes(b"x")
    os.utime(leftover, (0, 0))
    flip_a_bit(file_of(store, root))
    before = sorted(store.folder.rglob("*"))
    reader = FileBlobs(store.folder, read_only=True)

    assert not reader.has(root)
    assert reader.open(other).tobytes() == b"other"
    for write in (lambda: reader.put(b"more"), lambda: reader.delete(other), reader.create):
        with pytest.raises(UnavailableError, match="reading only"):
            write()
    assert sorted(store.folder.rglob("*")) == before
