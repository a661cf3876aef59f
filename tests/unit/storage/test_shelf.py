"""A shelf keeps what members upload: resumable, by range out, within quotas, through restarts."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.shelves import (
    DATA,
    OTHER_TASK,
    ROOT,
    STARTS,
    TASK,
    file_of,
    flip_a_bit,
    send,
    whole,
)

from tallystick.crypto.hashes import CHUNK_BYTES, blob_root, chunk_hashes, root_of_chunks
from tallystick.errors import ConfigError, DecodeError, UnavailableError
from tallystick.storage.shelf import (
    DamagedError,
    OffsetError,
    Progress,
    QuotaError,
    Shelf,
)

SIZES = [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(DATA)]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_uploaded_is_served_also_after_a_restart(opened, size):
    data = DATA[:size]
    shelf = opened()

    assert send(shelf, data) == size
    for at in (shelf, opened()):
        assert whole(at, data) == data
        assert at.progress(TASK, blob_root(data)) == Progress(size, size, True, "ada")
        assert at.leaves(TASK, blob_root(data)) == chunk_hashes(data)
        assert root_of_chunks(at.leaves(TASK, blob_root(data)), size) == blob_root(data)
        assert at.blobs(TASK) == [(blob_root(data), size, "ada")]
        assert at.used(TASK, "ada") == size


def test_a_range_is_that_slice_in_pieces_of_a_chunk(opened):
    shelf = opened()
    send(shelf)
    edges = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, len(DATA)]
    for start in edges:
        for end in (edge for edge in edges if edge >= start):
            pieces = list(shelf.read(TASK, ROOT, start, end - start))

            assert b"".join(pieces) == DATA[start:end]
            assert all(0 < len(piece) <= CHUNK_BYTES for piece in pieces)


@pytest.mark.parametrize(("start", "length"), [(-1, 1), (0, -1), (0, len(DATA) + 1), (9**9, 1)])
def test_a_range_beyond_the_blob_is_refused(opened, start, length):
    shelf = opened()
    send(shelf)

    with pytest.raises(ConfigError, match="in a blob of"):
        shelf.read(TASK, ROOT, start, length)


def test_an_upload_goes_on_after_a_restart(opened):
    for chunks in range(1, 5):
        send(opened(), upto=min(chunks * CHUNK_BYTES, len(DATA)))

        held = min(chunks * CHUNK_BYTES, len(DATA))
        for shelf in (opened(), opened()):
            assert shelf.progress(TASK, ROOT) == Progress(len(DATA), held, chunks == 4, "ada")
    assert whole(opened()) == DATA


def test_a_wrong_offset_is_told_the_right_one(opened):
    shelf = opened()
    for offset in (CHUNK_BYTES, -1, 7):
        with pytest.raises(OffsetError) as caught:
            shelf.append(TASK, ROOT, len(DATA), "ada", offset, DATA[:CHUNK_BYTES])
        assert caught.value.offset == 0
    assert shelf.progress(TASK, ROOT) is None
    send(shelf, upto=CHUNK_BYTES)
    for offset in (0, 1, 2 * CHUNK_BYTES):
        with pytest.raises(OffsetError) as caught:
            shelf.append(TASK, ROOT, len(DATA), "ada", offset, DATA[:CHUNK_BYTES])
        assert caught.value.offset == CHUNK_BYTES
    assert shelf.progress(TASK, ROOT).offset == CHUNK_BYTES


@pytest.mark.parametrize("count", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES + 1])
def test_what_is_no_whole_chunk_is_refused(opened, count):
    shelf = opened()

    with pytest.raises(ConfigError, match="no whole chunk"):
        shelf.append(TASK, ROOT, len(DATA), "ada", 0, DATA[:count])
    assert shelf.progress(TASK, ROOT) is None


@pytest.mark.parametrize("size", [0, -1, 2**63, 2**64])
def test_a_size_no_blob_has_is_refused(opened, size):
    shelf = opened()

    with pytest.raises(ConfigError):
        shelf.append(TASK, ROOT, size, "ada", 0, DATA[: min(max(size, 0), CHUNK_BYTES)])
    assert shelf.blobs(TASK) == []


@pytest.mark.parametrize("member", ["", "../ada", "Ada", "a\ud800", "a" * 65])
def test_a_member_without_a_proper_name_is_refused(opened, tmp_path, member):
    with pytest.raises(ConfigError, match="no upload"):
        send(opened(), member=member)
    assert not file_of(tmp_path, "").parent.exists()


@pytest.mark.parametrize("upto", [CHUNK_BYTES, len(DATA)])
def test_the_size_is_fixed_by_the_first_chunk(opened, upto):
    shelf = opened()
    send(shelf, upto=upto)

    with pytest.raises(ConfigError, match="began with"):
        shelf.append(TASK, ROOT, len(DATA) + 1, "ada", CHUNK_BYTES, DATA[:CHUNK_BYTES])


def test_appending_to_a_whole_blob_changes_nothing(opened, tmp_path):
    shelf = opened()
    send(shelf)
    before = file_of(tmp_path, ".blob").stat()

    for offset in (0, CHUNK_BYTES, len(DATA)):
        assert shelf.append(TASK, ROOT, len(DATA), "bob", offset, b"?") == len(DATA)
    assert file_of(tmp_path, ".blob").stat().st_mtime_ns == before.st_mtime_ns
    assert shelf.used(TASK, "bob") == 0


def test_another_member_may_go_on_and_the_first_owns_the_quota(opened):
    shelf = opened()
    send(shelf, member="ada", upto=CHUNK_BYTES)
    send(shelf, member="bob")

    assert whole(shelf) == DATA
    assert (shelf.used(TASK, "ada"), shelf.used(TASK, "bob")) == (len(DATA), 0)


def test_the_quota_holds_for_what_was_begun_also_after_a_restart(opened):
    shelf = opened(quota_bytes=len(DATA) + 10)
    send(shelf, upto=CHUNK_BYTES)
    send(shelf, b"0123456789")
    for at in (shelf, opened(quota_bytes=len(DATA) + 10)):
        with pytest.raises(QuotaError) as caught:
            send(at, b"!")
        assert (caught.value.used, caught.value.quota) == (len(DATA) + 10, len(DATA) + 10)
        assert at.progress(TASK, blob_root(b"!")) is None
        send(at, b"!", member="bob")
        send(at, b"!", task=OTHER_TASK)
    send(at)
    assert whole(at) == DATA


def test_what_is_not_whole_is_not_served(opened):
    shelf = opened()
    send(shelf, upto=CHUNK_BYTES)
    for root, why in ((ROOT, "not whole"), (bytes(32), "not here")):
        for ask in (lambda r: shelf.read(TASK, r, 0, 1), lambda r: shelf.leaves(TASK, r)):
            with pytest.raises(UnavailableError, match=why):
                ask(root)
    assert shelf.blobs(TASK) == []
    with pytest.raises(UnavailableError, match="not here"):
        shelf.read(OTHER_TASK, ROOT, 0, 1)


def test_a_second_shelf_on_a_folder_is_refused(opened, tmp_path, key):
    opened()

    with pytest.raises(UnavailableError, match="in use"):
        Shelf(tmp_path / "shelf", key=key, quota_bytes=1)


def test_a_folder_that_cannot_be_made_says_where(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(UnavailableError, match="file"):
        Shelf(tmp_path / "file", quota_bytes=1)


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"", b"x" * 33, "a" * 32])
def test_only_a_hash_names_a_task_or_a_blob(opened, name):
    shelf = opened()
    for ask in (
        lambda: shelf.progress(name, ROOT),
        lambda: shelf.progress(TASK, name),
        lambda: shelf.append(TASK, name, 1, "ada", 0, b"x"),
        lambda: shelf.drop(name),
    ):
        with pytest.raises(DecodeError, match="32 bytes"):
            ask()


def test_strangers_files_are_left_alone(opened, tmp_path):
    send(opened())
    mine = tmp_path / "shelf" / "notes" / f"{ROOT.hex()}.meta"
    mine.parent.mkdir()
    mine.write_text("mine")
    file_of(tmp_path, "").with_name("short.meta").write_text("mine")
    shelf = opened()
    shelf.drop(TASK)

    assert mine.exists()
    assert file_of(tmp_path, "").with_name("short.meta").exists()


def test_a_dropped_task_is_gone_and_others_are_not(opened, tmp_path):
    shelf = opened()
    send(shelf)
    send(shelf, b"unfinished" * CHUNK_BYTES, upto=CHUNK_BYTES)
    send(shelf, b"damaged")
    flip_a_bit(file_of(tmp_path, ".blob", blob_root(b"damaged")), 0)
    with pytest.raises(DamagedError):
        whole(shelf, b"damaged")
    send(shelf, task=OTHER_TASK)
    pieces = shelf.read(TASK, ROOT, 0, len(DATA))
    first = next(pieces)
    shelf.drop(TASK)
    shelf.drop(bytes(32))

    assert first + b"".join(pieces) == DATA  # whoever was reading may finish
    assert shelf.progress(TASK, ROOT) is None
    assert shelf.used(TASK, "ada") == 0
    assert not file_of(tmp_path, "").parent.exists()
    assert whole(opened(), task=OTHER_TASK) == DATA


def test_uploads_nobody_goes_on_with_are_forgotten(opened, tmp_path):
    shelf = opened()
    send(shelf, b"whole")
    send(shelf, upto=CHUNK_BYTES)
    other = b"damaged"
    send(shelf, other)
    flip_a_bit(file_of(tmp_path, ".blob", blob_root(other)), 0)
    with pytest.raises(DamagedError):
        whole(shelf, other)
    hour_ago = time.time() - 3600
    for path in file_of(tmp_path, "").parent.iterdir():
        os.utime(path, (hour_ago, hour_ago))
    shelf.tidy(4000)
    after_a_while = shelf.progress(TASK, ROOT)
    opened().progress(TASK, ROOT)  # to ask is not to go on
    shelf = opened()
    shelf.tidy(3000)

    assert after_a_while.offset == CHUNK_BYTES
    assert shelf.progress(TASK, ROOT) is None
    assert shelf.used(TASK, "ada") == len(b"whole")
    assert whole(shelf, b"whole") == b"whole"
    assert file_of(tmp_path, ".bad", blob_root(other)).exists()
    shelf.tidy(-1)
    assert not file_of(tmp_path, ".bad", blob_root(other)).exists()


def test_threads_upload_and_read_different_blobs_at_once(opened):
    shelf = opened()
    blobs = [np.random.default_rng(seed).bytes(2 * CHUNK_BYTES + seed) for seed in range(1, 9)]

    def work(data):
        send(shelf, data)
        return whole(shelf, data)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, blobs)) == blobs
    assert shelf.used(TASK, "ada") == sum(map(len, blobs))


def test_of_two_threads_at_one_offset_one_wins(opened):
    shelf = opened()
    start = threading.Barrier(2)

    def work(member):
        ends, offset = [], 0
        while offset < len(DATA):
            start.wait()
            chunk = DATA[offset : offset + CHUNK_BYTES]
            try:
                offset = shelf.append(TASK, ROOT, len(DATA), member, offset, chunk)
                ends.append(offset)
            except OffsetError as error:
                offset = error.offset
        return ends

    with ThreadPoolExecutor(2) as pool:
        ada, bob = pool.map(work, ["ada", "bob"])

    # The last chunk makes the blob whole, and to append to that is no error.
    assert sorted({*ada, *bob}) == [*STARTS[1:], len(DATA)]
    assert set(ada) & set(bob) == {len(DATA)}
    assert whole(shelf) == DATA
    assert shelf.used(TASK, "ada") + shelf.used(TASK, "bob") == len(DATA)


def test_memory_is_a_few_chunks(opened, key):
    shelf = opened()
    piece = np.random.default_rng(1).bytes(CHUNK_BYTES)
    root, size = blob_root(piece * 20), 20 * CHUNK_BYTES
    tracemalloc.start()
    for start in range(0, size, CHUNK_BYTES):
        shelf.append(TASK, root, size, "ada", start, piece)
    appending = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    for found in shelf.read(TASK, root, 0, size):
        assert len(found) == CHUNK_BYTES
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    # libsodium's wrapper copies what it encrypts and what comes out.
    assert max(appending, reading) < (6 if key else 3) * CHUNK_BYTES
